//! Label and field selectors: parsed as the API server does (`apimachinery pkg/labels`, `pkg/fields`), and matched.
//!
//! Deliberately not the proxy's own parser: a mistake made twice in the same way would go unseen by every test that
//! compares the proxy's answer with this server's.

use serde_json::Value;

use super::object::text;

/// Requirements joined by AND; the empty one selects everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Labels(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq)]
struct Requirement {
    key: String,
    operator: Operator,
}

#[derive(Clone, Debug, PartialEq)]
enum Operator {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
    Above(i64),
    Below(i64),
}

impl Labels {
    /// # Errors
    /// The API server's sentence.
    pub(crate) fn parse(input: &str) -> Result<Self, String> {
        let tokens = tokens(input);
        let mut parser = Parser {
            tokens: tokens.into_iter().peekable(),
        };
        parser.requirements().map(Self)
    }

    pub(crate) fn is_everything(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an object's JSON is selected.
    pub(crate) fn matches(&self, object: &Value) -> bool {
        let labels = object.pointer("/metadata/labels");
        self.0.iter().all(|requirement| {
            let value = labels
                .and_then(|labels| labels.get(&requirement.key))
                .and_then(Value::as_str);
            match &requirement.operator {
                Operator::In(values) => {
                    value.is_some_and(|value| values.iter().any(|one| one == value))
                }
                // `notin` and `!=` select objects without the key as well.
                Operator::NotIn(values) => {
                    value.is_none_or(|value| values.iter().all(|one| one != value))
                }
                Operator::Exists => value.is_some(),
                Operator::Absent => value.is_none(),
                Operator::Above(bound) => number(value).is_some_and(|value| value > *bound),
                Operator::Below(bound) => number(value).is_some_and(|value| value < *bound),
            }
        })
    }
}

fn number(value: Option<&str>) -> Option<i64> {
    value?.parse().ok()
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Open,
    Close,
    Comma,
    Not,
    Equals,
    NotEquals,
    Greater,
    Less,
}

impl Token {
    fn text(&self) -> &str {
        match self {
            Self::Word(word) => word,
            Self::Open => "(",
            Self::Close => ")",
            Self::Comma => ",",
            Self::Not => "!",
            Self::Equals => "=",
            Self::NotEquals => "!=",
            Self::Greater => ">",
            Self::Less => "<",
        }
    }
}

fn tokens(input: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut characters = input.chars().peekable();
    while let Some(character) = characters.next() {
        let token = match character {
            ' ' | '\t' | '\r' | '\n' => continue,
            '(' => Token::Open,
            ')' => Token::Close,
            ',' => Token::Comma,
            '>' => Token::Greater,
            '<' => Token::Less,
            '!' if characters.next_if_eq(&'=').is_some() => Token::NotEquals,
            '!' => Token::Not,
            '=' => {
                let _second = characters.next_if_eq(&'=');
                Token::Equals
            }
            first => {
                let mut word = String::from(first);
                let inside = |c: &char| {
                    !matches!(
                        c,
                        ' ' | '\t' | '\r' | '\n' | '(' | ')' | ',' | '!' | '=' | '>' | '<'
                    )
                };
                while let Some(next) = characters.next_if(inside) {
                    word.push(next);
                }
                Token::Word(word)
            }
        };
        tokens.push(token);
    }
    tokens
}

struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
}

