//! What goes wrong around the proxy: an API server that sends clients away, restarts, freezes or forgets, facts that
//! stop coming, a dead operator, a directory that rotates its keys or is away, a flood of garbage.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use http::Method;
use http::StatusCode;
use kube_tenant_proxy::tenancy;
use kube_tenant_proxy::upstream;
use serde_json::Value;
use serde_json::json;

use crate::harness;
use crate::harness::eventually;
use crate::harness::http::Answer;
use crate::harness::http::Caller;
use crate::harness::http::Events;
use crate::harness::http::is_expired;
use crate::harness::people::Person;
use crate::harness::people::Tenant;
use crate::harness::proxy::Mode;
use crate::harness::proxy::Proxy;
use crate::harness::proxy::Setup;
use crate::harness::world::World;
use crate::lists::until_he_sees;
use crate::rules::CLASSES;
use crate::rules::labelled;
use crate::rules::offering;
use crate::rules::until_listed;

const NAMESPACES: &str = "/api/v1/namespaces";

macro_rules! on_the_disturbed_bed {
    ($($name:ident),+ $(,)?) => {
        mod disturbed {
            $(#[test]
            fn $name() {
                super::harness::run_disturbed(super::harness::TEST, super::$name);
            })+
        }
    };
}

on_the_disturbed_bed!(
    connections_that_are_told_to_go_lose_and_double_nothing,
    a_restart_under_load_gives_no_wrong_answer_and_doubles_no_write,
    what_a_frozen_api_server_owes_comes_when_it_thaws_or_is_a_504,
    facts_that_stop_coming_end_what_rests_on_them,
    what_the_reader_may_no_longer_read_is_no_longer_watched,
    a_page_of_a_history_that_was_compacted_is_the_api_servers_410,
    a_dead_operator_takes_nothing_away,
    keys_that_rotate_under_load_refuse_nobody,
    a_flood_of_garbage_costs_little_and_locks_nobody_out,
);

/// A tenant whose owner sees his namespaces through `proxy` and may write in them.
async fn tenant(world: &'static World, proxy: &Proxy) -> (Tenant, Caller) {
    let tenant = world.tenant(&["a", "b", "c"]).await;
    let caller = proxy.caller(&tenant.owner);
    until_he_sees(&caller, &tenant.namespaces).await;
    // The operator's RoleBinding follows a moment later.
    let maps = configmaps(&tenant);
    eventually(|| async {
        let listed = caller.get(&maps).await;
        let may = listed.status == StatusCode::OK;
        may.then_some(()).ok_or_else(|| listed.text())
    })
    .await;
    let steady = configmap("steady");
    world
        .admin(Method::POST, &configmaps(&tenant), Some(&steady))
        .await
        .unwrap();
    (tenant, caller)
}

fn configmaps(tenant: &Tenant) -> String {
    format!("{NAMESPACES}/{}/configmaps", tenant.namespaces[0])
}

fn configmap(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})
}

/// One of the three things a client does under load, and what came of it.
async fn act(caller: &Caller, tenant: &Tenant, turn: usize) -> (usize, Answer) {
    let answer = match turn % 3 {
        0 => {
            let body = configmap(&format!("load-{turn}"));
            caller.post(&configmaps(tenant), &body).await
        }
        1 => caller.get(NAMESPACES).await,
        _ => {
            let one = format!("{}/steady", configmaps(tenant));
            caller.get(&one).await
        }
    };
    (turn, answer)
}

/// So many turns, eight at a time.
async fn load(caller: &Caller, tenant: &Tenant, turns: usize) -> Vec<(usize, Answer)> {
    stream::iter(0..turns)
        .map(|turn| act(caller, tenant, turn))
        .buffer_unordered(8)
        .collect()
        .await
}

/// Whether a right answer: created, the whole list, the object.
fn is_right(tenant: &Tenant, turn: usize, answer: &Answer) -> bool {
    match turn % 3 {
        0 => answer.status == StatusCode::CREATED,
        1 => answer.status == StatusCode::OK && answer.names() == tenant.namespaces,
        _ => answer.status == StatusCode::OK && answer.json()["kind"] == "ConfigMap",
    }
}

