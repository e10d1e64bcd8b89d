//! Tests of `tenancy::index`.

use jiff::SignedDuration;
use proptest::prelude::*;

use super::*;
use crate::identity::AuthenticatorId;
use crate::identity::Extra;
use crate::identity::Proof;
use crate::identity::UpstreamMode;
use crate::k8s::names::ObjectName;
use crate::tenancy::facts::BindingFact;
use crate::tenancy::facts::NamespaceFact;
use crate::tenancy::facts::TenantFact;
use crate::wire::labels::Labels;

mod model;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

/// An identity written `alice devs admins`: the user, then his groups.
fn identity(text: &str) -> Identity {
    let mut words = text.split_whitespace();
    Identity::new(Proof {
        user: UserName::parse(words.next().unwrap()).unwrap(),
        groups: Ok(words
            .map(|group| GroupName::parse(group).unwrap())
            .collect()),
        uid: None,
        extra: Extra::new(),
        expires: None,
        by: AuthenticatorId::new("test"),
        upstream: UpstreamMode::Token,
    })
}

/// A subject written `alice` or `@devs`.
fn subject(text: &str) -> Subject {
    match text.strip_prefix('@') {
        Some(group) => Subject::Group(GroupName::parse(group).unwrap()),
        None => Subject::User(UserName::parse(text).unwrap()),
    }
}

fn subjects(text: &str) -> BTreeSet<Subject> {
    text.split_whitespace().map(subject).collect()
}

fn name(text: &str) -> Namespace {
    Namespace::parse(text).unwrap()
}

/// A Tenant `uid` of `owners`, with claims written `oil-dev` or `oil-dev=uid`.
fn tenant(uid: &str, owners: &str, claims: &str) -> TenantFact {
    let claims = claims
        .split_whitespace()
        .map(|claim| match claim.split_once('=') {
            Some((namespace, uid)) => Claim {
                namespace: name(namespace),
                uid: Some(Uid::new(uid)),
            },
            None => Claim {
                namespace: name(claim),
                uid: None,
            },
        });
    TenantFact {
        uid: Uid::new(uid),
        name: ObjectName::parse(uid).unwrap(),
        spec_owners: subjects(owners),
        status_owners: BTreeSet::new(),
        caught_up: true,
        claims: claims.collect(),
        listed: BTreeMap::new(),
        offers: Offers::new(),
    }
}

fn namespace(text: &str, uid: &str, created: i64, parents: &str) -> NamespaceFact {
    NamespaceFact {
        name: name(text),
        uid: Uid::new(uid),
        created: Some(at(created)),
        parents: uids(parents),
        labels: Labels::default(),
    }
}

fn uids(text: &str) -> Box<[Uid]> {
    let sorted: BTreeSet<Uid> = text.split_whitespace().map(Uid::new).collect();
    sorted.into_iter().collect()
}

fn binding(of: &str, called: &str, names: &str) -> BindingFact {
    BindingFact {
        namespace: name(of),
        name: ObjectName::parse(called).unwrap(),
        subjects: subjects(names).into_iter().collect(),
    }
}

/// An index told in short sentences.
struct Told {
    index: Index,
    now: i64,
}

impl Told {
    fn new(rules: Rules) -> Self {
        Self {
            index: Index::new(rules),
            now: 1000,
        }
    }

    fn tell(&mut self, event: Event) -> Changes {
        self.index.apply(event, at(self.now))
    }

    fn tenant(&mut self, uid: &str, owners: &str, claims: &str) -> Changes {
        self.tell(Event::Applied(Fact::Tenant(tenant(uid, owners, claims))))
    }

    fn namespace(&mut self, text: &str, created: i64, parents: &str) -> Changes {
        self.tell(Event::Applied(Fact::Namespace(namespace(
            text,
            &format!("{text}-uid"),
            created,
            parents,
        ))))
    }

    fn binding(&mut self, of: &str, called: &str, names: &str) -> Changes {
        self.tell(Event::Applied(Fact::Binding(binding(of, called, names))))
    }

    fn configuration(&mut self, users: &str, ignored: &str) -> Changes {
        self.tell(Event::Applied(Fact::Configuration(ConfigurationFact {
            users: subjects(users),
            ignored_groups: ignored
                .split_whitespace()
                .map(|group| GroupName::parse(group).unwrap())
                .collect(),
        })))
    }

    fn sees(&self, who: &str) -> String {
        text(&self.index.visible(&identity(who)))
    }
}

fn text(standing: &Standing) -> String {
    match standing {
        Standing::Ignored => "ignored".to_owned(),
        Standing::Stranger => "stranger".to_owned(),
        Standing::Member(visible) => {
            let names: Vec<&str> = visible.namespaces.iter().map(Namespace::as_str).collect();
            format!("[{}]", names.join(" "))
        }
    }
}

