//! Tests of `watch::merged`.

use proptest::prelude::*;
use serde_json::Value;
use serde_json::json;

use super::*;
use crate::k8s::media::Encoding;
use crate::k8s::media::Shape;
use crate::k8s::media::TableVersion;

const JSON: Media = Media {
    encoding: Encoding::Json,
    shape: Shape::Object,
};

fn whole(media: Media, marks_initial_end: bool) -> Whole {
    Whole {
        media,
        kind: ObjectKind {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
        },
        bookmarks: true,
        marks_initial_end,
    }
}

fn event(kind: &str, name: &str, at: u128) -> Vec<u8> {
    let metadata = json!({"name": name, "namespace": "n", "resourceVersion": at.to_string()});
    format!(
        "{}\n",
        json!({"type": kind, "object": {"metadata": metadata}})
    )
    .into_bytes()
}

fn initial_end(at: u128) -> Vec<u8> {
    let metadata = json!({"resourceVersion": at.to_string(), "annotations": {"k8s.io/initial-events-end": "true"}});
    format!(
        "{}\n",
        json!({"type": "BOOKMARK", "object": {"metadata": metadata}})
    )
    .into_bytes()
}

/// What goes out: type, name, version; `!` at the end of the present state.
fn told(out: &mut Outbox) -> Vec<String> {
    let mut told = Vec::new();
    while let Some(outgoing) = out.pop() {
        let event: Value = serde_json::from_slice(&outgoing.frame.document()).unwrap();
        let metadata = &event["object"]["metadata"];
        let ends = metadata["annotations"]["k8s.io/initial-events-end"] == "true";
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let version = text(&metadata["resourceVersion"]);
        let behind = Position::parse(&version).map(match text(&event["type"]).as_str() {
            "BOOKMARK" => Behind::Whole,
            _ => Behind::Part,
        });
        assert_eq!(
            outgoing.behind,
            behind.unwrap_or(Behind::Nothing),
            "{event}"
        );
        let name = text(&metadata["name"]);
        let mark = if ends { "!" } else { "" };
        told.push(format!("{} {name}{version}{mark}", text(&event["type"])));
    }
    told
}

fn opened(starts: &[Option<u128>], marks_initial_end: bool) -> (Merged, Outbox) {
    let starts: Vec<Option<Position>> = starts.iter().map(|at| at.map(Position)).collect();
    let merged = Merged::open(whole(JSON, marks_initial_end), &starts).unwrap();
    (merged, Outbox::new())
}

#[test]
fn a_bookmark_says_what_all_legs_have_reached() {
    let (mut watch, mut out) = opened(&[Some(10), Some(10)], false);
    let mut say = |at: usize, bytes: Vec<u8>| {
        watch.on_bytes(at, &bytes, &mut out).unwrap();
        told(&mut out)
    };
    assert_eq!(say(0, event("ADDED", "a", 20)), ["ADDED a20"]);
    assert_eq!(say(0, event("BOOKMARK", "", 30)), ["BOOKMARK 10"]);
    assert_eq!(say(0, event("BOOKMARK", "", 40)), [""; 0]);
    assert_eq!(say(1, event("BOOKMARK", "", 25)), ["BOOKMARK 25"]);
    assert_eq!(say(1, event("MODIFIED", "b", 45)), ["MODIFIED b45"]);
    assert_eq!(say(1, event("BOOKMARK", "", 46)), ["BOOKMARK 40"]);
}

#[test]
fn the_present_state_is_whole_when_all_legs_have_sent_theirs() {
    let (mut watch, mut out) = opened(&[None, None], true);
    let mut say = |at: usize, bytes: Vec<u8>| {
        watch.on_bytes(at, &bytes, &mut out).unwrap();
        told(&mut out)
    };
    assert_eq!(say(0, event("ADDED", "a", 3)), ["ADDED a3"]);
    assert_eq!(say(0, initial_end(50)), [""; 0]);
    assert_eq!(say(0, event("BOOKMARK", "", 60)), [""; 0]);
    assert_eq!(say(1, event("ADDED", "b", 7)), ["ADDED b7"]);
    assert_eq!(say(1, initial_end(55)), ["BOOKMARK 55!"]);
    assert_eq!(say(1, event("BOOKMARK", "", 70)), ["BOOKMARK 60"]);
}

#[test]
fn while_the_present_state_comes_there_is_no_position() {
    let (mut watch, mut out) = opened(&[None, Some(10)], false);
    watch
        .on_bytes(0, &event("ADDED", "a", 30), &mut out)
        .unwrap();
    watch
        .on_bytes(1, &event("BOOKMARK", "", 40), &mut out)
        .unwrap();
    watch.on_end(End::Upstream, &mut out);
    assert_eq!(told(&mut out), ["ADDED a30"]);
    assert!(out.is_over());
}

#[test]
fn the_last_bookmark_takes_the_client_back_to_a_position_of_the_whole() {
    for (why, expected) in [
        (End::Upstream, &["ADDED a20", "BOOKMARK 10"][..]),
        (End::Drain, &["ADDED a20", "BOOKMARK 10"]),
        (End::Credential, &[]),
    ] {
        let (mut watch, mut out) = opened(&[Some(10), Some(10)], false);
        watch
            .on_bytes(0, &event("ADDED", "a", 20), &mut out)
            .unwrap();
        watch.on_end(why, &mut out);
        watch
            .on_bytes(0, &event("ADDED", "b", 21), &mut out)
            .unwrap();
        assert_eq!(told(&mut out), expected, "{why:?}");
        assert!(out.is_over());
    }
}

