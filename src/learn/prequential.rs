//! Test-then-learn figures: every event is predicted before it is learned, and the running mean is scored beside it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::params::RatingRange;

/// Every event so far. Protocol A of the project: one pass, nothing skipped, the running mean starts at 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Prequential {
    sums: Sums,
    target_sum: f64,
}

/// Sums over some events, of the model's errors and of the running mean's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sums {
    events: u64,
    model: Errors,
    baseline: Errors,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Errors {
    absolute: f64,
    squared: f64,
}

/// Test-then-learn figures over every event so far, with the running mean of the ratings beside them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Metrics {
    /// Mean absolute error of the model.
    pub mae: f64,
    /// Root mean squared error of the model.
    pub rmse: f64,
    /// Mean absolute error of the running mean.
    pub mean_mae: f64,
    /// Root mean squared error of the running mean.
    pub mean_rmse: f64,
}

impl Errors {
    fn add(&mut self, error: f64) {
        self.absolute += error.abs();
        self.squared += error * error;
    }

    fn remove(&mut self, error: f64) {
        // What is left of sums that were rounded is never below nothing.
        self.absolute = (self.absolute - error.abs()).max(0.0);
        self.squared = (self.squared - error * error).max(0.0);
    }
}

impl Sums {
    /// Adds an event: how far the model's prediction, and the running mean's, fell from what came.
    pub fn add(&mut self, [model, mean]: [f64; 2]) {
        self.events += 1;
        self.model.add(model);
        self.baseline.add(mean);
    }

    /// Takes away an event that was added.
    pub fn remove(&mut self, [model, mean]: [f64; 2]) {
        self.events -= 1;
        self.model.remove(model);
        self.baseline.remove(mean);
    }

    /// Events in the sums.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The figures; 0 where there is no event.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let mean = |sum: f64| if self.events == 0 { 0.0 } else { sum / self.events as f64 };
        Metrics {
            mae: mean(self.model.absolute),
            rmse: mean(self.model.squared).sqrt(),
            mean_mae: mean(self.baseline.absolute),
            mean_rmse: mean(self.baseline.squared).sqrt(),
        }
    }
}

impl Prequential {
    /// Scores one prediction, and the running mean's, against what came. Returns what the running mean predicted.
    pub fn record(&mut self, predicted: f32, target: f32, range: RatingRange) -> f32 {
        let mean = self.running_mean().clamp(f64::from(range.low()), f64::from(range.high()));
        let target = f64::from(target);
        self.sums.add([f64::from(predicted) - target, mean - target]);
        self.target_sum += target;
        mean as f32
    }

    /// Mean of the ratings so far, or what stands for them; 0 before the first.
    #[must_use]
    pub fn running_mean(&self) -> f64 {
        let events = self.events();
        if events == 0 { 0.0 } else { self.target_sum / events as f64 }
    }

    /// The sums over every event so far.
    #[must_use]
    pub fn sums(&self) -> &Sums {
        &self.sums
    }

    /// Events scored.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.sums.events
    }

    /// The figures so far.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.sums.metrics()
    }

    /// Mean absolute error of the model; 0 before the first event.
    #[must_use]
    pub fn mae(&self) -> f64 {
        self.metrics().mae
    }

    /// Root mean squared error of the model; 0 before the first event.
    #[must_use]
    pub fn rmse(&self) -> f64 {
        self.metrics().rmse
    }

    /// Mean absolute error of the running mean; 0 before the first event.
    #[must_use]
    pub fn mean_mae(&self) -> f64 {
        self.metrics().mean_mae
    }

    /// Root mean squared error of the running mean; 0 before the first event.
    #[must_use]
    pub fn mean_rmse(&self) -> f64 {
        self.metrics().mean_rmse
    }
}
