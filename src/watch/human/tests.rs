//! Tests of `watch::human`.

use std::collections::BTreeMap;

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

const TABLE: Media = Media {
    encoding: Encoding::Json,
    shape: Shape::Table(TableVersion::V1),
};

/// A human's watch, and what he has seen of it.
struct Reader {
    human: Human,
    media: Media,
    /// Whether the stream in force has shown its header.
    has_header: bool,
    seen: Vec<Value>,
}

impl Reader {
    fn new(media: Media, held: &[(&str, &str, u32)]) -> Self {
        let kind = ObjectKind {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
        };
        let held = held.iter().map(|(name, uid, version)| ObjectMeta {
            namespace: "n".to_owned(),
            name: (*name).to_owned(),
            uid: (*uid).to_owned(),
            resource_version: version.to_string(),
            ..ObjectMeta::default()
        });
        Self {
            human: Human::open(media, RowObjects::Keep, kind, held).unwrap(),
            media,
            has_header: false,
            seen: Vec::new(),
        }
    }

    fn on_new_stream(&mut self) {
        self.human.on_new_stream();
        self.has_header = false;
    }

    fn event(&mut self, kind: &str, name: &str, uid: &str, version: u32) {
        let metadata = json!({"namespace": "n", "name": name, "uid": uid, "resourceVersion": version.to_string()});
        self.say(kind, &json!({"kind": "Pod", "metadata": metadata}), version);
    }

    /// The end of the present state.
    fn end_of_state(&mut self, version: u32) {
        let annotations = json!({"k8s.io/initial-events-end": "true"});
        let metadata = json!({"resourceVersion": version.to_string(), "annotations": annotations});
        self.say(
            "BOOKMARK",
            &json!({"kind": "Pod", "metadata": metadata}),
            version,
        );
    }

    fn say(&mut self, kind: &str, object: &Value, version: u32) {
        let object = match self.media.shape {
            Shape::Object | Shape::PartialObjectMetadata => object.clone(),
            Shape::Table(_) => {
                let columns = json!([{"name": "Name"}, {"name": "Ready"}, {"name": "Age"}]);
                let has_header = std::mem::replace(&mut self.has_header, true);
                let columns = if has_header { Value::Null } else { columns };
                json!({"kind": "Table", "metadata": {"resourceVersion": version.to_string()},
                    "columnDefinitions": columns,
                    "rows": [{"cells": [object["metadata"]["name"], "1/1", "3s"], "object": object}]})
            }
        };
        let event = json!({"type": kind, "object": object}).to_string();
        let frame = Frame::new(Framing::Json, event.as_bytes());
        loop {
            match self.human.on_frame(&frame).unwrap() {
                Step::Give(frame) => {
                    self.see(&frame);
                    break;
                }
                Step::First(frame) => self.see(&frame),
                Step::Hold => break,
            }
        }
        while let Some(frame) = self.human.sweep() {
            self.see(&frame);
        }
    }

    fn see(&mut self, frame: &Frame) {
        let event = serde_json::from_slice(&frame.document()).unwrap();
        self.seen.push(event);
    }

    /// What he has seen since this was last called: type, name, uid, version.
    fn told(&mut self) -> Vec<String> {
        let told = self.seen.drain(..).map(|event| {
            let object = &event["object"];
            let object = match object["kind"].as_str() {
                Some("Table") => &object["rows"][0]["object"],
                _ => object,
            };
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let metadata = &object["metadata"];
            assert!(metadata["resourceVersion"].is_string(), "{event}");
            format!(
                "{} {} {} {}",
                text(&event["type"]),
                text(&metadata["name"]),
                text(&metadata["uid"]),
                text(&metadata["resourceVersion"])
            )
        });
        told.collect()
    }
}

#[test]
fn events_pass_as_they_come_while_nothing_changes() {
    let mut reader = Reader::new(JSON, &[("a", "u1", 5)]);
    reader.event("MODIFIED", "a", "u1", 6);
    reader.event("ADDED", "b", "u2", 7);
    reader.event("DELETED", "a", "u1", 8);
    assert_eq!(
        reader.told(),
        ["MODIFIED a u1 6", "ADDED b u2 7", "DELETED a u1 8"]
    );
}

