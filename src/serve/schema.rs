//! `GET /schemas/event.json` and its like: the JSON Schema of each kind of record, as it stands in `data/`.

use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::IntoResponse;

use super::Problem;

/// Name in the path, and text.
pub(crate) const SCHEMAS: [(&str, &str); 3] = [
    ("event.json", include_str!("../../data/event.schema.json")),
    ("item.json", include_str!("../../data/item.schema.json")),
    ("user.json", include_str!("../../data/user.schema.json")),
];

/// JSON Schema of a kind of record
///
/// `event.json`, `item.json` or `user.json`: what is read from a topic of that kind, and what `POST /events` takes.
#[utoipa::path(
    get,
    path = "/schemas/{name}",
    tag = "events",
    params(("name" = String, Path, description = "event.json, item.json or user.json")),
    responses(
        (status = 200, body = serde_json::Value, content_type = "application/schema+json"),
        (status = "4XX", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn schema(Path(name): Path<String>) -> Result<impl IntoResponse, Problem> {
    let Some((_, text)) = SCHEMAS.iter().find(|(known, _)| *known == name) else {
        let detail = format!("there is no schema {name:?}; event.json, item.json and user.json are there");
        return Err(Problem::new(StatusCode::NOT_FOUND, "unknown_schema", detail));
    };
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("application/schema+json"))], *text))
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::config::Config;
    use crate::consume::{Position, RawEvent};
    use crate::decode::{Decoder, Reason};

    /// Each with a topic whose records it describes.
    static VALIDATORS: LazyLock<[(jsonschema::Validator, &str); 3]> = LazyLock::new(|| {
        let mut topics = ["ratings", "films", "people"].into_iter();
        SCHEMAS.map(|(_, text)| {
            let schema = serde_json::from_str(text).unwrap();
            (jsonschema::validator_for(&schema).unwrap(), topics.next().unwrap())
        })
    });

    fn decoder() -> Decoder {
        let mut config = Config::default();
        for (name, kind) in [("films", r#""items""#), ("people", r#""users""#)] {
            config.topics.insert(name.to_owned(), serde_json::from_str(kind).unwrap());
        }
        Decoder::new(&config)
    }

    fn raw(topic: &str, value: &Value) -> RawEvent {
        let position = Position { topic: topic.into(), partition: 0, offset: 0 };
        RawEvent { position, timestamp_ms: 0, key: None, payload: value.to_string().into_bytes(), trace: None }
    }

    /// Values that are allowed somewhere, and ones that never are.
    fn any_value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            prop_oneof![Just(1), Just(2), Just(-1), Just(0), Just(1 << 40), any::<i64>()].prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            (1.0..5.0).prop_map(|number: f64| json!(number)),
            (-9.0..9.0).prop_map(|number: f64| json!(number)),
            "[a-z]{0,3}".prop_map(Value::from),
            proptest::collection::vec("[a-z]{0,3}", 0..3).prop_map(Value::from),
            Just(json!(["a", 1])),
            Just(json!(vec!["g"; 101])),
            Just(json!("x".repeat(1025))),
            Just(json!({})),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { max_global_rejects: 100_000, ..ProptestConfig::with_cases(2000) })]
        #[test]
        fn what_a_schema_allows_is_decoded_and_nothing_else(
            which in 0..3_usize,
            fields in proptest::collection::btree_map(
                prop_oneof![
                    4 => Just("user"), 4 => Just("item"), 4 => Just("id"), 1 => Just("v"), 1 => Just("rating"),
                    1 => Just("count"), 1 => Just("ts"), 1 => Just("genres"), 1 => Just("year"), 1 => Just("title"),
                    1 => Just("url"), 1 => Just("age"), 1 => Just("gender"), 1 => Just("occupation"), 1 => Just("zip"),
                    1 => Just("other"),
                ],
                any_value(),
                0..6,
            ),
        ) {
            let (schema, topic) = &VALIDATORS[which];
            // An id under its other name is a courtesy that the schema does not tell of.
            let courtesy = *topic != "ratings" && (fields.contains_key("user") || fields.contains_key("item"));
            prop_assume!(!courtesy);
            let value: Value = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>().into();
            let decoded = decoder().decode(&raw(topic, &value));
            // The bounds of a rating are a setting.
            if let Err(refusal) = &decoded && refusal.reason == Reason::RatingOutOfRange {
                return Ok(());
            }
            prop_assert_eq!(schema.is_valid(&value), decoded.is_ok(), "{} {} {:?}", topic, value, decoded);
        }
    }

    #[test]
    fn every_example_of_a_schema_is_valid_and_decoded() {
        for ((schema, topic), (_, text)) in VALIDATORS.iter().zip(SCHEMAS) {
            let examples = serde_json::from_str::<Value>(text).unwrap()["examples"].as_array().unwrap().clone();
            assert!(!examples.is_empty());
            for example in examples {
                assert!(schema.is_valid(&example), "{example}");
                decoder().decode(&raw(topic, &example)).unwrap();
            }
        }
    }
}
