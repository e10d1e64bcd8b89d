//! The request line: classified exactly as the API server does
//! (`apiserver pkg/endpoints/request/requestinfo.go`), refused where it must be, and printed again.
//! Where the API server and we, or anything between us, could read a target differently, it is refused.

mod path;
mod upgrade;

use std::sync::Arc;

use http::HeaderMap;
use http::Method;
use http::StatusCode;
use http::Uri;
use http::uri::PathAndQuery;

use super::escape;
use super::field_selector::FieldSelector;
use super::list_options;
use super::list_options::ListOptions;
use super::names::GroupResource;
use super::names::Namespace;
use super::names::ObjectName;
use super::query::BadQuery;
use super::query::Query;
use super::status::Reason;
use super::status::Status;
pub use path::BadPath;
use path::Classified;
pub use upgrade::BadUpgrade;
pub use upgrade::Upgrade;

/// Longest target that the `http` crate carries, in bytes (`http::Uri`, a 16-bit length with one value reserved).
const MAX_TARGET_BYTES: usize = 65_534;

/// The field by which an object is named in a field selector, and the only one RequestInfo looks at. Namespaces also
/// know `name`, which RequestInfo does not take for a name, and so neither do we.
const NAME_FIELD: &str = "metadata.name";

/// What a client asks for. Nothing of the client's path or query goes upstream but what [`ApiRequest::print`] prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiRequest {
    /// An object or collection of an API.
    Resource(ResourceRequest),
    /// Discovery, OpenAPI, `/version`, probes, …
    NonResource(NonResourceRequest),
}

/// The verb RBAC judges by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the API's own words")]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
    Proxy,
}

impl Verb {
    /// As RBAC writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
            Self::Proxy => "proxy",
        }
    }
}

/// A request for an object or collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceRequest {
    /// GET, HEAD, POST, PUT, PATCH, DELETE. HEAD has the verbs of GET; the API server serves none and answers 405.
    pub method: Method,
    /// As the API server classifies it.
    pub verb: Verb,
    /// Group and plural name.
    pub resource: GroupResource,
    /// `v1`, `v1beta2`, …
    pub version: Arc<str>,
    /// Set for namespaced requests; for `namespaces/{name}` the name itself, as in RequestInfo.
    pub namespace: Option<Namespace>,
    /// From the path, or from `fieldSelector=metadata.name=x` of a list or watch (then [`Self::name_in_path`] is false).
    pub name: Option<ObjectName>,
    /// Whether [`Self::name`] stood in the path.
    pub name_in_path: bool,
    /// `status`, `exec`, `log`, …
    pub subresource: Option<String>,
    /// What follows a subresource, or the name under a `proxy` verb.
    pub rest: Rest,
    /// What the query says.
    pub parameters: Parameters,
    /// The protocol the client wants to switch to.
    pub upgrade: Option<Upgrade>,
    /// Whether this is what [`ApiRequest::watched_over_websocket`] made of a watch: its client is served over WebSocket.
    pub over_websocket: bool,
}

/// What follows the subresource in the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Nothing.
    Nothing,
    /// Further segments, which the API server ignores when it authorizes.
    Segments(Vec<String>),
    /// Everything behind the subresource `proxy`, byte for byte: empty, or from its `/` or `?` on. The pairs of the query
    /// are in here and not in [`ResourceRequest::parameters`].
    ProxyTail(String),
}

/// A query, as far as it was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parameters {
    /// Printed pair by pair, decoded and encoded again: everything but collections.
    Pairs(Query),
    /// A collection.
    Collection {
        /// What the list parameters say.
        options: Box<ListOptions>,
        /// What is printed when forwarded: all pairs, repeated list parameters collapsed to their first value.
        pairs: Query,
    },
    /// A collection narrowed by us: printed from the options alone, in a fixed order.
    Narrowed(Box<ListOptions>),
}

/// A request outside the resource APIs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NonResourceRequest {
    /// Any of the known methods.
    pub method: Method,
    /// The decoded path as it came, trailing slash kept: RBAC judges by it.
    pub path: String,
    /// What the query says.
    pub query: Query,
    /// The protocol the client wants to switch to (refused later).
    pub upgrade: Option<Upgrade>,
}

