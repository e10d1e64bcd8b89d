//! Asks the API server whose a token is (TokenReview).
//!
//! It runs the API server's own authenticators, a cloud's webhook included, so its word may be taken for what the API
//! server itself will make of the token. It must never believe an answer that is not `authenticated`, has an error, or
//! names nobody (CVE-2023-48312), and strangers must never use up what those need who are known.

use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use http::HeaderValue;
use http::Method;
use http::Request;
use http::StatusCode;
use http::Uri;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt;
use http_body_util::Limited;
use k8s_openapi::api::authentication::v1::TokenReview;
use k8s_openapi::api::authentication::v1::TokenReviewSpec;
use k8s_openapi::api::authentication::v1::TokenReviewStatus;
use kube::Client;
use moka::sync::Cache as Moka;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::authn::budget::Budget;
use crate::authn::cache::TokenKey;
use crate::authn::counters::Outcomes;
use crate::authn::mapping;
use crate::authn::mapping::Person;
use crate::authn::refusal::Failure;
use crate::authn::refusal::Refusal;
use crate::authn::refusal::Unavailable;
use crate::authn::single_flight::SingleFlight;
use crate::body::BoxError;

/// How reviews are bounded.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For one answer, waiting for a place included, which may take half of it. It lies around kube's own retries of 429,
    /// 503, 504, which may take minutes.
    pub timeout: Duration,
    /// Reviews at once, for tokens the API server has accepted before and for all others each.
    pub at_once: usize,
    /// Refused tokens from one address that are reviewed at once,
    pub failures: u32,
    /// and one more per this time.
    pub failure_every: Duration,
}

impl Limits {
    /// 60 refused tokens are a team whose logins all ran out over the weekend; two a second are no load for an API server.
    pub const DEFAULT: Self = Self {
        timeout: Duration::from_secs(5),
        at_once: 32,
        failures: 60,
        failure_every: Duration::from_millis(500),
    };
}

/// Tokens the API server accepted lately: their owners are no strangers, whatever comes from the same address.
const KNOWN_TOKENS: u64 = 32_768;
const KNOWN_FOR: Duration = Duration::from_secs(3_600);

/// Addresses whose failures are counted.
const SOURCES: u64 = 16_384;
const SOURCE_FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// Largest answer: the token again, and thousands of groups.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// On whose account a review is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    /// A request from this address.
    Source(IpAddr),
    /// Somebody proved already: his signature held, or his stream is open.
    Proved,
}

/// Asks, each token once at a time.
pub struct TokenReviews {
    shared: Arc<Shared>,
    flights: SingleFlight<TokenKey, Answer>,
    sources: Moka<IpAddr, Arc<Mutex<Budget>>>,
}

struct Shared {
    client: Client,
    audiences: Vec<String>,
    limits: Limits,
    known: Moka<TokenKey, ()>,
    known_lane: Semaphore,
    strangers_lane: Semaphore,
    asked: Arc<Outcomes>,
}

type Answer = Result<Arc<Person>, Failure>;

impl TokenReviews {
    /// Asks through `client`, the proxy's own, which needs `create` on `tokenreviews` and nothing else. What comes of it is
    /// counted in `asked`, each review once however many waited for it.
    pub(super) fn new(
        client: Client,
        audiences: Vec<String>,
        limits: Limits,
        asked: Arc<Outcomes>,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                client,
                audiences,
                limits,
                known: Moka::builder()
                    .max_capacity(KNOWN_TOKENS)
                    .time_to_live(KNOWN_FOR)
                    .build(),
                known_lane: Semaphore::new(limits.at_once),
                strangers_lane: Semaphore::new(limits.at_once),
                asked,
            }),
            flights: SingleFlight::default(),
            sources: Moka::builder()
                .max_capacity(SOURCES)
                .time_to_idle(SOURCE_FORGOTTEN_AFTER)
                .build(),
        }
    }

    /// Whose `token` is. Callers with the same token share one review. Cancel-safe.
    ///
    /// # Errors
    /// [`Failure::Rejected`] is the API server's no; [`Failure::Unavailable`] that it did not say, or was not asked.
    pub async fn review(&self, key: TokenKey, token: &str, account: Account) -> Answer {
        let call = self.flights.join(key, || {
            let charge = self.charge(&key, account)?;
            let shared = self.shared.clone();
            let token = token.to_owned();
            Ok::<_, Failure>(async move {
                let lane = match charge {
                    Charge::Stranger(_) => &shared.strangers_lane,
                    Charge::Nothing => &shared.known_lane,
                };
                let answer = shared.ask_in(lane, token).await;
                shared.asked.count(&answer);
                charge.settle(&answer);
                if answer.is_ok() {
                    shared.known.insert(key, ());
                }
                answer
            })
        })?;
        call.await
    }

    /// For whom a token must be, one of them; none: for anybody.
    pub(super) fn audiences(&self) -> &[String] {
        &self.shared.audiences
    }

    /// A review is charged before it is made and given back when it was no failure: hanging up early saves nothing.
    fn charge(&self, key: &TokenKey, account: Account) -> Result<Charge, Failure> {
        let source = match account {
            Account::Source(address) if !self.shared.known.contains_key(key) => network(address),
            Account::Source(_) | Account::Proved => return Ok(Charge::Nothing),
        };
        let limits = self.shared.limits;
        let budget = self.sources.get_with(source, || {
            let budget = Budget::new(limits.failures, limits.failure_every, Instant::now());
            Arc::new(Mutex::new(budget))
        });
        let granted = budget
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(Instant::now());
        if granted {
            Ok(Charge::Stranger(budget))
        } else {
            Err(Unavailable::ReviewBudget.into())
        }
    }
}

