//! What the API server said about identities' own rights, remembered.
//!
//! A *yes* needs no expiry: the request is forwarded and the API server judges; its 403 turns the answer into no.
//! A *no* is kept for a minute and asked again in the background while it is in use, by requests and by open watches, so
//! that a warm request waits for no review. A review that fails is no answer, and never a no.

use std::time::Duration;
use std::time::Instant;

use moka::ops::compute::Op;
use moka::sync::Cache;
use tokio::sync::watch;

use crate::identity::IdentityKey;
use crate::k8s::names::GroupResource;
use crate::k8s::request::ApiRequest;
use crate::policy::OwnRights;
use crate::policy::Question;

/// How long a *no* stands without being asked again.
const FRESH: Duration = Duration::from_secs(60);

/// How long a *no* is used while it is asked again; after that a request waits for the answer.
const USABLE: Duration = Duration::from_secs(300);

/// The same as [`FRESH`] of a *no* that a 403 made of a *yes*: an API server that has just started refuses for a moment
/// what it allows.
const DOUBTFUL: Duration = Duration::from_secs(2);

/// Answers kept of one identity about one kind: two verbs of the whole, and of names.
const MAX_ANSWERS: usize = 16;

/// Identities times kinds remembered, some hundred bytes each. An evicted one costs a review.
const CAPACITY: u64 = 262_144;

/// Answers by identity and kind.
#[derive(Clone, Debug)]
pub(super) struct Answers {
    kept: Cache<(IdentityKey, GroupResource), Vec<Answer>>,
    lost: watch::Sender<u64>,
    gained: watch::Sender<u64>,
}

#[derive(Clone, Debug)]
struct Answer {
    question: Question,
    says: Says,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    Yes,
    No {
        /// When it is to be asked again.
        due: Instant,
        /// How long it counts.
        until: Instant,
    },
}

impl Says {
    /// A *no* heard at `now`, to be asked again after `fresh`.
    fn no(now: Instant, fresh: Duration) -> Self {
        Self::No {
            due: now + fresh,
            until: now + USABLE,
        }
    }

    fn is_fresh(self, now: Instant) -> bool {
        match self {
            Self::Yes => true,
            Self::No { due, .. } => now < due,
        }
    }

    fn is_usable(self, now: Instant) -> bool {
        match self {
            Self::Yes => true,
            Self::No { until, .. } => now < until,
        }
    }
}

/// What is known of an identity's own rights to a kind, and what should be asked again meanwhile.
#[derive(Debug, Default)]
pub(super) struct Recalled {
    /// For the decision.
    pub(super) usable: OwnRights,
    /// The same without what is no longer fresh, where something is not: a decision on these asks it again.
    pub(super) fresh: Option<OwnRights>,
}

impl Answers {
    pub(super) fn new() -> Self {
        Self {
            kept: Cache::builder()
                .max_capacity(CAPACITY)
                .time_to_idle(Duration::from_secs(3600))
                .build(),
            lost: watch::Sender::new(0),
            gained: watch::Sender::new(0),
        }
    }

    /// Tells when anybody's *yes* has become a *no*, which is rare. What rests on a *yes* looks again then.
    pub(super) fn lost(&self) -> watch::Receiver<u64> {
        self.lost.subscribe()
    }

    /// Tells when anybody's *no* has become a *yes*, which is as rare. What is narrowed by a *no* looks again then.
    pub(super) fn gained(&self) -> watch::Receiver<u64> {
        self.gained.subscribe()
    }

    /// What is known at `now` about the kind that `what` asks for.
    pub(super) fn recall(&self, who: &IdentityKey, what: &ApiRequest, now: Instant) -> Recalled {
        let ApiRequest::Resource(request) = what else {
            return Recalled::default();
        };
        let Some(answers) = self.kept.get(&(*who, request.resource.clone())) else {
            return Recalled::default();
        };
        let rights = |counts: fn(Says, Instant) -> bool| {
            let kept = answers.iter().filter(|answer| counts(answer.says, now));
            OwnRights::new(kept.map(|answer| (answer.question.clone(), answer.says == Says::Yes)))
        };
        let (usable, fresh) = (rights(Says::is_usable), rights(Says::is_fresh));
        Recalled {
            fresh: (fresh != usable).then_some(fresh),
            usable,
        }
    }

    /// Remembers an answer.
    pub(super) fn learn(&self, who: &IdentityKey, question: Question, yes: bool, now: Instant) {
        let says = if yes { Says::Yes } else { Says::no(now, FRESH) };
        let mut gained = false;
        let key = (*who, question.resource.clone());
        self.kept.entry(key).and_upsert_with(|known| {
            let mut answers = known.map(moka::Entry::into_value).unwrap_or_default();
            answers.retain(|answer| {
                let same = answer.question == question;
                gained |= same && yes && answer.says != Says::Yes;
                !same
            });
            // Names in questions come from requests: what a user asks about must not grow without end, nor push out the rest.
            let named = answers.iter().position(|one| one.question.name.is_some());
            if answers.len() >= MAX_ANSWERS {
                answers.remove(named.unwrap_or(0));
            }
            answers.push(Answer { question, says });
            answers
        });
        if gained {
            self.gained.send_modify(|times| *times += 1);
        }
    }