#[test]
fn after_a_change_he_is_shown_the_difference_and_it_goes_on() {
    for media in [JSON, TABLE] {
        let mut reader = Reader::new(
            media,
            &[("kept", "u1", 5), ("lost", "u2", 6), ("moved", "u3", 7)],
        );
        reader.on_new_stream();
        reader.event("ADDED", "gained", "u4", 3);
        reader.event("ADDED", "kept", "u1", 5);
        reader.event("ADDED", "moved", "u3", 9);
        assert_eq!(reader.told(), ["ADDED gained u4 3", "MODIFIED moved u3 9"]);
        reader.end_of_state(12);
        assert_eq!(
            reader.told(),
            ["DELETED lost u2 6"],
            "at the version he holds it at"
        );
        reader.event("MODIFIED", "kept", "u1", 13);
        assert_eq!(reader.told(), ["MODIFIED kept u1 13"]);
    }
}

#[test]
fn another_object_of_the_same_name_comes_after_the_one_he_holds_has_gone() {
    let mut reader = Reader::new(JSON, &[("a", "old", 5)]);
    reader.on_new_stream();
    reader.event("ADDED", "a", "new", 9);
    reader.end_of_state(10);
    assert_eq!(reader.told(), ["DELETED a old 5", "ADDED a new 9"]);
}

#[test]
fn a_change_while_the_present_state_comes_begins_the_comparison_anew() {
    let mut reader = Reader::new(JSON, &[("a", "u1", 5), ("b", "u2", 6)]);
    reader.on_new_stream();
    reader.event("ADDED", "a", "u1", 5);
    reader.event("ADDED", "c", "u3", 7);
    assert_eq!(reader.told(), ["ADDED c u3 7"]);
    reader.on_new_stream();
    reader.event("ADDED", "b", "u2", 6);
    reader.end_of_state(9);
    assert_eq!(reader.told(), ["DELETED a u1 5", "DELETED c u3 7"]);
}

#[test]
fn what_happens_in_one_namespace_while_another_still_comes_is_judged_alike() {
    let mut reader = Reader::new(JSON, &[("a", "u1", 5), ("b", "u2", 6)]);
    reader.on_new_stream();
    reader.event("ADDED", "a", "u1", 5);
    reader.event("MODIFIED", "a", "u1", 8);
    reader.event("DELETED", "a", "u1", 9);
    reader.event("DELETED", "never-seen", "u9", 9);
    reader.event("MODIFIED", "new-to-him", "u3", 10);
    reader.end_of_state(11);
    assert_eq!(
        reader.told(),
        [
            "MODIFIED a u1 8",
            "DELETED a u1 9",
            "ADDED new-to-him u3 10",
            "DELETED b u2 6"
        ]
    );
}

#[test]
fn a_table_has_one_header_and_rows_as_wide_as_it() {
    let mut reader = Reader::new(TABLE, &[("kept", "u1", 5), ("lost", "u2", 6)]);
    reader.event("MODIFIED", "kept", "u1", 7);
    reader.on_new_stream();
    reader.event("ADDED", "gained", "u3", 3);
    reader.event("ADDED", "kept", "u1", 7);
    reader.end_of_state(8);
    let headers = reader
        .seen
        .iter()
        .map(|event| event["object"]["columnDefinitions"].is_array());
    assert_eq!(headers.collect::<Vec<_>>(), [true, false, false]);
    let gone = &reader.seen[2]["object"]["rows"][0];
    assert_eq!(gone["cells"], json!(["lost", null, null]));
    assert_eq!(gone["object"]["metadata"]["namespace"], "n");
}

