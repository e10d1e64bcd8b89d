//! Tests of `wire::json`.

use proptest::prelude::*;

use super::*;

/// All tokens of `document`, fed in chunks of `size` bytes, as a line of words.
fn tokens(document: &[u8], size: usize, look: usize) -> Result<String, Broken> {
    let mut scanner = Scanner::new();
    scanner.look(look);
    let mut words = Vec::new();
    let mut echoed = Vec::new();
    for mut chunk in document.chunks(size) {
        loop {
            let step = scanner.step(&mut chunk)?;
            echoed.extend_from_slice(step.bytes);
            let Some(token) = step.token else { break };
            words.push(match token {
                Token::BeginObject => "{".to_owned(),
                Token::EndObject => "}".to_owned(),
                Token::BeginArray => "[".to_owned(),
                Token::EndArray => "]".to_owned(),
                Token::Comma => ",".to_owned(),
                Token::Key => format!("{}:", scanner.text().unwrap_or("?")),
                Token::String => format!("'{}'", scanner.text().unwrap_or("?")),
                Token::Null => "null".to_owned(),
                Token::Scalar => "scalar".to_owned(),
            });
        }
    }
    assert_eq!(
        echoed, document,
        "every byte is given back, once and in order"
    );
    if scanner.is_done() {
        Ok(words.join(" "))
    } else {
        Err(Broken::Short)
    }
}

#[test]
fn tokens_are_the_same_however_the_document_is_cut() {
    let document = br#" {"a" : [1, -2.5e+3,true ,null,"x\n\"y"],
        "\u006eame":{"deep":{"er":[]}}, "":false } "#;
    let all = "{ a: [ scalar , scalar , scalar , null , 'x\n\"y' ] , name: { deep: { er: [ ] } } , : scalar }";
    let outer = "{ a: [ ] , name: { } , : scalar }";
    for size in 1..=document.len() {
        assert_eq!(
            tokens(document, size, 99).as_deref(),
            Ok(all),
            "chunks of {size}"
        );
        assert_eq!(
            tokens(document, size, 1).as_deref(),
            Ok(outer),
            "chunks of {size}"
        );
    }
}

#[test]
fn names_compare_after_unescaping() {
    for (raw, text) in [
        (r"\u006eame", "name"),
        (r"n\u0061me", "name"),
        (r"\u006E\u0061\u006D\u0065", "name"),
        (r"a\/b", "a/b"),
        (r"\ud83d\ude00", "😀"),
        // Half a pair is U+FFFD, as Go's decoder has it.
        (r"\ud83d", "\u{fffd}"),
        (r"\ud83dx", "\u{fffd}x"),
        (r"\ude00\ud83d", "\u{fffd}\u{fffd}"),
        (r"\ud83d\ud83d\ude00", "\u{fffd}😀"),
    ] {
        let document = format!(r#"{{"{raw}":0}}"#);
        for size in [1, 2, 99] {
            let expected = format!("{{ {text}: scalar }}");
            assert_eq!(tokens(document.as_bytes(), size, 1), Ok(expected), "{raw}");
        }
    }
}

#[test]
fn broken_json_is_an_error_wherever_it_is_cut_and_however_deep_it_lies() {
    for document in [
        "",
        "{",
        "[]",
        "null",
        "\"\"",
        "1",
        "{}{}",
        "{} x",
        "{}}",
        "{]",
        r#"{"a"}"#,
        r#"{"a":}"#,
        r#"{"a":1,}"#,
        r#"{,"a":1}"#,
        r#"{"a":1 "b":2}"#,
        r#"{"a":1,,"b":2}"#,
        r#"{"a":[1,]}"#,
        r#"{"a":[,1]}"#,
        r#"{"a":[1}"#,
        r#"{"a":{"b":1]}"#,
        r#"{a:1}"#,
        r#"{'a':1}"#,
        r#"{"a":01}"#,
        r#"{"a":-}"#,
        r#"{"a":1.}"#,
        r#"{"a":.5}"#,
        r#"{"a":1e}"#,
        r#"{"a":1e+}"#,
        r#"{"a":+1}"#,
        r#"{"a":tru}"#,
        r#"{"a":truex}"#,
        r#"{"a":nul}"#,
        r#"{"a":NaN}"#,
        r#"{"a":"\x"}"#,
        r#"{"a":"\u12g4"}"#,
        r#"{"a":"\u12"}"#,
        "{\"a\":\"\n\"}",
        "{\"a\":\"\t\"}",
        "{\"a\0\":1}",
        r#"{"a":"b}"#,
        r#"{"a":1/**/}"#,
        "\u{feff}{}",
        r#"{1:2}"#,
        r#"{"a":1:2}"#,
        r#"{"a" "b"}"#,
    ] {
        let deeper = format!(r#"{{"x":{{"y":[{document}]}}}}"#);
        for size in [1, 2, 3, 999] {
            for look in [0, 1, 9] {
                assert!(
                    tokens(document.as_bytes(), size, look).is_err(),
                    "{document}"
                );
                // These are fine as values; only the root must be an object.
                if !matches!(document, "" | "[]" | "null" | "\"\"" | "1") {
                    assert!(tokens(deeper.as_bytes(), size, look).is_err(), "{deeper}");
                }
            }
        }
    }
}

#[test]
fn nesting_is_bounded_at_what_the_api_server_takes() {
    let nested = |levels: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
    assert!(tokens(nested(10_000).as_bytes(), 4096, 1).is_ok());
    assert!(matches!(
        tokens(nested(MAX_DEPTH).as_bytes(), 4096, 1),
        Err(Broken::TooLarge { .. })
    ));
}

#[test]
fn a_text_too_long_for_a_name_is_no_text() {
    let long = "x".repeat(5000);
    let document = format!(r#"{{"a":"{long}","b":"short"}}"#);
    for size in [1, 7, 9999] {
        assert_eq!(
            tokens(document.as_bytes(), size, 1).as_deref(),
            Ok("{ a: '?' , b: 'short' }")
        );
    }
}

fn value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        ".{0,20}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
            prop::collection::hash_map(".{0,6}", inner, 0..5)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_serde_writes_is_read(value in value(), size in 1_usize..40, pretty: bool) {
        let document = serde_json::json!({ "value": value });
        let bytes = if pretty { serde_json::to_vec_pretty(&document) } else { serde_json::to_vec(&document) };
        prop_assert!(tokens(&bytes.unwrap(), size, 1).is_ok());
    }

    /// One byte changed: we accept no more than serde does, except bytes in strings that are no UTF-8, which Go takes.
    #[test]
    fn nothing_is_accepted_that_is_not_json(value in value(), at: prop::sample::Index, byte in 0_u8..0x80) {
        let mut bytes = serde_json::to_vec(&serde_json::json!({ "value": value })).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let ours = tokens(&bytes, 7, 1).is_ok();
        match serde_json::from_slice::<&serde_json::value::RawValue>(&bytes) {
            Ok(raw) => prop_assert_eq!(ours, raw.get().trim_start().starts_with('{'), "{}", raw),
            // A half surrogate pair and broken UTF-8 are errors to serde only.
            Err(error) if ours => prop_assert!(
                std::str::from_utf8(&bytes).is_err() || error.to_string().contains("surrogate")
                    || error.to_string().contains("hex escape"),
                "{error}"
            ),
            Err(_) => {}
        }
    }
}
