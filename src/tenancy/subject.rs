//! Whom a Tenant, a RoleBinding or a configuration names, and whom an identity answers to.
//!
//! A subject is compared whole, never as a joined or cut string: a user called like a group is not that group
//! (CVE-2023-46254). Exact and case-sensitive, as Kubernetes compares names.

use crate::identity::GroupName;
use crate::identity::Identity;
use crate::identity::NameError;
use crate::identity::UserName;

/// The group the API server adds to everyone who proved who he is (`apiserver
/// pkg/authentication/group/authenticated_group_adder.go`). Tokens verified here do not carry it.
pub const AUTHENTICATED: &str = "system:authenticated";
const UNAUTHENTICATED: &str = "system:unauthenticated";
const ANONYMOUS: &str = "system:anonymous";
const SERVICE_ACCOUNTS: &str = "system:serviceaccounts";
const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";

/// A user or a group. A service account is the user `system:serviceaccount:<namespace>:<name>`, which is what the API
/// server calls it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// One user or service account.
    User(UserName),
    /// Everyone in a group.
    Group(GroupName),
}

impl Subject {
    /// A subject as Capsule writes it: `kind` `User`, `Group` or `ServiceAccount`, the last with its whole user name.
    ///
    /// # Errors
    /// [`SubjectError`]; such an entry names nobody.
    pub fn of_capsule(kind: &str, name: &str) -> Result<Self, SubjectError> {
        match kind {
            "User" => Ok(Self::User(UserName::parse(name)?)),
            "Group" => Ok(Self::Group(GroupName::parse(name)?)),
            "ServiceAccount" => match name
                .strip_prefix(SERVICE_ACCOUNT_PREFIX)
                .and_then(|rest| rest.split_once(':'))
            {
                Some((namespace, account)) => service_account(namespace, account),
                None => Err(SubjectError::NotAServiceAccount),
            },
            _ => Err(SubjectError::Kind),
        }
    }

    /// A subject as RBAC writes it in a RoleBinding in `binding`, whose namespace a service account without one is in
    /// (`kubernetes plugin/pkg/auth/authorizer/rbac/rbac.go`, `appliesToUser` in `pkg/registry/rbac/validation`).
    ///
    /// # Errors
    /// [`SubjectError`]; such an entry names nobody.
    pub fn of_rbac(
        kind: &str,
        name: &str,
        namespace: Option<&str>,
        binding: &str,
    ) -> Result<Self, SubjectError> {
        match kind {
            "User" => Ok(Self::User(UserName::parse(name)?)),
            "Group" => Ok(Self::Group(GroupName::parse(name)?)),
            "ServiceAccount" => service_account(
                namespace.filter(|text| !text.is_empty()).unwrap_or(binding),
                name,
            ),
            _ => Err(SubjectError::Kind),
        }
    }

    /// Whether it names all users, all strangers or all service accounts, of the cluster or of one namespace.
    ///
    /// A RoleBinding to one of these would show its namespace to everybody.
    pub fn is_wide(&self) -> bool {
        match self {
            Self::User(_) => false,
            Self::Group(name) => {
                let name = name.as_str();
                name == AUTHENTICATED
                    || name == UNAUTHENTICATED
                    || name
                        .strip_prefix(SERVICE_ACCOUNTS)
                        .is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
            }
        }
    }

    /// Whether `who` is this user or carries this group.
    pub fn is_carried_by(&self, who: &Identity) -> bool {
        match self {
            Self::User(name) => *name == who.user,
            Self::Group(name) => {
                who.known_groups().binary_search(name).is_ok()
                    || (name.as_str() == AUTHENTICATED && carries_authenticated(who))
            }
        }
    }
}

/// The subjects `who` answers to: his name, his groups, and `system:authenticated`.
pub fn subjects_of(who: &Identity) -> impl Iterator<Item = Subject> {
    let groups = who.known_groups().iter().cloned();
    let implied = carries_authenticated(who).then(|| GroupName::parse(AUTHENTICATED).ok());
    std::iter::once(Subject::User(who.user.clone()))
        .chain(groups.map(Subject::Group))
        .chain(implied.flatten().map(Subject::Group))
}

