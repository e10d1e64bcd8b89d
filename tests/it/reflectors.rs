//! The client libraries that keep a store: whatever is granted and revoked, theirs ends equal to a fresh list.

use std::fmt::Debug;
use std::io::BufRead;
use std::io::BufReader;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::ResourceExt;
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector;
use kube::runtime::watcher;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;

use crate::harness::eventually;
use crate::harness::kubectl::Kubectl;
use crate::harness::people::Person;
use crate::harness::people::Tenant;
use crate::harness::proxy::Mode;
use crate::harness::tool;
use crate::harness::world;
use crate::harness::world::World;
use crate::lists::until_he_sees;

in_both_worlds!(
    kube_rs_by_list_and_watch_follows_every_change,
    kube_rs_by_a_streaming_list_follows_every_change,
    client_go_by_watch_lists_follows_every_change,
    client_go_by_list_and_watch_follows_every_change,
);
in_the_real_world!(
    client_go_in_protobuf_follows_every_change,
    client_go_by_metadata_follows_every_change,
    kube_rs_follows_every_change_in_impersonate_mode,
    client_go_follows_every_change_in_impersonate_mode,
);

/// Something that keeps a store of the namespaces it is shown.
pub(crate) trait Store {
    fn names(&self) -> Vec<String>;
}

/// client-go waits ever longer before it lists again, up to a minute, and starts over after two quiet ones
/// (`client-go tools/cache/reflector.go`): few changes in a row can be waited for.
const CLIENT_GO_ROUNDS: usize = 4;

/// Changes of one person's sight, in an order that looks random and is the same in every run.
async fn follow(
    world: &'static World,
    person: &Person,
    tenants: &mut [Tenant],
    store: &dyn Store,
    rounds: usize,
) {
    let somebody = world.person().await;
    let mut owned = vec![true; tenants.len()];
    let mut dice = 0x2545_f491_u32;
    for round in 0..rounds {
        // Sometimes several changes without waiting for one of them to arrive.
        for _ in 0..=(round % 3) {
            dice ^= dice << 13;
            dice ^= dice >> 17;
            dice ^= dice << 5;
            let which = dice as usize % tenants.len();
            if dice & 0x700 == 0 && owned[which] {
                let name = world
                    .namespace_in(&tenants[which], &format!("n{round}-{}", dice % 1000))
                    .await;
                tenants[which].namespaces.push(name);
            } else {
                owned[which] = !owned[which];
                let owners = [person, &somebody];
                world
                    .set_owners(
                        &tenants[which],
                        if owned[which] { &owners } else { &owners[1..] },
                    )
                    .await;
            }
        }
        let mut expected: Vec<String> = Vec::new();
        for (tenant, _) in tenants.iter().zip(&owned).filter(|(_, owned)| **owned) {
            expected.extend(tenant.namespaces.iter().cloned());
        }
        expected.sort();
        let caller = world.proxy().await.caller(person);
        until_he_sees(&caller, &expected).await;
        eventually(|| async {
            let names = store.names();
            (names == expected)
                .then_some(())
                .ok_or_else(|| format!("round {round}: {names:?} is not {expected:?}"))
        })
        .await;
    }
}

/// Three tenants of one person.
async fn tenants(world: &'static World) -> (Person, Vec<Tenant>) {
    let person = world.person().await;
    let mut tenants = Vec::new();
    for suffixes in [&["a", "b"][..], &["a"], &["a", "b", "c"]] {
        tenants.push(world.tenant_of(person.clone(), suffixes).await);
    }
    let mut all: Vec<_> = tenants
        .iter()
        .flat_map(|tenant| tenant.namespaces.clone())
        .collect();
    all.sort();
    until_he_sees(&world.proxy().await.caller(&person), &all).await;
    (person, tenants)
}

/// kube-rs' reflector.
pub(crate) struct KubeRs<K: Kept> {
    store: reflector::Store<K>,
    /// What an object is called.
    key: fn(&K) -> String,
    driver: JoinHandle<()>,
}

/// Objects of a built-in kind.
pub(crate) trait Kept:
    kube::Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug + Send + Sync + 'static
{
}

