//! A list over all namespaces, put together from one list per namespace, each sent as the user.
//!
//! The first namespace that answers sets the state that all show (`resourceVersionMatch=Exact`), so the whole is one
//! consistent snapshot with one true resourceVersion. A few legs are under way at a time, and what they bring is passed
//! on in etcd's order as it comes: memory is bounded by the legs in flight, not by the list.

mod leg;
mod merge;
mod rights;
mod watch;

use std::sync::Arc;

use futures_util::StreamExt;
use http::HeaderValue;
use http::Response;
use http::StatusCode;
use http::header;
use serde_json::json;

use self::leg::Leg;
use self::leg::OpenPart;
use self::leg::Opener;
use self::merge::Failed;
use self::merge::Merge;
pub(super) use self::rights::Rights;
pub(super) use self::watch::Streams;
use super::Proxy;
use super::answer;
use super::compress;
use super::exchange::Exchange;
use super::lease::Lease;
use super::page::BadPage;
use super::page::Binding;
use super::page::Cursor;
use super::positions::Holder;
use super::reject::BadAnswer;
use super::reject::Reject;
use crate::body::Body;
use crate::body::collect;
use crate::body::full;
use crate::catalog::KindFacts;
use crate::filter;
use crate::k8s::list_options::ListOptions;
use crate::k8s::media::Media;
use crate::k8s::media::Shape;
use crate::k8s::media::TableVersion;
use crate::k8s::names::Namespace;
use crate::k8s::request::ApiRequest;
use crate::k8s::request::ResourceRequest;
use crate::policy::Cut;
use crate::policy::From;
use crate::policy::Legs;
use crate::policy::Refusal;
use crate::watch::guard::Given;
use crate::watch::guard::Position;
use crate::wire::Layout;

/// Legs under way at once for one list. Priority and fairness counts each as a read of the whole kind.
const IN_FLIGHT: usize = 8;

/// Longest `Status` read on the way.
const MAX_STATUS: usize = 64 * 1024;

impl Proxy {
    /// The list, as it was decided for `holder`. `None`: decide again, the scope changed meanwhile.
    pub(super) async fn fan_out(
        &self,
        exchange: &mut Exchange,
        legs: Legs,
        lease: &Lease,
        holder: Holder,
    ) -> Result<Option<Response<Body>>, Reject> {
        let (kind, generation) = (&holder.kind, holder.now.generation);
        let ApiRequest::Resource(list) = exchange.what.as_ref() else {
            return Ok(None);
        };
        self.demand_fresh_facts()?;
        let options = exchange.options();
        // The API server takes none and less than none alike.
        let limit = options.limit.filter(|limit| *limit > 0);
        let media = exchange.media_of_parts()?;
        let layout = filter::layout(media).ok_or(Reject::NotAcceptable)?;
        let binding = Binding::of(exchange.caller.who.key(), list, &options);
        let page = options.continue_token.as_deref();
        let page = page
            .map(|token| self.on.pages.open(token, &binding))
            .transpose()
            .map_err(|bad| {
                Reject::Refused(match bad {
                    BadPage::Forged => Refusal::BadPageToken,
                    BadPage::Foreign => Refusal::PageExpired,
                })
            })?;
        let restart = |namespace: Namespace, native: Option<String>| Cursor {
            generation,
            version: None,
            namespace,
            native,
        };
        if let Some(page) = &page
            && page.generation != generation
        {
            let cursor = restart(page.namespace.clone(), None);
            let token = self.on.pages.seal(&cursor, &binding);
            return Ok(Some(expired(&token)));
        }
        let opener = self.opener(exchange, legs, layout, media);
        let first = match first_leg(&opener, kind, page.as_ref(), &options, limit).await? {
            First::Part(first) => *first,
            // The pages before had something: what is left has nothing for him.
            First::None if let Some(page) = &page => {
                let version = page.version.as_deref();
                return Ok(Some(last_page(list, kind, media, version)));
            }
            First::None => {
                let whole = self.authorized(exchange, opener.legs.whole())?;
                let response = self.on.upstream.send(whole, crate::body::empty()).await?;
                return answer::forwarded(&exchange.what, response)
                    .map(Some)
                    .map_err(Reject::Answer);
            }
            First::Answer(at, response)
                if page.is_some() && response.status() == StatusCode::GONE =>
            {
                let native = inconsistent(response).await;
                let token = self.on.pages.seal(&restart(at, native), &binding);
                return Ok(Some(expired(&token)));
            }
            First::Answer(_, response) => return Ok(Some(response)),
        };
        let (head, version) = (first.part.head.clone(), first.version.clone());
        let is_under_floor = || {
            self.positions
                .is_under_floor_of_whole(&holder, version.as_deref())
        };
        if page.is_none() && is_under_floor() && exchange.read_consistently() {
            return Ok(None);
        }
        let mut merge = Merge::new(first, opener, limit);
        // Until every leg under way has said something, and the beginning is put together, the client is told nothing,
        // so that a failure is his answer.
        let beginning = match merge.beginning().await {
            Ok(beginning) => beginning,
            Err(Failed::Answer(response)) => return Ok(Some(response)),
            Err(Failed::Reject(reject)) => return Err(reject),
        };
        if lease.presence.scope().generation != generation {
            return Ok(None);
        }
        // Pages of different states are no state together.
        let one_state = page.is_none() || version.is_some();
        let seal = {
            let pages = Arc::clone(&self.on.pages);
            move |namespace: Namespace, native: Option<String>| {
                let cursor = Cursor {
                    generation,
                    version: version.clone(),
                    namespace,
                    native,
                };
                pages.seal(&cursor, &binding)
            }
        };
        let issue = {
            let (positions, presence) = (Arc::clone(&self.positions), lease.presence.clone());
            let holder = holder.clone();
            let (by_name, paged) = (options.exactly().is_some(), page.is_some());
            move |version: String, parts, complete| {
                let (Some(at), parts) = (Position::parse(&version), Arc::new(parts)) else {
                    return version;
                };
                let now = presence.scope().generation;
                if !(complete && one_state) {
                    positions.on_fan_out(&holder, (at, Given::Page(parts)), now);
                    return version;
                }
                // Of all pages the first one's version counts, and who asks for a state by its name is told that name.
                if paged {
                    positions.on_fan_out(&holder, (at, Given::LastPage(parts)), now);
                    return version;
                }
                let told = match by_name {
                    true => at,
                    false => positions.unparted(&holder, at, now),
                };
                positions.on_fan_out(&holder, (told, Given::Whole(parts)), now);
                told.0.to_string()
            }
        };
        let mut response = Response::new(merge.into_body(beginning, seal, issue));
        *response.headers_mut() = head.headers;
        response.headers_mut().remove(header::CONTENT_LENGTH);
        Ok(Some(compress::long_list(&exchange.headers, response)))
    }

