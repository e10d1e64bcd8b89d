//! Tests of `watch::guard`.

use super::*;
use crate::identity::testing::identity;

const G1: Generation = Generation(1);
const G2: Generation = Generation(2);

/// A guard, and one identity and kind in it.
struct One {
    guard: Guard,
    who: IdentityKey,
    kind: GroupResource,
    now: Now,
}

impl One {
    /// Whose kind has the base 10.
    fn new(mode: Mode) -> Self {
        let kind = GroupResource::new("", "namespaces");
        let mut guard = Guard::new(10);
        guard.on_base(&kind, Position(10));
        let now = Now {
            generation: G1,
            mode,
        };
        let who = *identity("alice").key();
        Self {
            guard,
            who,
            kind,
            now,
        }
    }

    fn give(&mut self, at: u128, given: Given<()>, under: Generation) {
        let given = (Position(at), given);
        self.guard
            .on_given(&self.who, &self.kind, given, under, self.now);
    }

    fn issue(&mut self, at: u128, under: Generation) {
        self.give(at, Given::Whole(()), under);
    }

    fn page(&mut self, at: u128, under: Generation) {
        self.give(at, Given::Page(()), under);
    }

    fn part(&mut self, at: u128, under: Generation) {
        self.give(at, Given::Part, under);
    }

    fn admit(&mut self, at: u128) -> Admit {
        self.guard
            .admit(&self.who, &self.kind, Some(Position(at)), self.now)
    }

    fn admit_page(&mut self, at: u128) -> Admit {
        self.guard
            .admit_page(&self.who, &self.kind, Some(Position(at)), self.now)
    }

    fn floor(&mut self) -> u128 {
        self.guard.floor(&self.who, &self.kind, self.now).unwrap().0
    }

    fn on_floor(&mut self, fresh: u128) {
        self.guard
            .on_floor(&self.who, &self.kind, Position(fresh), self.now);
    }
}

#[test]
fn only_well_formed_resource_versions_are_positions() {
    for (text, position) in [
        ("41", Some(41)),
        ("340282366920938463463374607431768211455", Some(u128::MAX)),
        ("340282366920938463463374607431768211456", None),
        ("", None),
        ("0", None),
        ("041", None),
        ("+41", None),
        ("-41", None),
        ("4 1", None),
        ("41\n", None),
        ("٤١", None),
        ("0x29", None),
    ] {
        assert_eq!(Position::parse(text), position.map(Position), "{text:?}");
    }
    assert_eq!(Position::of_token(41), Some(Position(41)));
    assert_eq!(Position::of_token(-1), None);
    assert_eq!(Position::of_token(0), None);
}

#[test]
fn exactly_what_was_issued_is_admitted() {
    let mut one = One::new(Mode::Narrowed);
    for at in [20, 22, 30] {
        one.issue(at, G1);
    }
    for (at, verdict) in [
        (20, Admit::Pass),
        (21, Admit::Expired),
        (22, Admit::Pass),
        (25, Admit::Expired),
        (30, Admit::Pass),
        (31, Admit::Expired),
        (10, Admit::Expired),
    ] {
        assert_eq!(one.admit(at), verdict, "{at}");
    }
    assert_eq!(
        one.guard.admit(&one.who, &one.kind, None, one.now),
        Admit::Expired,
        "no number"
    );
}

#[test]
fn nothing_is_admitted_for_another_identity_or_kind() {
    let mut one = One::new(Mode::Narrowed);
    one.issue(20, G1);
    let bob = *identity("bob").key();
    assert_eq!(
        one.guard
            .admit(&bob, &one.kind, Some(Position(20)), one.now),
        Admit::Expired
    );
    let tenants = GroupResource::new("capsule.clastix.io", "tenants");
    one.guard.on_base(&tenants, Position(1));
    assert_eq!(
        one.guard
            .admit(&one.who, &tenants, Some(Position(20)), one.now),
        Admit::Expired
    );
}

#[test]
fn a_change_of_scope_expires_all_positions_and_the_next_list_is_good_again() {
    let mut one = One::new(Mode::Narrowed);
    one.issue(20, G1);
    one.issue(25, G1);
    one.now.generation = G2;
    assert_eq!(one.admit(20), Admit::Expired);
    assert_eq!(one.floor(), 25, "a list at or below is asked again");
    one.issue(25, G2);
    assert_eq!(
        one.admit(25),
        Admit::Expired,
        "it was given out under the old scope as well"
    );
    one.issue(26, G2);
    assert_eq!(one.admit(26), Admit::Pass);
}

