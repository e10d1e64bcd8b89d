//! The token issuer: a stand-in for Entra ID that signs what it is asked to sign, and publishes discovery document
//! and keys in the true shape of its v1.0 endpoints. No flag points it at a real cluster, and no real cluster should
//! ever be told to trust it: whoever holds the process holds every identity.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::PoisonError;

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::KeyPair as _;
use aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA256;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use aws_lc_rs::signature::UnparsedPublicKey;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use rcgen::CertificateParams;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::object;
use super::object::text;
use super::object::texts;

/// The server application of AKS: what tokens are for.
pub const AUDIENCE: &str = "6dae42f8-4368-4678-94ff-3960e28e3630";

/// kubelogin's public client.
const CLIENT: &str = "80faf920-1908-4b52-b5ef-a8e7bedfc67a";

/// Seconds a person's token lasts: a working day, so that a kubeconfig written once stays good.
const LIFETIME: i64 = 12 * 3_600;

/// Group memberships that fit into a token; with more, the claim is left out (overage).
const GROUPS_IN_TOKEN: usize = 200;

/// Somebody the directory knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The user principal name, which becomes the Kubernetes user. Guests and applications have none.
    pub upn: Option<String>,
    /// The object id: the Kubernetes user where there is no UPN.
    pub oid: String,
    /// Object ids of the person's groups.
    pub groups: Vec<String>,
}

impl Person {
    /// A member called `upn`; the object id follows from the name.
    pub fn member(upn: &str, groups: &[&str]) -> Self {
        Self {
            upn: Some(upn.to_owned()),
            oid: object_id(upn),
            groups: groups.iter().map(|&group| group.to_owned()).collect(),
        }
    }

    /// The name that Kubernetes knows the person by.
    pub fn user_name(&self) -> &str {
        self.upn.as_deref().unwrap_or(&self.oid)
    }
}

/// A GUID that follows from `name`, so that a group can be named in a test and means the same everywhere.
pub fn object_id(name: &str) -> String {
    let hash = digest::digest(&digest::SHA256, name.as_bytes());
    let hex: String = hash
        .as_ref()
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!(
        "{}-{}-4{}-8{}-{}",
        part(0, 8),
        part(8, 12),
        part(13, 16),
        part(17, 20),
        part(20, 32)
    )
}

/// The issuer: one directory, one signing key.
pub struct Issuer {
    url: String,
    directory_id: String,
    key: rsa::KeyPair,
    key_id: String,
    certificate: Vec<u8>,
    /// Who was given a token, for the groups that did not fit into it.
    people: Mutex<HashMap<String, Person>>,
}

/// Why an issuer could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make the issuer's key: {0}")]
pub struct KeyError(String);

