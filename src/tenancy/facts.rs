//! From objects to the facts that matter: parsed, small, comparable. Nothing here remembers or decides.
//!
//! What cannot be read grants nothing and comes back as a [`Rejected`], to be counted and logged by the caller. A bad
//! entry of a list costs that entry; a bad list costs the list; an object without identity costs the object.

mod claims;
mod offers;
mod settings;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace as NamespaceObject;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::DynamicObject;
use kube::core::PartialObjectMeta;
use serde_json::Value;

pub use offers::Offers;
pub use offers::ProxyKind;
pub use settings::GlobalFact;
pub use settings::GlobalRule;
pub use settings::SettingFact;
pub use settings::SettingSubject;
pub use settings::global;
pub use settings::global_key;
pub use settings::setting;
pub use settings::setting_key;

use super::subject::Subject;
use super::subject::SubjectError;
use crate::identity::GroupName;
use crate::k8s::label_selector::BadSelector;
use crate::k8s::names::Namespace;
use crate::k8s::names::NotASegment;
use crate::k8s::names::ObjectName;
use crate::wire::labels::Labels;

/// The API group of Tenants and CapsuleConfigurations.
pub const CAPSULE: &str = "capsule.clastix.io";

/// `metadata.uid`, opaque: what tells an object from a later one of the same name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uid(Arc<str>);

impl Uid {
    /// The UID `text`. An empty one is allowed: it equals that of no object, which are refused without UID.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }
}

/// One object, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// See [`TenantFact`].
    Tenant(TenantFact),
    /// See [`NamespaceFact`].
    Namespace(NamespaceFact),
    /// See [`BindingFact`].
    Binding(BindingFact),
    /// See [`ConfigurationFact`].
    Configuration(ConfigurationFact),
    /// See [`SettingFact`].
    Setting(SettingFact),
    /// See [`GlobalFact`].
    Global(GlobalFact),
}

/// What an object is known by while it lives.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// By UID: a Tenant made anew under an old name is another one.
    Tenant(Uid),
    /// By name: there is one at a time.
    Namespace(Namespace),
    /// By namespace and name.
    Binding(Namespace, ObjectName),
    /// There is one, named by a setting.
    Configuration,
    /// By namespace and name.
    Setting(Namespace, ObjectName),
    /// By name.
    Global(ObjectName),
}

impl Fact {
    /// Which object it is about.
    pub fn key(&self) -> Key {
        match self {
            Self::Tenant(fact) => Key::Tenant(fact.uid.clone()),
            Self::Namespace(fact) => Key::Namespace(fact.name.clone()),
            Self::Binding(fact) => Key::Binding(fact.namespace.clone(), fact.name.clone()),
            Self::Configuration(_) => Key::Configuration,
            Self::Setting(fact) => Key::Setting(fact.namespace.clone(), fact.name.clone()),
            Self::Global(fact) => Key::Global(fact.name.clone()),
        }
    }
}

/// Who owns a Tenant, and which namespaces its status claims. `capsule.clastix.io`, v1beta2 or v1beta1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantFact {
    /// Its UID.
    pub uid: Uid,
    /// Its name.
    pub name: ObjectName,
    /// `spec.owners`.
    pub spec_owners: BTreeSet<Subject>,
    /// `status.owners`: those of the spec, administrators, promoted service accounts, matched TenantOwners.
    pub status_owners: BTreeSet<Subject>,
    /// Whether `status.observedGeneration` is at least `metadata.generation`. Unsaid is no.
    pub caught_up: bool,
    /// `status.spaces` and `status.namespaces`, in the order of their names, each name once.
    pub claims: Vec<Claim>,
    /// `spec.owners[].proxySettings`: of which kinds an owner sees what the Tenant offers.
    pub listed: BTreeMap<Subject, BTreeSet<ProxyKind>>,
    /// What it offers.
    pub offers: Offers,
}

