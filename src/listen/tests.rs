//! The way in over real sockets: protocols, limits, certificates, drain.

use std::path::Path;
use std::sync::atomic::AtomicUsize;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::client::conn::http2;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::ServerName;
use rustls_pki_types::pem::PemObject;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::body;
use crate::drain;
use crate::drain::Drain;
use crate::drain::Drained;
use crate::reload::Look;

const DEADLINE: Duration = Duration::from_secs(20);

async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("took too long: {what}"),
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let waited = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    in_time(what, waited).await;
}

/// A serving certificate in a directory, and the CAs that have ever signed it.
struct Certificate {
    directory: tempfile::TempDir,
    roots: RootCertStore,
}

impl Certificate {
    fn none() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            roots: RootCertStore::empty(),
        }
    }

    fn new() -> Self {
        let mut certificate = Self::none();
        certificate.renew();
        certificate
    }

    fn renew(&mut self) {
        let made =
            self_signed::generate(&["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let ca = CertificateDer::from_pem_slice(made.ca.as_bytes()).unwrap();
        self.roots.add(ca).unwrap();
        std::fs::write(self.path("tls.crt"), made.certificate).unwrap();
        std::fs::write(self.path("tls.key"), made.key).unwrap();
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        Path::join(self.directory.path(), name)
    }

    fn source(&self) -> Arc<TlsSource> {
        Arc::new(TlsSource::open(TlsFiles {
            certificate: self.path("tls.crt"),
            key: self.path("tls.key"),
        }))
    }
}

/// A listener at work.
struct Running {
    port: u16,
    drain: Drain,
    stats: Arc<Stats>,
    served: JoinHandle<()>,
}

fn settings() -> Settings {
    Settings {
        address: Some(Ipv4Addr::LOCALHOST.into()),
        port: 0,
        ..Settings::default()
    }
}

fn run<H, F>(settings: Settings, tls: Option<Arc<TlsSource>>, handler: H) -> Running
where
    H: Fn(Request<Incoming>, ConnInfo) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let bound = bind(settings).unwrap();
    let (drain, watcher) = drain::channel();
    Running {
        port: bound.address().unwrap().port(),
        drain,
        stats: bound.stats(),
        served: TaskTracker::new().spawn(bound.serve(tls, handler, watcher)),
    }
}

async fn hello(request: Request<Incoming>, info: ConnInfo) -> Response<Body> {
    let protocol = format!(
        "{:?} tls={} {}",
        request.version(),
        info.tls,
        request.headers().len()
    );
    Response::new(body::full(protocol))
}

async fn tcp(port: u16) -> TcpStream {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .await
        .unwrap()
}

async fn tls(port: u16, roots: &RootCertStore, protocol: &str) -> io::Result<TlsStream<TcpStream>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots.clone())
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, tcp(port).await)
        .await
}

/// A client's connection, of either protocol.
enum Client {
    Http1(http1::SendRequest<Empty<Bytes>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
}

impl Client {
    async fn over_tls(port: u16, roots: &RootCertStore, protocol: &str) -> io::Result<Self> {
        let io = TokioIo::new(tls(port, roots, protocol).await?);
        let tasks = TaskTracker::new();
        if protocol == "h2" {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
            tasks.spawn(connection);
            Ok(Self::Http2(sender))
        } else {
            let (sender, connection) = http1::handshake(io).await.unwrap();
            tasks.spawn(connection);
            Ok(Self::Http1(sender))
        }
    }

    async fn send(
        &mut self,
        request: Request<Empty<Bytes>>,
    ) -> hyper::Result<(StatusCode, String)> {
        let answer = match self {
            Self::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Self::Http2(sender) => sender.send_request(request).await?,
        };
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        Ok((status, String::from_utf8(body.to_vec()).unwrap()))
    }

    async fn get(&mut self) -> hyper::Result<String> {
        self.send(get()).await.map(|(_, body)| body)
    }

