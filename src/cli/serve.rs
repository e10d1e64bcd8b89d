//! `serve`: from flags, file and environment to a [`Config`], and its run until a signal.

use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use clap::ValueEnum;
use tokio_util::sync::CancellationToken;

use crate::app;
use crate::app::Authentication;
use crate::app::Config;
use crate::app::ConfigFile;
use crate::app::SecretName;
use crate::app::Tls;
use crate::authn;
use crate::authn::settings::ClaimNote;
use crate::authn::settings::Contradiction;
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::config::File;
use crate::drain::Drained;
use crate::identity::GroupName;
use crate::identity::UserName;
use crate::listen;
use crate::listen::TlsFiles;
use crate::listen::self_signed;
use crate::proxy;
use crate::proxy::Narrowing;
use crate::telemetry;
use crate::tenancy;
use crate::upstream;

use super::gates::Gates;
use super::signals::Signals;

/// The flags. Those of Capsule's proxy keep their names and meanings. As there, a flag that is given again wins, and a list
/// grows: the chart puts `options.extraArgs` behind its own.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub(super) struct Arguments {
    /// Kubeconfig of the proxy's own service account; in a pod its token and CA are used
    #[arg(long, env = "KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// Configuration file, read again when it changes: whose tokens are verified here, and how their users go upstream
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Port clients connect to, on all addresses
    #[arg(long, default_value_t = 9001, value_name = "PORT")]
    listening_port: u16,

    /// Encrypt; with `false` tokens travel in the clear, for a TLS terminator on the same host
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    enable_ssl: bool,

    /// PEM certificate and its chain, read again when it changes
    #[arg(
        long,
        default_value = "/opt/capsule-proxy/tls.crt",
        value_name = "FILE"
    )]
    ssl_cert_path: PathBuf,

    /// PEM key of the certificate, read again when it changes
    #[arg(
        long,
        default_value = "/opt/capsule-proxy/tls.key",
        value_name = "FILE"
    )]
    ssl_key_path: PathBuf,

    /// Secret that brings the two files, to be named while they are missing
    #[arg(long, value_name = "NAMESPACE/NAME")]
    ssl_secret: Option<SecretName>,

    /// Make a certificate for these names at each start instead; its CA is written to stdout
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    self_signed: Vec<String>,

    /// CapsuleConfiguration to follow
    #[arg(long, default_value = "default", value_name = "NAME")]
    capsule_configuration_name: String,

    /// Forward members of this group untouched (repeat, or separate by commas)
    #[arg(long, value_name = "GROUP", value_delimiter = ',', value_parser = GroupName::parse)]
    ignored_user_group: Vec<GroupName>,

    /// Forward this user untouched (repeat, or separate by commas)
    #[arg(long, value_name = "USER", value_delimiter = ',', value_parser = UserName::parse)]
    ignored_username: Vec<UserName>,

    /// Claim that names the user, for issuers of the configuration file
    #[arg(long, default_value = "preferred_username", value_name = "CLAIM")]
    oidc_username_claim: String,

    /// Show namespaces in which a RoleBinding names the user (on unless set to `false`)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    enable_reflector: Option<bool>,

    /// Narrow tenant owners even where their own rights are wider
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    narrow_always: bool,

    /// `ProxyClusterScoped=true`: GlobalProxySettings and `clusterResources` rules act (off by default)
    #[arg(long, value_name = "GATE=BOOL", value_delimiter = ',')]
    feature_gates: Vec<String>,

    /// Write into the status of ProxySettings and GlobalProxySettings what became of them
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    rule_status: bool,

    /// Address of /healthz and /readyz; `0` switches off
    #[arg(long, default_value = ":8081", value_name = "ADDRESS")]
    probe_addr: Endpoint,

    /// Address of /metrics; `0` switches off
    #[arg(long, default_value = ":8080", value_name = "ADDRESS")]
    metrics_addr: Endpoint,

    /// Seconds that requests and watches may take to end at shutdown
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    shutdown_grace: u64,

    /// `error`, `info`, `debug`, or 1 to 10
    #[arg(long, default_value = "info", value_name = "LEVEL")]
    zap_log_level: telemetry::Level,

    /// Log format
    #[arg(long, default_value = "json", value_name = "FORMAT")]
    zap_encoder: Encoder,

    #[command(flatten)]
    without_effect: WithoutEffect,
}

