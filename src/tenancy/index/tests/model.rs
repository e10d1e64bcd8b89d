//! A trivial model of the index: it keeps all objects and recomputes every answer from them, by other code.

use proptest::sample::select;
use proptest::sample::subsequence;
use proptest::test_runner::TestCaseError;

use super::*;
use crate::k8s::label_selector::LabelSelector;
use crate::k8s::names::GroupResource;
use crate::k8s::pattern::Pattern;
use crate::tenancy::facts::GlobalFact;
use crate::tenancy::facts::GlobalRule;
use crate::tenancy::facts::SettingFact;
use crate::tenancy::facts::SettingSubject;
use crate::tenancy::grant::KindRule;
use crate::tenancy::grant::Kinds;
use crate::tenancy::grant::Objects;

#[derive(Clone, Debug)]
pub(super) enum Step {
    Tell(Event),
    /// Seconds pass, or the clock is put back.
    Wait(i64),
}

const TENANTS: [&str; 3] = ["oil", "gas", "sun"];
const NAMESPACES: [&str; 4] = ["n1", "n2", "n3", "n4"];
const SUBJECTS: [&str; 7] = [
    "alice",
    "bob",
    "@devs",
    "@ops",
    "system:serviceaccount:ci:bot",
    "@system:authenticated",
    "@system:serviceaccounts:ci",
];
const PEOPLE: [&str; 7] = [
    "alice",
    "bob devs",
    "carol ops devs system:authenticated",
    "devs",
    "system:serviceaccount:ci:bot system:serviceaccounts system:serviceaccounts:ci",
    "system:anonymous system:unauthenticated",
    "kube devs system:serviceaccounts:kube-system",
];

fn some_subjects() -> impl Strategy<Value = BTreeSet<Subject>> {
    subsequence(SUBJECTS.to_vec(), 0..=3).prop_map(|names| names.into_iter().map(subject).collect())
}

fn some_uid() -> impl Strategy<Value = Uid> {
    select(vec!["1", "2"]).prop_map(Uid::new)
}

/// Rules that show namespaces, nodes or volumes, in lists or only by name.
const GRANTS: [(&str, &str, &str, bool); 5] = [
    ("", "namespaces", "team=a", true),
    ("", "namespaces", "team=b", false),
    ("", "*", "team", true),
    ("", "nodes", "pool=x", true),
    ("storage.k8s.io", "*", "tier=gold", true),
];

fn some_grants(wide: bool) -> impl Strategy<Value = Vec<Grant>> {
    subsequence(GRANTS.to_vec(), 0..=2).prop_map(move |grants| {
        let grant = |(group, plural, selector, lists): (&str, &str, &str, bool)| Grant {
            kinds: Kinds::Rule(KindRule {
                api_groups: vec![Pattern::new(group)],
                resources: vec![plural.to_owned()],
                wide,
            }),
            objects: Objects::Labelled(LabelSelector::parse(selector).unwrap()),
            lists,
        };
        grants.into_iter().map(grant).collect()
    })
}

fn some_kinds() -> impl Strategy<Value = BTreeSet<ProxyKind>> {
    let kinds = vec![ProxyKind::Nodes, ProxyKind::PersistentVolumes];
    subsequence(kinds, 0..=2).prop_map(|kinds| kinds.into_iter().collect())
}

fn offered(tenant: &str, kind: ProxyKind, how: u8) -> Grant {
    Grant {
        kinds: Kinds::One(GroupResource::new("", &format!("{kind:?}"))),
        objects: match how {
            0 => Objects::All,
            _ => Objects::Labelled(LabelSelector::one_of("tenant", [tenant])),
        },
        lists: true,
    }
}

fn a_setting() -> impl Strategy<Value = SettingFact> {
    let named = (select(SUBJECTS.to_vec()), some_kinds(), some_grants(false));
    let named = named.prop_map(|(who, listed, grants)| SettingSubject {
        subject: subject(who),
        listed,
        grants,
    });
    (
        select(NAMESPACES.to_vec()),
        select(vec!["p", "q"]),
        proptest::collection::vec(named, 0..=2),
    )
        .prop_map(|(of, called, subjects)| SettingFact {
            namespace: name(of),
            name: ObjectName::parse(called).unwrap(),
            subjects,
        })
}

fn a_global() -> impl Strategy<Value = GlobalFact> {
    let rule = (some_subjects(), some_grants(true));
    let rule = rule.prop_map(|(subjects, grants)| GlobalRule { subjects, grants });
    (
        select(vec!["g", "h"]),
        proptest::collection::vec(rule, 0..=2),
    )
        .prop_map(|(called, rules)| GlobalFact {
            name: ObjectName::parse(called).unwrap(),
            rules,
        })
}

