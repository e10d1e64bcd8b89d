//! Tests of `authn::mapping`.

use serde_json::json;

use super::*;
use crate::authn::testing;
use crate::k8s::pattern::Pattern;

fn claims(value: &Value) -> Claims {
    Claims::read(value.to_string().as_bytes()).unwrap()
}

fn user(wanted: &[&str], value: Value) -> Result<String, Refusal> {
    let mut issuer = testing::issuer();
    issuer.username.claims = wanted.iter().map(|claim| (*claim).to_owned()).collect();
    person(&claims(&value), &issuer).map(|person| person.user.as_str().to_owned())
}

#[test]
fn the_first_claim_that_is_there_names_the_user() {
    let aks = &["upn", "oid"][..];
    for (name, wanted, value, expected) in [
        (
            "member",
            aks,
            json!({"upn": "Alice@Oil.example", "oid": "o1"}),
            Ok("Alice@Oil.example"),
        ),
        (
            "guest",
            aks,
            json!({"oid": "o1", "unique_name": "alice@oil.example"}),
            Ok("o1"),
        ),
        ("empty upn", aks, json!({"upn": "", "oid": "o1"}), Ok("o1")),
        ("nothing", aks, json!({"sub": "s"}), Err(Refusal::Identity)),
        (
            "upn is a number",
            aks,
            json!({"upn": 1, "oid": "o1"}),
            Err(Refusal::Claims),
        ),
        (
            "newline",
            aks,
            json!({"upn": "alice\nbob"}),
            Err(Refusal::Identity),
        ),
        (
            "blank edge",
            aks,
            json!({"upn": " alice"}),
            Err(Refusal::Identity),
        ),
        (
            "system user",
            aks,
            json!({"upn": "system:admin"}),
            Err(Refusal::Identity),
        ),
        (
            "service account",
            aks,
            json!({"upn": "system:serviceaccount:oil:x"}),
            Err(Refusal::Identity),
        ),
        (
            "our reader",
            aks,
            json!({"upn": "kube-tenant-proxy:reader"}),
            Err(Refusal::Identity),
        ),
        ("e-mail", &["email"], json!({"email": "a@x"}), Ok("a@x")),
        (
            "verified e-mail",
            &["email"],
            json!({"email": "a@x", "email_verified": true}),
            Ok("a@x"),
        ),
        (
            "unverified e-mail",
            &["email"],
            json!({"email": "a@x", "email_verified": false}),
            Err(Refusal::Identity),
        ),
        (
            "odd e-mail mark",
            &["email"],
            json!({"email": "a@x", "email_verified": "true"}),
            Err(Refusal::Claims),
        ),
    ] {
        assert_eq!(user(wanted, value), expected.map(str::to_owned), "{name}");
    }
}

#[test]
fn unique_name_never_gives_a_guest_somebody_elses_name() {
    let wanted = &["unique_name", "upn", "oid"][..];
    let home = "https://sts.windows.net/11111111-2222-3333-4444-555555555555/";
    let own = testing::issuer().url.to_string();
    for (name, value, expected) in [
        (
            "upn wins",
            json!({"upn": "Alice@oil", "unique_name": "owner@oil", "oid": "o"}),
            "Alice@oil",
        ),
        (
            "member without upn",
            json!({"unique_name": "alice@oil", "oid": "o"}),
            "alice@oil",
        ),
        (
            "own provider",
            json!({"iss": own, "idp": own, "unique_name": "alice@oil", "oid": "o"}),
            "alice@oil",
        ),
        (
            "member by acct",
            json!({"acct": 0, "unique_name": "alice@oil", "oid": "o"}),
            "alice@oil",
        ),
        (
            "guest by idp",
            json!({"iss": own, "idp": home, "unique_name": "owner@oil", "oid": "o"}),
            "o",
        ),
        (
            "guest, other case",
            json!({"iss": own, "idp": home, "unique_name": "OWNER@oil", "oid": "o"}),
            "o",
        ),
        (
            "guest by acct",
            json!({"acct": 1, "unique_name": "owner@oil", "oid": "o"}),
            "o",
        ),
        (
            "acct as text",
            json!({"acct": "1", "unique_name": "owner@oil", "oid": "o"}),
            "o",
        ),
        (
            "acct as nonsense",
            json!({"acct": null, "unique_name": "owner@oil", "oid": "o"}),
            "o",
        ),
        (
            "personal account",
            json!({"unique_name": "live.com#owner@oil", "oid": "o"}),
            "o",
        ),
        (
            "empty unique_name",
            json!({"unique_name": "", "oid": "o"}),
            "o",
        ),
    ] {
        assert_eq!(user(wanted, value), Ok(expected.to_owned()), "{name}");
    }
    let with_email = &["unique_name", "email", "preferred_username", "oid"][..];
    let guest = json!({"acct": 1, "unique_name": "owner@oil", "email": "owner@oil", "preferred_username": "owner@oil", "oid": "o"});
    assert_eq!(
        user(with_email, guest),
        Ok("o".to_owned()),
        "a guest is named by no claim he can choose"
    );
}

