//! Request bodies in protobuf, as typed Go clients and kubectl send them: turned into the JSON they stand for.
//!
//! Only the kinds that a newcomer's kubectl sends are described here (namespaces, RBAC, config, simple deployments,
//! reviews, delete options). Any other body, or one with content in a field that is not described, is refused with
//! 415: nothing a client wrote is lost silently. Field numbers are those of the API's `generated.proto` files, which
//! never change.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Map;
use serde_json::Value;

use schema::KINDS;
use schema::Schema;
use schema::Type;

mod schema;

/// What every message begins with (`apimachinery pkg/runtime/serializer/protobuf`).
const MAGIC: &[u8] = b"k8s\0";

/// The JSON of a protobuf body. `None`: no well-formed message, or of a kind that is not described.
pub(crate) fn to_json(body: &[u8]) -> Option<Value> {
    // runtime.Unknown { typeMeta 1 { apiVersion 1, kind 2 }, raw 2 }
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for field in fields(body.strip_prefix(MAGIC)?)? {
        match (field.number, field.wire) {
            (1, Wire::Bytes(type_meta)) => {
                for field in fields(type_meta)? {
                    match (field.number, field.wire) {
                        (1, Wire::Bytes(bytes)) => api_version = text(bytes)?,
                        (2, Wire::Bytes(bytes)) => kind = text(bytes)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let schema = KINDS.iter().find(|(name, _)| *name == kind)?.1;
    let mut json = message(raw, schema)?;
    json.insert("apiVersion".to_owned(), api_version.into());
    json.insert("kind".to_owned(), kind.into());
    Some(Value::Object(json))
}

fn message(bytes: &[u8], schema: Schema) -> Option<Map<String, Value>> {
    let mut json = Map::new();
    for field in fields(bytes)? {
        let Some((_, name, kind)) = schema.iter().find(|(number, _, _)| *number == field.number)
        else {
            // Go writes every field that is no pointer, zero or not.
            if field.wire.is_zero() {
                continue;
            }
            return None;
        };
        let entry = |json: &mut Map<String, Value>, value: Value| {
            drop(json.insert((*name).to_owned(), value))
        };
        match (kind, field.wire) {
            // Go writes empty strings and zero times where JSON has nothing.
            (Type::Text, Wire::Bytes([])) => {}
            (Type::Text, Wire::Bytes(bytes)) => entry(&mut json, text(bytes)?.into()),
            (Type::Number, Wire::Varint(number)) => entry(&mut json, number.cast_signed().into()),
            (Type::Bool, Wire::Varint(number)) => entry(&mut json, (number != 0).into()),
            (Type::Time, Wire::Bytes(bytes)) => {
                let seconds =
                    fields(bytes)?
                        .into_iter()
                        .find_map(|field| match (field.number, field.wire) {
                            (1, Wire::Varint(seconds)) if seconds != 0 => {
                                Some(seconds.cast_signed())
                            }
                            _ => None,
                        });
                if let Some(time) = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok())
                {
                    entry(&mut json, time.to_string().into());
                }
            }
            (Type::Message(schema), Wire::Bytes(bytes)) => {
                entry(&mut json, message(bytes, schema)?.into())
            }
            (Type::Texts, Wire::Bytes(bytes)) => push(&mut json, name, text(bytes)?.into()),
            (Type::Messages(schema), Wire::Bytes(bytes)) => {
                push(&mut json, name, message(bytes, schema)?.into())
            }
            (Type::TextMap | Type::BytesMap | Type::ExtraMap, Wire::Bytes(bytes)) => {
                let (key, value) = map_entry(bytes, *kind)?;
                let map = json
                    .entry((*name).to_owned())
                    .or_insert_with(|| Map::new().into());
                super::object::object_mut(map).insert(key, value);
            }
            _ => return None,
        }
    }
    Some(json)
}

fn push(json: &mut Map<String, Value>, name: &str, value: Value) {
    if let Value::Array(list) = json
        .entry(name.to_owned())
        .or_insert_with(|| Value::Array(Vec::new()))
    {
        list.push(value);
    }
}

fn map_entry(bytes: &[u8], kind: Type) -> Option<(String, Value)> {
    let (mut key, mut value) = (String::new(), &[][..]);
    for field in fields(bytes)? {
        match (field.number, field.wire) {
            (1, Wire::Bytes(bytes)) => key = text(bytes)?,
            (2, Wire::Bytes(bytes)) => value = bytes,
            _ => return None,
        }
    }
    let value = match kind {
        Type::BytesMap => STANDARD.encode(value).into(),
        Type::ExtraMap => message(value, &[(1, "items", Type::Texts)])?
            .remove("items")
            .unwrap_or(Value::Null),
        Type::TextMap
        | Type::Text
        | Type::Number
        | Type::Bool
        | Type::Time
        | Type::Message(_)
        | Type::Texts
        | Type::Messages(_) => text(value)?.into(),
    };
    Some((key, value))
}

fn text(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

struct Field<'a> {
    number: u64,
    wire: Wire<'a>,
}

enum Wire<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
}

impl Wire<'_> {
    /// Whether it says no more than its absence would.
    fn is_zero(&self) -> bool {
        match self {
            Self::Varint(number) => *number == 0,
            Self::Bytes(bytes) => {
                fields(bytes).is_some_and(|inner| inner.iter().all(|field| field.wire.is_zero()))
            }
        }
    }
}

/// The fields of a message. `None` on what no Kubernetes message holds (fixed-width numbers, groups) or cut off.
fn fields(mut bytes: &[u8]) -> Option<Vec<Field<'_>>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let wire = match tag & 7 {
            0 => Wire::Varint(varint(&mut bytes)?),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                let (value, rest) = bytes.split_at_checked(length)?;
                bytes = rest;
                Wire::Bytes(value)
            }
            _ => return None,
        };
        fields.push(Field {
            number: tag >> 3,
            wire,
        });
    }
    Some(fields)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests;
