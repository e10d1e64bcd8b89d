//! Tests of `k8s::list_options`.

use proptest::prelude::*;

use super::*;

fn parse(query: &str) -> Result<ListOptions, String> {
    ListOptions::parse(&Query::parse(query).unwrap()).map_err(|status| status.message)
}

fn print(options: &ListOptions) -> String {
    let mut target = String::new();
    options.print(&mut target);
    target
}

#[test]
fn parameters_are_read_as_the_api_server_reads_them() {
    for (query, printed) in [
        ("", ""),
        ("watch", "watch=true"),
        ("watch=", "watch=true"),
        ("watch=no", "watch=true"),
        ("watch=False", ""),
        ("watch=FALSE", ""),
        ("watch=0", ""),
        ("watch=00", "watch=true"),
        ("watch=false&watch=true", ""),
        ("watch=true&watch=false", "watch=true"),
        ("sendInitialEvents=false", "sendInitialEvents=false"),
        ("sendInitialEvents=", "sendInitialEvents=true"),
        ("allowWatchBookmarks=1", "allowWatchBookmarks=true"),
        ("labelSelector=", ""),
        ("labelSelector=&labelSelector=a", ""),
        ("labelSelector=b&labelSelector=a", "labelSelector=b"),
        (
            "labelSelector=x+in+(b,a)",
            "labelSelector=x%20in%20%28a%2Cb%29",
        ),
        (
            "fieldSelector=metadata.name%3Da",
            "fieldSelector=metadata.name%3Da",
        ),
        ("resourceVersion=", ""),
        ("limit=0", ""),
        ("limit=007", "limit=7"),
        ("limit=%2B7", "limit=7"),
        ("limit=-1", "limit=-1"),
        ("timeoutSeconds=0", "timeoutSeconds=0"),
        ("continue=", ""),
        ("Watch=1&LABELSELECTOR=a&shardSelector=x&foo=bar", ""),
        (
            "timeout=3s&pretty=1&includeObject=None&continue=c&limit=5&timeoutSeconds=9&resourceVersionMatch=Exact&resourceVersion=7",
            "resourceVersion=7&resourceVersionMatch=Exact&timeoutSeconds=9&limit=5&continue=c&includeObject=None&pretty=1&timeout=3s",
        ),
    ] {
        assert_eq!(
            parse(query).map(|options| print(&options)).as_deref(),
            Ok(printed),
            "{query}"
        );
    }
}

#[test]
fn refusals_are_in_the_api_servers_words() {
    for (query, wanted) in [
        ("limit=", "strconv.ParseInt: parsing \"\": invalid syntax"),
        (
            "limit=a%22",
            "strconv.ParseInt: parsing \"a\\\"\": invalid syntax",
        ),
        (
            "limit=1_000",
            "strconv.ParseInt: parsing \"1_000\": invalid syntax",
        ),
        (
            "timeoutSeconds=9223372036854775808",
            "strconv.ParseInt: parsing \"9223372036854775808\": value out of range",
        ),
        (
            "labelSelector=a%3D,&limit=x",
            "strconv.ParseInt: parsing \"x\": invalid syntax",
        ),
        (
            "labelSelector=(",
            "found '(', expected: !, identifier, or 'end of string'",
        ),
        (
            "fieldSelector=a",
            "invalid selector: 'a'; can't understand 'a'",
        ),
    ] {
        assert_eq!(parse(query), Err(wanted.to_owned()), "{query}");
    }
}

#[test]
fn machines_ask_for_bookmarks_or_initial_events() {
    for (query, machine) in [
        ("watch=1", false),
        ("watch=1&resourceVersion=5&timeoutSeconds=300", false),
        ("watch=1&allowWatchBookmarks=true", true),
        ("watch=1&sendInitialEvents=false", true),
    ] {
        assert_eq!(parse(query).unwrap().from_machine(), machine, "{query}");
    }
}

#[test]
fn a_watch_begins_with_the_state_or_with_changes() {
    let (at, now) = (Beginning::After("7"), Beginning::Now);
    for (query, expected) in [
        ("", Beginning::State),
        ("resourceVersion=0", Beginning::State),
        ("resourceVersion=7", at),
        ("resourceVersion=7&sendInitialEvents=true", Beginning::State),
        ("resourceVersion=7&sendInitialEvents=false", at),
        ("resourceVersion=0&sendInitialEvents=false", now),
        ("sendInitialEvents=false", now),
    ] {
        let query = format!("watch=1&resourceVersionMatch=NotOlderThan&{query}");
        let options = parse(&query).unwrap();
        assert_eq!(options.begins(), expected, "{query}");
    }
}

#[test]
fn native_tokens_tell_their_resource_version_and_others_do_not() {
    let token = |json: &str| ContinueToken::parse(&URL_SAFE_NO_PAD.encode(json));
    let native = token(r#"{"v":"meta.k8s.io/v1","rv":152,"start":"oil-dev/web\u0000"}"#);
    assert_eq!(
        native,
        Some(ContinueToken {
            resource_version: 152,
            start: "oil-dev/web\0".to_owned()
        })
    );
    assert_eq!(
        token(r#"{"v":"meta.k8s.io/v1","rv":-1,"start":"a"}"#).map(|token| token.resource_version),
        Some(-1)
    );
    for json in [
        "",
        "null",
        r#"{"v":"meta.k8s.io/v2","rv":1,"start":"a"}"#,
        r#"{"v":"meta.k8s.io/v1","rv":0,"start":"a"}"#,
        r#"{"v":"meta.k8s.io/v1","start":"a"}"#,
        r#"{"v":"meta.k8s.io/v1","rv":"1","start":"a"}"#,
    ] {
        assert_eq!(token(json), None, "{json}");
    }
    assert_eq!(ContinueToken::parse("eyJ2Ijo="), None, "padded");
}

proptest! {
    #[test]
    fn what_is_printed_parses_to_itself(
        watch: bool,
        allow_watch_bookmarks: bool,
        send_initial_events: Option<bool>,
        resource_version in proptest::option::of(".{1,8}"),
        continue_token in proptest::option::of(".{1,8}"),
        timeout_seconds: Option<i64>,
        limit in proptest::option::of(1_i64..),
        value in "[a-z]{0,3}",
    ) {
        let options = ListOptions {
            label_selector: LabelSelector::one_of("k", [value.as_str()]),
            field_selector: FieldSelector::equal("f", &value),
            watch,
            allow_watch_bookmarks,
            resource_version,
            timeout_seconds,
            limit,
            continue_token,
            send_initial_events,
            include_object: Some("None".to_owned()),
            ..ListOptions::default()
        };
        prop_assert_eq!(parse(&print(&options)), Ok(options));
    }
}

#[test]
fn a_list_is_pinned_by_exact_or_by_a_limit_without_a_match() {
    for (query, version) in [
        ("resourceVersion=7&resourceVersionMatch=Exact", Some("7")),
        ("resourceVersion=7&limit=5", Some("7")),
        ("resourceVersion=0&limit=5", None),
        ("resourceVersion=7", None),
        (
            "resourceVersion=7&resourceVersionMatch=NotOlderThan&limit=5",
            None,
        ),
        ("limit=5", None),
    ] {
        let options = ListOptions::parse(&Query::parse(query).unwrap()).unwrap();
        assert_eq!(options.exactly(), version, "{query}");
    }
}
