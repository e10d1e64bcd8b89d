//! People in hundreds of groups: their tokens are long, and in impersonate mode each group is a header of its own.

use http::StatusCode;
use serde_json::json;

use crate::harness::people::Tenant;
use crate::harness::people::unique;
use crate::harness::proxy::Mode;
use crate::harness::proxy::Proxy;
use crate::harness::proxy::Setup;
use crate::harness::world::World;
use crate::lists::until_he_sees;

const NAMESPACES: &str = "/api/v1/namespaces";

in_both_worlds!(
    two_hundred_groups_own_as_one_does,
    two_thousand_groups_need_a_longer_token_to_be_allowed,
);

/// A Tenant of a group, and the token of somebody in that many, the owning one last.
async fn crowd(world: &'static World, number: usize) -> (Tenant, String) {
    let tenant = world.tenant(&["dev"]).await;
    let id = |number: usize| format!("00000000-0000-4000-d000-{number:012}");
    let owner = id(unique());
    world
        .owned_by(&tenant, json!([{"kind": "Group", "name": owner}]))
        .await;
    let mut groups: Vec<_> = (1_000_000..).map(id).take(number - 2).collect();
    groups.push(world.groups.users.clone());
    groups.push(owner);
    let name = format!("crowd-{}@example.com", unique());
    let token = world
        .mint(json!({"upn": name, "groups": groups}), 3600)
        .await;
    (tenant, token)
}

/// Lists, makes and reads, over both versions of HTTP.
async fn does_the_main_job(proxy: &Proxy, mut tenant: Tenant, token: &str) {
    let caller = proxy.anybody().bearing(token);
    until_he_sees(&caller, &tenant.namespaces).await;
    let made = format!("{}-new", tenant.name);
    let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": made}});
    let answer = caller.clone().over_h2().post(NAMESPACES, &body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    tenant.namespaces.push(made);
    until_he_sees(&caller.over_h2(), &tenant.namespaces).await;
}

async fn two_hundred_groups_own_as_one_does(world: &'static World) {
    for mode in [Mode::Token, Mode::Impersonate, Mode::Review] {
        let (tenant, token) = crowd(world, 200).await;
        does_the_main_job(world.proxy_in(mode).await, tenant, &token).await;
    }
}

async fn two_thousand_groups_need_a_longer_token_to_be_allowed(world: &'static World) {
    for mode in [Mode::Token, Mode::Impersonate] {
        let (tenant, token) = crowd(world, 2000).await;
        let usual = world.proxy_in(mode).await.anybody().bearing(&token);
        let refused = usual.get(NAMESPACES).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
        assert!(
            refused.text().contains("maxTokenBytes"),
            "{}",
            refused.text()
        );

        let mut authentication = world.issuer.authentication(mode);
        authentication["jwt"][0]["maxTokenBytes"] = json!(256 * 1024);
        let setup = Setup {
            mode,
            authentication: Some(authentication),
            ..Setup::default()
        };
        let proxy = Proxy::start(world, setup).await;
        does_the_main_job(&proxy, tenant, &token).await;
    }
}
