//! A narrowed watch on its way to the client: frames pass while the scope they were judged under stands, and not one
//! byte later.
//!
//! The body is driven by the client's reading: a client that stops reading stops his own upstream stream by flow
//! control, and the API server ends a watcher that does not keep up. No task and no buffer of ours grows with it.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use http_body_util::BodyExt;
use http_body_util::StreamBody;
use tokio::time::Sleep;

use super::positions::Holder;
use super::positions::Positions;
use crate::authn::Authn;
use crate::authn::Failure;
use crate::body::Body;
use crate::body::BoxError;
use crate::drain;
use crate::identity::Caller;
use crate::tenancy::Freshness;
use crate::tenancy::Presence;
use crate::tenancy::Tenancy;
use crate::watch::machine::End;
use crate::watch::machine::Watch;
use crate::watch::outbox::Outbox;

/// A watch under way.
pub(super) struct LiveWatch {
    /// The API server's frames.
    pub(super) upstream: Body,
    /// Judges them.
    pub(super) machine: Watch,
    /// Tells when the identity's scope is no longer the one `holder` names.
    pub(super) presence: Presence,
    /// Under whom and what positions are issued.
    pub(super) holder: Holder,
    /// Where they are issued.
    pub(super) positions: Arc<Positions>,
    /// Whether the facts are still known.
    pub(super) tenancy: Tenancy,
    /// Who reads it.
    pub(super) caller: Caller,
    /// Whether the caller is still who he was.
    pub(super) authn: Authn,
    /// How long the caller's credential still holds, if that can be said.
    pub(super) expires: Option<Duration>,
    /// [`super::Settings::look`].
    pub(super) look: Duration,
    /// Tells when the proxy shuts down.
    pub(super) drain: drain::Watcher,
}

/// What a watch waits for.
enum Event {
    ScopeChanged,
    CredentialEnded,
    Draining,
    Look,
    Upstream(Option<Result<Frame<Bytes>, BoxError>>),
}

struct State {
    watch: LiveWatch,
    out: Outbox,
    expiry: Pin<Box<Sleep>>,
    look: Pin<Box<Sleep>>,
}

impl LiveWatch {
    /// The watch as a body.
    pub(super) fn into_body(self) -> Body {
        // A credential that does not end is one that ends far away.
        let left = self.expires.unwrap_or(Duration::from_secs(365 * 86_400));
        let state = State {
            expiry: Box::pin(tokio::time::sleep(left)),
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
            self.judge_scope();
            if let Some(outgoing) = self.out.pop() {
                let now = self.watch.presence.scope().generation;
                if let Some(at) = outgoing.position {
                    self.watch.positions.on_event(&self.watch.holder, at, now);
                }
                return Some(outgoing.frame.bytes().clone());
            }
            if self.out.is_over() {
                return None;
            }
            match self.event().await {
                Event::ScopeChanged => {}
                Event::CredentialEnded => self.watch.machine.on_end(End::Credential, &mut self.out),
                Event::Draining => self.watch.machine.on_end(End::Drain, &mut self.out),
                Event::Look => {
                    self.judge_facts();
                    self.judge_caller().await;
                }
                Event::Upstream(Some(Ok(frame))) => self.read(frame),
                Event::Upstream(Some(Err(_)) | None) => {
                    self.watch.machine.on_end(End::Upstream, &mut self.out)
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
            () = &mut self.look => Event::Look,
            frame = self.watch.upstream.frame() => Event::Upstream(frame),
        }
    }

    fn judge_scope(&mut self) {
        if self.watch.presence.scope().generation != self.watch.holder.now.generation {
            self.watch.machine.on_scope_change(&mut self.out);
        }
    }

    fn judge_facts(&mut self) {
        match self.watch.tenancy.freshness() {
            Freshness::Fresh | Freshness::Unready => {
                self.look
                    .as_mut()
                    .reset(tokio::time::Instant::now() + self.watch.look);
            }
            Freshness::Stale => self.watch.machine.on_end(End::Upstream, &mut self.out),
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
            self.watch.machine.on_end(End::Credential, &mut self.out);
        }
    }

    fn read(&mut self, frame: Frame<Bytes>) {
        let Ok(data) = frame.into_data() else { return };
        if let Err(broken) = self.watch.machine.on_bytes(&data, &mut self.out) {
            tracing::warn!(
                error = &broken as &dyn std::error::Error,
                "a watch sent what cannot be read"
            );
        }
    }
}
