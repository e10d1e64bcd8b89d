//! One token → one identity: from memory, by a signature, by the API server's word, in this order.
//!
//! The order is the point of this file. A token of a configured issuer that is bad is refused here and goes no further;
//! "cannot say" goes on to the API server where that one accepts the issuer, and is a 503 elsewhere.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use futures_util::future::join_all;
use moka::sync::Cache as Moka;
use tokio::time::Instant;

use crate::authn::Limits;
use crate::authn::StartError;
use crate::authn::cache;
use crate::authn::cache::Cache;
use crate::authn::cache::Entry;
use crate::authn::cache::Proof;
use crate::authn::cache::TokenKey;
use crate::authn::counters::Counters;
use crate::authn::counters::Method;
use crate::authn::counters::Outcomes;
use crate::authn::jwt;
use crate::authn::jwt::Form;
use crate::authn::jwt::Unverified;
use crate::authn::jwt::Verified;
use crate::authn::keyring::Keyring;
use crate::authn::keyring::Keys;
use crate::authn::keyring::Sought;
use crate::authn::keyring::fetch::Fetcher;
use crate::authn::keys::KeySet;
use crate::authn::mapping;
use crate::authn::mapping::ClaimedGroups;
use crate::authn::mapping::Person;
use crate::authn::mapping::username;
use crate::authn::refusal::Failure;
use crate::authn::refusal::Refusal;
use crate::authn::refusal::Unavailable;
use crate::authn::settings;
use crate::authn::settings::Issuer;
use crate::authn::settings::KeySource;
use crate::authn::settings::Settings;
use crate::authn::settings::TokenReviewSetting;
use crate::authn::token_review::Account;
use crate::authn::token_review::TokenReviews;
use crate::clock::Clock;
use crate::identity;
use crate::identity::AuthenticatorId;
use crate::identity::GroupName;
use crate::identity::GroupsUnknown;
use crate::identity::Identity;
use crate::identity::SecretToken;
use crate::identity::UpstreamMode;

/// What one configuration proves people with. Nothing of it outlives the configuration but the keys of issuers that the
/// next one names too: what was proved is remembered in here, and forgotten with it.
pub(super) struct Prover {
    pub(super) issuers: Vec<Known>,
    /// `iss` → index in `issuers`.
    pub(super) by_url: HashMap<Arc<str>, usize>,
    /// Longest token any issuer accepts.
    pub(super) max_token_bytes: usize,
    pub(super) reviews: Option<Arc<TokenReviews>>,
    pub(super) cache: Cache,
    pub(super) lasting: Arc<Lasting>,
}

/// What every configuration of this process shares.
pub(super) struct Lasting {
    /// The proxy's own service account, for TokenReview.
    pub(super) client: Option<kube::Client>,
    pub(super) clock: Clock,
    pub(super) limits: Limits,
    /// What tokens are hashed under.
    pub(super) secret: [u8; 32],
    pub(super) reviewer: AuthenticatorId,
    /// Users about whose two names a line was logged: a line each, not a line per request.
    pub(super) told: Moka<Arc<str>, ()>,
    pub(super) counters: Counters,
    /// What came of TokenReviews.
    pub(super) reviewed: Arc<Outcomes>,
}

/// An issuer and its keys.
pub(super) struct Known {
    pub(super) rules: Issuer,
    id: AuthenticatorId,
    pub(super) keyring: Arc<Keyring>,
    fetcher: Arc<Fetcher>,
}

impl Known {
    /// One whose keys are not fetched yet.
    pub(super) fn new(rules: Issuer, limits: Limits) -> Result<Self, StartError> {
        let pace = match &rules.keys {
            KeySource::Discovery(_) => limits.discovery,
            KeySource::File(_) => limits.file,
        };
        let fetcher = Fetcher::new(&rules, limits.fetch).map_err(|cause| StartError::Issuer {
            name: rules.name.as_ref().to_owned(),
            cause,
        })?;
        let keyring = Keyring::new(&rules.url, rules.max_stale, pace, Instant::now());
        Ok(Self {
            id: AuthenticatorId::new(&rules.url),
            rules,
            keyring: Arc::new(keyring),
            fetcher: Arc::new(fetcher),
        })
    }

    /// The same keys under these `rules`.
    fn under(&self, rules: Issuer) -> Self {
        Self {
            id: AuthenticatorId::new(&rules.url),
            rules,
            keyring: self.keyring.clone(),
            fetcher: self.fetcher.clone(),
        }
    }
}