impl Parser {
    fn requirements(&mut self) -> Result<Vec<Requirement>, String> {
        let mut requirements = Vec::new();
        loop {
            match self.tokens.peek() {
                None => return Ok(requirements),
                Some(Token::Word(_) | Token::Not) => {}
                other => {
                    let found = found(other);
                    return Err(format!(
                        "found '{found}', expected: !, identifier, or 'end of string'"
                    ));
                }
            }
            let requirement = self
                .requirement()
                .map_err(|error| format!("unable to parse requirement: {error}"))?;
            requirements.push(requirement);
            match self.tokens.next() {
                None => return Ok(requirements),
                Some(Token::Comma) => {}
                Some(other) => {
                    return Err(format!(
                        "found '{}', expected: ',' or 'end of string'",
                        other.text()
                    ));
                }
            }
            if !matches!(self.tokens.peek(), Some(Token::Word(_) | Token::Not)) {
                return Err(format!(
                    "found '{}', expected: identifier after ','",
                    found(self.tokens.peek())
                ));
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        if self.tokens.next_if_eq(&Token::Not).is_some() {
            let key = self.key()?;
            return Ok(Requirement {
                key,
                operator: Operator::Absent,
            });
        }
        let key = self.key()?;
        if matches!(self.tokens.peek(), None | Some(Token::Comma)) {
            return Ok(Requirement {
                key,
                operator: Operator::Exists,
            });
        }
        let sign = self.tokens.next();
        let (operator, values) = match found(sign.as_ref()) {
            "=" => (Operator::In as fn(_) -> _, vec![self.value()?]),
            "!=" => (Operator::NotIn as fn(_) -> _, vec![self.value()?]),
            "in" => (Operator::In as fn(_) -> _, self.values()?),
            "notin" => (Operator::NotIn as fn(_) -> _, self.values()?),
            ">" => {
                return Ok(Requirement {
                    key,
                    operator: Operator::Above(self.bound()?),
                });
            }
            "<" => {
                return Ok(Requirement {
                    key,
                    operator: Operator::Below(self.bound()?),
                });
            }
            other => {
                return Err(format!(
                    "found '{other}', expected: in, notin, =, ==, !=, gt, lt"
                ));
            }
        };
        check_values(&key, &values)?;
        Ok(Requirement {
            key,
            operator: operator(values),
        })
    }

    fn key(&mut self) -> Result<String, String> {
        match self.tokens.next() {
            Some(Token::Word(word)) if is_label_key(&word) => Ok(word),
            Some(Token::Word(word)) => Err(format!(
                "<nil>: Invalid value: {word:?}: name part must consist of alphanumeric characters, '-', '_' or '.', and \
                 must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex \
                 used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
            )),
            other => Err(format!(
                "found '{}', expected: identifier",
                found(other.as_ref())
            )),
        }
    }

    fn value(&mut self) -> Result<String, String> {
        if matches!(self.tokens.peek(), None | Some(Token::Comma)) {
            return Ok(String::new());
        }
        match self.tokens.next() {
            Some(Token::Word(word)) => Ok(word),
            other => Err(format!(
                "found '{}', expected: identifier",
                found(other.as_ref())
            )),
        }
    }

    fn bound(&mut self) -> Result<i64, String> {
        let value = self.value()?;
        value.parse().map_err(|_error: std::num::ParseIntError| {
            format!("values[0]: Invalid value: {value:?}: for 'Gt', 'Lt' operators, the value must be an integer")
        })
    }

    /// `(a,b)`: what stands between commas may be empty, and `()` is the set of the empty value.
    fn values(&mut self) -> Result<Vec<String>, String> {
        match self.tokens.next() {
            Some(Token::Open) => {}
            other => return Err(format!("found '{}' expected: '('", found(other.as_ref()))),
        }
        let mut values = Vec::new();
        let mut expected = "',', ')' or identifier";
        loop {
            let mut value = String::new();
            if let Some(Token::Word(word)) =
                self.tokens.next_if(|token| matches!(token, Token::Word(_)))
            {
                value = word;
                expected = "',' or ')'";
            }
            values.push(value);
            match self.tokens.next() {
                Some(Token::Comma) => expected = "',', or identifier",
                Some(Token::Close) => return Ok(values),
                other => {
                    return Err(format!(
                        "found '{}', expected: {expected}",
                        found(other.as_ref())
                    ));
                }
            }
        }
    }
}

fn found(token: Option<&Token>) -> &str {
    token.map_or("", Token::text)
}

/// The first value that no label can have (`NewRequirement`), in the order of the set.
fn check_values(key: &str, values: &[String]) -> Result<(), String> {
    let mut sorted: Vec<&String> = values.iter().collect();
    sorted.sort();
    sorted.dedup();
    match sorted
        .iter()
        .enumerate()
        .find(|(_, value)| !is_label_value(value))
    {
        None => Ok(()),
        Some((index, value)) => Err(format!(
            "values[{index}][{key}]: Invalid value: {value:?}: a valid label must be an empty string or consist of \
             alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. \
             'MyValue',  or 'my_value',  or '12345', regex used for validation is \
             '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
        )),
    }
}

fn is_label_key(key: &str) -> bool {
    let (prefix, name) = key
        .split_once('/')
        .map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let prefix_is_good = prefix.is_none_or(|prefix| {
        let inside = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.')
        };
        !prefix.is_empty() && prefix.len() <= 253 && prefix.bytes().all(inside)
    });
    prefix_is_good && !name.is_empty() && is_label_value(name)
}

/// RFC 1123 with `_` and `.`, at most 63 characters, or empty.
pub(crate) fn is_label_value(value: &str) -> bool {
    let bytes = value.as_bytes();
    let edge = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    bytes.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// Terms joined by AND; the empty one selects everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Fields(Vec<Term>);

#[derive(Clone, Debug, PartialEq)]
struct Term {
    field: String,
    equal: bool,
    value: String,
}

impl Fields {
    /// # Errors
    /// The API server's sentence.
    pub(crate) fn parse(input: &str) -> Result<Self, String> {
        let mut terms = Vec::new();
        for part in split_unescaped(input)
            .into_iter()
            .filter(|part| !part.is_empty())
        {
            let Some((field, operator, value)) = split_term(&part) else {
                return Err(format!(
                    "invalid selector: '{input}'; can't understand '{part}'"
                ));
            };
            terms.push(Term {
                field: field.to_owned(),
                equal: operator != "!=",
                value: unescape(value)?,
            });
        }
        Ok(Self(terms))
    }

    pub(crate) fn is_everything(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the term `field=value`.
    pub(crate) fn require(&mut self, field: &str, value: &str) {
        self.0.push(Term {
            field: field.to_owned(),
            equal: true,
            value: value.to_owned(),
        });
    }

    /// What `field` must equal, if a term says so.
    pub(crate) fn exact(&self, field: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|term| term.equal && term.field == field)
            .map(|term| term.value.as_str())
    }

    /// The first field that is not among `known`.
    pub(crate) fn unknown<'a>(&'a self, known: &[&str]) -> Option<&'a str> {
        self.0
            .iter()
            .map(|term| term.field.as_str())
            .find(|field| !known.contains(field))
    }

