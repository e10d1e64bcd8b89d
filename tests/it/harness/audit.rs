//! What the API server saw: one entry per request, in one form for both worlds.

use std::collections::BTreeMap;
use std::collections::HashSet;

use kube_tenant_proxy::demo;
use kube_tenant_proxy::reader;
use serde::Deserialize;
use serde_json::Value;

/// One request that reached the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose credential it was; empty where it was refused.
    pub user: String,
    /// As whom it was made, if not as himself.
    pub acting: Option<Acting>,
    pub verb: String,
    pub uri: String,
    pub resource: String,
    pub code: u16,
}

/// An impersonated user.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Acting {
    pub username: String,
    #[serde(default)]
    pub groups: Vec<String>,
    #[serde(default)]
    pub extra: BTreeMap<String, Vec<String>>,
}

impl Entry {
    /// Whether it was made by or for `person`: with his credential, as him, or as the reader in his name.
    pub fn concerns(&self, person: &str) -> bool {
        let acting = self.acting.as_ref();
        self.user == person
            || acting.is_some_and(|acting| acting.username == person)
            || self.read_for() == Some(person)
    }

    /// For whom it was made, if as the reader.
    pub fn read_for(&self) -> Option<&str> {
        let acting = self
            .acting
            .as_ref()
            .filter(|acting| acting.username == reader::USER)?;
        Some(acting.extra.get(reader::EXTRA_KEY)?.first()?)
    }

    /// Of an embedded world.
    pub fn of_demo(entry: demo::AuditEntry) -> Self {
        Self {
            user: entry.user.map(|user| user.name).unwrap_or_default(),
            acting: entry.impersonated.map(|user| Acting {
                username: user.name,
                groups: user.groups,
                extra: user.extra,
            }),
            verb: entry.verb,
            uri: entry.uri,
            resource: entry.resource,
            code: entry.code,
        }
    }
}

/// The entries of an API server's audit log: one per request, in the order of their first lines.
pub fn parse(log: &str) -> Vec<Entry> {
    let mut told = HashSet::new();
    // The last line may still be under way.
    let whole = &log[..log.rfind('\n').map_or(0, |end| end + 1)];
    let events = whole
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let answered = events.filter(|event| event["responseStatus"].is_object());
    let first = answered.filter(|event| told.insert(event["auditID"].as_str().unwrap().to_owned()));
    first.map(|event| of_real(&event)).collect()
}

fn of_real(event: &Value) -> Entry {
    let text = |pointer: &str| {
        event
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let group = text("/objectRef/apiGroup");
    let mut resource = text("/objectRef/resource");
    if !group.is_empty() {
        resource = format!("{resource}.{group}");
    }
    Entry {
        user: text("/user/username"),
        acting: event
            .get("impersonatedUser")
            .map(|user| Acting::deserialize(user).unwrap()),
        verb: text("/verb"),
        uri: text("/requestURI"),
        resource,
        code: u16::try_from(event["responseStatus"]["code"].as_u64().unwrap_or(200)).unwrap(),
    }
}
