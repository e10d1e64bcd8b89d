//! One configuration in the place of another while people log in.

use super::*;
use crate::authn::settings::Origin;
use crate::authn::settings::UsernameRule;
use crate::metrics::Metrics;

/// An issuer beside that of the other tests.
const ELSEWHERE: &str = "https://login.elsewhere.example/team";

/// That issuer, with its keys at `idp`.
fn elsewhere(idp: &Idp) -> Issuer {
    let document = json!({"issuer": ELSEWHERE, "jwks_uri": idp.url(KEYS)});
    idp.play(DOCUMENT, Reply::Json(document));
    Issuer {
        name: "jwt[1]".into(),
        url: ELSEWHERE.into(),
        entra: None,
        ..idp.issuer()
    }
}

fn alice_elsewhere(key: &KeyPair) -> String {
    let mut claims = testing::claims("alice");
    claims["iss"] = json!(ELSEWHERE);
    key.sign(&claims)
}

/// `issuer` at another place of the file, in which its lines have moved as well.
fn moved(issuer: Issuer) -> Issuer {
    let username = UsernameRule {
        origin: Origin::File("proxy.yaml:99".to_owned()),
        ..issuer.username
    };
    Issuer {
        name: "jwt[7]".into(),
        username,
        ..issuer
    }
}

impl World {
    fn configure(&self, issuers: Vec<Issuer>, token_review: TokenReviewSetting) {
        let settings = Settings {
            issuers,
            token_review,
        };
        self.authn.configure(settings).unwrap();
    }

    async fn caller(&self, token: &str) -> Caller {
        Caller {
            who: self.identify(token).await.unwrap(),
            credential: Credential::Bearer(SecretToken::new(token)),
        }
    }

    /// What was counted in the series that begins so.
    fn counted(&self, series: &str) -> String {
        let (mut metrics, authn) = (Metrics::default(), self.authn.clone());
        metrics.add(move |sheet| authn.families(sheet));
        let text = metrics.render();
        let line = text.lines().find_map(|line| line.strip_prefix(series));
        line.unwrap_or_default().trim().to_owned()
    }
}

#[tokio::test]
async fn an_issuer_that_is_removed_is_believed_no_longer_not_even_from_memory() {
    let key = testing::ec("k1");
    let (idp, other) = (Idp::start(&[&key]).await, Idp::start(&[&key]).await);
    let api_server = ApiServer::start(|_| server::accepted("known-to-the-api-server")).await;
    let world = World::new(vec![idp.issuer()], Some(&api_server), QUICK);
    world.loaded().await;
    let token = alice(&key);
    let caller = world.caller(&token).await;
    assert_eq!(caller.who.user.as_str(), ALICE);

    world.configure(vec![elsewhere(&other)], TokenReviewSetting::Off);
    assert_eq!(world.name(&token).await, Err("issuer"));
    let rechecked = world.authn.recheck(&caller).await.map(drop);
    assert_eq!(rechecked, Err(Refusal::UnknownIssuer.into()));

    // Where it may be asked, the API server has the word: about somebody else, for all that is known here.
    world.configure(vec![elsewhere(&other)], REVIEWED);
    let who = world.authn.recheck(&caller).await.unwrap();
    assert_eq!(who.user.as_str(), "known-to-the-api-server");
    assert_ne!(who.key(), caller.who.key());
}

#[tokio::test]
async fn the_keys_of_a_removed_issuer_are_held_by_nobody() {
    let key = testing::ec("k1");
    let (idp, other) = (Idp::start(&[&key]).await, Idp::start(&[&key]).await);
    let world = World::new(vec![idp.issuer(), elsewhere(&other)], None, QUICK);
    world.loaded().await;
    let keyrings = |world: &World| -> Vec<_> {
        let prover = world.authn.0.now.load_full();
        let issuers = prover.issuers.iter();
        issuers
            .map(|known| Arc::downgrade(&known.keyring))
            .collect()
    };
    let before = keyrings(&world);
    world.configure(vec![elsewhere(&other)], TokenReviewSetting::Off);
    let given_up = async {
        while before[0].strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, given_up).await.unwrap();
    assert!(
        before[1].ptr_eq(&keyrings(&world)[0]),
        "the other is the same"
    );
}

