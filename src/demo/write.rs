//! Writes: create, update, patch, delete and deletecollection, as functions of the locked state. Each judges first
//! and writes last, so that a refusal leaves nothing behind.

use std::sync::Arc;

use serde_json::Value;
use serde_json::json;

use super::admission;
use super::capsule;
use super::encode;
use super::kinds;
use super::kinds::Kind;
use super::list::Selection;
use super::object;
use super::object::Object;
use super::object::items;
use super::object::map_in;
use super::object::object_mut;
use super::object::text;
use super::patch;
use super::patch::Style;
use super::status::Failure;
use super::status::FieldError;
use super::status::details;
use super::store::Key;
use super::store::State;
use super::user::User;
use crate::k8s::names::GroupResource;

/// What a write is about.
pub(crate) struct Target<'a> {
    pub(crate) kind: &'a Kind,
    pub(crate) user: &'a User,
    /// Empty for cluster-scoped kinds.
    pub(crate) namespace: &'a str,
    /// Empty where the body names it.
    pub(crate) name: &'a str,
    pub(crate) subresource: &'a str,
    /// `dryRun=All`: judged, not stored.
    pub(crate) dry_run: bool,
}

impl Target<'_> {
    fn key(&self) -> Key {
        self.kind.key(self.namespace, self.name)
    }

    fn put(&self, state: &mut State, name: &str, value: Value) -> Value {
        if self.dry_run {
            return value;
        }
        state
            .put(&self.kind.key(self.namespace, name), value)
            .value
            .clone()
    }
}

/// What became of a deleted object.
#[derive(Debug, PartialEq)]
pub(crate) enum Deleted {
    /// It is gone: a `Status` of success.
    Gone(Value),
    /// It waits for its finalizers.
    Terminating(Value),
}

/// Stores a new object.
///
/// # Errors
/// The refusal of validation, admission or the operator; 409 where the name is taken.
pub(crate) fn create(
    state: &mut State,
    target: &Target<'_>,
    body: Value,
) -> Result<Value, Failure> {
    let mut object = admission::open(target.kind, body)?;
    admission::name(target.kind, target.namespace, &mut object)?;
    let name = text(&object, "/metadata/name").to_owned();
    admission::namespace_is_open(state, target.kind, target.namespace, &name)?;
    if target.kind.resource == kinds::namespaces() {
        capsule::admission::admit(state, target.user, None, &mut object)?;
    }
    if state
        .get(&target.kind.key(target.namespace, &name))
        .is_some()
    {
        return Err(Failure::already_exists(&target.kind.resource, &name));
    }
    admission::complete(target.kind, &mut object);
    Ok(target.put(state, &name, object))
}

/// Replaces an object, or its status.
///
/// # Errors
/// 404, 409 on a stale resourceVersion, or the refusal of validation.
pub(crate) fn update(
    state: &mut State,
    target: &Target<'_>,
    body: Value,
) -> Result<Value, Failure> {
    let object = admission::open(target.kind, body)?;
    let unconditional = text(&object, "/metadata/resourceVersion").is_empty();
    if target.kind.is_custom() && unconditional && target.subresource.is_empty() {
        let resource = &target.kind.resource;
        let error = FieldError::invalid(
            "metadata.resourceVersion",
            "0",
            "must be specified for an update",
        );
        return Err(Failure::invalid(
            &resource.group,
            &resource.resource,
            target.name,
            &[error],
        ));
    }
    replace(state, target, object)
}

