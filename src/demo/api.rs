//! The API server's pipeline: who is it, what does it want, as whom, may he, and then the handler. The order is the
//! real one's: authentication, audit, impersonation, authorization.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::HeaderMap;
use http::Method;
use http::Request;
use http::Response;
use http::StatusCode;
use http::header::CACHE_CONTROL;
use http::header::CONTENT_TYPE;
use http_body::Frame;
use http_body_util::BodyExt;
use http_body_util::StreamBody;
use tokio_util::sync::CancellationToken;

use super::audit::Audit;
use super::audit::AuditEntry;
use super::authn::Authenticator;
use super::impersonate;
use super::object;
use super::rbac;
use super::rbac::Attributes;
use super::request::RequestInfo;
use super::status::Failure;
use super::store::Store;
use super::user::ANONYMOUS;
use super::watch::Watch;
use crate::body;
use crate::body::Body;

mod documents;
mod resources;

/// Everything a request is answered from.
pub(crate) struct Api {
    pub(crate) store: Arc<Store>,
    pub(crate) authenticator: Authenticator,
    pub(crate) audit: Audit,
    /// Ends every open watch.
    pub(crate) stop: CancellationToken,
    pub(crate) bookmarks_every: Duration,
}

/// Request bodies above this are refused (`MaxRequestBodyBytes` in `apiserver pkg/server/config.go`).
const MAX_BODY: usize = 3 * 1024 * 1024;

/// What a handler made of a request.
pub(crate) enum Answer {
    Json(StatusCode, String),
    Text(String),
    /// With headers of its own: discovery.
    Document {
        content_type: &'static str,
        etag: Option<String>,
        json: String,
    },
    NotModified {
        etag: String,
    },
    Watch(Box<Watch>),
}

impl Api {
    /// Answers one request.
    pub(crate) async fn answer<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<body::BoxError>,
    {
        let (head, body) = request.into_parts();
        let mut entry = AuditEntry {
            user: None,
            impersonated: None,
            verb: head.method.as_str().to_ascii_lowercase(),
            uri: head
                .uri
                .path_and_query()
                .map_or("/", http::uri::PathAndQuery::as_str)
                .to_owned(),
            resource: String::new(),
            subresource: String::new(),
            namespace: String::new(),
            name: String::new(),
            code: 0,
        };
        let answer = self
            .judge_and_handle(&head.method, &head.uri, &head.headers, body, &mut entry)
            .await;
        let response = respond(answer);
        entry.code = response.status().as_u16();
        self.audit.record(entry);
        response
    }

    async fn judge_and_handle<B>(
        &self,
        method: &Method,
        uri: &http::Uri,
        headers: &HeaderMap,
        body: B,
        entry: &mut AuditEntry,
    ) -> Result<Answer, Failure>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<body::BoxError>,
    {
        let info = RequestInfo::parse(method, uri.path(), uri.query().unwrap_or(""))?;
        entry.verb.clone_from(&info.verb);
        if let Some(resource) = &info.resource {
            entry.resource = resource.resource.to_string();
            entry.subresource.clone_from(&resource.subresource);
            entry.namespace.clone_from(&resource.namespace);
            entry.name.clone_from(&resource.name);
        }
        let caller = self.authenticator.identify(headers)?;
        entry.user = Some(caller.clone()).filter(|user| user.name != ANONYMOUS);
        let impersonated = self
            .store
            .read(|state| impersonate::impersonated(state, &caller, headers))?;
        entry.impersonated.clone_from(&impersonated);
        let user = impersonated.unwrap_or(caller);
        let attributes = Attributes::of_request(&info);
        let decision = self
            .store
            .read(|state| rbac::decide(state, &user, &attributes));
        if !decision.allowed {
            return Err(attributes.forbidden(&user, &decision.reason));
        }
        if method == Method::HEAD {
            return Err(Failure::method_not_allowed());
        }
        match &info.resource {
            None => self.document(&info, headers),
            Some(resource) => {
                let body = read_body(body).await?;
                let call = resources::Call {
                    info: &info,
                    resource,
                    user: &user,
                    headers,
                    body,
                };
                self.resource(call).await
            }
        }
    }
}

async fn read_body<B>(body: B) -> Result<Bytes, Failure>
where
    B: http_body::Body<Data = Bytes> + Send,
    B::Error: Into<body::BoxError>,
{
    match http_body_util::Limited::new(body, MAX_BODY).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            let message = format!("Request entity too large: limit is {MAX_BODY}");
            Err(Failure::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "RequestEntityTooLarge",
                message,
            ))
        }
        Err(error) => Err(Failure::bad_request(format!(
            "cannot read the body: {error}"
        ))),
    }
}

fn respond(answer: Result<Answer, Failure>) -> Response<Body> {
    const JSON: &str = "application/json";
    const TEXT: &str = "text/plain; charset=utf-8";
    let (status, content_type, etag, body) = match answer {
        Ok(Answer::Json(status, json)) => (status, JSON, None, body::full(json)),
        Ok(Answer::Text(text)) => (StatusCode::OK, TEXT, None, body::full(text)),
        Ok(Answer::Document {
            content_type,
            etag,
            json,
        }) => (StatusCode::OK, content_type, etag, body::full(json)),
        Ok(Answer::NotModified { etag }) => {
            (StatusCode::NOT_MODIFIED, "", Some(etag), body::empty())
        }
        Ok(Answer::Watch(watch)) => {
            let frames = watch.frames().map(|chunk| Ok(Frame::data(chunk)));
            (
                StatusCode::OK,
                JSON,
                None,
                BodyExt::boxed_unsync(StreamBody::new(frames)),
            )
        }
        Err(failure) if failure.plain => (failure.code, TEXT, None, body::full(failure.message)),
        Err(failure) => (failure.code, JSON, None, body::full(failure.json())),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let mut header = |name, value: &str| {
        if let Ok(value) = value.parse() {
            headers.insert(name, value);
        }
    };
    header(http::HeaderName::from_static("audit-id"), &object::uid());
    if !content_type.is_empty() {
        header(CONTENT_TYPE, content_type);
    }
    match etag {
        Some(etag) => {
            header(http::header::ETAG, &etag);
            header(http::header::VARY, "Accept");
            header(CACHE_CONTROL, "public");
        }
        None => header(CACHE_CONTROL, "no-cache, private"),
    }
    response
}
