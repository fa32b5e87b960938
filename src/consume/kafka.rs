//! Reads records from Kafka as a member of a consumer group.
//!
//! The group only shares the partitions out. Where reading starts is decided here, from the store's offsets: those that
//! are committed to Kafka serve its lag tools and are never read back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::{FutureExt, StreamExt};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, RebalanceProtocol, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionListElem};
use rdkafka::types::RDKafkaRespErr;

use super::{Consumer, Offsets, PartitionLag, Position, RawEvent};
use crate::capture::LogError;
use crate::capture::kafka_link::{self, Context, Link};
use crate::config::BrokerConfig;

/// Of whoever reads for the engine, or reads what the engine reads.
pub(super) const PROPERTIES: [(&str, &str); 11] = [
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "earliest"),
    ("isolation.level", "read_committed"),
    // The partitions of an engine that was killed pass to its successor after this long; the brokers' own minimum.
    ("session.timeout.ms", "6000"),
    ("heartbeat.interval.ms", "2000"),
    ("queued.min.messages", "100000"),
    ("queued.max.messages.kbytes", "65536"),
    ("max.partition.fetch.bytes", "4194304"),
    // After a full queue librdkafka would rest for a second, and reading would stutter.
    ("fetch.queue.backoff.ms", "20"),
];

/// Longest wait for a broker's answer on the ends of a partition.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause between two looks whether a broker that was away is back.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// Next offset to be handed out of each partition, shared with the callback that starts new ones there.
type Next = Arc<Mutex<Offsets>>;
type Client = StreamConsumer<Context<Next>>;

/// Reads the partitions of one topic that the group gives it.
pub(super) struct KafkaConsumer {
    client: Arc<Client>,
    next: Next,
    link: Arc<Link>,
    topic: Arc<str>,
    broker: BrokerConfig,
}

fn locked(next: &Next) -> MutexGuard<'_, Offsets> {
    next.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ConsumerContext for Context<Next> {
    fn rebalance(&self, client: &BaseConsumer<Self>, event: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let cooperative = matches!(client.rebalance_protocol(), RebalanceProtocol::Cooperative);
        let assigned = event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        let done = match (assigned, cooperative) {
            (true, true) => self.start_at_ours(partitions).and_then(|()| client.incremental_assign(partitions)),
            (true, false) => self.start_at_ours(partitions).and_then(|()| client.assign(partitions)),
            (false, true) => client.incremental_unassign(partitions),
            (false, false) => client.unassign(),
        };
        let names: Vec<_> = partitions.elements().iter().map(|one| (one.partition(), one.offset())).collect();
        match done {
            Ok(()) if assigned => tracing::info!(partitions_from = ?names, "the group assigned partitions"),
            Ok(()) => tracing::info!(partitions = names.len(), "the group took partitions back"),
            Err(error) => tracing::error!(partitions = ?names, assigned, %error, "the group's partitions are refused"),
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::debug!(%error, "kafka did not take committed offsets; the store has them");
        }
    }
}

impl Context<Next> {
    fn start_at_ours(&self, partitions: &mut TopicPartitionList) -> KafkaResult<()> {
        let next = locked(&self.role);
        let wanted: Vec<_> =
            partitions.elements().iter().map(|one| (one.topic().to_owned(), one.partition())).collect();
        for (topic, partition) in wanted {
            let offset = next.get(&topic, partition).map_or(Offset::Beginning, Offset::Offset);
            partitions.set_partition_offset(&topic, partition, offset)?;
        }
        Ok(())
    }
}

impl KafkaConsumer {
    pub(super) async fn open(broker: &BrokerConfig, start: Offsets) -> Result<Self, LogError> {
        kafka_link::connect(broker).await?;
        let mut config = kafka_link::client_config(broker, &PROPERTIES);
        if config.get("group.id").is_none() {
            config.set("group.id", &broker.group);
        }
        let (link, next) = (Arc::new(Link::new(broker)), Arc::new(Mutex::new(start.clone())));
        let context = Context { link: Arc::clone(&link), role: Arc::clone(&next) };
        let failed = |error: KafkaError| kafka_link::failed(broker, "start a consumer on", &error);
        let client: Arc<Client> = Arc::new(config.create_with_context(context).map_err(failed)?);
        let topic = Arc::from(broker.topic.as_str());
        let consumer = Self { client, next, link, topic, broker: broker.clone() };
        consumer.check_within(&start).await?;
        consumer.client.subscribe(&[&broker.topic]).map_err(failed)?;
        Ok(consumer)
    }

