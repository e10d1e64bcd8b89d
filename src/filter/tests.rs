//! Tests of `filter`.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::k8s::label_selector::LabelSelector;
use crate::k8s::media::TableVersion;
use crate::k8s::names::Namespace;
use crate::k8s::names::ObjectName;
use crate::tenancy::grant::Objects;
use crate::wire::protobuf::MAGIC;
use crate::wire::protobuf::put;
use crate::wire::protobuf::put_integer;

const JSON: Media = Media {
    encoding: Encoding::Json,
    shape: Shape::Object,
};
const TABLE: Media = Media {
    encoding: Encoding::Json,
    shape: Shape::Table(TableVersion::V1),
};
const PROTOBUF: Media = Media {
    encoding: Encoding::Protobuf,
    shape: Shape::Object,
};

fn only(names: &[&str]) -> Keep {
    Keep::Names(Arc::new(
        names
            .iter()
            .map(|name| Namespace::parse(name).unwrap())
            .collect(),
    ))
}

/// What comes out of `input`, fed in chunks of `size`.
fn run(
    media: Media,
    keep: &Keep,
    rows: RowObjects,
    input: &[u8],
    size: usize,
) -> Result<(Vec<u8>, Seen), Broken> {
    let mut filter = ListFilter::new(media, keep.clone(), rows)?;
    let mut out = BytesMut::new();
    for chunk in input.chunks(size) {
        filter.push(chunk, &mut out)?;
    }
    let early = filter.resource_version().map(str::to_owned);
    let seen = filter.finish(&mut out)?;
    assert_eq!(early, seen.resource_version);
    Ok((out.to_vec(), seen))
}

/// The same whatever the chunks.
fn check_json(
    name: &str,
    media: Media,
    keep: &Keep,
    rows: RowObjects,
    input: &str,
    expected: &str,
) -> Seen {
    let (_, seen) = run(media, keep, rows, input.as_bytes(), input.len()).unwrap();
    for size in (1..40).chain([input.len()]) {
        let (out, again) = run(media, keep, rows, input.as_bytes(), size).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            expected,
            "{name}, in chunks of {size}"
        );
        assert_eq!(seen, again, "{name}, in chunks of {size}");
    }
    seen
}

fn seen(resource_version: &str, kept: u64, dropped: u64) -> Seen {
    Seen {
        resource_version: Some(resource_version.to_owned()),
        kept,
        dropped,
        ..Seen::default()
    }
}

const TYPED: &str = concat!(
    r#"{"kind":"NamespaceList","apiVersion":"v1","metadata":{"resourceVersion":"41"},"items":["#,
    r#"{"metadata":{"name":"gas-dev","uid":"1"},"spec":{}},"#,
    r#"{"metadata":{"name":"oil-dev","uid":"2","labels":{"name":"gas-dev"}},"spec":{"a":[1,{"b":"}]"}]}},"#,
    r#"{"metadata":{"name":"oil-prod","uid":"3"},"spec":{}}]}"#,
    "\n"
);

#[test]
fn items_are_dropped_by_name_and_the_others_pass_as_they_came() {
    for (keep, items, kept) in [
        (only(&["gas-dev", "oil-dev", "oil-prod"]), [1, 1, 1], 3),
        (only(&["oil-dev"]), [0, 1, 0], 1),
        (only(&["gas-dev", "oil-prod"]), [1, 0, 1], 2),
        (only(&["oil-prod"]), [0, 0, 1], 1),
        (only(&[]), [0, 0, 0], 0),
    ] {
        let (head, rest) = TYPED.split_at(TYPED.find('[').unwrap() + 1);
        let (body, tail) = rest.split_at(rest.rfind(']').unwrap());
        let parts: Vec<&str> = body.split(",{\"metadata\"").collect();
        let all = [
            parts[0].to_owned(),
            format!("{{\"metadata\"{}", parts[1]),
            format!("{{\"metadata\"{}", parts[2]),
        ];
        let expected: Vec<String> = all
            .into_iter()
            .zip(items)
            .filter(|(_, keep)| *keep == 1)
            .map(|(item, _)| item)
            .collect();
        let expected = format!("{head}{}{tail}", expected.join(","));
        let result = check_json("typed", JSON, &keep, RowObjects::Keep, TYPED, &expected);
        assert_eq!(result, seen("41", kept, 3 - kept));
    }
}

