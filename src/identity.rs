//! Who is asking: a proved identity whose every string is safe to put into a header. It never holds a token.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

/// Longest user, group or extra value accepted, in bytes. Kubernetes sets no limit; a header line does.
const MAX_NAME_BYTES: usize = 1024;

/// A proved identity, shared by `Arc`. Made by [`Identity::new`] only, so that [`Identity::key`] always fits it.
#[derive(Debug)]
pub struct Identity {
    /// The name Kubernetes knows the user by.
    pub user: UserName,
    /// Groups, sorted and without duplicates, or why they are not known.
    pub groups: Groups,
    /// The authenticator's stable id of the user, if it has one.
    pub uid: Option<Arc<str>>,
    /// Further attributes, sent upstream in impersonate mode.
    pub extra: Extra,
    /// When the credential behind it ends, if it does.
    pub expires: Option<SystemTime>,
    /// Which authenticator proved it.
    pub by: AuthenticatorId,
    /// How requests made as this user go upstream. A setting of the authenticator, never read from a request.
    pub upstream: UpstreamMode,
    key: IdentityKey,
    name_key: IdentityKey,
}

/// What [`Identity::new`] is made from.
#[derive(Debug)]
pub struct Proof {
    /// See [`Identity::user`].
    pub user: UserName,
    /// In any order, duplicates allowed.
    pub groups: Result<Vec<GroupName>, GroupsUnknown>,
    /// See [`Identity::uid`].
    pub uid: Option<Arc<str>>,
    /// See [`Identity::extra`].
    pub extra: Extra,
    /// See [`Identity::expires`].
    pub expires: Option<SystemTime>,
    /// See [`Identity::by`].
    pub by: AuthenticatorId,
    /// See [`Identity::upstream`].
    pub upstream: UpstreamMode,
}

impl Identity {
    /// The identity that `proof` proves.
    pub fn new(proof: Proof) -> Self {
        let groups = match proof.groups {
            Ok(mut names) => {
                names.sort_unstable();
                names.dedup();
                Groups::Known(names.into())
            }
            Err(why) => Groups::Unknown(why),
        };
        let key = IdentityKey::of(
            &proof.by,
            proof.upstream,
            &proof.user,
            proof.uid.as_deref(),
            &groups,
        );
        Self {
            name_key: IdentityKey::digest([proof.user.as_str()].into_iter()),
            user: proof.user,
            groups,
            uid: proof.uid,
            extra: proof.extra,
            expires: proof.expires,
            by: proof.by,
            upstream: proof.upstream,
            key,
        }
    }

    /// What state about this identity is kept under.
    pub fn key(&self) -> &IdentityKey {
        &self.key
    }

    /// The same for all identities of this name: of somebody whose groups have changed, or whose authenticator has.
    pub fn name_key(&self) -> &IdentityKey {
        &self.name_key
    }

    /// The groups if they are known, none otherwise: an unknown group grants nothing.
    pub fn known_groups(&self) -> &[GroupName] {
        match &self.groups {
            Groups::Known(names) => names,
            Groups::Unknown(_) => &[],
        }
    }
}

/// The groups of an identity, or why nobody can say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Groups {
    /// Sorted, without duplicates.
    Known(Arc<[GroupName]>),
    /// The token says that there are more groups than it carries ("overage").
    Unknown(GroupsUnknown),
}

/// Why the groups of an overage token are not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupsUnknown {
    /// TokenReview would tell but cannot be reached now: 503 for what needs groups.
    Unavailable,
    /// TokenReview is switched off: 403 for what needs groups.
    Unresolvable,
}

/// Authenticator and its mode, user, uid and sorted groups as one SHA-256: all that a scope is computed from, and all that
/// decides what the API server makes of him.
///
/// Two tokens of one person with the same groups share it; a renewed token with other groups does not.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdentityKey([u8; 32]);

impl IdentityKey {
    /// Its bytes, to bind something to it.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn of(
        by: &AuthenticatorId,
        upstream: UpstreamMode,
        user: &UserName,
        uid: Option<&str>,
        groups: &Groups,
    ) -> Self {
        let upstream = match upstream {
            UpstreamMode::Token => "token",
            UpstreamMode::Impersonate => "impersonate",
        };
        let (known, unknown) = match groups {
            Groups::Known(names) => (&**names, None),
            Groups::Unknown(GroupsUnknown::Unavailable) => (&[][..], Some("\0unavailable")),
            Groups::Unknown(GroupsUnknown::Unresolvable) => (&[][..], Some("\0unresolvable")),
        };
        let uid = [uid.map_or("-", |_| "+"), uid.unwrap_or_default()];
        let user = [by.as_str(), upstream, user.as_str()]
            .into_iter()
            .chain(uid);
        let groups = known.iter().map(GroupName::as_str).chain(unknown);
        Self::digest(user.chain(groups))
    }

    /// Length-prefixed, so that no two lists of strings run together.
    fn digest<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        let mut digest = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        for text in texts {
            digest.update(&(text.len() as u64).to_be_bytes());
            digest.update(text.as_bytes());
        }
        let mut key = [0; 32];
        key.copy_from_slice(digest.finish().as_ref());
        Self(key)
    }
}

