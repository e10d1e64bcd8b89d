//! Who cannot prove himself gets a 401 that kubectl understands, and the API server hears nothing of it.

use http::Method;
use http::StatusCode;
use http::header;
use kube_tenant_proxy::reader;
use serde_json::json;

use crate::harness::http::Answer;
use crate::harness::http::Caller;
use crate::harness::kubectl::Kubectl;
use crate::harness::people::Person;
use crate::harness::people::unique;
use crate::harness::proxy::Mode;
use crate::harness::proxy::Proxy;
use crate::harness::proxy::Setup;
use crate::harness::world::World;
use crate::lists::settled;
use crate::lists::until_he_sees;

const NAMESPACES: &str = "/api/v1/namespaces";

in_both_worlds!(
    without_a_credential_nothing_goes_upstream,
    a_token_that_proves_nothing_is_a_401,
    kubectl_says_what_to_do_without_a_credential,
    a_watch_ends_with_its_token,
    the_api_server_is_asked_once_whose_a_token_is,
    a_service_account_owns_and_is_reviewed,
    two_service_accounts_of_one_name_are_two,
    the_reader_is_nobody_to_be,
);
in_the_real_world!(no_token_of_a_hostile_kind_proves_anything);

fn assert_unauthorized(what: &str, answer: &Answer) {
    assert_eq!(
        answer.status,
        StatusCode::UNAUTHORIZED,
        "{what}: {}",
        answer.text()
    );
    let status = answer.json();
    for (field, expected) in [
        ("kind", json!("Status")),
        ("apiVersion", json!("v1")),
        ("metadata", json!({})),
        ("status", json!("Failure")),
        ("reason", json!("Unauthorized")),
        ("code", json!(401)),
    ] {
        assert_eq!(status[field], expected, "{what}: {status}");
    }
    assert!(!status["message"].as_str().unwrap().is_empty(), "{what}");
}

async fn without_a_credential_nothing_goes_upstream(world: &'static World) {
    let anybody = world.proxy().await.anybody();
    let mark = world.mark();
    let signs: Vec<String> = (0..4).map(|_| format!("sign={}", unique())).collect();
    for (path, sign) in [
        NAMESPACES,
        "/version",
        "/api",
        "/api/v1/namespaces/default/pods",
    ]
    .iter()
    .zip(&signs)
    {
        let answer = anybody.get(&format!("{path}?{sign}")).await;
        assert_unauthorized(path, &answer);
        assert!(
            answer.headers.contains_key(header::WARNING),
            "{path}: {:?}",
            answer.headers
        );
    }
    world.audit(mark, "nobody").await;
    let seen = world.entries(mark);
    let leaked: Vec<_> = seen
        .iter()
        .filter(|entry| signs.iter().any(|sign| entry.uri.contains(sign)))
        .collect();
    assert!(leaked.is_empty(), "{leaked:?}");
}

async fn a_token_that_proves_nothing_is_a_401(world: &'static World) {
    let name = format!("alice-{}@example.com", unique());
    let good = world.mint(json!({"upn": name, "groups": []}), 3600).await;
    let expired = world.mint(json!({"upn": name, "groups": []}), -60).await;
    let foreign = world
        .mint(
            json!({"upn": name, "groups": [], "aud": "somebody-else"}),
            3600,
        )
        .await;
    let parts: Vec<&str> = good.split('.').collect();
    // {"alg":"none","typ":"JWT"}
    let unsigned = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{}.", parts[1]);
    let tampered = format!(
        "{}.{}.{}",
        parts[0],
        parts[1],
        parts[2].chars().rev().collect::<String>()
    );
    let proxy = world.proxy().await;
    for (what, value) in [
        ("expired", format!("Bearer {expired}")),
        ("for somebody else", format!("Bearer {foreign}")),
        ("unsigned", format!("Bearer {unsigned}")),
        ("tampered", format!("Bearer {tampered}")),
        ("garbage", "Bearer garbage".to_owned()),
        ("empty", "Bearer ".to_owned()),
        ("basic", "Basic YWxpY2U6c2VjcmV0".to_owned()),
    ] {
        let answer = proxy
            .anybody()
            .saying("authorization", &value)
            .get(NAMESPACES)
            .await;
        assert_unauthorized(what, &answer);
    }
    let twice = proxy
        .anybody()
        .bearing(&good)
        .bearing(&good)
        .get(NAMESPACES)
        .await;
    assert!(twice.status.is_client_error(), "{}", twice.text());
}

