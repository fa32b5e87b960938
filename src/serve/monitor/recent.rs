//! The newest events with what was predicted for them.

use std::collections::VecDeque;
use std::sync::Arc;

use super::LearnedEvents;

/// Events that are kept.
pub(super) const KEPT: usize = 20;

/// One event that was learned.
#[derive(Clone, Debug, PartialEq)]
pub struct Recent {
    /// Its place in the one total order.
    pub seq: u64,
    /// When the model that has learned it was published, in milliseconds since the epoch.
    pub at_ms: i64,
    /// When it happened, likewise.
    pub ts: i64,
    /// Who.
    pub user: String,
    /// With what.
    pub item: String,
    /// The rating, if it has one.
    pub rating: Option<f32>,
    /// How often, if it says so.
    pub count: Option<f32>,
    /// What was predicted before it was learned.
    pub predicted: f32,
}

#[derive(Debug, Default)]
pub(super) struct Newest(VecDeque<Arc<Recent>>);

impl Newest {
    pub(super) fn learned(&mut self, learned: &LearnedEvents<'_>) {
        let LearnedEvents { batch, outcomes, after, .. } = *learned;
        let skipped = outcomes.len().saturating_sub(KEPT);
        for ((seq, event), outcome) in batch.seqs().zip(&batch.events).zip(outcomes).skip(skipped) {
            if self.0.len() == KEPT {
                self.0.pop_front();
            }
            self.0.push_back(Arc::new(Recent {
                seq,
                at_ms: after.version().published_at_ms,
                ts: event.ts,
                user: event.user.clone(),
                item: event.item.clone(),
                rating: event.rating,
                count: event.count,
                predicted: outcome.predicted,
            }));
        }
    }

    pub(super) fn events(&self) -> Vec<Arc<Recent>> {
        self.0.iter().cloned().collect()
    }
}
