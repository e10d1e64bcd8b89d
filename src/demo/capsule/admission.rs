//! The operator's webhooks for namespaces: which Tenant one belongs to, and who may not change that.
//! Pure: it reads Tenants and configuration, and changes the object in hand at most.

use std::sync::Arc;

use serde_json::Value;
use serde_json::json;

use super::GROUP;
use super::TENANT_LABEL;
use super::is_owner;
use super::owners;
use super::tenant_reference;
use super::tenants;
use crate::demo::object::Object;
use crate::demo::object::items;
use crate::demo::object::map_in;
use crate::demo::object::object_mut;
use crate::demo::object::text;
use crate::demo::object::texts;
use crate::demo::status::Failure;
use crate::demo::store::Key;
use crate::demo::store::State;
use crate::demo::user::User;
use crate::k8s::names::GroupResource;

/// Puts a namespace into the Tenant it belongs to: by its label, or by its owner and its name. An administrator may
/// name any Tenant by the label; without one his namespaces are nobody's. `before` is what an update replaces.
///
/// # Errors
/// 403 for a Capsule user: no Tenant, not his, several and none named, a name without the forced prefix, or an update
/// that would move the namespace.
pub(crate) fn admit(
    state: &State,
    user: &User,
    before: Option<&Value>,
    namespace: &mut Value,
) -> Result<(), Failure> {
    let deny = |why: String| {
        let message = format!(
            r#"admission webhook "namespaces.projectcapsule.dev" denied the request: {why}"#
        );
        Failure::new(http::StatusCode::FORBIDDEN, "Forbidden", message)
    };
    let key = Key::new(
        &GroupResource::new(GROUP, "capsuleconfigurations"),
        "",
        "default",
    );
    let Some(configuration) = state.get(&key) else {
        return Ok(());
    };
    let asked = Asked {
        all: state
            .list(&tenants(), "")
            .into_iter()
            .map(|(_, tenant)| tenant)
            .collect(),
        capsule_user: is_capsule_user(user, &configuration.value),
        force_prefix: configuration.value.pointer("/spec/forceTenantPrefix")
            == Some(&Value::Bool(true)),
        user,
    };
    let label = label(namespace).to_owned();
    // Only a label that is new assigns; otherwise nobody could take a reference away for good.
    let assigns = before.is_none_or(|before| !label.is_empty() && self::label(before) != label);
    if assigns
        && let Some(tenant) = asked
            .choose(text(namespace, "/metadata/name"), &label)
            .map_err(deny)?
    {
        assign(namespace, &tenant);
    }
    match before {
        Some(before) if asked.capsule_user && moved(before, namespace) => Err(deny(
            "Denied patch request for this namespace: its Tenant cannot be changed".to_owned(),
        )),
        Some(_) | None => Ok(()),
    }
}

/// Who asks, and what there is to choose from.
struct Asked<'a> {
    all: Vec<Arc<Object>>,
    capsule_user: bool,
    force_prefix: bool,
    user: &'a User,
}

