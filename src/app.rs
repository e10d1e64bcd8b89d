//! The composition root: [`bind`] takes every port and reads every file, [`Bound::run`] spawns what lives long. It
//! decides nothing.

mod secret;

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin;
use crate::authn;
use crate::authn::Authn;
use crate::body::BoxError;
use crate::catalog::Catalog;
use crate::catalog::discover;
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::drain;
use crate::listen;
use crate::listen::TlsFiles;
use crate::listen::TlsSource;
use crate::metrics::Metrics;
use crate::proxy;
use crate::proxy::Foundations;
use crate::proxy::Pages;
use crate::proxy::Proxy;
use crate::reader::Reader;
use crate::ready::Readiness;
use crate::ready::ReadyHandle;
use crate::release;
use crate::reload::Looks;
use crate::reload::Reload;
use crate::rule_status::RuleStatus;
use crate::tenancy;
use crate::tenancy::Tenancy;
use crate::upstream;
use crate::upstream::Upstream;

pub use secret::CertificateSecret;
pub use secret::SecretName;

/// Everything the program is told: the sum of its modules' settings.
pub struct Config {
    /// The API server, and who the proxy is there.
    pub cluster: Cluster,
    /// Who may prove himself, and how.
    pub authn: Authentication,
    /// Whose facts count.
    pub tenancy: tenancy::Settings,
    /// Where clients come in.
    pub listen: listen::Settings,
    /// With which certificate.
    pub tls: Tls,
    /// Where kubelet probes; `None`: nowhere.
    pub probe: Option<SocketAddr>,
    /// Where Prometheus scrapes; `None`: nowhere.
    pub metrics: Option<SocketAddr>,
    /// Whether the status of rules is written.
    pub rule_status: bool,
    /// How requests are carried out.
    pub proxy: proxy::Settings,
    /// The bounds of the way to the API server.
    pub upstream: upstream::Settings,
    /// How long requests and watches may take to end at shutdown.
    pub grace: Duration,
    /// What time it is.
    pub clock: Clock,
}

/// Where it is said who may prove himself, and how.
pub enum Authentication {
    /// In a file, read again when it changes.
    File(ConfigFile),
    /// Here, for as long as the process runs.
    Fixed(authn::Settings),
}

/// From the configuration file's content to what it says, or to everything that is wrong with it.
pub type ParseConfig = dyn Fn(&[u8]) -> Result<authn::Settings, BoxError> + Send + Sync;

/// The configuration file.
pub struct ConfigFile {
    /// Where it is.
    pub path: PathBuf,
    /// How it is read.
    pub parse: Box<ParseConfig>,
}

/// How clients are encrypted.
pub enum Tls {
    /// With the certificate in these files, read again when they change.
    Files(TlsFiles),
    /// The same, and the Secret that brings them is known: while one is missing, it is named.
    FromSecret(TlsFiles, SecretName),
    /// With this pair of PEM texts.
    Pair {
        /// The certificate, then its chain.
        certificate: String,
        /// Its key.
        key: String,
    },
    /// Not at all (`--enable-ssl=false`): tokens in the clear, for a TLS terminator on the same host.
    Plain,
}

/// Everything taken and read, nothing running.
pub struct Bound {
    main: listen::Bound,
    probe: Option<listen::Bound>,
    scrape: Option<listen::Bound>,
    tls: Option<Arc<TlsSource>>,
    secret: Option<Arc<CertificateSecret>>,
    /// What it says is in force before it counts as read.
    configuration: Option<Arc<Reload<()>>>,
    on: Foundations,
    rule_status: Option<RuleStatus>,
    proxy: proxy::Settings,
    grace: Duration,
    drain: drain::Drain,
    /// Until everything that must be waited for holds a handle of its own.
    starting: ReadyHandle,
}

