//! What the error of a prediction is told from: how the user's last predictions went, and where the model is unsure.
//!
//! Apart from the [`stack`](super::stack) that learns what to make of it.

use super::core::{Core, Row, UserSide};
use super::settings::Shape;
use super::stack::{COLUMNS, Columns};
use crate::learn::tables::Storage;

/// Largest absolute value of a column.
const BOUND: f32 = 5.0;

/// Rates of the running means of a user's errors: over about 2, 5 and 18 events.
const RATES: [f32; 3] = [0.5, 0.2063, 0.0561];

/// Error that a user's ratings are usually predicted with.
const USUAL_ERROR: f32 = super::core::USUAL_ERROR;

/// Floats in a row of [`Residuals`].
pub(super) const WIDTH: usize = 8;

/// How a user's last predictions went.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Residuals {
    /// Running means of the slow core's errors, over ever more events.
    means: [f32; 3],
    /// 1 if the last event came at the same instant as the one before it, else 0.
    in_burst: f32,
    /// Events at the instant of the last one, and the sum of their errors.
    burst_events: f32,
    burst_errors: f32,
    /// Events of the user.
    pub events: f32,
}

impl Residuals {
    pub(super) fn read(row: Option<&[f32]>) -> Self {
        let Some(&[a, b, c, in_burst, burst_events, burst_errors, events, ..]) = row else { return Self::default() };
        Self { means: [a, b, c], in_burst, burst_events, burst_errors, events }
    }

    pub(super) fn write(self, row: &mut [f32]) {
        let Self { means: [a, b, c], in_burst, burst_events, burst_errors, events } = self;
        row.copy_from_slice(&[a, b, c, in_burst, burst_events, burst_errors, events, 0.0]);
    }

    /// Takes in the error of the user's next event.
    pub(super) fn add(&mut self, error: f32, same_instant: bool) {
        for (mean, rate) in self.means.iter_mut().zip(RATES) {
            *mean += rate * (error - *mean);
        }
        self.in_burst = f32::from(same_instant);
        if !same_instant {
            (self.burst_events, self.burst_errors) = (0.0, 0.0);
        }
        self.burst_events += 1.0;
        self.burst_errors += error;
        self.events += 1.0;
    }
}

/// The columns that are the user's own, worked out once for any number of items.
#[derive(Clone, Copy, Debug)]
pub(super) struct UserColumns {
    residuals: Residuals,
    burst_mean: f32,
    in_burst: f32,
    activity: f32,
    error_size: f32,
}

impl UserColumns {
    pub(super) fn new(residuals: Residuals, error_size: f32, same_instant: bool) -> Self {
        let Residuals { burst_events, burst_errors, events, .. } = residuals;
        let burst_mean = burst_errors / (burst_events + 3.0);
        Self {
            residuals,
            burst_mean: if same_instant { burst_mean } else { 0.0 },
            in_burst: if same_instant { 0.3 } else { 0.0 },
            activity: (libm::logf(events + 1.0) - 3.5) * 0.4,
            error_size: error_size - USUAL_ERROR,
        }
    }

    /// The columns of a prediction: `above` is what the slow core predicts above the mean, `twin` what the fast one
    /// predicts above that.
    #[inline]
    pub(super) fn of<S: Storage>(
        &self,
        user: &UserSide<'_>,
        item: Row<'_>,
        shape: Shape,
        above: f32,
        twin: f32,
    ) -> Columns {
        let Self { residuals, burst_mean, in_burst, activity, error_size } = *self;
        let Residuals { means: [short, middle, long], in_burst: was_in_burst, .. } = residuals;
        let (features, bias) = (item.vector, shape.bias());
        let (popularity, variance, item_activity, top) = (features[1], features[4], features[5], features[6]);
        let unsure = Core::<S>::variance(user, item);
        let columns = [
            // Of the prediction, and of its two cores' disagreement.
            [1.0, above, above * above, above * above * above, twin, user.drift],
            // Of the user's last errors.
            [short, middle, long, middle * was_in_burst, was_in_burst * 0.3, middle * popularity],
            // Of what is rated at the same instant.
            [burst_mean, in_burst, 0.0, 0.0, 0.0, 0.0],
            // Of how much is known of the user, and how well that went.
            [
                activity,
                activity * above,
                error_size,
                error_size * above,
                user.weights[0],
                above * (user.weights[bias] - 1.0),
            ],
            // Of the item.
            [popularity, features[bias], variance, variance * above, item_activity, top],
        ];
        let mut bounded = [0.0; COLUMNS];
        let places = bounded.iter_mut();
        for (place, column) in places.zip(columns.as_flattened().iter().chain(&[unsure, unsure * above])) {
            *place = if column.is_finite() { column.clamp(-BOUND, BOUND) } else { 0.0 };
        }
        bounded
    }
}