#[test]
fn a_change_of_scope_takes_back_what_was_read_and_an_error_ends_the_whole() {
    let (mut watch, mut out) = opened(&[Some(10), Some(10)], false);
    watch
        .on_bytes(0, &event("ADDED", "a", 20), &mut out)
        .unwrap();
    watch.on_scope_change(&mut out);
    assert_eq!(told(&mut out), ["ERROR "]);
    let (mut watch, mut out) = opened(&[Some(10), Some(10)], false);
    let error = json!({"type": "ERROR", "object": {"kind": "Status", "code": 410}});
    watch
        .on_bytes(1, format!("{error}\n").as_bytes(), &mut out)
        .unwrap();
    watch
        .on_bytes(0, &event("ADDED", "a", 20), &mut out)
        .unwrap();
    assert_eq!(told(&mut out), ["ERROR "]);
    assert!(out.is_over());
}

#[test]
fn a_table_has_one_header() {
    let media = Media {
        encoding: Encoding::Json,
        shape: Shape::Table(TableVersion::V1),
    };
    let start = Some(Position(10));
    let mut watch = Merged::open(whole(media, false), &[start, start]).unwrap();
    let mut out = Outbox::new();
    let row = |columns: Value| {
        let object = json!({"metadata": {"name": "a", "resourceVersion": "20"}});
        let table = json!({"kind": "Table", "columnDefinitions": columns, "rows": [{"cells": ["a"], "object": object}]});
        format!("{}\n", json!({"type": "ADDED", "object": table})).into_bytes()
    };
    let header = json!([{"name": "Name"}]);
    for at in [0, 1] {
        watch.on_bytes(at, &row(header.clone()), &mut out).unwrap();
    }
    let mut columns = Vec::new();
    while let Some(outgoing) = out.pop() {
        let event: Value = serde_json::from_slice(&outgoing.frame.document()).unwrap();
        columns.push(event["object"]["columnDefinitions"].clone());
    }
    assert_eq!(columns, [header, Value::Null]);
}

/// One thing that a leg of the API server sends.
#[derive(Clone, Debug)]
enum Step {
    Event(usize),
    Bookmark(usize),
    Cut,
}

proptest! {
    /// A client that goes on from any position of the whole misses nothing that any leg sends.
    #[test]
    fn whoever_goes_on_from_a_bookmark_misses_nothing(
        steps in proptest::collection::vec(
            prop_oneof![
                6 => (0..3_usize).prop_map(Step::Event),
                2 => (0..3_usize).prop_map(Step::Bookmark),
                1 => Just(Step::Cut),
            ],
            1..60,
        )
    ) {
        // Events of all legs happen in one order; each leg delivers its own late, in bursts, up to its bookmark.
        let (mut watch, mut out) = opened(&[Some(1); 3], false);
        let mut waiting: Vec<Vec<(u128, Vec<u8>)>> = vec![Vec::new(); 3];
        let (mut clock, mut happened, mut seen) = (1_u128, Vec::new(), Vec::new());
        let mut positions = vec![1_u128];
        let deliver = |watch: &mut Merged, out: &mut Outbox, waiting: &mut Vec<(u128, Vec<u8>)>, at: usize| {
            for (_, bytes) in waiting.drain(..) {
                watch.on_bytes(at, &bytes, out).unwrap();
            }
        };
        for step in steps {
            match step {
                Step::Event(at) => {
                    clock += 1;
                    happened.push(clock);
                    waiting[at].push((clock, event("ADDED", "a", clock)));
                }
                Step::Bookmark(at) => {
                    deliver(&mut watch, &mut out, &mut waiting[at], at);
                    watch.on_bytes(at, &event("BOOKMARK", "", clock), &mut out).unwrap();
                }
                Step::Cut => watch.on_end(End::Upstream, &mut out),
            }
            while let Some(outgoing) = out.pop() {
                match outgoing.behind {
                    Behind::Whole(at) => {
                        // Everything up to here was seen by now.
                        let missed = happened.iter().find(|it| **it <= at.0 && !seen.contains(*it));
                        prop_assert_eq!(missed, None, "at {:?}", at);
                        positions.push(at.0);
                    }
                    Behind::Part(at) => seen.push(at.0),
                    Behind::Nothing => prop_assert!(false, "an event without a version"),
                }
            }
        }
        prop_assert!(positions.is_sorted());
    }
}

#[test]
fn a_bookmark_may_be_told_to_say_less() {
    let (mut watch, mut out) = opened(&[None], true);
    let frames = [
        initial_end(5),
        event("ADDED", "b", 7),
        event("BOOKMARK", "", 7),
    ];
    for bytes in frames {
        watch.on_bytes(0, &bytes, &mut out).unwrap();
    }
    let say = |at, instead| {
        let frame = watch.bookmark_instead(Position(at), Position(instead));
        let mut out = Outbox::new();
        out.push(frame.unwrap(), Behind::Whole(Position(instead)));
        told(&mut out)
    };
    assert_eq!(
        say(5, 4),
        ["BOOKMARK 4!"],
        "it ends the present state still"
    );
    assert_eq!(say(7, 6), ["BOOKMARK 6"]);
}
