//! From bytes to HTTP: handshakes, and the tasks that drive connections. It sends no request.

use std::future::Future;
use std::time::Duration;

use hyper::client::conn::http1;
use hyper::client::conn::http1::SendRequest;
use hyper::rt::Executor;
use hyper_util::rt::TokioIo;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::Cause;
use super::connect::Connector;
use super::connect::Io;
use crate::body::Body;

/// Header lines of an answer. hyper's 100 are few for the tails of `…/proxy/…`.
const MAX_HEADERS: usize = 256;

/// What may become of an HTTP/1.1 connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum Then {
    /// Request after request.
    Http,
    /// A tunnel.
    Upgrade,
}

/// Speaks HTTP/1.1 on `io`. The connection ends when its sender and the last answer are dropped; `open` counts it until then.
pub(super) async fn http1(
    io: Io,
    then: Then,
    tasks: &Tracked,
    open: impl Send + 'static,
) -> Result<SendRequest<Body>, Cause> {
    let handshake = http1::Builder::new()
        .max_headers(MAX_HEADERS)
        .handshake(TokioIo::new(io))
        .await;
    let (sender, connection) = handshake.map_err(Cause::Http)?;
    tasks.spawn(async move {
        let _open = open;
        let ended = match then {
            Then::Http => connection.await,
            Then::Upgrade => connection.with_upgrades().await,
        };
        if let Err(error) = ended {
            debug!(error = &error as &dyn std::error::Error, "connection ended");
        }
    });
    Ok(sender)
}

/// What opening a connection takes.
pub(super) struct Dialer {
    pub(super) connector: Connector,
    /// Owns the tasks that drive connections.
    pub(super) tasks: Tracked,
    /// For what comes after TCP and TLS.
    pub(super) timeout: Duration,
}

/// Spawns on a tracker, so that every task of a connection has an owner who can wait for it.
#[derive(Clone, Default)]
pub(super) struct Tracked(TaskTracker);

impl Tracked {
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(task);
    }

    /// Waits until none is left.
    pub(super) async fn finished(&self) {
        self.0.close();
        self.0.wait().await;
    }
}

impl<F> Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}
