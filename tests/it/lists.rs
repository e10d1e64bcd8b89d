//! Lists of namespaces: everybody sees what is his, at the cost of one request.

use http::Method;
use http::StatusCode;
use kube_tenant_proxy::reader;

use crate::harness::eventually;
use crate::harness::http::Answer;
use crate::harness::http::Caller;
use crate::harness::http::PROTOBUF;
use crate::harness::people::Person;
use crate::harness::people::Tenant;
use crate::harness::people::unique;
use crate::harness::world::World;

const NAMESPACES: &str = "/api/v1/namespaces";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
const METADATA: &str = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";

in_both_worlds!(
    an_owner_lists_his_namespaces_with_kubectl,
    kubectl_pages_through_them_one_by_one,
    a_warm_list_is_one_request_as_the_reader_in_his_name,
    a_stranger_gets_the_api_servers_own_refusal,
    an_administrator_sees_all,
    no_byte_of_anothers_namespace_in_any_encoding,
    a_group_owns_as_a_user_does,
    a_selector_narrows_further_and_never_widens,
    who_may_list_all_by_himself_sees_all_until_he_may_no_longer,
    http_2_is_answered_as_http_1_is,
    kubectl_watches_what_it_lists,
);

/// Waits until `caller` lists exactly `names`.
pub(crate) async fn until_he_sees(caller: &Caller, names: &[String]) -> Answer {
    eventually(|| async {
        let answer = caller.get(NAMESPACES).await;
        if answer.status == StatusCode::OK && answer.names() == names {
            return Ok(answer);
        }
        Err(format!(
            "{names:?} are not what is listed: {}",
            answer.text()
        ))
    })
    .await
}

/// A tenant whose owner is known to the shared proxy, and sees it all.
pub(crate) async fn settled(world: &'static World, suffixes: &[&str]) -> Tenant {
    let tenant = world.tenant(suffixes).await;
    until_he_sees(
        &world.proxy().await.caller(&tenant.owner),
        &tenant.namespaces,
    )
    .await;
    tenant
}

/// A position from which `caller`, who owns `tenant` and nothing else, may watch.
///
/// What a proxy was told before anything moved in the cluster since it first looked may be what an earlier process told
/// under another scope; in a cluster with leases that is over in a second or two.
pub(crate) async fn position_to_watch_from(
    world: &'static World,
    caller: &Caller,
    tenant: &Tenant,
) -> String {
    until_he_sees(caller, &tenant.namespaces).await;
    let labels = serde_json::json!({"metadata": {"labels": {"moved": unique().to_string()}}});
    world
        .merge(&format!("{NAMESPACES}/{}", tenant.namespaces[0]), &labels)
        .await;
    caller.get(NAMESPACES).await.position()
}

async fn an_owner_lists_his_namespaces_with_kubectl(world: &'static World) {
    let tenant = settled(world, &["dev", "prod", "test"]).await;
    let kubectl = world.proxy().await.kubectl(&tenant.owner);

    let table = kubectl.run(&["get", "namespaces"]).await;
    let lines = table.lines();
    assert!(
        lines[0].starts_with("NAME ") && lines[0].contains("STATUS"),
        "{lines:?}"
    );
    let first = |line: &&str| line.split_whitespace().next().unwrap().to_owned();
    assert_eq!(
        lines[1..].iter().map(first).collect::<Vec<_>>(),
        tenant.namespaces
    );

    let names: Vec<_> = tenant
        .namespaces
        .iter()
        .map(|name| format!("namespace/{name}"))
        .collect();
    assert_eq!(
        kubectl.run(&["get", "ns", "-o", "name"]).await.lines(),
        names
    );

    let json = kubectl
        .run(&["get", "ns", "-o", "json"])
        .await
        .lines()
        .join("\n");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["items"].as_array().unwrap().len(), 3);

    let yaml = kubectl
        .run(&["get", "ns", "-o", "yaml"])
        .await
        .lines()
        .join("\n");
    for name in &tenant.namespaces {
        assert!(yaml.contains(&format!("    name: {name}\n")), "{yaml}");
    }
}

async fn kubectl_pages_through_them_one_by_one(world: &'static World) {
    let tenant = settled(world, &["dev", "prod", "test"]).await;
    let kubectl = world.proxy().await.kubectl(&tenant.owner);
    let names: Vec<_> = tenant
        .namespaces
        .iter()
        .map(|name| format!("namespace/{name}"))
        .collect();
    assert_eq!(
        kubectl
            .run(&["get", "ns", "-o", "name", "--chunk-size=1"])
            .await
            .lines(),
        names
    );
}

