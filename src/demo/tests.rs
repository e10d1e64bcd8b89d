//! The world over its sockets: what a client sees, and what the audit log says of it. kube-rs is the client, so that
//! requests and watches are somebody else's idea of the protocol.

use std::time::Duration;

use futures_util::AsyncBufReadExt;
use futures_util::StreamExt;
use futures_util::TryStreamExt;
use http::Request;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::Client;
use kube::ResourceExt;
use kube::api::ListParams;
use kube::api::Patch;
use kube::api::PatchParams;
use kube::api::PostParams;
use kube::config::KubeConfigOptions;
use kube::runtime::watcher;
use serde_json::Value;
use serde_json::json;

use super::store::Key;
use super::store::State;
use super::*;
use crate::reader;

/// Nothing in here takes long; whoever waits longer waits in vain.
const DEADLINE: Duration = Duration::from_secs(20);

const CAPSULE_GROUP: &str = "capsuleGroup";

fn seed() -> Seed {
    Seed {
        tenants: vec![
            TenantSeed::new("oil", &[Owner::User("alice".to_owned())], &["dev", "prod"]),
            TenantSeed::new("gas", &[Owner::Group(object_id("gas-team"))], &["dev"]),
        ],
        operator_lag: Duration::ZERO,
        ..Seed::default()
    }
}

async fn world() -> World {
    World::start(seed()).await.unwrap()
}

async fn connect(kubeconfig: &str) -> Client {
    let kubeconfig = serde_saphyr::from_str(kubeconfig).unwrap();
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .unwrap();
    Client::try_from(config).unwrap()
}

async fn client(world: &World, token: &str) -> Client {
    connect(&world.kubeconfig("someone", token)).await
}

async fn alice(world: &World) -> Client {
    client(world, &world.token("alice", &[&object_id(CAPSULE_GROUP)])).await
}

async fn admin(world: &World) -> Client {
    client(world, &world.admin_token).await
}

/// Status and body of one request with extra headers.
async fn ask(
    client: &Client,
    request: &str,
    headers: &[(&str, &str)],
    body: Value,
) -> (u16, Value) {
    let (method, path) = request.split_once(' ').unwrap();
    let mut builder = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    let body = if body.is_null() {
        Vec::new()
    } else {
        body.to_string().into_bytes()
    };
    let response = client
        .send(builder.body(body.into()).unwrap())
        .await
        .unwrap();
    let status = response.status().as_u16();
    let bytes = http_body_util::BodyExt::collect(response.into_body())
        .await
        .unwrap()
        .to_bytes();
    (
        status,
        serde_json::from_slice(&bytes).unwrap_or(Value::Null),
    )
}

async fn get(client: &Client, path: &str) -> (u16, Value) {
    ask(client, &format!("GET {path}"), &[], Value::Null).await
}