/// Names of the ConfigMaps that the load has made.
async fn made(world: &World, tenant: &Tenant) -> BTreeSet<String> {
    let listed = world.admin(Method::GET, &configmaps(tenant), None).await;
    let items = listed.unwrap()["items"].as_array().unwrap().clone();
    let names = items
        .iter()
        .map(|item| item["metadata"]["name"].as_str().unwrap().to_owned());
    names.filter(|name| name.starts_with("load-")).collect()
}

async fn connections_that_are_told_to_go_lose_and_double_nothing(world: &'static World) {
    let proxy = world.proxy().await;
    let (tenant, caller) = tenant(world, proxy).await;
    for (round, caller) in [caller.clone(), caller.over_h2()].into_iter().enumerate() {
        let mark = world.mark();
        let answers = load(&caller, &tenant, 900).await;
        for (turn, answer) in &answers {
            let again = round == 1 && turn % 3 == 0 && answer.status == StatusCode::CONFLICT;
            assert!(
                again || is_right(&tenant, *turn, answer),
                "{turn}: {} {}",
                answer.status,
                answer.text()
            );
        }
        assert_eq!(made(world, &tenant).await.len(), 300);
        // Each was tried once, and none twice because a connection went away under it.
        let seen = world.audit(mark, &tenant.owner.name).await;
        let creates = seen
            .iter()
            .filter(|entry| entry.verb == "create" && entry.resource == "configmaps");
        assert_eq!(creates.count(), 300);
    }
}

async fn a_restart_under_load_gives_no_wrong_answer_and_doubles_no_write(world: &'static World) {
    let proxy = world.proxy().await;
    let (tenant, caller) = tenant(world, proxy).await;
    let (answers, ()) = tokio::join!(load(&caller, &tenant, 1500), async {
        eventually(|| async {
            let begun = made(world, &tenant).await.len() > 50;
            begun.then_some(()).ok_or_else(|| "no load yet".to_owned())
        })
        .await;
        // By SIGTERM. A killed one cuts what it was saying, and so must the proxy.
        world.disturb("/apiserver/restart?graceful").await;
    });
    let (mut created, mut failed) = (BTreeSet::new(), 0);
    for (turn, answer) in &answers {
        if is_right(&tenant, *turn, answer) {
            if turn % 3 == 0 {
                created.insert(format!("load-{turn}"));
            }
            continue;
        }
        // A second try of ours at a write that was carried out would be told that it exists.
        failed += 1;
        let status = answer.json();
        assert!(
            answer.status.is_server_error() || answer.status == StatusCode::TOO_MANY_REQUESTS,
            "{turn}: {status}"
        );
        assert_eq!(
            (&status["kind"], &status["code"]),
            (&json!("Status"), &json!(answer.status.as_u16()))
        );
    }
    assert!(failed > 0, "the API server was away, and nobody noticed");
    let there = made(world, &tenant).await;
    assert!(
        created.is_subset(&there),
        "what was answered with 201 is not there"
    );
    until_he_sees(&caller, &tenant.namespaces).await;
}

async fn what_a_frozen_api_server_owes_comes_when_it_thaws_or_is_a_504(world: &'static World) {
    let patient = world.proxy().await;
    let hasty = Setup {
        upstream: upstream::Settings {
            head_timeout: Duration::from_secs(1),
            ..upstream::Settings::default()
        },
        ..Setup::default()
    };
    let hasty = Proxy::start(world, hasty).await;
    let (tenant, caller) = tenant(world, patient).await;
    let hurried = hasty.caller(&tenant.owner);
    until_he_sees(&hurried, &tenant.namespaces).await;
    // What he may himself is asked while it can be.
    assert_eq!(
        hurried.get("/api/v1/configmaps").await.status,
        StatusCode::OK
    );

    world.disturb("/apiserver/freeze").await;
    let version = format!("{}/steady", configmaps(&tenant));
    let (waiting, told) = tokio::join!(
        tokio::spawn({
            let (caller, path) = (caller.clone(), version.clone());
            async move { caller.get(&path).await }
        }),
        async {
            let told = [
                hurried.get(NAMESPACES).await,
                hurried.get(&version).await,
                hurried.get("/api/v1/configmaps").await,
            ];
            // Who has no credential is told so by the proxy itself.
            assert_eq!(
                hasty.anybody().get(NAMESPACES).await.status,
                StatusCode::UNAUTHORIZED
            );
            world.disturb("/apiserver/thaw").await;
            told
        }
    );
    for answer in told {
        assert_eq!(
            answer.status,
            StatusCode::GATEWAY_TIMEOUT,
            "{}",
            answer.text()
        );
        assert_eq!(answer.json()["kind"], "Status");
    }
    let waiting = waiting.unwrap();
    assert_eq!(waiting.status, StatusCode::OK, "{}", waiting.text());
    until_he_sees(&caller, &tenant.namespaces).await;
}

