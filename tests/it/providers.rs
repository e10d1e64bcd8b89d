//! An identity provider that is away: people wait and are not sent to log in again, and who is known stays known.

use std::path::Path;
use std::process::Command;

use http::StatusCode;
use http::header;
use serde_json::Value;
use serde_json::json;

use crate::harness::http::Answer;
use crate::harness::http::Caller;
use crate::harness::kubectl::Kubectl;
use crate::harness::kubectl::Running;
use crate::harness::people::Person;
use crate::harness::people::unique;
use crate::harness::proxy::Mode;
use crate::harness::proxy::Proxy;
use crate::harness::proxy::Setup;
use crate::harness::world::Issuer;
use crate::harness::world::World;
use crate::lists::until_he_sees;

const NAMESPACES: &str = "/api/v1/namespaces";

in_the_real_world!(
    kubectl_waits_for_a_provider_that_is_away_and_logs_in_once,
    who_is_known_stays_known_while_the_provider_is_away,
    a_new_key_is_fetched_at_once_and_one_taken_back_ends_its_logins,
);

/// A directory of its own, which only a proxy in impersonate mode accepts.
struct Directory {
    world: &'static World,
    id: String,
}

impl Directory {
    fn new(world: &'static World) -> Self {
        let id = format!("00000000-0000-4000-9000-{:012}", unique());
        Self { world, id }
    }

    /// How it answers from now on.
    async fn answers(&self, mode: &str) {
        self.control("directory", json!({ "mode": mode })).await;
    }

    async fn control(&self, control: &str, mut request: Value) -> Value {
        request["tid"] = self.id.as_str().into();
        self.world
            .directory(&format!("/control/{control}"), request)
            .await
    }

    async fn token(&self, person: &Person) -> String {
        self.token_by("", person).await
    }

    /// One that is signed by this key.
    async fn token_by(&self, key: &str, person: &Person) -> String {
        let claims = json!({"upn": person.name, "groups": [self.world.groups.users]});
        let minted = self
            .control("mint", json!({"claims": claims, "key": key}))
            .await;
        minted["token"].as_str().unwrap().to_owned()
    }

    async fn proxy(&self) -> Proxy {
        let facts = &self.world.bed().facts.entra;
        let issuer = Issuer {
            url: format!("https://sts.windows.net/{}/", self.id),
            discovery_url: facts.discovery_url.replace(&facts.tenant_id, &self.id),
            ca: self.world.issuer.ca.clone(),
            audience: facts.audience.clone(),
            preset: Some(self.id.clone()),
        };
        let setup = Setup {
            mode: Mode::Impersonate,
            authentication: Some(issuer.authentication(Mode::Impersonate)),
            ..Setup::default()
        };
        Proxy::start(self.world, setup).await
    }
}

fn assert_to_be_repeated(what: &str, answer: &Answer) {
    let text = answer.text();
    assert_eq!(
        answer.status,
        StatusCode::SERVICE_UNAVAILABLE,
        "{what}: {text}"
    );
    assert!(
        answer.headers.contains_key(header::RETRY_AFTER),
        "{what}: {text}"
    );
    assert_eq!(answer.json()["kind"], "Status", "{what}: {text}");
}

/// A kubectl whose plugin writes a line to `log` at each run.
fn kubectl(proxy: &Proxy, token: &str, log: &Path) -> Kubectl {
    let credential = json!({
        "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": token},
    });
    let exec = json!({
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "sh",
        "args": ["-c", r#"echo run >> "$0"; echo "$1""#, log, credential.to_string()],
        "interactiveMode": "Never",
    });
    Kubectl::with_user(&proxy.url, &proxy.ca, &json!({ "exec": exec }))
}

/// A command whose complaints are among its output.
fn complaining(command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"exec "$0" "$@" 2>&1"#]);
    shell.arg(command.get_program()).args(command.get_args());
    shell
}

async fn kubectl_waits_for_a_provider_that_is_away_and_logs_in_once(world: &'static World) {
    let directory = Directory::new(world);
    let proxy = directory.proxy().await;
    let tenant = world.tenant(&["dev"]).await;
    directory.answers("503").await;
    directory.control("keys", json!({"action": "rotate"})).await;
    let token = directory.token(&tenant.owner).await;
    assert_to_be_repeated(
        "an unknown key",
        &proxy.anybody().bearing(&token).get(NAMESPACES).await,
    );

    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("runs");
    let kubectl = kubectl(&proxy, &token, &log);
    let mut waiting = Running::of(complaining(
        &kubectl.command(&["get", "ns", "-o", "name", "-v=6"]),
    ));
    while !waiting.line().await.contains("503") {}
    directory.answers("ok").await;
    let expected = format!("namespace/{}", tenant.namespaces[0]);
    while waiting.line().await != expected {}
    assert_eq!(std::fs::read_to_string(log).unwrap(), "run\n");
}

async fn who_is_known_stays_known_while_the_provider_is_away(world: &'static World) {
    let directory = Directory::new(world);
    let proxy = directory.proxy().await;
    let tenant = world.tenant(&["dev"]).await;
    let known = Caller::new(&proxy.url, &proxy.ca).bearing(&directory.token(&tenant.owner).await);
    until_he_sees(&known, &tenant.namespaces).await;

    directory.answers("hang").await;
    assert_eq!(known.get(NAMESPACES).await.names(), tenant.namespaces);
    // Also by a token that nobody has shown yet, of a key that is known.
    let another = proxy
        .anybody()
        .bearing(&directory.token(&tenant.owner).await);
    assert_eq!(another.get(NAMESPACES).await.names(), tenant.namespaces);
    let mut rolled = another;
    for mode in ["hang", "503", "drop"] {
        directory.answers(mode).await;
        directory.control("keys", json!({"action": "rotate"})).await;
        rolled = proxy
            .anybody()
            .bearing(&directory.token(&tenant.owner).await);
        assert_to_be_repeated(mode, &rolled.get(NAMESPACES).await);
        assert_eq!(known.get(NAMESPACES).await.names(), tenant.namespaces);
    }

    directory.answers("ok").await;
    until_he_sees(&rolled, &tenant.namespaces).await;
}

async fn a_new_key_is_fetched_at_once_and_one_taken_back_ends_its_logins(world: &'static World) {
    let directory = Directory::new(world);
    let tenant = world.tenant(&["dev"]).await;
    let keys = directory.control("keys", json!({"action": "list"})).await;
    let other = keys["keys"][1]["kid"].as_str().unwrap();
    let proxy = directory.proxy().await;
    let first = proxy
        .anybody()
        .bearing(&directory.token(&tenant.owner).await);
    let stays = proxy
        .anybody()
        .bearing(&directory.token_by(other, &tenant.owner).await);
    for caller in [&first, &stays] {
        until_he_sees(caller, &tenant.namespaces).await;
    }

    let order = json!({"action": "rotate", "removeOld": true});
    directory.control("keys", order).await;
    let second = proxy
        .anybody()
        .bearing(&directory.token(&tenant.owner).await);
    assert_eq!(second.get(NAMESPACES).await.names(), tenant.namespaces);
    // What the first key proved was remembered, and is forgotten with the key.
    let refused = first.get(NAMESPACES).await;
    assert_eq!(
        refused.status,
        StatusCode::UNAUTHORIZED,
        "{}",
        refused.text()
    );
    assert_eq!(stays.get(NAMESPACES).await.names(), tenant.namespaces);
    let counts = directory.control("counts", json!({})).await;
    // Once at the start and once for each key that was not known.
    assert_eq!(counts["keys"], 3, "{counts}");
}
