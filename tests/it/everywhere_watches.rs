//! Watches of a namespaced kind over all namespaces: what is his in each of them, put together, as himself.

use http::Method;
use http::StatusCode;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::runtime::watcher;
use serde_json::Value;
use serde_json::json;

use crate::everywhere::EVERYWHERE;
use crate::everywhere::NAMESPACES;
use crate::everywhere::OURS;
use crate::everywhere::furnish;
use crate::everywhere::furnished;
use crate::everywhere::keys_of;
use crate::harness::eventually;
use crate::harness::http::Answer;
use crate::harness::http::Caller;
use crate::harness::http::Events;
use crate::harness::http::PROTOBUF;
use crate::harness::http::Stream;
use crate::harness::http::is_expired;
use crate::harness::people::Person;
use crate::harness::people::unique;
use crate::harness::proxy::Mode;
use crate::harness::world::World;
use crate::lists::until_he_sees;
use crate::reflectors::ClientGo;
use crate::reflectors::KubeRs;
use crate::reflectors::Store;

in_both_worlds!(
    a_watch_goes_on_from_a_list_and_shows_his_namespaces_only,
    the_present_state_comes_first_and_ends_once,
    a_position_that_was_not_handed_out_is_expired_once,
    bookmarks_are_positions_and_the_last_one_comes_at_the_end,
    nobody_is_told_to_stand_where_another_has_an_event,
    a_namespace_gained_or_lost_ends_it,
    a_list_of_what_nobody_writes_is_a_position_once_a_change_has_expired_the_last,
    a_right_lost_within_a_namespace_ends_it,
    a_right_gained_within_a_namespace_ends_it,
    where_one_may_list_and_not_watch_the_refusal_is_the_api_servers,
    who_may_watch_it_nowhere_gets_his_own_refusal,
    a_right_to_one_name_is_enough_to_watch_it,
    who_may_see_all_under_a_renewed_token_lists_again,
    it_costs_a_watch_per_namespace_as_himself,
    in_impersonate_mode_too,
    kubectl_shows_what_comes,
    kube_rs_follows_what_is_granted_and_taken,
);
in_the_real_world!(
    client_go_follows_what_is_granted_and_taken,
    client_go_by_watch_lists_follows_what_is_granted_and_taken,
    no_other_name_is_in_the_bytes_of_any_form,
);

const BOOKMARKS: &str = "watch=1&allowWatchBookmarks=true";

/// `type namespace/name` of an event.
fn told(event: &Value) -> String {
    let metadata = &event["object"]["metadata"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (namespace, name) = (text(&metadata["namespace"]), text(&metadata["name"]));
    format!("{} {namespace}/{name}", text(&event["type"]))
}

pub(crate) async fn put(world: &World, namespace: &str, name: &str) {
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {"it": "everywhere"}}});
    let path = format!("{NAMESPACES}/{namespace}/configmaps");
    world.admin(Method::POST, &path, Some(&body)).await.unwrap();
}

async fn remove(world: &World, namespace: &str, name: &str) {
    world
        .delete(&format!("{NAMESPACES}/{namespace}/configmaps/{name}"))
        .await;
}

/// The next event that is no bookmark.
async fn next(watch: &mut Stream) -> String {
    loop {
        let event = watch.next().await.expect("the watch ended");
        if event["type"] != "BOOKMARK" {
            return told(&event);
        }
    }
}

async fn listed(caller: &Caller) -> Answer {
    caller.get(&format!("{EVERYWHERE}?{OURS}")).await
}

/// A watch from what `caller` lists now.
async fn watching(caller: &Caller) -> Stream {
    let at = listed(caller).await.position();
    let watch = caller
        .watch(&format!(
            "{EVERYWHERE}?{OURS}&{BOOKMARKS}&resourceVersion={at}"
        ))
        .await;
    assert_eq!(watch.status, StatusCode::OK);
    watch
}

