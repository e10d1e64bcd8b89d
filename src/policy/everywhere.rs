//! Lists and watches of a namespaced kind over all namespaces: one in each namespace that is his, as himself. What he may see
//! in them is RBAC's to say, per namespace; a mistake here shows nobody more than he may see anyway.

use std::sync::Arc;

use super::OwnRights;
use super::Permit;
use super::Plan;
use super::Refusal;
use super::legs::Legs;
use super::own_rights;
use super::own_rights::Answer;
use crate::catalog::KindFacts;
use crate::identity::Groups;
use crate::identity::Identity;
use crate::k8s::request::ApiRequest;
use crate::k8s::request::ResourceRequest;
use crate::k8s::request::Verb;
use crate::tenancy::scope::Scope;
use crate::tenancy::scope::Standing;

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
    // Groups that are not known could show more namespaces; a list without those would look whole.
    let (Standing::Member(visible), Groups::Known(_)) = (&scope.standing, &who.groups) else {
        return forward();
    };
    if visible.namespaces.is_empty() {
        return forward();
    }
    match own_rights::all(request, kind, own) {
        Answer::Yes => return forward(),
        Answer::Ask(question) => return own_rights::ask(who, question),
        Answer::No => {}
    }
    let Some(options) = request.options() else {
        return forward();
    };
    if super::has_unknown_selector(request) {
        return Plan::Refuse(Refusal::UnknownParameter);
    }
    let wanted = options.field_selector.exact("metadata.namespace");
    let namespaces = visible
        .namespaces
        .iter()
        .filter(|name| wanted.is_none_or(|wanted| name.as_str() == wanted));
    let legs = Legs::new(who, request, namespaces);
    if legs.namespaces().is_empty() {
        return forward();
    }
    let kind = kind.clone();
    if request.verb == Verb::Watch {
        Plan::FanOutWatch { kind, legs }
    } else {
        Plan::FanOut { kind, legs }
    }
}
