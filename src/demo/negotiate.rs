//! What a client wants to read, from the first `Accept` line (`apiserver pkg/endpoints/handlers/negotiation`).
//! JSON is all this server writes: a client that reads nothing else gets a 406.

use http::HeaderMap;
use http::header::ACCEPT;

use super::query::Query;
use super::status::Failure;

/// What the objects of an answer are turned into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Object,
    Partial,
    Table {
        version: TableVersion,
        include: Include,
    },
}

/// The version a Table was asked for in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TableVersion {
    V1,
    V1Beta1,
}

/// `includeObject`: what a row holds besides its cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Include {
    Nothing,
    Metadata,
    Object,
}

/// One clause of an `Accept` line.
struct Clause<'a> {
    media: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

impl Clause<'_> {
    fn parameter(&self, name: &str) -> &str {
        self.parameters
            .iter()
            .find(|(key, _)| *key == name)
            .map_or("", |(_, value)| value)
    }

    fn is_json(&self) -> bool {
        matches!(self.media, "application/json" | "application/*" | "*/*")
    }

    fn q(&self) -> f32 {
        self.parameters
            .iter()
            .find(|(key, _)| *key == "q")
            .and_then(|(_, value)| value.parse().ok())
            .unwrap_or(1.0)
    }
}

/// The clauses that ask for JSON, best first. `None`: there is no `Accept` at all.
fn json_clauses(headers: &HeaderMap) -> Option<Vec<Clause<'_>>> {
    let accept = headers
        .get(ACCEPT)?
        .to_str()
        .ok()
        .filter(|line| !line.trim().is_empty())?;
    let clause = |text| {
        let mut parts = str::split(text, ';').map(str::trim);
        Clause {
            media: parts.next().unwrap_or(""),
            parameters: parts.filter_map(|part| part.split_once('=')).collect(),
        }
    };
    let mut clauses: Vec<Clause<'_>> = accept
        .split(',')
        .map(clause)
        .filter(Clause::is_json)
        .collect();
    clauses.sort_by(|one, other| other.q().total_cmp(&one.q()));
    Some(clauses)
}

/// The form in which objects go out.
///
/// # Errors
/// 406.
pub(crate) fn form(headers: &HeaderMap, query: &Query) -> Result<Form, Failure> {
    let Some(clauses) = json_clauses(headers) else {
        return Ok(Form::Object);
    };
    let include = match query.first("includeObject").unwrap_or("") {
        "None" => Include::Nothing,
        "Object" => Include::Object,
        "" | "Metadata" => Include::Metadata,
        other => {
            return Err(Failure::bad_request(format!(
                "Unable to convert to Table as requested: includeObject: Invalid value: {other:?}: must be 'Metadata', \
                 'Object', 'None', or empty"
            )));
        }
    };
    let acceptable = clauses.iter().find_map(|clause| {
        let version = match (clause.parameter("g"), clause.parameter("v")) {
            ("meta.k8s.io", "v1") => Some(TableVersion::V1),
            ("meta.k8s.io", "v1beta1") => Some(TableVersion::V1Beta1),
            _ => None,
        };
        match (clause.parameter("as"), version) {
            ("", _) => Some(Form::Object),
            ("Table", Some(version)) => Some(Form::Table { version, include }),
            ("PartialObjectMetadata" | "PartialObjectMetadataList", Some(_)) => Some(Form::Partial),
            _ => None,
        }
    });
    acceptable.ok_or_else(|| Failure::not_acceptable("application/json"))
}

/// Whether discovery is wanted in its aggregated form, in a version that is served (KEP-3352).
pub(crate) fn wants_aggregated_discovery(headers: &HeaderMap) -> bool {
    let clauses = json_clauses(headers).unwrap_or_default();
    let first = clauses.iter().find(|clause| {
        clause.parameter("as").is_empty()
            || clause.parameter("as") == "APIGroupDiscoveryList"
                && clause.parameter("g") == "apidiscovery.k8s.io"
                && clause.parameter("v") == "v2"
    });
    first.is_some_and(|clause| !clause.parameter("as").is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn negotiated(accept: &str) -> Option<Form> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        form(&headers, &Query::default()).ok()
    }

    #[test]
    fn the_first_acceptable_clause_wins() {
        let table = |version| {
            Some(Form::Table {
                version,
                include: Include::Metadata,
            })
        };
        for (accept, expected) in [
            ("", Some(Form::Object)),
            ("*/*", Some(Form::Object)),
            (
                "application/vnd.kubernetes.protobuf,application/json",
                Some(Form::Object),
            ),
            ("application/vnd.kubernetes.protobuf", None),
            (
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
                table(TableVersion::V1),
            ),
            (
                "application/json;as=Table;v=v2;g=meta.k8s.io, application/json;as=Table;v=v1beta1;g=meta.k8s.io",
                table(TableVersion::V1Beta1),
            ),
            ("application/json;as=Sofa;v=v1;g=meta.k8s.io", None),
            (
                "application/json;q=0.1,application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1;q=0.9",
                Some(Form::Partial),
            ),
            ("application/json;stream=watch", Some(Form::Object)),
        ] {
            assert_eq!(negotiated(accept), expected, "{accept}");
        }
    }

    #[test]
    fn aggregated_discovery_is_answered_in_v2_only() {
        let wants = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            wants_aggregated_discovery(&headers)
        };
        let clause = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        assert!(wants(&format!("{clause},application/json")));
        assert!(!wants(&format!(
            "{},application/json",
            clause.replace("v2", "v2beta1")
        )));
        assert!(!wants("application/json"));
    }
}
