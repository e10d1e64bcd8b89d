//! What happens in a turn: changes at random, traffic on what they concern, and now and then something that goes wrong.
//! Decisions come from the dice alone, so the same seed takes the same ones; how they race is nobody's to repeat.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::Method;
use serde_json::Value;
use serde_json::json;
use tokio::task::JoinHandle;

use super::Model;
use super::quiet::note;
use super::quiet::path_of;
use crate::harness::world::World;
use crate::random::cluster::Cluster;
use crate::random::cluster::Kind;
use crate::random::cluster::entries;
use crate::random::cluster::key;
use crate::random::cluster::name as named;
use crate::random::dice::Dice;

const TENANTS: &str = "/apis/capsule.clastix.io/v1beta2/tenants";
/// Between two changes of the traffic.
const GAP: Duration = Duration::from_millis(4);

/// What goes wrong in a turn. Besides, one request in fifty tells the replicas' HTTP/2 connections to the API server to go
/// away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Nothing,
    /// Clients' connections are cut at random bytes.
    Cuts,
    /// What replicas are told of the changes is held back.
    LateFacts,
    /// etcd forgets its history.
    Compaction,
    /// Clients are led to the other replica.
    Switch,
    /// A replica is replaced by a new process.
    Replacement,
    /// The API server is told to stop, and started again.
    Restart,
    /// The API server is killed, and started again.
    Crash,
    /// The replicas' clocks are hours early or late, until the turn ends.
    Clocks,
}

impl Fault {
    /// All that go wrong.
    pub const ALL: [Self; 8] = [
        Self::Cuts,
        Self::LateFacts,
        Self::Compaction,
        Self::Switch,
        Self::Replacement,
        Self::Restart,
        Self::Crash,
        Self::Clocks,
    ];
}

/// What happens to objects while other things change.
struct Traffic {
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Traffic {
    /// Patches these again and again.
    fn start(world: &'static World, paths: Vec<String>, mut dice: Dice) -> Self {
        let stop = Arc::new(AtomicBool::new(paths.is_empty()));
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut number = 0;
            while !stopped.load(Ordering::Relaxed) {
                number += 1;
                // It may be gone by now, or the API server away.
                let _failed = world
                    .try_merge(&dice.pick(&paths), &note("traffic", number))
                    .await;
                tokio::time::sleep(GAP).await;
            }
        });
        Self { stop, task }
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
    }
}

impl Model {
    /// Some changes with traffic around them, and `fault` among them.
    pub(super) async fn change(&mut self, fault: Fault) {
        let traffic = self.traffic().await;
        let is_calm = fault == Fault::Nothing;
        self.mood.calm.store(is_calm, Ordering::Relaxed);
        self.begin(fault).await;
        for _ in 0..self.dice.between(2, 6) {
            self.step().await;
        }
        self.amidst(fault).await;
        for _ in 0..self.dice.between(0, 3) {
            self.step().await;
        }
        self.end(fault).await;
        traffic.end().await;
    }

    /// On the namespaces of this world, and on what is in them.
    async fn traffic(&mut self) -> Traffic {
        let cluster = Cluster::now(self.world).await;
        let mut paths = Vec::new();
        for plural in ["namespaces", "configmaps"] {
            let ours = cluster.keys(plural).into_iter();
            let ours = ours.filter(|key| key.starts_with(&self.random.inventor.tag));
            paths.extend(ours.map(|key| path_of(Kind::of(plural), &key)));
        }
        let dice = self.dice.branch(&format!("traffic {}", self.turn));
        Traffic::start(self.world, paths, dice)
    }

    async fn step(&mut self) {
        self.ledger.changes.one_more();
        if self.dice.percent(50) {
            self.hand_over().await;
        } else {
            Box::pin(self.random.step()).await;
        }
    }

