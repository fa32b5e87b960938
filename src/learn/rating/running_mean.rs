//! The mean of the ratings so far: the baseline that every learner has to beat, and the base that others add to.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::learn::tables::Table;
use crate::learn::{Learner, Model, Observation, Scorer, to_scalars};

/// Mean of the targets so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunningMean {
    count: u64,
    sum: f64,
}

impl RunningMean {
    /// Takes in one target.
    #[inline]
    pub fn add(&mut self, value: f32) {
        self.count += 1;
        self.sum += f64::from(value);
    }

    /// Values taken in.
    #[inline]
    #[must_use]
    pub fn count(self) -> u64 {
        self.count
    }

    /// The mean; 0 before the first value.
    #[inline]
    #[must_use]
    pub fn get(self) -> f32 {
        if self.count == 0 { 0.0 } else { (self.sum / self.count as f64) as f32 }
    }
}

impl Scorer for RunningMean {
    fn rating(&self, _user: u32, _item: u32) -> Option<f32> {
        Some(self.get())
    }

    fn score(&self, _user: u32, scores: &mut [f32]) {
        scores.fill(self.get());
    }
}

impl Learner for RunningMean {
    fn learn(&mut self, event: &Observation) -> Option<f32> {
        let before = self.get();
        self.add(event.target);
        Some(before)
    }

    fn publish(&mut self) -> Arc<dyn Model> {
        Arc::new(*self)
    }
}

impl Model for RunningMean {
    fn thaw(&self) -> Box<dyn Learner> {
        Box::new(*self)
    }

    fn scalars(&self) -> Vec<u8> {
        to_scalars(self)
    }

    fn tables(&self) -> Vec<Table> {
        Vec::new()
    }
}
