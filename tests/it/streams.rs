//! What stays open: exec, logs and port-forward to a running pod, and many watches at once.

use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use serde_json::json;
use tokio::time::Instant;

use crate::harness::eventually;
use crate::harness::http::Events;
use crate::harness::kubectl::Kubectl;
use crate::harness::people::Tenant;
use crate::harness::proxy::Mode;
use crate::harness::world::Side;
use crate::harness::world::World;
use crate::lists::settled;
use crate::lists::until_he_sees;

const NAMESPACES: &str = "/api/v1/namespaces";

in_the_real_world!(
    exec_carries_every_stream_and_the_exit_code,
    exec_falls_back_to_spdy,
    exec_works_in_impersonate_mode,
    attach_carries_what_the_container_says,
    logs_follow_until_the_client_leaves,
    port_forward_carries_bytes_both_ways,
);
in_both_worlds!(more_than_a_hundred_watches_leave_short_requests_fast);

/// A pod that runs in the tenant's first namespace, and its owner's kubectl there.
pub(crate) async fn running_pod(world: &'static World) -> (Tenant, Kubectl) {
    let tenant = settled(world, &["dev"]).await;
    let Side::Real(bed) = &world.side else {
        panic!("only the real world has a node")
    };
    let body = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
        "spec": {
            "nodeName": bed.facts.node,
            "automountServiceAccountToken": false,
            "containers": [{"name": "web", "image": "example.com/web:1"}],
        },
    });
    let pods = format!("{NAMESPACES}/{}/pods", tenant.namespaces[0]);
    // The namespace's service account may not be there yet.
    eventually(|| async {
        world
            .admin(Method::POST, &pods, Some(&body))
            .await
            .map_err(|why| why.to_string())
    })
    .await;
    eventually(|| async {
        let pod = world
            .admin(Method::GET, &format!("{pods}/web"), None)
            .await
            .unwrap();
        (pod["status"]["phase"] == "Running")
            .then_some(())
            .ok_or_else(|| pod["status"].to_string())
    })
    .await;
    let kubectl = world.proxy().await.kubectl(&tenant.owner);
    // The operator's RoleBinding makes him admin of his namespace.
    eventually(|| async {
        let seen = kubectl
            .run(&[
                "-n",
                &tenant.namespaces[0],
                "get",
                "pod",
                "web",
                "-o",
                "name",
            ])
            .await;
        seen.good.then_some(()).ok_or(seen.errors)
    })
    .await;
    (tenant, kubectl)
}

async fn exec_carries_every_stream_and_the_exit_code(world: &'static World) {
    let (tenant, kubectl) = running_pod(world).await;
    every_stream_and_the_exit_code(&kubectl, &tenant.namespaces[0], "true").await;
}

/// What kubectl did before 1.31, and what it still does when a WebSocket does not get through.
async fn exec_falls_back_to_spdy(world: &'static World) {
    let (tenant, kubectl) = running_pod(world).await;
    every_stream_and_the_exit_code(&kubectl, &tenant.namespaces[0], "false").await;
}

async fn exec_works_in_impersonate_mode(world: &'static World) {
    let (tenant, _) = running_pod(world).await;
    let proxy = world.proxy_in(Mode::Impersonate).await;
    until_he_sees(&proxy.caller(&tenant.owner), &tenant.namespaces).await;
    let kubectl = proxy.kubectl(&tenant.owner);
    every_stream_and_the_exit_code(&kubectl, &tenant.namespaces[0], "true").await;
}

async fn attach_carries_what_the_container_says(world: &'static World) {
    let (tenant, kubectl) = running_pod(world).await;
    let mut attach = kubectl.command(&["-n", &tenant.namespaces[0], "attach", "web"]);
    let line = tokio::task::spawn_blocking(move || {
        let mut process = attach.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = lines.next();
        process.kill().unwrap();
        process.wait().unwrap();
        line
    });
    let line = tokio::time::timeout(crate::harness::DEADLINE, line)
        .await
        .unwrap()
        .unwrap();
    assert!(line.is_some_and(|line| !line.unwrap().is_empty()));
}

