//! The built program itself, with its flags and files, as an operator runs it.

use std::io::BufRead;
use std::io::BufReader;
use std::net::SocketAddr;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;

use futures_util::StreamExt;
use futures_util::stream;
use http::Method;
use http::StatusCode;
use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;

use crate::harness::DEADLINE;
use crate::harness::chart;
use crate::harness::eventually;
use crate::harness::http::Caller;
use crate::harness::http::Events;
use crate::harness::metrics::Scrape;
use crate::harness::metrics::ask;
use crate::harness::proxy::Mode;
use crate::harness::proxy::Serving;
use crate::harness::proxy::serving_certificate;
use crate::harness::websocket::HANDSHAKE;
use crate::harness::world::World;
use crate::lists::until_he_sees;

const NAMESPACES: &str = "/api/v1/namespaces";
const PROGRAM: &str = env!("CARGO_BIN_EXE_kube-tenant-proxy");

in_both_worlds!(
    sigterm_under_load_cuts_nothing,
    a_reader_that_stalls_costs_little_and_delays_nobody,
    one_that_stalls_over_websocket_costs_no_more,
    its_own_token_is_read_again_when_it_rotates,
    its_configuration_is_read_again_when_it_changes,
    a_large_list_over_all_namespaces_is_never_held,
);

#[test]
fn what_is_wrong_is_said_with_its_cure() {
    for (arguments, said) in [
        (
            &["serve", "--kubeconfig", "/there/is/no/file"][..],
            "/there/is/no/file",
        ),
        (&["serve"], "--kubeconfig FILE"),
        (&["serve", "--listening-prot=1"], "--listening-port"),
        (&["serve", "--enable-ssl=perhaps"], "enable-ssl"),
    ] {
        let ran = Command::new(PROGRAM)
            .args(arguments)
            .env_remove("KUBECONFIG")
            .output()
            .unwrap();
        let errors = String::from_utf8(ran.stderr).unwrap();
        assert!(!ran.status.success(), "{arguments:?}");
        assert!(errors.contains(said), "{arguments:?}: {errors}");
        assert!(ran.stdout.is_empty(), "{arguments:?}");
    }
}

/// `serve` in a process of its own.
struct Program {
    process: Child,
    dir: TempDir,
    url: String,
    ca: String,
    probe: SocketAddr,
    metrics: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ended = self.process.kill();
        let _status = self.process.wait();
    }
}

impl Program {
    async fn start(world: &'static World) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, content: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let token = put("token", &world.install(chart::RELEASE).await);
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "clusters": [{"name": "it", "cluster": {
                "server": world.url, "certificate-authority": put("cluster-ca.crt", &world.ca),
            }}],
            "users": [{"name": "it", "user": {"tokenFile": token}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        });
        let config = json!({ "authentication": world.issuer.authentication(Mode::Token) });
        let Serving {
            ca,
            certificate,
            key,
        } = serving_certificate();
        let mut process = Command::new(PROGRAM)
            .args([
                "serve",
                "--listening-port=0",
                "--probe-addr=127.0.0.1:0",
                "--metrics-addr=127.0.0.1:0",
                "--shutdown-grace=20",
            ])
            .arg("--kubeconfig")
            .arg(put("kubeconfig", &kubeconfig.to_string()))
            .arg("--config")
            .arg(put("config.yaml", &config.to_string()))
            .arg("--ssl-cert-path")
            .arg(put("tls.crt", &certificate))
            .arg("--ssl-key-path")
            .arg(put("tls.key", &key))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&log);
        let listening = tokio::task::spawn_blocking(move || {
            let listening = lines
                .by_ref()
                .map(Result::unwrap)
                .find(|line| line.contains("\"listening\""));
            // Read on, so that it never waits for us.
            std::thread::spawn(move || {
                lines.for_each(|line| kept.lock().unwrap().push(line.unwrap()));
            });
            listening.expect("it says where it listens")
        });
        let listening = tokio::time::timeout(DEADLINE, listening).await;
        // {"level":"INFO","message":"listening","address":"[::]:12345","probe":"127.0.0.1:12346",…}
        let listening: Value = serde_json::from_str(&listening.unwrap().unwrap()).unwrap();
        let address = |of: &str| -> SocketAddr { listening[of].as_str().unwrap().parse().unwrap() };
        let program = Self {
            process,
            dir,
            url: format!("https://localhost:{}", address("address").port()),
            ca,
            probe: address("probe"),
            metrics: address("metrics"),
            log,
        };
        eventually(|| async {
            let ready = program.anybody().get("/_readyz").await;
            (ready.status == StatusCode::OK)
                .then_some(())
                .ok_or_else(|| ready.text())
        })
        .await;
        program
    }

    fn anybody(&self) -> Caller {
        Caller::new(&self.url, &self.ca)
    }

    /// Puts another file in the place of one of its own, as a whole.
    fn replace(&self, name: &str, content: &str) {
        let (new, old) = (self.dir.path().join("new"), self.dir.path().join(name));
        std::fs::write(&new, content).unwrap();
        std::fs::rename(new, old).unwrap();
    }

    /// The same of its configuration; waits until it has looked.
    async fn configure(&self, content: &str) {
        let looks = || async {
            let scrape = Scrape::of(self.metrics).await;
            scrape.sum("reloads_total", "what=\"configuration\"")
        };
        let before = looks().await;
        self.replace("config.yaml", content);
        eventually(|| async {
            let has_looked = looks().await > before;
            has_looked
                .then_some(())
                .ok_or_else(|| "it does not look".to_owned())
        })
        .await;
    }

    /// Whether it says that its configuration cannot be used.
    async fn refuses_its_configuration(&self) -> bool {
        let scrape = Scrape::of(self.metrics).await;
        scrape.sum("reload_failing", "what=\"configuration\"") > 0.0
    }

    /// The most memory it has had resident so far, in KiB.
    fn peak(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// Its resident memory, in KiB.
    fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    fn status(&self, field: &str) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    fn terminate(&self) {
        let pid = self.process.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
    }
}