fn carries_authenticated(who: &Identity) -> bool {
    let stranger = |group: &GroupName| group.as_str() == UNAUTHENTICATED;
    who.user.as_str() != ANONYMOUS && !who.known_groups().iter().any(stranger)
}

fn service_account(namespace: &str, name: &str) -> Result<Subject, SubjectError> {
    if namespace.is_empty() || name.is_empty() || namespace.contains(':') || name.contains(':') {
        return Err(SubjectError::NotAServiceAccount);
    }
    let user = format!("{SERVICE_ACCOUNT_PREFIX}{namespace}:{name}");
    Ok(Subject::User(UserName::parse(&user)?))
}

/// Why an entry names nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    /// Neither `User`, `Group` nor `ServiceAccount`.
    #[error("is of an unknown kind")]
    Kind,
    /// Not `system:serviceaccount:<namespace>:<name>`.
    #[error("is no service account's name")]
    NotAServiceAccount,
    /// A name nobody can have.
    #[error(transparent)]
    Name(#[from] NameError),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(subject: Result<Subject, SubjectError>) -> String {
        match subject {
            Ok(Subject::User(name)) => format!("user {name}"),
            Ok(Subject::Group(name)) => format!("group {name}"),
            Err(why) => why.to_string(),
        }
    }

    #[test]
    fn capsule_writes_service_accounts_by_their_whole_name() {
        for (kind, name, expected) in [
            ("User", "alice", "user alice"),
            ("Group", "alice", "group alice"),
            (
                "User",
                "system:serviceaccount:ci:bot",
                "user system:serviceaccount:ci:bot",
            ),
            (
                "ServiceAccount",
                "system:serviceaccount:ci:bot",
                "user system:serviceaccount:ci:bot",
            ),
            ("ServiceAccount", "alice", "is no service account's name"),
            (
                "ServiceAccount",
                "system:serviceaccount:ci",
                "is no service account's name",
            ),
            (
                "ServiceAccount",
                "system:serviceaccount:ci:",
                "is no service account's name",
            ),
            (
                "ServiceAccount",
                "system:serviceaccount:ci:a:b",
                "is no service account's name",
            ),
            ("user", "alice", "is of an unknown kind"),
            ("User", "", "is empty"),
            ("Group", "a\nb", "has a control character"),
        ] {
            assert_eq!(
                text(Subject::of_capsule(kind, name)),
                expected,
                "{kind} {name:?}"
            );
        }
    }

    #[test]
    fn rbac_writes_service_accounts_in_two_parts() {
        for (kind, name, namespace, expected) in [
            (
                "ServiceAccount",
                "bot",
                Some("ci"),
                "user system:serviceaccount:ci:bot",
            ),
            (
                "ServiceAccount",
                "bot",
                Some(""),
                "user system:serviceaccount:oil:bot",
            ),
            (
                "ServiceAccount",
                "bot",
                None,
                "user system:serviceaccount:oil:bot",
            ),
            (
                "ServiceAccount",
                "a:b",
                Some("ci"),
                "is no service account's name",
            ),
            ("User", "bob", None, "user bob"),
            ("Robot", "bob", None, "is of an unknown kind"),
        ] {
            assert_eq!(
                text(Subject::of_rbac(kind, name, namespace, "oil")),
                expected,
                "{kind} {name:?}"
            );
        }
    }

    #[test]
    fn groups_of_everybody_are_wide_and_groups_that_only_look_like_them_are_not() {
        for (name, wide) in [
            ("system:authenticated", true),
            ("system:unauthenticated", true),
            ("system:serviceaccounts", true),
            ("system:serviceaccounts:ci", true),
            ("system:serviceaccountsandmore", false),
            ("system:authenticated:oidc", false),
            ("developers", false),
        ] {
            let group = Subject::Group(GroupName::parse(name).unwrap());
            assert_eq!(group.is_wide(), wide, "{name}");
        }
        assert!(!Subject::User(UserName::parse("system:authenticated").unwrap()).is_wide());
    }
}
