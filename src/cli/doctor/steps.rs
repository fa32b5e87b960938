//! Steps of an examination: each timed and bounded, told as it ends, and what they found together.
//!
//! Apart from the checks, so that each of them says only what it looks at, what it found, and what to do.

use std::fmt::Write as _;
use std::future::Future;
use std::time::Duration;

use owo_colors::OwoColorize;
use serde::Serialize;
use tokio::time::Instant;

use crate::cli::out;

/// Difference of clocks that is not worth a word, in milliseconds.
pub(super) const TOLERATED_MS: i64 = 2_000;

/// How a step ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    Passed,
    /// It works, and somebody should look at it.
    Warned,
    Failed,
    Skipped,
}

/// A step that has ended.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Step {
    #[serde(rename = "step")]
    name: &'static str,
    outcome: Outcome,
    /// What was found, or why it failed.
    detail: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
    milliseconds: u64,
    /// Whether it failed because nobody answers.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unreachable: bool,
}

/// What a step found: something for the next ones, and a text for people.
#[derive(Debug)]
pub(super) struct Found<T = ()> {
    pub(super) value: T,
    detail: String,
    warning: Option<String>,
}

impl<T> Found<T> {
    pub(super) fn new(value: T, detail: impl Into<String>) -> Self {
        Self { value, detail: detail.into(), warning: None }
    }

    pub(super) fn warning(self) -> Option<String> {
        self.warning
    }

    /// With another value, and another text where one is given.
    pub(super) fn map<U>(self, make: impl FnOnce(T) -> U, detail: Option<String>) -> Found<U> {
        Found { value: make(self.value), detail: detail.unwrap_or(self.detail), warning: self.warning }
    }

    /// With what somebody should look at; nothing if there is none.
    pub(super) fn but(mut self, warning: Option<String>) -> Self {
        self.warning = warning;
        self
    }
}

/// Why a step failed, and what to do about it.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) reason: String,
    pub(super) advice: String,
    unreachable: bool,
}

impl Fault {
    /// Something is there that will not do.
    pub(super) fn new(reason: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { reason: reason.into(), advice: advice.into(), unreachable: false }
    }

    /// Nobody answers.
    pub(super) fn unreachable(reason: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { unreachable: true, ..Self::new(reason, advice) }
    }
}

/// That the steps after a failed one make no sense.
#[derive(Debug)]
pub(super) struct Stop;

/// What a step came to, and how long it took.
pub(super) type Measured<T> = (Result<Found<T>, Fault>, Duration);

/// One thing that is examined, with the steps so far.
#[derive(Debug, Serialize)]
pub(super) struct Section {
    #[serde(rename = "section")]
    name: &'static str,
    /// What it is about: an address, a folder.
    about: String,
    steps: Vec<Step>,
    #[serde(skip)]
    plan: &'static [&'static str],
    /// Longest that a step may take.
    #[serde(skip)]
    pub(super) limit: Duration,
    /// Whether steps are told as they end.
    #[serde(skip)]
    told: bool,
}

