//! What one learner made of a stream: an outcome for each judged event, and what it cost.

use std::time::Duration;

use crate::learn::Model;

/// What an evaluation has come to, for a progress bar.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// A learner begins.
    Learner {
        /// Its name.
        name: &'a str,
        /// Which one it is, from 1.
        number: usize,
        /// Of how many.
        of: usize,
        /// Events it will see.
        events: u64,
    },
    /// So many more events are done.
    Events(u64),
}

/// One learner's pass over the stream.
#[derive(Debug)]
pub(super) struct Run {
    /// What came of each judged event, in order: see [`super::Metric`].
    pub(super) outcomes: Vec<f64>,
    /// Time spent learning.
    pub(super) learning: Duration,
    /// Time spent scoring and ranking, where items are ranked.
    pub(super) scoring: Option<Duration>,
    /// Number of items that were in some list of the best ten, where items are ranked.
    pub(super) listed: Option<u64>,
    /// Predictions or scores that were not finite.
    pub(super) non_finite: u64,
    /// Bytes of the published model.
    pub(super) bytes: u64,
}

/// Bytes that a published model has in a store.
pub(super) fn bytes(model: &dyn Model) -> u64 {
    let tables: u64 = model.tables().iter().map(crate::learn::tables::Table::bytes).sum();
    tables + model.scalars().len() as u64
}
