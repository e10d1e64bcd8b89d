//! What the guard knows of one identity and kind. It holds positions only, never names.

use std::collections::VecDeque;

use super::Along;
use super::Given;
use super::Mode;
use super::Position;
use crate::tenancy::scope::Generation;

/// Positions remembered as issued. A client that comes back from further behind than so many events lists again.
const MAX_ISSUED: usize = 256;

/// Page tokens remembered: a list that is being paged has one.
const MAX_PAGED: usize = if cfg!(test) { 1 } else { 16 };

/// Positions remembered of events that say nothing about the whole: those of a minute, since a namespace in which nothing
/// happens says so once a minute, and the whole stands where the last of them does.
const MAX_PARTED: usize = if cfg!(test) { 1 } else { 1024 };

/// State of one identity and kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Entry<T> {
    /// The guard's tick of its last use.
    pub(super) used: u64,
    mode: Mode,
    generation: Generation,
    floor: Position,
    /// Highest position given out in any way, remembered below or not; never under the floor.
    high: Position,
    issued: Recent<MAX_ISSUED, T>,
    paged: Recent<MAX_PAGED, T>,
    /// Positions of which somebody has something and perhaps not all before it.
    parted: Recent<MAX_PARTED, ()>,
    /// Up to here there may be more of these, forgotten: nothing more is issued there.
    blind: Position,
}

impl<T: Along> Entry<T> {
    /// Nothing is issued yet, and nothing up to `floor` will ever be. It begins narrowed, so that the first forwarded
    /// answer is a flip like any other: what other replicas handed out lies below what is read then.
    pub(super) fn new(generation: Generation, floor: Position) -> Self {
        Self {
            used: 0,
            mode: Mode::Narrowed,
            generation,
            floor,
            high: floor,
            issued: Recent::default(),
            paged: Recent::default(),
            parted: Recent::default(),
            blind: floor,
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

    /// Somebody was given this, which was judged by `under`.
    pub(super) fn give(&mut self, at: Position, given: Given<T>, under: Generation) {
        if !self.counts(under) {
            self.raise(at);
            return;
        }
        self.high = self.high.max(at);
        match given {
            Given::Whole(with) => self.issue(at, with),
            Given::LastPage(with) => {
                if self.paged.get(at).is_some() {
                    self.issue(at, with);
                }
            }
            Given::Page(with) => {
                self.paged.insert(at, with);
            }
            Given::Part => {
                if let Some(forgotten) = self.parted.insert(at, ()) {
                    self.blind = self.blind.max(forgotten);
                    self.issued.remove(forgotten);
                }
            }
        }
    }

    fn issue(&mut self, at: Position, mut with: T) {
        if let Some(before) = self.paged.get(at) {
            with.join(before);
        }
        if self.may_issue(at) {
            self.issued.insert(at, with);
        }
    }

    /// The latest position up to `at` that may be given to who has everything there, and that nobody has a part of.
    pub(super) fn unparted(&self, at: Position) -> Option<Position> {
        let mut whole = at;
        while self.parted.get(whole).is_some() {
            whole = Position(whole.0.checked_sub(1)?);
        }
        (whole > self.floor && self.may_issue(whole)).then_some(whole)
    }

    /// Whether it is sure that nobody has a part of `at`, where none is known.
    fn may_issue(&self, at: Position) -> bool {
        at > self.blind || self.issued.get(at).is_some()
    }

    /// What was issued with `at`.
    pub(super) fn with(&self, at: Position) -> Option<&T> {
        self.issued.get(at)
    }

    pub(super) fn admits(&self, at: Position) -> bool {
        at > self.floor && self.knows(&self.issued, at) && self.parted.get(at).is_none()
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

    fn knows<const N: usize>(&self, given: &Recent<N, T>, at: Position) -> bool {
        match self.mode {
            Mode::Narrowed => given.get(at).is_some(),
            // Forwarded answers are not read: everything above the floor is taken for theirs.
            Mode::Forwarded => true,
        }
    }

    fn forget(&mut self, floor: Position) {
        self.raise(floor);
        self.issued = Recent::default();
        self.paged = Recent::default();
        self.parted = Recent::default();
    }
}

/// The highest positions of those inserted, up to `N`, each with what goes along.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Recent<const N: usize, T> {
    ascending: VecDeque<(Position, T)>,
}

impl<const N: usize, T> Default for Recent<N, T> {
    fn default() -> Self {
        Self {
            ascending: VecDeque::new(),
        }
    }
}

impl<const N: usize, T: Along> Recent<N, T> {
    /// The position that is forgotten for it, if one is.
    fn insert(&mut self, at: Position, mut with: T) -> Option<Position> {
        match self.find(at) {
            Ok(index) => {
                if let Some((_, known)) = self.ascending.get_mut(index) {
                    known.join(&with);
                }
            }
            Err(index) => {
                let before = index.checked_sub(1);
                if let Some((_, known)) = before.and_then(|before| self.ascending.get(before)) {
                    with.share(known);
                }
                self.ascending.insert(index, (at, with));
            }
        }
        let forgotten = (self.ascending.len() > N).then(|| self.ascending.pop_front());
        forgotten.flatten().map(|(at, _)| at)
    }

    fn remove(&mut self, at: Position) {
        if let Ok(index) = self.find(at) {
            self.ascending.remove(index);
        }
    }

    fn get(&self, at: Position) -> Option<&T> {
        let index = self.find(at).ok()?;
        self.ascending.get(index).map(|(_, with)| with)
    }

    fn find(&self, at: Position) -> Result<usize, usize> {
        self.ascending
            .binary_search_by_key(&at, |(known, _)| *known)
    }
}
