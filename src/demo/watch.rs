//! Watches: where one starts, what a change means to it, how it ends
//! (`apiserver pkg/storage/cacher/{cacher,cache_watcher}.go`).
//!
//! A watch holds a position in the store's log and nothing else, so a slow reader costs no memory; when its position
//! is compacted it ends with the in-band 410. As in the API server nobody judges a watch again once it is open.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use serde_json::Value;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use super::encode::Encoder;
use super::encode::Event;
use super::encode::EventVerb;
use super::list::Selection;
use super::object::map_in;
use super::options::ListOptions;
use super::status::Failure;
use super::store::Change;
use super::store::State;
use super::store::Store;
use super::store::Unservable;

/// How long a watch or list waits for a revision that has not happened yet (`blockTimeout` in
/// `apiserver pkg/storage/cacher/watch_cache.go`).
pub(crate) const FRESHNESS_PATIENCE: Duration = Duration::from_secs(3);

/// Events written in one go, so that a large initial state neither arrives as one huge chunk nor as a thousand tiny ones.
const BATCH: usize = 200;

/// Where a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// With ADDED for the present state, which must not be older than this revision.
    Present { not_before: u64 },
    /// With what happens from now on.
    Now,
    /// With what happened after this revision.
    After(u64),
}

impl Start {
    pub(crate) fn of(options: &ListOptions) -> Self {
        match (
            options.send_initial_events,
            options.resource_version.unwrap_or(0),
        ) {
            (Some(true), not_before) => Self::Present { not_before },
            (Some(false) | None, 0) => Self::Now,
            (Some(false) | None, revision) => Self::After(revision),
        }
    }
}

/// An open watch.
pub(crate) struct Watch {
    store: Arc<Store>,
    changes: watch::Receiver<u64>,
    selection: Selection,
    encoder: Encoder,
    bookmarks: Option<Bookmarks>,
    ends: Instant,
    stop: CancellationToken,
    stage: Stage,
    first: bool,
}

struct Bookmarks {
    every: Duration,
    /// Just before the watch's end, so that a client resumes close to it.
    last: Instant,
    /// `None`: no more.
    next: Option<Instant>,
}

impl Bookmarks {
    /// `nextBookmarkTime` in `cache_watcher.go`: every now and then, and two seconds before the end.
    fn new(every: Duration, now: Instant, ends: Instant) -> Self {
        let last = ends.checked_sub(Duration::from_secs(2)).unwrap_or(now);
        let mut bookmarks = Self {
            every,
            last,
            next: None,
        };
        bookmarks.step(now);
        bookmarks
    }

    fn step(&mut self, now: Instant) {
        self.next = Some((now + self.every).min(self.last)).filter(|next| *next > now);
    }
}

enum Stage {
    Start(Start),
    /// The present state, read at `position`, and how much of it went out.
    Present {
        objects: std::vec::IntoIter<Value>,
        position: u64,
    },
    Following {
        position: u64,
    },
    Over,
}

impl Watch {
    pub(crate) fn new(
        store: &Arc<Store>,
        selection: Selection,
        encoder: Encoder,
        options: &ListOptions,
        bookmarks_every: Duration,
        stop: CancellationToken,
    ) -> Self {
        let now = Instant::now();
        let lasts = options
            .timeout_seconds
            .filter(|seconds| *seconds > 0)
            .map_or(DEFAULT_LENGTH, Duration::from_secs);
        Self {
            changes: store.changes(),
            store: Arc::clone(store),
            selection,
            encoder,
            bookmarks: options
                .bookmarks
                .then(|| Bookmarks::new(bookmarks_every, now, now + lasts)),
            ends: now + lasts,
            stop,
            stage: Stage::Start(Start::of(options)),
            first: true,
        }
    }

    /// The frames, each chunk a few whole ones.
    pub(crate) fn frames(self) -> impl Stream<Item = Bytes> + Send {
        futures_util::stream::unfold(self, |mut watch| async move {
            let events = watch.next().await?;
            let mut chunk = String::new();
            for event in &events {
                chunk.push_str(&watch.encoder.event(event, watch.first));
                watch.first = false;
            }
            Some((Bytes::from(chunk), watch))
        })
    }

    /// The next events, at least one; `None` is the clean end.
    async fn next(&mut self) -> Option<Vec<Event>> {
        loop {
            match &mut self.stage {
                Stage::Over => return None,
                Stage::Start(Start::After(position)) => {
                    self.stage = Stage::Following {
                        position: *position,
                    }
                }
                Stage::Start(Start::Now) => {
                    let position = self.store.read(State::revision);
                    self.stage = Stage::Following { position };
                }
                Stage::Start(Start::Present { not_before }) => {
                    let not_before = *not_before;
                    if let Err(failure) = wait_for(&mut self.changes, not_before).await {
                        return Some(self.fail(failure));
                    }
                    let (objects, position) = self.present();
                    self.stage = Stage::Present { objects, position };
                }
                Stage::Present { objects, position } => {
                    let position = *position;
                    let mut events: Vec<_> = objects.by_ref().take(BATCH).map(added).collect();
                    if objects.len() == 0 {
                        self.stage = Stage::Following { position };
                        if self.bookmarks.is_some() {
                            events.push(bookmark(position, true));
                        }
                    }
                    if !events.is_empty() {
                        return Some(events);
                    }
                }
                Stage::Following { position } => {
                    let position = *position;
                    match self.advance(position) {
                        Err(failure) => return Some(self.fail(failure)),
                        Ok(events) if !events.is_empty() => return Some(events),
                        Ok(_nothing_for_us) => {}
                    }
                    match self.idle().await {
                        Wake::Changed => {}
                        Wake::Bookmark => return Some(vec![self.bookmark_here()]),
                        Wake::TimeUp => {
                            self.stage = Stage::Over;
                            return None;
                        }
                        Wake::Stop => return None,
                    }
                }
            }
        }
    }

