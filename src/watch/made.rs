//! Events that the API server did not send: DELETED for an object that may no longer be seen, which names it and says
//! nothing of what it has become, and BOOKMARK for a stream that is put together. Nothing else is ever made up.

use serde_json::Value;
use serde_json::json;

use super::guard::Position;
use crate::catalog::KindFacts;
use crate::filter;
use crate::filter::RowObjects;
use crate::k8s::media::Media;
use crate::k8s::media::Shape;
use crate::wire::Layout;
use crate::wire::event::EventType;
use crate::wire::event::type_bytes;
use crate::wire::frames::Frame;
use crate::wire::frames::Framing;
use crate::wire::object::INITIAL_EVENTS_END;
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
    /// Of the objects of a kind.
    pub fn of(kind: &KindFacts) -> Self {
        Self {
            api_version: kind.api_version(),
            kind: kind.kind.to_string(),
        }
    }

    /// What objects of this kind are turned into when only their metadata is asked for, and in the rows of Tables.
    fn partial() -> Self {
        Self {
            api_version: "meta.k8s.io/v1".to_owned(),
            kind: "PartialObjectMetadata".to_owned(),
        }
    }

    fn shaped(&self, media: Media) -> Self {
        match media.shape {
            Shape::Object => self.clone(),
            Shape::PartialObjectMetadata | Shape::Table(_) => Self::partial(),
        }
    }
}

/// The frame that says that the object `meta` names is gone; a Table's row has so many `cells`, of which the first is the
/// name. `None` for what is never watched.
pub(super) fn gone_frame(
    media: Media,
    kind: &ObjectKind,
    rows: RowObjects,
    cells: usize,
    meta: &ObjectMeta,
) -> Option<Frame> {
    let kind = kind.shaped(media);
    match filter::layout(media)? {
        Layout::Json => Some(event(EventType::Deleted, &object(&kind, meta))),
        Layout::Table => {
            let object = match rows {
                RowObjects::Keep => object(&kind, meta),
                RowObjects::Strip => Value::Null,
            };
            let mut row = vec![Value::Null; cells.saturating_sub(1)];
            row.insert(0, Value::from(meta.name.as_str()));
            let table = table(&row, &meta.resource_version, &object);
            Some(event(EventType::Deleted, &table))
        }
        Layout::Protobuf => {
            let mut metadata = Vec::new();
            for (number, text) in [
                (field::object_meta::NAME, &meta.name),
                (field::object_meta::UID, &meta.uid),
                (field::object_meta::RESOURCE_VERSION, &meta.resource_version),
            ] {
                protobuf::put(number, text.as_bytes(), &mut metadata);
            }
            Some(event_in_protobuf(EventType::Deleted, &kind, &metadata))
        }
    }
}

/// The frame that says that everything up to `position` was sent, and, if it `ends_initial_events`, that the present state
/// was (KEP-3157). `None` for what is never watched.
pub(super) fn bookmark_frame(
    media: Media,
    kind: &ObjectKind,
    position: Position,
    ends_initial_events: bool,
) -> Option<Frame> {
    let kind = kind.shaped(media);
    let position = position.0.to_string();
    match filter::layout(media)? {
        Layout::Json => {
            let object = bookmark(&kind, &position, ends_initial_events);
            Some(event(EventType::Bookmark, &object))
        }
        // Its row keeps its object even where rows come without: it is what the event is about.
        Layout::Table => {
            let object = bookmark(&kind, &position, ends_initial_events);
            Some(event(
                EventType::Bookmark,
                &table(&[Value::from("")], &position, &object),
            ))
        }
        Layout::Protobuf => {
            let mut metadata = Vec::new();
            let version = field::object_meta::RESOURCE_VERSION;
            protobuf::put(version, position.as_bytes(), &mut metadata);
            if ends_initial_events {
                let mut entry = Vec::new();
                protobuf::put(
                    field::map_entry::KEY,
                    INITIAL_EVENTS_END.as_bytes(),
                    &mut entry,
                );
                protobuf::put(field::map_entry::VALUE, b"true", &mut entry);
                protobuf::put(field::object_meta::ANNOTATIONS, &entry, &mut metadata);
            }
            Some(event_in_protobuf(EventType::Bookmark, &kind, &metadata))
        }
    }
}

fn bookmark(kind: &ObjectKind, position: &str, ends_initial_events: bool) -> Value {
    let mut metadata = json!({"resourceVersion": position, "creationTimestamp": null});
    if ends_initial_events && let Some(metadata) = metadata.as_object_mut() {
        let annotations = json!({INITIAL_EVENTS_END: "true"});
        metadata.insert("annotations".to_owned(), annotations);
    }
    json!({"kind": kind.kind, "apiVersion": kind.api_version, "metadata": metadata})
}

fn event(kind: EventType, object: &Value) -> Frame {
    let document = json!({"type": kind.as_str(), "object": object});
    Frame::new(Framing::Json, document.to_string().as_bytes())
}

fn table(cells: &[Value], position: &str, object: &Value) -> Value {
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": position},
        "columnDefinitions": null,
        "rows": [{"cells": cells, "object": object}],
    })
}

fn object(kind: &ObjectKind, meta: &ObjectMeta) -> Value {
    let mut metadata = json!({
        "name": meta.name, "uid": meta.uid, "resourceVersion": meta.resource_version,
    });
    if let Some(metadata) = metadata.as_object_mut()
        && !meta.namespace.is_empty()
    {
        metadata.insert("namespace".to_owned(), meta.namespace.as_str().into());
    }
    json!({"kind": kind.kind, "apiVersion": kind.api_version, "metadata": metadata})
}

/// An event about an object that is its metadata and nothing else.
fn event_in_protobuf(what: EventType, kind: &ObjectKind, metadata: &[u8]) -> Frame {
    let mut type_meta = Vec::new();
    let api_version = kind.api_version.as_bytes();
    protobuf::put(field::type_meta::API_VERSION, api_version, &mut type_meta);
    protobuf::put(field::type_meta::KIND, kind.kind.as_bytes(), &mut type_meta);
    let mut object = Vec::new();
    protobuf::put(field::object::METADATA, metadata, &mut object);
    let mut document = protobuf::MAGIC.to_vec();
    protobuf::put(field::unknown::TYPE_META, &type_meta, &mut document);
    protobuf::put(field::unknown::RAW, &object, &mut document);
    protobuf::put(field::unknown::CONTENT_ENCODING, b"", &mut document);
    protobuf::put(field::unknown::CONTENT_TYPE, b"", &mut document);
    let mut extension = Vec::new();
    protobuf::put(field::raw_extension::RAW, &document, &mut extension);
    let mut event = type_bytes(Layout::Protobuf, what);
    protobuf::put(field::watch_event::OBJECT, &extension, &mut event);
    Frame::new(Framing::LengthPrefixed, &event)
}