    /// What the legs of a request are opened with.
    fn opener(&self, exchange: &Exchange, legs: Legs, layout: Layout, media: Media) -> Arc<Opener> {
        Arc::new(Opener {
            upstream: Arc::clone(&self.on.upstream),
            own_token: Arc::clone(&self.on.own_token),
            caller: exchange.caller.clone(),
            headers: exchange.headers.clone(),
            peer: exchange.connection.peer.ip(),
            legs,
            layout,
            media,
        })
    }
}

/// Asks one namespace after the other until one shows its part.
async fn first_leg(
    opener: &Opener,
    kind: &KindFacts,
    page: Option<&Cursor>,
    options: &ListOptions,
    limit: Option<i64>,
) -> Result<First, Reject> {
    let legs = &opener.legs;
    let start = page.map_or(0, |page| legs.from(&page.namespace));
    for (at, namespace) in legs.namespaces().iter().enumerate().skip(start) {
        let cut = Cut {
            from: page.map_or(From::Client, |page| page.from(namespace)),
            limit,
        };
        let part = match opener.open(at, cut.clone()).await? {
            Leg::Part(part) => part,
            Leg::Nothing => continue,
            Leg::Answer(response) => return Ok(First::Answer(namespace.clone(), response)),
        };
        let known = match page {
            Some(page) => page.version.as_deref(),
            None => options.exactly(),
        };
        let version = known
            .or(part.part.envelope.resource_version.as_deref())
            .map(str::to_owned);
        if kind.aggregated || version.is_some() || part.whole {
            let version = version.filter(|_| !kind.aggregated);
            return Ok(First::Part(Box::new(FirstPart {
                from: start,
                at,
                version,
                part,
            })));
        }
        drop(part);
        match by_one_item(opener, at, cut).await? {
            (_, Leg::Nothing) => {}
            (_, Leg::Answer(response)) => {
                return Ok(First::Answer(namespace.clone(), response));
            }
            (version, Leg::Part(part)) => {
                return Ok(First::Part(Box::new(FirstPart {
                    from: start,
                    at,
                    version,
                    part,
                })));
            }
        }
    }
    Ok(First::None)
}