impl Issuer {
    /// An issuer that is reached at `base`, such as `https://127.0.0.1:8443`.
    ///
    /// # Errors
    /// [`KeyError`] when the cryptographic library refuses.
    pub(crate) fn new(base: &str) -> Result<Self, KeyError> {
        let failed = |error: &dyn std::fmt::Display| KeyError(error.to_string());
        let pair =
            rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048)
                .map_err(|error| failed(&error))?;
        let certificate = CertificateParams::new(Vec::new())
            .and_then(|params| params.self_signed(&pair))
            .map_err(|error| failed(&error))?;
        let key =
            rsa::KeyPair::from_pkcs8(pair.serialized_der()).map_err(|error| failed(&error))?;
        let thumbprint = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, certificate.der());
        let directory_id = object::uid();
        Ok(Self {
            url: format!("{base}/{directory_id}/"),
            directory_id,
            key,
            key_id: URL_SAFE_NO_PAD.encode(thumbprint),
            certificate: certificate.der().to_vec(),
            people: Mutex::default(),
        })
    }

    /// The `iss` of its tokens; ends in a slash, as Entra's v1.0 issuers do.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where its discovery document is.
    pub fn discovery_url(&self) -> String {
        format!("{}.well-known/openid-configuration", self.url)
    }

    /// The GUID of its directory: the `tid` of its tokens.
    pub fn directory_id(&self) -> &str {
        &self.directory_id
    }

    /// A token that proves to be `person` for the rest of the day.
    pub fn token(&self, person: &Person) -> String {
        self.mint(&self.header(), &self.claims(person))
    }

    /// The header of an ordinary token.
    pub fn header(&self) -> Value {
        json!({"typ": "JWT", "alg": "RS256", "x5t": self.key_id, "kid": self.key_id})
    }

    /// The claims of `person`'s ordinary token.
    pub fn claims(&self, person: &Person) -> Value {
        let mut people = self.people.lock().unwrap_or_else(PoisonError::into_inner);
        people.insert(person.oid.clone(), person.clone());
        drop(people);
        let now = Timestamp::now().as_second();
        let mut claims = Map::new();
        let mut claim = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        claim("aud", AUDIENCE.into());
        claim("iss", self.url.as_str().into());
        claim("iat", now.into());
        claim("nbf", now.into());
        claim("exp", (now + LIFETIME).into());
        claim("appid", CLIENT.into());
        claim("appidacr", "0".into());
        claim("scp", "user.read".into());
        claim("oid", person.oid.as_str().into());
        claim("sub", object_id(&format!("sub {}", person.oid)).into());
        claim("tid", self.directory_id.as_str().into());
        claim("uti", object::random_hex(16).into());
        claim("ver", "1.0".into());
        if let Some(upn) = &person.upn {
            claim("upn", upn.as_str().into());
            claim("unique_name", upn.as_str().into());
        }
        if person.groups.len() <= GROUPS_IN_TOKEN {
            claim("groups", json!(person.groups));
        } else {
            let retired = format!(
                "https://graph.windows.net/{}/users/{}/getMemberObjects",
                self.directory_id, person.oid
            );
            claim("_claim_names", json!({"groups": "src1"}));
            claim("_claim_sources", json!({"src1": {"endpoint": retired}}));
        }
        Value::Object(claims)
    }

    /// Signs any header and claims, also those that nobody should accept.
    pub fn mint(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        let made = self.key.sign(
            &RSA_PKCS1_SHA256,
            &SystemRandom::new(),
            signed.as_bytes(),
            &mut signature,
        );
        debug_assert!(made.is_ok(), "a 2048 bit key signs anything");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// What the API server makes of a token: the person, if this directory signed it, for this audience, and now.
    pub(crate) fn verify(&self, token: &str) -> Option<Person> {
        let (signed, signature) = token.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let public =
            UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, self.key.public_key().as_ref());
        public.verify(signed.as_bytes(), &signature).ok()?;
        let (header, claims) = signed.split_once('.')?;
        let decode = |part: &str| -> Option<Value> {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
        };
        let (header, claims) = (decode(header)?, decode(claims)?);
        let now = Timestamp::now().as_second();
        let time = |name: &str| claims.get(name).and_then(Value::as_i64);
        let for_us = text(&claims, "/aud") == AUDIENCE
            || texts(&claims, "/aud").any(|audience| audience == AUDIENCE);
        let good = text(&header, "/alg") == "RS256"
            && text(&claims, "/iss") == self.url
            && for_us
            && time("exp").is_some_and(|end| end > now)
            && time("nbf").is_none_or(|start| start <= now);
        if !good {
            return None;
        }
        let oid = text(&claims, "/oid");
        let upn = Some(text(&claims, "/upn"))
            .filter(|upn| !upn.is_empty())
            .map(str::to_owned);
        let groups = if claims.pointer("/_claim_names/groups").is_some() {
            // The directory is asked, as AKS's webhook asks Microsoft Graph.
            self.people
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get(oid)?
                .groups
                .clone()
        } else {
            texts(&claims, "/groups").map(str::to_owned).collect()
        };
        (upn.is_some() || !oid.is_empty()).then(|| Person {
            upn,
            oid: oid.to_owned(),
            groups,
        })
    }

    /// The document or key set at `path`, if there is one.
    pub(crate) fn answer(&self, path: &str) -> Option<Value> {
        let base = self.url.strip_suffix(&format!("/{}/", self.directory_id))?;
        if path == format!("/{}/.well-known/openid-configuration", self.directory_id) {
            return Some(json!({
                "issuer": self.url,
                "authorization_endpoint": format!("{}oauth2/authorize", self.url),
                "token_endpoint": format!("{}oauth2/token", self.url),
                "jwks_uri": format!("{base}/common/discovery/keys"),
                "response_types_supported": ["code", "id_token"],
                "subject_types_supported": ["pairwise"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "claims_supported": ["sub", "iss", "aud", "exp", "iat", "upn", "unique_name", "oid", "tid", "groups"],
            }));
        }
        (path == "/common/discovery/keys").then(|| {
            // Entra's keys name no `alg`.
            json!({"keys": [{
                "kty": "RSA",
                "use": "sig",
                "kid": self.key_id,
                "x5t": self.key_id,
                "n": URL_SAFE_NO_PAD.encode(self.key.public_key().modulus().big_endian_without_leading_zero()),
                "e": URL_SAFE_NO_PAD.encode(self.key.public_key().exponent().big_endian_without_leading_zero()),
                "x5c": [STANDARD.encode(&self.certificate)],
            }]})
        })
    }
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuer")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
