//! A narrowed watch on its way to the client: frames pass while the scope they were judged under stands, and not one
//! byte later.
//!
//! The body is driven by the client's reading: a client that stops reading stops his own upstream stream by flow
//! control, and the API server ends a watcher that does not keep up. No task and no buffer of ours grows with it.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http_body::Frame;
use http_body_util::BodyExt;
use http_body_util::StreamBody;
use tokio::sync::watch;
use tokio::time::Sleep;

use super::Proxy;
use super::ask::Asking;
use super::fan_out::Rights;
use super::fan_out::Streams;
use super::follow::Follow;
use super::lease::Share;
use super::parts::Parts;
use super::positions::Holder;
use crate::authn::Failure;
use crate::body::Body;
use crate::body::BoxError;
use crate::identity::Caller;
use crate::k8s::request::ApiRequest;
use crate::policy;
use crate::socket::ConnInfo;
use crate::tenancy::Freshness;
use crate::tenancy::News;
use crate::tenancy::Presence;
use crate::watch::guard::Given;
use crate::watch::human::Human;
use crate::watch::human::Step;
use crate::watch::machine::End;
use crate::watch::machine::Watch;
use crate::watch::merged::Merged;
use crate::watch::outbox::Behind;
use crate::watch::outbox::Outbox;
use crate::wire::Broken;
use crate::wire::frames::Frame as WireFrame;

/// A watch under way.
pub(super) struct LiveWatch {
    /// The API server's frames, and what judges them.
    pub(super) flow: Flow,
    /// What it goes on with when what he may see changes. `None`: its client begins anew.
    pub(super) follow: Option<Box<Follow>>,
    /// Tells when the identity's scope is no longer the one `holder` names, and when something that names it has changed.
    pub(super) presence: Presence,
    /// Tells when somebody may see all of something that he could not.
    pub(super) gained: watch::Receiver<u64>,
    /// Tells when others may log in than did.
    pub(super) exchanges: watch::Receiver<()>,
    /// Under whom and what positions are issued.
    pub(super) holder: Holder,
    /// Who watches.
    pub(super) caller: Caller,
    /// What he watches.
    pub(super) what: Arc<ApiRequest>,
    /// Where he comes from.
    pub(super) connection: ConnInfo,
    /// How long the caller's credential still holds, if that can be said.
    pub(super) expires: Option<Duration>,
    /// How long it lasts, where the API server does not end it.
    pub(super) lasts: Option<Duration>,
    /// What it was decided by, and what it issues positions to.
    pub(super) proxy: Arc<Proxy>,
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
    /// Its legs are counted.
    pub(super) _share: Share,
}

