//! One request under way: who asks for what, and what of the client's message is left to send.

use std::sync::Arc;
use std::time::SystemTime;

use http::HeaderMap;
use http::HeaderValue;
use http::Response;
use http::header::ACCEPT;
use http::request::Parts;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use super::ask::Asking;
use super::positions::Holder;
use super::reject::BadAnswer;
use super::reject::Reject;
use super::websocket;
use super::websocket::Switch;
use crate::body::Body;
use crate::body::empty;
use crate::catalog::KindFacts;
use crate::identity::Caller;
use crate::k8s::list_options::ListOptions;
use crate::k8s::media::Media;
use crate::k8s::media::Offer;
use crate::k8s::request::ApiRequest;
use crate::socket::ConnInfo;
use crate::tenancy::scope::Scope;
use crate::watch::guard::Mode;
use crate::watch::guard::Now;

/// One request under way.
pub(super) struct Exchange {
    pub(super) caller: Caller,
    pub(super) what: Arc<ApiRequest>,
    pub(super) headers: HeaderMap,
    pub(super) connection: ConnInfo,
    body: Option<Incoming>,
    upgrade: Option<OnUpgrade>,
    /// The client's end, if this is a watch over WebSocket. To everything else it is an ordinary watch.
    websocket: Option<websocket::Asked>,
    /// Whether the answer is to be text, though the client likes protobuf better.
    text: bool,
}

impl Exchange {
    /// # Errors
    /// What [`websocket::Asked::take`] refuses.
    pub(super) fn new(
        caller: Caller,
        mut what: Arc<ApiRequest>,
        mut head: Parts,
        body: Incoming,
        connection: ConnInfo,
    ) -> Result<Self, Reject> {
        let mut websocket = None;
        if let Some(watch) = what.watched_over_websocket() {
            what = Arc::new(watch);
            websocket = Some(websocket::Asked::take(&mut head)?);
        }
        Ok(Self {
            caller,
            what,
            upgrade: head.extensions.remove::<OnUpgrade>(),
            websocket,
            headers: head.headers,
            connection,
            body: Some(body),
            text: false,
        })
    }

    /// Who asks for what.
    pub(super) fn asking(&self) -> Asking<'_> {
        Asking {
            caller: &self.caller,
            what: &self.what,
            connection: self.connection,
        }
    }

    /// Whether it is a watch that a human reads.
    pub(super) fn is_watched_by_a_human(&self) -> bool {
        match self.what.as_ref() {
            ApiRequest::NonResource(_) => false,
            ApiRequest::Resource(request) => request.is_watched_by_a_human(),
        }
    }

    /// The switch of protocols that `answer` leads to, if one was asked for.
    ///
    /// # Errors
    /// As [`websocket::Asked::toward`].
    pub(super) fn switch(self, answer: &Response<Body>) -> Result<Option<Switch>, BadAnswer> {
        match self.websocket {
            None => Ok(None),
            Some(asked) => asked.toward(answer),
        }
    }

    /// From now on the answer is text: in protobuf it would have to be held.
    pub(super) fn take_text(&mut self) {
        self.text = true;
    }

    /// The client's body, once; empty after that. A request is sent twice only where it is a GET.
    pub(super) fn take_body(&mut self) -> Body {
        match self.body.take() {
            Some(body) if !http_body::Body::is_end_stream(&body) => {
                body.map_err(Into::into).boxed_unsync()
            }
            Some(_) | None => empty(),
        }
    }

    /// The client's end of a switch of protocols, once.
    pub(super) fn take_upgrade(&mut self) -> Option<OnUpgrade> {
        self.upgrade.take()
    }

    /// How a narrowed answer is to be encoded, by the first `Accept` line, the only one the API server reads.
    ///
    /// # Errors
    /// [`Reject::NotAcceptable`] if nothing the client accepts can be read on the way.
    pub(super) fn media(&self, kind: &KindFacts, watch: bool) -> Result<Media, Reject> {
        if self.text {
            return self.media_of_parts();
        }
        let offer = Offer {
            watch,
            filtered: true,
            protobuf: kind.protobuf,
        };
        Media::negotiate(self.accept()?, offer).ok_or(Reject::NotAcceptable)
    }

    /// The same for a list that is put together from several.
    pub(super) fn media_of_parts(&self) -> Result<Media, Reject> {
        Media::negotiate_text(self.accept()?).ok_or(Reject::NotAcceptable)
    }

    fn accept(&self) -> Result<Option<&str>, Reject> {
        let accept = self.headers.get(ACCEPT).map(HeaderValue::to_str);
        accept
            .transpose()
            .map_err(|_not_text| Reject::NotAcceptable)
    }

    /// Makes the request a consistent read, once. `false` if it is one already, or was made one before.
    pub(super) fn read_consistently(&mut self) -> bool {
        let ApiRequest::Resource(request) = self.what.as_ref() else {
            return false;
        };
        match request.consistent() {
            None => false,
            Some(consistent) => {
                self.what = Arc::new(ApiRequest::Resource(consistent));
                true
            }
        }
    }

    /// The same watch from the present state. `None` if it is no watch.
    pub(super) fn with_present_state(&self) -> Option<Self> {
        let ApiRequest::Resource(request) = self.what.as_ref() else {
            return None;
        };
        Some(Self {
            caller: self.caller.clone(),
            what: Arc::new(ApiRequest::Resource(request.with_present_state()?)),
            headers: self.headers.clone(),
            connection: self.connection,
            body: None,
            upgrade: None,
            websocket: None,
            text: self.text,
        })
    }

    /// Whose positions of `kind` this request asks about or makes.
    pub(super) fn holder(&self, kind: &KindFacts, scope: &Scope, mode: Mode) -> Holder {
        Holder {
            who: *self.caller.who.key(),
            name: *self.caller.who.name_key(),
            kind: kind.clone(),
            now: Now {
                generation: scope.generation,
                mode,
            },
        }
    }

    /// The list parameters; those of no list where it is none.
    pub(super) fn options(&self) -> ListOptions {
        match self.what.as_ref() {
            ApiRequest::NonResource(_) => ListOptions::default(),
            ApiRequest::Resource(request) => request.options().cloned().unwrap_or_default(),
        }
    }

    /// How long the caller's credential still holds at `now`, if it ends.
    pub(super) fn credential_left(&self, now: SystemTime) -> Option<std::time::Duration> {
        self.caller
            .who
            .expires
            .map(|end| end.duration_since(now).unwrap_or_default())
    }
}