/// Takes the right to list a kind from the proxy's reader. The roles as they were, by path.
async fn take_from_the_reader(
    world: &World,
    group: &str,
    resource: &str,
) -> Vec<(String, Vec<Value>)> {
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    let listed = world.admin(Method::GET, roles, None).await.unwrap();
    let items = listed["items"].as_array().unwrap().clone();
    let reads = |rule: &Value| {
        rule["apiGroups"].to_string().contains(group)
            && rule["resources"].to_string().contains(resource)
            && rule["verbs"].to_string().contains("list")
    };
    let of_the_reader = |role: &Value| {
        let rules = role["rules"].as_array().into_iter().flatten();
        let name = role["metadata"]["name"].to_string();
        name.contains("capsule-proxy") && rules.clone().any(reads)
    };
    let roles: Vec<(String, Vec<Value>)> = items
        .into_iter()
        .filter(of_the_reader)
        .map(|role| {
            let path = format!("{roles}/{}", role["metadata"]["name"].as_str().unwrap());
            (path, role["rules"].as_array().unwrap().clone())
        })
        .collect();
    assert!(!roles.is_empty());
    for (path, rules) in &roles {
        let others: Vec<_> = rules.iter().filter(|rule| !reads(rule)).collect();
        world.merge(path, &json!({"rules": others})).await;
    }
    roles
}

/// The API server judges a watch when it begins; what the reader may not read any more is not shown any more.
async fn what_the_reader_may_no_longer_read_is_no_longer_watched(world: &'static World) {
    let setup = Setup {
        proxy: kube_tenant_proxy::proxy::Settings {
            look: Duration::from_secs(1),
            ..kube_tenant_proxy::proxy::Settings::default()
        },
        ..Setup::default()
    };
    let proxy = Proxy::start(world, setup).await;
    let class = labelled(world, "StorageClass", json!({})).await;
    let spec = json!({"storageClasses": {"allowed": [class]}});
    let owner = world.person().await;
    offering(world, owner.clone(), &["StorageClasses"], spec).await;
    let caller = proxy.caller(&owner);
    until_listed(&caller, CLASSES, &[&class]).await;
    let mut watch = caller
        .watch(&format!("{CLASSES}?watch=1&allowWatchBookmarks=true"))
        .await;
    assert_eq!(watch.next().await.unwrap()["type"], "ADDED");
    let roles = take_from_the_reader(world, "storage.k8s.io", "storageclasses").await;
    // So that the proxy looks at what there is now, and not half a minute later.
    let definition =
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/tenants.capsule.clastix.io";
    let label = json!({"metadata": {"labels": {"it": "looked-at"}}});
    world.merge(definition, &label).await;
    let rest = watch.rest().await;
    assert!(rest.last().is_some_and(is_expired), "{rest:?}");
    let refused = caller.get(CLASSES).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "his own answer");
    for (path, rules) in roles {
        world.merge(&path, &json!({"rules": rules})).await;
    }
    world.merge(definition, &label).await;
}

