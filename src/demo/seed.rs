//! What a world holds when it starts: the cluster's own objects, the roles the chart would install, tenants.
//! Nothing here is decided by chance but uids, so that two worlds from one seed look alike.

use std::time::Duration;

use serde_json::Value;
use serde_json::json;

use super::admission;
use super::capsule;
use super::controllers;
use super::issuer::object_id;
use super::kinds;
use super::kinds::Kind;
use super::object::map_in;
use super::object::object_mut;
use super::object::text;
use super::store::Key;
use super::store::State;
use crate::k8s::names::GroupResource;

mod cluster;

/// The namespace that the operator and the proxy live in.
pub const PROXY_NAMESPACE: &str = "capsule-system";
/// The proxy's service account.
pub const PROXY_ACCOUNT: &str = "capsule-proxy";

/// What a world is made of.
#[derive(Clone, Debug)]
pub struct Seed {
    /// Tenants with their namespaces.
    pub tenants: Vec<TenantSeed>,
    /// Groups whose members the operator takes for Capsule users.
    pub capsule_groups: Vec<String>,
    /// Groups bound to `cluster-admin`.
    pub admin_groups: Vec<String>,
    /// Whether a namespace's name must begin with its Tenant's.
    pub force_tenant_prefix: bool,
    /// How far the operator's RoleBindings and status lag behind.
    pub operator_lag: Duration,
    /// How often a watch that allows bookmarks gets one.
    pub bookmarks_every: Duration,
}

/// A Tenant and what it starts with.
#[derive(Clone, Debug)]
pub struct TenantSeed {
    /// Its name.
    pub name: String,
    /// Who owns it.
    pub owners: Vec<Owner>,
    /// Full names of its namespaces.
    pub namespaces: Vec<String>,
}

/// An owner of a Tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// By user name.
    User(String),
    /// By group name; in Entra an object id.
    Group(String),
    /// By namespace and name.
    ServiceAccount(String, String),
}

impl Owner {
    fn json(&self) -> Value {
        match self {
            Self::User(name) => json!({"kind": "User", "name": name}),
            Self::Group(name) => json!({"kind": "Group", "name": name}),
            Self::ServiceAccount(namespace, name) => {
                json!({"kind": "ServiceAccount", "name": format!("system:serviceaccount:{namespace}:{name}")})
            }
        }
    }
}

impl TenantSeed {
    /// A Tenant with namespaces `{name}-{suffix}`.
    pub fn new(name: &str, owners: &[Owner], suffixes: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            owners: owners.to_vec(),
            namespaces: suffixes
                .iter()
                .map(|suffix| format!("{name}-{suffix}"))
                .collect(),
        }
    }
}

impl Default for Seed {
    /// A cluster without tenants.
    fn default() -> Self {
        Self {
            tenants: Vec::new(),
            capsule_groups: vec![object_id("capsuleGroup")],
            admin_groups: vec![object_id("capsuleAdminGroup")],
            force_tenant_prefix: true,
            operator_lag: Duration::from_millis(300),
            bookmarks_every: Duration::from_secs(60),
        }
    }
}

/// The people of the demo by their user names.
pub(crate) const ALICE: &str = "alice@example.com";
pub(crate) const BOB: &str = "bob@example.com";
pub(crate) const ADMIN: &str = "admin@example.com";
/// Bob owns through this group.
pub(crate) const BOBS_TEAM: &str = "platformTeam";

impl Seed {
    /// The world behind `kube-tenant-proxy demo`: 15 tenants with 124 namespaces. Alice owns one tenant with three
    /// namespaces, Bob's team two with thirteen, others the rest.
    pub fn demo() -> Self {
        const STAGES: [&str; 9] = [
            "dev", "test", "qa", "staging", "canary", "prod", "jobs", "data", "tools",
        ];
        let user = |name: &str| Owner::User(name.to_owned());
        let team = Owner::Group(object_id(BOBS_TEAM));
        let mut tenants = vec![
            TenantSeed::new("oil", &[user(ALICE)], &["dev", "prod", "test"]),
            TenantSeed::new("gas", std::slice::from_ref(&team), &STAGES),
            TenantSeed::new(
                "wind",
                &[team, user("dave@example.com")],
                &["dev", "test", "staging", "prod"],
            ),
        ];
        for name in [
            "biogas",
            "coal",
            "geothermal",
            "grid",
            "hydro",
            "metering",
            "nuclear",
            "pipeline",
            "solar",
            "storage",
            "tidal",
            "trading",
        ] {
            let owner = user(&format!("{name}@example.com"));
            tenants.push(TenantSeed::new(name, &[owner], &STAGES));
        }
        Self {
            tenants,
            ..Self::default()
        }
    }

    /// Fills an empty state, and lets the controllers settle.
    pub(crate) fn plant(&self, state: &mut State, ca_pem: &str) {
        for (path, body) in cluster::objects(self) {
            plant(state, path, body);
        }
        for tenant in &self.tenants {
            let owners: Vec<Value> = tenant.owners.iter().map(Owner::json).collect();
            let body = json!({"metadata": {"name": tenant.name}, "spec": {"owners": owners}});
            let uid = plant(state, "capsule.clastix.io/tenants/v1beta2", body);
            let reference = json!({"apiVersion": "capsule.clastix.io/v1beta2", "kind": "Tenant", "name": tenant.name, "uid": uid});
            for namespace in &tenant.namespaces {
                let labels = json!({"capsule.clastix.io/tenant": tenant.name});
                let metadata =
                    json!({"name": namespace, "labels": labels, "ownerReferences": [reference]});
                plant(state, "/namespaces/v1", json!({"metadata": metadata}));
                workload(state, namespace);
            }
        }
        // The second round sees what the first one wrote.
        for _ in 0..2 {
            controllers::reconcile(state, ca_pem);
            capsule::reconcile(state);
        }
    }
}

/// A pod and its configuration, so that `kubectl get pods -A` has something to show.
fn workload(state: &mut State, namespace: &str) {
    let metadata =
        |name: &str| json!({"name": name, "namespace": namespace, "labels": {"app": "web"}});
    let config = json!({"metadata": metadata("web"), "data": {"greeting": format!("hello from {namespace}")}});
    plant(state, "/configmaps/v1", config);
    let containers = json!([{"name": "web", "image": "registry.example.com/web:1"}]);
    let pod = json!({"metadata": metadata("web-0"), "spec": {"containers": containers, "serviceAccountName": "default"}});
    plant(state, "/pods/v1", pod);
}

/// Stores one object of the kind at `group/plural/version`, and returns its uid.
fn plant(state: &mut State, path: &str, mut body: Value) -> String {
    let Some(kind) = kind(state, path) else {
        debug_assert!(false, "the seed names a kind that is not served: {path}");
        return String::new();
    };
    let name = text(&body, "/metadata/name").to_owned();
    let namespace = text(&body, "/metadata/namespace").to_owned();
    map_in(&mut body, "metadata");
    let status = body.get("status").cloned();
    admission::complete(&kind, &mut body);
    if let Some(status) = status {
        object_mut(&mut body).insert("status".to_owned(), status);
    }
    let key: Key = kind.key(&namespace, &name);
    state.put(&key, body).uid().to_owned()
}

fn kind(state: &State, path: &str) -> Option<Kind> {
    let mut parts = path.split('/');
    let (group, plural, version) = (parts.next()?, parts.next()?, parts.next()?);
    kinds::resolve(state, &GroupResource::new(group, plural), version)
}

#[cfg(test)]
mod tests;
