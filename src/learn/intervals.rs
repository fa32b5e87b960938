//! How far ratings fall from what was predicted for them: intervals that hold a stated share of them, learned online.
//!
//! Apart from the models, because it works for any of them: nothing is assumed of how errors are spread. For each coverage c
//! two bounds are tracked, of what falls below the prediction and of what falls above it, each to be missed by (1 - c) / 2
//! of the ratings. A bound moves out by a step where it was missed and in by a small part of the step where it was not, so
//! that in the long run it is missed as often as it should be, whatever the stream does: quantile tracking (Gibbs, Candès,
//! "Adaptive conformal inference under distribution shift", `NeurIPS` 2021; Angelopoulos, Candès, Tibshirani, "Conformal PID
//! control for time series prediction", `NeurIPS` 2023), with steps that begin large and become small (Angelopoulos, Barber,
//! Bates, "Online conformal prediction with decaying step sizes", ICML 2024).
//!
//! Bounds are in units of what is usual for the user: the mean absolute error of his ratings, drawn toward everybody's by
//! [`PRIOR`] events' worth, over everybody's. On ML-100k that halves how far users' own shares at 0.9 lie apart (a standard
//! deviation of 0.029 against 0.061, of which chance alone makes 0.03), and intervals of 0.9 are 2 % shorter.

use serde::{Deserialize, Serialize};

use super::params::RatingRange;
use super::tables::{Frozen, Live, Matrix, Storage, Table, Tables};

/// Shares of the ratings that intervals are to hold, ascending.
pub const COVERAGES: [f64; 4] = [0.5, 0.8, 0.9, 0.95];

/// Bounds before anything is known, as shares of the range's width: those of a normal distribution whose standard deviation
/// is a quarter of it.
const FIRST: [f64; COVERAGES.len()] = [0.169, 0.320, 0.411, 0.490];

/// A step as a share of the range's width: the first, and the smallest. Steps become smaller by the root of the events.
const FIRST_STEP: f64 = 0.1;
const LEAST_STEP: f64 = 0.005;

/// Events' worth of everybody's error in that of a user.
const PRIOR: f64 = 10.0;

/// Largest bound, as a share of the range's width; a user's unit may make less of it.
const BOUND: f64 = 8.0;

/// The bounds of one coverage.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Bounds {
    /// How far below the prediction a rating may fall, as a share of the range's width times the user's unit.
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
    /// Absolute errors summed up, as shares of the range's width.
    errors: f64,
    /// One for each of [`COVERAGES`]; none lies within the one before it.
    bounds: [Bounds; COVERAGES.len()],
}

impl Default for Intervals {
    fn default() -> Self {
        Self { events: 0, errors: 0.0, bounds: FIRST.map(|first| Bounds { below: first, above: first, held: 0 }) }
    }
}

/// The place of a coverage in [`COVERAGES`]; none for another one.
#[must_use]
pub fn level_of(coverage: f64) -> Option<usize> {
    COVERAGES.iter().position(|known| (known - coverage).abs() < 1e-9)
}

impl Intervals {
    /// Takes in one event of a user with this unit that was predicted before it was learned; both within the range. Returns
    /// the absolute error as a share of the range's width.
    pub fn record(&mut self, predicted: f32, target: f32, unit: f64, range: RatingRange) -> f64 {
        self.events += 1;
        let step = (FIRST_STEP / (self.events as f64).sqrt()).max(LEAST_STEP);
        let mut within = [0.0; 2];
        for (level, coverage) in COVERAGES.iter().enumerate() {
            let (low, high) = self.around(predicted, level, unit, range);
            let bounds = &mut self.bounds[level];
            bounds.held += u64::from(low <= target && target <= high);
            let allowed = (1.0 - coverage) / 2.0;
            let move_by = |missed: bool| step * (f64::from(u8::from(missed)) - allowed);
            bounds.below = (bounds.below + move_by(target < low)).clamp(within[0], BOUND);
            bounds.above = (bounds.above + move_by(target > high)).clamp(within[1], BOUND);
            within = [bounds.below, bounds.above];
        }
        let error =
            (f64::from(predicted) - f64::from(target)).abs() / (f64::from(range.high()) - f64::from(range.low()));
        self.errors += error;
        error
    }

    /// By how much the mean absolute error of a user is above everybody's, as a share of the range's width, drawn toward 0 by
    /// `prior` events' worth.
    #[must_use]
    pub fn above<S: Storage>(&self, errors: &UserErrors<S>, user: u32, prior: f64) -> f64 {
        let usual = self.errors / self.events.max(1) as f64;
        match errors.0.get(user) {
            Some([sum, count]) => (f64::from(*sum) - f64::from(*count) * usual) / (prior + f64::from(*count)),
            _ => 0.0,
        }
    }

