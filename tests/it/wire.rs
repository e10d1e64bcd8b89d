//! Requests mean to the proxy what they mean to the API server: the same verb, the same refusals, the same words in the
//! same order.

use http::Method;
use http::StatusCode;

use crate::harness::audit::Entry;
use crate::harness::eventually;
use crate::harness::http::Caller;
use crate::harness::http::Events;
use crate::harness::people::Person;
use crate::harness::world::Mark;
use crate::harness::world::World;
use crate::lists::settled;
use crate::lists::until_he_sees;

const NAMESPACES: &str = "/api/v1/namespaces";

in_both_worlds!(
    a_request_has_the_verb_that_the_api_server_gives_it,
    a_head_is_answered_as_without_the_proxy,
    parameters_that_repeat_keep_their_order,
    a_tail_behind_a_proxy_passes_byte_for_byte,
);
in_the_real_world!(parameters_that_make_no_sense_are_refused_in_the_same_words);

/// What the API server takes the request for that `caller` now opens. He has had no watch before.
async fn verb(world: &'static World, caller: &Caller, person: &Person, path: &str) -> String {
    let mark = world.mark();
    // Of a watch, only the beginning.
    drop(caller.open(Method::GET, path, None).await);
    let seen = eventually(|| async {
        let mut seen = world.audit(mark, &person.name).await;
        // What he may himself is asked before.
        seen.retain(|entry| entry.resource == "namespaces");
        (!seen.is_empty())
            .then_some(seen)
            .ok_or_else(|| format!("{path} is not in the log"))
    })
    .await;
    let mut verbs: Vec<_> = seen.into_iter().map(|entry| entry.verb).collect();
    // One object may be asked for twice: as himself, then as the reader.
    verbs.dedup();
    assert_eq!(verbs.len(), 1, "{path}: {verbs:?}");
    verbs.remove(0)
}

async fn a_request_has_the_verb_that_the_api_server_gives_it(world: &'static World) {
    let tenant = settled(world, &["dev"]).await;
    let own = &tenant.namespaces[0];
    let cases = [
        ("", "list"),
        ("?watch", "watch"),
        ("?watch=", "watch"),
        ("?watch=1", "watch"),
        ("?watch=t", "watch"),
        ("?watch=true", "watch"),
        ("?watch=TRUE", "watch"),
        ("?watch=yes", "watch"),
        ("?watch=no", "watch"),
        ("?watch=0", "list"),
        ("?watch=false", "list"),
        ("?watch=False", "list"),
        ("?watch=1&watch=0", "watch"),
        ("?watch=0&watch=1", "list"),
        (&format!("?fieldSelector=metadata.name={own}"), "list"),
        (
            &format!("?fieldSelector=metadata.name={own}&watch=1"),
            "watch",
        ),
        // A name in the path is no watch, whatever else is said.
        (&format!("/{own}"), "get"),
        (&format!("/{own}?watch=1"), "get"),
    ];
    // An owner for each, so that none is told of another's watch in the log.
    let mut owners = Vec::new();
    for _ in &cases {
        owners.push(world.person().await);
    }
    world
        .set_owners(&tenant, &owners.iter().collect::<Vec<_>>())
        .await;
    for ((query, expected), owner) in cases.iter().zip(&owners) {
        let path = format!("{NAMESPACES}{query}");
        let direct = verb(world, &world.direct(owner), owner, &path).await;
        assert_eq!(direct, *expected, "{path}");
        let through = world.proxy().await.caller(owner);
        until_he_sees(&through, &tenant.namespaces).await;
        assert_eq!(verb(world, &through, owner, &path).await, direct, "{path}");
        let first = if direct == "watch" {
            through.watch(&path).await.next().await.unwrap()
        } else {
            through.get(&path).await.json()
        };
        let object = match direct.as_str() {
            "watch" => &first["object"],
            "list" => &first["items"][0],
            _ => &first,
        };
        assert_eq!(object["metadata"]["name"], own.as_str(), "{path}: {first}");
    }
}

async fn a_head_is_answered_as_without_the_proxy(world: &'static World) {
    let tenant = settled(world, &["dev"]).await;
    let (through, direct) = (
        world.proxy().await.caller(&tenant.owner),
        world.direct(&tenant.owner),
    );
    let own = format!("{NAMESPACES}/{}", tenant.namespaces[0]);
    // The operator's binding, which changes the answer, comes a moment after the namespace.
    eventually(|| async {
        let answer = direct.get(&own).await;
        let is_bound = answer.status == StatusCode::OK;
        is_bound.then_some(()).ok_or_else(|| answer.text())
    })
    .await;
    for path in [
        NAMESPACES.to_owned(),
        own,
        format!("{NAMESPACES}/kube-system"),
        "/version".to_owned(),
    ] {
        let ours = through.call(Method::HEAD, &path, None).await;
        let theirs = direct.call(Method::HEAD, &path, None).await;
        assert_eq!(
            (ours.status, ours.text()),
            (theirs.status, String::new()),
            "{path}"
        );
    }
}

