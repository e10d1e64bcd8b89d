//! One namespace's part of a list that is put together from several: its items as they came, and what the whole needs
//! to know of the rest. JSON lists and Tables, members in any order.

use bytes::BytesMut;

use super::Broken;
use super::MAX_ITEM;
use super::is_list;
use super::too_large;
use crate::wire;
use crate::wire::Layout;
use crate::wire::json::Scanner;
use crate::wire::json::Token;

/// Reads one part. What it appends to its output are items with the commas between them, and nothing else.
#[derive(Debug)]
pub struct Part {
    layout: Layout,
    scanner: Scanner,
    place: Place,
    /// The value being kept, in the bytes as they came.
    kept: Vec<u8>,
    /// What was read of the list besides its items.
    pub envelope: Envelope,
    /// Items given out so far, the one under way included.
    pub items: u64,
}

/// A list without its items.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// `kind`, `apiVersion` and, of a Table, `columnDefinitions`, each as the JSON it came as.
    pub kind: Vec<u8>,
    /// See [`Self::kind`].
    pub api_version: Vec<u8>,
    /// See [`Self::kind`].
    pub columns: Vec<u8>,
    /// `metadata.resourceVersion`.
    pub resource_version: Option<String>,
    /// `metadata.continue`, unless empty.
    pub continued: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Start,
    Members,
    /// In the value of a member that is kept, or not.
    Kind,
    ApiVersion,
    Columns,
    Other,
    Metadata,
    ResourceVersion,
    Continue,
    OtherMetadata,
    /// Before the array.
    Items,
    /// Between items.
    Between,
    Item,
    End,
}

impl Part {
    /// A part before its first byte. `layout` is JSON or a Table in JSON.
    pub fn new(layout: Layout) -> Self {
        let mut scanner = Scanner::new();
        scanner.look(1);
        Self {
            layout,
            scanner,
            place: Place::Start,
            kept: Vec::new(),
            envelope: Envelope::default(),
            items: 0,
        }
    }

    /// Takes the next bytes, and appends those that belong to items to `out`.
    ///
    /// # Errors
    /// [`Broken`]: it is no list, or no JSON. The rest is worth nothing.
    pub fn push(&mut self, mut input: &[u8], out: &mut BytesMut) -> Result<(), Broken> {
        loop {
            let step = self.scanner.step(&mut input)?;
            match self.place {
                Place::Item => out.extend_from_slice(step.bytes),
                // The array's own bracket is not an item's; blanks before an item and commas are.
                Place::Between if step.token != Some(Token::EndArray) => {
                    out.extend_from_slice(step.bytes);
                }
                Place::Kind | Place::ApiVersion | Place::Columns => {
                    if self.kept.len() + step.bytes.len() > MAX_ITEM {
                        return Err(too_large("a list's columns", MAX_ITEM));
                    }
                    self.kept.extend_from_slice(step.bytes);
                }
                Place::Start
                | Place::Members
                | Place::Other
                | Place::Metadata
                | Place::ResourceVersion
                | Place::Continue
                | Place::OtherMetadata
                | Place::Items
                | Place::Between
                | Place::End => {}
            }
            let Some(token) = step.token else {
                return Ok(());
            };
            self.on(token)?;
        }
    }

    /// Whether a whole list was read.
    pub fn is_whole(&self) -> bool {
        self.place == Place::End && !self.envelope.kind.is_empty()
    }

    /// What was read of the list besides its items.
    pub fn into_envelope(self) -> Envelope {
        self.envelope
    }

