//! The keys of one issuer, kept fresh in the background and read without locks.
//!
//! A reader never waits for a fetch but for the one case where only a fetch can tell a new key from garbage. An issuer that
//! is away takes nothing away: known keys go on until `maxStale`. It must never turn "could not ask" into "no".

pub mod fetch;
pub mod schedule;

use std::future::Future;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;
use tokio::sync::watch;
use tokio::time::Instant;

use self::fetch::FetchError;
use self::schedule::Ask;
use self::schedule::Outcome;
use self::schedule::Pace;
use self::schedule::Schedule;
use super::keys::Fingerprint;
use super::keys::KeySet;
use crate::clock::jitter;

/// How long a request waits for a fetch that may bring its key. A little more than a fetch may take.
const PATIENCE: Duration = Duration::from_secs(12);

/// The keys of one issuer.
pub struct Keyring {
    /// The issuer's URL, for logs: its place in the configuration may change while its keys stay.
    issuer: Arc<str>,
    max_stale: Duration,
    now: ArcSwapOption<Fetched>,
    schedule: Mutex<Schedule>,
    /// Wakes the refresher when a fetch is asked for.
    asked: Notify,
    rounds: watch::Sender<Rounds>,
}

struct Fetched {
    keys: Arc<KeySet>,
    at: Instant,
}

/// Which fetches are over.
#[derive(Clone, Copy, Debug, Default)]
struct Rounds {
    done: u64,
    succeeded: u64,
}

/// The keys of an issuer at one moment.
pub enum Keys {
    /// Fetched lately enough to be trusted.
    Usable(Arc<KeySet>),
    /// Never fetched, or too long ago.
    Unavailable,
}

/// What became of a `kid` that was not in the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sought {
    /// The set was fetched anew; look again. If it is still missing, there is no such key.
    Refreshed,
    /// A fetch that began earlier ended; look again. If it is still missing, that proves nothing.
    Joined,
    /// A fetch that began after somebody asked for this `kid` a moment ago did not bring it.
    Absent,
    /// The issuer could not be asked.
    Failed,
    /// Too much was asked for lately.
    Spent,
}

impl Keyring {
    /// Nothing fetched yet; the first fetch is due at once.
    pub fn new(issuer: &Arc<str>, max_stale: Duration, pace: Pace, now: Instant) -> Self {
        Self {
            issuer: issuer.clone(),
            max_stale,
            now: ArcSwapOption::empty(),
            schedule: Mutex::new(Schedule::new(pace, now)),
            asked: Notify::new(),
            rounds: watch::Sender::new(Rounds::default()),
        }
    }

    /// The keys to verify a token with.
    pub fn keys(&self, now: Instant) -> Keys {
        match self.fetched(now) {
            Some(keys) => Keys::Usable(keys),
            None => Keys::Unavailable,
        }
    }

    fn fetched(&self, now: Instant) -> Option<Arc<KeySet>> {
        let fetched = self.now.load_full()?;
        let fresh = now.saturating_duration_since(fetched.at) < self.max_stale;
        fresh.then(|| fetched.keys.clone())
    }

    /// Whether the key that proved an identity is in force: it was in the last set fetched, however long ago that was. An
    /// issuer that is down ends no login; one that took a key back does, at once.
    pub fn holds(&self, kid: &str, fingerprint: Fingerprint) -> bool {
        self.now
            .load()
            .as_ref()
            .is_some_and(|fetched| fetched.keys.holds(kid, fingerprint))
    }

    /// Time since the last successful fetch.
    pub fn age(&self, now: Instant) -> Option<Duration> {
        self.now
            .load()
            .as_ref()
            .map(|fetched| now.saturating_duration_since(fetched.at))
    }

    /// Completes when keys have been fetched once.
    pub async fn loaded(&self) {
        let mut rounds = self.rounds.subscribe();
        // The sender lives in `self`, so the channel cannot close under us.
        let _ = rounds.wait_for(|rounds| rounds.succeeded > 0).await;
    }

