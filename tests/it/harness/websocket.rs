//! Watches over WebSocket, as Headlamp and fabric8 open them. What a message holds is kept as it came.

use futures_util::SinkExt;
use futures_util::StreamExt;
use http::Method;
use http::Response;
use http::StatusCode;
use http::header;
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::DEADLINE;
use super::http::Caller;
use super::http::Events;

/// The key of the example in RFC 6455 §1.3, and what a server makes of it.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPTED: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// What a handshake is made of, each part as browsers send it.
pub const HANDSHAKE: [(&str, &str); 5] = [
    ("connection", "keep-alive, Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", KEY),
    ("origin", "https://headlamp.example.com"),
];

impl Caller {
    /// With these headers, for handshakes that lack something.
    pub fn with(self, headers: &[(&str, &str)]) -> Self {
        let one_more = |caller: Self, (name, value): &(&str, &str)| caller.saying(name, value);
        headers.iter().fold(self, one_more)
    }

    /// Asks for a watch over WebSocket, and is granted one.
    pub async fn watch_over_websocket(&self, path: &str) -> WebSocketWatch {
        let asking = self.clone().with(&HANDSHAKE);
        let answer = asking.open(Method::GET, path, None).await;
        WebSocketWatch::of(answer).await
    }
}

/// The connection broke off.
#[derive(Debug)]
pub struct Broken;

/// A watch over WebSocket.
pub struct WebSocketWatch {
    /// The subprotocol that the server chose.
    pub protocol: Option<String>,
    /// How the server closed it.
    pub closed: Option<CloseFrame>,
    socket: WebSocketStream<TokioIo<Upgraded>>,
    seen: Vec<Message>,
}

impl WebSocketWatch {
    /// The watch that this answer begins.
    pub async fn of(mut answer: Response<Incoming>) -> Self {
        let text = |name: header::HeaderName| {
            let value = answer.headers().get(name)?;
            Some(value.to_str().unwrap().to_owned())
        };
        assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
        let accepted = text(header::SEC_WEBSOCKET_ACCEPT);
        assert_eq!(accepted.as_deref(), Some(ACCEPTED));
        let protocol = text(header::SEC_WEBSOCKET_PROTOCOL);
        let socket = TokioIo::new(hyper::upgrade::on(&mut answer).await.unwrap());
        Self {
            protocol,
            closed: None,
            socket: WebSocketStream::from_raw_socket(socket, Role::Client, None).await,
            seen: Vec::new(),
        }
    }

    /// The next event, of a watch in JSON, however long it takes; an error where the connection broke off.
    pub async fn try_next(&mut self) -> Result<Option<Value>, Broken> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    return Ok(Some(serde_json::from_str(&text).unwrap()));
                }
                Some(Ok(Message::Close(frame))) => self.closed = frame,
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(other @ (Message::Binary(_) | Message::Frame(_)))) => {
                    panic!("{other:?} is no JSON")
                }
                Some(Err(_)) => return Err(Broken),
                None => return Ok(None),
            }
        }
    }

    /// The next message; `None` once the server has closed the watch, as it should.
    pub async fn next_message(&mut self) -> Option<Message> {
        loop {
            let message = tokio::time::timeout(DEADLINE, self.socket.next()).await;
            let message = message.unwrap_or_else(|_| panic!("nothing more after {}", self.text()));
            match message?.expect("the watch broke off") {
                Message::Close(frame) => self.closed = frame,
                Message::Ping(_) | Message::Pong(_) => {}
                message @ (Message::Text(_) | Message::Binary(_) | Message::Frame(_)) => {
                    self.seen.push(message.clone());
                    return Some(message);
                }
            }
        }
    }

    /// Everything up to the end, of a watch in any encoding.
    pub async fn text_to_the_end(&mut self) -> String {
        while self.next_message().await.is_some() {}
        self.text()
    }

    /// Says something to the server.
    pub async fn say(&mut self, message: Message) {
        self.socket.send(message).await.unwrap();
    }

    /// What comes next, pings and pongs included; `None` at the end.
    pub async fn next_of_any_kind(&mut self) -> Option<Message> {
        let next = tokio::time::timeout(DEADLINE, self.socket.next()).await;
        next.expect("nothing comes")
            .map(|said| said.expect("the watch broke off"))
    }
}

impl Events for WebSocketWatch {
    async fn next(&mut self) -> Option<Value> {
        match self.next_message().await? {
            Message::Text(text) => Some(serde_json::from_str(&text).unwrap()),
            other @ (Message::Binary(_)
            | Message::Ping(_)
            | Message::Pong(_)
            | Message::Close(_)
            | Message::Frame(_)) => panic!("{other:?} is no JSON"),
        }
    }

    fn text(&self) -> String {
        let bytes =
            |message: &Message| String::from_utf8_lossy(&message.clone().into_data()).into_owned();
        self.seen.iter().map(bytes).collect()
    }
}
