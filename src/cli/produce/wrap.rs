//! A message as a record for the log, or why it is none.

use serde_json::{Map, Value};

use crate::capture::producer::Record;
use crate::decode::{Decoder, Refusal};
use crate::telemetry::trace::TraceParent;

/// What messages are, and which key they get.
#[derive(Clone, Debug)]
pub(super) struct Wrap {
    /// Any bytes, not checked.
    pub(super) raw: bool,
    /// The key of all of them.
    pub(super) key: Option<Vec<u8>>,
    /// The field with the key.
    pub(super) key_field: Option<String>,
    pub(super) topic: String,
    pub(super) decoder: Decoder,
    /// The trace that all of them are produced in.
    pub(super) trace: Option<TraceParent>,
}

impl Wrap {
    /// The record of a message.
    ///
    /// # Errors
    /// Why it is refused, and what is allowed.
    pub(super) fn record(&self, message: Vec<u8>) -> Result<Record, String> {
        let payload = if self.raw { message } else { message.trim_ascii().to_vec() };
        let user = if self.raw { None } else { Some(self.user(&payload)?) };
        let key = match (&self.key, &self.key_field) {
            (Some(key), _) => key.clone(),
            (None, Some(name)) => key_of(&payload, name)?,
            (None, None) => user.unwrap_or_default(),
        };
        Ok(Record { key, payload, timestamp_ms: None, trace: self.trace })
    }

    fn user(&self, event: &[u8]) -> Result<Vec<u8>, String> {
        let told = |Refusal { reason, detail }| format!("{detail} ({reason})");
        self.decoder.key_of(&self.topic, event).map(String::into_bytes).map_err(told)
    }
}

fn key_of(payload: &[u8], name: &str) -> Result<Vec<u8>, String> {
    let object: Map<String, Value> = serde_json::from_slice(payload)
        .map_err(|error| format!("not a JSON object, so that it has no field {name:?} for the key: {error}"))?;
    match object.get(name) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text.clone().into_bytes()),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(value.to_string().into_bytes()),
        None | Some(Value::Null) => {
            let names: Vec<_> = object.keys().map(String::as_str).take(20).collect();
            Err(format!("the field {name:?} for the key is missing; it has {}", names.join(", ")))
        }
        Some(_) => {
            Err(format!("the field {name:?} is no key; text that is not empty, a number or a boolean is allowed"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn wrap(raw: bool, key: Option<&str>, key_field: Option<&str>) -> Wrap {
        let key = key.map(|key| key.as_bytes().to_vec());
        let mut config = Config::default();
        config.topics.insert("films".to_owned(), serde_json::from_str(r#""items""#).unwrap());
        let (topic, key_field) = ("ratings".to_owned(), key_field.map(str::to_owned));
        Wrap { raw, key, key_field, topic, decoder: Decoder::new(&config), trace: None }
    }

    fn keyed(wrap: &Wrap, message: &str) -> Result<(String, String), String> {
        let Record { key, payload, .. } = wrap.record(message.into())?;
        Ok((String::from_utf8(key).unwrap(), String::from_utf8(payload).unwrap()))
    }

    #[test]
    fn an_event_has_the_key_of_its_user_and_a_raw_message_has_none() {
        let event = r#"{"user":196,"item":"242","page":7}"#;
        let sent = |key: &str| Ok((key.to_owned(), event.to_owned()));
        assert_eq!(keyed(&wrap(false, None, None), &format!(" {event}\t")), sent("196"));
        assert_eq!(keyed(&wrap(true, None, None), event), sent(""));
        assert_eq!(keyed(&wrap(false, Some("k"), None), event), sent("k"));
        assert_eq!(keyed(&wrap(false, None, Some("page")), event), sent("7"));
        assert_eq!(keyed(&wrap(true, None, Some("item")), event), sent("242"));
        assert_eq!(keyed(&wrap(true, None, None), " \t"), Ok((String::new(), " \t".to_owned())));
        assert_eq!(wrap(true, None, None).record(vec![0xff]).unwrap().payload, [0xff]);
    }

    #[test]
    fn what_a_topic_holds_is_what_is_checked() {
        let films = Wrap { topic: "films".to_owned(), ..wrap(false, None, None) };
        let item = r#"{"id":50,"title":"Star Wars"}"#;
        assert_eq!(keyed(&films, item), Ok(("50".to_owned(), item.to_owned())));
        assert!(keyed(&films, r#"{"user":"1","rating":4}"#).unwrap_err().contains("id is missing; it is the item"));
    }

    #[test]
    fn what_is_refused_is_told_with_what_is_allowed() {
        let event = wrap(false, None, None);
        for (wrap, message, parts) in [
            (&event, "hello", ["not JSON", "(invalid_json)"]),
            (&event, r#"{"user":"1","item":"2","rating":9}"#, ["1 to 5 is allowed", "(rating_out_of_range)"]),
            (&event, "", ["one JSON object", "(empty)"]),
            (&wrap(true, None, Some("id")), "17", ["not a JSON object", "\"id\""]),
            (&wrap(true, None, Some("id")), r#"{"user":1,"a":2}"#, ["\"id\" for the key is missing", "it has user, a"]),
            (&wrap(true, None, Some("id")), r#"{"id":""}"#, ["is no key", "not empty"]),
            (&wrap(true, None, Some("id")), r#"{"id":[1]}"#, ["is no key", "a number"]),
        ] {
            let error = keyed(wrap, message).unwrap_err();
            assert!(parts.iter().all(|part| error.contains(part)), "{message}: {error}");
        }
        assert!(event.record(vec![0xff]).unwrap_err().contains("(invalid_utf8)"));
    }
}
