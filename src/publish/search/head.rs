//! The few directions that long items have most of their length in, and how much is left beside them.
//!
//! With `H` the directions, `p·q` is `Hp·Hq` and what the parts beside them have, which by Cauchy and Schwarz is no more
//! than the product of their lengths (Li, Chan, Yiu and Mamoulis, "FEXIPRO", SIGMOD 2017). So a few numbers an item tell
//! of most that they are not among the best, before all of their factors are read.

use linfa_linalg::eigh::{EigSort, EighInto};
use ndarray::Array2;

use crate::learn::dot;

/// Directions.
pub(super) const HEAD: usize = 32;

/// With fewer factors than so many times [`HEAD`] all are read as soon.
const WIDE: usize = 4;

/// By how much more of the length than their share of the factors the directions have to hold.
const WORTH_IT: f64 = 2.0;

/// Directions as rows, next to orthonormal, shape `(HEAD, n_factors)`.
#[derive(Debug)]
pub(super) struct Head {
    directions: Vec<f32>,
    factors: usize,
    /// Share of a squared length that may be lost to rounding, and to directions that are not quite orthonormal; twice, for
    /// the length of what is beside them, and for the product with them.
    lost: f64,
}

impl Head {
    /// The directions of the most length of these rows, shape `(n_factors,)` each; none where all are alike, and where there
    /// are few factors.
    pub(super) fn of<'r>(rows: impl Iterator<Item = &'r [f32]>, factors: usize) -> Option<Self> {
        if factors < WIDE * HEAD {
            return None;
        }
        let values: Vec<f32> = rows.flatten().copied().collect();
        let rows = Array2::from_shape_vec((values.len() / factors, factors), values).ok()?;
        let products = rows.t().dot(&rows).mapv(f64::from);
        let whole = products.diag().sum();
        let (lengths, directions) = products.eigh_into().ok()?.sort_eig_desc();
        let held: f64 = lengths.iter().take(HEAD).sum();
        // Rows of zeros hold nothing, of which no share is one.
        let is_worth_it = held / whole >= WORTH_IT * HEAD as f64 / factors as f64;
        if !is_worth_it {
            return None;
        }
        let direction = |axis: usize| directions.column(axis).iter().map(|value| *value as f32).collect::<Vec<_>>();
        Some(Self::along((0..HEAD).flat_map(direction).collect(), factors))
    }

    fn along(directions: Vec<f32>, factors: usize) -> Self {
        let rows: Vec<&[f32]> = directions.chunks(factors).collect();
        let product = |one: &[f32], other: &[f32]| -> f64 {
            one.iter().zip(other).map(|(one, other)| f64::from(*one) * f64::from(*other)).sum()
        };
        let mut skew = 0.0;
        for (number, one) in rows.iter().enumerate() {
            for (other_number, other) in rows.iter().enumerate() {
                skew += (product(one, other) - f64::from(u8::from(number == other_number))).powi(2);
            }
        }
        let rounded = 4.0 * (HEAD as f64).sqrt() * super::chunk::rounding(factors);
        let lost = 2.0 * (skew.sqrt() * 1.001 + rounded);
        Self { directions, factors, lost }
    }

    /// What a row has along the directions, and the length of what it has beside them, no smaller than it is.
    pub(super) fn split(&self, row: &[f32]) -> (Vec<f32>, f32) {
        let along: Vec<f32> = self.directions.chunks(self.factors).map(|direction| dot(direction, row)).collect();
        let squared = |values: &[f32]| values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>();
        let whole = squared(row);
        let beside = (whole - squared(&along)).max(0.0) + self.lost * whole;
        (along, super::chunk::up(beside.sqrt() * (1.0 + 1e-9)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng};

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4))]

        #[test]
        fn no_product_is_above_what_the_parts_allow(seed in any::<u64>(), reach in 0.01_f32..30.0) {
            let factors = WIDE * HEAD + 3;
            let mut random = rand_pcg::Pcg64::seed_from_u64(seed);
            // Most of the length in a few of the factors.
            let mut row = |_: usize| -> Vec<f32> {
                (0..factors).map(|at| random.random_range(-reach..reach) / (1 + at) as f32).collect()
            };
            let rows: Vec<Vec<f32>> = (0..200).map(&mut row).collect();
            let head = Head::of(rows.iter().map(Vec::as_slice), factors).unwrap();
            let length = |values: &[f32]| values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
            for (one, other) in rows.iter().zip(rows.iter().skip(1)) {
                let ((along, rest), (others, others_rest)) = (head.split(one), head.split(other));
                let product = |one: &[f32], other: &[f32]| -> f64 {
                    one.iter().zip(other).map(|(one, other)| f64::from(*one) * f64::from(*other)).sum()
                };
                let bound = product(&along, &others) + f64::from(rest) * f64::from(others_rest);
                prop_assert!(product(one, other).max(f64::from(dot(one, other))) <= bound);
                prop_assert!(bound - product(one, other) <= 0.2 * length(one) * length(other));
            }
        }
    }

    #[test]
    fn what_is_alike_in_all_directions_has_none() {
        let mut random = rand_pcg::Pcg64::seed_from_u64(1);
        let factors = WIDE * HEAD;
        let rows: Vec<Vec<f32>> =
            (0..2_000).map(|_| (0..factors).map(|_| random.random_range(-1.0..1.0)).collect()).collect();
        assert!(Head::of(rows.iter().map(Vec::as_slice), factors).is_none());
        assert!(Head::of(rows.iter().map(|row| &row[1..]), factors - 1).is_none(), "few factors are read as soon");
        assert!(Head::of(std::iter::repeat_n(&vec![0.0; factors][..], 9), factors).is_none());
    }
}
