//! Lists in protobuf. The length of a list's content stands before it, and items are left out of that content: so what
//! is kept is held until the end, up to [`MAX_KEPT`]. A list that is kept whole streams, for its length is known as
//! soon as its metadata, which comes first, was read.
//!
//! Considered and left: filling the place of dropped items with an unknown field of the same length would stream, but
//! tell the size of what is hidden; repeating the content field does not add up, readers keep the last one.

use bytes::Buf;
use bytes::BytesMut;

use super::Broken;
use super::MAX_ITEM;
use super::MAX_KEPT;
use super::Seen;
use super::is_list;
use super::too_large;
use crate::policy::Keep;
use crate::wire;
use crate::wire::Layout;
use crate::wire::object::ObjectMeta;
use crate::wire::protobuf;
use crate::wire::protobuf::Fields;
use crate::wire::protobuf::Head;
use crate::wire::protobuf::MAGIC;
use crate::wire::protobuf::field;

#[derive(Debug)]
pub(super) struct ProtobufList {
    keep: Keep,
    /// Bytes that came and were not read yet: less than one field.
    pending: BytesMut,
    place: Place,
    /// `typeMeta`, as it came.
    type_meta: Option<Vec<u8>>,
    /// Whether the content (`raw`) began.
    content: bool,
    /// `ListMeta` without what would tell of dropped items, tag included.
    metadata: Option<Vec<u8>>,
    /// Whether the envelope up to the first item went out. Where items may be dropped that happens at the very end.
    head_sent: bool,
    /// The items kept, tags included, and how much of them is held at the most.
    kept: BytesMut,
    most_kept: usize,
    /// Envelope fields behind the content, as they came.
    tail: Vec<u8>,
    meta: ObjectMeta,
    seen: Seen,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before `k8s\0`.
    Start,
    /// Between fields of the envelope.
    Envelope,
    /// Between fields of the content, of which so many bytes are left.
    Content(usize),
    /// In a field of a content that is kept whole: bytes left of the field, and of the content behind it.
    Through(usize, usize),
}

impl ProtobufList {
    pub(super) fn new(keep: Keep) -> Self {
        Self {
            keep,
            pending: BytesMut::new(),
            place: Place::Start,
            type_meta: None,
            content: false,
            metadata: None,
            head_sent: false,
            kept: BytesMut::new(),
            most_kept: MAX_KEPT,
            tail: Vec::new(),
            meta: ObjectMeta::default(),
            seen: Seen::default(),
        }
    }

    pub(super) fn hold_at_most(&mut self, limit: usize) {
        self.most_kept = limit;
    }

    pub(super) fn push(&mut self, input: &[u8], out: &mut BytesMut) -> Result<(), Broken> {
        self.pending.extend_from_slice(input);
        while self.advance(out)? {}
        Ok(())
    }

    pub(super) fn finish(mut self, out: &mut BytesMut) -> Result<Seen, Broken> {
        if self.place != Place::Envelope || self.pending.has_remaining() {
            return Err(wire::Broken::Short.into());
        }
        if !self.content {
            return Err(Broken::NotAList);
        }
        if !self.head_sent {
            self.send_head(self.kept.len(), out);
            out.extend_from_slice(&self.kept);
        }
        out.extend_from_slice(&self.tail);
        Ok(self.seen)
    }

    pub(super) fn resource_version(&self) -> Option<&str> {
        self.seen.resource_version.as_deref()
    }

    /// Reads one thing more, if enough has come.
    fn advance(&mut self, out: &mut BytesMut) -> Result<bool, Broken> {
        match self.place {
            Place::Start => {
                let Some(start) = self.pending.get(..MAGIC.len()) else {
                    return Ok(false);
                };
                if start != MAGIC {
                    return Err(wire::Broken::Protobuf("no k8s prefix").into());
                }
                self.pending.advance(MAGIC.len());
                self.place = Place::Envelope;
                Ok(true)
            }
            Place::Envelope => self.envelope(),
            Place::Content(0) => {
                self.place = Place::Envelope;
                Ok(true)
            }
            Place::Content(left) => self.content(left, out),
            Place::Through(0, left) => {
                self.place = Place::Content(left);
                Ok(true)
            }
            Place::Through(field, left) => {
                let part = self.pending.split_to(field.min(self.pending.len()));
                out.extend_from_slice(&part);
                self.place = Place::Through(field - part.len(), left);
                Ok(!part.is_empty())
            }
        }
    }

