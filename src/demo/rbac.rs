//! Authorization: the RBAC objects in the store, evaluated as `kubernetes plugin/pkg/auth/authorizer/rbac` does.
//! A pure function of stored state, user and question; nothing is granted that no rule grants.

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::object::items;
use super::object::text;
use super::object::texts;
use super::request::RequestInfo;
use super::status::Failure;
use super::store::Key;
use super::store::State;
use super::user::MASTERS;
use super::user::User;
use crate::k8s::names::GroupResource;

/// A question RBAC can answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Attributes {
    pub(crate) verb: String,
    pub(crate) about: About,
}

/// What the question is about.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum About {
    Resource {
        resource: GroupResource,
        subresource: String,
        /// Empty: cluster-wide.
        namespace: String,
        /// Empty: any.
        name: String,
    },
    Path(String),
}

impl Attributes {
    pub(crate) fn of_request(info: &RequestInfo) -> Self {
        let about = match &info.resource {
            Some(resource) => About::Resource {
                resource: resource.resource.clone(),
                subresource: resource.subresource.clone(),
                namespace: resource.namespace.clone(),
                name: resource.name.clone(),
            },
            None => About::Path(info.path.clone()),
        };
        Self {
            verb: info.verb.clone(),
            about,
        }
    }

    pub(crate) fn resource(
        verb: &str,
        group: &str,
        resource: &str,
        namespace: &str,
        name: &str,
    ) -> Self {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        Self {
            verb: verb.to_owned(),
            about: About::Resource {
                resource: GroupResource::new(group, resource),
                subresource: subresource.to_owned(),
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            },
        }
    }

    /// The attributes of an access review's spec.
    pub(crate) fn of_review(spec: &Value) -> Option<Self> {
        if let Some(path) = spec.get("nonResourceAttributes") {
            let about = About::Path(text(path, "/path").to_owned());
            return Some(Self {
                verb: text(path, "/verb").to_owned(),
                about,
            });
        }
        let of = spec.get("resourceAttributes")?;
        Some(Self {
            verb: text(of, "/verb").to_owned(),
            about: About::Resource {
                resource: GroupResource::new(text(of, "/group"), text(of, "/resource")),
                subresource: text(of, "/subresource").to_owned(),
                namespace: text(of, "/namespace").to_owned(),
                name: text(of, "/name").to_owned(),
            },
        })
    }

    /// The 403, word for word (`apiserver pkg/endpoints/handlers/responsewriters/errors.go`).
    pub(crate) fn forbidden(&self, user: &User, reason: &str) -> Failure {
        let reason = if reason.is_empty() {
            String::new()
        } else {
            format!(": {reason}")
        };
        let (name, verb) = (&user.name, &self.verb);
        match &self.about {
            About::Path(path) => {
                let what = html_safe(&format!("User {name:?} cannot {verb} path {path:?}"));
                Failure::forbidden(&GroupResource::new("", ""), "", &format!("{what}{reason}"))
            }
            About::Resource {
                resource,
                subresource,
                namespace,
                name: object,
            } => {
                let slash = if subresource.is_empty() { "" } else { "/" };
                let plural = format!("{}{slash}{subresource}", resource.resource);
                let place = match namespace.as_str() {
                    "" => "at the cluster scope".to_owned(),
                    namespace => format!("in the namespace {namespace:?}"),
                };
                let group = &*resource.group;
                let what = format!(
                    "User {name:?} cannot {verb} resource {plural:?} in API group {group:?} {place}"
                );
                Failure::forbidden(resource, object, &format!("{}{reason}", html_safe(&what)))
            }
        }
    }

    fn namespace(&self) -> &str {
        match &self.about {
            About::Resource { namespace, .. } => namespace,
            About::Path(_) => "",
        }
    }
}

/// "Avoid emitting errors that look like valid HTML."
fn html_safe(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// What RBAC says. `reason` names the rule that allowed, or the roles that could not be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) allowed: bool,
    pub(crate) reason: String,
}

/// Whether `user` may.
pub(crate) fn decide(state: &State, user: &User, attributes: &Attributes) -> Decision {
    if user.is_in(MASTERS) {
        return Decision {
            allowed: true,
            reason: String::new(),
        };
    }
    let mut missing = Vec::new();
    for grant in grants(state, user, attributes.namespace()) {
        match grant.rules {
            Ok(rules) => {
                if rules.iter().any(|rule| covers(rule, attributes)) {
                    return Decision {
                        allowed: true,
                        reason: format!("RBAC: allowed by {}", grant.binding),
                    };
                }
            }
            Err(role) => missing.push(role),
        }
    }
    let reason = match missing.as_slice() {
        [] => String::new(),
        [one] => format!("RBAC: {one}"),
        several => format!("RBAC: [{}]", several.join(", ")),
    };
    Decision {
        allowed: false,
        reason,
    }
}

