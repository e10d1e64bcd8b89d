//! From facts to who sees what: an index kept up to date event by event, at a cost in proportion to the event.
//!
//! Pure: time is an argument, nothing is published here. Two tables hold what there is (Tenants, places), one holds
//! what is asked for (by subject). A *place* is a namespace's name with everything that is said about it,
//! whether the namespace exists or not: statuses and RoleBindings may arrive before it.

mod apply;
mod owners;
mod place;
mod settings;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;

use self::owners::Owners;
use self::place::Place;
use self::settings::Global;
use super::event::Changes;
use super::event::Event;
use super::event::Source;
use super::facts::Claim;
use super::facts::ConfigurationFact;
use super::facts::Fact;
use super::facts::Key;
use super::facts::Offers;
use super::facts::ProxyKind;
use super::facts::Uid;
use super::grant::Grant;
use super::scope::Standing;
use super::scope::Visible;
use super::subject::Subject;
use super::subject::subjects_of;
use crate::identity::GroupName;
use crate::identity::Identity;
use crate::identity::UserName;
use crate::k8s::names::Namespace;
use crate::k8s::names::ObjectName;

/// Members of this group are never Capsule users, whatever names them (`capsule pkg/utils/users`, `IsCapsuleUser`).
const KUBE_SYSTEM_ACCOUNTS: &str = "system:serviceaccounts:kube-system";

/// What the index is told to do beyond the facts.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Users that are forwarded untouched.
    pub ignored_users: Vec<UserName>,
    /// Groups whose members are forwarded untouched.
    pub ignored_groups: Vec<GroupName>,
    /// Whether a RoleBinding to `system:authenticated` and its like shows its namespace to all of them. Off by default:
    /// one such binding would let a tenant expire everybody's watches.
    pub wide_groups: bool,
    /// Whether `clusterResources` and GlobalProxySettings act (the incumbent's gate `ProxyClusterScoped`). Off by default,
    /// so that moving over widens nobody's sight.
    pub cluster_scoped: bool,
}

/// Who may see which namespace.
#[derive(Debug, Default)]
pub struct Index {
    wide_groups: bool,
    cluster_scoped: bool,
    tenants: HashMap<Uid, Tenant>,
    places: HashMap<Namespace, Place>,
    configuration: ConfigurationFact,
    globals: BTreeMap<ObjectName, Global>,
    /// Whom ProxySettings in a Tenant's namespaces name, and how often: he sees the Tenant without owning it.
    viewers: HashMap<Uid, HashMap<Subject, u32>>,
    /// Members by Tenant, also of Tenants that are not known (yet): a namespace may arrive first.
    members: HashMap<Uid, BTreeSet<Namespace>>,
    /// When places must be judged again because they are no longer young.
    deadlines: BTreeSet<(Timestamp, Namespace)>,
    /// When [`Index::expire`] last had a look.
    judged: Timestamp,
    subjects: HashMap<Subject, Entry>,
}

#[derive(Debug)]
struct Tenant {
    name: ObjectName,
    owners: Owners,
    claims: Vec<Claim>,
    listed: BTreeMap<Subject, BTreeSet<ProxyKind>>,
    offers: Offers,
}

impl Tenant {
    /// What it offers of `kinds`.
    fn offered<'a>(&'a self, kinds: &'a BTreeSet<ProxyKind>) -> impl Iterator<Item = &'a Grant> {
        let offered = kinds.iter().filter_map(|kind| self.offers.get(kind));
        offered.flatten()
    }
}

/// What names a subject. Removed when nothing does.
#[derive(Debug, Default)]
struct Entry {
    owns: BTreeSet<Uid>,
    /// In how many RoleBindings of a namespace it is named.
    bound: BTreeMap<Namespace, u32>,
    /// The ProxySettings that name it.
    settings: BTreeSet<(Namespace, ObjectName)>,
    /// The GlobalProxySettings that name it.
    globals: BTreeSet<ObjectName>,
    capsule_user: bool,
    ignored: Ignored,
}

/// Who ordered that a subject is forwarded untouched.
#[derive(Debug, Default)]
struct Ignored {
    by_setting: bool,
    by_configuration: bool,
}

impl Entry {
    fn is_empty(&self) -> bool {
        self.owns.is_empty()
            && self.bound.is_empty()
            && self.settings.is_empty()
            && self.globals.is_empty()
            && !self.capsule_user
            && !self.is_ignored()
    }

