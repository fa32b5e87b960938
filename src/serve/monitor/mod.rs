//! What a person watches while it learns: the newest events, micro-batches, and test-then-learn figures over a window.
//!
//! In: each learned batch, from the engine. Out: [`StreamFigures`] and [`LearningFigures`], which `GET /live` and `/metrics`
//! tell. Since the start of this process, with some of the events before it, and none of it reaches what is learned. Guarantee:
//! what is kept is bounded, whatever the number of events, users and items; the learner waits for a reader no longer than
//! a copy of it takes.

mod joint;
mod places;
mod quality;
mod ranking;
mod recent;
mod timeline;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::timings::BatchTimes;
use crate::decode::Event;
use crate::gather::MicroBatch;
use crate::learn::prequential::Sums;
use crate::learn::{self, Outcome};
use crate::publish::{Standing, View};
use crate::telemetry::now_ms;

pub use joint::{Histogram, Joint};
pub(super) use places::{Place, Places};
pub use quality::{Nth, Point};
pub use ranking::{Judged, RankingFigures, Scores};
pub use recent::Recent;
pub use timeline::BatchLine;

use quality::Quality;
use ranking::Ranking;
use recent::Newest;
use timeline::Timeline;

/// Share of a core that judging lists may take: one in so many.
const RANKING_SHARE: u32 = 32;

/// A batch that was learned and published, with what there was before it.
#[derive(Debug)]
pub struct LearnedEvents<'a> {
    /// The batch.
    pub batch: &'a MicroBatch,
    /// One for each of its new events.
    pub outcomes: &'a [Outcome],
    /// The view that answers were given from until now.
    pub before: &'a View,
    /// The view after it.
    pub after: &'a View,
    /// What it took.
    pub times: BatchTimes,
}

/// What is kept of the stream.
#[derive(Debug)]
pub struct Monitor {
    /// Since when, in milliseconds since the epoch.
    since_ms: i64,
    start: Instant,
    held: Mutex<Held>,
    /// When the next list may be judged, in microseconds after `start`.
    rank_at: AtomicU64,
}

#[derive(Debug, Default)]
struct Held {
    timeline: Timeline,
    newest: Newest,
    quality: Quality,
    ranking: Ranking,
}

/// The stream: how fast, in what batches, and the newest events.
#[derive(Clone, Debug)]
pub struct StreamFigures {
    /// Events a second, over the last five.
    pub events_per_s: f64,
    /// The newest micro-batches, the newest last.
    pub batches: Vec<BatchLine>,
}

/// How well it predicts and ranks.
#[derive(Clone, Debug)]
pub struct LearningFigures {
    /// Over the newest events.
    pub window: Sums,
    /// Of lists.
    pub ranking: RankingFigures,
    /// How the window's figures went, the newest last.
    pub curve: Vec<Point>,
    /// By the n-th event of a user.
    pub nth: Vec<Nth>,
    /// How often each rating came, and was predicted.
    pub histogram: Histogram,
    /// Predicted against actual.
    pub joint: Joint,
}

impl Default for Monitor {
    fn default() -> Self {
        let (since_ms, start) = (now_ms(), Instant::now());
        Self { since_ms, start, held: Mutex::default(), rank_at: AtomicU64::new(0) }
    }
}

impl Monitor {
    /// Notes a batch that was learned.
    pub fn learned(&self, learned: &LearnedEvents<'_>) {
        let mut held = self.held.lock();
        let Held { timeline, newest, quality, ranking } = &mut *held;
        timeline.learned(learned, self.start.elapsed());
        newest.learned(learned);
        quality.learned(learned);
        quality.draw(learned.after.version().seq, &ranking.window());
    }

    /// Takes in the newest events that were learned before the start, in order, with what was predicted for each; `view` has
    /// learned them all and no other after them.
    pub fn recall(&self, events: &[(u64, Event, f32)], view: &View) {
        let (learned, range) = (view.learned(), view.learned().scale.range);
        let targets = events.iter().map(|(_, event, _)| learn::target(event.rating, event.count, range));
        let targets: Vec<f32> = targets.collect();
        let mut scored = learned.prequential.events();
        let mut sum = learned.prequential.running_mean() * scored as f64;
        // The running mean before each of them, from the one after the last back.
        let means = targets.iter().rev().map(|target| {
            (scored, sum) = (scored.saturating_sub(1), sum - f64::from(*target));
            range.clamp(if scored == 0 { 0.0 } else { (sum / scored as f64) as f32 })
        });
        let means: Vec<f32> = means.collect();
        let mut held = self.held.lock();
        for (((seq, event, predicted), target), mean) in events.iter().zip(targets).zip(means.into_iter().rev()) {
            held.newest.add(*seq, event, *predicted, None);
            held.quality.add(*predicted, mean, target, range);
        }
    }

    /// Notes that the batches up to this number are durable, and how long writing them took.
    pub fn persisted(&self, number: u64, took: Duration) {
        self.held.lock().timeline.persisted(number, took);
    }

    /// Whether the list of somebody may be judged now: judging takes no more than a small share of a core, so that fewer
    /// events are judged where there are more of them or more items.
    #[must_use]
    pub fn may_rank(&self) -> bool {
        self.start.elapsed().as_micros() as u64 >= self.rank_at.load(Ordering::Relaxed)
    }

    /// Notes where the item of an event stood in its user's list, and how long it took to find out.
    pub fn ranked(&self, standing: Option<Standing>, took: Duration) {
        let next = self.start.elapsed() + took * RANKING_SHARE;
        self.rank_at.store(next.as_micros() as u64, Ordering::Relaxed);
        if let Some(standing) = standing {
            self.held.lock().ranking.add(standing);
        }
    }

    /// How fast events come, in which batches.
    #[must_use]
    pub fn stream(&self) -> StreamFigures {
        let now = self.start.elapsed();
        let held = self.held.lock();
        StreamFigures { events_per_s: held.timeline.rate(now), batches: held.timeline.batches() }
    }

    /// The newest events, the newest last.
    #[must_use]
    pub fn newest(&self) -> Vec<Arc<Recent>> {
        self.held.lock().newest.events()
    }

    /// How well it predicts and ranks.
    #[must_use]
    pub fn learning(&self) -> LearningFigures {
        let held = self.held.lock();
        LearningFigures {
            window: held.quality.window(),
            ranking: held.ranking.figures(self.since_ms),
            curve: held.quality.curve(),
            nth: held.quality.nth(),
            histogram: held.quality.histogram(),
            joint: held.quality.joint(),
        }
    }
}

#[cfg(test)]
mod tests;
