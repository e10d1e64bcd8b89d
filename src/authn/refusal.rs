//! Why a credential is refused, and what the caller is told: one variant, one counter label and one sentence per rule.
//!
//! Sentences are fixed. A claim's value, a key's name or a host never stands in one.

use http::HeaderValue;
use http::StatusCode;

use crate::k8s::status::Reason;
use crate::k8s::status::Status;

/// Why a presented credential is refused: 401, "bring another one".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// An `Authorization` header of another kind than `Bearer`.
    Scheme,
    /// Not a token: bad alphabet, empty part, encrypted (five parts), unreadable header or payload.
    Malformed,
    /// In a WebSocket subprotocol with no other beside it, which the API server asks for.
    LoneSubprotocol,
    /// More bytes than the issuer's limit.
    TooLong,
    /// A `typ` that is not an access or ID token's.
    Type,
    /// A proof-of-possession token (`typ: pop`).
    ProofOfPossession,
    /// A `crit` header: it names extensions that must be understood, and none is.
    Critical,
    /// An `alg` that the issuer is not configured for.
    Algorithm,
    /// No `kid`, or an absurd one.
    KeyId,
    /// An issuer nobody here knows, or an opaque token, with TokenReview off.
    UnknownIssuer,
    /// No key of that `kid` in a set fetched after the token came.
    UnknownKey,
    /// A key of that `kid` is there but not for that `alg`.
    UnsuitableKey,
    /// The signature does not hold.
    Signature,
    /// Microsoft Graph's own tokens (`nonce` in the header): no third party can verify them.
    ForGraph,
    /// A claim is missing, stands twice, has the wrong type, or differs from one we read only by case.
    Claims,
    /// Meant for another API.
    Audience,
    /// Meant for another API than AKS.
    AudienceNotAks,
    /// Past `exp`.
    Expired,
    /// Older than `maxTokenAge`.
    TooOld,
    /// Before `nbf`, or issued in the future.
    NotYetValid,
    /// Of another Entra directory, or of another token version.
    Directory,
    /// An application's token where only people are let in, or an application or scope not listed.
    Application,
    /// A `claimValidationRules` entry does not hold.
    ClaimRule,
    /// The claims make no name that may be used: empty, `system:`, unprintable, too many groups.
    Identity,
    /// The API server does not know the token.
    NotAuthenticated,
    /// The API server's answer contradicts itself, or names nobody, or another audience (CVE-2023-48312).
    ReviewUnusable,
}

impl Refusal {
    /// Label of its counter.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Scheme => "scheme",
            Self::Malformed | Self::LoneSubprotocol | Self::TooLong => "malformed",
            Self::Type | Self::ProofOfPossession => "typ",
            Self::Critical => "crit",
            Self::Algorithm => "alg",
            Self::KeyId => "kid",
            Self::UnknownIssuer => "issuer",
            Self::UnknownKey | Self::UnsuitableKey => "key",
            Self::Signature => "signature",
            Self::Claims | Self::Application | Self::ClaimRule => "claims",
            Self::ForGraph | Self::Audience | Self::AudienceNotAks => "audience",
            Self::Expired | Self::TooOld => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Directory => "directory",
            Self::Identity => "identity",
            Self::NotAuthenticated => "review",
            Self::ReviewUnusable => "review_unusable",
        }
    }

    /// What the caller is told. No double quote and no backslash in it: it also stands in a `Warning` header.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Scheme => "only bearer tokens are accepted in the Authorization header",
            Self::Malformed => "the bearer token is not readable; log in again",
            Self::LoneSubprotocol => {
                "a token in a WebSocket subprotocol needs another subprotocol beside it"
            }
            Self::TooLong => {
                "the bearer token is too long; ask the administrator to raise maxTokenBytes"
            }
            Self::Type => "the token is of a type that is not accepted; an access token is needed",
            Self::ProofOfPossession => {
                "proof-of-possession tokens are not supported; use bearer mode"
            }
            Self::Critical => "the token demands extensions (crit) that are not supported",
            Self::Algorithm => {
                "the token is signed with an algorithm that is not accepted from its issuer"
            }
            Self::KeyId => "the token does not say which key signed it (kid)",
            Self::UnknownIssuer => {
                "the token's issuer is not known here; check which identity provider this cluster uses"
            }
            Self::UnknownKey => {
                "the token is signed with a key its issuer does not have (any more); log in again"
            }
            Self::UnsuitableKey => "the token's key does not fit its algorithm",
            Self::Signature => "the token's signature is wrong; log in again",
            Self::ForGraph => concat!(
                "the token is meant for Microsoft Graph; ask for one for AKS ",
                "(kubelogin --server-id 6dae42f8-4368-4678-94ff-3960e28e3630)"
            ),
            Self::Claims => "the token lacks a claim that is needed, or has a malformed one",
            Self::Audience => "the token is meant for another API; ask for one for this cluster",
            Self::AudienceNotAks => concat!(
                "the token is meant for another API; ask for one for AKS ",
                "(kubelogin --server-id 6dae42f8-4368-4678-94ff-3960e28e3630)"
            ),
            Self::Expired => "the token has expired; log in again",
            Self::TooOld => "the token is older than accepted here; log in again",
            Self::NotYetValid => {
                "the token is not valid yet; compare the clocks of this cluster and of the identity provider"
            }
            Self::Directory => {
                "the token is of another Entra directory or version than this cluster accepts"
            }
            Self::Application => {
                "tokens of this application, or without the needed scope, are not accepted"
            }
            Self::ClaimRule => "the token does not fulfil a claim validation rule of this cluster",
            Self::Identity => "the token's claims make no user or group name that may be used here",
            Self::NotAuthenticated => "the API server does not accept the token; log in again",
            Self::ReviewUnusable => "the API server's answer about the token could not be used",
        }
    }
}

