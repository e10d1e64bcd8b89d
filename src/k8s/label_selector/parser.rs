//! From text to requirements, token by token. Each refusal is worded as the API server words it.
#![expect(
    clippy::wildcard_enum_match_arm,
    clippy::match_wildcard_for_single_variants,
    reason = "a grammar lists what it accepts; every other token, known or new, is refused"
)]

use super::BadSelector;
use super::Requirement;
use super::Test;
use super::validate;
use crate::k8s::escape::quote;

/// # Errors
/// The API server's own sentence.
pub(super) fn parse(text: &str) -> Result<Vec<Requirement>, BadSelector> {
    // The API server's lexer takes a NUL for the end of the text and silently drops what follows.
    if text.contains('\0') {
        return refuse("invalid selector: it holds a NUL character");
    }
    let mut tokens = Tokens::new(text);
    let mut requirements = Vec::new();
    loop {
        match tokens.peek() {
            Token::Word(_) | Token::Symbol("!") => {
                let requirement = requirement(&mut tokens).map_err(|BadSelector(why)| {
                    BadSelector(format!("unable to parse requirement: {why}"))
                })?;
                requirements.push(requirement);
                match tokens.next() {
                    Token::End => return Ok(requirements),
                    Token::Symbol(",") => match tokens.peek() {
                        Token::Word(_) | Token::Symbol("!") => {}
                        other => return found(other, ", expected: identifier after ','"),
                    },
                    other => return found(other, ", expected: ',' or 'end of string'"),
                }
            }
            Token::End => return Ok(requirements),
            other => return found(other, ", expected: !, identifier, or 'end of string'"),
        }
    }
}

fn requirement(tokens: &mut Tokens<'_>) -> Result<Requirement, BadSelector> {
    let negated = tokens.peek() == Token::Symbol("!");
    if negated {
        tokens.next();
    }
    let key = match tokens.next() {
        Token::Word(word) => word,
        other => return found(other, ", expected: identifier"),
    };
    if let Err(wrong) = validate::label_key(key) {
        return refuse(invalid("<nil>", key, &wrong.join("; ")));
    }
    let requirement = |test| Requirement {
        key: key.to_owned(),
        test,
    };
    // Whatever follows `!key` is looked at by the caller, who accepts nothing but a comma and the end.
    if negated {
        return Ok(requirement(Test::Absent));
    }
    match tokens.peek() {
        Token::End | Token::Symbol(",") => Ok(requirement(Test::Exists)),
        Token::Word(_) | Token::Symbol(_) => test(key, tokens).map(requirement),
    }
}

/// Operator and values behind `key`.
fn test(key: &str, tokens: &mut Tokens<'_>) -> Result<Test, BadSelector> {
    match tokens.next() {
        Token::Word("in") => Ok(Test::In(value_list(key, tokens)?)),
        Token::Word("notin") => Ok(Test::NotIn(value_list(key, tokens)?)),
        Token::Symbol("=" | "==") => Ok(Test::In(vec![one_value(key, tokens)?])),
        Token::Symbol("!=") => Ok(Test::NotIn(vec![one_value(key, tokens)?])),
        Token::Symbol(">") => Ok(Test::Greater(integer(key, tokens)?)),
        Token::Symbol("<") => Ok(Test::Less(integer(key, tokens)?)),
        other => found(other, ", expected: in, notin, =, ==, !=, gt, lt"),
    }
}

/// `(a,b)`: sorted and distinct. A missing value, even the only one, is the empty string.
fn value_list(key: &str, tokens: &mut Tokens<'_>) -> Result<Vec<String>, BadSelector> {
    match tokens.next() {
        Token::Symbol("(") => {}
        other => return found(other, " expected: '('"),
    }
    let mut values = Vec::new();
    match tokens.peek() {
        Token::Symbol(")") => {
            tokens.next();
            values.push("");
        }
        Token::Word(_) | Token::Symbol(",") => values_up_to_parenthesis(&mut values, tokens)?,
        other => return found(other, ", expected: ',', ')' or identifier"),
    }
    values.sort_unstable();
    values.dedup();
    let mut wrong = Vec::new();
    for (index, value) in values.iter().enumerate() {
        wrong.extend(wrong_value(key, index, value));
    }
    refuse_all(wrong)?;
    Ok(values.into_iter().map(str::to_owned).collect())
}

