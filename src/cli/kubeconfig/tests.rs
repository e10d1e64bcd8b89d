//! Kubeconfigs from the command line's arguments to the file, read again by a client library.

use clap::Parser;
use kube::config::Kubeconfig;
use serde_json::json;

use super::*;
use crate::listen::self_signed;

const DIRECTORY: &str = "11111111-2222-3333-4444-555555555555";

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    arguments: Arguments,
}

struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn put(&self, name: &str, content: &str) -> String {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }
}

fn ca() -> String {
    self_signed::generate(&["proxy.example.com".to_owned()])
        .unwrap()
        .ca
}

/// What the command prints, or why it does not, in one line.
fn made(arguments: &[&str]) -> Result<String, String> {
    let line = ["kubeconfig", "--server", "https://proxy.example.com:443"];
    let line = line.iter().chain(arguments);
    let parsed = Line::try_parse_from(line).map_err(|error| error.to_string())?;
    run(parsed.arguments).map_err(|error| {
        let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
        chain.join(": ")
    })
}

/// As `az aks get-credentials` writes it, with a comment of its owner.
fn of_az() -> String {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "aw-capsule", "preferences": {},
        "clusters": [
            {"name": "aw-capsule", "cluster": {
                "server": "https://aw.hcp.francecentral.azmk8s.io:443", "certificate-authority-data": "b2xk"}},
            {"name": "other", "cluster": {"server": "https://other.example.com", "insecure-skip-tls-verify": true}},
        ],
        "contexts": [
            {"name": "aw-capsule", "context": {"cluster": "aw-capsule", "user": "clusterUser_aw"}},
            {"name": "other", "context": {"cluster": "other", "user": "bob", "namespace": "on"}},
        ],
        "users": [
            {"name": "clusterUser_aw", "user": {"exec": {"apiVersion": "client.authentication.k8s.io/v1beta1",
                "command": "kubelogin", "args": ["get-token", "--login", "devicecode"], "env": null,
                "provideClusterInfo": false}}},
            {"name": "bob", "user": {"token": "s3cret-token"}},
        ],
    })
    .to_string()
}

#[test]
fn a_new_one_logs_in_by_kubelogin_and_trusts_the_ca_alone() {
    let desk = Desk::new();
    let (ca, directory) = (
        desk.put("ca.crt", &ca()),
        DIRECTORY.to_uppercase().replace('1', "A"),
    );
    let text = made(&["--certificate-authority", &ca, "--tenant-id", &directory]).unwrap();
    let config: Kubeconfig = serde_saphyr::from_str(&text).unwrap();
    let cluster = config.clusters[0].cluster.as_ref().unwrap();
    assert_eq!(
        cluster.server.as_deref(),
        Some("https://proxy.example.com:443")
    );
    assert!(cluster.certificate_authority_data.is_some());
    let exec = config.auth_infos[0]
        .auth_info
        .as_ref()
        .unwrap()
        .exec
        .as_ref()
        .unwrap();
    assert_eq!(exec.command.as_deref(), Some("kubelogin"));
    assert_eq!(
        exec.args.as_ref().unwrap().join(" "),
        "get-token --login devicecode --environment AzurePublicCloud --server-id 6dae42f8-4368-4678-94ff-3960e28e3630 \
         --tenant-id aaaaaaaa-2222-3333-4444-555555555555 --client-id 80faf920-1908-4b52-b5ef-a8e7bedfc67a"
    );
    let public = made(&["--tenant-id", DIRECTORY, "--login", "azurecli"]).unwrap();
    assert!(
        !public.contains("certificate-authority") && !public.contains("--client-id"),
        "{public}"
    );
}

#[test]
fn a_rewritten_one_differs_in_server_and_ca_alone() {
    let desk = Desk::new();
    let (ca, from) = (desk.put("ca.crt", &ca()), desk.put("config", &of_az()));
    let text = made(&["--from", &from, "--certificate-authority", &ca]).unwrap();
    let (mut before, after): (Value, Value) = (
        serde_json::from_str(&of_az()).unwrap(),
        serde_saphyr::from_str(&text).unwrap(),
    );
    let cluster = &mut before["clusters"][0]["cluster"];
    cluster["server"] = "https://proxy.example.com:443".into();
    cluster["certificate-authority-data"] =
        after["clusters"][0]["cluster"]["certificate-authority-data"].clone();
    assert_ne!(cluster["certificate-authority-data"], "b2xk");
    assert_eq!(after, before);
    // `on` is a boolean to kubectl's parser where it stands without quotes.
    assert!(
        text.contains("namespace: \"on\"") || text.contains("namespace: 'on'"),
        "{text}"
    );

    let other = made(&["--from", &from, "--context", "other"]).unwrap();
    let other: Value = serde_saphyr::from_str(&other).unwrap();
    let leads_there = json!({"server": "https://proxy.example.com:443"});
    assert_eq!(other["clusters"][1]["cluster"], leads_there);
}

