//! Who cannot prove himself gets a 401 that kubectl understands, and the API server hears nothing of it.

use std::time::Duration;

use http::Method;
use http::StatusCode;
use http::header;
use serde_json::json;

use crate::harness::clock::Steps;
use crate::harness::http::Answer;
use crate::harness::http::Events;
use crate::harness::http::is_expired;
use crate::harness::kubectl::Version;
use crate::harness::people::Person;
use crate::harness::people::Tenant;
use crate::harness::people::unique;
use crate::harness::proxy::Mode;
use crate::harness::proxy::Proxy;
use crate::harness::proxy::Setup;
use crate::harness::world::World;
use crate::lists::position_to_watch_from;
use crate::lists::settled;
use crate::lists::until_he_sees;

const NAMESPACES: &str = "/api/v1/namespaces";

in_both_worlds!(
    without_a_credential_nothing_goes_upstream,
    a_token_that_proves_nothing_is_a_401,
    kubectl_says_what_is_wrong_with_a_credential,
    a_watch_ends_with_its_token,
    a_watch_ends_with_its_token_when_the_clock_is_put_forward,
    a_watch_ends_with_the_issuer_of_its_token,
    the_api_server_is_asked_once_whose_a_token_is,
    a_service_account_owns_and_is_reviewed,
    cve_2023_46254_service_accounts_of_one_name_see_their_own,
);

fn assert_unauthorized(what: &str, answer: &Answer) {
    assert_eq!(
        answer.status,
        StatusCode::UNAUTHORIZED,
        "{what}: {}",
        answer.text()
    );
    let status = answer.json();
    let message = status["message"].as_str().unwrap_or_default();
    let expected = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": "Unauthorized", "code": 401,
    });
    assert_eq!(status, expected, "{what}");
    assert!(!message.is_empty(), "{what}");
    // kubectl drops the body of what it meets during discovery, and prints this.
    let warning = format!("299 - \"{message}\"");
    assert_eq!(answer.headers[header::WARNING], warning, "{what}");
}

async fn without_a_credential_nothing_goes_upstream(world: &'static World) {
    let anybody = world.proxy().await.anybody();
    let mark = world.mark();
    let signs: Vec<String> = (0..5).map(|_| format!("sign={}", unique())).collect();
    for (path, sign) in [
        "/",
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

async fn kubectl_says_what_is_wrong_with_a_credential(world: &'static World) {
    let tenant = settled(world, &["dev"]).await;
    let proxy = world.proxy().await;
    let expired = world
        .mint(json!({"upn": "late@example.com", "groups": []}), -60)
        .await;
    let get = ["get", "ns", "--token", &expired];
    for version in [Version::Current, Version::Old] {
        let kubectl = proxy.kubectl(&tenant.owner).of(version);
        let cold = kubectl.run(&get).await;
        // Whose discovery of the server is in the cache.
        kubectl.run(&["get", "ns"]).await.lines();
        let warm = kubectl.run(&get).await;
        for ran in [cold, warm] {
            assert!(
                !ran.good
                    && ran.errors.contains("You must be logged in")
                    && ran
                        .errors
                        .contains("Warning: the token has expired; log in again"),
                "{ran:?}"
            );
        }
    }
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

async fn a_watch_ends_with_its_token_when_the_clock_is_put_forward(world: &'static World) {
    let steps = Steps::default();
    let mut setup = Setup {
        clock: steps.clock(),
        ..Setup::default()
    };
    setup.proxy.look = Duration::from_millis(200);
    let proxy = Proxy::start(world, setup).await;
    let tenant = world.tenant(&["dev"]).await;
    let caller = proxy.caller(&tenant.owner);
    until_he_sees(&caller, &tenant.namespaces).await;
    let mut watch = caller.watch(&format!("{NAMESPACES}?watch=1")).await;
    let event = watch.next().await.unwrap();
    assert_eq!(event["type"], "ADDED");
    steps.step(30 * 86_400);
    let rest = watch.rest().await;
    assert!(!rest.iter().any(is_expired), "{rest:?}");
    assert_unauthorized("the same token", &caller.get(NAMESPACES).await);
}

async fn a_watch_ends_with_the_issuer_of_its_token(world: &'static World) {
    let proxy = Proxy::start(world, Setup::default()).await;
    let tenant = world.tenant(&["dev"]).await;
    let caller = proxy.caller(&tenant.owner);
    let position = position_to_watch_from(world, &caller, &tenant).await;
    let from = format!("{NAMESPACES}?watch=1&resourceVersion={position}");
    let mut watch = caller.watch(&from).await;
    let ours = world.issuer.authentication(Mode::Token);
    proxy.configure(&ours);
    let labels = json!({"metadata": {"labels": {"it": "1"}}});
    let namespace = format!("{NAMESPACES}/{}", tenant.namespaces[0]);
    world.merge(&namespace, &labels).await;
    let event = watch.next().await.unwrap();
    assert_eq!(event["type"], "MODIFIED", "nothing has changed for him");
    let mut others = ours;
    others["jwt"][0]["issuer"]["audiences"] = json!(["others"]);
    others["tokenReview"] = json!({"enabled": false});
    proxy.configure(&others);
    let rest = watch.rest().await;
    assert!(rest.is_empty(), "no expiry: {rest:?}");
    assert_unauthorized("the same token", &caller.get(NAMESPACES).await);
}

async fn the_api_server_is_asked_once_whose_a_token_is(world: &'static World) {
    let proxy = world.proxy_in(Mode::Review).await;
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
    for _ in 0..40 {
        assert_eq!(
            proxy.caller(&again).get(NAMESPACES).await.names(),
            tenant.namespaces
        );
    }
    world.audit(mark, &tenant.owner.name).await;
    // Other tests may be having tokens reviewed meanwhile, but not as many as there were requests.
    assert!(
        (1..20).contains(&reviews(mark)),
        "{} reviews",
        reviews(mark)
    );
    let garbage = proxy.anybody().bearing("garbage").get(NAMESPACES).await;
    assert_unauthorized("garbage", &garbage);
}

/// A new service account `robot` in a namespace of `tenant`, which it owns.
async fn robot_of(world: &'static World, tenant: &Tenant) -> Person {
    let namespace = &tenant.namespaces[0];
    let accounts = format!("{NAMESPACES}/{namespace}/serviceaccounts");
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}});
    world
        .admin(Method::POST, &accounts, Some(&account))
        .await
        .unwrap();
    let robot = world.account(namespace, "robot").await;
    let owners = json!([{"kind": "ServiceAccount", "name": robot.name}]);
    world.owned_by(tenant, owners).await;
    robot
}

async fn a_service_account_owns_and_is_reviewed(world: &'static World) {
    let tenant = world.tenant(&["dev"]).await;
    let robot = robot_of(world, &tenant).await;
    for mode in [Mode::Review, Mode::Token] {
        let proxy = world.proxy_in(mode).await;
        until_he_sees(&proxy.caller(&robot), &tenant.namespaces).await;
    }
}

async fn cve_2023_46254_service_accounts_of_one_name_see_their_own(world: &'static World) {
    let (one, two) = (world.tenant(&["dev"]).await, world.tenant(&["dev"]).await);
    let (his, hers) = (robot_of(world, &one).await, robot_of(world, &two).await);
    let proxy = world.proxy_in(Mode::Review).await;
    until_he_sees(&proxy.caller(&his), &one.namespaces).await;
    until_he_sees(&proxy.caller(&hers), &two.namespaces).await;
    // And not only because one of them was not known yet.
    until_he_sees(&proxy.caller(&his), &one.namespaces).await;
}