/// Takes every port and reads every file. Needs a tokio runtime: clients of the API server are made here.
///
/// # Errors
/// The first thing that cannot be had, with its cause. A missing certificate is none: the process waits for it, not
/// ready.
pub fn bind(config: Config) -> anyhow::Result<Bound> {
    let own = kube::Client::try_from(config.cluster.config.clone())
        .context("cannot make a client for the proxy's own service account")?;
    let reader =
        Reader::new(config.cluster.config).context("cannot make a client for the reader")?;
    let authn = Authn::new(Some(own.clone()), config.clock.clone())
        .context("cannot set up authentication")?;
    let configuration = match config.authn {
        Authentication::Fixed(settings) => {
            authn
                .configure(settings)
                .context("cannot set up authentication")?;
            None
        }
        Authentication::File(file) => Some(Arc::new(follow(file, authn.clone())?)),
    };
    let upstream = Upstream::new(config.cluster.target, config.upstream)
        .context("the API server's address cannot be used")?;
    let (drain, watcher) = drain::channel();
    let bind = |address: SocketAddr| {
        listen::bind(listen::Settings {
            address: Some(address.ip()),
            port: address.port(),
            ..listen::Settings::default()
        })
        .with_context(|| format!("cannot listen on {address}"))
    };
    let (tls, secret) = match config.tls {
        Tls::Plain => (None, None),
        Tls::Files(files) => (Some(TlsSource::open(files)), None),
        Tls::FromSecret(files, name) => {
            let secret = CertificateSecret::of(name, &files);
            (Some(TlsSource::open(files)), Some(Arc::new(secret)))
        }
        Tls::Pair { certificate, key } => (Some(TlsSource::fixed(certificate, key)), None),
    };
    let port = config.listen.port;
    let catalog = Arc::new(ArcSwap::from_pointee(Catalog::default()));
    let tenancy = Tenancy::new(config.tenancy, config.clock.clone());
    let rule_status = config.rule_status.then(|| RuleStatus {
        reader: reader.client().clone(),
        own,
        catalog: Arc::clone(&catalog),
        tenancy: tenancy.clone(),
    });
    let readiness = Readiness::new();
    Ok(Bound {
        main: listen::bind(config.listen)
            .with_context(|| format!("cannot listen on port {port}"))?,
        probe: config.probe.map(bind).transpose()?,
        scrape: config.metrics.map(bind).transpose()?,
        tls: tls.map(Arc::new),
        secret,
        configuration,
        on: Foundations {
            authn,
            catalog,
            tenancy,
            clock: config.clock,
            reader,
            upstream: Arc::new(upstream),
            own_token: Arc::new(config.cluster.own_token),
            pages: Arc::new(Pages::new().context("the system gives no random bytes")?),
            readiness: readiness.clone(),
            counts: Arc::default(),
            drain: watcher,
            tasks: TaskTracker::new(),
        },
        rule_status,
        proxy: config.proxy,
        grace: config.grace,
        drain,
        starting: readiness.handle("start"),
    })
}

/// The configuration file, whose every usable state `authn` takes over.
fn follow(file: ConfigFile, authn: Authn) -> anyhow::Result<Reload<()>> {
    let ConfigFile { path, parse } = file;
    let followed = Reload::open("configuration", vec![path], move |contents| {
        let [content] = contents else {
            return Err("the configuration is one file".into());
        };
        let configured = authn.configure(parse(content)?);
        // With its cause, which whoever prints a refusal leaves out.
        configured.map_err(|error| format!("{:#}", anyhow::Error::from(error)).into())
    });
    match followed.problem() {
        None => Ok(followed),
        Some(problem) => Err(anyhow::Error::msg(problem)),
    }
}

/// What is wrong with the files of the certificate as they are now, and which Secret brings one that is missing.
fn certificate_problem(tls: &TlsSource, secret: Option<&CertificateSecret>) -> Option<Arc<str>> {
    let problem = tls.files().problem()?;
    match secret {
        Some(secret) if tls.files().lacks_one() => Some(format!("{problem}; {secret}").into()),
        Some(_) | None => Some(problem),
    }
}

