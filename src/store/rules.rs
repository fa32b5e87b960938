//! Rules that hold in every store: which write is next, done or refused, and which block is whole.
//!
//! Apart from the stores, so that all decide alike: these rules keep an event from being lost or learned twice.

use std::collections::BTreeSet;

use super::{Block, Claim, DurableWrite, Hash, Manifest, Progress, StoreError};
use crate::decode::Reason;

/// What a write is to the store that it reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It begins right after the last durable event.
    Next,
    /// All of it is durable already: a repetition.
    Done,
}

/// The last `seq` before the write.
pub(super) fn seq_before(write: &DurableWrite) -> u64 {
    write.progress.seq.saturating_sub(write.events.len() as u64)
}

/// Compares a write made under `epoch` with where the store stands.
///
/// # Errors
/// If another engine has claimed the store, the write leaves a gap or goes back, or its events do not follow each other:
/// so no two events can take one place in the order.
pub(super) fn standing(
    location: &str,
    stored: &Claim,
    epoch: u64,
    write: &DurableWrite,
) -> Result<Standing, StoreError> {
    let standing = standing_ahead(location, stored, epoch, write)?;
    let before = seq_before(write);
    if standing == Standing::Done || before == stored.progress.seq {
        return Ok(standing);
    }
    Err(out_of_order(
        location,
        &format!("a write goes on after event {before}, but the last one stored is event {}", stored.progress.seq),
    ))
}

/// The same before the write's turn has come, when the store does not stand where the write goes on.
///
/// # Errors
/// If another engine has claimed the store, or the events of the write do not follow each other.
pub(super) fn standing_ahead(
    location: &str,
    stored: &Claim,
    epoch: u64,
    write: &DurableWrite,
) -> Result<Standing, StoreError> {
    check_epoch(location, stored.epoch, epoch)?;
    if covers(&stored.progress, &write.progress) {
        return Ok(Standing::Done);
    }
    check_numbers(location, write).map(|()| Standing::Next)
}

/// Events must be numbered on from what is before the write.
fn check_numbers(location: &str, write: &DurableWrite) -> Result<(), StoreError> {
    match (seq_before(write) + 1..).zip(&write.events).find(|(seq, event)| *seq != event.seq) {
        None => Ok(()),
        Some((seq, event)) => Err(out_of_order(location, &format!("event {} stands in the place of {seq}", event.seq))),
    }
}

fn out_of_order(location: &str, reason: &str) -> StoreError {
    let reason = format!("{reason}; restart the engine, it resumes from the store");
    StoreError::Damaged { what: "the order of events".into(), location: location.into(), reason }
}

/// Refuses a writer whose epoch is not the one in force.
pub(super) fn check_epoch(location: &str, current: u64, ours: u64) -> Result<(), StoreError> {
    if current == ours {
        return Ok(());
    }
    Err(StoreError::Superseded { location: location.into(), ours, current })
}

/// Compares a snapshot that an empty store is to begin with, under `epoch`, with where the store stands.
///
/// # Errors
/// If another engine has claimed the store, or it is not empty.
pub(super) fn beginning(
    location: &str,
    stored: &Claim,
    epoch: u64,
    manifest: &Manifest,
) -> Result<Standing, StoreError> {
    check_epoch(location, stored.epoch, epoch)?;
    if stored.is_empty() {
        return Ok(Standing::Next);
    }
    if stored.base == manifest.seq && stored.progress == progress_of(manifest) {
        return Ok(Standing::Done);
    }
    Err(StoreError::Refused {
        action: "begin with a snapshot",
        location: location.into(),
        reason: format!(
            "it is not empty, its last event is {}; give it another store.data_dir or store.database",
            stored.progress.seq
        ),
    })
}

/// Where an engine stands that has learned what a snapshot has.
pub(super) fn progress_of(manifest: &Manifest) -> Progress {
    Progress { seq: manifest.seq, batch: manifest.batch, offsets: manifest.offsets.clone() }
}

/// Refuses a manifest some of whose blocks were not found.
pub(super) fn check_present(location: &str, manifest: &Manifest, missing: &BTreeSet<Hash>) -> Result<(), StoreError> {
    let Some(first) = missing.first() else { return Ok(()) };
    let (seq, location, count, first) = (manifest.seq, location.into(), missing.len(), *first);
    Err(StoreError::MissingBlocks { seq, location, count, first })
}

/// Whether everything up to `wanted` is durable once `stored` is.
pub(super) fn covers(stored: &Progress, wanted: &Progress) -> bool {
    stored.seq >= wanted.seq && stored.batch >= wanted.batch && stored.offsets.cover(&wanted.offsets)
}

