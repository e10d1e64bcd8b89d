//! The decision as a table: who, asking for what, gets which plan.

use std::sync::Arc;

use http::HeaderMap;

use super::*;
use k8s_openapi::api::authorization::v1::ResourceRule;

use crate::catalog::Catalog;
use crate::catalog::ReadableKinds;
use crate::catalog::ServedElsewhere;
use crate::identity::AuthenticatorId;
use crate::identity::Extra;
use crate::identity::GroupsUnknown;
use crate::identity::Proof;
use crate::identity::UpstreamMode;
use crate::identity::UserName;
use crate::k8s::label_selector::LabelSelector;
use crate::k8s::names::Namespace;
use crate::k8s::names::ObjectName;
use crate::tenancy::grant::Grant;
use crate::tenancy::grant::Kinds;
use crate::tenancy::grant::NamePattern;
use crate::tenancy::grant::Objects;
use crate::tenancy::scope::Generation;
use crate::tenancy::scope::Standing;
use crate::tenancy::scope::Visible;

fn catalog() -> Catalog {
    let resource = |name: &str, kind: &str, scope: &str| {
        serde_json::json!({
            "resource": name,
            "responseKind": {"group": "", "version": "v1", "kind": kind},
            "scope": scope,
            "verbs": ["get", "list", "watch", "create"],
        })
    };
    let core = serde_json::json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {},
        "items": [{"metadata": {}, "versions": [{"version": "v1", "resources": [
            resource("namespaces", "Namespace", "Cluster"),
            resource("pods", "Pod", "Namespaced"),
            resource("nodes", "Node", "Cluster"),
            resource("persistentvolumes", "PersistentVolume", "Cluster"),
        ]}]}],
    });
    let groups = serde_json::json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {},
        "items": [{"metadata": {"name": "capsule.clastix.io"}, "versions": [{"version": "v1beta2", "resources": [
            resource("tenants", "Tenant", "Cluster"),
        ]}]}],
    });
    Catalog::from_documents(
        core.to_string().as_bytes(),
        groups.to_string().as_bytes(),
        &ServedElsewhere::Known(Vec::new()),
    )
    .unwrap()
}

fn identity(groups: Result<Vec<crate::identity::GroupName>, GroupsUnknown>) -> Arc<Identity> {
    identity_in(UpstreamMode::Token, groups)
}

fn identity_in(
    upstream: UpstreamMode,
    groups: Result<Vec<crate::identity::GroupName>, GroupsUnknown>,
) -> Arc<Identity> {
    Arc::new(Identity::new(Proof {
        user: UserName::parse("alice@example.com").unwrap(),
        groups,
        uid: None,
        extra: Extra::new(),
        expires: None,
        by: AuthenticatorId::new("jwt[0]"),
        upstream,
    }))
}

fn request(line: &str, headers: &HeaderMap) -> Arc<ApiRequest> {
    let (method, target) = line.split_once(' ').unwrap();
    Arc::new(
        ApiRequest::parse(&method.parse().unwrap(), &target.parse().unwrap(), headers).unwrap(),
    )
}

fn member(namespaces: &[&str]) -> Standing {
    let names = namespaces
        .iter()
        .map(|name| Namespace::parse(name).unwrap());
    Standing::Member(Arc::new(Visible {
        namespaces: Arc::new(names.collect()),
        capsule_user: true,
        ..Visible::default()
    }))
}

fn question(verb: Verb, name: Option<&str>) -> Question {
    Question {
        verb,
        resource: GroupResource::new("", "namespaces"),
        name: name.map(|name| ObjectName::parse(name).unwrap()),
    }
}

fn no() -> OwnRights {
    OwnRights::new([(question(Verb::List, None), false)])
}

fn yes() -> OwnRights {
    OwnRights::new([
        (question(Verb::List, None), true),
        (question(Verb::Watch, None), true),
    ])
}