impl ApiRequest {
    /// Reads method, target and the headers `Upgrade` and `Connection`.
    ///
    /// Legacy `/watch/` paths come out as what they mean: a watch of the collection, a name as field selector.
    ///
    /// # Errors
    /// [`BadRequest`]: what the API server refuses, and what two parsers might read differently.
    pub fn parse(method: &Method, target: &Uri, headers: &HeaderMap) -> Result<Self, BadRequest> {
        // CONNECT and TRACE mean something to proxies; of others, spelled in lower case say, nobody knows what they mean.
        let methods = [
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
            Method::OPTIONS,
        ];
        if !methods.contains(method) {
            return Err(BadRequest::Method);
        }
        let raw_length = target.path().len() + target.query().map_or(0, |query| query.len() + 1);
        if raw_length > MAX_TARGET_BYTES {
            return Err(BadRequest::TargetTooLong);
        }
        let upgrade = upgrade::parse(headers)?;
        match path::classify(target.path())? {
            Classified::NonResource(path) => Ok(Self::NonResource(NonResourceRequest {
                method: method.clone(),
                path,
                query: Query::parse(target.query().unwrap_or_default())?,
                upgrade,
            })),
            Classified::Resource(place) => {
                ResourceRequest::parse(method, place, target.query(), upgrade).map(Self::Resource)
            }
        }
    }

    /// The target to send.
    ///
    /// Law, for every request that [`Self::parse`] made: `parse(print(r)) == r`. What was narrowed parses to a
    /// [`Parameters::Collection`] with the same options.
    ///
    /// # Errors
    /// [`BadRequest::TargetTooLong`] where `http` cannot carry it (65 534 bytes).
    pub fn print(&self) -> Result<PathAndQuery, BadRequest> {
        let mut target = String::new();
        match self {
            Self::Resource(request) => request.print(&mut target),
            Self::NonResource(request) => request.print(&mut target),
        }
        if target.len() > MAX_TARGET_BYTES {
            return Err(BadRequest::TargetTooLong);
        }
        // Everything in it is escaped, or came out of an `Uri`.
        PathAndQuery::from_maybe_shared(target).or(Err(BadRequest::Unprintable))
    }

    /// The method to send.
    pub fn method(&self) -> &Method {
        match self {
            Self::Resource(request) => &request.method,
            Self::NonResource(request) => &request.method,
        }
    }

    /// The protocol the client wants to switch to.
    pub fn upgrade(&self) -> Option<Upgrade> {
        match self {
            Self::Resource(request) => request.upgrade,
            Self::NonResource(request) => request.upgrade,
        }
    }

    /// Of a watch over WebSocket, the watch: the same request without the wish to switch protocols. `None` for anything
    /// else.
    pub fn watched_over_websocket(&self) -> Option<Self> {
        match self {
            Self::Resource(request)
                if request.verb == Verb::Watch
                    && request.method == Method::GET
                    && request.upgrade == Some(Upgrade::WebSocket) =>
            {
                Some(Self::Resource(ResourceRequest {
                    upgrade: None,
                    over_websocket: true,
                    ..request.clone()
                }))
            }
            Self::Resource(_) | Self::NonResource(_) => None,
        }
    }
}

