//! Identities that were proved a moment ago, by a keyed hash of their token.
//!
//! It holds neither a token nor who owns what. Lifetimes are on the monotonic clock and checked at every hit, as is the
//! credential's own end on the wall clock: a clock that steps back keeps nothing alive beyond its lifetime.

use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use aws_lc_rs::hmac;
use moka::Expiry;
use moka::sync::Cache as Moka;
use tokio::time::Instant;

use crate::authn::keys::Fingerprint;
use crate::authn::refusal::Refusal;
use crate::identity::Identity;

/// Most identities kept. Each weighs at least [`MIN_WEIGHT`], so that the weight's bound is this one too.
const MAX_ENTRIES: u64 = 32_768;

/// Bytes kept: 200 groups of Entra are about 10 KB.
const MAX_WEIGHT: u64 = 64 * 1024 * 1024;

const MIN_WEIGHT: u32 = (MAX_WEIGHT / MAX_ENTRIES) as u32;

/// Most refusals kept, in a cache of their own: garbage evicts nothing good.
const MAX_REFUSALS: u64 = 4_096;

/// How long an offline proof counts. Its claims do not change; whether its key is still in force is asked at each hit.
pub const VERIFIED: Duration = Duration::from_secs(300);

/// How long the API server's word counts: as long as it trusts its own (`kubernetes pkg/kubeapiserver/authenticator/config.go`,
/// `tokencache.New(…, config.TokenSuccessCacheTTL, …)`, 10 seconds).
pub const REVIEWED: Duration = Duration::from_secs(10);

/// How long the groups of a token that was verified offline as well count.
pub const RESOLVED: Duration = Duration::from_secs(60);

/// How long a definite offline refusal counts.
pub const REFUSED: Duration = Duration::from_secs(10);

/// How long a token that the API server refused is not asked about again. It is no answer to keep: the token may be good
/// a moment later, when a webhook is back.
pub const HOLD_OFF: Duration = Duration::from_secs(2);

/// HMAC-SHA-256 of a token under a key of this process: it cannot be computed ahead, nor looked up elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TokenKey([u8; 32]);

/// What proved an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A key of an issuer: while that key is in force.
    Key {
        /// Index of the issuer.
        issuer: usize,
        /// Id of the key.
        kid: Arc<str>,
        /// The key itself.
        fingerprint: Fingerprint,
    },
    /// The API server's word.
    Review,
}

/// An identity and what it rests on.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Who.
    pub who: Arc<Identity>,
    /// By what.
    pub proof: Proof,
    /// From now on.
    pub lifetime: Duration,
}

#[derive(Clone)]
struct Kept<T> {
    what: T,
    until: Instant,
    lifetime: Duration,
}

/// The caches.
pub struct Cache {
    secret: hmac::Key,
    good: Moka<TokenKey, Kept<Arc<Entry>>>,
    bad: Moka<TokenKey, Kept<Refusal>>,
}

impl Cache {
    /// An empty cache under the process's `secret`.
    pub fn new(secret: &[u8; 32]) -> Self {
        Self {
            secret: hmac::Key::new(hmac::HMAC_SHA256, secret),
            good: Moka::builder()
                .max_capacity(MAX_WEIGHT)
                .weigher(|_, kept: &Kept<Arc<Entry>>| weight(&kept.what.who))
                .expire_after(ByLifetime)
                .build(),
            bad: Moka::builder()
                .max_capacity(MAX_REFUSALS)
                .expire_after(ByLifetime)
                .build(),
        }
    }

    /// What `token` is kept under. The length goes first, as in the API server's own cache.
    pub fn key(&self, token: &str) -> TokenKey {
        let mut context = hmac::Context::with_key(&self.secret);
        context.update(&(token.len() as u64).to_be_bytes());
        context.update(token.as_bytes());
        let mut key = [0; 32];
        key.copy_from_slice(context.sign().as_ref());
        TokenKey(key)
    }

    /// What is known of a token at this moment. `in_force` says whether a proof still holds.
    pub fn look_up(
        &self,
        key: &TokenKey,
        now: Instant,
        clock: SystemTime,
        in_force: impl FnOnce(&Proof) -> bool,
    ) -> Option<Result<Arc<Identity>, Refusal>> {
        if let Some(kept) = self.good.get(key) {
            if kept.what.who.expires.is_some_and(|end| end <= clock) {
                return Some(Err(Refusal::Expired));
            }
            if now < kept.until && in_force(&kept.what.proof) {
                return Some(Ok(kept.what.who.clone()));
            }
            self.good.invalidate(key);
        }
        let refusal = self.bad.get(key)?;
        (now < refusal.until).then_some(Err(refusal.what))
    }

    /// Keeps a proved identity for its lifetime.
    pub fn keep(&self, key: TokenKey, entry: Entry, now: Instant) {
        let lifetime = entry.lifetime;
        let until = now + lifetime;
        self.good.insert(
            key,
            Kept {
                what: Arc::new(entry),
                until,
                lifetime,
            },
        );
    }

    /// Keeps a refusal for `lifetime`.
    pub fn refuse(&self, key: TokenKey, refusal: Refusal, lifetime: Duration, now: Instant) {
        let until = now + lifetime;
        self.bad.insert(
            key,
            Kept {
                what: refusal,
                until,
                lifetime,
            },
        );
    }

