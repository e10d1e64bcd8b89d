//! Shutting down as a handle one holds: a trigger, and watchers whose last drop completes the drain.
//!
//! Whatever must not be cut off holds a [`Watcher`]: accept loops, connections, tunnels, bodies of watches. It never
//! decides what ends when; that is its holders' part.

use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio::time::Instant;

/// A trigger and the first of its watchers; clone the watcher for everything that is to be waited for.
pub fn channel() -> (Drain, Watcher) {
    let (phase, phases) = watch::channel(Phase::Serving);
    let (held, gone) = mpsc::channel(1);
    let watcher = Watcher {
        phase: phases,
        _held: held,
    };
    (Drain { phase, gone }, watcher)
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Serving,
    Draining { until: Instant },
    Forced,
}

/// Starts the drain and waits for it. Dropping it is force: nobody would be left to wait.
#[derive(Debug)]
pub struct Drain {
    phase: watch::Sender<Phase>,
    gone: mpsc::Receiver<Infallible>,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every watcher was dropped within the grace period.
    Finished,
    /// The grace period ended with this many watchers left; they were told to end at once.
    Forced {
        /// Watchers that were left.
        left: usize,
    },
}

impl Drain {
    /// Tells every watcher to finish, waits for the last one for at most `grace`, then forces the rest.
    ///
    /// Not cancel-safe, on purpose: dropping the future (a second signal) forces.
    pub async fn drain(mut self, grace: Duration) -> Drained {
        let until = Instant::now() + grace;
        self.phase.send_replace(Phase::Draining { until });
        if tokio::time::timeout_at(until, self.gone.recv())
            .await
            .is_ok()
        {
            return Drained::Finished;
        }
        let left = self.gone.sender_strong_count();
        self.phase.send_replace(Phase::Forced);
        Drained::Forced { left }
    }
}

/// Held by what a drain must wait for. Clones count one each.
#[derive(Clone, Debug)]
#[must_use = "a drain waits for watchers that are held"]
pub struct Watcher {
    phase: watch::Receiver<Phase>,
    _held: mpsc::Sender<Infallible>,
}

impl Watcher {
    /// Completes when the drain begins, with the moment at which it will turn into force. Cancel-safe.
    ///
    /// What lives long (watches, tunnels) should end at a moment of its own before that, so that not all clients
    /// come back at once.
    pub async fn draining(&self) -> Instant {
        let mut phase = self.phase.clone();
        loop {
            match *phase.borrow_and_update() {
                Phase::Serving => {}
                Phase::Draining { until } => return until,
                Phase::Forced => return Instant::now(),
            }
            if phase.changed().await.is_err() {
                return Instant::now();
            }
        }
    }

    /// Completes when what is left must end at once. Cancel-safe.
    pub async fn forced(&self) {
        let mut phase = self.phase.clone();
        loop {
            match *phase.borrow_and_update() {
                Phase::Serving | Phase::Draining { .. } => {}
                Phase::Forced => return,
            }
            if phase.changed().await.is_err() {
                return;
            }
        }
    }

    /// Whether the drain has begun: new requests are answered 503 from then on.
    pub fn is_draining(&self) -> bool {
        match *self.phase.borrow() {
            Phase::Serving => self.phase.has_changed().is_err(),
            Phase::Draining { .. } | Phase::Forced => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn the_last_watcher_completes_the_drain() {
        let (drain, watcher) = channel();
        let other = watcher.clone();
        assert!(!watcher.is_draining());
        let begun = Instant::now();
        let (drained, ()) = tokio::join!(drain.drain(GRACE), async {
            assert_eq!(watcher.draining().await, begun + GRACE);
            assert!(other.is_draining());
            drop(watcher);
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(other);
        });
        assert_eq!(drained, Drained::Finished);
        assert_eq!(begun.elapsed(), Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_grace_period_the_rest_is_forced_and_counted() {
        let (drain, watcher) = channel();
        let other = watcher.clone();
        let (drained, ()) = tokio::join!(drain.drain(GRACE), other.forced());
        assert_eq!(drained, Drained::Forced { left: 2 });
        drop(watcher);
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_signal_forces_by_dropping_the_drain() {
        let (drain, watcher) = channel();
        let second_signal = tokio::time::sleep(Duration::from_secs(2));
        tokio::select! {
            _ = drain.drain(GRACE) => panic!("finished with a watcher held"),
            () = second_signal => {}
        }
        watcher.forced().await;
        assert!(watcher.is_draining());
    }
}
