//! One accepted connection, from its handshake to its end.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::pin::pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::Response;
use http_body::Frame;
use http_body::SizeHint;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http1;
use hyper::server::conn::http2;
use hyper::service::HttpService;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::ConnInfo;
use super::Security;
use super::Settings;
use super::Stats;
use crate::body::Body;
use crate::body::BoxError;
use crate::drain::Watcher;
use crate::socket;
use crate::socket::Lingering;

/// Header block of a request: what the API server takes (Go's `DefaultMaxHeaderBytes`). hyper's HTTP/2 default of
/// 16 KiB is less than one token with many groups.
const HEADER_BLOCK: usize = 1024 * 1024;

/// Header lines of an HTTP/1.1 request. hyper's default is 100, and a browser behind proxies comes near.
const HEADER_LINES: usize = 256;

/// A stream's window for uploads, as the API server's own (apiserver `pkg/server/secure_serving.go`).
const STREAM_WINDOW: u32 = 256 * 1024;

/// Bytes of answers that one HTTP/2 stream may have waiting for its client.
const SEND_BUFFER: usize = 128 * 1024;

/// Streams that a client may open and reset before we have looked at them (rapid reset, CVE-2023-44487); the
/// connection ends beyond that. h2's own default is 20, which a cancelled `kubectl` with many requests in flight meets.
const PENDING_RESETS: usize = 100;

/// How often an HTTP/2 client must say that it is still there: a load balancer forgets silent connections after four
/// minutes.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a connection that was told to end may take when it carries no request.
const LINGER: Duration = Duration::from_secs(5);

/// How long a connection that has just been made when the drain begins may take to send its first request. Its client
/// cannot know that he is late, and would take the end of a fresh connection for a failure.
const NEWCOMER: Duration = Duration::from_secs(1);

/// An accepted connection, and what it needs.
pub(super) struct Accepted {
    pub(super) tcp: TcpStream,
    pub(super) security: Security,
    pub(super) peer: SocketAddr,
    pub(super) settings: Arc<Settings>,
    pub(super) stats: Arc<Stats>,
    pub(super) drain: Watcher,
    /// Owns the tasks of HTTP/2 streams.
    pub(super) tasks: TaskTracker,
    /// Its place among the connections that may be open.
    pub(super) room: Option<OwnedSemaphorePermit>,
}

impl Accepted {
    /// Serves it to its end.
    pub(super) async fn serve<H, F>(self, handler: H)
    where
        H: Fn(Request<Incoming>, ConnInfo) -> F + Clone + Send + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        if let Err(error) = socket::tune(&self.tcp) {
            debug!(
                error = &error as &dyn std::error::Error,
                "connection was gone when it was accepted"
            );
            return;
        }
        let peer = self.peer;
        let activity = Activity::default();
        let tls = matches!(self.security, Security::Tls(_));
        let service = service_fn({
            let activity = activity.clone();
            move |request| {
                let request_is_open = activity.begin();
                // On the heap, since hyper keeps room for the future until the end of the answer: a watch is long.
                let answer = Box::pin(handler(request, ConnInfo { peer, tls }));
                async move {
                    let answer = answer.await;
                    Ok::<_, std::convert::Infallible>(answer.map(|body| Counted {
                        body,
                        _open: request_is_open,
                    }))
                }
            }
        });
        let watch = Overseer {
            activity,
            settings: self.settings,
            stats: self.stats,
            drain: self.drain,
        };
        // Each on the heap by itself: a connection has the size of what it speaks, not of the largest.
        match self.security {
            Security::Plain => {
                let stream = Lingering::new(self.tcp, self.tasks).occupying(self.room);
                Box::pin(watch.http1(stream, service)).await;
            }
            Security::Tls(config) => {
                let handshake = Box::pin(TlsAcceptor::from(config).accept(self.tcp));
                let stream = match timeout(watch.settings.handshake_timeout, handshake).await {
                    Ok(Ok(stream)) => stream,
                    Ok(Err(error)) => return watch.no_handshake(&error),
                    Err(elapsed) => return watch.no_handshake(&elapsed),
                };
                let chose_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                let stream = Lingering::new(stream, self.tasks.clone()).occupying(self.room);
                if chose_http2 {
                    Box::pin(watch.http2(stream, service, self.tasks)).await;
                } else {
                    Box::pin(watch.http1(stream, service)).await;
                }
            }
        }
    }
}

/// Sees to it that a connection ends: when it is idle, when the drain begins, when it is forced.
struct Overseer {
    activity: Activity,
    settings: Arc<Settings>,
    stats: Arc<Stats>,
    drain: Watcher,
}

