//! Tests of `authn::jwt`.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::authn::keys::Owner;
use crate::authn::settings;
use crate::authn::settings::AppTokens;
use crate::authn::settings::ClaimRule;
use crate::authn::settings::EntraVersion;
use crate::authn::testing;
use crate::authn::testing::KeyPair;
use crate::authn::testing::NOW;

fn key_set(keys: &[&KeyPair]) -> KeySet {
    let owner = Owner {
        issuer: &testing::issuer().url,
        tenant: Some(testing::TENANT),
        cloud: None,
    };
    KeySet::parse(testing::jwks(keys).to_string().as_bytes(), owner).unwrap()
}

/// The whole way of a token at [`testing::now`].
fn judge(token: &str, issuer: &Issuer, keys: &KeySet) -> Result<Verified, Refusal> {
    match Form::read(token, settings::MAX_TOKEN_BYTES)? {
        Form::Opaque => Err(Refusal::UnknownIssuer),
        Form::Jwt(token) if token.issuer() == Some(&*issuer.url) => {
            verify(&token, issuer, keys, testing::now())
        }
        Form::Jwt(_) => Err(Refusal::UnknownIssuer),
    }
}

fn outcome(token: &str, issuer: &Issuer, keys: &KeySet) -> Result<(), Refusal> {
    judge(token, issuer, keys).map(drop)
}

