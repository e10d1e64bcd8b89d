//! What a client holds of a kind.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;

/// The resourceVersion of each object, by [`key`](crate::random::cluster::key).
pub type Objects = BTreeMap<String, String>;

/// Filled by the one who follows, read by the one who compares.
#[derive(Clone, Default)]
pub struct Store(Arc<Mutex<Objects>>);

impl Store {
    pub fn replace(&self, objects: Objects) {
        *self.0.lock().unwrap() = objects;
    }

    /// Whether it was there.
    pub fn put(&self, key: String, version: String) -> bool {
        self.0.lock().unwrap().insert(key, version).is_some()
    }

    /// Whether it was there.
    pub fn remove(&self, key: &str) -> bool {
        self.0.lock().unwrap().remove(key).is_some()
    }

    /// What it holds now.
    pub fn objects(&self) -> Objects {
        self.0.lock().unwrap().clone()
    }
}

/// How `held` differs from `expected`, if it does.
pub fn difference(held: &Objects, expected: &Objects) -> Option<String> {
    if held == expected {
        return None;
    }
    let (mut missing, mut surplus, mut old) = (Vec::new(), Vec::new(), Vec::new());
    for (key, version) in expected {
        match held.get(key) {
            None => missing.push(key),
            Some(held) if held != version => old.push(format!("{key} at {held}, not {version}")),
            Some(_) => {}
        }
    }
    surplus.extend(held.keys().filter(|key| !expected.contains_key(*key)));
    Some(format!(
        "missing {missing:?}, surplus {surplus:?}, another version of {old:?}"
    ))
}

#[test]
fn a_difference_is_told_by_what_is_missing_and_what_is_too_much() {
    let objects = |text: &str| -> Objects {
        let pairs = text.split_whitespace().map(|pair| {
            let (key, version) = pair.split_once('@').unwrap();
            (key.to_owned(), version.to_owned())
        });
        pairs.collect()
    };
    assert_eq!(difference(&objects("a@1 b@2"), &objects("a@1 b@2")), None);
    let told = difference(&objects("a@1 b@2"), &objects("b@3 c@4")).unwrap();
    assert_eq!(
        told,
        r#"missing ["c"], surplus ["a"], another version of ["b at 2, not 3"]"#
    );
}
