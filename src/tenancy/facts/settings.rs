//! Rules beside the Tenants: `ProxySetting`, which acts for the Tenant that owns its namespace, and `GlobalProxySettings`,
//! which acts for the cluster (`capsule.clastix.io/v1beta1`). A rule that cannot be read to its end grants nothing.

use std::collections::BTreeSet;

use kube::api::DynamicObject;
use serde_json::Value;

use super::Key;
use super::Reading;
use super::Rejected;
use super::Why;
use super::list;
use super::offers;
use super::offers::ProxyKind;
use super::parsed;
use crate::k8s::label_selector::LabelSelector;
use crate::k8s::names::Namespace;
use crate::k8s::names::ObjectName;
use crate::k8s::pattern::Pattern;
use crate::tenancy::grant::Grant;
use crate::tenancy::grant::KindRule;
use crate::tenancy::grant::Kinds;
use crate::tenancy::grant::Objects;
use crate::tenancy::subject::Subject;

/// A `ProxySetting`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingFact {
    /// Its namespace, whose Tenant it acts for.
    pub namespace: Namespace,
    /// Its name.
    pub name: ObjectName,
    /// Who is named, in the order of the object; one may be named twice.
    pub subjects: Vec<SettingSubject>,
}

/// Somebody whom a `ProxySetting` names: he sees the Tenant and all its namespaces, and this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingSubject {
    /// Who.
    pub subject: Subject,
    /// Kinds of which he sees what the Tenant offers.
    pub listed: BTreeSet<ProxyKind>,
    /// What `clusterResources` show him.
    pub grants: Vec<Grant>,
}

/// A `GlobalProxySettings`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobalFact {
    /// Its name.
    pub name: ObjectName,
    /// Its rules.
    pub rules: Vec<GlobalRule>,
}

/// One rule of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobalRule {
    /// For whom.
    pub subjects: BTreeSet<Subject>,
    /// What it shows.
    pub grants: Vec<Grant>,
}

/// Reads a `ProxySetting`.
pub fn setting(object: &DynamicObject) -> Reading<SettingFact> {
    let Some(namespace) = parsed(object.metadata.namespace.as_deref(), Namespace::parse) else {
        return Reading::refused("metadata.namespace", Why::Name);
    };
    let Some(name) = parsed(object.metadata.name.as_deref(), ObjectName::parse) else {
        return Reading::refused("metadata.name", Why::Name);
    };
    let mut rejected = Vec::new();
    let mut subjects = Vec::new();
    let entries = list(&object.data, "/spec/subjects", &mut rejected);
    for (index, entry) in entries.iter().enumerate() {
        let field = format!("spec.subjects[{index}]");
        match subject(entry) {
            Ok(subject) => subjects.push(SettingSubject {
                subject,
                listed: offers::listed(entry, &field, &mut rejected),
                grants: grants(entry, &field, false, &mut rejected),
            }),
            Err(why) => rejected.push(Rejected::new(field, why)),
        }
    }
    let fact = SettingFact {
        namespace,
        name,
        subjects,
    };
    Reading {
        fact: Some(fact),
        rejected,
    }
}

/// Reads a `GlobalProxySettings`.
pub fn global(object: &DynamicObject) -> Reading<GlobalFact> {
    let Some(name) = parsed(object.metadata.name.as_deref(), ObjectName::parse) else {
        return Reading::refused("metadata.name", Why::Name);
    };
    let mut rejected = Vec::new();
    let mut rules = Vec::new();
    let entries = list(&object.data, "/spec/rules", &mut rejected);
    for (index, entry) in entries.iter().enumerate() {
        let field = format!("spec.rules[{index}]");
        let mut subjects = BTreeSet::new();
        let named = list(entry, "/subjects", &mut rejected);
        for (place, entry) in named.iter().enumerate() {
            match subject(entry) {
                Ok(subject) => drop(subjects.insert(subject)),
                Err(why) => rejected.push(Rejected::new(format!("{field}.subjects[{place}]"), why)),
            }
        }
        rules.push(GlobalRule {
            subjects,
            grants: grants(entry, &field, true, &mut rejected),
        });
    }
    Reading {
        fact: Some(GlobalFact { name, rules }),
        rejected,
    }
}

/// The key of a `ProxySetting`, also of one that cannot be read otherwise.
pub fn setting_key(object: &DynamicObject) -> Option<Key> {
    let namespace = parsed(object.metadata.namespace.as_deref(), Namespace::parse)?;
    let name = parsed(object.metadata.name.as_deref(), ObjectName::parse)?;
    Some(Key::Setting(namespace, name))
}

/// The key of a `GlobalProxySettings`, likewise.
pub fn global_key(object: &DynamicObject) -> Option<Key> {
    parsed(object.metadata.name.as_deref(), ObjectName::parse).map(Key::Global)
}

fn subject(entry: &Value) -> Result<Subject, Why> {
    let text = |key| entry.get(key).and_then(Value::as_str).ok_or(Why::Type);
    Ok(Subject::of_capsule(text("kind")?, text("name")?)?)
}

/// The `clusterResources` of `entry`, which lies at `field`.
fn grants(entry: &Value, field: &str, wide: bool, rejected: &mut Vec<Rejected>) -> Vec<Grant> {
    let mut grants = Vec::new();
    let rules = list(entry, "/clusterResources", rejected);
    for (index, rule) in rules.iter().enumerate() {
        match grant(rule, wide) {
            Ok(grant) => grants.push(grant),
            Err((part, why)) => rejected.push(Rejected::new(
                format!("{field}.clusterResources[{index}].{part}"),
                why,
            )),
        }
    }
    grants
}

fn grant(rule: &Value, wide: bool) -> Result<Grant, (&'static str, Why)> {
    let texts = |part: &'static str| -> Result<Vec<&str>, (&'static str, Why)> {
        let entries = rule.get(part).ok_or((part, Why::Missing))?;
        let entries = entries.as_array().ok_or((part, Why::Type))?;
        let texts = entries.iter().map(|entry| entry.as_str());
        texts.map(|text| text.ok_or((part, Why::Type))).collect()
    };
    let selector = rule.get("selector").ok_or(("selector", Why::Missing))?;
    let selector = LabelSelector::of_object(selector);
    let selector = selector.map_err(|why| ("selector", Why::Selector(why)))?;
    if selector.is_everything() {
        return Err(("selector", Why::Empty));
    }
    Ok(Grant {
        kinds: Kinds::Rule(KindRule {
            api_groups: texts("apiGroups")?.into_iter().map(Pattern::new).collect(),
            resources: texts("resources")?.into_iter().map(str::to_owned).collect(),
            wide,
        }),
        objects: Objects::Labelled(selector),
        lists: lists(rule).map_err(|why| ("operations", why))?,
    })
}

/// Whether `operations` include `List`, which includes `Get`. Older definitions allow `Update` and `Delete` besides,
/// which grant nothing.
fn lists(rule: &Value) -> Result<bool, Why> {
    let operations = match rule.get("operations") {
        None | Some(Value::Null) => return Ok(true),
        Some(operations) => operations.as_array().ok_or(Why::Type)?,
    };
    let has = |wanted: &str| operations.iter().any(|word| word.as_str() == Some(wanted));
    match (has("List"), has("Get")) {
        (true, _) => Ok(true),
        (false, true) => Ok(false),
        (false, false) if operations.is_empty() => Ok(true),
        (false, false) => Err(Why::Operations),
    }
}
