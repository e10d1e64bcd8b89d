//! The watch machine and the resume guard, without sockets or clock.

pub mod expired;
pub mod guard;
pub mod machine;
pub mod outbox;
