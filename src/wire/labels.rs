//! `metadata.labels` of one object, in one piece of memory that serves the next object too.

use super::Broken;

/// Labels as read. Two of one key are an error, since readers differ on which one counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    text: String,
    /// Where in `text` each key ends, and its value behind it; sorted by key once [`Self::seal`] was called.
    ends: Vec<Entry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    key: usize,
    value: usize,
    end: usize,
}

impl Labels {
    /// Forgets everything but the memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }

    /// Adds one. Look-ups are right after the next [`Self::seal`].
    pub fn push(&mut self, key: &str, value: &str) {
        let start = self.text.len();
        self.text.push_str(key);
        self.text.push_str(value);
        self.ends.push(Entry {
            key: start,
            value: start + key.len(),
            end: self.text.len(),
        });
    }

    /// All have been added.
    ///
    /// # Errors
    /// [`Broken::Twice`].
    pub fn seal(&mut self) -> Result<(), Broken> {
        let text = &self.text;
        let key = |entry: &Entry| text.get(entry.key..entry.value).unwrap_or_default();
        self.ends.sort_unstable_by(|a, b| key(a).cmp(key(b)));
        let mut rest = self.ends.as_slice();
        while let [first, tail @ ..] = rest {
            if tail.first().is_some_and(|next| key(next) == key(first)) {
                return Err(Broken::Twice("a label"));
            }
            rest = tail;
        }
        Ok(())
    }

    /// The value of the label `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        let found = self
            .ends
            .binary_search_by(|entry| self.text.get(entry.key..entry.value).cmp(&Some(key)));
        let entry = self.ends.get(found.ok()?)?;
        self.text.get(entry.value..entry.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_found_by_whole_keys() {
        let mut labels = Labels::default();
        for round in 0..2 {
            labels.clear();
            for (key, value) in [("tier", "gold"), ("a", ""), ("ti", "er")] {
                labels.push(key, value);
            }
            labels.seal().unwrap();
            for (key, value) in [
                ("tier", Some("gold")),
                ("a", Some("")),
                ("ti", Some("er")),
                ("t", None),
                ("", None),
            ] {
                assert_eq!(labels.get(key), value, "{key:?} in round {round}");
            }
        }
    }

    #[test]
    fn two_labels_of_one_key_are_an_error() {
        let mut labels = Labels::default();
        for (key, value) in [("a", "1"), ("b", "2"), ("a", "1")] {
            labels.push(key, value);
        }
        assert_eq!(labels.seal(), Err(Broken::Twice("a label")));
    }
}
