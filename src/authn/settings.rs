//! What authentication is configured with: nothing optional that is needed, nothing that could not be checked.
//!
//! It is made by `config` (or by [`Settings::default`]: TokenReview alone) and must never read a file or a flag itself.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;

use crate::identity::UpstreamMode;
use crate::k8s::pattern::Pattern;

/// Longest token accepted unless an issuer says otherwise. 200 groups of Entra make 12 KB, 500 about 27 KB.
pub const MAX_TOKEN_BYTES: usize = 32 * 1024;

/// How long keys serve after the last successful fetch unless an issuer says otherwise.
pub const MAX_STALE: Duration = Duration::from_secs(24 * 3600);

/// Most leeway that may be configured for `exp`. The API server has none.
pub const MAX_LEEWAY: Duration = Duration::from_secs(30);

/// The AKS server application, the audience of every AKS user token, in all clouds.
pub const AKS_SERVER: &str = "6dae42f8-4368-4678-94ff-3960e28e3630";

/// Who may prove himself, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Issuers whose tokens are verified here, without a call. May be empty.
    pub issuers: Vec<Issuer>,
    /// Whether the API server is asked about everything else.
    pub token_review: TokenReviewSetting,
}

impl Default for Settings {
    /// No issuer, TokenReview on: works on every cluster, as the incumbent has since 2022.
    fn default() -> Self {
        Self {
            issuers: Vec::new(),
            token_review: TokenReviewSetting::On {
                audiences: Vec::new(),
            },
        }
    }
}

/// Whether the API server is asked who a token belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenReviewSetting {
    /// Asked. The audiences go into `spec.audiences`; leave them empty on AKS, whose webhook knows none.
    On {
        /// One of these must come back in `status.audiences`, if any is given.
        audiences: Vec<String>,
    },
    /// Never asked: an unknown issuer is a 401, an issuer without keys a 503.
    Off,
}

/// One issuer whose tokens are verified offline.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// `jwt[0]`: its place in the configuration, its name in metrics and in complaints about it. Who somebody is never depends on it.
    pub name: Arc<str>,
    /// The exact `iss`, compared byte for byte.
    pub url: Arc<str>,
    /// Where its keys come from.
    pub keys: KeySource,
    /// PEM of further certificate authorities for that connection, beside the system's.
    pub certificate_authority: Option<Arc<str>>,
    /// A token must name one of these.
    pub audiences: Vec<String>,
    /// Algorithms a token may be signed with.
    pub algorithms: Vec<SigningAlg>,
    /// How long past `exp` a token still counts, at most [`MAX_LEEWAY`].
    pub leeway: Duration,
    /// Oldest `iat` accepted, for issuers whose tokens live for many hours.
    pub max_token_age: Option<Duration>,
    /// Longest token, in bytes.
    pub max_token_bytes: usize,
    /// How long keys serve after the last successful fetch.
    pub max_stale: Duration,
    /// Claims that must have a certain value.
    pub claim_rules: Vec<ClaimRule>,
    /// From claims to the user's name.
    pub username: UsernameRule,
    /// From a claim to groups, if any.
    pub groups: Option<GroupsRule>,
    /// The claim that becomes the uid.
    pub uid: Option<String>,
    /// Claims that become extra attributes.
    pub extra: Vec<ExtraRule>,
    /// How requests of its users go upstream.
    pub upstream: UpstreamMode,
    /// What holds for tokens of Microsoft Entra ID besides.
    pub entra: Option<EntraRules>,
}

impl Issuer {
    /// Whether what was fetched for `other` are this one's keys: all that a fetch and its answer's age depend on is the same.
    pub(super) fn shares_keys_with(&self, other: &Self) -> bool {
        let directory = |issuer: &'_ Self| issuer.entra.as_ref().map(|entra| entra.tenant.clone());
        self.url == other.url
            && self.keys == other.keys
            && self.certificate_authority == other.certificate_authority
            && self.max_stale == other.max_stale
            && directory(self) == directory(other)
    }
}

/// Where an issuer's keys come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// The discovery document at this https URL, used verbatim.
    Discovery(Uri),
    /// A JWKS file, for places without a way to the issuer.
    File(PathBuf),
}

/// Signature algorithms. `none` and HMAC are not among them, so no list can hold them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "RFC 7518's own names")]
pub enum SigningAlg {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl SigningAlg {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
    ];

