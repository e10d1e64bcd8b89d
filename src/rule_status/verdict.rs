//! What is to be said about a rule: whether it acts whole, and if not, why. Pure.

use crate::catalog::Readable;
use crate::k8s::names::GroupResource;
use crate::tenancy::facts::GlobalFact;
use crate::tenancy::facts::Reading;
use crate::tenancy::facts::Rejected;
use crate::tenancy::facts::SettingFact;
use crate::tenancy::grant::Grant;
use crate::tenancy::grant::Kinds;

/// The condition `Ready` of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Whether all of it acts.
    pub(super) ready: bool,
    /// One word, for machines.
    pub(super) reason: &'static str,
    /// A sentence, for people.
    pub(super) message: String,
}

const SWITCH: &str = "--feature-gates=ProxyClusterScoped=true";

impl Verdict {
    /// About a ProxySetting; `acts`: whether `clusterResources` do.
    pub(super) fn of_setting(
        reading: &Reading<SettingFact>,
        readable: &Readable,
        acts: bool,
    ) -> Self {
        let subjects = reading.fact.iter().flat_map(|fact| &fact.subjects);
        let grants: Vec<&Grant> = subjects.flat_map(|subject| &subject.grants).collect();
        if let Some(wrong) = Self::invalid(&reading.rejected) {
            return wrong;
        }
        if !acts && !grants.is_empty() {
            return Self {
                ready: true,
                reason: "Ready",
                message: format!("clusterResources lie inert; {SWITCH} makes them act"),
            };
        }
        Self::served(&grants, readable)
    }

    /// About a GlobalProxySettings; `acts`: whether they do.
    pub(super) fn of_global(
        reading: &Reading<GlobalFact>,
        readable: &Readable,
        acts: bool,
    ) -> Self {
        let rules = reading.fact.iter().flat_map(|fact| &fact.rules);
        let grants: Vec<&Grant> = rules.flat_map(|rule| &rule.grants).collect();
        if let Some(wrong) = Self::invalid(&reading.rejected) {
            return wrong;
        }
        if !acts {
            return Self {
                ready: false,
                reason: "Inert",
                message: format!("GlobalProxySettings lie inert; {SWITCH} makes them act"),
            };
        }
        Self::served(&grants, readable)
    }

    fn invalid(rejected: &[Rejected]) -> Option<Self> {
        if rejected.is_empty() {
            return None;
        }
        let parts: Vec<String> = rejected.iter().map(ToString::to_string).collect();
        Some(Self {
            ready: false,
            reason: "InvalidRule",
            message: format!("grants nothing: {}", parts.join("; ")),
        })
    }

    /// About rules that can be read: whether the reader may show what they name. A `*` means whatever it may show.
    fn served(grants: &[&Grant], readable: &Readable) -> Self {
        let missing: Vec<String> = match readable {
            Readable::Unknown => Vec::new(),
            Readable::Known(kinds) => {
                let named = grants.iter().flat_map(|grant| named_kinds(&grant.kinds));
                let mut missing: Vec<String> = named
                    .filter(|kind| !kinds.contains(kind))
                    .map(|kind| kind.to_string())
                    .collect();
                missing.sort_unstable();
                missing.dedup();
                missing
            }
        };
        if missing.is_empty() {
            return Self {
                ready: true,
                reason: "Ready",
                message: "all rules act".to_owned(),
            };
        }
        Self {
            ready: false,
            reason: "NotReadable",
            message: format!(
                "the proxy's reader may not get, list and watch {}",
                missing.join(", ")
            ),
        }
    }
}

/// The kinds that are named without a wildcard.
fn named_kinds(kinds: &Kinds) -> Vec<GroupResource> {
    match kinds {
        Kinds::One(kind) => vec![kind.clone()],
        Kinds::Rule(rule) => {
            let groups = rule.api_groups.iter().map(|pattern| pattern.as_str());
            let groups = groups.map(|text| text.split_once('/').map_or(text, |(group, _)| group));
            let named = groups.filter(|group| !group.contains('*'));
            named
                .flat_map(|group| {
                    let plurals = rule.resources.iter().filter(|plural| *plural != "*");
                    plurals.map(move |plural| GroupResource::new(group, plural))
                })
                .collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::api::authorization::v1::ResourceRule;
    use kube::api::DynamicObject;
    use serde_json::Value;
    use serde_json::json;

    use super::*;
    use crate::catalog::ReadableKinds;
    use crate::tenancy::facts;

    /// The reader may read nodes.
    fn readable() -> Readable {
        let rule = ResourceRule {
            verbs: vec!["*".to_owned()],
            api_groups: Some(vec![String::new()]),
            resources: Some(vec!["nodes".to_owned()]),
            resource_names: None,
        };
        Readable::Known(Arc::new(ReadableKinds::of_rules(&[rule])))
    }

    fn object(spec: &Value) -> DynamicObject {
        let object = json!({"metadata": {"name": "s", "namespace": "n"}, "spec": spec});
        serde_json::from_value(object).unwrap()
    }

    fn told(verdict: &Verdict) -> String {
        format!("{} {}: {}", verdict.ready, verdict.reason, verdict.message)
    }

    #[test]
    fn the_reason_names_what_does_not_act() {
        let rule = |group: &str, plural: &str| json!({"apiGroups": [group], "resources": [plural], "selector": {"matchLabels": {"a": "b"}}});
        for (rule, acts, expected) in [
            (rule("", "nodes"), true, "true Ready: all rules act"),
            (rule("*", "*"), true, "true Ready: all rules act"),
            (
                rule("storage.k8s.io/v1", "storageclasses"),
                true,
                "false NotReadable: the proxy's reader may not get, list and watch storageclasses.storage.k8s.io",
            ),
            (
                rule("", "nodes"),
                false,
                "false Inert: GlobalProxySettings lie inert; --feature-gates=ProxyClusterScoped=true makes them act",
            ),
            (
                json!({"apiGroups": [""], "resources": ["nodes"], "selector": {}}),
                true,
                "false InvalidRule: grants nothing: spec.rules[0].clusterResources[0].selector is empty and selects nothing",
            ),
        ] {
            let spec = json!({"rules": [{"subjects": [], "clusterResources": [rule]}]});
            let verdict = Verdict::of_global(&facts::global(&object(&spec)), &readable(), acts);
            assert_eq!(told(&verdict), expected);
        }
    }

    #[test]
    fn a_proxy_setting_acts_without_its_cluster_resources() {
        let rule = json!({"apiGroups": [""], "resources": ["nodes"], "selector": {"matchLabels": {"a": "b"}}});
        let subject = json!({"kind": "User", "name": "alice", "clusterResources": [rule]});
        let spec = json!({"subjects": [subject]});
        for (acts, expected) in [
            (true, "true Ready: all rules act"),
            (
                false,
                "true Ready: clusterResources lie inert; --feature-gates=ProxyClusterScoped=true makes them act",
            ),
        ] {
            let verdict = Verdict::of_setting(&facts::setting(&object(&spec)), &readable(), acts);
            assert_eq!(told(&verdict), expected);
        }
    }
}