#[test]
fn a_late_answer_of_the_old_scope_takes_its_position_with_it() {
    let mut one = One::new(Mode::Narrowed);
    one.now.generation = G2;
    one.issue(30, G2);
    one.issue(31, G2);
    one.issue(30, G1);
    assert_eq!(one.admit(30), Admit::Expired);
    assert_eq!(one.admit(31), Admit::Pass);
}

#[test]
fn a_caller_who_is_behind_is_late() {
    let mut one = One::new(Mode::Narrowed);
    one.now.generation = G2;
    one.issue(30, G2);
    one.now.generation = G1;
    assert_eq!(one.admit(30), Admit::Expired);
    one.issue(40, G1);
    one.now.generation = G2;
    assert_eq!(one.admit(40), Admit::Expired);
    one.issue(41, G2);
    assert_eq!(one.admit(41), Admit::Pass);
}

#[test]
fn the_floor_remembers_what_the_ring_forgot() {
    let mut one = One::new(Mode::Narrowed);
    for at in 100..1000 {
        one.issue(at, G1);
    }
    assert_eq!(one.admit(100), Admit::Expired, "too far behind");
    assert_eq!(one.admit(999), Admit::Pass);
    one.issue(50, G1);
    assert_eq!(one.admit(50), Admit::Expired, "no room below");
    one.now.generation = G2;
    one.issue(500, G2);
    assert_eq!(one.admit(500), Admit::Expired);
}

#[test]
fn a_paged_list_is_a_position_when_its_last_page_is_out() {
    let mut one = One::new(Mode::Narrowed);
    one.page(20, G1);
    assert_eq!(one.admit(20), Admit::Expired);
    assert_eq!(one.admit_page(20), Admit::Pass);
    assert_eq!(one.admit_page(19), Admit::Expired);
    one.issue(20, G1);
    assert_eq!(one.admit(20), Admit::Pass);
}

#[test]
fn page_tokens_end_with_their_generation() {
    let mut one = One::new(Mode::Narrowed);
    one.page(20, G1);
    one.now.generation = G2;
    assert_eq!(one.admit_page(20), Admit::Expired);
    one.page(30, G1);
    assert_eq!(one.admit_page(30), Admit::Expired, "late");
    one.page(30, G2);
    assert_eq!(
        one.admit_page(30),
        Admit::Expired,
        "somebody holds the same token of the old scope"
    );
    one.page(31, G2);
    assert_eq!(one.admit_page(31), Admit::Pass);
}

#[test]
fn own_rights_gained_expire_what_was_narrowed_and_no_more() {
    let mut one = One::new(Mode::Narrowed);
    one.issue(20, G1);
    one.now.mode = Mode::Forwarded;
    assert_eq!(one.admit(20), Admit::NeedsFloor);
    assert!(one.guard.needs_floor(&one.who, &one.kind, one.now));
    one.on_floor(24);
    assert!(!one.guard.needs_floor(&one.who, &one.kind, one.now));
    assert_eq!(one.admit(20), Admit::Expired);
    assert_eq!(one.admit(23), Admit::Expired);
    assert_eq!(
        one.admit(24),
        Admit::Pass,
        "a list right after the flip, in a cluster without writes"
    );
    assert_eq!(one.admit(99), Admit::Pass, "forwarded answers are not read");
    one.issue(50, G1);
    assert_eq!(
        one.admit(50),
        Admit::Expired,
        "a narrowed list came in late"
    );
    assert_eq!(one.admit(51), Admit::Pass);
}

#[test]
fn what_others_handed_out_before_the_first_forwarded_answer_is_expired() {
    let mut one = One::new(Mode::Forwarded);
    // Above the base, and narrowed by a replica that has not heard of the right yet.
    assert_eq!(one.admit(20), Admit::NeedsFloor);
    one.on_floor(24);
    assert_eq!(one.admit(20), Admit::Expired);
    assert_eq!(one.admit(24), Admit::Pass);
}

#[test]
fn what_is_the_whole_to_one_and_a_part_to_another_is_expired() {
    let mut one = One::new(Mode::Narrowed);
    let unparted = |one: &mut One, at| {
        let at = one
            .guard
            .unparted(&one.who, &one.kind, Position(at), one.now);
        at.0
    };
    one.issue(20, G1);
    one.part(20, G1);
    assert_eq!(one.admit(20), Admit::Expired);
    one.issue(20, G1);
    assert_eq!(one.admit(20), Admit::Expired, "whoever is first");
    assert_eq!(unparted(&mut one, 20), 19);
    one.issue(19, G1);
    assert_eq!(one.admit(19), Admit::Pass);
    assert_eq!(unparted(&mut one, 11), 11);
    one.part(11, G1);
    assert_eq!(
        unparted(&mut one, 11),
        11,
        "at the floor it does not matter"
    );
    // A part of an older scope is no part of this one.
    one.now.generation = G2;
    one.part(30, G1);
    assert_eq!(one.floor(), 30);
}

