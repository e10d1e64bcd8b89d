//! What live watches promise, sentence by sentence, and where each is played. Those that no other file plays are here.
//!
//! | a watch … | played in |
//! |---|---|
//! | replayed, equals a fresh list at any moment | `model.rs` |
//! | of an informer loses what is revoked | `everywhere_watches.rs`, `reflectors.rs`, `model.rs` |
//! | resumed after a change while away is expired, and the relist has the change | `watches.rs` (`a_position_from_before_…`), `model.rs` |
//! | by labels of the client's own ends with what it selects; with everything that is revoked | here, `watches.rs` |
//! | gives no byte of what is revoked, also of what was read before | `model.rs` (`model/sights.rs`), the machines' own tests |
//! | of a machine ends in band by a 410 on 200; of a human goes on and shows the change | `watches.rs`, `websockets.rs`, `humans.rs`, `model.rs` |
//! | makes up no event without a position that was reached, and leaves objects theirs | here, `humans.rs`, `model.rs` |
//! | that is expired leads to a list with the change, also where it is heard late, and at two replicas | here, `replicas.rs`, `model.rs` |
//! | with initial events ends them once, at a true position, also of nothing and of many parts | `watches.rs`, `everywhere_watches.rs` |
//! | tells of objects that were there before it | `watches.rs` (`a_watch_shows_his_namespaces_as_they_come_and_go`) |
//! | by a rule's labels adds what moves in and takes back what moves out | `rules.rs` |
//! | over all namespaces resumes from lists and bookmarks, and from an event with one expiry | `everywhere_watches.rs` |
//! | ends with its token, and the next request is a 401 | `credentials.rs`, `websockets.rs` |
//! | ends where facts or the provider are gone for long | `faults.rs`, `providers.rs` |
//!
//! Not played: a kind whose positions do not compare (an aggregated API with an etcd of its own), and a watch cache that lags
//! behind etcd; the test bed has neither. The guard's own tests have both.

use serde_json::Value;
use serde_json::json;

use crate::harness::eventually;
use crate::harness::http::Events;
use crate::harness::http::is_expired;
use crate::harness::people::Tenant;
use crate::harness::proxy::Proxy;
use crate::harness::proxy::Setup;
use crate::harness::relay::Relay;
use crate::harness::world::World;
use crate::lists::position_to_watch_from;
use crate::lists::until_he_sees;

const NAMESPACES: &str = "/api/v1/namespaces";

in_both_worlds!(
    a_watch_by_labels_ends_when_some_of_what_it_selects_is_revoked,
    what_is_made_up_for_a_human_has_a_position_that_was_reached,
    a_change_that_is_heard_late_leaves_no_hole,
);

/// A tenant of somebody, and another one that can be taken from him. He sees both at the shared proxy.
async fn two_tenants(world: &'static World) -> (Tenant, Tenant) {
    let kept = world.tenant(&["kept"]).await;
    let lost = world.tenant_of(kept.owner.clone(), &["lost"]).await;
    let mut both = [kept.namespaces.clone(), lost.namespaces.clone()].concat();
    both.sort();
    until_he_sees(&world.proxy().await.caller(&kept.owner), &both).await;
    (kept, lost)
}

async fn label(world: &World, namespace: &str, value: &str) {
    let labels = json!({"metadata": {"labels": {"it": value}}});
    world
        .merge(&format!("{NAMESPACES}/{namespace}"), &labels)
        .await;
}

async fn a_watch_by_labels_ends_when_some_of_what_it_selects_is_revoked(world: &'static World) {
    let (kept, lost) = two_tenants(world).await;
    for tenant in [&kept, &lost] {
        label(world, &tenant.namespaces[0], "selected").await;
    }
    let caller = world.proxy().await.caller(&kept.owner);
    let selected = "labelSelector=it%3Dselected";
    let at = caller
        .get(&format!("{NAMESPACES}?{selected}"))
        .await
        .position();
    let path =
        format!("{NAMESPACES}?{selected}&watch=1&allowWatchBookmarks=true&resourceVersion={at}");
    let mut watch = caller.watch(&path).await;
    world.set_owners(&lost, &[]).await;
    until_he_sees(&caller, &kept.namespaces).await;
    label(world, &lost.namespaces[0], "other").await;
    let rest = watch.rest().await;
    assert!(rest.last().is_some_and(is_expired), "{rest:?}");
    assert!(!watch.text().contains(&lost.name), "{}", watch.text());
}

