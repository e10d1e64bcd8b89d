//! Lists and Tables in JSON: items, rows and members of the list's metadata are cut out by byte range while they
//! stream by. It never gives out a byte of an item that it has not read to the end, and re-orders nothing.
//!
//! Members come in any order: `kind, apiVersion, metadata, items` for built-in kinds, alphabetical for custom
//! resources, where everything but `apiVersion` follows the items.

use bytes::BytesMut;

use super::Broken;
use super::MAX_ITEM;
use super::RowObjects;
use super::Seen;
use super::is_list;
use super::too_large;
use crate::policy::Keep;
use crate::wire;
use crate::wire::Layout;
use crate::wire::json::Scanner;
use crate::wire::json::Token;
use crate::wire::labels::Labels;
use crate::wire::object::ObjectMeta;
use crate::wire::object::ObjectReader;
use crate::wire::table::RowReader;

/// The machine. It has what was read and not yet judged; everything else has left already.
#[derive(Debug)]
pub(super) struct JsonList {
    layout: Layout,
    keep: Keep,
    rows: RowObjects,
    scanner: Scanner,
    place: Place,
    /// What earlier chunks brought and is not judged; it goes on in the `pending` bytes of the chunk in hand.
    hold: Vec<u8>,
    /// Whether what was held and pending was given out or dropped by the last token.
    judged: bool,
    /// Whether a member of the list, and one of the container open within it, went out already: the comma between two
    /// is ours to write, since any of them may be left out.
    written: [bool; 2],
    members: u8,
    metadata_members: u8,
    kind_is_list: bool,
    notes_names: bool,
    object: ObjectReader,
    row: RowReader,
    seen: Seen,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before the list's `{`.
    Start,
    /// Between members of the list.
    Members,
    /// In a member's value.
    Member(Member),
    /// Between members of the list's metadata.
    Metadata,
    /// In the value of one of those.
    MetadataMember(MetadataMember),
    /// Between items.
    Items,
    /// In an item that is held until it was judged.
    Item,
    /// In an item that needs no judging.
    FreeItem,
    /// After the list's `}`.
    End,
}

/// What becomes of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Passes,
    Dropped,
    /// Open until a later token.
    Held,
}

/// Members of a list or Table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    Kind,
    ApiVersion,
    Metadata,
    Columns,
    /// `items`, or `rows` of a Table.
    Items,
    Unknown,
}

/// Members of `ListMeta`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MetadataMember {
    SelfLink,
    ResourceVersion,
    Continue,
    RemainingItemCount,
    ShardInfo,
    Unknown,
}

impl Member {
    fn of(layout: Layout, name: Option<&str>) -> Self {
        match (layout, name) {
            (_, Some("kind")) => Self::Kind,
            (_, Some("apiVersion")) => Self::ApiVersion,
            (_, Some("metadata")) => Self::Metadata,
            (Layout::Json, Some("items")) | (Layout::Table, Some("rows")) => Self::Items,
            (Layout::Table, Some("columnDefinitions")) => Self::Columns,
            (Layout::Json | Layout::Table | Layout::Protobuf, _) => Self::Unknown,
        }
    }

    fn once(self) -> Option<(u8, &'static str)> {
        match self {
            Self::Kind => Some((1, "kind")),
            Self::ApiVersion => Some((2, "apiVersion")),
            Self::Metadata => Some((4, "metadata")),
            Self::Columns => Some((8, "columnDefinitions")),
            Self::Items => Some((ITEMS, "items")),
            Self::Unknown => None,
        }
    }
}

/// Bit of [`Member::Items`] among the members seen.
const ITEMS: u8 = 16;

impl MetadataMember {
    fn of(name: Option<&str>) -> Self {
        match name {
            Some("selfLink") => Self::SelfLink,
            Some("resourceVersion") => Self::ResourceVersion,
            Some("continue") => Self::Continue,
            Some("remainingItemCount") => Self::RemainingItemCount,
            Some("shardInfo") => Self::ShardInfo,
            Some(_) | None => Self::Unknown,
        }
    }

