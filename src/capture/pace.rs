//! When each row of a data set is sent: at once, at a rate, after random pauses, or by the data's own clock.
//!
//! Apart from the replay, because it is the only part of it that looks at time. Every wait is until an absolute deadline,
//! so that being late once does not make everything after it late.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use tokio::time::{Instant, sleep_until};

use super::Control;

/// How rows are spread over time.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Pace {
    /// As fast as the log takes them.
    #[default]
    Full,
    /// So many rows a second.
    Rate(Rate),
    /// A random pause before each row but the first.
    Pause {
        /// Shortest and longest pause.
        between: Pause,
        /// Seed of the pauses.
        seed: u64,
    },
    /// By the rows' own timestamps.
    Speed(Speed),
    /// As somebody says while it runs.
    Told(Hand),
}

/// A [`Control`] that a pace goes by.
#[derive(Clone, Debug)]
pub struct Hand(pub Arc<Control>);

impl PartialEq for Hand {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Rows a second, above 0: `500/s` or `500`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate(f64);

/// Shortest and longest pause between two rows: `200ms..2s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    min: Duration,
    max: Duration,
}

/// How many times as fast as real time, above 0: `1`, `1000`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speed(f64);

/// Why there is no such pace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PaceError {
    /// Not a rate.
    #[error("{0:?} is not a rate; write rows a second, above 0, as \"500/s\" or \"500\"")]
    Rate(String),
    /// Not a range of pauses.
    #[error("{0:?} is not a range of pauses; write the shortest and the longest, as \"200ms..2s\"")]
    Pause(String),
    /// Not a speed.
    #[error("{0:?} is not a speed; write how many times as fast as real time, above 0, as \"1\" or \"1000\"")]
    Speed(String),
    /// A row without a time of its own.
    #[error("row {row} has no timestamp, and --speed goes by timestamps; use --rate or --pause for this data set")]
    NoTimestamp {
        /// Number of the row, from 1.
        row: u64,
    },
}

impl Rate {
    /// Rows a second.
    #[must_use]
    pub fn per_second(self) -> f64 {
        self.0
    }
}

impl FromStr for Rate {
    type Err = PaceError;

    fn from_str(text: &str) -> Result<Self, PaceError> {
        let number = text.strip_suffix("/s").unwrap_or(text).trim();
        positive(number).map(Self).ok_or_else(|| PaceError::Rate(text.to_owned()))
    }
}

impl FromStr for Speed {
    type Err = PaceError;

    fn from_str(text: &str) -> Result<Self, PaceError> {
        positive(text).map(Self).ok_or_else(|| PaceError::Speed(text.to_owned()))
    }
}

impl FromStr for Pause {
    type Err = PaceError;

    fn from_str(text: &str) -> Result<Self, PaceError> {
        let duration = |text: &str| text.trim().parse::<jiff::SignedDuration>().ok()?.try_into().ok();
        let range = text.split_once("..").and_then(|(min, max)| Some((duration(min)?, duration(max)?)));
        let range = range.filter(|(min, max)| min <= max).map(|(min, max)| Self { min, max });
        range.ok_or_else(|| PaceError::Pause(text.to_owned()))
    }
}

fn positive(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0)
}

/// Keeps one pass over a data set to its pace.
#[derive(Debug)]
pub(crate) struct Pacer {
    pace: Pace,
    random: Pcg64Mcg,
    start: Instant,
    /// Rows let through.
    rows: u64,
    /// Deadline of the newest row, after `start`.
    due: Duration,
    /// Timestamp of the first row, in milliseconds since the epoch.
    first_ts: Option<i64>,
    /// When the newest row was let through that somebody held.
    told: Option<Instant>,
}

impl Pacer {
    /// Starts now.
    pub(crate) fn new(pace: Pace) -> Self {
        let seed = if let Pace::Pause { seed, .. } = pace { seed } else { 0 };
        let random = Pcg64Mcg::seed_from_u64(seed);
        Self { pace, random, start: Instant::now(), rows: 0, due: Duration::ZERO, first_ts: None, told: None }
    }

