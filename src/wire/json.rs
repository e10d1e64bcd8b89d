//! A strict, incremental JSON scanner: fed in chunks of any size, it reports the tokens of the outer levels and where
//! they lie. It builds no values, holds nothing but one short text, and never lets broken JSON pass as whole.
//!
//! Deeper levels than [`Scanner::look`] asks for are still checked byte for byte, but not reported: that is what makes
//! a list of large objects cheap to cut at its items.

mod text;

use std::ops::Range;

use text::Text;

use super::Broken;

/// Deepest nesting accepted. Go's decoder, and so the API server, takes 10 000 levels in one object
/// (`sigs.k8s.io/json internal/golang/encoding/json/scanner.go`); a list or event wraps a few more around it. Less
/// would let whoever may write one odd object break everybody's list.
const MAX_DEPTH: usize = 10_016;

/// What was just read. Texts are in [`Scanner::text`] until the next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// `{`
    BeginObject,
    /// `}`
    EndObject,
    /// `[`
    BeginArray,
    /// `]`
    EndArray,
    /// `,`
    Comma,
    /// The name of an object's member.
    Key,
    /// A string as a value.
    String,
    /// `null`
    Null,
    /// A number, `true` or `false`.
    Scalar,
}

impl Token {
    /// Whether a value is complete with this token.
    pub fn ends_value(self) -> bool {
        match self {
            Self::EndObject | Self::EndArray | Self::String | Self::Null | Self::Scalar => true,
            Self::BeginObject | Self::BeginArray | Self::Comma | Self::Key => false,
        }
    }
}

/// The bytes one step consumed, and the token they ended with; without a token the input is used up.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// From the end of the previous step up to the token's last byte, blanks and colons included.
    pub bytes: &'a [u8],
    /// What was read, if a reported token is complete.
    pub token: Option<Token>,
}

/// The scanner of one document, whose root is an object.
#[derive(Clone, Debug)]
pub struct Scanner {
    state: State,
    /// Open containers, and for each whether it is an object (bit set) or an array.
    depth: usize,
    objects: Vec<u64>,
    /// Tokens in containers up to this depth are reported; the document itself lies at depth 0.
    look: usize,
    offset: usize,
    text: Text,
}

/// What may come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The root's `{`.
    Start,
    /// A key or `}`, right after `{`.
    FirstKey,
    /// A key, after `,`.
    Key,
    Colon,
    /// A value or `]`, right after `[`.
    FirstValue,
    Value,
    /// `,` or the end of the container.
    After,
    /// The rest of a string.
    Text(Role),
    /// What follows a backslash.
    Escape(Role),
    /// Hex digits still to come of `\uXXXX`, and those read.
    Unicode(Role, u8, u16),
    /// Bytes still to come of `true`, `false`, `null`.
    Literal(&'static [u8], Token),
    Number(Number),
    /// Blanks only.
    Done,
}

/// What a string is, and whether it is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Role {
    key: bool,
    wanted: bool,
}

/// How far a number was read (RFC 8259 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    Minus,
    Zero,
    Integer,
    Dot,
    Fraction,
    E,
    ESign,
    Exponent,
}

impl Number {
    /// The state after `byte`, or `None` if `byte` is no part of the number.
    fn then(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Minus, b'0') => Some(Self::Zero),
            (Self::Minus, b'1'..=b'9') | (Self::Integer, b'0'..=b'9') => Some(Self::Integer),
            (Self::Zero | Self::Integer, b'.') => Some(Self::Dot),
            (Self::Dot | Self::Fraction, b'0'..=b'9') => Some(Self::Fraction),
            (Self::Zero | Self::Integer | Self::Fraction, b'e' | b'E') => Some(Self::E),
            (Self::E, b'+' | b'-') => Some(Self::ESign),
            (Self::E | Self::ESign | Self::Exponent, b'0'..=b'9') => Some(Self::Exponent),
            (
                Self::Minus
                | Self::Zero
                | Self::Integer
                | Self::Dot
                | Self::Fraction
                | Self::E
                | Self::ESign
                | Self::Exponent,
                _,
            ) => None,
        }
    }

    fn is_whole(self) -> bool {
        match self {
            Self::Zero | Self::Integer | Self::Fraction | Self::Exponent => true,
            Self::Minus | Self::Dot | Self::E | Self::ESign => false,
        }
    }
}

impl Default for Scanner {
    fn default() -> Self {
        Self::new()
    }
}

impl Scanner {
    /// A scanner before the first byte, which reports the root object's members.
    pub fn new() -> Self {
        Self {
            state: State::Start,
            depth: 0,
            objects: Vec::new(),
            look: 1,
            offset: 0,
            text: Text::default(),
        }
    }

    /// From now on reports tokens that lie in containers up to `depth`: 0 the root itself, 1 its members, and so on.
    pub fn look(&mut self, depth: usize) {
        self.look = depth;
    }