#[test]
fn a_file_is_its_owners_alone_and_is_not_replaced_unasked() {
    use std::os::unix::fs::PermissionsExt;
    let desk = Desk::new();
    let (from, there) = (desk.put("config", &of_az()), desk.put("there", "mine"));
    let new = desk.path("new");
    assert_eq!(made(&["--from", &from, "-o", &new]).unwrap(), "");
    assert_eq!(
        std::fs::metadata(&new).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let refused = made(&["--from", &from, "-o", &there]).unwrap_err();
    assert!(refused.contains("--force"), "{refused}");
    assert_eq!(std::fs::read_to_string(&there).unwrap(), "mine");
    made(&["--from", &from, "-o", &there, "--force"]).unwrap();
    made(&["--from", &from, "-o", &from]).unwrap();
    assert!(
        std::fs::read_to_string(&from)
            .unwrap()
            .contains("proxy.example.com")
    );
    let names = std::fs::read_dir(desk.0.path()).unwrap().count();
    assert_eq!(names, 3, "nothing unfinished stays behind");
}

#[test]
fn nonsense_is_refused_with_a_sentence_and_without_a_secret() {
    let desk = Desk::new();
    let from = desk.put("config", &of_az());
    let broken = desk.put("broken", "users:\n- user: {token: s3cret-token\n  a: [");
    let key = desk.put(
        "key",
        "-----BEGIN PRIVATE KEY-----\nczNjcmV0\n-----END PRIVATE KEY-----\n",
    );
    let list = desk.put("list", "[s3cret-token]");
    let empty = desk.put("empty", "");
    for (arguments, said) in [
        (&[][..], "--tenant-id"),
        (&["--tenant-id", "example.com"], "az account show"),
        (&["--client-id", DIRECTORY], "--tenant-id"),
        (
            &["--from", &from, "--tenant-id", DIRECTORY],
            "cannot be used with",
        ),
        (&["--from", &from, "--context", "none"], "no context `none`"),
        (&["--from", &broken], "not YAML"),
        (&["--from", &list], "no kubeconfig"),
        (&["--from", "/there/is/none"], "cannot read /there/is/none"),
        (
            &["--from", &from, "--certificate-authority", &key],
            "private key",
        ),
        (
            &["--from", &from, "--certificate-authority", &empty],
            "no certificate",
        ),
        (&["--tenant-id", DIRECTORY, "--login", "ropc"], "devicecode"),
    ] {
        let why = made(arguments).unwrap_err();
        assert!(why.contains(said), "{arguments:?}: {why}");
        assert!(
            !why.contains("s3cret") && !why.contains("czNjcmV0"),
            "{why}"
        );
    }
    for (url, said) in [
        ("http://proxy.example.com", "in the clear"),
        ("proxy.example.com", "https://"),
        ("https://a:b@proxy.example.com", "no user"),
        ("https://proxy.example.com/path", "host and a port"),
        ("https://proxy.example.com?x", "host and a port"),
        ("https://", "no URL"),
    ] {
        let why = Server::parse(url).unwrap_err();
        assert!(why.contains(said), "{url}: {why}");
    }
}

#[test]
fn a_login_that_the_proxy_does_not_take_is_named() {
    let notes = |user: Value| -> Vec<String> {
        let config = json!({
            "current-context": "a",
            "contexts": [
                {"name": "a", "context": {"cluster": "c", "user": "u"}},
                {"name": "b", "context": {"cluster": "c", "user": "u"}},
            ],
            "clusters": [{"name": "c", "cluster": {}}],
            "users": [{"name": "u", "user": user}],
        });
        let target = Target {
            server: Server::parse("https://proxy.example.com").unwrap(),
            authority: None,
        };
        document::rewritten(config, &target, None).unwrap().1
    };
    assert!(notes(json!({"client-certificate-data": "x"}))[0].contains("client certificate"));
    assert!(notes(json!({"auth-provider": {}}))[0].contains("convert-kubeconfig"));
    assert!(notes(json!({"exec": {"args": ["--pop-enabled"]}}))[0].contains("proof-of-possession"));
    let shared = notes(json!({"token": "x"}));
    assert_eq!(
        shared,
        ["the cluster `c` is also that of `b`, which now leads to the proxy too"]
    );
}
