//! A watch over all namespaces, put together from one watch per namespace, each sent as the user.
//!
//! Which namespaces these are does not change while it lasts: when it should, because a namespace or a right was gained or
//! lost, a machine is told that its position expired, and begins anew; for a human it is opened again
//! (`proxy/follow.rs`).

use std::sync::Arc;

use futures_util::StreamExt;
use http::Response;
use http::StatusCode;
use http::header;

use super::IN_FLIGHT;
use super::leg::Opener;
use super::leg::WatchLeg;
use super::rights::Rights;
use crate::body::Body;
use crate::filter;
use crate::k8s::names::Namespace;
use crate::policy::Legs;
use crate::policy::Start;
use crate::proxy::Proxy;
use crate::proxy::answer;
use crate::proxy::exchange::Exchange;
use crate::proxy::follow::Opened;
use crate::proxy::follow::Watching;
use crate::proxy::lease::Share;
use crate::proxy::live::Flow;
use crate::proxy::live::Many;
use crate::proxy::narrow::expired;
use crate::proxy::narrow::rows;
use crate::proxy::parts::Held;
use crate::proxy::parts::Parts;
use crate::proxy::positions::Holder;
use crate::proxy::reject::Reject;
use crate::tenancy::Presence;
use crate::watch::guard::Position;
use crate::watch::human::Human;
use crate::watch::human::MAX_HELD;
use crate::watch::made::ObjectKind;
use crate::watch::merged::Merged;
use crate::watch::merged::Whole;
use crate::wire::object::ObjectMeta;

impl Proxy {
    /// The watch, as it was decided for `holder`. `None`: decide again, the scope changed meanwhile.
    pub(in crate::proxy) async fn fan_out_watch(
        &self,
        exchange: &mut Exchange,
        legs: Legs,
        presence: &Presence,
        holder: Holder,
    ) -> Result<Option<Watching>, Reject> {
        self.demand_fresh_facts()?;
        let options = exchange.options();
        let media = exchange.media(&holder.kind, true)?;
        let layout = filter::layout(media).ok_or(Reject::NotAcceptable)?;
        // As for a watch that is one: a cache may lag behind what expired the store that is continued.
        if options.send_initial_events == Some(true)
            && self
                .positions
                .is_under_floor_of_whole(&holder, options.resource_version.as_deref())
            && exchange.read_consistently()
        {
            return Ok(None);
        }
        let resumes = options.resumes_at().map(Position::parse);
        let held = resumes.and_then(|at| self.positions.admit_whole(&holder, at));
        let opener = self.opener(exchange, legs, layout, media);
        let unclear = |namespace: &Namespace| {
            held.as_ref()
                .is_some_and(|held| held.of(namespace) == Held::Unclear)
        };
        let is_expired =
            resumes.is_some() && (held.is_none() || opener.legs.namespaces().iter().any(unclear));
        let share = Share::of_streams(presence, opener.legs.namespaces().len())?;
        let opened = match open_all(&opener, held.as_deref(), is_expired).await? {
            Answers::Streams(opened) => opened,
            Answers::Answer(response) => return Ok(Some(Watching::Answer(response))),
        };
        // His own answer, where he may watch it nowhere.
        let Some(head) = opened.iter().flatten().next() else {
            let whole = self.authorized(exchange, opener.legs.whole())?;
            let response = self.on.upstream.send(whole, crate::body::empty()).await?;
            return answer::forwarded(&exchange.what, response)
                .map(|response| Some(Watching::Answer(response)))
                .map_err(Reject::Answer);
        };
        let mut response = Response::new(());
        *response.headers_mut() = head.headers().clone();
        response.headers_mut().remove(header::CONTENT_LENGTH);
        let watched: Vec<bool> = opened.iter().map(Option::is_some).collect();
        let (mut parts, mut lost) = (Parts::default(), Vec::new());
        for (at, namespace) in opener.legs.namespaces().iter().enumerate() {
            let watched = watched.get(at) == Some(&true);
            parts.note(namespace, watched);
            let holds = held
                .as_ref()
                .is_some_and(|held| held.of(namespace) == Held::Objects);
            if holds && !watched {
                lost.push(at);
            }
        }
        if !is_expired && let Some(refusal) = self.unwatchable(exchange, &opener, &lost).await? {
            return Ok(Some(Watching::Answer(refusal)));
        }
        // What he held of a namespace that he may no longer watch would stay with him for ever.
        if is_expired || !lost.is_empty() {
            return Ok(Some(Watching::Answer(expired(media))));
        }
        let kind = ObjectKind::of(&holder.kind);
        let human = if exchange.is_watched_by_a_human() {
            let objects = held_objects(&opener, held.as_deref()).await;
            objects.and_then(|objects| Human::open(media, rows(&options), kind.clone(), objects))
        } else {
            None
        };
        if presence.scope().generation != holder.now.generation {
            return Ok(None);
        }
        let (starts, streams) = begin(opened, &opener.legs, held.as_deref(), resumes.flatten());
        let whole = Whole {
            media,
            kind,
            bookmarks: options.allow_watch_bookmarks,
            marks_initial_end: options.send_initial_events == Some(true),
        };
        let machine = Merged::open(whole, &starts).ok_or(Reject::NotAcceptable)?;
        let flow = Flow::Many(Box::new(Many {
            upstream: streams,
            machine,
            parts: Arc::new(parts),
            rights: Rights::new(opener, watched),
            _share: share,
        }));
        Ok(Some(Watching::Open(Box::new(Opened {
            head: response,
            flow,
            holder,
            human,
        }))))
    }
}

