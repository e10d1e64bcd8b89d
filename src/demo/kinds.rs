//! The kinds that are served: a table of built-in ones, and those that stored CustomResourceDefinitions add.
//! It knows names, scope and verbs; what an object holds is nobody's business here.

use std::sync::Arc;

use serde_json::Value;

use super::object::Object;
use super::object::items;
use super::object::text;
use super::object::texts;
use super::store::Key;
use super::store::State;
use crate::k8s::names::GroupResource;

/// One kind in one version.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kind {
    pub(crate) resource: GroupResource,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) singular: String,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) namespaced: bool,
    pub(crate) subresources: Vec<String>,
    pub(crate) nature: Nature,
}

/// Where a kind comes from, and thereby what can be done with it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Nature {
    /// Stored, with the encodings and habits of a typed object.
    BuiltIn,
    /// Stored, from a CustomResourceDefinition; the columns are its `additionalPrinterColumns`.
    Custom { columns: Vec<Value> },
    /// Answered at creation and never stored.
    Review,
}

impl Kind {
    /// `v1`, or `group/version`.
    pub(crate) fn api_version(&self) -> String {
        if self.resource.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.resource.group, self.version)
        }
    }

    pub(crate) fn is_custom(&self) -> bool {
        matches!(self.nature, Nature::Custom { .. })
    }

    /// Whether `subresource` is served; the empty one is the object itself.
    pub(crate) fn serves(&self, subresource: &str) -> bool {
        subresource.is_empty() || self.subresources.iter().any(|one| one == subresource)
    }

    pub(crate) fn verbs(&self) -> &'static [&'static str] {
        match self.nature {
            Nature::BuiltIn | Nature::Custom { .. } => &[
                "create",
                "delete",
                "deletecollection",
                "get",
                "list",
                "patch",
                "update",
                "watch",
            ],
            Nature::Review => &["create"],
        }
    }

    /// What an object of this kind is stored under.
    pub(crate) fn key(&self, namespace: &str, name: &str) -> Key {
        Key::new(
            &self.resource,
            if self.namespaced { namespace } else { "" },
            name,
        )
    }
}

/// The kind that answers `resource` in `version`.
pub(crate) fn resolve(state: &State, resource: &GroupResource, version: &str) -> Option<Kind> {
    let built_in = BUILT_IN
        .iter()
        .find(|row| row.is(resource) && row.version == version);
    if let Some(row) = built_in {
        return Some(row.kind());
    }
    let definition = state.get(&Key::new(
        &definitions(),
        "",
        &format!("{}.{}", resource.resource, resource.group),
    ))?;
    served_versions(definition).find(|kind| kind.version == version)
}

/// Every kind in every version, built-in ones first.
pub(crate) fn all(state: &State) -> Vec<Kind> {
    let definitions = state.list(&definitions(), "");
    let custom = definitions
        .iter()
        .flat_map(|(_, definition)| served_versions(definition));
    BUILT_IN.iter().map(BuiltIn::kind).chain(custom).collect()
}

/// `customresourcedefinitions.apiextensions.k8s.io`.
pub(crate) fn definitions() -> GroupResource {
    GroupResource::new("apiextensions.k8s.io", "customresourcedefinitions")
}

/// `namespaces`.
pub(crate) fn namespaces() -> GroupResource {
    GroupResource::new("", "namespaces")
}

fn served_versions(definition: &Arc<Object>) -> impl Iterator<Item = Kind> {
    let spec = definition.value.get("spec").unwrap_or(&Value::Null);
    let served = items(spec, "/versions")
        .iter()
        .filter(|version| version.get("served") == Some(&Value::Bool(true)));
    served.map(move |version| Kind {
        resource: GroupResource::new(text(spec, "/group"), text(spec, "/names/plural")),
        version: text(version, "/name").to_owned(),
        kind: text(spec, "/names/kind").to_owned(),
        singular: match text(spec, "/names/singular") {
            "" => text(spec, "/names/kind").to_lowercase(),
            singular => singular.to_owned(),
        },
        short_names: texts(spec, "/names/shortNames")
            .map(str::to_owned)
            .collect(),
        categories: texts(spec, "/names/categories")
            .map(str::to_owned)
            .collect(),
        namespaced: text(spec, "/scope") == "Namespaced",
        subresources: match version.pointer("/subresources/status") {
            Some(_) => vec!["status".to_owned()],
            None => Vec::new(),
        },
        nature: Nature::Custom {
            columns: items(version, "/additionalPrinterColumns").to_vec(),
        },
    })
}

struct BuiltIn {
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    kind: &'static str,
    /// One, as `kubectl api-resources` shows it; empty for none.
    short: &'static str,
    namespaced: bool,
    subresources: &'static [&'static str],
}

impl BuiltIn {
    fn is(&self, resource: &GroupResource) -> bool {
        self.group == &*resource.group && self.plural == &*resource.resource
    }

    fn kind(&self) -> Kind {
        Kind {
            resource: GroupResource::new(self.group, self.plural),
            version: self.version.to_owned(),
            kind: self.kind.to_owned(),
            singular: self.kind.to_lowercase(),
            short_names: Some(self.short)
                .filter(|short| !short.is_empty())
                .map(str::to_owned)
                .into_iter()
                .collect(),
            categories: match self.plural {
                "pods" | "services" | "deployments" => vec!["all".to_owned()],
                _ => Vec::new(),
            },
            namespaced: self.namespaced,
            subresources: self
                .subresources
                .iter()
                .map(|&one| one.to_owned())
                .collect(),
            nature: if matches!(self.group, "authentication.k8s.io" | "authorization.k8s.io") {
                Nature::Review
            } else {
                Nature::BuiltIn
            },
        }
    }
}

