//! Percent escapes and quotes as Go reads and writes them. It accepts nothing that Go would drop or repair.

use std::fmt::Write;

/// What a `+` stands for, which differs between the two halves of a target (`net/url` `unescape`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plus {
    /// Itself: in a path.
    Literal,
    /// A blank: in a query.
    Blank,
}

/// Undoes percent escapes. `None` for a `%` without two hex digits, and for bytes that are no UTF-8.
pub(super) fn decode(text: &str, plus: Plus) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            b'+' if plus == Plus::Blank => b' ',
            other => other,
        });
    }
    String::from_utf8(decoded).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

/// Appends `text` to `target` with everything escaped but RFC 3986's unreserved characters, so that no reader on the
/// way can take a character for a delimiter.
pub(super) fn encode(text: &str, target: &mut String) {
    const RESERVED: percent_encoding::AsciiSet = percent_encoding::NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');
    target.extend(percent_encoding::utf8_percent_encode(text, &RESERVED));
}

/// `text` as Go's `%q` prints it, for error texts that must read like the API server's.
///
/// Beyond ASCII, "printable" is Rust's notion of it, which differs from Go's in rare characters.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            ' '..='~' => quoted.push(c),
            c => {
                let code = u32::from(c);
                // Writing to a String cannot fail.
                let _ = if c.is_ascii() {
                    write!(quoted, "\\x{code:02x}")
                } else if is_printable(c) {
                    write!(quoted, "{c}")
                } else if code < 0x1_0000 {
                    write!(quoted, "\\u{code:04x}")
                } else {
                    write!(quoted, "\\U{code:08x}")
                };
            }
        }
    }
    quoted.push('"');
    quoted
}

fn is_printable(c: char) -> bool {
    // At the start of a string, combining marks would be escaped too.
    let mut text = String::from("a");
    text.push(c);
    text.escape_debug().count() == 2
}

/// Whether every `%` stands before two hex digits; what they decode to does not matter.
pub(super) fn is_well_escaped(text: &str) -> bool {
    text.split('%').skip(1).all(|after| {
        let mut bytes = after.bytes();
        let mut is_digit = || bytes.next().and_then(hex).is_some();
        is_digit() && is_digit()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone_once_and_only_if_whole() {
        for (text, plus, wanted) in [
            ("a%2Fb", Plus::Literal, Some("a/b")),
            ("a%2fb", Plus::Literal, Some("a/b")),
            ("%252F", Plus::Literal, Some("%2F")),
            ("a+b", Plus::Literal, Some("a+b")),
            ("a+b", Plus::Blank, Some("a b")),
            ("a%2Bb", Plus::Blank, Some("a+b")),
            ("%C3%A9é", Plus::Literal, Some("éé")),
            ("%", Plus::Literal, None),
            ("%4", Plus::Literal, None),
            ("%zz", Plus::Literal, None),
            ("%+1", Plus::Blank, None),
            ("%ff", Plus::Literal, None),
        ] {
            assert_eq!(decode(text, plus).as_deref(), wanted, "{text}");
        }
    }

    #[test]
    fn quotes_read_like_gos() {
        for (text, wanted) in [
            ("a b", r#""a b""#),
            ("a\"\\", r#""a\"\\""#),
            ("\u{0}\u{7f}\t", r#""\x00\x7f\t""#),
            ("é", r#""é""#),
            ("\u{301}", "\"\u{301}\""),
            ("\u{200b}", r#""\u200b""#),
        ] {
            assert_eq!(quote(text), wanted);
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_encoded_decodes_to_itself(text in ".*") {
            for plus in [Plus::Literal, Plus::Blank] {
                let mut encoded = String::new();
                encode(&text, &mut encoded);
                proptest::prop_assert_eq!(decode(&encoded, plus), Some(text.clone()));
            }
        }
    }
}
