//! What is not narrowed: as the user, bytes untouched, both ways.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;
use http::HeaderValue;
use http::Response;
use http::StatusCode;
use http::header;
use http_body_util::BodyExt;
use http_body_util::StreamBody;
use tokio::sync::watch;

use super::Proxy;
use super::answer;
use super::exchange::Exchange;
use super::lease::Lease;
use super::narrow::expired;
use super::positions::Holder;
use super::reject::BadAnswer;
use super::reject::Reject;
use crate::body::Body;
use crate::body::BoxError;
use crate::k8s::request::ApiRequest;
use crate::k8s::request::Verb;
use crate::policy;
use crate::policy::Permit;
use crate::policy::Refusal;
use crate::upstream::Authorized;
use crate::upstream::Inbound;
use crate::upstream::Lane;
use crate::upstream::Switch;
use crate::watch::guard::Admit;
use crate::wire::frames::Framing;
use crate::wire::frames::Seam;

impl Proxy {
    /// Sends the request as the user. `None`: decide again, since he has lost the right to see the whole collection.
    ///
    /// `holder` is there for lists and watches of a kind that would be narrowed for others: forwarded answers are not
    /// read, but the guard must know of them.
    pub(super) async fn forward(
        self: &Arc<Self>,
        exchange: &mut Exchange,
        permit: Permit,
        lease: &Lease,
        holder: Option<Holder>,
    ) -> Result<Option<Response<Body>>, Reject> {
        if let Some(holder) = &holder {
            self.ensure_floor(holder).await?;
            let options = exchange.options();
            if is_watch(&exchange.what) {
                match self.positions.admit_watch(holder, &options) {
                    Admit::Pass => {}
                    Admit::Expired => {
                        return Ok(Some(expired(exchange.media(&holder.kind, true)?)));
                    }
                    Admit::NeedsFloor => return Ok(None),
                }
            } else if self.positions.is_under_floor(holder, options.resumes_at())
                && exchange.read_consistently()
            {
                // It continues a store that was expired, and a cache that lags behind may have nothing newer.
                return Ok(None);
            }
        } else if self.resumes_a_fan_out(exchange, Verb::List) && exchange.read_consistently() {
            return Ok(None);
        }
        let lost = self.answers.lost();
        let request = self.authorized(exchange, permit)?;
        match request.lane() {
            Lane::Dedicated(_) => return self.tunnel(exchange, request).await.map(Some),
            Lane::Read | Lane::Write | Lane::Stream => {}
        }
        let response = self.on.upstream.send(request, exchange.take_body()).await?;
        if response.status() == StatusCode::FORBIDDEN
            && policy::asks_own_rights(&exchange.what, &self.on.catalog.load())
            && self
                .answers
                .refused(exchange.caller.who.key(), &exchange.what, Instant::now())
        {
            return Ok(None);
        }
        // Only where the API server lets him watch at all: its refusal is his answer.
        if response.status().is_success()
            && let Some(expired) = self.expired_fan_out(exchange)?
        {
            return Ok(Some(expired));
        }
        // A list that comes back after he would be narrowed is one that the guard knows nothing of: ask again.
        if holder.is_some()
            && !self.would_forward(
                &exchange.caller.who,
                &exchange.what,
                &lease.presence.scope(),
            )
        {
            return Ok(None);
        }
        let response = answer::forwarded(&exchange.what, response).map_err(Reject::Answer)?;
        Ok(Some(match holder {
            Some(_) if exchange.options().watch => {
                self.while_forwarded(exchange, lease, lost, response)
            }
            Some(_) | None if is_watch(&exchange.what) => self.until_draining(response),
            Some(_) => response,
            None => self.once_it_shows(exchange, response).await,
        }))
    }

    /// The answer to a watch over all namespaces that goes on from a list of some of them.
    fn expired_fan_out(&self, exchange: &Exchange) -> Result<Option<Response<Body>>, Reject> {
        let ApiRequest::Resource(request) = exchange.what.as_ref() else {
            return Ok(None);
        };
        if !self.resumes_a_fan_out(exchange, Verb::Watch) {
            return Ok(None);
        }
        let catalog = self.on.catalog.load_full();
        match catalog.kind(&request.resource, &request.version) {
            None => Ok(None),
            Some(kind) => Ok(Some(expired(exchange.media(kind, true)?))),
        }
    }

    /// Whether it is a list or watch over all namespaces that continues what had some of them only.
    fn resumes_a_fan_out(&self, exchange: &Exchange, verb: Verb) -> bool {
        let ApiRequest::Resource(request) = exchange.what.as_ref() else {
            return false;
        };
        let name = exchange.caller.who.name_key();
        request.verb == verb
            && request.namespace.is_none()
            && self
                .positions
                .resumes_a_fan_out(name, &request.resource, &exchange.options())
    }

