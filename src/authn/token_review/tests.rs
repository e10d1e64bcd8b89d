//! Tests of `authn::token_review`.

use std::net::Ipv4Addr;

use serde_json::Value;
use serde_json::json;

use super::*;
use crate::authn::cache::Cache;
use crate::authn::testing::server;
use crate::authn::testing::server::ApiServer;
use crate::authn::testing::server::Reply;

const HERE: Account = Account::Source(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
const THERE: Account = Account::Source(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)));

/// Reviews through a server that answers so.
struct World {
    api_server: ApiServer,
    reviews: TokenReviews,
    cache: Cache,
}

impl World {
    async fn new(limits: Limits, answer: impl Fn(&str) -> Reply + Send + 'static) -> Self {
        let api_server = ApiServer::start(answer).await;
        Self {
            reviews: TokenReviews::new(api_server.client(), Vec::new(), limits, Arc::default()),
            cache: Cache::new(&[7; 32]),
            api_server,
        }
    }

    async fn review(&self, token: &str, account: Account) -> Result<String, &'static str> {
        let person = self
            .reviews
            .review(self.cache.key(token), token, account)
            .await;
        person
            .map(|person| person.user.as_str().to_owned())
            .map_err(Failure::reason)
    }
}

#[test]
fn cve_2023_48312_only_a_plain_yes_with_a_name_is_believed() {
    let alice = json!({"username": "alice"});
    let asked = ["https://kubernetes.default.svc".to_owned()];
    let judged = |status: Value, asked: &[String]| {
        let status = serde_json::from_value(status).unwrap();
        judge(status, asked).map(|person| person.user.as_str().to_owned())
    };
    let no = Err(Refusal::NotAuthenticated);
    let unusable = Err(Refusal::ReviewUnusable);
    for (name, status, expected) in [
        (
            "yes",
            json!({"authenticated": true, "user": alice}),
            Ok("alice".to_owned()),
        ),
        (
            "empty error",
            json!({"authenticated": true, "user": alice, "error": ""}),
            Ok("alice".to_owned()),
        ),
        ("nothing", json!({}), no.clone()),
        (
            "no",
            json!({"authenticated": false, "user": alice}),
            no.clone(),
        ),
        ("only a user", json!({"user": alice}), no),
        (
            "yes with an error",
            json!({"authenticated": true, "user": alice, "error": "x"}),
            unusable.clone(),
        ),
        ("nobody", json!({"authenticated": true}), unusable.clone()),
        (
            "an empty name",
            json!({"authenticated": true, "user": {"username": ""}}),
            unusable.clone(),
        ),
        (
            "no name",
            json!({"authenticated": true, "user": {"groups": ["system:masters"]}}),
            unusable.clone(),
        ),
    ] {
        assert_eq!(judged(status, &[]), expected, "{name}");
    }
    for (name, audiences, expected) in [
        ("no audience back", json!([]), unusable.clone()),
        ("a foreign one", json!(["vault"]), unusable),
        (
            "one of those asked for",
            json!(["vault", asked[0]]),
            Ok("alice".to_owned()),
        ),
    ] {
        let status = json!({"authenticated": true, "user": alice, "audiences": audiences});
        assert_eq!(judged(status, &asked), expected, "{name}");
    }
}

#[tokio::test]
async fn a_thousand_callers_with_one_token_make_one_review() {
    let world = World::new(Limits::DEFAULT, |_| server::accepted("alice")).await;
    let callers = (0..1_000).map(|_| world.review("token", HERE));
    for answer in futures_util::future::join_all(callers).await {
        assert_eq!(answer.as_deref(), Ok("alice"));
    }
    assert_eq!(world.api_server.calls(), 1);
}

#[tokio::test]
async fn what_the_api_server_could_not_say_is_a_503_and_not_kept() {
    let limits = Limits {
        timeout: Duration::from_millis(200),
        ..Limits::DEFAULT
    };
    let world = World::new(limits, |_| Reply::Status(500)).await;
    for reply in [
        Reply::Status(500),
        Reply::Status(401),
        Reply::Status(403),
        // kube repeats these; our own deadline ends it.
        Reply::Status(503),
        Reply::Status(429),
        Reply::Text("<html>".to_owned()),
        Reply::Silence,
    ] {
        let name = format!("{reply:?}");
        world.api_server.play(move |_| reply.clone());
        assert_eq!(
            world.review("token", HERE).await,
            Err("review_unavailable"),
            "{name}"
        );
    }
    world.api_server.play(|_| server::accepted("alice"));
    assert_eq!(world.review("token", HERE).await.as_deref(), Ok("alice"));
}

