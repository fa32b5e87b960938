//! Who has seen what, and how often each item was liked: what top-N needs besides the model.

use std::sync::Arc;

use roaring::RoaringBitmap;

use crate::learn::Outcome;
use crate::learn::blocks::{BLOCK_ROWS, Blocks, Shared};

/// Seen items of [`BLOCK_ROWS`] users, each a bitmap of dense item indexes.
pub type SeenBlock = Vec<Arc<RoaringBitmap>>;

/// Positive events of [`BLOCK_ROWS`] items.
pub type CountBlock = Vec<u64>;

/// History as readers see it.
#[derive(Clone, Debug, Default)]
pub struct HistoryTables {
    /// Seen items by dense user index.
    pub seen: Shared<SeenBlock>,
    /// Positive events by dense item index.
    pub counts: Shared<CountBlock>,
}

impl HistoryTables {
    /// Items that a user has had an event with.
    #[must_use]
    pub fn seen(&self, user: u32) -> Option<&RoaringBitmap> {
        self.seen.get(user as usize / BLOCK_ROWS)?.get(user as usize % BLOCK_ROWS).map(Arc::as_ref)
    }
}

/// History as the publisher holds it.
#[derive(Debug, Default)]
pub(super) struct History {
    seen: Blocks<SeenBlock>,
    counts: Blocks<CountBlock>,
}

impl History {
    pub(super) fn from_tables(tables: HistoryTables) -> Self {
        Self { seen: Blocks::from_shared(tables.seen), counts: Blocks::from_shared(tables.counts) }
    }

    /// Takes in one event. Indexes are dense: they grow by one at a time.
    pub(super) fn observe(&mut self, outcome: &Outcome) {
        Arc::make_mut(row(&mut self.seen, outcome.user)).insert(outcome.item);
        *row(&mut self.counts, outcome.item) += u64::from(outcome.positive);
    }

    pub(super) fn publish(&mut self) -> HistoryTables {
        HistoryTables { seen: self.seen.publish(), counts: self.counts.publish() }
    }
}

/// The row at a dense index, added where it is the next one.
fn row<T: Clone + Default>(blocks: &mut Blocks<Vec<T>>, index: u32) -> &mut T {
    let (block, row) = (index as usize / BLOCK_ROWS, index as usize % BLOCK_ROWS);
    if block == blocks.len() {
        blocks.push(Vec::with_capacity(BLOCK_ROWS));
    }
    let rows = blocks.get_mut(block);
    if row >= rows.len() {
        rows.resize_with(row + 1, T::default);
    }
    &mut rows[row]
}
