//! Token buckets: so many at once, so many per time. Pure, time is an argument.

use std::time::Duration;

use tokio::time::Instant;

/// Something that may be done `burst` times at once and once more per `every`.
#[derive(Clone, Debug)]
pub struct Budget {
    burst: u32,
    every: Duration,
    left: u32,
    /// From when the next refill counts.
    since: Instant,
}

impl Budget {
    /// A full budget.
    pub fn new(burst: u32, every: Duration, now: Instant) -> Self {
        Self {
            burst,
            every,
            left: burst,
            since: now,
        }
    }

    /// Takes one, if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        self.refill(now);
        match self.left.checked_sub(1) {
            Some(left) => {
                // A full budget does not gather time.
                if self.left == self.burst {
                    self.since = now;
                }
                self.left = left;
                true
            }
            None => false,
        }
    }

    /// Gives one back.
    pub fn give_back(&mut self) {
        self.left = self.left.saturating_add(1).min(self.burst);
    }

    fn refill(&mut self, now: Instant) {
        while self.left < self.burst && now.saturating_duration_since(self.since) >= self.every {
            self.left += 1;
            self.since += self.every;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_refills_one_at_a_time_and_never_above_its_burst() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut budget = Budget::new(2, Duration::from_secs(300), start);
        let taken = [0, 0, 1, 299, 300, 301, 600, 601, 9_000, 9_000, 9_000]
            .map(|second| budget.take(at(second)));
        assert_eq!(
            taken,
            [
                true, true, false, false, true, false, true, false, true, true, false
            ]
        );
        budget.give_back();
        assert!(budget.take(at(9_001)));
        assert!(!budget.take(at(9_299)));
        assert!(budget.take(at(9_300)));
    }
}
