//! The store: etcd as far as an API server can tell. One revision counter, objects in the order of their keys, and a
//! bounded log of changes from which watches and reads of the past are served.
//!
//! [`State`] is a value without clock, lock or socket; [`Store`] adds the lock and wakes those who wait for changes.
//! Neither knows kinds, users or rules, and no lock is held across an await.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::RwLock;

use serde_json::Value;
use tokio::sync::watch;

use super::object::Object;
use super::object::map_in;
use crate::k8s::names::GroupResource;

/// Changes kept for watches and reads of the past; older ones are compacted away, as etcd does after five minutes.
const LOG_LENGTH: usize = 20_000;

/// What an object is stored under.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) resource: GroupResource,
    /// `namespace/name`, or `name`: ordered as etcd orders its keys, where `a-b/x` comes before `a/x`.
    pub(crate) path: String,
}

impl Key {
    /// An empty `namespace` makes the key of a cluster-scoped object.
    pub(crate) fn new(resource: &GroupResource, namespace: &str, name: &str) -> Self {
        let path = if namespace.is_empty() {
            name.to_owned()
        } else {
            format!("{namespace}/{name}")
        };
        Self {
            resource: resource.clone(),
            path,
        }
    }

    /// As etcd knows it, for messages that name it.
    pub(crate) fn etcd(&self) -> String {
        let group = match &*self.resource.group {
            "" => String::new(),
            group => format!("{group}/"),
        };
        format!("/registry/{group}{}/{}", self.resource.resource, self.path)
    }
}

/// One write: what was there, what is there now. At least one of both is present.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) revision: u64,
    pub(crate) key: Key,
    pub(crate) before: Option<Arc<Object>>,
    pub(crate) after: Option<Arc<Object>>,
}

/// Why a revision cannot be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unservable {
    /// Its changes were compacted; the oldest revision that can be served.
    Compacted { oldest: u64 },
    /// It has not happened yet; the current revision.
    Future { current: u64 },
}

/// Everything stored, and how it came to be.
#[derive(Debug)]
pub(crate) struct State {
    revision: u64,
    /// Changes up to and including this revision are forgotten; those after it lie in `log` without a gap.
    compacted: u64,
    objects: BTreeMap<Key, Arc<Object>>,
    log: VecDeque<Arc<Change>>,
}

impl State {
    /// An empty etcd is at revision 1.
    fn new() -> Self {
        Self {
            revision: 1,
            compacted: 1,
            objects: BTreeMap::new(),
            log: VecDeque::new(),
        }
    }

    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Arc<Object>> {
        self.objects.get(key)
    }

    /// The objects of `resource` in `namespace` (empty: in all), in the order of their keys, each with its path.
    pub(crate) fn list(
        &self,
        resource: &GroupResource,
        namespace: &str,
    ) -> Vec<(String, Arc<Object>)> {
        let prefix = prefix(namespace);
        let start = Key {
            resource: resource.clone(),
            path: prefix.clone(),
        };
        self.objects
            .range((Bound::Included(start), Bound::Unbounded))
            .take_while(|(key, _)| key.resource == *resource && key.path.starts_with(&prefix))
            .map(|(key, object)| (key.path.clone(), Arc::clone(object)))
            .collect()
    }

    /// As [`Self::list`], at a revision of the past: the present with the changes since then undone.
    pub(crate) fn list_at(
        &self,
        resource: &GroupResource,
        namespace: &str,
        revision: u64,
    ) -> Result<Vec<(String, Arc<Object>)>, Unservable> {
        let since = self.changes_after(revision, resource)?;
        let prefix = prefix(namespace);
        let mut objects: BTreeMap<_, _> = self.list(resource, namespace).into_iter().collect();
        for change in since
            .iter()
            .rev()
            .filter(|change| change.key.path.starts_with(&prefix))
        {
            match &change.before {
                Some(before) => objects.insert(change.key.path.clone(), Arc::clone(before)),
                None => objects.remove(&change.key.path),
            };
        }
        Ok(objects.into_iter().collect())
    }

    /// What happened to `resource` after `revision`, oldest first.
    pub(crate) fn changes_after(
        &self,
        revision: u64,
        resource: &GroupResource,
    ) -> Result<Vec<Arc<Change>>, Unservable> {
        if revision > self.revision {
            return Err(Unservable::Future {
                current: self.revision,
            });
        }
        let Some(known) = revision.checked_sub(self.compacted) else {
            return Err(Unservable::Compacted {
                oldest: self.compacted,
            });
        };
        // One change per revision, so that the position in the log follows from the revision.
        let skip = usize::try_from(known).unwrap_or(usize::MAX);
        Ok(self
            .log
            .iter()
            .skip(skip)
            .filter(|change| change.key.resource == *resource)
            .cloned()
            .collect())
    }

    /// Writes `value` under `key` at a new revision.
    pub(crate) fn put(&mut self, key: &Key, mut value: Value) -> Arc<Object> {
        let revision = self.revision + 1;
        map_in(&mut value, "metadata")
            .insert("resourceVersion".to_owned(), revision.to_string().into());
        let object = Arc::new(Object { value, revision });
        let before = self.objects.insert(key.clone(), Arc::clone(&object));
        self.record(key, before, Some(Arc::clone(&object)));
        object
    }

    /// Takes the object away at a new revision, if it is there.
    pub(crate) fn remove(&mut self, key: &Key) -> Option<Arc<Object>> {
        let before = self.objects.remove(key)?;
        self.record(key, Some(Arc::clone(&before)), None);
        Some(before)
    }

    /// Forgets how the present came to be, up to and including `revision`.
    pub(crate) fn compact(&mut self, revision: u64) {
        while self
            .log
            .front()
            .is_some_and(|change| change.revision <= revision)
        {
            self.log.pop_front();
        }
        self.compacted = self.compacted.max(revision.min(self.revision));
    }

    fn record(&mut self, key: &Key, before: Option<Arc<Object>>, after: Option<Arc<Object>>) {
        self.revision += 1;
        self.log.push_back(Arc::new(Change {
            revision: self.revision,
            key: key.clone(),
            before,
            after,
        }));
        let excess = u64::try_from(self.log.len().saturating_sub(LOG_LENGTH)).unwrap_or(0);
        self.compact(self.compacted + excess);
        debug_assert_eq!(
            self.log.len() as u64,
            self.revision - self.compacted,
            "a gap in the log"
        );
    }
}

fn prefix(namespace: &str) -> String {
    if namespace.is_empty() {
        String::new()
    } else {
        format!("{namespace}/")
    }
}

/// [`State`] behind a lock, with a signal for those who wait for its next change.
#[derive(Debug)]
pub(crate) struct Store {
    state: RwLock<State>,
    revision: watch::Sender<u64>,
}

impl Store {
    pub(crate) fn new() -> Self {
        let state = State::new();
        let revision = watch::Sender::new(state.revision);
        Self {
            state: RwLock::new(state),
            revision,
        }
    }

    /// Reads under the lock. `read` must be short and must not come back here.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads and writes under the lock, so that nobody comes in between. What `write` has put stays, even where it
    /// fails afterwards: it must judge first.
    pub(crate) fn write<T>(&self, write: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let answer = write(&mut state);
        let revision = state.revision;
        drop(state);
        self.revision.send_if_modified(|known| {
            let stepped = revision > *known;
            *known = revision.max(*known);
            stepped
        });
        answer
    }

    /// Steps with every change. Subscribe first, read second.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }
}

#[cfg(test)]
mod tests;
