//! Tests of `wire::protobuf`.

use super::*;
use crate::wire::labels::Labels;

fn meta(fields: &[(u32, &[u8])]) -> Vec<u8> {
    let mut metadata = Vec::new();
    for (number, content) in fields {
        put(*number, content, &mut metadata);
    }
    metadata
}

fn object(metadata: &[u8]) -> Vec<u8> {
    let mut object = Vec::new();
    put(field::object::METADATA, metadata, &mut object);
    put(2, b"spec", &mut object);
    object
}

fn read(object: &[u8]) -> Result<ObjectMeta, Broken> {
    let mut meta = ObjectMeta::default();
    read_meta(object, Wanted::Labels, &mut meta).map(|()| meta)
}

#[test]
fn metadata_is_read_between_fields_that_we_do_not_know() {
    let mut annotation = Vec::new();
    put(1, INITIAL_EVENTS_END.as_bytes(), &mut annotation);
    put(2, b"true", &mut annotation);
    let mut metadata = meta(&[
        (2, b"generate"),
        (1, b"oil-dev"),
        (3, b""),
        (5, b"u-1"),
        (6, b"41"),
    ]);
    put_integer(7, 3, &mut metadata);
    metadata.extend([8 << 3 | 1, 1, 2, 3, 4, 5, 6, 7, 8, 9 << 3 | 5, 1, 2, 3, 4]);
    put(12, &annotation, &mut metadata);
    assert_eq!(
        read(&object(&metadata)),
        Ok(ObjectMeta {
            name: "oil-dev".to_owned(),
            namespace: String::new(),
            uid: "u-1".to_owned(),
            resource_version: "41".to_owned(),
            initial_events_end: true,
            labels: Labels::default(),
        })
    );
}

#[test]
fn what_two_readers_could_read_differently_is_an_error() {
    let twice = [object(&meta(&[(1, b"a")])), object(&meta(&[(1, b"b")]))].concat();
    assert_eq!(read(&twice), Err(Broken::Twice("metadata")));
    let name_twice = object(&meta(&[(1, b"a"), (1, b"b")]));
    assert!(matches!(read(&name_twice), Err(Broken::Twice(_))));
    let mut as_integer = Vec::new();
    put_integer(1, 7, &mut as_integer);
    assert!(matches!(
        read(&object(&as_integer)),
        Err(Broken::Protobuf(_))
    ));
    assert!(matches!(
        read(&object(&meta(&[(1, b"\xff")]))),
        Err(Broken::Protobuf(_))
    ));
}

#[test]
fn broken_fields_are_errors() {
    for (name, bytes) in [
        ("a field number of 0", &[0x02, 0x00][..]),
        ("a group", &[0x0b, 0x0c]),
        ("an unknown wire type", &[0x0e]),
        ("a content that stops", &[0x0a, 5, 1, 2]),
        ("a tag that stops", &[0x80]),
        ("a length that stops", &[0x0a, 0x80]),
        ("an integer that stops", &[0x38]),
        ("eight bytes that stop", &[0x41, 1, 2]),
        (
            "an overlong varint",
            &[
                0x38, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
            ],
        ),
        (
            "a varint of 65 bits",
            &[
                0x38, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02,
            ],
        ),
        (
            "a length beyond any memory",
            &[
                0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
            ],
        ),
    ] {
        assert!(read(bytes).is_err(), "{name}");
        assert!(read(&object(bytes)).is_err(), "{name}");
    }
    assert!(
        read(&[
            0x38, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01
        ])
        .is_ok(),
        "64 bits"
    );
}

#[test]
fn an_envelope_is_read_in_any_order_but_never_encoded() {
    let mut type_meta = Vec::new();
    put(1, b"v1", &mut type_meta);
    put(2, b"Namespace", &mut type_meta);
    let envelope = |parts: &[(u32, &[u8])]| [MAGIC, &meta(parts)].concat();
    let whole = envelope(&[(2, b"content"), (1, &type_meta), (3, b""), (4, b"")]);
    assert_eq!(
        Envelope::read(&whole),
        Ok(Envelope {
            kind: "Namespace",
            raw: b"content"
        })
    );
    assert!(Envelope::read(&whole[1..]).is_err(), "no magic");
    assert!(
        Envelope::read(&envelope(&[(2, b"a"), (2, b"b")])).is_err(),
        "content twice"
    );
    assert!(
        Envelope::read(&envelope(&[(2, b"a"), (3, b"gzip")])).is_err(),
        "encoded"
    );
}

#[test]
fn labels_are_read_where_they_are_wanted() {
    let label = |key: &[u8], value: &[u8]| meta(&[(1, key), (2, value)]);
    let (tier, empty) = (label(b"tier", b"gold"), label(b"empty", b""));
    let labelled = object(&meta(&[(1, b"a"), (11, &tier), (11, &empty)]));
    let labels_of = |wanted| {
        let mut meta = ObjectMeta::default();
        read_meta(&labelled, wanted, &mut meta).map(|()| meta.labels)
    };
    let labels = labels_of(Wanted::Labels).unwrap();
    assert_eq!(
        (labels.get("tier"), labels.get("empty"), labels.get("a")),
        (Some("gold"), Some(""), None)
    );
    assert_eq!(labels_of(Wanted::Names), Ok(Labels::default()));
    let twice = object(&meta(&[(1, b"a"), (11, &tier), (11, &tier)]));
    assert_eq!(read(&twice), Err(Broken::Twice("a label")));
}
