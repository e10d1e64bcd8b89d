//! Cluster-scoped kinds by rules: what Tenants offer, ProxySettings and GlobalProxySettings show, and nothing else.

use std::process::Command;

use http::Method;
use http::StatusCode;
use serde_json::Value;
use serde_json::json;

use crate::harness::eventually;
use crate::harness::http::Answer;
use crate::harness::http::Caller;
use crate::harness::http::Events;
use crate::harness::http::PROTOBUF;
use crate::harness::http::told;
use crate::harness::output;
use crate::harness::people::Person;
use crate::harness::people::Tenant;
use crate::harness::people::unique;
use crate::harness::proxy::Proxy;
use crate::harness::proxy::Setup;
use crate::harness::tool;
use crate::harness::world::Side;
use crate::harness::world::World;

const NODES: &str = "/api/v1/nodes";
pub(crate) const CLASSES: &str = "/apis/storage.k8s.io/v1/storageclasses";
const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
pub(crate) const TENANTS: &str = "/apis/capsule.clastix.io/v1beta2/tenants";
const NAMESPACES: &str = "/api/v1/namespaces";
const GLOBALS: &str = "/apis/capsule.clastix.io/v1beta1/globalproxysettings";

const JSON: &str = "application/json";
const TABLE: &str = "application/json;as=Table;g=meta.k8s.io;v=v1";

/// The forms in which a list can be had. The embedded world has no protobuf.
fn forms(world: &World) -> Vec<String> {
    let mut forms = vec![JSON.to_owned(), TABLE.to_owned()];
    let metadata = "as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    forms.push(format!("{JSON};{metadata}"));
    match world.side {
        Side::Real(_) => forms.extend([PROTOBUF.to_owned(), format!("{PROTOBUF};{metadata}")]),
        Side::Demo(_) => {}
    }
    forms
}

in_both_worlds!(
    an_owner_lists_the_nodes_that_his_tenant_selects,
    nodes_of_two_tenants_are_a_union_and_never_a_crossing,
    a_tenant_without_a_node_selector_has_all_nodes,
    without_list_nothing_is_shown,
    classes_are_allowed_by_name_default_pattern_and_labels,
    volumes_are_the_tenants_by_the_operators_label,
    a_filtered_list_has_no_pages_and_no_counts,
    a_long_list_is_compressed_for_who_asks_and_a_watch_never,
    one_object_is_read_as_himself_first,
    nobody_writes_what_a_rule_shows,
    a_proxy_setting_shows_the_tenant_of_its_namespace,
    rules_of_the_cluster_are_inert_unless_they_are_switched_on,
    rules_of_the_cluster_show_what_they_select,
    a_rule_for_other_kinds_makes_nobody_a_list_of_namespaces,
    a_custom_kind_made_while_it_runs_is_filtered,
    a_rule_for_get_alone_leaves_lists_without_the_object,
    rules_that_cannot_be_read_grant_nothing,
    what_the_reader_may_not_read_is_refused_with_a_warning,
    the_status_of_a_rule_says_whether_it_acts,
    a_watch_shows_what_moves_into_a_rule_and_takes_back_what_moves_out,
    a_watch_that_resumes_knows_what_its_client_holds,
    a_rule_that_is_taken_back_ends_the_watch,
);

in_the_real_world!(
    a_filtered_list_too_long_to_be_held_comes_in_json,
    every_client_of_client_go_lists_the_same,
);

/// Creates a cluster-scoped object with these labels; its name.
pub(crate) async fn labelled(world: &World, kind: &str, labels: Value) -> String {
    let name = format!("o{}", unique());
    let mut object = json!({"kind": kind, "metadata": {"name": name, "labels": labels}});
    let (version, rest) = match kind {
        "Node" => ("v1", json!({})),
        "StorageClass" => (
            "storage.k8s.io/v1",
            json!({"provisioner": "it.example.com/none"}),
        ),
        "IngressClass" => (
            "networking.k8s.io/v1",
            json!({"spec": {"controller": "it.example.com/none"}}),
        ),
        "PriorityClass" => ("scheduling.k8s.io/v1", json!({"value": 7})),
        "RuntimeClass" => ("node.k8s.io/v1", json!({"handler": "none"})),
        "ClusterRole" => ("rbac.authorization.k8s.io/v1", json!({"rules": []})),
        "PersistentVolume" => (
            "v1",
            json!({"spec": {
                "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
                "hostPath": {"path": "/tmp/it"}, "storageClassName": "it-none",
            }}),
        ),
        other => panic!("{other}"),
    };
    object["apiVersion"] = version.into();
    for (part, value) in rest.as_object().unwrap() {
        object[part] = value.clone();
    }
    world.create(&object).await;
    name
}

async fn node(world: &World, pool: &str) -> String {
    labelled(world, "Node", json!({"pool": pool})).await
}

/// A Tenant of `owner` with this `spec` beside its owners, who may list `kinds`.
pub(crate) async fn offering(
    world: &'static World,
    owner: Person,
    kinds: &[&str],
    spec: Value,
) -> Tenant {
    let tenant = world.tenant_of(owner, &["a"]).await;
    let settings: Vec<Value> = kinds
        .iter()
        .map(|kind| json!({"kind": kind, "operations": ["List"]}))
        .collect();
    let owners = json!([{"kind": "User", "name": tenant.owner.name, "proxySettings": settings}]);
    let mut patch = json!({"spec": {"owners": owners}});
    for (part, value) in spec.as_object().unwrap() {
        patch["spec"][part] = value.clone();
    }
    world
        .merge(&format!("{TENANTS}/{}", tenant.name), &patch)
        .await;
    tenant
}

