//! The resume guard: whether a watch of a narrowable kind may begin at a position the client brings along.
//! A pure value without clock, socket or lock. It never admits what it does not know.
//!
//! A resourceVersion says what was there, not what the client was shown of it. A watch from X replays what happened
//! after X, so everything up to X must have been shown *under the scope in force now*: else what was granted or revoked
//! since is missing for ever. Hence: admitted is only what this replica handed out itself, whole, to this identity, for
//! this kind, under the present generation of its scope, and that was certainly never handed out under another.
//!
//! The last condition is the `floor`: whatever may have been handed out in another state of affairs lies at or below
//! it. Four things raise it: a change of scope (to the highest position of the generation that ends), an answer that
//! comes in late from such a generation, what a watch that goes on shows between two scopes, and positions nobody recorded
//! (other process, forgotten entry, forwarded answers, which are not read), for which the caller reads one fresh
//! resourceVersion.
//!
//! Not covered, since replicas do not talk: another replica that has not yet seen a change hands out X, this one, which
//! has, hands out the same X to another client of the same identity, and the first client then comes here with its X.

mod entry;

use std::collections::BTreeMap;

use entry::Entry;

use crate::identity::IdentityKey;
use crate::k8s::names::GroupResource;
use crate::tenancy::scope::Generation;

/// A resourceVersion that can be compared with others of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u128);

impl Position {
    /// Above every position that is ever given: what is known to be at or below it is known of all.
    pub const NEVER: Self = Self(u128::MAX);

    /// A well-formed resourceVersion: decimal, no leading zero, not `0` (KEP-5504; apimachinery
    /// `pkg/util/resourceversion`). Others are no position: nothing is known of their order.
    pub fn parse(text: &str) -> Option<Self> {
        let decimal = text.bytes().all(|byte| byte.is_ascii_digit());
        if !decimal || text.starts_with('0') {
            return None;
        }
        text.parse().ok().map(Self)
    }

    /// The resourceVersion of a page token; negative ones are no position.
    pub fn of_token(resource_version: i64) -> Option<Self> {
        u128::try_from(resource_version)
            .ok()
            .filter(|at| *at > 0)
            .map(Self)
    }
}

/// As whom requests of an identity for a kind go upstream now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// As the reader, narrowed; answers are read.
    Narrowed,
    /// As the user, whose own rights cover the whole kind; answers are not read.
    Forwarded,
}

/// What becomes of a request that brings a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admit {
    /// It may begin there.
    Pass,
    /// The client must list again: an in-band 410 for a watch, an HTTP 410 for a page.
    Expired,
    /// A fresh resourceVersion is needed first, given to [`Guard::on_floor`]; then ask again.
    NeedsFloor,
}

/// The moment of a call: what scope and plan are in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The generation in force. A call that is behind one seen before counts as late.
    pub generation: Generation,
    /// How requests of the identity for the kind go upstream.
    pub mode: Mode,
}

/// What a client was given at a position, and what is to be remembered along with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given<T> {
    /// Everything up to there: a narrowed list, with its last page if it came in pages; an event or bookmark of a
    /// narrowed watch.
    Whole(T),
    /// A page, with a token, of a narrowed list there: not a position yet.
    Page(T),
    /// The last page of a list, if what went along with its other pages counts, too: where those are forgotten it is no
    /// position.
    LastPage(T),
    /// An event of a watch that is put together from several, and perhaps not all before it. Who comes back with it must
    /// list again, even if others were given all up to there.
    Part,
}

/// What is remembered along with a position. Clients of one identity may be given the same position, and not the same
/// with it.
pub trait Along {
    /// The position was given with `other`, too.
    fn join(&mut self, other: &Self);

    /// `known` goes along with a position nearby: what is equal need not be there twice.
    fn share(&mut self, _known: &Self) {}
}

impl Along for () {
    fn join(&mut self, _other: &Self) {}
}

/// The guard of one replica.
#[derive(Clone, Debug)]
pub struct Guard<T = ()> {
    capacity: usize,
    entries: BTreeMap<Key, Entry<T>>,
    /// Entries by last use, oldest first.
    order: BTreeMap<u64, Key>,
    tick: u64,
    bases: BTreeMap<GroupResource, Base>,
}

