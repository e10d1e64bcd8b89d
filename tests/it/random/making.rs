//! A world made up by dice, and how it changes. What there is in it is read back from the API server; here is only what
//! must be known to make more of it.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use http::Method;
use serde_json::Value;
use serde_json::json;

use super::cluster::KINDS;
use super::cluster::Kind;
use super::cluster::Person;
use super::dice::Dice;
use super::invent::Inventor;
use crate::harness::eventually;
use crate::harness::people::unique;
use crate::harness::within;
use crate::harness::world::World;

const NAMESPACES: &str = "/api/v1/namespaces";
const TENANTS: &str = "/apis/capsule.clastix.io/v1beta2/tenants";
const GLOBALS: &str = "/apis/capsule.clastix.io/v1beta1/globalproxysettings";
const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
const RBAC: &str = "rbac.authorization.k8s.io";

/// Requests under way at a time.
pub const AT_ONCE: usize = 8;
/// How long tokens are good, in seconds: longer than any run.
const DAY: u32 = 86_400;
/// How long a namespace may take to be gone: its controller waits 5, 10, 20 seconds and more after a failure, such as an
/// API server that is away.
const EMPTYING: Duration = Duration::from_secs(150);
const SUFFIXES: [&str; 4] = ["a", "a-b", "b", "c"];

/// How much there is of everything.
pub struct Size {
    pub users: usize,
    /// The last of the users: they come when the world has changed. Whoever may not list all himself is asked again about
    /// it only after a minute, so what is granted then is granted to them.
    pub latecomers: usize,
    /// Some users are called like groups and some groups like users: so many, and how far from each other.
    alike: (usize, usize),
    groups: usize,
    /// How many of a hundred users are Capsule's, who are told that there are no namespaces for them instead of being refused.
    capsule_users: usize,
    tenants: usize,
    /// The last of the Tenants: in these the operator does nothing, and the test plays its part as it likes.
    unmanaged: usize,
    /// The first of the Tenants, with service accounts, which must stay.
    kept: usize,
    /// Namespaces outside all Tenants; the first two have service accounts.
    free: usize,
    volumes: usize,
    /// Of each other kind.
    objects: usize,
    /// ProxySettings, and as many GlobalProxySettings.
    rules: usize,
    bindings: usize,
    maps: usize,
    /// ClusterRoleBindings by which somebody sees all of something himself.
    rights: usize,
    /// Whether whoever may list ConfigMaps may watch them there too. Whoever may not is shown them in lists alone.
    listers_watch: bool,
    /// Whether some RoleBindings name everybody. Whom they let list more in a namespace learns it a minute later in an open
    /// watch, since they do not name him.
    binds_everybody: bool,
}

impl Size {
    /// For lists of many people.
    pub const LARGE: Self = Self {
        users: 180,
        latecomers: 12,
        alike: (4, 10),
        groups: 30,
        capsule_users: 50,
        tenants: 30,
        unmanaged: 5,
        kept: 6,
        free: 8,
        volumes: 30,
        objects: 12,
        rules: 30,
        bindings: 70,
        maps: 90,
        rights: usize::MAX,
        listers_watch: false,
        binds_everybody: true,
    };
    /// In which every change concerns some of the few.
    pub const SMALL: Self = Self {
        users: 12,
        latecomers: 4,
        alike: (1, 3),
        groups: 5,
        capsule_users: 80,
        tenants: 8,
        unmanaged: 2,
        kept: 2,
        free: 3,
        volumes: 6,
        objects: 4,
        rules: 6,
        bindings: 14,
        maps: 30,
        rights: 1,
        listers_watch: true,
        binds_everybody: false,
    };
}

pub struct RandomWorld {
    world: &'static World,
    size: Size,
    pub inventor: Inventor,
    pub people: Vec<Person>,
    tenants: Vec<Tenant>,
    namespaces: Vec<Place>,
    /// Names of objects of cluster-scoped kinds.
    objects: BTreeMap<&'static str, Vec<String>>,
    /// Paths.
    bindings: Vec<String>,
    settings: Vec<String>,
    globals: Vec<String>,
    rights: Vec<String>,
    maps: Vec<String>,
    leaving: Vec<String>,
    made: usize,
}

