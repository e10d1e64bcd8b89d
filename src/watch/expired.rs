//! The one frame that tells every client to list again: `410 Expired`, in the stream, on HTTP 200.
//! Never an HTTP 410: RetryWatcher, kube-rs and the Lens family would repeat the same request for ever.

use crate::filter;
use crate::k8s::media::Media;
use crate::wire::Layout;
use crate::wire::frames::Frame;
use crate::wire::frames::Framing;
use crate::wire::protobuf;
use crate::wire::protobuf::field;

/// The words the API server begins with (`NewResourceExpired` in apiserver `pkg/storage/cacher`), for clients that
/// look for them; and why.
const MESSAGE: &str = "too old resource version: what this user may see has changed, list again";

/// The expiry in the encoding of `media`; a Table watch gets a plain `Status` too. `None` for what is never watched.
pub fn expired_frame(media: Media) -> Option<Frame> {
    match filter::layout(media)? {
        Layout::Json | Layout::Table => {
            let document = format!(
                r#"{{"type":"ERROR","object":{{"kind":"Status","apiVersion":"v1","metadata":{{}},"status":"Failure","message":"{MESSAGE}","reason":"Expired","code":410}}}}"#
            );
            Some(Frame::new(Framing::Json, document.as_bytes()))
        }
        Layout::Protobuf => {
            let mut extension = Vec::new();
            protobuf::put(field::raw_extension::RAW, &status(), &mut extension);
            let mut event = Vec::new();
            protobuf::put(field::watch_event::TYPE, b"ERROR", &mut event);
            protobuf::put(field::watch_event::OBJECT, &extension, &mut event);
            Some(Frame::new(Framing::LengthPrefixed, &event))
        }
    }
}

/// `metav1.Status` in its envelope, fields as the API server writes them.
fn status() -> Vec<u8> {
    let mut type_meta = Vec::new();
    protobuf::put(field::type_meta::API_VERSION, b"v1", &mut type_meta);
    protobuf::put(field::type_meta::KIND, b"Status", &mut type_meta);
    // An empty ListMeta still writes its three strings, gogo/protobuf knows no absence for them.
    let mut metadata = Vec::new();
    protobuf::put(field::list_meta::SELF_LINK, b"", &mut metadata);
    protobuf::put(field::list_meta::RESOURCE_VERSION, b"", &mut metadata);
    protobuf::put(field::list_meta::CONTINUE, b"", &mut metadata);
    let mut status = Vec::new();
    protobuf::put(field::status::METADATA, &metadata, &mut status);
    protobuf::put(field::status::STATUS, b"Failure", &mut status);
    protobuf::put(field::status::MESSAGE, MESSAGE.as_bytes(), &mut status);
    protobuf::put(field::status::REASON, b"Expired", &mut status);
    protobuf::put_integer(field::status::CODE, 410, &mut status);

    let mut document = protobuf::MAGIC.to_vec();
    protobuf::put(field::unknown::TYPE_META, &type_meta, &mut document);
    protobuf::put(field::unknown::RAW, &status, &mut document);
    protobuf::put(field::unknown::CONTENT_ENCODING, b"", &mut document);
    protobuf::put(field::unknown::CONTENT_TYPE, b"", &mut document);
    document
}

#[cfg(test)]
mod tests;