async fn kubectl_says_what_to_do_without_a_credential(world: &'static World) {
    let proxy = world.proxy().await;
    let expired = world
        .mint(json!({"upn": "late@example.com", "groups": []}), -60)
        .await;
    let ran = Kubectl::new(&proxy.url, &proxy.ca, &expired)
        .run(&["get", "ns"])
        .await;
    assert!(
        !ran.good && ran.errors.contains("You must be logged in"),
        "{ran:?}"
    );
}

async fn a_watch_ends_with_its_token(world: &'static World) {
    let tenant = settled(world, &["dev"]).await;
    let claims = json!({"upn": tenant.owner.name, "groups": [world.groups.users]});
    let short = Person {
        token: world.mint(claims, 4).await,
        ..tenant.owner.clone()
    };
    let caller = world.proxy().await.caller(&short);
    let mut watch = caller.watch(&format!("{NAMESPACES}?watch=1")).await;
    let events = watch.rest().await;
    assert!(
        events
            .iter()
            .all(|event| event["type"] == "ADDED" || event["type"] == "MODIFIED"),
        "{events:?}"
    );
    assert_unauthorized("after the end", &caller.get(NAMESPACES).await);
}

async fn reviewing(world: &'static World) -> Proxy {
    let setup = Setup {
        mode: Mode::Review,
        ..Setup::default()
    };
    Proxy::start(world, setup).await
}

async fn the_api_server_is_asked_once_whose_a_token_is(world: &'static World) {
    let proxy = reviewing(world).await;
    let tenant = world.tenant(&["dev"]).await;
    let caller = proxy.caller(&tenant.owner);
    until_he_sees(&caller, &tenant.namespaces).await;
    let reviews = |mark| {
        let entries = world.entries(mark);
        entries
            .iter()
            .filter(|entry| entry.resource.starts_with("tokenreviews"))
            .count()
    };
    // A token that nobody has shown yet, of the same person.
    let claims = json!({"upn": tenant.owner.name, "groups": [world.groups.users]});
    let again = Person {
        token: world.mint(claims, 3600).await,
        ..tenant.owner.clone()
    };
    let mark = world.mark();
    for _ in 0..5 {
        assert_eq!(
            proxy.caller(&again).get(NAMESPACES).await.names(),
            tenant.namespaces
        );
    }
    world.audit(mark, &tenant.owner.name).await;
    // Other tests may be having tokens reviewed meanwhile, but not five of each.
    assert!((1..5).contains(&reviews(mark)), "{} reviews", reviews(mark));
    let garbage = proxy.anybody().bearing("garbage").get(NAMESPACES).await;
    assert_unauthorized("garbage", &garbage);
}

async fn a_service_account_owns_and_is_reviewed(world: &'static World) {
    let proxy = reviewing(world).await;
    let tenant = world.tenant(&["dev"]).await;
    let namespace = &tenant.namespaces[0];
    let accounts = format!("{NAMESPACES}/{namespace}/serviceaccounts");
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}});
    world
        .admin(Method::POST, &accounts, Some(&account))
        .await
        .unwrap();
    let robot = world.account(namespace, "robot").await;
    let path = format!("/apis/capsule.clastix.io/v1beta2/tenants/{}", tenant.name);
    let owners = json!({"spec": {"owners": [{"kind": "ServiceAccount", "name": robot.name}]}});
    world.merge(&path, &owners).await;
    until_he_sees(&proxy.caller(&robot), &tenant.namespaces).await;
}

/// CVE-2023-46254: an account is its namespace and its name.
async fn two_service_accounts_of_one_name_are_two(world: &'static World) {
    let proxy = reviewing(world).await;
    let mut robots = Vec::new();
    for _ in 0..2 {
        let tenant = world.tenant(&["dev"]).await;
        let namespace = &tenant.namespaces[0];
        let accounts = format!("{NAMESPACES}/{namespace}/serviceaccounts");
        let account =
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}});
        world
            .admin(Method::POST, &accounts, Some(&account))
            .await
            .unwrap();
        let robot = world.account(namespace, "robot").await;
        let path = format!("/apis/capsule.clastix.io/v1beta2/tenants/{}", tenant.name);
        let owners = json!({"spec": {"owners": [{"kind": "ServiceAccount", "name": robot.name}]}});
        world.merge(&path, &owners).await;
        robots.push((robot, tenant.namespaces));
    }
    for (robot, namespaces) in &robots {
        until_he_sees(&proxy.caller(robot), namespaces).await;
    }
}

