//! The arithmetic of one step of stochastic gradient descent on two factor rows.
//!
//! Apart from the model, because it is the hot loop: fixed lanes let the compiler vectorize it and fix the order of the
//! additions, so that the bits do not depend on the processor. No fused multiply-add, for the same reason.

#![allow(clippy::inline_always, reason = "what is not inlined is not compiled for the instructions that were found")]

/// Additions that run side by side.
const LANES: usize = 8;

/// Largest absolute value of a factor or bias. Nothing that learns comes near it; it keeps a diverging run finite.
const BOUND: f32 = 1e3;

/// Inner product of two rows of shape `(n_factors,)`.
#[inline(always)]
#[must_use]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a_lanes, b_lanes) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = a_lanes.remainder().iter().zip(b_lanes.remainder()).map(|(x, y)| x * y).sum();
    let mut sums = [0.0_f32; LANES];
    for (x, y) in a_lanes.zip(b_lanes) {
        for lane in 0..LANES {
            sums[lane] += x[lane] * y[lane];
        }
    }
    // In halves, as a vector register is added up.
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0] + rest
}

/// Moves two rows of shape `(n_factors,)` against the gradient of half the squared error plus half the regularized
/// norms: `p -= rate * (error * q + l2 * p)`, and the same with `p` and `q` exchanged, both from the old values.
///
/// Source: Koren, Bell, Volinsky, "Matrix Factorization Techniques for Recommender Systems", IEEE Computer 2009, eq. 5.
#[inline(always)]
pub(super) fn step(p: &mut [f32], q: &mut [f32], error: f32, rate: f32, l2: f32) {
    let (pull, keep) = (rate * error, 1.0 - rate * l2);
    for (p, q) in p.iter_mut().zip(q.iter_mut()) {
        let (old_p, old_q) = (*p, *q);
        *p = bounded(old_p * keep - pull * old_q);
        *q = bounded(old_q * keep - pull * old_p);
    }
}

/// Moves one bias against the gradient: `b -= rate * (error + l2 * b)`.
#[inline(always)]
pub(super) fn step_bias(bias: &mut f32, error: f32, rate: f32, l2: f32) {
    *bias = bounded(*bias - rate * (error + l2 * *bias));
}

#[inline(always)]
fn bounded(value: f32) -> f32 {
    value.clamp(-BOUND, BOUND)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn dot_is_the_inner_product(pairs in proptest::collection::vec((-2.0f32..2.0, -2.0f32..2.0), 0..70)) {
            let (a, b): (Vec<f32>, Vec<f32>) = pairs.iter().copied().unzip();
            let exact: f64 = pairs.iter().map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
            prop_assert!((f64::from(dot(&a, &b)) - exact).abs() < 1e-4);
        }

        #[test]
        fn step_is_the_gradient_of_both_rows(p in -1.0f32..1.0, q in -1.0f32..1.0, error in -4.0f32..4.0) {
            let (mut new_p, mut new_q) = ([p], [q]);
            step(&mut new_p, &mut new_q, error, 0.1, 0.02);
            prop_assert!((new_p[0] - (p - 0.1 * (error * q + 0.02 * p))).abs() < 1e-6);
            prop_assert!((new_q[0] - (q - 0.1 * (error * p + 0.02 * q))).abs() < 1e-6);
        }

        #[test]
        fn no_step_leaves_the_bound(p in -BOUND..BOUND, q in -BOUND..BOUND, error in -1e6f32..1e6) {
            let (mut p, mut q, mut bias) = ([p; 9], [q; 9], p);
            step(&mut p, &mut q, error, 1.0, 10.0);
            step_bias(&mut bias, error, 1.0, 10.0);
            prop_assert!(p.iter().chain(&q).chain([&bias]).all(|value| value.abs() <= BOUND));
        }
    }
}
