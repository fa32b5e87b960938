//! What is counted of each item: how often, how lately, and at which point of their history users choose it.

use super::history::{STAGES, stage};
use super::math::{left, since, stamp};
use crate::learn::tables::{Frozen, Live, Matrix, Storage, Table, Tables};

/// Positive events of anybody after which the recent count is half.
pub(super) const HALF_LIFE: f32 = 2_000.0;

/// One item's row as floats, in parts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count<'a> {
    /// Positive events.
    pub(super) positives: f32,
    /// All events.
    pub(super) events: f32,
    row: &'a [f32],
}

// Places in a row: the two of the head, then these.
const FIRST: usize = 2;
const LAST: usize = FIRST + 2;
const DECAYED: usize = LAST + 2;
const BY_STAGE: usize = DECAYED + 1;
const WIDTH: usize = BY_STAGE + STAGES;

impl Count<'_> {
    /// Positive events of anybody since the item's first one.
    pub(super) fn age(&self, now: [f32; 2]) -> f32 {
        since(&self.row[FIRST..], now)
    }

    /// Positive events, older ones counting less.
    pub(super) fn recent(&self, now: [f32; 2]) -> f32 {
        self.row[DECAYED] * left(since(&self.row[LAST..], now), HALF_LIFE)
    }

    /// Positive events of users at this stage of their history.
    pub(super) fn at_stage(&self, stage: usize) -> f32 {
        self.row[BY_STAGE + stage]
    }
}

/// Counts of each item: positive events, all events, the stamps of the first and the last positive one, the recent
/// count as of the last one, the positive events of users at each stage; shape `(n_items, 7 + STAGES)`.
#[derive(Clone, Debug)]
pub(super) struct Counts<S: Storage>(Matrix<S>);

impl<S: Storage> Counts<S> {
    /// Number of items that have a row.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The counts of an item.
    ///
    /// # Panics
    /// If it has no row.
    #[inline]
    pub(super) fn of(&self, item: u32) -> Count<'_> {
        let row = self.0.row(item);
        Count { positives: row[0], events: row[1], row }
    }

    /// Whether anybody has chosen the item; only then may it be recommended.
    #[inline]
    pub(super) fn is_known(&self, item: u32) -> bool {
        self.0.get(item).is_some_and(|row| row[0] > 0.0)
    }

    /// Known items by dense index.
    pub(super) fn known(&self) -> impl Iterator<Item = u32> {
        (0..).zip(self.0.rows()).filter(|(_, row)| row[0] > 0.0).map(|(item, _)| item)
    }
}

impl Counts<Live> {
    pub(super) fn new() -> Self {
        Self(Matrix::new(WIDTH))
    }

    /// Gives the item a row, and all before it.
    pub(super) fn grow_to(&mut self, item: u32) {
        self.0.grow_to(item, |_, _| ());
    }

    /// Counts an event of a user who had had `earlier` ones; `positives` is the number of positive events before it.
    pub(super) fn add(&mut self, item: u32, positive: bool, earlier: usize, positives: u64) {
        let row = self.0.row_mut(item);
        row[1] += 1.0;
        if !positive {
            return;
        }
        let now = stamp(positives);
        if row[0] == 0.0 {
            row[FIRST..LAST].copy_from_slice(&now);
        }
        let age = if row[0] == 0.0 { 0.0 } else { since(&row[LAST..], now) };
        row[LAST..DECAYED].copy_from_slice(&now);
        row[0] += 1.0;
        row[DECAYED] = row[DECAYED] * left(age, HALF_LIFE) + 1.0;
        row[BY_STAGE + stage(earlier)] += 1.0;
    }

    /// Known items in the order of their first positive events.
    pub(super) fn known_in_order(&self) -> Vec<u32> {
        let mut known: Vec<u32> = self.known().collect();
        // Whole numbers, and no two items have the same: the order is total.
        known.sort_by(|a, b| self.of(*a).row[FIRST..LAST].partial_cmp(&self.of(*b).row[FIRST..LAST]).expect("finite"));
        known
    }

    pub(super) fn publish(&mut self) -> Counts<Frozen> {
        Counts(self.0.publish())
    }
}

impl Counts<Frozen> {
    pub(super) fn thaw(&self) -> Counts<Live> {
        Counts(self.0.thaw())
    }

    pub(super) fn table(&self) -> Table {
        self.0.table("counts")
    }

    pub(super) fn read(tables: &mut Tables) -> Result<Self, String> {
        Matrix::read(tables, "counts", WIDTH).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_counted_by_sign_recency_and_stage() {
        let mut counts = Counts::new();
        counts.grow_to(1);
        counts.add(1, false, 0, 0);
        assert!(!counts.is_known(1) && !counts.is_known(7));
        counts.add(1, true, 3, 0);
        counts.add(1, true, 0, 2_000);
        let count = counts.of(1);
        assert_eq!((count.positives, count.events, count.age(stamp(2_000))), (2.0, 3.0, 2_000.0));
        assert_eq!((count.at_stage(0), count.at_stage(stage(3))), (1.0, 1.0));
        let recent = count.recent(stamp(4_000));
        assert!((recent - 0.75).abs() < 1e-3, "{recent}");
        assert_eq!(counts.known_in_order(), [1]);
    }
}
