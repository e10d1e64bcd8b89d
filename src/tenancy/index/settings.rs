//! What ProxySettings and GlobalProxySettings show, and how a change of them changes the tables.

use std::collections::BTreeSet;

use super::Entry;
use super::Index;
use crate::k8s::names::GroupResource;
use crate::k8s::names::Namespace;
use crate::k8s::names::ObjectName;
use crate::tenancy::event::Changes;
use crate::tenancy::facts::GlobalRule;
use crate::tenancy::facts::NamespaceFact;
use crate::tenancy::facts::SettingSubject;
use crate::tenancy::facts::Uid;
use crate::tenancy::grant::Grant;
use crate::tenancy::subject::Subject;

/// A GlobalProxySettings.
#[derive(Debug)]
pub(super) struct Global {
    rules: Vec<GlobalRule>,
    /// For each rule, the namespaces it shows in lists. Other objects are looked at when they are read; namespaces are
    /// fanned out over, so their names must be known.
    selected: Vec<BTreeSet<Namespace>>,
}

impl Global {
    pub(super) fn rules(&self) -> &[GlobalRule] {
        &self.rules
    }
}

/// What somebody is shown beyond the namespaces that RoleBindings name him in.
#[derive(Debug, Default)]
pub(super) struct Shown<'a> {
    /// Tenants he owns, or that a ProxySetting shows him.
    pub(super) tenants: BTreeSet<&'a Uid>,
    /// Namespaces by rules.
    pub(super) namespaces: BTreeSet<&'a Namespace>,
    /// Other objects.
    pub(super) grants: BTreeSet<&'a Grant>,
}