/// Flags of Capsule's proxy that have no meaning here. They are accepted, and a line of the log says so where one
/// differs from its default.
#[derive(Debug, Args)]
struct WithoutEffect {
    #[arg(long, hide = true, value_delimiter = ',')]
    auth_preferred_types: Vec<String>,
    #[arg(long, hide = true, value_delimiter = ',')]
    trusted_proxy_cidrs: Vec<String>,
    #[arg(long, hide = true)]
    xfcc_header_name: Option<String>,
    #[arg(long, hide = true, value_delimiter = ',')]
    allowed_paths: Vec<String>,
    #[arg(long, hide = true, value_delimiter = ',')]
    ignored_impersonation_group: Vec<String>,
    #[arg(long, hide = true)]
    impersonation_group_regexp: Option<String>,
    #[arg(long, hide = true)]
    rolebindings_resync_period: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    disable_caching: Option<bool>,
    #[arg(long, hide = true)]
    client_connection_qps: Option<String>,
    #[arg(long, hide = true)]
    client_connection_burst: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    enable_pprof: Option<bool>,
    #[arg(long, hide = true)]
    webhook_port: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    enable_leader_election: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    zap_devel: Option<bool>,
    #[arg(long, hide = true)]
    zap_stacktrace_level: Option<String>,
    #[arg(long, hide = true)]
    zap_time_encoding: Option<String>,
    #[arg(long, hide = true, value_delimiter = ',')]
    capsule_user_group: Vec<String>,
    #[arg(long, hide = true, value_delimiter = ',')]
    webhooks: Vec<String>,
}

impl WithoutEffect {
    /// The flags that were given a value other than the one Capsule's chart always passes.
    fn given(&self) -> Vec<&'static str> {
        let text = |value: &Option<String>, default: &str| {
            value.as_deref().is_some_and(|value| value != default)
        };
        let list = |value: &[String], default: &[&str]| {
            !value.is_empty() && !value.iter().map(String::as_str).eq(default.iter().copied())
        };
        let on = |value: Option<bool>| value == Some(true);
        let types = &self.auth_preferred_types;
        let checks = [
            (
                "--auth-preferred-types",
                list(types, &["TLSCertificate", "BearerToken"])
                    && list(types, &["BearerToken", "TLSCertificate"]),
            ),
            (
                "--trusted-proxy-cidrs",
                list(&self.trusted_proxy_cidrs, &[]),
            ),
            (
                "--xfcc-header-name",
                text(&self.xfcc_header_name, "X-Forwarded-Client-Cert"),
            ),
            (
                "--allowed-paths",
                list(&self.allowed_paths, &["/api", "/apis", "/version"]),
            ),
            (
                "--ignored-impersonation-group",
                list(&self.ignored_impersonation_group, &[]),
            ),
            (
                "--impersonation-group-regexp",
                text(&self.impersonation_group_regexp, ""),
            ),
            (
                "--rolebindings-resync-period",
                text(&self.rolebindings_resync_period, "10h"),
            ),
            ("--disable-caching", on(self.disable_caching)),
            (
                "--client-connection-qps",
                text(&self.client_connection_qps, "20"),
            ),
            (
                "--client-connection-burst",
                text(&self.client_connection_burst, "30"),
            ),
            ("--enable-pprof", on(self.enable_pprof)),
            ("--webhook-port", text(&self.webhook_port, "9443")),
            ("--enable-leader-election", on(self.enable_leader_election)),
            ("--zap-devel", on(self.zap_devel)),
            (
                "--zap-stacktrace-level",
                text(&self.zap_stacktrace_level, ""),
            ),
            ("--zap-time-encoding", text(&self.zap_time_encoding, "")),
            ("--capsule-user-group", list(&self.capsule_user_group, &[])),
            ("--webhooks", list(&self.webhooks, &[])),
        ];
        checks
            .into_iter()
            .filter(|(_, given)| *given)
            .map(|(flag, _)| flag)
            .collect()
    }
}

/// What the chart passes with the values it comes with.
const OF_THE_CHART: [&str; 10] = [
    "serve",
    "--listening-port=9001",
    "--capsule-configuration-name=default",
    "--enable-ssl=true",
    "--ssl-cert-path=/opt/capsule-proxy/tls.crt",
    "--ssl-key-path=/opt/capsule-proxy/tls.key",
    "--ssl-secret=capsule-system/capsule-proxy",
    "--metrics-addr=:8080",
    "--probe-addr=:8081",
    "--zap-log-level=info",
];