    /// A request with the client's own headers, as far as they may travel.
    pub(super) fn authorized(
        &self,
        exchange: &Exchange,
        permit: Permit,
    ) -> Result<Authorized, Reject> {
        let inbound = Inbound {
            headers: &exchange.headers,
            peer: exchange.connection.peer.ip(),
            withheld: &[],
        };
        Ok(Authorized::new(
            permit,
            &exchange.caller,
            inbound,
            &self.on.own_token,
        )?)
    }

    /// A forwarded watch of a kind that would be narrowed for others. When the identity's standing or own rights change it
    /// is decided again, and ends where it stands if it would not be forwarded now: what it has shown is then no position
    /// to go on from.
    fn while_forwarded(
        self: &Arc<Self>,
        exchange: &Exchange,
        lease: &Lease,
        lost: watch::Receiver<u64>,
        response: Response<Body>,
    ) -> Response<Body> {
        let (proxy, what) = (Arc::clone(self), Arc::clone(&exchange.what));
        let who = Arc::clone(&exchange.caller.who);
        let (presence, drain) = (lease.presence.clone(), self.on.drain.clone());
        let seam = seam(response.headers());
        response.map(|body| {
            let state = (body, seam, presence, lost);
            let frames = futures_util::stream::unfold(
                state,
                move |(mut body, mut seam, mut presence, mut lost)| {
                    let (proxy, who, what, drain) = (
                        Arc::clone(&proxy),
                        Arc::clone(&who),
                        Arc::clone(&what),
                        drain.clone(),
                    );
                    async move {
                        loop {
                            tokio::select! {
                                biased;
                                _scope = presence.changed() => {}
                                Ok(()) = lost.changed() => {}
                                _until = drain.draining(), if seam.is_between() => return None,
                                frame = body.frame() => {
                                    let frame = passed(frame?, &mut seam);
                                    return Some((frame, (body, seam, presence, lost)));
                                }
                            }
                            if !proxy.would_forward(&who, &what, &presence.scope()) {
                                return None;
                            }
                        }
                    }
                },
            );
            Body::new(StreamBody::new(frames))
        })
    }

    /// Any other watch, which at shutdown ends when it has nothing to say: its client comes back to another replica, and
    /// does not hold this one until it is forced.
    fn until_draining(&self, response: Response<Body>) -> Response<Body> {
        let (drain, seam) = (self.on.drain.clone(), seam(response.headers()));
        response.map(|body| {
            let state = (body, seam, drain);
            let frames =
                futures_util::stream::unfold(state, |(mut body, mut seam, drain)| async move {
                    tokio::select! {
                        biased;
                        frame = body.frame() => {
                            let frame = passed(frame?, &mut seam);
                            Some((frame, (body, seam, drain)))
                        }
                        _until = drain.draining(), if seam.is_between() => None,
                    }
                });
            Body::new(StreamBody::new(frames))
        })
    }

    /// Switches protocols on both sides and splices them, on exactly 101 (CVE-2018-1002105). An error is relayed;
    /// anything else is no answer to this question.
    async fn tunnel(
        &self,
        exchange: &mut Exchange,
        request: Authorized,
    ) -> Result<Response<Body>, Reject> {
        let Some(client) = exchange.take_upgrade() else {
            return Err(Reject::Refused(Refusal::Upgrade));
        };
        match self.on.upstream.upgrade(request).await? {
            Switch::Declined(response) => {
                answer::forwarded(&exchange.what, response).map_err(Reject::Answer)
            }
            Switch::Unexpected(status) => {
                tracing::warn!(
                    code = status.as_u16(),
                    "an upgrade was answered by something else"
                );
                Err(Reject::Answer(BadAnswer::Upgrade))
            }
            Switch::Agreed(response, tunnel) => {
                let drain = self.on.drain.clone();
                self.on.tasks.spawn(async move {
                    match client.await {
                        Ok(client) => {
                            let traffic = tunnel.splice(client, drain.forced()).await;
                            tracing::debug!(up = traffic.up, down = traffic.down, "tunnel ended");
                        }
                        Err(error) => {
                            tracing::debug!(
                                error = &error as &dyn std::error::Error,
                                "the client did not switch"
                            );
                        }
                    }
                });
                Ok(response)
            }
        }
    }
}

/// Where a watch that is passed on may end without half an event at its end.
fn seam(headers: &HeaderMap) -> Seam {
    let names = |name, word: &str| {
        let value = headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok());
        value.is_some_and(|value| value.contains(word))
    };
    if headers.contains_key(header::CONTENT_ENCODING) {
        Seam::Unknown
    } else if names(header::CONTENT_TYPE, "protobuf") {
        Seam::new(Framing::LengthPrefixed)
    } else {
        Seam::new(Framing::Json)
    }
}

type Passed = Result<http_body::Frame<Bytes>, BoxError>;

fn passed(frame: Passed, seam: &mut Seam) -> Passed {
    if let Some(data) = frame.as_ref().ok().and_then(http_body::Frame::data_ref) {
        seam.pass(data);
    }
    frame
}

pub(super) fn is_watch(what: &ApiRequest) -> bool {
    match what {
        ApiRequest::Resource(request) => request.verb == Verb::Watch,
        ApiRequest::NonResource(_) => false,
    }
}