    fn on(&mut self, token: Token) -> Result<(), Broken> {
        let depth = self.scanner.depth();
        match self.place {
            Place::Start => self.place = Place::Members,
            Place::Members => match token {
                Token::Key => self.member()?,
                Token::EndObject => self.place = Place::End,
                Token::Comma
                | Token::BeginObject
                | Token::BeginArray
                | Token::EndArray
                | Token::String
                | Token::Null
                | Token::Scalar => {}
            },
            Place::Kind => {
                let is_list = token == Token::String
                    && self
                        .scanner
                        .text()
                        .is_some_and(|kind| is_list(self.layout, kind));
                if !is_list {
                    return Err(Broken::NotAList);
                }
                self.envelope.kind = self.take();
                self.place = Place::Members;
            }
            Place::ApiVersion if token.ends_value() && depth == 1 => {
                self.envelope.api_version = self.take();
                self.place = Place::Members;
            }
            Place::Columns if token.ends_value() && depth == 1 => {
                self.envelope.columns = self.take();
                self.place = Place::Members;
            }
            Place::ApiVersion | Place::Columns => {}
            Place::Other => {
                if token.ends_value() && depth == 1 {
                    self.place = Place::Members;
                }
            }
            Place::Metadata => match token {
                Token::BeginObject => self.scanner.look(2),
                Token::Key => {
                    self.place = match self.scanner.text() {
                        Some("resourceVersion") => Place::ResourceVersion,
                        Some("continue") => Place::Continue,
                        Some(_) | None => Place::OtherMetadata,
                    };
                }
                Token::EndObject | Token::Null => {
                    self.scanner.look(1);
                    self.place = Place::Members;
                }
                Token::Comma => {}
                Token::BeginArray | Token::EndArray | Token::String | Token::Scalar => {
                    return Err(Broken::NotAList);
                }
            },
            Place::ResourceVersion | Place::Continue | Place::OtherMetadata => {
                if token.ends_value() && depth == 2 {
                    self.metadata_member(token)?;
                }
            }
            Place::Items => match token {
                Token::BeginArray => {
                    self.scanner.look(2);
                    self.place = Place::Between;
                }
                // Go writes an empty list that is nil as `null`.
                Token::Null => self.place = Place::Members,
                Token::BeginObject
                | Token::EndObject
                | Token::EndArray
                | Token::Comma
                | Token::Key
                | Token::String
                | Token::Scalar => return Err(Broken::NotAList),
            },
            Place::Between => match token {
                Token::BeginObject => {
                    self.items += 1;
                    self.place = Place::Item;
                }
                Token::Comma => {}
                Token::EndArray => {
                    self.scanner.look(1);
                    self.place = Place::Members;
                }
                Token::EndObject
                | Token::BeginArray
                | Token::Key
                | Token::String
                | Token::Null
                | Token::Scalar => return Err(Broken::NotAList),
            },
            Place::Item => {
                if depth == 2 {
                    self.place = Place::Between;
                }
            }
            Place::End => {}
        }
        Ok(())
    }

    fn member(&mut self) -> Result<(), Broken> {
        let (place, twice) = match (self.layout, self.scanner.text()) {
            (_, Some("kind")) => (Place::Kind, !self.envelope.kind.is_empty()),
            (_, Some("apiVersion")) => (Place::ApiVersion, !self.envelope.api_version.is_empty()),
            (_, Some("metadata")) => (Place::Metadata, self.envelope.resource_version.is_some()),
            (Layout::Json, Some("items")) | (Layout::Table, Some("rows")) => {
                (Place::Items, self.items > 0)
            }
            (Layout::Table, Some("columnDefinitions")) => {
                (Place::Columns, !self.envelope.columns.is_empty())
            }
            (Layout::Json | Layout::Table | Layout::Protobuf, _) => (Place::Other, false),
        };
        if twice {
            return Err(wire::Broken::Twice("a member of the list").into());
        }
        self.place = place;
        self.kept.clear();
        Ok(())
    }

    fn metadata_member(&mut self, token: Token) -> Result<(), Broken> {
        // A token longer than any text that is kept would be lost: then there is no page to go on from.
        let text = match (token, self.scanner.text()) {
            (Token::String, None) => return Err(too_large("a list's metadata", MAX_ITEM)),
            (Token::String, Some(text)) => Some(text.to_owned()).filter(|text| !text.is_empty()),
            (_, _) => None,
        };
        if self.place == Place::ResourceVersion {
            self.envelope.resource_version = text;
        } else if self.place == Place::Continue {
            self.envelope.continued = text;
        }
        self.place = Place::Metadata;
        Ok(())
    }

