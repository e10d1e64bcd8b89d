//! The body of an answer on its way to the client, and the connection or stream it holds until it ends.

use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

use bytes::Bytes;
use http::Response;
use http_body::Body as _;
use http_body::Frame;
use http_body::SizeHint;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;

use super::pool::Lease;
use super::streams::StreamLease;
use crate::body::Body;
use crate::body::BoxError;

/// What carries an answer.
pub(super) enum Carrier {
    /// Goes back to the pool when the body has come to its end, and is closed when it is dropped before.
    Pooled(Lease),
    /// Its stream is reset when the body is dropped before its end (hyper does that), and counted until then.
    Stream {
        /// Held only.
        _lease: StreamLease,
    },
    /// Is closed with the body.
    Alone {
        /// Held only: a connection whose sender is gone takes it for the client's wish to end.
        _sender: SendRequest<Body>,
    },
}

/// `answer`, streamed; without a carrier if its connection has ended already. Nothing of it is held but what the reader asks for next.
pub(super) fn carried(answer: Response<Incoming>, carrier: Option<Carrier>) -> Response<Body> {
    answer.map(|inner| {
        let mut body = Carried { inner, carrier };
        body.release_at_end();
        body.boxed_unsync()
    })
}

struct Carried {
    inner: Incoming,
    carrier: Option<Carrier>,
}

impl Carried {
    /// A server stops asking for frames once it knows that no more will come, so the end is looked for after each.
    fn release_at_end(&mut self) {
        if self.inner.is_end_stream() {
            self.release();
        }
    }

    fn release(&mut self) {
        match self.carrier.take() {
            Some(Carrier::Pooled(lease)) => lease.give_back(),
            Some(Carrier::Stream { .. } | Carrier::Alone { .. }) | None => {}
        }
    }
}

impl http_body::Body for Carried {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        match &polled {
            Poll::Pending => {}
            Poll::Ready(None) => self.release(),
            Poll::Ready(Some(Ok(_))) => self.release_at_end(),
            // Whatever ended it, the connection is not to be used again.
            Poll::Ready(Some(Err(_))) => drop(self.carrier.take()),
        }
        polled.map_err(BoxError::from)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
