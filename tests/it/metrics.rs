//! What Prometheus is told: every family with its help and type, names by the conventions, and nothing of anybody.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use http::StatusCode;

use crate::harness::chart;
use crate::harness::eventually;
use crate::harness::http::Caller;
use crate::harness::metrics::Scrape;
use crate::harness::people::Tenant;
use crate::harness::proxy::Proxy;
use crate::harness::proxy::Setup;
use crate::harness::world::World;
use crate::lists::until_he_sees;

const NAMESPACES: &str = "/api/v1/namespaces";

/// Every family and its type. Renaming one breaks somebody's dashboard.
const FAMILIES: [(&str, &str); 22] = [
    ("authentications", "counter"),
    ("build", "info"),
    ("certificate_not_after_timestamp_seconds", "gauge"),
    ("connections_accepted", "counter"),
    ("connections_given_up", "counter"),
    ("facts_rejected", "counter"),
    ("identity_cache_entries", "gauge"),
    ("informer_age_seconds", "gauge"),
    ("issuer_keys_age_seconds", "gauge"),
    ("ready", "gauge"),
    ("refusals", "counter"),
    ("reload_failing", "gauge"),
    ("reloads", "counter"),
    ("request_duration_seconds", "histogram"),
    ("requests", "counter"),
    ("scope_age_seconds", "gauge"),
    ("scopes", "gauge"),
    ("token_reviews", "counter"),
    ("upstream_connections", "gauge"),
    ("upstream_repeats", "counter"),
    ("upstream_streams", "gauge"),
    ("watches_open", "gauge"),
];

in_both_worlds!(
    every_family_is_there_and_nobody_is_named,
    requests_and_watches_are_counted_by_plan,
);

/// A proxy of the test's own, and somebody who sees his namespaces through it.
async fn used(world: &'static World) -> (Proxy, Tenant, Caller) {
    let proxy = Proxy::start(world, Setup::default()).await;
    let tenant = world.tenant(&["metrics"]).await;
    let caller = proxy.caller(&tenant.owner);
    until_he_sees(&caller, &tenant.namespaces).await;
    (proxy, tenant, caller)
}

async fn every_family_is_there_and_nobody_is_named(world: &'static World) {
    let (proxy, tenant, caller) = used(world).await;
    let _watch = caller.watch(&format!("{NAMESPACES}?watch=1")).await;
    let stranger = proxy.anybody().bearing("an-opaque-token");
    let reviewed = stranger.get(NAMESPACES).await;
    assert_eq!(reviewed.status, StatusCode::UNAUTHORIZED);
    let pods = format!("{NAMESPACES}/{}/pods", tenant.namespaces[0]);
    let _pods = caller.get(&pods).await;
    let scrape = proxy.metrics().await;
    assert!(
        scrape
            .head
            .contains("content-type: application/openmetrics-text; version=1.0.0"),
        "{}",
        scrape.head
    );
    assert_eq!(complaints(&scrape), Vec::<String>::new(), "{}", scrape.text);
    for name in [
        tenant.owner.name.as_str(),
        tenant.name.as_str(),
        tenant.namespaces[0].as_str(),
        chart::NAMESPACE,
        NAMESPACES,
        "an-opaque-token",
        "Bearer",
        "eyJ",
    ] {
        assert!(!scrape.text.contains(name), "{name} in {}", scrape.text);
    }
    // Each family has help and a type: the one line after the other.
    let lines: Vec<&str> = scrape.text.lines().collect();
    let declared: BTreeMap<&str, &str> = lines
        .windows(2)
        .filter_map(|pair| {
            let (name, help) = pair[0].strip_prefix("# HELP ")?.split_once(' ')?;
            let (typed, kind) = pair[1].strip_prefix("# TYPE ")?.split_once(' ')?;
            assert_eq!(name, typed);
            assert!(help.len() > 10, "{}", pair[0]);
            Some((name.strip_prefix("kube_tenant_proxy_")?, kind))
        })
        .collect();
    assert_eq!(declared, BTreeMap::from(FAMILIES));
    assert_eq!(lines.last(), Some(&"# EOF"));
}

