//! Behaviour of the whole proxy, in process, with real TLS, in front of two worlds: a real API server and the embedded
//! one. `real::x` and `demo::x` are the same test; where only one of them passes, the other world is wrong.
//!
//! Tests run at the same time on shared worlds: each makes its own people and tenants, and asks the audit log about
//! them only. Nothing waits for a fixed time; what must come is waited for with a deadline.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that meets the unexpected should end there"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "what a test spawns ends with the process"
)]
#![allow(unreachable_pub, reason = "nothing here is reached from outside")]

#[macro_use]
mod harness;

mod azure;
mod clients;
mod commands;
mod creation;
mod credentials;
mod everywhere;
mod everywhere_watches;
mod faults;
mod groups;
mod hostile;
mod humans;
mod impersonation;
mod lifecycle;
mod lists;
mod login;
mod metrics;
mod model;
mod opaque;
mod pages;
mod passing;
mod program;
mod providers;
mod random;
mod reader;
mod reflectors;
mod replicas;
mod rules;
mod secrecy;
mod selectors;
mod sight;
mod statements;
mod streams;
mod tenants;
mod tokens;
mod trust;
mod walkthrough;
mod watches;
mod websockets;
mod wire;
