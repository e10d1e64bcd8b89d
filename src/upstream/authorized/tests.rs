//! Tests of `upstream::authorized`.

use std::sync::Arc;

use super::*;
use crate::identity::AuthenticatorId;
use crate::identity::Extra;
use crate::identity::GroupName;
use crate::identity::GroupsUnknown;
use crate::identity::Proof;
use crate::identity::SecretToken;
use crate::identity::UserName;
use crate::k8s::names::GroupResource;
use crate::k8s::query::Query;
use crate::k8s::request::NonResourceRequest;
use crate::k8s::request::Parameters;

const OWN: &str = "own-token";
const HIS: &str = "his-token";

/// A user as an authenticator may have proved him.
struct User {
    name: &'static str,
    groups: Result<&'static [&'static str], GroupsUnknown>,
    uid: Option<&'static str>,
    extra: &'static [(&'static str, &'static str)],
    mode: UpstreamMode,
}

impl User {
    fn alice(mode: UpstreamMode) -> Self {
        Self {
            name: "alice",
            groups: Ok(&["oil", "gas"]),
            uid: None,
            extra: &[],
            mode,
        }
    }

    fn caller(&self, credential: Credential) -> Caller {
        let mut extra = Extra::new();
        for (key, value) in self.extra {
            extra
                .entry((*key).into())
                .or_default()
                .push((*value).into());
        }
        let groups = self.groups.map(|names| {
            names
                .iter()
                .map(|name| GroupName::parse(name).unwrap())
                .collect()
        });
        let who = Identity::new(Proof {
            user: UserName::parse(self.name).unwrap(),
            groups,
            uid: self.uid.map(Into::into),
            extra,
            expires: None,
            by: AuthenticatorId::new("jwt[0]"),
            upstream: self.mode,
        });
        Caller {
            who: Arc::new(who),
            credential,
        }
    }
}

fn with_token() -> Credential {
    Credential::Bearer(SecretToken::new(HIS))
}

/// `verb resource[/subresource]`, and what else the request line says.
fn resource(verb: Verb, name: &str) -> ResourceRequest {
    let (name, subresource) = match name.split_once('/') {
        Some((name, sub)) => (name, Some(sub.to_owned())),
        None => (name, None),
    };
    ResourceRequest {
        method: match verb {
            Verb::Create => Method::POST,
            Verb::Delete | Verb::DeleteCollection => Method::DELETE,
            Verb::Update => Method::PUT,
            Verb::Patch => Method::PATCH,
            Verb::Get | Verb::List | Verb::Watch | Verb::Proxy => Method::GET,
        },
        verb,
        resource: GroupResource::new("", name),
        version: "v1".into(),
        namespace: None,
        name: None,
        name_in_path: false,
        subresource,
        rest: Rest::Nothing,
        parameters: Parameters::Pairs(Query::default()),
        upgrade: None,
        over_websocket: false,
    }
}

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let parse = |(name, value): &(&str, &str)| {
        (
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        )
    };
    lines.iter().map(parse).collect()
}

fn authorize(
    caller: &Caller,
    what: ApiRequest,
    voice: Voice,
    lines: &[(&str, &str)],
) -> Result<Authorized, Unsendable> {
    let inbound = headers(lines);
    Authorized::assemble(
        Permit::for_test(Arc::clone(&caller.who), Arc::new(what), voice),
        PathAndQuery::from_static("/printed"),
        caller,
        Inbound {
            headers: &inbound,
            peer: "::ffff:192.0.2.7".parse().unwrap(),
            withheld: &[],
        },
        &OwnToken::fixed(OWN).unwrap(),
    )
}

/// The identity headers of a list by `user`, one line each, sorted.
fn identity(user: &User, voice: Voice) -> Result<String, Unsendable> {
    let what = ApiRequest::Resource(resource(Verb::List, "namespaces"));
    let authorized = authorize(&user.caller(with_token()), what, voice, &[])?;
    let mut lines: Vec<String> = authorized
        .headers
        .iter()
        .filter(|(name, _)| {
            name.as_str().starts_with("impersonate") || *name == header::AUTHORIZATION
        })
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
        .collect();
    lines.sort();
    Ok(lines.join("\n"))
}

fn check(user: &User, voice: Voice, expected: &[&str]) {
    assert_eq!(identity(user, voice), Ok(expected.join("\n")));
}

#[test]
fn in_token_mode_the_users_token_speaks_alone() {
    check(
        &User::alice(UpstreamMode::Token),
        Voice::User,
        &["authorization: Bearer his-token"],
    );
}

