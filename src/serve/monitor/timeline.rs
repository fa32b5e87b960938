//! The newest micro-batches, and how many events came lately.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use super::LearnedEvents;

/// Batches that are kept.
const KEPT: usize = 120;

/// Time over which the rate is taken.
const LATELY: Duration = Duration::from_secs(5);

/// Time of one count of events.
const SLOT: Duration = Duration::from_millis(100);

/// One micro-batch as it went through the engine.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
pub struct BatchLine {
    /// Its number.
    number: u64,
    /// `seq` of its last event.
    seq: u64,
    /// When it was published, in milliseconds since the epoch.
    at_ms: i64,
    /// New events in it.
    events: usize,
    /// Records in it that are no events.
    rejects: usize,
    /// How long its first event waited for the others.
    wait_ms: f64,
    /// How long learning took.
    learn_ms: f64,
    /// How long publishing took.
    publish_ms: f64,
    /// How long the write that made it durable took, other batches in it included; null until it is.
    persist_ms: Option<f64>,
}

#[derive(Debug, Default)]
pub(super) struct Timeline {
    batches: VecDeque<BatchLine>,
    /// Events that came from each of these times after the start on, for `SLOT`.
    slots: VecDeque<(Duration, usize)>,
}

impl Timeline {
    pub(super) fn learned(&mut self, learned: &LearnedEvents<'_>, now: Duration) {
        let LearnedEvents { batch, after, times, .. } = learned;
        if self.batches.len() == KEPT {
            self.batches.pop_front();
        }
        self.batches.push_back(BatchLine {
            number: batch.number,
            seq: after.version().seq,
            at_ms: after.version().published_at_ms,
            events: batch.events.len(),
            rejects: batch.rejects.len(),
            wait_ms: milliseconds(times.waited),
            learn_ms: milliseconds(times.learn),
            publish_ms: milliseconds(times.publish),
            persist_ms: None,
        });
        match self.slots.back_mut().filter(|(from, _)| now < *from + SLOT) {
            Some((_, events)) => *events += batch.events.len(),
            None => self.slots.push_back((now, batch.events.len())),
        }
        while self.slots.front().is_some_and(|(from, _)| *from + LATELY < now) {
            self.slots.pop_front();
        }
    }

    pub(super) fn persisted(&mut self, number: u64, took: Duration) {
        let waiting = self.batches.iter_mut().rev().skip_while(|batch| batch.number > number);
        for batch in waiting.take_while(|batch| batch.persist_ms.is_none()) {
            batch.persist_ms = Some(milliseconds(took));
        }
    }

    /// Events a second.
    pub(super) fn rate(&self, now: Duration) -> f64 {
        let recent = self.slots.iter().filter(|(from, _)| *from + LATELY >= now);
        let (mut events, mut first) = (0, now);
        for (from, count) in recent {
            events += count;
            first = first.min(*from);
        }
        // At the beginning less time than that has passed.
        let passed = now.saturating_sub(first).clamp(Duration::from_secs(1), LATELY);
        events as f64 / passed.as_secs_f64()
    }

    pub(super) fn batches(&self) -> Vec<BatchLine> {
        self.batches.iter().copied().collect()
    }
}

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
