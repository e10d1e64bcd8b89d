//! Sight of cluster-scoped objects that a rule gives: one clause of an OR, a value. It knows neither who has it nor why.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use regex::Regex;
use regex::RegexBuilder;

use super::facts::CAPSULE;
use crate::k8s::label_selector::LabelSelector;
use crate::k8s::names::GroupResource;
use crate::k8s::names::ObjectName;
use crate::k8s::pattern::Pattern;
use crate::wire::labels::Labels;

/// Largest compiled pattern, in bytes: a rule must not cost more memory than all others together.
const MAX_PATTERN: usize = 256 << 10;

/// Sight of some objects of some kinds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    /// Of which kinds.
    pub kinds: Kinds,
    /// Which of their objects.
    pub objects: Objects,
    /// Whether lists and watches show them. If not, only a GET by name does.
    pub lists: bool,
}

/// The kinds a grant is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kinds {
    /// This one, in any version.
    One(GroupResource),
    /// Those that a `clusterResources` rule names.
    Rule(KindRule),
}

/// `apiGroups` and `resources` of a `clusterResources` rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KindRule {
    /// Each over the whole group, or over `group/version` where it has a slash.
    pub api_groups: Vec<Pattern>,
    /// Plural names, or `*`.
    pub resources: Vec<String>,
    /// Whether namespaces and Tenants are among what `*` means: an administrator wrote the rule, not somebody who may
    /// write in one namespace.
    pub wide: bool,
}

/// Which objects of a kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Objects {
    /// Every one.
    All,
    /// Those whose labels match.
    Labelled(LabelSelector),
    /// Those called so.
    Named(BTreeSet<ObjectName>),
    /// Those whose name matches somewhere.
    Matching(NamePattern),
}

impl Grant {
    /// Whether it is about `resource` as served in `version`.
    pub fn covers(&self, resource: &GroupResource, version: &str) -> bool {
        match &self.kinds {
            Kinds::One(kind) => kind == resource,
            Kinds::Rule(rule) => rule.covers(resource, version),
        }
    }
}

impl KindRule {
    fn covers(&self, resource: &GroupResource, version: &str) -> bool {
        let group = resource.group.as_ref();
        let kept_back = matches!(
            (group, resource.resource.as_ref()),
            ("", "namespaces") | (CAPSULE, "tenants")
        );
        (self.wide || !kept_back)
            && self
                .resources
                .iter()
                .any(|name| name == "*" || *name == *resource.resource)
            && self.api_groups.iter().any(|pattern| {
                if pattern.as_str().contains('/') {
                    pattern.matches(&format!("{group}/{version}"))
                } else {
                    pattern.matches(group)
                }
            })
    }
}

impl Objects {
    /// Whether an object of this name and these labels is one of them.
    pub fn shows(&self, name: &str, labels: &Labels) -> bool {
        match self {
            Self::All => true,
            Self::Labelled(selector) => selector.matches(|key| labels.get(key)),
            Self::Named(names) => names.contains(name),
            Self::Matching(pattern) => pattern.0.is_match(name),
        }
    }

    /// Whether that depends on the labels.
    pub fn reads_labels(&self) -> bool {
        match self {
            Self::Labelled(_) => true,
            Self::All | Self::Named(_) | Self::Matching(_) => false,
        }
    }
}

/// A regular expression on names, unanchored as Go's `MatchString`. Linear in the name, whatever is written.
#[derive(Clone, Debug)]
pub struct NamePattern(Regex);

impl NamePattern {
    /// # Errors
    /// What the expression is wrong about, or that it is too large.
    pub fn new(text: &str) -> Result<Self, regex::Error> {
        RegexBuilder::new(text)
            .size_limit(MAX_PATTERN)
            .dfa_size_limit(MAX_PATTERN)
            .build()
            .map(Self)
    }
}

impl PartialEq for NamePattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for NamePattern {}

impl PartialOrd for NamePattern {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for NamePattern {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.as_str().cmp(other.0.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_covers_the_kinds_it_names() {
        for (groups, resources, wide, kind, version, expected) in [
            ("apps", "x", true, ("apps", "x"), "v1", true),
            ("apps", "*", true, ("apps", "x"), "v1", true),
            ("apps", "y", true, ("apps", "x"), "v1", false),
            ("", "nodes", true, ("", "nodes"), "v1", true),
            ("", "nodes", true, ("metrics.k8s.io", "nodes"), "v1", false),
            ("*", "*", true, ("", "nodes"), "v1", true),
            ("*.k8s.io", "*", true, ("storage.k8s.io", "x"), "v1", true),
            (
                "*.k8s.io",
                "*",
                true,
                ("storage.k8s.io.evil", "x"),
                "v1",
                false,
            ),
            (
                "storage.k8s.io/v1",
                "*",
                true,
                ("storage.k8s.io", "x"),
                "v1",
                true,
            ),
            (
                "storage.k8s.io/v1",
                "*",
                true,
                ("storage.k8s.io", "x"),
                "v1beta1",
                false,
            ),
            (
                "storage.k8s.io/*",
                "*",
                true,
                ("storage.k8s.io", "x"),
                "v9",
                true,
            ),
            (
                "storage.k8s.io/v1",
                "*",
                true,
                ("storage.k8s.io/v1", "x"),
                "",
                false,
            ),
            ("*", "*", true, ("", "namespaces"), "v1", true),
            ("*", "*", false, ("", "namespaces"), "v1", false),
            ("", "namespaces", false, ("", "namespaces"), "v1", false),
            ("*", "*", false, (CAPSULE, "tenants"), "v1beta2", false),
            ("*", "*", false, ("", "nodes"), "v1", true),
            ("*", "*", false, ("other.io", "tenants"), "v1", true),
        ] {
            let rule = KindRule {
                api_groups: vec![Pattern::new(groups)],
                resources: vec![resources.to_owned()],
                wide,
            };
            let resource = GroupResource::new(kind.0, kind.1);
            assert_eq!(
                rule.covers(&resource, version),
                expected,
                "{groups} {resources} of {resource} {version}, wide: {wide}"
            );
        }
    }

    #[test]
    fn objects_are_chosen_by_labels_or_names() {
        let mut labels = Labels::default();
        labels.push("tier", "gold");
        labels.seal().unwrap();
        let selector = |text| Objects::Labelled(LabelSelector::parse(text).unwrap());
        let matching = |text| Objects::Matching(NamePattern::new(text).unwrap());
        for (objects, expected) in [
            (Objects::All, true),
            (selector("tier=gold"), true),
            (selector("tier=gold,zone"), false),
            (selector("zone!=a"), true),
            (
                Objects::Named([ObjectName::parse("fast").unwrap()].into()),
                true,
            ),
            (Objects::Named(BTreeSet::new()), false),
            (matching("^fa"), true),
            (matching("as"), true),
            (matching("^as$"), false),
        ] {
            assert_eq!(objects.shows("fast", &labels), expected, "{objects:?}");
        }
        assert!(NamePattern::new("(").is_err());
        assert!(NamePattern::new(&"(a{1000}){1000}".repeat(4)).is_err());
    }
}
