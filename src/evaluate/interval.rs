//! 95 % confidence intervals of figures and of differences between learners.
//!
//! The events of one user are not independent, so users are what is sampled: with `S_u` the sum and `n_u` the number of a
//! user's values, the mean's standard error is `sqrt(sum_u (S_u - n_u * mean)^2) / N` (Cochran, "Sampling Techniques",
//! 3rd ed. 1977, sec. 6.3 and 11.7, the ratio estimator of clusters; Cameron and Miller, "A Practitioner's Guide to
//! Cluster-Robust Inference", 2015). A figure that is a function of a mean is treated by the delta method. Two learners
//! are compared event by event on the same events, which leaves out what made these events easy or hard for both.

use serde::Serialize;

use super::metric::Metric;

/// Standard errors that 95 % of a normal distribution lie within, to either side.
const Z: f64 = 1.959_963_984_540_054;

/// A value with its 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The value.
    pub value: f64,
    /// Lower end; none where there are fewer than two users to tell it from.
    pub low: Option<f64>,
    /// Upper end; none where there is no lower one.
    pub high: Option<f64>,
}

impl Estimate {
    fn new(value: f64, margin: Option<f64>) -> Self {
        Self { value, low: margin.map(|margin| value - margin), high: margin.map(|margin| value + margin) }
    }

    /// Half the length of the interval.
    #[must_use]
    pub fn margin(&self) -> Option<f64> {
        self.high.map(|high| high - self.value)
    }
}

/// A figure over outcomes, each with its user; none where there are no outcomes.
pub(super) fn estimate(metric: Metric, outcomes: impl Iterator<Item = (u32, f64)> + Clone) -> Option<Estimate> {
    let mean = mean(outcomes.clone().map(|(_, outcome)| metric.value(outcome)))?;
    let slope = metric.slope(mean);
    let parts = outcomes.map(|(user, outcome)| (user, slope * (metric.value(outcome) - mean)));
    Some(Estimate::new(metric.finish(mean), margin(parts)))
}

/// How much more the figure is over the second outcomes than over the first, at the same events.
pub(super) fn difference(metric: Metric, outcomes: impl Iterator<Item = (u32, f64, f64)> + Clone) -> Option<Estimate> {
    let first = mean(outcomes.clone().map(|(_, first, _)| metric.value(first)))?;
    let second = mean(outcomes.clone().map(|(_, _, second)| metric.value(second)))?;
    let part = |outcome, mean| metric.slope(mean) * (metric.value(outcome) - mean);
    let parts = outcomes.map(|(user, a, b)| (user, part(b, second) - part(a, first)));
    Some(Estimate::new(metric.finish(second) - metric.finish(first), margin(parts)))
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (count, sum) = values.fold((0_u64, 0.0), |(count, sum), value| (count + 1, sum + value));
    (count > 0).then(|| sum / count as f64)
}

/// Half the length of the interval, from what each event adds to the deviation; none with fewer than two users.
fn margin(parts: impl Iterator<Item = (u32, f64)>) -> Option<f64> {
    let mut sums: Vec<Option<f64>> = Vec::new();
    let mut count = 0_u64;
    for (user, part) in parts {
        let user = user as usize;
        if user >= sums.len() {
            sums.resize(user + 1, None);
        }
        *sums[user].get_or_insert(0.0) += part;
        count += 1;
    }
    let users = sums.iter().flatten().count();
    let squares: f64 = sums.iter().flatten().map(|sum| sum * sum).sum();
    (users > 1).then(|| Z * squares.sqrt() / count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_the_ratio_estimators() {
        // User 0: 1, 1, 0 (sum 2 of 3); user 1: 0 (sum 0 of 1). Mean 0.5; deviations 0.5 and -0.5.
        let ranks = [(0, 1.0), (0, 10.0), (0, 11.0), (1, 0.0)];
        let found = estimate(Metric::Hr10, ranks.into_iter()).unwrap();
        let margin = Z * 0.5_f64.sqrt() / 4.0;
        assert_eq!((found.value, found.margin()), (0.5, Some(0.5 + margin - 0.5)));
        assert_eq!((found.low, found.high), (Some(0.5 - margin), Some(0.5 + margin)));
    }

    #[test]
    fn a_root_has_the_interval_of_the_delta_method() {
        let errors = [(0, 1.0), (1, -2.0), (2, 2.0)];
        let found = estimate(Metric::Rmse, errors.into_iter()).unwrap();
        let squared: f64 = [1.0, 4.0, 4.0].iter().map(|square| (square - 3.0_f64) * (square - 3.0)).sum();
        assert_eq!(found.value, 3.0_f64.sqrt());
        assert!((found.margin().unwrap() - Z * squared.sqrt() / 3.0 / (2.0 * found.value)).abs() < 1e-12);
    }

    #[test]
    fn events_of_one_user_count_as_one_witness() {
        let alone = (0..100).map(|n| (n, f64::from(n % 2)));
        let together = (0..100).map(|n| (n % 2, f64::from(n % 2)));
        let [alone, together] =
            [estimate(Metric::Mae, alone), estimate(Metric::Mae, together)].map(|found| found.unwrap());
        assert_eq!(alone.value, together.value);
        assert!(together.margin() > alone.margin().map(|margin| margin * 6.0));
    }

    #[test]
    fn a_difference_is_paired() {
        // Always better by one rank place within the ten, never by a hit: no difference, and certainly so.
        let same = [(0, 2.0, 3.0), (1, 30.0, 40.0), (2, 5.0, 4.0)];
        let found = difference(Metric::Hr10, same.into_iter()).unwrap();
        assert_eq!((found.value, found.margin()), (0.0, Some(0.0)));
        let worse = (0..50).map(|user| (user, 1.0, 20.0));
        let found = difference(Metric::Hr10, worse).unwrap();
        assert_eq!((found.value, found.high), (-1.0, Some(-1.0)));
        let rmse = difference(Metric::Rmse, [(0, 1.0, 2.0), (1, 1.0, 2.0)].into_iter()).unwrap();
        assert_eq!((rmse.value, rmse.margin()), (1.0, Some(0.0)));
    }

    #[test]
    fn one_user_gives_no_interval_and_no_event_no_figure() {
        let one = estimate(Metric::Mae, [(7, 1.0), (7, 3.0)].into_iter()).unwrap();
        assert_eq!((one.value, one.low, one.high), (2.0, None, None));
        assert_eq!(estimate(Metric::Mae, std::iter::empty()), None);
    }
}
