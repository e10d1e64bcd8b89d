//! `meta.k8s.io` Tables: whose a row is, and where header and row objects lie (`apiserver
//! pkg/endpoints/handlers/response.go asTable`). It never reads a cell.

use std::ops::Range;

use super::Broken;
use super::json::Cursor;
use super::json::Scanner;
use super::json::Token;
use super::object::ObjectMeta;
use super::object::ObjectReader;
use super::object::Wanted;

/// Reads one row from its tokens: the metadata of `object`, and where that lies.
#[derive(Clone, Debug, Default)]
pub struct RowReader {
    object: ObjectReader,
    base: usize,
    place: Place,
    seen: bool,
    range: Range<usize>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Members,
    /// The value of `object` comes next.
    Value,
    Object,
}

impl RowReader {
    /// A reader of so much of each row's object.
    pub fn new(wanted: Wanted) -> Self {
        Self {
            object: ObjectReader::new(wanted),
            ..Self::default()
        }
    }

    /// Starts over, right after `scanner` reported the row's `{`.
    pub fn begin(&mut self, scanner: &mut Scanner) {
        self.object.meta.clear();
        self.base = scanner.depth();
        self.place = Place::Members;
        self.seen = false;
        self.range = 0..0;
        scanner.look(self.base);
    }

    /// Takes the next token, and says whether it ended the row.
    ///
    /// # Errors
    /// [`Broken::Twice`].
    pub fn on(&mut self, token: Token, scanner: &mut Scanner) -> Result<bool, Broken> {
        match (self.place, token) {
            (Place::Object, _) => {
                if self.object.on(token, scanner)? {
                    self.range.end = scanner.offset();
                    self.place = Place::Members;
                    scanner.look(self.base);
                }
            }
            (Place::Value, Token::BeginObject) => {
                self.range.start = scanner.offset() - 1;
                self.place = Place::Object;
                self.object.begin(scanner);
            }
            (Place::Value, _) => self.place = Place::Members,
            (Place::Members, Token::Key) if scanner.text() == Some("object") => {
                if self.seen {
                    return Err(Broken::Twice("object"));
                }
                self.seen = true;
                self.place = Place::Value;
            }
            (Place::Members, Token::EndObject) => return Ok(scanner.depth() < self.base),
            (Place::Members, _) => {}
        }
        Ok(false)
    }

    /// The metadata of the row's object; nothing is known of a row without one.
    pub fn meta(&self) -> &ObjectMeta {
        &self.object.meta
    }

    /// Where the row's object lies, as offsets of the scanner; empty if there is none.
    pub fn object(&self) -> Range<usize> {
        self.range.clone()
    }
}

/// Header of a Table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Columns {
    /// No such member.
    #[default]
    Absent,
    /// `null`, which lies here.
    Null(Range<usize>),
    /// The header, which lies here.
    Present(Range<usize>),
}

/// One row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Of its object.
    pub meta: ObjectMeta,
    /// Where its object lies; empty if there is none.
    pub object: Range<usize>,
}

/// A Table that lies whole in memory: a watch event's, or that of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Offset right after the Table's `{`.
    pub members: usize,
    /// `metadata.resourceVersion` of the Table itself, the only one of a row without object.
    pub resource_version: String,
    /// The header.
    pub columns: Columns,
    /// The rows.
    pub rows: Vec<Row>,
}

impl Table {
    /// Reads a Table, of its rows' objects so much as is `wanted`, right after `cursor` reported its `{`. Ranges are offsets of that cursor's document.
    ///
    /// # Errors
    /// [`Broken`]: not JSON, no Table, or a member of interest that occurs twice.
    pub fn read(cursor: &mut Cursor<'_>, wanted: Wanted) -> Result<Self, Broken> {
        let depth = cursor.scanner.depth();
        let mut table = Self {
            members: cursor.scanner.offset(),
            ..Self::default()
        };
        let (mut kind, mut rows, mut metadata) = (false, false, false);
        loop {
            cursor.scanner.look(depth);
            let token = cursor.token()?;
            if token == Token::EndObject {
                break;
            }
            if token != Token::Key {
                continue;
            }
            match cursor.scanner.text() {
                Some("kind") => {
                    once(&mut kind, "kind")?;
                    if cursor.token()? != Token::String || cursor.scanner.text() != Some("Table") {
                        return Err(Broken::Not("Table"));
                    }
                }
                Some("metadata") => {
                    once(&mut metadata, "metadata")?;
                    table.resource_version = own_position(cursor, depth)?;
                }
                Some("columnDefinitions") => {
                    if table.columns != Columns::Absent {
                        return Err(Broken::Twice("columnDefinitions"));
                    }
                    table.columns = columns(cursor, depth)?;
                }
                Some("rows") => {
                    once(&mut rows, "rows")?;
                    table.rows = read_rows(cursor, depth, wanted)?;
                }
                _ => {
                    let first = cursor.token()?;
                    cursor.skip(first, depth)?;
                }
            }
        }
        if kind {
            Ok(table)
        } else {
            Err(Broken::Not("Table"))
        }
    }

