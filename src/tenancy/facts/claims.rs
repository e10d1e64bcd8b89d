//! Which namespaces a Tenant's status names, from its two lists. It must never take an entry with an unreadable UID for
//! one without.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Claim;
use super::Rejected;
use super::Uid;
use super::Why;
use super::list;
use crate::k8s::names::Namespace;

const SPACES: &str = "/status/spaces";
const NAMESPACES: &str = "/status/namespaces";

/// What the two lists say about one name.
enum Said {
    Name,
    Uid(Uid),
    Unreadable,
}

/// `status.spaces` where it knows the UID, else the bare name of either list.
pub(super) fn read(data: &Value, rejected: &mut Vec<Rejected>) -> Vec<Claim> {
    let mut said = BTreeMap::new();
    for entry in list(data, NAMESPACES, rejected) {
        match name(entry) {
            Ok(name) => {
                said.insert(name, Said::Name);
            }
            Err(why) => rejected.push(Rejected::new(NAMESPACES, why)),
        }
    }
    for entry in list(data, SPACES, rejected) {
        let parsed = entry.get("name").ok_or(Why::Missing).and_then(name);
        match (parsed, uid(entry)) {
            (Ok(name), Ok(Some(uid))) => {
                said.insert(name, Said::Uid(uid));
            }
            (Ok(name), Ok(None)) => {
                said.entry(name).or_insert(Said::Name);
            }
            (Ok(name), Err(why)) => {
                said.insert(name, Said::Unreadable);
                rejected.push(Rejected::new(SPACES, why));
            }
            (Err(why), Ok(_) | Err(_)) => rejected.push(Rejected::new(SPACES, why)),
        }
    }
    said.into_iter()
        .filter_map(|(namespace, said)| match said {
            Said::Name => Some(Claim {
                namespace,
                uid: None,
            }),
            Said::Uid(uid) => Some(Claim {
                namespace,
                uid: Some(uid),
            }),
            Said::Unreadable => None,
        })
        .collect()
}

fn name(value: &Value) -> Result<Namespace, Why> {
    let text = value.as_str().ok_or(Why::Type)?;
    Namespace::parse(text).map_err(|_not_a_segment| Why::Name)
}

fn uid(entry: &Value) -> Result<Option<Uid>, Why> {
    match entry.get("uid") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(Uid::new(text))),
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            Err(Why::Type)
        }
    }
}
