//! The whole way of a credential, against an identity provider and an API server on real sockets.

mod exchange;

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::SystemTime;

use http::HeaderMap;
use http::HeaderValue;
use http::header::AUTHORIZATION;
use serde_json::Value;
use serde_json::json;
use tokio_util::task::AbortOnDropHandle;
use tokio_util::task::TaskTracker;

use super::*;
use crate::authn::counters::Method;
use crate::authn::keyring::fetch::Fetcher;
use crate::authn::settings::Issuer;
use crate::authn::settings::KeySource;
use crate::authn::settings::TokenReviewSetting;
use crate::authn::testing::KeyPair;
use crate::authn::testing::NOW;
use crate::authn::testing::server;
use crate::authn::testing::server::ApiServer;
use crate::authn::testing::server::DOCUMENT;
use crate::authn::testing::server::Idp;
use crate::authn::testing::server::KEYS;
use crate::authn::testing::server::Reply;
use crate::identity::GroupName;
use crate::identity::Groups;
use crate::identity::GroupsUnknown;
use crate::identity::UpstreamMode;

/// Long enough on a loaded machine; nothing waits for it when all is well.
const DEADLINE: Duration = Duration::from_secs(30);

/// As in production, with retries that a test can wait for.
const QUICK: Limits = Limits {
    discovery: Pace {
        retry: Duration::from_millis(5),
        retry_at_most: Duration::from_millis(20),
        ..Pace::DISCOVERY
    },
    ..Limits::DEFAULT
};

/// TokenReview for everybody.
const REVIEWED: TokenReviewSetting = TokenReviewSetting::On {
    audiences: Vec::new(),
};

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

/// Authenticators whose background work ends with the test.
struct World {
    authn: Authn,
    _refresher: AbortOnDropHandle<()>,
}

impl World {
    fn new(issuers: Vec<Issuer>, api_server: Option<&ApiServer>, limits: Limits) -> Self {
        Self::at(Clock::from_fn(testing::now), issuers, api_server, limits)
    }

    fn at(
        clock: Clock,
        issuers: Vec<Issuer>,
        api_server: Option<&ApiServer>,
        limits: Limits,
    ) -> Self {
        let token_review = match api_server {
            Some(_) => REVIEWED,
            None => TokenReviewSetting::Off,
        };
        let settings = Settings {
            issuers,
            token_review,
        };
        let client = api_server.map(ApiServer::client);
        let authn = Authn::with_limits(client, clock, limits).unwrap();
        authn.configure(settings).unwrap();
        let refreshed = authn.clone();
        let refresher = TaskTracker::new().spawn(async move { refreshed.keep_keys_fresh().await });
        Self {
            authn,
            _refresher: AbortOnDropHandle::new(refresher),
        }
    }

    /// One issuer, TokenReview off, keys fetched.
    async fn of(idp: &Idp) -> Self {
        let world = Self::new(vec![idp.issuer()], None, QUICK);
        world.loaded().await;
        world
    }

    async fn loaded(&self) {
        let prover = self.authn.0.now.load_full();
        let loaded = prover.issuers.iter().map(|known| known.keyring.loaded());
        let all = futures_util::future::join_all(loaded);
        tokio::time::timeout(DEADLINE, all).await.unwrap();
    }

    async fn identify(&self, token: &str) -> Result<Arc<Identity>, Failure> {
        let mut headers = HeaderMap::new();
        headers.insert(
            AUTHORIZATION,
            HeaderValue::from_str(&format!("Bearer {token}")).unwrap(),
        );
        self.authn
            .identify(&headers, PEER)
            .await
            .map(|caller| caller.who)
    }

    async fn name(&self, token: &str) -> Result<String, &'static str> {
        self.identify(token)
            .await
            .map(|who| who.user.as_str().to_owned())
            .map_err(Failure::reason)
    }
}

fn alice(key: &KeyPair) -> String {
    key.sign(&testing::claims("alice"))
}

