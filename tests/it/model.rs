//! The model checker of watches. A world is made up by dice and changed by dice while clients of every kind follow it
//! through two replicas, and things go wrong. Two rules are checked all the time:
//!
//! * When the world rests, every store equals what the administrator lists and the oracle lets through, version by version
//!   (`model/quiet.rs`; the oracle is that of lists, `random/oracle.rs`).
//! * Nothing that a replica hands out while a scope is in force shows a namespace that this scope does not
//!   (`model/sights.rs`).
//!
//! `SEED=… cargo test --test it model` takes the same decisions again; races are what they are. `make soak` goes on for as
//! long as it is told.

mod ledger;
mod libraries;
mod lines;
mod quiet;
mod replicas;
mod sights;
mod store;
mod team;
mod turns;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use self::ledger::Ledger;
use self::lines::Mood;
use self::lines::Reader;
use self::quiet::sees_all;
use self::replicas::Replicas;
use self::sights::Sights;
use self::sights::Watching;
use self::team::Client;
use self::team::Follower;
use self::team::Place;
use self::turns::deck;
use crate::harness;
use crate::harness::world::World;
use crate::random::cluster::Kind;
use crate::random::cluster::Person;
use crate::random::dice::Dice;
use crate::random::making::RandomWorld;
use crate::random::making::Size;
use crate::random::seed;

/// How long a store may take to be right. Facts may be late by as much as a client waits after an error, and more than once;
/// and who reads 64 bytes at a time has a long way through what he has missed where tests share a processor.
const PATIENCE: Duration = Duration::from_secs(120);
/// What takes longer is told.
const LATE: Duration = Duration::from_secs(8);
/// How long the short run goes on, after it has begun, and how many turns it takes on a slow machine.
const SHORT: Duration = Duration::from_secs(40);
const TURNS: usize = 6;
/// How much longer than it goes on a run may take.
const SLACK: Duration = Duration::from_secs(300);

/// Everything of a run.
struct Model {
    world: &'static World,
    seed: u64,
    dice: Dice,
    random: RandomWorld,
    replicas: Replicas,
    people: Vec<Watched>,
    followers: Vec<Follower>,
    ledger: Arc<Ledger>,
    mood: Arc<Mood>,
    turn: usize,
    /// Who has ever seen all of a kind himself, when the world rested.
    saw_all: Mutex<BTreeSet<(usize, &'static str)>>,
}

/// Somebody who is watched for.
struct Watched {
    who: Person,
    /// What replicas show him.
    sights: Arc<Sights>,
    /// By replica.
    watching: Vec<Watching>,
}

#[test]
fn every_store_ends_equal_to_a_fresh_list_and_nothing_revoked_is_handed_out() {
    let long = match std::env::var("SOAK_MINUTES") {
        Ok(minutes) => Duration::from_mins(minutes.parse().unwrap()),
        Err(_) => SHORT,
    };
    harness::run_disturbed(long + SLACK, |world| async move {
        Box::pin(check(world, long)).await;
    });
}

/// Goes on for so long.
async fn check(world: &'static World, long: Duration) {
    let mut model = Box::pin(Model::start(world, seed())).await;
    model.rest().await;
    let until = Instant::now() + long;
    let mut faults = Vec::new();
    while Instant::now() < until || model.turn < TURNS {
        if faults.is_empty() {
            faults = deck(&mut model.dice);
        }
        let fault = faults.remove(0);
        model.turn += 1;
        model.change(fault).await;
        model.rest().await;
        eprintln!("turn {} ({fault:?}): {}", model.turn, model.ledger);
    }
    eprintln!(
        "SEED={}: turns {}, {}, connections cut {}",
        model.seed,
        model.turn,
        model.ledger,
        model.replicas.front.cuts()
    );
    model.was_not_dull();
}

impl Model {
    async fn start(world: &'static World, seed: u64) -> Self {
        let dice = Dice::new(seed);
        let random = RandomWorld::make(world, dice.branch("world"), Size::SMALL).await;
        let ledger = Arc::new(Ledger::default());
        let replicas = Replicas::start(world).await;
        let mut model = Self {
            world,
            seed,
            people: watched(world, &random, &ledger),
            dice: dice.branch("turns"),
            random,
            replicas,
            followers: Vec::new(),
            ledger,
            mood: Arc::default(),
            turn: 0,
            saw_all: Mutex::default(),
        };
        model.gather(&dice).await;
        for which in 0..2 {
            model.attend(which).await;
        }
        model
    }

