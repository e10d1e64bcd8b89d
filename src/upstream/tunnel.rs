//! Two upgraded connections, spliced: exec, attach, port-forward. It understands none of the bytes.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;

use super::stats::Open;

/// Bytes in flight per direction. A terminal needs few, a port-forward is limited by its peers.
const BUFFER: usize = 16 * 1024;

/// The API server's side of a switched connection, waiting for the client's.
#[derive(Debug)]
#[must_use = "a tunnel that is dropped ends the user's session"]
pub struct Tunnel {
    upstream: Upgraded,
    _open: Arc<Open>,
}

/// What went through a tunnel, and how it ended.
#[derive(Debug)]
pub struct Traffic {
    /// Bytes from the client.
    pub up: u64,
    /// Bytes to the client.
    pub down: u64,
    /// Why it ended.
    pub end: End,
}

/// Why a tunnel ended.
#[derive(Debug)]
pub enum End {
    /// Both sides said that they had said everything.
    Finished,
    /// It was told to.
    Stopped,
    /// A connection broke.
    Broken(io::Error),
}

impl Tunnel {
    /// `open` counts the connection for as long as it is a tunnel, too.
    pub(super) fn new(upstream: Upgraded, open: Arc<Open>) -> Self {
        Self {
            upstream,
            _open: open,
        }
    }

    /// Copies until both sides have ended, one has broken, or `stop` completes; then both connections are closed.
    ///
    /// Bytes that came together with either head come first: hyper keeps them inside the [`Upgraded`]. One side's end
    /// is passed on as such and the other direction goes on: `kubectl exec -i` ends its input and waits for output.
    pub async fn splice(self, client: Upgraded, stop: impl Future<Output = ()>) -> Traffic {
        let up = AtomicU64::new(0);
        let down = AtomicU64::new(0);
        let (client_reads, client_writes) = tokio::io::split(TokioIo::new(client));
        let (upstream_reads, upstream_writes) = tokio::io::split(TokioIo::new(self.upstream));
        let both = async {
            tokio::try_join!(
                pump(client_reads, upstream_writes, &up),
                pump(upstream_reads, client_writes, &down)
            )
        };
        let end = tokio::select! {
            // Whoever loses a namespace or a token loses the tunnel, however busy it is.
            biased;
            () = stop => End::Stopped,
            ended = both => match ended {
                Ok(((), ())) => End::Finished,
                Err(error) => End::Broken(error),
            },
        };
        Traffic {
            up: up.into_inner(),
            down: down.into_inner(),
            end,
        }
    }
}

/// One direction, to its end. Each piece is flushed: a terminal waits for it.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    passed: &AtomicU64,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = from.read(&mut buffer).await?;
        let Some(piece) = buffer.get(..read).filter(|piece| !piece.is_empty()) else {
            return to.shutdown().await;
        };
        to.write_all(piece).await?;
        to.flush().await?;
        passed.fetch_add(piece.len() as u64, Ordering::Relaxed);
    }
}
