//! Against a small discovery server on the loopback, spoken to by the real client.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::Weak;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use http::Response;
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::*;
use crate::body;
use crate::body::Body;
use crate::k8s::names::GroupResource;

const DEADLINE: Duration = Duration::from_secs(10);

/// What the server serves, and who watches.
#[derive(Default)]
struct World {
    /// Custom resources in the group `example.com`.
    customs: Mutex<Vec<&'static str>>,
    /// Items of the list of APIServices.
    services: Mutex<&'static str>,
    /// What the next answers to `/apis` are instead.
    failures: Mutex<VecDeque<StatusCode>>,
    /// Open watches of CRDs.
    watches: Mutex<Vec<mpsc::UnboundedSender<String>>>,
    /// Open watches of APIServices.
    service_watches: Mutex<Vec<mpsc::UnboundedSender<String>>>,
    forbids_watching: bool,
    hits: AtomicUsize,
    not_modified: AtomicUsize,
}

impl World {
    fn answer(&self, request: &Request<Incoming>) -> Response<Body> {
        let path = request.uri().path();
        let is_watch = request
            .uri()
            .query()
            .is_some_and(|query| query.contains("watch=true"));
        match path {
            "/api" => self.document(request, "[]", false),
            "/apis" => {
                self.hits.fetch_add(1, Ordering::SeqCst);
                if let Some(code) = self.failures.lock().unwrap().pop_front() {
                    return status(code);
                }
                let resources: Vec<_> = self.customs.lock().unwrap().iter().map(|name| format!(
                    r#"{{"resource":"{name}","responseKind":{{"kind":"K"}},"scope":"Cluster","singularResource":"","verbs":["list"]}}"#
                )).collect();
                let items = format!(
                    r#"[{{"metadata":{{"name":"example.com"}},"versions":[{{"version":"v1","resources":[{}]}}]}}]"#,
                    resources.join(",")
                );
                self.document(request, &items, true)
            }
            // The watcher asks for metadata, the catalog for the objects.
            "/apis/apiregistration.k8s.io/v1/apiservices"
                if request.headers().get(header::ACCEPT).unwrap() == "application/json" =>
            {
                let items = *self.services.lock().unwrap();
                json(&format!(
                    r#"{{"kind":"APIServiceList","apiVersion":"apiregistration.k8s.io/v1","items":[{items}]}}"#
                ))
            }
            _ if self.forbids_watching => status(StatusCode::FORBIDDEN),
            _ if is_watch => {
                let (sender, receiver) = mpsc::unbounded_channel::<String>();
                if path.ends_with("customresourcedefinitions") {
                    self.watches.lock().unwrap().push(sender);
                } else {
                    self.service_watches.lock().unwrap().push(sender);
                }
                let frames = stream::unfold(receiver, |mut receiver| async move {
                    let line = receiver.recv().await?;
                    Some((Ok(Frame::data(Bytes::from(line))), receiver))
                });
                Response::new(StreamBody::new(frames).boxed_unsync())
            }
            _ => json(
                r#"{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"1"},"items":[]}"#,
            ),
        }
    }

    fn document(&self, request: &Request<Incoming>, items: &str, counts: bool) -> Response<Body> {
        assert_eq!(request.headers().get(header::ACCEPT).unwrap(), AGGREGATED);
        let etag = format!("\"{}\"", items.len());
        if request
            .headers()
            .get(header::IF_NONE_MATCH)
            .is_some_and(|old| *old == etag)
        {
            self.not_modified
                .fetch_add(usize::from(counts), Ordering::SeqCst);
            return status(StatusCode::NOT_MODIFIED);
        }
        let mut answer = json(&format!(
            r#"{{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","metadata":{{}},"items":{items}}}"#
        ));
        answer
            .headers_mut()
            .insert(header::ETAG, etag.parse().unwrap());
        answer
    }
}

/// Tells those who watch that something called `name` came.
fn announce(watches: &Mutex<Vec<mpsc::UnboundedSender<String>>>, name: &str) {
    let event = format!(
        "{{\"type\":\"ADDED\",\"object\":{{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/v1\",\
         \"metadata\":{{\"name\":\"{name}\",\"resourceVersion\":\"2\"}}}}}}\n"
    );
    for watch in watches.lock().unwrap().iter() {
        let _ = watch.send(event.clone());
    }
}

fn json(text: &str) -> Response<Body> {
    let mut answer = Response::new(body::full(text.to_owned()));
    answer.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    answer
}

fn status(code: StatusCode) -> Response<Body> {
    let mut answer = Response::new(body::empty());
    *answer.status_mut() = code;
    answer
}

/// A server, and a catalog kept current from it until this is dropped.
struct Running {
    world: Arc<World>,
    catalog: Arc<ArcSwap<Catalog>>,
    first: Arc<AtomicUsize>,
}