    fn envelope(&mut self) -> Result<bool, Broken> {
        let Some(head) = Head::read(&self.pending)? else {
            return Ok(false);
        };
        if head.number == field::unknown::RAW {
            if !head.delimited || self.type_meta.is_none() {
                return Err(wire::Broken::Protobuf("a content without a type before it").into());
            }
            if std::mem::replace(&mut self.content, true) {
                return Err(wire::Broken::Twice("raw").into());
            }
            self.pending.advance(head.head);
            self.place = Place::Content(head.content);
            return Ok(true);
        }
        let Some(bytes) = self.whole_field(head)? else {
            return Ok(false);
        };
        for field in Fields::of(&bytes) {
            let field = field?;
            match field.number {
                field::unknown::TYPE_META => {
                    if !is_list(Layout::Protobuf, protobuf::kind_of(field.content()?)?) {
                        return Err(Broken::NotAList);
                    }
                    if self.type_meta.replace(bytes.to_vec()).is_some() {
                        return Err(wire::Broken::Twice("typeMeta").into());
                    }
                }
                field::unknown::CONTENT_ENCODING if !field.content()?.is_empty() => {
                    return Err(wire::Broken::Protobuf("an encoded content").into());
                }
                _ if self.content => {
                    if self.tail.len() + bytes.len() > MAX_ITEM {
                        return Err(too_large("an envelope", MAX_ITEM));
                    }
                    self.tail.extend_from_slice(&bytes);
                }
                _ => return Err(wire::Broken::Protobuf("an envelope in another order").into()),
            }
        }
        Ok(true)
    }

    fn content(&mut self, left: usize, out: &mut BytesMut) -> Result<bool, Broken> {
        let Some(head) = Head::read(&self.pending)? else {
            return Ok(false);
        };
        let after = left.checked_sub(head.total()).ok_or(wire::Broken::Short)?;
        if head.number == field::list::METADATA {
            let Some(bytes) = self.whole_field(head)? else {
                return Ok(false);
            };
            if self.metadata.is_some() || self.head_sent || self.seen.kept + self.seen.dropped > 0 {
                return Err(
                    wire::Broken::Protobuf("a list's metadata twice, or behind an item").into(),
                );
            }
            self.list_meta(&bytes)?;
            if self.keep.is_all() {
                self.send_head(after, out);
            }
            self.place = Place::Content(after);
            return Ok(true);
        }
        if self.keep.is_all() {
            if !self.head_sent {
                self.send_head(left, out);
            }
            if head.number == field::list::ITEMS {
                self.seen.kept += 1;
            }
            self.place = Place::Through(head.total(), after);
            return Ok(true);
        }
        let Some(bytes) = self.whole_field(head)? else {
            return Ok(false);
        };
        self.place = Place::Content(after);
        if head.number != field::list::ITEMS {
            self.seen.unknown += 1;
            return Ok(true);
        }
        let wanted = self.keep.wanted();
        for field in Fields::of(&bytes) {
            protobuf::read_meta(field?.content()?, wanted, &mut self.meta)?;
        }
        if !self.keep.shows(&self.meta) {
            self.seen.dropped += 1;
            return Ok(true);
        }
        if self.kept.len() + bytes.len() > self.most_kept {
            return Err(Broken::Held(self.most_kept));
        }
        self.seen.kept += 1;
        self.kept.extend_from_slice(&bytes);
        Ok(true)
    }

    /// Writes the envelope up to the first item, once it is known that the items will take `items` bytes.
    fn send_head(&mut self, items: usize, out: &mut BytesMut) {
        self.head_sent = true;
        let metadata = self.metadata.as_deref().unwrap_or_default();
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(self.type_meta.as_deref().unwrap_or_default());
        protobuf::put_head(field::unknown::RAW, metadata.len() + items, out);
        out.extend_from_slice(metadata);
    }

    /// Takes a whole field out of what is pending, if it has come.
    fn whole_field(&mut self, head: Head) -> Result<Option<BytesMut>, Broken> {
        if head.total() > MAX_ITEM {
            return Err(too_large("an item", MAX_ITEM));
        }
        if self.pending.len() < head.total() {
            return Ok(None);
        }
        Ok(Some(self.pending.split_to(head.total())))
    }

    /// Reads the list's metadata, and keeps what may go out of it.
    fn list_meta(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        let mut cleaned = Vec::new();
        let mut seen = 0_u32;
        for outer in Fields::of(bytes) {
            for field in Fields::of(outer?.content()?) {
                let field = field?;
                let passes = match field.number {
                    field::list_meta::SELF_LINK | field::list_meta::SHARD_INFO => true,
                    field::list_meta::RESOURCE_VERSION => {
                        self.seen.resource_version =
                            Some(protobuf::text(field.content()?)?.to_owned());
                        true
                    }
                    field::list_meta::CONTINUE => {
                        self.seen.continued = !field.content()?.is_empty();
                        if self.seen.continued && !self.keep.is_all() {
                            return Err(Broken::Continued);
                        }
                        true
                    }
                    field::list_meta::REMAINING_ITEM_COUNT => false,
                    _ if self.keep.is_all() => true,
                    _ => {
                        self.seen.unknown += 1;
                        false
                    }
                };
                if field.number <= field::list_meta::SHARD_INFO {
                    if seen & (1 << field.number) != 0 {
                        return Err(wire::Broken::Twice("a field of the list's metadata").into());
                    }
                    seen |= 1 << field.number;
                }
                if passes {
                    cleaned.extend_from_slice(field.bytes);
                }
            }
        }
        let mut metadata = Vec::with_capacity(cleaned.len() + 4);
        protobuf::put(field::list::METADATA, &cleaned, &mut metadata);
        self.metadata = Some(metadata);
        Ok(())
    }
}
