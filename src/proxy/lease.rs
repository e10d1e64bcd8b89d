//! The entry of a running request or stream: counted per identity, and subscribed to that identity's scope before
//! anything is decided, so that no change falls between decision and stream.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use super::reject::Reject;
use crate::identity::Identity;
use crate::tenancy::Open;
use crate::tenancy::Presence;
use crate::tenancy::Tenancy;

/// Requests and streams one identity may have open at once. k9s opens a few dozen watches, a GitOps controller one per
/// kind and namespace; a shared service account of a large one comes near a thousand.
const MAX_REQUESTS: usize = 4096;

/// Watches in one namespace each, of all its watches over all namespaces: a dozen kinds in a thousand namespaces. Each is
/// a stream upstream, of which up to a window (256 KiB) waits for a client that does not read.
const MAX_STREAMS: usize = 16_384;

/// Held by a request until the last byte of its answer has gone.
#[derive(Debug)]
#[must_use = "a stream without a lease is neither counted nor told of changes"]
pub(super) struct Lease {
    /// What the identity may see, as it changes.
    pub(super) presence: Presence,
    _share: Share,
}

/// Some of what an identity may have open, given back when it is dropped.
#[derive(Debug)]
#[must_use = "what is not held is not counted"]
pub(super) struct Share {
    open: Arc<Open>,
    requests: usize,
    streams: usize,
}

impl Lease {
    /// # Errors
    /// [`Reject::TooMany`] when this identity has [`MAX_REQUESTS`] open.
    pub(super) fn open(tenancy: &Tenancy, who: &Arc<Identity>) -> Result<Self, Reject> {
        let presence = tenancy.present(who);
        let _share = Share::take(&presence, 1, 0)?;
        Ok(Self { presence, _share })
    }
}

impl Share {
    /// For a watch that is so many.
    ///
    /// # Errors
    /// [`Reject::TooMany`] when this identity would have more than [`MAX_STREAMS`] open.
    pub(super) fn of_streams(presence: &Presence, streams: usize) -> Result<Self, Reject> {
        Self::take(presence, 0, streams)
    }

    fn take(presence: &Presence, requests: usize, streams: usize) -> Result<Self, Reject> {
        let open = Arc::clone(presence.open());
        // Dropped, it gives back what was too much.
        let share = Self {
            requests,
            streams,
            open,
        };
        let take = |count: &AtomicUsize, more, most| {
            count
                .fetch_add(more, Ordering::Relaxed)
                .saturating_add(more)
                <= most
        };
        let fits = [
            take(&share.open.requests, requests, MAX_REQUESTS),
            take(&share.open.streams, streams, MAX_STREAMS),
        ];
        if fits.contains(&false) {
            return Err(Reject::TooMany);
        }
        Ok(share)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.open
            .requests
            .fetch_sub(self.requests, Ordering::Relaxed);
        self.open.streams.fetch_sub(self.streams, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::identity::testing::identity;
    use crate::tenancy::Settings;

    #[test]
    fn an_identity_has_so_much_open_and_no_more() {
        let tenancy = Tenancy::new(Settings::default(), Clock::system());
        let (alice, bob) = (Arc::new(identity("alice")), Arc::new(identity("bob")));
        let open = |who| Lease::open(&tenancy, who);
        let mut leases: Vec<Lease> = (0..MAX_REQUESTS).map(|_| open(&alice).unwrap()).collect();
        for _ in 0..2 {
            assert!(matches!(open(&alice), Err(Reject::TooMany)));
        }
        assert!(open(&bob).is_ok());
        leases.pop();
        leases.push(open(&alice).unwrap());

        let presence = &leases.first().unwrap().presence;
        let most = Share::of_streams(presence, MAX_STREAMS - 1).unwrap();
        assert!(matches!(
            Share::of_streams(presence, 2),
            Err(Reject::TooMany)
        ));
        let last = Share::of_streams(presence, 1).unwrap();
        drop(most);
        assert!(Share::of_streams(presence, MAX_STREAMS - 1).is_ok());
        drop(last);
    }

    #[test]
    fn what_is_open_is_counted_however_long_nothing_new_is() {
        let tenancy = Tenancy::new(Settings::default(), Clock::system());
        let alice = Arc::new(identity("alice"));
        let first = Lease::open(&tenancy, &alice).unwrap();
        let second = Lease::open(&tenancy, &alice).unwrap();
        let count = |lease: &Lease| lease.presence.open().requests.load(Ordering::Relaxed);
        assert_eq!(count(&first), 2);
        drop(second);
        assert_eq!(count(&first), 1);
    }
}
