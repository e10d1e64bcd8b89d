//! The two documents that discovery consists of, as far as we need them: pure, from bytes to values.
//! What is incomplete in them is left out, and so unknown.

use serde::Deserialize;

use super::Verbs;
use crate::k8s::request::Verb;

/// One resource in one version.
pub(super) struct Kind {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) resource: String,
    pub(super) kind: String,
    pub(super) namespaced: bool,
    pub(super) verbs: Verbs,
}

/// Why a discovery document was not taken.
#[derive(Debug, thiserror::Error)]
pub enum BadDocument {
    /// No JSON, or of another shape.
    #[error("a discovery document cannot be read")]
    Json(#[from] serde_json::Error),
    /// An answer to another `Accept`, such as the `APIGroupList` of an API server older than 1.30.
    #[error(
        "a discovery document is {kind} of {api_version}, not APIGroupDiscoveryList of {API_VERSION}"
    )]
    Other {
        /// Its `kind`.
        kind: String,
        /// Its `apiVersion`.
        api_version: String,
    },
}

const API_VERSION: &str = "apidiscovery.k8s.io/v2";

/// The kinds in an `APIGroupDiscoveryList` (`k8s.io/api apidiscovery/v2`), in its order.
///
/// # Errors
/// [`BadDocument`].
pub(super) fn kinds(document: &[u8]) -> Result<Vec<Kind>, BadDocument> {
    let document: Document = serde_json::from_slice(document)?;
    if document.kind != "APIGroupDiscoveryList" || document.api_version != API_VERSION {
        return Err(BadDocument::Other {
            kind: document.kind,
            api_version: document.api_version,
        });
    }
    let mut kinds = Vec::new();
    for group in document.items {
        for version in group.versions {
            for resource in version.resources {
                // Without a kind, it is but the parent of subresources. A scope that we do not know is no scope.
                let (Some(kind), Some(namespaced)) = (resource.kind(), resource.is_namespaced())
                else {
                    continue;
                };
                kinds.push(Kind {
                    group: group.metadata.name.clone(),
                    version: version.version.clone(),
                    kind: kind.to_owned(),
                    namespaced,
                    verbs: resource.verbs(),
                    resource: resource.resource,
                });
            }
        }
    }
    Ok(kinds)
}

/// The groups and versions that APIServices hand to another server, from an `APIServiceList`.
///
/// # Errors
/// [`BadDocument::Json`].
pub(super) fn served_elsewhere(document: &[u8]) -> Result<Vec<(String, String)>, BadDocument> {
    let list: ApiServices = serde_json::from_slice(document)?;
    let specs = list.items.into_iter().map(|item| item.spec);
    Ok(specs
        .filter(|spec| spec.service.is_some())
        .map(|spec| (spec.group, spec.version))
        .collect())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    kind: String,
    api_version: String,
    #[serde(default)]
    items: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    metadata: Metadata,
    #[serde(default)]
    versions: Vec<Version>,
}

#[derive(Deserialize)]
struct Metadata {
    /// Left out for the core group.
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct Version {
    version: String,
    /// Those of a version whose server is away (`freshness: Stale`) are the last known ones, or none.
    #[serde(default)]
    resources: Vec<Resource>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resource {
    resource: String,
    response_kind: Option<ResponseKind>,
    scope: String,
    #[serde(default)]
    verbs: Vec<String>,
}

#[derive(Deserialize)]
struct ResponseKind {
    kind: String,
}

impl Resource {
    fn kind(&self) -> Option<&str> {
        let kind = self.response_kind.as_ref()?.kind.as_str();
        (!kind.is_empty()).then_some(kind)
    }

    fn is_namespaced(&self) -> Option<bool> {
        match self.scope.as_str() {
            "Namespaced" => Some(true),
            "Cluster" => Some(false),
            _ => None,
        }
    }

    fn verbs(&self) -> Verbs {
        let known = [
            Verb::Get,
            Verb::List,
            Verb::Watch,
            Verb::Create,
            Verb::Update,
            Verb::Patch,
            Verb::Delete,
            Verb::DeleteCollection,
            Verb::Proxy,
        ];
        known
            .into_iter()
            .filter(|verb| self.verbs.iter().any(|name| name == verb.as_str()))
            .collect()
    }
}

#[derive(Deserialize)]
struct ApiServices {
    #[serde(default)]
    items: Vec<ApiService>,
}

#[derive(Deserialize)]
struct ApiService {
    spec: ApiServiceSpec,
}

#[derive(Deserialize)]
struct ApiServiceSpec {
    #[serde(default)]
    group: String,
    version: String,
    service: Option<serde::de::IgnoredAny>,
}
