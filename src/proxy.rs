//! The life of a request: identified, parsed, registered, decided, carried out. The order is a security property, so
//! it is written out in one function, [`Proxy::answer`].
//!
//! It neither parses nor judges; it does what [`crate::policy::decide`] says.

mod access;
mod answer;
mod ask;
mod compress;
mod counts;
mod created;
mod exchange;
mod fan_out;
mod follow;
mod forward;
mod lease;
mod list;
mod live;
mod narrow;
mod object;
mod own_rights;
mod page;
mod parts;
mod positions;
pub mod reject;
mod websocket;

pub use counts::Counts;
pub use page::Pages;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::Request;
use http::Response;
use http::StatusCode;
use http::request::Parts;
use hyper::body::Incoming;
use tokio_util::task::TaskTracker;

use crate::authn::Authn;
use crate::body::Body;
use crate::body::full;
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::drain;
use crate::k8s::request::ApiRequest;
use crate::policy;
use crate::policy::Plan;
use crate::reader::Reader;
use crate::ready::Readiness;
use crate::socket::ConnInfo;
use crate::tenancy::Tenancy;
use crate::upstream;
use crate::upstream::OwnToken;
use crate::upstream::Upstream;
use crate::watch::guard::Mode;

use access::AccessLine;
use exchange::Exchange;
use lease::Lease;
use own_rights::Answers;
use positions::Positions;
use reject::Reject;
use websocket::Switch;

/// How often a request is decided again because the world moved while it was asked: own rights asked (two verbs, of
/// the collection or of one name), a scope that changed before the answer's head went out.
const MAX_DECISIONS: usize = 8;

/// What the pipeline stands on. Each is a handle that clones cheaply.
#[derive(Clone)]
pub struct Foundations {
    /// Proves who asks.
    pub authn: Authn,
    /// Which kinds there are.
    pub catalog: Arc<ArcSwap<Catalog>>,
    /// Who may see what.
    pub tenancy: Tenancy,
    /// What time it is.
    pub clock: Clock,
    /// Reads a fresh position where a plan flips.
    pub reader: Reader,
    /// The way out.
    pub upstream: Arc<Upstream>,
    /// The proxy's own token, for the reader and for impersonation.
    pub own_token: Arc<OwnToken>,
    /// Makes and reads page tokens.
    pub pages: Arc<Pages>,
    /// Whether requests can be answered yet.
    pub readiness: Readiness,
    /// What is counted here.
    pub counts: Arc<Counts>,
    /// Told when the proxy shuts down.
    pub drain: drain::Watcher,
    /// Owns what runs beside a request.
    pub tasks: TaskTracker,
}

/// The pipeline.
pub struct Proxy {
    on: Foundations,
    answers: Answers,
    positions: Arc<Positions>,
    settings: Settings,
}

/// An answer, and what lives as long as its body.
struct Answered {
    response: Response<Body>,
    lease: Lease,
    /// Where the answer is to go, if not into the response.
    switch: Option<Switch>,
}

/// What the pipeline is told.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Whether an identity's own wider rights are honoured.
    pub narrowing: Narrowing,
    /// How often an open narrowed watch looks whether the facts and the credential it rests on still hold.
    pub look: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            narrowing: Narrowing::UnlessAllowed,
            look: Duration::from_secs(30),
        }
    }
}

/// Whether an identity's own wider rights are honoured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Narrowing {
    /// Never less than without us: who may list all sees all.
    UnlessAllowed,
    /// `--narrow-always`: owners are narrowed whatever else they may.
    Always,
}

