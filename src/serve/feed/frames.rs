//! What all clients are told, made once for all of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;

use super::shape::{Learning, Now, ShownEvent};
use crate::serve::AppState;

/// How old what is told of the engine may be.
const NOW_EVERY: Duration = Duration::from_millis(500);

/// How old what is told of its quality may be.
const LEARNING_EVERY: Duration = Duration::from_secs(1);

/// How old the newest events may be.
const EVENTS_EVERY: Duration = Duration::from_millis(200);

/// The newest of each kind.
#[derive(Debug, Default)]
pub(in crate::serve) struct Frames(Mutex<Made>);

#[derive(Debug, Default)]
struct Made {
    now: Kind,
    learning: Kind,
    events: (Option<Instant>, Arc<Events>),
}

/// One kind of message.
#[derive(Debug, Default)]
struct Kind {
    made: Option<Instant>,
    /// What tells whether another one differs.
    like: String,
    frame: Frame,
}

/// A message that every client is told.
#[derive(Clone, Debug, Default)]
pub(super) struct Frame {
    /// Another number for each that differs.
    pub(super) number: u64,
    /// JSON.
    pub(super) text: Arc<str>,
}

/// The newest events, of which each client is told those that it does not know.
#[derive(Debug, Default)]
pub(super) struct Events(Vec<(u64, String)>);

impl Frames {
    /// What a client is to know now.
    pub(super) fn newest(&self, state: &AppState) -> (Frame, Frame, Arc<Events>) {
        let mut made = self.0.lock();
        let at = Instant::now();
        if is_old(made.now.made, at, NOW_EVERY) {
            let now = Now::of(state);
            // The clock and the memory change always, and are nothing new.
            let like = to_json(&now.clone().timeless());
            made.now.replace(at, like, to_json(&now));
        }
        if is_old(made.learning.made, at, LEARNING_EVERY) {
            let learning = Learning::of(state);
            let like = learning.like();
            made.learning.replace(at, like, to_json(&learning));
        }
        if is_old(made.events.0, at, EVENTS_EVERY) {
            let newest = state.status.monitor.newest();
            let entries = state.status.catalog.entries();
            let shown = newest.iter().map(|event| (event.seq, to_json(&ShownEvent::of(event, &entries))));
            made.events = (Some(at), Arc::new(Events(shown.collect())));
        }
        (made.now.frame.clone(), made.learning.frame.clone(), Arc::clone(&made.events.1))
    }
}

impl Kind {
    fn replace(&mut self, at: Instant, like: String, text: String) {
        self.made = Some(at);
        if self.like != like || self.frame.number == 0 {
            self.like = like;
            self.frame.number += 1;
        }
        self.frame.text = text.into();
    }
}

impl Events {
    /// Those after the one that a client was told last, as a message, and the `seq` of the newest; none if there are none.
    pub(super) fn after(&self, told: Option<u64>) -> Option<(String, u64)> {
        let newest = self.0.last()?.0;
        // A number that is smaller than what was told is of an engine that has begun anew.
        let from = told.filter(|told| *told <= newest).unwrap_or(0);
        let new: Vec<_> = self.0.iter().filter(|(seq, _)| *seq > from).collect();
        let first = new.first()?.0;
        let skipped = if from == 0 { 0 } else { first - from - 1 };
        let texts: Vec<_> = new.iter().map(|(_, text)| text.as_str()).collect();
        Some((format!(r#"{{"events":[{}],"skipped":{skipped}}}"#, texts.join(",")), newest))
    }
}

fn is_old(made: Option<Instant>, at: Instant, limit: Duration) -> bool {
    made.is_none_or(|made| at.saturating_duration_since(made) >= limit)
}

/// Plain values always serialize; what does not would be an empty object.
fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "{}".to_owned())
}
