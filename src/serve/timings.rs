//! How long the steps of an event take: histograms since the start for Prometheus, and quantiles of the last minute.
//!
//! Apart from the figures that are read at a scrape, because these are counted as they happen: by the stages of the engine,
//! without a lock, and with a few additions a batch.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

/// Buckets with an upper bound: seven powers of ten, in steps of 1, 2 and 5.
const BUCKETS: usize = 22;
/// Upper bounds for times, in nanoseconds: 10 µs to 100 s.
const TIMES: [u64; BUCKETS] = steps(10_000);
/// Upper bounds for numbers of events: 1 to ten million.
const SIZES: [u64; BUCKETS] = steps(1);

/// The numbers 1, 2, 5, 10, 20 … times `first`.
const fn steps(first: u64) -> [u64; BUCKETS] {
    let mut bounds = [0; BUCKETS];
    let (mut at, mut decade) = (0, first);
    while at < BUCKETS {
        bounds[at] = decade * [1, 2, 5][at % 3];
        if at % 3 == 2 {
            decade *= 10;
        }
        at += 1;
    }
    bounds
}

/// What the engine's stages take, and how fresh the model is.
#[derive(Debug)]
pub struct Timings {
    /// The first event of a batch waited for the others.
    pub gather: Timing,
    /// A batch was learned.
    pub learn: Timing,
    /// A view with the batch was published.
    pub publish: Timing,
    /// The store took a write of one batch or more, its failures included.
    pub persist: Timing,
    /// A snapshot was taken, and old ones deleted.
    pub snapshot: Timing,
    /// From the log's timestamp of an event until a view was published that has learned it.
    pub freshness: Timing,
    /// Events of a batch.
    pub batch_events: Histogram,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            gather: Timing::default(),
            learn: Timing::default(),
            publish: Timing::default(),
            persist: Timing::default(),
            snapshot: Timing::default(),
            freshness: Timing::default(),
            batch_events: Histogram::of_sizes(),
        }
    }
}

/// What became of one batch before it was durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchTimes {
    /// The first event waited for the others.
    pub waited: Duration,
    /// The batch was learned.
    pub learn: Duration,
    /// The view was published.
    pub publish: Duration,
}

impl Timings {
    /// The stages by the names that figures have for them, in the order of the data.
    #[must_use]
    pub fn stages(&self) -> [(&'static str, &Timing); 5] {
        [
            ("gather", &self.gather),
            ("learn", &self.learn),
            ("publish", &self.publish),
            ("persist", &self.persist),
            ("snapshot", &self.snapshot),
        ]
    }

    /// Counts a batch that was published at `now_ms`, with the log's timestamps of its events.
    pub fn note_batch(&self, times: &BatchTimes, logged_ms: &[i64], now_ms: i64) {
        self.gather.observe(times.waited);
        self.learn.observe(times.learn);
        self.publish.observe(times.publish);
        self.batch_events.observe(logged_ms.len() as u64, 1);
        // Events of one batch come in bursts, and those of a burst have one timestamp.
        for burst in logged_ms.chunk_by(|one, next| one == next) {
            // A clock that was set back makes no event younger than now.
            let age = Duration::from_millis(u64::try_from(now_ms.saturating_sub(burst[0])).unwrap_or(0));
            self.freshness.observe_n(age, burst.len() as u64);
        }
    }
}

/// How long something takes: since the start, and over the last minute.
#[derive(Debug)]
pub struct Timing {
    /// Since the start, in seconds where it is shown.
    pub total: Histogram,
    recent: Recent,
}

impl Default for Timing {
    fn default() -> Self {
        Self { total: Histogram::of_times(), recent: Recent::default() }
    }
}

impl Timing {
    /// Counts one.
    pub fn observe(&self, took: Duration) {
        self.observe_n(took, 1);
    }

    /// Counts `n` that took equally long.
    pub fn observe_n(&self, took: Duration, n: u64) {
        self.total.observe_time(took, n);
        self.recent.observe(self.recent.slice_now(), took, n);
    }

    /// Over the last minute.
    #[must_use]
    pub fn recent(&self) -> Quantiles {
        self.recent.quantiles(self.recent.slice_now())
    }
}

/// Numbers by size, in fixed buckets.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64; BUCKETS],
    /// What is shown as 1.
    unit: f64,
    counts: [AtomicU64; BUCKETS],
    /// What is above all bounds.
    above: AtomicU64,
    sum: AtomicU64,
}

