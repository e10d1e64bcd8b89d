//! What of a cluster-scoped kind a member sees, and how a list of it says so: by a selector where one says it exactly,
//! else item by item.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Keep;
use crate::catalog::KindFacts;
use crate::k8s::field_selector::FieldSelector;
use crate::k8s::label_selector::LabelSelector;
use crate::k8s::list_options::ListOptions;
use crate::k8s::names::GroupResource;
use crate::k8s::names::Namespace;
use crate::k8s::names::ObjectName;
use crate::tenancy::facts::CAPSULE;
use crate::tenancy::grant::Objects;
use crate::tenancy::scope::Visible;
use crate::wire::labels::Labels;

/// Set by the API server on every namespace at read and write; it cannot be forged (KEP-2161). On other kinds it is a
/// label like any other.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Most names pushed down as one `in (…)`: the API server matches them one by one, per object and event.
const MAX_NAMES: usize = 200;

/// Longest selector pushed down, in bytes before percent-encoding: load balancers in between end at 8 KiB of headers.
const MAX_SELECTOR_BYTES: usize = 8 * 1024;

/// The kinds that somebody may see a part of without a rule that names them: group, a version that is always served,
/// plural.
const OWNED: [(&str, &str, &str); 2] = [("", "v1", "namespaces"), (CAPSULE, "v1beta2", "tenants")];

/// What of one kind a member sees: what any of these shows.
#[derive(Clone, Debug)]
pub(super) struct Sight {
    owned: Owned,
    /// By rules.
    clauses: Vec<Objects>,
    /// Whether a selector means what it says. Another server than kube-apiserver may not know selectors.
    selectable: bool,
}

/// What one sees without a rule that names the kind.
#[derive(Clone, Debug)]
enum Owned {
    Nothing,
    Namespaces(Arc<BTreeSet<Namespace>>),
    Tenants(Arc<BTreeSet<ObjectName>>),
}

/// For what a kind is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// A list or watch.
    Collection,
    /// A GET of one object, which some rules show and lists do not.
    Object,
}

/// Whether one may see a part of the kind without a rule that names it.
pub(super) fn is_owned(resource: &GroupResource) -> bool {
    OWNED.iter().any(|(group, _, plural)| {
        *group == resource.group.as_ref() && *plural == resource.resource.as_ref()
    })
}

/// Those kinds, each with a version that is always served where the kind is.
pub(super) fn owned_kinds() -> impl Iterator<Item = (GroupResource, &'static str)> {
    OWNED
        .iter()
        .map(|(group, version, plural)| (GroupResource::new(group, plural), *version))
}

impl Sight {
    /// What `visible` shows of `kind`.
    pub(super) fn of(kind: &KindFacts, visible: &Visible, look: Look) -> Self {
        let resource = &kind.resource;
        let grants = visible.grants.iter().filter(|grant| {
            (grant.lists || look == Look::Object) && grant.covers(resource, &kind.version)
        });
        let mut clauses: Vec<Objects> = grants.map(|grant| grant.objects.clone()).collect();
        let owned = match (resource.group.as_ref(), resource.resource.as_ref()) {
            ("", "namespaces") if has_to_do_with_namespaces(visible) || !clauses.is_empty() => {
                if look == Look::Collection {
                    // The index has resolved what rules show in lists: the names are needed for more than this kind.
                    clauses.clear();
                }
                Owned::Namespaces(Arc::clone(&visible.namespaces))
            }
            (CAPSULE, "tenants") => Owned::Tenants(Arc::clone(&visible.tenants)),
            _ => Owned::Nothing,
        };
        Self {
            owned,
            clauses,
            selectable: !kind.aggregated,
        }
    }

    /// Whether it is better to let the API server refuse than to show an empty list: a client must never take "you may
    /// not" for "all gone". A rule that matches nothing is sight; of namespaces a Capsule user who has none is told so.
    pub(super) fn is_no_sight(&self) -> bool {
        let owns_none = match &self.owned {
            Owned::Nothing => true,
            Owned::Namespaces(_) => false,
            Owned::Tenants(names) => names.is_empty(),
        };
        owns_none && self.clauses.is_empty()
    }

