//! The two worlds behind one interface: a real API server, and the embedded one.

use http::Method;
use http::Request;
use http::header;
use kube::config::KubeConfigOptions;
use kube::config::Kubeconfig;
use kube_tenant_proxy::demo;
use kube_tenant_proxy::demo::Person as Account;
use kube_tenant_proxy::demo::Seed;
use serde_json::Value;
use serde_json::json;
use tokio::sync::Mutex;
use tokio::sync::MutexGuard;
use tokio::sync::OnceCell;

use super::audit;
use super::audit::Entry;
use super::bed::Bed;
use super::bed::Groups;
use super::chart;
use super::eventually;
use super::http::Caller;
use super::kubectl::Kubectl;
use super::people::Person;
use super::people::unique;
use super::proxy::Mode;
use super::proxy::Proxy;
use super::proxy::Setup;

/// A cluster with Capsule and a directory of people.
pub struct World {
    pub url: String,
    pub ca: String,
    pub groups: Groups,
    pub issuer: Issuer,
    pub side: Side,
    admin: kube::Client,
    proxies: Proxies,
}

/// The proxies that tests share, one of each mode.
#[derive(Default)]
struct Proxies {
    token: OnceCell<Proxy>,
    impersonate: OnceCell<Proxy>,
    review: OnceCell<Proxy>,
    cluster_scoped: OnceCell<Proxy>,
}

/// Who signs people's tokens.
pub struct Issuer {
    pub url: String,
    pub discovery_url: String,
    pub ca: String,
    pub audience: String,
    /// The directory's id, where the proxy is configured by the preset for it.
    pub preset: Option<String>,
}

/// What differs between the worlds.
#[allow(clippy::large_enum_variant, reason = "there are two in the process")]
pub enum Side {
    Real(Bed),
    Demo(demo::World),
}

/// A moment in the audit log.
#[derive(Clone, Copy)]
pub struct Mark(usize);

