//! The feeds against a small API server that lists and watches over real HTTP.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::cluster::Cluster;
use crate::clock::Clock;
use crate::identity::AuthenticatorId;
use crate::identity::Extra;
use crate::identity::GroupName;
use crate::identity::Identity;
use crate::identity::Proof;
use crate::identity::UpstreamMode;
use crate::identity::UserName;
use crate::k8s::names::GroupResource;
use crate::k8s::names::Namespace;
use crate::reader;
use crate::reader::Reader;
use crate::ready::Readiness;
use crate::tenancy::Freshness;
use crate::tenancy::Presence;
use crate::tenancy::Settings;
use crate::tenancy::Tenancy;
use crate::tenancy::event::Source;
use crate::tenancy::scope::Standing;

mod cluster;

const TENANTS: &str = "/apis/capsule.clastix.io/v1beta2/tenants";
const OLD_TENANTS: &str = "/apis/capsule.clastix.io/v1beta1/tenants";
const CONFIGURATIONS: &str = "/apis/capsule.clastix.io/v1beta2/capsuleconfigurations";
const NAMESPACES: &str = "/api/v1/namespaces";
const ROLE_BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/rolebindings";
/// Longer than any wait of a test that passes.
const LONG: Duration = Duration::from_secs(30);

/// A tenancy that follows `cluster`.
struct World {
    cluster: Cluster,
    tenancy: Tenancy,
    reader: Reader,
    readiness: Readiness,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl World {
    async fn following(cluster: Cluster) -> Self {
        let tasks = TaskTracker::new();
        let stop = CancellationToken::new();
        let address = cluster.serve(&tasks, stop.clone()).await;
        let config = kube::Config::new(format!("http://{address}").parse().unwrap());
        let reader = Reader::new(config).unwrap();
        let tenancy = Tenancy::new(Settings::default(), Clock::system());
        let readiness = Readiness::new();
        tasks.spawn(
            tenancy
                .clone()
                .run(reader.client().clone(), &readiness, stop.clone()),
        );
        Self {
            cluster,
            tenancy,
            reader,
            readiness,
            stop,
            tasks,
        }
    }

    async fn ready(&self) {
        tokio::time::timeout(LONG, self.readiness.ready())
            .await
            .expect("complete lists");
    }

    async fn end(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

fn identity(user: &str, groups: &[&str]) -> Arc<Identity> {
    Arc::new(Identity::new(Proof {
        user: UserName::parse(user).unwrap(),
        groups: Ok(groups
            .iter()
            .map(|group| GroupName::parse(group).unwrap())
            .collect()),
        uid: None,
        extra: Extra::new(),
        expires: None,
        by: AuthenticatorId::new("test"),
        upstream: UpstreamMode::Token,
    }))
}

fn text(presence: &Presence) -> String {
    match &presence.scope().standing {
        Standing::Ignored => "ignored".to_owned(),
        Standing::Stranger => "stranger".to_owned(),
        Standing::Member(visible) => {
            let names: Vec<&str> = visible.namespaces.iter().map(Namespace::as_str).collect();
            format!("[{}]", names.join(" "))
        }
    }
}

/// Waits until `presence` sees `expected`.
async fn sees(presence: &mut Presence, expected: &str) {
    let wait = async {
        while text(presence) != expected {
            presence.changed().await;
        }
    };
    if tokio::time::timeout(LONG, wait).await.is_err() {
        panic!("sees {} instead of {expected}", text(presence));
    }
}

fn tenant(name: &str, owner: &str, namespaces: &[&str]) -> Value {
    json!({
        "apiVersion": "capsule.clastix.io/v1beta2", "kind": "Tenant",
        "metadata": {"name": name, "uid": format!("uid-{name}"), "generation": 1},
        "spec": {"owners": [{"kind": "User", "name": owner}]},
        "status": {"namespaces": namespaces, "observedGeneration": 1},
    })
}

fn namespace(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": name, "uid": format!("uid-{name}"), "creationTimestamp": "2020-01-02T03:04:05Z"},
    })
}

fn role_binding(namespace: &str, user: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "view", "namespace": namespace, "uid": "rb"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    })
}

/// A cluster with Capsule: Tenant `oil` of alice with `a`, and a namespace `b`.
fn oil() -> Cluster {
    let cluster = Cluster::new(&[TENANTS, CONFIGURATIONS, NAMESPACES, ROLE_BINDINGS]);
    cluster.put(TENANTS, tenant("oil", "alice", &["a"]));
    cluster.put(NAMESPACES, namespace("a"));
    cluster.put(NAMESPACES, namespace("b"));
    cluster
}

