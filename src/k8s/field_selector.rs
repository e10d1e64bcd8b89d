//! Field selectors: the API server's grammar (`apimachinery pkg/fields/selector.go`) with its escapes, and a printer.
//! Which fields a kind knows is the API server's to judge.

use super::label_selector::BadSelector;

/// Terms joined by AND. The empty one selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    /// Sorted by their printed text, as upstream sorts them: [`Self::exact`] depends on it.
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    field: String,
    operator: Operator,
    /// Unescaped.
    value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    /// Means the same as [`Self::Equal`]. Kept apart so that a selector is printed as it came: the order of terms, and
    /// with it the name that a request is judged by, depends on the spelling.
    DoubleEqual,
    NotEqual,
}

impl Operator {
    /// The longer ones first.
    const ALL: [Self; 3] = [Self::NotEqual, Self::DoubleEqual, Self::Equal];

    fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::DoubleEqual => "==",
            Self::NotEqual => "!=",
        }
    }
}

impl FieldSelector {
    /// # Errors
    /// The API server's own sentence.
    pub fn parse(text: &str) -> Result<Self, BadSelector> {
        let mut parts = split_terms(text);
        // Before they are parsed: the first wrong part in this order is the one that is named.
        parts.sort_unstable();
        let mut terms = Vec::with_capacity(parts.len());
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            let Some((field, operator, value)) = split_term(part) else {
                return Err(BadSelector(format!(
                    "invalid selector: '{text}'; can't understand '{part}'"
                )));
            };
            let value = unescape(value)?;
            // `Transform` upstream drops a term of nothing.
            if field.is_empty() && value.is_empty() {
                continue;
            }
            let field = field.to_owned();
            terms.push(Term {
                field,
                operator,
                value,
            });
        }
        Ok(Self { terms })
    }

    /// `field=value`.
    pub fn equal(field: &str, value: &str) -> Self {
        let term = Term {
            field: field.to_owned(),
            operator: Operator::Equal,
            value: value.to_owned(),
        };
        Self { terms: vec![term] }
    }

    /// The value that an object's `field` must equal, if a term says so (`RequiresExactMatch` upstream: of several, the
    /// first in sorted order).
    pub fn exact(&self, field: &str) -> Option<&str> {
        let says = |term: &&Term| match term.operator {
            Operator::Equal | Operator::DoubleEqual => term.field == field,
            Operator::NotEqual => false,
        };
        self.terms.iter().find(says).map(|term| term.value.as_str())
    }

    /// Whether every object matches.
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// Objects that match both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let mut terms = [self.terms.as_slice(), other.terms.as_slice()].concat();
        terms.sort_by_cached_key(Term::print);
        Self { terms }
    }

    /// The text the API server parses to the same selector; empty for everything.
    pub fn print(&self) -> String {
        let terms: Vec<_> = self.terms.iter().map(Term::print).collect();
        terms.join(",")
    }
}

impl Term {
    fn print(&self) -> String {
        let mut text = format!("{}{}", self.field, self.operator.as_str());
        for c in self.value.chars() {
            if matches!(c, '\\' | ',' | '=') {
                text.push('\\');
            }
            text.push(c);
        }
        text
    }
}

/// Parts between commas that no backslash stands before; escapes stay.
fn split_terms(text: &str) -> Vec<&str> {
    let mut escaped = false;
    text.split(|c| {
        let splits = c == ',' && !escaped;
        escaped = c == '\\' && !escaped;
        splits
    })
    .collect()
}

/// Field, operator, escaped value: split at the first operator, since a field has no escapes.
fn split_term(part: &str) -> Option<(&str, Operator, &str)> {
    let at = part.find("!=").into_iter().chain(part.find('=')).min()?;
    let (field, rest) = part.split_at_checked(at)?;
    Operator::ALL.into_iter().find_map(|operator| {
        rest.strip_prefix(operator.as_str())
            .map(|value| (field, operator, value))
    })
}

