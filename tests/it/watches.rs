//! Watches of namespaces: what changes hands while they are open, and where they may go on after a break.

use std::time::Duration;

use kube_tenant_proxy::reader;
use serde_json::Value;

use crate::harness::eventually;
use crate::harness::http::Events;
use crate::harness::http::PROTOBUF;
use crate::harness::http::Stream;
use crate::harness::http::is_expired;
use crate::harness::http::told;
use crate::harness::people::Person;
use crate::harness::people::Tenant;
use crate::harness::proxy::Proxy;
use crate::harness::proxy::Setup;
use crate::harness::world::Side;
use crate::harness::world::World;
use crate::lists::position_to_watch_from;
use crate::lists::settled;
use crate::lists::until_he_sees;

const NAMESPACES: &str = "/api/v1/namespaces";

in_both_worlds!(
    a_watch_shows_his_namespaces_as_they_come_and_go,
    a_watch_is_one_request_as_the_reader_in_his_name,
    a_revocation_ends_the_watch_with_an_expiry_as_its_last_frame,
    a_revocation_of_everything_ends_the_watch_too,
    a_revocation_ends_a_watch_in_every_encoding,
    a_grant_ends_the_watch_with_an_expiry,
    a_position_from_before_a_revocation_is_expired,
    a_position_from_before_a_grant_is_expired,
    a_position_of_the_present_scope_passes,
    a_position_that_was_never_handed_out_is_expired,
    a_watch_list_of_nothing_is_complete,
    a_watch_list_ends_its_beginning_with_the_bookmark,
    who_sees_all_lists_again_from_an_expired_position,
    a_right_to_see_all_widens_a_watch_and_its_end_narrows_it,
    a_right_to_see_all_that_comes_back_ends_a_narrowed_watch,
    the_first_right_to_see_all_ends_a_narrowed_watch,
);

async fn watch_from(world: &'static World, person: &Person, position: &str) -> Stream {
    let path = format!("{NAMESPACES}?watch=1&allowWatchBookmarks=true&resourceVersion={position}");
    let stream = world.proxy().await.caller(person).watch(&path).await;
    assert_eq!(stream.status, 200, "never anything but a stream");
    stream
}

/// The position of a list that shows exactly the tenant's namespaces.
async fn listed(world: &'static World, tenant: &Tenant) -> String {
    position_to_watch_from(world, &world.proxy().await.caller(&tenant.owner), tenant).await
}

/// Two tenants of one owner, so that one can be taken from him.
async fn two_tenants(world: &'static World) -> (Tenant, Tenant, String) {
    let kept = world.tenant(&["kept"]).await;
    let lost = world.tenant_of(kept.owner.clone(), &["lost"]).await;
    let caller = world.proxy().await.caller(&kept.owner);
    let both = sorted(&[&kept, &lost]);
    until_he_sees(&caller, &both).await;
    world
        .merge(&format!("{NAMESPACES}/{}", kept.namespaces[0]), &label(0))
        .await;
    let position = caller.get(NAMESPACES).await.position();
    (kept, lost, position)
}

fn sorted(tenants: &[&Tenant]) -> Vec<String> {
    let mut names: Vec<_> = tenants
        .iter()
        .flat_map(|tenant| tenant.namespaces.clone())
        .collect();
    names.sort();
    names
}

fn label(number: usize) -> Value {
    serde_json::json!({"metadata": {"labels": {"it": number.to_string()}}})
}

async fn a_watch_shows_his_namespaces_as_they_come_and_go(world: &'static World) {
    let (tenant, other) = (
        settled(world, &["dev"]).await,
        settled(world, &["dev"]).await,
    );
    let mut watch = watch_from(world, &tenant.owner, &listed(world, &tenant).await).await;
    world
        .merge(&format!("{NAMESPACES}/{}", other.namespaces[0]), &label(1))
        .await;
    world
        .merge(&format!("{NAMESPACES}/{}", tenant.namespaces[0]), &label(1))
        .await;
    let is_named = |event: &Value| event["object"]["metadata"]["labels"]["it"] == "1";
    let events = watch.until(is_named).await;
    assert_eq!(
        told(events.last().unwrap()),
        format!("MODIFIED {}", tenant.namespaces[0])
    );
    world
        .delete(&format!("{NAMESPACES}/{}", tenant.namespaces[0]))
        .await;
    // Deletion is what takes the namespace away from him, so the watch may end before its last word.
    let is_gone = |event: &Value| event["type"] == "DELETED" || is_expired(event);
    watch.until(is_gone).await;
    assert!(!watch.text().contains(&other.name), "{}", watch.text());
}

