//! How many messages were delivered, and which were not.

use std::time::Instant;

use indicatif::HumanCount;

use super::source::Place;
use crate::capture::producer::Undelivered;

/// Adds up the reports.
#[derive(Clone, Debug)]
pub(super) struct Account {
    start: Instant,
    delivered: u64,
    refused: Option<Problem>,
    failed: Option<Problem>,
    unknown: Option<Problem>,
    unreachable: Option<String>,
    /// The message that was reported last.
    last: Option<Place>,
}

/// Messages that have the same fate.
#[derive(Clone, Debug)]
struct Problem {
    count: u64,
    first: Place,
    last: Place,
    /// Why the first one has it.
    reason: String,
}

impl Problem {
    fn add(problem: &mut Option<Self>, place: &Place, reason: &str) {
        let new = || Self { count: 0, first: place.clone(), last: place.clone(), reason: reason.to_owned() };
        let problem = problem.get_or_insert_with(new);
        (problem.count, problem.last) = (problem.count + 1, place.clone());
    }

    /// `12 messages were not delivered, from line 5 to line 16: Message timed out`.
    fn told(&self, fate: &str) -> String {
        let Self { count, first, last, reason } = self;
        let colon = if reason.is_empty() { "" } else { ": " };
        match count {
            1 => format!("{first} was {fate}{colon}{reason}"),
            _ => format!("{} messages were {fate}, from {first} to {last}{colon}{reason}", HumanCount(*count)),
        }
    }
}

impl Account {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            delivered: 0,
            refused: None,
            failed: None,
            unknown: None,
            unreachable: None,
            last: None,
        }
    }

    pub(super) fn delivered(&mut self, place: Place) {
        self.delivered += 1;
        self.last = Some(place);
    }

    pub(super) fn refused(&mut self, place: Place, why: &str) {
        Problem::add(&mut self.refused, &place, why);
        self.last = Some(place);
    }

    pub(super) fn failed(&mut self, place: Place, undelivered: Undelivered) {
        Problem::add(&mut self.failed, &place, &undelivered.reason);
        if undelivered.unreachable {
            self.unreachable.get_or_insert(undelivered.reason);
        }
        self.last = Some(place);
    }

    /// It was sent, and its report is waited for no more.
    pub(super) fn unknown(&mut self, place: Place) {
        Problem::add(&mut self.unknown, &place, "");
        self.last = Some(place);
    }

    /// Why the log cannot be reached, where that has kept messages from it.
    pub(super) fn unreachable(&self) -> Option<&str> {
        self.unreachable.as_deref()
    }

    /// `998 delivered, 0 failed, 2 refused in 0.1 s`.
    pub(super) fn line(&self) -> String {
        let count = |problem: &Option<Problem>| problem.as_ref().map_or(0, |problem| problem.count);
        let also = |problem, what| match count(problem) {
            0 => String::new(),
            count => format!(", {} {what}", HumanCount(count)),
        };
        let (delivered, failed) = (HumanCount(self.delivered), HumanCount(count(&self.failed)));
        let (refused, unknown) = (also(&self.refused, "refused"), also(&self.unknown, "without a report"));
        let seconds = self.start.elapsed().as_secs_f64();
        format!("{delivered} delivered, {failed} failed{refused}{unknown} in {seconds:.1} s")
    }

    /// Which messages were refused or not delivered, and why the first of them.
    pub(super) fn problem(&self) -> Option<String> {
        let fates = [
            (&self.failed, "not delivered"),
            (&self.unknown, "left without a report (sent, and on the log or not)"),
            (&self.refused, "refused and not sent"),
        ];
        let told: Vec<_> = fates.into_iter().filter_map(|(problem, fate)| Some(problem.as_ref()?.told(fate))).collect();
        (!told.is_empty()).then(|| told.join("; "))
    }

    /// The whole account of a produce that ended before its input did.
    pub(super) fn stopped(&self) -> String {
        let problem = self.problem().map_or_else(String::new, |problem| format!("; {problem}"));
        let after = match &self.last {
            Some(last) => format!("; nothing after {last} was sent"),
            None => String::new(),
        };
        format!("{}{problem}{after}", self.line())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without_time(text: &str) -> String {
        let (before, after) = text.split_once(" in 0.0 s").unwrap();
        format!("{before}{after}")
    }

    #[test]
    fn the_account_says_which_lines_were_not_delivered_and_where_it_stopped() {
        let mut account = Account::new();
        assert_eq!(without_time(&account.stopped()), "0 delivered, 0 failed");
        (1..=4).for_each(|line| account.delivered(Place::line(line)));
        assert_eq!(
            (without_time(&account.stopped()), account.problem()),
            ("4 delivered, 0 failed; nothing after line 4 was sent".to_owned(), None)
        );
        account.refused(Place::line(5), "not JSON");
        for line in 6..=1_005 {
            account.failed(Place::line(line), Undelivered { reason: format!("late {line}"), unreachable: line > 6 });
        }
        account.unknown(Place::line(1_006));
        assert_eq!(account.unreachable(), Some("late 7"));
        assert_eq!(
            without_time(&account.stopped()),
            "4 delivered, 1,000 failed, 1 refused, 1 without a report; 1,000 messages were not delivered, from line 6 to \
             line 1005: late 6; line 1006 was left without a report (sent, and on the log or not); line 5 was \
             refused and not sent: not JSON; nothing after line 1006 was sent"
        );
    }
}
