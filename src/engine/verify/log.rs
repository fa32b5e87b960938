//! Compares the offsets that the log holds with those of the stored events and dead letters.
//!
//! Every record up to the engine's offsets must be one or the other, and each of them that has not expired must have its
//! record. Topics of items and users are left out: they only change the catalogue.

use std::collections::BTreeMap;
use std::sync::Arc;

use roaring::RoaringTreemap;
use serde::Serialize;

use super::scan::{Held, Partition};
use super::{NAMED, Step, Watch};
use crate::config::Config;
use crate::consume::Offsets;
use crate::consume::audit::{self, OnLog};
use crate::engine::EngineError;
use crate::store::Manifest;

/// What the log and the store hold of each other.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LogCheck {
    /// Records on the log up to the engine's offsets.
    pub records: u64,
    /// Events and dead letters whose record has expired: nothing can be said of them.
    pub expired: u64,
    /// Records that are neither an event nor a dead letter.
    pub not_stored: u64,
    /// Events and dead letters without a record.
    pub not_on_log: u64,
    /// The first of the records that are not stored.
    pub first_not_stored: Vec<String>,
    /// The first of what has no record.
    pub first_not_on_log: Vec<String>,
}

pub(super) async fn check(
    config: &Config,
    upto: &Offsets,
    base: Option<&Manifest>,
    held: &Held,
    watch: &Watch,
) -> Result<LogCheck, EngineError> {
    let all: i64 = upto.iter().map(|(.., next)| next).sum();
    let told = Arc::clone(watch);
    let read = move |records| told(Step::ReadLog, records, all as u64);
    // What only changes the catalogue leaves no trace by its offset.
    let upto: Offsets = upto
        .iter()
        .filter(|(topic, ..)| config.topic(topic).kind.is_learned())
        .map(|(topic, partition, next)| (Arc::clone(topic), partition, next))
        .collect();
    let partitions = audit::offsets_on_log(config, &upto, read).await?;
    Ok(compare(&partitions, base.map(|base| &base.offsets), &held.offsets))
}

/// `began` are the offsets that a store began with: what lies before them is in no event of it.
fn compare(partitions: &[OnLog], began: Option<&Offsets>, held: &BTreeMap<Partition, RoaringTreemap>) -> LogCheck {
    let mut check = LogCheck::default();
    let empty = RoaringTreemap::new();
    for OnLog { topic, partition, low, offsets } in partitions {
        let held = held.get(&(Arc::clone(topic), *partition)).unwrap_or(&empty);
        let began = began.and_then(|began| began.get(topic, *partition)).unwrap_or(0);
        let mut wanted = offsets.clone();
        wanted.remove_range(..began.max(0) as u64);
        let mut kept = held.clone();
        check.expired += kept.remove_range(..(*low).max(0) as u64);
        check.records += offsets.len();
        let name = |offset: u64| format!("{topic} [{partition}] {offset}");
        let note = |differing: RoaringTreemap, count: &mut u64, first: &mut Vec<String>| {
            *count += differing.len();
            let left = NAMED - first.len();
            first.extend(differing.iter().take(left).map(name));
        };
        note(&wanted - &kept, &mut check.not_stored, &mut check.first_not_stored);
        note(kept - &wanted, &mut check.not_on_log, &mut check.first_not_on_log);
    }
    check
}

impl LogCheck {
    pub(super) fn problems(&self) -> Vec<String> {
        let line = |count: u64, first: &[String], what: &str| {
            let more = if count > first.len() as u64 { ", …" } else { "" };
            (count > 0).then(|| format!("{count} {what}: {}{more}", first.join(", ")))
        };
        let lost =
            line(self.not_stored, &self.first_not_stored, "records of the log are neither event nor dead letter");
        let extra = line(self.not_on_log, &self.first_not_on_log, "events or dead letters have no record on the log");
        lost.into_iter().chain(extra).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(offsets: impl IntoIterator<Item = u64>) -> RoaringTreemap {
        offsets.into_iter().collect()
    }

    fn checked(low: i64, log: RoaringTreemap, began: Option<i64>, stored: RoaringTreemap) -> LogCheck {
        let on_log = OnLog { topic: "t".into(), partition: 0, low, offsets: log };
        let began = began.map(|next| Offsets::from_iter([("t".into(), 0, next)]));
        compare(&[on_log], began.as_ref(), &BTreeMap::from([(("t".into(), 0), stored)]))
    }

    #[test]
    fn the_same_offsets_are_no_problem_and_neither_is_what_has_expired() {
        let check = checked(3, set(3..10), None, set(0..10));
        assert_eq!((check.records, check.expired, check.problems().len()), (7, 3, 0));
    }

    #[test]
    fn what_one_side_lacks_is_counted_and_the_first_are_named() {
        let check = checked(0, set((0..100).filter(|offset| *offset != 7)), None, set(0..50));
        assert_eq!((check.not_stored, check.not_on_log), (50, 1));
        assert_eq!(check.first_not_stored.len(), NAMED);
        let problems = check.problems();
        assert!(problems[0].starts_with("50 records of the log") && problems[0].contains("t [0] 50, "), "{problems:?}");
        assert!(problems[1].ends_with("t [0] 7"), "{problems:?}");
    }

    #[test]
    fn a_store_that_began_with_a_snapshot_answers_for_what_came_after_it() {
        assert_eq!(checked(0, set(0..100), Some(60), set(60..100)).problems(), [""; 0]);
        assert_eq!(checked(0, set(0..100), Some(60), set(61..100)).not_stored, 1);
    }
}