#[test]
fn parts_that_are_forgotten_may_be_anywhere_up_to_the_last_of_them() {
    let mut one = One::new(Mode::Narrowed);
    one.issue(20, G1);
    one.issue(24, G1);
    one.part(24, G1);
    assert_eq!(one.admit(24), Admit::Expired, "somebody has a part of it");
    // One more than is remembered.
    one.part(26, G1);
    assert_eq!(one.admit(24), Admit::Expired, "and that is not forgotten");
    one.issue(22, G1);
    one.issue(24, G1);
    one.issue(25, G1);
    assert_eq!(
        [20, 22, 24, 25, 26].map(|at| one.admit(at)),
        [
            Admit::Pass,    // from before
            Admit::Expired, // may have been a part
            Admit::Expired, // was one
            Admit::Pass,
            Admit::Expired, // is one
        ]
    );
    assert_eq!(one.floor(), 10, "what others hold is no less good for it");
}

#[test]
fn own_rights_lost_expire_what_was_forwarded() {
    let mut one = One::new(Mode::Forwarded);
    one.on_floor(11);
    assert_eq!(one.admit(20), Admit::Pass);
    one.now.mode = Mode::Narrowed;
    assert_eq!(one.admit(20), Admit::NeedsFloor);
    one.on_floor(24);
    assert_eq!(one.admit(24), Admit::Expired);
    one.issue(24, G1);
    assert_eq!(
        one.admit(24),
        Admit::Expired,
        "a forwarded list may have ended there too"
    );
    one.issue(25, G1);
    assert_eq!(one.admit(25), Admit::Pass);
}

#[test]
fn two_who_ask_for_one_floor_do_not_undo_each_other() {
    let mut one = One::new(Mode::Forwarded);
    one.on_floor(11);
    assert_eq!(one.admit(11), Admit::Pass);
    one.now.mode = Mode::Narrowed;
    one.on_floor(20);
    one.issue(25, G1);
    one.on_floor(30);
    assert_eq!(one.admit(25), Admit::Pass);
}

#[test]
fn a_new_process_admits_nothing_it_did_not_issue_above_its_base() {
    let mut one = One::new(Mode::Narrowed);
    one.guard = Guard::new(10);
    assert_eq!(one.admit(20), Admit::NeedsFloor);
    one.issue(30, G1);
    one.on_floor(25);
    assert_eq!(
        one.floor(),
        30,
        "what was given out meanwhile counts as well"
    );
    one.issue(30, G1);
    assert_eq!(one.admit(30), Admit::Expired);
    one.issue(31, G1);
    assert_eq!(one.admit(31), Admit::Pass);
}

#[test]
fn the_entry_used_longest_ago_is_forgotten_and_covered_by_the_base() {
    let mut one = One::new(Mode::Narrowed);
    one.guard.capacity = 2;
    let (bob, carol) = (*identity("bob").key(), *identity("carol").key());
    one.issue(20, G1);
    let whole = |at| (Position(at), Given::Whole(()));
    one.guard.on_given(&bob, &one.kind, whole(21), G1, one.now);
    assert_eq!(one.admit(20), Admit::Pass, "and used now");
    one.guard
        .on_given(&carol, &one.kind, whole(22), G1, one.now);
    assert_eq!(one.admit(20), Admit::Pass);
    assert_eq!(
        one.guard
            .admit(&bob, &one.kind, Some(Position(21)), one.now),
        Admit::Expired
    );
    assert_eq!(one.guard.entries.len(), 2);
    assert_eq!(one.guard.order.len(), 2);
    assert_eq!(
        one.guard.bases[&one.kind].floor,
        Position(22),
        "carol's went for bob's"
    );
}

#[test]
fn a_forgotten_forwarded_entry_makes_newcomers_ask() {
    let mut one = One::new(Mode::Forwarded);
    one.guard.capacity = 1;
    one.on_floor(11);
    assert_eq!(one.admit(20), Admit::Pass);
    let bob = *identity("bob").key();
    assert!(one.guard.needs_floor(&bob, &one.kind, one.now));
    one.guard.on_floor(&bob, &one.kind, Position(40), one.now);
    assert_eq!(
        one.guard
            .admit(&bob, &one.kind, Some(Position(41)), one.now),
        Admit::Pass
    );
}