/// The part whose version stands behind its items, of which there are many: one item tells what version there is now.
async fn by_one_item(
    opener: &Opener,
    at: usize,
    cut: Cut,
) -> Result<(Option<String>, Leg), Reject> {
    let one = Cut {
        from: From::Now,
        limit: Some(1),
    };
    let version = match opener.open(at, one).await? {
        Leg::Part(one) => one.part.envelope.resource_version.clone(),
        other @ (Leg::Nothing | Leg::Answer(_)) => return Ok((None, other)),
    };
    let from = match (cut.from, &version) {
        (From::Client | From::Now, Some(version)) => From::Exactly(version.clone()),
        // A page goes on where it stands, whatever its version is.
        (from, _) => from,
    };
    let leg = opener.open(at, Cut { from, ..cut }).await?;
    Ok((version, leg))
}

/// What the first namespaces said.
enum First {
    Part(Box<FirstPart>),
    /// He may list it in none of them.
    None,
    /// Something else than a list or a 403, which is the answer to the whole.
    Answer(Namespace, Response<Body>),
}

/// The part that sets the state of all others.
struct FirstPart {
    /// Which leg was asked first.
    from: usize,
    /// Which leg it is.
    at: usize,
    /// The state that the others are pinned to; `None`: each shows its own.
    version: Option<String>,
    part: Box<OpenPart>,
}

/// The page behind the last object: an empty list.
fn last_page(
    list: &ResourceRequest,
    kind: &KindFacts,
    media: Media,
    version: Option<&str>,
) -> Response<Body> {
    const META: &str = "meta.k8s.io/v1";
    let metadata = match version {
        Some(version) => json!({"resourceVersion": version}),
        None => json!({}),
    };
    let document = match media.shape {
        Shape::Table(version) => {
            let api_version = match version {
                TableVersion::V1 => META,
                TableVersion::V1Beta1 => "meta.k8s.io/v1beta1",
            };
            json!({"kind": "Table", "apiVersion": api_version, "metadata": metadata,
                "columnDefinitions": [], "rows": []})
        }
        Shape::PartialObjectMetadata => {
            json!({"kind": "PartialObjectMetadataList", "apiVersion": META, "metadata": metadata, "items": []})
        }
        Shape::Object => {
            let api_version = match list.resource.group.as_ref() {
                "" => list.version.to_string(),
                group => format!("{group}/{}", list.version),
            };
            json!({"kind": format!("{}List", kind.kind), "apiVersion": api_version, "metadata": metadata, "items": []})
        }
    };
    in_json(StatusCode::OK, &document)
}

fn in_json(status: StatusCode, document: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(full(document.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

/// The 410 of a page, with the token that goes on without consistency, as the API server gives one.
fn expired(token: &str) -> Response<Body> {
    let status = Refusal::PageExpired.status();
    let mut document: serde_json::Value =
        serde_json::from_slice(&status.to_json()).unwrap_or_default();
    if let Some(metadata) = document.get_mut("metadata") {
        *metadata = json!({"continue": token});
    }
    in_json(StatusCode::GONE, &document)
}

/// The inconsistent token of the API server's own 410.
async fn inconsistent(response: Response<Body>) -> Option<String> {
    let bytes = collect(response.into_body(), MAX_STATUS).await.ok()?;
    let status: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
    let token = status.get("metadata")?.get("continue")?.as_str()?;
    (!token.is_empty()).then(|| token.to_owned())
}

/// The legs after the first, a few under way at a time, in order.
type Rest = std::pin::Pin<Box<dyn futures_util::Stream<Item = Result<Leg, Reject>> + Send>>;

fn rest(opener: &Arc<Opener>, from: usize, version: Option<&str>, limit: Option<i64>) -> Rest {
    let (opener, version) = (Arc::clone(opener), version.map(str::to_owned));
    let legs = futures_util::stream::iter(from..opener.legs.namespaces().len()).map(move |at| {
        let from = version.clone().map_or(From::Client, From::Exactly);
        let opener = Arc::clone(&opener);
        async move { opener.open(at, Cut { from, limit }).await }
    });
    Box::pin(legs.buffered(IN_FLIGHT))
}

/// An answer that is a list cannot be read as one.
fn malformed(_broken: filter::Broken) -> Reject {
    Reject::Answer(BadAnswer::Malformed)
}