    fn once(self) -> Option<(u8, &'static str)> {
        match self {
            Self::SelfLink => Some((1, "metadata.selfLink")),
            Self::ResourceVersion => Some((2, "metadata.resourceVersion")),
            Self::Continue => Some((4, "metadata.continue")),
            Self::RemainingItemCount => Some((8, "metadata.remainingItemCount")),
            Self::ShardInfo => Some((16, "metadata.shardInfo")),
            Self::Unknown => None,
        }
    }
}

impl JsonList {
    pub(super) fn new(layout: Layout, keep: Keep, rows: RowObjects) -> Self {
        let wanted = keep.wanted();
        Self {
            layout,
            keep,
            rows,
            scanner: Scanner::new(),
            place: Place::Start,
            hold: Vec::new(),
            judged: false,
            written: [false; 2],
            members: 0,
            metadata_members: 0,
            kind_is_list: false,
            notes_names: false,
            object: ObjectReader::new(wanted),
            row: RowReader::new(wanted),
            seen: Seen::default(),
        }
    }

    /// From now on, the names of items given out are noted.
    pub(super) fn note_names(&mut self) {
        self.notes_names = true;
    }

    pub(super) fn noted(&self) -> &[ObjectMeta] {
        &self.seen.noted
    }

    pub(super) fn push(&mut self, mut input: &[u8], out: &mut BytesMut) -> Result<(), Broken> {
        // What of this chunk was neither given out nor dropped yet lies before `input`; it is copied only if the chunk
        // ends before it can be judged.
        let mut unjudged = input;
        loop {
            let step = self.scanner.step(&mut input)?;
            let (mut pending, _) = unjudged.split_at(unjudged.len() - input.len());
            match self.fate() {
                Fate::Passes => {
                    out.extend_from_slice(pending);
                    (unjudged, pending) = (input, &[]);
                }
                Fate::Dropped => (unjudged, pending) = (input, &[]),
                Fate::Held if self.hold.len() + pending.len() > MAX_ITEM => {
                    return Err(too_large("an item", MAX_ITEM));
                }
                Fate::Held => {}
            }
            let Some(token) = step.token else {
                if self.place == Place::End {
                    self.release(pending, out);
                } else {
                    self.hold.extend_from_slice(pending);
                }
                self.judged = false;
                return Ok(());
            };
            self.on(token, pending, out)?;
            if std::mem::take(&mut self.judged) {
                unjudged = input;
            }
        }
    }

    /// What becomes of bytes read where we are.
    fn fate(&self) -> Fate {
        match self.place {
            Place::FreeItem
            | Place::Member(Member::ApiVersion | Member::Columns | Member::Items) => Fate::Passes,
            Place::Member(Member::Unknown) if self.keep.is_all() => Fate::Passes,
            Place::Member(Member::Unknown) => Fate::Dropped,
            Place::Start
            | Place::Members
            | Place::Member(Member::Kind | Member::Metadata)
            | Place::Metadata
            | Place::MetadataMember(_)
            | Place::Items
            | Place::Item
            | Place::End => Fate::Held,
        }
    }

    pub(super) fn finish(self) -> Result<Seen, Broken> {
        if self.place != Place::End {
            return Err(wire::Broken::Short.into());
        }
        if !self.kind_is_list || self.members & ITEMS == 0 {
            return Err(Broken::NotAList);
        }
        Ok(self.seen)
    }

    pub(super) fn resource_version(&self) -> Option<&str> {
        self.seen.resource_version.as_deref()
    }

    fn on(&mut self, token: Token, pending: &[u8], out: &mut BytesMut) -> Result<(), Broken> {
        match self.place {
            Place::Start => {
                self.release(pending, out);
                self.go(Place::Members);
                Ok(())
            }
            Place::Members => self.between_members(token, pending, out),
            Place::Member(member) => self.in_member(member, token, pending, out),
            Place::Metadata => self.between_metadata(token, pending, out),
            Place::MetadataMember(member) => self.in_metadata(member, token, pending, out),
            Place::Items => self.between_items(token, pending, out),
            Place::Item => self.in_item(token, pending, out),
            Place::FreeItem => {
                if self.scanner.depth() == 2 {
                    self.go(Place::Items);
                }
                Ok(())
            }
            Place::End => Ok(()),
        }
    }

