//! How much is open upstream, as plain counters that metrics read when they are asked.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use crate::metrics::Sheet;

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

impl Stats {
    /// Writes them down.
    ///
    /// # Errors
    /// What the writer says.
    pub fn families(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let connections = [
            ("read", &self.read_connections),
            ("write", &self.write_connections),
            ("stream", &self.stream_connections),
            ("dedicated", &self.dedicated_connections),
        ];
        sheet.gauge(
            "upstream_connections",
            "Connections to the API server, by what they are for",
            connections.map(|(lane, gauge)| ([("lane", lane)], gauge.get())),
        )?;
        let streams = [("write", &self.write_streams), ("stream", &self.streams)];
        sheet.gauge(
            "upstream_streams",
            "Requests under way on HTTP/2 connections to the API server",
            streams.map(|(lane, gauge)| ([("lane", lane)], gauge.get())),
        )?;
        sheet.counter(
            "upstream_repeats",
            "Requests sent again because the connection they were given to had ended",
            [([], self.repeated.load(Ordering::Relaxed))],
        )
    }
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
