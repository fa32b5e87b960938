//! Sends the rows of a data set to the log, at a pace.
//!
//! Apart from the `replay` command, because the demo replays too.

use std::collections::VecDeque;

use super::inject::Injector;
use super::pace::{PaceError, Pacer};
use super::producer::{Deliveries, Producer, Record};
use super::resume::{Journal, Mark};
use super::shift::Shift;
use super::{Interaction, Pace};
use crate::capture::LogError;

/// Rows between two looks whether anything else has to run.
const YIELD_EVERY: u64 = 128;

/// A record to be sent.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// What goes to the log.
    pub record: Record,
    /// The time that the pace goes by, in milliseconds since the epoch.
    pub ts: Option<i64>,
    /// Which one it is, where that is noted.
    pub(crate) mark: Mark,
}

impl From<Interaction> for Outgoing {
    /// Keyed by the user. The record gets the log's clock and not the row's: a log whose records seem to be from 1998 would
    /// be deleted as too old. The event holds the row's own time.
    fn from(row: Interaction) -> Self {
        let payload = row.to_json();
        let record = Record { key: row.user.into_bytes(), payload, ..Record::default() };
        Self { record, ts: row.ts, mark: Mark::default() }
    }
}

/// Why a replay ended before its rows did. What was sent before it is flushed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError<E> {
    /// A row cannot be read.
    #[error("{0}")]
    Row(E),
    /// The pace does not fit the data.
    #[error("{0}")]
    Pace(#[from] PaceError),
    /// The log takes no records.
    #[error("{0}")]
    Produce(#[from] LogError),
    /// What was delivered is noted no more; closing the journal tells why.
    #[error("what was delivered can no longer be noted")]
    Journal,
}

/// Sends every row, keyed by its user, then waits for all delivery reports and returns their counts: those of the
/// producer, from its opening on.
///
/// `progress` is told the number of records sent. Dropping the future stops it between two rows.
///
/// # Errors
/// At the first row that cannot be read, or where the log takes no more; single refused records are only counted.
pub async fn replay<E, R: Into<Outgoing>>(
    rows: impl Iterator<Item = Result<R, E>>,
    producer: &dyn Producer,
    pace: Pace,
    progress: impl FnMut(u64),
) -> Result<Deliveries, ReplayError<E>> {
    let sent = send_all(rows, pace, progress, async |outgoing| Ok(producer.send(outgoing.record).await?)).await;
    // Also after an error: what came before it is delivered.
    let deliveries = producer.flush().await;
    sent?;
    Ok(deliveries?)
}

/// As [`replay`], and notes in the journal what was delivered.
///
/// # Errors
/// As [`replay`], and if the journal cannot be written.
pub async fn replay_noted<E>(
    records: impl Iterator<Item = Result<Outgoing, E>>,
    producer: &dyn Producer,
    journal: &Journal,
    pace: Pace,
    progress: impl FnMut(u64),
) -> Result<Deliveries, ReplayError<E>> {
    let sent = send_all(records, pace, progress, async |outgoing| journal.send(producer, outgoing).await).await;
    let deliveries = producer.flush().await;
    sent?;
    Ok(deliveries?)
}

async fn send_all<E, R: Into<Outgoing>>(
    rows: impl Iterator<Item = Result<R, E>>,
    pace: Pace,
    mut progress: impl FnMut(u64),
    mut send: impl AsyncFnMut(Outgoing) -> Result<(), ReplayError<E>>,
) -> Result<(), ReplayError<E>> {
    let mut pacer = Pacer::new(pace);
    for (sent, row) in (1..).zip(rows) {
        let outgoing = row.map_err(ReplayError::Row)?.into();
        pacer.wait(outgoing.ts).await?;
        send(outgoing).await?;
        progress(sent);
        if sent % YIELD_EVERY == 0 {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

/// What is done to rows on their way to the log.
#[derive(Debug)]
pub struct Changes {
    /// Moves their times.
    pub shift: Option<Shift>,
    /// Spoils them.
    pub injector: Injector,
}

impl Changes {
    /// The records that rows become, one after the other.
    pub fn records<E>(
        &mut self,
        rows: impl Iterator<Item = Result<Interaction, E>>,
    ) -> impl Iterator<Item = Result<Outgoing, E>> {
        Records { changes: self, rows: rows.fuse(), ready: VecDeque::new() }
    }
}

struct Records<'c, I> {
    changes: &'c mut Changes,
    rows: I,
    ready: VecDeque<Outgoing>,
}

impl<E, I: Iterator<Item = Result<Interaction, E>>> Iterator for Records<'_, I> {
    type Item = Result<Outgoing, E>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(outgoing) = self.ready.pop_front() {
                return Some(Ok(outgoing));
            }
            let Some(row) = self.rows.next() else {
                self.changes.injector.finish(&mut self.ready);
                return self.ready.pop_front().map(Ok);
            };
            match row {
                Err(error) => return Some(Err(error)),
                Ok(mut row) => {
                    if let (Some(shift), Some(ts)) = (&mut self.changes.shift, &mut row.ts) {
                        *ts = shift.apply(*ts);
                    }
                    self.changes.injector.row(row, &mut self.ready);
                }
            }
        }
    }
}
