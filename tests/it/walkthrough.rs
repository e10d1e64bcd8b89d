//! The day of a tenant owner on a managed Azure cluster, command by command, at the API server and through the proxy: the
//! one list that differs, and every refusal word for word.

use http::Method;
use serde_json::Value;
use serde_json::json;

use crate::harness::audit::Entry;
use crate::harness::eventually;
use crate::harness::kubectl::Kubectl;
use crate::harness::kubectl::Ran;
use crate::harness::people::Person;
use crate::harness::people::unique;
use crate::harness::proxy::Mode;
use crate::harness::proxy::Proxy;
use crate::harness::world::World;
use crate::lists::until_he_sees;

/// What the authorization webhook says of whoever has neither a role assignment nor a binding.
const NO_ACCESS: &str =
    "User does not have access to the resource in Azure. Update role assignment to allow access.";

in_the_azure_world!(
    the_owners_day_by_token_review,
    the_owners_day_by_the_preset,
    the_owners_day_in_impersonate_mode,
    another_owner_sees_nothing_of_it,
    the_administrator_sees_all_of_it,
    who_is_no_capsule_user_is_refused_as_without_the_proxy,
);

/// Who plays: the owner of `dev` by a group, the owner of `staging` by another, and the platform's administrator.
struct Cast {
    dev: Person,
    staging: Person,
    admin: Person,
    /// The names that the Tenants have in this run.
    dev_tenant: String,
    staging_tenant: String,
}

impl Cast {
    async fn gather(world: &'static World) -> Self {
        let (dev_group, staging_group) = (group(), group());
        let users = &world.groups.users;
        Self {
            dev: world.member_of(&[&dev_group, users]).await,
            staging: world.member_of(&[&staging_group, users]).await,
            admin: world.member_of(&[&world.groups.admins]).await,
            dev_tenant: tenant(world, &dev_group).await,
            staging_tenant: tenant(world, &staging_group).await,
        }
    }
}

/// The object id of a group that nobody else is in.
fn group() -> String {
    format!("00000000-0000-4000-8000-{:012}", unique())
}

/// A Tenant as the administrator writes it, owned by a group; its name. The status waits, so that what shows does so by
/// the creation alone.
async fn tenant(world: &'static World, group: &str) -> String {
    let name = format!("t{}", unique());
    let delay = json!({"testbed.kube-tenant-proxy/status-delay": "60s"});
    let body = json!({
        "apiVersion": "capsule.clastix.io/v1beta1", "kind": "Tenant",
        "metadata": {"name": name, "annotations": delay},
        "spec": {"owners": [{"name": group, "kind": "Group"}]},
    });
    let tenants = "/apis/capsule.clastix.io/v1beta1/tenants";
    world
        .admin(Method::POST, tenants, Some(&body))
        .await
        .unwrap();
    name
}

async fn the_owners_day_by_token_review(world: &'static World) {
    the_owners_day(world, Mode::Review).await;
}

async fn the_owners_day_by_the_preset(world: &'static World) {
    the_owners_day(world, Mode::Token).await;
}

async fn the_owners_day_in_impersonate_mode(world: &'static World) {
    the_owners_day(world, Mode::Impersonate).await;
}

async fn the_owners_day(world: &'static World, mode: Mode) {
    let cast = Cast::gather(world).await;
    let proxy = world.proxy_in(mode).await;
    until_he_sees(&proxy.caller(&cast.dev), &[]).await;
    let (direct, through) = (world.kubectl(&cast.dev), proxy.kubectl(&cast.dev));

    let pods = refused_alike(&direct, &through, &["get", "po"]).await;
    assert!(pods.contains("in the namespace \"default\""), "{pods}");
    assert!(pods.contains(NO_ACCESS), "{pods}");
    let foreign = refused_alike(&direct, &through, &["create", "ns", "demo"]).await;
    assert!(
        foreign.contains("denied the request") && foreign.contains(&cast.dev_tenant),
        "{foreign}"
    );
    let system = refused_alike(&direct, &through, &["get", "ns", "kube-system"]).await;
    assert!(system.contains(NO_ACCESS), "{system}");
    let (there, here) = (whoami(&direct).await, whoami(&through).await);
    assert_eq!(there, here);
    assert_eq!(here["username"], cast.dev.name);

    // The namespace is in his next list, before the Tenant's status names it.
    let demo = format!("{}-demo", cast.dev_tenant);
    let made = through.run(&["create", "ns", &demo]).await;
    assert_eq!(made.lines(), [format!("namespace/{demo} created")]);
    eventually(|| async {
        let table = through.run(&["get", "ns"]).await;
        let is_it = shows_only(&table, &demo);
        is_it.then_some(()).ok_or_else(|| format!("{table:?}"))
    })
    .await;
    for command in [&["get", "ns"][..], &["get", "ns", "-w"]] {
        let refused = direct.run(command).await;
        assert!(
            !refused.good
                && refused.errors.contains("at the cluster scope")
                && refused.errors.contains(NO_ACCESS),
            "{command:?}: {refused:?}"
        );
    }
    let one = through.run(&["get", "ns", &demo]).await;
    assert!(shows_only(&one, &demo), "{one:?}");

    // What it costs: kubectl's discovery is warm, and nobody asks who he is or what he may.
    let mark = world.mark();
    let names = through.run(&["get", "ns", "-o", "name"]).await;
    assert_eq!(names.lines(), [format!("namespace/{demo}")]);
    let seen = world.audit(mark, &cast.dev.name).await;
    let lists = |entry: &&Entry| entry.verb == "list" && entry.resource == "namespaces";
    let [list] = seen.iter().filter(lists).collect::<Vec<_>>()[..] else {
        panic!("{seen:#?}")
    };
    assert_eq!(list.read_for(), Some(cast.dev.name.as_str()), "{list:?}");
    let reviews = seen.iter().filter(|entry| entry.verb == "create");
    assert_eq!(reviews.count(), 0, "{seen:#?}");

    let mut watch = through.start(&["get", "ns", "-w", "--no-headers"]);
    let first = watch.line().await;
    assert!(first.starts_with(&demo), "{first}");
}

