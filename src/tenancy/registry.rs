//! The identities present and their scopes: one writer takes in events, everyone else holds a [`Presence`].
//!
//! **Register first, decide second.** [`Tenancy::present`] enters an identity and computes its scope under a read lock
//! of the index; the writer changes the index under the write lock and looks up whom it concerns afterwards. So an
//! identity entered before a change is told of it, and one entered after was computed with it. Nothing falls between.
//!
//! Locks, always taken in this order: `writer`, `index`, `people`. None is held across an await. Requests of an identity
//! that is known take `people` only, for one look-up; what is slow (scopes of many, relists) happens outside it.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::RwLockReadGuard;
use std::sync::RwLockWriteGuard;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::event::Changes;
use super::event::Event;
use super::event::Source;
use super::facts::Uid;
use super::index::Index;
use super::index::Rules;
use super::informers;
use super::pace::BETWEEN_GRANTS;
use super::pace::Publish;
use super::pace::pace;
use super::people::People;
use super::people::Person;
use super::presence::Presence;
use super::scope::Generation;
use super::scope::Scope;
use super::sources::Sources;
use super::subject::Subject;
use super::subject::subjects_of;
use crate::clock::Clock;
use crate::identity::Identity;
use crate::identity::IdentityKey;
use crate::k8s::names::Namespace;
use crate::metrics::Sheet;
use crate::ready::Condition;
use crate::ready::Readiness;

/// Identities kept that nothing is open for. One is a few hundred bytes besides its groups, and one that is evicted
/// costs its next watch one relist.
const MOST_PEOPLE: usize = 50_000;
/// How long an identity stays after its last request, so that a client between two requests keeps its positions.
const IDLE: Duration = Duration::from_mins(10);
/// How often the idle are looked for; several times in [`IDLE`], since what is open is noted then.
const SWEEP: Duration = Duration::from_mins(1);
/// How often silence is measured and the wall clock compared: it may jump, the runtime's timers do not.
const LOOK: Duration = Duration::from_secs(5);

/// What tenancy is told by configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whom to forward untouched, and whether RoleBindings to everybody count.
    pub rules: Rules,
    /// Whether Tenants and the CapsuleConfiguration are followed.
    pub capsule: bool,
    /// The CapsuleConfiguration to follow.
    pub configuration_name: String,
    /// Whether RoleBindings give sight of their namespaces.
    pub role_bindings: bool,
    /// How long a watch of a source runs before the API server ends it and it is opened again, in whole seconds: the
    /// pulse of a source in which nothing happens, well within the two minutes after which a silent one makes the
    /// process unready. It is also the longest time a connection that died without a word goes unnoticed. One small
    /// request a minute and source is nothing to an API server; its own bookmarks, about one a minute, are not promised.
    pub pulse: Duration,
    /// Silence of a source after which the process is not ready.
    pub unready_after: Duration,
    /// Silence of a source after which narrowed requests are refused.
    pub refuse_after: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rules: Rules::default(),
            capsule: true,
            configuration_name: "default".to_owned(),
            role_bindings: true,
            pulse: Duration::from_mins(1),
            unready_after: Duration::from_mins(2),
            refuse_after: Duration::from_mins(10),
        }
    }
}

impl Settings {
    fn sources(&self) -> Vec<Source> {
        let followed = |source: &Source| match source {
            Source::Tenants | Source::Configuration | Source::Settings | Source::Globals => {
                self.capsule
            }
            Source::Namespaces => true,
            Source::RoleBindings => self.role_bindings,
        };
        Source::ALL.into_iter().filter(followed).collect()
    }
}

/// How well the facts are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Every source was heard lately.
    Fresh,
    /// One has been silent so long that requests had better go to another replica.
    Unready,
    /// One has been silent so long that nothing may be narrowed by what is known: 503, and narrowed watches end.
    Stale,
}

/// Who sees what, for everyone present. Clones are handles to one state.
#[derive(Clone, Debug)]
pub struct Tenancy {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: Settings,
    clock: Clock,
    writer: Mutex<Writer>,
    index: RwLock<Index>,
    people: Mutex<People>,
    sources: Sources,
    generations: AtomicU64,
    /// The timers may have to ring earlier than they thought.
    wake: Notify,
    /// Says when the index has taken in events.
    applied: watch::Sender<()>,
    /// Says when a ProxySetting or GlobalProxySettings was among them.
    rules: watch::Sender<()>,
}

/// What only the one who applies events knows.
#[derive(Debug)]
struct Writer {
    /// When an identity was last given something, for a second after that.
    granted: HashMap<IdentityKey, Instant>,
    /// Who is to be computed again, and when: grants held back.
    held: BTreeSet<(Instant, IdentityKey)>,
    swept: Instant,
}

