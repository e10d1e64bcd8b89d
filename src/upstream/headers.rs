//! Which of a client's headers travel on. It sets none that says who he is, and lets none through.

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::header;

use super::hostile;
use crate::k8s::websocket::carries_token;

/// How a client's headers are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carry {
    /// By an allow-list: every request of the API.
    Listed,
    /// By a shorter one: reads in the reader's voice, whose answer we read.
    Narrowed,
    /// By a deny-list: the tails of `…/proxy/…` are the user's own web pages, with cookies and headers of any name.
    Tail,
}

/// The headers of `inbound` that go on, in a fresh map. `withheld` are further names that never do, such as the one
/// that a front proxy hands client certificates over in.
pub(super) fn carried(inbound: &HeaderMap, carry: Carry, withheld: &[HeaderName]) -> HeaderMap {
    let goes = |name: &HeaderName| match carry {
        Carry::Listed => is_narrowed(name) || is_listed(name),
        Carry::Narrowed => is_narrowed(name),
        Carry::Tail => !is_ours(name) && !is_named_by_connection(inbound, name),
    };
    let mut outbound = HeaderMap::with_capacity(inbound.len() + 4);
    for name in inbound
        .keys()
        .filter(|name| goes(name) && !withheld.contains(name))
    {
        for value in inbound.get_all(name) {
            outbound.append(name.clone(), value.clone());
        }
    }
    outbound
}

/// What every read may carry.
fn is_narrowed(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "accept"
            | "user-agent"
            // kubectl tells its command and session (KEP-859).
            | "kubectl-command"
            | "kubectl-session"
            | "kubectl-flags"
            | "kubectl-deprecated"
            | "kubectl-build"
            // The API server joins a trace (KEP-647).
            | "traceparent"
            | "tracestate"
            | "baggage"
    )
}

/// What else requests of the API are sent with by kubectl, client-go, Helm, browsers and generated clients.
fn is_listed(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "accept-encoding"
            | "accept-language"
            | "cache-control"
            | "content-encoding"
            | "content-language"
            | "content-type"
            | "if-match"
            | "if-modified-since"
            | "if-none-match"
            | "if-range"
            | "if-unmodified-since"
            | "pragma"
            | "range"
            // Cross-origin browsers, where the API server runs with --cors-allowed-origins.
            | "origin"
            | "access-control-request-headers"
            | "access-control-request-method"
    )
}

/// Hop-by-hop (RFC 9110 §7.6.1), identity, what the proxy says of the connection, what hyper sets, and what only an
/// upgrade carries.
fn is_ours(name: &HeaderName) -> bool {
    let name = name.as_str();
    hostile::names_identity(name.as_bytes())
        || hostile::reads_as(name.as_bytes(), "x-forwarded-")
        || hostile::reads_as(name.as_bytes(), "sec-websocket-")
        || matches!(
            name,
            "connection"
                | "keep-alive"
                | "proxy-authenticate"
                | "proxy-authorization"
                | "proxy-connection"
                | "te"
                | "trailer"
                | "transfer-encoding"
                | "upgrade"
                | "http2-settings"
                | "host"
                | "content-length"
                | "expect"
                | "forwarded"
                | "via"
                | "x-real-ip"
                | "audit-id"
                | "x-stream-protocol-version"
        )
}

fn is_named_by_connection(inbound: &HeaderMap, name: &HeaderName) -> bool {
    inbound.get_all(header::CONNECTION).iter().any(|line| {
        let mut tokens = line
            .as_bytes()
            .split(|&b| b == b',')
            .map(<[u8]>::trim_ascii);
        tokens.any(|token| token.eq_ignore_ascii_case(name.as_str().as_bytes()))
    })
}

/// Adds what a switch to `protocol` needs: the two headers that ask for it, set by us, and the client's own that
/// describe it. A WebSocket subprotocol that carries a token is left out; if none other was offered, so is the header.
pub(super) fn add_upgrade(outbound: &mut HeaderMap, inbound: &HeaderMap, protocol: &'static str) {
    outbound.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    outbound.insert(header::UPGRADE, HeaderValue::from_static(protocol));
    for name in [
        header::SEC_WEBSOCKET_KEY,
        header::SEC_WEBSOCKET_VERSION,
        header::SEC_WEBSOCKET_EXTENSIONS,
        HeaderName::from_static("x-stream-protocol-version"),
    ] {
        for value in inbound.get_all(&name) {
            outbound.append(name.clone(), value.clone());
        }
    }
    for value in inbound.get_all(header::SEC_WEBSOCKET_PROTOCOL) {
        if let Some(value) = without_token(value) {
            outbound.append(header::SEC_WEBSOCKET_PROTOCOL, value);
        }
    }
}

/// The subprotocols of one header line but those that carry a token. None if nothing is left, or if the line is not
/// text: what cannot be read may hide one.
fn without_token(line: &HeaderValue) -> Option<HeaderValue> {
    let kept: Vec<&str> = line
        .to_str()
        .ok()?
        .split(',')
        .map(str::trim)
        .filter(|protocol| !protocol.is_empty() && !carries_token(protocol))
        .collect();
    if kept.is_empty() {
        return None;
    }
    HeaderValue::try_from(kept.join(", ")).ok()
}