    /// Whether the topic still has what `start` goes on from.
    async fn check_within(&self, start: &Offsets) -> Result<(), LogError> {
        let ours: Vec<_> = start.iter().filter(|(topic, ..)| **topic == self.topic).collect();
        let ends = self.watermarks(ours.iter().map(|&(_, partition, _)| partition).collect()).await?;
        for ((topic, partition, next), (low, high)) in ours.into_iter().zip(ends) {
            if next > high {
                return Err(self.not_the_log(partition, next, high));
            }
            if next < low {
                tracing::warn!(%topic, partition, lost = low - next, "events have expired before they were read");
            }
        }
        Ok(())
    }

    fn not_the_log(&self, partition: i32, next: i64, found: i64) -> LogError {
        let reason = format!(
            "{} [{partition}] goes on at offset {found}, but the store has learned up to {next}: the topic is not the \
             one that the store was filled from (deleted and created again?); set another broker.topic and store",
            self.topic
        );
        kafka_link::refused(&self.broker, "read from", reason)
    }

    /// Lowest offset and end of each partition.
    async fn watermarks(&self, partitions: Vec<i32>) -> Result<Vec<(i64, i64)>, LogError> {
        let (client, topic) = (Arc::clone(&self.client), Arc::clone(&self.topic));
        let asking = tokio::task::spawn_blocking(move || {
            partitions.into_iter().map(|partition| client.fetch_watermarks(&topic, partition, ASK_TIMEOUT)).collect()
        });
        let answer: KafkaResult<Vec<_>> = asking.await.expect("asking does not panic");
        answer.map_err(|error| kafka_link::failed(&self.broker, "ask for the ends of partitions of", &error))
    }

    /// Takes a record over, and moves on past it.
    fn hand_out(&self, message: &BorrowedMessage<'_>) -> Result<RawEvent, LogError> {
        let (partition, offset) = (message.partition(), message.offset());
        let mut next = locked(&self.next);
        if let Some(next) = next.get(&self.topic, partition)
            && offset < next
        {
            return Err(self.not_the_log(partition, next, offset));
        }
        next.set(Arc::clone(&self.topic), partition, offset + 1);
        Ok(RawEvent {
            position: Position { topic: Arc::clone(&self.topic), partition, offset },
            timestamp_ms: message.timestamp().to_millis().unwrap_or(0),
            key: message.key().map(<[u8]>::to_vec),
            payload: message.payload().unwrap_or_default().to_vec(),
        })
    }

    /// Waits a failure out that may pass, and makes an error of any other.
    fn wait_out(&self, error: &KafkaError) -> Result<(), LogError> {
        let fatal = matches!(error, KafkaError::MessageConsumptionFatal(_));
        if fatal || error.rdkafka_error_code().is_some_and(is_final) {
            return Err(kafka_link::failed(&self.broker, "read from", error));
        }
        self.link.has_failed(error);
        Ok(())
    }

    /// Looks whether Kafka is back, each time after a pause; never ends while it is there.
    async fn look_whether_back(&self) -> std::convert::Infallible {
        loop {
            tokio::time::sleep(LOOK_PAUSE).await;
            if self.link.is_away() {
                let (client, topic) = (Arc::clone(&self.client), Arc::clone(&self.topic));
                let asking =
                    tokio::task::spawn_blocking(move || client.fetch_metadata(Some(&topic), LOOK_PAUSE).is_ok());
                if asking.await.unwrap_or(false) {
                    self.link.answered();
                }
            }
        }
    }

    /// The next record, however long Kafka is away.
    async fn first(&self) -> Result<RawEvent, LogError> {
        let mut stream = self.client.stream();
        loop {
            match stream.next().await.expect("a stream of kafka never ends") {
                Ok(message) => return self.hand_out(&message),
                Err(error) => self.wait_out(&error)?,
            }
        }
    }
}