impl ResourceRequest {
    fn parse(
        method: &Method,
        place: path::Place,
        query: Option<&str>,
        upgrade: Option<Upgrade>,
    ) -> Result<Self, BadRequest> {
        let verb = match place.special {
            Some(path::Special::Proxy) => Verb::Proxy,
            // For the API server it is a watch whatever the method; only GET is routed. Printed in the modern form,
            // another method would become a create or a deletecollection.
            Some(path::Special::Watch) => {
                // In the modern form, such a resource would be taken for the verb.
                let is_verb = place.namespace.is_none()
                    && ["watch", "proxy"].contains(&place.resource.as_str());
                let is_get = matches!(*method, Method::GET | Method::HEAD);
                if !is_get || is_verb || place.subresource.is_some() {
                    return Err(BadRequest::LegacyWatch);
                }
                Verb::Watch
            }
            None => match *method {
                Method::GET | Method::HEAD => Verb::Get,
                Method::POST => Verb::Create,
                Method::PUT => Verb::Update,
                Method::PATCH => Verb::Patch,
                Method::DELETE if place.name.is_none() => Verb::DeleteCollection,
                Method::DELETE => Verb::Delete,
                _ => return Err(BadRequest::NoVerb),
            },
        };
        let mut request = Self {
            method: method.clone(),
            verb,
            resource: GroupResource::new(&place.group, &place.resource),
            version: place.version.into(),
            namespace: place.namespace,
            name_in_path: place.name.is_some(),
            name: place.name,
            subresource: place.subresource,
            rest: place.rest,
            parameters: Parameters::Pairs(Query::default()),
            upgrade,
            over_websocket: false,
        };
        if let Rest::ProxyTail(tail) = &mut request.rest {
            if let Some(query) = query {
                tail.push('?');
                tail.push_str(query);
            }
            if tail.contains(char::is_control) {
                return Err(BadPath::Character.into());
            }
            return Ok(request);
        }
        let pairs = Query::parse(query.unwrap_or_default())?;
        match verb {
            Verb::Watch => request.legacy_watch(pairs),
            Verb::Get if request.name.is_none() => request.collection(pairs),
            Verb::DeleteCollection => request.collection(pairs),
            Verb::Get
            | Verb::List
            | Verb::Create
            | Verb::Update
            | Verb::Patch
            | Verb::Delete
            | Verb::Proxy => {
                request.parameters = Parameters::Pairs(pairs);
                Ok(request)
            }
        }
    }

    /// Reads the list parameters of a list, watch or deletecollection; a name is taken from the field selector of the
    /// first two, as in RequestInfo.
    fn collection(mut self, mut pairs: Query) -> Result<Self, BadRequest> {
        pairs.collapse(&list_options::KNOWN);
        pairs.collapse(&list_options::SINGLE_BUT_UNKNOWN);
        let options = ListOptions::parse(&pairs).map_err(BadRequest::Parameter)?;
        if self.verb == Verb::Get {
            self.verb = if options.watch {
                Verb::Watch
            } else {
                Verb::List
            };
            self.name = selected_name(&options)?;
        }
        self.parameters = Parameters::Collection {
            options: Box::new(options),
            pairs,
        };
        Ok(self)
    }

    /// `/watch/…` of a collection or of one name: the same as a modern watch, whatever the parameter `watch` says.
    /// A name in the path becomes a field selector, and must agree with one that is there (`listOpts` in
    /// `apiserver pkg/endpoints/handlers/get.go`).
    fn legacy_watch(mut self, mut pairs: Query) -> Result<Self, BadRequest> {
        pairs.set("watch", "true");
        if let Some(name) = self.name.take() {
            let selector = FieldSelector::parse(pairs.first("fieldSelector").unwrap_or_default())
                .map_err(|why| BadRequest::Parameter(Status::bad_request(why.0)))?;
            if selector.is_everything() {
                pairs.set(
                    "fieldSelector",
                    FieldSelector::equal(NAME_FIELD, name.as_str()).print(),
                );
            } else if selector.exact(NAME_FIELD) != Some(name.as_str()) {
                let why = "fieldSelector metadata.name doesn't match requested name";
                return Err(BadRequest::Parameter(Status::bad_request(why)));
            }
            // `namespaces/{name}`: of a collection of namespaces, the namespace is not part.
            if self.resource.resource.as_ref() == path::NAMESPACES {
                self.namespace = None;
            }
            self.name_in_path = false;
        }
        self.verb = Verb::Get;
        self.collection(pairs)
    }

    /// The list parameters, if this is a collection.
    pub fn options(&self) -> Option<&ListOptions> {
        match &self.parameters {
            Parameters::Pairs(_) => None,
            Parameters::Collection { options, .. } | Parameters::Narrowed(options) => Some(options),
        }
    }

    /// The parameters of a collection that a narrowed request would leave out, since nobody here knows what they mean.
    /// One of them might narrow (`shardSelector`, KEP-5866): who narrows must decide whether leaving it out is allowed.
    pub fn unknown_list_parameters(&self) -> impl Iterator<Item = &str> {
        let pairs = match &self.parameters {
            Parameters::Collection { pairs, .. } => pairs.pairs(),
            Parameters::Pairs(_) | Parameters::Narrowed(_) => &[],
        };
        let names = pairs.iter().map(|(name, _)| name.as_str());
        names.filter(|name| !list_options::KNOWN.contains(name))
    }