/// Waits until the stored state is as wanted.
async fn until(world: &World, wanted: impl Fn(&State) -> bool) {
    let mut changes = world.store().changes();
    let reached = async {
        while !world.store().read(&wanted) {
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(DEADLINE, reached).await.unwrap();
}

fn stored(state: &State, group: &str, plural: &str, path: &str) -> Option<Value> {
    let key = Key {
        resource: crate::k8s::names::GroupResource::new(group, plural),
        path: path.to_owned(),
    };
    state.get(&key).map(|object| object.value.clone())
}

fn names(list: &Value) -> Vec<&str> {
    object::items(list, "/items")
        .iter()
        .map(|item| object::text(item, "/metadata/name"))
        .collect()
}

#[tokio::test]
async fn rights_are_the_clusters_and_refusals_its_words() {
    let world = world().await;
    let alice = alice(&world).await;
    let (code, status) = get(&alice, "/api/v1/namespaces").await;
    let sentence = r#"namespaces is forbidden: User "alice" cannot list resource "namespaces" in API group "" at the cluster scope"#;
    assert_eq!((code, object::text(&status, "/message")), (403, sentence));
    assert_eq!(get(&alice, "/api/v1/namespaces/oil-dev/pods").await.0, 200);
    assert_eq!(get(&alice, "/api/v1/namespaces/oil-dev").await.0, 200);
    assert_eq!(get(&alice, "/api/v1/namespaces/gas-dev").await.0, 403);
    assert_eq!(
        get(&alice, "/api/v1/namespaces/none").await.0,
        403,
        "what is not there looks the same"
    );
    let all = get(&admin(&world).await, "/api/v1/namespaces").await.1;
    assert_eq!(
        names(&all),
        [
            "capsule-system",
            "default",
            "gas-dev",
            "kube-node-lease",
            "kube-public",
            "kube-system",
            "oil-dev",
            "oil-prod"
        ]
    );
}

#[tokio::test]
async fn a_bad_credential_is_a_401_and_none_is_the_anonymous_user() {
    let world = world().await;
    let bad = client(&world, "garbage").await;
    assert_eq!(
        get(&bad, "/version").await,
        (
            401,
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "Unauthorized", "reason": "Unauthorized", "code": 401})
        )
    );
    let kubeconfig = world
        .kubeconfig("nobody", "x")
        .replace("    token: x\n", "    {}\n");
    let nobody = connect(&kubeconfig).await;
    assert_eq!(get(&nobody, "/version").await.0, 200);
    let (code, status) = get(&nobody, "/api").await;
    assert_eq!(
        (code, object::text(&status, "/message")),
        (
            403,
            r#"forbidden: User "system:anonymous" cannot get path "/api""#
        )
    );
}

#[tokio::test]
async fn the_proxy_reads_as_its_reader_and_a_lost_header_fails_closed() {
    let world = world().await;
    let proxy = client(&world, &world.proxy_token).await;
    let extra = format!(
        "Impersonate-Extra-{}",
        reader::EXTRA_KEY.replace('/', "%2F")
    );
    let user = ("Impersonate-User", reader::USER);
    let group = ("Impersonate-Group", reader::GROUP);
    world.take_audit();
    for (headers, code) in [
        (vec![user, group, (&*extra, "alice")], 200),
        (vec![user], 403),
        (vec![group], 400),
        (vec![], 403),
    ] {
        assert_eq!(
            ask(&proxy, "GET /api/v1/namespaces", &headers, Value::Null)
                .await
                .0,
            code,
            "{headers:?}"
        );
    }
    let audit = world.take_audit();
    let first = audit.first().unwrap();
    assert_eq!(
        first.user.as_ref().unwrap().name,
        "system:serviceaccount:capsule-system:capsule-proxy"
    );
    let acting = first.acting().unwrap();
    assert_eq!(
        (acting.name.as_str(), &acting.extra[reader::EXTRA_KEY]),
        (reader::USER, &vec!["alice".to_owned()])
    );
    assert_eq!(
        (first.verb.as_str(), first.resource.as_str(), first.code),
        ("list", "namespaces", 200)
    );
    assert_eq!(
        audit.iter().map(|entry| entry.code).collect::<Vec<_>>(),
        [200, 403, 400, 403]
    );
}

#[tokio::test]
async fn a_token_review_says_whose_a_token_is() {
    let world = world().await;
    let proxy = client(&world, &world.proxy_token).await;
    let review = |token: String, audiences: Value| {
        let proxy = proxy.clone();
        async move {
            let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token, "audiences": audiences}});
            let headers = [("content-type", "application/json")];
            let (code, review) = ask(
                &proxy,
                "POST /apis/authentication.k8s.io/v1/tokenreviews",
                &headers,
                body,
            )
            .await;
            assert_eq!(code, 201);
            review["status"].clone()
        }
    };
    let groups: Vec<String> = (0..250)
        .map(|number| object_id(&format!("group {number}")))
        .collect();
    let many = Person {
        groups: groups.clone(),
        ..Person::member("carol", &[])
    };
    let status = review(world.issuer().token(&many), json!([])).await;
    assert_eq!(
        (&status["authenticated"], &status["user"]["username"]),
        (&json!(true), &json!("carol"))
    );
    assert_eq!(
        status["user"]["groups"].as_array().unwrap().len(),
        groups.len() + 1,
        "overage is resolved"
    );
    assert_eq!(status["user"]["extra"]["oid"], json!([many.oid]));
    let status = review("garbage".to_owned(), json!([])).await;
    assert_eq!(
        (status.get("authenticated"), object::text(&status, "/error")),
        (None, "invalid bearer token")
    );
    let status = review(world.token("alice", &[]), json!(["another"])).await;
    assert_eq!(status.get("authenticated"), None);
}

