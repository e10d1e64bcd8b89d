//! Lists of a namespaced kind over all namespaces: what is his in each of them, put together, as himself.

use std::collections::BTreeSet;
use std::process::Command;

use http::Method;
use http::StatusCode;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::Value;
use serde_json::json;

use crate::harness::eventually;
use crate::harness::http::Answer;
use crate::harness::http::Caller;
use crate::harness::output;
use crate::harness::people::Person;
use crate::harness::people::Tenant;
use crate::harness::people::unique;
use crate::harness::proxy::Mode;
use crate::harness::tool;
use crate::harness::world;
use crate::harness::world::World;
use crate::lists::until_he_sees;

pub(crate) const NAMESPACES: &str = "/api/v1/namespaces";
pub(crate) const EVERYWHERE: &str = "/api/v1/configmaps";
/// Of the ConfigMaps that these tests make.
pub(crate) const OURS: &str = "labelSelector=it%3Deverywhere";

in_both_worlds!(
    an_owner_lists_what_is_in_his_namespaces_and_nothing_else,
    it_costs_a_request_per_namespace_as_himself,
    in_impersonate_mode_too,
    pages_are_as_small_as_asked_and_lose_nothing,
    a_page_token_is_its_owners_and_its_lists,
    where_he_may_not_list_nothing_is_shown_and_nothing_lost,
    pages_end_well_where_the_last_namespaces_are_refused,
    who_may_list_it_nowhere_gets_his_own_refusal,
    who_may_list_it_everywhere_is_forwarded,
    a_selector_narrows_further,
    whatever_the_rights_what_is_shown_is_what_they_allow,
);
in_the_real_world!(
    every_client_of_client_go_lists_the_same,
    kube_rs_lists_the_same,
    a_kind_made_a_minute_ago_is_listed,
    a_failure_in_one_namespace_is_the_answer_to_all,
    a_list_of_many_megabytes_comes_whole_at_once_and_in_pages,
);

/// A tenant with two ConfigMaps in each namespace, and the owner at a proxy where he sees them.
pub(crate) async fn furnished(
    world: &'static World,
    suffixes: &[&str],
    mode: Mode,
) -> (Tenant, Caller, Vec<String>) {
    let tenant = world.tenant(suffixes).await;
    let caller = world.proxy_in(mode).await.caller(&tenant.owner);
    until_he_sees(&caller, &tenant.namespaces).await;
    let all = furnish(world, &tenant.namespaces).await;
    until_he_lists(&caller, &all).await;
    // Behind the positions of the lists that did not have all of it yet: a quiet world stands still.
    let label = json!({"metadata": {"labels": {"it": "furnished"}}});
    let path = format!("{NAMESPACES}/{}", tenant.namespaces[0]);
    world.merge(&path, &label).await;
    (tenant, caller, all)
}

/// Two ConfigMaps in each of these namespaces; their keys, in etcd's order.
pub(crate) async fn furnish(world: &'static World, namespaces: &[String]) -> Vec<String> {
    let mut keys = Vec::new();
    for namespace in namespaces {
        for name in ["one", "two"] {
            let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"x": "]}, [{"},
                "metadata": {"name": name, "labels": {"it": "everywhere", "which": name}}});
            let path = format!("{NAMESPACES}/{namespace}/configmaps");
            world.admin(Method::POST, &path, Some(&body)).await.unwrap();
            keys.push(format!("{namespace}/{name}"));
        }
    }
    keys.sort();
    keys
}

/// Until the operator's RoleBindings are there, and he lists exactly these.
pub(crate) async fn until_he_lists(caller: &Caller, keys: &[String]) {
    eventually(|| async {
        let answer = caller.get(&format!("{EVERYWHERE}?{OURS}")).await;
        let listed = answer.status == StatusCode::OK && keys_of(&answer) == keys;
        listed.then_some(()).ok_or_else(|| answer.text())
    })
    .await;
}