fn a_tenant() -> impl Strategy<Value = TenantFact> {
    let claim = proptest::option::of(some_uid());
    let claims = (
        subsequence(NAMESPACES.to_vec(), 0..=4),
        proptest::collection::vec(claim, 4),
    );
    (
        select(TENANTS.to_vec()),
        some_subjects(),
        some_subjects(),
        any::<bool>(),
        claims,
        proptest::collection::vec((select(SUBJECTS.to_vec()), some_kinds()), 0..=2),
        0..2_u8,
    )
        .prop_map(
            |(uid, spec_owners, status_owners, caught_up, (names, uids), listed, how)| TenantFact {
                uid: Uid::new(uid),
                name: ObjectName::parse(uid).unwrap(),
                spec_owners,
                status_owners,
                caught_up,
                claims: names
                    .into_iter()
                    .zip(uids)
                    .map(|(text, uid)| Claim {
                        namespace: name(text),
                        uid,
                    })
                    .collect(),
                listed: listed
                    .into_iter()
                    .map(|(who, kinds)| (subject(who), kinds))
                    .collect(),
                offers: [ProxyKind::Nodes, ProxyKind::PersistentVolumes]
                    .map(|kind| (kind, [offered(uid, kind, how)].into()))
                    .into(),
            },
        )
}

fn a_namespace() -> impl Strategy<Value = NamespaceFact> {
    let parents = subsequence(TENANTS.to_vec(), 0..=2);
    (
        select(NAMESPACES.to_vec()),
        some_uid(),
        proptest::option::of(0..1000_i64),
        parents,
        select(vec!["", "a", "b"]),
    )
        .prop_map(|(text, uid, created, parents, team)| NamespaceFact {
            name: name(text),
            uid,
            created: created.map(at),
            parents: uids(&parents.join(" ")),
            labels: team_label(team),
        })
}

fn team_label(team: &str) -> Labels {
    let mut labels = Labels::default();
    if !team.is_empty() {
        labels.push("team", team);
    }
    labels.seal().unwrap();
    labels
}

fn a_binding() -> impl Strategy<Value = BindingFact> {
    (
        select(NAMESPACES.to_vec()),
        select(vec!["x", "y"]),
        some_subjects(),
    )
        .prop_map(|(of, called, subjects)| BindingFact {
            namespace: name(of),
            name: ObjectName::parse(called).unwrap(),
            subjects: subjects.into_iter().collect(),
        })
}

fn a_configuration() -> impl Strategy<Value = ConfigurationFact> {
    let groups = subsequence(vec!["ops", "none"], 0..=2);
    (some_subjects(), groups).prop_map(|(users, groups)| ConfigurationFact {
        users,
        ignored_groups: groups
            .into_iter()
            .map(|group| GroupName::parse(group).unwrap())
            .collect(),
    })
}

fn a_fact() -> impl Strategy<Value = Fact> {
    prop_oneof![
        4 => a_tenant().prop_map(Fact::Tenant),
        4 => a_namespace().prop_map(Fact::Namespace),
        3 => a_binding().prop_map(Fact::Binding),
        1 => a_configuration().prop_map(Fact::Configuration),
        3 => a_setting().prop_map(Fact::Setting),
        2 => a_global().prop_map(Fact::Global),
    ]
}

fn a_reset() -> impl Strategy<Value = Event> {
    fn of<F>(
        source: Source,
        fact: impl Strategy<Value = F>,
        turn: fn(F) -> Fact,
    ) -> impl Strategy<Value = Event>
    where
        F: std::fmt::Debug,
    {
        proptest::collection::vec(fact, 0..4).prop_map(move |facts| {
            // A list names each object once.
            let unique: HashMap<Key, Fact> = facts
                .into_iter()
                .map(turn)
                .map(|fact| (fact.key(), fact))
                .collect();
            Event::Reset(source, unique.into_values().collect())
        })
    }
    prop_oneof![
        of(Source::Tenants, a_tenant(), Fact::Tenant),
        of(Source::Namespaces, a_namespace(), Fact::Namespace),
        of(Source::RoleBindings, a_binding(), Fact::Binding),
        of(
            Source::Configuration,
            a_configuration(),
            Fact::Configuration
        ),
        of(Source::Settings, a_setting(), Fact::Setting),
        of(Source::Globals, a_global(), Fact::Global),
    ]
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => a_fact().prop_map(|fact| Step::Tell(Event::Applied(fact))),
        3 => a_fact().prop_map(|fact| Step::Tell(Event::Gone(fact.key()))),
        1 => a_reset().prop_map(Step::Tell),
        2 => (-400..400_i64).prop_map(Step::Wait),
    ]
}

/// All objects, and who owned each Tenant last: the only thing that cannot be told from the present objects.
#[derive(Default)]
struct Model {
    gate: bool,
    objects: HashMap<Key, Fact>,
    owned: HashMap<Uid, (BTreeSet<Subject>, BTreeSet<Subject>)>,
}