fn unescape(value: &str) -> Result<String, BadSelector> {
    let refuse = |what| Err(BadSelector(format!("invalid field selector: {what}")));
    let mut unescaped = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => unescaped.push(c),
                Some(c) => return refuse(format!("invalid escape sequence: \\{c}")),
                None => return refuse("invalid escape sequence: \\".to_owned()),
            },
            // Upstream prints the character's number.
            ',' | '=' => return refuse(format!("unescaped character in value: {}", u32::from(c))),
            c => unescaped.push(c),
        }
    }
    Ok(unescaped)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn selectors_are_read_and_printed_as_upstream_does() {
        for (text, wanted) in [
            ("", Ok("")),
            ("=", Ok("")),
            ("!=", Ok("")),
            (",,a=b,", Ok("a=b")),
            ("z=1,a=2", Ok("a=2,z=1")),
            ("a==b", Ok("a==b")),
            ("a!=b", Ok("a!=b")),
            ("a=", Ok("a=")),
            ("=a", Ok("=a")),
            ("a!b=c", Ok("a!b=c")),
            (r"a=b\,c\=d\\", Ok(r"a=b\,c\=d\\")),
            (r"a\,b=c", Ok(r"a\,b=c")),
            ("a", Err("invalid selector: 'a'; can't understand 'a'")),
            (
                "b=c,a",
                Err("invalid selector: 'b=c,a'; can't understand 'a'"),
            ),
            (
                r"a=\x",
                Err(r"invalid field selector: invalid escape sequence: \x"),
            ),
            (
                r"a=b\",
                Err(r"invalid field selector: invalid escape sequence: \"),
            ),
            (
                "a=b=c",
                Err("invalid field selector: unescaped character in value: 61"),
            ),
            (
                "a===b",
                Err("invalid field selector: unescaped character in value: 61"),
            ),
        ] {
            let got = FieldSelector::parse(text).map(|selector| selector.print());
            assert_eq!(
                got,
                wanted
                    .map(str::to_owned)
                    .map_err(|e| BadSelector(e.to_owned())),
                "{text}"
            );
        }
    }

    #[test]
    fn the_exact_value_is_the_one_request_info_would_take() {
        for (text, wanted) in [
            ("metadata.name=a", Some("a")),
            ("metadata.name==a", Some("a")),
            ("metadata.name!=a", None),
            ("status.phase=Running,metadata.name=a", Some("a")),
            ("metadata.name=b,metadata.name=a", Some("a")),
            // `==b` sorts before `=a`.
            ("metadata.name=a,metadata.name==b", Some("b")),
            (r"metadata.name=a\,b", Some("a,b")),
            ("metadata.name=", Some("")),
            ("name=a", None),
        ] {
            assert_eq!(
                FieldSelector::parse(text).unwrap().exact("metadata.name"),
                wanted,
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_accepted_prints_to_itself_in_order(text in r"[ab!=,\\]{0,12}") {
            if let Ok(selector) = FieldSelector::parse(&text) {
                prop_assert_eq!(FieldSelector::parse(&selector.print()), Ok(selector));
            }
        }

        #[test]
        fn any_value_survives_its_escapes(value in ".*") {
            let selector = FieldSelector::equal("metadata.name", &value);
            let read = FieldSelector::parse(&selector.print()).unwrap();
            prop_assert_eq!(read.exact("metadata.name"), Some(value.as_str()));
        }

        #[test]
        fn and_keeps_all_terms(a in r"a=[xy]{0,2}", b in r"a!=[xy]{0,2}") {
            let (a, b) = (FieldSelector::parse(&a).unwrap(), FieldSelector::parse(&b).unwrap());
            prop_assert_eq!(FieldSelector::parse(&a.and(&b).print()), Ok(a.and(&b)));
            prop_assert_eq!(a.and(&b).terms.len(), 2);
        }
    }
}