    /// Makes somebody who is watched for an owner of a Tenant, or takes it from him while much happens in it.
    async fn hand_over(&mut self) {
        let person = self.dice.roll(self.people.len());
        let name = self.people[person].who.name.clone();
        let listed = self.world.admin(Method::GET, TENANTS, None).await.unwrap();
        let is_his = |tenant: &&Value| {
            let mut owners = entries(&tenant["spec"]["owners"]).iter();
            owners.any(|owner| owner["name"] == name.as_str())
        };
        let ours = entries(&listed["items"]).iter();
        let ours = ours.filter(|it| {
            self.random
                .inventor
                .tenants
                .iter()
                .any(|our| our == named(it))
        });
        let (his, others): (Vec<&Value>, Vec<&Value>) = ours.partition(is_his);
        let takes = !his.is_empty() && self.dice.percent(60);
        let from = if takes || others.is_empty() {
            &his
        } else {
            &others
        };
        let tenant = self.dice.pick(from);
        let mut owners = entries(&tenant["spec"]["owners"]).to_vec();
        let path = format!("{TENANTS}/{}", named(tenant));
        if takes {
            owners.retain(|owner| owner["name"] != name.as_str());
            let patch = json!({"spec": {"owners": owners}});
            let before = self.dice.between(3, 12);
            self.stir(named(tenant), before).await;
            self.world.merge(&path, &patch).await;
            self.stir(named(tenant), 2).await;
        } else {
            owners.push(json!({"kind": "User", "name": name}));
            let patch = json!({"spec": {"owners": owners}});
            self.world.merge(&path, &patch).await;
        }
    }

    /// Changes what is in the namespaces of `tenant`, and these themselves, so often: more than slow clients take.
    async fn stir(&self, tenant: &str, times: usize) {
        let prefix = format!("{tenant}-");
        for plural in ["namespaces", "configmaps"] {
            let kind = Kind::of(plural);
            let listed = self.world.admin(Method::GET, &kind.path(), None).await;
            let listed = listed.unwrap();
            let keys = entries(&listed["items"]).iter().map(key);
            let theirs: Vec<String> = keys.filter(|key| key.starts_with(&prefix)).collect();
            for time in 0..times {
                let patch = note("stirred", time);
                let patches = theirs.iter().take(6).map(|key| {
                    let path = path_of(kind, key);
                    let patch = &patch;
                    // It may be gone by now.
                    async move { drop(self.world.try_merge(&path, patch).await) }
                });
                futures_util::future::join_all(patches).await;
            }
        }
    }

    async fn begin(&mut self, fault: Fault) {
        match fault {
            // When everybody is up to date, and while changes follow.
            Fault::Switch => self.replicas.switch(),
            Fault::Replacement => {
                let which = self.dice.roll(2);
                self.replicas.restart(which).await;
                self.attend(which).await;
            }
            Fault::Cuts => {
                let mut dice = self.dice.branch(&format!("cuts {}", self.turn));
                self.replicas
                    .front
                    .cut_after(move || dice.percent(80).then(|| dice.between(1, 60_000)));
                self.replicas.front.cut();
            }
            Fault::LateFacts => self.replicas.informers.hold(),
            Fault::Clocks => {
                let hours = self.dice.pick(&[-2, 2, 25]);
                self.replicas.clock.step(hours * 3600);
            }
            Fault::Nothing | Fault::Compaction | Fault::Restart | Fault::Crash => {}
        }
    }

    async fn amidst(&mut self, fault: Fault) {
        match fault {
            Fault::Compaction => self.world.disturb("/etcd/compact").await,
            Fault::Restart => self.world.disturb("/apiserver/restart?graceful").await,
            Fault::Crash => self.world.disturb("/apiserver/restart").await,
            Fault::Nothing
            | Fault::Cuts
            | Fault::LateFacts
            | Fault::Switch
            | Fault::Replacement
            | Fault::Clocks => {}
        }
    }

    async fn end(&mut self, fault: Fault) {
        match fault {
            Fault::Cuts => self.replicas.front.cut_after(|| None),
            Fault::LateFacts => self.replicas.informers.release(),
            Fault::Clocks => self.replicas.clock.step(0),
            Fault::Nothing
            | Fault::Compaction
            | Fault::Switch
            | Fault::Replacement
            | Fault::Restart
            | Fault::Crash => {}
        }
    }
}

/// Each fault once, in an order that the dice say, with turns between them in which nothing goes wrong.
pub fn deck(dice: &mut Dice) -> Vec<Fault> {
    let mut order: BTreeMap<usize, Fault> = BTreeMap::new();
    for (place, fault) in Fault::ALL.into_iter().enumerate() {
        order.insert(dice.roll(1000) * Fault::ALL.len() + place, fault);
    }
    let faults = order.into_values();
    faults.flat_map(|fault| [Fault::Nothing, fault]).collect()
}
