//! Lists in pages, while what may be seen changes between two of them: a token shows what its bearer may see now, or it
//! has expired. A list that comes to its end is whole.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::StatusCode;
use serde_json::Value;
use serde_json::json;

use crate::harness::eventually;
use crate::harness::http::Answer;
use crate::harness::http::Caller;
use crate::harness::people::Tenant;
use crate::harness::proxy::Proxy;
use crate::harness::proxy::Setup;
use crate::harness::world::World;
use crate::lists::position_to_watch_from;
use crate::lists::settled;
use crate::lists::until_he_sees;

const NAMESPACES: &str = "/api/v1/namespaces";

in_both_worlds!(
    a_page_after_a_revocation_is_expired,
    a_page_after_a_grant_is_expired,
    a_token_of_another_shows_nothing_of_his,
    a_list_in_pages_is_whole_whatever_changes_meanwhile,
);

/// The first page, of one, and the token of the next.
async fn first_page(caller: &Caller) -> (Answer, String) {
    let page = caller.get(&format!("{NAMESPACES}?limit=1")).await;
    let token = page.json()["metadata"]["continue"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    (page, token)
}

async fn next_page(caller: &Caller, token: &str) -> Answer {
    caller
        .get(&format!("{NAMESPACES}?limit=1&continue={token}"))
        .await
}

fn assert_expired(answer: &Answer) {
    assert_eq!(answer.status, StatusCode::GONE, "{}", answer.text());
    assert_eq!(answer.json()["reason"], "Expired", "{}", answer.text());
}

/// Two tenants of one owner, the second of which comes later in every list.
async fn two_tenants(world: &'static World) -> (Tenant, Tenant, Vec<String>) {
    let kept = world.tenant(&["a", "b"]).await;
    let other = world.tenant_of(kept.owner.clone(), &["a", "b"]).await;
    let both = [kept.namespaces.clone(), other.namespaces.clone()].concat();
    until_he_sees(&world.proxy().await.caller(&kept.owner), &both).await;
    // So that pages are of a moment after all that.
    let label = json!({"metadata": {"labels": {"it": "moved"}}});
    world
        .merge(&format!("{NAMESPACES}/{}", both[0]), &label)
        .await;
    (kept, other, both)
}

async fn a_page_after_a_revocation_is_expired(world: &'static World) {
    let (kept, lost, both) = two_tenants(world).await;
    let caller = world.proxy().await.caller(&kept.owner);
    let (page, token) = first_page(&caller).await;
    assert_eq!(page.names(), &both[..1]);
    assert_eq!(
        next_page(&caller, &token).await.names(),
        &both[1..2],
        "while nothing changes"
    );
    world.set_owners(&lost, &[]).await;
    until_he_sees(&caller, &kept.namespaces).await;
    assert_expired(&next_page(&caller, &token).await);
    // Even if he sees again what he saw then.
    world.set_owners(&lost, &[&kept.owner]).await;
    until_he_sees(&caller, &both).await;
    assert_expired(&next_page(&caller, &token).await);
}

async fn a_page_after_a_grant_is_expired(world: &'static World) {
    let tenant = settled(world, &["a", "b"]).await;
    let granted = settled(world, &["a"]).await;
    let caller = world.proxy().await.caller(&tenant.owner);
    let (_page, token) = first_page(&caller).await;
    world
        .set_owners(&granted, &[&granted.owner, &tenant.owner])
        .await;
    let all = [tenant.namespaces.clone(), granted.namespaces.clone()].concat();
    until_he_sees(&caller, &all).await;
    assert_expired(&next_page(&caller, &token).await);
}

async fn a_token_of_another_shows_nothing_of_his(world: &'static World) {
    let tenant = settled(world, &["a", "b"]).await;
    let other = settled(world, &["a", "b"]).await;
    let caller = world.proxy().await.caller(&tenant.owner);
    position_to_watch_from(world, &caller, &tenant).await;
    let (_page, his) = first_page(&world.proxy().await.caller(&other.owner)).await;
    let answer = next_page(&caller, &his).await;
    assert!(!answer.text().contains(&other.name), "{}", answer.text());
    assert_expired(&answer);

    // One of his own, bent to begin elsewhere: nothing, or what is his.
    let (_page, own) = first_page(&caller).await;
    let token = BASE64_URL_SAFE_NO_PAD.decode(&own).unwrap();
    let token: Value = serde_json::from_slice(&token).unwrap();
    for start in [
        format!("{}-\0", other.name),
        "\0".to_owned(),
        "/".to_owned(),
    ] {
        let mut bent = token.clone();
        bent["start"] = start.clone().into();
        let bent = BASE64_URL_SAFE_NO_PAD.encode(bent.to_string());
        let answer = caller.get(&format!("{NAMESPACES}?continue={bent}")).await;
        if answer.status == StatusCode::OK {
            let foreign: Vec<_> = answer
                .names()
                .into_iter()
                .filter(|name| !tenant.namespaces.contains(name))
                .collect();
            assert!(foreign.is_empty(), "{start:?}: {foreign:?}");
        } else {
            assert!(
                answer.status.is_client_error(),
                "{start:?}: {}",
                answer.text()
            );
            assert!(!answer.text().contains(&other.name), "{}", answer.text());
        }
    }
    for garbage in ["garbage", "e30", "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MH0"] {
        let answer = next_page(&caller, garbage).await;
        assert_eq!(
            answer.status,
            StatusCode::BAD_REQUEST,
            "{garbage}: {}",
            answer.text()
        );
    }
}

async fn a_list_in_pages_is_whole_whatever_changes_meanwhile(world: &'static World) {
    let (kept, other, both) = two_tenants(world).await;
    // By the Tenant alone, whose namespaces come and go at once: the operator makes its RoleBindings one by one.
    let mut setup = Setup::default();
    setup.tenancy.role_bindings = false;
    let proxy = Proxy::start(world, setup).await;
    let caller = proxy.caller(&kept.owner);
    let somebody = world.person().await;
    let changes = async {
        for round in 0..10 {
            let owners = [&kept.owner, &somebody];
            world
                .set_owners(
                    &other,
                    if round % 2 == 0 {
                        &owners[1..]
                    } else {
                        &owners
                    },
                )
                .await;
            // The owner is seen to have changed before the next change.
            let expected = if round % 2 == 0 {
                &kept.namespaces
            } else {
                &both
            };
            until_he_sees(&caller, expected).await;
        }
    };
    let mut changes = std::pin::pin!(changes);
    let (mut whole, mut expired) = (0, 0);
    let pages = async {
        loop {
            match in_pages(&caller).await {
                Some(names) => {
                    assert!(names == kept.namespaces || names == both, "{names:?}");
                    whole += 1;
                }
                None => expired += 1,
            }
        }
    };
    tokio::select! {
        () = changes.as_mut() => {}
        () = pages => {}
    }
    // Positions of before the last change expire until the cluster has moved on.
    eventually(|| async {
        let names = in_pages(&caller).await;
        (names.as_ref() == Some(&both))
            .then_some(())
            .ok_or_else(|| format!("{names:?} after {whole} whole and {expired} expired"))
    })
    .await;
}

/// All pages of one name each, or nothing if they expired.
async fn in_pages(caller: &Caller) -> Option<Vec<String>> {
    let (mut page, mut token) = first_page(caller).await;
    let mut names = Vec::new();
    loop {
        if page.status == StatusCode::GONE {
            assert_expired(&page);
            return None;
        }
        names.extend(page.names());
        if token.is_empty() {
            return Some(names);
        }
        page = next_page(caller, &token).await;
        token = page.json()["metadata"]["continue"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
    }
}
