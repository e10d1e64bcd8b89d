//! Watches that a human reads (`kubectl get -w`, Lens): when what he may see changes he is shown the change itself, and the
//! watch goes on.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::json;

use crate::everywhere::EVERYWHERE;
use crate::everywhere::NAMESPACES;
use crate::everywhere::furnish;
use crate::everywhere::furnished;
use crate::everywhere::until_he_lists;
use crate::everywhere_watches::binding;
use crate::everywhere_watches::put;
use crate::harness::http::Caller;
use crate::harness::http::Events;
use crate::harness::http::Stream;
use crate::harness::http::is_expired;
use crate::harness::kubectl::Running;
use crate::harness::people::Tenant;
use crate::harness::people::unique;
use crate::harness::proxy::Mode;
use crate::harness::world::World;
use crate::lists::position_to_watch_from;
use crate::lists::settled;
use crate::lists::until_he_sees;
use crate::rules::CLASSES;
use crate::rules::TENANTS;
use crate::rules::labelled;
use crate::rules::offering;
use crate::rules::until_listed;

in_both_worlds!(
    kubectl_shows_what_is_granted_and_taken_and_goes_on,
    kubectl_shows_it_of_objects_in_all_namespaces,
    what_he_replays_is_what_he_may_see_and_every_version_is_true,
    from_a_row_that_was_taken_back_there_is_no_way_on,
    a_right_lost_within_a_namespace_takes_its_objects_back,
    not_a_byte_of_what_was_taken_comes_after_its_name,
    who_loses_everything_holds_nothing,
    it_ends_when_he_said_it_should,
    what_moves_out_of_a_rule_that_changed_is_taken_back,
);

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// Another tenant, not his yet.
async fn another(world: &'static World) -> Tenant {
    world.tenant(&["gained"]).await
}

async fn mark(world: &World, namespace: &str, mark: &str) {
    let label = json!({"metadata": {"labels": {"it": mark}}});
    world
        .merge(&format!("{NAMESPACES}/{namespace}"), &label)
        .await;
}

/// The next line about `name`, without what makes it wide: event and name.
async fn line_about(running: &mut Running, name: &str) -> String {
    loop {
        let line = running.line().await;
        if line.contains(name) {
            let words: Vec<&str> = line.split_whitespace().take(2).collect();
            return words.join(" ");
        }
    }
}

async fn kubectl_shows_what_is_granted_and_taken_and_goes_on(world: &'static World) {
    let tenant = settled(world, &["kept"]).await;
    let (kept, other) = (&tenant.namespaces[0], another(world).await);
    let gained = &other.namespaces[0];
    let kubectl = world.proxy().await.kubectl(&tenant.owner);
    let mut running = kubectl.start(&["get", "namespaces", "-w", "--output-watch-events"]);
    let header = running.line().await;
    assert!(header.starts_with("EVENT"), "{header}");
    assert_eq!(
        line_about(&mut running, kept).await,
        format!("ADDED {kept}")
    );
    // Its watch is open once this has come: a change between list and watch is another matter.
    mark(world, kept, "is-open").await;
    assert_eq!(
        line_about(&mut running, kept).await,
        format!("MODIFIED {kept}")
    );
    for _ in 0..2 {
        world
            .set_owners(&other, &[&other.owner, &tenant.owner])
            .await;
        assert_eq!(
            line_about(&mut running, gained).await,
            format!("ADDED {gained}")
        );
        world.set_owners(&other, &[&other.owner]).await;
        let gone = line_about(&mut running, gained).await;
        // What is his own stays as it is: nothing of it is said again.
        assert_eq!(gone, format!("DELETED {gained}"));
    }
    mark(world, kept, "goes-on").await;
    assert_eq!(
        line_about(&mut running, kept).await,
        format!("MODIFIED {kept}")
    );
}

async fn kubectl_shows_it_of_objects_in_all_namespaces(world: &'static World) {
    let (tenant, _, all) = furnished(world, &["kept"], Mode::Token).await;
    let other = another(world).await;
    let gained = &other.namespaces[0];
    furnish(world, &other.namespaces).await;
    let kubectl = world.proxy().await.kubectl(&tenant.owner);
    let arguments = [
        "get",
        "configmaps",
        "-A",
        "-l",
        "it=everywhere",
        "-w",
        "--output-watch-events",
    ];
    let mut running = kubectl.start(&arguments);
    let header = running.line().await;
    assert!(header.starts_with("EVENT"), "{header}");
    for _ in &all {
        running.line().await;
    }
    put(world, &tenant.namespaces[0], "is-open").await;
    assert!(running.line().await.contains("is-open"));
    world
        .set_owners(&other, &[&other.owner, &tenant.owner])
        .await;
    let mut shown = BTreeMap::new();
    for (event, owners) in [("ADDED", &[&other.owner][..]), ("DELETED", &[])] {
        for _ in 0..2 {
            let line = running.line().await;
            let words: Vec<&str> = line.split_whitespace().take(3).collect();
            assert_eq!(words[..2], [event, gained], "{line}");
            shown.insert(words[2].to_owned(), event);
        }
        assert_eq!(
            shown,
            BTreeMap::from([("one".to_owned(), event), ("two".to_owned(), event)])
        );
        world.set_owners(&other, owners).await;
    }
}

