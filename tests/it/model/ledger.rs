//! What a run came to: what was seen, and what was wrong. It judges nothing.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

/// Kept by all who follow and all who change.
#[derive(Default)]
pub struct Ledger {
    /// Events that clients were given.
    pub events: Count,
    /// Changes of the world.
    pub changes: Count,
    /// Scopes that gave somebody a namespace, by replica.
    pub grants: Count,
    /// Scopes that took one.
    pub revocations: Count,
    /// Watches that ended without an expiry, and were begun again.
    pub reconnects: Count,
    /// Lists of clients.
    pub relists: Count,
    /// Watches that were told that their position expired.
    pub expiries: Count,
    /// Lists and watches of libraries that failed otherwise, or were refused.
    pub failures: Count,
    /// Frames that were looked at for what had been revoked.
    pub judged: Count,
    /// Stores that were compared with what the administrator lists.
    pub comparisons: Count,
    wrong: Mutex<Vec<String>>,
}

/// A number that grows.
#[derive(Default)]
pub struct Count(AtomicU64);

impl Count {
    pub fn one_more(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub fn so_far(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Ledger {
    /// Something must not be.
    pub fn is_wrong(&self, what: String) {
        self.wrong.lock().unwrap().push(what);
    }

    /// All that must not be, so far.
    pub fn wrong(&self) -> Vec<String> {
        self.wrong.lock().unwrap().clone()
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            ("changes", &self.changes),
            ("grants", &self.grants),
            ("revocations", &self.revocations),
            ("events", &self.events),
            ("frames judged", &self.judged),
            ("reconnects", &self.reconnects),
            ("expiries", &self.expiries),
            ("failures", &self.failures),
            ("relists", &self.relists),
            ("comparisons", &self.comparisons),
        ];
        for (what, count) in counts {
            write!(f, "{what} {}, ", count.so_far())?;
        }
        write!(f, "differences {}", self.wrong.lock().unwrap().len())
    }
}
