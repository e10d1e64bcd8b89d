//! Watches over WebSocket: what Headlamp, fabric8 and browsers see is what an HTTP watch would show them, and it ends
//! where that would.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::Method;
use http::StatusCode;
use kube_tenant_proxy::drain::Drained;
use kube_tenant_proxy::reader;
use serde_json::Value;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::everywhere::EVERYWHERE;
use crate::everywhere::OURS;
use crate::everywhere::furnish;
use crate::everywhere::furnished;
use crate::everywhere::key_of;
use crate::harness::eventually;
use crate::harness::http::Answer;
use crate::harness::http::Caller;
use crate::harness::http::Events;
use crate::harness::http::PROTOBUF;
use crate::harness::http::is_expired;
use crate::harness::http::told;
use crate::harness::people::Person;
use crate::harness::people::Tenant;
use crate::harness::proxy::Mode;
use crate::harness::proxy::Proxy;
use crate::harness::proxy::Setup;
use crate::harness::websocket::HANDSHAKE;
use crate::harness::websocket::WebSocketWatch;
use crate::harness::world::Side;
use crate::harness::world::World;
use crate::lists::position_to_watch_from;
use crate::lists::settled;
use crate::lists::until_he_sees;

const NAMESPACES: &str = "/api/v1/namespaces";

/// The forms in which a watch can be asked for, and what its messages are.
const FORMS: [(&str, Kind); 5] = [
    ("application/json", Kind::Text),
    ("application/json;as=Table;v=v1;g=meta.k8s.io", Kind::Text),
    (
        "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
        Kind::Text,
    ),
    (PROTOBUF, Kind::Binary),
    (
        "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
        Kind::Binary,
    ),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Binary,
}

in_both_worlds!(
    a_watch_shows_his_namespaces_as_they_come_and_go,
    it_is_one_request_as_the_reader_in_his_name,
    a_grant_is_one_expiry_and_the_end,
    a_revocation_is_one_expiry_and_the_end_in_every_form,
    a_position_that_was_never_handed_out_is_expired,
    a_watch_over_all_namespaces_is_put_together,
    a_watch_list_ends_its_beginning_with_the_bookmark,
    the_messages_are_the_frames_of_an_http_watch,
    a_bad_handshake_is_refused_and_nothing_goes_upstream,
    a_refusal_is_answered_as_to_an_http_watch,
    a_token_may_come_as_a_subprotocol_with_another_beside_it,
    who_loses_the_right_to_see_all_is_closed,
    a_watch_ends_with_its_token,
    at_shutdown_watches_are_closed,
);
in_the_real_world!(
    the_api_server_itself_sends_one_event_a_message,
    what_is_forwarded_is_said_as_the_api_server_says_it,
    handshakes_are_judged_as_by_the_api_server,
    a_client_that_closes_or_goes_away_ends_the_watch_upstream,
);

fn label(number: usize) -> Value {
    json!({"metadata": {"labels": {"it": number.to_string()}}})
}

fn code(watch: &WebSocketWatch) -> u16 {
    watch.closed.as_ref().expect("not closed").code.into()
}

/// The owner of `tenant` at the shared proxy, watching from what he lists.
async fn watching(world: &'static World, tenant: &Tenant) -> WebSocketWatch {
    let caller = world.proxy().await.caller(&tenant.owner);
    let position = position_to_watch_from(world, &caller, tenant).await;
    // Without bookmarks: over HTTP he would be taken for a human.
    let path = format!("{NAMESPACES}?watch=1&resourceVersion={position}");
    caller.watch_over_websocket(&path).await
}

async fn a_watch_shows_his_namespaces_as_they_come_and_go(world: &'static World) {
    let (tenant, other) = (
        settled(world, &["dev"]).await,
        settled(world, &["dev"]).await,
    );
    let caller = world.proxy().await.caller(&tenant.owner);
    let mut watch = caller
        .watch_over_websocket(&format!("{NAMESPACES}?watch=1"))
        .await;
    assert_eq!(watch.protocol, None);
    let first = watch.next().await.unwrap();
    assert_eq!(told(&first), format!("ADDED {}", tenant.namespaces[0]));
    for name in [&other.namespaces[0], &tenant.namespaces[0]] {
        world
            .merge(&format!("{NAMESPACES}/{name}"), &label(1))
            .await;
    }
    let events = watch
        .until(|event| event["object"]["metadata"]["labels"]["it"] == "1")
        .await;
    let last = told(events.last().unwrap());
    assert_eq!(last, format!("MODIFIED {}", tenant.namespaces[0]));
    world
        .delete(&format!("{NAMESPACES}/{}", tenant.namespaces[0]))
        .await;
    // Deletion is what takes the namespace away from him, so the watch may end before its last word.
    watch
        .until(|event| event["type"] == "DELETED" || is_expired(event))
        .await;
    assert!(!watch.text().contains(&other.name), "{}", watch.text());
}

