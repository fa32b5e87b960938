//! How far each rating falls from what was predicted: in intervals, by user, and watched for drift, which learners heed.
//!
//! Apart from the recommender, because evaluation watches learners by the same steps.

use super::drift::{Drift, Watching};
use super::intervals::{Intervals, UserErrors};
use super::params::RatingRange;
use super::tables::Live;
use super::{Learner, Observation};
use crate::config::DriftConfig;

/// What is known of losses, moved on event by event.
#[derive(Debug)]
pub struct Losses {
    /// How far ratings fall from what is predicted.
    pub intervals: Intervals,
    /// How far each user's do.
    pub errors: UserErrors<Live>,
    /// Where predictions have become worse.
    pub drift: Drift,
    watching: Watching,
    /// What the learner was told last.
    hastened: f32,
}

impl Losses {
    /// Goes on from these, for a learner that learns at its usual pace.
    #[must_use]
    pub fn new(config: &DriftConfig, intervals: Intervals, errors: UserErrors<Live>, drift: Drift) -> Self {
        Self { intervals, errors, drift, watching: Watching::of(config), hastened: 1.0 }
    }

    /// How many of the next `events` are learned before the pace can change: at least one, if there is one.
    #[must_use]
    pub fn steady(&self, events: usize) -> usize {
        self.drift.steady(&self.watching, events)
    }

    /// Takes in the event `seq`, which was predicted before it was learned; both within the range. Returns whether drift was
    /// detected at it.
    pub fn record(&mut self, event: &Observation, predicted: f32, seq: u64, range: RatingRange) -> bool {
        let unit = self.intervals.unit(&self.errors, event.user);
        let above = self.intervals.above(&self.errors, event.user, self.watching.user_events());
        let error = self.intervals.record(predicted, event.target, unit, range);
        self.errors.add(event.user, error);
        self.drift.observe(error - above, seq, &self.watching)
    }

    /// Has the learner learn at the pace that is called for now.
    pub fn hasten(&mut self, learner: &mut dyn Learner) {
        let factor = self.drift.factor(&self.watching);
        if factor.to_bits() != self.hastened.to_bits() {
            learner.hasten(factor);
            self.hastened = factor;
        }
    }
}
