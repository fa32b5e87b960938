//! Lets a line that every request could write through now and then.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::now_ms;

/// Shortest time between two lines.
const EVERY_MS: i64 = 10_000;

/// One line in ten seconds, wherever it is written from.
#[derive(Debug)]
pub struct Seldom {
    last_ms: AtomicI64,
    held_back: AtomicU64,
}

impl Seldom {
    /// One that has let nothing through yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { last_ms: AtomicI64::new(i64::MIN), held_back: AtomicU64::new(0) }
    }

    /// How many were held back since the last, if this one may pass.
    pub fn pass(&self) -> Option<u64> {
        self.pass_at(now_ms())
    }

    fn pass_at(&self, now: i64) -> Option<u64> {
        let last = self.last_ms.load(Ordering::Relaxed);
        // A clock that was set back holds nothing back.
        let too_soon = now >= last && now.saturating_sub(last) < EVERY_MS;
        if too_soon || self.last_ms.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            self.held_back.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.held_back.swap(0, Ordering::Relaxed))
    }
}

impl Default for Seldom {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_ten_seconds_passes_and_tells_how_many_did_not() {
        let seldom = Seldom::new();
        let passed = [0, 1, 9_999, 10_000, 10_001, 5_000].map(|now| seldom.pass_at(now));
        assert_eq!(passed, [Some(0), None, None, Some(2), None, Some(1)], "the last after the clock was set back");
    }
}
