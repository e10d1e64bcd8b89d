//! The real kubectl, with a kubeconfig of one person for one server.

use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::LazyLock;
use std::thread::JoinHandle;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::DEADLINE;
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
    pub code: Option<i32>,
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

    /// Of a user as a kubeconfig describes one.
    pub fn with_user(url: &str, ca: &str, user: &Value) -> Self {
        let ca = BASE64_STANDARD.encode(ca);
        let cluster = json!({"server": url, "certificate-authority-data": ca});
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

    /// Starts it, to be followed line by line.
    pub fn start(&self, arguments: &[&str]) -> Running {
        Running::of(self.command(arguments))
    }

    /// Runs it to its end.
    pub async fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, &[]).await
    }

    /// The same with these environment variables.
    pub async fn run_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
        let mut command = self.command(arguments);
        command.envs(environment.iter().copied());
        let done = tokio::task::spawn_blocking(move || command.output());
        let done = tokio::time::timeout(DEADLINE, done)
            .await
            .expect("it did not end")
            .unwrap()
            .unwrap();
        Ran {
            good: done.status.success(),
            code: done.status.code(),
            out: String::from_utf8(done.stdout).unwrap(),
            errors: String::from_utf8(done.stderr).unwrap(),
        }
    }
}

/// A program that runs on. Dropped, it is ended.
pub struct Running {
    process: Child,
    lines: mpsc::UnboundedReceiver<String>,
    errors: Option<JoinHandle<String>>,
}

impl Running {
    /// A command, started; its input is empty.
    pub fn of(mut command: Command) -> Self {
        command.stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let (told, lines) = mpsc::unbounded_channel();
        let said = BufReader::new(process.stdout.take().unwrap()).lines();
        // Read to the end, also when nobody listens any more: some programs die of a closed pipe.
        std::thread::spawn(move || {
            said.map_while(Result::ok)
                .for_each(|line| drop(told.send(line)))
        });
        let mut stderr = process.stderr.take().unwrap();
        let errors = std::thread::spawn(move || {
            let mut text = String::new();
            let _cut = stderr.read_to_string(&mut text);
            text
        });
        Self {
            process,
            lines,
            errors: Some(errors),
        }
    }

    /// The next line of its output.
    pub async fn line(&mut self) -> String {
        match tokio::time::timeout(DEADLINE, self.lines.recv()).await {
            Ok(Some(line)) => line,
            Ok(None) => panic!("it ended: {}", self.end()),
            Err(_) => panic!("it says nothing more: {}", self.end()),
        }
    }

    /// The next line of its output, however long it takes; `None` when it has ended by itself.
    pub async fn next_line(&mut self) -> Option<String> {
        self.lines.recv().await
    }

    /// Ends it; what it had to complain about.
    fn end(&mut self) -> String {
        let _ended = self.process.kill();
        let _status = self.process.wait();
        let errors = self.errors.take();
        errors.map_or_else(String::new, |errors| errors.join().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}
