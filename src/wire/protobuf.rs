//! Kubernetes' use of protobuf, without any schema but the few field numbers that name an object
//! (`generated.proto` of apimachinery `pkg/runtime` and `pkg/apis/meta/v1`; they can never change).
//!
//! A field that occurs twice where readers keep only the last is an error here, never a choice.

use bytes::BufMut;

use super::Broken;
use super::object::INITIAL_EVENTS_END;
use super::object::ObjectMeta;
use super::object::Wanted;

/// What every stored or sent object begins with (`apimachinery pkg/runtime/serializer/protobuf`).
pub const MAGIC: &[u8] = b"k8s\0";

/// Field numbers.
pub mod field {
    #![allow(missing_docs, reason = "the API's own words")]
    pub mod unknown {
        pub const TYPE_META: u32 = 1;
        pub const RAW: u32 = 2;
        pub const CONTENT_ENCODING: u32 = 3;
        pub const CONTENT_TYPE: u32 = 4;
    }
    pub mod type_meta {
        pub const API_VERSION: u32 = 1;
        pub const KIND: u32 = 2;
    }
    pub mod list {
        pub const METADATA: u32 = 1;
        pub const ITEMS: u32 = 2;
    }
    pub mod list_meta {
        pub const SELF_LINK: u32 = 1;
        pub const RESOURCE_VERSION: u32 = 2;
        pub const CONTINUE: u32 = 3;
        pub const REMAINING_ITEM_COUNT: u32 = 4;
        pub const SHARD_INFO: u32 = 5;
    }
    pub mod object {
        pub const METADATA: u32 = 1;
    }
    pub mod object_meta {
        pub const NAME: u32 = 1;
        pub const NAMESPACE: u32 = 3;
        pub const UID: u32 = 5;
        pub const RESOURCE_VERSION: u32 = 6;
        pub const LABELS: u32 = 11;
        pub const ANNOTATIONS: u32 = 12;
    }
    pub mod map_entry {
        pub const KEY: u32 = 1;
        pub const VALUE: u32 = 2;
    }
    pub mod watch_event {
        pub const TYPE: u32 = 1;
        pub const OBJECT: u32 = 2;
    }
    pub mod raw_extension {
        pub const RAW: u32 = 1;
    }
    pub mod status {
        pub const METADATA: u32 = 1;
        pub const STATUS: u32 = 2;
        pub const MESSAGE: u32 = 3;
        pub const REASON: u32 = 4;
        pub const CODE: u32 = 6;
    }
}

/// One field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its number.
    pub number: u32,
    /// Its content.
    pub value: Value<'a>,
    /// All its bytes, tag included.
    pub bytes: &'a [u8],
}

/// The content of a field, as far as the wire tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Integers, booleans, enums.
    Varint(u64),
    /// Strings, bytes, messages.
    Bytes(&'a [u8]),
    /// Eight or four bytes.
    Fixed,
}

impl<'a> Field<'a> {
    /// The content of a string, bytes or message field.
    ///
    /// # Errors
    /// [`Broken::Protobuf`] if it has another wire type.
    pub fn content(&self) -> Result<&'a [u8], Broken> {
        match self.value {
            Value::Bytes(content) => Ok(content),
            Value::Varint(_) | Value::Fixed => {
                Err(Broken::Protobuf("a field of an unexpected wire type"))
            }
        }
    }
}

/// Head of a field: what must be known before its content has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The field's number.
    pub number: u32,
    /// Whether its content is of the kind that carries a length.
    pub delimited: bool,
    /// Bytes of tag and length.
    pub head: usize,
    /// Bytes that follow.
    pub content: usize,
}

impl Head {
    /// All bytes of the field.
    pub fn total(&self) -> usize {
        self.head.saturating_add(self.content)
    }

