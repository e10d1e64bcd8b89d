//! The review APIs: who is this, may he, what may he. Created and answered, never stored.

use serde_json::Value;
use serde_json::json;

use super::authn::API_AUDIENCE;
use super::authn::Authenticator;
use super::kinds::Kind;
use super::object;
use super::object::object_mut;
use super::object::text;
use super::object::texts;
use super::rbac;
use super::rbac::Attributes;
use super::status::Failure;
use super::status::FieldError;
use super::store::State;
use super::user::User;

/// The review with its `status`.
///
/// # Errors
/// 400 for a spec that asks nothing.
pub(crate) fn answer(
    state: &State,
    authenticator: &Authenticator,
    user: &User,
    kind: &Kind,
    namespace: &str,
    mut review: Value,
) -> Result<Value, Failure> {
    let spec = review.get("spec").cloned().unwrap_or(Value::Null);
    let status = match &*kind.resource.resource {
        "selfsubjectreviews" => {
            let metadata = json!({"creationTimestamp": object::now()});
            object_mut(&mut review).insert("metadata".to_owned(), metadata);
            json!({"userInfo": user.info()})
        }
        "selfsubjectaccessreviews" => access(state, kind, user, &spec)?,
        "subjectaccessreviews" => access(state, kind, &User::of_review(&spec), &spec)?,
        "localsubjectaccessreviews" => {
            if text(&spec, "/resourceAttributes/namespace") != namespace {
                let error = FieldError::invalid(
                    "spec.resourceAttributes.namespace",
                    &format!("{:?}", text(&spec, "/resourceAttributes/namespace")),
                    "must match metadata.namespace",
                );
                return Err(Failure::invalid(&kind.resource.group, "", "", &[error]));
            }
            access(state, kind, &User::of_review(&spec), &spec)?
        }
        "selfsubjectrulesreviews" => match text(&spec, "/namespace") {
            "" => return Err(Failure::bad_request("no namespace on request")),
            namespace => rbac::rules_review(state, user, namespace),
        },
        "tokenreviews" if text(&spec, "/token").is_empty() => {
            return Err(Failure::bad_request(
                "token is required for TokenReview in authentication",
            ));
        }
        "tokenreviews" => token(authenticator, &spec),
        _ => return Err(Failure::method_not_allowed()),
    };
    let review_fields = object_mut(&mut review);
    review_fields.insert("status".to_owned(), status);
    review_fields.entry("metadata").or_insert_with(|| json!({}));
    Ok(review)
}

fn access(state: &State, kind: &Kind, user: &User, spec: &Value) -> Result<Value, Failure> {
    // The real one names no kind here either.
    let invalid = |error| Failure::invalid(&kind.resource.group, "", "", &[error]);
    if user.name.is_empty() && user.groups.is_empty() {
        let why = "at least one of user or group must be specified";
        return Err(invalid(FieldError::invalid("spec.user", r#""""#, why)));
    }
    let attributes = Attributes::of_review(spec).ok_or_else(|| {
        let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        invalid(FieldError::invalid("spec", "null", why))
    })?;
    let decision = rbac::decide(state, user, &attributes);
    let mut status = json!({"allowed": decision.allowed});
    if !decision.reason.is_empty() {
        object_mut(&mut status).insert("reason".to_owned(), decision.reason.into());
    }
    Ok(status)
}

fn token(authenticator: &Authenticator, spec: &Value) -> Value {
    let asked: Vec<&str> = texts(spec, "/audiences").collect();
    let for_us = asked.is_empty() || asked.contains(&API_AUDIENCE);
    match authenticator.user(text(spec, "/token")) {
        Some(user) if for_us => {
            json!({"authenticated": true, "user": user.info(), "audiences": [API_AUDIENCE]})
        }
        Some(_) => {
            json!({"user": {}, "error": format!("token audiences are invalid for the target audiences {asked:?}")})
        }
        None => json!({"user": {}, "error": "invalid bearer token"}),
    }
}
