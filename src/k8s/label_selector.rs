//! Label selectors: the API server's grammar (`apimachinery pkg/labels/selector.go`), its error texts, a printer.
//! What it prints selects exactly what was parsed; two selectors are joined as values, never as strings.

mod api;
mod parser;
mod validate;

use std::fmt::Write;

/// Requirements joined by AND, in the order of their keys. The empty one selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
}

/// One requirement on one key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Requirement {
    key: String,
    test: Test,
}

/// What a requirement says about the value of its key. `=` and `==` are `In` of one value, `!=` is `NotIn` of one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Test {
    /// Present, and one of these: sorted, distinct, at least one.
    In(Vec<String>),
    /// Absent, or none of these: sorted, distinct, at least one.
    NotIn(Vec<String>),
    Exists,
    Absent,
    /// Present, and an integer above this.
    Greater(i64),
    /// Present, and an integer below this.
    Less(i64),
}

impl LabelSelector {
    /// # Errors
    /// The API server's own sentence; a NUL, at which its lexer would stop reading, is refused.
    pub fn parse(text: &str) -> Result<Self, BadSelector> {
        parser::parse(text).map(Self::of)
    }

    /// `key in (values)`. No value at all selects nothing: it becomes `key,!key`, since `key in ()` would select
    /// the objects whose label is empty.
    ///
    /// Values that no label can have are left out: no object could match them, and the API server would refuse them.
    pub fn one_of<'a>(key: &str, values: impl IntoIterator<Item = &'a str>) -> Self {
        let mut values: Vec<_> = values
            .into_iter()
            .filter(|value| validate::label_value(value).is_ok())
            .map(str::to_owned)
            .collect();
        values.sort_unstable();
        values.dedup();
        let requirement = |test| Requirement {
            key: key.to_owned(),
            test,
        };
        Self {
            requirements: if values.is_empty() {
                vec![requirement(Test::Exists), requirement(Test::Absent)]
            } else {
                vec![requirement(Test::In(values))]
            },
        }
    }

    /// Objects that match both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self::of([self.requirements.as_slice(), other.requirements.as_slice()].concat())
    }

    /// One selector for the objects that match either, where there is one: selectors have no OR but the values of one
    /// key.
    #[must_use]
    pub fn or(&self, other: &Self) -> Option<Self> {
        if other.demands_all_of(self) {
            return Some(self.clone());
        }
        if self.demands_all_of(other) {
            return Some(other.clone());
        }
        if self.requirements.len() != other.requirements.len() {
            return None;
        }
        let pairs = self.requirements.iter().zip(&other.requirements);
        let mut different = pairs
            .enumerate()
            .filter(|(_, (mine, theirs))| mine != theirs);
        let (Some((index, (mine, theirs))), None) = (different.next(), different.next()) else {
            return None;
        };
        let (Test::In(some), Test::In(more)) = (&mine.test, &theirs.test) else {
            return None;
        };
        if mine.key != theirs.key {
            return None;
        }
        let mut values = [some.as_slice(), more].concat();
        values.sort_unstable();
        values.dedup();
        let mut requirements = self.requirements.clone();
        requirements.get_mut(index)?.test = Test::In(values);
        Some(Self { requirements })
    }

    fn demands_all_of(&self, other: &Self) -> bool {
        let mut theirs = other.requirements.iter();
        theirs.all(|requirement| self.requirements.contains(requirement))
    }

    /// Whether every object matches.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether an object matches whose labels `label` looks up.
    pub fn matches<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements
            .iter()
            .all(|requirement| requirement.matches(label(&requirement.key)))
    }

    /// The text the API server parses to the same selector.
    pub fn print(&self) -> String {
        let mut text = String::new();
        for (index, requirement) in self.requirements.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            requirement.print(&mut text);
        }
        text
    }

    fn of(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Self { requirements }
    }
}

impl Requirement {
    /// `labels.Requirement.Matches` upstream.
    fn matches(&self, value: Option<&str>) -> bool {
        let is_among = |values: &[String], value: &str| {
            values.binary_search_by(|v| v.as_str().cmp(value)).is_ok()
        };
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match &self.test {
            Test::In(values) => value.is_some_and(|value| is_among(values, value)),
            Test::NotIn(values) => value.is_none_or(|value| !is_among(values, value)),
            Test::Exists => value.is_some(),
            Test::Absent => value.is_none(),
            Test::Greater(bound) => number().is_some_and(|number| number > *bound),
            Test::Less(bound) => number().is_some_and(|number| number < *bound),
        }
    }

    fn print(&self, text: &mut String) {
        let key = &self.key;
        // Writing to a String cannot fail.
        let _ = match &self.test {
            Test::In(values) => match values.as_slice() {
                [value] => write!(text, "{key}={value}"),
                values => write!(text, "{key} in ({})", values.join(",")),
            },
            Test::NotIn(values) => match values.as_slice() {
                [value] => write!(text, "{key}!={value}"),
                values => write!(text, "{key} notin ({})", values.join(",")),
            },
            Test::Exists => write!(text, "{key}"),
            Test::Absent => write!(text, "!{key}"),
            Test::Greater(bound) => write!(text, "{key}>{bound}"),
            Test::Less(bound) => write!(text, "{key}<{bound}"),
        };
    }
}

/// The API server's own sentence about a selector it does not accept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadSelector(pub String);

#[cfg(test)]
mod tests;
