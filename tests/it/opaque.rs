//! Tokens that do not say when they end: a watch that rests on one ends when the API server no longer knows it.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::Method;
use http::StatusCode;
use serde_json::json;

use crate::harness::eventually;
use crate::harness::http::Events;
use crate::harness::people::Person;
use crate::harness::proxy::Mode;
use crate::harness::proxy::Proxy;
use crate::harness::proxy::Setup;
use crate::harness::world::World;
use crate::lists::position_to_watch_from;

const NAMESPACES: &str = "/api/v1/namespaces";

in_the_real_world!(a_watch_ends_with_a_token_that_does_not_say_when);

/// A service account in the namespace, with a token of the kind that never ends (`kubernetes.io/service-account-token`).
async fn robot(world: &'static World, namespace: &str) -> Person {
    let within = format!("{NAMESPACES}/{namespace}");
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}});
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "robot", "annotations": {"kubernetes.io/service-account.name": "robot"}},
    });
    for (collection, body) in [("serviceaccounts", &account), ("secrets", &secret)] {
        let path = format!("{within}/{collection}");
        world.admin(Method::POST, &path, Some(body)).await.unwrap();
    }
    let path = format!("{within}/secrets/robot");
    let token = eventually(|| async {
        let secret = world.admin(Method::GET, &path, None).await.unwrap();
        let token = secret["data"]["token"].as_str().map(str::to_owned);
        token.ok_or_else(|| "no token yet".to_owned())
    })
    .await;
    Person {
        name: format!("system:serviceaccount:{namespace}:robot"),
        token: String::from_utf8(BASE64_STANDARD.decode(token).unwrap()).unwrap(),
    }
}

async fn a_watch_ends_with_a_token_that_does_not_say_when(world: &'static World) {
    let setup = Setup {
        mode: Mode::Review,
        proxy: kube_tenant_proxy::proxy::Settings {
            look: Duration::from_secs(1),
            ..kube_tenant_proxy::proxy::Settings::default()
        },
        ..Setup::default()
    };
    let proxy = Proxy::start(world, setup).await;
    let tenant = world.tenant(&["dev"]).await;
    let namespace = &tenant.namespaces[0];
    let robot = robot(world, namespace).await;
    let owners = json!([{"kind": "ServiceAccount", "name": robot.name}]);
    world.owned_by(&tenant, owners).await;
    let caller = proxy.caller(&robot);
    let position = position_to_watch_from(world, &caller, &tenant).await;
    let mut watch = caller
        .watch(&format!("{NAMESPACES}?watch=1&resourceVersion={position}"))
        .await;
    assert_eq!(watch.status, StatusCode::OK);

    let label = json!({"metadata": {"labels": {"it": "1"}}});
    world
        .merge(&format!("{NAMESPACES}/{namespace}"), &label)
        .await;
    watch
        .until(|event| event["object"]["metadata"]["labels"]["it"] == "1")
        .await;

    world
        .delete(&format!("{NAMESPACES}/{namespace}/serviceaccounts/robot"))
        .await;
    let rest = watch.rest().await;
    assert!(
        rest.iter().all(|event| event["type"] != "ERROR"),
        "{rest:?}"
    );
    let refused = caller.get(NAMESPACES).await;
    assert_eq!(
        refused.status,
        StatusCode::UNAUTHORIZED,
        "{}",
        refused.text()
    );
}