async fn parameters_that_make_no_sense_are_refused_in_the_same_words(world: &'static World) {
    let tenant = settled(world, &["dev"]).await;
    let through = world.proxy().await.caller(&tenant.owner);
    let admin = world.member_of(&[&world.groups.admins]).await;
    let direct = world.direct(&admin);
    for query in [
        "labelSelector=a%20in%20(",
        "labelSelector=)",
        "labelSelector=a=b=c",
        "labelSelector=a%20in%20b",
        "fieldSelector=metadata.name",
        "fieldSelector=spec.color=red",
        "limit=many",
        "timeoutSeconds=soon",
        "resourceVersionMatch=Exact",
        "resourceVersionMatch=Never&resourceVersion=1",
        "resourceVersion=yesterday",
        "watch=1&labelSelector=)",
        "watch=1&sendInitialEvents=true",
    ] {
        let path = format!("{NAMESPACES}?{query}");
        let (ours, theirs) = (through.get(&path).await, direct.get(&path).await);
        assert!(
            theirs.status.is_client_error(),
            "{query}: {}",
            theirs.text()
        );
        assert_eq!(ours.json(), theirs.json(), "{query}");
        assert_eq!(ours.status, theirs.status, "{query}");
    }
    // Go's words about what is no JSON are its own.
    let nonsense = format!("{NAMESPACES}?continue=nonsense");
    let (ours, theirs) = (through.get(&nonsense).await, direct.get(&nonsense).await);
    assert_eq!(ours.status, theirs.status);
    assert_eq!(ours.json()["reason"], theirs.json()["reason"]);
}

/// The one request of `person` since `mark` whose address holds `part`.
async fn arrived(world: &'static World, mark: Mark, person: &str, part: &str) -> Entry {
    let seen = world.audit(mark, person).await;
    let mut found: Vec<_> = seen
        .into_iter()
        .filter(|entry| entry.uri.contains(part))
        .collect();
    assert_eq!(found.len(), 1, "{found:#?}");
    found.remove(0)
}

async fn parameters_that_repeat_keep_their_order(world: &'static World) {
    let tenant = settled(world, &["dev"]).await;
    let caller = world.proxy().await.caller(&tenant.owner);
    let pods = format!("{NAMESPACES}/{}/pods", tenant.namespaces[0]);
    for (method, path, query) in [
        (
            Method::POST,
            format!("{pods}/none/exec"),
            "command=sh&command=-c&command=echo%20b%26a&command=sh&stdout=true&stderr=true",
        ),
        (
            Method::POST,
            format!("{pods}/none/portforward"),
            "ports=81&ports=80&ports=81",
        ),
        (
            Method::DELETE,
            format!("{pods}/none"),
            "dryRun=All&dryRun=All&gracePeriodSeconds=0",
        ),
    ] {
        let mark = world.mark();
        caller.call(method, &format!("{path}?{query}"), None).await;
        let entry = arrived(world, mark, &tenant.owner.name, &path).await;
        let (_, sent) = entry.uri.split_once('?').unwrap();
        assert_eq!(words(sent), words(query));
    }
}

/// Names and values of a query, read.
fn words(query: &str) -> Vec<(String, String)> {
    let read = |text: &str| {
        let text = text.replace('+', " ");
        let text = percent_encoding::percent_decode_str(&text);
        text.decode_utf8().unwrap().into_owned()
    };
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap());
    pairs
        .map(|(name, value)| (read(name), read(value)))
        .collect()
}

async fn a_tail_behind_a_proxy_passes_byte_for_byte(world: &'static World) {
    let tenant = settled(world, &["dev"]).await;
    let caller = world.proxy().await.caller(&tenant.owner);
    let services = format!("{NAMESPACES}/{}/services", tenant.namespaces[0]);
    for tail in [
        "a",
        "a/",
        "a//b",
        "a%2Fb/%2e%2E/c",
        "%C3%A4/%7Euser;v=1/",
        "page?x=1&x=2&y=a+b&z=%20",
        "page?no-value&empty=&=nameless",
    ] {
        let path = format!("{services}/http:none:80/proxy/{tail}");
        let mark = world.mark();
        let answer = caller.get(&path).await;
        assert_ne!(
            answer.status,
            StatusCode::BAD_REQUEST,
            "{tail}: {}",
            answer.text()
        );
        let entry = arrived(world, mark, &tenant.owner.name, "/proxy/").await;
        let (_, sent) = entry.uri.split_once("/proxy/").unwrap();
        assert_eq!(sent, tail);
    }
}
