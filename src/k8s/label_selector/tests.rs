//! Tests of `k8s::label_selector`.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[test]
fn accepted_selectors_print_in_one_form() {
    for (text, printed) in [
        ("", ""),
        (" \t\r\n", ""),
        ("x", "x"),
        ("!x", "!x"),
        ("! x", "!x"),
        ("x=a", "x=a"),
        ("x==a", "x=a"),
        ("x!=a", "x!=a"),
        ("x = a , y != b", "x=a,y!=b"),
        ("z=1,a=2", "a=2,z=1"),
        ("x in (a)", "x=a"),
        ("x in (b,a,b)", "x in (a,b)"),
        ("x\tnotin\n( b , a )", "x notin (a,b)"),
        ("x notin (a)", "x!=a"),
        ("x=", "x="),
        ("x= ,z= ", "x=,z="),
        ("x in ()", "x="),
        ("x in (,)", "x="),
        ("x in (a,)", "x in (,a)"),
        ("x in (,a)", "x in (,a)"),
        ("x in (a,,b)", "x in (,a,b)"),
        ("x>1,z<5", "x>1,z<5"),
        ("x>007", "x>7"),
        ("in in (in,notin)", "in in (in,notin)"),
        ("in", "in"),
        ("notin=in", "notin=in"),
        ("in in in", "error"),
        ("example.com/a-b_c.d=V-a_l.1", "example.com/a-b_c.d=V-a_l.1"),
        ("x,!x", "x,!x"),
    ] {
        let got = LabelSelector::parse(text)
            .map_or_else(|_| "error".to_owned(), |selector| selector.print());
        assert_eq!(got, printed, "{text:?}");
    }
}

const NAME_PART: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
    alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
    '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must \
    start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is \
    '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

/// The texts were printed by `labels.Parse` of apimachinery v0.37.2.
#[test]
fn refusals_are_in_the_api_servers_words() {
    for (text, wanted) in [
        (",", "found ',', expected: !, identifier, or 'end of string'".to_owned()),
        ("x,", "found '', expected: identifier after ','".to_owned()),
        ("x=a,,y", "found ',', expected: identifier after ','".to_owned()),
        ("x in (a", "unable to parse requirement: found '', expected: ',' or ')'".to_owned()),
        ("x in (", "unable to parse requirement: found '', expected: ',', ')' or identifier".to_owned()),
        ("x in a", "unable to parse requirement: found 'a' expected: '('".to_owned()),
        ("x in (a=b)", "unable to parse requirement: found '=', expected: ',' or ')'".to_owned()),
        ("x in (a,=)", "unable to parse requirement: found '=', expected: ',', or identifier".to_owned()),
        ("x==a==b", "found '==', expected: ',' or 'end of string'".to_owned()),
        ("x===a", "unable to parse requirement: found '=', expected: identifier".to_owned()),
        ("!x=a", "found '=', expected: ',' or 'end of string'".to_owned()),
        ("!!x", "unable to parse requirement: found '!', expected: identifier".to_owned()),
        ("x y", "unable to parse requirement: found 'y', expected: in, notin, =, ==, !=, gt, lt".to_owned()),
        ("x(", "unable to parse requirement: found '(', expected: in, notin, =, ==, !=, gt, lt".to_owned()),
        ("-x=a", format!("unable to parse requirement: <nil>: Invalid value: \"-x\": {NAME_PART}")),
        ("x=a||y=b", format!("unable to parse requirement: values[0][x]: Invalid value: \"a||y\": {VALUE}")),
        ("x in (_,b,-)", format!(
            "unable to parse requirement: [values[0][x]: Invalid value: \"-\": {VALUE}, values[1][x]: Invalid value: \"_\": {VALUE}]"
        )),
        ("x<a", "unable to parse requirement: values[0]: Invalid value: \"a\": for 'Gt', 'Lt' operators, the value must be an integer".to_owned()),
        ("x>-1", format!("unable to parse requirement: values[0][x]: Invalid value: \"-1\": {VALUE}")),
        ("/x", "unable to parse requirement: <nil>: Invalid value: \"/x\": prefix part must be non-empty".to_owned()),
        ("a/", format!("unable to parse requirement: <nil>: Invalid value: \"a/\": name part must be non-empty; {NAME_PART}")),
    ] {
        assert_eq!(LabelSelector::parse(text), Err(BadSelector(wanted)), "{text:?}");
    }
}

#[test]
fn lengths_are_those_of_labels() {
    let long = "a".repeat(64);
    assert!(LabelSelector::parse(&format!("x={}", "a".repeat(63))).is_ok());
    let wrong = LabelSelector::parse(&format!("x={long}")).unwrap_err().0;
    assert!(wrong.ends_with("must be no more than 63 bytes"), "{wrong}");
    let wrong = LabelSelector::parse(&format!("{long}=x")).unwrap_err().0;
    assert!(
        wrong.ends_with("name part must be no more than 63 bytes"),
        "{wrong}"
    );
    assert!(LabelSelector::parse(&format!("{}/x", ["a"; 127].join("."))).is_ok());
    assert!(LabelSelector::parse(&format!("{}/x", ["a"; 128].join("."))).is_err());
}

