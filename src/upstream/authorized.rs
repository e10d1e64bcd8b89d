//! A request that may be sent: printed from its permit, with headers of our own making.
//!
//! This file alone turns an identity into headers. It copies nothing that says who someone is, and what it has built
//! it checks once more: impersonation fails open, a request whose user header got lost runs as the proxy itself
//! (CVE-2023-48312, CVE-2022-23652).

use std::fmt;
use std::net::IpAddr;

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Method;
use http::header;
use http::uri::PathAndQuery;
use percent_encoding::percent_encode_byte;

use super::headers;
use super::headers::Carry;
use super::hostile::reads_as;
use super::own_token::OwnToken;
use super::own_token::bearer;
use crate::identity::Caller;
use crate::identity::Credential;
use crate::identity::Groups;
use crate::identity::Identity;
use crate::identity::UpstreamMode;
use crate::k8s::request::ApiRequest;
use crate::k8s::request::BadRequest;
use crate::k8s::request::ResourceRequest;
use crate::k8s::request::Rest;
use crate::k8s::request::Upgrade;
use crate::k8s::request::Verb;
use crate::policy::Permit;
use crate::policy::Voice;
use crate::reader;

const IMPERSONATE_USER: HeaderName = HeaderName::from_static("impersonate-user");
const IMPERSONATE_GROUP: HeaderName = HeaderName::from_static("impersonate-group");
const IMPERSONATE_UID: HeaderName = HeaderName::from_static("impersonate-uid");
const IMPERSONATE_EXTRA: &str = "impersonate-extra-";
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The group of everybody whom the API server knows. It adds it itself, and sending it needs a grant of its own
/// (`apiserver pkg/endpoints/filters/impersonation`), so it is sent only for an identity that has no other group.
const AUTHENTICATED: &str = "system:authenticated";

/// Groups that no request of ours may claim: the first passes RBAC and priority and fairness alike.
const FORBIDDEN_GROUPS: [&str; 3] = ["system:masters", "system:unauthenticated", reader::GROUP];

/// Users that no caller may be.
const FORBIDDEN_USERS: [&str; 2] = ["system:anonymous", reader::USER];

/// A request that may be sent, and the only thing that [`super::Upstream`] sends.
pub struct Authorized {
    pub(super) method: Method,
    pub(super) target: PathAndQuery,
    pub(super) headers: HeaderMap,
    pub(super) lane: Lane,
    pub(super) head: HeadDeadline,
}

/// Which kind of connection a request travels on. They never share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Pooled HTTP/1.1 connections: reads that end soon, the cheapest way for one. Such a read may be sent again when
    /// a kept connection turns out closed.
    Read,
    /// HTTP/2 connections: writes, which may not be sent again, and here need not be, since a server that goes says
    /// which of them it will not carry out (GOAWAY, RFC 9113 §6.8). HTTP/1.1 has no word for that.
    Write,
    /// Other HTTP/2 connections, whose streams are counted: watches and logs, which last. Always a GET.
    Stream,
    /// An HTTP/1.1 connection of its own, which becomes a tunnel.
    Dedicated(Upgrade),
}

/// Whether the head of the answer is waited for with a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadDeadline {
    /// The API server ends the request itself after a minute.
    Bounded,
    /// It is one of those that the API server lets run
    /// (`BasicLongRunningRequestCheck` in apiserver `pkg/server/filters/longrunning.go`).
    Unbounded,
}

/// What came with the request on the way in.
#[derive(Clone, Copy, Debug)]
pub struct Inbound<'a> {
    /// The client's headers, judged by [`super::judge_inbound`].
    pub headers: &'a HeaderMap,
    /// From where, for the API server's audit log.
    pub peer: IpAddr,
    /// Headers that must not travel even on the tail of `…/proxy/…`, such as the one configured for forwarded client
    /// certificates.
    pub withheld: &'a [HeaderName],
}

