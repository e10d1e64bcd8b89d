//! Narrowed lists and watches of a kind over the whole cluster: as the reader, and read on the way.

use std::sync::Arc;

use http::HeaderMap;
use http::HeaderValue;
use http::Response;
use http::StatusCode;
use http::header;

use super::Proxy;
use super::answer;
use super::compress;
use super::exchange::Exchange;
use super::follow::Opened;
use super::follow::Watching;
use super::follow::noted;
use super::lease::Lease;
use super::list::NarrowedList;
use super::live::Flow;
use super::live::One;
use super::positions::Holder;
use super::reject::BadAnswer;
use super::reject::Reject;
use crate::body::Body;
use crate::body::empty;
use crate::body::full;
use crate::filter;
use crate::filter::ListFilter;
use crate::filter::RowObjects;
use crate::k8s::list_options::Beginning;
use crate::k8s::list_options::ContinueToken;
use crate::k8s::list_options::ListOptions;
use crate::k8s::media::Encoding;
use crate::k8s::media::Media;
use crate::policy::Keep;
use crate::policy::Permit;
use crate::policy::Refusal;
use crate::tenancy::Freshness;
use crate::tenancy::Presence;
use crate::watch::expired::expired_frame;
use crate::watch::guard::Admit;
use crate::watch::human::Human;
use crate::watch::machine::Start;
use crate::watch::machine::View;
use crate::watch::machine::Watch;
use crate::watch::made::ObjectKind;
use crate::watch::memory::Memory;
use crate::wire::object::ObjectMeta;

impl Proxy {
    /// A list as the reader. `None`: decide again, the scope changed meanwhile or the list must be read consistently.
    pub(super) async fn narrow_list(
        &self,
        exchange: &mut Exchange,
        read: Permit,
        keep: Keep,
        lease: &Lease,
        holder: Holder,
    ) -> Result<Option<Response<Body>>, Reject> {
        self.demand_fresh_facts()?;
        self.ensure_floor(&holder).await?;
        let options = exchange.options();
        if let Some(token) = &options.continue_token {
            self.admit_page(&holder, token)?;
        }
        let media = exchange.media(&holder.kind, false)?;
        let mut filter = ListFilter::new(media, keep, rows(&options))
            .map_err(|_unreadable| Reject::NotAcceptable)?;
        let takes_text = media.encoding == Encoding::Protobuf && exchange.media_of_parts().is_ok();
        if takes_text {
            filter = filter.holding_at_most(filter::WORTH_HOLDING);
        }
        let request = self
            .authorized(exchange, read)?
            .with_accept(accept(media, false));
        let response = self.on.upstream.send(request, empty()).await?;
        let (head, body) = match expected(response, media, false)? {
            Expected::Answer(head, body) => (head, body),
            Expected::Refusal(response) => return Ok(Some(response)),
        };
        let Some(list) = NarrowedList::open(body, filter).await? else {
            if !takes_text {
                return Err(Reject::Answer(BadAnswer::Malformed));
            }
            exchange.take_text();
            return Ok(None);
        };
        if lease.presence.scope().generation != holder.now.generation {
            return Ok(None);
        }
        if self
            .positions
            .is_under_floor(&holder, list.resource_version())
            && exchange.read_consistently()
        {
            return Ok(None);
        }
        let body = list.into_body(Arc::clone(&self.positions), holder, lease.presence.clone());
        let list = Response::from_parts(head, body);
        Ok(Some(compress::long_list(&exchange.headers, list)))
    }

    /// A watch as the reader. `None`: decide again.
    pub(super) async fn narrow_watch(
        &self,
        exchange: &mut Exchange,
        (read, seed): (Permit, Option<Permit>),
        keep: Keep,
        presence: &Presence,
        holder: Holder,
    ) -> Result<Option<Watching>, Reject> {
        self.demand_fresh_facts()?;
        self.ensure_floor(&holder).await?;
        let options = exchange.options();
        let media = exchange.media(&holder.kind, true)?;
        match self.positions.admit_watch(&holder, &options) {
            Admit::Pass => {}
            Admit::Expired => return Ok(Some(Watching::Answer(expired(media)))),
            Admit::NeedsFloor => return Ok(None),
        }
        // A watch-list that continues a store may be answered by a cache that lags behind what expired the store.
        let lists = options.send_initial_events == Some(true);
        if lists
            && self
                .positions
                .is_under_floor(&holder, options.resource_version.as_deref())
            && exchange.read_consistently()
        {
            return Ok(None);
        }
        let held = match seed {
            None => Vec::new(),
            Some(seed) => match self.held(exchange, seed, keep.clone()).await? {
                Held::Objects(held) => held,
                Held::Gone => return Ok(Some(Watching::Answer(expired(media)))),
                Held::Refused(response) => return Ok(Some(Watching::Answer(response))),
            },
        };
        let memory = Memory::of(held.iter().map(|meta| meta.name.as_str().into()));
        let view = View {
            media,
            keep,
            rows: rows(&options),
            kind: ObjectKind::of(&holder.kind),
        };
        let human = exchange
            .is_watched_by_a_human()
            .then(|| Human::open(media, view.rows, view.kind.clone(), held));
        let machine = Watch::open(view, start(&options), memory).ok_or(Reject::NotAcceptable)?;
        let request = self
            .authorized(exchange, read)?
            .with_accept(accept(media, true));
        let response = self.on.upstream.send(request, empty()).await?;
        let (head, upstream) = match expected(response, media, true)? {
            Expected::Answer(head, body) => (head, body),
            Expected::Refusal(response) => return Ok(Some(Watching::Answer(response))),
        };
        if presence.scope().generation != holder.now.generation {
            return Ok(None);
        }
        Ok(Some(Watching::Open(Box::new(Opened {
            head: Response::from_parts(head, ()),
            flow: Flow::One(Box::new(One { upstream, machine })),
            holder,
            human: human.flatten(),
        }))))
    }

