//! `expected` is an independent little model of RequestInfo, written from the API server's source: it splits, we walk.

use proptest::prelude::*;

use super::*;

/// What RequestInfo says, in one line: `verb group/version namespace resource/subresource name`, or `verb path`.
fn expected(method: &str, decoded_path: &str, query: &[(String, String)]) -> Option<String> {
    let first = |key: &str| {
        query
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, value)| value.as_str())
    };
    let trimmed = decoded_path.trim_matches('/');
    let mut parts: Vec<&str> = if trimmed.is_empty() {
        vec![]
    } else {
        trimmed.split('/').collect()
    };
    let non_resource = Some(format!("{} {decoded_path}", method.to_lowercase()));
    if parts.len() < 3
        || !["api", "apis"].contains(&parts[0])
        || (parts[0] == "apis" && parts.len() < 4)
    {
        return non_resource;
    }
    let group = if parts.remove(0) == "apis" {
        parts.remove(0)
    } else {
        ""
    };
    let version = parts.remove(0);
    let mut verb = match method {
        "POST" => "create",
        "GET" | "HEAD" => "get",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "",
    };
    if ["proxy", "watch"].contains(&parts[0]) {
        if parts.len() < 2 {
            return None;
        }
        verb = parts.remove(0);
    }
    let mut namespace = "";
    if parts[0] == "namespaces" && parts.len() > 1 {
        namespace = parts[1];
        if parts.len() > 2 && !["status", "finalize"].contains(&parts[2]) {
            parts.drain(..2);
        }
    }
    let resource = parts[0];
    let selected;
    let mut name = parts.get(1).copied().unwrap_or_default();
    let subresource = if verb == "proxy" {
        ""
    } else {
        parts.get(2).copied().unwrap_or_default()
    };
    if name.is_empty() && verb == "get" {
        let watch = first("watch")
            .is_some_and(|value| !["false", "0"].contains(&value.to_lowercase().as_str()));
        verb = if watch { "watch" } else { "list" };
        let mut terms: Vec<&str> = first("fieldSelector")
            .unwrap_or_default()
            .split(',')
            .collect();
        terms.sort_unstable();
        let exact = |term: &&str| {
            let value = term.strip_prefix("metadata.name=")?;
            Some(value.trim_start_matches('=').to_owned())
        };
        selected = terms.iter().find_map(exact).unwrap_or_default();
        if selected != "." && selected != ".." && !selected.contains(['/', '%']) {
            name = &selected;
        }
    }
    if name.is_empty() && verb == "delete" {
        verb = "deletecollection";
    }
    Some(format!(
        "{verb} {group}/{version} {namespace} {resource}/{subresource} {name}"
    ))
}

/// The same line about what we made of it.
fn said(request: &ApiRequest) -> String {
    match request {
        ApiRequest::NonResource(request) => {
            format!(
                "{} {}",
                request.method.as_str().to_lowercase(),
                request.path
            )
        }
        ApiRequest::Resource(request) => format!(
            "{} {}/{} {} {}/{} {}",
            request.verb.as_str(),
            request.resource.group,
            request.version,
            request.namespace.as_ref().map_or("", Namespace::as_str),
            request.resource.resource,
            request.subresource.as_deref().unwrap_or_default(),
            request.name.as_ref().map_or("", ObjectName::as_str),
        ),
    }
}

/// Rows `METHOD target -> outcome`; `#` begins a comment.
fn table(rows: &str) -> impl Iterator<Item = (&str, &str)> {
    let rows = rows
        .lines()
        .map(str::trim)
        .filter(|row| !row.is_empty() && !row.starts_with('#'));
    rows.map(|row| {
        row.split_once(" ->")
            .map(|(line, wanted)| (line, wanted.trim_start()))
            .expect("a row")
    })
}

fn parse(line: &str) -> Result<ApiRequest, BadRequest> {
    let (method, target) = line.split_once(' ').expect("METHOD target");
    ApiRequest::parse(
        &method.parse().expect("a method"),
        &target.parse().expect("a target"),
        &HeaderMap::new(),
    )
}