async fn a_watch_is_one_request_as_the_reader_in_his_name(world: &'static World) {
    let tenant = settled(world, &["dev"]).await;
    let position = listed(world, &tenant).await;
    let mark = world.mark();
    let mut watch = watch_from(world, &tenant.owner, &position).await;
    world
        .merge(&format!("{NAMESPACES}/{}", tenant.namespaces[0]), &label(1))
        .await;
    watch.next().await.unwrap();
    let seen = eventually(|| async {
        let seen = world.audit(mark, &tenant.owner.name).await;
        (!seen.is_empty())
            .then_some(seen)
            .ok_or_else(|| "the watch is not in the log".to_owned())
    })
    .await;
    let [one] = seen.as_slice() else {
        panic!("{seen:#?}")
    };
    assert_eq!(
        (
            one.verb.as_str(),
            one.acting.as_ref().unwrap().username.as_str()
        ),
        ("watch", reader::USER)
    );
    assert_eq!(one.read_for(), Some(tenant.owner.name.as_str()));
}

/// After what was done, the watch says nothing more of `tenant` and ends with the one frame that all clients heed.
async fn assert_expires(mut watch: Stream, tenant: &Tenant) {
    let rest = watch.rest().await;
    let last = rest
        .last()
        .unwrap_or_else(|| panic!("a bare end after {}", watch.text()));
    assert!(is_expired(last), "{}", watch.text());
    assert!(!watch.text().contains(&tenant.name), "{}", watch.text());
}

async fn a_revocation_ends_the_watch_with_an_expiry_as_its_last_frame(world: &'static World) {
    let (kept, lost, position) = two_tenants(world).await;
    let watch = watch_from(world, &kept.owner, &position).await;
    world.set_owners(&lost, &[]).await;
    let caller = world.proxy().await.caller(&kept.owner);
    until_he_sees(&caller, &kept.namespaces).await;
    for number in 0..5 {
        world
            .merge(
                &format!("{NAMESPACES}/{}", lost.namespaces[0]),
                &label(number),
            )
            .await;
    }
    assert_expires(watch, &lost).await;
}

async fn a_revocation_ends_a_watch_in_every_encoding(world: &'static World) {
    for accept in [
        "application/json",
        "application/json;as=Table;v=v1;g=meta.k8s.io",
        "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
        PROTOBUF,
        "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
    ] {
        let (kept, lost, position) = two_tenants(world).await;
        let caller = world.proxy().await.caller(&kept.owner);
        let path =
            format!("{NAMESPACES}?watch=1&allowWatchBookmarks=true&resourceVersion={position}");
        let mut watch = caller.clone().accepting(accept).watch(&path).await;
        if watch.status == 406 && matches!(world.side, Side::Demo(_)) {
            // The embedded world has no protobuf.
            continue;
        }
        assert_eq!(watch.status, 200, "{accept}");
        world.set_owners(&lost, &[]).await;
        until_he_sees(&caller, &kept.namespaces).await;
        world
            .merge(&format!("{NAMESPACES}/{}", lost.namespaces[0]), &label(1))
            .await;
        let all = watch.text_to_the_end().await;
        assert!(
            all.contains("ERROR") && all.contains("Expired"),
            "{accept}: {all}"
        );
        assert!(!all.contains(&lost.name), "{accept}: {all}");
    }
}

async fn a_revocation_of_everything_ends_the_watch_too(world: &'static World) {
    let tenant = settled(world, &["dev"]).await;
    let watch = watch_from(world, &tenant.owner, &listed(world, &tenant).await).await;
    world.set_owners(&tenant, &[]).await;
    let caller = world.proxy().await.caller(&tenant.owner);
    // A Capsule user without a Tenant lists nothing, and is not refused.
    until_he_sees(&caller, &[]).await;
    world
        .merge(&format!("{NAMESPACES}/{}", tenant.namespaces[0]), &label(1))
        .await;
    assert_expires(watch, &tenant).await;
}