#[test]
fn in_impersonate_mode_the_whole_user_is_impersonated_with_our_token() {
    let user = User {
        groups: Ok(&["oil", "oil, gas and more", "system:authenticated"]),
        uid: Some("u-1"),
        extra: &[
            ("authentication.kubernetes.io/pod-name", "web"),
            ("Upper%Key", "grün"),
            ("scopes", "a"),
            ("scopes", "b, c"),
        ],
        ..User::alice(UpstreamMode::Impersonate)
    };
    check(
        &user,
        Voice::User,
        &[
            "authorization: Bearer own-token",
            "impersonate-extra-%55pper%25%4bey: grün",
            "impersonate-extra-authentication.kubernetes.io%2fpod-name: web",
            "impersonate-extra-scopes: a",
            "impersonate-extra-scopes: b, c",
            "impersonate-group: oil",
            "impersonate-group: oil, gas and more",
            "impersonate-uid: u-1",
            "impersonate-user: alice",
        ],
    );
}

#[test]
fn the_reader_is_the_reader_in_either_mode_and_names_the_human() {
    for mode in [UpstreamMode::Token, UpstreamMode::Impersonate] {
        let user = User {
            name: "Jürgen Öl@example.com",
            uid: Some("u-1"),
            extra: &[("oid", "1")],
            ..User::alice(mode)
        };
        check(
            &user,
            Voice::Reader,
            &[
                "authorization: Bearer own-token",
                "impersonate-extra-kube-tenant-proxy.io%2fuser: Jürgen Öl@example.com",
                "impersonate-group: kube-tenant-proxy:readers",
                "impersonate-user: kube-tenant-proxy:reader",
            ],
        );
    }
}

#[test]
fn a_user_without_a_group_is_never_impersonated_by_his_name_alone() {
    for groups in [&[][..], &["system:authenticated"]] {
        let user = User {
            groups: Ok(groups),
            ..User::alice(UpstreamMode::Impersonate)
        };
        check(
            &user,
            Voice::User,
            &[
                "authorization: Bearer own-token",
                "impersonate-group: system:authenticated",
                "impersonate-user: alice",
            ],
        );
    }
}

#[test]
fn what_must_not_be_impersonated_is_not_sent() {
    let alice = || User::alice(UpstreamMode::Impersonate);
    let cases = [
        (
            "system:masters",
            User {
                groups: Ok(&["a", "system:masters"]),
                ..alice()
            },
            Unsendable::Reserved("group"),
        ),
        (
            "the readers' group",
            User {
                groups: Ok(&[reader::GROUP]),
                ..alice()
            },
            Unsendable::Reserved("group"),
        ),
        (
            "system:unauthenticated",
            User {
                groups: Ok(&["system:unauthenticated"]),
                ..alice()
            },
            Unsendable::Reserved("group"),
        ),
        (
            "the reader",
            User {
                name: reader::USER,
                ..alice()
            },
            Unsendable::Reserved("user"),
        ),
        (
            "anonymous",
            User {
                name: "system:anonymous",
                ..alice()
            },
            Unsendable::Reserved("user"),
        ),
        (
            "our extra key",
            User {
                extra: &[("Kube-Tenant-Proxy.io/user", "bob")],
                ..alice()
            },
            Unsendable::Reserved("extra key"),
        ),
        (
            "a uid with an end of line",
            User {
                uid: Some("1\r\nImpersonate-Group: x"),
                ..alice()
            },
            Unsendable::Unprintable("uid"),
        ),
        (
            "an extra with a blank at its end",
            User {
                extra: &[("k", "v ")],
                ..alice()
            },
            Unsendable::Unprintable("extra"),
        ),
        (
            "unknown groups",
            User {
                groups: Err(GroupsUnknown::Unresolvable),
                ..alice()
            },
            Unsendable::GroupsUnknown,
        ),
    ];
    for (name, user, why) in cases {
        assert_eq!(identity(&user, Voice::User), Err(why), "{name}");
    }
}

