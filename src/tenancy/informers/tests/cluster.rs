//! An API server of a few collections: lists, watches from a position, 403, 404, 410. It speaks HTTP on a real socket.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;

use bytes::Bytes;
use futures_util::StreamExt;
use http::Request;
use http::Response;
use http_body_util::BodyExt;
use http_body_util::Full;
use http_body_util::StreamBody;
use http_body_util::combinators::BoxBody;
use hyper::body::Frame;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

type Body = BoxBody<Bytes, Infallible>;

/// A request as it came in.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) target: String,
    pub(super) user: String,
    pub(super) groups: Vec<String>,
}

#[derive(Clone)]
pub(super) struct Cluster {
    state: Arc<Mutex<State>>,
    /// Steps whenever a watch may have something to send.
    steps: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    collections: BTreeMap<String, Collection>,
    requests: Vec<Seen>,
}

#[derive(Default)]
struct Collection {
    forbidden: bool,
    version: u64,
    text: String,
    objects: BTreeMap<String, Value>,
    events: Vec<(u64, Value)>,
    /// Positions below are gone.
    compacted: u64,
    /// Watches opened in an earlier epoch end.
    epoch: u64,
}

impl Cluster {
    pub(super) fn new(served: &[&str]) -> Self {
        let cluster = Self {
            state: Arc::default(),
            steps: watch::Sender::new(0),
        };
        for path in served {
            cluster.serve_kind(path);
        }
        cluster
    }

    pub(super) fn serve_kind(&self, path: &str) {
        self.change(path, |collection| collection.forbidden = false);
    }

    pub(super) fn forbid(&self, path: &str) {
        self.change(path, |collection| collection.forbidden = true);
    }

    /// Creates or replaces an object.
    pub(super) fn put(&self, path: &str, mut object: Value) {
        self.change(path, |collection| {
            collection.step();
            object["metadata"]["resourceVersion"] = json!(collection.text);
            let known = collection
                .objects
                .insert(key(&object), object.clone())
                .is_some();
            let kind = if known { "MODIFIED" } else { "ADDED" };
            collection
                .events
                .push((collection.version, json!({"type": kind, "object": object})));
        });
    }

    pub(super) fn delete(&self, path: &str, name: &str) {
        self.change(path, |collection| collection.delete(name));
    }

    /// Deletes an object, ends all watches and forgets the history, so that nobody is told of the deletion.
    pub(super) fn delete_and_compact(&self, path: &str, name: &str) {
        self.change(path, |collection| {
            collection.delete(name);
            collection.events.clear();
            collection.compacted = collection.version;
            collection.epoch += 1;
        });
    }

    pub(super) fn end_watches(&self, path: &str) {
        self.change(path, |collection| collection.epoch += 1);
    }

    pub(super) fn version(&self, path: &str) -> String {
        self.lock().collections[path].text.clone()
    }

    pub(super) fn requests(&self) -> Vec<Seen> {
        self.lock().requests.clone()
    }

    /// Listens on a free port of the loopback until `stop`.
    pub(super) async fn serve(&self, tasks: &TaskTracker, stop: CancellationToken) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (cluster, connections) = (self.clone(), tasks.clone());
        tasks.spawn(async move {
            while let Some(Ok((socket, _))) = stop.run_until_cancelled(listener.accept()).await {
                let (cluster, stop) = (cluster.clone(), stop.clone());
                connections.spawn(async move {
                    let service = service_fn(|request| {
                        std::future::ready(Ok::<_, Infallible>(cluster.answer(&request)))
                    });
                    let connection = hyper::server::conn::http1::Builder::new();
                    let connection = connection.serve_connection(TokioIo::new(socket), service);
                    stop.run_until_cancelled(connection).await
                });
            }
        });
        address
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Body> {
        let header = |name: &str| {
            request
                .headers()
                .get_all(name)
                .iter()
                .map(|value| value.to_str().unwrap().to_owned())
        };
        let mut state = self.lock();
        state.requests.push(Seen {
            target: request.uri().to_string(),
            user: header("impersonate-user").next().unwrap_or_default(),
            groups: header("impersonate-group").collect(),
        });
        let path = request.uri().path().to_owned();
        let query: BTreeMap<&str, &str> = request
            .uri()
            .query()
            .unwrap_or_default()
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .collect();
        let Some(collection) = state.collections.get(&path) else {
            return status(404, "NotFound");
        };
        if collection.forbidden {
            return status(403, "Forbidden");
        }
        if query.get("watch") != Some(&"true") {
            let items: Vec<&Value> = collection.objects.values().collect();
            let list = json!({"kind": "List", "metadata": {"resourceVersion": collection.text}, "items": items});
            return Response::new(full(&list));
        }
        let from: u64 = query["resourceVersion"].parse().unwrap();
        if from < collection.compacted {
            let gone =
                json!({"kind": "Status", "status": "Failure", "reason": "Expired", "code": 410});
            return Response::new(full(&json!({"type": "ERROR", "object": gone})));
        }
        let epoch = collection.epoch;
        Response::new(self.watch(path, from, epoch))
    }

    fn watch(&self, path: String, from: u64, epoch: u64) -> Body {
        let cluster = self.clone();
        let steps = self.steps.subscribe();
        let frames = futures_util::stream::unfold(
            (cluster, steps, from),
            move |(cluster, mut steps, from)| {
                let path = path.clone();
                async move {
                    loop {
                        steps.borrow_and_update();
                        {
                            let state = cluster.lock();
                            let collection = &state.collections[&path];
                            if collection.epoch != epoch {
                                return None;
                            }
                            if let Some((version, event)) = collection
                                .events
                                .iter()
                                .find(|(version, _)| *version > from)
                            {
                                let line = Bytes::from(format!("{event}\n"));
                                let version = *version;
                                drop(state);
                                return Some((line, (cluster, steps, version)));
                            }
                        }
                        steps.changed().await.ok()?;
                    }
                }
            },
        );
        BodyExt::boxed(StreamBody::new(frames.map(|line| Ok(Frame::data(line)))))
    }

    fn change(&self, path: &str, change: impl FnOnce(&mut Collection)) {
        {
            let mut state = self.lock();
            let collection = state.collections.entry(path.to_owned()).or_default();
            if collection.version == 0 {
                collection.step();
            }
            change(collection);
        }
        self.steps.send_modify(|step| *step += 1);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Collection {
    fn step(&mut self) {
        self.version += 1;
        self.text = self.version.to_string();
    }

    fn delete(&mut self, name: &str) {
        self.step();
        let mut object = self.objects.remove(name).unwrap();
        object["metadata"]["resourceVersion"] = json!(self.text);
        self.events
            .push((self.version, json!({"type": "DELETED", "object": object})));
    }
}

fn key(object: &Value) -> String {
    let meta = &object["metadata"];
    match meta["namespace"].as_str() {
        Some(namespace) => format!("{namespace}/{}", meta["name"].as_str().unwrap()),
        None => meta["name"].as_str().unwrap().to_owned(),
    }
}

fn status(code: u16, reason: &str) -> Response<Body> {
    let body = json!({"kind": "Status", "status": "Failure", "reason": reason, "message": reason, "code": code});
    Response::builder().status(code).body(full(&body)).unwrap()
}

fn full(value: &Value) -> Body {
    Full::new(Bytes::from(format!("{value}\n"))).boxed()
}