impl Model {
    fn tell(&mut self, event: &Event) {
        match event {
            Event::Applied(fact) => {
                self.objects.insert(fact.key(), fact.clone());
                self.note_owners(fact);
            }
            Event::Gone(key) => {
                self.objects.remove(key);
            }
            Event::Reset(source, facts) => {
                self.objects.retain(|key, _| source_of(key) != *source);
                for fact in facts {
                    self.objects.insert(fact.key(), fact.clone());
                    self.note_owners(fact);
                }
            }
        }
        let objects = &self.objects;
        self.owned
            .retain(|uid, _| objects.contains_key(&Key::Tenant(uid.clone())));
    }

    fn note_owners(&mut self, fact: &Fact) {
        if let Fact::Tenant(tenant) = fact {
            let (spec, all) = self.owned.get(&tenant.uid).cloned().unwrap_or_default();
            let mut owners = tenant.spec_owners.clone();
            for subject in &tenant.status_owners {
                if tenant.caught_up || (all.contains(subject) && !spec.contains(subject)) {
                    owners.insert(subject.clone());
                }
            }
            self.owned
                .insert(tenant.uid.clone(), (tenant.spec_owners.clone(), owners));
        }
    }

    fn namespaces(&self) -> impl Iterator<Item = &NamespaceFact> {
        self.objects.values().filter_map(|fact| {
            if let Fact::Namespace(it) = fact {
                Some(it)
            } else {
                None
            }
        })
    }

    fn tenants(&self) -> impl Iterator<Item = &TenantFact> {
        self.objects.values().filter_map(|fact| {
            if let Fact::Tenant(it) = fact {
                Some(it)
            } else {
                None
            }
        })
    }

    fn belongs(&self, namespace: &NamespaceFact, tenant: &TenantFact, now: i64) -> bool {
        let knows = |tenant: &TenantFact| {
            tenant
                .claims
                .iter()
                .any(|it| it.namespace == namespace.name && it.uid.as_ref() == Some(&namespace.uid))
        };
        if namespace.parents.iter().any(|uid| *uid != tenant.uid) {
            return false;
        }
        if self.tenants().any(knows) {
            return knows(tenant);
        }
        let named = tenant
            .claims
            .iter()
            .any(|it| it.namespace == namespace.name && it.uid.is_none());
        let age = namespace
            .created
            .map(|created| at(now).duration_since(created));
        let young = age.is_some_and(|age| age < SignedDuration::from_mins(5));
        named || (young && namespace.parents.contains(&tenant.uid))
    }

    /// The Tenants to which an existing namespace belongs.
    fn tenants_of(&self, of: &Namespace, now: i64) -> Vec<&TenantFact> {
        let there = self.namespaces().find(|it| it.name == *of);
        there.map_or_else(Vec::new, |namespace| {
            self.tenants()
                .filter(|it| self.belongs(namespace, it, now))
                .collect()
        })
    }

    /// What rules beside the Tenants' owners show: Tenants, namespaces, other objects.
    fn shown(
        &self,
        who: &Identity,
        now: i64,
    ) -> (BTreeSet<Uid>, BTreeSet<Namespace>, BTreeSet<Grant>) {
        let (mut tenants, mut namespaces) = (BTreeSet::new(), BTreeSet::new());
        let mut grants: BTreeSet<Grant> = BTreeSet::new();
        let offers = |tenant: &TenantFact, kinds: &BTreeSet<ProxyKind>| -> Vec<Grant> {
            let offered = tenant
                .offers
                .iter()
                .filter(|(kind, _)| kinds.contains(kind));
            offered.flat_map(|(_, grants)| grants.to_vec()).collect()
        };
        for tenant in self.tenants() {
            for (subject, kinds) in &tenant.listed {
                if subject.is_carried_by(who) && self.owned[&tenant.uid].1.contains(subject) {
                    grants.extend(offers(tenant, kinds));
                }
            }
        }
        for fact in self.objects.values() {
            match fact {
                Fact::Setting(setting) => {
                    let of = self.tenants_of(&setting.namespace, now);
                    let named = setting.subjects.iter();
                    for named in named.filter(|it| it.subject.is_carried_by(who)) {
                        for tenant in &of {
                            tenants.insert(tenant.uid.clone());
                            grants.extend(offers(tenant, &named.listed));
                        }
                        if self.gate && !of.is_empty() {
                            grants.extend(named.grants.iter().cloned());
                        }
                    }
                }
                Fact::Global(global) if self.gate => {
                    let rules = global.rules.iter();
                    for rule in
                        rules.filter(|it| it.subjects.iter().any(|it| it.is_carried_by(who)))
                    {
                        grants.extend(rule.grants.iter().cloned());
                        for namespace in self.namespaces() {
                            let team = namespace.labels.get("team");
                            let shows = rule.grants.iter().any(|grant| {
                                let Objects::Labelled(selector) = &grant.objects else {
                                    return false;
                                };
                                let matches = match selector.print().as_str() {
                                    "team=a" => team == Some("a"),
                                    "team" => team.is_some(),
                                    _ => false,
                                };
                                grant.lists && matches
                            });
                            if shows {
                                namespaces.insert(namespace.name.clone());
                            }
                        }
                    }
                }
                Fact::Tenant(_)
                | Fact::Namespace(_)
                | Fact::Binding(_)
                | Fact::Configuration(_)
                | Fact::Global(_) => {}
            }
        }
        (tenants, namespaces, grants)
    }

