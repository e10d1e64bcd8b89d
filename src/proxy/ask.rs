//! Asking the API server, as the user, what he may do himself.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use http::HeaderMap;
use http::HeaderValue;
use http::StatusCode;
use http::header;
use serde::Deserialize;

use super::Narrowing;
use super::Proxy;
use super::own_rights::Recalled;
use super::reject::BadAnswer;
use super::reject::Reject;
use crate::body::collect;
use crate::body::full;
use crate::catalog::Catalog;
use crate::identity::Caller;
use crate::identity::Identity;
use crate::k8s::request::ApiRequest;
use crate::k8s::status::Reason;
use crate::k8s::status::Status;
use crate::policy;
use crate::policy::OwnRights;
use crate::policy::Permit;
use crate::policy::Plan;
use crate::policy::Question;
use crate::socket::ConnInfo;
use crate::tenancy::scope::Scope;
use crate::upstream::Authorized;
use crate::upstream::Inbound;
use crate::upstream::OwnToken;
use crate::upstream::Upstream;

/// More than the answer to a review ever is.
const MAX_REVIEW_BYTES: usize = 64 * 1024;

/// The part of a `SelfSubjectAccessReview` that matters. Both fields must be there: a missing answer is none.
#[derive(Deserialize)]
struct Review {
    status: ReviewStatus,
}

#[derive(Deserialize)]
struct ReviewStatus {
    allowed: bool,
}

/// Somebody who asks for something, once or for as long as he watches.
#[derive(Clone, Copy)]
pub(super) struct Asking<'a> {
    pub(super) caller: &'a Caller,
    pub(super) what: &'a Arc<ApiRequest>,
    pub(super) connection: ConnInfo,
}

impl Proxy {
    /// What is known of the own rights of somebody who asks. A *no* that ages is asked again beside it.
    pub(super) fn own_rights(
        self: &Arc<Self>,
        asking: Asking<'_>,
        catalog: &Catalog,
        scope: &Scope,
    ) -> OwnRights {
        let recalled = self.recalled(&asking.caller.who, asking.what, catalog);
        if let Some(fresh) = recalled.fresh {
            let Asking { caller, what, .. } = asking;
            let plan = policy::decide(&caller.who, what, catalog, scope, &fresh);
            self.ask_beside(asking, plan);
        }
        recalled.usable
    }

    /// Asks again for somebody who watches, if it is time: nobody else may be there to ask. Says whether what he watches
    /// would be forwarded if it came now: then a list shows more than his watch.
    pub(super) fn ask_for_who_watches(
        self: &Arc<Self>,
        asking: Asking<'_>,
        catalog: &Catalog,
        scope: &Scope,
    ) -> bool {
        let Asking { caller, what, .. } = asking;
        let recalled = self.recalled(&caller.who, what, catalog);
        let fresh = recalled.fresh.unwrap_or(recalled.usable);
        let plan = policy::decide(&caller.who, what, catalog, scope, &fresh);
        let forwards = is_forwarded(&plan);
        self.ask_beside(asking, plan);
        forwards
    }

    /// Asks, beside whatever goes on, what this plan needs to know.
    fn ask_beside(self: &Arc<Self>, asking: Asking<'_>, plan: Plan) {
        let Plan::Ask { permit, question } = plan else {
            return;
        };
        let caller = asking.caller;
        self.answers
            .put_off(caller.who.key(), &question, Instant::now());
        let (proxy, caller, connection) = (Arc::clone(self), caller.clone(), asking.connection);
        self.on.tasks.spawn(async move {
            if let Err(reject) = proxy.ask(&caller, &connection, permit, question).await {
                // The old answer stands: it narrows, and the next use asks again.
                tracing::debug!(
                    reason = reject.reason(),
                    "asking again for a user's own rights failed"
                );
            }
        });
    }