/// The plan in a line: its name, in whose voice, and what is sent.
fn told(plan: &Plan) -> String {
    let sent = |permit: &Permit| {
        let voice = match permit.voice() {
            Voice::User => "user",
            Voice::Reader => "reader",
        };
        let target = permit.what().print().unwrap();
        let target = percent_encoding::percent_decode_str(target.as_str())
            .decode_utf8_lossy()
            .into_owned();
        format!("as {voice} {target}")
    };
    let kept = |keep: &Keep| match keep {
        Keep::Everything => String::new(),
        Keep::Names(names) => format!(" keep {}", names.len()),
        Keep::Objects(names) => format!(" keep {}", names.len()),
        Keep::Any(clauses) => format!(" keep any of {}", clauses.len()),
    };
    match plan {
        Plan::Forward(permit) => format!("forward {}", sent(permit)),
        Plan::Unreadable(permit) => format!("unreadable {}", sent(permit)),
        Plan::NarrowList { read, keep, .. } => format!("list {}{}", sent(read), kept(keep)),
        Plan::NarrowWatch {
            read, keep, seed, ..
        } => {
            let seed = seed.as_ref().map(|seed| format!(" after {}", sent(seed)));
            format!(
                "watch {}{}{}",
                sent(read),
                kept(keep),
                seed.unwrap_or_default()
            )
        }
        Plan::FanOut { legs, .. } => {
            let cut = |from| Cut {
                from,
                limit: Some(7),
            };
            let names = legs.namespaces().iter().map(Namespace::as_str);
            let first = legs.permit(0, cut(From::Client));
            let last = legs.namespaces().len() - 1;
            let last = legs.permit(last, cut(From::Exactly("9".to_owned())));
            format!(
                "fan out {}: {} … {}",
                names.collect::<Vec<_>>().join(" "),
                sent(&first.unwrap()),
                sent(&last.unwrap())
            )
        }
        Plan::FanOutWatch { legs, .. } => {
            let names = legs.namespaces().iter().map(Namespace::as_str);
            let first = legs.watch(0, Start::Client);
            let last = legs.watch(legs.namespaces().len() - 1, Start::State);
            format!(
                "fan out {}: {} … {}",
                names.collect::<Vec<_>>().join(" "),
                sent(&first.unwrap()),
                sent(&last.unwrap())
            )
        }
        Plan::UserFirst { own, then, .. } => format!("first {} then {}", sent(own), sent(then)),
        Plan::Ask { permit, question } => {
            let name = question
                .name
                .as_ref()
                .map(|name| format!(" {name}"))
                .unwrap_or_default();
            format!("ask {}{name} {}", question.verb.as_str(), sent(permit))
        }
        Plan::Refuse(refusal) => format!("refuse {}", refusal.reason()),
    }
}

fn plan_of(standing: &Standing, own: &OwnRights, line: &str) -> String {
    decided(
        &identity(Ok(Vec::new())),
        standing,
        own,
        &request(line, &HeaderMap::new()),
    )
}

fn decided(
    who: &Arc<Identity>,
    standing: &Standing,
    own: &OwnRights,
    what: &Arc<ApiRequest>,
) -> String {
    let scope = Scope {
        generation: Generation(1),
        standing: standing.clone(),
    };
    told(&decide(who, what, &catalog(), &scope, own))
}

const ACL: &str = "labelSelector=kubernetes.io/metadata.name in (oil-dev,oil-prod)";