    /// Identities kept at present, about.
    pub fn remembered(&self) -> u64 {
        self.good.entry_count()
    }
}

/// Moka's own clock only clears up; whether an entry counts is decided in [`Cache::look_up`].
struct ByLifetime;

impl<T> Expiry<TokenKey, Kept<T>> for ByLifetime {
    fn expire_after_create(
        &self,
        _: &TokenKey,
        kept: &Kept<T>,
        _: std::time::Instant,
    ) -> Option<Duration> {
        Some(kept.lifetime)
    }

    fn expire_after_update(
        &self,
        _: &TokenKey,
        kept: &Kept<T>,
        _: std::time::Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(kept.lifetime)
    }
}

fn weight(who: &Identity) -> u32 {
    // A name costs its text, a reference count and a pointer.
    let name = |text: &str| text.len() + 32;
    let groups: usize = who
        .known_groups()
        .iter()
        .map(|group| name(group.as_str()))
        .sum();
    let extra: usize = who
        .extra
        .iter()
        .map(|(key, values)| name(key) + values.iter().map(|value| name(value)).sum::<usize>())
        .sum();
    let bytes = 512 + name(who.user.as_str()) + groups + extra;
    u32::try_from(bytes).unwrap_or(u32::MAX).max(MIN_WEIGHT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity;
    use crate::identity::AuthenticatorId;
    use crate::identity::GroupName;
    use crate::identity::UpstreamMode;
    use crate::identity::UserName;

    fn identity(groups: usize, expires: Option<SystemTime>) -> Arc<Identity> {
        Arc::new(Identity::new(identity::Proof {
            user: UserName::parse("alice").unwrap(),
            groups: Ok((0..groups)
                .map(|n| GroupName::parse(&format!("{n:036}")).unwrap())
                .collect()),
            uid: None,
            extra: identity::Extra::new(),
            expires,
            by: AuthenticatorId::new("jwt[0]"),
            upstream: UpstreamMode::Token,
        }))
    }

    fn entry(expires: Option<SystemTime>) -> Entry {
        Entry {
            who: identity(1, expires),
            proof: Proof::Review,
            lifetime: Duration::from_secs(10),
        }
    }

    #[test]
    fn an_entry_ends_with_its_lifetime_its_credential_and_its_key() {
        let cache = Cache::new(&[7; 32]);
        let (now, clock) = (
            Instant::now(),
            SystemTime::UNIX_EPOCH + Duration::from_secs(1_000),
        );
        let later = |seconds| {
            (
                now + Duration::from_secs(seconds),
                clock + Duration::from_secs(seconds),
            )
        };
        let key = cache.key("token");
        cache.keep(key, entry(Some(clock + Duration::from_secs(5))), now);
        let look = |(now, clock): (Instant, SystemTime), holds: bool| {
            cache
                .look_up(&key, now, clock, |_| holds)
                .map(|found| found.map(drop))
        };
        assert_eq!(look(later(4), true), Some(Ok(())));
        assert_eq!(look(later(5), true), Some(Err(Refusal::Expired)));
        let stepped_back = clock - Duration::from_secs(900);
        assert_eq!(
            look((now + Duration::from_secs(10), stepped_back), true),
            None,
            "the wall clock stepped back"
        );

        cache.keep(key, entry(None), now);
        assert_eq!(look(later(9), true), Some(Ok(())));
        assert_eq!(look(later(9), false), None, "its key left the set");
    }

    #[test]
    fn a_refusal_is_short_and_in_nobodys_way() {
        let cache = Cache::new(&[7; 32]);
        let (now, clock) = (Instant::now(), SystemTime::UNIX_EPOCH);
        let (good, bad) = (cache.key("good"), cache.key("bad"));
        cache.keep(good, entry(None), now);
        for n in 0..10_000 {
            cache.refuse(
                cache.key(&format!("garbage {n}")),
                Refusal::Signature,
                REFUSED,
                now,
            );
        }
        cache.refuse(bad, Refusal::NotAuthenticated, HOLD_OFF, now);
        assert!(
            cache
                .look_up(&good, now, clock, |_| true)
                .is_some_and(|found| found.is_ok())
        );
        let soon = now + Duration::from_secs(1);
        let refusal = cache
            .look_up(&bad, soon, clock, |_| true)
            .map(|found| found.map(drop));
        // Ten thousand others may have pushed it out; if it is there it says what it said.
        assert!(matches!(
            refusal,
            None | Some(Err(Refusal::NotAuthenticated))
        ));
        assert!(
            cache
                .look_up(&bad, now + HOLD_OFF, clock, |_| true)
                .is_none()
        );
    }

    #[test]
    fn tokens_are_kept_under_a_key_of_this_process() {
        let (one, other) = (Cache::new(&[1; 32]), Cache::new(&[2; 32]));
        assert_eq!(one.key("token"), one.key("token"));
        assert_ne!(one.key("token"), one.key("token2"));
        assert_ne!(one.key("token"), other.key("token"));
    }

    #[test]
    fn many_groups_weigh_more() {
        assert_eq!(weight(&identity(0, None)), MIN_WEIGHT);
        assert!(weight(&identity(200, None)) > 10_000);
    }
}