impl Histogram {
    /// For times: observed in nanoseconds, shown in seconds.
    #[must_use]
    pub fn of_times() -> Self {
        Self::new(&TIMES, 1e9)
    }

    /// For numbers of events.
    #[must_use]
    pub fn of_sizes() -> Self {
        Self::new(&SIZES, 1.0)
    }

    fn new(bounds: &'static [u64; BUCKETS], unit: f64) -> Self {
        let counts = std::array::from_fn(|_| AtomicU64::new(0));
        Self { bounds, unit, counts, above: AtomicU64::new(0), sum: AtomicU64::new(0) }
    }

    /// Counts a time.
    pub fn observe_time(&self, took: Duration, n: u64) {
        self.observe(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), n);
    }

    /// Counts `n` of one size.
    pub fn observe(&self, value: u64, n: u64) {
        let place = self.bounds.partition_point(|bound| *bound < value);
        self.counts.get(place).unwrap_or(&self.above).fetch_add(n, Ordering::Relaxed);
        self.sum.fetch_add(value.saturating_mul(n), Ordering::Relaxed);
    }

    /// The sum, and each bucket's upper bound with its own count, the last one without a bound.
    #[must_use]
    pub fn figures(&self) -> (f64, Vec<(f64, u64)>) {
        let bounds = self.bounds.iter().map(|bound| *bound as f64 / self.unit).chain([f64::INFINITY]);
        let counts = self.counts.iter().chain([&self.above]).map(|count| count.load(Ordering::Relaxed));
        (self.sum.load(Ordering::Relaxed) as f64 / self.unit, bounds.zip(counts).collect())
    }
}

/// Quantiles of times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Quantiles {
    /// How many there were.
    #[serde(rename = "events")]
    pub count: u64,
    /// Half of them took no longer, in milliseconds.
    pub p50_ms: Option<f64>,
    /// 99 of 100 took no longer, in milliseconds.
    pub p99_ms: Option<f64>,
}

/// Length of a slice of the last minute.
const SLICE: Duration = Duration::from_secs(10);
/// Slices that are kept: those of the last minute, and the one that is being filled.
const SLICES: usize = 7;
/// Steps in each power of two: a quantile is right within an eighth.
const STEPS: u32 = 8;
/// Fine buckets: up to 2^28 µs, which is four minutes.
const FINE: usize = (STEPS * 26) as usize;

/// Counts of the last minute: finer than what Prometheus is told, because a page shows single figures.
#[derive(Debug)]
struct Recent {
    start: Instant,
    slices: [Slice; SLICES],
}

#[derive(Debug, Default)]
struct Slice {
    /// Number of the slice since the start, from 1; 0 before its first.
    number: AtomicU64,
    times: Times,
}

impl Default for Recent {
    fn default() -> Self {
        Self { start: Instant::now(), slices: std::array::from_fn(|_| Slice::default()) }
    }
}

impl Recent {
    fn slice_now(&self) -> u64 {
        1 + self.start.elapsed().as_secs() / SLICE.as_secs()
    }

    /// Whoever comes to a slice first empties it. What others count at that very moment may be lost: it is one of a minute.
    fn observe(&self, now: u64, took: Duration, n: u64) {
        let slice = &self.slices[now as usize % SLICES];
        let before = slice.number.load(Ordering::Acquire);
        if before != now && slice.number.compare_exchange(before, now, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            slice.times.0.iter().for_each(|count| count.store(0, Ordering::Relaxed));
        }
        slice.times.observe_n(took, n);
    }

    fn quantiles(&self, now: u64) -> Quantiles {
        let is_recent = |slice: &&Slice| {
            let number = slice.number.load(Ordering::Acquire);
            number > 0 && number + SLICES as u64 > now
        };
        Times::quantiles(self.slices.iter().filter(is_recent).map(|slice| &slice.times))
    }
}

/// Counts of times in fine buckets: in any number of them in the same room.
#[derive(Debug)]
pub struct Times(Box<[AtomicU32]>);

impl Default for Times {
    fn default() -> Self {
        Self(std::iter::repeat_with(AtomicU32::default).take(FINE).collect())
    }
}

