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
        if inner.is_nan() { LOW as f32 } else { inner.clamp(LOW, LOW + WIDTH) as f32 }
    }

    /// As it is outside; finite where `rating` is.
    #[inline]
    pub(super) fn outer(self, rating: f32) -> f32 {
        let outer = self.low + (f64::from(rating) - LOW) * self.unit;
        outer.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Config;

    fn scale(low: f32, high: f32) -> Scale {
        let mut decode = Config::default().decode;
        (decode.min_rating, decode.max_rating) = (low, high);
        Scale::of(RatingRange::of(&decode))
    }

    proptest! {
        #[test]
        fn any_range_is_mapped_there_and_back(low in -1e6f32..1e6, width in 0.5f32..1e6, at in 0.0f32..=1.0) {
            let (scale, rating) = (scale(low, low + width), low + width * at);
            let inner = scale.inner(rating);
            prop_assert!((1.0..=5.0).contains(&inner));
            prop_assert!((scale.outer(inner) - rating).abs() <= 1e-6 * (low.abs() + width));
        }
    }

    #[test]
    fn one_to_five_is_as_it_is_and_the_widest_range_stays_finite() {
        let same = scale(1.0, 5.0);
        assert_eq!([1.0, 2.0, 3.5, 5.0].map(|rating| same.inner(rating)), [1.0, 2.0, 3.5, 5.0]);
        assert_eq!([same.outer(0.25), same.outer(6.0)], [0.25, 6.0]);
        let widest = scale(f32::MIN, f32::MAX);
        assert_eq!([f32::MIN, 0.0, f32::MAX, f32::NAN].map(|rating| widest.inner(rating)), [1.0, 3.0, 5.0, 1.0]);
        assert!([-9.0, 9.0].iter().all(|rating| widest.outer(*rating).is_finite()));
    }
}
