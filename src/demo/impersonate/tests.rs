//! Tests of `demo::impersonate`.

use serde_json::Value;
use serde_json::json;

use super::*;
use crate::demo::store::Key;
use crate::demo::store::Store;
use crate::k8s::names::GroupResource;
use crate::reader;

/// The rights the proxy's chart gives: one user, one group, one extra key.
fn world() -> Store {
    let store = Store::new();
    let put = |plural: &str, value: Value| {
        let key = Key::new(
            &GroupResource::new("rbac.authorization.k8s.io", plural),
            "",
            "proxy",
        );
        store.write(|state| state.put(&key, value));
    };
    put(
        "clusterroles",
        json!({"rules": [
            {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"], "resourceNames": [reader::USER]},
            {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["groups"], "resourceNames": [reader::GROUP]},
            {"verbs": ["impersonate"], "apiGroups": ["authentication.k8s.io"], "resources": [format!("userextras/{}", reader::EXTRA_KEY)]},
        ]}),
    );
    put(
        "clusterrolebindings",
        json!({
            "roleRef": {"kind": "ClusterRole", "name": "proxy"},
            "subjects": [{"kind": "ServiceAccount", "name": "proxy", "namespace": "capsule-system"}],
        }),
    );
    store
}

#[test]
fn the_proxy_may_become_its_reader_and_nobody_else() {
    let store = world();
    let proxy = User::service_account("capsule-system", "proxy", "");
    let extra = format!(
        "impersonate-extra-{}",
        reader::EXTRA_KEY.replace('/', "%2f")
    );
    for (headers, code) in [
        (vec![], 200),
        (vec![("impersonate-user", "")], 200),
        (
            vec![
                ("impersonate-user", reader::USER),
                ("impersonate-group", reader::GROUP),
                (&extra, "alice"),
            ],
            200,
        ),
        (vec![("impersonate-group", reader::GROUP)], 400),
        (vec![(&*extra, "alice")], 400),
        (
            vec![
                ("impersonate-user", ""),
                ("impersonate-group", reader::GROUP),
            ],
            400,
        ),
        (vec![("impersonate-user", "alice")], 403),
        (
            vec![
                ("impersonate-user", reader::USER),
                ("impersonate-group", "system:masters"),
            ],
            403,
        ),
        (
            vec![
                ("impersonate-user", reader::USER),
                ("impersonate-extra-oid", "x"),
            ],
            403,
        ),
        (
            vec![("impersonate-user", reader::USER), ("impersonate-uid", "1")],
            403,
        ),
        (
            vec![(
                "impersonate-user",
                "system:serviceaccount:kube-system:admin",
            )],
            403,
        ),
    ] {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| {
                (
                    http::HeaderName::try_from(*name).unwrap(),
                    value.parse().unwrap(),
                )
            })
            .collect();
        let answer = store.read(|state| impersonated(state, &proxy, &headers));
        assert_eq!(
            answer
                .as_ref()
                .map_or_else(|failure| failure.code.as_u16(), |_| 200),
            code,
            "{headers:?}"
        );
    }
}

#[test]
fn keys_of_extras_are_decoded_and_the_group_of_everybody_is_added() {
    let store = world();
    let root = User {
        name: "root".to_owned(),
        groups: vec!["system:masters".to_owned()],
        ..User::default()
    };
    let headers: HeaderMap = [
        ("impersonate-user", "alice"),
        ("impersonate-extra-example.org%2fTeam", "oil"),
    ]
    .iter()
    .map(|(name, value)| {
        (
            http::HeaderName::try_from(*name).unwrap(),
            value.parse().unwrap(),
        )
    })
    .collect();
    let user = store
        .read(|state| impersonated(state, &root, &headers))
        .unwrap()
        .unwrap();
    assert_eq!(user.groups, ["system:authenticated"]);
    assert_eq!(user.extra.get("example.org/team").unwrap(), &["oil"]);
}
