//! Whether kubectl trusts the proxy: a kubeconfig that still holds the cluster's CA, a name that is not in the certificate,
//! and the ways that work.

use crate::harness::kubectl::Kubectl;
use crate::harness::kubectl::Ran;
use crate::harness::people::Tenant;
use crate::harness::world::World;
use crate::lists::settled;

in_both_worlds!(
    the_clusters_authority_did_not_sign_the_proxys_certificate,
    the_proxys_authority_is_trusted_for_the_names_in_its_certificate_only,
);

const LIST: [&str; 4] = ["get", "ns", "-o", "name"];

fn assert_lists(ran: &Ran, tenant: &Tenant) {
    let names = tenant
        .namespaces
        .iter()
        .map(|name| format!("namespace/{name}"));
    assert_eq!(ran.lines(), names.collect::<Vec<_>>());
}

fn assert_distrusts(ran: &Ran, why: &str) {
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.out.is_empty() && ran.errors.contains(why), "{ran:?}");
}

async fn the_clusters_authority_did_not_sign_the_proxys_certificate(world: &'static World) {
    let tenant = settled(world, &["dev"]).await;
    let proxy = world.proxy().await;
    // As `az aks get-credentials` writes it, and `kubectl config set-cluster --server` leaves it.
    let kubectl = Kubectl::new(&proxy.url, &world.ca, &tenant.owner.token);
    let unknown = "x509: certificate signed by unknown authority";
    assert_distrusts(&kubectl.run(&LIST).await, unknown);
    let insecure = [&LIST[..], &["--insecure-skip-tls-verify"]].concat();
    assert_lists(&kubectl.run(&insecure).await, &tenant);
}

async fn the_proxys_authority_is_trusted_for_the_names_in_its_certificate_only(
    world: &'static World,
) {
    let tenant = settled(world, &["dev"]).await;
    let kubectl = world.proxy().await.kubectl(&tenant.owner);
    let named = |name| [&LIST[..], &["--tls-server-name", name]].concat();
    assert_distrusts(
        &kubectl.run(&named("capsule-proxy.example.com")).await,
        "x509: certificate is valid for localhost, not capsule-proxy.example.com",
    );
    assert_lists(&kubectl.run(&named("localhost")).await, &tenant);
    assert_lists(&kubectl.run(&LIST).await, &tenant);
}