impl Times {
    /// Counts `n` that took equally long.
    pub fn observe_n(&self, took: Duration, n: u64) {
        self.0[fine(took)].fetch_add(u32::try_from(n).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// Quantiles over all of these.
    pub fn quantiles<'a>(all: impl IntoIterator<Item = &'a Self>) -> Quantiles {
        let mut counts = [0_u64; FINE];
        for times in all {
            let own = times.0.iter().map(|count| u64::from(count.load(Ordering::Relaxed)));
            counts.iter_mut().zip(own).for_each(|(sum, count)| *sum += count);
        }
        let count = counts.iter().sum();
        let quantile = |share: f64| {
            let rank = (share * count as f64).ceil() as u64;
            let mut passed = 0;
            let place = counts.iter().position(|count| {
                passed += count;
                passed >= rank
            });
            place.filter(|_| count > 0).map(|place| middle(place) / 1e3)
        };
        Quantiles { count, p50_ms: quantile(0.5), p99_ms: quantile(0.99) }
    }
}

/// The bucket of a time: below [`STEPS`] µs one each, then [`STEPS`] in each power of two.
fn fine(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let Some(power) = micros.max(1).ilog2().checked_sub(STEPS.ilog2()) else { return micros as usize };
    let place = u64::from(STEPS * power) + (micros >> power);
    usize::try_from(place).unwrap_or(FINE).min(FINE - 1)
}

/// The middle of a bucket, in microseconds.
fn middle(place: usize) -> f64 {
    let steps = STEPS as usize;
    let Some(power) = (place / steps).checked_sub(1) else { return place as f64 };
    let width = (1_u64 << power) as f64;
    ((place - power * steps) as f64 + 0.5) * width
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_go_from_ten_microseconds_to_a_hundred_seconds() {
        assert_eq!((TIMES[0], TIMES[1], TIMES[2], TIMES[3]), (10_000, 20_000, 50_000, 100_000));
        assert_eq!((TIMES[21], SIZES[21]), (100_000_000_000, 10_000_000));
    }

    #[test]
    fn a_value_is_counted_in_the_first_bucket_that_holds_it() {
        let timing = Timing::default();
        timing.observe(Duration::from_micros(10));
        timing.observe_n(Duration::from_micros(11), 3);
        timing.observe(Duration::from_hours(1));
        let (sum, buckets) = timing.total.figures();
        assert!((sum - 3_600.000_043).abs() < 1e-9, "{sum}");
        assert_eq!((buckets[0], buckets[1]), ((0.000_01, 1), (0.000_02, 3)));
        assert_eq!(buckets.last(), Some(&(f64::INFINITY, 1)));
        assert_eq!(buckets.iter().map(|(_, count)| count).sum::<u64>(), 5);
    }

    #[test]
    fn every_time_falls_into_a_bucket_whose_middle_is_near() {
        for micros in (0..2_000).chain((11..27).flat_map(|power| [(1 << power) - 1, 1 << power, (1 << power) + 1])) {
            let place = fine(Duration::from_micros(micros));
            let off = (middle(place) - micros as f64).abs();
            assert!(off <= micros as f64 / 8.0, "{micros} µs in bucket {place}, {}", middle(place));
        }
        assert_eq!(fine(Duration::MAX), FINE - 1, "longer ones are in the last");
    }

    #[test]
    fn quantiles_are_those_of_the_last_minute() {
        let recent = Recent::default();
        assert_eq!(recent.quantiles(1), Quantiles::default());
        recent.observe(1, Duration::from_secs(1), 1_000);
        recent.observe(7, Duration::from_millis(2), 98);
        recent.observe(7, Duration::from_millis(64), 2);
        assert_eq!(recent.quantiles(7).count, 1_100);
        let now = recent.quantiles(8);
        assert_eq!(now.count, 100, "the first ten seconds are over a minute ago");
        assert!((now.p50_ms.unwrap() - 2.0).abs() < 0.25 && (now.p99_ms.unwrap() - 64.0).abs() < 8.0, "{now:?}");
        recent.observe(8, Duration::from_millis(2), 1);
        assert_eq!(recent.quantiles(8).count, 101, "and its room is used again");
    }

    #[test]
    fn a_batch_is_counted_with_the_age_of_each_event() {
        let timings = Timings::default();
        let times = BatchTimes { waited: Duration::from_millis(5), ..BatchTimes::default() };
        timings.note_batch(&times, &[1_000, 1_000, 1_400, 3_000], 2_000);
        let freshness = timings.freshness.recent();
        assert_eq!((freshness.count, timings.gather.recent().count), (4, 1));
        let (sum, sizes) = timings.batch_events.figures();
        assert_eq!((sum, sizes[2]), (4.0, (5.0, 1)));
        let (sum, ages) = timings.freshness.total.figures();
        assert_eq!((sum, ages[0].1), (2.6, 1), "an event from the future is fresh");
    }
}