fn overage(key: &KeyPair) -> String {
    let mut claims = testing::claims("alice");
    claims.as_object_mut().unwrap().remove("groups");
    claims["_claim_names"] = json!({"groups": "src1"});
    key.sign(&claims)
}

/// A token whose signature nobody will look at, since its key is not known.
fn of_unknown_key(n: usize) -> String {
    let header = json!({"alg": "ES256", "kid": format!("unknown-{n}")}).to_string();
    let claims = testing::claims("mallory").to_string();
    let part = |text: &str| testing::base64url(text.as_bytes());
    format!("{}.{}.{}", part(&header), part(&claims), part("signature"))
}

const ALICE: &str = "alice@oil.example";

#[tokio::test]
async fn a_token_of_the_issuer_proves_its_owner_without_a_call() {
    let key = testing::rsa("k1");
    let idp = Idp::start(&[&key]).await;
    let world = World::of(&idp).await;
    let who = world.identify(&alice(&key)).await.unwrap();
    assert_eq!(who.user.as_str(), ALICE);
    assert_eq!(who.by.as_str(), &*testing::issuer().url);
    assert_eq!(who.upstream, UpstreamMode::Token);
    assert_eq!(
        who.expires,
        Some(testing::now() + Duration::from_secs(3_600))
    );
    let groups: Vec<_> = who.known_groups().iter().map(GroupName::as_str).collect();
    assert_eq!(
        groups,
        [
            "aaaaaaaa-0000-0000-0000-000000000001",
            "system:authenticated"
        ]
    );
    let again = world.identify(&alice(&key)).await.unwrap();
    assert!(
        Arc::ptr_eq(&who, &again),
        "the second time it is remembered"
    );
    assert_eq!(idp.key_fetches(), 1);
}

#[tokio::test]
async fn a_remembered_identity_ends_with_its_token_and_a_clock_that_steps_back_revives_nothing_else()
 {
    let key = testing::ec("k1");
    let idp = Idp::start(&[&key]).await;
    let api_server = ApiServer::start(|_| server::accepted("deployer")).await;
    let seconds = Arc::new(AtomicU64::new(NOW));
    let shown = seconds.clone();
    let clock = Clock::from_fn(move || {
        SystemTime::UNIX_EPOCH + Duration::from_secs(shown.load(Ordering::SeqCst))
    });
    let world = World::at(clock, vec![idp.issuer()], Some(&api_server), QUICK);
    world.loaded().await;
    let reviewed = key.sign(&json!({"iss": "https://kubernetes.default.svc", "exp": NOW + 3_600}));
    let verified = alice(&key);
    assert_eq!(world.name(&verified).await.as_deref(), Ok(ALICE));
    assert_eq!(world.name(&reviewed).await.as_deref(), Ok("deployer"));
    seconds.store(NOW + 3_599, Ordering::SeqCst);
    assert_eq!(world.name(&verified).await.as_deref(), Ok(ALICE));
    assert_eq!(world.name(&reviewed).await.as_deref(), Ok("deployer"));
    seconds.store(NOW + 3_600, Ordering::SeqCst);
    assert_eq!(world.name(&verified).await, Err("expired"));
    assert_eq!(world.name(&reviewed).await, Err("expired"));
    seconds.store(NOW - 3_600, Ordering::SeqCst);
    let fresh = key.sign(&testing::claims("bob"));
    assert_eq!(
        world.name(&fresh).await,
        Err("not_yet_valid"),
        "by this clock it was issued in the future"
    );
    let from_memory = world.authn.0.lasting.counters.of(Method::Memory).read();
    assert_eq!(from_memory[0], ("accepted", 2));
}

#[tokio::test]
async fn a_rolled_key_costs_one_fetch_and_no_401() {
    let (old, new) = (testing::ec("k1"), testing::ec("k2"));
    let idp = Idp::start(&[&old]).await;
    let world = World::of(&idp).await;
    idp.rotate(&[&old, &new]);
    let tokens: Vec<String> = (0..50)
        .map(|n| new.sign(&testing::claims(&format!("user{n}"))))
        .collect();
    let answers =
        futures_util::future::join_all(tokens.iter().map(|token| world.name(token))).await;
    for (n, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer, Ok(format!("user{n}@oil.example")));
    }
    assert_eq!(idp.key_fetches(), 2);
}

