//! The event's JSON as types: what a parse without surprises takes, in one pass and without copying ids.

use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;

use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

use super::{MAX_GENRES, MAX_ID_BYTES, Reason};
use crate::capture::interaction::EVENT_VERSION;
use crate::config::DecodeConfig;

/// Times that every reader of the stored events can show: Python's datetime, for one, ends with the year 9999.
const YEARS_1_TO_9999_MS: RangeInclusive<i64> = -62_135_596_800_000..=253_402_300_799_999;

#[derive(Deserialize)]
pub(super) struct Wire<'a> {
    pub(super) v: Option<u32>,
    #[serde(borrow, deserialize_with = "id")]
    pub(super) user: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "id")]
    pub(super) item: Cow<'a, str>,
    pub(super) rating: Option<f32>,
    pub(super) count: Option<f32>,
    pub(super) ts: Option<i64>,
    pub(super) id: Option<String>,
    pub(super) genres: Option<Vec<String>>,
    pub(super) year: Option<i32>,
}

impl Wire<'_> {
    /// What is wrong with the values, if anything.
    pub(super) fn problem(&self, config: &DecodeConfig) -> Option<(Reason, String)> {
        if let Some(v) = self.v.filter(|&v| v != EVENT_VERSION) {
            return Some((Reason::UnknownVersion, unknown_version(&v)));
        }
        for (name, id) in [("user", &self.user), ("item", &self.item)] {
            if let Some(problem) = id_problem(name, id) {
                return Some(problem);
            }
        }
        if let Some(id) = self.id.as_ref().filter(|id| id.len() > MAX_ID_BYTES) {
            let detail = format!("id has {} bytes; at most {MAX_ID_BYTES} are allowed", id.len());
            return Some((Reason::InvalidField, detail));
        }
        let (low, high) = (config.min_rating, config.max_rating);
        if let Some(rating) = self.rating.filter(|rating| !(low..=high).contains(rating)) {
            return Some((Reason::RatingOutOfRange, format!("rating is {rating}; {low} to {high} is allowed")));
        }
        if let Some(count) = self.count.filter(|count| !(count.is_finite() && *count > 0.0)) {
            return Some((Reason::InvalidField, format!("count is {count}; a finite number above 0 is allowed")));
        }
        if let Some(genres) = self.genres.as_ref().filter(|genres| genres.len() > MAX_GENRES) {
            let detail = format!("genres has {} entries; at most {MAX_GENRES} are allowed", genres.len());
            return Some((Reason::InvalidField, detail));
        }
        if let Some(ts) = self.ts.filter(|ts| !YEARS_1_TO_9999_MS.contains(ts)) {
            let detail = format!("ts is {ts}; milliseconds since the epoch in the years 1 to 9999 are allowed");
            return Some((Reason::InvalidField, detail));
        }
        None
    }
}

/// What to say of a version that is not read.
pub(super) fn unknown_version(v: &impl fmt::Display) -> String {
    format!("v is {v}; version {EVENT_VERSION} is read")
}

/// What is wrong with an id, if anything.
pub(super) fn id_problem(name: &str, id: &str) -> Option<(Reason, String)> {
    let problem = match id.len() {
        1..=MAX_ID_BYTES => return None,
        0 => "is empty".to_owned(),
        bytes => format!("has {bytes} bytes"),
    };
    Some((Reason::InvalidField, format!("{name} {problem}; an id has 1 to {MAX_ID_BYTES} bytes")))
}

/// As [`id`], for what does not borrow.
pub(super) fn owned_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    id(deserializer).map(Cow::into_owned)
}

/// A string, or an integer that becomes one.
fn id<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Cow<'a, str>, D::Error> {
    struct Id;

    impl<'de> Visitor<'de> for Id {
        type Value = Cow<'de, str>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string or an integer")
        }

        fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
            Ok(Cow::Borrowed(text))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            Ok(Cow::Owned(text.to_owned()))
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
            Ok(Cow::Owned(number.to_string()))
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
            Ok(Cow::Owned(number.to_string()))
        }
    }

    deserializer.deserialize_any(Id)
}
