//! A running world: API server, issuer, controllers and the operator's stand-in on loopback, for the `demo` command
//! and for tests. Dropping it stops everything.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use http::Request;
use http::Response;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::api::Api;
use super::audit::Audit;
use super::audit::AuditEntry;
use super::authn::Authenticator;
use super::controllers;
use super::controllers::Operator;
use super::issuer::Issuer;
use super::issuer::KeyError;
use super::issuer::Person;
use super::kubeconfig;
use super::seed::PROXY_ACCOUNT;
use super::seed::PROXY_NAMESPACE;
use super::seed::Seed;
use super::serve::serve;
use super::store::Key;
use super::store::State;
use super::store::Store;
use super::tls::Authority;
use super::tls::TlsError;
use super::user::MASTERS;
use super::user::User;
use crate::body;
use crate::body::Body;
use crate::k8s::names::GroupResource;

/// A day, after which nobody looks at a demo any more.
const SERVICE_ACCOUNT_TOKEN: i64 = 24 * 3_600;

/// A cluster on loopback with its own certificate authority, issuer and Capsule stand-in.
pub struct World {
    /// `https://127.0.0.1:…` of the API server.
    pub server_url: String,
    /// The authority that signed the certificates of API server and issuer.
    pub ca_pem: String,
    /// The proxy's service account token.
    pub proxy_token: String,
    /// A token of `system:masters`.
    pub admin_token: String,
    authority: Authority,
    issuer: Arc<Issuer>,
    api: Arc<Api>,
    operator: watch::Sender<Operator>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

#[cfg(test)]
impl World {
    /// Everything stored, for tests of this module.
    pub(crate) fn store(&self) -> &Store {
        &self.api.store
    }
}

/// Why a world could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No port on loopback.
    #[error("cannot listen on 127.0.0.1")]
    Listen(#[from] std::io::Error),
    /// No certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No signing key.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl World {
    /// Starts a world on free ports.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(seed: Seed) -> Result<Self, StartError> {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let issuing = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let server_url = format!("https://{}", server.local_addr()?);
        let issuer_url = format!("https://{}", issuing.local_addr()?);
        let authority = Authority::new()?;
        let ca_pem = authority.pem();
        let server_tls = authority.serving("kube-apiserver")?.config()?;
        let issuer_tls = authority.serving("issuer")?.config()?;
        let issuer = Arc::new(Issuer::new(&issuer_url)?);
        let store = Arc::new(Store::new());
        store.write(|state| seed.plant(state, &ca_pem));
        let stop = CancellationToken::new();
        let api = Arc::new(Api {
            store: Arc::clone(&store),
            authenticator: Authenticator::new(&issuer),
            audit: Audit::default(),
            stop: stop.clone(),
            bookmarks_every: seed.bookmarks_every,
        });
        let operator = watch::Sender::new(Operator {
            running: true,
            lag: seed.operator_lag,
        });
        let tasks = TaskTracker::new();
        tasks.spawn(controllers::run(
            Arc::clone(&store),
            ca_pem.as_str().into(),
            stop.clone(),
        ));
        tasks.spawn(controllers::run_heartbeat(Arc::clone(&store), stop.clone()));
        tasks.spawn(controllers::run_operator(
            store,
            operator.subscribe(),
            stop.clone(),
        ));
        let answer = {
            let api = Arc::clone(&api);
            move |request: Request<Incoming>| {
                let api = Arc::clone(&api);
                async move { api.answer(request).await }
            }
        };
        tasks.spawn(serve(
            server,
            server_tls,
            tasks.clone(),
            stop.clone(),
            answer,
        ));
        let answer = {
            let issuer = Arc::clone(&issuer);
            move |request: Request<Incoming>| std::future::ready(issuer_answer(&issuer, &request))
        };
        tasks.spawn(serve(
            issuing,
            issuer_tls,
            tasks.clone(),
            stop.clone(),
            answer,
        ));
        let admin = User {
            name: "admin".to_owned(),
            groups: vec![MASTERS.to_owned()],
            ..User::default()
        };
        let admin_token = api.authenticator.static_token(admin);
        let mut world = Self {
            server_url,
            ca_pem,
            proxy_token: String::new(),
            admin_token,
            authority,
            issuer,
            api,
            operator,
            stop,
            tasks,
        };
        world.proxy_token = world.service_account_token(PROXY_NAMESPACE, PROXY_ACCOUNT);
        Ok(world)
    }

    /// The issuer, which mints whatever a test needs.
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// A token of the member `user` of `groups`.
    pub fn token(&self, user: &str, groups: &[&str]) -> String {
        self.issuer.token(&Person::member(user, groups))
    }

    /// A token of a service account, which need not exist.
    pub fn service_account_token(&self, namespace: &str, name: &str) -> String {
        let key = Key::new(&GroupResource::new("", "serviceaccounts"), namespace, name);
        let uid = self
            .api
            .store
            .read(|state| state.get(&key).map(|account| account.uid().to_owned()))
            .unwrap_or_default();
        self.api
            .authenticator
            .service_account_token(namespace, name, &uid, SERVICE_ACCOUNT_TOKEN)
    }

    /// A kubeconfig that speaks to the API server itself, without a proxy.
    pub fn kubeconfig(&self, user: &str, token: &str) -> String {
        kubeconfig::print(&self.server_url, &self.ca_pem, user, token)
    }

    /// Every request so far, oldest first.
    pub fn audit(&self) -> Vec<AuditEntry> {
        self.api.audit.entries()
    }

    /// The requests since the last call.
    pub fn take_audit(&self) -> Vec<AuditEntry> {
        self.api.audit.take()
    }

    /// Whether the Capsule stand-in writes bindings and status; switched off, it is a dead operator.
    pub fn set_operator(&self, running: bool) {
        self.operator
            .send_modify(|operator| operator.running = running);
    }

    /// How far the Capsule stand-in lags behind.
    pub fn set_operator_lag(&self, lag: Duration) {
        self.operator.send_modify(|operator| operator.lag = lag);
    }

    /// Forgets every change so far: watches and pages from before answer 410.
    pub fn compact(&self) {
        self.api.store.write(|state| {
            let revision = state.revision();
            state.compact(revision);
        });
    }

    /// The revision of the last change.
    pub fn revision(&self) -> u64 {
        self.api.store.read(State::revision)
    }

    /// A certificate and key for a further server on loopback, signed by the world's authority, as PEM.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn serving_certificate(&self, name: &str) -> Result<(String, String), TlsError> {
        let serving = self.authority.serving(name)?;
        Ok((serving.certificate_pem(), serving.key_pem()))
    }

    /// Stops, and waits until everything has ended.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World")
            .field("server_url", &self.server_url)
            .finish_non_exhaustive()
    }
}

fn issuer_answer<B>(issuer: &Issuer, request: &Request<B>) -> Response<Body> {
    let document = (request.method() == Method::GET)
        .then(|| issuer.answer(request.uri().path()))
        .flatten();
    let (status, body) = match document {
        Some(document) => (StatusCode::OK, document.to_string()),
        None => (StatusCode::NOT_FOUND, r#"{"error":"not_found"}"#.to_owned()),
    };
    let mut response = Response::new(body::full(body));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    response
}
