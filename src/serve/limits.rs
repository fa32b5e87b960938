//! What keeps the server answering: limits on the length of a path, the rate of a client, and the load of the machine.
//!
//! Layers around every route. Each refusal is problem+json with a stable code, is counted, and costs next to nothing.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::uri::PathAndQuery;
use axum::http::{StatusCode, Uri};
use axum::middleware::Next;
use axum::response::Response;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};

use super::access::Client;
use super::delay::Delay;
use super::status::Refusal;
use super::{AppState, Problem, Status, health};

/// Longest path with its query, in bytes. An id has up to 1024, three times as many when percent-encoded, and a list of them
/// may be long; hyper itself reads no more than 65,534.
const LONGEST_PATH: usize = 60 * 1024;

/// Checks between two clean-ups of the table of clients.
const CLEAN_UP_EVERY: u64 = 4096;

/// What the layers hold.
#[derive(Clone)]
pub(super) struct Limits(Arc<Held>);

struct Held {
    status: Arc<Status>,
    rate: Option<DefaultKeyedRateLimiter<Client>>,
    clock: DefaultClock,
    checks: AtomicU64,
    /// The delay, and the one from which on requests are refused.
    load: Option<(Arc<Delay>, Duration)>,
}

impl Limits {
    pub(super) fn new(state: &AppState) -> Self {
        let config = &state.config;
        let rate = NonZeroU32::new(config.rate_limit).map(|limit| {
            let burst = NonZeroU32::new(config.rate_burst).unwrap_or(NonZeroU32::MIN);
            DefaultKeyedRateLimiter::keyed(Quota::per_second(limit).allow_burst(burst))
        });
        let load = (!config.shed_after.is_zero()).then(|| (Delay::watch(), config.shed_after));
        let status = Arc::clone(&state.status);
        Self(Arc::new(Held { status, rate, clock: DefaultClock::default(), checks: AtomicU64::new(0), load }))
    }

    fn check_rate(&self, client: Client) -> Result<(), Problem> {
        let Some(rate) = &self.0.rate else { return Ok(()) };
        // A client whose bucket is full again is like one that was never seen.
        if self.0.checks.fetch_add(1, Ordering::Relaxed) % CLEAN_UP_EVERY == CLEAN_UP_EVERY - 1 {
            rate.retain_recent();
        }
        rate.check_key(&client).map_err(|until| {
            self.0.status.count_refusal(Refusal::RateLimited);
            let wait = until.wait_time_from(self.0.clock.now()).as_secs_f64();
            let detail = format!(
                "more requests than the {} a second that serve.rate_limit allows; try again in {wait:.3} s",
                rate_of(until.quota())
            );
            let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail);
            Problem { retry_after: Some(wait.ceil().max(1.0) as u64), ..problem }
        })
    }

    fn check_load(&self) -> Result<(), Problem> {
        let Some((delay, longest)) = &self.0.load else { return Ok(()) };
        let delay = delay.now();
        if delay <= *longest {
            return Ok(());
        }
        self.0.status.count_refusal(Refusal::Overloaded);
        let detail = format!(
            "requests wait {} ms for a processor, longer than serve.shed_after; try again in a second",
            delay.as_millis()
        );
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail);
        Err(Problem { retry_after: Some(1), ..problem })
    }
}

/// Requests a second that a quota allows in the long run.
fn rate_of(quota: Quota) -> u64 {
    (1.0 / quota.replenish_interval().as_secs_f64()).round() as u64
}

/// The layer that refuses paths that are too long, or that cannot be decoded.
pub(super) async fn path(uri: Uri, request: Request, next: Next) -> Result<Response, Problem> {
    let path = uri.path_and_query().map_or("", PathAndQuery::as_str);
    let length = path.len();
    if length <= LONGEST_PATH {
        // Routes would take the characters for what they are, and ask for another id than was meant.
        let Some(found) = garbled(path) else { return Ok(next.run(request).await) };
        let detail =
            format!("{found:?} is no encoded byte; write % as %25, and any byte as % and two hexadecimal digits");
        return Err(Problem::bad_request("bad_encoding", detail));
    }
    let detail = format!(
        "path and query have {length} bytes; up to {LONGEST_PATH} are allowed; send long lists as the body of a POST"
    );
    Err(Problem::new(StatusCode::URI_TOO_LONG, "path_too_long", detail))
}

/// The first `%` without two hexadecimal digits, with what stands behind it.
fn garbled(path: &str) -> Option<&str> {
    let is_byte = |digits: &str| digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let mut escapes = path.match_indices('%').map(|(at, _)| {
        let end = path[at..].char_indices().nth(3).map_or(path.len(), |(length, _)| at + length);
        &path[at..end]
    });
    escapes.find(|escape| !is_byte(&escape[1..]))
}

/// The layer that refuses what is too much: of one client, or of all. Who watches over the process is never refused.
pub(super) async fn load(State(limits): State<Limits>, request: Request, next: Next) -> Result<Response, Problem> {
    let path = request.uri().path();
    if !health::PROBES.contains(&path) && path != "/metrics" {
        if let Some(client) = request.extensions().get::<Client>() {
            limits.check_rate(*client)?;
        }
        limits.check_load()?;
    }
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests;
