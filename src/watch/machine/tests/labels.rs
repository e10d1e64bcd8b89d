//! Watches in which labels decide: what moves into sight, and out of it.

use super::*;
use crate::k8s::label_selector::LabelSelector;
use crate::tenancy::grant::Objects;

/// An event about the object `name` with the label `tier`.
fn event(form: Form, kind: &str, name: &str, tier: &str, at: u64) -> Vec<u8> {
    let metadata = format!(
        r#"{{"name":"{name}","uid":"u-{name}","resourceVersion":"{at}","labels":{{"tier":"{tier}"}}}}"#
    );
    let object = match form {
        Form::Json | Form::Metadata => format!(r#"{{"metadata":{metadata},"secret":"{tier}"}}"#),
        Form::Table => format!(
            r#"{{"kind":"Table","metadata":{{"resourceVersion":"{at}"}},"columnDefinitions":null,"rows":[{{"cells":["{name}","{tier}"],"object":{{"metadata":{metadata}}}}}]}}"#
        ),
        Form::Protobuf => {
            let label = message(&[(1, b"tier"), (2, tier.as_bytes())]);
            let (uid, at) = (format!("u-{name}"), at.to_string());
            let metadata = message(&[
                (1, name.as_bytes()),
                (5, uid.as_bytes()),
                (6, at.as_bytes()),
                (11, &label),
            ]);
            let object = message(&[(1, &metadata), (2, tier.as_bytes())]);
            let envelope = [MAGIC, &message(&[(1, b""), (2, &object)])].concat();
            let event = message(&[(1, kind.as_bytes()), (2, &message(&[(1, &envelope)]))]);
            let length = u32::try_from(event.len()).unwrap().to_be_bytes();
            return [&length[..], &event].concat();
        }
    };
    format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n").into_bytes()
}

/// A watch of what is labelled `tier=gold`, whose client holds `held`.
fn open(form: Form, rows: RowObjects, held: &[&str]) -> Session {
    let gold = LabelSelector::parse("tier=gold").unwrap();
    let view = View {
        media: form.media(),
        keep: Keep::Any([Objects::Labelled(gold)].into()),
        rows,
        kind: ObjectKind {
            api_version: "storage.k8s.io/v1".to_owned(),
            kind: "StorageClass".to_owned(),
        },
    };
    let held = Memory::of(held.iter().map(|name| (*name).into()));
    Session {
        watch: Watch::open(view, Start::Changes, held).unwrap(),
        outbox: Outbox::new(),
        got: Vec::new(),
        positions: Vec::new(),
        parts: Vec::new(),
    }
}

/// Type, name and position of each event a client got, and whether it is no more than a name.
fn told(form: Form, got: &[u8]) -> Vec<String> {
    let mut frames = Frames::new(match form {
        Form::Protobuf => Framing::LengthPrefixed,
        Form::Json | Form::Metadata | Form::Table => Framing::Json,
    });
    frames.push(got);
    let mut told = Vec::new();
    while let Some(frame) = frames.take_next().unwrap() {
        let layout = filter::layout(form.media()).unwrap();
        let event = Event::read(layout, &frame.document(), Wanted::Labels).unwrap();
        let bare = !String::from_utf8_lossy(&frame.document()).contains("silver")
            && event.meta.labels.get("tier").is_none();
        let bare = if bare { " bare" } else { "" };
        let meta = &event.meta;
        assert_eq!(meta.uid, format!("u-{}", meta.name));
        told.push(format!(
            "{} {} {}{bare}",
            event.kind.as_str(),
            meta.name,
            meta.resource_version
        ));
    }
    told
}

#[test]
fn what_moves_in_is_added_and_what_moves_out_is_deleted_without_its_content() {
    for form in FORMS {
        let stream = [
            event(form, "MODIFIED", "a", "gold", 41),
            event(form, "MODIFIED", "a", "silver", 42),
            event(form, "MODIFIED", "a", "silver", 43),
            event(form, "MODIFIED", "a", "gold", 44),
            event(form, "ADDED", "b", "silver", 45),
            event(form, "DELETED", "b", "silver", 46),
            event(form, "MODIFIED", "c", "gold", 47),
            event(form, "DELETED", "c", "gold", 48),
        ]
        .concat();
        for size in [1, 7, stream.len()] {
            let mut client = open(form, RowObjects::Keep, &["a"]);
            for chunk in stream.chunks(size) {
                client.bytes(chunk).unwrap();
            }
            client.drain();
            assert_eq!(
                told(form, &client.got),
                [
                    "MODIFIED a 41",
                    "DELETED a 42 bare",
                    "ADDED a 44",
                    "ADDED c 47",
                    "DELETED c 48",
                ],
                "{form:?}"
            );
            assert_eq!(client.positions, [41, 42, 44, 47, 48]);
        }
    }
}

#[test]
fn what_enters_is_its_own_bytes_but_for_the_word() {
    for form in FORMS {
        let mut client = open(form, RowObjects::Keep, &[]);
        client
            .bytes(&event(form, "MODIFIED", "a", "gold", 41))
            .unwrap();
        client.expect(&[event(form, "ADDED", "a", "gold", 41)], &[41]);
    }
}

#[test]
fn a_stripped_row_that_leaves_has_no_object_either() {
    let mut client = open(Form::Table, RowObjects::Strip, &["a"]);
    client
        .bytes(&event(Form::Table, "MODIFIED", "a", "silver", 42))
        .unwrap();
    client.drain();
    let got: serde_json::Value = serde_json::from_slice(&client.got).unwrap();
    let row = &got["object"]["rows"][0];
    assert_eq!(got["type"], "DELETED");
    assert_eq!(row["cells"], serde_json::json!(["a"]));
    assert!(row["object"].is_null());
    assert_eq!(got["object"]["metadata"]["resourceVersion"], "42");
}

#[test]
fn a_header_goes_into_the_first_event_that_passes_even_if_it_enters() {
    let columns = r#"[{"name":"Name"}]"#;
    let with_columns = |event: Vec<u8>| {
        let text = String::from_utf8(event).unwrap();
        text.replace(
            r#""columnDefinitions":null"#,
            &format!(r#""columnDefinitions":{columns}"#),
        )
        .into_bytes()
    };
    let mut client = open(Form::Table, RowObjects::Keep, &[]);
    let hidden = with_columns(event(Form::Table, "ADDED", "a", "silver", 41));
    client.bytes(&hidden).unwrap();
    client
        .bytes(&event(Form::Table, "MODIFIED", "b", "gold", 42))
        .unwrap();
    let first = with_columns(event(Form::Table, "ADDED", "b", "gold", 42));
    client.expect(&[first], &[42]);
}
