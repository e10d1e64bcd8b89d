//! Says each trouble once: when it begins, and where it matters when it ends.

use std::collections::HashMap;

use tracing::info;
use tracing::warn;

use crate::tenancy::event::Source;
use crate::tenancy::facts::Rejected;

/// What has been said about one source.
#[derive(Debug)]
pub(super) struct Log {
    source: Source,
    rejected: HashMap<String, Vec<Rejected>>,
    failing: bool,
}

impl Log {
    pub(super) fn new(source: Source) -> Self {
        Self {
            source,
            rejected: HashMap::new(),
            failing: false,
        }
    }

    /// Notes what could not be read of the object called `object`; nothing, if all could.
    pub(super) fn reading(&mut self, object: &str, rejected: &[Rejected]) {
        if rejected.is_empty() {
            self.rejected.remove(object);
            return;
        }
        if self
            .rejected
            .get(object)
            .is_some_and(|known| known == rejected)
        {
            return;
        }
        for part in rejected {
            warn!(source = self.source.as_str(), object, part = %part, "part of an object cannot be read and grants nothing");
        }
        self.rejected.insert(object.to_owned(), rejected.to_vec());
    }

    /// Forgets the object called `object`.
    pub(super) fn gone(&mut self, object: &str) {
        self.rejected.remove(object);
    }

    /// The source cannot be followed. Said again only after it could.
    pub(super) fn failed(&mut self, error: &dyn std::error::Error) {
        if !std::mem::replace(&mut self.failing, true) {
            let error = chain(error);
            warn!(
                source = self.source.as_str(),
                error, "source of tenancy cannot be followed, what is known goes stale"
            );
        }
    }

    /// The source is followed.
    pub(super) fn followed(&mut self) {
        if std::mem::replace(&mut self.failing, false) {
            info!(
                source = self.source.as_str(),
                "source of tenancy is followed again"
            );
        }
    }
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