    async fn closed(&mut self) {
        match self {
            Self::Http1(sender) => {
                while sender.ready().await.is_ok() && !sender.is_closed() {
                    tokio::task::yield_now().await;
                }
            }
            Self::Http2(sender) => until("the connection is closed", || sender.is_closed()).await,
        }
    }
}

fn get() -> Request<Empty<Bytes>> {
    Request::get("https://localhost/")
        .header("host", "localhost")
        .body(Empty::new())
        .unwrap()
}

const PROTOCOLS: [&str; 2] = ["http/1.1", "h2"];

#[tokio::test]
async fn the_protocol_is_the_one_agreed_on_in_the_handshake() {
    let certificate = Certificate::new();
    let running = run(settings(), Some(certificate.source()), hello);
    for (protocol, says) in [
        ("http/1.1", "HTTP/1.1 tls=true 1"),
        ("h2", "HTTP/2.0 tls=true 1"),
    ] {
        let mut client = Client::over_tls(running.port, &certificate.roots, protocol)
            .await
            .unwrap();
        assert_eq!(client.get().await.unwrap(), says);
        assert_eq!(client.get().await.unwrap(), says);
    }
}

#[tokio::test]
async fn without_tls_it_speaks_http1_on_ipv4_and_ipv6() {
    let everywhere = Settings {
        address: None,
        ..settings()
    };
    let running = run(everywhere, None, hello);
    let mut addresses = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, running.port))];
    // Not every machine has it.
    if std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        addresses.push(SocketAddr::from((Ipv6Addr::LOCALHOST, running.port)));
    }
    for address in addresses {
        let mut tcp = TcpStream::connect(address).await.unwrap();
        tcp.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("HTTP/1.1 tls=false 2"), "{answer}");
    }
}

