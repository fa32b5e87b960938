//! Watches the embedded log: one walk along the append order over all topics, as they were written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::{OptionalExtension, params};

use super::{Place, Polled, Portion, Start, Take, WatchError, Watched, Watcher, Wish};
use crate::capture::embedded_log::{self, LogFile, Topic, end_offset, find_topic};
use crate::config::Config;
use crate::telemetry;

/// Records that one statement reads.
const READ_RECORDS: i64 = 4_096;
/// Pause before a read that failed is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Reads along `seq`.
pub(super) struct EmbeddedWatcher {
    log: LogFile,
    wish: Wish,
    /// By the topic's id.
    topics: BTreeMap<i64, Arc<str>>,
    /// By the topic's id and partition; a partition that is not here is new, or not wanted.
    places: BTreeMap<(i64, i32), Place>,
    /// Place in the append order before which everything has been read.
    seq: i64,
    /// The place at which to end.
    end_seq: Option<i64>,
    poll_interval: Duration,
    in_trouble: bool,
}

impl EmbeddedWatcher {
    pub(super) fn open(config: &Config, wish: Wish) -> Result<Self, WatchError> {
        let path = embedded_log::path(config);
        // Opened for writing only to commit; neither creates a log that is not there.
        let log = match &wish.group {
            Some(_) if path.exists() => LogFile::open(&path)?,
            _ => LogFile::open_to_read(&path)?,
        };
        let poll_interval = config.broker.poll_interval;
        let (topics, places) = (BTreeMap::new(), BTreeMap::new());
        let mut watcher = Self { log, wish, topics, places, seq: 0, end_seq: None, poll_interval, in_trouble: false };
        let failed = |watcher: &Self, error: &rusqlite::Error| watcher.log.failed("read", error);
        // Asked first: what is appended after it has a higher seq and is not missed.
        let next_seq = watcher.next_seq().map_err(|error| failed(&watcher, &error))?;
        for name in watcher.wish.topics.clone() {
            let topic = watcher.topic(&name)?;
            let done = watcher.start_topic(topic, Arc::from(name.as_str()));
            done.map_err(|error| failed(&watcher, &error))?;
        }
        watcher.end_seq = watcher.wish.until_end.then_some(next_seq);
        watcher.seq = watcher.first_seq(next_seq).map_err(|error| failed(&watcher, &error))?;
        Ok(watcher)
    }

    fn next_seq(&self) -> rusqlite::Result<i64> {
        self.log.sqlite.query_row("SELECT coalesce(max(seq), 0) + 1 FROM records", [], |row| row.get(0))
    }

    /// The topic, which must be there and have the wanted partition.
    fn topic(&self, name: &str) -> Result<Topic, WatchError> {
        let found = find_topic(&self.log.sqlite, name).map_err(|error| self.log.failed("read", &error))?;
        let Some(topic) = found else {
            let there = self.log.topic_names().map_err(|error| self.log.failed("read", &error))?;
            let at = format!("the embedded log {}", self.log.location());
            return Err(WatchError::NoTopic { topic: name.to_owned(), at, there });
        };
        match self.wish.partition {
            Some(partition) if partition >= topic.partitions => {
                Err(WatchError::NoPartition { topic: name.to_owned(), partition, partitions: topic.partitions })
            }
            _ => Ok(topic),
        }
    }

    fn start_topic(&mut self, topic: Topic, name: Arc<str>) -> rusqlite::Result<()> {
        let at_ms = self.wish.start.at_ms(telemetry::now_ms());
        let wanted = self.wish.partition.map_or(0..topic.partitions, |one| one..one + 1);
        for partition in wanted {
            let next = match self.committed(topic, partition)? {
                Some(next) => next,
                None => self.start_offset(topic, partition, at_ms)?,
            };
            self.places.insert((topic.id, partition), Place::new(Arc::clone(&name), partition, next));
        }
        self.topics.insert(topic.id, name);
        Ok(())
    }

