//! What the API server has said about an identity's own rights: the source of "never less than without us".

use std::sync::Arc;

use http::Method;
use serde_json::json;

use super::Permit;
use super::Plan;
use crate::catalog::KindFacts;
use crate::identity::Identity;
use crate::k8s::names::GroupResource;
use crate::k8s::names::Namespace;
use crate::k8s::names::ObjectName;
use crate::k8s::query::Query;
use crate::k8s::request::ApiRequest;
use crate::k8s::request::Parameters;
use crate::k8s::request::ResourceRequest;
use crate::k8s::request::Rest;
use crate::k8s::request::Verb;

/// Something a self access review can be asked: may he do this with the whole collection himself?
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// List or watch.
    pub verb: Verb,
    /// The kind, over the whole cluster.
    pub resource: GroupResource,
    /// One object of it (`fieldSelector=metadata.name=x`): RBAC's `resourceNames` may allow just that.
    pub name: Option<ObjectName>,
}

impl Question {
    /// The `SelfSubjectAccessReview` that asks it, as JSON.
    pub fn review(&self) -> Vec<u8> {
        let name = self.name.as_ref().map(ObjectName::as_str);
        review(self.verb, &self.resource, "", name.unwrap_or_default())
    }
}

/// The review that asks whether somebody may do this in one namespace with all objects of a kind, or with one.
pub(super) fn review_in(
    verb: Verb,
    resource: &GroupResource,
    namespace: &Namespace,
    name: Option<&ObjectName>,
) -> Vec<u8> {
    let name = name.map(ObjectName::as_str).unwrap_or_default();
    review(verb, resource, namespace.as_str(), name)
}

fn review(verb: Verb, resource: &GroupResource, namespace: &str, name: &str) -> Vec<u8> {
    json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {
            "verb": verb.as_str(),
            "group": resource.group,
            "resource": resource.resource,
            "namespace": namespace,
            "name": name,
        }},
    })
    .to_string()
    .into_bytes()
}

/// Answers still in force. A snapshot: it does not change while a request is decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnRights {
    answers: Vec<(Question, bool)>,
    otherwise: Known,
}

impl Default for OwnRights {
    fn default() -> Self {
        Self::new([])
    }
}

/// What is known about a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// The API server said yes.
    Yes,
    /// The API server said no.
    No,
    /// Nobody asked lately.
    NotAsked,
}

impl OwnRights {
    /// These answers. Few: a handful of questions per identity.
    pub fn new(answers: impl IntoIterator<Item = (Question, bool)>) -> Self {
        Self {
            answers: answers.into_iter().collect(),
            otherwise: Known::NotAsked,
        }
    }

    /// Rights that are not asked for and do not count (`--narrow-always`).
    pub fn none_count() -> Self {
        Self {
            answers: Vec::new(),
            otherwise: Known::No,
        }
    }

    /// What is known about `question`.
    pub fn may(&self, question: &Question) -> Known {
        match self.answers.iter().find(|(asked, _)| asked == question) {
            Some((_, true)) => Known::Yes,
            Some((_, false)) => Known::No,
            None => self.otherwise,
        }
    }
}

/// Whether somebody may see all that a request asks for himself.
pub(super) enum Answer {
    Yes,
    No,
    Ask(Question),
}

/// He may if he may list *and* watch the whole collection, or the one object the request names (RBAC's
/// `resourceNames`). Both verbs, where the kind has them, since a list that is forwarded and a watch that is narrowed
/// would not fit together.
pub(super) fn all(request: &ResourceRequest, kind: &KindFacts, own: &OwnRights) -> Answer {
    let question = |verb, name| Question {
        verb,
        resource: request.resource.clone(),
        name,
    };
    let verbs = || {
        [Verb::List, Verb::Watch]
            .into_iter()
            .filter(|verb| kind.verbs.contains(*verb))
    };
    if verbs().all(|verb| own.may(&question(verb, None)) == Known::Yes) {
        return Answer::Yes;
    }
    for verb in verbs() {
        let question = question(verb, request.name.clone());
        match own.may(&question) {
            Known::Yes => {}
            Known::No => return Answer::No,
            Known::NotAsked => return Answer::Ask(question),
        }
    }
    Answer::Yes
}

/// The plan that asks `question` as the user himself.
pub(super) fn ask(who: &Arc<Identity>, question: Question) -> Plan {
    Plan::Ask {
        permit: review_permit(who),
        question,
    }
}

/// The permit for any self access review, as the user.
pub(super) fn review_permit(who: &Arc<Identity>) -> Permit {
    let review = ApiRequest::Resource(ResourceRequest {
        method: Method::POST,
        verb: Verb::Create,
        resource: GroupResource::new("authorization.k8s.io", "selfsubjectaccessreviews"),
        version: "v1".into(),
        namespace: None,
        name: None,
        name_in_path: false,
        subresource: None,
        rest: Rest::Nothing,
        parameters: Parameters::Pairs(Query::default()),
        upgrade: None,
        over_websocket: false,
    });
    Permit::as_user(who, &Arc::new(review))
}