impl Tenancy {
    /// Knows nothing yet: everyone is a stranger, or ignored. `clock` says how young a namespace is.
    pub fn new(settings: Settings, clock: Clock) -> Self {
        let shared = Shared {
            writer: Mutex::new(Writer {
                granted: HashMap::new(),
                held: BTreeSet::new(),
                swept: Instant::now(),
            }),
            index: RwLock::new(Index::new(settings.rules.clone())),
            people: Mutex::new(People::new(MOST_PEOPLE)),
            sources: Sources::new(settings.sources()),
            generations: AtomicU64::new(0),
            wake: Notify::new(),
            applied: watch::Sender::new(()),
            rules: watch::Sender::new(()),
            clock,
            settings,
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Enters `who`, to be told of changes for as long as the answer lives. To be called before a request is judged.
    ///
    /// One hash look-up for an identity that is known; for a new one a look-up per group.
    pub fn present(&self, who: &Arc<Identity>) -> Presence {
        let now = Instant::now();
        let known = self.shared.people().find(who.key(), now);
        if let Some(presence) = known {
            return presence;
        }
        let index = self.shared.index();
        let named: Vec<Subject> = subjects_of(who)
            .filter(|subject| index.names(subject))
            .collect();
        let standing = index.standing(who, &named);
        let mut people = self.shared.people();
        // Another request of the same identity may have been quicker.
        if let Some(presence) = people.find(who.key(), now) {
            return presence;
        }
        let scope = Arc::new(Scope {
            generation: self.shared.next_generation(),
            standing,
        });
        let person = Arc::new(Person {
            who: Arc::clone(who),
            scope: watch::Sender::new(scope),
            stirred: watch::Sender::new(()),
            open: Arc::default(),
        });
        people.enter(&person, named, now)
    }

    /// Follows the cluster as the reader until `stop`, and publishes what changes.
    ///
    /// Each source takes out a readiness handle now, before the future is first polled, and drops it when its first
    /// complete list is applied. Silence makes the process unready later.
    pub fn run(
        self,
        client: kube::Client,
        readiness: &Readiness,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static {
        let followed = self.shared.sources.followed().iter();
        let handles = followed
            .map(|source| (*source, readiness.handle(source.as_str())))
            .collect();
        let condition = readiness.condition("contact with the API server");
        async move {
            let follow = informers::follow(&self, client, handles);
            let tend = self.tend(Some(&condition));
            tokio::select! {
                // First, so that a storm of events cannot keep it alive.
                biased;
                () = stop.cancelled() => {}
                () = async { tokio::join!(follow, tend); } => {}
            }
        }
    }

    /// Rings the timers only: held grants, young namespaces, the idle. [`Tenancy::run`] does it too; by itself it serves
    /// those who bring their own events to [`Tenancy::apply`].
    pub async fn keep_time(self, stop: CancellationToken) {
        stop.run_until_cancelled(self.tend(None)).await;
    }

    /// Takes in `events` as one step and publishes what they change. When it returns, every presence concerned has its
    /// new scope, save for grants that are held back for at most a second.
    ///
    /// Informers call it; so may whoever brings facts of his own, such as tests.
    pub fn apply(&self, events: Vec<Event>) {
        let mut writer = self.shared.writer();
        let now = self.shared.clock.timestamp();
        let mut changes = Changes::default();
        let of_rules = events.iter().any(Event::is_of_rules);
        for event in events {
            let steps = self.unpack(event);
            let mut index = self.shared.index_mut();
            for step in steps {
                changes.extend(index.apply(step, now));
            }
        }
        self.publish(&mut writer, &changes);
        drop(writer);
        self.shared.wake.notify_one();
        self.shared.applied.send_replace(());
        if of_rules {
            self.shared.rules.send_replace(());
        }
    }

    /// Says when a ProxySetting or GlobalProxySettings has changed.
    pub fn rule_changes(&self) -> watch::Receiver<()> {
        self.shared.rules.subscribe()
    }

    /// What it was told beyond the facts.
    pub fn rules(&self) -> &Rules {
        &self.shared.settings.rules
    }

    /// Waits until the namespace `name` with this `uid` is known, and until everything it gives `who` is in his scope:
    /// whoever has created it must find it in his next list. `who` is present, by the request that created it.
    ///
    /// It waits for as long as it takes; the caller bounds it. Cancel-safe.
    pub async fn has_entered(&self, who: &IdentityKey, name: &Namespace, uid: &Uid) {
        let mut applied = self.shared.applied.subscribe();
        while !self.shared.index().has_namespace(name, uid) {
            if applied.changed().await.is_err() {
                return;
            }
        }
        while let Some(until) = self.hasten(who) {
            tokio::time::sleep_until(until).await;
        }
    }

    /// How long each source has been silent.
    pub fn age(&self) -> Vec<(Source, Duration)> {
        let sources = &self.shared.sources;
        sources
            .followed()
            .iter()
            .map(|source| (*source, sources.silence(*source)))
            .collect()
    }

    /// How well the facts are known now.
    pub fn freshness(&self) -> Freshness {
        let silence = self.shared.sources.longest_silence();
        if silence >= self.shared.settings.refuse_after {
            Freshness::Stale
        } else if silence >= self.shared.settings.unready_after {
            Freshness::Unready
        } else {
            Freshness::Fresh
        }
    }

    /// How many identities are present.
    pub fn len(&self) -> usize {
        self.shared.people().len()
    }

    /// Whether nobody is present.
    pub fn is_empty(&self) -> bool {
        self.shared.people().is_empty()
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// Writes down how well the facts are known, and for how many.
    ///
    /// # Errors
    /// What the writer says.
    pub fn families(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let sources = &self.shared.sources;
        sources.families(sheet)?;
        sheet.gauge(
            "scope_age_seconds",
            "Age of the oldest facts that narrowed answers rest on; above the limit they are refused",
            [([], sources.longest_silence().as_secs_f64())],
        )?;
        let present = self.shared.people().len();
        sheet.gauge(
            "scopes",
            "Identities whose scope is kept current",
            [([], present)],
        )
    }

    /// What is known about the sources of facts.
    pub fn sources(&self) -> &Sources {
        &self.shared.sources
    }

    /// A relist as its differences, found while others may read: the write lock is then held for what is really new.
    fn unpack(&self, event: Event) -> Vec<Event> {
        match event {
            Event::Applied(_) | Event::Gone(_) => vec![event],
            Event::Reset(source, facts) => self.shared.index().differences(source, facts),
        }
    }

    /// Gives everyone whom `changes` concern the scope he has now.
    fn publish(&self, writer: &mut Writer, changes: &Changes) {
        if changes.is_empty() {
            return;
        }
        let concerned = {
            let mut people = self.shared.people();
            people.name(&changes.named);
            people.carrying(&changes.touched)
        };
        for (person, named) in concerned {
            let _held_until = self.compute(writer, &person, &named);
            person.stirred.send_replace(());
        }
    }

    /// Publishes what is held back for `who`, if it may be by now. Otherwise says when to come again.
    fn hasten(&self, who: &IdentityKey) -> Option<Instant> {
        let mut writer = self.shared.writer();
        let (person, named) = self.shared.people().with_subjects(who)?;
        if person.scope.receiver_count() <= 1 {
            // Nothing is open but the request that waits: there is no watch to spare.
            writer.granted.remove(who);
        }
        self.compute(&mut writer, &person, &named)
    }

    /// Computes the scope of `person` and publishes it, or notes when to do so and says it.
    fn compute(&self, writer: &mut Writer, person: &Person, named: &[Subject]) -> Option<Instant> {
        let now = Instant::now();
        let key = *person.who.key();
        let standing = self.shared.index().standing(&person.who, named);
        let verdict = pace(
            &person.scope.borrow().standing,
            &standing,
            writer.granted.get(&key).copied(),
            now,
        );
        match verdict {
            Publish::Nothing => return None,
            Publish::Later(when) => {
                writer.held.insert((when, key));
                return Some(when);
            }
            Publish::Grant => {
                writer.granted.insert(key, now);
            }
            Publish::AtOnce => {}
        }
        person.scope.send_replace(Arc::new(Scope {
            generation: self.shared.next_generation(),
            standing,
        }));
        None
    }

    /// Does what is due, again and again.
    async fn tend(&self, condition: Option<&Condition>) {
        loop {
            let next = self.tick();
            if let Some(condition) = condition {
                self.report(condition);
            }
            tokio::select! {
                () = self.shared.wake.notified() => {}
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    /// Publishes held grants that are due, takes back what is no longer young, forgets the idle. Returns when to come
    /// again.
    fn tick(&self) -> Instant {
        let mut writer = self.shared.writer();
        let now = Instant::now();
        let wall = self.shared.clock.timestamp();
        let changes = self.shared.index_mut().expire(wall);
        self.publish(&mut writer, &changes);
        while let Some((when, key)) = writer.held.first().copied()
            && when <= now
        {
            writer.held.remove(&(when, key));
            let person = self.shared.people().with_subjects(&key);
            if let Some((person, named)) = person {
                let _held_until = self.compute(&mut writer, &person, &named);
            }
        }
        if now >= writer.swept + SWEEP {
            writer.swept = now;
            writer
                .granted
                .retain(|_, granted| now < *granted + BETWEEN_GRANTS);
            self.shared.people().sweep(now, IDLE);
        }
        let held = writer.held.first().map(|(when, _)| *when);
        let young = self
            .shared
            .index()
            .next_deadline()
            .map(|until| now + until_then(wall, until));
        [held, young]
            .into_iter()
            .flatten()
            .fold(now + LOOK, Instant::min)
    }

    fn report(&self, condition: &Condition) {
        match self.freshness() {
            Freshness::Fresh => condition.hold(),
            Freshness::Unready | Freshness::Stale => condition.fail(),
        }
    }
}

fn until_then(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or_default()
}

impl Shared {
    fn next_generation(&self) -> Generation {
        Generation(self.generations.fetch_add(1, Ordering::Relaxed) + 1)
    }

    // A panic under a lock would be a bug of ours, and ends the task it happens in. The state behind is replaced field
    // by field by infallible steps, so going on with it is better than ending every request that follows.

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn people(&self) -> MutexGuard<'_, People> {
        self.people.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
