//! When a new standing is published: what takes sight away at once, what only gives it at most once a second.
//!
//! Pure. Without it a storm of grants (an operator creating a hundred namespaces) would expire an identity's watches a
//! hundred times; the first grant and every revocation are never held back.

use std::time::Duration;

use tokio::time::Instant;

use super::scope::Standing;

/// How far apart further grants of one identity are.
pub(super) const BETWEEN_GRANTS: Duration = Duration::from_secs(1);

/// What to do with a standing just computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Publish {
    /// Nothing: it is the one in force.
    Nothing,
    /// Publish it, as a grant: the next one waits.
    Grant,
    /// Publish it: it takes sight away, or changes who answers.
    AtOnce,
    /// Compute it again at this time.
    Later(Instant),
}

/// Decides about `new` while `old` is in force and the last grant was at `last`.
pub(super) fn pace(old: &Standing, new: &Standing, last: Option<Instant>, now: Instant) -> Publish {
    if old == new {
        return Publish::Nothing;
    }
    if !only_gives(old, new) {
        return Publish::AtOnce;
    }
    match last.map(|last| last + BETWEEN_GRANTS) {
        Some(next) if now < next => Publish::Later(next),
        Some(_) | None => Publish::Grant,
    }
}

/// Whether all that was seen under `old` is seen under `new`, answered by the same side.
fn only_gives(old: &Standing, new: &Standing) -> bool {
    match (old, new) {
        (Standing::Stranger, Standing::Member(_)) => true,
        (Standing::Member(old), Standing::Member(new)) => {
            old.namespaces.is_subset(&new.namespaces)
                && old.tenants.is_subset(&new.tenants)
                && old.grants.is_subset(&new.grants)
                && (new.capsule_user || !old.capsule_user)
        }
        // Who is forwarded from now on, or no longer, is answered by another side: that flip is a generation at once.
        (Standing::Ignored, Standing::Ignored | Standing::Stranger | Standing::Member(_))
        | (Standing::Stranger, Standing::Ignored | Standing::Stranger)
        | (Standing::Member(_), Standing::Ignored | Standing::Stranger) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::k8s::names::Namespace;
    use crate::tenancy::scope::Visible;

    /// `ignored`, `stranger`, or the names a member sees, `-` for none.
    fn standing(text: &str) -> Standing {
        match text {
            "ignored" => Standing::Ignored,
            "stranger" => Standing::Stranger,
            names => {
                let names = names.split_whitespace().filter(|name| *name != "-");
                Standing::Member(Arc::new(Visible {
                    namespaces: Arc::new(
                        names.map(|name| Namespace::parse(name).unwrap()).collect(),
                    ),
                    ..Visible::default()
                }))
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_further_grants_wait() {
        let now = Instant::now();
        let later = Publish::Later(now + Duration::from_millis(600));
        for (old, new, expected) in [
            ("a", "a", Publish::Nothing),
            ("a", "a b", later),
            ("-", "a", later),
            ("stranger", "a", later),
            ("a b", "b", Publish::AtOnce),
            ("a b", "b c", Publish::AtOnce),
            ("a", "-", Publish::AtOnce),
            ("a", "stranger", Publish::AtOnce),
            ("a", "ignored", Publish::AtOnce),
            ("ignored", "a", Publish::AtOnce),
            ("stranger", "ignored", Publish::AtOnce),
        ] {
            let last = now.checked_sub(Duration::from_millis(400));
            assert_eq!(
                pace(&standing(old), &standing(new), last, now),
                expected,
                "{old} → {new}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_grant_and_the_first_after_a_second_do_not_wait() {
        let now = Instant::now();
        let (old, new) = (standing("a"), standing("a b"));
        assert_eq!(pace(&old, &new, None, now), Publish::Grant);
        assert_eq!(
            pace(&old, &new, now.checked_sub(BETWEEN_GRANTS), now),
            Publish::Grant
        );
        assert_eq!(
            pace(&old, &new, Some(now), now),
            Publish::Later(now + BETWEEN_GRANTS)
        );
    }
}
