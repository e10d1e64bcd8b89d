//! One namespace's list: sent as the user, its beginning read.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::BytesMut;
use http::HeaderMap;
use http::HeaderValue;
use http::Response;
use http::StatusCode;
use http_body_util::BodyExt;

use super::malformed;
use crate::body::Body;
use crate::body::BoxError;
use crate::body::empty;
use crate::filter::part::Part;
use crate::identity::Caller;
use crate::k8s::media::Media;
use crate::policy::Cut;
use crate::policy::Keep;
use crate::policy::Legs;
use crate::policy::Permit;
use crate::policy::Start;
use crate::proxy::answer;
use crate::proxy::ask;
use crate::proxy::follow::noted;
use crate::proxy::reject::BadAnswer;
use crate::proxy::reject::Reject;
use crate::upstream::Authorized;
use crate::upstream::Inbound;
use crate::upstream::OwnToken;
use crate::upstream::Upstream;
use crate::watch::human::MAX_HELD;
use crate::wire::Layout;
use crate::wire::object::ObjectMeta;

/// How much of a leg is read before it is its turn.
const AHEAD: usize = 64 * 1024;

/// Opens legs. Holds what a request upstream is made of.
pub(super) struct Opener {
    pub(super) upstream: Arc<Upstream>,
    pub(super) own_token: Arc<OwnToken>,
    pub(super) caller: Caller,
    pub(super) headers: HeaderMap,
    pub(super) peer: IpAddr,
    pub(super) legs: Legs,
    pub(super) layout: Layout,
    pub(super) media: Media,
}

/// What a namespace said.
pub(super) enum Leg {
    /// Its part.
    Part(Box<OpenPart>),
    /// He may not list it there, or it is gone: its part is nothing.
    Nothing,
    /// Anything else is the answer to the whole.
    Answer(Response<Body>),
}

/// What a namespace said to a watch.
pub(super) enum WatchLeg {
    /// Its stream.
    Stream(Response<Body>),
    /// He may not watch it there, or it is gone.
    Nothing,
    /// Anything else is the answer to the whole.
    Answer(Response<Body>),
}

/// A part under way: what was read of it ahead, and the rest.
pub(super) struct OpenPart {
    pub(super) head: http::response::Parts,
    /// At most so many items were asked for.
    pub(super) limit: Option<i64>,
    body: Body,
    pub(super) part: Part,
    /// Items read and not given out yet.
    pub(super) out: BytesMut,
    /// Whether all of it is read.
    pub(super) whole: bool,
    /// Whether anything of it was given out.
    pub(super) given: bool,
}

impl std::ops::Deref for OpenPart {
    type Target = Part;

    fn deref(&self) -> &Part {
        &self.part
    }
}

impl Opener {
    /// Sends the watch of leg number `at`.
    pub(super) async fn open_watch(&self, at: usize, start: Start) -> Result<WatchLeg, Reject> {
        let Some(permit) = self.legs.watch(at, start) else {
            return Ok(WatchLeg::Nothing);
        };
        let accept = HeaderValue::from_static(self.media.accept(true));
        let request = self.authorized(permit)?.with_accept(accept);
        let (head, body) = self.upstream.send(request, empty()).await?.into_parts();
        match head.status {
            StatusCode::OK => {}
            StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => return Ok(WatchLeg::Nothing),
            status if status.is_client_error() || status.is_server_error() => {
                return Ok(WatchLeg::Answer(Response::from_parts(head, body)));
            }
            _ => return Err(Reject::Answer(BadAnswer::ContentType)),
        }
        answer::readable(&head, self.media, true).map_err(Reject::Answer)?;
        Ok(WatchLeg::Stream(Response::from_parts(head, body)))
    }

    /// What the client of a watch holds of leg number `at`. `None` if that can no longer be said.
    pub(super) async fn held(&self, at: usize) -> Result<Option<Vec<ObjectMeta>>, Reject> {
        let Some(permit) = self.legs.seed(at) else {
            return Ok(Some(Vec::new()));
        };
        let media = Media::PARTIAL_METADATA;
        let accept = HeaderValue::from_static(media.accept(false));
        let request = self.authorized(permit)?.with_accept(accept);
        let (head, body) = self.upstream.send(request, empty()).await?.into_parts();
        if head.status != StatusCode::OK {
            return Ok(None);
        }
        answer::readable(&head, media, false).map_err(Reject::Answer)?;
        noted(body, Keep::Everything, MAX_HELD).await.map(Some)
    }

    /// Whether he may now do in leg number `at` what the whole asks for; `None` if nobody says.
    pub(super) async fn may(&self, at: usize) -> Option<bool> {
        self.answer(self.legs.review(at)?).await
    }

    /// The same for whether he may list there.
    pub(super) async fn may_list(&self, at: usize) -> Option<bool> {
        self.answer(self.legs.review_of_lists(at)?).await
    }

    async fn answer(&self, (permit, review): (Permit, Vec<u8>)) -> Option<bool> {
        let asked = ask::allowed(
            &self.upstream,
            &self.own_token,
            &self.caller,
            self.peer,
            permit,
            review,
        );
        asked.await.ok()
    }

    fn authorized(&self, permit: Permit) -> Result<Authorized, Reject> {
        let inbound = Inbound {
            headers: &self.headers,
            peer: self.peer,
            withheld: &[],
        };
        Ok(Authorized::new(
            permit,
            &self.caller,
            inbound,
            &self.own_token,
        )?)
    }

    /// Sends leg number `at`, and reads the beginning of its answer.
    pub(super) async fn open(&self, at: usize, cut: Cut) -> Result<Leg, Reject> {
        let limit = cut.limit;
        let Some(permit) = self.legs.permit(at, cut) else {
            return Ok(Leg::Nothing);
        };
        let accept = HeaderValue::from_static(self.media.accept(false));
        let request = self.authorized(permit)?.with_accept(accept);
        let (head, body) = self.upstream.send(request, empty()).await?.into_parts();
        match head.status {
            StatusCode::OK => {}
            StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => return Ok(Leg::Nothing),
            status if status.is_client_error() || status.is_server_error() => {
                return Ok(Leg::Answer(Response::from_parts(head, body)));
            }
            _ => return Err(Reject::Answer(BadAnswer::ContentType)),
        }
        answer::readable(&head, self.media, false).map_err(Reject::Answer)?;
        let mut part = OpenPart {
            head,
            limit,
            body,
            part: Part::new(self.layout),
            out: BytesMut::new(),
            whole: false,
            given: false,
        };
        while !part.whole && part.out.len() < AHEAD {
            part.read().await?;
        }
        Ok(Leg::Part(Box::new(part)))
    }
}

impl OpenPart {
    /// Reads on: one frame, or the end.
    pub(super) async fn read(&mut self) -> Result<(), Reject> {
        match self.body.frame().await {
            Some(Ok(frame)) => match frame.data_ref() {
                Some(data) => self.part.push(data, &mut self.out).map_err(malformed),
                None => Ok(()),
            },
            Some(Err(cause)) => Err(Reject::Lost(cause)),
            None if self.part.is_whole() => {
                self.whole = true;
                Ok(())
            }
            None => Err(Reject::Lost(BoxError::from("a part ends too early"))),
        }
    }
}