async fn it_is_one_request_as_the_reader_in_his_name(world: &'static World) {
    let tenant = settled(world, &["dev"]).await;
    let caller = world.proxy().await.caller(&tenant.owner);
    // A human's watch from a position would begin with a list of what he holds.
    let position = position_to_watch_from(world, &caller, &tenant).await;
    let mark = world.mark();
    let path = format!("{NAMESPACES}?watch=1&resourceVersion={position}");
    let mut watch = caller.watch_over_websocket(&path).await;
    world
        .merge(&format!("{NAMESPACES}/{}", tenant.namespaces[0]), &label(1))
        .await;
    watch.next().await.unwrap();
    let seen = world.audit(mark, &tenant.owner.name).await;
    let [one] = seen.as_slice() else {
        panic!("{seen:#?}")
    };
    let acting = one.acting.as_ref().unwrap();
    assert_eq!(
        (one.verb.as_str(), acting.username.as_str()),
        ("watch", reader::USER)
    );
    // An ordinary watch: a switch of protocols would be a 101.
    assert_eq!(one.code, 200);
}

/// The watch says nothing more of `tenant`, then in one message that it expired, and is closed.
async fn assert_expires(mut watch: WebSocketWatch, tenant: &Tenant) {
    let rest = watch.rest().await;
    let expired = rest.iter().filter(|event| is_expired(event)).count();
    assert_eq!(expired, 1, "{}", watch.text());
    assert!(is_expired(rest.last().unwrap()), "{}", watch.text());
    assert!(!watch.text().contains(&tenant.name), "{}", watch.text());
    assert_eq!(code(&watch), 1000);
}

async fn a_grant_is_one_expiry_and_the_end(world: &'static World) {
    let tenant = settled(world, &["dev"]).await;
    let watch = watching(world, &tenant).await;
    let granted = settled(world, &["dev"]).await;
    world
        .set_owners(&granted, &[&granted.owner, &tenant.owner])
        .await;
    assert_expires(watch, &granted).await;
}

async fn a_revocation_is_one_expiry_and_the_end_in_every_form(world: &'static World) {
    for (form, kind) in FORMS {
        let kept = world.tenant(&["kept"]).await;
        let lost = world.tenant_of(kept.owner.clone(), &["lost"]).await;
        let caller = world.proxy().await.caller(&kept.owner);
        let mut both = [kept.namespaces.clone(), lost.namespaces.clone()].concat();
        both.sort();
        until_he_sees(&caller, &both).await;
        world
            .merge(&format!("{NAMESPACES}/{}", kept.namespaces[0]), &label(0))
            .await;
        let position = caller.get(NAMESPACES).await.position();
        let path = format!("{NAMESPACES}?watch=1&resourceVersion={position}");
        let Some(mut watch) = served(world, &caller.clone().accepting(form), &path).await else {
            continue;
        };
        world.set_owners(&lost, &[]).await;
        until_he_sees(&caller, &kept.namespaces).await;
        for number in 0..5 {
            let path = format!("{NAMESPACES}/{}", lost.namespaces[0]);
            world.merge(&path, &label(number)).await;
        }
        let mut last = None;
        while let Some(message) = watch.next_message().await {
            assert_eq!(kind_of(&message), kind, "{form}");
            last = Some(message);
        }
        let last = last.unwrap().into_data();
        let last = String::from_utf8_lossy(&last);
        assert!(
            last.contains("ERROR") && last.contains("Expired"),
            "{form}: {last}"
        );
        assert!(!watch.text().contains(&lost.name), "{form}: {last}");
        assert_eq!(code(&watch), 1000, "{form}");
    }
}

/// The watch that is asked for, unless it is in protobuf and the world has none.
async fn served(world: &World, caller: &Caller, path: &str) -> Option<WebSocketWatch> {
    let asking = caller.clone().with(&HANDSHAKE);
    let answer = asking.open(Method::GET, path, None).await;
    let lacks = answer.status() == StatusCode::NOT_ACCEPTABLE;
    if lacks && matches!(world.side, Side::Demo(_)) {
        return None;
    }
    Some(WebSocketWatch::of(answer).await)
}