/// Why a request has no identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.sentence())]
pub enum Failure {
    /// No credential. Nothing goes upstream.
    Missing,
    /// Two credentials: which one was judged would depend on who reads the request.
    Conflict,
    /// A credential that is not good. Never a reason to try another kind.
    Rejected(Refusal),
    /// Nobody can say now. Never a 401: kubectl would log in again.
    Unavailable(Unavailable),
}

/// Who cannot say now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// The issuer's keys have not been fetched yet, or are too old to be trusted.
    Keys,
    /// The token's key is unknown and the issuer could not be asked for it just now.
    KeyRefresh,
    /// Too many unknown keys were asked for lately; this one has to wait.
    KeyBudget,
    /// The API server did not answer a TokenReview.
    Review,
    /// Too many TokenReviews at once.
    ReviewLimit,
    /// Too many failed TokenReviews from this address lately.
    ReviewBudget,
}

impl Unavailable {
    fn reason(self) -> &'static str {
        match self {
            Self::Keys => "keys_unavailable",
            Self::KeyRefresh => "key_refresh_unavailable",
            Self::KeyBudget => "key_budget",
            Self::Review => "review_unavailable",
            Self::ReviewLimit => "review_limit",
            Self::ReviewBudget => "review_budget",
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            Self::Keys | Self::KeyRefresh => {
                "the identity provider's keys are not available at the moment; your login is not at fault, try again"
            }
            Self::KeyBudget => {
                "the token's key is not known yet; your login is not at fault, try again"
            }
            Self::Review => {
                "the API server cannot be asked about the token at the moment; try again"
            }
            Self::ReviewLimit => "too many tokens are being checked at the moment; try again",
            Self::ReviewBudget => "too many tokens from this address were refused; try again",
        }
    }

    /// Seconds. kubectl waits and repeats up to ten times by itself.
    fn retry_after(self) -> u32 {
        match self {
            Self::Keys
            | Self::KeyRefresh
            | Self::Review
            | Self::ReviewLimit
            | Self::ReviewBudget => 1,
            // The budget refills in minutes; asking every second would not help anybody.
            Self::KeyBudget => 10,
        }
    }
}

impl Failure {
    /// Label of its counter.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Conflict => "conflict",
            Self::Rejected(refusal) => refusal.reason(),
            Self::Unavailable(why) => why.reason(),
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            Self::Missing => "no credential was sent; a bearer token is needed",
            Self::Conflict => "the request carries more than one credential",
            Self::Rejected(refusal) => refusal.sentence(),
            Self::Unavailable(why) => why.sentence(),
        }
    }

    /// The complete answer. Nothing has gone upstream.
    pub fn status(self) -> Status {
        let (code, reason, retry_after) = match self {
            Self::Missing | Self::Rejected(_) => {
                (StatusCode::UNAUTHORIZED, Reason::Unauthorized, None)
            }
            Self::Conflict => (StatusCode::BAD_REQUEST, Reason::BadRequest, None),
            Self::Unavailable(why) => (
                StatusCode::SERVICE_UNAVAILABLE,
                Reason::ServiceUnavailable,
                Some(why.retry_after()),
            ),
        };
        Status {
            code,
            reason,
            message: self.sentence().to_owned(),
            retry_after,
        }
    }

    /// The sentence as a `Warning` header (RFC 7234 §5.5): kubectl drops the body of a 401 that it gets during
    /// discovery, but prints this.
    pub fn warning(self) -> HeaderValue {
        let text = format!("299 - \"{}\"", self.sentence());
        HeaderValue::from_str(&text)
            .unwrap_or(HeaderValue::from_static("299 - \"not authenticated\""))
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Rejected(refusal)
    }
}

impl From<Unavailable> for Failure {
    fn from(why: Unavailable) -> Self {
        Self::Unavailable(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::settings::AKS_SERVER;

    #[test]
    fn a_refused_credential_is_a_401_and_an_absent_judge_a_503() {
        let answer = |failure: Failure| {
            (
                failure.status().code.as_u16(),
                failure.status().retry_after.is_some(),
            )
        };
        assert_eq!(answer(Failure::Missing), (401, false));
        assert_eq!(answer(Failure::Conflict), (400, false));
        assert_eq!(answer(Refusal::Expired.into()), (401, false));
        assert_eq!(answer(Unavailable::Keys.into()), (503, true));
        assert_eq!(answer(Unavailable::KeyBudget.into()), (503, true));
    }

    #[test]
    fn the_warning_repeats_the_sentence() {
        let failure = Failure::from(Refusal::ProofOfPossession);
        assert_eq!(
            failure.warning(),
            "299 - \"proof-of-possession tokens are not supported; use bearer mode\""
        );
        assert!(failure.status().message.contains("use bearer mode"));
    }

    #[test]
    fn sentences_name_the_application_that_settings_name() {
        for refusal in [Refusal::AudienceNotAks, Refusal::ForGraph] {
            assert!(refusal.sentence().contains(AKS_SERVER));
        }
    }
}
