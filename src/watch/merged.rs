//! One watch put together from several, one per namespace: their frames as they come, and a position of the whole. It
//! has no socket and no clock.
//!
//! Events of different namespaces interleave: a client that has seen 105 of one and not 103 of another would miss it if
//! it went on from 105. So an event's resourceVersion is no position of the whole; only a merged bookmark is, which
//! says the earliest that all legs have reached. The legs' own bookmarks do not go out.

use super::expired::expired_frame;
use super::guard::Position;
use super::header::Header;
use super::machine::End;
use super::made::ObjectKind;
use super::made::bookmark_frame;
use super::outbox::Behind;
use super::outbox::Outbox;
use super::splice;
use crate::filter;
use crate::k8s::media::Media;
use crate::wire::Broken;
use crate::wire::Layout;
use crate::wire::event::Event;
use crate::wire::event::EventType;
use crate::wire::frames::Frame;
use crate::wire::frames::Frames;
use crate::wire::frames::Framing;
use crate::wire::object::Wanted;

/// What the client shall see of the whole.
#[derive(Clone, Debug)]
pub struct Whole {
    /// How the stream is encoded.
    pub media: Media,
    /// What its objects are.
    pub kind: ObjectKind,
    /// Whether bookmarks are welcome.
    pub bookmarks: bool,
    /// Whether the end of the present state is to be marked (`sendInitialEvents=true`).
    pub marks_initial_end: bool,
}

/// The machine.
#[derive(Debug)]
pub struct Merged {
    whole: Whole,
    layout: Layout,
    framing: Framing,
    legs: Vec<Leg>,
    /// Of a Table.
    header: Header,
    /// Whether the end of the present state is still to be marked.
    initial_end_due: bool,
    /// The last bookmark.
    marked: Option<Position>,
    /// The bookmark that ended the present state.
    initial_end: Option<Position>,
    /// The highest position of anything that was put into the outbox.
    high: Option<Position>,
    over: bool,
}

#[derive(Debug)]
struct Leg {
    frames: Frames,
    /// Everything up to here has come. `None` while the present state is sent.
    reached: Option<Position>,
    /// Whether the present state has come whole.
    settled: bool,
    /// Whether its end was marked.
    is_marked: bool,
}

impl Merged {
    /// A watch before its first byte, of legs that begin each where `starts` says: behind a position, or with the present
    /// state. `None` if its encoding cannot be read.
    pub fn open(whole: Whole, starts: &[Option<Position>]) -> Option<Self> {
        let layout = filter::layout(whole.media)?;
        let framing = match layout {
            Layout::Json | Layout::Table => Framing::Json,
            Layout::Protobuf => Framing::LengthPrefixed,
        };
        let leg = |start: &Option<Position>| Leg {
            frames: Frames::new(framing),
            reached: *start,
            settled: start.is_some(),
            is_marked: false,
        };
        Some(Self {
            layout,
            framing,
            legs: starts.iter().map(leg).collect(),
            header: Header::default(),
            initial_end_due: whole.marks_initial_end,
            marked: None,
            initial_end: None,
            high: None,
            over: false,
            whole,
        })
    }

    /// Takes the next bytes of leg number `at`.
    ///
    /// # Errors
    /// [`Broken`] if they cannot be read: the watch is over, and the client gets what was whole before.
    pub fn on_bytes(&mut self, at: usize, input: &[u8], out: &mut Outbox) -> Result<(), Broken> {
        if self.over {
            return Ok(());
        }
        if let Some(leg) = self.legs.get_mut(at) {
            leg.frames.push(input);
        }
        let read = self.read_frames(at, out);
        if read.is_err() {
            self.finish(out);
        }
        read
    }

    /// What the identity may see has changed: what was read but not handed out is taken back.
    pub fn on_scope_change(&mut self, out: &mut Outbox) {
        self.over = true;
        out.end_with(expired_frame(self.whole.media));
    }

