//! The header of a Table watch. Only the first event of a stream carries it (`handlers/response.go
//! watchEmbeddedEncoder`), and that event may be one that the client does not see, or the first of several streams.

use std::ops::Range;

use bytes::Bytes;
use bytes::BytesMut;
use serde::de::IgnoredAny;

use crate::wire::table::Columns;
use crate::wire::table::Table;

/// What is known of the header, and whether the client has it.
#[derive(Debug, Default)]
pub(super) struct Header {
    /// Of an event that was held back; it goes into the first event that passes.
    waiting: Option<Bytes>,
    /// Whether it went out.
    sent: bool,
    /// How many columns there are; 0 while that is not known.
    columns: usize,
}

impl Header {
    /// How many cells a row has; one where that is not known yet.
    pub(super) fn cells(&self) -> usize {
        self.columns.max(1)
    }

    /// An event whose object is `table` does not go out.
    pub(super) fn hold_back(&mut self, table: &Table, document: &[u8]) {
        if let Some(columns) = self.read(table, document)
            && !self.sent
        {
            self.waiting = Some(Bytes::copy_from_slice(columns));
        }
    }

    /// An event whose object is `table` goes out: what of it is to be replaced, so that the client gets the header once.
    pub(super) fn edit(&mut self, table: &Table, document: &[u8]) -> Option<(Range<usize>, Bytes)> {
        self.read(table, document);
        match &table.columns {
            Columns::Present(range) => {
                self.waiting = None;
                let again = std::mem::replace(&mut self.sent, true);
                again.then(|| (range.clone(), Bytes::from_static(b"null")))
            }
            Columns::Null(range) => {
                let columns = self.waiting.take()?;
                self.sent = true;
                Some((range.clone(), columns))
            }
            Columns::Absent => {
                let columns = self.waiting.take()?;
                self.sent = true;
                let mut member = BytesMut::from(&br#""columnDefinitions":"#[..]);
                member.extend_from_slice(&columns);
                // A Table has at least a kind, so a comma is never too much.
                member.extend_from_slice(b",");
                Some((table.members..table.members, member.freeze()))
            }
        }
    }

    /// The header of this event, if it has one.
    fn read<'a>(&mut self, table: &Table, document: &'a [u8]) -> Option<&'a [u8]> {
        let Columns::Present(range) = &table.columns else {
            return None;
        };
        let columns = document.get(range.clone())?;
        let counted: Result<Vec<IgnoredAny>, _> = serde_json::from_slice(columns);
        self.columns = counted.map_or(0, |columns| columns.len());
        Some(columns)
    }
}