async fn a_warm_list_is_one_request_as_the_reader_in_his_name(world: &'static World) {
    let tenant = settled(world, &["dev"]).await;
    let caller = world.proxy().await.caller(&tenant.owner);
    let mark = world.mark();
    assert_eq!(caller.get(NAMESPACES).await.names(), tenant.namespaces);
    let seen = world.audit(mark, &tenant.owner.name).await;
    let [list] = seen.as_slice() else {
        panic!("{seen:#?}")
    };
    assert_eq!(
        (list.verb.as_str(), list.resource.as_str(), list.code),
        ("list", "namespaces", 200)
    );
    let acting = list.acting.as_ref().unwrap();
    assert_eq!(acting.username, reader::USER);
    assert!(
        acting.groups.iter().any(|group| group == reader::GROUP),
        "{acting:?}"
    );
    assert_eq!(
        acting.extra[reader::EXTRA_KEY],
        [tenant.owner.name.as_str()]
    );
    assert_eq!(
        list.user,
        "system:serviceaccount:capsule-system:capsule-proxy"
    );
}

async fn a_stranger_gets_the_api_servers_own_refusal(world: &'static World) {
    let stranger = world.member_of(&[]).await;
    for accept in ["application/json", TABLE, PROTOBUF] {
        let through = world
            .proxy()
            .await
            .caller(&stranger)
            .accepting(accept)
            .get(NAMESPACES)
            .await;
        let direct = world
            .direct(&stranger)
            .accepting(accept)
            .get(NAMESPACES)
            .await;
        assert_eq!(through.status, StatusCode::FORBIDDEN);
        assert_eq!(
            (through.status, through.text()),
            (direct.status, direct.text())
        );
    }
}

async fn an_administrator_sees_all(world: &'static World) {
    let tenant = settled(world, &["dev"]).await;
    let admin = world.member_of(&[&world.groups.admins]).await;
    let all = world
        .proxy()
        .await
        .caller(&admin)
        .get(NAMESPACES)
        .await
        .names();
    for name in ["default", "kube-system", &tenant.namespaces[0]] {
        assert!(
            all.iter().any(|one| one == name),
            "{name} is not in {all:?}"
        );
    }
}

async fn no_byte_of_anothers_namespace_in_any_encoding(world: &'static World) {
    let dev = settled(world, &["dev", "secret-plan"]).await;
    let staging = settled(world, &["staging"]).await;
    let caller = world.proxy().await.caller(&staging.owner);
    for (accept, query) in [
        ("application/json", ""),
        ("*/*", ""),
        (TABLE, ""),
        (TABLE, "?includeObject=None"),
        (TABLE, "?includeObject=Metadata"),
        (TABLE, "?includeObject=Object"),
        (METADATA, ""),
        (PROTOBUF, ""),
        (
            "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
            "",
        ),
        ("application/json", "?limit=1"),
        ("application/json", "?resourceVersion=0"),
        ("application/json", "?labelSelector="),
        ("application/json", "?fieldSelector=status.phase=Active"),
        ("application/json", "?pretty=true"),
    ] {
        let asking = caller
            .clone()
            .accepting(accept)
            .saying("accept-encoding", "gzip");
        let answer = asking.get(&format!("{NAMESPACES}{query}")).await;
        let text = answer.text();
        // The embedded world has no protobuf to answer with: what it says instead must not tell more either.
        if answer.status != StatusCode::OK || query == "?includeObject=None" {
            assert!(
                answer.status.is_success() || accept.contains("protobuf"),
                "{accept}{query}: {text}"
            );
        }
        if answer.status.is_success() {
            assert!(
                text.contains(&staging.namespaces[0]),
                "{accept}{query} lacks his own: {text}"
            );
        }
        for hidden in [dev.name.as_str(), "secret-plan", "kube-system"] {
            assert!(
                !text.contains(hidden),
                "{accept}{query} shows {hidden}: {text}"
            );
        }
    }
}

async fn a_group_owns_as_a_user_does(world: &'static World) {
    let tenant = settled(world, &["dev"]).await;
    let team = format!("team-{}", tenant.name);
    let path = format!("/apis/capsule.clastix.io/v1beta2/tenants/{}", tenant.name);
    let owners = serde_json::json!({"spec": {"owners": [{"kind": "Group", "name": team}]}});
    world.merge(&path, &owners).await;
    let member = world.member_of(&[&world.groups.users, &team]).await;
    until_he_sees(&world.proxy().await.caller(&member), &tenant.namespaces).await;
}

