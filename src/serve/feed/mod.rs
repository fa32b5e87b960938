//! `GET /live`: everything that the dashboard shows, as server-sent events.
//!
//! What all clients are told is made once for all of them ([`frames`]), when one of them asks and it is old enough: a
//! dashboard that nobody looks at costs nothing, and ten cost what one does but for the sending.

pub(super) mod frames;
mod shape;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures::stream;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::monitor::Places;
use super::status::Phase;
use super::streams::{NO_ROOM, Open, STOPPING, reconnect};
use super::{AppState, Problem};

pub(super) use frames::Frames;
use shape::Hello;

/// How often a client looks for something new.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Looks without anything new after which a client is told all the same that there is nothing.
const QUIET: u32 = 20;

/// What the engine does, as it does it
///
/// Server-sent events, each with one JSON object: `hello` at first; `now` with events a second, lag, micro-batches,
/// freshness and troubles, every half second while something changes; `learning` with the test-then-learn figures, every
/// second likewise; `events` with the newest events, predicted against actual; `reconnect` before the server ends the
/// stream, because `serve.max_streams` newer ones are open or the engine stops.
#[utoipa::path(
    get,
    path = "/live",
    tag = "watch",
    responses(
        (status = 200, body = String, content_type = "text/event-stream"),
        (status = "4XX", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn live(
    State(state): State<AppState>,
) -> Result<Sse<impl futures::Stream<Item = Result<Event, Infallible>>>, Problem> {
    // Read in once, off the threads that answer, and only where somebody could be placed.
    if state.status.catalog.entries().users.values().any(|user| user.zip.is_some()) {
        let _ = tokio::task::spawn_blocking(Places::load).await;
    }
    let open = state.kept.streams.open(state.config.max_streams);
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let hello = Event::default().event("hello").json_data(Hello::of(&state));
    let hello = hello.map_err(|error| Problem::internal(&error.to_string()))?;
    let (told, queue) = (Told::default(), VecDeque::from([hello]));
    let follower = Follower { state, open, looks, told, quiet: 0, queue, is_over: false };
    Ok(Sse::new(stream::unfold(follower, Follower::next)).keep_alive(KeepAlive::default()))
}

/// What a client was told last.
#[derive(Debug, Default)]
struct Told {
    now: u64,
    learning: u64,
    /// `seq` of the newest event; none before the first look.
    event: Option<u64>,
}

/// One client.
struct Follower {
    state: AppState,
    open: Open,
    looks: Interval,
    told: Told,
    /// Looks since something was told.
    quiet: u32,
    /// Messages that wait to be sent.
    queue: VecDeque<Event>,
    is_over: bool,
}

impl Follower {
    /// The next message. A client that takes none, because it sleeps, gets none: nothing is put by for it.
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Some((Ok(event), self));
            }
            if self.is_over {
                return None;
            }
            tokio::select! {
                () = self.open.ended() => self.end(NO_ROOM),
                _ = self.looks.tick() => self.look(),
            }
        }
    }

    fn end(&mut self, reason: &str) {
        self.queue.extend(reconnect(reason));
        self.is_over = true;
    }

    fn look(&mut self) {
        let kept = Arc::clone(&self.state.kept);
        let (now, learning, events) = kept.frames.newest(&self.state);
        self.quiet += 1;
        if now.number != self.told.now || self.quiet >= QUIET {
            (self.told.now, self.quiet) = (now.number, 0);
            self.tell("now", &now.text);
        }
        if learning.number != self.told.learning {
            self.told.learning = learning.number;
            self.tell("learning", &learning.text);
        }
        if let Some((text, newest)) = events.after(self.told.event) {
            self.told.event = Some(newest);
            self.tell("events", &text);
        }
        if self.state.status.phase() == Phase::Stopping {
            self.end(STOPPING);
        }
    }

    fn tell(&mut self, name: &str, text: &str) {
        self.queue.push_back(Event::default().event(name).data(text));
    }
}

#[cfg(test)]
mod tests;