    /// Starts all clients.
    async fn gather(&mut self, dice: &Dice) {
        use Client::*;
        let place = Place {
            url: self.replicas.front.url(),
            ca: self.replicas.ca(),
            ledger: Arc::clone(&self.ledger),
            mood: Arc::clone(&self.mood),
        };
        let team = [
            (0, "namespaces", Lines(Reader::Human)),
            (1, "namespaces", ReflectorByWatchList),
            (1, "namespaces", KubeRs),
            (1, "namespaces", Kubectl),
            (1, "namespaces", Lines(Reader::Human)),
            (1, "configmaps", ReflectorInProtobuf),
            (1, "configmaps", Lines(Reader::Machine)),
            (2, "namespaces", RetryWatcher),
            (2, "namespaces", KubeRsStreaming),
            (2, "namespaces", Lines(Reader::Machine)),
            (2, "configmaps", KubeRs),
            (2, "configmaps", Lines(Reader::Human)),
            (2, "storageclasses", ReflectorOfMetadata),
            (2, "storageclasses", Lines(Reader::Human)),
            (3, "namespaces", Lines(Reader::Human)),
            (3, "tenants", KubeRs),
            (3, "tenants", Lines(Reader::Machine)),
            (3, "persistentvolumes", Lines(Reader::Machine)),
            (3, "clusterroles", KubeRsStreaming),
            (3, "configmaps", KubeRsStreaming),
            (1, "namespaces", Lines(Reader::WebSocket)),
            (2, "configmaps", Lines(Reader::WebSocket)),
        ];
        for (number, (person, plural, client)) in team.into_iter().enumerate() {
            let (watched, kind) = (&self.people[person], Kind::of(plural));
            let judged = !sees_all(self.world, &watched.who, kind).await;
            let follower = Follower::start(
                &place,
                (person, &watched.who),
                (client, kind),
                judged.then_some(&watched.sights),
                dice.branch(&format!("client {number}")),
            );
            self.followers.push(follower.await);
        }
    }

    /// Attends to what replica `which` shows everybody.
    async fn attend(&mut self, which: usize) {
        for watched in &mut self.people {
            let presence = self.replicas.running[which]
                .presence(&watched.who.token)
                .await;
            let watching = watched.sights.at_replica(which, presence);
            if which < watched.watching.len() {
                watched.watching[which] = watching;
            } else {
                watched.watching.push(watching);
            }
        }
    }

    /// Waits until every store is right, and right again after one more change that all have seen.
    async fn rest(&mut self) {
        self.mood.hurry.store(true, Ordering::Relaxed);
        self.random.settle().await;
        self.until_all_is_right("at rest").await;
        self.mark().await;
        self.until_all_is_right("after a mark").await;
        let wrong = self.ledger.wrong();
        assert!(
            wrong.is_empty(),
            "SEED={}, turn {}:\n{}",
            self.seed,
            self.turn,
            wrong.join("\n")
        );
        self.mood.hurry.store(false, Ordering::Relaxed);
    }

    async fn until_all_is_right(&self, when: &str) {
        let (begun, mut last) = (Instant::now(), Vec::new());
        let until = begun + PATIENCE;
        loop {
            let differences = self.differences().await;
            if differences.is_empty() {
                if begun.elapsed() > LATE {
                    let last = last.join("\n");
                    eprintln!(
                        "right {when} after {:?}; last was:\n{last}",
                        begun.elapsed()
                    );
                }
                return;
            }
            assert!(
                Instant::now() < until,
                "SEED={}, turn {}, {when}:\n{}\n{}",
                self.seed,
                self.turn,
                differences.join("\n"),
                self.ledger.wrong().join("\n")
            );
            last = differences;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// A run in which nothing happened proves nothing.
    fn was_not_dull(&self) {
        let Ledger {
            grants,
            revocations,
            judged,
            expiries,
            reconnects,
            ..
        } = &*self.ledger;
        for (what, count, least) in [
            ("grants", grants, 2),
            ("revocations", revocations, 2),
            ("frames judged", judged, 50),
            ("expiries", expiries, 5),
            ("reconnects", reconnects, 2),
        ] {
            let so_far = count.so_far();
            assert!(so_far >= least, "a dull run: {so_far} {what}");
        }
    }
}

/// Who is watched for: an administrator, whom the proxy leaves alone, and some of Capsule's users.
fn watched(world: &'static World, random: &RandomWorld, ledger: &Arc<Ledger>) -> Vec<Watched> {
    let is_in = |who: &Person, group: &String| who.groups.contains(group);
    let administrators = random
        .people
        .iter()
        .filter(|who| is_in(who, &world.groups.admins));
    let early = random.people.len() - Size::SMALL.latecomers;
    let users = random.people[..early].iter();
    let users = users
        .filter(|who| is_in(who, &world.groups.users))
        .filter(|who| !is_in(who, &world.groups.admins));
    let chosen = administrators.take(1).chain(users.take(3));
    let watched = chosen.map(|who| Watched {
        who: who.clone(),
        sights: Sights::new(Arc::clone(ledger)),
        watching: Vec::new(),
    });
    watched.collect()
}
