//! Tells what has become of each message, in the order of the lines.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use parking_lot::Mutex;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::account::Account;
use super::source::Place;
use crate::capture::producer::{self, Pending, Receipt};
use crate::cli::out;
use crate::telemetry;

/// With --quiet, problems that are told one by one; the others are only counted.
const QUIET_TOLD: u64 = 10;
/// A delivery that took as long is told with its time.
const SLOW: Duration = Duration::from_secs(1);
/// Bytes of reports that are printed at once.
const PRINT_AT: usize = 1 << 15;

/// A message that is to be reported.
pub(super) struct Report {
    pub(super) place: Place,
    pub(super) outcome: Outcome,
    /// Dropped when it is reported.
    pub(super) told: Option<oneshot::Sender<()>>,
}

/// What has become of it so far.
pub(super) enum Outcome {
    /// It was not sent.
    Refused(String),
    /// It is on its way.
    Sent { pending: Pending, sent_at: Instant, _room: OwnedSemaphorePermit },
}

/// Writes to stderr, past the progress bars and without colours where none are wanted.
pub(super) fn tell(text: &str) {
    // Where stderr is closed there is nobody left to tell.
    let _ = telemetry::bars().suspend(|| anstream::stderr().write_all(text.as_bytes()));
}

/// What reporting and sending tell each other.
#[derive(Clone, Default)]
pub(super) struct Signs {
    /// The log cannot be reached.
    pub(super) unreachable: CancellationToken,
    /// Reports that are not there are waited for no more.
    pub(super) hurry: CancellationToken,
}

/// Prints reports, and adds them up.
pub(super) struct Reporter {
    topic: String,
    quiet: bool,
    account: Arc<Mutex<Account>>,
    signs: Signs,
    /// Reports that are not printed yet.
    ready: String,
    problems: u64,
}

impl Reporter {
    pub(super) fn new(topic: String, quiet: bool, account: Arc<Mutex<Account>>, signs: Signs) -> Self {
        Self { topic, quiet, account, signs, ready: String::new(), problems: 0 }
    }

    /// Until there is nothing more to report.
    ///
    /// # Errors
    /// If stdout cannot be written, or is closed.
    pub(super) async fn run(mut self, mut reports: mpsc::Receiver<Report>) -> anyhow::Result<()> {
        loop {
            let report = match reports.try_recv() {
                Ok(report) => report,
                Err(TryRecvError::Disconnected) => break,
                Err(TryRecvError::Empty) => {
                    self.print()?;
                    match reports.recv().await {
                        Some(report) => report,
                        None => break,
                    }
                }
            };
            let Report { place, outcome, told } = report;
            match outcome {
                Outcome::Refused(why) => self.refused(place, &why)?,
                Outcome::Sent { pending, sent_at, _room } => match self.wait(pending).await? {
                    Some(receipt) => self.receipt(place, receipt, sent_at)?,
                    None => self.account.lock().unknown(place),
                },
            }
            if told.is_some() || self.ready.len() >= PRINT_AT {
                self.print()?;
            }
        }
        self.print()
    }

    /// The receipt, unless it is not there and there is no more time.
    async fn wait(&mut self, mut pending: Pending) -> anyhow::Result<Option<Receipt>> {
        if let Some(receipt) = (&mut pending).now_or_never() {
            return Ok(Some(receipt));
        }
        self.print()?;
        Ok(tokio::select! {
            biased;
            receipt = pending => Some(receipt),
            () = self.signs.hurry.cancelled() => None,
        })
    }

    fn refused(&mut self, place: Place, why: &str) -> anyhow::Result<()> {
        self.problem(&format!("{place}: not sent: {why}\n"))?;
        self.account.lock().refused(place, why);
        Ok(())
    }

    fn receipt(&mut self, place: Place, receipt: Receipt, sent_at: Instant) -> anyhow::Result<()> {
        match receipt {
            Ok(at) => {
                self.account.lock().delivered(place);
                if !self.quiet {
                    let producer::Place { partition, offset } = at;
                    let _ = write!(self.ready, "delivered to {} [{partition}] at offset {offset}", self.topic);
                    let took = sent_at.elapsed();
                    if took >= SLOW {
                        let _ = write!(self.ready, " after {:.1} s", took.as_secs_f64());
                    }
                    self.ready.push('\n');
                }
            }
            Err(undelivered) => {
                self.problem(&format!("{place}: not delivered: {undelivered}\n"))?;
                if undelivered.unreachable {
                    self.signs.unreachable.cancel();
                }
                self.account.lock().failed(place, undelivered);
            }
        }
        Ok(())
    }

    /// On stderr, and after what went before.
    fn problem(&mut self, text: &str) -> anyhow::Result<()> {
        self.problems += 1;
        if !self.quiet || self.problems <= QUIET_TOLD {
            self.print()?;
            tell(text);
        }
        Ok(())
    }

    fn print(&mut self) -> anyhow::Result<()> {
        if !self.ready.is_empty() {
            out::print(&self.ready)?;
            self.ready.clear();
        }
        Ok(())
    }
}
