//! Query strings as Go reads them: pairs with a `;` or a bad escape are dropped, the first value of a name counts,
//! and a boolean is false only where it says so (`net/url`, `apimachinery pkg/runtime/conversion.go`).

use percent_encoding::percent_decode_str;

/// Decoded pairs in the order they came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(raw: &str) -> Self {
        let pairs = raw
            .split('&')
            .filter(|pair| !pair.is_empty() && !pair.contains(';'));
        Self(
            pairs
                .filter_map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    Some((decode(name)?, decode(value)?))
                })
                .collect(),
        )
    }

    /// The first value of `name`.
    pub(crate) fn first(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Every value of `name`.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The first value of `name`, unless it is empty.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.first(name)
            .filter(|value| !value.is_empty())
            .map(str::to_owned)
    }

    /// Absent, or anything but `0` and `false` for true: `watch=` is true.
    pub(crate) fn boolean(&self, name: &str) -> Option<bool> {
        self.first(name)
            .map(|value| value != "0" && !value.eq_ignore_ascii_case("false"))
    }

    /// # Errors
    /// The API server's sentence about a value that is no number.
    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>, String> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        match text.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_not_a_number) => Err(format!(
                "strconv.ParseInt: parsing {text:?}: invalid syntax"
            )),
        }
    }
}

fn decode(text: &str) -> Option<String> {
    percent_decode(&text.replace('+', " "))
}

/// `None` on a bad escape, or bytes that are no UTF-8.
pub(crate) fn percent_decode(text: &str) -> Option<String> {
    let mut escapes = text.split('%').skip(1);
    let well_formed = escapes.all(|rest| matches!(rest.as_bytes(), [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit()));
    if !well_formed {
        return None;
    }
    percent_decode_str(text)
        .decode_utf8()
        .ok()
        .map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read_as_go_reads_them() {
        let query = Query::parse("a=1&a=2&b=x%2Cy+z&c;d=1&e=%zz&watch=&f=FALSE");
        assert_eq!(query.first("a"), Some("1"));
        assert_eq!(query.all("a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(query.first("b"), Some("x,y z"));
        assert_eq!(query.first("c"), None);
        assert_eq!(query.first("e"), None);
        assert_eq!(query.boolean("watch"), Some(true));
        assert_eq!(query.boolean("f"), Some(false));
        assert_eq!(query.boolean("absent"), None);
        assert!(query.number("b").is_err());
    }
}