/// Waits until `caller` lists exactly `names` at `path`.
pub(crate) async fn until_listed(caller: &Caller, path: &str, names: &[&String]) -> Answer {
    let mut names: Vec<String> = names.iter().map(|name| (*name).clone()).collect();
    names.sort();
    eventually(|| async {
        let answer = caller.get(path).await;
        if answer.status == StatusCode::OK && answer.names() == names {
            return Ok(answer);
        }
        Err(format!("{names:?} at {path}, not {}", answer.text()))
    })
    .await
}

/// What `person` gets through the proxy and without it is the same refusal.
async fn refused_alike(world: &'static World, person: &Person, caller: &Caller, path: &str) {
    let (through, direct) = (caller.get(path).await, world.direct(person).get(path).await);
    assert_eq!(
        through.status,
        StatusCode::FORBIDDEN,
        "{path}: {}",
        through.text()
    );
    assert_eq!(through.text(), direct.text());
}

async fn an_owner_lists_the_nodes_that_his_tenant_selects(world: &'static World) {
    let pool = format!("p{}", unique());
    let (mine, also) = (node(world, &pool).await, node(world, &pool).await);
    let theirs = node(world, "another").await;
    let selector = json!({"nodeSelector": {"pool": pool}});
    let tenant = offering(world, world.person().await, &["Nodes"], selector).await;
    let caller = world.proxy().await.caller(&tenant.owner);
    until_listed(&caller, NODES, &[&mine, &also]).await;
    let mark = world.mark();
    let list = caller.get(NODES).await;
    assert!(!list.text().contains(&theirs));
    let seen = world.audit(mark, &tenant.owner.name).await;
    let [read] = seen.as_slice() else {
        panic!("{seen:#?}")
    };
    assert_eq!(read.read_for(), Some(tenant.owner.name.as_str()));
    assert!(read.uri.contains("labelSelector=pool"), "{}", read.uri);
    let kubectl = world.proxy().await.kubectl(&tenant.owner);
    let table = kubectl
        .run(&["get", "nodes", "--no-headers", "--sort-by=.metadata.name"])
        .await;
    assert_eq!(table.lines().len(), 2, "{table:?}");
}

async fn nodes_of_two_tenants_are_a_union_and_never_a_crossing(world: &'static World) {
    let (pool, zone) = (format!("p{}", unique()), format!("z{}", unique()));
    let in_pool = labelled(world, "Node", json!({"pool": pool, "disk": "ssd"})).await;
    let in_zone = labelled(world, "Node", json!({"zone": zone})).await;
    let crossing = labelled(world, "Node", json!({"pool": pool, "disk": "hdd"})).await;
    let owner = world.person().await;
    let first = json!({"nodeSelector": {"pool": pool, "disk": "ssd"}});
    let second = json!({"nodeSelector": {"zone": zone}});
    offering(world, owner.clone(), &["Nodes"], first).await;
    offering(world, owner.clone(), &["Nodes"], second).await;
    let caller = world.proxy().await.caller(&owner);
    until_listed(&caller, NODES, &[&in_pool, &in_zone]).await;
    let mark = world.mark();
    caller.get(NODES).await;
    assert_eq!(world.audit(mark, &owner.name).await.len(), 1);
    for media in forms(world) {
        for includes in ["", "?includeObject=None", "?includeObject=Object"] {
            let list = caller
                .clone()
                .accepting(&media)
                .get(&format!("{NODES}{includes}"))
                .await;
            assert_eq!(list.status, StatusCode::OK, "{media}: {}", list.text());
            let text = list.text();
            assert!(
                text.contains(&in_pool) && text.contains(&in_zone),
                "{media}: {text}"
            );
            assert!(!text.contains(&crossing), "{media}: {text}");
        }
    }
    let selected = caller.get(&format!("{NODES}?labelSelector=zone")).await;
    assert_eq!(selected.names(), std::slice::from_ref(&in_zone));
    let by_name = caller
        .get(&format!("{NODES}?fieldSelector=metadata.name%3D{crossing}"))
        .await;
    assert_eq!(by_name.names(), Vec::<String>::new());
    let kubectl = world.proxy().await.kubectl(&owner);
    for arguments in [
        &["get", "nodes", "-o", "name"][..],
        &["get", "nodes", "-o", "name", "--chunk-size=1"],
        &["get", "nodes", "--no-headers", "--sort-by=.metadata.name"],
        &[
            "get",
            "nodes",
            "-o",
            "jsonpath={range .items[*]}{.metadata.name}{\"\\n\"}{end}",
        ],
    ] {
        let ran = kubectl.run(arguments).await;
        assert_eq!(ran.lines().len(), 2, "{arguments:?}: {ran:?}");
    }
    let yaml = kubectl.run(&["get", "nodes", "-o", "yaml"]).await;
    assert!(yaml.out.contains(&in_pool) && !yaml.out.contains(&crossing));
}

