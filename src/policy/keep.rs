//! Which objects of a collection may be seen.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::k8s::names::Namespace;
use crate::k8s::names::ObjectName;

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
}

impl Keep {
    /// Whether an object of this name may pass.
    pub fn shows(&self, name: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Names(names) => names.contains(name),
            Self::Objects(names) => names.contains(name),
        }
    }

    /// Whether nothing is dropped.
    pub fn is_all(&self) -> bool {
        match self {
            Self::Everything => true,
            Self::Names(_) | Self::Objects(_) => false,
        }
    }
}
