//! An index that follows the rows: what has changed since it was made is known, and it is made anew beside the searches.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use roaring::RoaringBitmap;

use crate::learn::tables::{Frozen, Matrix};
use crate::learn::{InnerProducts, dot};

/// An index is brought up to date when more rows than one of so many have changed since it was made, and more than
/// [`MOST_CHANGED`].
const CHANGED_SHARE: usize = 64;
pub(super) const MOST_CHANGED: usize = 256;

/// How often, and how long each time, readers of an old index are waited for.
const PATIENCE: (usize, Duration) = (1_000, Duration::from_millis(10));

/// Something to find items by.
pub(super) trait Index: Debug + Send + Sync + Sized + 'static {
    /// An index of all items; in the best order for users whose factors have the length `reach`.
    fn of(items: &Matrix<Frozen>, reach: f32) -> Self;

    /// The index of these rows, by what has changed.
    fn updated(&self, items: &Matrix<Frozen>, reach: f32) -> Self;

    /// The rows that it is of, each the factors of an item and its bias.
    fn items(&self) -> &Matrix<Frozen>;
}

/// The newest index, kept from view to view.
#[derive(Debug)]
pub(super) struct Followed<I> {
    pub(super) newest: ArcSwapOption<Prepared<I>>,
    /// Whether the index is being brought up to date.
    busy: AtomicBool,
}

impl<I> Default for Followed<I> {
    fn default() -> Self {
        Self { newest: ArcSwapOption::empty(), busy: AtomicBool::new(false) }
    }
}

/// An index, and what has changed since in the rows of one view.
#[derive(Debug)]
pub(super) struct Prepared<I> {
    pub(super) index: Arc<I>,
    items: Matrix<Frozen>,
    pub(super) changed: RoaringBitmap,
}

impl<I: Index> Prepared<I> {
    fn new(index: Arc<I>, items: &Matrix<Frozen>) -> Arc<Self> {
        let changed = items.changed_since(index.items()).collect();
        Arc::new(Self { index, items: items.clone(), changed })
    }

    /// The same for the rows of another view: costs what differs between the two, however old the index is. A row that is
    /// again as it was remains among those that changed.
    fn followed_to(&self, items: &Matrix<Frozen>) -> Arc<Self> {
        let mut changed = self.changed.clone();
        changed.extend(items.changed_since(&self.items));
        Arc::new(Self { index: Arc::clone(&self.index), items: items.clone(), changed })
    }
}

impl<I: Index> Followed<I> {
    /// The index with what has changed in these rows since; none where there is none yet: then one is made in the background.
    pub(super) fn prepared(self: &Arc<Self>, products: &InnerProducts<'_>) -> Option<Arc<Prepared<I>>> {
        let Some(known) = self.newest.load_full() else {
            self.refresh_beside(products);
            return None;
        };
        if known.items.is(products.items) {
            return Some(known);
        }
        let prepared = known.followed_to(products.items);
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
        let (followed, items, reach) = (Arc::clone(self), products.items.clone(), reach(products));
        let work = move || {
            let old = followed.refresh_to(&items, reach);
            followed.busy.store(false, Ordering::Release);
            if let Some(old) = old {
                outlive(&old);
            }
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

    /// Brings the index up to date; the one that it was.
    fn refresh_to(&self, items: &Matrix<Frozen>, reach: f32) -> Option<Arc<I>> {
        let old = self.newest.load().as_ref().map(|known| Arc::clone(&known.index));
        let index = old.as_ref().map_or_else(|| I::of(items, reach), |old| old.updated(items, reach));
        self.newest.store(Some(Prepared::new(Arc::new(index), items)));
        old
    }
}

/// Waits until nobody else has the index, so that it is dropped here: to drop a large one takes long, and that is no
/// reader's to wait for.
fn outlive<I>(index: &Arc<I>) {
    let (times, pause) = PATIENCE;
    for _ in 0..times {
        if Arc::strong_count(index) == 1 {
            break;
        }
        std::thread::sleep(pause);
    }
}

/// Length of the user's factors.
fn reach(products: &InnerProducts<'_>) -> f32 {
    dot(products.user, products.user).sqrt()
}
