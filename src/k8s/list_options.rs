//! `ListOptions`: the parameters of list, watch and deletecollection, as the API server reads them
//! (`apimachinery pkg/apis/meta/v1/types.go`, `pkg/runtime/conversion.go`). Combinations are the API server's to judge.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::escape;
use super::field_selector::FieldSelector;
use super::label_selector::BadSelector;
use super::label_selector::LabelSelector;
use super::query::Query;
use super::status::Status;

/// What a list or watch asks for. The first value of a parameter counts; unknown parameters are not here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// AND of requirements; empty selects everything.
    pub label_selector: LabelSelector,
    /// AND of terms; empty selects everything.
    pub field_selector: FieldSelector,
    /// Whether changes are wanted rather than the present state.
    pub watch: bool,
    /// Whether BOOKMARK events are welcome.
    pub allow_watch_bookmarks: bool,
    /// `None`: unset or empty.
    pub resource_version: Option<String>,
    /// `Exact`, `NotOlderThan`, or what else the client wrote; `None`: unset or empty.
    pub resource_version_match: Option<String>,
    /// Seconds after which a watch ends.
    pub timeout_seconds: Option<i64>,
    /// Page size; `None`: unset or 0, which mean the same.
    pub limit: Option<i64>,
    /// Page token; `None`: unset or empty.
    pub continue_token: Option<String>,
    /// Absent, true and false all differ (KEP-3157).
    pub send_initial_events: Option<bool>,
    /// `None`, `Metadata`, `Object` of a Table request, as written.
    pub include_object: Option<String>,
    /// Passed through on narrowed requests.
    pub pretty: Option<String>,
    /// Passed through on narrowed requests.
    pub timeout: Option<String>,
}

/// The parameters that [`ListOptions`] knows, in the order in which they are printed.
pub(super) const KNOWN: [&str; 13] = [
    "labelSelector",
    "fieldSelector",
    "watch",
    "allowWatchBookmarks",
    "resourceVersion",
    "resourceVersionMatch",
    "timeoutSeconds",
    "limit",
    "continue",
    "sendInitialEvents",
    "includeObject",
    "pretty",
    "timeout",
];

/// Single-valued list parameters that we do not know how to narrow with (KEP-5866).
pub(super) const SINGLE_BUT_UNKNOWN: [&str; 1] = ["shardSelector"];

/// Where a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning<'a> {
    /// With the present state.
    State,
    /// With changes after a resourceVersion.
    After(&'a str),
    /// With changes after about now.
    Now,
}

impl ListOptions {
    /// # Errors
    /// The 400 `Status` the API server would answer for a bad selector or number. Numbers come first, as they do
    /// there: the query is read into the versioned type before its selectors are parsed.
    pub fn parse(query: &Query) -> Result<Self, Status> {
        let text = |name| {
            query
                .first(name)
                .filter(|value| !value.is_empty())
                .map(str::to_owned)
        };
        let timeout_seconds = query.first("timeoutSeconds").map(integer).transpose()?;
        let limit = query
            .first("limit")
            .map(integer)
            .transpose()?
            .filter(|limit| *limit != 0);
        let bad = |BadSelector(why)| Status::bad_request(why);
        Ok(Self {
            label_selector: LabelSelector::parse(query.first("labelSelector").unwrap_or_default())
                .map_err(bad)?,
            field_selector: FieldSelector::parse(query.first("fieldSelector").unwrap_or_default())
                .map_err(bad)?,
            watch: query.first("watch").is_some_and(boolean),
            allow_watch_bookmarks: query.first("allowWatchBookmarks").is_some_and(boolean),
            resource_version: text("resourceVersion"),
            resource_version_match: text("resourceVersionMatch"),
            timeout_seconds,
            limit,
            continue_token: text("continue"),
            send_initial_events: query.first("sendInitialEvents").map(boolean),
            include_object: text("includeObject"),
            pretty: text("pretty"),
            timeout: text("timeout"),
        })
    }

    /// Whether this watch comes from a machine (reflector) rather than from a human: it asks for bookmarks or initial
    /// events. Watches over WebSocket count as machines too, which the query does not say.
    pub fn from_machine(&self) -> bool {
        self.allow_watch_bookmarks || self.send_initial_events.is_some()
    }

