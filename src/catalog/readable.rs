//! Which kinds the reader may read over the whole cluster, as one `SelfSubjectRulesReview` says.

use std::sync::Arc;

use k8s_openapi::api::authorization::v1::ResourceRule;
use k8s_openapi::api::authorization::v1::SelfSubjectRulesReview;
use k8s_openapi::api::authorization::v1::SelfSubjectRulesReviewSpec;

use crate::k8s::names::GroupResource;

/// The verbs without which a kind cannot be narrowed.
const READ: [&str; 3] = ["get", "list", "watch"];

/// A review is about one namespace, and tells what is granted there besides what is granted everywhere. No namespace
/// can be called this.
const NOWHERE: &str = "kube-tenant-proxy:nowhere";

/// What is known about the reader's rights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Readable {
    /// Nobody could be asked yet.
    #[default]
    Unknown,
    /// These kinds.
    Known(Arc<ReadableKinds>),
}

/// Kinds, as rules name them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadableKinds {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    groups: Vec<String>,
    resources: Vec<String>,
}

/// The review to create as the reader.
pub(super) fn review() -> SelfSubjectRulesReview {
    SelfSubjectRulesReview {
        spec: SelfSubjectRulesReviewSpec {
            namespace: Some(NOWHERE.to_owned()),
        },
        ..SelfSubjectRulesReview::default()
    }
}

impl ReadableKinds {
    /// What `rules` grant. A rule for some objects of a kind, or for part of the verbs, does not make it readable.
    pub fn of_rules(rules: &[ResourceRule]) -> Self {
        let grants_all = |rule: &&ResourceRule| {
            let names = rule.resource_names.as_deref().unwrap_or_default();
            let has = |verb: &str| rule.verbs.iter().any(|granted| granted == verb);
            names.is_empty() && (has("*") || READ.into_iter().all(has))
        };
        let rules = rules.iter().filter(grants_all).map(|rule| Rule {
            groups: rule.api_groups.clone().unwrap_or_default(),
            resources: rule.resources.clone().unwrap_or_default(),
        });
        Self {
            rules: rules.collect(),
        }
    }

    /// Whether `resource` is one of them.
    pub fn contains(&self, resource: &GroupResource) -> bool {
        let is = |granted: &String, wanted: &str| granted == "*" || granted == wanted;
        self.rules.iter().any(|rule| {
            rule.groups.iter().any(|group| is(group, &resource.group))
                && rule
                    .resources
                    .iter()
                    .any(|plural| is(plural, &resource.resource))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(verbs: &str, groups: &str, resources: &str, names: &str) -> ResourceRule {
        let words = |text: &str| {
            text.split(',')
                .map(|word| word.replace("core", ""))
                .collect()
        };
        ResourceRule {
            verbs: words(verbs),
            api_groups: Some(words(groups)),
            resources: Some(words(resources)),
            resource_names: (!names.is_empty()).then(|| words(names)),
        }
    }

    #[test]
    fn a_kind_is_readable_if_all_of_it_may_be_read_in_every_way() {
        for (granted, expected) in [
            (rule("get,list,watch", "core", "nodes", ""), true),
            (
                rule("watch,get,list,patch", "core,apps", "pods,nodes", ""),
                true,
            ),
            (rule("*", "*", "*", ""), true),
            (rule("get,list", "core", "nodes", ""), false),
            (rule("get,list,watch", "core", "nodes", "n1"), false),
            (rule("get,list,watch", "apps", "nodes", ""), false),
            (rule("get,list,watch", "core", "nodes/status", ""), false),
        ] {
            let kinds = ReadableKinds::of_rules(std::slice::from_ref(&granted));
            let nodes = GroupResource::new("", "nodes");
            assert_eq!(kinds.contains(&nodes), expected, "{granted:?}");
        }
    }
}
