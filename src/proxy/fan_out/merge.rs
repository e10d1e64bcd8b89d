//! The parts put together: items in order, then what the list says about itself.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use bytes::BytesMut;
use futures_util::StreamExt;
use http::Response;
use http_body::Frame;
use http_body_util::StreamBody;

use super::FirstPart;
use super::IN_FLIGHT;
use super::Rest;
use super::leg::Leg;
use super::leg::OpenPart;
use super::leg::Opener;
use super::rest;
use crate::body::Body;
use crate::body::BoxError;
use crate::body::full;
use crate::filter::part::Envelope;
use crate::k8s::names::Namespace;
use crate::policy::Cut;
use crate::policy::From;
use crate::proxy::parts::Parts;
use crate::proxy::reject::Reject;
use crate::wire::Layout;

/// A list that is no longer than this goes out whole.
const SMALL: usize = 64 * 1024;

/// The list under way.
pub(super) struct Merge {
    opener: Arc<Opener>,
    /// Which leg is next.
    next: usize,
    current: Option<Box<OpenPart>>,
    ahead: VecDeque<Leg>,
    rest: Rest,
    /// Items that still fit into the page.
    left: Option<i64>,
    /// The state all legs show; `None`: each its own, and the whole begins at the earliest.
    version: Option<String>,
    /// The namespaces that have shown their part, and those that had none for him.
    parts: Parts,
    /// What the first part says about kind and columns.
    envelope: Option<Envelope>,
    wrote_item: bool,
    begun: bool,
    end: Option<End>,
}

/// Why the list does not come to its end.
pub(super) enum Failed {
    /// A namespace was answered with something that is no list. It is the answer to the whole, while none is out.
    Answer(Response<Body>),
    Reject(Reject),
}

impl std::convert::From<Reject> for Failed {
    fn from(reject: Reject) -> Self {
        Self::Reject(reject)
    }
}

impl Failed {
    /// Where the head is out: what looks whole must be whole, so the connection is cut.
    fn cut(self) -> BoxError {
        match self {
            Self::Answer(response) => {
                format!("a part was answered with {}", response.status()).into()
            }
            Self::Reject(reject) => reject.into(),
        }
    }
}

/// Where the list ends.
#[derive(Clone)]
enum End {
    Complete,
    /// The page is full. The next one begins here.
    Page(Namespace, Option<String>),
}

impl Merge {
    pub(super) fn new(first: FirstPart, opener: Arc<Opener>, limit: Option<i64>) -> Self {
        let (next, version) = (first.at + 1, first.version);
        let mut parts = Parts::default();
        let asked = opener.legs.namespaces().iter().enumerate();
        for (at, namespace) in asked.skip(first.from).take(next - first.from) {
            parts.note(namespace, at == first.at);
        }
        Self {
            parts,
            rest: rest(&opener, next, version.as_deref(), limit),
            opener,
            next,
            current: Some(first.part),
            ahead: VecDeque::new(),
            left: limit,
            version,
            envelope: None,
            wrote_item: false,
            begun: false,
            end: None,
        }
    }

    /// Waits for as many legs as may be under way, and puts together as much as goes out in one piece.
    pub(super) async fn beginning(&mut self) -> Result<BytesMut, Failed> {
        let is_full = self
            .current
            .as_ref()
            .is_some_and(|part| part.envelope.continued.is_some());
        while !is_full && self.ahead.len() < IN_FLIGHT {
            match self.rest.next().await.transpose()? {
                None => break,
                Some(Leg::Answer(response)) => return Err(Failed::Answer(response)),
                Some(leg) => self.ahead.push_back(leg),
            }
        }
        let mut beginning = BytesMut::new();
        while beginning.len() < SMALL
            && let Some(chunk) = self.chunk().await?
        {
            beginning.extend_from_slice(&chunk);
        }
        Ok(beginning)
    }

    /// The list as a body that begins with `beginning`. `seal` makes a page token, `issue` is told before the last byte
    /// goes out of which version and namespaces it was, and whether that is all, and says which version the client is told.
    pub(super) fn into_body(
        mut self,
        mut beginning: BytesMut,
        seal: impl Fn(Namespace, Option<String>) -> String + Send + 'static,
        issue: impl Fn(String, Parts, bool) -> String + Send + 'static,
    ) -> Body {
        let close = move |merge: &mut Self| merge.close(&seal, &issue);
        if self.end.is_some() {
            beginning.extend_from_slice(&close(&mut self));
            return full(beginning.freeze());
        }
        let state = Some((self, beginning.freeze(), close));
        let chunks = futures_util::stream::try_unfold(state, |state| async move {
            let Some((mut merge, beginning, close)) = state else {
                return Ok::<_, BoxError>(None);
            };
            if !beginning.is_empty() {
                let state = Some((merge, Bytes::new(), close));
                return Ok(Some((Frame::data(beginning), state)));
            }
            Ok(Some(match merge.chunk().await.map_err(Failed::cut)? {
                Some(chunk) => (Frame::data(chunk), Some((merge, Bytes::new(), close))),
                None => (Frame::data(close(&mut merge)), None),
            }))
        });
        Body::new(StreamBody::new(Box::pin(chunks)))
    }