    /// The metadata that all rows share, and the event's resourceVersion; empty where nothing is known.
    ///
    /// # Errors
    /// [`Broken::Not`] if the rows are of different objects: no single verdict would be right for such a Table.
    pub fn meta(&self) -> Result<ObjectMeta, Broken> {
        let mut meta = self
            .rows
            .first()
            .map(|row| row.meta.clone())
            .unwrap_or_default();
        let same = |row: &Row| row.meta.name == meta.name && row.meta.namespace == meta.namespace;
        if !self.rows.iter().all(same) {
            return Err(Broken::Not("Table of one object"));
        }
        if meta.resource_version.is_empty() {
            meta.resource_version.clone_from(&self.resource_version);
        }
        Ok(meta)
    }
}

fn once(seen: &mut bool, name: &'static str) -> Result<(), Broken> {
    if std::mem::replace(seen, true) {
        return Err(Broken::Twice(name));
    }
    Ok(())
}

/// `resourceVersion` of a Table's own metadata.
fn own_position(cursor: &mut Cursor<'_>, depth: usize) -> Result<String, Broken> {
    let first = cursor.token()?;
    if first != Token::BeginObject {
        cursor.skip(first, depth)?;
        return Ok(String::new());
    }
    let (mut text, mut seen) = (String::new(), false);
    cursor.scanner.look(depth + 1);
    loop {
        let token = cursor.token()?;
        if token == Token::EndObject && cursor.scanner.depth() == depth {
            return Ok(text);
        }
        if token == Token::Key && cursor.scanner.text() == Some("resourceVersion") {
            once(&mut seen, "metadata.resourceVersion")?;
            if cursor.token()? == Token::String {
                cursor
                    .scanner
                    .text()
                    .unwrap_or_default()
                    .clone_into(&mut text);
            }
        }
    }
}

fn columns(cursor: &mut Cursor<'_>, depth: usize) -> Result<Columns, Broken> {
    let first = cursor.token()?;
    let end = cursor.scanner.offset();
    if first == Token::Null {
        return Ok(Columns::Null(end - 4..end));
    }
    if first != Token::BeginArray {
        return Err(Broken::Not("Table"));
    }
    cursor.skip(first, depth)?;
    Ok(Columns::Present(end - 1..cursor.scanner.offset()))
}

fn read_rows(cursor: &mut Cursor<'_>, depth: usize, wanted: Wanted) -> Result<Vec<Row>, Broken> {
    let mut rows = Vec::new();
    let first = cursor.token()?;
    if first == Token::Null {
        return Ok(rows);
    }
    if first != Token::BeginArray {
        return Err(Broken::Not("Table"));
    }
    let mut reader = RowReader::new(wanted);
    loop {
        cursor.scanner.look(depth + 1);
        match cursor.token()? {
            Token::BeginObject => {}
            Token::Comma => continue,
            Token::EndArray => return Ok(rows),
            Token::EndObject
            | Token::BeginArray
            | Token::Key
            | Token::String
            | Token::Null
            | Token::Scalar => {
                return Err(Broken::Not("Table"));
            }
        }
        reader.begin(&mut cursor.scanner);
        loop {
            let token = cursor.token()?;
            if reader.on(token, &mut cursor.scanner)? {
                break;
            }
        }
        rows.push(Row {
            meta: reader.meta().clone(),
            object: reader.object(),
        });
    }
}
