//! Tables: what `kubectl get` prints (`kubernetes pkg/printers/internalversion/printers.go`, apiserver
//! `pkg/registry/rest/table.go`). Columns are chosen by kind; a cell is a pure function of one object.

use jiff::Timestamp;
use serde_json::Value;
use serde_json::json;

use super::kinds::Kind;
use super::kinds::Nature;
use super::negotiate::Include;
use super::negotiate::TableVersion;
use super::object::items;
use super::object::text;

/// One column: its definition, and where its cells come from.
pub(crate) struct Column {
    name: String,
    kind: &'static str,
    format: &'static str,
    description: String,
    priority: i64,
    cell: Cell,
}

enum Cell {
    Name,
    Age,
    CreatedAt,
    /// The text at a JSON pointer.
    Text(&'static str),
    /// The same, where kubectl wants to see `<none>`.
    TextOrNone(&'static str),
    /// The number of members at a JSON pointer.
    Count(&'static str),
    /// A CustomResourceDefinition's simple `jsonPath`, as a JSON pointer.
    Path(String),
    Ready,
    Restarts,
    Role,
    /// The names of a binding's subjects of one kind.
    Subjects(&'static str),
}

fn column(name: &str, kind: &'static str, priority: i64, cell: Cell) -> Column {
    Column {
        name: name.to_owned(),
        kind,
        format: "",
        description: String::new(),
        priority,
        cell,
    }
}

fn name() -> Column {
    Column {
        format: "name",
        description: "Name must be unique within a namespace.".to_owned(),
        ..column("Name", "string", 0, Cell::Name)
    }
}

fn age() -> Column {
    column("Age", "string", 0, Cell::Age)
}

/// The columns of `kind`.
pub(crate) fn columns(kind: &Kind) -> Vec<Column> {
    if let Nature::Custom { columns } = &kind.nature {
        return custom_columns(columns);
    }
    let string = |name, pointer| column(name, "string", 0, Cell::Text(pointer));
    let count = |name, pointer| column(name, "string", 0, Cell::Count(pointer));
    match &*kind.resource.resource {
        "namespaces" => vec![name(), string("Status", "/status/phase"), age()],
        "pods" => vec![
            name(),
            column("Ready", "string", 0, Cell::Ready),
            string("Status", "/status/phase"),
            column("Restarts", "string", 0, Cell::Restarts),
            age(),
            column("IP", "string", 1, Cell::TextOrNone("/status/podIP")),
            column("Node", "string", 1, Cell::TextOrNone("/spec/nodeName")),
        ],
        "configmaps" => vec![name(), count("Data", "/data"), age()],
        "secrets" => vec![
            name(),
            string("Type", "/type"),
            count("Data", "/data"),
            age(),
        ],
        "serviceaccounts" => vec![name(), count("Secrets", "/secrets"), age()],
        "services" => vec![
            name(),
            string("Type", "/spec/type"),
            column(
                "Cluster-IP",
                "string",
                0,
                Cell::TextOrNone("/spec/clusterIP"),
            ),
            age(),
        ],
        "rolebindings" | "clusterrolebindings" => vec![
            name(),
            column("Role", "string", 0, Cell::Role),
            age(),
            column("Users", "string", 1, Cell::Subjects("User")),
            column("Groups", "string", 1, Cell::Subjects("Group")),
            column(
                "ServiceAccounts",
                "string",
                1,
                Cell::Subjects("ServiceAccount"),
            ),
        ],
        "networkpolicies" => vec![name(), age()],
        _ => vec![name(), column("Created At", "date", 0, Cell::CreatedAt)],
    }
}

/// `Name`, what the definition adds, and `Age` where it adds nothing.
fn custom_columns(added: &[Value]) -> Vec<Column> {
    let mut columns = vec![name()];
    for definition in added {
        let path = text(definition, "/jsonPath");
        columns.push(Column {
            description: text(definition, "/description").to_owned(),
            ..column(
                text(definition, "/name"),
                match text(definition, "/type") {
                    "integer" => "integer",
                    "date" => "date",
                    _ => "string",
                },
                definition
                    .get("priority")
                    .and_then(Value::as_i64)
                    .unwrap_or(0),
                if path == ".metadata.creationTimestamp" {
                    Cell::Age
                } else {
                    Cell::Path(path.replace('.', "/"))
                },
            )
        });
    }
    if added.is_empty() {
        columns.push(age());
    }
    columns
}

/// `columnDefinitions`.
pub(crate) fn definitions(columns: &[Column]) -> Value {
    let definition = |column: &Column| {
        json!({
            "name": column.name,
            "type": column.kind,
            "format": column.format,
            "description": column.description,
            "priority": column.priority,
        })
    };
    columns.iter().map(definition).collect()
}

/// One row. `object` is complete, with `apiVersion` and `kind`.
pub(crate) fn row(
    columns: &[Column],
    object: &Value,
    version: TableVersion,
    include: Include,
    now: Timestamp,
) -> Value {
    let cells: Vec<Value> = columns
        .iter()
        .map(|column| cell(&column.cell, object, now))
        .collect();
    let object = match include {
        Include::Nothing => Value::Null,
        Include::Object => object.clone(),
        Include::Metadata => partial(object, version),
    };
    json!({"cells": cells, "object": object})
}

/// An object reduced to its metadata.
pub(crate) fn partial(object: &Value, version: TableVersion) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": api_version(version),
        "metadata": object.get("metadata"),
    })
}

/// `meta.k8s.io/…`.
pub(crate) fn api_version(version: TableVersion) -> &'static str {
    match version {
        TableVersion::V1 => "meta.k8s.io/v1",
        TableVersion::V1Beta1 => "meta.k8s.io/v1beta1",
    }
}

