//! Figures of a stream: the mean of the last values, words, and events a second. Pure: time comes in with the records.

use std::collections::VecDeque;

/// The time over which events are counted for a rate.
const SPAN_MS: i64 = 5_000;
/// Width of a bucket of time.
const BUCKET_MS: i64 = 100;
/// Buckets that are kept: how late a record may be and still count.
const BUCKETS: usize = 600;

/// A number as it was written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    /// Without a fraction.
    Whole(i64),
    /// Any other, finite.
    Real(f64),
}

impl Number {
    /// The number that a text is, without the white space around it.
    pub(super) fn of(text: &str) -> Option<Self> {
        let text = text.trim();
        // `inf`, `nan` and their like are words.
        let digits = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
        if !digits {
            return None;
        }
        let whole = text.parse().map(Self::Whole);
        whole.ok().or_else(|| text.parse().ok().filter(|real: &f64| real.is_finite()).map(Self::Real))
    }

    pub(super) fn as_f64(self) -> f64 {
        match self {
            Self::Whole(whole) => whole as f64,
            Self::Real(real) => real,
        }
    }
}

/// Words of a text: what white space parts.
pub(super) fn words(text: &str) -> u64 {
    text.split_whitespace().count() as u64
}

/// The mean of the last values, in constant time for each.
///
/// It never subtracts, so that a large value leaves no error behind: the older values are held as sums up to the newest of
/// them, the newer ones as one sum; when the older ones are used up, the newer ones take their place.
#[derive(Debug)]
pub(super) struct RollingMean {
    size: usize,
    /// Sums of the older values from each one on, the oldest last.
    older: Vec<f64>,
    newer: Vec<f64>,
    newer_sum: f64,
}

impl RollingMean {
    pub(super) fn new(size: usize) -> Self {
        Self { size: size.max(1), older: Vec::new(), newer: Vec::new(), newer_sum: 0.0 }
    }

    /// The mean of the last values with this one, once there are enough of them.
    pub(super) fn push(&mut self, value: f64) -> Option<f64> {
        if self.older.len() + self.newer.len() == self.size {
            if self.older.is_empty() {
                let mut sum = 0.0;
                for value in self.newer.drain(..).rev() {
                    sum += value;
                    self.older.push(sum);
                }
                self.newer_sum = 0.0;
            }
            self.older.pop();
        }
        self.newer.push(value);
        self.newer_sum += value;
        let full = self.older.len() + self.newer.len() == self.size;
        full.then(|| (self.older.last().unwrap_or(&0.0) + self.newer_sum) / self.size as f64)
    }
}

/// Events a second, by the log's timestamps, over the five seconds up to each event.
#[derive(Debug, Default)]
pub(super) struct Rate {
    /// Events in each bucket of time, the newest last.
    counts: VecDeque<u32>,
    /// Number of the newest bucket.
    newest: i64,
}

impl Rate {
    /// The rate with an event of this time; none if it comes a minute later than others.
    pub(super) fn push(&mut self, at_ms: i64) -> Option<f64> {
        let bucket = at_ms.div_euclid(BUCKET_MS);
        if self.counts.is_empty() {
            self.newest = bucket;
            self.counts.resize(BUCKETS, 0);
        }
        for _ in 0..(bucket - self.newest).clamp(0, BUCKETS as i64) {
            self.counts.pop_front();
            self.counts.push_back(0);
        }
        self.newest = self.newest.max(bucket);
        let back = usize::try_from(self.newest - bucket).ok()?;
        let at = BUCKETS.checked_sub(1 + back)?;
        self.counts[at] += 1;
        let span = (SPAN_MS / BUCKET_MS) as usize;
        let counted: u64 = self.counts.range((at + 1).saturating_sub(span)..=at).map(|&count| u64::from(count)).sum();
        Some(counted as f64 / (SPAN_MS as f64 / 1_000.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_mean_of_one_to_ten_over_three_is_that_of_the_tutorial() {
        let mut mean = RollingMean::new(3);
        let means: Vec<_> = (1..=10).map(|value| mean.push(f64::from(value))).collect();
        let expected: Vec<_> = [None, None].into_iter().chain((2..=9).map(|mean| Some(f64::from(mean)))).collect();
        assert_eq!(means, expected);
    }

    #[test]
    fn a_large_value_leaves_no_error_behind() {
        let mut mean = RollingMean::new(2);
        let means: Vec<_> = [1e300, 1.0, 2.0, 4.0].map(|value| mean.push(value)).to_vec();
        assert_eq!(means[2..], [Some(1.5), Some(3.0)]);
    }

    #[test]
    fn numbers_are_told_from_words() {
        for (text, number) in [
            ("5", Some(Number::Whole(5))),
            (" -7\n", Some(Number::Whole(-7))),
            ("1.5", Some(Number::Real(1.5))),
            ("-1e3", Some(Number::Real(-1000.0))),
            ("9223372036854775808", Some(Number::Real(9.223_372_036_854_776e18))),
            ("1e999", None),
            ("NaN", None),
            ("inf", None),
            ("-inf", None),
            ("", None),
            ("5 apples", None),
        ] {
            assert_eq!(Number::of(text), number, "{text:?}");
        }
    }

    #[test]
    fn words_are_parted_by_white_space() {
        for (text, count) in [("", 0), ("  ", 0), ("one", 1), (" one\ttwo\u{3000}three\n", 3), ("it's well-known", 2)] {
            assert_eq!(words(text), count, "{text:?}");
        }
    }

    #[test]
    fn a_rate_is_that_of_the_last_seconds() {
        let mut rate = Rate::default();
        let rates: Vec<_> = (0..1_000).map(|n| rate.push(n * 10).unwrap()).collect();
        assert_eq!(rates[0], 0.2);
        assert_eq!(rates[999], 100.0, "an event each 10 ms");
        assert_eq!(rate.push(1_000_000), Some(0.2), "long after");
        assert_eq!(rate.push(999_900), Some(0.2), "late, and counted where it belongs");
        assert_eq!(rate.push(1_000_000), Some(0.6));
        assert_eq!(rate.push(900_000), None, "too late to be told");
        assert_eq!(rate.push(i64::MAX), Some(0.2));
        assert_eq!(rate.push(i64::MIN / 2), None);
    }

    proptest! {
        #[test]
        fn the_rolling_mean_is_the_mean_of_the_last_values(
            size in 1_usize..20,
            values in prop::collection::vec(-1e6_f64..1e6, 0..100),
        ) {
            let mut mean = RollingMean::new(size);
            for (at, &value) in values.iter().enumerate() {
                let found = mean.push(value);
                prop_assert_eq!(found.is_some(), at + 1 >= size);
                if let Some(found) = found {
                    let exact = values[at + 1 - size..=at].iter().sum::<f64>() / size as f64;
                    prop_assert!((found - exact).abs() < 1e-6, "{} {}", found, exact);
                }
            }
        }

        #[test]
        fn no_time_makes_the_rate_panic(times in prop::collection::vec(any::<i64>(), 0..50)) {
            let mut rate = Rate::default();
            for time in times {
                rate.push(time);
            }
        }
    }
}