/// Whether waiting cannot mend it.
fn is_final(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::Fatal
            | Code::UnknownTopic
            | Code::UnknownPartition
            | Code::UnknownTopicOrPartition
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::InvalidGroupId
            | Code::InconsistentGroupProtocol
            | Code::FencedInstanceId
            | Code::AutoOffsetReset
    )
}

#[async_trait]
impl Consumer for KafkaConsumer {
    async fn poll(&mut self, max: usize) -> Result<Vec<RawEvent>, LogError> {
        let first = tokio::select! {
            first = self.first() => first?,
            never = self.look_whether_back() => match never {},
        };
        self.link.answered();
        let mut events = Vec::with_capacity(max.min(1024));
        events.push(first);
        // Nothing below waits, so nothing that is taken from the client can be lost to a dropped future.
        let mut stream = self.client.stream();
        while events.len() < max {
            match stream.next().now_or_never().flatten() {
                Some(Ok(message)) => events.push(self.hand_out(&message)?),
                Some(Err(error)) => self.wait_out(&error)?,
                None => break,
            }
        }
        drop(stream);
        Ok(events)
    }

    async fn commit(&mut self, offsets: &Offsets) -> Result<(), LogError> {
        let failed = |error| kafka_link::failed(&self.broker, "commit offsets to", &error);
        let assigned = self.client.assignment().map_err(failed)?;
        let mut ours = TopicPartitionList::new();
        for (topic, partition, next) in offsets.iter() {
            if assigned.find_partition(topic, partition).is_some() {
                ours.add_partition_offset(topic, partition, Offset::Offset(next)).map_err(failed)?;
            }
        }
        if ours.count() > 0
            && let Err(error) = self.client.commit(&ours, CommitMode::Async)
        {
            self.wait_out(&error)?;
        }
        Ok(())
    }

    async fn lag(&mut self) -> Result<Vec<PartitionLag>, LogError> {
        let assigned = self.client.assignment();
        let assigned =
            assigned.map_err(|error| kafka_link::failed(&self.broker, "ask for the assignment of", &error))?;
        let partitions: Vec<_> = assigned.elements().iter().map(TopicPartitionListElem::partition).collect();
        let ends = self.watermarks(partitions.clone()).await?;
        let next = locked(&self.next);
        let lag = |(partition, (low, end))| {
            let position = next.get(&self.topic, partition).unwrap_or(low);
            PartitionLag { topic: Arc::clone(&self.topic), partition, position, end }
        };
        Ok(partitions.into_iter().zip(ends).map(lag).collect())
    }

