//! A client that splits lines, as Lens does: it lists, watches from there, applies ADDED, MODIFIED and DELETED, and loads
//! the list again when it is told ERROR. Or one that does the same by messages over WebSocket, as Headlamp. The first takes what comes through a narrow window, so that whatever it is given after a
//! revocation is judged ([`sights`](super::sights)).

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use bytes::BytesMut;
use h2::RecvStream;
use http::Request;
use http::StatusCode;
use serde_json::Value;

use super::ledger::Ledger;
use super::sights::Judged;
use super::sights::Place;
use super::store::Objects;
use super::store::Store;
use crate::harness::http::Caller;
use crate::harness::http::is_expired;
use crate::harness::websocket::HANDSHAKE;
use crate::harness::websocket::WebSocketWatch;
use crate::random::cluster::Kind;
use crate::random::cluster::key;
use crate::random::cluster::namespace;
use crate::random::dice::Dice;

/// Wide enough for any list.
const WIDE: u32 = 4 << 20;
/// Before it tries again what failed or ended.
const PAUSE: Duration = Duration::from_millis(100);
/// Between two looks of one that reads slowly, so that more comes than it takes.
const SLOW: Duration = Duration::from_millis(4);

/// Whom the proxy takes it for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// Without bookmarks.
    Human,
    /// With bookmarks.
    Machine,
    /// Over WebSocket, whose messages are not judged: it has no window.
    WebSocket,
}

/// The client.
pub struct Lines {
    /// What it is called when something is wrong.
    pub name: String,
    pub reader: Reader,
    pub caller: Caller,
    pub token: String,
    pub kind: &'static Kind,
    pub store: Store,
    /// Unless somebody sees all without the proxy's doing.
    pub judged: Option<Judged>,
    pub ledger: Arc<Ledger>,
    pub dice: Dice,
    pub mood: Arc<Mood>,
}

/// What clients are told about the turn.
#[derive(Default)]
pub struct Mood {
    /// Whether even the slow hurry, since what they hold is waited for.
    pub hurry: AtomicBool,
    /// Whether nothing goes wrong: then humans are shown the change itself, and their watches of namespaces go on.
    pub calm: AtomicBool,
}

/// How a stream ended.
enum End {
    /// The position is good.
    Clean,
    /// The list must be loaded again.
    Expired,
}

/// An answer that comes bit by bit.
struct Answer {
    status: StatusCode,
    body: RecvStream,
    request: u64,
}

