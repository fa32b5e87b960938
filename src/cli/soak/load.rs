//! The load: events at a rate, reads at a rate, and a look at the service every few seconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, anyhow};
use indicatif::{BinaryBytes, HumanCount, HumanDuration, ProgressBar};
use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::Args;
use super::client::{self, Client, Reading, Reads, State};
use super::report::{DRAIN_WITHIN, Seen};
use crate::capture::endless::{Endless, Population};
use crate::capture::producer::{self, Producer};
use crate::capture::{self, Pace};
use crate::cli::{out, telemetry};
use crate::config::Config;
use crate::serve::timings::Quantiles;

/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Pause between two looks while it is waited for that nothing is left.
const DRAIN_LOOK_EVERY: Duration = Duration::from_millis(200);

/// Looks between two lines, where no bar is seen.
const LINE_EVERY: u64 = 5;

/// What is driven, and what was seen of it so far.
pub(super) struct Load<'a> {
    pub(super) args: &'a Args,
    pub(super) population: Population,
    client: Client,
    reads: Arc<Reads>,
    sent: AtomicU64,
    looks: Mutex<Looks>,
    bar: ProgressBar,
    start: Instant,
}

#[derive(Default)]
struct Looks {
    first: State,
    last: State,
    most_lag: u64,
    memory: Vec<(f64, u64)>,
    errors: u64,
    told: Vec<String>,
}

impl Looks {
    /// Only the first of its kind is told.
    fn error(&mut self, kind: &str, reason: &str) {
        self.errors += 1;
        if !self.told.iter().any(|told| told.starts_with(kind)) {
            self.told.push(format!("{kind}: {reason}"));
        }
    }
}

impl<'a> Load<'a> {
    /// A load on the service that the client asks.
    ///
    /// # Errors
    /// If it does not answer, or is not ready.
    pub(super) async fn new(args: &'a Args, population: Population, client: Client) -> anyhow::Result<Self> {
        let first = state(&client).await?;
        if let Some(trouble) = &first.trouble {
            return Err(anyhow!("the service is not ready: {trouble}"));
        }
        let looks = Looks { last: first.clone(), first, ..Looks::default() };
        Ok(Self {
            args,
            population,
            client,
            reads: Arc::default(),
            sent: AtomicU64::new(0),
            looks: Mutex::new(looks),
            bar: out::progress(Some(args.events()), "soak"),
            start: Instant::now(),
        })
    }

    /// Sends and reads until the time is over, `stop` is cancelled or the service ends, and waits until all is durable.
    ///
    /// # Errors
    /// If the log cannot be opened, or threads cannot be started.
    pub(super) async fn run(
        &mut self,
        config: &Config,
        is_over: impl Fn() -> bool,
        stop: &CancellationToken,
    ) -> anyhow::Result<Seen> {
        let producer = producer::open(config).await?;
        let quiet = stop.child_token();
        let Args { seed, reads, duration: time, .. } = *self.args;
        let reading = Reading { population: self.population, seed, rate: reads.per_second(), time };
        self.start = Instant::now();
        let readers = client::read(&self.client, reading, &self.reads, &quiet).context("cannot start a reader")?;
        let interrupted = tokio::select! {
            () = self.send(&*producer) => false,
            () = self.follow(&is_over) => false,
            () = sleep_until(self.start + time) => false,
            () = stop.cancelled() => true,
        };
        let sent_for = self.start.elapsed().min(time);
        quiet.cancel();
        self.bar.finish_and_clear();
        telemetry::bars().remove(&self.bar);
        tokio::task::spawn_blocking(move || readers.into_iter().for_each(|reader| drop(reader.join()))).await?;
        self.drain(&*producer, &is_over, interrupted).await;
        let seen = self.seen(&*producer, sent_for, interrupted);
        // Dropping a client waits for its threads, and there is nothing left that it could do.
        tokio::task::spawn_blocking(move || drop(producer));
        Ok(seen)
    }

    /// Ends only where the log takes no more.
    async fn send(&self, producer: &dyn Producer) {
        let stream = Endless::new(self.args.seed, self.population).map(Ok::<_, std::convert::Infallible>);
        let rows = stream.take(usize::try_from(self.args.events()).unwrap_or(usize::MAX));
        let progress = |sent| {
            self.sent.store(sent, Ordering::Relaxed);
            self.bar.set_position(sent);
        };
        match capture::replay(rows, producer, Pace::Rate(self.args.rate), progress).await {
            Ok(_) => std::future::pending().await,
            Err(error) => self.looks.lock().error("sending events", &error.to_string()),
        }
    }

