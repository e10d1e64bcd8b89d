//! The parameters of list, watch and deletecollection, read and validated
//! (`apimachinery pkg/apis/meta/internalversion/{defaults.go,validation}`).

use super::query::Query;
use super::selector::Fields;
use super::selector::Labels;
use super::status::Failure;
use super::status::FieldError;

/// What a list or watch asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListOptions {
    pub(crate) labels: Labels,
    pub(crate) fields: Fields,
    pub(crate) bookmarks: bool,
    /// `None`: unset or empty.
    pub(crate) resource_version: Option<u64>,
    pub(crate) exact: Match,
    pub(crate) timeout_seconds: Option<u64>,
    pub(crate) limit: Option<usize>,
    pub(crate) continue_token: Option<String>,
    pub(crate) send_initial_events: Option<bool>,
}

/// `resourceVersionMatch`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Match {
    #[default]
    Unset,
    Exact,
    NotOlderThan,
    /// A word that is neither.
    Unknown,
}

impl ListOptions {
    /// # Errors
    /// 400 for what cannot be read, 422 for what does not go together.
    pub(crate) fn parse(query: &Query, watch: bool) -> Result<Self, Failure> {
        let number = |name: &str| query.number(name).map_err(Failure::bad_request);
        let match_text = query.text("resourceVersionMatch").unwrap_or_default();
        let version = query.text("resourceVersion");
        let mut options = Self {
            labels: Labels::parse(query.first("labelSelector").unwrap_or(""))
                .map_err(Failure::bad_request)?,
            fields: Fields::parse(query.first("fieldSelector").unwrap_or(""))
                .map_err(Failure::bad_request)?,
            bookmarks: query.boolean("allowWatchBookmarks").unwrap_or(false),
            resource_version: None,
            exact: match match_text.as_str() {
                "" => Match::Unset,
                "Exact" => Match::Exact,
                "NotOlderThan" => Match::NotOlderThan,
                _ => Match::Unknown,
            },
            timeout_seconds: number("timeoutSeconds")?
                .and_then(|seconds| u64::try_from(seconds).ok()),
            limit: number("limit")?
                .and_then(|limit| usize::try_from(limit).ok())
                .filter(|limit| *limit > 0),
            continue_token: query.text("continue"),
            send_initial_events: query.boolean("sendInitialEvents"),
        };
        let from_the_start = matches!(version.as_deref(), None | Some("0"));
        if watch
            && from_the_start
            && options.send_initial_events.is_none()
            && options.exact == Match::Unset
        {
            options.send_initial_events = Some(true);
            options.exact = Match::NotOlderThan;
        }
        let errors = if watch {
            options.watch_errors(&match_text)
        } else {
            options.list_errors(&match_text, version.as_deref())
        };
        if !errors.is_empty() {
            return Err(Failure::invalid("meta.k8s.io", "ListOptions", "", &errors));
        }
        options.resource_version = version
            .map(|version| parse_version(&version, watch))
            .transpose()?;
        Ok(options)
    }

    fn list_errors(&self, match_text: &str, version: Option<&str>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if self.exact != Match::Unset && version.is_none() {
            errors.push(FieldError::forbidden(
                MATCH,
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            ));
        }
        if self.exact != Match::Unset && self.continue_token.is_some() {
            errors.push(FieldError::forbidden(
                MATCH,
                "resourceVersionMatch is forbidden when continue is provided",
            ));
        }
        if self.exact == Match::Unknown {
            errors.push(FieldError::unsupported(
                MATCH,
                &format!("{match_text:?}"),
                r#""Exact", "NotOlderThan", """#,
            ));
        }
        if self.exact == Match::Exact && version == Some("0") {
            let why = r#"resourceVersionMatch "exact" is forbidden for resourceVersion "0""#;
            errors.push(FieldError::forbidden(MATCH, why));
        }
        if self.send_initial_events.is_some() {
            errors.push(FieldError::forbidden(
                "sendInitialEvents",
                "sendInitialEvents is forbidden for list",
            ));
        }
        errors
    }

    fn watch_errors(&self, match_text: &str) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if self.send_initial_events.is_some() && self.exact != Match::NotOlderThan {
            let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            errors.push(FieldError::forbidden(MATCH, why));
        }
        if self.exact == Match::Unset {
            return errors;
        }
        if self.send_initial_events.is_none() {
            let why =
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            errors.push(FieldError::forbidden(MATCH, why));
        }
        if self.exact != Match::NotOlderThan {
            errors.push(FieldError::unsupported(
                MATCH,
                &format!("{match_text:?}"),
                r#""NotOlderThan""#,
            ));
        }
        if self.continue_token.is_some() {
            errors.push(FieldError::forbidden(
                MATCH,
                "resourceVersionMatch is forbidden when continue is provided",
            ));
        }
        errors
    }
}

const MATCH: &str = "resourceVersionMatch";

/// A list answers 400 to what is no revision, a watch 500 and no reason.
fn parse_version(text: &str, watch: bool) -> Result<u64, Failure> {
    text.parse().map_err(|_error: std::num::ParseIntError| {
        let why = format!("resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax");
        if watch {
            Failure::new(http::StatusCode::INTERNAL_SERVER_ERROR, "", why)
        } else {
            Failure::bad_request(format!("invalid resource version: {why}"))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_parameters_that_do_not_go_together_are_refused() {
        for (query, watch, code) in [
            ("resourceVersionMatch=Exact", false, 422),
            ("resourceVersionMatch=Exact&resourceVersion=0", false, 422),
            ("resourceVersionMatch=Exact&resourceVersion=7", false, 200),
            ("resourceVersionMatch=Newer&resourceVersion=7", false, 422),
            (
                "resourceVersionMatch=NotOlderThan&resourceVersion=7&continue=x",
                false,
                422,
            ),
            ("sendInitialEvents=true", false, 422),
            ("sendInitialEvents=true", true, 422),
            (
                "sendInitialEvents=false&resourceVersionMatch=NotOlderThan",
                true,
                200,
            ),
            (
                "resourceVersionMatch=NotOlderThan&resourceVersion=7",
                true,
                422,
            ),
            ("resourceVersion=x", true, 500),
            ("resourceVersion=x", false, 400),
            ("continue=x", true, 422),
            ("continue=x&resourceVersion=7", true, 200),
            ("limit=x", false, 400),
            ("labelSelector=a%20in%20(", false, 400),
        ] {
            let code_of = match ListOptions::parse(&Query::parse(query), watch) {
                Ok(_) => 200,
                Err(failure) => failure.code.as_u16(),
            };
            assert_eq!(code_of, code, "{query} watch={watch}");
        }
    }
}
