//! The figures: each is a mean over judged events, or a function of one.
//!
//! Apart from the intervals and the segments, which work alike for every figure that is made so.

use super::Protocol;

/// A figure. Its value at one event is a function of the outcome there: the error of a predicted rating, or the rank of
/// the item, 0 where it was not known yet.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Metric {
    /// Mean absolute error.
    Mae,
    /// Root mean squared error.
    Rmse,
    /// Share of events whose item is among the best 10.
    Hr10,
    /// Share of events whose item is among the best 20.
    Hr20,
    /// Normalized discounted cumulative gain at 10: mean of `1 / log2(1 + rank)` where the rank is 10 or better.
    Ndcg10,
    /// Mean reciprocal rank over the whole list.
    Mrr,
}

impl Metric {
    /// The figures of a protocol, the one that counts first being that of [`Metric::main`].
    #[must_use]
    pub fn of(protocol: Protocol) -> &'static [Self] {
        match protocol {
            Protocol::Rating => &[Self::Mae, Self::Rmse],
            Protocol::Topn => &[Self::Hr10, Self::Hr20, Self::Ndcg10, Self::Mrr],
        }
    }

    /// The figure of a protocol that learners are compared by.
    #[must_use]
    pub fn main(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Rating => Self::Rmse,
            Protocol::Topn => Self::Hr10,
        }
    }

    /// The figures of a protocol that are followed over the stream.
    #[must_use]
    pub fn followed(protocol: Protocol) -> &'static [Self] {
        match protocol {
            Protocol::Rating => &[Self::Rmse, Self::Mae],
            Protocol::Topn => &[Self::Hr10, Self::Ndcg10],
        }
    }

    /// For people.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Mae => "MAE",
            Self::Rmse => "RMSE",
            Self::Hr10 => "HR@10",
            Self::Hr20 => "HR@20",
            Self::Ndcg10 => "NDCG@10",
            Self::Mrr => "MRR",
        }
    }

    /// For machines: its name in JSON and in CSV.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Mae => "mae",
            Self::Rmse => "rmse",
            Self::Hr10 => "hr_10",
            Self::Hr20 => "hr_20",
            Self::Ndcg10 => "ndcg_10",
            Self::Mrr => "mrr",
        }
    }

    /// What one event adds to the mean.
    pub(super) fn value(self, outcome: f64) -> f64 {
        let within = |best: f64| outcome > 0.0 && outcome <= best;
        match self {
            Self::Mae => outcome.abs(),
            Self::Rmse => outcome * outcome,
            Self::Hr10 => f64::from(u8::from(within(10.0))),
            Self::Hr20 => f64::from(u8::from(within(20.0))),
            Self::Ndcg10 if within(10.0) => 1.0 / (1.0 + outcome).log2(),
            Self::Mrr if outcome > 0.0 => 1.0 / outcome,
            Self::Ndcg10 | Self::Mrr => 0.0,
        }
    }

    /// The figure, from the mean.
    pub(super) fn finish(self, mean: f64) -> f64 {
        if self == Self::Rmse { mean.sqrt() } else { mean }
    }

    /// How much the figure moves with the mean: the derivative of [`Metric::finish`].
    pub(super) fn slope(self, mean: f64) -> f64 {
        match self {
            // A root at 0 has no slope; there is no error either that could vary.
            Self::Rmse if mean > 0.0 => 0.5 / mean.sqrt(),
            Self::Rmse => 0.0,
            _ => 1.0,
        }
    }
}

impl serde::Serialize for Metric {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_count_as_the_protocol_defines_and_a_miss_counts_nothing() {
        let values = |metric: Metric| [0.0, 1.0, 10.0, 11.0, 20.0, 21.0].map(|rank| metric.value(rank));
        assert_eq!(values(Metric::Hr10), [0.0, 1.0, 1.0, 0.0, 0.0, 0.0]);
        assert_eq!(values(Metric::Hr20), [0.0, 1.0, 1.0, 1.0, 1.0, 0.0]);
        assert_eq!(values(Metric::Mrr), [0.0, 1.0, 0.1, 1.0 / 11.0, 0.05, 1.0 / 21.0]);
        assert_eq!(values(Metric::Ndcg10), [0.0, 1.0, 1.0 / 11.0_f64.log2(), 0.0, 0.0, 0.0]);
    }

    #[test]
    fn errors_count_by_size_and_by_square() {
        assert_eq!([-2.0, 0.5].map(|error| Metric::Mae.value(error)), [2.0, 0.5]);
        assert_eq!([-2.0, 0.5].map(|error| Metric::Rmse.value(error)), [4.0, 0.25]);
        assert_eq!((Metric::Rmse.finish(4.0), Metric::Rmse.slope(4.0), Metric::Rmse.slope(0.0)), (2.0, 0.25, 0.0));
    }
}
