//! One call for all who ask the same thing at the same time.
//!
//! Whoever waits drives the call, so one caller who hangs up costs the others nothing; when the last one does, the call
//! is dropped with him and no task is left behind. It keeps no answer: that is the cache's business.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use futures_util::FutureExt;
use futures_util::future::Shared;
use futures_util::future::WeakShared;

type Call<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Flights<K, T> = Mutex<HashMap<K, (u64, WeakShared<Call<T>>)>>;

/// The calls under way.
pub struct SingleFlight<K, T: Clone> {
    flights: Arc<Flights<K, T>>,
}

impl<K, T: Clone> Default for SingleFlight<K, T> {
    /// Nothing under way.
    fn default() -> Self {
        Self {
            flights: Arc::default(),
        }
    }
}

impl<K, T> SingleFlight<K, T>
where
    K: Copy + Eq + Hash + Send + 'static,
    T: Clone + Send + Sync + 'static,
{
    /// The call for `key` that is under way, or the one that `start` makes. `start` may refuse to make one.
    ///
    /// # Errors
    /// Those of `start`. It runs under a lock: it must only build the future.
    pub fn join<F, E>(
        &self,
        key: K,
        start: impl FnOnce() -> Result<F, E>,
    ) -> Result<Shared<Call<T>>, E>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, under_way) = match flights.get(&key) {
            Some((number, call)) => (*number, call.upgrade()),
            None => (0, None),
        };
        if let Some(call) = under_way {
            return Ok(call);
        }
        let call = start()?;
        // Made after `start`, whose failure would drop it under the lock it takes.
        let number = last.wrapping_add(1);
        let landing = Landing {
            flights: self.flights.clone(),
            key,
            number,
        };
        let call: Call<T> = Box::pin(async move {
            let _landing = landing;
            call.await
        });
        let call = call.shared();
        if let Some(weak) = call.downgrade() {
            flights.insert(key, (number, weak));
        }
        Ok(call)
    }

    #[cfg(test)]
    fn under_way(&self) -> usize {
        self.flights.lock().unwrap().len()
    }
}

/// Takes a flight off the list when it ends or is dropped, unless another one has its place already.
struct Landing<K: Copy + Eq + Hash, T: Clone> {
    flights: Arc<Flights<K, T>>,
    key: K,
    number: u64,
}

impl<K: Copy + Eq + Hash, T: Clone> Drop for Landing<K, T> {
    fn drop(&mut self) {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if flights
            .get(&self.key)
            .is_some_and(|(number, _)| *number == self.number)
        {
            flights.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;
    use std::sync::atomic::Ordering;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn a_thousand_callers_make_one_call_and_survive_the_first_ones_end() {
        let flights = SingleFlight::<u8, u32>::default();
        let calls = Arc::new(AtomicU32::new(0));
        let (answer, asked) = oneshot::channel::<u32>();
        let mut asked = Some(asked);
        let mut callers: Vec<_> = (0..1_000)
            .map(|_| {
                flights
                    .join(1, || {
                        calls.fetch_add(1, Ordering::Relaxed);
                        let asked = asked.take().unwrap();
                        Ok::<_, ()>(async move { asked.await.unwrap() })
                    })
                    .unwrap()
            })
            .collect();
        let mut first = callers.swap_remove(0);
        assert!((&mut first).now_or_never().is_none());
        drop(first);
        answer.send(42).unwrap();
        for caller in callers {
            assert_eq!(caller.await, 42);
        }
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        assert_eq!(flights.under_way(), 0);
    }

    #[tokio::test]
    async fn nothing_is_left_when_all_callers_hang_up() {
        let flights = SingleFlight::<u8, u32>::default();
        let call = flights
            .join(1, || Ok::<_, ()>(std::future::pending()))
            .unwrap();
        let other = call.clone();
        drop(call);
        assert_eq!(flights.under_way(), 1);
        drop(other);
        assert_eq!(flights.under_way(), 0);
        let next = flights
            .join(1, || Ok::<_, ()>(std::future::ready(7)))
            .unwrap();
        assert_eq!(next.await, 7);
        assert!(
            flights
                .join(1, || Err::<std::future::Ready<u32>, _>("no"))
                .is_err()
        );
    }
}
