//! Tests of `config`.

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::authn::settings::AKS_SERVER;
use crate::authn::settings::AppTokens;
use crate::authn::settings::ClaimNote;
use crate::authn::settings::EntraVersion;
use crate::authn::settings::Issuer;
use crate::authn::settings::KeySource;
use crate::authn::settings::SigningAlg;
use crate::authn::settings::TokenReviewSetting;
use crate::identity::UpstreamMode;

const TENANT: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";

fn parse(text: &str) -> Settings {
    match File::parse("proxy.yaml", text) {
        Ok(file) => file.authentication,
        Err(mistakes) => panic!("{mistakes}"),
    }
}

/// Each mistake as `line:column path: text`.
fn mistakes(text: &str) -> Vec<String> {
    let Err(mistakes) = File::parse("proxy.yaml", text) else {
        return Vec::new();
    };
    let line = |mistake: &mistake::Mistake| {
        format!(
            "{}:{} {}: {}",
            mistake.at.line, mistake.at.column, mistake.path, mistake.text
        )
    };
    mistakes.found().iter().map(line).collect()
}

fn only(settings: Settings) -> Issuer {
    let [issuer] = <[Issuer; 1]>::try_from(settings.issuers).unwrap();
    issuer
}

fn url(issuer: &Issuer) -> String {
    match &issuer.keys {
        KeySource::Discovery(url) => url.to_string(),
        KeySource::File(path) => path.display().to_string(),
    }
}

#[test]
fn an_empty_file_means_token_review_alone() {
    for text in [
        "",
        "# nothing yet\n",
        "authentication:\n",
        "authentication: {tokenReview: {enabled: true}}",
    ] {
        let settings = parse(text);
        assert!(settings.issuers.is_empty());
        assert_eq!(
            settings.token_review,
            TokenReviewSetting::On {
                audiences: Vec::new()
            }
        );
    }
}

#[test]
fn the_entra_preset_says_what_aks_does() {
    let issuer = only(parse(&format!(
        "authentication: {{jwt: [{{entra: {{tenantId: {TENANT}}}}}]}}"
    )));
    assert_eq!(&*issuer.url, format!("https://sts.windows.net/{TENANT}/"));
    let discovery =
        format!("https://login.microsoftonline.com/{TENANT}/.well-known/openid-configuration");
    assert_eq!(url(&issuer), discovery);
    assert_eq!(issuer.audiences, [AKS_SERVER]);
    assert_eq!(issuer.username.claims, ["upn", "oid"]);
    assert_eq!(issuer.username.prefix, "");
    assert_eq!(issuer.groups.unwrap().claim, "groups");
    assert_eq!(issuer.extra.len(), 1);
    assert_eq!(issuer.algorithms, [SigningAlg::Rs256]);
    assert_eq!(issuer.leeway, Duration::ZERO);
    assert_eq!(issuer.upstream, UpstreamMode::Token);
    let rules = issuer.entra.unwrap();
    assert_eq!(rules.tenant, TENANT);
    assert_eq!(rules.version, EntraVersion::V1);
    assert_eq!(rules.app_tokens, AppTokens::Accepted);
}

#[test]
fn the_preset_can_be_refined() {
    let issuer = only(parse(
        "
authentication:
  jwt:
  - entra:
      tenantId: 0F8FAD5B-D9CB-469F-A165-70867728950E
      cloud: AzureChinaCloud
      audiences: [one, two]
      appTokens: false
      allowedAppIds: [a1]
      requiredScopes: [user.read]
    issuer:
      discoveryURL: https://localhost:9443/t/.well-known/openid-configuration?appid=x
    upstream: impersonate
    leeway: 10s
    maxTokenAge: 12h
    maxStale: 1h30m
    maxTokenBytes: 65536
    signingAlgs: [RS256, ES256]
",
    ));
    assert_eq!(
        &*issuer.url,
        format!("https://sts.chinacloudapi.cn/{TENANT}/")
    );
    assert_eq!(
        url(&issuer),
        "https://localhost:9443/t/.well-known/openid-configuration?appid=x"
    );
    assert_eq!(issuer.audiences, ["one", "two"]);
    assert_eq!(issuer.upstream, UpstreamMode::Impersonate);
    assert_eq!(issuer.leeway, Duration::from_secs(10));
    assert_eq!(issuer.max_token_age, Some(Duration::from_secs(12 * 3_600)));
    assert_eq!(issuer.max_stale, Duration::from_secs(5_400));
    assert_eq!(issuer.max_token_bytes, 65_536);
    assert_eq!(issuer.algorithms, [SigningAlg::Rs256, SigningAlg::Es256]);
    let rules = issuer.entra.unwrap();
    assert_eq!(
        rules.tenant, TENANT,
        "compared with `tid`, which is in lower case"
    );
    assert_eq!(rules.app_tokens, AppTokens::Refused);
    assert_eq!(rules.allowed_app_ids, ["a1"]);
    assert_eq!(rules.required_scopes, ["user.read"]);
}