#[derive(Clone)]
struct Tenant {
    name: String,
    is_managed: bool,
    is_kept: bool,
}

#[derive(Clone)]
struct Place {
    name: String,
    is_kept: bool,
}

impl RandomWorld {
    pub async fn make(world: &'static World, dice: Dice, size: Size) -> Self {
        let tag = format!("w{}", unique());
        let mut random = Self {
            world,
            inventor: inventor(dice, tag, &size),
            size,
            people: Vec::new(),
            tenants: Vec::new(),
            namespaces: Vec::new(),
            objects: BTreeMap::new(),
            bindings: Vec::new(),
            settings: Vec::new(),
            globals: Vec::new(),
            rights: Vec::new(),
            maps: Vec::new(),
            leaving: Vec::new(),
            made: 0,
        };
        random.make_objects().await;
        random.make_tenants().await;
        random.make_namespaces().await;
        random.make_rules().await;
        random.make_people().await;
        random
    }

    async fn create_all(&self, objects: Vec<(String, Value)>) {
        let world = self.world;
        let create = |(path, object): (String, Value)| async move {
            // The operator's webhook may not know the Tenant yet.
            eventually(|| async {
                let made = world.admin(Method::POST, &path, Some(&object)).await;
                made.map_err(|why| format!("{object}: {why}"))
            })
            .await;
        };
        let all = stream::iter(objects).map(create).buffer_unordered(AT_ONCE);
        all.collect::<Vec<()>>().await;
    }

    fn new_object(&mut self, kind: &'static Kind) -> (String, Value) {
        self.made += 1;
        let name = self.inventor.name(kind, self.made);
        let object = self.inventor.object(kind, &name);
        self.objects.entry(kind.plural).or_default().push(name);
        (kind.path(), object)
    }

    async fn make_objects(&mut self) {
        let mut objects = Vec::new();
        for kind in classes_and_such() {
            let count = if kind.plural == "persistentvolumes" {
                self.size.volumes
            } else {
                self.size.objects
            };
            for _ in 0..count {
                objects.push(self.new_object(kind));
            }
        }
        let all = || KINDS.iter().filter(|kind| kind.plural != "configmaps");
        let lister: &[&str] = if self.size.listers_watch {
            &["get", "list", "watch"]
        } else {
            &["get", "list"]
        };
        let mut roles = vec![
            role("lister", "", "configmaps", lister),
            role("getter", "", "configmaps", &["get"]),
            role("secrets", "", "secrets", &["list"]),
            role("all", "*", "*", &["list", "watch"]),
            role("all-list", "*", "*", &["list"]),
        ];
        roles.extend(
            all().map(|kind| role(kind.plural, kind.group, kind.plural, &["list", "watch"])),
        );
        let listed = |kind: &Kind| format!("{}-list", kind.plural);
        roles.extend(all().map(|kind| role(&listed(kind), kind.group, kind.plural, &["list"])));
        let kind = Kind::of("clusterroles");
        for (suffix, rules) in roles {
            let name = format!("{}-{suffix}", self.inventor.tag);
            let mut object = self.inventor.object(kind, &name);
            object["rules"] = rules;
            objects.push((kind.path(), object));
        }
        self.create_all(objects).await;
    }

    async fn make_tenants(&mut self) {
        let mut objects = Vec::new();
        for (number, name) in self.inventor.tenants.clone().into_iter().enumerate() {
            let is_managed = number + self.size.unmanaged < self.size.tenants;
            let mut spec = self.offers();
            spec.insert("owners".to_owned(), self.inventor.owners(is_managed));
            let labels = self.inventor.labels(Kind::of("tenants"));
            objects.push((
                TENANTS.to_owned(),
                json!({
                    "apiVersion": "capsule.clastix.io/v1beta2", "kind": "Tenant", "spec": spec,
                    "metadata": {"name": name, "labels": labels, "annotations": {
                        "testbed.kube-tenant-proxy/unmanaged": (!is_managed).to_string(),
                    }},
                }),
            ));
            self.tenants.push(Tenant {
                name,
                is_managed,
                is_kept: number < self.size.kept,
            });
        }
        self.create_all(objects).await;
    }

