//! When an issuer is asked for its keys. Pure: time and randomness are arguments, and nothing is fetched here.
//!
//! Anybody can send tokens with invented `kid`s, so their wish for a fetch has a budget; whoever finds it spent is told to
//! wait, never that his token is bad.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::authn::budget::Budget;

/// How many `kid`s that a fetch did not bring are remembered, and how long.
const ABSENT_REMEMBERED: usize = 1_024;
const ABSENT_FOR: Duration = Duration::from_secs(60);

/// How often.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Between successful fetches, ± 10 %.
    pub refresh: Duration,
    /// After a first failure; doubled with each further one,
    pub retry: Duration,
    /// up to this.
    pub retry_at_most: Duration,
    /// Fetches that unknown `kid`s may cause: this many at once, so that a roll just after a fetch works,
    pub asked_burst: u32,
    /// and one more per this time.
    pub asked_every: Duration,
}

impl Pace {
    /// For an issuer across the network. Entra rolls its keys unannounced and asks for a fetch a day or more often.
    pub const DISCOVERY: Self = Self {
        refresh: Duration::from_secs(3_600),
        retry: Duration::from_secs(1),
        retry_at_most: Duration::from_secs(60),
        asked_burst: 2,
        asked_every: Duration::from_secs(300),
    };

    /// For a file, whose changes cost nothing to look for.
    pub const FILE: Self = Self {
        refresh: Duration::from_secs(10),
        retry_at_most: Duration::from_secs(10),
        ..Self::DISCOVERY
    };
}

/// The state between fetches.
#[derive(Debug)]
pub struct Schedule {
    pace: Pace,
    phase: Phase,
    /// Fetches begun so far; each has a number.
    round: u64,
    failures: u32,
    asked: Budget,
    absent: VecDeque<(Box<str>, Instant)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing to do until then.
    Until(Instant),
    /// Somebody asked; not begun yet.
    Asked,
    /// Under way.
    Fetching,
}

/// What an unknown `kid` leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Fetch now; round `round` will tell.
    Fetch {
        /// Its number.
        round: u64,
    },
    /// A fetch is under way that began before this was asked.
    Join {
        /// Its number.
        round: u64,
    },
    /// A fetch made for this `kid` did not bring it.
    Absent,
    /// The budget is spent.
    Spent,
}

/// How a fetch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With a set of keys.
    Fetched,
    /// Without.
    Failed,
}

impl Schedule {
    /// The first fetch is due at once.
    pub fn new(pace: Pace, now: Instant) -> Self {
        Self {
            pace,
            phase: Phase::Until(now),
            round: 0,
            failures: 0,
            asked: Budget::new(pace.asked_burst, pace.asked_every, now),
            absent: VecDeque::new(),
        }
    }

    /// When to call [`Self::begin`] again if nobody asks before; nothing means at once.
    pub fn due(&self) -> Option<Instant> {
        match self.phase {
            Phase::Until(then) => Some(then),
            Phase::Asked | Phase::Fetching => None,
        }
    }

    /// A token names a `kid` that is not in the set.
    pub fn on_unknown(&mut self, kid: &str, now: Instant) -> Ask {
        self.absent
            .retain(|(_, since)| now.saturating_duration_since(*since) < ABSENT_FOR);
        if self.absent.iter().any(|(absent, _)| **absent == *kid) {
            return Ask::Absent;
        }
        match self.phase {
            Phase::Fetching => Ask::Join { round: self.round },
            Phase::Asked => Ask::Fetch {
                round: self.round + 1,
            },
            Phase::Until(_) if self.asked.take(now) => {
                self.phase = Phase::Asked;
                Ask::Fetch {
                    round: self.round + 1,
                }
            }
            Phase::Until(_) => Ask::Spent,
        }
    }

    /// A fetch made for `kid` succeeded and did not bring it.
    pub fn on_absent(&mut self, kid: &str, now: Instant) {
        if self.absent.len() >= ABSENT_REMEMBERED {
            self.absent.pop_front();
        }
        self.absent.push_back((kid.into(), now));
    }

    /// The number of the fetch to make now, if one is due or asked for.
    pub fn begin(&mut self, now: Instant) -> Option<u64> {
        match self.phase {
            Phase::Until(then) if now < then => None,
            // `Fetching`: the refresher was cancelled in the middle of a fetch and runs again.
            Phase::Until(_) | Phase::Asked | Phase::Fetching => {
                self.phase = Phase::Fetching;
                self.round += 1;
                Some(self.round)
            }
        }
    }