async fn sigterm_under_load_cuts_nothing(world: &'static World) {
    let mut program = Program::start(world).await;
    let tenant = world.tenant(&["a", "b"]).await;
    let caller = program.anybody().bearing(&tenant.owner.token);
    until_he_sees(&caller, &tenant.namespaces).await;
    let mut watch = caller.watch(&format!("{NAMESPACES}?watch=1")).await;
    watch.next().await.unwrap();
    // Each on a connection of its own: from some moment on there is none to be had, and until then every answer is
    // whole and right.
    let asking = stream::iter(0..).map(|turn| {
        let caller = if turn % 2 == 0 {
            caller.clone()
        } else {
            caller.clone().over_h2()
        };
        async move { caller.get_if_connected(NAMESPACES).await }
    });
    let mut answers = 0;
    let asking = asking.buffer_unordered(8).take_while(|answer| {
        let goes_on = answer.is_some();
        if let Some(answer) = answer {
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
            assert_eq!(answer.names(), tenant.namespaces);
            answers += 1;
            if answers == 50 {
                program.terminate();
            }
        }
        std::future::ready(goes_on)
    });
    tokio::time::timeout(DEADLINE, asking.for_each(|_| std::future::ready(())))
        .await
        .expect("it does not stop taking connections");
    assert!(answers >= 50, "{answers}");
    let rest = watch.rest().await;
    assert!(
        rest.iter().all(|event| event["type"] != "ERROR"),
        "{rest:?}"
    );
    let ended = tokio::task::spawn_blocking(move || program.process.wait().unwrap());
    let ended = tokio::time::timeout(DEADLINE, ended)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(ended.code(), Some(0));
}

async fn a_reader_that_stalls_costs_little_and_delays_nobody(world: &'static World) {
    one_stalls(world, &[]).await;
}

async fn one_that_stalls_over_websocket_costs_no_more(world: &'static World) {
    one_stalls(world, &HANDSHAKE).await;
}

/// Somebody begins a watch with these headers, and does not read it.
async fn one_stalls(world: &'static World, headers: &[(&str, &str)]) {
    const BYTES: usize = 100_000;
    const TIMES: usize = 200;
    let program = Program::start(world).await;
    let tenant = world.tenant(&["a"]).await;
    let caller = program.anybody().bearing(&tenant.owner.token);
    until_he_sees(&caller, &tenant.namespaces).await;
    let path = format!("{NAMESPACES}?watch=1");
    // Its head is read, and not a byte after that.
    let mut stalled = program.anybody().connect().await;
    let headers = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"));
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: it\r\nAuthorization: Bearer {}\r\n{}\r\n",
        tenant.owner.token,
        headers.collect::<String>()
    );
    stalled.write_all(head.as_bytes()).await.unwrap();
    let mut reading = caller.watch(&path).await;
    reading.next().await.unwrap();
    let before = program.memory();
    let namespace = format!("{NAMESPACES}/{}", tenant.namespaces[0]);
    for turn in (0..TIMES).map(|turn| turn.to_string()) {
        let annotations = json!({"turn": turn, "large": "x".repeat(BYTES)});
        world
            .merge(
                &namespace,
                &json!({"metadata": {"annotations": annotations}}),
            )
            .await;
        reading
            .until(|event| event["object"]["metadata"]["annotations"]["turn"] == *turn)
            .await;
    }
    let grown = program.memory().saturating_sub(before);
    assert!(
        grown < 12 * 1024,
        "{grown} KiB for a stalled reader of {} KiB",
        BYTES * TIMES / 1024
    );
    assert_eq!(caller.get(NAMESPACES).await.names(), tenant.namespaces);
}

