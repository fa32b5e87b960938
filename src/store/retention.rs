//! Which snapshots are kept.
//!
//! Apart from the stores and from what deletes, because it is a pure function of what is there: the engine, the command
//! and every store prune by the same rule.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::StoreConfig;

const HOUR_MS: i64 = 3_600_000;

/// How many snapshots are kept. The newest one and the one that the store began with always are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// So many of the newest.
    pub last: usize,
    /// The newest of each hour, for so many of the last hours that have one.
    pub hourly: usize,
}

impl Retention {
    /// As the operator has set it.
    #[must_use]
    pub fn of(config: &StoreConfig) -> Self {
        Self { last: config.keep_last, hourly: config.keep_hourly }
    }

    /// Those of the snapshots, given by `seq` and the millisecond that they were taken at, that are kept. `base` is the
    /// `seq` of the one that the store began with.
    #[must_use]
    pub fn keep(self, snapshots: &[(u64, i64)], base: u64) -> BTreeSet<u64> {
        let by_seq: BTreeMap<u64, i64> = snapshots.iter().copied().collect();
        let mut newest_of_hour = BTreeMap::new();
        for (seq, at_ms) in &by_seq {
            // In the order of `seq`, so that the last one of an hour stays.
            newest_of_hour.insert(at_ms.div_euclid(HOUR_MS), *seq);
        }
        let last = by_seq.keys().rev().take(self.last.max(1)).copied();
        let hourly = newest_of_hour.values().rev().take(self.hourly).copied();
        last.chain(hourly).chain(by_seq.contains_key(&base).then_some(base)).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE_MS: i64 = 60_000;

    fn keep(last: usize, hourly: usize, snapshots: &[(u64, i64)], base: u64) -> Vec<u64> {
        Retention { last, hourly }.keep(snapshots, base).into_iter().collect()
    }

    #[test]
    fn the_newest_and_those_of_the_hours_are_kept() {
        // One each 20 minutes.
        let taken: Vec<_> = (1..=12_u64).map(|n| (n * 100, (n as i64 - 1) * 20 * MINUTE_MS)).collect();
        assert_eq!(keep(2, 0, &taken, 0), [1100, 1200]);
        assert_eq!(keep(1, 3, &taken, 0), [600, 900, 1200]);
        assert_eq!(keep(2, 2, &taken, 100), [100, 900, 1100, 1200]);
        assert_eq!(keep(0, 0, &taken, 0), [1200]);
        assert_eq!(keep(99, 99, &taken, 0).len(), 12);
        assert!(keep(9, 9, &[], 5).is_empty());
    }

    #[test]
    fn an_hour_without_a_snapshot_does_not_count() {
        let taken = [(1, 0), (2, 50 * HOUR_MS), (3, 50 * HOUR_MS + 1), (4, 900 * HOUR_MS)];
        assert_eq!(keep(1, 3, &taken, 0), [1, 3, 4]);
    }

    proptest! {
        #[test]
        fn the_rule_holds_for_any_snapshots(
            snapshots in prop::collection::btree_map(0..5_000_u64, -20 * HOUR_MS..20 * HOUR_MS, 1..60),
            last in 0..20_usize, hourly in 0..20_usize, base in 0..5_000_u64,
        ) {
            let rule = Retention { last, hourly };
            let taken: Vec<_> = snapshots.iter().map(|(seq, at)| (*seq, *at)).collect();
            let kept = rule.keep(&taken, base);
            let newest: Vec<_> = snapshots.keys().rev().take(last.max(1)).collect();
            prop_assert!(newest.iter().all(|seq| kept.contains(seq)), "the newest are kept");
            prop_assert!(kept.iter().all(|seq| snapshots.contains_key(seq)), "only what is there is kept");
            prop_assert!(kept.len() <= last.max(1) + hourly + 1, "no more than told");
            prop_assert!(!snapshots.contains_key(&base) || kept.contains(&base), "the first one is kept");
            let hours: BTreeSet<_> = snapshots.values().map(|at| at.div_euclid(HOUR_MS)).collect();
            let of_hours: BTreeSet<_> = kept.iter().map(|seq| snapshots[seq].div_euclid(HOUR_MS)).collect();
            prop_assert!(hours.iter().rev().take(hourly).all(|hour| of_hours.contains(hour)), "each hour has one");
            let left: Vec<_> = kept.iter().map(|seq| (*seq, snapshots[seq])).collect();
            prop_assert_eq!(rule.keep(&left, base), kept, "a second prune deletes nothing");
        }
    }
}
