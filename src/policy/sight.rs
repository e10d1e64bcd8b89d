//! What of a narrowed kind a member sees, and how a list of it says so: by a selector where one says it exactly, else
//! item by item.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Keep;
use crate::k8s::field_selector::FieldSelector;
use crate::k8s::label_selector::LabelSelector;
use crate::k8s::list_options::ListOptions;
use crate::k8s::names::GroupResource;
use crate::k8s::names::Namespace;
use crate::k8s::names::ObjectName;
use crate::tenancy::facts::CAPSULE;
use crate::tenancy::scope::Visible;

/// Set by the API server on every namespace at read and write; it cannot be forged (KEP-2161). On other kinds it is a
/// label like any other.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Most names pushed down as one `in (…)`: the API server matches them one by one, per object and event.
const MAX_NAMES: usize = 200;

/// Longest selector pushed down, in bytes before percent-encoding: load balancers in between end at 8 KiB of headers.
const MAX_SELECTOR_BYTES: usize = 8 * 1024;

/// What of one kind a member sees.
#[derive(Clone, Debug)]
pub(super) enum Sight {
    /// Namespaces of these names.
    Namespaces(Arc<BTreeSet<Namespace>>),
    /// Objects of another kind, of these names.
    Objects(Arc<BTreeSet<ObjectName>>),
}

/// What decides about a kind.
type Of = fn(&Visible) -> Sight;

/// The cluster-scoped kinds that are narrowed: group, a version that is always served, plural, and what of it one sees.
/// To add one: its row here, and its row in the reader's ClusterRole (`charts/kube-tenant-proxy/templates/rbac.yaml`).
const KINDS: [(&str, &str, &str, Of); 2] = [
    ("", "v1", "namespaces", |visible| {
        Sight::Namespaces(Arc::clone(&visible.namespaces))
    }),
    (CAPSULE, "v1beta2", "tenants", |visible| {
        Sight::Objects(Arc::clone(&visible.tenants))
    }),
];

/// Whether a kind is narrowed.
pub(super) fn is_narrowed(resource: &GroupResource) -> bool {
    row(resource).is_some()
}

/// The kinds that are narrowed, each with a version that is always served where the kind is.
pub(super) fn kinds() -> impl Iterator<Item = (GroupResource, &'static str)> {
    KINDS
        .iter()
        .map(|(group, version, plural, _)| (GroupResource::new(group, plural), *version))
}

fn row(
    resource: &GroupResource,
) -> Option<&'static (&'static str, &'static str, &'static str, Of)> {
    KINDS.iter().find(|(group, _, plural, _)| {
        *group == resource.group.as_ref() && *plural == resource.resource.as_ref()
    })
}

impl Sight {
    /// What `visible` shows of `resource`; `None` if the kind is not narrowed.
    pub(super) fn of(resource: &GroupResource, visible: &Visible) -> Option<Self> {
        row(resource).map(|(_, _, _, of)| of(visible))
    }

    /// Whether it is better to let the API server refuse than to show an empty list: a client must never take "you may
    /// not" for "all gone". Of namespaces alone a member who has none is told so.
    pub(super) fn is_no_sight(&self) -> bool {
        match self {
            Self::Namespaces(_) => false,
            Self::Objects(names) => names.is_empty(),
        }
    }

    /// Which items may pass where they are looked at one by one.
    pub(super) fn keep(&self) -> Keep {
        match self {
            Self::Namespaces(names) => Keep::Names(Arc::clone(names)),
            Self::Objects(names) => Keep::Objects(Arc::clone(names)),
        }
    }

    /// The same of one object only, if it is among them.
    pub(super) fn keep_only(&self, name: &str) -> Option<Keep> {
        match self {
            Self::Namespaces(names) => {
                let name = names.get(name)?.clone();
                Some(Keep::Names(Arc::new(BTreeSet::from([name]))))
            }
            Self::Objects(names) => {
                let name = names.get(name)?.clone();
                Some(Keep::Objects(Arc::new(BTreeSet::from([name]))))
            }
        }
    }

    /// The client's options with a selector that says exactly this, if there is one and it is not too long.
    pub(super) fn push_down(&self, options: &ListOptions) -> Option<ListOptions> {
        match self {
            Self::Namespaces(names) if names.len() > MAX_NAMES => None,
            Self::Namespaces(names) => {
                let names = names.iter().map(Namespace::as_str);
                let acl = LabelSelector::one_of(NAME_LABEL, names);
                let label_selector = options.label_selector.and(&acl);
                (label_selector.print().len() <= MAX_SELECTOR_BYTES).then(|| ListOptions {
                    label_selector,
                    ..options.clone()
                })
            }
            // Every kind can be selected by one name, and none by several.
            Self::Objects(names) if names.len() == 1 => {
                let name = names.first()?;
                let acl = FieldSelector::equal("metadata.name", name.as_str());
                Some(ListOptions {
                    field_selector: options.field_selector.and(&acl),
                    ..options.clone()
                })
            }
            Self::Objects(_) => None,
        }
    }
}
