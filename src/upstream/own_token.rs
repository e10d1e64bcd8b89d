//! The proxy's own service account token: what the reader's voice and impersonation are sent with.
//!
//! It is never printed, and goes into no request but those whose identity is set by impersonation headers.

use std::fmt;
use std::path::PathBuf;

use http::HeaderValue;

use crate::body::BoxError;
use crate::reload::Reload;

/// The service account's token, from a file that the kubelet rotates, or fixed.
pub struct OwnToken(Source);

enum Source {
    Fixed(HeaderValue),
    File(Reload<HeaderValue>),
}

impl OwnToken {
    /// A token that does not change.
    ///
    /// # Errors
    /// [`NotAToken`] if `token` could not stand in a header.
    pub fn fixed(token: &str) -> Result<Self, NotAToken> {
        bearer(token).map(|value| Self(Source::Fixed(value)))
    }

    /// The token in `path`. The kubelet replaces it at four fifths of its life, when the old one is still good for
    /// the last fifth: [`Self::run`] has minutes to notice.
    pub fn from_file(path: PathBuf) -> Self {
        let file = Reload::open("service account token", vec![path], |contents| {
            let [content] = contents else {
                return Err(BoxError::from(NotAToken));
            };
            let text = std::str::from_utf8(content).map_err(|_not_text| NotAToken)?;
            bearer(text.trim()).map_err(BoxError::from)
        });
        Self(Source::File(file))
    }

    /// Reads the file again whenever its content changes, until dropped.
    pub async fn run(&self) {
        match &self.0 {
            Source::Fixed(_) => std::future::pending().await,
            Source::File(file) => file.run().await,
        }
    }

    /// The file behind it, for readiness and counters.
    pub fn file(&self) -> Option<&Reload<HeaderValue>> {
        match &self.0 {
            Source::Fixed(_) => None,
            Source::File(file) => Some(file),
        }
    }

    /// The value of `Authorization`, marked sensitive; none if the file has never held a token.
    pub(super) fn bearer(&self) -> Option<HeaderValue> {
        match &self.0 {
            Source::Fixed(value) => Some(value.clone()),
            Source::File(file) => file.current().map(|value| HeaderValue::clone(&value)),
        }
    }
}

impl fmt::Debug for OwnToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnToken")
    }
}

/// The text is empty, or holds what no bearer token holds (RFC 6750 §2.1 allows letters, digits and `-._~+/=`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a bearer token")]
pub struct NotAToken;

/// `Bearer` and `token` as a header value that neither prints nor enters an HPACK table.
pub(super) fn bearer(token: &str) -> Result<HeaderValue, NotAToken> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
    if token.is_empty() || !token.bytes().all(fits) {
        return Err(NotAToken);
    }
    let mut value =
        HeaderValue::try_from(format!("Bearer {token}")).map_err(|_cannot_happen| NotAToken)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_neither_prints_nor_breaks_a_header_line() {
        let own = OwnToken::fixed("eyJ-secret").unwrap();
        assert!(!format!("{own:?} {:?}", own.bearer()).contains("eyJ"));
        for text in ["", " ", "a b", "a\r\nImpersonate-User: x", "a,b", "ä"] {
            assert_eq!(OwnToken::fixed(text).unwrap_err(), NotAToken, "{text:?}");
        }
    }

    #[test]
    fn a_rotated_file_is_followed_and_an_emptied_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        std::fs::write(&path, "first\n").unwrap();
        let own = OwnToken::from_file(path.clone());
        let text = |own: &OwnToken| own.bearer().unwrap().to_str().unwrap().to_owned();
        assert_eq!(text(&own), "Bearer first");
        std::fs::write(&path, "second").unwrap();
        own.file().unwrap().look();
        assert_eq!(text(&own), "Bearer second");
        std::fs::write(&path, "").unwrap();
        own.file().unwrap().look();
        assert_eq!(text(&own), "Bearer second");
        assert!(!own.file().unwrap().problem().unwrap().contains("second"));
    }
}
