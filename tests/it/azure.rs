//! A cluster whose API server leaves tokens and rights to Azure's webhooks, as AKS with Entra ID and Azure RBAC does.

use http::Method;
use http::StatusCode;
use serde_json::Value;
use serde_json::json;
use tokio::sync::OnceCell;

use crate::harness;
use crate::harness::bed::Bed;
use crate::harness::eventually;
use crate::harness::people::Person;
use crate::harness::people::unique;
use crate::harness::proxy::Mode;
use crate::harness::world::World;
use crate::lists::until_he_sees;

const NAMESPACES: &str = "/api/v1/namespaces";
const REFUSED: &str =
    "User does not have access to the resource in Azure. Update role assignment to allow access.";

macro_rules! on_azure {
    ($($name:ident),+ $(,)?) => {
        mod azure_only {
            $(#[test]
            fn $name() {
                super::harness::run(async { super::$name(super::azure().await).await });
            })+
        }
    };
}

on_azure!(
    azures_refusal_comes_word_for_word,
    a_group_that_a_token_has_no_room_for_owns_all_the_same,
    two_hundred_groups_are_no_burden,
    a_guest_with_an_owners_name_is_not_the_owner,
    a_role_assignment_counts_in_both_ways_upstream,
);

async fn azure() -> &'static World {
    static AZURE: OnceCell<World> = OnceCell::const_new();
    AZURE
        .get_or_init(|| async {
            let bed = tokio::task::spawn_blocking(|| Bed::start(&["--azure"]));
            World::of_bed(bed.await.unwrap()).await
        })
        .await
}

/// One of the directory's cast, with what his token says.
async fn persona(world: &World, name: &str) -> (Person, Value) {
    let minted = world
        .directory("/control/mint", json!({"persona": name}))
        .await;
    let claims = minted["claims"].clone();
    let name = ["upn", "oid"]
        .iter()
        .find_map(|claim| claims[*claim].as_str());
    let person = Person {
        name: name.unwrap().to_owned(),
        token: minted["token"].as_str().unwrap().to_owned(),
    };
    (person, claims)
}

/// The group of the dev tenant's owners: the first in its owner's token.
async fn dev_group(world: &World) -> String {
    let (_, claims) = persona(world, "capsule-user-dev").await;
    claims["groups"][0].as_str().unwrap().to_owned()
}

/// A Tenant of the dev group, with one namespace.
async fn tenant_of_the_group(world: &'static World) -> Vec<String> {
    static MADE: OnceCell<Vec<String>> = OnceCell::const_new();
    MADE.get_or_init(|| async {
        let group = dev_group(world).await;
        let nobody = world.person().await;
        let mut tenant = world.tenant_of(nobody, &[]).await;
        let owners = json!({"spec": {"owners": [{"kind": "Group", "name": group}]}});
        let path = format!("/apis/capsule.clastix.io/v1beta2/tenants/{}", tenant.name);
        world.merge(&path, &owners).await;
        let made = world.namespace_in(&tenant, "demo").await;
        tenant.namespaces.push(made);
        tenant.namespaces
    })
    .await
    .clone()
}

async fn azures_refusal_comes_word_for_word(world: &'static World) {
    let namespaces = tenant_of_the_group(world).await;
    let (owner, _) = persona(world, "groups-5").await;
    let (stranger, _) = persona(world, "stranger").await;
    let proxy = world.proxy().await;
    until_he_sees(&proxy.caller(&owner), &namespaces).await;
    for (who, path) in [
        (&owner, "/api/v1/namespaces/default/pods"),
        (&owner, "/api/v1/namespaces/kube-system"),
        (&owner, "/api/v1/nodes"),
        (&stranger, NAMESPACES),
        (&stranger, "/api/v1/namespaces/default/pods"),
    ] {
        let (through, direct) = (
            proxy.caller(who).get(path).await,
            world.direct(who).get(path).await,
        );
        assert_eq!(through.status, StatusCode::FORBIDDEN, "{path}");
        assert!(through.text().contains(REFUSED), "{}", through.text());
        assert_eq!(through.text(), direct.text(), "{path}");
    }
    let kubectl = proxy.kubectl(&owner);
    let pods = kubectl.run(&["get", "po", "-n", "default"]).await;
    assert!(!pods.good && pods.errors.contains(REFUSED), "{pods:?}");
    let listed = kubectl.run(&["get", "ns", "-o", "name"]).await;
    assert_eq!(listed.lines(), [format!("namespace/{}", namespaces[0])]);
}

