//! What Prometheus is told: every family with its help and type, names by the conventions, and nothing of anybody.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use http::Method;
use http::StatusCode;
use serde_json::json;
use tokio::time::Instant;

use crate::harness::DEADLINE;
use crate::harness::chart;
use crate::harness::eventually;
use crate::harness::http::Caller;
use crate::harness::metrics::Scrape;
use crate::harness::people::Tenant;
use crate::harness::proxy::Proxy;
use crate::harness::proxy::Serving;
use crate::harness::proxy::Setup;
use crate::harness::proxy::serving_certificate;
use crate::harness::world::World;
use crate::lifecycle::place;
use crate::lists::until_he_sees;
use crate::streams::running_pod;

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
    outcomes_ages_and_connections_are_told,
);
in_the_real_world!(an_open_tunnel_is_a_connection_of_its_own);

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

/// Until a scrape says so; which one it was.
async fn scraped(proxy: &Proxy, is_told: impl Fn(&Scrape) -> bool) -> Scrape {
    eventually(|| async {
        let scrape = proxy.metrics().await;
        if is_told(&scrape) {
            Ok(scrape)
        } else {
            Err(scrape.text)
        }
    })
    .await
}

async fn outcomes_ages_and_connections_are_told(world: &'static World) {
    let dir = tempfile::tempdir().unwrap();
    let serving = serving_certificate();
    let files = place(dir.path(), &serving);
    let setup = Setup {
        files: Some((files, serving.ca.clone())),
        ..Setup::default()
    };
    let proxy = Proxy::start(world, setup).await;
    credentials_by_what_judged_them(world, &proxy).await;
    let tenant = world.tenant(&["metrics"]).await;
    let caller = proxy.caller(&tenant.owner);
    until_he_sees(&caller, &tenant.namespaces).await;
    how_old_what_is_known_is(world, &proxy, &tenant).await;
    what_could_not_be_read(world, &proxy, &tenant).await;
    connections_by_what_they_are_for(&proxy, &tenant, &caller).await;
    files_that_were_read_again(&proxy, dir.path(), serving).await;
}

async fn credentials_by_what_judged_them(world: &'static World, proxy: &Proxy) {
    let told = |scrape: &Scrape, labels: &str| scrape.sum("authentications_total", labels);
    let person = world.person().await;
    let (rest, signature) = person.token.rsplit_once('.').unwrap();
    let reversed: String = signature.chars().rev().collect();
    let forged = format!("{rest}.{reversed}");
    let account = world.account(chart::NAMESPACE, chart::RELEASE).await;
    for (token, is_known, method, outcome) in [
        (person.token.as_str(), true, "signature", "accepted"),
        (&person.token, true, "memory", "accepted"),
        (&forged, false, "signature", "refused"),
        (&account.token, true, "review", "accepted"),
        ("an-opaque-token", false, "review", "refused"),
    ] {
        let before = proxy.metrics().await;
        let answer = proxy.anybody().bearing(token).get("/version").await;
        assert_eq!(answer.status != StatusCode::UNAUTHORIZED, is_known);
        let after = proxy.metrics().await;
        let labels = format!("method=\"{method}\",outcome=\"{outcome}\"");
        assert_eq!(told(&after, &labels), told(&before, &labels) + 1.0);
        assert_eq!(
            told(&after, ""),
            told(&before, "") + 1.0,
            "{labels} and more"
        );
    }
    let reviews = proxy.metrics().await;
    for outcome in ["accepted", "refused"] {
        let label = format!("outcome=\"{outcome}\"");
        assert!(reviews.sum("token_reviews_total", &label) >= 1.0, "{label}");
    }
}

async fn how_old_what_is_known_is(world: &'static World, proxy: &Proxy, tenant: &Tenant) {
    let age = |scrape: &Scrape, kind: &str| {
        scrape.sum("informer_age_seconds", &format!("kind=\"{kind}\""))
    };
    let scrape = proxy.metrics().await;
    let kinds: Vec<&str> = scrape
        .samples()
        .filter_map(|(series, _)| {
            let kind = series.strip_prefix("kube_tenant_proxy_informer_age_seconds{kind=\"")?;
            kind.strip_suffix("\"}")
        })
        .collect();
    for kind in ["tenants", "namespaces", "rolebindings"] {
        assert!(kinds.contains(&kind), "{kind} is not in {kinds:?}");
    }
    // That of the oldest, read a moment after it; not where something is heard in between.
    scraped(proxy, |scrape| {
        let ages = kinds.iter().map(|kind| age(scrape, kind));
        let oldest = ages.fold(0.0, f64::max);
        let of_scopes = scrape.sum("scope_age_seconds", "");
        (oldest..oldest + 0.1).contains(&of_scopes)
    })
    .await;
    // Time passes, and what is heard makes young.
    scraped(proxy, |scrape| age(scrape, "namespaces") > 0.0).await;
    let changing = Instant::now();
    let labels = json!({"metadata": {"labels": {"it": "1"}}});
    world
        .merge(&format!("{NAMESPACES}/{}", tenant.namespaces[0]), &labels)
        .await;
    scraped(proxy, |scrape| {
        age(scrape, "namespaces") < changing.elapsed().as_secs_f64()
    })
    .await;
    let present = proxy.metrics().await.sum("scopes", "");
    let another = world.person().await;
    let seen = proxy.caller(&another).get(NAMESPACES).await;
    assert_eq!(seen.names(), Vec::<String>::new());
    assert_eq!(proxy.metrics().await.sum("scopes", ""), present + 1.0);
}