#[test]
fn the_log_is_told_when_the_api_server_says_another_name() {
    let wanted: Vec<String> = ["unique_name", "upn", "oid"].map(str::to_owned).to_vec();
    let told = |value: Value| {
        let claims = claims(&value);
        let name = username::choose(&claims, &wanted).unwrap().to_owned();
        username::differs_from_the_api_server(&claims, &wanted, &name)
    };
    assert!(told(json!({"unique_name": "alice@oil", "oid": "o"})));
    assert!(!told(
        json!({"unique_name": "alice@oil", "upn": "alice@oil", "oid": "o"})
    ));
    assert!(!told(
        json!({"acct": 1, "unique_name": "alice@oil", "oid": "o"})
    ));
}

fn groups_of(rule: GroupsRule, value: Value) -> Result<Option<Vec<String>>, Refusal> {
    match groups(&claims(&value), Some(&rule))? {
        ClaimedGroups::Overage => Ok(None),
        ClaimedGroups::All(names) => Ok(Some(
            names
                .iter()
                .skip(1)
                .map(|name| name.as_str().to_owned())
                .collect(),
        )),
    }
}

fn rule(prefix: &str, allow: &[&str], deny: &[&str]) -> GroupsRule {
    GroupsRule {
        claim: "groups".to_owned(),
        prefix: prefix.to_owned(),
        allow: allow.iter().map(|text| Pattern::new(text)).collect(),
        deny: deny.iter().map(|text| Pattern::new(text)).collect(),
    }
}

#[test]
fn groups_are_taken_whole_or_not_at_all() {
    let sources = json!({"src1": {"endpoint": "https://graph.windows.net/x/getMemberObjects"}});
    for (name, value, expected) in [
        (
            "array",
            json!({"groups": ["a", "b"]}),
            Ok(Some(vec!["a", "b"])),
        ),
        ("one string", json!({"groups": "a"}), Ok(Some(vec!["a"]))),
        ("none", json!({"groups": []}), Ok(Some(vec![]))),
        ("absent", json!({}), Ok(Some(vec![]))),
        ("number", json!({"groups": 1}), Err(Refusal::Claims)),
        ("object", json!({"groups": {"a": 1}}), Err(Refusal::Claims)),
        ("null", json!({"groups": null}), Err(Refusal::Claims)),
        (
            "array of numbers",
            json!({"groups": ["a", 1]}),
            Err(Refusal::Claims),
        ),
        (
            "empty name",
            json!({"groups": [""]}),
            Err(Refusal::Identity),
        ),
        (
            "newline",
            json!({"groups": ["a\nb"]}),
            Err(Refusal::Identity),
        ),
        (
            "masters",
            json!({"groups": ["a", "system:masters"]}),
            Err(Refusal::Identity),
        ),
        (
            "nodes",
            json!({"groups": ["system:nodes"]}),
            Err(Refusal::Identity),
        ),
        (
            "our readers",
            json!({"groups": ["kube-tenant-proxy:readers"]}),
            Err(Refusal::Identity),
        ),
        (
            "wids are not groups",
            json!({"wids": ["a"]}),
            Ok(Some(vec![])),
        ),
        (
            "overage",
            json!({"_claim_names": {"groups": "src1"}, "_claim_sources": sources}),
            Ok(None),
        ),
        (
            "overage of another claim",
            json!({"_claim_names": {"roles": "src1"}}),
            Ok(Some(vec![])),
        ),
        ("hasgroups", json!({"hasgroups": true}), Ok(None)),
        ("hasgroups as text", json!({"hasgroups": "true"}), Ok(None)),
        (
            "hasgroups false",
            json!({"hasgroups": false, "groups": ["a"]}),
            Ok(Some(vec!["a"])),
        ),
        (
            "marker beside groups",
            json!({"hasgroups": true, "groups": ["a"]}),
            Ok(None),
        ),
        (
            "odd marker",
            json!({"_claim_names": "groups"}),
            Err(Refusal::Claims),
        ),
        (
            "odd hasgroups",
            json!({"hasgroups": 1}),
            Err(Refusal::Claims),
        ),
    ] {
        let expected = expected.map(|names| {
            names.map(|names| names.into_iter().map(str::to_owned).collect::<Vec<_>>())
        });
        assert_eq!(groups_of(rule("", &[], &[]), value), expected, "{name}");
    }
    let many = json!({"groups": vec!["g"; MAX_GROUPS + 1]});
    assert_eq!(groups_of(rule("", &[], &[]), many), Err(Refusal::Identity));
}