impl Asked<'_> {
    /// The Tenant of a namespace called `name`; `None` for one that is nobody's.
    fn choose(&self, name: &str, label: &str) -> Result<Option<Arc<Object>>, String> {
        let owns = |tenant: &&Arc<Object>| {
            owners(&tenant.value)
                .iter()
                .any(|owner| is_owner(owner, self.user))
        };
        let owned: Vec<_> = self.all.iter().filter(owns).cloned().collect();
        if owned.is_empty() && self.capsule_user {
            return Err("You do not have any Tenant assigned: please, reach out to the system administrators".to_owned());
        }
        if !label.is_empty() {
            return self.choose_by_label(&owned, name, label);
        }
        if let Some(tenant) = prefixed(&owned, name) {
            return Ok(Some(tenant));
        }
        match owned.as_slice() {
            _ if !self.capsule_user => Ok(None),
            owned if self.forces_prefix(owned) => Err(wrong_prefix(owned)),
            [only] => Ok(Some(Arc::clone(only))),
            _ => Err(format!(
                "Unable to assign namespace to tenant. Please use {TENANT_LABEL} label when creating a namespace"
            )),
        }
    }

    fn choose_by_label(
        &self,
        owned: &[Arc<Object>],
        name: &str,
        label: &str,
    ) -> Result<Option<Arc<Object>>, String> {
        let candidates = if self.capsule_user { owned } else { &self.all };
        let Some(tenant) = candidates.iter().find(|tenant| tenant.name() == label) else {
            return if self.capsule_user {
                Err("Cannot assign the desired namespace to a non-owned Tenant".to_owned())
            } else {
                Ok(None)
            };
        };
        let chosen = std::slice::from_ref(tenant);
        if self.capsule_user && self.forces_prefix(chosen) && prefixed(chosen, name).is_none() {
            return Err(wrong_prefix(chosen));
        }
        Ok(Some(Arc::clone(tenant)))
    }

    /// Whether every one of the Tenants demands its prefix, by itself or by the configuration.
    fn forces_prefix(&self, tenants: &[Arc<Object>]) -> bool {
        let forces = |tenant: &Arc<Object>| {
            tenant
                .value
                .pointer("/spec/forceTenantPrefix")
                .and_then(Value::as_bool)
                .unwrap_or(self.force_prefix)
        };
        tenants.iter().all(forces)
    }
}

/// The Tenant whose prefix the name has. Of several the longest is meant: `oil-eu-x` belongs to `oil-eu`, not to `oil`.
fn prefixed(candidates: &[Arc<Object>], name: &str) -> Option<Arc<Object>> {
    let matching = candidates
        .iter()
        .filter(|tenant| name.starts_with(&format!("{}-", tenant.name())));
    matching.max_by_key(|tenant| tenant.name().len()).cloned()
}

fn wrong_prefix(candidates: &[Arc<Object>]) -> String {
    let mut prefixes: Vec<String> = candidates
        .iter()
        .map(|tenant| format!("{:?}", format!("{}-", tenant.name())))
        .collect();
    prefixes.sort();
    format!(
        "The namespace doesn't match the tenant prefix, expected prefix {}",
        prefixes.join(" or ")
    )
}

fn assign(namespace: &mut Value, tenant: &Object) {
    let mut references = items(namespace, "/metadata/ownerReferences").to_vec();
    references.retain(|reference| !is_tenant_reference(reference));
    references.push(tenant_reference(tenant));
    let metadata = object_mut(namespace)
        .entry("metadata")
        .or_insert(Value::Null);
    map_in(metadata, "labels").insert(TENANT_LABEL.to_owned(), tenant.name().into());
    object_mut(metadata).insert("ownerReferences".to_owned(), json!(references));
}

fn moved(before: &Value, after: &Value) -> bool {
    let references = |object: &Value| -> Vec<(String, String)> {
        let all = items(object, "/metadata/ownerReferences")
            .iter()
            .filter(|reference| is_tenant_reference(reference));
        all.map(|reference| {
            (
                text(reference, "/name").to_owned(),
                text(reference, "/uid").to_owned(),
            )
        })
        .collect()
    };
    label(before) != label(after) || references(before) != references(after)
}

fn label(namespace: &Value) -> &str {
    let labels = namespace.pointer("/metadata/labels");
    labels
        .and_then(|labels| labels.get(TENANT_LABEL))
        .and_then(Value::as_str)
        .unwrap_or("")
}

/// Whether an ownerReference names a Tenant, in whichever version.
pub(super) fn is_tenant_reference(reference: &Value) -> bool {
    text(reference, "/kind") == "Tenant"
        && text(reference, "/apiVersion").starts_with(&format!("{GROUP}/"))
}

fn is_capsule_user(user: &User, configuration: &Value) -> bool {
    let named = items(configuration, "/status/users")
        .iter()
        .any(|one| is_owner(one, user));
    let grouped = texts(configuration, "/spec/userGroups").any(|group| user.is_in(group));
    let exempt = texts(configuration, "/spec/ignoreUserWithGroups").any(|group| user.is_in(group));
    (named || grouped) && !exempt
}
