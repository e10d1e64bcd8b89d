//! When to ask discovery again: a state machine that is told the time.

use std::time::Duration;

use tokio::time::Instant;

/// How long changes are gathered before the first look. An operator's installation creates its CRDs in one burst.
const GATHER: Duration = Duration::from_millis(200);

/// The pauses between further looks after a change: a CRD that is accepted still takes a moment, an aggregated API some
/// seconds, until discovery shows it. An unchanged document costs a 304.
const AGAIN: [Duration; 4] = [
    Duration::from_millis(300),
    Duration::from_millis(700),
    Duration::from_secs(2),
    Duration::from_secs(5),
];

/// The pause between looks that nothing asked for: what makes a missed or forbidden event harmless.
const POLL: Duration = Duration::from_secs(30);

/// Due date of the next look.
#[derive(Debug)]
pub(super) struct Schedule {
    due: Instant,
    /// Looks since the last change, as an index into [`AGAIN`].
    looks: usize,
    failures: u32,
}

impl Schedule {
    /// Due at once.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            due: now,
            looks: AGAIN.len(),
            failures: 0,
        }
    }

    /// When to look next.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Something changed that discovery will show, soon. Later changes do not put the look off further.
    pub(super) fn on_change(&mut self, now: Instant) {
        self.looks = 0;
        // While the API server is in trouble, changes do not make us ask it more often.
        if self.failures == 0 {
            self.due = self.due.min(now + GATHER);
        }
    }

    /// A look succeeded, whatever it saw: of several changes, it may have seen one.
    pub(super) fn on_look(&mut self, now: Instant) {
        self.failures = 0;
        self.due = now + AGAIN.get(self.looks).copied().unwrap_or(POLL);
        self.looks = self.looks.saturating_add(1);
    }

    /// A look failed: again after 1, 2, 4, … seconds, at most [`POLL`].
    pub(super) fn on_failure(&mut self, now: Instant) {
        let pause = Duration::from_secs(1) * 2_u32.pow(self.failures.min(8));
        self.failures = self.failures.saturating_add(1);
        self.due = now + pause.min(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pauses after a series of `c`hanges, `l`ooks and `f`ailures, a look happening when it is due.
    fn pauses(events: &str) -> Vec<u128> {
        let start = Instant::now();
        let mut now = start;
        let mut schedule = Schedule::new(now);
        let mut pauses = Vec::new();
        for event in events.chars() {
            match event {
                'c' => schedule.on_change(now),
                'l' => {
                    now = schedule.due();
                    schedule.on_look(now);
                }
                _ => {
                    now = schedule.due();
                    schedule.on_failure(now);
                }
            }
            pauses.push((schedule.due() - now).as_millis());
        }
        pauses
    }

    #[test]
    fn without_changes_it_polls() {
        assert_eq!(pauses("lll"), [30_000; 3]);
    }

    #[test]
    fn after_a_change_it_looks_soon_and_again_until_it_must_have_been_served() {
        assert_eq!(
            pauses("lcllllll"),
            [30_000, 200, 300, 700, 2_000, 5_000, 30_000, 30_000]
        );
    }

    #[test]
    fn a_burst_of_changes_is_one_look_and_starts_over() {
        assert_eq!(pauses("lccclcl"), [30_000, 200, 200, 200, 300, 200, 300]);
    }

    #[test]
    fn failures_back_off_and_changes_do_not_hurry_them() {
        assert_eq!(
            pauses("ffcffffll"),
            [1_000, 2_000, 2_000, 4_000, 8_000, 16_000, 30_000, 300, 700]
        );
    }

    #[test]
    fn many_failures_do_not_overflow() {
        assert_eq!(pauses(&"f".repeat(40)).last(), Some(&30_000));
    }
}