    /// Looks again and again; ends only where the service does.
    async fn follow(&self, is_over: &impl Fn() -> bool) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for number in 0.. {
            ticks.tick().await;
            if is_over() {
                return self.looks.lock().error("the engine", "has stopped");
            }
            self.look().await;
            self.show(number);
        }
    }

    async fn look(&self) {
        let state = state(&self.client).await;
        let at = self.start.elapsed().as_secs_f64();
        let mut looks = self.looks.lock();
        match state {
            Ok(state) => {
                if let Some(trouble) = &state.trouble {
                    looks.error("trouble", trouble);
                }
                looks.memory.extend(state.resident.map(|bytes| (at, bytes)));
                looks.most_lag = looks.most_lag.max(state.lag);
                looks.last = state;
            }
            Err(error) => looks.error("looking at the service", &format!("{error:#}")),
        }
    }

    fn show(&self, number: u64) {
        let looks = self.looks.lock();
        let State { lag, resident, .. } = looks.last;
        let (answered, failed) = self.reads.counts();
        let p99 = self.reads.latency().p99_ms.map_or("-".to_owned(), |ms| format!("{ms:.1} ms"));
        let memory = BinaryBytes(resident.unwrap_or_default());
        let figures = format!("lag {}  p99 {p99}  {memory}  errors {}", HumanCount(lag), looks.errors + failed);
        if !self.bar.is_hidden() {
            self.bar.set_prefix(format!("soak  {figures}"));
        } else if number > 0 && number.is_multiple_of(LINE_EVERY) {
            let (sent, passed) = (HumanCount(self.sent.load(Ordering::Relaxed)), HumanDuration(self.start.elapsed()));
            out::tell(&format!("{passed}: {sent} events sent, {} reads answered  {figures}", HumanCount(answered)));
        }
    }

    /// Waits until everything that was sent is delivered and durable, but not for long.
    async fn drain(&self, producer: &dyn Producer, is_over: &impl Fn() -> bool, interrupted: bool) {
        let deadline = Instant::now() + DRAIN_WITHIN;
        match timeout(DRAIN_WITHIN, producer.flush()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => self.looks.lock().error("delivering events", &error.to_string()),
            Err(_) => self.looks.lock().error("delivering events", "no report of some of them"),
        }
        loop {
            self.look().await;
            let delivered = producer.deliveries().delivered;
            let left = {
                let Looks { first, last, .. } = &*self.looks.lock();
                last.lag > 0 || last.durable - first.durable.min(last.durable) < delivered
            };
            if !left || interrupted || is_over() || Instant::now() >= deadline {
                return;
            }
            tokio::time::sleep(DRAIN_LOOK_EVERY).await;
        }
    }

    fn seen(&self, producer: &dyn Producer, time: Duration, interrupted: bool) -> Seen {
        let mut looks = std::mem::take(&mut *self.looks.lock());
        let deliveries = producer.deliveries();
        if let Some(reason) = &deliveries.first_error {
            looks.error("delivering events", reason);
            looks.errors += deliveries.failed;
        }
        let (answered, unanswered) = self.reads.counts();
        looks.told.extend(self.reads.first_error());
        let Looks { first, last, most_lag, memory, errors, told } = looks;
        Seen {
            interrupted,
            time: time.as_secs_f64(),
            rate: self.args.rate.per_second(),
            sent: self.sent.load(Ordering::Relaxed),
            delivered: deliveries.delivered,
            durable: last.durable.saturating_sub(first.durable),
            most_lag,
            lag: last.lag,
            read_rate: self.args.reads.per_second(),
            answered,
            unanswered,
            latency: self.reads.latency(),
            freshness: between(&first.freshness, &last.freshness),
            memory,
            introduced: self.population.introduction() as f64 / self.args.rate.per_second(),
            most_growth: self.args.growth,
            errors: errors + unanswered,
            told,
        }
    }
}

async fn state(client: &Client) -> anyhow::Result<State> {
    let client = client.clone();
    tokio::task::spawn_blocking(move || client.state()).await?
}

/// Quantiles of what a histogram has counted between two looks. Within a bucket they are taken to be spread evenly.
fn between(first: &[(f64, u64)], last: &[(f64, u64)]) -> Quantiles {
    let before = |place: usize| first.get(place).map_or(0, |(_, count)| *count);
    let counts: Vec<(f64, u64)> =
        last.iter().enumerate().map(|(place, (bound, count))| (*bound, count.saturating_sub(before(place)))).collect();
    let count = counts.last().map_or(0, |(_, count)| *count);
    let quantile = |share: f64| {
        let (mut low, mut below, rank) = (0.0, 0, share * count as f64);
        for (bound, up_to) in &counts {
            if *up_to as f64 >= rank && count > 0 {
                let within = (rank - below as f64) / (up_to - below).max(1) as f64;
                // What is above all bounds is told as the highest of them.
                return Some(1e3 * if bound.is_finite() { low + within * (bound - low) } else { low });
            }
            (low, below) = (*bound, *up_to);
        }
        None
    };
    Quantiles { count, p50_ms: quantile(0.5), p99_ms: quantile(0.99) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_what_came_between() {
        let first = [(0.01, 90), (0.1, 100), (f64::INFINITY, 100)];
        let last = [(0.01, 140), (0.1, 200), (f64::INFINITY, 200)];
        let found = between(&first, &last);
        assert_eq!((found.count, found.p50_ms), (100, Some(10.0)));
        assert!((found.p99_ms.unwrap() - 98.2).abs() < 1e-9, "{found:?}");
        assert_eq!(between(&[], &[]), Quantiles::default());
        assert_eq!(between(&[], &[(0.01, 0), (f64::INFINITY, 5)]).p50_ms, Some(10.0), "above all bounds");
    }
}