    /// Reads tag and length at the start of `bytes`; `None` if more are needed.
    ///
    /// # Errors
    /// [`Broken::Protobuf`]: field number 0, a group (which Kubernetes never had), an overlong varint or length.
    pub fn read(bytes: &[u8]) -> Result<Option<Self>, Broken> {
        let Some((tag, after_tag)) = varint(bytes)? else {
            return Ok(None);
        };
        let Ok(number @ 1..=0x1fff_ffff) = u32::try_from(tag >> 3) else {
            return Err(Broken::Protobuf("a field number out of range"));
        };
        let head = bytes.len() - after_tag.len();
        let (delimited, head, content) = match tag & 7 {
            0 => match varint(after_tag)? {
                Some((_, rest)) => (false, head, after_tag.len() - rest.len()),
                None => return Ok(None),
            },
            1 => (false, head, 8),
            2 => match varint(after_tag)? {
                Some((length, rest)) => {
                    let length = usize::try_from(length)
                        .ok()
                        .filter(|length| *length <= MAX_LENGTH);
                    let length = length.ok_or(Broken::Protobuf("a length out of range"))?;
                    (true, bytes.len() - rest.len(), length)
                }
                None => return Ok(None),
            },
            5 => (false, head, 4),
            _ => return Err(Broken::Protobuf("a group or an unknown wire type")),
        };
        Ok(Some(Self {
            number,
            delimited,
            head,
            content,
        }))
    }
}

/// Longest length protobuf allows.
const MAX_LENGTH: usize = 0x7fff_ffff;

/// A base-128 varint at the start of `bytes`, and what follows; `None` if it is not complete.
fn varint(bytes: &[u8]) -> Result<Option<(u64, &[u8])>, Broken> {
    let mut value = 0_u64;
    let mut rest = bytes;
    for shift in (0..64).step_by(7) {
        let Some((&byte, tail)) = rest.split_first() else {
            return Ok(None);
        };
        rest = tail;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            break;
        }
        value |= bits << shift;
        if byte < 0x80 {
            return Ok(Some((value, rest)));
        }
    }
    Err(Broken::Protobuf("a varint of more than 64 bits"))
}

/// The fields of a message that lies whole in memory.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Of `message`.
    pub fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn read(&mut self) -> Result<Field<'a>, Broken> {
        let head = Head::read(self.rest)?.ok_or(Broken::Short)?;
        let (bytes, rest) = self
            .rest
            .split_at_checked(head.total())
            .ok_or(Broken::Short)?;
        self.rest = rest;
        let (_, content) = bytes.split_at_checked(head.head).ok_or(Broken::Short)?;
        let value = if head.delimited {
            Value::Bytes(content)
        } else {
            match varint(content)? {
                Some((value, [])) if bytes.first().is_some_and(|tag| tag & 7 == 0) => {
                    Value::Varint(value)
                }
                Some(_) | None => Value::Fixed,
            }
        };
        Ok(Field {
            number: head.number,
            value,
            bytes,
        })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// A field that may occur once.
pub(crate) struct Once<T> {
    name: &'static str,
    value: Option<T>,
}

impl<T> Once<T> {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, value: None }
    }

    pub(crate) fn set(&mut self, value: T) -> Result<(), Broken> {
        if self.value.replace(value).is_some() {
            return Err(Broken::Twice(self.name));
        }
        Ok(())
    }

    pub(crate) fn take(self) -> Option<T> {
        self.value
    }
}

/// `k8s\0` and `runtime.Unknown`: an object in its envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// `typeMeta.kind`; empty if absent.
    pub kind: &'a str,
    /// The object's own message.
    pub raw: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Reads an object in its envelope.
    ///
    /// # Errors
    /// [`Broken`]: no `k8s\0`, broken fields, an encoded content, or a field twice.
    pub fn read(document: &'a [u8]) -> Result<Self, Broken> {
        let unknown = document
            .strip_prefix(MAGIC)
            .ok_or(Broken::Protobuf("no k8s prefix"))?;
        let (mut kind, mut raw) = (Once::new("typeMeta"), Once::new("raw"));
        for field in Fields::of(unknown) {
            let field = field?;
            match field.number {
                field::unknown::TYPE_META => kind.set(kind_of(field.content()?)?)?,
                field::unknown::RAW => raw.set(field.content()?)?,
                field::unknown::CONTENT_ENCODING if !field.content()?.is_empty() => {
                    return Err(Broken::Protobuf("an encoded content"));
                }
                _ => {}
            }
        }
        Ok(Self {
            kind: kind.take().unwrap_or_default(),
            raw: raw.take().unwrap_or_default(),
        })
    }
}

