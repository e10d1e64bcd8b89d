//! Failures of the embedded API server, in the real one's words (`apimachinery pkg/api/errors/errors.go`).
//! It never invents a sentence where the API server has one: clients and people match on them.

use http::StatusCode;
use serde_json::Value;
use serde_json::json;

use super::object::object_mut;
use crate::k8s::names::GroupResource;

/// A request that failed: one `Status` document, or where the real server has no better, a line of text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Failure {
    pub(crate) code: StatusCode,
    /// Empty for none.
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    /// `details`, or null.
    pub(crate) details: Value,
    /// `metadata.continue`: the "inconsistent" token of an expired page.
    pub(crate) continue_token: Option<String>,
    /// Whether it goes out as plain text, as what fails before a handler is found does.
    pub(crate) plain: bool,
}

/// One mistake in an object or in options (`apimachinery pkg/util/validation/field`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldError {
    field: &'static str,
    reason: &'static str,
    /// Begins with what kind of mistake it is.
    message: String,
}

impl FieldError {
    pub(crate) fn forbidden(field: &'static str, why: &str) -> Self {
        Self {
            field,
            reason: "FieldValueForbidden",
            message: format!("Forbidden: {why}"),
        }
    }

    pub(crate) fn required(field: &'static str, why: &str) -> Self {
        Self {
            field,
            reason: "FieldValueRequired",
            message: format!("Required value: {why}"),
        }
    }

    /// `value` as Go prints it.
    pub(crate) fn invalid(field: &'static str, value: &str, why: &str) -> Self {
        Self {
            field,
            reason: "FieldValueInvalid",
            message: format!("Invalid value: {value}: {why}"),
        }
    }

    /// `value` and `supported` as Go prints them.
    pub(crate) fn unsupported(field: &'static str, value: &str, supported: &str) -> Self {
        let message = format!("Unsupported value: {value}: supported values: {supported}");
        Self {
            field,
            reason: "FieldValueNotSupported",
            message,
        }
    }
}

impl Failure {
    pub(crate) fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: Value::Null,
            continue_token: None,
            plain: false,
        }
    }

    pub(crate) fn with_details(self, details: Value) -> Self {
        Self { details, ..self }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized")
    }

    /// `what` says who may not do what; see [`super::rbac::Attributes::forbidden`].
    pub(crate) fn forbidden(resource: &GroupResource, name: &str, what: &str) -> Self {
        let message = match (resource.resource.is_empty(), name.is_empty()) {
            (true, _) => format!("forbidden: {what}"),
            (false, true) => format!("{resource} is forbidden: {what}"),
            (false, false) => format!("{resource} {name:?} is forbidden: {what}"),
        };
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message).with_details(details(resource, name))
    }

    pub(crate) fn not_found(resource: &GroupResource, name: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "NotFound",
            format!("{resource} {name:?} not found"),
        )
        .with_details(details(resource, name))
    }

    /// A path that no server answers.
    pub(crate) fn page_not_found() -> Self {
        Self {
            plain: true,
            ..Self::new(StatusCode::NOT_FOUND, "NotFound", "404 page not found\n")
        }
    }

    /// A path that no kind answers, below one that a server does.
    pub(crate) fn no_such_resource() -> Self {
        let message = "the server could not find the requested resource";
        Self::new(StatusCode::NOT_FOUND, "NotFound", message).with_details(json!({}))
    }

    pub(crate) fn already_exists(resource: &GroupResource, name: &str) -> Self {
        let message = format!("{resource} {name:?} already exists");
        Self::new(StatusCode::CONFLICT, "AlreadyExists", message)
            .with_details(details(resource, name))
    }

    pub(crate) fn conflict(resource: &GroupResource, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {resource} {name:?}: {why}");
        Self::new(StatusCode::CONFLICT, "Conflict", message).with_details(details(resource, name))
    }

    /// What is wrong with an object of `kind` in `group`; both may be empty.
    pub(crate) fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let sentences: Vec<String> = errors
            .iter()
            .map(|error| format!("{}: {}", error.field, error.message))
            .collect();
        let why = match sentences.as_slice() {
            [one] => one.clone(),
            several => format!("[{}]", several.join(", ")),
        };
        let dot = if group.is_empty() { "" } else { "." };
        let cause = |error: &FieldError| json!({"reason": error.reason, "message": error.message, "field": error.field});
        let mut details = details(&GroupResource::new(group, kind), name);
        object_mut(&mut details).insert("causes".to_owned(), errors.iter().map(cause).collect());
        let message = format!("{kind}{dot}{group} {name:?} is invalid: {why}");
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message).with_details(details)
    }

    /// A resourceVersion that is no longer known.
    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, "Expired", message)
    }

    /// A resourceVersion from the future (`apiserver pkg/storage/errors.go`).
    pub(crate) fn too_large_revision(asked: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        let cause =
            json!({"reason": "ResourceVersionTooLarge", "message": "Too large resource version"});
        Self::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", message)
            .with_details(json!({"causes": [cause], "retryAfterSeconds": 1}))
    }

    pub(crate) fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
            .with_details(json!({}))
    }

    pub(crate) fn not_acceptable(accepted: &str) -> Self {
        let message = format!("only the following media types are accepted: {accepted}");
        Self::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", message)
    }

    pub(crate) fn unsupported_media_type(accepted: &str) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {accepted}"
        );
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "UnsupportedMediaType",
            message,
        )
    }

    /// What fails outside every handler.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self {
            plain: true,
            ..Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
        }
    }

    /// The document, keys in the API server's order.
    pub(crate) fn json(&self) -> String {
        let metadata = match &self.continue_token {
            Some(token) => json!({"continue": token}),
            None => json!({}),
        };
        let reason = match self.reason {
            "" => String::new(),
            reason => format!(r#","reason":"{reason}""#),
        };
        let details = if self.details.is_null() {
            String::new()
        } else {
            format!(r#","details":{}"#, self.details)
        };
        format!(
            r#"{{"kind":"Status","apiVersion":"v1","metadata":{metadata},"status":"Failure","message":{}{reason}{details},"code":{}}}"#,
            Value::from(self.message.as_str()),
            self.code.as_u16(),
        )
    }
}

/// What a `Status` says about the object it is about.
pub(crate) fn details(resource: &GroupResource, name: &str) -> Value {
    let mut details = serde_json::Map::new();
    for (key, value) in [
        ("name", name),
        ("group", &resource.group),
        ("kind", &resource.resource),
    ] {
        if !value.is_empty() {
            details.insert(key.to_owned(), value.into());
        }
    }
    Value::Object(details)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_reads_as_the_api_server_writes_it() {
        let failure = Failure::expired("too old resource version: 100 (200)");
        assert_eq!(
            failure.json(),
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old resource version: 100 (200)","reason":"Expired","code":410}"#
        );
        let failure = Failure::not_found(&GroupResource::new("", "namespaces"), "oil");
        assert_eq!(
            failure.json(),
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"namespaces \"oil\" not found","reason":"NotFound","details":{"kind":"namespaces","name":"oil"},"code":404}"#
        );
    }
}
