//! Reads typed fields out of the tree and notes each mistake with its path, without ever stopping at one.
//!
//! A field that was not asked for is a mistake: what an admin wrote is never ignored in silence.

use std::time::Duration;

use crate::config::mistake::Mistakes;
use crate::config::mistake::Place;
use crate::config::tree::Key;
use crate::config::tree::Node;
use crate::config::tree::Value;

/// A value with the path that leads to it.
pub(super) struct Item {
    pub(super) path: String,
    node: Node,
}

/// A value that was read, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Said<T> {
    pub(super) value: T,
    pub(super) at: Place,
    pub(super) path: String,
}

/// The fields of a map. Every one is either taken or, at [`Section::finish`], a mistake.
pub(super) struct Section {
    pub(super) path: String,
    pub(super) at: Place,
    fields: Vec<(Key, Node)>,
    known: Vec<&'static str>,
}

impl Item {
    pub(super) fn root(node: Node) -> Self {
        Self {
            path: String::new(),
            node,
        }
    }

    fn wrong<T>(&self, mistakes: &mut Mistakes, wanted: &str) -> Option<T> {
        let text = format!("must be {wanted}, but is {}", self.node.value.kind());
        mistakes.add(self.node.at, &self.path, text);
        None
    }

    fn said<T>(&self, value: T) -> Said<T> {
        Said {
            value,
            at: self.node.at,
            path: self.path.clone(),
        }
    }

    /// A text; `""` is one.
    pub(super) fn text(self, mistakes: &mut Mistakes) -> Option<Said<String>> {
        match &self.node.value {
            Value::Text(text) => Some(self.said(text.clone())),
            Value::Bool(_) | Value::Integer(_) | Value::Fraction => {
                let text = format!(
                    "must be a text, but is {}: put it in quotes",
                    self.node.value.kind()
                );
                mistakes.add(self.node.at, &self.path, text);
                None
            }
            Value::Null | Value::List(_) | Value::Map(_) => self.wrong(mistakes, "a text"),
        }
    }

    /// A text with something in it.
    pub(super) fn filled(self, mistakes: &mut Mistakes) -> Option<Said<String>> {
        let said = self.text(mistakes)?;
        if said.value.is_empty() {
            said.refuse(mistakes, "must not be empty");
            return None;
        }
        Some(said)
    }

    pub(super) fn flag(self, mistakes: &mut Mistakes) -> Option<Said<bool>> {
        match self.node.value {
            Value::Bool(flag) => Some(self.said(flag)),
            Value::Null
            | Value::Integer(_)
            | Value::Fraction
            | Value::Text(_)
            | Value::List(_)
            | Value::Map(_) => self.wrong(mistakes, "`true` or `false`"),
        }
    }

    pub(super) fn size(self, mistakes: &mut Mistakes) -> Option<Said<usize>> {
        match self.node.value {
            Value::Integer(number) => match usize::try_from(number) {
                Ok(size) => Some(self.said(size)),
                Err(_) => self.wrong(mistakes, "a number of bytes"),
            },
            Value::Null
            | Value::Bool(_)
            | Value::Fraction
            | Value::Text(_)
            | Value::List(_)
            | Value::Map(_) => self.wrong(mistakes, "a number of bytes"),
        }
    }

    /// A time such as `30s`, `1h30m`.
    pub(super) fn duration(self, mistakes: &mut Mistakes) -> Option<Said<Duration>> {
        let duration = match &self.node.value {
            Value::Text(text) => duration(text),
            Value::Null
            | Value::Bool(_)
            | Value::Integer(_)
            | Value::Fraction
            | Value::List(_)
            | Value::Map(_) => None,
        };
        match duration {
            Some(duration) => Some(self.said(duration)),
            None => {
                mistakes.add(
                    self.node.at,
                    &self.path,
                    "must be a time with its unit, such as `30s`, `5m` or `12h`",
                );
                None
            }
        }
    }

    pub(super) fn list(self, mistakes: &mut Mistakes) -> Option<Said<Vec<Self>>> {
        let (at, path) = (self.node.at, self.path.clone());
        match self.node.value {
            Value::List(items) => {
                let item = |(index, node)| Self {
                    path: format!("{path}[{index}]"),
                    node,
                };
                let value = items.into_iter().enumerate().map(item).collect();
                Some(Said { value, at, path })
            }
            Value::Null
            | Value::Bool(_)
            | Value::Integer(_)
            | Value::Fraction
            | Value::Text(_)
            | Value::Map(_) => self.wrong(mistakes, "a list"),
        }
    }

    /// A list of texts, none empty, none twice.
    pub(super) fn texts(self, mistakes: &mut Mistakes) -> Option<Said<Vec<String>>> {
        let list = self.list(mistakes)?;
        let mut value = Vec::new();
        for item in list.value {
            if let Some(said) = item.filled(mistakes) {
                if value.contains(&said.value) {
                    said.refuse(mistakes, "stands here a second time");
                } else {
                    value.push(said.value);
                }
            }
        }
        Some(Said {
            value,
            at: list.at,
            path: list.path,
        })
    }

