//! The resume guard as the pipeline sees it: one lock, held for a look-up, touched by requests for narrowed kinds only.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use super::Proxy;
use super::parts::Parts;
use super::reject::Reject;
use crate::catalog::KindFacts;
use crate::filter::Seen;
use crate::identity::IdentityKey;
use crate::k8s::list_options::ContinueToken;
use crate::k8s::list_options::ListOptions;
use crate::k8s::names::GroupResource;
use crate::policy;
use crate::reader::ReaderError;
use crate::tenancy::scope::Generation;
use crate::watch::guard::Admit;
use crate::watch::guard::Along;
use crate::watch::guard::Given;
use crate::watch::guard::Guard;
use crate::watch::guard::Mode;
use crate::watch::guard::Now;
use crate::watch::guard::Position;

/// Identities times narrowed kinds whose positions are remembered: a few hundred bytes each, 30 KiB at the most, and of what
/// is put together the names of its namespaces, once while they stay the same. One that is forgotten costs its clients a
/// relist.
const CAPACITY: usize = 16_384;

/// The positions handed out by this replica. `watch::guard` has the rules.
#[derive(Debug)]
pub(super) struct Positions {
    guard: Mutex<Guard>,
    /// The positions of what was put together, and of which namespaces: there is no reader for these kinds, and none is
    /// needed, since only what was handed out here is admitted.
    whole: Mutex<Guard<Arc<Parts>>>,
}

/// Whose positions of which kind a request asks about or makes, and in which state of affairs it was decided.
#[derive(Clone, Debug)]
pub(super) struct Holder {
    pub(super) who: IdentityKey,
    /// [`crate::identity::Identity::name_key`].
    pub(super) name: IdentityKey,
    pub(super) kind: KindFacts,
    pub(super) now: Now,
}

impl Holder {
    /// The state of affairs in which something decided for this holder is handed out.
    fn at(&self, generation: Generation) -> Now {
        Now {
            generation,
            ..self.now
        }
    }
}

impl Default for Positions {
    fn default() -> Self {
        Self {
            guard: Mutex::new(Guard::new(CAPACITY)),
            whole: Mutex::new(Guard::new(CAPACITY)),
        }
    }
}

impl Positions {
    /// Whether a watch with these options may begin where it wants to. One that begins with the present state may
    /// always: `sendInitialEvents=true`, or no resourceVersion.
    pub(super) fn admit_watch(&self, holder: &Holder, options: &ListOptions) -> Admit {
        match options.resumes_at() {
            None => Admit::Pass,
            Some(at) => self.guard().admit(
                &holder.who,
                &holder.kind.resource,
                Position::parse(at),
                holder.now,
            ),
        }
    }

    /// Whether the page that `token` asks for may be fetched.
    pub(super) fn admit_page(&self, holder: &Holder, token: &ContinueToken) -> Admit {
        let at = Position::of_token(token.resource_version);
        self.guard()
            .admit_page(&holder.who, &holder.kind.resource, at, holder.now)
    }

    /// Whether nothing may begin at `at`, so that a list answered there had better be asked again.
    pub(super) fn is_under_floor(&self, holder: &Holder, at: Option<&str>) -> bool {
        is_under_floor(&mut self.guard(), holder, at)
    }

    /// The same of what is put together.
    pub(super) fn is_under_floor_of_whole(&self, holder: &Holder, at: Option<&str>) -> bool {
        is_under_floor(&mut self.whole(holder), holder, at)
    }

    /// A client is about to have a list whole, or a page of it. `now` is the generation in force now, which may be past
    /// the one the list was decided under.
    pub(super) fn on_list(&self, holder: &Holder, seen: &Seen, now: Generation) {
        let Some(at) = seen.resource_version.as_deref().and_then(Position::parse) else {
            return;
        };
        let given = if seen.continued {
            Given::Page(())
        } else {
            Given::Whole(())
        };
        self.on_given(holder, (at, given), now);
    }

    /// A client is about to have something that reaches `at`, of what is put together from his namespaces. `now` is the
    /// generation in force now, here and below.
    pub(super) fn on_fan_out(
        &self,
        holder: &Holder,
        (at, given): (Position, Given<Arc<Parts>>),
        now: Generation,
    ) {
        let (who, kind, under) = (&holder.who, &holder.kind.resource, holder.now.generation);
        let mut whole = self.whole(holder);
        whole.on_given(who, kind, (at, given), under, holder.at(now));
        whole.on_reached(&holder.name, kind, at);
    }

    /// Where a client is to be told that it stands which is about to have everything up to `at`: there, or earlier, if
    /// others have an event of there and perhaps not all before it.
    pub(super) fn unparted(&self, holder: &Holder, at: Position, now: Generation) -> Position {
        let (who, kind) = (&holder.who, &holder.kind.resource);
        self.whole(holder).unparted(who, kind, at, holder.at(now))
    }