#[tokio::test]
async fn strangers_use_up_their_own_address_and_nobody_known_there() {
    let limits = Limits {
        failures: 3,
        failure_every: Duration::from_secs(3_600),
        ..Limits::DEFAULT
    };
    let world = World::new(limits, |token| match token {
        "alices" => server::accepted("alice"),
        "carols" => server::accepted("carol"),
        _ => server::refused(),
    })
    .await;
    assert_eq!(world.review("alices", HERE).await.as_deref(), Ok("alice"));
    let mut answers = Vec::new();
    for n in 0..6 {
        answers.push(
            world
                .review(&format!("garbage {n}"), HERE)
                .await
                .unwrap_err(),
        );
    }
    assert_eq!(
        answers,
        [
            "review",
            "review",
            "review",
            "review_budget",
            "review_budget",
            "review_budget"
        ]
    );
    assert_eq!(world.api_server.calls(), 4, "a spent budget asks nothing");
    assert_eq!(
        world.review("alices", HERE).await.as_deref(),
        Ok("alice"),
        "known here, whatever comes from here"
    );
    assert_eq!(
        world.review("carols", HERE).await,
        Err("review_budget"),
        "a 503: try again"
    );
    assert_eq!(
        world.review("carols", Account::Proved).await.as_deref(),
        Ok("carol")
    );
    assert_eq!(world.review("carols", THERE).await.as_deref(), Ok("carol"));
}

#[tokio::test]
async fn good_tokens_and_outages_cost_no_budget_and_hanging_up_saves_none() {
    let limits = Limits {
        timeout: Duration::from_millis(200),
        failures: 2,
        failure_every: Duration::from_secs(3_600),
        ..Limits::DEFAULT
    };
    let world = World::new(limits, |_| server::accepted("alice")).await;
    for n in 0..10 {
        assert!(world.review(&format!("good {n}"), HERE).await.is_ok());
    }
    world.api_server.play(|_| Reply::Status(500));
    for n in 0..10 {
        assert_eq!(
            world.review(&format!("later {n}"), HERE).await,
            Err("review_unavailable")
        );
    }
    world.api_server.play(|_| Reply::Silence);
    for n in 0..2 {
        let token = format!("hung up {n}");
        let mut asking = Box::pin(world.review(&token, HERE));
        assert!(futures_util::FutureExt::now_or_never(&mut asking).is_none());
    }
    assert_eq!(world.review("next", HERE).await, Err("review_budget"));
}

#[tokio::test]
async fn a_flood_of_strangers_leaves_room_for_who_is_known() {
    let limits = Limits {
        timeout: Duration::from_millis(300),
        at_once: 2,
        failures: 1_000,
        ..Limits::DEFAULT
    };
    let world = World::new(limits, |token| match token {
        "alices" => server::accepted("alice"),
        _ => Reply::Silence,
    })
    .await;
    assert!(world.review("alices", HERE).await.is_ok());
    let strangers: Vec<String> = (0..20).map(|n| format!("garbage {n}")).collect();
    let flood =
        futures_util::future::join_all(strangers.iter().map(|token| world.review(token, THERE)));
    let (flood, alice) = futures_util::future::join(flood, world.review("alices", HERE)).await;
    assert_eq!(alice.as_deref(), Ok("alice"));
    let limited = flood
        .iter()
        .filter(|answer| **answer == Err("review_limit"))
        .count();
    assert_eq!(
        limited, 18,
        "two at once wait for an answer, the others for a place"
    );
}

#[test]
fn an_ipv6_household_is_one_source() {
    let address = |text: &str| network(text.parse().unwrap());
    assert_eq!(address("2001:db8::1"), address("2001:db8::ffff:1"));
    assert_ne!(address("2001:db8::1"), address("2001:db8:0:1::1"));
    assert_eq!(address("::ffff:192.0.2.1"), address("192.0.2.1"));
}
