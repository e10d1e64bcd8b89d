//! The two ways upstream: with the person's own token, or in his name.

use http::StatusCode;
use kube_tenant_proxy::reader;
use serde_json::json;

use crate::harness::people::Tenant;
use crate::harness::proxy::Mode;
use crate::harness::proxy::Proxy;
use crate::harness::world::World;
use crate::lists::until_he_sees;

const NAMESPACES: &str = "/api/v1/namespaces";
const ACCOUNT: &str = "system:serviceaccount:capsule-system:capsule-proxy-impersonating";

in_both_worlds!(
    in_impersonate_mode_he_sees_and_does_what_is_his,
    in_impersonate_mode_the_token_stays_here,
    in_token_mode_nobody_is_spoken_for,
);

async fn tenant(world: &'static World) -> (&'static Proxy, Tenant) {
    let (proxy, tenant) = (
        world.proxy_in(Mode::Impersonate).await,
        world.tenant(&["dev"]).await,
    );
    until_he_sees(&proxy.caller(&tenant.owner), &tenant.namespaces).await;
    (proxy, tenant)
}

async fn in_impersonate_mode_he_sees_and_does_what_is_his(world: &'static World) {
    let (proxy, mut tenant) = tenant(world).await;
    let kubectl = proxy.kubectl(&tenant.owner);
    let name = format!("{}-new", tenant.name);
    let made = kubectl.run(&["create", "namespace", &name]).await;
    assert!(made.good, "{made:?}");
    tenant.namespaces.push(name);
    until_he_sees(&proxy.caller(&tenant.owner), &tenant.namespaces).await;
    let whoami = kubectl
        .run(&["auth", "whoami", "-o", "json"])
        .await
        .lines()
        .join("\n");
    assert!(whoami.contains(&tenant.owner.name), "{whoami}");
    let stranger = world.member_of(&[]).await;
    let refused = proxy.caller(&stranger).get(NAMESPACES).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text());
    let expected = format!("User \\\"{}\\\" cannot list resource", stranger.name);
    assert!(refused.text().contains(&expected), "{}", refused.text());
}

async fn in_impersonate_mode_the_token_stays_here(world: &'static World) {
    let (proxy, tenant) = tenant(world).await;
    let mark = world.mark();
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "it"}});
    let path = format!("{NAMESPACES}/{}/configmaps", tenant.namespaces[0]);
    proxy.caller(&tenant.owner).post(&path, &body).await;
    proxy.caller(&tenant.owner).get("/version").await;
    proxy.caller(&tenant.owner).get(NAMESPACES).await;
    let seen = world.audit(mark, &tenant.owner.name).await;
    assert_eq!(seen.len(), 3, "{seen:#?}");
    for entry in &seen {
        assert_eq!(
            entry.user, ACCOUNT,
            "a token that the API server knows as his went upstream: {entry:?}"
        );
        let acting = entry.acting.as_ref().unwrap();
        if acting.username != reader::USER {
            assert_eq!(acting.username, tenant.owner.name);
            assert!(acting.groups.contains(&world.groups.users), "{acting:?}");
        }
    }
    assert_eq!(
        seen.iter()
            .filter(|entry| entry.read_for().is_some())
            .count(),
        1,
        "{seen:#?}"
    );
}

async fn in_token_mode_nobody_is_spoken_for(world: &'static World) {
    let tenant = world.tenant(&["dev"]).await;
    let caller = world.proxy().await.caller(&tenant.owner);
    until_he_sees(&caller, &tenant.namespaces).await;
    let mark = world.mark();
    caller.get("/version").await;
    caller.get("/api/v1/nodes").await;
    caller
        .get(&format!("{NAMESPACES}/{}/pods", tenant.namespaces[0]))
        .await;
    caller.get(NAMESPACES).await;
    let seen = world.audit(mark, &tenant.owner.name).await;
    assert_eq!(seen.len(), 4, "{seen:#?}");
    for entry in &seen {
        match entry.read_for() {
            Some(_) => assert_eq!(entry.resource, "namespaces"),
            None => assert_eq!(
                (entry.user.as_str(), &entry.acting),
                (tenant.owner.name.as_str(), &None)
            ),
        }
    }
}