#[test]
fn a_header_that_came_with_what_he_knew_goes_out_with_what_he_did_not() {
    let mut reader = Reader::new(TABLE, &[("kept", "u1", 5)]);
    reader.on_new_stream();
    reader.event("ADDED", "kept", "u1", 5);
    reader.event("ADDED", "new", "u2", 6);
    let [only] = reader.seen.as_slice() else {
        panic!("{:?}", reader.seen)
    };
    assert_eq!(
        only["object"]["columnDefinitions"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
}

#[test]
fn errors_pass_and_bookmarks_do_not() {
    let mut reader = Reader::new(JSON, &[]);
    let status = json!({"kind": "Status", "metadata": {}, "code": 410});
    reader.say(
        "BOOKMARK",
        &json!({"kind": "Pod", "metadata": {"resourceVersion": "9"}}),
        9,
    );
    reader.say("ERROR", &status, 0);
    assert_eq!(reader.seen.len(), 1);
    assert_eq!(reader.seen[0]["object"], status);
}

#[test]
fn who_holds_more_than_is_remembered_cannot_be_shown_a_change() {
    let mut reader = Reader::new(JSON, &[]);
    for number in 0..MAX_HELD {
        reader.event("ADDED", &number.to_string(), "u", 1);
    }
    assert!(reader.human.can_go_on());
    reader.event("MODIFIED", "0", "u", 2);
    assert!(reader.human.can_go_on(), "he held that one");
    reader.event("ADDED", "one-more", "u", 2);
    assert!(!reader.human.can_go_on());
}

#[test]
fn rows_without_objects_and_protobuf_cannot_be_followed() {
    let kind = ObjectKind {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
    };
    let protobuf = Media {
        encoding: Encoding::Protobuf,
        shape: Shape::Object,
    };
    for (media, rows) in [(TABLE, RowObjects::Strip), (protobuf, RowObjects::Keep)] {
        assert!(Human::open(media, rows, kind.clone(), []).is_none());
    }
}

/// One object as the world has it: uid and version.
type Objects = BTreeMap<u8, (u32, u32)>;

fn objects() -> impl Strategy<Value = Objects> {
    prop::collection::btree_map(0u8..6, (0u32..2, 1u32..4), 0..6)
}

proptest! {
    /// Whatever he held and whatever the present state is: what he replays is the present state, no object is DELETED that
    /// he does not hold, none ADDED that he does, and none comes twice.
    #[test]
    fn what_he_replays_is_the_present_state(states in prop::collection::vec((objects(), any::<bool>()), 1..5), first in objects()) {
        let name = |number: &u8| format!("o{number}");
        let held: Vec<_> = first.iter().map(|(number, (uid, version))| (name(number), format!("u{uid}"), *version)).collect();
        let held: Vec<_> = held.iter().map(|(name, uid, version)| (name.as_str(), uid.as_str(), *version)).collect();
        let mut reader = Reader::new(JSON, &held);
        let mut store: BTreeMap<String, (String, String)> = held.iter()
            .map(|(name, uid, version)| ((*name).to_owned(), ((*uid).to_owned(), version.to_string())))
            .collect();
        for (state, is_whole) in &states {
            reader.on_new_stream();
            for (number, (uid, version)) in state {
                reader.event("ADDED", &name(number), &format!("u{uid}"), *version);
            }
            if *is_whole {
                reader.end_of_state(9);
            }
            for told in reader.told() {
                let words: Vec<&str> = told.split(' ').collect();
                let [kind, name, uid, version] = words.as_slice() else { panic!("{told}") };
                let known = store.get(*name).map(|(uid, _)| uid.clone());
                let now = ((*uid).to_owned(), (*version).to_owned());
                match *kind {
                    "ADDED" => {
                        prop_assert_eq!(known, None, "{}", told);
                        store.insert((*name).to_owned(), now);
                    }
                    "MODIFIED" => {
                        prop_assert_eq!(known.as_deref(), Some(*uid), "{}", told);
                        prop_assert_ne!(store.insert((*name).to_owned(), now.clone()), Some(now));
                    }
                    "DELETED" => {
                        prop_assert_eq!(known.as_deref(), Some(*uid), "{}", told);
                        store.remove(*name);
                    }
                    other => panic!("{other}"),
                }
            }
            if *is_whole {
                let now = state.iter().map(|(number, (uid, version))| {
                    (name(number), (format!("u{uid}"), version.to_string()))
                });
                prop_assert_eq!(&store, &now.collect::<BTreeMap<_, _>>());
            }
        }
    }
}
