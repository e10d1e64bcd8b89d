//! One narrowed watch: bytes of the upstream's stream in, whole frames for the client out. It has no socket and no
//! clock, asks the rule for every event, and after a change of scope lets not one more byte of what it has read out.

use std::ops::Range;

use bytes::Bytes;

use super::expired::expired_frame;
use super::guard::Position;
use super::header::Header;
use super::made::ObjectKind;
use super::made::gone_frame;
use super::memory::Memory;
use super::memory::Verdict;
use super::outbox::Behind;
use super::outbox::Outbox;
use super::splice;
use crate::filter;
use crate::filter::RowObjects;
use crate::k8s::media::Media;
use crate::policy::Keep;
use crate::wire::Broken;
use crate::wire::Layout;
use crate::wire::event::Event;
use crate::wire::event::EventType;
use crate::wire::event::type_bytes;
use crate::wire::frames::Frame;
use crate::wire::frames::Frames;
use crate::wire::frames::Framing;
use crate::wire::object::Wanted;
use crate::wire::table::Table;

/// Where the stream begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the present state, as ADDED events: resourceVersion unset or `0`, or `sendInitialEvents=true`.
    State,
    /// With changes after a position the guard admitted, or after about now (`sendInitialEvents=false`).
    Changes,
}

/// Why a watch ends without an expiry. The client resumes from its last position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The upstream's stream is over, or broke off.
    Upstream,
    /// This replica goes away.
    Drain,
    /// The credential ended: what is still waiting does not leave.
    Credential,
    /// A frame that waits cannot be given out: nor can what is behind it.
    Broken,
}

/// What the client shall see of its stream.
#[derive(Clone, Debug)]
pub struct View {
    /// How the stream is encoded, and what its objects were turned into.
    pub media: Media,
    /// Which objects may be seen.
    pub keep: Keep,
    /// What becomes of the objects in a Table's rows.
    pub rows: RowObjects,
    /// What the objects are.
    pub kind: ObjectKind,
}

/// The machine of one watch.
#[derive(Debug)]
pub struct Watch {
    view: View,
    layout: Layout,
    framing: Framing,
    frames: Frames,
    /// What the client holds, where an object can move into sight and out of it.
    memory: Option<Memory>,
    /// Of a Table.
    header: Header,
    /// Whether the present state was sent whole. While it is, objects come in the order of their keys, so one event's
    /// position says nothing about the others.
    settled: bool,
    over: bool,
}

impl Watch {
    /// A watch before its first byte. `None` if its encoding cannot be filtered.
    ///
    /// `held` is what the client holds when it begins with changes; one that begins with the present state holds nothing.
    pub fn open(view: View, start: Start, held: Memory) -> Option<Self> {
        let layout = filter::layout(view.media)?;
        let framing = match layout {
            Layout::Json | Layout::Table => Framing::Json,
            Layout::Protobuf => Framing::LengthPrefixed,
        };
        let memory = match view.keep.wanted() {
            Wanted::Names => None,
            Wanted::Labels => Some(held),
        };
        Some(Self {
            memory,
            view,
            layout,
            framing,
            frames: Frames::new(framing),
            header: Header::default(),
            settled: start == Start::Changes,
            over: false,
        })
    }

    /// Takes the next bytes from upstream.
    ///
    /// # Errors
    /// [`Broken`] if they cannot be read: the watch is over, and the client gets what was whole before.
    pub fn on_bytes(&mut self, input: &[u8], out: &mut Outbox) -> Result<(), Broken> {
        if self.over {
            return Ok(());
        }
        self.frames.push(input);
        let read = self.read_frames(out);
        if read.is_err() {
            self.finish(out);
        }
        read
    }

    /// What the identity may see has changed. What was read but not handed out is taken back, so that nothing revoked
    /// leaves from now on, nor before a clean end.
    pub fn on_scope_change(&mut self, out: &mut Outbox) {
        self.over = true;
        out.end_with(expired_frame(self.view.media));
    }