#[test]
fn a_member_lists_his_namespaces_through_one_selector() {
    let alice = member(&["oil-dev", "oil-prod"]);
    for (line, plan) in [
        ("GET /api/v1/namespaces", format!("list as reader /api/v1/namespaces?{ACL}")),
        ("GET /api/v1/namespaces/", format!("list as reader /api/v1/namespaces?{ACL}")),
        ("GET /api/v1/namespaces?labelSelector=", format!("list as reader /api/v1/namespaces?{ACL}")),
        (
            "GET /api/v1/namespaces?labelSelector=a%3Db&labelSelector=",
            "list as reader /api/v1/namespaces?labelSelector=a=b,kubernetes.io/metadata.name in (oil-dev,oil-prod)".to_owned(),
        ),
        (
            "GET /api/v1/namespaces?limit=500&unknown=1",
            format!("list as reader /api/v1/namespaces?{ACL}&limit=500"),
        ),
        ("GET /api/v1/namespaces?watch=", format!("watch as reader /api/v1/namespaces?{ACL}&watch=true")),
        ("GET /api/v1/watch/namespaces", format!("watch as reader /api/v1/namespaces?{ACL}&watch=true")),
    ] {
        assert_eq!(plan_of(&alice, &no(), line), plan, "{line}");
    }
}

#[test]
fn what_is_not_a_narrowed_collection_goes_as_the_user() {
    let alice = member(&["oil-dev"]);
    for line in [
        "GET /api/v1/gizmos",
        "GET /api/v1/namespaces/oil-dev/pods",
        "POST /api/v1/namespaces",
        "DELETE /api/v1/namespaces/oil-dev",
        "HEAD /api/v1/namespaces",
        "GET /api/v1/namespaces/oil-dev/status",
        "GET /apis",
        "GET /version",
        // Not served: a kind that the catalog does not know.
        "GET /api/v2/namespaces",
        "GET /apis/example.com/v1/namespaces",
    ] {
        let plan = plan_of(&alice, &no(), line);
        assert!(plan.starts_with("forward as user "), "{line}: {plan}");
    }
}

#[test]
fn a_namespace_that_is_his_is_read_as_himself_first() {
    let alice = member(&["oil-dev"]);
    assert_eq!(
        plan_of(&alice, &no(), "GET /api/v1/namespaces/oil-dev"),
        "first as user /api/v1/namespaces/oil-dev then as reader /api/v1/namespaces/oil-dev"
    );
    for foreign in ["kube-system", "does-not-exist"] {
        let line = format!("GET /api/v1/namespaces/{foreign}");
        assert_eq!(
            plan_of(&alice, &no(), &line),
            format!("forward as user /api/v1/namespaces/{foreign}")
        );
    }
}

#[test]
fn the_ignored_and_strangers_are_forwarded_without_a_question() {
    for standing in [Standing::Ignored, Standing::Stranger] {
        for line in ["GET /api/v1/namespaces", "GET /api/v1/namespaces?watch=1"] {
            let plan = plan_of(&standing, &OwnRights::default(), line);
            assert!(plan.starts_with("forward as user "), "{plan}");
        }
    }
}

#[test]
fn nobody_sees_less_than_without_us() {
    let alice = member(&["oil-dev"]);
    let asked = |own: &OwnRights, line| plan_of(&alice, own, line);
    let list = "GET /api/v1/namespaces";
    let review = "as user /apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    assert_eq!(
        asked(&OwnRights::default(), list),
        format!("ask list {review}")
    );
    let may_list = OwnRights::new([(question(Verb::List, None), true)]);
    assert_eq!(asked(&may_list, list), format!("ask watch {review}"));
    assert_eq!(asked(&yes(), list), "forward as user /api/v1/namespaces");
    assert!(asked(&OwnRights::none_count(), list).starts_with("list as reader "));
}

#[test]
fn may_list_but_not_watch_is_narrowed_for_both() {
    let alice = member(&["oil-dev"]);
    let own = OwnRights::new([
        (question(Verb::List, None), true),
        (question(Verb::Watch, None), false),
    ]);
    assert!(plan_of(&alice, &own, "GET /api/v1/namespaces").starts_with("list as reader "));
}

