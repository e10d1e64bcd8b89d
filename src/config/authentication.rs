//! `authentication`: issuers with the field names of Kubernetes' `AuthenticationConfiguration`
//! (`apiserver pkg/apis/apiserver/v1/types.go`), so that an API server's file can be pasted, plus our own fields.
//!
//! Where Kubernetes offers CEL, only what can be said without it is supported, and the rest refused with a hint: a rule
//! that is not understood must not silently hold.

mod entra;
mod mappings;
mod source;

use std::time::Duration;

use crate::authn::settings::ClaimRule;
use crate::authn::settings::Issuer;
use crate::authn::settings::MAX_LEEWAY;
use crate::authn::settings::MAX_STALE;
use crate::authn::settings::MAX_TOKEN_BYTES;
use crate::authn::settings::Settings;
use crate::authn::settings::SigningAlg;
use crate::authn::settings::TokenReviewSetting;
use crate::config::mistake::Mistakes;
use crate::config::walk::Item;
use crate::config::walk::Section;
use crate::config::walk::nearest;
use crate::identity::UpstreamMode;

/// Longest token that may be configured: a header block of a request has 1 MiB.
const TOKEN_BYTES: std::ops::RangeInclusive<usize> = 1_024..=512 * 1_024;

/// Said wherever Kubernetes has an expression.
pub(super) const NO_CEL: &str = "CEL expressions are not supported";

/// Whose file it is: that decides what an issuer without `upstream` means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    /// By the API server's admin: it accepts these issuers.
    ForTheApiServer,
    /// For us: he has to say whether it does.
    ForUs,
}

/// The section `authentication` of our own file.
pub(super) fn own(mut section: Section, mistakes: &mut Mistakes) -> Settings {
    let token_review = token_review(&mut section, mistakes);
    let settings = issuers(&mut section, token_review, Written::ForUs, mistakes);
    section.finish(mistakes);
    settings
}

/// The fields of an API server's `AuthenticationConfiguration`, at the root of the file.
pub(super) fn pasted(root: &mut Section, mistakes: &mut Mistakes) -> Settings {
    let review = TokenReviewSetting::On {
        audiences: Vec::new(),
    };
    issuers(root, review, Written::ForTheApiServer, mistakes)
}

fn token_review(section: &mut Section, mistakes: &mut Mistakes) -> TokenReviewSetting {
    let mut setting = TokenReviewSetting::On {
        audiences: Vec::new(),
    };
    let Some(mut review) = section
        .take("tokenReview")
        .and_then(|item| item.section(mistakes))
    else {
        return setting;
    };
    let enabled = review.take("enabled").and_then(|item| item.flag(mistakes));
    let audiences = review
        .take("audiences")
        .and_then(|item| item.texts(mistakes));
    match (enabled, audiences) {
        (Some(enabled), audiences) if !enabled.value => {
            if let Some(audiences) = audiences {
                audiences.refuse(
                    mistakes,
                    "has no effect with `enabled: false`: remove one of the two",
                );
            }
            setting = TokenReviewSetting::Off;
        }
        (_, Some(audiences)) => {
            setting = TokenReviewSetting::On {
                audiences: audiences.value,
            };
        }
        (_, None) => {}
    }
    review.finish(mistakes);
    setting
}

fn issuers(
    section: &mut Section,
    token_review: TokenReviewSetting,
    written: Written,
    mistakes: &mut Mistakes,
) -> Settings {
    refuse_anonymous(section, mistakes);
    let mut issuers: Vec<Issuer> = Vec::new();
    let jwt = section.take("jwt").and_then(|item| item.list(mistakes));
    let given = jwt.as_ref().is_some_and(|jwt| !jwt.value.is_empty());
    for (index, item) in jwt.into_iter().flat_map(|jwt| jwt.value).enumerate() {
        let Some(entry) = item.section(mistakes) else {
            continue;
        };
        let (path, at) = (entry.path.clone(), entry.at);
        if let Some(issuer) = issuer(entry, index, written, mistakes) {
            if issuers.iter().any(|other| other.url == issuer.url) {
                mistakes.add(
                    at,
                    &path,
                    "has the same issuer as an entry above: each needs its own",
                );
            } else if issuers.iter().any(|other| other.keys == issuer.keys) {
                mistakes.add(
                    at,
                    &path,
                    "takes its keys from where an entry above does: each needs its own",
                );
            }
            issuers.push(issuer);
        }
    }
    if !given && token_review == TokenReviewSetting::Off {
        section.refuse(mistakes, "with no `jwt` and `tokenReview.enabled: false` nobody could log in: configure one of them");
    }
    Settings {
        issuers,
        token_review,
    }
}

