//! The commands around the proxy, as the built program runs them: what they print, and with which exit code they end.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;

use serde_json::Value;

use crate::harness::output;
use crate::harness::tool;

const PROGRAM: &str = env!("CARGO_BIN_EXE_kube-tenant-proxy");

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command.args(arguments).env_remove("KUBECONFIG");
    command.output().unwrap()
}

/// What a run prints; it must succeed, and have nothing to say besides.
fn printed(arguments: &[&str]) -> String {
    let ran = run(arguments);
    let errors = String::from_utf8(ran.stderr).unwrap();
    assert!(
        ran.status.success() && errors.is_empty(),
        "{arguments:?}: {errors}"
    );
    String::from_utf8(ran.stdout).unwrap()
}

/// Whether `program` reads `text` without a complaint. A machine without it has nothing to say.
fn is_read_by(program: &str, arguments: &[&str], text: &str) -> bool {
    let started = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut process) = started else {
        return true;
    };
    process
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let done = process.wait_with_output().unwrap();
    done.status.success() && done.stderr.is_empty()
}

#[test]
fn the_version_is_told_to_people_and_to_scripts() {
    let version = env!("CARGO_PKG_VERSION");
    assert!(printed(&["version"]).starts_with(&format!("kube-tenant-proxy {version}")));
    let json: Value = serde_json::from_str(&printed(&["version", "-o", "json"])).unwrap();
    let yaml: Value = serde_saphyr::from_str(&printed(&["version", "-o", "yaml"])).unwrap();
    assert_eq!(json, yaml);
    assert_eq!(json["version"], version);
}

#[test]
fn every_shell_gets_its_completion_of_every_command() {
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let script = printed(&["completion", shell]);
        for word in [
            "serve",
            "kubeconfig",
            "check",
            "listening-port",
            "from-capsule-proxy",
        ] {
            assert!(script.contains(word), "{shell} lacks {word}");
        }
    }
    assert!(is_read_by(
        "bash",
        &["-n"],
        &printed(&["completion", "bash"])
    ));
    assert_eq!(run(&["completion", "tcsh"]).status.code(), Some(2));
}