#[tokio::test]
async fn ten_thousand_unknown_keys_cause_two_fetches_and_lock_nobody_out() {
    let (old, new) = (testing::ec("k1"), testing::ec("k2"));
    let idp = Idp::start(&[&old]).await;
    let world = World::of(&idp).await;
    for n in 0..10_000 {
        let refused = world.name(&of_unknown_key(n)).await.unwrap_err();
        let expected = if n < 2 { "key" } else { "key_budget" };
        assert_eq!(refused, expected, "token {n}");
    }
    assert_eq!(
        idp.key_fetches(),
        3,
        "one at the start and two for the flood"
    );
    idp.rotate(&[&old, &new]);
    let failure = world.identify(&alice(&new)).await.unwrap_err();
    assert_eq!(
        failure.status().code,
        503,
        "whose key is new has to wait, and is not sent to log in again"
    );
    assert!(failure.status().retry_after.is_some());
    assert_eq!(
        world.name(&alice(&old)).await.as_deref(),
        Ok(ALICE),
        "whose key is known notices nothing"
    );
}

#[tokio::test]
async fn an_unknown_key_is_asked_for_once_and_refused_for_a_while() {
    let key = testing::ec("k1");
    let idp = Idp::start(&[&key]).await;
    let world = World::of(&idp).await;
    for _ in 0..5 {
        assert_eq!(world.name(&of_unknown_key(1)).await, Err("key"));
    }
    assert_eq!(idp.key_fetches(), 2);
}

#[tokio::test]
async fn a_bad_signature_never_fetches() {
    let (key, forger) = (testing::ec("k1"), testing::ec("k1"));
    let idp = Idp::start(&[&key]).await;
    let world = World::of(&idp).await;
    for n in 0..100 {
        let token = forger.sign(&testing::claims(&format!("user{n}")));
        assert_eq!(world.name(&token).await, Err("signature"));
        assert_eq!(world.name(&token).await, Err("signature"));
    }
    assert_eq!(idp.key_fetches(), 1);
}

#[tokio::test]
async fn a_key_taken_back_ends_the_identities_it_proved() {
    let (stolen, other) = (testing::ec("k1"), testing::ec("k2"));
    let idp = Idp::start(&[&stolen]).await;
    let world = World::of(&idp).await;
    let token = alice(&stolen);
    assert_eq!(world.name(&token).await.as_deref(), Ok(ALICE));
    idp.rotate(&[&other]);
    assert_eq!(
        world.name(&alice(&other)).await.as_deref(),
        Ok(ALICE),
        "its unknown key makes us fetch"
    );
    assert_eq!(world.name(&token).await, Err("key"));

    // The same name for another key is another key.
    let reused = testing::ec("k2");
    idp.rotate(&[&reused]);
    let prover = world.authn.0.now.load_full();
    prover.issuers[0].keyring.on_fetched(
        99,
        Fetcher::new(&idp.issuer(), QUICK.fetch)
            .unwrap()
            .fetch()
            .await,
    );
    assert_eq!(world.name(&alice(&other)).await, Err("signature"));
}