    fn between_members(
        &mut self,
        token: Token,
        pending: &[u8],
        out: &mut BytesMut,
    ) -> Result<(), Broken> {
        match token {
            Token::Comma => self.discard(),
            Token::Key => {
                let member = Member::of(self.layout, self.scanner.text());
                once(&mut self.members, member.once())?;
                match member {
                    Member::Kind => {}
                    Member::Unknown if !self.keep.is_all() => {
                        self.seen.unknown += 1;
                        self.discard();
                    }
                    Member::ApiVersion
                    | Member::Metadata
                    | Member::Columns
                    | Member::Items
                    | Member::Unknown => {
                        self.separate(0, out);
                        self.release(pending, out);
                    }
                }
                self.go(Place::Member(member));
            }
            Token::BeginObject
            | Token::EndObject
            | Token::BeginArray
            | Token::EndArray
            | Token::String
            | Token::Null
            | Token::Scalar => {
                self.release(pending, out);
                self.go(Place::End);
            }
        }
        Ok(())
    }

    fn in_member(
        &mut self,
        member: Member,
        token: Token,
        pending: &[u8],
        out: &mut BytesMut,
    ) -> Result<(), Broken> {
        match (member, token) {
            (Member::Kind, Token::String) => {
                self.kind_is_list = self
                    .scanner
                    .text()
                    .is_some_and(|kind| is_list(self.layout, kind));
                if !self.kind_is_list {
                    return Err(Broken::NotAList);
                }
                self.separate(0, out);
                self.release(pending, out);
            }
            (Member::Kind, _) => return Err(Broken::NotAList),
            (Member::Metadata, Token::BeginObject) => {
                self.release(pending, out);
                self.written[1] = false;
                self.go(Place::Metadata);
                return Ok(());
            }
            // Go writes an empty list that is nil as `null`.
            (Member::Items, Token::BeginArray) => {
                self.written[1] = false;
                self.go(Place::Items);
                return Ok(());
            }
            (Member::Metadata | Member::Items, Token::Null) => self.release(pending, out),
            (Member::Metadata | Member::Items, _) => return Err(Broken::NotAList),
            (Member::ApiVersion | Member::Columns | Member::Unknown, _) => {}
        }
        if token.ends_value() && self.scanner.depth() == 1 {
            self.go(Place::Members);
        }
        Ok(())
    }

    fn between_metadata(
        &mut self,
        token: Token,
        pending: &[u8],
        out: &mut BytesMut,
    ) -> Result<(), Broken> {
        match token {
            Token::Comma => self.discard(),
            Token::Key => {
                let member = MetadataMember::of(self.scanner.text());
                once(&mut self.metadata_members, member.once())?;
                self.go(Place::MetadataMember(member));
            }
            Token::BeginObject
            | Token::EndObject
            | Token::BeginArray
            | Token::EndArray
            | Token::String
            | Token::Null
            | Token::Scalar => {
                self.release(pending, out);
                self.go(Place::Members);
            }
        }
        Ok(())
    }

    fn in_metadata(
        &mut self,
        member: MetadataMember,
        token: Token,
        pending: &[u8],
        out: &mut BytesMut,
    ) -> Result<(), Broken> {
        if !(token.ends_value() && self.scanner.depth() == 2) {
            return Ok(());
        }
        // What does not fit, such as a token that is longer than any text kept, is something rather than nothing.
        let text = self.scanner.text().filter(|_| token == Token::String);
        let passes = match member {
            MetadataMember::ResourceVersion => {
                self.seen.resource_version = text.map(str::to_owned);
                true
            }
            MetadataMember::Continue => {
                self.seen.continued = text != Some("") && token != Token::Null;
                if self.seen.continued && !self.keep.is_all() {
                    return Err(Broken::Continued);
                }
                true
            }
            MetadataMember::SelfLink | MetadataMember::ShardInfo => true,
            MetadataMember::RemainingItemCount => false,
            MetadataMember::Unknown if self.keep.is_all() => true,
            MetadataMember::Unknown => {
                self.seen.unknown += 1;
                false
            }
        };
        if passes {
            self.separate(1, out);
            self.release(pending, out);
        } else {
            self.discard();
        }
        self.go(Place::Metadata);
        Ok(())
    }

