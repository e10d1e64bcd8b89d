//! `Accept`, negotiated as the API server does (`apiserver pkg/endpoints/handlers/negotiation`), and content types.
//! It offers nothing that the filters cannot read: CBOR and whatever comes after it are passed over.

/// How a narrowed answer is encoded, and what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Media {
    /// The encoding.
    pub encoding: Encoding,
    /// What the objects were turned into.
    pub shape: Shape,
}

/// An encoding that we can filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `application/json`.
    Json,
    /// `application/vnd.kubernetes.protobuf`.
    Protobuf,
    /// `application/yaml`: lists only (a watch answers 406). Not filtered: asked for only where a selector says all.
    Yaml,
}

/// What the objects were turned into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// As they are.
    Object,
    /// `as=Table`, with the version asked for: `v1` or `v1beta1`.
    Table(TableVersion),
    /// `as=PartialObjectMetadata` or `…List`, of version `v1`.
    PartialObjectMetadata,
}

/// Version of a Table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the API's own words")]
pub enum TableVersion {
    V1,
    V1Beta1,
}

/// For what an answer is negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// A watch rather than a list.
    pub watch: bool,
    /// Whether we read the answer, or a pushed-down selector says all.
    pub filtered: bool,
    /// Whether the kind surely has a protobuf form ([`crate::catalog::KindFacts::protobuf`] knows). Otherwise plain
    /// protobuf is chosen only where the client accepts nothing else, and the API server says whether it has it:
    /// asked for protobuf *or* JSON it would pick JSON itself for a custom resource.
    pub protobuf: bool,
}

impl Media {
    /// The first acceptable clause of the first `Accept` line in the client's order (q first), among what is allowed
    /// for a narrowed request. `None`: nothing acceptable, which is a 406.
    pub fn negotiate(accept: Option<&str>, offer: Offer) -> Option<Self> {
        let accept = accept.unwrap_or_default();
        if accept.is_empty() {
            return Some(Self::JSON);
        }
        let clauses = clauses(accept)?;
        let mut acceptable = clauses.iter().filter_map(|clause| clause.media(offer));
        let first = acceptable.next()?.ok()?;
        let plain_protobuf = first.encoding == Encoding::Protobuf && first.shape == Shape::Object;
        if offer.protobuf || !plain_protobuf {
            return Some(first);
        }
        let other = acceptable
            .flatten()
            .find(|media| media.encoding != Encoding::Protobuf);
        Some(other.unwrap_or(first))
    }