    async fn close(self: Box<Self>) {
        // Dropping the last handle sends what is committed, gives the partitions back and leaves the group; it waits.
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::DefaultProducerContext;

    use super::*;
    use crate::capture::producer;
    use crate::capture::producer::testing::{config, record};
    use crate::config::{BrokerKind, Config};
    use crate::consume::testing::{after, numbers, produce};

    type Cluster = MockCluster<'static, DefaultProducerContext>;

    fn cluster(partitions: i32) -> (Cluster, Config) {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("ratings", partitions, 1).unwrap();
        let mut config = config(Path::new("unused"));
        config.broker.kind = BrokerKind::Kafka;
        config.broker.servers = cluster.bootstrap_servers();
        (cluster, config)
    }

    async fn read(consumer: &mut dyn Consumer, count: usize) -> Vec<RawEvent> {
        let mut events = Vec::new();
        while events.len() < count {
            let polled = tokio::time::timeout(Duration::from_secs(30), consumer.poll(1_000)).await;
            events.extend(polled.expect("records within 30 seconds").unwrap());
        }
        events
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn reads_in_order_and_resumes_from_the_given_offsets_and_not_the_committed_ones() {
        let (_cluster, config) = cluster(1);
        produce(&*producer::open(&config).await.unwrap(), 0..10_000).await;
        let mut consumer = super::super::open(&config, Offsets::default()).await.unwrap();
        let events = read(&mut *consumer, 10_000).await;
        assert_eq!(numbers(&events), (0..10_000).collect::<Vec<_>>());
        assert_eq!(events[42].key.as_deref(), Some(&b"3"[..]));
        assert_eq!(
            consumer.lag().await.unwrap(),
            [PartitionLag { topic: Arc::from("ratings"), partition: 0, position: 10_000, end: 10_000 }]
        );
        consumer.commit(&after(&events[..5_000])).await.unwrap();
        consumer.close().await;

        let mut consumer = super::super::open(&config, after(&events[..2_500])).await.unwrap();
        assert_eq!(numbers(&read(&mut *consumer, 7_500).await), (2_500..10_000).collect::<Vec<_>>());
        consumer.close().await;

        // What was committed before the close has arrived.
        let mut asking = kafka_link::client_config(&config.broker, &[]);
        let asking: BaseConsumer = asking.set("group.id", &config.broker.group).create().unwrap();
        let mut partition = TopicPartitionList::new();
        partition.add_partition("ratings", 0);
        let committed = asking.committed_offsets(partition, Duration::from_secs(10)).unwrap();
        assert_eq!(committed.elements()[0].offset(), Offset::Offset(5_000));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_group_s_partitions_pass_on_without_loss_or_doubles() {
        let (_cluster, config) = cluster(4);
        let producer = producer::open(&config).await.unwrap();
        produce(&*producer, 0..2_000).await;
        let mut first = super::super::open(&config, Offsets::default()).await.unwrap();
        let events = read(&mut *first, 2_000).await;
        first.close().await;
        let mut second = super::super::open(&config, after(&events)).await.unwrap();
        produce(&*producer, 2_000..3_000).await;
        let mut all = numbers(&[events, read(&mut *second, 1_000).await].concat());
        all.sort_unstable();
        assert_eq!(all, (0..3_000).collect::<Vec<_>>());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_broker_that_goes_and_comes_back_loses_nothing() {
        let (cluster, config) = cluster(1);
        let producer = producer::open(&config).await.unwrap();
        produce(&*producer, 0..100).await;
        let mut consumer = super::super::open(&config, Offsets::default()).await.unwrap();
        assert_eq!(numbers(&read(&mut *consumer, 100).await), (0..100).collect::<Vec<_>>());

        cluster.broker_down(1).unwrap();
        for number in 100..200 {
            producer.send(record("1", &number.to_string())).await.unwrap();
        }
        let waiting = tokio::time::timeout(Duration::from_secs(3), consumer.poll(10)).await;
        assert!(waiting.is_err(), "{waiting:?}");
        cluster.broker_up(1).unwrap();
        assert_eq!(numbers(&read(&mut *consumer, 100).await), (100..200).collect::<Vec<_>>());
        let counts = producer.flush().await.unwrap();
        assert_eq!((counts.delivered, counts.failed), (200, 0), "{counts:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn offsets_beyond_the_end_are_told() {
        let (_cluster, config) = cluster(1);
        let mut start = Offsets::default();
        start.set(Arc::from("ratings"), 0, 7);
        let error = super::super::open(&config, start).await.err().unwrap().to_string();
        assert!(error.contains("goes on at offset 0, but the store has learned up to 7"), "{error}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_unreachable_broker_is_given_up_with_advice() {
        let mut config = config(Path::new("unused"));
        config.broker.kind = BrokerKind::Kafka;
        config.broker.servers = "127.0.0.1:1".to_owned();
        config.broker.connect_timeout = Duration::from_secs(1);
        let start = std::time::Instant::now();
        let error = producer::open(&config).await.err().unwrap().to_string();
        assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
        for part in ["kafka at 127.0.0.1:1", "Connection refused", "gave up after 1s", "broker.servers"] {
            assert!(error.contains(part), "{part:?} in {error}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_mistaken_property_is_named_and_a_secret_is_not_told() {
        for (key, value) in [("sasl.pasword", "hunter2"), ("fetch.min.bytes", "many"), ("isolation.level", "none")] {
            let (_cluster, mut config) = cluster(1);
            config.broker.properties.insert(key.to_owned(), value.to_owned());
            let error = super::super::open(&config, Offsets::default()).await.err().unwrap().to_string();
            assert!(error.contains(key) && !error.contains("hunter2"), "{error}");
        }
    }
}