    fn offers(&mut self) -> serde_json::Map<String, Value> {
        let objects = &self.objects;
        self.inventor.offers(|plural| objects[plural].clone())
    }

    async fn make_namespaces(&mut self) {
        let mut objects = Vec::new();
        for tenant in self.tenants.clone() {
            let most = self.inventor.dice.roll(SUFFIXES.len() + 1);
            let count = if tenant.is_kept { most.max(1) } else { most };
            for suffix in &SUFFIXES[..count] {
                let name = format!("{}-{suffix}", tenant.name);
                let is_kept = tenant.is_kept && *suffix == "a";
                objects.push(self.new_namespace(name, is_kept, Some(&tenant)).await);
            }
        }
        for number in 0..self.size.free {
            let name = format!("{}-f{number}", self.inventor.tag);
            objects.push(self.new_namespace(name, number < 2, None).await);
        }
        self.create_all(objects).await;
        let accounts = self.inventor.accounts.clone().into_iter();
        let accounts = accounts.map(|(namespace, name)| {
            let object =
                json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}});
            (format!("{NAMESPACES}/{namespace}/serviceaccounts"), object)
        });
        self.create_all(accounts.collect()).await;
    }

    /// The operator makes it the Tenant's by a label; where it does nothing, references do, sometimes two of them.
    async fn new_namespace(
        &mut self,
        name: String,
        is_kept: bool,
        tenant: Option<&Tenant>,
    ) -> (String, Value) {
        let mut labels = self.inventor.labels(Kind::of("namespaces"));
        let mut references = Vec::new();
        match tenant {
            Some(tenant) if tenant.is_managed => {
                labels["capsule.clastix.io/tenant"] = tenant.name.as_str().into();
            }
            Some(tenant) => {
                if self.inventor.dice.percent(60) {
                    references.push(self.reference(&tenant.name).await);
                }
                if self.inventor.dice.percent(15) {
                    let other = self.inventor.dice.pick(&self.tenants).name;
                    references.push(self.reference(&other).await);
                }
            }
            None => {}
        }
        let object = json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "labels": labels, "ownerReferences": references}});
        self.namespaces.push(Place { name, is_kept });
        (NAMESPACES.to_owned(), object)
    }

    async fn reference(&mut self, tenant: &str) -> Value {
        let version = self.inventor.dice.pick(&["v1beta1", "v1beta2"]);
        let uid = self.uid(&format!("{TENANTS}/{tenant}")).await;
        json!({"apiVersion": format!("capsule.clastix.io/{version}"), "kind": "Tenant",
            "name": tenant, "uid": uid})
    }

    async fn uid(&self, path: &str) -> String {
        let object = self.world.admin(Method::GET, path, None).await.unwrap();
        object["metadata"]["uid"].as_str().unwrap().to_owned()
    }

    fn new_setting(&mut self) -> (String, Value) {
        self.made += 1;
        let namespace = self.inventor.dice.pick(&self.namespaces).name;
        let name = format!("s{}", self.made);
        let path = format!("/apis/capsule.clastix.io/v1beta1/namespaces/{namespace}/proxysettings");
        let object = json!({"apiVersion": "capsule.clastix.io/v1beta1", "kind": "ProxySetting",
            "metadata": {"name": name, "namespace": namespace}, "spec": self.inventor.setting()});
        self.settings.push(format!("{path}/{name}"));
        (path, object)
    }

    fn new_global(&mut self) -> (String, Value) {
        self.made += 1;
        let name = format!("{}-{}", self.inventor.tag, self.made);
        self.globals.push(format!("{GLOBALS}/{name}"));
        let object = json!({"apiVersion": "capsule.clastix.io/v1beta1", "kind": "GlobalProxySettings",
            "metadata": {"name": name}, "spec": self.inventor.global()});
        (GLOBALS.to_owned(), object)
    }

    fn new_binding(&mut self) -> (String, Value) {
        self.made += 1;
        let namespace = self.inventor.dice.pick(&self.namespaces).name;
        let name = format!("b{}", self.made);
        let path = format!("/apis/{RBAC}/v1/namespaces/{namespace}/rolebindings");
        self.bindings.push(format!("{path}/{name}"));
        (path, self.inventor.binding(&namespace, &name))
    }

    fn new_map(&mut self) -> (String, Value) {
        self.made += 1;
        let namespace = self.inventor.dice.pick(&self.namespaces).name;
        let (path, name) = (
            format!("{NAMESPACES}/{namespace}/configmaps"),
            format!("m{}", self.made),
        );
        self.maps.push(format!("{path}/{name}"));
        (
            path,
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}),
        )
    }

    /// A ClusterRoleBinding of this role to that subject.
    fn new_right(&mut self, role: &str, subject: &Value) -> (String, Value) {
        self.made += 1;
        let name = format!("{}-{}", self.inventor.tag, self.made);
        self.rights.push(format!("{BINDINGS}/{name}"));
        let object = json!({
            "apiVersion": format!("{RBAC}/v1"), "kind": "ClusterRoleBinding",
            "metadata": {"name": name, "labels": self.inventor.labels(Kind::of("clusterrolebindings"))},
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": format!("{}-{role}", self.inventor.tag)},
            "subjects": [subject],
        });
        (BINDINGS.to_owned(), object)
    }

    async fn make_rules(&mut self) {
        let mut objects = Vec::new();
        for _ in 0..self.size.rules {
            objects.push(self.new_setting());
        }
        for _ in 0..self.size.rules {
            objects.push(self.new_global());
        }
        for _ in 0..self.size.bindings {
            objects.push(self.new_binding());
        }
        for _ in 0..self.size.maps {
            objects.push(self.new_map());
        }
        let plurals: Vec<String> = KINDS.iter().map(|kind| kind.plural.to_owned()).collect();
        let early = self.inventor.users.len() - self.size.latecomers;
        let mut roles = vec![
            "all".to_owned(),
            "all-list".to_owned(),
            "all-list".to_owned(),
            "missing".to_owned(),
        ];
        roles.extend(self.inventor.dice.picks(5, &plurals));
        roles.extend(
            self.inventor
                .dice
                .picks(5, &plurals)
                .iter()
                .map(|plural| format!("{plural}-list")),
        );
        for (number, role) in roles
            .iter()
            .filter(|role| !role.starts_with("configmaps"))
            .take(self.size.rights)
            .enumerate()
        {
            let subject = match number % 4 {
                3 => {
                    json!({"apiGroup": RBAC, "kind": "Group", "name": self.inventor.dice.pick(&self.inventor.groups)})
                }
                _ => {
                    json!({"apiGroup": RBAC, "kind": "User", "name": self.inventor.dice.pick(&self.inventor.users[..early])})
                }
            };
            objects.push(self.new_right(role, &subject));
        }
        self.create_all(objects).await;
        for number in (0..self.size.tenants).rev().take(self.size.unmanaged).rev() {
            let tenant = self.inventor.tenants[number].clone();
            self.claim(&tenant).await;
        }
    }

    /// Plays the operator for a Tenant: says in its status what the dice say.
    async fn claim(&mut self, tenant: &str) {
        let (mut names, mut spaces) = (Vec::new(), Vec::new());
        let count = self.inventor.dice.between(0, 4);
        let mut claimed = self.inventor.dice.picks(count, &self.namespaces);
        claimed.sort_by(|one, other| one.name.cmp(&other.name));
        claimed.dedup_by(|one, other| one.name == other.name);
        for Place { name, .. } in claimed {
            let uid = self.uid(&format!("{NAMESPACES}/{name}")).await;
            match self.inventor.dice.roll(7) {
                0 | 1 => names.push(json!(name)),
                2 => spaces.push(json!({"name": name})),
                3 => spaces.push(json!({"name": name, "uid": "of-an-earlier-one"})),
                4 => {
                    names.push(json!(name));
                    spaces.push(json!({"name": name, "uid": 7}));
                }
                _ => spaces.push(json!({"name": name, "uid": uid})),
            }
        }
        if self.inventor.dice.percent(30) {
            names.push(json!(7));
            spaces.push(json!({"uid": "x"}));
        }
        let observed = self.inventor.dice.pick(&[json!(1_000_000), Value::Null]);
        let status = json!({"namespaces": names, "spaces": spaces, "observedGeneration": observed,
            "owners": self.inventor.owners(false)});
        self.world
            .merge(
                &format!("{TENANTS}/{tenant}/status"),
                &json!({ "status": status }),
            )
            .await;
    }

    async fn make_people(&mut self) {
        let mut orders = Vec::new();
        for (number, name) in self.inventor.users.clone().into_iter().enumerate() {
            let count = self.inventor.dice.between(0, 3);
            let mut groups = self.inventor.dice.picks(count, &self.inventor.groups);
            if self.inventor.dice.percent(self.size.capsule_users) {
                groups.push(self.world.groups.users.clone());
            }
            if number == 0 {
                groups.push(self.world.groups.admins.clone());
            }
            let claims = json!({"upn": name, "groups": groups});
            orders.push(json!({"claims": claims, "lifetimeSeconds": DAY}));
        }
        let mut people = self.log_in(orders).await;
        for (namespace, name) in &self.inventor.accounts {
            let account = self.world.account(namespace, name).await;
            let groups = [
                "system:serviceaccounts",
                &format!("system:serviceaccounts:{namespace}"),
                "system:authenticated",
            ];
            people.insert(
                0,
                Person {
                    name: account.name,
                    groups: groups.map(str::to_owned).to_vec(),
                    token: account.token,
                },
            );
        }
        self.people = people;
    }

    async fn log_in(&self, orders: Vec<Value>) -> Vec<Person> {
        let minted = self.world.directory("/control/mint", json!(orders)).await;
        let person = |minted: &Value| {
            let mut groups: Vec<String> =
                serde_json::from_value(minted["claims"]["groups"].clone()).unwrap();
            groups.push("system:authenticated".to_owned());
            Person {
                name: minted["claims"]["upn"].as_str().unwrap().to_owned(),
                groups,
                token: minted["token"].as_str().unwrap().to_owned(),
            }
        };
        minted.as_array().unwrap().iter().map(person).collect()
    }

    /// Changes something.
    pub async fn step(&mut self) {
        let world = self.world;
        match self.inventor.dice.roll(22) {
            0..=2 | 20 | 21 => self.step_owners().await,
            3..=4 => {
                let path = format!("{TENANTS}/{}", self.inventor.dice.pick(&self.tenants).name);
                for (field, value) in self.offers() {
                    for value in [Value::Null, value] {
                        world.merge(&path, &json!({"spec": {&field: value}})).await;
                    }
                }
            }
            5..=6 => {
                let kind = self.inventor.dice.pick(&classes_and_such());
                if let Some(name) = self.an_object(kind) {
                    let patch = self.inventor.relabelling(kind);
                    world
                        .merge(&format!("{}/{name}", kind.path()), &patch)
                        .await;
                }
            }
            7..=8 => {
                let name = self.inventor.dice.pick(&self.namespaces).name;
                let patch = self.inventor.relabelling(Kind::of("namespaces"));
                world.merge(&format!("{NAMESPACES}/{name}"), &patch).await;
            }
            9 => {
                let name = self.inventor.dice.pick(&self.tenants).name;
                let patch = self.inventor.relabelling(Kind::of("tenants"));
                world.merge(&format!("{TENANTS}/{name}"), &patch).await;
            }
            10 => self.step_namespaces().await,
            11..=12 => self.step_bindings().await,
            13..=14 => self.step_settings().await,
            15..=16 => self.step_globals().await,
            17 => self.step_objects().await,
            18 => self.step_rights().await,
            _ => {
                let unmanaged: Vec<_> = self
                    .tenants
                    .iter()
                    .filter(|it| !it.is_managed)
                    .cloned()
                    .collect();
                let tenant = self.inventor.dice.pick(&unmanaged).name;
                self.claim(&tenant).await;
            }
        }
    }

    fn an_object(&mut self, kind: &Kind) -> Option<String> {
        let names = self
            .objects
            .get(kind.plural)
            .filter(|names| !names.is_empty())?;
        Some(self.inventor.dice.pick(names))
    }

    async fn create(&self, (path, object): (String, Value)) {
        self.create_all(vec![(path, object)]).await;
    }

    /// Other owners, or the same ones with other settings.
    async fn step_owners(&mut self) {
        let tenant = self.inventor.dice.pick(&self.tenants);
        let path = format!("{TENANTS}/{}", tenant.name);
        let mut owners = self.inventor.owners(tenant.is_managed);
        if self.inventor.dice.percent(50) {
            let object = self.world.admin(Method::GET, &path, None).await.unwrap();
            owners = object["spec"]["owners"].clone();
            let entries = owners.as_array_mut().into_iter().flatten();
            for owner in entries.filter(|owner| owner.is_object()) {
                owner["proxySettings"] = self.inventor.proxy_settings();
            }
        }
        self.world
            .merge(&path, &json!({"spec": {"owners": owners}}))
            .await;
    }

    async fn step_namespaces(&mut self) {
        let may_go = |place: &&Place| !place.is_kept;
        let may_go: Vec<Place> = self.namespaces.iter().filter(may_go).cloned().collect();
        if self.leaving.len() < 4 && self.inventor.dice.percent(50) && !may_go.is_empty() {
            let gone = format!("{NAMESPACES}/{}", self.inventor.dice.pick(&may_go).name);
            self.world.delete(&gone).await;
            self.namespaces
                .retain(|place| !gone.ends_with(&format!("/{}", place.name)));
            let infix = format!("/{}/", gone.rsplit('/').next().unwrap());
            for paths in [&mut self.bindings, &mut self.settings, &mut self.maps] {
                paths.retain(|path| !path.contains(&infix));
            }
            self.leaving.push(gone);
        } else {
            self.made += 1;
            let tenant = self.inventor.dice.pick(&self.tenants);
            let name = format!("{}-n{}", tenant.name, self.made);
            let namespace = self.new_namespace(name, false, Some(&tenant)).await;
            self.create(namespace).await;
            let map = self.new_map();
            self.create(map).await;
        }
    }

    async fn step_bindings(&mut self) {
        let what = if self.bindings.is_empty() {
            0
        } else {
            self.inventor.dice.roll(3)
        };
        let place = self.inventor.dice.roll(self.bindings.len().max(1));
        match what {
            0 => {
                let binding = self.new_binding();
                self.create(binding).await;
            }
            1 => self.world.delete(&self.bindings.swap_remove(place)).await,
            _ => {
                let subjects = self.inventor.bound_ones();
                self.world
                    .merge(&self.bindings[place], &json!({ "subjects": subjects }))
                    .await;
            }
        }
    }

    async fn step_settings(&mut self) {
        let what = if self.settings.is_empty() {
            0
        } else {
            self.inventor.dice.roll(3)
        };
        let place = self.inventor.dice.roll(self.settings.len().max(1));
        match what {
            0 => {
                let setting = self.new_setting();
                self.create(setting).await;
            }
            1 => self.world.delete(&self.settings.swap_remove(place)).await,
            _ => {
                let spec = self.inventor.setting();
                self.world
                    .merge(&self.settings[place], &json!({ "spec": spec }))
                    .await;
            }
        }
    }

    async fn step_globals(&mut self) {
        let what = if self.globals.is_empty() {
            0
        } else {
            self.inventor.dice.roll(3)
        };
        let place = self.inventor.dice.roll(self.globals.len().max(1));
        match what {
            0 => {
                let global = self.new_global();
                self.create(global).await;
            }
            1 => self.world.delete(&self.globals.swap_remove(place)).await,
            _ => {
                let spec = self.inventor.global();
                self.world
                    .merge(&self.globals[place], &json!({ "spec": spec }))
                    .await;
            }
        }
    }

    async fn step_objects(&mut self) {
        let kind = self.inventor.dice.pick(&classes_and_such());
        let gone = self.an_object(kind);
        match (self.inventor.dice.roll(3), gone) {
            (0, Some(name)) => {
                self.objects
                    .get_mut(kind.plural)
                    .unwrap()
                    .retain(|it| *it != name);
                self.world.delete(&format!("{}/{name}", kind.path())).await;
            }
            (1, _) if !self.maps.is_empty() => {
                let place = self.inventor.dice.roll(self.maps.len());
                self.world.delete(&self.maps.swap_remove(place)).await;
            }
            _ => {
                let object = self.new_object(kind);
                self.create(object).await;
            }
        }
    }

    async fn step_rights(&mut self) {
        if self.inventor.dice.percent(50) && !self.rights.is_empty() {
            let place = self.inventor.dice.roll(self.rights.len());
            self.world.delete(&self.rights.swap_remove(place)).await;
            return;
        }
        let users = &self.inventor.users;
        let late = self
            .inventor
            .dice
            .pick(&users[users.len() - self.size.latecomers..]);
        let kind = &KINDS[self.inventor.dice.roll(KINDS.len() - 1)];
        let role = self.inventor.dice.pick(&[
            "all".to_owned(),
            kind.plural.to_owned(),
            format!("{}-list", kind.plural),
        ]);
        let right = self.new_right(
            &role,
            &json!({"apiGroup": RBAC, "kind": "User", "name": late}),
        );
        self.create(right).await;
    }

    /// Deletes a Tenant, which leaves namespaces without one.
    pub async fn delete_a_tenant(&mut self) {
        let may_go = |tenant: &&Tenant| tenant.is_managed && !tenant.is_kept;
        let may_go: Vec<Tenant> = self.tenants.iter().filter(may_go).cloned().collect();
        let gone = self.inventor.dice.pick(&may_go).name;
        self.tenants.retain(|tenant| tenant.name != gone);
        self.inventor.tenants.retain(|tenant| *tenant != gone);
        // They are collected some time later, and whatever is in them.
        let prefix = format!("{gone}-");
        self.namespaces
            .retain(|place| !place.name.starts_with(&prefix));
        for paths in [&mut self.bindings, &mut self.settings, &mut self.maps] {
            paths.retain(|path| !path.contains(&format!("/{prefix}")));
        }
        self.world.delete(&format!("{TENANTS}/{gone}")).await;
    }

    /// Waits until the operator has done its part, and namespaces that were deleted are gone.
    pub async fn settle(&mut self) {
        within(EMPTYING, || async {
            let list = async |path: &str| {
                let list = self.world.admin(Method::GET, path, None).await.unwrap();
                list["items"].as_array().unwrap().clone()
            };
            let (tenants, namespaces) = (list(TENANTS).await, list(NAMESPACES).await);
            for tenant in self.tenants.iter().filter(|tenant| tenant.is_managed) {
                let object = tenants
                    .iter()
                    .find(|it| it["metadata"]["name"] == tenant.name)
                    .unwrap();
                let (metadata, status) = (&object["metadata"], &object["status"]);
                let refers = |namespace: &&Value| {
                    let references = namespace["metadata"]["ownerReferences"].as_array();
                    references
                        .into_iter()
                        .flatten()
                        .any(|it| it["uid"] == metadata["uid"])
                };
                let members = namespaces.iter().filter(refers);
                let members: Vec<&Value> = members.map(|it| &it["metadata"]["name"]).collect();
                if status["observedGeneration"] != metadata["generation"]
                    || status["namespaces"] != json!(members)
                {
                    return Err(format!("{} lags behind", tenant.name));
                }
            }
            let is_there = |path: &&String| {
                let name = path.rsplit('/').next().unwrap();
                namespaces.iter().any(|it| it["metadata"]["name"] == name)
            };
            match self.leaving.iter().find(is_there) {
                Some(path) => Err(format!("{path} is still there")),
                None => Ok(()),
            }
        })
        .await;
        self.leaving.clear();
    }
}