#[tokio::test]
async fn an_issuer_that_is_down_is_a_503_until_it_is_back_without_restart() {
    let key = testing::ec("k1");
    let idp = Idp::start(&[&key]).await;
    idp.play(DOCUMENT, Reply::Status(500));
    let world = World::new(vec![idp.issuer()], None, QUICK);
    let failure = world.identify(&alice(&key)).await.unwrap_err();
    assert_eq!(failure, Failure::Unavailable(Unavailable::Keys));
    assert_eq!(failure.status().code, 503);
    idp.play(DOCUMENT, Reply::Json(idp.document()));
    tokio::time::timeout(DEADLINE, world.authn.ready())
        .await
        .unwrap();
    assert_eq!(world.name(&alice(&key)).await.as_deref(), Ok(ALICE));

    // Down later: what is remembered and what is known go on; a new key is "cannot say", not "no".
    idp.play(DOCUMENT, Reply::Status(500));
    assert_eq!(world.name(&alice(&key)).await.as_deref(), Ok(ALICE));
    let bob = key.sign(&testing::claims("bob"));
    assert_eq!(world.name(&bob).await.as_deref(), Ok("bob@oil.example"));
    assert_eq!(
        world.name(&of_unknown_key(1)).await,
        Err("key_refresh_unavailable")
    );
}

#[tokio::test]
async fn an_issuer_that_misbehaves_brings_no_keys() {
    let key = testing::ec("k1");
    let idp = Idp::start(&[&key]).await;
    let limits = keyring::fetch::Limits {
        connect: DEADLINE,
        total: Duration::from_millis(500),
    };
    let keys_at = |url: String| {
        let mut document = idp.document();
        document["jwks_uri"] = json!(url);
        Reply::Json(document)
    };
    let wrong_issuer =
        json!({"issuer": "https://login.microsoftonline.com/common/", "jwks_uri": idp.url(KEYS)});
    let many: Vec<_> = (0..101).map(|_| key.jwk()).collect();
    let elsewhere = Idp::start(&[&key]).await;
    let here = idp.url("/here");
    idp.play("/here", Reply::Json(testing::jwks(&[&key])));
    for (name, path, reply, expected) in [
        ("as it should be", DOCUMENT, Reply::Json(idp.document()), ""),
        (
            "document 500",
            DOCUMENT,
            Reply::Status(500),
            "the answer is HTTP 500 Internal Server Error",
        ),
        (
            "document is HTML",
            DOCUMENT,
            Reply::Text("<html>".to_owned()),
            "the discovery document is not readable",
        ),
        (
            "wrong issuer",
            DOCUMENT,
            Reply::Json(wrong_issuer),
            "the discovery document is another issuer's",
        ),
        (
            "keys by plain http",
            DOCUMENT,
            keys_at(idp.url(KEYS).replace("https", "http")),
            "the discovery document's jwks_uri is no https URL",
        ),
        (
            "keys on another host",
            DOCUMENT,
            keys_at(elsewhere.url(KEYS)),
            "the request could not be sent",
        ),
        (
            "keys 404",
            DOCUMENT,
            keys_at(idp.url("/nowhere")),
            "the answer is HTTP 404 Not Found",
        ),
        ("silence", DOCUMENT, Reply::Silence, "it took too long"),
        (
            "redirect within",
            KEYS,
            Reply::Redirect("/here".to_owned()),
            "",
        ),
        (
            "redirect within, whole",
            KEYS,
            Reply::Redirect(here.clone()),
            "",
        ),
        (
            "redirect to plain http",
            KEYS,
            Reply::Redirect(here.replace("https", "http")),
            "it redirects elsewhere, to plain http, or too often",
        ),
        (
            "redirect to another host",
            KEYS,
            Reply::Redirect(elsewhere.url(KEYS)),
            "it redirects elsewhere, to plain http, or too often",
        ),
        (
            "redirect in a circle",
            KEYS,
            Reply::Redirect(KEYS.to_owned()),
            "it redirects elsewhere, to plain http, or too often",
        ),
        ("keys never come", KEYS, Reply::Silence, "it took too long"),
        (
            "2 MiB of keys",
            KEYS,
            Reply::Text(" ".repeat(2 << 20)),
            "the answer is larger than 1048576 bytes",
        ),
        (
            "keys without end",
            KEYS,
            Reply::Endless,
            "the answer is larger than 1048576 bytes",
        ),
        (
            "no key",
            KEYS,
            Reply::Json(json!({"keys": []})),
            "the key set has no usable signature key",
        ),
        (
            "101 keys",
            KEYS,
            Reply::Json(json!({"keys": many})),
            "the key set has more than 100 keys",
        ),
        (
            "keys are HTML",
            KEYS,
            Reply::Text("<html>".to_owned()),
            "the key set is no JSON Web Key Set",
        ),
    ] {
        idp.play(DOCUMENT, Reply::Json(idp.document()));
        idp.rotate(&[&key]);
        idp.play(path, reply);
        let fetched = Fetcher::new(&idp.issuer(), limits).unwrap().fetch().await;
        let outcome = fetched.map_or_else(|error| error.to_string(), |_| String::new());
        assert_eq!(outcome, expected, "{name}");
    }
}