impl Running {
    async fn start(world: World, tasks: &TaskTracker) -> Self {
        let world = Arc::new(world);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tasks.spawn(serve(listener, Arc::downgrade(&world), tasks.clone()));
        let config = kube::Config::new(format!("http://{address}").parse().unwrap());
        let client = Client::try_from(config).unwrap();
        let catalog = Arc::new(ArcSwap::default());
        let first = Arc::new(AtomicUsize::new(0));
        let on_first = {
            let first = Arc::clone(&first);
            move || {
                first.fetch_add(1, Ordering::SeqCst);
            }
        };
        tasks.spawn(keep_current(client, Arc::clone(&catalog), on_first));
        Self {
            world,
            catalog,
            first,
        }
    }

    fn knows(&self, resource: &str) -> bool {
        self.catalog
            .load()
            .kind(&GroupResource::new("example.com", resource), "v1")
            .is_some()
    }

    async fn until(&self, what: &str, is_true: impl Fn(&Self) -> bool) {
        let wait = async {
            while !is_true(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(timeout(DEADLINE, wait).await.is_ok(), "{what}");
    }
}

async fn serve(listener: TcpListener, world: Weak<World>, tasks: TaskTracker) {
    while let Ok((socket, _)) = listener.accept().await {
        let world = Weak::clone(&world);
        let service = service_fn(move |request: Request<Incoming>| {
            let world = world.upgrade();
            async move { world.map(|world| world.answer(&request)).ok_or("over") }
        });
        tasks.spawn(
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(socket), service),
        );
    }
}

#[tokio::test]
async fn a_crd_that_comes_is_in_the_catalog_soon_even_if_it_is_served_late() {
    let tasks = TaskTracker::new();
    let world = World {
        customs: Mutex::new(vec!["things"]),
        ..World::default()
    };
    let running = Running::start(world, &tasks).await;
    running
        .until("the first snapshot", |r| r.knows("things"))
        .await;
    running
        .until("the watch", |r| !r.world.watches.lock().unwrap().is_empty())
        .await;
    // The looks that the watches' own start asked for are over.
    running
        .until("quiet", |r| {
            r.world.not_modified.load(Ordering::SeqCst) >= 3
        })
        .await;

    announce(&running.world.watches, "widgets.example.com");
    let seen = running.world.hits.load(Ordering::SeqCst);
    running
        .until("a look that finds nothing", |r| {
            r.world.hits.load(Ordering::SeqCst) > seen
        })
        .await;
    assert!(!running.knows("widgets"));
    running.world.customs.lock().unwrap().push("widgets");
    running.until("the new kind", |r| r.knows("widgets")).await;
    assert!(running.knows("things"));
    assert_eq!(running.first.load(Ordering::SeqCst), 1, "announced once");
}

#[tokio::test]
async fn a_failure_keeps_the_last_snapshot_and_is_got_over() {
    let tasks = TaskTracker::new();
    let world = World {
        customs: Mutex::new(vec!["things"]),
        ..World::default()
    };
    let running = Running::start(world, &tasks).await;
    running
        .until("the first snapshot", |r| r.knows("things"))
        .await;
    running
        .until("the watch", |r| !r.world.watches.lock().unwrap().is_empty())
        .await;

    running
        .world
        .failures
        .lock()
        .unwrap()
        .extend([StatusCode::INTERNAL_SERVER_ERROR]);
    running.world.customs.lock().unwrap().push("widgets");
    announce(&running.world.watches, "widgets.example.com");
    running
        .until("the failure", |r| {
            r.world.failures.lock().unwrap().is_empty()
        })
        .await;
    assert!(running.knows("things") && running.first.load(Ordering::SeqCst) == 1);
    running.until("the new kind", |r| r.knows("widgets")).await;
}

#[tokio::test]
async fn who_may_not_watch_still_gets_a_first_snapshot_after_failures() {
    let tasks = TaskTracker::new();
    let world = World {
        customs: Mutex::new(vec!["things"]),
        failures: Mutex::new(VecDeque::from([StatusCode::SERVICE_UNAVAILABLE])),
        forbids_watching: true,
        ..World::default()
    };
    let running = Running::start(world, &tasks).await;
    running
        .until("the first snapshot", |r| r.knows("things"))
        .await;
    assert_eq!(running.first.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_api_that_moves_to_another_server_is_known_to_have_moved() {
    let tasks = TaskTracker::new();
    let world = World {
        customs: Mutex::new(vec!["things"]),
        ..World::default()
    };
    let running = Running::start(world, &tasks).await;
    let is_aggregated = |running: &Running| {
        let catalog = running.catalog.load();
        let facts = catalog.kind(&GroupResource::new("example.com", "things"), "v1");
        facts.is_some_and(|facts| facts.aggregated)
    };
    running
        .until("the first snapshot", |r| r.knows("things"))
        .await;
    running
        .until("the watch", |r| {
            !r.world.service_watches.lock().unwrap().is_empty()
        })
        .await;
    assert!(!is_aggregated(&running));
    *running.world.services.lock().unwrap() =
        r#"{"spec":{"group":"example.com","version":"v1","service":{"name":"s","namespace":"n"}}}"#;
    announce(&running.world.service_watches, "v1.example.com");
    running.until("the move", is_aggregated).await;
}