async fn a_grant_ends_the_watch_with_an_expiry(world: &'static World) {
    let tenant = settled(world, &["dev"]).await;
    let watch = watch_from(world, &tenant.owner, &listed(world, &tenant).await).await;
    let granted = settled(world, &["dev"]).await;
    world
        .set_owners(&granted, &[&granted.owner, &tenant.owner])
        .await;
    assert_expires(watch, &granted).await;
    let caller = world.proxy().await.caller(&tenant.owner);
    until_he_sees(&caller, &sorted(&[&tenant, &granted])).await;
}

async fn a_position_from_before_a_revocation_is_expired(world: &'static World) {
    let (kept, lost, position) = two_tenants(world).await;
    world.set_owners(&lost, &[]).await;
    until_he_sees(&world.proxy().await.caller(&kept.owner), &kept.namespaces).await;
    assert_expires(watch_from(world, &kept.owner, &position).await, &lost).await;
}

async fn a_position_from_before_a_grant_is_expired(world: &'static World) {
    let tenant = settled(world, &["dev"]).await;
    let position = listed(world, &tenant).await;
    let granted = settled(world, &["dev"]).await;
    world
        .set_owners(&granted, &[&granted.owner, &tenant.owner])
        .await;
    until_he_sees(
        &world.proxy().await.caller(&tenant.owner),
        &sorted(&[&tenant, &granted]),
    )
    .await;
    assert_expires(watch_from(world, &tenant.owner, &position).await, &granted).await;
}

async fn a_position_of_the_present_scope_passes(world: &'static World) {
    let tenant = settled(world, &["dev"]).await;
    let path = format!("{NAMESPACES}/{}", tenant.namespaces[0]);
    let mut position = listed(world, &tenant).await;
    // The list's, then that of each event before.
    for number in 0..3 {
        let mut watch = watch_from(world, &tenant.owner, &position).await;
        world.merge(&path, &label(number)).await;
        let wanted = number.to_string();
        let is_it = |event: &Value| event["object"]["metadata"]["labels"]["it"] == wanted.as_str();
        let events = watch.until(is_it).await;
        let last = &events.last().unwrap()["object"]["metadata"]["resourceVersion"];
        position = last.as_str().unwrap().to_owned();
    }
}

async fn a_position_that_was_never_handed_out_is_expired(world: &'static World) {
    let tenant = settled(world, &["dev"]).await;
    listed(world, &tenant).await;
    for position in ["1", "17"] {
        assert_expires(watch_from(world, &tenant.owner, position).await, &tenant).await;
    }
}

const WATCH_LIST: &str = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&resourceVersion=";