fn kind_of(message: &Message) -> Kind {
    if message.is_text() {
        return Kind::Text;
    }
    assert!(message.is_binary(), "{message:?}");
    Kind::Binary
}

async fn a_position_that_was_never_handed_out_is_expired(world: &'static World) {
    let tenant = settled(world, &["dev"]).await;
    let caller = world.proxy().await.caller(&tenant.owner);
    let path = format!("{NAMESPACES}?watch=1&resourceVersion=1");
    let watch = caller.watch_over_websocket(&path).await;
    assert_expires(watch, &tenant).await;
}

async fn a_watch_over_all_namespaces_is_put_together(world: &'static World) {
    let (tenant, caller, all) = furnished(world, &["a", "b"], Mode::Token).await;
    let other = world.tenant(&["theirs"]).await;
    furnish(world, &other.namespaces).await;
    let path = format!("{EVERYWHERE}?{OURS}&watch=1&allowWatchBookmarks=true");
    let mut watch = caller.watch_over_websocket(&path).await;
    let mut seen = Vec::new();
    while seen.len() < all.len() {
        let event = watch.next().await.unwrap();
        assert_eq!(event["type"], "ADDED");
        seen.push(key_of(&event["object"]));
    }
    seen.sort();
    assert_eq!(seen, all);
    // Another namespace of his is another whole.
    world.namespace_in(&tenant, "c").await;
    assert_expires(watch, &other).await;
}

async fn a_watch_list_ends_its_beginning_with_the_bookmark(world: &'static World) {
    let (tenant, caller, all) = furnished(world, &["a", "b"], Mode::Token).await;
    let list =
        "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    for (path, count) in [
        (format!("{NAMESPACES}?{list}"), tenant.namespaces.len()),
        (format!("{EVERYWHERE}?{OURS}&{list}"), all.len()),
    ] {
        let mut watch = caller.watch_over_websocket(&path).await;
        let annotation = "k8s.io/initial-events-end";
        let events = watch
            .until(|event| event["object"]["metadata"]["annotations"][annotation] == "true")
            .await;
        assert_eq!(events.len(), count + 1, "{events:#?}");
        assert_eq!(events.last().unwrap()["type"], "BOOKMARK");
    }
}

/// What an HTTP watch would say in these messages.
fn framed(messages: &[Message]) -> Vec<u8> {
    let frame = |message: &Message| {
        let data = message.clone().into_data();
        let length = u32::try_from(data.len()).unwrap().to_be_bytes();
        match kind_of(message) {
            Kind::Text => data.to_vec(),
            Kind::Binary => [&length[..], &data].concat(),
        }
    };
    messages.iter().flat_map(frame).collect()
}

/// Without the cells of Tables, in which the age goes on.
fn ageless(stream: &[u8]) -> String {
    let text = String::from_utf8_lossy(stream).into_owned();
    let mut parts = text.split("\"cells\":[");
    let first = parts.next().unwrap().to_owned();
    let rest = parts.map(|part| part.split_once(']').unwrap().1);
    rest.fold(first, |text, part| text + part)
}

async fn all_messages(mut watch: WebSocketWatch) -> Vec<Message> {
    let mut messages = Vec::new();
    while let Some(message) = watch.next_message().await {
        messages.push(message);
    }
    assert_eq!(code(&watch), 1000);
    messages
}

async fn the_messages_are_the_frames_of_an_http_watch(world: &'static World) {
    let (tenant, caller, _) = furnished(world, &["a"], Mode::Token).await;
    let other = settled(world, &["theirs"]).await;
    let his = format!("{NAMESPACES}/{}/configmaps", tenant.namespaces[0]);
    for (form, kind) in FORMS {
        // Narrowed, put together, and forwarded.
        for path in [
            format!("{NAMESPACES}?watch=1&timeoutSeconds=1"),
            format!("{EVERYWHERE}?{OURS}&watch=1&timeoutSeconds=1"),
            format!("{his}?{OURS}&watch=1&timeoutSeconds=1"),
        ] {
            let caller = caller.clone().accepting(form);
            // A compressed answer could not be cut.
            let zipping = caller.clone().saying("accept-encoding", "gzip");
            // A second may be too short for either, and something may change between them.
            eventually(|| async {
                let Some(watch) = served(world, &zipping, &path).await else {
                    return Ok(());
                };
                let messages = all_messages(watch).await;
                assert!(messages.iter().all(|message| kind_of(message) == kind));
                let mut stream = caller.watch(&path).await;
                let framed = ageless(&framed(&messages));
                let said = ageless(stream.text_to_the_end().await.as_bytes());
                assert!(!said.contains(&other.name), "{form} {path}");
                let is_same = !framed.is_empty() && framed == said;
                is_same
                    .then_some(())
                    .ok_or_else(|| format!("{form} {path}: {framed} is not {said}"))
            })
            .await;
        }
    }
}

