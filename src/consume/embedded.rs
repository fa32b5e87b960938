//! Reads records from the embedded log.
//!
//! One thread owns the reading connection and stays a few batches ahead, so that neither the disk nor the wait for new
//! records ever blocks the runtime, and dropping a poll loses nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use rusqlite::{Connection, params};
use tokio::sync::mpsc;

use super::{Consumer, Offsets, PartitionLag, Polled, Position, RawEvent};
use crate::capture::LogError;
use crate::capture::embedded_log::{self, LogFile, Topic, end_offset, find_topic};
use crate::config::Config;

/// Records, and bytes, at which a read ends.
const READ_RECORDS: usize = 4_096;
const READ_BYTES: usize = 4 << 20;
/// Reads that may wait to be polled.
const QUEUE: usize = 2;

/// Pause before a read that failed is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(500);

type Read = Result<Vec<RawEvent>, LogError>;

/// Reads every partition of one topic, in the order of the log.
pub(super) struct EmbeddedConsumer {
    reads: mpsc::Receiver<Read>,
    ready: VecDeque<RawEvent>,
    /// What ended the reading; told once everything read before it is handed out.
    failed: Option<LogError>,
    /// Next offset to be handed out, for every partition.
    next: Offsets,
    /// For what is not reading: commits and lag.
    log: Arc<Mutex<LogFile>>,
    topic: Topic,
    name: Arc<str>,
    group: String,
    reader: JoinHandle<()>,
    paused: bool,
    trouble: Arc<Mutex<Option<String>>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl EmbeddedConsumer {
    pub(super) async fn open(config: &Config, start: Offsets) -> Result<Self, LogError> {
        let (path, broker) = (embedded_log::path(config), config.broker.clone());
        let opening = tokio::task::spawn_blocking(move || -> Result<Self, LogError> {
            let name: Arc<str> = Arc::from(broker.topic);
            let log = LogFile::open(&path)?;
            let topic = log.ensure_topic(&name, broker.partitions)?;
            let reader = Reader::open(LogFile::open(&path)?, topic, Arc::clone(&name), &start)?;
            let next = reader.next.iter().fold(Offsets::default(), |mut next, (&partition, &offset)| {
                next.set(Arc::clone(&name), partition, offset);
                next
            });
            let (sender, reads) = mpsc::channel(QUEUE);
            let trouble = Arc::clone(&reader.trouble);
            let reader = std::thread::Builder::new()
                .name("log reader".to_owned())
                .spawn(move || reader.run(&sender, broker.poll_interval))
                .map_err(|error| log.error("read", error.to_string()))?;
            let log = Arc::new(Mutex::new(log));
            Ok(Self {
                reads,
                ready: VecDeque::new(),
                failed: None,
                next,
                log,
                topic,
                name,
                group: broker.group,
                reader,
                paused: false,
                trouble,
            })
        });
        opening.await.expect("opening does not panic")
    }
}

/// Runs `work` on a connection, off the runtime.
async fn with_log<T: Send + 'static>(
    log: Arc<Mutex<LogFile>>,
    action: &'static str,
    work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
) -> Result<T, LogError> {
    let working = tokio::task::spawn_blocking(move || {
        let mut log = locked(&log);
        work(&mut log.sqlite).map_err(|error| log.failed(action, &error))
    });
    working.await.expect("the work does not panic")
}

#[async_trait]
impl Consumer for EmbeddedConsumer {
    async fn poll(&mut self, max: usize) -> Result<Polled, LogError> {
        if self.paused {
            std::future::pending::<()>().await;
        }
        if self.ready.is_empty() {
            if let Some(error) = self.failed.take() {
                return Err(error);
            }
            let read = self.reads.recv().await;
            let ended = || locked(&self.log).error("read", "its reading thread has ended; restart".to_owned());
            self.ready = read.ok_or_else(ended)??.into();
        }
        while self.ready.len() < max {
            match self.reads.try_recv() {
                Ok(Ok(read)) => self.ready.extend(read),
                Ok(Err(error)) => {
                    self.failed = Some(error);
                    break;
                }
                Err(_) => break,
            }
        }
        let events: Vec<_> = self.ready.drain(..max.min(self.ready.len())).collect();
        for event in &events {
            self.next.set(Arc::clone(&self.name), event.position.partition, event.position.offset + 1);
        }
        Ok(Polled::Records(events))
    }

    fn pause(&mut self, paused: bool) -> Result<(), LogError> {
        self.paused = paused;
        Ok(())
    }

