//! Who sees which namespaces: the collection by name, one of them as the user first.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Keep;
use super::OwnRights;
use super::Permit;
use super::Plan;
use super::Refusal;
use super::own_rights;
use super::own_rights::Answer;
use super::permit::NarrowedRead;
use crate::catalog::KindFacts;
use crate::identity::Groups;
use crate::identity::GroupsUnknown;
use crate::identity::Identity;
use crate::k8s::label_selector::LabelSelector;
use crate::k8s::list_options::ListOptions;
use crate::k8s::names::Namespace;
use crate::k8s::request::ApiRequest;
use crate::k8s::request::ResourceRequest;
use crate::k8s::request::Verb;
use crate::tenancy::scope::Scope;
use crate::tenancy::scope::Standing;
use crate::tenancy::scope::Visible;

/// Set by the API server on every namespace at read and write; it cannot be forged (KEP-2161).
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Most names pushed down as one `in (…)`: the API server matches them one by one, per object and event.
const MAX_NAMES: usize = 200;

/// Longest selector pushed down, in bytes before percent-encoding: load balancers in between end at 8 KiB of headers.
const MAX_SELECTOR_BYTES: usize = 8 * 1024;

/// A list or watch of all namespaces.
pub(super) fn collection(
    who: &Arc<Identity>,
    what: &Arc<ApiRequest>,
    request: &ResourceRequest,
    kind: &KindFacts,
    scope: &Scope,
    own: &OwnRights,
) -> Plan {
    let forward = || Plan::Forward(Permit::as_user(who, what));
    let visible = match (&scope.standing, &who.groups) {
        (Standing::Ignored, _) | (Standing::Stranger, Groups::Known(_)) => return forward(),
        (Standing::Member(visible), Groups::Known(_)) => Some(visible),
        // What the unknown groups would show cannot be said, so nothing of it is.
        (Standing::Stranger | Standing::Member(_), Groups::Unknown(_)) => None,
    };
    match own_rights::all(request, kind, own) {
        Answer::Yes => return forward(),
        Answer::Ask(question) => return own_rights::ask(who, question),
        Answer::No => {}
    }
    match (visible, &who.groups) {
        (Some(visible), _) => narrow(who, request, kind, visible),
        (None, Groups::Unknown(GroupsUnknown::Unresolvable)) => {
            Plan::Refuse(Refusal::GroupsUnresolvable)
        }
        (None, Groups::Unknown(GroupsUnknown::Unavailable) | Groups::Known(_)) => {
            Plan::Refuse(Refusal::GroupsUnavailable)
        }
    }
}

/// A GET of one namespace. Only one that is his may be shown by the reader; for any other his own answer stands, so
/// that a namespace that is not his and one that does not exist look the same.
pub(super) fn object(
    who: &Arc<Identity>,
    what: &Arc<ApiRequest>,
    request: &ResourceRequest,
    kind: &KindFacts,
    scope: &Scope,
) -> Plan {
    let own = Permit::as_user(who, what);
    let (Standing::Member(visible), Some(name)) = (&scope.standing, &request.name) else {
        return Plan::Forward(own);
    };
    let Some(name) = visible.namespaces.get(name.as_str()).cloned() else {
        return Plan::Forward(own);
    };
    match NarrowedRead::new(request.clone()) {
        None => Plan::Forward(own),
        Some(read) => Plan::UserFirst {
            kind: kind.clone(),
            own,
            then: Permit::as_reader(who, read),
            keep: Keep::Names(Arc::new(BTreeSet::from([name]))),
        },
    }
}

fn narrow(
    who: &Arc<Identity>,
    request: &ResourceRequest,
    kind: &KindFacts,
    visible: &Visible,
) -> Plan {
    if request.upgrade.is_some() {
        return Plan::Refuse(Refusal::WebSocketWatch);
    }
    // What is not known is not sent on; that must not widen what is selected (`shardSelector`, KEP-5866).
    if request
        .unknown_list_parameters()
        .any(|name| name.to_ascii_lowercase().contains("selector"))
    {
        return Plan::Refuse(Refusal::UnknownParameter);
    }
    let Some(options) = request.options() else {
        return Plan::Refuse(Refusal::UnknownParameter);
    };
    let (options, keep) = match push_down(options, visible) {
        Some(options) => (options, Keep::Everything),
        None if options.continue_token.is_some() => return Plan::Refuse(Refusal::PageExpired),
        None => (
            filtered(options),
            Keep::Names(Arc::clone(&visible.namespaces)),
        ),
    };
    let watch = request.verb == Verb::Watch;
    match NarrowedRead::new(request.narrowed(options)) {
        None => Plan::Refuse(Refusal::UnknownParameter),
        Some(read) => {
            let (read, kind) = (Permit::as_reader(who, read), kind.clone());
            if watch {
                Plan::NarrowWatch { kind, read, keep }
            } else {
                Plan::NarrowList { kind, read, keep }
            }
        }
    }
}

/// The client's options with a selector that says exactly what may be seen, unless that would be too long.
fn push_down(options: &ListOptions, visible: &Visible) -> Option<ListOptions> {
    if visible.namespaces.len() > MAX_NAMES {
        return None;
    }
    let acl = LabelSelector::one_of(NAME_LABEL, visible.namespaces.iter().map(Namespace::as_str));
    let label_selector = options.label_selector.and(&acl);
    (label_selector.print().len() <= MAX_SELECTOR_BYTES).then(|| ListOptions {
        label_selector,
        ..options.clone()
    })
}

/// The client's options for a list that is filtered here: without `limit`, so that no page token can name a hidden
/// object, and with the object metadata that the filter reads.
fn filtered(options: &ListOptions) -> ListOptions {
    ListOptions {
        limit: None,
        include_object: options
            .include_object
            .as_deref()
            .map(|wanted| match wanted {
                "None" => "Metadata".to_owned(),
                other => other.to_owned(),
            }),
        ..options.clone()
    }
}