/// What a watch waits for.
enum Event {
    News(News),
    RightsChanged,
    /// Somebody, perhaps he, may see all of something that he could not.
    Gained,
    /// Who may log in, and as whom, is configured anew.
    Exchanged,
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
    /// Whether nobody could say lately who the caller is.
    is_in_doubt: bool,
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
            look: Box::pin(tokio::time::sleep(self.proxy.settings.look)),
            watch: self,
            out: Outbox::new(),
            is_in_doubt: false,
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
            // Asked before each frame that leaves, so that a frame already read does not outlive what it was read by.
            // The scope comes after what is waited for, in which it may change.
            if self.watch.exchanges.has_changed().unwrap_or(false) {
                self.watch.exchanges.mark_unchanged();
                Box::pin(self.judge_caller()).await;
            }
            if self.is_outdated() {
                self.scope_changed().await;
            }
            if self.expiry.is_elapsed() {
                self.watch.flow.on_end(End::Credential, &mut self.out);
            }
            if let Some(frame) = self.give() {
                return Some(frame.bytes().clone());
            }
            if self.out.is_over() {
                return None;
            }
            match self.event().await {
                // The next turn looks.
                Event::News(News::Scope) | Event::Exchanged | Event::CredentialEnded => {}
                Event::News(News::Stirred) => self.watch.flow.stir(),
                Event::RightsChanged => self.scope_changed().await,
                Event::Gained => self.judge_plan().await,
                Event::Draining | Event::TimedOut => {
                    self.watch.flow.on_end(End::Drain, &mut self.out)
                }
                Event::Look => {
                    self.judge_facts();
                    if self.has_ended_by_the_clock() {
                        self.watch.flow.on_end(End::Credential, &mut self.out);
                    }
                    // A credential that does not say when it ends is asked about (TokenReview of an opaque token).
                    if self.watch.expires.is_none() || self.is_in_doubt {
                        Box::pin(self.judge_caller()).await;
                    }
                    if self.ask_own_rights() {
                        self.scope_changed().await;
                    }
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
                    return Some(self.issue(outgoing.behind).unwrap_or(frame));
                }
                Ok(Step::First(frame)) => {
                    self.out.put_back(outgoing);
                    return Some(frame);
                }
                Ok(Step::Hold) => {}
                Err(broken) => {
                    log(&broken);
                    self.watch.flow.on_end(End::Broken, &mut self.out);
                    return None;
                }
            }
        }
    }

    /// A frame is about to go out, `behind` which the client stands. Where that must be another place, the frame to go out
    /// instead.
    fn issue(&self, behind: Behind) -> Option<WireFrame> {
        let LiveWatch {
            holder,
            flow,
            follow,
            ..
        } = &self.watch;
        let positions = &self.watch.proxy.positions;
        let now = self.watch.presence.scope().generation;
        let human = follow.as_ref().map(|follow| &follow.human);
        match (flow, behind) {
            (Flow::One(_) | Flow::Many(_), Behind::Nothing) => None,
            (Flow::One(_), Behind::Whole(at)) if !human.is_some_and(Human::is_between_states) => {
                positions.on_event(holder, at, now);
                None
            }
            // Of the midst of a state. Whoever goes on from there lacks the rest, as at the API server; but what a human was
            // given may be taken back, at this very position.
            (Flow::One(_), Behind::Whole(at) | Behind::Part(at)) => {
                if human.is_some() {
                    positions.on_reached(holder, at);
                }
                None
            }
            (Flow::Many(_), Behind::Part(at)) => {
                positions.on_fan_out(holder, (at, Given::Part), now);
                None
            }
            (Flow::Many(many), Behind::Whole(at)) => {
                let told = positions.unparted(holder, at, now);
                positions.on_fan_out(holder, (told, Given::Whole(Arc::clone(&many.parts))), now);
                (told != at).then(|| many.machine.bookmark_instead(at, told))?
            }
        }
    }

    /// Whether the credential has ended, though its time is not over: the clock was put forward, or the machine slept.
    fn has_ended_by_the_clock(&self) -> bool {
        let LiveWatch { caller, proxy, .. } = &self.watch;
        let expires = caller.who.expires;
        expires.is_some_and(|end| end <= proxy.on.clock.now())
    }

    /// Waits for whatever happens first; what ends the watch goes before what it would still say.
    async fn event(&mut self) -> Event {
        tokio::select! {
            biased;
            news = self.watch.presence.news() => Event::News(news),
            Ok(()) = self.watch.gained.changed() => Event::Gained,
            Ok(()) = self.watch.exchanges.changed() => {
                self.watch.exchanges.mark_changed();
                Event::Exchanged
            }
            () = &mut self.expiry => Event::CredentialEnded,
            _until = self.watch.proxy.on.drain.draining() => Event::Draining,
            () = &mut self.timeout => Event::TimedOut,
            () = &mut self.look => Event::Look,
            next = self.watch.flow.next() => next,
        }
    }

    fn is_outdated(&self) -> bool {
        self.watch.presence.scope().generation != self.watch.holder.now.generation
    }

    /// What is rare is on the heap while it lasts: a watch that waits is not as large as all it may ever do.
    fn scope_changed(&mut self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.on_scope_change())
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

    /// Who may see all himself by now is not kept to a part, where a list would show him all.
    async fn judge_plan(&mut self) {
        let LiveWatch { caller, what, .. } = &self.watch;
        let scope = self.watch.presence.scope();
        if self.watch.proxy.would_forward(&caller.who, what, &scope) {
            self.scope_changed().await;
        }
    }

    /// The watch rests on a *no* for as long as it lasts. Says whether there is none any more, which is not always told:
    /// of two rights that are gained the second one was not refused before.
    fn ask_own_rights(&self) -> bool {
        let LiveWatch {
            proxy,
            caller,
            what,
            connection,
            ..
        } = &self.watch;
        let asking = Asking {
            caller,
            what,
            connection: *connection,
        };
        let (catalog, scope) = (proxy.on.catalog.load(), self.watch.presence.scope());
        proxy.ask_for_who_watches(asking, &catalog, &scope)
    }

    fn judge_facts(&mut self) {
        let on = &self.watch.proxy.on;
        let (catalog, kind) = (on.catalog.load(), &self.watch.holder.kind);
        match &self.watch.flow {
            // The API server would let it go on; a new one would be the user's own.
            Flow::One(_) if !policy::may_be_read(&kind.resource, &catalog) => {
                self.watch.flow.on_scope_change(&mut self.out);
            }
            Flow::One(_) | Flow::Many(_) => {}
        }
        match on.tenancy.freshness() {
            Freshness::Fresh | Freshness::Unready => {
                self.look
                    .as_mut()
                    .reset(tokio::time::Instant::now() + self.watch.proxy.settings.look);
            }
            Freshness::Stale => self.watch.flow.on_end(End::Upstream, &mut self.out),
        }
    }

    /// Asks again who the caller is. While the answer is waited for nothing flows.
    async fn judge_caller(&mut self) {
        let authn = &self.watch.proxy.on.authn;
        let answer = authn.recheck(&self.watch.caller).await;
        // Nobody can say now: the next look asks again. The facts have an age of their own.
        self.is_in_doubt = matches!(answer, Err(Failure::Unavailable(_)));
        let same = match answer {
            Ok(who) => who.key() == self.watch.caller.who.key(),
            Err(Failure::Rejected(_) | Failure::Missing | Failure::Conflict) => false,
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