/// As kubelet does it, an hour before the old one ends.
async fn its_own_token_is_read_again_when_it_rotates(world: &'static World) {
    let program = Program::start(world).await;
    let tenant = world.tenant(&["a"]).await;
    let caller = program.anybody().bearing(&tenant.owner.token);
    until_he_sees(&caller, &tenant.namespaces).await;
    // A token that nobody knows shows that the file is read; the right one again that it is read once more.
    program.replace("token", "nobody-knows-this-one");
    eventually(|| async {
        let answer = caller.get(NAMESPACES).await;
        let refused = answer.status.is_server_error();
        refused
            .then_some(())
            .ok_or_else(|| "the old token still serves".to_owned())
    })
    .await;
    program.replace("token", &world.install(chart::RELEASE).await);
    until_he_sees(&caller, &tenant.namespaces).await;
}

async fn its_configuration_is_read_again_when_it_changes(world: &'static World) {
    let program = Program::start(world).await;
    let tenant = world.tenant(&["a"]).await;
    let caller = program.anybody().bearing(&tenant.owner.token);
    until_he_sees(&caller, &tenant.namespaces).await;

    program.configure("authenticatoin: {}\nrules: []\n").await;
    assert!(program.refuses_its_configuration().await);
    let ready = ask(program.probe, "/readyz").await;
    let refused: Vec<String> = {
        let log = program.log.lock().unwrap();
        let about = log
            .iter()
            .filter(|line| line.contains("cannot use the files"));
        about.cloned().collect()
    };
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    for said in [&ready, &refused[0]] {
        for mistake in ["config.yaml:1:1: authenticatoin", "config.yaml:2:1: rules"] {
            assert!(said.contains(mistake), "{said}");
        }
    }
    assert_eq!(caller.get(NAMESPACES).await.names(), tenant.namespaces);

    // An issuer that nobody has a token of, and no TokenReview, by which the API server would let everybody in.
    let mut authentication = world.issuer.authentication(Mode::Token);
    authentication["tokenReview"] = json!({"enabled": false});
    let of_the_world = json!({ "authentication": authentication }).to_string();
    authentication["jwt"][0]["issuer"]["url"] = "https://login.example.invalid".into();
    authentication["jwt"][0]["issuer"]["discoveryURL"] =
        "https://login.example.invalid/keys".into();
    let of_nobody = json!({ "authentication": authentication }).to_string();
    program.configure(&of_nobody).await;
    assert!(!program.refuses_its_configuration().await);
    let refused = caller.get(NAMESPACES).await;
    assert_eq!(
        refused.status,
        StatusCode::UNAUTHORIZED,
        "{}",
        refused.text()
    );

    program.configure(&of_the_world).await;
    until_he_sees(&caller, &tenant.namespaces).await;
}

#[test]
fn a_configuration_with_mistakes_is_no_beginning() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, content: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "it",
        "clusters": [{"name": "it", "cluster": {
            "server": "https://localhost:1",
            "certificate-authority": put("cluster-ca.crt", &serving_certificate().ca),
        }}],
        "users": [{"name": "it", "user": {"token": "it"}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
    });
    let ran = Command::new(PROGRAM)
        .arg("serve")
        .arg("--kubeconfig")
        .arg(put("kubeconfig", &kubeconfig.to_string()))
        .arg("--config")
        .arg(put("config.yaml", "authenticatoin: {}\nrules: []\n"))
        .output()
        .unwrap();
    let errors = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(1), "{errors}");
    for mistake in ["config.yaml:1:1: authenticatoin", "config.yaml:2:1: rules"] {
        assert!(errors.contains(mistake), "{errors}");
    }
}

async fn a_large_list_over_all_namespaces_is_never_held(world: &'static World) {
    const MAPS: usize = 50;
    let program = Program::start(world).await;
    let tenant = world.tenant(&["a", "b"]).await;
    let caller = program.anybody().bearing(&tenant.owner.token);
    until_he_sees(&caller, &tenant.namespaces).await;
    for namespace in &tenant.namespaces {
        for number in 0..MAPS {
            let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"x": "y".repeat(400_000)},
                "metadata": {"name": format!("large-{number}"), "labels": {"it": "large"}}});
            let path = format!("{NAMESPACES}/{namespace}/configmaps");
            world.admin(Method::POST, &path, Some(&body)).await.unwrap();
        }
    }
    let before = program.peak();
    let path = "/api/v1/configmaps?labelSelector=it%3Dlarge";
    let all = eventually(|| async {
        let all = caller.get(path).await;
        let whole = all.status == StatusCode::OK && all.names().len() == 2 * MAPS;
        whole
            .then_some(all.body.len())
            .ok_or_else(|| all.status.to_string())
    })
    .await;
    let grown = program.peak() - before;
    assert!(all > 40_000_000, "{all}");
    assert!(
        grown < 16 * 1024,
        "{grown} KiB for a list of {} KiB",
        all / 1024
    );
}
