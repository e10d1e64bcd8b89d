//! A query string as decoded pairs in their order, and its printer. It never drops a pair silently, as Go's parser does.

use super::escape;
use super::escape::Plus;

/// Most pairs a query may have: with more, Go gives up and reads *no* parameter at all, so that a watch would become
/// a list and a selector would be gone (`net/url` `defaultMaxParams`, since Go 1.26).
const MAX_PAIRS: usize = 10_000;

/// Decoded pairs in the order they came. A parameter may occur more than once; [`Query::first`] is what counts for
/// Kubernetes' list parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Parses the raw text after `?` as Go's `url.ParseQuery` does: pairs divided by `&`, empty ones skipped, `+` for a
    /// blank, a missing `=` the same as an empty value.
    ///
    /// # Errors
    /// [`BadQuery`] on what Go would drop silently: a `;`, a bad percent escape (CVE-2022-2880), too many pairs. Bytes
    /// that are no UTF-8 are refused too, though Go reads them.
    pub fn parse(raw: &str) -> Result<Self, BadQuery> {
        if raw.contains(';') {
            return Err(BadQuery::Semicolon);
        }
        if raw.split('&').count() > MAX_PAIRS {
            return Err(BadQuery::TooManyPairs);
        }
        let decode = |text| escape::decode(text, Plus::Blank).ok_or(BadQuery::Escape);
        let pairs = raw
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                Ok((decode(key)?, decode(value)?))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { pairs })
    }

    /// The first value of `name`.
    pub fn first(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// All pairs, in order.
    pub fn pairs(&self) -> &[(String, String)] {
        &self.pairs
    }

    /// Keeps only the first value of each of `names`; all other pairs stay as they are.
    pub(super) fn collapse(&mut self, names: &[&str]) {
        let mut seen = vec![false; names.len()];
        self.pairs.retain(|(key, _)| {
            let slot = names
                .iter()
                .position(|name| name == key)
                .and_then(|index| seen.get_mut(index));
            slot.is_none_or(|seen| !std::mem::replace(seen, true))
        });
    }

    /// Replaces all values of `name` by one.
    pub(super) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.pairs.retain(|(key, _)| key != name);
        self.pairs.push((name.to_owned(), value.into()));
    }

    /// Appends the percent-encoded pairs to `target` (without the `?`).
    pub fn print(&self, target: &mut String) {
        for (index, (key, value)) in self.pairs.iter().enumerate() {
            if index > 0 {
                target.push('&');
            }
            escape::encode(key, target);
            // Always printed: a pair of two empty strings would be lost without it.
            target.push('=');
            escape::encode(value, target);
        }
    }
}

/// Why a query was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadQuery {
    /// A `;`, which some parsers take for a separator.
    #[error("the query holds a semicolon, which must be written %3B")]
    Semicolon,
    /// `%` not followed by two hex digits, or bytes that are no UTF-8.
    #[error("the query holds a bad percent escape")]
    Escape,
    /// More than [`MAX_PAIRS`].
    #[error("the query has more than {MAX_PAIRS} parameters")]
    TooManyPairs,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_as_go_reads_it_and_refused_where_go_drops() {
        for (raw, wanted) in [
            ("", Ok("")),
            ("a", Ok("a=")),
            ("a=", Ok("a=")),
            ("=", Ok("=")),
            ("=b", Ok("=b")),
            ("&a=1&&b=2&", Ok("a=1&b=2")),
            ("a=b=c", Ok("a=b%3Dc")),
            ("a+b=c+d", Ok("a%20b=c%20d")),
            (
                "command=ls&command=-la&command=ls",
                Ok("command=ls&command=-la&command=ls"),
            ),
            ("label%53elector=x", Ok("labelSelector=x")),
            ("a=~-._", Ok("a=~-._")),
            ("a=(b)", Ok("a=%28b%29")),
            ("a=1;b=2", Err(BadQuery::Semicolon)),
            ("a=%3B", Ok("a=%3B")),
            ("a=%", Err(BadQuery::Escape)),
            ("%zz=a", Err(BadQuery::Escape)),
            ("a=%ff", Err(BadQuery::Escape)),
        ] {
            let printed = Query::parse(raw).map(|query| {
                let mut target = String::new();
                query.print(&mut target);
                target
            });
            assert_eq!(printed, wanted.map(str::to_owned), "{raw}");
        }
    }

    #[test]
    fn more_pairs_than_go_reads_are_refused() {
        assert!(Query::parse(&"&".repeat(MAX_PAIRS - 1)).is_ok());
        assert_eq!(
            Query::parse(&"&".repeat(MAX_PAIRS)),
            Err(BadQuery::TooManyPairs)
        );
    }

    #[test]
    fn collapsing_keeps_the_first_value_and_the_order() {
        let mut query =
            Query::parse("limit=1&dryRun=All&limit=2&watch=1&dryRun=All&watch=0").unwrap();
        query.collapse(&["limit", "watch"]);
        let mut printed = String::new();
        query.print(&mut printed);
        assert_eq!(printed, "limit=1&dryRun=All&watch=1&dryRun=All");
    }

    proptest::proptest! {
        #[test]
        fn what_is_printed_parses_to_itself(pairs in proptest::collection::vec((".{0,6}", ".{0,6}"), 0..5)) {
            let query = Query { pairs };
            let mut printed = String::new();
            query.print(&mut printed);
            proptest::prop_assert_eq!(Query::parse(&printed), Ok(query));
        }
    }
}