/// A namespace that a Tenant's status names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its name.
    pub namespace: Namespace,
    /// Its UID, where `status.spaces` says it.
    pub uid: Option<Uid>,
}

/// That a namespace exists, and which Tenants it refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceFact {
    /// Its name.
    pub name: Namespace,
    /// Its UID.
    pub uid: Uid,
    /// When it was created; `None` counts as long ago.
    pub created: Option<Timestamp>,
    /// The UIDs of *all* its ownerReferences of kind Tenant, sorted, each once. A slice: there are many namespaces, and
    /// a set of one costs ten times as much.
    pub parents: Box<[Uid]>,
    /// Its labels.
    pub labels: Labels,
}

/// Whom a RoleBinding names, whatever role it binds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindingFact {
    /// Its namespace.
    pub namespace: Namespace,
    /// Its name.
    pub name: ObjectName,
    /// `subjects`, sorted, each once. A slice for the same reason.
    pub subjects: Box<[Subject]>,
}

/// What the operator's CapsuleConfiguration says about users.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigurationFact {
    /// The Capsule users.
    pub users: BTreeSet<Subject>,
    /// `spec.ignoreUserWithGroups`: members are treated as administrators.
    pub ignored_groups: BTreeSet<GroupName>,
}

/// What was read of an object, and what could not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading<T> {
    /// `None`: the object grants nothing.
    pub fact: Option<T>,
    /// What could not be read, in order.
    pub rejected: Vec<Rejected>,
}

impl<T> Reading<T> {
    /// The same with its fact turned into another.
    pub fn map<U>(self, turn: impl FnOnce(T) -> U) -> Reading<U> {
        Reading {
            fact: self.fact.map(turn),
            rejected: self.rejected,
        }
    }

    fn refused(field: &'static str, why: Why) -> Self {
        Self {
            fact: None,
            rejected: vec![Rejected::new(field, why)],
        }
    }
}

/// A part of an object that could not be read and grants nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {why}")]
pub struct Rejected {
    /// Which part.
    pub field: Cow<'static, str>,
    /// Why.
    pub why: Why,
}

impl Rejected {
    fn new(field: impl Into<Cow<'static, str>>, why: Why) -> Self {
        Self {
            field: field.into(),
            why,
        }
    }
}

/// Why a part could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// Not there, though every object has it.
    #[error("is missing")]
    Missing,
    /// A number for a string, an object for a list, …
    #[error("is of the wrong type")]
    Type,
    /// No name that an object could have.
    #[error("is no name")]
    Name,
    /// A word that names no kind of `proxySettings`.
    #[error("names an unknown kind")]
    Kind,
    /// Operations of which none shows anything.
    #[error("has neither List nor Get")]
    Operations,
    /// A selector of everything, which nobody means by writing nothing.
    #[error("is empty and selects nothing")]
    Empty,
    /// No regular expression, or one that is too large.
    #[error("is no usable regular expression")]
    Pattern,
    /// No label selector.
    #[error(transparent)]
    Selector(BadSelector),
    /// Names nobody.
    #[error(transparent)]
    Subject(#[from] SubjectError),
}

/// Reads a Tenant of v1beta2 or v1beta1; the older has no `status.owners` and no `status.spaces`.
pub fn tenant(object: &DynamicObject) -> Reading<TenantFact> {
    let Some(uid) = known(object.metadata.uid.as_deref()) else {
        return Reading::refused("metadata.uid", Why::Missing);
    };
    let Some(name) = parsed(object.metadata.name.as_deref(), ObjectName::parse) else {
        return Reading::refused("metadata.name", Why::Name);
    };
    let mut rejected = Vec::new();
    let data = &object.data;
    let observed = data
        .pointer("/status/observedGeneration")
        .and_then(Value::as_i64);
    let offers = offers::read(&name, data, &mut rejected);
    let fact = TenantFact {
        uid: Uid::new(uid),
        name,
        listed: listed(data, &mut rejected),
        offers,
        spec_owners: capsule_subjects(data, "/spec/owners", &mut rejected),
        status_owners: capsule_subjects(data, "/status/owners", &mut rejected),
        caught_up: matches!((observed, object.metadata.generation), (Some(seen), Some(now)) if seen >= now),
        claims: claims::read(data, &mut rejected),
    };
    Reading {
        fact: Some(fact),
        rejected,
    }
}

