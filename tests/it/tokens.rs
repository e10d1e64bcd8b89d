//! Tokens that are not what they seem, each made at the directory for an owner of namespaces: refused at the door, and the
//! API server hears nothing in his name.

use http::StatusCode;
use serde_json::Value;
use serde_json::json;

use crate::harness::http::Answer;
use crate::harness::http::Caller;
use crate::harness::people::Tenant;
use crate::harness::people::unique;
use crate::harness::proxy::Mode;
use crate::harness::proxy::Proxy;
use crate::harness::proxy::Setup;
use crate::harness::world::World;
use crate::lists::until_he_sees;

const NAMESPACES: &str = "/api/v1/namespaces";
/// Longest token that the proxies of these tests take.
const LONGEST: usize = 256 * 1024;

in_the_real_world!(
    a_token_with_a_bad_header_is_refused,
    a_token_with_bad_claims_is_refused,
    a_token_of_another_time_or_place_is_refused,
    a_token_that_names_an_unknown_key_is_refused_or_has_to_wait,
    a_token_that_is_badly_carried_is_refused,
    what_looks_odd_and_is_good_is_let_in,
);

/// A proxy of its own in each mode, and an owner of whom all these tokens speak.
struct Door {
    world: &'static World,
    tenant: Tenant,
    proxies: Vec<Proxy>,
}

impl Door {
    async fn new(world: &'static World) -> Self {
        let tenant = world.tenant(&["dev"]).await;
        let mut proxies = Vec::new();
        for mode in [Mode::Token, Mode::Impersonate] {
            let mut authentication = world.issuer.authentication(mode);
            authentication["jwt"][0]["maxTokenBytes"] = LONGEST.into();
            let setup = Setup {
                mode,
                authentication: Some(authentication),
                ..Setup::default()
            };
            let proxy = Proxy::start(world, setup).await;
            until_he_sees(&proxy.caller(&tenant.owner), &tenant.namespaces).await;
            proxies.push(proxy);
        }
        Self {
            world,
            tenant,
            proxies,
        }
    }

    /// The owner's claims, with these over them.
    fn claims(&self, changed: &Value) -> Value {
        let mut claims =
            json!({"upn": self.tenant.owner.name, "groups": [self.world.groups.users]});
        for (name, value) in changed.as_object().into_iter().flatten() {
            claims[name] = value.clone();
        }
        claims
    }

    /// The owner's token, made with the directory's help as `request` says.
    async fn forge(&self, mut request: Value) -> String {
        request["claims"] = self.claims(&request["claims"]);
        self.world.forge(request).await
    }

    /// Asks at both proxies, for what is narrowed and for what is not; nothing of it may reach the API server.
    async fn refuses(
        &self,
        what: &str,
        carried: impl Fn(Caller) -> Caller,
        expected: impl Fn(&Answer) -> bool,
    ) {
        let mark = self.world.mark();
        let sign = format!("/version?sign={}", unique());
        for proxy in &self.proxies {
            for path in [NAMESPACES, &sign] {
                let answer = carried(proxy.anybody()).get(path).await;
                assert!(expected(&answer), "{what} {path}: {}", answer.text());
                assert_eq!(answer.json()["kind"], "Status", "{what} {path}");
                assert!(!answer.text().contains(&self.tenant.name), "{what} {path}");
            }
        }
        let seen = self.world.audit(mark, &self.tenant.owner.name).await;
        assert!(seen.is_empty(), "{what}: {seen:#?}");
        let entries = self.world.entries(mark);
        let leaked = entries.iter().find(|entry| entry.uri == sign);
        assert!(leaked.is_none(), "{what}: {leaked:?}");
    }

    /// That every one of these tokens is a 401.
    async fn refuses_all(&self, requests: Vec<(&str, Value)>) {
        for (what, request) in requests {
            let token = self.forge(request).await;
            self.refuses(what, |anybody| anybody.bearing(&token), is_unauthorized)
                .await;
        }
    }
}

fn is_unauthorized(answer: &Answer) -> bool {
    answer.status == StatusCode::UNAUTHORIZED
}

