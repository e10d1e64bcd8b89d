//! The identities present, and which of them answer to a subject.
//!
//! Every identity is found under its user name, and under those of its groups that something names: nobody keeps two
//! thousand groups per user in a table. A group that is named later is matched once against all present, by four bytes per group. Pure: times
//! are arguments, and what anyone sees is decided elsewhere.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::HashSet;
use std::hash::BuildHasher;
use std::hash::RandomState;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::presence::Open;
use super::presence::Presence;
use super::scope::Scope;
use super::subject::Subject;
use super::subject::subjects_of;
use crate::identity::GroupName;
use crate::identity::Identity;
use crate::identity::IdentityKey;

/// One identity, and where its scope is published.
#[derive(Debug)]
pub(super) struct Person {
    /// Who.
    pub(super) who: Arc<Identity>,
    /// The scope in force; its receivers are what is open in this identity's name.
    pub(super) scope: watch::Sender<Arc<Scope>>,
    /// Says when something that names the identity has changed, even where the scope stays the same: what RBAC allows
    /// within a namespace may not.
    pub(super) stirred: watch::Sender<()>,
    /// How much is open in its name.
    pub(super) open: Arc<Open>,
}

/// The identities present.
#[derive(Debug)]
pub(super) struct People {
    limit: usize,
    entries: HashMap<IdentityKey, Entry>,
    by_subject: HashMap<Subject, HashSet<IdentityKey>>,
    /// Random, so that nobody can choose group names that look alike.
    hasher: RandomState,
}

#[derive(Debug)]
struct Entry {
    person: Arc<Person>,
    /// Hashes of all its groups, sorted. A search in them costs a tenth of one in the names.
    prints: Box<[u32]>,
    /// The subjects it is found under.
    found: Vec<Subject>,
    last_seen: Instant,
}

impl People {
    /// Nobody, with room for `limit` identities that nothing is open for.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            entries: HashMap::new(),
            by_subject: HashMap::new(),
            hasher: RandomState::new(),
        }
    }

    /// One more presence of `key`, if it is here.
    pub(super) fn find(&mut self, key: &IdentityKey, now: Instant) -> Option<Presence> {
        let entry = self.entries.get_mut(key)?;
        entry.last_seen = now;
        Some(Presence::of(&entry.person))
    }

    /// Enters `person`, to be found under its user and under `named`, those of its groups that something names.
    pub(super) fn enter(
        &mut self,
        person: &Arc<Person>,
        named: Vec<Subject>,
        now: Instant,
    ) -> Presence {
        if self.entries.len() >= self.limit {
            self.make_room();
        }
        let key = *person.who.key();
        let mut found = named;
        let user = Subject::User(person.who.user.clone());
        if !found.contains(&user) {
            found.push(user);
        }
        for subject in &found {
            self.by_subject
                .entry(subject.clone())
                .or_default()
                .insert(key);
        }
        let subjects = subjects_of(&person.who);
        let mut prints: Vec<u32> = subjects
            .filter_map(|subject| group(&subject).map(|name| print(&self.hasher, name)))
            .collect();
        prints.sort_unstable();
        let entry = Entry {
            person: Arc::clone(person),
            prints: prints.into(),
            found,
            last_seen: now,
        };
        self.entries.insert(key, entry);
        Presence::of(person)
    }

    /// From now on, everyone who carries one of `named` is found under it.
    pub(super) fn name(&mut self, named: &BTreeSet<Subject>) {
        // Users are found under their name already.
        let mut groups: HashMap<u32, Vec<&Subject>> = HashMap::new();
        for subject in named {
            if let Some(name) = group(subject) {
                groups
                    .entry(print(&self.hasher, name))
                    .or_default()
                    .push(subject);
            }
        }
        if groups.is_empty() {
            return;
        }
        for (key, entry) in &mut self.entries {
            for subject in entry.carried(&groups) {
                if self
                    .by_subject
                    .entry(subject.clone())
                    .or_default()
                    .insert(*key)
                {
                    entry.found.push(subject);
                }
            }
        }
    }

    /// Everyone found under one of `touched`, each once, with the subjects he is found under.
    pub(super) fn carrying(&self, touched: &BTreeSet<Subject>) -> Vec<(Arc<Person>, Vec<Subject>)> {
        let keys: HashSet<&IdentityKey> = touched
            .iter()
            .filter_map(|subject| self.by_subject.get(subject))
            .flatten()
            .collect();
        keys.into_iter()
            .filter_map(|key| self.with_subjects(key))
            .collect()
    }

    /// The person of `key` with the subjects he is found under.
    pub(super) fn with_subjects(&self, key: &IdentityKey) -> Option<(Arc<Person>, Vec<Subject>)> {
        let entry = self.entries.get(key)?;
        Some((Arc::clone(&entry.person), entry.found.clone()))
    }

    /// Forgets who had nothing open for `idle`. To be called several times in that period: what was open is noted
    /// here.
    pub(super) fn sweep(&mut self, now: Instant, idle: Duration) {
        let mut gone = Vec::new();
        for (key, entry) in &mut self.entries {
            if entry.is_in_use() {
                entry.last_seen = now;
            } else if now.saturating_duration_since(entry.last_seen) >= idle {
                gone.push(*key);
            }
        }
        for key in gone {
            self.leave(&key);
        }
    }

    /// How many are present.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nobody is.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets a sixteenth of all, those seen least recently, unless they have something open: who is open counts
    /// against other limits. Several at a time, so that a crowd does not pay for a look at everyone per head.
    fn make_room(&mut self) {
        let idle = self.entries.iter().filter(|(_, entry)| !entry.is_in_use());
        let mut idle: Vec<(Instant, IdentityKey)> =
            idle.map(|(key, entry)| (entry.last_seen, *key)).collect();
        idle.sort_unstable();
        for (_, key) in idle.into_iter().take(self.limit / 16 + 1) {
            self.leave(&key);
        }
    }

    fn leave(&mut self, key: &IdentityKey) {
        let Some(entry) = self.entries.remove(key) else {
            return;
        };
        for subject in &entry.found {
            if let Some(keys) = self.by_subject.get_mut(subject) {
                keys.remove(key);
                if keys.is_empty() {
                    self.by_subject.remove(subject);
                }
            }
        }
    }
}

impl Entry {
    fn is_in_use(&self) -> bool {
        self.person.scope.receiver_count() > 0
    }

    /// Those of `groups` (by their hashes) that it carries, by way of the shorter of both lists: a RoleBinding may name
    /// thousands of groups, a user may have as many.
    fn carried(&self, groups: &HashMap<u32, Vec<&Subject>>) -> Vec<Subject> {
        let alike: Vec<&Subject> = if groups.len() < self.prints.len() {
            let alike = groups
                .iter()
                .filter(|(print, _)| self.prints.binary_search(print).is_ok());
            alike.flat_map(|(_, subjects)| subjects).copied().collect()
        } else {
            self.prints
                .iter()
                .filter_map(|print| groups.get(print))
                .flatten()
                .copied()
                .collect()
        };
        alike
            .into_iter()
            .filter(|subject| subject.is_carried_by(&self.person.who))
            .cloned()
            .collect()
    }
}

fn group(subject: &Subject) -> Option<&GroupName> {
    match subject {
        Subject::User(_) => None,
        Subject::Group(name) => Some(name),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "half of a hash is a hash")]
fn print(hasher: &RandomState, name: &GroupName) -> u32 {
    hasher.hash_one(name) as u32
}

#[cfg(test)]
mod tests;
