//! gzip for long lists that were put together or narrowed here, as the API server compresses its own
//! (`apiserver pkg/endpoints/handlers/responsewriters/writers.go`). Watches are never compressed, and what is forwarded
//! comes as the API server made it.

use std::io;
use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::HeaderMap;
use http::HeaderValue;
use http::Response;
use http::header;
use http_body::Body as _;
use http_body::Frame;
use http_body_util::BodyExt;
use http_body_util::StreamBody;

use crate::body::Body;
use crate::body::BoxError;

/// Below this it is not worth it: the API server's own threshold.
const WORTH_IT: u64 = 128 * 1024;

/// How much is put together before it goes out.
const CHUNK: usize = 16 * 1024;

/// The API server's own level: the first one buys most of the size for little of the time.
const LEVEL: u32 = 1;

/// The list, compressed if the client asks for it and it is long. One whose length is not known yet did not fit into one
/// piece, and counts as long.
pub(super) fn long_list(request: &HeaderMap, list: Response<Body>) -> Response<Body> {
    let short = list
        .body()
        .size_hint()
        .exact()
        .is_some_and(|size| size < WORTH_IT);
    if short || !list.status().is_success() || !accepts_gzip(request) {
        return list;
    }
    let (mut head, body) = list.into_parts();
    head.headers.remove(header::CONTENT_LENGTH);
    head.headers
        .insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    head.headers
        .append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    Response::from_parts(head, gzip(body))
}

/// A token that is exactly `gzip`, as the API server looks for it.
fn accepts_gzip(request: &HeaderMap) -> bool {
    let lines = request.get_all(header::ACCEPT_ENCODING).iter();
    lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .any(|token| token.trim() == "gzip")
}

/// `body` as one gzip member. If it breaks off, so does this one: a short list never looks whole.
fn gzip(body: Body) -> Body {
    let encoder = GzEncoder::new(Vec::new(), Compression::new(LEVEL));
    let chunks = futures_util::stream::try_unfold(Some((body, encoder)), |state| async move {
        let Some((mut body, mut encoder)) = state else {
            return Ok(None);
        };
        while let Some(frame) = body.frame().await.transpose()? {
            if let Some(data) = frame.data_ref() {
                encoder.write_all(data)?;
            }
            if encoder.get_ref().len() >= CHUNK {
                let chunk = std::mem::take(encoder.get_mut());
                return Ok::<_, BoxError>(Some((data_of(chunk), Some((body, encoder)))));
            }
        }
        let last = encoder
            .finish()
            .map_err(|error: io::Error| Box::new(error))?;
        Ok(Some((data_of(last), None)))
    });
    Body::new(StreamBody::new(chunks))
}

fn data_of(chunk: Vec<u8>) -> Frame<Bytes> {
    Frame::data(chunk.into())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::body::full;

    fn asking(encodings: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, encodings.parse().unwrap());
        headers
    }

    fn streamed(chunks: Vec<Result<&'static [u8], &'static str>>) -> Body {
        let frames = chunks.into_iter().map(|chunk| match chunk {
            Ok(bytes) => Ok(Frame::data(Bytes::from_static(bytes))),
            Err(why) => Err(BoxError::from(why)),
        });
        Body::new(StreamBody::new(futures_util::stream::iter(frames)))
    }

    #[tokio::test]
    async fn a_long_list_comes_back_as_it_was() {
        let list = Response::new(streamed(vec![Ok(b"{\"items\""), Ok(b""), Ok(b":[]}")]));
        let (head, body) = long_list(&asking("br, gzip"), list).into_parts();
        assert_eq!(head.headers[header::CONTENT_ENCODING], "gzip");
        assert_eq!(head.headers[header::VARY], "Accept-Encoding");
        let packed = body.collect().await.unwrap().to_bytes();
        let mut text = String::new();
        flate2::read::GzDecoder::new(packed.as_ref())
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "{\"items\":[]}");
    }

    #[tokio::test]
    async fn what_breaks_off_does_not_end_well() {
        let list = Response::new(streamed(vec![Ok(b"{\"items\":["), Err("gone")]));
        let body = long_list(&asking("gzip"), list).into_body();
        assert!(body.collect().await.is_err());
    }

    #[test]
    fn short_lists_refusals_and_clients_that_do_not_ask_are_left_alone() {
        let long = || Response::new(full(vec![b'x'; 200_000]));
        let mut refusal = long();
        *refusal.status_mut() = http::StatusCode::FORBIDDEN;
        for (list, encodings, packed) in [
            (long(), "gzip", true),
            (long(), "deflate,gzip", true),
            (long(), "gzip;q=1", false),
            (long(), "x-gzip", false),
            (long(), "identity", false),
            (Response::new(full("{}")), "gzip", false),
            (refusal, "gzip", false),
        ] {
            let list = long_list(&asking(encodings), list);
            assert_eq!(
                list.headers().contains_key(header::CONTENT_ENCODING),
                packed,
                "{encodings}"
            );
        }
    }
}