pub(crate) fn key_of(object: &Value) -> String {
    let part = |name: &str| {
        object["metadata"][name]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    format!("{}/{}", part("namespace"), part("name"))
}

pub(crate) fn keys_of(answer: &Answer) -> Vec<String> {
    let list = answer.json();
    list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(key_of)
        .collect()
}

async fn an_owner_lists_what_is_in_his_namespaces_and_nothing_else(world: &'static World) {
    // `a-b` comes before `a` in etcd, and in what kubectl prints.
    let (tenant, caller, _) = furnished(world, &["a", "a-b", "c"], Mode::Token).await;
    let other = world.tenant(&["theirs"]).await;
    furnish(world, &other.namespaces).await;
    let everything = world
        .admin(Method::GET, &format!("{EVERYWHERE}?{OURS}"), None)
        .await
        .unwrap();
    let expected: Vec<String> = everything["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(key_of)
        .filter(|key| key.starts_with(&format!("{}-", tenant.name)))
        .collect();
    let answer = caller.get(&format!("{EVERYWHERE}?{OURS}")).await;
    assert_eq!(keys_of(&answer), expected);
    let list = answer.json();
    assert_eq!(
        (&list["kind"], &list["apiVersion"]),
        (&json!("ConfigMapList"), &json!("v1"))
    );
    assert!(!answer.position().is_empty());
    assert!(!answer.text().contains(&other.name));
    // Items are as the API server wrote them.
    let one = &list["items"][0];
    let path = format!(
        "{NAMESPACES}/{}/configmaps/one",
        one["metadata"]["namespace"].as_str().unwrap()
    );
    let alone = world.admin(Method::GET, &path, None).await.unwrap();
    assert_eq!(one["data"], alone["data"]);
    assert_eq!(one["metadata"], alone["metadata"]);

    let kubectl = world.proxy().await.kubectl(&tenant.owner);
    for arguments in [
        &[
            "get",
            "configmaps",
            "-A",
            "-l",
            "it=everywhere",
            "--no-headers",
        ][..],
        &[
            "get",
            "cm",
            "-A",
            "-l",
            "it=everywhere",
            "--no-headers",
            "--chunk-size=1",
        ],
        &[
            "get",
            "cm",
            "-A",
            "-l",
            "it=everywhere",
            "--no-headers",
            "--chunk-size=0",
        ],
        &[
            "get",
            "cm",
            "-A",
            "-l",
            "it=everywhere",
            "--no-headers",
            "--sort-by=.metadata.namespace",
        ],
    ] {
        let table = kubectl.run(arguments).await;
        let rows: BTreeSet<String> = table
            .lines()
            .iter()
            .map(|line| {
                line.split_whitespace()
                    .take(2)
                    .collect::<Vec<_>>()
                    .join("/")
            })
            .collect();
        assert_eq!(rows, expected.iter().cloned().collect(), "{arguments:?}");
    }
    let json = kubectl
        .run(&["get", "cm", "-A", "-l", "it=everywhere", "-o", "json"])
        .await;
    let list: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(list["items"].as_array().unwrap().len(), expected.len());
}

async fn it_costs_a_request_per_namespace_as_himself(world: &'static World) {
    let (tenant, caller, all) = furnished(world, &["a", "b", "c", "d"], Mode::Token).await;
    let mark = world.mark();
    assert_eq!(
        keys_of(&caller.get(&format!("{EVERYWHERE}?{OURS}&limit=500")).await),
        all
    );
    let seen = world.audit(mark, &tenant.owner.name).await;
    assert_eq!(seen.len(), 4, "{seen:#?}");
    for entry in &seen {
        assert_eq!(
            (entry.user.as_str(), &entry.acting),
            (tenant.owner.name.as_str(), &None)
        );
        assert_eq!(
            (entry.verb.as_str(), entry.resource.as_str()),
            ("list", "configmaps")
        );
    }
}

async fn in_impersonate_mode_too(world: &'static World) {
    let (tenant, caller, all) = furnished(world, &["a", "b"], Mode::Impersonate).await;
    let mark = world.mark();
    assert_eq!(
        keys_of(&caller.get(&format!("{EVERYWHERE}?{OURS}")).await),
        all
    );
    let seen = world.audit(mark, &tenant.owner.name).await;
    assert_eq!(seen.len(), 2, "{seen:#?}");
    for entry in &seen {
        assert_eq!(entry.acting.as_ref().unwrap().username, tenant.owner.name);
    }
}

async fn pages_are_as_small_as_asked_and_lose_nothing(world: &'static World) {
    let (_, caller, all) = furnished(world, &["a", "a-b", "c"], Mode::Token).await;
    let in_order = keys_of(&caller.get(&format!("{EVERYWHERE}?{OURS}")).await);
    assert_eq!(
        in_order.iter().cloned().collect::<BTreeSet<_>>(),
        all.into_iter().collect()
    );
    for limit in 1..=7 {
        let (mut seen, mut token, mut versions) = (Vec::new(), String::new(), BTreeSet::new());
        loop {
            let path = format!("{EVERYWHERE}?{OURS}&limit={limit}&continue={token}");
            let page = caller.get(&path).await;
            assert_eq!(page.status, StatusCode::OK, "{}", page.text());
            let keys = keys_of(&page);
            assert!(keys.len() <= limit, "{keys:?}");
            seen.extend(keys);
            versions.insert(page.position());
            match page.json()["metadata"]["continue"].as_str() {
                Some(next) if !next.is_empty() => next.clone_into(&mut token),
                _ => break,
            }
        }
        assert_eq!(seen, in_order, "limit {limit}");
        assert_eq!(versions.len(), 1, "one snapshot: {versions:?}");
    }
}

async fn a_page_token_is_its_owners_and_its_lists(world: &'static World) {
    let (tenant, caller, _) = furnished(world, &["a", "b"], Mode::Token).await;
    let (_, stranger, _) = furnished(world, &["x", "y"], Mode::Token).await;
    let first = caller.get(&format!("{EVERYWHERE}?{OURS}&limit=1")).await;
    let token = first.json()["metadata"]["continue"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(!token.contains(&tenant.name));
    let page =
        |selector: &str, token: &str| format!("{EVERYWHERE}?{selector}&limit=1&continue={token}");
    let good = caller.get(&page(OURS, &token)).await;
    assert_eq!(good.status, StatusCode::OK, "{}", good.text());
    let mut changed = token.clone().into_bytes();
    let last = changed.len() - 3;
    changed[last] = if changed[last] == b'A' { b'B' } else { b'A' };
    let changed = String::from_utf8(changed).unwrap();
    for (what, answer) in [
        ("changed", caller.get(&page(OURS, &changed)).await),
        ("somebody else's", stranger.get(&page(OURS, &token)).await),
        (
            "of another list",
            caller.get(&page("labelSelector=a%3Db", &token)).await,
        ),
        (
            "of another kind",
            caller
                .get(&format!("/api/v1/secrets?limit=1&continue={token}"))
                .await,
        ),
        ("no token", caller.get(&page(OURS, "abc")).await),
    ] {
        assert_eq!(
            answer.status,
            StatusCode::BAD_REQUEST,
            "{what}: {}",
            answer.text()
        );
    }
    // What he sees changes: the old pages are over, and the way on is in the answer, as the API server puts it.
    world.namespace_in(&tenant, "c").await;
    eventually(|| async {
        let answer = caller.get(&page(OURS, &token)).await;
        let gone = answer.status == StatusCode::GONE;
        gone.then_some(()).ok_or_else(|| answer.text())
    })
    .await;
    let gone = caller.get(&page(OURS, &token)).await.json();
    assert_eq!(gone["reason"], "Expired");
    let on = gone["metadata"]["continue"].as_str().unwrap();
    assert_eq!(caller.get(&page(OURS, on)).await.status, StatusCode::OK);
}

/// A Role that lists this kind in this namespace, bound to this person.
pub(crate) async fn may_list(world: &World, namespace: &str, resource: &str, person: &Person) {
    may_list_in(world, namespace, "", resource, person).await;
}

async fn may_list_in(world: &World, namespace: &str, api: &str, resource: &str, person: &Person) {
    let group = "rbac.authorization.k8s.io";
    let name = format!("it-{}", unique());
    let folder = format!("/apis/{group}/v1/namespaces/{namespace}");
    let role = json!({"apiVersion": format!("{group}/v1"), "kind": "Role", "metadata": {"name": name},
        "rules": [{"apiGroups": [api], "resources": [resource], "verbs": ["list"]}]});
    world
        .admin(Method::POST, &format!("{folder}/roles"), Some(&role))
        .await
        .unwrap();
    let binding = json!({"apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
        "subjects": [{"apiGroup": group, "kind": "User", "name": person.name}]});
    world
        .admin(
            Method::POST,
            &format!("{folder}/rolebindings"),
            Some(&binding),
        )
        .await
        .unwrap();
}

async fn where_he_may_not_list_nothing_is_shown_and_nothing_lost(world: &'static World) {
    let tenant = world.tenant(&["a", "b", "c"]).await;
    let all = furnish(world, &tenant.namespaces).await;
    let guest = world.person().await;
    // The first namespace is one where he may not.
    may_list(world, &tenant.namespaces[0], "secrets", &guest).await;
    may_list(world, &tenant.namespaces[1], "configmaps", &guest).await;
    may_list(world, &tenant.namespaces[2], "configmaps", &guest).await;
    let caller = world.proxy().await.caller(&guest);
    until_he_sees(&caller, &tenant.namespaces).await;
    until_he_lists(&caller, &all[2..]).await;
    assert!(
        !caller
            .get(EVERYWHERE)
            .await
            .text()
            .contains(&tenant.namespaces[0])
    );
}

async fn pages_end_well_where_the_last_namespaces_are_refused(world: &'static World) {
    let tenant = world.tenant(&["a", "b", "c", "d"]).await;
    let all = furnish(world, &tenant.namespaces).await;
    let guest = world.person().await;
    for (number, resource) in ["configmaps", "configmaps", "secrets", "secrets"]
        .iter()
        .enumerate()
    {
        may_list(world, &tenant.namespaces[number], resource, &guest).await;
    }
    let proxy = world.proxy().await;
    let caller = proxy.caller(&guest);
    until_he_sees(&caller, &tenant.namespaces).await;
    until_he_lists(&caller, &all[..4]).await;
    for accept in [
        "application/json",
        "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
        "application/json;as=Table;g=meta.k8s.io;v=v1",
    ] {
        let caller = caller.clone().accepting(accept);
        let (mut token, mut count, mut kinds) = (String::new(), 0, BTreeSet::new());
        loop {
            // Two in each: a page ends where a namespace does.
            let page = caller
                .get(&format!("{EVERYWHERE}?{OURS}&limit=2&continue={token}"))
                .await;
            assert_eq!(page.status, StatusCode::OK, "{}", page.text());
            let list = page.json();
            let items = list["items"].as_array().or_else(|| list["rows"].as_array());
            count += items.unwrap().len();
            kinds.insert((list["kind"].to_string(), list["apiVersion"].to_string()));
            match list["metadata"]["continue"].as_str() {
                Some(next) if !next.is_empty() => next.clone_into(&mut token),
                _ => break,
            }
        }
        assert_eq!((count, kinds.len()), (4, 1), "{kinds:?}");
    }
    let kubectl = proxy.kubectl(&guest);
    let rows = kubectl
        .run(&[
            "get",
            "cm",
            "-A",
            "-l",
            "it=everywhere",
            "--no-headers",
            "--chunk-size=2",
        ])
        .await;
    assert_eq!(rows.lines().len(), 4, "{rows:?}");
}

async fn who_may_list_it_nowhere_gets_his_own_refusal(world: &'static World) {
    let (tenant, caller, _) = furnished(world, &["a", "b"], Mode::Token).await;
    let guest = world.person().await;
    may_list(world, &tenant.namespaces[0], "secrets", &guest).await;
    let guest_there = world.proxy().await.caller(&guest);
    until_he_sees(&guest_there, &tenant.namespaces[..1]).await;
    let stranger = world.member_of(&[]).await;
    for (person, caller) in [
        (&guest, &guest_there),
        (&stranger, &world.proxy().await.caller(&stranger)),
    ] {
        let (through, direct) = (
            caller.get(EVERYWHERE).await,
            world.direct(person).get(EVERYWHERE).await,
        );
        assert_eq!(through.status, StatusCode::FORBIDDEN);
        assert_eq!(through.text(), direct.text());
    }
    // A kind that nobody knows is the API server's to refuse.
    let unknown = caller.get("/api/v1/gizmos").await;
    let direct = world.direct(&tenant.owner).get("/api/v1/gizmos").await;
    assert_eq!(
        (unknown.status, unknown.text()),
        (direct.status, direct.text())
    );
}

async fn who_may_list_it_everywhere_is_forwarded(world: &'static World) {
    let (tenant, caller, all) = furnished(world, &["a"], Mode::Token).await;
    let binding = world.bind(&tenant.owner, "view").await;
    // A no is kept for a while; another identity key of the same person asks anew.
    let claims =
        json!({"upn": tenant.owner.name, "groups": [world.groups.users, format!("g{}", unique())]});
    let renewed = Person {
        token: world.mint(claims, 3600).await,
        ..tenant.owner.clone()
    };
    let renewed = world.proxy().await.caller(&renewed);
    eventually(|| async {
        let answer = renewed.get(&format!("{EVERYWHERE}?limit=500")).await;
        let wide = answer.text().contains("kube-system");
        wide.then_some(()).ok_or_else(|| answer.text())
    })
    .await;
    // Who has been told no a moment ago goes on with what is his.
    let his = caller.get(&format!("{EVERYWHERE}?{OURS}")).await;
    assert_eq!(keys_of(&his), all);
    // And back: the API server's refusal is heard, and he has his own again.
    world.delete(&binding).await;
    until_he_lists(&renewed, &all).await;
}

async fn a_selector_narrows_further(world: &'static World) {
    let (tenant, caller, all) = furnished(world, &["a", "b"], Mode::Token).await;
    let ones: Vec<_> = all
        .iter()
        .filter(|key| key.ends_with("/one"))
        .cloned()
        .collect();
    let answer = caller
        .get(&format!("{EVERYWHERE}?{OURS},which%3Done"))
        .await;
    assert_eq!(keys_of(&answer), ones);
    let second = &tenant.namespaces[1];
    let answer = caller
        .get(&format!(
            "{EVERYWHERE}?{OURS}&fieldSelector=metadata.namespace%3D{second}"
        ))
        .await;
    assert_eq!(keys_of(&answer), all[2..]);
    // Another's namespace, or none at all, by a selector: his own refusal.
    let answer = caller
        .get(&format!(
            "{EVERYWHERE}?fieldSelector=metadata.namespace%3Dkube-system"
        ))
        .await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text());
    let bad = caller
        .get(&format!("{EVERYWHERE}?labelSelector=a%20in%20("))
        .await;
    assert_eq!(bad.status, StatusCode::BAD_REQUEST);
}

/// Typed (protobuf first, JSON besides), dynamic and metadata clients, at once and in pages.
async fn every_client_of_client_go_lists_the_same(world: &'static World) {
    let (tenant, _, all) = furnished(world, &["a", "a-b", "c"], Mode::Token).await;
    let kubectl = world.proxy().await.kubectl(&tenant.owner);
    let binary = tokio::task::spawn_blocking(|| tool("tests/testbed/build"))
        .await
        .unwrap();
    for kind in ["typed", "dynamic", "metadata"] {
        for chunk in ["0", "1", "4"] {
            let mut list = Command::new(&binary);
            list.args([
                "client",
                "list",
                "--resource",
                "configmaps",
                "--selector",
                "it=everywhere",
            ])
            .args(["--kind", kind, "--chunk", chunk, "--kubeconfig"])
            .arg(kubectl.kubeconfig());
            let listed = tokio::task::spawn_blocking(move || output(&mut list))
                .await
                .unwrap();
            let listed: Value = serde_json::from_str(&listed).unwrap();
            let mut keys: Vec<String> = serde_json::from_value(listed["keys"].clone()).unwrap();
            keys.sort();
            assert_eq!(keys, all, "{kind} in chunks of {chunk}");
        }
    }
}

async fn kube_rs_lists_the_same(world: &'static World) {
    let (tenant, _, all) = furnished(world, &["a", "a-b", "c"], Mode::Token).await;
    let kubectl = world.proxy().await.kubectl(&tenant.owner);
    let client = world::client(&std::fs::read_to_string(kubectl.kubeconfig()).unwrap()).await;
    let maps = Api::<ConfigMap>::all(client);
    let parameters = ListParams::default().labels("it=everywhere");
    for parameters in [parameters.clone(), parameters.limit(100)] {
        let listed = maps.list(&parameters).await.unwrap();
        let mut keys: Vec<_> = listed
            .items
            .iter()
            .map(|map| format!("{}/{}", map.namespace().unwrap(), map.name_any()))
            .collect();
        keys.sort();
        assert_eq!(keys, all);
    }
}

/// Its lists have their items first, and no protobuf.
async fn a_kind_made_a_minute_ago_is_listed(world: &'static World) {
    let (tenant, caller, _) = furnished(world, &["a", "b"], Mode::Token).await;
    let (plural, group) = (format!("gizmos{}", unique()), "it.example.com");
    let versions = ["v1", "v2"].map(|version| {
        json!({
            "name": version, "served": true, "storage": version == "v1",
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
        })
    });
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {"group": group, "scope": "Namespaced",
            "names": {"plural": plural, "singular": plural, "kind": format!("Gizmo{}", unique())},
            "versions": versions},
    });
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    world
        .admin(Method::POST, definitions, Some(&definition))
        .await
        .unwrap();
    let kind = definition["spec"]["names"]["kind"].clone();
    for namespace in &tenant.namespaces {
        may_list_in(world, namespace, group, &plural, &tenant.owner).await;
        let body =
            json!({"apiVersion": format!("{group}/v1"), "kind": kind, "metadata": {"name": "one"}});
        let path = format!("/apis/{group}/v1/namespaces/{namespace}/{plural}");
        eventually(|| async {
            let made = world.admin(Method::POST, &path, Some(&body)).await;
            made.map_err(|why| why.to_string())
        })
        .await;
    }
    let expected: Vec<_> = tenant
        .namespaces
        .iter()
        .map(|name| format!("{name}/one"))
        .collect();
    for version in ["v1", "v2"] {
        for limit in ["", "?limit=1", "?limit=2"] {
            let path = format!("/apis/{group}/{version}/{plural}{limit}");
            eventually(|| async {
                let answer = caller.get(&path).await;
                let keys = keys_of(&answer);
                let wanted = if limit == "?limit=1" {
                    &expected[..1]
                } else {
                    &expected
                };
                (keys == wanted).then_some(()).ok_or_else(|| answer.text())
            })
            .await;
        }
    }
    let kubectl = world.proxy().await.kubectl(&tenant.owner);
    let table = kubectl
        .run(&["get", &plural, "-A", "--no-headers", "--chunk-size=1"])
        .await;
    assert_eq!(table.lines().len(), expected.len(), "{table:?}");
}

