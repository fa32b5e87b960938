//! Items' factors in one byte each, with a bound on what that leaves out.
//!
//! A row `q` is kept as `scale * code`, codes from -127 to 127. With a user's factors `p` in 16 bits, the inner product of
//! the codes is exact in 32 bits, and by Cauchy and Schwarz `p·q` is no larger than what the codes say plus
//! `|p| * slack`, where `slack` has the length of what the row lost, a share of the row's length for what the user's factors
//! lost, and one for the rounding of every sum on the way. So an item below the bound is certainly not among the best.

#![allow(clippy::inline_always, reason = "what is not inlined is not compiled for the instructions that were found")]

use std::slice;
use std::sync::Arc;

use prefetch_index::prefetch_index;

/// Rows in a chunk.
pub(super) const ROWS: usize = 64;

/// Numbers in a line of the cache.
const LINE: usize = 64 / size_of::<f32>();

/// Codes of the same two factors of every row of a chunk, row by row.
type Pair = [i8; 2 * ROWS];

/// Rows in one byte a factor.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    /// Shape `(n_factors / 2, ROWS, 2)`.
    codes: Vec<Pair>,
    scales: [f32; ROWS],
    slacks: [f32; ROWS],
    /// Biases, no smaller than they are; those of rows that are not in use are below everything.
    biases: [f32; ROWS],
    /// Lengths of the factors, no smaller than they are.
    lengths: [f32; ROWS],
    /// Lengths of what is beside the factors, no smaller than they are.
    rests: [f32; ROWS],
    largest_bias: f32,
    largest_length: f32,
}

/// A user's factors as they are multiplied with chunks.
#[derive(Debug)]
pub(super) struct Asked {
    /// Two factors each, in 16 bits.
    pairs: Vec<[i16; 2]>,
    scale: f32,
    /// Length of the factors, no smaller than it is.
    length: f32,
    /// What is added to every score, no smaller than it is.
    base: f32,
    /// Length of what is beside the factors, no smaller than it is.
    rest: f32,
}

/// The largest code of a user's factor: the sum of all products must fit into 32 bits.
fn largest_code(factors: usize) -> i32 {
    (i32::MAX / (127 * (factors as i32 + 2))).min(i32::from(i16::MAX))
}

/// A generous bound on the relative error of sums of as many products in single precision.
pub(super) fn rounding(factors: usize) -> f64 {
    (factors as f64 + 64.0) * f64::from(f32::EPSILON)
}

/// The next number in single precision that is surely no smaller.
pub(super) fn up(value: f64) -> f32 {
    (value as f32).next_up()
}

fn largest(factors: &[f32]) -> f32 {
    factors.iter().fold(0.0, |largest, value| largest.max(value.abs()))
}

fn length(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|value| value * value).sum::<f64>().sqrt() * (1.0 + 1e-9)
}

impl Asked {
    /// A user's factors, shape `(n_factors,)`, for scores that `base` is added to; `rest` is the length of what is beside them.
    pub(super) fn new(user: &[f32], base: f32, rest: f32) -> Self {
        let scale = largest(user) / largest_code(user.len()) as f32;
        let code = |value: &f32| if scale > 0.0 { (value / scale).round() as i16 } else { 0 };
        let pairs = user.chunks(2).map(|pair| [code(&pair[0]), pair.get(1).map_or(0, code)]).collect();
        let length = up(length(user.iter().map(|value| f64::from(*value))));
        let base = up(f64::from(base) + rounding(user.len()) * f64::from(base.abs()));
        Self { pairs, scale, length, base, rest }
    }

    /// No smaller than the score of any row of a chunk.
    pub(super) fn bound(&self, chunk: &Chunk) -> f32 {
        (self.base + chunk.largest_bias + self.length * chunk.largest_length * 1.0001).next_up()
    }
}

impl Chunk {
    /// No rows, of so many factors.
    pub(super) fn new(factors: usize) -> Self {
        Self {
            codes: vec![[0; 2 * ROWS]; factors.div_ceil(2)],
            scales: [0.0; ROWS],
            slacks: [0.0; ROWS],
            biases: [f32::NEG_INFINITY; ROWS],
            lengths: [0.0; ROWS],
            rests: [0.0; ROWS],
            largest_bias: f32::NEG_INFINITY,
            largest_length: 0.0,
        }
    }