#[tokio::test]
async fn what_is_listed_is_known_before_it_is_ready_and_what_changes_arrives() {
    let world = World::following(oil()).await;
    assert_eq!(world.readiness.pending().len(), 6);
    world.ready().await;
    let mut alice = world.tenancy.present(&identity("alice", &[]));
    assert_eq!(text(&alice), "[a]");
    let mut bob = world.tenancy.present(&identity("bob", &[]));
    world.cluster.put(ROLE_BINDINGS, role_binding("b", "bob"));
    sees(&mut bob, "[b]").await;
    world.cluster.delete(ROLE_BINDINGS, "b/view");
    sees(&mut bob, "stranger").await;
    world
        .cluster
        .put(TENANTS, tenant("oil", "alice", &["a", "b"]));
    sees(&mut alice, "[a b]").await;
    world
        .cluster
        .put(TENANTS, tenant("oil", "bob", &["a", "b"]));
    sees(&mut alice, "stranger").await;
    sees(&mut bob, "[a b]").await;
    world.cluster.delete(NAMESPACES, "a");
    sees(&mut bob, "[b]").await;
    world.end().await;
}

#[tokio::test]
async fn every_request_is_the_readers() {
    let world = World::following(oil()).await;
    world.ready().await;
    let position = world
        .reader
        .position(&GroupResource::new("", "namespaces"), "v1")
        .await
        .unwrap();
    assert_eq!(&*position.0, world.cluster.version(NAMESPACES));
    world
        .reader
        .position(
            &GroupResource::new("capsule.clastix.io", "tenants"),
            "v1beta2",
        )
        .await
        .unwrap();
    world
        .reader
        .position(&GroupResource::new("", "nodes"), "v1")
        .await
        .unwrap_err();
    let requests = world.cluster.requests();
    assert!(
        requests.len() >= 7,
        "four lists and three positions at least: {requests:?}"
    );
    for request in requests {
        assert_eq!(request.user, reader::USER, "{}", request.target);
        assert_eq!(request.groups, [reader::GROUP], "{}", request.target);
    }
    world.end().await;
}

#[tokio::test]
async fn a_watch_that_ends_goes_on_where_it_was_and_lists_nothing_anew() {
    let world = World::following(oil()).await;
    world.ready().await;
    let mut alice = world.tenancy.present(&identity("alice", &[]));
    world
        .cluster
        .put(TENANTS, tenant("oil", "alice", &["a", "b"]));
    sees(&mut alice, "[a b]").await;
    world.cluster.end_watches(TENANTS);
    world.cluster.put(TENANTS, tenant("oil", "alice", &["b"]));
    sees(&mut alice, "[b]").await;
    let lists = world.cluster.requests();
    let lists = lists
        .iter()
        .filter(|request| request.target.starts_with(TENANTS) && !request.target.contains("watch"));
    assert_eq!(lists.count(), 1);
    world.end().await;
}

#[tokio::test]
async fn a_position_that_is_gone_means_a_new_list_and_what_was_missed_is_taken_back() {
    let world = World::following(oil()).await;
    world.ready().await;
    let mut alice = world.tenancy.present(&identity("alice", &[]));
    assert_eq!(text(&alice), "[a]");
    world.cluster.delete_and_compact(TENANTS, "oil");
    sees(&mut alice, "stranger").await;
    world.end().await;
}

#[tokio::test]
async fn without_capsule_it_is_ready_and_capsule_may_come_later() {
    let cluster = Cluster::new(&[NAMESPACES, ROLE_BINDINGS]);
    cluster.put(NAMESPACES, namespace("a"));
    cluster.put(ROLE_BINDINGS, role_binding("a", "bob"));
    let world = World::following(cluster).await;
    world.ready().await;
    let mut alice = world.tenancy.present(&identity("alice", &["tenants"]));
    assert_eq!(text(&world.tenancy.present(&identity("bob", &[]))), "[a]");
    assert_eq!(text(&alice), "stranger");
    world.cluster.serve_kind(CONFIGURATIONS);
    world.cluster.put(
        CONFIGURATIONS,
        json!({"metadata": {"name": "default", "uid": "c"}, "status": {"users": [{"kind": "Group", "name": "tenants"}]}}),
    );
    sees(&mut alice, "[]").await;
    world.cluster.serve_kind(TENANTS);
    world.cluster.put(TENANTS, tenant("oil", "alice", &["a"]));
    sees(&mut alice, "[a]").await;
    world.end().await;
}

