//! When a replica had taken something from somebody, and how far his clients could have been told by then.
//!
//! The rule: **nothing that was handed out while a scope was in force shows a namespace that this scope does not.** That a
//! frame arrives after a revocation says nothing, since it may have been on its way. So a client that is judged takes
//! what comes by an HTTP/2 window of its own, a few bytes wide ([`Tap`]). hyper takes a frame from the watch when it can send
//! the first byte of the one before (`PipeToSendStream` in hyper `src/proto/h2/mod.rs`). So where the window did not yet
//! reach that byte when a scope came into force, the frame was handed out under that scope. No clock is read and nobody
//! waits.
//!
//! That the scope itself is right is not judged here, but by the stores at quiet points.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::RwLock;

use kube_tenant_proxy::k8s::names::Namespace;
use kube_tenant_proxy::tenancy::Presence;
use kube_tenant_proxy::tenancy::scope::Generation;
use kube_tenant_proxy::tenancy::scope::Scope;
use kube_tenant_proxy::tenancy::scope::Standing;
use tokio::task::JoinHandle;

use super::ledger::Ledger;

/// A byte of what a client was sent: of which of its requests, and the how manieth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub request: u64,
    pub byte: u64,
}

/// How far a client lets the server go.
pub struct Tap(Mutex<Place>);

impl Default for Tap {
    fn default() -> Self {
        Self(Mutex::new(Place {
            request: 0,
            byte: 0,
        }))
    }
}

impl Tap {
    /// To be called before a request is sent whose answer may go on for `window` bytes. The request's number.
    pub fn open(&self, window: u32) -> u64 {
        let mut place = self.0.lock().unwrap();
        *place = Place {
            request: place.request + 1,
            byte: u64::from(window),
        };
        place.request
    }

    /// To be called before the window is moved on.
    pub fn move_on(&self, bytes: usize) {
        self.0.lock().unwrap().byte += u64::try_from(bytes).unwrap();
    }

    /// The first byte that it has not let the server send.
    fn reaches(&self) -> Place {
        *self.0.lock().unwrap()
    }
}

/// What one identity may see, as the replicas publish it.
pub struct Sights {
    taps: RwLock<Vec<Arc<Tap>>>,
    seats: RwLock<BTreeMap<usize, Arc<Seat>>>,
    ledger: Arc<Ledger>,
}

/// What it may see at one replica.
struct Seat {
    presence: Presence,
    mark: Mutex<Option<Mark>>,
}

/// How far everybody's window reached when `generation` was known to be in force.
struct Mark {
    generation: Generation,
    reached: Vec<Place>,
}

/// A client that is judged.
pub struct Judged {
    pub sights: Arc<Sights>,
    pub tap: Arc<Tap>,
    number: usize,
}

/// Watches one replica's scopes. Dropped, it stops.
pub struct Watching(JoinHandle<()>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Sights {
    pub fn new(ledger: Arc<Ledger>) -> Arc<Self> {
        Arc::new(Self {
            taps: RwLock::default(),
            seats: RwLock::default(),
            ledger,
        })
    }

    /// A client of this identity.
    pub fn judge(self: &Arc<Self>) -> Judged {
        let tap = Arc::new(Tap::default());
        let mut taps = self.taps.write().unwrap();
        taps.push(Arc::clone(&tap));
        Judged {
            sights: Arc::clone(self),
            tap,
            number: taps.len() - 1,
        }
    }

    /// From now on what replica `number` says counts, in place of another of that number.
    pub fn at_replica(self: &Arc<Self>, number: usize, presence: Presence) -> Watching {
        let seat = Arc::new(Seat {
            presence: presence.clone(),
            mark: Mutex::new(None),
        });
        self.seats
            .write()
            .unwrap()
            .insert(number, Arc::clone(&seat));
        let sights = Arc::clone(self);
        Watching(tokio::spawn(
            async move { sights.watch(&seat, presence).await },
        ))
    }

    async fn watch(&self, seat: &Seat, mut presence: Presence) {
        let mut before = presence.scope();
        loop {
            // First the scope, then how far they reach: they reach no farther when it came into force.
            let scope = presence.scope();
            let reached = self.reached();
            *seat.mark.lock().unwrap() = Some(Mark {
                generation: scope.generation,
                reached,
            });
            self.count(&before, &scope);
            before = scope;
            presence.changed().await;
        }
    }

    fn reached(&self) -> Vec<Place> {
        let taps = self.taps.read().unwrap();
        taps.iter().map(|tap| tap.reaches()).collect()
    }

    fn count(&self, before: &Scope, now: &Scope) {
        let (before, now) = (namespaces(before), namespaces(now));
        if !now.is_subset(&before) {
            self.ledger.grants.one_more();
        }
        if !before.is_subset(&now) {
            self.ledger.revocations.one_more();
        }
    }

    /// The namespaces that each replica shows.
    pub fn namespaces(&self) -> Vec<BTreeSet<String>> {
        let seats = self.seats.read().unwrap();
        let shown = seats
            .values()
            .map(|seat| namespaces(&seat.presence.scope()));
        shown.collect()
    }
}

impl Judged {
    /// Whether what is at `place` was handed out when no replica showed `namespace` any more.
    pub fn comes_after_the_loss_of(&self, namespace: &str, place: Place) -> bool {
        let seats = self.sights.seats.read().unwrap();
        !seats.is_empty()
            && seats
                .values()
                .all(|seat| seat.had_lost(namespace, self.number, place))
    }
}

impl Seat {
    fn had_lost(&self, namespace: &str, client: usize, place: Place) -> bool {
        // First the mark: what comes into force after it was taken is another generation.
        let mark = self.mark.lock().unwrap();
        let Some(mark) = mark.as_ref() else {
            return false;
        };
        let now = self.presence.scope();
        mark.generation == now.generation
            && mark
                .reached
                .get(client)
                .is_some_and(|reached| place >= *reached)
            && !shows(&now, namespace)
    }
}

fn shows(scope: &Scope, namespace: &str) -> bool {
    match &scope.standing {
        Standing::Ignored => true,
        Standing::Stranger => false,
        Standing::Member(visible) => visible.namespaces.contains(namespace),
    }
}

fn namespaces(scope: &Scope) -> BTreeSet<String> {
    match &scope.standing {
        Standing::Ignored | Standing::Stranger => BTreeSet::new(),
        Standing::Member(visible) => visible
            .namespaces
            .iter()
            .map(Namespace::to_string)
            .collect(),
    }
}
