//! The events of earlier slides that are still inside a sliding window.
//!
//! Apart from the gatherer, because only the sliding mode needs it.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::decode::Event;

/// Recent events with the time at which their slide closed.
#[derive(Debug)]
pub(super) struct Window {
    length: Duration,
    recent: VecDeque<(Instant, u64, Event)>,
}

impl Window {
    pub(super) fn new(length: Duration) -> Self {
        Self { length, recent: VecDeque::new() }
    }

    /// The events still inside the window at `now`, in order, and the `seq` of the first.
    pub(super) fn rehearse(&mut self, now: Instant) -> (Option<u64>, Vec<Event>) {
        while self.recent.front().is_some_and(|(closed, ..)| now.duration_since(*closed) >= self.length) {
            self.recent.pop_front();
        }
        let first = self.recent.front().map(|(_, seq, _)| *seq);
        (first, self.recent.iter().map(|(.., event)| event.clone()).collect())
    }

    /// Takes in the new events of a slide that closes at `now`.
    pub(super) fn extend(&mut self, now: Instant, first_seq: u64, events: &[Event]) {
        self.recent.extend((first_seq..).zip(events).map(|(seq, event)| (now, seq, event.clone())));
    }
}
