//! The main job with kubectl, today's and an older one, in both ways upstream. Client libraries: `reflectors.rs`.

use std::io::BufRead;
use std::io::BufReader;
use std::process::Stdio;

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
    kubectl_trusts_what_it_is_told_to_trust,
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

    // What he creates is in the next list; his watch shows what was there, and is told to list again.
    let mut watching = kubectl.command(&["get", "namespaces", "-w", "-o", "name"]);
    let mut watching = watching.stdout(Stdio::piped()).spawn().unwrap();
    let mut shown = BufReader::new(watching.stdout.take().unwrap()).lines();
    for name in &tenant.namespaces {
        assert_eq!(shown.next().unwrap().unwrap(), format!("namespace/{name}"));
    }
    let name = format!("{}-c", tenant.name);
    let made = kubectl.run(&["create", "namespace", &name]).await;
    assert_eq!(made.lines(), [format!("namespace/{name} created")]);
    tenant.namespaces.push(name);
    sees_exactly_his_own(&kubectl, &tenant).await;
    // What kubectl says of that is its own affair; that it ends, since the scope it shows is over, is ours.
    let rest: Vec<String> = shown.map(Result::unwrap).collect();
    assert!(rest.len() <= 1, "{rest:?}");
    watching.wait().unwrap();

    let theirs = kubectl
        .run(&["get", "namespace", &other.namespaces[0]])
        .await;
    assert!(
        !theirs.good && theirs.errors.contains("Forbidden"),
        "{theirs:?}"
    );
    let stranger = world.member_of(&[]).await;
    let refused = proxy.kubectl(&stranger).of(version);
    let refused = refused.run(&["get", "namespaces"]).await;
    assert!(
        !refused.good && refused.errors.contains("Forbidden"),
        "{refused:?}"
    );
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

/// The walkthrough's x509 errors, and what cures them.
async fn kubectl_trusts_what_it_is_told_to_trust(world: &'static World) {
    let tenant = world.tenant(&["a"]).await;
    let proxy = world.proxy().await;
    until_he_sees(&proxy.caller(&tenant.owner), &tenant.namespaces).await;
    let get = |more: &'static [&'static str]| [&["get", "ns", "-o", "name"][..], more].concat();
    // A kubeconfig that still trusts the cluster's own authority.
    let stale = Kubectl::new(&proxy.url, &world.ca, &tenant.owner.token);
    let failed = stale.run(&get(&[])).await;
    assert!(
        !failed.good
            && failed
                .errors
                .contains("certificate signed by unknown authority"),
        "{failed:?}"
    );
    let named = [format!("namespace/{}", tenant.namespaces[0])];
    let trusting = Kubectl::without_authority(&proxy.url, &tenant.owner.token);
    let insecure = trusting.run(&get(&["--insecure-skip-tls-verify"])).await;
    assert_eq!(insecure.lines(), named);
    let right = proxy.kubectl(&tenant.owner);
    assert_eq!(right.run(&get(&[])).await.lines(), named);
    let misnamed = right.run(&get(&["--tls-server-name=other.example"])).await;
    assert!(
        !misnamed.good && misnamed.errors.contains("not other.example"),
        "{misnamed:?}"
    );
}
