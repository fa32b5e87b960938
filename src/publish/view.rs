//! One moment of the model, complete and never to change: what readers answer from and snapshots are taken of.

use std::sync::Arc;

use roaring::RoaringBitmap;

use crate::consume::Offsets;
use crate::gather::MicroBatch;
use crate::learn::LearnedState;
use crate::learn::away::Away;
use crate::learn::blocks::Shared;
use crate::learn::drift::Drift;
use crate::learn::intervals::{Intervals, UserErrors};
use crate::learn::tables::{Frozen, Row};

use super::history::{HistoryTables, Recent};
use super::query::Query;
use super::search::Search;
use super::topn::{Scored, top_n};

/// Which moment of the stream a view shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// The model has learned exactly the events up to this one.
    pub seq: u64,
    /// Last micro-batch learned.
    pub batch: u64,
    /// When it was published, in milliseconds since the epoch by the wall clock. Shown, never learned from.
    pub published_at_ms: i64,
    /// Next offset of each partition: every record before has been learned, or is no event.
    pub offsets: Offsets,
}

impl Version {
    /// The moment after `batch`, published at `now_ms` by the wall clock; the offsets are the caller's to add.
    #[must_use]
    pub fn after(batch: &MicroBatch, now_ms: i64) -> Self {
        let (seq, batch) = (batch.seqs().end - 1, batch.number);
        Self { seq, batch, published_at_ms: now_ms, offsets: Offsets::default() }
    }
}

/// Items for one user, best first.
#[derive(Clone, Debug, PartialEq)]
pub struct Recommendation {
    /// The user is not known: the items are the most popular ones.
    pub cold: bool,
    /// Items that score higher may be missing.
    pub approximate: bool,
    /// Items by dense index. A score is the ranking model's; for a cold user the item's number of positive events.
    pub items: Vec<Scored>,
}

/// What an earlier freshet did not learn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Addition {
    /// Intervals, and recent counts.
    Intervals,
    /// The detector of drift.
    Drift,
}

/// The model at one moment.
#[derive(Clone, Debug, Default)]
pub struct View {
    version: Version,
    learned: LearnedState,
    history: HistoryTables,
    away: Away<Frozen>,
    search: Arc<Search>,
}

impl View {
    /// A view of what was learned up to `version`.
    #[must_use]
    pub fn new(version: Version, learned: LearnedState, history: HistoryTables) -> Self {
        Self { version, learned, history, away: Away::default(), search: Arc::default() }
    }

    /// The view without the rows of these users, which are in the store alone.
    #[must_use]
    pub fn without_rows(self, away: Away<Frozen>) -> Self {
        Self { away, ..self }
    }

    /// The users who cannot be answered from this view, since their rows are in the store alone.
    #[must_use]
    pub fn away(&self) -> &Away<Frozen> {
        &self.away
    }

    /// The view, searched by what is known of earlier ones.
    pub(super) fn searched_by(self, search: &Arc<Search>) -> Self {
        Self { search: Arc::clone(search), ..self }
    }

    /// Makes what its searches need now, and not in the background when one first needs it.
    pub fn prepare_search(&self) {
        if let Some(products) = self.learned.ranking().inner_products(0) {
            self.search.refresh(&products);
        }
    }

    /// Bytes that searches take beside the model.
    #[must_use]
    pub fn search_bytes(&self) -> usize {
        self.search.bytes()
    }

    /// The view as an earlier freshet had it.
    pub(crate) fn without(mut self, addition: Addition) -> Self {
        match addition {
            Addition::Intervals => {
                (self.learned.intervals, self.learned.errors) = (Intervals::default(), UserErrors::default());
                self.history.recent = Shared::default();
            }
            Addition::Drift => self.learned.drift = Drift::default(),
        }
        self
    }

    /// Which moment it shows.
    #[must_use]
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// Ids, model and test-then-learn figures.
    #[must_use]
    pub fn learned(&self) -> &LearnedState {
        &self.learned
    }

    /// Seen items and popularity.
    #[must_use]
    pub fn history(&self) -> &HistoryTables {
        &self.history
    }

    /// The items of `query` that the ranking model scores highest, of those that somebody liked; the most popular ones for
    /// a user who is not known.
    ///
    /// From the first event on a list is the model's own: the blend learns its weights by the stage of a user's history,
    /// so that it goes from popular to personal as events tell more (HR@10 on protocol C+ of ML-100k for the second to
    /// fifth event 0.4635, by popularity 0.1460).
    #[must_use]
    pub fn recommend(&self, user: &str, query: &Query) -> Recommendation {
        let user = self.learned.users.get(user);
        let Some((user, seen)) = user.and_then(|user| Some((user, self.history.seen(user)?))) else {
            let items = self.rank(self.popularity(), &RoaringBitmap::new(), query);
            return Recommendation { cold: true, approximate: false, items };
        };
        let nearly = self.nearly(user, seen, query);
        let approximate = nearly.is_some();
        self.search.count(approximate);
        let mut items = nearly.unwrap_or_else(|| self.exactly(user, seen, query));
        items.drain(..query.offset.min(items.len()));
        Recommendation { cold: false, approximate, items }
    }

    /// Most of the best items of `query` and of what it leaves out before them; none where the list has to be exact. Now and
    /// then it is compared with the exact one, in the background.
    fn nearly(&self, user: u32, seen: &RoaringBitmap, query: &Query) -> Option<Vec<Scored>> {
        let products = self.learned.ranking().inner_products(user)?;
        let items = self.learned.items.len() as u32;
        let hidden = query.hidden(seen, items);
        if hidden.len() > u64::from(items) / 2 {
            return None;
        }
        let may_be_shown = |item| self.liked(item) > 0 && !hidden.contains(item);
        let best = self.search.nearly_best(&products, items, query.last(), may_be_shown)?;
        self.search.compare_beside(&best, || {
            let (view, seen, query) = (self.clone(), seen.clone(), query.clone());
            move || view.exactly(user, &seen, &query)
        });
        Some(best)
    }