impl World {
    /// The real one of this process.
    pub async fn real() -> &'static Self {
        static REAL: OnceCell<World> = OnceCell::const_new();
        REAL.get_or_init(|| async {
            let bed = tokio::task::spawn_blocking(|| Bed::start(&[]))
                .await
                .unwrap();
            Self::of_bed(bed).await
        })
        .await
    }

    /// One that is as a managed Azure cluster: its API server leaves tokens and rights to webhooks.
    pub async fn azure() -> &'static Self {
        static AZURE: OnceCell<World> = OnceCell::const_new();
        let world = AZURE.get_or_init(|| async {
            let bed = tokio::task::spawn_blocking(|| Bed::start(&["--azure"]));
            let bed = bed.await.unwrap();
            let directory = bed.facts.entra.tenant_id.clone();
            let mut world = Self::of_bed(bed).await;
            world.issuer.preset = Some(directory);
            world
        });
        world.await
    }

    /// Another real one, whose API server tells one HTTP/2 connection in fifty to go away at every request (the most it
    /// can be told to), for tests that stop, freeze and break it. One at a time: the guard is to be held.
    pub async fn disturbed() -> (&'static Self, MutexGuard<'static, ()>) {
        static DISTURBED: OnceCell<World> = OnceCell::const_new();
        static TURN: Mutex<()> = Mutex::const_new(());
        let turn = TURN.lock().await;
        let world = DISTURBED.get_or_init(|| async {
            let goaway = "--apiserver-arg=--goaway-chance=0.02";
            let bed = tokio::task::spawn_blocking(|| Bed::start(&[goaway]));
            Self::of_bed(bed.await.unwrap()).await
        });
        (world.await, turn)
    }

    /// The test bed behind a real one.
    pub fn bed(&self) -> &Bed {
        match &self.side {
            Side::Real(bed) => bed,
            Side::Demo(_) => panic!("the embedded world has no test bed"),
        }
    }

    /// Disturbs the test bed ([`Bed::disturb`]).
    pub async fn disturb(&'static self, path: &'static str) {
        tokio::task::spawn_blocking(move || self.bed().disturb(path))
            .await
            .unwrap();
    }

    /// Tells the test bed something ([`Bed::tell`]).
    pub async fn tell(&'static self, path: &'static str, body: Value) {
        tokio::task::spawn_blocking(move || self.bed().tell(path, &body.to_string()))
            .await
            .unwrap();
    }

    /// Tells the directory's stand-in something, such as to rotate its keys; unless the order names another directory
    /// (`tid`), this world's is meant.
    pub async fn directory(&self, path: &str, order: Value) -> Value {
        let directory = Caller::new(&self.bed().facts.entra.url, &self.issuer.ca);
        let done = directory.post(path, &order).await;
        assert!(done.status.is_success(), "{}", done.text());
        done.json()
    }

    /// The embedded one of this process.
    pub async fn demo() -> &'static Self {
        static DEMO: OnceCell<World> = OnceCell::const_new();
        DEMO.get_or_init(|| async {
            Self::of_demo(demo::World::start(Seed::default()).await.unwrap()).await
        })
        .await
    }

    /// One on a test bed of its own.
    pub async fn of_bed(bed: Bed) -> Self {
        let facts = bed.facts.clone();
        let world = Self {
            url: facts.server,
            ca: std::fs::read_to_string(facts.ca_file).unwrap(),
            groups: facts.capsule,
            issuer: Issuer {
                url: facts.entra.issuer,
                discovery_url: facts.entra.discovery_url,
                ca: std::fs::read_to_string(facts.entra.ca_file).unwrap(),
                audience: facts.entra.audience,
                preset: None,
            },
            admin: client(&std::fs::read_to_string(facts.admin_kubeconfig).unwrap()).await,
            proxies: Proxies::default(),
            side: Side::Real(bed),
        };
        world.create(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": chart::NAMESPACE}})).await;
        for definition in chart::definitions() {
            world.create(&definition).await;
        }
        world
    }

    async fn of_demo(world: demo::World) -> Self {
        Self {
            url: world.server_url.clone(),
            ca: world.ca_pem.clone(),
            groups: Groups {
                users: demo::object_id("capsuleGroup"),
                admins: demo::object_id("capsuleAdminGroup"),
            },
            issuer: Issuer {
                url: world.issuer().url().to_owned(),
                discovery_url: world.issuer().discovery_url(),
                ca: world.ca_pem.clone(),
                audience: demo::AUDIENCE.to_owned(),
                preset: None,
            },
            admin: client(&world.kubeconfig("admin", &world.admin_token)).await,
            proxies: Proxies::default(),
            side: Side::Demo(world),
        }
    }

    /// The proxy that most tests share: token mode, nothing else changed.
    pub async fn proxy(&'static self) -> &'static Proxy {
        self.proxy_in(Mode::Token).await
    }

    /// The one that they share in `mode`.
    pub async fn proxy_in(&'static self, mode: Mode) -> &'static Proxy {
        let proxy = match mode {
            Mode::Token => &self.proxies.token,
            Mode::Impersonate => &self.proxies.impersonate,
            Mode::Review => &self.proxies.review,
        };
        let setup = Setup {
            mode,
            ..Setup::default()
        };
        proxy.get_or_init(|| Proxy::start(self, setup)).await
    }

    /// One that they share in which `clusterResources` and GlobalProxySettings act, for the kinds in [`chart::KINDS`].
    pub async fn proxy_with_rules(&'static self) -> &'static Proxy {
        let start = || async {
            self.install(chart::WITH_RULES).await;
            let mut setup = Setup::default();
            setup.tenancy.rules.cluster_scoped = true;
            Proxy::start(self, setup).await
        };
        self.proxies.cluster_scoped.get_or_init(start).await
    }

    /// A token of `name`, member of `groups`.
    pub async fn token(&self, name: &str, groups: &[&str]) -> String {
        self.mint(json!({"upn": name, "groups": groups}), 3600)
            .await
    }

    /// A token that the directory's stand-in makes as it is told, good or not.
    pub async fn forge(&self, order: Value) -> String {
        let minted = self.directory("/control/mint", order).await;
        minted["token"].as_str().unwrap().to_owned()
    }

    /// A token with these claims among the usual ones, good for so many seconds.
    pub async fn mint(&self, claims: Value, seconds: i64) -> String {
        match &self.side {
            Side::Real(_) => {
                self.forge(json!({"claims": claims, "lifetimeSeconds": seconds}))
                    .await
            }
            Side::Demo(world) => {
                let upn = claims["upn"].as_str().unwrap_or("nobody@example.com");
                let mut all = world.issuer().claims(&Account::member(upn, &[]));
                let now = all["iat"].as_i64().unwrap();
                all["exp"] = (now + seconds).into();
                for (name, value) in claims.as_object().unwrap() {
                    all[name] = value.clone();
                }
                world.issuer().mint(&world.issuer().header(), &all)
            }
        }
    }

    /// `person` at the API server itself, without the proxy.
    pub fn direct(&self, person: &Person) -> Caller {
        Caller::new(&self.url, &self.ca).bearing(&person.token)
    }

    /// `person`'s kubectl at the API server itself.
    pub fn kubectl(&self, person: &Person) -> Kubectl {
        Kubectl::new(&self.url, &self.ca, &person.token)
    }

    /// A request of the administrator at the API server itself.
    pub async fn admin(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, kube::Error> {
        let builder = Request::builder()
            .method(method)
            .uri(path)
            .header(header::CONTENT_TYPE, "application/json");
        let body = body.map_or_else(Vec::new, |json| json.to_string().into_bytes());
        self.admin.request(builder.body(body).unwrap()).await
    }

    /// The administrator's merge patch.
    pub async fn merge(&self, path: &str, patch: &Value) {
        self.try_merge(path, patch).await.unwrap();
    }

    /// The same of what may be gone.
    pub async fn try_merge(&self, path: &str, patch: &Value) -> Result<Value, kube::Error> {
        let builder =
            Request::patch(path).header(header::CONTENT_TYPE, "application/merge-patch+json");
        let request = builder.body(patch.to_string().into_bytes()).unwrap();
        self.admin.request(request).await
    }

    /// The administrator deletes something.
    pub async fn delete(&self, path: &str) {
        self.admin(Method::DELETE, path, None).await.unwrap();
    }

    /// Installs the rights of a release of the chart; a token of its service account.
    pub async fn install(&self, release: &str) -> String {
        let name = release.to_owned();
        let rights = tokio::task::spawn_blocking(move || chart::rights(&name))
            .await
            .unwrap();
        for object in rights {
            self.create(&object).await;
        }
        self.account(chart::NAMESPACE, release).await.token
    }

    /// A service account that is there.
    pub async fn account(&self, namespace: &str, name: &str) -> Person {
        let token = match &self.side {
            Side::Demo(world) => world.service_account_token(namespace, name),
            Side::Real(_) => {
                let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
                let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
                    "spec": {"expirationSeconds": 86_400}});
                let answer = self
                    .admin(Method::POST, &path, Some(&request))
                    .await
                    .unwrap();
                answer["status"]["token"].as_str().unwrap().to_owned()
            }
        };
        let name = format!("system:serviceaccount:{namespace}:{name}");
        Person { name, token }
    }

    /// Creates an object that may be there already.
    pub async fn create(&self, object: &Value) {
        match self
            .admin(Method::POST, &chart::collection(object), Some(object))
            .await
        {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(why) => panic!("{object}: {why}"),
        }
    }

    /// Now, in the audit log.
    pub fn mark(&self) -> Mark {
        Mark(match &self.side {
            Side::Real(bed) => {
                usize::try_from(std::fs::metadata(&bed.facts.audit_log).unwrap().len()).unwrap()
            }
            Side::Demo(world) => world.audit().len(),
        })
    }

    /// Everything that reached the API server by or for `person` since `mark`.
    pub async fn audit(&self, mark: Mark, person: &str) -> Vec<Entry> {
        // When this request is in the log, so is all that was answered before it.
        let signal = format!("/version?signal={}", unique());
        self.admin(Method::GET, &signal, None).await.unwrap();
        let entries = eventually(|| async {
            let entries = self.entries(mark);
            let is_there = entries.iter().any(|entry| entry.uri == signal);
            is_there
                .then_some(entries)
                .ok_or_else(|| "the audit log lags behind".to_owned())
        })
        .await;
        entries
            .into_iter()
            .filter(|entry| entry.concerns(person))
            .collect()
    }

    /// Everything that reached the API server since `mark`, as far as it is written.
    pub fn entries(&self, mark: Mark) -> Vec<Entry> {
        match &self.side {
            Side::Real(bed) => {
                let log = std::fs::read(&bed.facts.audit_log).unwrap();
                // A long line may have been under way at the mark: it belongs to what was before.
                let is_cut = mark.0 > 0 && log[mark.0 - 1] != b'\n';
                let rest = log[mark.0..].iter().position(|byte| *byte == b'\n');
                let begin = mark.0 + rest.filter(|_| is_cut).map_or(0, |end| end + 1);
                audit::parse(std::str::from_utf8(&log[begin..]).unwrap())
            }
            Side::Demo(world) => world
                .audit()
                .into_iter()
                .skip(mark.0)
                .map(Entry::of_demo)
                .collect(),
        }
    }
}

/// A client with the only user of `kubeconfig`.
pub async fn client(kubeconfig: &str) -> kube::Client {
    let file = Kubeconfig::from_yaml(kubeconfig).unwrap();
    let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .unwrap();
    kube::Client::try_from(config).unwrap()
}
