//! Sends the rows of a data set to the log, at a pace.
//!
//! Apart from the `replay` command, because the demo replays too.

use super::pace::{PaceError, Pacer};
use super::producer::{Deliveries, Producer, Record};
use super::{Interaction, Pace};
use crate::capture::LogError;

/// Rows between two looks whether anything else has to run.
const YIELD_EVERY: u64 = 128;

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
}

/// Sends every row, keyed by its user, then waits for all delivery reports and returns their counts: those of the
/// producer, from its opening on.
///
/// Records get the log's clock and not the row's: a log whose records seem to be from 1998 would be deleted as too old.
/// The event holds the row's own time. `progress` is told the number of rows sent. Dropping the future stops it between
/// two rows.
///
/// # Errors
/// At the first row that cannot be read, or where the log takes no more; single refused records are only counted.
pub async fn replay<E>(
    rows: impl Iterator<Item = Result<Interaction, E>>,
    producer: &dyn Producer,
    pace: Pace,
    progress: impl FnMut(u64),
) -> Result<Deliveries, ReplayError<E>> {
    let sent = send_all(rows, producer, pace, progress).await;
    // Also after an error: what came before it is delivered.
    let deliveries = producer.flush().await;
    sent?;
    Ok(deliveries?)
}

async fn send_all<E>(
    rows: impl Iterator<Item = Result<Interaction, E>>,
    producer: &dyn Producer,
    pace: Pace,
    mut progress: impl FnMut(u64),
) -> Result<(), ReplayError<E>> {
    let mut pacer = Pacer::new(pace);
    for (sent, row) in (1..).zip(rows) {
        let row = row.map_err(ReplayError::Row)?;
        pacer.wait(row.ts).await?;
        let record = Record { key: row.user.as_bytes().to_vec(), payload: row.to_json(), timestamp_ms: None };
        producer.send(record).await?;
        progress(sent);
        if sent % YIELD_EVERY == 0 {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}
