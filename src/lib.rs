//! `kube-tenant-proxy`: an ACL-filtering, streaming TLS reverse proxy for the kube-apiserver.
//!
//! The modules in reading order. A module uses those of rows above its own, never its own row or one below:
//! values and grammar first, then facts about the world, then the decision, then the machines that carry it out.

// row 0: values, the API as a grammar, byte ranges, handles
pub mod body;
pub mod drain;
pub mod identity;
pub mod k8s;
pub mod metrics;
pub mod ready;
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
pub mod upstream;
pub mod watch;
