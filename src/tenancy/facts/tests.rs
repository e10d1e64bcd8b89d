//! Tests of `tenancy::facts`.

use std::fmt::Write as _;

use serde_json::json;

use super::*;

fn dynamic(value: Value) -> DynamicObject {
    serde_json::from_value(value).unwrap()
}

fn names<'a>(subjects: impl IntoIterator<Item = &'a Subject>) -> String {
    let mut text = String::new();
    for subject in subjects {
        match subject {
            Subject::User(name) => write!(text, " u:{name}").unwrap(),
            Subject::Group(name) => write!(text, " g:{name}").unwrap(),
        }
    }
    text.trim_start().to_owned()
}

fn claims_of(status: &Value) -> (String, usize) {
    let reading = tenant(&dynamic(
        json!({"metadata": {"name": "t", "uid": "t"}, "status": status}),
    ));
    let claims = reading.fact.unwrap().claims;
    let text = claims.iter().map(|claim| match &claim.uid {
        Some(uid) => format!("{}={}", claim.namespace, uid.0),
        None => claim.namespace.to_string(),
    });
    (text.collect::<Vec<_>>().join(" "), reading.rejected.len())
}

#[test]
fn a_tenant_as_the_operator_writes_it_is_read() {
    let reading = tenant(&dynamic(json!({
        "apiVersion": "capsule.clastix.io/v1beta2", "kind": "Tenant",
        "metadata": {"name": "oil", "uid": "t-1", "generation": 3},
        "spec": {"owners": [
            {"kind": "User", "name": "alice", "clusterRoles": ["admin"]},
            {"kind": "ServiceAccount", "name": "system:serviceaccount:ci:bot"},
        ]},
        "status": {
            "state": "Active", "size": 1, "observedGeneration": 3,
            "namespaces": ["oil-dev"], "spaces": [{"name": "oil-dev", "uid": "n-1", "conditions": []}],
            "owners": [{"kind": "Group", "name": "admins"}],
        },
    })));
    assert_eq!(reading.rejected, []);
    let fact = reading.fact.unwrap();
    assert_eq!(
        names(&fact.spec_owners),
        "u:alice u:system:serviceaccount:ci:bot"
    );
    assert_eq!(names(&fact.status_owners), "g:admins");
    assert!(fact.caught_up);
    assert_eq!(fact.claims.len(), 1);
}

#[test]
fn a_status_has_caught_up_only_if_it_says_so() {
    for (generation, observed, expected) in [
        (json!(3), json!(3), true),
        (json!(3), json!(4), true),
        (json!(3), json!(2), false),
        (json!(3), Value::Null, false),
        (json!(3), json!("3"), false),
        (Value::Null, json!(3), false),
    ] {
        let object = json!({
            "metadata": {"name": "t", "uid": "t", "generation": generation.clone()},
            "status": {"observedGeneration": observed.clone()},
        });
        let fact = tenant(&dynamic(object)).fact.unwrap();
        assert_eq!(fact.caught_up, expected, "{observed} of {generation}");
    }
}

#[test]
fn a_uid_of_spaces_wins_over_a_bare_name_and_an_unreadable_one_is_no_name() {
    for (status, expected, rejected) in [
        (json!({}), "", 0),
        (json!({"namespaces": ["b", "a"]}), "a b", 0),
        (
            json!({"namespaces": ["a"], "spaces": [{"name": "a", "uid": "1"}]}),
            "a=1",
            0,
        ),
        (
            json!({"spaces": [{"name": "a"}, {"name": "b", "uid": ""}]}),
            "a b",
            0,
        ),
        (
            json!({"namespaces": ["a", "b"], "spaces": [{"name": "a", "uid": 7}]}),
            "b",
            1,
        ),
        (
            json!({"namespaces": ["a", 7, "../x"], "spaces": "all"}),
            "a",
            3,
        ),
        (json!({"spaces": [{"uid": "1"}, "a"]}), "", 2),
    ] {
        assert_eq!(
            claims_of(&status),
            (expected.to_owned(), rejected),
            "{status}"
        );
    }
}

