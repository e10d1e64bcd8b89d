//! One source: list everything, watch from there, begin anew when the watch cannot go on.
//!
//! It never guesses: an event it cannot read means a new list. Nothing it has said before is taken back by an error,
//! only by a list, an event, or a second answer that there is no such kind.

use std::fmt::Debug;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::pin_mut;
use kube::Api;
use kube::Resource;
use kube::ResourceExt;
use kube::api::ListParams;
use kube::api::WatchEvent;
use kube::api::WatchParams;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::DefaultBackoff;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio::time::timeout;

use super::log::Log;
use crate::ready::ReadyHandle;
use crate::tenancy::event::Event;
use crate::tenancy::event::Source;
use crate::tenancy::facts::Fact;
use crate::tenancy::facts::Key;
use crate::tenancy::facts::Reading;
use crate::tenancy::sources::Sources;

/// How much longer than its pulse a watch may last before its connection is taken for dead.
const GRACE: Duration = Duration::from_secs(10);
/// How long one page of a list, or the head of a watch, may take.
const ANSWER: Duration = Duration::from_mins(1);
/// A watch that ends this soon without having said anything is a failure, lest it be opened in a tight loop.
const TOO_SHORT: Duration = Duration::from_secs(1);
/// Longest wait before an API server that does not answer is asked again: until then nobody hears of a revocation. Asking
/// costs it nothing to speak of.
const LONGEST: Duration = Duration::from_secs(2);
/// A source that was followed for so long begins its waits anew. kube's own measure is two minutes without trouble: an API
/// server that is restarted more often than that would be listed from ever later, up to a minute.
const SETTLED: Duration = Duration::from_secs(10);
/// Page size of lists, as client-go's pager has it.
const PAGE: u32 = 500;

/// What a feed tells the writer.
pub(super) struct Message {
    pub(super) event: Event,
    /// Dropped when the event is applied.
    pub(super) ready: Option<ReadyHandle>,
}

/// One source and how to read it.
pub(super) struct Feed<'a, K> {
    pub(super) source: Source,
    /// Versions of the kind, the preferred one first. If none is served, there is no such kind (yet): an empty source.
    pub(super) apis: Vec<Api<K>>,
    pub(super) fields: Option<String>,
    pub(super) read: fn(&K) -> Reading<Fact>,
    pub(super) key: fn(&K) -> Option<Key>,
    pub(super) sources: &'a Sources,
    /// [`crate::tenancy::Settings::pulse`].
    pub(super) pulse: Duration,
    pub(super) out: mpsc::Sender<Message>,
}

/// Everything there was at one moment.
struct Listed<'a, K> {
    facts: Vec<Fact>,
    version: String,
    api: &'a Api<K>,
}

/// Why there is no list.
enum NoList {
    /// No version of the kind is served.
    NoSuchKind,
    Failed(Trouble),
}

