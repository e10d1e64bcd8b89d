//! Who may see what: facts from informers, an index, and the scope of each identity present.
//!
//! ```text
//! informers ──Event──▶ Index ──Changes──▶ registry ──Arc<Scope>──▶ every Presence
//!  objects → facts      who sees what      whom it concerns          requests, open watches
//! ```
//! Nothing here judges a request or knows a token.

pub mod event;
pub mod facts;
pub mod grant;
pub mod index;
mod informers;
pub mod membership;
mod pace;
mod people;
mod presence;
mod registry;
pub mod scope;
pub mod sources;
pub mod subject;

pub use presence::News;
pub use presence::Open;
pub use presence::Presence;
pub use registry::Freshness;
pub use registry::Settings;
pub use registry::Tenancy;
