//! One request and its answer, and what is tried again: what was not sent, what the server says it did not look at,
//! and reads. Nothing else ever is.

use std::sync::atomic::Ordering;

use http::Method;
use http::Request;
use http::Response;
use http::Uri;
use http::header;
use http_body::Body as _;

use super::Authorized;
use super::Cause;
use super::SendError;
use super::Upstream;
use super::answer;
use super::answer::Carrier;
use super::connect::Offer;
use super::dial;
use super::dial::Then;
use super::error::Unanswered;
use super::pool::Lease;
use super::replay::Replay;
use super::streams::Place;
use super::streams::Streams;
use crate::body;
use crate::body::Body;

/// On how many connections a request is tried that may be tried again. Connections end in droves when an API server
/// does, new ones among them.
const TRIES: usize = 3;

impl Upstream {
    /// On an HTTP/1.1 connection: the `kept` one, or a new one.
    pub(super) async fn send_pooled(
        &self,
        request: Authorized,
        body: Body,
        mut kept: Option<Lease>,
    ) -> Result<Response<Body>, SendError> {
        let mut request = self.http1_request(request, body);
        let mut tries = 1;
        loop {
            let lease = match kept.take() {
                Some(lease) => lease,
                None => self.fresh().await.map_err(SendError::NotSent)?,
            };
            let copy = harmless_copy(&request);
            match lease.send(request).await {
                Ok((answer, lease)) => {
                    return Ok(answer::carried(answer, lease.map(Carrier::Pooled)));
                }
                Err(unanswered) => request = once_more(unanswered, copy, tries)?,
            }
            tries += 1;
            self.stats.repeated.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A new connection for reads.
    async fn fresh(&self) -> Result<Lease, Cause> {
        let io = self.dialer.connector.connect(Offer::Http1).await?;
        let open = self.stats.read_connections.open();
        let sender = dial::http1(io, Then::Http, &self.dialer.tasks, open).await?;
        Ok(self.reads.lease(sender))
    }

    /// On a stream of an HTTP/2 connection; where the API server has none, as [`Self::send_pooled`].
    pub(super) async fn send_counted(
        &self,
        streams: &Streams,
        request: Authorized,
        body: Body,
    ) -> Result<Response<Body>, SendError> {
        if streams.without_http2() {
            return self.send_pooled(request, body, self.reads.take()).await;
        }
        let harmless = request.method == Method::GET;
        let replay = Replay::new(body);
        let mut last = SendError::NotSent(Cause::Closed);
        for attempt in 0..TRIES {
            let copy = if harmless {
                Some(body::empty())
            } else {
                replay.copy()
            };
            let Some(body) = copy else { break };
            if attempt > 0 {
                self.stats.repeated.fetch_add(1, Ordering::Relaxed);
            }
            let lease = match streams.place(&self.dialer).await {
                Ok(Place::Stream(lease)) => lease,
                Ok(Place::Connection(sender)) => {
                    let lease = self.reads.lease(sender);
                    return Box::pin(self.send_pooled(request, body, Some(lease))).await;
                }
                Err(cause) if cause.is_an_end() => {
                    last = SendError::NotSent(cause);
                    continue;
                }
                Err(cause) => return Err(SendError::NotSent(cause)),
            };
            let request_on_stream = self.http2_request(&request, body);
            match lease.send(request_on_stream).await {
                Ok(answer) => {
                    let carrier = Carrier::Stream { _lease: lease };
                    return Ok(answer::carried(answer, Some(carrier)));
                }
                Err(Unanswered::Untouched(cause, _) | Unanswered::NotProcessed(cause)) => {
                    last = SendError::NotSent(cause);
                }
                Err(Unanswered::Unknown(cause)) => {
                    last = SendError::Lost(cause);
                    if !harmless {
                        break;
                    }
                }
            }
        }
        Err(last)
    }

    pub(super) fn http1_request(&self, authorized: Authorized, body: Body) -> Request<Body> {
        let mut request = Request::new(body);
        *request.method_mut() = authorized.method;
        *request.uri_mut() = Uri::from(authorized.target);
        *request.headers_mut() = authorized.headers;
        request
            .headers_mut()
            .insert(header::HOST, self.host.clone());
        request
    }

    fn http2_request(&self, authorized: &Authorized, body: Body) -> Request<Body> {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.target.scheme().clone());
        parts.authority = Some(self.target.authority().clone());
        parts.path_and_query = Some(authorized.target.clone());
        let mut request = Request::new(body);
        *request.method_mut() = authorized.method.clone();
        // All three parts are there, which is all that could be missing.
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
        *request.headers_mut() = authorized.headers.clone();
        request
    }
}

/// A copy of a request that may be sent twice: a GET without a body changes nothing (RFC 9110 §9.2.2). Go's client,
/// which is what the API server otherwise sees, repeats such a request when a kept connection turns out closed.
fn harmless_copy(request: &Request<Body>) -> Option<Request<Body>> {
    if request.method() != Method::GET || !request.body().is_end_stream() {
        return None;
    }
    let mut copy = Request::new(body::empty());
    *copy.method_mut() = Method::GET;
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

/// The request that an HTTP/1.1 connection failed to carry, if it may be sent on another.
fn once_more(
    unanswered: Unanswered,
    copy: Option<Request<Body>>,
    tries: usize,
) -> Result<Request<Body>, SendError> {
    match unanswered {
        Unanswered::Untouched(_, Some(request)) if tries < TRIES => Ok(*request),
        Unanswered::Untouched(cause, _) | Unanswered::NotProcessed(cause) => {
            Err(SendError::NotSent(cause))
        }
        Unanswered::Unknown(cause) => copy.filter(|_| tries < TRIES).ok_or(SendError::Lost(cause)),
    }
}
