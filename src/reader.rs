//! The fixed identity the proxy reads as: its names, its `kube::Client`, a fresh resourceVersion of a kind.
//!
//! The proxy's service account may list nothing itself; it may become this one user in this one group. So a lost
//! header fails closed, and stealing the proxy's token is not stealing the cluster. Nothing here writes.

use std::sync::Arc;

use http::Request;
use serde::Deserialize;

use crate::k8s::names::GroupResource;

/// The user that narrowed lists and informers run as.
pub const USER: &str = "kube-tenant-proxy:reader";
/// Its group, always sent with it: a lost user header is then a 400, never the service account's own voice.
pub const GROUP: &str = "kube-tenant-proxy:readers";
/// The extra key that names the human in the API server's audit log. Never `oid`, which Azure's webhook would judge by.
pub const EXTRA_KEY: &str = "kube-tenant-proxy.io/user";

/// The proxy's own reads, made as [`USER`] in [`GROUP`].
#[derive(Clone)]
pub struct Reader {
    client: kube::Client,
}

impl Reader {
    /// The reader of the cluster that `base` (the proxy's own configuration) points at.
    ///
    /// Must be called within a tokio runtime: the client starts a task of its own.
    ///
    /// # Errors
    /// [`ReaderError::Client`] when `base` cannot be made into a client, such as an unreadable certificate.
    pub fn new(base: kube::Config) -> Result<Self, ReaderError> {
        let client = kube::Client::try_from(as_reader(base)).map_err(ReaderError::Client)?;
        Ok(Self { client })
    }

    /// For informers and discovery.
    pub fn client(&self) -> &kube::Client {
        &self.client
    }

    /// A resourceVersion of `resource` that is no older than this call: one list of one item with resourceVersion
    /// unset, which the API server answers as a consistent read.
    ///
    /// # Errors
    /// [`ReaderError::Position`] when the API server does not answer, [`ReaderError::NoPosition`] when its answer has
    /// no resourceVersion, as aggregated APIs may do.
    pub async fn position(
        &self,
        resource: &GroupResource,
        version: &str,
    ) -> Result<ResourceVersion, ReaderError> {
        let path = if resource.group.is_empty() {
            format!("/api/{version}/{}?limit=1", resource.resource)
        } else {
            format!(
                "/apis/{}/{version}/{}?limit=1",
                resource.group, resource.resource
            )
        };
        let request = Request::get(path)
            .body(Vec::new())
            .map_err(ReaderError::Request)?;
        let list: List =
            self.client
                .request(request)
                .await
                .map_err(|cause| ReaderError::Position {
                    resource: resource.clone(),
                    cause,
                })?;
        match list.metadata.resource_version {
            Some(text) if !text.is_empty() => Ok(ResourceVersion(text)),
            Some(_) | None => Err(ReaderError::NoPosition(resource.clone())),
        }
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reader")
    }
}

/// The configuration that speaks as the reader, whatever identity `base` itself impersonated.
fn as_reader(mut base: kube::Config) -> kube::Config {
    base.auth_info.impersonate = Some(USER.to_owned());
    base.auth_info.impersonate_groups = Some(vec![GROUP.to_owned()]);
    base.auth_info.impersonate_uid = None;
    base.auth_info.impersonate_user_extra = None;
    base
}

/// A position in the history of one resource, as the API server wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ResourceVersion(pub Arc<str>);

/// Of a list, all that matters here.
#[derive(Deserialize)]
struct List {
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    resource_version: Option<Arc<str>>,
}

impl ReaderError {
    /// Whether the API server answered that it serves no such kind.
    pub fn says_no_such_kind(&self) -> bool {
        self.code() == Some(404)
    }

    /// Whether the API server answered that the reader may not read the kind.
    pub fn says_no_such_right(&self) -> bool {
        self.code() == Some(403)
    }

    fn code(&self) -> Option<u16> {
        match self {
            Self::Position {
                cause: kube::Error::Api(status),
                ..
            } => Some(status.code),
            Self::Position { .. } | Self::Client(_) | Self::Request(_) | Self::NoPosition(_) => {
                None
            }
        }
    }
}

/// Why the reader has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReaderError {
    /// The configuration is unusable.
    #[error("cannot make a client for the reader")]
    Client(#[source] kube::Error),
    /// A group, version or resource that cannot stand in a path.
    #[error("cannot write the request")]
    Request(#[source] http::Error),
    /// No answer, or one that is no list.
    #[error("cannot read the present resourceVersion of {resource}")]
    Position {
        /// Of what.
        resource: GroupResource,
        /// Why.
        #[source]
        cause: kube::Error,
    },
    /// A list without resourceVersion.
    #[error("a list of {0} has no resourceVersion")]
    NoPosition(GroupResource),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_the_base_was_the_reader_is_the_reader() {
        let mut base = kube::Config::new(http::Uri::from_static("http://localhost"));
        base.auth_info.impersonate = Some("system:admin".to_owned());
        base.auth_info.impersonate_groups = Some(vec!["system:masters".to_owned()]);
        base.auth_info.impersonate_uid = Some("1".to_owned());
        base.auth_info.impersonate_user_extra =
            Some([("oid".to_owned(), vec!["x".to_owned()])].into());
        let reader = as_reader(base).auth_info;
        assert_eq!(reader.impersonate.as_deref(), Some(USER));
        assert_eq!(reader.impersonate_groups, Some(vec![GROUP.to_owned()]));
        assert_eq!(
            (reader.impersonate_uid, reader.impersonate_user_extra),
            (None, None)
        );
    }
}