/// Stealing the proxy's own token is not stealing the cluster: it may list nothing, and the reader alone is whom it
/// may become, whole or not at all.
async fn the_reader_is_nobody_to_be(world: &'static World) {
    let own = world.install(crate::harness::chart::RELEASE).await;
    let thief = Caller::new(&world.url, &world.ca).bearing(&own);
    let (user, group) = (reader::USER, reader::GROUP);
    for (what, caller) in [
        ("himself", thief.clone()),
        (
            "the group alone",
            thief.clone().saying("impersonate-group", group),
        ),
        (
            "the user alone",
            thief.clone().saying("impersonate-user", user),
        ),
        (
            "an administrator",
            thief
                .clone()
                .saying("impersonate-user", user)
                .saying("impersonate-group", "system:masters"),
        ),
        (
            "somebody else",
            thief.clone().saying("impersonate-user", "alice"),
        ),
    ] {
        let answer = caller.get(NAMESPACES).await;
        assert!(
            answer.status == StatusCode::FORBIDDEN || answer.status == StatusCode::BAD_REQUEST,
            "{what}: {} {}",
            answer.status,
            answer.text()
        );
    }
    let reading = thief
        .saying("impersonate-user", user)
        .saying("impersonate-group", group);
    assert_eq!(reading.get(NAMESPACES).await.status, StatusCode::OK);
    for path in [
        "/api/v1/secrets",
        "/api/v1/pods",
        "/api/v1/namespaces/default/configmaps",
    ] {
        assert_eq!(
            reading.get(path).await.status,
            StatusCode::FORBIDDEN,
            "{path}"
        );
    }
}

/// Each minted by the directory's stand-in for an owner: if one passed, it would show his namespaces.
async fn no_token_of_a_hostile_kind_proves_anything(world: &'static World) {
    let tenant = settled(world, &["dev"]).await;
    let proxy = world.proxy().await;
    let claims = json!({"upn": tenant.owner.name, "groups": [world.groups.users]});
    let with = |more: serde_json::Value| {
        let mut order = json!({"claims": claims});
        for (name, value) in more.as_object().unwrap() {
            if name == "claims" {
                for (claim, value) in value.as_object().unwrap() {
                    order["claims"][claim] = value.clone();
                }
            } else {
                order[name] = value.clone();
            }
        }
        order
    };
    let mark = world.mark();
    for order in [
        json!({"alg": "none"}),
        json!({"alg": "HS256"}),
        json!({"key": "foreign"}),
        json!({"corruptSignature": true}),
        json!({"lifetimeSeconds": -400}),
        json!({"notBeforeSeconds": 3600}),
        json!({"audience": "https://management.core.windows.net/"}),
        json!({"header": {"typ": "pop"}}),
        json!({"header": {"crit": ["b64"], "b64": false}}),
        json!({"header": {"kid": "../../keys"}}),
        json!({"header": {"kid": null}, "key": "foreign"}),
        json!({"header": {"jku": "https://attacker.example/keys"}, "key": "foreign"}),
        json!({"claims": {"iss": "https://sts.windows.net/attacker/"}}),
        json!({"claims": {"tid": "00000000-0000-0000-0000-000000000001"}}),
        json!({"claims": {"exp": null}}),
        json!({"claims": {"exp": "4102444800"}}),
        json!({"claims": {"upn": ""}}),
        json!({"claims": {"upn": "alice\nImpersonate-Group: system:masters"}}),
        json!({"claims": {"groups": {"a": "b"}}}),
        json!({"claims": {"groups": ["system:masters"]}}),
    ] {
        let minted = world.directory("/control/mint", with(order.clone())).await;
        let token = minted["token"].as_str().unwrap();
        let answer = proxy.anybody().bearing(token).get(NAMESPACES).await;
        let shown = answer.text().contains(&tenant.namespaces[0]);
        assert!(!shown, "{order}: {}", answer.text());
        assert!(
            answer.status == StatusCode::UNAUTHORIZED
                || answer.status == StatusCode::SERVICE_UNAVAILABLE,
            "{order}: {} {}",
            answer.status,
            answer.text()
        );
    }
    // Nor has any of them been shown to the API server as a request.
    let seen = world.audit(mark, &tenant.owner.name).await;
    assert!(seen.is_empty(), "{seen:#?}");
}
