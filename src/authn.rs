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
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::HeaderMap;
use moka::sync::Cache as Moka;
use tokio::sync::watch;
use tokio::time::Instant;

use self::counters::Counters;
use self::keyring::fetch::ClientError;
use self::keyring::schedule::Pace;
use self::prove::Lasting;
use self::prove::Prover;
pub use self::refusal::Failure;
pub use self::refusal::Refusal;
pub use self::refusal::Unavailable;
pub use self::settings::Settings;
use self::token_review::Account;
use crate::clock::Clock;
use crate::identity::AuthenticatorId;
use crate::identity::Caller;
use crate::identity::Credential;
use crate::identity::Identity;
use crate::identity::SecretToken;
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

/// Why people cannot be let in as they should.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An issuer's connection cannot be prepared.
    #[error("issuer {name} cannot be used")]
    Issuer {
        /// Which one.
        name: String,
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

/// The authenticators. Cheap to clone.
///
/// They are what one configuration says, until another one takes its place as a whole ([`Self::configure`]). An answer is always
/// that of the configuration in force at the end of the call.
#[derive(Clone)]
pub struct Authn(Arc<Door>);

struct Door {
    now: ArcSwap<Prover>,
    exchanged: watch::Sender<()>,
    lasting: Arc<Lasting>,
}

impl fmt::Debug for Authn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authn({} issuers)", self.0.now.load().issuers.len())
    }
}

impl Authn {
    /// Those that let nobody in until they are configured. `client` is the proxy's own service account, for TokenReview.
    ///
    /// # Errors
    /// [`StartError::Random`].
    pub fn new(client: Option<kube::Client>, clock: Clock) -> Result<Self, StartError> {
        Self::with_limits(client, clock, Limits::DEFAULT)
    }

    fn with_limits(
        client: Option<kube::Client>,
        clock: Clock,
        limits: Limits,
    ) -> Result<Self, StartError> {
        let mut secret = [0; 32];
        if aws_lc_rs::rand::fill(&mut secret).is_err() {
            return Err(StartError::Random);
        }
        let lasting = Arc::new(Lasting {
            client,
            clock,
            limits,
            secret,
            reviewer: AuthenticatorId::new("tokenreview"),
            told: Moka::new(TOLD),
            counters: Counters::default(),
            reviewed: Arc::default(),
        });
        Ok(Self(Arc::new(Door {
            now: ArcSwap::from_pointee(Prover::of_nobody(lasting.clone())),
            exchanged: watch::Sender::new(()),
            lasting,
        })))
    }

    /// Puts `settings` in the place of what was said before, as a whole. From then on nothing counts that was proved or
    /// refused under the old ones; issuers whose keys come from where they came from keep them.
    ///
    /// # Errors
    /// [`StartError`]: nothing is exchanged. An issuer that cannot be reached is none: it is asked in the background.
    pub fn configure(&self, settings: Settings) -> Result<(), StartError> {
        let asks_about_all = settings.issuers.is_empty();
        let next = self.0.now.load().next(settings)?;
        self.0.now.store(Arc::new(next));
        self.0.exchanged.send_replace(());
        if asks_about_all {
            tracing::info!(
                every_seconds = cache::REVIEWED.as_secs(),
                "the API server is asked about each token in use; those of an issuer in `authentication.jwt` are checked here"
            );
        }
        Ok(())
    }

    /// Tells when [`Self::configure`] has put another configuration in force: a stream that outlives the request that opened it
    /// asks [`Self::recheck`] then. It tells once at the beginning, of what may have been exchanged since the caller proved himself.
    pub fn exchanges(&self) -> watch::Receiver<()> {
        let mut exchanges = self.0.exchanged.subscribe();
        exchanges.mark_changed();
        exchanges
    }

    /// Keeps the keys of all issuers fresh, those of later configurations too. Runs until dropped, once per process; it holds
    /// nothing that must be finished.
    pub async fn keep_keys_fresh(&self) {
        let mut exchanged = self.0.exchanged.subscribe();
        loop {
            let prover = self.0.now.load_full();
            tokio::select! {
                () = prover.keep_keys_fresh() => {}
                _told = exchanged.changed() => {}
            }
        }
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
        let who = self.prove(&token, Account::Source(peer)).await?;
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
            Credential::Bearer(token) => self.prove(token, Account::Proved).await,
            Credential::ProvedHere => Ok(caller.who.clone()),
        }
    }

    /// Whose `token` is. What was judged by a configuration that is gone meanwhile is judged again.
    async fn prove(&self, token: &SecretToken, account: Account) -> Result<Arc<Identity>, Failure> {
        loop {
            let prover = self.0.now.load_full();
            let answer = prover.identify(token, account).await;
            if Arc::ptr_eq(&prover, &self.0.now.load()) {
                return answer;
            }
        }
    }

    /// Completes when logging in can work: when the keys of every issuer have been fetched whose tokens the API server
    /// cannot be asked about meanwhile.
    pub async fn ready(&self) {
        let mut exchanged = self.0.exchanged.subscribe();
        loop {
            let prover = self.0.now.load_full();
            tokio::select! {
                () = prover.ready() => return,
                _told = exchanged.changed() => {}
            }
        }
    }

    /// What was counted since the start, and what is known now.
    ///
    /// # Errors
    /// What the writer says.
    pub fn families(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let (prover, lasting) = (self.0.now.load_full(), &self.0.lasting);
        lasting.counters.families(sheet)?;
        if prover.reviews.is_some() {
            let reviewed = lasting.reviewed.read();
            sheet.counter(
                "token_reviews",
                "TokenReviews sent to the API server; who asks about the same token at once shares one",
                reviewed.map(|(outcome, count)| ([("outcome", outcome)], count)),
            )?;
        }
        sheet.gauge(
            "identity_cache_entries",
            "Identities remembered, about",
            [([], prover.cache.remembered())],
        )?;
        let now = Instant::now();
        let ages = prover.issuers.iter().filter_map(|known| {
            let age = known.keyring.age(now)?.as_secs_f64();
            Some(([("issuer", &*known.rules.name)], age))
        });
        sheet.gauge(
            "issuer_keys_age_seconds",
            "Time since an issuer's keys were fetched, by its place in the configuration",
            ages,
        )
    }
}

#[cfg(test)]
mod tests;
