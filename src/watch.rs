//! The watch machine and the resume guard, without sockets or clock.

pub mod expired;
pub mod gone;
pub mod guard;
pub mod machine;
pub mod memory;
pub mod outbox;
