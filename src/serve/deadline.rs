//! How long a request may take: on its way in, and to be answered.
//!
//! A layer right around the routes. It tells a client that sends its body too slowly (408) from an answer that takes too long
//! (503), and both are problem+json.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use futures::stream;
use tokio::time::timeout;

use super::status::Refusal;
use super::{AppState, Problem};

/// What the body of a request is doing.
#[derive(Debug, Default)]
struct Progress(AtomicU8);

impl Progress {
    const IDLE: u8 = 0;
    const WAITING: u8 = 1;
    const STALLED: u8 = 2;

    fn set(&self, what: u8) {
        self.0.store(what, Ordering::Relaxed);
    }

    fn is(&self, what: u8) -> bool {
        self.0.load(Ordering::Relaxed) == what
    }
}

/// The layer.
pub(super) async fn keep(State(state): State<AppState>, request: Request, next: Next) -> Result<Response, Problem> {
    let progress = Arc::new(Progress::default());
    let pause = state.config.body_timeout;
    let request = request.map(|body| if body.is_end_stream() { body } else { watched(body, pause, &progress) });
    let longest = state.config.request_timeout;
    let slow = |problem| {
        state.status.count_refusal(Refusal::Slow);
        Err(problem)
    };
    match timeout(longest, next.run(request)).await {
        // What the handler makes of a body that broke off is beside the point; what it has done all the same is not.
        Ok(response) if progress.is(Progress::STALLED) && !response.status().is_success() => slow(stalled(pause)),
        Ok(response) => Ok(response),
        Err(_) if progress.is(Progress::WAITING) => slow(unfinished(longest)),
        Err(_) => Ok(too_late(longest).into_response()),
    }
}

/// The body, which fails when it pauses for too long.
fn watched(body: Body, pause: Duration, progress: &Arc<Progress>) -> Body {
    let start = Some((body.into_data_stream(), Arc::clone(progress)));
    let chunks = stream::unfold(start, move |state| async move {
        let (mut body, progress) = state?;
        progress.set(Progress::WAITING);
        let Ok(chunk) = timeout(pause, body.next()).await else {
            progress.set(Progress::STALLED);
            let error = io::Error::new(io::ErrorKind::TimedOut, "the body paused for too long");
            return Some((Err(axum::Error::new(error)), None));
        };
        progress.set(Progress::IDLE);
        Some((chunk?, Some((body, progress))))
    });
    // Whoever decompresses asks once more after the end.
    Body::from_stream(chunks.fuse())
}

fn stalled(pause: Duration) -> Problem {
    let detail = format!("the body paused for {} ms; serve.body_timeout allows no longer pause", pause.as_millis());
    Problem::new(StatusCode::REQUEST_TIMEOUT, "slow_body", detail)
}

fn unfinished(longest: Duration) -> Problem {
    let detail = format!(
        "the body had not arrived after {} ms, the longest that serve.request_timeout allows; send less at a time",
        longest.as_millis()
    );
    Problem::new(StatusCode::REQUEST_TIMEOUT, "slow_body", detail)
}

fn too_late(longest: Duration) -> Problem {
    let detail = format!(
        "there was no answer after {} ms, the longest that serve.request_timeout allows; try again, or ask for less",
        longest.as_millis()
    );
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", detail);
    Problem { retry_after: Some(1), ..problem }
}

#[cfg(test)]
mod tests;
