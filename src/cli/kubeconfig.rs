//! `kubeconfig`: a kubeconfig for the proxy's public address, made anew or from the one that people have.
//!
//! What it reads may hold tokens and keys: nothing of a file's content stands in an error or in what goes to stderr, and
//! what is written to a file is its owner's alone.

mod document;

use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::bail;
use clap::Args;
use serde_json::Value;

use self::document::Authority;
use self::document::Login;
use self::document::Server;
use self::document::Target;

/// What the kubeconfig is to say.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Address that users connect to, e.g. https://proxy.example.com:443
    #[arg(long, value_name = "URL", value_parser = Server::parse)]
    server: Server,

    /// CA of the proxy's certificate, in PEM; leave it out for one that machines trust already
    #[arg(long, value_name = "FILE")]
    certificate_authority: Option<PathBuf>,

    /// Kubeconfig to rewrite, such as the one `az aks get-credentials` wrote: server and CA change, everything else stays
    /// but comments
    #[arg(long, value_name = "FILE", conflicts_with = "entra")]
    from: Option<PathBuf>,

    /// Context of --from whose cluster is rewritten [default: the current one]
    #[arg(long, value_name = "NAME", requires = "from")]
    context: Option<String>,

    #[command(flatten)]
    entra: Option<EntraArguments>,

    /// Name of cluster and context in a new kubeconfig
    #[arg(long, default_value = "kube-tenant-proxy", conflicts_with = "from")]
    name: String,

    /// Write it here, readable by you alone, instead of to stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Replace the file of --output, if it is there and not the one of --from
    #[arg(long, requires = "output")]
    force: bool,
}

/// How people log in with Entra ID, by kubelogin.
#[derive(Debug, Args)]
#[group(id = "entra")]
struct EntraArguments {
    /// Entra directory (tenant) id; people then log in by kubelogin
    #[arg(long, value_name = "ID", value_parser = document::directory, required = false)]
    tenant_id: String,

    /// Application that tokens are for [default: AKS's own]
    #[arg(long, value_name = "ID", requires = "tenant_id")]
    server_id: Option<String>,

    /// Application that people log in with [default: kubelogin's own, where the mode needs one]
    #[arg(long, value_name = "ID", requires = "tenant_id")]
    client_id: Option<String>,

    /// Cloud, as kubelogin names it
    #[arg(
        long,
        value_name = "NAME",
        default_value = "AzurePublicCloud",
        requires = "tenant_id"
    )]
    environment: String,

    /// How: the mode of kubelogin
    #[arg(
        long,
        value_name = "MODE",
        default_value = "devicecode",
        requires = "tenant_id"
    )]
    login: document::Mode,
}

/// Makes it, and returns what belongs on stdout. What the user should know besides goes to stderr.
pub(super) fn run(arguments: Arguments) -> anyhow::Result<String> {
    let authority = match &arguments.certificate_authority {
        None => None,
        Some(path) => Some(
            Authority::read(&read(path)?)
                .with_context(|| format!("{} cannot be the CA", path.display()))?,
        ),
    };
    let target = Target {
        server: arguments.server,
        authority,
    };
    let (config, notes) = match (&arguments.from, arguments.entra) {
        (Some(path), _) => {
            let config = parse(path, &read(path)?)?;
            document::rewritten(config, &target, arguments.context.as_deref())
                .with_context(|| format!("{} cannot be rewritten", path.display()))?
        }
        (None, Some(entra)) => {
            let login = Login {
                tenant_id: entra.tenant_id,
                server_id: entra.server_id,
                client_id: entra.client_id,
                environment: entra.environment,
                mode: entra.login,
            };
            (document::new(&arguments.name, &target, &login), Vec::new())
        }
        (None, None) => bail!(
            "nothing says how people log in: name their Entra directory with --tenant-id, or a kubeconfig they have with --from"
        ),
    };
    for note in notes {
        // Nothing is left to do if stderr is gone.
        let _closed = writeln!(std::io::stderr(), "note: {note}");
    }
    let text = document::print(&config)?;
    match &arguments.output {
        None => Ok(text),
        Some(path) => {
            let may_replace = arguments.force || is_same(path, arguments.from.as_deref());
            save(path, &text, may_replace)?;
            Ok(String::new())
        }
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The file as a tree. An error says where and never what: it may be in the middle of a token.
fn parse(path: &Path, content: &[u8]) -> anyhow::Result<Value> {
    let name = path.display();
    let Ok(text) = std::str::from_utf8(content) else {
        bail!("{name} is not text");
    };
    serde_saphyr::from_str(text).map_err(|error| match error.location() {
        Some(at) => anyhow::anyhow!("{name}:{}:{}: this is not YAML", at.line(), at.column()),
        None => anyhow::anyhow!("{name} is not YAML"),
    })
}

fn is_same(path: &Path, other: Option<&Path>) -> bool {
    let canonical = |path: &Path| std::fs::canonicalize(path).ok();
    other.is_some_and(|other| canonical(path).is_some() && canonical(path) == canonical(other))
}

/// Writes `text` whole or not at all, readable by its owner alone.
fn save(path: &Path, text: &str, may_replace: bool) -> anyhow::Result<()> {
    let name = path.display();
    if !may_replace && path.exists() {
        bail!("{name} is there already: --force replaces it");
    }
    // Beside the file itself, and not beside a link to it.
    let path = std::fs::canonicalize(path).unwrap_or_else(|_not_there_yet| path.to_owned());
    let mut unfinished = path.clone().into_os_string();
    unfinished.push(format!(".{}", std::process::id()));
    let unfinished = PathBuf::from(unfinished);
    let written = write_new(&unfinished, text).and_then(|()| std::fs::rename(&unfinished, &path));
    if written.is_err() {
        // It may never have been there.
        let _gone = std::fs::remove_file(&unfinished);
    }
    written.with_context(|| format!("cannot write {name}"))
}

fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests;