/// As in the Kubernetes documentation, without its CEL.
const PASTED: &str = "
apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
anonymous: {enabled: false}
jwt:
- issuer:
    url: https://keycloak.example/realms/oil/
    audiences: [kubernetes, headlamp]
    audienceMatchPolicy: MatchAny
  claimValidationRules:
  - {claim: hd, requiredValue: oil.example}
  claimMappings:
    username: {claim: preferred_username, prefix: 'oidc:'}
    groups: {claim: groups, prefix: 'oidc:', deny: ['oidc:all-*']}
    uid: {claim: sub}
    extra: []
  userValidationRules: []
";

#[test]
fn an_api_servers_own_file_can_be_pasted() {
    let settings = parse(PASTED);
    assert_eq!(
        settings.token_review,
        TokenReviewSetting::On {
            audiences: Vec::new()
        }
    );
    let issuer = only(settings);
    assert_eq!(&*issuer.name, "jwt[0]");
    assert_eq!(&*issuer.url, "https://keycloak.example/realms/oil/");
    assert_eq!(
        url(&issuer),
        "https://keycloak.example/realms/oil/.well-known/openid-configuration"
    );
    assert_eq!(issuer.username.claims, ["preferred_username"]);
    assert_eq!(issuer.username.prefix, "oidc:");
    assert!(issuer.groups.unwrap().deny[0].matches("oidc:all-staff"));
    assert_eq!(issuer.uid.as_deref(), Some("sub"));
    assert_eq!(issuer.claim_rules[0].required_value, "oil.example");
    assert_eq!(
        issuer.upstream,
        UpstreamMode::Token,
        "the API server accepts what its own file says"
    );
    assert_eq!(issuer.entra, None);
}

/// A written-out entry with `{issuer}` and `{more}` put in.
fn entry(issuer: &str, more: &str) -> String {
    format!(
        "authentication:
  jwt:
  - issuer: {issuer}
    claimMappings: {{username: {{claim: sub, prefix: ''}}}}
    upstream: token
    {more}
"
    )
}

const GOOD: &str = "{url: https://a.example, audiences: [x]}";

#[test]
fn an_issuer_written_out_that_is_entras_gets_entras_checks() {
    let version = |url: &str| {
        let issuer = only(parse(&entry(
            &format!("{{url: '{url}', audiences: [x]}}"),
            "",
        )));
        issuer.entra.map(|rules| (rules.tenant, rules.version))
    };
    let own = |version| Some((TENANT.to_owned(), version));
    assert_eq!(
        version(&format!("https://login.microsoftonline.com/{TENANT}/v2.0")),
        own(EntraVersion::V2)
    );
    assert_eq!(
        version(&format!("https://login.microsoftonline.us/{TENANT}/v2.0")),
        own(EntraVersion::V2)
    );
    assert_eq!(
        version(&format!("https://sts.windows.net/{TENANT}/")),
        own(EntraVersion::V1)
    );
    assert_eq!(
        version("https://login.microsoftonline.com/common/v2.0"),
        None
    );
    assert_eq!(
        version(&format!("https://login.example/{TENANT}/v2.0")),
        None
    );
}

