//! Tests of `demo::patch`.

use serde_json::json;

use super::*;

#[test]
fn each_style_changes_what_it_says() {
    let before = json!({
        "metadata": {"labels": {"a": "1", "b/c": "2"}, "ownerReferences": [{"uid": "u1", "name": "x"}]},
        "list": [1, 2],
    });
    let labels = |labels: Value| json!({"metadata": {"labels": labels, "ownerReferences": [{"uid": "u1", "name": "x"}]}, "list": [1, 2]});
    for (style, patch, after) in [
        (
            Style::Merge,
            json!({"metadata": {"labels": {"a": null, "d": "4"}}}),
            labels(json!({"b/c": "2", "d": "4"})),
        ),
        (
            Style::Json,
            json!([
                {"op": "test", "path": "/metadata/labels/a", "value": "1"},
                {"op": "remove", "path": "/metadata/labels/a"},
                {"op": "replace", "path": "/metadata/labels/b~1c", "value": "3"},
                {"op": "add", "path": "/metadata/labels/e~1f", "value": "5"},
            ]),
            labels(json!({"b/c": "3", "e/f": "5"})),
        ),
        (
            Style::Strategic,
            json!({"metadata": {"labels": {"a": null}, "ownerReferences": [{"uid": "u2"}, {"uid": "u1", "name": "y"}]}, "list": [3]}),
            json!({"metadata": {"labels": {"b/c": "2"}, "ownerReferences": [{"uid": "u1", "name": "y"}, {"uid": "u2"}]}, "list": [3]}),
        ),
        (
            Style::Strategic,
            json!({"metadata": {"$setElementOrder/ownerReferences": [], "ownerReferences": [{"uid": "u1", "$patch": "delete"}]}}),
            json!({"metadata": {"labels": {"a": "1", "b/c": "2"}, "ownerReferences": []}, "list": [1, 2]}),
        ),
    ] {
        assert_eq!(
            apply(style, before.clone(), &patch),
            Ok(after),
            "{style:?} {patch}"
        );
    }
}

#[test]
fn a_json_patch_that_does_not_fit_is_an_error() {
    for operation in [
        json!({"op": "test", "path": "/a", "value": 2}),
        json!({"op": "remove", "path": "/none"}),
        json!({"op": "add", "path": "/none/x", "value": 1}),
        json!({"op": "add", "path": "/list/9", "value": 1}),
        json!({"op": "dance", "path": "/a"}),
    ] {
        assert!(
            apply(
                Style::Json,
                json!({"a": 1, "list": []}),
                &json!([operation])
            )
            .is_err(),
            "{operation}"
        );
    }
}