    /// What is usual for a user of whom these errors are known, in units of what is usual for everybody: 1 where nothing is.
    #[must_use]
    pub fn unit<S: Storage>(&self, errors: &UserErrors<S>, user: u32) -> f64 {
        let usual = self.errors / self.events.max(1) as f64;
        match errors.0.get(user) {
            Some([sum, count]) if usual > 0.0 => {
                (PRIOR * usual + f64::from(*sum)) / ((PRIOR + f64::from(*count)) * usual)
            }
            _ => 1.0,
        }
    }

    /// The interval of a coverage around a prediction for a user with this unit; the prediction is within the range and in the interval.
    ///
    /// # Panics
    /// If `level` is no place in [`COVERAGES`].
    #[must_use]
    pub fn around(&self, predicted: f32, level: usize, unit: f64, range: RatingRange) -> (f32, f32) {
        let Bounds { below, above, .. } = self.bounds[level];
        let width = unit * (f64::from(range.high()) - f64::from(range.low()));
        let predicted = f64::from(range.clamp(predicted));
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
        let is_share = |bounds: &Bounds| [bounds.below, bounds.above].iter().all(|bound| (0.0..=BOUND).contains(bound));
        let nested = self.bounds.is_sorted_by(|a, b| a.below <= b.below && a.above <= b.above);
        nested
            && self.errors.is_finite()
            && self.errors >= 0.0
            && self.bounds.iter().all(|bounds| is_share(bounds) && bounds.held <= self.events)
    }
}

/// Errors of each user's ratings, shape `(n_users, 2)`: the absolute ones summed up, as shares of the range's width, and
/// their number.
#[derive(Clone, Debug)]
pub struct UserErrors<S: Storage>(Matrix<S>);

impl Default for UserErrors<Live> {
    fn default() -> Self {
        Self(Matrix::new(2))
    }
}

impl Default for UserErrors<Frozen> {
    fn default() -> Self {
        UserErrors::<Live>::default().publish()
    }
}

impl UserErrors<Live> {
    /// Takes in the error of a user's rating.
    pub fn add(&mut self, user: u32, error: f64) {
        self.0.grow_to(user, |_, _| ());
        let row = self.0.row_mut(user);
        row[0] += error as f32;
        row[1] += 1.0;
    }

    /// Hands readers everything so far. Costs what changed since the last call.
    pub fn publish(&mut self) -> UserErrors<Frozen> {
        UserErrors(self.0.publish())
    }
}

impl UserErrors<Frozen> {
    /// Errors to go on from these.
    #[must_use]
    pub fn thaw(&self) -> UserErrors<Live> {
        UserErrors(self.0.thaw())
    }

    /// The errors as a part of a model.
    #[must_use]
    pub fn table(&self, name: &str) -> Table {
        self.0.table(name)
    }

    /// The errors of a stored part.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn read(tables: &mut Tables, name: &str) -> Result<Self, String> {
        let errors = Matrix::read(tables, name, 2)?;
        if errors.rows().any(|row| row[0] < 0.0 || row[1] < 0.0) {
            return Err(format!("{name} holds a number of errors below 0"));
        }
        Ok(Self(errors))
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
            unit in 0.0_f64..30.0,
        ) {
            let mut intervals = Intervals::default();
            for (predicted, target) in events {
                intervals.record(predicted, target, unit, range());
                prop_assert!(intervals.is_whole());
            }
            let all = [0, 1, 2, 3].map(|level| intervals.around(asked, level, unit, range()));
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
            intervals.record(predicted, target, 1.0, range());
        }
        for (level, coverage) in COVERAGES.iter().enumerate() {
            let reached = intervals.reached(level).unwrap();
            assert!((reached - coverage).abs() < 0.01, "{coverage}: {reached}");
        }
    }

    #[test]
    fn a_user_who_is_hard_to_predict_gets_longer_intervals() {
        let (mut intervals, mut errors) = (Intervals::default(), UserErrors::<Live>::default());
        for event in 0..200 {
            let (user, target) = (event % 2, if event % 4 < 2 { 3.1 } else { 2.9 });
            let target = if user == 1 { 3.0 + 10.0 * (target - 3.0) } else { target };
            let unit = intervals.unit(&errors, user);
            let error = intervals.record(3.0, target, unit, range());
            errors.add(user, error);
        }
        let [calm, wild, unknown] = [0, 1, 2].map(|user| intervals.unit(&errors, user));
        assert!(calm < 0.4 && wild > 1.5 && unknown == 1.0, "{calm} {wild}");
    }

    #[test]
    fn coverages_are_known_by_value() {
        assert_eq!([0.5, 0.95, 0.99].map(level_of), [Some(0), Some(3), None]);
        assert_eq!(Intervals::default().reached(0), None);
    }
}
