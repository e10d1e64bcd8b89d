//! All interleavings of watches that are put together: two clients of one identity, two namespaces, of one of which the
//! right to watch it comes and goes, lists, events that are delivered or lost on the way, bookmarks and connections that
//! break. In each state reached: *who goes on from what was admitted misses nothing of either namespace.*
//!
//! The world knows up to where each client really has everything of each namespace; the guard does not.

use std::collections::HashSet;
use std::rc::Rc;

use super::model::digest;
use super::*;
use crate::identity::testing::identity;

/// What goes along with a position, as `proxy/parts.rs` has it: namespaces of which objects were shown, and others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Shown([bool; 2], [bool; 2]);

impl Along for Shown {
    fn join(&mut self, other: &Self) {
        for ns in 0..2 {
            self.0[ns] |= other.0[ns];
            self.1[ns] |= other.1[ns];
        }
    }
}

/// A client, as it really is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Client {
    /// Where it would go on from.
    stands: Option<u8>,
    /// Up to where it has everything of each namespace, if it holds anything of it.
    has: [Option<u8>; 2],
    watch: Option<Watch>,
    /// Where the list stands of which it has the first page, that of the first namespace.
    paging: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Watch {
    shown: Shown,
    /// Up to where each leg has sent everything; `None`: it is none.
    sent: [Option<u8>; 2],
    /// Up to where each leg says so.
    reached: [Option<u8>; 2],
    marked: Option<u8>,
}

#[derive(Clone, Debug)]
struct World {
    guard: Guard<Shown>,
    clock: u8,
    /// What was written, by time: to which namespace.
    written: Vec<Option<usize>>,
    /// Whether the second namespace may be watched.
    right: bool,
    clients: [Client; 2],
    /// How often something may still be written, and the right change.
    left: [u8; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// Something is written to a namespace, or elsewhere.
    Write(Option<usize>),
    /// The right to the second namespace comes or goes.
    Toggle,
    List(usize),
    FirstPage(usize),
    LastPage(usize),
    Resume(usize),
    /// It goes on, and the connection breaks before it has anything.
    ResumeInVain(usize),
    /// The next event of a namespace goes out.
    Event(usize, usize),
    /// It goes out, and is lost with the connection.
    Lost(usize, usize),
    /// A leg says that it has sent everything.
    Bookmark(usize, usize),
    Cut(usize),
}

/// Duties of the caller that a test may leave out, to see that it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caller {
    Careful,
    /// Does not tell of events.
    ForgetsParts,
    /// Takes an event for all that was before it.
    TakesPartsForTheWhole,
    /// Lets a client stand where others have a part: it is sent back again and again.
    TellsTheTruth,
    /// Where some hold a namespace and some do not, believes that all do.
    Guesses,
    /// Takes a last page for the whole.
    TakesALastPageForTheWhole,
}

struct Model {
    who: IdentityKey,
    kind: GroupResource,
    caller: Caller,
    /// Whether lists are given in pages, too.
    pages: bool,
}

const NOW: Now = Now {
    generation: Generation(1),
    mode: Mode::Narrowed,
};

fn at(clock: u8) -> Position {
    Position(clock.into())
}

fn clock(at: Position) -> u8 {
    at.0.try_into().unwrap()
}

impl World {
    fn shown(&self) -> Shown {
        Shown([true, self.right], [false, !self.right])
    }

    /// Writes to `ns` after `from`, up to `to`.
    fn written(&self, ns: usize, from: u8, to: u8) -> impl Iterator<Item = u8> + '_ {
        (from + 1..=to).filter(move |time| self.written[usize::from(*time)] == Some(ns))
    }
}

impl Model {
    fn new(caller: Caller) -> Self {
        Self {
            who: *identity("alice").key(),
            kind: GroupResource::new("", "pods"),
            caller,
            pages: false,
        }
    }

    fn with_pages(self) -> Self {
        Self {
            pages: true,
            ..self
        }
    }

