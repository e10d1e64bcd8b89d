//! HTTP over TLS on loopback: accepts, hands requests to a function, ends when told to. Every task belongs to one
//! tracker.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use http::Response;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::body::Body;

/// Streams of one HTTP/2 connection (`MaxConcurrentStreams` in `apiserver pkg/server/secure_serving.go`): a client that
/// opens more must open another connection, as with the real server.
const MAX_STREAMS: u32 = 100;

/// What the API server takes as a header block.
const MAX_HEADERS: u32 = 1024 * 1024;

/// How long connections may take to end once the server stops.
const GRACE: Duration = Duration::from_millis(500);

/// Serves until `stop`.
pub(crate) async fn serve<A, F>(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    tasks: TaskTracker,
    stop: CancellationToken,
    answer: A,
) where
    A: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let acceptor = TlsAcceptor::from(tls);
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        // A connection that failed before it was accepted is its client's affair.
        let Ok((stream, _)) = accepted else { continue };
        let connection = connection(
            stream,
            acceptor.clone(),
            tasks.clone(),
            stop.clone(),
            answer.clone(),
        );
        tasks.spawn(connection);
    }
}

async fn connection<A, F>(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    tasks: TaskTracker,
    stop: CancellationToken,
    answer: A,
) where
    A: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let _best_effort = stream.set_nodelay(true);
    let handshake = tokio::time::timeout(Duration::from_secs(10), acceptor.accept(stream));
    let accepted = tokio::select! {
        biased;
        () = stop.cancelled() => return,
        accepted = handshake => accepted,
    };
    // A client that does not trust the certificate hangs up here.
    let Ok(Ok(stream)) = accepted else { return };
    let service = service_fn(move |request| {
        let answer = answer.clone();
        async move { Ok::<_, Infallible>(answer(request).await) }
    });
    let mut builder = auto::Builder::new(Tracked(tasks));
    builder
        .http1()
        .timer(TokioTimer::new())
        .max_buf_size(2 * MAX_HEADERS as usize)
        .max_headers(4_096);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADERS);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        biased;
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ended_or_cut = tokio::time::timeout(GRACE, connection).await;
        }
        _ended = connection.as_mut() => {}
    }
}

/// Runs hyper's own tasks under our tracker.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}
