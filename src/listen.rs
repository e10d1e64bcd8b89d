//! The way in: sockets, TLS, HTTP, and their limits. It hands requests to a closure and knows nothing of what it does.
//!
//! hyper has no deadline for an HTTP/2 header block (h2 #928) nor for an idle connection (hyper #3666), so every
//! connection is watched from here: by when its first request is there, and how long it may be idle.

mod connection;
pub mod self_signed;
mod tls;

use std::fmt;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::Request;
use http::Response;
use hyper::body::Incoming;
use rustls::ServerConfig;
use socket2::Domain;
use socket2::Protocol;
use socket2::Socket;
use socket2::Type;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use tracing::warn;

pub use self::tls::TlsFiles;
pub use self::tls::TlsSource;
use crate::body::Body;
use crate::drain::Watcher;
use crate::metrics::Sheet;
pub use crate::socket::ConnInfo;

/// Connections that the kernel completes for us while we are busy.
const BACKLOG: i32 = 1024;

/// How long nothing is accepted after the process ran out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What to listen on, and the bounds of what comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// None: all addresses, IPv6 and IPv4 on one socket where the machine has both.
    pub address: Option<IpAddr>,
    /// 0: any free one, which [`Bound::address`] tells.
    pub port: u16,
    /// Connections open at once; more wait in the kernel's queue.
    pub max_connections: usize,
    /// From the first byte of TCP to the end of the TLS handshake.
    pub handshake_timeout: Duration,
    /// From then to the end of the first request's headers.
    pub first_request_timeout: Duration,
    /// How long a connection may carry no request. More than the 90 s of Go's clients, who otherwise meet our closing
    /// with their next request.
    pub idle_timeout: Duration,
    /// Streams of one HTTP/2 connection. client-go puts all of a process's watches on one.
    pub max_streams: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            address: None,
            port: 9001,
            max_connections: 20_000,
            handshake_timeout: Duration::from_secs(10),
            first_request_timeout: Duration::from_secs(20),
            idle_timeout: Duration::from_secs(120),
            max_streams: 250,
        }
    }
}

/// Counters of the way in.
#[derive(Debug, Default)]
pub struct Stats {
    /// Connections accepted since the start.
    pub accepted: AtomicU64,
    /// TLS handshakes that failed or took too long.
    pub handshakes_failed: AtomicU64,
    /// Connections closed because there was no certificate yet.
    pub without_certificate: AtomicU64,
    /// Connections ended because no request came in time, or none for too long.
    pub idled_out: AtomicU64,
}

impl Stats {
    /// Writes them down.
    ///
    /// # Errors
    /// What the writer says.
    pub fn families(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        sheet.counter(
            "connections_accepted",
            "Connections of clients",
            [([], read(&self.accepted))],
        )?;
        let given_up = [
            ("handshake", &self.handshakes_failed),
            ("no_certificate", &self.without_certificate),
            ("idle", &self.idled_out),
        ];
        sheet.counter(
            "connections_given_up",
            "Connections of clients that were ended here before a request, or between two",
            given_up.map(|(reason, counter)| ([("reason", reason)], read(counter))),
        )
    }
}

/// A socket that is taken, and accepts once it is served.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    settings: Settings,
    stats: Arc<Stats>,
}

/// Takes the port.
///
/// # Errors
/// When the address is not ours or taken.
pub fn bind(settings: Settings) -> io::Result<Bound> {
    let listener = match settings.address {
        Some(address) => listen_on(SocketAddr::new(address, settings.port))?,
        // A machine without IPv6 refuses the socket, or the address.
        None => listen_on(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), settings.port)).or_else(
            |_no_ipv6| listen_on(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), settings.port)),
        )?,
    };
    Ok(Bound {
        listener,
        settings,
        stats: Arc::default(),
    })
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

impl Bound {
    /// Where it listens.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The counters.
    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.stats)
    }

    /// Accepts until the drain begins, then returns when the last connection has ended: by itself, or by force.
    ///
    /// Without `tls` it speaks plain HTTP/1.1. With it and no certificate yet, connections are closed at once.
    pub async fn serve<H, F>(self, tls: Option<Arc<TlsSource>>, handler: H, drain: Watcher)
    where
        H: Fn(Request<Incoming>, ConnInfo) -> F + Clone + Send + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let settings = Arc::new(self.settings);
        let connections = TaskTracker::new();
        let room = Arc::new(Semaphore::new(settings.max_connections));
        loop {
            let accepted = async {
                // Nobody closes the semaphore.
                let room = Arc::clone(&room).acquire_owned().await.ok();
                (self.listener.accept().await, room)
            };
            let (accepted, room) = tokio::select! {
                // Otherwise a flood of connections would keep the drain from being seen.
                biased;
                _ = drain.draining() => break,
                accepted = accepted => accepted,
            };
            let (tcp, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    pause_after(&error).await;
                    continue;
                }
            };
            self.stats.accepted.fetch_add(1, Ordering::Relaxed);
            let security = match &tls {
                None => Security::Plain,
                Some(source) => match source.current() {
                    Some(config) => Security::Tls(config),
                    None => {
                        self.stats
                            .without_certificate
                            .fetch_add(1, Ordering::Relaxed);
                        continue;
                    }
                },
            };
            let connection = connection::Accepted {
                tcp,
                security,
                peer,
                settings: Arc::clone(&settings),
                stats: Arc::clone(&self.stats),
                drain: drain.clone(),
                tasks: connections.clone(),
                room,
            };
            connections.spawn(connection.serve(handler.clone()));
        }
        drop(self.listener);
        connections.close();
        tokio::select! {
            () = connections.wait() => {}
            () = drain.forced() => {}
        }
    }
}

/// How a connection is secured: with the configuration that was in force when it was accepted.
enum Security {
    Plain,
    Tls(Arc<ServerConfig>),
}

/// A connection that was gone before it was accepted says nothing about the next. Anything else is likely a lack of
/// file descriptors, which does not pass by asking again at once.
async fn pause_after(error: &io::Error) {
    let gone = [
        io::ErrorKind::ConnectionAborted,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::ConnectionRefused,
    ];
    if !gone.contains(&error.kind()) {
        warn!(
            error = error as &dyn std::error::Error,
            "cannot accept connections"
        );
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

#[cfg(test)]
mod tests;
