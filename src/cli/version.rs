//! `version`: which build this is, for people and for scripts.

use clap::Args;
use clap::ValueEnum;
use serde::Serialize;

use crate::release;

/// How it is printed.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// For scripts: everything there is to know, as `json` or `yaml`
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Json,
    Yaml,
}

/// What is known of the build. Fields are added, never renamed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    version: &'static str,
    /// Left out where whoever built it did not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    git_commit: Option<&'static str>,
    platform: String,
    features: &'static [&'static str],
}

/// The text of `version`.
pub(super) fn print(arguments: &Arguments) -> anyhow::Result<String> {
    let version = Version {
        version: release::VERSION,
        git_commit: release::revision(),
        platform: release::platform(),
        features: release::FEATURES,
    };
    Ok(match arguments.output {
        None => {
            let commit = version.git_commit;
            let commit = commit
                .map(|commit| format!(" ({commit})"))
                .unwrap_or_default();
            format!("kube-tenant-proxy {}{commit}\n", version.version)
        }
        Some(Format::Json) => format!("{}\n", serde_json::to_string_pretty(&version)?),
        Some(Format::Yaml) => serde_saphyr::to_string(&version)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_says_the_same_version() {
        let told = |output| print(&Arguments { output }).unwrap();
        let json: serde_json::Value = serde_json::from_str(&told(Some(Format::Json))).unwrap();
        let yaml: serde_json::Value = serde_saphyr::from_str(&told(Some(Format::Yaml))).unwrap();
        assert_eq!(json, yaml);
        assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
        assert!(json["platform"].as_str().unwrap().contains('/'));
        assert!(told(None).starts_with(&format!("kube-tenant-proxy {}", release::VERSION)));
    }
}