/// `kind` of a `runtime.TypeMeta`.
///
/// # Errors
/// [`Broken`]: broken fields, or `kind` twice.
pub fn kind_of(type_meta: &[u8]) -> Result<&str, Broken> {
    let mut kind = Once::new("typeMeta.kind");
    for field in Fields::of(type_meta) {
        let field = field?;
        if field.number == field::type_meta::KIND {
            kind.set(text(field.content()?)?)?;
        }
    }
    Ok(kind.take().unwrap_or_default())
}

/// Reads the metadata of an object's own message (no envelope) into `meta`, so much as is `wanted`.
///
/// # Errors
/// [`Broken`]: broken fields, or a field of interest twice (gogo/protobuf merges messages and keeps the last string).
pub fn read_meta(object: &[u8], wanted: Wanted, meta: &mut ObjectMeta) -> Result<(), Broken> {
    meta.clear();
    let mut metadata = Once::new("metadata");
    for field in Fields::of(object) {
        let field = field?;
        if field.number == field::object::METADATA {
            metadata.set(field.content()?)?;
        }
    }
    let mut seen = 0_u32;
    for field in Fields::of(metadata.take().unwrap_or_default()) {
        let field = field?;
        let target = match field.number {
            field::object_meta::NAME => &mut meta.name,
            field::object_meta::NAMESPACE => &mut meta.namespace,
            field::object_meta::UID => &mut meta.uid,
            field::object_meta::RESOURCE_VERSION => &mut meta.resource_version,
            field::object_meta::ANNOTATIONS => {
                let (key, value) = map_entry(field.content()?)?;
                meta.initial_events_end |= key == INITIAL_EVENTS_END.as_bytes() && value == b"true";
                continue;
            }
            field::object_meta::LABELS => {
                if wanted == Wanted::Labels {
                    let (key, value) = map_entry(field.content()?)?;
                    meta.labels.push(text(key)?, text(value)?);
                }
                continue;
            }
            _ => continue,
        };
        // The numbers of interest are all below 32.
        if seen & (1 << field.number) != 0 {
            return Err(Broken::Twice("a field of metadata"));
        }
        seen |= 1 << field.number;
        target.push_str(text(field.content()?)?);
    }
    meta.labels.seal()
}

/// Key and value of a `map<string, string>` entry.
fn map_entry(entry: &[u8]) -> Result<(&[u8], &[u8]), Broken> {
    let (mut key, mut value) = (Once::new("key"), Once::new("value"));
    for field in Fields::of(entry) {
        let field = field?;
        match field.number {
            field::map_entry::KEY => key.set(field.content()?)?,
            field::map_entry::VALUE => value.set(field.content()?)?,
            _ => {}
        }
    }
    Ok((
        key.take().unwrap_or_default(),
        value.take().unwrap_or_default(),
    ))
}

/// The text of a string field.
///
/// # Errors
/// [`Broken::Protobuf`] if it is no UTF-8.
pub fn text(content: &[u8]) -> Result<&str, Broken> {
    match std::str::from_utf8(content) {
        Ok(text) => Ok(text),
        Err(_) => Err(Broken::Protobuf("a string that is no UTF-8")),
    }
}

/// Appends the tag and length of a field whose `length` bytes the caller appends next.
pub fn put_head(number: u32, length: usize, out: &mut impl BufMut) {
    put_varint(u64::from(number) << 3 | 2, out);
    put_varint(length as u64, out);
}

/// Appends a string, bytes or message field.
pub fn put(number: u32, content: &[u8], out: &mut impl BufMut) {
    put_head(number, content.len(), out);
    out.put_slice(content);
}

/// Appends an integer field.
pub fn put_integer(number: u32, value: u64, out: &mut impl BufMut) {
    put_varint(u64::from(number) << 3, out);
    put_varint(value, out);
}

fn put_varint(mut value: u64, out: &mut impl BufMut) {
    while value >= 0x80 {
        out.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

#[cfg(test)]
mod tests;
