//! Proved claims, or the API server's word → who it is.
//!
//! It must never let an outside provider name somebody who is Kubernetes' own (`system:…`) or the proxy's
//! (`kube-tenant-proxy:…`), and never take "more groups than fit" for "no groups".

pub mod username;

use std::sync::Arc;

use k8s_openapi::api::authentication::v1::UserInfo;
use serde_json::Value;

use crate::authn::claims::Claims;
use crate::authn::refusal::Refusal;
use crate::authn::settings::ExtraRule;
use crate::authn::settings::GroupsRule;
use crate::authn::settings::Issuer;
use crate::identity::Extra;
use crate::identity::GroupName;
use crate::identity::UserName;
use crate::k8s::pattern::Pattern;

/// Most groups of one person. The design figure is 2 000; a token with more is a mistake or an attack.
pub const MAX_GROUPS: usize = 4_000;

/// The group of everybody who is somebody (`apiserver pkg/authentication/group/authenticated_group_adder.go`).
const AUTHENTICATED: &str = "system:authenticated";

/// The group that bypasses every authorizer. No claim may name it, whatever is configured.
const MASTERS: &str = "system:masters";

/// Names and extra keys the proxy speaks with. Whoever brings one is not let in.
const RESERVED_NAMES: &str = "kube-tenant-proxy:";
const RESERVED_KEYS: &str = "kube-tenant-proxy.io/";

/// Who a token's claims, or the API server, say it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// His name.
    pub user: UserName,
    /// His groups, `system:authenticated` among them.
    pub groups: ClaimedGroups,
    /// His uid.
    pub uid: Option<Arc<str>>,
    /// His extra attributes.
    pub extra: Extra,
}

/// The groups a token carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimedGroups {
    /// All of them.
    All(Vec<GroupName>),
    /// He has more than a token can carry ("overage"): the token names none.
    Overage,
}

/// The person that `claims`, whose signature held, make under the rules of `issuer`.
///
/// # Errors
/// [`Refusal::Identity`] for a name that must not be used, [`Refusal::Claims`] for a claim of the wrong type.
pub fn person(claims: &Claims, issuer: &Issuer) -> Result<Person, Refusal> {
    let name = username::choose(claims, &issuer.username.claims)?;
    let user = user_name(&format!("{}{name}", issuer.username.prefix))?;
    if user.as_str().starts_with("system:") {
        return Err(Refusal::Identity);
    }
    let uid = match &issuer.uid {
        None => None,
        Some(claim) => Some(text_value(claims.filled(claim)?.ok_or(Refusal::Claims)?)?),
    };
    Ok(Person {
        user,
        groups: groups(claims, issuer.groups.as_ref())?,
        uid,
        extra: extra(claims, &issuer.extra)?,
    })
}

fn groups(claims: &Claims, rule: Option<&GroupsRule>) -> Result<ClaimedGroups, Refusal> {
    let mut names = vec![group_name(AUTHENTICATED)?];
    let Some(rule) = rule else {
        return Ok(ClaimedGroups::All(names));
    };
    if is_overage(claims, &rule.claim)? {
        return Ok(ClaimedGroups::Overage);
    }
    let claimed = claims.texts(&rule.claim)?.unwrap_or_default();
    if claimed.len() > MAX_GROUPS {
        return Err(Refusal::Identity);
    }
    for claimed in claimed {
        let name = format!("{}{claimed}", rule.prefix);
        let allowed = rule.allow.iter().find(|pattern| pattern.matches(&name));
        if name.starts_with("system:") && !allowed.is_some_and(Pattern::names_system)
            || name == MASTERS
        {
            return Err(Refusal::Identity);
        }
        let listed = rule.allow.is_empty() || allowed.is_some();
        if listed && !rule.deny.iter().any(|pattern| pattern.matches(&name)) {
            names.push(group_name(&name)?);
        }
    }
    Ok(ClaimedGroups::All(names))
}

