//! A connection that is closed by us slowly enough for the other side to hear why.
//!
//! A socket that is closed while bytes of the peer are unread answers with a reset, and a reset makes the peer's kernel
//! drop what it has not read yet: the last answer, or the GOAWAY that says which requests were not looked at. Go's
//! server waits a second for that reason (`goAwayTimeout`), hyper's does not.

use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::io::ReadBuf;
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::TaskTracker;

/// How long the peer has to close its side once we have closed ours.
const PATIENCE: Duration = Duration::from_secs(1);

/// `io`, which when dropped says that it ends and reads what is still coming.
pub struct Lingering<I: AsyncRead + AsyncWrite + Unpin + Send + 'static> {
    io: Option<I>,
    peer_has_ended: bool,
    /// Owns the goodbye.
    tasks: TaskTracker,
    /// Its place among the connections that may be open, which it keeps whatever protocol it goes over to.
    room: Option<OwnedSemaphorePermit>,
}

impl<I: AsyncRead + AsyncWrite + Unpin + Send + 'static> Lingering<I> {
    /// Wraps `io`; `tasks` owns the goodbye.
    pub fn new(io: I, tasks: TaskTracker) -> Self {
        Self {
            io: Some(io),
            peer_has_ended: false,
            tasks,
            room: None,
        }
    }

    /// The same, taking up `room` until it is dropped.
    pub fn occupying(mut self, room: Option<OwnedSemaphorePermit>) -> Self {
        self.room = room;
        self
    }

    fn io(&mut self) -> io::Result<Pin<&mut I>> {
        self.io
            .as_mut()
            .map(Pin::new)
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin + Send + 'static> Drop for Lingering<I> {
    fn drop(&mut self) {
        let Some(mut io) = self.io.take() else { return };
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        if self.peer_has_ended {
            return;
        }
        let goodbye = async move {
            io.shutdown().await?;
            let mut rest = [0; 4096];
            while io.read(&mut rest).await? > 0 {}
            Ok::<(), io::Error>(())
        };
        let goodbye = self
            .tasks
            .track_future(tokio::time::timeout(PATIENCE, goodbye));
        drop(runtime.spawn(goodbye));
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin + Send + 'static> AsyncRead for Lingering<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = self.io()?.poll_read(cx, buf);
        if let Poll::Ready(read) = &polled {
            self.peer_has_ended = read.is_err() || buf.filled().len() == before;
        }
        polled
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin + Send + 'static> AsyncWrite for Lingering<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.io()?.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.io()?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io()?.poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn the_last_words_are_heard_by_a_peer_that_is_still_talking() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let tasks = TaskTracker::new();
        let mut server = Lingering::new(server, tasks.clone());
        client.write_all(&[b'x'; 32 * 1024]).await.unwrap();
        server.write_all(b"going away").await.unwrap();
        drop(server);
        // A socket closed at once would answer this with a reset.
        client.write_all(&[b'x'; 32 * 1024]).await.unwrap();
        client.shutdown().await.unwrap();
        let mut heard = String::new();
        client.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "going away");
        tasks.close();
        tasks.wait().await;
    }
}
