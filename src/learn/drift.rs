//! Whether predictions have become worse than they were: a change detector on the loss of every event, before it is learned.
//!
//! Apart from the models, because it works for any of them. It is ADWIN2 (Bifet, Gavaldà, "Learning from time-changing data
//! with adaptive windowing", SIAM Data Mining 2007, sections 3 and 4): a window over the newest events that grows while
//! nothing changes. Wherever it can be cut in two so that the means of both parts differ by more than
//! `sqrt(2/m · σ² · ln(2/δ')) + 2/(3m) · ln(2/δ')`, the older part is dropped; `1/m = 1/n₀ + 1/n₁` with the events of either
//! part, `δ' = δ / ln n` with those of both, and δ is `drift.confidence`. The window is kept as an exponential histogram: a
//! number of sums that grows with the logarithm of its events, so that an event costs the same however long it is.
//!
//! Only a newer part that is worse is drift. One that is better is what learning is for: the window forgets how bad it was,
//! and nothing is counted.
//!
//! Losses are not independent, as the bound supposes: who rates at all rates many items in one sitting, and some users are
//! harder to predict than others. On ML-100k the means of 1,000 events in a row vary 6 times as much as they would. So
//!
//! * a loss is the absolute error, as a share of the rating range, less what the user's errors so far are above everybody's on
//!   the mean, drawn toward 0 by `drift.user_events` events' worth (that leaves 2.5 of the 6), and
//! * σ² is that of the means of [`BLOCK`] events in a row, times [`BLOCK`], which counts what is left of it within a block.
//!
//! Both, and the defaults, were chosen on the first half of ML-100k: no alarm while nothing changes, with some room, and all 14
//! drifts found where all tastes turn at one of seven places, with `bayesian-mf` and with `biased-mf`. Page and Hinkley's test on
//! the same losses is faster with the best of its two parameters (a median of 750 events after the drift against 985), which say
//! how large a change is looked for, and misses some with others; ADWIN's one says how sure it is, and fits changes of any size.

use serde::{Deserialize, Serialize};

use crate::config::DriftConfig;

/// Events whose loss is summed up before it is looked at.
pub const BLOCK: u32 = 32;

/// Newest detections whose place is kept.
pub const MARKS: usize = 32;

/// Sums of one size; of one more, the two oldest become one of twice the size (the paper's M).
const BUCKETS: usize = 5;

/// Blocks in a part at least, so that their mean is about normal.
const LEAST: u64 = 8;

/// Blocks in a window that is looked at: what the very first events tell is no level to compare to.
const WARM_UP: u64 = 64;

/// Largest size of a sum, as a power of 2: more blocks than will ever come.
const LARGEST: u8 = 57;

/// What the detector is set to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Watching {
    enabled: bool,
    confidence: f64,
    user_events: f64,
    boost: f32,
    boost_events: u64,
}

impl Watching {
    /// As the operator has set it.
    #[must_use]
    pub fn of(config: &DriftConfig) -> Self {
        let &DriftConfig { enabled, confidence, user_events, boost, boost_events } = config;
        Self { enabled, confidence, user_events, boost: boost as f32, boost_events }
    }

    /// Events' worth of 0 in what a user's errors are above everybody's.
    #[must_use]
    pub fn user_events(&self) -> f64 {
        self.user_events
    }

    /// Whether what is detected may reach what is learned.
    #[must_use]
    pub fn boosts(&self) -> bool {
        self.enabled && self.boost > 1.0
    }
}

/// Blocks in a row, by the means of their losses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Bucket {
    /// There are 2 to the power of it.
    level: u8,
    sum: f64,
    squares: f64,
}

impl Bucket {
    fn blocks(self) -> u64 {
        1 << self.level
    }

    fn is_whole(self) -> bool {
        self.level <= LARGEST && self.sum.is_finite() && self.squares.is_finite() && self.squares >= 0.0
    }
}

/// The detector, as every event so far has left it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    events: u64,
    /// Events since the last whole block, and the sum of their losses.
    open: (u32, f64),
    /// The window, the oldest first; no level is above the one before it.
    window: Vec<Bucket>,
    detected: u64,
    marks: Vec<u64>,
    /// Events to come that are learned faster.
    boosted: u64,
}

/// How the loss has changed within the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Worse,
    Better,
}

impl Drift {
    /// Events so far, also those that were not watched.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// How often predictions have become worse.
    #[must_use]
    pub fn detected(&self) -> u64 {
        self.detected
    }

    /// The newest detections, at most [`MARKS`] of them, each by the `seq` of the event that it was made at; ascending.
    #[must_use]
    pub fn marks(&self) -> &[u64] {
        &self.marks
    }

