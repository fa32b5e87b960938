//! Dead letters as they are read back: what was refused, why, and whether it has been replayed.
//!
//! Apart from [`super::Store`], whose methods hand these out, because a reason here is the name that was stored: a letter
//! that a newer version has written is still listed.

use crate::consume::Position;

/// A record that was refused, as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Where it stands on the log.
    pub position: Position,
    /// The log's timestamp, in milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// Why, by its stored name.
    pub reason: String,
    /// Why, for a person.
    pub detail: String,
    /// Record key, if it has one.
    pub key: Option<Vec<u8>>,
    /// The bytes.
    pub payload: Vec<u8>,
    /// Bytes that the payload had, where the store keeps only its beginning.
    pub payload_cut_from: Option<u64>,
    /// When it was last sent to the log again, in milliseconds since the epoch.
    pub replayed_at_ms: Option<i64>,
}

/// Which dead letters are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetterFilter {
    /// Only those of this reason, by its stored name.
    pub reason: Option<String>,
    /// Only those of this topic.
    pub topic: Option<String>,
    /// Only those that have not been replayed.
    pub not_replayed: bool,
    /// Only those whose record the log has stamped then or later, in milliseconds since the epoch.
    pub since_ms: Option<i64>,
    /// Only those stamped before, likewise.
    pub until_ms: Option<i64>,
    /// Only those before this place, in the order of topics, partitions and offsets.
    pub before: Option<Position>,
}