async fn what_is_forwarded_is_said_as_the_api_server_says_it(world: &'static World) {
    let (tenant, caller, _) = furnished(world, &["a"], Mode::Token).await;
    let direct = world.direct(&tenant.owner);
    let his = format!("{NAMESPACES}/{}/configmaps", tenant.namespaces[0]);
    let path = format!("{his}?{OURS}&watch=1&timeoutSeconds=1");
    for (form, kind) in FORMS {
        eventually(|| async {
            let mut said = Vec::new();
            for caller in [&caller, &direct] {
                let asking = caller.clone().accepting(form);
                let messages = all_messages(asking.watch_over_websocket(&path).await).await;
                assert!(messages.iter().all(|message| kind_of(message) == kind));
                said.push(ageless(&framed(&messages)));
            }
            let is_same = !said[0].is_empty() && said[0] == said[1];
            is_same
                .then_some(())
                .ok_or_else(|| format!("{form}: {said:?}"))
        })
        .await;
    }
}

async fn the_api_server_itself_sends_one_event_a_message(world: &'static World) {
    let (tenant, _, _) = furnished(world, &["a"], Mode::Token).await;
    let his = format!("{NAMESPACES}/{}/configmaps", tenant.namespaces[0]);
    let path = format!("{his}?watch=1&timeoutSeconds=1&fieldSelector=metadata.name%3Done");
    let direct = world.direct(&tenant.owner);
    let mut watch = direct.watch_over_websocket(&path).await;
    watch.say(Message::Ping("still there?".into())).await;
    let event = watch.next().await.unwrap();
    assert_eq!(event["object"]["metadata"]["name"], "one");
    let pong = watch.next_of_any_kind().await;
    assert_eq!(pong, Some(Message::Pong("still there?".into())));
    assert!(watch.text_to_the_end().await.ends_with("}\n"));
    assert_eq!(code(&watch), 1000);
}

/// Handshakes that lack something or have something odd, and what is said to them.
fn handshakes() -> Vec<(Vec<(&'static str, &'static str)>, u16)> {
    let without = |name: &str| {
        let others = HANDSHAKE.into_iter().filter(|(other, _)| *other != name);
        others.collect::<Vec<_>>()
    };
    let with = |name: &'static str, value: &'static str| {
        let mut headers = without(name);
        headers.push((name, value));
        headers
    };
    vec![
        (without("sec-websocket-key"), 400),
        (without("sec-websocket-version"), 400),
        (without("origin"), 403),
        (with("sec-websocket-key", ""), 400),
        (with("sec-websocket-version", "8"), 400),
        (with("origin", "null"), 403),
        (with("origin", ""), 403),
        (with("origin", "https://a b"), 403),
        (with("origin", "file://"), 101),
        (with("sec-websocket-protocol", "a, b"), 400),
        (with("sec-websocket-protocol", ","), 400),
        (with("sec-websocket-protocol", " "), 101),
        (with("sec-websocket-protocol", "base64.binary.k8s.io"), 101),
        // Without these it is an HTTP watch.
        (without("upgrade"), 200),
        (without("connection"), 200),
    ]
}