/// The reader loses the right to read Tenants: the API server answers everything else, so nothing but the age of the
/// facts speaks against a narrowed answer.
async fn facts_that_stop_coming_end_what_rests_on_them(world: &'static World) {
    let setup = Setup {
        tenancy: tenancy::Settings {
            pulse: Duration::from_secs(1),
            unready_after: Duration::from_secs(4),
            refuse_after: Duration::from_secs(6),
            ..tenancy::Settings::default()
        },
        proxy: kube_tenant_proxy::proxy::Settings {
            look: Duration::from_secs(1),
            ..kube_tenant_proxy::proxy::Settings::default()
        },
        ..Setup::default()
    };
    let proxy = Proxy::start(world, setup).await;
    let (tenant, caller) = tenant(world, &proxy).await;
    let mut watch = caller
        .watch(&format!("{NAMESPACES}?watch=1&allowWatchBookmarks=true"))
        .await;
    assert_eq!(watch.next().await.unwrap()["type"], "ADDED");

    let roles = take_from_the_reader(world, "capsule.clastix.io", "tenants").await;

    let refused = eventually(|| async {
        let answer = caller.get(NAMESPACES).await;
        let refused = answer.status == StatusCode::SERVICE_UNAVAILABLE;
        if !refused {
            assert_eq!(
                answer.names(),
                tenant.namespaces,
                "never less, never an empty list"
            );
        }
        refused
            .then_some(answer)
            .ok_or_else(|| "still answered".to_owned())
    })
    .await;
    assert_eq!(refused.json()["kind"], "Status");
    assert!(
        refused.headers.contains_key("retry-after"),
        "{:?}",
        refused.headers
    );
    let rest = watch.rest().await;
    assert!(
        rest.iter()
            .all(|event| event["type"] != "ERROR" && event["type"] != "DELETED"),
        "{rest:?}"
    );
    let ready = proxy.anybody().get("/_readyz").await;
    assert_eq!(
        ready.status,
        StatusCode::SERVICE_UNAVAILABLE,
        "{}",
        ready.text()
    );
    // Which namespaces are his is a fact too.
    let everywhere = caller.get("/api/v1/configmaps").await;
    assert_eq!(
        everywhere.status,
        StatusCode::SERVICE_UNAVAILABLE,
        "{}",
        everywhere.text()
    );
    // What rests on no fact goes on: his own right in his namespace.
    assert_eq!(
        caller.get(&configmaps(&tenant)).await.status,
        StatusCode::OK
    );

    for (path, rules) in &roles {
        world.merge(path, &json!({"rules": rules})).await;
    }
    until_he_sees(&caller, &tenant.namespaces).await;
    eventually(|| async {
        let ready = proxy.anybody().get("/_readyz").await;
        (ready.status == StatusCode::OK)
            .then_some(())
            .ok_or_else(|| ready.text())
    })
    .await;
}

async fn a_page_of_a_history_that_was_compacted_is_the_api_servers_410(world: &'static World) {
    let proxy = world.proxy().await;
    let (tenant, caller) = tenant(world, proxy).await;
    let token = |answer: &Answer| {
        answer.json()["metadata"]["continue"]
            .as_str()
            .map(str::to_owned)
    };
    // The first page under a floor that the cluster has moved past.
    let first = eventually(|| async {
        let labels =
            json!({"metadata": {"labels": {"moved": harness::people::unique().to_string()}}});
        world
            .merge(&format!("{NAMESPACES}/{}", tenant.namespaces[0]), &labels)
            .await;
        let first = caller.get(&format!("{NAMESPACES}?limit=1")).await;
        let token = token(&first).expect("there are more");
        let second = caller
            .get(&format!("{NAMESPACES}?limit=1&continue={token}"))
            .await;
        (second.status == StatusCode::OK)
            .then_some(token)
            .ok_or_else(|| second.text())
    })
    .await;
    let path = format!("{NAMESPACES}?limit=1&continue={first}");
    let gone = eventually(|| async {
        let labels =
            json!({"metadata": {"labels": {"moved": harness::people::unique().to_string()}}});
        world
            .merge(&format!("{NAMESPACES}/{}", tenant.namespaces[1]), &labels)
            .await;
        world.disturb("/etcd/compact").await;
        let answer = caller.get(&path).await;
        let gone = answer.status == StatusCode::GONE;
        gone.then_some(answer)
            .ok_or_else(|| "the page is still there".to_owned())
    })
    .await;
    let status = gone.json();
    assert_eq!(
        (&status["kind"], &status["reason"]),
        (&json!("Status"), &json!("Expired"))
    );
    // A pager goes on by one whole list.
    assert_eq!(caller.get(NAMESPACES).await.names(), tenant.namespaces);
}

async fn a_dead_operator_takes_nothing_away(world: &'static World) {
    let proxy = world.proxy().await;
    let (tenant, caller) = tenant(world, proxy).await;
    world.disturb("/operator/pause").await;
    let name = format!("{}-new", tenant.name);
    let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let through = caller.post(NAMESPACES, &body).await;
    let direct = world.direct(&tenant.owner).post(NAMESPACES, &body).await;
    let listed = caller.get(NAMESPACES).await;
    world.disturb("/operator/resume").await;
    assert_eq!(through.status, direct.status);
    assert!(!through.status.is_success(), "{}", through.text());
    assert_eq!(through.json()["reason"], direct.json()["reason"]);
    assert_eq!(listed.names(), tenant.namespaces);
}

