//! The clients that are programs or libraries of others: client-go's reflector and RetryWatcher, kube-rs' watcher, kubectl.
//! Each fills a [`Store`]; none knows what it should hold.

use std::io::BufRead;
use std::io::BufReader;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use kube::Api;
use kube::ResourceExt;
use kube::api::ApiResource;
use kube::api::DynamicObject;
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::ledger::Ledger;
use super::store::Objects;
use super::store::Store;
use crate::harness::kubectl::Kubectl;
use crate::harness::tool;
use crate::harness::world;
use crate::random::cluster::Kind;
use crate::random::cluster::key;

/// Before kubectl is started again.
const PAUSE: Duration = Duration::from_millis(300);

/// Something that runs. Dropped, it ends.
pub enum Running {
    Task(JoinHandle<()>),
    /// With the kubeconfig that it reads.
    Process(Child, Kubectl),
}

impl Drop for Running {
    fn drop(&mut self) {
        match self {
            Self::Task(task) => task.abort(),
            Self::Process(process, _kubeconfig) => {
                let _ended = process.kill();
                let _status = process.wait();
            }
        }
    }
}

/// A program of client-go: its name and what it is told besides.
pub async fn client_go(
    kubectl: Kubectl,
    kind: &Kind,
    program: &[&str],
    store: Store,
    ledger: Arc<Ledger>,
) -> Running {
    let binary = tokio::task::spawn_blocking(|| tool("tests/testbed/build"));
    let resource = match kind.group {
        "" => kind.plural.to_owned(),
        group => format!("{}.{}.{group}", kind.plural, kind.version),
    };
    let mut process = Command::new(binary.await.unwrap())
        .arg("client")
        .args(program)
        .args(["--resource", &resource, "--kubeconfig"])
        .arg(kubectl.kubeconfig())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let line: Value = serde_json::from_str(&line).unwrap();
            match line["event"].as_str().unwrap() {
                "watch-error" if line["code"] == 410 => {
                    ledger.expiries.one_more();
                    continue;
                }
                "watch-error" => {
                    ledger.failures.one_more();
                    continue;
                }
                "replace" => ledger.relists.one_more(),
                _ => ledger.events.one_more(),
            }
            // Without a member there is nothing.
            let objects = line.get("objects").cloned().unwrap_or_default();
            let objects: Option<Objects> = serde_json::from_value(objects).unwrap();
            store.replace(objects.unwrap_or_default());
        }
    });
    Running::Process(process, kubectl)
}

/// A short wait after each error.
struct Short;

impl Iterator for Short {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(Duration::from_millis(150))
    }
}

impl Backoff for Short {
    fn reset(&mut self) {}
}

/// kube-rs' watcher.
pub async fn kube_rs(
    kubectl: &Kubectl,
    kind: &Kind,
    config: watcher::Config,
    store: Store,
    ledger: Arc<Ledger>,
) -> Running {
    let client = world::client(&std::fs::read_to_string(kubectl.kubeconfig()).unwrap()).await;
    let resource = ApiResource {
        group: kind.group.to_owned(),
        version: kind.version.to_owned(),
        api_version: kind.api_version(),
        kind: kind.kind.to_owned(),
        plural: kind.plural.to_owned(),
    };
    let api: Api<DynamicObject> = Api::all_with(client, &resource);
    let mut events = watcher(api, config).backoff(Short).boxed();
    Running::Task(tokio::spawn(async move {
        let mut coming = Objects::new();
        while let Some(event) = events.next().await {
            let event = match event {
                Ok(event) => event,
                Err(watcher::Error::WatchError(status)) if status.code == 410 => {
                    ledger.expiries.one_more();
                    continue;
                }
                Err(_) => {
                    ledger.failures.one_more();
                    continue;
                }
            };
            ledger.events.one_more();
            match event {
                watcher::Event::Init => coming.clear(),
                watcher::Event::InitApply(object) => {
                    coming.insert(key_of(&object), version_of(&object));
                }
                watcher::Event::InitDone => {
                    ledger.relists.one_more();
                    store.replace(std::mem::take(&mut coming));
                }
                watcher::Event::Apply(object) => {
                    store.put(key_of(&object), version_of(&object));
                }
                watcher::Event::Delete(object) => {
                    store.remove(&key_of(&object));
                }
            }
        }
    }))
}

fn key_of(object: &DynamicObject) -> String {
    match object.namespace() {
        Some(namespace) => format!("{namespace}/{}", object.name_any()),
        None => object.name_any(),
    }
}

fn version_of(object: &DynamicObject) -> String {
    object.resource_version().unwrap_or_default()
}

/// `kubectl get -w`, started again whenever it ends.
pub fn kubectl(
    kubectl: Kubectl,
    kind: &'static Kind,
    store: Store,
    ledger: Arc<Ledger>,
) -> Running {
    let resource = match kind.group {
        "" => kind.plural.to_owned(),
        group => format!("{}.{}.{group}", kind.plural, kind.version),
    };
    Running::Task(tokio::spawn(async move {
        loop {
            let watch = [
                "get",
                &resource,
                "-A",
                "-w",
                "-o",
                "json",
                "--output-watch-events",
            ];
            let mut running = kubectl.start(&watch);
            // It shows what there is first.
            store.replace(Objects::new());
            while let Some(line) = running.next_line().await {
                apply(&serde_json::from_str(&line).unwrap(), &store);
                ledger.events.one_more();
            }
            ledger.relists.one_more();
            tokio::time::sleep(PAUSE).await;
        }
    }))
}

fn apply(event: &Value, store: &Store) {
    let object = &event["object"];
    let version = || {
        let version = object["metadata"]["resourceVersion"].as_str();
        version.unwrap_or_default().to_owned()
    };
    match event["type"].as_str().unwrap() {
        "ADDED" | "MODIFIED" => {
            store.put(key(object), version());
        }
        "DELETED" => {
            store.remove(&key(object));
        }
        _ => {}
    }
}
