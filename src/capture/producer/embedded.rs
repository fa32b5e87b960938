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
use tokio::sync::{mpsc, oneshot};

use super::{Deliveries, Pending, Place, Producer, Receipt, Record, Tally, Undelivered};
use crate::capture::LogError;
use crate::capture::embedded_log::{self, LogFile, Topic, end_offset, explain, find_topic};
use crate::config::Config;
use crate::telemetry::Seldom;

/// Records that may wait for the writer.
const QUEUE: usize = 16_384;
/// Most records of one transaction.
const BATCH: usize = 8_192;

/// A record on its way, and who wants to know where it lands.
type Queued = (Record, Option<oneshot::Sender<Receipt>>);

/// Hands records to the writing thread.
pub(super) struct EmbeddedProducer {
    queue: mpsc::Sender<Queued>,
    queued: AtomicU64,
    tally: Arc<Tally>,
    path: PathBuf,
}

impl EmbeddedProducer {
    pub(super) async fn open(config: &Config) -> Result<Self, LogError> {
        let path = embedded_log::path(config);
        let (name, partitions) = (config.broker.topic.clone(), config.broker.partitions);
        let file = path.clone();
        let opened = tokio::task::spawn_blocking(move || -> Result<Writer, LogError> {
            let log = LogFile::open(&file)?;
            log.ensure_topic(&name, partitions)?;
            let tally = Arc::new(Tally::default());
            Ok(Writer { log, name, tally, round_robin: 0, told: Seldom::new() })
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

    async fn queue(&self, queued: Queued) -> Result<(), LogError> {
        self.queue.send(queued).await.map_err(|_| self.ended())?;
        self.queued.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn ended(&self) -> LogError {
        stopped(&self.path, "its writing thread has ended; restart".to_owned())
    }
}

fn stopped(path: &std::path::Path, reason: String) -> LogError {
    LogError::Embedded { action: "write to", path: path.display().to_string(), reason }
}

#[async_trait]
impl Producer for EmbeddedProducer {
    async fn send(&self, record: Record) -> Result<(), LogError> {
        self.queue((record, None)).await
    }

    async fn post(&self, record: Record) -> Result<Pending, LogError> {
        let (receipt, pending) = Pending::new();
        self.queue((record, Some(receipt))).await?;
        Ok(pending)
    }

    async fn flush(&self) -> Result<Deliveries, LogError> {
        tokio::select! {
            counts = self.tally.settled(self.queued.load(Ordering::Relaxed)) => Ok(counts),
            () = self.queue.closed() => Err(self.ended()),
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
    told: Seldom,
}

impl Writer {
    fn run(mut self, mut records: mpsc::Receiver<Queued>) {
        let (mut batch, mut places) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
        while records.blocking_recv_many(&mut batch, BATCH) > 0 {
            let count = batch.len() as u64;
            places.clear();
            match self.write(&batch, &mut places) {
                Ok(()) => {
                    let receipts = batch.drain(..).map(|(_, receipt)| receipt).zip(&places);
                    receipts.for_each(|(receipt, place)| tell(receipt, || Ok(*place)));
                    // Last: when a flush returns, all receipts are there.
                    self.tally.delivered(count);
                }
                Err(reason) => {
                    if let Some(more) = self.told.pass() {
                        tracing::error!(records = count, more, %reason, "the embedded log refused records");
                    }
                    let undelivered = || Err(Undelivered { reason: reason.clone(), unreachable: false });
                    batch.drain(..).for_each(|(_, receipt)| tell(receipt, undelivered));
                    self.tally.failed(count, || reason);
                }
            }
        }
    }

    /// All of the batch, or nothing. The place of each record is added to `places`.
    fn write(&mut self, batch: &[Queued], places: &mut Vec<Place>) -> Result<(), String> {
        let failed = |error: rusqlite::Error| explain(&error);
        let transaction = self.log.sqlite.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        let topic = find_topic(&transaction, &self.name).map_err(failed)?;
        let topic = topic.ok_or_else(|| format!("topic {:?} was deleted; restart to create it", self.name))?;
        insert(&transaction, topic, batch, (&mut self.round_robin, places)).map_err(failed)?;
        transaction.commit().map_err(failed)
    }
}

fn tell(receipt: Option<oneshot::Sender<Receipt>>, what: impl FnOnce() -> Receipt) {
    if let Some(receipt) = receipt {
        // Nobody may wait for it any more.
        let _ = receipt.send(what());
    }
}

fn insert(
    sqlite: &rusqlite::Connection,
    topic: Topic,
    batch: &[Queued],
    (round_robin, places): (&mut u32, &mut Vec<Place>),
) -> rusqlite::Result<()> {
    let mut statement = sqlite.prepare_cached(
        "INSERT INTO records (topic, partition, offset, timestamp_ms, key, payload) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let mut ends = BTreeMap::new();
    for (record, _) in batch {
        let partition = partition_of(&record.key, topic.partitions, round_robin);
        let offset = match ends.get(&partition) {
            Some(&end) => end,
            None => end_offset(sqlite, topic, partition)?,
        };
        let key = Some(&record.key).filter(|key| !key.is_empty());
        let timestamp_ms = record.timestamp_ms.unwrap_or(now_ms);
        statement.execute(params![topic.id, partition, offset, timestamp_ms, key, record.payload])?;
        ends.insert(partition, offset + 1);
        places.push(Place { partition, offset });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::producer::testing::{config, record};

    #[tokio::test(flavor = "multi_thread")]
    async fn two_producers_at_once_lose_and_double_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        config.broker.partitions = 3;
        let produce = |who: u32| {
            let config = config.clone();
            async move {
                let producer = EmbeddedProducer::open(&config).await.unwrap();
                for number in 0..20_000 {
                    producer.send(record(&format!("{}", number % 97), &format!("{who}:{number}"))).await.unwrap();
                }
                producer.flush().await.unwrap()
            }
        };
        let (one, two) = tokio::join!(tokio::spawn(produce(1)), tokio::spawn(produce(2)));
        for counts in [one.unwrap(), two.unwrap()] {
            assert_eq!(counts, Deliveries { delivered: 20_000, failed: 0, first_error: None });
        }
        let log = LogFile::open(&embedded_log::path(&config)).unwrap();
        let count = |sql| log.sqlite.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(count("SELECT count(DISTINCT payload) FROM records"), 40_000);
        assert_eq!(count("SELECT count(*) FROM records"), 40_000);
        assert_eq!(count("SELECT count(DISTINCT partition) FROM records"), 3);
        let dense = "SELECT count(*) FROM (SELECT max(offset) + 1 - count(*) AS gaps FROM records GROUP BY partition)
                     WHERE gaps <> 0";
        assert_eq!(count(dense), 0);
        // One key's records keep their order, and its partition.
        assert_eq!(count("SELECT max(n) FROM (SELECT count(DISTINCT partition) AS n FROM records GROUP BY key)"), 1);
        let swapped = "SELECT count(*) FROM records a JOIN records b ON b.seq > a.seq AND b.key = a.key
                       AND b.payload < a.payload AND length(b.payload) <= length(a.payload)
                       AND substr(a.payload, 1, 2) = substr(b.payload, 1, 2) WHERE a.key = CAST('5' AS BLOB)";
        assert_eq!(count(swapped), 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn refused_records_are_counted_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let producer = EmbeddedProducer::open(&config).await.unwrap();
        let log = LogFile::open(&embedded_log::path(&config)).unwrap();
        log.sqlite.execute("DELETE FROM topics", []).unwrap();
        producer.send(record("1", "x")).await.unwrap();
        let counts = producer.flush().await.unwrap();
        assert_eq!((counts.delivered, counts.failed), (0, 1));
        assert!(counts.first_error.unwrap().contains("was deleted"));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_receipt_says_where_each_record_is_or_why_none_is() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        config.broker.partitions = 3;
        let producer = EmbeddedProducer::open(&config).await.unwrap();
        producer.send(record("a", "0")).await.unwrap();
        let keys = ["a", "b", "a", "c"];
        let records = keys.iter().zip(1..).map(|(key, number)| record(key, &number.to_string())).collect();
        let places: Vec<_> = producer.append(records).await.unwrap().into_iter().map(Result::unwrap).collect();
        let log = LogFile::open(&embedded_log::path(&config)).unwrap();
        for (place, number) in places.iter().zip(1..) {
            let sql = "SELECT payload FROM records WHERE partition = ?1 AND offset = ?2";
            let found = log.sqlite.query_row(sql, [i64::from(place.partition), place.offset], |row| row.get(0));
            assert_eq!(found, Ok(number.to_string().into_bytes()), "{place:?}");
        }
        assert_eq!(producer.flush().await.unwrap().delivered, 5);
        log.sqlite.execute("DELETE FROM topics", []).unwrap();
        let refused = producer.append(vec![record("a", "5")]).await.unwrap();
        assert!(refused[0].as_ref().unwrap_err().reason.contains("was deleted"), "{refused:?}");
    }

    #[test]
    fn keys_have_librdkafka_s_partitions_and_no_key_takes_turns() {
        let mut turn = 0;
        assert_eq!(partition_of(b"196", 7, &mut turn), (crc32fast::hash(b"196") % 7) as i32);
        let turns: Vec<_> = (0..4).map(|_| partition_of(b"", 3, &mut turn)).collect();
        assert_eq!(turns, [1, 2, 0, 1]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn writes_far_more_than_a_hundred_thousand_a_second() {
        let dir = tempfile::tempdir().unwrap();
        let producer = EmbeddedProducer::open(&config(dir.path())).await.unwrap();
        let start = std::time::Instant::now();
        for number in 0..200_000 {
            let payload = format!(r#"{{"v":1,"user":"{}","item":"{number}","rating":3.0}}"#, number % 943);
            producer.send(record(&(number % 943).to_string(), &payload)).await.unwrap();
        }
        producer.flush().await.unwrap();
        let rate = 200_000.0 / start.elapsed().as_secs_f64();
        println!("{rate:.0} records/s");
        // Far under what it reaches, so that a busy machine does not fail it.
        assert!(rate > 20_000.0, "{rate:.0} records/s");
    }
}
