//! Any order, the same for the same user and item: the baseline that shows what chance reaches.

use std::sync::Arc;

use crate::learn::tables::Table;
use crate::learn::{Learner, Model, Observation, Scorer};

/// Scores that mean nothing.
#[derive(Clone, Copy, Debug)]
pub struct Random {
    seed: u64,
}

impl Random {
    /// Scores from this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }
}

/// `SplitMix64` (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014): 64 bits well mixed.
pub(super) fn mix(value: u64) -> u64 {
    let z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Scorer for Random {
    fn rating(&self, _user: u32, _item: u32) -> Option<f32> {
        None
    }

    fn score(&self, user: u32, scores: &mut [f32]) {
        let user = mix(self.seed ^ mix(u64::from(user)));
        for (score, item) in scores.iter_mut().zip(0_u64..) {
            *score = (mix(user ^ item) >> 40) as f32 / (1 << 24) as f32;
        }
    }
}

impl Learner for Random {
    fn learn(&mut self, _event: &Observation) -> Option<f32> {
        None
    }

    fn publish(&mut self) -> Arc<dyn Model> {
        Arc::new(*self)
    }
}

impl Model for Random {
    fn thaw(&self) -> Box<dyn Learner> {
        Box::new(*self)
    }

    fn scalars(&self) -> Vec<u8> {
        Vec::new()
    }

    fn tables(&self) -> Vec<Table> {
        Vec::new()
    }
}