async fn a_tenant_without_a_node_selector_has_all_nodes(world: &'static World) {
    let any = node(world, "any").await;
    let tenant = offering(world, world.person().await, &["Nodes"], json!({})).await;
    let caller = world.proxy().await.caller(&tenant.owner);
    eventually(|| async {
        let all = world.admin(Method::GET, NODES, None).await.unwrap();
        let all: Vec<String> = all["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["metadata"]["name"].as_str().unwrap().to_owned())
            .collect();
        let his = caller.get(NODES).await;
        let same = his.status == StatusCode::OK && his.names() == all && all.contains(&any);
        same.then_some(()).ok_or_else(|| his.text())
    })
    .await;
}

async fn without_list_nothing_is_shown(world: &'static World) {
    let pool = format!("p{}", unique());
    node(world, &pool).await;
    let owner = world.person().await;
    let tenant = world.tenant_of(owner.clone(), &["a"]).await;
    let owners = json!([{"kind": "User", "name": owner.name, "proxySettings": [
        {"kind": "Nodes", "operations": ["Update", "Delete"]},
        {"kind": "Secrets", "operations": ["List"]},
    ]}]);
    let patch = json!({"spec": {"owners": owners, "nodeSelector": {"pool": pool}}});
    world
        .merge(&format!("{TENANTS}/{}", tenant.name), &patch)
        .await;
    let caller = world.proxy().await.caller(&owner);
    crate::lists::until_he_sees(&caller, &tenant.namespaces).await;
    for path in [NODES, CLASSES, "/api/v1/persistentvolumes"] {
        refused_alike(world, &owner, &caller, path).await;
    }
}

async fn classes_are_allowed_by_name_default_pattern_and_labels(world: &'static World) {
    let mark = format!("m{}", unique());
    let mut names = Vec::new();
    for (kind, path, field) in [
        ("StorageClass", CLASSES, "storageClasses"),
        (
            "IngressClass",
            "/apis/networking.k8s.io/v1/ingressclasses",
            "ingress",
        ),
        (
            "PriorityClass",
            "/apis/scheduling.k8s.io/v1/priorityclasses",
            "priorityClasses",
        ),
        (
            "RuntimeClass",
            "/apis/node.k8s.io/v1/runtimeclasses",
            "runtimeClasses",
        ),
    ] {
        let mut made = Vec::new();
        for label in ["none", "none", "none", "chosen", "other"] {
            made.push(labelled(world, kind, json!({"it": format!("{mark}-{label}")})).await);
        }
        names.push((path, field, made));
    }
    let allowed = |made: &[String]| {
        json!({
            "allowed": [made[0]], "default": made[1], "allowedRegex": format!("^{}$", made[2]),
            "matchLabels": {"it": format!("{mark}-chosen")},
        })
    };
    let mut spec = json!({});
    for (_, field, made) in &names {
        match *field {
            "ingress" => spec["ingressOptions"] = json!({"allowedClasses": allowed(made)}),
            field => spec[field] = allowed(made),
        }
    }
    let kinds = [
        "StorageClasses",
        "IngressClasses",
        "PriorityClasses",
        "RuntimeClasses",
    ];
    let tenant = offering(world, world.person().await, &kinds, spec).await;
    let caller = world.proxy().await.caller(&tenant.owner);
    for (path, _, made) in &names {
        until_listed(&caller, path, &[&made[0], &made[1], &made[2], &made[3]]).await;
        let own = caller.get(&format!("{path}/{}", made[3])).await;
        assert_eq!(own.status, StatusCode::OK, "{}", own.text());
        refused_alike(
            world,
            &tenant.owner,
            &caller,
            &format!("{path}/{}", made[4]),
        )
        .await;
    }
}

async fn volumes_are_the_tenants_by_the_operators_label(world: &'static World) {
    let owner = world.person().await;
    let tenant = offering(world, owner, &["PersistentVolumes"], json!({})).await;
    let label = |name: &str| json!({"capsule.clastix.io/tenant": name});
    let mine = labelled(world, "PersistentVolume", label(&tenant.name)).await;
    let theirs = labelled(world, "PersistentVolume", label("somebody-elses")).await;
    let caller = world.proxy().await.caller(&tenant.owner);
    let path = "/api/v1/persistentvolumes";
    until_listed(&caller, path, &[&mine]).await;
    refused_alike(world, &tenant.owner, &caller, &format!("{path}/{theirs}")).await;
}

/// Somebody who sees two of three StorageClasses, in a way that no selector can say.
pub(crate) async fn filtered(world: &'static World) -> (Person, Caller, [String; 2], String) {
    let mark = format!("m{}", unique());
    let first = labelled(world, "StorageClass", json!({"it": mark})).await;
    let hidden = labelled(world, "StorageClass", json!({"it": "hidden"})).await;
    let second = labelled(world, "StorageClass", json!({"it": "none"})).await;
    let spec = json!({"storageClasses": {"allowed": [second], "matchLabels": {"it": mark}}});
    let owner = world.person().await;
    offering(world, owner.clone(), &["StorageClasses"], spec).await;
    let caller = world.proxy().await.caller(&owner);
    until_listed(&caller, CLASSES, &[&first, &second]).await;
    (owner, caller, [first, second], hidden)
}

async fn a_filtered_list_has_no_pages_and_no_counts(world: &'static World) {
    let (owner, caller, names, hidden) = filtered(world).await;
    let page = caller.get(&format!("{CLASSES}?limit=1")).await;
    assert_eq!(page.names(), names);
    let metadata = &page.json()["metadata"];
    assert!(
        metadata["continue"].as_str().unwrap_or_default().is_empty(),
        "{metadata}"
    );
    assert!(metadata["remainingItemCount"].is_null(), "{metadata}");
    let kubectl = world.proxy().await.kubectl(&owner);
    let ran = kubectl
        .run(&["get", "sc", "-o", "name", "--chunk-size=1"])
        .await;
    assert_eq!(ran.lines().len(), 2);
    // A token that the API server would understand names an object he may not see.
    let native = world
        .admin(Method::GET, &format!("{CLASSES}?limit=1"), None)
        .await
        .unwrap();
    if let Some(token) = native["metadata"]["continue"]
        .as_str()
        .filter(|it| !it.is_empty())
    {
        let answer = caller
            .get(&format!("{CLASSES}?limit=1&continue={token}"))
            .await;
        assert_eq!(answer.status, StatusCode::GONE);
        assert!(!answer.text().contains(&hidden));
    }
}

async fn a_long_list_is_compressed_for_who_asks_and_a_watch_never(world: &'static World) {
    let (owner, caller, names, hidden) = filtered(world).await;
    for name in names.iter().chain([&hidden]) {
        let annotations = json!({"metadata": {"annotations": {"long": "x".repeat(100_000)}}});
        world
            .merge(&format!("{CLASSES}/{name}"), &annotations)
            .await;
    }
    let asking = caller.clone().saying("accept-encoding", "gzip");
    let packed = asking.get(CLASSES).await;
    assert_eq!(packed.headers["content-encoding"], "gzip");
    assert!(packed.body.len() < 50_000, "{}", packed.body.len());
    let mut unpacked = String::new();
    let mut gzip = flate2::read::GzDecoder::new(packed.body.as_ref());
    std::io::Read::read_to_string(&mut gzip, &mut unpacked).unwrap();
    let plain = caller.get(CLASSES).await;
    assert!(!plain.headers.contains_key("content-encoding"));
    // Its position may have moved in between.
    let unpacked: Value = serde_json::from_str(&unpacked).unwrap();
    assert!(unpacked["items"] == plain.json()["items"]);
    let kubectl = world.proxy().await.kubectl(&owner);
    let ran = kubectl.run(&["get", "sc", "-o", "yaml"]).await;
    assert!(ran.good && ran.out.contains(&names[1]), "{}", ran.errors);
    let mut watch = asking.watch(&format!("{CLASSES}?watch=1")).await;
    assert!(told(&watch.next().await.unwrap()).starts_with("ADDED"));
}

async fn one_object_is_read_as_himself_first(world: &'static World) {
    let (owner, caller, names, hidden) = filtered(world).await;
    for name in &names {
        let mark = world.mark();
        for media in [JSON, TABLE] {
            let one = caller
                .clone()
                .accepting(media)
                .get(&format!("{CLASSES}/{name}"))
                .await;
            assert_eq!(one.status, StatusCode::OK, "{media}: {}", one.text());
            assert!(one.text().contains(name.as_str()));
        }
        let seen = world.audit(mark, &owner.name).await;
        let as_himself: Vec<bool> = seen
            .iter()
            .map(|entry| entry.read_for().is_none())
            .collect();
        assert_eq!(as_himself, [true, false, true, false], "{seen:#?}");
    }
    for name in [hidden.as_str(), "there-is-no-such-class"] {
        refused_alike(world, &owner, &caller, &format!("{CLASSES}/{name}")).await;
    }
}

async fn nobody_writes_what_a_rule_shows(world: &'static World) {
    let (owner, caller, names, _) = filtered(world).await;
    let path = format!("{CLASSES}/{}", names[0]);
    let direct = world.direct(&owner);
    for (method, path) in [
        (Method::DELETE, path.as_str()),
        (Method::DELETE, CLASSES),
        (Method::PUT, &path),
        (Method::POST, CLASSES),
    ] {
        let body = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
            "metadata": {"name": names[0]}, "provisioner": "x"});
        let body = (method != Method::DELETE).then_some(&body);
        let through = caller.call(method.clone(), path, body).await;
        assert_eq!(through.status, StatusCode::FORBIDDEN, "{method} {path}");
        assert_eq!(through.text(), direct.call(method, path, body).await.text());
    }
}

