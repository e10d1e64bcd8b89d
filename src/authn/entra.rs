//! What a token of Microsoft Entra ID must say besides: its directory, its version, its object, delegated or application.
//!
//! It must never go by `wids`: role template ids are the same in every directory and look like group ids.

use crate::authn::claims::Claims;
use crate::authn::refusal::Refusal;
use crate::authn::settings::AppTokens;
use crate::authn::settings::EntraRules;
use crate::authn::settings::EntraVersion;
use crate::authn::settings::Issuer;

/// The claims read of every Entra token. A claim that differs from one of them only by case is an attempt to be read
/// by one of two readers.
const READ: [&str; 24] = [
    "iss",
    "aud",
    "exp",
    "nbf",
    "iat",
    "tid",
    "ver",
    "oid",
    "upn",
    "unique_name",
    "idp",
    "acct",
    "sub",
    "scp",
    "idtyp",
    "appid",
    "azp",
    "roles",
    "groups",
    "hasgroups",
    "_claim_names",
    "_claim_sources",
    "email",
    "preferred_username",
];

/// Checks what only Entra's tokens have.
///
/// # Errors
/// [`Refusal::Directory`], [`Refusal::Claims`], [`Refusal::Application`].
pub(super) fn check(claims: &Claims, issuer: &Issuer, rules: &EntraRules) -> Result<(), Refusal> {
    check_case_twins(claims, issuer)?;
    let tenant = claims.text("tid")?.ok_or(Refusal::Claims)?;
    // The issuer's URL, which `iss` equals, was made from or checked against this very tenant.
    if !is_guid(tenant) || tenant != rules.tenant {
        return Err(Refusal::Directory);
    }
    let version = match rules.version {
        EntraVersion::V1 => "1.0",
        EntraVersion::V2 => "2.0",
    };
    if claims.text("ver")? != Some(version) {
        return Err(Refusal::Directory);
    }
    if !claims.text("oid")?.is_some_and(is_guid) {
        return Err(Refusal::Claims);
    }
    check_application(claims, rules)
}

/// `idtyp: app` comes only where the resource asked for it, so a token without scopes counts as an application's too.
fn check_application(claims: &Claims, rules: &EntraRules) -> Result<(), Refusal> {
    let scopes = claims.text("scp")?;
    let is_application = claims.text("idtyp")? == Some("app") || scopes.is_none();
    if is_application && rules.app_tokens == AppTokens::Refused {
        return Err(Refusal::Application);
    }
    if !rules.allowed_app_ids.is_empty() {
        let application = match rules.version {
            EntraVersion::V1 => claims.text("appid")?,
            EntraVersion::V2 => claims.text("azp")?,
        };
        if !application.is_some_and(|id| rules.allowed_app_ids.iter().any(|allowed| allowed == id))
        {
            return Err(Refusal::Application);
        }
    }
    // Scopes are a person's grant to an application; an application acting for itself has none.
    let granted: Vec<&str> = scopes.unwrap_or_default().split(' ').collect();
    if !is_application
        && !rules
            .required_scopes
            .iter()
            .all(|scope| granted.contains(&scope.as_str()))
    {
        return Err(Refusal::Application);
    }
    Ok(())
}

fn check_case_twins(claims: &Claims, issuer: &Issuer) -> Result<(), Refusal> {
    let configured = issuer
        .username
        .claims
        .iter()
        .chain(issuer.groups.iter().map(|groups| &groups.claim))
        .chain(&issuer.uid)
        .chain(issuer.extra.iter().map(|extra| &extra.claim))
        .chain(issuer.claim_rules.iter().map(|rule| &rule.claim));
    let read: Vec<&str> = READ
        .into_iter()
        .chain(configured.map(String::as_str))
        .collect();
    let twin = |name: &str| {
        !read.contains(&name) && read.iter().any(|known| known.eq_ignore_ascii_case(name))
    };
    if claims.names().any(twin) {
        Err(Refusal::Claims)
    } else {
        Ok(())
    }
}

/// 8-4-4-4-12 hexadecimal digits.
pub fn is_guid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}
