//! All interleavings of a small world: two clients of one identity, one namespace that may be granted and revoked, own
//! rights that may come and go, lists and pages that are answered late or from an old cache, watches that break off,
//! a guard that forgets and a replica that restarts. In each state reached: *no admitted resume ever misses a change*.
//!
//! The world knows what every client really saw; the guard does not. A client that saw exactly what is visible now may
//! resume. One that saw something else must not: the watch would never tell it the difference.

use std::collections::HashSet;
use std::hash::DefaultHasher;
use std::hash::Hash;
use std::hash::Hasher;
use std::rc::Rc;

use super::*;
use crate::identity::testing::identity;

/// What a client was shown of the one namespace that may be hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum View {
    Shown,
    Hidden,
    /// Of different scopes, in pages or in a watch that goes on: no state of affairs looks like this.
    Mixed,
}

impl View {
    fn and(self, other: Self) -> Self {
        if self == other { self } else { Self::Mixed }
    }
}

/// How a request was judged when it was sent upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Judged {
    generation: u64,
    forwarded: bool,
    view: View,
}

/// A request that was sent and not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Request {
    List(Judged),
    FirstPage(Judged),
    /// With what the first page showed, and its position.
    LastPage(Judged, View, u8),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Client {
    /// The position it holds, and what it saw up to there.
    holds: Option<(u8, View)>,
    /// The first page of a list, if it has the token for the rest.
    page: Option<(u8, View)>,
    request: Option<Request>,
    watch: Option<Judged>,
}

#[derive(Clone, Debug)]
struct World {
    guard: Guard,
    clock: u8,
    generation: u64,
    visible: bool,
    rights: bool,
    clients: [Client; 2],
    /// How often each of these may still happen: ticks, toggles, flips, restarts, strangers.
    left: [u8; 5],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// Something is written that concerns nobody.
    Tick,
    /// The namespace is granted or revoked, as this replica sees it.
    Toggle,
    /// Own rights over the whole kind come or go.
    Flip,
    /// The replica starts anew; its clients keep what they hold.
    Restart,
    /// Somebody else needs the guard's room.
    Stranger,
    List(usize),
    FirstPage(usize),
    LastPage(usize),
    /// Upstream answers, as of now or from a cache that lags by so much.
    Answer(usize, u8),
    Resume(usize),
    /// The open watch delivers all there is.
    Event(usize),
    Disconnect(usize),
    /// The namespace is granted or revoked, and open watches go on, as a human's do.
    ToggleFollowed,
    /// A watch that goes on delivers something of the present state, which was written so long ago.
    Part(usize, u8),
    /// Another replica, which has not heard of own rights yet, narrows a list.
    Elsewhere(usize),
}

/// Duties of the caller that a test may leave out, to see that it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caller {
    Careful,
    /// Hands out forwarded answers that come in when narrowed ones are due.
    HandsOutLateForwards,
    /// Does not ask before it sends a list.
    AsksOnlyOnResume,
    /// Tells a new process that nothing was ever handed out.
    ForgetsThePast,
    /// Lets forwarded watches run on after a flip.
    KeepsForwardedWatches,
    /// Takes a position from the start of the process for a fresh one.
    RemembersAFloor,
    /// Does not tell of what a human is given between two states.
    ForgetsWhatIsBetweenStates,
}

/// Names that every world shares.
struct Names {
    alice: IdentityKey,
    bob: IdentityKey,
    kind: GroupResource,
}

struct Model {
    names: Names,
    caller: Caller,
}

fn at(clock: u8) -> Position {
    Position(clock.into())
}

impl Model {
    fn new(caller: Caller) -> Self {
        Self {
            names: Names {
                alice: *identity("alice").key(),
                bob: *identity("bob").key(),
                kind: GroupResource::new("", "namespaces"),
            },
            caller,
        }
    }

