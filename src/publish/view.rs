//! One moment of the model, complete and never to change: what readers answer from and snapshots are taken of.

use roaring::RoaringBitmap;

use crate::consume::Offsets;
use crate::gather::MicroBatch;
use crate::learn::LearnedState;
use crate::learn::blocks::BLOCK_ROWS;

use super::history::HistoryTables;
use super::query::Query;
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
    /// Items by dense index. A score is the ranking model's; for a cold user the item's number of positive events.
    pub items: Vec<Scored>,
}

/// The model at one moment.
#[derive(Clone, Debug, Default)]
pub struct View {
    version: Version,
    learned: LearnedState,
    history: HistoryTables,
}

impl View {
    /// A view of what was learned up to `version`.
    #[must_use]
    pub fn new(version: Version, learned: LearnedState, history: HistoryTables) -> Self {
        Self { version, learned, history }
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
    #[must_use]
    pub fn recommend(&self, user: &str, query: &Query) -> Recommendation {
        let user = self.learned.users.get(user);
        let known = user.and_then(|user| Some((user, self.history.seen(user)?)));
        let (scores, seen) = match known {
            Some((user, seen)) => (self.scores(user), seen),
            None => (self.popularity(), &RoaringBitmap::new()),
        };
        Recommendation { cold: known.is_none(), items: self.best(scores, seen, query) }
    }

    /// The ranking model's score of each item.
    fn scores(&self, user: u32) -> Vec<f32> {
        let mut scores = vec![0.0; self.learned.items.len()];
        self.learned.ranking().score(user, &mut scores);
        scores
    }

    /// The number of positive events of each item.
    fn popularity(&self) -> Vec<f32> {
        let mut scores = Vec::with_capacity(self.learned.items.len());
        for block in &self.history.counts {
            scores.extend(block.iter().map(|liked| *liked as f32));
        }
        scores
    }

    /// The best items by these scores, one for each item.
    fn best(&self, mut scores: Vec<f32>, seen: &RoaringBitmap, query: &Query) -> Vec<Scored> {
        // What is no number is never among the best.
        for (block, scores) in self.history.counts.iter().zip(scores.chunks_mut(BLOCK_ROWS)) {
            for (liked, score) in block.iter().zip(scores) {
                *score = if *liked == 0 { f32::NAN } else { *score };
            }
        }
        for item in &*query.hidden(seen, scores.len() as u32) {
            if let Some(score) = scores.get_mut(item as usize) {
                *score = f32::NAN;
            }
        }
        let candidates = (0..).zip(scores).map(|(item, score)| Scored { item, score });
        let mut best = top_n(candidates, query.offset.saturating_add(query.n));
        best.drain(..query.offset.min(best.len()));
        best
    }
}
