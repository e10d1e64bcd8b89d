//! The `entra` preset: one directory's id → everything an AKS cluster with Entra users needs.
//!
//! Clouds are data. Issuer and discovery document of a v1.0 token are on different hosts.

use std::sync::Arc;

use http::Uri;

use crate::authn::entra::is_guid;
use crate::authn::settings::AKS_SERVER;
use crate::authn::settings::AppTokens;
use crate::authn::settings::EntraRules;
use crate::authn::settings::EntraVersion;
use crate::config::mistake::Mistakes;
use crate::config::walk::Section;
use crate::config::walk::nearest;

/// A cloud, under the name that kubelogin's `--environment` has for it.
struct Cloud {
    name: &'static str,
    /// Host of v1.0 issuers.
    sts: &'static str,
    /// Host of discovery documents and of v2.0 issuers.
    login: &'static str,
}

const CLOUDS: [Cloud; 3] = [
    Cloud {
        name: "AzurePublicCloud",
        sts: "sts.windows.net",
        login: "login.microsoftonline.com",
    },
    Cloud {
        name: "AzureUSGovernmentCloud",
        sts: "sts.windows.net",
        login: "login.microsoftonline.us",
    },
    Cloud {
        name: "AzureChinaCloud",
        sts: "sts.chinacloudapi.cn",
        login: "login.partner.microsoftonline.cn",
    },
];

/// What the preset stands for.
pub(super) struct Preset {
    pub(super) url: Arc<str>,
    pub(super) discovery: Uri,
    pub(super) audiences: Vec<String>,
    pub(super) rules: EntraRules,
}

/// The section `entra`.
pub(super) fn preset(mut section: Section, mistakes: &mut Mistakes) -> Option<Preset> {
    let tenant = section.take("tenantId").map(|item| item.filled(mistakes));
    let cloud = section.take("cloud").and_then(|item| item.filled(mistakes));
    let audiences = section
        .take("audiences")
        .and_then(|item| item.texts(mistakes));
    let app_tokens = section
        .take("appTokens")
        .and_then(|item| item.flag(mistakes));
    let allowed_app_ids = section
        .take("allowedAppIds")
        .and_then(|item| item.texts(mistakes));
    let required_scopes = section
        .take("requiredScopes")
        .and_then(|item| item.texts(mistakes));
    let tenant = match tenant {
        None => {
            section.refuse(
                mistakes,
                "has no `tenantId`: `az account show --query tenantId` prints it",
            );
            None
        }
        Some(None) => None,
        Some(Some(tenant)) if is_guid(&tenant.value) => Some(tenant.value.to_lowercase()),
        Some(Some(tenant)) => {
            tenant.refuse(
                mistakes,
                "must be the directory's GUID: `az account show --query tenantId` prints it",
            );
            None
        }
    };
    let cloud = match &cloud {
        None => CLOUDS.first(),
        Some(name) => {
            let found = CLOUDS.iter().find(|cloud| cloud.name == name.value);
            if found.is_none() {
                let names = CLOUDS.each_ref().map(|cloud| cloud.name);
                let meant = nearest(&name.value, &names).map_or_else(
                    || {
                        format!(
                            "there are {}; write other clouds out as `issuer`",
                            names.join(", ")
                        )
                    },
                    |meant| format!("did you mean `{meant}`?"),
                );
                name.refuse(mistakes, format!("`{}` is no cloud: {meant}", name.value));
            }
            found
        }
    };
    if let Some(audiences) = &audiences
        && audiences.value.is_empty()
    {
        audiences.refuse(
            mistakes,
            "must name at least one audience, or be left out for AKS",
        );
    }
    section.finish(mistakes);
    let (tenant, cloud) = (tenant?, cloud?);
    let discovery = format!(
        "https://{}/{tenant}/.well-known/openid-configuration",
        cloud.login
    );
    Some(Preset {
        url: format!("https://{}/{tenant}/", cloud.sts).into(),
        discovery: discovery.parse().ok()?,
        audiences: audiences
            .map_or_else(|| vec![AKS_SERVER.to_owned()], |audiences| audiences.value),
        rules: EntraRules {
            tenant,
            version: EntraVersion::V1,
            app_tokens: match app_tokens {
                Some(accepted) if !accepted.value => AppTokens::Refused,
                Some(_) | None => AppTokens::Accepted,
            },
            allowed_app_ids: allowed_app_ids.map_or_else(Vec::new, |ids| ids.value),
            required_scopes: required_scopes.map_or_else(Vec::new, |scopes| scopes.value),
        },
    })
}

/// An issuer that is written out but is Entra's all the same gets Entra's checks too.
pub(super) fn rules_of(url: &str) -> Option<EntraRules> {
    let (host, path) = url.strip_prefix("https://")?.split_once('/')?;
    let (tenant, version) = if CLOUDS.iter().any(|cloud| cloud.sts == host) {
        (path.strip_suffix('/')?, EntraVersion::V1)
    } else if CLOUDS.iter().any(|cloud| cloud.login == host) {
        (path.strip_suffix("/v2.0")?, EntraVersion::V2)
    } else {
        return None;
    };
    is_guid(tenant).then(|| EntraRules {
        tenant: tenant.to_owned(),
        version,
        app_tokens: AppTokens::Accepted,
        allowed_app_ids: Vec::new(),
        required_scopes: Vec::new(),
    })
}
