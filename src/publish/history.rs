//! Who has seen what, and how often each item was liked: what top-N needs besides the model.

use std::sync::{Arc, LazyLock};

use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};

use crate::learn::Outcome;
use crate::learn::away::UserRows;
use crate::learn::blocks::{Blocks, Shared};
use crate::learn::tables::{Row, take};

/// Seen items of some users, each a bitmap of dense item indexes.
pub type SeenBlock = Vec<Arc<RoaringBitmap>>;

/// Positive events of some items.
pub type CountBlock = Vec<u64>;

/// Name of the table of seen items.
pub const SEEN: &str = "seen";

/// Stands in the place of every user's seen items that are away.
static NOTHING: LazyLock<Arc<RoaringBitmap>> = LazyLock::new(Arc::default);

/// As differences of the sorted indexes: the one form of a set, whatever its history.
impl Row for Arc<RoaringBitmap> {
    const KIND: u8 = 4;
    const SHARED: usize = 8;

    fn away() -> Self {
        Self::clone(&NOTHING)
    }

    /// What [`RoaringBitmap`] tells of its own, and what it and its counters take beside.
    fn bytes(&self) -> usize {
        self.serialized_size() + 64
    }

    fn to_stored(&self) -> impl Serialize {
        let mut last = 0;
        self.iter().map(|item| item - std::mem::replace(&mut last, item)).collect::<Vec<u32>>()
    }

    fn from_stored(bytes: &[u8]) -> Result<(Self, &[u8]), String> {
        let (differences, rest) = take::<Vec<u32>>(bytes)?;
        let items = differences.into_iter().scan(0_u32, |last, difference| {
            *last = last.wrapping_add(difference);
            Some(*last)
        });
        let seen = RoaringBitmap::from_sorted_iter(items).map_err(|error| error.to_string())?;
        Ok((Arc::new(seen), rest))
    }
}

impl Row for u64 {
    const KIND: u8 = 5;
    const SHARED: usize = 64;

    fn to_stored(&self) -> impl Serialize {
        self
    }

    fn from_stored(bytes: &[u8]) -> Result<(Self, &[u8]), String> {
        take(bytes)
    }
}

/// Positive events of anybody after which one counts half in each window of [`Recent`].
pub const HALF_LIVES: [f64; 3] = [200.0, 2_000.0, 20_000.0];

/// Positive events of an item, older ones counting less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recent {
    /// Positive events of anybody up to the item's last one.
    last: u64,
    /// The count of each of [`HALF_LIVES`], as of the last one.
    counts: [f64; HALF_LIVES.len()],
}

impl Recent {
    /// The count of one of [`HALF_LIVES`] after so many positive events of anybody.
    ///
    /// # Panics
    /// If `window` is no place in [`HALF_LIVES`].
    #[must_use]
    pub fn at(&self, now: u64, window: usize) -> f64 {
        // In plain arithmetic: the platform's own functions differ in their last bits.
        self.counts[window] * libm::exp2(-(now.saturating_sub(self.last) as f64) / HALF_LIVES[window])
    }

    /// Counts a positive event, with which there are `now` of anybody.
    fn add(&mut self, now: u64) {
        self.counts = std::array::from_fn(|window| self.at(now, window) + 1.0);
        self.last = now;
    }

    /// Whether it is one that events can have made.
    pub(crate) fn is_whole(&self) -> bool {
        self.counts.iter().all(|count| count.is_finite() && *count >= 0.0)
    }
}

impl Row for Recent {
    const KIND: u8 = 13;
    const SHARED: usize = 16;

    fn to_stored(&self) -> impl Serialize {
        self
    }

    fn from_stored(bytes: &[u8]) -> Result<(Self, &[u8]), String> {
        let (recent, rest) = take::<Self>(bytes)?;
        if recent.is_whole() { Ok((recent, rest)) } else { Err("it holds a count that is none".into()) }
    }
}

/// Recent positive events of some items.
pub type RecentBlock = Vec<Recent>;

/// History as readers see it.
#[derive(Clone, Debug, Default)]
pub struct HistoryTables {
    /// Seen items by dense user index.
    pub seen: Shared<SeenBlock>,
    /// Positive events by dense item index.
    pub counts: Shared<CountBlock>,
    /// Recent positive events by dense item index; those since the snapshot, where that is of an earlier freshet.
    pub recent: Shared<RecentBlock>,
}

