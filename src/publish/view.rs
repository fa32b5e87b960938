//! One moment of the model, complete and never to change: what readers answer from and snapshots are taken of.

use crate::gather::MicroBatch;
use crate::learn::LearnedState;
use crate::learn::blocks::BLOCK_ROWS;

use super::history::HistoryTables;
use super::topn::{Scored, top_n};

/// Which moment of the stream a view shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// The model has learned exactly the events up to this one.
    pub seq: u64,
    /// Last micro-batch learned.
    pub batch: u64,
    /// When it was published, in milliseconds since the epoch by the wall clock. Shown, never learned from.
    pub published_at_ms: i64,
}

impl Version {
    /// The moment after `batch`, published at `now_ms` by the wall clock.
    #[must_use]
    pub fn after(batch: &MicroBatch, now_ms: i64) -> Self {
        Self { seq: batch.seqs().end - 1, batch: batch.number, published_at_ms: now_ms }
    }
}

/// Items for one user, best first.
#[derive(Clone, Debug, PartialEq)]
pub struct Recommendation {
    /// The user is not known: the items are the most popular ones.
    pub cold: bool,
    /// Items by dense index. A score is a predicted rating, not clamped; for a cold user the item's number of events.
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
    pub fn version(&self) -> Version {
        self.version
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

    /// The `n` items with the highest predicted rating that the user has not seen; the most popular ones for a user
    /// who is not known.
    #[must_use]
    pub fn recommend(&self, user: &str, n: usize) -> Recommendation {
        let personal = self.learned.users.get(user).and_then(|user| self.personal(user, n));
        let cold = personal.is_none();
        Recommendation { cold, items: personal.unwrap_or_else(|| self.popular(n)) }
    }

    /// The `n` items with most events.
    fn popular(&self, n: usize) -> Vec<Scored> {
        let scored = self.history.counts().zip(0..).map(|(count, item)| Scored { item, score: count as f32 });
        top_n(scored, n)
    }

    fn personal(&self, user: u32, n: usize) -> Option<Vec<Scored>> {
        let model = &self.learned.model;
        let (p, user_bias) = model.user(user)?;
        let base = model.mean.get() + user_bias;
        let mut seen = self.history.seen(user)?.iter().peekable();
        let rows = model.items.iter().flat_map(|block| (0..BLOCK_ROWS).map(|row| block.row(row)));
        let unseen = (0_u32..).zip(rows.take(model.n_items)).filter(|(item, _)| seen.next_if_eq(item).is_none());
        let scored = unseen.map(|(item, (q, bias))| Scored { item, score: base + bias + crate::learn::dot(p, q) });
        Some(top_n(scored, n))
    }
}