/// Changes an object by a patch; server-side apply makes one that is not there.
///
/// # Errors
/// As [`update`], 415 for a style the kind does not know, 422 for a patch that does not fit.
pub(crate) fn apply_patch(
    state: &mut State,
    target: &Target<'_>,
    style: Style,
    body: &Value,
) -> Result<Value, Failure> {
    if style == Style::Strategic && target.kind.is_custom() {
        return Err(Failure::unsupported_media_type(
            "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
        ));
    }
    let Some(current) = state.get(&target.key()) else {
        if style == Style::Apply && target.subresource.is_empty() {
            let mut body = body.clone();
            map_in(&mut body, "metadata").insert("name".to_owned(), target.name.into());
            return create(state, target, body);
        }
        return Err(Failure::not_found(&target.kind.resource, target.name));
    };
    let mut before = encode::whole(target.kind, &current.value);
    // So that only a version that the patch itself names is compared.
    map_in(&mut before, "metadata").remove("resourceVersion");
    let patched = patch::apply(style, before, body).map_err(|_why| {
        let message = "the server rejected our request due to an error in our request";
        Failure::new(http::StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message)
            .with_details(json!({}))
    })?;
    let object = admission::open(target.kind, patched)?;
    replace(state, target, object)
}

fn replace(state: &mut State, target: &Target<'_>, mut object: Value) -> Result<Value, Failure> {
    let key = target.key();
    let resource = &target.kind.resource;
    let Some(current) = state.get(&key).cloned() else {
        return Err(Failure::not_found(resource, target.name));
    };
    let written = text(&object, "/metadata/name");
    if written != target.name {
        let name = target.name;
        return Err(Failure::bad_request(match written {
            "" => format!(
                "the name of the object ({name} based on URL) was undeterminable: name must be provided"
            ),
            written => format!(
                "the name of the object ({written}) does not match the name on the URL ({name})"
            ),
        }));
    }
    let version = text(&object, "/metadata/resourceVersion");
    if !version.is_empty() && version != current.revision.to_string() {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        return Err(Failure::conflict(resource, target.name, why));
    }
    let uid = text(&object, "/metadata/uid");
    if !uid.is_empty() && uid != current.uid() {
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: {}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: \
             UID in precondition: {uid}, UID in object meta: {}",
            key.etcd(),
            current.uid()
        );
        return Err(Failure::conflict(resource, target.name, &why));
    }
    let mut next = match target.subresource {
        "status" => with_field_of(&current.value, &object, "status"),
        "finalize" => with_field_of(&current.value, &object, "spec"),
        _ => {
            keep_system_metadata(&current.value, &mut object);
            if target.kind.serves("status") {
                with_field_of(&object, &current.value, "status")
            } else {
                object
            }
        }
    };
    if *resource == kinds::namespaces() && target.subresource.is_empty() {
        capsule::admission::admit(state, target.user, Some(&current.value), &mut next)?;
    }
    admission::defaults(target.kind, &mut next);
    step_generation(target.kind, &current.value, &mut next);
    map_in(&mut next, "metadata").insert(
        "resourceVersion".to_owned(),
        current.revision.to_string().into(),
    );
    if next == current.value {
        return Ok(next);
    }
    let last_finalizer_gone =
        current.is_terminating() && items(&next, "/metadata/finalizers").is_empty();
    if last_finalizer_gone && items(&next, "/spec/finalizers").is_empty() && !target.dry_run {
        state.remove(&key);
        return Ok(next);
    }
    Ok(target.put(state, target.name, next))
}

/// `object` with `field` as it is in `source`.
fn with_field_of(object: &Value, source: &Value, field: &str) -> Value {
    let mut object = object.clone();
    match source.get(field) {
        Some(value) => object_mut(&mut object).insert(field.to_owned(), value.clone()),
        None => object_mut(&mut object).remove(field),
    };
    object
}

fn keep_system_metadata(current: &Value, object: &mut Value) {
    let metadata = map_in(object, "metadata");
    for key in [
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
    ] {
        match current
            .get("metadata")
            .and_then(|metadata| metadata.get(key))
        {
            Some(value) => metadata.insert(key.to_owned(), value.clone()),
            None => metadata.remove(key),
        };
    }
    metadata.remove("managedFields");
}

