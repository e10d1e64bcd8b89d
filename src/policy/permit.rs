//! The permit: what was judged is what is sent.

use std::sync::Arc;

use crate::catalog::KindFacts;
use crate::identity::Identity;
use crate::k8s::request::ApiRequest;
use crate::k8s::request::ResourceRequest;
use crate::k8s::request::Verb;

/// The right to send one request upstream, in one voice. Only [`crate::policy`] makes it, and sending uses it up.
///
/// ```compile_fail,E0451
/// // Nobody else can: the fields are private, and so are its constructors.
/// use kube_tenant_proxy::policy::{Permit, Voice};
/// fn forge(honest: &Permit) -> Permit {
///     Permit { who: honest.who().clone(), what: honest.what().clone(), voice: Voice::Reader }
/// }
/// ```
#[derive(Debug)]
pub struct Permit {
    who: Arc<Identity>,
    what: Arc<ApiRequest>,
    voice: Voice,
}

/// As whom a permitted request goes upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    /// As the user himself, by his authenticator's [`crate::identity::UpstreamMode`].
    User,
    /// As the fixed reader, with the user named in an extra.
    Reader,
}

impl Permit {
    pub(in crate::policy) fn as_user(who: &Arc<Identity>, what: &Arc<ApiRequest>) -> Self {
        Self {
            who: Arc::clone(who),
            what: Arc::clone(what),
            voice: Voice::User,
        }
    }

    pub(in crate::policy) fn as_reader(who: &Arc<Identity>, read: NarrowedRead) -> Self {
        Self {
            who: Arc::clone(who),
            what: Arc::new(ApiRequest::Resource(read.0)),
            voice: Voice::Reader,
        }
    }

    /// A permit for tests of what carries permits out.
    #[cfg(test)]
    pub(crate) fn for_test(who: Arc<Identity>, what: Arc<ApiRequest>, voice: Voice) -> Self {
        Self { who, what, voice }
    }

    /// Whose request it is.
    pub fn who(&self) -> &Arc<Identity> {
        &self.who
    }

    /// What may be sent: method and target are printed from it.
    pub fn what(&self) -> &Arc<ApiRequest> {
        &self.what
    }

    /// In which voice.
    pub fn voice(&self) -> Voice {
        self.voice
    }
}

/// A read that the reader's voice may be given to: get, list or watch of a cluster-scoped kind, no subresource, no
/// upgrade. RBAC says which kinds, a second time.
#[derive(Debug)]
pub(in crate::policy) struct NarrowedRead(ResourceRequest);

impl NarrowedRead {
    /// `None` if the reader must not be asked for `request`.
    pub(in crate::policy) fn new(request: ResourceRequest, kind: &KindFacts) -> Option<Self> {
        let reads = match request.verb {
            Verb::Get => request.name_in_path,
            Verb::List | Verb::Watch => !request.name_in_path,
            Verb::Create
            | Verb::Update
            | Verb::Patch
            | Verb::Delete
            | Verb::DeleteCollection
            | Verb::Proxy => false,
        };
        let of_the_cluster = !kind.namespaced
            && kind.resource == request.resource
            && !super::is_within_a_namespace(&request);
        let plain = request.subresource.is_none()
            && request.upgrade.is_none()
            && request.method == http::Method::GET;
        (reads && plain && of_the_cluster).then_some(Self(request))
    }
}
