//! Keys, tokens, issuers for tests.

pub(crate) mod server;

use std::sync::LazyLock;
use std::time::Duration;
use std::time::SystemTime;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::encoding::Pkcs8V1Der;
use aws_lc_rs::rsa::KeySize;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use jsonwebtoken::EncodingKey;
use jsonwebtoken::jwk::Jwk;
use serde_json::Value;
use serde_json::json;

use crate::authn::settings;
use crate::authn::settings::AppTokens;
use crate::authn::settings::EntraRules;
use crate::authn::settings::EntraVersion;
use crate::authn::settings::ExtraRule;
use crate::authn::settings::GroupsRule;
use crate::authn::settings::Issuer;
use crate::authn::settings::KeySource;
use crate::authn::settings::Origin;
use crate::authn::settings::SigningAlg;
use crate::authn::settings::UsernameRule;
use crate::identity::UpstreamMode;
use crate::k8s::pattern::Pattern;

/// The directory of the tests.
pub(crate) const TENANT: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";

/// "Now" in the tests.
pub(crate) const NOW: u64 = 1_900_000_000;

pub(crate) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOW)
}

pub(crate) fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A key pair called `kid`.
#[derive(Clone)]
pub(crate) struct KeyPair {
    pub(crate) kid: String,
    pub(crate) private: EncodingKey,
    pub(crate) algorithm: Algorithm,
}

/// RSA keys are slow to make, so all tests share this one; tests that need two take an EC key besides.
static RSA: LazyLock<EncodingKey> = LazyLock::new(|| {
    let pair = aws_lc_rs::rsa::KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    EncodingKey::from_rsa_pem(pem("PRIVATE KEY", der.as_ref()).as_bytes()).unwrap()
});

pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

/// The shared RSA key under the name `kid`.
pub(crate) fn rsa(kid: &str) -> KeyPair {
    KeyPair {
        kid: kid.to_owned(),
        private: RSA.clone(),
        algorithm: Algorithm::RS256,
    }
}

/// A new P-256 key.
pub(crate) fn ec(kid: &str) -> KeyPair {
    let random = aws_lc_rs::rand::SystemRandom::new();
    let kind = &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
    let pair = aws_lc_rs::signature::EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
    KeyPair {
        kid: kid.to_owned(),
        private: EncodingKey::from_ec_der(pair.as_ref()),
        algorithm: Algorithm::ES256,
    }
}

impl KeyPair {
    /// The public key in Entra's shape: `use` and `kid`, no `alg`.
    pub(crate) fn jwk(&self) -> Value {
        let jwk = Jwk::from_encoding_key(&self.private, self.algorithm).unwrap();
        let mut jwk = serde_json::to_value(jwk).unwrap();
        let members = jwk.as_object_mut().unwrap();
        members.remove("alg");
        members.insert("kid".to_owned(), json!(self.kid));
        members.insert("use".to_owned(), json!("sig"));
        jwk
    }

    pub(crate) fn header(&self) -> Value {
        json!({"typ": "JWT", "alg": format!("{:?}", self.algorithm), "kid": self.kid})
    }

    /// A token of these claims.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_texts(&self.header().to_string(), &claims.to_string())
    }

    /// A token whose header and payload are these very texts.
    pub(crate) fn sign_texts(&self, header: &str, payload: &str) -> String {
        let message = format!(
            "{}.{}",
            base64url(header.as_bytes()),
            base64url(payload.as_bytes())
        );
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &self.private, self.algorithm).unwrap();
        format!("{message}.{signature}")
    }
}

/// A JWKS of these keys.
pub(crate) fn jwks(keys: &[&KeyPair]) -> Value {
    json!({"keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()})
}

/// What the `entra` preset makes of [`TENANT`], with EC keys allowed besides, which tests make quickly.
pub(crate) fn issuer() -> Issuer {
    Issuer {
        name: "jwt[0]".into(),
        url: format!("https://sts.windows.net/{TENANT}/").into(),
        keys: KeySource::File("/nonexistent".into()),
        certificate_authority: None,
        audiences: vec![settings::AKS_SERVER.to_owned()],
        algorithms: vec![SigningAlg::Rs256, SigningAlg::Es256],
        leeway: Duration::ZERO,
        max_token_age: None,
        max_token_bytes: settings::MAX_TOKEN_BYTES,
        max_stale: settings::MAX_STALE,
        claim_rules: Vec::new(),
        username: UsernameRule {
            claims: vec!["upn".to_owned(), "oid".to_owned()],
            prefix: String::new(),
            origin: Origin::Preset,
        },
        groups: Some(GroupsRule {
            claim: "groups".to_owned(),
            prefix: String::new(),
            allow: Vec::new(),
            deny: vec![Pattern::new("nobody-*")],
        }),
        uid: None,
        extra: vec![ExtraRule {
            key: "oid".into(),
            claim: "oid".to_owned(),
        }],
        upstream: UpstreamMode::Token,
        entra: Some(EntraRules {
            tenant: TENANT.to_owned(),
            version: EntraVersion::V1,
            app_tokens: AppTokens::Accepted,
            allowed_app_ids: Vec::new(),
            required_scopes: Vec::new(),
        }),
    }
}

/// A member's claims as AKS gets them, ending an hour from `now`.
pub(crate) fn claims_at(user: &str, now: u64) -> Value {
    json!({
        "iss": format!("https://sts.windows.net/{TENANT}/"),
        "aud": settings::AKS_SERVER,
        "exp": now + 3_600, "nbf": now - 60, "iat": now - 60,
        "tid": TENANT, "ver": "1.0",
        "oid": "11111111-2222-3333-4444-555555555555",
        "upn": format!("{user}@oil.example"), "unique_name": format!("{user}@oil.example"),
        "appid": "80faf920-1908-4b52-b5ef-a8e7bedfc67a", "scp": "user.read",
        "groups": ["aaaaaaaa-0000-0000-0000-000000000001"],
    })
}

/// The same at [`NOW`].
pub(crate) fn claims(user: &str) -> Value {
    claims_at(user, NOW)
}