impl Prover {
    /// What proves nobody.
    pub(super) fn of_nobody(lasting: Arc<Lasting>) -> Self {
        Self {
            issuers: Vec::new(),
            by_url: HashMap::new(),
            max_token_bytes: settings::MAX_TOKEN_BYTES,
            reviews: None,
            cache: Cache::new(&lasting.secret),
            lasting,
        }
    }

    /// What `settings` say, with the keys that are known here already.
    pub(super) fn next(&self, settings: Settings) -> Result<Self, StartError> {
        let lasting = self.lasting.clone();
        let reviews = match (settings.token_review, &lasting.client) {
            (TokenReviewSetting::Off, _) if settings.issuers.is_empty() => {
                return Err(StartError::Nobody);
            }
            (TokenReviewSetting::Off, _) => None,
            (TokenReviewSetting::On { .. }, None) => return Err(StartError::NoClient),
            (TokenReviewSetting::On { audiences }, Some(client)) => {
                let same = self.reviews.as_ref();
                let same = same.filter(|reviews| reviews.audiences() == audiences);
                Some(same.cloned().unwrap_or_else(|| {
                    let limits = lasting.limits.review;
                    let counted = lasting.reviewed.clone();
                    Arc::new(TokenReviews::new(
                        client.clone(),
                        audiences,
                        limits,
                        counted,
                    ))
                }))
            }
        };
        let known = |rules: Issuer| {
            let mut known = self.issuers.iter();
            match known.find(|known| known.rules.shares_keys_with(&rules)) {
                Some(known) => Ok(known.under(rules)),
                None => Known::new(rules, lasting.limits),
            }
        };
        let issuers: Vec<Known> = settings
            .issuers
            .into_iter()
            .map(known)
            .collect::<Result<_, _>>()?;
        let by_url = issuers
            .iter()
            .enumerate()
            .map(|(index, known)| (known.rules.url.clone(), index))
            .collect();
        let longest = issuers
            .iter()
            .map(|known| known.rules.max_token_bytes)
            .max();
        Ok(Self {
            by_url,
            max_token_bytes: longest.unwrap_or(0).max(settings::MAX_TOKEN_BYTES),
            issuers,
            reviews,
            cache: Cache::new(&lasting.secret),
            lasting,
        })
    }

    /// Keeps the keys of all its issuers fresh, for ever. Cancel-safe: what was cut short is begun again by the next call.
    pub(super) async fn keep_keys_fresh(&self) {
        let issuers = self.issuers.iter();
        let refreshed = issuers.map(|known| known.keyring.keep_fresh(|| known.fetcher.fetch()));
        join_all(refreshed).await;
        // There is no issuer.
        std::future::pending().await
    }

    /// Completes when the keys of every issuer have been fetched whose tokens the API server cannot be asked about meanwhile.
    pub(super) async fn ready(&self) {
        for known in &self.issuers {
            let is_reviewed = match known.rules.upstream {
                UpstreamMode::Token => self.reviews.is_some(),
                UpstreamMode::Impersonate => false,
            };
            if !is_reviewed {
                known.keyring.loaded().await;
            }
        }
    }

    /// Whose `token` is, from memory or proved anew.
    pub(super) async fn identify(
        &self,
        token: &SecretToken,
        account: Account,
    ) -> Result<Arc<Identity>, Failure> {
        let key = self.cache.key(token.expose());
        let in_force = |proof: &Proof| match proof {
            Proof::Key {
                issuer,
                kid,
                fingerprint,
            } => self
                .issuers
                .get(*issuer)
                .is_some_and(|known| known.keyring.holds(kid, *fingerprint)),
            Proof::Review => true,
        };
        let known = self
            .cache
            .look_up(&key, Instant::now(), self.lasting.clock.now(), in_force);
        match known {
            Some(known) => self.counted(Method::Memory, known.map_err(Failure::from)),
            None => Box::pin(self.prove(token, key, account)).await,
        }
    }