/// Far larger than what is read ahead of a part, or put together before the head goes out.
async fn a_list_of_many_megabytes_comes_whole_at_once_and_in_pages(world: &'static World) {
    const MAPS: usize = 40;
    let (tenant, caller, _) = furnished(world, &["a", "b", "c"], Mode::Token).await;
    for namespace in &tenant.namespaces {
        for number in 0..MAPS {
            let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"x": "y".repeat(200_000)},
                "metadata": {"name": format!("large-{number}"), "labels": {"it": "large"}}});
            let path = format!("{NAMESPACES}/{namespace}/configmaps");
            world.admin(Method::POST, &path, Some(&body)).await.unwrap();
        }
    }
    let answer = caller
        .get(&format!("{EVERYWHERE}?labelSelector=it%3Dlarge"))
        .await;
    assert_eq!(keys_of(&answer).len(), 3 * MAPS);
    assert!(answer.body.len() > 20_000_000, "{}", answer.body.len());
    // The same in pages, whose last one ends in the middle of a namespace.
    let (mut seen, mut token) = (BTreeSet::new(), String::new());
    loop {
        let page = caller
            .get(&format!(
                "{EVERYWHERE}?labelSelector=it%3Dlarge&limit=50&continue={token}"
            ))
            .await;
        let keys = keys_of(&page);
        assert!(keys.len() <= 50);
        let count = keys.len();
        let before = seen.len();
        seen.extend(keys);
        assert_eq!(seen.len(), before + count, "something came twice");
        match page.json()["metadata"]["continue"].as_str() {
            Some(next) if !next.is_empty() => next.clone_into(&mut token),
            _ => break,
        }
    }
    assert_eq!(seen.len(), 3 * MAPS);
}