#[test]
fn bad_owners_cost_themselves_and_a_bad_list_costs_the_list() {
    let owners = |owners: Value| {
        let reading = tenant(&dynamic(
            json!({"metadata": {"name": "t", "uid": "t"}, "spec": {"owners": owners}}),
        ));
        (names(&reading.fact.unwrap().spec_owners), reading.rejected)
    };
    let (kept, rejected) = owners(json!([
        {"kind": "User", "name": "alice"}, {"kind": "Robot", "name": "r2"}, {"name": "bob"}, {"kind": "User", "name": ""}, 7,
    ]));
    assert_eq!(kept, "u:alice");
    assert_eq!(rejected.len(), 4);
    assert_eq!(
        rejected[0].to_string(),
        "/spec/owners is of an unknown kind"
    );
    let (kept, rejected) = owners(json!({"kind": "User", "name": "alice"}));
    assert_eq!((kept.as_str(), rejected.len()), ("", 1));
}

#[test]
fn an_object_without_uid_is_no_fact() {
    assert_eq!(
        tenant(&dynamic(json!({"metadata": {"name": "oil"}}))).fact,
        None
    );
    assert_eq!(
        tenant(&dynamic(json!({"metadata": {"name": "oil", "uid": ""}}))).fact,
        None
    );
}

#[test]
fn a_namespace_refers_to_tenants_by_group_and_kind_and_no_label_counts() {
    let reference = |api: &str, kind: &str, uid: &str| json!({"apiVersion": api, "kind": kind, "name": "oil", "uid": uid});
    let object = serde_json::from_value(json!({
        "metadata": {
            "name": "oil-dev", "uid": "n-1", "creationTimestamp": "2026-01-02T03:04:05Z",
            "deletionTimestamp": "2026-01-02T03:05:05Z",
            "labels": {"capsule.clastix.io/tenant": "gas"},
            "ownerReferences": [
                reference("capsule.clastix.io/v1beta2", "Tenant", "t-1"),
                reference("capsule.clastix.io/v1beta1", "Tenant", "t-2"),
                reference("capsule.clastix.io/v1beta2", "TenantOwner", "t-3"),
                reference("evil.io/v1beta2", "Tenant", "t-4"),
                reference("v1", "Tenant", "t-5"),
            ],
        },
    }));
    let fact = namespace(&object.unwrap()).fact.unwrap();
    assert_eq!(*fact.parents, [Uid::new("t-1"), Uid::new("t-2")]);
    assert_eq!(fact.created.unwrap().to_string(), "2026-01-02T03:04:05Z");
}

#[test]
fn a_role_binding_names_its_subjects_whatever_its_role() {
    let object = serde_json::from_value(json!({
        "metadata": {"name": "view", "namespace": "oil"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "nothing"},
        "subjects": [
            {"kind": "User", "name": "bob", "apiGroup": "rbac.authorization.k8s.io"},
            {"kind": "Group", "name": "devs", "apiGroup": "rbac.authorization.k8s.io"},
            {"kind": "ServiceAccount", "name": "bot", "namespace": "ci"},
            {"kind": "Robot", "name": "r2"},
        ],
    }));
    let reading = binding(&object.unwrap());
    assert_eq!(
        names(&*reading.fact.unwrap().subjects),
        "u:bob u:system:serviceaccount:ci:bot g:devs"
    );
    assert_eq!(reading.rejected.len(), 1);
}

#[test]
fn capsule_users_come_from_the_status_or_else_from_the_spec() {
    let spec = json!({
        "users": [{"kind": "User", "name": "carol"}], "userGroups": ["capsule"], "userNames": ["dave"],
        "ignoreUserWithGroups": ["admins"],
    });
    let users = |status: Value| {
        let reading = configuration(&dynamic(
            json!({"metadata": {}, "spec": spec.clone(), "status": status}),
        ));
        names(&reading.fact.unwrap().users)
    };
    assert_eq!(
        users(json!({"users": [{"kind": "Group", "name": "tenants"}]})),
        "g:tenants"
    );
    assert_eq!(users(json!({})), "u:carol u:dave g:capsule");
    let fact = configuration(&dynamic(json!({"metadata": {}, "spec": spec})))
        .fact
        .unwrap();
    assert_eq!(
        fact.ignored_groups,
        [GroupName::parse("admins").unwrap()].into()
    );
}
