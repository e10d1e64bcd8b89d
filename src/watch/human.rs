//! A watch that a human reads (`kubectl get -w`, Lens). When what he may see changes it goes on, and shows the change
//! itself: ADDED for what came into sight, DELETED for what was taken away.
//!
//! It stands behind the machines that judge frames, and knows what its client holds. When the stream under it is replaced by
//! one that begins with the present state, it lets through what is new to the client and takes back what did not come
//! again. It has no socket and no clock. What it makes up says nothing that the client does not know.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;

use super::header::Header;
use super::made::ObjectKind;
use super::made::gone_frame;
use super::splice;
use crate::filter;
use crate::filter::RowObjects;
use crate::k8s::media::Media;
use crate::wire::Broken;
use crate::wire::Layout;
use crate::wire::event::Event;
use crate::wire::event::EventType;
use crate::wire::event::type_bytes;
use crate::wire::frames::Frame;
use crate::wire::frames::Framing;
use crate::wire::object::ObjectMeta;
use crate::wire::object::Wanted;

/// Most objects remembered of one client, some 200 bytes each. Whoever holds more is told to list again.
pub const MAX_HELD: usize = 20_000;

/// The machine.
#[derive(Debug)]
pub struct Human {
    media: Media,
    kind: ObjectKind,
    layout: Layout,
    held: BTreeMap<Key, Held>,
    header: Header,
    phase: Phase,
    /// Whether it holds more than is remembered.
    overflows: bool,
}

/// Namespace and name.
type Key = (Box<str>, Box<str>);

/// An object the client holds.
#[derive(Debug)]
struct Held {
    uid: Box<str>,
    version: Box<str>,
    /// Whether the stream in force has not spoken of it yet.
    stale: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    /// Events as they happen.
    Live,
    /// The present state comes, after which [`Held::stale`] is gone.
    State,
    /// It has come, and these are to be taken back.
    Sweep(Vec<Key>),
}

/// What becomes of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// This goes out in its place.
    Give(Frame),
    /// This goes out first, and then the frame is asked about again.
    First(Frame),
    /// Nothing goes out.
    Hold,
}

impl Human {
    /// A watch before its first frame, whose client holds `held`. `None` where frames of this form cannot be followed: they
    /// are no text, or rows come without what names their objects.
    pub fn open(
        media: Media,
        rows: RowObjects,
        kind: ObjectKind,
        held: impl IntoIterator<Item = ObjectMeta>,
    ) -> Option<Self> {
        let layout = filter::layout(media)?;
        match (layout, rows) {
            (Layout::Json, _) | (Layout::Table, RowObjects::Keep) => {}
            (Layout::Table, RowObjects::Strip) | (Layout::Protobuf, _) => return None,
        }
        let mut human = Self {
            media,
            kind,
            layout,
            held: BTreeMap::new(),
            header: Header::default(),
            phase: Phase::Live,
            overflows: false,
        };
        for meta in held {
            human.hold(key(&meta), &meta);
        }
        Some(human)
    }

    /// Whether a change can be shown. If not, its client must begin anew.
    pub fn can_go_on(&self) -> bool {
        !self.overflows
    }

    /// Whether its client holds something of one state of affairs and something of another. What it has by then is no
    /// position: a client that goes on from there would keep what was still to be taken back.
    pub fn is_between_states(&self) -> bool {
        self.phase != Phase::Live
    }

    /// From now on the frames are those of another stream, which begins with the present state and marks its end.
    pub fn on_new_stream(&mut self) {
        for held in self.held.values_mut() {
            held.stale = true;
        }
        self.phase = Phase::State;
    }

