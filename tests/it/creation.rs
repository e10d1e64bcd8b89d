//! Namespaces that come, and single ones that are asked for.

use http::StatusCode;
use kube_tenant_proxy::reader;
use serde_json::Value;
use serde_json::json;

use crate::harness::eventually;
use crate::harness::people::Tenant;
use crate::harness::world::World;
use crate::lists::settled;
use crate::lists::until_he_sees;

const NAMESPACES: &str = "/api/v1/namespaces";

in_both_worlds!(
    a_new_namespace_is_in_the_next_list,
    kubectl_lists_what_it_has_created,
    a_foreign_prefix_is_refused_in_the_operators_words,
    his_own_namespace_is_read_for_him_and_no_other,
);

fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

/// Switches the operator's status off for this tenant: only the webhook's ownerReference tells of new namespaces.
async fn hold_back_status(world: &'static World, tenant: &Tenant) {
    let path = format!("/apis/capsule.clastix.io/v1beta2/tenants/{}", tenant.name);
    let annotations = json!({"testbed.kube-tenant-proxy/status-delay": "60s"});
    world
        .merge(&path, &json!({"metadata": {"annotations": annotations}}))
        .await;
}

async fn a_new_namespace_is_in_the_next_list(world: &'static World) {
    let mut tenant = settled(world, &["dev"]).await;
    hold_back_status(world, &tenant).await;
    let caller = world.proxy().await.caller(&tenant.owner);
    let name = format!("{}-new", tenant.name);
    let made = caller.post(NAMESPACES, &namespace(&name)).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    tenant.namespaces.push(name);
    until_he_sees(&caller, &tenant.namespaces).await;
}

async fn kubectl_lists_what_it_has_created(world: &'static World) {
    let tenant = settled(world, &["dev"]).await;
    hold_back_status(world, &tenant).await;
    let kubectl = world.proxy().await.kubectl(&tenant.owner);
    let name = format!("{}-new", tenant.name);
    let made = kubectl.run(&["create", "namespace", &name]).await;
    assert!(made.good, "{made:?}");
    let line = format!("namespace/{name}");
    // The proxy learns of it by its own watch, a moment after the API server's answer.
    eventually(|| async {
        let listed = kubectl.run(&["get", "ns", "-o", "name"]).await;
        let is_there = listed.lines().contains(&line.as_str());
        is_there.then_some(()).ok_or(listed.out)
    })
    .await;
}

async fn a_foreign_prefix_is_refused_in_the_operators_words(world: &'static World) {
    let (tenant, other) = (
        settled(world, &["dev"]).await,
        settled(world, &["dev"]).await,
    );
    let body = namespace(&format!("{}-mine", other.name));
    let through = world
        .proxy()
        .await
        .caller(&tenant.owner)
        .post(NAMESPACES, &body)
        .await;
    let direct = world.direct(&tenant.owner).post(NAMESPACES, &body).await;
    assert_eq!(through.status, StatusCode::FORBIDDEN, "{}", through.text());
    assert_eq!(through.text(), direct.text());
    assert!(through.text().contains("prefix"), "{}", through.text());
}

async fn his_own_namespace_is_read_for_him_and_no_other(world: &'static World) {
    let (tenant, other) = (
        settled(world, &["dev"]).await,
        settled(world, &["dev"]).await,
    );
    let caller = world.proxy().await.caller(&tenant.owner);
    let mark = world.mark();
    let own = caller
        .get(&format!("{NAMESPACES}/{}", tenant.namespaces[0]))
        .await;
    assert_eq!(own.status, StatusCode::OK, "{}", own.text());
    assert_eq!(own.json()["metadata"]["name"], tenant.namespaces[0]);
    let seen = world.audit(mark, &tenant.owner.name).await;
    // His bindings in the namespace may let him read it himself; where not, the reader does after his own 403.
    match seen.as_slice() {
        [his] => assert_eq!(
            (his.user.as_str(), his.code),
            (tenant.owner.name.as_str(), 200)
        ),
        [his, read] => {
            assert_eq!(
                (his.user.as_str(), his.code),
                (tenant.owner.name.as_str(), 403)
            );
            assert_eq!(
                (read.acting.as_ref().unwrap().username.as_str(), read.code),
                (reader::USER, 200)
            );
        }
        more => panic!("{more:#?}"),
    }
    for name in [
        other.namespaces[0].as_str(),
        "kube-system",
        "there-is-no-such-namespace",
    ] {
        let path = format!("{NAMESPACES}/{name}");
        let (through, direct) = (
            caller.get(&path).await,
            world.direct(&tenant.owner).get(&path).await,
        );
        assert_eq!(through.status, StatusCode::FORBIDDEN, "{name}");
        assert_eq!(
            (through.text(), &through.headers["content-type"]),
            (direct.text(), &direct.headers["content-type"])
        );
    }
}
