//! What is known about each source of facts: when it was last heard, so that silence is not taken for "nothing has
//! changed", and how much of what it said could not be read.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::event::Source;
use crate::metrics::Sheet;

/// A clock and a counter per source, read and written without a lock.
#[derive(Debug)]
pub struct Sources {
    start: Instant,
    followed: Vec<Source>,
    /// In the order of [`Source::ALL`].
    state: [State; Source::ALL.len()],
}

#[derive(Debug, Default)]
struct State {
    /// Milliseconds since the start.
    heard: AtomicU64,
    rejected: AtomicU64,
}

impl Sources {
    /// Starts the clocks of `followed`; a source that is not followed is never silent.
    pub fn new(followed: Vec<Source>) -> Self {
        Self {
            start: Instant::now(),
            followed,
            state: Default::default(),
        }
    }

    /// The sources that are followed.
    pub fn followed(&self) -> &[Source] {
        &self.followed
    }

    /// The API server has just said something about `source`: a list, an event, a bookmark, an open watch, or that
    /// there is no such kind.
    pub fn hear(&self, source: Source) {
        let millis = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.of(source).heard.fetch_max(millis, Ordering::Relaxed);
    }

    /// How long `source` has been silent; before the first contact, since the start.
    pub fn silence(&self, source: Source) -> Duration {
        let heard = Duration::from_millis(self.of(source).heard.load(Ordering::Relaxed));
        self.start.elapsed().saturating_sub(heard)
    }

    /// The longest silence of any source that is followed.
    pub fn longest_silence(&self) -> Duration {
        let silences = self.followed.iter().map(|source| self.silence(*source));
        silences.max().unwrap_or_default()
    }

    /// Counts `parts` of an object of `source` that could not be read and grant nothing.
    pub fn reject(&self, source: Source, parts: usize) {
        let parts = u64::try_from(parts).unwrap_or(u64::MAX);
        self.of(source).rejected.fetch_add(parts, Ordering::Relaxed);
    }

    /// How many parts of objects of `source` could not be read so far.
    pub fn rejected(&self, source: Source) -> u64 {
        self.of(source).rejected.load(Ordering::Relaxed)
    }

    /// Writes down what is known.
    pub(super) fn families(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let silences = self.followed.iter().map(|source| {
            let silence = self.silence(*source).as_secs_f64();
            ([("kind", source.plural())], silence)
        });
        sheet.gauge(
            "informer_age_seconds",
            "Time since the API server was last heard about a kind that tells who may see what",
            silences,
        )?;
        let rejected = self.followed.iter().map(|source| {
            let rejected = self.rejected(*source);
            ([("kind", source.plural())], rejected)
        });
        sheet.counter(
            "facts_rejected",
            "Parts of objects that could not be read and grant nothing",
            rejected,
        )
    }

    fn of(&self, source: Source) -> &State {
        let [
            tenants,
            namespaces,
            bindings,
            configuration,
            settings,
            globals,
        ] = &self.state;
        match source {
            Source::Tenants => tenants,
            Source::Namespaces => namespaces,
            Source::RoleBindings => bindings,
            Source::Configuration => configuration,
            Source::Settings => settings,
            Source::Globals => globals,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_longest_silence_counts_and_only_of_sources_that_are_followed() {
        let sources = Sources::new(vec![Source::Tenants, Source::Namespaces]);
        tokio::time::advance(Duration::from_secs(10)).await;
        sources.hear(Source::Namespaces);
        assert_eq!(sources.longest_silence(), Duration::from_secs(10));
        sources.hear(Source::Tenants);
        tokio::time::advance(Duration::from_secs(5)).await;
        sources.hear(Source::Tenants);
        assert_eq!(sources.longest_silence(), Duration::from_secs(5));
        assert_eq!(sources.silence(Source::Tenants), Duration::ZERO);
        assert_eq!(Sources::new(Vec::new()).longest_silence(), Duration::ZERO);
    }
}