/// A command line of `serve` alone; the first argument is the command.
#[derive(Debug, clap::Parser)]
struct Line {
    #[command(flatten)]
    arguments: Arguments,
}

/// Those of the flags in `given` that have no effect here, `given` being `options.extraArgs` of the chart.
///
/// # Errors
/// A sentence, when `serve` would not take them behind the chart's own.
pub(super) fn flags_without_effect<'a>(
    given: impl Iterator<Item = &'a String>,
) -> Result<Vec<&'static str>, String> {
    let line = OF_THE_CHART.into_iter().chain(given.map(String::as_str));
    match <Line as clap::Parser>::try_parse_from(line) {
        Ok(line) => Ok(line.arguments.without_effect.given()),
        Err(error) => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            Err(first.trim_start_matches("error: ").to_owned())
        }
    }
}

/// How the log is written.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Encoder {
    /// An object per line, for machines
    Json,
    /// A line of text, for people
    Console,
}

/// `:PORT`, `ADDRESS:PORT`, or `0` for nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Endpoint(Option<SocketAddr>);

impl std::str::FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not :PORT, ADDRESS:PORT or 0");
        if text == "0" {
            return Ok(Self(None));
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port: u16 = port.parse().map_err(|_not_a_port| wrong())?;
        let address: IpAddr = match host.trim_matches(['[', ']']) {
            "" => Ipv6Addr::UNSPECIFIED.into(),
            host => host.parse().map_err(|_not_an_address| wrong())?,
        };
        Ok(Self(Some(SocketAddr::new(address, port))))
    }
}

/// Runs the proxy until SIGTERM or SIGINT, and drains.
pub(super) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    telemetry::start(
        arguments.zap_log_level,
        match arguments.zap_encoder {
            Encoder::Json => telemetry::Format::Json,
            Encoder::Console => telemetry::Format::Console,
        },
    );
    for flag in arguments.without_effect.given() {
        tracing::warn!(flag, "this flag of Capsule's proxy has no effect here");
    }
    let mut signals = Signals::new()?;
    let bound = app::bind(config(arguments).await?)?;
    tracing::info!(
        address = %bound.address()?,
        probe = bound.probe_address()?.map(tracing::field::display),
        metrics = bound.metrics_address()?.map(tracing::field::display),
        "listening"
    );
    let stop = CancellationToken::new();
    let mut running = std::pin::pin!(bound.run(stop.clone().cancelled_owned()));
    tokio::select! {
        _drained = &mut running => return Ok(()),
        () = signals.next() => stop.cancel(),
    }
    tokio::select! {
        drained = running => {
            if let Drained::Forced { left } = drained {
                tracing::warn!(left, "some requests did not end in time");
            }
            Ok(())
        }
        () = signals.next() => anyhow::bail!("a second signal: ended without draining"),
    }
}

