//! Tests of `watch::expired`.

use super::*;
use crate::k8s::media::Encoding;
use crate::k8s::media::Shape;
use crate::k8s::media::TableVersion;
use crate::wire::event::Event;
use crate::wire::event::EventType;
use crate::wire::object::Wanted;
use crate::wire::protobuf::Envelope;
use crate::wire::protobuf::Fields;
use crate::wire::protobuf::Value;

fn media(encoding: Encoding, shape: Shape) -> Media {
    Media { encoding, shape }
}

#[test]
fn in_json_it_is_one_line_a_table_watch_too() {
    let expected = concat!(
        r#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","#,
        r#""message":"too old resource version: what this user may see has changed, list again","reason":"Expired","code":410}}"#,
        "\n"
    );
    for shape in [
        Shape::Object,
        Shape::Table(TableVersion::V1),
        Shape::PartialObjectMetadata,
    ] {
        let frame = expired_frame(media(Encoding::Json, shape)).unwrap();
        assert_eq!(frame.bytes(), expected);
        assert_eq!(frame.document(), expected.trim_end());
    }
}

#[test]
fn in_protobuf_it_is_a_status_in_its_envelope_behind_its_length() {
    let frame = expired_frame(media(Encoding::Protobuf, Shape::Object)).unwrap();
    let (length, document) = frame.bytes().split_at(4);
    assert_eq!(
        u32::from_be_bytes(length.try_into().unwrap()) as usize,
        document.len()
    );
    assert_eq!(
        Event::read(Layout::Protobuf, document, Wanted::Names)
            .unwrap()
            .kind,
        EventType::Error
    );

    let object = Fields::of(document)
        .nth(1)
        .unwrap()
        .unwrap()
        .content()
        .unwrap();
    let raw = Fields::of(object)
        .next()
        .unwrap()
        .unwrap()
        .content()
        .unwrap();
    let envelope = Envelope::read(raw).unwrap();
    assert_eq!(envelope.kind, "Status");
    let fields: Vec<(u32, Value<'_>)> = Fields::of(envelope.raw)
        .map(|field| field.map(|field| (field.number, field.value)).unwrap())
        .collect();
    assert_eq!(
        fields,
        [
            (1, Value::Bytes(b"\x0a\0\x12\0\x1a\0")),
            (2, Value::Bytes(b"Failure")),
            (3, Value::Bytes(MESSAGE.as_bytes())),
            (4, Value::Bytes(b"Expired")),
            (6, Value::Varint(410)),
        ]
    );
}

#[test]
fn there_is_none_where_there_is_no_watch() {
    assert_eq!(expired_frame(media(Encoding::Yaml, Shape::Object)), None);
}
