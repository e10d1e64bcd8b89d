//! Watches over WebSocket. Each is ended here and carried out as the ordinary watch that it is, by the one way that all
//! watches go; its answer is then cut into messages. None is ever tunnelled, since a tunnel cannot be filtered or ended.

mod messages;
mod session;

use http::Response;
use http::StatusCode;
use http::header;
use http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_util::task::TaskTracker;

use super::reject::BadAnswer;
use super::reject::Reject;
use crate::body::Body;
use crate::body::empty;
use crate::drain;
use crate::k8s::websocket::Handshake;
use crate::policy::Refusal;
use messages::Messages;

/// The client's end of a watch over WebSocket, before there is an answer.
pub(super) struct Asked {
    client: OnUpgrade,
    handshake: Handshake,
}

impl Asked {
    /// Takes the switch of protocols out of the head of a request, which is that of an ordinary watch from then on.
    ///
    /// The API server judges the handshake once it has begun to watch; here nothing is sent for one that is bad.
    ///
    /// # Errors
    /// [`Reject::Handshake`]; [`Refusal::Upgrade`] where the connection cannot switch (HTTP/1.0).
    pub(super) fn take(head: &mut Parts) -> Result<Self, Reject> {
        let handshake = Handshake::read(&head.headers)?;
        let client = head.extensions.remove::<OnUpgrade>();
        // The answer is read: it must come as it is.
        head.headers.remove(header::ACCEPT_ENCODING);
        Ok(Self {
            client: client.ok_or(Reject::Refused(Refusal::Upgrade))?,
            handshake,
        })
    }

    /// The switch that this answer leads to. `None`: it is a refusal, which the client gets as it is.
    ///
    /// # Errors
    /// [`BadAnswer`], if the answer is a watch that cannot be cut into messages.
    pub(super) fn toward(self, answer: &Response<Body>) -> Result<Option<Switch>, BadAnswer> {
        if answer.status() != StatusCode::OK {
            return Ok(None);
        }
        Ok(Some(Switch {
            kind: messages::Kind::of(answer.headers())?,
            asked: self,
        }))
    }
}

/// A switch of protocols that was agreed to.
pub(super) struct Switch {
    asked: Asked,
    kind: messages::Kind,
}

impl Switch {
    /// Carries `watch` to the client, in a task of `tasks`, until either has ended or the drain is forced. The answer
    /// that says so.
    ///
    /// What the API server says with the head of an HTTP watch is not said here, as it does not itself.
    pub(super) fn carry(
        self,
        watch: Body,
        tasks: &TaskTracker,
        drain: drain::Watcher,
    ) -> Response<Body> {
        let Asked { client, handshake } = self.asked;
        let messages = Messages::new(watch, self.kind);
        tasks.spawn(async move {
            let session = async {
                match client.await {
                    Ok(client) => session::run(TokioIo::new(client), messages).await,
                    Err(error) => tracing::debug!(
                        error = &error as &dyn std::error::Error,
                        "the client did not switch"
                    ),
                }
            };
            tokio::select! {
                biased;
                () = drain.forced() => {}
                () = session => {}
            }
        });
        handshake.agreement(empty())
    }
}