#[test]
fn a_list_kept_whole_passes_byte_for_byte() {
    let pretty = "{\n  \"kind\": \"NamespaceList\",\n  \"metadata\": {\n  },\n  \"items\": [\n    { },\n  { \"a\": 1 } ]\n}\n";
    for input in [TYPED, pretty] {
        check_json(
            "whole",
            JSON,
            &Keep::Everything,
            RowObjects::Keep,
            input,
            input,
        );
    }
}

#[test]
fn metadata_may_come_last_and_members_in_any_order() {
    let custom = r#"{"apiVersion":"capsule.clastix.io/v1beta2","items":[{"apiVersion":"x","kind":"Tenant","metadata":{"annotations":{"name":"gas"},"name":"oil"}},{"metadata":{"name":"gas"}}],"kind":"TenantList","metadata":{"continue":"","remainingItemCount":3,"resourceVersion":"41"}}"#;
    let expected = r#"{"apiVersion":"capsule.clastix.io/v1beta2","items":[{"apiVersion":"x","kind":"Tenant","metadata":{"annotations":{"name":"gas"},"name":"oil"}}],"kind":"TenantList","metadata":{"continue":"","resourceVersion":"41"}}"#;
    let result = check_json(
        "custom",
        JSON,
        &only(&["oil"]),
        RowObjects::Keep,
        custom,
        expected,
    );
    assert_eq!(result, seen("41", 1, 1));
}