#[tokio::test]
async fn an_issuer_is_believed_by_its_certificate_only() {
    let key = testing::ec("k1");
    let (idp, other) = (Idp::start(&[&key]).await, Idp::start(&[&key]).await);
    for authority in [None, other.issuer().certificate_authority] {
        let issuer = Issuer {
            certificate_authority: authority,
            ..idp.issuer()
        };
        let fetched = Fetcher::new(&issuer, QUICK.fetch).unwrap().fetch().await;
        assert!(fetched.is_err_and(|error| error.to_string() == "the request could not be sent"));
    }
}

#[tokio::test]
async fn keys_may_lie_in_a_file() {
    let key = testing::ec("k1");
    let path = std::env::temp_dir().join(format!("jwks-{}-{NOW}.json", std::process::id()));
    std::fs::write(&path, testing::jwks(&[&key]).to_string()).unwrap();
    let issuer = Issuer {
        keys: KeySource::File(path.clone()),
        ..testing::issuer()
    };
    let fetched = Fetcher::new(&issuer, QUICK.fetch)
        .unwrap()
        .fetch()
        .await
        .unwrap();
    assert_eq!(fetched.find("k1").len(), 1);
    std::fs::remove_file(&path).unwrap();
    assert!(
        Fetcher::new(&issuer, QUICK.fetch)
            .unwrap()
            .fetch()
            .await
            .is_err()
    );
}

#[tokio::test]
async fn without_an_issuer_the_api_server_says_who_it_is() {
    let api_server = ApiServer::start(|token| server::accepted(&format!("owner-of-{token}"))).await;
    let world = World::new(Vec::new(), Some(&api_server), QUICK);
    let who = world.identify("opaque").await.unwrap();
    assert_eq!(who.user.as_str(), "owner-of-opaque");
    assert_eq!(who.by.as_str(), "tokenreview");
    assert_eq!(who.upstream, UpstreamMode::Token);
    assert_eq!(who.expires, None);
    assert_eq!(who.known_groups().len(), 2);
    assert!(Arc::ptr_eq(&who, &world.identify("opaque").await.unwrap()));
    assert_eq!(api_server.calls(), 1);

    let account = "system:serviceaccount:oil:deployer";
    api_server.play(move |_| server::accepted(account));
    let token =
        testing::ec("k1").sign(&json!({"iss": "https://kubernetes.default.svc", "exp": NOW + 600}));
    let who = world.identify(&token).await.unwrap();
    assert_eq!(who.user.as_str(), account);
    assert_eq!(
        who.expires,
        Some(testing::now() + Duration::from_secs(600)),
        "it ends when the token does"
    );
    let ended =
        testing::ec("k1").sign(&json!({"iss": "https://kubernetes.default.svc", "exp": NOW - 1}));
    assert_eq!(
        world.name(&ended).await,
        Err("expired"),
        "whatever the API server's clock says"
    );
}

#[tokio::test]
async fn a_stream_can_ask_again_who_its_caller_is() {
    let api_server = ApiServer::start(|_| server::accepted("alice")).await;
    let world = World::new(Vec::new(), Some(&api_server), QUICK);
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer opaque"));
    let caller = world.authn.identify(&headers, PEER).await.unwrap();
    assert_eq!(
        world.authn.recheck(&caller).await.unwrap().user,
        caller.who.user
    );
    let certificate = Caller {
        who: caller.who.clone(),
        credential: Credential::ProvedHere,
    };
    assert!(world.authn.recheck(&certificate).await.is_ok());
}

