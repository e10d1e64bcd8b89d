//! The wall clock, handed in: for the times that tokens and objects carry. How long something lasts is on tokio's
//! monotonic clock, which never steps.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use jiff::Timestamp;

/// The wall clock. It may step in either direction at any time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl Clock {
    /// The system's.
    pub fn system() -> Self {
        Self(Arc::new(SystemTime::now))
    }

    /// Another one, for tests.
    pub fn from_fn(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// What it says.
    pub fn now(&self) -> SystemTime {
        (self.0)()
    }

    /// The same as the API's objects have it. What no calendar has counts as the end of time, when nothing is young.
    pub fn timestamp(&self) -> Timestamp {
        Timestamp::try_from(self.now()).unwrap_or(Timestamp::MAX)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// A number in 0..1, so that what begins together does not ask in step. Without randomness it does; that is no reason to
/// stop.
pub fn jitter() -> f64 {
    let mut byte = [128];
    let _ = aws_lc_rs::rand::fill(&mut byte);
    let [byte] = byte;
    f64::from(byte) / 256.0
}
