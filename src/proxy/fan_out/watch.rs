//! A watch over all namespaces, put together from one watch per namespace, each sent as the user.
//!
//! Which namespaces these are does not change while it lasts: when it should, because a namespace or a right was gained or
//! lost, the client is told that its position expired, and begins anew.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use http::Response;
use http::header;

use super::IN_FLIGHT;
use super::leg::Opener;
use super::leg::WatchLeg;
use super::rights::Rights;
use crate::body::Body;
use crate::filter;
use crate::k8s::list_options::ListOptions;
use crate::k8s::names::Namespace;
use crate::policy::Legs;
use crate::policy::Start;
use crate::proxy::Proxy;
use crate::proxy::answer;
use crate::proxy::exchange::Exchange;
use crate::proxy::lease::Lease;
use crate::proxy::live::Flow;
use crate::proxy::live::Many;
use crate::proxy::narrow::expired;
use crate::proxy::parts::Held;
use crate::proxy::parts::Parts;
use crate::proxy::positions::Holder;
use crate::proxy::reject::Reject;
use crate::watch::guard::Position;
use crate::watch::made::ObjectKind;
use crate::watch::merged::Merged;
use crate::watch::merged::Whole;

impl Proxy {
    /// The watch, as it was decided for `holder`. `None`: decide again, the scope changed meanwhile.
    pub(in crate::proxy) async fn fan_out_watch(
        &self,
        exchange: &mut Exchange,
        legs: Legs,
        lease: &Lease,
        holder: Holder,
    ) -> Result<Option<Response<Body>>, Reject> {
        self.demand_fresh_facts()?;
        let options = exchange.options();
        let media = exchange.media(&holder.kind, true)?;
        let layout = filter::layout(media).ok_or(Reject::NotAcceptable)?;
        let resumes = options.resumes_at().map(Position::parse);
        let held = resumes.and_then(|at| self.positions.admit_whole(&holder, at));
        let opener = self.opener(exchange, legs, layout, media);
        let unclear = |namespace: &Namespace| {
            held.as_ref()
                .is_some_and(|held| held.of(namespace) == Held::Unclear)
        };
        let is_expired =
            resumes.is_some() && (held.is_none() || opener.legs.namespaces().iter().any(unclear));
        let opened = match open_all(&opener, held.as_deref(), is_expired).await? {
            Opened::Streams(opened) => opened,
            Opened::Answer(response) => return Ok(Some(response)),
        };
        // His own answer, where he may watch it nowhere.
        let Some(head) = opened.iter().flatten().next() else {
            let whole = self.authorized(exchange, opener.legs.whole())?;
            let response = self.on.upstream.send(whole, crate::body::empty()).await?;
            return answer::forwarded(&exchange.what, response)
                .map(Some)
                .map_err(Reject::Answer);
        };
        let mut response = Response::new(());
        *response.headers_mut() = head.headers().clone();
        response.headers_mut().remove(header::CONTENT_LENGTH);
        let watched: Vec<bool> = opened.iter().map(Option::is_some).collect();
        let mut parts = Parts::default();
        let mut has_lost = false;
        for (namespace, watched) in opener.legs.namespaces().iter().zip(&watched) {
            parts.note(namespace, *watched);
            // What he held of a namespace that he may no longer watch would stay with him for ever.
            let holds = held
                .as_ref()
                .is_some_and(|held| held.of(namespace) == Held::Objects);
            has_lost |= holds && !watched;
        }
        if is_expired || has_lost {
            return Ok(Some(expired(media)));
        }
        if lease.presence.scope().generation != holder.now.generation {
            return Ok(None);
        }
        let (starts, streams) = begin(opened, &opener.legs, held.as_deref(), resumes.flatten());
        let whole = Whole {
            media,
            kind: ObjectKind {
                api_version: holder.kind.api_version(),
                kind: holder.kind.kind.to_string(),
            },
            bookmarks: options.allow_watch_bookmarks,
            marks_initial_end: options.send_initial_events == Some(true),
        };
        let machine = Merged::open(whole, &starts).ok_or(Reject::NotAcceptable)?;
        let flow = Flow::Many(Box::new(Many {
            upstream: streams,
            machine,
            parts: Arc::new(parts),
            rights: Rights::new(opener, watched),
        }));
        let watch = self.live(exchange, flow, lease, holder, lasts(&options));
        Ok(Some(response.map(|()| watch.into_body())))
    }
}

/// How long the client wants to watch, if it says.
fn lasts(options: &ListOptions) -> Option<Duration> {
    let seconds = u64::try_from(options.timeout_seconds?).ok()?;
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

/// What became of the legs.
enum Opened {
    /// Of each, its stream, or nothing.
    Streams(Vec<Option<Response<Body>>>),
    /// One was answered by something else, which is the answer to the whole.
    Answer(Response<Body>),
}

/// Opens the legs, or, where the client must begin anew, one: whether there is any is the API server's to say.
async fn open_all(
    opener: &Arc<Opener>,
    held: Option<&Parts>,
    is_expired: bool,
) -> Result<Opened, Reject> {
    let start = |namespace: &Namespace| match held {
        Some(held) if held.of(namespace) == Held::Nothing => Start::State,
        None if is_expired => Start::State,
        Some(_) | None => Start::Client,
    };
    let starts: Vec<Start> = opener.legs.namespaces().iter().map(start).collect();
    let opening = starts.into_iter().enumerate().map(|(at, start)| {
        let opener = Arc::clone(opener);
        async move { opener.open_watch(at, start).await }
    });
    let mut opening = futures_util::stream::iter(opening).buffered(IN_FLIGHT);
    let mut opened = Vec::new();
    while let Some(leg) = opening.next().await {
        match leg? {
            WatchLeg::Stream(response) => opened.push(Some(response)),
            WatchLeg::Nothing => opened.push(None),
            WatchLeg::Answer(response) => return Ok(Opened::Answer(response)),
        }
        if is_expired && opened.last().is_some_and(Option::is_some) {
            break;
        }
    }
    Ok(Opened::Streams(opened))
}

/// Frames of all legs, each with the number of its leg; `None` is a leg's end.
pub(in crate::proxy) type Streams = futures_util::stream::SelectAll<LegStream>;

/// Frames of one leg.
pub(in crate::proxy) type LegStream = futures_util::stream::BoxStream<'static, LegFrame>;

/// One frame of one leg, or its end.
pub(in crate::proxy) type LegFrame = (usize, Option<Result<bytes::Bytes, crate::body::BoxError>>);

/// Where each open leg begins, and their frames.
fn begin(
    opened: Vec<Option<Response<Body>>>,
    legs: &Legs,
    held: Option<&Parts>,
    resumes: Option<Position>,
) -> (Vec<Option<Position>>, Streams) {
    let (mut starts, mut streams) = (Vec::new(), Vec::new());
    for (namespace, response) in legs.namespaces().iter().zip(opened) {
        let Some(response) = response else { continue };
        let at = starts.len();
        let knows = held.is_some_and(|held| held.of(namespace) == Held::Objects);
        starts.push(resumes.filter(|_| knows));
        let frames = http_body_util::BodyStream::new(response.into_body());
        let data = frames.filter_map(|frame| async {
            match frame {
                Ok(frame) => frame.into_data().ok().map(Ok),
                Err(error) => Some(Err(error)),
            }
        });
        let end = futures_util::stream::once(async { None });
        let leg = data.map(Some).chain(end).map(move |frame| (at, frame));
        streams.push(leg.boxed());
    }
    (starts, futures_util::stream::select_all(streams))
}
