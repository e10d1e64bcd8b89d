//! The main job with kubectl, today's and an older one, in both ways upstream. Client libraries: `reflectors.rs`.

use serde_json::json;

use crate::harness::kubectl::Kubectl;
use crate::harness::kubectl::Version;
use crate::harness::people::Tenant;
use crate::harness::proxy::Mode;
use crate::harness::world::World;
use crate::lists::until_he_sees;

in_both_worlds!(
    todays_kubectl_in_token_mode,
    todays_kubectl_in_impersonate_mode,
    an_old_kubectl_in_token_mode,
    an_old_kubectl_in_impersonate_mode,
);

async fn todays_kubectl_in_token_mode(world: &'static World) {
    the_main_job(world, Version::Current, Mode::Token).await;
}

async fn todays_kubectl_in_impersonate_mode(world: &'static World) {
    the_main_job(world, Version::Current, Mode::Impersonate).await;
}

async fn an_old_kubectl_in_token_mode(world: &'static World) {
    the_main_job(world, Version::Old, Mode::Token).await;
}

async fn an_old_kubectl_in_impersonate_mode(world: &'static World) {
    the_main_job(world, Version::Old, Mode::Impersonate).await;
}

async fn the_main_job(world: &'static World, version: Version, mode: Mode) {
    let (mut tenant, other) = (
        world.tenant(&["a", "b"]).await,
        world.tenant(&["theirs"]).await,
    );
    let proxy = world.proxy_in(mode).await;
    until_he_sees(&proxy.caller(&tenant.owner), &tenant.namespaces).await;
    let kubectl = proxy.kubectl(&tenant.owner).of(version);
    sees_exactly_his_own(&kubectl, &tenant).await;

    // What he creates is in the next list, and in his watch, once that is open.
    let mut watching = kubectl.start(&["get", "namespaces", "-w", "-o", "name"]);
    for name in &tenant.namespaces {
        assert_eq!(watching.line().await, format!("namespace/{name}"));
    }
    let label = json!({"metadata": {"labels": {"it": "is-open"}}});
    let first = &tenant.namespaces[0];
    world
        .merge(&format!("/api/v1/namespaces/{first}"), &label)
        .await;
    assert_eq!(watching.line().await, format!("namespace/{first}"));
    let name = format!("{}-c", tenant.name);
    let made = kubectl.run(&["create", "namespace", &name]).await;
    assert_eq!(made.lines(), [format!("namespace/{name} created")]);
    tenant.namespaces.push(name);
    sees_exactly_his_own(&kubectl, &tenant).await;
    let created = format!("namespace/{}", tenant.namespaces.last().unwrap());
    while watching.line().await != created {}

    let theirs = kubectl
        .run(&["get", "namespace", &other.namespaces[0]])
        .await;
    assert!(
        !theirs.good && theirs.errors.contains("Forbidden"),
        "{theirs:?}"
    );
    let stranger = world.member_of(&[]).await;
    let mut refusals = Vec::new();
    for kubectl in [proxy.kubectl(&stranger), world.kubectl(&stranger)] {
        let refused = kubectl.of(version).run(&["get", "namespaces"]).await;
        assert!(
            !refused.good && refused.errors.contains("Forbidden"),
            "{refused:?}"
        );
        refusals.push(refused.errors);
    }
    assert_eq!(refusals[0], refusals[1]);
}

async fn sees_exactly_his_own(kubectl: &Kubectl, tenant: &Tenant) {
    let named: Vec<_> = tenant
        .namespaces
        .iter()
        .map(|name| format!("namespace/{name}"))
        .collect();
    let listed = kubectl.run(&["get", "namespaces", "-o", "name"]).await;
    assert_eq!(listed.lines(), named);
    // As a person reads it: a heading, then a line for each.
    let table = kubectl.run(&["get", "ns"]).await;
    let first = |line: &&str| line.split_whitespace().next().unwrap().to_owned();
    let rows: Vec<String> = table.lines().iter().skip(1).map(first).collect();
    assert_eq!(rows, tenant.namespaces);
}
