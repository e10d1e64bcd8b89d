//! What the API server said about identities' own rights, remembered.
//!
//! A *yes* needs no expiry: the request is forwarded and the API server judges; its 403 turns the answer into no.
//! A *no* is kept for a minute and asked again in the background while it is in use, so that a warm request waits for
//! no review. A review that fails is no answer, and never a no.

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

/// Answers kept of one identity about one kind: two verbs of the whole, and of names.
const MAX_ANSWERS: usize = 16;

/// Identities times kinds remembered, some hundred bytes each. An evicted one costs a review.
const CAPACITY: u64 = 262_144;

/// Answers by identity and kind.
#[derive(Clone, Debug)]
pub(super) struct Answers {
    kept: Cache<(IdentityKey, GroupResource), Vec<Answer>>,
    lost: watch::Sender<u64>,
}

#[derive(Clone, Debug)]
struct Answer {
    question: Question,
    yes: bool,
    asked: Instant,
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
        }
    }

    /// Tells when anybody's *yes* has become a *no*, which is rare. What rests on a *yes* looks again then.
    pub(super) fn lost(&self) -> watch::Receiver<u64> {
        self.lost.subscribe()
    }

    /// What is known at `now` about the kind that `what` asks for.
    pub(super) fn recall(&self, who: &IdentityKey, what: &ApiRequest, now: Instant) -> Recalled {
        let ApiRequest::Resource(request) = what else {
            return Recalled::default();
        };
        let Some(answers) = self.kept.get(&(*who, request.resource.clone())) else {
            return Recalled::default();
        };
        let younger = |than: Duration| {
            move |answer: &&Answer| answer.yes || now.saturating_duration_since(answer.asked) < than
        };
        let rights = |than: Duration| {
            let kept = answers.iter().filter(younger(than));
            OwnRights::new(kept.map(|answer| (answer.question.clone(), answer.yes)))
        };
        let (usable, fresh) = (rights(USABLE), rights(FRESH));
        Recalled {
            fresh: (fresh != usable).then_some(fresh),
            usable,
        }
    }

    /// Remembers an answer.
    pub(super) fn learn(&self, who: &IdentityKey, question: Question, yes: bool, now: Instant) {
        let key = (*who, question.resource.clone());
        self.kept.entry(key).and_upsert_with(|known| {
            let mut answers = known.map(moka::Entry::into_value).unwrap_or_default();
            answers.retain(|answer| answer.question != question);
            // Names in questions come from requests: what a user asks about must not grow without end.
            if answers.len() >= MAX_ANSWERS {
                answers.remove(0);
            }
            answers.push(Answer {
                question,
                yes,
                asked: now,
            });
            answers
        });
    }

    /// Puts off asking `question` again for [`FRESH`]: somebody is about to ask.
    pub(super) fn put_off(&self, who: &IdentityKey, question: &Question, now: Instant) {
        self.learn(who, question.clone(), false, now);
    }

    /// The API server refused `what` although it had said yes to it: what was a yes is now a no. Says whether there was
    /// one.
    pub(super) fn refused(&self, who: &IdentityKey, what: &ApiRequest, now: Instant) -> bool {
        let ApiRequest::Resource(request) = what else {
            return false;
        };
        let mut changed = false;
        let key = (*who, request.resource.clone());
        self.kept.entry(key).and_compute_with(|known| match known {
            None => Op::Nop,
            Some(entry) => Op::Put(
                entry
                    .into_value()
                    .into_iter()
                    .map(|answer| {
                        changed |= answer.yes;
                        if answer.yes {
                            Answer {
                                yes: false,
                                asked: now,
                                ..answer
                            }
                        } else {
                            answer
                        }
                    })
                    .collect(),
            ),
        });
        if changed {
            self.lost.send_modify(|times| *times += 1);
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::AuthenticatorId;
    use crate::identity::Extra;
    use crate::identity::Identity;
    use crate::identity::Proof;
    use crate::identity::UpstreamMode;
    use crate::identity::UserName;
    use crate::k8s::request::Verb;
    use crate::policy::Known;

    fn alice() -> IdentityKey {
        *Identity::new(Proof {
            user: UserName::parse("alice").unwrap(),
            groups: Ok(Vec::new()),
            uid: None,
            extra: Extra::new(),
            expires: None,
            by: AuthenticatorId::new("test"),
            upstream: UpstreamMode::Token,
        })
        .key()
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
}
