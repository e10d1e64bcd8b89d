//! A list over all namespaces as one list per namespace: which there are, and the permit for each.

use std::sync::Arc;

use super::Permit;
use crate::identity::Identity;
use crate::k8s::list_options::ListOptions;
use crate::k8s::names::Namespace;
use crate::k8s::request::ApiRequest;
use crate::k8s::request::ResourceRequest;

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

impl Legs {
    /// `whole` in each of `namespaces`.
    pub(super) fn new<'a>(
        who: &Arc<Identity>,
        whole: &ResourceRequest,
        namespaces: impl Iterator<Item = &'a Namespace>,
    ) -> Self {
        let mut namespaces: Vec<Namespace> = namespaces.cloned().collect();
        // A key is `namespace/name`, and `-` sorts before `/`: `a-b/…` comes before `a/…`.
        namespaces.sort_by(|one, other| {
            let key = |name: &Namespace| -> Vec<u8> { [name.as_str().as_bytes(), b"/"].concat() };
            key(one).cmp(&key(other))
        });
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

    /// The permit for the leg in `namespace`, as the user. `None`: no leg lies there.
    pub fn permit(&self, namespace: &Namespace, cut: Cut) -> Option<Permit> {
        if !self.namespaces.contains(namespace) {
            return None;
        }
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

    /// The permit for the whole list, as the user: where no leg shows anything, his own answer is the answer.
    pub fn whole(&self) -> Permit {
        Permit::as_user(
            &self.who,
            &Arc::new(ApiRequest::Resource(self.whole.clone())),
        )
    }
}
