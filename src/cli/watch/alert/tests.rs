use proptest::prelude::*;
use serde_json::json;

use super::*;

fn expression(text: &str) -> Expression {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn alert(text: &str) -> Alert {
    Alert::new(expression(text), 0)
}

fn met(text: &str, facts: &Facts<'_>) -> bool {
    alert(text).rings(&Context::default(), facts)
}

fn fields(json: Json) -> Map<String, Json> {
    let Json::Object(fields) = json else { panic!("not an object") };
    fields
}

#[test]
fn fields_and_names_are_compared_whatever_kind_of_number_they_are() {
    let fields = fields(json!({
        "rating": 1, "score": 2.5, "user": "196", "tags": ["a", "b"], "deep": {"er": 7}, "big": u64::MAX, "none": null, "on": true
    }));
    let facts = Facts {
        fields: Some(&fields),
        number: Some(Number::Whole(10)),
        text: Some("10"),
        words: Some(7),
        rate: Some(150.0),
        mean: Some(3.0),
        key: Some("k"),
        topic: "ratings",
        partition: 2,
        offset: 17,
        timestamp_ms: Some(1_000),
    };
    for (text, expected) in [
        ("words > 6", true),
        ("words > 6.5", true),
        ("words > 7", false),
        ("rating <= 1", true),
        ("rating <= 1.0", true),
        ("rating == 1.0", true),
        ("rating < 1", false),
        ("score > 2", true),
        ("score == 2.5", true),
        ("rate > 100/s", true),
        ("rate > 100", true),
        ("rate > 9001/min", false),
        ("rate > 8999/min", true),
        ("rate >= 540000 / h", true),
        ("value > 9", true),
        ("value == 10", true),
        ("mean == 3", true),
        ("user == \"196\" && rating < 2", true),
        ("user == '196'", true),
        ("user == 196", false),
        ("user == \"100/s\" || rating == 1", true),
        ("user in ['196', '7']", true),
        ("user.startsWith('19') && size(user) == 3", true),
        ("user.matches('^1.6$')", true),
        ("'b' in tags", true),
        ("tags.exists(tag, tag == 'a')", true),
        ("deep.er == 7", true),
        ("big > 9", true),
        ("none == null", true),
        ("on", true),
        ("!on", false),
        ("key == 'k' && topic == 'ratings' && partition == 2 && offset == 17 && timestamp == 1000", true),
        ("missing > 1", false),
        ("missing > 1 || rating == 1", true),
        ("user > 1", false),
        ("score", false),
    ] {
        assert_eq!(met(text, &facts), expected, "{text}");
    }
}

#[test]
fn a_field_goes_before_a_name_and_a_text_is_a_value_too() {
    let fields = fields(json!({"value": "mine", "rate": 1}));
    let facts = Facts { fields: Some(&fields), rate: Some(9.0), text: Some("{…}"), ..Facts::default() };
    assert!(met("value == 'mine' && rate == 1", &facts));
    let text = Facts { text: Some("an error occurred"), ..Facts::default() };
    assert!(met("value.contains('error')", &text));
    assert!(!met("value > 3", &text));
    assert!(!met("mean > 3", &Facts::default()), "there is none yet");
}

#[test]
fn what_is_wrong_is_pointed_at_with_an_example() {
    for (text, parts) in [
        ("rating <=", &["it ends too early\n  rating <=\n           ^"][..]),
        ("rating = 1", &["rating = 1\n         ^", "write == to compare"]),
        ("words > > 6", &["words > > 6\n          ^"]),
        ("rating <= 1 and user", &["^"]),
        ("", &["^"]),
        ("(rating", &["^"]),
        ("'open", &["^"]),
        ("words + 6", &["neither true nor false"]),
        ("words", &["neither true nor false"]),
        ("7", &["neither true nor false"]),
        ("wrods(value) > 3", &["no function wrods", "size"]),
        ("value.begins('x')", &["no function begins", "startsWith"]),
    ] {
        let error = text.parse::<Expression>().unwrap_err();
        for part in parts.iter().chain(&["words > 6"][..usize::from(!error.contains("no function"))]) {
            assert!(error.contains(part), "{text}: {part:?} is not in {error}");
        }
    }
}

#[test]
fn rates_are_numbers_but_not_in_texts_or_sums() {
    for (text, expected) in [
        ("rate > 100/s", "rate > 100.0"),
        ("rate>5/min&&x", "rate>0.08333333333333333&&x"),
        ("rate > 36 / hour", "rate > 0.01"),
        ("a == \"100/s\"", "a == \"100/s\""),
        ("a == '1\\'0/s'", "a == '1\\'0/s'"),
        ("x/s > 1", "x/s > 1"),
        ("x1/s > 1", "x1/s > 1"),
        ("10/score", "10/score"),
        ("10/s.t", "10/s.t"),
        ("10/min(3)", "10/min(3)"),
        ("0.5/s", "0.5"),
    ] {
        assert_eq!(rates(text), expected, "{text}");
    }
}

#[test]
fn what_is_met_within_the_cooldown_is_only_counted() {
    let mut alert = Alert::new(expression("value > 1"), 10_000);
    let root = Context::default();
    let mut rings = |at_ms| {
        let facts = Facts { number: Some(Number::Whole(5)), timestamp_ms: at_ms, ..Facts::default() };
        alert.rings(&root, &facts)
    };
    assert_eq!([0, 9_999, 10_000, 12_000, 30_000].map(|at_ms| rings(Some(at_ms))), [true, false, true, false, true]);
    assert!(rings(None), "without a time there is no cooldown");
    assert_eq!((alert.met, alert.told), (6, 4));
}

#[test]
fn a_field_that_no_message_has_is_told_once() {
    let mut alert = alert("ratng < 2 && user == '1'");
    let (root, fields) = (Context::default(), fields(json!({"rating": 1, "user": "1"})));
    let facts = Facts { fields: Some(&fields), ..Facts::default() };
    for _ in 0..PATIENCE - 1 {
        alert.rings(&root, &facts);
        assert_eq!(alert.doubt(Some(&fields), false), None);
    }
    alert.rings(&root, &facts);
    let told = alert.doubt(Some(&fields), false).unwrap();
    assert!(told.contains("none of 100 messages has ratng; the last one has rating, user"), "{told}");
    assert_eq!(alert.doubt(Some(&fields), true), None, "once");

    let mut seen = Alert::new(expression("rating < 0"), 0);
    seen.rings(&root, &facts);
    assert_eq!(seen.doubt(Some(&fields), true), None);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[a-z0-9/ .<>=&|!\"'()\\[\\]é\\\\]{0,24}") {
        let _ = text.parse::<Expression>();
        let _ = rates(&text);
    }

    #[test]
    fn a_number_is_compared_as_it_is(value in -1e6_f64..1e6, bound in -1000_i64..1000) {
        let facts = Facts { number: Some(Number::Real(value)), ..Facts::default() };
        prop_assert_eq!(met(&format!("value > {bound}"), &facts), value > bound as f64);
    }
}
