//! Credentials → [`Caller`]: who is at the door, proved.
//!
//! Three steps, cheapest first: what was proved a moment ago, what can be proved here (a signature by a configured issuer),
//! what only the API server knows (TokenReview). It decides nothing about what somebody may see, and it never lets a
//! request through without a proved name: there is no default user, and a failure of one way is no reason to try the next.

pub mod budget;
pub mod cache;
pub mod claims;
pub mod counters;
pub mod credential;
pub mod entra;
pub mod jwt;
pub mod keyring;
pub mod keys;
pub mod mapping;
mod prove;
pub mod refusal;
pub mod settings;
pub mod single_flight;
mod strict_json;
pub mod token_review;

#[cfg(test)]
mod testing;

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use moka::sync::Cache as Moka;
use tokio::time::Instant;

use self::cache::Cache;
use self::counters::Counters;
use self::keyring::fetch::ClientError;
use self::keyring::schedule::Pace;
use self::prove::Known;
use self::prove::Prover;
pub use self::refusal::Failure;
pub use self::refusal::Refusal;
pub use self::refusal::Unavailable;
pub use self::settings::Settings;
use self::settings::TokenReviewSetting;
use self::token_review::Account;
use self::token_review::TokenReviews;
use crate::clock::Clock;
use crate::identity::AuthenticatorId;
use crate::identity::Caller;
use crate::identity::Credential;
use crate::identity::Identity;
use crate::identity::UpstreamMode;
use crate::metrics::Sheet;

/// Most users about whose two names it is remembered that a line was logged.
const TOLD: u64 = 4_096;

/// How often and how long things are asked. One value in production; tests have quicker ones.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of fetching keys.
    pub fetch: keyring::fetch::Limits,
    /// When issuers are asked for keys.
    pub discovery: Pace,
    /// When key files are read.
    pub file: Pace,
    /// Of TokenReviews.
    pub review: token_review::Limits,
}

impl Limits {
    /// As argued at each of them.
    pub const DEFAULT: Self = Self {
        fetch: keyring::fetch::Limits::DISCOVERY,
        discovery: Pace::DISCOVERY,
        file: Pace::FILE,
        review: token_review::Limits::DEFAULT,
    };
}

/// Why authentication cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An issuer's connection cannot be prepared.
    #[error("issuer {id} cannot be used")]
    Issuer {
        /// Which one.
        id: String,
        /// Why.
        #[source]
        cause: ClientError,
    },
    /// TokenReview is on without a client to ask with.
    #[error("TokenReview is on, but there is no connection to the API server to ask with")]
    NoClient,
    /// Neither an issuer nor TokenReview: nobody could ever log in.
    #[error("no issuer is configured and TokenReview is off: nobody could log in")]
    Nobody,
    /// The system gives no randomness for the cache's key.
    #[error("the system gives no random bytes")]
    Random,
}

/// Tasks that keep keys fresh. They run until dropped; each is to be spawned on the tracker that drain waits for, inside a
/// `select!` with its end. They hold nothing that must be finished.
#[must_use = "without these no key is ever fetched"]
pub struct Background(Vec<Task>);

/// One of them.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

impl IntoIterator for Background {
    type Item = Task;
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// The authenticators. Cheap to clone.
#[derive(Clone)]
pub struct Authn(Arc<Prover>);

impl fmt::Debug for Authn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authn({} issuers)", self.0.issuers.len())
    }
}

impl Authn {
    /// Sets up what `settings` says. `client` is the proxy's own service account, for TokenReview.
    ///
    /// # Errors
    /// [`StartError`]. An issuer that cannot be reached is none: it is asked in the background.
    pub fn new(
        settings: Settings,
        client: Option<kube::Client>,
        clock: Clock,
    ) -> Result<(Self, Background), StartError> {
        Self::with_limits(settings, client, clock, Limits::DEFAULT)
    }

