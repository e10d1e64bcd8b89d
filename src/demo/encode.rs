//! Objects, lists and watch events as bytes, in the form a client negotiated.
//!
//! Key order is the API server's, because clients and filters meet it: typed lists begin with kind, apiVersion and
//! metadata, lists of custom resources are alphabetical, so that their metadata comes last.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::kinds::Kind;
use super::negotiate::Form;
use super::negotiate::Include;
use super::negotiate::TableVersion;
use super::object::Object;
use super::object::map_in;
use super::object::object_mut;
use super::status::Failure;
use super::table;
use super::table::Column;

/// Writes objects of one kind in one form.
pub(crate) struct Encoder {
    kind: Kind,
    form: Form,
    columns: Vec<Column>,
}

impl Encoder {
    pub(crate) fn new(kind: Kind, form: Form) -> Self {
        let columns = match form {
            Form::Table { .. } => table::columns(&kind),
            Form::Object | Form::Partial => Vec::new(),
        };
        Self {
            kind,
            form,
            columns,
        }
    }

    /// One object on its own, with `apiVersion` and `kind`.
    pub(crate) fn object(&self, value: &Value) -> String {
        let whole = || whole(&self.kind, value);
        match self.form {
            Form::Object if self.kind.is_custom() => whole().to_string(),
            Form::Object => typed(&self.kind, value),
            Form::Partial => table::partial(&whole(), TableVersion::V1).to_string(),
            Form::Table { version, include } => {
                self.table(&[whole()], version, include, value.get("metadata"), true)
            }
        }
    }

    /// A list with its `ListMeta`.
    pub(crate) fn list(&self, metadata: &Value, objects: &[Arc<Object>]) -> String {
        let wholes = || {
            objects
                .iter()
                .map(|object| whole(&self.kind, &object.value))
        };
        let api_version = self.kind.api_version();
        let kind = &self.kind.kind;
        match self.form {
            Form::Object if self.kind.is_custom() => {
                let items = joined(wholes());
                // Unstructured lists write it even where it is empty.
                let mut metadata = metadata.clone();
                object_mut(&mut metadata)
                    .entry("continue")
                    .or_insert_with(|| "".into());
                format!(
                    r#"{{"apiVersion":"{api_version}","items":[{items}],"kind":"{kind}List","metadata":{metadata}}}"#
                )
            }
            Form::Object => {
                // Items of a typed list carry neither apiVersion nor kind.
                let items = joined(objects.iter().map(|object| &object.value));
                format!(
                    r#"{{"kind":"{kind}List","apiVersion":"{api_version}","metadata":{metadata},"items":[{items}]}}"#
                )
            }
            Form::Partial => {
                let items =
                    joined(wholes().map(|object| table::partial(&object, TableVersion::V1)));
                let head = r#""kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1""#;
                format!(r#"{{{head},"metadata":{metadata},"items":[{items}]}}"#)
            }
            Form::Table { version, include } => {
                let objects: Vec<Value> = wholes().collect();
                self.table(&objects, version, include, Some(metadata), true)
            }
        }
    }

    /// One watch event and its line feed. Column definitions come with the first event of a Table watch only.
    pub(crate) fn event(&self, event: &Event, first: bool) -> String {
        let object = match (event, self.form) {
            (Event::Error(failure), _) => failure.json(),
            (Event::Object { value, .. }, Form::Object) => self.object(value),
            (Event::Bookmark { value }, Form::Object) => self.object(&self.blank(value)),
            (Event::Object { value, .. } | Event::Bookmark { value }, Form::Partial) => {
                table::partial(&whole(&self.kind, value), TableVersion::V1).to_string()
            }
            (Event::Object { value, .. }, Form::Table { version, include }) => self.table(
                &[whole(&self.kind, value)],
                version,
                include,
                resource_version(value).as_ref(),
                first,
            ),
            // A bookmark's row keeps its metadata even where rows come without: it is what the event is about.
            (Event::Bookmark { value }, Form::Table { version, .. }) => {
                let metadata = resource_version(value);
                self.table(
                    &[whole(&self.kind, value)],
                    version,
                    Include::Metadata,
                    metadata.as_ref(),
                    first,
                )
            }
        };
        format!("{{\"type\":\"{}\",\"object\":{object}}}\n", event.name())
    }

    /// A bookmark's object: Go writes the structs that a typed object always has.
    fn blank(&self, value: &Value) -> Value {
        let mut value = value.clone();
        if !self.kind.is_custom() && self.kind.serves("status") {
            map_in(&mut value, "spec");
            map_in(&mut value, "status");
        }
        value
    }

    fn table(
        &self,
        objects: &[Value],
        version: TableVersion,
        include: Include,
        metadata: Option<&Value>,
        header: bool,
    ) -> String {
        let now = Timestamp::now();
        let rows = joined(
            objects
                .iter()
                .map(|object| table::row(&self.columns, object, version, include, now)),
        );
        let columns = if header {
            table::definitions(&self.columns)
        } else {
            Value::Null
        };
        let empty = json!({});
        format!(
            r#"{{"kind":"Table","apiVersion":"{}","metadata":{},"columnDefinitions":{columns},"rows":[{rows}]}}"#,
            table::api_version(version),
            metadata.map_or_else(|| empty.clone(), table_metadata),
        )
    }
}

/// An event of a watch.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    Object {
        verb: EventVerb,
        value: Value,
    },
    /// An object with nothing but its resourceVersion and, once, an annotation.
    Bookmark {
        value: Value,
    },
    Error(Failure),
}

