//! Places on the path of a batch where the process can be made to die: the proof that any death is survived.
//!
//! `FRESHET_FAULT=persisted:3` aborts, as `kill -9` would, when a place is passed for the third time. The places are
//! complete: there is one between each two steps that leave a trace outside the thread that takes them. Without the
//! variable a passage costs one look at a flag. `make chaos` goes through all of them.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The variable that names a place, and the passage (from 1) at which the process dies.
pub const VARIABLE: &str = "FRESHET_FAULT";

/// A place between two steps, in the order of the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// A batch is gathered, and not handed on.
    Gathered,
    /// A batch is learned, and not published.
    Learned,
    /// A batch is published, and not handed to the store.
    Published,
    /// Events and offsets are written inside a transaction that is not committed.
    Written,
    /// The same, while the write before is under way in another lane: only a store that has several gets there.
    Held,
    /// A write is durable, and the engine has not heard of it.
    Persisted,
    /// The blocks of a snapshot are stored, its manifest is not.
    BlocksStored,
    /// A manifest is stored, and nothing was pruned.
    Snapshotted,
    /// Old manifests are deleted, the blocks that they alone named are not.
    ManifestsPruned,
    /// Everything is pruned.
    Pruned,
    /// The offsets are committed to the log.
    Committed,
}

/// Every place, in the order of the path.
pub const POINTS: [(Point, &str); 11] = [
    (Point::Gathered, "gathered"),
    (Point::Learned, "learned"),
    (Point::Published, "published"),
    (Point::Written, "written"),
    (Point::Held, "held"),
    (Point::Persisted, "persisted"),
    (Point::BlocksStored, "blocks_stored"),
    (Point::Snapshotted, "snapshotted"),
    (Point::ManifestsPruned, "manifests_pruned"),
    (Point::Pruned, "pruned"),
    (Point::Committed, "committed"),
];

struct Fault {
    point: Point,
    passages_left: AtomicU64,
}

static FAULT: LazyLock<Option<Fault>> = LazyLock::new(|| std::env::var(VARIABLE).ok().and_then(|text| parse(&text)));

fn parse(text: &str) -> Option<Fault> {
    let (name, passage) = text.split_once(':').unwrap_or((text, "1"));
    let point = POINTS.iter().find(|(_, known)| *known == name).map(|(point, _)| *point);
    let fault = point.zip(passage.parse().ok().filter(|passage| *passage > 0));
    if fault.is_none() && !text.is_empty() {
        let names: Vec<_> = POINTS.iter().map(|(_, name)| *name).collect();
        tracing::error!(
            "{VARIABLE}={text:?} names no place and passage, such as persisted:3; places: {}",
            names.join(", ")
        );
    }
    fault.map(|(point, passage)| Fault { point, passages_left: AtomicU64::new(passage) })
}

/// Passes a place; the process dies here if it was told to.
pub fn pass(point: Point) {
    if let Some(fault) = &*FAULT
        && fault.point == point
        && fault.passages_left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        // Not through tracing: its lines may be on their way when the process is gone.
        eprintln!("{VARIABLE}: dying at {point:?}");
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_and_a_passage_are_read_and_anything_else_is_not() {
        let fault = parse("persisted:3").unwrap();
        assert_eq!((fault.point, fault.passages_left.into_inner()), (Point::Persisted, 3));
        assert_eq!(parse("learned").unwrap().passages_left.into_inner(), 1);
        assert!(parse("persisted:0").is_none() && parse("lunch:1").is_none() && parse("").is_none());
    }
}