/// What a review was charged to.
enum Charge {
    Stranger(Arc<Mutex<Budget>>),
    Nothing,
}

impl Charge {
    fn settle(self, answer: &Answer) {
        let failed = match answer {
            Ok(_) | Err(Failure::Unavailable(_) | Failure::Missing | Failure::Conflict) => false,
            Err(Failure::Rejected(_)) => true,
        };
        match self {
            Self::Stranger(budget) if !failed => {
                budget
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .give_back();
            }
            Self::Stranger(_) | Self::Nothing => {}
        }
    }
}

/// One household has one IPv4 address, or an IPv6 /64 full of them (RFC 6177).
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

impl Shared {
    async fn ask_in(&self, lane: &Semaphore, token: String) -> Answer {
        let deadline = Instant::now() + self.limits.timeout;
        // Who gets a place late would only hold it until his own deadline.
        let Ok(Ok(_place)) = tokio::time::timeout(self.limits.timeout / 2, lane.acquire()).await
        else {
            return Err(Unavailable::ReviewLimit.into());
        };
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: Some(token),
                audiences: (!self.audiences.is_empty()).then(|| self.audiences.clone()),
            },
            ..TokenReview::default()
        };
        match tokio::time::timeout_at(deadline, self.post(&review)).await {
            Ok(Ok(status)) => Ok(Arc::new(judge(status, &self.audiences)?)),
            Ok(Err(NoAnswer::Status(
                code @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN),
            ))) => {
                tracing::error!(
                    code = code.as_u16(),
                    "the API server does not let the proxy create tokenreviews"
                );
                Err(Unavailable::Review.into())
            }
            Ok(Err(error)) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "TokenReview failed"
                );
                Err(Unavailable::Review.into())
            }
            Err(_) => {
                tracing::warn!("TokenReview took too long");
                Err(Unavailable::Review.into())
            }
        }
    }

    /// By hand and not by `kube::Api`: that one logs an answer it cannot read, and a TokenReview's answer repeats the token.
    async fn post(&self, review: &TokenReview) -> Result<TokenReviewStatus, NoAnswer> {
        let body = serde_json::to_vec(review).map_err(NoAnswer::Json)?;
        let mut request = Request::new(body.into());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from_static("/apis/authentication.k8s.io/v1/tokenreviews");
        request
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let answer = self.client.send(request).await.map_err(NoAnswer::Send)?;
        if !answer.status().is_success() {
            return Err(NoAnswer::Status(answer.status()));
        }
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(NoAnswer::Body)?.to_bytes();
        match serde_json::from_slice::<TokenReview>(&body) {
            Ok(review) => Ok(review.status.unwrap_or_default()),
            // Its position is all that may be told: serde's message can quote what it found.
            Err(error) => Err(NoAnswer::Unreadable(error.column())),
        }
    }
}

/// Why the API server said nothing. None of it holds the answer's text.
#[derive(Debug, thiserror::Error)]
enum NoAnswer {
    #[error("the request cannot be written")]
    Json(#[source] serde_json::Error),
    #[error("the request could not be sent")]
    Send(#[source] kube::Error),
    #[error("the answer is HTTP {0}")]
    Status(StatusCode),
    #[error("the answer broke off, or is larger than {MAX_ANSWER} bytes")]
    Body(#[source] BoxError),
    #[error("the answer is no TokenReview (column {0})")]
    Unreadable(usize),
}

/// What an answer says, if it says it without contradiction.
///
/// # Errors
/// [`Refusal::NotAuthenticated`], [`Refusal::ReviewUnusable`].
fn judge(status: TokenReviewStatus, asked: &[String]) -> Result<Person, Refusal> {
    if status.authenticated != Some(true) {
        return Err(Refusal::NotAuthenticated);
    }
    if status.error.is_some_and(|error| !error.is_empty()) {
        return Err(Refusal::ReviewUnusable);
    }
    let answered = status.audiences.unwrap_or_default();
    if !asked.is_empty() && !answered.iter().any(|audience| asked.contains(audience)) {
        return Err(Refusal::ReviewUnusable);
    }
    mapping::reviewed(status.user.ok_or(Refusal::ReviewUnusable)?)
}

#[cfg(test)]
mod tests;