const fn row(
    group: &'static str,
    plural: &'static str,
    kind: &'static str,
    short: &'static str,
    namespaced: bool,
    subresources: &'static [&'static str],
) -> BuiltIn {
    BuiltIn {
        group,
        version: "v1",
        plural,
        kind,
        short,
        namespaced,
        subresources,
    }
}

const RBAC: &str = "rbac.authorization.k8s.io";
const REVIEWS: &str = "authorization.k8s.io";
const POD_PARTS: &[&str] = &["attach", "exec", "log", "portforward", "proxy", "status"];

const BUILT_IN: &[BuiltIn] = &[
    row("", "configmaps", "ConfigMap", "cm", true, &[]),
    row("", "events", "Event", "ev", true, &[]),
    row("", "limitranges", "LimitRange", "limits", true, &[]),
    row(
        "",
        "namespaces",
        "Namespace",
        "ns",
        false,
        &["finalize", "status"],
    ),
    row("", "nodes", "Node", "no", false, &["proxy", "status"]),
    row(
        "",
        "persistentvolumeclaims",
        "PersistentVolumeClaim",
        "pvc",
        true,
        &["status"],
    ),
    row(
        "",
        "persistentvolumes",
        "PersistentVolume",
        "pv",
        false,
        &["status"],
    ),
    row("", "pods", "Pod", "po", true, POD_PARTS),
    row(
        "",
        "resourcequotas",
        "ResourceQuota",
        "quota",
        true,
        &["status"],
    ),
    row("", "secrets", "Secret", "", true, &[]),
    row(
        "",
        "serviceaccounts",
        "ServiceAccount",
        "sa",
        true,
        &["token"],
    ),
    row("", "services", "Service", "svc", true, &["proxy", "status"]),
    row(
        "apps",
        "deployments",
        "Deployment",
        "deploy",
        true,
        &["status"],
    ),
    row(
        "networking.k8s.io",
        "ingressclasses",
        "IngressClass",
        "",
        false,
        &[],
    ),
    row(
        "networking.k8s.io",
        "networkpolicies",
        "NetworkPolicy",
        "netpol",
        true,
        &[],
    ),
    row(
        "node.k8s.io",
        "runtimeclasses",
        "RuntimeClass",
        "",
        false,
        &[],
    ),
    row(
        "scheduling.k8s.io",
        "priorityclasses",
        "PriorityClass",
        "pc",
        false,
        &[],
    ),
    row(
        "storage.k8s.io",
        "storageclasses",
        "StorageClass",
        "sc",
        false,
        &[],
    ),
    row(
        RBAC,
        "clusterrolebindings",
        "ClusterRoleBinding",
        "",
        false,
        &[],
    ),
    row(RBAC, "clusterroles", "ClusterRole", "", false, &[]),
    row(RBAC, "rolebindings", "RoleBinding", "", true, &[]),
    row(RBAC, "roles", "Role", "", true, &[]),
    row(
        "apiextensions.k8s.io",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        "crd",
        false,
        &["status"],
    ),
    row(
        "apiregistration.k8s.io",
        "apiservices",
        "APIService",
        "",
        false,
        &["status"],
    ),
    row(
        "authentication.k8s.io",
        "selfsubjectreviews",
        "SelfSubjectReview",
        "",
        false,
        &[],
    ),
    row(
        "authentication.k8s.io",
        "tokenreviews",
        "TokenReview",
        "",
        false,
        &[],
    ),
    row(
        REVIEWS,
        "localsubjectaccessreviews",
        "LocalSubjectAccessReview",
        "",
        true,
        &[],
    ),
    row(
        REVIEWS,
        "selfsubjectaccessreviews",
        "SelfSubjectAccessReview",
        "",
        false,
        &[],
    ),
    row(
        REVIEWS,
        "selfsubjectrulesreviews",
        "SelfSubjectRulesReview",
        "",
        false,
        &[],
    ),
    row(
        REVIEWS,
        "subjectaccessreviews",
        "SubjectAccessReview",
        "",
        false,
        &[],
    ),
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::demo::store::Store;

    #[test]
    fn a_definition_serves_its_versions_and_no_other() {
        let store = Store::new();
        let tenants = GroupResource::new("capsule.clastix.io", "tenants");
        store.write(|state| {
            assert_eq!(resolve(state, &tenants, "v1beta2"), None);
            let names = json!({"plural": "tenants", "kind": "Tenant", "shortNames": ["tnt"]});
            let versions = json!([
                {"name": "v1beta2", "served": true, "subresources": {"status": {}}},
                {"name": "v1alpha1", "served": false},
            ]);
            let spec = json!({"group": "capsule.clastix.io", "names": names, "scope": "Cluster", "versions": versions});
            state.put(&Key::new(&definitions(), "", "tenants.capsule.clastix.io"), json!({"spec": spec}));
            let kind = resolve(state, &tenants, "v1beta2").unwrap();
            assert_eq!((kind.singular.as_str(), kind.namespaced, kind.serves("status")), ("tenant", false, true));
            assert_eq!(resolve(state, &tenants, "v1alpha1"), None);
        });
    }
}