    fn start(&self, left: [u8; 2]) -> World {
        let mut guard = Guard::new(1);
        guard.on_base(&self.kind, at(0));
        World {
            guard,
            clock: 2,
            written: vec![None; 3],
            right: true,
            clients: [Client::default(); 2],
            left,
        }
    }

    /// The world after `action`; `None` if it cannot happen now.
    ///
    /// # Errors
    /// What an admitted resume would have missed.
    fn step(&self, before: &World, action: Action) -> Result<Option<World>, String> {
        let mut world = before.clone();
        let happened = match action {
            Action::Write(ns) => spend(&mut world.left[0]).then(|| {
                world.clock += 1;
                world.written.push(ns);
            }),
            Action::Toggle => spend(&mut world.left[1]).then(|| {
                world.right = !world.right;
                // What is open is told that its position expired.
                for client in &mut world.clients {
                    if client.watch.take().is_some() {
                        client.stands = None;
                    }
                }
            }),
            Action::List(c) => self.list(&mut world, c)?,
            Action::FirstPage(c) => self.first_page(&mut world, c),
            Action::LastPage(c) => self.last_page(&mut world, c),
            Action::Resume(c) => self.resume(&mut world, c)?,
            Action::ResumeInVain(c) => self.resume(&mut world, c)?.map(|()| {
                if world.clients[c].watch.is_some() {
                    world.clients[c] = before.clients[c];
                }
            }),
            Action::Event(c, ns) => self.event(&mut world, c, ns).map(|time| {
                world.clients[c].has[ns] = Some(time);
                world.clients[c].stands = Some(time);
            }),
            Action::Lost(c, ns) => self.event(&mut world, c, ns).map(|_| {
                world.clients[c].watch = None;
            }),
            Action::Bookmark(c, ns) => self.bookmark(&mut world, c, ns),
            Action::Cut(c) => world.clients[c].watch.take().map(|_| ()),
        };
        Ok(happened.map(|()| world))
    }

    /// Everything up to `time` is given out; where the client is told that it stands.
    fn issue(&self, world: &mut World, time: u8, shown: Shown) -> u8 {
        let told = if self.caller == Caller::TellsTheTruth {
            at(time)
        } else {
            let guard = &mut world.guard;
            guard.unparted(&self.who, &self.kind, at(time), NOW)
        };
        self.give(world, told, Given::Whole(shown));
        clock(told)
    }

    fn list(&self, world: &mut World, c: usize) -> Result<Option<()>, String> {
        if world.clients[c].watch.is_some() {
            return Ok(None);
        }
        let (now, shown) = (world.clock, world.shown());
        let told = self.issue(world, now, shown);
        world.clients[c] = Client {
            stands: Some(told),
            has: [0, 1].map(|ns| shown.0[ns].then_some(now)),
            ..Client::default()
        };
        let admitted = world
            .guard
            .admit(&self.who, &self.kind, Some(at(told)), NOW);
        // Unless there are more events next to each other than are remembered.
        let forgets = world.written.len() > 4 && world.written.iter().skip(3).all(Option::is_some);
        if admitted != Admit::Pass && !forgets {
            return Err("who has just listed is told to list again".to_owned());
        }
        Ok(Some(()))
    }

    /// What the first namespace has: not a position yet.
    fn first_page(&self, world: &mut World, c: usize) -> Option<()> {
        let client = &mut world.clients[c];
        if client.watch.is_some() || client.paging.is_some() {
            return None;
        }
        client.paging = Some(world.clock);
        let page = Given::Page(Shown([true, false], [false; 2]));
        let now = at(world.clock);
        self.give(world, now, page);
        Some(())
    }

    /// The rest, as it was at the first.
    fn last_page(&self, world: &mut World, c: usize) -> Option<()> {
        let time = world.clients[c].paging?;
        let shown = world.shown();
        world.clients[c] = Client {
            stands: Some(time),
            has: [0, 1].map(|ns| shown.0[ns].then_some(time)),
            ..Client::default()
        };
        let page = Shown([false, shown.0[1]], [false, shown.1[1]]);
        let page = if self.caller == Caller::TakesALastPageForTheWhole {
            Given::Whole(page)
        } else {
            Given::LastPage(page)
        };
        self.give(world, at(time), page);
        Some(())
    }

