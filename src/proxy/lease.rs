//! The entry of a running request or stream: counted per identity, and subscribed to that identity's scope before
//! anything is decided, so that no change falls between decision and stream.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use moka::sync::Cache;

use super::reject::Reject;
use crate::identity::Identity;
use crate::identity::IdentityKey;
use crate::tenancy::Presence;
use crate::tenancy::Tenancy;

/// Requests and streams one identity may have open at once. k9s opens a few dozen watches, a GitOps controller one per
/// kind and namespace; a shared service account of a large one comes near a thousand.
const MAX_PER_IDENTITY: usize = 4096;

/// Identities counted at once; one that was evicted starts at zero.
const MAX_IDENTITIES: u64 = 65_536;

/// Opens leases.
#[derive(Clone, Debug)]
pub(super) struct Leases {
    tenancy: Tenancy,
    open: Cache<IdentityKey, Arc<AtomicUsize>>,
}

/// Held by a request until the last byte of its answer has gone.
#[derive(Debug)]
#[must_use = "a stream without a lease is neither counted nor told of changes"]
pub(super) struct Lease {
    /// What the identity may see, as it changes.
    pub(super) presence: Presence,
    count: Arc<AtomicUsize>,
}

impl Leases {
    pub(super) fn new(tenancy: Tenancy) -> Self {
        Self {
            tenancy,
            open: Cache::builder()
                .max_capacity(MAX_IDENTITIES)
                .time_to_idle(Duration::from_secs(3600))
                .build(),
        }
    }

    /// # Errors
    /// [`Reject::TooMany`] when this identity has [`MAX_PER_IDENTITY`] open.
    pub(super) fn open(&self, who: &Arc<Identity>) -> Result<Lease, Reject> {
        let count = self.open.get_with(*who.key(), Arc::default);
        if count.fetch_add(1, Ordering::Relaxed) >= MAX_PER_IDENTITY {
            count.fetch_sub(1, Ordering::Relaxed);
            return Err(Reject::TooMany);
        }
        Ok(Lease {
            presence: self.tenancy.present(who),
            count,
        })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}