impl RandomWorld {
    /// Makes one more of everything that the proxies listen to: what somebody new sees because of each.
    pub async fn marker(&mut self) -> Marker {
        self.made += 1;
        let name = format!("{}-m{}", self.inventor.tag, self.made);
        let user = |what: &str| json!({"claims": {"upn": format!("{name}-{what}@example.com"), "groups": []}});
        let people = self
            .log_in(["owner", "bound", "set", "ruled"].map(user).to_vec())
            .await;
        let named = |place: usize| json!({"kind": "User", "name": people[place].name});
        let namespace = format!("{name}-a");
        let group = "capsule.clastix.io";
        let tenant = json!({"apiVersion": format!("{group}/v1beta2"), "kind": "Tenant",
            "metadata": {"name": name}, "spec": {"owners": [named(0)]}});
        let labels = json!({format!("{group}/tenant"): name});
        let place = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}});
        let mut binding = self.inventor.binding(&namespace, "marker");
        binding["subjects"] = json!([{"apiGroup": RBAC, "kind": "User", "name": people[1].name}]);
        let setting = json!({"apiVersion": format!("{group}/v1beta1"), "kind": "ProxySetting",
            "metadata": {"name": "marker"}, "spec": {"subjects": [named(2)]}});
        let rule = json!({"apiGroups": [RBAC], "resources": ["clusterroles"],
            "selector": {"matchLabels": {"it.example.com/marker": name}}});
        let global = json!({"apiVersion": format!("{group}/v1beta1"), "kind": "GlobalProxySettings",
            "metadata": {"name": name}, "spec": {"rules": [{"subjects": [named(3)], "clusterResources": [rule]}]}});
        let role = json!({"apiVersion": format!("{RBAC}/v1"), "kind": "ClusterRole", "rules": [],
            "metadata": {"name": name, "labels": {"it.example.com/marker": name}}});
        for object in [
            (TENANTS.to_owned(), tenant),
            (NAMESPACES.to_owned(), place),
            (
                format!("/apis/{RBAC}/v1/namespaces/{namespace}/rolebindings"),
                binding,
            ),
            (
                format!("/apis/{group}/v1beta1/namespaces/{namespace}/proxysettings"),
                setting,
            ),
            (Kind::of("clusterroles").path(), role),
            (GLOBALS.to_owned(), global),
        ] {
            self.create(object).await;
        }
        Marker {
            people,
            name,
            namespace,
        }
    }
}

