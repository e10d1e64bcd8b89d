//! What a watch's client holds, where labels decide what it may see: an object that moves out of a rule must be taken
//! back, one that moves in is new to it. The four cases of `convertToWatchEvent` in apiserver
//! `pkg/storage/cacher/cache_watcher.go`.

use std::collections::BTreeSet;

use crate::wire::event::EventType;

/// Names of the objects the client holds. Of kinds without namespaces, where a name is enough.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    held: BTreeSet<Box<str>>,
}

/// What becomes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes out as it came.
    Passes,
    /// It goes out as ADDED: the client sees the object for the first time.
    Enters,
    /// The client is told that the object is gone, and nothing of what it has become.
    Leaves,
    /// Nothing goes out.
    Hidden,
}

impl Memory {
    /// A client that holds `names`.
    pub fn of(names: impl IntoIterator<Item = Box<str>>) -> Self {
        Self {
            held: names.into_iter().collect(),
        }
    }

    /// What the client is to see of an event about `name`, whose object may be seen if it is `shown`.
    pub(super) fn judge(&mut self, kind: EventType, name: &str, shown: bool) -> Verdict {
        let held = self.held.contains(name);
        match (kind, shown, held) {
            (EventType::Bookmark | EventType::Error, _, _) => Verdict::Passes,
            (EventType::Added | EventType::Modified, true, true) => Verdict::Passes,
            (EventType::Added, true, false) => {
                self.held.insert(name.into());
                Verdict::Passes
            }
            (EventType::Modified, true, false) => {
                self.held.insert(name.into());
                Verdict::Enters
            }
            (EventType::Added | EventType::Modified, false, true) => {
                self.held.remove(name);
                Verdict::Leaves
            }
            // It carries the last state, which the client has seen if it may be seen.
            (EventType::Deleted, true, true) => {
                self.held.remove(name);
                Verdict::Passes
            }
            (EventType::Deleted, false, true) => {
                self.held.remove(name);
                Verdict::Leaves
            }
            (EventType::Added | EventType::Modified | EventType::Deleted, false, false)
            | (EventType::Deleted, true, false) => Verdict::Hidden,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_client_holds_is_what_may_be_seen_after_every_sequence_of_events() {
        const EVENTS: [(EventType, bool); 5] = [
            (EventType::Added, true),
            (EventType::Added, false),
            (EventType::Modified, true),
            (EventType::Modified, false),
            (EventType::Deleted, true),
        ];
        // Every sequence of five events about one object, whether the client holds it at the start or not.
        for start in [false, true] {
            for sequence in 0..EVENTS.len().pow(5) {
                let mut memory = Memory::of(start.then(|| "a".into()));
                let (mut client, mut rest) = (start, sequence);
                for _ in 0..5 {
                    let (kind, shown) = EVENTS[rest % EVENTS.len()];
                    rest /= EVENTS.len();
                    let verdict = memory.judge(kind, "a", shown);
                    match verdict {
                        Verdict::Passes => client = kind != EventType::Deleted,
                        Verdict::Enters => {
                            assert!(!client, "ADDED of what the client holds");
                            client = true;
                        }
                        Verdict::Leaves => {
                            assert!(client, "DELETED of what the client does not hold");
                            client = false;
                        }
                        Verdict::Hidden => {}
                    }
                    let there = kind != EventType::Deleted && shown;
                    assert_eq!(client, there, "{kind:?}, shown: {shown}, in {sequence}");
                    assert_eq!(memory.held.contains("a"), client);
                }
            }
        }
    }
}
