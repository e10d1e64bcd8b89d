//! Tests of `demo::write`.

use super::*;
use crate::demo::controllers;
use crate::demo::store::Store;
use crate::k8s::names::GroupResource;

fn kind(store: &Store, group: &str, plural: &str, version: &str) -> Kind {
    store
        .read(|state| kinds::resolve(state, &GroupResource::new(group, plural), version))
        .unwrap()
}

struct Fixture {
    store: Store,
    user: User,
}

impl Fixture {
    fn new() -> Self {
        let fixture = Self {
            store: Store::new(),
            user: User::default(),
        };
        fixture.namespace("oil");
        let definition = json!({
            "metadata": {"name": "wells.example.org"},
            "spec": {
                "group": "example.org",
                "scope": "Namespaced",
                "names": {"plural": "wells", "kind": "Well"},
                "versions": [{"name": "v1", "served": true, "subresources": {"status": {}}}],
            },
        });
        fixture
            .create(
                "apiextensions.k8s.io/customresourcedefinitions/v1",
                "",
                definition,
            )
            .unwrap();
        fixture
    }

    fn namespace(&self, name: &str) -> Value {
        self.create("/namespaces/v1", "", json!({"metadata": {"name": name}}))
            .unwrap()
    }

    fn on<T>(
        &self,
        path: &str,
        namespace: &str,
        name: &str,
        write: impl FnOnce(&mut State, &Target<'_>) -> T,
    ) -> T {
        let (path, subresource) = path.split_once('#').unwrap_or((path, ""));
        let mut parts = path.split('/');
        let mut part = || parts.next().unwrap_or("");
        let kind = kind(&self.store, part(), part(), part());
        let target = Target {
            kind: &kind,
            user: &self.user,
            namespace,
            name,
            subresource,
            dry_run: false,
        };
        self.store.write(|state| write(state, &target))
    }

    fn create(&self, path: &str, namespace: &str, body: Value) -> Result<Value, Failure> {
        self.on(path, namespace, "", |state, target| {
            create(state, target, whole(path, body))
        })
    }

    fn update(&self, path: &str, namespace: &str, body: Value) -> Result<Value, Failure> {
        let name = text(&body, "/metadata/name").to_owned();
        self.on(path, namespace, &name, |state, target| {
            update(state, target, whole(path, body))
        })
    }

    fn delete(
        &self,
        path: &str,
        namespace: &str,
        name: &str,
        options: Value,
    ) -> Result<Deleted, Failure> {
        self.on(path, namespace, name, |state, target| {
            delete(state, target, &options)
        })
    }
}

/// A custom resource must say what it is.
fn whole(path: &str, mut body: Value) -> Value {
    if path.starts_with("example.org/") {
        body["apiVersion"] = "example.org/v1".into();
        body["kind"] = "Well".into();
    }
    body
}

const WELLS: &str = "example.org/wells/v1";
const CONFIG: &str = "/configmaps/v1";

#[test]
fn a_namespace_gets_what_the_server_gives_it() {
    let oil = Fixture::new().namespace("gas");
    assert_eq!(
        text(&oil, "/metadata/labels/kubernetes.io~1metadata.name"),
        "gas"
    );
    assert_eq!(text(&oil, "/status/phase"), "Active");
    assert_eq!(items(&oil, "/spec/finalizers"), [Value::from("kubernetes")]);
    assert_eq!(text(&oil, "/metadata/uid").len(), 36);
}

#[test]
fn bodies_that_do_not_fit_are_refused_in_the_servers_words() {
    let fixture = Fixture::new();
    for (path, namespace, body, message) in [
        (
            "/namespaces/v1",
            "",
            json!({"metadata": {"name": "oil"}}),
            r#"namespaces "oil" already exists"#,
        ),
        (
            "/namespaces/v1",
            "",
            json!({"metadata": {"name": "Oil"}}),
            r#"Namespace "Oil" is invalid: metadata.name: Invalid value: "Oil": a lowercase"#,
        ),
        (
            "/namespaces/v1",
            "",
            json!({"metadata": {}}),
            r#"Namespace "" is invalid: metadata.name: Required value: name or generateName is required"#,
        ),
        (
            "/namespaces/v1",
            "",
            json!({"kind": "Pod"}),
            r#"Pod in version "v1" cannot be handled as a Namespace"#,
        ),
        (
            CONFIG,
            "oil",
            json!({"apiVersion": "v2"}),
            r#"ConfigMap in version "v2" cannot be handled as a ConfigMap"#,
        ),
        (
            CONFIG,
            "oil",
            json!({"metadata": {"name": "a", "namespace": "gas"}}),
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        (
            CONFIG,
            "gas",
            json!({"metadata": {"name": "a"}}),
            r#"namespaces "gas" not found"#,
        ),
        (
            CONFIG,
            "oil",
            json!([]),
            "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind",
        ),
    ] {
        let failure = fixture.create(path, namespace, body).unwrap_err();
        assert!(failure.message.starts_with(message), "{}", failure.message);
    }
}

#[test]
fn generated_names_differ_and_secrets_are_encoded() {
    let fixture = Fixture::new();
    let body = || json!({"metadata": {"generateName": "s-"}, "stringData": {"k": "v"}});
    let one = fixture.create("/secrets/v1", "oil", body()).unwrap();
    let two = fixture.create("/secrets/v1", "oil", body()).unwrap();
    assert_ne!(text(&one, "/metadata/name"), text(&two, "/metadata/name"));
    assert_eq!(
        (text(&one, "/data/k"), text(&one, "/type")),
        ("dg==", "Opaque")
    );
}

#[test]
fn updates_compare_versions_and_keep_what_is_the_servers() {
    let fixture = Fixture::new();
    let before = fixture
        .create(
            CONFIG,
            "oil",
            json!({"metadata": {"name": "a"}, "data": {"k": "1"}}),
        )
        .unwrap();
    let mut body = before.clone();
    body["data"]["k"] = "2".into();
    body["metadata"]["uid"] = Value::Null;
    let after = fixture.update(CONFIG, "oil", body.clone()).unwrap();
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
    let failure = fixture.update(CONFIG, "oil", body).unwrap_err();
    assert_eq!((failure.code.as_u16(), failure.reason), (409, "Conflict"));
    let revision = fixture.store.read(State::revision);
    assert_eq!(fixture.update(CONFIG, "oil", after.clone()).unwrap(), after);
    assert_eq!(
        fixture.store.read(State::revision),
        revision,
        "an update that changes nothing is no revision"
    );
}

#[test]
fn a_custom_resource_keeps_spec_and_status_apart_and_counts_generations() {
    let fixture = Fixture::new();
    let well = fixture
        .create(
            WELLS,
            "oil",
            json!({"metadata": {"name": "w"}, "spec": 1, "status": 1}),
        )
        .unwrap();
    assert_eq!(
        (&well["metadata"]["generation"], well.get("status")),
        (&json!(1), None)
    );
    let unconditional = fixture
        .update(WELLS, "oil", json!({"metadata": {"name": "w"}}))
        .unwrap_err();
    assert!(
        unconditional
            .message
            .contains("must be specified for an update"),
        "{}",
        unconditional.message
    );
    let mut body = well;
    body["spec"] = 2.into();
    body["status"] = 2.into();
    let well = fixture.update(WELLS, "oil", body).unwrap();
    assert_eq!(
        (
            &well["metadata"]["generation"],
            &well["spec"],
            well.get("status")
        ),
        (&json!(2), &json!(2), None)
    );
    let mut body = well;
    body["spec"] = 3.into();
    body["status"] = 3.into();
    let well = fixture
        .update("example.org/wells/v1#status", "oil", body)
        .unwrap();
    assert_eq!(
        (
            &well["metadata"]["generation"],
            &well["spec"],
            &well["status"]
        ),
        (&json!(2), &json!(2), &json!(3))
    );
}

#[test]
fn patches_change_apply_makes_and_strategic_is_for_built_in_kinds() {
    let fixture = Fixture::new();
    let patch = |path: &str, style, body: Value| {
        fixture.on(path, "oil", "p", |state, target| {
            apply_patch(state, target, style, &body)
        })
    };
    assert_eq!(
        patch(CONFIG, Style::Merge, json!({}))
            .unwrap_err()
            .code
            .as_u16(),
        404
    );
    let made = patch(
        CONFIG,
        Style::Apply,
        json!({"kind": "ConfigMap", "data": {"a": "1"}}),
    )
    .unwrap();
    assert_eq!(text(&made, "/metadata/name"), "p");
    assert_eq!(
        patch(CONFIG, Style::Strategic, json!({"data": {"b": "2"}})).unwrap()["data"],
        json!({"a": "1", "b": "2"})
    );
    let stale = json!({"metadata": {"resourceVersion": "1"}});
    assert_eq!(
        patch(CONFIG, Style::Merge, stale)
            .unwrap_err()
            .code
            .as_u16(),
        409
    );
    assert_eq!(
        patch(CONFIG, Style::Json, json!([{"op": "remove", "path": "/x"}]))
            .unwrap_err()
            .code
            .as_u16(),
        422
    );
    patch(WELLS, Style::Apply, whole(WELLS, json!({"spec": 1}))).unwrap();
    assert_eq!(
        patch(WELLS, Style::Strategic, json!({"spec": 2}))
            .unwrap_err()
            .code
            .as_u16(),
        415
    );
}

#[test]
fn deletion_waits_for_finalizers_and_minds_preconditions() {
    let fixture = Fixture::new();
    let body = json!({"metadata": {"name": "a", "finalizers": ["example.org/hold"]}});
    let held = fixture.create(CONFIG, "oil", body).unwrap();
    let wrong = json!({"preconditions": {"uid": "other"}});
    assert_eq!(
        fixture
            .delete(CONFIG, "oil", "a", wrong)
            .unwrap_err()
            .code
            .as_u16(),
        409
    );
    assert!(matches!(
        fixture.delete(CONFIG, "oil", "a", Value::Null),
        Ok(Deleted::Terminating(_))
    ));
    let mut released = held;
    released["metadata"]["finalizers"] = json!([]);
    released["metadata"]["resourceVersion"] = Value::Null;
    fixture.update(CONFIG, "oil", released).unwrap();
    assert_eq!(
        fixture
            .delete(CONFIG, "oil", "a", Value::Null)
            .unwrap_err()
            .code
            .as_u16(),
        404
    );
}

#[test]
fn a_namespace_goes_with_everything_in_it_once_nothing_holds() {
    let fixture = Fixture::new();
    let body = json!({"metadata": {"name": "a", "finalizers": ["example.org/hold"]}});
    let mut held = fixture.create(CONFIG, "oil", body).unwrap();
    fixture
        .create("/secrets/v1", "oil", json!({"metadata": {"name": "s"}}))
        .unwrap();
    assert_eq!(
        fixture
            .delete("/namespaces/v1", "", "kube-system", Value::Null)
            .unwrap_err()
            .code
            .as_u16(),
        404
    );
    assert!(matches!(
        fixture.delete("/namespaces/v1", "", "oil", Value::Null),
        Ok(Deleted::Terminating(_))
    ));
    let refused = fixture
        .create("/secrets/v1", "oil", json!({"metadata": {"name": "late"}}))
        .unwrap_err();
    assert!(
        refused.message.contains("because it is being terminated"),
        "{}",
        refused.message
    );
    let left = |plural: &str| {
        fixture
            .store
            .read(|state| state.list(&GroupResource::new("", plural), "").len())
    };
    fixture
        .store
        .write(|state| controllers::reconcile(state, "ca"));
    assert_eq!(
        (left("secrets"), left("configmaps"), left("namespaces")),
        (0, 1, 1)
    );
    held["metadata"]["finalizers"] = json!([]);
    held["metadata"]["resourceVersion"] = Value::Null;
    fixture.update(CONFIG, "oil", held).unwrap();
    fixture
        .store
        .write(|state| controllers::reconcile(state, "ca"));
    assert_eq!((left("configmaps"), left("namespaces")), (0, 0));
}

#[test]
fn a_dry_run_judges_and_stores_nothing() {
    let fixture = Fixture::new();
    let kind = kind(&fixture.store, "", "namespaces", "v1");
    let target = Target {
        kind: &kind,
        user: &fixture.user,
        namespace: "",
        name: "",
        subresource: "",
        dry_run: true,
    };
    let before = fixture.store.read(State::revision);
    fixture
        .store
        .write(|state| create(state, &target, json!({"metadata": {"name": "gas"}})))
        .unwrap();
    let named = Target {
        name: "oil",
        ..target
    };
    fixture
        .store
        .write(|state| delete(state, &named, &Value::Null))
        .unwrap();
    assert_eq!(fixture.store.read(State::revision), before);
}
