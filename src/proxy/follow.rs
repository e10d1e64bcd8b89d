//! Watches that were decided and opened, and how one that a human reads goes on when what he may see changes: decided
//! again and opened again, from the present state, of which he is shown what is new to him.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use http::Response;
use http_body_util::BodyExt;

use super::MAX_DECISIONS;
use super::Proxy;
use super::exchange::Exchange;
use super::lease::Lease;
use super::live::Flow;
use super::live::LiveWatch;
use super::positions::Holder;
use super::reject::BadAnswer;
use super::reject::Reject;
use crate::body::Body;
use crate::filter::ListFilter;
use crate::k8s::list_options::ListOptions;
use crate::policy;
use crate::policy::Keep;
use crate::policy::Plan;
use crate::tenancy::Presence;
use crate::watch::guard::Mode;
use crate::watch::human::Human;
use crate::wire::object::ObjectMeta;

/// What became of a watch that was decided.
pub(super) enum Watching {
    /// It is open.
    Open(Box<Opened>),
    /// Its answer is something else.
    Answer(Response<Body>),
}

/// A watch that is open.
pub(super) struct Opened {
    /// The head of its answer.
    pub(super) head: Response<()>,
    /// Its frames.
    pub(super) flow: Flow,
    /// Under whom and what its positions are issued.
    pub(super) holder: Holder,
    /// What its client holds, if that is a human who can be shown what changes.
    pub(super) human: Option<Human>,
}

/// What a watch that a human reads goes on with.
pub(super) struct Follow {
    proxy: Arc<Proxy>,
    /// The same watch from the present state.
    exchange: Exchange,
    pub(super) human: Human,
}

impl Follow {
    /// The watch under the scope in force now. `None`: it cannot be opened, or would no longer be narrowed.
    pub(super) async fn again(&mut self, presence: &Presence) -> Option<(Flow, Holder)> {
        if !self.human.can_go_on() {
            return None;
        }
        match self.proxy.watch_again(&mut self.exchange, presence).await {
            Ok(Some(opened)) => {
                self.human.on_new_stream();
                Some((opened.flow, opened.holder))
            }
            Ok(None) => None,
            Err(reject) => {
                reject.log();
                None
            }
        }
    }
}

impl Proxy {
    /// The answer to a watch.
    pub(super) fn watching(
        self: &Arc<Self>,
        exchange: &Exchange,
        lease: &Lease,
        watching: Watching,
    ) -> Response<Body> {
        let Opened {
            head,
            flow,
            holder,
            human,
        } = match watching {
            Watching::Open(opened) => *opened,
            Watching::Answer(response) => return response,
        };
        // The API server ends a watch that is one, unless there may be others after it.
        let lasts = match (&flow, &human) {
            (Flow::One(_), None) => None,
            (Flow::Many(_), _) | (Flow::One(_), Some(_)) => lasts(&exchange.options()),
        };
        let follow = human.zip(exchange.with_present_state());
        let follow = follow.map(|(human, exchange)| {
            Box::new(Follow {
                proxy: Arc::clone(self),
                exchange,
                human,
            })
        });
        // What may have been gained between decision and now is looked at first.
        let mut gained = self.answers.gained();
        gained.mark_changed();
        let watch = LiveWatch {
            flow,
            follow,
            presence: lease.presence.clone(),
            gained,
            exchanges: self.on.authn.exchanges(),
            holder,
            caller: exchange.caller.clone(),
            what: Arc::clone(&exchange.what),
            connection: exchange.connection,
            expires: exchange.credential_left(self.on.clock.now()),
            lasts,
            proxy: Arc::clone(self),
        };
        head.map(|()| watch.into_body())
    }

    /// Decides and opens a watch that a human reads again.
    async fn watch_again(
        self: &Arc<Self>,
        exchange: &mut Exchange,
        presence: &Presence,
    ) -> Result<Option<Opened>, Reject> {
        for _ in 0..MAX_DECISIONS {
            let scope = presence.scope();
            let catalog = self.on.catalog.load_full();
            let own = self.own_rights(exchange.asking(), &catalog, &scope);
            let plan = policy::decide(&exchange.caller.who, &exchange.what, &catalog, &scope, &own);
            let watching = match plan {
                Plan::NarrowWatch {
                    kind,
                    read,
                    keep,
                    seed,
                } => {
                    let holder = exchange.holder(&kind, &scope, Mode::Narrowed);
                    self.narrow_watch(exchange, (read, seed), keep, presence, holder)
                        .await?
                }
                Plan::FanOutWatch { kind, legs } => {
                    let holder = exchange.holder(&kind, &scope, Mode::Narrowed);
                    self.fan_out_watch(exchange, legs, presence, holder).await?
                }
                Plan::Ask { permit, question } => {
                    self.ask(&exchange.caller, &exchange.connection, permit, question)
                        .await?;
                    None
                }
                Plan::Forward(_)
                | Plan::Unreadable(_)
                | Plan::NarrowList { .. }
                | Plan::FanOut { .. }
                | Plan::UserFirst { .. }
                | Plan::Refuse(_) => return Ok(None),
            };
            match watching {
                Some(Watching::Open(opened)) => return Ok(Some(*opened)),
                Some(Watching::Answer(_)) => return Ok(None),
                None => {}
            }
        }
        Err(Reject::Unsettled)
    }
}

/// How long the client wants to watch, if it says.
fn lasts(options: &ListOptions) -> Option<Duration> {
    let seconds = u64::try_from(options.timeout_seconds?).ok()?;
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

/// What names the objects of a list of metadata that `keep` shows. Once these are more than `most` it is not read on.
pub(super) async fn noted(
    mut body: Body,
    keep: Keep,
    most: usize,
) -> Result<Vec<ObjectMeta>, Reject> {
    let malformed = |_broken| Reject::Answer(BadAnswer::Malformed);
    let mut filter = ListFilter::for_names(keep);
    let mut unwanted = BytesMut::new();
    while let Some(frame) = body.frame().await.transpose().map_err(Reject::Lost)? {
        if let Some(data) = frame.data_ref() {
            filter.push(data, &mut unwanted).map_err(malformed)?;
            unwanted.clear();
        }
        if filter.noted().len() > most {
            return Ok(filter.noted().to_vec());
        }
    }
    Ok(filter.finish(&mut unwanted).map_err(malformed)?.noted)
}