    /// How many containers are open.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// How many bytes were consumed so far.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// The text of the [`Token::Key`] or [`Token::String`] just reported, unescaped as Go's decoder does it. `None` if
    /// it is longer than any name, or no UTF-8.
    pub fn text(&self) -> Option<&str> {
        self.text.get()
    }

    /// The same as bytes, which is all that comparing the name of a member takes.
    pub fn key(&self) -> Option<&[u8]> {
        self.text.bytes()
    }

    /// Whether the document is complete.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Reads up to the end of the next reported token, and moves `input` behind it.
    ///
    /// # Errors
    /// [`Broken::Json`] at the first byte that JSON does not allow, [`Broken::TooLarge`] on absurd nesting.
    pub fn step<'a>(&mut self, input: &mut &'a [u8]) -> Result<Step<'a>, Broken> {
        let all = *input;
        let mut rest = all;
        let token = self.advance(&mut rest)?;
        let (bytes, _) = all.split_at(all.len() - rest.len());
        self.offset += bytes.len();
        *input = rest;
        Ok(Step { bytes, token })
    }

    fn advance(&mut self, rest: &mut &[u8]) -> Result<Option<Token>, Broken> {
        loop {
            // Strings first: most bytes of a Kubernetes document are in them.
            if let State::Text(role) = self.state {
                let (plain, tail) = rest.split_at(text::plain_run(rest));
                if role.wanted {
                    self.text.push(plain);
                }
                let Some((&byte, tail)) = tail.split_first() else {
                    *rest = tail;
                    return Ok(None);
                };
                *rest = tail;
                match byte {
                    b'"' => {
                        self.state = if role.key { State::Colon } else { State::After };
                        if role.wanted {
                            self.text.end();
                            return Ok(Some(if role.key { Token::Key } else { Token::String }));
                        }
                    }
                    b'\\' => self.state = State::Escape(role),
                    _ => return Err(Broken::Json("a control character in a string")),
                }
                continue;
            }
            let Some((&byte, tail)) = rest.split_first() else {
                return Ok(None);
            };
            if let State::Number(number) = self.state {
                match number.then(byte) {
                    Some(number) => {
                        self.state = State::Number(number);
                        *rest = tail;
                    }
                    None if number.is_whole() => {
                        self.state = State::After;
                        if self.depth <= self.look {
                            return Ok(Some(Token::Scalar));
                        }
                    }
                    None => return Err(Broken::Json("a number that stops too early")),
                }
                continue;
            }
            *rest = tail;
            if let Some(token) = self.structural(byte)? {
                return Ok(Some(token));
            }
        }
    }

    /// One byte outside the plain part of strings and outside numbers.
    fn structural(&mut self, byte: u8) -> Result<Option<Token>, Broken> {
        match (self.state, byte) {
            (
                State::Start
                | State::FirstKey
                | State::Key
                | State::Colon
                | State::FirstValue
                | State::Value
                | State::After
                | State::Done,
                b' ' | b'\t' | b'\n' | b'\r',
            ) => Ok(None),
            (State::FirstKey | State::Key, b'"') => Ok(self.begin_text(true)),
            (State::Colon, b':') => {
                self.state = State::Value;
                Ok(None)
            }
            (State::FirstValue | State::Value, b'"') => Ok(self.begin_text(false)),
            (State::After, b',') => {
                self.state = if self.in_object() {
                    State::Key
                } else {
                    State::Value
                };
                Ok((self.depth <= self.look).then_some(Token::Comma))
            }
            (State::FirstKey | State::After, b'}') if self.in_object() => {
                Ok(self.close(Token::EndObject))
            }
            (State::FirstValue | State::After, b']') if !self.in_object() => {
                Ok(self.close(Token::EndArray))
            }
            (State::Start | State::FirstValue | State::Value, b'{') => {
                self.open(Token::BeginObject)
            }
            (State::FirstValue | State::Value, b'[') => self.open(Token::BeginArray),
            (State::FirstValue | State::Value, _) => self.begin_scalar(byte),
            (State::Literal([expected, more @ ..], token), _) if *expected == byte => {
                if !more.is_empty() {
                    self.state = State::Literal(more, token);
                    return Ok(None);
                }
                self.state = State::After;
                Ok((self.depth <= self.look).then_some(token))
            }
            (State::Escape(role), _) => self.escape(role, byte),
            (State::Unicode(role, left, unit), _) => self.unicode(role, left, unit, byte),
            (State::Start, _) => Err(Broken::Json("the document is not an object")),
            (State::Done, _) => Err(Broken::Json("something follows the document")),
            (State::FirstKey | State::Key, _) => Err(Broken::Json("a member's name was expected")),
            (State::Colon, _) => Err(Broken::Json("a colon was expected")),
            (State::After, _) => Err(Broken::Json(
                "a comma or the end of the container was expected",
            )),
            (State::Literal(..), _) => Err(Broken::Json("neither true, false nor null")),
            (State::Text(_) | State::Number(_), _) => Err(Broken::Json("a byte out of place")),
        }
    }

    fn begin_text(&mut self, key: bool) -> Option<Token> {
        let wanted = self.depth <= self.look;
        if wanted {
            self.text.begin();
        }
        self.state = State::Text(Role { key, wanted });
        None
    }

    fn begin_scalar(&mut self, byte: u8) -> Result<Option<Token>, Broken> {
        self.state = match byte {
            b't' => State::Literal(b"rue", Token::Scalar),
            b'f' => State::Literal(b"alse", Token::Scalar),
            b'n' => State::Literal(b"ull", Token::Null),
            b'-' => State::Number(Number::Minus),
            b'0' => State::Number(Number::Zero),
            b'1'..=b'9' => State::Number(Number::Integer),
            _ => return Err(Broken::Json("a value was expected")),
        };
        Ok(None)
    }

    fn escape(&mut self, role: Role, byte: u8) -> Result<Option<Token>, Broken> {
        let plain = match byte {
            b'"' | b'\\' | b'/' => byte,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                self.state = State::Unicode(role, 4, 0);
                return Ok(None);
            }
            _ => return Err(Broken::Json("an unknown escape")),
        };
        if role.wanted {
            self.text.push(&[plain]);
        }
        self.state = State::Text(role);
        Ok(None)
    }

    fn unicode(
        &mut self,
        role: Role,
        left: u8,
        unit: u16,
        byte: u8,
    ) -> Result<Option<Token>, Broken> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            _ => return Err(Broken::Json("a bad \\u escape")),
        };
        let unit = unit << 4 | u16::from(digit);
        if left > 1 {
            self.state = State::Unicode(role, left - 1, unit);
            return Ok(None);
        }
        if role.wanted {
            self.text.push_unit(unit);
        }
        self.state = State::Text(role);
        Ok(None)
    }

    fn open(&mut self, token: Token) -> Result<Option<Token>, Broken> {
        if self.depth == MAX_DEPTH {
            return Err(Broken::TooLarge {
                what: "nesting",
                limit: MAX_DEPTH,
            });
        }
        let reported = self.depth <= self.look;
        let object = token == Token::BeginObject;
        let (word, bit) = (self.depth / 64, 1_u64 << (self.depth % 64));
        if word == self.objects.len() {
            self.objects.push(0);
        }
        if let Some(word) = self.objects.get_mut(word) {
            *word = if object { *word | bit } else { *word & !bit };
        }
        self.depth += 1;
        self.state = if object {
            State::FirstKey
        } else {
            State::FirstValue
        };
        Ok(reported.then_some(token))
    }

    /// The caller has checked that a container of this kind is open.
    fn close(&mut self, token: Token) -> Option<Token> {
        self.depth = self.depth.saturating_sub(1);
        self.state = if self.depth == 0 {
            State::Done
        } else {
            State::After
        };
        (self.depth <= self.look).then_some(token)
    }

    fn in_object(&self) -> bool {
        let Some(top) = self.depth.checked_sub(1) else {
            return false;
        };
        self.objects
            .get(top / 64)
            .is_some_and(|word| word >> (top % 64) & 1 == 1)
    }
}

