//! Tests of `wire::event`.

use super::*;
use crate::wire::table::Columns;

fn json(layout: Layout, document: &str) -> Result<Event, Broken> {
    Event::read(layout, document.as_bytes(), Wanted::Names)
}

fn named(name: &str, resource_version: &str) -> ObjectMeta {
    ObjectMeta {
        name: name.to_owned(),
        resource_version: resource_version.to_owned(),
        ..ObjectMeta::default()
    }
}

#[test]
fn type_and_metadata_are_read_in_any_order_of_members() {
    for document in [
        r#"{"type":"ADDED","object":{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"oil-dev","uid":"u","resourceVersion":"41"},"spec":{"name":"no"}}}"#,
        r#"{"object":{"spec":{"metadata":{"name":"no"}},"metadata":{"labels":{"name":"no"},"resourceVersion":"41","uid":"u","n\u0061me":"oil\u002ddev"}},"type":"ADDED"}"#,
        "{ \"type\" : \"ADDED\" ,\n \"object\" : { \"x\" : [ { \"metadata\" : 1 } ] , \"metadata\" : { \"uid\":\"u\", \"name\" : \"oil-dev\" , \"resourceVersion\" : \"41\" } } }",
    ] {
        let event = json(Layout::Json, document).unwrap();
        assert_eq!(event.kind, EventType::Added);
        let meta = ObjectMeta {
            uid: "u".to_owned(),
            ..named("oil-dev", "41")
        };
        assert_eq!(event.meta, meta, "{document}");
    }
}

#[test]
fn bookmarks_have_a_position_and_no_name() {
    let plain = json(
        Layout::Json,
        r#"{"type":"BOOKMARK","object":{"kind":"Namespace","apiVersion":"v1","metadata":{"resourceVersion":"50","creationTimestamp":null},"spec":{}}}"#,
    )
    .unwrap();
    assert_eq!(
        (plain.kind, &plain.meta),
        (EventType::Bookmark, &named("", "50"))
    );
    let end = json(
        Layout::Json,
        r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"50","annotations":{"a":"true","k8s.io/initial-events-end":"true"}}}}"#,
    )
    .unwrap();
    assert!(end.meta.initial_events_end);
    let not_the_end = json(
        Layout::Json,
        r#"{"type":"BOOKMARK","object":{"metadata":{"annotations":{"a":"true","k8s.io/initial-events-end":"false"}}}}"#,
    )
    .unwrap();
    assert!(!not_the_end.meta.initial_events_end);
}

#[test]
fn an_error_is_a_status_in_every_layout() {
    let document = r#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","code":410}}"#;
    for layout in [Layout::Json, Layout::Table] {
        let event = json(layout, document).unwrap();
        assert_eq!(
            (event.kind, event.meta, event.table),
            (EventType::Error, ObjectMeta::default(), None)
        );
    }
}

