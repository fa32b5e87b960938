//! Asks the service over HTTP: what its users ask, at a rate, and how it is.
//!
//! Apart from the load, because a service in this process and one elsewhere are asked alike. The client blocks, and each of
//! its threads has its own connection, so that what is measured waits for nothing in the runtime that serves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use parking_lot::Mutex;
use rand::SeedableRng;
use rand_pcg::Pcg64;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use ureq::Agent;
use ureq::tls::TlsConfig;

use crate::capture::endless::Population;
use crate::config::ServeConfig;
use crate::serve::timings::{Quantiles, Times};

/// Connections that reads are sent over: as many may wait for an answer at the same time.
const READERS: usize = 16;

/// Longest wait for an answer.
const WITHIN: Duration = Duration::from_secs(15);

/// Longest sleep of a reader, so that it hears soon that it is to stop.
const NAP: Duration = Duration::from_millis(50);

/// Where the service is, and what lets one in. No `Debug`: it holds a key.
#[derive(Clone)]
pub(super) struct Client {
    agent: Agent,
    url: String,
    bearer: Option<String>,
}

/// How the service is.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) durable: u64,
    pub(super) lag: u64,
    /// What is in the way, if anything is.
    pub(super) trouble: Option<String>,
    /// Resident memory in bytes, where its system tells.
    pub(super) resident: Option<u64>,
    /// Events by freshness, each with all that were fresher: seconds, events.
    pub(super) freshness: Vec<(f64, u64)>,
}

impl Client {
    /// Asks with the first key that may read. The certificate of a service in this very process is not looked at: it may
    /// be for any name.
    pub(super) fn new(url: &str, serve: &ServeConfig, own: bool) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_global(Some(WITHIN))
            .tls_config(TlsConfig::builder().disable_verification(own).build())
            .build();
        let key = serve.read_keys.words().chain(serve.admin_keys.words()).next();
        let bearer = key.map(|key| format!("Bearer {key}"));
        Self { agent: Agent::new_with_config(agent), url: url.trim_end_matches('/').to_owned(), bearer }
    }

    /// The same with connections of its own.
    fn apart(&self) -> Self {
        Self { agent: Agent::new_with_config(self.agent.config().clone()), ..self.clone() }
    }

    /// Status and body.
    fn get(&self, path: &str) -> Result<(u16, String), String> {
        let mut request = self.agent.get(format!("{}{path}", self.url));
        if let Some(bearer) = &self.bearer {
            request = request.header("authorization", bearer);
        }
        let mut answer = request.call().map_err(|error| error.to_string())?;
        let status = answer.status().as_u16();
        answer.body_mut().read_to_string().map(|body| (status, body)).map_err(|error| error.to_string())
    }

    /// Asks `/readyz` and `/metrics`.
    ///
    /// # Errors
    /// If nobody answers, or what answers is no freshet.
    pub(super) fn state(&self) -> anyhow::Result<State> {
        let url = &self.url;
        let get = |path| self.get(path).map_err(|reason| anyhow!("nothing answers at {url}{path}: {reason}"));
        let no_freshet = || format!("what answers at {url}/readyz is no freshet");
        let ready: Value = serde_json::from_str(&get("/readyz")?.1).with_context(no_freshet)?;
        let durable = ready["durable_seq"].as_u64().with_context(no_freshet)?;
        let (status, metrics) = get("/metrics")?;
        anyhow::ensure!(
            status == 200,
            "{url}/metrics answered {status}; where keys are asked for, the first of serve.read_keys is sent"
        );
        let is = ready["phase"].as_str().filter(|phase| *phase != "running").map(|phase| format!("it is {phase}"));
        let in_trouble = ready["troubles"].as_array().filter(|troubles| !troubles.is_empty());
        Ok(State {
            durable,
            lag: ready["lag"].as_u64().unwrap_or_default(),
            trouble: is.or_else(|| in_trouble.map(|troubles| Value::from(troubles.clone()).to_string())),
            resident: figure(&metrics, "process_resident_memory_bytes ").map(|bytes| bytes as u64),
            freshness: buckets(&metrics, "freshet_freshness_seconds_bucket{le=\""),
        })
    }
}