impl<K> Kept for K where
    K: kube::Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug + Send + Sync + 'static
{
}

impl<K: Kept> KubeRs<K> {
    pub(crate) async fn start(
        kubectl: &Kubectl,
        config: watcher::Config,
        key: fn(&K) -> String,
    ) -> Self {
        let client = world::client(&std::fs::read_to_string(kubectl.kubeconfig()).unwrap()).await;
        let (store, writer) = reflector::store();
        let events = watcher(Api::<K>::all(client), config)
            .default_backoff()
            .reflect(writer);
        Self {
            store,
            key,
            driver: tokio::spawn(events.for_each(|_event| std::future::ready(()))),
        }
    }
}

impl<K: Kept> Store for KubeRs<K> {
    fn names(&self) -> Vec<String> {
        let state = self.store.state();
        let mut names: Vec<_> = state.iter().map(|object| (self.key)(object)).collect();
        names.sort();
        names
    }
}

impl<K: Kept> Drop for KubeRs<K> {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// client-go's shared informer, in a process of its own.
pub(crate) struct ClientGo {
    process: Child,
    names: Arc<Mutex<Vec<String>>>,
}

/// One line of it.
#[derive(Deserialize)]
struct Line {
    keys: Vec<String>,
}

impl ClientGo {
    pub(crate) async fn start(kubectl: &Kubectl, options: &[&str]) -> Self {
        let binary = tokio::task::spawn_blocking(|| tool("tests/testbed/build"))
            .await
            .unwrap();
        let mut process = Command::new(binary)
            .args(["client", "informer", "--kubeconfig"])
            .arg(kubectl.kubeconfig())
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let names = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let told = Arc::clone(&names);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                *told.lock().unwrap() = serde_json::from_str::<Line>(&line).unwrap().keys;
            }
        });
        Self { process, names }
    }
}

impl Store for ClientGo {
    fn names(&self) -> Vec<String> {
        self.names.lock().unwrap().clone()
    }
}

impl Drop for ClientGo {
    fn drop(&mut self) {
        let _ended = self.process.kill();
        let _status = self.process.wait();
    }
}

async fn kube_rs(world: &'static World, mode: Mode, config: watcher::Config) {
    let (person, mut tenants) = tenants(world).await;
    let kubectl = world.proxy_in(mode).await.kubectl(&person);
    let store = KubeRs::start(&kubectl, config, Namespace::name_any).await;
    follow(world, &person, &mut tenants, &store, 12).await;
}

async fn client_go(world: &'static World, mode: Mode, options: &[&str]) {
    let (person, mut tenants) = tenants(world).await;
    let kubectl = world.proxy_in(mode).await.kubectl(&person);
    let store = ClientGo::start(&kubectl, options).await;
    follow(world, &person, &mut tenants, &store, CLIENT_GO_ROUNDS).await;
}

async fn kube_rs_by_list_and_watch_follows_every_change(world: &'static World) {
    kube_rs(world, Mode::Token, watcher::Config::default()).await;
}

async fn kube_rs_by_a_streaming_list_follows_every_change(world: &'static World) {
    kube_rs(
        world,
        Mode::Token,
        watcher::Config::default().streaming_lists(),
    )
    .await;
}

async fn client_go_by_watch_lists_follows_every_change(world: &'static World) {
    client_go(world, Mode::Token, &["--kind=dynamic"]).await;
}

async fn client_go_by_list_and_watch_follows_every_change(world: &'static World) {
    client_go(world, Mode::Token, &["--kind=dynamic", "--watchlist=false"]).await;
}

async fn client_go_in_protobuf_follows_every_change(world: &'static World) {
    client_go(world, Mode::Token, &[]).await;
}

async fn client_go_by_metadata_follows_every_change(world: &'static World) {
    client_go(world, Mode::Token, &["--kind=metadata"]).await;
}

async fn kube_rs_follows_every_change_in_impersonate_mode(world: &'static World) {
    kube_rs(world, Mode::Impersonate, watcher::Config::default()).await;
}

async fn client_go_follows_every_change_in_impersonate_mode(world: &'static World) {
    client_go(world, Mode::Impersonate, &[]).await;
}