    fn fail(&mut self, failure: Failure) -> Vec<Event> {
        self.stage = Stage::Over;
        vec![Event::Error(failure)]
    }

    fn present(&self) -> (std::vec::IntoIter<Value>, u64) {
        self.store.read(|state| {
            let listed = state.list(&self.selection.resource, &self.selection.namespace);
            let matching = listed
                .into_iter()
                .filter(|(_, object)| self.selection.matches(&object.value));
            let values: Vec<_> = matching.map(|(_, object)| object.value.clone()).collect();
            (values.into_iter(), state.revision())
        })
    }

    /// What happened after `position`, and the new position.
    fn advance(&mut self, position: u64) -> Result<Vec<Event>, Failure> {
        let (changes, revision) = self.store.read(|state| {
            (
                state.changes_after(position, &self.selection.resource),
                state.revision(),
            )
        });
        let changes = match changes {
            Ok(changes) => changes,
            // Nothing to tell until that revision has happened.
            Err(Unservable::Future { .. }) => return Ok(Vec::new()),
            Err(Unservable::Compacted { oldest }) => {
                return Err(Failure::expired(format!(
                    "too old resource version: {position} ({oldest})"
                )));
            }
        };
        self.stage = Stage::Following { position: revision };
        let prefix = self.selection.prefix();
        let ours = changes
            .iter()
            .filter(|change| change.key.path.starts_with(&prefix));
        Ok(ours
            .filter_map(|change| event(change, &self.selection))
            .collect())
    }

    async fn idle(&mut self) -> Wake {
        let bookmark = self.bookmarks.as_ref().and_then(|bookmarks| bookmarks.next);
        let bookmark_due = async {
            match bookmark {
                Some(next) => sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        // The ends first, so that a busy store cannot keep a watch open for ever.
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Wake::Stop,
            () = sleep_until(self.ends) => Wake::TimeUp,
            () = bookmark_due => Wake::Bookmark,
            changed = self.changes.changed() => if changed.is_ok() { Wake::Changed } else { Wake::Stop },
        }
    }

    fn bookmark_here(&mut self) -> Event {
        if let Some(bookmarks) = &mut self.bookmarks {
            bookmarks.step(Instant::now());
        }
        let position = match self.stage {
            Stage::Following { position } | Stage::Present { position, .. } => position,
            Stage::Start(_) | Stage::Over => 0,
        };
        bookmark(position, false)
    }
}

/// The shortest of the API server's default (`--min-request-timeout`); it adds up to as much again at random.
const DEFAULT_LENGTH: Duration = Duration::from_secs(1_800);

enum Wake {
    Changed,
    Bookmark,
    TimeUp,
    Stop,
}

/// Waits until `revision` has happened.
///
/// # Errors
/// 504 when it does not.
pub(crate) async fn wait_for(
    changes: &mut watch::Receiver<u64>,
    revision: u64,
) -> Result<(), Failure> {
    let reached = async {
        changes
            .wait_for(|current| *current >= revision)
            .await
            .is_ok()
    };
    if tokio::time::timeout(FRESHNESS_PATIENCE, reached).await == Ok(true) {
        return Ok(());
    }
    let current = *changes.borrow();
    Err(Failure::too_large_revision(revision, current))
}

/// What one change is to a watch (`convertToWatchEvent` in `cache_watcher.go`).
fn event(change: &Change, selection: &Selection) -> Option<Event> {
    let matching = |object: &Option<Arc<super::object::Object>>| {
        object
            .as_ref()
            .filter(|object| selection.matches(&object.value))
            .cloned()
    };
    let (verb, value) = match (matching(&change.before), matching(&change.after)) {
        (None, None) => return None,
        (None, Some(after)) => (EventVerb::Added, after.value.clone()),
        (Some(_), Some(after)) => (EventVerb::Modified, after.value.clone()),
        (Some(before), None) => {
            let mut value = before.value.clone();
            map_in(&mut value, "metadata").insert(
                "resourceVersion".to_owned(),
                change.revision.to_string().into(),
            );
            (EventVerb::Deleted, value)
        }
    };
    Some(Event::Object { verb, value })
}

fn added(value: Value) -> Event {
    Event::Object {
        verb: EventVerb::Added,
        value,
    }
}

/// `initial`: the one that ends the initial events (KEP-3157).
fn bookmark(position: u64, initial: bool) -> Event {
    let mut metadata = json!({"resourceVersion": position.to_string()});
    if initial && let Value::Object(fields) = &mut metadata {
        fields.insert(
            "annotations".to_owned(),
            json!({"k8s.io/initial-events-end": "true"}),
        );
    }
    Event::Bookmark {
        value: json!({"metadata": metadata}),
    }
}

#[cfg(test)]
mod tests;