fn cell(cell: &Cell, object: &Value, now: Timestamp) -> Value {
    match cell {
        Cell::Name => text(object, "/metadata/name").into(),
        Cell::Age => age_of(object, now).into(),
        Cell::CreatedAt => text(object, "/metadata/creationTimestamp").into(),
        Cell::Text(pointer) => text(object, pointer).into(),
        Cell::TextOrNone(pointer) => match text(object, pointer) {
            "" => "<none>".into(),
            text => text.into(),
        },
        Cell::Count(pointer) => count(object, pointer).into(),
        Cell::Path(pointer) => object.pointer(pointer).cloned().unwrap_or(Value::Null),
        Cell::Ready => {
            let ready = items(object, "/status/containerStatuses").iter();
            let ready = ready
                .filter(|status| status.get("ready") == Some(&Value::Bool(true)))
                .count();
            format!("{ready}/{}", count(object, "/spec/containers")).into()
        }
        Cell::Restarts => "0".into(),
        Cell::Role => format!(
            "{}/{}",
            text(object, "/roleRef/kind"),
            text(object, "/roleRef/name")
        )
        .into(),
        Cell::Subjects(kind) => {
            let of_kind = items(object, "/subjects")
                .iter()
                .filter(|subject| text(subject, "/kind") == *kind);
            let names: Vec<String> = of_kind
                .map(|subject| match text(subject, "/namespace") {
                    "" => text(subject, "/name").to_owned(),
                    namespace => format!("{namespace}/{}", text(subject, "/name")),
                })
                .collect();
            names.join(", ").into()
        }
    }
}

fn count(object: &Value, pointer: &str) -> usize {
    let value = object.pointer(pointer);
    let members = value.and_then(Value::as_object).map(serde_json::Map::len);
    members
        .or_else(|| value.and_then(Value::as_array).map(Vec::len))
        .unwrap_or(0)
}

fn age_of(object: &Value, now: Timestamp) -> String {
    match text(object, "/metadata/creationTimestamp").parse::<Timestamp>() {
        Ok(created) => human_duration(now.as_second().saturating_sub(created.as_second())),
        Err(_absent_in_a_bookmark) => "<unknown>".to_owned(),
    }
}

/// `apimachinery pkg/util/duration`: two units while the larger one is small.
fn human_duration(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    let two = |large: i64, unit: &str, small: i64, small_unit: &str| match small {
        0 => format!("{large}{unit}"),
        small => format!("{large}{unit}{small}{small_unit}"),
    };
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1..=0 => "0s".to_owned(),
        1..120 => format!("{seconds}s"),
        120..600 => two(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, "d", hours % 24, "h"),
        _ => format!("{days}d"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_kubectl_prints_them() {
        for (seconds, expected) in [
            (-5, "<invalid>"),
            (0, "0s"),
            (119, "119s"),
            (121, "2m1s"),
            (600, "10m"),
            (3 * 3_600 + 60, "3h1m"),
            (9 * 3_600, "9h"),
            (2 * 86_400 + 3_600, "2d1h"),
            (30 * 86_400, "30d"),
        ] {
            assert_eq!(human_duration(seconds), expected, "{seconds}");
        }
    }
}
