//! To which Tenants a namespace belongs: the one rule, pure. It knows neither owners nor users.

use jiff::SignedDuration;
use jiff::Timestamp;

use super::facts::NamespaceFact;
use super::facts::Uid;

/// How long a reference alone makes a namespace a member. The operator writes the status within a second; an *old*
/// namespace with a new reference is how strangers' namespaces were taken over (CVE-2024-39690).
pub const YOUNG: SignedDuration = SignedDuration::from_mins(5);

/// What some Tenant's status says about a namespace's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimOf {
    /// The Tenant.
    pub tenant: Uid,
    /// The UID it knows the namespace by, if it does.
    pub uid: Option<Uid>,
}

/// To whom a namespace belongs, and for how long that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// The Tenants, sorted.
    pub tenants: Vec<Uid>,
    /// From when on it must be judged again.
    pub until: Option<Timestamp>,
}

/// Judges `namespace` by what Tenants' statuses say about its name.
///
/// * A reference to another Tenant beats any status; with references to two Tenants, each beats the other.
/// * A status that knows the UID decides; it says nothing about a later namespace of the same name.
/// * A bare name counts only while no status knows this very UID.
/// * A reference alone counts while the namespace is young and no status knows this very UID.
///
/// A creation time ahead of `now` counts as young: the clocks of proxy and API server may differ by seconds.
pub fn judge(namespace: &NamespaceFact, claims: &[ClaimOf], now: Timestamp) -> Membership {
    let parent = namespace.parents.first();
    if namespace.parents.iter().any(|other| Some(other) != parent) {
        return Membership::default();
    }
    let admitted = |claim: &&ClaimOf| parent.is_none_or(|parent| *parent == claim.tenant);
    let known: Vec<&ClaimOf> = claims
        .iter()
        .filter(|claim| claim.uid.as_ref() == Some(&namespace.uid))
        .collect();
    if !known.is_empty() {
        return members(known.into_iter().filter(admitted));
    }
    let bare = members(
        claims
            .iter()
            .filter(|claim| claim.uid.is_none())
            .filter(admitted),
    );
    let (Some(parent), []) = (parent, bare.tenants.as_slice()) else {
        return bare;
    };
    let until = namespace
        .created
        .and_then(|created| created.checked_add(YOUNG).ok());
    match until {
        Some(until) if now < until => Membership {
            tenants: vec![parent.clone()],
            until: Some(until),
        },
        Some(_) | None => Membership::default(),
    }
}

fn members<'a>(claims: impl Iterator<Item = &'a ClaimOf>) -> Membership {
    let mut tenants: Vec<Uid> = claims.map(|claim| claim.tenant.clone()).collect();
    tenants.sort_unstable();
    tenants.dedup();
    Membership {
        tenants,
        until: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::k8s::names::Namespace;
    use crate::wire::labels::Labels;

    /// Judges a namespace of UID `n` and `age` seconds, with references to `parents`, under claims `tenant=uid`.
    fn judged(parents: &str, age: i64, claims: &str) -> String {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let namespace = NamespaceFact {
            name: Namespace::parse("oil-dev").unwrap(),
            uid: Uid::new("n"),
            created: Some(now - SignedDuration::from_secs(age)),
            parents: parents.split_whitespace().map(Uid::new).collect(),
            labels: Labels::default(),
        };
        let claims: Vec<ClaimOf> = claims.split_whitespace().map(claim).collect();
        let membership = judge(&namespace, &claims, now);
        let mut text: Vec<String> = membership
            .tenants
            .iter()
            .map(|uid| format!("{uid:?}"))
            .collect();
        if let Some(until) = membership.until {
            text.push(format!("for {}", until.duration_since(now).as_secs()));
        }
        text.join(" ").replace("Uid(\"", "").replace("\")", "")
    }

    fn claim(text: &str) -> ClaimOf {
        match text.split_once('=') {
            Some((tenant, uid)) => ClaimOf {
                tenant: Uid::new(tenant),
                uid: Some(Uid::new(uid)),
            },
            None => ClaimOf {
                tenant: Uid::new(text),
                uid: None,
            },
        }
    }

    #[test]
    fn the_rulings_hold() {
        for (name, parents, age, claims, expected) in [
            ("nobody's", "", 1, "", ""),
            ("a status by UID", "", 9000, "oil=n", "oil"),
            (
                "a status by UID and its own reference",
                "oil",
                9000,
                "oil=n",
                "oil",
            ),
            (
                "a status about an earlier namespace of that name",
                "",
                9000,
                "oil=old",
                "",
            ),
            ("a bare name", "", 9000, "oil", "oil"),
            (
                "a bare name and its own reference",
                "oil",
                9000,
                "oil",
                "oil",
            ),
            (
                "a bare name against another's UID",
                "",
                9000,
                "oil gas=n",
                "gas",
            ),
            (
                "a bare name against another's old UID",
                "",
                9000,
                "oil gas=old",
                "oil",
            ),
            ("a reference beats a bare name", "gas", 9000, "oil", ""),
            (
                "a reference beats a status by UID",
                "gas",
                9000,
                "oil=n",
                "",
            ),
            (
                "a reference and its status against another's",
                "gas",
                9000,
                "oil=n gas=n",
                "gas",
            ),
            (
                "two references beat each other",
                "oil gas",
                1,
                "oil=n gas=n",
                "",
            ),
            ("a reference alone, young", "oil", 1, "", "oil for 299"),
            ("a reference alone, just young", "oil", 299, "", "oil for 1"),
            (
                "a reference alone, no longer young (CVE-2024-39690)",
                "oil",
                300,
                "",
                "",
            ),
            (
                "a reference alone, from a clock ahead",
                "oil",
                -5,
                "",
                "oil for 305",
            ),
            (
                "recreated under its name before the status says so",
                "oil",
                1,
                "oil=old",
                "oil for 299",
            ),
            (
                "young, under a name another's status still has",
                "oil",
                1,
                "gas",
                "oil for 299",
            ),
            (
                "young, but another's status knows this very one",
                "oil",
                1,
                "gas=n",
                "",
            ),
            ("two statuses by UID", "", 9000, "oil=n gas=n", "gas oil"),
        ] {
            assert_eq!(judged(parents, age, claims), expected, "{name}");
        }
    }
}