/// What bash would complete these words to, the last of which is being typed: as its own completion calls the function.
fn completed_by_bash(words: &[&str]) -> Vec<String> {
    const ASKING: &str = r#"
        source "$1" || exit
        COMP_WORDS=("${@:2}") COMP_CWORD=$(($# - 2))
        registered=$(complete -p "$2") || exit
        [[ $registered =~ -F\ ([^ ]+) ]] || exit
        "${BASH_REMATCH[1]}" "$2" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        [ ${#COMPREPLY[@]} = 0 ] || printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("completion.bash");
    std::fs::write(&script, printed(&["completion", "bash"])).unwrap();
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-c", ASKING, "bash"]).arg(&script);
    let ran = bash.arg("kube-tenant-proxy").args(words).output().unwrap();
    let errors = String::from_utf8(ran.stderr).unwrap();
    assert!(
        ran.status.success() && errors.is_empty(),
        "{words:?}: {errors}"
    );
    let told = String::from_utf8(ran.stdout).unwrap();
    told.lines().map(|line| line.trim().to_owned()).collect()
}

#[test]
fn bash_completes_commands_flags_and_values() {
    for (typed, completed) in [
        (&["kubec"][..], &["kubeconfig"][..]),
        (&["comp"], &["completion"]),
        (&["check", "--from"], &["--from-capsule-proxy"]),
        (&["serve", "--listening-p"], &["--listening-port"]),
        (&["completion", "z"], &["zsh"]),
        (&["version", "-o", "y"], &["yaml"]),
        (&["kubeconfig", "--no-such"], &[]),
    ] {
        assert_eq!(completed_by_bash(typed), completed, "{typed:?}");
    }
}

#[test]
fn every_command_has_a_page_in_the_manual() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(printed(&["man", "--dir", dir.path().to_str().unwrap()]), "");
    let pages: Vec<String> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    for command in [
        "serve",
        "probe",
        "check",
        "kubeconfig",
        "version",
        "completion",
        "man",
    ] {
        let name = format!("kube-tenant-proxy-{command}.1");
        assert!(pages.contains(&name), "{pages:?}");
        let page = printed(&["man", command]);
        assert!(
            page.contains(&format!(".TH kube-tenant-proxy-{command}")),
            "{page}"
        );
        assert!(
            is_read_by("man", &["--warnings", "-l", "-"], &page),
            "{command}"
        );
    }
    assert!(printed(&["man"]).contains(".TH kube-tenant-proxy "));
    assert_eq!(run(&["man", "none"]).status.code(), Some(1));
}

#[test]
fn a_check_ends_with_one_where_something_would_be_refused() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let good = put(
        "good.yaml",
        "authentication: {tokenReview: {enabled: true}}\n",
    );
    assert!(printed(&["check", "--config", &good]).ends_with("good.yaml: no mistakes\n"));
    let bad = put(
        "bad.yaml",
        "authentication:\n  jwt:\n  - issuer: {url: ftp://x}\n    upstrem: token\n",
    );
    let ran = run(&["check", "--config", &bad]);
    let told = String::from_utf8(ran.stdout).unwrap();
    assert_eq!(ran.status.code(), Some(1));
    assert!(
        told.contains("bad.yaml:4:5: authentication.jwt[0].upstrem: unknown field"),
        "{told}"
    );
    for (arguments, code) in [
        (&["check"][..], 2),
        (&["check", "--config", "/there/is/none"], 1),
    ] {
        let ran = run(arguments);
        assert_eq!(ran.status.code(), Some(code), "{arguments:?}");
        assert!(ran.stdout.is_empty());
    }
}

/// The notes after an install and the command read one table; here that they also say the same of a whole values file.
#[test]
fn a_values_file_of_capsules_proxy_is_told_what_the_notes_tell() {
    let values = "charts/kube-tenant-proxy/ci/incumbent-values.yaml";
    let told = printed(&["check", "--from-capsule-proxy", values]);
    assert!(told.contains(" values keep name and meaning: "), "{told}");
    assert!(told.contains(" 0 would be refused"), "{told}");
    let mut helm = Command::new(tool("tests/tools/helm4"));
    helm.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")));
    helm.env("KUBECONFIG", "/dev/null");
    helm.args([
        "install",
        "capsule-proxy",
        "charts/kube-tenant-proxy",
        "--dry-run=client",
    ]);
    let notes = output(helm.args(["-f", values]));
    let said: Vec<&str> = notes
        .lines()
        .filter_map(|line| line.strip_prefix("  * ")?.strip_suffix('.'))
        .filter(|line| !line.starts_with("image.registry"))
        .collect();
    assert!(said.len() >= 5, "{notes}");
    for sentence in said {
        let found = told.lines().any(|line| line.ends_with(sentence));
        assert!(found, "{sentence} is not in\n{told}");
    }
}

#[test]
fn a_kubeconfig_is_made_for_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let made = dir.path().join("config");
    let server = "https://proxy.example.com:443";
    let directory = "11111111-2222-3333-4444-555555555555";
    printed(&[
        "kubeconfig",
        "--server",
        server,
        "--tenant-id",
        directory,
        "-o",
        made.to_str().unwrap(),
    ]);
    let mut kubectl = Command::new(tool("tests/tools/kubectl"));
    let read = output(
        kubectl
            .arg("--kubeconfig")
            .arg(&made)
            .args(["config", "view", "-o", "json"]),
    );
    let read: Value = serde_json::from_str(&read).unwrap();
    assert_eq!(read["clusters"][0]["cluster"]["server"], server);
    assert_eq!(read["users"][0]["user"]["exec"]["command"], "kubelogin");
}
