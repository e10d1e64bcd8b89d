//! From a raw path to its place in the API: the steps of `NewRequestInfo` in
//! `apiserver pkg/endpoints/request/requestinfo.go`, on segments that can be read in one way only.

use crate::k8s::escape;
use crate::k8s::escape::Plus;
use crate::k8s::names::Namespace;
use crate::k8s::names::ObjectName;
use crate::k8s::names::is_border;

use super::Rest;

/// The resource that is its own namespace.
pub(super) const NAMESPACES: &str = "namespaces";

/// What kind of path it is.
pub(super) enum Classified {
    /// The decoded path as it came.
    NonResource(String),
    Resource(Place),
}

/// A resource path, taken apart.
pub(super) struct Place {
    /// Empty for the core group.
    pub(super) group: String,
    pub(super) version: String,
    pub(super) special: Option<Special>,
    pub(super) namespace: Option<Namespace>,
    pub(super) resource: String,
    pub(super) name: Option<ObjectName>,
    pub(super) subresource: Option<String>,
    /// A [`Rest::ProxyTail`] still lacks its query.
    pub(super) rest: Rest,
}

/// A verb that stands in the path (`specialVerbs`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Special {
    Proxy,
    Watch,
}

/// Why a path was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// It does not begin with a slash, such as the `*` of `OPTIONS *`.
    #[error("the path does not begin with a slash")]
    NoSlash,
    /// `//`: the API server serves `/api/v1/namespaces//pods` as a list over all namespaces.
    #[error("the path has an empty segment")]
    EmptySegment,
    /// `.` or `..`, escaped or not, which others would resolve.
    #[error("the path has a segment . or ..")]
    DotSegment,
    /// `%` without two hex digits, or bytes that are no UTF-8.
    #[error("the path has a bad percent escape")]
    Escape,
    /// A slash, backslash, percent sign or control character once decoded: a border of segments to some readers.
    #[error("a name in the path has a slash, backslash, percent sign or control character")]
    Character,
    /// `/api/v1/watch` and `/api/v1/proxy`, to which the API server answers 500.
    #[error("nothing follows the verb in the path")]
    NothingBehindVerb,
    /// `namespaces/{a}/namespaces…`: no namespace lies in another, and with `{a}` behind it the request could not be
    /// told from `namespaces/{a}` (CVE-2019-11247 is the class).
    #[error("a namespace does not lie in a namespace")]
    NestedNamespace,
}

/// # Errors
/// [`BadPath`]: what could be read in two ways.
pub(super) fn classify(path: &str) -> Result<Classified, BadPath> {
    let mut segments = Segments::new(path)?;
    let group = match segments.next()?.as_deref() {
        Some("api") => Some(String::new()),
        Some("apis") => segments.next()?,
        Some(_) | None => None,
    };
    let (Some(group), Some(version), Some(first)) = (group, segments.next()?, segments.next()?)
    else {
        return non_resource(path);
    };
    let special = match first.as_str() {
        "proxy" => Some(Special::Proxy),
        "watch" => Some(Special::Watch),
        _ => None,
    };
    let first = match special {
        Some(_) => segments.next()?.ok_or(BadPath::NothingBehindVerb)?,
        None => first,
    };
    let (namespace, resource, name, then) = place(first, &mut segments)?;
    // Of the verb `proxy`, RequestInfo reads no subresource (`specialVerbsNoSubresources`).
    let (subresource, first_of_rest) = match special {
        Some(Special::Proxy) => (None, then),
        Some(Special::Watch) | None => (then, None),
    };
    let rest = if subresource.as_deref() == Some("proxy") {
        // Go reads no target with these in it, wherever they stand.
        if !escape::is_well_escaped(segments.rest) {
            return Err(BadPath::Escape);
        }
        Rest::ProxyTail(segments.rest.to_owned())
    } else {
        let mut rest = Vec::from_iter(first_of_rest);
        while let Some(segment) = segments.next()? {
            rest.push(segment);
        }
        if rest.is_empty() {
            Rest::Nothing
        } else {
            Rest::Segments(rest)
        }
    };
    Ok(Classified::Resource(Place {
        group,
        version,
        special,
        namespace,
        resource,
        name,
        subresource,
        rest,
    }))
}

type NamespaceResourceNameThen = (
    Option<Namespace>,
    String,
    Option<ObjectName>,
    Option<String>,
);

/// Namespace, resource, name, and what follows the name.
fn place(first: String, segments: &mut Segments<'_>) -> Result<NamespaceResourceNameThen, BadPath> {
    if first != NAMESPACES {
        let name = segments.next_name()?;
        return Ok((None, first, name, segments.next()?));
    }
    let Some(namespace) = segments.next()? else {
        return Ok((None, first, None, None));
    };
    let namespace = Namespace::parse(&namespace).or(Err(BadPath::Character))?;
    match segments.next()? {
        Some(resource) if resource == NAMESPACES => Err(BadPath::NestedNamespace),
        Some(resource) if resource != "status" && resource != "finalize" => {
            let name = segments.next_name()?;
            Ok((Some(namespace), resource, name, segments.next()?))
        }
        // The namespace itself, or its subresource (`namespaceSubresources`).
        then => {
            let name = ObjectName::parse(namespace.as_str()).or(Err(BadPath::Character))?;
            Ok((Some(namespace), first, Some(name), then))
        }
    }
}

fn non_resource(path: &str) -> Result<Classified, BadPath> {
    let mut segments = Segments::new(path)?;
    let mut decoded = String::new();
    while let Some(segment) = segments.next()? {
        decoded.push('/');
        decoded.push_str(&segment);
    }
    if path.ends_with('/') {
        decoded.push('/');
    }
    Ok(Classified::NonResource(decoded))
}

/// The decoded segments of a path, one after the other. A trailing slash ends them.
struct Segments<'a> {
    /// Empty, or from a slash on.
    rest: &'a str,
}

impl<'a> Segments<'a> {
    fn new(path: &'a str) -> Result<Self, BadPath> {
        if path.starts_with('/') {
            Ok(Self { rest: path })
        } else {
            Err(BadPath::NoSlash)
        }
    }

    fn next(&mut self) -> Result<Option<String>, BadPath> {
        let Some(rest) = self.rest.strip_prefix('/').filter(|rest| !rest.is_empty()) else {
            self.rest = "";
            return Ok(None);
        };
        let (raw, rest) = rest
            .split_at_checked(rest.find('/').unwrap_or(rest.len()))
            .unwrap_or((rest, ""));
        self.rest = rest;
        let segment = escape::decode(raw, Plus::Literal).ok_or(BadPath::Escape)?;
        if segment.is_empty() {
            Err(BadPath::EmptySegment)
        } else if segment == "." || segment == ".." {
            Err(BadPath::DotSegment)
        } else if segment.contains(is_border) {
            Err(BadPath::Character)
        } else {
            Ok(Some(segment))
        }
    }

    fn next_name(&mut self) -> Result<Option<ObjectName>, BadPath> {
        let name = self.next()?;
        name.map(|name| ObjectName::parse(&name))
            .transpose()
            .or(Err(BadPath::Character))
    }
}
