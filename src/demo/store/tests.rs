//! Tests of `demo::store`.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn pods() -> GroupResource {
    GroupResource::new("", "pods")
}

fn pod(namespace: &str, name: &str) -> (Key, Value) {
    let value = json!({"metadata": {"namespace": namespace, "name": name}});
    (Key::new(&pods(), namespace, name), value)
}

fn paths(listed: &[(String, Arc<Object>)]) -> Vec<&str> {
    listed.iter().map(|(path, _)| path.as_str()).collect()
}

#[test]
fn lists_come_in_the_order_of_etcd_keys() {
    let mut state = State::new();
    for namespace in ["a", "a-b", "b"] {
        let (key, value) = pod(namespace, "x");
        state.put(&key, value);
    }
    assert_eq!(paths(&state.list(&pods(), "")), ["a-b/x", "a/x", "b/x"]);
    assert_eq!(paths(&state.list(&pods(), "a")), ["a/x"]);
}

#[test]
fn a_compacted_revision_and_one_from_the_future_are_refused() {
    let mut state = State::new();
    let (key, value) = pod("a", "x");
    state.put(&key, value.clone());
    state.put(&key, value);
    state.compact(2);
    assert_eq!(
        state.list_at(&pods(), "", 1).unwrap_err(),
        Unservable::Compacted { oldest: 2 }
    );
    assert_eq!(state.list_at(&pods(), "", 2).unwrap().len(), 1);
    assert_eq!(
        state.list_at(&pods(), "", 4).unwrap_err(),
        Unservable::Future { current: 3 }
    );
}

#[test]
fn the_log_is_bounded() {
    let mut state = State::new();
    let (key, value) = pod("a", "x");
    for _ in 0..=LOG_LENGTH {
        state.put(&key, value.clone());
    }
    assert_eq!(state.log.len(), LOG_LENGTH);
    assert!(state.changes_after(1, &pods()).is_err());
    assert_eq!(state.changes_after(2, &pods()).unwrap().len(), LOG_LENGTH);
}

proptest! {
    /// Every list of the past equals the list that was taken then.
    #[test]
    fn the_past_reads_as_it_was(writes in proptest::collection::vec((0..3_u8, 0..3_u8, any::<bool>()), 1..40)) {
        let mut state = State::new();
        let mut taken = vec![(state.revision(), state.list(&pods(), ""))];
        for (namespace, name, put) in writes {
            let (key, value) = pod(&format!("n{namespace}"), &format!("p{name}"));
            if put {
                state.put(&key, value);
            } else {
                state.remove(&key);
            }
            taken.push((state.revision(), state.list(&pods(), "")));
        }
        for (revision, then) in taken {
            prop_assert_eq!(state.list_at(&pods(), "", revision).unwrap(), then);
        }
    }
}
