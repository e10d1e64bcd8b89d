//! Strings of JSON: finding their end quickly, and unescaping the few that are wanted.

/// Longest text kept. Longer ones are no name, uid or resourceVersion; that they are there is all that is known.
const MAX_TEXT: usize = 4096;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Length of the longest prefix without a quote, a backslash or a control character: eight bytes at a time.
pub(super) fn plain_run(bytes: &[u8]) -> usize {
    let (chunks, tail) = bytes.as_chunks::<8>();
    for (index, chunk) in chunks.iter().enumerate() {
        let hits = special(u64::from_le_bytes(*chunk));
        if hits != 0 {
            return index * 8 + hits.trailing_zeros() as usize / 8;
        }
    }
    let special = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
    chunks.len() * 8 + tail.iter().position(special).unwrap_or(tail.len())
}

/// A high bit in the lowest byte that is special (higher bytes may be marked wrongly: only the lowest is used).
///
/// `(x - 1) & !x & 0x80` marks a byte that is zero, `(x - 0x20) & !x & 0x80` one below 0x20
/// (Anderson, "Bit Twiddling Hacks").
fn special(word: u64) -> u64 {
    let quote = word ^ (ONES * 0x22);
    let backslash = word ^ (ONES * 0x5c);
    let zero = (quote.wrapping_sub(ONES) & !quote) | (backslash.wrapping_sub(ONES) & !backslash);
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (zero | control) & HIGHS
}

/// One unescaped text.
#[derive(Clone, Debug, Default)]
pub(super) struct Text {
    bytes: Vec<u8>,
    long: bool,
    /// First half of a surrogate pair.
    high: Option<u16>,
}

impl Text {
    pub(super) fn begin(&mut self) {
        self.bytes.clear();
        self.long = false;
        self.high = None;
    }

    pub(super) fn push(&mut self, plain: &[u8]) {
        if plain.is_empty() {
            return;
        }
        self.flush();
        if self.bytes.len() + plain.len() > MAX_TEXT {
            self.long = true;
        } else {
            self.bytes.extend_from_slice(plain);
        }
    }

    /// A UTF-16 unit of a `\u` escape. As in Go's decoder, half a pair alone becomes U+FFFD.
    pub(super) fn push_unit(&mut self, unit: u16) {
        if let (Some(high), 0xdc00..=0xdfff) = (self.high, unit) {
            self.high = None;
            let code = 0x1_0000 + ((u32::from(high) - 0xd800) << 10) + (u32::from(unit) - 0xdc00);
            self.push_char(char::from_u32(code));
            return;
        }
        self.flush();
        match unit {
            0xd800..=0xdbff => self.high = Some(unit),
            _ => self.push_char(char::from_u32(unit.into())),
        }
    }

    pub(super) fn end(&mut self) {
        self.flush();
    }

    pub(super) fn bytes(&self) -> Option<&[u8]> {
        (!self.long).then_some(&self.bytes)
    }

    pub(super) fn get(&self) -> Option<&str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    fn flush(&mut self) {
        if self.high.take().is_some() {
            self.push_char(None);
        }
    }

    fn push_char(&mut self, char: Option<char>) {
        let mut buffer = [0; 4];
        let encoded = char
            .unwrap_or(char::REPLACEMENT_CHARACTER)
            .encode_utf8(&mut buffer);
        self.push(encoded.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_run_ends_at_the_first_special_byte(bytes: Vec<u8>) {
            let slow = bytes.iter().position(|byte| *byte < 0x20 || *byte == b'"' || *byte == b'\\');
            prop_assert_eq!(plain_run(&bytes), slow.unwrap_or(bytes.len()));
        }

        #[test]
        fn the_run_ends_there_in_plain_text_too(text in "[ -~é]{0,40}") {
            let slow = text.bytes().position(|byte| byte == b'"' || byte == b'\\');
            prop_assert_eq!(plain_run(text.as_bytes()), slow.unwrap_or(text.len()));
        }
    }
}