    /// What is known, and what is not fresh of it.
    fn recalled(&self, who: &Identity, what: &ApiRequest, catalog: &Catalog) -> Recalled {
        match self.settings.narrowing {
            Narrowing::Always => Recalled {
                usable: OwnRights::none_count(),
                fresh: None,
            },
            Narrowing::UnlessAllowed if policy::asks_own_rights(what, catalog) => {
                self.answers.recall(who.key(), what, Instant::now())
            }
            Narrowing::UnlessAllowed => Recalled::default(), // nobody asks
        }
    }

    /// Whether `what`, which is under way, would be forwarded if it came now.
    pub(super) fn would_forward(
        &self,
        who: &Arc<Identity>,
        what: &Arc<ApiRequest>,
        scope: &Scope,
    ) -> bool {
        let catalog = self.on.catalog.load();
        let own = self.recalled(who, what, &catalog).usable;
        is_forwarded(&policy::decide(who, what, &catalog, scope, &own))
    }

    /// Asks `question` as the user and remembers the answer.
    ///
    /// # Errors
    /// A review that fails is no answer: 401, 429 and 5xx become the request's own answer, since taking them for a
    /// "no" would shrink an admin's list to nothing.
    pub(super) async fn ask(
        &self,
        caller: &Caller,
        connection: &ConnInfo,
        permit: Permit,
        question: Question,
    ) -> Result<(), Reject> {
        let yes = allowed(
            &self.on.upstream,
            &self.on.own_token,
            caller,
            connection.peer.ip(),
            permit,
            question.review(),
        );
        let yes = yes.await?;
        self.answers
            .learn(caller.who.key(), question, yes, Instant::now());
        Ok(())
    }
}

fn is_forwarded(plan: &Plan) -> bool {
    match plan {
        Plan::Forward(_) | Plan::Unreadable(_) => true,
        Plan::NarrowList { .. }
        | Plan::NarrowWatch { .. }
        | Plan::FanOut { .. }
        | Plan::FanOutWatch { .. }
        | Plan::UserFirst { .. }
        | Plan::Ask { .. }
        | Plan::Refuse(_) => false,
    }
}

/// What the API server says to a self access review of `caller`.
///
/// # Errors
/// As [`Proxy::ask`].
pub(super) async fn allowed(
    upstream: &Upstream,
    own_token: &OwnToken,
    caller: &Caller,
    peer: IpAddr,
    permit: Permit,
    review: Vec<u8>,
) -> Result<bool, Reject> {
    let json = HeaderValue::from_static("application/json");
    let headers =
        HeaderMap::from_iter([(header::CONTENT_TYPE, json.clone()), (header::ACCEPT, json)]);
    let inbound = Inbound {
        headers: &headers,
        peer,
        withheld: &[],
    };
    let request = Authorized::new(permit, caller, inbound, own_token)?;
    let response = upstream.send(request, full(review)).await?;
    let (head, body) = response.into_parts();
    if head.status != StatusCode::CREATED {
        return Err(Reject::Relayed(relayed(head.status, &head.headers)));
    }
    let body = collect(body, MAX_REVIEW_BYTES)
        .await
        .map_err(Reject::Lost)?;
    let review: Review =
        serde_json::from_slice(&body).map_err(|_malformed| Reject::Answer(BadAnswer::Malformed))?;
    Ok(review.status.allowed)
}

/// The failure of a review as the failure of the request that needed it.
fn relayed(code: StatusCode, headers: &HeaderMap) -> Status {
    let retry_after = headers
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse().ok());
    let (reason, message) = match code {
        StatusCode::UNAUTHORIZED => (Reason::Unauthorized, "Unauthorized"),
        StatusCode::TOO_MANY_REQUESTS => (
            Reason::TooManyRequests,
            "Too many requests, please try again later.",
        ),
        StatusCode::FORBIDDEN => (
            Reason::Forbidden,
            "you may not ask the API server for your own rights",
        ),
        _ => (
            Reason::ServiceUnavailable,
            "the API server cannot say now what you may see; try again",
        ),
    };
    let code = if code.is_client_error() || code.is_server_error() {
        code
    } else {
        StatusCode::BAD_GATEWAY
    };
    Status {
        retry_after,
        ..Status::new(code, reason, message)
    }
}