    /// The one canonical `Accept` value to send upstream.
    pub fn accept(self, watch: bool) -> &'static str {
        match (self.shape, self.encoding) {
            (Shape::Object, Encoding::Json) => JSON,
            (Shape::Object, Encoding::Protobuf) if watch => PROTOBUF_WATCH,
            (Shape::Object, Encoding::Protobuf) => PROTOBUF,
            (Shape::Object, Encoding::Yaml) => YAML,
            // A Table has no protobuf form; `negotiate` never makes the pair.
            (Shape::Table(TableVersion::V1), Encoding::Json | Encoding::Protobuf) => {
                "application/json;as=Table;v=v1;g=meta.k8s.io"
            }
            (Shape::Table(TableVersion::V1Beta1), Encoding::Json | Encoding::Protobuf) => {
                "application/json;as=Table;v=v1beta1;g=meta.k8s.io"
            }
            (Shape::Table(TableVersion::V1), Encoding::Yaml) => {
                "application/yaml;as=Table;v=v1;g=meta.k8s.io"
            }
            (Shape::Table(TableVersion::V1Beta1), Encoding::Yaml) => {
                "application/yaml;as=Table;v=v1beta1;g=meta.k8s.io"
            }
            (Shape::PartialObjectMetadata, Encoding::Json) if watch => {
                "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
            }
            (Shape::PartialObjectMetadata, Encoding::Json) => {
                "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
            }
            (Shape::PartialObjectMetadata, Encoding::Protobuf) if watch => {
                "application/vnd.kubernetes.protobuf;stream=watch;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
            }
            (Shape::PartialObjectMetadata, Encoding::Protobuf) => {
                "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
            }
            (Shape::PartialObjectMetadata, Encoding::Yaml) => {
                "application/yaml;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
            }
        }
    }

    /// The `Content-Type` of an answer of this kind.
    pub fn content_type(self, watch: bool) -> &'static str {
        match self.encoding {
            Encoding::Json => JSON,
            Encoding::Protobuf if watch => PROTOBUF_WATCH,
            Encoding::Protobuf => PROTOBUF,
            Encoding::Yaml => YAML,
        }
    }

    /// Whether `content_type` of an answer is what [`Self::accept`] asked for: type, `stream`, and no parameter that
    /// we do not know. A content type does not tell the shape; who filters reads `kind`.
    pub fn is_answered_by(self, content_type: &str, watch: bool) -> bool {
        let (wanted, must_stream) = match self.encoding {
            Encoding::Json => (JSON, false),
            Encoding::Protobuf => (PROTOBUF, watch),
            Encoding::Yaml => (YAML, false),
        };
        let mut parts = content_type.split(';').map(str::trim);
        let is_type = parts
            .next()
            .is_some_and(|media| media.eq_ignore_ascii_case(wanted));
        let mut streams = false;
        let known = parts.all(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            if name.eq_ignore_ascii_case("stream") {
                streams = true;
                return watch && value == "watch";
            }
            // Aggregated API servers may add it; all that we read is UTF-8.
            name.eq_ignore_ascii_case("charset")
                && value.trim_matches('"').eq_ignore_ascii_case("utf-8")
        });
        is_type && known && (streams || !must_stream)
    }

    /// As [`Self::negotiate`], for a list that is put together from several: in JSON, since a protobuf list begins with
    /// its length. Clients that prefer protobuf accept JSON besides.
    pub fn negotiate_text(accept: Option<&str>) -> Option<Self> {
        let offer = Offer {
            watch: false,
            filtered: true,
            protobuf: false,
        };
        let accept = accept.unwrap_or_default();
        if accept.is_empty() {
            return Some(Self::JSON);
        }
        let clauses = clauses(accept)?;
        let mut acceptable = clauses
            .iter()
            .filter(|clause| clause.sub != PROTOBUF_SUB)
            .filter_map(|clause| clause.media(offer));
        acceptable.next()?.ok()
    }

    /// The encoding of one whole object in an answer of this content type, if it is one that we can read.
    pub fn of_object(content_type: &str) -> Option<Self> {
        Self::answered(content_type, false)
    }

    /// The encoding of a watch of this content type, whatever its objects were turned into, if it is one that we can read.
    pub fn of_watch(content_type: &str) -> Option<Encoding> {
        Self::answered(content_type, true).map(|media| media.encoding)
    }

    fn answered(content_type: &str, watch: bool) -> Option<Self> {
        let objects = [Encoding::Json, Encoding::Protobuf].map(|encoding| Self {
            encoding,
            shape: Shape::Object,
        });
        objects
            .into_iter()
            .find(|media| media.is_answered_by(content_type, watch))
    }

    /// The metadata of objects alone, in JSON.
    pub const PARTIAL_METADATA: Self = Self {
        encoding: Encoding::Json,
        shape: Shape::PartialObjectMetadata,
    };

    const JSON: Self = Self {
        encoding: Encoding::Json,
        shape: Shape::Object,
    };
}

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const PROTOBUF_SUB: &str = "vnd.kubernetes.protobuf";
const PROTOBUF_WATCH: &str = "application/vnd.kubernetes.protobuf;stream=watch";

/// Most clauses we sort: the order below is found by insertion, whose cost grows with the square. kubectl sends three.
const MAX_CLAUSES: usize = 64;

/// One clause of an `Accept` line.
#[derive(Debug, PartialEq)]
struct Clause<'a> {
    media: &'a str,
    sub: &'a str,
    q: f64,
    /// The last of a repeated parameter counts, as in a Go map.
    parameters: Vec<(&'a str, &'a str)>,
}

/// What makes a clause unusable although it is the one that the API server would pick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NotAcceptable;

