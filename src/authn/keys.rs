//! JWKS documents (RFC 7517) → the keys a token may be signed with.
//!
//! Pure. One unusable key is skipped, never the set; a set without a usable key is an error, never "no keys". A key that
//! is not a signature key of a known family cannot get in: no symmetric key ever becomes a verification key.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use serde_json::Value;

use crate::authn::settings::SigningAlg;

/// Most keys in one set. Entra's have about ten; the cap bounds the work of one fetch.
pub const MAX_KEYS: usize = 100;

/// Longest `kid` worth remembering. Entra's have 27 bytes.
pub const MAX_KEY_ID_BYTES: usize = 256;

/// RSA keys below this are not secure, above the other not supported by aws-lc (`RSA_PKCS1_2048_8192`).
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The keys of one issuer at one moment.
#[derive(Debug, Default)]
pub struct KeySet {
    by_id: HashMap<Arc<str>, Vec<Key>>,
}

/// One public key.
#[derive(Debug)]
pub struct Key {
    /// For `jsonwebtoken`.
    pub(super) decoding: DecodingKey,
    /// What it may verify: its kind, its curve, its own `alg` if it has one.
    pub(super) algorithms: Vec<SigningAlg>,
    /// Tells it from another key of the same `kid`.
    pub fingerprint: Fingerprint,
}

/// SHA-256 of a key's material: an identity is remembered together with the very key that proved it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "Fingerprint({a:02x}{b:02x}{c:02x}{d:02x}…)")
    }
}

/// Whose keys are wanted out of a set that may hold others' as well: Entra's v2.0 set serves all its clouds.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// The configured issuer. A key that names another one is not his.
    pub issuer: &'a str,
    /// The Entra directory, put in for `{tenantid}` in a key's issuer.
    pub tenant: Option<&'a str>,
    /// `cloud_instance_name` of the discovery document. A key that names another one is not his.
    pub cloud: Option<&'a str>,
}

/// Why a set as a whole is no use. The keys in force stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// Not a JSON object with an array `keys`.
    #[error("is no JSON Web Key Set")]
    Malformed,
    /// A set this large is a mistake or an attack.
    #[error("has more than {MAX_KEYS} keys")]
    TooMany,
    /// Nothing in it could verify a token. "No keys" would log everybody out.
    #[error("has no usable signature key")]
    Empty,
}

#[derive(Deserialize)]
struct RawSet {
    keys: Vec<Value>,
}

/// The members we read. Everything else, `x5c` and `x5t` included, is ignored: a key is trusted for where it came from.
#[derive(Deserialize)]
struct RawKey {
    kty: String,
    kid: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    n: Option<String>,
    e: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    issuer: Option<String>,
    cloud_instance_name: Option<String>,
}

impl KeySet {
    /// The owner's usable keys in the document `jwks`.
    ///
    /// # Errors
    /// [`KeySetError`]: unreadable, too many keys, or none usable.
    pub fn parse(jwks: &[u8], owner: Owner<'_>) -> Result<Self, KeySetError> {
        let raw: RawSet = match serde_json::from_slice(jwks) {
            Ok(raw) => raw,
            Err(_) => return Err(KeySetError::Malformed),
        };
        if raw.keys.len() > MAX_KEYS {
            return Err(KeySetError::TooMany);
        }
        let mut set = Self::default();
        for (id, key) in raw
            .keys
            .into_iter()
            .filter_map(|value| usable(value, owner))
        {
            set.by_id.entry(id).or_default().push(key);
        }
        if set.by_id.is_empty() {
            return Err(KeySetError::Empty);
        }
        Ok(set)
    }

    /// All keys called `kid`: several may be, and all are tried.
    pub fn find(&self, kid: &str) -> &[Key] {
        self.by_id.get(kid).map_or(&[], Vec::as_slice)
    }

    /// Whether the very key is still here.
    pub fn holds(&self, kid: &str, fingerprint: Fingerprint) -> bool {
        self.find(kid)
            .iter()
            .any(|key| key.fingerprint == fingerprint)
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.by_id.values().map(Vec::len).sum()
    }