    /// The next items; `None` when there are no more.
    async fn chunk(&mut self) -> Result<Option<Bytes>, Failed> {
        if !self.begun {
            self.begun = true;
            let begin: &[u8] = match self.opener.layout {
                Layout::Table => br#"{"rows":["#,
                Layout::Json | Layout::Protobuf => br#"{"items":["#,
            };
            return Ok(Some(Bytes::from_static(begin)));
        }
        while self.end.is_none() {
            let Some(part) = &mut self.current else {
                self.turn().await?;
                continue;
            };
            // Blanks before the first item wait for it, since the comma stands before both.
            if part.items > 0 && !part.out.is_empty() {
                let mut chunk = BytesMut::new();
                if std::mem::replace(&mut self.wrote_item, true) && !part.given {
                    chunk.extend_from_slice(b",");
                }
                part.given = true;
                chunk.extend_from_slice(&part.out.split());
                return Ok(Some(chunk.freeze()));
            }
            if !part.whole {
                part.read().await?;
                continue;
            }
            if let Some(part) = self.current.take() {
                self.finish(part);
            }
        }
        Ok(None)
    }

    /// A part is read to its end.
    fn finish(&mut self, part: Box<OpenPart>) {
        let namespace = self.opener.legs.namespaces().get(self.next - 1).cloned();
        let items = i64::try_from(part.items).unwrap_or(i64::MAX);
        self.left = self.left.map(|left| left.saturating_sub(items));
        let envelope = part.part.into_envelope();
        if self.version.is_none() {
            // Legs at different states: whoever goes on from the earliest of them misses nothing.
            self.envelope = Some(earliest(self.envelope.take(), &envelope));
        }
        let continued = envelope.continued.clone();
        if self.envelope.is_none() {
            self.envelope = Some(envelope);
        }
        self.end = match (namespace, continued, self.left) {
            (Some(namespace), Some(native), _) => Some(End::Page(namespace, Some(native))),
            (_, _, Some(..=0)) => match self.opener.legs.namespaces().get(self.next) {
                Some(next) => Some(End::Page(next.clone(), None)),
                None => Some(End::Complete),
            },
            (_, _, _) => None,
        };
    }

    /// The next leg is in turn.
    async fn turn(&mut self) -> Result<(), Failed> {
        let leg = match self.ahead.pop_front() {
            Some(leg) => leg,
            None => match self.rest.next().await.transpose()? {
                Some(leg) => leg,
                None => {
                    self.end = Some(End::Complete);
                    return Ok(());
                }
            },
        };
        let at = self.next;
        self.next += 1;
        match leg {
            Leg::Nothing => {}
            Leg::Part(part) => self.current = self.fitting(part, at).await?,
            Leg::Answer(response) => return Err(Failed::Answer(response)),
        }
        if let Some(namespace) = self.opener.legs.namespaces().get(at) {
            self.parts.note(namespace, self.current.is_some());
        }
        Ok(())
    }

    /// The part as it fits into the page: itself, or its beginning asked for anew. Legs are asked for as many items as
    /// a page has, since nobody knows yet what those before them will bring.
    async fn fitting(
        &mut self,
        part: Box<OpenPart>,
        at: usize,
    ) -> Result<Option<Box<OpenPart>>, Failed> {
        let Some(left) = self.left else {
            return Ok(Some(part));
        };
        let fits = part.whole
            && part.envelope.continued.is_none()
            && i64::try_from(part.items).is_ok_and(|items| items <= left);
        if fits || part.limit.is_some_and(|limit| limit <= left) {
            return Ok(Some(part));
        }
        let from = self.version.clone().map_or(From::Client, From::Exactly);
        let limit = Some(left);
        match self.opener.open(at, Cut { from, limit }).await? {
            Leg::Part(part) => Ok(Some(part)),
            Leg::Nothing => Ok(None),
            Leg::Answer(response) => Err(Failed::Answer(response)),
        }
    }

    /// What stands behind the items.
    fn close(
        &mut self,
        seal: &dyn Fn(Namespace, Option<String>) -> String,
        issue: &dyn Fn(String, Parts, bool) -> String,
    ) -> Bytes {
        let mut close = BytesMut::from(&b"]"[..]);
        let envelope = self.envelope.take().unwrap_or_default();
        let mut member = |name: &str, value: &[u8]| {
            if !value.is_empty() {
                close.extend_from_slice(format!(",\"{name}\":").as_bytes());
                close.extend_from_slice(value);
            }
        };
        member("kind", &envelope.kind);
        member("apiVersion", &envelope.api_version);
        member("columnDefinitions", &envelope.columns);
        let mut metadata = serde_json::Map::new();
        if let Some(version) = self.version.take().or(envelope.resource_version) {
            let complete = !matches!(self.end, Some(End::Page(..)));
            let version = issue(version, std::mem::take(&mut self.parts), complete);
            metadata.insert("resourceVersion".to_owned(), version.into());
        }
        if let Some(End::Page(namespace, native)) = self.end.take() {
            metadata.insert("continue".to_owned(), seal(namespace, native).into());
        }
        let metadata = serde_json::Value::Object(metadata).to_string();
        member("metadata", metadata.as_bytes());
        close.extend_from_slice(b"}\n");
        close.freeze()
    }
}

/// `known`, with the earlier of both versions; without one where they do not compare.
fn earliest(known: Option<Envelope>, other: &Envelope) -> Envelope {
    let Some(mut known) = known else {
        return other.clone();
    };
    let number = |envelope: &Envelope| -> Option<u128> {
        envelope.resource_version.as_deref()?.parse().ok()
    };
    known.resource_version = match (number(&known), number(other)) {
        (Some(one), Some(other)) => Some(one.min(other).to_string()),
        (_, _) => None,
    };
    known
}