/// A client without bookmarks that lists, watches from there, and keeps a store by uid, as Lens does.
struct Lens {
    caller: Caller,
    path: String,
    store: BTreeMap<String, (String, String)>,
    watch: Stream,
    versions: Vec<u128>,
}

fn meta_of(object: &Value) -> (String, String, String) {
    let text = |name: &str| {
        object["metadata"][name]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let name = match text("namespace") {
        namespace if namespace.is_empty() => text("name"),
        namespace => format!("{namespace}/{}", text("name")),
    };
    (text("uid"), name, text("resourceVersion"))
}

impl Lens {
    async fn open(caller: &Caller, path: &str, at: Option<String>) -> Self {
        let list = caller.get(path).await;
        let at = at.unwrap_or_else(|| list.position());
        let separator = if path.contains('?') { '&' } else { '?' };
        let watch = format!("{path}{separator}watch=1&resourceVersion={at}");
        let list = list.json();
        let items = list["items"].as_array().unwrap().iter().map(meta_of);
        Self {
            store: items
                .map(|(uid, name, version)| (uid, (name, version)))
                .collect(),
            watch: caller.watch(&watch).await,
            caller: caller.clone(),
            path: path.to_owned(),
            versions: Vec::new(),
        }
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.store.values().map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    }

    /// Takes the next event.
    async fn step(&mut self) {
        let event = self.watch.next().await.expect("the watch ended");
        let (uid, name, version) = meta_of(&event["object"]);
        assert!(!uid.is_empty() && !version.is_empty(), "{event}");
        self.versions.push(version.parse().unwrap());
        match event["type"].as_str().unwrap() {
            "ADDED" => assert!(self.store.insert(uid, (name, version)).is_none(), "{event}"),
            "MODIFIED" => assert!(self.store.insert(uid, (name, version)).is_some(), "{event}"),
            "DELETED" => assert!(self.store.remove(&uid).is_some(), "{event}"),
            other => panic!("{other}: {event}"),
        }
    }

    async fn until(&mut self, names: &[String]) {
        while self.names() != names {
            self.step().await;
        }
    }

    /// Whether the store is what a fresh list shows, versions included.
    async fn is_true(&self) {
        let list = self.caller.get(&self.path).await.json();
        let fresh: BTreeMap<_, _> = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(meta_of)
            .map(|(uid, name, version)| (uid, (name, version)))
            .collect();
        assert_eq!(self.store, fresh);
    }
}

fn sorted<'a>(namespaces: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    let mut names: Vec<String> = namespaces.into_iter().cloned().collect();
    names.sort();
    names
}

async fn what_he_replays_is_what_he_may_see_and_every_version_is_true(world: &'static World) {
    let tenant = settled(world, &["kept"]).await;
    let (kept, other) = (&tenant.namespaces[0], another(world).await);
    let gained = &other.namespaces[0];
    let caller = world.proxy().await.caller(&tenant.owner);
    let at = position_to_watch_from(world, &caller, &tenant).await;
    let mut lens = Lens::open(&caller, NAMESPACES, Some(at)).await;
    let both = sorted([kept, gained]);
    for round in 0..3 {
        world
            .set_owners(&other, &[&other.owner, &tenant.owner])
            .await;
        lens.until(&both).await;
        // What changes between is caught up with.
        mark(world, gained, &format!("round-{round}")).await;
        lens.step().await;
        world.set_owners(&other, &[&other.owner]).await;
        lens.until(&tenant.namespaces).await;
    }
    mark(world, kept, "last").await;
    lens.step().await;
    lens.is_true().await;
    // No version is ahead of what the API server has reached.
    let now: u128 = caller.get(NAMESPACES).await.position().parse().unwrap();
    assert!(
        lens.versions.iter().all(|version| *version <= now),
        "{now}: {:?}",
        lens.versions
    );
}

async fn from_a_row_that_was_taken_back_there_is_no_way_on(world: &'static World) {
    let tenant = settled(world, &["kept"]).await;
    let other = world.tenant_of(tenant.owner.clone(), &["lost"]).await;
    let caller = world.proxy().await.caller(&tenant.owner);
    until_he_sees(
        &caller,
        &sorted(tenant.namespaces.iter().chain(&other.namespaces)),
    )
    .await;
    mark(world, &tenant.namespaces[0], "moved-on").await;
    let mut lens = Lens::open(&caller, NAMESPACES, None).await;
    world.set_owners(&other, &[]).await;
    lens.until(&tenant.namespaces).await;
    let at = lens.versions.last().unwrap();
    let mut again = caller
        .watch(&format!("{NAMESPACES}?watch=1&resourceVersion={at}"))
        .await;
    let events = again.rest().await;
    assert!(events.len() == 1 && is_expired(&events[0]), "{events:?}");
}

