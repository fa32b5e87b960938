//! Points in time as people type them, everywhere alike: what names no time zone is UTC, as all times that are shown.

use jiff::tz::TimeZone;
use jiff::{Timestamp, civil};

/// Reads `2026-11-26T08:30:00Z`, `2026-11-26T09:30:00+01:00`, `2026-11-26 08:30` and `2026-11-26`, the last two in UTC:
/// milliseconds since the epoch.
#[must_use]
pub fn point(text: &str) -> Option<i64> {
    let civil = || TimeZone::UTC.to_timestamp(text.parse::<civil::DateTime>().ok()?).ok();
    text.parse::<Timestamp>().ok().or_else(civil).map(Timestamp::as_millisecond)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let cases = [
            ("1997-12-04T15:55:49Z", 881_250_949_000),
            ("1997-12-04T16:55:49.5+01:00", 881_250_949_500),
            ("1997-12-04T15:55:49", 881_250_949_000),
            ("1997-12-04 15:55", 881_250_900_000),
            ("1997-12-04", 881_193_600_000),
        ];
        for (text, expected) in cases {
            assert_eq!(point(text), Some(expected), "{text}");
        }
        for text in ["", "yesterday", "1", "1h", "1997-13-01", "1997-12-04T25:00:00Z"] {
            assert_eq!(point(text), None, "{text}");
        }
    }
}
