//! Where watching starts: `beginning`, `latest`, `offset:N`, `time:T`, `last:1h`.

use std::str::FromStr;
use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};

/// Where reading of each partition starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the first record that there is.
    Beginning,
    /// Behind the last one: only what comes from now on.
    Latest,
    /// At an offset, from 0.
    Offset(i64),
    /// So many records before the end.
    Tail(i64),
    /// At the first record that is not older than this time, in milliseconds since the epoch.
    Time(i64),
    /// At the first record that is not older than so long before now.
    Last(Duration),
}

impl FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no start; write beginning, latest, offset:17, offset:-10 (the last 10 of each partition), \
                 time:2026-11-26T10:00:00Z, \"time:2026-11-26 10:00\" or last:1h"
            )
        };
        match text.split_once(':') {
            None if text == "beginning" => Ok(Self::Beginning),
            None if text == "latest" => Ok(Self::Latest),
            Some(("offset", digits)) => match digits.strip_prefix('-') {
                Some(digits) => whole(digits).map(Self::Tail).ok_or_else(wrong),
                None => whole(digits).map(Self::Offset).ok_or_else(wrong),
            },
            Some(("time", time)) => moment(time).map(Self::Time),
            Some(("last", long)) => duration(long).map(Self::Last),
            _ => Err(wrong()),
        }
    }
}

impl Start {
    /// The time that reading starts at, if it goes by time.
    pub(super) fn at_ms(self, now_ms: i64) -> Option<i64> {
        match self {
            Self::Time(at_ms) => Some(at_ms),
            Self::Last(long) => Some(now_ms.saturating_sub(i64::try_from(long.as_millis()).unwrap_or(i64::MAX))),
            _ => None,
        }
    }

    /// The next offset to read of a partition whose records are `low..end`, unless it goes by time.
    pub(super) fn offset(self, low: i64, end: i64) -> i64 {
        match self {
            Self::Beginning => low,
            Self::Offset(offset) => offset.max(low),
            Self::Tail(count) => end.saturating_sub(count).max(low),
            Self::Latest | Self::Time(_) | Self::Last(_) => end,
        }
    }
}

/// A number without a sign.
fn whole(digits: &str) -> Option<i64> {
    digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// RFC 3339, or a date with or without a time of day, which is that of this machine's time zone.
fn moment(text: &str) -> Result<i64, String> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at.as_millisecond());
    }
    let civil = text.parse::<DateTime>().ok().and_then(|civil| TimeZone::system().to_timestamp(civil).ok());
    civil.map(Timestamp::as_millisecond).ok_or_else(|| {
        format!("{text:?} is no time; write 2026-11-26T10:00:00Z, or \"2026-11-26 10:00\" for this machine's time zone")
    })
}

/// A length of time above 0: `90s`, `1h30m`, `7d`; a day has 24 hours.
///
/// # Errors
/// If it is none, in words.
pub fn duration(text: &str) -> Result<Duration, String> {
    let span = text.parse::<Span>().ok();
    let signed = span.and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()).ok());
    let long = signed.filter(SignedDuration::is_positive).and_then(|signed| Duration::try_from(signed).ok());
    long.ok_or_else(|| format!("{text:?} is no length of time; write it as 500ms, 90s, 1h30m or 7d"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn start(text: &str) -> Start {
        text.parse().unwrap()
    }

    #[test]
    fn each_form_is_read() {
        for (text, expected) in [
            ("beginning", Start::Beginning),
            ("latest", Start::Latest),
            ("offset:0", Start::Offset(0)),
            ("offset:9223372036854775807", Start::Offset(i64::MAX)),
            ("offset:-10", Start::Tail(10)),
            ("time:1970-01-01T00:00:01Z", Start::Time(1_000)),
            ("time:1970-01-01T02:00:01.5+02:00", Start::Time(1_500)),
            ("last:1h", Start::Last(Duration::from_hours(1))),
            ("last:1h30m", Start::Last(Duration::from_mins(90))),
            ("last:2d", Start::Last(Duration::from_hours(48))),
            ("last:500ms", Start::Last(Duration::from_millis(500))),
        ] {
            assert_eq!(start(text), expected, "{text}");
        }
        let civil = DateTime::constant(2026, 11, 26, 10, 0, 0, 0);
        let local = TimeZone::system().to_timestamp(civil).unwrap().as_millisecond();
        for text in ["time:2026-11-26 10:00", "time:2026-11-26T10:00", "time:2026-11-26 10:00:00"] {
            assert_eq!(start(text), Start::Time(local), "{text}");
        }
        assert!(matches!(start("time:2026-11-26"), Start::Time(_)));
    }

    #[test]
    fn anything_else_is_refused_with_what_to_write() {
        for (text, advice) in [
            ("", "write beginning, latest"),
            ("end", "write beginning, latest"),
            ("offset:", "offset:17"),
            ("offset:x", "offset:17"),
            ("offset:--1", "offset:17"),
            ("offset:+1", "offset:17"),
            ("offset:9223372036854775808", "offset:17"),
            ("time:yesterday", "write 2026-11-26T10:00:00Z"),
            ("time:2026-13-01", "write 2026-11-26T10:00:00Z"),
            ("last:", "1h30m"),
            ("last:1", "1h30m"),
            ("last:-1h", "1h30m"),
            ("last:0s", "1h30m"),
            ("last:1 fortnight", "1h30m"),
        ] {
            let error = text.parse::<Start>().unwrap_err();
            assert!(error.contains(advice), "{text}: {error}");
        }
    }

    #[test]
    fn a_length_of_time_counts_back_from_now() {
        assert_eq!(start("last:1s").at_ms(5_000), Some(4_000));
        assert_eq!(start("time:1970-01-01T00:00:01Z").at_ms(5_000), Some(1_000));
        assert_eq!(start("latest").at_ms(5_000), None);
    }

    proptest! {
        #[test]
        fn a_start_lies_within_the_partition_or_behind_it(low in 0_i64..1_000, count in 0_i64..1_000, n in 0_i64..3_000) {
            let end = low + count;
            for start in [Start::Beginning, Start::Latest, Start::Offset(n), Start::Tail(n)] {
                let offset = start.offset(low, end);
                prop_assert!(offset >= low);
                prop_assert!(offset <= end || start == Start::Offset(offset));
            }
            prop_assert_eq!(end - Start::Tail(n).offset(low, end), n.min(count));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".*", form in "(offset|time|last)?:?.{0,12}") {
            let _ = (text.parse::<Start>(), form.parse::<Start>());
        }
    }
}