/// Why a permitted request cannot be sent. Nothing was; someone must look.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsendable {
    /// The permit was given to somebody else than the one whose credential is at hand.
    #[error("the permit is not the caller's")]
    WrongCaller,
    /// Token mode, but the caller proved himself by something that cannot be sent on.
    #[error("token mode without a token of the caller")]
    NoCallerToken,
    /// The service account's token file has never held a token.
    #[error("the proxy has no token of its own")]
    NoOwnToken,
    /// Overage: the groups are not known, and an impersonated user without them would be somebody else.
    #[error("the groups of the caller are not known")]
    GroupsUnknown,
    /// A user, group or extra key that belongs to the proxy or to the API server.
    #[error("the caller claims a reserved {0}")]
    Reserved(&'static str),
    /// A part of the identity that a header line would lose or break on.
    #[error("the caller's {0} does not fit into a header")]
    Unprintable(&'static str),
    /// The request cannot be printed.
    #[error("the request cannot be printed")]
    Target(#[source] BadRequest),
    /// What was built is not what had to be built.
    #[error("the finished request is wrong: {0}")]
    Broken(&'static str),
}

impl Authorized {
    /// The request of `permit`, to be sent with the caller's credential or with `own`.
    ///
    /// In the reader's voice, what of the client's headers could shape the answer stays behind; use
    /// [`Self::with_accept`] to say what shall come back.
    ///
    /// # Errors
    /// [`Unsendable`]: a 500, with nothing sent.
    pub fn new(
        permit: Permit,
        caller: &Caller,
        inbound: Inbound<'_>,
        own: &OwnToken,
    ) -> Result<Self, Unsendable> {
        let target = permit.what().print().map_err(Unsendable::Target)?;
        Self::assemble(permit, target, caller, inbound, own)
    }

    fn assemble(
        permit: Permit,
        target: PathAndQuery,
        caller: &Caller,
        inbound: Inbound<'_>,
        own: &OwnToken,
    ) -> Result<Self, Unsendable> {
        if permit.who().key() != caller.who.key() {
            return Err(Unsendable::WrongCaller);
        }
        let what = permit.what();
        let lane = lane(what);
        let mut outbound = headers::carried(
            inbound.headers,
            carry(what, permit.voice()),
            inbound.withheld,
        );
        match lane {
            Lane::Dedicated(upgrade) => {
                headers::add_upgrade(&mut outbound, inbound.headers, protocol(upgrade))
            }
            Lane::Read | Lane::Write | Lane::Stream => {}
        }
        if let Ok(peer) = HeaderValue::try_from(inbound.peer.to_canonical().to_string()) {
            outbound.insert(X_FORWARDED_FOR, peer);
        }
        Identified::by(permit.voice(), caller, own)?.set_in(&mut outbound)?;
        Ok(Self {
            method: what.method().clone(),
            target,
            headers: outbound,
            lane,
            head: head_deadline(what),
        })
    }

    /// The same request, asking for exactly this media type, uncompressed: for answers that are read on the way.
    ///
    /// Without `Accept-Encoding` the API server does not compress; from 1.37 on it would gzip even watch-lists.
    #[must_use]
    pub fn with_accept(mut self, accept: HeaderValue) -> Self {
        self.headers.insert(header::ACCEPT, accept);
        self.headers.remove(header::ACCEPT_ENCODING);
        self
    }

    /// The kind of connection it will travel on.
    pub fn lane(&self) -> Lane {
        self.lane
    }

    #[cfg(test)]
    pub(crate) fn for_test(method: Method, target: &str, lane: Lane) -> Self {
        let mut outbound = HeaderMap::new();
        match lane {
            Lane::Dedicated(upgrade) => {
                headers::add_upgrade(&mut outbound, &HeaderMap::new(), protocol(upgrade))
            }
            Lane::Read | Lane::Write | Lane::Stream => {}
        }
        Self {
            method,
            target: target.parse().unwrap(),
            headers: outbound,
            lane,
            head: HeadDeadline::Bounded,
        }
    }
}

/// Neither headers nor query: either may hold a secret.
impl fmt::Debug for Authorized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorized")
            .field("method", &self.method)
            .field("path", &self.target.path())
            .field("lane", &self.lane)
            .finish_non_exhaustive()
    }
}

/// The identity headers of one request.
struct Identified {
    authorization: HeaderValue,
    /// None where the credential itself says who it is.
    impersonated: Option<HeaderMap>,
}

impl Identified {
    /// | voice, mode | `Authorization` | impersonated |
    /// |---|---|---|
    /// | user, token | the caller's own token | nobody |
    /// | user, impersonate | the proxy's | the caller: user, groups, uid, extra |
    /// | reader, either | the proxy's | the fixed reader, the caller's name in an extra |
    fn by(voice: Voice, caller: &Caller, own: &OwnToken) -> Result<Self, Unsendable> {
        let own_authorization = || own.bearer().ok_or(Unsendable::NoOwnToken);
        match (voice, caller.who.upstream, &caller.credential) {
            (Voice::User, UpstreamMode::Token, Credential::Bearer(token)) => Ok(Self {
                authorization: bearer(token.expose())
                    .map_err(|_not_a_token| Unsendable::Unprintable("token"))?,
                impersonated: None,
            }),
            (Voice::User, UpstreamMode::Token, Credential::ProvedHere) => {
                Err(Unsendable::NoCallerToken)
            }
            (Voice::User, UpstreamMode::Impersonate, _) => Ok(Self {
                authorization: own_authorization()?,
                impersonated: Some(as_caller(&caller.who)?),
            }),
            (Voice::Reader, UpstreamMode::Token | UpstreamMode::Impersonate, _) => Ok(Self {
                authorization: own_authorization()?,
                impersonated: Some(as_reader(&caller.who)?),
            }),
        }
    }

    /// Sets the headers, and looks at the finished map once more.
    fn set_in(self, outbound: &mut HeaderMap) -> Result<(), Unsendable> {
        let asked = self.impersonated.as_ref().map_or(0, HeaderMap::len);
        outbound.insert(header::AUTHORIZATION, self.authorization.clone());
        outbound.extend(self.impersonated.unwrap_or_default());
        assert_identity(outbound, &self.authorization, asked)
    }
}

/// The caller, impersonated whole.
fn as_caller(who: &Identity) -> Result<HeaderMap, Unsendable> {
    let groups = match &who.groups {
        Groups::Known(groups) => groups,
        Groups::Unknown(_) => return Err(Unsendable::GroupsUnknown),
    };
    if FORBIDDEN_USERS.contains(&who.user.as_str()) {
        return Err(Unsendable::Reserved("user"));
    }
    let mut impersonated = HeaderMap::new();
    impersonated.insert(IMPERSONATE_USER, value("user", who.user.as_str())?);
    for group in groups
        .iter()
        .map(|group| group.as_str())
        .filter(|group| *group != AUTHENTICATED)
    {
        if FORBIDDEN_GROUPS.contains(&group) {
            return Err(Unsendable::Reserved("group"));
        }
        impersonated.append(IMPERSONATE_GROUP, value("group", group)?);
    }
    if !impersonated.contains_key(IMPERSONATE_GROUP) {
        // A group without a user is a 400, nothing at all is the proxy's own voice: so never the user alone.
        impersonated.insert(IMPERSONATE_GROUP, HeaderValue::from_static(AUTHENTICATED));
    }
    if let Some(uid) = who.uid.as_deref().filter(|uid| !uid.is_empty()) {
        impersonated.insert(IMPERSONATE_UID, value("uid", uid)?);
    }
    for (key, values) in &who.extra {
        if key.eq_ignore_ascii_case(reader::EXTRA_KEY) {
            return Err(Unsendable::Reserved("extra key"));
        }
        for text in values {
            impersonated.append(extra_name(key)?, value("extra", text)?);
        }
    }
    Ok(impersonated)
}

/// The fixed reader, with the caller's name for the audit log. The name travels as the UTF-8 bytes it has: header
/// values may hold them (`obs-text`, RFC 9110 §5.5), Go reads them as they are, and a name was checked for control
/// characters and outer blanks when it was parsed.
fn as_reader(who: &Identity) -> Result<HeaderMap, Unsendable> {
    let mut impersonated = HeaderMap::new();
    impersonated.insert(IMPERSONATE_USER, HeaderValue::from_static(reader::USER));
    impersonated.insert(IMPERSONATE_GROUP, HeaderValue::from_static(reader::GROUP));
    impersonated.insert(
        extra_name(reader::EXTRA_KEY)?,
        value("user", who.user.as_str())?,
    );
    Ok(impersonated)
}

/// The header of an extra. The API server lowers a header's name and then percent-decodes the key
/// (apiserver `pkg/endpoints/filters/impersonation`), so upper case is escaped like whatever no token may hold
/// (client-go's `transport.headerKeyEscape`).
fn extra_name(key: &str) -> Result<HeaderName, Unsendable> {
    let mut name = String::from(IMPERSONATE_EXTRA);
    for byte in key.bytes() {
        let stands =
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$&'*+-.^_`|~".contains(&byte);
        if stands {
            name.push(char::from(byte));
        } else {
            name.push_str(percent_encode_byte(byte));
        }
    }
    HeaderName::try_from(name).map_err(|_too_long| Unsendable::Unprintable("extra key"))
}

/// `text` as a header value, as it is: no control character, no outer blank, which a server would trim.
fn value(what: &'static str, text: &str) -> Result<HeaderValue, Unsendable> {
    let fits = text.trim() == text && !text.chars().any(char::is_control);
    match HeaderValue::from_bytes(text.as_bytes()) {
        Ok(value) if fits => Ok(value),
        Ok(_) | Err(_) => Err(Unsendable::Unprintable(what)),
    }
}

/// The last look at a finished map, whatever built it. With no impersonation header `asked` for, the credential alone
/// speaks; otherwise exactly these are there, among them one user that is not empty and at least one group.
fn assert_identity(
    outbound: &HeaderMap,
    authorization: &HeaderValue,
    asked: usize,
) -> Result<(), Unsendable> {
    let mut credentials = outbound.get_all(header::AUTHORIZATION).iter();
    if credentials.next() != Some(authorization) || credentials.next().is_some() {
        return Err(Unsendable::Broken("not exactly one credential"));
    }
    let lines_of = |prefix: &str| {
        outbound
            .iter()
            .filter(|(name, _)| reads_as(name.as_str().as_bytes(), prefix))
            .count()
    };
    if lines_of("x-remote-") != 0 {
        return Err(Unsendable::Broken("a front proxy's header"));
    }
    if lines_of("impersonate-") != asked {
        return Err(Unsendable::Broken("impersonation that was not asked for"));
    }
    if asked == 0 {
        return Ok(());
    }
    let mut users = outbound.get_all(IMPERSONATE_USER).iter();
    if users.next().is_none_or(HeaderValue::is_empty) || users.next().is_some() {
        return Err(Unsendable::Broken("not exactly one user"));
    }
    let mut groups = outbound.get_all(IMPERSONATE_GROUP).iter().peekable();
    if groups.peek().is_none() || groups.any(|group| group.is_empty() || group == "system:masters")
    {
        return Err(Unsendable::Broken("no group, or one that must not be"));
    }
    Ok(())
}

fn carry(what: &ApiRequest, voice: Voice) -> Carry {
    match (voice, what) {
        (Voice::Reader, _) => Carry::Narrowed,
        (Voice::User, ApiRequest::NonResource(_)) => Carry::Listed,
        (Voice::User, ApiRequest::Resource(request)) => match request.rest {
            Rest::Nothing | Rest::Segments(_) => Carry::Listed,
            Rest::ProxyTail(_) => Carry::Tail,
        },
    }
}

fn lane(what: &ApiRequest) -> Lane {
    let (method, upgrade, lasts) = match what {
        ApiRequest::Resource(request) => (
            &request.method,
            request.upgrade,
            is_watch(request) || is_log(request),
        ),
        ApiRequest::NonResource(request) => (&request.method, request.upgrade, false),
    };
    match upgrade {
        Some(upgrade) => Lane::Dedicated(upgrade),
        None if method == Method::GET && lasts => Lane::Stream,
        None if method == Method::GET || method == Method::HEAD => Lane::Read,
        None => Lane::Write,
    }
}

fn head_deadline(what: &ApiRequest) -> HeadDeadline {
    let ApiRequest::Resource(request) = what else {
        return HeadDeadline::Bounded;
    };
    let tunnels = matches!(
        request.subresource.as_deref(),
        Some("attach" | "exec" | "portforward" | "proxy")
    );
    if is_watch(request) || is_log(request) || tunnels || request.verb == Verb::Proxy {
        HeadDeadline::Unbounded
    } else {
        HeadDeadline::Bounded
    }
}

fn is_watch(request: &ResourceRequest) -> bool {
    request.verb == Verb::Watch
}

fn is_log(request: &ResourceRequest) -> bool {
    request.subresource.as_deref() == Some("log")
}

/// As the `Upgrade` header names it.
pub(super) fn protocol(upgrade: Upgrade) -> &'static str {
    match upgrade {
        Upgrade::WebSocket => "websocket",
        Upgrade::Spdy31 => "SPDY/3.1",
    }
}

#[cfg(test)]
mod tests;
