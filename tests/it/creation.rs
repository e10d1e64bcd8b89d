//! Namespaces that come, and single ones that are asked for.

use http::StatusCode;
use kube_tenant_proxy::reader;
use serde_json::Value;
use serde_json::json;

use crate::harness;
use crate::harness::people::Tenant;
use crate::harness::world::World;
use crate::lists::settled;

const NAMESPACES: &str = "/api/v1/namespaces";

in_both_worlds!(
    a_new_namespace_is_in_the_next_list,
    many_new_namespaces_are_each_in_the_next_list,
    a_dry_run_creates_nothing_to_wait_for,
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
    assert_eq!(caller.get(NAMESPACES).await.names(), tenant.namespaces);
}

/// Grants that follow each other are held back where they would expire an open watch; whoever made them must not
/// notice.
async fn many_new_namespaces_are_each_in_the_next_list(world: &'static World) {
    let mut tenant = settled(world, &["dev"]).await;
    hold_back_status(world, &tenant).await;
    let caller = world.proxy().await.caller(&tenant.owner);
    let mut watch = None;
    for suffix in ["n1", "n2", "n3", "n4"] {
        if suffix == "n3" {
            // From here on there is a watch to spare.
            watch = Some(caller.watch(&format!("{NAMESPACES}?watch=1")).await);
        }
        let name = format!("{}-{suffix}", tenant.name);
        let made = caller.post(NAMESPACES, &namespace(&name)).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
        tenant.namespaces.push(name);
        assert_eq!(caller.get(NAMESPACES).await.names(), tenant.namespaces);
    }
    drop(watch);
}

/// What was only tried never comes.
async fn a_dry_run_creates_nothing_to_wait_for(world: &'static World) {
    let tenant = settled(world, &["dev"]).await;
    hold_back_status(world, &tenant).await;
    let caller = world.proxy().await.caller(&tenant.owner);
    let tried = namespace(&format!("{}-tried", tenant.name));
    let tried = caller
        .post(&format!("{NAMESPACES}?dryRun=All"), &tried)
        .await;
    assert_eq!(tried.status, StatusCode::CREATED, "{}", tried.text());
    assert_eq!(caller.get(NAMESPACES).await.names(), tenant.namespaces);
}

mod real_only {
    #[test]
    fn a_creation_answered_in_protobuf_is_in_the_next_list() {
        super::harness::run(super::a_creation_answered_in_protobuf_is_in_the_next_list());
    }
}

async fn a_creation_answered_in_protobuf_is_in_the_next_list() {
    let world = World::real().await;
    let mut tenant = settled(world, &["dev"]).await;
    hold_back_status(world, &tenant).await;
    let caller = world.proxy().await.caller(&tenant.owner);
    let name = format!("{}-new", tenant.name);
    let protobuf = caller
        .clone()
        .accepting("application/vnd.kubernetes.protobuf");
    let made = protobuf.post(NAMESPACES, &namespace(&name)).await;
    assert_eq!(made.status, StatusCode::CREATED);
    tenant.namespaces.push(name);
    assert_eq!(caller.get(NAMESPACES).await.names(), tenant.namespaces);
}

async fn kubectl_lists_what_it_has_created(world: &'static World) {
    let tenant = settled(world, &["dev"]).await;
    hold_back_status(world, &tenant).await;
    let kubectl = world.proxy().await.kubectl(&tenant.owner);
    let name = format!("{}-new", tenant.name);
    let made = kubectl.run(&["create", "namespace", &name]).await;
    assert!(made.good, "{made:?}");
    let line = format!("namespace/{name}");
    let listed = kubectl.run(&["get", "ns", "-o", "name"]).await;
    assert!(listed.lines().contains(&line.as_str()), "{listed:?}");
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
