//! What a soak has seen, judged: the table with its verdict, and the same as JSON.

use std::time::Duration;

use indicatif::{BinaryBytes, HumanCount};
use serde::Serialize;

use super::memory::Trend;
use crate::cli::out;
use crate::serve::timings::Quantiles;

/// Least share of what was asked for that must have been sent.
const LEAST_SENT: f64 = 0.99;

/// Longest that the service may take after the last event until none is left.
pub(super) const DRAIN_WITHIN: Duration = Duration::from_secs(10);

/// Shortest time over which memory is judged: an hour is foretold from it.
const JUDGED_FROM: f64 = 300.0;

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) interrupted: bool,
    /// How long events were sent.
    pub(super) time: f64,
    /// Events a second that were asked for.
    pub(super) rate: f64,
    pub(super) sent: u64,
    pub(super) delivered: u64,
    /// Became durable since the start.
    pub(super) durable: u64,
    pub(super) most_lag: u64,
    pub(super) lag: u64,
    /// Reads a second that were asked for.
    pub(super) read_rate: f64,
    pub(super) answered: u64,
    pub(super) unanswered: u64,
    pub(super) latency: Quantiles,
    pub(super) freshness: Quantiles,
    /// Seconds and bytes.
    pub(super) memory: Vec<(f64, u64)>,
    /// When the last user or item had come.
    pub(super) introduced: f64,
    /// Most that memory may grow, in percent an hour.
    pub(super) most_growth: f64,
    /// Failures of every kind.
    pub(super) errors: u64,
    /// What the first of each kind were.
    pub(super) told: Vec<String>,
}

/// As scripts read it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    passed: bool,
    interrupted: bool,
    seconds: f64,
    events: Events,
    reads: Reads,
    freshness: Millis,
    memory: Memory,
    errors: u64,
    first_errors: Vec<String>,
    checks: Vec<Check>,
}

#[derive(Debug, Serialize)]
struct Events {
    asked: u64,
    sent: u64,
    delivered: u64,
    durable: u64,
    most_lag: u64,
    lag: u64,
}

#[derive(Debug, Serialize)]
struct Reads {
    asked: u64,
    answered: u64,
    failed: u64,
    #[serde(flatten)]
    latency: Millis,
}

#[derive(Debug, Serialize)]
struct Millis {
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Memory {
    first_bytes: Option<u64>,
    last_bytes: Option<u64>,
    most_bytes: Option<u64>,
    /// Where the line begins that growth is taken from.
    from_seconds: f64,
    growth_bytes_per_hour: Option<f64>,
    growth_percent_per_hour: Option<f64>,
}

/// One of the things that must hold.
#[derive(Clone, Debug, Serialize)]
struct Check {
    name: &'static str,
    measured: String,
    bound: String,
    /// None where it was not judged.
    holds: Option<bool>,
}

impl From<Quantiles> for Millis {
    fn from(Quantiles { p50_ms, p99_ms, .. }: Quantiles) -> Self {
        Self { p50_ms, p99_ms }
    }
}

impl Seen {
    /// Judges it.
    pub(super) fn report(self) -> Report {
        let trend = Trend::of(&self.memory, self.memory_from());
        let checks = vec![self.rate(), self.reads(), self.no_error(), self.drained(), self.flat(trend)];
        Report {
            passed: !self.interrupted && checks.iter().all(|check| check.holds != Some(false)),
            interrupted: self.interrupted,
            seconds: self.time,
            events: Events {
                asked: self.asked(),
                sent: self.sent,
                delivered: self.delivered,
                durable: self.durable,
                most_lag: self.most_lag,
                lag: self.lag,
            },
            reads: Reads {
                asked: self.asked_reads(),
                answered: self.answered,
                failed: self.unanswered,
                latency: self.latency.into(),
            },
            freshness: self.freshness.into(),
            memory: Memory {
                first_bytes: self.memory.first().map(|(_, bytes)| *bytes),
                last_bytes: self.memory.last().map(|(_, bytes)| *bytes),
                most_bytes: self.memory.iter().map(|(_, bytes)| *bytes).max(),
                from_seconds: self.memory_from(),
                growth_bytes_per_hour: trend.map(Trend::per_hour),
                growth_percent_per_hour: trend.map(Trend::percent_per_hour),
            },
            errors: self.errors,
            first_errors: self.told,
            checks,
        }
    }

