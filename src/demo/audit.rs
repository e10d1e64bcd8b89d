//! The audit log in memory: one entry per request, so that a test can ask what a client's request cost upstream and
//! as whom it was made. It holds names, never tokens or bodies.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::PoisonError;

use super::user::User;

/// Entries kept; the oldest make room.
const LENGTH: usize = 100_000;

/// One request, as an audit policy of level Metadata records it. Written when the response's head is known, so an
/// open watch is there already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Who brought the credential; `None` where it was refused.
    pub user: Option<User>,
    /// As whom the request was made, if not as himself.
    pub impersonated: Option<User>,
    /// `list`, `watch`, …; the lower-case method of a request outside the resource APIs.
    pub verb: String,
    /// Path and query as they came.
    pub uri: String,
    /// `namespaces`, `tenants.capsule.clastix.io`; empty outside the resource APIs.
    pub resource: String,
    /// Empty for the object itself.
    pub subresource: String,
    /// Empty for a cluster-wide request.
    pub namespace: String,
    /// Empty for a collection.
    pub name: String,
    /// The answer's HTTP status.
    pub code: u16,
}

impl AuditEntry {
    /// The user whose rights counted.
    pub fn acting(&self) -> Option<&User> {
        self.impersonated.as_ref().or(self.user.as_ref())
    }
}

/// All entries, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Audit(Mutex<VecDeque<AuditEntry>>);

impl Audit {
    pub(crate) fn record(&self, entry: AuditEntry) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() == LENGTH {
            entries.pop_front();
        }
        entries.push_back(entry);
    }

    pub(crate) fn entries(&self) -> Vec<AuditEntry> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .collect()
    }

    /// Takes the entries so far out of the log.
    pub(crate) fn take(&self) -> Vec<AuditEntry> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
            .collect()
    }
}
