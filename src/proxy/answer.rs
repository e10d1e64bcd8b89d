//! What of the API server's answers may go to a client. Headers of one hop were taken out by `upstream`.

use http::HeaderValue;
use http::Response;
use http::StatusCode;
use http::header;
use http::response::Parts;

use super::reject::BadAnswer;
use crate::body::Body;
use crate::k8s::media::Media;
use crate::k8s::request::ApiRequest;
use crate::k8s::request::Rest;

/// A forwarded answer as it goes to the client.
///
/// # Errors
/// [`BadAnswer::Redirect`]: a redirect would lead the client, and his credential, where a backend wants
/// (CVE-2022-3172). The API server itself redirects only inside `/openapi/v3`. Behind `…/proxy/…` it is the user's own
/// web page, whose redirects are his.
pub(super) fn forwarded(
    what: &ApiRequest,
    response: Response<Body>,
) -> Result<Response<Body>, BadAnswer> {
    if response.status().is_redirection()
        && let Some(location) = response.headers().get(header::LOCATION)
    {
        let own_page = match what {
            ApiRequest::NonResource(_) => location
                .to_str()
                .is_ok_and(|to| to.starts_with("/openapi/v3/")),
            ApiRequest::Resource(request) => matches!(request.rest, Rest::ProxyTail(_)),
        };
        if !own_page {
            return Err(BadAnswer::Redirect);
        }
    }
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(BadAnswer::Upgrade);
    }
    Ok(response)
}

/// An answer with the word that it lacks what a rule would show: kubectl and client-go print such warnings (KEP-1693).
pub(super) fn incomplete(what: &ApiRequest, mut response: Response<Body>) -> Response<Body> {
    let ApiRequest::Resource(request) = what else {
        return response;
    };
    let text = format!(
        r#"299 - "kube-tenant-proxy: a rule shows you part of {}, but the proxy's reader may not get, list and watch them; ask an administrator to grant it that""#,
        request.resource
    );
    if let Ok(warning) = HeaderValue::from_str(&text) {
        response.headers_mut().append(header::WARNING, warning);
    }
    response
}

/// Whether an answer that is read on the way comes as it was asked for.
///
/// # Errors
/// [`BadAnswer::ContentEncoding`] or [`BadAnswer::ContentType`]: what cannot be read is never passed on.
pub(super) fn readable(head: &Parts, media: Media, watch: bool) -> Result<(), BadAnswer> {
    if head.headers.contains_key(header::CONTENT_ENCODING) {
        return Err(BadAnswer::ContentEncoding);
    }
    let typed = head
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| media.is_answered_by(value, watch));
    if typed {
        Ok(())
    } else {
        Err(BadAnswer::ContentType)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http::Method;

    use super::*;
    use crate::body::empty;

    fn answered(target: &str, code: u16, location: Option<&str>) -> Result<u16, BadAnswer> {
        let target = target.parse().unwrap();
        let what = ApiRequest::parse(&Method::GET, &target, &HeaderMap::new()).unwrap();
        let mut response = Response::builder().status(code);
        if let Some(location) = location {
            response = response.header(header::LOCATION, location);
        }
        forwarded(&what, response.body(empty()).unwrap()).map(|answer| answer.status().as_u16())
    }

    #[test]
    fn a_redirect_passes_only_where_the_api_server_or_the_users_own_page_makes_it() {
        let elsewhere = Some("https://attacker.example/");
        let pods = "/api/v1/namespaces/a/pods";
        for (target, code, location, answer) in [
            (pods, 302, elsewhere, Err(BadAnswer::Redirect)), // CVE-2022-3172
            (pods, 304, None, Ok(304)),
            ("/apis", 304, None, Ok(304)),
            ("/openapi/v3", 301, Some("/openapi/v3/apis?hash=1"), Ok(301)),
            (
                "/openapi/v3",
                301,
                Some("//attacker.example/openapi/v3/"),
                Err(BadAnswer::Redirect),
            ),
            (&format!("{pods}/x/proxy/page"), 302, elsewhere, Ok(302)),
            (pods, 101, None, Err(BadAnswer::Upgrade)),
        ] {
            assert_eq!(answered(target, code, location), answer, "{target} {code}");
        }
    }
}
