//! Tests of `demo::issuer`.

use super::*;

fn issuer() -> Issuer {
    Issuer::new("https://127.0.0.1:1").unwrap()
}

fn changed(issuer: &Issuer, name: &str, value: Value) -> String {
    let mut claims = issuer.claims(&Person::member("alice@example.com", &[]));
    object::object_mut(&mut claims).insert(name.to_owned(), value);
    issuer.mint(&issuer.header(), &claims)
}

#[test]
fn a_token_proves_its_person_and_nothing_else_does() {
    let issuer = issuer();
    let alice = Person::member("alice@example.com", &["g1"]);
    assert_eq!(issuer.verify(&issuer.token(&alice)), Some(alice));
    let other = Issuer::new("https://127.0.0.1:1").unwrap();
    for (name, token) in [
        (
            "another key",
            other.token(&Person::member("alice@example.com", &[])),
        ),
        (
            "another issuer",
            changed(&issuer, "iss", "https://sts.windows.net/".into()),
        ),
        (
            "another audience",
            changed(
                &issuer,
                "aud",
                "https://management.core.windows.net/".into(),
            ),
        ),
        (
            "expired",
            changed(&issuer, "exp", (Timestamp::now().as_second() - 1).into()),
        ),
        (
            "not yet valid",
            changed(&issuer, "nbf", (Timestamp::now().as_second() + 600).into()),
        ),
        ("none", "e30.e30.".to_owned()),
        ("garbage", "garbage".to_owned()),
    ] {
        assert_eq!(issuer.verify(&token), None, "{name}");
    }
}

#[test]
fn groups_that_do_not_fit_into_a_token_are_left_out_and_still_known() {
    let issuer = issuer();
    let groups: Vec<String> = (0..201)
        .map(|number| object_id(&format!("group {number}")))
        .collect();
    let carol = Person {
        groups,
        ..Person::member("carol@example.com", &[])
    };
    let claims = issuer.claims(&carol);
    assert_eq!(claims.get("groups"), None);
    assert_eq!(text(&claims, "/_claim_names/groups"), "src1");
    assert_eq!(issuer.verify(&issuer.token(&carol)), Some(carol));
}

#[test]
fn a_guest_is_known_by_his_object_id() {
    let issuer = issuer();
    let guest = Person {
        upn: None,
        ..Person::member("guest", &[])
    };
    let proved = issuer.verify(&issuer.token(&guest)).unwrap();
    assert_eq!(proved.user_name(), object_id("guest"));
    assert_eq!(object_id("guest").len(), 36);
}

#[test]
fn the_key_set_is_in_the_shape_of_entras() {
    let issuer = issuer();
    let discovery = issuer
        .answer(&format!(
            "/{}/.well-known/openid-configuration",
            issuer.directory_id()
        ))
        .unwrap();
    assert_eq!(text(&discovery, "/issuer"), issuer.url());
    assert_eq!(
        text(&discovery, "/jwks_uri"),
        "https://127.0.0.1:1/common/discovery/keys"
    );
    let keys = issuer.answer("/common/discovery/keys").unwrap();
    assert_eq!(keys.pointer("/keys/0/alg"), None);
    assert_eq!(text(&keys, "/keys/0/kid"), text(&issuer.header(), "/kid"));
    assert_eq!(issuer.answer("/else"), None);
}
