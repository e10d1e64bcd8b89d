//! Patterns for names of groups: the whole name, with `*` for any run of characters.

/// An anchored pattern such as `system:*` or `*-admins`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// The pattern written as `text`. Every text is one; an empty one matches only the empty name, that is nothing.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `name` as a whole matches. Linear in `name` for each `*`, whatever the name: no backtracking.
    pub fn matches(&self, name: &str) -> bool {
        let Some((head, rest)) = self.0.split_once('*') else {
            return *self.0 == *name;
        };
        let Some(mut left) = name.strip_prefix(head) else {
            return false;
        };
        // `tail` is what must stand at the very end; the parts before it are taken as early as they occur, which is
        // right because each later part then has the most room.
        let (middle, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
        for part in middle.split('*').filter(|part| !part.is_empty()) {
            let Some((_, after)) = left.split_once(part) else {
                return false;
            };
            left = after;
        }
        left.ends_with(tail)
    }

    /// Whether it was written for Kubernetes' own names. `*` was not: it must not let `system:nodes` through by accident.
    pub fn names_system(&self) -> bool {
        self.0.starts_with("system:")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_whole_names() {
        for (pattern, name, expected) in [
            ("oil", "oil", true),
            ("oil", "oil-admins", false),
            ("oil*", "oil-admins", true),
            ("*admins", "oil-admins", true),
            ("*admins", "oil-admins-2", false),
            ("a*b*c", "abc", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("ab*ba", "aba", false),
            ("*", "anything", true),
            ("**", "", true),
            ("", "x", false),
            ("system:*", "system:masters", true),
            ("system:*", "System:masters", false),
        ] {
            assert_eq!(
                Pattern::new(pattern).matches(name),
                expected,
                "{pattern} on {name}"
            );
        }
    }
}
