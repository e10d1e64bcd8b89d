//! Keeps the [`Catalog`] current: discovery as the reader, on every change of a CRD or APIService and every half minute.
//! A failure never empties it: the old snapshot stays, and a kind that it lacks is forwarded as the user.

mod schedule;

use std::convert::Infallible;
use std::error::Error as StdError;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::Stream;
use futures_util::StreamExt;
use futures_util::stream;
use http::HeaderValue;
use http::Request;
use http::StatusCode;
use http::header;
use http_body_util::BodyExt;
use http_body_util::Limited;
use k8s_openapi::api::authorization::v1::SelfSubjectRulesReview;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use k8s_openapi::serde::de::DeserializeOwned;
use kube::Api;
use kube::Client;
use kube::Resource;
use kube::api::PostParams;
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher;
use tokio::time::Instant;
use tokio::time::sleep_until;
use tokio::time::timeout;
use tracing::debug;
use tracing::info;
use tracing::warn;

use super::BadDocument;
use super::Catalog;
use super::Readable;
use super::ReadableKinds;
use super::ServedElsewhere;
use super::document;
use super::readable;
use schedule::Schedule;

/// The form that holds every group in two answers (KEP-3352, stable since 1.30).
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Longest document taken. Thousands of CRDs make a few megabytes.
const MAX_DOCUMENT_BYTES: usize = 64 << 20;

/// How long one look may take, all its requests together.
const LOOK_TIMEOUT: Duration = Duration::from_secs(30);

/// Publishes what discovery says in `catalog`, for ever. `on_first` is called once, when the first snapshot is there.
///
/// `client` speaks as the reader. Where it may not watch CRDs or APIServices, changes are seen by polling; where it may
/// not list APIServices, whatever is not kube-apiserver's own counts as aggregated.
///
/// Cancel-safe: dropping it loses nothing but the next look.
pub async fn keep_current(
    client: Client,
    catalog: Arc<ArcSwap<Catalog>>,
    on_first: impl FnOnce(),
) -> Infallible {
    let mut changes = std::pin::pin!(changes(&client));
    let mut discovery = Discovery::new(client);
    let mut schedule = Schedule::new(Instant::now());
    let mut on_first = Some(on_first);
    let mut has_failed = false;
    loop {
        tokio::select! {
            // Changes first: they only set the clock, and must not queue behind looks.
            biased;
            Some(()) = changes.next() => {
                schedule.on_change(Instant::now());
                discovery.elsewhere_is_old = true;
                continue;
            }
            () = sleep_until(schedule.due()) => {}
        }
        let looked = timeout(LOOK_TIMEOUT, discovery.look()).await;
        match looked.unwrap_or(Err(LookError::TooSlow)) {
            Ok(news) => {
                schedule.on_look(Instant::now());
                if has_failed {
                    info!("discovery works again");
                    has_failed = false;
                }
                let Some(snapshot) = news else { continue };
                debug!(kinds = snapshot.kinds().count(), "catalog refreshed");
                catalog.store(Arc::new(snapshot));
                if let Some(on_first) = on_first.take() {
                    on_first();
                }
            }
            Err(error) => {
                schedule.on_failure(Instant::now());
                if !has_failed {
                    warn!(
                        error = &error as &dyn StdError,
                        "discovery failed, the last known kinds stay"
                    );
                    has_failed = true;
                }
            }
        }
    }
}

/// One item per change of what may be served. Never ends; a watch that fails is tried again, ever more rarely.
fn changes(client: &Client) -> impl Stream<Item = ()> + use<> {
    stream::select(
        changes_of::<CustomResourceDefinition>(client.clone()),
        changes_of::<APIService>(client.clone()),
    )
}

fn changes_of<K>(client: Client) -> impl Stream<Item = ()>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let objects: Api<PartialObjectMeta<K>> = Api::all(client);
    let events = watcher(objects, watcher::Config::default()).default_backoff();
    events.filter_map(|event| async move {
        match event {
            Ok(watcher::Event::Apply(_) | watcher::Event::Delete(_) | watcher::Event::InitDone) => Some(()),
            Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => None,
            Err(error) => {
                debug!(kind = %K::kind(&()), error = &error as &dyn StdError, "cannot watch, polling instead");
                None
            }
        }
    })
}

/// The two documents as last seen.
struct Discovery {
    client: Client,
    core: Document,
    groups: Document,
    /// `None` until a snapshot was made of it and the documents.
    elsewhere: Option<ServedElsewhere>,
    /// An APIService may have moved to another server without a change of the documents.
    elsewhere_is_old: bool,
    /// What the reader may read, of the last snapshot.
    readable: Readable,
}

/// A document and its ETag. Empty before it was first fetched.
struct Document {
    path: &'static str,
    etag: Option<HeaderValue>,
    bytes: Bytes,
}

impl Discovery {
    fn new(client: Client) -> Self {
        let document = |path| Document {
            path,
            etag: None,
            bytes: Bytes::new(),
        };
        Self {
            client,
            core: document("/api"),
            groups: document("/apis"),
            elsewhere: None,
            elsewhere_is_old: false,
            readable: Readable::Unknown,
        }
    }

