//! The Kubernetes API as a grammar: requests, parameters, selectors, media types, WebSocket handshakes and `Status`, parsed
//! and printed.
//! It knows no user, no tenant and no socket.

mod escape;
pub mod field_selector;
pub mod label_selector;
pub mod list_options;
pub mod media;
pub mod names;
pub mod pattern;
mod protobuf;
pub mod query;
pub mod request;
pub mod status;
pub mod websocket;
