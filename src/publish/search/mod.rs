//! Finds the best inner products without all of them: exactly, and while the model changes.
//!
//! Apart from the view, which goes on in the next: an [index](index::ItemIndex) of items by one-byte codes tells of most
//! that they are not among the best, and the others are scored by their own rows. Rows that have changed since the index
//! was made are scored whatever it says. So an answer is that of a full sort, bit for bit, whichever model the index was
//! made of; how old it is decides how long a search takes, and never what is found.
//!
//! Where `serve.search` allows it, a [graph](graph::ItemGraph) finds most of the best, and sooner. Scores are exact then too,
//! and changed rows are scored whatever the graph says; but items may be missing. How many, [`SearchFigures`] tell.

mod chunk;
mod follow;
mod graph;
mod head;
mod index;
mod recall;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::topn::{Best, Scored};
use crate::config::{SearchKind, ServeConfig};
use crate::learn::InnerProducts;

use chunk::Scan;
use follow::{Followed, Prepared};
use graph::ItemGraph;
use index::ItemIndex;
use recall::Recall;

/// Below so many items there is nothing to be gained.
const WORTH_IT: usize = 1_024;

/// Below so many items the graph gains nothing over the index.
const WORTH_A_GRAPH: usize = if cfg!(test) { WORTH_IT } else { 10_000 };

/// The graph does not answer when more rows than one of so many have changed since it was made: to score them all takes as
/// long as the index does.
const STALE_SHARE: usize = 16;

/// What is known of items for searches, kept from view to view.
#[derive(Debug, Default)]
pub struct Search {
    index: Arc<Followed<ItemIndex>>,
    /// None where every answer is to be exact.
    near: Option<Near>,
    exact: AtomicU64,
    approximate: AtomicU64,
}

/// What finds most of the best.
#[derive(Debug)]
struct Near {
    graph: Arc<Followed<ItemGraph>>,
    /// Items that a search keeps in sight.
    breadth: usize,
    recall: Arc<Recall>,
}

/// How lists were found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SearchFigures {
    /// Whether lists may be approximate.
    pub kind: SearchKind,
    /// Exact lists of known users.
    pub exact: u64,
    /// Approximate ones.
    pub approximate: u64,
    /// Approximate ones that were compared with the exact ones.
    pub compared: u64,
    /// The share of the best items that the newest of those have, up to a thousand lists; none before the first.
    pub recall: Option<f64>,
}

impl Search {
    /// As it is configured.
    #[must_use]
    pub fn new(config: &ServeConfig) -> Self {
        let near = || Near { graph: Arc::default(), breadth: config.search_ef, recall: Arc::default() };
        Self { near: (config.search == SearchKind::Approximate).then(near), ..Self::default() }
    }

    /// The best `n` of the first `n_items` items that `may_be_shown`, best first; none where there is no index yet: then one
    /// is made in the background.
    pub(super) fn best(
        &self,
        products: &InnerProducts<'_>,
        n_items: u32,
        n: usize,
        may_be_shown: impl Fn(u32) -> bool,
    ) -> Option<Vec<Scored>> {
        if products.items.len() < WORTH_IT {
            return None;
        }
        let prepared = self.index.prepared(products)?;
        let mut found = Found::new(products, n, may_be_shown);
        found.look_at_changed(&prepared, n_items);
        if n > 0 {
            let mut scanned = Scanned { found: &mut found, prepared: &prepared };
            prepared.index.scan(products.user, products.base, &mut scanned);
        }
        Some(found.best.into_sorted())
    }

    /// As [`Search::best`], but items that score higher may be missing. None where that is not allowed, not worth it or not
    /// possible now; and where fewer than `n` are found, for there may be more.
    pub(super) fn nearly_best(
        &self,
        products: &InnerProducts<'_>,
        n_items: u32,
        n: usize,
        may_be_shown: impl Fn(u32) -> bool,
    ) -> Option<Vec<Scored>> {
        let near = self.near.as_ref().filter(|near| (1..=near.breadth).contains(&n))?;
        if products.items.len() < WORTH_A_GRAPH {
            return None;
        }
        let prepared = near.graph.prepared(products)?;
        if prepared.changed.len() as usize > products.items.len() / STALE_SHARE {
            return None;
        }
        let mut found = Found::new(products, n, may_be_shown);
        found.look_at_changed(&prepared, n_items);
        for item in prepared.index.near(products, near.breadth).filter(|item| !prepared.changed.contains(*item)) {
            found.look_at(item);
        }
        let best = found.best.into_sorted();
        (best.len() == n).then_some(best)
    }

    /// Counts a list of a known user.
    pub(super) fn count(&self, is_approximate: bool) {
        let count = if is_approximate { &self.approximate } else { &self.exact };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Compares an approximate list with the exact one, now and then and in the background; `exactly` hands out what finds
    /// that.
    pub(super) fn compare_beside<F>(&self, list: &[Scored], exactly: impl FnOnce() -> F)
    where
        F: FnOnce() -> Vec<Scored> + Send + 'static,
    {
        if let Some(near) = &self.near {
            near.recall.compare_beside(list, exactly);
        }
    }

    /// How lists were found.
    #[must_use]
    pub fn figures(&self) -> SearchFigures {
        let recall = self.near.as_ref().map(|near| &near.recall);
        SearchFigures {
            kind: if recall.is_some() { SearchKind::Approximate } else { SearchKind::Exact },
            exact: self.exact.load(Ordering::Relaxed),
            approximate: self.approximate.load(Ordering::Relaxed),
            compared: recall.map_or(0, |recall| recall.compared()),
            recall: recall.and_then(|recall| recall.share()),
        }
    }

    /// Brings up to date what searches are made by.
    pub(super) fn refresh(&self, products: &InnerProducts<'_>) {
        self.index.refresh(products);
        if let Some(near) = &self.near {
            near.graph.refresh(products);
        }
    }

    /// Bytes that the index takes beside the model.
    pub(super) fn bytes(&self) -> usize {
        self.index.newest.load().as_ref().map_or(0, |prepared| prepared.index.bytes())
    }
}

/// The best of what was looked at.
struct Found<'f, F> {
    best: Best,
    products: &'f InnerProducts<'f>,
    may_be_shown: F,
}

impl<'f, F: Fn(u32) -> bool> Found<'f, F> {
    fn new(products: &'f InnerProducts<'f>, n: usize, may_be_shown: F) -> Self {
        Self { best: Best::new(n), products, may_be_shown }
    }

    /// Looks at what the index does not know as it is, and at items that have no row yet.
    fn look_at_changed<I>(&mut self, prepared: &Prepared<I>, n_items: u32) {
        prepared.changed.iter().for_each(|item| self.look_at(item));
        (self.products.items.len() as u32..n_items).for_each(|item| self.offer(item, self.products.base));
    }

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

/// What a scan of the index finds.
struct Scanned<'s, 'f, F> {
    found: &'s mut Found<'f, F>,
    prepared: &'s Prepared<ItemIndex>,
}

impl<F: Fn(u32) -> bool> Scan for Scanned<'_, '_, F> {
    #[inline]
    fn least(&self) -> f32 {
        self.found.best.least()
    }

    fn reached(&mut self, place: usize) {
        let item = self.prepared.index.item(place);
        if let Some(item) = item.filter(|item| !self.prepared.changed.contains(*item)) {
            self.found.look_at(item);
        }
    }
}

#[cfg(test)]
mod tests;