    /// Takes the factors and the bias of a row in; `rest` is the length of what is beside the factors.
    pub(super) fn set(&mut self, row: usize, factors: &[f32], bias: f32, rest: f32) {
        let scale = largest(factors) / 127.0;
        let code = |value: f32| if scale > 0.0 { (value / scale).round() } else { 0.0 };
        for (pair, values) in self.codes.iter_mut().zip(factors.chunks(2)) {
            pair[2 * row] = code(values[0]) as i8;
            pair[2 * row + 1] = values.get(1).map_or(0, |value| code(*value) as i8);
        }
        let lost = length(factors.iter().map(|value| f64::from(*value) - f64::from(scale) * f64::from(code(*value))));
        let length = length(factors.iter().map(|value| f64::from(*value)));
        // What the user's factors lose, as a share of their length: half a step in each.
        let asked = (factors.len() as f64).sqrt() / f64::from(2 * largest_code(factors.len()) - 2);
        self.scales[row] = scale;
        self.rests[row] = rest;
        self.slacks[row] = up((lost + (asked + rounding(factors.len())) * (length + lost)) * 1.0001);
        self.biases[row] = up(f64::from(bias) + rounding(factors.len()) * f64::from(bias.abs()));
        self.lengths[row] = up(length * (1.0 + rounding(factors.len())));
        self.largest_bias = self.biases.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        self.largest_length = self.lengths.iter().copied().fold(0.0, f32::max);
    }

    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(&self.codes[..])
    }

    /// Has memory bring what a scan asks a chunk for first.
    #[inline(always)]
    fn fetch(&self) {
        prefetch_index(slice::from_ref(&self.codes), 0);
        prefetch_index(slice::from_ref(&self.largest_bias), 0);
    }

    /// Has memory bring what bounds are made of beside the codes. The codes come as soon without: they lie in a row.
    #[inline(always)]
    fn fetch_numbers(&self) {
        for numbers in [&self.scales, &self.slacks, &self.biases, &self.rests] {
            (0..ROWS).step_by(LINE).for_each(|row| prefetch_index(numbers, row));
        }
    }

    /// No smaller than the score of each row.
    #[inline(always)]
    fn bounds(&self, asked: &Asked, products: &[i32; ROWS]) -> [f32; ROWS] {
        let mut bounds = [0.0; ROWS];
        for row in 0..ROWS {
            let product = products[row] as f32 * (asked.scale * self.scales[row]);
            let beside = asked.length * self.slacks[row] + asked.rest * self.rests[row];
            bounds[row] = (asked.base + self.biases[row]) + (product + beside);
        }
        bounds
    }
}

/// Chunks with what is asked of them.
pub(super) type Part<'p> = (&'p [Arc<Chunk>], &'p Asked);

/// Has `scan` look at each row whose bound is what it wants at least, chunk by chunk; what the `heads` of the same rows let
/// pass, if there are some.
pub(super) fn scan<S: Scan>(whole: Part<'_>, heads: Option<Part<'_>>, scan: &mut S) {
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = pulp::x86::V3::try_new() {
        return simd.vectorize(
            #[inline(always)]
            || {
                // Called twice, and compiled for these instructions only where it is inlined.
                scan_with(
                    whole,
                    heads,
                    scan,
                    #[inline(always)]
                    |codes, pairs| products_avx2(simd, codes, pairs),
                );
            },
        );
    }
    scan_with(whole, heads, scan, products);
}

/// Who looks at what a scan finds.
pub(super) trait Scan {
    /// The score below which rows are of no use; it may grow with each that is looked at.
    fn least(&self) -> f32;

    /// A row whose bound is at least that, by its place: the chunk's number times [`ROWS`], and the row's in the chunk.
    fn reached(&mut self, place: usize);
}

