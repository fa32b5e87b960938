//! How far behind the log's end the store is, for each partition, and whether that gets better.
//!
//! In: once a second where reading stands and what is durable. Out: a [`Lag`] for each partition with messages, seconds
//! and a [`LagState`]. The rules are those of
//! [Burrow](https://github.com/linkedin/Burrow/wiki/Consumer-Lag-Evaluation-Rules): a window of samples is judged and no
//! threshold, since what is much lag for one topic is none for another. Where Burrow looks at committed offsets this looks
//! at the durable ones, which are the truth here. Pure: time comes in as an argument.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use super::{Offsets, PartitionLag, RawEvent};

/// How often a sample is to be taken.
pub const EVERY: Duration = Duration::from_secs(1);

/// Samples in a window.
const SAMPLES: usize = 10;

/// Time that a whole window spans, in milliseconds.
const WINDOW_MS: i64 = EVERY.as_millis() as i64 * (SAMPLES as i64 - 1);

/// How the lag of a partition develops, as Burrow names it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LagState {
    /// Keeping up, or catching up.
    #[default]
    Ok,
    /// Events become durable, but the lag has only grown over the window.
    Warning,
    /// Nothing was sampled for longer than a window, because the log or the store is in trouble, and there is lag.
    Stopped,
    /// There is lag, and over a whole window nothing has become durable.
    Stalled,
    /// The durable offset went back, or the log ends before it.
    Rewound,
}

impl LagState {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Ok, Self::Warning, Self::Stopped, Self::Stalled, Self::Rewound];
}

/// How far the store is behind the end of one partition.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Lag {
    /// Topic name.
    #[schema(value_type = String)]
    pub topic: Arc<str>,
    /// Partition number.
    pub partition: i32,
    /// Next offset to be read.
    pub position: i64,
    /// Offset up to which everything is durable.
    pub durable: i64,
    /// One past the last offset on the log.
    pub end: i64,
    /// Offsets between `durable` and `end`.
    pub messages: i64,
    /// How old the events are that are being read, in seconds; 0 if nothing is left. None before the first is read.
    pub seconds: Option<f64>,
    /// How it develops.
    pub state: LagState,
}

/// A partition that has come into another state.
#[derive(Debug, PartialEq)]
pub struct LagChange {
    /// The lag now.
    pub lag: Lag,
    /// The state before.
    pub before: LagState,
}

/// Keeps a window of samples for each assigned partition.
#[derive(Debug, Default)]
pub struct LagWatch {
    partitions: BTreeMap<(Arc<str>, i32), Window>,
    /// The log's timestamp of the last record read, by topic and partition number; a negative one is none.
    read_ms: BTreeMap<Arc<str>, Vec<i64>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    at_ms: i64,
    durable: i64,
    end: i64,
}

#[derive(Debug, Default)]
struct Window {
    /// Where reading was first seen to stand: what came before is durable.
    start: i64,
    position: i64,
    latest: Sample,
    /// What is judged: the latest one is not among them while the store is in trouble.
    samples: VecDeque<Sample>,
    /// When nothing was left, the last time.
    caught_up_ms: Option<i64>,
    state: LagState,
}

impl LagWatch {
    /// Notes how old the records are that were read just now.
    pub fn note_read(&mut self, records: &[RawEvent]) {
        for RawEvent { position, timestamp_ms, .. } in records {
            if !self.read_ms.contains_key(&position.topic) {
                self.read_ms.insert(Arc::clone(&position.topic), Vec::new());
            }
            let Some(read_ms) = self.read_ms.get_mut(&position.topic) else { continue };
            let partition = position.partition.max(0) as usize;
            if partition >= read_ms.len() {
                read_ms.resize(partition + 1, -1);
            }
            read_ms[partition] = *timestamp_ms;
        }
    }

    /// Takes in how every assigned partition stands; the others are forgotten. While the store is in trouble that is shown
    /// and not judged: what does not become durable then says nothing about keeping up.
    pub fn look(&mut self, now_ms: i64, assigned: &[PartitionLag], durable: &Offsets, store_works: bool) {
        self.partitions.retain(|(topic, partition), _| {
            assigned.iter().any(|one| one.topic == *topic && one.partition == *partition)
        });
        for one in assigned {
            let key = (Arc::clone(&one.topic), one.partition);
            let window =
                self.partitions.entry(key).or_insert_with(|| Window { start: one.position, ..Window::default() });
            let durable = durable.get(&one.topic, one.partition).unwrap_or(window.start);
            window.position = one.position;
            window.take(Sample { at_ms: now_ms, durable, end: one.end }, store_works);
        }
    }

    /// Judges every partition by its samples; returns its lag, and which partitions have come into another state.
    pub fn judge(&mut self, now_ms: i64) -> (Vec<Lag>, Vec<LagChange>) {
        let (mut lags, mut changes) = (Vec::with_capacity(self.partitions.len()), Vec::new());
        for ((topic, partition), window) in &mut self.partitions {
            let before = window.state;
            let of_topic = self.read_ms.get(topic);
            let read_ms = of_topic.and_then(|of| of.get(*partition as usize)).copied().filter(|read_ms| *read_ms >= 0);
            let state = window.judge(now_ms);
            let lag = Lag {
                topic: Arc::clone(topic),
                partition: *partition,
                position: window.position,
                durable: window.latest.durable,
                end: window.latest.end,
                messages: window.latest.lag().max(0),
                seconds: window.seconds(now_ms, read_ms),
                state,
            };
            window.state = state;
            if state != before {
                changes.push(LagChange { lag: lag.clone(), before });
            }
            lags.push(lag);
        }
        (lags, changes)
    }
}

impl Sample {
    /// Negative if the log ends before what is durable.
    fn lag(&self) -> i64 {
        self.end - self.durable
    }
}

impl Window {
    fn take(&mut self, latest: Sample, judged: bool) {
        self.latest = latest;
        if latest.lag() <= 0 {
            self.caught_up_ms = Some(latest.at_ms);
        }
        if judged {
            if self.samples.len() == SAMPLES {
                self.samples.pop_front();
            }
            self.samples.push_back(latest);
        }
    }

    /// Burrow's rules in its order, the worst first; but a log that ends too early is no log that was caught up with.
    fn judge(&self, now_ms: i64) -> LagState {
        let (Some(first), Some(last)) = (self.samples.front(), self.samples.back()) else { return LagState::Ok };
        let pairs = || self.samples.iter().zip(self.samples.iter().skip(1));
        if self.latest.lag() < 0 {
            return LagState::Rewound;
        }
        if self.samples.iter().any(|sample| sample.lag() == 0) {
            return LagState::Ok;
        }
        if pairs().any(|(earlier, later)| later.durable < earlier.durable) {
            return LagState::Rewound;
        }
        if now_ms - last.at_ms > WINDOW_MS {
            return LagState::Stopped;
        }
        if self.samples.len() < SAMPLES {
            return LagState::Ok;
        }
        if last.durable == first.durable {
            return LagState::Stalled;
        }
        let never_shrinks = pairs().all(|(earlier, later)| later.lag() >= earlier.lag());
        if never_shrinks && last.lag() > first.lag() { LagState::Warning } else { LagState::Ok }
    }

    fn seconds(&self, now_ms: i64, read_ms: Option<i64>) -> Option<f64> {
        if self.latest.lag() <= 0 {
            return Some(0.0);
        }
        let since_ms = read_ms.max(self.caught_up_ms)?;
        Some((now_ms - since_ms).max(0) as f64 / 1000.0)
    }
}

#[cfg(test)]
mod tests;
