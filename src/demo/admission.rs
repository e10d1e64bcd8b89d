//! What happens to an object between a client's body and the store: names are checked, defaults filled in, creation
//! in places that do not exist refused. It decides no rights; [`super::capsule`] adds the operator's own rules.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use serde_json::json;

use super::kinds;
use super::kinds::Kind;
use super::object;
use super::object::map_in;
use super::object::object_mut;
use super::object::text;
use super::status::Failure;
use super::status::FieldError;
use super::store::State;

/// Takes `apiVersion` and `kind` off a body, having compared them with what the path names.
///
/// # Errors
/// 400 where they disagree, the body is no object, or a custom one that does not say what it is.
pub(crate) fn open(kind: &Kind, mut body: Value) -> Result<Value, Failure> {
    let unrecognized = |why: &str| {
        let message = format!(
            "the object provided is unrecognized (must be of type {}): {why}",
            kind.kind
        );
        Err(Failure::bad_request(message))
    };
    let Some(fields) = body.as_object_mut() else {
        return unrecognized("couldn't get version/kind; it is no JSON object");
    };
    let mut taken = |key: &str| {
        fields
            .remove(key)
            .and_then(|value| value.as_str().map(str::to_owned))
    };
    let (api_version, kind_name) = (taken("apiVersion"), taken("kind"));
    if kind.is_custom() && (api_version.is_none() || kind_name.is_none()) {
        return unrecognized("Object 'Kind' is missing");
    }
    let api_version = api_version.unwrap_or_else(|| kind.api_version());
    let kind_name = kind_name.unwrap_or_else(|| kind.kind.clone());
    if api_version != kind.api_version() || kind_name != kind.kind {
        let message = format!(
            "{kind_name} in version {api_version:?} cannot be handled as a {}",
            kind.kind
        );
        return Err(Failure::bad_request(message));
    }
    Ok(body)
}

