//! Cuts the bytes of a watch into frames, one event each, and keeps every frame's exact bytes.
//! It never gives out half a frame and never holds more than one frame may be long.

use bytes::Buf;
use bytes::Bytes;
use bytes::BytesMut;

use super::Broken;
use super::json::Scanner;
use super::json::Token;

/// Largest frame accepted. The API server takes objects of 3 MiB, and JSON may write one byte as six (`\u0000`).
const MAX_FRAME: usize = 32 << 20;

/// How frames follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// One JSON document after the other, usually each followed by a newline.
    Json,
    /// Four bytes, big-endian: length of the document that follows.
    LengthPrefixed,
}

/// One frame, with the bytes that separate it from its neighbours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    bytes: Bytes,
    document: std::ops::Range<usize>,
}

impl Frame {
    /// The frame with this document, framed as the API server does.
    pub fn new(framing: Framing, document: &[u8]) -> Self {
        let mut bytes = BytesMut::with_capacity(document.len() + 4);
        let start = match framing {
            Framing::Json => 0,
            Framing::LengthPrefixed => {
                let length = u32::try_from(document.len()).unwrap_or(u32::MAX);
                bytes.extend_from_slice(&length.to_be_bytes());
                4
            }
        };
        bytes.extend_from_slice(document);
        if framing == Framing::Json {
            bytes.extend_from_slice(b"\n");
        }
        Self {
            bytes: bytes.freeze(),
            document: start..start + document.len(),
        }
    }

    /// What goes to an HTTP client.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The frame without length and newline.
    pub fn document(&self) -> Bytes {
        self.bytes.slice(self.document.clone())
    }
}

/// The cutter of one stream.
#[derive(Debug)]
pub struct Frames {
    framing: Framing,
    limit: usize,
    buffer: BytesMut,
    scanner: Scanner,
    /// How much of `buffer` was scanned already.
    scanned: usize,
    /// Where the document in hand begins and, once it is complete, where it ends.
    start: usize,
    end: Option<usize>,
}

impl Frames {
    /// A cutter before the first byte.
    pub fn new(framing: Framing) -> Self {
        Self::with_limit(framing, MAX_FRAME)
    }

    fn with_limit(framing: Framing, limit: usize) -> Self {
        Self {
            framing,
            limit,
            buffer: BytesMut::new(),
            scanner: fresh_scanner(),
            scanned: 0,
            start: 0,
            end: None,
        }
    }

    /// Takes the next bytes of the stream.
    pub fn push(&mut self, input: &[u8]) {
        self.buffer.extend_from_slice(input);
    }

    /// The next whole frame, if it has arrived.
    ///
    /// # Errors
    /// [`Broken`]: no JSON, or a frame that is too large.
    pub fn take_next(&mut self) -> Result<Option<Frame>, Broken> {
        match self.framing {
            Framing::Json => self.next_json(),
            Framing::LengthPrefixed => self.next_prefixed(),
        }
    }

    /// The last frame of a stream that ended: a JSON document whose newline never came.
    pub fn finish(&mut self) -> Option<Frame> {
        self.end.map(|end| self.take(end))
    }

    fn next_json(&mut self) -> Result<Option<Frame>, Broken> {
        loop {
            let (_, mut rest) = self
                .buffer
                .split_at_checked(self.scanned)
                .unwrap_or_default();
            if let Some(end) = self.end {
                // A newline belongs to the frame before it. Clients that split on newlines would otherwise wait for
                // the next event to see this one.
                match rest.first() {
                    None => return Ok(None),
                    Some(b' ' | b'\t' | b'\r') => self.scanned += 1,
                    Some(b'\n') => {
                        self.scanned += 1;
                        return Ok(Some(self.take(end)));
                    }
                    Some(_) => return Ok(Some(self.take(end))),
                }
                continue;
            }
            let step = self.scanner.step(&mut rest)?;
            self.scanned += step.bytes.len();
            match step.token {
                Some(Token::BeginObject) => self.start = self.scanned - 1,
                Some(_) => self.end = Some(self.scanned),
                None => {}
            }
            if self.scanned > self.limit {
                return Err(self.too_large());
            }
            if step.token.is_none() {
                return Ok(None);
            }
        }
    }

    fn next_prefixed(&mut self) -> Result<Option<Frame>, Broken> {
        let Some(length) = self.buffer.first_chunk::<4>() else {
            return Ok(None);
        };
        let Some(length) = usize::try_from(u32::from_be_bytes(*length))
            .ok()
            .filter(|length| *length <= self.limit)
        else {
            return Err(self.too_large());
        };
        if self.buffer.len() < length + 4 {
            return Ok(None);
        }
        self.start = 4;
        self.scanned = 4 + length;
        Ok(Some(self.take(self.scanned)))
    }

    /// Takes the first `scanned` bytes out as a frame whose document ends at `end`.
    fn take(&mut self, end: usize) -> Frame {
        let document = self.start..end;
        let bytes = self
            .buffer
            .split_to(self.scanned.min(self.buffer.len()))
            .freeze();
        self.scanner = fresh_scanner();
        self.scanned = 0;
        self.start = 0;
        self.end = None;
        if !self.buffer.has_remaining() {
            // Idle watches are many: none keeps a buffer.
            self.buffer = BytesMut::new();
        }
        Frame { bytes, document }
    }

    fn too_large(&self) -> Broken {
        Broken::TooLarge {
            what: "a watch frame",
            limit: self.limit,
        }
    }
}

/// Where a stream stands that is passed on unread: between two frames, or within one.
#[derive(Clone, Debug)]
pub enum Seam {
    /// The API server's JSON has newlines between documents and none in them: the last byte tells.
    Json {
        /// Whether it was one, or none came yet.
        between: bool,
    },
    /// The lengths are counted.
    LengthPrefixed {
        /// As much of the next frame's length as has come.
        length: Vec<u8>,
        /// What is still to come of the frame in hand.
        left: usize,
    },
    /// Nobody can tell, as in a stream that is compressed.
    Unknown,
}

impl Seam {
    /// A stream before its first byte.
    pub fn new(framing: Framing) -> Self {
        match framing {
            Framing::Json => Self::Json { between: true },
            Framing::LengthPrefixed => Self::LengthPrefixed {
                length: Vec::new(),
                left: 0,
            },
        }
    }

    /// These bytes are passed on.
    pub fn pass(&mut self, mut bytes: &[u8]) {
        match self {
            Self::Unknown => {}
            Self::Json { between } => {
                *between = bytes.last().map_or(*between, |last| *last == b'\n')
            }
            Self::LengthPrefixed { length, left } => {
                while !bytes.is_empty() {
                    let of_frame = (*left).min(bytes.len());
                    *left -= of_frame;
                    bytes = bytes.split_at(of_frame).1;
                    let of_length = bytes.len().min(4 - length.len());
                    let (head, rest) = bytes.split_at(of_length);
                    length.extend_from_slice(head);
                    bytes = rest;
                    if let Ok(whole) = <[u8; 4]>::try_from(length.as_slice()) {
                        *left = u32::from_be_bytes(whole) as usize;
                        length.clear();
                    }
                }
            }
        }
    }

    /// Whether the stream may end here.
    pub fn is_between(&self) -> bool {
        match self {
            Self::Unknown => true,
            Self::Json { between } => *between,
            Self::LengthPrefixed { length, left } => length.is_empty() && *left == 0,
        }
    }
}

/// A scanner that reports nothing but where the document begins and ends.
fn fresh_scanner() -> Scanner {
    let mut scanner = Scanner::new();
    scanner.look(0);
    scanner
}

#[cfg(test)]
mod tests;