    /// Asks for the set anew because `kid` is not in it, if that is worth it and allowed, and waits for the answer.
    pub async fn seek(&self, kid: &str) -> Sought {
        let ask = self.lock().on_unknown(kid, Instant::now());
        let (round, proves) = match ask {
            Ask::Fetch { round } => {
                self.asked.notify_one();
                (round, true)
            }
            Ask::Join { round } => (round, false),
            Ask::Absent => return Sought::Absent,
            Ask::Spent => return Sought::Spent,
        };
        let mut rounds = self.rounds.subscribe();
        let over = tokio::time::timeout(PATIENCE, async {
            rounds
                .wait_for(|rounds| rounds.done >= round)
                .await
                .map(|rounds| *rounds)
        });
        match over.await {
            Ok(Ok(rounds)) if rounds.succeeded >= round && proves => Sought::Refreshed,
            Ok(Ok(rounds)) if rounds.succeeded >= round => Sought::Joined,
            Ok(Ok(_) | Err(_)) | Err(_) => Sought::Failed,
        }
    }

    /// Remembers that a fetch made for `kid` did not bring it.
    pub fn on_absent(&self, kid: &str) {
        self.lock().on_absent(kid, Instant::now());
    }

    /// Fetches when it is due or asked for, for ever. Cancel-safe: a fetch cut short is begun again by the next call.
    pub async fn keep_fresh<F, Fut>(&self, fetch: F)
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<KeySet, FetchError>>,
    {
        loop {
            let due = self.lock().due();
            if let Some(due) = due {
                tokio::select! {
                    () = self.asked.notified() => {}
                    () = tokio::time::sleep_until(due) => {}
                }
            }
            let Some(round) = self.lock().begin(Instant::now()) else {
                continue;
            };
            let fetched = fetch().await;
            self.on_fetched(round, fetched);
        }
    }