    /// Counts one more RoleBinding in `namespace`.
    fn bind(&mut self, namespace: &Namespace) {
        *self.bound.entry(namespace.clone()).or_default() += 1;
    }

    /// Counts one fewer.
    fn unbind(&mut self, namespace: &Namespace) {
        let Some(count) = self.bound.get_mut(namespace) else {
            debug_assert!(false, "unbound more often than bound");
            return;
        };
        *count -= 1;
        if *count == 0 {
            self.bound.remove(namespace);
        }
    }

    fn is_ignored(&self) -> bool {
        self.ignored.by_setting || self.ignored.by_configuration
    }
}

impl Index {
    /// Knows nothing yet but whom to ignore.
    pub fn new(rules: Rules) -> Self {
        let mut index = Self {
            wide_groups: rules.wide_groups,
            cluster_scoped: rules.cluster_scoped,
            ..Self::default()
        };
        let users = rules.ignored_users.into_iter().map(Subject::User);
        for subject in users.chain(rules.ignored_groups.into_iter().map(Subject::Group)) {
            index
                .subjects
                .entry(subject)
                .or_default()
                .ignored
                .by_setting = true;
        }
        index
    }

    /// Takes in one event. What is no longer young at `now` is taken back first.
    pub fn apply(&mut self, event: Event, now: Timestamp) -> Changes {
        let mut changes = self.expire(now);
        match event {
            Event::Applied(fact) => self.put(fact, now, &mut changes),
            Event::Gone(key) => self.remove(&key, now, &mut changes),
            Event::Reset(source, facts) => {
                for event in self.differences(source, facts) {
                    changes.extend(self.apply(event, now));
                }
            }
        }
        changes
    }

    /// Takes back what was shown on the word of a reference alone and is no longer young at `now`. Where the clock has gone
    /// back, everything is judged anew: what an early hour made old may be young.
    pub fn expire(&mut self, now: Timestamp) -> Changes {
        let mut changes = Changes::default();
        if now < self.judged {
            let all: Vec<Namespace> = self.places.keys().cloned().collect();
            for name in all {
                self.judge(&name, now, &mut changes);
            }
        }
        self.judged = now;
        while let Some((until, _)) = self.deadlines.first()
            && *until <= now
            && let Some((_, name)) = self.deadlines.pop_first()
        {
            self.judge(&name, now, &mut changes);
        }
        changes
    }