    fn resume(&self, world: &mut World, c: usize) -> Result<Option<()>, String> {
        let client = world.clients[c];
        let (Some(stands), None) = (client.stands, client.watch) else {
            return Ok(None);
        };
        let shown = world.shown();
        let resume = Some(at(stands));
        let held = match world.guard.admit(&self.who, &self.kind, resume, NOW) {
            Admit::Pass => world.guard.with(&self.who, &self.kind, at(stands)).copied(),
            Admit::Expired | Admit::NeedsFloor => None,
        };
        // As `proxy/fan_out/watch.rs` decides it.
        let unclear =
            |held: Shown, ns: usize| held.0[ns] && held.1[ns] && self.caller != Caller::Guesses;
        let Some(held) = held
            .filter(|held| !(0..2).any(|ns| unclear(*held, ns) || (held.0[ns] && !shown.0[ns])))
        else {
            world.clients[c].stands = None;
            return Ok(Some(()));
        };
        let mut watch = Watch {
            shown,
            sent: [None; 2],
            reached: [None; 2],
            marked: None,
        };
        for ns in 0..2 {
            match (client.has[ns], held.0[ns]) {
                (None, false) => {}
                // Of what is empty nobody holds anything.
                (Some(has), false) if world.written(ns, 0, has).next().is_none() => {}
                (Some(has), true) => {
                    let mut missed = world.written(ns, has, stands);
                    if let Some(missed) = missed.next() {
                        return Err(format!("{missed} of {ns} is missed from {stands}"));
                    }
                }
                (has, believed) => {
                    return Err(format!("{ns} is held: {has:?}, believed: {believed}"));
                }
            }
            if !shown.0[ns] {
                continue;
            }
            if held.0[ns] {
                watch.sent[ns] = Some(stands);
                watch.reached[ns] = Some(stands);
            } else {
                watch.sent[ns] = Some(world.clock);
                world.clients[c].has[ns] = Some(world.clock);
                // The object as it is now.
                if let Some(time) = world.written(ns, 0, world.clock).last() {
                    self.part(world, time, shown);
                    world.clients[c].stands = Some(time);
                }
            }
        }
        world.clients[c].watch = Some(watch);
        Ok(Some(()))
    }

    /// The time of the next event of `ns`, which goes out.
    fn event(&self, world: &mut World, c: usize, ns: usize) -> Option<u8> {
        let watch = world.clients[c].watch?;
        let time = world.written(ns, watch.sent[ns]?, world.clock).next()?;
        if let Some(watch) = &mut world.clients[c].watch {
            watch.sent[ns] = Some(time);
            watch.reached[ns] = Some(time);
        }
        self.part(world, time, watch.shown);
        Some(time)
    }

    /// An event is given out.
    fn part(&self, world: &mut World, time: u8, shown: Shown) {
        match self.caller {
            Caller::ForgetsParts => {}
            Caller::TakesPartsForTheWhole => self.give(world, at(time), Given::Whole(shown)),
            Caller::Careful
            | Caller::TellsTheTruth
            | Caller::Guesses
            | Caller::TakesALastPageForTheWhole => self.give(world, at(time), Given::Part),
        }
    }

    fn give(&self, world: &mut World, at: Position, given: Given<Shown>) {
        let Self { who, kind, .. } = self;
        let guard = &mut world.guard;
        guard.on_given(who, kind, (at, given), NOW.generation, NOW);
    }

    fn bookmark(&self, world: &mut World, c: usize, ns: usize) -> Option<()> {
        let (now, mut watch) = (world.clock, world.clients[c].watch?);
        if world.written(ns, watch.sent[ns]?, now).next().is_some()
            || watch.reached[ns] == Some(now)
        {
            return None;
        }
        watch.sent[ns] = Some(now);
        watch.reached[ns] = Some(now);
        let legs = (0..2).filter(|ns| watch.sent[*ns].is_some());
        let reached = legs.map(|ns| watch.reached[ns]).min().flatten();
        if let Some(reached) = reached
            && watch.marked < Some(reached)
        {
            watch.marked = Some(reached);
            world.clients[c].stands = Some(self.issue(world, reached, watch.shown));
        }
        world.clients[c].watch = Some(watch);
        Some(())
    }