/// Of a kind: positions at or below may be anyone's, from before this process or from forgotten entries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Base {
    floor: Position,
    /// Whether the floor is high enough. It is not at the start, and not after an entry was forgotten that nobody can
    /// say the highest position of: a fresh resourceVersion is needed before anything more is remembered.
    known: bool,
}

impl Base {
    const UNKNOWN: Self = Self {
        floor: Position(0),
        known: false,
    };
}

type Key = (GroupResource, IdentityKey);

impl<T: Along> Guard<T> {
    /// A guard that knows nothing, and so admits nothing. It remembers up to `capacity` pairs of identity and kind; those
    /// used longest ago are forgotten first, which costs their clients one relist.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            entries: BTreeMap::new(),
            order: BTreeMap::new(),
            tick: 0,
            bases: BTreeMap::new(),
        }
    }

    /// A resourceVersion of `kind` that was read since this process began, such as that of an informer's first list: what
    /// a predecessor handed out lies at or below it.
    pub fn on_base(&mut self, kind: &GroupResource, fresh: Position) {
        let base = self.base(kind);
        base.floor = base.floor.max(fresh);
        base.known = true;
    }

    /// Whether a fresh resourceVersion should be read and given to [`Self::on_floor`] before the request goes upstream.
    /// To be asked before every list, watch or page of a narrowable kind, forwarded ones included: it is how the guard
    /// learns that a plan has flipped.
    pub fn needs_floor(&mut self, who: &IdentityKey, kind: &GroupResource, now: Now) -> bool {
        match self.entry(who, kind, now) {
            Some(entry) => entry.mode() != now.mode,
            None => true,
        }
    }

    /// A fresh resourceVersion of `kind` (a consistent read), after [`Admit::NeedsFloor`] or [`Self::needs_floor`]. From
    /// now on `now.mode` holds, and nothing handed out before counts.
    ///
    /// Forwarded watches of the identity must have been ended before the read that a flip to [`Mode::Narrowed`] gives
    /// here, and a forwarded *list* that is answered after it must not be handed out: it is asked for again.
    pub fn on_floor(&mut self, who: &IdentityKey, kind: &GroupResource, fresh: Position, now: Now) {
        if !self.base(kind).known {
            self.on_base(kind, fresh);
        }
        if let Some(entry) = self.entry(who, kind, now) {
            entry.flip(now.mode, fresh);
        }
    }

    /// The client was given something that reaches `at`. `under` is the generation it was judged by.
    pub fn on_given(
        &mut self,
        who: &IdentityKey,
        kind: &GroupResource,
        (at, given): (Position, Given<T>),
        under: Generation,
        now: Now,
    ) {
        match self.entry(who, kind, now) {
            Some(entry) => entry.give(at, given, under),
            None => self.unrecorded(kind, at),
        }
    }

    /// Something of `at` was given, and nothing up to there is admitted any more: the client has a part of what is to be
    /// seen now and what is to be taken back besides, or `who` stands for several identities, and how far any of them got
    /// is all that counts ([`Self::high`]).
    pub fn on_reached(&mut self, who: &IdentityKey, kind: &GroupResource, at: Position) {
        let now = Now {
            generation: Generation(0),
            mode: Mode::Narrowed,
        };
        match self.entry(who, kind, now) {
            Some(entry) => entry.raise(at),
            None => self.unrecorded(kind, at),
        }
    }

    /// The latest position up to `at` that was given to nobody with a part: who is told that he stands there, though he has
    /// all up to `at`, is told again of what came between. `at` itself where there is none.
    pub fn unparted(
        &mut self,
        who: &IdentityKey,
        kind: &GroupResource,
        at: Position,
        now: Now,
    ) -> Position {
        let entry = self.entry(who, kind, now);
        entry.and_then(|entry| entry.unparted(at)).unwrap_or(at)
    }

    /// What was issued with a position that was admitted.
    pub fn with(&self, who: &IdentityKey, kind: &GroupResource, at: Position) -> Option<&T> {
        self.entries.get(&(kind.clone(), *who))?.with(at)
    }

    /// The highest position that was given to `who` in any way, or may have been.
    pub fn high(&self, who: &IdentityKey, kind: &GroupResource) -> Option<Position> {
        match self.entries.get(&(kind.clone(), *who)) {
            Some(entry) => entry.high(),
            None => self.bases.get(kind).map(|base| base.floor),
        }
    }

    /// Whether a watch may begin at `resume` (`None`: the client's resourceVersion is no [`Position`]). Not to be asked
    /// where the present state is sent anyway: unset, `0`, `sendInitialEvents`.
    pub fn admit(
        &mut self,
        who: &IdentityKey,
        kind: &GroupResource,
        resume: Option<Position>,
        now: Now,
    ) -> Admit {
        self.judge(who, kind, resume, now, Entry::admits)
    }

    /// Whether a further page may be fetched with a token of a list at `at`.
    pub fn admit_page(
        &mut self,
        who: &IdentityKey,
        kind: &GroupResource,
        at: Option<Position>,
        now: Now,
    ) -> Admit {
        self.judge(who, kind, at, now, Entry::admits_page)
    }

    /// At or below this nothing is admitted: a list answered there should be asked again, once, as a consistent read.
    pub fn floor(&mut self, who: &IdentityKey, kind: &GroupResource, now: Now) -> Option<Position> {
        self.entry(who, kind, now).map(|entry| entry.floor())
    }

    fn judge(
        &mut self,
        who: &IdentityKey,
        kind: &GroupResource,
        at: Option<Position>,
        now: Now,
        admits: impl Fn(&Entry<T>, Position) -> bool,
    ) -> Admit {
        match self.entry(who, kind, now) {
            None => Admit::NeedsFloor,
            Some(entry) if entry.mode() != now.mode => Admit::NeedsFloor,
            // The caller judged by a scope that is over.
            Some(entry) if entry.generation() != now.generation => Admit::Expired,
            Some(entry) if at.is_some_and(|at| admits(entry, at)) => Admit::Pass,
            Some(_) => Admit::Expired,
        }
    }

    /// The entry, rolled on to the generation of `now`; `None` while the kind's base is not known.
    fn entry(
        &mut self,
        who: &IdentityKey,
        kind: &GroupResource,
        now: Now,
    ) -> Option<&mut Entry<T>> {
        let key = (kind.clone(), *who);
        match self.entries.get(&key) {
            Some(entry) => {
                self.order.remove(&entry.used);
            }
            None => {
                self.bases.get(kind).filter(|base| base.known)?;
                self.make_room();
                // Asked again: the entry forgotten may have been of this kind.
                let base = self.bases.get(kind).filter(|base| base.known)?;
                self.entries
                    .insert(key.clone(), Entry::new(now.generation, base.floor));
            }
        }
        self.tick += 1;
        self.order.insert(self.tick, key.clone());
        let entry = self.entries.get_mut(&key)?;
        entry.used = self.tick;
        entry.roll(now.generation);
        Some(entry)
    }

    /// Forgets the entry used longest ago if there is no room for another. What it gave out goes under the kind's base.
    fn make_room(&mut self) {
        if self.entries.len() < self.capacity {
            return;
        }
        let Some((_, key)) = self.order.pop_first() else {
            return;
        };
        let Some(entry) = self.entries.remove(&key) else {
            return;
        };
        let base = self.base(&key.0);
        match entry.high() {
            Some(high) => base.floor = base.floor.max(high),
            None => base.known = false,
        }
    }

    /// Something was given out while nothing could be remembered: the base, once known, covers it.
    fn unrecorded(&mut self, kind: &GroupResource, at: Position) {
        let base = self.base(kind);
        base.floor = base.floor.max(at);
    }

    fn base(&mut self, kind: &GroupResource) -> &mut Base {
        self.bases.entry(kind.clone()).or_insert(Base::UNKNOWN)
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod parts_model;
#[cfg(test)]
mod tests;
