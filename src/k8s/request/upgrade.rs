//! `Connection: upgrade` and `Upgrade`: which protocol a client wants to switch to. Nothing of these headers is copied.

use http::HeaderMap;
use http::header;

/// A protocol switch that may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the protocols' own names")]
pub enum Upgrade {
    WebSocket,
    Spdy31,
}

impl Upgrade {
    /// The value of the header `Upgrade` to send.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Spdy31 => "SPDY/3.1",
        }
    }
}

/// Why a protocol switch was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUpgrade {
    /// A protocol that no subresource speaks, such as `h2c`; or bytes that are no text.
    #[error("the protocol to upgrade to is neither websocket nor SPDY/3.1")]
    Unknown,
    /// The API server would take the first, another server the one it likes best.
    #[error("the request offers more than one protocol to upgrade to")]
    Several,
}

/// The protocol that a request asks to switch to. An `Upgrade` that no `Connection` names is none: it was meant for
/// another hop (RFC 9110 §7.8). A `Connection: upgrade` without `Upgrade` asks for nothing.
///
/// # Errors
/// [`BadUpgrade`]: a protocol that we do not know, or several.
pub(super) fn parse(headers: &HeaderMap) -> Result<Option<Upgrade>, BadUpgrade> {
    let mut tokens = tokens(headers, header::CONNECTION).flatten();
    if !tokens.any(|token| token.eq_ignore_ascii_case("upgrade")) {
        return Ok(None);
    }
    let mut wanted = None;
    for token in self::tokens(headers, header::UPGRADE) {
        let token = token.ok_or(BadUpgrade::Unknown)?;
        let protocol = [Upgrade::WebSocket, Upgrade::Spdy31]
            .into_iter()
            .find(|protocol| token.eq_ignore_ascii_case(protocol.as_str()))
            .ok_or(BadUpgrade::Unknown)?;
        if wanted.is_some_and(|wanted| wanted != protocol) {
            return Err(BadUpgrade::Several);
        }
        wanted = Some(protocol);
    }
    Ok(wanted)
}

/// The tokens of all lines of a header; `None` for a line that is no text.
fn tokens(headers: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = Option<&str>> {
    headers.get_all(name).iter().flat_map(|line| {
        let text = line.to_str().ok();
        let tokens = text
            .unwrap_or_default()
            .split(',')
            .map(str::trim)
            .filter(|token| !token.is_empty());
        tokens.map(Some).chain(text.is_none().then_some(None))
    })
}