    /// Puts off asking `question` again for [`FRESH`]: somebody is about to ask. How long the old answer counts is not
    /// put off.
    pub(super) fn put_off(&self, who: &IdentityKey, question: &Question, now: Instant) {
        self.change(who, &question.resource, |answer| match answer.says {
            Says::No { until, .. } if answer.question == *question => Says::No {
                due: now + FRESH,
                until,
            },
            says @ (Says::Yes | Says::No { .. }) => says,
        });
    }

    /// The API server refused `what` although it had said yes to it: what was a yes is now a no. Says whether there was
    /// one.
    pub(super) fn refused(&self, who: &IdentityKey, what: &ApiRequest, now: Instant) -> bool {
        let ApiRequest::Resource(request) = what else {
            return false;
        };
        let mut changed = false;
        self.change(who, &request.resource, |answer| match answer.says {
            Says::Yes => {
                changed = true;
                Says::no(now, DOUBTFUL)
            }
            no @ Says::No { .. } => no,
        });
        if changed {
            self.lost.send_modify(|times| *times += 1);
        }
        changed
    }

    /// What each answer about `kind` says from now on.
    fn change(
        &self,
        who: &IdentityKey,
        kind: &GroupResource,
        mut says: impl FnMut(&Answer) -> Says,
    ) {
        let key = (*who, kind.clone());
        self.kept.entry(key).and_compute_with(|known| match known {
            None => Op::Nop,
            Some(entry) => {
                let mut answers = entry.into_value();
                for answer in &mut answers {
                    answer.says = says(answer);
                }
                Op::Put(answers)
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::testing::identity;
    use crate::k8s::request::Verb;
    use crate::policy::Known;

    fn alice() -> IdentityKey {
        *identity("alice").key()
    }

    fn list() -> Question {
        Question {
            verb: Verb::List,
            resource: GroupResource::new("", "namespaces"),
            name: None,
        }
    }

    fn listing(target: &str) -> ApiRequest {
        let target = target.parse().unwrap();
        ApiRequest::parse(&http::Method::GET, &target, &http::HeaderMap::new()).unwrap()
    }

    #[test]
    fn a_no_is_asked_again_after_a_minute_and_forgotten_after_five() {
        let (answers, start) = (Answers::new(), Instant::now());
        answers.learn(&alice(), list(), false, start);
        let namespaces = listing("/api/v1/namespaces");
        let at = |seconds| {
            let now = start + Duration::from_secs(seconds);
            let recalled = answers.recall(&alice(), &namespaces, now);
            (recalled.usable.may(&list()), recalled.fresh.is_some())
        };
        assert_eq!(at(59), (Known::No, false));
        assert_eq!(at(60), (Known::No, true));
        assert_eq!(at(300), (Known::NotAsked, false));
    }

    #[test]
    fn a_yes_stands_until_the_api_server_refuses() {
        let (answers, start) = (Answers::new(), Instant::now());
        answers.learn(&alice(), list(), true, start);
        let later = start + Duration::from_secs(86_400);
        let namespaces = listing("/api/v1/namespaces");
        let known = || {
            let recalled = answers.recall(&alice(), &namespaces, later);
            recalled.usable.may(&list())
        };
        assert_eq!(known(), Known::Yes);
        assert!(!answers.refused(&alice(), &listing("/api/v1/pods"), later));
        assert_eq!(
            known(),
            Known::Yes,
            "the refusal of another kind says nothing"
        );
        assert!(answers.refused(&alice(), &namespaces, later));
        assert_eq!(known(), Known::No);
    }

    #[test]
    fn what_a_refusal_took_is_soon_asked_again_and_its_return_is_told() {
        let (answers, start) = (Answers::new(), Instant::now());
        let namespaces = listing("/api/v1/namespaces");
        let is_due = |seconds| {
            let now = start + Duration::from_secs(seconds);
            let recalled = answers.recall(&alice(), &namespaces, now);
            recalled.fresh.is_some()
        };
        let mut gained = answers.gained();
        let mut told = || {
            let told = gained.has_changed().unwrap();
            gained.mark_unchanged();
            told
        };
        answers.learn(&alice(), list(), true, start);
        assert!(!told(), "nothing was kept from him before");
        assert!(answers.refused(&alice(), &namespaces, start));
        assert!(!is_due(1));
        assert!(is_due(2));
        answers.put_off(&alice(), &list(), start + Duration::from_secs(2));
        assert!(!is_due(3), "somebody is asking");
        assert!(is_due(62), "and was not answered");
        answers.learn(&alice(), list(), true, start + Duration::from_secs(63));
        assert!(told());
        answers.learn(&alice(), list(), true, start + Duration::from_secs(64));
        assert!(!told(), "it was a yes already");
    }

    #[test]
    fn asking_in_vain_does_not_lengthen_a_no() {
        let (answers, start) = (Answers::new(), Instant::now());
        let namespaces = listing("/api/v1/namespaces");
        let at = |seconds| start + Duration::from_secs(seconds);
        answers.learn(&alice(), list(), false, start);
        for minute in 1..5 {
            answers.put_off(&alice(), &list(), at(60 * minute));
        }
        let known = |seconds| {
            let recalled = answers.recall(&alice(), &namespaces, at(seconds));
            recalled.usable.may(&list())
        };
        assert_eq!((known(299), known(300)), (Known::No, Known::NotAsked));
    }
}
