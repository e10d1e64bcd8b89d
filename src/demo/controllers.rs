//! The cluster's own controllers, as far as a client can see them: a terminating namespace is emptied and goes, a
//! new one gets its service account and root certificate. Pure rounds over the state; [`run`] repeats them.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::capsule;
use super::kinds;
use super::object;
use super::object::items;
use super::store::Key;
use super::store::State;
use super::store::Store;
use crate::k8s::names::GroupResource;

/// One round of the namespace controller.
pub(crate) fn reconcile(state: &mut State, ca_pem: &str) {
    for (_, namespace) in state.list(&kinds::namespaces(), "") {
        if !namespace.is_terminating() {
            furnish(state, namespace.name(), ca_pem);
        } else if empty(state, namespace.name())
            && items(&namespace.value, "/metadata/finalizers").is_empty()
        {
            state.remove(&Key::new(&kinds::namespaces(), "", namespace.name()));
        }
    }
}

/// What every namespace has.
fn furnish(state: &mut State, namespace: &str, ca_pem: &str) {
    let rest = [
        ("serviceaccounts", "default", Value::Null),
        ("configmaps", "kube-root-ca.crt", json!({"ca.crt": ca_pem})),
    ];
    for (plural, name, data) in rest {
        let key = Key::new(&GroupResource::new("", plural), namespace, name);
        if state.get(&key).is_none() {
            let metadata = json!({
                "name": name,
                "namespace": namespace,
                "uid": object::uid(),
                "creationTimestamp": object::now(),
            });
            let mut value = json!({"metadata": metadata});
            if !data.is_null() {
                object::object_mut(&mut value).insert("data".to_owned(), data);
            }
            state.put(&key, value);
        }
    }
}

/// Deletes what is left in a namespace, and says whether nothing waits for its own finalizers.
fn empty(state: &mut State, namespace: &str) -> bool {
    let mut resources: Vec<GroupResource> = kinds::all(state)
        .into_iter()
        .filter(|kind| kind.namespaced)
        .map(|kind| kind.resource)
        .collect();
    resources.dedup();
    let mut is_empty = true;
    for resource in resources {
        for (path, object) in state.list(&resource, namespace) {
            let key = Key {
                resource: resource.clone(),
                path,
            };
            if items(&object.value, "/metadata/finalizers").is_empty() {
                state.remove(&key);
                continue;
            }
            is_empty = false;
            if !object.is_terminating() {
                let mut value = object.value.clone();
                object::map_in(&mut value, "metadata")
                    .insert("deletionTimestamp".to_owned(), object::now().into());
                state.put(&key, value);
            }
        }
    }
    is_empty
}

/// Whether the operator's stand-in works, and how far it lags behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operator {
    pub(crate) running: bool,
    pub(crate) lag: Duration,
}

/// How far the namespace controller lags behind: a namespace is seen terminating for a moment, as in a real cluster.
const LAG: Duration = Duration::from_millis(100);

/// Runs the namespace controller at every change, a moment later, until `stop`.
pub(crate) async fn run(store: Arc<Store>, ca_pem: Arc<str>, stop: CancellationToken) {
    let mut changes = store.changes();
    loop {
        // Marked as seen before the round, so that what comes in during it starts another one.
        changes.borrow_and_update();
        store.write(|state| reconcile(state, &ca_pem));
        let next = async {
            let alive = changes.changed().await.is_ok();
            tokio::time::sleep(LAG).await;
            alive
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            alive = next => if !alive { return },
        }
    }
}

/// How often the revision steps by itself, as it does wherever nodes renew their leases. Without that, a client of a
/// cluster in which nothing happens could not tell a position of before a change from one of after it.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Renews a node's lease until `stop`.
pub(crate) async fn run_heartbeat(store: Arc<Store>, stop: CancellationToken) {
    let leases = GroupResource::new("coordination.k8s.io", "leases");
    let key = Key::new(&leases, "kube-node-lease", "demo");
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(HEARTBEAT) => {}
        }
        store.write(|state| {
            state.put(
                &key,
                json!({"metadata": {"name": "demo", "namespace": "kube-node-lease"}}),
            );
        });
    }
}

/// Runs the operator's stand-in until `stop`: at every change, a moment later, unless it is switched off.
pub(crate) async fn run_operator(
    store: Arc<Store>,
    mut operator: watch::Receiver<Operator>,
    stop: CancellationToken,
) {
    let mut changes = store.changes();
    loop {
        let now = *operator.borrow_and_update();
        let round = async {
            if now.running {
                changes.borrow_and_update();
                store.write(capsule::reconcile);
                if changes.changed().await.is_ok() {
                    tokio::time::sleep(now.lag).await;
                }
            } else {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            changed = operator.changed() => if changed.is_err() { return },
            () = round => {}
        }
    }
}