    /// The fields of a map. A field that stands twice is a mistake, and its first value counts.
    pub(super) fn section(self, mistakes: &mut Mistakes) -> Option<Section> {
        let (at, path) = (self.node.at, self.path.clone());
        match self.node.value {
            Value::Map(entries) => {
                let mut fields: Vec<(Key, Node)> = Vec::new();
                for (key, node) in entries {
                    if fields.iter().any(|(known, _)| known.name == key.name) {
                        mistakes.add(key.at, &join(&path, &key.name), "stands here a second time");
                    } else {
                        fields.push((key, node));
                    }
                }
                Some(Section {
                    path,
                    at,
                    fields,
                    known: Vec::new(),
                })
            }
            // An empty section, such as a file of comments.
            Value::Null => Some(Section {
                path,
                at,
                fields: Vec::new(),
                known: Vec::new(),
            }),
            Value::Bool(_)
            | Value::Integer(_)
            | Value::Fraction
            | Value::Text(_)
            | Value::List(_) => self.wrong(mistakes, "a set of fields"),
        }
    }
}

impl<T> Said<T> {
    /// Notes that this value will not do.
    pub(super) fn refuse(&self, mistakes: &mut Mistakes, text: impl Into<String>) {
        mistakes.add(self.at, &self.path, text);
    }
}

impl Section {
    /// The field called `name`, if it is there. `name: null` is not there.
    pub(super) fn take(&mut self, name: &'static str) -> Option<Item> {
        self.known.push(name);
        let at = self.fields.iter().position(|(key, _)| key.name == name)?;
        let (key, node) = self.fields.swap_remove(at);
        let path = join(&self.path, &key.name);
        match node.value {
            Value::Null => None,
            Value::Bool(_)
            | Value::Integer(_)
            | Value::Fraction
            | Value::Text(_)
            | Value::List(_)
            | Value::Map(_) => Some(Item { path, node }),
        }
    }

    /// Notes a mistake of the section as a whole, such as a field that is missing.
    pub(super) fn refuse(&self, mistakes: &mut Mistakes, text: impl Into<String>) {
        mistakes.add(self.at, &self.path, text);
    }

    /// Whatever was not taken is unknown.
    pub(super) fn finish(self, mistakes: &mut Mistakes) {
        for (key, _) in &self.fields {
            let path = join(&self.path, &key.name);
            let text = match nearest(&key.name, &self.known) {
                Some(meant) => format!("unknown field, did you mean `{meant}`?"),
                None => {
                    let mut known = self.known.clone();
                    known.sort_unstable();
                    format!("unknown field; known here: {}", known.join(", "))
                }
            };
            mistakes.add(key.at, &path, text);
        }
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// Go's notation for durations, as Kubernetes' own files have it: numbers with the units h, m, s, ms.
fn duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit())?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let number: u64 = number.parse().ok()?;
        let letters = tail
            .find(|character: char| !character.is_ascii_alphabetic())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(letters)?;
        let milliseconds = match unit {
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1_000,
            "ms" => 1,
            _ => return None,
        };
        total = total.checked_add(Duration::from_millis(number.checked_mul(milliseconds)?))?;
        rest = tail;
    }
    Some(total)
}

/// The known name that `name` is a slip of the finger away from.
pub(super) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let allowed = (name.chars().count() / 3).clamp(1, 3);
    known
        .iter()
        .map(|known| {
            (
                distance(&name.to_lowercase(), &known.to_lowercase()),
                *known,
            )
        })
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, known)| known)
}

/// Levenshtein's distance: letters to insert, delete or replace.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for ((other, diagonal), above) in b.iter().zip(&row).zip(row.iter().skip(1)) {
            let left = next.last().copied().unwrap_or(0);
            let replaced = diagonal + usize::from(letter != *other);
            next.push(replaced.min(left + 1).min(above + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, milliseconds) in [
            ("30s", Some(30_000)),
            ("1h30m", Some(5_400_000)),
            ("250ms", Some(250)),
            ("0s", Some(0)),
            ("30", None),
            ("", None),
            ("s", None),
            ("1d", None),
            ("-1s", None),
            ("99999999999999999999h", None),
            ("9999999999999999h", None),
        ] {
            assert_eq!(
                duration(text),
                milliseconds.map(Duration::from_millis),
                "{text}"
            );
        }
    }

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        let known = ["username", "groups", "uid", "extra", "discoveryURL"];
        assert_eq!(nearest("usernme", &known), Some("username"));
        assert_eq!(nearest("group", &known), Some("groups"));
        assert_eq!(nearest("discoveryUrl", &known), Some("discoveryURL"));
        assert_eq!(nearest("prefix", &known), None);
        assert_eq!(nearest("", &known), None);
    }
}