#[test]
fn token_mode_needs_the_callers_token_and_the_permit_must_be_his() {
    let list = || ApiRequest::Resource(resource(Verb::List, "pods"));
    let alice = User::alice(UpstreamMode::Token);
    let proved = alice.caller(Credential::ProvedHere);
    let refused = authorize(&proved, list(), Voice::User, &[]).unwrap_err();
    assert_eq!(refused, Unsendable::NoCallerToken);

    let bob = User {
        name: "bob",
        ..User::alice(UpstreamMode::Token)
    };
    let permit = Permit::for_test(bob.caller(with_token()).who, Arc::new(list()), Voice::User);
    let inbound = HeaderMap::new();
    let refused = Authorized::assemble(
        permit,
        PathAndQuery::from_static("/"),
        &alice.caller(with_token()),
        Inbound {
            headers: &inbound,
            peer: "192.0.2.7".parse().unwrap(),
            withheld: &[],
        },
        &OwnToken::fixed(OWN).unwrap(),
    );
    assert_eq!(refused.unwrap_err(), Unsendable::WrongCaller);
}

#[test]
fn a_client_cannot_add_to_the_identity_by_any_header() {
    let hostile = [
        ("Authorization", "Bearer other"),
        ("Impersonate-User", "admin"),
        ("Impersonate-Group", "system:masters"),
        ("impersonate_group", "system:masters"),
        ("Impersonate-Extra-kube-tenant-proxy.io%2fuser", "bob"),
        ("X-Remote-User", "admin"),
        ("X_Remote_Group", "system:masters"),
        ("X-Forwarded-For", "10.0.0.1"),
        ("X-Real-Ip", "10.0.0.1"),
        ("Audit-ID", "forged"),
        ("Connection", "impersonate-user"),
        ("Transfer-Encoding", "chunked"),
        ("Content-Length", "5"),
    ];
    let tail = ResourceRequest {
        rest: Rest::ProxyTail("index.html".to_owned()),
        ..resource(Verb::Get, "services/proxy")
    };
    for mode in [UpstreamMode::Token, UpstreamMode::Impersonate] {
        for voice in [Voice::User, Voice::Reader] {
            for what in [resource(Verb::List, "pods"), tail.clone()] {
                let caller = User::alice(mode).caller(with_token());
                let what = ApiRequest::Resource(what);
                let clean = authorize(&caller, what.clone(), voice, &[]).unwrap();
                let attacked = authorize(&caller, what, voice, &hostile).unwrap();
                assert_eq!(attacked.headers, clean.headers);
                assert_eq!(
                    attacked.headers.get("x-forwarded-for").unwrap(),
                    "192.0.2.7"
                );
            }
        }
    }
}

#[test]
fn cve_2022_23652_a_finished_request_without_its_user_is_not_sent() {
    let own = bearer(OWN).unwrap();
    let whole = headers(&[
        ("authorization", "Bearer own-token"),
        ("impersonate-user", "alice"),
        ("impersonate-group", "oil"),
    ]);
    assert_eq!(assert_identity(&whole, &own, 2), Ok(()));
    type Damage = fn(&mut HeaderMap);
    let damages: [(&str, Damage); 9] = [
        ("no user", |map| drop(map.remove("impersonate-user"))),
        ("empty user", |map| {
            map.insert(IMPERSONATE_USER, HeaderValue::from_static(""));
        }),
        ("no group", |map| drop(map.remove("impersonate-group"))),
        ("a second user", |map| {
            map.append(IMPERSONATE_USER, HeaderValue::from_static("admin"));
        }),
        ("a further group", |map| {
            map.append(IMPERSONATE_GROUP, HeaderValue::from_static("admins"));
        }),
        ("another spelling", |map| {
            map.insert("impersonate_user", HeaderValue::from_static("admin"));
        }),
        ("a front proxy's user", |map| {
            map.insert("x-remote-user", HeaderValue::from_static("admin"));
        }),
        ("another credential", |map| {
            map.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer x"));
        }),
        ("two credentials", |map| {
            map.append(header::AUTHORIZATION, HeaderValue::from_static("Bearer x"));
        }),
    ];
    for (name, damage) in damages {
        let mut damaged = whole.clone();
        damage(&mut damaged);
        for asked in [0, 2] {
            let verdict = assert_identity(&damaged, &own, asked);
            assert!(matches!(verdict, Err(Unsendable::Broken(_))), "{name}");
        }
    }
    for (name, replaced) in [
        ("system:masters", ("impersonate-group", "system:masters")),
        ("an empty group", ("impersonate-group", "")),
    ] {
        let mut damaged = whole.clone();
        damaged.extend(headers(&[replaced]));
        assert!(assert_identity(&damaged, &own, 2).is_err(), "{name}");
    }
}