/// A ProxySetting in `namespace` with this `spec`.
async fn proxy_setting(world: &World, namespace: &str, spec: Value) -> String {
    let name = format!("s{}", unique());
    let path = format!("/apis/capsule.clastix.io/v1beta1/namespaces/{namespace}/proxysettings");
    let object = json!({"apiVersion": "capsule.clastix.io/v1beta1", "kind": "ProxySetting",
        "metadata": {"name": name, "namespace": namespace}, "spec": spec});
    world
        .admin(Method::POST, &path, Some(&object))
        .await
        .unwrap();
    format!("{path}/{name}")
}

async fn a_proxy_setting_shows_the_tenant_of_its_namespace(world: &'static World) {
    let pool = format!("p{}", unique());
    let mine = node(world, &pool).await;
    let role = labelled(world, "ClusterRole", json!({"it": pool})).await;
    let tenant = world.tenant(&["a", "b"]).await;
    let patch = json!({"spec": {"nodeSelector": {"pool": pool}}});
    world
        .merge(&format!("{TENANTS}/{}", tenant.name), &patch)
        .await;
    let other = world.tenant(&["a"]).await;
    let member = world.person().await;
    let everything = json!({"apiGroups": ["*"], "resources": ["*"],
        "selector": {"matchExpressions": [{"key": "never-there", "operator": "DoesNotExist"}]}});
    let spec = json!({"subjects": [{"kind": "User", "name": member.name,
        "proxySettings": [{"kind": "Nodes", "operations": ["List"]}],
        "clusterResources": [everything, {"apiGroups": ["rbac.authorization.k8s.io"],
            "resources": ["clusterroles"], "selector": {"matchLabels": {"it": pool}}}]}]});
    let path = proxy_setting(world, &tenant.namespaces[0], spec).await;
    for (proxy, acts) in [
        (world.proxy().await, false),
        (world.proxy_with_rules().await, true),
    ] {
        let caller = proxy.caller(&member);
        crate::lists::until_he_sees(&caller, &tenant.namespaces).await;
        until_listed(&caller, TENANTS, &[&tenant.name]).await;
        refused_alike(
            world,
            &member,
            &caller,
            &format!("{TENANTS}/{}", other.name),
        )
        .await;
        refused_alike(
            world,
            &member,
            &caller,
            &format!("{NAMESPACES}/{}", other.namespaces[0]),
        )
        .await;
        if acts {
            // Where clusterResources act, its rule of everything shows every other kind, and more nodes with it.
            let roles = caller
                .get(&format!("{ROLES}?labelSelector=it%3D{pool}"))
                .await;
            assert_eq!(roles.names(), std::slice::from_ref(&role));
            assert!(caller.get(NODES).await.names().contains(&mine));
        } else {
            until_listed(&caller, NODES, &[&mine]).await;
            refused_alike(world, &member, &caller, ROLES).await;
        }
    }
    world.delete(&path).await;
    let caller = world.proxy().await.caller(&member);
    eventually(|| async {
        let nodes = caller.get(NODES).await;
        (nodes.status == StatusCode::FORBIDDEN)
            .then_some(())
            .ok_or_else(|| nodes.text())
    })
    .await;
    let none: Vec<String> = Vec::new();
    crate::lists::until_he_sees(&caller, &none).await;
}