fn reprint(line: &str) -> String {
    match parse(line).and_then(|request| request.print()) {
        Ok(target) => target.to_string(),
        Err(why) => format!("{} {}", why.status().code.as_u16(), why.name()),
    }
}

#[test]
fn requests_are_classified_as_the_api_server_does() {
    for (line, wanted) in table(
        r#"
        # The table of upstream's `TestGetAPIRequestInfo`, but for the legacy watches.
        GET /api/v1/namespaces -> list /v1  namespaces/
        GET /api/v1/namespaces/other -> get /v1 other namespaces/ other
        GET /api/v1/namespaces/other/pods -> list /v1 other pods/
        GET /api/v1/namespaces/other/pods/foo -> get /v1 other pods/ foo
        HEAD /api/v1/namespaces/other/pods/foo -> get /v1 other pods/ foo
        GET /api/v1/pods -> list /v1  pods/
        HEAD /api/v1/pods -> list /v1  pods/
        GET /api/v1/proxy/namespaces/other/pods/foo -> proxy /v1 other pods/ foo
        GET /api/v1/proxy/namespaces/other/pods/foo/sub/path -> proxy /v1 other pods/ foo
        GET /api/v1/pods?watch=true -> watch /v1  pods/
        GET /api/v1/pods?watch=false -> list /v1  pods/
        GET /api/v1/namespaces/other/pods?watch=1 -> watch /v1 other pods/
        GET /api/v1/namespaces/other/pods?watch=0 -> list /v1 other pods/
        GET /api/v1/namespaces/other/pods/foo/status -> get /v1 other pods/status foo
        GET /api/v1/namespaces/other/pods/foo/proxy/subpath -> get /v1 other pods/proxy foo
        PUT /api/v1/namespaces/other/finalize -> update /v1 other namespaces/finalize other
        PUT /api/v1/namespaces/other/status -> update /v1 other namespaces/status other
        PATCH /api/v1/namespaces/other/pods/foo -> patch /v1 other pods/ foo
        DELETE /api/v1/namespaces/other/pods/foo -> delete /v1 other pods/ foo
        POST /api/v1/namespaces/other/pods -> create /v1 other pods/
        DELETE /api/v1/nodes -> deletecollection /v1  nodes/
        DELETE /api/v1/namespaces -> deletecollection /v1  namespaces/
        DELETE /api/v1/namespaces/other/pods -> deletecollection /v1 other pods/
        DELETE /apis/extensions/v1/namespaces/other/pods -> deletecollection extensions/v1 other pods/
        POST /apis/extensions/v1beta3/namespaces/other/pods -> create extensions/v1beta3 other pods/
        # Verbs
        DELETE /api/v1/namespaces/other -> delete /v1 other namespaces/ other
        POST /api/v1/namespaces -> create /v1  namespaces/
        POST /api/v1/pods?watch=true -> create /v1  pods/
        POST /api/v1/namespaces/a/pods/x/exec?command=ls -> create /v1 a pods/exec x
        GET /api/v1/namespaces/a/pods/x/log?follow=true -> get /v1 a pods/log x
        GET /api/v1/namespaces/a/pods/x?watch=1 -> get /v1 a pods/ x
        GET /api/v1/namespaces/a?watch=1 -> get /v1 a namespaces/ a
        # Booleans and duplicates
        GET /api/v1/pods?watch -> watch /v1  pods/
        GET /api/v1/pods?watch= -> watch /v1  pods/
        GET /api/v1/pods?watch=no -> watch /v1  pods/
        GET /api/v1/pods?watch=False -> list /v1  pods/
        GET /api/v1/pods?watch=false&watch=true -> list /v1  pods/
        GET /api/v1/pods?watch=true&watch=false -> watch /v1  pods/
        GET /api/v1/pods?Watch=true -> list /v1  pods/
        GET /api/v1/pods?w%61tch=true -> watch /v1  pods/
        # Names by selector
        GET /api/v1/namespaces?fieldSelector=metadata.name%3Da -> list /v1  namespaces/ a
        GET /api/v1/namespaces?fieldSelector=metadata.name=a -> list /v1  namespaces/ a
        GET /api/v1/namespaces?fieldSelector=metadata.name%3D%3Da -> list /v1  namespaces/ a
        GET /api/v1/namespaces?watch=1&fieldSelector=metadata.name=a -> watch /v1  namespaces/ a
        GET /api/v1/namespaces?fieldSelector=status.phase=Active,metadata.name=a -> list /v1  namespaces/ a
        GET /api/v1/namespaces?fieldSelector=metadata.name=b,metadata.name=a -> list /v1  namespaces/ a
        GET /api/v1/namespaces?fieldSelector=name=a -> list /v1  namespaces/
        GET /api/v1/namespaces?fieldSelector=metadata.name!=a -> list /v1  namespaces/
        GET /api/v1/namespaces?fieldSelector=metadata.name= -> list /v1  namespaces/
        GET /api/v1/namespaces?fieldSelector=metadata.name=.. -> list /v1  namespaces/
        GET /api/v1/namespaces?fieldSelector=&fieldSelector=metadata.name=a -> list /v1  namespaces/
        DELETE /api/v1/namespaces?fieldSelector=metadata.name=a -> deletecollection /v1  namespaces/
        # Shapes
        GET /api/v1/pods/ -> list /v1  pods/
        GET /api/v1/namespaces/a/pods/ -> list /v1 a pods/
        GET /api/v1/namespaces/a/status -> get /v1 a namespaces/status a
        GET /api/v1/namespaces/a/status/x/y -> get /v1 a namespaces/status a
        GET /api/v1/namespaces/a/watch -> list /v1 a watch/
        GET /api/v1/namespaces/a/proxy/b -> get /v1 a proxy/ b
        GET /api/v1/namespaces/a/proxy/b/proxy/c -> get /v1 a proxy/proxy b
        GET /api/v1/proxy/namespaces/a/status/b -> proxy /v1 a namespaces/ a
        GET /api/v1/pods/namespaces -> get /v1  pods/ namespaces
        GET /api/v1/n%61mespaces/a/p%6Fds -> list /v1 a pods/
        GET /apis/rbac.authorization.k8s.io/v1/clusterroles/system:node -> get rbac.authorization.k8s.io/v1  clusterroles/ system:node
        GET /apis/custom.metrics.k8s.io/v1/namespaces/a/services/b/hits -> get custom.metrics.k8s.io/v1 a services/hits b
        GET /apis/x.io/v1/namespaces/a -> get x.io/v1 a namespaces/ a
        # No resources
        GET / -> get /
        GET /version -> get /version
        GET /api -> get /api
        GET /api/ -> get /api/
        GET /api/v1 -> get /api/v1
        GET /api/v1/ -> get /api/v1/
        GET /apis/apps -> get /apis/apps
        GET /apis/apps/v1 -> get /apis/apps/v1
        GET /apis/apps/v1/ -> get /apis/apps/v1/
        GET /openapi/v3/apis/apps/v1?hash=A -> get /openapi/v3/apis/apps/v1
        GET /.well-known/openid-configuration -> get /.well-known/openid-configuration
        GET /API/v1/pods -> get /API/v1/pods
        OPTIONS /version -> options /version
        POST /a%20b -> post /a b
        "#,
    ) {
        let got = parse(line).map(|request| said(&request).trim_end().to_owned());
        assert_eq!(got.as_deref(), Ok(wanted), "{line}");
        // The model is worth its name only if it says the same.
        let (method, target) = line.split_once(' ').unwrap();
        let (path, pairs) = decoded(target);
        let model = expected(method, &path, &pairs);
        assert_eq!(
            model.as_deref().map(str::trim_end),
            Some(wanted),
            "the model on {line}"
        );
    }
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    for (line, wanted) in table(
        r#"
        GET //api/v1/pods -> 400 path
        GET /api//v1/pods -> 400 path
        GET /api/v1/namespaces//pods -> 400 path
        GET /api/v1/pods// -> 400 path
        GET /api/v1/namespaces/a%2Fpods -> 400 path
        GET /api/v1/namespaces/a%2fpods -> 400 path
        GET /api/v1/namespaces/a%252Fpods -> 400 path
        GET /api/v1/namespaces/a%5Cpods -> 400 path
        GET /api/v1/namespaces/a%00 -> 400 path
        GET /api/v1/namespaces/a%0A -> 400 path
        GET /api/v1/namespaces/a%7F -> 400 path
        GET /api/v1/namespaces/a/../b/pods -> 400 path
        GET /api/v1/namespaces/a/%2e%2e/b/pods -> 400 path
        GET /api/v1/namespaces/a/.%2E/b/pods -> 400 path
        GET /api/v1/./pods -> 400 path
        GET /api/v1/namespaces/%2e -> 400 path
        GET /api/v1/pods/% -> 400 path
        GET /api/v1/pods/%zz -> 400 path
        GET /api/v1/pods/%ff -> 400 path
        GET /version/../api/v1/pods -> 400 path
        GET /logs//x -> 400 path
        OPTIONS * -> 400 path
        GET /api/v1/watch -> 400 path
        GET /api/v1/watch/ -> 400 path
        GET /apis/apps/v1/proxy -> 400 path
        GET /api/v1/namespaces/a/namespaces -> 400 path
        GET /api/v1/namespaces/a/namespaces/a -> 400 path
        GET /api/v1/namespaces/a/pods/x/prox%79%2F -> 400 path
        GET /api/v1/namespaces/a/../b/pods/x/proxy/y -> 400 path
        GET /api/v1/namespaces/b/pods/x/proxy/%zz -> 400 path
        GET /api/v1/namespaces/b/pods/x/proxy/% -> 400 path
        GET /api/v1/namespaces?fieldSelector=metadata.name=a%5C%5Cb -> 400 path
        GET /api/v1/pods?a=1;b=2 -> 400 query
        GET /api/v1/pods?labelSelector=% -> 400 query
        GET /version?a;b -> 400 query
        GET /api/v1/pods?limit=x -> 400 parameter
        GET /api/v1/pods?labelSelector=a%20in%20(b -> 400 parameter
        DELETE /api/v1/namespaces/a/pods?fieldSelector=a -> 400 parameter
        OPTIONS /api/v1/pods -> 400 no_verb
        TRACE /api/v1/pods -> 400 method
        CONNECT / -> 400 method
        get /api/v1/pods -> 400 method
        PROPFIND /version -> 400 method
        POST /api/v1/watch/pods -> 400 legacy_watch
        DELETE /api/v1/watch/namespaces/a/pods -> 400 legacy_watch
        GET /api/v1/watch/namespaces/a/pods/x/log -> 400 legacy_watch
        GET /api/v1/watch/namespaces/a/pods/x/proxy/y -> 400 legacy_watch
        GET /api/v1/watch/namespaces/a/status -> 400 legacy_watch
        GET /api/v1/watch/watch -> 400 legacy_watch
        GET /api/v1/watch/proxy/x -> 400 legacy_watch
        GET /api/v1/watch/namespaces/a/pods/x?fieldSelector=metadata.name=y -> 400 parameter
        GET /api/v1/watch/namespaces/a/pods/x?fieldSelector=status.phase=Running -> 400 parameter
        "#,
    ) {
        assert_eq!(reprint(line), wanted, "{line}");
    }
}

#[test]
fn what_is_sent_is_printed_in_one_form() {
    for (line, wanted) in table(
        r#"
        GET / -> /
        GET /healthz/ -> /healthz/
        GET /api/v1/ -> /api/v1/
        GET /version? -> /version
        GET /a%20b/~c?x+y=z -> /a%20b/~c?x%20y=z
        GET http://elsewhere:1/version -> /version
        GET /api/v1/pods/ -> /api/v1/pods
        GET /api/v1/pods? -> /api/v1/pods
        GET /api/v1/n%61mespaces/a -> /api/v1/namespaces/a
        PUT /api/v1/namespaces/a/finalize -> /api/v1/namespaces/a/finalize
        GET /apis/g/v1/things/a:b -> /apis/g/v1/things/a%3Ab
        GET /api/v1/namespaces/a/pods/x/log/y/z -> /api/v1/namespaces/a/pods/x/log/y/z
        GET /api/v1/proxy/nodes/x/y/../z -> 400 path
        GET /api/v1/proxy/nodes/x/y/z?a=b -> /api/v1/proxy/nodes/x/y/z?a=b
        # Repeated parameters: single-valued ones of collections collapse, all others stay, in their order.
        GET /api/v1/pods?limit=1&limit=2&dryRun=a&dryRun=b&shardSelector=x&shardSelector=y -> /api/v1/pods?limit=1&dryRun=a&dryRun=b&shardSelector=x
        POST /api/v1/namespaces/a/pods/x/exec?command=ls&command=-l&command=ls&stdin=true -> /api/v1/namespaces/a/pods/x/exec?command=ls&command=-l&command=ls&stdin=true
        POST /api/v1/namespaces/a/pods/x/portforward?ports=80&ports=81 -> /api/v1/namespaces/a/pods/x/portforward?ports=80&ports=81
        GET /api/v1/pods?labelSelector=a%3Db&labelSelector= -> /api/v1/pods?labelSelector=a%3Db
        # Tails of proxies come through byte for byte.
        GET /api/v1/namespaces/a/services/x/proxy -> /api/v1/namespaces/a/services/x/proxy
        GET /api/v1/namespaces/a/services/x/proxy/ -> /api/v1/namespaces/a/services/x/proxy/
        GET /api/v1/namespaces/a/services/x/proxy? -> /api/v1/namespaces/a/services/x/proxy?
        GET /api/v1/namespaces/a/services/x/proxy?a;b=%&c+d -> /api/v1/namespaces/a/services/x/proxy?a;b=%&c+d
        GET /api/v1/namespaces/a/services/https:x:/prox%79//b/..%2F/%ff/;c/?%zz;d -> /api/v1/namespaces/a/services/https%3Ax%3A/proxy//b/..%2F/%ff/;c/?%zz;d
        POST /api/v1/nodes/n/proxy/run/?x=1&x=1 -> /api/v1/nodes/n/proxy/run/?x=1&x=1
        GET /apis/cluster.karmada.io/v1/clusters/m/proxy/api/v1/pods -> /apis/cluster.karmada.io/v1/clusters/m/proxy/api/v1/pods
        # Legacy watches are printed as what they mean.
        GET /api/v1/watch/pods -> /api/v1/pods?watch=true
        GET /api/v1/watch/pods?watch=false&limit=1 -> /api/v1/pods?limit=1&watch=true
        GET /apis/g/v1/watch/things?labelSelector=a -> /apis/g/v1/things?labelSelector=a&watch=true
        GET /api/v1/watch/namespaces -> /api/v1/namespaces?watch=true
        GET /api/v1/watch/namespaces/a -> /api/v1/namespaces?watch=true&fieldSelector=metadata.name%3Da
        GET /api/v1/watch/namespaces/a/pods -> /api/v1/namespaces/a/pods?watch=true
        GET /api/v1/watch/namespaces/a/pods/x?resourceVersion=5 -> /api/v1/namespaces/a/pods?resourceVersion=5&watch=true&fieldSelector=metadata.name%3Dx
        GET /api/v1/watch/namespaces/a/pods/x?fieldSelector=metadata.name%3Dx,spec.nodeName%3Dn -> /api/v1/namespaces/a/pods?fieldSelector=metadata.name%3Dx%2Cspec.nodeName%3Dn&watch=true
        "#,
    ) {
        assert_eq!(reprint(line), wanted, "{line}");
    }
}

/// Go refuses such a target, and not with a `Status`.
#[test]
fn a_control_character_in_a_proxy_tail_is_refused() {
    for tail in ["/\u{7f}", "?\u{7f}"] {
        let line = format!("GET /api/v1/nodes/n/proxy{tail}");
        if line.split(' ').next_back().unwrap().parse::<Uri>().is_ok() {
            assert_eq!(reprint(&line), "400 path", "{line:?}");
        }
    }
}

#[test]
fn a_target_may_be_as_long_as_http_carries_and_no_longer() {
    let room = MAX_TARGET_BYTES - "/version?a=".len();
    assert_eq!(
        reprint(&format!("GET /version?a={}", "b".repeat(room))).len(),
        MAX_TARGET_BYTES
    );
    // Escaped, this one no longer fits.
    assert_eq!(
        reprint(&format!("GET /version?a={}", "(".repeat(room))),
        "414 target_too_long"
    );
}

#[test]
fn every_refusal_is_a_whole_status() {
    let why = parse("GET /api/v1/pods?labelSelector=a%3D(")
        .unwrap_err()
        .status();
    assert_eq!(why.reason, Reason::BadRequest);
    assert_eq!(
        why.message,
        "unable to parse requirement: found '(', expected: identifier"
    );
    assert_eq!(
        BadRequest::TargetTooLong.status().reason,
        Reason::RequestEntityTooLarge
    );
}

fn resource(line: &str) -> ResourceRequest {
    match parse(line) {
        Ok(ApiRequest::Resource(request)) => request,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn unknown_list_parameters_are_named_so_that_nobody_drops_one_that_narrows() {
    let names = |line| {
        resource(line)
            .unknown_list_parameters()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names("GET /api/v1/pods?limit=1&shardSelector=x&_=7&watch=1"),
        ["shardSelector", "_"]
    );
    assert_eq!(
        names("GET /api/v1/pods?includeObject=None&pretty=1&timeout=3s").len(),
        0
    );
    assert_eq!(
        names("GET /api/v1/namespaces/a/pods/x/log?follow=1").len(),
        0
    );
}

#[test]
fn a_narrowed_request_is_printed_from_its_options_alone() {
    let asked = resource(
        "GET /api/v1/namespaces?foo=bar&labelSelector=team%3Da&limit=5&fieldSelector=metadata.name%3Dx",
    );
    let mut options = asked.options().unwrap().clone();
    options.label_selector =
        options
            .label_selector
            .and(&crate::k8s::label_selector::LabelSelector::one_of(
                "k",
                ["v", "w"],
            ));
    let narrowed = asked.narrowed(options.clone());
    let target = ApiRequest::Resource(narrowed.clone()).print().unwrap();
    assert_eq!(
        target,
        "/api/v1/namespaces?labelSelector=k%20in%20%28v%2Cw%29%2Cteam%3Da&fieldSelector=metadata.name%3Dx&limit=5"
    );
    let again = resource(&format!("GET {target}"));
    assert_eq!(again.options(), Some(&options));
    assert_eq!((again.verb, &again.name), (narrowed.verb, &narrowed.name));

    // The verb follows the options: a seed for a watch is a list.
    let seed = resource("GET /api/v1/pods?watch=1")
        .narrowed_to(Namespace::parse("a").unwrap(), ListOptions::default());
    assert_eq!(seed.verb, Verb::List);
    assert_eq!(
        ApiRequest::Resource(seed).print().unwrap(),
        "/api/v1/namespaces/a/pods"
    );
}

/// A leg of `namespaces` makes no sense; printed, it must not turn into the wide list.
#[test]
fn no_narrowing_prints_wider_than_it_says() {
    let odd = resource("GET /api/v1/namespaces")
        .narrowed_to(Namespace::parse("a").unwrap(), ListOptions::default());
    assert_eq!(
        ApiRequest::Resource(odd).print().unwrap(),
        "/api/v1/namespaces/a/namespaces"
    );
}

#[test]
fn a_watch_over_websocket_is_a_machines_watch_and_switches_nothing_else() {
    for (method, target, protocol, is_one) in [
        ("GET", "/api/v1/namespaces?watch=1", "websocket", true),
        ("GET", "/api/v1/watch/namespaces", "websocket", true),
        ("GET", "/api/v1/namespaces/a/pods?watch", "websocket", true),
        ("GET", "/api/v1/namespaces?watch=1", "SPDY/3.1", false),
        ("HEAD", "/api/v1/namespaces?watch=1", "websocket", false),
        ("GET", "/api/v1/namespaces", "websocket", false),
        (
            "GET",
            "/api/v1/namespaces/a/pods/x/exec?watch=1",
            "websocket",
            false,
        ),
        (
            "GET",
            "/api/v1/namespaces/a/pods/x/proxy/?watch=1",
            "websocket",
            false,
        ),
        ("GET", "/version?watch=1", "websocket", false),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert("connection", "Upgrade".parse().unwrap());
        headers.insert("upgrade", protocol.parse().unwrap());
        let (method, target) = (method.parse().unwrap(), target.parse::<Uri>().unwrap());
        let asked = ApiRequest::parse(&method, &target, &headers).unwrap();
        let plain = ApiRequest::parse(&method, &target, &HeaderMap::new()).unwrap();
        let Some(watch) = asked.watched_over_websocket() else {
            assert!(!is_one, "{method} {target}");
            continue;
        };
        assert!(is_one, "{method} {target}");
        assert_eq!(watch.upgrade(), None);
        assert_eq!(watch.print(), plain.print());
        let (ApiRequest::Resource(watch), ApiRequest::Resource(plain)) = (watch, plain) else {
            panic!("{target}")
        };
        assert!(plain.is_watched_by_a_human() && !watch.is_watched_by_a_human());
    }
}

#[test]
fn only_known_protocols_are_upgraded_to() {
    let check = |lines: &[(&'static str, &'static str)]| {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(
                *name,
                http::HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        let target = Uri::from_static("/api/v1/namespaces/a/pods/x/exec");
        ApiRequest::parse(&Method::GET, &target, &headers).map(|request| request.upgrade())
    };
    let websocket = Ok(Some(Upgrade::WebSocket));
    for (lines, wanted) in [
        (&[][..], Ok(None)),
        (
            &[("connection", "Upgrade"), ("upgrade", "websocket")],
            websocket,
        ),
        (
            &[
                ("connection", "keep-alive, UPGRADE"),
                ("upgrade", "WebSocket"),
            ],
            websocket,
        ),
        (
            &[
                ("connection", "keep-alive"),
                ("connection", " upgrade "),
                ("upgrade", "websocket"),
            ],
            websocket,
        ),
        (
            &[("connection", "upgrade"), ("upgrade", "SPDY/3.1")],
            Ok(Some(Upgrade::Spdy31)),
        ),
        (
            &[
                ("connection", "upgrade"),
                ("upgrade", "websocket"),
                ("upgrade", "websocket"),
            ],
            websocket,
        ),
        (&[("connection", "upgrade")], Ok(None)),
        (
            &[("connection", "upgraded"), ("upgrade", "websocket")],
            Ok(None),
        ),
        (&[("upgrade", "h2c")], Ok(None)),
        (
            &[
                ("connection", "upgrade, http2-settings"),
                ("upgrade", "h2c"),
            ],
            Err(BadUpgrade::Unknown),
        ),
        (
            &[("connection", "upgrade"), ("upgrade", "SPDY/3.0")],
            Err(BadUpgrade::Unknown),
        ),
        (
            &[("connection", "upgrade"), ("upgrade", "websocket\u{e9}")],
            Err(BadUpgrade::Unknown),
        ),
        (
            &[
                ("connection", "upgrade"),
                ("upgrade", "websocket, SPDY/3.1"),
            ],
            Err(BadUpgrade::Several),
        ),
        (
            &[
                ("connection", "upgrade"),
                ("upgrade", "SPDY/3.1"),
                ("upgrade", "websocket"),
            ],
            Err(BadUpgrade::Several),
        ),
    ] {
        assert_eq!(
            check(lines),
            wanted.map_err(BadRequest::Upgrade),
            "{lines:?}"
        );
    }
}

/// Segments that mean something, and such that may not.
fn segment() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "api",
        "apis",
        "v1",
        "apps",
        "namespaces",
        "pods",
        "a",
        "b:c",
        "status",
        "finalize",
        "watch",
        "proxy",
        "exec",
        "",
        ".",
        "..",
        "%2e",
        "%2F",
        "a%20b",
        "%C3%A9",
        "%25",
        "n%61mespaces",
        "a;b",
        "a+b",
    ])
}

fn pair() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "watch",
        "watch=",
        "watch=0",
        "watch=1",
        "watch=False",
        "limit=1",
        "limit=0",
        "limit=x",
        "labelSelector=a",
        "labelSelector=",
        "labelSelector=a%3Db%2C%21c",
        "labelSelector=(",
        "fieldSelector=metadata.name%3Da",
        "fieldSelector=metadata.name%3D%3Db",
        "fieldSelector=metadata.name%3D..",
        "fieldSelector=spec.x%21%3Dy",
        "dryRun=All",
        "shardSelector=x",
        "command=ls",
        "a+b=c%20d",
        "a;b",
        "%zz",
        "",
        "=",
        "é",
    ])
}

