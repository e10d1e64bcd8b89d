//! `kube-tenant-proxy demo`: a world, the proxy in front of it, three kubeconfigs, and what to type next.
//! The proxy is started by a function that is handed in, since nothing here may know how it is put together.

use std::future::Future;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use super::issuer::AUDIENCE;
use super::issuer::Person;
use super::issuer::object_id;
use super::kubeconfig;
use super::seed::ADMIN;
use super::seed::ALICE;
use super::seed::BOB;
use super::seed::BOBS_TEAM;
use super::seed::Seed;
use super::world::World;

/// Arguments of `demo`.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// Where to write alice.kubeconfig, bob.kubeconfig and admin.kubeconfig
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,
    /// The proxy's port on 127.0.0.1; 0 takes a free one
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub port: u16,
}

/// What the proxy must be told to stand in front of a world.
#[derive(Clone)]
pub struct ProxySettings {
    /// Port to listen on, on loopback; 0 for a free one.
    pub port: u16,
    /// The API server.
    pub server_url: String,
    /// Signed the certificates of API server and issuer.
    pub ca_pem: String,
    /// The proxy's service account token.
    pub own_token: String,
    /// `iss` of people's tokens. They are good at the API server too: token mode.
    pub issuer_url: String,
    /// Where the issuer's discovery document is.
    pub discovery_url: String,
    /// The issuer's directory, `tid` of its tokens.
    pub directory_id: String,
    /// `aud` of people's tokens.
    pub audience: String,
    /// What the proxy serves with: a chain and a key in PEM, signed by the same authority.
    pub certificate_pem: String,
    /// See [`Self::certificate_pem`].
    pub key_pem: String,
    /// Groups to forward untouched: the administrators'.
    pub ignored_groups: Vec<String>,
}

/// Runs the demo until `stopped`. `start_proxy` brings the proxy up and returns its URL once it is ready; what it
/// returns besides is held until the end.
///
/// # Errors
/// A world or proxy that does not start, a directory that cannot be written.
pub async fn run<P, F, K>(
    args: &DemoArgs,
    out: &mut (impl Write + Send),
    start_proxy: P,
    stopped: impl Future<Output = ()>,
) -> anyhow::Result<()>
where
    P: FnOnce(ProxySettings) -> F,
    F: Future<Output = anyhow::Result<(String, K)>>,
{
    let seed = Seed::demo();
    let tenants = seed.tenants.len();
    let namespaces: usize = seed
        .tenants
        .iter()
        .map(|tenant| tenant.namespaces.len())
        .sum();
    let capsule_group = object_id("capsuleGroup");
    let admin_group = object_id("capsuleAdminGroup");
    let world = World::start(seed).await?;
    let (url, proxy) = in_front(&world, args.port, vec![admin_group.clone()], start_proxy).await?;
    let people = [
        ("alice", Person::member(ALICE, &[&capsule_group])),
        (
            "bob",
            Person::member(BOB, &[&capsule_group, &object_id(BOBS_TEAM)]),
        ),
        ("admin", Person::member(ADMIN, &[&admin_group])),
    ];
    std::fs::create_dir_all(&args.dir)?;
    for (name, person) in &people {
        let text = kubeconfig::print(&url, &world.ca_pem, name, &world.issuer().token(person));
        kubeconfig::save(&args.dir.join(format!("{name}.kubeconfig")), &text)?;
    }
    announce(out, &url, &args.dir, (tenants, namespaces))?;
    stopped.await;
    drop(proxy);
    world.stop().await;
    Ok(())
}

/// The one place where the proxy meets a world: everything it needs to know, and nothing more.
async fn in_front<P, F, K>(
    world: &World,
    port: u16,
    ignored_groups: Vec<String>,
    start_proxy: P,
) -> anyhow::Result<(String, K)>
where
    P: FnOnce(ProxySettings) -> F,
    F: Future<Output = anyhow::Result<(String, K)>>,
{
    let (certificate_pem, key_pem) = world.serving_certificate("kube-tenant-proxy")?;
    start_proxy(ProxySettings {
        port,
        server_url: world.server_url.clone(),
        ca_pem: world.ca_pem.clone(),
        own_token: world.proxy_token.clone(),
        issuer_url: world.issuer().url().to_owned(),
        discovery_url: world.issuer().discovery_url(),
        directory_id: world.issuer().directory_id().to_owned(),
        audience: AUDIENCE.to_owned(),
        certificate_pem,
        key_pem,
        ignored_groups,
    })
    .await
}

/// `ready:` and what to type next. A reader that is gone (`BrokenPipe`) is no failure: the demo goes on.
fn announce(
    out: &mut impl Write,
    url: &str,
    dir: &Path,
    (tenants, namespaces): (usize, usize),
) -> std::io::Result<()> {
    let config = |name: &str| dir.join(format!("{name}.kubeconfig")).display().to_string();
    let (alice, bob, admin) = (config("alice"), config("bob"), config("admin"));
    let text = format!(
        "ready: {url} in front of {tenants} tenants with {namespaces} namespaces\n\
         \n\
         Alice owns one tenant, Bob's team two, admin sees everything. Type:\n  \
           kubectl --kubeconfig {alice} get ns\n  \
           kubectl --kubeconfig {bob} get ns\n  \
           kubectl --kubeconfig {admin} get ns\n\
         Make one as Alice, and list again:\n  \
           kubectl --kubeconfig {alice} create ns oil-new\n\
         Ctrl-C ends it all.\n"
    );
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}
