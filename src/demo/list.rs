//! Lists: which revision answers, which objects are selected, where a page ends
//! (`apiserver pkg/storage/{continue.go,cacher/delegator}`). A pure function of the stored state.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use serde_json::json;

use super::object::Object;
use super::object::text;
use super::options::ListOptions;
use super::options::Match;
use super::selector::Fields;
use super::selector::Labels;
use super::status::Failure;
use super::store::State;
use super::store::Unservable;
use crate::k8s::names::GroupResource;

/// Which objects a list or watch is about.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    pub(crate) resource: GroupResource,
    /// Empty: all.
    pub(crate) namespace: String,
    pub(crate) labels: Labels,
    pub(crate) fields: Fields,
}

impl Selection {
    /// Whether `object` is selected by labels and fields; its namespace is the caller's business.
    pub(crate) fn matches(&self, object: &Value) -> bool {
        self.labels.matches(object) && self.fields.matches(object)
    }

    fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }

    /// What comes before a name in the paths of this selection's objects.
    pub(crate) fn prefix(&self) -> String {
        if self.namespace.is_empty() {
            String::new()
        } else {
            format!("{}/", self.namespace)
        }
    }
}

/// A list's answer.
#[derive(Debug)]
pub(crate) struct Page {
    /// `ListMeta`.
    pub(crate) metadata: Value,
    pub(crate) objects: Vec<Arc<Object>>,
}

/// Lists what `selection` selects, as `options` want it.
///
/// # Errors
/// 400 for a bad token, 410 for a revision that was compacted, 504 for one that has not happened.
pub(crate) fn list(
    state: &State,
    selection: &Selection,
    options: &ListOptions,
) -> Result<Page, Failure> {
    let token = options
        .continue_token
        .as_deref()
        .map(ContinueToken::parse)
        .transpose()?;
    let asked = options.resource_version.unwrap_or(0);
    if token.is_some() && asked > 0 {
        let message = "specifying resource version is not allowed when using continue";
        return Err(Failure::bad_request(message));
    }
    // A limit with a resourceVersion and without a match has always meant "exactly" (KEP-1929).
    let legacy_exact = options.exact == Match::Unset && options.limit.is_some();
    let past = match &token {
        Some(token) => u64::try_from(token.revision).ok(),
        None if asked > 0 && (options.exact == Match::Exact || legacy_exact) => Some(asked),
        None => None,
    };
    let all = match past {
        Some(revision) => state
            .list_at(&selection.resource, &selection.namespace, revision)
            .map_err(|why| unservable(why, revision, token.as_ref()))?,
        None if asked > state.revision() => {
            return Err(Failure::too_large_revision(asked, state.revision()));
        }
        None => state.list(&selection.resource, &selection.namespace),
    };
    let revision = past.unwrap_or_else(|| state.revision());
    let start = token
        .as_ref()
        .map(|token| format!("{}{}", selection.prefix(), token.start));
    let from_start: Vec<_> = all
        .into_iter()
        .filter(|(path, _)| start.as_ref().is_none_or(|start| path >= start))
        .collect();
    // A list that may be stale is served from the cache, which knows no pages.
    let limit = if options.resource_version == Some(0) && token.is_none() {
        None
    } else {
        options.limit
    };
    Ok(page(from_start, selection, revision, limit))
}

fn page(
    candidates: Vec<(String, Arc<Object>)>,
    selection: &Selection,
    revision: u64,
    limit: Option<usize>,
) -> Page {
    let total = candidates.len();
    let mut objects = Vec::new();
    let mut last_path = String::new();
    let mut more = false;
    for (path, object) in candidates {
        if limit.is_some_and(|limit| objects.len() >= limit) {
            more = true;
            break;
        }
        if selection.matches(&object.value) {
            last_path = path;
            objects.push(object);
        }
    }
    let mut metadata = json!({"resourceVersion": revision.to_string()});
    if more && let Value::Object(fields) = &mut metadata {
        let relative = last_path
            .strip_prefix(&selection.prefix())
            .unwrap_or(&last_path);
        let token = ContinueToken {
            revision: i64::try_from(revision).unwrap_or(i64::MAX),
            start: format!("{relative}\0"),
        };
        fields.insert("continue".to_owned(), token.print().into());
        // Counts would be wrong under a selector, so there are none (`PrepareContinueToken`).
        if selection.is_everything() {
            fields.insert(
                "remainingItemCount".to_owned(),
                (total - objects.len()).into(),
            );
        }
    }
    Page { metadata, objects }
}

fn unservable(why: Unservable, revision: u64, token: Option<&ContinueToken>) -> Failure {
    match (why, token) {
        (Unservable::Future { current }, _) => Failure::too_large_revision(revision, current),
        (Unservable::Compacted { .. }, None) => {
            Failure::expired("The resourceVersion for the provided list is too old.")
        }
        (Unservable::Compacted { .. }, Some(token)) => Failure {
            continue_token: Some(
                ContinueToken {
                    revision: -1,
                    start: token.start.clone(),
                }
                .print(),
            ),
            ..Failure::expired(
                "The provided continue parameter is too old to display a consistent list result. You can start a new \
                 list without the continue parameter, or use the continue token in this response to retrieve the \
                 remainder of the results. Continuing with the provided token results in an inconsistent list - \
                 objects that were created, modified, or deleted between the time the first chunk was returned and \
                 now may show up in the list.",
            )
        },
    }
}

/// A page token: unpadded base64url of `{"v":"meta.k8s.io/v1","rv":N,"start":"…"}`.
struct ContinueToken {
    /// -1: whatever is current.
    revision: i64,
    /// The first path of the page, without the list's own prefix; a slash stands before it on the wire.
    start: String,
}

impl ContinueToken {
    fn parse(token: &str) -> Result<Self, Failure> {
        let invalid = |why: &str| {
            Failure::bad_request(format!(
                "invalid continue token: continue key is not valid{why}"
            ))
        };
        let bytes = URL_SAFE_NO_PAD
            .decode(token)
            .map_err(|_alphabet| invalid(": illegal base64 data at input byte 0"))?;
        let json: Value =
            serde_json::from_slice(&bytes).map_err(|error| invalid(&format!(": {error}")))?;
        let version = text(&json, "/v");
        if version != "meta.k8s.io/v1" {
            return Err(invalid(&format!(
                ": server does not recognize this encoded version {version}"
            )));
        }
        let revision = json
            .get("rv")
            .and_then(Value::as_i64)
            .filter(|revision| *revision == -1 || *revision > 0);
        let Some(revision) = revision else {
            return Err(invalid(
                ": incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
            ));
        };
        let start = text(&json, "/start");
        let start = start.strip_prefix('/').unwrap_or(start);
        if start.is_empty() {
            return Err(invalid(
                ": encoded start key empty (version meta.k8s.io/v1)",
            ));
        }
        if start.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(invalid(&format!(": {start}")));
        }
        Ok(Self {
            revision,
            start: start.to_owned(),
        })
    }

    fn print(&self) -> String {
        let start = Value::from(format!("/{}", self.start));
        URL_SAFE_NO_PAD.encode(format!(
            r#"{{"v":"meta.k8s.io/v1","rv":{},"start":{start}}}"#,
            self.revision
        ))
    }
}

#[cfg(test)]
mod tests;
