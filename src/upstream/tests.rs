//! The way out over real TLS: lanes, what is tried again, back-pressure, tunnels.

mod server;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use http::Method;
use http::Request;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use server::Address;
use server::Server;
use server::Taken;
use server::answer;
use server::in_time;
use server::quiet;
use server::until;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;

use super::*;
use crate::k8s::request::Upgrade;

fn get(target: &str) -> Authorized {
    Authorized::for_test(Method::GET, target, Lane::Read)
}

fn post(target: &str) -> Authorized {
    Authorized::for_test(Method::POST, target, Lane::Write)
}

fn watch(target: &str) -> Authorized {
    Authorized::for_test(Method::GET, target, Lane::Stream)
}

async fn text(answer: Response<Body>) -> String {
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Answers with the path, and the body it was sent.
async fn echo(request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    answer([path.as_bytes(), &body].concat())
}

#[tokio::test]
async fn reads_share_a_connection_and_writes_another() {
    let server = Server::like_the_api_server(echo).await;
    let upstream = server.upstream();
    for turn in 0..20 {
        let path = format!("/{turn}");
        let read = upstream.send(get(&path), body::empty()).await.unwrap();
        assert_eq!(text(read).await, path);
        let written = upstream.send(post(&path), body::full("!")).await.unwrap();
        assert_eq!(text(written).await, format!("{path}!"));
    }
    assert_eq!(server.connections(), 2);
    let stats = upstream.stats();
    assert_eq!(
        (stats.read_connections.get(), stats.write_connections.get()),
        (1, 1)
    );
}

#[tokio::test]
async fn short_requests_at_the_same_time_have_a_connection_each_and_few_are_kept() {
    let server = Server::like_the_api_server(echo).await;
    let upstream = server.upstream_with(Settings {
        idle_connections: 2,
        ..Settings::default()
    });
    let all = (0..8)
        .map(|_| async { text(upstream.send(get("/a"), body::empty()).await.unwrap()).await });
    assert_eq!(join_all(all).await.len(), 8);
    until("idle connections beyond two are closed", || {
        upstream.stats().read_connections.get() <= 2
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_is_not_read_to_its_end_takes_its_connection_with_it() {
    let taken = Taken::default();
    let server = Server::like_the_api_server({
        let taken = taken.clone();
        move |_| std::future::ready(Response::new(taken.body()))
    })
    .await;
    let upstream = server.upstream();
    for lane in [Lane::Read, Lane::Stream] {
        let request = Authorized::for_test(Method::GET, "/", lane);
        let mut answer = upstream.send(request, body::empty()).await.unwrap();
        answer.body_mut().frame().await.unwrap().unwrap();
        let before = taken.dropped();
        drop(answer);
        until("the server's body is dropped", || taken.dropped() > before).await;
        assert_eq!(upstream.stats().streams.get(), 0);
    }
    until("the connection is closed", || {
        upstream.stats().read_connections.get() == 0
    })
    .await;
}

#[tokio::test]
async fn a_request_given_up_before_its_answer_is_given_up_upstream() {
    let dropped = Taken::default();
    let server = Server::like_the_api_server({
        let dropped = dropped.clone();
        move |_| {
            let held = dropped.body();
            async move {
                std::future::pending::<()>().await;
                Response::new(held)
            }
        }
    })
    .await;
    let upstream = server.upstream();
    for (turn, lane) in [Lane::Read, Lane::Stream].into_iter().enumerate() {
        let request = Authorized::for_test(Method::GET, "/", lane);
        tokio::select! {
            _ = upstream.send(request, body::empty()) => panic!("answered"),
            () = until("it arrives", || server.requests() > turn) => {}
        }
        until("the server's handler is dropped", || {
            dropped.dropped() > turn
        })
        .await;
    }
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_costs_nothing_but_another() {
    let server = Server::like_the_api_server(echo).await;
    let upstream = server.upstream();
    for turn in 0..10 {
        // Sometimes the end is seen first, sometimes the request crosses it.
        let answer = upstream.send(get("/get"), body::empty()).await.unwrap();
        assert_eq!(text(answer).await, "/get", "turn {turn}");
        server.end_connections();
        if turn % 2 == 0 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(server.requests(), 10);
}

#[tokio::test]
async fn a_write_that_may_have_happened_is_not_repeated_and_a_read_is_once() {
    // Without HTTP/2 both go by HTTP/1.1.
    let address = Address::offering(&["http/1.1"]).await;
    let upstream = address.upstream(Settings::default());
    let head = |request: &[u8]| {
        String::from_utf8_lossy(request)
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let served = async {
        let mut heads = Vec::new();
        let mut buffer = [0; 4096];
        // Each connection answers its first request and ends at its second, without a word.
        for second_arrives in [true, true, false] {
            let mut stream = address.accept().await;
            let read = stream.read(&mut buffer).await.unwrap();
            heads.push(head(&buffer[..read]));
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                .await
                .unwrap();
            if second_arrives {
                let read = stream.read(&mut buffer).await.unwrap();
                heads.push(head(&buffer[..read]));
            }
            stream.shutdown().await.unwrap();
        }
        heads
    };
    let sent = async {
        let send = |request, body| async {
            Ok::<_, SendError>(text(upstream.send(request, body).await?).await)
        };
        assert_eq!(send(post("/1"), body::full("x")).await.unwrap(), "ok");
        let lost = send(post("/2"), body::full("x")).await.unwrap_err();
        assert!(matches!(lost, SendError::Lost(_)), "{lost:?}");
        assert_eq!(send(get("/3"), body::empty()).await.unwrap(), "ok");
        assert_eq!(send(get("/4"), body::empty()).await.unwrap(), "ok");
    };
    let (heads, ()) = in_time(
        "six requests",
        Box::pin(async { tokio::join!(served, sent) }),
    )
    .await;
    let paths: Vec<_> = heads
        .iter()
        .map(|head| head.split(' ').nth(1).unwrap())
        .collect();
    assert_eq!(paths, ["/1", "/2", "/3", "/4", "/4"]);
}

#[tokio::test]
async fn many_watches_spread_over_connections_below_the_servers_limit() {
    let server = Server::like_the_api_server(|request: Request<Incoming>| async move {
        if request.uri().path() == "/watch" {
            Response::new(quiet())
        } else {
            answer("short")
        }
    })
    .await;
    let upstream = server.upstream();
    let open = (0..350).map(|_| upstream.send(watch("/watch"), body::empty()));
    let watches = in_time("350 watches", join_all(open)).await;
    assert!(watches.iter().all(Result::is_ok));
    assert_eq!(upstream.stats().streams.get(), 350);
    // 80 on each.
    assert_eq!(upstream.stats().stream_connections.get(), 5);
    let short = in_time("a short request", upstream.send(get("/x"), body::empty())).await;
    assert_eq!(text(short.unwrap()).await, "short");

    drop(watches);
    assert_eq!(upstream.stats().streams.get(), 0);
    in_time(
        "another watch",
        upstream.send(watch("/watch"), body::empty()),
    )
    .await
    .unwrap();
    assert_eq!(server.connections(), 6);
}

#[tokio::test]
async fn a_server_that_allows_few_streams_is_never_asked_for_more() {
    let server = Server::start(&["h2"], 3, |_| async { Response::new(quiet()) }).await;
    let upstream = server.upstream();
    let open = (0..12).map(|_| upstream.send(watch("/"), body::empty()));
    let watches = in_time("twelve watches", join_all(open)).await;
    assert!(watches.iter().all(Result::is_ok));
    assert_eq!(server.connections(), 6, "two of three streams on each");
}

#[tokio::test]
async fn a_server_without_http2_gives_every_watch_a_connection() {
    let server = Server::start(&["http/1.1"], 0, |_| async { Response::new(quiet()) }).await;
    let upstream = server.upstream();
    let open = (0..5).map(|_| upstream.send(watch("/"), body::empty()));
    let watches = in_time("five watches", join_all(open)).await;
    assert!(watches.iter().all(Result::is_ok));
    assert_eq!(upstream.stats().stream_connections.get(), 5);
    drop(watches);
    until("they are closed", || {
        upstream.stats().stream_connections.get() == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn goaway_under_load_loses_nothing_and_doubles_nothing() {
    let seen: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
    let server = Server::like_the_api_server({
        let seen = Arc::clone(&seen);
        move |request: Request<Incoming>| {
            let seen = Arc::clone(&seen);
            async move {
                let path = request.uri().path().to_owned();
                // A request that was broken off is none.
                if request.into_body().collect().await.is_ok() {
                    *seen.lock().unwrap().entry(path.clone()).or_default() += 1;
                }
                answer(path)
            }
        }
    })
    .await;
    let upstream = server.upstream();
    let client = |client: usize| {
        let (upstream, server) = (&upstream, &server);
        async move {
            for turn in 0..40 {
                let path = format!("/{client}/{turn}");
                let (request, body) = match client % 3 {
                    0 => (watch(&path), body::empty()),
                    1 => (get(&path), body::empty()),
                    _ => (post(&path), body::full(path.clone())),
                };
                let answer = upstream.send(request, body).await;
                assert_eq!(text(answer.unwrap()).await, path);
                if client == 0 && turn % 8 == 7 {
                    server.end_connections();
                }
            }
        }
    };
    in_time("all requests", join_all((0..30).map(client))).await;
    let seen = seen.lock().unwrap();
    // A watch may be asked for twice: the first was reset before it was answered.
    let twice =
        |(path, times): &(&String, &usize)| **times > 1 && !client_of(path).is_multiple_of(3);
    assert_eq!(seen.iter().find(twice), None);
    assert_eq!(seen.len(), 30 * 40);
    assert!(server.connections() > 30, "connections were ended");
}

fn client_of(path: &str) -> usize {
    path.split('/').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn streams_in_flight_outlive_a_goaway() {
    let server = Server::like_the_api_server(|request: Request<Incoming>| async move {
        match request.uri().path() {
            "/watch" => Response::new(Taken::default().body()),
            _ => answer("new"),
        }
    })
    .await;
    let upstream = server.upstream();
    let mut old = upstream
        .send(watch("/watch"), body::empty())
        .await
        .unwrap()
        .into_body();
    server.end_connections();
    let new = in_time(
        "a watch elsewhere",
        upstream.send(watch("/"), body::empty()),
    )
    .await
    .unwrap();
    assert_eq!(text(new).await, "new");
    let mut read = 0;
    while read < 4 * 1024 * 1024 {
        let frame = in_time("the old watch", old.frame())
            .await
            .unwrap()
            .unwrap();
        read += frame.into_data().unwrap().len();
    }
}

#[tokio::test]
async fn readers_who_stall_delay_nobody_on_their_connection() {
    let server = Server::like_the_api_server(|request: Request<Incoming>| async move {
        match request.uri().path() {
            "/endless" => Response::new(Taken::default().body()),
            _ => answer(vec![b'y'; 2 * 1024 * 1024]),
        }
    })
    .await;
    let upstream = server.upstream();
    let mut stalled = Vec::new();
    for _ in 0..60 {
        let answer = upstream
            .send(watch("/endless"), body::empty())
            .await
            .unwrap();
        stalled.push(answer);
    }
    for _ in 0..5 {
        let whole =
            async { text(upstream.send(watch("/whole"), body::empty()).await.unwrap()).await };
        assert_eq!(
            in_time("a reader beside them", whole).await.len(),
            2 * 1024 * 1024
        );
    }
    assert_eq!(upstream.stats().stream_connections.get(), 1);
}

/// What two sockets and their TLS may hold between a producer and a reader who does not read.
const IN_FLIGHT: usize = 16 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_who_stalls_makes_the_server_wait() {
    let taken = Taken::default();
    let server = Server::like_the_api_server({
        let taken = taken.clone();
        move |request: Request<Incoming>| {
            let endless = request.uri().path() == "/endless";
            let answer = if endless {
                Response::new(taken.body())
            } else {
                answer("short")
            };
            std::future::ready(answer)
        }
    })
    .await;
    let upstream = server.upstream();
    for lane in [Lane::Read, Lane::Stream] {
        let before = taken.bytes();
        let request = Authorized::for_test(Method::GET, "/endless", lane);
        let held = upstream.send(request, body::empty()).await.unwrap();
        // Time passes, in which a producer that nobody holds back would fill gigabytes.
        for _ in 0..300 {
            text(upstream.send(get("/short"), body::empty()).await.unwrap()).await;
        }
        assert!(
            taken.bytes() - before < IN_FLIGHT,
            "{lane:?}: {}",
            taken.bytes() - before
        );
        drop(held);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_read_makes_the_client_wait() {
    let server = Server::like_the_api_server(|request: Request<Incoming>| async move {
        if request.uri().path() == "/upload" {
            std::future::pending::<()>().await;
        }
        answer("short")
    })
    .await;
    let upstream = server.upstream();
    let taken = Taken::default();
    let mut upload = std::pin::pin!(upstream.send(post("/upload"), taken.body()));
    let others = async {
        until("the upload begins", || taken.bytes() > 0).await;
        for _ in 0..300 {
            text(upstream.send(get("/short"), body::empty()).await.unwrap()).await;
        }
    };
    tokio::select! {
        _ = &mut upload => panic!("answered"),
        () = others => {}
    }
    assert!(taken.bytes() < IN_FLIGHT, "{}", taken.bytes());
}

#[tokio::test]
async fn an_answer_that_does_not_begin_in_time_is_too_slow_unless_it_may_be() {
    let server = Server::like_the_api_server(|_| async {
        std::future::pending::<()>().await;
        answer("")
    })
    .await;
    let upstream = server.upstream_with(Settings {
        head_timeout: Duration::from_millis(50),
        ..Settings::default()
    });
    let slow = in_time("the deadline", upstream.send(get("/"), body::empty())).await;
    assert!(matches!(slow, Err(SendError::TooSlow)));
    until("its connection is closed", || {
        upstream.stats().read_connections.get() == 0
    })
    .await;

    let mut patient = get("/");
    patient.head = HeadDeadline::Unbounded;
    let both = tokio::select! {
        biased;
        _ = upstream.send(patient, body::empty()) => "answered",
        slow = upstream.send(get("/"), body::empty()) => {
            assert!(matches!(slow, Err(SendError::TooSlow)));
            "waits"
        }
    };
    assert_eq!(both, "waits");
}

#[tokio::test]
async fn a_server_of_another_ca_is_not_spoken_to() {
    let server = Server::like_the_api_server(echo).await;
    let other = Server::like_the_api_server(echo).await;
    let mut target = server.upstream().target;
    target = Target::new(
        &format!("https://{}", target.authority()).parse().unwrap(),
        other.ca().as_bytes(),
    )
    .unwrap();
    let upstream = Upstream::new(target, Settings::default()).unwrap();
    for lane in [Lane::Read, Lane::Stream] {
        let request = Authorized::for_test(Method::GET, "/", lane);
        let refused = upstream.send(request, body::empty()).await.unwrap_err();
        assert!(
            matches!(refused, SendError::NotSent(Cause::Tls(_))),
            "{refused:?}"
        );
    }
    assert_eq!(server.requests(), 0);
}

#[test]
fn targets_without_verification_or_with_a_path_do_not_exist() {
    for (base, ca) in [
        ("https://api:6443", ""),
        ("https://api:6443/prefix", ""),
        ("ftp://api", ""),
        ("/relative", ""),
    ] {
        assert!(
            Target::new(&base.parse().unwrap(), ca.as_bytes()).is_err(),
            "{base}"
        );
    }
    assert!(Target::new(&"http://127.0.0.1:8001".parse().unwrap(), b"").is_ok());
}

/// Answers the only request of the only connection with these bytes, and returns what else the connection says.
async fn answers_raw(address: &Address, raw: &[u8]) -> Vec<u8> {
    let mut stream = address.accept().await;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    stream.write_all(raw).await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.ok();
    rest
}

fn exec(upgrade: Upgrade) -> Authorized {
    Authorized::for_test(Method::GET, "/exec", Lane::Dedicated(upgrade))
}

#[tokio::test]
async fn cve_2018_1002105_only_a_101_to_what_was_asked_becomes_a_tunnel() {
    for (head, outcome) in [
        ("HTTP/1.1 200 OK", "unexpected 200"),
        (
            "HTTP/1.1 302 Found\r\nlocation: https://elsewhere/",
            "unexpected 302",
        ),
        ("HTTP/1.1 304 Not Modified", "unexpected 304"),
        (
            "HTTP/1.1 403 Forbidden\r\ncontent-length: 2",
            "declined 403 no",
        ),
        ("HTTP/1.1 500 Oops\r\ncontent-length: 2", "declined 500 no"),
        (
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c",
            "unexpected 101",
        ),
        ("HTTP/1.1 101 Switching Protocols", "unexpected 101"),
        (
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: WebSocket",
            "agreed",
        ),
    ] {
        let address = Address::offering(&["http/1.1"]).await;
        let upstream = address.upstream(Settings::default());
        let raw = format!("{head}\r\n\r\nno");
        let asked = async {
            match upstream.upgrade(exec(Upgrade::WebSocket)).await.unwrap() {
                Switch::Agreed(..) => "agreed".to_owned(),
                Switch::Declined(answer) => format!(
                    "declined {} {}",
                    answer.status().as_u16(),
                    text(answer).await
                ),
                Switch::Unexpected(status) => format!("unexpected {}", status.as_u16()),
            }
        };
        // The server's side ends only because ours closes the connection.
        let both = async { tokio::join!(asked, answers_raw(&address, raw.as_bytes())) };
        let (outcome_seen, rest) = in_time(head, both).await;
        assert_eq!(outcome_seen, outcome, "{head}");
        assert_eq!(rest, b"", "{head}");
        until("the connection is closed", || {
            upstream.stats().dedicated_connections.get() == 0
        })
        .await;
    }
}

#[tokio::test]
async fn a_plain_request_that_is_answered_by_a_switch_is_lost() {
    let address = Address::offering(&["http/1.1"]).await;
    let upstream = address.upstream(Settings::default());
    let raw =
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    let sent = async {
        let lost = upstream.send(get("/"), body::empty()).await.unwrap_err();
        assert!(matches!(lost, SendError::Lost(_)), "{lost:?}");
    };
    in_time("both", async {
        tokio::join!(sent, answers_raw(&address, raw))
    })
    .await;
}

/// A client's connection to a proxy that does nothing but upgrade, and the traffic that the proxy saw.
async fn through_a_proxy(
    upstream: Arc<Upstream>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> (
    tokio::io::DuplexStream,
    tokio::sync::oneshot::Receiver<Traffic>,
) {
    let (client, proxy) = tokio::io::duplex(64 * 1024);
    let (report, traffic) = tokio::sync::oneshot::channel();
    let once = Mutex::new(Some((stop, report)));
    let tasks = Tracked::default();
    let tunnels = tasks.clone();
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        let (upstream, tunnels, once) = (
            Arc::clone(&upstream),
            tunnels.clone(),
            once.lock().unwrap().take(),
        );
        async move {
            let (stop, report) = once.unwrap();
            let switch = upstream.upgrade(exec(Upgrade::Spdy31)).await.unwrap();
            let Switch::Agreed(agreement, tunnel) = switch else {
                panic!("{switch:?}")
            };
            tunnels.spawn(async move {
                let client = hyper::upgrade::on(&mut request).await.unwrap();
                report.send(tunnel.splice(client, stop).await).ok();
            });
            Ok::<_, std::convert::Infallible>(agreement)
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .serve_connection(hyper_util::rt::TokioIo::new(proxy), service)
        .with_upgrades();
    tasks.spawn(async move { connection.await.unwrap() });
    (client, traffic)
}

const SPDY: &str =
    "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: SPDY/3.1\r\n\r\n";

#[tokio::test]
async fn a_tunnel_carries_what_came_with_the_heads_and_one_sides_end_is_not_the_others() {
    let address = Address::offering(&["http/1.1"]).await;
    let upstream = Arc::new(address.upstream(Settings::default()));
    let (mut client, traffic) = through_a_proxy(upstream, std::future::pending()).await;
    let served = async {
        let rest = answers_then_reads(&address, "early from the server").await;
        assert_eq!(rest, "early from the client");
    };
    let asked = async {
        client
            .write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: SPDY/3.1\r\n\r\nearly from the client")
            .await
            .unwrap();
        client.shutdown().await.unwrap();
        let mut all = String::new();
        client.read_to_string(&mut all).await.unwrap();
        let (head, rest) = all.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(head.contains("upgrade: SPDY/3.1"), "{head}");
        assert_eq!(rest, "early from the server, and late");
    };
    in_time("both", Box::pin(async { tokio::join!(served, asked) })).await;
    let traffic = traffic.await.unwrap();
    assert_eq!((traffic.up, traffic.down), (21, 31));
    assert!(matches!(traffic.end, End::Finished), "{traffic:?}");
}

/// Switches, saying something with the head; reads to the client's end, and only then says the rest.
async fn answers_then_reads(address: &Address, early: &str) -> String {
    let mut stream = address.accept().await;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    stream
        .write_all(format!("{SPDY}{early}").as_bytes())
        .await
        .unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    stream.write_all(b", and late").await.unwrap();
    stream.shutdown().await.unwrap();
    rest
}

#[tokio::test]
async fn a_tunnel_that_is_stopped_ends_on_both_sides() {
    let address = Address::offering(&["http/1.1"]).await;
    let upstream = Arc::new(address.upstream(Settings::default()));
    let stop = tokio_util::sync::CancellationToken::new();
    let tunnels = upstream.stats().dedicated_connections.clone();
    let (mut client, traffic) = through_a_proxy(upstream, stop.clone().cancelled_owned()).await;
    let served = async {
        let mut stream = address.accept().await;
        let mut buffer = [0; 4096];
        let _head = stream.read(&mut buffer).await.unwrap();
        stream.write_all(SPDY.as_bytes()).await.unwrap();
        loop {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(read) => stream.write_all(&buffer[..read]).await.unwrap(),
            }
        }
    };
    let asked = async {
        client
            .write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: SPDY/3.1\r\n\r\nping")
            .await
            .unwrap();
        let mut all = Vec::new();
        while !all.ends_with(b"\r\n\r\nping") {
            all.push(client.read_u8().await.unwrap());
        }
        assert_eq!(tunnels.get(), 1);
        stop.cancel();
        assert_eq!(client.read(&mut [0; 16]).await.unwrap(), 0);
    };
    in_time("both", Box::pin(async { tokio::join!(served, asked) })).await;
    let traffic = traffic.await.unwrap();
    assert_eq!((traffic.up, traffic.down), (4, 4));
    assert_eq!(tunnels.get(), 0);
    assert!(matches!(traffic.end, End::Stopped), "{traffic:?}");
}

#[tokio::test]
async fn frames_pass_as_they_come() {
    let (pieces, body) = channel_body();
    let body = Arc::new(Mutex::new(Some(body)));
    let server = Server::like_the_api_server(move |_| {
        let body = body.lock().unwrap().take().unwrap();
        std::future::ready(Response::new(body))
    })
    .await;
    let upstream = server.upstream();
    let mut answer = upstream
        .send(watch("/"), body::empty())
        .await
        .unwrap()
        .into_body();
    for piece in ["{\"type\":\"ADDED\"}\n", "{\"type\":\"BOOKMARK\"}\n"] {
        pieces
            .send(Bytes::from_static(piece.as_bytes()))
            .await
            .unwrap();
        let frame = in_time("a frame", answer.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), piece);
    }
    drop(pieces);
    let rest = in_time("the end", answer.collect()).await.unwrap();
    assert_eq!(rest.to_bytes(), "");
}

/// A body of the pieces sent.
fn channel_body() -> (tokio::sync::mpsc::Sender<Bytes>, Body) {
    let (pieces, mut received) = tokio::sync::mpsc::channel::<Bytes>(1);
    let frames = futures_util::stream::poll_fn(move |cx| received.poll_recv(cx))
        .map(|piece| Ok(http_body::Frame::data(piece)));
    (
        pieces,
        http_body_util::StreamBody::new(frames).boxed_unsync(),
    )
}