/// How a watch came to its end.
enum End {
    /// Open it again at the position reached.
    Resume,
    /// The same, after a while.
    ResumeLater(Trouble),
    /// The position is gone, or something could not be read.
    Relist(Trouble),
}

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the API server does not answer")]
    Timeout,
    #[error("the API server refuses or cannot be reached")]
    Api(#[source] kube::Error),
    #[error("the watch ended with an error")]
    Watch(#[source] Box<kube::core::Status>),
    #[error("a list or event has no resourceVersion")]
    NoVersion,
    #[error("the watch ended at once")]
    TooShort,
}

impl<K> Feed<'_, K>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    /// Follows the source for ever. `ready` goes with the first complete list.
    pub(super) async fn run(self, ready: ReadyHandle) {
        let mut ready = Some(ready);
        let mut log = Log::new(self.source);
        // Apart, so that an outage does not put off the list that is due after it.
        let (mut outage, mut backoff) = (DefaultBackoff::default(), DefaultBackoff::default());
        // A kind that was there and is said not to be is asked for once more: an API server that has just started may
        // not have heard of it yet.
        let mut missed = true;
        loop {
            match self.list(&mut log).await {
                Ok(listed) => {
                    missed = false;
                    log.followed();
                    self.tell(Event::Reset(self.source, listed.facts), ready.take())
                        .await;
                    let begin = Instant::now();
                    let trouble = self
                        .watch(listed.api, listed.version, &mut log, &mut outage)
                        .await;
                    tracing::debug!(source = self.source.as_str(), %trouble, "listing anew");
                    if begin.elapsed() >= SETTLED {
                        backoff.reset();
                    }
                }
                Err(NoList::NoSuchKind) => {
                    if std::mem::replace(&mut missed, true) {
                        log.followed();
                        self.tell(Event::Reset(self.source, Vec::new()), ready.take())
                            .await;
                    }
                }
                Err(NoList::Failed(trouble)) => {
                    log.failed(&trouble);
                    pause_shortly(&mut outage).await;
                    continue;
                }
            }
            pause(&mut backoff).await;
        }
    }

    /// Reads all pages of the first version that is served. resourceVersion is unset: a consistent read, so that a
    /// lagging cache cannot bring back what was already known to be gone.
    async fn list(&self, log: &mut Log) -> Result<Listed<'_, K>, NoList> {
        for api in &self.apis {
            match self.list_of(api, log).await {
                Ok(listed) => return Ok(listed),
                Err(Trouble::Api(kube::Error::Api(status))) if status.code == 404 => {
                    self.sources.hear(self.source)
                }
                Err(trouble) => return Err(NoList::Failed(trouble)),
            }
        }
        Err(NoList::NoSuchKind)
    }

    async fn list_of<'a>(&self, api: &'a Api<K>, log: &mut Log) -> Result<Listed<'a, K>, Trouble> {
        let mut parameters = ListParams {
            limit: Some(PAGE),
            field_selector: self.fields.clone(),
            ..ListParams::default()
        };
        let mut facts = Vec::new();
        loop {
            let page = answered(api.list(&parameters)).await?;
            self.sources.hear(self.source);
            facts.extend(
                page.items
                    .iter()
                    .filter_map(|object| self.fact(object, log)),
            );
            parameters.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if parameters.continue_token.is_none() {
                let version = page
                    .metadata
                    .resource_version
                    .filter(|version| !version.is_empty());
                let version = version.ok_or(Trouble::NoVersion)?;
                return Ok(Listed {
                    facts,
                    version,
                    api,
                });
            }
        }
    }

    /// Watches from `version` on, for as long as it can go on.
    async fn watch(
        &self,
        api: &Api<K>,
        mut version: String,
        log: &mut Log,
        outage: &mut DefaultBackoff,
    ) -> Trouble {
        loop {
            match self.watch_once(api, &mut version, log).await {
                End::Resume => {}
                End::ResumeLater(trouble) => {
                    log.failed(&trouble);
                    pause_shortly(outage).await;
                }
                End::Relist(trouble) => return trouble,
            }
        }
    }

    async fn watch_once(&self, api: &Api<K>, version: &mut String, log: &mut Log) -> End {
        let parameters = WatchParams {
            field_selector: self.fields.clone(),
            timeout: u32::try_from(self.pulse.as_secs()).ok(),
            bookmarks: true,
            ..WatchParams::default()
        };
        let begin = Instant::now();
        let stream = match answered(api.watch(&parameters, version)).await {
            Ok(stream) => stream,
            Err(trouble) => return end_of(trouble),
        };
        self.sources.hear(self.source);
        log.followed();
        pin_mut!(stream);
        let mut silent = true;
        loop {
            let next = match timeout(self.pulse + GRACE, stream.next()).await {
                Ok(next) => next,
                Err(_elapsed) => return End::Resume,
            };
            let (event, reached) = match next {
                None if silent && begin.elapsed() < TOO_SHORT => {
                    return End::ResumeLater(Trouble::TooShort);
                }
                None => return End::Resume,
                Some(Ok(WatchEvent::Added(object) | WatchEvent::Modified(object))) => {
                    (self.applied(&object, log), object.resource_version())
                }
                Some(Ok(WatchEvent::Deleted(object))) => {
                    log.gone(&name_of(&object));
                    (
                        (self.key)(&object).map(Event::Gone),
                        object.resource_version(),
                    )
                }
                Some(Ok(WatchEvent::Bookmark(bookmark))) => {
                    (None, Some(bookmark.metadata.resource_version))
                }
                Some(Ok(WatchEvent::Error(status))) => return end_of(Trouble::Watch(status)),
                // The connection broke between two events: nothing is lost that a resume would not send again.
                Some(Err(error @ kube::Error::ReadEvents(_))) => {
                    return End::ResumeLater(Trouble::Api(error));
                }
                // An event cannot be read, and might have been a revocation.
                Some(Err(error)) => return End::Relist(Trouble::Api(error)),
            };
            self.sources.hear(self.source);
            silent = false;
            match reached {
                Some(reached) if !reached.is_empty() => *version = reached,
                Some(_) | None => return End::Relist(Trouble::NoVersion),
            }
            if let Some(event) = event {
                self.tell(event, None).await;
            }
        }
    }

    /// What a new or changed object means; one that can no longer be read means what its absence would.
    fn applied(&self, object: &K, log: &mut Log) -> Option<Event> {
        match self.fact(object, log) {
            Some(fact) => Some(Event::Applied(fact)),
            None => (self.key)(object).map(Event::Gone),
        }
    }

    fn fact(&self, object: &K, log: &mut Log) -> Option<Fact> {
        let reading = (self.read)(object);
        self.sources.reject(self.source, reading.rejected.len());
        log.reading(&name_of(object), &reading.rejected);
        reading.fact
    }

    async fn tell(&self, event: Event, ready: Option<ReadyHandle>) {
        // The writer is polled beside the feeds and ends with them, so nobody misses what is told to a closed channel.
        let _closed = self.out.send(Message { event, ready }).await;
    }
}

/// `namespace/name`, as kubectl writes it.
fn name_of<K: Resource>(object: &K) -> String {
    match object.namespace() {
        Some(namespace) => format!("{namespace}/{}", object.name_any()),
        None => object.name_any(),
    }
}

async fn answered<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, Trouble> {
    match timeout(ANSWER, call).await {
        Ok(answer) => answer.map_err(Trouble::Api),
        Err(_elapsed) => Err(Trouble::Timeout),
    }
}

/// 410: the position is too old. 404: the kind or version is gone, which the next list will tell.
fn end_of(trouble: Trouble) -> End {
    let code = match &trouble {
        Trouble::Api(kube::Error::Api(status)) | Trouble::Watch(status) => status.code,
        Trouble::Api(_) | Trouble::Timeout | Trouble::NoVersion | Trouble::TooShort => 0,
    };
    match code {
        404 | 410 => End::Relist(trouble),
        _ => End::ResumeLater(trouble),
    }
}

/// Waits a little longer each time, up to [`LONGEST`].
async fn pause_shortly(outage: &mut DefaultBackoff) {
    sleep(outage.next().map_or(LONGEST, |wait| wait.min(LONGEST))).await;
}

/// Waits a little longer each time, from 0.8 to 30 seconds and more, and begins anew after two minutes without trouble.
async fn pause(backoff: &mut DefaultBackoff) {
    sleep(backoff.next().unwrap_or(ANSWER)).await;
}
