//! What the guard knows of one identity and kind. It holds positions only, never names.

use std::collections::VecDeque;

use super::Mode;
use super::Position;
use crate::tenancy::scope::Generation;

/// Positions remembered as issued. A client that comes back from further behind than so many events lists again.
const MAX_ISSUED: usize = 256;

/// Page tokens remembered: a list that is being paged has one.
const MAX_PAGED: usize = 16;

/// State of one identity and kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Entry {
    /// The guard's tick of its last use.
    pub(super) used: u64,
    mode: Mode,
    generation: Generation,
    floor: Position,
    /// Highest position given out in any way, remembered below or not; never under the floor.
    high: Position,
    issued: Recent<MAX_ISSUED>,
    paged: Recent<MAX_PAGED>,
}

impl Entry {
    /// Nothing is issued yet, and nothing up to `floor` will ever be.
    pub(super) fn new(mode: Mode, generation: Generation, floor: Position) -> Self {
        Self {
            used: 0,
            mode,
            generation,
            floor,
            high: floor,
            issued: Recent::default(),
            paged: Recent::default(),
        }
    }

    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    pub(super) fn generation(&self) -> Generation {
        self.generation
    }

    pub(super) fn floor(&self) -> Position {
        self.floor
    }

    /// Highest position that may have been given out, or `None` if nobody can know.
    pub(super) fn high(&self) -> Option<Position> {
        match self.mode {
            Mode::Narrowed => Some(self.high),
            Mode::Forwarded => None,
        }
    }

    /// A newer generation: all that was given out before lies at or below the floor. An older one changes nothing.
    pub(super) fn roll(&mut self, generation: Generation) {
        if generation > self.generation {
            self.generation = generation;
            self.forget(self.high);
        }
    }

    /// Another mode, and a position read after it began. In the same mode nothing changes: of two requests that ask for
    /// a floor at once, the second must not undo what the first was given since.
    pub(super) fn flip(&mut self, mode: Mode, fresh: Position) {
        if mode == self.mode {
            return;
        }
        self.mode = mode;
        let floor = match mode {
            // Narrowed answers are recorded, `high` has them all. `fresh` is for those of other replicas, which are
            // below it; itself it stays good, or a client would be sent round and round in a cluster without writes.
            Mode::Forwarded => Position(fresh.0.saturating_sub(1)),
            // Forwarded answers are not read: any of them may have ended at `fresh`.
            Mode::Narrowed => fresh,
        };
        self.forget(floor.max(self.high));
    }

    /// Something was given out that does not count now: the floor covers it.
    pub(super) fn raise(&mut self, at: Position) {
        self.floor = self.floor.max(at);
        self.high = self.high.max(at);
    }

    pub(super) fn issue(&mut self, at: Position, under: Generation) {
        if self.counts(under) {
            self.high = self.high.max(at);
            self.issued.insert(at);
        } else {
            self.raise(at);
        }
    }

    pub(super) fn page(&mut self, at: Position, under: Generation) {
        if self.counts(under) {
            self.high = self.high.max(at);
            self.paged.insert(at);
        } else {
            self.raise(at);
        }
    }

    pub(super) fn admits(&self, at: Position) -> bool {
        at > self.floor && self.knows(&self.issued, at)
    }

    pub(super) fn admits_page(&self, at: Position) -> bool {
        at > self.floor && self.knows(&self.paged, at)
    }

    /// Whether an answer that was narrowed under `under` is one of the present state of affairs.
    fn counts(&self, under: Generation) -> bool {
        match self.mode {
            Mode::Narrowed => under == self.generation,
            Mode::Forwarded => false,
        }
    }

    fn knows<const N: usize>(&self, given: &Recent<N>, at: Position) -> bool {
        match self.mode {
            Mode::Narrowed => given.contains(at),
            // Forwarded answers are not read: everything above the floor is taken for theirs.
            Mode::Forwarded => true,
        }
    }

    fn forget(&mut self, floor: Position) {
        self.raise(floor);
        self.issued = Recent::default();
        self.paged = Recent::default();
    }
}

/// The highest positions of those inserted, up to `N`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Recent<const N: usize> {
    ascending: VecDeque<Position>,
}

impl<const N: usize> Recent<N> {
    fn insert(&mut self, at: Position) {
        match self.ascending.binary_search(&at) {
            Ok(_) => return,
            Err(index) => self.ascending.insert(index, at),
        }
        if self.ascending.len() > N {
            self.ascending.pop_front();
        }
    }

    fn contains(&self, at: Position) -> bool {
        self.ascending.binary_search(&at).is_ok()
    }
}
