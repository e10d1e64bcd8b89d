//! Which kinds the API server serves: scope, verbs and who serves them, from discovery and kept current.
//! A snapshot never changes; what it does not hold is unknown, not absent: a kind may be a second old.

pub mod discover;
mod document;
mod readable;

use std::collections::HashMap;
use std::sync::Arc;

use crate::k8s::names::GroupResource;
use crate::k8s::request::Verb;

pub use document::BadDocument;
pub use readable::Readable;
pub use readable::ReadableKinds;

/// Everything that discovery said at one moment. Published through [`arc_swap::ArcSwap`], see [`discover::keep_current`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// All versions of a resource.
    kinds: HashMap<GroupResource, Vec<KindFacts>>,
    readable: Readable,
}

/// What is known of one kind in one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindFacts {
    /// Group and plural name.
    pub resource: GroupResource,
    /// `v1`, `v1beta2`, …
    pub version: Arc<str>,
    /// The kind of its objects.
    pub kind: Arc<str>,
    /// Whether its objects lie in namespaces. Never to be guessed from a path (CVE-2019-11247).
    pub namespaced: bool,
    /// What can be done with it at all.
    pub verbs: Verbs,
    /// Whether another server serves it than kube-apiserver, or may do so: an aggregated API may lack selectors,
    /// bookmarks, `Exact` and comparable resourceVersions.
    pub aggregated: bool,
    /// Whether it surely has a protobuf form. Custom resources have none, and discovery does not tell them apart.
    pub protobuf: bool,
}

/// A set of verbs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verbs(u16);

/// Who serves a group and version, as the APIService objects say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServedElsewhere {
    /// These groups and versions, and no others.
    Known(Vec<(String, String)>),
    /// The APIServices could not be read: whatever is not kube-apiserver's own may be served elsewhere.
    Unknown,
}

impl Catalog {
    /// The snapshot that two discovery documents, of `/api` and of `/apis`, amount to.
    ///
    /// # Errors
    /// [`BadDocument`] if one of them is no aggregated discovery document of version `v2`.
    pub fn from_documents(
        core: &[u8],
        groups: &[u8],
        elsewhere: &ServedElsewhere,
    ) -> Result<Self, BadDocument> {
        let mut catalog = Self::default();
        catalog.extend(document::kinds(core)?, elsewhere);
        catalog.extend(document::kinds(groups)?, elsewhere);
        Ok(catalog)
    }

    /// The same, with what the reader may read.
    #[must_use]
    pub fn with_readable(self, readable: Readable) -> Self {
        Self { readable, ..self }
    }

    /// What the reader may read over the whole cluster.
    pub fn readable(&self) -> &Readable {
        &self.readable
    }

    /// What is known of `resource` in `version`.
    pub fn kind(&self, resource: &GroupResource, version: &str) -> Option<&KindFacts> {
        self.versions(resource)
            .iter()
            .find(|facts| facts.version.as_ref() == version)
    }

    /// What is known of `resource`, in the API server's order: the version it prefers comes first.
    pub fn versions(&self, resource: &GroupResource) -> &[KindFacts] {
        self.kinds.get(resource).map_or(&[], Vec::as_slice)
    }

    /// All kinds in all versions, in no order.
    pub fn kinds(&self) -> impl Iterator<Item = &KindFacts> {
        self.kinds.values().flatten()
    }

    fn extend(&mut self, kinds: Vec<document::Kind>, elsewhere: &ServedElsewhere) {
        for kind in kinds {
            let is_own_group = OWN_GROUPS.contains(&kind.group.as_str());
            let aggregated = match elsewhere {
                ServedElsewhere::Known(served) => served
                    .iter()
                    .any(|(group, version)| *group == kind.group && *version == kind.version),
                ServedElsewhere::Unknown => !is_own_group,
            };
            let facts = KindFacts {
                resource: GroupResource::new(&kind.group, &kind.resource),
                version: kind.version.into(),
                kind: kind.kind.into(),
                namespaced: kind.namespaced,
                verbs: kind.verbs,
                aggregated,
                protobuf: is_own_group && !aggregated,
            };
            self.kinds
                .entry(facts.resource.clone())
                .or_default()
                .push(facts);
        }
    }
}

impl KindFacts {
    /// `apiVersion` of its objects.
    pub fn api_version(&self) -> String {
        if self.resource.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.resource.group, self.version)
        }
    }
}

impl Verbs {
    /// Whether `verb` is among them.
    pub fn contains(self, verb: Verb) -> bool {
        self.0 & Self::bit(verb) != 0
    }

    fn bit(verb: Verb) -> u16 {
        match verb {
            Verb::Get => 1,
            Verb::List => 1 << 1,
            Verb::Watch => 1 << 2,
            Verb::Create => 1 << 3,
            Verb::Update => 1 << 4,
            Verb::Patch => 1 << 5,
            Verb::Delete => 1 << 6,
            Verb::DeleteCollection => 1 << 7,
            Verb::Proxy => 1 << 8,
        }
    }
}

impl FromIterator<Verb> for Verbs {
    fn from_iter<T: IntoIterator<Item = Verb>>(verbs: T) -> Self {
        Self(
            verbs
                .into_iter()
                .map(Self::bit)
                .fold(0, |set, bit| set | bit),
        )
    }
}

/// The API groups that kube-apiserver itself serves, in every version from 1.30 to 1.37 (`k8s.io/api`,
/// `apiextensions-apiserver`, `kube-aggregator`). All their kinds have a protobuf form.
const OWN_GROUPS: [&str; 23] = [
    "",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "apps",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "internal.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
    "storagemigration.k8s.io",
];

#[cfg(test)]
mod tests;
