//! Positions on the log as types: where reading stands, and how far one batch moved it.
//!
//! Apart from the consumers, because the gatherer builds deltas, the store keeps offsets and the engine checks that the
//! two fit: a delta that leaves a gap or goes back is an error, not a silent loss.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Position;

/// The next offset to read, for each partition that has been read.
///
/// Serialized as a list of `{topic, partition, next}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<PartitionOffset>", into = "Vec<PartitionOffset>")]
pub struct Offsets(BTreeMap<(Arc<str>, i32), i64>);

#[derive(Serialize, Deserialize)]
struct PartitionOffset {
    topic: Arc<str>,
    partition: i32,
    next: i64,
}

/// How far one batch moved the reading: for each partition the offsets `[from, to)`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffsetsDelta(BTreeMap<(Arc<str>, i32), Range<i64>>);

/// A delta that does not continue the offsets that it is applied to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "batch covers offsets {}..{} of {topic} [{partition}], but reading stands at {expected}; \
     restart the engine, it resumes from the store",
    found.start, found.end
)]
pub struct OffsetError {
    topic: Arc<str>,
    partition: i32,
    expected: i64,
    found: Range<i64>,
}

impl From<Vec<PartitionOffset>> for Offsets {
    fn from(list: Vec<PartitionOffset>) -> Self {
        Self(list.into_iter().map(|at| ((at.topic, at.partition), at.next)).collect())
    }
}

impl From<Offsets> for Vec<PartitionOffset> {
    fn from(offsets: Offsets) -> Self {
        let at = |((topic, partition), next)| PartitionOffset { topic, partition, next };
        offsets.0.into_iter().map(at).collect()
    }
}

impl FromIterator<(Arc<str>, i32, i64)> for Offsets {
    fn from_iter<I: IntoIterator<Item = (Arc<str>, i32, i64)>>(partitions: I) -> Self {
        Self(partitions.into_iter().map(|(topic, partition, next)| ((topic, partition), next)).collect())
    }
}

impl Offsets {
    /// The next offset to read from a partition, if it has been read before.
    #[must_use]
    pub fn get(&self, topic: &str, partition: i32) -> Option<i64> {
        self.0.get(&(Arc::from(topic), partition)).copied()
    }

    /// Sets the next offset to read from a partition.
    pub fn set(&mut self, topic: Arc<str>, partition: i32, next: i64) {
        self.0.insert((topic, partition), next);
    }

    /// Every partition with its next offset, in topic and partition order.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, i32, i64)> {
        self.0.iter().map(|((topic, partition), next)| (topic, *partition, *next))
    }

    /// Whether no partition has been read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Moves on by one batch.
    ///
    /// # Errors
    /// If the delta leaves a gap or goes back; then nothing is changed.
    pub fn apply(&mut self, delta: &OffsetsDelta) -> Result<(), OffsetError> {
        for (key, range) in &delta.0 {
            let expected = self.0.get(key).copied();
            if expected.is_some_and(|next| next != range.start) || range.end < range.start {
                return Err(OffsetError {
                    topic: key.0.clone(),
                    partition: key.1,
                    expected: expected.unwrap_or(range.start),
                    found: range.clone(),
                });
            }
        }
        for (key, range) in &delta.0 {
            self.0.insert(key.clone(), range.end);
        }
        Ok(())
    }
}

impl OffsetsDelta {
    /// Takes in one record that was read when `before` was the next offset of its partition.
    ///
    /// Offsets between `before` and the record's own were never records (transaction markers, compaction) and count
    /// as covered.
    pub fn cover(&mut self, position: &Position, before: Option<i64>) {
        let end = position.offset + 1;
        self.0
            .entry((position.topic.clone(), position.partition))
            .and_modify(|range| range.end = end)
            .or_insert_with(|| before.unwrap_or(position.offset)..end);
    }

    /// Whether the delta covers nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