/// Alice's claims with some changed; `null` takes one away.
fn with(changes: Value) -> Value {
    let mut claims = testing::claims("alice");
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

#[test]
fn a_good_token_says_who_and_until_when() {
    let key = testing::rsa("k1");
    let verified = judge(
        &key.sign(&with(json!({}))),
        &testing::issuer(),
        &key_set(&[&key]),
    )
    .unwrap();
    assert_eq!(verified.claims.text("upn"), Ok(Some("alice@oil.example")));
    assert_eq!(
        verified.expires,
        testing::now() + Duration::from_secs(3_600)
    );
    assert!(key_set(&[&key]).holds(&verified.kid, verified.fingerprint));
}

#[test]
fn the_form_is_checked_before_anything_is_read() {
    let key = testing::ec("k1");
    let good = key.sign(&with(json!({})));
    let (message, signature) = good.rsplit_once('.').unwrap();
    let (header, payload) = message.split_once('.').unwrap();
    let malformed = Err(Refusal::Malformed);
    let opaque = Err(Refusal::UnknownIssuer);
    for (name, token, expected) in [
        ("good", good.clone(), Ok(())),
        ("opaque", "kubeconfig-u-xyz:abc".to_owned(), opaque),
        (
            "Google's opaque token has three parts",
            "ya29.c.b0AaekXYZ".to_owned(),
            opaque,
        ),
        ("EKS", "k8s-aws-v1.aHR0cHM6Ly9zdHM".to_owned(), opaque),
        ("one part", header.to_owned(), opaque),
        ("two parts", message.to_owned(), opaque),
        ("empty header", format!(".{payload}.{signature}"), opaque),
        ("empty payload", format!("{header}..{signature}"), malformed),
        ("empty signature", format!("{message}."), malformed),
        ("four parts", format!("{good}.{signature}"), malformed),
        (
            "encrypted",
            format!("{header}..{payload}.{payload}.{signature}"),
            malformed,
        ),
        (
            "padding",
            format!("{header}=.{payload}.{signature}"),
            malformed,
        ),
        (
            "other alphabet",
            format!("{header}.{payload}.+/{signature}"),
            malformed,
        ),
        (
            "header is no JSON",
            format!("{}.{payload}.{signature}", testing::base64url(b"{alg}")),
            malformed,
        ),
        (
            "payload is no object",
            format!("{header}.{}.{signature}", testing::base64url(b"7")),
            malformed,
        ),
        (
            "too long",
            format!("{good}{}", "A".repeat(settings::MAX_TOKEN_BYTES)),
            Err(Refusal::TooLong),
        ),
    ] {
        assert_eq!(
            outcome(&token, &testing::issuer(), &key_set(&[&key])),
            expected,
            "{name}"
        );
    }
}

#[test]
fn the_header_is_checked_strictly() {
    let key = testing::ec("k1");
    let keys = key_set(&[&key]);
    let claims = with(json!({})).to_string();
    let sixty_four_kib = "k".repeat(10_000);
    for (name, header, expected) in [
        (
            "as Entra's",
            r#"{"typ":"JWT","alg":"ES256","x5t":"k1","kid":"k1"}"#,
            Ok(()),
        ),
        ("no typ", r#"{"alg":"ES256","kid":"k1"}"#, Ok(())),
        (
            "access token",
            r#"{"typ":"at+jwt","alg":"ES256","kid":"k1"}"#,
            Ok(()),
        ),
        (
            "pop",
            r#"{"typ":"pop","alg":"ES256","kid":"k1"}"#,
            Err(Refusal::ProofOfPossession),
        ),
        (
            "other typ",
            r#"{"typ":"dpop+jwt","alg":"ES256","kid":"k1"}"#,
            Err(Refusal::Type),
        ),
        (
            "typ is a number",
            r#"{"typ":1,"alg":"ES256","kid":"k1"}"#,
            Err(Refusal::Type),
        ),
        (
            "crit",
            r#"{"crit":["exp"],"alg":"ES256","kid":"k1"}"#,
            Err(Refusal::Critical),
        ),
        (
            "empty crit",
            r#"{"crit":[],"alg":"ES256","kid":"k1"}"#,
            Err(Refusal::Critical),
        ),
        ("no alg", r#"{"kid":"k1"}"#, Err(Refusal::Algorithm)),
        (
            "none",
            r#"{"alg":"none","kid":"k1"}"#,
            Err(Refusal::Algorithm),
        ),
        (
            "nOnE",
            r#"{"alg":"nOnE","kid":"k1"}"#,
            Err(Refusal::Algorithm),
        ),
        (
            "HS256",
            r#"{"alg":"HS256","kid":"k1"}"#,
            Err(Refusal::Algorithm),
        ),
        (
            "lower case",
            r#"{"alg":"es256","kid":"k1"}"#,
            Err(Refusal::Algorithm),
        ),
        (
            "not configured",
            r#"{"alg":"ES384","kid":"k1"}"#,
            Err(Refusal::Algorithm),
        ),
        (
            "of another family",
            r#"{"alg":"RS256","kid":"k1"}"#,
            Err(Refusal::UnsuitableKey),
        ),
        (
            "two algs",
            r#"{"alg":"none","alg":"ES256","kid":"k1"}"#,
            Err(Refusal::Malformed),
        ),
        ("no kid", r#"{"alg":"ES256"}"#, Err(Refusal::KeyId)),
        (
            "empty kid",
            r#"{"alg":"ES256","kid":""}"#,
            Err(Refusal::KeyId),
        ),
        (
            "kid is a number",
            r#"{"alg":"ES256","kid":1}"#,
            Err(Refusal::KeyId),
        ),
        (
            "kid is a path",
            r#"{"alg":"ES256","kid":"../../dev/null"}"#,
            Err(Refusal::UnknownKey),
        ),
        (
            "kid is SQL",
            r#"{"alg":"ES256","kid":"k1' OR '1'='1"}"#,
            Err(Refusal::UnknownKey),
        ),
        (
            "kid with NUL",
            r#"{"alg":"ES256","kid":"k1\u0000"}"#,
            Err(Refusal::UnknownKey),
        ),
        (
            "kid without end",
            &format!(r#"{{"alg":"ES256","kid":"{sixty_four_kib}"}}"#),
            Err(Refusal::KeyId),
        ),
        (
            "Microsoft Graph's",
            r#"{"alg":"ES256","kid":"k1","nonce":"n"}"#,
            Err(Refusal::ForGraph),
        ),
    ] {
        assert_eq!(
            outcome(&key.sign_texts(header, &claims), &testing::issuer(), &keys),
            expected,
            "{name}"
        );
    }
}

#[test]
fn no_key_is_taken_from_the_token() {
    let (ours, attackers) = (testing::ec("k1"), testing::ec("k1"));
    let keys = key_set(&[&ours]);
    for (name, value) in [
        ("jwk", attackers.jwk()),
        ("jku", json!("https://evil.example/jwks")),
        ("x5u", json!("https://evil.example/x5u")),
        ("x5c", json!(["MIIB"])),
    ] {
        let mut header = attackers.header();
        header[name] = value;
        let token = attackers.sign_texts(&header.to_string(), &with(json!({})).to_string());
        assert_eq!(
            outcome(&token, &testing::issuer(), &keys),
            Err(Refusal::Signature),
            "{name}"
        );
    }
}

#[test]
fn hmac_with_the_public_key_is_no_signature() {
    let key = testing::rsa("k1");
    let claims = with(json!({})).to_string();
    let mut jwk = key.jwk();
    jwk["alg"] = json!("RS256");
    for secret in [
        jwk.to_string().into_bytes(),
        jwk["n"].as_str().unwrap().as_bytes().to_vec(),
    ] {
        let forger = KeyPair {
            kid: "k1".to_owned(),
            private: jsonwebtoken::EncodingKey::from_secret(&secret),
            algorithm: jsonwebtoken::Algorithm::HS256,
        };
        for alg in ["HS256", "RS256"] {
            let token = forger.sign_texts(&json!({"alg": alg, "kid": "k1"}).to_string(), &claims);
            let refusal = outcome(&token, &testing::issuer(), &key_set(&[&key])).unwrap_err();
            assert!(
                matches!(refusal, Refusal::Algorithm | Refusal::Signature),
                "{alg}: {refusal:?}"
            );
        }
    }
}

#[test]
fn algorithms_of_one_family_are_not_swapped() {
    let key = testing::rsa("k1");
    let mut issuer = testing::issuer();
    issuer.algorithms.push(SigningAlg::Ps256);
    // Signed as RS256, called PS256.
    let token = key.sign_texts(
        r#"{"alg":"PS256","kid":"k1"}"#,
        &with(json!({})).to_string(),
    );
    assert_eq!(
        outcome(&token, &issuer, &key_set(&[&key])),
        Err(Refusal::Signature)
    );
}

#[test]
fn every_key_of_the_kid_is_tried() {
    let (first, second) = (testing::ec("twin"), testing::ec("twin"));
    let keys = key_set(&[&first, &testing::rsa("twin"), &second]);
    for key in [&first, &second, &testing::rsa("twin")] {
        assert_eq!(
            outcome(&key.sign(&with(json!({}))), &testing::issuer(), &keys),
            Ok(())
        );
    }
    let stranger = testing::ec("twin");
    assert_eq!(
        outcome(&stranger.sign(&with(json!({}))), &testing::issuer(), &keys),
        Err(Refusal::Signature)
    );
}

#[test]
fn claims_are_required_typed_and_exact() {
    let key = testing::ec("k1");
    let keys = key_set(&[&key]);
    let issuer = testing::issuer();
    let url = issuer.url.to_string();
    let claims = Err(Refusal::Claims);
    for (name, changes, expected) in [
        // What jsonwebtoken accepts by default (each row of the list of its traps) or would get wrong:
        ("no iss", json!({"iss": null}), Err(Refusal::UnknownIssuer)),
        (
            "iss is a number",
            json!({"iss": 1}),
            Err(Refusal::UnknownIssuer),
        ),
        (
            "iss is an object",
            json!({"iss": {"a": 1}}),
            Err(Refusal::UnknownIssuer),
        ),
        (
            "iss is an array",
            json!({"iss": [url]}),
            Err(Refusal::UnknownIssuer),
        ),
        (
            "iss without its slash",
            json!({"iss": url.trim_end_matches('/')}),
            Err(Refusal::UnknownIssuer),
        ),
        ("no aud", json!({"aud": null}), claims),
        ("aud is a number", json!({"aud": 1}), claims),
        ("no exp", json!({"exp": null}), claims),
        (
            "exp is a text",
            json!({"exp": (NOW + 60).to_string()}),
            claims,
        ),
        ("exp is negative", json!({"exp": -1}), claims),
        ("exp is absurd", json!({"exp": 1e300}), claims),
        (
            "exp has a fraction",
            json!({"exp": NOW as f64 + 60.5}),
            Ok(()),
        ),
        ("expired now", json!({"exp": NOW}), Err(Refusal::Expired)),
        (
            "expired a second ago",
            json!({"exp": NOW - 1}),
            Err(Refusal::Expired),
        ),
        ("expires in a second", json!({"exp": NOW + 1}), Ok(())),
        ("nbf is a text", json!({"nbf": "0"}), claims),
        ("no nbf", json!({"nbf": null}), claims),
        ("nbf within the skew", json!({"nbf": NOW + 300}), Ok(())),
        (
            "nbf ahead",
            json!({"nbf": NOW + 301}),
            Err(Refusal::NotYetValid),
        ),
        ("no iat", json!({"iat": null}), Ok(())),
        (
            "iat ahead",
            json!({"iat": NOW + 86_400}),
            Err(Refusal::NotYetValid),
        ),
        ("iat is a text", json!({"iat": "0"}), claims),
        // Audiences.
        (
            "one of several audiences",
            json!({"aud": ["x", AKS_SERVER]}),
            Ok(()),
        ),
        (
            "no audience",
            json!({"aud": []}),
            Err(Refusal::AudienceNotAks),
        ),
        (
            "ARM",
            json!({"aud": "https://management.core.windows.net/"}),
            Err(Refusal::AudienceNotAks),
        ),
        (
            "ADAL",
            json!({"aud": format!("spn:{AKS_SERVER}")}),
            Err(Refusal::AudienceNotAks),
        ),
        (
            "audiences of mixed types",
            json!({"aud": [AKS_SERVER, 1]}),
            claims,
        ),
        // Entra.
        ("no tid", json!({"tid": null}), claims),
        (
            "other directory",
            json!({"tid": "9188040d-6c67-4c5b-b112-36a304b66dad"}),
            Err(Refusal::Directory),
        ),
        (
            "tid is no GUID",
            json!({"tid": "common"}),
            Err(Refusal::Directory),
        ),
        (
            "tid in capitals",
            json!({"tid": testing::TENANT.to_uppercase()}),
            Err(Refusal::Directory),
        ),
        (
            "Tid beside tid",
            json!({"Tid": "9188040d-6c67-4c5b-b112-36a304b66dad"}),
            claims,
        ),
        ("UPN beside upn", json!({"UPN": "bob@oil.example"}), claims),
        ("Groups beside groups", json!({"Groups": ["x"]}), claims),
        (
            "v2.0 at a v1.0 issuer",
            json!({"ver": "2.0"}),
            Err(Refusal::Directory),
        ),
        ("no ver", json!({"ver": null}), Err(Refusal::Directory)),
        ("ver is a number", json!({"ver": 1.0}), claims),
        ("no oid", json!({"oid": null}), claims),
        ("oid is no GUID", json!({"oid": "alice"}), claims),
        ("application", json!({"scp": null}), Ok(())),
        (
            "what we do not read",
            json!({"wids": [1], "xms_cc": {"a": []}}),
            Ok(()),
        ),
    ] {
        assert_eq!(
            outcome(&key.sign(&with(changes)), &issuer, &keys),
            expected,
            "{name}"
        );
    }
}

#[test]
fn a_name_that_stands_twice_is_refused_at_any_depth() {
    let key = testing::ec("k1");
    let keys = key_set(&[&key]);
    let claims = with(json!({})).to_string();
    for (name, added, expected) in [
        ("iss", r#","iss":"x"}"#, Refusal::Malformed),
        ("sub", r#","sub":"a","sub":"b"}"#, Refusal::Claims),
        ("groups", r#","groups":[]}"#, Refusal::Claims),
        ("escaped", r#","gr\u006fups":[]}"#, Refusal::Claims),
        (
            "deep",
            r#","_claim_sources":{"a":1,"a":2}}"#,
            Refusal::Claims,
        ),
    ] {
        let payload = format!("{}{added}", claims.strip_suffix('}').unwrap());
        let token = key.sign_texts(&key.header().to_string(), &payload);
        assert_eq!(
            outcome(&token, &testing::issuer(), &keys),
            Err(expected),
            "{name}"
        );
    }
}

#[test]
fn applications_scopes_and_rules_are_as_configured() {
    let key = testing::ec("k1");
    let keys = key_set(&[&key]);
    let app = |id: &str| json!({"appid": id, "scp": null});
    type Change = fn(&mut Issuer);
    let people_only: Change =
        |issuer| issuer.entra.as_mut().unwrap().app_tokens = AppTokens::Refused;
    let listed: Change =
        |issuer| issuer.entra.as_mut().unwrap().allowed_app_ids = vec!["a1".to_owned()];
    let scoped: Change =
        |issuer| issuer.entra.as_mut().unwrap().required_scopes = vec!["user.read".to_owned()];
    let hd: Change = |issuer| {
        issuer.claim_rules.push(ClaimRule {
            claim: "hd".to_owned(),
            required_value: "oil.example".to_owned(),
        });
    };
    let aged: Change = |issuer| issuer.max_token_age = Some(Duration::from_secs(600));
    let lenient: Change = |issuer| issuer.leeway = Duration::from_secs(30);
    let v2: Change = |issuer| issuer.entra.as_mut().unwrap().version = EntraVersion::V2;
    let refused = Err(Refusal::Application);
    for (name, change, claims, expected) in [
        ("people only, person", people_only, json!({}), Ok(())),
        ("people only, application", people_only, app("a1"), refused),
        (
            "people only, idtyp",
            people_only,
            json!({"idtyp": "app"}),
            refused,
        ),
        ("listed application", listed, app("a1"), Ok(())),
        ("unlisted application", listed, app("a2"), refused),
        (
            "scope there",
            scoped,
            json!({"scp": "openid user.read"}),
            Ok(()),
        ),
        (
            "scope missing",
            scoped,
            json!({"scp": "openid user.readwrite"}),
            refused,
        ),
        ("application has no scopes", scoped, app("a1"), Ok(())),
        ("rule holds", hd, json!({"hd": "oil.example"}), Ok(())),
        (
            "rule does not hold",
            hd,
            json!({"hd": "gas.example"}),
            Err(Refusal::ClaimRule),
        ),
        (
            "rule's claim is missing",
            hd,
            json!({}),
            Err(Refusal::ClaimRule),
        ),
        (
            "rule's claim is an array",
            hd,
            json!({"hd": ["oil.example"]}),
            Err(Refusal::Claims),
        ),
        ("young", aged, json!({"iat": NOW - 599}), Ok(())),
        ("old", aged, json!({"iat": NOW - 600}), Err(Refusal::TooOld)),
        (
            "of unknown age",
            aged,
            json!({"iat": null}),
            Err(Refusal::Claims),
        ),
        (
            "within the leeway",
            lenient,
            json!({"exp": NOW - 29}),
            Ok(()),
        ),
        (
            "past the leeway",
            lenient,
            json!({"exp": NOW - 30}),
            Err(Refusal::Expired),
        ),
        (
            "v1.0 at a v2.0 issuer",
            v2,
            json!({}),
            Err(Refusal::Directory),
        ),
        (
            "v2.0 at a v2.0 issuer",
            v2,
            json!({"ver": "2.0", "azp": "a1"}),
            Ok(()),
        ),
    ] {
        let mut issuer = testing::issuer();
        change(&mut issuer);
        assert_eq!(
            outcome(&key.sign(&with(claims)), &issuer, &keys),
            expected,
            "{name}"
        );
    }
}

#[test]
fn an_issuer_that_is_not_entra_has_its_own_sentences() {
    let key = testing::ec("k1");
    let mut issuer = testing::issuer();
    issuer.entra = None;
    issuer.audiences = vec!["grafana".to_owned()];
    let judge = |changes| outcome(&key.sign(&with(changes)), &issuer, &key_set(&[&key]));
    assert_eq!(judge(json!({"aud": "x"})), Err(Refusal::Audience));
    let plain = json!({"aud": "grafana", "nbf": null, "tid": null, "ver": null, "oid": null});
    assert_eq!(judge(plain), Ok(()));
}

#[test]
fn a_token_of_two_hundred_groups_is_no_problem() {
    let key = testing::rsa("k1");
    let groups: Vec<String> = (0..200)
        .map(|n| format!("aaaaaaaa-0000-0000-0000-{n:012}"))
        .collect();
    let token = key.sign(&with(json!({"groups": groups})));
    assert!(token.len() > 10_000);
    assert_eq!(
        outcome(&token, &testing::issuer(), &key_set(&[&key])),
        Ok(())
    );
}

#[test]
fn only_a_vouched_token_is_asked_when_it_ends() {
    let token =
        testing::ec("k1").sign(&json!({"iss": "kubernetes/serviceaccount", "exp": NOW + 5}));
    let Ok(Form::Jwt(token)) = Form::read(&token, settings::MAX_TOKEN_BYTES) else {
        panic!()
    };
    assert_eq!(
        token.claimed_expiry(),
        Some(testing::now() + Duration::from_secs(5))
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever byte of a good token is changed to whatever other byte, in header, payload, signature or a dot.
    #[test]
    fn any_changed_byte_of_a_good_token_is_refused(at in any::<prop::sample::Index>(), byte in 0_u8..128) {
        let key = testing::rsa("k1");
        let good = key.sign(&with(json!({})));
        let mut bytes = good.clone().into_bytes();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != byte);
        bytes[at] = byte;
        let changed = String::from_utf8(bytes).unwrap();
        prop_assert!(judge(&changed, &testing::issuer(), &key_set(&[&key])).is_err());
        prop_assert!(judge(&good, &testing::issuer(), &key_set(&[&key])).is_ok());
    }

    /// Garbage of any kind is an answer and not the end of the process.
    #[test]
    fn nothing_panics(token in "[!-~]{0,200}", header in ".{0,60}", payload in ".{0,60}") {
        let key = testing::ec("k1");
        let keys = key_set(&[&key]);
        prop_assert!(judge(&token, &testing::issuer(), &keys).is_err());
        let signed = key.sign_texts(&format!("{{{header}"), &payload);
        prop_assert!(judge(&signed, &testing::issuer(), &keys).is_err());
    }
}
