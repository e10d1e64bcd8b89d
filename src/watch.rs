//! The watch machine and the resume guard, without sockets or clock.

pub mod expired;
pub mod guard;
mod header;
pub mod human;
pub mod machine;
pub mod made;
pub mod memory;
pub mod merged;
pub mod outbox;

use std::ops::Range;

use bytes::Bytes;

/// `document` with each range replaced. Ranges are in order and do not overlap.
fn splice(document: &[u8], edits: &[(Range<usize>, Bytes)]) -> Vec<u8> {
    let mut spliced = Vec::with_capacity(document.len());
    let mut done = 0;
    for (range, replacement) in edits {
        spliced.extend_from_slice(document.get(done..range.start).unwrap_or_default());
        spliced.extend_from_slice(replacement);
        done = range.end;
    }
    spliced.extend_from_slice(document.get(done..).unwrap_or_default());
    spliced
}
