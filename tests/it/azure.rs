//! What only Entra ID and a managed Azure cluster do: tokens that leave out groups, guests with other people's names,
//! applications, and rights that are role assignments.

use http::StatusCode;
use serde_json::Value;
use serde_json::json;
use tokio::time::Instant;

use crate::harness::eventually;
use crate::harness::http::Caller;
use crate::harness::people::Person;
use crate::harness::people::Tenant;
use crate::harness::people::unique;
use crate::harness::proxy::Mode;
use crate::harness::proxy::Proxy;
use crate::harness::proxy::Setup;
use crate::harness::world::World;
use crate::lists::settled;
use crate::lists::until_he_sees;

const NAMESPACES: &str = "/api/v1/namespaces";
const MODES: [Mode; 3] = [Mode::Token, Mode::Impersonate, Mode::Review];

in_the_azure_world!(
    groups_that_the_token_leaves_out_are_looked_up,
    groups_are_looked_up_once_for_many_requests,
    without_a_look_up_a_list_is_refused_and_the_rest_goes_on,
    an_application_with_too_many_groups_gets_nothing,
    an_application_owns_by_its_object_id,
    a_guest_is_not_the_owner_whose_name_he_bears,
    a_directory_role_is_no_group,
    a_name_is_taken_as_it_is_spelled,
    a_role_assignment_counts_as_without_the_proxy,
);

/// The object id of a group that nobody else is in.
fn group() -> String {
    format!("00000000-0000-4000-a000-{:012}", unique())
}

/// So many groups, of which the last are these.
fn groups(number: usize, last: &[&str]) -> Vec<String> {
    let fillers = (last.len()..number).map(|_| group());
    fillers
        .chain(last.iter().map(|&id| id.to_owned()))
        .collect()
}

/// A Tenant that belongs to the members of a group.
async fn tenant_of_group(world: &'static World) -> (Tenant, String) {
    let (tenant, group) = (world.tenant(&["dev"]).await, group());
    world
        .owned_by(&tenant, json!([{"kind": "Group", "name": group}]))
        .await;
    (tenant, group)
}

/// Somebody in 250 groups, one of which owns a Tenant: his token carries none of them.
async fn crowded(world: &'static World, kind: &str) -> (Tenant, Person) {
    let (tenant, group) = tenant_of_group(world).await;
    let groups = groups(250, &[&group, &world.groups.users]);
    let person = world.persona(json!({"kind": kind, "groups": groups})).await;
    (tenant, person)
}

async fn groups_that_the_token_leaves_out_are_looked_up(world: &'static World) {
    let (tenant, person) = crowded(world, "member").await;
    for mode in MODES {
        let caller = world.proxy_in(mode).await.caller(&person);
        until_he_sees(&caller, &tenant.namespaces).await;
        // They count for what he does, too: the operator's binding in his namespace is to the group.
        until_he_reads(&caller, &tenant).await;
    }
}

/// Waits until `caller` may read in the tenant's namespace: the operator's binding comes a moment after the owner.
async fn until_he_reads(caller: &Caller, tenant: &Tenant) {
    let path = format!("{NAMESPACES}/{}/configmaps", tenant.namespaces[0]);
    eventually(|| async {
        let answer = caller.get(&path).await;
        let is_bound = answer.status == StatusCode::OK;
        is_bound.then_some(()).ok_or_else(|| answer.text())
    })
    .await;
}

async fn groups_are_looked_up_once_for_many_requests(world: &'static World) {
    // Nobody else asks this one.
    let setup = Setup {
        mode: Mode::Impersonate,
        ..Setup::default()
    };
    let proxy = Proxy::start(world, setup).await;
    let (tenant, person) = crowded(world, "member").await;
    let caller = proxy.caller(&person);
    until_he_sees(&caller, &tenant.namespaces).await;
    let reviews = || async { proxy.metrics().await.sum("token_reviews_total", "") };
    let (mark, before, begin) = (world.mark(), reviews().await, Instant::now());
    for _ in 0..40 {
        assert_eq!(caller.get(NAMESPACES).await.names(), tenant.namespaces);
    }
    let seen = world.audit(mark, &person.name).await;
    assert_eq!(seen.len(), 40, "{seen:#?}");
    assert!(before >= 1.0, "they were never looked up");
    // What was looked up counts for a minute, which may have begun a while before the first of them.
    let over = 1 + begin.elapsed().as_secs() / 60;
    let more = reviews().await - before;
    assert!(more <= over as f64, "{more} reviews for 40 requests");
}

