//! What one identity may see, as an immutable snapshot.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::grant::Grant;
use crate::k8s::names::Namespace;
use crate::k8s::names::ObjectName;

/// What one identity may see at one moment. Shared by `Arc`, never changed.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Steps on with every change of `standing`, for this identity in this process.
    pub generation: Generation,
    /// In what relation the identity stands to the tenants.
    pub standing: Standing,
}

/// Numbers the scopes of an identity. Unique in the process: an identity that went away and comes back never meets a
/// generation it had before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

/// In what relation an identity stands to the tenants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// On the ignored list: forwarded untouched before anything is looked up.
    Ignored,
    /// Named by no Tenant, RoleBinding or rule, and no Capsule user: forwarded, the API server answers.
    Stranger,
    /// Sees what `Visible` says. A Capsule user in no Tenant is a member who sees nothing: an empty list, not a 403.
    Member(Arc<Visible>),
}

/// What a member sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Visible {
    /// The namespaces, in the order of their names.
    pub namespaces: Arc<BTreeSet<Namespace>>,
    /// The Tenants it owns, or that a ProxySetting shows it, in the order of their names.
    pub tenants: Arc<BTreeSet<ObjectName>>,
    /// What rules show it of cluster-scoped kinds: an OR.
    pub grants: Arc<BTreeSet<Grant>>,
    /// Whether it is a Capsule user: it may come to own namespaces, and is told so when it has none.
    pub capsule_user: bool,
}
