//! `check`: everything that is wrong with a configuration file, and what of a values file that was written for Capsule's
//! proxy changes here. It reads files and prints; it starts nothing.

use std::fmt::Write;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use super::serve;
use crate::config::File;
use crate::config::incumbent::Finding;
use crate::config::incumbent::Report;

/// What to look at.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(super) struct Arguments {
    /// Configuration file of `serve`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Values file that Capsule's proxy was installed with: what keeps, what changes, what to do
    #[arg(long, value_name = "FILE")]
    from_capsule_proxy: Option<PathBuf>,
}

/// What was found.
pub(super) struct Found {
    /// For stdout.
    pub(super) text: String,
    /// Whether something would not be accepted.
    pub(super) bad: bool,
}

/// Looks at what it is told to.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Found> {
    let mut found = Found {
        text: String::new(),
        bad: false,
    };
    if let Some(path) = &arguments.config {
        let (name, text) = read(path)?;
        found.configuration(&name, &text)?;
    }
    if let Some(path) = &arguments.from_capsule_proxy {
        let (name, text) = read(path)?;
        found.values(&name, &text)?;
    }
    Ok(found)
}

fn read(path: &Path) -> anyhow::Result<(String, String)> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
    Ok((name, text))
}

impl Found {
    fn configuration(&mut self, name: &str, text: &str) -> anyhow::Result<()> {
        match File::parse(name, text) {
            Ok(_) => writeln!(self.text, "{name}: no mistakes")?,
            Err(mistakes) => {
                self.bad = true;
                writeln!(self.text, "{mistakes}")?;
            }
        }
        Ok(())
    }

    fn values(&mut self, name: &str, text: &str) -> anyhow::Result<()> {
        let mut report = Report::of(name, text)?;
        match serve::flags_without_effect(report.extra_args.iter().map(|(_, flag)| flag)) {
            Ok(flags) => {
                for flag in flags {
                    let is_it = |given: &String| given.split('=').next() == Some(flag);
                    let at = report.extra_args.iter().find(|(_, given)| is_it(given));
                    report.changed.push(Finding {
                        at: at.map(|(at, _)| *at).unwrap_or_default(),
                        text: format!("options.extraArgs: {flag} has no effect"),
                    });
                }
            }
            Err(why) => report.unknown.push(Finding {
                at: report
                    .extra_args
                    .first()
                    .map(|(at, _)| *at)
                    .unwrap_or_default(),
                text: format!("options.extraArgs: {why}"),
            }),
        }
        self.bad |= !report.unknown.is_empty();
        write!(self.text, "{report}")?;
        let (changed, unknown) = (report.changed.len(), report.unknown.len());
        writeln!(
            self.text,
            "{changed} act differently here or not at all, {unknown} would be refused; CHANGELOG.md lists what else differs"
        )?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looked(config: Option<&str>, values: Option<&str>) -> Found {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let mut found = run(&Arguments {
            config: config.map(|text| put("proxy.yaml", text)),
            from_capsule_proxy: values.map(|text| put("values.yaml", text)),
        })
        .unwrap();
        found.text = found
            .text
            .replace(&format!("{}/", dir.path().display()), "");
        found
    }

    #[test]
    fn every_mistake_of_a_configuration_is_shown_in_one_run() {
        let found = looked(
            Some("authentication:\n  jwt:\n  - entra: {tenantId: x}\n  tokenRevew: {}\n"),
            None,
        );
        assert!(found.bad);
        assert!(
            found
                .text
                .contains("proxy.yaml:3:23: authentication.jwt[0].entra.tenantId"),
            "{}",
            found.text
        );
        assert!(found.text.contains("proxy.yaml:4:3: authentication.tokenRevew: unknown field, did you mean `tokenReview`?"), "{}", found.text);
        assert!(found.text.ends_with("2 mistakes\n"), "{}", found.text);
        let good = looked(Some("authentication: {}\n"), None);
        assert!(!good.bad);
        assert_eq!(good.text, "proxy.yaml: no mistakes\n");
    }

    #[test]
    fn arguments_in_a_values_file_are_read_as_the_program_reads_them() {
        let found = looked(
            None,
            Some("options:\n  extraArgs:\n  - --enable-pprof=true\n  - --narrow-always\n"),
        );
        assert!(!found.bad, "{}", found.text);
        assert!(
            found
                .text
                .contains("values.yaml:3:5: options.extraArgs: --enable-pprof has no effect"),
            "{}",
            found.text
        );
        let again = "options: {extraArgs: [--zap-log-level=debug, --listening-port=9001]}\n";
        assert!(
            !looked(None, Some(again)).bad,
            "what the chart passes itself"
        );
        let unknown = looked(None, Some("options: {extraArgs: [--narow-always]}\n"));
        assert!(unknown.bad);
        assert!(unknown.text.contains("--narow-always"), "{}", unknown.text);
    }
}