    /// What the client of a watch holds, by the list it began with: of every object the metadata alone.
    async fn held(&self, exchange: &Exchange, seed: Permit, keep: Keep) -> Result<Held, Reject> {
        let media = Media::PARTIAL_METADATA;
        let request = self
            .authorized(exchange, seed)?
            .with_accept(accept(media, false));
        let response = self.on.upstream.send(request, empty()).await?;
        if response.status() == StatusCode::GONE {
            return Ok(Held::Gone);
        }
        match expected(response, media, false)? {
            // Where labels decide, all of it must be known.
            Expected::Answer(_, body) => Ok(Held::Objects(noted(body, keep, usize::MAX).await?)),
            Expected::Refusal(response) => Ok(Held::Refused(response)),
        }
    }

    /// Narrowed answers rest on facts; without contact to their source for too long there are none.
    pub(super) fn demand_fresh_facts(&self) -> Result<(), Reject> {
        match self.on.tenancy.freshness() {
            Freshness::Fresh | Freshness::Unready => Ok(()),
            Freshness::Stale => Err(Reject::Stale),
        }
    }

    /// A page belongs to the generation of the first page.
    fn admit_page(&self, holder: &Holder, token: &str) -> Result<(), Reject> {
        let token = ContinueToken::parse(token).ok_or(Reject::Refused(Refusal::BadPageToken))?;
        match self.positions.admit_page(holder, &token) {
            Admit::Pass => Ok(()),
            Admit::Expired | Admit::NeedsFloor => Err(Reject::Refused(Refusal::PageExpired)),
        }
    }
}

/// What is known of what a client holds.
enum Held {
    /// What names its objects.
    Objects(Vec<ObjectMeta>),
    /// The API server no longer knows that state.
    Gone,
    /// A refusal that concerns the client's request, to be relayed.
    Refused(Response<Body>),
}

/// What the API server made of a narrowed read.
enum Expected {
    /// What was asked for.
    Answer(http::response::Parts, Body),
    /// A refusal that concerns the client's request, to be relayed.
    Refusal(Response<Body>),
}

/// Sorts the API server's answer to a narrowed read.
///
/// # Errors
/// A type or encoding that was not asked for is never passed on. 401 and 403 are about the reader, not about the
/// client, who must not take "the proxy may not" for "you may not".
fn expected(response: Response<Body>, media: Media, watch: bool) -> Result<Expected, Reject> {
    let (mut head, body) = response.into_parts();
    match head.status {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            tracing::error!(
                code = head.status.as_u16(),
                "the API server refused the reader"
            );
            return Err(Reject::Answer(BadAnswer::Reader));
        }
        status if status.is_client_error() || status.is_server_error() => {
            return Ok(Expected::Refusal(Response::from_parts(head, body)));
        }
        _ => return Err(Reject::Answer(BadAnswer::ContentType)),
    }
    answer::readable(&head, media, watch).map_err(Reject::Answer)?;
    // What goes out may be shorter than what came in.
    head.headers.remove(header::CONTENT_LENGTH);
    Ok(Expected::Answer(head, body))
}

/// The in-band expiry: HTTP 200, one ERROR event, the end. An HTTP 410 would be repeated for ever by RetryWatcher,
/// kube-rs and Lens.
pub(super) fn expired(media: Media) -> Response<Body> {
    let frame = expired_frame(media)
        .map(|frame| frame.bytes().clone())
        .unwrap_or_default();
    let mut response = Response::new(full(frame));
    let headers: &mut HeaderMap = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(media.content_type(true)),
    );
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, private"),
    );
    response
}

fn accept(media: Media, watch: bool) -> HeaderValue {
    HeaderValue::from_static(media.accept(watch))
}

/// A Table's rows are asked for with their metadata even where the client wants none, since the filter reads it.
pub(super) fn rows(options: &ListOptions) -> RowObjects {
    match options.include_object.as_deref() {
        Some("None") => RowObjects::Strip,
        Some(_) | None => RowObjects::Keep,
    }
}

fn start(options: &ListOptions) -> Start {
    match options.begins() {
        Beginning::State => Start::State,
        Beginning::After(_) | Beginning::Now => Start::Changes,
    }
}
