//! Starting, going and coming back: the proxy's own shutdown, its certificate, and an API server that restarts.

use std::path::Path;

use http::Method;
use kube_tenant_proxy::drain::Drained;
use kube_tenant_proxy::listen::TlsFiles;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;

use crate::harness;
use crate::harness::audit::Entry;
use crate::harness::eventually;
use crate::harness::http::Caller;
use crate::harness::http::Events;
use crate::harness::people::unique;
use crate::harness::proxy::Proxy;
use crate::harness::proxy::Serving;
use crate::harness::proxy::Setup;
use crate::harness::proxy::serving_certificate;
use crate::harness::world::World;
use crate::lists::position_to_watch_from;
use crate::lists::until_he_sees;
use crate::rules::CLASSES;
use crate::rules::filtered;
use crate::rules::relabel;

const NAMESPACES: &str = "/api/v1/namespaces";

in_both_worlds!(
    at_shutdown_watches_end_cleanly_and_requests_finish,
    a_renewed_certificate_serves_new_connections_and_keeps_the_old,
);

async fn at_shutdown_watches_end_cleanly_and_requests_finish(world: &'static World) {
    let proxy = Proxy::start(world, Setup::default()).await;
    let tenant = world.tenant(&["dev"]).await;
    let caller = proxy.caller(&tenant.owner);
    let position = position_to_watch_from(world, &caller, &tenant).await;
    let mut watch = caller
        .watch(&format!("{NAMESPACES}?watch=1&resourceVersion={position}"))
        .await;

    // A request whose head is at the proxy and whose body is not.
    let review = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let body =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}).to_string();
    let mut creating = proxy.anybody().connect().await;
    let head = format!(
        "POST {review} HTTP/1.1\r\nHost: it\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        tenant.owner.token,
        body.len()
    );
    creating.write_all(head.as_bytes()).await.unwrap();
    let mut interim = [0; 25];
    creating.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");

    proxy.begin_shutdown();
    eventually(|| async {
        let refused = proxy.anybody().try_connect().await.is_err();
        refused
            .then_some(())
            .ok_or_else(|| "it still accepts".to_owned())
    })
    .await;
    creating.write_all(body.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _end = creating.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");

    let rest = watch.rest().await;
    assert!(
        rest.iter().all(|event| event["type"] != "ERROR"),
        "{rest:?}"
    );
    assert_eq!(proxy.ended().await, Drained::Finished);
}

/// Takes the place of what is there at once, as kubelet does for a Secret.
pub(crate) fn place(dir: &Path, serving: &Serving) -> TlsFiles {
    let put = |name: &str, content: &str| {
        let path = dir.join(name);
        let new = dir.join(format!("{name}.{}", unique()));
        std::fs::write(&new, content).unwrap();
        std::fs::rename(&new, &path).unwrap();
        path
    };
    TlsFiles {
        certificate: put("tls.crt", &serving.certificate),
        key: put("tls.key", &serving.key),
    }
}

async fn a_renewed_certificate_serves_new_connections_and_keeps_the_old(world: &'static World) {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (serving_certificate(), serving_certificate());
    let files = place(dir.path(), &old);
    let setup = Setup {
        files: Some((files, old.ca.clone())),
        ..Setup::default()
    };
    let proxy = Proxy::start(world, setup).await;
    let tenant = world.tenant(&["dev"]).await;
    let caller = proxy.caller(&tenant.owner);
    until_he_sees(&caller, &tenant.namespaces).await;
    let mut watch = caller.watch(&format!("{NAMESPACES}?watch=1")).await;
    watch.next().await.unwrap();

    place(dir.path(), &new);
    let trusting = Caller::new(&proxy.url, &new.ca).bearing(&tenant.owner.token);
    eventually(|| async {
        trusting
            .try_connect()
            .await
            .map(drop)
            .map_err(|why| why.to_string())
    })
    .await;
    assert_eq!(trusting.get(NAMESPACES).await.names(), tenant.namespaces);
    assert!(
        caller.try_connect().await.is_err(),
        "the old certificate is still served"
    );
    // The connection that began under the old one goes on.
    let labels = json!({"metadata": {"labels": {"it": "1"}}});
    world
        .merge(&format!("{NAMESPACES}/{}", tenant.namespaces[0]), &labels)
        .await;
    watch
        .until(|event| event["object"]["metadata"]["labels"]["it"] == "1")
        .await;
}

mod disturbed {
    #[test]
    fn an_api_server_that_restarts_is_found_again() {
        super::harness::run(super::an_api_server_that_restarts_is_found_again());
    }

    #[test]
    fn the_first_list_of_a_process_is_a_position_to_watch_from() {
        super::harness::run(super::the_first_list_of_a_process_is_a_position_to_watch_from());
    }
}

async fn an_api_server_that_restarts_is_found_again() {
    let (world, _turn) = World::disturbed().await;
    let mut tenant = world.tenant(&["dev"]).await;
    let caller = world.proxy().await.caller(&tenant.owner);
    let position = position_to_watch_from(world, &caller, &tenant).await;
    let mut watch = caller
        .watch(&format!("{NAMESPACES}?watch=1&resourceVersion={position}"))
        .await;
    let labels = json!({"metadata": {"labels": {"it": "1"}}});
    world
        .merge(&format!("{NAMESPACES}/{}", tenant.namespaces[0]), &labels)
        .await;
    watch
        .until(|event| event["object"]["metadata"]["labels"]["it"] == "1")
        .await;

    world.disturb("/apiserver/stop").await;
    let rest = watch.rest().await;
    assert!(rest.is_empty(), "{rest:?}");
    let away = caller.get(NAMESPACES).await;
    assert!(
        away.status.is_server_error(),
        "without an API server there is no list: {}",
        away.text()
    );
    assert_eq!(away.json()["kind"], "Status");
    world.disturb("/apiserver/start").await;

    // Facts flow again: what is new is seen.
    let is_back = || async { world.admin(Method::GET, "/readyz?verbose=no", None).await };
    eventually(|| async {
        match is_back().await {
            Err(kube::Error::Service(why)) => Err(why.to_string()),
            Ok(_) | Err(_) => Ok(()),
        }
    })
    .await;
    let namespace = world.namespace_in(&tenant, "new").await;
    tenant.namespaces.push(namespace);
    until_he_sees(&caller, &tenant.namespaces).await;
}

/// What a process handed out before this one is below a position that this one reads at its start, and not with the first
/// list, which nobody could go on from.
async fn the_first_list_of_a_process_is_a_position_to_watch_from() {
    let (world, _turn) = World::disturbed().await;
    let (owner, _, names, _) = filtered(world).await;
    let mark = world.mark();
    let proxy = Proxy::start(world, Setup::default()).await;
    eventually(|| async {
        let learns =
            |entry: &&Entry| entry.uri.starts_with(CLASSES) && entry.uri.contains("limit=1");
        let entries = world.entries(mark);
        entries
            .iter()
            .find(learns)
            .map(drop)
            .ok_or_else(|| "not yet".to_owned())
    })
    .await;
    relabel(world, CLASSES, &names[0], None).await;
    relabel(world, CLASSES, &names[1], None).await;
    let caller = proxy.caller(&owner);
    let list = caller.get(CLASSES).await;
    let at = list.position();
    let path = format!("{CLASSES}?watch=1&allowWatchBookmarks=true&resourceVersion={at}");
    let mut watch = caller.watch(&path).await;
    relabel(world, CLASSES, &names[1], Some("changed")).await;
    let event = watch.next().await.unwrap();
    assert_eq!(event["type"], "MODIFIED", "{event}");
}
