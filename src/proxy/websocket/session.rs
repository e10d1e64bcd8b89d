//! One watch over WebSocket, from the switch of protocols to the closing handshake. It holds no more than one message and
//! a small buffer, and asks the watch for the next only when the client has taken what went before.

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::Sink;
use futures_util::SinkExt;
use futures_util::Stream;
use futures_util::StreamExt;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::messages::Messages;
use crate::body::BoxError;

/// Silence after which the client is pinged. Balancers that look into HTTP forget a WebSocket that carries nothing for a
/// minute (nginx' `proxy_read_timeout`) or four, and do not count the kernel's keep-alive; a watch without bookmarks
/// may well be silent for longer. The API server sends none; every client answers by itself (RFC 6455 §5.5.2).
const PING_AFTER: Duration = Duration::from_secs(30);

/// How long the client may take to answer our closing, or to hear that we heard his.
const GOODBYE: Duration = Duration::from_secs(5);

/// Longest message that a client may send. It has nothing to say, and what it says is dropped.
const LONGEST: usize = 64 * 1024;

/// Bytes read at once. Clients send pongs and little else.
const READ_BUFFER: usize = 1024;

/// Bytes gathered before they are written: the record of TLS. Small events travel together.
const WRITE_BUFFER: usize = 16 * 1024;

/// How a session ends.
enum End {
    /// We close, for this reason.
    Close(CloseCode),
    /// The client has closed, and is answered.
    Answer,
    /// The watch broke off, or the connection did: what the client has is no end, and must not look like one.
    Break,
}

/// Carries `messages` to the client until the watch ends, the client closes or goes away, or the connection breaks.
///
/// The watch is dropped before the closing handshake: nothing upstream waits for that.
pub(super) async fn run<I>(client: I, messages: Messages)
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_message_size(Some(LONGEST))
        .max_frame_size(Some(LONGEST));
    let client = WebSocketStream::from_raw_socket(client, Role::Server, Some(config)).await;
    let (mut to, mut from) = client.split();
    let end = tokio::select! {
        // The watch first: a client that talks without end would not hear from it.
        biased;
        end = say(messages, &mut to) => end,
        end = hear(&mut from) => end,
    };
    let closing = async {
        match end {
            End::Close(code) => {
                let reason = Utf8Bytes::from_static("");
                let close = Message::Close(Some(CloseFrame { code, reason }));
                if to.send(close).await.is_err() {
                    return;
                }
            }
            End::Answer => {}
            End::Break => return,
        }
        // An answer to the client's closing is written while one reads on.
        while let Some(Ok(_)) = from.next().await {}
    };
    if timeout(GOODBYE, closing).await.is_err() {
        tracing::debug!("a client did not close its WebSocket");
    }
}

/// Sends messages as they come and are taken, and pings where there are none.
async fn say<S>(mut messages: Messages, to: &mut S) -> End
where
    S: Sink<Message, Error = Error> + Unpin,
{
    let said: Result<(), BoxError> = async {
        loop {
            let next = match messages.next().now_or_never() {
                Some(next) => next,
                None => {
                    to.flush().await?;
                    match timeout(PING_AFTER, messages.next()).await {
                        Ok(next) => next,
                        Err(_silence) => Ok(Some(Message::Ping(Bytes::new()))),
                    }
                }
            };
            match next? {
                // Waits, where the client does not take what was written before.
                Some(message) => to.feed(message).await?,
                None => return Ok(()),
            }
        }
    }
    .await;
    match said {
        Ok(()) => End::Close(CloseCode::Normal),
        Err(error) => {
            tracing::debug!(
                error = &*error as &dyn std::error::Error,
                "a watch broke off"
            );
            End::Break
        }
    }
}

/// Reads until the client has closed or gone, and forgets what it says. Pings are answered meanwhile.
async fn hear<S>(from: &mut S) -> End
where
    S: Stream<Item = Result<Message, Error>> + Unpin,
{
    loop {
        match from.next().await {
            Some(Ok(Message::Close(_))) => return End::Answer,
            Some(Ok(
                Message::Text(_)
                | Message::Binary(_)
                | Message::Ping(_)
                | Message::Pong(_)
                | Message::Frame(_),
            )) => {}
            Some(Err(Error::Capacity(_))) => return End::Close(CloseCode::Size),
            Some(Err(Error::Protocol(_) | Error::Utf8(_))) => {
                return End::Close(CloseCode::Protocol);
            }
            Some(Err(_)) | None => return End::Break,
        }
    }
}

#[cfg(test)]
mod tests;
