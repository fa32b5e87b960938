//! The thread that reads the embedded log ahead.
//!
//! In: the file, and where reading starts. Out: records in the order of the log, none twice and none left out, whatever
//! fails in between: what may pass is tried again from where the last whole read ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::params;
use tokio::sync::mpsc;

use super::super::{Offsets, Position, RawEvent, too_few_partitions};
use super::Read;
use crate::capture::LogError;
use crate::capture::embedded_log::{self, LogFile, Topic, end_offset, find_topic};

/// Records, and bytes, at which a read ends.
const READ_RECORDS: usize = 4_096;
const READ_BYTES: usize = 4 << 20;

/// Pause before a read that failed is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// The topics that are read, by name.
pub(super) type Topics = Arc<[(Arc<str>, Topic)]>;

/// The reading thread's own.
pub(super) struct Reader {
    log: LogFile,
    topics: Topics,
    /// Next offset to be read of every partition.
    pub(super) next: BTreeMap<(Arc<str>, i32), i64>,
    /// Place in the append order before which everything has been read.
    seq: i64,
    /// Why reading fails now, while that is waited out.
    pub(super) trouble: Arc<Mutex<Option<String>>>,
}

/// Why a read brought nothing.
enum ReadError {
    /// It may succeed when it is tried again.
    Passing(String),
    Final(LogError),
}

impl Reader {
    pub(super) fn open(log: LogFile, topics: Topics, start: &Offsets) -> Result<Self, LogError> {
        let mut reader = Self { log, topics, next: BTreeMap::new(), seq: i64::MAX, trouble: Arc::default() };
        for (name, topic) in &*Arc::clone(&reader.topics) {
            let lost = start.iter().find(|(of, partition, _)| *of == name && *partition >= topic.partitions);
            if let Some((_, gone, next)) = lost {
                return Err(reader.log.error("read", too_few_partitions(name, topic.partitions, gone, next)));
            }
            for partition in 0..topic.partitions {
                let next = start.get(name, partition).unwrap_or(0);
                reader.check_within(name, *topic, partition, next)?;
                reader.next.insert((Arc::clone(name), partition), next);
            }
        }
        reader.seq = reader.first_seq().map_err(|error| reader.log.failed("read", &error))?;
        Ok(reader)
    }

    fn check_within(&self, name: &str, topic: Topic, partition: i32, next: i64) -> Result<(), LogError> {
        let end = end_offset(&self.log.sqlite, topic, partition);
        let end = end.map_err(|error| self.log.failed("read", &error))?;
        if next <= end {
            return Ok(());
        }
        let reason = format!(
            "{name} [{partition}] ends at offset {end}, but the store has learned up to {next}: the log is not the one \
             that the store was filled from (deleted, or restored from a backup); put that log back, or set another \
             broker.topic and store"
        );
        Err(self.log.error("read", reason))
    }

    /// The `seq` of the first record that has not been read; records after it may still have been, in other partitions.
    fn first_seq(&self) -> rusqlite::Result<i64> {
        // Asked first: a record that is appended between the two queries has a higher seq and is not missed.
        let mut first =
            self.log.sqlite.query_row("SELECT coalesce(max(seq), 0) + 1 FROM records", [], |row| row.get(0))?;
        let mut of_partition = self.log.sqlite.prepare(
            "SELECT coalesce(min(seq), ?4) FROM records WHERE topic = ?1 AND partition = ?2 AND offset = ?3",
        )?;
        for (name, topic) in &*self.topics {
            for partition in 0..topic.partitions {
                let next = self.next.get(&(Arc::clone(name), partition)).copied().unwrap_or(0);
                let seq = of_partition.query_row(params![topic.id, partition, next, i64::MAX], |row| row.get(0))?;
                first = std::cmp::min(first, seq);
            }
        }
        Ok(first)
    }