impl Lines {
    /// Follows for ever.
    pub async fn follow(mut self) {
        loop {
            if let Some(position) = self.load().await {
                self.ledger.relists.one_more();
                self.watch_on(position).await;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Watches until the list must be loaded again.
    async fn watch_on(&mut self, mut position: String) {
        loop {
            let watch = match self.reader {
                Reader::Human | Reader::Machine => self.watch(&mut position).await,
                Reader::WebSocket => self.watch_by_messages(&mut position).await,
            };
            match watch {
                Some(End::Expired) => {
                    self.ledger.expiries.one_more();
                    return;
                }
                Some(End::Clean) | None => self.ledger.reconnects.one_more(),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Its position. `None`: it was refused, or broke off; what was loaded before stays.
    async fn load(&mut self) -> Option<String> {
        let mut answer = self.open(&self.kind.path(), WIDE).await?;
        let mut text = BytesMut::new();
        while let Some(data) = answer.body.data().await {
            let data = data.ok()?;
            answer
                .body
                .flow_control()
                .release_capacity(data.len())
                .ok()?;
            text.extend_from_slice(&data);
        }
        if answer.status != StatusCode::OK {
            return None;
        }
        // A connection that was cut is no end of the stream.
        let list: Value = serde_json::from_slice(&text).unwrap();
        let mut objects = Objects::new();
        for item in list["items"].as_array().unwrap() {
            let place = Place {
                request: answer.request,
                byte: 0,
            };
            self.judge(item, place, "a list");
            objects.insert(key(item), version(item).to_owned());
        }
        self.store.replace(objects);
        Some(version(&list).to_owned())
    }

    /// Watches from `position` and moves it on. `None`: it could not, or broke off.
    async fn watch(&mut self, position: &mut String) -> Option<End> {
        let mut path = format!("{}?watch=1&resourceVersion={position}", self.kind.path());
        if self.reader == Reader::Machine {
            path.push_str("&allowWatchBookmarks=true");
        }
        if self.dice.percent(30) {
            path.push_str(&format!("&timeoutSeconds={}", self.dice.between(2, 9)));
        }
        let is_slow = self.dice.percent(50);
        let window = if is_slow {
            64
        } else {
            self.dice.pick(&[64, 512, 4096])
        };
        let mut answer = self.open(&path, window).await?;
        if answer.status != StatusCode::OK {
            return None;
        }
        let (mut unread, calm) = (BytesMut::new(), self.mood.calm.load(Ordering::Relaxed));
        // Of the frame before the one that is read: when that one could be sent, hyper took the next.
        let (mut asked, mut place) = (answer.place(), answer.place());
        while let Some(data) = answer.body.data().await {
            let data = data.ok()?;
            unread.extend_from_slice(&data);
            while let Some(end) = unread.iter().position(|&byte| byte == b'\n') {
                let line = unread.split_to(end + 1);
                let event: Value = serde_json::from_slice(&line).unwrap();
                if let Some(end) = self.apply(&event, Some(asked), position) {
                    if calm && place.byte > 0 {
                        self.should_have_gone_on();
                    }
                    return Some(end);
                }
                asked = place;
                place.byte += u64::try_from(line.len()).unwrap();
            }
            if is_slow && !self.mood.hurry.load(Ordering::Relaxed) {
                tokio::time::sleep(SLOW).await;
            }
            if let Some(judged) = &self.judged {
                judged.tap.move_on(data.len());
            }
            answer
                .body
                .flow_control()
                .release_capacity(data.len())
                .ok()?;
        }
        if self.judged.is_some() && !unread.is_empty() {
            let text = format!("{}: it ends within {unread:?}", self.name);
            self.ledger.is_wrong(text);
        }
        Some(End::Clean)
    }

    /// The same over WebSocket.
    async fn watch_by_messages(&self, position: &mut String) -> Option<End> {
        let path = format!("{}?watch=1&resourceVersion={position}", self.kind.path());
        let caller = self.caller.clone().bearing(&self.token).with(&HANDSHAKE);
        let answer = caller.try_open(&path).await?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return None;
        }
        let mut watch = WebSocketWatch::of(answer).await;
        while let Some(event) = watch.try_next().await.ok()? {
            if let Some(end) = self.apply(&event, None, position) {
                return Some(end);
            }
        }
        Some(End::Clean)
    }

    fn apply(&self, event: &Value, place: Option<Place>, position: &mut String) -> Option<End> {
        let object = &event["object"];
        let what = event["type"].as_str().unwrap();
        if what == "ERROR" {
            if !is_expired(event) {
                tracing::info!(client = self.name, %event, "an error in a watch");
            }
            return Some(End::Expired);
        }
        if version(object).is_empty() {
            self.ledger
                .is_wrong(format!("{}: no resourceVersion in {event}", self.name));
        }
        position.replace_range(.., version(object));
        match what {
            "BOOKMARK" => return None,
            "ADDED" => drop(self.store.put(key(object), version(object).to_owned())),
            "MODIFIED" => {
                let known = self.store.put(key(object), version(object).to_owned());
                // Who sees all himself: see `quiet.rs` of outages.
                if !known && self.judged.is_some() {
                    let text = format!("{}: it was never shown {}", self.name, key(object));
                    self.ledger.is_wrong(text);
                }
            }
            "DELETED" => {
                self.store.remove(&key(object));
            }
            _ => self.ledger.is_wrong(format!("{}: {event}", self.name)),
        }
        self.ledger.events.one_more();
        // What a human is told is taken from him names it, and nothing more.
        let may_be_taken_back = what == "DELETED" && self.reader == Reader::Human;
        if let Some(place) = place.filter(|_| !may_be_taken_back) {
            self.judge(object, place, what);
        }
        None
    }

    /// A watch that was under way was told to begin anew.
    fn should_have_gone_on(&self) {
        let is_followed = self.reader == Reader::Human && self.kind.plural == "namespaces";
        if is_followed && self.judged.is_some() && self.mood.calm.load(Ordering::Relaxed) {
            let text = format!("{}: a watch that went well was expired", self.name);
            self.ledger.is_wrong(text);
        }
    }

    fn judge(&self, object: &Value, place: Place, what: &str) {
        let Some(judged) = &self.judged else {
            return;
        };
        let namespace = match self.kind.plural {
            "namespaces" => object["metadata"]["name"].as_str().unwrap(),
            "configmaps" => namespace(object),
            _ => return,
        };
        self.ledger.judged.one_more();
        if judged.comes_after_the_loss_of(namespace, place) {
            let text = format!(
                "{}: {what} of {} at {} was handed out when it had been taken away: {object}",
                self.name,
                key(object),
                version(object),
            );
            self.ledger.is_wrong(text);
        }
    }

    /// Asks over a connection of its own, on which the answer may go on for `window` bytes.
    async fn open(&self, path: &str, window: u32) -> Option<Answer> {
        let stream = self.caller.clone().over_h2().try_connect().await.ok()?;
        let (mut send, connection) = h2::client::Builder::new()
            .initial_window_size(window)
            .initial_connection_window_size(WIDE)
            .handshake::<_, Bytes>(stream)
            .await
            .ok()?;
        tokio::spawn(connection);
        let number = match &self.judged {
            Some(judged) => judged.tap.open(window),
            None => 0,
        };
        let request = Request::get(self.caller.url(path))
            .header("authorization", format!("Bearer {}", self.token))
            .header("accept", "application/json")
            .body(())
            .unwrap();
        let (response, _) = send.send_request(request, true).ok()?;
        let (head, body) = response.await.ok()?.into_parts();
        Some(Answer {
            status: head.status,
            body,
            request: number,
        })
    }
}

impl Answer {
    fn place(&self) -> Place {
        Place {
            request: self.request,
            byte: 0,
        }
    }
}

fn version(object: &Value) -> &str {
    object["metadata"]["resourceVersion"]
        .as_str()
        .unwrap_or_default()
}
