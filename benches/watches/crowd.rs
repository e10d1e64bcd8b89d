//! Many idle watches: what the serving process holds for each, and, if wanted, how long it takes until all of them have
//! heard of one change.

use std::collections::BTreeSet;
use std::time::Duration;
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::TryStreamExt;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::mpsc::unbounded_channel;

use crate::Bed;
use crate::client::Call;
use crate::client::Connection;
use crate::client::Version;
use crate::events::Admin;
use crate::events::Change;
use crate::process;
use crate::watch;
use crate::watch::Heard;
use crate::watch::What;

/// Watches that are opened at once.
const AT_A_TIME: usize = 16;

/// So long after the last frame everything has come to rest.
const REST: Duration = Duration::from_secs(2);

/// How long the last of all watches may take to hear of a change.
const DEADLINE: Duration = Duration::from_secs(60);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// What the row is called
    #[arg(long)]
    name: String,
    /// What is watched; `{n}` is the number of the user
    #[arg(long)]
    path: String,
    #[arg(long, default_value_t = 2000)]
    watches: usize,
    /// Streams per HTTP/2 connection; 0: HTTP/1.1, each watch on its own
    #[arg(long, default_value_t = 0)]
    shared: usize,
    /// Then make changes, one that concerns one user and one that concerns all
    #[arg(long)]
    changes: bool,
}

pub(crate) async fn run(bed: &Bed, arguments: &Arguments) -> anyhow::Result<()> {
    warm_up(bed, arguments).await?;
    tokio::time::sleep(REST).await;
    let (before, cpu) = (process::resident(bed.pid)?, process::cpu(bed.pid)?);
    let (out, mut heard) = unbounded_channel();
    let begun = Instant::now();
    let connections = connect(bed, arguments).await?;
    let opening = (0..arguments.watches).map(|number| {
        let (out, shared) = (
            out.clone(),
            connections.get(number / arguments.shared.max(1)),
        );
        let shared = shared.and_then(Connection::share);
        async move {
            let mut connection = match shared {
                Some(connection) => connection,
                None => bed.server.connect(Version::Http1).await?,
            };
            let answer = open(bed, arguments, number, &mut connection).await?;
            bed.server.spawn(watch::read(number, answer, out));
            anyhow::Ok(())
        }
    });
    futures_util::stream::iter(opening)
        .buffer_unordered(AT_A_TIME)
        .try_collect::<()>()
        .await?;
    let took = begun.elapsed();
    rest(&mut heard, arguments.watches).await?;
    let (after, cpu) = (process::resident(bed.pid)?, process::cpu(bed.pid)? - cpu);
    let (watches, grown) = (arguments.watches, after.saturating_sub(before));
    println!(
        "{:<34} {watches:>6} watches {:>5} connections  {:>6.1} MB to {:>6.1} MB  {:>6.1} kB each  opened in {:>5.1} s, CPU {:>4.0} us each",
        arguments.name,
        if arguments.shared == 0 {
            watches
        } else {
            connections.len()
        },
        before as f64 / 1000.0,
        after as f64 / 1000.0,
        grown as f64 / watches as f64,
        took.as_secs_f64(),
        cpu as f64 * 1000.0 / watches as f64,
    );
    if arguments.changes {
        changes(bed, arguments, &mut heard).await?;
    }
    Ok(())
}

/// Every user is known, and every part of the process has been used.
async fn warm_up(bed: &Bed, arguments: &Arguments) -> anyhow::Result<()> {
    for user in 0..bed.tokens.len() {
        let version = match arguments.shared {
            0 => Version::Http1,
            _ => Version::Http2,
        };
        let mut connection = bed.server.connect(version).await?;
        open(bed, arguments, user, &mut connection).await?;
    }
    Ok(())
}

/// The connections that are shared; none if none is.
async fn connect(bed: &Bed, arguments: &Arguments) -> anyhow::Result<Vec<Connection>> {
    let mut connections = Vec::new();
    if arguments.shared > 0 {
        for _ in 0..arguments.watches.div_ceil(arguments.shared) {
            connections.push(bed.server.connect(Version::Http2).await?);
        }
    }
    Ok(connections)
}

async fn open(
    bed: &Bed,
    arguments: &Arguments,
    number: usize,
    connection: &mut Connection,
) -> anyhow::Result<http::Response<hyper::body::Incoming>> {
    let (user, token) = bed.user(number)?;
    let path = arguments.path.replace("{n}", &user.to_string());
    bed.server.send(connection, &Call::get(&path, token)).await
}

/// Waits until all are open and nothing has come for a while.
async fn rest(heard: &mut UnboundedReceiver<Heard>, watches: usize) -> anyhow::Result<()> {
    let (mut open, deadline) = (0, Instant::now() + DEADLINE);
    while let Ok(Some(heard)) = tokio::time::timeout(REST, heard.recv()).await {
        match heard.what {
            What::Open => open += 1,
            What::Object => {}
            What::Expired | What::End => anyhow::bail!("watch {} has ended", heard.watch),
        }
        anyhow::ensure!(Instant::now() < deadline, "there is no rest");
    }
    anyhow::ensure!(open == watches, "{open} watches of {watches} are open");
    Ok(())
}

/// One change that concerns one user's watches, then one that concerns all.
async fn changes(
    bed: &Bed,
    arguments: &Arguments,
    heard: &mut UnboundedReceiver<Heard>,
) -> anyhow::Result<()> {
    let mut admin = Admin::connect(bed).await?;
    let users = bed.tokens.len();
    let of = |user: usize| (0..arguments.watches).filter(move |number| number % users == user);
    // The user's neighbour is the same in both, and sees nothing new in the second.
    let mut told = BTreeSet::new();
    for (change, concerned) in [
        (Change::Bound, of(0).collect::<BTreeSet<_>>()),
        (
            Change::BoundEverybody,
            (0..users).filter(|user| *user > 1).flat_map(of).collect(),
        ),
    ] {
        let cpu = process::cpu(bed.pid)?;
        let user = if change == Change::Bound { 0 } else { 2 };
        let made = admin.make(change, user, 1).await?;
        let (mut first, mut last) = (None, Duration::ZERO);
        told.clear();
        while told.len() < concerned.len() {
            let Ok(Some(heard)) = tokio::time::timeout(DEADLINE, heard.recv()).await else {
                break;
            };
            match heard.what {
                What::Expired | What::Object => {}
                What::Open | What::End => continue,
            }
            if concerned.contains(&heard.watch) && told.insert(heard.watch) {
                let after = heard.at.saturating_duration_since(made.answered);
                first.get_or_insert(after);
                last = last.max(after);
            }
        }
        println!(
            "    {:<30} {:>6} of {} watches told  first after {:>7.1} ms, last after {:>7.1} ms  CPU {} ms",
            change.name(),
            told.len(),
            concerned.len(),
            first.unwrap_or_default().as_secs_f64() * 1000.0,
            last.as_secs_f64() * 1000.0,
            process::cpu(bed.pid)? - cpu,
        );
    }
    // Whoever was told has ended by now; the process answers.
    let mut connection = bed.server.connect(Version::Http1).await?;
    let (_, token) = bed.user(0)?;
    let call = Call::get("/api/v1/namespaces", token);
    bed.server.send(&mut connection, &call).await?;
    Ok(())
}