/// A block that was looked up by its hash, if it is there and whole.
pub(super) fn check_block<'a>(location: &str, hash: Hash, found: Option<&'a Block>) -> Result<&'a Block, StoreError> {
    let damaged =
        |reason: String| StoreError::Damaged { what: format!("block {hash}"), location: location.into(), reason };
    let block = found.ok_or_else(|| damaged("it is missing".into()))?;
    let actual = Hash::of(&block.bytes);
    if actual == hash {
        return Ok(block);
    }
    Err(damaged(format!("its bytes have the hash {actual}")))
}

/// The reason of a stored name.
pub(super) fn reason_of(name: String) -> Reason {
    serde_json::from_value(serde_json::Value::String(name)).unwrap_or(Reason::Other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(seq: u64, batch: u64, next: i64) -> Progress {
        let mut progress = Progress { seq, batch, ..Progress::default() };
        progress.offsets.set("t".into(), 0, next);
        progress
    }

    fn write(events: usize, progress: Progress) -> DurableWrite {
        let event = crate::decode::testing::event("u", "i", 3.0);
        let learned = super::super::LearnedEvent { seq: 0, batch: 0, rehearse_from: None, predicted: 0.0, event };
        let first = (progress.seq + 1).saturating_sub(events as u64);
        let events = (first..).take(events).map(|seq| super::super::LearnedEvent { seq, ..learned.clone() });
        DurableWrite { events: events.collect(), progress, ..DurableWrite::default() }
    }

    fn stored() -> Claim {
        Claim { epoch: 3, progress: progress(10, 2, 12), ..Claim::default() }
    }

    #[test]
    fn a_write_that_continues_is_next() {
        assert_eq!(standing("s", &stored(), 3, &write(5, progress(15, 3, 17))).unwrap(), Standing::Next);
    }

    #[test]
    fn rejects_alone_move_only_the_offsets_and_are_next() {
        assert_eq!(standing("s", &stored(), 3, &write(0, progress(10, 2, 13))).unwrap(), Standing::Next);
    }

    #[test]
    fn a_partition_never_seen_is_next() {
        let mut other = progress(10, 2, 12);
        other.offsets.set("t".into(), 1, 1);
        assert_eq!(standing("s", &stored(), 3, &write(0, other)).unwrap(), Standing::Next);
    }

    #[test]
    fn what_is_stored_is_done_and_so_is_what_lies_before_it() {
        assert_eq!(standing("s", &stored(), 3, &write(4, progress(10, 2, 12))).unwrap(), Standing::Done);
        assert_eq!(standing("s", &stored(), 3, &write(4, progress(6, 1, 8))).unwrap(), Standing::Done);
    }

    #[test]
    fn a_gap_and_an_overlap_are_refused() {
        let gap = standing("s", &stored(), 3, &write(5, progress(16, 3, 18))).unwrap_err();
        assert!(gap.to_string().contains("after event 11, but the last one stored is event 10"), "{gap}");
        assert!(standing("s", &stored(), 3, &write(5, progress(14, 3, 16))).is_err());
    }

    #[test]
    fn two_events_cannot_take_one_place() {
        for (at, seq) in [(1, 11), (4, 16), (0, 3)] {
            let mut wrong = write(5, progress(15, 3, 17));
            wrong.events[at].seq = seq;
            for check in [standing, standing_ahead] {
                let error = check("s", &stored(), 3, &wrong).unwrap_err().to_string();
                assert!(error.contains(&format!("event {seq} stands in the place of {}", 11 + at)), "{error}");
            }
        }
    }

    #[test]
    fn before_its_turn_a_write_may_be_ahead_and_is_checked_when_it_comes() {
        let ahead = write(5, progress(25, 5, 27));
        assert_eq!(standing_ahead("s", &stored(), 3, &ahead).unwrap(), Standing::Next);
        assert!(standing("s", &stored(), 3, &ahead).is_err());
        let before = Claim { progress: progress(20, 4, 22), ..stored() };
        assert_eq!(standing("s", &before, 3, &ahead).unwrap(), Standing::Next);
        assert_eq!(standing_ahead("s", &stored(), 3, &write(4, progress(10, 2, 12))).unwrap(), Standing::Done);
        assert!(matches!(standing_ahead("s", &stored(), 2, &ahead), Err(StoreError::Superseded { .. })));
    }

    #[test]
    fn only_the_epoch_in_force_may_write_even_what_is_done() {
        let repeated = write(4, progress(10, 2, 12));
        assert!(matches!(
            standing("s", &stored(), 2, &repeated),
            Err(StoreError::Superseded { ours: 2, current: 3, .. })
        ));
    }

    #[test]
    fn reasons_are_stored_by_name() {
        assert_eq!(Reason::InvalidUtf8.to_string(), "invalid_utf8");
        assert_eq!(reason_of("rating_out_of_range".into()), Reason::RatingOutOfRange);
        assert_eq!(reason_of("bored".into()), Reason::Other);
    }
}