/// Whether a table has one row, of the active namespace `name`.
fn shows_only(table: &Ran, name: &str) -> bool {
    let words: Vec<Vec<_>> = table
        .out
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    matches!(words.as_slice(), [head, row] if head[..2] == ["NAME", "STATUS"] && row[..2] == [name, "Active"])
}

/// Runs the same at both addresses, which must refuse it in the same words.
async fn refused_alike(direct: &Kubectl, through: &Kubectl, command: &[&str]) -> String {
    let (there, here) = (direct.run(command).await, through.run(command).await);
    assert!(!there.good, "{command:?}: {there:?}");
    assert_eq!(
        (here.code, here.out, &here.errors),
        (there.code, there.out, &there.errors),
        "{command:?}"
    );
    here.errors
}

/// Name and groups, and what else the API server knows of him.
async fn whoami(kubectl: &Kubectl) -> Value {
    let ran = kubectl.run(&["auth", "whoami", "-o", "json"]).await;
    let review: Value = serde_json::from_str(&ran.lines().join("\n")).unwrap();
    review["status"]["userInfo"].clone()
}

/// A namespace of the Tenant `dev`, which its owner sees.
async fn demo(proxy: &Proxy, cast: &Cast) -> String {
    let caller = proxy.caller(&cast.dev);
    let name = format!("{}-demo", cast.dev_tenant);
    let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let made = caller.post("/api/v1/namespaces", &body).await;
    assert!(made.status.is_success(), "{}", made.text());
    until_he_sees(&caller, std::slice::from_ref(&name)).await;
    name
}

async fn another_owner_sees_nothing_of_it(world: &'static World) {
    let cast = Cast::gather(world).await;
    let proxy = world.proxy().await;
    let demo = demo(proxy, &cast).await;
    let through = proxy.kubectl(&cast.staging);
    let nothing = through.run(&["get", "ns"]).await;
    assert_eq!(
        (nothing.code, nothing.out.as_str(), nothing.errors.as_str()),
        (Some(0), "", "No resources found\n")
    );
    let foreign = refused_alike(
        &world.kubectl(&cast.staging),
        &through,
        &["get", "ns", &demo],
    )
    .await;
    assert!(foreign.contains(NO_ACCESS), "{foreign}");

    let own = format!("{}-app", cast.staging_tenant);
    through.run(&["create", "ns", &own]).await.lines();
    until_he_sees(&proxy.caller(&cast.staging), std::slice::from_ref(&own)).await;
    let all = through.run(&["get", "ns", "-o", "yaml"]).await;
    assert!(
        all.out.contains(&own) && !all.out.contains(&cast.dev_tenant),
        "{all:?}"
    );
}

async fn the_administrator_sees_all_of_it(world: &'static World) {
    let cast = Cast::gather(world).await;
    let proxy = world.proxy().await;
    let demo = demo(proxy, &cast).await;
    let mark = world.mark();
    let command = ["get", "ns", "-o", "name"];
    let through = proxy.kubectl(&cast.admin).run(&command).await;
    for name in ["default", "kube-system", &demo] {
        let line = format!("namespace/{name}");
        assert!(through.lines().contains(&line.as_str()), "{through:?}");
    }
    // Himself, as if the proxy were not there.
    let seen = world.audit(mark, &cast.admin.name).await;
    assert!(!seen.is_empty());
    for entry in seen {
        assert_eq!((&entry.user, &entry.acting), (&cast.admin.name, &None));
    }
}

async fn who_is_no_capsule_user_is_refused_as_without_the_proxy(world: &'static World) {
    let stranger = world.member_of(&[]).await;
    let direct = world.kubectl(&stranger);
    for mode in [Mode::Review, Mode::Token, Mode::Impersonate] {
        let through = world.proxy_in(mode).await.kubectl(&stranger);
        for command in [
            &["get", "ns"][..],
            &["get", "ns", "-w"],
            &["get", "ns", "default"],
            &["create", "ns", "demo"],
            &["get", "pods", "-A"],
            &["delete", "ns", "default"],
        ] {
            let refusal = refused_alike(&direct, &through, command).await;
            assert!(refusal.contains(NO_ACCESS), "{command:?}: {refusal}");
        }
    }
}