#[tokio::test]
async fn an_owners_namespace_is_his_at_once_and_his_to_use_a_moment_later() {
    let world = world().await;
    let alice = alice(&world).await;
    world.set_operator(false);
    let namespaces: Api<Namespace> = Api::all(alice.clone());
    let new = |name: &str| {
        serde_json::from_value::<Namespace>(json!({"metadata": {"name": name}})).unwrap()
    };
    let made = namespaces
        .create(&PostParams::default(), &new("oil-new"))
        .await
        .unwrap();
    let reference = made.owner_references().first().unwrap();
    assert_eq!(
        (
            reference.kind.as_str(),
            reference.name.as_str(),
            reference.controller
        ),
        ("Tenant", "oil", None)
    );
    assert_eq!(
        get(&alice, "/api/v1/namespaces/oil-new/pods").await.0,
        403,
        "the operator is away"
    );
    let tenant = |state: &State| stored(state, "capsule.clastix.io", "tenants", "oil").unwrap();
    assert_eq!(world.store().read(tenant)["status"]["size"], 2);
    world.set_operator(true);
    until(&world, |state| tenant(state)["status"]["size"] == 3).await;
    assert_eq!(get(&alice, "/api/v1/namespaces/oil-new/pods").await.0, 200);
    let refused = namespaces
        .create(&PostParams::default(), &new("gas-new"))
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains("expected prefix \"oil-\""),
        "{refused}"
    );
    namespaces
        .delete("oil-new", &kube::api::DeleteParams::default())
        .await
        .unwrap();
    until(&world, |state| tenant(state)["status"]["size"] == 2).await;
    assert_eq!(
        world
            .store()
            .read(|state| stored(state, "", "configmaps", "oil-new/kube-root-ca.crt")),
        None
    );
}

#[tokio::test]
async fn an_informer_follows_in_both_ways_of_starting_and_survives_compaction() {
    let world = world().await;
    let admin = admin(&world).await;
    let maps: Api<ConfigMap> = Api::namespaced(admin, "oil-dev");
    let base = watcher::Config::default();
    for (name, config) in [("list", base.clone()), ("stream", base.streaming_lists())] {
        let mut events = std::pin::pin!(watcher(maps.clone(), config));
        let mut seen = Vec::new();
        let until_done = async {
            loop {
                match events.try_next().await {
                    Ok(Some(watcher::Event::InitDone)) => {
                        let late = json!({"metadata": {"name": name}, "data": {}});
                        let late = serde_json::from_value(late).unwrap();
                        maps.create(&PostParams::default(), &late).await.unwrap();
                    }
                    Ok(Some(watcher::Event::Apply(map))) if map.name_any() == name => break,
                    Ok(Some(watcher::Event::InitApply(map))) => seen.push(map.name_any()),
                    Ok(Some(_)) => {}
                    other => panic!("{name}: {other:?}"),
                }
            }
        };
        tokio::time::timeout(DEADLINE, until_done).await.unwrap();
        assert!(seen.contains(&"web".to_owned()), "{name}: {seen:?}");
    }
}

#[tokio::test]
async fn a_watch_from_a_compacted_revision_ends_in_band_on_200() {
    let world = world().await;
    let admin = admin(&world).await;
    world.compact();
    let path = "/api/v1/namespaces?watch=1&resourceVersion=2";
    let request = Request::get(path).body(Vec::new()).unwrap();
    let lines = admin.request_stream(request).await.unwrap().lines();
    let lines: Vec<String> = tokio::time::timeout(DEADLINE, lines.try_collect())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(lines.len(), 1);
    let event: Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(
        (
            &event["type"],
            &event["object"]["code"],
            &event["object"]["reason"]
        ),
        (&json!("ERROR"), &json!(410), &json!("Expired"))
    );
    assert!(object::text(&event, "/object/message").starts_with("too old resource version: 2 ("));
}

