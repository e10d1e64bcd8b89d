//! A list over all namespaces as one list per namespace: which there are, and the permit for each.

use std::cmp::Ordering;
use std::sync::Arc;

use super::Permit;
use super::own_rights;
use crate::identity::Identity;
use crate::k8s::list_options::ListOptions;
use crate::k8s::names::Namespace;
use crate::k8s::request::ApiRequest;
use crate::k8s::request::ResourceRequest;
use crate::k8s::request::Verb;

/// The legs of a fan-out, in the order in which etcd holds their objects. Each goes upstream as the user: what of it he
/// may see is the API server's to say, namespace by namespace.
#[derive(Debug)]
pub struct Legs {
    who: Arc<Identity>,
    whole: ResourceRequest,
    namespaces: Vec<Namespace>,
}

/// Where a leg begins, and how much of it is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// At which state.
    pub from: From,
    /// At most so many objects.
    pub limit: Option<i64>,
}

/// The state a leg shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    /// The one the client asks for: the leg that sets the version for the others.
    Client,
    /// Exactly this resourceVersion.
    Exactly(String),
    /// The page behind this native token.
    Page(String),
    /// What is there now, whatever the client asked for: behind an inconsistent token.
    Now,
}

/// Where the watch of a leg begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Where the client wants to.
    Client,
    /// With the present state: the client has nothing of this namespace.
    State,
}

impl Legs {
    /// `whole` in each of `namespaces`.
    pub(super) fn new<'a>(
        who: &Arc<Identity>,
        whole: &ResourceRequest,
        namespaces: impl Iterator<Item = &'a Namespace>,
    ) -> Self {
        let mut namespaces: Vec<Namespace> = namespaces.cloned().collect();
        namespaces.sort_by(in_etcd);
        Self {
            who: Arc::clone(who),
            whole: whole.clone(),
            namespaces,
        }
    }

    /// The namespaces, in order.
    pub fn namespaces(&self) -> &[Namespace] {
        &self.namespaces
    }

    /// The number of the first leg at or behind `namespace`.
    pub fn from(&self, namespace: &Namespace) -> usize {
        let before = |name: &Namespace| in_etcd(name, namespace).is_lt();
        self.namespaces.partition_point(before)
    }

    /// The permit for leg number `at`, as the user. `None`: there are fewer.
    pub fn permit(&self, at: usize, cut: Cut) -> Option<Permit> {
        let namespace = self.namespaces.get(at)?;
        // The client's page token is ours, and no leg's.
        let client = ListOptions {
            limit: cut.limit,
            continue_token: None,
            ..self.whole.options()?.clone()
        };
        let now = ListOptions {
            resource_version: None,
            resource_version_match: None,
            ..client.clone()
        };
        let options = match cut.from {
            From::Client => client,
            From::Now => now,
            From::Exactly(version) => ListOptions {
                resource_version: Some(version),
                resource_version_match: Some("Exact".to_owned()),
                ..now
            },
            From::Page(token) => ListOptions {
                continue_token: Some(token),
                ..now
            },
        };
        let leg = self.whole.narrowed_to(namespace.clone(), options);
        Some(Permit::as_user(
            &self.who,
            &Arc::new(ApiRequest::Resource(leg)),
        ))
    }

    /// The permit for a watch in leg number `at`, as the user. `None`: there are fewer legs.
    pub fn watch(&self, at: usize, start: Start) -> Option<Permit> {
        let namespace = self.namespaces.get(at)?;
        // How long the whole lasts is ours to say: legs that end one by one would end it early.
        let client = ListOptions {
            timeout_seconds: None,
            ..self.whole.options()?.clone()
        };
        let options = match start {
            Start::Client => client,
            Start::State => ListOptions {
                resource_version: None,
                resource_version_match: None,
                send_initial_events: None,
                ..client
            },
        };
        let leg = self.whole.narrowed_to(namespace.clone(), options);
        Some(Permit::as_user(
            &self.who,
            &Arc::new(ApiRequest::Resource(leg)),
        ))
    }

    /// The permit for the list that shows what the client of a watch holds of leg number `at`, as the user. `None`: there
    /// are fewer legs, or the client begins with the present state.
    pub fn seed(&self, at: usize) -> Option<Permit> {
        let namespace = self.namespaces.get(at)?;
        let seed = self.whole.options()?.seed()?;
        let leg = self.whole.narrowed_to(namespace.clone(), seed);
        Some(Permit::as_user(
            &self.who,
            &Arc::new(ApiRequest::Resource(leg)),
        ))
    }

    /// The permit to ask whether he may do in leg number `at` what the whole asks for, and the review that asks it.
    pub fn review(&self, at: usize) -> Option<(Permit, Vec<u8>)> {
        self.review_of(self.whole.verb, at)
    }

    /// The same for whether he may list there.
    pub fn review_of_lists(&self, at: usize) -> Option<(Permit, Vec<u8>)> {
        self.review_of(Verb::List, at)
    }

    fn review_of(&self, verb: Verb, at: usize) -> Option<(Permit, Vec<u8>)> {
        let namespace = self.namespaces.get(at)?;
        let (kind, name) = (&self.whole.resource, self.whole.name.as_ref());
        let review = own_rights::review_in(verb, kind, namespace, name);
        Some((own_rights::review_permit(&self.who), review))
    }

    /// The permit for the whole list, as the user: where no leg shows anything, his own answer is the answer.
    pub fn whole(&self) -> Permit {
        Permit::as_user(
            &self.who,
            &Arc::new(ApiRequest::Resource(self.whole.clone())),
        )
    }
}

/// The order of namespaces in etcd, whose keys are `namespace/name`: `-` sorts before `/`, so `a-b/…` comes before `a/…`.
fn in_etcd(one: &Namespace, other: &Namespace) -> Ordering {
    let one = one.as_str().bytes().chain([b'/']);
    one.cmp(other.as_str().bytes().chain([b'/']))
}
