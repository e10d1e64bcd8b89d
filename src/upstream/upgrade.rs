//! The wish to switch protocols, and what the API server may say to it. Only a 101 to what was asked becomes a tunnel.

use std::sync::Arc;

use http::HeaderValue;
use http::Response;
use http::StatusCode;
use http::header;
use hyper::body::Incoming;

use super::Authorized;
use super::Cause;
use super::Lane;
use super::SendError;
use super::Tunnel;
use super::Upstream;
use super::answer;
use super::answer::Carrier;
use super::authorized;
use super::connect::Offer;
use super::dial;
use super::dial::Then;
use super::error::Unanswered;
use super::headers;
use super::pool::http1_exchange;
use crate::body;
use crate::body::Body;

/// What the API server said to the wish to switch protocols.
#[derive(Debug)]
pub enum Switch {
    /// 101 to exactly what was asked: the head to answer the client with, and the tunnel to splice.
    Agreed(Response<Body>, Tunnel),
    /// 400 or above: to be relayed. Its connection is closed afterwards.
    Declined(Response<Body>),
    /// Anything else, which is a 502: a redirect is never followed (CVE-2020-8559) and a connection without a 101
    /// never becomes a tunnel (CVE-2018-1002105). The connection is closed.
    Unexpected(StatusCode),
}

impl Upstream {
    /// Asks for a switch of protocols, on a connection of its own. There is no deadline for the answer: a container
    /// runtime may take its time.
    ///
    /// # Errors
    /// [`SendError`], if there is no answer at all.
    pub async fn upgrade(&self, request: Authorized) -> Result<Switch, SendError> {
        let Lane::Dedicated(wanted) = request.lane else {
            return Err(SendError::NotSent(Cause::WrongLane));
        };
        let protocol = authorized::protocol(wanted);
        let connected = self.dialer.connector.connect(Offer::Http1).await;
        let io = connected.map_err(SendError::NotSent)?;
        let open = Arc::new(self.stats.dedicated_connections.open());
        let handshake = dial::http1(io, Then::Upgrade, &self.dialer.tasks, Arc::clone(&open)).await;
        let sender = handshake.map_err(SendError::NotSent)?;
        let request = self.http1_request(request, body::empty());
        let (mut answer, sender) = http1_exchange(sender, request).await.map_err(given_up)?;
        let status = answer.status();
        if status == StatusCode::SWITCHING_PROTOCOLS && names_protocol(&answer, protocol) {
            let upgraded = hyper::upgrade::on(&mut answer).await;
            let upgraded = upgraded.map_err(|error| SendError::Lost(Cause::Http(error)))?;
            return Ok(Switch::Agreed(
                agreement(answer, protocol),
                Tunnel::new(upgraded, open),
            ));
        }
        if status.is_client_error() || status.is_server_error() {
            let carrier = sender.map(|sender| Carrier::Alone { _sender: sender });
            let mut answer = answer::carried(answer, carrier);
            headers::strip_hop_by_hop(answer.headers_mut());
            return Ok(Switch::Declined(answer));
        }
        Ok(Switch::Unexpected(status))
    }
}

fn given_up(unanswered: Unanswered) -> SendError {
    match unanswered {
        Unanswered::Untouched(cause, _) | Unanswered::NotProcessed(cause) => {
            SendError::NotSent(cause)
        }
        Unanswered::Unknown(cause) => SendError::Lost(cause),
    }
}

fn names_protocol(answer: &Response<Incoming>, protocol: &str) -> bool {
    let named = answer.headers().get(header::UPGRADE);
    named.is_some_and(|named| named.as_bytes().eq_ignore_ascii_case(protocol.as_bytes()))
}

/// The 101 for the client: the API server's, with the two headers of the switch set by us.
fn agreement(answer: Response<Incoming>, protocol: &'static str) -> Response<Body> {
    let mut agreement = answer.map(|_switched| body::empty());
    headers::strip_hop_by_hop(agreement.headers_mut());
    let headers = agreement.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(protocol));
    agreement
}
