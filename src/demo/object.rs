//! One version of one object: its JSON, and the parts of its metadata that a server looks at.
//! It knows no kind: `apiVersion` and `kind` are added when it is written to the wire.

use std::fmt::Write;

use serde_json::Map;
use serde_json::Value;

/// One version of one object, immutable, shared by `Arc`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Object {
    /// Without `apiVersion` and `kind`, with `metadata.resourceVersion`.
    pub(crate) value: Value,
    /// The revision that wrote this version.
    pub(crate) revision: u64,
}

impl Object {
    pub(crate) fn name(&self) -> &str {
        text(&self.value, "/metadata/name")
    }

    /// Empty for a cluster-scoped object.
    pub(crate) fn namespace(&self) -> &str {
        text(&self.value, "/metadata/namespace")
    }

    pub(crate) fn uid(&self) -> &str {
        text(&self.value, "/metadata/uid")
    }

    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        self.value.pointer("/metadata/labels")?.get(key)?.as_str()
    }

    pub(crate) fn is_terminating(&self) -> bool {
        self.value.pointer("/metadata/deletionTimestamp").is_some()
    }
}

/// The string at `pointer` (RFC 6901), or the empty one.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

/// The list at `pointer`, or an empty one.
pub(crate) fn items<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// The strings of the list at `pointer`.
pub(crate) fn texts<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a str> {
    items(value, pointer).iter().filter_map(Value::as_str)
}

/// The map `value[key]`, made where it is missing or something else.
pub(crate) fn map_in<'a>(value: &'a mut Value, key: &str) -> &'a mut Map<String, Value> {
    let entry = object_mut(value).entry(key).or_insert(Value::Null);
    object_mut(entry)
}

/// `value` as a map, which it becomes where it is something else.
pub(crate) fn object_mut(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => map,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            unreachable!("it was made a map above")
        }
    }
}

/// Now, as Kubernetes writes times: whole seconds, UTC.
pub(crate) fn now() -> String {
    let seconds = jiff::Timestamp::now().as_second();
    jiff::Timestamp::from_second(seconds)
        .map_or_else(|_error| String::new(), |time| time.to_string())
}

/// A fresh version 4 UUID.
pub(crate) fn uid() -> String {
    let mut bytes = [0_u8; 16];
    fill_random(&mut bytes);
    let [.., sixth, _, eighth, _, _, _, _, _, _, _] = &mut bytes;
    *sixth = (*sixth & 0x0f) | 0x40;
    *eighth = (*eighth & 0x3f) | 0x80;
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let _infallible = write!(text, "{byte:02x}");
    }
    text
}

/// `bytes` random bytes in lower-case hex.
pub(crate) fn random_hex(bytes: usize) -> String {
    let mut random = vec![0_u8; bytes];
    fill_random(&mut random);
    random.iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

#[expect(
    clippy::expect_used,
    reason = "a machine without randomness cannot make the keys that came before"
)]
fn fill_random(bytes: &mut [u8]) {
    aws_lc_rs::rand::fill(bytes).expect("the system's randomness");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_is_a_version_4_uuid() {
        let uid = uid();
        assert_eq!(uid.len(), 36);
        assert_eq!(uid.as_bytes()[14], b'4');
        assert!(
            matches!(uid.as_bytes()[19], b'8' | b'9' | b'a' | b'b'),
            "{uid}"
        );
    }

    #[test]
    fn a_time_has_whole_seconds() {
        let now = now();
        assert_eq!(now.len(), "2026-01-01T00:00:00Z".len(), "{now}");
    }
}