fn refuse_anonymous(section: &mut Section, mistakes: &mut Mistakes) {
    let Some(mut anonymous) = section
        .take("anonymous")
        .and_then(|item| item.section(mistakes))
    else {
        return;
    };
    if let Some(enabled) = anonymous
        .take("enabled")
        .and_then(|item| item.flag(mistakes))
        && enabled.value
    {
        enabled.refuse(
            mistakes,
            "requests without a credential are never forwarded: remove it or say `false`",
        );
    }
    // What it would be limited to does not matter when it is off.
    let _ = anonymous.take("conditions");
    anonymous.finish(mistakes);
}

fn issuer(
    mut entry: Section,
    index: usize,
    written: Written,
    mistakes: &mut Mistakes,
) -> Option<Issuer> {
    let preset = match entry.take("entra") {
        Some(item) => Some(
            item.section(mistakes)
                .and_then(|section| entra::preset(section, mistakes))?,
        ),
        None => None,
    };
    let source = source::read(&mut entry, preset.as_ref(), mistakes);
    let (username, groups, uid, extra) = mappings::read(&mut entry, preset.is_some(), mistakes);
    let claim_rules = claim_rules(&mut entry, mistakes);
    refuse_user_rules(&mut entry, mistakes);
    let algorithms = algorithms(&mut entry, mistakes);
    let upstream = upstream(&mut entry, preset.is_some(), written, mistakes);
    let leeway = entry
        .take("leeway")
        .and_then(|item| item.duration(mistakes));
    if let Some(leeway) = &leeway
        && leeway.value > MAX_LEEWAY
    {
        leeway.refuse(
            mistakes,
            format!(
                "must be at most {}s: the API server has none",
                MAX_LEEWAY.as_secs()
            ),
        );
    }
    let max_token_age = entry
        .take("maxTokenAge")
        .and_then(|item| item.duration(mistakes));
    let max_stale = entry
        .take("maxStale")
        .and_then(|item| item.duration(mistakes));
    for time in max_token_age.iter().chain(&max_stale) {
        if time.value.is_zero() {
            time.refuse(
                mistakes,
                "must be more than nothing: no token would be accepted",
            );
        }
    }
    let max_token_bytes = entry
        .take("maxTokenBytes")
        .and_then(|item| item.size(mistakes));
    if let Some(size) = &max_token_bytes
        && !TOKEN_BYTES.contains(&size.value)
    {
        let text = format!(
            "must be between {} and {} bytes",
            TOKEN_BYTES.start(),
            TOKEN_BYTES.end()
        );
        size.refuse(mistakes, text);
    }
    entry.finish(mistakes);

    let source = source?;
    let rules = match preset {
        Some(preset) => Some(preset.rules),
        None => entra::rules_of(&source.url),
    };
    Some(Issuer {
        name: format!("jwt[{index}]").into(),
        url: source.url,
        keys: source.keys,
        certificate_authority: source.certificate_authority,
        audiences: source.audiences,
        algorithms: algorithms.unwrap_or_else(|| vec![SigningAlg::Rs256]),
        leeway: leeway.map_or(Duration::ZERO, |leeway| leeway.value),
        max_token_age: max_token_age.map(|age| age.value),
        max_token_bytes: max_token_bytes.map_or(MAX_TOKEN_BYTES, |size| size.value),
        max_stale: max_stale.map_or(MAX_STALE, |stale| stale.value),
        claim_rules,
        username: username?,
        groups,
        uid,
        extra,
        upstream: upstream?,
        entra: rules,
    })
}

