//! Of which namespaces a list or watch was put together, at one position. A value.
//!
//! Several clients of one identity may be given the same position, and not the same parts: one before a right within a
//! namespace was gained, one after it.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::k8s::names::Namespace;
use crate::watch::guard::Along;

/// What those hold of each namespace who were given a position.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Parts {
    shown: BTreeSet<Namespace>,
    hidden: BTreeSet<Namespace>,
}

/// What they hold of one namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// Its objects.
    Objects,
    /// Nothing of it.
    Nothing,
    /// Some its objects, some nothing.
    Unclear,
}

impl Parts {
    /// Somebody was shown `namespace`, or nothing of it.
    pub(super) fn note(&mut self, namespace: &Namespace, shown: bool) {
        let side = if shown {
            &mut self.shown
        } else {
            &mut self.hidden
        };
        side.insert(namespace.clone());
    }

    /// What everybody holds of `namespace` who was given the position.
    pub(super) fn of(&self, namespace: &Namespace) -> Held {
        match (
            self.shown.contains(namespace),
            self.hidden.contains(namespace),
        ) {
            (true, false) => Held::Objects,
            (false, _) => Held::Nothing,
            (true, true) => Held::Unclear,
        }
    }
}

impl Along for Arc<Parts> {
    fn join(&mut self, other: &Self) {
        if self != other {
            let parts = Self::make_mut(self);
            parts.shown.extend(other.shown.iter().cloned());
            parts.hidden.extend(other.hidden.iter().cloned());
        }
    }

    fn share(&mut self, known: &Self) {
        if self == known {
            self.clone_from(known);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_of_two_lists_is_there_once() {
        let name = |text| Namespace::parse(text).unwrap();
        let parts = |text| {
            let mut parts = Parts::default();
            parts.note(&name(text), true);
            Arc::new(parts)
        };
        let known = parts("a");
        for (text, once) in [("a", true), ("b", false)] {
            let mut told = parts(text);
            told.share(&known);
            assert_eq!(told, parts(text));
            assert_eq!(Arc::ptr_eq(&told, &known), once);
        }
    }

    #[test]
    fn what_some_hold_and_some_do_not_is_unclear() {
        let name = |text| Namespace::parse(text).unwrap();
        let (mut parts, mut later) = (Parts::default(), Parts::default());
        parts.note(&name("a"), true);
        parts.note(&name("b"), false);
        assert_eq!(parts.of(&name("b")), Held::Nothing);
        later.note(&name("a"), true);
        later.note(&name("b"), true);
        let mut parts = Arc::new(parts);
        parts.join(&Arc::new(later));
        assert_eq!(parts.of(&name("a")), Held::Objects);
        assert_eq!(parts.of(&name("b")), Held::Unclear);
        assert_eq!(parts.of(&name("never-asked")), Held::Nothing);
    }
}
