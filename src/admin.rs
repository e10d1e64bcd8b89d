//! Probe and metrics endpoints: closures over what others know, and nothing of their own.

use http::HeaderValue;
use http::Request;
use http::Response;
use http::StatusCode;
use http::header::CONTENT_TYPE;

use crate::body::Body;
use crate::body::full;
use crate::metrics;
use crate::ready::Readiness;

/// 200 `ok`, or 503 with a line per thing that is still missing.
fn readyz(readiness: &Readiness) -> Response<Body> {
    match readiness.report() {
        None => Response::new(full("ok")),
        Some(missing) => with_status(StatusCode::SERVICE_UNAVAILABLE, missing),
    }
}

/// The probe listener: `/healthz` and `/readyz`, with or without the trailing slash.
pub fn probe<B>(request: &Request<B>, readiness: &Readiness) -> Response<Body> {
    match request.uri().path().trim_end_matches('/') {
        "/healthz" => Response::new(full("ok")),
        "/readyz" => readyz(readiness),
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
