//! YAML as a tree in which everything knows its place.
//!
//! serde stops at the first mistake, and its spans do not reach unknown fields; so the file becomes this tree, and the
//! tree is walked to its end. It judges nothing.

use std::fmt;

use serde::Deserialize;
use serde::Deserializer;
use serde::de;
use serde_saphyr::DuplicateKeyPolicy;
use serde_saphyr::MergeKeyPolicy;
use serde_saphyr::Spanned;

use crate::config::mistake::Mistakes;
use crate::config::mistake::Place;

/// A value and its place.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) at: Place,
    pub(super) value: Value,
}

/// A value.
#[derive(Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    /// Whatever has a fraction or is too large: no setting wants one.
    Fraction,
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A field's name and its place. It may stand twice in one map: the walk says so.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) at: Place,
    pub(super) name: String,
}

impl Value {
    /// What it is, for a sentence.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Integer(_) | Self::Fraction => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a set of fields",
        }
    }
}

/// The tree in `text`; an empty file is an empty set of fields. Text that is no YAML is one mistake, and nothing more can
/// be said.
pub(super) fn read(text: &str, mistakes: &mut Mistakes) -> Option<Node> {
    let options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::Error,
        strict_booleans: true,
        with_snippet: false,
    };
    match serde_saphyr::from_str_with_options::<Spanned<Value>>(text, options) {
        Ok(root) => Some(node(root)),
        Err(error) => {
            let at = error.location().map_or(
                Place {
                    line: 1,
                    column: 1,
                    width: 1,
                },
                place,
            );
            mistakes.add(at, "", format!("this is not YAML: {}", message(&error)));
            None
        }
    }
}

/// Its sentence without the place, which stands in front already.
fn message(error: &serde_saphyr::Error) -> String {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    first.split(" at line ").next().unwrap_or(first).to_owned()
}

fn place(location: serde_saphyr::Location) -> Place {
    let number = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    Place {
        line: number(location.line()),
        column: number(location.column()),
        width: number(location.span().len()).max(1),
    }
}

fn node(spanned: Spanned<Value>) -> Node {
    Node {
        at: place(spanned.referenced),
        value: spanned.value,
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> de::Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        match i64::try_from(value) {
            Ok(value) => Ok(Value::Integer(value)),
            Err(_) => Ok(Value::Fraction),
        }
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Fraction)
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<Spanned<Value>>()? {
            list.push(node(item));
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some((key, value)) = entries.next_entry::<Spanned<String>, Spanned<Value>>()? {
            let key = Key {
                at: place(key.referenced),
                name: key.value,
            };
            map.push((key, node(value)));
        }
        Ok(Value::Map(map))
    }
}
