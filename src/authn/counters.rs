//! Numbers for metrics. Refusals are counted by whoever answers them, under [`crate::authn::Failure::reason`].

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::authn::refusal::Failure;

/// Counted since the start.
#[derive(Debug, Default)]
pub(super) struct Counters {
    remembered: AtomicU64,
    refused_again: AtomicU64,
    proved_anew: AtomicU64,
    reviews_accepted: AtomicU64,
    reviews_refused: AtomicU64,
    reviews_unavailable: AtomicU64,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests whose token was remembered.
    pub cache_hits: u64,
    /// Requests whose token was remembered as refused.
    pub cache_negatives: u64,
    /// Requests whose token was not remembered.
    pub cache_misses: u64,
    /// Callers to whom the API server said who they are. Callers who shared one review count each.
    pub reviews_accepted: u64,
    /// Callers whose token the API server refused.
    pub reviews_refused: u64,
    /// Callers about whose token the API server could not be asked.
    pub reviews_unavailable: u64,
}

impl Counters {
    pub(super) fn looked_up<T>(&self, known: Option<&Result<T, impl Sized>>) {
        let counter = match known {
            Some(Ok(_)) => &self.remembered,
            Some(Err(_)) => &self.refused_again,
            None => &self.proved_anew,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn reviewed<T>(&self, answer: &Result<T, Failure>) {
        let counter = match answer {
            Ok(_) => &self.reviews_accepted,
            Err(Failure::Rejected(_)) => &self.reviews_refused,
            Err(Failure::Unavailable(_) | Failure::Missing | Failure::Conflict) => {
                &self.reviews_unavailable
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            cache_hits: read(&self.remembered),
            cache_negatives: read(&self.refused_again),
            cache_misses: read(&self.proved_anew),
            reviews_accepted: read(&self.reviews_accepted),
            reviews_refused: read(&self.reviews_refused),
            reviews_unavailable: read(&self.reviews_unavailable),
        }
    }
}
