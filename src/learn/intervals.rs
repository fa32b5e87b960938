//! How far ratings fall from what was predicted for them: intervals that hold a stated share of them, learned online.
//!
//! Apart from the models, because it works for any of them: nothing is assumed of how errors are spread. For each coverage c
//! two bounds are tracked, of what falls below the prediction and of what falls above it, each to be missed by (1 - c) / 2
//! of the ratings. A bound moves out by a step where it was missed and in by a small part of the step where it was not, so
//! that in the long run it is missed as often as it should be, whatever the stream does: quantile tracking (Gibbs, Candès,
//! "Adaptive conformal inference under distribution shift", `NeurIPS` 2021; Angelopoulos, Candès, Tibshirani, "Conformal PID
//! control for time series prediction", `NeurIPS` 2023), with steps that begin large and become small (Angelopoulos, Barber,
//! Bates, "Online conformal prediction with decaying step sizes", ICML 2024).

use serde::{Deserialize, Serialize};

use super::params::RatingRange;

/// Shares of the ratings that intervals are to hold, ascending.
pub const COVERAGES: [f64; 4] = [0.5, 0.8, 0.9, 0.95];

/// Bounds before anything is known, as shares of the range's width: those of a normal distribution whose standard deviation
/// is a quarter of it.
const FIRST: [f64; COVERAGES.len()] = [0.169, 0.320, 0.411, 0.490];

/// A step as a share of the range's width: the first, and the smallest. Steps become smaller by the root of the events.
const FIRST_STEP: f64 = 0.1;
const LEAST_STEP: f64 = 0.005;

/// The bounds of one coverage.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Bounds {
    /// How far below the prediction a rating may fall, as a share of the range's width.
    below: f64,
    /// The same above.
    above: f64,
    /// Ratings that fell between the two.
    held: u64,
}

/// Intervals around predictions, as learned from every event so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Intervals {
    events: u64,
    /// One for each of [`COVERAGES`]; none lies within the one before it.
    bounds: [Bounds; COVERAGES.len()],
}

impl Default for Intervals {
    fn default() -> Self {
        Self { events: 0, bounds: FIRST.map(|first| Bounds { below: first, above: first, held: 0 }) }
    }
}

/// The place of a coverage in [`COVERAGES`]; none for another one.
#[must_use]
pub fn level_of(coverage: f64) -> Option<usize> {
    COVERAGES.iter().position(|known| (known - coverage).abs() < 1e-9)
}

impl Intervals {
    /// Takes in one event that was predicted before it was learned; both within the range.
    pub fn record(&mut self, predicted: f32, target: f32, range: RatingRange) {
        self.events += 1;
        let step = (FIRST_STEP / (self.events as f64).sqrt()).max(LEAST_STEP);
        let mut within = [0.0; 2];
        for (level, coverage) in COVERAGES.iter().enumerate() {
            let (low, high) = self.around(predicted, level, range);
            let bounds = &mut self.bounds[level];
            bounds.held += u64::from(low <= target && target <= high);
            let allowed = (1.0 - coverage) / 2.0;
            let move_by = |missed: bool| step * (f64::from(u8::from(missed)) - allowed);
            bounds.below = (bounds.below + move_by(target < low)).clamp(within[0], 1.0);
            bounds.above = (bounds.above + move_by(target > high)).clamp(within[1], 1.0);
            within = [bounds.below, bounds.above];
        }
    }

    /// The interval of a coverage around a prediction, which is within the range and in the interval.
    ///
    /// # Panics
    /// If `level` is no place in [`COVERAGES`].
    #[must_use]
    pub fn around(&self, predicted: f32, level: usize, range: RatingRange) -> (f32, f32) {
        let Bounds { below, above, .. } = self.bounds[level];
        let (width, predicted) = (f64::from(range.high()) - f64::from(range.low()), f64::from(range.clamp(predicted)));
        (range.clamp((predicted - below * width) as f32), range.clamp((predicted + above * width) as f32))
    }

    /// Events so far.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Share of the events so far whose rating fell into the interval that was told before it; none before the first.
    ///
    /// # Panics
    /// If `level` is no place in [`COVERAGES`].
    #[must_use]
    pub fn reached(&self, level: usize) -> Option<f64> {
        (self.events > 0).then(|| self.bounds[level].held as f64 / self.events as f64)
    }

    /// Whether it is one that events can have made.
    pub(crate) fn is_whole(&self) -> bool {
        let is_share = |bounds: &Bounds| [bounds.below, bounds.above].iter().all(|bound| (0.0..=1.0).contains(bound));
        let nested = self.bounds.is_sorted_by(|a, b| a.below <= b.below && a.above <= b.above);
        nested && self.bounds.iter().all(|bounds| is_share(bounds) && bounds.held <= self.events)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Config;

    fn range() -> RatingRange {
        RatingRange::of(&Config::default().decode)
    }

    proptest! {
        #[test]
        fn an_interval_holds_its_prediction_and_grows_with_the_coverage(
            events in proptest::collection::vec((1.0_f32..=5.0, 1.0_f32..=5.0), 0..300), asked in -1.0_f32..7.0,
        ) {
            let mut intervals = Intervals::default();
            for (predicted, target) in events {
                intervals.record(predicted, target, range());
                prop_assert!(intervals.is_whole());
            }
            let all = [0, 1, 2, 3].map(|level| intervals.around(asked, level, range()));
            let predicted = range().clamp(asked);
            prop_assert!(all.iter().all(|(low, high)| 1.0 <= *low && *low <= predicted && predicted <= *high && *high <= 5.0));
            prop_assert!(all.is_sorted_by(|a, b| b.0 <= a.0 && a.1 <= b.1));
        }
    }

    #[test]
    fn as_many_ratings_fall_into_an_interval_as_it_says_also_after_a_change() {
        let mut intervals = Intervals::default();
        let mut generator: u64 = 7;
        let mut uniform = || {
            generator = generator.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (generator >> 40) as f32 / 16_777_216.0
        };
        for event in 0..40_000 {
            // Errors lean to one side, and become larger in the middle of the stream.
            let size = if event < 20_000 { 1.0 } else { 2.0 };
            let predicted = 2.5 + uniform();
            let target = (predicted + size * (uniform() + uniform() + uniform() - 1.3)).clamp(1.0, 5.0);
            intervals.record(predicted, target, range());
        }
        for (level, coverage) in COVERAGES.iter().enumerate() {
            let reached = intervals.reached(level).unwrap();
            assert!((reached - coverage).abs() < 0.01, "{coverage}: {reached}");
        }
    }

    #[test]
    fn coverages_are_known_by_value() {
        assert_eq!([0.5, 0.95, 0.99].map(level_of), [Some(0), Some(3), None]);
        assert_eq!(Intervals::default().reached(0), None);
    }
}
