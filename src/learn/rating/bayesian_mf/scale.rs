//! Ratings on the inner scale, 1 to 5, whatever the range they are accepted in.
//!
//! Apart from the model, whose prior variances and bounds are all in units of this scale.

use crate::learn::params::RatingRange;

/// Lowest rating of the inner scale.
const LOW: f64 = 1.0;

/// Width of the inner scale.
const WIDTH: f64 = 4.0;

/// A range of ratings, to and from the inner scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    low: f64,
    /// Outer units in one of the inner ones.
    unit: f64,
}

impl Scale {
    pub(super) fn of(range: RatingRange) -> Self {
        let (low, high) = (f64::from(range.low()), f64::from(range.high()));
        Self { low, unit: (high - low) / WIDTH }
    }

    /// On the inner scale, within its bounds.
    #[inline]
    pub(super) fn inner(self, rating: f32) -> f32 {
        let inner = LOW + (f64::from(rating) - self.low) / self.unit;
        inner.max(LOW).min(LOW + WIDTH) as f32
    }

    /// As it is outside; finite where `rating` is.
    #[inline]
    pub(super) fn outer(self, rating: f32) -> f32 {
        let outer = self.low + (f64::from(rating) - LOW) * self.unit;
        outer.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32
    }
}