async fn a_watch_goes_on_from_a_list_and_shows_his_namespaces_only(world: &'static World) {
    let (tenant, caller, _) = furnished(world, &["a", "b"], Mode::Token).await;
    let other = world.tenant(&["theirs"]).await;
    let [a, b] = tenant.namespaces.as_slice() else {
        panic!("{tenant:?}")
    };
    let mut watch = watching(&caller).await;
    for (namespace, name) in [(a, "x"), (&other.namespaces[0], "hidden"), (b, "y")] {
        put(world, namespace, name).await;
    }
    remove(world, a, "one").await;
    let mut seen = vec![
        next(&mut watch).await,
        next(&mut watch).await,
        next(&mut watch).await,
    ];
    seen.sort();
    assert_eq!(
        seen,
        [
            format!("ADDED {a}/x"),
            format!("ADDED {b}/y"),
            format!("DELETED {a}/one")
        ]
    );
    assert!(!watch.text().contains("hidden"));
}

/// Who has the event does not have what other namespaces wrote before it, and may come back with its version.
async fn nobody_is_told_to_stand_where_another_has_an_event(world: &'static World) {
    let (tenant, caller, _) = furnished(world, &["a", "b"], Mode::Token).await;
    let a = &tenant.namespaces[0];
    let mut one = watching(&caller).await;
    put(world, a, "x").await;
    let event = one.next().await.unwrap();
    assert_eq!(told(&event), format!("ADDED {a}/x"));
    let at = event["object"]["metadata"]["resourceVersion"].as_str();
    // In a cluster at rest it is the list's, too.
    let position = listed(&caller).await.position();
    assert_ne!(Some(position.as_str()), at);
    let from = |at: &str| format!("{EVERYWHERE}?{OURS}&{BOOKMARKS}&resourceVersion={at}");
    let mut other = caller.watch(&from(&position)).await;
    put(world, a, "y").await;
    let events = other.until(|event| told(event).ends_with("/y")).await;
    let known = |event: &Value| told(event) == format!("ADDED {a}/x");
    assert!(
        events.iter().rev().skip(1).all(known),
        "no expiry: {}",
        other.text()
    );
    let events = caller.watch(&from(at.unwrap())).await.rest().await;
    assert!(events.len() == 1 && is_expired(&events[0]), "{events:?}");
}

