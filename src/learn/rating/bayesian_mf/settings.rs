//! What one core is like: the places in its rows, its memory, its priors.
//!
//! Apart from the core, because the slow one and its fast twin differ in nothing else.

use super::drift::Drift;
use super::linear::{packed_len, padded};
use crate::config::BayesianMfConfig;
use crate::learn::params::ValidParams;

/// Features of an item that come from its events: constant, log popularity, year, its square, variance, activity of its
/// users, share of top ratings, and the square of the log popularity. The year is told, and has its place here.
pub(super) const STATISTICS: usize = 8;

/// Genres that have a feature at least; what is left of the row's last lanes is theirs too.
const GENRES: usize = 18;

/// Factors of the fast twin: its row fills whole lanes.
const TWIN_FACTORS: usize = 7;

/// Prior precision of a user's weight for the item's bias, whose prior mean starts at 1.
const BIAS_WEIGHT: f32 = 3.0;

/// Memory of the prior mean of users' weights, in events, while nothing is hastened.
const PRIOR_MEMORY: f32 = 5000.0;

/// Standard deviation of the prior means of an item's factors: enough to break their symmetry.
const FACTOR_SCALE: f32 = 0.05;

/// Floats at the end of a user's or an item's row.
pub(super) const STATE: usize = 8;

/// Most floats in a row of an item, with the most factors that can be set.
pub(super) const MOST_ROW: usize = padded(STATISTICS + GENRES + 16) + packed_len(16) + STATE;

/// The places in the rows of a core.
///
/// An item's features, shape `(features,)`, are the statistics, the genres, the item's bias and its factors; a user has a
/// weight for each. The last `latent` of them, bias and factors, are learned and have a covariance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shape {
    /// Features of an item, a whole number of lanes.
    pub features: usize,
    /// Genres that have a feature.
    pub genres: usize,
    /// The item's bias and its factors.
    pub latent: usize,
}

impl Shape {
    pub(super) fn new(factors: usize, side_information: bool) -> Self {
        let latent = factors + 1;
        let genres = if side_information { GENRES } else { 0 };
        let features = padded(STATISTICS + genres + latent);
        let genres = if side_information { features - latent - STATISTICS } else { 0 };
        Self { features, genres, latent }
    }

    /// Index of the item's bias among its features.
    #[inline]
    pub(super) fn bias(self) -> usize {
        self.features - self.latent
    }

    /// Floats of a packed covariance of bias and factors.
    #[inline]
    pub(super) fn packed(self) -> usize {
        packed_len(self.latent)
    }

    /// Floats in a row of a user or an item: its vector, its packed covariance, its state.
    pub(super) fn row(self) -> usize {
        self.features + self.packed() + STATE
    }

    /// Rows and columns of the system that an item is solved by, a whole number of lanes; the last `latent` count.
    #[inline]
    pub(super) fn system(self) -> usize {
        padded(self.latent)
    }
}

/// Everything that a core depends on besides the events.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    pub shape: Shape,
    /// Newest events of a user, and of an item, that are gone through anew.
    pub window: usize,
    /// Own events after which one of the user's weighs a quarter, inside the window.
    pub user_memory: f32,
    /// Factor by which a user's tail decays with each own event.
    pub tail_decay: f32,
    /// Factor by which an item's event decays with each own event, and what is left of it as it leaves the window.
    pub item_decay: f32,
    pub item_left: f32,
    /// Precisions of a user's weight for a genre and for a factor.
    pub genre_weight: f32,
    pub factor_weight: f32,
    /// Precisions of an item's bias and of its factors.
    pub bias: f32,
    pub factor: f32,
    /// Share of the other side's covariance that counts.
    pub variational: f32,
    pub drift: Drift,
    /// Memory of the prior mean of users' weights, in events.
    pub prior_memory: f32,
    pub seed: u64,
}

impl Settings {
    /// The core that remembers; what its users share follows them `factor` times as fast.
    pub(super) fn slow(params: &ValidParams<BayesianMfConfig>, factor: f32) -> Self {
        let drift = Drift {
            slow: params.drift_slow as f32,
            burst: params.drift_burst as f32,
            burst_seconds: params.burst_seconds as f32,
        };
        Self {
            shape: Shape::new(params.factors, params.side_information),
            window: params.window,
            user_memory: params.user_memory as f32,
            tail_decay: decay(1.0, params.user_memory),
            item_decay: decay(1.0, params.item_memory),
            item_left: decay(params.window as f32, params.item_memory),
            genre_weight: params.genre_precision as f32,
            factor_weight: params.weight_precision as f32,
            bias: params.bias_precision as f32,
            factor: params.factor_precision as f32,
            variational: params.variational as f32,
            drift,
            prior_memory: PRIOR_MEMORY / factor,
            seed: params.common().seed,
        }
    }

    /// Its twin that forgets, and so follows what changes: half the window, and items as they have been of late.
    pub(super) fn fast(params: &ValidParams<BayesianMfConfig>, factor: f32) -> Self {
        let slow = Self::slow(params, factor);
        let window = slow.window / 2;
        Self {
            shape: Shape::new(TWIN_FACTORS, false),
            window,
            user_memory: slow.user_memory / 2.0,
            item_decay: decay(1.0, params.twin_item_memory),
            item_left: decay(window as f32, params.twin_item_memory),
            ..slow
        }
    }

    /// Prior precision of each of a user's weights, shape `(features,)`, in units of a rating's noise.
    pub(super) fn weight_precisions(&self) -> Vec<f32> {
        let bias = self.shape.bias();
        let precision = |index: usize| match index {
            0 => 4.0,
            1 => 8.0,
            2 | 3 => 40.0,
            4..STATISTICS => 100.0,
            _ if index < bias => self.genre_weight,
            _ if index == bias => BIAS_WEIGHT,
            _ => self.factor_weight,
        };
        (0..self.shape.features).map(precision).collect()
    }

    /// Covariance of a new user's weights for bias and factors, packed.
    pub(super) fn fresh_weight_covariance(&self, packed: &mut [f32]) {
        self.diagonal(packed, 1.0 / BIAS_WEIGHT, 1.0 / self.factor_weight);
    }

    /// Covariance of a new item's bias and factors, packed.
    pub(super) fn fresh_item_covariance(&self, packed: &mut [f32]) {
        self.diagonal(packed, 1.0 / self.bias, 1.0 / self.factor);
    }

    fn diagonal(&self, packed: &mut [f32], bias: f32, factor: f32) {
        let mut place = 0;
        for index in 0..self.shape.latent {
            packed[place] = if index == 0 { bias } else { factor };
            place += self.shape.latent - index;
        }
    }

    /// Prior mean of a factor of an item, about N(0, [`FACTOR_SCALE`]²): drawn from the seed, the item and the factor
    /// alone, so that no generator has to be stored and an item that nobody has rated has one too.
    pub(super) fn prior_factor(&self, item: u32, factor: usize) -> f32 {
        let bits = mix(mix(self.seed.wrapping_add(u64::from(item) << 8)).wrapping_add(factor as u64));
        // Irwin-Hall: the sum of four uniforms has a variance of 1/3.
        let sum: f32 = (0..4).map(|part| (bits >> (16 * part) & 0xffff) as f32 / 65_536.0 - 0.5).sum();
        FACTOR_SCALE * 3.0_f32.sqrt() * sum
    }
}

/// What is left after so many events of one that decays by a factor of e in `memory` events.
fn decay(events: f32, memory: f64) -> f32 {
    libm::expf(-events / memory as f32)
}

/// `SplitMix64`'s output function (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}