    /// Whether there is none. A parsed set never is.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}

/// A key and its id, if it may verify tokens of `owner`.
fn usable(value: Value, owner: Owner<'_>) -> Option<(Arc<str>, Key)> {
    let raw: RawKey = serde_json::from_value(value).ok()?;
    if raw.kid.is_empty() || raw.kid.len() > MAX_KEY_ID_BYTES {
        return None;
    }
    if raw.usage.as_deref().is_some_and(|usage| usage != "sig") {
        return None;
    }
    if raw
        .key_ops
        .as_ref()
        .is_some_and(|ops| !ops.iter().any(|op| op == "verify"))
    {
        return None;
    }
    if !is_owners(&raw, owner) {
        return None;
    }
    let (decoding, mut algorithms, material) = match raw.kty.as_str() {
        "RSA" => rsa(&raw)?,
        "EC" => elliptic(&raw)?,
        "OKP" => edwards(&raw)?,
        // `oct` above all: an HMAC key out of a public document would let anybody sign.
        _ => return None,
    };
    if let Some(alg) = &raw.alg {
        algorithms.retain(|algorithm| algorithm.name() == alg);
    }
    if algorithms.is_empty() {
        return None;
    }
    let mut fingerprint = [0; 32];
    fingerprint
        .copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &material).as_ref());
    let key = Key {
        decoding,
        algorithms,
        fingerprint: Fingerprint(fingerprint),
    };
    Some((raw.kid.into(), key))
}

/// Entra's v2.0 keys name their issuer, as a template, and some their cloud. Who names another owner is not ours.
fn is_owners(raw: &RawKey, owner: Owner<'_>) -> bool {
    let issuer = match (&raw.issuer, owner.tenant) {
        (None, _) => true,
        (Some(named), Some(tenant)) => named.replace("{tenantid}", tenant) == owner.issuer,
        (Some(named), None) => named == owner.issuer,
    };
    let cloud = match (&raw.cloud_instance_name, owner.cloud) {
        (Some(named), Some(cloud)) => named == cloud,
        (None, _) | (_, None) => true,
    };
    issuer && cloud
}

type Material = (DecodingKey, Vec<SigningAlg>, Vec<u8>);

fn rsa(raw: &RawKey) -> Option<Material> {
    let modulus = decode(raw.n.as_deref()?)?;
    let exponent = decode(raw.e.as_deref()?)?;
    let digits = modulus.iter().skip_while(|byte| **byte == 0);
    let top = digits.clone().next()?;
    let bits = digits.count() * 8 - usize::try_from(top.leading_zeros()).ok()?;
    if !RSA_BITS.contains(&bits) {
        return None;
    }
    let key = DecodingKey::from_rsa_raw_components(&modulus, &exponent);
    let algorithms = vec![
        SigningAlg::Rs256,
        SigningAlg::Rs384,
        SigningAlg::Rs512,
        SigningAlg::Ps256,
        SigningAlg::Ps384,
        SigningAlg::Ps512,
    ];
    Some((
        key,
        algorithms,
        [b"RSA", modulus.as_slice(), b"/", exponent.as_slice()].concat(),
    ))
}

fn elliptic(raw: &RawKey) -> Option<Material> {
    // One curve per algorithm (RFC 7518 §3.4); coordinates have the curve's full length (§6.2.1.2).
    let (algorithm, bytes) = match raw.crv.as_deref()? {
        "P-256" => (SigningAlg::Es256, 32),
        "P-384" => (SigningAlg::Es384, 48),
        _ => return None,
    };
    let (x, y) = (raw.x.as_deref()?, raw.y.as_deref()?);
    let material = [decode(x)?, decode(y)?];
    if material.iter().any(|coordinate| coordinate.len() != bytes) {
        return None;
    }
    let key = DecodingKey::from_ec_components(x, y).ok()?;
    Some((
        key,
        vec![algorithm],
        [b"EC ".as_slice(), &material.concat()].concat(),
    ))
}

fn edwards(raw: &RawKey) -> Option<Material> {
    if raw.crv.as_deref()? != "Ed25519" {
        return None;
    }
    let x = raw.x.as_deref()?;
    let material = decode(x)?;
    if material.len() != 32 {
        return None;
    }
    let key = DecodingKey::from_ed_components(x).ok()?;
    Some((
        key,
        vec![SigningAlg::EdDsa],
        [b"OKP".as_slice(), &material].concat(),
    ))
}

fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::authn::testing;

    const OWNER: Owner<'_> = Owner {
        issuer: "https://login.example/t1/v2.0",
        tenant: Some("t1"),
        cloud: Some("example"),
    };

    fn ids(keys: Value) -> Result<Vec<String>, KeySetError> {
        let set = KeySet::parse(json!({ "keys": keys }).to_string().as_bytes(), OWNER)?;
        let mut ids: Vec<String> = set.by_id.keys().map(|id| id.to_string()).collect();
        ids.sort();
        Ok(ids)
    }

    fn with(mut key: Value, name: &str, value: Value) -> Value {
        key[name] = value;
        key
    }

    #[test]
    fn an_unusable_key_skips_that_key_and_not_the_set() {
        let good = testing::rsa("good").jwk();
        let odd =
            |name: &str, value: Value| with(with(good.clone(), "kid", json!("odd")), name, value);
        for (case, key, kept) in [
            ("use sig", odd("use", json!("sig")), true),
            ("use enc", odd("use", json!("enc")), false),
            ("key_ops verify", odd("key_ops", json!(["verify"])), true),
            ("key_ops encrypt", odd("key_ops", json!(["encrypt"])), false),
            ("alg RS256", odd("alg", json!("RS256")), true),
            ("alg of another family", odd("alg", json!("ES256")), false),
            ("alg HS256", odd("alg", json!("HS256")), false),
            ("unknown kty", odd("kty", json!("LWE")), false),
            (
                "oct",
                json!({"kty": "oct", "kid": "odd", "k": "c2VjcmV0"}),
                false,
            ),
            ("no kid", odd("kid", json!(null)), false),
            ("empty kid", odd("kid", json!("")), false),
            (
                "kid too long",
                odd("kid", json!("k".repeat(MAX_KEY_ID_BYTES + 1))),
                false,
            ),
            ("modulus no base64url", odd("n", json!("+/")), false),
            (
                "modulus of 1024 bits",
                odd("n", json!(testing::base64url(&[0x80; 128]))),
                false,
            ),
            (
                "modulus of 1024 bits behind zeros",
                odd(
                    "n",
                    json!(testing::base64url(
                        &[vec![0; 128], vec![0x80; 128]].concat()
                    )),
                ),
                false,
            ),
            (
                "modulus of 2047 bits",
                odd("n", json!(testing::base64url(&[0x7f; 256]))),
                false,
            ),
            (
                "modulus of 16384 bits",
                odd("n", json!(testing::base64url(&[0x80; 2048]))),
                false,
            ),
            ("not an object", json!("odd"), false),
            (
                "template issuer",
                odd("issuer", json!("https://login.example/{tenantid}/v2.0")),
                true,
            ),
            (
                "own issuer",
                odd("issuer", json!("https://login.example/t1/v2.0")),
                true,
            ),
            (
                "other issuer",
                odd("issuer", json!("https://login.example/t2/v2.0")),
                false,
            ),
            (
                "own cloud",
                odd("cloud_instance_name", json!("example")),
                true,
            ),
            (
                "other cloud",
                odd("cloud_instance_name", json!("example.us")),
                false,
            ),
            (
                "P-256",
                with(testing::ec("odd").jwk(), "kid", json!("odd")),
                true,
            ),
            (
                "P-256 called P-384",
                with(testing::ec("odd").jwk(), "crv", json!("P-384")),
                false,
            ),
            (
                "secp256k1",
                with(testing::ec("odd").jwk(), "crv", json!("secp256k1")),
                false,
            ),
        ] {
            let expected: &[&str] = if kept { &["good", "odd"] } else { &["good"] };
            assert_eq!(ids(json!([good, key])).unwrap(), expected, "{case}");
        }
    }

    #[test]
    fn a_set_that_is_no_use_is_an_error_and_not_an_empty_set() {
        let key = testing::rsa("k").jwk();
        assert_eq!(ids(json!([])), Err(KeySetError::Empty));
        assert_eq!(ids(json!([{"kty": "oct"}])), Err(KeySetError::Empty));
        assert_eq!(ids(json!({})), Err(KeySetError::Malformed));
        assert_eq!(
            ids(Value::Array(vec![key; MAX_KEYS + 1])),
            Err(KeySetError::TooMany)
        );
        for text in ["", "[]", "{}", "<html>", "{\"keys\":[}"] {
            assert!(
                matches!(
                    KeySet::parse(text.as_bytes(), OWNER),
                    Err(KeySetError::Malformed)
                ),
                "{text}"
            );
        }
    }

    #[test]
    fn several_keys_of_one_id_are_all_kept() {
        let set = json!({"keys": [testing::rsa("twin").jwk(), testing::ec("twin").jwk()]});
        let set = KeySet::parse(set.to_string().as_bytes(), OWNER).unwrap();
        assert_eq!(set.find("twin").len(), 2);
        assert_eq!(set.len(), 2);
        let [first, second] = set.find("twin") else {
            panic!()
        };
        assert_ne!(first.fingerprint, second.fingerprint);
        assert!(set.holds("twin", second.fingerprint));
        assert!(!set.holds("other", second.fingerprint));
    }
}
