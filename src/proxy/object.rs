//! A GET of one object of a narrowed kind: as the user, and only after exactly 403 as the reader. The object is tested
//! before its first byte goes out; if it is not his, his own 403 stands, byte for byte.

use http::HeaderValue;
use http::Response;
use http::StatusCode;

use super::Proxy;
use super::answer;
use super::exchange::Exchange;
use super::lease::Lease;
use super::positions::Holder;
use super::reject::Reject;
use crate::body::Body;
use crate::body::collect;
use crate::body::full;
use crate::catalog::KindFacts;
use crate::filter;
use crate::policy::Keep;
use crate::policy::Permit;

/// More than one object ever is: etcd takes 1.5 MiB, and JSON may write a byte as six.
const MAX_OBJECT_BYTES: usize = 16 * 1024 * 1024;

impl Proxy {
    /// Asks as the user, then as the reader. `None`: the scope changed meanwhile, decide again.
    pub(super) async fn user_first(
        &self,
        exchange: &mut Exchange,
        holder: &Holder,
        own: Permit,
        then: Permit,
        keep: &Keep,
        lease: &Lease,
    ) -> Result<Option<Response<Body>>, Reject> {
        let request = self.authorized(exchange, own)?;
        let his = self.on.upstream.send(request, exchange.take_body()).await?;
        if his.status() != StatusCode::FORBIDDEN {
            return answer::forwarded(&exchange.what, his)
                .map(Some)
                .map_err(Reject::Answer);
        }
        let shown = self.read_object(exchange, &holder.kind, then, keep).await;
        if lease.presence.scope().generation != holder.now.generation {
            return Ok(None);
        }
        match shown {
            Some(object) => Ok(Some(object)),
            None => answer::forwarded(&exchange.what, his)
                .map(Some)
                .map_err(Reject::Answer),
        }
    }

    /// The object as the reader sees it, if `keep` lets it pass. Whatever goes wrong here, his own 403 is still true.
    async fn read_object(
        &self,
        exchange: &Exchange,
        kind: &KindFacts,
        then: Permit,
        keep: &Keep,
    ) -> Option<Response<Body>> {
        self.demand_fresh_facts().ok()?;
        let media = exchange.media(kind, false).ok()?;
        let request = self
            .authorized(exchange, then)
            .ok()?
            .with_accept(HeaderValue::from_static(media.accept(false)));
        let (head, body) = self
            .on
            .upstream
            .send(request, crate::body::empty())
            .await
            .ok()?
            .into_parts();
        if head.status != StatusCode::OK || answer::readable(&head, media, false).is_err() {
            return None;
        }
        let object = collect(body, MAX_OBJECT_BYTES).await.ok()?;
        let meta = filter::meta_of(media, &object, keep.wanted()).ok()?;
        if !keep.shows(&meta) {
            return None;
        }
        Some(Response::from_parts(head, full(object)))
    }
}