    /// The best items of `query` and those that it leaves out before them.
    fn exactly(&self, user: u32, seen: &RoaringBitmap, query: &Query) -> Vec<Scored> {
        let found = self.found(user, seen, query);
        found.unwrap_or_else(|| {
            let scores = self.scores_for(user, query);
            self.rank(scores, seen, &Query { n: query.last(), offset: 0, ..query.clone() })
        })
    }

    /// The same by the index of items; none where the model has no inner products, or there is no index yet.
    fn found(&self, user: u32, seen: &RoaringBitmap, query: &Query) -> Option<Vec<Scored>> {
        let products = self.learned.ranking().inner_products(user)?;
        let items = self.learned.items.len() as u32;
        let hidden = query.hidden(seen, items);
        let may_be_shown = |item| self.liked(item) > 0 && !hidden.contains(item);
        self.search.best(&products, items, query.last(), may_be_shown)
    }

    /// The ranking model's score of each item, shape `(n_items,)`, as `query` needs them.
    pub(super) fn scores_for(&self, user: u32, query: &Query) -> Vec<f32> {
        if query.include_seen {
            return self.scores(user);
        }
        let mut scores = self.room();
        self.learned.ranking().score(user, &mut scores);
        scores
    }

    /// The ranking model's score of each item for a user, seen ones too, shape `(n_items,)`.
    #[must_use]
    pub fn scores(&self, user: u32) -> Vec<f32> {
        let mut scores = self.room();
        self.learned.ranking().score_with_seen(user, &mut scores);
        scores
    }

    /// Room for a number for each item.
    pub(super) fn room(&self) -> Vec<f32> {
        vec![0.0; self.learned.items.len()]
    }

    /// The number of positive events of an item: of anybody, whichever trainer learned them.
    #[must_use]
    pub fn liked(&self, item: u32) -> u64 {
        match &self.learned.exchange {
            Some(exchange) => exchange.liked(item) as u64,
            None => self.history.liked(item),
        }
    }

    /// The number of positive events of each item, shape `(n_items,)`.
    #[must_use]
    pub fn popularity(&self) -> Vec<f32> {
        if let Some(exchange) = &self.learned.exchange {
            return (0..self.learned.items.len() as u32).map(|item| exchange.liked(item)).collect();
        }
        let mut scores = Vec::with_capacity(self.learned.items.len());
        for block in &self.history.counts {
            scores.extend(block.iter().map(|liked| *liked as f32));
        }
        scores
    }

    /// The number of positive events of each item, each counting half after `HALF_LIVES[window]` of anybody; shape
    /// `(n_items,)`. The stream's own order is the clock.
    ///
    /// # Panics
    /// If `window` is no place in [`HALF_LIVES`](super::history::HALF_LIVES).
    #[must_use]
    pub fn trending(&self, window: usize) -> Vec<f32> {
        let now = self.history.positives();
        let mut scores = self.room();
        for (block, scores) in self.history.recent.iter().zip(scores.chunks_mut(Recent::SHARED)) {
            scores.iter_mut().zip(block.iter()).for_each(|(score, recent)| *score = recent.at(now, window) as f32);
        }
        scores
    }

    /// The items of `query` by any scores, one for each item: those that somebody liked and that are not in `seen`, unless
    /// `query` includes them; the best first.
    #[must_use]
    pub fn rank(&self, scores: Vec<f32>, seen: &RoaringBitmap, query: &Query) -> Vec<Scored> {
        let candidates = (0..).zip(self.shown(scores, seen, query)).map(|(item, score)| Scored { item, score });
        let mut best = top_n(candidates, query.last());
        best.drain(..query.offset.min(best.len()));
        best
    }

    /// The place of an item in the list that [`View::rank`] makes without its bounds, from 1; none where it is not in it.
    #[must_use]
    pub fn rank_of(&self, scores: Vec<f32>, seen: &RoaringBitmap, query: &Query, item: u32) -> Option<usize> {
        let shown = self.shown(scores, seen, query);
        let own = Scored { item, score: *shown.get(item as usize)? };
        let before = |(item, score): (u32, &f32)| !score.is_nan() && Scored { item, score: *score } > own;
        (!own.score.is_nan()).then(|| 1 + (0..).zip(&shown).filter(|other| before(*other)).count())
    }

    /// The scores of items that may be in an answer; those of all others are no number, which is never among the best.
    pub(super) fn shown(&self, mut scores: Vec<f32>, seen: &RoaringBitmap, query: &Query) -> Vec<f32> {
        self.keep_liked(&mut scores);
        for item in &*query.hidden(seen, scores.len() as u32) {
            if let Some(score) = scores.get_mut(item as usize) {
                *score = f32::NAN;
            }
        }
        scores
    }

    /// Puts no number in the place of what nobody liked.
    pub(super) fn keep_liked(&self, scores: &mut [f32]) {
        if self.learned.exchange.is_some() {
            for (item, score) in (0..).zip(scores) {
                *score = if self.liked(item) == 0 { f32::NAN } else { *score };
            }
            return;
        }
        for (block, scores) in self.history.counts.iter().zip(scores.chunks_mut(u64::SHARED)) {
            for (liked, score) in block.iter().zip(scores) {
                *score = if *liked == 0 { f32::NAN } else { *score };
            }
        }
    }
}