async fn every_stream_and_the_exit_code(kubectl: &Kubectl, namespace: &str, websockets: &str) {
    let environment = [("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", websockets)];
    let script = ["sh", "-c", "echo out; echo err >&2"];
    let ran = [&["-n", namespace, "exec", "web", "--"][..], &script].concat();
    let ran = kubectl.run_with(&ran, &environment).await;
    assert!(
        ran.good && ran.out == "out\n" && ran.errors.contains("err"),
        "{ran:?}"
    );

    let mut failing = kubectl.command(&["-n", namespace, "exec", "web", "--", "exit", "7"]);
    failing.envs(environment);
    let failed = tokio::task::spawn_blocking(move || failing.output())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(failed.status.code(), Some(7), "{failed:?}");

    let mut cat = kubectl.command(&["-n", namespace, "exec", "-i", "web", "--", "cat"]);
    cat.envs(environment.map(|(name, value)| (name, value.to_owned())));
    cat.stdin(Stdio::piped()).stdout(Stdio::piped());
    let sent = "ktp ".repeat(100_000);
    let (input, output) = (
        sent.clone(),
        tokio::task::spawn_blocking(move || {
            let mut process = cat.spawn().unwrap();
            let mut stdin = process.stdin.take().unwrap();
            let writer = std::thread::spawn(move || stdin.write_all(sent.as_bytes()).unwrap());
            let mut echoed = String::new();
            process
                .stdout
                .take()
                .unwrap()
                .read_to_string(&mut echoed)
                .unwrap();
            writer.join().unwrap();
            assert!(process.wait().unwrap().success());
            echoed
        }),
    );
    assert!(
        output.await.unwrap() == input,
        "what was sent did not come back whole"
    );
}

async fn logs_follow_until_the_client_leaves(world: &'static World) {
    let (tenant, kubectl) = running_pod(world).await;
    let mut logs = kubectl.command(&["-n", &tenant.namespaces[0], "logs", "-f", "web"]);
    let lines = tokio::task::spawn_blocking(move || {
        let mut process = logs.stdout(Stdio::piped()).spawn().unwrap();
        let lines: Vec<_> = BufReader::new(process.stdout.take().unwrap())
            .lines()
            .take(3)
            .map(Result::unwrap)
            .collect();
        process.kill().unwrap();
        process.wait().unwrap();
        lines
    });
    let lines = tokio::time::timeout(crate::harness::DEADLINE, lines)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(lines.len(), 3, "{lines:?}");
}

async fn port_forward_carries_bytes_both_ways(world: &'static World) {
    let (tenant, kubectl) = running_pod(world).await;
    bytes_go_both_ways(&kubectl, &tenant.namespaces[0], "true").await;
    bytes_go_both_ways(&kubectl, &tenant.namespaces[0], "false").await;
}

/// By a WebSocket that carries SPDY, or by SPDY itself.
async fn bytes_go_both_ways(kubectl: &Kubectl, namespace: &str, websockets: &str) {
    let mut forward = kubectl.command(&["-n", namespace, "port-forward", "pod/web", ":8080"]);
    forward.env("KUBECTL_PORT_FORWARD_WEBSOCKETS", websockets);
    let echoed = tokio::task::spawn_blocking(move || {
        let mut process = forward.stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        // Held, since kubectl writes a line for each connection and would die of a closed pipe.
        let mut lines = BufReader::new(process.stdout.take().unwrap());
        lines.read_line(&mut said).unwrap();
        // Forwarding from 127.0.0.1:12345 -> 8080
        let address = said
            .split_whitespace()
            .nth(2)
            .unwrap_or_else(|| panic!("{said}"))
            .to_owned();
        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(crate::harness::DEADLINE))
            .unwrap();
        // Whatever listens there echoes.
        stream.write_all(b"hello, pod").unwrap();
        let mut echoed = [0; 10];
        stream.read_exact(&mut echoed).unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
        echoed
    });
    assert_eq!(&echoed.await.unwrap(), b"hello, pod");
}

async fn more_than_a_hundred_watches_leave_short_requests_fast(world: &'static World) {
    let mut tenants = Vec::new();
    for _ in 0..4 {
        tenants.push(settled(world, &["dev"]).await);
    }
    let proxy = world.proxy().await;
    let path = format!("{NAMESPACES}?watch=1");
    let callers: Vec<_> = tenants
        .iter()
        .map(|tenant| proxy.caller(&tenant.owner))
        .collect();
    let mut watches = join_all(
        callers
            .iter()
            .flat_map(|caller| (0..32).map(|_| caller.watch(&path))),
    )
    .await;
    assert_eq!(watches.len(), 128);
    for watch in &mut watches {
        assert_eq!(watch.next().await.unwrap()["type"], "ADDED");
    }
    let start = Instant::now();
    for (tenant, caller) in tenants.iter().zip(&callers) {
        for _ in 0..5 {
            assert_eq!(caller.get(NAMESPACES).await.names(), tenant.namespaces);
        }
    }
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "20 lists took {:?}",
        start.elapsed()
    );
    for tenant in &tenants {
        let labels = json!({"metadata": {"labels": {"it": "1"}}});
        world
            .merge(&format!("{NAMESPACES}/{}", tenant.namespaces[0]), &labels)
            .await;
    }
    for watch in &mut watches {
        watch
            .until(|event| event["object"]["metadata"]["labels"]["it"] == "1")
            .await;
    }
}
