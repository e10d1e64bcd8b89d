//! `claimMappings`: which claims make name, groups, uid and extra.

use crate::authn::mapping::is_extra_key;
use crate::authn::settings::ExtraRule;
use crate::authn::settings::GroupsRule;
use crate::authn::settings::Origin;
use crate::authn::settings::UsernameRule;
use crate::config::authentication::NO_CEL;
use crate::config::mistake::Mistakes;
use crate::config::walk::Section;
use crate::k8s::pattern::Pattern;

pub(super) type Mappings = (
    Option<UsernameRule>,
    Option<GroupsRule>,
    Option<String>,
    Vec<ExtraRule>,
);

/// The mappings of an entry. With the `entra` preset they have defaults: what AKS's API server itself makes of a token.
pub(super) fn read(entry: &mut Section, preset: bool, mistakes: &mut Mistakes) -> Mappings {
    let mut mappings = entry
        .take("claimMappings")
        .and_then(|item| item.section(mistakes));
    let mut part = |name, mistakes: &mut Mistakes| {
        mappings
            .as_mut()
            .and_then(|mappings| mappings.take(name))
            .map(|item| item.section(mistakes))
    };
    let username = match part("username", mistakes) {
        Some(section) => section.and_then(|section| username(section, mistakes)),
        None if preset => Some(UsernameRule {
            claims: vec!["upn".to_owned(), "oid".to_owned()],
            prefix: String::new(),
            origin: Origin::Preset,
        }),
        None => {
            entry.refuse(
                mistakes,
                "has no `claimMappings.username`: say which claim names the user",
            );
            None
        }
    };
    let groups = match part("groups", mistakes) {
        Some(section) => section.and_then(|section| groups(section, mistakes)),
        None => preset.then(|| GroupsRule {
            claim: "groups".to_owned(),
            prefix: String::new(),
            allow: Vec::new(),
            deny: Vec::new(),
        }),
    };
    let uid = part("uid", mistakes).flatten().and_then(|mut section| {
        refuse_expression(&mut section, "expression", mistakes);
        let claim = section.take("claim").and_then(|item| item.filled(mistakes));
        section.finish(mistakes);
        claim.map(|claim| claim.value)
    });
    let given = mappings
        .as_mut()
        .and_then(|mappings| mappings.take("extra"));
    let extra = match given {
        Some(item) => item
            .list(mistakes)
            .into_iter()
            .flat_map(|list| list.value)
            .filter_map(|item| {
                let section = item.section(mistakes)?;
                extra(section, mistakes)
            })
            .collect(),
        None if preset => vec![ExtraRule {
            key: "oid".into(),
            claim: "oid".to_owned(),
        }],
        None => Vec::new(),
    };
    if let Some(mappings) = mappings {
        mappings.finish(mistakes);
    }
    (username, groups, uid, extra)
}

fn refuse_expression(section: &mut Section, name: &'static str, mistakes: &mut Mistakes) {
    if let Some(expression) = section.take(name).and_then(|item| item.text(mistakes)) {
        let hint = if section.path.ends_with("username") {
            "use `claim`, or `claims: [upn, oid]` for the first one present"
        } else {
            "use `claim`"
        };
        expression.refuse(mistakes, format!("{NO_CEL}: {hint}"));
    }
}

/// `prefix` is mandatory beside a claim, as in Kubernetes, so that nobody gets an empty one without having said so.
fn prefix(section: &mut Section, mistakes: &mut Mistakes) -> Option<String> {
    match section.take("prefix") {
        Some(item) => item.text(mistakes).map(|prefix| prefix.value),
        None => {
            section.refuse(mistakes, "has no `prefix`: say `prefix: \"\"` for none");
            None
        }
    }
}

fn username(mut section: Section, mistakes: &mut Mistakes) -> Option<UsernameRule> {
    let before = mistakes.found().len();
    refuse_expression(&mut section, "expression", mistakes);
    let refused = mistakes.found().len() > before;
    let claim = section.take("claim").and_then(|item| item.filled(mistakes));
    let claims = section.take("claims").and_then(|item| item.texts(mistakes));
    let origin = Origin::File(mistakes.place(section.at));
    let claims = match (claim, claims) {
        (Some(claim), Some(claims)) => {
            claims.refuse(
                mistakes,
                "and `claim` say the same thing twice: remove one of them",
            );
            Some(vec![claim.value])
        }
        (Some(claim), None) => Some(vec![claim.value]),
        (None, Some(claims)) if !claims.value.is_empty() => Some(claims.value),
        (None, Some(_) | None) => {
            if !refused {
                section.refuse(
                    mistakes,
                    "names no claim: give `claim`, or `claims` for the first one present",
                );
            }
            None
        }
    };
    let prefix = if claims.is_some() {
        prefix(&mut section, mistakes)
    } else {
        let _ = section.take("prefix");
        None
    };
    section.finish(mistakes);
    Some(UsernameRule {
        claims: claims?,
        prefix: prefix?,
        origin,
    })
}

fn groups(mut section: Section, mistakes: &mut Mistakes) -> Option<GroupsRule> {
    refuse_expression(&mut section, "expression", mistakes);
    let claim = section.take("claim").and_then(|item| item.filled(mistakes));
    let allow = patterns(&mut section, "allow", mistakes);
    let deny = patterns(&mut section, "deny", mistakes);
    let prefix = match &claim {
        Some(_) => prefix(&mut section, mistakes),
        None => {
            let _ = section.take("prefix");
            None
        }
    };
    section.finish(mistakes);
    Some(GroupsRule {
        claim: claim?.value,
        prefix: prefix?,
        allow,
        deny,
    })
}

fn patterns(section: &mut Section, name: &'static str, mistakes: &mut Mistakes) -> Vec<Pattern> {
    let texts = section.take(name).and_then(|item| item.texts(mistakes));
    texts.map_or_else(Vec::new, |texts| {
        texts.value.iter().map(|text| Pattern::new(text)).collect()
    })
}

fn extra(mut section: Section, mistakes: &mut Mistakes) -> Option<ExtraRule> {
    refuse_expression(&mut section, "valueExpression", mistakes);
    let key = section.take("key").and_then(|item| item.filled(mistakes));
    let claim = section.take("claim").and_then(|item| item.filled(mistakes));
    section.finish(mistakes);
    let (key, claim) = (key?, claim?);
    if !is_extra_key(&key.value) {
        let text = "must be lower case letters, digits, `-`, `.`, `_` and `/`, and not begin with `kube-tenant-proxy.io/`";
        key.refuse(mistakes, text);
        return None;
    }
    Some(ExtraRule {
        key: key.value.into(),
        claim: claim.value,
    })
}
