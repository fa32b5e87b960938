//! Writes records to the embedded log.
//!
//! One thread owns the connection: it commits whatever has queued up in one transaction, so that one sync of the disk
//! makes thousands of records durable under load, and a lone record does not wait for company.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use rusqlite::{TransactionBehavior, params};
use tokio::sync::mpsc;

use super::{Deliveries, ProduceError, Producer, Record, Tally};
use crate::capture::embedded_log::{self, LogFile, LogFileError, Topic, end_offset, explain, find_topic};
use crate::config::Config;

/// Records that may wait for the writer.
const QUEUE: usize = 16_384;
/// Most records of one transaction.
const BATCH: usize = 8_192;

/// Hands records to the writing thread.
pub(super) struct EmbeddedProducer {
    queue: mpsc::Sender<Record>,
    queued: AtomicU64,
    tally: Arc<Tally>,
    path: PathBuf,
}

impl EmbeddedProducer {
    pub(super) async fn open(config: &Config) -> Result<Self, ProduceError> {
        let path = embedded_log::path(config);
        let (name, partitions) = (config.broker.topic.clone(), config.broker.partitions);
        let file = path.clone();
        let opened = tokio::task::spawn_blocking(move || -> Result<Writer, LogFileError> {
            let log = LogFile::open(&file)?;
            log.ensure_topic(&name, partitions)?;
            Ok(Writer { log, name, tally: Arc::new(Tally::new()), round_robin: 0 })
        });
        let writer = opened.await.expect("opening does not panic")?;
        let tally = Arc::clone(&writer.tally);
        let (queue, records) = mpsc::channel(QUEUE);
        std::thread::Builder::new()
            .name("log writer".to_owned())
            .spawn(move || writer.run(records))
            .map_err(|error| stopped(&path, error.to_string()))?;
        Ok(Self { queue, queued: AtomicU64::new(0), tally, path })
    }
}

fn stopped(path: &std::path::Path, reason: String) -> ProduceError {
    ProduceError::Embedded { action: "write", path: path.display().to_string(), reason }
}

#[async_trait]
impl Producer for EmbeddedProducer {
    async fn send(&self, record: Record) -> Result<(), ProduceError> {
        let sent = self.queue.send(record).await;
        sent.map_err(|_| stopped(&self.path, "its writing thread has ended; restart".to_owned()))?;
        self.queued.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn flush(&self) -> Result<Deliveries, ProduceError> {
        tokio::select! {
            counts = self.tally.settled(self.queued.load(Ordering::Relaxed)) => Ok(counts),
            () = self.queue.closed() => Err(stopped(&self.path, "its writing thread has ended; restart".to_owned())),
        }
    }

    fn deliveries(&self) -> Deliveries {
        self.tally.counts()
    }
}

/// The writing thread's own.
struct Writer {
    log: LogFile,
    name: String,
    tally: Arc<Tally>,
    /// Partition that the next record without a key goes to.
    round_robin: u32,
}

impl Writer {
    fn run(mut self, mut records: mpsc::Receiver<Record>) {
        let mut batch = Vec::with_capacity(BATCH);
        while records.blocking_recv_many(&mut batch, BATCH) > 0 {
            let count = batch.len() as u64;
            match self.write(&batch) {
                Ok(()) => self.tally.delivered(count),
                Err(reason) => {
                    tracing::error!(records = count, %reason, "the embedded log refused records");
                    self.tally.failed(count, || reason);
                }
            }
            batch.clear();
        }
    }

    /// All of the batch, or nothing.
    fn write(&mut self, batch: &[Record]) -> Result<(), String> {
        let failed = |error: rusqlite::Error| explain(&error);
        let transaction =
            self.log.sqlite.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        let topic = find_topic(&transaction, &self.name).map_err(failed)?;
        let topic = topic.ok_or_else(|| format!("topic {:?} was deleted; restart to create it", self.name))?;
        insert(&transaction, topic, batch, &mut self.round_robin).map_err(failed)?;
        transaction.commit().map_err(failed)
    }
}

fn insert(
    sqlite: &rusqlite::Connection,
    topic: Topic,
    batch: &[Record],
    round_robin: &mut u32,
) -> rusqlite::Result<()> {
    let mut statement = sqlite.prepare_cached(
        "INSERT INTO records (topic, partition, offset, timestamp_ms, key, payload) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let mut ends = BTreeMap::new();
    for record in batch {
        let partition = partition_of(&record.key, topic.partitions, round_robin);
        let offset = match ends.get(&partition) {
            Some(&end) => end,
            None => end_offset(sqlite, topic, partition)?,
        };
        let key = Some(&record.key).filter(|key| !key.is_empty());
        let timestamp_ms = record.timestamp_ms.unwrap_or(now_ms);
        statement.execute(params![topic.id, partition, offset, timestamp_ms, key, record.payload])?;
        ends.insert(partition, offset + 1);
    }
    Ok(())
}

/// CRC32 of the key, as librdkafka's `consistent_random`, so that a key has the same partition on either log.
fn partition_of(key: &[u8], partitions: i32, round_robin: &mut u32) -> i32 {
    let number = if key.is_empty() {
        *round_robin = round_robin.wrapping_add(1);
        *round_robin
    } else {
        crc32fast::hash(key)
    };
    (number % partitions.unsigned_abs().max(1)) as i32
}