#[inline(always)]
fn scan_with<S: Scan>(
    (chunks, asked): Part<'_>,
    heads: Option<Part<'_>>,
    scan: &mut S,
    products: impl Fn(&[Pair], &[[i16; 2]]) -> [i32; ROWS],
) {
    let read_first = heads.map_or(chunks, |(heads, _)| heads);
    for (number, chunk) in chunks.iter().enumerate() {
        if asked.bound(chunk) < scan.least() {
            continue;
        }
        // They come while codes are multiplied. Each chunk lies by itself, and a processor foresees no jumps.
        read_first[number].fetch_numbers();
        if let Some(next) = read_first.get(number + 1) {
            next.fetch();
        }
        let mut reached = u64::MAX;
        if let Some((heads, asked)) = heads {
            let head = &heads[number];
            reached = reaching(&head.bounds(asked, &products(&head.codes, &asked.pairs)), scan.least());
            if reached == 0 {
                continue;
            }
        }
        let bounds = chunk.bounds(asked, &products(&chunk.codes, &asked.pairs));
        reached &= reaching(&bounds, scan.least());
        while reached != 0 {
            let row = reached.trailing_zeros() as usize;
            if bounds[row] >= scan.least() {
                scan.reached(number * ROWS + row);
            }
            reached &= reached - 1;
        }
    }
}

/// A bit for each row whose bound is at least that.
#[inline(always)]
fn reaching(bounds: &[f32; ROWS], least: f32) -> u64 {
    bounds.iter().enumerate().fold(0, |reached, (row, bound)| reached | u64::from(*bound >= least) << row)
}

/// Inner products of the codes of each row, for any processor.
fn products(codes: &[Pair], asked: &[[i16; 2]]) -> [i32; ROWS] {
    let mut sums = [0; ROWS];
    for (pair, [first, second]) in codes.iter().zip(asked) {
        for (sum, codes) in sums.iter_mut().zip(pair.as_chunks::<2>().0) {
            *sum += i32::from(codes[0]) * i32::from(*first) + i32::from(codes[1]) * i32::from(*second);
        }
    }
    sums
}

/// The same, eight rows at once.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn products_avx2(simd: pulp::x86::V3, codes: &[Pair], asked: &[[i16; 2]]) -> [i32; ROWS] {
    let (avx, avx2) = (simd.avx, simd.avx2);
    let mut sums = [avx._mm256_setzero_si256(); ROWS / 8];
    for (pair, both) in codes.iter().zip(asked) {
        let both = avx._mm256_set1_epi32(pulp::cast(*both));
        for (sum, codes) in sums.iter_mut().zip(pair.as_chunks::<16>().0) {
            let wide = avx2._mm256_cvtepi8_epi16(pulp::cast(*codes));
            *sum = avx2._mm256_add_epi32(*sum, avx2._mm256_madd_epi16(wide, both));
        }
    }
    pulp::cast(sums)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::learn::dot;

    proptest! {
        #[test]
        fn no_score_is_above_its_bound(
            factors in 1..70_usize, rows in 1..=ROWS, reach in 0.0_f32..30.0, seed in any::<u64>(), base in -5.0_f32..5.0,
        ) {
            use rand::{RngExt, SeedableRng};
            let mut random = rand_pcg::Pcg64::seed_from_u64(seed);
            let mut value = |reach: f32| {
                let value = random.random_range(-1.0_f32..=1.0);
                // Powers make some factors much larger than others.
                value * value * value * reach
            };
            let user: Vec<f32> = (0..factors).map(|_| value(reach)).collect();
            let items: Vec<(Vec<f32>, f32)> = (0..rows).map(|_| ((0..factors).map(|_| value(2.0)).collect(), value(3.0))).collect();
            let mut chunk = Chunk::new(factors);
            items.iter().enumerate().for_each(|(row, (factors, bias))| chunk.set(row, factors, *bias, 0.0));
            let asked = Asked::new(&user, base, 0.0);
            let plain = products(&chunk.codes, &asked.pairs);
            let bounds = chunk.bounds(&asked, &plain);
            for ((factors, bias), bound) in items.iter().zip(bounds) {
                let score = base + (bias + dot(&user, factors));
                prop_assert!(score <= bound && score <= asked.bound(&chunk), "{score} {bound} {}", asked.bound(&chunk));
                let length = |values: &[f32]| values.iter().map(|value| value * value).sum::<f32>().sqrt();
                prop_assert!(bound - score <= 1e-4 + 0.02 * (factors.len() as f32).sqrt() * length(&user) * length(factors) + 1e-4 * score.abs());
            }
            prop_assert!(bounds[rows..].iter().all(|bound| *bound == f32::NEG_INFINITY));
            #[cfg(target_arch = "x86_64")]
            if let Some(simd) = pulp::x86::V3::try_new() {
                let wide = simd.vectorize(#[inline(always)] || products_avx2(simd, &chunk.codes, &asked.pairs));
                prop_assert_eq!(wide, plain);
            }
        }
    }
}