/// Scanner over a document that lies whole in memory.
#[derive(Debug)]
pub struct Cursor<'a> {
    /// Where texts, depth and offset are asked for.
    pub scanner: Scanner,
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// Before the first byte of `document`.
    pub fn new(document: &'a [u8]) -> Self {
        Self {
            scanner: Scanner::new(),
            rest: document,
        }
    }

    /// Before the value that lies at `range` in `document`; offsets are those of the whole.
    pub fn at(document: &'a [u8], range: Range<usize>) -> Self {
        let mut scanner = Scanner::new();
        scanner.offset = range.start;
        Self {
            scanner,
            rest: document.get(range).unwrap_or_default(),
        }
    }

    /// The next token.
    ///
    /// # Errors
    /// [`Broken`]: not JSON, or no further token.
    pub fn token(&mut self) -> Result<Token, Broken> {
        self.scanner
            .step(&mut self.rest)?
            .token
            .ok_or(Broken::Short)
    }

    /// Skips what is left of a value whose first token was `first`, looking no deeper than `depth`, at which it lies.
    ///
    /// # Errors
    /// As [`Self::token`].
    pub fn skip(&mut self, first: Token, depth: usize) -> Result<(), Broken> {
        self.scanner.look(depth);
        let mut token = first;
        while !(token.ends_value() && self.scanner.depth() == depth) {
            token = self.token()?;
        }
        Ok(())
    }

    /// Checks that nothing but blanks follows the document.
    ///
    /// # Errors
    /// [`Broken`] if something does, or if the document is not over.
    pub fn finish(mut self) -> Result<(), Broken> {
        let last = self.scanner.step(&mut self.rest)?;
        if last.token.is_none() && self.scanner.is_done() {
            Ok(())
        } else {
            Err(Broken::Short)
        }
    }
}

#[cfg(test)]
mod tests;
