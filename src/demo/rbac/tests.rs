//! Tests of `demo::rbac`.

use super::*;
use crate::demo::store::Store;

fn world() -> Store {
    let store = Store::new();
    let put = |plural: &str, namespace: &str, name: &str, mut value: Value| {
        let metadata = json!({"name": name, "namespace": namespace});
        crate::demo::object::object_mut(&mut value).insert("metadata".to_owned(), metadata);
        let key = Key::new(
            &GroupResource::new("rbac.authorization.k8s.io", plural),
            namespace,
            name,
        );
        store.write(|state| state.put(&key, value));
    };
    let role = |rules: Value| json!({"rules": rules});
    let binding = |kind: &str, role: &str, subjects: Value| json!({"roleRef": {"kind": kind, "name": role}, "subjects": subjects});
    put(
        "clusterroles",
        "",
        "pod-reader",
        role(json!([
            {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "pods/log"]},
            {"verbs": ["get"], "nonResourceURLs": ["/healthz", "/api/*"]},
        ])),
    );
    put(
        "clusterroles",
        "",
        "one-secret",
        role(json!([
            {"verbs": ["*"], "apiGroups": ["*"], "resources": ["secrets"], "resourceNames": ["tls"]},
        ])),
    );
    put(
        "roles",
        "oil",
        "scaler",
        role(json!([{"verbs": ["update"], "apiGroups": ["apps"], "resources": ["*/scale"]}])),
    );
    put(
        "clusterrolebindings",
        "",
        "readers",
        binding(
            "ClusterRole",
            "pod-reader",
            json!([{"kind": "Group", "name": "readers"}]),
        ),
    );
    put(
        "rolebindings",
        "oil",
        "alice",
        binding(
            "ClusterRole",
            "one-secret",
            json!([{"kind": "User", "name": "alice"}]),
        ),
    );
    put(
        "rolebindings",
        "oil",
        "robot",
        binding(
            "Role",
            "scaler",
            json!([{"kind": "ServiceAccount", "name": "robot"}]),
        ),
    );
    put(
        "rolebindings",
        "gas",
        "lost",
        binding(
            "ClusterRole",
            "nowhere",
            json!([{"kind": "User", "name": "alice"}]),
        ),
    );
    store
}

fn user(name: &str, groups: &[&str]) -> User {
    User {
        name: name.to_owned(),
        groups: groups.iter().map(|&group| group.to_owned()).collect(),
        ..User::default()
    }
}

#[test]
fn rights_are_what_the_bindings_say() {
    let store = world();
    let reader = user("bob", &["readers"]);
    let alice = user("alice", &[]);
    let robot = User::service_account("oil", "robot", "");
    let namesake = User::service_account("gas", "robot", "");
    let on = Attributes::resource;
    let path = |path: &str| Attributes {
        verb: "get".to_owned(),
        about: About::Path(path.to_owned()),
    };
    for (who, question, allowed) in [
        (&reader, on("list", "", "pods", "", ""), true),
        (&reader, on("list", "", "pods", "oil", ""), true),
        (&reader, on("get", "", "pods/log", "oil", "web"), true),
        (&reader, on("watch", "", "pods", "", ""), false),
        (&reader, on("get", "", "pods/exec", "oil", "web"), false),
        (&reader, on("get", "metrics.k8s.io", "pods", "", ""), false),
        (&reader, path("/healthz"), true),
        (&reader, path("/api/v1"), true),
        (&reader, path("/healthz/etcd"), false),
        (&alice, on("list", "", "pods", "", ""), false),
        (&alice, on("delete", "", "secrets", "oil", "tls"), true),
        (&alice, on("list", "", "secrets", "oil", ""), false),
        (&alice, on("get", "", "secrets", "oil", "other"), false),
        (&alice, on("get", "", "secrets", "gas", "tls"), false),
        (
            &robot,
            on("update", "apps", "deployments/scale", "oil", "web"),
            true,
        ),
        (
            &robot,
            on("update", "apps", "deployments", "oil", "web"),
            false,
        ),
        (
            &namesake,
            on("update", "apps", "deployments/scale", "oil", "web"),
            false,
        ),
        (
            &user("root", &[MASTERS]),
            on("delete", "", "nodes", "", ""),
            true,
        ),
    ] {
        let decision = store.read(|state| decide(state, who, &question));
        assert_eq!(
            decision.allowed, allowed,
            "{} {question:?}: {}",
            who.name, decision.reason
        );
    }
}

#[test]
fn refusals_are_worded_as_the_api_servers() {
    let store = world();
    let alice = user("alice", &[]);
    for (question, message) in [
        (
            Attributes::resource("list", "", "namespaces", "", ""),
            r#"namespaces is forbidden: User "alice" cannot list resource "namespaces" in API group "" at the cluster scope"#,
        ),
        (
            Attributes::resource("get", "", "pods/log", "oil", "web"),
            r#"pods "web" is forbidden: User "alice" cannot get resource "pods/log" in API group "" in the namespace "oil""#,
        ),
        (
            Attributes::resource("get", "apps", "deployments", "gas", "web"),
            r#"deployments.apps "web" is forbidden: User "alice" cannot get resource "deployments" in API group "apps" in the namespace "gas": RBAC: clusterrole.rbac.authorization.k8s.io "nowhere" not found"#,
        ),
        (
            Attributes {
                verb: "get".to_owned(),
                about: About::Path("/metrics".to_owned()),
            },
            r#"forbidden: User "alice" cannot get path "/metrics""#,
        ),
    ] {
        let decision = store.read(|state| decide(state, &alice, &question));
        assert_eq!(
            question.forbidden(&alice, &decision.reason).message,
            message
        );
    }
}
