//! The body of a watch as WebSocket messages: one event each, as the API server sends them. It never makes a message of
//! half an event.

use http::HeaderMap;
use http::HeaderValue;
use http::header;
use http_body_util::BodyExt;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::body::Body;
use crate::body::BoxError;
use crate::k8s::media::Encoding;
use crate::k8s::media::Media;
use crate::proxy::reject::BadAnswer;
use crate::wire::frames::Frame;
use crate::wire::frames::Frames;
use crate::wire::frames::Framing;

/// How a message holds its event (`websocketFramer` in apiserver `pkg/endpoints/handlers/watch.go`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// JSON, with the newline that ends it in a stream, too.
    Text,
    /// Protobuf, without the length that stands before it in a stream.
    Binary,
}

impl Kind {
    /// What the answer with these headers is cut into.
    ///
    /// # Errors
    /// [`BadAnswer`]: a type or encoding that we cannot cut.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, BadAnswer> {
        if headers.contains_key(header::CONTENT_ENCODING) {
            return Err(BadAnswer::ContentEncoding);
        }
        let content_type = headers.get(header::CONTENT_TYPE);
        let content_type = content_type.map(HeaderValue::to_str);
        match content_type.and_then(Result::ok).and_then(Media::of_watch) {
            Some(Encoding::Json) => Ok(Self::Text),
            Some(Encoding::Protobuf) => Ok(Self::Binary),
            Some(Encoding::Yaml) | None => Err(BadAnswer::ContentType),
        }
    }

    fn framing(self) -> Framing {
        match self {
            Self::Text => Framing::Json,
            Self::Binary => Framing::LengthPrefixed,
        }
    }

    fn message(self, frame: &Frame) -> Result<Message, BoxError> {
        Ok(match self {
            Self::Text => Message::Text(Utf8Bytes::try_from(frame.bytes().clone())?),
            Self::Binary => Message::Binary(frame.document()),
        })
    }
}

/// The messages of one watch.
pub(super) struct Messages {
    watch: Body,
    kind: Kind,
    frames: Frames,
    over: bool,
}

impl Messages {
    pub(super) fn new(watch: Body, kind: Kind) -> Self {
        Self {
            watch,
            kind,
            frames: Frames::new(kind.framing()),
            over: false,
        }
    }

    /// The next message; `None` at the end of the watch. Cancel-safe.
    ///
    /// Nothing is read ahead of what the caller asks for: a client that does not read stops the watch by flow control.
    ///
    /// # Errors
    /// When the watch breaks off, or says what cannot be read. There is no more to come then.
    pub(super) async fn next(&mut self) -> Result<Option<Message>, BoxError> {
        loop {
            if let Some(frame) = self.frames.take_next()? {
                return self.kind.message(&frame).map(Some);
            }
            if self.over {
                return Ok(None);
            }
            match self.watch.frame().await.transpose()? {
                Some(frame) => {
                    if let Ok(data) = frame.into_data() {
                        self.frames.push(&data);
                    }
                }
                None => {
                    self.over = true;
                    let last = self.frames.finish();
                    return last.map(|frame| self.kind.message(&frame)).transpose();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::StreamBody;

    use super::*;

    async fn all(kind: Kind, chunks: &[&'static [u8]]) -> (Vec<Message>, bool) {
        let frames: Vec<_> = chunks
            .iter()
            .map(|chunk| match *chunk {
                b"!" => Err(BoxError::from("broken")),
                data => Ok(http_body::Frame::data(data.into())),
            })
            .collect();
        let body = Body::new(StreamBody::new(futures_util::stream::iter(frames)));
        let (mut messages, mut seen) = (Messages::new(body, kind), Vec::new());
        loop {
            match messages.next().await {
                Ok(Some(message)) => seen.push(message),
                Ok(None) => return (seen, true),
                Err(_broken) => return (seen, false),
            }
        }
    }

    #[tokio::test]
    async fn an_event_is_a_message_however_the_bytes_come() {
        let text = |text: &'static str| Message::text(text);
        let binary = |bytes: &'static [u8]| Message::binary(bytes);
        for (kind, chunks, messages, ends) in [
            (
                Kind::Text,
                &[&b"{\"a\":1}\n{\"b\""[..], b":2}\n"][..],
                vec![text("{\"a\":1}\n"), text("{\"b\":2}\n")],
                true,
            ),
            (Kind::Text, &[b"{\"a\":1}"], vec![text("{\"a\":1}")], true),
            (
                Kind::Text,
                &[b"{\"a\":1}\n{\"b\""],
                vec![text("{\"a\":1}\n")],
                true,
            ),
            (
                Kind::Text,
                &[b"{\"a\":1}\n{", b"!"],
                vec![text("{\"a\":1}\n")],
                false,
            ),
            (Kind::Text, &[b"{\"a\":\"\xff\"}\n"], vec![], false),
            (
                Kind::Binary,
                &[b"\0\0", b"\0\x01x\0\0\0\0\0\0\0\x02yz"],
                vec![binary(b"x"), binary(b""), binary(b"yz")],
                true,
            ),
            (Kind::Binary, &[b"\0\0\0\x02y"], vec![], true),
        ] {
            assert_eq!(all(kind, chunks).await, (messages, ends), "{chunks:?}");
        }
    }

    #[test]
    fn only_what_can_be_cut_is_switched_to() {
        for (content_type, encoding, kind) in [
            (Some("application/json"), None, Ok(Kind::Text)),
            (
                Some("application/vnd.kubernetes.protobuf;stream=watch"),
                None,
                Ok(Kind::Binary),
            ),
            (
                Some("application/vnd.kubernetes.protobuf"),
                None,
                Err(BadAnswer::ContentType),
            ),
            (
                Some("application/cbor-seq"),
                None,
                Err(BadAnswer::ContentType),
            ),
            (None, None, Err(BadAnswer::ContentType)),
            (
                Some("application/json"),
                Some("gzip"),
                Err(BadAnswer::ContentEncoding),
            ),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(content_type) = content_type {
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
            }
            if let Some(encoding) = encoding {
                headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
            }
            assert_eq!(Kind::of(&headers), kind, "{content_type:?} {encoding:?}");
        }
    }
}
