//! Names that were read from a path or an object: one segment each, safe to print into a path again.

use std::fmt;
use std::sync::Arc;

/// A namespace's name, or an object's: one path segment.
///
/// What the API server demands of every name (`apimachinery pkg/api/validation/path/name.go`): not `.`, not `..`,
/// no `/`, no `%`. Stricter syntax (RFC 1123) is the API server's to judge.
macro_rules! segment_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// # Errors
            /// [`NotASegment`] if `text` could not stand as one segment of a path.
            pub fn parse(text: &str) -> Result<Self, NotASegment> {
                if text.is_empty() || text == "." || text == ".." || text.contains(is_border) {
                    return Err(NotASegment);
                }
                Ok(Self(text.into()))
            }

            /// The name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

segment_name! {
    /// The name of a namespace.
    Namespace
}
segment_name! {
    /// The name of an object.
    ObjectName
}

/// Whether some reader of paths could take `c`, decoded, for a border of segments or for an escape.
pub(super) fn is_border(c: char) -> bool {
    matches!(c, '/' | '\\' | '%') || c.is_control()
}

/// A text that cannot be one segment of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a path segment")]
pub struct NotASegment;

/// A resource within its API group, such as `namespaces` in `""`: what kinds, rules and state are keyed by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupResource {
    /// The API group, empty for the core group.
    pub group: Arc<str>,
    /// The resource's plural, lower-case name.
    pub resource: Arc<str>,
}

impl GroupResource {
    /// The resource `resource` of `group`.
    pub fn new(group: &str, resource: &str) -> Self {
        Self {
            group: group.into(),
            resource: resource.into(),
        }
    }
}

impl fmt::Display for GroupResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() {
            f.write_str(&self.resource)
        } else {
            write!(f, "{}.{}", self.resource, self.group)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_segment_of_a_path() {
        for text in ["a", "a.b", "...", "system:node", "a b", "é"] {
            assert_eq!(
                ObjectName::parse(text).map(|name| name.to_string()),
                Ok(text.to_owned())
            );
        }
        for text in [
            "", ".", "..", "a/b", "a\\b", "a%2Fb", "a\0", "a\n", "\u{85}",
        ] {
            assert_eq!(Namespace::parse(text), Err(NotASegment), "{text:?}");
        }
    }

    #[test]
    fn resources_print_as_kubectl_writes_them() {
        assert_eq!(GroupResource::new("", "pods").to_string(), "pods");
        assert_eq!(
            GroupResource::new("apps", "deployments").to_string(),
            "deployments.apps"
        );
    }
}