/// Reads a Namespace. One that is being deleted is still there.
pub fn namespace(object: &PartialObjectMeta<NamespaceObject>) -> Reading<NamespaceFact> {
    let meta = &object.metadata;
    let Some(name) = parsed(meta.name.as_deref(), Namespace::parse) else {
        return Reading::refused("metadata.name", Why::Name);
    };
    let Some(uid) = known(meta.uid.as_deref()) else {
        return Reading::refused("metadata.uid", Why::Missing);
    };
    let mut labels = Labels::default();
    for (key, value) in meta.labels.iter().flatten() {
        labels.push(key, value);
    }
    let mut rejected = Vec::new();
    if labels.seal().is_err() {
        labels.clear();
        rejected.push(Rejected::new("metadata.labels", Why::Type));
    }
    let references = meta.owner_references.as_deref().unwrap_or_default();
    let parents = references
        .iter()
        // By group and kind, whatever version: the operator's own is written by whichever version created it.
        .filter(|owner| owner.kind == "Tenant" && group_of(&owner.api_version) == CAPSULE)
        .map(|owner| Uid::new(&owner.uid));
    let fact = NamespaceFact {
        name,
        uid: Uid::new(uid),
        created: meta.creation_timestamp.as_ref().map(|time| time.0),
        parents: sorted(parents.collect()),
        labels,
    };
    Reading {
        fact: Some(fact),
        rejected,
    }
}

/// Reads a RoleBinding.
pub fn binding(object: &RoleBinding) -> Reading<BindingFact> {
    let Some(namespace) = parsed(object.metadata.namespace.as_deref(), Namespace::parse) else {
        return Reading::refused("metadata.namespace", Why::Name);
    };
    let Some(name) = parsed(object.metadata.name.as_deref(), ObjectName::parse) else {
        return Reading::refused("metadata.name", Why::Name);
    };
    let mut rejected = Vec::new();
    let mut subjects = Vec::new();
    for entry in object.subjects.as_deref().unwrap_or_default() {
        match Subject::of_rbac(
            &entry.kind,
            &entry.name,
            entry.namespace.as_deref(),
            namespace.as_str(),
        ) {
            Ok(subject) => subjects.push(subject),
            Err(why) => rejected.push(Rejected::new("subjects", why.into())),
        }
    }
    let fact = BindingFact {
        namespace,
        name,
        subjects: sorted(subjects),
    };
    Reading {
        fact: Some(fact),
        rejected,
    }
}

/// Reads a CapsuleConfiguration: `status.users`, or from the spec what older operators do not put there.
pub fn configuration(object: &DynamicObject) -> Reading<ConfigurationFact> {
    let mut rejected = Vec::new();
    let data = &object.data;
    let mut users = BTreeSet::new();
    if data.pointer("/status/users").is_some() {
        users = capsule_subjects(data, "/status/users", &mut rejected);
    } else {
        users.extend(capsule_subjects(data, "/spec/users", &mut rejected));
        users.extend(subjects_of_kind(
            "Group",
            data,
            "/spec/userGroups",
            &mut rejected,
        ));
        users.extend(subjects_of_kind(
            "User",
            data,
            "/spec/userNames",
            &mut rejected,
        ));
    }
    let mut ignored_groups = BTreeSet::new();
    for subject in subjects_of_kind("Group", data, "/spec/ignoreUserWithGroups", &mut rejected) {
        match subject {
            Subject::Group(name) => ignored_groups.insert(name),
            Subject::User(_) => false,
        };
    }
    Reading {
        fact: Some(ConfigurationFact {
            users,
            ignored_groups,
        }),
        rejected,
    }
}

