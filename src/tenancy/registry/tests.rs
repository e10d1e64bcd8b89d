//! Tests of `tenancy::registry`.

use super::*;
use crate::identity::AuthenticatorId;
use crate::identity::Extra;
use crate::identity::GroupName;
use crate::identity::Proof;
use crate::identity::UpstreamMode;
use crate::identity::UserName;
use crate::k8s::names::Namespace;
use crate::tenancy::facts::BindingFact;
use crate::tenancy::facts::Claim;
use crate::tenancy::facts::Fact;
use crate::tenancy::facts::Key;
use crate::tenancy::facts::NamespaceFact;
use crate::tenancy::facts::TenantFact;
use crate::tenancy::facts::Uid;
use crate::tenancy::scope::Standing;

/// An identity written `alice devs admins`: the user, then his groups.
fn identity(text: &str) -> Arc<Identity> {
    let mut words = text.split_whitespace();
    Arc::new(Identity::new(Proof {
        user: UserName::parse(words.next().unwrap()).unwrap(),
        groups: Ok(words
            .map(|group| GroupName::parse(group).unwrap())
            .collect()),
        uid: None,
        extra: Extra::new(),
        expires: None,
        by: AuthenticatorId::new("test"),
        upstream: UpstreamMode::Token,
    }))
}

fn subjects(text: &str) -> BTreeSet<Subject> {
    text.split_whitespace()
        .map(|word| match word.strip_prefix('@') {
            Some(group) => Subject::Group(GroupName::parse(group).unwrap()),
            None => Subject::User(UserName::parse(word).unwrap()),
        })
        .collect()
}

/// A Tenant of `owners` with the namespaces `names`.
fn tenant(uid: &str, owners: &str, names: &str) -> Event {
    let claims = names.split_whitespace().map(|name| Claim {
        namespace: Namespace::parse(name).unwrap(),
        uid: None,
    });
    Event::Applied(Fact::Tenant(TenantFact {
        uid: Uid::new(uid),
        name: crate::k8s::names::ObjectName::parse(uid).unwrap(),
        spec_owners: subjects(owners),
        status_owners: BTreeSet::new(),
        caught_up: true,
        claims: claims.collect(),
        listed: std::collections::BTreeMap::new(),
        offers: crate::tenancy::facts::Offers::new(),
    }))
}

fn namespace(name: &str, created: Option<Timestamp>, parents: &[&str]) -> Event {
    Event::Applied(Fact::Namespace(NamespaceFact {
        name: Namespace::parse(name).unwrap(),
        uid: Uid::new(name),
        created,
        parents: parents.iter().map(|uid| Uid::new(uid)).collect(),
        labels: crate::wire::labels::Labels::default(),
    }))
}

fn binding(namespace: &str, names: &str) -> Event {
    Event::Applied(Fact::Binding(BindingFact {
        namespace: Namespace::parse(namespace).unwrap(),
        name: crate::k8s::names::ObjectName::parse("view").unwrap(),
        subjects: subjects(names).into_iter().collect(),
    }))
}

fn text(scope: &Scope) -> String {
    match &scope.standing {
        Standing::Ignored => "ignored".to_owned(),
        Standing::Stranger => "stranger".to_owned(),
        Standing::Member(visible) => {
            let names: Vec<&str> = visible.namespaces.iter().map(Namespace::as_str).collect();
            format!("[{}]", names.join(" "))
        }
    }
}

/// A tenancy with namespaces `a` to `d`, and Tenant `oil` of alice with `a` and `b`.
fn oil() -> Tenancy {
    let tenancy = Tenancy::new(Settings::default(), Clock::system());
    let mut events: Vec<Event> = ["a", "b", "c", "d"]
        .map(|name| namespace(name, None, &[]))
        .into();
    events.push(tenant("oil", "alice", "a b"));
    tenancy.apply(events);
    tenancy
}

/// The next scope, which is there already.
fn next(presence: &mut Presence) -> Option<String> {
    use futures_util::FutureExt;
    presence.changed().now_or_never().map(|scope| text(&scope))
}

#[tokio::test(start_paused = true)]
async fn who_enters_sees_what_is_known_and_is_told_of_what_changes() {
    let tenancy = oil();
    let mut alice = tenancy.present(&identity("alice"));
    assert_eq!(text(&alice.scope()), "[a b]");
    assert_eq!(next(&mut alice), None);
    tenancy.apply(vec![tenant("oil", "alice", "b c")]);
    assert_eq!(next(&mut alice).as_deref(), Some("[b c]"));
    assert_eq!(next(&mut alice), None);
}