/// The generation of a custom resource counts changes of anything but metadata and status.
fn step_generation(kind: &Kind, current: &Value, next: &mut Value) {
    let counted = |object: &Value| -> Vec<(String, Value)> {
        let fields = object.as_object().into_iter().flatten();
        let counted = fields
            .filter(|(key, _)| *key != "metadata" && (*key != "status" || !kind.serves("status")));
        counted
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    };
    if kind.is_custom() && counted(current) != counted(next) {
        let generation = current
            .pointer("/metadata/generation")
            .and_then(Value::as_i64)
            .unwrap_or(0);
        map_in(next, "metadata").insert("generation".to_owned(), (generation + 1).into());
    }
}

/// Deletes one object. `options` is a `DeleteOptions`, or null.
///
/// # Errors
/// 404, 403 for a namespace the cluster needs, 409 where a precondition does not hold.
pub(crate) fn delete(
    state: &mut State,
    target: &Target<'_>,
    options: &Value,
) -> Result<Deleted, Failure> {
    let key = target.key();
    let resource = &target.kind.resource;
    let Some(current) = state.get(&key).cloned() else {
        return Err(Failure::not_found(resource, target.name));
    };
    check_preconditions(target.kind, &current, options)?;
    let is_namespace = *resource == kinds::namespaces();
    if is_namespace && matches!(target.name, "default" | "kube-system" | "kube-public") {
        return Err(Failure::forbidden(
            resource,
            target.name,
            "this namespace may not be deleted",
        ));
    }
    if is_namespace || !items(&current.value, "/metadata/finalizers").is_empty() {
        if current.is_terminating() {
            return Ok(Deleted::Terminating(current.value.clone()));
        }
        let mut value = current.value.clone();
        map_in(&mut value, "metadata").insert("deletionTimestamp".to_owned(), object::now().into());
        if is_namespace {
            map_in(&mut value, "status").insert("phase".to_owned(), "Terminating".into());
        } else {
            map_in(&mut value, "metadata")
                .insert("deletionGracePeriodSeconds".to_owned(), 0.into());
        }
        return Ok(Deleted::Terminating(target.put(state, target.name, value)));
    }
    if !target.dry_run {
        state.remove(&key);
    }
    let mut details = details(resource, target.name);
    object_mut(&mut details).insert("uid".to_owned(), current.uid().into());
    Ok(Deleted::Gone(json!({"details": details})))
}

/// `apiserver pkg/registry/rest/delete.go`, which names the kind where others name the resource.
fn check_preconditions(kind: &Kind, current: &Object, options: &Value) -> Result<(), Failure> {
    let revision = current.revision.to_string();
    for (pointer, found, word, happened) in [
        (
            "/preconditions/uid",
            current.uid(),
            "UID",
            "deleted and then recreated",
        ),
        (
            "/preconditions/resourceVersion",
            &revision,
            "ResourceVersion",
            "modified",
        ),
    ] {
        let wanted = text(options, pointer);
        if !wanted.is_empty() && wanted != found {
            let why = format!(
                "the {word} in the precondition ({wanted}) does not match the {word} in record ({found}). The object \
                 might have been {happened}"
            );
            let named = GroupResource::new(&kind.resource.group, &kind.kind);
            return Err(Failure::conflict(&named, current.name(), &why));
        }
    }
    Ok(())
}

/// Deletes what `selection` selects, and says what that was.
///
/// # Errors
/// As [`delete`], at the first object that cannot be deleted.
pub(crate) fn delete_collection(
    state: &mut State,
    target: &Target<'_>,
    selection: &Selection,
    options: &Value,
) -> Result<Vec<Arc<Object>>, Failure> {
    let all = state.list(&selection.resource, &selection.namespace);
    let selected: Vec<_> = all
        .into_iter()
        .map(|(_, object)| object)
        .filter(|object| selection.matches(&object.value))
        .collect();
    for object in &selected {
        let one = Target {
            name: object.name(),
            namespace: object.namespace(),
            ..*target
        };
        delete(state, &one, options)?;
    }
    Ok(selected)
}

#[cfg(test)]
mod tests;
