//! The proof by killing: real processes, killed, stopped and starved at any moment; afterwards nothing is lost, nothing is
//! learned twice, and the model is that of an undisturbed run, bit for bit.
//!
//! Each row of the README's table is one function that runs in two forms: a short one with the other tests, and a long one,
//! ignored there, by `make chaos`. Both print the row.

mod disk;
mod faults;
mod garbage;
mod kills;
mod outages;
mod pairs;
mod site;

use std::time::Duration;

use crate::support;

/// How long a row takes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    /// Among the other tests.
    Short,
    /// By `make chaos`.
    Long,
}

impl Form {
    fn pick<T>(self, short: T, long: T) -> T {
        match self {
            Self::Short => short,
            Self::Long => long,
        }
    }
}

/// What the log holds, beside what the store holds.
#[derive(Clone, Copy, Debug)]
struct Account {
    events: u64,
    /// Records that are neither an event nor a dead letter.
    lost: u64,
    /// Events whose record is that of another one.
    twice: u64,
}

/// A line of the README's table. That the model is the same, and that `freshet verify` agrees, is asserted before.
#[derive(Debug)]
struct Row<'a> {
    what: &'a str,
    times: usize,
    account: Account,
    /// From each restart to the moment it learned again.
    recoveries: Vec<Duration>,
}

impl Row<'_> {
    /// Prints the row; it must be one of nothing lost and nothing learned twice.
    fn conclude(mut self) {
        let Self { what, times, account, .. } = self;
        let Account { events, lost, twice } = account;
        self.recoveries.sort();
        let seconds = |at: Option<&Duration>| at.map_or("–".to_owned(), |at| format!("{:.1} s", at.as_secs_f64()));
        let median = seconds(self.recoveries.get(self.recoveries.len() / 2));
        let longest = seconds(self.recoveries.last());
        support::say(&format!("| {what} | {times} | {events} | {lost} | {twice} | {median}, {longest} | the same |"));
        assert_eq!((lost, twice), (0, 0), "{what}");
    }
}