#[tokio::test]
async fn an_older_operator_serves_an_older_version() {
    let cluster = Cluster::new(&[OLD_TENANTS, CONFIGURATIONS, NAMESPACES, ROLE_BINDINGS]);
    cluster.put(OLD_TENANTS, tenant("oil", "alice", &["a"]));
    cluster.put(NAMESPACES, namespace("a"));
    let world = World::following(cluster).await;
    world.ready().await;
    assert_eq!(text(&world.tenancy.present(&identity("alice", &[]))), "[a]");
    world.end().await;
}

#[tokio::test]
async fn an_object_that_can_no_longer_be_read_grants_nothing_and_is_counted() {
    let world = World::following(oil()).await;
    world.ready().await;
    let mut alice = world.tenancy.present(&identity("alice", &[]));
    assert_eq!(text(&alice), "[a]");
    let mut bad = tenant("oil", "alice", &["a"]);
    bad["spec"]["owners"] = json!("alice");
    world.cluster.put(TENANTS, bad);
    sees(&mut alice, "stranger").await;
    assert_eq!(world.tenancy.sources().rejected(Source::Tenants), 1);
    world.end().await;
}

#[tokio::test]
async fn a_source_that_is_forbidden_keeps_it_unready() {
    let cluster = oil();
    cluster.forbid(ROLE_BINDINGS);
    let world = World::following(cluster).await;
    let others = async {
        while world.readiness.pending() != ["informer rolebindings"] {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, others)
        .await
        .expect("the other three");
    world.cluster.serve_kind(ROLE_BINDINGS);
    world.ready().await;
    world.end().await;
}

/// Lets tasks and sockets work until `done`, without the (paused) clock moving.
async fn until(what: &str, done: impl Fn() -> bool) {
    let begin = std::time::Instant::now();
    while !done() {
        assert!(begin.elapsed() < LONG, "{what}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_quiet_source_shows_that_it_lives_and_a_dead_connection_is_opened_anew() {
    let world = World::following(oil()).await;
    until("complete lists", || world.readiness.is_ready()).await;
    let watches = || {
        let requests = world.cluster.requests();
        let watches = requests
            .iter()
            .filter(|request| request.target.contains("watch=true"));
        assert!(
            watches
                .clone()
                .all(|request| request.target.contains("timeoutSeconds=60"))
        );
        watches.count()
    };
    // This API server forgets to end its watches, as one does that was unplugged.
    let begin = std::time::Instant::now();
    while watches() < 16 {
        assert!(begin.elapsed() < LONG, "each source is watched four times");
        assert!(
            world.readiness.is_ready(),
            "silent for {:?}",
            world.tenancy.age()
        );
        tokio::time::advance(Duration::from_secs(1)).await;
        until("what is due is done", || {
            world
                .tenancy
                .age()
                .iter()
                .all(|(_, age)| *age < Duration::from_secs(80))
        })
        .await;
    }
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_no_longer_answers_makes_it_unready_and_what_is_known_is_kept() {
    let world = World::following(oil()).await;
    until("complete lists", || world.readiness.is_ready()).await;
    let alice = world.tenancy.present(&identity("alice", &[]));
    for path in [TENANTS, CONFIGURATIONS, NAMESPACES, ROLE_BINDINGS] {
        world.cluster.forbid(path);
        world.cluster.end_watches(path);
    }
    for _ in 0..13 {
        tokio::time::advance(Duration::from_secs(10)).await;
        tokio::task::yield_now().await;
    }
    until("unready", || {
        world.readiness.pending() == ["contact with the API server"]
    })
    .await;
    assert_eq!(world.tenancy.freshness(), Freshness::Unready);
    assert_eq!(text(&alice), "[a]");
    for path in [TENANTS, CONFIGURATIONS, NAMESPACES, ROLE_BINDINGS] {
        world.cluster.serve_kind(path);
    }
    let begin = std::time::Instant::now();
    while !world.readiness.is_ready() {
        assert!(begin.elapsed() < LONG, "contact again");
        tokio::time::advance(Duration::from_secs(1)).await;
        tokio::task::yield_now().await;
    }
    world.end().await;
}
