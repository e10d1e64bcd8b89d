//! How an event changes the tables. Each change says whom it touches; whatever becomes empty is forgotten.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Entry;
use super::Index;
use super::Owners;
use super::Place;
use super::Tenant;
use crate::k8s::names::Namespace;
use crate::k8s::names::ObjectName;
use crate::tenancy::event::Changes;
use crate::tenancy::facts::Claim;
use crate::tenancy::facts::ConfigurationFact;
use crate::tenancy::facts::Fact;
use crate::tenancy::facts::Key;
use crate::tenancy::facts::NamespaceFact;
use crate::tenancy::facts::TenantFact;
use crate::tenancy::facts::Uid;
use crate::tenancy::membership::ClaimOf;
use crate::tenancy::membership::Membership;
use crate::tenancy::membership::judge;
use crate::tenancy::subject::Subject;
use crate::wire::labels::Labels;

impl Index {
    pub(super) fn put(&mut self, fact: Fact, now: Timestamp, changes: &mut Changes) {
        match fact {
            Fact::Tenant(fact) => self.put_tenant(fact, now, changes),
            Fact::Namespace(fact) => self.put_namespace(fact, now, changes),
            Fact::Binding(fact) => {
                let subjects = self.countable(&fact.subjects);
                self.change_binding(&fact.namespace, &fact.name, subjects, changes);
            }
            Fact::Configuration(fact) => self.put_configuration(fact, changes),
            Fact::Setting(fact) => {
                self.change_setting(&fact.namespace, &fact.name, fact.subjects, changes)
            }
            Fact::Global(fact) => self.change_global(&fact.name, fact.rules, changes),
        }
    }

    pub(super) fn remove(&mut self, key: &Key, now: Timestamp, changes: &mut Changes) {
        match key {
            Key::Tenant(uid) => {
                if let Some(tenant) = self.tenants.remove(uid) {
                    self.touch_viewers(uid, changes);
                    self.change_owners(uid, &tenant.owners, &Owners::default(), changes);
                    self.change_claims(uid, &tenant.claims, &[], now, changes);
                }
            }
            Key::Namespace(name) => {
                let removed = self
                    .places
                    .get_mut(name)
                    .and_then(|place| place.namespace.take());
                if removed.is_some() {
                    self.touch_bound(name, changes);
                    self.select(name, changes);
                    self.judge(name, now, changes);
                }
            }
            Key::Binding(namespace, name) => {
                self.change_binding(namespace, name, Box::default(), changes)
            }
            Key::Configuration => self.put_configuration(ConfigurationFact::default(), changes),
            Key::Setting(namespace, name) => {
                self.change_setting(namespace, name, Vec::new(), changes)
            }
            Key::Global(name) => self.change_global(name, Vec::new(), changes),
        }
    }

    fn put_tenant(&mut self, fact: TenantFact, now: Timestamp, changes: &mut Changes) {
        let before = self.tenants.remove(&fact.uid);
        let shows_otherwise = before
            .as_ref()
            .is_none_or(|it| it.listed != fact.listed || it.offers != fact.offers);
        let (before, claimed) = match before {
            Some(tenant) => (tenant.owners, tenant.claims),
            None => (Owners::default(), Vec::new()),
        };
        let owners = before.after(&fact);
        self.change_owners(&fact.uid, &before, &owners, changes);
        let TenantFact {
            uid,
            name,
            claims,
            listed,
            offers,
            ..
        } = fact;
        self.tenants.insert(
            uid.clone(),
            Tenant {
                name,
                owners,
                claims: Vec::new(),
                listed,
                offers,
            },
        );
        if shows_otherwise {
            self.touch_tenant(&uid, changes);
        }
        self.change_claims(&uid, &claimed, &claims, now, changes);
        if let Some(tenant) = self.tenants.get_mut(&uid) {
            tenant.claims = claims;
        }
    }

    fn put_namespace(&mut self, mut fact: NamespaceFact, now: Timestamp, changes: &mut Changes) {
        let name = fact.name.clone();
        if !self.cluster_scoped {
            // Nothing selects by them, and there are many namespaces.
            fact.labels = Labels::default();
        }
        let before = self
            .places
            .entry(name.clone())
            .or_default()
            .namespace
            .replace(fact);
        if before.is_none() {
            self.touch_bound(&name, changes);
        }
        self.select(&name, changes);
        self.judge(&name, now, changes);
    }

    fn put_configuration(&mut self, fact: ConfigurationFact, changes: &mut Changes) {
        let before = std::mem::replace(&mut self.configuration, fact.clone());
        for subject in before.users.symmetric_difference(&fact.users) {
            let is = fact.users.contains(subject);
            self.update(subject, changes, |entry| {
                std::mem::replace(&mut entry.capsule_user, is) != is
            });
        }
        for group in before
            .ignored_groups
            .symmetric_difference(&fact.ignored_groups)
        {
            let is = fact.ignored_groups.contains(group);
            self.update(&Subject::Group(group.clone()), changes, |entry| {
                std::mem::replace(&mut entry.ignored.by_configuration, is) != is
            });
        }
    }

    /// Those of `subjects` to whom a RoleBinding shows its namespace, sorted.
    pub(super) fn countable(&self, subjects: &[Subject]) -> Box<[Subject]> {
        // One copy of a subject's name for all that name it.
        let shared = |subject: &Subject| {
            let known = self.subjects.get_key_value(subject);
            known.map_or(subject, |(known, _)| known).clone()
        };
        let counted = |subject: &&Subject| self.wide_groups || !subject.is_wide();
        let mut subjects: Vec<Subject> = subjects.iter().filter(counted).map(shared).collect();
        subjects.sort_unstable();
        subjects.dedup();
        subjects.into()
    }