/// The API server's lexer stops at a NUL: `a=b \0,c=d` is `a=b` to it. Nobody may rely on what follows.
#[test]
fn a_nul_is_refused_rather_than_the_end() {
    assert!(LabelSelector::parse("a=b \0,c=d").is_err());
}

/// Wire notes say that `in ()` is no selector. It is one: it selects objects whose label is empty.
#[test]
fn no_value_at_all_selects_nothing() {
    let nothing = LabelSelector::one_of("k", []);
    assert_eq!(nothing.print(), "k,!k");
    for value in [None, Some(""), Some("a")] {
        assert!(!nothing.matches(|_| value));
    }
    // No label can have such a value; asking for it would be a 400.
    assert_eq!(LabelSelector::one_of("k", ["not a label"]).print(), "k,!k");
    assert_eq!(
        LabelSelector::one_of("k", ["b", "a", "b", "-"]).print(),
        "k in (a,b)"
    );
}

fn key() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec!["a", "b", "in", "example.com/c"])
}

fn value() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec!["", "a", "b", "in", "1", "2", "03"])
}

prop_compose! {
    fn labels()(labels in proptest::collection::btree_map(key(), value(), 0..4)) -> BTreeMap<&'static str, &'static str> {
        labels
    }
}

fn selector() -> impl Strategy<Value = LabelSelector> {
    let one = (
        key(),
        proptest::collection::vec(value(), 1..4),
        -2_i64..4,
        0..6_u8,
    )
        .prop_map(|(key, values, bound, kind)| {
            let mut values: Vec<_> = values.into_iter().map(str::to_owned).collect();
            values.sort();
            values.dedup();
            let test = match kind {
                0 => Test::In(values),
                1 => Test::NotIn(values),
                2 => Test::Exists,
                3 => Test::Absent,
                4 => Test::Greater(bound.abs()),
                _ => Test::Less(bound.abs()),
            };
            Requirement {
                key: key.to_owned(),
                test,
            }
        });
    proptest::collection::vec(one, 0..4).prop_map(LabelSelector::of)
}

fn matches(selector: &LabelSelector, labels: &BTreeMap<&'static str, &'static str>) -> bool {
    selector.matches(|key| labels.get(key).copied())
}

proptest! {
    #[test]
    fn what_is_printed_parses_to_itself(selector in selector()) {
        prop_assert_eq!(LabelSelector::parse(&selector.print()), Ok(selector));
    }

    #[test]
    fn what_is_accepted_prints_to_something_that_parses_the_same(text in "[a1/.=!(),<> in]{0,16}") {
        if let Ok(selector) = LabelSelector::parse(&text) {
            prop_assert_eq!(LabelSelector::parse(&selector.print()), Ok(selector));
        }
    }

    #[test]
    fn any_text_is_answered(text in ".*") {
        let _ = LabelSelector::parse(&text);
    }

    #[test]
    fn and_matches_exactly_what_both_match(a in selector(), b in selector(), labels in labels()) {
        let both = a.and(&b);
        prop_assert_eq!(matches(&both, &labels), matches(&a, &labels) && matches(&b, &labels));
        prop_assert_eq!(LabelSelector::parse(&both.print()), Ok(both));
    }
}

#[test]
fn either_of_two_is_one_selector_only_where_it_says_exactly_that() {
    for (one, other, expected) in [
        ("a=1", "a=2", Some("a in (1,2)")),
        ("a=1,z=9", "a=2,z=9", Some("a in (1,2),z=9")),
        ("a in (1,2)", "a in (2,3)", Some("a in (1,2,3)")),
        ("a=1", "a=1", Some("a=1")),
        ("a=1,b=2", "a=1", Some("a=1")),
        ("", "a=1", Some("")),
        ("a=1", "b=1", None),
        ("a=1,b=1", "a=2,b=2", None),
        ("a=1", "a!=1", None),
        ("a!=1", "a!=2", None),
        ("a", "!a", None),
        ("a=1,b=1", "a=2", None),
    ] {
        let (one, other) = (
            LabelSelector::parse(one).unwrap(),
            LabelSelector::parse(other).unwrap(),
        );
        let expected = expected.map(str::to_owned);
        assert_eq!(
            one.or(&other).map(|or| or.print()),
            expected,
            "{one:?} or {other:?}"
        );
        assert_eq!(
            other.or(&one).map(|or| or.print()),
            expected,
            "{other:?} or {one:?}"
        );
    }
}