/// What is there last.
pub struct Marker {
    /// The Tenant's owner, and whom a RoleBinding, a ProxySetting and a rule of the cluster name.
    pub people: Vec<Person>,
    /// Of the Tenant, and of the ClusterRole that the rule shows.
    pub name: String,
    pub namespace: String,
}

fn inventor(dice: Dice, tag: String, size: &Size) -> Inventor {
    let name = |infix: &str, number: usize| format!("{tag}-{infix}{number:02}");
    let mut users: Vec<String> = (0..size.users)
        .map(|it| format!("{}@example.com", name("u", it)))
        .collect();
    let mut groups: Vec<String> = (0..size.groups).map(|it| name("g", it)).collect();
    let (alike, apart) = size.alike;
    users.splice(apart..apart + alike, groups[..alike].to_vec());
    groups.extend(users[2 * apart..2 * apart + alike].to_vec());
    let tenants: Vec<String> = (0..size.tenants).map(|it| name("t", it)).collect();
    let mut places: Vec<String> = tenants[..size.kept]
        .iter()
        .map(|it| format!("{it}-a"))
        .collect();
    places.extend((0..2).map(|it| format!("{tag}-f{it}")));
    let account = |place: &String| ["bot", "ci"].map(|name| (place.clone(), name.to_owned()));
    Inventor {
        accounts: places.iter().flat_map(account).collect(),
        dice,
        users,
        groups,
        tenants,
        tag,
        binds_everybody: size.binds_everybody,
    }
}

/// Kinds of which there are objects to make and to label anew.
fn classes_and_such() -> Vec<&'static Kind> {
    let apart = ["namespaces", "tenants", "configmaps", "clusterrolebindings"];
    KINDS
        .iter()
        .filter(|kind| !apart.contains(&kind.plural))
        .collect()
}

fn role(suffix: &str, group: &str, plural: &str, verbs: &[&str]) -> (String, Value) {
    let rules = json!([{"apiGroups": [group], "resources": [plural], "verbs": verbs}]);
    (suffix.to_owned(), rules)
}
