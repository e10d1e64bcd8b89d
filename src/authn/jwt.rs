//! A signed token → its claims. Pure: no I/O and no clock, keys and time are arguments.
//!
//! Only the signature is left to `jsonwebtoken`; form, header, issuer, key choice, claims and time are checked here, since
//! the library's defaults accept tokens without `iss` or `aud`, a future `nbf`, an unknown `crit`. Before the signature
//! holds, nothing but `iss` is read of the payload, and that only to choose whose keys to try. A refusal for a token of a
//! configured issuer is final: it never goes on to TokenReview.

use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

use crate::authn::claims::Claims;
use crate::authn::entra;
use crate::authn::keys::Fingerprint;
use crate::authn::keys::KeySet;
use crate::authn::keys::MAX_KEY_ID_BYTES;
use crate::authn::refusal::Refusal;
use crate::authn::settings::AKS_SERVER;
use crate::authn::settings::Issuer;
use crate::authn::settings::SigningAlg;
use crate::authn::strict_json;

/// How far `nbf` and `iat` may lie ahead: clocks differ, and an issuer's is not ours to mistrust by minutes.
const CLOCK_SKEW: i64 = 300;

/// The last second of the year 9999. A time beyond it is no time.
const END_OF_TIME: f64 = 253_402_300_799.0;

/// What a bearer token looks like.
#[derive(Debug)]
pub enum Form<'a> {
    /// Not a JWT: only the API server can say whose it is.
    Opaque,
    /// A JWT, of which nothing has been proved.
    Jwt(Unverified<'a>),
}

/// A token whose form and header are in order. Nothing it says has been proved.
#[derive(Debug)]
pub struct Unverified<'a> {
    length: usize,
    /// Header and payload as they were signed.
    message: &'a str,
    signature: &'a str,
    payload: Vec<u8>,
    algorithm: Option<String>,
    kid: Option<String>,
    /// The header has a `nonce`, as Microsoft Graph's tokens do.
    nonce: bool,
    issuer: Option<String>,
}

impl<'a> Form<'a> {
    /// Reads the form of `token` (at most `limit` bytes) and its header.
    ///
    /// A JWT is what begins with an encoded `{`: Google's opaque tokens (`ya29.c.…`) have three parts as well. What
    /// calls itself a JWT has to be one.
    ///
    /// # Errors
    /// [`Refusal::TooLong`], [`Refusal::Malformed`], [`Refusal::Type`], [`Refusal::ProofOfPossession`], [`Refusal::Critical`].
    pub fn read(token: &'a str, limit: usize) -> Result<Self, Refusal> {
        if token.len() > limit {
            return Err(Refusal::TooLong);
        }
        if !begins_with_a_brace(token) {
            return Ok(Self::Opaque);
        }
        let Some((message, signature)) = token.rsplit_once('.') else {
            return Ok(Self::Opaque);
        };
        let Some((header, payload)) = message.split_once('.') else {
            return Ok(Self::Opaque);
        };
        // Anything more than three parts fails here: `.` is not in the alphabet. Five would be a JWE.
        let (Some(header), Some(payload), Some(_)) =
            (decode(header), decode(payload), decode(signature))
        else {
            return Err(Refusal::Malformed);
        };
        let header = strict_json::object(&header).ok_or(Refusal::Malformed)?;
        check_type(header.get("typ"))?;
        if header.contains_key("crit") {
            return Err(Refusal::Critical);
        }
        // `jku`, `jwk`, `x5u`, `x5c` say where to take a key from. They are an attacker's words and never read.
        let text = |name: &str| header.get(name).and_then(Value::as_str).map(str::to_owned);
        Ok(Self::Jwt(Unverified {
            length: token.len(),
            message,
            signature,
            issuer: peek_issuer(&payload)?,
            payload,
            algorithm: text("alg"),
            kid: text("kid"),
            nonce: header.contains_key("nonce"),
        }))
    }
}

