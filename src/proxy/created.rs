//! Whoever has just created a namespace finds it in his next list: the API server's `201 Created` waits until the
//! namespace is in his scope, which takes the few milliseconds until the informer hears of it.
//!
//! Bounded, and nothing depends on it: what he may see is decided by facts, here as everywhere.

use std::time::Duration;

use http::Response;
use http::StatusCode;
use http::header;

use super::Proxy;
use super::exchange::Exchange;
use crate::body::Body;
use crate::body::peek;
use crate::filter;
use crate::k8s::media::Media;
use crate::k8s::names::Namespace;
use crate::k8s::request::ApiRequest;
use crate::k8s::request::Parameters;
use crate::tenancy::facts::Uid;
use crate::wire::object::Wanted;

/// Longer than a grant is ever held back (a second), shorter than anybody's patience. An informer that is farther
/// behind is in trouble of its own.
const PATIENCE: Duration = Duration::from_secs(2);

/// A namespace that has just been created is a kilobyte. The answer to one with a hundred kilobytes of annotations
/// does not wait.
const MOST_BYTES: usize = 64 * 1024;

impl Proxy {
    /// The answer to `exchange` as it may go out: at once, but for a namespace that was created.
    pub(super) async fn once_it_shows(
        &self,
        exchange: &Exchange,
        response: Response<Body>,
    ) -> Response<Body> {
        if response.status() != StatusCode::CREATED || !writes_a_namespace(&exchange.what) {
            return response;
        }
        let Some(media) = readable(&response) else {
            return response;
        };
        let (head, body) = response.into_parts();
        let (beginning, body) = peek(body, MOST_BYTES).await;
        if let Some((name, uid)) = created(media, &beginning) {
            let who = exchange.caller.who.key();
            let entered = self.on.tenancy.has_entered(who, &name, &uid);
            if tokio::time::timeout(PATIENCE, entered).await.is_err() {
                tracing::warn!("a namespace just created did not come by the informer in time");
            }
        }
        Response::from_parts(head, body)
    }
}

/// Also by PATCH: server-side apply creates. A dry run is answered as if it had, and nothing will come.
fn writes_a_namespace(what: &ApiRequest) -> bool {
    match what {
        ApiRequest::NonResource(_) => false,
        ApiRequest::Resource(request) => {
            request.resource.group.is_empty()
                && &*request.resource.resource == "namespaces"
                && request.subresource.is_none()
                && matches!(&request.parameters, Parameters::Pairs(query) if query.first("dryRun").is_none())
        }
    }
}

fn readable(response: &Response<Body>) -> Option<Media> {
    if response.headers().contains_key(header::CONTENT_ENCODING) {
        return None;
    }
    let content_type = response
        .headers()
        .get(header::CONTENT_TYPE)?
        .to_str()
        .ok()?;
    Media::of_object(content_type)
}

fn created(media: Media, object: &[u8]) -> Option<(Namespace, Uid)> {
    let meta = filter::meta_of(media, object, Wanted::Names).ok()?;
    Some((Namespace::parse(&meta.name).ok()?, Uid::new(&meta.uid)))
}
