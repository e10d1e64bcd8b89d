//! People and tenants, made anew by each test so that tests do not meet.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use http::Method;
use serde_json::Value;
use serde_json::json;

use super::eventually;
use super::world::World;

/// Somebody with a token.
#[derive(Clone, Debug)]
pub struct Person {
    /// As the API server knows him.
    pub name: String,
    pub token: String,
}

/// A Tenant with its first owner.
#[derive(Clone, Debug)]
pub struct Tenant {
    pub name: String,
    pub owner: Person,
    /// Full names of its namespaces, in order.
    pub namespaces: Vec<String>,
}

/// A number that no other test of this process has. It starts where names of one length are, so that none is the
/// beginning of another.
pub fn unique() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(1000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

const TENANTS: &str = "/apis/capsule.clastix.io/v1beta2/tenants";

impl World {
    /// A Capsule user whom nobody else knows.
    pub async fn person(&'static self) -> Person {
        self.member_of(&[&self.groups.users.clone()]).await
    }

    /// A member of `groups`.
    pub async fn member_of(&'static self, groups: &[&str]) -> Person {
        let name = format!("alice-{}@example.com", unique());
        let token = self.token(&name, groups).await;
        Person { name, token }
    }

    /// Somebody of whom the directory knows all of this, and writes what it writes into tokens.
    pub async fn persona(&'static self, mut persona: Value) -> Person {
        let name = format!("persona-{}", unique());
        persona["name"] = name.as_str().into();
        self.directory("/control/persona", persona).await;
        let order = json!({ "persona": name });
        let minted = self.directory("/control/mint", order).await;
        let claims = &minted["claims"];
        let name = claims["upn"]
            .as_str()
            .or_else(|| claims["oid"].as_str())
            .unwrap();
        Person {
            name: name.to_owned(),
            token: minted["token"].as_str().unwrap().to_owned(),
        }
    }

    /// A new person who owns a new Tenant with namespaces of these suffixes.
    pub async fn tenant(&'static self, suffixes: &[&str]) -> Tenant {
        let owner = self.person().await;
        self.tenant_of(owner, suffixes).await
    }

    /// A new Tenant of `owner`.
    pub async fn tenant_of(&'static self, owner: Person, suffixes: &[&str]) -> Tenant {
        let name = format!("t{}", unique());
        let body = json!({
            "apiVersion": "capsule.clastix.io/v1beta2", "kind": "Tenant", "metadata": {"name": name},
            "spec": {"owners": [{"kind": "User", "name": owner.name}]},
        });
        self.admin(Method::POST, TENANTS, Some(&body))
            .await
            .unwrap();
        let mut tenant = Tenant {
            name,
            owner,
            namespaces: Vec::new(),
        };
        for suffix in suffixes {
            let namespace = self.namespace_in(&tenant, suffix).await;
            tenant.namespaces.push(namespace);
        }
        tenant.namespaces.sort();
        tenant
    }

    /// Another namespace in `tenant`, made by the administrator; its full name.
    pub async fn namespace_in(&'static self, tenant: &Tenant, suffix: &str) -> String {
        let name = format!("{}-{suffix}", tenant.name);
        let labels = json!({"capsule.clastix.io/tenant": tenant.name});
        let metadata = json!({"name": name, "labels": labels});
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
        // The operator's webhook may not know the Tenant yet.
        eventually(|| async {
            let made = self
                .admin(Method::POST, "/api/v1/namespaces", Some(&body))
                .await;
            made.map_err(|why| why.to_string())
        })
        .await;
        name
    }

    /// Makes exactly these people the owners of `tenant`.
    pub async fn set_owners(&'static self, tenant: &Tenant, owners: &[&Person]) {
        let owners = owners
            .iter()
            .map(|owner| json!({"kind": "User", "name": owner.name}))
            .collect();
        self.owned_by(tenant, owners).await;
    }

    /// Makes these subjects the owners of `tenant`.
    pub async fn owned_by(&'static self, tenant: &Tenant, owners: Value) {
        let path = format!("{TENANTS}/{}", tenant.name);
        self.merge(&path, &json!({"spec": {"owners": owners}}))
            .await;
    }

    /// Binds `person` to a ClusterRole in the whole cluster; the binding's path, to be deleted.
    pub async fn bind(&'static self, person: &Person, role: &str) -> String {
        let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
        let name = format!("it-{}", unique());
        let group = "rbac.authorization.k8s.io";
        let body = json!({
            "apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": group, "kind": "User", "name": person.name}],
        });
        self.admin(Method::POST, bindings, Some(&body))
            .await
            .unwrap();
        format!("{bindings}/{name}")
    }
}
