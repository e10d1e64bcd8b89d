//! The opening handshake of a WebSocket, judged as the API server judges it for a watch
//! (`golang.org/x/net/websocket hybi.go`, `apiserver pkg/endpoints/handlers/watch.go`), and the answer that agrees.
//! What it keeps of a handshake never holds a token.

use aws_lc_rs::digest;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Response;
use http::StatusCode;
use http::header;

use super::status::Reason;
use super::status::Status;

/// What a subprotocol begins with that carries a browser's token, since browsers cannot set headers on a WebSocket
/// (`apiserver pkg/authentication/request/websocket/protocol.go`).
pub const BEARER_PREFIX: &str = "base64url.bearer.authorization.k8s.io.";

/// The one version there is (RFC 6455 §4.1).
const VERSION: &str = "13";

/// What a server hashes behind the client's key (RFC 6455 §1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A handshake that can be agreed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    accept: HeaderValue,
    protocol: Option<HeaderValue>,
}

/// Why a handshake is refused; [`BadHandshake::status`] is the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHandshake {
    /// No `Sec-WebSocket-Key`.
    #[error("the WebSocket handshake has no Sec-WebSocket-Key")]
    Key,
    /// Another `Sec-WebSocket-Version` than 13.
    #[error("the WebSocket handshake is not of version 13")]
    Version,
    /// No `Origin`, or one that is no URI, such as the `null` of a sandboxed page.
    #[error("the WebSocket handshake has no Origin, or one that is not a URI")]
    Origin,
    /// More than one subprotocol besides that of the token: a watch has none to choose.
    #[error("the WebSocket handshake offers more than one subprotocol")]
    Protocols,
}

impl BadHandshake {
    /// The answer, with the API server's own codes.
    pub fn status(self) -> Status {
        match self {
            Self::Key | Self::Version | Self::Protocols => Status::bad_request(self.to_string()),
            Self::Origin => Status::new(StatusCode::FORBIDDEN, Reason::Forbidden, self.to_string()),
        }
    }

    /// What the answer says besides (RFC 6455 §4.4: a server names the version it speaks).
    pub fn header(self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::Version => Some((
                header::SEC_WEBSOCKET_VERSION,
                HeaderValue::from_static(VERSION),
            )),
            Self::Key | Self::Origin | Self::Protocols => None,
        }
    }
}

impl Handshake {
    /// Reads the headers of a request whose `Upgrade` says `websocket`; of a header that stands twice the first line, as
    /// the API server does.
    ///
    /// `Origin` is asked for because clients are used to it: it protects nobody here, where no cookie proves who asks.
    ///
    /// # Errors
    /// [`BadHandshake`]
    pub fn read(headers: &HeaderMap) -> Result<Self, BadHandshake> {
        let first = |name| headers.get(name).map_or(&b""[..], HeaderValue::as_bytes);
        let key = first(header::SEC_WEBSOCKET_KEY);
        if key.is_empty() {
            return Err(BadHandshake::Key);
        }
        if first(header::SEC_WEBSOCKET_VERSION) != VERSION.as_bytes() {
            return Err(BadHandshake::Version);
        }
        if !is_origin(first(header::ORIGIN)) {
            return Err(BadHandshake::Origin);
        }
        Ok(Self {
            accept: accept(key)?,
            protocol: protocol(headers)?,
        })
    }

    /// The answer that agrees.
    pub fn agreement<B>(self, body: B) -> Response<B> {
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, self.accept);
        if let Some(protocol) = self.protocol {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        response
    }
}

/// Proof that the handshake was read. SHA-1 is the protocol's choice, and secures nothing.
fn accept(key: &[u8]) -> Result<HeaderValue, BadHandshake> {
    let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key);
    hash.update(GUID.as_bytes());
    HeaderValue::try_from(BASE64_STANDARD.encode(hash.finish())).or(Err(BadHandshake::Key))
}

/// What Go's `url.ParseRequestURI` takes: a scheme and anything, a path, or `*`. `file://` is an Electron application.
fn is_origin(origin: &[u8]) -> bool {
    let is_visible = origin.iter().all(u8::is_ascii_graphic);
    let scheme = origin.split(|byte| *byte == b':').next();
    let has_scheme = scheme.is_some_and(|scheme| {
        let letters = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
        scheme.len() < origin.len()
            && scheme.first().is_some_and(u8::is_ascii_alphabetic)
            && scheme.iter().all(letters)
    });
    is_visible && (has_scheme || origin.starts_with(b"/") || origin == b"*")
}

