//! What happens to a request: a pure decision, and the permit without which nothing is sent.
//!
//! No clock, no lock, no I/O: whoever wants to know what the proxy can do reads [`decide`].

mod cluster;
mod everywhere;
mod keep;
mod legs;
mod own_rights;
mod permit;
mod refusal;
mod sight;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use http::Method;

pub use keep::Keep;
pub use legs::Cut;
pub use legs::From;
pub use legs::Legs;
pub use legs::Start;
pub use own_rights::Known;
pub use own_rights::OwnRights;
pub use own_rights::Question;
pub use permit::Permit;
pub use permit::Voice;
pub use refusal::Refusal;

use crate::catalog::Catalog;
use crate::catalog::KindFacts;
use crate::catalog::Readable;
use crate::identity::Groups;
use crate::identity::Identity;
use crate::identity::UpstreamMode;
use crate::k8s::names::GroupResource;
use crate::k8s::request::ApiRequest;
use crate::k8s::request::ResourceRequest;
use crate::k8s::request::Verb;
use crate::tenancy::scope::Scope;

/// What to do with a request. Matched without a wildcard wherever it is used: a new variant stops the compiler at
/// every place that must think about it.
#[derive(Debug)]
pub enum Plan {
    /// As the user, bytes untouched.
    Forward(Permit),
    /// A list as the reader. [`Keep::Everything`] where the selector in the permit says exactly what may be seen.
    NarrowList {
        /// Of which kind.
        kind: KindFacts,
        /// The list to send, selector included.
        read: Permit,
        /// Which items may pass.
        keep: Keep,
    },
    /// A watch as the reader, ended when the scope it was decided under is over.
    NarrowWatch {
        /// Of which kind.
        kind: KindFacts,
        /// The watch to send, selector included.
        read: Permit,
        /// Which events may pass.
        keep: Keep,
        /// A list of what the client holds, to send first: where labels decide, or where a human is shown what changes, a
        /// watch must know what it takes back.
        seed: Option<Permit>,
    },
    /// A list of a namespaced kind over all namespaces: one list per namespace, as the user, put together.
    FanOut {
        /// Of which kind.
        kind: KindFacts,
        /// The lists to send.
        legs: Legs,
    },
    /// The same for a watch: one watch per namespace, as the user, put together.
    FanOutWatch {
        /// Of which kind.
        kind: KindFacts,
        /// The watches to send.
        legs: Legs,
    },
    /// A GET of one object: as the user, and after exactly 403 as the reader, the object tested by `keep` first.
    UserFirst {
        /// Of which kind.
        kind: KindFacts,
        /// The user's own request.
        own: Permit,
        /// The reader's.
        then: Permit,
        /// What the object must be.
        keep: Keep,
    },
    /// One self access review as the user; the answer is remembered and the request decided again.
    Ask {
        /// The review to send; its body is printed from the question.
        permit: Permit,
        /// What to ask.
        question: Question,
    },
    /// As the user, although a rule would show him more: the reader may not read the kind.
    Unreadable(Permit),
    /// Nothing is sent.
    Refuse(Refusal),
}

impl Plan {
    /// Every name that [`Plan::name`] gives.
    pub const NAMES: [&'static str; 9] = [
        "forward",
        "narrow-list",
        "narrow-watch",
        "fan-out",
        "fan-out-watch",
        "user-first",
        "ask",
        "unreadable",
        "refuse",
    ];

    /// The plan's name in logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Forward(_) => "forward",
            Self::NarrowList { .. } => "narrow-list",
            Self::NarrowWatch { .. } => "narrow-watch",
            Self::FanOut { .. } => "fan-out",
            Self::FanOutWatch { .. } => "fan-out-watch",
            Self::UserFirst { .. } => "user-first",
            Self::Ask { .. } => "ask",
            Self::Unreadable(_) => "unreadable",
            Self::Refuse(_) => "refuse",
        }
    }
}

/// Decides what happens to `what`, asked by `who`.
///
/// `scope` is what `who` may see and `own` what the API server has said about his own rights; both are snapshots.
/// What is not narrowed goes upstream as the user, where the API server decides.
pub fn decide(
    who: &Arc<Identity>,
    what: &Arc<ApiRequest>,
    catalog: &Catalog,
    scope: &Scope,
    own: &OwnRights,
) -> Plan {
    // Half of somebody's groups is somebody else: nothing can be sent in his name.
    if let (UpstreamMode::Impersonate, Groups::Unknown(why)) = (who.upstream, &who.groups) {
        return Plan::Refuse(Refusal::of_unknown_groups(*why));
    }
    let request = match what.as_ref() {
        ApiRequest::NonResource(request) => {
            return match request.upgrade {
                None => Plan::Forward(Permit::as_user(who, what)),
                Some(_) => Plan::Refuse(Refusal::Upgrade),
            };
        }
        ApiRequest::Resource(request) => request,
    };
    if request.upgrade.is_some() && !may_upgrade(request) {
        return Plan::Refuse(Refusal::Upgrade);
    }
    match Narrowable::of(request, catalog) {
        None => Plan::Forward(Permit::as_user(who, what)),
        Some(Narrowable::Collection(kind)) => {
            cluster::collection(who, what, request, kind, scope, own)
        }
        Some(Narrowable::Object(kind)) => cluster::object(who, what, request, kind, scope),
        Some(Narrowable::Unreadable(kind)) => cluster::unreadable(who, what, kind, scope),
        Some(Narrowable::Everywhere(kind)) => {
            everywhere::collection(who, what, request, kind, scope, own)
        }
    }
}