    fn asked(&self) -> u64 {
        (self.rate * self.time) as u64
    }

    fn asked_reads(&self) -> u64 {
        (self.read_rate * self.time) as u64
    }

    /// From here on memory should be flat: in the last two thirds, and when nobody is new any more.
    fn memory_from(&self) -> f64 {
        self.introduced.max(self.time / 3.0)
    }

    fn rate(&self) -> Check {
        held("events sent", self.sent, self.asked(), self.time)
    }

    fn reads(&self) -> Check {
        held("reads sent", self.answered + self.unanswered, self.asked_reads(), self.time)
    }

    fn no_error(&self) -> Check {
        let measured = HumanCount(self.errors).to_string();
        Check { name: "errors", measured, bound: "none".to_owned(), holds: Some(self.errors == 0) }
    }

    fn drained(&self) -> Check {
        let missing = self.delivered.saturating_sub(self.durable);
        let lag = HumanCount(self.lag);
        let measured = match missing {
            0 => lag.to_string(),
            missing => format!("{lag}; {} not durable", HumanCount(missing)),
        };
        let holds = (!self.interrupted).then_some(self.lag == 0 && missing == 0);
        Check { name: "lag at the end", measured, bound: format!("0 after {} s", DRAIN_WITHIN.as_secs()), holds }
    }

    fn flat(&self, trend: Option<Trend>) -> Check {
        let growth = trend.map(Trend::percent_per_hour);
        let long = self.time - self.memory_from() >= JUDGED_FROM;
        let least = JUDGED_FROM as u64;
        let bound = match (long, growth) {
            (true, _) | (_, None) => format!("{} %/h", self.most_growth),
            (false, _) => format!("{} %/h, judged over {least} s or more", self.most_growth),
        };
        Check {
            name: "memory grows by",
            measured: growth.map_or_else(|| "not known".to_owned(), |growth| format!("{growth:+.1} %/h")),
            bound,
            holds: growth.filter(|_| long).map(|growth| growth <= self.most_growth),
        }
    }
}

fn held(name: &'static str, sent: u64, asked: u64, time: f64) -> Check {
    let rate = HumanCount((sent as f64 / time.max(0.001)).round() as u64);
    Check {
        name,
        measured: format!("{} of {} ({rate}/s)", HumanCount(sent), HumanCount(asked)),
        bound: format!("{:.0} %", 100.0 * LEAST_SENT),
        holds: Some(sent as f64 >= LEAST_SENT * asked as f64),
    }
}

impl Report {
    /// What does not hold, for people.
    pub(super) fn failures(&self) -> Vec<String> {
        let failed = self.checks.iter().filter(|check| check.holds == Some(false));
        let told = failed.map(|check| format!("{} {} (bound: {})", check.name, check.measured, check.bound));
        told.chain(self.first_errors.iter().cloned()).collect()
    }

    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupted
    }

    /// How much was done, for people.
    pub(super) fn done(&self) -> String {
        format!("{} events sent in {:.0} s", HumanCount(self.events.sent), self.seconds)
    }