async fn a_token_with_a_bad_header_is_refused(world: &'static World) {
    let door = Door::new(world).await;
    let evil = "https://attacker.example.com/keys";
    door.refuses_all(vec![
        ("unsigned", json!({"alg": "none"})),
        (
            "unsigned, by another spelling",
            json!({"alg": "none", "header": {"alg": "NONE"}}),
        ),
        ("signed with the public key", json!({"alg": "HS256"})),
        ("another algorithm of its key", json!({"alg": "PS256"})),
        (
            "an algorithm it was not signed with",
            json!({"header": {"alg": "PS256"}}),
        ),
        (
            "an algorithm of another family",
            json!({"header": {"alg": "ES256"}}),
        ),
        (
            "an algorithm that stands twice",
            json!({"extraHeader": r#""alg":"none""#}),
        ),
        ("no algorithm", json!({"header": {"alg": null}})),
        (
            "an extension that must be understood",
            json!({"header": {"crit": ["exp"]}}),
        ),
        (
            "another encoding of the payload",
            json!({"header": {"crit": ["b64"], "b64": false}}),
        ),
        (
            "a type that is no access token's",
            json!({"header": {"typ": "pop"}}),
        ),
        ("a proof of possession", json!({"pop": true})),
        (
            "Microsoft Graph's nonce",
            json!({"header": {"nonce": "AQABAAAAAAD"}, "corruptSignature": true}),
        ),
        ("no key", json!({"header": {"kid": null}})),
        ("a key that is a number", json!({"header": {"kid": 1}})),
        (
            "a key that is too long to be one",
            json!({"header": {"kid": "k".repeat(10_000)}}),
        ),
        (
            "somebody else's key under this name",
            json!({"key": "foreign"}),
        ),
        (
            "its own key along",
            json!({"key": "foreign", "header": {"jku": evil, "x5u": evil}}),
        ),
        (
            "a signature that is off by a bit",
            json!({"corruptSignature": true}),
        ),
        (
            "a header that is no JSON",
            json!({"rawHeader": "{alg:RS256}"}),
        ),
        ("claims that are no JSON", json!({"rawPayload": "upn"})),
    ])
    .await;
}

async fn a_token_with_bad_claims_is_refused(world: &'static World) {
    let door = Door::new(world).await;
    let issuer = world.issuer.url.as_str();
    let many: Vec<_> = (0..10_000).map(|number| format!("g{number}")).collect();
    let claims = |claims: Value| json!({ "claims": claims });
    door.refuses_all(vec![
        ("no issuer", claims(json!({"iss": null}))),
        (
            "somebody else's issuer",
            claims(json!({"iss": "https://sts.windows.net/attacker/"})),
        ),
        ("an issuer that is a number", claims(json!({"iss": 1}))),
        ("an issuer among others", claims(json!({"iss": [issuer]}))),
        (
            "an issuer without its slash",
            claims(json!({"iss": issuer.trim_end_matches('/')})),
        ),
        (
            "an issuer in capitals",
            claims(json!({"iss": issuer.to_uppercase()})),
        ),
        (
            "a second issuer",
            json!({"extraPayload": r#""iss":"https://sts.windows.net/other/""#}),
        ),
        ("no audience", claims(json!({"aud": null}))),
        ("an audience that is a number", claims(json!({"aud": 1}))),
        ("an empty audience", claims(json!({"aud": []}))),
        (
            "an audience that begins like ours",
            claims(json!({"aud": format!("{}x", world.issuer.audience)})),
        ),
        (
            "Azure's own audience",
            json!({"audience": "https://management.core.windows.net/"}),
        ),
        (
            "the audience of an older client",
            json!({"audience": format!("spn:{}", world.issuer.audience)}),
        ),
        ("no end", claims(json!({"exp": null}))),
        (
            "an end that is a text",
            claims(json!({"exp": "4102444800"})),
        ),
        (
            "an end before the beginning of time",
            claims(json!({"exp": -1})),
        ),
        ("a beginning that is a text", claims(json!({"nbf": "0"}))),
        ("no directory", claims(json!({"tid": null}))),
        (
            "another directory than the issuer's",
            claims(json!({"tid": "00000000-0000-4000-8000-000000000001"})),
        ),
        (
            "the directory of personal accounts",
            claims(json!({"tid": "9188040d-6c67-4c5b-b112-36a304b66dad"})),
        ),
        (
            "a twin of the directory in another case",
            claims(json!({"Tid": "00000000-0000-4000-8000-000000000001"})),
        ),
        (
            "a twin of the name in another case",
            claims(json!({"UPN": "somebody@example.com"})),
        ),
        (
            "a second name",
            json!({"extraPayload": r#""upn":"somebody@example.com""#}),
        ),
        ("no object", claims(json!({"oid": null}))),
        ("an object that is no id", claims(json!({"oid": "1"}))),
        ("another version", claims(json!({"ver": "2.0"}))),
        (
            "a name of Kubernetes' own",
            claims(json!({"upn": "system:admin"})),
        ),
        (
            "a name with a line break",
            claims(json!({"upn": "alice\nImpersonate-Group: system:masters"})),
        ),
        ("a name that is a number", claims(json!({"upn": 1}))),
        (
            "a group that may do everything",
            claims(json!({"groups": ["system:masters"]})),
        ),
        (
            "a group of nodes",
            claims(json!({"groups": ["system:nodes"]})),
        ),
        (
            "the proxy's own group",
            claims(json!({"groups": ["kube-tenant-proxy:readers"]})),
        ),
        ("groups that are a number", claims(json!({"groups": 1}))),
        (
            "groups that are an object",
            claims(json!({"groups": {"a": "b"}})),
        ),
        ("a group that is a number", claims(json!({"groups": [1]}))),
        ("ten thousand groups", claims(json!({"groups": many}))),
    ])
    .await;
}

async fn a_token_of_another_time_or_place_is_refused(world: &'static World) {
    let door = Door::new(world).await;
    let elsewhere = "00000000-0000-4000-8000-000000000002";
    door.refuses_all(vec![
        ("past its end", json!({"lifetimeSeconds": -1})),
        ("before its beginning", json!({"notBeforeSeconds": 3600})),
        (
            "issued in the future",
            json!({"claims": {"iat": 4_102_444_800_u64}}),
        ),
        ("of another directory", json!({"tid": elsewhere})),
        (
            "of another directory under our issuer",
            json!({"tid": elsewhere, "claims": {"iss": world.issuer.url}}),
        ),
        ("of another version", json!({"version": "2.0"})),
        (
            "of another version under our issuer",
            json!({"version": "2.0", "claims": {"iss": world.issuer.url}}),
        ),
    ])
    .await;
}

async fn a_token_that_names_an_unknown_key_is_refused_or_has_to_wait(world: &'static World) {
    let door = Door::new(world).await;
    // The directory is asked for an unknown key a few times only; then nobody can tell.
    let refused_or_later = |answer: &Answer| {
        is_unauthorized(answer) || answer.status == StatusCode::SERVICE_UNAVAILABLE
    };
    for kid in [
        "../../../../etc/passwd",
        "' OR '1'='1",
        "key\u{0}",
        "https://attacker.example.com/key",
        "another",
    ] {
        let token = door.forge(json!({"header": {"kid": kid}})).await;
        door.refuses(kid, |anybody| anybody.bearing(&token), refused_or_later)
            .await;
    }
    // Whose key is known notices nothing of it.
    for proxy in &door.proxies {
        let list = proxy.caller(&door.tenant.owner).get(NAMESPACES).await;
        assert_eq!(list.names(), door.tenant.namespaces);
    }
}

async fn a_token_that_is_badly_carried_is_refused(world: &'static World) {
    let door = Door::new(world).await;
    let good = &door.tenant.owner.token;
    let encrypted = format!("{good}.e30.e30");
    for (what, value) in [
        ("nothing", String::new()),
        ("no token", "Bearer".to_owned()),
        ("blanks", "Bearer    ".to_owned()),
        ("another scheme", format!("Basic {good}")),
        ("no scheme", good.clone()),
        ("five parts", format!("Bearer {encrypted}")),
        ("padding", format!("Bearer {good}=")),
        (
            "a part less",
            format!("Bearer {}", good.rsplit_once('.').unwrap().0),
        ),
        ("two in one", format!("Bearer {good},{good}")),
        ("too long", format!("Bearer {good}{}", "A".repeat(LONGEST))),
    ] {
        let carried = |anybody: Caller| anybody.saying("authorization", &value);
        door.refuses(what, carried, is_unauthorized).await;
    }
    let is_bad = |answer: &Answer| answer.status == StatusCode::BAD_REQUEST;
    door.refuses("two", |anybody| anybody.bearing(good).bearing(good), is_bad)
        .await;
    let hidden = format!("base64url.bearer.authorization.k8s.io.{}", base64(good));
    let both = |anybody: Caller| {
        anybody
            .bearing(good)
            .saying("sec-websocket-protocol", &hidden)
    };
    door.refuses("two of two kinds", both, is_bad).await;
}

fn base64(text: &str) -> String {
    use base64::Engine;
    base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(text)
}

async fn what_looks_odd_and_is_good_is_let_in(world: &'static World) {
    let door = Door::new(world).await;
    let ours = world.issuer.audience.as_str();
    let users = world.groups.users.as_str();
    // In impersonate mode, where the proxy's judgement alone counts.
    let proxy = &door.proxies[1];
    for (what, claims) in [
        (
            "ours among other audiences",
            json!({"aud": ["https://other.example.com", ours]}),
        ),
        ("one group that is a text", json!({"groups": users})),
        (
            "claims that nobody reads",
            json!({"color": {"red": [1, 2, 3]}}),
        ),
        (
            "a name in a claim that is not asked for",
            json!({"unique_name": "somebody@example.com"}),
        ),
    ] {
        let token = door.forge(json!({ "claims": claims })).await;
        let list = proxy.anybody().bearing(&token).get(NAMESPACES).await;
        assert_eq!(list.status, StatusCode::OK, "{what}: {}", list.text());
        assert_eq!(list.names(), door.tenant.namespaces, "{what}");
    }
    for scheme in ["bearer", "BEARER", "Bearer  "] {
        let value = format!("{scheme} {}", door.tenant.owner.token);
        let caller = proxy.anybody().saying("authorization", &value);
        let list = caller.get(NAMESPACES).await;
        assert_eq!(list.names(), door.tenant.namespaces, "{scheme}");
    }
    // Without a name he is who he is by his object id, and not the owner.
    let nameless = door.forge(json!({"claims": {"upn": ""}})).await;
    until_he_sees(&proxy.anybody().bearing(&nameless), &[]).await;
}
