//! An API server to test against: real TLS, HTTP/2 and HTTP/1.1, and what it saw. It ends connections as Go's does,
//! which leaves a second for its GOAWAY to be read.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::Response;
use http::Uri;
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::CertificateParams;
use rcgen::KeyPair;
use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::task::TaskTracker;

use crate::body;
use crate::body::Body;
use crate::body::BoxError;
use crate::socket::Lingering;
use crate::upstream::Settings;
use crate::upstream::Target;
use crate::upstream::Upstream;
use crate::upstream::dial::Tracked;

/// How long a test waits for what must happen.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);

/// Waits for a condition that nothing announces.
pub(super) async fn until(what: &str, condition: impl Fn() -> bool) {
    let waited = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let in_time = tokio::time::timeout(DEADLINE, waited).await;
    assert!(in_time.is_ok(), "never happened: {what}");
}

/// What must end in time.
pub(super) async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("took too long: {what}"),
    }
}

/// Certificate and listener of a server that is not running yet.
pub(super) struct Address {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    ca: String,
    at: SocketAddr,
}

impl Address {
    /// A free port of this machine, offering these protocols.
    pub(super) async fn offering(protocols: &[&str]) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self {
            at: listener.local_addr().unwrap(),
            listener,
            acceptor: TlsAcceptor::from(Arc::new(config)),
            ca: certificate.pem(),
        }
    }

    /// The next connection, after its handshake.
    pub(super) async fn accept(&self) -> TlsStream<TcpStream> {
        let tcp = self.accept_tcp().await;
        self.acceptor.accept(tcp).await.unwrap()
    }

    async fn accept_tcp(&self) -> TcpStream {
        let (tcp, _) = self.listener.accept().await.unwrap();
        tcp.set_nodelay(true).unwrap();
        tcp
    }

    /// The way out to it.
    pub(super) fn upstream(&self, settings: Settings) -> Upstream {
        let base: Uri = format!("https://{}", self.at).parse().unwrap();
        let target = Target::new(&base, self.ca.as_bytes()).unwrap();
        Upstream::new(target, settings).unwrap()
    }
}

/// What a server did.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Connections accepted.
    pub(super) connections: AtomicUsize,
    /// Requests that reached the handler.
    pub(super) requests: AtomicUsize,
}

/// A running server.
pub(super) struct Server {
    address: Arc<Address>,
    pub(super) seen: Arc<Seen>,
    goaway: watch::Sender<usize>,
}

impl Server {
    /// Serves `handler`, with at most `streams` at once on an HTTP/2 connection.
    pub(super) async fn start<H, F>(protocols: &[&str], streams: u32, handler: H) -> Self
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let address = Arc::new(Address::offering(protocols).await);
        let seen = Arc::new(Seen::default());
        let goaway = watch::Sender::new(0);
        let tasks = Tracked::default();
        let accepting = {
            let (address, seen, goaway) = (Arc::clone(&address), Arc::clone(&seen), goaway.clone());
            let connections = tasks.clone();
            async move {
                loop {
                    let handshake = address.acceptor.accept(address.accept_tcp().await);
                    seen.connections.fetch_add(1, Ordering::Relaxed);
                    let (seen, goaway) = (Arc::clone(&seen), goaway.subscribe());
                    let handler = handler.clone();
                    let service = service_fn(move |request| {
                        seen.requests.fetch_add(1, Ordering::Relaxed);
                        let answer = handler(request);
                        async move { Ok::<_, Infallible>(answer.await.map(Plain)) }
                    });
                    let executor = connections.clone();
                    let goodbyes = TaskTracker::new();
                    connections.spawn(async move {
                        let Ok(stream) = handshake.await else { return };
                        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                            let connection = http2::Builder::new(executor)
                                .max_concurrent_streams(streams)
                                .serve_connection(
                                    TokioIo::new(Lingering::new(stream, goodbyes)),
                                    service,
                                );
                            let mut connection = pin!(connection);
                            end_on(goaway, connection.as_mut(), |c| c.graceful_shutdown()).await;
                        } else {
                            let connection = http1::Builder::new()
                                .serve_connection(
                                    TokioIo::new(Lingering::new(stream, goodbyes)),
                                    service,
                                )
                                .with_upgrades();
                            let mut connection = pin!(connection);
                            end_on(goaway, connection.as_mut(), |c| c.graceful_shutdown()).await;
                        }
                    });
                }
            }
        };
        tasks.spawn(accepting);
        Self {
            address,
            seen,
            goaway,
        }
    }

    /// A server that speaks both protocols, as the API server does.
    pub(super) async fn like_the_api_server<H, F>(handler: H) -> Self
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        Self::start(&["h2", "http/1.1"], 100, handler).await
    }

    /// Ends every connection there is: GOAWAY, or the end after the answer.
    pub(super) fn end_connections(&self) {
        self.goaway.send_modify(|generation| *generation += 1);
    }

    pub(super) fn upstream(&self) -> Upstream {
        self.address.upstream(Settings::default())
    }

    pub(super) fn upstream_with(&self, settings: Settings) -> Upstream {
        self.address.upstream(settings)
    }

    pub(super) fn ca(&self) -> &str {
        &self.address.ca
    }

    pub(super) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::Relaxed)
    }

    pub(super) fn requests(&self) -> usize {
        self.seen.requests.load(Ordering::Relaxed)
    }
}

async fn end_on<C: Future>(
    mut goaway: watch::Receiver<usize>,
    mut connection: Pin<&mut C>,
    end: impl Fn(Pin<&mut C>),
) {
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = goaway.changed() => end(connection.as_mut()),
    }
    let _ended = connection.await;
}

/// A body with a concrete error: rustc finds no `Send` in a connection whose bodies fail with a `dyn Error`.
struct Plain(Body);

impl http_body::Body for Plain {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        let polled = Pin::new(&mut self.0).poll_frame(cx);
        polled.map(|frame| frame.map(|frame| frame.map_err(std::io::Error::other)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.0.size_hint()
    }
}

/// A body that never ends, and counts what was taken from it.
pub(super) struct Endless {
    piece: Bytes,
    taken: Arc<AtomicUsize>,
    dropped: Arc<AtomicUsize>,
}

/// What became of the endless bodies of a test.
#[derive(Clone, Default)]
pub(super) struct Taken {
    pub(super) bytes: Arc<AtomicUsize>,
    pub(super) dropped: Arc<AtomicUsize>,
}

impl Taken {
    pub(super) fn body(&self) -> Body {
        Endless {
            piece: Bytes::from(vec![b'x'; 16 * 1024]),
            taken: Arc::clone(&self.bytes),
            dropped: Arc::clone(&self.dropped),
        }
        .boxed_unsync()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn dropped(&self) -> usize {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.taken.fetch_add(self.piece.len(), Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(self.piece.clone()))))
    }
}

impl Drop for Endless {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// A body that says nothing and stays open, as a quiet watch does.
pub(super) fn quiet() -> Body {
    struct Quiet;
    impl http_body::Body for Quiet {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            Poll::Pending
        }
    }
    Quiet.boxed_unsync()
}

/// An answer with a body.
pub(super) fn answer(body: impl Into<Bytes>) -> Response<Body> {
    Response::new(body::full(body))
}