#[test]
fn all_mistakes_are_reported_at_once_with_place_cause_and_cure() {
    let text = "authentication:
  jwt:
  - entra: {tenantId: 0f8fad5b-d9cb-469f-a165-70867728950e}
    claimMappings:
      usernme: {claim: upn, prefix: \"\"}
  - issuer:
      url: http://keycloak.example/realms/oil
      audiences: [kubernetes]
    claimMappings:
      username: {expression: claims.sub}
    upstream: tokens
  tokenReview: {enabled: maybe}
  colour: blue
";
    let report = File::parse("proxy.yaml", text).unwrap_err().to_string();
    let expected = "\
proxy.yaml:5:7: authentication.jwt[0].claimMappings.usernme: unknown field, did you mean `username`?
  5 |       usernme: {claim: upn, prefix: \"\"}
    |       ^^^^^^^
proxy.yaml:7:12: authentication.jwt[1].issuer.url: must begin with `https://`: keys fetched otherwise could be anybody's
  7 |       url: http://keycloak.example/realms/oil
    |            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
proxy.yaml:10:30: authentication.jwt[1].claimMappings.username.expression: CEL expressions are not supported: use `claim`, \
or `claims: [upn, oid]` for the first one present
  10 |       username: {expression: claims.sub}
     |                              ^^^^^^^^^^
proxy.yaml:11:15: authentication.jwt[1].upstream: `tokens` is not a mode (did you mean `token`?): `token` sends the person's \
own token, `impersonate` speaks for him
  11 |     upstream: tokens
     |               ^^^^^^
proxy.yaml:12:26: authentication.tokenReview.enabled: must be `true` or `false`, but is a text
  12 |   tokenReview: {enabled: maybe}
     |                          ^^^^^
proxy.yaml:13:3: authentication.colour: unknown field; known here: anonymous, jwt, tokenReview
  13 |   colour: blue
     |   ^^^^^^
6 mistakes";
    assert_eq!(report, expected);
}

#[test]
fn each_mistake_has_its_sentence() {
    let preset = format!("authentication: {{jwt: [{{entra: {{tenantId: {TENANT}}}, MORE}}]}}");
    let with = |more: &str| preset.replace("MORE", more);
    for (text, expected) in [
        ("a: [", "this is not YAML"),
        ("[]", "must be a set of fields, but is a list"),
        ("authentification: {}", "did you mean `authentication`?"),
        (
            "kind: Pod",
            "must be `ProxyConfiguration` or an API server's `AuthenticationConfiguration`",
        ),
        ("apiVersion: v1", "must be `kube-tenant-proxy.io/v1alpha1`"),
        (
            &PASTED.replace("apiserver.config.k8s.io/v1", "v1"),
            "must be `apiserver.config.k8s.io/v1`",
        ),
        (
            &PASTED.replace("enabled: false", "enabled: true"),
            "never forwarded",
        ),
        (
            &PASTED.replace(
                "userValidationRules: []",
                "userValidationRules: [{expression: 'true'}]",
            ),
            "CEL",
        ),
        (
            &PASTED.replace(
                "claim: hd, requiredValue: oil.example",
                "expression: claims.hd",
            ),
            "use `claim` and `requiredValue`",
        ),
        (
            &PASTED.replace("requiredValue: oil.example", "requiredValue: true"),
            "put it in quotes",
        ),
        (
            &PASTED.replace("    audienceMatchPolicy: MatchAny\n", ""),
            "which needs `audienceMatchPolicy: MatchAny`",
        ),
        (
            &PASTED.replace("prefix: 'oidc:'}", "x: y}"),
            "say `prefix: \"\"` for none",
        ),
        (
            &PASTED.replace("extra: []", "extra: [{key: o%id, claim: oid}]"),
            "must be lower case letters",
        ),
        (
            &PASTED.replace(
                "extra: []",
                "extra: [{key: oid, valueExpression: claims.oid}]",
            ),
            "use `claim`",
        ),
        (
            "authentication: {tokenReview: {enabled: false}}",
            "nobody could log in",
        ),
        (
            "authentication: {tokenReview: {enabled: false, audiences: [x]}}",
            "has no effect",
        ),
        (
            "authentication: {jwt: {}}",
            "must be a list, but is a set of fields",
        ),
        (
            "authentication: {jwt: [{}]}",
            "has no `issuer`: give `issuer.url`, or `entra.tenantId`",
        ),
        ("authentication: {jwt: [{entra: {}}]}", "has no `tenantId`"),
        (
            "authentication: {jwt: [{entra: {tenantId: oil.example}}]}",
            "must be the directory's GUID",
        ),
        (
            "authentication: {jwt: [{entra: {tenantId: 7}}]}",
            "put it in quotes",
        ),
        (
            &preset.replace("}, MORE", ", cloud: AzureChinaCluod}"),
            "did you mean `AzureChinaCloud`?",
        ),
        (
            &with("issuer: {url: 'https://x.example'}"),
            "follows from `entra.tenantId`",
        ),
        (
            &with("issuer: {audiences: [x]}"),
            "with the preset this is `entra.audiences`",
        ),
        (&with("leeway: 31s"), "must be at most 30s"),
        (&with("leeway: 30"), "must be a time with its unit"),
        (&with("maxTokenAge: 0s"), "must be more than nothing"),
        (
            &with("maxTokenBytes: 1"),
            "must be between 1024 and 524288 bytes",
        ),
        (&with("maxTokenBytes: 32KiB"), "must be a number of bytes"),
        (
            &with("signingAlgs: [HS256]"),
            "`HS256` is no algorithm for tokens here",
        ),
        (
            &with("signingAlgs: [none]"),
            "`none` is no algorithm for tokens here",
        ),
        (&with("signingAlgs: []"), "must name at least one algorithm"),
        (
            &with("claimMappings: {username: {claim: a, claims: [b], prefix: ''}}"),
            "say the same thing twice",
        ),
        (
            &with("claimMappings: {username: {prefix: ''}}"),
            "names no claim",
        ),
        (
            &with("upstream: token, upstream: token"),
            "stands here a second time",
        ),
        (
            &entry(GOOD, "x: 1").replace("upstream: token", ""),
            "has no `upstream`: say `token` if the API server accepts",
        ),
        (
            &entry(GOOD, "").replace("username:", "uid:"),
            "has no `claimMappings.username`",
        ),
        (
            &entry("{audiences: [x]}", ""),
            "has no `url`, which is needed",
        ),
        (
            &entry("{url: https://a.example}", ""),
            "has no `audiences`, which is needed",
        ),
        (
            &entry("{url: https://a.example, audiences: []}", ""),
            "must name at least one audience",
        ),
        (
            &entry("{url: https://a.example, audiences: ['']}", ""),
            "must not be empty",
        ),
        (
            &entry(
                "{url: https://a.example, audiences: [x, x], audienceMatchPolicy: MatchAny}",
                "",
            ),
            "a second time",
        ),
        (
            &entry("{url: a.example, audiences: [x]}", ""),
            "must begin with `https://`",
        ),
        (
            &entry("{url: /realm, audiences: [x]}", ""),
            "must be a whole URL",
        ),
        (
            &entry("{url: 'https://u:p@a.example', audiences: [x]}", ""),
            "must have no user and no fragment",
        ),
        (
            &entry("{url: 'https://a.example#x', audiences: [x]}", ""),
            "must have no user and no fragment",
        ),
        (
            &entry("{url: 'https://a.example?x', audiences: [x]}", ""),
            "must have no query",
        ),
        (
            &entry(
                "{url: https://a.example, discoveryURL: https://a.example, audiences: [x]}",
                "",
            ),
            "must be the whole URL of the discovery document",
        ),
        (
            &entry(
                "{url: https://a.example, audiences: [x], egressSelectorType: controlplane}",
                "",
            ),
            "no egress selectors",
        ),
        (
            &entry(
                "{url: https://a.example, audiences: [x], certificateAuthority: /ca.crt}",
                "",
            ),
            "inline and not a path",
        ),
        (
            &entry(
                "{url: https://a.example, audiences: [x], audienceMatchPolicy: MatchAll}",
                "",
            ),
            "must be `MatchAny`",
        ),
        (
            &entry(
                "{url: https://a.example, audiences: [x], discoveryURL: 'https://a.example/d'}",
                "jwksFile: /jwks",
            ),
            "two sources of keys",
        ),
    ] {
        let found = mistakes(text);
        assert!(
            found.iter().any(|line| line.contains(expected)),
            "{expected}\nnot in {found:#?}\nof {text}"
        );
    }
}

#[test]
fn issuers_are_told_apart() {
    let two = |first: &str, second: &str| {
        let entry = |url: &str| {
            format!(
                "{{issuer: {{url: {url}, audiences: [x]}}, claimMappings: {{username: {{claim: sub, prefix: ''}}}}, upstream: token}}"
            )
        };
        mistakes(&format!(
            "authentication: {{jwt: [{}, {}]}}",
            entry(first),
            entry(second)
        ))
    };
    assert_eq!(
        two("https://a.example", "https://b.example"),
        Vec::<String>::new()
    );
    assert_eq!(
        two("https://a.example", "https://a.example"),
        ["1:146 authentication.jwt[1]: has the same issuer as an entry above: each needs its own"]
    );
    let same_document = two("https://a.example", "https://a.example/");
    assert!(
        same_document[0].contains("takes its keys from where an entry above does"),
        "{same_document:?}"
    );
}

#[test]
fn keys_may_lie_in_a_file() {
    let issuer = only(parse(&entry(GOOD, "jwksFile: /etc/keys/jwks.json")));
    assert_eq!(issuer.keys, KeySource::File("/etc/keys/jwks.json".into()));
}

#[test]
fn the_username_flag_refines_a_preset_and_never_contradicts_the_file() {
    let preset = format!("authentication: {{jwt: [{{entra: {{tenantId: {TENANT}}}}}]}}");
    let claims = |text: &str, flag: &str| {
        let mut settings = parse(text);
        let notes = settings.apply_username_claim(flag);
        (
            settings
                .issuers
                .first()
                .map(|issuer| issuer.username.claims.join(",")),
            notes,
        )
    };
    for (flag, expected) in [
        ("", "upn,oid"),
        ("preferred_username", "upn,oid"),
        ("upn", "upn,oid"),
        ("unique_name", "unique_name,upn,oid"),
        ("oid", "oid"),
    ] {
        assert_eq!(
            claims(&preset, flag),
            (Some(expected.to_owned()), Ok(Vec::new())),
            "{flag}"
        );
    }
    let (kept, notes) = claims(&preset, "email");
    assert_eq!(kept.as_deref(), Some("upn,oid"));
    assert!(matches!(notes.unwrap()[..], [ClaimNote::Ignored { .. }]));
    assert_eq!(claims("", "unique_name").1, Ok(vec![ClaimNote::NoIssuer]));

    assert_eq!(claims(&entry(GOOD, ""), "sub").1, Ok(Vec::new()));
    let contradiction = claims(&entry(GOOD, ""), "email").1.unwrap_err().to_string();
    assert_eq!(
        contradiction,
        "--oidc-username-claim=email contradicts proxy.yaml:4, which takes sub: remove one of the two"
    );
}

#[test]
fn a_report_echoes_no_token() {
    let text = "authentication:\n  token: eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ4In0.c2ln\n";
    let report = File::parse("proxy.yaml", text).unwrap_err().to_string();
    assert!(report.contains("unknown field"), "{report}");
    assert!(!report.contains("eyJ"), "{report}");
}

#[test]
fn no_file_ends_the_process() {
    for text in [
        "\0",
        "\u{feff}",
        "a: &a [*a]",
        "<<: {a: b}",
        "? [a]\n: b",
        "- - -",
        "a: 1\n---\nb: 2",
        "'",
    ] {
        assert!(!mistakes(text).is_empty() || text == "\u{feff}", "{text:?}");
    }
    let bomb = format!(
        "a: &a [x,x,x,x,x,x,x,x]\n{}",
        (0..20)
            .map(|n| {
                let from = if n == 0 {
                    "a".to_owned()
                } else {
                    format!("a{}", n - 1)
                };
                format!("b{n}: &a{n} [{}]\n", vec![format!("*{from}"); 8].join(","))
            })
            .collect::<String>()
    );
    assert!(
        mistakes(&bomb)
            .iter()
            .any(|line| line.contains("this is not YAML"))
    );
}

/// Fields of an API server's file that are refused whatever they say: the chart's schema leaves them out.
const REFUSED: [&str; 4] = [
    "egressSelectorType",
    "expression",
    "message",
    "valueExpression",
];

/// Compares the fields that this schema has with those that a file may have at this place.
fn compare(schema: &serde_json::Value, root: &serde_json::Value, place: &str) {
    let schema = match schema["$ref"].as_str() {
        Some(path) => root.pointer(path.trim_start_matches('#')).unwrap(),
        None => schema,
    };
    if schema["items"].is_object() {
        return compare(&schema["items"], root, &place.replace("HERE", "[HERE]"));
    }
    let Some(properties) = schema["properties"].as_object() else {
        return;
    };
    let text = place.replace("HERE", "{zzzzzzzzzz: 1}");
    let report = File::parse("proxy.yaml", &text).unwrap_err().to_string();
    let line = report
        .lines()
        .find(|line| line.contains("zzzzzzzzzz: unknown field"));
    let known = line.and_then(|line| line.split_once("known here: "));
    let known: BTreeSet<&str> = known
        .unwrap_or_else(|| panic!("{text}: {report}"))
        .1
        .split(", ")
        .collect();
    let described: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
    let missing: Vec<_> = known
        .difference(&described)
        .filter(|name| !REFUSED.contains(name))
        .collect();
    // The chart has a sentence of its own for `authentication.entra`.
    let invented: Vec<_> = described
        .difference(&known)
        .filter(|name| **name != "entra")
        .collect();
    assert!(
        missing.is_empty() && invented.is_empty(),
        "{text}: {missing:?} {invented:?}"
    );
    for (name, schema) in properties {
        compare(
            schema,
            root,
            &place.replace("HERE", &format!("{{{name}: HERE}}")),
        );
    }
}

#[test]
fn the_charts_schema_has_the_fields_that_a_file_may_have() {
    let schema = include_str!("../../charts/kube-tenant-proxy/values.schema.json");
    let schema: serde_json::Value = serde_json::from_str(schema).unwrap();
    let config = &schema["properties"]["config"]["properties"];
    compare(&config["authentication"], &schema, "authentication: HERE");
    let pasted = "kind: AuthenticationConfiguration\njwt: HERE";
    compare(&config["jwt"], &schema, pasted);
}
