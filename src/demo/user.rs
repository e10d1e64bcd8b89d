//! Who makes a request, as the API server sees it after authentication. It says nothing about rights.

use std::collections::BTreeMap;

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::object::text;
use super::object::texts;

/// Added to everybody but the anonymous user.
pub(crate) const AUTHENTICATED: &str = "system:authenticated";
/// The group of the anonymous user.
pub(crate) const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The name of whoever brings no credential.
pub(crate) const ANONYMOUS: &str = "system:anonymous";
/// May do everything, before any rule is looked at (`authorizerfactory.NewPrivilegedGroups`).
pub(crate) const MASTERS: &str = "system:masters";

/// A user with everything RBAC and reviews look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// The name, compared exactly.
    pub name: String,
    /// Empty where there is none.
    pub uid: String,
    /// In the order the authenticator gave them.
    pub groups: Vec<String>,
    /// Further attributes by lower-case key.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// Who brings no credential.
    pub(crate) fn anonymous() -> Self {
        Self {
            name: ANONYMOUS.to_owned(),
            groups: vec![UNAUTHENTICATED.to_owned()],
            ..Self::default()
        }
    }

    /// A service account with the groups it always has.
    pub(crate) fn service_account(namespace: &str, name: &str, uid: &str) -> Self {
        Self {
            name: format!("system:serviceaccount:{namespace}:{name}"),
            uid: uid.to_owned(),
            groups: service_account_groups(namespace),
            extra: BTreeMap::new(),
        }
    }

    pub(crate) fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|one| one == group)
    }

    /// With `system:authenticated`, unless a group says the opposite.
    pub(crate) fn authenticated(mut self) -> Self {
        if self.name != ANONYMOUS && !self.is_in(AUTHENTICATED) && !self.is_in(UNAUTHENTICATED) {
            self.groups.push(AUTHENTICATED.to_owned());
        }
        self
    }

    /// `UserInfo` of the review APIs.
    pub(crate) fn info(&self) -> Value {
        let mut info = Map::new();
        info.insert("username".to_owned(), self.name.as_str().into());
        if !self.uid.is_empty() {
            info.insert("uid".to_owned(), self.uid.as_str().into());
        }
        if !self.groups.is_empty() {
            info.insert("groups".to_owned(), json!(self.groups));
        }
        if !self.extra.is_empty() {
            info.insert("extra".to_owned(), json!(self.extra));
        }
        Value::Object(info)
    }

    /// The user a `SubjectAccessReview` asks about.
    pub(crate) fn of_review(spec: &Value) -> Self {
        let extra = spec
            .get("extra")
            .and_then(Value::as_object)
            .into_iter()
            .flatten();
        Self {
            name: text(spec, "/user").to_owned(),
            uid: text(spec, "/uid").to_owned(),
            groups: texts(spec, "/groups").map(str::to_owned).collect(),
            extra: extra
                .map(|(key, values)| (key.clone(), texts(values, "").map(str::to_owned).collect()))
                .collect(),
        }
    }
}

/// `system:serviceaccounts`, `system:serviceaccounts:{namespace}`.
pub(crate) fn service_account_groups(namespace: &str) -> Vec<String> {
    vec![
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{namespace}"),
    ]
}