/// Whether a request touches a kind that is narrowed, and how.
enum Narrowable<'a> {
    /// A list or watch of the kind over the whole cluster.
    Collection(&'a KindFacts),
    /// A GET of one object of it.
    Object(&'a KindFacts),
    /// A list or watch of a namespaced kind over all namespaces.
    Everywhere(&'a KindFacts),
    /// A list or watch of a kind that the reader may not read.
    Unreadable(&'a KindFacts),
}

impl<'a> Narrowable<'a> {
    /// `None`: not narrowed, which is also the answer for a kind the catalog does not know (a CRD may be a second old)
    /// and for a kind whose scope is not the cluster.
    fn of(request: &ResourceRequest, catalog: &'a Catalog) -> Option<Self> {
        // HEAD is left to the API server, which has no route for it.
        if request.subresource.is_some() || request.method != Method::GET {
            return None;
        }
        let kind = catalog.kind(&request.resource, &request.version)?;
        if kind.namespaced {
            let lists = matches!(request.verb, Verb::List | Verb::Watch);
            let everywhere = lists && request.namespace.is_none();
            return everywhere.then_some(Self::Everywhere(kind));
        }
        if is_within_a_namespace(request) {
            return None;
        }
        let readable = may_be_read(&request.resource, catalog);
        match request.verb {
            Verb::List | Verb::Watch if readable => Some(Self::Collection(kind)),
            Verb::List | Verb::Watch => Some(Self::Unreadable(kind)),
            Verb::Get if request.name_in_path && readable => Some(Self::Object(kind)),
            Verb::Get
            | Verb::Create
            | Verb::Update
            | Verb::Patch
            | Verb::Delete
            | Verb::DeleteCollection
            | Verb::Proxy => None,
        }
    }
}

/// The kinds that are narrowed without a rule that names them, each with a version that is always served.
pub fn owned_kinds() -> impl Iterator<Item = (GroupResource, &'static str)> {
    sight::owned_kinds()
}

/// Whether the reader may read the kind over the whole cluster, as far as is known.
pub fn may_be_read(resource: &GroupResource, catalog: &Catalog) -> bool {
    match catalog.readable() {
        Readable::Known(kinds) => kinds.contains(resource),
        Readable::Unknown => sight::is_owned(resource),
    }
}

/// The cluster-scoped kinds that the reader may read, in the version that the API server prefers.
pub fn readable_kinds(catalog: &Catalog) -> impl Iterator<Item = &KindFacts> {
    let preferred = catalog.kinds().filter(|kind| {
        let first = catalog.versions(&kind.resource).first();
        first.is_some_and(|first| first.version == kind.version)
    });
    preferred.filter(|kind| !kind.namespaced && may_be_read(&kind.resource, catalog))
}

/// The kind of a list or watch whose resume positions the guard holds, also while it is forwarded: the plan of such a
/// kind can flip with the identity's own rights.
pub fn guarded_kind<'a>(what: &ApiRequest, catalog: &'a Catalog) -> Option<&'a KindFacts> {
    match what {
        ApiRequest::NonResource(_) => None,
        ApiRequest::Resource(request) => match Narrowable::of(request, catalog) {
            Some(Narrowable::Collection(kind)) => Some(kind),
            Some(Narrowable::Object(_) | Narrowable::Everywhere(_) | Narrowable::Unreadable(_))
            | None => None,
        },
    }
}

/// Whether the decision about `what` asks for the identity's own rights.
pub fn asks_own_rights(what: &ApiRequest, catalog: &Catalog) -> bool {
    match what {
        ApiRequest::NonResource(_) => false,
        ApiRequest::Resource(request) => matches!(
            Narrowable::of(request, catalog),
            Some(Narrowable::Collection(_) | Narrowable::Everywhere(_))
        ),
    }
}

/// Whether the path leads into a namespace: there is no object of the cluster, whatever the kind (CVE-2019-11247). The
/// path of a namespace itself names it as both.
fn is_within_a_namespace(request: &ResourceRequest) -> bool {
    let is_namespaces =
        request.resource.group.is_empty() && &*request.resource.resource == "namespaces";
    request.namespace.is_some() && !is_namespaces
}

/// Whether a list has a parameter that we do not know and that may narrow it (`shardSelector`, KEP-5866): what is not
/// known is not sent on, and that must not widen what is selected.
fn has_unknown_selector(request: &ResourceRequest) -> bool {
    let mut unknown = request.unknown_list_parameters();
    unknown.any(|name| name.to_ascii_lowercase().contains("selector"))
}

/// Where a client may switch protocols: exec, attach, port-forward, log, proxy. Never for a watch, which a tunnel would
/// leave unfiltered: one over WebSocket comes here as the watch that it is.
fn may_upgrade(request: &ResourceRequest) -> bool {
    let streams = matches!(
        request.subresource.as_deref(),
        Some("exec" | "attach" | "portforward" | "proxy" | "log")
    );
    streams || request.verb == Verb::Proxy
}
