//! Numbers for metrics: how people were known, and what came of it. Why a credential was refused is counted by whoever
//! answers it, under [`crate::authn::Failure::reason`].

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::authn::refusal::Failure;
use crate::metrics::Sheet;

/// What judged a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// It was judged a moment ago.
    Memory,
    /// A configured issuer's key, or its rules.
    Signature,
    /// The API server's word, or that it may not be asked.
    Review,
}

impl Method {
    const ALL: [Self; 3] = [Self::Memory, Self::Signature, Self::Review];

    fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Signature => "signature",
            Self::Review => "review",
        }
    }
}

/// What came of something that may be accepted: three counters, read and written without a lock.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    accepted: AtomicU64,
    refused: AtomicU64,
    unavailable: AtomicU64,
}

impl Outcomes {
    pub(super) fn count<T>(&self, answer: &Result<T, Failure>) {
        let counter = match answer {
            Ok(_) => &self.accepted,
            Err(Failure::Rejected(_) | Failure::Missing | Failure::Conflict) => &self.refused,
            Err(Failure::Unavailable(_)) => &self.unavailable,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Each outcome's name and how often it was.
    pub(super) fn read(&self) -> [(&'static str, u64); 3] {
        [
            ("accepted", &self.accepted),
            ("refused", &self.refused),
            ("unavailable", &self.unavailable),
        ]
        .map(|(outcome, counter)| (outcome, counter.load(Ordering::Relaxed)))
    }
}

/// Counted since the start.
#[derive(Debug, Default)]
pub(super) struct Counters {
    memory: Outcomes,
    signature: Outcomes,
    review: Outcomes,
}

impl Counters {
    /// The outcomes of one method.
    pub(super) fn of(&self, method: Method) -> &Outcomes {
        match method {
            Method::Memory => &self.memory,
            Method::Signature => &self.signature,
            Method::Review => &self.review,
        }
    }

    /// Writes them down.
    pub(super) fn families(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let samples = Method::ALL.into_iter().flat_map(|method| {
            let of_method = self.of(method).read();
            of_method.map(|(outcome, count)| {
                ([("method", method.as_str()), ("outcome", outcome)], count)
            })
        });
        sheet.counter(
            "authentications",
            "Requests with a credential, by what judged it and what came of it",
            samples,
        )
    }
}
