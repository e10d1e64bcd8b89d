//! Where sight comes from besides ownership, and where it does not.

use http::Method;
use http::StatusCode;
use kube_tenant_proxy::proxy;
use kube_tenant_proxy::proxy::Narrowing;
use serde_json::Value;
use serde_json::json;

use crate::harness::eventually;
use crate::harness::proxy::Proxy;
use crate::harness::proxy::Setup;
use crate::harness::world::World;
use crate::lists::settled;
use crate::lists::until_he_sees;

const NAMESPACES: &str = "/api/v1/namespaces";

in_both_worlds!(
    a_role_binding_gives_sight_of_its_namespace_and_takes_it_with_it,
    a_role_binding_to_everybody_gives_sight_to_nobody,
    narrow_always_narrows_whatever_else_he_may,
    a_deleted_tenant_takes_its_sight_along,
);

/// Binds `subject` to `view` in `namespace`; the binding's path.
async fn bind_in(world: &'static World, namespace: &str, subject: Value) -> String {
    let group = "rbac.authorization.k8s.io";
    let path = format!("/apis/{group}/v1/namespaces/{namespace}/rolebindings");
    let body = json!({
        "apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": {"name": "it"},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "view"},
        "subjects": [subject],
    });
    world.admin(Method::POST, &path, Some(&body)).await.unwrap();
    format!("{path}/it")
}

fn subject(kind: &str, name: &str) -> Value {
    json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name})
}

async fn a_role_binding_gives_sight_of_its_namespace_and_takes_it_with_it(world: &'static World) {
    let tenant = settled(world, &["dev", "prod"]).await;
    let guest = world.person().await;
    let caller = world.proxy().await.caller(&guest);
    until_he_sees(&caller, &[]).await;
    let binding = bind_in(world, &tenant.namespaces[0], subject("User", &guest.name)).await;
    until_he_sees(&caller, &tenant.namespaces[..1]).await;
    world.delete(&binding).await;
    until_he_sees(&caller, &[]).await;
}

async fn a_role_binding_to_everybody_gives_sight_to_nobody(world: &'static World) {
    let tenant = settled(world, &["dev", "prod"]).await;
    let guest = world.person().await;
    let caller = world.proxy().await.caller(&guest);
    bind_in(
        world,
        &tenant.namespaces[0],
        subject("Group", "system:authenticated"),
    )
    .await;
    // When a later fact is known, so is the earlier one of the same kind.
    bind_in(world, &tenant.namespaces[1], subject("User", &guest.name)).await;
    until_he_sees(&caller, &tenant.namespaces[1..]).await;
}

async fn narrow_always_narrows_whatever_else_he_may(world: &'static World) {
    let setup = Setup {
        proxy: proxy::Settings {
            narrowing: Narrowing::Always,
            ..proxy::Settings::default()
        },
        ..Setup::default()
    };
    let proxy = Proxy::start(world, setup).await;
    let tenant = world.tenant(&["dev"]).await;
    world.bind(&tenant.owner, "view").await;
    eventually(|| async {
        let direct = world.direct(&tenant.owner).get(NAMESPACES).await;
        (direct.status == StatusCode::OK)
            .then_some(())
            .ok_or_else(|| direct.text())
    })
    .await;
    until_he_sees(&proxy.caller(&tenant.owner), &tenant.namespaces).await;
}

async fn a_deleted_tenant_takes_its_sight_along(world: &'static World) {
    let tenant = settled(world, &["dev"]).await;
    world
        .delete(&format!(
            "/apis/capsule.clastix.io/v1beta2/tenants/{}",
            tenant.name
        ))
        .await;
    until_he_sees(&world.proxy().await.caller(&tenant.owner), &[]).await;
}
