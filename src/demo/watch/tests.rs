//! Tests of `demo::watch`.

use futures_util::StreamExt;

use super::*;
use crate::demo::kinds;
use crate::demo::negotiate::Form;
use crate::demo::object::text;
use crate::demo::query::Query;
use crate::demo::selector::Fields;
use crate::demo::store::Key;

struct Fixture {
    store: Arc<Store>,
    stop: CancellationToken,
}

impl Fixture {
    fn new() -> Self {
        Self {
            store: Arc::new(Store::new()),
            stop: CancellationToken::new(),
        }
    }

    fn put(&self, name: &str, labels: Value) {
        let value = json!({"metadata": {"name": name, "labels": labels}});
        self.store
            .write(|state| state.put(&Key::new(&kinds::namespaces(), "", name), value));
    }

    fn remove(&self, name: &str) {
        self.store
            .write(|state| state.remove(&Key::new(&kinds::namespaces(), "", name)));
    }

    fn open(&self, query: &str) -> Watch {
        let query = Query::parse(query);
        let options = ListOptions::parse(&query, true).unwrap();
        let kind = self
            .store
            .read(|state| kinds::resolve(state, &kinds::namespaces(), "v1"))
            .unwrap();
        let selection = Selection {
            resource: kinds::namespaces(),
            namespace: String::new(),
            labels: options.labels.clone(),
            fields: Fields::default(),
        };
        let encoder = Encoder::new(kind, Form::Object);
        Watch::new(
            &self.store,
            selection,
            encoder,
            &options,
            Duration::from_secs(60),
            self.stop.clone(),
        )
    }
}

/// `ADDED oil@2`, `BOOKMARK @2 end`, `ERROR 410`.
fn said(event: &Event) -> String {
    match event {
        Event::Object { verb, value } => {
            format!(
                "{verb:?} {}@{}",
                text(value, "/metadata/name"),
                text(value, "/metadata/resourceVersion")
            )
        }
        Event::Bookmark { value } => {
            let end = if value.pointer("/metadata/annotations").is_some() {
                " end"
            } else {
                ""
            };
            format!(
                "BOOKMARK @{}{end}",
                text(value, "/metadata/resourceVersion")
            )
        }
        Event::Error(failure) => format!("ERROR {} {}", failure.code.as_u16(), failure.reason),
    }
}

async fn next(watch: &mut Watch) -> String {
    let events = tokio::time::timeout(Duration::from_secs(3_600), watch.next())
        .await
        .unwrap_or_default();
    events
        .unwrap_or_default()
        .iter()
        .map(said)
        .collect::<Vec<_>>()
        .join(", ")
}

#[tokio::test(start_paused = true)]
async fn a_watch_starts_where_its_parameters_say() {
    let fixture = Fixture::new();
    fixture.put("oil", json!({}));
    fixture.put("gas", json!({}));
    for (query, expected) in [
        ("", "Added gas@3, Added oil@2"),
        ("resourceVersion=0", "Added gas@3, Added oil@2"),
        ("resourceVersion=2", "Added gas@3"),
        (
            "allowWatchBookmarks=true",
            "Added gas@3, Added oil@2, BOOKMARK @3 end",
        ),
        (
            "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=1&resourceVersion=3",
            "Added gas@3, Added oil@2, BOOKMARK @3 end",
        ),
        (
            "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&labelSelector=none&allowWatchBookmarks=1",
            "BOOKMARK @3 end",
        ),
        (
            "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=99",
            "ERROR 504 Timeout",
        ),
    ] {
        assert_eq!(next(&mut fixture.open(query)).await, expected, "{query}");
    }
    fixture.store.write(|state| state.compact(3));
    let mut watch = fixture.open("resourceVersion=2");
    assert_eq!(next(&mut watch).await, "ERROR 410 Expired");
    assert_eq!(next(&mut watch).await, "");
}

#[tokio::test(start_paused = true)]
async fn objects_that_move_in_and_out_of_a_selector_are_added_and_deleted() {
    let fixture = Fixture::new();
    let mut watch = fixture.open("labelSelector=mine&sendInitialEvents=false&resourceVersionMatch=NotOlderThan&timeoutSeconds=7200");
    // The position is taken at the first poll.
    assert!(
        tokio::time::timeout(Duration::from_millis(1), watch.next())
            .await
            .is_err()
    );
    fixture.put("oil", json!({}));
    fixture.put("oil", json!({"mine": "yes"}));
    fixture.put("oil", json!({"mine": "still"}));
    fixture.put("oil", json!({}));
    assert_eq!(
        next(&mut watch).await,
        "Added oil@3, Modified oil@4, Deleted oil@5"
    );
    fixture.put("gas", json!({"mine": "yes"}));
    assert_eq!(next(&mut watch).await, "Added gas@6");
    fixture.remove("gas");
    assert_eq!(next(&mut watch).await, "Deleted gas@7");
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_in_time_with_a_bookmark_where_one_is_welcome() {
    let fixture = Fixture::new();
    fixture.put("oil", json!({}));
    let opened = Instant::now();
    let mut watch = fixture.open("resourceVersion=2&allowWatchBookmarks=true&timeoutSeconds=90");
    assert_eq!(next(&mut watch).await, "BOOKMARK @2");
    assert_eq!(Instant::now() - opened, Duration::from_secs(60));
    fixture
        .store
        .write(|state| state.put(&Key::new(&kinds::definitions(), "", "x"), json!({})));
    assert_eq!(next(&mut watch).await, "BOOKMARK @3");
    assert_eq!(Instant::now() - opened, Duration::from_secs(88));
    assert_eq!(next(&mut watch).await, "");
    assert_eq!(Instant::now() - opened, Duration::from_secs(90));
    let mut watch = fixture.open("resourceVersion=2&timeoutSeconds=90");
    assert_eq!(next(&mut watch).await, "");
}

#[tokio::test]
async fn stopping_the_server_ends_every_watch() {
    let fixture = Fixture::new();
    let watch = fixture.open("");
    fixture.stop.cancel();
    assert_eq!(watch.frames().count().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_large_initial_state_comes_in_several_chunks_of_whole_frames() {
    let fixture = Fixture::new();
    for number in 0..(BATCH + 1) {
        fixture.put(&format!("n{number}"), json!({}));
    }
    let chunks: Vec<Bytes> = fixture.open("timeoutSeconds=1").frames().collect().await;
    assert_eq!(chunks.len(), 2);
    assert!(chunks.iter().all(|chunk| chunk.ends_with(b"}\n")));
}
