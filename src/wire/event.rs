//! What a watch event says: its type, and what names its object. It never reads the object beyond its metadata.

use std::ops::Range;

use super::Broken;
use super::Layout;
use super::json::Cursor;
use super::json::Token;
use super::object::ObjectMeta;
use super::object::ObjectReader;
use super::object::Wanted;
use super::protobuf;
use super::protobuf::Envelope;
use super::protobuf::Fields;
use super::protobuf::Once;
use super::protobuf::field;
use super::table::Table;

/// `type` of a watch event (`apimachinery pkg/watch/watch.go`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the API's own words")]
pub enum EventType {
    Added,
    Modified,
    Deleted,
    Bookmark,
    Error,
}

impl EventType {
    /// The API's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
            Self::Bookmark => "BOOKMARK",
            Self::Error => "ERROR",
        }
    }

    fn parse(text: &str) -> Result<Self, Broken> {
        match text {
            "ADDED" => Ok(Self::Added),
            "MODIFIED" => Ok(Self::Modified),
            "DELETED" => Ok(Self::Deleted),
            "BOOKMARK" => Ok(Self::Bookmark),
            "ERROR" => Ok(Self::Error),
            _ => Err(Broken::Not("watch event of a known type")),
        }
    }
}

/// One watch event, read but not copied. Ranges are offsets of the document it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventType,
    /// The object's metadata, a Table's taken from its rows; empty for an ERROR. The resourceVersion is the event's.
    pub meta: ObjectMeta,
    /// The Table, where the object is one.
    pub table: Option<Table>,
    /// Where the type lies: in JSON the string with its quotes, in protobuf the whole field.
    pub type_at: Range<usize>,
}

/// The bytes that say `kind` where [`Event::type_at`] points.
pub fn type_bytes(layout: Layout, kind: EventType) -> Vec<u8> {
    match layout {
        Layout::Json | Layout::Table => format!("\"{}\"", kind.as_str()).into_bytes(),
        Layout::Protobuf => {
            let mut field = Vec::new();
            protobuf::put(
                field::watch_event::TYPE,
                kind.as_str().as_bytes(),
                &mut field,
            );
            field
        }
    }
}

impl Event {
    /// Reads the document of one frame, of its object's metadata so much as is `wanted`.
    ///
    /// # Errors
    /// [`Broken`]: not an event of a known type, or something in it that two readers could read differently.
    pub fn read(layout: Layout, document: &[u8], wanted: Wanted) -> Result<Self, Broken> {
        match layout {
            Layout::Json | Layout::Table => Self::read_json(layout, document, wanted),
            Layout::Protobuf => Self::read_protobuf(document, wanted),
        }
    }

    fn read_json(layout: Layout, document: &[u8], wanted: Wanted) -> Result<Self, Broken> {
        let (kind, type_at, object) = members(document)?;
        let mut cursor = Cursor::at(document, object);
        if cursor.token()? != Token::BeginObject {
            return Err(Broken::Not("watch event with an object"));
        }
        // A failure is a `Status` in every stream, a Table's too (`handlers/response.go doTransformObject`).
        if kind == EventType::Error {
            return Ok(Self {
                kind,
                meta: ObjectMeta::default(),
                table: None,
                type_at,
            });
        }
        if layout == Layout::Table {
            let table = Table::read(&mut cursor, wanted)?;
            return Ok(Self {
                kind,
                meta: table.meta()?,
                table: Some(table),
                type_at,
            });
        }
        let mut reader = ObjectReader::new(wanted);
        reader.begin(&mut cursor.scanner);
        loop {
            let token = cursor.token()?;
            if reader.on(token, &mut cursor.scanner)? {
                return Ok(Self {
                    kind,
                    meta: reader.meta,
                    table: None,
                    type_at,
                });
            }
        }
    }

    fn read_protobuf(document: &[u8], wanted: Wanted) -> Result<Self, Broken> {
        let (mut kind, mut object) = (Once::new("type"), Once::new("object"));
        let (mut at, mut type_at) = (0, 0..0);
        for field in Fields::of(document) {
            let field = field?;
            let range = at..at + field.bytes.len();
            at = range.end;
            match field.number {
                field::watch_event::TYPE => {
                    type_at = range;
                    kind.set(EventType::parse(protobuf::text(field.content()?)?)?)?
                }
                field::watch_event::OBJECT => object.set(field.content()?)?,
                _ => return Err(Broken::Not("watch event of two fields")),
            }
        }
        let kind = kind.take().ok_or(Broken::Not("watch event with a type"))?;
        let mut raw = Once::new("object.raw");
        for field in Fields::of(
            object
                .take()
                .ok_or(Broken::Not("watch event with an object"))?,
        ) {
            let field = field?;
            match field.number {
                field::raw_extension::RAW => raw.set(field.content()?)?,
                _ => return Err(Broken::Not("watch event with one object")),
            }
        }
        let envelope = Envelope::read(raw.take().unwrap_or_default())?;
        let mut meta = ObjectMeta::default();
        if kind != EventType::Error {
            protobuf::read_meta(envelope.raw, wanted, &mut meta)?;
        }
        Ok(Self {
            kind,
            meta,
            table: None,
            type_at,
        })
    }
}

/// `type` and where it lies, and where `object` lies, of an event in any order of its members.
fn members(document: &[u8]) -> Result<(EventType, Range<usize>, Range<usize>), Broken> {
    let mut cursor = Cursor::new(document);
    let (mut kind, mut object) = (Once::new("type"), Once::new("object"));
    if cursor.token()? != Token::BeginObject {
        return Err(Broken::Not("watch event"));
    }
    loop {
        match cursor.token()? {
            Token::Key => {}
            Token::Comma => continue,
            Token::EndObject => break,
            Token::BeginObject
            | Token::BeginArray
            | Token::EndArray
            | Token::String
            | Token::Null
            | Token::Scalar => return Err(Broken::Not("watch event")),
        }
        match cursor.scanner.text() {
            Some("type") => {
                if cursor.token()? != Token::String {
                    return Err(Broken::Not("watch event of a known type"));
                }
                let known = EventType::parse(cursor.scanner.text().unwrap_or_default())?;
                let end = cursor.scanner.offset();
                // The word may be written with escapes, which are no shorter.
                let start = quote_before(document, end)?;
                kind.set((known, start..end))?;
            }
            Some("object") => {
                let first = cursor.token()?;
                let start = cursor.scanner.offset() - 1;
                cursor.skip(first, 1)?;
                object.set(start..cursor.scanner.offset())?;
            }
            _ => return Err(Broken::Not("watch event of two members")),
        }
    }
    cursor.finish()?;
    let (kind, type_at) = kind.take().ok_or(Broken::Not("watch event with a type"))?;
    let object = object
        .take()
        .ok_or(Broken::Not("watch event with an object"))?;
    Ok((kind, type_at, object))
}

/// Where the string begins that ends at `end`, one without an escaped quote.
fn quote_before(document: &[u8], end: usize) -> Result<usize, Broken> {
    let inner = document.get(..end.saturating_sub(1)).unwrap_or_default();
    let quote = inner.iter().rposition(|byte| *byte == b'"');
    quote.ok_or(Broken::Not("watch event of a known type"))
}

#[cfg(test)]
mod tests;