/// Random rights of random people over random namespaces: what each is shown is what the API server lets him list in
/// the namespaces he sees, asked one by one as himself, and nothing else.
async fn whatever_the_rights_what_is_shown_is_what_they_allow(world: &'static World) {
    let mut dice = 0x9e37_79b9_u32;
    let mut roll = move |sides: u32| {
        dice ^= dice << 13;
        dice ^= dice >> 17;
        dice ^= dice << 5;
        dice % sides
    };
    let mut people = Vec::new();
    for _ in 0..6 {
        people.push(world.person().await);
    }
    let mut namespaces = Vec::new();
    for _ in 0..4 {
        let owner = people[roll(6) as usize].clone();
        let tenant = world.tenant_of(owner, &["a", "b", "c"]).await;
        namespaces.extend(tenant.namespaces);
    }
    furnish(world, &namespaces).await;
    for namespace in &namespaces {
        for person in &people {
            match roll(6) {
                0 => may_list(world, namespace, "configmaps", person).await,
                1 => may_list(world, namespace, "secrets", person).await,
                _ => {}
            }
        }
    }
    let proxy = world.proxy().await;
    for person in &people {
        let caller = proxy.caller(person);
        eventually(|| async {
            let (mut allowed, mut refused) = (Vec::new(), 0);
            for namespace in &namespaces {
                let path = format!("{NAMESPACES}/{namespace}/configmaps?{OURS}");
                let alone = world.direct(person).get(&path).await;
                match alone.status {
                    StatusCode::OK => allowed.extend(keys_of(&alone)),
                    _ => refused += 1,
                }
            }
            allowed.sort();
            let together = caller.get(&format!("{EVERYWHERE}?{OURS}")).await;
            let mut shown = keys_of(&together);
            shown.sort();
            let right = match together.status {
                StatusCode::OK => shown == allowed && !allowed.is_empty(),
                StatusCode::FORBIDDEN => refused == namespaces.len(),
                _ => false,
            };
            right
                .then_some(())
                .ok_or_else(|| format!("{} is not {allowed:?}", together.text()))
        })
        .await;
    }
}

