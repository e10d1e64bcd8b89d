//! The real kubectl, with a kubeconfig of one person for one server.

use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;

use super::tool;

static CURRENT: LazyLock<String> = LazyLock::new(|| tool("tests/tools/kubectl"));
static OLD: LazyLock<String> = LazyLock::new(|| tool("tests/tools/kubectl-old"));

/// Which kubectl.
#[derive(Clone, Copy, Debug)]
pub enum Version {
    /// The one that people install today.
    Current,
    /// The oldest that the tests know.
    Old,
}

/// A kubectl that speaks for one person.
pub struct Kubectl {
    dir: TempDir,
    version: Version,
}

/// What a run of it came to.
#[derive(Debug)]
pub struct Ran {
    pub good: bool,
    pub out: String,
    pub errors: String,
}

impl Ran {
    /// The words printed; the run must have succeeded.
    pub fn lines(&self) -> Vec<&str> {
        assert!(self.good, "{}", self.errors);
        self.out.lines().collect()
    }
}

impl Kubectl {
    /// Of whoever `token` proves, at the server `url`.
    pub fn new(url: &str, ca: &str, token: &str) -> Self {
        Self::with_user(url, ca, &json!({"token": token}))
    }

    /// The same, trusting no authority of its own.
    pub fn without_authority(url: &str, token: &str) -> Self {
        Self::of_cluster(&json!({"server": url}), &json!({"token": token}))
    }

    /// Of a user as a kubeconfig describes one.
    pub fn with_user(url: &str, ca: &str, user: &Value) -> Self {
        let ca = BASE64_STANDARD.encode(ca);
        let cluster = json!({"server": url, "certificate-authority-data": ca});
        Self::of_cluster(&cluster, user)
    }

    fn of_cluster(cluster: &Value, user: &Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "clusters": [{"name": "it", "cluster": cluster}],
            "users": [{"name": "it", "user": user}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        });
        std::fs::write(dir.path().join("config"), config.to_string()).unwrap();
        Self {
            dir,
            version: Version::Current,
        }
    }

    /// The same with this kubectl.
    pub fn of(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// Its kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("config")
    }

    /// The command, for what is not run to its end.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let program = match self.version {
            Version::Current => &*CURRENT,
            Version::Old => &*OLD,
        };
        let mut command = Command::new(program);
        command.arg("--kubeconfig").arg(self.kubeconfig());
        command
            .arg("--cache-dir")
            .arg(self.dir.path().join("cache"));
        command.args(arguments);
        command
    }

    /// Runs it to its end.
    pub async fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, &[]).await
    }

    /// The same with these environment variables.
    pub async fn run_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
        let mut command = self.command(arguments);
        command.envs(environment.iter().copied());
        let done = tokio::task::spawn_blocking(move || command.output())
            .await
            .unwrap()
            .unwrap();
        Ran {
            good: done.status.success(),
            out: String::from_utf8(done.stdout).unwrap(),
            errors: String::from_utf8(done.stderr).unwrap(),
        }
    }
}
