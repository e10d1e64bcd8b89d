//! Just enough protobuf to write a `Status`: varints and length-prefixed fields. It reads nothing.

/// A message under construction. Fields are written in the order of the calls, empty ones too, as Kubernetes'
/// generated code (proto2, non-nullable) does.
#[derive(Debug, Default)]
pub(super) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// A string, `bytes`, or an embedded message.
    pub(super) fn bytes(mut self, field: u8, content: &[u8]) -> Self {
        self.bytes.push(field << 3 | 2);
        self.varint(content.len() as u64);
        self.bytes.extend_from_slice(content);
        self
    }

    /// An integer that is not negative.
    pub(super) fn number(mut self, field: u8, value: u64) -> Self {
        self.bytes.push(field << 3);
        self.varint(value);
        self
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }
}