    fn with_limits(
        settings: Settings,
        client: Option<kube::Client>,
        clock: Clock,
        limits: Limits,
    ) -> Result<(Self, Background), StartError> {
        let reviews = match (settings.token_review, client) {
            (TokenReviewSetting::Off, _) if settings.issuers.is_empty() => {
                return Err(StartError::Nobody);
            }
            (TokenReviewSetting::Off, _) => None,
            (TokenReviewSetting::On { .. }, None) => return Err(StartError::NoClient),
            (TokenReviewSetting::On { audiences }, Some(client)) => {
                Some(TokenReviews::new(client, audiences, limits.review))
            }
        };
        let mut secret = [0; 32];
        if aws_lc_rs::rand::fill(&mut secret).is_err() {
            return Err(StartError::Random);
        }
        let mut background = Vec::new();
        let mut issuers = Vec::new();
        for rules in settings.issuers {
            let (known, refresher) = Known::new(rules, limits)?;
            issuers.push(known);
            background.push(refresher);
        }
        let by_url = issuers
            .iter()
            .enumerate()
            .map(|(index, known)| (known.rules.url.clone(), index))
            .collect();
        let longest = issuers
            .iter()
            .map(|known| known.rules.max_token_bytes)
            .max();
        let prover = Prover {
            clock,
            by_url,
            max_token_bytes: longest.unwrap_or(0).max(settings::MAX_TOKEN_BYTES),
            issuers,
            reviews,
            reviewer: AuthenticatorId::new("tokenreview"),
            cache: Cache::new(&secret),
            told: Moka::new(TOLD),
            counters: Counters::default(),
        };
        Ok((Self(Arc::new(prover)), Background(background)))
    }

    /// Who sent a request with these `headers` from the address `peer`. Cancel-safe.
    ///
    /// A token that was seen lately costs a keyed hash; a new one of a configured issuer a signature; any other a
    /// TokenReview, shared by all who send the same one. The bearer subprotocol
    /// ([`crate::k8s::websocket::BEARER_PREFIX`]) must not go upstream.
    ///
    /// # Errors
    /// [`Failure`], with the answer to send.
    pub async fn identify(&self, headers: &HeaderMap, peer: IpAddr) -> Result<Caller, Failure> {
        let token = credential::bearer(headers)?;
        let who = self.0.identify(&token, Account::Source(peer)).await?;
        Ok(Caller {
            who,
            credential: Credential::Bearer(token),
        })
    }

    /// Who `caller` is now: for streams that outlive what is known of their credential. One whose identity has no `expires`
    /// is to be asked about every minute. Cancel-safe.
    ///
    /// # Errors
    /// [`Failure::Rejected`] ends the stream, [`Failure::Unavailable`] says nothing about him.
    pub async fn recheck(&self, caller: &Caller) -> Result<Arc<Identity>, Failure> {
        match &caller.credential {
            Credential::Bearer(token) => self.0.identify(token, Account::Proved).await,
            Credential::ProvedHere => Ok(caller.who.clone()),
        }
    }

    /// Completes when logging in can work: when the keys of every issuer have been fetched whose tokens the API server
    /// cannot be asked about meanwhile.
    pub async fn ready(&self) {
        for known in &self.0.issuers {
            let is_reviewed = match known.rules.upstream {
                UpstreamMode::Token => self.0.reviews.is_some(),
                UpstreamMode::Impersonate => false,
            };
            if !is_reviewed {
                known.keyring.loaded().await;
            }
        }
    }

    /// Each issuer and the age of its keys, if they were ever fetched.
    fn key_ages(&self) -> impl Iterator<Item = (&AuthenticatorId, Option<Duration>)> {
        let now = Instant::now();
        let age = move |known: &'_ Known| known.keyring.age(now);
        let issuers = self.0.issuers.iter();
        issuers.map(move |known| (&known.rules.id, age(known)))
    }

    /// What was counted since the start, and what is known now.
    ///
    /// # Errors
    /// What the writer says.
    pub fn families(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        self.0.counters.families(sheet)?;
        if let Some(reviews) = &self.0.reviews {
            let asked = reviews.asked().read();
            sheet.counter(
                "token_reviews",
                "TokenReviews sent to the API server; who asks about the same token at once shares one",
                asked.map(|(outcome, count)| ([("outcome", outcome)], count)),
            )?;
        }
        sheet.gauge(
            "identity_cache_entries",
            "Identities remembered, about",
            [([], self.0.cache.remembered())],
        )?;
        let ages = self
            .key_ages()
            .filter_map(|(issuer, age)| Some(([("issuer", issuer.as_str())], age?.as_secs_f64())));
        sheet.gauge(
            "issuer_keys_age_seconds",
            "Time since an issuer's keys were fetched, by its place in the configuration",
            ages,
        )
    }
}

#[cfg(test)]
mod tests;