/// A GlobalProxySettings with one rule for `person`; its path.
async fn global(world: &World, person: &Person, resources: Value) -> String {
    let name = format!("g{}", unique());
    world
        .create(
            &json!({"apiVersion": "capsule.clastix.io/v1beta1", "kind": "GlobalProxySettings",
            "metadata": {"name": name},
            "spec": {"rules": [{"subjects": [{"kind": "User", "name": person.name}],
                "clusterResources": resources}]}}),
        )
        .await;
    format!("{GLOBALS}/{name}")
}

fn rule(group: &str, plural: &str, label: &str) -> Value {
    json!({"apiGroups": [group], "resources": [plural], "selector": {"matchLabels": {"it": label}}})
}

async fn rules_of_the_cluster_are_inert_unless_they_are_switched_on(world: &'static World) {
    let mark = format!("m{}", unique());
    let role = labelled(world, "ClusterRole", json!({"it": mark})).await;
    let person = world.member_of(&[]).await;
    global(world, &person, json!([rule("*", "*", &mark)])).await;
    let acting = world.proxy_with_rules().await.caller(&person);
    until_listed(&acting, ROLES, &[&role]).await;
    let caller = world.proxy().await.caller(&person);
    for path in [ROLES, TENANTS, NAMESPACES] {
        refused_alike(world, &person, &caller, path).await;
    }
}

async fn rules_of_the_cluster_show_what_they_select(world: &'static World) {
    let mark = format!("m{}", unique());
    let role = labelled(world, "ClusterRole", json!({"it": mark})).await;
    let other = labelled(world, "ClusterRole", json!({"it": "other"})).await;
    let tenant = world.tenant(&["a", "b"]).await;
    let labels = json!({"metadata": {"labels": {"it": mark}}});
    world
        .merge(&format!("{NAMESPACES}/{}", tenant.namespaces[1]), &labels)
        .await;
    world
        .merge(&format!("{TENANTS}/{}", tenant.name), &labels)
        .await;
    let person = world.member_of(&[]).await;
    let caller = world.proxy_with_rules().await.caller(&person);
    let path = global(
        world,
        &person,
        json!([
            rule("rbac.authorization.k8s.io/*", "clusterroles", &mark),
            rule("", "namespaces", &mark),
            rule("capsule.*", "*", &mark),
        ]),
    )
    .await;
    until_listed(&caller, ROLES, &[&role]).await;
    until_listed(&caller, NAMESPACES, &[&tenant.namespaces[1]]).await;
    until_listed(&caller, TENANTS, &[&tenant.name]).await;
    for path in [
        format!("{ROLES}/{other}"),
        format!("{NAMESPACES}/{}", tenant.namespaces[0]),
        NODES.to_owned(),
    ] {
        refused_alike(world, &person, &caller, &path).await;
    }
    // A namespace that loses its label is no longer his, one that gains it is.
    world
        .merge(&format!("{NAMESPACES}/{}", tenant.namespaces[0]), &labels)
        .await;
    let none = json!({"metadata": {"labels": {"it": null}}});
    world
        .merge(&format!("{NAMESPACES}/{}", tenant.namespaces[1]), &none)
        .await;
    until_listed(&caller, NAMESPACES, &[&tenant.namespaces[0]]).await;
    world.delete(&path).await;
    eventually(|| async {
        let roles = caller.get(ROLES).await;
        (roles.status == StatusCode::FORBIDDEN)
            .then_some(())
            .ok_or_else(|| roles.text())
    })
    .await;
}

