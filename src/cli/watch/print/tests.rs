use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn watched<'r>(key: Option<&'r [u8]>, payload: Option<&'r [u8]>) -> Watched<'r> {
    Watched { topic: "ratings", partition: 3, offset: 17, timestamp_ms: Some(1_500), key, payload }
}

fn shown<'r>(record: &'r Watched<'r>) -> Shown<'r> {
    let (schema, body) = schema_and_body(record.payload);
    Shown { record, schema, body, words: None, mean: None, alerts: &[] }
}

fn printed(format: Format, is_terminal: bool, shown: &Shown<'_>) -> String {
    let mut printer = Printer::with(format, is_terminal, PLAIN);
    printer.record(shown);
    String::from_utf8(printer.buffer).unwrap()
}

#[test]
fn a_line_has_time_place_key_and_value() {
    let record = watched(Some(b"196"), Some(b"{\"v\":1}"));
    let line = printed(Format::Text, false, &shown(&record));
    assert_eq!(line, "1970-01-01T00:00:01.500Z  ratings [3] @17       196       {\"v\":1}\n");
    let tombstone = watched(None, None);
    assert!(printed(Format::Text, false, &shown(&tombstone)).ends_with("-         (tombstone)\n"));
    let ageless = Watched { timestamp_ms: None, ..record };
    assert!(printed(Format::Text, false, &shown(&ageless)).starts_with("-                         ratings"));
}

#[test]
fn an_object_has_text_or_hex_digits() {
    let object = |shown: &Shown<'_>| -> Value { serde_json::from_str(&printed(Format::Ndjson, false, shown)).unwrap() };
    let text = watched(Some(b"k\"\n"), Some("é\u{1b}".as_bytes()));
    let place = json!({"topic": "ratings", "partition": 3, "offset": 17, "timestamp": 1_500});
    let expected = |more: Value| {
        let mut all = place.clone();
        more.as_object().unwrap().iter().for_each(|(name, value)| all[name] = value.clone());
        all
    };
    assert_eq!(object(&shown(&text)), expected(json!({"key": "k\"\n", "value": "é\u{1b}"})));
    let bytes = watched(Some(b"\xff"), Some(b"\xfe\xff"));
    assert_eq!(object(&shown(&bytes)), expected(json!({"key_hex": "ff", "value_hex": "feff"})));
    let none = watched(None, None);
    assert_eq!(object(&shown(&none)), expected(json!({"key": null, "value": null})));
    let schema = watched(None, Some(b"\0\0\0\0\x07{}"));
    let alerts = ["words > 6".to_owned()];
    let full = Shown { words: Some(7), mean: Some(Mean::Of(2.0)), alerts: &alerts, ..shown(&schema) };
    let more = json!({"key": null, "schema": 7, "value": "{}", "words": 7, "mean": 2.0, "alerts": ["words > 6"]});
    assert_eq!(object(&full), expected(more));
}

#[test]
fn a_value_is_its_bytes_in_a_pipe_and_safe_on_a_terminal() {
    let record = watched(None, Some(b"\x1b[31m\xff"));
    let mut pipe = Printer::with(Format::Value, false, PLAIN);
    pipe.record(&shown(&record));
    assert_eq!(pipe.buffer, b"\x1b[31m\xff\n");
    assert_eq!(printed(Format::Value, true, &shown(&record)), "\\u{1b}[31m\\xff\n");
    let schema = watched(None, Some(b"\0\0\0\0\x07{}"));
    assert_eq!(printed(Format::Value, false, &shown(&schema)), "\0\0\0\0\x07{}\n", "the payload as it is");
    let figures = Shown { mean: Some(Mean::Of(2.0)), ..shown(&record) };
    assert_eq!(printed(Format::Value, false, &figures), "2.0\n");
    let early = Shown { mean: Some(Mean::NotYet("1")), ..shown(&record) };
    assert_eq!(printed(Format::Value, false, &early), "1\n");
}

#[test]
fn a_huge_value_is_cut_in_a_line_and_its_size_told() {
    let huge = vec![b'x'; 2_000_000];
    let record = watched(None, Some(&huge));
    let line = printed(Format::Text, false, &shown(&record));
    assert!(line.len() < 5_000 && line.ends_with("x… (2000000 bytes)\n"), "{}", line.len());
    assert_eq!(printed(Format::Value, false, &shown(&record)).len(), huge.len() + 1);
}

#[test]
fn a_schema_id_is_told_before_the_value() {
    let record = watched(None, Some(b"\0\0\0\x01\x02{}"));
    assert!(printed(Format::Text, false, &shown(&record)).ends_with("schema 258 {}\n"));
    for payload in [&b"\0\0\0\0"[..], b"", b"text"] {
        assert_eq!(schema_and_body(Some(payload)), (None, Some(payload)));
    }
}

/// Any bytes, and text of the control characters that are no ASCII.
fn bytes_of(most: usize) -> impl Strategy<Value = Vec<u8>> {
    let controls = prop::collection::vec(prop::char::range('\u{7f}', '\u{a4}'), 0..most / 2);
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..most),
        controls.prop_map(|text| text.into_iter().collect::<String>().into_bytes()),
    ]
}

proptest! {
    #[test]
    fn whatever_the_bytes_a_terminal_gets_no_control_character(
        key in bytes_of(80),
        payload in bytes_of(200),
    ) {
        let record = watched(Some(&key), Some(&payload));
        for format in [Format::Text, Format::Ndjson, Format::Value] {
            let text = printed(format, true, &shown(&record));
            prop_assert!(text.ends_with('\n') && text.matches('\n').count() == 1, "{}", text);
            prop_assert!(!text.trim_end_matches('\n').chars().any(char::is_control), "{:?}", text);
        }
        let object: Value = serde_json::from_str(&printed(Format::Ndjson, false, &shown(&record))).unwrap();
        prop_assert_eq!(&object["offset"], 17);
    }
}
