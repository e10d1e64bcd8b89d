//! A stand-in for the Capsule operator: what release 0.13 was seen to do, and no more. [`admission`] puts a new
//! namespace into its owner's Tenant; a moment later [`reconcile`] writes RoleBindings and the Tenant's status.
//! It writes as the cluster itself and asks nobody for rights, as the operator in effect does.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_lc_rs::digest;
use serde_json::Value;
use serde_json::json;

use super::kinds;
use super::object;
use super::object::Object;
use super::object::items;
use super::object::map_in;
use super::object::object_mut;
use super::object::text;
use super::object::texts;
use super::store::Key;
use super::store::State;
use super::user::User;
use crate::k8s::names::GroupResource;

/// The API group of Capsule.
pub(crate) const GROUP: &str = "capsule.clastix.io";
/// The label and ownerReference of a tenant's namespace say the same; only the reference proves anything.
const TENANT_LABEL: &str = "capsule.clastix.io/tenant";
const MANAGED_BY: &str = "projectcapsule.dev/managed-by";

pub(crate) mod admission;

/// `tenants.capsule.clastix.io`.
pub(crate) fn tenants() -> GroupResource {
    GroupResource::new(GROUP, "tenants")
}

fn role_bindings() -> GroupResource {
    GroupResource::new("rbac.authorization.k8s.io", "rolebindings")
}

/// Without `controller` and `blockOwnerDeletion`, as the operator writes it.
fn tenant_reference(tenant: &Object) -> Value {
    json!({"apiVersion": format!("{GROUP}/v1beta2"), "kind": "Tenant", "name": tenant.name(), "uid": tenant.uid()})
}

fn is_owner(owner: &Value, user: &User) -> bool {
    let name = text(owner, "/name");
    match text(owner, "/kind") {
        "User" | "ServiceAccount" => user.name == name,
        "Group" => user.is_in(name),
        _ => false,
    }
}

fn owners(tenant: &Value) -> &[Value] {
    items(tenant, "/spec/owners")
}

/// One round of the operator: bindings and status of every Tenant, namespaces of Tenants that are gone.
pub(crate) fn reconcile(state: &mut State) {
    let namespaces: Vec<_> = state
        .list(&kinds::namespaces(), "")
        .into_iter()
        .map(|(_, namespace)| namespace)
        .collect();
    let tenants: Vec<_> = state
        .list(&tenants(), "")
        .into_iter()
        .map(|(_, tenant)| tenant)
        .collect();
    let mut bindings = BTreeMap::new();
    for tenant in &tenants {
        let members: Vec<_> = namespaces
            .iter()
            .filter(|namespace| belongs_to(namespace, tenant.uid()))
            .collect();
        for member in members.iter().filter(|member| !member.is_terminating()) {
            for (name, binding) in wanted_bindings(tenant, member.name()) {
                bindings.insert(Key::new(&role_bindings(), member.name(), &name), binding);
            }
        }
        put_status(state, tenant, &members);
    }
    put_bindings(state, bindings);
    for namespace in namespaces
        .iter()
        .filter(|namespace| !namespace.is_terminating())
    {
        let uid = tenant_uid(namespace);
        if !uid.is_empty() && !tenants.iter().any(|tenant| tenant.uid() == uid) {
            terminate(state, namespace);
        }
    }
}

fn belongs_to(namespace: &Object, tenant_uid: &str) -> bool {
    !tenant_uid.is_empty() && self::tenant_uid(namespace) == tenant_uid
}

fn tenant_uid(namespace: &Object) -> &str {
    let mut references = items(&namespace.value, "/metadata/ownerReferences").iter();
    references
        .find(|reference| admission::is_tenant_reference(reference))
        .map_or("", |reference| text(reference, "/uid"))
}

/// The bindings of `tenant`'s owners in one namespace, by name.
fn wanted_bindings(tenant: &Object, namespace: &str) -> Vec<(String, Value)> {
    let mut bindings = Vec::new();
    for owner in owners(&tenant.value) {
        let given: Vec<&str> = texts(owner, "/clusterRoles").collect();
        let roles = if given.is_empty() {
            vec!["admin", "capsule-namespace-deleter"]
        } else {
            given
        };
        for role in roles {
            let (kind, name) = (text(owner, "/kind"), text(owner, "/name"));
            let hash = digest::digest(&digest::SHA256, format!("{kind}/{name}/{role}").as_bytes());
            let hash: String = hash
                .as_ref()
                .iter()
                .take(8)
                .map(|byte| format!("{byte:02x}"))
                .collect();
            let binding_name = format!("capsule:managed:{hash}");
            let mut reference = tenant_reference(tenant);
            object_mut(&mut reference).insert("controller".to_owned(), true.into());
            object_mut(&mut reference).insert("blockOwnerDeletion".to_owned(), true.into());
            let binding = json!({
                "metadata": {
                    "name": binding_name,
                    "namespace": namespace,
                    "labels": {TENANT_LABEL: tenant.name(), "projectcapsule.dev/tenant": tenant.name(), MANAGED_BY: "controller"},
                    "ownerReferences": [reference],
                },
                "subjects": [subject(kind, name)],
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            });
            bindings.push((binding_name, binding));
        }
    }
    bindings
}