    fn between_items(
        &mut self,
        token: Token,
        pending: &[u8],
        out: &mut BytesMut,
    ) -> Result<(), Broken> {
        match token {
            Token::Comma => self.discard(),
            Token::EndArray => {
                self.release(pending, out);
                self.go(Place::Members);
            }
            Token::BeginObject
                if self.keep.is_all() && self.rows == RowObjects::Keep && !self.notes_names =>
            {
                self.seen.kept += 1;
                self.separate(1, out);
                self.release(pending, out);
                self.go(Place::FreeItem);
            }
            Token::BeginObject => {
                self.place = Place::Item;
                match self.layout {
                    Layout::Table => self.row.begin(&mut self.scanner),
                    Layout::Json | Layout::Protobuf => self.object.begin(&mut self.scanner),
                }
            }
            Token::EndObject
            | Token::BeginArray
            | Token::Key
            | Token::String
            | Token::Null
            | Token::Scalar => {
                return Err(Broken::NotAList);
            }
        }
        Ok(())
    }

    fn in_item(&mut self, token: Token, pending: &[u8], out: &mut BytesMut) -> Result<(), Broken> {
        let whole = match self.layout {
            Layout::Table => self.row.on(token, &mut self.scanner)?,
            Layout::Json | Layout::Protobuf => self.object.on(token, &mut self.scanner)?,
        };
        if !whole {
            return Ok(());
        }
        let meta = match self.layout {
            Layout::Table => self.row.meta(),
            Layout::Json | Layout::Protobuf => &self.object.meta,
        };
        if self.keep.shows(meta) {
            self.seen.kept += 1;
            if self.notes_names {
                self.seen.noted.push(ObjectMeta {
                    labels: Labels::default(),
                    ..meta.clone()
                });
            }
            self.separate(1, out);
            match self.rows {
                RowObjects::Keep => self.release(pending, out),
                RowObjects::Strip => self.release_stripped(pending, out),
            }
        } else {
            self.seen.dropped += 1;
            self.discard();
        }
        self.go(Place::Items);
        Ok(())
    }

    /// Moves on, and looks as deep as the new place needs.
    fn go(&mut self, place: Place) {
        self.place = place;
        self.scanner.look(match place {
            Place::Start | Place::Members | Place::Member(_) | Place::End => 1,
            Place::Metadata
            | Place::MetadataMember(_)
            | Place::Items
            | Place::Item
            | Place::FreeItem => 2,
        });
    }

    /// Writes the comma before what goes out next in the list (0) or in the container open within it (1).
    fn separate(&mut self, level: usize, out: &mut BytesMut) {
        if let Some(written) = self.written.get_mut(level)
            && std::mem::replace(written, true)
        {
            out.extend_from_slice(b",");
        }
    }

    /// Gives out what is held.
    fn release(&mut self, pending: &[u8], out: &mut BytesMut) {
        out.extend_from_slice(&self.hold);
        out.extend_from_slice(pending);
        self.discard();
    }

    /// Gives out the row that is held, with `null` for its object.
    fn release_stripped(&mut self, pending: &[u8], out: &mut BytesMut) {
        let object = self.row.object();
        self.hold.extend_from_slice(pending);
        let from = self.scanner.offset() - self.hold.len();
        if !object.is_empty()
            && let Some(before) = self.hold.get(..object.start - from)
            && let Some(after) = self.hold.get(object.end - from..)
        {
            out.extend_from_slice(before);
            out.extend_from_slice(b"null");
            out.extend_from_slice(after);
            self.discard();
        } else {
            self.release(&[], out);
        }
    }

    /// Drops what is held.
    fn discard(&mut self) {
        self.hold.clear();
        self.judged = true;
    }
}

/// Refuses a second member of one name: readers differ on which one counts.
fn once(seen: &mut u8, member: Option<(u8, &'static str)>) -> Result<(), Broken> {
    if let Some((bit, name)) = member {
        if *seen & bit != 0 {
            return Err(wire::Broken::Twice(name).into());
        }
        *seen |= bit;
    }
    Ok(())
}
