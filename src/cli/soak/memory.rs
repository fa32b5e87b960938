//! Whether memory stays flat: the line through what was seen of it.

/// The line through samples of memory, by least squares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Trend {
    /// Where it begins, in bytes.
    pub(super) start: f64,
    /// Bytes a second.
    pub(super) slope: f64,
}

impl Trend {
    /// Through the samples (seconds, bytes) from a time on; none through fewer than three.
    pub(super) fn of(samples: &[(f64, u64)], from: f64) -> Option<Self> {
        let samples = &samples[samples.partition_point(|(at, _)| *at < from)..];
        if samples.len() < 3 {
            return None;
        }
        let n = samples.len() as f64;
        let mean_at = samples.iter().map(|(at, _)| at).sum::<f64>() / n;
        let mean = samples.iter().map(|(_, bytes)| *bytes as f64).sum::<f64>() / n;
        let spread: f64 = samples.iter().map(|(at, _)| (at - mean_at) * (at - mean_at)).sum();
        let both: f64 = samples.iter().map(|(at, bytes)| (at - mean_at) * (*bytes as f64 - mean)).sum();
        let slope = if spread > 0.0 { both / spread } else { 0.0 };
        Some(Self { start: mean + slope * (samples[0].0 - mean_at), slope })
    }

    /// Bytes that it would grow by in an hour.
    pub(super) fn per_hour(self) -> f64 {
        self.slope * 3_600.0
    }

    /// The same in percent of where it begins.
    pub(super) fn percent_per_hour(self) -> f64 {
        100.0 * self.per_hour() / self.start.max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_through_what_comes_after_the_beginning() {
        let samples: Vec<(f64, u64)> =
            (0..100).map(|n| (f64::from(n), if n < 30 { 7 } else { 1_000 + 2 * (n as u64 - 30) })).collect();
        let trend = Trend::of(&samples, 30.0).unwrap();
        assert!((trend.start - 1_000.0).abs() < 1e-6 && (trend.slope - 2.0).abs() < 1e-9, "{trend:?}");
        assert!((trend.percent_per_hour() - 720.0).abs() < 1e-6);
    }

    #[test]
    fn saws_about_a_level_have_no_slope_and_few_samples_no_line() {
        let samples: Vec<(f64, u64)> = (0..300).map(|n| (f64::from(n), 1_000_000 + (n as u64 % 10) * 5_000)).collect();
        assert!(Trend::of(&samples, 0.0).unwrap().percent_per_hour().abs() < 3.0);
        assert_eq!(Trend::of(&samples, 298.0), None);
        assert_eq!(Trend::of(&[(1.0, 5); 3], 0.0), Some(Trend { start: 5.0, slope: 0.0 }));
    }
}
