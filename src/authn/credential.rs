//! The one credential a request carries: an `Authorization` header or a WebSocket subprotocol.
//!
//! Nothing else reads these headers. It never picks one of two, and never lets a text through that a header would break on.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::header::SEC_WEBSOCKET_PROTOCOL;

use crate::authn::refusal::Failure;
use crate::authn::refusal::Refusal;
use crate::identity::SecretToken;
use crate::k8s::websocket::BEARER_PREFIX;

/// The bearer token of a request.
///
/// # Errors
/// [`Failure::Missing`] for none or a blank one, [`Failure::Conflict`] for two of any kind, [`Refusal::Scheme`] for
/// `Basic` and the like, [`Refusal::Malformed`] for a text that is no token, [`Refusal::LoneSubprotocol`] for a
/// subprotocol with no other beside it.
pub(super) fn bearer(headers: &HeaderMap) -> Result<SecretToken, Failure> {
    let mut headers_sent = headers.get_all(AUTHORIZATION).iter();
    let mut tokens = subprotocols(headers).filter_map(token_of);
    match (headers_sent.next(), tokens.next()) {
        (None, None) => Err(Failure::Missing),
        (Some(_), Some(_)) => Err(Failure::Conflict),
        (Some(value), None) if headers_sent.next().is_none() => {
            from_authorization(value.as_bytes())
        }
        (None, Some(encoded)) if tokens.next().is_none() => {
            let token = from_subprotocol(encoded)?;
            // There must be one for the answer to name, which is never the token's.
            if subprotocols(headers).all(|item| token_of(item).is_some()) {
                return Err(Refusal::LoneSubprotocol.into());
            }
            Ok(token)
        }
        (Some(_), None) | (None, Some(_)) => Err(Failure::Conflict),
    }
}

/// The subprotocols that are offered. The header is a list that may be spread over several lines.
fn subprotocols(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
}

/// The part of a subprotocol behind the prefix, if it has that.
fn token_of(subprotocol: &[u8]) -> Option<&[u8]> {
    subprotocol.strip_prefix(BEARER_PREFIX.as_bytes())
}

/// `Bearer` in any case (RFC 9110 §11.1), blanks, the token.
fn from_authorization(value: &[u8]) -> Result<SecretToken, Failure> {
    let value = value.trim_ascii();
    let (scheme, rest) = match value.iter().position(|byte| *byte == b' ') {
        Some(at) => value.split_at(at),
        None => (value, &b""[..]),
    };
    if scheme.is_empty() {
        return Err(Failure::Missing);
    }
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Err(Refusal::Scheme.into());
    }
    token(rest.trim_ascii())
}

fn from_subprotocol(encoded: &[u8]) -> Result<SecretToken, Failure> {
    let Ok(decoded) = URL_SAFE_NO_PAD.decode(encoded) else {
        return Err(Refusal::Malformed.into());
    };
    token(&decoded)
}

/// Visible ASCII only: it goes upstream in a header. An empty one is how authentication fails open (CVE-2023-48312).
fn token(bytes: &[u8]) -> Result<SecretToken, Failure> {
    if bytes.is_empty() {
        return Err(Failure::Missing);
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if text.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(SecretToken::new(text)),
        Ok(_) | Err(_) => Err(Refusal::Malformed.into()),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;
    use http::HeaderValue;

    use super::*;

    const PROTOCOL: &str = "sec-websocket-protocol";

    fn read(lines: &[(&str, &str)]) -> Result<String, Failure> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        bearer(&headers).map(|token| token.expose().to_owned())
    }

    #[test]
    fn exactly_one_credential_is_read() {
        let malformed = Failure::Rejected(Refusal::Malformed);
        let scheme = Failure::Rejected(Refusal::Scheme);
        // "aGVsbG8" is "hello", "aGUgbG8" is "he lo".
        let hello = "base64url.bearer.authorization.k8s.io.aGVsbG8";
        for (name, lines, expected) in [
            (
                "header",
                &[("authorization", "Bearer hello")][..],
                Ok("hello"),
            ),
            (
                "any case of the scheme",
                &[("authorization", "bEARER hello")],
                Ok("hello"),
            ),
            (
                "blanks around",
                &[("authorization", "  Bearer   hello ")],
                Ok("hello"),
            ),
            ("nothing", &[], Err(Failure::Missing)),
            (
                "empty header",
                &[("authorization", "")],
                Err(Failure::Missing),
            ),
            (
                "scheme alone",
                &[("authorization", "Bearer")],
                Err(Failure::Missing),
            ),
            (
                "blank token",
                &[("authorization", "Bearer   ")],
                Err(Failure::Missing),
            ),
            ("basic", &[("authorization", "Basic aGVsbG8=")], Err(scheme)),
            (
                "no blank between",
                &[("authorization", "Bearerhello")],
                Err(scheme),
            ),
            (
                "two tokens in one",
                &[("authorization", "Bearer a, Bearer b")],
                Err(malformed),
            ),
            (
                "tab inside",
                &[("authorization", "Bearer a\tb")],
                Err(malformed),
            ),
            (
                "not ASCII",
                &[("authorization", "Bearer h\u{e4}llo")],
                Err(malformed),
            ),
            (
                "two headers",
                &[("authorization", "Bearer a"), ("authorization", "Bearer a")],
                Err(Failure::Conflict),
            ),
            (
                "a good and an empty header",
                &[("authorization", "Bearer a"), ("authorization", "")],
                Err(Failure::Conflict),
            ),
            (
                "subprotocol alone",
                &[(PROTOCOL, hello)],
                Err(Failure::Rejected(Refusal::LoneSubprotocol)),
            ),
            (
                "subprotocol and an empty one",
                &[(PROTOCOL, &format!("{hello},"))],
                Ok("hello"),
            ),
            (
                "subprotocol among others",
                &[
                    (PROTOCOL, "v5.channel.k8s.io"),
                    (
                        PROTOCOL,
                        " x , base64url.bearer.authorization.k8s.io.aGVsbG8 ",
                    ),
                ],
                Ok("hello"),
            ),
            (
                "other subprotocols",
                &[(PROTOCOL, "v5.channel.k8s.io")],
                Err(Failure::Missing),
            ),
            (
                "empty subprotocol token",
                &[(PROTOCOL, "base64url.bearer.authorization.k8s.io.")],
                Err(Failure::Missing),
            ),
            (
                "padded subprotocol token",
                &[(PROTOCOL, "base64url.bearer.authorization.k8s.io.aGVsbG8=")],
                Err(malformed),
            ),
            (
                "blank in a subprotocol token",
                &[(PROTOCOL, "base64url.bearer.authorization.k8s.io.aGUgbG8")],
                Err(malformed),
            ),
            (
                "two subprotocols",
                &[(PROTOCOL, hello), (PROTOCOL, hello)],
                Err(Failure::Conflict),
            ),
            (
                "header and subprotocol",
                &[("authorization", "Bearer hello"), (PROTOCOL, hello)],
                Err(Failure::Conflict),
            ),
            (
                "basic and subprotocol",
                &[("authorization", "Basic aGVsbG8="), (PROTOCOL, hello)],
                Err(Failure::Conflict),
            ),
        ] {
            assert_eq!(read(lines), expected.map(str::to_owned), "{name}");
        }
    }
}
