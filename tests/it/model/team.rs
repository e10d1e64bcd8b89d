//! Who follows what, by which client.
//!
//! A client is added by a variant of [`Client`] and an arm in [`Follower::start`].

use std::sync::Arc;

use kube::runtime::watcher;

use super::ledger::Ledger;
use super::libraries;
use super::libraries::Running;
use super::lines::Lines;
use super::lines::Mood;
use super::lines::Reader;
use super::sights::Sights;
use super::store::Store;
use crate::harness::http::Caller;
use crate::harness::kubectl::Kubectl;
use crate::random::cluster::Kind;
use crate::random::cluster::Person;
use crate::random::dice::Dice;

/// What follows.
#[derive(Clone, Copy, Debug)]
pub enum Client {
    /// client-go's reflector by watch-list, in JSON.
    ReflectorByWatchList,
    /// client-go's reflector by list and watch, in protobuf. Of built-in kinds only.
    ReflectorInProtobuf,
    /// client-go's reflector of metadata alone.
    ReflectorOfMetadata,
    /// client-go's RetryWatcher, as Argo CD uses it.
    RetryWatcher,
    /// kube-rs' watcher by list and watch.
    KubeRs,
    /// kube-rs' watcher by a streaming list.
    KubeRsStreaming,
    /// A splitter of lines, or one that takes messages.
    Lines(Reader),
    /// `kubectl get -w`.
    Kubectl,
}

/// Everything that a client needs to know of the place it is in.
pub struct Place<'a> {
    /// Where the proxies are.
    pub url: String,
    pub ca: &'a str,
    pub ledger: Arc<Ledger>,
    pub mood: Arc<Mood>,
}

/// One client of somebody, following one kind.
pub struct Follower {
    pub name: String,
    /// Whose: his place among those who are watched for.
    pub person: usize,
    pub kind: &'static Kind,
    pub store: Store,
    _running: Running,
}

impl Follower {
    /// Starts one. `sights` where what it is given is judged by what replicas show him.
    pub async fn start(
        place: &Place<'_>,
        (person, who): (usize, &Person),
        (client, kind): (Client, &'static Kind),
        sights: Option<&Arc<Sights>>,
        dice: Dice,
    ) -> Self {
        let name = format!("{client:?} of {}, {}", who.name, kind.plural);
        let store = Store::default();
        let kubectl = Kubectl::new(&place.url, place.ca, &who.token);
        let into = || (store.clone(), Arc::clone(&place.ledger));
        let (to, ledger) = into();
        let running = match client {
            Client::ReflectorByWatchList => {
                let program = ["reflect", "--kind=dynamic"];
                libraries::client_go(kubectl, kind, &program, to, ledger).await
            }
            Client::ReflectorInProtobuf => {
                let program = ["reflect", "--kind=typed", "--watchlist=false"];
                libraries::client_go(kubectl, kind, &program, to, ledger).await
            }
            Client::ReflectorOfMetadata => {
                let program = ["reflect", "--kind=metadata", "--watchlist=false"];
                libraries::client_go(kubectl, kind, &program, to, ledger).await
            }
            Client::RetryWatcher => {
                let program = ["retry", "--kind=dynamic"];
                libraries::client_go(kubectl, kind, &program, to, ledger).await
            }
            Client::KubeRs => {
                let config = watcher::Config::default();
                libraries::kube_rs(&kubectl, kind, config, to, ledger).await
            }
            Client::KubeRsStreaming => {
                let config = watcher::Config::default().streaming_lists();
                libraries::kube_rs(&kubectl, kind, config, to, ledger).await
            }
            Client::Kubectl => libraries::kubectl(kubectl, kind, to, ledger),
            Client::Lines(reader) => {
                let lines = Lines {
                    name: name.clone(),
                    reader,
                    caller: Caller::new(&place.url, place.ca),
                    token: who.token.clone(),
                    kind,
                    store: to,
                    judged: sights.map(Sights::judge),
                    ledger,
                    dice,
                    mood: Arc::clone(&place.mood),
                };
                Running::Task(tokio::spawn(lines.follow()))
            }
        };
        Self {
            name,
            person,
            kind,
            store,
            _running: running,
        }
    }
}