    pub(super) fn run(mut self, reads: &mpsc::Sender<Read>, poll_interval: Duration) {
        while !reads.is_closed() {
            let (before, next) = (self.seq, self.next.clone());
            let read = self.read();
            if read.is_err() {
                // What it had read is dropped with it, and must come again.
                (self.seq, self.next) = (before, next);
            }
            let trouble = if let Err(ReadError::Passing(reason)) = &read { Some(reason.clone()) } else { None };
            self.note(trouble);
            match read {
                Ok(events) if !events.is_empty() => {
                    if reads.blocking_send(Ok(events)).is_err() {
                        return;
                    }
                }
                // Records of other topics were passed: there may be ours behind them.
                Ok(_) if self.seq != before => {}
                Ok(_) => std::thread::park_timeout(poll_interval),
                Err(ReadError::Passing(_)) => std::thread::park_timeout(poll_interval.max(RETRY_AFTER)),
                Err(ReadError::Final(error)) => {
                    // Nobody is left to tell if the other end is gone.
                    let _ = reads.blocking_send(Err(error));
                    return;
                }
            }
        }
    }

    /// Tells once that reading fails, and once that it goes on.
    fn note(&self, trouble: Option<String>) {
        let before = std::mem::replace(&mut *self.trouble.lock(), trouble.clone());
        match (before, trouble) {
            (None, Some(reason)) => tracing::warn!(%reason, "the embedded log cannot be read; waiting until it can"),
            (Some(_), None) => tracing::info!("the embedded log can be read again"),
            _ => {}
        }
    }

    fn read(&mut self) -> Result<Vec<RawEvent>, ReadError> {
        let fatal = |reason| ReadError::Final(self.log.error("read", reason));
        let failed = |error: rusqlite::Error| {
            if embedded_log::may_pass(&error) {
                ReadError::Passing(embedded_log::explain(&error))
            } else {
                ReadError::Final(self.log.failed("read", &error))
            }
        };
        for (name, topic) in &*self.topics {
            let found = find_topic(&self.log.sqlite, name).map_err(failed)?;
            // It may have got more partitions, whose records come like all others.
            if found.is_none_or(|found| found.id != topic.id) || !self.log.exists() {
                return Err(fatal(format!("topic {name:?} was deleted while it was being read; restart")));
            }
        }
        // Records of other topics are stepped over here and not in SQL, so that they are stepped over only once.
        let mut select = self
            .log
            .sqlite
            .prepare_cached(
                "SELECT seq, partition, offset, timestamp_ms, key, payload, topic FROM records
                 WHERE seq >= ?1 ORDER BY seq LIMIT ?2",
            )
            .map_err(failed)?;
        let mut rows = select.query(params![self.seq, READ_RECORDS as i64]).map_err(failed)?;
        let (mut events, mut bytes) = (Vec::new(), 0);
        while bytes < READ_BYTES
            && let Some(row) = rows.next().map_err(failed)?
        {
            self.seq = 1 + row.get::<_, i64>(0).map_err(failed)?;
            let topic = row.get::<_, i64>(6).map_err(failed)?;
            if let Some((name, _)) = self.topics.iter().find(|(_, one)| one.id == topic) {
                let event = event_of(row, name).map_err(failed)?;
                let next = self.next.entry((Arc::clone(name), event.position.partition)).or_default();
                let continues = take_next(next, &event.position).map_err(fatal)?;
                if continues {
                    bytes += event.payload.len();
                    events.push(event);
                }
            }
        }
        Ok(events)
    }
}

/// Whether the record is the next of its partition, and not one that was read before the start.
fn take_next(next: &mut i64, position: &Position) -> Result<bool, String> {
    let Position { topic, partition, offset } = position;
    if offset > next {
        return Err(format!("offsets {next}..{offset} of {topic} [{partition}] are missing; restore the file"));
    }
    let continues = offset == next;
    *next += i64::from(continues);
    Ok(continues)
}

fn event_of(row: &rusqlite::Row<'_>, topic: &Arc<str>) -> rusqlite::Result<RawEvent> {
    let position = Position { topic: Arc::clone(topic), partition: row.get(1)?, offset: row.get(2)? };
    Ok(RawEvent { position, timestamp_ms: row.get(3)?, key: row.get(4)?, payload: row.get(5)?, trace: None })
}
