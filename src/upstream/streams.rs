//! HTTP/2 connections whose streams are counted.
//!
//! The API server carries 100 streams on a connection and a watch holds one for minutes or hours, so a further
//! connection is opened before the limit is reached (hyper-util's pool keeps one per host and queues behind it,
//! hyper #3623). It sends nothing itself.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::Request;
use http::Response;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::client::conn::http2;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use tracing::debug;

use super::Cause;
use super::connect::Io;
use super::connect::Offer;
use super::dial;
use super::dial::Dialer;
use super::dial::Then;
use super::dial::Tracked;
use super::error::Unanswered;
use super::stats::Gauge;
use super::stats::Open;
use crate::body::Body;

/// Streams that we put on one connection at most, whatever the server allows: what fits into a connection's window.
const STREAMS_PER_CONNECTION: usize = 100;

/// Of 100 streams a server allows, those in use before another connection is opened.
const GROW_AT_PERCENT: usize = 80;

/// What a client that reads nothing may make us hold: one stream's window.
const STREAM_WINDOW: u32 = 256 * 1024;

/// All streams' windows together, so that clients who read nothing never stop the others on their connection. hyper's
/// own choice, 2 MiB and 5 MiB, is used up by three of them.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS_PER_CONNECTION as u32;

/// The headers of an answer. Warnings can be many; hyper's 16 KiB are few.
const HEADER_LIST: u32 = 256 * 1024;

/// How often the server must say that it is still there, and how long it may take to.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Time between two looks for the server's SETTINGS on a new connection. h2 tells nobody when they arrive.
const SETTINGS_POLL: Duration = Duration::from_millis(1);

/// Connections of one lane, by age.
pub(super) struct Streams {
    connections: Mutex<Vec<Arc<Connection>>>,
    /// Held while a connection is opened, so that a thousand watches at once open as many as they need.
    growing: tokio::sync::Mutex<()>,
    /// Whether the last connection was one of HTTP/2: the API server has a switch (`--disable-http2-serving`).
    without_http2: AtomicBool,
    open_connections: Gauge,
    open_streams: Gauge,
}

/// Where a request found its place.
pub(super) enum Place {
    /// On a stream.
    Stream(StreamLease),
    /// On a connection of its own, new, since the API server does not speak HTTP/2.
    Connection(http1::SendRequest<Body>),
}

impl Streams {
    /// None yet.
    pub(super) fn new(open_connections: &Gauge, open_streams: &Gauge) -> Self {
        Self {
            connections: Mutex::default(),
            growing: tokio::sync::Mutex::default(),
            without_http2: AtomicBool::new(false),
            open_connections: open_connections.clone(),
            open_streams: open_streams.clone(),
        }
    }

    /// Whether pooled HTTP/1.1 connections must do instead.
    pub(super) fn without_http2(&self) -> bool {
        self.without_http2.load(Ordering::Relaxed)
    }

    /// A stream on a connection with room, which is opened if there is none. Cancel-safe.
    pub(super) async fn place(&self, dialer: &Dialer) -> Result<Place, Cause> {
        if let Some(lease) = self.lease(Fill::Comfortably) {
            return Ok(Place::Stream(lease));
        }
        let _growing = self.growing.lock().await;
        if let Some(lease) = self.lease(Fill::Comfortably) {
            return Ok(Place::Stream(lease));
        }
        match self.grow(dialer).await {
            Ok(place) => Ok(place),
            // What was kept free of each connection is for this.
            Err(cause) => self.lease(Fill::Fully).map(Place::Stream).ok_or(cause),
        }
    }

    async fn grow(&self, dialer: &Dialer) -> Result<Place, Cause> {
        let io = dialer.connector.connect(Offer::Http2).await?;
        let open = self.open_connections.open();
        self.without_http2.store(!io.is_http2(), Ordering::Relaxed);
        if !io.is_http2() {
            let sender = dial::http1(io, Then::Http, &dialer.tasks, open).await?;
            return Ok(Place::Connection(sender));
        }
        let connection = Connection::open(io, &dialer.tasks, open);
        let connection = tokio::time::timeout(dialer.timeout, connection).await;
        let connection = connection.map_err(|_elapsed| Cause::ConnectTimeout)??;
        let lease = connection.lease(&self.open_streams);
        self.connections().push(connection);
        Ok(Place::Stream(lease))
    }

    /// A stream on the first connection with room. First, so that the later ones empty and end.
    fn lease(&self, fill: Fill) -> Option<StreamLease> {
        let mut connections = self.connections();
        connections.retain(|connection| !connection.is_closed());
        let connection = connections
            .iter()
            .find(|connection| connection.has_room(fill))?;
        Some(connection.lease(&self.open_streams))
    }