    /// The value kept, without what stood before it.
    fn take(&mut self) -> Vec<u8> {
        let kept = std::mem::take(&mut self.kept);
        let start = kept
            .iter()
            .position(|byte| !byte.is_ascii_whitespace() && *byte != b':');
        kept.get(start.unwrap_or(kept.len())..)
            .unwrap_or_default()
            .to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        layout: Layout,
        document: &str,
        chunk: usize,
    ) -> Result<(String, Envelope, u64), Broken> {
        let (mut part, mut out) = (Part::new(layout), BytesMut::new());
        for piece in document.as_bytes().chunks(chunk) {
            part.push(piece, &mut out)?;
        }
        if !part.is_whole() {
            return Err(wire::Broken::Short.into());
        }
        let items = part.items;
        Ok((
            String::from_utf8(out.to_vec()).unwrap(),
            part.into_envelope(),
            items,
        ))
    }

    #[test]
    fn items_come_out_as_they_came_whatever_the_order_and_the_chunks() {
        for (layout, document, items, count, version, continued) in [
            (
                Layout::Json,
                r#"{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"7","continue":"abc","remainingItemCount":3},"items":[{"a":[{"kind":1}]},{"b":"]"}]}"#,
                r#"{"a":[{"kind":1}]},{"b":"]"}"#,
                2,
                Some("7"),
                Some("abc"),
            ),
            (
                Layout::Json,
                r#"{"apiVersion": "g/v1", "items": [ {"x": {}} , {"y": 1} ], "kind" : "WidgetList", "metadata": {"continue": "", "resourceVersion": "8"}}"#,
                r#" {"x": {}} , {"y": 1}"#,
                2,
                Some("8"),
                None,
            ),
            (
                Layout::Json,
                r#"{"kind":"PodList","apiVersion":"v1","metadata":{},"items":null}"#,
                "",
                0,
                None,
                None,
            ),
            (
                Layout::Table,
                r#"{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"9"},"columnDefinitions":[{"name":"Name"}],"rows":[{"cells":["x"],"object":{"rows":[]}}]}"#,
                r#"{"cells":["x"],"object":{"rows":[]}}"#,
                1,
                Some("9"),
                None,
            ),
        ] {
            for chunk in [1, 2, 3, 7, 1000] {
                let (got, envelope, number) = read(layout, document, chunk).unwrap();
                assert_eq!(
                    (got.trim_end(), number),
                    (items, count),
                    "{chunk}: {document}"
                );
                assert_eq!(envelope.resource_version.as_deref(), version);
                assert_eq!(envelope.continued.as_deref(), continued);
                let kind = String::from_utf8(envelope.kind).unwrap();
                assert!(
                    document.contains(&kind) && kind.starts_with('"') && kind.ends_with('"'),
                    "{kind}"
                );
                if layout == Layout::Table {
                    assert_eq!(envelope.columns, br#"[{"name":"Name"}]"#);
                }
            }
        }
    }

    #[test]
    fn what_is_no_whole_list_is_an_error() {
        for document in [
            r#"{"kind":"Status","apiVersion":"v1","status":"Failure"}"#,
            r#"{"kind":"PodList","apiVersion":"v1","items":[{"a":1}"#,
            r#"{"kind":"PodList","apiVersion":"v1","items":{"a":1}}"#,
            r#"{"kind":"PodList","kind":"PodList","items":[]}"#,
            r#"{"kind":"PodList","items":[1]}"#,
            r#"{"items":[]}"#,
            r#"[]"#,
        ] {
            assert!(read(Layout::Json, document, 5).is_err(), "{document}");
        }
    }
}
