//! A narrowed watch on its way to the client: frames pass while the scope they were judged under stands, and not one
//! byte later.
//!
//! The body is driven by the client's reading: a client that stops reading stops his own upstream stream by flow
//! control, and the API server ends a watcher that does not keep up. No task and no buffer of ours grows with it.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::StreamExt;
use http_body::Frame;
use http_body_util::BodyExt;
use http_body_util::StreamBody;
use tokio::time::Sleep;

use super::fan_out::Rights;
use super::fan_out::Streams;
use super::follow::Follow;
use super::parts::Parts;
use super::positions::Holder;
use super::positions::Positions;
use crate::authn::Authn;
use crate::authn::Failure;
use crate::body::Body;
use crate::body::BoxError;
use crate::catalog::Catalog;
use crate::drain;
use crate::identity::Caller;
use crate::policy;
use crate::tenancy::Freshness;
use crate::tenancy::Presence;
use crate::tenancy::Tenancy;
use crate::watch::guard::Position;
use crate::watch::human::Step;
use crate::watch::machine::End;
use crate::watch::machine::Watch;
use crate::watch::merged::Merged;
use crate::watch::outbox::Outbox;
use crate::wire::Broken;
use crate::wire::frames::Frame as WireFrame;

/// A watch under way.
pub(super) struct LiveWatch {
    /// The API server's frames, and what judges them.
    pub(super) flow: Flow,
    /// What it goes on with when what he may see changes. `None`: its client begins anew.
    pub(super) follow: Option<Box<Follow>>,
    /// Tells when the identity's scope is no longer the one `holder` names.
    pub(super) presence: Presence,
    /// Tells when something has changed that names him.
    pub(super) stirs: Presence,
    /// Under whom and what positions are issued.
    pub(super) holder: Holder,
    /// Where they are issued.
    pub(super) positions: Arc<Positions>,
    /// Whether the reader may still read the kind.
    pub(super) catalog: Arc<ArcSwap<Catalog>>,
    /// Whether the facts are still known.
    pub(super) tenancy: Tenancy,
    /// Who reads it.
    pub(super) caller: Caller,
    /// Whether the caller is still who he was.
    pub(super) authn: Authn,
    /// How long the caller's credential still holds, if that can be said.
    pub(super) expires: Option<Duration>,
    /// How long it lasts, where the API server does not end it.
    pub(super) lasts: Option<Duration>,
    /// [`super::Settings::look`].
    pub(super) look: Duration,
    /// Tells when the proxy shuts down.
    pub(super) drain: drain::Watcher,
}

/// Where the frames of a watch come from.
pub(super) enum Flow {
    /// One watch, as the reader.
    One(Box<One>),
    /// One per namespace, as the user.
    Many(Box<Many>),
}

/// A watch that is one.
pub(super) struct One {
    /// Its frames.
    pub(super) upstream: Body,
    /// What judges them.
    pub(super) machine: Watch,
}

/// A watch that is put together.
pub(super) struct Many {
    /// The frames of all legs.
    pub(super) upstream: Streams,
    /// What puts them together.
    pub(super) machine: Merged,
    /// The namespaces of the legs, and those where he may not watch.
    pub(super) parts: Arc<Parts>,
    /// Whether he may still watch there, and nowhere else.
    pub(super) rights: Rights,
}

/// What a watch waits for.
enum Event {
    ScopeChanged,
    /// Something that names him has changed.
    Stirred,
    RightsChanged,
    CredentialEnded,
    Draining,
    TimedOut,
    Look,
    /// Bytes of a leg, or its end.
    Upstream(usize, Option<Result<Bytes, BoxError>>),
}

impl Flow {
    fn on_scope_change(&mut self, out: &mut Outbox) {
        match self {
            Self::One(one) => one.machine.on_scope_change(out),
            Self::Many(many) => many.machine.on_scope_change(out),
        }
    }

    fn on_end(&mut self, why: End, out: &mut Outbox) {
        match self {
            Self::One(one) => one.machine.on_end(why, out),
            Self::Many(many) => many.machine.on_end(why, out),
        }
    }

