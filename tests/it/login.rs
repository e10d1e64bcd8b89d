//! The whole way of a person: kubectl, the real kubelogin, a device code at the directory, and the proxy.

use std::io::BufRead;
use std::io::BufReader;
use std::process::Command;
use std::process::Stdio;

use serde_json::json;

use crate::harness::DEADLINE;
use crate::harness::kubectl::Kubectl;
use crate::harness::output;
use crate::harness::people::unique;
use crate::harness::proxy::Proxy;
use crate::harness::tool;
use crate::harness::world::World;
use crate::lists::settled;

in_the_real_world!(a_login_by_device_code_lists_what_is_his);

/// The public client that kubelogin is in every directory.
const CLIENT: &str = "80faf920-1908-4b52-b5ef-a8e7bedfc67a";

async fn a_login_by_device_code_lists_what_is_his(world: &'static World) {
    let entra = &world.bed().facts.entra;
    let tenant = settled(world, &["dev", "prod"]).await;
    let persona = format!("persona-{}", unique());
    let body = json!({"name": persona, "kind": "member", "upn": tenant.owner.name, "groups": [world.groups.users]});
    world.directory("/control/persona", body).await;

    let kubelogin = tokio::task::spawn_blocking(|| tool("tests/testbed/kubelogin"))
        .await
        .unwrap();
    let home = tempfile::tempdir().unwrap();
    let proxy = world.proxy().await;
    // As `az aks get-credentials` writes it, with the directory's address besides.
    let exec = json!({
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "command": kubelogin,
        "args": [
            "get-token", "--environment", "AzurePublicCloud", "--server-id", entra.audience, "--client-id", CLIENT,
            "--tenant-id", entra.tenant_id, "--login", "devicecode",
            "--authority-host", entra.url, "--disable-instance-discovery",
        ],
        "env": [
            {"name": "SSL_CERT_FILE", "value": entra.ca_file},
            {"name": "HOME", "value": home.path()},
        ],
        "interactiveMode": "IfAvailable",
    });
    let kubectl = Kubectl::with_user(&world.url, &world.ca, &json!({"exec": exec}));
    lead_to(proxy, &kubectl);
    let (code, listing) = logging_in(kubectl.command(&["get", "ns", "-o", "name"]));
    let code = tokio::time::timeout(DEADLINE, code)
        .await
        .expect("no code to enter")
        .unwrap();
    let body = json!({"user_code": code, "persona": persona});
    world.directory("/control/approve", body).await;

    let expected: String = tenant
        .namespaces
        .iter()
        .map(|name| format!("namespace/{name}\n"))
        .collect();
    let listed = tokio::time::timeout(DEADLINE, listing)
        .await
        .expect("kubectl did not end")
        .unwrap();
    assert_eq!(listed, expected);
}

/// Rewrites a kubeconfig for the API server into one for the proxy, as its owner does.
fn lead_to(proxy: &Proxy, kubectl: &Kubectl) {
    let ca = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&ca, &proxy.ca).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_kube-tenant-proxy"));
    command.args(["kubeconfig", "--server", &proxy.url]);
    command.arg("--certificate-authority").arg(ca.path());
    command.arg("--from").arg(kubectl.kubeconfig());
    command.arg("--output").arg(kubectl.kubeconfig());
    assert_eq!(output(&mut command), "");
}

/// Runs kubectl; the code that a person is told to enter, and later what is printed.
fn logging_in(
    mut kubectl: Command,
) -> (
    tokio::sync::oneshot::Receiver<String>,
    tokio::task::JoinHandle<String>,
) {
    let (found, code) = tokio::sync::oneshot::channel();
    let listing = tokio::task::spawn_blocking(move || {
        let mut process = kubectl
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut found, mut said) = (Some(found), String::new());
        for line in BufReader::new(process.stderr.take().unwrap())
            .lines()
            .map(Result::unwrap)
        {
            said.push_str(&line);
            // To sign in, use a web browser to open the page … and enter the code ABCD1234 to authenticate.
            let code = line
                .split("the code ")
                .nth(1)
                .and_then(|rest| rest.split_whitespace().next());
            if let (Some(code), Some(found)) = (code, found.take_if(|_| code.is_some())) {
                found.send(code.to_owned()).unwrap();
            }
        }
        let done = process.wait_with_output().unwrap();
        assert!(done.status.success(), "{said}");
        String::from_utf8(done.stdout).unwrap()
    });
    (code, listing)
}
