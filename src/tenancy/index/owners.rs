//! Who owns a Tenant while its status lags behind its spec.

use std::collections::BTreeSet;

use crate::tenancy::facts::TenantFact;
use crate::tenancy::subject::Subject;

/// The owners that count, and those of them that the spec names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Owners {
    spec: BTreeSet<Subject>,
    /// Those that count.
    pub(super) all: BTreeSet<Subject>,
}

impl Owners {
    /// The owners once `fact` is known.
    ///
    /// `spec ∪ status` when the status has caught up with the spec. Until then the status may still name whom the spec
    /// has just dropped: of its owners only those count who counted before and were not the spec's to drop. A removed
    /// owner is out at once; an administrator, whom no spec names, does not flicker with every edit of the Tenant.
    pub(super) fn after(&self, fact: &TenantFact) -> Self {
        let mut all = fact.spec_owners.clone();
        if fact.caught_up {
            all.extend(fact.status_owners.iter().cloned());
        } else {
            let stay =
                |subject: &&Subject| self.all.contains(subject) && !self.spec.contains(subject);
            all.extend(fact.status_owners.iter().filter(stay).cloned());
        }
        Self {
            spec: fact.spec_owners.clone(),
            all,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::k8s::names::ObjectName;
    use crate::tenancy::facts::Offers;
    use crate::tenancy::facts::Uid;

    fn subjects(names: &str) -> BTreeSet<Subject> {
        names
            .split_whitespace()
            .map(|name| Subject::of_capsule("User", name).unwrap())
            .collect()
    }

    /// Feeds states `spec | status | caught up` in order and tells who owns the Tenant after the last.
    fn after(states: &[(&str, &str, bool)]) -> BTreeSet<Subject> {
        let mut owners = Owners::default();
        for (spec, status, caught_up) in states {
            owners = owners.after(&TenantFact {
                uid: Uid::new("t"),
                name: ObjectName::parse("t").unwrap(),
                spec_owners: subjects(spec),
                status_owners: subjects(status),
                caught_up: *caught_up,
                claims: Vec::new(),
                listed: BTreeMap::new(),
                offers: Offers::new(),
            });
        }
        owners.all
    }

    #[test]
    fn a_lagging_status_brings_nobody_back() {
        for (name, states, expected) in [
            (
                "together once caught up",
                &[("alice", "alice admin", true)] as &[_],
                "alice admin",
            ),
            (
                "a new owner is in at once",
                &[("alice", "alice", true), ("alice bob", "alice", false)],
                "alice bob",
            ),
            (
                "a dropped owner is out at once, an administrator stays",
                &[
                    ("alice bob", "alice bob admin", true),
                    ("alice", "alice bob admin", false),
                ],
                "alice admin",
            ),
            (
                "and stays out while further edits are waiting",
                &[
                    ("alice bob", "alice bob admin", true),
                    ("alice", "alice bob admin", false),
                    ("alice carol", "alice bob admin", false),
                ],
                "alice carol admin",
            ),
            (
                "and is back if the status still says so once caught up",
                &[
                    ("alice bob", "alice bob", true),
                    ("alice", "alice bob", false),
                    ("alice", "alice bob", true),
                ],
                "alice bob",
            ),
            (
                "a first look at a lagging status believes the spec alone",
                &[("alice", "alice bob", false)],
                "alice",
            ),
            (
                "an owner added and dropped between two looks was never in",
                &[("alice", "alice", true), ("alice", "alice carol", false)],
                "alice",
            ),
        ] {
            assert_eq!(after(states), subjects(expected), "{name}");
        }
    }
}