/// What the linter of Prometheus would say (`promtool check metrics`), and what our own rule is: labels of few values.
fn complaints(scrape: &Scrape) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut seen = BTreeSet::new();
    let mut values: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    let kinds: BTreeMap<&str, &str> = FAMILIES.into();
    for (series, value) in scrape.samples() {
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let mut complain = |why: &str| complaints.push(format!("{series}: {why}"));
        let Some(base) = name.strip_prefix("kube_tenant_proxy_") else {
            complain("without our prefix");
            continue;
        };
        let is_counter = base
            .strip_suffix("_total")
            .is_some_and(|base| kinds.get(base) == Some(&"counter"));
        if !is_counter && base.ends_with("_total") {
            complain("`_total` is for counters");
        }
        if !is_counter && kinds.get(base) == Some(&"counter") {
            complain("a counter ends in `_total`");
        }
        if !name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        {
            complain("not in snake_case");
        }
        if [
            "milliseconds",
            "minutes",
            "hours",
            "kilobytes",
            "percent",
            "counter",
            "gauge",
        ]
        .iter()
        .any(|unit| base.contains(unit))
        {
            complain("not a base unit, or its own type in the name");
        }
        if !value.is_finite() || value < 0.0 {
            complain("not a number that counts or measures");
        }
        if !seen.insert(series) {
            complain("stands twice");
        }
        for label in labels.trim_end_matches('}').split("\",") {
            if let Some((label, value)) = label.split_once("=\"") {
                values
                    .entry((name, label))
                    .or_default()
                    .insert(value.trim_end_matches('"'));
            }
        }
    }
    for ((name, label), values) in values {
        if values.len() > 64 {
            complaints.push(format!("{name}: {} values of {label}", values.len()));
        }
    }
    complaints
}

async fn requests_and_watches_are_counted_by_plan(world: &'static World) {
    let (proxy, tenant, caller) = used(world).await;
    let lists = "plan=\"narrow-list\",code=\"200\"";
    let before = proxy.metrics().await.sum("requests_total", lists);
    for _ in 0..3 {
        assert_eq!(caller.get(NAMESPACES).await.names(), tenant.namespaces);
    }
    assert_eq!(
        proxy.metrics().await.sum("requests_total", lists),
        before + 3.0
    );
    let nobody = "reason=\"missing\"";
    let refused = proxy.metrics().await.sum("refusals_total", nobody);
    let answer = proxy.anybody().get(NAMESPACES).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    let scrape = proxy.metrics().await;
    assert_eq!(scrape.sum("refusals_total", nobody), refused + 1.0);

    // The operator's RoleBinding, by which he may watch in his namespace, comes a moment after him.
    eventually(|| async {
        let everywhere = caller.get("/api/v1/configmaps").await;
        let is_bound = everywhere.status == StatusCode::OK;
        is_bound.then_some(()).ok_or_else(|| everywhere.text())
    })
    .await;
    let open = || async { proxy.metrics().await.sum("watches_open", "") };
    assert!(open().await < 0.5);
    let watch = caller.watch(&format!("{NAMESPACES}?watch=1")).await;
    let everywhere = caller.watch("/api/v1/configmaps?watch=1").await;
    let scrape = proxy.metrics().await;
    assert_eq!(scrape.sum("watches_open", "plan=\"narrow-watch\""), 1.0);
    assert_eq!(scrape.sum("watches_open", "plan=\"fan-out-watch\""), 1.0);
    assert!(scrape.sum("upstream_streams", "lane=\"stream\"") >= 2.0);
    drop((watch, everywhere));
    eventually(|| async {
        let open = open().await;
        (open < 0.5)
            .then_some(())
            .ok_or_else(|| format!("{open} are open"))
    })
    .await;
}