    fn start(&self, left: [u8; 5]) -> World {
        let mut guard = Guard::new(1);
        guard.on_base(&self.names.kind, at(1));
        World {
            guard,
            clock: 2,
            generation: 1,
            visible: false,
            rights: false,
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
            Action::Tick => spend(&mut world.left[0]).then(|| world.clock += 1),
            Action::Toggle => spend(&mut world.left[1]).then(|| {
                world.visible = !world.visible;
                world.generation += 1;
                self.end_watches(&mut world, false);
            }),
            Action::ToggleFollowed => spend(&mut world.left[1]).then(|| {
                world.visible = !world.visible;
                world.generation += 1;
                Self::follow_watches(&mut world);
            }),
            Action::Part(c, age) => self.part(&mut world, c, age),
            Action::Flip => spend(&mut world.left[2]).then(|| {
                let forwarded = world.rights;
                self.end_watches(&mut world, forwarded);
                world.rights = !world.rights;
            }),
            Action::Restart => spend(&mut world.left[3]).then(|| self.restart(&mut world)),
            Action::Stranger => spend(&mut world.left[4]).then(|| self.stranger(&mut world)),
            Action::List(c) => self.send(&mut world, c, Request::List),
            Action::FirstPage(c) => self.send(&mut world, c, Request::FirstPage),
            Action::LastPage(c) => self.last_page(&mut world, c),
            Action::Answer(c, lag) => self.answer(&mut world, c, lag),
            Action::Resume(c) => self.resume(&mut world, c)?,
            Action::Event(c) => self.event(&mut world, c),
            Action::Disconnect(c) => world.clients[c].watch.take().map(|_| ()),
            Action::Elsewhere(c) => self.elsewhere(&mut world, c),
        };
        Ok(happened.map(|()| world))
    }

    fn now(world: &World) -> Now {
        Now {
            generation: Generation(world.generation),
            mode: if world.rights {
                Mode::Forwarded
            } else {
                Mode::Narrowed
            },
        }
    }

    fn judge(world: &World) -> Judged {
        let shown = world.rights || world.visible;
        Judged {
            generation: world.generation,
            forwarded: world.rights,
            view: if shown { View::Shown } else { View::Hidden },
        }
    }

    /// Narrowed watches are told to list again, forwarded ones just end: their clients will come back with what they hold.
    fn end_watches(&self, world: &mut World, forwarded: bool) {
        for client in &mut world.clients {
            let Some(watch) = client.watch else {
                continue;
            };
            if watch.forwarded != forwarded
                || (forwarded && self.caller == Caller::KeepsForwardedWatches)
            {
                continue;
            }
            client.watch = None;
            if !forwarded {
                client.holds = None;
            }
        }
    }

    /// What their clients hold is of the scope before, until the present state has come whole.
    fn follow_watches(world: &mut World) {
        let judged = Self::judge(world);
        for client in &mut world.clients {
            if let (Some(watch), Some((_, view))) = (&mut client.watch, &mut client.holds) {
                *watch = judged;
                *view = View::Mixed;
                // What it has asked for besides would be another client's.
                client.request = None;
            }
        }
    }

    fn part(&self, world: &mut World, c: usize, age: u8) -> Option<()> {
        let client = &mut world.clients[c];
        let (Some(_), Some((_, View::Mixed))) = (client.watch, client.holds) else {
            return None;
        };
        let written = world.clock.checked_sub(age)?;
        client.holds = Some((written, View::Mixed));
        if self.caller != Caller::ForgetsWhatIsBetweenStates {
            let Names { alice, kind, .. } = &self.names;
            world.guard.on_reached(alice, kind, at(written));
        }
        Some(())
    }

    fn restart(&self, world: &mut World) {
        world.guard = Guard::new(1);
        world.generation += 1;
        for client in &mut world.clients {
            client.request = None;
            client.watch = None;
        }
        if self.caller == Caller::ForgetsThePast {
            world.guard.on_base(&self.names.kind, at(0));
        }
    }