#[tokio::test]
async fn a_table_and_a_partial_list_are_what_was_asked_for() {
    let world = world().await;
    let admin = admin(&world).await;
    let table = [(
        "accept",
        "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
    )];
    let (_, list) = ask(
        &admin,
        "GET /api/v1/namespaces?labelSelector=capsule.clastix.io/tenant%3Doil",
        &table,
        Value::Null,
    )
    .await;
    let cells: Vec<&str> = object::items(&list, "/rows")
        .iter()
        .map(|row| object::text(row, "/cells/0"))
        .collect();
    assert_eq!(
        (object::text(&list, "/kind"), cells),
        ("Table", vec!["oil-dev", "oil-prod"])
    );
    assert_eq!(list["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let namespaces: Api<Namespace> = Api::all(admin.clone());
    let partial = namespaces
        .list_metadata(&ListParams::default().fields("metadata.name=oil-dev"))
        .await
        .unwrap();
    assert_eq!(partial.items.len(), 1);
    let (_, tenants) = get(&admin, "/apis/capsule.clastix.io/v1beta1/tenants").await;
    assert_eq!(
        tenants["items"][0]["apiVersion"],
        "capsule.clastix.io/v1beta1"
    );
    let protobuf = [("accept", "application/vnd.kubernetes.protobuf")];
    assert_eq!(
        ask(&admin, "GET /api/v1/namespaces", &protobuf, Value::Null)
            .await
            .0,
        406
    );
}

#[tokio::test]
async fn a_definition_made_later_is_served_and_discovered() {
    let world = world().await;
    let admin = admin(&world).await;
    assert_eq!(get(&admin, "/apis/example.org/v1/wells").await.0, 404);
    let definition = json!({
        "metadata": {"name": "wells.example.org"},
        "spec": {
            "group": "example.org",
            "scope": "Namespaced",
            "names": {"plural": "wells", "kind": "Well"},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}}}],
        },
    });
    let json_type = [("content-type", "application/json")];
    let path = "POST /apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    assert_eq!(ask(&admin, path, &json_type, definition).await.0, 201);
    let groups = kube::discovery::Discovery::new(admin.clone())
        .run_aggregated()
        .await
        .unwrap();
    let (well, _) = groups
        .groups()
        .find(|group| group.name() == "example.org")
        .unwrap()
        .recommended_kind("Well")
        .unwrap();
    let wells: Api<kube::core::DynamicObject> =
        Api::namespaced_with(admin.clone(), "oil-dev", &well);
    let apply = PatchParams::apply("test").force();
    let body = json!({"apiVersion": "example.org/v1", "kind": "Well", "metadata": {"name": "w"}, "spec": {"depth": 3}});
    wells
        .patch("w", &apply, &Patch::Apply(&body))
        .await
        .unwrap();
    let status = json!({"apiVersion": "example.org/v1", "kind": "Well", "status": {"wet": true}});
    let well = wells
        .patch_status("w", &apply, &Patch::Apply(&status))
        .await
        .unwrap();
    assert_eq!(
        (&well.data["status"]["wet"], &well.data["spec"]["depth"]),
        (&json!(true), &json!(3))
    );
    // The list's metadata comes after its items, as with every custom resource.
    let request = Request::get("/apis/example.org/v1/wells")
        .body(Vec::new())
        .unwrap();
    let text = admin.request_text(request).await.unwrap();
    assert!(
        text.starts_with(r#"{"apiVersion":"example.org/v1","items":["#) && text.ends_with("}}"),
        "{text}"
    );
}

#[tokio::test]
async fn discovery_is_tagged_and_answers_304() {
    let world = world().await;
    let alice = alice(&world).await;
    let accept =
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let request = |tag: &str| {
        Request::get("/apis")
            .header("accept", accept)
            .header("if-none-match", tag)
            .body(Vec::new().into())
            .unwrap()
    };
    let first = alice.send(request("")).await.unwrap();
    let tag = first.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(
        (
            first.status().as_u16(),
            first.headers()["vary"].to_str().unwrap()
        ),
        (200, "Accept")
    );
    assert_eq!(
        alice.send(request(&tag)).await.unwrap().status().as_u16(),
        304
    );
}