async fn config(arguments: Arguments) -> anyhow::Result<Config> {
    let cluster = Cluster::load(arguments.kubeconfig.as_deref()).await?;
    let authn = match arguments.config {
        None => {
            let authn = with_claim(File::default(), &arguments.oidc_username_claim)?;
            Authentication::Fixed(authn)
        }
        Some(path) => {
            let name = path.display().to_string();
            let claim = arguments.oidc_username_claim;
            let parse = move |content: &[u8]| {
                let file = File::parse(&name, std::str::from_utf8(content)?)
                    .map_err(|mistakes| format!("cannot be used\n{mistakes}"))?;
                Ok(with_claim(file, &claim)?)
            };
            Authentication::File(ConfigFile {
                path,
                parse: Box::new(parse),
            })
        }
    };
    let mut tenancy = tenancy::Settings {
        configuration_name: arguments.capsule_configuration_name,
        role_bindings: arguments.enable_reflector.unwrap_or(true),
        ..tenancy::Settings::default()
    };
    tenancy
        .rules
        .ignored_groups
        .extend(arguments.ignored_user_group);
    tenancy
        .rules
        .ignored_users
        .extend(arguments.ignored_username);
    let gates = Gates::read(&arguments.feature_gates);
    for gate in &gates.without_effect {
        tracing::warn!(gate, "a feature gate without effect here");
    }
    tenancy.rules.cluster_scoped = gates.cluster_scoped;
    let tls = match (arguments.enable_ssl, arguments.self_signed.as_slice()) {
        (false, _) => {
            tracing::warn!("--enable-ssl=false: tokens travel in the clear");
            Tls::Plain
        }
        (true, []) => {
            let files = TlsFiles {
                certificate: arguments.ssl_cert_path,
                key: arguments.ssl_key_path,
            };
            match arguments.ssl_secret {
                Some(secret) => Tls::FromSecret(files, secret),
                None => Tls::Files(files),
            }
        }
        (true, names) => {
            let made = self_signed::generate(names)
                .context("cannot make a certificate for --self-signed")?;
            super::say(made.ca.as_bytes())?;
            Tls::Pair {
                certificate: made.certificate,
                key: made.key,
            }
        }
    };
    Ok(Config {
        cluster,
        authn,
        tenancy,
        listen: listen::Settings {
            port: arguments.listening_port,
            ..listen::Settings::default()
        },
        tls,
        probe: arguments.probe_addr.0,
        metrics: arguments.metrics_addr.0,
        upstream: upstream::Settings::default(),
        rule_status: arguments.rule_status,
        proxy: proxy::Settings {
            narrowing: if arguments.narrow_always {
                Narrowing::Always
            } else {
                Narrowing::UnlessAllowed
            },
            ..proxy::Settings::default()
        },
        grace: Duration::from_secs(arguments.shutdown_grace),
        clock: Clock::system(),
    })
}

/// Who may prove himself by this file and `--oidc-username-claim`, and in the log what the flag does not do.
fn with_claim(file: File, claim: &str) -> Result<authn::Settings, Contradiction> {
    let mut authn = file.authentication;
    for note in authn.apply_username_claim(claim)? {
        match note {
            ClaimNote::NoIssuer => tracing::warn!(
                "--oidc-username-claim has no effect: without an issuer in --config the API server names the user"
            ),
            ClaimNote::Ignored { issuer } => tracing::warn!(
                issuer = &*issuer,
                "--oidc-username-claim is ignored for this issuer: the claim can be changed by its owner"
            ),
        }
    }
    Ok(authn)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(given: &[&str]) -> Arguments {
        let line = OF_THE_CHART.iter().chain(given);
        <Line as clap::Parser>::try_parse_from(line)
            .unwrap()
            .arguments
    }

    #[test]
    fn a_flag_that_is_given_again_wins() {
        let arguments = parsed(&[
            "--listening-port=9443",
            "--enable-ssl=false",
            "--narrow-always",
            "--narrow-always=false",
            "--enable-reflector=false",
            "--enable-reflector",
            "--probe-addr=0",
            "--disable-caching",
            "--disable-caching=false",
        ]);
        assert_eq!(arguments.listening_port, 9443);
        assert!(!arguments.enable_ssl && !arguments.narrow_always);
        assert_eq!(arguments.enable_reflector, Some(true));
        assert_eq!(arguments.probe_addr, Endpoint(None));
        assert!(arguments.without_effect.given().is_empty());
        let repeated = parsed(&OF_THE_CHART[1..]);
        assert_eq!(repeated.listening_port, 9001);
    }

    #[test]
    fn a_list_that_is_given_again_grows() {
        let arguments = parsed(&[
            "--ignored-username=a,b",
            "--ignored-username=c",
            "--feature-gates=A=true",
            "--feature-gates=B=true,C=false",
        ]);
        let names: Vec<String> = arguments
            .ignored_username
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(arguments.feature_gates, ["A=true", "B=true", "C=false"]);
    }

    #[test]
    fn what_the_chart_passes_is_what_it_renders() {
        let rendered = include_str!("../../tests/chart/golden/minimal.yaml");
        let rendered: Vec<&str> = rendered
            .lines()
            .map(|line| line.trim_start().trim_start_matches("- "))
            .skip_while(|line| *line != "args:")
            .skip(1)
            .take(OF_THE_CHART.len() + 1)
            .collect();
        let (last, own) = rendered.split_last().unwrap();
        assert_eq!(own, OF_THE_CHART);
        assert!(!last.starts_with("--"), "{last}");
    }
}