async fn a_bad_handshake_is_refused_and_nothing_goes_upstream(world: &'static World) {
    let tenant = settled(world, &["dev"]).await;
    let caller = world.proxy().await.caller(&tenant.owner);
    let path = format!("{NAMESPACES}?watch=1&timeoutSeconds=1");
    let handshakes = handshakes();
    let mark = world.mark();
    let is_bad = |handshake: &&(Vec<(&str, &str)>, u16)| handshake.1 >= 400;
    for (headers, wanted) in handshakes.iter().filter(is_bad) {
        let refused = caller.clone().with(headers).get(&path).await;
        assert_eq!(refused.status, *wanted, "{headers:?}");
        assert_eq!(refused.json()["code"], *wanted, "{}", refused.text());
    }
    let seen = world.audit(mark, &tenant.owner.name).await;
    assert!(seen.is_empty(), "{seen:#?}");
    for (headers, wanted) in handshakes.iter().filter(|handshake| !is_bad(handshake)) {
        let asking = caller.clone().with(headers);
        let answer = asking.open(Method::GET, &path, None).await;
        assert_eq!(answer.status(), *wanted, "{headers:?}");
    }
}

async fn handshakes_are_judged_as_by_the_api_server(world: &'static World) {
    let (tenant, caller, _) = furnished(world, &["a"], Mode::Token).await;
    let direct = world.direct(&tenant.owner);
    let his = format!("{NAMESPACES}/{}/configmaps", tenant.namespaces[0]);
    let path = format!("{his}?watch=1&timeoutSeconds=1");
    for (headers, wanted) in handshakes() {
        for (whose, caller) in [("ours", &caller), ("theirs", &direct)] {
            let asking = caller.clone().with(&headers);
            let answer = asking.open(Method::GET, &path, None).await;
            assert_eq!(answer.status(), wanted, "{whose} {headers:?}");
            let version = answer.headers().get("sec-websocket-version");
            let names_its_own = version.is_some_and(|version| version == "13");
            let asked = headers.contains(&("sec-websocket-version", "13"));
            assert_eq!(names_its_own, !asked, "{whose} {headers:?}");
            let protocol = answer.headers().get("sec-websocket-protocol");
            let offered = headers.contains(&("sec-websocket-protocol", "base64.binary.k8s.io"));
            assert_eq!(protocol.is_some(), offered, "{whose} {headers:?}");
        }
    }
}

async fn a_refusal_is_answered_as_to_an_http_watch(world: &'static World) {
    let tenant = settled(world, &["dev"]).await;
    let other = settled(world, &["dev"]).await;
    let caller = world.proxy().await.caller(&tenant.owner);
    let direct = world.direct(&tenant.owner);
    let theirs = format!("{NAMESPACES}/{}/configmaps", other.namespaces[0]);
    for path in [
        &format!("{theirs}?watch=1"),
        "/api/v1/nodes?watch=1",
        &format!("{NAMESPACES}?watch=1&labelSelector=%21%21"),
        &format!("{NAMESPACES}?watch=1&timeoutSeconds=x"),
    ] {
        let asked = |caller: &Caller| {
            let caller = caller.clone().with(&HANDSHAKE);
            async move { caller.get(path).await }
        };
        let (ours, plain): (Answer, Answer) = (asked(&caller).await, caller.get(path).await);
        assert!(ours.status.is_client_error(), "{path}: {}", ours.status);
        assert_eq!(
            (ours.status, ours.text()),
            (plain.status, plain.text()),
            "{path}"
        );
        if matches!(world.side, Side::Real(_)) && path.contains(&theirs) {
            let theirs = asked(&direct).await;
            assert_eq!((ours.status, ours.text()), (theirs.status, theirs.text()));
        }
    }
}

async fn a_token_may_come_as_a_subprotocol_with_another_beside_it(world: &'static World) {
    let tenant = settled(world, &["dev"]).await;
    let token = BASE64_URL_SAFE_NO_PAD.encode(&tenant.owner.token);
    let token = format!("base64url.bearer.authorization.k8s.io.{token}");
    let path = format!("{NAMESPACES}?watch=1");
    let offering =
        |caller: Caller, protocols: &str| caller.saying("sec-websocket-protocol", protocols);
    let ours = world.proxy().await.anybody();
    let both = format!("{token}, base64.binary.k8s.io");
    let mut watch = offering(ours.clone(), &both)
        .watch_over_websocket(&path)
        .await;
    assert_eq!(watch.protocol.as_deref(), Some("base64.binary.k8s.io"));
    let first = watch.next().await.unwrap();
    assert_eq!(told(&first), format!("ADDED {}", tenant.namespaces[0]));
    let mut callers = vec![ours];
    if matches!(world.side, Side::Real(_)) {
        callers.push(Caller::new(&world.url, &world.ca));
    }
    for caller in callers {
        let alone = offering(caller.with(&HANDSHAKE), &token).get(&path).await;
        assert_eq!(alone.status, StatusCode::UNAUTHORIZED, "{}", alone.text());
        assert!(!alone.text().contains(&token));
    }
}

