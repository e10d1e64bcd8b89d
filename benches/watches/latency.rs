//! How soon open watches hear of a change: from the API server's answer to the change until the frame is at the client,
//! both by one clock. A frame that is quicker than the answer counts as none at all.

use std::collections::BTreeSet;
use std::time::Duration;
use std::time::Instant;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::mpsc::unbounded_channel;

use crate::Bed;
use crate::client::Call;
use crate::client::Connection;
use crate::client::Version;
use crate::events::Admin;
use crate::events::Change;
use crate::events::Made;
use crate::watch;
use crate::watch::Heard;
use crate::watch::What;

/// A second grant within a second waits for its end, by design: changes of one user lie further apart.
const APART: Duration = Duration::from_millis(1200);

/// How long a watch may take to hear of a change before it counts as never told.
const DEADLINE: Duration = Duration::from_secs(10);

/// After the watches of a user have begun anew, so long until the next change: their beginning is not part of it.
const BREATH: Duration = Duration::from_millis(50);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// What is watched
    #[arg(
        long,
        default_value = "/api/v1/namespaces?watch=1&allowWatchBookmarks=true&timeoutSeconds=7200"
    )]
    path: String,
    #[arg(long, default_value_t = 1000)]
    watches: usize,
    /// Who watch, each as many; those behind them in the file of tokens are their neighbours
    #[arg(long, default_value_t = 50)]
    users: usize,
    /// Changes of each kind per user
    #[arg(long, default_value_t = 2)]
    rounds: usize,
}

/// The watches, and what they say.
struct Watches<'a> {
    bed: &'a Bed,
    path: &'a str,
    /// One per user.
    connections: Vec<Connection>,
    each: usize,
    out: UnboundedSender<Heard>,
    heard: UnboundedReceiver<Heard>,
}

pub(crate) async fn run(bed: &Bed, arguments: &Arguments) -> anyhow::Result<()> {
    let users = arguments.users;
    anyhow::ensure!(2 * users <= bed.tokens.len(), "there are too few tokens");
    let (out, heard) = unbounded_channel();
    let mut watches = Watches {
        bed,
        path: &arguments.path,
        connections: Vec::new(),
        each: arguments.watches / users,
        out,
        heard,
    };
    for user in 0..users {
        watches
            .connections
            .push(bed.server.connect(Version::Http2).await?);
        watches.open(watches.of(user)).await?;
    }
    let mut admin = Admin::connect(bed).await?;
    let mut last = vec![Instant::now(); users];
    let mut found: Vec<Found> = Change::OF_ONE.map(Found::new).into();
    for _ in 0..arguments.rounds {
        for found in &mut found {
            for (user, last) in last.iter_mut().enumerate() {
                tokio::time::sleep_until((*last + APART).into()).await;
                let made = admin.make(found.change, user, user + users).await?;
                *last = made.answered;
                let lost = watches.hear(user, &made, &mut found.delays).await?;
                found.lost += lost;
                found.changes += 1;
            }
        }
    }
    println!(
        "{:<24} {:>8} {:>8} {:>10} {:>10} {:>10} {:>6}",
        "change", "changes", "frames", "p50 ms", "p99 ms", "max ms", "lost"
    );
    found.iter_mut().for_each(Found::print);
    Ok(())
}

impl Watches<'_> {
    fn of(&self, user: usize) -> BTreeSet<usize> {
        (user * self.each..(user + 1) * self.each).collect()
    }

    /// Opens these watches.
    async fn open(&mut self, numbers: BTreeSet<usize>) -> anyhow::Result<()> {
        for number in numbers {
            let user = number / self.each;
            let shared = self.connections.get(user).and_then(Connection::share);
            let mut connection = shared.ok_or_else(|| anyhow::anyhow!("no connection"))?;
            let (_, token) = self.bed.user(user)?;
            let call = Call::get(self.path, token);
            let answer = self.bed.server.send(&mut connection, &call).await?;
            let reading = watch::read(number, answer, self.out.clone());
            self.bed.server.spawn(reading);
        }
        Ok(())
    }

    /// Waits until all watches of `user` have heard of what was made, and opens those anew that it ended. Returns how many
    /// never heard.
    async fn hear(
        &mut self,
        user: usize,
        made: &Made,
        delays: &mut Vec<Duration>,
    ) -> anyhow::Result<usize> {
        let mut waiting = self.of(user);
        let mut ended = BTreeSet::new();
        let deadline = Instant::now() + DEADLINE;
        while !waiting.is_empty() {
            let next = tokio::time::timeout_at(deadline.into(), self.heard.recv()).await;
            let Ok(Some(heard)) = next else { break };
            match heard.what {
                What::Expired => {
                    ended.insert(heard.watch);
                }
                What::Object => {}
                What::Open | What::End => continue,
            }
            // What was said before is the beginning of a watch.
            if heard.at >= made.asked && waiting.remove(&heard.watch) {
                delays.push(heard.at.saturating_duration_since(made.answered));
            }
        }
        self.open(ended).await?;
        tokio::time::sleep(BREATH).await;
        while self.heard.try_recv().is_ok() {}
        Ok(waiting.len())
    }
}

/// What was measured of one kind of change.
struct Found {
    change: Change,
    changes: usize,
    delays: Vec<Duration>,
    lost: usize,
}

impl Found {
    fn new(change: Change) -> Self {
        Self {
            change,
            changes: 0,
            delays: Vec::new(),
            lost: 0,
        }
    }

    fn print(&mut self) {
        self.delays.sort_unstable();
        let at = |percent: usize| {
            let index =
                (self.delays.len() * percent / 100).min(self.delays.len().saturating_sub(1));
            self.delays
                .get(index)
                .copied()
                .unwrap_or_default()
                .as_secs_f64()
                * 1000.0
        };
        println!(
            "{:<24} {:>8} {:>8} {:>10.1} {:>10.1} {:>10.1} {:>6}",
            self.change.name(),
            self.changes,
            self.delays.len(),
            at(50),
            at(99),
            at(100),
            self.lost
        );
    }
}
