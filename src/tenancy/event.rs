//! What a source of facts can say: an object changed, is gone, or *these* are all there are. And what that touches.

use std::collections::BTreeSet;

use super::facts::Fact;
use super::facts::Key;
use super::subject::Subject;

/// Where facts come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// `tenants.capsule.clastix.io`.
    Tenants,
    /// `namespaces`.
    Namespaces,
    /// `rolebindings.rbac.authorization.k8s.io`.
    RoleBindings,
    /// `capsuleconfigurations.capsule.clastix.io`, the one that a setting names.
    Configuration,
    /// `proxysettings.capsule.clastix.io`.
    Settings,
    /// `globalproxysettings.capsule.clastix.io`.
    Globals,
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Tenants,
        Self::Namespaces,
        Self::RoleBindings,
        Self::Configuration,
        Self::Settings,
        Self::Globals,
    ];

    /// The kind's plural name, for metrics.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Tenants => "tenants",
            Self::Namespaces => "namespaces",
            Self::RoleBindings => "rolebindings",
            Self::Configuration => "capsuleconfigurations",
            Self::Settings => "proxysettings",
            Self::Globals => "globalproxysettings",
        }
    }

    /// For logs and `/_readyz`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tenants => "informer tenants",
            Self::Namespaces => "informer namespaces",
            Self::RoleBindings => "informer rolebindings",
            Self::Configuration => "informer capsuleconfigurations",
            Self::Settings => "informer proxysettings",
            Self::Globals => "informer globalproxysettings",
        }
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An object is new or has changed.
    Applied(Fact),
    /// An object is gone, or can no longer be read.
    Gone(Key),
    /// A source was listed anew: these are all its objects. Applied at once, never piece by piece.
    Reset(Source, Vec<Fact>),
}

impl Event {
    /// Whether it is about a ProxySetting or GlobalProxySettings.
    pub(super) fn is_of_rules(&self) -> bool {
        match self {
            Self::Applied(fact) => matches!(fact, Fact::Setting(_) | Fact::Global(_)),
            Self::Gone(key) => matches!(key, Key::Setting(..) | Key::Global(_)),
            Self::Reset(source, _) => matches!(source, Source::Settings | Source::Globals),
        }
    }
}

/// What events touched. It may name a subject too many, never one too few.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Subjects whose answer may have changed.
    pub touched: BTreeSet<Subject>,
    /// Subjects that nothing named before.
    pub named: BTreeSet<Subject>,
}

impl Changes {
    /// Adds what `other` touched.
    pub fn extend(&mut self, other: Self) {
        self.touched.extend(other.touched);
        self.named.extend(other.named);
    }

    /// Whether nobody is concerned.
    pub fn is_empty(&self) -> bool {
        self.touched.is_empty() && self.named.is_empty()
    }
}