impl HistoryTables {
    /// Positive events of an item.
    #[must_use]
    pub fn liked(&self, item: u32) -> u64 {
        get(&self.counts, item).copied().unwrap_or(0)
    }

    /// Items that a user has had an event with.
    #[must_use]
    pub fn seen(&self, user: u32) -> Option<&RoaringBitmap> {
        get(&self.seen, user).map(Arc::as_ref)
    }

    /// Positive events of anybody.
    #[must_use]
    pub fn positives(&self) -> u64 {
        self.counts.iter().flat_map(|block| block.iter()).sum()
    }
}

/// History as the publisher holds it.
#[derive(Debug, Default)]
pub(super) struct History {
    seen: Blocks<SeenBlock>,
    counts: Blocks<CountBlock>,
    recent: Blocks<RecentBlock>,
    positives: u64,
}

impl History {
    pub(super) fn from_tables(tables: HistoryTables) -> Self {
        let positives = tables.positives();
        let HistoryTables { seen, counts, recent } = tables;
        let (seen, counts) = (Blocks::from_shared(seen), Blocks::from_shared(counts));
        Self { seen, counts, recent: Blocks::from_shared(recent), positives }
    }

    /// Takes in one event. Its item may be any number ahead of those before it: items that other trainers told of are known
    /// before anybody here has had an event with them.
    pub(super) fn observe(&mut self, outcome: &Outcome) {
        Arc::make_mut(row(&mut self.seen, outcome.user)).insert(outcome.item);
        *row(&mut self.counts, outcome.item) += u64::from(outcome.positive);
        let recent = row(&mut self.recent, outcome.item);
        if outcome.positive {
            self.positives += 1;
            recent.add(self.positives);
        }
    }

    /// Seen items as users' rows, which may be away.
    pub(super) fn user_rows(&mut self) -> &mut dyn UserRows {
        &mut self.seen
    }

    pub(super) fn publish(&mut self) -> HistoryTables {
        HistoryTables { seen: self.seen.publish(), counts: self.counts.publish(), recent: self.recent.publish() }
    }
}

fn get<T: Row>(blocks: &Shared<Vec<T>>, index: u32) -> Option<&T> {
    blocks.get(index as usize / T::SHARED)?.get(index as usize % T::SHARED)
}

/// The row at a dense index, added with those before it where it is not there.
fn row<T: Row>(blocks: &mut Blocks<Vec<T>>, index: u32) -> &mut T {
    let (block, row) = (index as usize / T::SHARED, index as usize % T::SHARED);
    while block >= blocks.len() {
        // Blocks are stored as one list of rows: one that is not full would move those behind it.
        if let Some(last) = blocks.len().checked_sub(1)
            && blocks.get(last).len() < T::SHARED
        {
            blocks.get_mut(last).resize_with(T::SHARED, T::default);
        }
        blocks.push(Vec::with_capacity(T::SHARED));
    }
    let rows = blocks.get_mut(block);
    if row >= rows.len() {
        rows.resize_with(row + 1, T::default);
    }
    &mut rows[row]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::tables::{Table, Tables};

    #[test]
    fn rows_keep_their_places_in_a_store_however_far_ahead_an_item_is() {
        let mut history = History::default();
        for item in [0, 3, 200, 17, 1_000] {
            let outcome = Outcome { user: item / 7, item, positive: true, predicted: 0.0, mean: 0.0, target: 5.0 };
            history.observe(&outcome);
        }
        let HistoryTables { seen, counts, recent } = history.publish();
        let parts = vec![
            Table::new("seen", 143, &seen),
            Table::new("counts", 1_001, &counts),
            Table::new("recent", 1_001, &recent),
        ];
        let mut stored = Tables::of(parts);
        let tables = HistoryTables {
            seen: stored.take("seen").unwrap().1,
            counts: stored.take("counts").unwrap().1,
            recent: stored.take("recent").unwrap().1,
        };
        let liked: Vec<u32> = (0..1_100).filter(|item| tables.liked(*item) > 0).collect();
        assert_eq!(liked, [0, 3, 17, 200, 1_000]);
        let ever = |item: &u32| get(&tables.recent, *item).is_some_and(|recent| recent.at(5, 0) > 0.0);
        assert_eq!((0..1_100).filter(ever).collect::<Vec<u32>>(), liked);
        assert!(tables.seen(142).is_some_and(|seen| seen.contains(1_000)));
    }
}
