//! Label selectors against the API server's own reading of them: what is accepted, what is said of what is not, and
//! what is selected. Selectors are put together from pieces, most of them odd, the same in every run.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use http::Method;
use kube_tenant_proxy::k8s::label_selector::LabelSelector;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::utf8_percent_encode;
use serde_json::Value;
use serde_json::json;

use crate::harness::eventually;
use crate::harness::people::unique;
use crate::harness::world::World;

in_the_real_world!(a_selector_means_what_the_api_server_takes_it_for);

const NAMESPACES: &str = "/api/v1/namespaces";
const SELECTORS: usize = 1500;

/// What selectors are made of. Whole requirements too, so that many of them can be read.
const PIECES: [&str; 44] = [
    "a",
    "b",
    "c",
    "x.y/z",
    "A_b",
    "1",
    "20",
    "-3",
    "",
    "in",
    "notin",
    "exists",
    "é",
    "a.b.c",
    "a/b/c",
    "-a",
    "a-",
    "=",
    "==",
    "!=",
    "!",
    ">",
    "<",
    "(",
    ")",
    ",",
    " ",
    "\t",
    "\n",
    "in (1,2)",
    "notin (1)",
    "in ()",
    "in (,)",
    "a=1",
    "a!=1",
    "b",
    "!b",
    "a in (1, 20)",
    "a notin (1,\n2)",
    "a>5",
    "a<5",
    "x.y/z==1",
    "0",
    "a b",
];

async fn a_selector_means_what_the_api_server_takes_it_for(world: &'static World) {
    let namespace = format!("selectors-{}", unique());
    let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    world
        .admin(Method::POST, NAMESPACES, Some(&body))
        .await
        .unwrap();
    let maps = format!("{NAMESPACES}/{namespace}/configmaps");
    let mut objects: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for (name, labels) in [
        ("none", &[][..]),
        ("a1", &[("a", "1")]),
        ("a20", &[("a", "20"), ("b", "")]),
        ("empty", &[("a", ""), ("c", "c")]),
        ("word", &[("a", "word"), ("x.y/z", "1")]),
        (
            "many",
            &[("a", "1"), ("b", "1"), ("c", "20"), ("A_b", "in")],
        ),
    ] {
        let labels: BTreeMap<_, _> = labels
            .iter()
            .map(|(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}});
        world.admin(Method::POST, &maps, Some(&body)).await.unwrap();
        objects.insert(name.to_owned(), labels);
    }
    // The cluster's own ConfigMap has no labels either, and comes by itself.
    eventually(|| async {
        let there = world
            .admin(Method::GET, &format!("{maps}/kube-root-ca.crt"), None)
            .await;
        there.map_err(|why| why.to_string())
    })
    .await;
    objects.insert("kube-root-ca.crt".to_owned(), BTreeMap::new());

    let mut dice = 0x1234_5678_u32;
    let mut roll = move |sides: usize| {
        dice ^= dice << 13;
        dice ^= dice >> 17;
        dice ^= dice << 5;
        dice as usize % sides
    };
    let (mut accepted, mut refused, mut differ) = (0, 0, Vec::new());
    for _ in 0..SELECTORS {
        let selector: String = (0..=roll(5)).map(|_| PIECES[roll(PIECES.len())]).collect();
        let encoded = utf8_percent_encode(&selector, NON_ALPHANUMERIC);
        let theirs = world
            .admin(
                Method::GET,
                &format!("{maps}?labelSelector={encoded}"),
                None,
            )
            .await;
        let (ours, theirs) = (
            LabelSelector::parse(&selector),
            theirs.map(names).map_err(told),
        );
        match &theirs {
            Ok(_) => accepted += 1,
            Err(_) => refused += 1,
        }
        let ours = ours
            .map(|parsed| {
                // What is printed is read as the same.
                assert_eq!(
                    LabelSelector::parse(&parsed.print()).as_ref(),
                    Ok(&parsed),
                    "{selector:?}"
                );
                let matches = |labels: &BTreeMap<String, String>| {
                    parsed.matches(|key| labels.get(key).map(String::as_str))
                };
                let matching = objects.iter().filter(|(_, labels)| matches(labels));
                matching
                    .map(|(name, _)| name.clone())
                    .collect::<BTreeSet<_>>()
            })
            .map_err(|bad| bad.0);
        if ours != theirs {
            differ.push(format!("{selector:?}: {ours:?} is not {theirs:?}"));
        }
    }
    assert!(
        differ.is_empty(),
        "{} of {SELECTORS}:\n{}",
        differ.len(),
        differ.join("\n")
    );
    assert!(
        accepted > SELECTORS / 10 && refused > SELECTORS / 10,
        "{accepted} accepted, {refused} refused"
    );
}

fn names(list: Value) -> BTreeSet<String> {
    let items = list["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| item["metadata"]["name"].as_str().unwrap().to_owned())
        .collect()
}

fn told(refusal: kube::Error) -> String {
    let kube::Error::Api(status) = refusal else {
        panic!("{refusal}")
    };
    assert_eq!(status.code, 400, "{status:?}");
    status.message
}