/// Takes from an answer what belongs to the connection it came on (RFC 9110 §7.6.1).
pub(super) fn strip_hop_by_hop(answer: &mut HeaderMap) {
    let named: Vec<HeaderName> = answer
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|line| line.as_bytes().split(|&b| b == b','))
        .filter_map(|token| HeaderName::from_bytes(token.trim_ascii()).ok())
        .collect();
    for name in named {
        answer.remove(name);
    }
    for name in [
        header::CONNECTION,
        header::PROXY_AUTHENTICATE,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ] {
        answer.remove(name);
    }
    answer.remove("keep-alive");
    answer.remove("proxy-connection");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(lines: &[(&str, &str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_bytes(name.as_bytes()).unwrap(),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect()
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    const KUBECTL: &[(&str, &str)] = &[
        ("accept", "application/json"),
        ("accept-encoding", "gzip"),
        ("user-agent", "kubectl/v1.35"),
        ("kubectl-command", "kubectl get"),
        ("authorization", "Bearer x"),
        ("x-remote-user", "root"),
        ("x_remote_user", "root"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-real-ip", "192.0.2.1"),
        ("audit-id", "forged"),
        ("host", "proxy"),
        ("connection", "close, x-app"),
        ("cookie", "a=b"),
        ("x-app", "1"),
        ("if-none-match", "\"E\""),
        ("x-forwarded-client-cert", "Hash=…"),
        ("ssl-client-cert", "-----BEGIN"),
    ];

    #[test]
    fn an_allow_list_decides_and_a_shorter_one_for_narrowed_reads() {
        let inbound = map(KUBECTL);
        assert_eq!(
            names(&carried(&inbound, Carry::Listed, &[])),
            [
                "accept",
                "accept-encoding",
                "if-none-match",
                "kubectl-command",
                "user-agent"
            ]
        );
        assert_eq!(
            names(&carried(&inbound, Carry::Narrowed, &[])),
            ["accept", "kubectl-command", "user-agent"]
        );
    }

    #[test]
    fn a_tail_carries_any_header_but_identity_hop_by_hop_and_what_is_withheld() {
        let withheld = [HeaderName::from_static("ssl-client-cert")];
        assert_eq!(
            names(&carried(&map(KUBECTL), Carry::Tail, &withheld)),
            [
                "accept",
                "accept-encoding",
                "cookie",
                "if-none-match",
                "kubectl-command",
                "user-agent"
            ]
        );
    }

    #[test]
    fn the_subprotocol_with_a_token_does_not_travel() {
        for (line, kept) in [
            ("v5.channel.k8s.io", Some("v5.channel.k8s.io")),
            (
                "base64url.bearer.authorization.k8s.io.dG9r, base64.binary.k8s.io",
                Some("base64.binary.k8s.io"),
            ),
            (
                "a,BASE64URL.bearer.authorization.k8s.io.dG9r,b",
                Some("a, b"),
            ),
            ("base64url.bearer.authorization.k8s.io.dG9r", None),
            (" , ", None),
        ] {
            let mut outbound = HeaderMap::new();
            add_upgrade(
                &mut outbound,
                &map(&[("sec-websocket-protocol", line)]),
                "websocket",
            );
            let got = outbound
                .get("sec-websocket-protocol")
                .map(|value| value.to_str().unwrap());
            assert_eq!(got, kept, "{line}");
            assert_eq!(outbound.get("upgrade").unwrap(), "websocket");
        }
    }

    #[test]
    fn an_answer_loses_what_belongs_to_its_connection() {
        let mut answer = map(&[
            ("connection", "close, X-Hop"),
            ("x-hop", "1"),
            ("transfer-encoding", "chunked"),
            ("keep-alive", "timeout=5"),
            ("content-type", "application/json"),
            ("warning", "299 - \"deprecated\""),
        ]);
        strip_hop_by_hop(&mut answer);
        assert_eq!(names(&answer), ["content-type", "warning"]);
    }

    /// Any name a server might take an identity from, in any mixture of case and of `_` with `-`.
    fn identity_names() -> impl Strategy<Value = String> {
        let names = "(authorization|(impersonate-(user|group|uid|extra-[a-z.%]{0,6}))|(x-remote-(user|group|extra-[a-z]{1,4})))";
        (names, proptest::collection::vec(any::<bool>(), 32)).prop_map(|(name, flips)| {
            let flip = |(character, flip): (char, bool)| match (character, flip) {
                ('-', true) => '_',
                (letter, true) => letter.to_ascii_uppercase(),
                (kept, false) => kept,
            };
            name.chars().zip(flips).map(flip).collect()
        })
    }

    proptest! {
        /// Whatever a client sends, in whatever spelling: nothing that says who he is gets through, by either list.
        #[test]
        fn no_identity_gets_through(name in identity_names(), noise in "[a-z-]{1,12}") {
            let inbound = map(&[(&name, "x"), (&noise, "y")]);
            for carry in [Carry::Listed, Carry::Narrowed, Carry::Tail] {
                let outbound = carried(&inbound, carry, &[]);
                prop_assert!(outbound.keys().all(|name| !hostile::names_identity(name.as_str().as_bytes())));
            }
        }
    }
}
