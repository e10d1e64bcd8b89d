//! The one body type that crosses module borders: boxed once per message, streamed, never collected.

use bytes::Bytes;
use bytes::BytesMut;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;

/// Why a body ended early. Boxed, since it comes from either side of the proxy.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request or response body on its way through.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// A body that holds exactly `bytes`.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    http_body_util::Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// A body without a byte.
pub fn empty() -> Body {
    http_body_util::Empty::new()
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// All of `body`, if it is no longer than `limit` bytes.
///
/// # Errors
/// When it is longer, or breaks off.
pub async fn collect(mut body: Body, limit: usize) -> Result<Bytes, BoxError> {
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await.transpose()? {
        if let Ok(data) = frame.into_data() {
            if all.len() + data.len() > limit {
                return Err(format!("the body is longer than {limit} bytes").into());
            }
            all.extend_from_slice(&data);
        }
    }
    Ok(all.freeze())
}