fn version(object: &Value) -> u64 {
    let version = object["metadata"]["resourceVersion"].as_str().unwrap();
    version.parse().unwrap()
}

async fn what_is_made_up_for_a_human_has_a_position_that_was_reached(world: &'static World) {
    let (kept, lost) = two_tenants(world).await;
    label(world, &kept.namespaces[0], "moved").await;
    let caller = world.proxy().await.caller(&kept.owner);
    let at = caller.get(NAMESPACES).await.position();
    let path = format!("{NAMESPACES}?watch=1&resourceVersion={at}");
    let mut watch = caller.watch(&path).await;
    let name = lost.namespaces[0].as_str();
    let is_about = |event: &Value, what: &str| {
        event["type"] == what && event["object"]["metadata"]["name"] == name
    };
    world.set_owners(&lost, &[]).await;
    let events = watch.until(|event| is_about(event, "DELETED")).await;
    let gone = &events.last().unwrap()["object"];
    let reached: u64 = caller.get(NAMESPACES).await.position().parse().unwrap();
    assert!(
        (1..=reached).contains(&version(gone)),
        "{gone}, at {reached}"
    );
    // It says no more of it than what he knew.
    assert!(gone["metadata"]["labels"]["it"].is_null(), "{gone}");

    label(world, name, "meanwhile").await;
    world.set_owners(&lost, &[&kept.owner]).await;
    let events = watch.until(|event| is_about(event, "ADDED")).await;
    let shown = &events.last().unwrap()["object"];
    let path = format!("{NAMESPACES}/{name}");
    let true_one = world.admin(http::Method::GET, &path, None).await.unwrap();
    assert_eq!(version(shown), version(&true_one));
}

/// A list can be answered at a position past a change that the replica has not heard of yet.
async fn a_change_that_is_heard_late_leaves_no_hole(world: &'static World) {
    let informers = Relay::to(&world.url).await;
    let setup = Setup {
        informers_at: Some(informers.url()),
        ..Setup::default()
    };
    let proxy = Proxy::start(world, setup).await;
    let tenant = world.tenant(&["dev"]).await;
    let granted = world.tenant(&["late"]).await;
    let caller = proxy.caller(&tenant.owner);
    position_to_watch_from(world, &caller, &tenant).await;
    until_he_sees(&proxy.caller(&granted.owner), &granted.namespaces).await;

    informers.hold();
    world
        .set_owners(&granted, &[&granted.owner, &tenant.owner])
        .await;
    label(world, &tenant.namespaces[0], "after-the-grant").await;
    // It knows of the label, and not of the grant that came before it.
    let at = eventually(|| async {
        let list = caller.get(NAMESPACES).await;
        let is_past = list.text().contains("after-the-grant");
        is_past
            .then(|| (list.names(), list.position()))
            .ok_or_else(|| list.text())
    })
    .await;
    assert_eq!(at.0, tenant.namespaces);
    let path = format!(
        "{NAMESPACES}?watch=1&allowWatchBookmarks=true&resourceVersion={}",
        at.1
    );
    let mut watch = caller.watch(&path).await;
    informers.release();
    let rest = watch.rest().await;
    assert!(rest.last().is_some_and(is_expired), "{rest:?}");
    let mut both = [tenant.namespaces.clone(), granted.namespaces.clone()].concat();
    both.sort();
    until_he_sees(&caller, &both).await;
    // Nor does he get on from there later.
    let rest = caller.watch(&path).await.rest().await;
    assert!(rest.len() == 1 && is_expired(&rest[0]), "{rest:?}");
}
