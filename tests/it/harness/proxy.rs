//! The proxy as it is shipped, in this process, on a free port, with TLS of its own.

use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::time::Duration;

use http::HeaderMap;
use http::StatusCode;
use http::header;
use kube_tenant_proxy::app;
use kube_tenant_proxy::app::Authentication;
use kube_tenant_proxy::app::Tls;
use kube_tenant_proxy::authn;
use kube_tenant_proxy::authn::Authn;
use kube_tenant_proxy::clock::Clock;
use kube_tenant_proxy::cluster::Cluster;
use kube_tenant_proxy::config::File;
use kube_tenant_proxy::drain::Drained;
use kube_tenant_proxy::identity::GroupName;
use kube_tenant_proxy::listen;
use kube_tenant_proxy::listen::TlsFiles;
use kube_tenant_proxy::proxy;
use kube_tenant_proxy::tenancy;
use kube_tenant_proxy::tenancy::Presence;
use kube_tenant_proxy::tenancy::Tenancy;
use kube_tenant_proxy::upstream;
use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::IsCa;
use rcgen::KeyPair;
use serde_json::Value;
use serde_json::json;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::chart;
use super::eventually;
use super::http::Caller;
use super::kubectl::Kubectl;
use super::metrics::Scrape;
use super::people::Person;
use super::people::unique;
use super::world::Issuer;
use super::world::World;

/// How people prove themselves, and how their requests go upstream.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The proxy verifies tokens itself, and passes them on.
    Token,
    /// The proxy verifies tokens itself, and speaks for their bearers.
    Impersonate,
    /// The proxy asks the API server whose a token is, and passes it on.
    Review,
}

/// What a proxy is set up with.
pub struct Setup {
    pub mode: Mode,
    /// The section `authentication` of its file; otherwise the world's issuer in that mode.
    pub authentication: Option<Value>,
    pub proxy: proxy::Settings,
    pub upstream: upstream::Settings,
    pub tenancy: tenancy::Settings,
    /// Whether it writes the status of rules. Of the proxies that tests share none does: they are not of one mind.
    pub rule_status: bool,
    /// How long a drain may take.
    pub grace: Duration,
    /// Files to serve with, and the CA that signed them; otherwise a pair made for this proxy alone.
    pub files: Option<(TlsFiles, String)>,
    /// A pair to serve with, which others may serve with too.
    pub pair: Option<Serving>,
    /// Where the API server is for its own calls, informers above all, if that is another way than clients' requests go.
    pub informers_at: Option<String>,
    /// What time it takes it to be.
    pub clock: Clock,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            mode: Mode::Token,
            authentication: None,
            proxy: proxy::Settings::default(),
            upstream: upstream::Settings::default(),
            tenancy: tenancy::Settings::default(),
            rule_status: false,
            grace: Duration::from_secs(10),
            files: None,
            pair: None,
            informers_at: None,
            clock: Clock::system(),
        }
    }
}

