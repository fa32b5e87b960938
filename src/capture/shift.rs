//! Moves the times of a data set, so that old data seems to happen now.
//!
//! All times move by the same: distances stay.

use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// When the first event shall seem to happen: `now`, or a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtTime {
    /// When the replay begins.
    Now,
    /// In milliseconds since the epoch.
    At(i64),
}

impl FromStr for AtTime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "now" {
            return Ok(Self::Now);
        }
        let civil = || TimeZone::UTC.to_timestamp(text.parse::<DateTime>().ok()?).ok();
        let at = text.parse::<Timestamp>().ok().or_else(civil).map(|at| Self::At(at.as_millisecond()));
        at.ok_or_else(|| {
            "not a time; write now, 2026-11-30, \"2026-11-30 12:00\" (UTC), or 2026-11-30T12:00:00+01:00".to_owned()
        })
    }
}

/// Moves times so that the first of them becomes a given one.
#[derive(Clone, Copy, Debug)]
pub struct Shift {
    first_ms: i64,
    by_ms: Option<i64>,
}

impl Shift {
    /// The first time becomes `first_ms`, in milliseconds since the epoch.
    #[must_use]
    pub fn to(first_ms: i64) -> Self {
        Self { first_ms, by_ms: None }
    }

    /// The moved time.
    pub fn apply(&mut self, ts: i64) -> i64 {
        let by_ms = *self.by_ms.get_or_insert(self.first_ms.saturating_sub(ts));
        ts.saturating_add(by_ms)
    }

    /// What the first time has become, and how far all of them were moved, in milliseconds; nothing before the first.
    #[must_use]
    pub fn applied(&self) -> Option<(i64, i64)> {
        self.by_ms.map(|by_ms| (self.first_ms, by_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write() {
        assert_eq!("now".parse(), Ok(AtTime::Now));
        let noon = AtTime::At(1_796_040_000_000);
        for text in ["2026-11-30T12:00:00Z", "2026-11-30 12:00", "2026-11-30T13:00:00+01:00", "2026-11-30T12:00:00"] {
            assert_eq!(text.parse(), Ok(noon), "{text}");
        }
        assert_eq!("2026-11-30".parse(), Ok(AtTime::At(1_795_996_800_000)));
        for bad in ["", "yesterday", "12:00", "2026-13-01", "1796040000000"] {
            assert!(bad.parse::<AtTime>().unwrap_err().contains("write now"), "{bad}");
        }
    }

    #[test]
    fn distances_stay() {
        let mut shift = Shift::to(1_000_000);
        assert_eq!(shift.applied(), None);
        assert_eq!([500, 700, 400, i64::MAX].map(|ts| shift.apply(ts)), [1_000_000, 1_000_200, 999_900, i64::MAX]);
        assert_eq!(shift.applied(), Some((1_000_000, 999_500)));
    }
}