    fn stranger(&self, world: &mut World) {
        let now = Now {
            generation: Generation(world.generation),
            mode: Mode::Narrowed,
        };
        if world
            .guard
            .needs_floor(&self.names.bob, &self.names.kind, now)
        {
            world
                .guard
                .on_floor(&self.names.bob, &self.names.kind, at(world.clock), now);
        }
    }

    fn ask_floor(&self, world: &mut World) {
        let now = Self::now(world);
        let Names { alice, kind, .. } = &self.names;
        if self.caller != Caller::AsksOnlyOnResume && world.guard.needs_floor(alice, kind, now) {
            let fresh = self.fresh(world);
            world.guard.on_floor(alice, kind, fresh, now);
        }
    }

    fn fresh(&self, world: &World) -> Position {
        if self.caller == Caller::RemembersAFloor {
            return at(1);
        }
        at(world.clock)
    }

    /// Until this replica forwards for the first time. From then on the other one is bound to hear of it soon, and where it
    /// has not nothing here can tell.
    fn elsewhere(&self, world: &mut World, c: usize) -> Option<()> {
        let client = &world.clients[c];
        let key = (self.names.kind.clone(), self.names.alice);
        let forwards = world.guard.entries.get(&key);
        if forwards.is_some_and(|entry| entry.mode() == Mode::Forwarded)
            || !world.rights
            || client.request.is_some()
            || client.watch.is_some()
        {
            return None;
        }
        let view = if world.visible {
            View::Shown
        } else {
            View::Hidden
        };
        // Something is written since.
        world.clients[c].holds = Some((world.clock, view));
        world.clock += 1;
        spend(&mut world.left[0]).then_some(())
    }

    fn send(&self, world: &mut World, c: usize, request: impl Fn(Judged) -> Request) -> Option<()> {
        if world.clients[c].request.is_some() || world.clients[c].watch.is_some() {
            return None;
        }
        self.ask_floor(world);
        world.clients[c].request = Some(request(Self::judge(world)));
        Some(())
    }

    fn last_page(&self, world: &mut World, c: usize) -> Option<()> {
        if world.clients[c].request.is_some() {
            return None;
        }
        let (position, view) = world.clients[c].page.take()?;
        self.ask_floor(world);
        let now = Self::now(world);
        let admitted =
            world
                .guard
                .admit_page(&self.names.alice, &self.names.kind, Some(at(position)), now);
        if admitted == Admit::Pass {
            world.clients[c].request = Some(Request::LastPage(Self::judge(world), view, position));
        }
        Some(())
    }

    fn answer(&self, world: &mut World, c: usize, lag: u8) -> Option<()> {
        let request = world.clients[c].request.take()?;
        let fresh = world.clock.checked_sub(lag)?;
        let now = Self::now(world);
        let (Request::List(sent) | Request::FirstPage(sent) | Request::LastPage(sent, ..)) =
            request;
        if sent.forwarded
            && now.mode == Mode::Narrowed
            && self.caller != Caller::HandsOutLateForwards
        {
            // It is decided again, and sent again.
            return Some(());
        }
        let (judged, position) = match request {
            Request::List(judged) => {
                world.clients[c].holds = Some((fresh, judged.view));
                (judged, fresh)
            }
            Request::FirstPage(judged) => {
                world.clients[c].page = Some((fresh, judged.view));
                (judged, fresh)
            }
            // Pages are of the position of the first, whatever the cache.
            Request::LastPage(..) if lag > 0 => return None,
            Request::LastPage(judged, first, position) => {
                world.clients[c].holds = Some((position, first.and(judged.view)));
                (judged, position)
            }
        };
        let Names { alice, kind, .. } = &self.names;
        if judged.forwarded {
            return Some(());
        }
        let under = Generation(judged.generation);
        let given = match request {
            Request::FirstPage(_) => Given::Page(()),
            Request::List(_) | Request::LastPage(..) => Given::Whole(()),
        };
        let guard = &mut world.guard;
        guard.on_given(alice, kind, (at(position), given), under, now);
        Some(())
    }