impl Bound {
    /// Where clients come in.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.main.address()
    }

    /// Where kubelet probes, if anywhere.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn probe_address(&self) -> std::io::Result<Option<SocketAddr>> {
        self.probe.as_ref().map(listen::Bound::address).transpose()
    }

    /// Where Prometheus scrapes, if anywhere.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn metrics_address(&self) -> std::io::Result<Option<SocketAddr>> {
        self.scrape.as_ref().map(listen::Bound::address).transpose()
    }

    /// What is wrong with files as they are now.
    fn problems(&self) -> impl Fn() -> Vec<Arc<str>> + Clone + use<> {
        let (tls, own_token) = (self.tls.clone(), Arc::clone(&self.on.own_token));
        let (secret, configuration) = (self.secret.clone(), self.configuration.clone());
        move || {
            let tls = tls.as_ref();
            let tls = tls.and_then(|tls| certificate_problem(tls, secret.as_deref()));
            let own_token = own_token.file().and_then(Reload::problem);
            let configuration = configuration.as_deref().and_then(Reload::problem);
            [tls, own_token, configuration]
                .into_iter()
                .flatten()
                .collect()
        }
    }

    /// What Prometheus is told. It holds no watcher of the drain: whoever scrapes holds up no shutdown.
    fn metrics(&self) -> Metrics {
        let mut metrics = Metrics::default();
        let (counts, authn) = (Arc::clone(&self.on.counts), self.on.authn.clone());
        metrics.add(move |sheet| counts.families(sheet));
        metrics.add(move |sheet| authn.families(sheet));
        let (tenancy, upstream) = (self.on.tenancy.clone(), Arc::clone(&self.on.upstream));
        metrics.add(move |sheet| tenancy.families(sheet));
        metrics.add(move |sheet| upstream.stats().families(sheet));
        let clients = self.main.stats();
        metrics.add(move |sheet| clients.families(sheet));
        let (tls, own_token) = (self.tls.clone(), Arc::clone(&self.on.own_token));
        let configuration = self.configuration.clone();
        metrics.add(move |sheet| {
            let tls = tls.as_ref().map(|tls| ("certificate", tls.files().looks()));
            let token = own_token.file().map(|file| ("token", file.looks()));
            let configuration = configuration
                .as_ref()
                .map(|file| ("configuration", file.looks()));
            let looks: Vec<_> = [tls, token, configuration].into_iter().flatten().collect();
            Looks::families(&looks, sheet)
        });
        if let Some(tls) = self.tls.clone() {
            metrics.add(move |sheet| tls.families(sheet));
        }
        let readiness = self.on.readiness.clone();
        metrics.add(move |sheet| readiness.families(sheet));
        metrics.add(release::families);
        metrics
    }

    /// What is still missing before requests can be answered.
    pub fn readiness(&self) -> Readiness {
        self.on.readiness.clone()
    }

    /// Who may prove himself, as this process knows it: a handle.
    pub fn authn(&self) -> Authn {
        self.on.authn.clone()
    }

    /// Who may see what, as this process knows it: a handle, which shows a change at the moment at which requests and open
    /// watches are judged by it.
    pub fn tenancy(&self) -> Tenancy {
        self.on.tenancy.clone()
    }

    /// Runs until `shutdown` completes, then drains: no new connections, requests in flight finish, watches end cleanly.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) -> drain::Drained {
        let stop = CancellationToken::new();
        let background = TaskTracker::new();
        self.spawn_background(&background, &stop);
        if let Some(rule_status) = self.rule_status.take() {
            let writing = rule_status.keep_current();
            background.spawn(stop.clone().run_until_cancelled_owned(writing));
        }
        let (metrics, problems) = (self.metrics(), self.problems());
        let Self {
            main,
            probe,
            scrape,
            tls,
            on,
            proxy,
            grace,
            drain,
            starting,
            ..
        } = self;
        let readiness = on.readiness.clone();
        let watcher = on.drain.clone();
        let tasks = on.tasks.clone();
        let first_position = on.readiness.handle("first position");
        let proxy = Proxy::new(on, proxy);
        let (learning, all_known) = (Arc::clone(&proxy), readiness.clone());
        background.spawn(stop.clone().run_until_cancelled_owned(async move {
            learning.learn_base().await;
            drop(first_position);
            all_known.ready().await;
            learning.learn_more().await;
        }));
        drop(starting);
        let serving = watcher.clone();
        tasks.spawn(async move {
            let handler = move |request, connection| Arc::clone(&proxy).handle(request, connection);
            main.serve(tls, handler, serving).await;
        });
        if let Some(probe) = probe {
            let handler = move |request, _connection| {
                std::future::ready(admin::probe(&request, &readiness, &problems))
            };
            background.spawn(stop.clone().run_until_cancelled_owned(probe.serve(
                None,
                handler,
                watcher.clone(),
            )));
        }
        if let Some(scrape) = scrape {
            let metrics = Arc::new(metrics);
            let handler = move |request, _connection| {
                std::future::ready(admin::metrics(&request, || metrics.render()))
            };
            background.spawn(stop.clone().run_until_cancelled_owned(scrape.serve(
                None,
                handler,
                watcher.clone(),
            )));
        }
        drop(watcher);
        shutdown.await;
        tracing::info!(grace_seconds = grace.as_secs(), "shutting down");
        let drained = drain.drain(grace).await;
        stop.cancel();
        background.close();
        background.wait().await;
        tasks.close();
        drained
    }

    /// Informers, discovery, key fetches and the files that may change. What must be there before requests can be
    /// answered holds a readiness handle until it is.
    fn spawn_background(&self, background: &TaskTracker, stop: &CancellationToken) {
        let (on, client) = (&self.on, self.on.reader.client().clone());
        let until_stopped = |task: Pin<Box<dyn Future<Output = ()> + Send>>| {
            background.spawn(stop.clone().run_until_cancelled_owned(task));
        };
        let first_look = on.readiness.handle("discovery");
        let catalog = Arc::clone(&on.catalog);
        until_stopped(Box::pin({
            let client = client.clone();
            async move { match discover::keep_current(client, catalog, || drop(first_look)).await {} }
        }));
        background.spawn(on.tenancy.clone().run(client, &on.readiness, stop.clone()));
        let keys = on.authn.clone();
        until_stopped(Box::pin(async move { keys.keep_keys_fresh().await }));
        if let Some(configuration) = self.configuration.clone() {
            until_stopped(Box::pin(async move { configuration.run().await }));
        }
        let (authn, logins) = (on.authn.clone(), on.readiness.handle("identity provider"));
        until_stopped(Box::pin(async move {
            authn.ready().await;
            drop(logins);
        }));
        let own_token = Arc::clone(&on.own_token);
        until_stopped(Box::pin(async move { own_token.run().await }));
        if let Some(tls) = &self.tls {
            let (files, certificate) =
                (Arc::clone(tls), on.readiness.handle("serving certificate"));
            let secret = self.secret.clone();
            until_stopped(Box::pin(async move {
                let available = async {
                    let remind = || {
                        if let Some(problem) = certificate_problem(&files, secret.as_deref()) {
                            tracing::warn!(%problem, "not ready without a serving certificate");
                        }
                    };
                    files.files().available_or(remind).await;
                    drop(certificate);
                };
                tokio::join!(files.files().run(), available);
            }));
        }
    }
}