fn claim_rules(entry: &mut Section, mistakes: &mut Mistakes) -> Vec<ClaimRule> {
    let mut rules: Vec<ClaimRule> = Vec::new();
    let list = entry
        .take("claimValidationRules")
        .and_then(|item| item.list(mistakes));
    for mut rule in list
        .into_iter()
        .flat_map(|list| list.value)
        .filter_map(|item| item.section(mistakes))
        .collect::<Vec<_>>()
    {
        let claim = rule.take("claim").and_then(|item| item.filled(mistakes));
        let value = rule
            .take("requiredValue")
            .and_then(|item| item.text(mistakes));
        let message = rule.take("message");
        if let Some(expression) = rule.take("expression").and_then(|item| item.text(mistakes)) {
            expression.refuse(
                mistakes,
                format!("{NO_CEL}: use `claim` and `requiredValue`"),
            );
        } else {
            if let Some(message) = message.and_then(|item| item.text(mistakes)) {
                message.refuse(mistakes, "goes with `expression` only: remove it");
            }
            let claim = source::required(&rule, claim, "claim", mistakes);
            let value = source::required(&rule, value, "requiredValue", mistakes);
            if let (Some(claim), Some(value)) = (claim, value) {
                rules.push(ClaimRule {
                    claim: claim.value,
                    required_value: value.value,
                });
            }
        }
        rule.finish(mistakes);
    }
    rules
}

fn refuse_user_rules(entry: &mut Section, mistakes: &mut Mistakes) {
    let list = entry
        .take("userValidationRules")
        .and_then(|item| item.list(mistakes));
    if let Some(list) = list
        && !list.value.is_empty()
    {
        let text = format!(
            "{NO_CEL}: `system:` users and groups are refused anyway; for groups use `claimMappings.groups.deny`"
        );
        list.refuse(mistakes, text);
    }
}

fn algorithms(entry: &mut Section, mistakes: &mut Mistakes) -> Option<Vec<SigningAlg>> {
    let list = entry
        .take("signingAlgs")
        .and_then(|item| item.list(mistakes))?;
    if list.value.is_empty() {
        list.refuse(mistakes, "must name at least one algorithm");
    }
    let mut algorithms = Vec::new();
    for name in list
        .value
        .into_iter()
        .filter_map(|item| item.text(mistakes))
        .collect::<Vec<_>>()
    {
        match SigningAlg::parse(&name.value) {
            Some(algorithm) => algorithms.push(algorithm),
            None => {
                let all = SigningAlg::ALL.map(SigningAlg::name).join(", ");
                name.refuse(
                    mistakes,
                    format!(
                        "`{}` is no algorithm for tokens here; there are {all}",
                        name.value
                    ),
                );
            }
        }
    }
    Some(algorithms)
}

fn upstream(
    entry: &mut Section,
    preset: bool,
    written: Written,
    mistakes: &mut Mistakes,
) -> Option<UpstreamMode> {
    let Some(mode) = entry
        .take("upstream")
        .and_then(|item: Item| item.text(mistakes))
    else {
        if preset || written == Written::ForTheApiServer {
            return Some(UpstreamMode::Token);
        }
        let text = "has no `upstream`: say `token` if the API server accepts this issuer too, `impersonate` if only the proxy does";
        entry.refuse(mistakes, text);
        return None;
    };
    match mode.value.as_str() {
        "token" => Some(UpstreamMode::Token),
        "impersonate" => Some(UpstreamMode::Impersonate),
        other => {
            let meant = nearest(other, &["token", "impersonate"])
                .map_or_else(String::new, |meant| format!(" (did you mean `{meant}`?)"));
            let text = format!(
                "`{other}` is not a mode{meant}: `token` sends the person's own token, `impersonate` speaks for him"
            );
            mode.refuse(mistakes, text);
            None
        }
    }
}