#[test]
fn system_groups_pass_only_where_a_pattern_says_system() {
    let nodes = || json!({"groups": ["system:nodes", "oil"]});
    let names = |names: &[&str]| {
        Ok(Some(
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>(),
        ))
    };
    assert_eq!(
        groups_of(rule("", &["*"], &[]), nodes()),
        Err(Refusal::Identity)
    );
    assert_eq!(
        groups_of(rule("", &["system:nodes"], &[]), nodes()),
        names(&["system:nodes"])
    );
    assert_eq!(
        groups_of(rule("system:", &[], &[]), json!({"groups": ["masters"]})),
        Err(Refusal::Identity)
    );
    assert_eq!(
        groups_of(
            rule("", &["system:*"], &[]),
            json!({"groups": ["system:masters"]})
        ),
        Err(Refusal::Identity),
        "nothing lets system:masters through"
    );
    assert_eq!(
        groups_of(rule("aks:jwt:", &[], &[]), nodes()),
        names(&["aks:jwt:system:nodes", "aks:jwt:oil"])
    );
    assert_eq!(
        groups_of(rule("", &[], &["o*"]), json!({"groups": ["oil", "gas"]})),
        names(&["gas"])
    );
    assert_eq!(
        groups_of(rule("", &["g*"], &[]), json!({"groups": ["oil", "gas"]})),
        names(&["gas"])
    );
}

#[test]
fn everybody_who_is_somebody_is_in_system_authenticated() {
    let person = person(
        &claims(&json!({"upn": "alice", "oid": "o1"})),
        &testing::issuer(),
    )
    .unwrap();
    assert_eq!(
        person.groups,
        ClaimedGroups::All(vec![GroupName::parse(AUTHENTICATED).unwrap()])
    );
    assert_eq!(person.extra.get("oid").unwrap(), &["o1".into()]);
}

fn info(value: Value) -> UserInfo {
    serde_json::from_value(value).unwrap()
}

#[test]
fn the_api_server_may_name_its_own_and_nobody_unusable() {
    let account = info(json!({
        "username": "system:serviceaccount:oil:deployer", "uid": "u1",
        "groups": ["system:serviceaccounts", "system:authenticated"],
        "extra": {"Authentication.kubernetes.io/pod-name": ["p1"]},
    }));
    let person = reviewed(account).unwrap();
    assert_eq!(person.user.as_str(), "system:serviceaccount:oil:deployer");
    assert_eq!(person.uid.as_deref(), Some("u1"));
    assert!(
        person
            .extra
            .contains_key("authentication.kubernetes.io/pod-name")
    );
    for (name, value) in [
        ("nobody", json!({})),
        ("empty", json!({"username": ""})),
        ("newline", json!({"username": "a\nb"})),
        (
            "our reader",
            json!({"username": "kube-tenant-proxy:reader"}),
        ),
        ("blank group", json!({"username": "a", "groups": [" "]})),
        (
            "our extra key",
            json!({"username": "a", "extra": {"kube-tenant-proxy.io/user": ["x"]}}),
        ),
        (
            "escaped extra key",
            json!({"username": "a", "extra": {"o%69d": ["x"]}}),
        ),
        (
            "newline in an extra",
            json!({"username": "a", "extra": {"oid": ["x\ny"]}}),
        ),
    ] {
        assert_eq!(
            reviewed(info(value)),
            Err(Refusal::ReviewUnusable),
            "{name}"
        );
    }
}

#[test]
fn groups_of_another_person_are_not_his() {
    let token = claims(&json!({"upn": "alice", "oid": "o1"}));
    let ours = person(&token, &testing::issuer()).unwrap();
    let same = |value: Value| same_person(&ours, &token, &reviewed(info(value)).unwrap());
    assert!(same(json!({"username": "alice"})));
    assert!(same(json!({"username": "alice", "extra": {"oid": ["o1"]}})));
    assert!(
        same(json!({"username": "Alice", "extra": {"oid": ["o1"]}})),
        "the object id decides"
    );
    assert!(!same(
        json!({"username": "alice", "extra": {"oid": ["o2"]}})
    ));
    assert!(!same(
        json!({"username": "alice", "extra": {"oid": ["o1", "o2"]}})
    ));
    assert!(!same(json!({"username": "bob"})));
}
