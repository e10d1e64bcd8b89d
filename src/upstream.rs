//! The only way a client's request reaches the API server: [`Authorized`] in, a streamed response out.
//!
//! Four kinds of connections that are never mixed: pooled HTTP/1.1 for reads, HTTP/2 for writes, other HTTP/2
//! connections for watches and logs, one HTTP/1.1 connection for each upgrade (see [`Lane`]). It judges nothing, follows no redirect, and never
//! repeats a request that may have been carried out.

mod answer;
mod authorized;
mod connect;
mod dial;
mod error;
mod exchange;
mod headers;
mod hostile;
mod own_token;
mod pool;
mod replay;
mod stats;
mod streams;
mod tunnel;
mod upgrade;

use std::time::Duration;

use http::HeaderValue;
use http::Response;
use http::StatusCode;
use tokio::time::timeout;

pub use self::authorized::Authorized;
use self::authorized::HeadDeadline;
pub use self::authorized::Inbound;
pub use self::authorized::Lane;
pub use self::authorized::Unsendable;
pub use self::connect::BadTarget;
use self::connect::Connector;
pub use self::connect::Target;
use self::dial::Dialer;
use self::dial::Tracked;
pub use self::error::Cause;
pub use self::error::SendError;
pub use self::hostile::Hostile;
pub use self::hostile::judge_inbound;
pub use self::own_token::NotAToken;
pub use self::own_token::OwnToken;
use self::pool::Bounds;
use self::pool::Pool;
pub use self::stats::Gauge;
pub use self::stats::Stats;
use self::streams::Streams;
pub use self::tunnel::End;
pub use self::tunnel::Traffic;
pub use self::tunnel::Tunnel;
pub use self::upgrade::Switch;
use crate::body;
use crate::body::Body;

/// The bounds of the way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Name, TCP and TLS together.
    pub connect_timeout: Duration,
    /// From sending to the head of the answer, for requests that the API server ends itself after a minute
    /// (`--request-timeout`): a little more than that, so that it is heard first.
    pub head_timeout: Duration,
    /// Idle connections kept for short requests.
    pub idle_connections: usize,
    /// How long an idle connection is used again. Less than the API server's 90 s.
    pub idle_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            head_timeout: Duration::from_secs(70),
            idle_connections: 256,
            idle_timeout: Duration::from_secs(60),
        }
    }
}

/// The API server, as clients' requests reach it.
pub struct Upstream {
    target: Target,
    host: HeaderValue,
    settings: Settings,
    dialer: Dialer,
    reads: Pool,
    writes: Streams,
    watches: Streams,
    stats: Stats,
}

impl Upstream {
    /// Requests for `target`. Nothing is connected yet.
    ///
    /// # Errors
    /// [`BadTarget`] if its host is no name that a certificate could be for.
    pub fn new(target: Target, settings: Settings) -> Result<Self, BadTarget> {
        let host = HeaderValue::try_from(target.authority().as_str())
            .map_err(|_not_a_header| BadTarget::Address)?;
        let stats = Stats::default();
        Ok(Self {
            dialer: Dialer {
                connector: Connector::new(&target, settings.connect_timeout)?,
                tasks: Tracked::default(),
                timeout: settings.connect_timeout,
            },
            reads: Pool::new(Bounds {
                idle: settings.idle_connections,
                idle_for: settings.idle_timeout,
            }),
            writes: Streams::new(&stats.write_connections, &stats.write_streams),
            watches: Streams::new(&stats.stream_connections, &stats.streams),
            stats,
            target,
            host,
            settings,
        })
    }

    /// Sends a request and returns the answer as soon as its head is there; both bodies stream. A `body` given to
    /// [`Lane::Stream`] is dropped: watches and logs have none.
    ///
    /// Dropped, it ends the request upstream.
    ///
    /// # Errors
    /// [`SendError`]. A status of the API server is no error.
    pub async fn send(&self, request: Authorized, body: Body) -> Result<Response<Body>, SendError> {
        let head = request.head;
        let answer = async {
            match request.lane {
                Lane::Read => Box::pin(self.send_pooled(request, body, self.reads.take())).await,
                Lane::Write => Box::pin(self.send_counted(&self.writes, request, body)).await,
                Lane::Stream => {
                    Box::pin(self.send_counted(&self.watches, request, body::empty())).await
                }
                Lane::Dedicated(_) => Err(SendError::NotSent(Cause::WrongLane)),
            }
        };
        let mut answer = match head {
            HeadDeadline::Bounded => timeout(self.settings.head_timeout, answer)
                .await
                .map_err(|_elapsed| SendError::TooSlow)??,
            HeadDeadline::Unbounded => answer.await?,
        };
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(SendError::Lost(Cause::Switched));
        }
        headers::strip_hop_by_hop(answer.headers_mut());
        Ok(answer)
    }

    /// What is open.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Waits for every connection's end. Idle ones are closed; the others end with their requests.
    pub async fn close(self) {
        drop((self.reads, self.writes, self.watches));
        self.dialer.tasks.finished().await;
    }
}

#[cfg(test)]
mod tests;