/// `_claim_names` names the claim (OpenID Connect Core §5.6.2, Entra's way above 200 groups), or `hasgroups` stands for it
/// (Entra's implicit flow above 6). The address in `_claim_sources` comes from the token and is never called.
fn is_overage(claims: &Claims, claim: &str) -> Result<bool, Refusal> {
    let elsewhere = match claims.get("_claim_names") {
        None => false,
        Some(Value::Object(names)) => names.contains_key(claim),
        Some(
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_),
        ) => {
            return Err(Refusal::Claims);
        }
    };
    let has_groups = match claims.get("hasgroups") {
        None | Some(Value::Bool(false)) => false,
        Some(Value::Bool(true)) => true,
        Some(Value::String(text)) if text == "true" => true,
        Some(_) => return Err(Refusal::Claims),
    };
    Ok(elsewhere || has_groups)
}

fn extra(claims: &Claims, rules: &[ExtraRule]) -> Result<Extra, Refusal> {
    let mut extra = Extra::new();
    for rule in rules {
        let values = claims.texts(&rule.claim)?.unwrap_or_default();
        let values = values
            .into_iter()
            .map(text_value)
            .collect::<Result<Vec<_>, _>>()?;
        if !values.is_empty() {
            extra.insert(rule.key.clone(), values);
        }
    }
    Ok(extra)
}

/// The person that the API server names in a TokenReview. `system:` names are believed from here only.
///
/// # Errors
/// [`Refusal::ReviewUnusable`] if there is no usable name, or a part of it could not be sent on.
pub fn reviewed(info: UserInfo) -> Result<Person, Refusal> {
    let unusable = |_: Refusal| Refusal::ReviewUnusable;
    let groups = info.groups.unwrap_or_default();
    if groups.len() > MAX_GROUPS {
        return Err(Refusal::ReviewUnusable);
    }
    let mut extra = Extra::new();
    for (key, values) in info.extra.unwrap_or_default() {
        let key = key.to_ascii_lowercase();
        if !is_extra_key(&key) {
            return Err(Refusal::ReviewUnusable);
        }
        let values = values
            .iter()
            .map(|value| text_value(value))
            .collect::<Result<Vec<_>, _>>();
        extra.insert(key.into(), values.map_err(unusable)?);
    }
    Ok(Person {
        user: user_name(&info.username.unwrap_or_default()).map_err(unusable)?,
        groups: ClaimedGroups::All(
            groups
                .iter()
                .map(|name| group_name(name))
                .collect::<Result<_, _>>()
                .map_err(unusable)?,
        ),
        uid: match info.uid.as_deref() {
            None | Some("") => None,
            Some(uid) => Some(text_value(uid).map_err(unusable)?),
        },
        extra,
    })
}

/// Whether `key` may be a key of an extra: lower case, in a header's alphabet without percent signs, none of ours.
pub fn is_extra_key(key: &str) -> bool {
    let fits =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"/-._".contains(&byte);
    !key.is_empty() && key.bytes().all(fits) && !key.starts_with(RESERVED_KEYS)
}

fn user_name(text: &str) -> Result<UserName, Refusal> {
    match UserName::parse(text) {
        Ok(name) if !text.starts_with(RESERVED_NAMES) => Ok(name),
        Ok(_) | Err(_) => Err(Refusal::Identity),
    }
}

fn group_name(text: &str) -> Result<GroupName, Refusal> {
    match GroupName::parse(text) {
        Ok(name) if !text.starts_with(RESERVED_NAMES) => Ok(name),
        Ok(_) | Err(_) => Err(Refusal::Identity),
    }
}

/// Uids and extra values go into headers as names do, so they have a name's rules.
fn text_value(text: &str) -> Result<Arc<str>, Refusal> {
    match UserName::parse(text) {
        Ok(_) => Ok(text.into()),
        Err(_) => Err(Refusal::Identity),
    }
}

/// Whether the API server means the same person: by Entra's object id, or by name. The groups of anybody else are not his.
pub fn same_person(ours: &Person, claims: &Claims, theirs: &Person) -> bool {
    let object = claims.text("oid").ok().flatten();
    let named = theirs.extra.get("oid").map(Vec::as_slice);
    match (object, named) {
        (Some(object), Some([one])) => **one == *object,
        (Some(_), Some(_)) => false,
        (None, _) | (_, None) => ours.user == theirs.user,
    }
}

#[cfg(test)]
mod tests;
