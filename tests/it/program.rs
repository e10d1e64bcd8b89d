//! The built program itself, with its flags and files, as an operator runs it.

use std::io::BufRead;
use std::io::BufReader;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use futures_util::StreamExt;
use futures_util::stream;
use http::Method;
use http::StatusCode;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;

use crate::harness::DEADLINE;
use crate::harness::chart;
use crate::harness::eventually;
use crate::harness::http::Caller;
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
        let config = json!({"authentication": {"jwt": [{
            "issuer": {
                "url": world.issuer.url, "discoveryURL": world.issuer.discovery_url,
                "certificateAuthority": world.issuer.ca, "audiences": [world.issuer.audience],
            },
            "claimMappings": {
                "username": {"claims": ["upn", "oid"], "prefix": ""},
                "groups": {"claim": "groups", "prefix": ""},
            },
            "upstream": "token",
        }]}});
        let Serving {
            ca,
            certificate,
            key,
        } = serving_certificate();
        let mut process = Command::new(PROGRAM)
            .args([
                "serve",
                "--listening-port=0",
                "--probe-addr=0",
                "--metrics-addr=0",
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
        let port = tokio::task::spawn_blocking(move || {
            // {"level":"INFO","message":"listening","address":"[::]:12345",…}
            let port = lines.by_ref().map(Result::unwrap).find_map(|line| {
                let (_, rest) = line.split_once("\"address\":\"[::]:")?;
                rest.split('"').next().map(str::to_owned)
            });
            // Read on, so that it never waits for us.
            std::thread::spawn(move || lines.for_each(drop));
            port
        });
        let port = tokio::time::timeout(DEADLINE, port).await.unwrap().unwrap();
        let program = Self {
            process,
            dir,
            url: format!(
                "https://localhost:{}",
                port.expect("it says where it listens")
            ),
            ca,
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
    let replace = |token: &str| {
        let (new, old): (&Path, &Path) = (
            &program.dir.path().join("new"),
            &program.dir.path().join("token"),
        );
        std::fs::write(new, token).unwrap();
        std::fs::rename(new, old).unwrap();
    };
    // A token that nobody knows shows that the file is read; the right one again that it is read once more.
    replace("nobody-knows-this-one");
    eventually(|| async {
        let answer = caller.get(NAMESPACES).await;
        let refused = answer.status.is_server_error();
        refused
            .then_some(())
            .ok_or_else(|| "the old token still serves".to_owned())
    })
    .await;
    replace(&world.install(chart::RELEASE).await);
    until_he_sees(&caller, &tenant.namespaces).await;
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