/// A token of `person` signed by a key that his directory has published just now. The API server itself would not look
/// for that key before what it has read of them is a day old (`Cache-Control`), so nothing of this may rest on it.
async fn signed_anew(world: &'static World, person: &Person) -> Person {
    let added = world
        .directory("/control/keys", json!({"action": "add"}))
        .await;
    let claims = json!({"upn": person.name, "groups": [world.groups.users]});
    let order = json!({"claims": claims, "key": added["key"]["name"]});
    let minted = world.directory("/control/mint", order).await;
    Person {
        token: minted["token"].as_str().unwrap().to_owned(),
        ..person.clone()
    }
}

/// One that nothing of the API server's opinion about tokens reaches, with a budget for unknown keys of its own.
async fn impersonating(world: &'static World) -> Proxy {
    let setup = Setup {
        mode: Mode::Impersonate,
        ..Setup::default()
    };
    Proxy::start(world, setup).await
}

async fn keys_that_rotate_under_load_refuse_nobody(world: &'static World) {
    let proxy = impersonating(world).await;
    let (tenant, caller) = tenant(world, &proxy).await;
    let (answers, ()) = tokio::join!(load(&caller, &tenant, 600), async {
        for _ in 0..2 {
            let fresh = proxy.caller(&signed_anew(world, &tenant.owner).await);
            // Keys are asked for no more often than a flood of unknown ones may make us: he may be told to wait.
            eventually(|| async {
                let listed = fresh.get(NAMESPACES).await;
                assert_ne!(listed.status, StatusCode::UNAUTHORIZED, "{}", listed.text());
                let his = listed.status == StatusCode::OK && listed.names() == tenant.namespaces;
                his.then_some(()).ok_or_else(|| listed.text())
            })
            .await;
        }
    });
    for (turn, answer) in &answers {
        assert!(
            is_right(&tenant, *turn, answer),
            "{turn}: {} {}",
            answer.status,
            answer.text()
        );
    }
}

/// Every one of them another token: nothing can be remembered about them.
async fn a_flood_of_garbage_costs_little_and_locks_nobody_out(world: &'static World) {
    const FLOOD: usize = 2000;
    let reviewing = Setup {
        mode: Mode::Review,
        ..Setup::default()
    };
    let reviewing = Proxy::start(world, reviewing).await;
    for proxy in [world.proxy().await, &reviewing] {
        let (tenant, caller) = tenant(world, proxy).await;
        let mark = world.mark();
        let flood = stream::iter(0..FLOOD).map(|number| {
            // A third looks like nothing, the others like tokens of the issuer signed by a key that nobody has.
            let token = match number % 3 {
                0 => format!("garbage-{number}"),
                _ => forged(&tenant.owner.token, number),
            };
            let caller = proxy.anybody().bearing(&token);
            async move { caller.get(NAMESPACES).await }
        });
        let (answers, good) = tokio::join!(
            flood.buffer_unordered(16).collect::<Vec<_>>(),
            load(&caller, &tenant, 60)
        );
        for answer in &answers {
            let refused = answer.status == StatusCode::UNAUTHORIZED
                || answer.status == StatusCode::TOO_MANY_REQUESTS
                || answer.status == StatusCode::SERVICE_UNAVAILABLE;
            assert!(refused, "{} {}", answer.status, answer.text());
        }
        for (turn, answer) in &good {
            assert!(
                is_right(&tenant, *turn, answer),
                "{turn}: {} {}",
                answer.status,
                answer.text()
            );
        }
        world.audit(mark, &tenant.owner.name).await;
        let entries = world.entries(mark);
        let reviews = entries
            .iter()
            .filter(|entry| entry.resource.starts_with("tokenreviews"))
            .count();
        assert!(reviews <= FLOOD / 8, "{reviews} reviews");
    }
}

/// `token` with another signature.
fn forged(token: &str, number: usize) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let mut signature = signature.to_owned();
    signature.replace_range(..8, &format!("{number:08}"));
    format!("{signed}.{signature}")
}
