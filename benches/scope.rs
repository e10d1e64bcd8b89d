//! What a change of tenancy costs, and what the index weighs: one run prints one table.
//!
//! Sizes: 5 000 Tenants of ten namespaces, three RoleBindings per namespace, 10 000 identities present of fifty groups.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a table for people; a run that fails has no other reader"
)]

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use kube_tenant_proxy::clock::Clock;
use kube_tenant_proxy::identity::AuthenticatorId;
use kube_tenant_proxy::identity::Extra;
use kube_tenant_proxy::identity::GroupName;
use kube_tenant_proxy::identity::Identity;
use kube_tenant_proxy::identity::Proof;
use kube_tenant_proxy::identity::UpstreamMode;
use kube_tenant_proxy::identity::UserName;
use kube_tenant_proxy::k8s::names::Namespace;
use kube_tenant_proxy::k8s::names::ObjectName;
use kube_tenant_proxy::tenancy::Settings;
use kube_tenant_proxy::tenancy::Tenancy;
use kube_tenant_proxy::tenancy::event::Event;
use kube_tenant_proxy::tenancy::event::Source;
use kube_tenant_proxy::tenancy::facts::BindingFact;
use kube_tenant_proxy::tenancy::facts::Claim;
use kube_tenant_proxy::tenancy::facts::Fact;
use kube_tenant_proxy::tenancy::facts::NamespaceFact;
use kube_tenant_proxy::tenancy::facts::Offers;
use kube_tenant_proxy::tenancy::facts::TenantFact;
use kube_tenant_proxy::tenancy::facts::Uid;
use kube_tenant_proxy::tenancy::subject::Subject;
use kube_tenant_proxy::wire::labels::Labels;

const TENANTS: usize = 5_000;
const NAMESPACES_EACH: usize = 10;
const BINDINGS_EACH: usize = 3;
const PEOPLE: usize = 10_000;
const GROUPS_EACH: usize = 50;

fn main() {
    let tenancy = Tenancy::new(Settings::default(), Clock::system());
    println!("{:<58} {:>12}", "", "median");

    let before = resident();
    for (name, source, facts) in [
        (
            "first list of namespaces",
            Source::Namespaces,
            all_namespaces(),
        ),
        (
            "first list of tenants",
            Source::Tenants,
            (0..TENANTS).map(|at| tenant(at, NAMESPACES_EACH)).collect(),
        ),
        (
            "first list of role bindings",
            Source::RoleBindings,
            all_bindings(),
        ),
    ] {
        let event = vec![Event::Reset(source, facts)];
        row(name, once(|| tenancy.apply(event)));
    }
    println!(
        "{:<58} {:>9} MiB",
        "the index weighs",
        (resident() - before) >> 20
    );
    let again = vec![Event::Reset(Source::Namespaces, all_namespaces())];
    row(
        "a relist of namespaces that found nothing new",
        once(|| tenancy.apply(again)),
    );

    let people: Vec<Arc<Identity>> = (0..PEOPLE).map(|at| person(at, GROUPS_EACH)).collect();
    let presences: Vec<_> = people.iter().map(|who| tenancy.present(who)).collect();
    let known = Arc::clone(people.first().unwrap());
    row(
        "a known identity is present once more",
        median(|_| drop(black_box(tenancy.present(&known)))),
    );
    let newcomers: Vec<Arc<Identity>> = (0..ROUNDS).map(|at| person(PEOPLE + at, 2_000)).collect();
    let mut newcomers = newcomers.iter();
    row(
        "a new identity of 2000 groups is present",
        median(|_| drop(black_box(tenancy.present(newcomers.next().unwrap())))),
    );

    row(
        "a tenant loses or wins a namespace",
        median(|round| apply(&tenancy, tenant(round, NAMESPACES_EACH - round % 2))),
    );
    row(
        "a role binding names a user or no longer",
        median(|round| apply(&tenancy, binding(7, 0, &user(round / 2)))),
    );
    row(
        "a role binding names a group that nothing named before",
        median(|round| apply(&tenancy, binding(8, 0, &group(&format!("fresh-{round}"))))),
    );
    let mut many = binding(9, 0, &user(0));
    if let Fact::Binding(fact) = &mut many {
        fact.subjects = (0..10_000)
            .map(|at| group(&format!("hostile-{at:05}")))
            .collect();
    }
    row(
        "a role binding names 10000 groups at once",
        once(|| apply(&tenancy, many)),
    );
    black_box(presences);
}