/// A kind whose objects the API server cannot convert: where there is one, the list is a 500. Without that namespace
/// it would look whole.
async fn a_failure_in_one_namespace_is_the_answer_to_all(world: &'static World) {
    // More than are under way at once, and the last of them fails.
    const SUFFIXES: [&str; 11] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"];
    let (tenant, caller, _) = furnished(world, &SUFFIXES, Mode::Token).await;
    let (plural, group) = (format!("relics{}", unique()), "it.example.com");
    let versions = ["v1", "v2"].map(|version| {
        json!({
            "name": version, "served": true, "storage": version == "v1",
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
        })
    });
    let kind = format!("Relic{}", unique());
    let nobody = json!({"conversionReviewVersions": ["v1"], "clientConfig": {"url": "https://127.0.0.1:1/convert"}});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {"group": group, "scope": "Namespaced", "versions": versions, "preserveUnknownFields": false,
            "names": {"plural": plural, "singular": plural, "kind": kind},
            "conversion": {"strategy": "Webhook", "webhook": nobody}},
    });
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    world
        .admin(Method::POST, definitions, Some(&definition))
        .await
        .unwrap();
    for namespace in &tenant.namespaces {
        may_list_in(world, namespace, group, &plural, &tenant.owner).await;
    }
    let everywhere = format!("/apis/{group}/v2/{plural}");
    eventually(|| async {
        let empty = caller.get(&everywhere).await;
        (empty.status == StatusCode::OK)
            .then_some(())
            .ok_or_else(|| empty.text())
    })
    .await;
    let body =
        json!({"apiVersion": format!("{group}/v1"), "kind": kind, "metadata": {"name": "one"}});
    let path = format!(
        "/apis/{group}/v1/namespaces/{}/{plural}",
        tenant.namespaces[10]
    );
    world.admin(Method::POST, &path, Some(&body)).await.unwrap();
    let failed = eventually(|| async {
        let answer = caller.get(&everywhere).await;
        let failed = answer.status.is_server_error();
        failed.then_some(()).ok_or_else(|| answer.text())?;
        Ok::<_, String>(answer)
    })
    .await;
    // The API server's own words, whichever of its parts noticed first, and none of ours.
    assert_ne!(failed.status, StatusCode::BAD_GATEWAY, "{}", failed.text());
    let status = failed.json();
    assert_eq!(
        (&status["kind"], &status["code"]),
        (&json!("Status"), &json!(failed.status.as_u16()))
    );
    // In the version it is stored in, all is well.
    let stored = caller.get(&format!("/apis/{group}/v1/{plural}")).await;
    assert_eq!(keys_of(&stored), [format!("{}/one", tenant.namespaces[10])]);
    world
        .delete(&format!("{definitions}/{plural}.{group}"))
        .await;
}