    /// Searches all worlds, nearest first; the number of worlds seen.
    ///
    /// # Errors
    /// The first violation, and the shortest way to it.
    fn explore(&self, left: [u8; 2]) -> Result<usize, String> {
        struct Path(Action, Option<Rc<Self>>);
        let mut actions = vec![
            Action::Write(Some(0)),
            Action::Write(Some(1)),
            Action::Write(None),
            Action::Toggle,
        ];
        for c in 0..2 {
            actions.extend([
                Action::List(c),
                Action::Resume(c),
                Action::ResumeInVain(c),
                Action::Cut(c),
            ]);
            if self.pages {
                actions.extend([Action::FirstPage(c), Action::LastPage(c)]);
            }
            for ns in 0..2 {
                actions.extend([
                    Action::Event(c, ns),
                    Action::Lost(c, ns),
                    Action::Bookmark(c, ns),
                ]);
            }
        }
        let start = self.start(left);
        let mut seen = HashSet::from([signature(&start)]);
        let mut worlds: Vec<(World, Option<Rc<Path>>)> = vec![(start, None)];
        while !worlds.is_empty() {
            let mut next = Vec::new();
            for (world, path) in &worlds {
                for action in &actions {
                    match self.step(world, *action) {
                        Ok(Some(after)) => {
                            if seen.insert(signature(&after)) {
                                next.push((after, Some(Rc::new(Path(*action, path.clone())))));
                            }
                        }
                        Ok(None) => {}
                        Err(what) => {
                            let mut way = vec![*action];
                            let mut at = path;
                            while let Some(step) = at {
                                way.push(step.0);
                                at = &step.1;
                            }
                            way.reverse();
                            return Err(format!("{what} after {way:?}"));
                        }
                    }
                }
            }
            worlds = next;
        }
        Ok(seen.len())
    }
}

fn spend(left: &mut u8) -> bool {
    let spent = left.checked_sub(1);
    *left = spent.unwrap_or(0);
    spent.is_some()
}

/// A world without what makes no difference: which client is which, and the guard's counter of uses.
fn signature(world: &World) -> u128 {
    let mut clients = world.clients;
    clients.sort_unstable();
    let entries = world.guard.entries.values().cloned().map(|mut entry| {
        entry.used = 0;
        entry
    });
    let entries: Vec<Entry<Shown>> = entries.collect();
    digest(&(entries, &world.written, world.right, clients, world.left))
}

#[test]
fn who_goes_on_from_what_was_put_together_misses_nothing() {
    for left in [[2, 1], [1, 2]] {
        let worlds = Model::new(Caller::Careful).explore(left);
        println!("{left:?}: {worlds:?} worlds");
        assert!(worlds.is_ok(), "{worlds:?}");
    }
}

#[test]
fn nor_does_who_was_given_it_in_pages() {
    let worlds = Model::new(Caller::Careful).with_pages().explore([2, 0]);
    println!("{worlds:?} worlds");
    assert!(worlds.is_ok(), "{worlds:?}");
}

#[test]
fn the_search_finds_what_each_duty_of_the_caller_is_for() {
    for (caller, left) in [
        (Caller::ForgetsParts, [2, 0]),
        (Caller::TakesPartsForTheWhole, [2, 0]),
        (Caller::TellsTheTruth, [1, 0]),
        (Caller::Guesses, [1, 2]),
    ] {
        let found = Model::new(caller).explore(left);
        println!("{caller:?}: {found:?}");
        assert!(found.is_err(), "{caller:?}: nothing in {found:?} worlds");
    }
    let hasty = Model::new(Caller::TakesALastPageForTheWhole).with_pages();
    let found = hasty.explore([2, 0]);
    println!("{found:?}");
    assert!(found.is_err(), "pages: nothing in {found:?} worlds");
}
