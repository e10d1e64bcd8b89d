//! Idle HTTP/1.1 connections, the most recent first. It opens none, and holds none that may end any moment.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use http::Request;
use http::Response;
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use tokio::time::Instant;

use super::error::Unanswered;
use crate::body::Body;

/// The bounds of a pool.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Idle connections kept; of more, the oldest go.
    pub(super) idle: usize,
    /// How long one may have been idle to be used again. Below the API server's own 90 s
    /// (apiserver `pkg/server/secure_serving.go`), so that a request does not cross its closing.
    pub(super) idle_for: Duration,
}

/// Idle connections of the lane for short requests.
#[derive(Clone)]
pub(super) struct Pool(Arc<Shared>);

struct Shared {
    bounds: Bounds,
    idle: Mutex<VecDeque<Idle>>,
}

struct Idle {
    sender: SendRequest<Body>,
    since: Instant,
}

impl Pool {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self(Arc::new(Shared {
            bounds,
            idle: Mutex::new(VecDeque::new()),
        }))
    }

    /// The connection that was used last and can carry a request now. Last, so that a burst's connections age and go.
    pub(super) fn take(&self) -> Option<Lease> {
        let mut idle = self.idle();
        self.0.prune(&mut idle);
        let position = idle.iter().rposition(|idle| idle.sender.is_ready())?;
        let Idle { sender, .. } = idle.remove(position)?;
        Some(self.lease(sender))
    }

    /// A lease of a connection that is in use and may come back.
    pub(super) fn lease(&self, sender: SendRequest<Body>) -> Lease {
        Lease {
            pool: self.clone(),
            sender,
        }
    }

    fn idle(&self) -> MutexGuard<'_, VecDeque<Idle>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Drops what is closed or was idle too long. The queue is in the order of becoming idle.
    fn prune(&self, idle: &mut VecDeque<Idle>) {
        let now = Instant::now();
        let old = |idle: &Idle| {
            now.duration_since(idle.since) >= self.bounds.idle_for || idle.sender.is_closed()
        };
        while idle.front().is_some_and(old) {
            idle.pop_front();
        }
    }
}

/// A connection in use. Dropped, it ends with the request it carries; [`Lease::give_back`] keeps it.
pub(super) struct Lease {
    pool: Pool,
    sender: SendRequest<Body>,
}

impl Lease {
    /// Sends a request on the connection, which carries nothing else until the answer's body has ended.
    pub(super) async fn send(
        self,
        request: Request<Body>,
    ) -> Result<(Response<Incoming>, Option<Self>), Unanswered> {
        let Self { pool, sender } = self;
        let (answer, sender) = http1_exchange(sender, request).await?;
        Ok((answer, sender.map(|sender| Self { pool, sender })))
    }

    /// Puts the connection back. It need not be ready yet: one that still sends a request's body is passed over until
    /// it is.
    pub(super) fn give_back(self) {
        if self.sender.is_closed() {
            return;
        }
        let mut idle = self.pool.idle();
        self.pool.0.prune(&mut idle);
        if idle.len() >= self.pool.0.bounds.idle {
            idle.pop_front();
        }
        idle.push_back(Idle {
            sender: self.sender,
            since: Instant::now(),
        });
    }
}

/// Sends a request on an HTTP/1.1 connection; with the answer comes the sender back, unless the connection has ended.
///
/// A request that is handed over in the moment in which the connection ends may stay in hyper's queue (tokio's
/// `Rx::drop` empties it once, at the beginning), and comes back only when the sender is gone.
pub(super) async fn http1_exchange(
    mut sender: SendRequest<Body>,
    request: Request<Body>,
) -> Result<(Response<Incoming>, Option<SendRequest<Body>>), Unanswered> {
    let mut sent = pin!(sender.try_send_request(request));
    tokio::select! {
        biased;
        sent = sent.as_mut() => return Ok((sent?, Some(sender))),
        () = ended(&mut sender) => drop(sender),
    }
    Ok((sent.await?, None))
}

async fn ended(sender: &mut SendRequest<Body>) {
    if sender.ready().await.is_ok() {
        // It is done with the request: the answer is there.
        std::future::pending::<()>().await;
    }
}