async fn a_rule_for_other_kinds_makes_nobody_a_list_of_namespaces(world: &'static World) {
    let mark = format!("m{}", unique());
    let role = labelled(world, "ClusterRole", json!({"it": mark})).await;
    let person = world.member_of(&[]).await;
    let caller = world.proxy_with_rules().await.caller(&person);
    let roles = rule("rbac.authorization.k8s.io/*", "clusterroles", &mark);
    global(world, &person, json!([roles])).await;
    until_listed(&caller, ROLES, &[&role]).await;
    for path in [NAMESPACES.to_owned(), format!("{NAMESPACES}?watch=1")] {
        refused_alike(world, &person, &caller, &path).await;
    }
}

async fn a_custom_kind_made_while_it_runs_is_filtered(world: &'static World) {
    let widgets = "/apis/it.example.com/v1/widgets";
    let caller_of = world.proxy_with_rules().await;
    world
        .create(&json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "widgets.it.example.com"},
            "spec": {
                "group": "it.example.com", "scope": "Cluster", "conversion": {"strategy": "None"},
                "names": {"kind": "Widget", "listKind": "WidgetList", "plural": "widgets", "singular": "widget"},
                "versions": [{"name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
            },
        }))
        .await;
    eventually(|| async {
        let served = world.admin(Method::GET, widgets, None).await;
        served.map(drop).map_err(|why| why.to_string())
    })
    .await;
    let mark = format!("m{}", unique());
    let mut names = Vec::new();
    for labels in [
        json!({"it": mark}),
        json!({"tier": mark}),
        json!({"tier": "other"}),
    ] {
        let name = format!("o{}", unique());
        let metadata = json!({"name": name, "labels": labels});
        world
            .create(
                &json!({"apiVersion": "it.example.com/v1", "kind": "Widget", "metadata": metadata}),
            )
            .await;
        names.push(name);
    }
    let person = world.member_of(&[]).await;
    let mut tier = rule("it.example.com", "widgets", &mark);
    tier["selector"] = json!({"matchLabels": {"tier": mark}});
    global(
        world,
        &person,
        json!([rule("it.example.com", "*", &mark), tier]),
    )
    .await;
    let caller = caller_of.caller(&person);
    // Of custom resources the list's metadata stands behind its items.
    let list = until_listed(&caller, widgets, &[&names[0], &names[1]]).await;
    assert!(!list.position().is_empty());
    for media in [
        TABLE,
        "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
    ] {
        let list = caller.clone().accepting(media).get(widgets).await;
        let text = list.text();
        assert_eq!(list.status, StatusCode::OK, "{media}: {text}");
        assert!(
            text.contains(&names[0]) && text.contains(&names[1]),
            "{media}: {text}"
        );
        assert!(!text.contains(&names[2]), "{media}: {text}");
    }
    refused_alike(world, &person, &caller, &format!("{widgets}/{}", names[2])).await;
}

async fn a_rule_for_get_alone_leaves_lists_without_the_object(world: &'static World) {
    let mark = format!("m{}", unique());
    let listed = labelled(world, "ClusterRole", json!({"it": format!("{mark}-list")})).await;
    let gettable = labelled(world, "ClusterRole", json!({"it": format!("{mark}-get")})).await;
    let person = world.member_of(&[]).await;
    let mut get = rule("*", "clusterroles", &format!("{mark}-get"));
    get["operations"] = json!(["Get"]);
    let mut list = rule("*", "clusterroles", &format!("{mark}-list"));
    list["operations"] = json!(["List"]);
    global(world, &person, json!([get, list])).await;
    let caller = world.proxy_with_rules().await.caller(&person);
    until_listed(&caller, ROLES, &[&listed]).await;
    for name in [listed, gettable] {
        let one = caller.get(&format!("{ROLES}/{name}")).await;
        assert_eq!(one.status, StatusCode::OK, "{}", one.text());
    }
}

async fn rules_that_cannot_be_read_grant_nothing(world: &'static World) {
    let mark = format!("m{}", unique());
    let role = labelled(world, "ClusterRole", json!({"it": mark})).await;
    labelled(world, "ClusterRole", json!({"it": "other"})).await;
    let person = world.member_of(&[]).await;
    global(world, &person, json!([
        {"apiGroups": ["*"], "resources": ["*"], "selector": {}},
        {"apiGroups": ["*"], "resources": ["*"], "selector": {"matchExpressions": [
            {"key": "it", "operator": "NoSuchOperator", "values": ["x"]}]}},
        {"apiGroups": ["*"], "resources": ["*"], "selector": {"matchLabels": {"it": "no such value"}}},
        rule("*", "clusterroles", &mark),
    ])).await;
    let caller = world.proxy_with_rules().await.caller(&person);
    until_listed(&caller, ROLES, &[&role]).await;
    refused_alike(world, &person, &caller, NODES).await;
}

