//! Tests of `catalog`.

use super::*;

const CORE: &str = r#"{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","metadata":{},"items":[
  {"metadata":{"creationTimestamp":null},"versions":[{"version":"v1","freshness":"Current","resources":[
    {"resource":"namespaces","responseKind":{"group":"","version":"","kind":"Namespace"},"scope":"Cluster",
     "singularResource":"namespace","verbs":["create","delete","get","list","patch","update","watch"],"shortNames":["ns"],
     "subresources":[{"subresource":"status","responseKind":{"kind":"Namespace"},"verbs":["get"]}]},
    {"resource":"pods","responseKind":{"group":"","version":"","kind":"Pod"},"scope":"Namespaced","singularResource":"pod",
     "verbs":["deletecollection","list","watch","escalate"]},
    {"resource":"ghosts","scope":"Namespaced","singularResource":"","verbs":[]},
    {"resource":"oddities","responseKind":{"kind":"Oddity"},"scope":"Galaxy","singularResource":"","verbs":["list"]}
  ]}]}]}"#;

const GROUPS: &str = r#"{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","metadata":{},"items":[
  {"metadata":{"name":"metrics.k8s.io"},"versions":[{"version":"v1beta1","freshness":"Stale","resources":[
    {"resource":"nodes","responseKind":{"kind":"NodeMetrics"},"scope":"Cluster","singularResource":"","verbs":["get","list"]}]}]},
  {"metadata":{"name":"example.com"},"versions":[
    {"version":"v2","resources":[{"resource":"things","responseKind":{"kind":"Thing"},"scope":"Cluster","singularResource":"thing","verbs":["list"]}]},
    {"version":"v1","resources":[{"resource":"things","responseKind":{"kind":"OldThing"},"scope":"Namespaced","singularResource":"thing","verbs":["list"]}]},
    {"version":"v0"}]}]}"#;

fn catalog(elsewhere: &ServedElsewhere) -> Catalog {
    Catalog::from_documents(CORE.as_bytes(), GROUPS.as_bytes(), elsewhere).unwrap()
}

fn metrics_elsewhere() -> ServedElsewhere {
    ServedElsewhere::Known(vec![("metrics.k8s.io".to_owned(), "v1beta1".to_owned())])
}

#[test]
fn scope_kind_and_verbs_come_from_discovery() {
    let catalog = catalog(&metrics_elsewhere());
    let namespaces = catalog
        .kind(&GroupResource::new("", "namespaces"), "v1")
        .unwrap();
    assert_eq!(
        (namespaces.kind.as_ref(), namespaces.namespaced),
        ("Namespace", false)
    );
    assert!(namespaces.verbs.contains(Verb::List) && namespaces.verbs.contains(Verb::Watch));
    assert!(!namespaces.verbs.contains(Verb::DeleteCollection));
    let pods = catalog.kind(&GroupResource::new("", "pods"), "v1").unwrap();
    assert!(
        pods.namespaced
            && pods.verbs.contains(Verb::DeleteCollection)
            && !pods.verbs.contains(Verb::Get)
    );
}

#[test]
fn what_has_no_kind_or_no_known_scope_is_unknown() {
    let catalog = catalog(&metrics_elsewhere());
    for (group, resource, version) in [
        ("", "ghosts", "v1"),
        ("", "oddities", "v1"),
        ("", "namespaces", "v2"),
        ("", "things", "v1"),
        ("example.com", "things", "v0"),
    ] {
        assert_eq!(
            catalog.kind(&GroupResource::new(group, resource), version),
            None,
            "{resource} {version}"
        );
    }
    assert_eq!(catalog.kinds().count(), 5);
}

#[test]
fn each_version_has_facts_of_its_own_and_the_preferred_one_comes_first() {
    let catalog = catalog(&metrics_elsewhere());
    let things = GroupResource::new("example.com", "things");
    let seen: Vec<_> = catalog
        .versions(&things)
        .iter()
        .map(|v| (v.version.as_ref(), v.namespaced))
        .collect();
    assert_eq!(seen, [("v2", false), ("v1", true)]);
    assert_eq!(
        catalog.kind(&things, "v1").unwrap().kind.as_ref(),
        "OldThing"
    );
}

#[test]
fn who_serves_a_kind_is_known_from_apiservices_and_feared_without() {
    for (elsewhere, group, resource, version, aggregated, protobuf) in [
        (metrics_elsewhere(), "", "pods", "v1", false, true),
        (
            metrics_elsewhere(),
            "example.com",
            "things",
            "v1",
            false,
            false,
        ),
        (
            metrics_elsewhere(),
            "metrics.k8s.io",
            "nodes",
            "v1beta1",
            true,
            false,
        ),
        (ServedElsewhere::Unknown, "", "pods", "v1", false, true),
        (
            ServedElsewhere::Unknown,
            "example.com",
            "things",
            "v1",
            true,
            false,
        ),
        (
            ServedElsewhere::Unknown,
            "metrics.k8s.io",
            "nodes",
            "v1beta1",
            true,
            false,
        ),
    ] {
        let catalog = catalog(&elsewhere);
        let facts = catalog
            .kind(&GroupResource::new(group, resource), version)
            .unwrap();
        assert_eq!(
            (facts.aggregated, facts.protobuf),
            (aggregated, protobuf),
            "{resource} {elsewhere:?}"
        );
    }
}

#[test]
fn another_document_is_refused_whole() {
    for document in [
        "",
        "{}",
        r#"{"kind":"APIGroupList","apiVersion":"v1","groups":[]}"#,
        r#"{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2beta1","items":[]}"#,
        r#"{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","items":[{"versions":[]}]}"#,
    ] {
        let refused = Catalog::from_documents(
            CORE.as_bytes(),
            document.as_bytes(),
            &ServedElsewhere::Unknown,
        );
        assert!(refused.is_err(), "{document}");
    }
}

#[test]
fn apiservices_without_a_service_are_kube_apiservers_own() {
    let list = br#"{"kind":"APIServiceList","items":[
        {"metadata":{"name":"v1."},"spec":{"version":"v1","groupPriorityMinimum":18000,"versionPriority":1}},
        {"metadata":{"name":"v1.apps"},"spec":{"group":"apps","version":"v1","service":null}},
        {"metadata":{"name":"v1beta1.metrics.k8s.io"},"spec":{"group":"metrics.k8s.io","version":"v1beta1",
         "service":{"name":"metrics-server","namespace":"kube-system"}}}]}"#;
    assert_eq!(
        document::served_elsewhere(list).unwrap(),
        [("metrics.k8s.io".to_owned(), "v1beta1".to_owned())]
    );
}
