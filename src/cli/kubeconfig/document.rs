//! Kubeconfigs as documents: a new one, or one of which server and CA are replaced. No file, no terminal.
//!
//! Keys come out in the order of the alphabet, as kubectl itself writes them.

use anyhow::Context;
use anyhow::bail;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::ValueEnum;
use http::Uri;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::authn::entra::is_guid;
use crate::authn::settings::AKS_SERVER;

/// The public client that kubelogin is in every directory (kubelogin `pkg/internal/token`, and what `az aks
/// get-credentials` writes).
const KUBELOGIN_CLIENT: &str = "80faf920-1908-4b52-b5ef-a8e7bedfc67a";

/// The proxy's public address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server(String);

impl Server {
    /// Reads it, and refuses what would send tokens somewhere else, or in the clear.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let uri: Uri = text
            .parse()
            .map_err(|_not_a_url| "is no URL; it looks like https://proxy.example.com:443")?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err("lacks https:// in front".to_owned());
        };
        if scheme != "https" {
            return Err("must begin with https://, or tokens travel in the clear".to_owned());
        }
        if authority.as_str().contains('@') {
            return Err("must hold no user or password".to_owned());
        }
        if authority.host().is_empty() || uri.query().is_some() || !["", "/"].contains(&uri.path())
        {
            return Err("must be a host and a port, without anything after them".to_owned());
        }
        Ok(Self(format!("https://{authority}")))
    }
}

/// Whom to trust: certificates, and nothing else of the file they came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Authority(String);

impl Authority {
    /// The certificates in a PEM file.
    ///
    /// # Errors
    /// When there are none, one cannot be read, or a private key lies beside them: it would be handed to everybody.
    pub(super) fn read(pem: &[u8]) -> anyhow::Result<Self> {
        let holds_a_key = pem
            .windows(KEY_MARK.len())
            .any(|window| window == KEY_MARK.as_bytes());
        if holds_a_key {
            bail!("a private key is in it; give the certificate of the CA alone");
        }
        let mut roots = rustls::RootCertStore::empty();
        let mut text = String::new();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.context("it is not PEM")?;
            text.push_str("-----BEGIN CERTIFICATE-----\n");
            let encoded = STANDARD.encode(&certificate);
            for line in encoded.as_bytes().chunks(64) {
                text.extend(line.iter().copied().map(char::from));
                text.push('\n');
            }
            text.push_str("-----END CERTIFICATE-----\n");
            roots
                .add(certificate)
                .context("a certificate in it cannot be read")?;
        }
        if roots.is_empty() {
            bail!("it holds no certificate in PEM");
        }
        Ok(Self(text))
    }
}

/// In every kind of PEM key there is.
const KEY_MARK: &str = "PRIVATE KEY-----";

/// Where clients go, and whom they trust there.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) server: Server,
    /// None: whom the machine trusts.
    pub(super) authority: Option<Authority>,
}

/// How kubelogin gets a token: those of its modes that end in a bearer token the proxy takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Mode {
    /// A code to type into a browser
    #[value(name = "devicecode")]
    DeviceCode,
    /// A browser on this machine
    Interactive,
    /// Whoever is logged in by `az login`
    #[value(name = "azurecli")]
    AzureCli,
    /// A service principal; its secret comes from the environment
    Spn,
    /// A federated token, for CI
    #[value(name = "workloadidentity")]
    WorkloadIdentity,
    /// The machine's managed identity
    Msi,
}

impl Mode {
    fn as_str(self) -> &'static str {
        match self {
            Self::DeviceCode => "devicecode",
            Self::Interactive => "interactive",
            Self::AzureCli => "azurecli",
            Self::Spn => "spn",
            Self::WorkloadIdentity => "workloadidentity",
            Self::Msi => "msi",
        }
    }

    /// The client that is used where none is named.
    fn default_client(self) -> Option<&'static str> {
        match self {
            Self::DeviceCode | Self::Interactive => Some(KUBELOGIN_CLIENT),
            Self::AzureCli | Self::Spn | Self::WorkloadIdentity | Self::Msi => None,
        }
    }
}

/// How people log in with Entra ID.
#[derive(Clone, Debug)]
pub(super) struct Login {
    pub(super) tenant_id: String,
    pub(super) server_id: Option<String>,
    pub(super) client_id: Option<String>,
    pub(super) environment: String,
    pub(super) mode: Mode,
}

/// A directory's id, as the command line takes it.
pub(super) fn directory(text: &str) -> Result<String, String> {
    if is_guid(text) {
        Ok(text.to_lowercase())
    } else {
        Err("is no directory id: `az account show --query tenantId` prints it".to_owned())
    }
}

impl Login {
    fn exec(&self) -> Value {
        let server = self.server_id.as_deref().unwrap_or(AKS_SERVER);
        let client = self
            .client_id
            .as_deref()
            .or_else(|| self.mode.default_client());
        let mut args = vec![
            "get-token",
            "--login",
            self.mode.as_str(),
            "--environment",
            &self.environment,
            "--server-id",
            server,
            "--tenant-id",
            &self.tenant_id,
        ];
        if let Some(client) = client {
            args.extend(["--client-id", client]);
        }
        json!({
            "apiVersion": "client.authentication.k8s.io/v1beta1",
            "command": "kubelogin",
            "args": args,
            "installHint": "kubelogin is not installed: https://azure.github.io/kubelogin/install.html",
            "interactiveMode": "IfAvailable",
            "provideClusterInfo": false,
        })
    }
}