    /// A fetch is over. `jitter` is in 0..1.
    pub fn on_fetched(&mut self, outcome: Outcome, now: Instant, jitter: f64) {
        let wait = match outcome {
            Outcome::Fetched => {
                self.failures = 0;
                self.pace.refresh.mul_f64(0.9 + 0.2 * jitter)
            }
            Outcome::Failed => {
                let doublings = self.failures.min(16);
                self.failures = self.failures.saturating_add(1);
                (self.pace.retry * 2_u32.pow(doublings)).min(self.pace.retry_at_most)
            }
        };
        self.phase = Phase::Until(now + wait);
    }

    /// Fetches failed since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn fetched(start: Instant) -> Schedule {
        let mut schedule = Schedule::new(Pace::DISCOVERY, start);
        assert_eq!(
            schedule.begin(start),
            Some(1),
            "the first fetch is due at once"
        );
        schedule.on_fetched(Outcome::Fetched, start, 0.5);
        schedule
    }

    #[test]
    fn keys_are_fetched_hourly_give_or_take() {
        let start = Instant::now();
        for (jitter, due) in [(0.0, 3_240), (0.5, 3_600), (1.0, 3_960)] {
            let mut schedule = Schedule::new(Pace::DISCOVERY, start);
            schedule.begin(start);
            schedule.on_fetched(Outcome::Fetched, start, jitter);
            assert_eq!(schedule.due(), Some(start + seconds(due)));
            assert_eq!(schedule.begin(start + seconds(due - 1)), None);
            assert_eq!(schedule.begin(start + seconds(due)), Some(2));
        }
    }

    #[test]
    fn failures_are_retried_ever_more_slowly_and_for_ever() {
        let mut now = Instant::now();
        let mut schedule = Schedule::new(Pace::DISCOVERY, now);
        let mut waits = Vec::new();
        for _ in 0..40 {
            schedule.begin(now).unwrap();
            schedule.on_fetched(Outcome::Failed, now, 0.5);
            let due = schedule.due().unwrap();
            waits.push((due - now).as_secs());
            now = due;
        }
        assert_eq!(waits[..8], [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(schedule.failures(), 40);
        schedule.begin(now).unwrap();
        schedule.on_fetched(Outcome::Fetched, now, 0.5);
        assert_eq!(schedule.failures(), 0);
    }

    #[test]
    fn ten_thousand_unknown_kids_cause_two_fetches_and_then_wait() {
        let start = Instant::now();
        let mut schedule = fetched(start);
        let mut fetches = 0;
        for n in 0..10_000 {
            match schedule.on_unknown(&format!("kid-{n}"), start) {
                Ask::Fetch { round } => {
                    assert_eq!(schedule.begin(start), Some(round));
                    schedule.on_fetched(Outcome::Fetched, start, 0.5);
                    fetches += 1;
                }
                Ask::Spent => {}
                other @ (Ask::Join { .. } | Ask::Absent) => panic!("{other:?}"),
            }
        }
        assert_eq!(fetches, 2);
        assert_eq!(
            schedule.on_unknown("rolled", start + seconds(299)),
            Ask::Spent
        );
        assert_eq!(
            schedule.on_unknown("rolled", start + seconds(300)),
            Ask::Fetch { round: 4 }
        );
    }

    #[test]
    fn who_asks_during_a_fetch_joins_it_and_before_it_shares_it() {
        let start = Instant::now();
        let mut schedule = fetched(start);
        assert_eq!(schedule.on_unknown("a", start), Ask::Fetch { round: 2 });
        assert_eq!(schedule.on_unknown("b", start), Ask::Fetch { round: 2 });
        assert_eq!(schedule.begin(start), Some(2));
        assert_eq!(schedule.on_unknown("c", start), Ask::Join { round: 2 });
        schedule.on_fetched(Outcome::Fetched, start, 0.5);
        assert_eq!(schedule.on_unknown("c", start), Ask::Fetch { round: 3 });
    }

    #[test]
    fn a_kid_that_a_fetch_did_not_bring_is_remembered_for_a_minute() {
        let start = Instant::now();
        let mut schedule = fetched(start);
        schedule.on_absent("a", start);
        assert_eq!(schedule.on_unknown("a", start + seconds(59)), Ask::Absent);
        assert_eq!(
            schedule.on_unknown("a", start + seconds(60)),
            Ask::Fetch { round: 2 }
        );
        for n in 0..5_000 {
            schedule.on_absent(&format!("kid-{n}"), start);
        }
        assert_eq!(schedule.absent.len(), ABSENT_REMEMBERED);
    }

    #[test]
    fn a_fetch_cut_short_is_made_again() {
        let start = Instant::now();
        let mut schedule = Schedule::new(Pace::DISCOVERY, start);
        assert_eq!(schedule.begin(start), Some(1));
        assert_eq!(schedule.begin(start), Some(2));
    }
}
