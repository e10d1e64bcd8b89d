//! Requests that are answered here, and why.

use http::StatusCode;

use crate::identity::GroupsUnknown;
use crate::k8s::status::Reason;
use crate::k8s::status::Status;

/// Why nothing is sent upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A protocol switch where there is nothing to switch to.
    Upgrade,
    /// A list parameter we do not know and that may widen what is selected.
    UnknownParameter,
    /// A page token that does not go on from a page this replica gave out under what the identity may see now.
    PageExpired,
    /// A page token that the API server did not make.
    BadPageToken,
    /// The token does not carry its groups, and nobody can be asked now.
    GroupsUnavailable,
    /// The token does not carry its groups, and nobody may be asked.
    GroupsUnresolvable,
}

impl Refusal {
    /// What somebody is told whose groups are needed and not known.
    pub fn of_unknown_groups(why: GroupsUnknown) -> Self {
        match why {
            GroupsUnknown::Unavailable => Self::GroupsUnavailable,
            GroupsUnknown::Unresolvable => Self::GroupsUnresolvable,
        }
    }

    /// The answer.
    pub fn status(self) -> Status {
        match self {
            Self::Upgrade => Status::new(
                StatusCode::BAD_REQUEST,
                Reason::BadRequest,
                "this request cannot be upgraded to another protocol",
            ),
            Self::UnknownParameter => Status::new(
                StatusCode::BAD_REQUEST,
                Reason::BadRequest,
                "the request has a list parameter that the proxy does not know; leave it out",
            ),
            Self::PageExpired => Status::new(
                StatusCode::GONE,
                Reason::Expired,
                "The provided continue parameter is too old to display a consistent list result. Start a new list without the continue parameter.",
            ),
            Self::BadPageToken => {
                Status::bad_request("continue key is not valid: not a token of this server")
            }
            Self::GroupsUnavailable => Status {
                retry_after: Some(1),
                ..Status::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    Reason::ServiceUnavailable,
                    "your token names more groups than it carries, and the API server cannot be asked for them now; try again",
                )
            },
            Self::GroupsUnresolvable => Status::new(
                StatusCode::FORBIDDEN,
                Reason::Forbidden,
                "your token names more groups than it carries, and the proxy is not set up to ask the API server for them (authentication.tokenReview)",
            ),
        }
    }

    /// The reason in metrics and logs.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Upgrade => "upgrade",
            Self::UnknownParameter => "unknown_parameter",
            Self::PageExpired => "page_expired",
            Self::BadPageToken => "bad_page_token",
            Self::GroupsUnavailable => "groups_unavailable",
            Self::GroupsUnresolvable => "groups_unresolvable",
        }
    }
}
