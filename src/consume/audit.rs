//! Which offsets the log holds, for whoever checks that nothing of it was lost.
//!
//! Apart from the consumers, because it takes part in nothing: it joins no group, commits nothing, creates nothing, and
//! keeps offsets instead of records, so that it can run beside an engine.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::Offset;
use roaring::RoaringTreemap;
use rusqlite::params;

use super::{Offsets, kafka};
use crate::capture::LogError;
use crate::capture::embedded_log::{self, LogFile, find_topic};
use crate::capture::kafka_link::{self, Context, Link};
use crate::config::{BrokerConfig, BrokerKind, Config};

/// Longest that one call to Kafka waits for the next record.
const POLL: Duration = Duration::from_millis(500);
/// Records between two reports of progress.
const REPORT_EVERY: u64 = 4096;

/// What the log holds of one partition.
#[derive(Clone, Debug, PartialEq)]
pub struct OnLog {
    /// Topic name.
    pub topic: Arc<str>,
    /// Partition number.
    pub partition: i32,
    /// Lowest offset that has not expired.
    pub low: i64,
    /// Offsets of the records from there up to the one asked for.
    pub offsets: RoaringTreemap,
}

/// Reads every partition of `upto` from its lowest offset up to the one named, which is not included. `read` is told of
/// records as they are read.
///
/// # Errors
/// If the log, a topic or a partition is not there or cannot be read.
pub async fn offsets_on_log(
    config: &Config,
    upto: &Offsets,
    read: impl Fn(u64) + Send + 'static,
) -> Result<Vec<OnLog>, LogError> {
    let (config, upto) = (config.clone(), upto.clone());
    let reading = tokio::task::spawn_blocking(move || match config.broker.kind {
        BrokerKind::Embedded => of_embedded(&embedded_log::path(&config), &upto, &read),
        BrokerKind::Kafka => of_kafka(&config.broker, &upto, &read),
    });
    reading.await.expect("reading does not panic")
}

fn of_embedded(path: &Path, upto: &Offsets, read: &dyn Fn(u64)) -> Result<Vec<OnLog>, LogError> {
    let log = LogFile::open_to_read(path)?;
    let failed = |error: rusqlite::Error| log.failed("read", &error);
    let mut found = Vec::new();
    for (topic, partition, next) in upto.iter() {
        let id = find_topic(&log.sqlite, topic).map_err(failed)?;
        let id = id.ok_or_else(|| log.error("read", format!("it has no topic {topic:?}")))?.id;
        let offsets = offsets_below(&log, id, partition, next, read).map_err(failed)?;
        // It expires nothing by itself: what is gone from the beginning was deleted by hand, as Kafka can be told to.
        let low = offsets.min().map_or(0, |low| low as i64);
        found.push(OnLog { topic: Arc::clone(topic), partition, low, offsets });
    }
    Ok(found)
}

fn offsets_below(
    log: &LogFile,
    topic: i64,
    partition: i32,
    next: i64,
    read: &dyn Fn(u64),
) -> rusqlite::Result<RoaringTreemap> {
    let mut statement = log.sqlite.prepare_cached(
        "SELECT offset FROM records WHERE topic = ?1 AND partition = ?2 AND offset < ?3 ORDER BY offset",
    )?;
    let mut rows = statement.query(params![topic, partition, next])?;
    let mut offsets = RoaringTreemap::new();
    let mut count = Counted { read, unreported: 0 };
    while let Some(row) = rows.next()? {
        offsets.insert(row.get::<_, i64>(0)? as u64);
        count.one();
    }
    Ok(offsets)
}

/// Reports records in portions.
struct Counted<'r> {
    read: &'r dyn Fn(u64),
    unreported: u64,
}

impl Counted<'_> {
    fn one(&mut self) {
        self.unreported += 1;
        if self.unreported == REPORT_EVERY {
            (self.read)(std::mem::take(&mut self.unreported));
        }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        (self.read)(self.unreported);
    }
}

type Client = BaseConsumer<Context<()>>;

fn of_kafka(broker: &BrokerConfig, upto: &Offsets, read: &dyn Fn(u64)) -> Result<Vec<OnLog>, LogError> {
    let mut config = kafka_link::client_config(broker, &kafka::PROPERTIES);
    // A name is asked for; without a subscription nothing is joined under it.
    if config.get("group.id").is_none() {
        config.set("group.id", &broker.group);
    }
    config.set("enable.partition.eof", "true");
    let context = Context { link: Arc::new(Link::new(broker)), role: () };
    let client: Client =
        config.create_with_context(context).map_err(|error| kafka_link::failed(broker, "read", &error))?;
    let mut found: Vec<OnLog> = Vec::new();
    for (topic, partition, next) in upto.iter() {
        let ends = client.fetch_watermarks(topic, partition, broker.connect_timeout);
        let (low, high) =
            ends.map_err(|error| kafka_link::failed(broker, "ask for the ends of a partition of", &error))?;
        if high < next {
            let reason = format!(
                "{topic} [{partition}] ends at offset {high}, but the store has learned up to {next}: the topic is not \
                 the one that the store was filled from"
            );
            return Err(kafka_link::refused(broker, "read", reason));
        }
        let mut on_log = OnLog { topic: Arc::clone(topic), partition, low, offsets: RoaringTreemap::new() };
        if low < next {
            read_partition(broker, &client, &mut on_log, next, read)?;
        }
        found.push(on_log);
    }
    Ok(found)
}