/// What happened to an object, as one watch sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventVerb {
    Added,
    Modified,
    Deleted,
}

impl Event {
    fn name(&self) -> &'static str {
        match self {
            Self::Object {
                verb: EventVerb::Added,
                ..
            } => "ADDED",
            Self::Object {
                verb: EventVerb::Modified,
                ..
            } => "MODIFIED",
            Self::Object {
                verb: EventVerb::Deleted,
                ..
            } => "DELETED",
            Self::Bookmark { .. } => "BOOKMARK",
            Self::Error(_) => "ERROR",
        }
    }
}

/// The object with `apiVersion` and `kind`.
pub(crate) fn whole(kind: &Kind, value: &Value) -> Value {
    let mut whole = Map::new();
    whole.insert("apiVersion".to_owned(), kind.api_version().into());
    whole.insert("kind".to_owned(), kind.kind.as_str().into());
    whole.extend(
        value
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.clone(), value.clone())),
    );
    Value::Object(whole)
}

/// `kind` and `apiVersion` first, as typed objects are written.
fn typed(kind: &Kind, value: &Value) -> String {
    let rest = value.to_string();
    let rest = rest.strip_prefix('{').unwrap_or("}");
    let comma = if rest == "}" { "" } else { "," };
    format!(
        r#"{{"kind":"{}","apiVersion":"{}"{comma}{rest}"#,
        kind.kind,
        kind.api_version()
    )
}

fn resource_version(value: &Value) -> Option<Value> {
    let version = value.pointer("/metadata/resourceVersion")?;
    Some(json!({"resourceVersion": version}))
}

/// Of a list's or object's metadata, what a Table's `ListMeta` has room for.
fn table_metadata(metadata: &Value) -> Value {
    let fields = ["resourceVersion", "continue", "remainingItemCount"];
    let kept = fields
        .into_iter()
        .filter_map(|field| Some((field.to_owned(), metadata.get(field)?.clone())));
    Value::Object(kept.collect())
}

fn joined<T: ToString>(parts: impl Iterator<Item = T>) -> String {
    parts
        .map(|part| part.to_string())
        .collect::<Vec<_>>()
        .join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::kinds;
    use crate::demo::store::Store;

    fn namespace_encoder(form: Form) -> Encoder {
        let kind = Store::new()
            .read(|state| kinds::resolve(state, &kinds::namespaces(), "v1"))
            .unwrap();
        Encoder::new(kind, form)
    }

    fn oil() -> Value {
        json!({"metadata": {"name": "oil", "resourceVersion": "7"}, "status": {"phase": "Active"}})
    }

    #[test]
    fn typed_objects_begin_with_their_kind_and_their_list_items_have_none() {
        let encoder = namespace_encoder(Form::Object);
        assert!(
            encoder
                .object(&oil())
                .starts_with(r#"{"kind":"Namespace","apiVersion":"v1","metadata":"#)
        );
        let object = Arc::new(Object {
            value: oil(),
            revision: 7,
        });
        let list = encoder.list(&json!({"resourceVersion": "9"}), &[object]);
        let head = r#"{"kind":"NamespaceList","apiVersion":"v1","metadata":{"resourceVersion":"9"},"items":[{"metadata":"#;
        assert!(list.starts_with(head), "{list}");
    }

    #[test]
    fn only_the_first_event_of_a_table_watch_has_columns() {
        let form = Form::Table {
            version: TableVersion::V1,
            include: Include::Nothing,
        };
        let encoder = namespace_encoder(form);
        let event = Event::Object {
            verb: EventVerb::Added,
            value: oil(),
        };
        let first: Value = serde_json::from_str(&encoder.event(&event, true)).unwrap();
        assert_eq!(first["object"]["columnDefinitions"][0]["name"], "Name");
        assert_eq!(first["object"]["rows"][0]["object"], Value::Null);
        let second: Value = serde_json::from_str(&encoder.event(&event, false)).unwrap();
        assert_eq!(second["object"]["columnDefinitions"], Value::Null);
        assert_eq!(second["object"]["rows"][0]["cells"][1], "Active");
        let bookmark = Event::Bookmark {
            value: json!({"metadata": {"resourceVersion": "9"}}),
        };
        let bookmark: Value = serde_json::from_str(&encoder.event(&bookmark, false)).unwrap();
        assert_eq!(
            bookmark["object"]["rows"][0]["object"]["metadata"]["resourceVersion"],
            "9"
        );
    }
}