    /// There is no other member to give them to.
    async fn give_back(&mut self, durable: &Offsets) -> Result<(), LogError> {
        self.commit(durable).await
    }

    fn trouble(&self) -> Option<String> {
        locked(&self.trouble).clone()
    }

    async fn commit(&mut self, offsets: &Offsets) -> Result<(), LogError> {
        let (topic, group) = (self.topic, self.group.clone());
        let ours: Vec<_> = offsets
            .iter()
            .filter(|(name, ..)| **name == self.name)
            .map(|(_, partition, next)| (partition, next))
            .collect();
        with_log(Arc::clone(&self.log), "commit offsets to", move |sqlite| {
            let transaction = sqlite.transaction()?;
            for (partition, next) in ours {
                let mut upsert =
                    transaction.prepare_cached("INSERT OR REPLACE INTO positions VALUES (?1, ?2, ?3, ?4)")?;
                upsert.execute(params![group, topic.id, partition, next])?;
            }
            transaction.commit()
        })
        .await
    }

    fn lag(&self) -> BoxFuture<'static, Result<Vec<PartitionLag>, LogError>> {
        let (topic, name, next) = (self.topic, Arc::clone(&self.name), self.next.clone());
        let asking = with_log(Arc::clone(&self.log), "ask for the end of", move |sqlite| {
            let lag = |partition| -> rusqlite::Result<PartitionLag> {
                let end = end_offset(sqlite, topic, partition)?;
                let position = next.get(&name, partition).unwrap_or(0);
                Ok(PartitionLag { topic: Arc::clone(&name), partition, position, end })
            };
            (0..topic.partitions).map(lag).collect()
        });
        Box::pin(asking)
    }

    async fn close(self: Box<Self>) {
        let Self { reads, reader, .. } = *self;
        drop(reads);
        reader.thread().unpark();
        // Joined so that the file is free when this returns; the thread only ends, so there is no result to look at.
        let _ = tokio::task::spawn_blocking(move || reader.join()).await;
    }
}

/// The reading thread's own.
struct Reader {
    log: LogFile,
    topic: Topic,
    name: Arc<str>,
    /// Next offset to be read of every partition.
    next: BTreeMap<i32, i64>,
    /// Place in the append order before which everything has been read.
    seq: i64,
    /// Why reading fails now, while that is waited out.
    trouble: Arc<Mutex<Option<String>>>,
}

/// Why a read brought nothing.
enum ReadError {
    /// It may succeed when it is tried again.
    Passing(String),
    Final(LogError),
}

impl Reader {
    fn open(log: LogFile, topic: Topic, name: Arc<str>, start: &Offsets) -> Result<Self, LogError> {
        let lost = start.iter().find(|(of, partition, _)| ***of == *name && *partition >= topic.partitions);
        if let Some((_, gone, next)) = lost {
            return Err(log.error("read", super::too_few_partitions(&name, topic.partitions, gone, next)));
        }
        let mut reader = Self { log, topic, name, next: BTreeMap::new(), seq: i64::MAX, trouble: Arc::default() };
        for partition in 0..topic.partitions {
            let next = start.get(&reader.name, partition).unwrap_or(0);
            reader.check_within(partition, next)?;
            reader.next.insert(partition, next);
        }
        reader.seq = reader.first_seq().map_err(|error| reader.log.failed("read", &error))?;
        Ok(reader)
    }

