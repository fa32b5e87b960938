//! Test-then-learn figures: every event is predicted before it is learned, and the running mean is scored beside it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::params::RatingRange;

/// Sums over every event so far. Protocol A of the project: one pass, nothing skipped, the running mean starts at 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Prequential {
    events: u64,
    model: Errors,
    baseline: Errors,
    target_sum: f64,
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
}

impl Prequential {
    /// Scores one prediction, and the running mean's, against what came. Returns what the running mean predicted.
    pub fn record(&mut self, predicted: f32, target: f32, range: RatingRange) -> f32 {
        let mean = self.running_mean().clamp(f64::from(range.low()), f64::from(range.high()));
        self.model.add(f64::from(predicted) - f64::from(target));
        self.baseline.add(mean - f64::from(target));
        self.target_sum += f64::from(target);
        self.events += 1;
        mean as f32
    }

    /// Mean of the ratings so far, or what stands for them; 0 before the first.
    #[must_use]
    pub fn running_mean(&self) -> f64 {
        if self.events == 0 { 0.0 } else { self.target_sum / self.events as f64 }
    }

    /// Events scored.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The figures so far.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        Metrics { mae: self.mae(), rmse: self.rmse(), mean_mae: self.mean_mae(), mean_rmse: self.mean_rmse() }
    }

    /// Mean absolute error of the model; 0 before the first event.
    #[must_use]
    pub fn mae(&self) -> f64 {
        self.mean(self.model.absolute)
    }

    /// Root mean squared error of the model; 0 before the first event.
    #[must_use]
    pub fn rmse(&self) -> f64 {
        self.mean(self.model.squared).sqrt()
    }

    /// Mean absolute error of the running mean; 0 before the first event.
    #[must_use]
    pub fn mean_mae(&self) -> f64 {
        self.mean(self.baseline.absolute)
    }

    /// Root mean squared error of the running mean; 0 before the first event.
    #[must_use]
    pub fn mean_rmse(&self) -> f64 {
        self.mean(self.baseline.squared).sqrt()
    }

    fn mean(&self, sum: f64) -> f64 {
        if self.events == 0 { 0.0 } else { sum / self.events as f64 }
    }
}
