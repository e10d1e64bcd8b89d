//! Who sees what of a narrowed cluster-scoped kind: the collection as the reader, one object as the user first.

use std::sync::Arc;

use super::Keep;
use super::OwnRights;
use super::Permit;
use super::Plan;
use super::Refusal;
use super::own_rights;
use super::own_rights::Answer;
use super::permit::NarrowedRead;
use super::sight;
use super::sight::Look;
use super::sight::Sight;
use crate::catalog::KindFacts;
use crate::identity::Groups;
use crate::identity::Identity;
use crate::k8s::list_options::Beginning;
use crate::k8s::list_options::ListOptions;
use crate::k8s::request::ApiRequest;
use crate::k8s::request::ResourceRequest;
use crate::k8s::request::Verb;
use crate::tenancy::scope::Scope;
use crate::tenancy::scope::Standing;
use crate::wire::object::Wanted;

/// A list or watch of all objects of the kind.
pub(super) fn collection(
    who: &Arc<Identity>,
    what: &Arc<ApiRequest>,
    request: &ResourceRequest,
    kind: &KindFacts,
    scope: &Scope,
    own: &OwnRights,
) -> Plan {
    let forward = || Plan::Forward(Permit::as_user(who, what));
    let sight = match (&scope.standing, &who.groups) {
        (Standing::Ignored, _) | (Standing::Stranger, Groups::Known(_)) => return forward(),
        (Standing::Member(visible), Groups::Known(_)) => {
            let sight = Sight::of(kind, visible, Look::Collection);
            if sight.is_no_sight() {
                return forward();
            }
            Ok(sight)
        }
        // Unknown groups might have a rule: without them he gets all that is his own right, or the API server's refusal.
        (Standing::Stranger | Standing::Member(_), Groups::Unknown(_))
            if !sight::is_owned(&request.resource) =>
        {
            return forward();
        }
        // What the unknown groups would show cannot be said, so nothing of it is.
        (Standing::Stranger | Standing::Member(_), Groups::Unknown(why)) => Err(*why),
    };
    match own_rights::all(request, kind, own) {
        Answer::Yes => return forward(),
        Answer::Ask(question) => return own_rights::ask(who, question),
        Answer::No => {}
    }
    match sight {
        Ok(sight) => narrow(who, request, kind, &sight),
        Err(why) => Plan::Refuse(Refusal::of_unknown_groups(why)),
    }
}

/// A list or watch of a kind that the reader may not read: the user's own, and a word about what is missing.
pub(super) fn unreadable(
    who: &Arc<Identity>,
    what: &Arc<ApiRequest>,
    kind: &KindFacts,
    scope: &Scope,
) -> Plan {
    let own = Permit::as_user(who, what);
    match &scope.standing {
        Standing::Member(visible) if !Sight::of(kind, visible, Look::Collection).is_no_sight() => {
            Plan::Unreadable(own)
        }
        Standing::Member(_) | Standing::Stranger | Standing::Ignored => Plan::Forward(own),
    }
}

/// A GET of one object. Only one that is his may be shown by the reader; for any other his own answer stands, so that
/// one that is not his and one that does not exist look the same.
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
    let sight = Sight::of(kind, visible, Look::Object);
    let Some(keep) = sight.keep_only(name.as_str()) else {
        return Plan::Forward(own);
    };
    match NarrowedRead::new(request.clone(), kind) {
        None => Plan::Forward(own),
        Some(read) => Plan::UserFirst {
            kind: kind.clone(),
            own,
            then: Permit::as_reader(who, read),
            keep,
        },
    }
}

fn narrow(who: &Arc<Identity>, request: &ResourceRequest, kind: &KindFacts, sight: &Sight) -> Plan {
    if super::has_unknown_selector(request) {
        return Plan::Refuse(Refusal::UnknownParameter);
    }
    let Some(options) = request.options() else {
        return Plan::Refuse(Refusal::UnknownParameter);
    };
    let (options, keep) = match sight.push_down(options) {
        Some(options) => (options, Keep::Everything),
        None if options.continue_token.is_some() => return Plan::Refuse(Refusal::PageExpired),
        None => (filtered(options), sight.keep()),
    };
    let watch = request.verb == Verb::Watch;
    let by_labels = keep.wanted() == Wanted::Labels;
    // What its client holds of "now" nobody can tell: it would never be told what moves out of its sight.
    if watch && by_labels && options.begins() == Beginning::Now {
        return Plan::Refuse(Refusal::UnknownParameter);
    }
    let takes_back = by_labels || request.is_watched_by_a_human();
    let seed = (watch && takes_back)
        .then(|| options.seed())
        .flatten()
        .and_then(|options| NarrowedRead::new(request.narrowed(options), kind))
        .map(|read| Permit::as_reader(who, read));
    match NarrowedRead::new(request.narrowed(options), kind) {
        None => Plan::Refuse(Refusal::UnknownParameter),
        Some(read) => {
            let (read, kind) = (Permit::as_reader(who, read), kind.clone());
            if watch {
                Plan::NarrowWatch {
                    kind,
                    read,
                    keep,
                    seed,
                }
            } else {
                Plan::NarrowList { kind, read, keep }
            }
        }
    }
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