    /// The same list or watch with these list parameters and no others: printed in a fixed order, with unknown ones
    /// left out. Verb and name follow from the options, so that what is judged is what is printed.
    #[must_use]
    pub fn narrowed(&self, options: ListOptions) -> Self {
        debug_assert!(
            matches!(self.verb, Verb::List | Verb::Watch),
            "only lists and watches are narrowed"
        );
        Self {
            method: self.method.clone(),
            verb: if options.watch {
                Verb::Watch
            } else {
                Verb::List
            },
            resource: self.resource.clone(),
            version: Arc::clone(&self.version),
            namespace: self.namespace.clone(),
            // Was judged when it was parsed; a selector that we made ourselves names no odd object.
            name: selected_name(&options).unwrap_or_default(),
            name_in_path: false,
            subresource: None,
            rest: Rest::Nothing,
            parameters: Parameters::Narrowed(Box::new(options)),
            upgrade: None,
            over_websocket: false,
        }
    }

    /// The part of this list or watch over all namespaces that lies in one namespace.
    #[must_use]
    pub fn narrowed_to(&self, namespace: Namespace, options: ListOptions) -> Self {
        Self {
            namespace: Some(namespace),
            ..self.narrowed(options)
        }
    }

    /// The same list or watch without the resourceVersion it brings along: the API server then answers with what is
    /// there now. `None` where that would be another request: a list pinned to one version, a further page, a watch
    /// that resumes, or one that brings no version.
    pub fn consistent(&self) -> Option<Self> {
        let Parameters::Collection { options, pairs } = &self.parameters else {
            return None;
        };
        let pinned = options.resource_version_match.as_deref() == Some("Exact")
            || options.continue_token.is_some()
            // A page of the list at exactly this version, as lists with a limit have always been.
            || (options.limit.is_some() && options.resource_version_match.is_none());
        let state_is_sent = self.verb == Verb::List || options.send_initial_events == Some(true);
        if pinned || !state_is_sent || options.resource_version.is_none() {
            return None;
        }
        let mut options = options.clone();
        options.resource_version = None;
        if self.verb == Verb::List {
            options.resource_version_match = None;
        }
        Some(Self {
            parameters: Parameters::Collection {
                options,
                pairs: pairs.clone(),
            },
            ..self.clone()
        })
    }

    /// Whether this is a watch that a human reads, and no machine with a store: [`ListOptions::from_machine`], or a
    /// WebSocket.
    pub fn is_watched_by_a_human(&self) -> bool {
        let options = self.options();
        self.verb == Verb::Watch
            && !self.over_websocket
            && options.is_some_and(|options| !options.from_machine())
    }

    /// The same watch, begun with the present state, of which the end is marked (KEP-3157). `None` if it is no watch.
    pub fn with_present_state(&self) -> Option<Self> {
        let Parameters::Collection { options, pairs } = &self.parameters else {
            return None;
        };
        if self.verb != Verb::Watch {
            return None;
        }
        let mut options = options.clone();
        options.resource_version = None;
        options.resource_version_match = Some("NotOlderThan".to_owned());
        options.send_initial_events = Some(true);
        options.allow_watch_bookmarks = true;
        Some(Self {
            parameters: Parameters::Collection {
                options,
                pairs: pairs.clone(),
            },
            ..self.clone()
        })
    }

    fn print(&self, target: &mut String) {
        let mut push = |segment: &str| {
            target.push('/');
            escape::encode(segment, target);
        };
        if self.resource.group.is_empty() {
            push("api");
        } else {
            push("apis");
            push(&self.resource.group);
        }
        push(&self.version);
        if self.verb == Verb::Proxy {
            push("proxy");
        }
        let name = self
            .name
            .as_ref()
            .filter(|_| self.name_in_path)
            .map(ObjectName::as_str);
        if let Some(namespace) = &self.namespace {
            // `namespaces/{name}` is its own namespace and names it once.
            if self.resource.resource.as_ref() != path::NAMESPACES
                || name != Some(namespace.as_str())
            {
                push(path::NAMESPACES);
                push(namespace.as_str());
            }
        }
        push(&self.resource.resource);
        let rest = match &self.rest {
            Rest::Segments(segments) => segments.as_slice(),
            Rest::Nothing | Rest::ProxyTail(_) => &[],
        };
        name.into_iter()
            .chain(self.subresource.as_deref())
            .chain(rest.iter().map(String::as_str))
            .for_each(push);
        if let Rest::ProxyTail(tail) = &self.rest {
            target.push_str(tail);
        }
        let path_ends = target.len();
        target.push('?');
        let query_begins = target.len();
        match &self.parameters {
            Parameters::Pairs(pairs) | Parameters::Collection { pairs, .. } => pairs.print(target),
            Parameters::Narrowed(options) => options.print(target),
        }
        if target.len() == query_begins {
            target.truncate(path_ends);
        }
    }
}