    /// The watch ends, or one of its legs did, which is the same: the others' clients would not notice what it lacks.
    pub fn on_end(&mut self, why: End, out: &mut Outbox) {
        match why {
            // So that the client goes on from a position of the whole, and not from the last event it saw.
            End::Upstream | End::Drain if !self.over => self.mark_end(out),
            End::Upstream | End::Drain => {}
            End::Credential | End::Broken => out.clear(),
        }
        self.finish(out);
    }

    /// The bookmark that says `at`, handed to the outbox before, saying `instead`.
    pub fn bookmark_instead(&self, at: Position, instead: Position) -> Option<Frame> {
        let Whole { media, kind, .. } = &self.whole;
        bookmark_frame(*media, kind, instead, self.initial_end == Some(at))
    }

    fn read_frames(&mut self, at: usize, out: &mut Outbox) -> Result<(), Broken> {
        while !self.over
            && let Some(leg) = self.legs.get_mut(at)
            && let Some(frame) = leg.frames.take_next()?
        {
            self.on_frame(at, frame, out)?;
        }
        Ok(())
    }

    fn on_frame(&mut self, at: usize, frame: Frame, out: &mut Outbox) -> Result<(), Broken> {
        let event = Event::read(self.layout, &frame.document(), Wanted::Names)?;
        let position = Position::parse(&event.meta.resource_version);
        let Some(leg) = self.legs.get_mut(at) else {
            return Ok(());
        };
        match event.kind {
            EventType::Error => {
                out.push(frame, Behind::Nothing);
                self.finish(out);
                return Ok(());
            }
            EventType::Modified | EventType::Deleted | EventType::Bookmark => leg.settled = true,
            EventType::Added => {}
        }
        if leg.settled {
            leg.reached = leg.reached.max(position);
        }
        leg.is_marked |= event.meta.initial_events_end;
        match event.kind {
            EventType::Bookmark => self.mark(out),
            EventType::Added | EventType::Modified | EventType::Deleted | EventType::Error => {
                self.high = self.high.max(position);
                let frame = self.with_one_header(&event, frame);
                out.push(frame, position.map_or(Behind::Nothing, Behind::Part));
            }
        }
        Ok(())
    }

    /// A bookmark of the whole, if there is news.
    fn mark(&mut self, out: &mut Outbox) {
        if self.initial_end_due {
            if self.legs.iter().all(|leg| leg.is_marked)
                && let Some(reached) = self.reached()
            {
                self.initial_end_due = false;
                self.push_bookmark(reached, true, out);
            }
            return;
        }
        if let Some(reached) = self.reached()
            && self.whole.bookmarks
            && Some(reached) > self.marked
        {
            self.push_bookmark(reached, false, out);
        }
    }

    /// The last bookmark, even where it says nothing new: an event behind it may have moved the client on.
    fn mark_end(&mut self, out: &mut Outbox) {
        if self.whole.bookmarks
            && !self.initial_end_due
            && self.high > self.marked
            && let Some(reached) = self.reached()
        {
            self.push_bookmark(reached, false, out);
        }
    }

    fn push_bookmark(&mut self, reached: Position, ends_initial_events: bool, out: &mut Outbox) {
        let Whole { media, kind, .. } = &self.whole;
        if let Some(frame) = bookmark_frame(*media, kind, reached, ends_initial_events) {
            self.marked = Some(reached);
            self.high = self.high.max(Some(reached));
            if ends_initial_events {
                self.initial_end = Some(reached);
            }
            out.push(frame, Behind::Whole(reached));
        }
    }

    /// The earliest position that all legs have reached.
    fn reached(&self) -> Option<Position> {
        let reached = self.legs.iter().map(|leg| leg.reached);
        reached.min().flatten()
    }

    /// Each leg's first event brings the header of a Table; the client gets one.
    fn with_one_header(&mut self, event: &Event, frame: Frame) -> Frame {
        let Some(table) = &event.table else {
            return frame;
        };
        match self.header.edit(table, &frame.document()) {
            Some(edit) => Frame::new(self.framing, &splice(&frame.document(), &[edit])),
            None => frame,
        }
    }

    fn finish(&mut self, out: &mut Outbox) {
        self.over = true;
        out.end();
    }
}

#[cfg(test)]
mod tests;