#[tokio::test]
async fn headers_pass_up_to_a_megabyte_and_no_further() {
    let certificate = Certificate::new();
    let running = run(settings(), Some(certificate.source()), hello);
    let with = |lines: usize, size: usize| {
        let mut request = get();
        for line in 0..lines {
            let name: http::HeaderName = format!("x-{line}").parse().unwrap();
            request
                .headers_mut()
                .insert(name, "x".repeat(size).parse().unwrap());
        }
        request
    };
    for protocol in PROTOCOLS {
        let mut client = Client::over_tls(running.port, &certificate.roots, protocol)
            .await
            .unwrap();
        for (lines, size) in [(1, 16 * 1024), (1, 900 * 1024), (200, 1024)] {
            let (status, _) = client.send(with(lines, size)).await.unwrap();
            assert_eq!(status, StatusCode::OK, "{protocol}, {lines} of {size}");
        }
        // Over HTTP/1.1 hyper looks at what it has read, and may have read as much again when it does.
        let refused = client.send(with(1, 2200 * 1024)).await;
        let too_large = matches!(
            &refused,
            Ok((StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, _))
        );
        assert!(too_large || refused.is_err(), "{protocol}: {refused:?}");
        let mut other = Client::over_tls(running.port, &certificate.roots, protocol)
            .await
            .unwrap();
        other.get().await.unwrap();
    }
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_not_waited_for() {
    let certificate = Certificate::new();
    let impatient = Settings {
        handshake_timeout: Duration::from_millis(50),
        first_request_timeout: Duration::from_millis(50),
        ..settings()
    };
    let running = run(impatient, Some(certificate.source()), hello);
    let mut silent = tcp(running.port).await;
    assert_eq!(
        in_time("no handshake", silent.read(&mut [0; 1]))
            .await
            .unwrap(),
        0
    );
    assert_eq!(running.stats.handshakes_failed.load(Ordering::Relaxed), 1);
    for (protocol, said) in [
        ("http/1.1", &b""[..]),
        ("http/1.1", b"GET / HTTP/1.1\r\nhost: x\r\nx-slow: "),
        ("h2", b""),
        ("h2", b"PRI * HTTP/2.0\r\n"),
        // A header block that is never finished: HEADERS without END_HEADERS.
        (
            "h2",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x01\x01\0\0\0\0\x01\x82",
        ),
    ] {
        let mut stream = tls(running.port, &certificate.roots, protocol)
            .await
            .unwrap();
        stream.write_all(said).await.unwrap();
        let mut rest = Vec::new();
        in_time("the end", stream.read_to_end(&mut rest)).await.ok();
    }
    assert_eq!(running.stats.idled_out.load(Ordering::Relaxed), 5);
}

#[tokio::test]
async fn an_idle_connection_ends_and_a_quiet_request_does_not() {
    let certificate = Certificate::new();
    let restless = Settings {
        first_request_timeout: Duration::from_millis(50),
        idle_timeout: Duration::from_millis(50),
        ..settings()
    };
    let open = Arc::new(tokio::sync::Notify::new());
    let running = run(restless, Some(certificate.source()), {
        let open = Arc::clone(&open);
        move |_, _| {
            let open = Arc::clone(&open);
            async move {
                open.notified().await;
                Response::new(body::full("late"))
            }
        }
    });
    for protocol in PROTOCOLS {
        let mut client = Client::over_tls(running.port, &certificate.roots, protocol)
            .await
            .unwrap();
        let quiet = async {
            // As long as it takes for others to be ended one after the other.
            for _ in 0..3 {
                let io = tls(running.port, &certificate.roots, protocol).await;
                in_time("an idle one ends", io.unwrap().read_to_end(&mut Vec::new()))
                    .await
                    .ok();
            }
            open.notify_one();
        };
        let (answer, ()) = tokio::join!(client.get(), quiet);
        assert_eq!(answer.unwrap(), "late", "{protocol}");
        in_time(protocol, client.closed()).await;
    }
}

#[tokio::test]
async fn a_certificate_is_exchanged_while_connections_live() {
    let mut certificate = Certificate::new();
    let old = certificate.roots.clone();
    let source = certificate.source();
    let running = run(settings(), Some(Arc::clone(&source)), hello);
    let mut before = Vec::new();
    for protocol in PROTOCOLS {
        before.push(
            Client::over_tls(running.port, &old, protocol)
                .await
                .unwrap(),
        );
    }
    certificate.roots = RootCertStore::empty();
    certificate.renew();
    assert_eq!(source.files().look(), Look::Published);
    for client in &mut before {
        client.get().await.unwrap();
    }
    assert!(Client::over_tls(running.port, &old, "h2").await.is_err());
    let mut after = Client::over_tls(running.port, &certificate.roots, "h2")
        .await
        .unwrap();
    after.get().await.unwrap();
}

#[tokio::test]
async fn a_pair_that_does_not_fit_is_refused_and_the_old_one_stays() {
    let certificate = Certificate::new();
    let source = certificate.source();
    let running = run(settings(), Some(Arc::clone(&source)), hello);
    let other = self_signed::generate(&["localhost".to_owned()]).unwrap();
    for (name, key, why) in [
        ("another key", other.key.as_str(), "cannot be used together"),
        ("no PEM", "-----BEGIN nonsense", "no private key"),
        ("a certificate", &other.certificate, "no private key"),
        ("nothing", "", "no private key"),
    ] {
        std::fs::write(certificate.path("tls.key"), key).unwrap();
        assert_eq!(source.files().look(), Look::Refused, "{name}");
        let problem = source.files().problem().unwrap();
        assert!(problem.contains(why), "{name}: {problem}");
        let mut client = Client::over_tls(running.port, &certificate.roots, "h2")
            .await
            .unwrap();
        client.get().await.unwrap();
    }
}

#[tokio::test]
async fn a_missing_certificate_is_waited_for() {
    let mut certificate = Certificate::none();
    let source = certificate.source();
    let running = run(settings(), Some(Arc::clone(&source)), hello);
    assert!(source.files().problem().unwrap().contains("tls.crt"));
    let refused = in_time(
        "no certificate",
        Client::over_tls(running.port, &certificate.roots, "h2"),
    )
    .await;
    assert!(refused.is_err());
    assert_eq!(running.stats.without_certificate.load(Ordering::Relaxed), 1);
    certificate.renew();
    assert_eq!(source.files().look(), Look::Published);
    let mut client = Client::over_tls(running.port, &certificate.roots, "h2")
        .await
        .unwrap();
    client.get().await.unwrap();
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_their_turn() {
    let certificate = Certificate::new();
    let two = Settings {
        max_connections: 2,
        ..settings()
    };
    let running = run(two, Some(certificate.source()), hello);
    let mut first = Client::over_tls(running.port, &certificate.roots, "h2")
        .await
        .unwrap();
    let _second = Client::over_tls(running.port, &certificate.roots, "h2")
        .await
        .unwrap();
    first.get().await.unwrap();
    let third = async {
        let mut third = Client::over_tls(running.port, &certificate.roots, "h2")
            .await
            .unwrap();
        third.get().await.unwrap();
    };
    let mut third = std::pin::pin!(third);
    tokio::select! {
        biased;
        () = third.as_mut() => panic!("more connections than allowed"),
        () = async { for _ in 0..20 { first.get().await.unwrap(); } } => {}
    }
    assert_eq!(running.stats.accepted.load(Ordering::Relaxed), 2);
    drop(first);
    in_time("the third", third).await;
}

#[tokio::test]
async fn cve_2023_44487_a_client_that_resets_streams_rapidly_is_cut_off() {
    let certificate = Certificate::new();
    let running = run(settings(), Some(certificate.source()), |_, _| {
        std::future::pending()
    });
    let io = tls(running.port, &certificate.roots, "h2").await.unwrap();
    let (sender, connection) = h2::client::handshake(io).await.unwrap();
    let tasks = TaskTracker::new();
    let ended = tasks.spawn(connection);
    let mut sender = sender.ready().await.unwrap();
    let attack = async {
        for _ in 0..100_000 {
            let Ok(ready) = sender.clone().ready().await else {
                break;
            };
            sender = ready;
            let Ok((_answer, mut stream)) = sender.send_request(get().map(|_| ()), false) else {
                break;
            };
            stream.send_reset(h2::Reason::CANCEL);
        }
    };
    in_time("the attack", attack).await;
    let ended = in_time("the end", ended).await.unwrap().unwrap_err();
    assert_eq!(
        ended.reason(),
        Some(h2::Reason::ENHANCE_YOUR_CALM),
        "{ended}"
    );
}

/// Counts the requests that reached it, and answers them when it is told to, or soon.
#[derive(Clone)]
struct Slow {
    reached: Arc<AtomicUsize>,
    go: Arc<Semaphore>,
}

impl Slow {
    fn answering(at_once: usize) -> Self {
        Self {
            reached: Arc::default(),
            go: Arc::new(Semaphore::new(at_once)),
        }
    }

    fn handler(
        &self,
    ) -> impl Fn(Request<Incoming>, ConnInfo) -> SlowAnswer + Clone + Send + Sync + use<> {
        let slow = self.clone();
        move |_, _| {
            slow.reached.fetch_add(1, Ordering::Relaxed);
            let go = Arc::clone(&slow.go);
            Box::pin(async move {
                let _go = go.acquire().await.unwrap();
                Response::new(body::full("whole"))
            })
        }
    }

    fn reached(&self) -> usize {
        self.reached.load(Ordering::Relaxed)
    }
}

type SlowAnswer = std::pin::Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

#[tokio::test]
async fn a_drain_finishes_what_was_begun_and_takes_nothing_new() {
    let certificate = Certificate::new();
    let slow = Slow::answering(0);
    let running = run(settings(), Some(certificate.source()), slow.handler());
    let mut idle = Client::over_tls(running.port, &certificate.roots, "http/1.1")
        .await
        .unwrap();
    let mut first = Client::over_tls(running.port, &certificate.roots, "http/1.1")
        .await
        .unwrap();
    let mut second = Client::over_tls(running.port, &certificate.roots, "h2")
        .await
        .unwrap();
    let begun = async { tokio::join!(first.get(), second.get()) };
    let mut begun = std::pin::pin!(begun);
    tokio::select! {
        _ = begun.as_mut() => panic!("answered"),
        () = until("both arrive", || slow.reached() == 2) => {}
    }
    let mut drain = std::pin::pin!(running.drain.drain(DEADLINE));
    tokio::select! {
        biased;
        _ = drain.as_mut() => panic!("drained"),
        _ = begun.as_mut() => panic!("answered"),
        () = in_time("the idle connection ends", idle.closed()) => {}
    }
    let refused = TcpStream::connect((Ipv4Addr::LOCALHOST, running.port)).await;
    assert!(refused.is_err());
    slow.go.add_permits(2);
    let ((first_answer, second_answer), drained) =
        in_time("the drain", async { tokio::join!(begun, drain) }).await;
    assert_eq!(
        (first_answer.unwrap(), second_answer.unwrap()),
        ("whole".to_owned(), "whole".to_owned())
    );
    assert_eq!(drained, Drained::Finished);
    in_time("the listener", running.served).await.unwrap();
}

#[tokio::test]
async fn what_does_not_end_in_time_is_cut() {
    let certificate = Certificate::new();
    let slow = Slow::answering(0);
    let running = run(settings(), Some(certificate.source()), slow.handler());
    for protocol in PROTOCOLS {
        let mut client = Client::over_tls(running.port, &certificate.roots, protocol)
            .await
            .unwrap();
        let arrived = slow.reached();
        TaskTracker::new().spawn(async move { client.get().await });
        until("it arrives", || slow.reached() > arrived).await;
    }
    let drained = in_time("the drain", running.drain.drain(Duration::from_millis(50))).await;
    assert!(
        matches!(drained, Drained::Forced { left: 3.. }),
        "{drained:?}"
    );
    in_time("the listener", running.served).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_under_load_answers_whole_whatever_it_began() {
    let certificate = Certificate::new();
    let slow = Slow::answering(8);
    let running = run(settings(), Some(certificate.source()), slow.handler());
    let answered = Arc::new(AtomicUsize::new(0));
    let clients = TaskTracker::new();
    for client in 0..16 {
        let mut client = Client::over_tls(running.port, &certificate.roots, PROTOCOLS[client % 2])
            .await
            .unwrap();
        let answered = Arc::clone(&answered);
        clients.spawn(async move {
            while let Ok(whole) = client.get().await {
                assert_eq!(whole, "whole");
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    until("requests flow", || answered.load(Ordering::Relaxed) > 200).await;
    let drained = in_time("the drain", running.drain.drain(DEADLINE)).await;
    assert_eq!(drained, Drained::Finished);
    clients.close();
    in_time("the clients", clients.wait()).await;
    assert_eq!(answered.load(Ordering::Relaxed), slow.reached());
}

#[tokio::test]
async fn an_upgraded_connection_is_handed_over_and_keeps_its_place() {
    let certificate = Certificate::new();
    let tunnels = TaskTracker::new();
    let one = Settings {
        max_connections: 1,
        ..settings()
    };
    let running = run(one, Some(certificate.source()), {
        let tunnels = tunnels.clone();
        move |mut request: Request<Incoming>, _| {
            let tunnels = tunnels.clone();
            async move {
                if !request.headers().contains_key("upgrade") {
                    return Response::new(body::full("whole"));
                }
                tunnels.spawn(async move {
                    let io = TokioIo::new(hyper::upgrade::on(&mut request).await.unwrap());
                    let (mut said, mut heard) = tokio::io::split(io);
                    tokio::io::copy(&mut said, &mut heard).await.unwrap();
                    heard.shutdown().await.unwrap();
                });
                let mut switch = Response::new(body::empty());
                *switch.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                switch
                    .headers_mut()
                    .insert("connection", "upgrade".parse().unwrap());
                switch
                    .headers_mut()
                    .insert("upgrade", "SPDY/3.1".parse().unwrap());
                switch
            }
        }
    });
    let mut client = tls(running.port, &certificate.roots, "http/1.1")
        .await
        .unwrap();
    // Comes with the head, and must not be lost.
    let head = "GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: SPDY/3.1\r\n\r\n";
    let together = format!("{head}ping");
    client.write_all(together.as_bytes()).await.unwrap();
    let mut answer = String::new();
    while !answer.ends_with("\r\n\r\nping") {
        let mut byte = [0];
        let read = in_time("the tunnel", client.read_exact(&mut byte)).await;
        assert_eq!(read.unwrap(), 1, "{answer}");
        answer.push(byte[0].into());
    }
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    let next = async {
        let next = Client::over_tls(running.port, &certificate.roots, "http/1.1").await;
        next.unwrap().get().await.unwrap()
    };
    let mut next = std::pin::pin!(next);
    tokio::select! {
        biased;
        _ = next.as_mut() => panic!("more connections than allowed"),
        () = async {
            for _ in 0..20 {
                let mut echo = [0; 4];
                client.write_all(b"ping").await.unwrap();
                client.read_exact(&mut echo).await.unwrap();
                assert_eq!(&echo, b"ping");
            }
        } => {}
    }
    client.shutdown().await.unwrap();
    assert_eq!(in_time("the next", next).await, "whole");
}
