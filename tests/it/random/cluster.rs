//! What there is, as the administrator lists it, and the people who look at it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use http::Method;
use jiff::Timestamp;
use serde_json::Value;

use super::oracle::tenants_of;
use crate::harness::world::World;

/// A kind whose lists are compared.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    pub group: &'static str,
    pub version: &'static str,
    pub plural: &'static str,
    /// `kind` of its objects.
    pub kind: &'static str,
    /// What `proxySettings` call it.
    pub setting: Option<&'static str>,
}

const fn kind(
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    kind: &'static str,
    setting: Option<&'static str>,
) -> Kind {
    Kind {
        group,
        version,
        plural,
        kind,
        setting,
    }
}

/// Every list that is compared.
pub const KINDS: [Kind; 11] = [
    kind("", "v1", "namespaces", "Namespace", None),
    kind("capsule.clastix.io", "v1beta2", "tenants", "Tenant", None),
    kind("", "v1", "nodes", "Node", Some("Nodes")),
    kind(
        "",
        "v1",
        "persistentvolumes",
        "PersistentVolume",
        Some("PersistentVolumes"),
    ),
    kind(
        "storage.k8s.io",
        "v1",
        "storageclasses",
        "StorageClass",
        Some("StorageClasses"),
    ),
    kind(
        "networking.k8s.io",
        "v1",
        "ingressclasses",
        "IngressClass",
        Some("IngressClasses"),
    ),
    kind(
        "scheduling.k8s.io",
        "v1",
        "priorityclasses",
        "PriorityClass",
        Some("PriorityClasses"),
    ),
    kind(
        "node.k8s.io",
        "v1",
        "runtimeclasses",
        "RuntimeClass",
        Some("RuntimeClasses"),
    ),
    kind(
        "rbac.authorization.k8s.io",
        "v1",
        "clusterroles",
        "ClusterRole",
        None,
    ),
    // The reader may not read it: no rule shows any of it.
    kind(
        "rbac.authorization.k8s.io",
        "v1",
        "clusterrolebindings",
        "ClusterRoleBinding",
        None,
    ),
    kind("", "v1", "configmaps", "ConfigMap", None),
];

impl Kind {
    /// The kind of this plural.
    pub fn of(plural: &str) -> &'static Self {
        KINDS.iter().find(|kind| kind.plural == plural).unwrap()
    }

    /// The path of its list over the whole cluster.
    pub fn path(&self) -> String {
        path(self.group, self.version, self.plural)
    }

    /// `apiVersion` of its objects.
    pub fn api_version(&self) -> String {
        match self.group {
            "" => self.version.to_owned(),
            group => format!("{group}/{}", self.version),
        }
    }
}

fn path(group: &str, version: &str, plural: &str) -> String {
    match group {
        "" => format!("/api/{version}/{plural}"),
        group => format!("/apis/{group}/{version}/{plural}"),
    }
}

/// What the rules are read from besides.
const RULES: [(&str, &str, &str); 4] = [
    ("rbac.authorization.k8s.io", "v1", "rolebindings"),
    ("capsule.clastix.io", "v1beta1", "proxysettings"),
    ("capsule.clastix.io", "v1beta1", "globalproxysettings"),
    ("capsule.clastix.io", "v1beta2", "capsuleconfigurations"),
];

/// The cluster at one moment.
pub struct Cluster {
    lists: BTreeMap<&'static str, Vec<Value>>,
    /// By namespace, which Tenants own it: their places in the list.
    owning: BTreeMap<String, Vec<usize>>,
    /// Groups that the proxies are told to leave alone.
    pub ignored: Vec<String>,
}

impl Cluster {
    /// As it is now.
    pub async fn now(world: &'static World) -> Self {
        let kinds = KINDS
            .iter()
            .map(|kind| (kind.group, kind.version, kind.plural));
        let mut lists = BTreeMap::new();
        for (group, version, plural) in kinds.chain(RULES) {
            let path = path(group, version, plural);
            let mut list = world.admin(Method::GET, &path, None).await.unwrap();
            let Value::Array(items) = list["items"].take() else {
                panic!("{plural}: {list}")
            };
            lists.insert(plural, items);
        }
        let (tenants, now) = (&lists["tenants"], Timestamp::now());
        let owning = lists["namespaces"].iter().map(|namespace| {
            let owning = tenants_of(namespace, tenants, now).into_iter();
            let place = |owner| tenants.iter().position(|it| uid(it) == uid(owner));
            (key(namespace), owning.filter_map(place).collect())
        });
        Self {
            owning: owning.collect(),
            lists,
            ignored: vec![world.groups.admins.clone()],
        }
    }

    /// All objects of this plural.
    pub fn all(&self, plural: &str) -> &[Value] {
        &self.lists[plural]
    }

    /// The Tenants that own `namespace`.
    pub fn owning(&self, namespace: &str) -> impl Iterator<Item = &Value> + Clone {
        let owning = self.owning.get(namespace).into_iter().flatten();
        owning.map(|place| &self.lists["tenants"][*place])
    }

    /// The keys of all objects of this plural.
    pub fn keys(&self, plural: &str) -> BTreeSet<String> {
        self.all(plural).iter().map(key).collect()
    }
}

/// `namespace/name`, or the name of what is in no namespace.
pub fn key(object: &Value) -> String {
    let metadata = &object["metadata"];
    let name = metadata["name"].as_str().unwrap();
    match metadata["namespace"].as_str() {
        Some(namespace) if !namespace.is_empty() => format!("{namespace}/{name}"),
        _ => name.to_owned(),
    }
}

pub fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

pub fn namespace(object: &Value) -> &str {
    object["metadata"]["namespace"].as_str().unwrap_or_default()
}

pub fn uid(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap()
}

/// The entries of a list; none of what is no list.
pub fn entries(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

/// Somebody who lists.
#[derive(Clone, Debug)]
pub struct Person {
    pub name: String,
    /// With those that the API server adds.
    pub groups: Vec<String>,
    pub token: String,
}

impl Person {
    /// Whether `{kind, name}`, as Tenants and rules write it, is he or a group of his.
    pub fn is_named_by(&self, entry: &Value) -> bool {
        let (Some(kind), Some(name)) = (entry["kind"].as_str(), entry["name"].as_str()) else {
            return false;
        };
        match kind {
            "User" => self.name == name,
            "Group" => self.groups.iter().any(|group| group == name),
            "ServiceAccount" => {
                let parts: Vec<&str> = name.split(':').collect();
                let is_account = matches!(parts.as_slice(), ["system", "serviceaccount", _, _]);
                is_account && self.name == name
            }
            _ => false,
        }
    }

    /// Whether a subject of a RoleBinding is he or a group of his, and not one of everybody.
    pub fn is_bound_by(&self, subject: &Value) -> bool {
        let name = subject["name"].as_str().unwrap();
        match subject["kind"].as_str().unwrap() {
            "User" => self.name == name,
            "Group" => {
                let is_wide = matches!(name, "system:authenticated" | "system:unauthenticated")
                    || name == "system:serviceaccounts"
                    || name.starts_with("system:serviceaccounts:");
                !is_wide && self.groups.iter().any(|group| group == name)
            }
            "ServiceAccount" => {
                let namespace = subject["namespace"].as_str().unwrap();
                self.name == format!("system:serviceaccount:{namespace}:{name}")
            }
            other => panic!("the API server has no subjects of kind {other}"),
        }
    }
}