async fn the_present_state_comes_first_and_ends_once(world: &'static World) {
    let (tenant, caller, all) = furnished(world, &["a", "b", "c"], Mode::Token).await;
    let mut watch = caller
        .watch(&format!(
            "{EVERYWHERE}?{OURS}&{BOOKMARKS}&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
        ))
        .await;
    let ends = |event: &Value| {
        event["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true"
    };
    let state = watch.until(ends).await;
    let (end, state) = state.split_last().unwrap();
    let mut keys: Vec<String> = state.iter().map(told).collect();
    keys.sort();
    let expected: Vec<String> = all.iter().map(|key| format!("ADDED {key}")).collect();
    assert_eq!(keys, expected);
    put(world, &tenant.namespaces[2], "later").await;
    assert_eq!(
        next(&mut watch).await,
        format!("ADDED {}/later", tenant.namespaces[2])
    );
    // It was a position: who goes on from there gets what came since.
    let at = end["object"]["metadata"]["resourceVersion"]
        .as_str()
        .unwrap();
    let mut again = caller
        .watch(&format!(
            "{EVERYWHERE}?{OURS}&{BOOKMARKS}&resourceVersion={at}"
        ))
        .await;
    assert_eq!(
        next(&mut again).await,
        format!("ADDED {}/later", tenant.namespaces[2])
    );
}

async fn a_position_that_was_not_handed_out_is_expired_once(world: &'static World) {
    let (tenant, caller, _) = furnished(world, &["a", "b"], Mode::Token).await;
    let mut watch = watching(&caller).await;
    put(world, &tenant.namespaces[0], "x").await;
    let event = watch
        .until(|event| event["type"] == "ADDED")
        .await
        .pop()
        .unwrap();
    // Of one namespace, it says nothing about the other.
    let at = event["object"]["metadata"]["resourceVersion"]
        .as_str()
        .unwrap();
    for at in [at, "1", "99999999999"] {
        let path = format!("{EVERYWHERE}?{OURS}&watch=1&resourceVersion={at}");
        let mut again = caller.watch(&path).await;
        let events = again.rest().await;
        assert!(events.len() == 1 && is_expired(&events[0]), "{events:?}");
    }
    // Somebody else's position is nobody's.
    let at = listed(&caller).await.position();
    let (_, theirs, _) = furnished(world, &["a"], Mode::Token).await;
    let mut watch = theirs
        .watch(&format!("{EVERYWHERE}?watch=1&resourceVersion={at}"))
        .await;
    let events = watch.rest().await;
    assert!(events.len() == 1 && is_expired(&events[0]), "{events:?}");
}

async fn bookmarks_are_positions_and_the_last_one_comes_at_the_end(world: &'static World) {
    let (tenant, caller, _) = furnished(world, &["a", "b"], Mode::Token).await;
    let at = listed(&caller).await.position();
    let path = format!("{EVERYWHERE}?{OURS}&{BOOKMARKS}&timeoutSeconds=2&resourceVersion={at}");
    let mut watch = caller.watch(&path).await;
    put(world, &tenant.namespaces[0], "x").await;
    let events = watch.rest().await;
    let told: Vec<String> = events.iter().map(told).collect();
    let added = format!("ADDED {}/x", tenant.namespaces[0]);
    assert!(told.contains(&added), "{told:?}");
    let last = events.last().unwrap();
    assert_eq!(last["type"], "BOOKMARK", "{told:?}");
    let at = last["object"]["metadata"]["resourceVersion"]
        .as_str()
        .unwrap();
    put(world, &tenant.namespaces[1], "y").await;
    let path = format!("{EVERYWHERE}?{OURS}&{BOOKMARKS}&resourceVersion={at}");
    let mut again = caller.watch(&path).await;
    let seen = again
        .until(|event| told_is(event, &tenant.namespaces[1], "y"))
        .await;
    assert!(!seen.iter().any(is_expired), "{seen:?}");
}

fn told_is(event: &Value, namespace: &str, name: &str) -> bool {
    told(event) == format!("ADDED {namespace}/{name}")
}

async fn a_namespace_gained_or_lost_ends_it(world: &'static World) {
    let (tenant, caller, _) = furnished(world, &["a"], Mode::Token).await;
    let mut watch = watching(&caller).await;
    let gained = world.namespace_in(&tenant, "z").await;
    let rest = watch.rest().await;
    assert!(rest.last().is_some_and(is_expired), "{rest:?}");
    let keys = furnish(world, std::slice::from_ref(&gained)).await;
    eventually(|| async {
        let list = listed(&caller).await;
        let there = keys.iter().all(|key| keys_of(&list).contains(key));
        there.then_some(()).ok_or_else(|| list.text())
    })
    .await;
    let mut watch = watching(&caller).await;
    let somebody = world.person().await;
    world.set_owners(&tenant, &[&somebody]).await;
    let rest = watch.rest().await;
    assert!(rest.last().is_some_and(is_expired), "{rest:?}");
}

/// The cache of such a kind stands where the expired list was, and a client lists again from there.
async fn a_list_of_what_nobody_writes_is_a_position_once_a_change_has_expired_the_last(
    world: &'static World,
) {
    const QUIET: &str = "/api/v1/limitranges";
    let (tenant, caller, _) = furnished(world, &["a"], Mode::Token).await;
    let from = |at: &str| format!("{QUIET}?{BOOKMARKS}&resourceVersion={at}");
    let first = caller.get(QUIET).await.position();
    let mut watch = caller.watch(&from(&first)).await;
    let gained = world.namespace_in(&tenant, "z").await;
    let rest = watch.rest().await;
    assert!(rest.last().is_some_and(is_expired), "{rest:?}");
    // The operator's RoleBinding there is another change.
    eventually(|| async {
        let there = format!("{NAMESPACES}/{gained}/limitranges");
        let list = caller.get(&there).await;
        let may = list.status == StatusCode::OK;
        may.then_some(()).ok_or_else(|| list.text())
    })
    .await;
    let relist = format!("{QUIET}?resourceVersion={first}");
    let again = caller.get(&relist).await.position();
    let mut watch = caller
        .watch(&format!("{}&timeoutSeconds=1", from(&again)))
        .await;
    let rest = watch.rest().await;
    assert!(
        !rest.iter().any(is_expired),
        "{first}, then {again}: {rest:?}"
    );
}

/// A RoleBinding of `person` to a Role that lets him list and watch `resource` in `namespace`; its path.
pub(crate) async fn binding(
    world: &World,
    namespace: &str,
    resource: &str,
    person: &Person,
) -> String {
    let rule = json!({"apiGroups": [""], "resources": [resource], "verbs": ["list", "watch"]});
    bound(world, namespace, &rule, person).await
}

/// The same for a Role of this one rule.
async fn bound(world: &World, namespace: &str, rule: &Value, person: &Person) -> String {
    let group = "rbac.authorization.k8s.io";
    let name = format!("it-{}", unique());
    let folder = format!("/apis/{group}/v1/namespaces/{namespace}");
    let role = json!({"apiVersion": format!("{group}/v1"), "kind": "Role", "metadata": {"name": name},
        "rules": [rule]});
    let roles = format!("{folder}/roles");
    world
        .admin(Method::POST, &roles, Some(&role))
        .await
        .unwrap();
    let binding = json!({"apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
        "subjects": [{"apiGroup": group, "kind": "User", "name": person.name}]});
    let bindings = format!("{folder}/rolebindings");
    world
        .admin(Method::POST, &bindings, Some(&binding))
        .await
        .unwrap();
    format!("{bindings}/{name}")
}

/// A guest in both namespaces of a tenant, who may see ConfigMaps in the first. The path of the RoleBinding that lets
/// him, and the keys he sees.
async fn guest(world: &'static World) -> (Caller, Person, Vec<String>, String, Vec<String>) {
    let tenant = world.tenant(&["a", "b"]).await;
    let keys = furnish(world, &tenant.namespaces).await;
    let guest = world.person().await;
    for namespace in &tenant.namespaces {
        binding(world, namespace, "secrets", &guest).await;
    }
    let right = binding(world, &tenant.namespaces[0], "configmaps", &guest).await;
    let caller = world.proxy().await.caller(&guest);
    until_he_sees(&caller, &tenant.namespaces).await;
    let first: Vec<String> = keys
        .iter()
        .filter(|key| key.starts_with(&format!("{}/", tenant.namespaces[0])))
        .cloned()
        .collect();
    crate::everywhere::until_he_lists(&caller, &first).await;
    (caller, guest, tenant.namespaces, right, keys)
}

async fn a_right_lost_within_a_namespace_ends_it(world: &'static World) {
    let (caller, guest, namespaces, right, _) = guest(world).await;
    binding(world, &namespaces[1], "configmaps", &guest).await;
    eventually(|| async {
        let all = keys_of(&listed(&caller).await).len();
        (all == 4).then_some(()).ok_or_else(|| all.to_string())
    })
    .await;
    let mut watch = watching(&caller).await;
    // He sees the namespace all the same: another RoleBinding names him there.
    world.delete(&right).await;
    let rest = watch.rest().await;
    assert!(rest.last().is_some_and(is_expired), "{rest:?}");
    until_he_sees(&caller, &namespaces).await;
    eventually(|| async {
        let keys = keys_of(&listed(&caller).await);
        let gone = !keys
            .iter()
            .any(|key| key.starts_with(&format!("{}/", namespaces[0])));
        gone.then_some(()).ok_or_else(|| format!("{keys:?}"))
    })
    .await;
}

async fn a_right_gained_within_a_namespace_ends_it(world: &'static World) {
    let (caller, guest, namespaces, _, keys) = guest(world).await;
    let mut watch = watching(&caller).await;
    binding(world, &namespaces[1], "configmaps", &guest).await;
    let rest = watch.rest().await;
    assert!(rest.last().is_some_and(is_expired), "{rest:?}");
    crate::everywhere::until_he_lists(&caller, &keys).await;
}

/// An expiry would send informers round and round: the list shows it again.
async fn where_one_may_list_and_not_watch_the_refusal_is_the_api_servers(world: &'static World) {
    let (caller, guest, namespaces, _, keys) = guest(world).await;
    let b = &namespaces[1];
    crate::everywhere::may_list(world, b, "configmaps", &guest).await;
    crate::everywhere::until_he_lists(&caller, &keys).await;
    let at = listed(&caller).await.position();
    let from = |at: &str| format!("{EVERYWHERE}?{OURS}&{BOOKMARKS}&resourceVersion={at}");
    let refused = caller.get(&from(&at)).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text());
    let path = format!("{NAMESPACES}/{b}/configmaps?watch=1");
    let direct = world.direct(&guest).get(&path).await;
    assert_eq!(refused.json()["message"], direct.json()["message"]);
    // Who begins with what there is holds nothing of it.
    let mut watch = caller.watch(&format!("{EVERYWHERE}?{OURS}&watch=1")).await;
    let first = next(&mut watch).await;
    assert!(!first.contains(&format!("{b}/")), "{first}");
}