#[test]
fn a_table_event_is_named_by_its_row() {
    let document = r#"{"type":"ADDED","object":{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"41"},"columnDefinitions":[{"name":"Name"}],"rows":[{"cells":["other",{"metadata":{"name":"no"}}],"object":{"kind":"PartialObjectMetadata","metadata":{"name":"oil-dev","resourceVersion":"41"}}}]}}"#;
    let event = json(Layout::Table, document).unwrap();
    assert_eq!(event.meta, named("oil-dev", "41"));
    let table = event.table.unwrap();
    let Columns::Present(columns) = table.columns else {
        panic!("{:?}", table.columns)
    };
    assert_eq!(document.get(columns).unwrap(), r#"[{"name":"Name"}]"#);
    let object = document.get(table.rows[0].object.clone()).unwrap();
    assert!(
        object.starts_with(r#"{"kind":"Partial"#) && object.ends_with(r#""41"}}"#),
        "{object}"
    );
    assert!(
        document
            .get(table.members..)
            .unwrap()
            .starts_with(r#""kind":"Table""#)
    );
}

#[test]
fn a_table_without_row_objects_still_has_a_position() {
    let document = r#"{"type":"BOOKMARK","object":{"kind":"Table","metadata":{"resourceVersion":"50"},"columnDefinitions":null,"rows":[{"cells":[],"object":null}]}}"#;
    let event = json(Layout::Table, document).unwrap();
    assert_eq!(event.meta, named("", "50"));
    let Some(Table {
        columns: Columns::Null(range),
        ..
    }) = event.table
    else {
        panic!("{:?}", event.table)
    };
    assert_eq!(document.get(range).unwrap(), "null");
}

#[test]
fn what_could_be_read_in_two_ways_is_not_read() {
    for (why, layout, document) in [
        (
            "type twice",
            Layout::Json,
            r#"{"type":"ADDED","type":"BOOKMARK","object":{}}"#,
        ),
        (
            "object twice",
            Layout::Json,
            r#"{"type":"ADDED","object":{},"object":{}}"#,
        ),
        (
            "a third member",
            Layout::Json,
            r#"{"type":"ADDED","object":{},"also":{}}"#,
        ),
        ("no object", Layout::Json, r#"{"type":"ADDED"}"#),
        ("no type", Layout::Json, r#"{"object":{}}"#),
        (
            "an unknown type",
            Layout::Json,
            r#"{"type":"added","object":{}}"#,
        ),
        (
            "an object that is none",
            Layout::Json,
            r#"{"type":"ADDED","object":[]}"#,
        ),
        (
            "metadata twice",
            Layout::Json,
            r#"{"type":"ADDED","object":{"metadata":{"name":"a"},"metadata":{"name":"b"}}}"#,
        ),
        (
            "name twice",
            Layout::Json,
            r#"{"type":"ADDED","object":{"metadata":{"name":"a","n\u0061me":"b"}}}"#,
        ),
        (
            "no Table",
            Layout::Table,
            r#"{"type":"ADDED","object":{"kind":"Namespace","metadata":{"name":"a"}}}"#,
        ),
        (
            "rows twice",
            Layout::Table,
            r#"{"type":"ADDED","object":{"kind":"Table","rows":[],"rows":[]}}"#,
        ),
        (
            "rows of two objects",
            Layout::Table,
            r#"{"type":"ADDED","object":{"kind":"Table","rows":[{"object":{"metadata":{"name":"a"}}},{"object":{"metadata":{"name":"b"}}}]}}"#,
        ),
        (
            "a row's object twice",
            Layout::Table,
            r#"{"type":"ADDED","object":{"kind":"Table","rows":[{"object":{"metadata":{"name":"a"}},"object":{}}]}}"#,
        ),
        (
            "something behind it",
            Layout::Json,
            r#"{"type":"ADDED","object":{}} {}"#,
        ),
        (
            "half an event",
            Layout::Json,
            r#"{"type":"ADDED","object":{}"#,
        ),
    ] {
        assert!(json(layout, document).is_err(), "{why}");
    }
}

mod protobuf_events {
    use super::*;
    use crate::wire::protobuf::put;

    fn event(kind: &str, metadata: &[(u32, &[u8])]) -> Vec<u8> {
        let message = |fields: &[(u32, &[u8])]| {
            let mut message = Vec::new();
            for (number, content) in fields {
                put(*number, content, &mut message);
            }
            message
        };
        let object = message(&[(1, &message(metadata)), (2, b"\x0a\x00")]);
        let type_meta = message(&[(1, b"v1"), (2, b"Namespace")]);
        let envelope = [
            protobuf::MAGIC,
            &message(&[(1, &type_meta), (2, &object), (3, b""), (4, b"")]),
        ]
        .concat();
        message(&[(1, kind.as_bytes()), (2, &message(&[(1, &envelope)]))])
    }

    #[test]
    fn type_and_metadata_are_read() {
        let read = Event::read(
            Layout::Protobuf,
            &event("MODIFIED", &[(1, b"oil-dev"), (6, b"41")]),
            Wanted::Names,
        )
        .unwrap();
        assert_eq!(
            (read.kind, read.meta),
            (EventType::Modified, named("oil-dev", "41"))
        );
        let entry = b"\x0a\x19k8s.io/initial-events-end\x12\x04true";
        let read = Event::read(
            Layout::Protobuf,
            &event("BOOKMARK", &[(6, b"50"), (12, entry)]),
            Wanted::Names,
        )
        .unwrap();
        assert!(read.meta.initial_events_end && read.kind == EventType::Bookmark);
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_not_read() {
        let whole = event("ADDED", &[(1, b"a")]);
        let mut type_twice = whole.clone();
        put(1, b"BOOKMARK", &mut type_twice);
        let mut third_field = whole.clone();
        put(3, b"", &mut third_field);
        for (why, bytes) in [
            ("type twice", type_twice),
            ("object twice", [&whole[..], &whole[7..]].concat()),
            ("a third field", third_field),
            ("an unknown type", event("added", &[])),
            ("name twice", event("ADDED", &[(1, b"a"), (1, b"b")])),
            ("half an event", whole[..whole.len() - 1].to_vec()),
            ("nothing", Vec::new()),
        ] {
            assert!(
                Event::read(Layout::Protobuf, &bytes, Wanted::Names).is_err(),
                "{why}"
            );
        }
    }
}
