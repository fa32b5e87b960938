//! Corrects the slow core's prediction by a linear model of its error, learned online.
//!
//! Apart from the columns that it corrects by ([`columns`](super::columns)): this is recursive least squares with
//! exponential forgetting and nothing else (Haykin, *Adaptive Filter Theory*, chapter 9). Where a column is not excited,
//! forgetting alone would let its variance grow without bound (wind-up; Åström, Wittenmark, *Adaptive Control*, section
//! 11.4); here a column is forgotten only while its variance is narrower than at the start.

use serde::{Deserialize, Serialize};

/// Columns of the model, those that are not in use being zero.
pub(super) const COLUMNS: usize = 32;

/// Prior precision of a coefficient.
const RIDGE: f64 = 100.0;

/// Largest absolute coefficient, and the largest absolute correction.
const BOUND: f64 = 10.0;
const CORRECTION_BOUND: f64 = 3.0;

/// Additions that run side by side.
const LANES: usize = 4;

/// Columns of one event.
pub(super) type Columns = [f32; COLUMNS];

/// The model of the error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Stack {
    /// Coefficients, shape `(COLUMNS,)`.
    weights: Vec<f64>,
    /// Their covariance in units of the noise, shape `(COLUMNS, COLUMNS)`, exactly symmetric.
    covariance: Vec<f64>,
}

impl Default for Stack {
    fn default() -> Self {
        Self { weights: vec![0.0; COLUMNS], covariance: initial_covariance() }
    }
}

fn initial_covariance() -> Vec<f64> {
    let mut covariance = vec![0.0; COLUMNS * COLUMNS];
    covariance.iter_mut().step_by(COLUMNS + 1).for_each(|variance| *variance = 1.0 / RIDGE);
    covariance
}

fn dot(a: &[f64], b: &[f64; COLUMNS]) -> f64 {
    let mut sums = [0.0; LANES];
    for (a, b) in a.as_chunks::<LANES>().0.iter().zip(b.as_chunks::<LANES>().0) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    (sums[0] + sums[1]) + (sums[2] + sums[3])
}

impl Stack {
    /// Whether it is one that can go on: of its shape, and finite.
    pub(super) fn is_whole(&self) -> bool {
        let finite = |values: &[f64]| values.iter().all(|value| value.is_finite());
        (self.weights.len(), self.covariance.len()) == (COLUMNS, COLUMNS * COLUMNS)
            && finite(&self.weights)
            && finite(&self.covariance)
    }

    /// What is to be added to the prediction.
    #[inline]
    pub(super) fn correction(&self, columns: &Columns) -> f32 {
        dot(&self.weights, &columns.map(f64::from)).clamp(-CORRECTION_BOUND, CORRECTION_BOUND) as f32
    }

    /// Learns the error that was left at these columns; an event counts `forget` as much with each later one.
    pub(super) fn learn(&mut self, columns: &Columns, error: f32, forget: f64) {
        let x = columns.map(f64::from);
        let mut gain = [0.0; COLUMNS];
        for (gain, row) in gain.iter_mut().zip(self.covariance.chunks_exact(COLUMNS)) {
            *gain = dot(row, &x);
        }
        let spread = dot(&gain, &x);
        if spread < 0.0 {
            // Rounding has made the covariance indefinite: the coefficients stay, what is known of them starts anew.
            self.covariance = initial_covariance();
            return;
        }
        let scale = 1.0 / (forget + spread);
        let step = (f64::from(error) - dot(&self.weights, &x)) * scale;
        let widen = (1.0 / forget).sqrt();
        let mut widths = [1.0; COLUMNS];
        for (index, width) in widths.iter_mut().enumerate() {
            if self.covariance[index * COLUMNS + index] * RIDGE < 1.0 {
                *width = widen;
            }
        }
        for (index, row) in self.covariance.chunks_exact_mut(COLUMNS).enumerate() {
            self.weights[index] = (self.weights[index] + step * gain[index]).clamp(-BOUND, BOUND);
            let (own, own_width) = (gain[index], widths[index]);
            for ((value, gain), width) in row.iter_mut().zip(&gain).zip(&widths) {
                // Each product is one of the same two factors in both triangles, so that they stay the same bits.
                *value = (*value - (own * gain) * scale) * (own_width * width);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Some columns that differ from event to event, in -1 to 1.
    fn columns(event: u32) -> Columns {
        std::array::from_fn(|column| ((event as f32 + 1.0) * (column as f32 + 1.3) * 0.7).sin())
    }

    proptest! {
        #[test]
        fn a_linear_relation_is_found(weights in proptest::collection::vec(-0.2f32..0.2, 28)) {
            let mut stack = Stack::default();
            let error = |columns: &Columns| weights.iter().zip(columns).map(|(weight, x)| weight * x).sum::<f32>();
            for event in 0..20_000 {
                stack.learn(&columns(event), error(&columns(event)), 0.999);
            }
            for event in 20_000..20_050 {
                let columns = columns(event);
                prop_assert!((stack.correction(&columns) - error(&columns).clamp(-3.0, 3.0)).abs() < 0.02);
            }
        }
    }

    #[test]
    fn under_constant_input_nothing_winds_up() {
        let mut stack = Stack::default();
        let mut constant = [0.0; COLUMNS];
        constant[..5].copy_from_slice(&[1.0, 5.0, -5.0, 0.3, 1e-20]);
        for event in 0..200_000 {
            stack.learn(&constant, if event % 2 == 0 { 4.0 } else { -4.0 }, 0.9);
            if event % 10_000 == 0 {
                let widest = (0..COLUMNS).map(|at| stack.covariance[at * (COLUMNS + 1)]).fold(0.0, f64::max);
                assert!(stack.is_whole() && widest < 2.0 / RIDGE, "{widest}");
            }
        }
        // It still learns.
        for event in 0..2_000 {
            stack.learn(&columns(event), columns(event)[7], 0.9999);
        }
        assert!((stack.correction(&columns(9_999)) - columns(9_999)[7]).abs() < 0.1);
    }

    #[test]
    fn the_covariance_stays_symmetric_to_the_bit() {
        let mut stack = Stack::default();
        (0..500).for_each(|event| stack.learn(&columns(event), 1.0, 0.99));
        let at = |i: usize, j: usize| stack.covariance[i * COLUMNS + j].to_bits();
        assert!((0..COLUMNS).all(|i| (0..i).all(|j| at(i, j) == at(j, i))));
    }
}
