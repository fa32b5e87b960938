//! Points in time as people type them, or how long ago they were.

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use crate::telemetry::now_ms;
use crate::time;

/// Reads `2026-11-26T08:30:00Z`, `2026-11-26 08:30` and `2026-11-26` (both UTC), or how long ago it was, as `90m` or `7d`:
/// milliseconds since the epoch.
///
/// # Errors
/// What is allowed.
pub(super) fn point(text: &str) -> Result<i64, String> {
    at(text, now_ms()).ok_or_else(|| {
        format!(
            "{text:?} is no time; write it as 2026-11-26T08:30:00Z, as 2026-11-26 08:30 or 2026-11-26 (both UTC), or how \
             long ago it was, as 90m, 1h or 7d"
        )
    })
}

fn at(text: &str, now_ms: i64) -> Option<i64> {
    if let Some(at) = time::point(text) {
        return Some(at);
    }
    let back: Span = text.parse().ok().filter(|back: &Span| !back.is_negative())?;
    let now = Timestamp::from_millisecond(now_ms).ok()?.to_zoned_datetime(TimeZone::UTC);
    now.checked_sub(back).ok().map(|at| at.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        const NOW: i64 = 1_800_000_000_123;
        let cases = [
            ("1997-12-04 15:55", 881_250_900_000),
            ("1h", NOW - 3_600_000),
            ("1h 30m", NOW - 5_400_000),
            ("500ms", NOW - 500),
            ("7d", NOW - 7 * 86_400_000),
            ("2 weeks", NOW - 14 * 86_400_000),
            ("PT1M", NOW - 60_000),
            ("0s", NOW),
        ];
        for (text, expected) in cases {
            assert_eq!(at(text, NOW), Some(expected), "{text}");
        }
        for text in ["", "yesterday", "1", "-1h", "1997-13-01", "1997-12-04T25:00:00Z", "1h ago then", "99999y"] {
            assert_eq!(at(text, NOW), None, "{text}");
        }
        assert!(point("noon").unwrap_err().contains("7d"));
    }
}