#[tokio::test]
async fn an_issuer_that_stays_keeps_its_keys_wherever_it_moves_to() {
    let key = testing::ec("k1");
    let (idp, other) = (Idp::start(&[&key]).await, Idp::start(&[&key]).await);
    let world = World::of(&idp).await;
    let before = world.caller(&alice(&key)).await;
    idp.play(DOCUMENT, Reply::Status(500));

    world.configure(
        vec![elsewhere(&other), moved(idp.issuer())],
        TokenReviewSetting::Off,
    );
    let after = world.authn.recheck(&before).await.unwrap();
    assert_eq!(after.key(), before.who.key());
    assert_eq!(idp.key_fetches(), 1);
    let age = world.counted("kube_tenant_proxy_issuer_keys_age_seconds{issuer=\"jwt[7]\"}");
    assert_ne!(age, "", "it is named by its new place");
}

#[tokio::test]
async fn people_of_two_issuers_are_never_one_however_the_file_is_ordered() {
    let key = testing::ec("k1");
    let (idp, other) = (Idp::start(&[&key]).await, Idp::start(&[&key]).await);
    let world = World::of(&idp).await;
    let here = world.identify(&alice(&key)).await.unwrap();
    let in_its_place = Issuer {
        name: idp.issuer().name,
        ..elsewhere(&other)
    };
    world.configure(vec![in_its_place], TokenReviewSetting::Off);
    world.loaded().await;
    let there = world.identify(&alice_elsewhere(&key)).await.unwrap();
    assert_eq!(there.user, here.user);
    assert_eq!(there.groups, here.groups);
    assert_ne!(there.key(), here.key());
}

#[tokio::test]
async fn whose_requests_would_go_upstream_in_another_way_is_somebody_else() {
    let key = testing::ec("k1");
    let idp = Idp::start(&[&key]).await;
    let world = World::of(&idp).await;
    let before = world.caller(&alice(&key)).await;
    let issuer = Issuer {
        upstream: UpstreamMode::Impersonate,
        ..idp.issuer()
    };
    world.configure(vec![issuer], TokenReviewSetting::Off);
    let after = world.authn.recheck(&before).await.unwrap();
    assert_eq!(after.upstream, UpstreamMode::Impersonate);
    assert_ne!(after.key(), before.who.key());
}

#[tokio::test]
async fn an_issuer_that_is_added_is_asked_for_its_keys() {
    let key = testing::ec("k1");
    let (idp, new) = (Idp::start(&[&key]).await, Idp::start(&[&key]).await);
    let world = World::of(&idp).await;
    let token = alice_elsewhere(&key);
    assert_eq!(world.name(&token).await, Err("issuer"));
    let added = elsewhere(&new);
    new.play(DOCUMENT, Reply::Status(500));
    world.configure(vec![idp.issuer(), added.clone()], TokenReviewSetting::Off);
    assert_eq!(
        world.name(&token).await,
        Err("keys_unavailable"),
        "as at the start"
    );
    assert_eq!(world.name(&alice(&key)).await.as_deref(), Ok(ALICE));
    elsewhere(&new);
    world.loaded().await;
    assert_eq!(world.name(&token).await.as_deref(), Ok(ALICE));
    assert_eq!(idp.key_fetches(), 1);

    // The same one from another place: what was fetched there is not taken for what is here.
    let rolled = testing::ec("k1");
    let replaced = Idp::start(&[&rolled]).await;
    world.configure(vec![elsewhere(&replaced)], TokenReviewSetting::Off);
    world.loaded().await;
    assert_eq!(world.name(&token).await, Err("signature"));
}

