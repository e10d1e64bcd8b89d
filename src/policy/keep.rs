//! Which objects of a collection may be seen.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::k8s::names::Namespace;
use crate::k8s::names::ObjectName;
use crate::tenancy::grant::Objects;
use crate::wire::object::ObjectMeta;
use crate::wire::object::Wanted;

/// Which objects of an answer may pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keep {
    /// All: what was asked for was already narrowed by a selector that says exactly what may be seen. The answer is read
    /// and cleaned all the same.
    Everything,
    /// Those whose `metadata.name` is one of these.
    Names(Arc<BTreeSet<Namespace>>),
    /// The same for kinds other than namespaces.
    Objects(Arc<BTreeSet<ObjectName>>),
    /// Those that any of these shows.
    Any(Arc<[Objects]>),
}

impl Keep {
    /// Whether the object with this metadata may pass.
    pub fn shows(&self, meta: &ObjectMeta) -> bool {
        match self {
            Self::Everything => true,
            Self::Names(names) => names.contains(meta.name.as_str()),
            Self::Objects(names) => names.contains(meta.name.as_str()),
            Self::Any(clauses) => clauses
                .iter()
                .any(|objects| objects.shows(&meta.name, &meta.labels)),
        }
    }

    /// What of an object's metadata it must know.
    pub fn wanted(&self) -> Wanted {
        match self {
            Self::Everything | Self::Names(_) | Self::Objects(_) => Wanted::Names,
            Self::Any(clauses) => {
                if clauses.iter().any(Objects::reads_labels) {
                    Wanted::Labels
                } else {
                    Wanted::Names
                }
            }
        }
    }

    /// Whether nothing is dropped.
    pub fn is_all(&self) -> bool {
        match self {
            Self::Everything => true,
            Self::Names(_) | Self::Objects(_) | Self::Any(_) => false,
        }
    }
}
