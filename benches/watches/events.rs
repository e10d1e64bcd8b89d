//! Changes of who may see what, made at the API server itself.

use std::time::Instant;

use http::Method;
use http_body_util::BodyExt;
use serde_json::json;

use crate::Bed;
use crate::client::Call;
use crate::client::Connection;
use crate::client::Version;

/// A change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A RoleBinding in a namespace of a neighbour names the user.
    Bound,
    /// It is gone.
    Unbound,
    /// A neighbour's Tenant has the user as an owner too.
    Owner,
    /// No longer.
    NoOwner,
    /// A RoleBinding in a namespace of a neighbour names a group that all users carry.
    BoundEverybody,
}

impl Change {
    pub(crate) const OF_ONE: [Self; 4] = [Self::Bound, Self::Unbound, Self::Owner, Self::NoOwner];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bound => "RoleBinding made",
            Self::Unbound => "RoleBinding deleted",
            Self::Owner => "owner added",
            Self::NoOwner => "owner removed",
            Self::BoundEverybody => "RoleBinding of all made",
        }
    }
}

/// Makes changes.
pub(crate) struct Admin<'a> {
    bed: &'a Bed,
    connection: Connection,
}

/// When a change was asked for, and when it was answered.
pub(crate) struct Made {
    pub(crate) asked: Instant,
    pub(crate) answered: Instant,
}

impl<'a> Admin<'a> {
    pub(crate) async fn connect(bed: &'a Bed) -> anyhow::Result<Self> {
        Ok(Self {
            bed,
            connection: bed.api.connect(Version::Http1).await?,
        })
    }

    /// Makes `change` for `user`, of whom `neighbour` is another.
    pub(crate) async fn make(
        &mut self,
        change: Change,
        user: usize,
        neighbour: usize,
    ) -> anyhow::Result<Made> {
        const BINDINGS: &str = "apis/rbac.authorization.k8s.io/v1/namespaces";
        let name = format!("bench-{user}");
        let (here, me) = (format!("t{neighbour}-0"), owner(user));
        let binding = |subject: serde_json::Value| {
            json!({"metadata": {"name": name}, "subjects": [subject],
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}})
        };
        let subject = |kind: &str, name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name});
        let tenant = format!("/apis/capsule.clastix.io/v1beta2/tenants/t{neighbour}");
        let owners = |owners: &[usize]| {
            let owners: Vec<_> = owners
                .iter()
                .map(|owner_of| json!({"kind": "User", "name": owner(*owner_of)}))
                .collect();
            json!({"spec": {"owners": owners}})
        };
        let (method, path, body) = match change {
            Change::Bound => (
                Method::POST,
                format!("/{BINDINGS}/{here}/rolebindings"),
                binding(subject("User", &me)),
            ),
            Change::BoundEverybody => (
                Method::POST,
                format!("/{BINDINGS}/{here}/rolebindings"),
                binding(subject("Group", &self.bed.everybody)),
            ),
            Change::Unbound => (
                Method::DELETE,
                format!("/{BINDINGS}/{here}/rolebindings/{name}"),
                json!({}),
            ),
            Change::Owner => (Method::PATCH, tenant, owners(&[neighbour, user])),
            Change::NoOwner => (Method::PATCH, tenant, owners(&[neighbour])),
        };
        let content_type = if method == Method::PATCH {
            "application/merge-patch+json"
        } else {
            "application/json"
        };
        let call = Call {
            method,
            path: &path,
            token: &self.bed.admin,
            content_type,
            body: body.to_string(),
        };
        let asked = Instant::now();
        let answer = self.bed.api.send(&mut self.connection, &call).await?;
        let answered = Instant::now();
        answer.into_body().collect().await?;
        Ok(Made { asked, answered })
    }
}

fn owner(number: usize) -> String {
    format!("user-{number}@example.org")
}
