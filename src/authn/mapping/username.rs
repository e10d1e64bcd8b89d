//! Which claim names the user.
//!
//! Kubernetes takes one claim; on AKS it is `upn`, and `oid` where there is none. `unique_name` is a claim people ask for
//! and must not simply get: in the token of a B2B guest it is the name in the guest's *home* directory, without any
//! mark. Whoever runs that other directory could give it the name of a Tenant's owner here. Microsoft warns against
//! authorising by it, by `email` and by `preferred_username`.

use serde_json::Value;

use crate::authn::claims::Claims;
use crate::authn::refusal::Refusal;

/// Claims whose value an owner, or another directory's admin, can set to anybody's name.
const MUTABLE: [&str; 3] = ["unique_name", "email", "preferred_username"];

/// The first of `wanted` that is present and not empty.
///
/// With `unique_name` among them: `upn`, where present, is the name, as spelled; `unique_name` counts only for a token
/// that is no guest's; a guest gets the next claim that nobody can choose, that is `oid`.
///
/// # Errors
/// [`Refusal::Identity`] if there is none, or an e-mail address that is not verified; [`Refusal::Claims`] if one of
/// them is no string.
pub fn choose<'a>(claims: &'a Claims, wanted: &[String]) -> Result<&'a str, Refusal> {
    let unique_name_wanted = wanted.iter().any(|claim| claim == "unique_name");
    let guest = unique_name_wanted && is_guest(claims)?;
    if unique_name_wanted && let Some(upn) = claims.filled("upn")? {
        return Ok(upn);
    }
    for claim in wanted {
        if guest && MUTABLE.contains(&claim.as_str()) {
            continue;
        }
        if let Some(name) = claims.filled(claim)? {
            if claim == "email" {
                check_email_verified(claims)?;
            }
            return Ok(name);
        }
    }
    Err(Refusal::Identity)
}

/// Whether `name` is `unique_name`'s and the API server will call the user something else.
pub fn differs_from_the_api_server(claims: &Claims, wanted: &[String], name: &str) -> bool {
    wanted.iter().any(|claim| claim == "unique_name")
        && claims.filled("upn").ok().flatten().is_none()
        && claims.filled("unique_name").ok().flatten() == Some(name)
}

/// A token is no guest's if its identity provider is its own issuer or unsaid, `acct` is 0 or unsaid, and its name is
/// no personal account's. Anything else, also what we do not understand, makes a guest.
fn is_guest(claims: &Claims) -> Result<bool, Refusal> {
    let foreign_provider = match claims.filled("idp")? {
        None => false,
        Some(provider) => Some(provider) != claims.text("iss")?,
    };
    let foreign_account = match claims.get("acct") {
        None => false,
        Some(Value::Number(kind)) => kind.as_i64() != Some(0),
        Some(Value::String(kind)) => kind != "0",
        Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) => true,
    };
    // `live.com#alice@example.com`: the part before `#` names the provider of an account that has no directory.
    let personal = claims
        .text("unique_name")?
        .is_some_and(|name| name.contains('#'));
    Ok(foreign_provider || foreign_account || personal)
}

/// As the API server does (`oidc.go`): where the claim is present it must be true.
fn check_email_verified(claims: &Claims) -> Result<(), Refusal> {
    match claims.get("email_verified") {
        None | Some(Value::Bool(true)) => Ok(()),
        Some(Value::Bool(false)) => Err(Refusal::Identity),
        Some(
            Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_),
        ) => Err(Refusal::Claims),
    }
}