/// A proxy that is ready. Dropped, it shuts down.
pub struct Proxy {
    pub url: String,
    pub ca: String,
    scraped: SocketAddr,
    authn: Authn,
    tenancy: Tenancy,
    stop: CancellationToken,
    run: Mutex<Option<JoinHandle<Drained>>>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Proxy {
    /// Starts one and waits until it is ready.
    pub async fn start(world: &World, setup: Setup) -> Self {
        let (ca, tls) = match setup.files {
            Some((files, ca)) => (ca, Tls::Files(files)),
            None => {
                let Serving {
                    ca,
                    certificate,
                    key,
                } = setup.pair.unwrap_or_else(serving_certificate);
                (ca, Tls::Pair { certificate, key })
            }
        };
        let release = match setup.mode {
            Mode::Impersonate => chart::IMPERSONATING,
            Mode::Token | Mode::Review => chart::RELEASE,
        };
        let own_token = world.install(release).await;
        let authentication = setup
            .authentication
            .unwrap_or_else(|| world.issuer.authentication(setup.mode));
        let mut tenancy = setup.tenancy;
        tenancy
            .rules
            .ignored_groups
            .push(GroupName::parse(&world.groups.admins).unwrap());
        let mut cluster = Cluster::of(&world.url, &world.ca, &own_token).unwrap();
        if let Some(url) = &setup.informers_at {
            cluster.config.cluster_url = url.parse().unwrap();
        }
        let bound = app::bind(app::Config {
            cluster,
            authn: Authentication::Fixed(settings(&authentication)),
            tenancy,
            listen: listen::Settings {
                address: Some(Ipv4Addr::LOCALHOST.into()),
                port: 0,
                ..listen::Settings::default()
            },
            tls,
            probe: None,
            metrics: Some((Ipv4Addr::LOCALHOST, 0).into()),
            rule_status: setup.rule_status,
            proxy: setup.proxy,
            upstream: setup.upstream,
            grace: setup.grace,
            clock: setup.clock,
        })
        .unwrap();
        let (url, readiness) = (
            format!("https://{}", bound.address().unwrap()),
            bound.readiness(),
        );
        let scraped = bound.metrics_address().unwrap().unwrap();
        let (authn, tenancy) = (bound.authn(), bound.tenancy());
        let stop = CancellationToken::new();
        let run = tokio::spawn(bound.run(stop.clone().cancelled_owned()));
        tokio::time::timeout(super::DEADLINE, readiness.ready())
            .await
            .expect("the proxy did not become ready");
        let proxy = Self {
            url,
            ca,
            scraped,
            authn,
            tenancy,
            stop,
            run: Mutex::new(Some(run)),
        };
        // Until it refuses strangers, and not everybody.
        eventually(|| async {
            let refused = proxy.anybody().get("/version").await;
            (refused.status == StatusCode::UNAUTHORIZED)
                .then_some(())
                .ok_or_else(|| refused.text())
        })
        .await;
        // Where a cluster stands when a proxy starts is no position to watch from (`watch::guard`), and only here does
        // it stand there until somebody writes.
        let moved = json!({"metadata": {"labels": {"moved": unique().to_string()}}});
        world
            .merge(&format!("/api/v1/namespaces/{}", chart::NAMESPACE), &moved)
            .await;
        proxy
    }

    /// Somebody without a credential at this proxy.
    pub fn anybody(&self) -> Caller {
        Caller::new(&self.url, &self.ca)
    }

    /// `person` at this proxy.
    pub fn caller(&self, person: &Person) -> Caller {
        self.anybody().bearing(&person.token)
    }

    /// `person`'s kubectl at this proxy.
    pub fn kubectl(&self, person: &Person) -> Kubectl {
        Kubectl::new(&self.url, &self.ca, &person.token)
    }

    /// Puts another section `authentication` in the place of the one it has.
    pub fn configure(&self, authentication: &Value) {
        self.authn.configure(settings(authentication)).unwrap();
    }

    /// What its metrics listener says.
    pub async fn metrics(&self) -> Scrape {
        Scrape::of(self.scraped).await
    }

    /// What the bearer of `token` may see, at the moment at which this proxy judges by it.
    pub async fn presence(&self, token: &str) -> Presence {
        let mut headers = HeaderMap::new();
        let bearer = format!("Bearer {token}").parse().unwrap();
        headers.insert(header::AUTHORIZATION, bearer);
        let caller = self.authn.identify(&headers, Ipv4Addr::LOCALHOST.into());
        self.tenancy.present(&caller.await.unwrap().who)
    }

    /// Says that it is time to go, as SIGTERM does.
    pub fn begin_shutdown(&self) {
        self.stop.cancel();
    }

    /// How the shutdown went.
    pub async fn ended(&self) -> Drained {
        let run = self.run.lock().await.take().unwrap();
        tokio::time::timeout(super::DEADLINE, run)
            .await
            .expect("the proxy did not end")
            .unwrap()
    }
}

impl Issuer {
    /// The section `authentication` that makes it the one that people log in at.
    pub fn authentication(&self, mode: Mode) -> Value {
        let mut entry = match &self.preset {
            Some(directory) => json!({
                "entra": {"tenantId": directory},
                "issuer": {"discoveryURL": self.discovery_url, "certificateAuthority": self.ca},
            }),
            None => json!({
                "issuer": {
                    "url": self.url,
                    "discoveryURL": self.discovery_url,
                    "certificateAuthority": self.ca,
                    "audiences": [self.audience],
                },
                "claimMappings": {
                    "username": {"claims": ["upn", "oid"], "prefix": ""},
                    "groups": {"claim": "groups", "prefix": ""},
                    "extra": [{"key": "oid", "claim": "oid"}],
                },
            }),
        };
        entry["upstream"] = match mode {
            Mode::Token => "token".into(),
            Mode::Impersonate => "impersonate".into(),
            Mode::Review => return json!({}),
        };
        json!({"jwt": [entry]})
    }
}

fn settings(authentication: &Value) -> authn::Settings {
    // JSON is YAML.
    let file = json!({ "authentication": authentication }).to_string();
    let file = File::parse("it", &file).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    file.authentication
}

/// A certificate for this machine, in PEM.
#[derive(Clone)]
pub struct Serving {
    pub ca: String,
    pub certificate: String,
    pub key: String,
}

/// One of a CA made for it.
pub fn serving_certificate() -> Serving {
    let (ca_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&ca_key).unwrap();
    let leaf =
        CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    let leaf = leaf
        .signed_by(&key, &rcgen::Issuer::from_params(&params, &ca_key))
        .unwrap();
    Serving {
        ca: ca.pem(),
        certificate: leaf.pem(),
        key: key.serialize_pem(),
    }
}