async fn without_a_look_up_a_list_is_refused_and_the_rest_goes_on(world: &'static World) {
    let (tenant, person) = crowded(world, "member").await;
    until_he_sees(&world.proxy().await.caller(&person), &tenant.namespaces).await;
    let mut authentication = world.issuer.authentication(Mode::Token);
    authentication["tokenReview"] = json!({"enabled": false});
    let setup = Setup {
        authentication: Some(authentication),
        ..Setup::default()
    };
    let proxy = Proxy::start(world, setup).await;
    let caller = proxy.caller(&person);
    for query in ["", "?watch=1"] {
        let answer = caller.get(&format!("{NAMESPACES}{query}")).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text());
        let message = answer.json()["message"].clone();
        assert!(
            message
                .as_str()
                .unwrap()
                .contains("more groups than it carries"),
            "{message}"
        );
    }
    until_he_reads(&caller, &tenant).await;
}

async fn an_application_with_too_many_groups_gets_nothing(world: &'static World) {
    let (tenant, robot) = crowded(world, "application").await;
    let direct = world.direct(&robot).get(NAMESPACES).await;
    assert_eq!(direct.status, StatusCode::UNAUTHORIZED, "{}", direct.text());
    for mode in MODES {
        let caller = world.proxy_in(mode).await.caller(&robot);
        for path in [
            NAMESPACES.to_owned(),
            format!("{NAMESPACES}?watch=1"),
            format!("{NAMESPACES}/{}", tenant.namespaces[0]),
            format!("{NAMESPACES}/{}/configmaps", tenant.namespaces[0]),
        ] {
            let answer = caller.get(&path).await;
            // Where he can be known without his groups, the API server says what it thinks of him.
            let refused = match mode {
                Mode::Token | Mode::Review => StatusCode::UNAUTHORIZED,
                Mode::Impersonate => StatusCode::FORBIDDEN,
            };
            assert_eq!(answer.status, refused, "{path}: {}", answer.text());
        }
    }
}

async fn an_application_owns_by_its_object_id(world: &'static World) {
    let users = &world.groups.users;
    let robot = world
        .persona(json!({"kind": "application", "groups": [users]}))
        .await;
    let tenant = world.tenant_of(robot, &["dev"]).await;
    for mode in MODES {
        let caller = world.proxy_in(mode).await.caller(&tenant.owner);
        until_he_sees(&caller, &tenant.namespaces).await;
    }
}

/// A proxy whose people are named as with `options.oidcUsernameClaim=unique_name`.
async fn naming_by_unique_name(world: &'static World, mode: Mode) -> Proxy {
    let mut authentication = world.issuer.authentication(mode);
    let username = json!({"claims": ["unique_name", "upn", "oid"], "prefix": ""});
    authentication["jwt"][0]["claimMappings"] = json!({ "username": username });
    let setup = Setup {
        mode,
        authentication: Some(authentication),
        ..Setup::default()
    };
    Proxy::start(world, setup).await
}

async fn a_guest_is_not_the_owner_whose_name_he_bears(world: &'static World) {
    let tenant = settled(world, &["dev"]).await;
    let (owner, users) = (&tenant.owner.name, &world.groups.users);
    let elsewhere = "https://sts.windows.net/00000000-0000-4000-b000-000000000001/";
    let guest = |unique_name: String, kind: &str, provider: &str| json!({"kind": kind, "uniqueName": unique_name, "email": owner, "idp": provider, "groups": [users]});
    let proxies = [
        naming_by_unique_name(world, Mode::Token).await,
        naming_by_unique_name(world, Mode::Impersonate).await,
    ];
    for persona in [
        guest(owner.clone(), "guest", elsewhere),
        guest(owner.to_uppercase(), "guest", elsewhere),
        guest(format!("live.com#{owner}"), "personal-guest", "live.com"),
    ] {
        let guest = world.persona(persona.clone()).await;
        assert_ne!(&guest.name, owner);
        let shared = [world.proxy().await, world.proxy_in(Mode::Impersonate).await];
        for proxy in proxies.iter().chain(shared) {
            let caller = proxy.caller(&guest);
            // A Capsule user in no Tenant.
            until_he_sees(&caller, &[]).await;
            let path = format!("{NAMESPACES}/{}", tenant.namespaces[0]);
            let answer = caller.get(&path).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{persona}");
            let expected = format!("User \"{}\"", guest.name);
            assert!(
                answer.json()["message"]
                    .as_str()
                    .unwrap()
                    .contains(&expected),
                "{persona}: {}",
                answer.text()
            );
        }
    }
    // The owner himself, by the same claim.
    for proxy in &proxies {
        until_he_sees(&proxy.caller(&tenant.owner), &tenant.namespaces).await;
    }
}

