//! Two replicas in front of one API server. Clients reach them through one chokepoint, which leads all to the same of the
//! two at a time; what informs the replicas passes another one, so that facts can be late while requests are not.
//!
//! Clients go over when everybody is up to date. Where two replicas know different things, and a client is led from the
//! one that is behind to the other, the resume guard has a limit of its own (ARCHITECTURE.md, "The resume guard").

use crate::harness::chart;
use crate::harness::clock::Steps;
use crate::harness::proxy::Proxy;
use crate::harness::proxy::Serving;
use crate::harness::proxy::Setup;
use crate::harness::proxy::serving_certificate;
use crate::harness::relay::Relay;
use crate::harness::world::World;

pub struct Replicas {
    world: &'static World,
    pair: Serving,
    /// Between clients and replicas.
    pub front: Relay,
    /// Between the replicas' informers and the API server.
    pub informers: Relay,
    pub clock: Steps,
    pub running: Vec<Proxy>,
    /// Which of them clients are led to.
    at: usize,
}

impl Replicas {
    pub async fn start(world: &'static World) -> Self {
        world.install(chart::WITH_RULES).await;
        let informers = Relay::to(&world.url).await;
        let pair = serving_certificate();
        let clock = Steps::default();
        let mut running = Vec::new();
        for _ in 0..2 {
            running.push(replica(world, &pair, &informers, &clock).await);
        }
        Self {
            world,
            front: Relay::to(&running[0].url).await,
            pair,
            informers,
            clock,
            running,
            at: 0,
        }
    }

    /// The authority of their certificate.
    pub fn ca(&self) -> &str {
        &self.pair.ca
    }

    /// Leads everybody to the other one.
    pub fn switch(&mut self) {
        self.at = 1 - self.at;
        self.front.lead_to(&self.running[self.at].url);
        self.front.cut();
    }

    /// Replaces one by a new process, which knows nothing of what the old one gave out; whoever is there is sent away.
    /// Which one.
    pub async fn restart(&mut self, which: usize) -> usize {
        let new = replica(self.world, &self.pair, &self.informers, &self.clock).await;
        let old = std::mem::replace(&mut self.running[which], new);
        if which == self.at {
            self.front.lead_to(&self.running[which].url);
        }
        old.begin_shutdown();
        old.ended().await;
        which
    }
}

async fn replica(world: &'static World, pair: &Serving, informers: &Relay, clock: &Steps) -> Proxy {
    let mut setup = Setup {
        pair: Some(pair.clone()),
        informers_at: Some(informers.url()),
        clock: clock.clock(),
        ..Setup::default()
    };
    setup.tenancy.rules.cluster_scoped = true;
    Proxy::start(world, setup).await
}
