//! Tests of `demo::seed`.

use super::*;
use crate::demo::rbac;
use crate::demo::rbac::Attributes;
use crate::demo::store::Store;
use crate::demo::user::User;
use crate::reader;

fn planted() -> Store {
    let store = Store::new();
    store.write(|state| Seed::demo().plant(state, "ca"));
    store
}

#[test]
fn the_demo_has_enough_namespaces_and_bob_more_than_alice() {
    let store = planted();
    let all = store.read(|state| state.list(&kinds::namespaces(), "").len());
    assert!(all >= 120, "{all}");
    let tenants = store.read(|state| state.list(&capsule::tenants(), ""));
    assert!(tenants.len() >= 12);
    let of_owner = |kind: &str, name: &str| -> i64 {
        let owns = |tenant: &Value| {
            let owners = crate::demo::object::items(tenant, "/spec/owners");
            owners
                .iter()
                .any(|owner| text(owner, "/kind") == kind && text(owner, "/name") == name)
        };
        let owned = tenants.iter().filter(|(_, tenant)| owns(&tenant.value));
        owned
            .map(|(_, tenant)| tenant.value["status"]["size"].as_i64().unwrap())
            .sum()
    };
    assert_eq!(of_owner("User", ALICE), 3);
    assert_eq!(of_owner("Group", &object_id(BOBS_TEAM)), 13);
}

#[test]
fn the_proxy_and_its_reader_have_the_charts_rights_and_no_others() {
    let store = planted();
    let proxy = User::service_account(PROXY_NAMESPACE, PROXY_ACCOUNT, "").authenticated();
    let reader = User {
        name: reader::USER.to_owned(),
        groups: vec![reader::GROUP.to_owned()],
        ..User::default()
    };
    let alice = User {
        name: ALICE.to_owned(),
        ..User::default()
    }
    .authenticated();
    let on = Attributes::resource;
    for (who, question, allowed) in [
        (
            &proxy,
            on("create", "authentication.k8s.io", "tokenreviews", "", ""),
            true,
        ),
        (
            &proxy,
            on("impersonate", "", "users", "", reader::USER),
            true,
        ),
        (&proxy, on("impersonate", "", "users", "", "admin"), false),
        (
            &proxy,
            on("impersonate", "", "groups", "", "system:masters"),
            false,
        ),
        (
            &proxy,
            on("impersonate", "", "serviceaccounts", "", "default"),
            false,
        ),
        (&proxy, on("list", "", "namespaces", "", ""), false),
        (&proxy, on("list", "", "secrets", "", ""), false),
        (
            &proxy,
            on(
                "patch",
                "capsule.clastix.io",
                "proxysettings/status",
                "oil-dev",
                "x",
            ),
            true,
        ),
        (
            &proxy,
            on(
                "patch",
                "capsule.clastix.io",
                "proxysettings",
                "oil-dev",
                "x",
            ),
            false,
        ),
        (&reader, on("watch", "", "namespaces", "", ""), true),
        (
            &reader,
            on("list", "capsule.clastix.io", "tenants", "", ""),
            true,
        ),
        (
            &reader,
            on("list", "rbac.authorization.k8s.io", "rolebindings", "", ""),
            true,
        ),
        (&reader, on("list", "", "secrets", "", ""), false),
        (&reader, on("create", "", "namespaces", "", ""), false),
        (&alice, on("list", "", "namespaces", "", ""), false),
        (&alice, on("list", "", "pods", "", ""), false),
        (&alice, on("list", "", "pods", "oil-dev", ""), true),
        (
            &alice,
            on("get", "", "namespaces", "oil-dev", "oil-dev"),
            true,
        ),
        (
            &alice,
            on("delete", "", "namespaces", "oil-dev", "oil-dev"),
            true,
        ),
        (&alice, on("list", "", "pods", "gas-dev", ""), false),
        (
            &alice,
            on(
                "create",
                "authorization.k8s.io",
                "selfsubjectaccessreviews",
                "",
                "",
            ),
            true,
        ),
    ] {
        let decision = store.read(|state| rbac::decide(state, who, &question));
        assert_eq!(decision.allowed, allowed, "{} {question:?}", who.name);
    }
}
