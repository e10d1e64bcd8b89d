//! Tests of `tenancy::people`.

use super::*;
use crate::identity::AuthenticatorId;
use crate::identity::Extra;
use crate::identity::Proof;
use crate::identity::UpstreamMode;
use crate::identity::UserName;
use crate::tenancy::scope::Generation;
use crate::tenancy::scope::Standing;

const MINUTE: Duration = Duration::from_mins(1);

/// A person written `alice devs admins`: the user, then his groups.
fn person(text: &str) -> Arc<Person> {
    let mut words = text.split_whitespace();
    let who = Identity::new(Proof {
        user: UserName::parse(words.next().unwrap()).unwrap(),
        groups: Ok(words
            .map(|group| GroupName::parse(group).unwrap())
            .collect()),
        uid: None,
        extra: Extra::new(),
        expires: None,
        by: AuthenticatorId::new("test"),
        upstream: UpstreamMode::Token,
    });
    let scope = Scope {
        generation: Generation(0),
        standing: Standing::Stranger,
    };
    Arc::new(Person {
        who: Arc::new(who),
        scope: watch::Sender::new(Arc::new(scope)),
        stirred: watch::Sender::new(()),
        open: Arc::default(),
    })
}

fn subjects(text: &str) -> BTreeSet<Subject> {
    text.split_whitespace()
        .map(|word| match word.strip_prefix('@') {
            Some(group) => Subject::Group(GroupName::parse(group).unwrap()),
            None => Subject::User(UserName::parse(word).unwrap()),
        })
        .collect()
}

/// The users found under `touched`.
fn found(people: &People, touched: &str) -> String {
    let carrying = people.carrying(&subjects(touched));
    let mut users: Vec<&str> = carrying
        .iter()
        .map(|(person, _)| person.who.user.as_str())
        .collect();
    users.sort_unstable();
    users.join(" ")
}

#[tokio::test(start_paused = true)]
async fn users_are_found_at_once_and_groups_once_they_are_named() {
    let mut people = People::new(10);
    for text in ["alice devs", "bob devs ops", "devs"] {
        let _presence = people.enter(&person(text), Vec::new(), Instant::now());
    }
    assert_eq!(found(&people, "alice @devs"), "alice");
    people.name(&subjects("@devs"));
    assert_eq!(found(&people, "@devs"), "alice bob");
    people.name(&subjects("@devs @ops @others alice"));
    assert_eq!(found(&people, "@devs @ops"), "alice bob", "each once");
    let (_, under) = people.carrying(&subjects("bob")).pop().unwrap();
    assert_eq!(
        under.into_iter().collect::<BTreeSet<_>>(),
        subjects("bob @devs @ops")
    );
    people.name(&subjects("@system:authenticated"));
    assert_eq!(
        found(&people, "@system:authenticated"),
        "alice bob devs",
        "in no token, but the API server adds it"
    );
}

#[tokio::test(start_paused = true)]
async fn many_groups_named_at_once_are_matched_by_the_shorter_list() {
    let mut people = People::new(10);
    let _presence = people.enter(&person("alice g7 g4000"), Vec::new(), Instant::now());
    let many: Vec<String> = (0..1000).map(|number| format!("@g{number}")).collect();
    people.name(&subjects(&many.join(" ")));
    assert_eq!(found(&people, "@g7"), "alice");
    let groups: Vec<String> = (0..1000).map(|number| format!("g{number}")).collect();
    let _presence = people.enter(
        &person(&format!("bob {}", groups.join(" "))),
        Vec::new(),
        Instant::now(),
    );
    people.name(&subjects("@g7"));
    assert_eq!(found(&people, "@g7"), "alice bob");
}

#[tokio::test(start_paused = true)]
async fn the_idle_are_forgotten_and_those_with_something_open_are_not() {
    let mut people = People::new(10);
    let (alice, bob) = (person("alice devs"), person("bob"));
    let open = people.enter(&alice, Vec::new(), Instant::now());
    drop(people.enter(&bob, Vec::new(), Instant::now()));
    people.name(&subjects("@devs"));
    for _ in 0..9 {
        tokio::time::advance(MINUTE).await;
        people.sweep(Instant::now(), 10 * MINUTE);
    }
    assert_eq!(people.len(), 2);
    tokio::time::advance(MINUTE).await;
    people.sweep(Instant::now(), 10 * MINUTE);
    assert_eq!(found(&people, "alice bob"), "alice");
    drop(open);
    for _ in 0..9 {
        tokio::time::advance(MINUTE).await;
        people.sweep(Instant::now(), 10 * MINUTE);
        assert_eq!(
            people.len(),
            1,
            "ten minutes begin when the last stream ends"
        );
    }
    tokio::time::advance(MINUTE).await;
    people.sweep(Instant::now(), 10 * MINUTE);
    assert!(
        people.is_empty() && people.by_subject.is_empty(),
        "nothing is kept of who is gone"
    );
}

#[tokio::test(start_paused = true)]
async fn a_crowd_pushes_out_those_seen_least_recently() {
    let mut people = People::new(32);
    let mut open = Vec::new();
    for number in 0..32 {
        tokio::time::advance(Duration::from_secs(1)).await;
        let presence = people.enter(
            &person(&format!("user{number}")),
            Vec::new(),
            Instant::now(),
        );
        if number == 0 {
            open.push(presence);
        }
    }
    let _again = people.find(person("user1").who.key(), Instant::now() + MINUTE);
    let _presence = people.enter(&person("newcomer"), Vec::new(), Instant::now());
    assert_eq!(people.len(), 30, "a sixteenth and one make room");
    assert_eq!(
        found(&people, "user0 user1 user2 user3 user4 user5 newcomer"),
        "newcomer user0 user1 user5"
    );
}
