//! Tests of `demo::selector`.

use serde_json::json;

use super::*;

#[test]
fn labels_are_matched_as_the_api_server_matches_them() {
    let object = json!({"metadata": {"labels": {"app": "web", "tier": "", "size": "7"}}});
    for (selector, matches) in [
        ("", true),
        ("app", true),
        ("!app", false),
        ("!none", true),
        ("app=web", true),
        (" app == web , tier", true),
        ("app!=web", false),
        ("none!=web", true),
        ("app in (api, web)", true),
        ("app notin (api,web)", false),
        ("none notin (api)", true),
        ("tier=", true),
        ("tier in (,x)", true),
        ("tier in ()", true),
        ("app in ()", false),
        ("app in (x,,web)", true),
        ("size>6,size<8", true),
        ("app>6", false),
        ("app,!app", false),
    ] {
        assert_eq!(
            Labels::parse(selector).unwrap().matches(&object),
            matches,
            "{selector:?}"
        );
    }
}

#[test]
fn what_is_no_label_selector_is_refused() {
    for selector in [
        "app in web",
        "app in (",
        "app=a b",
        ",",
        "app,",
        "(",
        "a/b/c",
        "app=-x",
        "app>x",
        "!",
    ] {
        assert!(Labels::parse(selector).is_err(), "{selector:?}");
    }
}

#[test]
fn fields_are_matched_with_their_escapes() {
    let object = json!({"metadata": {"name": "a,b=c"}, "status": {"phase": "Active"}});
    for (selector, matches) in [
        ("", true),
        (r"metadata.name=a\,b\=c", true),
        ("metadata.name!=x,status.phase==Active", true),
        ("status.phase!=Active", false),
    ] {
        assert_eq!(
            Fields::parse(selector).unwrap().matches(&object),
            matches,
            "{selector:?}"
        );
    }
    assert_eq!(
        Fields::parse("a!=b,metadata.name=c")
            .unwrap()
            .exact("metadata.name"),
        Some("c")
    );
    for selector in ["x", r"a=\x", "a=b=c"] {
        assert!(Fields::parse(selector).is_err(), "{selector:?}");
    }
}