async fn a_right_lost_within_a_namespace_takes_its_objects_back(world: &'static World) {
    let tenant = world.tenant(&["a", "b"]).await;
    let keys = furnish(world, &tenant.namespaces).await;
    let guest = world.person().await;
    let mut rights = Vec::new();
    for namespace in &tenant.namespaces {
        // By these he sees the namespaces all the time.
        binding(world, namespace, "secrets", &guest).await;
        rights.push(binding(world, namespace, "configmaps", &guest).await);
    }
    let caller = world.proxy().await.caller(&guest);
    until_he_lists(&caller, &keys).await;
    mark(world, &tenant.namespaces[0], "moved-on").await;
    let path = format!("{EVERYWHERE}?labelSelector=it%3Deverywhere");
    let mut lens = Lens::open(&caller, &path, None).await;
    world.delete(&rights[0]).await;
    lens.until(&keys[2..]).await;
    binding(world, &tenant.namespaces[0], "configmaps", &guest).await;
    lens.until(&keys).await;
    lens.is_true().await;
}

async fn not_a_byte_of_what_was_taken_comes_after_its_name(world: &'static World) {
    for accept in ["application/json", TABLE] {
        let tenant = settled(world, &["kept"]).await;
        let other = world.tenant_of(tenant.owner.clone(), &["lost"]).await;
        let lost = &other.namespaces[0];
        let caller = world.proxy().await.caller(&tenant.owner).accepting(accept);
        let plain = world.proxy().await.caller(&tenant.owner);
        until_he_sees(&plain, &sorted(tenant.namespaces.iter().chain([lost]))).await;
        mark(world, &tenant.namespaces[0], "moved-on").await;
        let at = plain.get(NAMESPACES).await.position();
        let mut watch = caller
            .watch(&format!("{NAMESPACES}?watch=1&resourceVersion={at}"))
            .await;
        world.set_owners(&other, &[]).await;
        until_he_sees(&plain, &tenant.namespaces).await;
        mark(world, lost, "not-his-business").await;
        mark(world, &tenant.namespaces[0], "the-end").await;
        let events = watch
            .until(|event| event.to_string().contains("the-end"))
            .await;
        let of_lost: Vec<&Value> = events
            .iter()
            .filter(|event| event.to_string().contains(lost))
            .collect();
        let [gone] = of_lost.as_slice() else {
            panic!("{accept}: {events:?}")
        };
        assert_eq!(gone["type"], "DELETED");
        assert!(!watch.text().contains("not-his-business"), "{accept}");
    }
}

async fn who_loses_everything_holds_nothing(world: &'static World) {
    let tenant = settled(world, &["a", "b"]).await;
    let caller = world.proxy().await.caller(&tenant.owner);
    let at = position_to_watch_from(world, &caller, &tenant).await;
    let mut lens = Lens::open(&caller, NAMESPACES, Some(at)).await;
    world.set_owners(&tenant, &[]).await;
    // He is a Capsule user in no Tenant: an empty list is his.
    lens.until(&[]).await;
}

async fn it_ends_when_he_said_it_should(world: &'static World) {
    let tenant = settled(world, &["kept"]).await;
    let caller = world.proxy().await.caller(&tenant.owner);
    let at = position_to_watch_from(world, &caller, &tenant).await;
    let path = format!("{NAMESPACES}?watch=1&timeoutSeconds=3&resourceVersion={at}");
    let mut watch = caller.watch(&path).await;
    let other = world.tenant_of(tenant.owner.clone(), &["gained"]).await;
    let events = watch.rest().await;
    let gained = |event: &Value| event["object"]["metadata"]["name"] == *other.namespaces[0];
    assert!(events.iter().any(gained), "{events:?}");
    assert!(!events.iter().any(is_expired), "{events:?}");
}

async fn what_moves_out_of_a_rule_that_changed_is_taken_back(world: &'static World) {
    let label = format!("m{}", unique());
    let by_label = labelled(world, "StorageClass", json!({"it": label})).await;
    let by_name = labelled(world, "StorageClass", json!({"it": "none"})).await;
    let classes = json!({"allowed": [by_name], "matchLabels": {"it": label}});
    let spec = json!({"storageClasses": classes});
    let owner = world.person().await;
    let tenant = offering(world, owner.clone(), &["StorageClasses"], spec).await;
    let caller = world.proxy().await.caller(&owner);
    until_listed(&caller, CLASSES, &[&by_label, &by_name]).await;
    mark(world, &tenant.namespaces[0], "moved-on").await;
    let mut lens = Lens::open(&caller, CLASSES, None).await;
    let patch = json!({"spec": {"storageClasses": {"allowed": null}}});
    let path = format!("{TENANTS}/{}", tenant.name);
    world.merge(&path, &patch).await;
    lens.until(std::slice::from_ref(&by_label)).await;
    let patch = json!({"spec": {"storageClasses": {"allowed": [by_name]}}});
    world.merge(&path, &patch).await;
    lens.until(&sorted([&by_label, &by_name])).await;
    lens.is_true().await;
}
