//! `issuer` and `jwksFile`: whose tokens, for whom, and where the keys come from.

use std::path::PathBuf;
use std::sync::Arc;

use http::Uri;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::authn::settings::KeySource;
use crate::config::authentication::entra::Preset;
use crate::config::mistake::Mistakes;
use crate::config::walk::Said;
use crate::config::walk::Section;

/// Who the issuer is and where its keys come from.
pub(super) struct Source {
    pub(super) url: Arc<str>,
    pub(super) keys: KeySource,
    pub(super) certificate_authority: Option<Arc<str>>,
    pub(super) audiences: Vec<String>,
}

/// The section `issuer`, the preset's stand-in for it, and `jwksFile`.
pub(super) fn read(
    entry: &mut Section,
    preset: Option<&Preset>,
    mistakes: &mut Mistakes,
) -> Option<Source> {
    let jwks_file = entry
        .take("jwksFile")
        .and_then(|item| item.filled(mistakes));
    let Some(item) = entry.take("issuer") else {
        let Some(preset) = preset else {
            entry.refuse(
                mistakes,
                "has no `issuer`: give `issuer.url`, or `entra.tenantId` for Microsoft Entra ID",
            );
            return None;
        };
        return Some(Source {
            url: preset.url.clone(),
            keys: jwks_file.map_or_else(|| KeySource::Discovery(preset.discovery.clone()), file),
            certificate_authority: None,
            audiences: preset.audiences.clone(),
        });
    };
    let mut issuer = item.section(mistakes)?;
    let url = issuer.take("url").and_then(|item| item.filled(mistakes));
    let discovery = issuer
        .take("discoveryURL")
        .and_then(|item| item.filled(mistakes));
    let certificate_authority = issuer
        .take("certificateAuthority")
        .and_then(|item| item.filled(mistakes));
    let audiences = issuer
        .take("audiences")
        .and_then(|item| item.texts(mistakes));
    let policy = issuer
        .take("audienceMatchPolicy")
        .and_then(|item| item.text(mistakes));
    if let Some(egress) = issuer
        .take("egressSelectorType")
        .and_then(|item| item.text(mistakes))
    {
        egress.refuse(mistakes, "there are no egress selectors here: remove it");
    }
    let certificate_authority = certificate_authority.map(|pem| check_certificates(pem, mistakes));
    check_policy(policy.as_ref(), audiences.as_ref(), mistakes);
    let (url, audiences) = match preset {
        Some(preset) => {
            for given in url.iter() {
                given.refuse(
                    mistakes,
                    "follows from `entra.tenantId`: remove one of the two",
                );
            }
            for given in audiences.iter() {
                given.refuse(
                    mistakes,
                    "with the preset this is `entra.audiences`: write it there",
                );
            }
            (Some(preset.url.clone()), Some(preset.audiences.clone()))
        }
        None => (
            required(&issuer, url, "url", mistakes).and_then(|url| issuer_url(&url, mistakes)),
            required(&issuer, audiences, "audiences", mistakes).and_then(|audiences| {
                if audiences.value.is_empty() {
                    audiences.refuse(mistakes, "must name at least one audience");
                }
                Some(audiences.value).filter(|names| !names.is_empty())
            }),
        ),
    };
    issuer.finish(mistakes);
    let keys = match (jwks_file, discovery, preset) {
        (Some(path), Some(discovery), _) => {
            discovery.refuse(
                mistakes,
                "and `jwksFile` are two sources of keys: remove one of them",
            );
            Some(file(path))
        }
        (Some(path), None, _) => Some(file(path)),
        (None, Some(discovery), _) => {
            discovery_url(&discovery, url.as_deref(), mistakes).map(KeySource::Discovery)
        }
        (None, None, Some(preset)) => Some(KeySource::Discovery(preset.discovery.clone())),
        (None, None, None) => url
            .as_deref()
            .and_then(default_discovery)
            .map(KeySource::Discovery),
    };
    Some(Source {
        url: url?,
        keys: keys?,
        certificate_authority,
        audiences: audiences?,
    })
}

fn file(path: Said<String>) -> KeySource {
    KeySource::File(PathBuf::from(path.value))
}

/// A field that must be there.
pub(super) fn required<T>(
    section: &Section,
    field: Option<T>,
    name: &str,
    mistakes: &mut Mistakes,
) -> Option<T> {
    if field.is_none() {
        section.refuse(mistakes, format!("has no `{name}`, which is needed"));
    }
    field
}

fn https(text: &Said<String>, mistakes: &mut Mistakes) -> Option<Uri> {
    let uri = match text.value.parse::<Uri>() {
        Ok(uri) if uri.host().is_some_and(|host| !host.is_empty()) => uri,
        Ok(_) | Err(_) => {
            text.refuse(
                mistakes,
                "must be a whole URL such as `https://login.example.com/realm`",
            );
            return None;
        }
    };
    let plain = |character| !text.value.contains(character);
    if uri.scheme_str() != Some("https") {
        text.refuse(
            mistakes,
            "must begin with `https://`: keys fetched otherwise could be anybody's",
        );
        None
    } else if !plain('#')
        || uri
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'))
    {
        text.refuse(mistakes, "must have no user and no fragment");
        None
    } else {
        Some(uri)
    }
}

fn issuer_url(text: &Said<String>, mistakes: &mut Mistakes) -> Option<Arc<str>> {
    let uri = https(text, mistakes)?;
    if uri.query().is_some() {
        text.refuse(
            mistakes,
            "must have no query: it is compared with `iss` as it stands",
        );
        return None;
    }
    Some(text.value.as_str().into())
}

fn discovery_url(
    text: &Said<String>,
    issuer: Option<&str>,
    mistakes: &mut Mistakes,
) -> Option<Uri> {
    let uri = https(text, mistakes)?;
    if issuer == Some(text.value.as_str()) {
        text.refuse(
            mistakes,
            "must be the whole URL of the discovery document, not the issuer's again",
        );
        return None;
    }
    Some(uri)
}

/// OpenID Connect Discovery §4.
fn default_discovery(issuer: &str) -> Option<Uri> {
    format!(
        "{}/.well-known/openid-configuration",
        issuer.trim_end_matches('/')
    )
    .parse()
    .ok()
}

fn check_certificates(pem: Said<String>, mistakes: &mut Mistakes) -> Arc<str> {
    let certificates: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(pem.value.as_bytes()).collect();
    if !certificates.is_ok_and(|certificates| !certificates.is_empty()) {
        pem.refuse(mistakes, "must be PEM certificates, from `-----BEGIN CERTIFICATE-----` on, inline and not a path");
    }
    pem.value.into()
}

fn check_policy(
    policy: Option<&Said<String>>,
    audiences: Option<&Said<Vec<String>>>,
    mistakes: &mut Mistakes,
) {
    match policy {
        Some(policy) if policy.value != "MatchAny" && !policy.value.is_empty() => {
            policy.refuse(mistakes, "must be `MatchAny`, the only policy there is");
        }
        Some(policy) if policy.value == "MatchAny" => {}
        Some(_) | None => {
            if let Some(audiences) = audiences
                && audiences.value.len() > 1
            {
                audiences.refuse(mistakes, "has more than one entry, which needs `audienceMatchPolicy: MatchAny` beside it");
            }
        }
    }
}