    fn committed(&self, topic: Topic, partition: i32) -> rusqlite::Result<Option<i64>> {
        let Some(group) = &self.wish.group else { return Ok(None) };
        self.log
            .sqlite
            .prepare_cached("SELECT next FROM positions WHERE consumer_group = ?1 AND topic = ?2 AND partition = ?3")?
            .query_row(params![group, topic.id, partition], |row| row.get(0))
            .optional()
    }

    fn start_offset(&self, topic: Topic, partition: i32, at_ms: Option<i64>) -> rusqlite::Result<i64> {
        let sqlite = &self.log.sqlite;
        let end = end_offset(sqlite, topic, partition)?;
        if let Some(at_ms) = at_ms {
            let mut first = sqlite.prepare_cached(
                "SELECT coalesce(min(offset), ?4) FROM records
                 WHERE topic = ?1 AND partition = ?2 AND timestamp_ms >= ?3",
            )?;
            return first.query_row(params![topic.id, partition, at_ms, end], |row| row.get(0));
        }
        // What somebody deleted by hand is passed over by the walk, so that only the last ones need to be counted.
        Ok(match self.wish.start {
            Start::Tail(count) if count > 0 => sqlite
                .prepare_cached(
                    "SELECT coalesce(min(offset), ?4) FROM (SELECT offset FROM records
                     WHERE topic = ?1 AND partition = ?2 ORDER BY offset DESC LIMIT ?3)",
                )?
                .query_row(params![topic.id, partition, count, end], |row| row.get(0))?,
            start => start.offset(0, end),
        })
    }

    /// The `seq` of the first record to hand out, or that of the next one to come.
    fn first_seq(&self, next_seq: i64) -> rusqlite::Result<i64> {
        let mut of_partition = self.log.sqlite.prepare(
            "SELECT seq FROM records WHERE topic = ?1 AND partition = ?2 AND offset >= ?3 ORDER BY offset LIMIT 1",
        )?;
        let mut first = next_seq;
        for (&(topic, partition), place) in &self.places {
            let seq = of_partition.query_row(params![topic, partition, place.next], |row| row.get(0)).optional()?;
            first = first.min(seq.unwrap_or(next_seq));
        }
        Ok(first)
    }

    /// One portion, as it is there now; whether the walk has moved on.
    fn read(&mut self, take: &mut Take<'_>) -> Result<(Portion, bool), WatchError> {
        let before = self.seq;
        let mut portion = Portion::default();
        let done = self.check_topics().and_then(|()| {
            let (sqlite, end) = (&self.log.sqlite, self.end_seq.unwrap_or(i64::MAX));
            let walk = Walk { topics: &self.topics, only: self.wish.partition };
            let done = walk.read(sqlite, end, (&mut self.seq, &mut self.places, &mut portion), take);
            done.map_err(Failure::Sqlite)
        });
        match done {
            Ok(()) => {
                self.note(None);
                Ok((portion, self.seq != before))
            }
            Err(Failure::Watch(error)) => Err(error),
            Err(Failure::Sqlite(error)) if embedded_log::may_pass(&error) => {
                self.note(Some(embedded_log::explain(&error)));
                std::thread::sleep(RETRY_AFTER);
                Ok((portion, false))
            }
            Err(Failure::Sqlite(error)) => Err(self.log.failed("read", &error).into()),
        }
    }

    /// Tells once that reading fails, and once that it goes on.
    fn note(&mut self, trouble: Option<String>) {
        match (std::mem::replace(&mut self.in_trouble, trouble.is_some()), trouble) {
            (false, Some(reason)) => tracing::warn!(%reason, "the embedded log cannot be read; waiting until it can"),
            (true, None) => tracing::info!("the embedded log can be read again"),
            _ => {}
        }
    }

    fn check_topics(&self) -> Result<(), Failure> {
        for (id, name) in &self.topics {
            match find_topic(&self.log.sqlite, name)? {
                Some(topic) if topic.id == *id && self.log.exists() => {}
                Some(_) if self.log.exists() => return Err(Failure::Watch(WatchError::Replaced(name.to_string()))),
                _ => return Err(Failure::Watch(WatchError::Deleted(name.to_string()))),
            }
        }
        Ok(())
    }
}

