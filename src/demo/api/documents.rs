//! Requests outside the resource APIs: discovery, OpenAPI, version, probes.

use http::HeaderMap;
use http::StatusCode;
use http::header::IF_NONE_MATCH;

use super::Answer;
use super::Api;
use crate::demo::discovery;
use crate::demo::kinds;
use crate::demo::negotiate;
use crate::demo::request::RequestInfo;
use crate::demo::status::Failure;

impl Api {
    pub(super) fn document(
        &self,
        info: &RequestInfo,
        headers: &HeaderMap,
    ) -> Result<Answer, Failure> {
        if info.verb != "get" {
            return Err(Failure::method_not_allowed());
        }
        let kinds = self.store.read(kinds::all);
        let path = info.path.trim_end_matches('/');
        let json = |value: serde_json::Value| Ok(Answer::Json(StatusCode::OK, value.to_string()));
        match info.path.as_str() {
            "/healthz" | "/livez" | "/readyz" => return Ok(Answer::Text("ok".to_owned())),
            _ => {}
        }
        match path {
            "/version" => return json(discovery::version()),
            "/openapi/v3" => return json(discovery::openapi_root(&kinds)),
            "/api" | "/apis" if negotiate::wants_aggregated_discovery(headers) => {
                let document = discovery::aggregated(&kinds, path == "/api").to_string();
                return Ok(tagged(document, headers));
            }
            _ => {}
        }
        if let Some(root) = path.strip_prefix("/openapi/v3/") {
            return json(discovery::openapi(&kinds, root));
        }
        match discovery::plain(&kinds, path) {
            Some(document) => json(document),
            None if path.starts_with("/api/") => Err(Failure::no_such_resource()),
            None => Err(Failure::page_not_found()),
        }
    }
}

fn tagged(json: String, headers: &HeaderMap) -> Answer {
    let etag = discovery::etag(&json);
    if headers
        .get(IF_NONE_MATCH)
        .is_some_and(|known| known.as_bytes() == etag.as_bytes())
    {
        return Answer::NotModified { etag };
    }
    Answer::Document {
        content_type: discovery::AGGREGATED,
        etag: Some(etag),
        json,
    }
}