impl NonResourceRequest {
    fn print(&self, target: &mut String) {
        for (index, segment) in self.path.split('/').enumerate() {
            if index > 0 {
                target.push('/');
            }
            escape::encode(segment, target);
        }
        if !self.query.pairs().is_empty() {
            target.push('?');
            self.query.print(target);
        }
    }
}

/// The name that `fieldSelector=metadata.name=x` gives to a list or watch. Like RequestInfo, none where `x` could not
/// stand in a path; unlike it, refused where we hold that for another reason than the API server does.
fn selected_name(options: &ListOptions) -> Result<Option<ObjectName>, BadRequest> {
    let Some(name) = options
        .field_selector
        .exact(NAME_FIELD)
        .filter(|name| !name.is_empty())
    else {
        return Ok(None);
    };
    // `IsPathSegmentName` in `apimachinery pkg/api/validate/content/path.go`
    let is_name_upstream = name != "." && name != ".." && !name.contains(['/', '%']);
    match ObjectName::parse(name) {
        Ok(name) => Ok(Some(name)),
        Err(_) if is_name_upstream => Err(BadRequest::Path(BadPath::Character)),
        Err(_) => Ok(None),
    }
}

/// Why a request line was refused; [`BadRequest::status`] is the answer.
///
/// All are 400 `BadRequest` but for [`Self::TargetTooLong`], a 414 with the reason `RequestEntityTooLarge` (the API has
/// none of its own for it), and [`Self::Unprintable`], a 500. The API server answers 500 to a special verb with nothing
/// behind it, and 403, 404 or 405 to most of the others, after it judged them in its own reading.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// A list parameter or selector, in the API server's own words.
    #[error("{}", .0.message)]
    Parameter(Status),
    /// 414.
    #[error("the request target is longer than {MAX_TARGET_BYTES} bytes")]
    TargetTooLong,
    /// The path could be read in two ways.
    #[error(transparent)]
    Path(#[from] BadPath),
    /// The query could be read in two ways.
    #[error(transparent)]
    Query(#[from] BadQuery),
    /// Not GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS.
    #[error("the method is none that the Kubernetes API knows")]
    Method,
    /// OPTIONS on a resource: RequestInfo gives it the verb "", which RBAC can neither grant nor deny by name.
    #[error("the method has no meaning for a resource")]
    NoVerb,
    /// A `/watch/` path with another method than GET, or with something behind the name.
    #[error("this /watch/ path does not exist; use the collection with ?watch=true")]
    LegacyWatch,
    /// A protocol switch that is none of ours.
    #[error(transparent)]
    Upgrade(#[from] BadUpgrade),
    /// A broken invariant: what we print is always a target.
    #[error("the request target cannot be printed")]
    Unprintable,
}

impl BadRequest {
    /// The answer.
    pub fn status(&self) -> Status {
        match self {
            Self::Parameter(status) => status.clone(),
            Self::TargetTooLong => Status::new(
                StatusCode::URI_TOO_LONG,
                Reason::RequestEntityTooLarge,
                self.to_string(),
            ),
            Self::Unprintable => Status::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                Reason::InternalError,
                self.to_string(),
            ),
            Self::Path(_)
            | Self::Query(_)
            | Self::Method
            | Self::NoVerb
            | Self::LegacyWatch
            | Self::Upgrade(_) => Status::bad_request(self.to_string()),
        }
    }

    /// What refusals are counted under.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Parameter(_) => "parameter",
            Self::TargetTooLong => "target_too_long",
            Self::Path(_) => "path",
            Self::Query(_) => "query",
            Self::Method => "method",
            Self::NoVerb => "no_verb",
            Self::LegacyWatch => "legacy_watch",
            Self::Upgrade(_) => "upgrade",
            Self::Unprintable => "unprintable",
        }
    }
}

#[cfg(test)]
mod tests;
