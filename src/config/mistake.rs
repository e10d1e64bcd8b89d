//! What is wrong with a configuration file: every mistake, with its place, its cause and its cure.
//!
//! The echo of a line never shows what looks like a token.

use std::fmt;

/// A place in the file. Lines and columns count from 1, columns and width in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
    /// Characters it takes, at least one.
    pub width: usize,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where.
    pub at: Place,
    /// The key's path: `authentication.jwt[0].issuer.url`. Empty for the file as a whole.
    pub path: String,
    /// What is wrong and what would be right.
    pub text: String,
}

/// All mistakes of one file. Its `Display` is the report a person reads.
#[derive(Debug)]
pub struct Mistakes {
    file: String,
    lines: Vec<String>,
    found: Vec<Mistake>,
}

impl std::error::Error for Mistakes {}

impl Mistakes {
    /// None yet, in the file called `file` whose content is `text`.
    pub(super) fn new(file: &str, text: &str) -> Self {
        Self {
            file: file.to_owned(),
            lines: text.lines().map(str::to_owned).collect(),
            found: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, at: Place, path: &str, text: impl Into<String>) {
        self.found.push(Mistake {
            at,
            path: path.to_owned(),
            text: text.into(),
        });
    }

    /// `proxy.yaml:7`, to name a place elsewhere.
    pub(super) fn place(&self, at: Place) -> String {
        format!("{}:{}", self.file, at.line)
    }

    /// All of them, by place.
    pub fn found(&self) -> &[Mistake] {
        &self.found
    }

    /// `value` if there are none.
    pub(super) fn or<T>(mut self, value: T) -> Result<T, Self> {
        if self.found.is_empty() {
            return Ok(value);
        }
        self.found.sort_by_key(|mistake| mistake.at);
        Err(self)
    }

    fn echo(&self, f: &mut fmt::Formatter<'_>, at: Place) -> fmt::Result {
        let Some(line) = at
            .line
            .checked_sub(1)
            .and_then(|index| self.lines.get(index))
        else {
            return Ok(());
        };
        let number = at.line.to_string();
        let skip = at.column.saturating_sub(1).min(line.chars().count());
        let shown = line.chars().count().saturating_sub(skip).max(1);
        let marks = "^".repeat(at.width.clamp(1, shown));
        writeln!(f, "  {number} | {}", masked(line))?;
        writeln!(
            f,
            "  {:width$} | {:skip$}{marks}",
            "",
            "",
            width = number.len()
        )
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Mistake { at, path, text } in &self.found {
            let colon = if path.is_empty() { "" } else { ": " };
            writeln!(
                f,
                "{}:{}:{}: {path}{colon}{text}",
                self.file, at.line, at.column
            )?;
            self.echo(f, *at)?;
        }
        match self.found.len() {
            1 => write!(f, "1 mistake"),
            count => write!(f, "{count} mistakes"),
        }
    }
}

/// The line with everything that begins like a JWT starred out, character for character, so that marks still fit.
fn masked(line: &str) -> String {
    let mut masking = false;
    let mut out = String::with_capacity(line.len());
    for (at, character) in line.char_indices() {
        let part_of_a_token =
            character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.' | '=');
        masking = part_of_a_token
            && (masking || line.get(at..).is_some_and(|rest| rest.starts_with("eyJ")));
        out.push(if masking { '*' } else { character });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_token_is_starred_out() {
        assert_eq!(
            masked("token: eyJhbGci.eyJpc3M.c2ln # mine"),
            "token: ********************* # mine"
        );
        assert_eq!(masked("eye: see"), "eye: see");
    }
}