fn values_up_to_parenthesis<'a>(
    values: &mut Vec<&'a str>,
    tokens: &mut Tokens<'a>,
) -> Result<(), BadSelector> {
    loop {
        match tokens.next() {
            Token::Word(word) => {
                values.push(word);
                match tokens.peek() {
                    Token::Symbol(",") => {}
                    Token::Symbol(")") => {
                        tokens.next();
                        return Ok(());
                    }
                    other => return found(other, ", expected: ',' or ')'"),
                }
            }
            Token::Symbol(",") => {
                if values.is_empty() {
                    values.push("");
                }
                match tokens.peek() {
                    Token::Symbol(")") => {
                        tokens.next();
                        values.push("");
                        return Ok(());
                    }
                    Token::Symbol(",") => values.push(""),
                    Token::Word(_) | Token::Symbol(_) | Token::End => {}
                }
            }
            other => return found(other, ", expected: ',', or identifier"),
        }
    }
}

fn one_value(key: &str, tokens: &mut Tokens<'_>) -> Result<String, BadSelector> {
    let value = value_behind_operator(tokens)?;
    refuse_all(wrong_value(key, 0, value).into_iter().collect())?;
    Ok(value.to_owned())
}

fn integer(key: &str, tokens: &mut Tokens<'_>) -> Result<i64, BadSelector> {
    let value = value_behind_operator(tokens)?;
    let number = value.parse();
    let not_a_number = || {
        invalid(
            "values[0]",
            value,
            "for 'Gt', 'Lt' operators, the value must be an integer",
        )
    };
    let mut wrong: Vec<_> = number.is_err().then(not_a_number).into_iter().collect();
    wrong.extend(wrong_value(key, 0, value));
    refuse_all(wrong)?;
    number.or_else(|_: std::num::ParseIntError| refuse(not_a_number()))
}

fn value_behind_operator<'a>(tokens: &mut Tokens<'a>) -> Result<&'a str, BadSelector> {
    match tokens.peek() {
        Token::End | Token::Symbol(",") => Ok(""),
        Token::Word(word) => {
            tokens.next();
            Ok(word)
        }
        other @ Token::Symbol(_) => found(other, ", expected: identifier"),
    }
}

fn wrong_value(key: &str, index: usize, value: &str) -> Option<String> {
    let wrong = validate::label_value(value).err()?;
    Some(invalid(
        &format!("values[{index}][{key}]"),
        value,
        &wrong.join("; "),
    ))
}

/// `field.Invalid` upstream.
fn invalid(field: &str, value: &str, detail: &str) -> String {
    format!("{field}: Invalid value: {}: {detail}", quote(value))
}

/// `ErrorList.ToAggregate` upstream: brackets around more than one.
fn refuse_all(mut wrong: Vec<String>) -> Result<(), BadSelector> {
    match wrong.len() {
        0 => Ok(()),
        1 => refuse(wrong.remove(0)),
        _ => refuse(format!("[{}]", wrong.join(", "))),
    }
}

fn found<T>(token: Token<'_>, expected: &str) -> Result<T, BadSelector> {
    let text = match token {
        Token::Word(text) | Token::Symbol(text) => text,
        Token::End => "",
    };
    refuse(format!("found '{text}'{expected}"))
}

fn refuse<T>(why: impl Into<String>) -> Result<T, BadSelector> {
    Err(BadSelector(why.into()))
}

/// `in` and `notin` are words: only where an operator may stand do they mean anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Symbol(&'a str),
    End,
}

/// Cuts the text into tokens, the longest symbol first: `==`, `!=`, `= ! ( ) , > <`.
struct Tokens<'a> {
    rest: &'a str,
    peeked: Option<Token<'a>>,
}

impl<'a> Tokens<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            rest: text,
            peeked: None,
        }
    }

    fn peek(&mut self) -> Token<'a> {
        let token = self.next();
        self.peeked = Some(token);
        token
    }

    fn next(&mut self) -> Token<'a> {
        if let Some(token) = self.peeked.take() {
            return token;
        }
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let symbols = ["==", "!=", "=", "!", "(", ")", ",", ">", "<"];
        if let Some(symbol) = symbols
            .into_iter()
            .find(|symbol| self.rest.starts_with(symbol))
        {
            self.rest = self.rest.strip_prefix(symbol).unwrap_or_default();
            return Token::Symbol(symbol);
        }
        let ends = |c| {
            matches!(
                c,
                ' ' | '\t' | '\r' | '\n' | '=' | '!' | '(' | ')' | ',' | '>' | '<'
            )
        };
        let (word, rest) = self
            .rest
            .split_at_checked(self.rest.find(ends).unwrap_or(self.rest.len()))
            .unwrap_or_default();
        self.rest = rest;
        if word.is_empty() {
            Token::End
        } else {
            Token::Word(word)
        }
    }
}