#[tokio::test]
async fn a_configured_issuers_bad_token_is_not_tried_elsewhere() {
    let (key, forger) = (testing::ec("k1"), testing::ec("k1"));
    let idp = Idp::start(&[&key]).await;
    let api_server = ApiServer::start(|_| server::accepted("alice")).await;
    let world = World::new(vec![idp.issuer()], Some(&api_server), QUICK);
    world.loaded().await;
    let mut expired = testing::claims("alice");
    expired["exp"] = json!(NOW);
    let mut masters = testing::claims("alice");
    masters["groups"] = json!(["system:masters"]);
    for (token, reason) in [
        (alice(&forger), "signature"),
        (key.sign(&expired), "expired"),
        (key.sign(&masters), "identity"),
        (of_unknown_key(1), "key"),
    ] {
        assert_eq!(world.name(&token).await, Err(reason));
    }
    assert_eq!(api_server.calls(), 0);
}

#[tokio::test]
async fn an_issuer_nobody_can_ask_falls_back_to_the_api_server() {
    let key = testing::ec("k1");
    let idp = Idp::start(&[&key]).await;
    idp.play(DOCUMENT, Reply::Status(500));
    let api_server = ApiServer::start(|_| server::accepted("alice")).await;
    let world = World::new(vec![idp.issuer()], Some(&api_server), QUICK);
    assert_eq!(world.name(&alice(&key)).await.as_deref(), Ok("alice"));
    tokio::time::timeout(DEADLINE, world.authn.ready())
        .await
        .expect("ready without the issuer");

    idp.play(DOCUMENT, Reply::Json(idp.document()));
    world.loaded().await;
    for n in 0..5 {
        let outcome = world.name(&of_unknown_key(n)).await;
        let expected = if n < 2 {
            Err("key")
        } else {
            Ok("alice".to_owned())
        };
        assert_eq!(
            outcome, expected,
            "with the budget spent the API server is asked"
        );
    }
}

#[tokio::test]
async fn an_issuer_the_api_server_does_not_know_is_not_asked_about_there() {
    let key = testing::ec("k1");
    let idp = Idp::start(&[&key]).await;
    idp.play(DOCUMENT, Reply::Status(500));
    let api_server = ApiServer::start(|_| server::refused()).await;
    let issuer = Issuer {
        upstream: UpstreamMode::Impersonate,
        ..idp.issuer()
    };
    let world = World::new(vec![issuer], Some(&api_server), QUICK);
    assert_eq!(
        world.name(&alice(&key)).await,
        Err("keys_unavailable"),
        "a 503 and no 401"
    );
    assert_eq!(api_server.calls(), 0);
}

#[tokio::test]
async fn an_unknown_issuer_is_a_401_where_the_api_server_may_not_be_asked() {
    let key = testing::ec("k1");
    let idp = Idp::start(&[&key]).await;
    let world = World::of(&idp).await;
    assert_eq!(world.name("opaque").await, Err("issuer"));
    let other = key.sign(&json!({"iss": "kubernetes/serviceaccount", "exp": NOW + 60}));
    assert_eq!(world.name(&other).await, Err("issuer"));
}

fn groups(who: &Identity) -> Result<usize, GroupsUnknown> {
    match &who.groups {
        Groups::Known(names) => Ok(names.len()),
        Groups::Unknown(why) => Err(*why),
    }
}

