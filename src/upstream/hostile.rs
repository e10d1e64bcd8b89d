//! What a client's headers may not try: to name an identity, or to have ours taken away on the way.
//!
//! It judges the inbound map before anything is built from it. Nothing here is needed for safety alone, since the
//! upstream map is fresh; it tells the client, and shows the attempt.

use http::HeaderMap;
use http::StatusCode;
use http::header::CONNECTION;

use crate::k8s::status::Reason;
use crate::k8s::status::Status;

/// Why a request's headers are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Hostile {
    /// `Connection: Impersonate-User` and its like: a proxy that obeys strips its own identity headers and the request
    /// runs as the proxy (CVE-2022-23652, CVE-2021-31999, CVE-2025-48865).
    #[error("the Connection header names an identity header")]
    ConnectionNamesIdentity,
    /// `Impersonate-…` in any spelling; some servers read `_` as `-` (CVE-2025-64484).
    #[error("the request carries an impersonation header")]
    Impersonation,
}

impl Hostile {
    /// The answer.
    pub fn status(self) -> Status {
        match self {
            Self::ConnectionNamesIdentity => Status::new(
                StatusCode::BAD_REQUEST,
                Reason::BadRequest,
                "the Connection header must not name Authorization, Impersonate-* or X-Remote-* headers",
            ),
            Self::Impersonation => Status::new(
                StatusCode::FORBIDDEN,
                Reason::Forbidden,
                "impersonation through the proxy is not supported yet: \
                 leave out --as, or use a kubeconfig that points at the API server itself",
            ),
        }
    }
}

/// Judges the headers of a request as it came.
///
/// # Errors
/// [`Hostile`]. `X-Remote-*` and `X-Forwarded-*` are no error: front proxies set them, and they never travel on.
pub fn judge_inbound(headers: &HeaderMap) -> Result<(), Hostile> {
    for line in headers.get_all(CONNECTION) {
        let mut tokens = line
            .as_bytes()
            .split(|&b| b == b',')
            .map(<[u8]>::trim_ascii);
        if tokens.any(names_identity) {
            return Err(Hostile::ConnectionNamesIdentity);
        }
    }
    if headers
        .keys()
        .any(|name| reads_as(name.as_str().as_bytes(), "impersonate-"))
    {
        return Err(Hostile::Impersonation);
    }
    Ok(())
}

/// Whether `name`, in any spelling, is a header the API server takes an identity from.
pub(super) fn names_identity(name: &[u8]) -> bool {
    let authorization = "authorization";
    (name.len() == authorization.len() && reads_as(name, authorization))
        || reads_as(name, "impersonate-")
        || reads_as(name, "x-remote-")
}

/// Whether `name` begins with `prefix` (lower case, with `-`) when case is ignored and `_` is read as `-`.
pub(super) fn reads_as(name: &[u8], prefix: &str) -> bool {
    let plain = |b: &u8| {
        if *b == b'_' {
            b'-'
        } else {
            b.to_ascii_lowercase()
        }
    };
    name.len() >= prefix.len()
        && name
            .iter()
            .map(plain)
            .zip(prefix.bytes())
            .all(|(a, b)| a == b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;
    use http::HeaderValue;

    fn judge(lines: &[(&str, &str)]) -> Result<(), Hostile> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        judge_inbound(&headers)
    }

    #[test]
    fn cve_2022_23652_connection_cannot_name_what_identifies() {
        for lines in [
            &[("Connection", "Impersonate-User")][..],
            &[("Connection", "x , Impersonate-Group")],
            &[("Connection", "keep-alive,\timpersonate-uid\t")],
            &[
                ("Connection", "close"),
                ("Connection", "IMPERSONATE-EXTRA-reason"),
            ],
            &[("connection", "upgrade, Authorization")],
            &[("connection", "x-remote-user")],
            &[("connection", "X_Remote_Extra_Scopes")],
            &[("connection", "impersonate_user")],
            &[("connection", "\u{e4}, impersonate-user")],
        ] {
            assert_eq!(
                judge(lines),
                Err(Hostile::ConnectionNamesIdentity),
                "{lines:?}"
            );
        }
    }

    #[test]
    fn cve_2025_64484_impersonation_is_refused_in_every_spelling() {
        for name in [
            "Impersonate-User",
            "impersonate-group",
            "Impersonate_User",
            "IMPERSONATE-UID",
            "impersonate_extra-oid",
            "Impersonate-Anything-New",
        ] {
            assert_eq!(judge(&[(name, "x")]), Err(Hostile::Impersonation), "{name}");
            assert_eq!(
                judge(&[(name, "")]),
                Err(Hostile::Impersonation),
                "{name}, empty"
            );
        }
    }

    #[test]
    fn what_clients_really_send_passes() {
        assert_eq!(
            judge(&[
                ("Connection", "Upgrade, keep-alive"),
                ("Connection", "authorization-hint, HTTP2-Settings"),
                ("Authorization", "Bearer x"),
                ("X-Remote-User", "dropped later"),
                ("X-Forwarded-For", "192.0.2.1"),
                ("Kubectl-Command", "kubectl get"),
            ]),
            Ok(())
        );
    }

    #[test]
    fn the_refusals_say_what_to_do() {
        let status = Hostile::Impersonation.status();
        assert_eq!(status.code, StatusCode::FORBIDDEN);
        assert!(status.message.contains("--as"));
        assert_eq!(
            Hostile::ConnectionNamesIdentity.status().code,
            StatusCode::BAD_REQUEST
        );
    }
}
