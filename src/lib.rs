//! `kube-tenant-proxy`: an ACL-filtering, streaming TLS reverse proxy for the kube-apiserver.
//!
//! The modules in reading order. A module uses those of rows above its own, never its own row or one below:
//! values and grammar first, then facts about the world, then the decision, then the machines that carry it out.

// row 0: values, the API as a grammar, byte ranges, handles
pub mod body;
pub mod clock;
pub mod drain;
pub mod identity;
pub mod k8s;
pub mod metrics;
pub mod ready;
pub mod release;
pub mod reload;
pub mod socket;
pub mod wire;

// row 1: what is known: who asks, which kinds exist, who owns what, the fixed reader
pub mod authn;
pub mod catalog;
pub mod reader;
pub mod tenancy;

// row 2: the decision
pub mod policy;

// row 3: machines and the way out
pub mod filter;
pub mod rule_status;
pub mod upstream;
pub mod watch;

// row 5: the life of a request
pub mod proxy;

// row 6: the way in, and the probes
pub mod admin;
pub mod listen;

// row 7: what the program is told
pub mod cluster;
pub mod config;
pub mod telemetry;

// row 8: the composition root
pub mod app;

// row 9: the command line, and an embedded cluster for newcomers and tests
pub mod cli;
#[cfg(feature = "demo")]
pub mod demo;

/// Settles which cryptography the process uses: rustls and jsonwebtoken would otherwise settle it at first use, by the
/// features that happen to be on. A second call changes nothing.
pub fn install_crypto() {
    // An error says that a provider is installed: ours, from an earlier call.
    let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let _installed = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
}
