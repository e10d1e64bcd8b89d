//! The metadata that names an object, read from JSON while it is scanned. It reads no other part of the object.

use super::Broken;
use super::json::Scanner;
use super::json::Token;
use super::labels::Labels;

/// Annotation of the bookmark that ends the initial events of a watch (KEP-3157; `InitialEventsAnnotationKey` in
/// apimachinery `pkg/apis/meta/v1/types.go`).
pub const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// What names an object and places it in time. Empty means absent, as in Kubernetes' own types.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectMeta {
    /// `metadata.name`
    pub name: String,
    /// `metadata.namespace`
    pub namespace: String,
    /// `metadata.uid`
    pub uid: String,
    /// `metadata.resourceVersion`
    pub resource_version: String,
    /// Whether [`INITIAL_EVENTS_END`] is annotated with `true`.
    pub initial_events_end: bool,
    /// `metadata.labels`, where they were [`Wanted`].
    pub labels: Labels,
}

/// How much of an object's metadata is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// What names the object.
    #[default]
    Names,
    /// Its labels too.
    Labels,
}

impl ObjectMeta {
    /// Forgets everything but the memory.
    pub fn clear(&mut self) {
        for text in [
            &mut self.name,
            &mut self.namespace,
            &mut self.uid,
            &mut self.resource_version,
        ] {
            text.clear();
        }
        self.initial_events_end = false;
        self.labels.clear();
    }
}

/// Reads [`ObjectMeta`] from the tokens of one JSON object. Names of members compare after unescaping; a member of
/// interest that occurs twice is an error, because readers differ on which one counts.
#[derive(Clone, Debug, Default)]
pub struct ObjectReader {
    /// What was read so far; whole when [`Self::on`] says so.
    pub meta: ObjectMeta,
    wanted: Wanted,
    /// Depth of the object's members.
    base: usize,
    place: Place,
    key: Key,
    seen: u8,
    /// The label whose value comes next.
    label: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Members,
    Metadata,
    Annotations,
    Labels,
}

/// The member whose value comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Key {
    #[default]
    Other,
    Metadata,
    Name,
    Namespace,
    Uid,
    ResourceVersion,
    Annotations,
    InitialEventsEnd,
    Labels,
    /// Any label.
    Label,
}

impl Key {
    fn of(place: Place, wanted: Wanted, text: Option<&[u8]>) -> Self {
        match (place, text) {
            (Place::Metadata, Some(b"labels")) if wanted == Wanted::Labels => Self::Labels,
            (Place::Labels, _) => Self::Label,
            (Place::Members, Some(b"metadata")) => Self::Metadata,
            (Place::Metadata, Some(b"name")) => Self::Name,
            (Place::Metadata, Some(b"namespace")) => Self::Namespace,
            (Place::Metadata, Some(b"uid")) => Self::Uid,
            (Place::Metadata, Some(b"resourceVersion")) => Self::ResourceVersion,
            (Place::Metadata, Some(b"annotations")) => Self::Annotations,
            (Place::Annotations, Some(key)) if key == INITIAL_EVENTS_END.as_bytes() => {
                Self::InitialEventsEnd
            }
            (Place::Members | Place::Metadata | Place::Annotations, _) => Self::Other,
        }
    }

    /// Its bit among those seen, and its name for the error.
    fn once(self) -> Option<(u8, &'static str)> {
        match self {
            // Labels look after themselves.
            Self::Other | Self::Label => None,
            Self::Metadata => Some((1, "metadata")),
            Self::Name => Some((2, "metadata.name")),
            Self::Namespace => Some((4, "metadata.namespace")),
            Self::Uid => Some((8, "metadata.uid")),
            Self::ResourceVersion => Some((16, "metadata.resourceVersion")),
            Self::Annotations => Some((32, "metadata.annotations")),
            Self::InitialEventsEnd => Some((64, INITIAL_EVENTS_END)),
            Self::Labels => Some((128, "metadata.labels")),
        }
    }
}

impl ObjectReader {
    /// A reader of so much.
    pub fn new(wanted: Wanted) -> Self {
        Self {
            wanted,
            ..Self::default()
        }
    }

    /// Starts over, right after `scanner` reported the object's `{`.
    pub fn begin(&mut self, scanner: &mut Scanner) {
        self.meta.clear();
        self.base = scanner.depth();
        self.place = Place::Members;
        self.key = Key::Other;
        self.seen = 0;
        scanner.look(self.base);
    }

    /// Takes the next token, and says whether it ended the object. Decides how deep `scanner` looks until then.
    ///
    /// # Errors
    /// [`Broken::Twice`], or [`Broken::Not`] where labels are wanted and are no strings.
    pub fn on(&mut self, token: Token, scanner: &mut Scanner) -> Result<bool, Broken> {
        match token {
            // A label that cannot be read is not one that is absent.
            Token::BeginObject | Token::BeginArray | Token::Null | Token::Scalar
                if self.key == Key::Label =>
            {
                return Err(Broken::Not("label"));
            }
            Token::Key => {
                self.key = Key::of(self.place, self.wanted, scanner.key());
                if self.key == Key::Label {
                    let text = scanner.text().ok_or(Broken::Not("label"))?;
                    text.clone_into(&mut self.label);
                }
                if let Some((bit, name)) = self.key.once() {
                    if self.seen & bit != 0 {
                        return Err(Broken::Twice(name));
                    }
                    self.seen |= bit;
                }
            }
            Token::BeginObject => match self.key {
                Key::Metadata => self.enter(Place::Metadata, scanner),
                Key::Annotations => self.enter(Place::Annotations, scanner),
                Key::Labels => self.enter(Place::Labels, scanner),
                Key::Other
                | Key::Name
                | Key::Namespace
                | Key::Uid
                | Key::ResourceVersion
                | Key::InitialEventsEnd
                | Key::Label => {
                    self.key = Key::Other;
                }
            },
            Token::EndObject => {
                let members = match self.place {
                    Place::Members => self.base,
                    Place::Metadata => self.base + 1,
                    Place::Annotations | Place::Labels => self.base + 2,
                };
                // The end of a member's value, not of the object it is a member of.
                if scanner.depth() == members {
                    return Ok(false);
                }
                match self.place {
                    Place::Members => return Ok(true),
                    Place::Metadata => self.enter(Place::Members, scanner),
                    Place::Annotations => self.enter(Place::Metadata, scanner),
                    Place::Labels => {
                        self.meta.labels.seal()?;
                        self.enter(Place::Metadata, scanner);
                    }
                }
            }
            Token::String if self.key == Key::Label => {
                let value = scanner.text().ok_or(Broken::Not("label"))?;
                self.meta.labels.push(&self.label, value);
                self.key = Key::Other;
            }
            Token::String => self.text(scanner.text().unwrap_or_default()),
            Token::BeginArray | Token::EndArray | Token::Comma | Token::Null | Token::Scalar => {
                self.key = Key::Other
            }
        }
        Ok(false)
    }

    fn enter(&mut self, place: Place, scanner: &mut Scanner) {
        self.place = place;
        self.key = Key::Other;
        scanner.look(scanner.depth());
    }

    fn text(&mut self, text: &str) {
        match self.key {
            Key::Name => self.meta.name.push_str(text),
            Key::Namespace => self.meta.namespace.push_str(text),
            Key::Uid => self.meta.uid.push_str(text),
            Key::ResourceVersion => self.meta.resource_version.push_str(text),
            Key::InitialEventsEnd => self.meta.initial_events_end = text == "true",
            Key::Other | Key::Metadata | Key::Annotations | Key::Labels | Key::Label => {}
        }
        self.key = Key::Other;
    }
}