/// The one subprotocol that is left without the one that carries a token, if there is one. With such a one all lines are
/// read, otherwise the first.
fn protocol(headers: &HeaderMap) -> Result<Option<HeaderValue>, BadHandshake> {
    let lines: Result<Vec<&str>, _> = headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .map(HeaderValue::to_str)
        .collect();
    let lines = lines.or(Err(BadHandshake::Protocols))?;
    let all = || lines.iter().flat_map(|line| line.split(',')).map(str::trim);
    let offered: Vec<&str> = if all().any(carries_token) {
        all().filter(|protocol| !carries_token(protocol)).collect()
    } else {
        let first = lines.first().copied().unwrap_or_default();
        first.split(',').map(str::trim).collect()
    };
    match offered.as_slice() {
        [] | [""] => Ok(None),
        [one] => HeaderValue::try_from(*one)
            .map(Some)
            .or(Err(BadHandshake::Protocols)),
        [_, _, ..] => Err(BadHandshake::Protocols),
    }
}

/// Whether a subprotocol carries a token, in whatever case its name is written: such a one is never told to anybody.
pub fn carries_token(protocol: &str) -> bool {
    protocol
        .get(..BEARER_PREFIX.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(BEARER_PREFIX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: (&str, &str) = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    const VERSION_13: (&str, &str) = ("sec-websocket-version", "13");
    const ORIGIN: (&str, &str) = ("origin", "https://headlamp.example.com");

    fn read(lines: &[(&str, &str)]) -> Result<Handshake, BadHandshake> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        Handshake::read(&headers)
    }

    #[test]
    fn the_example_of_the_rfc_is_agreed_to() {
        let answer = read(&[KEY, VERSION_13, ORIGIN]).unwrap().agreement(());
        assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
        let headers = answer.headers();
        assert_eq!(
            headers["sec-websocket-accept"],
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
        assert!(!headers.contains_key("sec-websocket-protocol"));
    }

    #[test]
    fn what_is_missing_or_odd_is_refused_as_the_api_server_does() {
        for (lines, wrong) in [
            (&[VERSION_13, ORIGIN][..], BadHandshake::Key),
            (
                &[("sec-websocket-key", ""), VERSION_13, ORIGIN],
                BadHandshake::Key,
            ),
            (&[KEY, ORIGIN], BadHandshake::Version),
            (
                &[KEY, ("sec-websocket-version", "8"), ORIGIN],
                BadHandshake::Version,
            ),
            (&[KEY, VERSION_13], BadHandshake::Origin),
        ] {
            assert_eq!(read(lines), Err(wrong), "{lines:?}");
        }
        for (origin, good) in [
            ("file://", true),
            ("http:x", true),
            ("chrome-extension://abc", true),
            ("/x", true),
            ("*", true),
            ("null", false),
            ("", false),
            ("http://a b", false),
            ("1http://a", false),
            ("://a", false),
        ] {
            let read = read(&[KEY, VERSION_13, ("origin", origin)]);
            let wanted = if good {
                None
            } else {
                Some(BadHandshake::Origin)
            };
            assert_eq!(read.err(), wanted, "{origin}");
        }
    }

    #[test]
    fn one_subprotocol_is_agreed_to_and_never_the_token() {
        let token = "base64url.bearer.authorization.k8s.io.dG9r";
        let shouted = "BASE64URL.bearer.authorization.k8s.io.dG9r";
        for (lines, agreed) in [
            (
                &["base64.binary.k8s.io"][..],
                Ok(Some("base64.binary.k8s.io")),
            ),
            (&[" "], Ok(None)),
            (&["a, b"], Err(BadHandshake::Protocols)),
            (&[","], Err(BadHandshake::Protocols)),
            (&["a", "b"], Ok(Some("a"))),
            (&[&format!("{token}, a")], Ok(Some("a"))),
            (&[token, "a"], Ok(Some("a"))),
            (&["a", token], Ok(Some("a"))),
            (&[&format!("{token},")], Ok(None)),
            (&[&format!("a, {token}, b")], Err(BadHandshake::Protocols)),
            (&[shouted], Ok(None)),
        ] {
            let mut all = vec![KEY, VERSION_13, ORIGIN];
            all.extend(lines.iter().map(|line| ("sec-websocket-protocol", *line)));
            let read = read(&all);
            let protocol = read.as_ref().map(|handshake| {
                let protocol = handshake.protocol.as_ref();
                protocol.map(|protocol| protocol.to_str().unwrap())
            });
            assert_eq!(protocol.map_err(|wrong| *wrong), agreed, "{lines:?}");
        }
    }
}