async fn what_the_reader_may_not_read_is_refused_with_a_warning(world: &'static World) {
    let mark = format!("m{}", unique());
    let role = labelled(world, "ClusterRole", json!({"it": mark})).await;
    let person = world.member_of(&[]).await;
    global(world, &person, json!([rule("*", "*", &mark)])).await;
    let caller = world.proxy_with_rules().await.caller(&person);
    until_listed(&caller, ROLES, &[&role]).await;
    let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    refused_alike(world, &person, &caller, bindings).await;
    let warned = caller.get(bindings).await;
    let warning = warned.headers["warning"].to_str().unwrap();
    assert!(
        warning.contains("clusterrolebindings.rbac.authorization.k8s.io"),
        "{warning}"
    );
    let unwarned = world.proxy().await.caller(&person).get(bindings).await;
    assert!(!unwarned.headers.contains_key("warning"));
}

async fn the_status_of_a_rule_says_whether_it_acts(world: &'static World) {
    // So that its reader may read what the others' may.
    world.proxy_with_rules().await;
    let mut setup = Setup {
        rule_status: true,
        ..Setup::default()
    };
    setup.tenancy.rules.cluster_scoped = true;
    let _proxy = Proxy::start(world, setup).await;
    let person = world.member_of(&[]).await;
    let good = global(
        world,
        &person,
        json!([rule("rbac.authorization.k8s.io", "clusterroles", "x")]),
    )
    .await;
    let wrong = json!([{"apiGroups": ["*"], "resources": ["*"], "selector": {}}]);
    let wrong = global(world, &person, wrong).await;
    let unreadable = json!([rule(
        "rbac.authorization.k8s.io",
        "clusterrolebindings",
        "x"
    )]);
    let unreadable = global(world, &person, unreadable).await;
    let tenant = world.tenant(&["a"]).await;
    let setting = json!({"subjects": [{"kind": "User", "name": person.name,
        "proxySettings": [{"kind": "Nodes", "operations": ["List"]}]}]});
    let setting = proxy_setting(world, &tenant.namespaces[0], setting).await;
    let says = async |path: &str, expected: &str| {
        eventually(|| async {
            let object = world.admin(Method::GET, path, None).await.unwrap();
            let generation = &object["metadata"]["generation"];
            let ready = &object["status"]["conditions"][0];
            let said = format!(
                "{} {} {}",
                ready["status"], ready["reason"], ready["message"]
            );
            let observed = object["status"]["observedGeneration"] == *generation;
            let told = observed && said.replace('"', "").starts_with(expected);
            told.then_some(()).ok_or_else(|| format!("{path}: {said}"))
        })
        .await;
    };
    says(&good, "True Ready all rules act").await;
    says(&setting, "True Ready all rules act").await;
    says(
        &wrong,
        "False InvalidRule grants nothing: spec.rules[0].clusterResources[0].selector",
    )
    .await;
    says(
        &unreadable,
        "False NotReadable the proxy's reader may not get, list and watch clusterrolebindings",
    )
    .await;
    // Made right, it is said to be.
    let spec = json!({"spec": {"rules": [{"subjects": [], "clusterResources": []}]}});
    world.merge(&wrong, &spec).await;
    says(&wrong, "True Ready all rules act").await;
}

/// Puts `object` under the label `it`, or none.
pub(crate) async fn relabel(world: &World, path: &str, name: &str, label: Option<&str>) {
    let patch = json!({"metadata": {"labels": {"it": label}}});
    world.merge(&format!("{path}/{name}"), &patch).await;
}

async fn a_watch_shows_what_moves_into_a_rule_and_takes_back_what_moves_out(world: &'static World) {
    let (_, caller, [first, second], hidden) = filtered(world).await;
    let label = caller.get(&format!("{CLASSES}/{first}")).await.json();
    let label = label["metadata"]["labels"]["it"]
        .as_str()
        .unwrap()
        .to_owned();
    for media in [JSON, TABLE] {
        let watch = format!("{CLASSES}?watch=1");
        let mut watch = caller.clone().accepting(media).watch(&watch).await;
        let name_of = |event: &Value| {
            let object = &event["object"];
            let row = &object["rows"][0]["object"];
            let named = if object["kind"] == "Table" {
                row
            } else {
                object
            };
            let name = named["metadata"]["name"].as_str().unwrap_or_default();
            format!("{} {name}", event["type"].as_str().unwrap())
        };
        let mut shown = Vec::new();
        for _ in 0..2 {
            shown.push(name_of(&watch.next().await.unwrap()));
        }
        shown.sort();
        assert_eq!(shown, [format!("ADDED {first}"), format!("ADDED {second}")]);
        relabel(world, CLASSES, &hidden, Some(&label)).await;
        assert_eq!(
            name_of(&watch.next().await.unwrap()),
            format!("ADDED {hidden}")
        );
        relabel(world, CLASSES, &second, Some("still-by-name")).await;
        relabel(world, CLASSES, &hidden, Some("hidden")).await;
        let gone = watch
            .until(|event| event["type"] == "DELETED")
            .await
            .pop()
            .unwrap();
        assert_eq!(name_of(&gone), format!("DELETED {hidden}"));
        assert!(!gone.to_string().contains("provisioner"), "{gone}");
        let version = &gone["object"]["metadata"]["resourceVersion"];
        assert!(
            version.as_str().is_some_and(|text| !text.is_empty()),
            "{gone}"
        );
    }
}