    fn connections(&self) -> MutexGuard<'_, Vec<Arc<Connection>>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far a connection may be filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fill {
    /// Up to where another connection should be opened.
    Comfortably,
    /// Up to the server's limit, when no other can be opened.
    Fully,
}

/// One HTTP/2 connection, and how many of its streams are in use.
struct Connection {
    /// None once the connection has ended. A request that is handed over in that very moment may stay in hyper's queue
    /// (tokio's `Rx::drop` empties it once, at the beginning), and comes back only when the last sender is gone.
    sender: Mutex<Option<SendRequest<Body>>>,
    in_use: AtomicUsize,
    /// The server's limit, as its last SETTINGS had it.
    allowed: AtomicUsize,
}

impl Connection {
    /// Speaks HTTP/2 on `io` and waits for the server's limits: before they are known, a stream too many would wait
    /// inside the connection, and with it all that come after it.
    async fn open(io: Io, tasks: &Tracked, open: Open) -> Result<Arc<Self>, Cause> {
        let handshake = http2::Builder::new(tasks.clone())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .initial_max_send_streams(0)
            .max_header_list_size(HEADER_LIST)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(io))
            .await;
        let (sender, mut driver) = handshake.map_err(Cause::Http)?;
        while driver.current_max_send_streams() == 0 {
            tokio::select! {
                biased;
                ended = &mut driver => return Err(ended.err().map_or(Cause::Closed, Cause::Http)),
                () = tokio::time::sleep(SETTINGS_POLL) => {}
            }
        }
        let connection = Arc::new(Self {
            sender: Mutex::new(Some(sender)),
            in_use: AtomicUsize::new(0),
            allowed: AtomicUsize::new(driver.current_max_send_streams()),
        });
        // Weak, since the connection lives as long as someone can send on it.
        let current = Arc::downgrade(&connection);
        tasks.spawn(async move {
            let _open = open;
            let ended = std::future::poll_fn(|cx| {
                let polled = Pin::new(&mut driver).poll(cx);
                if let Some(connection) = current.upgrade() {
                    let allowed = driver.current_max_send_streams();
                    connection.allowed.store(allowed, Ordering::Relaxed);
                }
                polled
            });
            if let Err(error) = ended.await {
                debug!(error = &error as &dyn std::error::Error, "connection ended");
            }
            drop(driver);
            if let Some(connection) = current.upgrade() {
                connection.retire();
            }
        });
        Ok(connection)
    }

    fn sender(&self) -> MutexGuard<'_, Option<SendRequest<Body>>> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes no further stream; those in flight go on.
    fn retire(&self) {
        drop(self.sender().take());
    }

    fn is_closed(&self) -> bool {
        self.sender().as_ref().is_none_or(SendRequest::is_closed)
    }

    fn has_room(&self, fill: Fill) -> bool {
        let allowed = self
            .allowed
            .load(Ordering::Relaxed)
            .min(STREAMS_PER_CONNECTION);
        let room = match fill {
            // At least one, or a server that allows one would never be asked.
            Fill::Comfortably => (allowed * GROW_AT_PERCENT / 100).max(1),
            Fill::Fully => allowed,
        };
        self.in_use.load(Ordering::Relaxed) < room
    }

    fn lease(self: &Arc<Self>, gauge: &Gauge) -> StreamLease {
        self.in_use.fetch_add(1, Ordering::Relaxed);
        StreamLease {
            connection: Arc::clone(self),
            _open: gauge.open(),
        }
    }
}

/// One stream, in use until dropped.
pub(super) struct StreamLease {
    connection: Arc<Connection>,
    _open: Open,
}

impl StreamLease {
    /// Sends a request on the stream. No sender outlives the sending, see [`Connection::sender`].
    pub(super) async fn send(
        &self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, Unanswered> {
        let sender = self.connection.sender().clone();
        let Some(mut sender) = sender else {
            return Err(Unanswered::Untouched(Cause::Closed, None));
        };
        let sent = sender.try_send_request(request);
        drop(sender);
        let unanswered = match sent.await {
            Ok(answer) => return Ok(answer),
            Err(error) => Unanswered::from(error),
        };
        match unanswered {
            // It is going away, which its own task may notice later than the next request would be placed on it.
            Unanswered::Untouched(..) | Unanswered::NotProcessed(_) => self.connection.retire(),
            Unanswered::Unknown(_) => {}
        }
        Err(unanswered)
    }
}

impl Drop for StreamLease {
    fn drop(&mut self) {
        self.connection.in_use.fetch_sub(1, Ordering::Relaxed);
    }
}
