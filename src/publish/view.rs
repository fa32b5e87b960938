//! One moment of the model, complete and never to change: what readers answer from and snapshots are taken of.

use crate::gather::MicroBatch;
use crate::learn::LearnedState;

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

    /// The `n` items that the ranking model scores highest, of those that somebody liked and this user has not seen; the
    /// most popular ones for a user who is not known.
    #[must_use]
    pub fn recommend(&self, user: &str, n: usize) -> Recommendation {
        let personal = self.learned.users.get(user).and_then(|user| self.personal(user, n));
        let cold = personal.is_none();
        Recommendation { cold, items: personal.unwrap_or_else(|| self.popular(n)) }
    }

    /// The `n` items with most positive events.
    fn popular(&self, n: usize) -> Vec<Scored> {
        let liked = self.history.counts().zip(0..).filter(|(count, _)| *count > 0);
        top_n(liked.map(|(count, item)| Scored { item, score: count as f32 }), n)
    }

    fn personal(&self, user: u32, n: usize) -> Option<Vec<Scored>> {
        let mut seen = self.history.seen(user)?.iter().peekable();
        let mut scores = vec![0.0; self.learned.items.len()];
        self.learned.ranking().score(user, &mut scores);
        let candidates = (0_u32..).zip(scores).zip(self.history.counts());
        let unseen = candidates.filter(|((item, _), liked)| seen.next_if_eq(item).is_none() && *liked > 0);
        Some(top_n(unseen.map(|((item, score), _)| Scored { item, score }), n))
    }
}
