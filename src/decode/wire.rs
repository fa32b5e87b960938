//! Whether the values of an event are within their bounds.

use std::fmt;
use std::ops::RangeInclusive;

use super::{MAX_GENRES, MAX_ID_BYTES, Reason};
use crate::capture::interaction::{EVENT_VERSION, Wire};
use crate::config::DecodeConfig;

/// Times that every reader of the stored events can show: Python's datetime, for one, ends with the year 9999.
const YEARS_1_TO_9999_MS: RangeInclusive<i64> = -62_135_596_800_000..=253_402_300_799_999;

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