async fn a_watch_that_resumes_knows_what_its_client_holds(world: &'static World) {
    let (owner, caller, [first, second], hidden) = filtered(world).await;
    let label = caller.get(&format!("{CLASSES}/{first}")).await.json();
    let label = label["metadata"]["labels"]["it"]
        .as_str()
        .unwrap()
        .to_owned();
    // What is listed now is a position from which this replica lets him go on.
    relabel(world, CLASSES, &hidden, Some("stirred")).await;
    let at = caller.get(CLASSES).await.position();
    relabel(world, CLASSES, &first, Some("gone")).await;
    relabel(world, CLASSES, &hidden, Some(&label)).await;
    let mark = world.mark();
    let mut watch = caller
        .watch(&format!(
            "{CLASSES}?watch=1&allowWatchBookmarks=true&resourceVersion={at}"
        ))
        .await;
    let gone = watch.until(|event| told(event).contains(&hidden)).await;
    let gone: Vec<String> = gone.iter().map(told).collect();
    assert_eq!(
        gone,
        [format!("DELETED {first}"), format!("ADDED {hidden}")]
    );
    world.delete(&format!("{CLASSES}/{second}")).await;
    let last = watch
        .until(|event| event["type"] == "DELETED")
        .await
        .pop()
        .unwrap();
    assert_eq!(told(&last), format!("DELETED {second}"));
    let seen = world.audit(mark, &owner.name).await;
    let list = seen.iter().find(|entry| entry.verb == "list").unwrap();
    assert!(
        list.uri.contains("resourceVersionMatch=Exact"),
        "{}",
        list.uri
    );
    assert_eq!(list.read_for(), Some(owner.name.as_str()));
}

async fn a_rule_that_is_taken_back_ends_the_watch(world: &'static World) {
    let (owner, caller, [first, _], _) = filtered(world).await;
    let mut watch = caller
        .watch(&format!("{CLASSES}?watch=1&allowWatchBookmarks=true"))
        .await;
    watch.until(|event| told(event).contains(&first)).await;
    let tenants = world.admin(Method::GET, TENANTS, None).await.unwrap();
    let his = tenants["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|tenant| tenant["spec"]["owners"][0]["name"] == owner.name.as_str());
    let tenant = his.unwrap()["metadata"]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    let patch = json!({"spec": {"owners": [{"kind": "User", "name": owner.name}]}});
    world.merge(&format!("{TENANTS}/{tenant}"), &patch).await;
    let rest = watch.rest().await;
    assert!(
        rest.last().is_some_and(crate::harness::http::is_expired),
        "{rest:?}"
    );
    eventually(|| async {
        let list = caller.get(CLASSES).await;
        (list.status == StatusCode::FORBIDDEN)
            .then_some(())
            .ok_or_else(|| list.text())
    })
    .await;
}

async fn a_filtered_list_too_long_to_be_held_comes_in_json(world: &'static World) {
    let (_, caller, [first, second], hidden) = filtered(world).await;
    let label = caller.get(&format!("{CLASSES}/{first}")).await.json();
    let label = label["metadata"]["labels"]["it"].clone();
    let mut names = vec![first, second];
    for _ in 0..30 {
        let name = labelled(world, "StorageClass", json!({"it": label})).await;
        let long = json!({"metadata": {"annotations": {"long": "x".repeat(200_000)}}});
        world.merge(&format!("{CLASSES}/{name}"), &long).await;
        names.push(name);
    }
    let either = format!("{PROTOBUF},application/json");
    for (accept, query, answered) in [
        (either.as_str(), "", "application/json"),
        (&either, "?fieldSelector=metadata.name%3Dnobody", PROTOBUF),
        // Who takes nothing else gets it, up to a bound.
        (PROTOBUF, "", PROTOBUF),
    ] {
        let list = caller
            .clone()
            .accepting(accept)
            .get(&format!("{CLASSES}{query}"))
            .await;
        assert_eq!(list.status, StatusCode::OK, "{accept}");
        assert_eq!(list.headers["content-type"], answered, "{accept} {query}");
        let text = list.text();
        assert!(
            !query.is_empty() || names.iter().all(|name| text.contains(name)),
            "{accept}"
        );
        assert!(!text.contains(&hidden), "{accept}");
    }
}

async fn every_client_of_client_go_lists_the_same(world: &'static World) {
    let (owner, _, names, _) = filtered(world).await;
    let mut names = names.to_vec();
    names.sort();
    let kubectl = world.proxy().await.kubectl(&owner);
    let binary = tokio::task::spawn_blocking(|| tool("tests/testbed/build"));
    let binary = binary.await.unwrap();
    for kind in ["typed", "dynamic", "metadata"] {
        let mut command = Command::new(&binary);
        command.args([
            "client",
            "list",
            "--resource=storageclasses.storage.k8s.io",
            "--kubeconfig",
        ]);
        command
            .arg(kubectl.kubeconfig())
            .arg(format!("--kind={kind}"));
        let printed = tokio::task::spawn_blocking(move || output(&mut command));
        let printed: Value = serde_json::from_str(&printed.await.unwrap()).unwrap();
        let mut keys: Vec<String> = serde_json::from_value(printed["keys"].clone()).unwrap();
        keys.sort();
        assert_eq!(keys, names, "{kind}");
    }
}