#[test]
fn an_owner_sees_the_namespaces_of_his_tenants_that_exist() {
    let mut told = Told::new(Rules::default());
    told.tenant("oil", "alice @oilers", "oil-dev oil-prod");
    told.namespace("oil-dev", 0, "");
    told.namespace("gas-dev", 0, "");
    assert_eq!(told.sees("alice"), "[oil-dev]");
    assert_eq!(told.sees("bob oilers"), "[oil-dev]");
    assert_eq!(told.sees("bob"), "stranger");
    assert_eq!(
        told.sees("oilers"),
        "stranger",
        "a user called like the group"
    );
    told.namespace("oil-prod", 0, "");
    assert_eq!(told.sees("alice"), "[oil-dev oil-prod]");
    told.tell(Event::Gone(Key::Namespace(name("oil-dev"))));
    assert_eq!(told.sees("alice"), "[oil-prod]");
    told.tell(Event::Gone(Key::Tenant(Uid::new("oil"))));
    assert_eq!(told.sees("alice"), "stranger");
}

#[test]
fn an_owner_of_an_empty_tenant_is_a_member_who_sees_nothing() {
    let mut told = Told::new(Rules::default());
    told.tenant("oil", "alice", "");
    assert_eq!(told.sees("alice"), "[]");
}

#[test]
fn a_namespace_just_created_is_seen_at_once_and_no_longer_than_five_minutes_on_its_reference_alone()
{
    let mut told = Told::new(Rules::default());
    told.tenant("oil", "alice", "");
    let changes = told.namespace("oil-dev", 1000, "oil");
    assert_eq!(told.sees("alice"), "[oil-dev]");
    assert_eq!(changes.touched, subjects("alice"));
    assert_eq!(told.index.next_deadline(), Some(at(1300)));
    assert!(told.index.expire(at(1299)).is_empty());
    assert_eq!(told.index.expire(at(1300)).touched, subjects("alice"));
    assert_eq!(told.sees("alice"), "[]");
    assert_eq!(told.index.next_deadline(), None);
}

#[test]
fn what_a_clock_ahead_of_time_made_old_is_young_again_when_it_is_put_back() {
    let mut told = Told::new(Rules::default());
    told.tenant("oil", "alice", "");
    told.namespace("oil-dev", 1000, "oil");
    told.index.expire(at(90_000));
    assert_eq!(told.sees("alice"), "[]");
    assert_eq!(told.index.expire(at(1200)).touched, subjects("alice"));
    assert_eq!(told.sees("alice"), "[oil-dev]");
    assert_eq!(told.index.next_deadline(), Some(at(1300)));
}

#[test]
fn a_status_in_time_keeps_a_young_namespace() {
    let mut told = Told::new(Rules::default());
    told.tenant("oil", "alice", "");
    told.namespace("oil-dev", 1000, "oil");
    let changes = told.tenant("oil", "alice", "oil-dev=oil-dev-uid");
    assert_eq!(changes, Changes::default(), "nobody sees anything new");
    assert_eq!(told.index.next_deadline(), None);
    told.now = 9000;
    told.binding("gas-dev", "any", "bob");
    assert_eq!(told.sees("alice"), "[oil-dev]");
}

#[test]
fn an_old_namespace_with_a_new_reference_is_not_taken_over_cve_2024_39690() {
    let mut told = Told::new(Rules::default());
    told.tenant("mallory", "mallory", "");
    told.namespace("kube-system", 0, "");
    told.namespace("kube-system", 0, "mallory");
    assert_eq!(told.sees("mallory"), "[]");
}

#[test]
fn a_tenant_may_arrive_after_its_namespaces() {
    let mut told = Told::new(Rules::default());
    told.namespace("oil-dev", 1000, "oil");
    let changes = told.tenant("oil", "alice", "");
    assert_eq!(told.sees("alice"), "[oil-dev]");
    assert_eq!(
        (changes.touched, changes.named),
        (subjects("alice"), subjects("alice"))
    );
}

#[test]
fn role_bindings_show_their_namespace_while_one_of_them_names_the_subject() {
    let mut told = Told::new(Rules::default());
    told.binding("oil-dev", "first", "bob @devs system:serviceaccount:ci:bot");
    assert_eq!(
        told.sees("bob"),
        "stranger",
        "the namespace is not there yet"
    );
    assert_eq!(
        told.namespace("oil-dev", 0, "").touched,
        subjects("bob @devs system:serviceaccount:ci:bot")
    );
    told.binding("oil-dev", "second", "bob");
    assert_eq!(told.sees("bob"), "[oil-dev]");
    assert_eq!(told.sees("carol devs"), "[oil-dev]");
    assert_eq!(told.sees("system:serviceaccount:ci:bot"), "[oil-dev]");
    // Bob sees it all the same, but what he may do there may be less now.
    assert_eq!(
        told.binding("oil-dev", "first", "").touched,
        subjects("bob @devs system:serviceaccount:ci:bot")
    );
    assert_eq!(told.sees("bob"), "[oil-dev]");
    told.tell(Event::Gone(Key::Binding(
        name("oil-dev"),
        ObjectName::parse("second").unwrap(),
    )));
    assert_eq!(told.sees("bob"), "stranger");
}