    /// Which items may pass where they are looked at one by one.
    pub(super) fn keep(&self) -> Keep {
        match &self.owned {
            // Lists of namespaces have no clauses.
            Owned::Namespaces(names) => Keep::Names(Arc::clone(names)),
            Owned::Tenants(names) if self.clauses.is_empty() => Keep::Objects(Arc::clone(names)),
            Owned::Nothing => Keep::Any(self.clauses.iter().cloned().collect()),
            Owned::Tenants(names) => {
                let named = Objects::Named(names.as_ref().clone());
                Keep::Any(
                    std::iter::once(named)
                        .chain(self.clauses.iter().cloned())
                        .collect(),
                )
            }
        }
    }

    /// The same of one object only, if it may be among them.
    pub(super) fn keep_only(&self, name: &str) -> Option<Keep> {
        match &self.owned {
            Owned::Namespaces(names) => {
                if let Some(name) = names.get(name) {
                    return Some(Keep::Names(Arc::new(BTreeSet::from([name.clone()]))));
                }
            }
            Owned::Tenants(names) => {
                if let Some(name) = names.get(name) {
                    return Some(Keep::Objects(Arc::new(BTreeSet::from([name.clone()]))));
                }
            }
            Owned::Nothing => {}
        }
        // What labels say is known when it has been read.
        let may_show = |objects: &&Objects| match objects {
            Objects::All | Objects::Labelled(_) => true,
            Objects::Named(_) | Objects::Matching(_) => objects.shows(name, &Labels::default()),
        };
        let clauses: Arc<[Objects]> = self.clauses.iter().filter(may_show).cloned().collect();
        (!clauses.is_empty()).then_some(Keep::Any(clauses))
    }

    /// The client's options with a selector that says exactly this, if there is one and it is not too long.
    pub(super) fn push_down(&self, options: &ListOptions) -> Option<ListOptions> {
        if self.clauses.contains(&Objects::All) {
            return Some(options.clone());
        }
        if !self.selectable {
            return None;
        }
        match &self.owned {
            Owned::Namespaces(names) if names.len() > MAX_NAMES => None,
            Owned::Namespaces(names) => {
                let names = names.iter().map(Namespace::as_str);
                labelled(options, &LabelSelector::one_of(NAME_LABEL, names))
            }
            Owned::Tenants(names) if self.clauses.is_empty() => one_name(options, names),
            Owned::Tenants(names) if !names.is_empty() => None,
            Owned::Nothing | Owned::Tenants(_) => match self.clauses.as_slice() {
                [Objects::Named(names)] => one_name(options, names),
                clauses => labelled(options, &one_selector(clauses)?),
            },
        }
    }
}

/// Whether somebody has namespaces, or may come to have some: as a Capsule user, or by a Tenant.
fn has_to_do_with_namespaces(visible: &Visible) -> bool {
    !visible.namespaces.is_empty() || !visible.tenants.is_empty() || visible.capsule_user
}

/// One selector for the objects of all `clauses`, if there is one.
fn one_selector(clauses: &[Objects]) -> Option<LabelSelector> {
    let mut united: Option<LabelSelector> = None;
    for objects in clauses {
        let selector = match objects {
            Objects::Labelled(selector) => selector,
            Objects::All | Objects::Named(_) | Objects::Matching(_) => return None,
        };
        united = Some(match united {
            None => selector.clone(),
            Some(united) => united.or(selector)?,
        });
    }
    united
}

fn labelled(options: &ListOptions, acl: &LabelSelector) -> Option<ListOptions> {
    let label_selector = options.label_selector.and(acl);
    (label_selector.print().len() <= MAX_SELECTOR_BYTES).then(|| ListOptions {
        label_selector,
        ..options.clone()
    })
}

/// Every kind can be selected by one name, and none by several.
fn one_name(options: &ListOptions, names: &BTreeSet<ObjectName>) -> Option<ListOptions> {
    let name = names.first().filter(|_| names.len() == 1)?;
    let acl = FieldSelector::equal("metadata.name", name.as_str());
    Some(ListOptions {
        field_selector: options.field_selector.and(&acl),
        ..options.clone()
    })
}