    fn change_owners(&mut self, uid: &Uid, before: &Owners, after: &Owners, changes: &mut Changes) {
        for subject in before.all.symmetric_difference(&after.all) {
            let is = after.all.contains(subject);
            self.update(subject, changes, |entry| {
                if is {
                    entry.owns.insert(uid.clone())
                } else {
                    entry.owns.remove(uid)
                }
            });
        }
    }

    fn change_claims(
        &mut self,
        uid: &Uid,
        before: &[Claim],
        after: &[Claim],
        now: Timestamp,
        changes: &mut Changes,
    ) {
        let by_name = |claims: &[Claim]| -> BTreeMap<Namespace, Option<Uid>> {
            claims
                .iter()
                .map(|claim| (claim.namespace.clone(), claim.uid.clone()))
                .collect()
        };
        let (before, after) = (by_name(before), by_name(after));
        for (name, known) in &after {
            if before.get(name) != Some(known) {
                let claim = ClaimOf {
                    tenant: uid.clone(),
                    uid: known.clone(),
                };
                self.places.entry(name.clone()).or_default().claim(claim);
                self.judge(name, now, changes);
            }
        }
        for name in before.keys().filter(|name| !after.contains_key(*name)) {
            if let Some(place) = self.places.get_mut(name) {
                place.unclaim(uid);
            }
            self.judge(name, now, changes);
        }
    }

    fn change_binding(
        &mut self,
        namespace: &Namespace,
        name: &ObjectName,
        after: Box<[Subject]>,
        changes: &mut Changes,
    ) {
        let before = self
            .places
            .get_mut(namespace)
            .and_then(|place| place.bindings.remove(name))
            .unwrap_or_default();
        // One copy of the namespace's name for all that speak of it.
        let namespace = self
            .places
            .get_key_value(namespace)
            .map_or(namespace, |(known, _)| known)
            .clone();
        for subject in before
            .iter()
            .filter(|subject| after.binary_search(subject).is_err())
        {
            // Also where another still names him there: what he may do in it may be less now.
            self.update(subject, changes, |entry| {
                entry.unbind(&namespace);
                true
            });
        }
        for subject in after
            .iter()
            .filter(|subject| before.binary_search(subject).is_err())
        {
            self.update(subject, changes, |entry| {
                entry.bind(&namespace);
                true
            });
        }
        if !after.is_empty() {
            self.places
                .entry(namespace.clone())
                .or_default()
                .bindings
                .insert(name.clone(), after);
        }
        self.forget_if_empty(&namespace);
    }

    /// Decides anew to which Tenants the namespace called `name` belongs.
    pub(super) fn judge(&mut self, name: &Namespace, now: Timestamp, changes: &mut Changes) {
        let Some((name, _)) = self.places.get_key_value(name) else {
            return;
        };
        let name = name.clone();
        let Some(place) = self.places.get_mut(&name) else {
            return;
        };
        let after = match &place.namespace {
            Some(namespace) => judge(namespace, &place.claims, now),
            None => Membership::default(),
        };
        let before = std::mem::replace(&mut place.membership, after.clone());
        if let Some(until) = before.until {
            self.deadlines.remove(&(until, name.clone()));
        }
        if let Some(until) = after.until {
            self.deadlines.insert((until, name.clone()));
        }
        for uid in before
            .tenants
            .iter()
            .filter(|uid| !after.tenants.contains(uid))
        {
            self.touch_tenant(uid, changes);
            self.unview(uid, &name);
            if let Some(members) = self.members.get_mut(uid) {
                members.remove(&name);
                if members.is_empty() {
                    self.members.remove(uid);
                }
            }
        }
        for uid in after
            .tenants
            .iter()
            .filter(|uid| !before.tenants.contains(uid))
        {
            self.members
                .entry(uid.clone())
                .or_default()
                .insert(name.clone());
            self.view(uid, &name);
            self.touch_tenant(uid, changes);
        }
        self.forget_if_empty(&name);
    }

    /// Whoever sees the Tenant.
    fn touch_tenant(&self, uid: &Uid, changes: &mut Changes) {
        if let Some(tenant) = self.tenants.get(uid) {
            changes.touched.extend(tenant.owners.all.iter().cloned());
        }
        self.touch_viewers(uid, changes);
    }

    fn touch_bound(&self, name: &Namespace, changes: &mut Changes) {
        if let Some(place) = self.places.get(name) {
            changes.touched.extend(place.bound().cloned());
        }
    }

    /// Changes what names `subject`; `change` says whether that may change what he sees.
    pub(super) fn update(
        &mut self,
        subject: &Subject,
        changes: &mut Changes,
        change: impl FnOnce(&mut Entry) -> bool,
    ) {
        let new = !self.subjects.contains_key(subject);
        let entry = self.subjects.entry(subject.clone()).or_default();
        if change(entry) {
            changes.touched.insert(subject.clone());
        }
        if entry.is_empty() {
            self.subjects.remove(subject);
        } else if new {
            changes.named.insert(subject.clone());
        }
    }

    pub(super) fn forget_if_empty(&mut self, name: &Namespace) {
        if self.places.get(name).is_some_and(Place::is_empty) {
            self.places.remove(name);
        }
    }
}