async fn a_selector_narrows_further_and_never_widens(world: &'static World) {
    let other = settled(world, &["dev"]).await;
    let tenant = settled(world, &["dev", "prod"]).await;
    let caller = world.proxy().await.caller(&tenant.owner);
    let label = "kubernetes.io/metadata.name";
    let (own, foreign) = (&tenant.namespaces[1], &other.namespaces[0]);
    for (query, expected) in [
        (format!("labelSelector={label}={own}"), vec![own.clone()]),
        (
            format!("labelSelector={label}%20in%20({own},{foreign})"),
            vec![own.clone()],
        ),
        (format!("labelSelector={label}={foreign}"), vec![]),
        (
            format!("labelSelector=!nobody&labelSelector={label}={foreign}"),
            tenant.namespaces.clone(),
        ),
        (
            format!("fieldSelector=metadata.name={own}"),
            vec![own.clone()],
        ),
        (format!("fieldSelector=metadata.name={foreign}"), vec![]),
    ] {
        let answer = caller.get(&format!("{NAMESPACES}?{query}")).await;
        assert_eq!(
            (answer.status, answer.names()),
            (StatusCode::OK, expected),
            "{query}"
        );
    }
    for query in [
        "labelSelector=a%20in%20(",
        "labelSelector=)",
        "labelSelector=%zz",
    ] {
        let answer = caller.get(&format!("{NAMESPACES}?{query}")).await;
        assert_eq!(
            answer.status,
            StatusCode::BAD_REQUEST,
            "{query}: {}",
            answer.text()
        );
    }
}

async fn who_may_list_all_by_himself_sees_all_until_he_may_no_longer(world: &'static World) {
    let tenant = settled(world, &["dev"]).await;
    let caller = world.proxy().await.caller(&tenant.owner);
    let person = Person::clone(&tenant.owner);
    let right = world.bind(&person, "view").await;
    // A kept no is asked again after a minute; whoever had none before is asked at once.
    let newcomer = world.tenant(&["dev"]).await;
    let his_right = world.bind(&newcomer.owner, "view").await;
    let his = world.proxy().await.caller(&newcomer.owner);
    eventually(|| async {
        let direct = world.direct(&newcomer.owner).get(NAMESPACES).await;
        direct
            .status
            .is_success()
            .then_some(())
            .ok_or_else(|| direct.text())
    })
    .await;
    let all = his.get(NAMESPACES).await.names();
    assert!(all.contains(&"kube-system".to_owned()), "{all:?}");
    world.delete(&his_right).await;
    until_he_sees(&his, &newcomer.namespaces).await;
    world.delete(&right).await;
    until_he_sees(&caller, &tenant.namespaces).await;
}

async fn http_2_is_answered_as_http_1_is(world: &'static World) {
    let tenant = settled(world, &["dev", "prod"]).await;
    let caller = world.proxy().await.caller(&tenant.owner).over_h2();
    assert_eq!(caller.get(NAMESPACES).await.names(), tenant.namespaces);
    let refused = caller.call(Method::DELETE, NAMESPACES, None).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text());
}

async fn kubectl_watches_what_it_lists(world: &'static World) {
    let tenant = settled(world, &["dev", "prod"]).await;
    let proxy = world.proxy().await;
    position_to_watch_from(world, &proxy.caller(&tenant.owner), &tenant).await;
    let kubectl = proxy.kubectl(&tenant.owner);
    let mut watching = kubectl.command(&["get", "ns", "-w", "-o", "name", "--request-timeout=2s"]);
    let seen = tokio::task::spawn_blocking(move || watching.output())
        .await
        .unwrap()
        .unwrap();
    let out = String::from_utf8(seen.stdout).unwrap();
    let names: Vec<_> = tenant
        .namespaces
        .iter()
        .map(|name| format!("namespace/{name}"))
        .collect();
    let errors = String::from_utf8_lossy(&seen.stderr).into_owned();
    assert_eq!(
        out.lines().take(2).collect::<Vec<_>>(),
        names,
        "{out}{errors}"
    );
    assert!(
        out.lines()
            .all(|line| names.iter().any(|name| name == line)),
        "{out}"
    );
}