    fn resume(&self, world: &mut World, c: usize) -> Result<Option<()>, String> {
        let client = world.clients[c];
        let (Some((position, view)), None) = (client.holds, client.watch) else {
            return Ok(None);
        };
        let now = Self::now(world);
        let Names { alice, kind, .. } = &self.names;
        let mut admit = world.guard.admit(alice, kind, Some(at(position)), now);
        if admit == Admit::NeedsFloor {
            let fresh = self.fresh(world);
            world.guard.on_floor(alice, kind, fresh, now);
            admit = world.guard.admit(alice, kind, Some(at(position)), now);
        }
        match admit {
            Admit::Expired => world.clients[c].holds = None,
            Admit::NeedsFloor => {
                return Err("a floor that was just given is asked for again".to_owned());
            }
            Admit::Pass => {
                let judged = Self::judge(world);
                if judged.view != view {
                    return Err(format!(
                        "{view:?} at {position} was admitted where {:?} is right",
                        judged.view
                    ));
                }
                world.clients[c].watch = Some(judged);
            }
        }
        Ok(Some(()))
    }

    fn event(&self, world: &mut World, c: usize) -> Option<()> {
        let watch = world.clients[c].watch?;
        let (position, view) = world.clients[c].holds?;
        if position == world.clock {
            return None;
        }
        // Behind the present state, if that had to come first.
        let view = match view {
            View::Mixed => watch.view,
            View::Shown | View::Hidden => view,
        };
        world.clients[c].holds = Some((world.clock, view));
        if !watch.forwarded {
            let now = Self::now(world);
            let under = Generation(watch.generation);
            let given = (at(world.clock), Given::Whole(()));
            let Names { alice, kind, .. } = &self.names;
            world.guard.on_given(alice, kind, given, under, now);
        }
        Some(())
    }