    async fn prove(
        &self,
        token: &SecretToken,
        key: TokenKey,
        account: Account,
    ) -> Result<Arc<Identity>, Failure> {
        let unverified = match Form::read(token.expose(), self.max_token_bytes) {
            Ok(Form::Opaque) => return self.by_review(token, key, account, None).await,
            Ok(Form::Jwt(unverified)) => unverified,
            Err(refusal) => return self.counted(Method::Signature, Err(refusal.into())),
        };
        let index = unverified
            .issuer()
            .and_then(|issuer| self.by_url.get(issuer).copied());
        let Some((index, known)) = index.and_then(|index| Some((index, self.issuers.get(index)?)))
        else {
            return self.by_review(token, key, account, Some(&unverified)).await;
        };
        let verified = match self.verify(known, &unverified).await {
            Ok(verified) => verified,
            // Nobody can say here, so the API server is asked, if it accepts this issuer. One that does not would say no
            // to a good token, and an issuer that is away would send people to log in again.
            Err(Failure::Unavailable(why)) => match (known.rules.upstream, &self.reviews) {
                (UpstreamMode::Token, Some(_)) => {
                    let answer = self.review(token, key, account, Some(&unverified)).await;
                    return match answer {
                        // Its keys come from the same issuer: its "no" may be the same outage, and never a 401.
                        Err(Failure::Rejected(refusal)) if refusal != Refusal::Expired => {
                            Err(why.into())
                        }
                        answer => answer,
                    };
                }
                (UpstreamMode::Token, None) | (UpstreamMode::Impersonate, _) => {
                    return self.counted(Method::Signature, Err(why.into()));
                }
            },
            Err(failure @ (Failure::Missing | Failure::Conflict)) => {
                return self.counted(Method::Signature, Err(failure));
            }
            Err(Failure::Rejected(refusal)) => {
                self.remember_refusal(key, refusal);
                return self.counted(Method::Signature, Err(refusal.into()));
            }
        };
        let who = match mapping::person(&verified.claims, &known.rules) {
            Ok(person) => Ok(self
                .admit(token, key, (index, known), verified, person)
                .await),
            Err(refusal) => {
                self.remember_refusal(key, refusal);
                Err(refusal.into())
            }
        };
        self.counted(Method::Signature, who)
    }

    /// The same answer, counted.
    fn counted<T>(&self, method: Method, answer: Result<T, Failure>) -> Result<T, Failure> {
        self.lasting.counters.of(method).count(&answer);
        answer
    }

    /// The token's claims by a key of its issuer, after a fetch of the keys where that may help.
    async fn verify(&self, known: &Known, token: &Unverified<'_>) -> Result<Verified, Failure> {
        let verify =
            |keys: &KeySet| jwt::verify(token, &known.rules, keys, self.lasting.clock.now());
        let Keys::Usable(keys) = known.keyring.keys(Instant::now()) else {
            return Err(Unavailable::Keys.into());
        };
        let first = verify(&keys);
        let (Err(Refusal::UnknownKey), Some(kid)) = (&first, token.kid()) else {
            return Ok(first?);
        };
        let sought = known.keyring.seek(kid).await;
        match sought {
            Sought::Absent => return Err(Refusal::UnknownKey.into()),
            Sought::Failed => return Err(Unavailable::KeyRefresh.into()),
            Sought::Spent => return Err(Unavailable::KeyBudget.into()),
            Sought::Refreshed | Sought::Joined => {}
        }
        let Keys::Usable(keys) = known.keyring.keys(Instant::now()) else {
            return Err(Unavailable::Keys.into());
        };
        match verify(&keys) {
            Err(Refusal::UnknownKey) if sought == Sought::Joined => {
                Err(Unavailable::KeyRefresh.into())
            }
            Err(Refusal::UnknownKey) => {
                known.keyring.on_absent(kid);
                Err(Refusal::UnknownKey.into())
            }
            second => Ok(second?),
        }
    }

    /// Definite offline refusals are kept for a moment: clients repeat them. An unknown key is no such thing.
    fn remember_refusal(&self, key: TokenKey, refusal: Refusal) {
        if refusal != Refusal::UnknownKey {
            self.cache
                .refuse(key, refusal, cache::REFUSED, Instant::now());
        }
    }

    /// Makes and keeps the identity of a person whose signature held.
    async fn admit(
        &self,
        token: &SecretToken,
        key: TokenKey,
        (index, known): (usize, &Known),
        verified: Verified,
        person: Person,
    ) -> Arc<Identity> {
        self.tell_of_another_name(&verified, &known.rules, &person);
        let (groups, lifetime) = match &person.groups {
            ClaimedGroups::All(groups) => (Ok(groups.clone()), Some(cache::VERIFIED)),
            ClaimedGroups::Overage => self.resolve(token, key, &verified, &person).await,
        };
        let who = Arc::new(Identity::new(identity::Proof {
            user: person.user,
            groups,
            uid: person.uid,
            extra: person.extra,
            expires: Some(verified.expires),
            by: known.id.clone(),
            upstream: known.rules.upstream,
        }));
        if let Some(lifetime) = lifetime {
            let entry = Entry {
                who: who.clone(),
                proof: Proof::Key {
                    issuer: index,
                    kid: verified.kid,
                    fingerprint: verified.fingerprint,
                },
                lifetime,
            };
            self.cache.keep(key, entry, Instant::now());
        }
        who
    }