impl Clause<'_> {
    /// What this clause leads to; `None` if the API server would pass it over, or we do.
    fn media(&self, offer: Offer) -> Option<Result<Media, NotAcceptable>> {
        let last = |name| {
            self.parameters
                .iter()
                .rev()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| *value)
        };
        let is_unset_or =
            |name, wanted| last(name).is_none_or(|value| value.is_empty() || value == wanted);
        // A stream schema other than `watch`, and a server version other than meta's own, exclude a clause.
        if !is_unset_or("stream", "watch") || !is_unset_or("sv", "v1") {
            return None;
        }
        let shape = match (last("as"), last("v"), last("g")) {
            (None, None, None) => Ok(Shape::Object),
            (Some("Table"), Some("v1"), Some("meta.k8s.io")) => Ok(Shape::Table(TableVersion::V1)),
            (Some("Table"), Some("v1beta1"), Some("meta.k8s.io")) => {
                Ok(Shape::Table(TableVersion::V1Beta1))
            }
            (Some("PartialObjectMetadataList"), Some("v1"), Some("meta.k8s.io"))
                if !offer.watch =>
            {
                Ok(Shape::PartialObjectMetadata)
            }
            (Some("PartialObjectMetadata"), Some("v1"), Some("meta.k8s.io")) if offer.watch => {
                Ok(Shape::PartialObjectMetadata)
            }
            // One for lists, one for single objects. The API server picks the clause and then fails with a 406.
            (
                Some("PartialObjectMetadata" | "PartialObjectMetadataList"),
                Some("v1"),
                Some("meta.k8s.io"),
            ) => Err(NotAcceptable),
            // Unknown to the API server, or (PartialObjectMetadata v1beta1) not sent by any client we know.
            (_, _, _) => return None,
        };
        let is_table = matches!(shape, Ok(Shape::Table(_)));
        // YAML has no stream form.
        let yaml = !offer.watch && !offer.filtered && is_unset_or("stream", "");
        // In the API server's order, which decides what a wildcard means.
        let encodings = [
            ("json", Encoding::Json, true),
            ("yaml", Encoding::Yaml, yaml),
            ("vnd.kubernetes.protobuf", Encoding::Protobuf, !is_table),
        ];
        let encoding = encodings.into_iter().find_map(|(sub, encoding, offered)| {
            let matches = match (self.media, self.sub) {
                ("*", "*") | ("application", "*") => true,
                ("application", named) => named == sub,
                (_, _) => false,
            };
            (matches && offered).then_some(encoding)
        })?;
        Some(shape.map(|shape| Media { encoding, shape }))
    }

    /// Whether this clause goes before `other` (`acceptSlice.Less` in goautoneg).
    fn is_less(&self, other: &Self) -> bool {
        self.q > other.q
            || (self.media != "*" && other.media == "*")
            || (self.sub != "*" && other.sub == "*")
    }
}

/// The clauses of an `Accept` line in the order in which the API server tries them. `None` if there are too many.
///
/// `github.com/munnerz/goautoneg` sorts with a comparison that is no order ("better q" *or* "more specific"), so the
/// outcome depends on the algorithm: up to a dozen elements Go's `sort.Sort` inserts, which is what we do for any number.
fn clauses(accept: &str) -> Option<Vec<Clause<'_>>> {
    let mut sorted: Vec<Clause<'_>> = Vec::new();
    for clause in accept.split(',').filter_map(clause) {
        if sorted.len() == MAX_CLAUSES {
            return None;
        }
        let at = sorted
            .iter()
            .rposition(|before| !clause.is_less(before))
            .map_or(0, |index| index + 1);
        sorted.insert(at, clause);
    }
    Some(sorted)
}

/// One clause, or `None` where goautoneg skips it. A `q` that is no number is 0, and a `q` of 0 does not exclude.
fn clause(text: &str) -> Option<Clause<'_>> {
    let mut parts = text.trim_matches(' ').split(';');
    let range = parts.next()?;
    let (media, sub) = match range.split_once('/') {
        Some((media, sub)) if !sub.is_empty() => (media.trim_matches(' '), sub),
        Some(_) | None => {
            let media = range.trim_end_matches('/').trim_matches(' ');
            (media == "*").then_some((media, "*"))?
        }
    };
    // `a/b/c` is skipped; `a/b/` is `a/b`.
    let sub = sub.strip_suffix('/').unwrap_or(sub);
    if sub.contains('/') {
        return None;
    }
    let mut clause = Clause {
        media,
        sub: sub.trim_matches(' '),
        q: 1.0,
        parameters: Vec::new(),
    };
    for part in parts {
        let Some((name, value)) = part.split_once('=') else {
            continue;
        };
        if value.is_empty() {
            continue;
        }
        // `a=b=c` is skipped; `a=b=` is `a=b`.
        let value = value.strip_suffix('=').unwrap_or(value);
        if value.contains('=') {
            continue;
        }
        match name.trim_matches(' ') {
            "q" => clause.q = value.parse().unwrap_or(0.0),
            name => clause.parameters.push((name, value.trim_matches(' '))),
        }
    }
    Some(clause)
}

#[cfg(test)]
mod tests;