/// A kubeconfig with one cluster, one context and one user, of whom it says how he logs in and not who he is.
pub(super) fn new(name: &str, target: &Target, login: &Login) -> Value {
    let mut cluster = Map::new();
    target.apply(&mut cluster);
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
        "users": [{"name": name, "user": {"exec": login.exec()}}],
    })
}

impl Target {
    /// Makes `cluster` lead here. What said how to trust the old server goes.
    fn apply(&self, cluster: &mut Map<String, Value>) {
        for key in TRUST {
            cluster.remove(key);
        }
        cluster.insert("server".to_owned(), self.server.0.clone().into());
        if let Some(Authority(pem)) = &self.authority {
            let encoded = STANDARD.encode(pem);
            cluster.insert("certificate-authority-data".to_owned(), encoded.into());
        }
    }
}

/// What a kubeconfig says about trusting a server.
const TRUST: [&str; 4] = [
    "certificate-authority",
    "certificate-authority-data",
    "insecure-skip-tls-verify",
    "tls-server-name",
];

/// `config` with the cluster of `context` (the current one, if none is named) leading to `target`, and what its owner
/// should know. Names in these are those of contexts and clusters, which are no secrets.
///
/// # Errors
/// When it is no kubeconfig, or has no such context or cluster.
pub(super) fn rewritten(
    mut config: Value,
    target: &Target,
    context: Option<&str>,
) -> anyhow::Result<(Value, Vec<String>)> {
    if !config.is_object() || config.get("kind").is_some_and(|kind| kind != "Config") {
        bail!("it is no kubeconfig");
    }
    let context = match context.or_else(|| config.get("current-context")?.as_str()) {
        Some(name) if !name.is_empty() => name.to_owned(),
        Some(_) | None => bail!("it has no current context: name one with --context"),
    };
    let found = entry(&config, "contexts", &context)
        .with_context(|| format!("it has no context `{context}`"))?;
    let part = |name: &str| found.get(name).and_then(Value::as_str).map(str::to_owned);
    let cluster =
        part("cluster").with_context(|| format!("context `{context}` names no cluster"))?;
    let mut notes = Vec::new();
    if let Some(user) = part("user").and_then(|user| entry(&config, "users", &user)) {
        notes.extend(login_notes(user).map(str::to_owned));
    }
    let others = sharing(&config, &cluster, &context);
    if !others.is_empty() {
        notes.push(format!(
            "the cluster `{cluster}` is also that of {}, which now leads to the proxy too",
            others.join(", ")
        ));
    }
    let clusters = config.get_mut("clusters").and_then(Value::as_array_mut);
    let entry = clusters.into_iter().flatten().find(|entry| {
        entry
            .get("name")
            .is_some_and(|name| *name == cluster.as_str())
    });
    let body = entry.and_then(|entry| entry.get_mut("cluster")?.as_object_mut());
    let body = body.with_context(|| format!("it has no cluster `{cluster}`"))?;
    target.apply(body);
    Ok((config, notes))
}

/// The body of the entry called `name` in one of a kubeconfig's three lists.
fn entry<'a>(config: &'a Value, list: &str, name: &str) -> Option<&'a Value> {
    let entries = config.get(list)?.as_array()?;
    let found = entries
        .iter()
        .find(|entry| entry.get("name").is_some_and(|found| found == name))?;
    found.get(list.strip_suffix('s')?)
}

/// The other contexts of a cluster.
fn sharing(config: &Value, cluster: &str, context: &str) -> Vec<String> {
    let contexts = config.get("contexts").and_then(Value::as_array);
    let of_cluster = contexts.into_iter().flatten().filter_map(|entry| {
        let is_its = entry.get("context")?.get("cluster")? == cluster;
        let name = entry.get("name")?.as_str()?;
        (is_its && name != context).then(|| format!("`{name}`"))
    });
    of_cluster.collect()
}

/// What of a user's way to log in does not work at the proxy.
fn login_notes(user: &Value) -> impl Iterator<Item = &'static str> {
    let has = |key: &str| user.get(key).is_some_and(|value| !value.is_null());
    let arguments = user.pointer("/exec/args").and_then(Value::as_array);
    let pops = arguments
        .into_iter()
        .flatten()
        .any(|argument| argument == "--pop-enabled");
    let notes = [
        (
            has("client-certificate") || has("client-certificate-data"),
            "its user logs in with a client certificate, which the proxy does not accept: it wants a bearer token",
        ),
        (
            has("auth-provider"),
            "its user logs in by an auth-provider, which kubectl has no more: `kubelogin convert-kubeconfig` replaces it",
        ),
        (
            pops,
            "its user gets proof-of-possession tokens, which the proxy does not accept: take --pop-enabled out",
        ),
    ];
    notes
        .into_iter()
        .filter(|(holds, _)| *holds)
        .map(|(_, note)| note)
}

/// The document as YAML.
///
/// # Errors
/// Never, for what was made here.
pub(super) fn print(config: &Value) -> anyhow::Result<String> {
    // A certificate is one long word: on one line, as everybody writes it.
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    serde_saphyr::to_string_with_options(config, options)
        .context("the kubeconfig cannot be printed")
}