async fn what_could_not_be_read(world: &'static World, proxy: &Proxy, tenant: &Tenant) {
    let told = |scrape: &Scrape| scrape.sum("facts_rejected_total", "kind=\"tenants\"");
    let before = told(&proxy.metrics().await);
    let pattern = json!({"spec": {"storageClasses": {"allowedRegex": "(never closed"}}});
    let path = format!("/apis/capsule.clastix.io/v1beta2/tenants/{}", tenant.name);
    world.merge(&path, &pattern).await;
    scraped(proxy, |scrape| told(scrape) > before).await;
}

async fn connections_by_what_they_are_for(proxy: &Proxy, tenant: &Tenant, caller: &Caller) {
    let told = |scrape: &Scrape, lane: &str| {
        scrape.sum("upstream_connections", &format!("lane=\"{lane}\""))
    };
    let pods = format!("{NAMESPACES}/{}/pods", tenant.namespaces[0]);
    // The operator's RoleBinding, by which he may, comes a moment after him.
    eventually(|| async {
        let listed = caller.get(&pods).await;
        (listed.status == StatusCode::OK)
            .then_some(())
            .ok_or_else(|| listed.text())
    })
    .await;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "metrics"}});
    let maps = format!("{NAMESPACES}/{}/configmaps", tenant.namespaces[0]);
    let made = caller.call(Method::POST, &maps, Some(&map)).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    let watch = caller.watch(&format!("{pods}?watch=1")).await;
    let scrape = proxy.metrics().await;
    for lane in ["read", "write", "stream"] {
        assert!(told(&scrape, lane) >= 1.0, "{lane}: {}", scrape.text);
    }
    drop(watch);
}

async fn an_open_tunnel_is_a_connection_of_its_own(world: &'static World) {
    let (tenant, _) = running_pod(world).await;
    let proxy = Proxy::start(world, Setup::default()).await;
    until_he_sees(&proxy.caller(&tenant.owner), &tenant.namespaces).await;
    let open = |scrape: &Scrape| scrape.sum("upstream_connections", "lane=\"dedicated\"");
    assert!(open(&proxy.metrics().await) < 0.5);
    let cat = [
        "exec",
        "-i",
        "web",
        "-n",
        &tenant.namespaces[0],
        "--",
        "cat",
    ];
    let kubectl = proxy.kubectl(&tenant.owner);
    let mut cat = kubectl.command(&cat);
    let mut process = cat
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = process.stdin.take().unwrap();
    let output = process.stdout.take().unwrap();
    input.write_all(b"there\n").unwrap();
    let echo = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).unwrap();
        line
    });
    let echo = tokio::time::timeout(DEADLINE, echo).await;
    assert_eq!(echo.unwrap().unwrap(), "there\n");
    assert_eq!(open(&proxy.metrics().await), 1.0);
    drop(input);
    scraped(&proxy, |scrape| open(scrape) < 0.5).await;
    assert!(process.wait().unwrap().success());
}

async fn files_that_were_read_again(proxy: &Proxy, dir: &Path, serving: Serving) {
    let told = |scrape: &Scrape, outcome: &str| {
        let labels = format!("what=\"certificate\",outcome=\"{outcome}\"");
        scrape.sum("reloads_total", &labels)
    };
    let fails = |scrape: &Scrape| scrape.sum("reload_failing", "what=\"certificate\"");
    let before = proxy.metrics().await;
    assert_eq!(
        (told(&before, "ok"), told(&before, "failed"), fails(&before)),
        (1.0, 0.0, 0.0)
    );
    let unlike = Serving {
        key: serving_certificate().key,
        ..serving.clone()
    };
    place(dir, &unlike);
    let refused = scraped(proxy, |scrape| told(scrape, "failed") > 0.0).await;
    assert_eq!((told(&refused, "ok"), fails(&refused)), (1.0, 1.0));
    place(dir, &serving_certificate());
    let renewed = scraped(proxy, |scrape| told(scrape, "ok") > 1.0).await;
    assert_eq!(fails(&renewed), 0.0);
}
