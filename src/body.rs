//! The one body type that crosses module borders: boxed once per message, streamed, never collected.

use bytes::Bytes;
use bytes::BytesMut;
use futures_util::StreamExt;
use http_body_util::BodyExt;
use http_body_util::StreamBody;
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

/// The data at the beginning of `body`, to its end or until there are more than `limit` bytes, and the same body to go
/// on with, nothing missing.
pub async fn peek(mut body: Body, limit: usize) -> (Bytes, Body) {
    let (mut seen, mut frames) = (BytesMut::new(), Vec::new());
    while seen.len() <= limit {
        let Some(frame) = body.frame().await else {
            break;
        };
        let broken = frame.is_err();
        if let Ok(frame) = &frame {
            seen.extend_from_slice(frame.data_ref().map_or(&[], Bytes::as_ref));
        }
        frames.push(frame);
        if broken {
            break;
        }
    }
    let rest = http_body_util::BodyStream::new(body);
    let whole = futures_util::stream::iter(frames).chain(rest);
    (seen.freeze(), Body::new(StreamBody::new(whole)))
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

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use http_body::Frame;

    fn chunks(chunks: &[&'static str]) -> Body {
        let frames: Vec<_> = chunks
            .iter()
            .map(|chunk| match *chunk {
                "!" => Err(BoxError::from("broken")),
                data => Ok(Frame::data(Bytes::from_static(data.as_bytes()))),
            })
            .collect();
        Body::new(StreamBody::new(stream::iter(frames)))
    }

    #[tokio::test]
    async fn a_peek_takes_nothing_away() {
        for (body, seen, whole) in [
            (&["ab", "cd", "ef"][..], "abcd", Some("abcdef")),
            (&["a"], "a", Some("a")),
            (&[], "", Some("")),
            (&["ab", "!"], "ab", None),
            (&["abcd", "!"], "abcd", None),
        ] {
            let (beginning, rest) = peek(chunks(body), 3).await;
            assert_eq!(beginning, seen);
            let all = collect(rest, 100).await.ok();
            assert_eq!(all.as_deref(), whole.map(str::as_bytes), "{body:?}");
        }
    }
}
