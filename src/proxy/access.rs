//! One line per request, written when the last byte of its answer has gone or the client has.

use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use http_body::Frame;
use http_body::SizeHint;

use super::counts::OpenWatch;
use super::forward::is_watch;
use super::lease::Lease;
use crate::body::Body;
use crate::body::BoxError;
use crate::k8s::request::ApiRequest;

/// Gathers what happened to a request; written on drop.
#[derive(Debug)]
#[must_use = "dropping it writes the line"]
pub(super) struct AccessLine {
    started: Instant,
    user: Option<String>,
    verb: &'static str,
    resource: String,
    namespace: String,
    plan: &'static str,
    reason: &'static str,
    code: u16,
    head_ms: u64,
    bytes: u64,
    end: &'static str,
    watch: bool,
}

impl AccessLine {
    pub(super) fn begin() -> Self {
        Self {
            started: Instant::now(),
            user: None,
            verb: "",
            resource: String::new(),
            namespace: String::new(),
            plan: "",
            reason: "",
            code: 0,
            head_ms: 0,
            bytes: 0,
            end: "dropped",
            watch: false,
        }
    }

    pub(super) fn user(&mut self, name: &str) {
        if tracing::enabled!(target: "access", tracing::Level::INFO) {
            self.user = Some(name.to_owned());
        }
    }

    pub(super) fn request(&mut self, what: &ApiRequest) {
        self.watch = is_watch(what);
        if !tracing::enabled!(target: "access", tracing::Level::INFO) {
            return;
        }
        match what {
            ApiRequest::NonResource(_) => self.verb = "nonresource",
            ApiRequest::Resource(request) => {
                self.verb = request.verb.as_str();
                self.resource = request.resource.to_string();
                if let Some(subresource) = &request.subresource {
                    self.resource.push('/');
                    self.resource.push_str(subresource);
                }
                self.namespace = request
                    .namespace
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default();
            }
        }
    }

    /// Whether it asks for a watch.
    pub(super) fn is_watch(&self) -> bool {
        self.watch
    }

    pub(super) fn plan_name(&self) -> &'static str {
        self.plan
    }

    pub(super) fn plan(&mut self, plan: &'static str) {
        self.plan = plan;
    }

    pub(super) fn head(&mut self, code: u16, reason: &'static str) {
        self.code = code;
        self.reason = reason;
        self.head_ms = elapsed_ms(self.started);
    }

    /// The response body that writes the line at its end, and holds until then what a request under way holds.
    pub(super) fn guard(self, body: Body, held: Option<(Lease, Option<OpenWatch>)>) -> Body {
        Body::new(Guarded {
            body,
            line: self,
            _held: held,
        })
    }
}

impl Drop for AccessLine {
    fn drop(&mut self) {
        tracing::info!(
            target: "access",
            user = self.user.as_deref().unwrap_or_default(),
            verb = self.verb,
            resource = self.resource,
            namespace = self.namespace,
            plan = self.plan,
            reason = self.reason,
            code = self.code,
            head_ms = self.head_ms,
            total_ms = elapsed_ms(self.started),
            bytes = self.bytes,
            end = self.end,
            "request"
        );
    }
}

fn elapsed_ms(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// A body that counts its bytes, and whose end, whatever kind, closes line and lease.
struct Guarded {
    body: Body,
    line: AccessLine,
    _held: Option<(Lease, Option<OpenWatch>)>,
}

impl http_body::Body for Guarded {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                self.line.bytes += frame.data_ref().map_or(0, |data| data.len() as u64)
            }
            Some(Err(_)) => self.line.end = "error",
            None => self.line.end = "done",
        }
        if self.body.is_end_stream() && self.line.end == "dropped" {
            // hyper asks no further once this is true.
            self.line.end = "done";
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