impl Index {
    /// What those are shown of whom `entries` speak.
    pub(super) fn shown<'a>(&'a self, entries: &[(&'a Subject, &'a Entry)]) -> Shown<'a> {
        let mut shown = Shown::default();
        for (subject, entry) in entries {
            for uid in &entry.owns {
                shown.tenants.insert(uid);
                if let Some(tenant) = self.tenants.get(uid)
                    && let Some(kinds) = tenant.listed.get(*subject)
                {
                    shown.grants.extend(tenant.offered(kinds));
                }
            }
            for (namespace, name) in &entry.settings {
                self.show_setting(namespace, name, subject, &mut shown);
            }
            for name in entry.globals.iter().filter(|_| self.cluster_scoped) {
                self.show_global(name, subject, &mut shown);
            }
        }
        shown
    }

    /// A ProxySetting acts for the Tenants that own its namespace; where none does, it does not act.
    fn show_setting<'a>(
        &'a self,
        namespace: &Namespace,
        name: &ObjectName,
        subject: &Subject,
        shown: &mut Shown<'a>,
    ) {
        let Some(place) = self.places.get(namespace) else {
            return;
        };
        let known = |uid: &&Uid| self.tenants.contains_key(*uid);
        let tenants: Vec<&Uid> = place.membership.tenants.iter().filter(known).collect();
        if tenants.is_empty() {
            return;
        }
        let named = place.settings.get(name).into_iter().flatten();
        for named in named.filter(|named| named.subject == *subject) {
            for uid in &tenants {
                shown.tenants.insert(uid);
                if let Some(tenant) = self.tenants.get(*uid) {
                    shown.grants.extend(tenant.offered(&named.listed));
                }
            }
            if self.cluster_scoped {
                shown.grants.extend(&named.grants);
            }
        }
    }

    fn show_global<'a>(&'a self, name: &ObjectName, subject: &Subject, shown: &mut Shown<'a>) {
        let Some(global) = self.globals.get(name) else {
            return;
        };
        for (rule, selected) in global.rules.iter().zip(&global.selected) {
            if rule.subjects.contains(subject) {
                shown.grants.extend(&rule.grants);
                shown.namespaces.extend(selected);
            }
        }
    }

    /// The ProxySetting `name` in `namespace` names `after` from now on; nobody if it is gone.
    pub(super) fn change_setting(
        &mut self,
        namespace: &Namespace,
        name: &ObjectName,
        after: Vec<SettingSubject>,
        changes: &mut Changes,
    ) {
        let place = self.places.entry(namespace.clone()).or_default();
        let tenants = place.membership.tenants.clone();
        for uid in &tenants {
            self.unview(uid, namespace);
        }
        let place = self.places.entry(namespace.clone()).or_default();
        let is_there = !after.is_empty();
        let before = if is_there {
            place.settings.insert(name.clone(), after.clone())
        } else {
            place.settings.remove(name)
        };
        for uid in &tenants {
            self.view(uid, namespace);
        }
        let before = before.unwrap_or_default();
        let subjects = |named: &[SettingSubject]| -> BTreeSet<Subject> {
            named.iter().map(|named| named.subject.clone()).collect()
        };
        let (was, is) = (subjects(&before), subjects(&after));
        let key = (namespace.clone(), name.clone());
        for subject in was.union(&is) {
            let stays = is.contains(subject);
            self.update(subject, changes, |entry| {
                if stays {
                    entry.settings.insert(key.clone());
                } else {
                    entry.settings.remove(&key);
                }
                // Perhaps only what he is shown has changed.
                true
            });
        }
        self.forget_if_empty(namespace);
    }

    /// The GlobalProxySettings `name` says `rules` from now on; nothing if it is gone.
    pub(super) fn change_global(
        &mut self,
        name: &ObjectName,
        rules: Vec<GlobalRule>,
        changes: &mut Changes,
    ) {
        let subjects = |rules: &[GlobalRule]| -> BTreeSet<Subject> {
            let named = rules.iter().flat_map(|rule| &rule.subjects);
            named.cloned().collect()
        };
        let before = self.globals.remove(name);
        let was = before.map_or_else(BTreeSet::new, |global| subjects(&global.rules));
        let is = subjects(&rules);
        if !rules.is_empty() {
            let selected = rules.iter().map(|rule| self.selected_by(rule)).collect();
            self.globals
                .insert(name.clone(), Global { rules, selected });
        }
        for subject in was.union(&is) {
            let stays = is.contains(subject);
            self.update(subject, changes, |entry| {
                if stays {
                    entry.globals.insert(name.clone());
                } else {
                    entry.globals.remove(name);
                }
                true
            });
        }
    }

    /// The namespace called `name` is new, gone or labelled anew: which rules show it now.
    pub(super) fn select(&mut self, name: &Namespace, changes: &mut Changes) {
        if !self.cluster_scoped {
            return;
        }
        let namespace = self
            .places
            .get(name)
            .and_then(|place| place.namespace.as_ref());
        for global in self.globals.values_mut() {
            for (rule, selected) in global.rules.iter().zip(&mut global.selected) {
                let shows = namespace.is_some_and(|namespace| selects(rule, namespace));
                let changed = if shows {
                    selected.insert(name.clone())
                } else {
                    selected.remove(name)
                };
                if changed {
                    changes.touched.extend(rule.subjects.iter().cloned());
                }
            }
        }
    }

    fn selected_by(&self, rule: &GlobalRule) -> BTreeSet<Namespace> {
        let there = self
            .places
            .values()
            .filter_map(|place| place.namespace.as_ref());
        there
            .filter(|namespace| self.cluster_scoped && selects(rule, namespace))
            .map(|namespace| namespace.name.clone())
            .collect()
    }

    /// Those whom ProxySettings in the namespace called `name` name see the Tenant `uid`.
    pub(super) fn view(&mut self, uid: &Uid, name: &Namespace) {
        let Some(place) = self.places.get(name) else {
            return;
        };
        for subject in place.viewers() {
            let viewers = self.viewers.entry(uid.clone()).or_default();
            *viewers.entry(subject.clone()).or_default() += 1;
        }
    }

    /// They no longer do because of that namespace.
    pub(super) fn unview(&mut self, uid: &Uid, name: &Namespace) {
        let (Some(place), Some(viewers)) = (self.places.get(name), self.viewers.get_mut(uid))
        else {
            return;
        };
        for subject in place.viewers() {
            if let Some(count) = viewers.get_mut(subject) {
                *count -= 1;
                if *count == 0 {
                    viewers.remove(subject);
                }
            }
        }
        if viewers.is_empty() {
            self.viewers.remove(uid);
        }
    }

    pub(super) fn touch_viewers(&self, uid: &Uid, changes: &mut Changes) {
        if let Some(viewers) = self.viewers.get(uid) {
            changes.touched.extend(viewers.keys().cloned());
        }
    }
}

/// Whether lists of namespaces show this one by `rule`.
fn selects(rule: &GlobalRule, namespace: &NamespaceFact) -> bool {
    let namespaces = GroupResource::new("", "namespaces");
    rule.grants.iter().any(|grant| {
        grant.lists
            && grant.covers(&namespaces, "v1")
            && grant
                .objects
                .shows(namespace.name.as_str(), &namespace.labels)
    })
}