/// Gives a new object its namespace and name.
///
/// # Errors
/// 400 for another namespace than the request's, 422 for a name that is missing or malformed.
pub(crate) fn name(kind: &Kind, namespace: &str, object: &mut Value) -> Result<(), Failure> {
    let metadata = map_in(object, "metadata");
    if kind.namespaced {
        let written = metadata
            .get("namespace")
            .and_then(Value::as_str)
            .unwrap_or("");
        if !written.is_empty() && written != namespace {
            return Err(Failure::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        metadata.insert("namespace".to_owned(), namespace.into());
    } else {
        metadata.remove("namespace");
    }
    let written = |key: &str| {
        metadata
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or("")
            .to_owned()
    };
    let name = match (written("name"), written("generateName")) {
        (name, prefix) if name.is_empty() && !prefix.is_empty() => format!("{prefix}{}", suffix()),
        (name, _) => name,
    };
    let invalid = |error| {
        Err(Failure::invalid(
            &kind.resource.group,
            &kind.kind,
            &name,
            &[error],
        ))
    };
    if name.is_empty() {
        return invalid(FieldError::required(
            "metadata.name",
            "name or generateName is required",
        ));
    }
    if let Some(why) = bad_name(kind, &name) {
        return invalid(FieldError::invalid(
            "metadata.name",
            &format!("{name:?}"),
            why,
        ));
    }
    metadata.insert("name".to_owned(), name.into());
    Ok(())
}

/// Five characters, as the API server adds to `generateName`.
fn suffix() -> String {
    object::random_hex(3).chars().take(5).collect()
}

fn bad_name(kind: &Kind, name: &str) -> Option<&'static str> {
    let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let edges_are_good = |byte: Option<u8>| byte.is_some_and(lower);
    let well_formed = |inside: fn(u8) -> bool| {
        let bytes = name.as_bytes();
        edges_are_good(bytes.first().copied())
            && edges_are_good(bytes.last().copied())
            && bytes.iter().all(|&byte| lower(byte) || inside(byte))
    };
    // RBAC names are path segments; nearly all others are DNS subdomains, a namespace is a label.
    if &*kind.resource.group == "rbac.authorization.k8s.io" {
        let bad = matches!(name, "." | "..") || name.contains(['/', '%']);
        return bad.then_some("may not be '.', '..', or contain '/' or '%'");
    }
    if kind.resource == kinds::namespaces() {
        let good = name.len() <= 63 && well_formed(|byte| byte == b'-');
        return (!good).then_some(
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and \
             end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
             '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
        );
    }
    let good = name.len() <= 253 && well_formed(|byte| matches!(byte, b'-' | b'.'));
    (!good).then_some(
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start \
         and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
         '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
    )
}

/// Refuses new objects in a namespace that is not there, or about to go
/// (`apiserver pkg/admission/plugin/namespace/lifecycle`).
pub(crate) fn namespace_is_open(
    state: &State,
    kind: &Kind,
    namespace: &str,
    name: &str,
) -> Result<(), Failure> {
    if !kind.namespaced {
        return Ok(());
    }
    let namespaces = kinds::namespaces();
    let Some(stored) = state.get(&super::store::Key::new(&namespaces, "", namespace)) else {
        return Err(Failure::not_found(&namespaces, namespace));
    };
    if stored.is_terminating() {
        let why = format!(
            "unable to create new content in namespace {namespace} because it is being terminated"
        );
        let mut failure = Failure::forbidden(&kind.resource, name, &why);
        let cause = json!({
            "reason": "NamespaceTerminating",
            "message": format!("namespace {namespace} is being terminated"),
            "field": "metadata.namespace",
        });
        object_mut(&mut failure.details).insert("causes".to_owned(), json!([cause]));
        return Err(failure);
    }
    Ok(())
}

/// What the server itself writes into a new object.
pub(crate) fn complete(kind: &Kind, object: &mut Value) {
    let metadata = map_in(object, "metadata");
    for key in [
        "resourceVersion",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
        "managedFields",
    ] {
        metadata.remove(key);
    }
    metadata.insert("uid".to_owned(), object::uid().into());
    metadata.insert("creationTimestamp".to_owned(), object::now().into());
    if kind.is_custom() {
        metadata.insert("generation".to_owned(), 1.into());
        if kind.serves("status") {
            object_mut(object).remove("status");
        }
    }
    defaults(kind, object);
}

/// Also on every update: what must always be so.
pub(crate) fn defaults(kind: &Kind, object: &mut Value) {
    let name = text(object, "/metadata/name").to_owned();
    match (&*kind.resource.group, &*kind.resource.resource) {
        ("", "namespaces") => {
            // KEP-2161: cannot be forged.
            let metadata = object_mut(object).entry("metadata").or_insert(Value::Null);
            map_in(metadata, "labels")
                .insert("kubernetes.io/metadata.name".to_owned(), name.into());
            map_in(object, "spec")
                .entry("finalizers")
                .or_insert_with(|| json!(["kubernetes"]));
            map_in(object, "status")
                .entry("phase")
                .or_insert_with(|| "Active".into());
        }
        ("", "pods") => {
            map_in(object, "status")
                .entry("phase")
                .or_insert_with(|| "Pending".into());
        }
        ("", "secrets") => {
            let plain = object_mut(object).remove("stringData");
            for (key, value) in plain
                .as_ref()
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
            {
                let encoded = STANDARD.encode(value.as_str().unwrap_or(""));
                map_in(object, "data").insert(key.clone(), encoded.into());
            }
            object_mut(object)
                .entry("type")
                .or_insert_with(|| "Opaque".into());
        }
        ("apiextensions.k8s.io", "customresourcedefinitions") => established(object),
        _ => {}
    }
}

/// A definition is served as soon as it is stored.
fn established(definition: &mut Value) {
    let names = definition
        .pointer("/spec/names")
        .cloned()
        .unwrap_or(Value::Null);
    let since = text(definition, "/metadata/creationTimestamp").to_owned();
    let condition = |kind: &str, reason: &str| json!({"type": kind, "status": "True", "reason": reason, "message": "", "lastTransitionTime": since});
    let conditions = json!([
        condition("NamesAccepted", "NoConflicts"),
        condition("Established", "InitialNamesAccepted")
    ]);
    let status = map_in(definition, "status");
    status.insert("acceptedNames".to_owned(), names);
    status.insert("conditions".to_owned(), conditions);
}
