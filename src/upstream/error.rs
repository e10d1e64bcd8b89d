//! What can go wrong on the way out, and whether it may be tried again.

use std::error::Error;
use std::io;

use http::Request;
use hyper::client::conn::TrySendError;

use crate::body::Body;

/// Why no answer came. Only [`SendError::NotSent`] may be tried again.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Not a byte of the request was acted on.
    #[error("the API server was not reached")]
    NotSent(#[source] Cause),
    /// It was sent, and may have been carried out.
    #[error("the connection to the API server was lost before it answered")]
    Lost(#[source] Cause),
    /// No answer within [`super::Settings::head_timeout`].
    #[error("the API server did not answer in time")]
    TooSlow,
}

/// What went wrong on a connection.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Cause {
    #[error("cannot resolve its name")]
    Resolve(#[source] io::Error),
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    #[error("TLS failed")]
    Tls(#[source] io::Error),
    #[error("connecting took too long")]
    ConnectTimeout,
    #[error("it closed the connection at once")]
    Closed,
    #[error("HTTP failed")]
    Http(#[source] hyper::Error),
    #[error("it switched protocols without being asked")]
    Switched,
    #[error("the request was given to the wrong lane")]
    WrongLane,
}

impl Cause {
    /// Whether a connection was there and ended, so that another may do better at once.
    pub(super) fn is_an_end(&self) -> bool {
        match self {
            Self::Closed | Self::Http(_) => true,
            Self::Resolve(_)
            | Self::Connect(_)
            | Self::Tls(_)
            | Self::ConnectTimeout
            | Self::Switched
            | Self::WrongLane => false,
        }
    }
}

/// How a request failed that was given to a connection.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// Before a byte of it was written.
    Untouched(Cause, Option<Box<Request<Body>>>),
    /// The server says that it did not carry it out.
    NotProcessed(Cause),
    /// Nobody can say.
    Unknown(Cause),
}

impl From<TrySendError<Request<Body>>> for Unanswered {
    fn from(mut error: TrySendError<Request<Body>>) -> Self {
        let request = error.take_message().map(Box::new);
        let error = error.into_error();
        if request.is_some() {
            Self::Untouched(Cause::Http(error), request)
        } else if never_processed(&error) {
            Self::NotProcessed(Cause::Http(error))
        } else {
            Self::Unknown(Cause::Http(error))
        }
    }
}

/// Whether the server said itself that it did not carry a request out: it refused the stream, or went away and named an
/// earlier one as its last (RFC 9113 §8.7). Streams up to that one that break later fail with an I/O error in h2.
///
/// In one case the error is not about the stream: hyper also fails a request whose headers it has just queued when the
/// GOAWAY is read in that very moment (`ClientTask::poll` in hyper `proto/h2/client.rs`), and resets the stream. Its
/// body was not taken then, so what the server may see is a request that never ends, as long as no request is complete
/// without its body having been asked for. [`super::replay`] sees to that.
fn never_processed(error: &hyper::Error) -> bool {
    let Some(error) = error
        .source()
        .and_then(|source| source.downcast_ref::<h2::Error>())
    else {
        return false;
    };
    error.is_remote() && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM))
}