    /// Searches all worlds reachable by `actions`, nearest first; the number of worlds seen.
    ///
    /// # Errors
    /// The first violation, and the shortest way to it.
    fn explore(&self, left: [u8; 5], actions: &[Action]) -> Result<usize, String> {
        struct Path(Action, Option<Rc<Self>>);
        let start = self.start(left);
        let mut seen = HashSet::new();
        seen.insert(signature(&start, &self.names.alice));
        let mut worlds: Vec<(World, Option<Rc<Path>>)> = vec![(start, None)];
        while !worlds.is_empty() {
            let mut next = Vec::new();
            for (world, path) in &worlds {
                for action in actions {
                    match self.step(world, *action) {
                        Ok(Some(after)) => {
                            if seen.insert(signature(&after, &self.names.alice)) {
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
    match left.checked_sub(1) {
        Some(fewer) => {
            *left = fewer;
            true
        }
        None => false,
    }
}

/// A world without what makes no difference: which client is which, and the guard's counter of uses.
fn signature(world: &World, alice: &IdentityKey) -> u128 {
    let mut clients = world.clients;
    clients.sort_unstable();
    let guard = &world.guard;
    let entries: Vec<(bool, Entry<()>)> = guard
        .entries
        .iter()
        .map(|((_, who), entry)| {
            let mut entry = entry.clone();
            entry.used = 0;
            (who == alice, entry)
        })
        .collect();
    let order: Vec<bool> = guard.order.values().map(|(_, who)| who == alice).collect();
    let bases: Vec<&Base> = guard.bases.values().collect();
    let flags = (world.clock, world.generation, world.visible, world.rights);
    digest(&(entries, order, bases, flags, clients, world.left))
}

pub(super) fn digest(whole: &impl Hash) -> u128 {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, whole).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(0) << 64 | half(1)
}

fn for_both(actions: impl Fn(usize) -> Vec<Action>) -> Vec<Action> {
    (0..2).flat_map(actions).collect()
}

fn lists_and_watches() -> Vec<Action> {
    let mut all = for_both(|c| {
        vec![
            Action::List(c),
            Action::Answer(c, 0),
            Action::Answer(c, 1),
            Action::Resume(c),
            Action::Event(c),
            Action::Disconnect(c),
        ]
    });
    all.extend([Action::Tick, Action::Toggle]);
    all
}

fn pages() -> Vec<Action> {
    let mut all = for_both(|c| {
        vec![
            Action::FirstPage(c),
            Action::LastPage(c),
            Action::Answer(c, 0),
            Action::Resume(c),
        ]
    });
    all.extend([Action::List(0), Action::Tick, Action::Toggle]);
    all
}

#[test]
fn no_admitted_resume_misses_a_change_of_scope() {
    let worlds = Model::new(Caller::Careful).explore([2, 2, 0, 0, 0], &lists_and_watches());
    println!("{worlds:?} worlds");
    assert!(worlds.is_ok(), "{worlds:?}");
}

/// Watches that machines and humans have.
fn followed() -> Vec<Action> {
    let mut all = lists_and_watches();
    all.push(Action::ToggleFollowed);
    all.extend(for_both(|c| vec![Action::Part(c, 0), Action::Part(c, 1)]));
    all
}

#[test]
fn no_admitted_resume_goes_on_from_between_two_states() {
    let worlds = Model::new(Caller::Careful).explore([2, 2, 0, 0, 0], &followed());
    println!("{worlds:?} worlds");
    assert!(worlds.is_ok(), "{worlds:?}");
    let found =
        Model::new(Caller::ForgetsWhatIsBetweenStates).explore([1, 2, 0, 0, 0], &followed());
    println!("{found:?}");
    assert!(found.is_err(), "no hole in {found:?} worlds");
}

#[test]
fn no_admitted_page_mixes_two_scopes() {
    let worlds = Model::new(Caller::Careful).explore([1, 2, 0, 0, 0], &pages());
    println!("{worlds:?} worlds");
    assert!(worlds.is_ok(), "{worlds:?}");
}

#[test]
fn no_admitted_resume_misses_a_change_of_own_rights() {
    let mut actions = lists_and_watches();
    actions.push(Action::Flip);
    let worlds = Model::new(Caller::Careful).explore([2, 1, 2, 0, 0], &actions);
    println!("{worlds:?} worlds");
    assert!(worlds.is_ok(), "{worlds:?}");
}

#[test]
fn no_admitted_resume_misses_what_another_replica_narrowed() {
    let mut actions = lists_and_watches();
    actions.push(Action::Flip);
    actions.extend(for_both(|c| vec![Action::Elsewhere(c)]));
    let worlds = Model::new(Caller::Careful).explore([2, 1, 1, 0, 0], &actions);
    println!("{worlds:?} worlds");
    assert!(worlds.is_ok(), "{worlds:?}");
}

#[test]
fn no_admitted_resume_misses_what_a_forgetful_or_new_guard_never_knew() {
    let mut actions = lists_and_watches();
    actions.extend([Action::Flip, Action::Restart, Action::Stranger]);
    let worlds = Model::new(Caller::Careful).explore([1, 1, 1, 1, 1], &actions);
    println!("{worlds:?} worlds");
    assert!(worlds.is_ok(), "{worlds:?}");
}

#[test]
fn the_search_finds_the_hole_that_each_duty_of_the_caller_closes() {
    let mut actions = lists_and_watches();
    actions.extend([Action::Flip, Action::Restart, Action::Elsewhere(0)]);
    for (caller, left) in [
        (Caller::HandsOutLateForwards, [1, 0, 2, 0, 0]),
        (Caller::AsksOnlyOnResume, [0, 0, 2, 0, 0]),
        (Caller::ForgetsThePast, [0, 0, 1, 1, 0]),
        (Caller::KeepsForwardedWatches, [1, 0, 2, 0, 0]),
        (Caller::RemembersAFloor, [1, 0, 1, 0, 0]),
    ] {
        let found = Model::new(caller).explore(left, &actions);
        println!("{caller:?}: {found:?}");
        assert!(found.is_err(), "{caller:?}: no hole in {found:?} worlds");
    }
}
