//! What every TCP socket of ours needs, on the way in and on the way out: its options, and a way to end.

mod linger;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use socket2::TcpKeepalive;
use tokio::net::TcpStream;

pub use self::linger::Lingering;

/// What is known of a connection apart from its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnInfo {
    /// The other end, which may be a load balancer.
    pub peer: SocketAddr,
    /// Whether it is encrypted.
    pub tls: bool,
}

/// Silence after which the kernel asks whether the peer is still there. Cloud load balancers forget idle connections
/// after four minutes (Azure's default), and a watch may well be silent for longer.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);

/// Time between two such questions, and the number of unanswered ones that end the connection.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
const KEEPALIVE_TRIES: u32 = 3;

/// How long sent bytes may stay unacknowledged. Keep-alive says nothing while data is in flight, and Linux would
/// retransmit for a quarter of an hour.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(60);

/// Sets `TCP_NODELAY`, keep-alive and, on Linux, the user time-out.
///
/// Without `TCP_NODELAY` HTTP/2 shows a tail of 40 ms: Nagle's algorithm waits for the peer's delayed acknowledgement.
///
/// # Errors
/// When the kernel refuses an option, which it does on a socket that is closed already.
pub fn tune(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let socket = SockRef::from(socket);
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_AFTER)
        .with_interval(KEEPALIVE_EVERY)
        .with_retries(KEEPALIVE_TRIES);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    Ok(())
}