    fn standing(&self, who: &Identity, now: i64) -> Standing {
        let carried = |subject: &Subject| subject.is_carried_by(who);
        let configuration = match self.objects.get(&Key::Configuration) {
            Some(Fact::Configuration(fact)) => fact.clone(),
            Some(_) | None => ConfigurationFact::default(),
        };
        if configuration
            .ignored_groups
            .iter()
            .any(|group| who.known_groups().contains(group))
        {
            return Standing::Ignored;
        }
        let (seen, selected, grants) = self.shown(who, now);
        let tenants: Vec<_> = self
            .tenants()
            .filter(|it| seen.contains(&it.uid) || self.owned[&it.uid].1.iter().any(carried))
            .collect();
        let bound = |namespace: &NamespaceFact| {
            self.objects.values().any(|fact| match fact {
                Fact::Binding(it) => {
                    it.namespace == namespace.name
                        && it.subjects.iter().any(|it| carried(it) && !it.is_wide())
                }
                Fact::Tenant(_)
                | Fact::Namespace(_)
                | Fact::Configuration(_)
                | Fact::Setting(_)
                | Fact::Global(_) => false,
            })
        };
        let namespaces: BTreeSet<Namespace> = self
            .namespaces()
            .filter(|it| bound(it) || tenants.iter().any(|tenant| self.belongs(it, tenant, now)))
            .map(|it| it.name.clone())
            .chain(selected)
            .collect();
        let kube_system = who
            .known_groups()
            .iter()
            .any(|it| it.as_str() == "system:serviceaccounts:kube-system");
        let capsule_user = configuration.users.iter().any(carried) && !kube_system;
        if namespaces.is_empty() && tenants.is_empty() && grants.is_empty() && !capsule_user {
            Standing::Stranger
        } else {
            Standing::Member(Arc::new(Visible {
                namespaces: Arc::new(namespaces),
                tenants: Arc::new(tenants.iter().map(|it| it.name.clone()).collect()),
                grants: Arc::new(grants),
                capsule_user,
            }))
        }
    }
}

fn source_of(key: &Key) -> Source {
    match key {
        Key::Tenant(_) => Source::Tenants,
        Key::Namespace(_) => Source::Namespaces,
        Key::Binding(..) => Source::RoleBindings,
        Key::Configuration => Source::Configuration,
        Key::Setting(..) => Source::Settings,
        Key::Global(_) => Source::Globals,
    }
}

/// Someone present: what he saw last, and which of his subjects he was told are named.
struct Watcher {
    who: Identity,
    named: Vec<Subject>,
    saw: Standing,
}

pub(super) fn check(gate: bool, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut index = Index::new(Rules {
        cluster_scoped: gate,
        ..Rules::default()
    });
    let mut model = Model {
        gate,
        ..Model::default()
    };
    let mut now = 500;
    let mut people: Vec<Watcher> = PEOPLE
        .iter()
        .map(|text| Watcher {
            who: identity(text),
            named: Vec::new(),
            saw: Standing::Stranger,
        })
        .collect();
    for step in steps {
        let changes = match step {
            Step::Tell(event) => {
                model.tell(event);
                index.apply(event.clone(), at(now))
            }
            Step::Wait(seconds) => {
                now += seconds;
                index.expire(at(now))
            }
        };
        for person in &mut people {
            let expected = model.standing(&person.who, now);
            let got = index.visible(&person.who);
            prop_assert_eq!(
                text(&got),
                text(&expected),
                "{:?} after {:?}",
                person.who.user,
                step
            );
            person.named.extend(
                changes
                    .named
                    .iter()
                    .filter(|it| it.is_carried_by(&person.who))
                    .cloned(),
            );
            let short = index.standing(&person.who, &person.named);
            prop_assert_eq!(
                text(&short),
                text(&expected),
                "{:?} by what is named, after {:?}",
                person.who.user,
                step
            );
            let touched = subjects_of(&person.who).any(|it| changes.touched.contains(&it));
            prop_assert!(
                touched || got == person.saw,
                "{:?} was not named after {:?}",
                person.who.user,
                step
            );
            person.saw = got;
        }
    }
    Ok(())
}
