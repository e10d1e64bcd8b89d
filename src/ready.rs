//! Readiness as handles one drops: each names what is still missing, `/_readyz` lists the rest.
//!
//! It knows names only: what a name stands for, and when it is done, is its holder's business.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

use crate::metrics::Sheet;

/// What stands between the process and readiness. Clones share one list.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    list: Arc<watch::Sender<List>>,
}

#[derive(Debug, Default)]
struct List {
    last: u64,
    /// In the order in which the names were taken out, so that `/_readyz` reads like the start-up.
    pending: BTreeMap<u64, Missing>,
}

/// Something missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missing {
    /// Not done yet: without it no request can be answered.
    Undone(&'static str),
    /// Does not hold at present: other replicas had better be asked, but what does not rest on it goes on.
    Failing(&'static str),
}

impl Missing {
    fn name(self) -> &'static str {
        match self {
            Self::Undone(name) | Self::Failing(name) => name,
        }
    }
}

impl Readiness {
    /// Ready, until somebody takes out a handle.
    pub fn new() -> Self {
        Self::default()
    }

    /// Something that must be done once before the process is ready: dropping the handle says that it is.
    pub fn handle(&self, name: &'static str) -> ReadyHandle {
        let id = self.number();
        self.insert(id, Missing::Undone(name));
        ReadyHandle {
            id,
            readiness: self.clone(),
        }
    }

    /// Something that must hold all the time. It holds until [`Condition::fail`] says otherwise.
    pub fn condition(&self, name: &'static str) -> Condition {
        Condition {
            id: self.number(),
            name,
            readiness: self.clone(),
        }
    }

    /// What is missing. Empty: ready.
    pub fn pending(&self) -> Vec<&'static str> {
        let list = self.list.borrow();
        list.pending
            .values()
            .map(|missing| missing.name())
            .collect()
    }

    /// Writes down whether it is.
    ///
    /// # Errors
    /// What the writer says.
    pub fn families(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let ready = u64::from(self.pending().is_empty());
        sheet.gauge(
            "ready",
            "Whether nothing is missing for answering requests",
            [([], ready)],
        )
    }

    /// What `/_readyz` says while something is missing: a line each.
    pub fn report(&self) -> Option<String> {
        let pending = self.pending();
        if pending.is_empty() {
            return None;
        }
        let lines = pending.iter().map(|name| format!("- {name}\n"));
        Some(format!(
            "not ready, waiting for:\n{}",
            lines.collect::<String>()
        ))
    }

    /// Whether nothing is missing.
    pub fn is_ready(&self) -> bool {
        self.list.borrow().pending.is_empty()
    }

    /// Whether everything that must be done once is done. What can stop holding does not count: a replica that should
    /// get no new clients still serves those it has, each as far as it can.
    pub fn has_started(&self) -> bool {
        let list = self.list.borrow();
        let undone = |missing: &Missing| matches!(missing, Missing::Undone(_));
        !list.pending.values().any(undone)
    }

    /// Waits until nothing is missing. Cancel-safe.
    pub async fn ready(&self) {
        let mut list = self.list.subscribe();
        // Fails only when every sender is gone, and `self` holds one.
        let _closed = list.wait_for(|list| list.pending.is_empty()).await.is_err();
    }

    fn number(&self) -> u64 {
        let mut number = 0;
        self.list.send_if_modified(|list| {
            list.last += 1;
            number = list.last;
            false
        });
        number
    }

    fn insert(&self, id: u64, missing: Missing) {
        self.list
            .send_if_modified(|list| list.pending.insert(id, missing).is_none());
    }

    fn remove(&self, id: u64) {
        self.list
            .send_if_modified(|list| list.pending.remove(&id).is_some());
    }
}

/// Something that is still missing. Dropping it says that it is there.
#[derive(Debug)]
#[must_use = "dropping it says that the thing is done"]
pub struct ReadyHandle {
    id: u64,
    readiness: Readiness,
}

impl Drop for ReadyHandle {
    fn drop(&mut self) {
        self.readiness.remove(self.id);
    }
}

/// Something that can stop holding, and hold again. When its holder is gone, what was said last stays.
#[derive(Debug)]
pub struct Condition {
    id: u64,
    name: &'static str,
    readiness: Readiness,
}

impl Condition {
    /// It holds (again).
    pub fn hold(&self) {
        self.readiness.remove(self.id);
    }

    /// It does not hold: the process is not ready.
    pub fn fail(&self) {
        self.readiness.insert(self.id, Missing::Failing(self.name));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_last_handle_dropped_makes_it_ready() {
        let readiness = Readiness::new();
        assert!(readiness.is_ready());
        let informer = readiness.handle("informer namespaces");
        let catalog = readiness.handle("catalog");
        assert_eq!(readiness.pending(), ["informer namespaces", "catalog"]);
        drop(informer);
        assert!(!readiness.has_started());
        assert_eq!(readiness.pending(), ["catalog"]);
        drop(catalog);
        assert!(readiness.is_ready());
    }

    #[tokio::test]
    async fn one_can_wait_for_it() {
        let readiness = Readiness::new();
        readiness.ready().await;
        let catalog = readiness.handle("catalog");
        let (waiter, ()) = tokio::join!(
            tokio::time::timeout(Duration::from_secs(30), readiness.ready()),
            async {
                tokio::task::yield_now().await;
                drop(catalog);
            }
        );
        assert!(waiter.is_ok());
    }

    #[test]
    fn a_name_taken_out_twice_is_listed_until_both_are_done() {
        let readiness = Readiness::new();
        let first = readiness.handle("certificate");
        let second = readiness.handle("certificate");
        drop(first);
        assert_eq!(readiness.pending(), ["certificate"]);
        drop(second);
        assert!(readiness.is_ready());
    }

    #[test]
    fn a_condition_holds_until_it_fails_and_can_hold_again() {
        let readiness = Readiness::new();
        let contact = readiness.condition("contact with the API server");
        assert!(readiness.is_ready());
        contact.fail();
        contact.fail();
        assert_eq!(readiness.pending(), ["contact with the API server"]);
        assert!(readiness.has_started(), "what was done stays done");
        contact.hold();
        assert!(readiness.is_ready());
        contact.fail();
        drop(contact);
        assert!(
            !readiness.is_ready(),
            "a holder that died did not make it good"
        );
    }
}
