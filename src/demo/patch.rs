//! Patches: JSON merge patch (RFC 7386), JSON patch (RFC 6902), strategic merge patch as far as kubectl needs it, and
//! server-side apply without field ownership. Pure functions from JSON to JSON.

use serde_json::Map;
use serde_json::Value;

use super::object::object_mut;
use super::object::text;

/// How a patch is to be read: its content type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Json,
    Merge,
    Strategic,
    Apply,
}

impl Style {
    pub(crate) fn of(content_type: &str) -> Option<Self> {
        match content_type {
            "application/json-patch+json" => Some(Self::Json),
            "application/merge-patch+json" => Some(Self::Merge),
            "application/strategic-merge-patch+json" => Some(Self::Strategic),
            "application/apply-patch+yaml" => Some(Self::Apply),
            _ => None,
        }
    }
}

/// `target` with `patch` applied.
///
/// # Errors
/// A sentence about the operation of a JSON patch that does not fit.
pub(crate) fn apply(style: Style, mut target: Value, patch: &Value) -> Result<Value, String> {
    match style {
        Style::Merge => merge(&mut target, patch),
        // What an applier leaves out stays: there are no owners of fields to take it from.
        Style::Strategic | Style::Apply => strategic(&mut target, patch),
        Style::Json => {
            let operations = patch
                .as_array()
                .ok_or("a JSON patch is a list of operations")?;
            for operation in operations {
                json_operation(&mut target, operation)?;
            }
        }
    }
    Ok(target)
}

/// RFC 7386: null removes, objects merge, everything else replaces.
fn merge(target: &mut Value, patch: &Value) {
    let Some(changes) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    let target = object_mut(target);
    for (key, value) in changes {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// As a merge patch, but lists whose members have a key are merged member by member.
fn strategic(target: &mut Value, patch: &Value) {
    let Some(changes) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if text(patch, "/$patch") == "replace" {
        *target = without_directives(changes);
        return;
    }
    let target = object_mut(target);
    for (key, value) in changes.iter().filter(|(key, _)| !key.starts_with('$')) {
        let entry = match value {
            Value::Null => {
                target.remove(key);
                continue;
            }
            Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_) => target.entry(key.clone()).or_insert(Value::Null),
        };
        match (value.as_array(), merge_key(key)) {
            (Some(members), Some(by)) => merge_members(entry, members, by),
            _ => strategic(entry, value),
        }
    }
}

/// The `patchMergeKey` of the lists that occur in the kinds served here.
fn merge_key(list: &str) -> Option<&'static str> {
    match list {
        "ownerReferences" => Some("uid"),
        "conditions" => Some("type"),
        "containers" | "initContainers" | "volumes" | "env" | "imagePullSecrets" | "secrets" => {
            Some("name")
        }
        "ports" => Some("port"),
        _ => None,
    }
}

fn merge_members(target: &mut Value, members: &[Value], by: &str) {
    if !target.is_array() {
        *target = Value::Array(Vec::new());
    }
    let Some(list) = target.as_array_mut() else {
        return;
    };
    for member in members {
        let same = |other: &Value| other.get(by).is_some() && other.get(by) == member.get(by);
        if text(member, "/$patch") == "delete" {
            list.retain(|other| !same(other));
        } else if let Some(other) = list.iter_mut().find(|other| same(other)) {
            strategic(other, member);
        } else {
            list.push(
                member
                    .as_object()
                    .map_or_else(|| member.clone(), without_directives),
            );
        }
    }
}

fn without_directives(map: &Map<String, Value>) -> Value {
    let kept = map.iter().filter(|(key, _)| !key.starts_with('$'));
    Value::Object(
        kept.map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
    )
}

fn json_operation(target: &mut Value, operation: &Value) -> Result<(), String> {
    let path = text(operation, "/path");
    let value = || {
        operation
            .get("value")
            .cloned()
            .ok_or_else(|| format!("{operation}: no value"))
    };
    let from = |target: &Value| {
        let from = text(operation, "/from");
        target
            .pointer(from)
            .cloned()
            .ok_or_else(|| format!("{from}: no such path"))
    };
    match text(operation, "/op") {
        "add" => add(target, path, value()?),
        "replace" => {
            let place = target
                .pointer_mut(path)
                .ok_or_else(|| format!("{path}: no such path"))?;
            *place = value()?;
            Ok(())
        }
        "remove" => remove(target, path),
        "copy" => add(target, path, from(target)?),
        "move" => {
            let moved = from(target)?;
            remove(target, text(operation, "/from"))?;
            add(target, path, moved)
        }
        "test" if target.pointer(path) == Some(&value()?) => Ok(()),
        "test" => Err(format!("testing path {path} value failed")),
        other => Err(format!("unexpected kind: {other}")),
    }
}

fn add(target: &mut Value, path: &str, value: Value) -> Result<(), String> {
    let missing = || format!("add operation does not apply: doc is missing path: {path}");
    let Some((parent, last)) = path.rsplit_once('/') else {
        *target = value;
        return Ok(());
    };
    let parent = target.pointer_mut(parent).ok_or_else(missing)?;
    if let Some(list) = parent.as_array_mut() {
        let at = if last == "-" {
            Some(list.len())
        } else {
            last.parse().ok()
        };
        let at = at.filter(|at| *at <= list.len()).ok_or_else(missing)?;
        list.insert(at, value);
        return Ok(());
    }
    parent
        .as_object_mut()
        .ok_or_else(missing)?
        .insert(unescape(last), value);
    Ok(())
}

fn remove(target: &mut Value, path: &str) -> Result<(), String> {
    let missing = || format!("remove operation does not apply: doc is missing path: {path}");
    let (parent, last) = path.rsplit_once('/').ok_or_else(missing)?;
    let parent = target.pointer_mut(parent).ok_or_else(missing)?;
    if let Some(list) = parent.as_array_mut() {
        let at = last
            .parse()
            .ok()
            .filter(|at| *at < list.len())
            .ok_or_else(missing)?;
        list.remove(at);
        return Ok(());
    }
    parent
        .as_object_mut()
        .and_then(|map| map.remove(&unescape(last)))
        .map(drop)
        .ok_or_else(missing)
}

/// RFC 6901.
fn unescape(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

#[cfg(test)]
mod tests;