fn subject(kind: &str, name: &str) -> Value {
    let account = name
        .strip_prefix("system:serviceaccount:")
        .and_then(|rest| rest.split_once(':'));
    match (kind, account) {
        ("ServiceAccount", Some((namespace, name))) => {
            json!({"kind": "ServiceAccount", "name": name, "namespace": namespace})
        }
        _ => json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}),
    }
}

/// Makes what is missing and takes away what nobody wants any more. A binding's hash names all of its contents.
fn put_bindings(state: &mut State, mut wanted: BTreeMap<Key, Value>) {
    for (path, binding) in state.list(&role_bindings(), "") {
        let key = Key {
            resource: role_bindings(),
            path,
        };
        if wanted.remove(&key).is_none() && binding.label(MANAGED_BY) == Some("controller") {
            state.remove(&key);
        }
    }
    for (key, mut binding) in wanted {
        let metadata = map_in(&mut binding, "metadata");
        metadata.insert("uid".to_owned(), object::uid().into());
        metadata.insert("creationTimestamp".to_owned(), object::now().into());
        state.put(&key, binding);
    }
}

fn put_status(state: &mut State, tenant: &Object, members: &[&Arc<Object>]) {
    let names: Vec<&str> = members.iter().map(|member| member.name()).collect();
    let owners: Vec<Value> = owners(&tenant.value)
        .iter()
        .map(|owner| {
            let given: Vec<&str> = texts(owner, "/clusterRoles").collect();
            let roles = if given.is_empty() { vec!["admin", "capsule-namespace-deleter"] } else { given };
            json!({"kind": text(owner, "/kind"), "name": text(owner, "/name"), "clusterRoles": roles})
        })
        .collect();
    let generation = tenant
        .value
        .pointer("/metadata/generation")
        .cloned()
        .unwrap_or(Value::Null);
    let cordoned = tenant.value.pointer("/spec/cordoned") == Some(&Value::Bool(true));
    let space = |member: &&Arc<Object>| json!({"name": member.name(), "uid": member.uid(), "conditions": conditions(member, cordoned, None)});
    let spaces: Vec<Value> = members.iter().map(space).collect();
    let status = json!({
        "namespaces": names,
        "size": names.len(),
        "spaces": spaces,
        "owners": owners,
        "state": if cordoned { "Cordoned" } else { "Active" },
        "conditions": conditions(tenant, cordoned, Some(&generation)),
        "observedGeneration": generation,
    });
    if tenant.value.get("status") != Some(&status) {
        let mut value = tenant.value.clone();
        object_mut(&mut value).insert("status".to_owned(), status);
        state.put(&Key::new(&tenants(), "", tenant.name()), value);
    }
}

/// The two conditions of a Tenant, and of each of its namespaces.
fn conditions(of: &Object, cordoned: bool, generation: Option<&Value>) -> Value {
    let since = text(&of.value, "/metadata/creationTimestamp");
    let (status, reason, message) = if cordoned {
        ("True", "Cordoned", "cordoned")
    } else {
        ("False", "Active", "active")
    };
    let mut conditions = json!([
        {"type": "Ready", "status": "True", "reason": "Succeeded", "message": "reconciled", "lastTransitionTime": since},
        {"type": "Cordoned", "status": status, "reason": reason, "message": message, "lastTransitionTime": since},
    ]);
    for condition in conditions.as_array_mut().into_iter().flatten() {
        if let Some(generation) = generation {
            object_mut(condition).insert("observedGeneration".to_owned(), generation.clone());
        }
    }
    conditions
}

/// Deletes the namespace of a Tenant that is gone, as garbage collection does by the ownerReference.
fn terminate(state: &mut State, namespace: &Object) {
    let mut value = namespace.value.clone();
    map_in(&mut value, "metadata").insert("deletionTimestamp".to_owned(), object::now().into());
    map_in(&mut value, "status").insert("phase".to_owned(), "Terminating".into());
    state.put(&Key::new(&kinds::namespaces(), "", namespace.name()), value);
}

#[cfg(test)]
mod tests;
