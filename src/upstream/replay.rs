//! A request's body that can be sent once more from its beginning, as long as it is small.
//!
//! A server that goes away says which requests it did not look at; by then their bodies may be on the wire. Go's
//! client rewinds them, and so do we, up to a bound. It never holds more than that, and never sends a body twice at
//! the same time.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::task::Context;
use std::task::Poll;

use bytes::Bytes;
use http_body::Frame;
use http_body::SizeHint;
use http_body_util::BodyExt;

use crate::body::Body;
use crate::body::BoxError;

/// What is kept of a body. Most objects are smaller; of a larger one the client hears that it was not sent.
const KEPT: usize = 64 * 1024;

/// The source of a body's copies.
#[derive(Clone)]
pub(super) struct Replay(Arc<Mutex<Source>>);

struct Source {
    body: Body,
    kept: Vec<Bytes>,
    /// Whether `kept` is all that was read so far.
    whole: bool,
    /// Which copy may read. Another one may still be in the hands of a connection that ends.
    current: u32,
}

impl Replay {
    pub(super) fn new(body: Body) -> Self {
        Self(Arc::new(Mutex::new(Source {
            body,
            kept: Vec::new(),
            whole: true,
            current: 0,
        })))
    }

    /// The body from its beginning, if that is still there. Copies made before end with an error.
    pub(super) fn copy(&self) -> Option<Body> {
        let mut source = self.source();
        if !source.whole {
            return None;
        }
        source.current += 1;
        let copy = Copy {
            source: self.clone(),
            number: source.current,
            next: 0,
            ended: false,
        };
        drop(source);
        Some(copy.boxed_unsync())
    }

    fn source(&self) -> MutexGuard<'_, Source> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Copy {
    source: Replay,
    number: u32,
    next: usize,
    ended: bool,
}

impl http_body::Body for Copy {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let mut source = this.source.source();
        if source.current != this.number {
            return Poll::Ready(Some(Err(
                "the request was sent on another connection".into()
            )));
        }
        if let Some(piece) = source.kept.get(this.next) {
            this.next += 1;
            return Poll::Ready(Some(Ok(Frame::data(piece.clone()))));
        }
        let polled = Pin::new(&mut source.body).poll_frame(cx);
        this.ended = matches!(polled, Poll::Ready(None));
        if let Poll::Ready(Some(read)) = &polled {
            match read.as_ref().map(Frame::data_ref) {
                Ok(Some(piece)) if source.keep(piece) => this.next += 1,
                // Too much, trailers, or a failure: what follows cannot be repeated.
                Ok(_) | Err(_) => source.forget(),
            }
        }
        polled
    }

    /// Not before the end was asked for, even if nothing is left: a request must not be complete upstream before its
    /// body is taken, see [`super::error::never_processed`].
    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        let source = self.source.source();
        let kept: usize = source.kept.iter().skip(self.next).map(Bytes::len).sum();
        let rest = source.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + kept as u64);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + kept as u64);
        }
        hint
    }
}

impl Source {
    fn keep(&mut self, piece: &Bytes) -> bool {
        let size: usize = self.kept.iter().map(Bytes::len).sum();
        let fits = self.whole && size + piece.len() <= KEPT;
        if fits {
            self.kept.push(piece.clone());
        }
        fits
    }

    fn forget(&mut self) {
        self.whole = false;
        self.kept = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use http_body::Body as _;

    use super::*;
    use crate::body;

    fn pieces(pieces: &[&'static str]) -> Body {
        let frames: Vec<_> = pieces
            .iter()
            .map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes()))))
            .collect();
        http_body_util::StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync()
    }

    async fn read(body: Body) -> Result<String, BoxError> {
        let bytes = body.collect().await?.to_bytes();
        Ok(String::from_utf8(bytes.to_vec())?)
    }

    #[tokio::test]
    async fn a_small_body_is_sent_again_from_its_beginning() {
        let replay = Replay::new(pieces(&["a", "b", "c"]));
        let mut first = replay.copy().unwrap();
        first.frame().await.unwrap().unwrap();
        first.frame().await.unwrap().unwrap();
        let second = replay.copy().unwrap();
        assert!(
            first.frame().await.unwrap().is_err(),
            "the old copy takes nothing from the new one"
        );
        assert_eq!(read(second).await.unwrap(), "abc");
        assert_eq!(read(replay.copy().unwrap()).await.unwrap(), "abc");
    }

    #[tokio::test]
    async fn a_copy_tells_the_whole_length() {
        let replay = Replay::new(body::full("abc"));
        let mut first = replay.copy().unwrap();
        assert_eq!(first.size_hint().exact(), Some(3));
        first.frame().await.unwrap().unwrap();
        assert_eq!(first.size_hint().exact(), Some(0));
        let second = replay.copy().unwrap();
        assert_eq!(second.size_hint().exact(), Some(3));
    }

    #[tokio::test]
    async fn even_an_empty_body_ends_only_when_its_end_is_taken() {
        let mut copy = Replay::new(body::empty()).copy().unwrap();
        assert_eq!(copy.size_hint().exact(), Some(0));
        assert!(!copy.is_end_stream());
        assert!(copy.frame().await.is_none());
        assert!(copy.is_end_stream());
    }

    #[tokio::test]
    async fn a_large_body_is_passed_on_and_not_kept() {
        let large = vec![b'x'; KEPT + 1];
        let replay = Replay::new(body::full(large.clone()));
        let read = replay.copy().unwrap().collect().await.unwrap().to_bytes();
        assert_eq!(read, large);
        assert!(replay.copy().is_none());
    }
}
