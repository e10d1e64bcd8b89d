//! What a request or an open watch holds while it acts in an identity's name.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use tokio::sync::watch;

use super::people::Person;
use super::scope::Scope;

/// One identity's presence: while it lives, the identity stays entered and is told of changes.
#[derive(Clone, Debug)]
#[must_use = "an identity is present while this lives"]
pub struct Presence {
    scope: watch::Receiver<Arc<Scope>>,
    stirred: watch::Receiver<()>,
    open: Arc<Open>,
}

/// How much is open in an identity's name. Counted by whoever opens it; it is one count for as long as any of it is open,
/// since that long the identity is present.
#[derive(Debug, Default)]
pub struct Open {
    /// Requests that are not answered to their last byte.
    pub requests: AtomicUsize,
    /// Streams of requests that have several.
    pub streams: AtomicUsize,
}

impl Presence {
    pub(super) fn of(person: &Person) -> Self {
        Self {
            scope: person.scope.subscribe(),
            stirred: person.stirred.subscribe(),
            open: Arc::clone(&person.open),
        }
    }

    /// How much is open in the identity's name.
    pub fn open(&self) -> &Arc<Open> {
        &self.open
    }

    /// The scope in force.
    pub fn scope(&self) -> Arc<Scope> {
        Arc::clone(&self.scope.borrow())
    }

    /// The next scope after those this presence was told of: after its beginning, or after the last answer of this
    /// function. Changes in between are skipped, the latest counts. It may be one that [`Presence::scope`] has shown
    /// already; its generation tells.
    ///
    /// Cancel-safe: nothing is lost when the future is dropped.
    pub async fn changed(&mut self) -> Arc<Scope> {
        if self.scope.changed().await.is_err() {
            // The tenancy is gone, and with it the process: there will be no other scope.
            std::future::pending::<()>().await;
        }
        Arc::clone(&self.scope.borrow_and_update())
    }

    /// What happens to the identity next, as [`Self::changed`] tells it, or more than that. Cancel-safe.
    pub async fn news(&mut self) -> News {
        tokio::select! {
            biased;
            Ok(()) = self.scope.changed() => News::Scope,
            Ok(()) = self.stirred.changed() => News::Stirred,
            else => std::future::pending().await,
        }
    }
}

/// What happens to an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// It has another scope, which [`Presence::scope`] shows.
    Scope,
    /// Something that names it has changed, such as a RoleBinding. Its scope may be the same.
    Stirred,
}