    /// A new snapshot, or `None` if nothing is new.
    ///
    /// # Errors
    /// [`LookError`]; the next look starts from what was fetched whole.
    async fn look(&mut self) -> Result<Option<Catalog>, LookError> {
        let is_core_new = self.core.refresh(&self.client).await?;
        let is_groups_new = self.groups.refresh(&self.client).await?;
        let readable = self.readable().await;
        let is_readable_new = readable != self.readable;
        // Forgotten until the snapshot is made, so that a failure between does not hide the news from the next look.
        let last = if is_core_new || is_groups_new {
            None
        } else {
            self.elsewhere.clone()
        };
        if matches!(last, Some(ServedElsewhere::Known(_)))
            && !self.elsewhere_is_old
            && !is_readable_new
        {
            return Ok(None);
        }
        self.elsewhere = last.clone();
        let elsewhere = self.served_elsewhere().await?;
        self.elsewhere_is_old = false;
        if last.as_ref() == Some(&elsewhere) && !is_readable_new {
            return Ok(None);
        }
        let snapshot = Catalog::from_documents(&self.core.bytes, &self.groups.bytes, &elsewhere)?;
        self.elsewhere = Some(elsewhere);
        self.readable = readable.clone();
        Ok(Some(snapshot.with_readable(readable)))
    }

    /// What the reader may read. Where the API server does not say, what it said last.
    async fn readable(&self) -> Readable {
        let reviews: Api<SelfSubjectRulesReview> = Api::all(self.client.clone());
        let answer = reviews
            .create(&PostParams::default(), &readable::review())
            .await;
        match answer.map(|review| review.status) {
            Ok(Some(status)) => {
                Readable::Known(Arc::new(ReadableKinds::of_rules(&status.resource_rules)))
            }
            Ok(None) => self.readable.clone(),
            Err(error) => {
                debug!(
                    error = &error as &dyn StdError,
                    "cannot ask what the reader may read"
                );
                self.readable.clone()
            }
        }
    }

    async fn served_elsewhere(&self) -> Result<ServedElsewhere, LookError> {
        let path = "/apis/apiregistration.k8s.io/v1/apiservices";
        match fetch(&self.client, path, "application/json", None).await {
            Ok(Fetched::New { bytes, .. }) => {
                Ok(ServedElsewhere::Known(document::served_elsewhere(&bytes)?))
            }
            Ok(Fetched::Unchanged) => Err(LookError::Status {
                path,
                code: StatusCode::NOT_MODIFIED,
            }),
            Err(LookError::Status {
                code: StatusCode::FORBIDDEN,
                ..
            }) => Ok(ServedElsewhere::Unknown),
            Err(error) => Err(error),
        }
    }
}

impl Document {
    /// Whether there is a new document.
    async fn refresh(&mut self, client: &Client) -> Result<bool, LookError> {
        match fetch(client, self.path, AGGREGATED, self.etag.clone()).await? {
            Fetched::Unchanged => Ok(false),
            Fetched::New { etag, bytes } => {
                let is_new = bytes != self.bytes;
                self.etag = etag;
                self.bytes = bytes;
                Ok(is_new)
            }
        }
    }
}

enum Fetched {
    Unchanged,
    New {
        etag: Option<HeaderValue>,
        bytes: Bytes,
    },
}

async fn fetch(
    client: &Client,
    path: &'static str,
    accept: &'static str,
    etag: Option<HeaderValue>,
) -> Result<Fetched, LookError> {
    let mut request = Request::new(kube::client::Body::empty());
    *request.uri_mut() = http::Uri::from_static(path);
    request
        .headers_mut()
        .insert(header::ACCEPT, HeaderValue::from_static(accept));
    if let Some(etag) = etag {
        request.headers_mut().insert(header::IF_NONE_MATCH, etag);
    }
    let answer = client
        .send(request)
        .await
        .map_err(|cause| LookError::Send {
            path,
            cause: cause.into(),
        })?;
    match answer.status() {
        StatusCode::NOT_MODIFIED => Ok(Fetched::Unchanged),
        StatusCode::OK => {
            let etag = answer.headers().get(header::ETAG).cloned();
            let body = Limited::new(answer.into_body(), MAX_DOCUMENT_BYTES)
                .collect()
                .await;
            let bytes = body
                .map_err(|cause| LookError::Receive { path, cause })?
                .to_bytes();
            Ok(Fetched::New { etag, bytes })
        }
        code => Err(LookError::Status { path, code }),
    }
}

/// Why a look at discovery failed.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error("discovery took longer than {LOOK_TIMEOUT:?}")]
    TooSlow,
    #[error("cannot ask for {path}")]
    Send {
        path: &'static str,
        #[source]
        cause: Box<kube::Error>,
    },
    #[error("the answer to {path} broke off or is too long")]
    Receive {
        path: &'static str,
        #[source]
        cause: Box<dyn StdError + Send + Sync>,
    },
    #[error("{path} was answered with {code}")]
    Status {
        path: &'static str,
        code: StatusCode,
    },
    #[error(transparent)]
    Document(#[from] BadDocument),
}

#[cfg(test)]
mod tests;
