//! `Status`, Kubernetes' error document (`apimachinery pkg/apis/meta/v1/types.go`), in JSON and protobuf.
//! It prints what it is given and never adds a word about who asked.

use bytes::Bytes;
use http::StatusCode;

use super::protobuf::Message;

/// A failure as a client should see it. `message` is for humans: cause first, then the next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// HTTP status, repeated in the document.
    pub code: StatusCode,
    /// Machine-readable reason.
    pub reason: Reason,
    /// For humans.
    pub message: String,
    /// Seconds for `details.retryAfterSeconds` and the `Retry-After` header.
    pub retry_after: Option<u32>,
}

/// `metav1.StatusReason`, those we answer with ourselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the API's own words")]
pub enum Reason {
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    NotAcceptable,
    MethodNotAllowed,
    Expired,
    Invalid,
    RequestEntityTooLarge,
    TooManyRequests,
    InternalError,
    ServiceUnavailable,
    Timeout,
    Unknown,
}

impl Reason {
    /// As the API writes it; [`Self::Unknown`] is the empty string, which the API leaves out.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "BadRequest",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "NotFound",
            Self::NotAcceptable => "NotAcceptable",
            Self::MethodNotAllowed => "MethodNotAllowed",
            Self::Expired => "Expired",
            Self::Invalid => "Invalid",
            Self::RequestEntityTooLarge => "RequestEntityTooLarge",
            Self::TooManyRequests => "TooManyRequests",
            Self::InternalError => "InternalError",
            Self::ServiceUnavailable => "ServiceUnavailable",
            Self::Timeout => "Timeout",
            Self::Unknown => "",
        }
    }
}

impl Status {
    /// A failure without `Retry-After`.
    pub fn new(code: StatusCode, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            retry_after: None,
        }
    }

    /// A 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Reason::BadRequest, message)
    }

    /// One JSON document, key order and escapes as the API server's:
    /// `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":…,"reason":…,"code":…}`.
    ///
    /// Without the newline that ends an answer of the API server, so that it can be embedded in a watch event.
    pub fn to_json(&self) -> Bytes {
        let mut json =
            String::from(r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure""#);
        if !self.message.is_empty() {
            json.push_str(r#","message":"#);
            push_json_string(&self.message, &mut json);
        }
        if !self.reason.as_str().is_empty() {
            json.push_str(r#","reason":"#);
            push_json_string(self.reason.as_str(), &mut json);
        }
        match self.retry_after {
            Some(seconds) if seconds > 0 => {
                json.push_str(&format!(r#","details":{{"retryAfterSeconds":{seconds}}}"#))
            }
            Some(_) => json.push_str(r#","details":{}"#),
            None => {}
        }
        json.push_str(&format!(r#","code":{}}}"#, self.code.as_u16()));
        json.into()
    }

    /// The document in Kubernetes' protobuf envelope: `k8s\0`, then `runtime.Unknown` with a type and the raw message
    /// (`apimachinery pkg/runtime/serializer/protobuf`). Byte for byte what the API server sends.
    pub fn to_protobuf(&self) -> Bytes {
        let list_meta = Message::new()
            .bytes(1, b"")
            .bytes(2, b"")
            .bytes(3, b"")
            .into_bytes();
        let mut status = Message::new()
            .bytes(1, &list_meta)
            .bytes(2, b"Failure")
            .bytes(3, self.message.as_bytes())
            .bytes(4, self.reason.as_str().as_bytes());
        if let Some(seconds) = self.retry_after {
            let details = Message::new()
                .bytes(1, b"")
                .bytes(2, b"")
                .bytes(3, b"")
                .number(5, u64::from(seconds))
                .bytes(6, b"")
                .into_bytes();
            status = status.bytes(5, &details);
        }
        let status = status.number(6, u64::from(self.code.as_u16())).into_bytes();
        let type_meta = Message::new()
            .bytes(1, b"v1")
            .bytes(2, b"Status")
            .into_bytes();
        let unknown = Message::new()
            .bytes(1, &type_meta)
            .bytes(2, &status)
            .bytes(3, b"")
            .bytes(4, b"")
            .into_bytes();
        let mut document = b"k8s\0".to_vec();
        document.extend_from_slice(&unknown);
        document.into()
    }
}

/// Appends `text` as Go's `encoding/json` writes a string: `<`, `>` and `&` escaped, as are U+2028 and U+2029.
fn push_json_string(text: &str, json: &mut String) {
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\u{8}' => json.push_str("\\b"),
            '\u{c}' => json.push_str("\\f"),
            '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                json.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => json.push(c),
        }
    }
    json.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_form_has_the_api_servers_keys_order_and_escapes() {
        let expired = Status::new(
            StatusCode::GONE,
            Reason::Expired,
            "too old resource version: 100 (200)",
        );
        assert_eq!(
            expired.to_json(),
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old resource version: 100 (200)","reason":"Expired","code":410}"#
        );
        let busy = Status {
            retry_after: Some(5),
            ..Status::new(
                StatusCode::TOO_MANY_REQUESTS,
                Reason::TooManyRequests,
                "<nil>: \"a\\b\"\n\u{1}&",
            )
        };
        assert_eq!(
            busy.to_json(),
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"\u003cnil\u003e: \"a\\b\"\n\u0001\u0026","reason":"TooManyRequests","details":{"retryAfterSeconds":5},"code":429}"#
        );
        let bare = Status::new(StatusCode::IM_A_TEAPOT, Reason::Unknown, "");
        assert_eq!(
            bare.to_json(),
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","code":418}"#
        );
    }

    #[test]
    fn the_protobuf_form_is_the_api_servers_bytes() {
        let busy = Status {
            retry_after: Some(300),
            ..Status::new(StatusCode::TOO_MANY_REQUESTS, Reason::TooManyRequests, "m")
        };
        let mut wanted = b"k8s\0\x0a\x0c\x0a\x02v1\x12\x06Status\x12\x35".to_vec();
        wanted.extend_from_slice(
            b"\x0a\x06\x0a\x00\x12\x00\x1a\x00\x12\x07Failure\x1a\x01m\x22\x0fTooManyRequests",
        );
        wanted.extend_from_slice(
            b"\x2a\x0b\x0a\x00\x12\x00\x1a\x00\x28\xac\x02\x32\x00\x30\xad\x03\x1a\x00\x22\x00",
        );
        assert_eq!(busy.to_protobuf(), wanted);
    }

    proptest::proptest! {
        #[test]
        fn any_message_survives_json(message in ".*") {
            let json = Status::bad_request(message.clone()).to_json();
            let read: serde_json::Value = serde_json::from_slice(&json).unwrap();
            proptest::prop_assert_eq!(read.get("message").and_then(|m| m.as_str()).unwrap_or_default(), message);
        }
    }
}
