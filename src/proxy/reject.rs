//! From whatever stopped a request to the `Status` its client gets: the only table of its kind.
//!
//! The caller gets a sentence with the next step, the log the chain of causes. Never a path, a host, a claim's value or
//! another user's name to a caller.

use http::HeaderValue;
use http::Response;
use http::StatusCode;
use http::header;

use crate::authn;
use crate::body::Body;
use crate::body::BoxError;
use crate::body::full;
use crate::k8s::request::BadRequest;
use crate::k8s::status::Reason;
use crate::k8s::status::Status;
use crate::k8s::websocket::BadHandshake;
use crate::policy::Refusal;
use crate::upstream::Hostile;
use crate::upstream::SendError;
use crate::upstream::Unsendable;

/// Why a request got an answer of ours instead of the API server's.
#[derive(Debug, thiserror::Error)]
pub enum Reject {
    /// The request line or a parameter.
    #[error("bad request")]
    Request(#[from] BadRequest),
    /// Headers that try to be somebody else.
    #[error("hostile headers")]
    Hostile(#[from] Hostile),
    /// A WebSocket that cannot be agreed to.
    #[error("bad handshake")]
    Handshake(#[from] BadHandshake),
    /// Nobody is known to be asking.
    #[error("not authenticated")]
    Authn(#[from] authn::Failure),
    /// The decision was no.
    #[error("refused: {}", .0.reason())]
    Refused(Refusal),
    /// Nothing in the client's `Accept` can be narrowed.
    #[error("no acceptable media type")]
    NotAcceptable,
    /// Too many requests and streams of one identity at once.
    #[error("too many streams of one identity")]
    TooMany,
    /// Informers or catalog are not complete yet.
    #[error("not ready")]
    NotReady,
    /// The facts a narrowed answer rests on are too old.
    #[error("stale facts")]
    Stale,
    /// The scope changed again and again while the request was under way.
    #[error("the scope would not settle")]
    Unsettled,
    /// The answer did not come.
    #[error("upstream")]
    Send(#[from] SendError),
    /// An answer broke off before any of it went to the client.
    #[error("the answer broke off")]
    Lost(#[source] BoxError),
    /// What was to be sent broke an invariant; nothing was sent.
    #[error("unsendable")]
    Unsendable(#[from] Unsendable),
    /// The API server's answer cannot be passed on.
    #[error("unusable answer: {0}")]
    Answer(BadAnswer),
    /// The API server's own refusal of something we asked on the user's behalf, relayed.
    #[error("relayed {}", .0.code)]
    Relayed(Status),
}

/// Why an answer of the API server cannot be passed on: 502.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// Another type than was asked for.
    #[error("content type")]
    ContentType,
    /// Encoded though nothing was accepted.
    #[error("content encoding")]
    ContentEncoding,
    /// A redirect, which would lead the client's credential elsewhere (CVE-2022-3172).
    #[error("redirect")]
    Redirect,
    /// Neither a switch of protocols nor an error (CVE-2018-1002105, CVE-2020-8559).
    #[error("upgrade")]
    Upgrade,
    /// The reader may not read what it must.
    #[error("the reader was refused")]
    Reader,
    /// Not the document it should be.
    #[error("malformed")]
    Malformed,
}

impl Reject {
    /// The reason in metrics and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Request(_) => "bad_request",
            Self::Hostile(_) => "hostile_headers",
            Self::Handshake(_) => "bad_handshake",
            Self::Authn(failure) => failure.reason(),
            Self::Refused(refusal) => refusal.reason(),
            Self::NotAcceptable => "not_acceptable",
            Self::TooMany => "too_many_streams",
            Self::NotReady => "not_ready",
            Self::Stale => "stale",
            Self::Unsettled => "unsettled",
            Self::Send(SendError::NotSent(_)) => "not_sent",
            Self::Send(SendError::Lost(_)) => "lost",
            Self::Send(SendError::TooSlow) => "too_slow",
            Self::Lost(_) => "lost",
            Self::Unsendable(_) => "unsendable",
            Self::Answer(_) => "bad_answer",
            Self::Relayed(_) => "relayed",
        }
    }

    /// What the client is told.
    pub fn status(&self) -> Status {
        let unavailable = |message: &str| Status {
            retry_after: Some(1),
            ..Status::new(
                StatusCode::SERVICE_UNAVAILABLE,
                Reason::ServiceUnavailable,
                message,
            )
        };
        match self {
            Self::Request(bad) => bad.status(),
            Self::Hostile(hostile) => hostile.status(),
            Self::Handshake(bad) => bad.status(),
            Self::Authn(failure) => failure.status(),
            Self::Refused(refusal) => refusal.status(),
            Self::NotAcceptable => Status::new(
                StatusCode::NOT_ACCEPTABLE,
                Reason::NotAcceptable,
                "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf",
            ),
            Self::TooMany => Status {
                retry_after: Some(1),
                ..Status::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    Reason::TooManyRequests,
                    "too many requests and watches of this user are open at once; close some and try again",
                )
            },
            Self::NotReady => unavailable("the proxy is still reading who may see what; try again"),
            Self::Stale => unavailable(
                "the proxy has lost touch with the API server and does not know who may see what",
            ),
            Self::Unsettled => unavailable("what you may see is changing right now; try again"),
            Self::Send(SendError::NotSent(_)) => {
                unavailable("the API server cannot be reached; try again")
            }
            Self::Send(SendError::Lost(_)) | Self::Lost(_) => Status::new(
                StatusCode::BAD_GATEWAY,
                Reason::InternalError,
                "the connection to the API server was lost; whether the request was carried out is not known",
            ),
            Self::Send(SendError::TooSlow) => Status::new(
                StatusCode::GATEWAY_TIMEOUT,
                Reason::Timeout,
                "the API server did not answer in time",
            ),
            Self::Unsendable(_) => Status::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                Reason::InternalError,
                "the proxy could not make a safe request of this one and sent nothing",
            ),
            Self::Answer(_) => Status::new(
                StatusCode::BAD_GATEWAY,
                Reason::InternalError,
                "the API server's answer was not what was asked for, and is not passed on",
            ),
            Self::Relayed(status) => status.clone(),
        }
    }

    /// The whole answer. The sentence of a 401 stands in a `Warning` header too: kubectl drops the body of a 401 while
    /// its discovery cache is cold.
    pub fn response(&self) -> Response<Body> {
        let status = self.status();
        let mut response = status_response(&status);
        if let Self::Authn(failure) = self {
            response
                .headers_mut()
                .insert(header::WARNING, failure.warning());
        }
        if let Self::Handshake(bad) = self {
            response.headers_mut().extend(bad.header());
        }
        response
    }

    /// Writes the chain of causes into the log, where someone may have to look.
    pub fn log(&self) {
        match self {
            Self::Unsendable(cause) => {
                tracing::error!(
                    error = cause as &dyn std::error::Error,
                    "a permitted request cannot be sent"
                );
            }
            Self::Send(cause) => {
                tracing::warn!(
                    error = cause as &dyn std::error::Error,
                    "the API server did not answer"
                );
            }
            Self::Lost(cause) => {
                tracing::warn!(
                    error = cause.as_ref() as &dyn std::error::Error,
                    "an answer broke off"
                );
            }
            Self::Answer(bad) => tracing::warn!(why = %bad, "an answer cannot be passed on"),
            // About the client's request: the access line says it.
            Self::Request(_)
            | Self::Hostile(_)
            | Self::Handshake(_)
            | Self::Authn(_)
            | Self::Refused(_)
            | Self::NotAcceptable
            | Self::TooMany
            | Self::NotReady
            | Self::Stale
            | Self::Unsettled
            | Self::Relayed(_) => {}
        }
    }
}

/// A `Status` as a response.
pub fn status_response(status: &Status) -> Response<Body> {
    let mut response = Response::new(full(status.to_json()));
    *response.status_mut() = status.code;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, private"),
    );
    if let Some(seconds) = status.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
