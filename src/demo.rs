//! The embedded API server and token issuer behind `kube-tenant-proxy demo`: a cluster without a cluster, in this
//! process, over real TLS, on loopback only. Its keys are made at start, and no flag points it or its issuer anywhere
//! else. The behaviour tests run against it and against a real API server; a difference is a bug of this one.
//!
//! In reading order: `store` is etcd, `kinds` what is served; `request`, `query`, `options`, `selector`,
//! `negotiate`
//! read a request, independently of the proxy's own parsers; `authn`, `impersonate`, `rbac` judge it; `list`,
//! `watch`, `write`, `review`, `discovery` answer it; `encode`, `table`, `status` write the answer.
//! `controllers` and `capsule` do what happens by itself, `seed` says how it all begins, [`World`] runs it.
//!
//! Known deviations from kube-apiserver 1.37, against which its answers were compared request by request:
//! * Encodings: answers are JSON only, never protobuf, CBOR, YAML or gzip, never pretty-printed. Request bodies in
//!   protobuf are read for the kinds named in `protobuf`, otherwise refused with 415.
//! * Watches over WebSocket, exec, attach, port-forward, logs, `scale` and the `proxy` subresources are not served: a
//!   pod has no host, which is also what the API server says of a pending one. There are no nodes.
//! * Objects are not validated beyond their names, unknown fields are kept, fields have few defaults, and there are no
//!   `managedFields`: server-side apply merges, owns nothing, takes nothing away and never conflicts. Definitions do
//!   not convert; versions differ in `apiVersion` alone.
//! * RBAC has no escalation check, no aggregated roles, and smaller default roles. Impersonation is the plain one
//!   (no KEP-5284). Selectors are no part of authorization (KEP-4601).
//! * There is no priority and fairness: nobody gets a 429. Nothing is rate-limited, there is no GOAWAY by chance.
//! * Messages about bodies that cannot be decoded, and about media types, differ in wording; descriptions of Table
//!   columns are short or missing.
//! * The revision steps with writes only; a real cluster's also steps with node leases and the like. A terminating
//!   namespace has no conditions.
//! * Audit entries are written once, when the response's head is known.

mod admission;
mod api;
mod audit;
mod authn;
mod capsule;
mod command;
mod controllers;
mod discovery;
mod encode;
mod impersonate;
mod issuer;
mod kinds;
mod kubeconfig;
mod list;
mod negotiate;
mod object;
mod options;
mod patch;
mod protobuf;
mod query;
mod rbac;
mod request;
mod review;
mod seed;
mod selector;
mod serve;
mod status;
mod store;
mod table;
mod tls;
mod user;
mod watch;
mod world;
mod write;

pub use audit::AuditEntry;
pub use command::DemoArgs;
pub use command::ProxySettings;
pub use command::run;
pub use issuer::AUDIENCE;
pub use issuer::Issuer;
pub use issuer::KeyError;
pub use issuer::Person;
pub use issuer::object_id;
pub use seed::Owner;
pub use seed::PROXY_ACCOUNT;
pub use seed::PROXY_NAMESPACE;
pub use seed::Seed;
pub use seed::TenantSeed;
pub use tls::TlsError;
pub use user::User;
pub use world::StartError;
pub use world::World;

#[cfg(test)]
mod tests;
