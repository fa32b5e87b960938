//! Bytes to typed events, or to rejects with a reason. Pure: no clock, no input or output.
//!
//! In: [`RawEvent`]s. Out: for each exactly one [`Event`] or one [`Reject`]. Guarantee: no input makes it panic, and a
//! reject keeps the original bytes.

use serde::{Deserialize, Serialize};

use crate::consume::{Position, RawEvent};

/// One event, checked and ready to be learned.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Where it stands on the log.
    pub position: Position,
    /// User id.
    pub user: String,
    /// Item id.
    pub item: String,
    /// Explicit rating, within the configured bounds.
    pub rating: Option<f32>,
    /// How often, for implicit feedback; finite and above 0.
    pub count: Option<f32>,
    /// When it happened, in milliseconds since the epoch; the log's timestamp where the event has none.
    pub ts: i64,
    /// Business id.
    pub id: Option<String>,
}

/// Why bytes are not an event. The names are stored and shown: never rename one.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No payload.
    Empty,
    /// More bytes than `decode.max_bytes`.
    TooLarge,
    /// Not UTF-8.
    InvalidUtf8,
    /// Not JSON, or cut short.
    InvalidJson,
    /// JSON, but not an object.
    NotAnObject,
    /// A version other than 1.
    UnknownVersion,
    /// No `user` or no `item`.
    MissingField,
    /// A field of a type or value that is not allowed.
    InvalidField,
    /// A rating outside `decode.min_rating..=decode.max_rating`.
    RatingOutOfRange,
}

/// A record that is not an event, kept whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Reject {
    /// The record as it was read.
    pub raw: RawEvent,
    /// Why, for counting.
    pub reason: Reason,
    /// Why, for a person: what was found, and what is allowed.
    pub detail: String,
}