/// base64url of `{` and any second byte is `e` and one of the last sixteen characters of the alphabet.
fn begins_with_a_brace(token: &str) -> bool {
    let mut bytes = token.bytes();
    bytes.next() == Some(b'e')
        && matches!(bytes.next(), Some(b'w'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
}

/// Unpadded base64url without stray bits in its last character, and not empty.
fn decode(part: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD
        .decode(part)
        .ok()
        .filter(|bytes| !bytes.is_empty())
}

/// Absent, `JWT` or `at+jwt` (RFC 9068 §2.1). Media types have no case.
fn check_type(typ: Option<&Value>) -> Result<(), Refusal> {
    let Some(typ) = typ else {
        return Ok(());
    };
    match typ.as_str() {
        Some(name) if name.eq_ignore_ascii_case("JWT") || name.eq_ignore_ascii_case("at+jwt") => {
            Ok(())
        }
        Some(name) if name.eq_ignore_ascii_case("pop") => Err(Refusal::ProofOfPossession),
        Some(_) | None => Err(Refusal::Type),
    }
}

/// The payload's `iss` where it is one string. A payload that is no object, or has two of them, is refused at once.
fn peek_issuer(payload: &[u8]) -> Result<Option<String>, Refusal> {
    #[derive(Deserialize)]
    struct Peek {
        iss: Option<Value>,
    }
    let peek: Peek = match serde_json::from_slice(payload) {
        Ok(peek) => peek,
        Err(_) => return Err(Refusal::Malformed),
    };
    Ok(peek.iss.and_then(|iss| iss.as_str().map(str::to_owned)))
}

impl Unverified<'_> {
    /// Whose keys to try: the `iss` it claims, if that is one string.
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// Which key it claims to be signed with.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// When it claims to end. For tokens that the API server has vouched for, and for nothing else.
    pub fn claimed_expiry(&self) -> Option<SystemTime> {
        let payload = strict_json::object(&self.payload)?;
        let seconds = whole_seconds(payload.get("exp")?)?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).ok()?))
    }
}

/// What a token proved.
#[derive(Debug)]
pub struct Verified {
    /// Its claims.
    pub claims: Claims,
    /// When it stops counting: `exp` and the configured leeway, or sooner by `maxTokenAge`.
    pub expires: SystemTime,
    /// The key that signed it, by id,
    pub kid: Arc<str>,
    /// and by material.
    pub fingerprint: Fingerprint,
}

/// Checks `token` against `issuer`, whose `iss` it claims, at the time `now`.
///
/// # Errors
/// A [`Refusal`]. All are final but [`Refusal::UnknownKey`], which may only say that `keys` are not the newest.
pub fn verify(
    token: &Unverified<'_>,
    issuer: &Issuer,
    keys: &KeySet,
    now: SystemTime,
) -> Result<Verified, Refusal> {
    if token.length > issuer.max_token_bytes {
        return Err(Refusal::TooLong);
    }
    let algorithm = token
        .algorithm
        .as_deref()
        .and_then(SigningAlg::parse)
        .ok_or(Refusal::Algorithm)?;
    if !issuer.algorithms.contains(&algorithm) {
        return Err(Refusal::Algorithm);
    }
    let kid = match token.kid() {
        Some(kid) if !kid.is_empty() && kid.len() <= MAX_KEY_ID_BYTES => kid,
        Some(_) | None => return Err(Refusal::KeyId),
    };
    if token.nonce && issuer.entra.is_some() {
        return Err(Refusal::ForGraph);
    }
    let fingerprint = check_signature(token, algorithm, kid, keys)?;

    let claims = Claims::read(&token.payload).ok_or(Refusal::Claims)?;
    if claims.text("iss")? != Some(&*issuer.url) {
        return Err(Refusal::Claims);
    }
    check_audience(&claims, issuer)?;
    let expires = check_time(&claims, issuer, now)?;
    if let Some(rules) = &issuer.entra {
        entra::check(&claims, issuer, rules)?;
    }
    for rule in &issuer.claim_rules {
        if claims.text(&rule.claim)? != Some(&rule.required_value) {
            return Err(Refusal::ClaimRule);
        }
    }
    Ok(Verified {
        claims,
        expires,
        kid: kid.into(),
        fingerprint,
    })
}

/// All keys called `kid` that may be used with `algorithm` are tried.
fn check_signature(
    token: &Unverified<'_>,
    algorithm: SigningAlg,
    kid: &str,
    keys: &KeySet,
) -> Result<Fingerprint, Refusal> {
    let candidates = keys.find(kid);
    if candidates.is_empty() {
        return Err(Refusal::UnknownKey);
    }
    let mut refusal = Refusal::UnsuitableKey;
    for key in candidates
        .iter()
        .filter(|key| key.algorithms.contains(&algorithm))
    {
        let message = token.message.as_bytes();
        match jsonwebtoken::crypto::verify(
            token.signature,
            message,
            &key.decoding,
            library_name(algorithm),
        ) {
            Ok(true) => return Ok(key.fingerprint),
            Ok(false) | Err(_) => refusal = Refusal::Signature,
        }
    }
    Err(refusal)
}