#[test]
fn a_right_by_resource_name_forwards_that_name() {
    let alice = member(&["oil-dev"]);
    let line = "GET /api/v1/namespaces?fieldSelector=metadata.name%3Dkube-system";
    let asked = plan_of(&alice, &no(), line);
    assert!(asked.starts_with("ask list kube-system "), "{asked}");
    let named = OwnRights::new([
        (question(Verb::List, None), false),
        (question(Verb::List, Some("kube-system")), true),
        (question(Verb::Watch, Some("kube-system")), true),
    ]);
    assert!(plan_of(&alice, &named, line).starts_with("forward as user "));
    let refused = OwnRights::new([(question(Verb::List, Some("kube-system")), false)]);
    let narrowed = plan_of(&alice, &refused, line);
    assert!(narrowed.starts_with("list as reader "), "{narrowed}");
    assert!(
        narrowed.contains("metadata.name in (oil-dev)")
            || narrowed.contains("metadata.name=oil-dev"),
        "{narrowed}"
    );
}

#[test]
fn a_member_without_a_namespace_gets_a_true_empty_list() {
    assert_eq!(
        plan_of(&member(&[]), &no(), "GET /api/v1/namespaces"),
        "list as reader /api/v1/namespaces?labelSelector=kubernetes.io/metadata.name,!kubernetes.io/metadata.name"
    );
}