prop_compose! {
    fn target()(
        prefix in proptest::sample::select(vec!["/api/v1", "/apis/apps/v1", "/api/v1/namespaces/a", "/api/v1/watch", ""]),
        segments in proptest::collection::vec(segment(), 0..6),
        trailing in proptest::sample::select(vec!["", "/"]),
        pairs in proptest::option::of(proptest::collection::vec(pair(), 0..4)),
    ) -> String {
        let path: String = segments.iter().map(|segment| format!("/{segment}")).collect();
        let query = pairs.map(|pairs| format!("?{}", pairs.join("&"))).unwrap_or_default();
        match format!("{prefix}{path}{trailing}") {
            path if path.is_empty() => format!("/{query}"),
            path => format!("{path}{query}"),
        }
    }
}

fn method() -> impl Strategy<Value = Method> {
    proptest::sample::select(vec![
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
    ])
}

/// Decoded path and pairs of a target that was accepted, as Go sees them.
fn decoded(target: &str) -> (String, Vec<(String, String)>) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    // A proxy's tail may hold anything; it has no part in the classification.
    let path = escape::decode(path, escape::Plus::Literal).unwrap_or_else(|| path.to_owned());
    (
        path,
        Query::parse(query)
            .map(|query| query.pairs().to_vec())
            .unwrap_or_default(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn what_is_accepted_is_read_like_request_info_and_prints_to_itself(method in method(), target in target()) {
        let uri: Uri = target.parse().unwrap();
        let Ok(request) = ApiRequest::parse(&method, &uri, &HeaderMap::new()) else { return Ok(()) };
        let printed = request.print().unwrap().to_string();
        let again = ApiRequest::parse(&method, &printed.parse().unwrap(), &HeaderMap::new());
        prop_assert_eq!(again.as_ref(), Ok(&request), "{}", printed);

        // What is sent means to the API server what was judged.
        let (path, pairs) = decoded(&printed);
        let sent = expected(method.as_str(), &path, &pairs);
        prop_assert_eq!(sent, Some(said(&request)), "sent {}", printed);

        // What came meant the same, but for legacy watches, whose modern form has its name in a selector.
        let (path, pairs) = decoded(&target);
        let came = expected(method.as_str(), &path, &pairs).unwrap();
        let is_legacy = path.starts_with("/api/v1/watch/") || path.starts_with("/apis/apps/v1/watch/");
        if is_legacy {
            prop_assert!(came.starts_with("watch "));
            prop_assert!(said(&request).starts_with("watch "));
        } else {
            prop_assert_eq!(came, said(&request), "{}", target);
        }
    }

    #[test]
    fn any_target_is_answered(target in "/[a-z%/.?&=;+*~\u{e9}0-9-]{0,40}") {
        if let Ok(uri) = target.parse::<Uri>()
            && let Ok(request) = ApiRequest::parse(&Method::GET, &uri, &HeaderMap::new())
        {
            let printed = request.print().unwrap().to_string();
            prop_assert_eq!(ApiRequest::parse(&Method::GET, &printed.parse().unwrap(), &HeaderMap::new()), Ok(request));
        }
    }
}