fn figure(metrics: &str, name: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(name)).and_then(|figure| figure.parse().ok())
}

/// Upper bounds of a histogram without labels, each with what is counted up to it.
fn buckets(metrics: &str, name: &str) -> Vec<(f64, u64)> {
    let bucket = |line: &str| {
        let (bound, count) = line.strip_prefix(name)?.split_once("\"}")?;
        let count = count.split_whitespace().next()?.parse().ok()?;
        // Rust reads "+Inf" as Prometheus writes it.
        Some((bound.parse().ok()?, count))
    };
    metrics.lines().filter_map(bucket).collect()
}

/// Reads that were sent, and their answers.
#[derive(Debug, Default)]
pub(super) struct Reads {
    next: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
    first_error: Mutex<Option<String>>,
    took: Times,
}

impl Reads {
    /// Answered with a status below 400, and not.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.answered.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }

    pub(super) fn first_error(&self) -> Option<String> {
        self.first_error.lock().clone()
    }

    /// Of the time from when a read was due until its answer was there.
    pub(super) fn latency(&self) -> Quantiles {
        Times::quantiles([&self.took])
    }

    fn ask(&self, client: &Client, user: &str, due: Instant) {
        let path = format!("/recommend/{user}");
        let error = match client.get(&path) {
            Ok((..400, _)) => None,
            Ok((status, body)) => Some(format!("GET {path} answered {status}: {}", body.trim())),
            Err(reason) => Some(format!("GET {path}: {reason}")),
        };
        self.took.observe_n(due.elapsed(), 1);
        match error {
            None => drop(self.answered.fetch_add(1, Ordering::Relaxed)),
            Some(error) => {
                self.first_error.lock().get_or_insert(error);
                self.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// What is read, and how often.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub(super) population: Population,
    pub(super) seed: u64,
    /// Reads a second.
    pub(super) rate: f64,
    pub(super) time: Duration,
}

/// Threads that ask until the time is over or `stop` is cancelled. A read is counted from when it was due: an answer that
/// is late makes the next one on its connection late as well, and that counts.
pub(super) fn read(
    client: &Client,
    reading: Reading,
    reads: &Arc<Reads>,
    stop: &CancellationToken,
) -> std::io::Result<Vec<JoinHandle<()>>> {
    let start = Instant::now();
    let reader = |number: u64| {
        let (client, reads, stop) = (client.apart(), Arc::clone(reads), stop.clone());
        let mut random = Pcg64::seed_from_u64(reading.seed.wrapping_add(1 + number));
        thread::Builder::new().name("reader".to_owned()).spawn(move || {
            let (rate, all) = (reading.rate, (reading.rate * reading.time.as_secs_f64()) as u64);
            loop {
                let place = reads.next.fetch_add(1, Ordering::Relaxed);
                let due = start + Duration::from_secs_f64(place as f64 / rate);
                if place >= all || !nap_until(due, &stop) || start.elapsed() > reading.time {
                    return;
                }
                reads.ask(&client, &reading.population.draw_user(&mut random), due);
            }
        })
    };
    (0..READERS as u64).map(reader).collect()
}

/// False if it is to stop.
fn nap_until(due: Instant, stop: &CancellationToken) -> bool {
    loop {
        let left = due.saturating_duration_since(Instant::now());
        if stop.is_cancelled() || left.is_zero() {
            return !stop.is_cancelled();
        }
        thread::sleep(left.min(NAP));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_off_what_prometheus_is_told() {
        let metrics = "# TYPE a histogram\na_bucket{le=\"0.1\"} 3\na_bucket{le=\"+Inf\"} 5\nb_bytes 1.5\n# EOF\n";
        assert_eq!(buckets(metrics, "a_bucket{le=\""), [(0.1, 3), (f64::INFINITY, 5)]);
        assert_eq!((figure(metrics, "b_bytes "), figure(metrics, "c ")), (Some(1.5), None));
    }
}