enum Failure {
    Sqlite(rusqlite::Error),
    Watch(WatchError),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// What is wanted along the way.
struct Walk<'w> {
    topics: &'w BTreeMap<i64, Arc<str>>,
    only: Option<i32>,
}

impl Walk<'_> {
    fn read(
        &self,
        sqlite: &rusqlite::Connection,
        end: i64,
        (seq, places, portion): (&mut i64, &mut BTreeMap<(i64, i32), Place>, &mut Portion),
        take: &mut Take<'_>,
    ) -> rusqlite::Result<()> {
        // Records of other topics are stepped over here and not in SQL, so that they are stepped over only once.
        let mut select = sqlite.prepare_cached(
            "SELECT seq, topic, partition, offset, timestamp_ms, key, payload FROM records
             WHERE seq >= ?1 AND seq < ?2 ORDER BY seq LIMIT ?3",
        )?;
        let mut rows = select.query(params![*seq, end, READ_RECORDS])?;
        while !portion.is_full()
            && let Some(row) = rows.next()?
        {
            let (topic, partition, offset): (i64, i32, i64) = (row.get(1)?, row.get(2)?, row.get(3)?);
            let at = row.get::<_, i64>(0)?;
            let Some(name) = self.topics.get(&topic).filter(|_| self.only.is_none_or(|only| only == partition)) else {
                *seq = at + 1;
                continue;
            };
            // A partition that the topic got meanwhile is read from its beginning.
            let new = || Place::new(Arc::clone(name), partition, 0);
            let place = places.entry((topic, partition)).or_insert_with(new);
            *seq = at + 1;
            if offset < place.next {
                continue;
            }
            let (key, payload) = (row.get_ref(5)?.as_blob_or_null()?, row.get_ref(6)?.as_blob()?);
            let timestamp_ms = Some(row.get(4)?);
            let record = Watched { topic: name, partition, offset, timestamp_ms, key, payload: Some(payload) };
            place.hand_out(offset);
            portion.add(&record);
            if take(&record).is_break() {
                break;
            }
        }
        Ok(())
    }
}

impl Watcher for EmbeddedWatcher {
    fn poll(&mut self, wait: Duration, take: &mut Take<'_>) -> Result<Polled, WatchError> {
        let deadline = Instant::now() + wait;
        loop {
            let (portion, moved) = self.read(take)?;
            if portion.records > 0 {
                return Ok(portion.polled());
            }
            // Records of other topics were passed: there may be ours behind them.
            if moved {
                continue;
            }
            if self.end_seq.is_some() && !self.in_trouble {
                return Ok(Polled::Ended);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Polled::Nothing);
            }
            std::thread::sleep(self.poll_interval.min(left));
        }
    }

    fn partitions(&self) -> usize {
        self.places.len()
    }

    fn commit(&mut self, _: bool) -> Result<(), WatchError> {
        let Some(group) = &self.wish.group else { return Ok(()) };
        let commit = |log: &mut LogFile| -> rusqlite::Result<()> {
            let transaction = log.sqlite.transaction()?;
            for ((topic, partition), place) in self.places.iter().filter(|(_, place)| place.moved) {
                let mut upsert =
                    transaction.prepare_cached("INSERT OR REPLACE INTO positions VALUES (?1, ?2, ?3, ?4)")?;
                upsert.execute(params![group, topic, partition, place.next])?;
            }
            transaction.commit()
        };
        commit(&mut self.log).map_err(|error| self.log.failed("commit offsets to", &error).into())
    }
}

#[cfg(test)]
mod tests;
