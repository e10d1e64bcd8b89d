//! A namespace's name and everything that is said about it.

use std::collections::HashMap;

use crate::k8s::names::ObjectName;
use crate::tenancy::facts::NamespaceFact;
use crate::tenancy::facts::SettingSubject;
use crate::tenancy::facts::Uid;
use crate::tenancy::membership::ClaimOf;
use crate::tenancy::membership::Membership;
use crate::tenancy::subject::Subject;

/// What is said about one name. Forgotten when nothing is.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// The namespace, while it exists.
    pub(super) namespace: Option<NamespaceFact>,
    /// What Tenants' statuses say, at most one entry per Tenant.
    pub(super) claims: Vec<ClaimOf>,
    /// The judgment in force.
    pub(super) membership: Membership,
    /// Whom its RoleBindings name; those that name nobody who counts are not here.
    pub(super) bindings: HashMap<ObjectName, Box<[Subject]>>,
    /// Its ProxySettings.
    pub(super) settings: HashMap<ObjectName, Vec<SettingSubject>>,
}

impl Place {
    /// Notes a Tenant's claim, in place of an earlier one of that Tenant.
    pub(super) fn claim(&mut self, claim: ClaimOf) {
        match self
            .claims
            .iter_mut()
            .find(|known| known.tenant == claim.tenant)
        {
            Some(known) => *known = claim,
            None => {
                // One is what nearly every place has.
                self.claims.reserve_exact(1);
                self.claims.push(claim);
            }
        }
    }

    /// Forgets a Tenant's claim.
    pub(super) fn unclaim(&mut self, tenant: &Uid) {
        self.claims.retain(|known| known.tenant != *tenant);
    }

    /// Everyone whom a RoleBinding here names, as often as he is named.
    pub(super) fn bound(&self) -> impl Iterator<Item = &Subject> {
        self.bindings.values().flatten()
    }

    /// Everyone whom a ProxySetting here names, as often as he is named.
    pub(super) fn viewers(&self) -> impl Iterator<Item = &Subject> {
        let named = self.settings.values().flatten();
        named.map(|named| &named.subject)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.namespace.is_none()
            && self.claims.is_empty()
            && self.bindings.is_empty()
            && self.settings.is_empty()
    }
}
