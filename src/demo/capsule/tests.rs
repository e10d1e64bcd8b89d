//! Tests of `demo::capsule`.

use super::*;
use crate::demo::store::Store;

struct Fixture(Store);

impl Fixture {
    fn new(configuration: Value) -> Self {
        let fixture = Self(Store::new());
        let key = Key::new(
            &GroupResource::new(GROUP, "capsuleconfigurations"),
            "",
            "default",
        );
        fixture
            .0
            .write(|state| state.put(&key, json!({"spec": configuration})));
        fixture
    }

    fn tenant(&self, name: &str, owners: Value) {
        let metadata = json!({"name": name, "uid": format!("uid-{name}"), "generation": 1});
        let value = json!({"metadata": metadata, "spec": {"owners": owners}});
        self.0
            .write(|state| state.put(&Key::new(&tenants(), "", name), value));
    }

    /// Creates a namespace as `user`, and says which Tenant it was put into, or the refusal.
    fn create(&self, user: &User, name: &str, labels: Value) -> Result<String, String> {
        let mut value = json!({"metadata": {"name": name, "labels": labels}});
        self.0.write(|state| {
            admission::admit(state, user, None, &mut value).map_err(|failure| failure.message)?;
            state.put(&Key::new(&kinds::namespaces(), "", name), value.clone());
            Ok(text(&value, "/metadata/ownerReferences/0/name").to_owned())
        })
    }

    fn round(&self) {
        self.0.write(reconcile);
    }

    fn tenant_value(&self, name: &str) -> Value {
        self.0.read(|state| {
            state
                .get(&Key::new(&tenants(), "", name))
                .unwrap()
                .value
                .clone()
        })
    }

    fn bindings(&self) -> Vec<String> {
        let listed = self.0.read(|state| state.list(&role_bindings(), ""));
        let said = |object: &Object| {
            let value = &object.value;
            format!(
                "{} {} {}",
                object.namespace(),
                text(value, "/roleRef/name"),
                text(value, "/subjects/0/name")
            )
        };
        let mut bindings: Vec<_> = listed.iter().map(|(_, object)| said(object)).collect();
        bindings.sort();
        bindings
    }
}

fn user(name: &str, groups: &[&str]) -> User {
    User {
        name: name.to_owned(),
        groups: groups.iter().map(|&group| group.to_owned()).collect(),
        ..User::default()
    }
}

fn owner(kind: &str, name: &str) -> Value {
    json!([{"kind": kind, "name": name}])
}

#[test]
fn an_owners_namespace_lands_in_his_tenant_and_others_are_left_alone() {
    let fixture = Fixture::new(
        json!({"userGroups": ["capsule"], "ignoreUserWithGroups": ["admins"], "forceTenantPrefix": true}),
    );
    fixture.tenant("oil", owner("User", "alice"));
    fixture.tenant("gas", owner("Group", "gas-team"));
    fixture.tenant("gas-eu", owner("Group", "gas-team"));
    let alice = user("alice", &["capsule"]);
    let bob = user("bob", &["capsule", "gas-team"]);
    let none = json!({});
    assert_eq!(
        fixture.create(&alice, "oil-dev", none.clone()),
        Ok("oil".to_owned())
    );
    assert_eq!(
        fixture.create(&bob, "gas-eu-dev", none.clone()),
        Ok("gas-eu".to_owned())
    );
    assert_eq!(
        fixture.create(&bob, "gas-eu-x", json!({TENANT_LABEL: "gas"})),
        Ok("gas".to_owned())
    );
    assert_eq!(
        fixture.create(&user("root", &[]), "anything", none.clone()),
        Ok(String::new())
    );
    assert_eq!(
        fixture.create(&user("alice", &["capsule", "admins"]), "else", none.clone()),
        Ok(String::new())
    );
    for (who, name, labels, sentence) in [
        (&alice, "dev", none.clone(), "expected prefix \"oil-\""),
        (
            &alice,
            "gas-dev",
            json!({TENANT_LABEL: "gas"}),
            "Cannot assign the desired namespace to a non-owned Tenant",
        ),
        (
            &bob,
            "dev",
            none.clone(),
            r#"expected prefix "gas-" or "gas-eu-""#,
        ),
        (
            &bob,
            "gas-x",
            json!({TENANT_LABEL: "gas-eu"}),
            r#"expected prefix "gas-eu-""#,
        ),
        (
            &user("carol", &["capsule"]),
            "dev",
            none,
            "You do not have any Tenant assigned",
        ),
    ] {
        let refusal = fixture.create(who, name, labels).unwrap_err();
        assert!(
            refusal.contains(sentence) && refusal.starts_with("admission webhook"),
            "{refusal}"
        );
    }
}

