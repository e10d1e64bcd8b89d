//! `Impersonate-*` headers: who is meant, and whether the caller may
//! (`apiserver pkg/endpoints/filters/impersonation`). Plain impersonation; the constrained modes of KEP-5284 are not here.

use std::collections::BTreeMap;

use http::HeaderMap;

use super::query::percent_decode;
use super::rbac;
use super::rbac::Attributes;
use super::status::Failure;
use super::store::State;
use super::user::User;
use super::user::service_account_groups;

const EXTRA: &str = "impersonate-extra-";

/// The user to go on as, or `None` where nobody is impersonated.
///
/// # Errors
/// 400 for groups, uid or extra without a user; 403 for the first attribute that may not be impersonated.
pub(crate) fn impersonated(
    state: &State,
    caller: &User,
    headers: &HeaderMap,
) -> Result<Option<User>, Failure> {
    // The first user counts, but every group: what a proxy adds to a client's headers would be a takeover.
    let name = first(headers, "impersonate-user");
    let uid = first(headers, "impersonate-uid");
    let groups = all(headers, "impersonate-group");
    let extra = extra(headers);
    if name.is_empty() {
        if groups.is_empty() && uid.is_empty() && extra.is_empty() {
            return Ok(None);
        }
        let message = format!(
            "requested &user.DefaultInfo{{Name:\"\", UID:{uid:?}, Groups:{}, Extra:{}}} without impersonating a user name",
            go_list(&groups),
            go_map(&extra),
        );
        return Err(Failure::bad_request(message));
    }
    let account = name
        .strip_prefix("system:serviceaccount:")
        .and_then(|rest| rest.split_once(':'));
    match account {
        Some((namespace, account)) => {
            may(state, caller, "", "serviceaccounts", namespace, account)?
        }
        None => may(state, caller, "", "users", "", &name)?,
    }
    for group in &groups {
        may(state, caller, "", "groups", "", group)?;
    }
    for (key, values) in &extra {
        for value in values {
            may(
                state,
                caller,
                "authentication.k8s.io",
                &format!("userextras/{key}"),
                "",
                value,
            )?;
        }
    }
    if !uid.is_empty() {
        may(state, caller, "authentication.k8s.io", "uids", "", &uid)?;
    }
    let groups = match account {
        Some((namespace, _)) if groups.is_empty() => service_account_groups(namespace),
        Some(_) | None => groups,
    };
    Ok(Some(
        User {
            name,
            uid,
            groups,
            extra,
        }
        .authenticated(),
    ))
}

fn may(
    state: &State,
    caller: &User,
    group: &str,
    resource: &str,
    namespace: &str,
    name: &str,
) -> Result<(), Failure> {
    let question = Attributes::resource("impersonate", group, resource, namespace, name);
    let decision = rbac::decide(state, caller, &question);
    if decision.allowed {
        Ok(())
    } else {
        Err(question.forbidden(caller, &decision.reason))
    }
}

/// As Go's `%#v` prints a slice of strings.
fn go_list(list: &[String]) -> String {
    match list {
        [] => "[]string(nil)".to_owned(),
        list => {
            let quoted: Vec<String> = list.iter().map(|one| format!("{one:?}")).collect();
            format!("[]string{{{}}}", quoted.join(", "))
        }
    }
}

fn go_map(map: &BTreeMap<String, Vec<String>>) -> String {
    if map.is_empty() {
        return "map[string][]string(nil)".to_owned();
    }
    let entries: Vec<String> = map
        .iter()
        .map(|(key, list)| format!("{key:?}:{}", go_list(list)))
        .collect();
    format!("map[string][]string{{{}}}", entries.join(", "))
}

fn first(headers: &HeaderMap, name: &str) -> String {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("")
        .trim()
        .to_owned()
}

fn all(headers: &HeaderMap, name: &str) -> Vec<String> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| Some(value.to_str().ok()?.trim().to_owned()))
        .collect()
}

/// Keys are lower-cased, then percent-decoded.
fn extra(headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
    headers
        .keys()
        .filter_map(|name| {
            let key = name.as_str().strip_prefix(EXTRA)?;
            Some((
                percent_decode(key).unwrap_or_else(|| key.to_owned()),
                all(headers, name.as_str()),
            ))
        })
        .collect()
}

#[cfg(test)]
mod tests;