    /// What a client holds who comes with `at`; `None` if it must list again.
    pub(super) fn admit_whole(&self, holder: &Holder, at: Option<Position>) -> Option<Arc<Parts>> {
        let mut whole = self.whole(holder);
        match whole.admit(&holder.who, &holder.kind.resource, at, holder.now) {
            Admit::Pass => {}
            Admit::Expired | Admit::NeedsFloor => return None,
        }
        let parts = whole.with(&holder.who, &holder.kind.resource, at?);
        parts.cloned()
    }

    /// The guard of what is put together, with nothing to learn first.
    fn whole(&self, holder: &Holder) -> MutexGuard<'_, Guard<Arc<Parts>>> {
        let mut whole = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
        let (who, kind) = (&holder.who, &holder.kind.resource);
        if whole.needs_floor(who, kind, holder.now) {
            whole.on_floor(who, kind, Position(0), holder.now);
        }
        whole
    }

    /// Whether a request with these options over all namespaces may go on from a list that had some of them only: a watch
    /// of who may see all by now would never tell him of the rest. `name` is that of the identity, which may be another one since:
    /// a group more shows more.
    pub(super) fn resumes_a_fan_out(
        &self,
        name: &IdentityKey,
        resource: &GroupResource,
        options: &ListOptions,
    ) -> bool {
        let Some(at) = options.resumes_at().and_then(Position::parse) else {
            return false;
        };
        let whole = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
        whole.high(name, resource).is_some_and(|high| at <= high)
    }

    /// A client is about to have an event or bookmark.
    pub(super) fn on_event(&self, holder: &Holder, at: Position, now: Generation) {
        self.on_given(holder, (at, Given::Whole(())), now);
    }

    /// A client is about to have something of `at`, from where it must not go on.
    pub(super) fn on_reached(&self, holder: &Holder, at: Position) {
        self.guard()
            .on_reached(&holder.who, &holder.kind.resource, at);
    }

    fn on_given(&self, holder: &Holder, given: (Position, Given<()>), now: Generation) {
        let (who, kind, under) = (&holder.who, &holder.kind.resource, holder.now.generation);
        self.guard()
            .on_given(who, kind, given, under, holder.at(now));
    }

    fn guard(&self) -> MutexGuard<'_, Guard> {
        // Every method of the guard leaves it whole; a panic elsewhere has not touched it.
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_under_floor<T: Along>(guard: &mut Guard<T>, holder: &Holder, at: Option<&str>) -> bool {
    let floor = guard.floor(&holder.who, &holder.kind.resource, holder.now);
    let at = at.and_then(Position::parse);
    at.zip(floor).is_some_and(|(at, floor)| at <= floor)
}

impl Proxy {
    /// Reads, once and at the start, where each owned kind stands: what a predecessor of this process handed out lies at
    /// or below it. Tries until it succeeds.
    pub async fn learn_base(&self) {
        for (kind, version) in policy::owned_kinds() {
            let mut pause = Duration::from_millis(100);
            let fresh = loop {
                match self.on.reader.position(&kind, version).await {
                    Ok(fresh) => break Position::parse(&fresh.0),
                    // Nothing was handed out of a kind that is not there.
                    Err(error) if error.says_no_such_kind() => break None,
                    Err(error) => {
                        tracing::debug!(
                            error = &error as &dyn std::error::Error,
                            "cannot read a first position yet"
                        );
                    }
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(10));
            };
            // One that cannot be compared leaves the base unknown, and every resume expired.
            if let Some(fresh) = fresh {
                self.positions.guard().on_base(&kind, fresh);
            }
        }
    }

    /// The same for the other kinds that may be narrowed, as far as they answer: nobody waits for it. Else the first list of
    /// each would lie at the position that was read just before it, from where nobody may go on until something is written.
    pub async fn learn_more(&self) {
        let catalog = self.on.catalog.load_full();
        for kind in policy::readable_kinds(&catalog) {
            if policy::owned_kinds().any(|(owned, _)| owned == kind.resource) {
                continue;
            }
            match self.on.reader.position(&kind.resource, &kind.version).await {
                Ok(fresh) => {
                    if let Some(fresh) = Position::parse(&fresh.0) {
                        self.positions.guard().on_base(&kind.resource, fresh);
                    }
                }
                Err(error) => {
                    tracing::debug!(
                        kind = %kind.resource,
                        error = &error as &dyn std::error::Error,
                        "cannot read a first position"
                    );
                }
            }
        }
    }

