//! The Tenants somebody owns, as objects.

use http::StatusCode;
use serde_json::json;

use crate::harness::eventually;
use crate::harness::http::Caller;
use crate::harness::http::Events;
use crate::harness::http::is_expired;
use crate::harness::people::Person;
use crate::harness::world::World;
use crate::lists::until_he_sees;
use crate::rules::until_listed;

const TENANTS: &str = "/apis/capsule.clastix.io/v1beta2/tenants";

in_both_worlds!(
    an_owner_lists_the_tenants_he_owns_and_no_other,
    a_list_of_them_is_one_request_as_the_reader,
    one_tenant_is_read_as_himself_first,
    who_owns_none_gets_his_own_refusal,
    a_watch_of_them_ends_when_he_owns_another,
);

/// Somebody who owns so many Tenants, their names in order, and he at the proxy.
async fn owner_of(world: &'static World, count: usize) -> (Person, Vec<String>, Caller) {
    let person = world.person().await;
    let (mut names, mut namespaces) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let tenant = world.tenant_of(person.clone(), &["a"]).await;
        names.push(tenant.name);
        namespaces.extend(tenant.namespaces);
    }
    names.sort();
    namespaces.sort();
    let caller = world.proxy().await.caller(&person);
    until_he_sees(&caller, &namespaces).await;
    // A RoleBinding may have shown him these before the proxy had heard of the last Tenant.
    until_listed(&caller, TENANTS, &names.iter().collect::<Vec<_>>()).await;
    (person, names, caller)
}

async fn an_owner_lists_the_tenants_he_owns_and_no_other(world: &'static World) {
    let (_, _, _) = owner_of(world, 1).await;
    for count in [1, 3] {
        let (person, names, caller) = owner_of(world, count).await;
        assert_eq!(caller.get(TENANTS).await.names(), names);
        let limited = caller.get(&format!("{TENANTS}?limit=1")).await;
        assert!(limited.json()["metadata"]["remainingItemCount"].is_null());
        let kubectl = world.proxy().await.kubectl(&person);
        for arguments in [
            &["get", "tenants.capsule.clastix.io", "--no-headers"][..],
            &["get", "tenants", "--no-headers", "--chunk-size=1"],
        ] {
            let table = kubectl.run(arguments).await;
            let first = |line: &&str| line.split_whitespace().next().unwrap().to_owned();
            let rows: Vec<String> = table.lines().iter().map(first).collect();
            assert_eq!(rows, names);
        }
        let metadata = caller
            .clone()
            .accepting("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1");
        assert_eq!(metadata.get(TENANTS).await.names(), names);
    }
}

async fn a_list_of_them_is_one_request_as_the_reader(world: &'static World) {
    let (person, names, caller) = owner_of(world, 2).await;
    caller.get(TENANTS).await;
    let mark = world.mark();
    assert_eq!(caller.get(TENANTS).await.names(), names);
    let seen = world.audit(mark, &person.name).await;
    let [read] = seen.as_slice() else {
        panic!("{seen:#?}")
    };
    assert_eq!(read.read_for(), Some(person.name.as_str()));
}

async fn one_tenant_is_read_as_himself_first(world: &'static World) {
    let (person, names, caller) = owner_of(world, 1).await;
    let (_, theirs, _) = owner_of(world, 1).await;
    let his = caller.get(&format!("{TENANTS}/{}", names[0])).await;
    assert_eq!(his.status, StatusCode::OK, "{}", his.text());
    assert_eq!(his.json()["metadata"]["name"], names[0]);
    for name in [theirs[0].as_str(), "there-is-no-such-tenant"] {
        let path = format!("{TENANTS}/{name}");
        let (through, direct) = (
            caller.get(&path).await,
            world.direct(&person).get(&path).await,
        );
        assert_eq!(through.status, StatusCode::FORBIDDEN, "{name}");
        assert_eq!(through.text(), direct.text());
    }
}

async fn who_owns_none_gets_his_own_refusal(world: &'static World) {
    let person = world.person().await;
    let caller = world.proxy().await.caller(&person);
    let (through, direct) = (
        caller.get(TENANTS).await,
        world.direct(&person).get(TENANTS).await,
    );
    assert_eq!(through.status, StatusCode::FORBIDDEN);
    assert_eq!(through.text(), direct.text());
}

async fn a_watch_of_them_ends_when_he_owns_another(world: &'static World) {
    let (person, names, caller) = owner_of(world, 2).await;
    let mut watch = caller
        .watch(&format!("{TENANTS}?watch=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"))
        .await;
    let shown = watch.until(|event| event["type"] == "BOOKMARK").await;
    let mut added: Vec<_> = shown
        .iter()
        .filter(|event| event["type"] == "ADDED")
        .map(|event| {
            event["object"]["metadata"]["name"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    added.sort();
    assert_eq!(added, names);
    let third = world.tenant_of(person, &[]).await;
    let rest = watch.rest().await;
    assert!(rest.last().is_some_and(is_expired), "{rest:?}");
    assert!(!json!(rest).to_string().contains(&third.name));
    eventually(|| async {
        let listed = caller.get(TENANTS).await.names();
        let there = listed.contains(&third.name);
        there.then_some(()).ok_or_else(|| format!("{listed:?}"))
    })
    .await;
}
