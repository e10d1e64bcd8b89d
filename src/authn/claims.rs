//! The claims of a token, read by type: absent and wrongly typed are never the same.

use serde_json::Map;
use serde_json::Value;

use crate::authn::refusal::Refusal;
use crate::authn::strict_json;

/// A token's payload: one JSON object in which no name stands twice.
#[derive(Debug)]
pub struct Claims(Map<String, Value>);

impl Claims {
    /// The claims in `payload`, or nothing if it is no such object.
    pub fn read(payload: &[u8]) -> Option<Self> {
        strict_json::object(payload).map(Self)
    }

    /// The claim as it stands.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// The names of all claims.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// A claim that is a string if it is there.
    ///
    /// # Errors
    /// [`Refusal::Claims`] if it is there and something else.
    pub fn text(&self, name: &str) -> Result<Option<&str>, Refusal> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => value.as_str().map(Some).ok_or(Refusal::Claims),
        }
    }

    /// A claim that is a string or an array of strings if it is there.
    ///
    /// # Errors
    /// [`Refusal::Claims`] if it is there and something else.
    pub fn texts(&self, name: &str) -> Result<Option<Vec<&str>>, Refusal> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(one)) => Ok(Some(vec![one])),
            Some(Value::Array(items)) => items
                .iter()
                .map(|item| item.as_str().ok_or(Refusal::Claims))
                .collect::<Result<_, _>>()
                .map(Some),
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) => {
                Err(Refusal::Claims)
            }
        }
    }

    /// A claim that is not empty: Entra and others send `""` for "none".
    ///
    /// # Errors
    /// [`Refusal::Claims`] if it is there and no string.
    pub fn filled(&self, name: &str) -> Result<Option<&str>, Refusal> {
        Ok(self.text(name)?.filter(|text| !text.is_empty()))
    }
}