    /// Reads a fresh position where the guard needs one: the plan of this identity for this kind has flipped, or nothing
    /// is known yet of what was handed out before this process began.
    ///
    /// # Errors
    /// [`Reject::Stale`] if it cannot be read now.
    pub(super) async fn ensure_floor(&self, holder: &Holder) -> Result<(), Reject> {
        if !self
            .positions
            .guard()
            .needs_floor(&holder.who, &holder.kind.resource, holder.now)
        {
            return Ok(());
        }
        let fresh = match self
            .on
            .reader
            .position(&holder.kind.resource, &holder.kind.version)
            .await
        {
            Ok(fresh) => Position::parse(&fresh.0),
            // An aggregated API may have none, or none that compare: nothing may be resumed there, and all may be listed.
            Err(ReaderError::NoPosition(_)) => None,
            // Nobody is narrowed for a kind that the reader may no longer read, and what this process handed out is
            // remembered: who may see all himself is not kept waiting for what nobody can tell.
            Err(error) if holder.now.mode == Mode::Forwarded && error.says_no_such_right() => {
                Some(Position(0))
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "cannot read a fresh position"
                );
                return Err(Reject::Stale);
            }
        };
        let fresh = fresh.unwrap_or(Position::NEVER);
        self.positions
            .guard()
            .on_floor(&holder.who, &holder.kind.resource, fresh, holder.now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Verbs;
    use crate::identity::testing::identity;
    use crate::k8s::names::Namespace;

    fn holder(user: &str, generation: u64) -> Holder {
        let who = identity(user);
        Holder {
            who: *who.key(),
            name: *who.name_key(),
            kind: KindFacts {
                resource: GroupResource::new("", "pods"),
                version: "v1".into(),
                kind: "Pod".into(),
                namespaced: true,
                verbs: Verbs::default(),
                aggregated: false,
                protobuf: true,
            },
            now: Now {
                generation: Generation(generation),
                mode: Mode::Narrowed,
            },
        }
    }

    /// Namespaces shown, and those written `-name` of which nothing was.
    fn parts(text: &str) -> Arc<Parts> {
        let mut parts = Parts::default();
        for word in text.split_whitespace() {
            let hidden = word.strip_prefix('-');
            let name = Namespace::parse(hidden.unwrap_or(word)).unwrap();
            parts.note(&name, hidden.is_none());
        }
        Arc::new(parts)
    }

    fn resuming(at: &str) -> ListOptions {
        ListOptions {
            watch: true,
            resource_version: Some(at.to_owned()),
            ..ListOptions::default()
        }
    }

    #[test]
    fn who_was_shown_a_part_goes_on_from_there_with_that_part_and_nobody_else() {
        let positions = Positions::default();
        let alice = holder("alice", 1);
        let one = Generation(1);
        let admitted = |holder: &Holder, at| positions.admit_whole(holder, Some(Position(at)));
        positions.on_fan_out(&alice, (Position(7), Given::Page(parts("a"))), one);
        assert_eq!(admitted(&alice, 7), None, "a page is no position");
        positions.on_fan_out(&alice, (Position(7), Given::LastPage(parts("b -c"))), one);
        assert_eq!(admitted(&alice, 7), Some(parts("a b -c")));
        positions.on_fan_out(&alice, (Position(6), Given::LastPage(parts("b -c"))), one);
        assert_eq!(admitted(&alice, 6), None, "nobody knows what came before");
        for (who, at) in [(&alice, 6), (&alice, 8), (&holder("bob", 1), 7)] {
            assert_eq!(admitted(who, at), None, "{at}");
        }
        // Another client is given the same position, and more: who comes with it may hold either.
        positions.on_fan_out(&alice, (Position(7), Given::Whole(parts("a b c"))), one);
        assert_eq!(admitted(&alice, 7), Some(parts("a b c -c")));
        // Nothing of an older scope counts, not even if it is handed out again.
        let (later, two) = (holder("alice", 2), Generation(2));
        assert_eq!(admitted(&later, 7), None);
        positions.on_fan_out(&later, (Position(7), Given::Whole(parts("a"))), two);
        assert_eq!(admitted(&later, 7), None);
        positions.on_fan_out(&later, (Position(9), Given::Whole(parts("a"))), two);
        assert_eq!(admitted(&later, 9), Some(parts("a")));
        // One that was made under the old scope and comes late is no position of the new one.
        positions.on_fan_out(&alice, (Position(11), Given::Whole(parts("a"))), two);
        assert_eq!(admitted(&later, 11), None);
    }

    #[test]
    fn from_a_part_there_is_no_way_into_a_forwarded_watch_of_the_whole() {
        let positions = Positions::default();
        let alice = holder("alice", 1);
        let resource = &alice.kind.resource;
        let is_part = |at| positions.resumes_a_fan_out(&alice.name, resource, &resuming(at));
        assert!(!is_part("7"));
        positions.on_fan_out(&alice, (Position(7), Given::Part), Generation(1));
        positions.on_fan_out(&alice, (Position(5), Given::Part), Generation(1));
        assert!(is_part("7") && is_part("5") && is_part("1"));
        // Above it is what was forwarded.
        assert!(!is_part("8"));
    }
}