    fn on_bytes(&mut self, leg: usize, bytes: &[u8], out: &mut Outbox) -> Result<(), Broken> {
        match self {
            Self::One(one) => one.machine.on_bytes(bytes, out),
            Self::Many(many) => many.machine.on_bytes(leg, bytes, out),
        }
    }

    fn stir(&mut self) {
        match self {
            Self::One(_) => {}
            Self::Many(many) => many.rights.stir(),
        }
    }

    /// What the API server sends next, or that it would no longer send it.
    async fn next(&mut self) -> Event {
        match self {
            Self::One(one) => loop {
                match one.upstream.frame().await {
                    None => return Event::Upstream(0, None),
                    Some(Err(error)) => return Event::Upstream(0, Some(Err(error))),
                    Some(Ok(frame)) => {
                        if let Ok(data) = frame.into_data() {
                            return Event::Upstream(0, Some(Ok(data)));
                        }
                    }
                }
            },
            Self::Many(many) => {
                tokio::select! {
                    biased;
                    () = many.rights.changed() => Event::RightsChanged,
                    frame = many.upstream.next() => match frame {
                        Some((leg, frame)) => Event::Upstream(leg, frame),
                        None => Event::Upstream(0, None),
                    },
                }
            }
        }
    }
}

struct State {
    watch: LiveWatch,
    out: Outbox,
    expiry: Pin<Box<Sleep>>,
    look: Pin<Box<Sleep>>,
    timeout: Pin<Box<Sleep>>,
}

impl LiveWatch {
    /// The watch as a body.
    pub(super) fn into_body(self) -> Body {
        // A credential that does not end is one that ends far away.
        let far = Duration::from_secs(365 * 86_400);
        let state = State {
            expiry: Box::pin(tokio::time::sleep(self.expires.unwrap_or(far))),
            timeout: Box::pin(tokio::time::sleep(self.lasts.unwrap_or(far))),
            look: Box::pin(tokio::time::sleep(self.look)),
            watch: self,
            out: Outbox::new(),
        };
        let frames = futures_util::stream::unfold(state, |mut state| async move {
            let frame = state.next().await?;
            Some((Ok::<_, BoxError>(Frame::data(frame)), state))
        });
        Body::new(StreamBody::new(frames))
    }
}

