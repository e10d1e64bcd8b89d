//! The list machine: bytes of a list in, bytes of what may be seen out. It never fetches and never re-encodes.
//!
//! What is kept leaves byte for byte as it came; dropped are whole items, and of the list's own metadata what would
//! tell how much was dropped. A byte of an item is given out only after the whole item was read and judged.

mod json;
pub mod part;
mod protobuf;

use bytes::BytesMut;

use crate::k8s::media::Encoding;
use crate::k8s::media::Media;
use crate::k8s::media::Shape;
use crate::policy::Keep;
use crate::wire;
use crate::wire::Layout;
use crate::wire::json::Cursor;
use crate::wire::json::Token;
use crate::wire::object::ObjectMeta;
use crate::wire::object::ObjectReader;
use crate::wire::object::Wanted;
use crate::wire::protobuf::Envelope;
use crate::wire::table::Table;

/// Largest item held while it is judged. The API server takes objects of 3 MiB
/// (`MaxRequestBodyBytes` in apiserver `pkg/server/config.go`), and JSON may write one byte as six.
const MAX_ITEM: usize = 16 << 20;

/// Most that is held of a filtered *protobuf* list: its length stands before its content, so what is kept must be known
/// before the first byte goes out. JSON lists have no such bound.
const MAX_KEPT: usize = 64 << 20;

/// The same for a client that takes JSON as well, as all that prefer protobuf do: a longer list had better be asked for in
/// JSON, which streams.
pub const WORTH_HOLDING: usize = 4 << 20;

/// What becomes of the objects in a Table's rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RowObjects {
    /// They stay.
    #[default]
    Keep,
    /// They become `null`, as the API server answers `includeObject=None`: upstream was asked for `Metadata`, since a
    /// row without object is nobody's.
    Strip,
}

/// What a list said about itself and what was left of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// `metadata.resourceVersion`.
    pub resource_version: Option<String>,
    /// Whether there are further pages (only where everything is kept).
    pub continued: bool,
    /// Items given out.
    pub kept: u64,
    /// Items left out.
    pub dropped: u64,
    /// Members of the list or its metadata that we do not know, and that were therefore left out.
    pub unknown: u64,
    /// What names the items given out, where it was to be noted.
    pub noted: Vec<ObjectMeta>,
}

/// Why a list was not let through. What went out before is a prefix of a list; the caller cuts the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// It could not be read.
    #[error("the list cannot be read")]
    Wire(#[from] wire::Broken),
    /// It is no list, and its bytes were not judged.
    #[error("the answer is not a list")]
    NotAList,
    /// A page of a filtered list. We never ask for pages there: the token would name the last object, seen or not.
    #[error("a filtered list came in pages")]
    Continued,
    /// More is kept of a protobuf list than may be held, in bytes. Nothing of it went out.
    #[error("more than {0} bytes of a protobuf list would have to be held")]
    Held(usize),
    /// Nothing here reads this encoding.
    #[error("an answer in this encoding cannot be filtered")]
    Encoding,
}

/// How documents of `media` are laid out; `None` for what cannot be filtered.
pub fn layout(media: Media) -> Option<Layout> {
    match (media.encoding, media.shape) {
        (Encoding::Json, Shape::Object | Shape::PartialObjectMetadata) => Some(Layout::Json),
        (Encoding::Json, Shape::Table(_)) => Some(Layout::Table),
        (Encoding::Protobuf, Shape::Object | Shape::PartialObjectMetadata) => {
            Some(Layout::Protobuf)
        }
        // The API server makes no such Tables.
        (Encoding::Protobuf, Shape::Table(_)) => None,
        (Encoding::Yaml, Shape::Object | Shape::Table(_) | Shape::PartialObjectMetadata) => None,
    }
}

/// The machine for one list.
#[derive(Debug)]
pub struct ListFilter(Machine);

#[derive(Debug)]
enum Machine {
    Json(Box<json::JsonList>),
    Protobuf(Box<protobuf::ProtobufList>),
}