async fn who_may_watch_it_nowhere_gets_his_own_refusal(world: &'static World) {
    let (caller, guest, namespaces, right, _) = guest(world).await;
    let at = listed(&caller).await.position();
    world.delete(&right).await;
    until_he_sees(&caller, &namespaces).await;
    for path in [
        format!("{EVERYWHERE}?watch=1"),
        format!("{EVERYWHERE}?watch=1&resourceVersion={at}"),
        "/api/v1/pods?watch=1".to_owned(),
    ] {
        let direct = world.direct(&guest).get(&path).await;
        eventually(|| async {
            let through = caller.get(&path).await;
            let same = through.status == StatusCode::FORBIDDEN && through.text() == direct.text();
            same.then_some(())
                .ok_or_else(|| format!("{path}: {}", through.text()))
        })
        .await;
    }
}

/// Asked again whether he may, the API server must be asked of the name, or the watch would be ended again and again.
async fn a_right_to_one_name_is_enough_to_watch_it(world: &'static World) {
    let tenant = world.tenant(&["a", "b"]).await;
    furnish(world, &tenant.namespaces).await;
    let guest = world.person().await;
    let a = &tenant.namespaces[0];
    for namespace in &tenant.namespaces {
        binding(world, namespace, "secrets", &guest).await;
    }
    let rule = json!({"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["known"],
        "verbs": ["list", "watch"]});
    bound(world, a, &rule, &guest).await;
    let caller = world.proxy().await.caller(&guest);
    until_he_sees(&caller, &tenant.namespaces).await;
    put(world, a, "known").await;
    let known = "fieldSelector=metadata.name%3Dknown";
    let key = [format!("{a}/known")];
    let list = eventually(|| async {
        let list = caller.get(&format!("{EVERYWHERE}?{known}")).await;
        let keys = keys_of(&list);
        (keys == key)
            .then_some(list)
            .ok_or_else(|| format!("{keys:?}"))
    })
    .await;
    let from = list.position();
    let path = format!("{EVERYWHERE}?{known}&{BOOKMARKS}&resourceVersion={from}");
    let mut watch = caller.watch(&path).await;
    let mark = world.mark();
    binding(world, &tenant.namespaces[1], "pods", &guest).await;
    // Twice in each namespace.
    eventually(|| async {
        let asked = world.audit(mark, &guest.name).await;
        let reviews = asked
            .iter()
            .filter(|entry| entry.resource.starts_with("selfsubjectaccessreviews"))
            .count();
        (reviews >= 4)
            .then_some(())
            .ok_or_else(|| format!("{reviews} questions"))
    })
    .await;
    remove(world, a, "known").await;
    assert_eq!(next(&mut watch).await, format!("DELETED {a}/known"));
}