impl State {
    /// The next frame for the client; `None` at the end of the watch.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            // Asked before each frame that leaves, so that a frame already read does not outlive its scope.
            if self.is_outdated() {
                self.on_scope_change().await;
            }
            if let Some(frame) = self.give() {
                return Some(frame.bytes().clone());
            }
            if self.out.is_over() {
                return None;
            }
            match self.event().await {
                Event::ScopeChanged => {}
                Event::Stirred => self.watch.flow.stir(),
                Event::RightsChanged => self.on_scope_change().await,
                Event::CredentialEnded => self.watch.flow.on_end(End::Credential, &mut self.out),
                Event::Draining | Event::TimedOut => {
                    self.watch.flow.on_end(End::Drain, &mut self.out)
                }
                Event::Look => {
                    self.judge_facts();
                    self.judge_caller().await;
                }
                Event::Upstream(leg, Some(Ok(bytes))) => self.read(leg, &bytes),
                Event::Upstream(_, Some(Err(_)) | None) => {
                    self.watch.flow.on_end(End::Upstream, &mut self.out)
                }
            }
        }
    }

    /// The next frame for the client, if one is ready.
    fn give(&mut self) -> Option<WireFrame> {
        loop {
            if let Some(follow) = &mut self.watch.follow
                && let Some(gone) = follow.human.sweep()
            {
                return Some(gone);
            }
            let outgoing = self.out.pop()?;
            let step = match &mut self.watch.follow {
                None => Ok(Step::Give(outgoing.frame.clone())),
                Some(follow) => follow.human.on_frame(&outgoing.frame),
            };
            match step {
                Ok(Step::Give(frame)) => {
                    self.issue(outgoing.position);
                    return Some(frame);
                }
                Ok(Step::First(frame)) => {
                    self.out.put_back(outgoing);
                    return Some(frame);
                }
                Ok(Step::Hold) => {}
                Err(broken) => {
                    log(&broken);
                    self.watch.flow.on_end(End::Upstream, &mut self.out);
                    return None;
                }
            }
        }
    }

    /// A frame is about to go out, behind which the client stands at `position`.
    fn issue(&self, position: Option<Position>) {
        let LiveWatch {
            positions,
            holder,
            flow,
            ..
        } = &self.watch;
        let now = self.watch.presence.scope().generation;
        match (flow, position) {
            (Flow::One(_), Some(at)) => positions.on_event(holder, at, now),
            (Flow::One(_), None) => {}
            (Flow::Many(many), Some(at)) => positions.on_whole(holder, at, &many.parts, now),
            (Flow::Many(many), None) => {
                if let Some(high) = many.machine.high() {
                    positions.on_part(holder, high);
                }
            }
        }
    }

    /// Waits for whatever happens first; what ends the watch goes before what it would still say.
    async fn event(&mut self) -> Event {
        tokio::select! {
            biased;
            _scope = self.watch.presence.changed() => Event::ScopeChanged,
            () = &mut self.expiry => Event::CredentialEnded,
            _until = self.watch.drain.draining() => Event::Draining,
            () = &mut self.timeout => Event::TimedOut,
            () = self.watch.stirs.stirred() => Event::Stirred,
            () = &mut self.look => Event::Look,
            next = self.watch.flow.next() => next,
        }
    }

    fn is_outdated(&self) -> bool {
        self.watch.presence.scope().generation != self.watch.holder.now.generation
    }

    /// Not one more frame of what was read goes out. A machine is told that its position expired; for a human the watch
    /// is opened again, and what he holds is compared with what he may see now.
    async fn on_scope_change(&mut self) {
        if let Some(mut follow) = self.watch.follow.take()
            && !self.out.has_ended()
            && let Some((flow, holder)) = follow.again(&self.watch.presence).await
        {
            self.out = Outbox::new();
            self.watch.flow = flow;
            self.watch.holder = holder;
            self.watch.follow = Some(follow);
            return;
        }
        self.watch.flow.on_scope_change(&mut self.out);
    }

    fn judge_facts(&mut self) {
        let (catalog, kind) = (self.watch.catalog.load(), &self.watch.holder.kind);
        match &self.watch.flow {
            // The API server would let it go on; a new one would be the user's own.
            Flow::One(_) if !policy::may_be_read(&kind.resource, &catalog) => {
                self.watch.flow.on_scope_change(&mut self.out);
            }
            Flow::One(_) | Flow::Many(_) => {}
        }
        match self.watch.tenancy.freshness() {
            Freshness::Fresh | Freshness::Unready => {
                self.look
                    .as_mut()
                    .reset(tokio::time::Instant::now() + self.watch.look);
            }
            Freshness::Stale => self.watch.flow.on_end(End::Upstream, &mut self.out),
        }
    }

    /// A credential that does not say when it ends is asked about again (TokenReview of an opaque token). While
    /// the answer is waited for nothing flows.
    async fn judge_caller(&mut self) {
        if self.watch.expires.is_some() {
            return;
        }
        let same = match self.watch.authn.recheck(&self.watch.caller).await {
            Ok(who) => who.key() == self.watch.caller.who.key(),
            Err(Failure::Rejected(_) | Failure::Missing | Failure::Conflict) => false,
            // Nobody can say; the facts have an age of their own.
            Err(Failure::Unavailable(_)) => true,
        };
        if !same {
            self.watch.flow.on_end(End::Credential, &mut self.out);
        }
    }

    fn read(&mut self, leg: usize, bytes: &[u8]) {
        if let Err(broken) = self.watch.flow.on_bytes(leg, bytes, &mut self.out) {
            log(&broken);
        }
    }
}

fn log(broken: &Broken) {
    tracing::warn!(
        error = broken as &dyn std::error::Error,
        "a watch sent what cannot be read"
    );
}