    /// Its `alg` value (RFC 7518 §3.1, RFC 8037 §3.1).
    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The algorithm called `name`, if it is one of ours. Case counts, as in RFC 7515 §4.1.1.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
    }
}

/// A claim that must be there as a string with this very value (`claimValidationRules`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimRule {
    /// Its name.
    pub claim: String,
    /// Its value.
    pub required_value: String,
}

/// From claims to the user's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsernameRule {
    /// The first one present and not empty wins. `unique_name` has a rule of its own in `mapping::username`.
    pub claims: Vec<String>,
    /// Put in front of the value.
    pub prefix: String,
    /// Whether somebody chose `claims`, or a preset did.
    pub origin: Origin,
}

/// Who said it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A preset: a flag may refine it.
    Preset,
    /// The configuration file, at this place: a flag that says something else contradicts it.
    File(String),
}

/// From a claim to groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupsRule {
    /// The claim, a string or an array of strings.
    pub claim: String,
    /// Put in front of each value.
    pub prefix: String,
    /// If not empty, only these are taken, the others dropped. The only way to let a `system:` group through.
    pub allow: Vec<Pattern>,
    /// These are dropped.
    pub deny: Vec<Pattern>,
}

/// A claim that becomes an extra attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraRule {
    /// Key of the extra, lower case.
    pub key: Arc<str>,
    /// The claim, a string or an array of strings.
    pub claim: String,
}

/// What holds for tokens of one Entra directory besides the rules for every issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntraRules {
    /// The directory's id, a GUID in lower case.
    pub tenant: String,
    /// The token version this issuer's URL belongs to.
    pub version: EntraVersion,
    /// Whether application tokens (service principals, managed and workload identities) are taken. AKS takes them.
    pub app_tokens: AppTokens,
    /// If not empty, `appid` or `azp` must be one of these. Empty by default: every kubelogin mode brings another one.
    pub allowed_app_ids: Vec<String>,
    /// Scopes a delegated token must have.
    pub required_scopes: Vec<String>,
}

/// Entra's two token formats, each with its own issuer, discovery document and keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntraVersion {
    /// `https://sts.windows.net/{tid}/`, what AKS gets.
    V1,
    /// `https://login.microsoftonline.com/{tid}/v2.0`.
    V2,
}

/// Whether tokens of applications rather than people are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "two plain words")]
pub enum AppTokens {
    Accepted,
    Refused,
}

/// What `--oidc-username-claim` came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimNote {
    /// No issuer is configured: TokenReview gives the names, the flag has no effect.
    NoIssuer,
    /// The claim is mutable, the API server does not go by it: ignored for this issuer.
    Ignored {
        /// Which issuer.
        issuer: Arc<str>,
    },
}

/// A flag and the file say different things.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "--oidc-username-claim={flag} contradicts {file}, which takes {claims}: remove one of the two"
)]
pub struct Contradiction {
    /// The flag's value.
    pub flag: String,
    /// File and line.
    pub file: String,
    /// What is said there.
    pub claims: String,
}

impl Settings {
    /// Applies `--oidc-username-claim` (chart: `options.oidcUsernameClaim`).
    ///
    /// `preferred_username` is the incumbent's default there and means that nobody said anything. With the `entra`
    /// preset only `unique_name`, `upn` and `oid` are taken: any other claim can be changed by its owner.
    ///
    /// # Errors
    /// [`Contradiction`] if the file names other claims for an issuer.
    pub fn apply_username_claim(&mut self, claim: &str) -> Result<Vec<ClaimNote>, Contradiction> {
        if claim.is_empty() || claim == "preferred_username" {
            return Ok(Vec::new());
        }
        if self.issuers.is_empty() {
            return Ok(vec![ClaimNote::NoIssuer]);
        }
        let mut notes = Vec::new();
        for issuer in &mut self.issuers {
            match &issuer.username.origin {
                Origin::File(place) => {
                    if issuer.username.claims.first().map(String::as_str) != Some(claim) {
                        return Err(Contradiction {
                            flag: claim.to_owned(),
                            file: place.clone(),
                            claims: issuer.username.claims.join(", "),
                        });
                    }
                }
                Origin::Preset => match claim {
                    "unique_name" => issuer.username.claims.insert(0, claim.to_owned()),
                    "upn" => {}
                    "oid" => issuer.username.claims = vec![claim.to_owned()],
                    _ => notes.push(ClaimNote::Ignored {
                        issuer: issuer.name.clone(),
                    }),
                },
            }
        }
        Ok(notes)
    }
}