async fn a_directory_role_is_no_group(world: &'static World) {
    let (tenant, group) = tenant_of_group(world).await;
    let name = format!("alice-{}@example.com", unique());
    let users = &world.groups.users;
    let pretender = |claims: Value| async { world.mint(claims, 3600).await };
    let role = pretender(json!({"upn": name, "groups": [users], "wids": [group]})).await;
    let member = pretender(json!({"upn": name, "groups": [users, group]})).await;
    for mode in MODES {
        let proxy = world.proxy_in(mode).await;
        until_he_sees(&proxy.anybody().bearing(&member), &tenant.namespaces).await;
        until_he_sees(&proxy.anybody().bearing(&role), &[]).await;
    }
}

async fn a_name_is_taken_as_it_is_spelled(world: &'static World) {
    let users = &world.groups.users;
    let name = format!("Mixed.Case-{}@Example.com", unique());
    let person = world.persona(json!({"upn": name, "groups": [users]})).await;
    let tenant = world.tenant_of(person, &["dev"]).await;
    let lower = name.to_lowercase();
    let other = world
        .persona(json!({"upn": lower, "groups": [users]}))
        .await;
    for mode in MODES {
        let proxy = world.proxy_in(mode).await;
        until_he_sees(&proxy.caller(&tenant.owner), &tenant.namespaces).await;
        until_he_sees(&proxy.caller(&other), &[]).await;
    }
}

async fn a_role_assignment_counts_as_without_the_proxy(world: &'static World) {
    let users = &world.groups.users;
    let id = |number: usize| format!("00000000-0000-4000-c000-{number:012}");
    let (configs, all) = (id(unique()), id(unique()));
    let one = world
        .persona(json!({"oid": configs, "groups": [users]}))
        .await;
    let reader = world.persona(json!({"oid": all, "groups": [users]})).await;
    for mode in MODES {
        let caller = world.proxy_in(mode).await.caller(&one);
        let before = caller.get("/api/v1/namespaces/default/configmaps").await;
        assert_eq!(before.status, StatusCode::FORBIDDEN, "{}", before.text());
    }
    // No other test has role assignments: these replace all there are.
    let grants = json!([
        {"oid": configs, "verbs": ["list"], "resources": ["configmaps"], "namespaces": ["default"]},
        {"oid": all, "verbs": ["get", "list", "watch"], "resources": ["namespaces"]},
    ]);
    world.tell("/azure/grants", grants).await;
    for mode in MODES {
        let proxy = world.proxy_in(mode).await;
        let caller = proxy.caller(&one);
        // A no of the webhook is kept by the API server for a while.
        eventually(|| async {
            let granted = caller.get("/api/v1/namespaces/default/configmaps").await;
            let is_granted = granted.status == StatusCode::OK;
            is_granted.then_some(()).ok_or_else(|| granted.text())
        })
        .await;
        let pods = "/api/v1/namespaces/default/pods";
        let (through, direct) = (caller.get(pods).await, world.direct(&one).get(pods).await);
        assert_eq!(through.status, StatusCode::FORBIDDEN, "{}", through.text());
        assert_eq!(through.text(), direct.text());
        let everything = proxy.caller(&reader);
        eventually(|| async { sees(&everything, "kube-system").await }).await;
    }
}

async fn sees(caller: &Caller, name: &str) -> Result<(), String> {
    let answer = caller.get(NAMESPACES).await;
    let is_there = answer.status.is_success() && answer.names().iter().any(|one| one == name);
    is_there.then_some(()).ok_or_else(|| answer.text())
}