    /// What becomes of the next frame. It is taken for handed out.
    ///
    /// # Errors
    /// [`Broken`] if it cannot be read.
    pub fn on_frame(&mut self, frame: &Frame) -> Result<Step, Broken> {
        let document = frame.document();
        let event = Event::read(self.layout, &document, Wanted::Names)?;
        let key = key(&event.meta);
        let known = self.held.get(&key);
        let is_same = known.is_some_and(|known| *known.uid == *event.meta.uid);
        let is_new = known.is_none();
        let says_nothing_new = known
            .is_some_and(|known| known.stale && *known.version == *event.meta.resource_version);
        match event.kind {
            EventType::Error => Ok(Step::Give(frame.clone())),
            // He did not ask for them.
            EventType::Bookmark => {
                if event.meta.initial_events_end && self.phase == Phase::State {
                    let stale = self.held.iter().filter(|(_, held)| held.stale);
                    let stale = stale.map(|(key, _)| key.clone()).rev().collect();
                    self.phase = Phase::Sweep(stale);
                }
                Ok(self.keep_back(&event, &document))
            }
            // Another object of the same name: the one he holds goes first.
            EventType::Added | EventType::Modified if !is_new && !is_same => {
                let gone = self.take_back(&key);
                Ok(gone.map_or(Step::Hold, Step::First))
            }
            EventType::Added | EventType::Modified => {
                self.hold(key, &event.meta);
                if says_nothing_new {
                    return Ok(self.keep_back(&event, &document));
                }
                let kind = if is_new {
                    EventType::Added
                } else {
                    EventType::Modified
                };
                Ok(Step::Give(self.dress(&event, frame, kind)))
            }
            // It says no more of an object than what he has seen, or would have.
            EventType::Deleted if is_new && self.phase != Phase::Live => {
                Ok(self.keep_back(&event, &document))
            }
            EventType::Deleted => {
                self.held.remove(&key);
                Ok(Step::Give(self.dress(&event, frame, EventType::Deleted)))
            }
        }
    }

    /// The next object to be taken back, once the present state has come whole; it is taken for handed out.
    pub fn sweep(&mut self) -> Option<Frame> {
        match &mut self.phase {
            Phase::Live | Phase::State => None,
            Phase::Sweep(stale) => match stale.pop() {
                Some(key) => self.take_back(&key),
                None => {
                    self.phase = Phase::Live;
                    None
                }
            },
        }
    }

    fn hold(&mut self, key: Key, meta: &ObjectMeta) {
        let held = Held {
            uid: meta.uid.as_str().into(),
            version: meta.resource_version.as_str().into(),
            stale: false,
        };
        if self.held.len() < MAX_HELD || self.held.contains_key(&key) {
            self.held.insert(key, held);
        } else {
            self.overflows = true;
        }
    }

    /// DELETED of an object he holds, at the version he holds it at: the client does not go on from there, since that was
    /// told to the guard when he was given the object, and lies below what counts since.
    fn take_back(&mut self, key: &Key) -> Option<Frame> {
        let held = self.held.remove(key)?;
        let meta = ObjectMeta {
            namespace: key.0.to_string(),
            name: key.1.to_string(),
            uid: held.uid.into(),
            resource_version: held.version.into(),
            ..ObjectMeta::default()
        };
        let cells = self.header.cells();
        gone_frame(self.media, &self.kind, RowObjects::Keep, cells, &meta)
    }

    fn keep_back(&mut self, event: &Event, document: &[u8]) -> Step {
        if let Some(table) = &event.table {
            self.header.hold_back(table, document);
        }
        Step::Hold
    }

    /// The frame as an event of `kind`, with the header once.
    fn dress(&mut self, event: &Event, frame: &Frame, kind: EventType) -> Frame {
        let document = frame.document();
        let mut edits: Vec<(Range<usize>, Bytes)> = Vec::new();
        if event.kind != kind && self.phase != Phase::Live {
            let word = type_bytes(self.layout, kind);
            edits.push((event.type_at.clone(), word.into()));
        }
        if let Some(table) = &event.table {
            edits.extend(self.header.edit(table, &document));
        }
        if edits.is_empty() {
            return frame.clone();
        }
        edits.sort_by_key(|(range, _)| range.start);
        Frame::new(Framing::Json, &splice(&document, &edits))
    }
}

fn key(meta: &ObjectMeta) -> Key {
    (meta.namespace.as_str().into(), meta.name.as_str().into())
}

#[cfg(test)]
mod tests;