    /// The groups of a token that has more than it can carry, and how long that answer counts. The API server knows them
    /// (on AKS its webhook asks Microsoft Graph); its word is taken for the same person only. "Could not ask" is not kept.
    async fn resolve(
        &self,
        token: &SecretToken,
        key: TokenKey,
        verified: &Verified,
        person: &Person,
    ) -> (Result<Vec<GroupName>, GroupsUnknown>, Option<Duration>) {
        let Some(reviews) = &self.reviews else {
            return (Err(GroupsUnknown::Unresolvable), Some(cache::VERIFIED));
        };
        let answer = reviews.review(key, token.expose(), Account::Proved).await;
        match answer {
            Ok(theirs) if mapping::same_person(person, &verified.claims, &theirs) => match &theirs
                .groups
            {
                ClaimedGroups::All(groups) => (Ok(groups.clone()), Some(cache::RESOLVED)),
                ClaimedGroups::Overage => (Err(GroupsUnknown::Unresolvable), Some(cache::REVIEWED)),
            },
            Ok(_) => {
                tracing::error!(
                    "the API server names another person for a token with too many groups; they are not used"
                );
                (Err(GroupsUnknown::Unresolvable), Some(cache::REVIEWED))
            }
            // It does not know this issuer, so it cannot know the groups.
            Err(Failure::Rejected(_)) => (Err(GroupsUnknown::Unresolvable), Some(cache::REVIEWED)),
            Err(Failure::Unavailable(_) | Failure::Missing | Failure::Conflict) => {
                (Err(GroupsUnknown::Unavailable), None)
            }
        }
    }

    /// Once per user: roles bound to the name the API server uses do not meet the one used here.
    fn tell_of_another_name(&self, verified: &Verified, rules: &Issuer, person: &Person) {
        let name = person.user.as_str();
        let bare = name
            .strip_prefix(rules.username.prefix.as_str())
            .unwrap_or(name);
        if username::differs_from_the_api_server(&verified.claims, &rules.username.claims, bare)
            && !self.lasting.told.contains_key(name)
        {
            self.lasting.told.insert(name.into(), ());
            tracing::info!(
                user.name = name,
                "named by unique_name, which the API server does not go by: role bindings need his object id"
            );
        }
    }

    /// The API server's word about a token that only it can judge. Its "no" holds for a moment.
    async fn by_review(
        &self,
        token: &SecretToken,
        key: TokenKey,
        account: Account,
        jwt: Option<&Unverified<'_>>,
    ) -> Result<Arc<Identity>, Failure> {
        let answer = self.review(token, key, account, jwt).await;
        if let Err(Failure::Rejected(refusal)) = answer {
            self.cache
                .refuse(key, refusal, cache::HOLD_OFF, Instant::now());
        }
        answer
    }

    /// The API server's word, where it may be asked. A token that says itself that it is over need not be shown to it.
    async fn review(
        &self,
        token: &SecretToken,
        key: TokenKey,
        account: Account,
        jwt: Option<&Unverified<'_>>,
    ) -> Result<Arc<Identity>, Failure> {
        let reviewed = self.ask_for_review(token, key, account, jwt).await;
        let (person, expires) = self.counted(Method::Review, reviewed)?;
        let who = Arc::new(Identity::new(identity::Proof {
            user: person.user.clone(),
            groups: match &person.groups {
                ClaimedGroups::All(groups) => Ok(groups.clone()),
                ClaimedGroups::Overage => Err(GroupsUnknown::Unresolvable),
            },
            uid: person.uid.clone(),
            extra: person.extra.clone(),
            expires,
            by: self.lasting.reviewer.clone(),
            upstream: UpstreamMode::Token,
        }));
        let entry = Entry {
            who: who.clone(),
            proof: Proof::Review,
            lifetime: cache::REVIEWED,
        };
        self.cache.keep(key, entry, Instant::now());
        Ok(who)
    }

    /// Whom the API server names for a token, and when the token says it is over.
    async fn ask_for_review(
        &self,
        token: &SecretToken,
        key: TokenKey,
        account: Account,
        jwt: Option<&Unverified<'_>>,
    ) -> Result<(Arc<Person>, Option<SystemTime>), Failure> {
        let Some(reviews) = &self.reviews else {
            return Err(Refusal::UnknownIssuer.into());
        };
        let expires = jwt.and_then(Unverified::claimed_expiry);
        if expires.is_some_and(|end| end <= self.lasting.clock.now()) {
            return Err(Refusal::Expired.into());
        }
        let person = reviews.review(key, token.expose(), account).await?;
        Ok((person, expires))
    }
}