    /// Whether events are learned faster now, since predictions became worse.
    #[must_use]
    pub fn is_boosted(&self) -> bool {
        self.boosted > 0
    }

    /// By how much faster the next event is learned; 1 where nothing has happened.
    #[must_use]
    pub fn factor(&self, watching: &Watching) -> f32 {
        if self.is_boosted() && watching.boosts() { watching.boost } else { 1.0 }
    }

    /// How many of the next `events` are learned before [`Drift::factor`] can change: at least one, if there is one.
    #[must_use]
    pub fn steady(&self, watching: &Watching, events: usize) -> usize {
        if !watching.boosts() {
            return events;
        }
        let block = u64::from(BLOCK - self.open.0);
        let until = if self.is_boosted() { block.min(self.boosted) } else { block };
        events.min(usize::try_from(until).unwrap_or(usize::MAX))
    }

    /// Takes in the loss of the event `seq`, less what its user is above others; returns whether drift was detected at it.
    pub fn observe(&mut self, loss: f64, seq: u64, watching: &Watching) -> bool {
        self.events += 1;
        self.boosted = self.boosted.saturating_sub(1);
        if !watching.enabled || !loss.is_finite() {
            return false;
        }
        let (count, sum) = (self.open.0 + 1, self.open.1 + loss);
        if count < BLOCK {
            self.open = (count, sum);
            return false;
        }
        self.open = (0, 0.0);
        self.push(sum / f64::from(BLOCK));
        let is_drift = self.cut(watching.confidence) == Some(Change::Worse);
        if is_drift {
            self.mark(seq, watching);
        }
        is_drift
    }

    fn mark(&mut self, seq: u64, watching: &Watching) {
        self.detected += 1;
        if self.marks.len() == MARKS {
            self.marks.remove(0);
        }
        self.marks.push(seq);
        if watching.boosts() {
            self.boosted = watching.boost_events;
        }
    }

    /// Adds a block to the window.
    fn push(&mut self, mean: f64) {
        self.window.push(Bucket { level: 0, sum: mean, squares: mean * mean });
        let mut end = self.window.len();
        for level in 0..LARGEST {
            let same = self.window[..end].iter().rev().take_while(|bucket| bucket.level == level).count();
            if same <= BUCKETS {
                break;
            }
            let first = end - same;
            let Bucket { sum, squares, .. } = self.window.remove(first + 1);
            let merged = &mut self.window[first];
            *merged = Bucket { level: level + 1, sum: merged.sum + sum, squares: merged.squares + squares };
            end = first + 1;
        }
    }

    /// Drops the older part of the window where it differs most from the newer one, if it differs for certain.
    fn cut(&mut self, confidence: f64) -> Option<Change> {
        let (blocks, sum, squares) = self.window.iter().fold((0, 0.0, 0.0), |(blocks, sum, squares), bucket| {
            (blocks + bucket.blocks(), sum + bucket.sum, squares + bucket.squares)
        });
        if blocks < WARM_UP {
            return None;
        }
        let (n, block) = (blocks as f64, f64::from(BLOCK));
        let variance = (squares / n - (sum / n) * (sum / n)).max(0.0) * block;
        let level = libm::log(2.0 * libm::log(n * block) / confidence);
        let (mut older, mut older_sum) = (0, 0.0);
        let mut found: Option<(f64, usize, Change)> = None;
        for (at, bucket) in (1..).zip(&self.window) {
            older += bucket.blocks();
            older_sum += bucket.sum;
            let newer = blocks - older;
            if newer < LEAST {
                break;
            }
            if older < LEAST {
                continue;
            }
            let (n0, n1) = (older as f64, newer as f64);
            let m = block / (1.0 / n0 + 1.0 / n1);
            let bound = (2.0 / m * variance * level).sqrt() + 2.0 / (3.0 * m) * level;
            let worse = ((sum - older_sum) / n1 - older_sum / n0) / bound;
            if worse.abs() > found.map_or(1.0, |(most, ..)| most) {
                found = Some((worse.abs(), at, if worse > 0.0 { Change::Worse } else { Change::Better }));
            }
        }
        let (_, at, change) = found?;
        self.window.drain(..at);
        Some(change)
    }

    /// Whether it is one that events can have made.
    pub(crate) fn is_whole(&self) -> bool {
        let is_place = |level: u8| self.window.iter().filter(|bucket| bucket.level == level).count() <= BUCKETS;
        self.open.0 < BLOCK
            && self.open.1.is_finite()
            && self.window.iter().all(|bucket| bucket.is_whole() && is_place(bucket.level))
            && self.window.is_sorted_by(|a, b| a.level >= b.level)
            && self.marks.len() as u64 == self.detected.min(MARKS as u64)
            && self.marks.is_sorted_by(|a, b| a < b)
    }
}

#[cfg(test)]
mod tests;
