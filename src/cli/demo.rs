//! `demo`: the embedded world, and the same proxy in front of it that `serve` runs.

use std::net::Ipv4Addr;

use anyhow::Context;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app;
use crate::app::Authentication;
use crate::app::Config;
use crate::app::Tls;
use crate::authn;
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::config::File;
use crate::demo;
use crate::demo::DemoArgs;
use crate::demo::ProxySettings;
use crate::identity::GroupName;
use crate::listen;
use crate::proxy;
use crate::tenancy;
use crate::upstream;

use super::signals::Signals;

/// Runs the demo until it is interrupted.
pub(super) async fn run(arguments: DemoArgs) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let done = demo::run(
        &arguments,
        &mut std::io::stdout(),
        |settings| start_proxy(settings, &tasks, stop.clone()),
        signals.next(),
    )
    .await;
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    done
}

/// The proxy in front of a world, up and ready.
async fn start_proxy(
    settings: ProxySettings,
    tasks: &TaskTracker,
    stop: CancellationToken,
) -> anyhow::Result<(String, ())> {
    let bound = app::bind(config(settings)?)?;
    let address = bound.address()?;
    let readiness = bound.readiness();
    tasks.spawn(async move { bound.run(stop.cancelled_owned()).await });
    readiness.ready().await;
    Ok((format!("https://{address}"), ()))
}

fn config(settings: ProxySettings) -> anyhow::Result<Config> {
    let authn = authentication(&settings)?;
    let mut tenancy = tenancy::Settings::default();
    for group in &settings.ignored_groups {
        tenancy.rules.ignored_groups.push(GroupName::parse(group)?);
    }
    Ok(Config {
        cluster: Cluster::of(&settings.server_url, &settings.ca_pem, &settings.own_token)
            .context("the embedded API server")?,
        authn: Authentication::Fixed(authn),
        tenancy,
        listen: listen::Settings {
            address: Some(Ipv4Addr::LOCALHOST.into()),
            port: settings.port,
            ..listen::Settings::default()
        },
        tls: Tls::Pair {
            certificate: settings.certificate_pem,
            key: settings.key_pem,
        },
        probe: None,
        metrics: None,
        rule_status: true,
        proxy: proxy::Settings::default(),
        upstream: upstream::Settings::default(),
        grace: std::time::Duration::from_secs(1),
        clock: Clock::system(),
    })
}

/// The demo's issuer as a configuration file would name it.
fn authentication(settings: &ProxySettings) -> anyhow::Result<authn::Settings> {
    let file = serde_json::json!({"authentication": {"jwt": [{
        "issuer": {
            "url": settings.issuer_url,
            "discoveryURL": settings.discovery_url,
            "certificateAuthority": settings.ca_pem,
            "audiences": [settings.audience],
        },
        "claimMappings": {
            "username": {"claims": ["upn", "oid"], "prefix": ""},
            "groups": {"claim": "groups", "prefix": ""},
        },
        "upstream": "token",
    }]}});
    // JSON is YAML.
    let file =
        File::parse("demo", &file.to_string()).map_err(|mistakes| anyhow::anyhow!("{mistakes}"))?;
    Ok(file.authentication)
}