    /// Where a watch with these options begins (apiserver `pkg/storage/cacher`: unset and `0` send the present state, unless
    /// `sendInitialEvents` says otherwise).
    pub fn begins(&self) -> Beginning<'_> {
        match (self.send_initial_events, self.resource_version.as_deref()) {
            (Some(true), _) | (None, None | Some("0")) => Beginning::State,
            (Some(false), None | Some("0")) => Beginning::Now,
            (Some(false) | None, Some(at)) => Beginning::After(at),
        }
    }

    /// The position a watch wants to go on from, if there is one.
    pub fn resumes_at(&self) -> Option<&str> {
        match self.begins() {
            Beginning::State | Beginning::Now => None,
            Beginning::After(at) => Some(at),
        }
    }

    /// The list that shows what the client of a watch with these options holds; `None` if it begins with the present state.
    pub fn seed(&self) -> Option<Self> {
        let at = self.resumes_at()?;
        Some(Self {
            label_selector: self.label_selector.clone(),
            field_selector: self.field_selector.clone(),
            resource_version: Some(at.to_owned()),
            resource_version_match: Some("Exact".to_owned()),
            ..Self::default()
        })
    }

    /// The one resourceVersion that a list must show, if it names one: `Exact`, or a limit without a match, as lists
    /// have always been.
    pub fn exactly(&self) -> Option<&str> {
        let version = self.resource_version.as_deref()?;
        let pinned = match self.resource_version_match.as_deref() {
            Some(how) => how == "Exact",
            None => self.limit.is_some() && version != "0",
        };
        pinned.then_some(version)
    }

    /// Appends the parameters in a fixed order, one value each, percent-encoded, to `target` (without the `?`).
    /// What is unset is left out, above all an empty selector, which would select everything.
    pub fn print(&self, target: &mut String) {
        let selector = |text: String| (!text.is_empty()).then_some(text);
        let flag = |set: bool| set.then(|| "true".to_owned());
        let values: [Option<String>; KNOWN.len()] = [
            selector(self.label_selector.print()),
            selector(self.field_selector.print()),
            flag(self.watch),
            flag(self.allow_watch_bookmarks),
            self.resource_version.clone(),
            self.resource_version_match.clone(),
            self.timeout_seconds.map(|seconds| seconds.to_string()),
            self.limit.map(|limit| limit.to_string()),
            self.continue_token.clone(),
            self.send_initial_events.map(|send| send.to_string()),
            self.include_object.clone(),
            self.pretty.clone(),
            self.timeout.clone(),
        ];
        let mut separator = "";
        for (name, value) in KNOWN.into_iter().zip(values) {
            let Some(value) = value else { continue };
            target.push_str(separator);
            target.push_str(name);
            target.push('=');
            escape::encode(&value, target);
            separator = "&";
        }
    }
}

/// False for `0` and `false` in any case, true for everything else, the empty string included
/// (`Convert_Slice_string_To_bool` upstream).
fn boolean(value: &str) -> bool {
    value != "0" && !value.eq_ignore_ascii_case("false")
}

/// A decimal of 64 bits, or Go's words for why it is none.
fn integer(value: &str) -> Result<i64, Status> {
    value.parse().map_err(|error: std::num::ParseIntError| {
        use std::num::IntErrorKind::NegOverflow;
        use std::num::IntErrorKind::PosOverflow;
        let why = if matches!(error.kind(), PosOverflow | NegOverflow) {
            "value out of range"
        } else {
            "invalid syntax"
        };
        Status::bad_request(format!(
            "strconv.ParseInt: parsing {}: {why}",
            escape::quote(value)
        ))
    })
}

/// What a native `continue` token says: unpadded base64url of `{"v":"meta.k8s.io/v1","rv":N,"start":"…"}`
/// (`apiserver pkg/storage/continue.go`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContinueToken {
    /// The resourceVersion of the first page; `-1` in an "inconsistent" token.
    pub resource_version: i64,
    /// The key after which the page starts.
    pub start: String,
}

impl ContinueToken {
    /// `None` if `text` is no native token.
    pub fn parse(text: &str) -> Option<Self> {
        #[derive(serde::Deserialize)]
        struct Document {
            v: String,
            rv: i64,
            start: String,
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let document: Document = serde_json::from_slice(&bytes).ok()?;
        (document.v == "meta.k8s.io/v1" && document.rv != 0).then_some(Self {
            resource_version: document.rv,
            start: document.start,
        })
    }
}

#[cfg(test)]
mod tests;
