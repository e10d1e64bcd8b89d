//! What a watch has ready for its client: whole frames in order. It never gives out half a frame, and nothing after
//! the end.

use std::collections::VecDeque;

use crate::watch::guard::Position;
use crate::wire::frames::Frame;

/// One frame for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Exactly these bytes.
    pub frame: Frame,
    /// Where the client stands once it has the frame: whoever hands the frame out tells the guard.
    pub behind: Behind,
}

/// Where a client stands that has a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// It has everything up to there.
    Whole(Position),
    /// It has something of there, and perhaps not all before it.
    Part(Position),
    /// Nowhere that it could come back with.
    Nothing,
}

/// Frames judged and not yet handed out. A frame is handed out by [`Outbox::pop`]; what is still in here when the scope
/// changes never leaves.
#[derive(Debug, Default)]
pub struct Outbox {
    frames: VecDeque<Outgoing>,
    ended: bool,
}

impl Outbox {
    /// Nothing to send yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next frame.
    pub fn pop(&mut self) -> Option<Outgoing> {
        self.frames.pop_front()
    }

    /// A frame that was taken, and is to be taken again.
    pub fn put_back(&mut self, outgoing: Outgoing) {
        self.frames.push_front(outgoing);
    }

    /// Whether nothing more will come, besides what waits.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether the stream is over for the client: everything was handed out and nothing more will come.
    pub fn is_over(&self) -> bool {
        self.ended && self.frames.is_empty()
    }

    pub(super) fn push(&mut self, frame: Frame, behind: Behind) {
        debug_assert!(!self.ended, "a frame after the end");
        self.frames.push_back(Outgoing { frame, behind });
    }

    /// Takes back what was not handed out.
    pub(super) fn clear(&mut self) {
        self.frames.clear();
    }

    /// The stream ends with this, instead of with what was not handed out. One that was handed out to its end stays so.
    pub(super) fn end_with(&mut self, last: Option<Frame>) {
        if self.is_over() {
            return;
        }
        self.clear();
        self.ended = false;
        if let Some(frame) = last {
            self.push(frame, Behind::Nothing);
        }
        self.end();
    }

    pub(super) fn end(&mut self) {
        self.ended = true;
    }
}
