//! What a replay has done, as it is shown and told.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use indicatif::{HumanCount, ProgressBar};

use super::Args;
use crate::capture::Dataset;
use crate::capture::inject::Injected;
use crate::capture::order::Order;
use crate::capture::producer::Deliveries;
use crate::capture::replay::Changes;
use crate::cli::out;

/// What has happened so far; outlives a replay that is interrupted.
pub(super) struct Account {
    pub(super) rows: AtomicU64,
    pub(super) sent: AtomicU64,
    pub(super) skipped: AtomicU64,
    /// Records that an earlier run has delivered.
    pub(super) before: u64,
    total: Option<u64>,
    pub(super) bar: ProgressBar,
    /// Nobody sees it: then it costs nothing.
    hidden: bool,
    start: Instant,
}

impl Account {
    pub(super) fn new(args: &Args, dataset: &Dataset, before: u64) -> Self {
        let total = total(args, dataset);
        let about =
            dataset.about_rows.filter(|_| !args.again).map(|rows| args.limit.map_or(rows, |limit| rows.min(limit)));
        let bar = out::progress(total.or(about), dataset.name.clone());
        Self {
            rows: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            before,
            total,
            hidden: bar.is_hidden(),
            bar,
            start: Instant::now(),
        }
    }

    pub(super) fn one_read(&self) {
        self.rows.fetch_add(1, Ordering::Relaxed);
        if !self.hidden {
            self.bar.inc(1);
        }
    }

    pub(super) fn one_sent(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    /// `100,000 delivered, 0 failed in 1.9 s (52,000/s)`.
    pub(super) fn line(&self, counts: &Deliveries) -> String {
        let seconds = self.start.elapsed().as_secs_f64();
        let rate = HumanCount((counts.delivered as f64 / seconds.max(0.001)).round() as u64);
        let skipped = match self.skipped.load(Ordering::Relaxed) {
            0 => String::new(),
            rows => format!(", {} rows skipped", HumanCount(rows)),
        };
        let (delivered, failed) = (HumanCount(counts.delivered), HumanCount(counts.failed));
        let before = self.told_before();
        format!("{before}{delivered} delivered, {failed} failed{skipped} in {seconds:.1} s ({rate}/s)")
    }

    /// `1,200 of 100,000 events sent; 1,200 delivered, 0 failed, 0 without a report`.
    pub(super) fn interrupted_line(&self, counts: &Deliveries) -> String {
        let sent = self.sent.load(Ordering::Relaxed);
        let of_all = self.total.map_or_else(String::new, |total| format!(" of {}", HumanCount(total)));
        let unknown = sent.saturating_sub(counts.delivered + counts.failed);
        let [sent, delivered, failed, unknown] = [sent, counts.delivered, counts.failed, unknown].map(HumanCount);
        let before = self.told_before();
        format!(
            "{before}{sent}{of_all} events sent; {delivered} delivered, {failed} failed, {unknown} without a report"
        )
    }

    fn told_before(&self) -> String {
        match self.before {
            0 => String::new(),
            before => format!("{} delivered before; ", HumanCount(before)),
        }
    }
}

/// Rows that there will be, as far as is known.
pub(super) fn total(args: &Args, dataset: &Dataset) -> Option<u64> {
    let rows = dataset.n_rows.filter(|_| !args.again);
    match (rows, args.limit) {
        (Some(rows), Some(limit)) => Some(rows.min(limit)),
        (rows, limit) => rows.or(limit.filter(|_| args.again)),
    }
}

/// What was found and done beside the sending, a line each.
pub(super) fn details(changes: &Changes, order: &Order) -> String {
    let mut text = String::new();
    if let (back @ 1.., of_user) = order.went_back() {
        let (back, of_user) = (HumanCount(back), HumanCount(of_user));
        let _ = writeln!(
            text,
            "order: {back} rows go back in time against the row before, {of_user} against their user's row before"
        );
    }
    if let Some((first, by)) = changes.shift.as_ref().and_then(crate::capture::shift::Shift::applied) {
        let _ = writeln!(text, "timestamps: moved by {}, so that the first is {}", distance(by), out::time(first));
    } else if changes.shift.is_some() {
        text.push_str("timestamps: no row has one, so none was moved\n");
    }
    if let Some(injected) = injected(changes.injector.injected()) {
        let _ = writeln!(text, "injected: {injected}");
    }
    text
}

/// `+10,522 days 01:02:03.004`.
fn distance(ms: i64) -> String {
    let sign = if ms < 0 { '-' } else { '+' };
    let ms = ms.unsigned_abs();
    let (days, seconds) = (HumanCount(ms / 86_400_000), ms / 1_000 % 86_400);
    let [hours, minutes, seconds] = [seconds / 3_600, seconds / 60 % 60, seconds % 60];
    format!("{sign}{days} days {hours:02}:{minutes:02}:{seconds:02}.{:03}", ms % 1_000)
}

/// `1,003 duplicates, 98 late, 53 garbage (9 empty, …), drift in 3,201 events of 94 users from row 50,001 on`.
fn injected(injected: &Injected) -> Option<String> {
    let mut parts = Vec::new();
    if injected.duplicates > 0 {
        parts.push(format!("{} duplicates", HumanCount(injected.duplicates)));
    }
    if injected.late > 0 {
        parts.push(format!("{} late", HumanCount(injected.late)));
    }
    if !injected.garbage.is_empty() {
        let kinds: Vec<_> = injected.garbage.iter().map(|(what, n)| format!("{} {what}", HumanCount(*n))).collect();
        parts.push(format!("{} garbage ({})", HumanCount(injected.garbage.values().sum()), kinds.join(", ")));
    }
    if let Some(from) = injected.drift_from {
        let (events, users) = (HumanCount(injected.drifted), HumanCount(injected.drifted_users.len() as u64));
        parts.push(format!("drift in {events} events of {users} users from row {} on", HumanCount(from)));
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distance_has_days_and_the_time_of_day() {
        assert_eq!(distance(86_400_000 * 1_234 + 3_723_004), "+1,234 days 01:02:03.004");
        assert_eq!(distance(-1), "-0 days 00:00:00.001");
    }

    #[test]
    fn what_was_injected_is_told_and_nothing_else() {
        assert_eq!(injected(&Injected::default()), None);
        let mut all = Injected { duplicates: 1_003, late: 2, drift_from: Some(5), drifted: 7, ..Injected::default() };
        all.garbage.extend([("empty", 3), ("cut short", 1)]);
        all.drifted_users.insert("a".into());
        let expected =
            "1,003 duplicates, 2 late, 4 garbage (1 cut short, 3 empty), drift in 7 events of 1 users from row 5 on";
        assert_eq!(injected(&all).unwrap(), expected);
    }
}
