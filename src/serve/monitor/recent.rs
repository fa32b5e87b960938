//! The newest events with what was predicted for them.

use std::collections::VecDeque;
use std::sync::Arc;

use super::LearnedEvents;
use crate::decode::Event;

/// Events that are kept.
pub(super) const KEPT: usize = 20;

/// One event that was learned.
#[derive(Clone, Debug, PartialEq)]
pub struct Recent {
    /// Its place in the one total order.
    pub seq: u64,
    /// When the model that has learned it was published, in milliseconds since the epoch; none where that was before the
    /// start.
    pub at_ms: Option<i64>,
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
            self.add(seq, event, outcome.predicted, Some(after.version().published_at_ms));
        }
    }

    pub(super) fn add(&mut self, seq: u64, event: &Event, predicted: f32, at_ms: Option<i64>) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        let Event { user, item, rating, count, ts, .. } = event;
        let (user, item) = (user.clone(), item.clone());
        self.0.push_back(Arc::new(Recent {
            seq,
            at_ms,
            ts: *ts,
            user,
            item,
            rating: *rating,
            count: *count,
            predicted,
        }));
    }

    pub(super) fn events(&self) -> Vec<Arc<Recent>> {
        self.0.iter().cloned().collect()
    }
}