    pub(super) fn on_fetched(&self, round: u64, fetched: Result<KeySet, FetchError>) {
        let now = Instant::now();
        let outcome = match fetched {
            Ok(keys) => {
                tracing::debug!(issuer = %self.issuer, keys = keys.len(), "issuer's keys fetched");
                self.now.store(Some(Arc::new(Fetched {
                    keys: Arc::new(keys),
                    at: now,
                })));
                Outcome::Fetched
            }
            Err(error) => {
                let failures = self.lock().failures() + 1;
                let error = &error as &dyn std::error::Error;
                // One miss is the network; from the second on somebody should know.
                if failures == 1 {
                    tracing::debug!(issuer = %self.issuer, error, "issuer's keys not fetched");
                } else {
                    tracing::warn!(issuer = %self.issuer, failures, error, "issuer's keys not fetched");
                }
                Outcome::Failed
            }
        };
        self.lock().on_fetched(outcome, now, jitter());
        self.rounds.send_modify(|rounds| {
            rounds.done = round;
            if outcome == Outcome::Fetched {
                rounds.succeeded = round;
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::AtomicU32;
    use std::sync::atomic::Ordering;

    use tokio_util::task::AbortOnDropHandle;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::authn::keys::KeySetError;
    use crate::authn::keys::Owner;
    use crate::authn::testing;

    /// A keyring kept fresh from an issuer that can be switched off.
    struct World {
        keyring: Arc<Keyring>,
        up: Arc<AtomicBool>,
        fetches: Arc<AtomicU32>,
        _refresher: AbortOnDropHandle<()>,
    }

    impl World {
        fn new(max_stale: Duration, up: bool) -> Self {
            let keyring = Arc::new(Keyring::new(
                &"https://issuer.example".into(),
                max_stale,
                Pace::DISCOVERY,
                Instant::now(),
            ));
            let (up, fetches) = (Arc::new(AtomicBool::new(up)), Arc::new(AtomicU32::new(0)));
            let (kept, answers, counted) = (keyring.clone(), up.clone(), fetches.clone());
            let keys = testing::jwks(&[&testing::ec("k1")]).to_string();
            let refresher = TaskTracker::new().spawn(async move {
                let fetch = || {
                    counted.fetch_add(1, Ordering::SeqCst);
                    let owner = Owner {
                        issuer: "",
                        tenant: None,
                        cloud: None,
                    };
                    std::future::ready(if answers.load(Ordering::SeqCst) {
                        KeySet::parse(keys.as_bytes(), owner).map_err(FetchError::Keys)
                    } else {
                        Err(FetchError::Keys(KeySetError::Empty))
                    })
                };
                kept.keep_fresh(fetch).await;
            });
            Self {
                keyring,
                up,
                fetches,
                _refresher: AbortOnDropHandle::new(refresher),
            }
        }

        fn usable(&self) -> bool {
            matches!(self.keyring.keys(Instant::now()), Keys::Usable(_))
        }
    }

    /// Lets paused time pass, with everything that happens in it.
    async fn pass(time: Duration) {
        tokio::time::sleep(time).await;
    }

    const HOUR: Duration = Duration::from_secs(3_600);

    #[tokio::test(start_paused = true)]
    async fn keys_serve_for_as_long_as_they_may_be_stale_and_come_back() {
        let world = World::new(HOUR * 24, true);
        world.keyring.loaded().await;
        let fingerprint = world.keyring.fetched(Instant::now()).unwrap().find("k1")[0].fingerprint;
        pass(HOUR * 12).await;
        let hourly = world.fetches.load(Ordering::SeqCst);
        assert!(
            (11..=15).contains(&hourly),
            "{hourly} fetches in twelve hours"
        );
        world.up.store(false, Ordering::SeqCst);
        pass(HOUR * 22).await;
        assert!(world.usable(), "an issuer that is down takes nothing away");
        assert_eq!(world.keyring.seek("k2").await, Sought::Failed);
        pass(HOUR * 3).await;
        assert!(!world.usable(), "until the keys are too old");
        assert!(
            world.keyring.holds("k1", fingerprint),
            "which ends nobody who is in already"
        );
        world.up.store(true, Ordering::SeqCst);
        pass(Duration::from_secs(61)).await;
        assert!(world.usable());
        assert!(world.keyring.age(Instant::now()).unwrap() <= Duration::from_secs(61));
    }

    #[tokio::test(start_paused = true)]
    async fn who_seeks_a_key_waits_for_the_fetch_that_may_bring_it() {
        let world = World::new(HOUR, true);
        world.keyring.loaded().await;
        assert_eq!(world.keyring.seek("k2").await, Sought::Refreshed);
        world.keyring.on_absent("k2");
        assert_eq!(world.keyring.seek("k2").await, Sought::Absent);
        assert_eq!(world.keyring.seek("k3").await, Sought::Refreshed);
        assert_eq!(world.keyring.seek("k4").await, Sought::Spent);
        pass(Duration::from_secs(300)).await;
        assert_eq!(world.keyring.seek("k4").await, Sought::Refreshed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fetch_that_began_earlier_proves_nothing_and_one_that_never_ends_is_not_waited_for() {
        let keyring = Keyring::new(
            &"https://issuer.example".into(),
            HOUR,
            Pace::DISCOVERY,
            Instant::now(),
        );
        let round = keyring.lock().begin(Instant::now()).unwrap();
        let mut seeking = Box::pin(keyring.seek("k1"));
        assert!(futures_util::FutureExt::now_or_never(&mut seeking).is_none());
        let owner = Owner {
            issuer: "",
            tenant: None,
            cloud: None,
        };
        let keys = KeySet::parse(
            testing::jwks(&[&testing::ec("k1")]).to_string().as_bytes(),
            owner,
        )
        .unwrap();
        keyring.on_fetched(round, Ok(keys));
        assert_eq!(seeking.await, Sought::Joined);
        assert_eq!(
            keyring.seek("k2").await,
            Sought::Failed,
            "nobody fetches here"
        );
    }
}
