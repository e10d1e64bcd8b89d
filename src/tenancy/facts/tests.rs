//! Tests of `tenancy::facts`.

use std::fmt::Write as _;

use serde_json::json;

use super::*;
use crate::tenancy::grant::Grant;
use crate::tenancy::grant::Objects;

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

fn offers_of(spec: &Value) -> (Offers, Vec<String>) {
    let reading = tenant(&dynamic(
        json!({"metadata": {"name": "oil", "uid": "t"}, "spec": spec}),
    ));
    let rejected = reading.rejected.iter().map(ToString::to_string);
    (reading.fact.unwrap().offers, rejected.collect())
}

/// The objects of `kind` that a Tenant of this `spec` offers, each in a word.
fn offered(spec: &Value, kind: ProxyKind) -> Vec<String> {
    let (offers, _) = offers_of(spec);
    let told = |grant: &Grant| match &grant.objects {
        Objects::All => "all".to_owned(),
        Objects::Labelled(selector) => selector.print(),
        Objects::Named(names) => format!("{names:?}").replace("ObjectName", ""),
        Objects::Matching(pattern) => format!("{pattern:?}"),
    };
    offers[&kind].iter().map(told).collect()
}

#[test]
fn what_a_tenant_does_not_say_it_does_not_offer_but_for_nodes() {
    let bare = json!({});
    assert_eq!(offered(&bare, ProxyKind::Nodes), ["all", "all"]);
    assert_eq!(
        offered(&json!({"nodeSelector": {}}), ProxyKind::Nodes),
        ["all", "all"]
    );
    let selected = json!({"nodeSelector": {"pool": "a", "disk": "ssd"}});
    assert_eq!(offered(&selected, ProxyKind::Nodes), ["disk=ssd,pool=a"; 2]);
    for kind in [
        ProxyKind::StorageClasses,
        ProxyKind::IngressClasses,
        ProxyKind::PriorityClasses,
        ProxyKind::RuntimeClasses,
    ] {
        assert_eq!(offered(&bare, kind), [""; 0]);
    }
    assert_eq!(
        offered(&bare, ProxyKind::PersistentVolumes),
        ["capsule.clastix.io/tenant=oil"]
    );
}

#[test]
fn classes_are_offered_by_any_of_what_is_said() {
    let allowed = json!({
        "allowed": ["b", "a"], "default": "c", "allowedRegex": "^x",
        "matchLabels": {"k": "v"}, "matchExpressions": [{"key": "l", "operator": "Exists"}],
    });
    let expected = [
        r#"{("a"), ("b"), ("c")}"#,
        r#"NamePattern(Regex("^x"))"#,
        "k=v,l",
    ];
    for (spec, kind) in [
        (
            json!({"storageClasses": allowed}),
            ProxyKind::StorageClasses,
        ),
        (
            json!({"priorityClasses": allowed}),
            ProxyKind::PriorityClasses,
        ),
        (
            json!({"runtimeClasses": allowed}),
            ProxyKind::RuntimeClasses,
        ),
        (
            json!({"ingressOptions": {"allowedClasses": allowed}}),
            ProxyKind::IngressClasses,
        ),
    ] {
        assert_eq!(offered(&spec, kind), expected);
    }
    let nothing = json!({"storageClasses": {"allowed": [], "allowedRegex": "", "default": "", "matchLabels": {}}});
    assert_eq!(offered(&nothing, ProxyKind::StorageClasses), [""; 0]);
}

#[test]
fn what_of_a_tenants_offers_cannot_be_read_is_not_offered_and_named() {
    for (spec, kind, left, rejected) in [
        (
            json!({"nodeSelector": ["a"]}),
            ProxyKind::Nodes,
            None,
            "/spec/nodeSelector is of the wrong type",
        ),
        (
            json!({"nodeSelector": {"a": 1}}),
            ProxyKind::Nodes,
            None,
            "/spec/nodeSelector has a label that is no string",
        ),
        (
            json!({"storageClasses": {"allowed": ["a"], "allowedRegex": "("}}),
            ProxyKind::StorageClasses,
            Some(1),
            "/spec/storageClasses/allowedRegex is no usable regular expression",
        ),
        (
            json!({"storageClasses": {"allowed": ["a/b", "c"]}}),
            ProxyKind::StorageClasses,
            Some(1),
            "/spec/storageClasses/allowed is no name",
        ),
        (
            json!({"storageClasses": "fast"}),
            ProxyKind::StorageClasses,
            Some(0),
            "/spec/storageClasses is of the wrong type",
        ),
        (
            json!({"storageClasses": {"matchExpressions": [{"key": "a", "operator": "Like"}]}}),
            ProxyKind::StorageClasses,
            Some(0),
            "/spec/storageClasses/matchLabels has an unknown operator",
        ),
    ] {
        let (offers, said) = offers_of(&spec);
        assert_eq!(offers.get(&kind).map(|grants| grants.len()), left, "{spec}");
        assert_eq!(said, [rejected]);
    }
}

