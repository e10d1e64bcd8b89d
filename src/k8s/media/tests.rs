//! Tests of `k8s::media`.

use super::*;

const LIST: Offer = Offer {
    watch: false,
    filtered: true,
    protobuf: true,
};
const WATCH: Offer = Offer {
    watch: true,
    ..LIST
};
const PUSHED_DOWN: Offer = Offer {
    filtered: false,
    ..LIST
};
const CUSTOM: Offer = Offer {
    protobuf: false,
    ..LIST
};

/// What is sent upstream, or `406`.
fn negotiate(accept: &str, offer: Offer) -> &'static str {
    Media::negotiate(Some(accept), offer).map_or("406", |media| media.accept(offer.watch))
}

const KUBECTL: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
const TYPED: &str = "application/vnd.kubernetes.protobuf,application/json";
const METADATA: &str = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,\
    application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

#[test]
fn the_first_acceptable_clause_is_asked_for_in_one_canonical_form() {
    for (name, accept, offer, wanted) in [
        ("none", "", LIST, JSON),
        (
            "kubectl",
            KUBECTL,
            LIST,
            "application/json;as=Table;v=v1;g=meta.k8s.io",
        ),
        (
            "kubectl -w",
            KUBECTL,
            WATCH,
            "application/json;as=Table;v=v1;g=meta.k8s.io",
        ),
        (
            "old kubectl",
            "application/json;as=Table;v=v1beta1;g=meta.k8s.io, application/json",
            LIST,
            "application/json;as=Table;v=v1beta1;g=meta.k8s.io",
        ),
        ("client-go", TYPED, LIST, PROTOBUF),
        ("client-go watch", TYPED, WATCH, PROTOBUF_WATCH),
        (
            "client-go watch, as sent",
            "application/vnd.kubernetes.protobuf;stream=watch,application/json;stream=watch",
            WATCH,
            PROTOBUF_WATCH,
        ),
        ("client-go, custom resource", TYPED, CUSTOM, JSON),
        (
            "protobuf only, custom resource: the API server answers",
            PROTOBUF,
            CUSTOM,
            PROTOBUF,
        ),
        (
            "metadata client",
            METADATA,
            LIST,
            "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
        ),
        (
            "metadata client, custom resource",
            METADATA,
            CUSTOM,
            "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
        ),
        (
            "metadata watch",
            "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
            WATCH,
            "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
        ),
        (
            "the single form for a list",
            "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
            LIST,
            "406",
        ),
        ("wildcard", "*/*", LIST, JSON),
        ("half a wildcard", "application/*", LIST, JSON),
        ("a lone star", "*", LIST, JSON),
        (
            "wildcard table",
            "*/*;as=Table;v=v1;g=meta.k8s.io",
            LIST,
            "application/json;as=Table;v=v1;g=meta.k8s.io",
        ),
        (
            "text is not served",
            "text/html,application/xhtml+xml",
            LIST,
            "406",
        ),
        (
            "a browser",
            "text/html,application/xml;q=0.9,*/*;q=0.8",
            LIST,
            JSON,
        ),
        (
            "cbor is passed over",
            "application/cbor,application/json",
            LIST,
            JSON,
        ),
        (
            "cbor first by q",
            "application/cbor, application/json;q=0.9",
            WATCH,
            JSON,
        ),
        ("cbor alone", "application/cbor", LIST, "406"),
        ("cbor-seq alone", "application/cbor-seq", WATCH, "406"),
        (
            "q decides",
            "application/json;q=0.5,application/vnd.kubernetes.protobuf;q=0.9",
            LIST,
            PROTOBUF,
        ),
        (
            "equal q keeps the order",
            "application/json;q=0.5,application/vnd.kubernetes.protobuf;q=0.5",
            LIST,
            JSON,
        ),
        (
            "q=0 is last, not excluded",
            "application/json;q=0",
            LIST,
            JSON,
        ),
        (
            "a broken q is 0",
            "application/json;q=x,application/vnd.kubernetes.protobuf;q=0.1",
            LIST,
            PROTOBUF,
        ),
        (
            "specific goes before a wildcard",
            "*/*,application/vnd.kubernetes.protobuf",
            LIST,
            PROTOBUF,
        ),
        (
            "table in protobuf is passed over",
            "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/json",
            LIST,
            JSON,
        ),
        (
            "unknown transform",
            "application/json;as=Chart;v=v1;g=meta.k8s.io,application/vnd.kubernetes.protobuf",
            LIST,
            PROTOBUF,
        ),
        (
            "transform without group",
            "application/json;as=Table;v=v1",
            LIST,
            "406",
        ),
        ("unknown stream", "application/json;stream=x", WATCH, "406"),
        (
            "pretty, profile and unknown ones are ignored",
            "application/json;pretty=1;profile=x;y=z",
            LIST,
            JSON,
        ),
        (
            "yaml where a selector says all",
            "application/yaml",
            PUSHED_DOWN,
            YAML,
        ),
        (
            "yaml table",
            "application/yaml;as=Table;v=v1;g=meta.k8s.io",
            PUSHED_DOWN,
            "application/yaml;as=Table;v=v1;g=meta.k8s.io",
        ),
        (
            "yaml that we would have to read",
            "application/yaml",
            LIST,
            "406",
        ),
        (
            "yaml, else json",
            "application/yaml,application/json",
            LIST,
            JSON,
        ),
        (
            "yaml watch",
            "application/yaml",
            Offer {
                watch: true,
                ..PUSHED_DOWN
            },
            "406",
        ),
        (
            "blanks",
            " application/json ; as=Table ; v=v1 ; g=meta.k8s.io ",
            LIST,
            "application/json;as=Table;v=v1;g=meta.k8s.io",
        ),
        ("no clause at all", ",;,/,a", LIST, "406"),
    ] {
        assert_eq!(negotiate(accept, offer), wanted, "{name}");
    }
    assert_eq!(Media::negotiate(None, LIST), Some(Media::JSON));
}

