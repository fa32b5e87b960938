//! Finds the best inner products without all of them: exactly, and while the model changes.
//!
//! Apart from the view, which goes on in the next: an [index](index::ItemIndex) of items by one-byte codes tells of most
//! that they are not among the best, and the others are scored by their own rows. Rows that have changed since the index
//! was made are scored whatever it says. So an answer is that of a full sort, bit for bit, whichever model the index was
//! made of; how old it is decides how long a search takes, and never what is found.

mod chunk;
mod index;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;
use roaring::RoaringBitmap;

use super::topn::{Best, Scored};
use crate::learn::tables::{Frozen, Matrix};
use crate::learn::{InnerProducts, dot};

use chunk::{Asked, Scan};
use index::ItemIndex;

/// Below so many items there is nothing to be gained.
const WORTH_IT: usize = 1_024;

/// An index is brought up to date when more rows than one of so many have changed since it was made, and more than
/// [`MOST_CHANGED`].
const CHANGED_SHARE: usize = 64;
const MOST_CHANGED: usize = 256;

/// What is known of items for searches, kept from view to view.
#[derive(Debug, Default)]
pub struct Search {
    newest: ArcSwapOption<Prepared>,
    /// Whether the index is being brought up to date.
    busy: AtomicBool,
}

/// An index, and what has changed since in the rows of one view.
#[derive(Debug)]
struct Prepared {
    index: Arc<ItemIndex>,
    items: Matrix<Frozen>,
    changed: RoaringBitmap,
}

impl Prepared {
    fn new(index: Arc<ItemIndex>, items: &Matrix<Frozen>) -> Arc<Self> {
        let changed = items.changed_since(&index.items).collect();
        Arc::new(Self { index, items: items.clone(), changed })
    }
}

impl Search {
    /// The best `n` of the first `n_items` items that `may_be_shown`, best first; none where there is no index yet: then one
    /// is made in the background.
    pub(super) fn best(
        self: &Arc<Self>,
        products: &InnerProducts<'_>,
        n_items: u32,
        n: usize,
        may_be_shown: impl Fn(u32) -> bool,
    ) -> Option<Vec<Scored>> {
        if products.items.len() < WORTH_IT {
            return None;
        }
        let prepared = self.prepared(products)?;
        let mut found = Found { best: Best::new(n), products, prepared: &prepared, may_be_shown };
        prepared.changed.iter().for_each(|item| found.look_at(item));
        (products.items.len() as u32..n_items).for_each(|item| found.offer(item, products.base));
        if n > 0 {
            prepared.index.scan(&Asked::new(products.user, products.base), &mut found);
        }
        Some(found.best.into_sorted())
    }

    /// The index with what has changed in these rows since.
    fn prepared(self: &Arc<Self>, products: &InnerProducts<'_>) -> Option<Arc<Prepared>> {
        let Some(known) = self.newest.load_full() else {
            self.refresh_beside(products);
            return None;
        };
        if known.items.is(products.items) {
            return Some(known);
        }
        let prepared = Prepared::new(Arc::clone(&known.index), products.items);
        if prepared.changed.len() as usize > MOST_CHANGED.max(products.items.len() / CHANGED_SHARE) {
            self.refresh_beside(products);
        }
        // Unless an index was brought up to date meanwhile; of two that are made at once either will do.
        self.newest.compare_and_swap(&known, Some(Arc::clone(&prepared)));
        Some(prepared)
    }

    /// Brings the index up to date on a thread of its own, unless one is at it.
    fn refresh_beside(self: &Arc<Self>, products: &InnerProducts<'_>) {
        if self.busy.swap(true, Ordering::Acquire) {
            return;
        }
        let (search, items, reach) = (Arc::clone(self), products.items.clone(), reach(products));
        let work = move || {
            search.refresh_to(&items, reach);
            search.busy.store(false, Ordering::Release);
        };
        // Without a thread searches go on as they are.
        if std::thread::Builder::new().name("search-index".into()).spawn(work).is_err() {
            self.busy.store(false, Ordering::Release);
        }
    }

    /// Brings the index up to date.
    pub(super) fn refresh(&self, products: &InnerProducts<'_>) {
        self.refresh_to(products.items, reach(products));
    }

    fn refresh_to(&self, items: &Matrix<Frozen>, reach: f32) {
        let known = self.newest.load_full();
        let index = known.map_or_else(|| ItemIndex::new(items, reach), |known| known.index.updated(items, reach));
        self.newest.store(Some(Prepared::new(Arc::new(index), items)));
    }

    /// Bytes that it takes beside the model.
    pub(super) fn bytes(&self) -> usize {
        self.newest.load().as_ref().map_or(0, |prepared| prepared.index.bytes())
    }
}

/// Length of the user's factors.
fn reach(products: &InnerProducts<'_>) -> f32 {
    dot(products.user, products.user).sqrt()
}

struct Found<'f, F> {
    best: Best,
    products: &'f InnerProducts<'f>,
    prepared: &'f Prepared,
    may_be_shown: F,
}

impl<F: Fn(u32) -> bool> Found<'_, F> {
    fn look_at(&mut self, item: u32) {
        if let Some(row) = self.products.items.get(item) {
            self.offer(item, self.products.score(row));
        }
    }

    fn offer(&mut self, item: u32, score: f32) {
        // Asked last: most are out by their score.
        if score >= self.best.least() && (self.may_be_shown)(item) {
            self.best.offer(Scored { item, score });
        }
    }
}

impl<F: Fn(u32) -> bool> Scan for Found<'_, F> {
    #[inline]
    fn least(&self) -> f32 {
        self.best.least()
    }

    fn reached(&mut self, place: usize) {
        let item = self.prepared.index.item(place);
        if let Some(item) = item.filter(|item| !self.prepared.changed.contains(*item)) {
            self.look_at(item);
        }
    }
}

#[cfg(test)]
mod tests;