impl Proxy {
    /// A pipeline on these foundations.
    pub fn new(on: Foundations, settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            answers: Answers::new(),
            positions: Arc::default(),
            settings,
            on,
        })
    }

    /// Answers a request. Whatever happens, there is an answer, a line in the access log and a count.
    pub async fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
        connection: ConnInfo,
    ) -> Response<Body> {
        let mut line = AccessLine::begin();
        let (head, body) = request.into_parts();
        if let Some(probe) = self.probe(&head) {
            return probe;
        }
        match self.answer(head, body, connection, &mut line).await {
            Ok(answered) => self.sent(answered, line),
            Err(reject) => {
                let response = reject.response();
                self.on.counts.refused(reject.reason());
                let code = response.status();
                self.on
                    .counts
                    .answered(line.plan_name(), code, line.elapsed());
                reject.log();
                line.head(code.as_u16(), reject.reason());
                response.map(|body| line.guard(body, None))
            }
        }
    }

    /// The life of a request, on one screen.
    async fn answer(
        self: &Arc<Self>,
        head: Parts,
        body: Incoming,
        connection: ConnInfo,
        line: &mut AccessLine,
    ) -> Result<Answered, Reject> {
        upstream::judge_inbound(&head.headers)?;
        if !self.on.readiness.has_started() {
            return Err(Reject::NotReady);
        }
        let caller = self
            .on
            .authn
            .identify(&head.headers, connection.peer.ip())
            .await?;
        line.user(caller.who.user.as_str());
        let what = Arc::new(ApiRequest::parse(&head.method, &head.uri, &head.headers)?);
        line.request(&what);
        let lease = Lease::open(&self.on.tenancy, &caller.who)?; // register first,
        let mut exchange = Exchange::new(caller, what, head, body, connection)?;
        let response = self.settle(&mut exchange, &lease, line).await?; // decide second
        let switch = exchange.switch(&response).map_err(Reject::Answer)?;
        Ok(Answered {
            response,
            lease,
            switch,
        })
    }

    /// What goes to the client: the answer, or, of a watch over WebSocket, the agreement to it. Line and lease end with
    /// the last byte of the watch in both.
    fn sent(&self, answered: Answered, mut line: AccessLine) -> Response<Body> {
        let Answered {
            response,
            lease,
            switch,
        } = answered;
        let code = match &switch {
            None => response.status(),
            Some(_) => StatusCode::SWITCHING_PROTOCOLS,
        };
        self.on
            .counts
            .answered(line.plan_name(), code, line.elapsed());
        let watch = line.is_watch() && response.status().is_success();
        let watch = watch.then(|| self.on.counts.watch(line.plan_name()));
        line.head(code.as_u16(), "");
        let response = response.map(|body| line.guard(body, Some((lease, watch.flatten()))));
        match switch {
            None => response,
            Some(switch) => {
                let (_, watch) = response.into_parts();
                switch.carry(watch, &self.on.tasks, self.on.drain.clone())
            }
        }
    }

    /// Decides, carries out, and decides again where the world moved meanwhile.
    async fn settle(
        self: &Arc<Self>,
        exchange: &mut Exchange,
        lease: &Lease,
        line: &mut AccessLine,
    ) -> Result<Response<Body>, Reject> {
        for _ in 0..MAX_DECISIONS {
            let scope = lease.presence.scope();
            let catalog = self.on.catalog.load_full();
            let own = self.own_rights(exchange.asking(), &catalog, &scope);
            let plan = policy::decide(&exchange.caller.who, &exchange.what, &catalog, &scope, &own);
            line.plan(plan.name());
            let answer = match plan {
                Plan::Forward(permit) => {
                    let kind = policy::guarded_kind(&exchange.what, &catalog);
                    let holder = kind.map(|kind| exchange.holder(kind, &scope, Mode::Forwarded));
                    self.forward(exchange, permit, lease, holder).await?
                }
                Plan::NarrowList { kind, read, keep } => {
                    let holder = exchange.holder(&kind, &scope, Mode::Narrowed);
                    self.narrow_list(exchange, read, keep, lease, holder)
                        .await?
                }
                Plan::NarrowWatch {
                    kind,
                    read,
                    keep,
                    seed,
                } => {
                    let holder = exchange.holder(&kind, &scope, Mode::Narrowed);
                    let presence = &lease.presence;
                    self.narrow_watch(exchange, (read, seed), keep, presence, holder)
                        .await?
                        .map(|watching| self.watching(exchange, lease, watching))
                }
                Plan::FanOut { kind, legs } => {
                    let holder = exchange.holder(&kind, &scope, Mode::Narrowed);
                    self.fan_out(exchange, legs, lease, holder).await?
                }
                Plan::FanOutWatch { kind, legs } => {
                    let holder = exchange.holder(&kind, &scope, Mode::Narrowed);
                    self.fan_out_watch(exchange, legs, &lease.presence, holder)
                        .await?
                        .map(|watching| self.watching(exchange, lease, watching))
                }
                Plan::UserFirst {
                    kind,
                    own,
                    then,
                    keep,
                } => {
                    let holder = exchange.holder(&kind, &scope, Mode::Narrowed);
                    self.user_first(exchange, &holder, own, then, &keep, lease)
                        .await?
                }
                Plan::Ask { permit, question } => {
                    self.ask(&exchange.caller, &exchange.connection, permit, question)
                        .await?;
                    None
                }
                Plan::Unreadable(permit) => {
                    let answer = self.forward(exchange, permit, lease, None).await?;
                    answer.map(|answer| answer::incomplete(&exchange.what, answer))
                }
                Plan::Refuse(refusal) => return Err(Reject::Refused(refusal)),
            };
            if let Some(response) = answer {
                return Ok(response);
            }
        }
        Err(Reject::Unsettled)
    }

    /// The proxy's own probes, which no one needs a credential for.
    fn probe(&self, head: &Parts) -> Option<Response<Body>> {
        match head.uri.path() {
            "/_healthz" => Some(Response::new(full("ok"))),
            "/_readyz" => Some(match self.on.readiness.report() {
                None => Response::new(full("ok")),
                Some(missing) => {
                    let mut response = Response::new(full(missing));
                    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                    response
                }
            }),
            _ => None,
        }
    }
}