impl Overseer {
    fn no_handshake(&self, error: &(dyn std::error::Error + 'static)) {
        self.stats.handshakes_failed.fetch_add(1, Ordering::Relaxed);
        debug!(error, "TLS handshake failed");
    }

    async fn http1<I, S>(self, io: I, service: S)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: HttpService<Incoming, ResBody = Counted> + Send,
        S::Error: Into<BoxError>,
    {
        // Its deadlines are the overseer's: hyper's, for the header block, would run while a connection is idle, too.
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .max_headers(HEADER_LINES)
            .max_buf_size(HEADER_BLOCK)
            .serve_connection(TokioIo::new(io), service)
            .with_upgrades();
        let mut connection = pin!(connection);
        self.oversee(connection.as_mut(), |connection| {
            connection.graceful_shutdown()
        })
        .await;
    }

    async fn http2<I, S>(self, io: I, service: S, tasks: TaskTracker)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: HttpService<Incoming, ResBody = Counted>,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
    {
        let connection = http2::Builder::new(Tracked(tasks))
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.settings.max_streams)
            .max_header_list_size(u32::try_from(HEADER_BLOCK).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(PENDING_RESETS)
            .initial_stream_window_size(STREAM_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT)
            .serve_connection(TokioIo::new(io), service);
        let mut connection = pin!(connection);
        self.oversee(connection.as_mut(), |connection| {
            connection.graceful_shutdown()
        })
        .await;
    }

    /// Drives `connection` to its end. `finish` tells it to take no further request.
    async fn oversee<C, E>(self, mut connection: Pin<&mut C>, finish: impl Fn(Pin<&mut C>))
    where
        C: Future<Output = Result<(), E>>,
        E: std::error::Error + 'static,
    {
        let mut idle = pin!(tokio::time::sleep(self.settings.first_request_timeout));
        let (mut finishing, mut late) = (false, false);
        let draining = self.drain.clone();
        let mut draining = pin!(draining.draining());
        loop {
            tokio::select! {
                // Force ends what is busy, and the drain is told before further requests are taken.
                biased;
                () = self.drain.forced() => return,
                _ = draining.as_mut(), if !finishing && !late => match self.activity.now() {
                    Now::Unused => {
                        late = true;
                        idle.as_mut().reset(Instant::now() + NEWCOMER);
                    }
                    Now::Busy | Now::Idle(_) => {
                        finish(connection.as_mut());
                        finishing = true;
                        idle.as_mut().reset(Instant::now() + LINGER);
                    }
                },
                () = self.activity.begun(), if late && !finishing => {
                    finish(connection.as_mut());
                    finishing = true;
                    idle.as_mut().reset(Instant::now() + LINGER);
                }
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        debug!(error = &error as &dyn std::error::Error, "connection ended");
                    }
                    return;
                }
                () = idle.as_mut() => match self.activity.now() {
                    Now::Busy => idle.as_mut().reset(Instant::now() + self.allowance(finishing)),
                    Now::Idle(since) if since.elapsed() < self.allowance(finishing) => {
                        idle.as_mut().reset(since + self.allowance(finishing));
                    }
                    Now::Idle(_) if !finishing => {
                        self.stats.idled_out.fetch_add(1, Ordering::Relaxed);
                        finish(connection.as_mut());
                        finishing = true;
                        idle.as_mut().reset(Instant::now() + LINGER);
                    }
                    // It was told to end and does not.
                    Now::Idle(_) => return,
                    Now::Unused => {
                        self.stats.idled_out.fetch_add(1, Ordering::Relaxed);
                        return;
                    }
                },
            }
        }
    }

    fn allowance(&self, finishing: bool) -> Duration {
        if finishing {
            LINGER
        } else {
            self.settings.idle_timeout
        }
    }
}

/// Whether a connection carries requests, and since when not.
#[derive(Clone, Default)]
struct Activity(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    begun: Notify,
}

#[derive(Default)]
struct State {
    open: usize,
    last_end: Option<Instant>,
}

/// What a connection does now.
enum Now {
    /// It has never carried a request.
    Unused,
    /// It carries at least one.
    Busy,
    /// It carries none, since then.
    Idle(Instant),
}

impl Activity {
    fn begin(&self) -> OpenRequest {
        self.state().open += 1;
        self.0.begun.notify_one();
        OpenRequest(self.clone())
    }

    /// Waits until a request has begun, be it before. For one waiter, once.
    async fn begun(&self) {
        self.0.begun.notified().await;
    }

    fn now(&self) -> Now {
        let state = self.state();
        match (state.open, state.last_end) {
            (0, None) => Now::Unused,
            (0, Some(since)) => Now::Idle(since),
            (_, _) => Now::Busy,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Held by a request and then by the body of its answer.
struct OpenRequest(Activity);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.open -= 1;
        state.last_end = Some(Instant::now());
    }
}

/// An answer's body, whose end is the end of the request.
struct Counted {
    body: Body,
    _open: OpenRequest,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Spawns the streams of HTTP/2 connections on the listener's tracker.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F> Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}
