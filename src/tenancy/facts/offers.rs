//! What a Tenant offers those who may list a kind: its nodes by `nodeSelector`, its classes by name, pattern and labels,
//! its volumes by the operator's label. What is not said is not offered, but for nodes, which are then all of them.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde_json::Value;

use super::Rejected;
use super::Why;
use super::list;
use crate::k8s::label_selector::LabelSelector;
use crate::k8s::names::GroupResource;
use crate::k8s::names::ObjectName;
use crate::tenancy::grant::Grant;
use crate::tenancy::grant::Kinds;
use crate::tenancy::grant::NamePattern;
use crate::tenancy::grant::Objects;

/// What the operator puts on PersistentVolumes, which tenants cannot write.
const TENANT_LABEL: &str = "capsule.clastix.io/tenant";

/// A kind that `proxySettings` speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the API's own words")]
pub enum ProxyKind {
    Nodes,
    StorageClasses,
    IngressClasses,
    PriorityClasses,
    RuntimeClasses,
    PersistentVolumes,
}

/// A kind of classes: how rules call it, what it is, and where a Tenant says which are allowed.
type Classes = (ProxyKind, (&'static str, &'static str), &'static str);

const CLASSES: [Classes; 4] = [
    (
        ProxyKind::StorageClasses,
        ("storage.k8s.io", "storageclasses"),
        "/spec/storageClasses",
    ),
    (
        ProxyKind::IngressClasses,
        ("networking.k8s.io", "ingressclasses"),
        "/spec/ingressOptions/allowedClasses",
    ),
    (
        ProxyKind::PriorityClasses,
        ("scheduling.k8s.io", "priorityclasses"),
        "/spec/priorityClasses",
    ),
    (
        ProxyKind::RuntimeClasses,
        ("node.k8s.io", "runtimeclasses"),
        "/spec/runtimeClasses",
    ),
];

impl ProxyKind {
    /// # Errors
    /// [`Why::Kind`] for any other word.
    pub(super) fn parse(text: &str) -> Result<Self, Why> {
        match text {
            "Nodes" => Ok(Self::Nodes),
            "StorageClasses" => Ok(Self::StorageClasses),
            "IngressClasses" => Ok(Self::IngressClasses),
            "PriorityClasses" => Ok(Self::PriorityClasses),
            "RuntimeClasses" => Ok(Self::RuntimeClasses),
            "PersistentVolumes" => Ok(Self::PersistentVolumes),
            _ => Err(Why::Kind),
        }
    }
}

/// By kind, what may be seen of it.
pub type Offers = BTreeMap<ProxyKind, Box<[Grant]>>;

/// Reads what the Tenant called `name` offers.
pub(super) fn read(name: &ObjectName, data: &Value, rejected: &mut Vec<Rejected>) -> Offers {
    let mut offers = Offers::new();
    if let Some(objects) = nodes(data, rejected) {
        let of = |group| grant(group, "nodes", objects.clone());
        offers.insert(ProxyKind::Nodes, [of(""), of("metrics.k8s.io")].into());
    }
    for (kind, (group, plural), path) in CLASSES {
        let objects = classes(data, path, rejected);
        let grants = objects
            .into_iter()
            .map(|objects| grant(group, plural, objects));
        offers.insert(kind, grants.collect());
    }
    let volumes = Objects::Labelled(LabelSelector::one_of(TENANT_LABEL, [name.as_str()]));
    offers.insert(
        ProxyKind::PersistentVolumes,
        [grant("", "persistentvolumes", volumes)].into(),
    );
    offers
}

fn grant(group: &str, plural: &str, objects: Objects) -> Grant {
    Grant {
        kinds: Kinds::One(GroupResource::new(group, plural)),
        objects,
        lists: true,
    }
}

/// `spec.nodeSelector`. Without one all nodes are the Tenant's; with one that cannot be read, none.
fn nodes(data: &Value, rejected: &mut Vec<Rejected>) -> Option<Objects> {
    const FIELD: &str = "/spec/nodeSelector";
    let selector = match data.pointer(FIELD) {
        None | Some(Value::Null) => return Some(Objects::All),
        Some(Value::Object(labels)) => LabelSelector::of_labels(labels).map_err(Why::Selector),
        Some(Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
            Err(Why::Type)
        }
    };
    match selector {
        Ok(selector) if selector.is_everything() => Some(Objects::All),
        Ok(selector) => Some(Objects::Labelled(selector)),
        Err(why) => {
            rejected.push(Rejected::new(FIELD, why));
            None
        }
    }
}

/// `{allowed[], allowedRegex, default, matchLabels, matchExpressions}`: any of these allows a class.
fn classes(data: &Value, path: &'static str, rejected: &mut Vec<Rejected>) -> Vec<Objects> {
    let said = match data.pointer(path) {
        None | Some(Value::Null) => return Vec::new(),
        Some(said @ Value::Object(_)) => said,
        Some(Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
            rejected.push(Rejected::new(path, Why::Type));
            return Vec::new();
        }
    };
    let mut refuse = |part: &str, why| {
        rejected.push(Rejected::new(format!("{path}/{part}"), why));
    };
    let mut objects = Vec::new();
    let mut names = BTreeSet::new();
    let allowed = said.get("allowed").map_or(Ok(&[] as &[Value]), |allowed| {
        allowed.as_array().map(Vec::as_slice).ok_or(Why::Type)
    });
    match allowed {
        Ok(allowed) => {
            for entry in allowed {
                match entry.as_str().map(ObjectName::parse) {
                    Some(Ok(name)) => drop(names.insert(name)),
                    Some(Err(_)) => refuse("allowed", Why::Name),
                    None => refuse("allowed", Why::Type),
                }
            }
        }
        Err(why) => refuse("allowed", why),
    }
    match said.get("default").map(Value::as_str) {
        None | Some(Some("")) => {}
        Some(Some(name)) => match ObjectName::parse(name) {
            Ok(name) => drop(names.insert(name)),
            Err(_) => refuse("default", Why::Name),
        },
        Some(None) => refuse("default", Why::Type),
    }
    if !names.is_empty() {
        objects.push(Objects::Named(names));
    }
    match said.get("allowedRegex").map(Value::as_str) {
        None | Some(Some("")) => {}
        Some(Some(text)) => match NamePattern::new(text) {
            Ok(pattern) => objects.push(Objects::Matching(pattern)),
            Err(_) => refuse("allowedRegex", Why::Pattern),
        },
        Some(None) => refuse("allowedRegex", Why::Type),
    }
    let parts = ["matchLabels", "matchExpressions"];
    let selector: serde_json::Map<String, Value> = parts
        .iter()
        .filter_map(|part| Some(((*part).to_owned(), said.get(part)?.clone())))
        .collect();
    match LabelSelector::of_object(&Value::Object(selector)) {
        // An empty selector would allow every class; nobody means that by writing nothing.
        Ok(selector) if selector.is_everything() => {}
        Ok(selector) => objects.push(Objects::Labelled(selector)),
        Err(why) => refuse("matchLabels", Why::Selector(why)),
    }
    objects
}

/// `proxySettings` at `entry`: the kinds that may be listed.
pub(super) fn listed(
    entry: &Value,
    field: &str,
    rejected: &mut Vec<Rejected>,
) -> BTreeSet<ProxyKind> {
    let mut kinds = BTreeSet::new();
    for (index, setting) in list(entry, "/proxySettings", rejected).iter().enumerate() {
        let operations = setting.get("operations").and_then(Value::as_array);
        let kind = setting.get("kind").and_then(Value::as_str);
        let read = match (kind, operations) {
            (Some(kind), Some(operations)) => {
                // `Update` and `Delete` are the user's own right, or nobody's.
                let lists = operations.iter().any(|word| word.as_str() == Some("List"));
                ProxyKind::parse(kind).map(|kind| lists.then_some(kind))
            }
            (None, _) | (_, None) => Err(Why::Type),
        };
        match read {
            Ok(kind) => kinds.extend(kind),
            Err(why) => rejected.push(Rejected::new(
                format!("{field}.proxySettings[{index}]"),
                why,
            )),
        }
    }
    kinds
}
