//! Authentication: a bearer token becomes a user, or is refused. People's tokens come from the issuer, service
//! accounts' from here. It judges no rights and prints no token.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::RwLock;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use jiff::Timestamp;
use serde_json::json;

use super::issuer::Issuer;
use super::object;
use super::status::Failure;
use super::user::User;

/// The API server's own audience, which service account tokens are for and TokenReviews are about by default.
pub(crate) const API_AUDIENCE: &str = "https://kubernetes.default.svc.cluster.local";

/// Who a token belongs to.
pub(crate) struct Authenticator {
    issuer: Arc<Issuer>,
    /// Tokens handed out here, with their last second.
    accounts: RwLock<HashMap<String, (User, i64)>>,
}

impl Authenticator {
    pub(crate) fn new(issuer: &Arc<Issuer>) -> Self {
        Self {
            issuer: Arc::clone(issuer),
            accounts: RwLock::default(),
        }
    }

    /// The user of a request; anonymous without a credential.
    ///
    /// # Errors
    /// 401 for a credential that proves nothing.
    pub(crate) fn identify(&self, headers: &HeaderMap) -> Result<User, Failure> {
        let Some(value) = headers.get(AUTHORIZATION) else {
            return Ok(User::anonymous());
        };
        let token = value.to_str().ok().and_then(|value| {
            let (scheme, token) = value.trim().split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        token
            .and_then(|token| self.user(token))
            .ok_or_else(Failure::unauthorized)
    }

    /// Whom `token` proves, if anybody.
    pub(crate) fn user(&self, token: &str) -> Option<User> {
        let accounts = self.accounts.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((user, last)) = accounts.get(token) {
            return (Timestamp::now().as_second() <= *last).then(|| user.clone());
        }
        drop(accounts);
        let person = self.issuer.verify(token)?;
        let name = person.user_name().to_owned();
        let extra = BTreeMap::from([("oid".to_owned(), vec![person.oid])]);
        Some(
            User {
                name,
                uid: String::new(),
                groups: person.groups,
                extra,
            }
            .authenticated(),
        )
    }

    /// A token for a service account, in the shape of a real one and good for `seconds`.
    pub(crate) fn service_account_token(
        &self,
        namespace: &str,
        name: &str,
        uid: &str,
        seconds: i64,
    ) -> String {
        let user = User::service_account(namespace, name, uid).authenticated();
        let now = Timestamp::now().as_second();
        let claims = json!({
            "aud": [API_AUDIENCE],
            "iss": API_AUDIENCE,
            "sub": user.name,
            "iat": now,
            "nbf": now,
            "exp": now + seconds,
            "jti": object::uid(),
            "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": name, "uid": uid}},
        });
        let token = self
            .issuer
            .mint(&json!({"alg": "RS256", "kid": "service-accounts"}), &claims);
        self.accept(&token, user, now + seconds);
        token
    }

    /// A token that makes its bearer `user`; for the administrator of the demo.
    pub(crate) fn static_token(&self, user: User) -> String {
        let token = object::random_hex(32);
        self.accept(&token, user.authenticated(), i64::MAX);
        token
    }

    fn accept(&self, token: &str, user: User, last: i64) {
        self.accounts
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(token.to_owned(), (user, last));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::issuer::Person;

    #[test]
    fn a_credential_is_a_user_or_a_401_and_none_is_the_anonymous_user() {
        let issuer = Arc::new(Issuer::new("https://127.0.0.1:1").unwrap());
        let authenticator = Authenticator::new(&issuer);
        let alice = issuer.token(&Person::member("alice@example.com", &["g1"]));
        let robot = authenticator.service_account_token("oil", "robot", "u1", 60);
        let late = authenticator.service_account_token("oil", "robot", "u1", -1);
        for (header, expected) in [
            (String::new(), "401"),
            (format!("Bearer {alice}"), "alice@example.com"),
            (format!("bearer {robot}"), "system:serviceaccount:oil:robot"),
            (format!("Bearer {late}"), "401"),
            ("Basic eDp5".to_owned(), "401"),
            ("Bearer garbage".to_owned(), "401"),
        ] {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, header.parse().unwrap())]);
            let name = authenticator.identify(&headers).map_or_else(
                |failure| failure.code.as_u16().to_string(),
                |user| user.name,
            );
            assert_eq!(name, expected);
        }
        assert_eq!(
            authenticator.identify(&HeaderMap::new()).unwrap(),
            User::anonymous()
        );
        assert_eq!(
            authenticator.user(&alice).unwrap().groups,
            ["g1", "system:authenticated"]
        );
    }
}