    /// Waits until the next row may go; `ts` is its own time, in milliseconds since the epoch.
    pub(crate) async fn wait(&mut self, ts: Option<i64>) -> Result<(), PaceError> {
        if let Pace::Told(Hand(control)) = &self.pace {
            self.told = Some(control.wait(self.told).await);
            return Ok(());
        }
        let Some(due) = self.next_due(ts)? else { return Ok(()) };
        self.due = due;
        self.rows += 1;
        // Saturates where a timestamp is centuries ahead.
        let due = self.start.checked_add(self.due);
        if due.is_none_or(|due| due > Instant::now()) {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        }
        Ok(())
    }

    /// None where the clock is not what is gone by.
    fn next_due(&mut self, ts: Option<i64>) -> Result<Option<Duration>, PaceError> {
        Ok(Some(match &self.pace {
            Pace::Full | Pace::Told(_) => return Ok(None),
            Pace::Rate(Rate(rate)) => seconds(self.rows as f64 / rate),
            Pace::Pause { .. } if self.rows == 0 => Duration::ZERO,
            Pace::Pause { between: Pause { min, max }, .. } => {
                self.due.saturating_add(self.random.random_range(*min..=*max))
            }
            Pace::Speed(Speed(speed)) => {
                let ts = ts.ok_or(PaceError::NoTimestamp { row: self.rows + 1 })?;
                let passed_ms = ts.saturating_sub(*self.first_ts.get_or_insert(ts));
                seconds(passed_ms.max(0) as f64 / 1000.0 / speed)
            }
        }))
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn times_ms(pace: Pace, timestamps: &[Option<i64>]) -> Vec<u128> {
        let (mut pacer, start, mut times) = (Pacer::new(pace), Instant::now(), Vec::new());
        for ts in timestamps {
            pacer.wait(*ts).await.unwrap();
            times.push(start.elapsed().as_millis());
        }
        times
    }

    #[tokio::test(start_paused = true)]
    async fn rate_is_kept_without_drift_and_made_up_for() {
        let mut pacer = Pacer::new(Pace::Rate("300/s".parse().unwrap()));
        let start = Instant::now();
        for row in 0..3_001 {
            pacer.wait(None).await.unwrap();
            if row == 1_500 {
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
        }
        let passed = start.elapsed();
        assert!(passed >= Duration::from_secs(10) && passed < Duration::from_millis(10_002), "{passed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn full_pace_never_waits() {
        assert_eq!(times_ms(Pace::Full, &[None, Some(5), Some(i64::MAX)]).await, [0, 0, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn speed_goes_by_the_data_and_a_step_back_goes_at_once() {
        let speed = Pace::Speed("10".parse().unwrap());
        let at = [Some(881_250_949_000), Some(881_250_959_000), Some(881_250_954_000), Some(881_250_969_000)];
        assert_eq!(times_ms(speed.clone(), &at).await, [0, 1_000, 1_000, 2_000]);
        let error = Pacer::new(speed).wait(None).await.unwrap_err();
        assert!(error.to_string().starts_with("row 1 has no timestamp"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_are_within_bounds_and_the_seed_s_own() {
        let pace = |seed| Pace::Pause { between: "200ms..2s".parse().unwrap(), seed };
        let rows = [None; 50];
        let times = times_ms(pace(7), &rows).await;
        assert_eq!(times, times_ms(pace(7), &rows).await);
        assert_ne!(times, times_ms(pace(8), &rows).await);
        let pauses: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(pauses.iter().all(|pause| (199..=2_001).contains(pause)), "{pauses:?}");
        assert!(pauses.iter().max() > Some(&1_000) && pauses.iter().min() < Some(&1_000), "{pauses:?}");
    }

    #[test]
    fn what_people_write() {
        assert_eq!("500".parse(), Ok(Rate(500.0)));
        assert_eq!("0.5/s".parse(), Ok(Rate(0.5)));
        let pause = Pause { min: Duration::from_millis(200), max: Duration::from_secs(2) };
        assert_eq!("200ms..2s".parse(), Ok(pause));
        for bad in ["", "0", "-1", "fast", "inf", "NaN", "5/m"] {
            assert!(bad.parse::<Rate>().is_err() && bad.parse::<Speed>().is_err(), "{bad}");
        }
        for bad in ["", "1s", "2s..1s", "1..2", "-1s..1s", "1s..", "1s..2s..3s"] {
            assert!(bad.parse::<Pause>().is_err(), "{bad}");
        }
    }
}