    fn check_within(&self, partition: i32, next: i64) -> Result<(), LogError> {
        let end = end_offset(&self.log.sqlite, self.topic, partition);
        let end = end.map_err(|error| self.log.failed("read", &error))?;
        if next <= end {
            return Ok(());
        }
        let reason = format!(
            "{} [{partition}] ends at offset {end}, but the store has learned up to {next}: the log is not the one that \
             the store was filled from (deleted, or restored from a backup); put that log back, or set another \
             broker.topic and store",
            self.name
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
        for (&partition, &next) in &self.next {
            let seq = of_partition.query_row(params![self.topic.id, partition, next, i64::MAX], |row| row.get(0))?;
            first = std::cmp::min(first, seq);
        }
        Ok(first)
    }

    fn run(mut self, reads: &mpsc::Sender<Read>, poll_interval: Duration) {
        while !reads.is_closed() {
            let before = self.seq;
            let read = self.read();
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
        let before = std::mem::replace(&mut *locked(&self.trouble), trouble.clone());
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
        let found = find_topic(&self.log.sqlite, &self.name).map_err(failed)?;
        if found != Some(self.topic) || !self.log.exists() {
            return Err(fatal(format!("topic {:?} was deleted while it was being read; restart", self.name)));
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
            if row.get::<_, i64>(6).map_err(failed)? == self.topic.id {
                let event = event_of(row, &self.name).map_err(failed)?;
                let next = self.next.entry(event.position.partition).or_default();
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
    Ok(RawEvent { position, timestamp_ms: row.get(3)?, key: row.get(4)?, payload: row.get(5)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::producer;
    use crate::capture::producer::testing::config;
    use crate::consume::testing::{after, numbers, produce, records};

    async fn read(consumer: &mut dyn Consumer, count: usize, max: usize) -> Vec<RawEvent> {
        let mut events = Vec::new();
        while events.len() < count {
            let polled = records(consumer.poll(max).await.unwrap());
            assert!((1..=max).contains(&polled.len()));
            events.extend(polled);
        }
        events
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn reads_in_the_order_of_the_log_and_resumes_where_it_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        config.broker.partitions = 4;
        let producer = producer::open(&config).await.unwrap();
        produce(&*producer, 0..10_000).await;

        let mut consumer = EmbeddedConsumer::open(&config, Offsets::default()).await.unwrap();
        let events = read(&mut consumer, 10_000, 777).await;
        assert_eq!(numbers(&events), (0..10_000).collect::<Vec<_>>());
        let lag = consumer.lag().await.unwrap();
        assert!(lag.len() == 4 && lag.iter().all(|one| one.position == one.end && one.end > 0), "{lag:?}");
        consumer.commit(&after(&events)).await.unwrap();
        Box::new(consumer).close().await;

        // From what it is told, not from what the group has committed; another topic's records are stepped over.
        let mut other = config.clone();
        other.broker.topic = "clicks".to_owned();
        produce(&*producer::open(&other).await.unwrap(), 0..5_000).await;
        let mut consumer = EmbeddedConsumer::open(&config, after(&events[..2_500])).await.unwrap();
        produce(&*producer, 10_000..10_100).await;
        assert_eq!(numbers(&read(&mut consumer, 7_600, 5_000).await), (2_500..10_100).collect::<Vec<_>>());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn dropped_polls_lose_nothing_while_another_process_writes() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let mut consumer = EmbeddedConsumer::open(&config, Offsets::default()).await.unwrap();
        let producer = producer::open(&config).await.unwrap();
        let writing = tokio::spawn(async move {
            for number in 0..50 {
                produce(&*producer, number * 20..(number + 1) * 20).await;
            }
        });
        let mut events = Vec::new();
        while events.len() < 1_000 {
            if let Ok(polled) = tokio::time::timeout(Duration::from_micros(300), consumer.poll(7)).await {
                events.extend(records(polled.unwrap()));
            }
        }
        writing.await.unwrap();
        assert_eq!(numbers(&events), (0..1_000).collect::<Vec<_>>());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn another_log_than_the_store_s_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        produce(&*producer::open(&config).await.unwrap(), 0..10).await;
        let mut start = Offsets::default();
        start.set(Arc::from("ratings"), 0, 11);
        let error = EmbeddedConsumer::open(&config, start.clone()).await.err().unwrap().to_string();
        assert!(error.contains("ratings [0] ends at offset 10, but the store has learned up to 11"), "{error}");

        start.set(Arc::from("ratings"), 0, 10);
        start.set(Arc::from("ratings"), 1, 4);
        let error = EmbeddedConsumer::open(&config, start).await.err().unwrap().to_string();
        assert!(error.contains("ratings has 1 partitions") && error.contains("offset 4 of partition 1"), "{error}");

        let mut consumer = EmbeddedConsumer::open(&config, Offsets::default()).await.unwrap();
        assert_eq!(read(&mut consumer, 10, 100).await.len(), 10);
        LogFile::open(&embedded_log::path(&config)).unwrap().sqlite.execute("DELETE FROM topics", []).unwrap();
        let error = consumer.poll(1).await.unwrap_err().to_string();
        assert!(error.contains("was deleted while it was being read"), "{error}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn missing_records_are_told_after_those_before_them() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        produce(&*producer::open(&config).await.unwrap(), 0..10).await;
        let log = LogFile::open(&embedded_log::path(&config)).unwrap();
        log.sqlite.execute("DELETE FROM records WHERE offset IN (4, 5)", []).unwrap();
        let mut consumer = EmbeddedConsumer::open(&config, Offsets::default()).await.unwrap();
        let error = loop {
            if let Err(error) = consumer.poll(3).await {
                break error.to_string();
            }
        };
        assert!(error.contains("offsets 4..6 of ratings [0] are missing"), "{error}");
    }
}