impl ListFilter {
    /// A filter before the first byte.
    ///
    /// # Errors
    /// [`Broken::Encoding`] for YAML, and for Tables in protobuf.
    pub fn new(media: Media, keep: Keep, rows: RowObjects) -> Result<Self, Broken> {
        let machine = match layout(media).ok_or(Broken::Encoding)? {
            layout @ (Layout::Json | Layout::Table) => {
                Machine::Json(Box::new(json::JsonList::new(layout, keep, rows)))
            }
            Layout::Protobuf => Machine::Protobuf(Box::new(protobuf::ProtobufList::new(keep))),
        };
        Ok(Self(machine))
    }

    /// Takes the next bytes and appends to `out` what may be seen. After an error nothing more may be pushed.
    ///
    /// # Errors
    /// [`Broken`]: the rest of the answer is worth nothing.
    pub fn push(&mut self, input: &[u8], out: &mut BytesMut) -> Result<(), Broken> {
        match &mut self.0 {
            Machine::Json(list) => list.push(input, out),
            Machine::Protobuf(list) => list.push(input, out),
        }
    }

    /// Takes the end of the answer.
    ///
    /// # Errors
    /// [`Broken`] if it was no whole list.
    pub fn finish(self, out: &mut BytesMut) -> Result<Seen, Broken> {
        match self.0 {
            Machine::Json(list) => list.finish(),
            Machine::Protobuf(list) => list.finish(out),
        }
    }

    /// The same filter, which holds no more than `limit` bytes of a protobuf list and is [`Broken::Held`] by then.
    #[must_use]
    pub fn holding_at_most(mut self, limit: usize) -> Self {
        match &mut self.0 {
            Machine::Json(_) => {}
            Machine::Protobuf(list) => list.hold_at_most(limit),
        }
        self
    }

    /// A filter for a list in JSON of which only [`Seen::noted`] is wanted.
    pub fn for_names(keep: Keep) -> Self {
        let mut list = json::JsonList::new(Layout::Json, keep, RowObjects::Keep);
        list.note_names();
        Self(Machine::Json(Box::new(list)))
    }

    /// [`Seen::noted`] so far.
    pub fn noted(&self) -> &[ObjectMeta] {
        match &self.0 {
            Machine::Json(list) => list.noted(),
            Machine::Protobuf(_) => &[],
        }
    }

    /// The list's resourceVersion as soon as it was read: before the items for built-in kinds, after them for custom
    /// resources.
    pub fn resource_version(&self) -> Option<&str> {
        match &self.0 {
            Machine::Json(list) => list.resource_version(),
            Machine::Protobuf(list) => list.resource_version(),
        }
    }
}

/// What names the one object that `body` is, so that it can be tested before a byte of it goes out.
///
/// # Errors
/// [`Broken`] if it cannot be read to the end, or has no name, such as a `Status`.
pub fn meta_of(media: Media, body: &[u8], wanted: Wanted) -> Result<ObjectMeta, Broken> {
    let meta = match layout(media).ok_or(Broken::Encoding)? {
        Layout::Json => {
            let mut cursor = begin(body)?;
            let mut reader = ObjectReader::new(wanted);
            reader.begin(&mut cursor.scanner);
            loop {
                let token = cursor.token()?;
                if reader.on(token, &mut cursor.scanner)? {
                    break;
                }
            }
            cursor.finish()?;
            reader.meta
        }
        Layout::Table => {
            let mut cursor = begin(body)?;
            let meta = Table::read(&mut cursor, wanted)?.meta()?;
            cursor.finish()?;
            meta
        }
        Layout::Protobuf => {
            let mut meta = ObjectMeta::default();
            wire::protobuf::read_meta(Envelope::read(body)?.raw, wanted, &mut meta)?;
            meta
        }
    };
    if meta.name.is_empty() {
        return Err(wire::Broken::Not("object with a name").into());
    }
    Ok(meta)
}

fn begin(body: &[u8]) -> Result<Cursor<'_>, Broken> {
    let mut cursor = Cursor::new(body);
    if cursor.token()? != Token::BeginObject {
        return Err(wire::Broken::Not("object").into());
    }
    Ok(cursor)
}

/// Whether objects of `kind` are lists whose items were read.
fn is_list(layout: Layout, kind: &str) -> bool {
    match layout {
        Layout::Table => kind == "Table",
        Layout::Json | Layout::Protobuf => kind.ends_with("List"),
    }
}

fn too_large(what: &'static str, limit: usize) -> Broken {
    Broken::Wire(wire::Broken::TooLarge { what, limit })
}

#[cfg(test)]
mod tests;