/// With a group more he is another identity; what he holds is the same.
async fn who_may_see_all_under_a_renewed_token_lists_again(world: &'static World) {
    let (tenant, caller, keys) = furnished(world, &["a"], Mode::Token).await;
    let from = listed(&caller).await.position();
    world.bind(&tenant.owner, "cluster-admin").await;
    let groups = [world.groups.users.as_str(), "one-more"];
    let renewed = Person {
        token: world.token(&tenant.owner.name, &groups).await,
        ..tenant.owner.clone()
    };
    let renewed = world.proxy().await.caller(&renewed);
    eventually(|| async {
        let all = keys_of(&listed(&renewed).await).len();
        (all > keys.len())
            .then_some(())
            .ok_or_else(|| format!("{all} of all"))
    })
    .await;
    let watch =
        |at: String| format!("{EVERYWHERE}?{OURS}&watch=1&timeoutSeconds=1&resourceVersion={at}");
    let rest = renewed.watch(&watch(from)).await.rest().await;
    assert!(rest.last().is_some_and(is_expired), "{rest:?}");
    // Once.
    put(world, &tenant.namespaces[0], "later").await;
    let from = listed(&renewed).await.position();
    let rest = renewed.watch(&watch(from)).await.rest().await;
    assert!(!rest.last().is_some_and(is_expired), "{rest:?}");
}

