//! Tests of `demo::request`.

use super::*;

fn classified(request: &str) -> String {
    let (method, target) = request.split_once(' ').unwrap();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let info = RequestInfo::parse(&method.parse().unwrap(), path, query).unwrap();
    let Some(resource) = info.resource else {
        return format!("{} {}", info.verb, info.path);
    };
    let subresource = if resource.subresource.is_empty() {
        String::new()
    } else {
        format!("/{}", resource.subresource)
    };
    format!(
        "{} {}{subresource} ns={} name={}",
        info.verb, resource.resource, resource.namespace, resource.name
    )
}

#[test]
fn requests_are_classified_as_the_api_server_does() {
    for (request, expected) in [
        ("GET /api/v1/namespaces", "list namespaces ns= name="),
        (
            "GET /api/v1/namespaces/oil",
            "get namespaces ns=oil name=oil",
        ),
        (
            "PUT /api/v1/namespaces/oil/finalize",
            "update namespaces/finalize ns=oil name=oil",
        ),
        ("GET /api/v1/namespaces/oil/pods", "list pods ns=oil name="),
        (
            "GET /api/v1/namespaces/oil/pods/web/log",
            "get pods/log ns=oil name=web",
        ),
        ("GET /api/v1/namespaces/a%2Fpods", "list pods ns=a name="),
        ("GET /api/v1/namespaces//pods", "list pods ns= name="),
        ("GET /api/v1/pods/", "list pods ns= name="),
        (
            "GET /apis/capsule.clastix.io/v1beta2/tenants?watch",
            "watch tenants.capsule.clastix.io ns= name=",
        ),
        ("GET /api/v1/pods?watch=0", "list pods ns= name="),
        (
            "GET /api/v1/watch/namespaces/oil/pods/web",
            "watch pods ns=oil name=web",
        ),
        (
            "GET /api/v1/pods?fieldSelector=a!%3Db,metadata.name%3Dweb",
            "list pods ns= name=web",
        ),
        (
            "GET /api/v1/namespaces/oil/pods/web?watch=1",
            "get pods ns=oil name=web",
        ),
        (
            "DELETE /api/v1/namespaces/oil/pods",
            "deletecollection pods ns=oil name=",
        ),
        ("POST /api/v1/namespaces", "create namespaces ns= name="),
        ("GET /apis/apps/v1", "get /apis/apps/v1"),
        ("GET /version/", "get /version/"),
    ] {
        assert_eq!(classified(request), expected, "{request}");
    }
}
