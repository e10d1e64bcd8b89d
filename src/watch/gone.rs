//! A DELETED event for an object that may no longer be seen: it names the object, and says nothing of what it has become.
//! Its resourceVersion is the event's, as the API server does it for what leaves a selector.

use serde_json::Value;
use serde_json::json;

use crate::filter;
use crate::filter::RowObjects;
use crate::k8s::media::Media;
use crate::k8s::media::Shape;
use crate::wire::Layout;
use crate::wire::event::EventType;
use crate::wire::event::type_bytes;
use crate::wire::frames::Frame;
use crate::wire::frames::Framing;
use crate::wire::object::ObjectMeta;
use crate::wire::protobuf;
use crate::wire::protobuf::field;

/// `apiVersion` and `kind` of the watched objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectKind {
    /// `v1`, `storage.k8s.io/v1`.
    pub api_version: String,
    /// `Node`.
    pub kind: String,
}

impl ObjectKind {
    /// What objects of this kind are turned into when only their metadata is asked for, and in the rows of Tables.
    fn partial() -> Self {
        Self {
            api_version: "meta.k8s.io/v1".to_owned(),
            kind: "PartialObjectMetadata".to_owned(),
        }
    }

    fn of(&self, media: Media) -> Self {
        match media.shape {
            Shape::Object => self.clone(),
            Shape::PartialObjectMetadata | Shape::Table(_) => Self::partial(),
        }
    }
}

/// The frame that says that the object `meta` names is gone. `None` for what is never watched.
pub(super) fn gone_frame(
    media: Media,
    kind: &ObjectKind,
    rows: RowObjects,
    meta: &ObjectMeta,
) -> Option<Frame> {
    let kind = kind.of(media);
    match filter::layout(media)? {
        Layout::Json => Some(event(object(&kind, meta))),
        Layout::Table => {
            let object = match rows {
                RowObjects::Keep => object(&kind, meta),
                RowObjects::Strip => Value::Null,
            };
            Some(event(json!({
                "kind": "Table", "apiVersion": "meta.k8s.io/v1",
                "metadata": {"resourceVersion": meta.resource_version},
                "columnDefinitions": null,
                "rows": [{"cells": [meta.name], "object": object}],
            })))
        }
        Layout::Protobuf => {
            let mut extension = Vec::new();
            let object = object_in_protobuf(&kind, meta);
            protobuf::put(field::raw_extension::RAW, &object, &mut extension);
            let mut event = type_bytes(Layout::Protobuf, EventType::Deleted);
            protobuf::put(field::watch_event::OBJECT, &extension, &mut event);
            Some(Frame::new(Framing::LengthPrefixed, &event))
        }
    }
}

fn event(object: Value) -> Frame {
    let document = json!({"type": EventType::Deleted.as_str(), "object": object});
    Frame::new(Framing::Json, document.to_string().as_bytes())
}

fn object(kind: &ObjectKind, meta: &ObjectMeta) -> Value {
    json!({
        "kind": kind.kind, "apiVersion": kind.api_version,
        "metadata": {
            "name": meta.name, "uid": meta.uid, "resourceVersion": meta.resource_version,
        },
    })
}

fn object_in_protobuf(kind: &ObjectKind, meta: &ObjectMeta) -> Vec<u8> {
    let mut type_meta = Vec::new();
    protobuf::put(
        field::type_meta::API_VERSION,
        kind.api_version.as_bytes(),
        &mut type_meta,
    );
    protobuf::put(field::type_meta::KIND, kind.kind.as_bytes(), &mut type_meta);
    let mut metadata = Vec::new();
    for (number, text) in [
        (field::object_meta::NAME, &meta.name),
        (field::object_meta::UID, &meta.uid),
        (field::object_meta::RESOURCE_VERSION, &meta.resource_version),
    ] {
        protobuf::put(number, text.as_bytes(), &mut metadata);
    }
    let mut object = Vec::new();
    protobuf::put(field::object::METADATA, &metadata, &mut object);
    let mut document = protobuf::MAGIC.to_vec();
    protobuf::put(field::unknown::TYPE_META, &type_meta, &mut document);
    protobuf::put(field::unknown::RAW, &object, &mut document);
    protobuf::put(field::unknown::CONTENT_ENCODING, b"", &mut document);
    protobuf::put(field::unknown::CONTENT_TYPE, b"", &mut document);
    document
}