#[tokio::test]
async fn groups_that_do_not_fit_come_from_the_api_server_or_are_unknown() {
    let key = testing::ec("k1");
    let idp = Idp::start(&[&key]).await;
    let many: Vec<String> = (0..300).map(|n| format!("group-{n}")).collect();
    let user = |name: &str| json!({"username": name, "groups": many});
    let answered = |user: Value| server::review(&json!({"authenticated": true, "user": user}));
    for (name, reply, expected) in [
        ("the same name", answered(user(ALICE)), Ok(300)),
        (
            "somebody else",
            answered(user("bob@oil.example")),
            Err(GroupsUnknown::Unresolvable),
        ),
        (
            "an issuer unknown there",
            server::refused(),
            Err(GroupsUnknown::Unresolvable),
        ),
        (
            "API server down",
            Reply::Status(500),
            Err(GroupsUnknown::Unavailable),
        ),
    ] {
        let api_server = ApiServer::start(move |_| reply.clone()).await;
        let world = World::new(vec![idp.issuer()], Some(&api_server), QUICK);
        world.loaded().await;
        let who = world.identify(&overage(&key)).await.unwrap();
        assert_eq!(groups(&who), expected, "{name}");
        assert_eq!(who.user.as_str(), ALICE, "who he is is proved all the same");
        assert_eq!(who.by.as_str(), &*testing::issuer().url);
    }
    let world = World::of(&idp).await;
    let who = world.identify(&overage(&key)).await.unwrap();
    assert_eq!(
        groups(&who),
        Err(GroupsUnknown::Unresolvable),
        "switched off"
    );
}

#[tokio::test]
async fn groups_unknown_for_want_of_an_answer_are_asked_for_again() {
    let key = testing::ec("k1");
    let idp = Idp::start(&[&key]).await;
    let api_server = ApiServer::start(|_| Reply::Status(500)).await;
    let world = World::new(vec![idp.issuer()], Some(&api_server), QUICK);
    world.loaded().await;
    let token = overage(&key);
    assert_eq!(
        groups(&world.identify(&token).await.unwrap()),
        Err(GroupsUnknown::Unavailable)
    );
    api_server.play(|_| server::accepted(ALICE));
    assert_eq!(groups(&world.identify(&token).await.unwrap()), Ok(2));
    assert_eq!(groups(&world.identify(&token).await.unwrap()), Ok(2));
    assert_eq!(
        api_server.calls(),
        2,
        "the answer is remembered, its absence was not"
    );
}

#[test]
fn a_door_that_nobody_could_pass_is_not_opened() {
    let start = |settings| {
        let authn = Authn::new(None, Clock::system()).unwrap();
        authn.configure(settings)
    };
    let nobody = Settings {
        token_review: TokenReviewSetting::Off,
        ..Settings::default()
    };
    assert!(matches!(start(nobody), Err(StartError::Nobody)));
    assert!(matches!(
        start(Settings::default()),
        Err(StartError::NoClient)
    ));
}

/// Tracing's output, kept.
#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_token_is_in_any_log_at_any_level() {
    let log = Log::default();
    let kept = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || kept.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    // Tests beside this one meet the same callsites without a subscriber. Where there is only one, the thread that comes
    // first decides for all; where there are two, each is asked.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::new());
    // And what was remembered before is forgotten.
    tracing::callsite::rebuild_interest_cache();

    let (key, forger) = (testing::ec("k1"), testing::ec("k1"));
    let idp = Idp::start(&[&key]).await;
    let api_server = ApiServer::start(|_| server::refused()).await;
    let world = World::new(vec![idp.issuer()], Some(&api_server), QUICK);
    world.loaded().await;
    let tokens = [
        alice(&key),
        alice(&forger),
        overage(&key),
        of_unknown_key(1),
        "opaque-but-secret".to_owned(),
    ];
    for token in &tokens {
        let _ = world.identify(token).await;
    }
    for reply in [
        Reply::Status(500),
        Reply::Text("another-secret".to_owned()),
        Reply::Json(json!({"spec": {"token": "another-secret"}, "status": "another-secret"})),
    ] {
        api_server.play(move |_| reply.clone());
        let _ = world.identify("another-secret").await;
    }
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(
        text.contains("TokenReview failed"),
        "the log is there: {text}"
    );
    for token in tokens.iter().map(String::as_str).chain(["another-secret"]) {
        for part in token.split('.') {
            assert!(!text.contains(part), "{part} in {text}");
        }
    }
}
