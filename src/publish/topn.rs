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

/// The best `n` so far.
#[derive(Debug)]
pub struct Best {
    n: usize,
    heap: BinaryHeap<Reverse<Scored>>,
    /// What most candidates fail is a comparison of two numbers; one that is NaN always fails it.
    least: f32,
}

impl Best {
    /// None yet, of at most `n`.
    #[must_use]
    pub fn new(n: usize) -> Self {
        let least = if n == 0 { f32::NAN } else { f32::NEG_INFINITY };
        Self { n, heap: BinaryHeap::with_capacity(n.min(4096)), least }
    }

    /// The score that one has to have at least in order to enter; NaN, which none has, where none can.
    #[inline]
    #[must_use]
    pub fn least(&self) -> f32 {
        self.least
    }

    /// Takes a candidate in if it is one of the best. A score that is NaN never is.
    #[inline]
    pub fn offer(&mut self, candidate: Scored) {
        if candidate.score >= self.least {
            self.take(candidate);
        }
    }

    fn take(&mut self, candidate: Scored) {
        if self.heap.len() < self.n {
            self.heap.push(Reverse(candidate));
        } else if let Some(mut worst) = self.heap.peek_mut().filter(|worst| candidate > worst.0) {
            *worst = Reverse(candidate);
        }
        if let Some(worst) = self.heap.peek().filter(|_| self.heap.len() == self.n) {
            self.least = worst.0.score;
        }
    }

    /// The best, best first.
    #[must_use]
    pub fn into_sorted(self) -> Vec<Scored> {
        self.heap.into_sorted_vec().into_iter().map(|Reverse(scored)| scored).collect()
    }
}

/// The best `n`, best first. A score that is NaN never enters.
#[must_use]
pub fn top_n(scored: impl Iterator<Item = Scored>, n: usize) -> Vec<Scored> {
    let mut best = Best::new(n);
    scored.for_each(|candidate| best.offer(candidate));
    best.into_sorted()
}