#[test]
fn an_administrator_names_any_tenant_and_an_owner_cannot_move_what_is_his() {
    let fixture = Fixture::new(json!({"userGroups": ["capsule"], "forceTenantPrefix": true}));
    fixture.tenant("oil", owner("User", "alice"));
    fixture.tenant("gas", owner("User", "alice"));
    let root = user("root", &[]);
    assert_eq!(
        fixture.create(&root, "any", json!({TENANT_LABEL: "gas"})),
        Ok("gas".to_owned())
    );
    assert_eq!(
        fixture.create(&root, "other", json!({TENANT_LABEL: "none"})),
        Ok(String::new())
    );
    let before = json!({
        "metadata": {
            "name": "oil-dev",
            "labels": {TENANT_LABEL: "oil"},
            "ownerReferences": [{"apiVersion": "capsule.clastix.io/v1beta2", "kind": "Tenant", "name": "oil", "uid": "uid-oil"}],
        },
    });
    let update = |who: &User, change: fn(&mut Value)| {
        let mut after = before.clone();
        change(&mut after);
        let read = |state: &State| {
            admission::admit(state, who, Some(&before), &mut after)
                .map_err(|failure| failure.message)
        };
        fixture
            .0
            .read(read)
            .map(|()| text(&after, "/metadata/ownerReferences/0/name").to_owned())
    };
    let to_gas = |after: &mut Value| after["metadata"]["labels"][TENANT_LABEL] = "gas".into();
    let out = |after: &mut Value| after["metadata"]["ownerReferences"] = json!([]);
    let note = |after: &mut Value| after["metadata"]["annotations"] = json!({"note": "x"});
    let alice = user("alice", &["capsule"]);
    assert_eq!(update(&alice, note), Ok("oil".to_owned()));
    for change in [to_gas as fn(&mut Value), out] {
        assert!(update(&alice, change).is_err());
    }
    assert_eq!(update(&root, to_gas), Ok("gas".to_owned()));
    assert_eq!(
        update(&root, out),
        Ok(String::new()),
        "an administrator may take a reference away"
    );
}

#[test]
fn without_a_forced_prefix_an_owner_of_several_tenants_must_say_which() {
    let fixture = Fixture::new(json!({"userGroups": ["capsule"]}));
    fixture.tenant("oil", owner("User", "alice"));
    let alice = user("alice", &["capsule"]);
    assert_eq!(
        fixture.create(&alice, "dev", json!({})),
        Ok("oil".to_owned())
    );
    fixture.tenant("gas", owner("User", "alice"));
    assert!(
        fixture
            .create(&alice, "dev2", json!({}))
            .unwrap_err()
            .contains(TENANT_LABEL)
    );
}

#[test]
fn bindings_and_status_follow_and_settle() {
    let fixture = Fixture::new(json!({"userGroups": ["capsule"]}));
    fixture.tenant("oil", owner("User", "alice"));
    fixture
        .create(&user("alice", &["capsule"]), "oil-dev", json!({}))
        .unwrap();
    fixture.round();
    assert_eq!(
        fixture.bindings(),
        [
            "oil-dev admin alice",
            "oil-dev capsule-namespace-deleter alice"
        ]
    );
    let status = &fixture.tenant_value("oil")["status"];
    assert_eq!(
        (&status["namespaces"], &status["size"], &status["state"]),
        (&json!(["oil-dev"]), &json!(1), &json!("Active"))
    );
    assert_eq!(status["spaces"][0]["name"], "oil-dev");
    let settled = fixture.0.read(State::revision);
    fixture.round();
    assert_eq!(
        fixture.0.read(State::revision),
        settled,
        "a second round has nothing to do"
    );
}

#[test]
fn an_owner_who_leaves_loses_his_bindings() {
    let fixture = Fixture::new(json!({"userGroups": ["capsule"]}));
    fixture.tenant("oil", owner("User", "alice"));
    fixture
        .create(&user("alice", &["capsule"]), "oil-dev", json!({}))
        .unwrap();
    fixture.round();
    let account = "system:serviceaccount:ci:robot";
    fixture.0.write(|state| {
        let key = Key::new(&tenants(), "", "oil");
        let mut tenant = state.get(&key).unwrap().value.clone();
        tenant["spec"]["owners"] =
            json!([{"kind": "ServiceAccount", "name": account, "clusterRoles": ["view"]}]);
        state.put(&key, tenant);
    });
    fixture.round();
    assert_eq!(fixture.bindings(), ["oil-dev view robot"]);
    assert_eq!(
        fixture.tenant_value("oil")["status"]["owners"],
        json!([{"kind": "ServiceAccount", "name": account, "clusterRoles": ["view"]}])
    );
}

#[test]
fn the_namespaces_of_a_tenant_that_is_gone_go_too() {
    let fixture = Fixture::new(json!({"userGroups": ["capsule"]}));
    fixture.tenant("oil", owner("User", "alice"));
    fixture
        .create(&user("alice", &["capsule"]), "oil-dev", json!({}))
        .unwrap();
    fixture
        .0
        .write(|state| state.remove(&Key::new(&tenants(), "", "oil")));
    fixture.round();
    let namespace = fixture
        .0
        .read(|state| {
            state
                .get(&Key::new(&kinds::namespaces(), "", "oil-dev"))
                .cloned()
        })
        .unwrap();
    assert!(namespace.is_terminating());
    assert_eq!(text(&namespace.value, "/status/phase"), "Terminating");
}