async fn it_costs_a_watch_per_namespace_as_himself(world: &'static World) {
    let (tenant, caller, _) = furnished(world, &["a", "b", "c"], Mode::Token).await;
    listed(&caller).await;
    let mark = world.mark();
    let path = format!("{EVERYWHERE}?{OURS}&{BOOKMARKS}&timeoutSeconds=1");
    let events = caller.watch(&path).await.rest().await;
    assert_eq!(
        events
            .iter()
            .filter(|event| event["type"] == "ADDED")
            .count(),
        6
    );
    let seen = world.audit(mark, &tenant.owner.name).await;
    let mut watched: Vec<&str> = seen
        .iter()
        .filter(|entry| {
            entry.verb == "watch" && entry.user == tenant.owner.name && entry.acting.is_none()
        })
        .filter_map(|entry| entry.uri.strip_prefix(&format!("{NAMESPACES}/")))
        .filter_map(|rest| rest.split('/').next())
        .collect();
    watched.sort_unstable();
    assert_eq!(watched, tenant.namespaces, "{seen:#?}");
    assert_eq!(seen.len(), 3, "{seen:#?}");
}

async fn in_impersonate_mode_too(world: &'static World) {
    let (tenant, caller, _) = furnished(world, &["a", "b"], Mode::Impersonate).await;
    let mut watch = watching(&caller).await;
    put(world, &tenant.namespaces[1], "x").await;
    assert_eq!(
        next(&mut watch).await,
        format!("ADDED {}/x", tenant.namespaces[1])
    );
}

async fn kubectl_shows_what_comes(world: &'static World) {
    let (tenant, _, all) = furnished(world, &["a", "b"], Mode::Token).await;
    let kubectl = world.proxy().await.kubectl(&tenant.owner);
    let mut running = kubectl.start(&["get", "configmaps", "-A", "-l", "it=everywhere", "-w"]);
    let header = running.line().await;
    assert!(header.starts_with("NAMESPACE"), "{header}");
    for key in &all {
        let line = running.line().await;
        let mut words = line.split_whitespace();
        let shown = format!("{}/{}", words.next().unwrap(), words.next().unwrap());
        assert_eq!(shown, *key);
    }
    for (namespace, name) in [(&tenant.namespaces[1], "x"), (&tenant.namespaces[0], "y")] {
        put(world, namespace, name).await;
        let line = running.line().await;
        assert!(
            line.starts_with(namespace.as_str()) && line.contains(name),
            "{line}"
        );
    }
}