#[tokio::test(start_paused = true)]
async fn a_change_between_entering_and_judging_is_not_lost() {
    let tenancy = oil();
    let mut alice = tenancy.present(&identity("alice"));
    tenancy.apply(vec![tenant("oil", "alice", "a")]);
    assert_eq!(text(&alice.scope()), "[a]");
    assert_eq!(
        next(&mut alice).as_deref(),
        Some("[a]"),
        "seen by scope(), but nobody said that this was a change"
    );
}

#[tokio::test(start_paused = true)]
async fn a_revocation_never_waits_even_behind_a_grant_that_does() {
    let tenancy = oil();
    let mut alice = tenancy.present(&identity("alice"));
    tenancy.apply(vec![tenant("oil", "alice", "a b c")]);
    assert_eq!(
        next(&mut alice).as_deref(),
        Some("[a b c]"),
        "the first grant does not wait"
    );
    tenancy.apply(vec![tenant("oil", "alice", "a b c d")]);
    assert_eq!(next(&mut alice), None, "the second does");
    tenancy.apply(vec![tenant("oil", "alice", "b c d")]);
    assert_eq!(
        next(&mut alice).as_deref(),
        Some("[b c d]"),
        "and comes along with a revocation"
    );
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_grants_is_two_generations() {
    let tenancy = oil();
    let stop = CancellationToken::new();
    let clock = tokio_util::task::TaskTracker::new();
    clock.spawn(tenancy.clone().keep_time(stop.clone()));
    let mut bob = tenancy.present(&identity("bob"));
    let mut seen = Vec::new();
    for names in ["a", "a b", "a b c", "a b c d"] {
        tenancy.apply(vec![tenant("gas", "bob", names)]);
        seen.extend(next(&mut bob));
        tokio::task::yield_now().await;
    }
    let begin = Instant::now();
    seen.push(text(&*bob.changed().await));
    assert_eq!(seen, ["[a]", "[a b c d]"]);
    assert_eq!(begin.elapsed(), BETWEEN_GRANTS);
    stop.cancel();
    clock.close();
    clock.wait().await;
}

#[tokio::test(start_paused = true)]
async fn generations_step_only_with_what_is_seen_and_never_come_again() {
    let tenancy = oil();
    let alice = tenancy.present(&identity("alice"));
    let first = alice.scope().generation;
    tenancy.apply(vec![
        tenant("oil", "alice carol", "a b"),
        binding("c", "dave"),
    ]);
    assert_eq!(alice.scope().generation, first, "others' sight is not hers");
    tenancy.apply(vec![tenant("oil", "carol", "a b")]);
    let second = alice.scope().generation;
    assert!(second > first);
    assert_eq!(text(&alice.scope()), "stranger");
    let dave = tenancy.present(&identity("dave"));
    assert!(dave.scope().generation > second);
}

#[tokio::test(start_paused = true)]
async fn a_group_named_after_its_member_came_is_matched() {
    let tenancy = oil();
    let mut bob = tenancy.present(&identity("bob devs ops"));
    assert_eq!(text(&bob.scope()), "stranger");
    tenancy.apply(vec![binding("c", "@ops @others")]);
    assert_eq!(next(&mut bob).as_deref(), Some("[c]"));
    tenancy.apply(vec![binding("c", "@others")]);
    assert_eq!(next(&mut bob).as_deref(), Some("stranger"));
}

#[tokio::test(start_paused = true)]
async fn one_identity_is_one_person_and_other_groups_make_another() {
    let tenancy = oil();
    let first = tenancy.present(&identity("alice"));
    let second = tenancy.present(&identity("alice"));
    assert_eq!(first.scope().generation, second.scope().generation);
    assert_eq!(tenancy.len(), 1);
    let _third = tenancy.present(&identity("alice devs"));
    assert_eq!(tenancy.len(), 2);
}

#[tokio::test]
async fn a_young_namespace_is_taken_back_by_the_clock() {
    let tenancy = Tenancy::new(Settings::default(), Clock::system());
    let stop = CancellationToken::new();
    let clock = tokio_util::task::TaskTracker::new();
    clock.spawn(tenancy.clone().keep_time(stop.clone()));
    let mut alice = tenancy.present(&identity("alice"));
    let nearly_old = Timestamp::now() - crate::tenancy::membership::YOUNG
        + jiff::SignedDuration::from_millis(300);
    tenancy.apply(vec![
        tenant("oil", "alice", ""),
        namespace("a", Some(nearly_old), &["oil"]),
    ]);
    assert_eq!(text(&*alice.changed().await), "[a]");
    let scope = tokio::time::timeout(Duration::from_secs(20), alice.changed())
        .await
        .unwrap();
    assert_eq!(text(&scope), "[]");
    stop.cancel();
    clock.close();
    clock.wait().await;
}

#[tokio::test(start_paused = true)]
async fn a_relist_is_seen_whole_or_not_at_all() {
    let tenancy = oil();
    let mut alice = tenancy.present(&identity("alice"));
    let list = [tenant("oil", "alice", "b c"), tenant("gas", "alice", "d")];
    let facts = list.into_iter().filter_map(|event| match event {
        Event::Applied(fact) => Some(fact),
        Event::Gone(_) | Event::Reset(..) => None,
    });
    tenancy.apply(vec![Event::Reset(Source::Tenants, facts.collect())]);
    assert_eq!(next(&mut alice).as_deref(), Some("[b c d]"));
    assert_eq!(next(&mut alice), None);
}

#[tokio::test(start_paused = true)]
async fn a_namespace_deleted_and_back_again_is_lost_and_found() {
    let tenancy = oil();
    let mut alice = tenancy.present(&identity("alice"));
    tenancy.apply(vec![Event::Gone(Key::Namespace(
        Namespace::parse("a").unwrap(),
    ))]);
    assert_eq!(next(&mut alice).as_deref(), Some("[b]"));
    tenancy.apply(vec![namespace("a", None, &[])]);
    assert_eq!(next(&mut alice).as_deref(), Some("[a b]"));
}

#[tokio::test(start_paused = true)]
async fn silence_makes_it_unready_and_then_stale() {
    let tenancy = Tenancy::new(
        Settings {
            role_bindings: false,
            ..Settings::default()
        },
        Clock::system(),
    );
    assert_eq!(tenancy.age().len(), 5);
    for (seconds, expected) in [
        (0, Freshness::Fresh),
        (119, Freshness::Fresh),
        (1, Freshness::Unready),
        (479, Freshness::Unready),
        (1, Freshness::Stale),
    ] {
        tokio::time::advance(Duration::from_secs(seconds)).await;
        assert_eq!(
            tenancy.freshness(),
            expected,
            "after {seconds} more seconds"
        );
    }
    for source in Source::ALL {
        tenancy.sources().hear(source);
    }
    assert_eq!(tenancy.freshness(), Freshness::Fresh);
}

/// Many threads enter while one changes what they see: in the end nobody is left with what was true before.
#[test]
fn nothing_falls_between_entering_and_a_change() {
    let tenancy = oil();
    let people: Vec<Arc<Identity>> = (0..1000)
        .map(|number| identity(&format!("user{number} crew")))
        .collect();
    let mut presences = Vec::new();
    std::thread::scope(|threads| {
        let writer = threads.spawn(|| {
            for round in 0..100 {
                let names = if round % 2 == 0 { "a" } else { "b" };
                tenancy.apply(vec![tenant("crew", "@crew", names)]);
            }
        });
        for person in &people {
            presences.push(tenancy.present(person));
        }
        writer.join().unwrap();
    });
    let wrong = presences
        .iter()
        .filter(|presence| text(&presence.scope()) != "[b]")
        .count();
    assert_eq!(wrong, 0);
}

/// Waits for a second creation within a second, while `alice` has `open` watches besides the request that creates.
/// How long it took, and what she sees then.
async fn second_creation(open: usize) -> (Duration, String) {
    let (tenancy, alice) = (oil(), identity("alice"));
    let request = tenancy.present(&alice);
    let _watches: Vec<Presence> = (0..open).map(|_| tenancy.present(&alice)).collect();
    let create = |name| tenancy.apply(vec![namespace(name, Some(Timestamp::now()), &["oil"])]);
    create("e");
    let (name, uid) = (Namespace::parse("f").unwrap(), Uid::new("f"));
    let started = Instant::now();
    tokio::join!(tenancy.has_entered(alice.key(), &name, &uid), async {
        create("f")
    });
    (started.elapsed(), text(&request.scope()))
}

#[tokio::test(start_paused = true)]
async fn who_creates_waits_until_he_sees_it_and_no_longer_than_a_watch_needs() {
    let all = || "[a b e f]".to_owned();
    assert_eq!(second_creation(0).await, (Duration::ZERO, all()));
    let (waited, seen) = second_creation(1).await;
    assert_eq!(seen, all());
    assert!(waited > Duration::ZERO && waited <= BETWEEN_GRANTS + Duration::from_millis(1));
}

#[tokio::test(start_paused = true)]
async fn a_namespace_of_the_same_name_is_not_the_one_waited_for() {
    let (tenancy, alice) = (oil(), identity("alice"));
    let _request = tenancy.present(&alice);
    let (name, uid) = (Namespace::parse("a").unwrap(), Uid::new("later"));
    let entered = tenancy.has_entered(alice.key(), &name, &uid);
    assert!(
        tokio::time::timeout(Duration::from_secs(60), entered)
            .await
            .is_err()
    );
}