    pub(super) fn table(&self) -> String {
        let mut table = out::table(&["soak", &format!("{:.0} s", self.seconds), "bound", "holds"]);
        for Check { name, measured, bound, holds } in &self.checks {
            let holds = holds.map_or("not judged", |holds| if holds { "yes" } else { "NO" });
            table.add_row([name, measured.as_str(), bound, holds]);
        }
        let Events { delivered, durable, most_lag, .. } = self.events;
        let [delivered, durable, most_lag] = [delivered, durable, most_lag].map(HumanCount);
        let Memory { first_bytes, last_bytes, most_bytes, .. } = self.memory;
        let bytes = |bytes: Option<u64>| bytes.map_or("-".to_owned(), |bytes| BinaryBytes(bytes).to_string());
        let [first, last, most] = [first_bytes, last_bytes, most_bytes].map(bytes);
        for (name, figure) in [
            ("delivered, and durable", format!("{delivered}, {durable}")),
            ("most lag", most_lag.to_string()),
            ("reads, p50 and p99", self.reads.latency.told()),
            ("freshness, p50 and p99", self.freshness.told()),
            ("memory at first, at last, at most", format!("{first}, {last}, {most}")),
        ] {
            table.add_row([name, figure.as_str()]);
        }
        for error in &self.first_errors {
            table.add_row(["an error", error.as_str()]);
        }
        let verdict = match (self.interrupted, self.passed) {
            (true, _) => "interrupted",
            (false, true) => "passed",
            (false, false) => "FAILED",
        };
        table.add_row(["verdict", verdict]);
        format!("{table}\n")
    }
}

impl Millis {
    fn told(&self) -> String {
        let one = |ms: Option<f64>| ms.map_or("-".to_owned(), |ms| format!("{ms:.1} ms"));
        format!("{}, {}", one(self.p50_ms), one(self.p99_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten minutes as they should be.
    fn good() -> Seen {
        Seen {
            time: 600.0,
            rate: 100.0,
            sent: 59_900,
            delivered: 59_900,
            durable: 59_900,
            read_rate: 10.0,
            answered: 6_000,
            memory: (0..600).map(|at| (f64::from(at), 300 << 20)).collect(),
            introduced: 20.0,
            most_growth: 10.0,
            ..Seen::default()
        }
    }

    fn failing(seen: Seen) -> Vec<String> {
        let report = seen.report();
        assert_eq!(report.passed, report.failures().is_empty() && !report.interrupted);
        report.failures()
    }

    #[test]
    fn what_holds_passes_and_each_that_does_not_is_named() {
        assert!(failing(good()).is_empty());
        assert!(good().report().table().contains("passed"));
        let growing = (0..600).map(|at| (f64::from(at), (300 << 20) + at as u64 * 30_000)).collect();
        for (seen, told) in [
            (Seen { sent: 59_000, ..good() }, "events sent 59,000 of 60,000 (98/s) (bound: 99 %)"),
            (Seen { answered: 3, unanswered: 2, ..good() }, "reads sent 5 of 6,000"),
            (Seen { errors: 1, ..good() }, "errors 1 (bound: none)"),
            (Seen { lag: 7, ..good() }, "lag at the end 7 (bound: 0 after 10 s)"),
            (Seen { durable: 59_000, ..good() }, "900 not durable"),
            (Seen { memory: growing, ..good() }, "memory grows by +"),
        ] {
            let failures = failing(seen);
            assert!(failures.len() == 1 && failures[0].contains(told), "{failures:?}: {told}");
        }
    }

    #[test]
    fn memory_is_judged_over_five_minutes_without_anybody_new() {
        let growing = |time: u32| (0..time).map(|at| (f64::from(at), u64::from(at) << 20)).collect();
        let short = Seen { time: 400.0, sent: 40_000, answered: 4_000, memory: growing(400), ..good() };
        assert!(failing(short).is_empty());
        let late = Seen { introduced: 400.0, memory: growing(600), ..good() };
        let report = late.report();
        assert!(report.passed && report.table().contains("not judged"), "{}", report.table());
        assert!(report.memory.growth_percent_per_hour.is_some(), "and is told all the same");
    }

    #[test]
    fn an_interrupted_one_has_not_passed_and_is_not_asked_for_its_lag() {
        let report = Seen { interrupted: true, lag: 9, ..good() }.report();
        assert!(!report.passed && report.failures().is_empty() && report.table().contains("interrupted"));
    }
}
