//! A clock that a test puts forward or back.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::SystemTime;

use kube_tenant_proxy::clock::Clock;

/// What a proxy takes the time to be, in seconds beside the true one.
#[derive(Clone, Default)]
pub struct Steps(Arc<AtomicI64>);

impl Steps {
    pub fn step(&self, seconds: i64) {
        self.0.store(seconds, Ordering::Relaxed);
    }

    pub fn clock(&self) -> Clock {
        let steps = Arc::clone(&self.0);
        Clock::from_fn(move || {
            let (now, step) = (SystemTime::now(), steps.load(Ordering::Relaxed));
            let by = Duration::from_secs(step.unsigned_abs());
            if step < 0 { now - by } else { now + by }
        })
    }
}
