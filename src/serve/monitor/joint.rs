//! How often each rating came, was predicted, and both together.

use serde::Serialize;
use utoipa::ToSchema;

use crate::learn::params::RatingRange;

/// Steps from the lowest rating to the highest: a tenth of a star from 1 to 5.
const FINE: usize = 40;

/// Fine steps in a coarse one: half a star.
const COARSE: usize = 5;

/// Counts of values from the lowest rating to the highest, in steps of an eighth of the way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Histogram {
    /// The value at the middle of each bin.
    pub values: Vec<f32>,
    /// Events with such a rating, or what stands for it.
    pub actual: Vec<u64>,
    /// Events that it was predicted for.
    pub predicted: Vec<u64>,
}

/// Counts by what was predicted and what came. Bin `i` begins at `low + i * step`; the last one holds the highest rating alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Joint {
    predicted_low: f64,
    predicted_step: f64,
    actual_low: f64,
    actual_step: f64,
    /// A row for each bin of what was predicted, with a count for each of what came.
    counts: Vec<Vec<u32>>,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    range: Option<RatingRange>,
    joint: Vec<Vec<u32>>,
    actual: Vec<u64>,
    predicted: Vec<u64>,
}

impl Counts {
    pub(super) fn add(&mut self, predicted: f32, actual: f32, range: RatingRange) {
        if self.range != Some(range) {
            let coarse = FINE / COARSE + 1;
            let joint = vec![vec![0; FINE + 1]; FINE + 1];
            *self = Self { range: Some(range), joint, actual: vec![0; coarse], predicted: vec![0; coarse] };
        }
        let at = |value: f32| {
            let (low, high) = (f64::from(range.low()), f64::from(range.high()));
            ((f64::from(value) - low) / (high - low) * FINE as f64).clamp(0.0, FINE as f64)
        };
        // A rating such as 3.7 is a hair below its edge in binary.
        let fine = |value| (at(value) + 1e-4) as usize;
        let coarse = |value| (at(value) / COARSE as f64).round() as usize;
        let count = &mut self.joint[fine(predicted)][fine(actual)];
        *count = count.saturating_add(1);
        self.actual[coarse(actual)] += 1;
        self.predicted[coarse(predicted)] += 1;
    }

    pub(super) fn histogram(&self) -> Histogram {
        let (low, high) = self.range.map_or((0.0, 0.0), |range| (range.low(), range.high()));
        let step = (high - low) * COARSE as f32 / FINE as f32;
        let values = (0..self.actual.len()).map(|bin| low + bin as f32 * step).collect();
        Histogram { values, actual: self.actual.clone(), predicted: self.predicted.clone() }
    }

    pub(super) fn joint(&self) -> Joint {
        let (low, high) = self.range.map_or((0.0, 0.0), |range| (f64::from(range.low()), f64::from(range.high())));
        let step = (high - low) / FINE as f64;
        Joint {
            predicted_low: low,
            predicted_step: step,
            actual_low: low,
            actual_step: step,
            counts: self.joint.clone(),
        }
    }
}