#[tokio::test]
async fn self_reviews_agree_with_what_requests_get() {
    let world = world().await;
    let alice = alice(&world).await;
    let json_type = [("content-type", "application/json")];
    for (namespace, allowed) in [("", false), ("oil-dev", true), ("gas-dev", false)] {
        let attributes = json!({"verb": "list", "resource": "pods", "namespace": namespace});
        let body = json!({"spec": {"resourceAttributes": attributes}});
        let path = "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        let (code, review) = ask(&alice, path, &json_type, body).await;
        assert_eq!(
            (code, &review["status"]["allowed"]),
            (201, &json!(allowed)),
            "{namespace}"
        );
    }
    let (code, _) = ask(
        &alice,
        "POST /apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
        &json_type,
        json!({"spec": {}}),
    )
    .await;
    assert_eq!(code, 400);
    let (_, me) = ask(
        &alice,
        "POST /apis/authentication.k8s.io/v1/selfsubjectreviews",
        &json_type,
        json!({}),
    )
    .await;
    assert_eq!(me["status"]["userInfo"]["username"], "alice");
}

#[tokio::test]
async fn the_issuer_publishes_its_keys_over_tls() {
    let world = world().await;
    let discovery: http::Uri = world.issuer().discovery_url().parse().unwrap();
    let issuer = format!("https://{}", discovery.authority().unwrap());
    let kubeconfig = world
        .kubeconfig("x", "x")
        .replace(&world.server_url, &issuer);
    let client = connect(&kubeconfig).await;
    let (code, document) = get(&client, discovery.path()).await;
    assert_eq!(
        (code, object::text(&document, "/issuer")),
        (200, world.issuer().url())
    );
    let keys = object::text(&document, "/jwks_uri")
        .strip_prefix(&issuer)
        .unwrap();
    assert_eq!(get(&client, keys).await.1["keys"][0]["kty"], "RSA");
    assert_eq!(get(&client, "/else").await.0, 404);
}

#[tokio::test]
async fn stopping_ends_open_watches_cleanly() {
    let world = world().await;
    let admin = admin(&world).await;
    let request = Request::get("/api/v1/namespaces?watch=1")
        .body(Vec::new())
        .unwrap();
    let mut lines = admin.request_stream(request).await.unwrap().lines();
    assert!(lines.next().await.unwrap().unwrap().contains("ADDED"));
    tokio::time::timeout(DEADLINE, world.stop()).await.unwrap();
    let rest: Result<Vec<String>, _> = tokio::time::timeout(DEADLINE, lines.try_collect())
        .await
        .unwrap();
    assert!(rest.is_ok(), "a watch ends between two frames");
}

#[tokio::test]
async fn the_command_writes_three_kubeconfigs_and_says_it_is_ready() {
    let dir = std::env::temp_dir().join(format!("demo-{}", object::random_hex(8)));
    let args = DemoArgs {
        dir: dir.clone(),
        port: 0,
    };
    let mut out = Vec::new();
    let start = |settings: ProxySettings| async move {
        assert!(
            settings.certificate_pem.contains("BEGIN CERTIFICATE")
                && settings.key_pem.contains("PRIVATE KEY")
        );
        assert_eq!(settings.ignored_groups, [object_id("capsuleAdminGroup")]);
        Ok((settings.server_url, ()))
    };
    let mut asked = None;
    let stopped = async {
        let text = std::fs::read_to_string(dir.join("bob.kubeconfig")).unwrap();
        let bob = connect(&text).await;
        asked = Some(get(&bob, "/api/v1/namespaces/gas-dev/pods").await.0);
    };
    run(&args, &mut out, start, stopped).await.unwrap();
    assert_eq!(asked, Some(200));
    assert!(
        String::from_utf8(out)
            .unwrap()
            .starts_with("ready: https://127.0.0.1:")
    );
    for name in ["alice", "bob", "admin"] {
        assert!(dir.join(format!("{name}.kubeconfig")).exists());
    }
    std::fs::remove_dir_all(dir).unwrap();
}
