//! How much is open upstream, as plain counters that metrics read when they are asked.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

/// What is open, and what had to be done twice.
#[derive(Debug, Default)]
pub struct Stats {
    /// Pooled HTTP/1.1 connections for reads, busy and idle.
    pub read_connections: Gauge,
    /// HTTP/2 connections for writes.
    pub write_connections: Gauge,
    /// Writes on them.
    pub write_streams: Gauge,
    /// HTTP/2 connections for watches and logs.
    pub stream_connections: Gauge,
    /// Watches and logs on them.
    pub streams: Gauge,
    /// Connections of upgrades, before and after the switch.
    pub dedicated_connections: Gauge,
    /// Requests sent again because the connection they were given to had ended.
    pub repeated: AtomicU64,
}

/// A number of open things. Each holds an [`Open`].
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicUsize>);

impl Gauge {
    /// How many are open now.
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn open(&self) -> Open {
        self.0.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(&self.0))
    }
}

/// Counts one while it lives.
#[derive(Debug)]
#[must_use = "counts only while it lives"]
pub(super) struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