fn ends_the_beginning(event: &Value) -> bool {
    event["type"] == "BOOKMARK"
        && event["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true"
}

async fn a_watch_list_of_nothing_is_complete(world: &'static World) {
    let nobody = world.person().await;
    let caller = world.proxy().await.caller(&nobody);
    until_he_sees(&caller, &[]).await;
    let mut watch = caller.watch(&format!("{NAMESPACES}?{WATCH_LIST}")).await;
    let events = watch.until(ends_the_beginning).await;
    assert_eq!(events.len(), 1, "{events:#?}");
    assert!(
        !events[0]["object"]["metadata"]["resourceVersion"]
            .as_str()
            .unwrap()
            .is_empty()
    );
}

async fn a_watch_list_ends_its_beginning_with_the_bookmark(world: &'static World) {
    let tenant = settled(world, &["dev", "prod"]).await;
    let caller = world.proxy().await.caller(&tenant.owner);
    let mut watch = caller.watch(&format!("{NAMESPACES}?{WATCH_LIST}")).await;
    let events = watch.until(ends_the_beginning).await;
    let mut added: Vec<_> = events[..events.len() - 1].iter().map(told).collect();
    added.sort();
    assert_eq!(
        added,
        tenant
            .namespaces
            .iter()
            .map(|name| format!("ADDED {name}"))
            .collect::<Vec<_>>()
    );
    // The bookmark's position is one of those that were handed out.
    let position = events.last().unwrap()["object"]["metadata"]["resourceVersion"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut again = watch_from(world, &tenant.owner, &position).await;
    world
        .merge(&format!("{NAMESPACES}/{}", tenant.namespaces[1]), &label(1))
        .await;
    let events = again
        .until(|event| event["type"] == "MODIFIED" || event["type"] == "ERROR")
        .await;
    assert_eq!(
        told(events.last().unwrap()),
        format!("MODIFIED {}", tenant.namespaces[1])
    );
}

/// Lets `person` see all namespaces himself; the binding's path, to be deleted.
async fn viewing(world: &'static World, person: &Person) -> String {
    let right = world.bind(person, "view").await;
    eventually(|| async {
        let direct = world.direct(person).get(NAMESPACES).await;
        let may = direct.status.is_success();
        may.then_some(()).ok_or_else(|| direct.text())
    })
    .await;
    right
}

/// As a reflector does that was told that its position expired: it brings that position along.
async fn who_sees_all_lists_again_from_an_expired_position(world: &'static World) {
    let person = world.person().await;
    viewing(world, &person).await;
    let caller = world.proxy().await.caller(&person);
    for accept in [
        "application/json",
        "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
    ] {
        let caller = caller.clone().accepting(accept);
        let again = caller.get(&format!("{NAMESPACES}?resourceVersion=1")).await;
        assert_eq!(again.status, 200, "{accept}: {}", again.text());
        let names = again.names();
        assert!(names.contains(&"kube-system".to_owned()), "{names:?}");
    }
}

async fn a_right_to_see_all_widens_a_watch_and_its_end_narrows_it(world: &'static World) {
    let tenant = world.tenant(&["dev"]).await;
    let right = viewing(world, &tenant.owner).await;
    let caller = world.proxy().await.caller(&tenant.owner);
    let all = caller.get(NAMESPACES).await;
    assert!(all.names().contains(&"kube-system".to_owned()));
    let other = settled(world, &["dev"]).await;
    let mut watch = watch_from(world, &tenant.owner, &all.position()).await;
    watch
        .until(|event| told(event) == format!("ADDED {}", other.namespaces[0]))
        .await;
    drop(watch);
    world.delete(&right).await;
    until_he_sees(&caller, &tenant.namespaces).await;
    // What was handed out while he saw all says nothing about what he sees now.
    assert_expires(
        watch_from(world, &tenant.owner, &all.position()).await,
        &other,
    )
    .await;
}

/// So it is when an API server that has just started refuses for a moment what it allows.
async fn the_first_right_to_see_all_ends_a_narrowed_watch(world: &'static World) {
    let tenant = world.tenant(&["dev"]).await;
    let mut setup = Setup::default();
    setup.proxy.look = Duration::from_secs(1);
    let proxy = Proxy::start(world, setup).await;
    let caller = proxy.caller(&tenant.owner);
    let position = position_to_watch_from(world, &caller, &tenant).await;
    let mut watch = caller
        .watch(&format!("{NAMESPACES}?watch=1&resourceVersion={position}"))
        .await;
    viewing(world, &tenant.owner).await;
    // His *no* to the list is a minute old by then; whether he may watch he was never asked.
    let events = watch.rest().await;
    assert!(events.last().is_some_and(is_expired), "{}", watch.text());
    let all = caller.get(NAMESPACES).await.names();
    assert!(all.contains(&"kube-system".to_owned()), "{all:?}");
}

async fn a_right_to_see_all_that_comes_back_ends_a_narrowed_watch(world: &'static World) {
    let tenant = world.tenant(&["dev"]).await;
    let right = viewing(world, &tenant.owner).await;
    let caller = world.proxy().await.caller(&tenant.owner);
    let sees_all = || async {
        let names = caller.get(NAMESPACES).await.names();
        names.contains(&"kube-system".to_owned())
    };
    assert!(sees_all().await);
    world.delete(&right).await;
    until_he_sees(&caller, &tenant.namespaces).await;
    let position = listed(world, &tenant).await;
    let mut watch = watch_from(world, &tenant.owner, &position).await;
    viewing(world, &tenant.owner).await;
    eventually(|| async { sees_all().await.then_some(()).ok_or(String::new()) }).await;
    let events = watch.rest().await;
    assert!(
        events.last().is_some_and(is_expired),
        "a list shows what the watch never would: {}",
        watch.text()
    );
}