    /// The watch ends; the client sees a clean end behind the last whole frame.
    pub fn on_end(&mut self, why: End, out: &mut Outbox) {
        match why {
            End::Upstream if !self.over => {
                if let Some(frame) = self.frames.finish() {
                    // What cannot be read is as good as not there: the stream ends before it.
                    let _unreadable = self.on_frame(frame, out).is_err();
                }
            }
            End::Upstream | End::Drain => {}
            End::Credential | End::Broken => out.clear(),
        }
        self.finish(out);
    }

    fn finish(&mut self, out: &mut Outbox) {
        self.over = true;
        out.end();
    }

    fn read_frames(&mut self, out: &mut Outbox) -> Result<(), Broken> {
        while let Some(frame) = self.frames.take_next()? {
            self.on_frame(frame, out)?;
        }
        Ok(())
    }

    fn on_frame(&mut self, frame: Frame, out: &mut Outbox) -> Result<(), Broken> {
        let event = Event::read(self.layout, &frame.document(), self.view.keep.wanted())?;
        let verdict = self.judge(&event);
        match event.kind {
            EventType::Modified | EventType::Deleted | EventType::Bookmark => self.settled = true,
            EventType::Added | EventType::Error => {}
        }
        let behind = match Position::parse(&event.meta.resource_version) {
            None => Behind::Nothing,
            Some(at) if self.settled => Behind::Whole(at),
            Some(at) => Behind::Part(at),
        };
        match verdict {
            Verdict::Passes | Verdict::Enters => {
                let frame = self.dress(&event, frame, verdict == Verdict::Enters);
                out.push(frame, behind);
            }
            Verdict::Leaves => {
                self.hold_header_back(&event, &frame);
                let View {
                    media, kind, rows, ..
                } = &self.view;
                let cells = self.header.cells();
                if let Some(frame) = gone_frame(*media, kind, *rows, cells, &event.meta) {
                    out.push(frame, behind);
                }
            }
            Verdict::Hidden => self.hold_header_back(&event, &frame),
        }
        Ok(())
    }

    fn judge(&mut self, event: &Event) -> Verdict {
        match event.kind {
            EventType::Bookmark | EventType::Error => Verdict::Passes,
            EventType::Added | EventType::Modified | EventType::Deleted => {
                let shown = self.view.keep.shows(&event.meta);
                match &mut self.memory {
                    Some(memory) => memory.judge(event.kind, &event.meta.name, shown),
                    None if shown => Verdict::Passes,
                    None => Verdict::Hidden,
                }
            }
        }
    }

    fn hold_header_back(&mut self, event: &Event, frame: &Frame) {
        if let Some(table) = &event.table {
            self.header.hold_back(table, &frame.document());
        }
    }

    /// The frame as ADDED, if the object enters the client's sight; a Table's with the header it lacks and without what the
    /// client did not ask for. Others as they came.
    fn dress(&mut self, event: &Event, frame: Frame, enters: bool) -> Frame {
        let mut edits: Vec<(Range<usize>, Bytes)> = Vec::new();
        if enters {
            let added = type_bytes(self.layout, EventType::Added);
            edits.push((event.type_at.clone(), added.into()));
        }
        if let Some(table) = &event.table {
            edits.extend(self.header.edit(table, &frame.document()));
            edits.extend(self.stripped(event, table));
        }
        if edits.is_empty() {
            return frame;
        }
        edits.sort_by_key(|(range, _)| range.start);
        Frame::new(self.framing, &splice(&frame.document(), &edits))
    }

    /// The objects of rows, where the client did not ask for them.
    fn stripped(&self, event: &Event, table: &Table) -> Vec<(Range<usize>, Bytes)> {
        // The end of the initial events is annotated on the object: the API server keeps it even for
        // `includeObject=None` (`handlers/response.go asTable`).
        if self.view.rows == RowObjects::Keep || event.meta.initial_events_end {
            return Vec::new();
        }
        let objects = table.rows.iter().map(|row| row.object.clone());
        let there = objects.filter(|range| !range.is_empty());
        there
            .map(|range| (range, Bytes::from_static(b"null")))
            .collect()
    }
}

#[cfg(test)]
mod tests;