#[test]
fn a_read_that_we_filter_asks_for_one_type_uncompressed() {
    let caller = User::alice(UpstreamMode::Token).caller(with_token());
    let what = ApiRequest::Resource(resource(Verb::List, "namespaces"));
    let asked = [
        ("Accept", "application/yaml"),
        ("Accept", "application/cbor"),
        ("Accept-Encoding", "gzip"),
        ("If-None-Match", "\"x\""),
        ("User-Agent", "kubectl/v1.35"),
    ];
    for voice in [Voice::User, Voice::Reader] {
        let request = authorize(&caller, what.clone(), voice, &asked)
            .unwrap()
            .with_accept(HeaderValue::from_static("application/json"));
        let accepts: Vec<_> = request.headers.get_all("accept").iter().collect();
        assert_eq!(accepts, ["application/json"], "{voice:?}");
        assert!(
            !request.headers.contains_key("accept-encoding"),
            "{voice:?}"
        );
        assert_eq!(request.headers.get("user-agent").unwrap(), "kubectl/v1.35");
    }
    let as_reader = authorize(&caller, what, Voice::Reader, &asked).unwrap();
    assert!(!as_reader.headers.contains_key("accept-encoding"));
    assert!(!as_reader.headers.contains_key("if-none-match"));
}

#[test]
fn the_lane_follows_from_the_request_alone() {
    let upgrade = |request| ResourceRequest {
        upgrade: Some(Upgrade::WebSocket),
        ..request
    };
    let post = |request| ResourceRequest {
        method: Method::POST,
        ..request
    };
    let cases = [
        (
            resource(Verb::List, "pods"),
            Lane::Read,
            HeadDeadline::Bounded,
        ),
        (
            resource(Verb::Create, "pods"),
            Lane::Write,
            HeadDeadline::Bounded,
        ),
        (
            resource(Verb::Watch, "pods"),
            Lane::Stream,
            HeadDeadline::Unbounded,
        ),
        (
            resource(Verb::Get, "pods/log"),
            Lane::Stream,
            HeadDeadline::Unbounded,
        ),
        (
            post(resource(Verb::Create, "pods/log")),
            Lane::Write,
            HeadDeadline::Unbounded,
        ),
        (
            resource(Verb::Get, "services/proxy"),
            Lane::Read,
            HeadDeadline::Unbounded,
        ),
        (
            resource(Verb::Proxy, "nodes"),
            Lane::Read,
            HeadDeadline::Unbounded,
        ),
        (
            resource(Verb::Create, "pods/exec"),
            Lane::Write,
            HeadDeadline::Unbounded,
        ),
        (
            upgrade(resource(Verb::Get, "pods/exec")),
            Lane::Dedicated(Upgrade::WebSocket),
            HeadDeadline::Unbounded,
        ),
    ];
    for (request, lane_of, deadline) in cases {
        let name = format!("{:?} {}", request.verb, request.resource);
        let what = ApiRequest::Resource(request);
        assert_eq!(
            (lane(&what), head_deadline(&what)),
            (lane_of, deadline),
            "{name}"
        );
    }
    let version = ApiRequest::NonResource(NonResourceRequest {
        method: Method::GET,
        path: "/version".to_owned(),
        query: Query::default(),
        upgrade: None,
    });
    assert_eq!(lane(&version), Lane::Read);
}

#[test]
fn an_upgrade_carries_its_own_headers_and_no_token() {
    let exec = ResourceRequest {
        upgrade: Some(Upgrade::WebSocket),
        ..resource(Verb::Get, "pods/exec")
    };
    let caller = User::alice(UpstreamMode::Token).caller(with_token());
    let request = authorize(
        &caller,
        ApiRequest::Resource(exec),
        Voice::User,
        &[
            ("Connection", "keep-alive, Upgrade"),
            ("Upgrade", "WebSocket"),
            ("Sec-WebSocket-Key", "a2V5"),
            ("Sec-WebSocket-Version", "13"),
            (
                "Sec-WebSocket-Protocol",
                "v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.aGlz",
            ),
        ],
    )
    .unwrap();
    let value = |name: &str| {
        request
            .headers
            .get(name)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(value("connection"), "Upgrade");
    assert_eq!(value("upgrade"), "websocket");
    assert_eq!(value("sec-websocket-key"), "a2V5");
    assert_eq!(value("sec-websocket-protocol"), "v5.channel.k8s.io");
    assert_eq!(value("authorization"), "Bearer his-token");
}

#[test]
fn debug_shows_no_header_and_no_query() {
    let caller = User::alice(UpstreamMode::Token).caller(with_token());
    let what = ApiRequest::Resource(resource(Verb::List, "pods"));
    let shown = format!("{:?}", authorize(&caller, what, Voice::User, &[]).unwrap());
    assert!(!shown.contains("his-token"), "{shown}");
}
