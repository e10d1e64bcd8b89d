//! Two replicas share nothing: what one handed out, the other does not take for its own.

use crate::harness::http::Events;
use crate::harness::http::is_expired;
use crate::harness::proxy::Proxy;
use crate::harness::proxy::Setup;
use crate::harness::world::World;
use crate::lists::position_to_watch_from;
use crate::lists::settled;
use crate::lists::until_he_sees;

const NAMESPACES: &str = "/api/v1/namespaces";

in_both_worlds!(
    a_position_of_another_replica_costs_one_relist,
    a_new_namespace_made_at_one_replica_is_seen_at_the_other,
);

async fn a_position_of_another_replica_costs_one_relist(world: &'static World) {
    let tenant = settled(world, &["dev"]).await;
    let (one, two) = (
        world.proxy().await,
        Proxy::start(world, Setup::default()).await,
    );
    let position = position_to_watch_from(world, &one.caller(&tenant.owner), &tenant).await;
    let caller = two.caller(&tenant.owner);
    let mut watch = caller
        .watch(&format!("{NAMESPACES}?watch=1&resourceVersion={position}"))
        .await;
    let events = watch.rest().await;
    assert!(events.len() == 1 && is_expired(&events[0]), "{events:?}");
    // And no second one.
    let position = position_to_watch_from(world, &caller, &tenant).await;
    let mut watch = caller
        .watch(&format!("{NAMESPACES}?watch=1&resourceVersion={position}"))
        .await;
    let labels = serde_json::json!({"metadata": {"labels": {"it": "1"}}});
    world
        .merge(&format!("{NAMESPACES}/{}", tenant.namespaces[0]), &labels)
        .await;
    assert_eq!(watch.next().await.unwrap()["type"], "MODIFIED");
}

async fn a_new_namespace_made_at_one_replica_is_seen_at_the_other(world: &'static World) {
    let mut tenant = settled(world, &["dev"]).await;
    let two = Proxy::start(world, Setup::default()).await;
    let name = format!("{}-new", tenant.name);
    let made = world
        .proxy()
        .await
        .kubectl(&tenant.owner)
        .run(&["create", "namespace", &name])
        .await;
    assert!(made.good, "{made:?}");
    tenant.namespaces.push(name);
    until_he_sees(&two.caller(&tenant.owner), &tenant.namespaces).await;
}
