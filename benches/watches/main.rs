//! The load side of `watches.sh`: holds many watches open, and prints what each costs the process that serves it, or how
//! soon they hear of a change. It starts no server, and asserts nothing about time.
#![allow(
    clippy::print_stdout,
    reason = "a table for people; a run that fails has no other reader"
)]

mod client;
mod crowd;
mod events;
mod latency;
mod process;
mod watch;

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use clap::Subcommand;

use client::Server;

/// Where the watches go, and as whom.
#[derive(Debug, Parser)]
struct Arguments {
    /// What is measured: `host:port`, TLS
    #[arg(long)]
    server: String,
    /// PEM certificates to believe
    #[arg(long)]
    ca: PathBuf,
    /// Tokens, one a line; number N is that of `user-N`, the owner of the Tenant `tN`
    #[arg(long)]
    tokens: PathBuf,
    /// The process whose memory and time are looked at
    #[arg(long)]
    pid: u32,
    /// The API server, where changes are made
    #[arg(long)]
    api: String,
    /// A file with the token of somebody who may make them
    #[arg(long)]
    admin: PathBuf,
    /// A group that all of them carry
    #[arg(long)]
    everybody: String,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Memory per idle watch
    Idle(crowd::Arguments),
    /// Time from a change to the frames that tell of it
    Latency(latency::Arguments),
}

fn main() -> anyhow::Result<()> {
    kube_tenant_proxy::install_crypto();
    // `cargo bench` adds a flag of its own.
    let given = std::env::args().filter(|argument| argument != "--bench");
    let arguments = Arguments::parse_from(given);
    let ca = std::fs::read(&arguments.ca).context("cannot read the CA")?;
    let tokens = std::fs::read_to_string(&arguments.tokens).context("cannot read the tokens")?;
    let admin = std::fs::read_to_string(&arguments.admin).context("cannot read the token")?;
    let bed = Bed {
        server: Server::new(&arguments.server, &ca)?,
        api: Server::new(&arguments.api, &ca)?,
        tokens: tokens.lines().map(str::to_owned).collect(),
        admin: admin.trim().to_owned(),
        everybody: arguments.everybody,
        pid: arguments.pid,
    };
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        match arguments.what {
            What::Idle(arguments) => crowd::run(&bed, &arguments).await,
            What::Latency(arguments) => latency::run(&bed, &arguments).await,
        }
    })
}

/// What every measurement needs.
struct Bed {
    server: Server,
    api: Server,
    tokens: Vec<String>,
    admin: String,
    everybody: String,
    pid: u32,
}

impl Bed {
    /// Who owns watch number `number`, and his token: all take turns.
    fn user(&self, number: usize) -> anyhow::Result<(usize, &str)> {
        let user = number % self.tokens.len().max(1);
        let token = self.tokens.get(user).context("there are no tokens")?;
        Ok((user, token))
    }
}
