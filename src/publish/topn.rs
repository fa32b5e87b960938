//! The best N of many scored items, exactly, in one pass and with memory for N.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// An item with its score.
#[derive(Clone, Copy, Debug)]
pub struct Scored {
    /// Dense index of the item.
    pub item: u32,
    /// Higher is better.
    pub score: f32,
}

impl Ord for Scored {
    /// By score, equal scores by earlier first appearance: a total order, so that an answer is always the same.
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(other.item.cmp(&self.item))
    }
}

impl PartialOrd for Scored {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Scored {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Scored {}

/// The best `n`, best first. A score that is NaN never enters.
#[must_use]
pub fn top_n(scored: impl Iterator<Item = Scored>, n: usize) -> Vec<Scored> {
    if n == 0 {
        return Vec::new();
    }
    let mut best: BinaryHeap<Reverse<Scored>> = BinaryHeap::with_capacity(n.min(4096));
    // What most candidates fail is a comparison of two numbers; one that is NaN always fails it.
    let mut least = f32::NEG_INFINITY;
    for candidate in scored {
        if candidate.score >= least {
            if best.len() < n {
                best.push(Reverse(candidate));
            } else if let Some(mut worst) = best.peek_mut().filter(|worst| candidate > worst.0) {
                *worst = Reverse(candidate);
            }
            if let Some(worst) = best.peek().filter(|_| best.len() == n) {
                least = worst.0.score;
            }
        }
    }
    best.into_sorted_vec().into_iter().map(|Reverse(scored)| scored).collect()
}
