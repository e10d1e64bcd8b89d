//! What is not narrowed passes as the person's own request, bytes untouched both ways.

use http::Method;
use http::StatusCode;
use http::header;
use serde_json::json;

use crate::harness::eventually;
use crate::harness::proxy::Mode;
use crate::harness::world::World;
use crate::lists::settled;
use crate::streams::running_pod;

in_both_worlds!(
    answers_are_the_api_servers_own,
    discovery_keeps_its_etag,
    a_long_selector_passes_and_a_longer_one_is_a_414,
    large_headers_pass,
);
in_the_real_world!(
    too_many_requests_are_relayed_with_the_time_to_wait,
    the_redirect_to_a_newer_openapi_document_passes,
);

async fn answers_are_the_api_servers_own(world: &'static World) {
    let tenant = settled(world, &["dev"]).await;
    let (through, direct) = (
        world.proxy().await.caller(&tenant.owner),
        world.direct(&tenant.owner),
    );
    for path in [
        "/version",
        "/api",
        "/apis",
        "/api/v1",
        "/apis/capsule.clastix.io/v1beta2",
        "/api/v1/nodes",
        "/api/v1/namespaces/default/secrets/x",
        "/apis/there.is.none/v1/such-things",
    ] {
        let (ours, theirs) = (through.get(path).await, direct.get(path).await);
        assert_eq!(
            (ours.status, ours.text()),
            (theirs.status, theirs.text()),
            "{path}"
        );
        assert_eq!(
            ours.headers.get(header::CONTENT_TYPE),
            theirs.headers.get(header::CONTENT_TYPE),
            "{path}"
        );
    }
}

async fn discovery_keeps_its_etag(world: &'static World) {
    let tenant = settled(world, &["dev"]).await;
    let aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let caller = world
        .proxy()
        .await
        .caller(&tenant.owner)
        .accepting(aggregated);
    let first = caller.get("/apis").await;
    assert_eq!(first.status, StatusCode::OK);
    let etag = first.headers[header::ETAG].to_str().unwrap().to_owned();
    let second = caller.saying("if-none-match", &etag).get("/apis").await;
    assert_eq!(
        (second.status, second.text().as_str()),
        (StatusCode::NOT_MODIFIED, "")
    );
}

async fn a_long_selector_passes_and_a_longer_one_is_a_414(world: &'static World) {
    let tenant = settled(world, &["dev"]).await;
    let caller = world.proxy().await.caller(&tenant.owner);
    let selector = |bytes: usize| {
        let names = ["x".repeat(60), ",".to_owned()].concat().repeat(bytes / 61);
        format!(
            "/api/v1/namespaces?labelSelector=kubernetes.io/metadata.name%20in%20({names}{})",
            tenant.namespaces[0]
        )
    };
    let long = caller.get(&selector(60_000)).await;
    assert_eq!(
        (long.status, long.names()),
        (StatusCode::OK, tenant.namespaces.clone())
    );
    let (status, text) = crate::hostile::raw(
        world,
        &tenant.owner.token,
        &format!("GET {}", selector(80_000)),
    )
    .await;
    assert_eq!(status, 414, "{text}");
}

async fn large_headers_pass(world: &'static World) {
    let tenant = settled(world, &["dev"]).await;
    for (h2, kib) in [
        (false, 16),
        (true, 16),
        (false, 256),
        (true, 256),
        (false, 900),
        (true, 900),
    ] {
        let mut caller = world.proxy().await.caller(&tenant.owner);
        caller = caller.saying("x-padding", &"x".repeat(kib * 1024));
        if h2 {
            caller = caller.over_h2();
        }
        assert_eq!(
            caller.get("/api/v1/namespaces").await.names(),
            tenant.namespaces,
            "{kib} KiB, h2: {h2}"
        );
    }
}

async fn too_many_requests_are_relayed_with_the_time_to_wait(world: &'static World) {
    let (tenant, _) = running_pod(world).await;
    let namespace = &tenant.namespaces[0];
    // No controller here looks at a budget, so the API server asks whoever evicts to wait for one.
    let budgets = format!("/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets");
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "it"},
        "spec": {"minAvailable": 1, "selector": {}},
    });
    world
        .admin(Method::POST, &budgets, Some(&budget))
        .await
        .unwrap();
    let path = format!("/api/v1/namespaces/{namespace}/pods/web/eviction");
    let eviction =
        json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "web"}});
    // The operator's RoleBinding makes him admin of his namespace.
    let theirs = eventually(|| async {
        let answer = world.direct(&tenant.owner).post(&path, &eviction).await;
        let is_it = answer.status == StatusCode::TOO_MANY_REQUESTS;
        is_it.then_some(answer).ok_or_else(String::new)
    })
    .await;
    for mode in [Mode::Token, Mode::Impersonate] {
        let caller = world.proxy_in(mode).await.caller(&tenant.owner);
        let ours = caller.post(&path, &eviction).await;
        assert_eq!((ours.status, ours.json()), (theirs.status, theirs.json()));
        assert!(theirs.headers.contains_key(header::RETRY_AFTER));
        assert_eq!(
            ours.headers.get(header::RETRY_AFTER),
            theirs.headers.get(header::RETRY_AFTER)
        );
    }
}

async fn the_redirect_to_a_newer_openapi_document_passes(world: &'static World) {
    let tenant = settled(world, &["dev"]).await;
    let (through, direct) = (
        world.proxy().await.caller(&tenant.owner),
        world.direct(&tenant.owner),
    );
    let old = "/openapi/v3/api/v1?hash=00";
    let (ours, theirs) = (through.get(old).await, direct.get(old).await);
    assert_eq!(
        theirs.status,
        StatusCode::MOVED_PERMANENTLY,
        "{}",
        theirs.text()
    );
    assert_eq!(ours.status, theirs.status, "{}", ours.text());
    let location = &ours.headers[header::LOCATION];
    assert_eq!(location, theirs.headers[header::LOCATION]);
    let newer = through.get(location.to_str().unwrap()).await;
    assert_eq!(newer.status, StatusCode::OK, "{}", newer.text());
}