impl Section {
    /// `plan` names every step, in order.
    pub(super) fn new(
        name: &'static str,
        about: String,
        plan: &'static [&'static str],
        limit: Duration,
        told: bool,
    ) -> anyhow::Result<Self> {
        let section = Self { name, about, steps: Vec::new(), plan, limit, told };
        if told {
            out::print(&format!("{}  {}\n", section.name.bold(), section.about))?;
        }
        Ok(section)
    }

    /// Does a step, in bounded time, and tells what it found.
    pub(super) async fn step<T>(
        &mut self,
        name: &'static str,
        work: impl Future<Output = Result<Found<T>, Fault>>,
    ) -> Result<T, Stop> {
        let measured = self.measure(work).await;
        self.tell(name, measured)
    }

    /// Does a step that blocks a thread.
    pub(super) async fn blocking<T: Send + 'static>(
        &mut self,
        name: &'static str,
        work: impl FnOnce() -> Result<Found<T>, Fault> + Send + 'static,
    ) -> Result<T, Stop> {
        self.step(name, off_thread(work)).await
    }

    /// Does work in bounded time, and tells nothing yet.
    pub(super) async fn measure<T>(&self, work: impl Future<Output = Result<Found<T>, Fault>>) -> Measured<T> {
        let start = Instant::now();
        let late = |_| {
            let reason = format!("no answer within {:?}", self.limit);
            Err(Fault::unreachable(
                reason,
                "see whether it is overloaded or something on the way drops what is sent; --timeout gives it longer",
            ))
        };
        let found = tokio::time::timeout(self.limit, work).await.unwrap_or_else(late);
        (found, start.elapsed())
    }

    /// Notes and tells how a step ended.
    pub(super) fn tell<T>(&mut self, name: &'static str, (found, took): Measured<T>) -> Result<T, Stop> {
        let milliseconds = took.as_millis() as u64;
        match found {
            Ok(Found { value, detail, warning }) => {
                let outcome = if warning.is_some() { Outcome::Warned } else { Outcome::Passed };
                self.push(Step { name, outcome, detail, advice: warning, milliseconds, unreachable: false });
                Ok(value)
            }
            Err(Fault { reason, advice, unreachable }) => {
                let advice = Some(advice).filter(|advice| !advice.is_empty());
                self.push(Step { name, outcome: Outcome::Failed, detail: reason, advice, milliseconds, unreachable });
                Err(Stop)
            }
        }
    }

    /// Leaves a step out.
    pub(super) fn skip(&mut self, name: &'static str, why: &str) {
        let detail = why.to_owned();
        self.push(Step { name, outcome: Outcome::Skipped, detail, advice: None, milliseconds: 0, unreachable: false });
    }

    /// Skips what a failed step made senseless.
    pub(super) fn end(&mut self) -> anyhow::Result<()> {
        let done: Vec<&str> = self.steps.iter().map(|step| step.name).collect();
        let left: Vec<&'static str> = self.plan.iter().copied().filter(|name| !done.contains(name)).collect();
        for name in left {
            self.skip(name, "skipped, because of what failed above");
        }
        if self.told { out::print("\n") } else { Ok(()) }
    }

    /// Steps that ended so.
    pub(super) fn count(&self, outcome: Outcome) -> usize {
        self.steps.iter().filter(|step| step.outcome == outcome).count()
    }

    /// Whether a step failed because nobody answers.
    pub(super) fn is_unreachable(&self) -> bool {
        self.steps.iter().any(|step| step.unreachable)
    }

    fn push(&mut self, step: Step) {
        if self.told {
            let width = self.plan.iter().map(|name| name.chars().count()).max().unwrap_or_default();
            // A pipe that was closed is found again at the end of the section.
            let _ = out::print(&line(&step, width));
        }
        self.steps.push(step);
    }
}

/// Runs what blocks on a thread of its own.
pub(super) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<Found<T>, Fault> + Send + 'static,
) -> Result<Found<T>, Fault> {
    let broken = |error: tokio::task::JoinError| Err(Fault::new(error.to_string(), "report it"));
    tokio::task::spawn_blocking(work).await.unwrap_or_else(broken)
}

fn line(step: &Step, width: usize) -> String {
    let Step { name, outcome, detail, advice, milliseconds, .. } = step;
    let mark = match outcome {
        Outcome::Passed => "✓".green().to_string(),
        Outcome::Warned => "!".yellow().to_string(),
        Outcome::Failed => "✗".red().to_string(),
        Outcome::Skipped => "–".dimmed().to_string(),
    };
    let took = match outcome {
        Outcome::Skipped => String::new(),
        _ => format!("  {}", format!("({milliseconds} ms)").dimmed()),
    };
    let mut text = format!("  {mark} {name:width$}  {detail}{took}\n");
    if let Some(advice) = advice {
        let _ = writeln!(text, "    {:width$}  → {advice}", "");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section() -> Section {
        Section::new("kafka", String::new(), &["name", "login", "topic"], Duration::from_millis(50), false).unwrap()
    }

    #[tokio::test]
    async fn what_comes_after_a_failed_step_is_skipped_and_a_step_that_hangs_fails() {
        let mut section = section();
        section.step("name", async { Ok(Found::new((), "found")) }).await.unwrap();
        let hung = section.step("login", std::future::pending::<Result<Found, Fault>>()).await;
        assert!(hung.is_err() && section.is_unreachable());
        section.end().unwrap();
        let outcomes: Vec<_> = section.steps.iter().map(|step| (step.name, step.outcome)).collect();
        assert_eq!(outcomes, [("name", Outcome::Passed), ("login", Outcome::Failed), ("topic", Outcome::Skipped)]);
        assert_eq!(section.count(Outcome::Failed), 1);
    }

    #[tokio::test]
    async fn a_line_has_what_was_found_and_what_to_do() {
        let mut section = section();
        let _ = section.step::<()>("name", async { Err(Fault::new("no such name", "correct it")) }).await;
        let text = anstream::adapter::strip_str(&line(&section.steps[0], 5)).to_string();
        assert!(text.starts_with("  ✗ name   no such name  (") && text.ends_with("  → correct it\n"), "{text}");
        let json = serde_json::to_value(&section).unwrap();
        assert_eq!(json["steps"][0]["outcome"], "failed");
    }
}