async fn a_group_that_a_token_has_no_room_for_owns_all_the_same(world: &'static World) {
    let namespaces = tenant_of_the_group(world).await;
    let (owner, claims) = persona(world, "overage").await;
    assert!(
        claims["groups"].is_null(),
        "the token says its groups: {claims}"
    );
    for mode in [Mode::Token, Mode::Impersonate] {
        let proxy = world.proxy_in(mode).await;
        until_he_sees(&proxy.caller(&owner), &namespaces).await;
    }
}

async fn two_hundred_groups_are_no_burden(world: &'static World) {
    let namespaces = tenant_of_the_group(world).await;
    let (owner, claims) = persona(world, "groups-200").await;
    assert_eq!(claims["groups"].as_array().unwrap().len(), 200);
    for mode in [Mode::Token, Mode::Impersonate] {
        let caller = world.proxy_in(mode).await.caller(&owner);
        until_he_sees(&caller, &namespaces).await;
        let mark = world.mark();
        assert_eq!(caller.get(NAMESPACES).await.names(), namespaces);
        let seen = world.audit(mark, &owner.name).await;
        assert_eq!(seen.len(), 1, "{seen:#?}");
    }
}

/// Mail addresses can be claimed by anybody's own directory; object ids cannot.
async fn a_guest_with_an_owners_name_is_not_the_owner(world: &'static World) {
    let (owner, _) = persona(world, "capsule-user-dev").await;
    let tenant = world.tenant_of(owner.clone(), &["mine"]).await;
    let proxy = world.proxy().await;
    eventually(|| async {
        let seen = proxy.caller(&owner).get(NAMESPACES).await.names();
        seen.contains(&tenant.namespaces[0])
            .then_some(())
            .ok_or_else(|| format!("{seen:?}"))
    })
    .await;
    for name in ["guest", "personal-guest"] {
        let (guest, claims) = persona(world, name).await;
        assert!(
            claims["unique_name"]
                .as_str()
                .unwrap()
                .ends_with(&owner.name)
        );
        let answer = proxy.caller(&guest).get(NAMESPACES).await;
        assert!(
            !answer.text().contains(&tenant.namespaces[0]),
            "{name}: {}",
            answer.text()
        );
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{name}");
    }
}

/// Azure judges by the object id: in the token, or in the extra of who is impersonated.
async fn a_role_assignment_counts_in_both_ways_upstream(world: &'static World) {
    let name = format!("reader-{}@example.com", unique());
    let minted = world
        .directory(
            "/control/mint",
            json!({"claims": {"upn": name, "groups": []}}),
        )
        .await;
    let person = Person {
        name,
        token: minted["token"].as_str().unwrap().to_owned(),
    };
    let path = "/api/v1/namespaces/default/configmaps";
    for mode in [Mode::Token, Mode::Impersonate] {
        let before = world.proxy_in(mode).await.caller(&person).get(path).await;
        assert!(before.text().contains(REFUSED), "{}", before.text());
    }
    let grants = json!([{"oid": minted["claims"]["oid"], "verbs": ["list"], "resources": ["configmaps"], "namespaces": ["default"]}]);
    world.tell("/azure/grants", grants).await;
    for mode in [Mode::Token, Mode::Impersonate] {
        let caller = world.proxy_in(mode).await.caller(&person);
        // A no of the webhook is kept by the API server for half a minute.
        eventually(|| async {
            let after = caller.get(path).await;
            (after.status == StatusCode::OK)
                .then_some(())
                .ok_or_else(|| after.text())
        })
        .await;
    }
    let read = world.admin(Method::GET, path, None).await;
    assert!(read.is_ok());
}