    /// Whether an object's JSON is selected: a field is a dotted path into it.
    pub(crate) fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|term| {
            let path = format!("/{}", term.field.replace('.', "/"));
            (text(object, &path) == term.value) == term.equal
        })
    }
}

/// At the first operator in the text; nothing is escaped before it.
fn split_term(part: &str) -> Option<(&str, &str, &str)> {
    let at = [part.find("!="), part.find('=')]
        .into_iter()
        .flatten()
        .min()?;
    let (field, rest) = part.split_at_checked(at)?;
    ["!=", "==", "="]
        .into_iter()
        .find_map(|operator| Some((field, operator, rest.strip_prefix(operator)?)))
}

fn split_unescaped(input: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut characters = input.chars();
    while let Some(character) = characters.next() {
        if character == ',' {
            parts.push(String::new());
            continue;
        }
        if let Some(part) = parts.last_mut() {
            part.push(character);
            if character == '\\' {
                part.extend(characters.next());
            }
        }
    }
    parts
}

fn unescape(value: &str) -> Result<String, String> {
    let mut plain = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some(escaped @ ('\\' | ',' | '=')) => plain.push(escaped),
                other => {
                    let sequence: String = std::iter::once('\\').chain(other).collect();
                    return Err(format!(
                        "invalid field selector: invalid escape sequence: {sequence}"
                    ));
                }
            },
            ',' | '=' => {
                return Err(format!(
                    "invalid field selector: unescaped character in value: {}",
                    u32::from(character)
                ));
            }
            other => plain.push(other),
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests;