/// Tenants of one person, with ConfigMaps that come and go while namespaces are granted and taken.
async fn follow(world: &'static World, person: &Person, store: &dyn Store, rounds: usize) {
    let somebody = world.person().await;
    let caller = world.proxy().await.caller(person);
    let (mut tenants, mut owned) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        tenants.push(world.tenant_of(person.clone(), &["a", "b"]).await);
        owned.push(true);
    }
    for round in 0..rounds {
        match round % 4 {
            0 => put(world, &tenants[0].namespaces[0], &format!("r{round}")).await,
            1 => put(world, &tenants[1].namespaces[1], &format!("r{round}")).await,
            2 => {
                owned[1] = !owned[1];
                let owners = [person, &somebody];
                let owners = if owned[1] { &owners[..] } else { &owners[1..] };
                world.set_owners(&tenants[1], owners).await;
            }
            _ => remove(world, &tenants[0].namespaces[0], &format!("r{}", round - 3)).await,
        }
        let mut expected = Vec::new();
        for (tenant, owned) in tenants.iter().zip(&owned) {
            for namespace in tenant.namespaces.iter().filter(|_| *owned) {
                let path = format!("{NAMESPACES}/{namespace}/configmaps");
                let there = world.admin(Method::GET, &path, None).await.unwrap();
                for item in there["items"].as_array().unwrap() {
                    let name = item["metadata"]["name"].as_str().unwrap();
                    // The controllers make this one whenever they get to it.
                    if name != "kube-root-ca.crt" {
                        expected.push(format!("{namespace}/{name}"));
                    }
                }
            }
        }
        expected.sort();
        eventually(|| async {
            let names = ours(store);
            let list = keys_of(&caller.get(EVERYWHERE).await);
            (names == expected).then_some(()).ok_or_else(|| {
                format!("round {round}: {names:?}, not {expected:?}; listed: {list:?}")
            })
        })
        .await;
    }
}

fn ours(store: &dyn Store) -> Vec<String> {
    let mut names = store.names();
    names.retain(|name| !name.ends_with("/kube-root-ca.crt"));
    names.sort();
    names
}

async fn kube_rs_follows_what_is_granted_and_taken(world: &'static World) {
    let person = world.person().await;
    let kubectl = world.proxy().await.kubectl(&person);
    // A first namespace, so that there is something to watch.
    let tenant = world.tenant_of(person.clone(), &["first"]).await;
    crate::everywhere::until_he_lists(&world.proxy().await.caller(&person), &[]).await;
    until_he_sees(&world.proxy().await.caller(&person), &tenant.namespaces).await;
    let key = |map: &ConfigMap| format!("{}/{}", map.namespace().unwrap(), map.name_any());
    let store = KubeRs::start(&kubectl, watcher::Config::default(), key).await;
    follow(world, &person, &store, 8).await;
}

async fn client_go(world: &'static World, options: &[&str]) {
    let person = world.person().await;
    let kubectl = world.proxy().await.kubectl(&person);
    let tenant = world.tenant_of(person.clone(), &["first"]).await;
    until_he_sees(&world.proxy().await.caller(&person), &tenant.namespaces).await;
    let options = [&["--resource=configmaps"], options].concat();
    let store = ClientGo::start(&kubectl, &options).await;
    follow(world, &person, &store, 6).await;
}

async fn client_go_follows_what_is_granted_and_taken(world: &'static World) {
    client_go(world, &["--watchlist=false"]).await;
}

async fn client_go_by_watch_lists_follows_what_is_granted_and_taken(world: &'static World) {
    client_go(world, &[]).await;
}

async fn no_other_name_is_in_the_bytes_of_any_form(world: &'static World) {
    let (tenant, caller, _) = furnished(world, &["a", "b"], Mode::Token).await;
    let other = world.tenant(&["theirs"]).await;
    furnish(world, &other.namespaces).await;
    for media in [
        "application/json",
        "application/json;as=Table;g=meta.k8s.io;v=v1",
        "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
        &format!("{PROTOBUF};stream=watch"),
        "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1;stream=watch",
    ] {
        let path = format!(
            "{EVERYWHERE}?{BOOKMARKS}&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
        );
        let mut watch = caller.clone().accepting(media).watch(&path).await;
        assert_eq!(watch.status, StatusCode::OK, "{media}");
        let text = watch.text_to_the_end().await;
        for namespace in &tenant.namespaces {
            assert!(text.contains(namespace), "{media}: {text}");
        }
        assert!(text.contains("k8s.io/initial-events-end"), "{media}");
        assert!(!text.contains(&other.name), "{media}");
    }
}