#[test]
fn too_many_clauses_are_not_sorted() {
    assert_eq!(
        negotiate(&"application/json,".repeat(MAX_CLAUSES), LIST),
        JSON
    );
    assert_eq!(
        negotiate(&"application/json,".repeat(MAX_CLAUSES + 1), LIST),
        "406"
    );
}

#[test]
fn what_is_asked_for_upstream_is_what_was_negotiated() {
    for watch in [false, true] {
        for (encoding, shape) in [
            (Encoding::Json, Shape::Object),
            (Encoding::Json, Shape::Table(TableVersion::V1)),
            (Encoding::Json, Shape::Table(TableVersion::V1Beta1)),
            (Encoding::Json, Shape::PartialObjectMetadata),
            (Encoding::Protobuf, Shape::Object),
            (Encoding::Protobuf, Shape::PartialObjectMetadata),
        ] {
            let media = Media { encoding, shape };
            let offer = Offer { watch, ..LIST };
            assert_eq!(
                Media::negotiate(Some(media.accept(watch)), offer),
                Some(media)
            );
            assert!(media.is_answered_by(media.content_type(watch), watch));
        }
    }
}

#[test]
fn another_content_type_is_no_answer() {
    let protobuf = Media {
        encoding: Encoding::Protobuf,
        shape: Shape::Object,
    };
    for (media, content_type, watch, wanted) in [
        (Media::JSON, "application/json", false, true),
        (Media::JSON, "application/json; charset=utf-8", false, true),
        (Media::JSON, "application/json;stream=watch", true, true),
        (Media::JSON, "application/json;stream=watch", false, false),
        (Media::JSON, "application/json;as=Table", false, false),
        (Media::JSON, "text/plain", false, false),
        (Media::JSON, "", false, false),
        (protobuf, PROTOBUF, false, true),
        (protobuf, PROTOBUF, true, false),
        (protobuf, PROTOBUF_WATCH, true, true),
        (protobuf, PROTOBUF_WATCH, false, false),
        (protobuf, "application/json", false, false),
    ] {
        assert_eq!(
            media.is_answered_by(content_type, watch),
            wanted,
            "{content_type} {watch}"
        );
    }
}

proptest::proptest! {
    #[test]
    fn any_line_is_answered(accept in "[a-z*/;,=q0.5 ]{0,40}", watch: bool, filtered: bool, protobuf: bool) {
        let _ = Media::negotiate(Some(&accept), Offer { watch, filtered, protobuf });
    }
}
