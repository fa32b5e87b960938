//! Says what is wrong with bytes that the typed parse has refused. Apart from it, because only rejects come here.

use serde_json::Value;
use serde_json::error::Category;

use super::{Reason, wire};
use crate::capture::interaction::EVENT_VERSION;

/// The reason and what to tell a person. `error` is what the typed parse said, `problem` knows the fields.
pub(super) fn explain(
    bytes: &[u8],
    error: &serde_json::Error,
    problem: impl FnOnce(&serde_json::Map<String, Value>) -> Option<(Reason, String)>,
) -> (Reason, String) {
    if let Err(error) = std::str::from_utf8(bytes) {
        let at = error.valid_up_to();
        return (Reason::InvalidUtf8, format!("byte {at} (0x{:02x}) is not UTF-8", bytes[at]));
    }
    match serde_json::from_slice::<Value>(bytes) {
        Err(error) if error.classify() == Category::Eof => {
            (Reason::InvalidJson, format!("the JSON is cut short at column {}", error.column()))
        }
        Err(error) => (Reason::InvalidJson, format!("not JSON: {error}")),
        Ok(Value::Object(fields)) => problem(&fields).unwrap_or_else(|| (Reason::InvalidField, error.to_string())),
        Ok(other) => (Reason::NotAnObject, format!("{}; one JSON object is allowed", kind(&other))),
    }
}

/// What is wrong with the version, if anything.
pub(super) fn version_problem(fields: &serde_json::Map<String, Value>) -> Option<(Reason, String)> {
    let v = fields.get("v").filter(|v| !v.is_null() && v.as_u64() != Some(u64::from(EVENT_VERSION)))?;
    Some((Reason::UnknownVersion, wire::unknown_version(v)))
}

/// What is wrong with the fields of an event, if it can be told.
pub(super) fn event_problem(fields: &serde_json::Map<String, Value>) -> Option<(Reason, String)> {
    let present = |name: &str| fields.get(name).filter(|value| !value.is_null());
    if let Some(unknown) = version_problem(fields) {
        return Some(unknown);
    }
    if let Some(name) = ["user", "item"].into_iter().find(|name| present(name).is_none()) {
        return Some((Reason::MissingField, format!("{name} is missing; user and item are required")));
    }
    let integer = |value: &Value| value.is_i64() || value.is_u64();
    ["user", "item", "rating", "count", "ts", "id", "genres", "year"].into_iter().find_map(|name| {
        let value = present(name)?;
        let (is_allowed, allowed) = match name {
            "user" | "item" => (value.is_string() || integer(value), "a string or an integer"),
            "rating" | "count" => (value.is_number(), "a number"),
            "ts" => (value.is_i64(), "an integer, in milliseconds since the epoch,"),
            "genres" => (is_texts(value), "an array of text"),
            "year" => (value.as_i64().is_some_and(|year| i32::try_from(year).is_ok()), "a whole number"),
            _ => (value.is_string(), "a string"),
        };
        let problem = || (Reason::InvalidField, format!("{name} is {}; {allowed} is allowed", shortened(value)));
        (!is_allowed).then(problem)
    })
}

fn is_texts(value: &Value) -> bool {
    value.as_array().is_some_and(|texts| texts.iter().all(Value::is_string))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The value as JSON, cut where it is too long for a line.
pub(super) fn shortened(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}