#[test]
fn too_many_names_are_filtered_here_and_never_paged() {
    let names: Vec<String> = (0..201).map(|n| format!("oil-{n}")).collect();
    let alice = member(&names.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(
        plan_of(
            &alice,
            &no(),
            "GET /api/v1/namespaces?limit=1&includeObject=None"
        ),
        "list as reader /api/v1/namespaces?includeObject=Metadata keep 201"
    );
    assert_eq!(
        plan_of(&alice, &no(), "GET /api/v1/namespaces?watch=1"),
        "watch as reader /api/v1/namespaces?watch=true keep 201"
    );
    assert_eq!(
        plan_of(&alice, &no(), "GET /api/v1/namespaces?continue=abc"),
        "refuse page_expired"
    );
}

#[test]
fn long_names_are_filtered_before_their_selector_outgrows_a_load_balancer() {
    let names: Vec<String> = (0..150).map(|n| format!("{n:063}")).collect();
    let alice = member(&names.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(
        plan_of(&alice, &no(), "GET /api/v1/namespaces"),
        "list as reader /api/v1/namespaces keep 150"
    );
}

#[test]
fn a_parameter_that_may_narrow_is_refused_rather_than_dropped() {
    assert_eq!(
        plan_of(
            &member(&["oil-dev"]),
            &no(),
            "GET /api/v1/namespaces?shardSelector=x"
        ),
        "refuse unknown_parameter"
    );
}

#[test]
fn unknown_groups_show_nothing_unless_he_may_see_all_himself() {
    let line = "GET /api/v1/namespaces";
    for (why, refusal) in [
        (GroupsUnknown::Unavailable, "refuse groups_unavailable"),
        (GroupsUnknown::Unresolvable, "refuse groups_unresolvable"),
    ] {
        let who = identity(Err(why));
        for standing in [member(&["oil-dev"]), Standing::Stranger] {
            let what = request(line, &HeaderMap::new());
            assert_eq!(decided(&who, &standing, &no(), &what), refusal);
            assert_eq!(
                decided(&who, &standing, &yes(), &what),
                "forward as user /api/v1/namespaces"
            );
        }
    }
}

#[test]
fn nobody_is_spoken_for_with_half_of_his_groups() {
    for (why, refusal) in [
        (GroupsUnknown::Unavailable, "refuse groups_unavailable"),
        (GroupsUnknown::Unresolvable, "refuse groups_unresolvable"),
    ] {
        let who = identity_in(UpstreamMode::Impersonate, Err(why));
        for line in [
            "GET /api/v1/namespaces",
            "GET /api/v1/namespaces/oil-dev",
            "GET /api/v1/namespaces/oil-dev/pods",
            "POST /api/v1/namespaces",
            "GET /version",
        ] {
            let what = request(line, &HeaderMap::new());
            for standing in [member(&["oil-dev"]), Standing::Stranger, Standing::Ignored] {
                assert_eq!(decided(&who, &standing, &yes(), &what), refusal, "{line}");
            }
        }
    }
}

#[test]
fn a_tunnel_is_for_streams_and_never_for_a_watch() {
    let headers = HeaderMap::from_iter([
        (
            http::header::CONNECTION,
            http::HeaderValue::from_static("Upgrade"),
        ),
        (
            http::header::UPGRADE,
            http::HeaderValue::from_static("websocket"),
        ),
    ]);
    let (who, alice) = (identity(Ok(Vec::new())), member(&["oil-dev"]));
    for (line, plan) in [
        (
            "GET /api/v1/namespaces/oil-dev/pods/x/exec?command=id",
            "forward as user ",
        ),
        (
            "GET /api/v1/namespaces/oil-dev/pods?watch=1",
            "refuse upgrade",
        ),
        ("GET /api/v1/pods?watch=1", "refuse upgrade"),
        ("GET /api/v1/namespaces?watch=1", "refuse upgrade"),
        ("GET /api/v1/namespaces/oil-dev/pods/x", "refuse upgrade"),
        ("GET /version", "refuse upgrade"),
    ] {
        let decided = decided(&who, &alice, &no(), &request(line, &headers));
        assert!(decided.starts_with(plan), "{line}: {decided}");
    }
}

#[test]
fn a_member_lists_a_namespaced_kind_in_each_of_his_namespaces_as_himself() {
    let alice = member(&["a", "a-b", "c"]);
    for (line, plan) in [
        (
            "GET /api/v1/pods?limit=500&labelSelector=x%3Dy",
            "fan out a-b a c: as user /api/v1/namespaces/a-b/pods?labelSelector=x=y&limit=7 … \
             as user /api/v1/namespaces/c/pods?labelSelector=x=y&resourceVersion=9&resourceVersionMatch=Exact&limit=7",
        ),
        (
            "GET /api/v1/pods?continue=ours&resourceVersion=3",
            "fan out a-b a c: as user /api/v1/namespaces/a-b/pods?resourceVersion=3&limit=7 … \
             as user /api/v1/namespaces/c/pods?resourceVersion=9&resourceVersionMatch=Exact&limit=7",
        ),
        (
            "GET /api/v1/pods?fieldSelector=metadata.namespace%3Dc",
            "fan out c: as user /api/v1/namespaces/c/pods?fieldSelector=metadata.namespace=c&limit=7 … \
             as user /api/v1/namespaces/c/pods?fieldSelector=metadata.namespace=c&resourceVersion=9&resourceVersionMatch=Exact&limit=7",
        ),
        (
            "GET /api/v1/pods?fieldSelector=metadata.namespace%3Dkube-system",
            "forward as user /api/v1/pods?fieldSelector=metadata.namespace%3Dkube-system",
        ),
        (
            "GET /api/v1/pods?shardSelector=x",
            "refuse unknown_parameter",
        ),
    ] {
        assert_eq!(
            plan_of(&alice, &OwnRights::none_count(), line),
            plan.replace("%3D", "="),
            "{line}"
        );
    }
    assert!(
        plan_of(&member(&[]), &OwnRights::none_count(), "GET /api/v1/pods").starts_with("forward")
    );
    assert!(
        plan_of(
            &Standing::Stranger,
            &OwnRights::none_count(),
            "GET /api/v1/pods"
        )
        .starts_with("forward")
    );
    let unknown = identity(Err(GroupsUnknown::Unavailable));
    let pods = request("GET /api/v1/pods", &HeaderMap::new());
    let half = decided(&unknown, &alice, &OwnRights::none_count(), &pods);
    assert!(
        half.starts_with("forward"),
        "half of his namespaces would look whole: {half}"
    );
    let asked = plan_of(&alice, &OwnRights::default(), "GET /api/v1/pods");
    assert!(asked.starts_with("ask list"), "{asked}");
}

#[test]
fn an_owner_sees_his_tenants_by_name_and_who_owns_none_gets_his_own_refusal() {
    let owner = |names: &[&str]| {
        let names = names.iter().map(|name| ObjectName::parse(name).unwrap());
        Standing::Member(Arc::new(Visible {
            tenants: Arc::new(names.collect()),
            ..Visible::default()
        }))
    };
    let none = OwnRights::none_count();
    let path = "/apis/capsule.clastix.io/v1beta2/tenants";
    for (standing, target, plan) in [
        (
            owner(&["oil"]),
            path.to_owned(),
            format!("list as reader {path}?fieldSelector=metadata.name=oil"),
        ),
        (
            owner(&["oil"]),
            format!("{path}?fieldSelector=metadata.name%3Dgas"),
            format!("list as reader {path}?fieldSelector=metadata.name=gas,metadata.name=oil"),
        ),
        (
            owner(&["oil", "gas"]),
            format!("{path}?limit=5"),
            format!("list as reader {path} keep 2"),
        ),
        (
            owner(&["oil", "gas"]),
            format!("{path}?watch=1"),
            format!("watch as reader {path}?watch=true keep 2"),
        ),
        (
            owner(&["oil"]),
            format!("{path}/oil"),
            format!("first as user {path}/oil then as reader {path}/oil"),
        ),
        (
            owner(&["oil"]),
            format!("{path}/gas"),
            format!("forward as user {path}/gas"),
        ),
        (
            owner(&[]),
            path.to_owned(),
            format!("forward as user {path}"),
        ),
    ] {
        assert_eq!(plan_of(&standing, &none, &format!("GET {target}")), plan);
    }
}

/// A member with these grants: group, plural, objects, whether lists show them.
fn granted(grants: &[(&str, &str, Objects, bool)]) -> Standing {
    let grant = |(group, plural, objects, lists): &(&str, &str, Objects, bool)| Grant {
        kinds: Kinds::One(GroupResource::new(group, plural)),
        objects: objects.clone(),
        lists: *lists,
    };
    Standing::Member(Arc::new(Visible {
        grants: Arc::new(grants.iter().map(grant).collect()),
        ..Visible::default()
    }))
}

fn labelled(text: &str) -> Objects {
    Objects::Labelled(LabelSelector::parse(text).unwrap())
}

fn called(names: &[&str]) -> Objects {
    let names = names.iter().map(|name| ObjectName::parse(name).unwrap());
    Objects::Named(names.collect())
}

/// The plan where the reader may read `nodes` and what it always reads.
fn plan_with_nodes(standing: &Standing, line: &str) -> String {
    let rule = |group: &str, plural: &str| ResourceRule {
        verbs: ["get", "list", "watch"].map(str::to_owned).into(),
        api_groups: Some(vec![group.to_owned()]),
        resources: Some(vec![plural.to_owned()]),
        resource_names: None,
    };
    let rules = [
        rule("", "nodes"),
        rule("", "namespaces"),
        rule("capsule.clastix.io", "tenants"),
    ];
    let readable = Readable::Known(Arc::new(ReadableKinds::of_rules(&rules)));
    let scope = Scope {
        generation: Generation(1),
        standing: standing.clone(),
    };
    let who = identity(Ok(Vec::new()));
    let what = request(line, &HeaderMap::new());
    let catalog = catalog().with_readable(readable);
    told(&decide(
        &who,
        &what,
        &catalog,
        &scope,
        &OwnRights::none_count(),
    ))
}

#[test]
fn rules_are_pushed_down_where_one_selector_says_them_and_filtered_else() {
    let nodes = "/api/v1/nodes";
    let pattern = Objects::Matching(NamePattern::new("^a").unwrap());
    for (objects, expected) in [
        (
            vec![Objects::All],
            format!("list as reader {nodes}?limit=5"),
        ),
        (
            vec![labelled("a=1")],
            format!("list as reader {nodes}?labelSelector=a=1&limit=5"),
        ),
        (
            vec![labelled("a=1"), labelled("a=2")],
            format!("list as reader {nodes}?labelSelector=a in (1,2)&limit=5"),
        ),
        (
            vec![labelled("a=1"), Objects::All],
            format!("list as reader {nodes}?limit=5"),
        ),
        (
            vec![labelled("a=1"), labelled("b=1")],
            format!("list as reader {nodes} keep any of 2"),
        ),
        (
            vec![called(&["n1"])],
            format!("list as reader {nodes}?fieldSelector=metadata.name=n1&limit=5"),
        ),
        (
            vec![called(&["n1", "n2"])],
            format!("list as reader {nodes} keep any of 1"),
        ),
        (
            vec![called(&["n1"]), labelled("a=1")],
            format!("list as reader {nodes} keep any of 2"),
        ),
        (
            vec![pattern],
            format!("list as reader {nodes} keep any of 1"),
        ),
        (vec![], format!("forward as user {nodes}?limit=5")),
    ] {
        let grants: Vec<_> = objects
            .iter()
            .map(|objects| ("", "nodes", objects.clone(), true))
            .collect();
        let plan = plan_with_nodes(&granted(&grants), &format!("GET {nodes}?limit=5"));
        assert_eq!(plan, expected, "{objects:?}");
    }
}

#[test]
fn a_watch_by_labels_begins_with_what_its_client_holds() {
    let alice = granted(&[
        ("", "nodes", labelled("a=1"), true),
        ("", "nodes", labelled("b=1"), true),
    ]);
    let watch = "/api/v1/nodes?labelSelector=c&watch=1";
    for (more, seed) in [
        ("", ""),
        ("&resourceVersion=0", ""),
        ("&resourceVersion=7&sendInitialEvents=true", ""),
        (
            "&resourceVersion=7",
            " after as reader /api/v1/nodes?labelSelector=c&resourceVersion=7&resourceVersionMatch=Exact",
        ),
    ] {
        let plan = plan_with_nodes(&alice, &format!("GET {watch}{more}"));
        assert!(
            plan.starts_with("watch as reader /api/v1/nodes?labelSelector=c&watch=true"),
            "{plan}"
        );
        assert!(plan.ends_with(&format!(" keep any of 2{seed}")), "{plan}");
    }
    // Of "now" nobody can tell what he holds.
    for now in ["", "&resourceVersion=0"] {
        let plan = plan_with_nodes(&alice, &format!("GET {watch}&sendInitialEvents=false{now}"));
        assert_eq!(plan, "refuse unknown_parameter");
    }
    let pushed = granted(&[("", "nodes", labelled("a=1"), true)]);
    let nodes = "/api/v1/nodes?labelSelector=a=1";
    let machine = "watch=1&allowWatchBookmarks=true&resourceVersion=7";
    assert_eq!(
        plan_with_nodes(&pushed, &format!("GET /api/v1/nodes?{machine}")),
        format!("watch as reader {nodes}&watch=true&allowWatchBookmarks=true&resourceVersion=7")
    );
    // A human is shown what changes: it must be known what he holds.
    assert_eq!(
        plan_with_nodes(&pushed, "GET /api/v1/nodes?watch=1&resourceVersion=7"),
        format!(
            "watch as reader {nodes}&watch=true&resourceVersion=7 \
             after as reader {nodes}&resourceVersion=7&resourceVersionMatch=Exact"
        )
    );
}

#[test]
fn one_object_is_tried_as_the_reader_only_where_a_rule_could_show_it() {
    let (first, forward) = (
        "first as user /api/v1/nodes/n1 then as reader /api/v1/nodes/n1",
        "forward as user /api/v1/nodes/n1",
    );
    for (objects, lists, expected) in [
        (labelled("a=1"), true, first),
        (labelled("a=1"), false, first),
        (called(&["n1"]), true, first),
        (called(&["n2"]), true, forward),
        (Objects::All, true, first),
    ] {
        let alice = granted(&[("", "nodes", objects.clone(), lists)]);
        assert_eq!(
            plan_with_nodes(&alice, "GET /api/v1/nodes/n1"),
            expected,
            "{objects:?}"
        );
    }
    // What only a GET shows is in no list: he has no list.
    let alice = granted(&[("", "nodes", labelled("a=1"), false)]);
    assert_eq!(
        plan_with_nodes(&alice, "GET /api/v1/nodes"),
        "forward as user /api/v1/nodes"
    );
}

#[test]
fn what_the_reader_may_not_read_or_a_rule_does_not_name_is_the_users_own() {
    let alice = granted(&[
        ("", "nodes", labelled("a=1"), true),
        ("", "persistentvolumes", Objects::All, true),
    ]);
    for (line, expected) in [
        (
            "GET /api/v1/persistentvolumes",
            "unreadable as user /api/v1/persistentvolumes",
        ),
        (
            "GET /api/v1/persistentvolumes?watch=1",
            "unreadable as user /api/v1/persistentvolumes?watch=1",
        ),
        (
            "GET /api/v1/persistentvolumes/v",
            "forward as user /api/v1/persistentvolumes/v",
        ),
        (
            "GET /api/v1/namespaces/x/nodes",
            "forward as user /api/v1/namespaces/x/nodes",
        ),
        (
            "GET /api/v1/namespaces/x/nodes/n1",
            "forward as user /api/v1/namespaces/x/nodes/n1",
        ),
        (
            "GET /api/v1/nodes/n1/status",
            "forward as user /api/v1/nodes/n1/status",
        ),
        (
            "GET /api/v1/nodes/n1/proxy/metrics",
            "forward as user /api/v1/nodes/n1/proxy/metrics",
        ),
        (
            "DELETE /api/v1/nodes/n1",
            "forward as user /api/v1/nodes/n1",
        ),
        ("DELETE /api/v1/nodes", "forward as user /api/v1/nodes"),
        ("PATCH /api/v1/nodes/n1", "forward as user /api/v1/nodes/n1"),
        ("POST /api/v1/nodes", "forward as user /api/v1/nodes"),
        (
            "GET /api/v1/namespaces",
            "forward as user /api/v1/namespaces",
        ),
        (
            "GET /apis/capsule.clastix.io/v1beta2/tenants",
            "forward as user /apis/capsule.clastix.io/v1beta2/tenants",
        ),
    ] {
        assert_eq!(plan_with_nodes(&alice, line), expected, "{line}");
    }
}

#[test]
fn unknown_groups_leave_a_rules_kind_to_the_users_own_rights() {
    let who = identity(Err(GroupsUnknown::Unresolvable));
    let alice = granted(&[("", "nodes", labelled("a=1"), true)]);
    let what = request("GET /api/v1/nodes", &HeaderMap::new());
    assert_eq!(
        decided(&who, &alice, &no(), &what),
        "unreadable as user /api/v1/nodes"
    );
}

#[test]
fn a_member_watches_a_namespaced_kind_in_each_of_his_namespaces_as_himself() {
    let alice = member(&["a", "a-b"]);
    let none = OwnRights::none_count();
    let pods = |namespace: &str, rest: &str| {
        format!("as user /api/v1/namespaces/{namespace}/pods?watch=true{rest}")
    };
    for (line, first, last) in [
        ("watch=1", "", ""),
        (
            "watch=1&resourceVersion=7&timeoutSeconds=9",
            "&resourceVersion=7",
            "",
        ),
        (
            "watch=1&allowWatchBookmarks=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan",
            "&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan&sendInitialEvents=true",
            "&allowWatchBookmarks=true",
        ),
    ] {
        assert_eq!(
            plan_of(&alice, &none, &format!("GET /api/v1/pods?{line}")),
            format!(
                "fan out a-b a: {} … {}",
                pods("a-b", first),
                pods("a", last)
            )
        );
    }
}