#[test]
fn a_role_binding_to_everybody_shows_nothing_unless_switched_on() {
    let everybody = "@system:authenticated @system:unauthenticated @system:serviceaccounts @system:serviceaccounts:ci";
    let sees = |wide_groups| {
        let mut told = Told::new(Rules {
            wide_groups,
            ..Rules::default()
        });
        told.namespace("oil-dev", 0, "");
        let changes = told.binding("oil-dev", "everybody", everybody);
        assert_eq!(changes.is_empty(), !wide_groups);
        told.sees("bob")
    };
    assert_eq!(sees(false), "stranger");
    assert_eq!(
        sees(true),
        "[oil-dev]",
        "bob's token does not carry the group that the API server adds"
    );
}

#[test]
fn the_ignored_are_ignored_whatever_names_them() {
    let mut told = Told::new(Rules {
        ignored_users: vec![UserName::parse("root").unwrap()],
        ignored_groups: vec![GroupName::parse("admins").unwrap()],
        ..Rules::default()
    });
    told.tenant("oil", "root @admins alice", "oil-dev");
    told.namespace("oil-dev", 0, "");
    assert_eq!(told.sees("root"), "ignored");
    assert_eq!(told.sees("alice admins"), "ignored");
    assert_eq!(told.sees("alice ops"), "[oil-dev]");
    assert_eq!(told.configuration("", "ops").touched, subjects("@ops"));
    assert_eq!(told.sees("alice ops"), "ignored");
    told.configuration("", "");
    assert_eq!(told.sees("alice ops"), "[oil-dev]");
    assert_eq!(told.sees("root"), "ignored");
}

#[test]
fn a_capsule_user_in_no_tenant_is_a_member_who_sees_nothing() {
    let mut told = Told::new(Rules::default());
    told.configuration("@capsule", "");
    assert_eq!(told.sees("alice capsule"), "[]");
    assert_eq!(told.sees("alice"), "stranger");
    assert_eq!(
        told.sees("system:serviceaccount:kube-system:x capsule system:serviceaccounts:kube-system"),
        "stranger"
    );
    told.tell(Event::Gone(Key::Configuration));
    assert_eq!(told.sees("alice capsule"), "stranger");
}

#[test]
fn a_relist_is_one_step_and_one_that_found_nothing_new_is_none() {
    let mut told = Told::new(Rules::default());
    told.tenant("oil", "alice", "oil-dev");
    told.tenant("gas", "bob", "gas-dev");
    told.namespace("oil-dev", 0, "");
    told.namespace("gas-dev", 0, "");
    let same = vec![
        Fact::Tenant(tenant("oil", "alice", "oil-dev")),
        Fact::Tenant(tenant("gas", "bob", "gas-dev")),
    ];
    assert_eq!(told.index.differences(Source::Tenants, same), []);
    let others = vec![Fact::Tenant(tenant("gas", "carol", "gas-dev oil-dev"))];
    let changes = told.tell(Event::Reset(Source::Tenants, others));
    assert_eq!(changes.touched, subjects("alice bob carol"));
    assert_eq!(told.sees("carol"), "[gas-dev oil-dev]");
    assert_eq!(
        (told.sees("alice"), told.sees("bob")),
        ("stranger".to_owned(), "stranger".to_owned())
    );
}

#[test]
fn when_everything_is_gone_nothing_is_kept() {
    let mut told = Told::new(Rules::default());
    told.tenant("oil", "alice @oilers", "oil-dev=old gas-dev");
    told.namespace("oil-dev", 1000, "oil");
    told.binding("oil-dev", "view", "bob");
    told.binding("nowhere", "view", "bob");
    told.configuration("@capsule", "admins");
    for source in Source::ALL {
        told.tell(Event::Reset(source, Vec::new()));
    }
    let index = &told.index;
    assert!(index.tenants.is_empty() && index.places.is_empty());
    assert!(index.members.is_empty() && index.deadlines.is_empty() && index.subjects.is_empty());
}

proptest! {
    /// Random histories against a model that recomputes everything from all objects: equal at each step, and what
    /// changed for whom was named.
    #[test]
    fn the_index_says_what_a_full_recomputation_says(gate in any::<bool>(), steps in proptest::collection::vec(model::step(), 1..60)) {
        model::check(gate, &steps)?;
    }
}