async fn who_loses_the_right_to_see_all_is_closed(world: &'static World) {
    let tenant = world.tenant(&["dev"]).await;
    let right = world.bind(&tenant.owner, "view").await;
    eventually(|| async {
        let direct = world.direct(&tenant.owner).get(NAMESPACES).await;
        let may = direct.status.is_success();
        may.then_some(()).ok_or_else(|| direct.text())
    })
    .await;
    let caller = world.proxy().await.caller(&tenant.owner);
    let mut watch = caller
        .watch_over_websocket(&format!("{NAMESPACES}?watch=1"))
        .await;
    watch
        .until(|event| told(event) == "ADDED kube-system")
        .await;
    world.delete(&right).await;
    // His next list is what shows that the right is gone.
    until_he_sees(&caller, &tenant.namespaces).await;
    let rest = watch.rest().await;
    assert!(rest.iter().all(|event| !is_expired(event)), "{rest:?}");
    assert_eq!(code(&watch), 1000);
}

async fn a_watch_ends_with_its_token(world: &'static World) {
    let tenant = settled(world, &["dev"]).await;
    let claims = json!({"upn": tenant.owner.name, "groups": [world.groups.users]});
    let short = Person {
        token: world.mint(claims, 4).await,
        ..tenant.owner.clone()
    };
    let caller = world.proxy().await.caller(&short);
    let path = format!("{NAMESPACES}?watch=1");
    let mut watch = caller.watch_over_websocket(&path).await;
    let rest = watch.rest().await;
    assert!(rest.iter().all(|event| !is_expired(event)), "{rest:?}");
    assert_eq!(code(&watch), 1000);
    let again = caller.with(&HANDSHAKE).get(&path).await;
    assert_eq!(again.status, StatusCode::UNAUTHORIZED, "{}", again.text());
}

async fn at_shutdown_watches_are_closed(world: &'static World) {
    let proxy = Proxy::start(world, Setup::default()).await;
    let (tenant, _, _) = furnished(world, &["a"], Mode::Token).await;
    let caller = proxy.caller(&tenant.owner);
    until_he_sees(&caller, &tenant.namespaces).await;
    let his = format!("{NAMESPACES}/{}/configmaps", tenant.namespaces[0]);
    let mut watches = Vec::new();
    for path in [NAMESPACES, EVERYWHERE, &his] {
        let path = format!("{path}?watch=1");
        let mut watch = caller.watch_over_websocket(&path).await;
        watch.next().await.unwrap();
        watches.push(watch);
    }
    proxy.begin_shutdown();
    for mut watch in watches {
        let rest = watch.rest().await;
        assert!(rest.iter().all(|event| !is_expired(event)), "{rest:?}");
        assert_eq!(code(&watch), 1000);
    }
    assert_eq!(proxy.ended().await, Drained::Finished);
}

/// How many watches for `person` the API server says have ended.
fn ended(world: &World, person: &Person) -> usize {
    let log = std::fs::read_to_string(&world.bed().facts.audit_log).unwrap();
    let lines = log.lines().filter(|line| line.contains(&person.name));
    let events = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events
        .filter(|event| event["verb"] == "watch" && event["stage"] == "ResponseComplete")
        .count()
}

async fn until_ended(world: &World, person: &Person, count: usize) {
    eventually(|| async {
        let ended = ended(world, person);
        (ended == count)
            .then_some(())
            .ok_or_else(|| format!("{ended} of {count} watches have ended"))
    })
    .await;
}

async fn a_client_that_closes_or_goes_away_ends_the_watch_upstream(world: &'static World) {
    let tenant = settled(world, &["dev"]).await;
    let caller = world.proxy().await.caller(&tenant.owner);
    let path = format!("{NAMESPACES}?watch=1");
    let mut closing = caller.watch_over_websocket(&path).await;
    let mut leaving = caller.watch_over_websocket(&path).await;
    for watch in [&mut closing, &mut leaving] {
        watch.next().await.unwrap();
    }
    assert_eq!(ended(world, &tenant.owner), 0);
    closing.say(Message::Close(None)).await;
    assert_eq!(closing.next().await, None);
    until_ended(world, &tenant.owner, 1).await;
    drop(leaving);
    until_ended(world, &tenant.owner, 2).await;
}
