//! Logarithm, exponential and half-lives in plain arithmetic.
//!
//! Apart from the model, because the platform's own functions differ in their last bits from one library to the next,
//! and the same events must give the same model everywhere. Without branches, so that they vectorize.

use std::f32::consts::{LN_2, LOG2_E};

/// Largest absolute value of an element of a vector. Nothing that learns comes near it; it keeps a diverging run finite.
const BOUND: f32 = 10.0;

/// Natural logarithm of a normal positive number, off by less than 1e-3.
///
/// The exponent is read from the bits; log2 of the mantissa is a cubic fitted to `[1, 2)`.
#[inline]
pub(super) fn ln(x: f32) -> f32 {
    let bits = x.to_bits();
    let exponent = ((bits >> 23) as i32 - 127) as f32;
    let m = f32::from_bits((bits & 0x007f_ffff) | 0x3f80_0000);
    let log2 = -2.153_620_7 + m * (3.047_884 + m * (-1.051_875_4 + m * 0.158_248_71));
    (exponent + log2 - 0.000_636) * LN_2
}

/// The exponential of x, which is taken as -80 or 80 where it lies beyond; off by less than 3e-4 of it.
///
/// Two to the whole part goes into the bits; two to the rest is a cubic fitted to `[0, 1)`.
#[inline]
pub(super) fn exp(x: f32) -> f32 {
    let x = if x < -80.0 { -80.0 } else { x };
    let x = if x > 80.0 { 80.0 } else { x };
    let y = x * LOG2_E + 127.0;
    let whole = y as i32;
    let rest = y - whole as f32;
    let power = 0.999_925_2 + rest * (0.695_833_54 + rest * (0.226_067_16 + rest * 0.078_024_52));
    f32::from_bits((whole as u32) << 23) * power
}

/// What is left of 1 after `age`, if it halves every `half_life`.
#[inline]
pub(super) fn left(age: f32, half_life: f32) -> f32 {
    exp(-LN_2 * age / half_life)
}

/// What is left of 1 after one step, if it halves every `half_life` steps: `0.5^(1 / half_life)`, exact to an f32 for a
/// half-life of 0.1 or more. By the power series, once a model.
pub(super) fn kept(half_life: f64) -> f32 {
    let x = -std::f64::consts::LN_2 / half_life;
    let (mut term, mut sum) = (1.0, 1.0);
    for n in 1..60 {
        term *= x / f64::from(n);
        sum += term;
    }
    sum as f32
}

#[inline]
pub(super) fn bounded(value: f32) -> f32 {
    value.clamp(-BOUND, BOUND)
}

/// A count of events as a row of floats has it: the low 20 bits apart, so that it is exact up to 2^44.
#[inline]
pub(super) fn stamp(count: u64) -> [f32; 2] {
    [(count >> 20) as f32, (count & 0xf_ffff) as f32]
}

/// Events since a stamp was made.
#[inline]
pub(super) fn since(stamped: &[f32], now: [f32; 2]) -> f32 {
    (now[0] - stamped[0]) * 1_048_576.0 + (now[1] - stamped[1])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ln_keeps_its_bound(power in -37.0_f64..38.0) {
            let x = 10.0_f64.powf(power) as f32;
            prop_assert!((f64::from(ln(x)) - f64::from(x).ln()).abs() < 1e-3, "{x}: {}", ln(x));
        }

        #[test]
        fn exp_keeps_its_bound(x in -80.0_f32..80.0) {
            let exact = f64::from(x).exp();
            prop_assert!((f64::from(exp(x)) / exact - 1.0).abs() < 3e-4, "{x}: {} {exact}", exp(x));
        }

        #[test]
        fn what_is_kept_halves_in_a_half_life(half_life in 0.1_f64..1e6) {
            prop_assert_eq!(kept(half_life), (-1.0 / half_life).exp2() as f32);
        }

        #[test]
        fn a_stamp_is_as_old_as_the_events_since(then in 0_u64..1 << 43, age in 0_u64..1 << 24) {
            prop_assert_eq!(since(&stamp(then), stamp(then + age)), age as f32);
        }
    }

    #[test]
    fn what_lies_beyond_the_range_of_exp_is_taken_as_its_end() {
        assert_eq!([f32::NEG_INFINITY, f32::MAX].map(exp), [-80.0, 80.0].map(exp));
    }
}
