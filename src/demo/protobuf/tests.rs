//! Tests of `demo::protobuf`.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2, u8::try_from(value.len()).unwrap()];
    field.extend_from_slice(value);
    field
}

fn envelope(kind: &str, raw: &[u8]) -> Vec<u8> {
    let type_meta = [field(1, b"v1"), field(2, kind.as_bytes())].concat();
    [MAGIC.to_vec(), field(1, &type_meta), field(2, raw)].concat()
}

#[test]
fn a_namespace_reads_as_its_json() {
    let label = [field(1, b"team"), field(2, b"oil")].concat();
    let metadata = [
        field(1, b"oil-dev"),
        field(2, b""),
        field(8, &[]),
        field(11, &label),
    ]
    .concat();
    let body = envelope("Namespace", &[field(1, &metadata), field(2, &[])].concat());
    let expected = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "oil-dev", "labels": {"team": "oil"}},
        "spec": {},
    });
    assert_eq!(to_json(&body), Some(expected));
}

#[test]
fn an_access_review_reads_as_its_json() {
    let attributes = [field(2, b"list"), field(5, b"pods")].concat();
    let extra = [field(1, b"oid"), field(2, &field(1, b"x"))].concat();
    let spec = [
        field(1, &attributes),
        field(4, b"g1"),
        field(4, b"g2"),
        field(5, &extra),
    ]
    .concat();
    let body = envelope("SubjectAccessReview", &field(2, &spec));
    assert_eq!(
        to_json(&body).unwrap().get("spec").unwrap(),
        &json!({"resourceAttributes": {"verb": "list", "resource": "pods"}, "groups": ["g1", "g2"], "extra": {"oid": ["x"]}})
    );
}

#[test]
fn a_kind_that_is_not_described_is_not_guessed_at() {
    assert_eq!(to_json(&envelope("Pod", &[])), None);
    let strategy = field(4, &field(1, b""));
    assert!(
        to_json(&envelope("Deployment", &field(2, &strategy))).is_some(),
        "a zero field is no content"
    );
    let paused = [7 << 3, 1];
    assert_eq!(
        to_json(&envelope("Deployment", &field(2, &paused))),
        None,
        "an unknown field would be lost"
    );
    assert_eq!(to_json(b"{}"), None);
}

proptest! {
    #[test]
    fn no_body_is_a_crash(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _any = to_json(&envelope("RoleBinding", &body));
        let _any = to_json(&body);
    }
}