const ROUNDS: usize = 101;

fn apply(tenancy: &Tenancy, fact: Fact) {
    tenancy.apply(vec![Event::Applied(fact)]);
}

fn once(work: impl FnOnce()) -> Duration {
    let begin = Instant::now();
    work();
    begin.elapsed()
}

fn median(mut work: impl FnMut(usize)) -> Duration {
    let mut times: Vec<Duration> = (0..ROUNDS).map(|round| once(|| work(round))).collect();
    times.sort_unstable();
    times.get(ROUNDS / 2).copied().unwrap()
}

fn row(name: &str, time: Duration) {
    println!("{name:<58} {:>9} µs", time.as_micros());
}

/// Resident memory in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap_or_default();
    line.split_whitespace()
        .next()
        .and_then(|kib| kib.parse::<usize>().ok())
        .unwrap_or_default()
        << 10
}

fn user(at: usize) -> Subject {
    Subject::User(UserName::parse(&format!("user-{at}@example.com")).unwrap())
}

fn group(name: &str) -> Subject {
    Subject::Group(GroupName::parse(name).unwrap())
}

fn namespace_name(tenant: usize, at: usize) -> Namespace {
    Namespace::parse(&format!("tenant-{tenant}-team-environment-{at}")).unwrap()
}

fn tenant(at: usize, namespaces: usize) -> Fact {
    Fact::Tenant(TenantFact {
        uid: Uid::new(&format!("0d6f0c5e-0000-4000-8000-{at:012}")),
        name: ObjectName::parse(&format!("tenant-{at}")).unwrap(),
        spec_owners: BTreeSet::from([user(at), group(&format!("owners-of-{at}"))]),
        status_owners: BTreeSet::from([user(at), group(&format!("owners-of-{at}"))]),
        caught_up: true,
        claims: (0..namespaces)
            .map(|space| Claim {
                namespace: namespace_name(at, space),
                uid: Some(Uid::new(&format!("7a1b2c3d-0000-4000-{space:04}-{at:012}"))),
            })
            .collect(),
        listed: BTreeMap::new(),
        offers: Offers::new(),
    })
}

fn all_namespaces() -> Vec<Fact> {
    let mut facts = Vec::new();
    for at in 0..TENANTS {
        for space in 0..NAMESPACES_EACH {
            facts.push(Fact::Namespace(NamespaceFact {
                name: namespace_name(at, space),
                uid: Uid::new(&format!("7a1b2c3d-0000-4000-{space:04}-{at:012}")),
                created: None,
                parents: [Uid::new(&format!("0d6f0c5e-0000-4000-8000-{at:012}"))].into(),
                labels: Labels::default(),
            }));
        }
    }
    facts
}

fn all_bindings() -> Vec<Fact> {
    let places = (0..TENANTS * NAMESPACES_EACH)
        .flat_map(|place| (0..BINDINGS_EACH).map(move |at| (place, at)));
    places
        .map(|(place, at)| binding(place, at, &user(place / NAMESPACES_EACH + at)))
        .collect()
}

fn binding(place: usize, at: usize, subject: &Subject) -> Fact {
    Fact::Binding(BindingFact {
        namespace: namespace_name(place / NAMESPACES_EACH, place % NAMESPACES_EACH),
        name: ObjectName::parse(&format!("capsule:managed:{at:016x}")).unwrap(),
        subjects: [subject.clone()].into(),
    })
}

fn person(at: usize, groups: usize) -> Arc<Identity> {
    let Subject::User(user) = user(at) else {
        unreachable!("user() makes users");
    };
    let groups = (0..groups)
        .map(|number| GroupName::parse(&format!("owners-of-{}", at * 31 + number)).unwrap());
    Arc::new(Identity::new(Proof {
        user,
        groups: Ok(groups.collect()),
        uid: None,
        extra: Extra::new(),
        expires: None,
        by: AuthenticatorId::new("jwt[0]"),
        upstream: UpstreamMode::Token,
    }))
}
