//! Probe and metrics endpoints: closures over what others know, and nothing of their own.

use std::sync::Arc;

use http::HeaderValue;
use http::Request;
use http::Response;
use http::StatusCode;
use http::header::CONTENT_TYPE;

use crate::body::Body;
use crate::body::full;
use crate::metrics;
use crate::ready::Readiness;

/// 200 `ok`, or 503 with a line per thing that is still missing; then a line per problem that somebody should see to,
/// though what was read before stays in use.
fn readyz(readiness: &Readiness, problems: &[Arc<str>]) -> Response<Body> {
    let problems: String = problems
        .iter()
        .map(|problem| format!("! {problem}\n"))
        .collect();
    match readiness.report() {
        None if problems.is_empty() => Response::new(full("ok")),
        None => Response::new(full(format!("ok\n{problems}"))),
        Some(missing) => with_status(StatusCode::SERVICE_UNAVAILABLE, missing + &problems),
    }
}

/// The probe listener: `/healthz` and `/readyz`, with or without the trailing slash. `problems` may name files: nobody but the
/// cluster's own asks here.
pub fn probe<B>(
    request: &Request<B>,
    readiness: &Readiness,
    problems: impl FnOnce() -> Vec<Arc<str>>,
) -> Response<Body> {
    match request.uri().path().trim_end_matches('/') {
        "/healthz" => Response::new(full("ok")),
        "/readyz" => readyz(readiness, &problems()),
        _ => with_status(StatusCode::NOT_FOUND, "not found\n"),
    }
}

/// The metrics listener: `/metrics`, as `render` makes it.
pub fn metrics<B>(request: &Request<B>, render: impl FnOnce() -> String) -> Response<Body> {
    match request.uri().path() {
        "/metrics" => {
            let mut response = Response::new(full(render()));
            let content_type = HeaderValue::from_static(metrics::CONTENT_TYPE);
            response.headers_mut().insert(CONTENT_TYPE, content_type);
            response
        }
        _ => with_status(StatusCode::NOT_FOUND, "not found\n"),
    }
}

fn with_status(status: StatusCode, text: impl Into<bytes::Bytes>) -> Response<Body> {
    let mut response = Response::new(full(text));
    *response.status_mut() = status;
    response
}