impl fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "IdentityKey({a:02x}{b:02x}{c:02x}{d:02x}…)")
    }
}

/// A name that authenticators give: not empty, no control character, no blank at either end, of bounded length.
///
/// # Errors
/// [`NameError`] says which of these a text breaks.
fn parse_name(text: &str) -> Result<Arc<str>, NameError> {
    if text.is_empty() {
        Err(NameError::Empty)
    } else if text.len() > MAX_NAME_BYTES {
        Err(NameError::TooLong)
    } else if text.chars().any(char::is_control) {
        Err(NameError::Control)
    } else if text.trim() != text {
        Err(NameError::Blank)
    } else {
        Ok(text.into())
    }
}

/// Why a text is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing there. An empty user is how impersonation fails open (CVE-2023-48312).
    #[error("is empty")]
    Empty,
    /// More than a header line should carry.
    #[error("is longer than {MAX_NAME_BYTES} bytes")]
    TooLong,
    /// Would break a header line.
    #[error("has a control character")]
    Control,
    /// Would be lost in a header line.
    #[error("begins or ends with a blank")]
    Blank,
}

/// A user's name as Kubernetes compares it: exact, case-sensitive.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserName(Arc<str>);

impl UserName {
    /// # Errors
    /// [`NameError`]: empty, blank-edged, too long, or with a control character.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        parse_name(text).map(Self)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A group's name as Kubernetes compares it: exact, case-sensitive.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupName(Arc<str>);

impl GroupName {
    /// # Errors
    /// [`NameError`]: empty, blank-edged, too long, or with a control character.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        parse_name(text).map(Self)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Further attributes of a user: lower-case keys, each with its values in order.
pub type Extra = BTreeMap<Arc<str>, Vec<Arc<str>>>;

/// Tells authenticators apart in keys: an issuer's URL, `tokenreview`. Never an issuer's place in the configuration, which
/// another one may take while the proxy runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AuthenticatorId(Arc<str>);

impl AuthenticatorId {
    /// The authenticator called `name`.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How requests made as a user go upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamMode {
    /// With the user's own bearer token.
    Token,
    /// With the proxy's token and impersonation of user, groups, uid and extra.
    Impersonate,
}

/// A bearer token. It cannot be printed, and is in no cache and no log.
#[derive(Clone)]
pub struct SecretToken(Arc<str>);

impl SecretToken {
    /// Takes the text of a token.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The text, for the one header that carries it and for its verification.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretToken")
    }
}

/// What a caller proved himself with.
#[derive(Clone, Debug)]
pub enum Credential {
    /// A token that may be sent on in token mode.
    Bearer(SecretToken),
    /// Something that cannot be sent on, such as a client certificate: always [`UpstreamMode::Impersonate`].
    ProvedHere,
}

/// A proved identity together with what proved it, for one request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who.
    pub who: Arc<Identity>,
    /// By what.
    pub credential: Credential,
}

/// Identities for tests.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// One of `user`, a member of `groups`.
    pub(crate) fn member(user: &str, groups: &[&str]) -> Identity {
        Identity::new(Proof {
            user: UserName::parse(user).unwrap(),
            groups: Ok(groups
                .iter()
                .map(|name| GroupName::parse(name).unwrap())
                .collect()),
            uid: None,
            extra: Extra::new(),
            expires: None,
            by: AuthenticatorId::new("jwt[0]"),
            upstream: UpstreamMode::Token,
        })
    }

    /// One of `user`, of no group.
    pub(crate) fn identity(user: &str) -> Identity {
        member(user, &[])
    }
}

#[cfg(test)]
mod tests {
    use super::testing::member as identity;
    use super::*;

    #[test]
    fn the_key_ignores_the_order_of_groups_and_nothing_else() {
        let key = |user, groups: &[&str]| *identity(user, groups).key();
        assert_eq!(key("alice", &["a", "b"]), key("alice", &["b", "a", "b"]));
        assert_ne!(key("alice", &["a", "b"]), key("alice", &["ab"]));
        assert_ne!(key("alice", &["a"]), key("alicea", &[]));
        assert_ne!(key("alice", &[]), key("Alice", &[]));
    }

    #[test]
    fn somebody_keeps_the_key_of_his_name_whatever_his_groups_are() {
        let key = |user, groups: &[&str]| *identity(user, groups).name_key();
        assert_eq!(key("alice", &["a"]), key("alice", &["b"]));
        assert_ne!(key("alice", &[]), key("alicea", &[]));
    }

    #[test]
    fn names_that_a_header_would_lose_or_break_on_are_refused() {
        for (text, why) in [
            ("", NameError::Empty),
            (" alice", NameError::Blank),
            ("alice\u{a0}", NameError::Blank),
            ("al\nice", NameError::Control),
            ("al\u{7f}ice", NameError::Control),
        ] {
            assert_eq!(UserName::parse(text), Err(why), "{text:?}");
        }
        assert!(UserName::parse(&"x".repeat(MAX_NAME_BYTES + 1)).is_err());
        assert!(GroupName::parse("comma, blank inside").is_ok());
    }

    #[test]
    fn a_token_does_not_print() {
        let caller = Credential::Bearer(SecretToken::new("eyJ-secret"));
        assert!(!format!("{caller:?}").contains("eyJ"));
    }
}
