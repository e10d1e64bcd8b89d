//! A real API server with etcd, controllers, a Capsule operator and a directory: the test bed as a child process.

use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use serde::Deserialize;

use super::tool;

/// A running test bed. It ends when this process does, since its standard input then ends.
pub struct Bed {
    pub facts: Facts,
    _process: Child,
}

/// `testbed.json`.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    pub server: String,
    pub ca_file: PathBuf,
    pub admin_kubeconfig: PathBuf,
    pub audit_log: PathBuf,
    pub control: String,
    pub node: String,
    pub entra: Entra,
    pub capsule: Groups,
}

/// The directory's stand-in.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entra {
    pub url: String,
    pub ca_file: PathBuf,
    pub tenant_id: String,
    pub issuer: String,
    #[serde(rename = "discoveryURL")]
    pub discovery_url: String,
    pub audience: String,
}

/// Object ids of groups.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Groups {
    /// Its members are Capsule's users.
    #[serde(rename = "group")]
    pub users: String,
    /// Its members are cluster-admin.
    #[serde(rename = "adminGroup")]
    pub admins: String,
}

impl Bed {
    /// Disturbs it, such as by `/apiserver/restart`; blocks until that is done.
    pub fn disturb(&self, path: &str) {
        self.tell(path, "");
    }

    /// Tells it something, such as role assignments for `/azure/grants`; blocks until that is done.
    pub fn tell(&self, path: &str, body: &str) {
        let address = self.facts.control.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }

    /// Starts one with these further arguments; blocks until it is ready.
    pub fn start(arguments: &[&str]) -> Self {
        let binary = tool("tests/testbed/build");
        let dir = tempfile::Builder::new()
            .prefix("kube-tenant-proxy-it.")
            .tempdir()
            .unwrap()
            .keep();
        // The shell outlives the test bed, whatever ends it, and cleans up.
        let mut process = Command::new("sh")
            .args([
                "-c",
                r#"trap : INT TERM; dir=$1; shift; "$0" up --dir "$dir/bed" --exit-with-stdin "$@"; rm -rf "$dir""#,
                &binary,
            ])
            .arg(&dir)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(process.stdout.take().unwrap()).lines();
        let ready = said
            .by_ref()
            .any(|line| line.unwrap().starts_with("ready:"));
        assert!(ready, "the test bed did not start");
        // Read on, so that it never waits for us.
        std::thread::spawn(move || said.for_each(drop));
        let facts = std::fs::read(dir.join("bed/testbed.json")).unwrap();
        Self {
            facts: serde_json::from_slice(&facts).unwrap(),
            _process: process,
        }
    }
}