/// `status` of a `SelfSubjectRulesReview`: every rule that applies in `namespace`.
pub(crate) fn rules_review(state: &State, user: &User, namespace: &str) -> Value {
    let mut resource_rules = Vec::new();
    let mut path_rules = Vec::new();
    if user.is_in(MASTERS) {
        resource_rules.push(json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}));
        path_rules.push(json!({"verbs": ["*"], "nonResourceURLs": ["*"]}));
    }
    for rule in grants(state, user, namespace)
        .iter()
        .flat_map(|grant| grant.rules.as_deref().unwrap_or_default())
    {
        let kept = |keys: &[&str]| -> Value {
            let present = keys
                .iter()
                .filter_map(|&key| Some((key.to_owned(), rule.get(key)?.clone())));
            Value::Object(present.collect::<Map<_, _>>())
        };
        if !items(rule, "/resources").is_empty() {
            resource_rules.push(kept(&["verbs", "apiGroups", "resources", "resourceNames"]));
        }
        if !items(rule, "/nonResourceURLs").is_empty() {
            path_rules.push(kept(&["verbs", "nonResourceURLs"]));
        }
    }
    json!({"resourceRules": resource_rules, "nonResourceRules": path_rules, "incomplete": false})
}

/// What one binding gives a user.
struct Grant {
    binding: String,
    /// The role's rules, or the sentence that it is missing.
    rules: Result<Vec<Value>, String>,
}

/// The bindings that name `user`: cluster-wide ones, and those of `namespace`.
fn grants(state: &State, user: &User, namespace: &str) -> Vec<Grant> {
    let resource = |plural| GroupResource::new("rbac.authorization.k8s.io", plural);
    let mut bindings = state.list(&resource("clusterrolebindings"), "");
    if !namespace.is_empty() {
        bindings.extend(state.list(&resource("rolebindings"), namespace));
    }
    let named = bindings.into_iter().filter_map(|(_, binding)| {
        let subjects = items(&binding.value, "/subjects");
        let subject = subjects
            .iter()
            .find(|subject| is_subject(subject, user, binding.namespace()))?;
        Some((
            binding.clone(),
            format!("{} {:?}", text(subject, "/kind"), text(subject, "/name")),
        ))
    });
    named
        .map(|(binding, subject)| {
            let role = text(&binding.value, "/roleRef/name");
            let in_cluster = text(&binding.value, "/roleRef/kind") == "ClusterRole";
            let (plural, role_namespace) = if in_cluster {
                ("clusterroles", "")
            } else {
                ("roles", binding.namespace())
            };
            let stored = state.get(&Key::new(&resource(plural), role_namespace, role));
            let singular = plural.trim_end_matches('s');
            let rules = stored
                .map(|role| items(&role.value, "/rules").to_vec())
                .ok_or_else(|| format!("{singular}.rbac.authorization.k8s.io {role:?} not found"));
            let kind = if binding.namespace().is_empty() {
                "ClusterRoleBinding"
            } else {
                "RoleBinding"
            };
            let place = match binding.namespace() {
                "" => binding.name().to_owned(),
                namespace => format!("{}/{namespace}", binding.name()),
            };
            let role_kind = if in_cluster { "ClusterRole" } else { "Role" };
            Grant {
                binding: format!("{kind} {place:?} of {role_kind} {role:?} to {subject}"),
                rules,
            }
        })
        .collect()
}

fn is_subject(subject: &Value, user: &User, binding_namespace: &str) -> bool {
    let name = text(subject, "/name");
    match text(subject, "/kind") {
        "User" => user.name == name,
        "Group" => user.is_in(name),
        "ServiceAccount" => {
            let namespace = match text(subject, "/namespace") {
                "" => binding_namespace,
                namespace => namespace,
            };
            user.name == format!("system:serviceaccount:{namespace}:{name}")
        }
        _ => false,
    }
}

fn covers(rule: &Value, attributes: &Attributes) -> bool {
    let has =
        |pointer: &str, wanted: &str| texts(rule, pointer).any(|one| one == "*" || one == wanted);
    if !has("/verbs", &attributes.verb) {
        return false;
    }
    match &attributes.about {
        About::Path(path) => {
            texts(rule, "/nonResourceURLs").any(|pattern| match pattern.strip_suffix('*') {
                Some(prefix) => path.starts_with(prefix),
                None => pattern == path,
            })
        }
        About::Resource {
            resource,
            subresource,
            name,
            ..
        } => {
            let combined = match subresource.as_str() {
                "" => resource.resource.to_string(),
                subresource => format!("{}/{subresource}", resource.resource),
            };
            let any_parent = format!("*/{subresource}");
            let covered = texts(rule, "/resources").any(|one| {
                one == "*" || one == combined || (!subresource.is_empty() && one == any_parent)
            });
            let names = items(rule, "/resourceNames");
            covered
                && has("/apiGroups", &resource.group)
                && (names.is_empty() || texts(rule, "/resourceNames").any(|one| one == name))
        }
    }
}

#[cfg(test)]
mod tests;
