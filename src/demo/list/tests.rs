//! Tests of `demo::list`.

use super::*;
use crate::demo::query::Query;
use crate::demo::store::Key;
use crate::demo::store::Store;

fn pods_in(namespace: &str, labels: &str) -> Selection {
    Selection {
        resource: GroupResource::new("", "pods"),
        namespace: namespace.to_owned(),
        labels: Labels::parse(labels).unwrap(),
        fields: Fields::default(),
    }
}

/// Revision 2: a/a0, 3: a/a1, … six pods in `a`, of which the even ones are labelled.
fn store() -> Store {
    let store = Store::new();
    store.write(|state| {
        for number in 0..6 {
            let name = format!("a{number}");
            let labels = if number % 2 == 0 {
                json!({"even": "yes"})
            } else {
                json!({})
            };
            let value = json!({"metadata": {"namespace": "a", "name": name, "labels": labels}});
            state.put(
                &Key::new(&GroupResource::new("", "pods"), "a", &name),
                value,
            );
        }
    });
    store
}

fn names(store: &Store, selection: &Selection, query: &str) -> Result<(String, Page), Failure> {
    let options = ListOptions::parse(&Query::parse(query), false)?;
    let page = store.read(|state| list(state, selection, &options))?;
    let names: Vec<_> = page.objects.iter().map(|object| object.name()).collect();
    Ok((names.join(" "), page))
}

#[test]
fn a_revision_is_served_as_the_parameters_say() {
    let store = store();
    let everywhere = pods_in("", "");
    for (query, expected) in [
        ("", "a0 a1 a2 a3 a4 a5"),
        ("resourceVersion=0&limit=2", "a0 a1 a2 a3 a4 a5"),
        ("resourceVersion=4", "a0 a1 a2 a3 a4 a5"),
        ("resourceVersion=4&limit=500", "a0 a1 a2"),
        (
            "resourceVersion=4&resourceVersionMatch=NotOlderThan&limit=1",
            "a0",
        ),
        ("resourceVersion=4&resourceVersionMatch=Exact", "a0 a1 a2"),
    ] {
        assert_eq!(
            names(&store, &everywhere, query).unwrap().0,
            expected,
            "{query}"
        );
    }
    for (query, code) in [
        ("resourceVersion=99", 504),
        ("resourceVersion=99&resourceVersionMatch=Exact", 504),
    ] {
        assert_eq!(
            names(&store, &everywhere, query).unwrap_err().code.as_u16(),
            code,
            "{query}"
        );
    }
}

#[test]
fn pages_follow_one_another_at_one_revision() {
    let store = store();
    for (selection, remaining) in [
        (pods_in("", ""), Some(4)),
        (pods_in("a", ""), Some(4)),
        (pods_in("a", "even"), None),
    ] {
        let (mut seen, mut page) = names(&store, &selection, "limit=2").unwrap();
        assert_eq!(
            page.metadata
                .get("remainingItemCount")
                .and_then(Value::as_u64),
            remaining
        );
        let first_revision = text(&page.metadata, "/resourceVersion").to_owned();
        store.write(|state| state.remove(&Key::new(&selection.resource, "a", "a4")));
        while let Some(token) = page.metadata.get("continue").and_then(Value::as_str) {
            let (more, next) =
                names(&store, &selection, &format!("limit=2&continue={token}")).unwrap();
            seen = format!("{seen} {more}");
            page = next;
            assert_eq!(text(&page.metadata, "/resourceVersion"), first_revision);
        }
        let expected = if remaining.is_some() {
            "a0 a1 a2 a3 a4 a5"
        } else {
            "a0 a2 a4"
        };
        assert_eq!(seen.trim(), expected);
        let object =
            json!({"metadata": {"namespace": "a", "name": "a4", "labels": {"even": "yes"}}});
        store.write(|state| state.put(&Key::new(&selection.resource, "a", "a4"), object));
    }
}

#[test]
fn an_expired_page_offers_an_inconsistent_one() {
    let store = store();
    let everywhere = pods_in("", "");
    let page = names(&store, &everywhere, "limit=2").unwrap().1;
    store.write(|state| {
        state.remove(&Key::new(&everywhere.resource, "a", "a2"));
        state.compact(state.revision());
    });
    let token = text(&page.metadata, "/continue");
    let failure = names(&store, &everywhere, &format!("continue={token}")).unwrap_err();
    assert_eq!((failure.code.as_u16(), failure.reason), (410, "Expired"));
    let inconsistent = failure.continue_token.unwrap();
    assert_eq!(
        names(&store, &everywhere, &format!("continue={inconsistent}"))
            .unwrap()
            .0,
        "a3 a4 a5"
    );
}

#[test]
fn a_token_cannot_leave_its_own_collection() {
    let store = store();
    for (start, code) in [("../secrets/", 400), ("a/../../x", 400), ("", 400)] {
        let token = ContinueToken {
            revision: 3,
            start: start.to_owned(),
        }
        .print();
        let failure = names(&store, &pods_in("a", ""), &format!("continue={token}")).unwrap_err();
        assert_eq!(failure.code.as_u16(), code, "{start}");
    }
    assert_eq!(
        names(&store, &pods_in("a", ""), "continue=garbage!")
            .unwrap_err()
            .code
            .as_u16(),
        400
    );
}