fn library_name(algorithm: SigningAlg) -> jsonwebtoken::Algorithm {
    match algorithm {
        SigningAlg::Rs256 => jsonwebtoken::Algorithm::RS256,
        SigningAlg::Rs384 => jsonwebtoken::Algorithm::RS384,
        SigningAlg::Rs512 => jsonwebtoken::Algorithm::RS512,
        SigningAlg::Ps256 => jsonwebtoken::Algorithm::PS256,
        SigningAlg::Ps384 => jsonwebtoken::Algorithm::PS384,
        SigningAlg::Ps512 => jsonwebtoken::Algorithm::PS512,
        SigningAlg::Es256 => jsonwebtoken::Algorithm::ES256,
        SigningAlg::Es384 => jsonwebtoken::Algorithm::ES384,
        SigningAlg::EdDsa => jsonwebtoken::Algorithm::EdDSA,
    }
}

/// `aud` is a string or an array of strings (RFC 7519 §4.1.3); one of them must be ours.
fn check_audience(claims: &Claims, issuer: &Issuer) -> Result<(), Refusal> {
    let audiences = claims.texts("aud")?.ok_or(Refusal::Claims)?;
    if audiences
        .iter()
        .any(|audience| issuer.audiences.iter().any(|ours| ours == audience))
    {
        Ok(())
    } else if issuer.audiences.iter().any(|ours| ours == AKS_SERVER) {
        Err(Refusal::AudienceNotAks)
    } else {
        Err(Refusal::Audience)
    }
}

/// `exp` by the configured leeway only, as strictly as the API server; `nbf` and `iat` by [`CLOCK_SKEW`].
fn check_time(claims: &Claims, issuer: &Issuer, now: SystemTime) -> Result<SystemTime, Refusal> {
    let now = match now.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        // A clock before 1970 cannot say that anything is valid.
        Err(_) => return Err(Refusal::NotYetValid),
    };
    let time = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(value) => whole_seconds(value).ok_or(Refusal::Claims).map(Some),
    };
    let (exp, nbf, iat) = (
        time("exp")?.ok_or(Refusal::Claims)?,
        time("nbf")?,
        time("iat")?,
    );
    if nbf.is_none() && issuer.entra.is_some() {
        return Err(Refusal::Claims);
    }
    let mut end = exp.saturating_add(seconds(issuer.leeway));
    if end <= now {
        return Err(Refusal::Expired);
    }
    let soon = now.saturating_add(CLOCK_SKEW);
    if nbf.is_some_and(|nbf| nbf > soon) || iat.is_some_and(|iat| iat > soon) {
        return Err(Refusal::NotYetValid);
    }
    if let Some(age) = issuer.max_token_age {
        end = end.min(iat.ok_or(Refusal::Claims)?.saturating_add(seconds(age)));
        if end <= now {
            return Err(Refusal::TooOld);
        }
    }
    let end = Duration::from_secs(u64::try_from(end).unwrap_or(0));
    SystemTime::UNIX_EPOCH
        .checked_add(end)
        .ok_or(Refusal::Claims)
}

fn seconds(span: Duration) -> i64 {
    i64::try_from(span.as_secs()).unwrap_or(i64::MAX)
}

/// A NumericDate (RFC 7519 §2): a number, possibly with a fraction, which is cut. Negative or absurd ones are none.
#[expect(
    clippy::cast_possible_truncation,
    reason = "checked to lie between 0 and END_OF_TIME"
)]
fn whole_seconds(value: &Value) -> Option<i64> {
    let number = value.as_number()?;
    match number.as_i64() {
        Some(seconds) => (0..=END_OF_TIME as i64)
            .contains(&seconds)
            .then_some(seconds),
        None => {
            let seconds = number.as_f64()?;
            (0.0..=END_OF_TIME)
                .contains(&seconds)
                .then_some(seconds as i64)
        }
    }
}

#[cfg(test)]
mod tests;