/// One partition at a time: librdkafka names only the partition at its end, not the topic.
fn read_partition(
    broker: &BrokerConfig,
    client: &Client,
    on_log: &mut OnLog,
    next: i64,
    read: &dyn Fn(u64),
) -> Result<(), LogError> {
    let failed = |error: KafkaError| kafka_link::failed(broker, "read", &error);
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(&on_log.topic, on_log.partition, Offset::Offset(on_log.low)).map_err(failed)?;
    client.assign(&from).map_err(failed)?;
    let mut count = Counted { read, unreported: 0 };
    let mut last = Instant::now();
    loop {
        match client.poll(POLL) {
            // Of the partition before.
            Some(Ok(message)) if message.partition() != on_log.partition || message.topic() != &*on_log.topic => {}
            Some(Ok(message)) if message.offset() < next => {
                on_log.offsets.insert(message.offset() as u64);
                count.one();
                last = Instant::now();
            }
            Some(Ok(_)) => break,
            Some(Err(KafkaError::PartitionEOF(partition))) if partition == on_log.partition => break,
            // It may be back; the time without a record decides.
            Some(Err(error)) => tracing::debug!(%error, "reading the log"),
            None => {}
        }
        if on_log.offsets.max() == Some(next as u64 - 1) {
            break;
        }
        if last.elapsed() > broker.connect_timeout {
            let at = on_log.offsets.max().map_or(on_log.low, |last| last as i64 + 1);
            let reason = format!("no record of {} [{}] comes from offset {at} on", on_log.topic, on_log.partition);
            return Err(kafka_link::refused(broker, "read", reason));
        }
    }
    client.unassign().map_err(failed)
}

#[cfg(test)]
mod tests {
    use rdkafka::mocking::MockCluster;

    use super::*;
    use crate::capture::producer;
    use crate::capture::producer::testing::config;
    use crate::consume::testing::produce;

    #[tokio::test(flavor = "multi_thread")]
    async fn kafka_tells_the_offsets_of_each_partition_up_to_the_one_named() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("ratings", 3, 1).unwrap();
        let mut config = config(Path::new("unused"));
        config.broker.kind = BrokerKind::Kafka;
        config.broker.servers = cluster.bootstrap_servers();
        produce(&*producer::open(&config).await.unwrap(), 0..1_000).await;
        let read = |partition: i32, next: i64| {
            let upto = Offsets::from_iter([("ratings".into(), partition, next)]);
            let config = config.clone();
            async move { offsets_on_log(&config, &upto, |_| ()).await }
        };
        let upto = Offsets::from_iter([("ratings".into(), 0, 40), ("ratings".into(), 1, 0), ("ratings".into(), 2, 70)]);
        let found = offsets_on_log(&config, &upto, |_| ()).await.unwrap();
        let lengths: Vec<_> = found.iter().map(|one| (one.partition, one.low, one.offsets.len())).collect();
        assert_eq!(lengths, [(0, 0, 40), (1, 0, 0), (2, 0, 70)]);
        assert_eq!(read(2, 70).await.unwrap()[0].offsets, (0..70).collect::<RoaringTreemap>());
        let error = read(0, 100_000).await.unwrap_err().to_string();
        assert!(error.contains("has learned up to 100000"), "{error}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_embedded_log_tells_its_offsets_up_to_the_one_named() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let mut upto = Offsets::default();
        upto.set("ratings".into(), 0, 90);
        let error = offsets_on_log(&config, &upto, |_| ()).await.unwrap_err().to_string();
        assert!(error.contains("log.db") && !dir.path().join("log.db").exists(), "{error}");
        produce(&*producer::open(&config).await.unwrap(), 0..100).await;
        let log = LogFile::open(&embedded_log::path(&config)).unwrap();
        log.sqlite.execute("DELETE FROM records WHERE offset < 5 OR offset = 7", []).unwrap();
        let seen = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let counted = Arc::clone(&seen);
        let read = move |records| {
            counted.fetch_add(records, std::sync::atomic::Ordering::Relaxed);
        };
        let found = offsets_on_log(&config, &upto, read).await.unwrap();
        let offsets: RoaringTreemap = (5..90).filter(|&offset| offset != 7).collect();
        assert_eq!(found, [OnLog { topic: "ratings".into(), partition: 0, low: 5, offsets }]);
        assert_eq!(seen.load(std::sync::atomic::Ordering::Relaxed), 84);
    }
}
