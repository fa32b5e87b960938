//! Random draws of the model, from a generator that is part of it.
//!
//! Apart from the crates that draw, because those call the platform's logarithm.

use rand::Rng;
use rand_pcg::Pcg64;

/// A whole number below `n`, which is 2^32 at most. Uneven by `n / 2^32` at most, which is nothing.
#[inline]
pub(super) fn below(generator: &mut Pcg64, n: usize) -> usize {
    ((u64::from(generator.next_u32()) * n as u64) >> 32) as usize
}

/// About N(0, 1): the sum of four uniform values (Irwin–Hall), which ends at 3.46.
pub(super) fn normal(generator: &mut Pcg64) -> f32 {
    let bits = generator.next_u64();
    let sum: u64 = (0..4).map(|part| (bits >> (16 * part)) & 0xffff).sum();
    // The sum of four uniform values on [0, 1) has mean 2 and variance 1/3.
    ((sum + 2) as f32 / 65_536.0 - 2.0) * 1.732_050_8
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn draws_have_their_mean_variance_and_bounds() {
        let mut generator = Pcg64::seed_from_u64(1);
        let values: Vec<f64> = (0..20_000).map(|_| f64::from(normal(&mut generator))).collect();
        let mean = values.iter().sum::<f64>() / 20_000.0;
        let variance = values.iter().map(|value| value * value).sum::<f64>() / 20_000.0;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
        let mut counts = [0; 5];
        (0..5_000).for_each(|_| counts[below(&mut generator, 5)] += 1);
        assert!(counts.iter().all(|count| (900..1_100).contains(count)), "{counts:?}");
    }
}