    /// When [`Index::expire`] will have something to do.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(until, _)| *until)
    }

    /// The events that lead from what is known of `source` to exactly `facts`. A relist that found nothing new is
    /// empty, so whoever must not hold a lock for long asks this first.
    pub fn differences(&self, source: Source, facts: Vec<Fact>) -> Vec<Event> {
        let mut kept = HashSet::new();
        let mut events = Vec::new();
        for fact in facts {
            kept.insert(fact.key());
            if !self.has(&fact) {
                events.push(Event::Applied(fact));
            }
        }
        let known: Vec<Key> = match source {
            Source::Tenants => self.tenants.keys().cloned().map(Key::Tenant).collect(),
            Source::Namespaces => {
                let there = self
                    .places
                    .values()
                    .filter_map(|place| place.namespace.as_ref());
                there
                    .map(|fact| Key::Namespace(fact.name.clone()))
                    .collect()
            }
            Source::RoleBindings => {
                let places = self.places.iter();
                let names = places.flat_map(|(namespace, place)| {
                    place.bindings.keys().map(move |name| (namespace, name))
                });
                names
                    .map(|(namespace, name)| Key::Binding(namespace.clone(), name.clone()))
                    .collect()
            }
            Source::Configuration => vec![Key::Configuration],
            Source::Settings => {
                let places = self.places.iter();
                let names = places.flat_map(|(namespace, place)| {
                    place.settings.keys().map(move |name| (namespace, name))
                });
                names
                    .map(|(namespace, name)| Key::Setting(namespace.clone(), name.clone()))
                    .collect()
            }
            Source::Globals => self.globals.keys().cloned().map(Key::Global).collect(),
        };
        // What is gone goes first: a Tenant recreated under its name must not be in two states at once.
        let mut gone: Vec<Event> = known
            .into_iter()
            .filter(|key| !kept.contains(key))
            .map(Event::Gone)
            .collect();
        gone.append(&mut events);
        gone
    }

    /// Whether the namespace `name` is here as the one with this `uid`.
    pub fn has_namespace(&self, name: &Namespace, uid: &Uid) -> bool {
        self.places
            .get(name)
            .and_then(|place| place.namespace.as_ref())
            .is_some_and(|fact| fact.uid == *uid)
    }

    /// Whether anything names `subject`. Whom nothing names need not be looked up again until [`Changes::named`] does.
    pub fn names(&self, subject: &Subject) -> bool {
        self.subjects.contains_key(subject)
    }

    /// In what relation `who` stands to the tenants.
    pub fn visible(&self, who: &Identity) -> Standing {
        let subjects: Vec<Subject> = subjects_of(who).collect();
        self.standing(who, &subjects)
    }

    /// The same for a caller who knows which of the subjects of `who` are named; `named` may have others too.
    pub fn standing(&self, who: &Identity, named: &[Subject]) -> Standing {
        let entries: Vec<(&Subject, &Entry)> = named
            .iter()
            .filter_map(|subject| Some((subject, self.subjects.get(subject)?)))
            .collect();
        if entries.iter().any(|(_, entry)| entry.is_ignored()) {
            return Standing::Ignored;
        }
        let shown = self.shown(&entries);
        let exists = |name: &&Namespace| {
            self.places
                .get(*name)
                .is_some_and(|place| place.namespace.is_some())
        };
        let members = shown.tenants.iter().filter_map(|uid| self.members.get(uid));
        let bound = entries
            .iter()
            .flat_map(|(_, entry)| entry.bound.keys())
            .filter(exists);
        let namespaces: BTreeSet<Namespace> = members
            .flatten()
            .chain(bound)
            .chain(shown.namespaces)
            .cloned()
            .collect();
        let tenants: BTreeSet<ObjectName> = shown
            .tenants
            .iter()
            .filter_map(|uid| self.tenants.get(uid))
            .map(|tenant| tenant.name.clone())
            .collect();
        let visible = Visible {
            namespaces: Arc::new(namespaces),
            tenants: Arc::new(tenants),
            grants: Arc::new(shown.grants.into_iter().cloned().collect()),
            capsule_user: is_capsule_user(who, &entries),
        };
        if visible != Visible::default() {
            Standing::Member(Arc::new(visible))
        } else {
            Standing::Stranger
        }
    }

    /// Whether `fact` would change nothing.
    fn has(&self, fact: &Fact) -> bool {
        match fact {
            Fact::Tenant(fact) => self.tenants.get(&fact.uid).is_some_and(|tenant| {
                tenant.claims == fact.claims
                    && tenant.owners.after(fact) == tenant.owners
                    && tenant.listed == fact.listed
                    && tenant.offers == fact.offers
            }),
            Fact::Namespace(fact) => {
                let known = self.places.get(&fact.name);
                known
                    .and_then(|place| place.namespace.as_ref())
                    .is_some_and(|known| {
                        let labels_matter = self.cluster_scoped;
                        known.uid == fact.uid
                            && known.created == fact.created
                            && known.parents == fact.parents
                            && (!labels_matter || known.labels == fact.labels)
                    })
            }
            Fact::Binding(fact) => {
                let known = self
                    .places
                    .get(&fact.namespace)
                    .and_then(|place| place.bindings.get(&fact.name));
                known.map_or(&[] as &[Subject], |subjects| subjects)
                    == &*self.countable(&fact.subjects)
            }
            Fact::Configuration(fact) => self.configuration == *fact,
            Fact::Setting(fact) => self
                .places
                .get(&fact.namespace)
                .and_then(|place| place.settings.get(&fact.name))
                .is_some_and(|known| *known == fact.subjects),
            Fact::Global(fact) => self
                .globals
                .get(&fact.name)
                .is_some_and(|known| known.rules() == fact.rules),
        }
    }
}

fn is_capsule_user(who: &Identity, entries: &[(&Subject, &Entry)]) -> bool {
    let of_the_system = |group: &GroupName| group.as_str() == KUBE_SYSTEM_ACCOUNTS;
    entries.iter().any(|(_, entry)| entry.capsule_user)
        && !who.known_groups().iter().any(of_the_system)
}

#[cfg(test)]
mod tests;