/// The key of a Tenant, also of one that cannot be read otherwise.
pub fn tenant_key(object: &DynamicObject) -> Option<Key> {
    known(object.metadata.uid.as_deref()).map(|uid| Key::Tenant(Uid::new(uid)))
}

/// The key of a Namespace, likewise.
pub fn namespace_key(object: &PartialObjectMeta<NamespaceObject>) -> Option<Key> {
    parsed(object.metadata.name.as_deref(), Namespace::parse).map(Key::Namespace)
}

/// The key of a RoleBinding, likewise.
pub fn binding_key(object: &RoleBinding) -> Option<Key> {
    let namespace = parsed(object.metadata.namespace.as_deref(), Namespace::parse)?;
    Some(Key::Binding(
        namespace,
        parsed(object.metadata.name.as_deref(), ObjectName::parse)?,
    ))
}

fn parsed<T>(text: Option<&str>, parse: impl Fn(&str) -> Result<T, NotASegment>) -> Option<T> {
    parse(text?).ok()
}

/// The entries of the list at `path`; none where there is none.
fn list<'a>(data: &'a Value, path: &'static str, rejected: &mut Vec<Rejected>) -> &'a [Value] {
    match data.pointer(path) {
        None | Some(Value::Null) => &[],
        Some(Value::Array(entries)) => entries,
        Some(Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) => {
            rejected.push(Rejected::new(path, Why::Type));
            &[]
        }
    }
}

/// The list of `{kind, name}` at `path`.
fn capsule_subjects(
    data: &Value,
    path: &'static str,
    rejected: &mut Vec<Rejected>,
) -> BTreeSet<Subject> {
    let mut subjects = BTreeSet::new();
    for entry in list(data, path, rejected) {
        let text = |key| entry.get(key).and_then(Value::as_str).ok_or(Why::Type);
        let subject = text("kind").and_then(|kind| Ok(Subject::of_capsule(kind, text("name")?)?));
        keep(subject, path, &mut subjects, rejected);
    }
    subjects
}

/// Of which kinds each owner may see what the Tenant offers.
fn listed(data: &Value, rejected: &mut Vec<Rejected>) -> BTreeMap<Subject, BTreeSet<ProxyKind>> {
    let mut listed: BTreeMap<Subject, BTreeSet<ProxyKind>> = BTreeMap::new();
    let owners = list(data, "/spec/owners", &mut Vec::new());
    for (index, entry) in owners.iter().enumerate() {
        let text = |key| entry.get(key).and_then(Value::as_str).unwrap_or_default();
        // One that names nobody was rejected where the owners were read.
        if let Ok(subject) = Subject::of_capsule(text("kind"), text("name")) {
            let kinds = offers::listed(entry, &format!("spec.owners[{index}]"), rejected);
            if !kinds.is_empty() {
                listed.entry(subject).or_default().extend(kinds);
            }
        }
    }
    listed
}

/// The list of names of one kind at `path`.
fn subjects_of_kind(
    kind: &str,
    data: &Value,
    path: &'static str,
    rejected: &mut Vec<Rejected>,
) -> BTreeSet<Subject> {
    let mut subjects = BTreeSet::new();
    for entry in list(data, path, rejected) {
        let name = entry.as_str().ok_or(Why::Type);
        let subject = name.and_then(|name| Ok(Subject::of_capsule(kind, name)?));
        keep(subject, path, &mut subjects, rejected);
    }
    subjects
}

fn sorted<T: Ord>(mut items: Vec<T>) -> Box<[T]> {
    items.sort_unstable();
    items.dedup();
    items.into()
}

fn keep(
    subject: Result<Subject, Why>,
    field: &'static str,
    subjects: &mut BTreeSet<Subject>,
    rejected: &mut Vec<Rejected>,
) {
    match subject {
        Ok(subject) => {
            subjects.insert(subject);
        }
        Err(why) => rejected.push(Rejected::new(field, why)),
    }
}

fn group_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

fn known(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests;