#[tokio::test]
async fn an_old_mapping_does_not_outlive_the_exchange() {
    let key = testing::ec("k1");
    let idp = Idp::start(&[&key]).await;
    let world = World::of(&idp).await;
    let before = world.caller(&alice(&key)).await;
    let username = UsernameRule {
        prefix: "team:".to_owned(),
        ..idp.issuer().username
    };
    let issuer = Issuer {
        username,
        groups: None,
        ..idp.issuer()
    };
    world.configure(vec![issuer], TokenReviewSetting::Off);
    let after = world.authn.recheck(&before).await.unwrap();
    assert_eq!(after.user.as_str(), format!("team:{ALICE}"));
    let groups: Vec<_> = after.known_groups().iter().map(GroupName::as_str).collect();
    assert_eq!(groups, ["system:authenticated"]);
    assert_eq!(idp.key_fetches(), 1, "its keys are the same");
}

/// On several threads: the API server's answer waits on one of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_begun_under_the_old_configuration_is_judged_by_the_new() {
    let key = testing::ec("k1");
    let idp = Idp::start(&[&key]).await;
    let (answer, answered) = std::sync::mpsc::channel::<()>();
    let api_server = ApiServer::start(move |_| {
        answered.recv().unwrap();
        server::accepted("alice")
    })
    .await;
    let world = World::new(Vec::new(), Some(&api_server), QUICK);
    let (under_way, ()) = tokio::join!(world.name("opaque"), async {
        while api_server.calls() == 0 {
            tokio::task::yield_now().await;
        }
        world.configure(vec![idp.issuer()], TokenReviewSetting::Off);
        answer.send(()).unwrap();
    });
    assert_eq!(under_way, Err("issuer"));
    assert_eq!(world.name("opaque").await, Err("issuer"));
    assert_eq!(
        world.counted("kube_tenant_proxy_identity_cache_entries"),
        "0"
    );
    world.configure(Vec::new(), REVIEWED);
    let accepted = "kube_tenant_proxy_token_reviews_total{outcome=\"accepted\"}";
    assert_eq!(
        world.counted(accepted),
        "1",
        "counters outlive configurations"
    );
}

#[tokio::test]
async fn a_configuration_that_cannot_be_used_changes_nothing() {
    let key = testing::ec("k1");
    let idp = Idp::start(&[&key]).await;
    let world = World::of(&idp).await;
    let token = alice(&key);
    let who = world.identify(&token).await.unwrap();
    let mut exchanges = world.authn.exchanges();
    exchanges.mark_unchanged();
    let no_certificate = Issuer {
        certificate_authority: Some("no PEM".into()),
        ..idp.issuer()
    };
    for (issuers, token_review) in [
        (vec![no_certificate], TokenReviewSetting::Off),
        (Vec::new(), TokenReviewSetting::Off),
        (Vec::new(), REVIEWED),
    ] {
        let settings = Settings {
            issuers,
            token_review,
        };
        assert!(world.authn.configure(settings).is_err());
    }
    let again = world.identify(&token).await.unwrap();
    assert!(Arc::ptr_eq(&who, &again), "it is remembered");
    assert!(!exchanges.has_changed().unwrap());
}

#[tokio::test]
async fn a_stream_is_told_of_every_exchange_and_once_at_its_beginning() {
    let key = testing::ec("k1");
    let idp = Idp::start(&[&key]).await;
    let world = World::of(&idp).await;
    let mut exchanges = world.authn.exchanges();
    exchanges.changed().await.unwrap();
    assert!(!exchanges.has_changed().unwrap());
    world.configure(vec![idp.issuer()], TokenReviewSetting::Off);
    exchanges.changed().await.unwrap();
}

#[tokio::test]
async fn who_waits_for_an_issuer_that_is_replaced_waits_for_the_other() {
    let key = testing::ec("k1");
    let idp = Idp::start(&[&key]).await;
    let misspelt = Issuer {
        keys: KeySource::Discovery(idp.url("/nowhere").parse().unwrap()),
        ..idp.issuer()
    };
    let world = World::new(vec![misspelt], None, QUICK);
    let mut ready = Box::pin(world.authn.ready());
    assert!(futures_util::FutureExt::now_or_never(&mut ready).is_none());
    world.configure(vec![idp.issuer()], TokenReviewSetting::Off);
    tokio::time::timeout(DEADLINE, ready).await.unwrap();
    assert_eq!(world.name(&alice(&key)).await.as_deref(), Ok(ALICE));
}