#[test]
fn the_number_of_hidden_items_is_never_told() {
    for (metadata, expected) in [
        (r#""remainingItemCount":7"#, ""),
        (
            r#""remainingItemCount":7,"resourceVersion":"41""#,
            r#""resourceVersion":"41""#,
        ),
        (
            r#""resourceVersion":"41","remainingItemCount":7"#,
            r#""resourceVersion":"41""#,
        ),
        (
            r#""selfLink":"","remaining\u0049temCount":7,"resourceVersion":"41""#,
            r#""selfLink":"","resourceVersion":"41""#,
        ),
        (
            r#""shardInfo":{"selector":"x"},"remainingItemCount":null"#,
            r#""shardInfo":{"selector":"x"}"#,
        ),
    ] {
        let list =
            |metadata: &str| format!(r#"{{"kind":"XList","metadata":{{{metadata}}},"items":[]}}"#);
        for keep in [Keep::Everything, only(&[])] {
            check_json(
                "count",
                JSON,
                &keep,
                RowObjects::Keep,
                &list(metadata),
                &list(expected),
            );
        }
    }
}

#[test]
fn what_we_do_not_know_of_a_filtered_list_is_left_out() {
    let input = r#"{"hidden":["gas-dev"],"kind":"XList","Items":[{"metadata":{"name":"gas-dev"}}],"metadata":{"first":"gas-dev","resourceVersion":"41","last":{"a":"gas-dev"}},"items":[],"more":1}"#;
    let expected = r#"{"kind":"XList","metadata":{"resourceVersion":"41"},"items":[]}"#;
    let result = check_json(
        "unknown",
        JSON,
        &only(&[]),
        RowObjects::Keep,
        input,
        expected,
    );
    assert_eq!(result.unknown, 5);
    check_json(
        "unknown, all kept",
        JSON,
        &Keep::Everything,
        RowObjects::Keep,
        input,
        input,
    );
}

#[test]
fn a_nil_list_is_an_empty_one() {
    let input = r#"{"kind":"XList","metadata":null,"items":null}"#;
    check_json("nil", JSON, &only(&["a"]), RowObjects::Keep, input, input);
}

#[test]
fn a_page_of_a_filtered_list_is_broken_before_its_token_goes_out() {
    for list in [
        r#"{"kind":"XList","metadata":{"continue":"gas-dev"},"items":[]}"#.to_owned(),
        r#"{"kind":"XList","items":[],"metadata":{"resourceVersion":"1","contin\u0075e":"gas-dev"}}"#.to_owned(),
        format!(r#"{{"kind":"XList","metadata":{{"continue":"gas-dev{}"}}}}"#, "x".repeat(9000)),
        r#"{"kind":"XList","metadata":{"continue":["gas-dev"]}}"#.to_owned(),
    ] {
        let mut filter = ListFilter::new(JSON, only(&["oil-dev"]), RowObjects::Keep).unwrap();
        let mut out = BytesMut::new();
        let pushed = list.as_bytes().iter().try_for_each(|byte| filter.push(&[*byte], &mut out));
        assert_eq!(pushed, Err(Broken::Continued), "{list}");
        assert!(!String::from_utf8_lossy(&out).contains("gas"), "{list}");
    }
    let (_, seen) = run(
        JSON,
        &Keep::Everything,
        RowObjects::Keep,
        br#"{"kind":"XList","metadata":{"continue":"x"},"items":[]}"#,
        9,
    )
    .unwrap();
    assert!(seen.continued);
}

/// Answers of which not a byte beyond the outermost names may leave.
#[test]
fn an_answer_that_is_no_list_is_broken_and_nothing_of_it_goes_out() {
    for (name, answer) in [
        (
            "an object",
            r#"{"kind":"Secret","apiVersion":"v1","metadata":{"name":"gas"},"data":{"a":"gas"}}"#,
        ),
        (
            "an object of a custom kind",
            r#"{"apiVersion":"x/v1","kind":"Gas","metadata":{"name":"gas"},"spec":"gas"}"#,
        ),
        (
            "an object in another order",
            r#"{"data":{"a":"gas"},"metadata":{"name":"gas"},"kind":"Secret"}"#,
        ),
        (
            "an object without a kind",
            r#"{"data":{"a":"gas"},"metadata":{"name":"gas","labels":{"gas":"gas"}}}"#,
        ),
        (
            "a status",
            r#"{"kind":"Status","apiVersion":"v1","message":"gas"}"#,
        ),
        (
            "a list without items",
            r#"{"kind":"GasList","metadata":{}}"#,
        ),
        (
            "items that are none",
            r#"{"kind":"XList","items":{"gas":1}}"#,
        ),
        (
            "an item that is none",
            r#"{"kind":"XList","items":["gas"]}"#,
        ),
        ("a Table", r#"{"kind":"Table","rows":[{"cells":["gas"]}]}"#),
        ("no JSON", "gas"),
        ("an array", r#"["gas"]"#),
    ] {
        let mut filter = ListFilter::new(JSON, only(&["oil-dev"]), RowObjects::Keep).unwrap();
        let mut out = BytesMut::new();
        let pushed = answer
            .as_bytes()
            .chunks(3)
            .try_for_each(|chunk| filter.push(chunk, &mut out));
        let finished = pushed.and_then(|()| filter.finish(&mut out).map(|_| ()));
        assert!(finished.is_err(), "{name}");
        let out = String::from_utf8(out.to_vec()).unwrap();
        assert!(!out.contains("gas"), "{name}: {out}");
        let is_list = name == "a list without items";
        assert!(
            run(
                JSON,
                &Keep::Everything,
                RowObjects::Keep,
                answer.as_bytes(),
                3
            )
            .is_err()
                || is_list,
            "{name}, all kept"
        );
    }
}

#[test]
fn members_that_two_readers_could_read_differently_break_the_list() {
    for list in [
        r#"{"kind":"XList","items":[],"items":[{"metadata":{"name":"gas"}}]}"#,
        r#"{"kind":"XList","items":[],"it\u0065ms":[]}"#,
        r#"{"kind":"XList","metadata":{},"metadata":{},"items":[]}"#,
        r#"{"kind":"XList","kind":"YList","items":[]}"#,
        r#"{"kind":"XList","metadata":{"resourceVersion":"1","resourceVersion":"2"},"items":[]}"#,
        r#"{"kind":"XList","items":[{"metadata":{"name":"gas"},"metadata":{"name":"oil-dev"}}]}"#,
        r#"{"kind":"XList","items":[{"metadata":{"name":"gas","name":"oil-dev"}}]}"#,
        r#"{"kind":"XList","items":[]}x"#,
        r#"{"kind":"XList","items":[]}{}"#,
        r#"{"kind":"XList","items":[]"#,
        r#"{"kind":"XList","items":[{"metadata":{"name":"oil-dev"}}"#,
    ] {
        let out = run(
            JSON,
            &only(&["oil-dev"]),
            RowObjects::Keep,
            list.as_bytes(),
            7,
        );
        assert!(out.is_err(), "{list}: {out:?}");
    }
}

#[test]
fn names_are_found_where_they_are_and_nowhere_else() {
    for (item, kept) in [
        (r#"{"metadata":{"name":"oil-dev"}}"#, 1),
        (r#"{"metad\u0061ta":{"n\u0061me":"oil\u002ddev"}}"#, 1),
        (
            r#"{"spec":{"metadata":{"name":"gas"}},"metadata":{"labels":{"name":"gas"},"name":"oil-dev"}}"#,
            1,
        ),
        (
            r#"{"metadata":{"name":"gas"},"spec":{"metadata":{"name":"oil-dev"}}}"#,
            0,
        ),
        (r#"{"metadata":{"labels":{"name":"oil-dev"}}}"#, 0),
        (r#"{"metadata":{"Name":"oil-dev"}}"#, 0),
        (r#"{"metadata":{"name":["oil-dev"]}}"#, 0),
        (r#"{"metadata":["name","oil-dev"]}"#, 0),
        (r#"{"metadata":"oil-dev"}"#, 0),
        (r#"{"metadata":null}"#, 0),
        (r#"{"name":"oil-dev"}"#, 0),
        (r#"{"metadata":{"generateName":"oil-dev"}}"#, 0),
        (
            r#"{"metadata":{"ownerReferences":[{"name":"oil-dev"}],"managedFields":[{"f:name":{}}]}}"#,
            0,
        ),
        (r#"{}"#, 0),
    ] {
        let list = format!(r#"{{"kind":"XList","metadata":{{}},"items":[{item}]}}"#);
        let (_, seen) = run(
            JSON,
            &only(&["oil-dev"]),
            RowObjects::Keep,
            list.as_bytes(),
            5,
        )
        .unwrap();
        assert_eq!(seen.kept, kept, "{item}");
    }
}

const ROWS: &str = concat!(
    r#"{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"41","remainingItemCount":2},"columnDefinitions":[{"name":"Name","type":"string"}],"rows":["#,
    r#"{"cells":["gas-dev","Active","3d"],"object":{"kind":"PartialObjectMetadata","metadata":{"name":"gas-dev","uid":"1"}}},"#,
    r#"{"cells":["oil-dev","Active","gas"],"object":{"kind":"PartialObjectMetadata","metadata":{"name":"oil-dev","uid":"2"}}},"#,
    r#"{"cells":["nobody's"],"object":null},{"cells":["nobody's"]},{"object":{"metadata":{"name":"oil-dev"}},"cells":["{"]}]}"#,
);

#[test]
fn rows_are_dropped_by_their_object_and_so_are_those_without_one() {
    let expected = concat!(
        r#"{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"41"},"columnDefinitions":[{"name":"Name","type":"string"}],"rows":["#,
        r#"{"cells":["oil-dev","Active","gas"],"object":{"kind":"PartialObjectMetadata","metadata":{"name":"oil-dev","uid":"2"}}},"#,
        r#"{"object":{"metadata":{"name":"oil-dev"}},"cells":["{"]}]}"#,
    );
    let result = check_json(
        "rows",
        TABLE,
        &only(&["oil-dev"]),
        RowObjects::Keep,
        ROWS,
        expected,
    );
    assert_eq!(result, seen("41", 2, 3));
}

#[test]
fn row_objects_are_stripped_for_those_who_asked_for_none() {
    let head = r#"{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"41"},"columnDefinitions":[{"name":"Name","type":"string"}],"rows":["#;
    let mine =
        r#"{"cells":["oil-dev","Active","gas"],"object":null},{"object":null,"cells":["{"]}]}"#;
    let expected = format!("{head}{mine}");
    check_json(
        "filtered",
        TABLE,
        &only(&["oil-dev"]),
        RowObjects::Strip,
        ROWS,
        &expected,
    );
    let all = r#"{"cells":["gas-dev","Active","3d"],"object":null},{"cells":["oil-dev","Active","gas"],"object":null},{"cells":["nobody's"],"object":null},{"cells":["nobody's"]},{"object":null,"cells":["{"]}]}"#;
    let expected = format!("{head}{all}");
    check_json(
        "all kept",
        TABLE,
        &Keep::Everything,
        RowObjects::Strip,
        ROWS,
        &expected,
    );
}

#[test]
fn an_item_too_large_to_hold_is_broken() {
    let list = format!(
        r#"{{"kind":"XList","items":[{{"a":"{}"#,
        "x".repeat(MAX_ITEM)
    );
    let filtered = run(JSON, &only(&[]), RowObjects::Keep, list.as_bytes(), 1 << 20);
    assert!(matches!(
        filtered,
        Err(Broken::Wire(wire::Broken::TooLarge { .. }))
    ));
    let free = run(
        JSON,
        &Keep::Everything,
        RowObjects::Keep,
        list.as_bytes(),
        1 << 20,
    );
    assert_eq!(
        free,
        Err(Broken::Wire(wire::Broken::Short)),
        "what needs no judging needs no room"
    );
}

#[test]
fn what_nobody_reads_is_refused_at_once() {
    let yaml = Media {
        encoding: Encoding::Yaml,
        ..JSON
    };
    let table = Media {
        encoding: Encoding::Protobuf,
        ..TABLE
    };
    for media in [yaml, table] {
        assert_eq!(
            ListFilter::new(media, Keep::Everything, RowObjects::Keep).err(),
            Some(Broken::Encoding)
        );
        assert_eq!(named(media, b"{}"), Err(Broken::Encoding));
    }
}

mod in_protobuf {
    use super::*;

    fn message(fields: &[(u32, &[u8])]) -> Vec<u8> {
        let mut message = Vec::new();
        for (number, content) in fields {
            put(*number, content, &mut message);
        }
        message
    }

    fn item(name: &str) -> Vec<u8> {
        message(&[
            (1, &message(&[(1, name.as_bytes()), (5, b"uid")])),
            (2, &[0xff; 200]),
        ])
    }

    fn list_meta(remaining: bool, token: &[u8]) -> Vec<u8> {
        let mut meta = message(&[(1, b""), (2, b"41"), (3, token)]);
        if remaining {
            put_integer(4, 300, &mut meta);
        }
        meta
    }

    fn list(kind: &str, meta: &[u8], names: &[&str], extra: &[(u32, &[u8])]) -> Vec<u8> {
        let mut content = message(&[(1, meta)]);
        for name in names {
            put(2, &item(name), &mut content);
        }
        content.extend(message(extra));
        let type_meta = message(&[(1, b"v1"), (2, kind.as_bytes())]);
        [
            MAGIC,
            &message(&[(1, &type_meta), (2, &content), (3, b""), (4, b"")]),
        ]
        .concat()
    }

    fn filtered(keep: &Keep, input: &[u8]) -> Result<(Vec<u8>, Seen), Broken> {
        let whole = run(PROTOBUF, keep, RowObjects::Keep, input, input.len().max(1));
        for size in (1..30).chain([1000]) {
            assert_eq!(
                run(PROTOBUF, keep, RowObjects::Keep, input, size),
                whole,
                "in chunks of {size}"
            );
        }
        whole
    }

    #[test]
    fn items_are_dropped_and_all_lengths_are_right() {
        let input = list(
            "NamespaceList",
            &list_meta(true, b""),
            &["gas", "oil", "gas", "oil-dev"],
            &[(9, b"gas")],
        );
        for names in [&["oil"][..], &["oil", "oil-dev"], &[]] {
            let expected = list("NamespaceList", &list_meta(false, b""), names, &[]);
            let (out, seen) = filtered(&only(names), &input).unwrap();
            assert_eq!(out, expected, "{names:?}");
            assert_eq!(
                (seen.kept, seen.dropped, seen.unknown),
                (names.len() as u64, 4 - names.len() as u64, 1)
            );
            assert_eq!(seen.resource_version.as_deref(), Some("41"));
        }
    }

    #[test]
    fn a_list_kept_whole_streams_and_does_not_tell_what_remains() {
        let input = list(
            "NamespaceList",
            &list_meta(true, b"token"),
            &["gas", "oil"],
            &[(9, b"new")],
        );
        let expected = list(
            "NamespaceList",
            &list_meta(false, b"token"),
            &["gas", "oil"],
            &[(9, b"new")],
        );
        let (out, seen) = filtered(&Keep::Everything, &input).unwrap();
        assert_eq!(out, expected);
        assert!(seen.continued && seen.kept == 2);

        let mut filter = ListFilter::new(PROTOBUF, Keep::Everything, RowObjects::Keep).unwrap();
        let mut out = BytesMut::new();
        filter.push(&input[..input.len() - 300], &mut out).unwrap();
        assert_eq!(out, expected[..expected.len() - 300], "nothing is held");
    }

    #[test]
    fn lists_without_items_or_metadata_pass() {
        for keep in [Keep::Everything, only(&["oil"])] {
            let empty = list("XList", &list_meta(false, b""), &[], &[]);
            assert_eq!(filtered(&keep, &empty).unwrap().0, empty);
            let type_meta = message(&[(2, b"XList")]);
            let bare = [
                MAGIC,
                &message(&[(1, &type_meta), (2, &message(&[(2, &item("oil"))]))]),
            ]
            .concat();
            assert_eq!(filtered(&keep, &bare).unwrap().0, bare);
        }
    }

    #[test]
    fn what_is_not_one_plain_list_is_broken() {
        let meta = list_meta(false, b"");
        let type_meta = message(&[(2, b"XList")]);
        let envelope = |fields: &[(u32, &[u8])]| [MAGIC, &message(fields)].concat();
        let content = message(&[(1, &meta), (2, &item("oil"))]);
        for (name, input, all_too) in [
            (
                "an object",
                envelope(&[(1, &message(&[(2, b"Secret")])), (2, &item("gas"))]),
                true,
            ),
            (
                "a page",
                list("XList", &list_meta(false, b"gas"), &["oil"], &[]),
                false,
            ),
            ("no magic", content.clone(), true),
            ("nothing", Vec::new(), true),
            ("no content", envelope(&[(1, &type_meta)]), true),
            (
                "content before type",
                envelope(&[(2, &content), (1, &type_meta)]),
                true,
            ),
            (
                "content twice",
                envelope(&[(1, &type_meta), (2, &content), (2, &content)]),
                true,
            ),
            (
                "type twice",
                envelope(&[(1, &type_meta), (1, &type_meta), (2, &content)]),
                true,
            ),
            (
                "encoded content",
                envelope(&[(1, &type_meta), (2, &content), (3, b"gzip")]),
                true,
            ),
            (
                "metadata behind items",
                envelope(&[
                    (1, &type_meta),
                    (2, &message(&[(2, &item("oil")), (1, &meta)])),
                ]),
                true,
            ),
            (
                "metadata twice",
                envelope(&[(1, &type_meta), (2, &message(&[(1, &meta), (1, &meta)]))]),
                true,
            ),
            (
                "two names in one item",
                envelope(&[
                    (1, &type_meta),
                    (2, &message(&[(2, &[item("gas"), item("oil")].concat())])),
                ]),
                false,
            ),
            (
                "half a list",
                list("XList", &meta, &["oil"], &[])[..100].to_vec(),
                true,
            ),
            (
                "an item longer than its list",
                envelope(&[(1, &type_meta), (2, &content[..content.len() - 1])]),
                true,
            ),
        ] {
            let out = run(PROTOBUF, &only(&["oil"]), RowObjects::Keep, &input, 7);
            assert!(out.is_err(), "{name}: {out:?}");
            assert_eq!(
                run(PROTOBUF, &Keep::Everything, RowObjects::Keep, &input, 7).is_err(),
                all_too,
                "{name}, all kept"
            );
        }
    }

    #[test]
    fn a_filtered_list_holds_so_much_and_no_more() {
        let name = "x".repeat(MAX_ITEM - 1000);
        let mut filter = ListFilter::new(PROTOBUF, only(&["oil"]), RowObjects::Keep).unwrap();
        let big = message(&[(1, &message(&[(1, b"oil")])), (2, name.as_bytes())]);
        let content = message(&[(2, &big), (2, &big), (2, &big), (2, &big), (2, &big)]);
        let input = [
            MAGIC,
            &message(&[(1, &message(&[(2, b"XList")])), (2, &content)]),
        ]
        .concat();
        let pushed = filter.push(&input, &mut BytesMut::new());
        assert_eq!(pushed, Err(Broken::Held(MAX_KEPT)));
        let filter = ListFilter::new(PROTOBUF, only(&["oil"]), RowObjects::Keep).unwrap();
        let mut filter = filter.holding_at_most(MAX_ITEM);
        assert_eq!(
            filter.push(&input, &mut BytesMut::new()),
            Err(Broken::Held(MAX_ITEM))
        );
    }

    #[test]
    fn one_object_is_named() {
        let type_meta = message(&[(2, b"Namespace")]);
        let body = [MAGIC, &message(&[(1, &type_meta), (2, &item("oil-dev"))])].concat();
        assert_eq!(named(PROTOBUF, &body), Ok("oil-dev".to_owned()));
        assert!(named(PROTOBUF, &body[..body.len() - 1]).is_err());
    }
}

#[test]
fn one_object_is_named_by_its_metadata() {
    let object = br#"{"kind":"Namespace","metadata":{"uid":"1","name":"oil-dev"},"spec":{"metadata":{"name":"gas"}}}"#;
    assert_eq!(named(JSON, object), Ok("oil-dev".to_owned()));
    let table = br#"{"kind":"Table","metadata":{},"rows":[{"cells":["gas"],"object":{"metadata":{"name":"oil-dev"}}}]}"#;
    assert_eq!(named(TABLE, table), Ok("oil-dev".to_owned()));
    for (name, media, body) in [
        ("a status", JSON, &br#"{"kind":"Status","metadata":{},"status":"Failure"}"#[..]),
        ("half an object", JSON, br#"{"metadata":{"name":"oil-dev"}"#),
        ("two documents", JSON, br#"{"metadata":{"name":"oil-dev"}}{}"#),
        ("two names", JSON, br#"{"metadata":{"name":"oil-dev","name":"gas"}}"#),
        ("a Table of two", TABLE, br#"{"kind":"Table","rows":[{"object":{"metadata":{"name":"a"}}},{"object":{"metadata":{"name":"b"}}}]}"#),
        ("a Table of none", TABLE, br#"{"kind":"Table","rows":[]}"#),
        ("no Table", TABLE, object),
    ] {
        assert!(named(media, body).is_err(), "{name}");
    }
}

fn random_list() -> impl Strategy<Value = (serde_json::Value, Vec<bool>)> {
    let item = (any::<bool>(), ".{0,8}", prop::collection::btree_map("[a-z\"\\\\é]{0,4}", ".{0,6}", 0..4)).prop_map(
        |(mine, junk, labels)| {
            let name = if mine { "oil-dev" } else { "gas-secret" };
            let spec = serde_json::json!({ "junk": junk, "metadata": { "name": "oil-dev" }, "n": [1.5, null, true, {}] });
            let item = serde_json::json!({ "spec": spec, "metadata": { "labels": labels, "name": name } });
            (item, mine)
        },
    );
    prop::collection::vec(item, 0..12).prop_map(|items| {
        let (items, mine): (Vec<_>, Vec<_>) = items.into_iter().unzip();
        let list = serde_json::json!({ "kind": "XList", "metadata": { "resourceVersion": "7" }, "items": items });
        (list, mine)
    })
}

proptest! {
    /// Against the trivial model: parse all, keep what may be kept, compare as values.
    #[test]
    fn a_filtered_list_is_what_a_reader_would_have_kept((list, mine) in random_list(), size in 1_usize..64, pretty: bool) {
        let input = if pretty { serde_json::to_vec_pretty(&list) } else { serde_json::to_vec(&list) }.unwrap();
        let (out, seen) = run(JSON, &only(&["oil-dev"]), RowObjects::Keep, &input, size).unwrap();
        let mut expected = list;
        let mut verdict = mine.iter();
        expected["items"].as_array_mut().unwrap().retain(|_| *verdict.next().unwrap());
        prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(&out).unwrap(), expected);
        prop_assert_eq!(seen.kept, mine.iter().filter(|mine| **mine).count() as u64);
        prop_assert!(!String::from_utf8_lossy(&out).contains("gas-secret"));
    }

    /// A byte changed anywhere: never a byte of a hidden item, whatever becomes of the rest.
    #[test]
    fn a_damaged_list_hides_as_well(at: prop::sample::Index, byte: u8, size in 1_usize..64) {
        let mut input = TYPED.replace("\"gas-dev\",\"uid\":\"1\"", "\"gas-dev\",\"uid\":\"secret\"").into_bytes();
        let name = TYPED.find("gas-dev").unwrap();
        let at = at.index(input.len());
        // A changed name is another object, which the rule judges as well; the member names around it count.
        prop_assume!(!(name..name + 7).contains(&at));
        input[at] = byte;
        let mut filter = ListFilter::new(JSON, only(&["oil-dev"]), RowObjects::Keep).unwrap();
        let mut out = BytesMut::new();
        let _broken = input.chunks(size).try_for_each(|chunk| filter.push(chunk, &mut out));
        prop_assert!(!String::from_utf8_lossy(&out).contains("secret"));
    }
}

fn named(media: Media, body: &[u8]) -> Result<String, Broken> {
    meta_of(media, body, Wanted::Names).map(|meta| meta.name)
}

/// Objects labelled `tier=gold`, and the one called `b`.
fn gold_or_b() -> Keep {
    let gold = LabelSelector::parse("tier=gold").unwrap();
    let b = Objects::Named([ObjectName::parse("b").unwrap()].into());
    Keep::Any([Objects::Labelled(gold), b].into())
}

#[test]
fn items_are_dropped_by_labels_wherever_these_stand() {
    let keep = gold_or_b();
    for (item, passes) in [
        (
            r#"{"metadata":{"name":"a","labels":{"tier":"gold"}}}"#,
            true,
        ),
        (
            r#"{"metadata":{"labels":{"tier":"gold","x":"y"},"name":"a"},"kind":"X"}"#,
            true,
        ),
        (
            r#"{"spec":{"labels":{"tier":"gold"}},"metadata":{"name":"a","labels":{"t\u0069er":"go\u006cd"}}}"#,
            true,
        ),
        (r#"{"metadata":{"name":"b"}}"#, true),
        (
            r#"{"metadata":{"name":"a","labels":{"tier":"silver"}}}"#,
            false,
        ),
        (r#"{"metadata":{"name":"a","labels":{}}}"#, false),
        (r#"{"metadata":{"name":"a","labels":null}}"#, false),
        (
            r#"{"metadata":{"name":"a"},"labels":{"tier":"gold"}}"#,
            false,
        ),
        (
            r#"{"metadata":{"name":"a","annotations":{"tier":"gold"}},"spec":{"metadata":{"labels":{"tier":"gold"}}}}"#,
            false,
        ),
    ] {
        let list = |items: &str| {
            format!(
                r#"{{"apiVersion":"v1","items":[{items}],"kind":"XList","metadata":{{"resourceVersion":"7"}}}}"#
            )
        };
        let expected = if passes { item } else { "" };
        check_json(
            item,
            JSON,
            &keep,
            RowObjects::Keep,
            &list(item),
            &list(expected),
        );
        let row = |object: &str| format!(r#"{{"cells":["a"],"object":{object}}}"#);
        let table = |rows: &str| {
            format!(
                r#"{{"kind":"Table","metadata":{{"resourceVersion":"7"}},"columnDefinitions":[],"rows":[{rows}]}}"#
            )
        };
        for (rows, stripped) in [(RowObjects::Keep, item), (RowObjects::Strip, "null")] {
            let expected = if passes { row(stripped) } else { String::new() };
            check_json(
                item,
                TABLE,
                &keep,
                rows,
                &table(&row(item)),
                &table(&expected),
            );
        }
    }
}

#[test]
fn labels_that_cannot_be_read_end_the_list() {
    let keep = gold_or_b();
    for labels in [
        r#"{"tier":1}"#,
        r#"{"tier":null}"#,
        r#"{"tier":["gold"]}"#,
        r#"{"tier":{"a":"gold"}}"#,
        r#"{"tier":"silver","tier":"gold"}"#,
        r#"{"tier":"silver"},"labels":{"tier":"gold"}"#,
    ] {
        let list = format!(
            r#"{{"kind":"XList","metadata":{{}},"items":[{{"metadata":{{"name":"a","labels":{labels}}}}}]}}"#
        );
        let out = run(JSON, &keep, RowObjects::Keep, list.as_bytes(), list.len());
        assert!(out.is_err(), "{labels}");
        // Where they are not wanted they are nobody's business.
        let by_name = only(&["a"]);
        let named = run(
            JSON,
            &by_name,
            RowObjects::Keep,
            list.as_bytes(),
            list.len(),
        );
        assert!(named.is_ok(), "{labels}");
    }
}

#[test]
fn names_are_noted_of_what_may_be_seen() {
    let list = concat!(
        r#"{"kind":"PartialObjectMetadataList","metadata":{"resourceVersion":"7"},"items":["#,
        r#"{"metadata":{"name":"a","labels":{"tier":"gold"}}},{"metadata":{"name":"c"}},{"metadata":{"name":"b"}}]}"#
    );
    for (keep, names) in [
        (gold_or_b(), &["a", "b"][..]),
        (Keep::Everything, &["a", "c", "b"]),
    ] {
        let mut filter = ListFilter::for_names(keep);
        let mut out = BytesMut::new();
        filter.push(list.as_bytes(), &mut out).unwrap();
        let seen = filter.finish(&mut out).unwrap();
        let noted: Vec<&str> = seen.noted.iter().map(|meta| meta.name.as_str()).collect();
        assert_eq!(noted, names);
    }
}