#[test]
fn owners_list_the_kinds_that_say_list() {
    let reading = tenant(&dynamic(json!({
        "metadata": {"name": "oil", "uid": "t"},
        "spec": {"owners": [
            {"kind": "User", "name": "alice", "proxySettings": [
                {"kind": "Nodes", "operations": ["List", "Update"]},
                {"kind": "StorageClasses", "operations": ["Update", "Delete"]},
                {"kind": "Secrets", "operations": ["List"]},
                {"kind": "Nodes"},
            ]},
            {"kind": "User", "name": "alice", "proxySettings": [{"kind": "PersistentVolumes", "operations": ["List"]}]},
            {"kind": "Robot", "name": "x", "proxySettings": [{"kind": "Nodes", "operations": ["List"]}]},
            {"kind": "Group", "name": "devs"},
        ]},
    })));
    let fact = reading.fact.unwrap();
    let alice = Subject::of_capsule("User", "alice").unwrap();
    assert_eq!(
        fact.listed,
        [(
            alice,
            [ProxyKind::Nodes, ProxyKind::PersistentVolumes].into()
        )]
        .into()
    );
    let rejected: Vec<String> = reading.rejected.iter().map(ToString::to_string).collect();
    assert_eq!(
        rejected,
        [
            "spec.owners[0].proxySettings[2] names an unknown kind",
            "spec.owners[0].proxySettings[3] is of the wrong type",
            "/spec/owners is of an unknown kind",
        ]
    );
}

#[test]
fn a_rule_is_read_whole_or_not_at_all() {
    let rule = |part: &str, value: Value| {
        let mut rule = json!({"apiGroups": ["", "apps/*"], "resources": ["nodes", "*"],
            "selector": {"matchLabels": {"a": "b"}}});
        rule[part] = value;
        let object = json!({"metadata": {"name": "g"}, "spec": {"rules": [{
            "subjects": [{"kind": "User", "name": "alice"}, {"kind": "User", "name": ""}],
            "clusterResources": [rule]}]}});
        let reading = global(&dynamic(object));
        let fact = reading.fact.unwrap();
        assert_eq!(names(&fact.rules[0].subjects), "u:alice");
        let said: Vec<String> = reading.rejected.iter().map(ToString::to_string).collect();
        let (subject, rest) = said.split_first().unwrap();
        assert_eq!(subject, "spec.rules[0].subjects[1] is empty");
        (
            fact.rules[0]
                .grants
                .iter()
                .map(|grant| grant.lists)
                .collect::<Vec<_>>(),
            rest.join(", "),
        )
    };
    assert_eq!(rule("operations", Value::Null), (vec![true], String::new()));
    assert_eq!(rule("operations", json!([])), (vec![true], String::new()));
    assert_eq!(
        rule("operations", json!(["List"])),
        (vec![true], String::new())
    );
    assert_eq!(
        rule("operations", json!(["Get", "Update"])),
        (vec![false], String::new())
    );
    for (part, value, why) in [
        (
            "operations",
            json!(["Update"]),
            "operations has neither List nor Get",
        ),
        (
            "operations",
            json!("List"),
            "operations is of the wrong type",
        ),
        ("apiGroups", json!("apps"), "apiGroups is of the wrong type"),
        ("apiGroups", json!([1]), "apiGroups is of the wrong type"),
        ("resources", Value::Null, "resources is of the wrong type"),
        (
            "selector",
            json!({}),
            "selector is empty and selects nothing",
        ),
        ("selector", Value::Null, "selector is no object"),
        (
            "selector",
            json!({"matchLabels": {"a b": "c"}}),
            "selector has a bad key",
        ),
    ] {
        let (grants, said) = rule(part, value);
        assert_eq!(grants, [true; 0], "{part}: {said}");
        let expected = format!("spec.rules[0].clusterResources[0].{why}");
        assert!(said.starts_with(&expected), "{said}, not {expected}");
    }
}

#[test]
fn a_proxy_setting_is_read_for_each_of_its_subjects() {
    let reading = setting(&dynamic(json!({
        "metadata": {"name": "s", "namespace": "oil-dev"},
        "spec": {"subjects": [
            {"kind": "ServiceAccount", "name": "system:serviceaccount:ci:bot",
                "proxySettings": [{"kind": "RuntimeClasses", "operations": ["List"]}],
                "clusterResources": [{"apiGroups": ["*"], "resources": ["*"],
                    "selector": {"matchLabels": {"a": "b"}}}]},
            {"kind": "ServiceAccount", "name": "bot"},
        ]},
    })));
    let fact = reading.fact.unwrap();
    assert_eq!(
        (fact.namespace.as_str(), fact.name.as_str()),
        ("oil-dev", "s")
    );
    let [bot] = fact.subjects.as_slice() else {
        panic!("{fact:?}")
    };
    assert_eq!(names([&bot.subject]), "u:system:serviceaccount:ci:bot");
    assert_eq!(bot.listed, [ProxyKind::RuntimeClasses].into());
    // Whoever may write in one namespace gives no sight of other namespaces and Tenants.
    let namespaces = crate::k8s::names::GroupResource::new("", "namespaces");
    let nodes = crate::k8s::names::GroupResource::new("", "nodes");
    assert!(!bot.grants[0].covers(&namespaces, "v1") && bot.grants[0].covers(&nodes, "v1"));
    assert_eq!(reading.rejected.len(), 1);
    assert_eq!(
        reading.rejected[0].to_string(),
        "spec.subjects[1] is no service account's name"
    );
}
