//! The streams that are open: bounded, since each of them holds a connection for as long as its page is open.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::Event;
use parking_lot::Mutex;
use serde::Serialize;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

/// When a client whose stream was ended is to come again. Longer than the pause of one whose connection was cut, so that
/// too many clients do not spend their time on pushing each other out.
const COME_AGAIN: Duration = Duration::from_secs(15);

/// Every open stream, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Streams(Mutex<Opened>);

#[derive(Debug, Default)]
struct Opened {
    streams: VecDeque<(u64, CancellationToken)>,
    count: u64,
}

/// One open stream, until it is dropped.
#[derive(Debug)]
pub(super) struct Open {
    all: Arc<Streams>,
    number: u64,
    end: CancellationToken,
}

impl Streams {
    /// Opens a stream. Where `most` are open already the oldest ones are asked to end.
    pub(super) fn open(self: &Arc<Self>, most: usize) -> Open {
        let end = CancellationToken::new();
        let mut open = self.0.lock();
        open.count += 1;
        let number = open.count;
        open.streams.push_back((number, end.clone()));
        while open.streams.len() > most.max(1) {
            if let Some((_, oldest)) = open.streams.pop_front() {
                oldest.cancel();
            }
        }
        Open { all: Arc::clone(self), number, end }
    }

    /// How many are open.
    pub(super) fn count(&self) -> usize {
        self.0.lock().streams.len()
    }
}

impl Open {
    /// Waits until there is no more room for it.
    pub(super) fn ended(&self) -> WaitForCancellationFuture<'_> {
        self.end.cancelled()
    }

    #[cfg(test)]
    fn is_ended(&self) -> bool {
        self.end.is_cancelled()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.all.0.lock().streams.retain(|(number, _)| *number != self.number);
    }
}

/// Tells a client that its stream ends here, and when to come again.
pub(super) fn reconnect(reason: &str) -> Option<Event> {
    #[derive(Serialize)]
    struct Reconnect<'a> {
        after_ms: u64,
        reason: &'a str,
    }
    let after_ms = COME_AGAIN.as_millis() as u64;
    Event::default().event("reconnect").retry(COME_AGAIN).json_data(Reconnect { after_ms, reason }).ok()
}

/// Why a stream ended: others wanted the room.
pub(super) const NO_ROOM: &str = "more streams are open than serve.max_streams allows, and this was the oldest";

/// Why a stream ended: there will be nothing more to tell.
pub(super) const STOPPING: &str = "the engine is stopping";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_make_room_and_those_that_end_leave_it() {
        let streams = Arc::new(Streams::default());
        let open: Vec<_> = (0..3).map(|_| streams.open(2)).collect();
        let ended: Vec<_> = open.iter().map(Open::is_ended).collect();
        assert_eq!((ended, streams.count()), (vec![true, false, false], 2));
        drop(open);
        assert_eq!(streams.count(), 0);
        let one = streams.open(0);
        assert!(!one.is_ended(), "the stream that was just opened is never the one that ends");
    }
}