impl Proxy {
    /// The API server's refusal to watch, where he may list and not watch what he holds: to list again would bring it back,
    /// and nothing else.
    async fn unwatchable(
        &self,
        exchange: &Exchange,
        opener: &Opener,
        lost: &[usize],
    ) -> Result<Option<Response<Body>>, Reject> {
        for at in lost {
            if opener.may_list(*at).await != Some(true) {
                continue;
            }
            let Some(watch) = opener.legs.watch(*at, Start::Client) else {
                continue;
            };
            let request = self.authorized(exchange, watch)?;
            let response = self.on.upstream.send(request, crate::body::empty()).await?;
            if response.status() == StatusCode::FORBIDDEN {
                return answer::forwarded(&exchange.what, response)
                    .map(Some)
                    .map_err(Reject::Answer);
            }
        }
        Ok(None)
    }
}

/// What a client holds that goes on from a list of `held`, by one list of metadata in each of these namespaces, as himself.
/// `None` if that can no longer be said, or is too much to remember.
async fn held_objects(opener: &Arc<Opener>, held: Option<&Parts>) -> Option<Vec<ObjectMeta>> {
    let Some(held) = held else {
        return Some(Vec::new());
    };
    let namespaces = opener.legs.namespaces().iter().enumerate();
    let known = namespaces.filter(|(_, name)| held.of(name) == Held::Objects);
    let known: Vec<usize> = known.map(|(at, _)| at).collect();
    let asking = known.into_iter().map(|at| {
        let opener = Arc::clone(opener);
        async move { opener.held(at).await }
    });
    let mut asked = futures_util::stream::iter(asking).buffered(IN_FLIGHT);
    let mut objects = Vec::new();
    while let Some(part) = asked.next().await {
        match part {
            Ok(Some(part)) if objects.len() + part.len() <= MAX_HELD => objects.extend(part),
            Ok(Some(_too_many)) => return None,
            Ok(None) => return None,
            Err(reject) => {
                reject.log();
                return None;
            }
        }
    }
    Some(objects)
}

/// What became of the legs.
enum Answers {
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
) -> Result<Answers, Reject> {
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
            WatchLeg::Answer(response) => return Ok(Answers::Answer(response)),
        }
        if is_expired && opened.last().is_some_and(Option::is_some) {
            break;
        }
    }
    Ok(Answers::Streams(opened))
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
