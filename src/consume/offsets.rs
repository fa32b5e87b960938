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

    /// Whether these reach as far as `others` in each partition of theirs.
    #[must_use]
    pub fn cover(&self, others: &Self) -> bool {
        others.0.iter().all(|(key, next)| self.0.get(key).is_some_and(|at| at >= next))
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

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn at(topic: &str, partition: i32, offset: i64) -> Position {
        Position { topic: Arc::from(topic), partition, offset }
    }

    fn delta(positions: &[Position]) -> OffsetsDelta {
        let mut delta = OffsetsDelta::default();
        for position in positions {
            delta.cover(position, None);
        }
        delta
    }

    #[test]
    fn a_delta_that_fits_moves_on() {
        let mut offsets = Offsets::default();
        offsets.apply(&delta(&[at("ratings", 0, 0), at("ratings", 0, 1), at("ratings", 1, 7)])).unwrap();
        offsets.apply(&delta(&[at("ratings", 0, 2)])).unwrap();
        assert_eq!((offsets.get("ratings", 0), offsets.get("ratings", 1)), (Some(3), Some(8)));
        assert_eq!((offsets.get("ratings", 2), offsets.get("clicks", 0)), (None, None));
    }

    #[test]
    fn a_gap_or_a_step_back_is_refused_and_changes_nothing() {
        let mut offsets = Offsets::default();
        offsets.set(Arc::from("ratings"), 0, 10);
        offsets.set(Arc::from("ratings"), 1, 10);
        for wrong in [9, 11] {
            let before = offsets.clone();
            let error = offsets.apply(&delta(&[at("ratings", 0, 10), at("ratings", 1, wrong)])).unwrap_err();
            assert!(error.to_string().contains("ratings [1], but reading stands at 10"), "{error}");
            assert_eq!(offsets, before);
        }
    }

    #[test]
    fn offsets_that_were_never_records_are_covered() {
        let (mut offsets, mut delta) = (Offsets::default(), OffsetsDelta::default());
        offsets.set(Arc::from("ratings"), 0, 5);
        delta.cover(&at("ratings", 0, 7), offsets.get("ratings", 0));
        delta.cover(&at("ratings", 0, 9), Some(8));
        offsets.apply(&delta).unwrap();
        assert_eq!(offsets.get("ratings", 0), Some(10));
    }

    #[test]
    fn json_is_a_list_of_partitions() {
        let mut offsets = Offsets::default();
        offsets.set(Arc::from("ratings"), 0, 3);
        let json = serde_json::to_string(&offsets).unwrap();
        assert_eq!(json, r#"[{"topic":"ratings","partition":0,"next":3}]"#);
        assert_eq!(serde_json::from_str::<Offsets>(&json).unwrap(), offsets);
    }

    proptest! {
        /// Partitions are read interleaved, and cut into batches anywhere.
        #[test]
        fn any_cutting_ends_at_the_same_offsets(partitions in vec(0..4_i32, 0..200), cuts in vec(1..20_usize, 200)) {
            let mut reading = Offsets::default();
            let positions: Vec<_> = partitions.iter().map(|&partition| {
                let offset = reading.get("ratings", partition).unwrap_or(0);
                reading.set(Arc::from("ratings"), partition, offset + 1);
                at("ratings", partition, offset)
            }).collect();

            let (mut applied, mut rest) = (Offsets::default(), &positions[..]);
            for cut in cuts {
                let (batch, after) = rest.split_at(cut.min(rest.len()));
                let delta = delta(batch);
                prop_assert_eq!(delta.is_empty(), batch.is_empty());
                applied.apply(&delta).unwrap();
                // The same batch again is never taken for a new one.
                prop_assert!(batch.is_empty() || applied.clone().apply(&delta).is_err());
                rest = after;
            }
            prop_assert_eq!(applied, reading);
        }
    }
}
