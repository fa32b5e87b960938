//! Reads records from Kafka as a member of a consumer group.
//!
//! The group only shares the partitions out. Where reading starts is decided here, from the store's offsets: those that
//! are committed to Kafka serve its lag tools and are never read back. The membership is static: it is the store's, by the
//! store's name. So an engine that was killed has its partitions again as soon as it is back, without a rebalance, and a
//! second engine on the same store takes the first one's place here as it does there.

mod group;
mod own;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionListElem};

use self::group::Membership;
use self::own::Own;
use super::{Consumer, Offsets, PartitionLag, Polled, Position, RawEvent};
use crate::capture::LogError;
use crate::capture::kafka_link::{self, Context, Link};
use crate::config::{BrokerConfig, Config};
use crate::telemetry::trace::{self, TraceParent};

/// Of whoever reads for the engine, or reads what the engine reads.
pub(super) const PROPERTIES: [(&str, &str); 11] = [
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "earliest"),
    ("isolation.level", "read_committed"),
    // The partitions of an engine that does not come back pass to the others after this long; the brokers' own minimum.
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
/// Longest wait for a commit before partitions are given back.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(5);

type Client = StreamConsumer<Context<Membership>>;
type Asker = BaseConsumer<Context<()>>;

/// Reads the partitions of its topics that the group gives it.
pub(super) struct KafkaConsumer {
    client: Arc<Client>,
    /// For questions: a connection that fetches answers them only after records have come, or none for long.
    asker: Arc<Asker>,
    link: Arc<Link>,
    topics: Vec<Arc<str>>,
    broker: BrokerConfig,
    /// Which partitions are this trainer's; none where the group shares them out.
    own: Option<Arc<Own>>,
}

impl KafkaConsumer {
    pub(super) async fn open(config: &Config, start: Offsets, member: &str) -> Result<Self, LogError> {
        let broker = &config.broker;
        let topics: Vec<Arc<str>> = config.topics_read().map(Arc::from).collect();
        let names: Vec<&str> = config.topics_read().collect();
        let partitions = kafka_link::connect(broker, &names).await?;
        let own = Own::of(config, &partitions)?.map(Arc::new);
        let mut config = kafka_link::client_config(broker, &PROPERTIES);
        if config.get("group.id").is_none() {
            config.set("group.id", &broker.group);
        }
        if own.is_none() && config.get("group.instance.id").is_none() {
            config.set("group.instance.id", member);
        }
        let link = Arc::new(Link::new(broker));
        let context = Context { link: Arc::clone(&link), role: Membership::new(start.clone()) };
        let failed = |error: KafkaError| kafka_link::failed(broker, "start a consumer on", &error);
        let client: Arc<Client> = Arc::new(config.create_with_context(context).map_err(failed)?);
        let context = Context { link: Arc::clone(&link), role: () };
        let asker = kafka_link::client_config(broker, &[]).create_with_context(context).map_err(failed)?;
        let consumer = Self { client, asker: Arc::new(asker), link, topics, broker: broker.clone(), own };
        for (topic, partitions) in consumer.topics.iter().zip(partitions) {
            consumer.check_within(topic, &start, partitions).await?;
        }
        match &consumer.own {
            Some(own) => own.assign(&consumer.client, &consumer.topics).map_err(failed)?,
            None => consumer.client.subscribe(&names).map_err(failed)?,
        }
        Ok(consumer)
    }

    fn group(&self) -> &Membership {
        &self.client.context().role
    }

    /// Whether the topic still has what `start` goes on from.
    async fn check_within(&self, topic: &Arc<str>, start: &Offsets, partitions: i32) -> Result<(), LogError> {
        let ours: Vec<_> = start.iter().filter(|(of, ..)| *of == topic).collect();
        if let Some((_, gone, next)) = ours.iter().find(|(_, partition, _)| *partition >= partitions) {
            let reason = super::too_few_partitions(topic, partitions, *gone, *next);
            return Err(kafka_link::refused(&self.broker, "read from", reason));
        }
        let asked = ours.iter().map(|&(_, partition, _)| partition).collect();
        let ends = watermarks(Arc::clone(&self.asker), &self.broker, topic, asked).await?;
        for ((topic, partition, next), (low, high)) in ours.into_iter().zip(ends) {
            if next > high {
                return Err(self.not_the_log(topic, partition, next, high));
            }
            if next < low {
                tracing::warn!(%topic, partition, lost = low - next, "events have expired before they were read");
            }
        }
        Ok(())
    }

    fn not_the_log(&self, topic: &str, partition: i32, next: i64, found: i64) -> LogError {
        let reason = format!(
            "{topic} [{partition}] goes on at offset {found}, but the store has learned up to {next}: the topic is not the \
             one that the store was filled from (deleted and created again?); set another broker.topic and store"
        );
        kafka_link::refused(&self.broker, "read from", reason)
    }

    /// Takes a record over, and moves on past it.
    fn hand_out(&self, message: &BorrowedMessage<'_>) -> Result<RawEvent, LogError> {
        let (partition, offset) = (message.partition(), message.offset());
        let topic = self.topics.iter().find(|topic| ***topic == *message.topic());
        let topic = topic.expect("only what was subscribed to comes");
        let mut next = self.group().next();
        if let Some(next) = next.get(topic, partition)
            && offset < next
        {
            return Err(self.not_the_log(topic, partition, next, offset));
        }
        next.set(Arc::clone(topic), partition, offset + 1);
        Ok(RawEvent {
            position: Position { topic: Arc::clone(topic), partition, offset },
            timestamp_ms: message.timestamp().to_millis().unwrap_or(0),
            key: message.key().map(<[u8]>::to_vec),
            payload: message.payload().unwrap_or_default().to_vec(),
            trace: message.headers().and_then(trace_of),
        })
    }

    /// Waits a failure out that may pass, and makes an error of any other.
    fn wait_out(&self, error: &KafkaError) -> Result<(), LogError> {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::FencedInstanceId) {
            return Err(LogError::Superseded { brokers: kafka_link::brokers(&self.broker).to_owned() });
        }
        let fatal = matches!(error, KafkaError::MessageConsumptionFatal(_));
        if fatal || error.rdkafka_error_code().is_some_and(is_final) {
            return Err(kafka_link::failed(&self.broker, "read from", error));
        }
        self.link.has_failed(error);
        Ok(())
    }

    /// Offsets of the partitions that are this consumer's; none if there are none.
    fn committable(&self, offsets: &Offsets) -> Result<Option<TopicPartitionList>, LogError> {
        let failed = |error| kafka_link::failed(&self.broker, "commit offsets to", &error);
        let assigned = self.client.assignment().map_err(failed)?;
        let mut ours = TopicPartitionList::new();
        for (topic, partition, next) in offsets.iter() {
            if assigned.find_partition(topic, partition).is_some() {
                ours.add_partition_offset(topic, partition, Offset::Offset(next)).map_err(failed)?;
            }
        }
        Ok((ours.count() > 0).then_some(ours))
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

impl Drop for KafkaConsumer {
    /// The client waits in its own drop until partitions that are wanted back are given.
    fn drop(&mut self) {
        self.group().leave();
        if let Err(error) = self.group().give_back(&*self.client) {
            tracing::debug!(%error, "cannot give partitions back");
        }
    }
}

/// The trace that a record was produced in.
fn trace_of(headers: &BorrowedHeaders) -> Option<TraceParent> {
    let header = headers.iter().find(|header| header.key == trace::HEADER)?;
    TraceParent::parse(header.value?)
}

/// Lowest offset and end of each partition; asked for none, whether Kafka answers at all.
async fn watermarks(
    asker: Arc<Asker>,
    broker: &BrokerConfig,
    topic: &Arc<str>,
    partitions: Vec<i32>,
) -> Result<Vec<(i64, i64)>, LogError> {
    let topic = Arc::clone(topic);
    let asking = tokio::task::spawn_blocking(move || {
        let ends = if partitions.is_empty() {
            asker.fetch_metadata(Some(&topic), ASK_TIMEOUT).map(|_| Vec::new())
        } else {
            let end = |partition| asker.fetch_watermarks(&topic, partition, ASK_TIMEOUT);
            partitions.into_iter().map(end).collect()
        };
        // Serves the callbacks, whose events would pile up.
        while asker.poll(Duration::ZERO).is_some() {}
        ends
    });
    let answer: KafkaResult<Vec<_>> = asking.await.expect("asking does not panic");
    answer.map_err(|error| kafka_link::unreachable(broker, format!("the ends of partitions are not told: {error}")))
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
            | Code::AutoOffsetReset
    )
}

#[async_trait]
impl Consumer for KafkaConsumer {
    async fn poll(&mut self, max: usize) -> Result<Polled, LogError> {
        if let Some(own) = self.own.as_ref().filter(|own| own.has_grown()) {
            let assigned = own.assign(&self.client, &self.topics);
            assigned.map_err(|error| kafka_link::failed(&self.broker, "take new partitions of", &error))?;
        }
        let first = tokio::select! {
            biased;
            () = self.group().wanted_back() => return Ok(Polled::WantedBack),
            first = self.first() => first?,
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
        Ok(Polled::Records(events))
    }

    fn pause(&mut self, paused: bool) -> Result<(), LogError> {
        let done = self.group().pause(&*self.client, paused);
        done.map_err(|error| kafka_link::failed(&self.broker, "pause the partitions of", &error))
    }

    async fn give_back(&mut self, durable: &Offsets) -> Result<(), LogError> {
        if let Some(ours) = self.committable(durable)? {
            let client = Arc::clone(&self.client);
            let committing = tokio::task::spawn_blocking(move || client.commit(&ours, CommitMode::Sync));
            match tokio::time::timeout(COMMIT_TIMEOUT, committing).await {
                Ok(Ok(Ok(()))) => {}
                other => tracing::debug!(?other, "offsets are not committed before partitions are given back"),
            }
        }
        let given = self.group().give_back(&*self.client);
        given.map_err(|error| kafka_link::failed(&self.broker, "give back partitions of", &error))
    }

    fn trouble(&self) -> Option<String> {
        self.link.trouble()
    }

    async fn commit(&mut self, offsets: &Offsets) -> Result<(), LogError> {
        if let Some(ours) = self.committable(offsets)?
            && let Err(error) = self.client.commit(&ours, CommitMode::Async)
        {
            self.wait_out(&error)?;
        }
        Ok(())
    }

    fn lag(&self) -> BoxFuture<'static, Result<Vec<PartitionLag>, LogError>> {
        let (asker, broker, topics) = (Arc::clone(&self.asker), self.broker.clone(), self.topics.clone());
        let (assigned, next, link) = (self.client.assignment(), self.group().next().clone(), Arc::clone(&self.link));
        let own = self.own.clone();
        Box::pin(async move {
            let assigned =
                assigned.map_err(|error| kafka_link::failed(&broker, "ask for the assignment of", &error))?;
            let partitions_of = |topic: &Arc<str>| -> Vec<i32> {
                assigned.elements_for_topic(topic).iter().map(TopicPartitionListElem::partition).collect()
            };
            if let Some(own) = own {
                own.look(Arc::clone(&asker), &broker, &topics).await?;
            }
            let mut lags = Vec::with_capacity(assigned.count());
            for topic in topics {
                let partitions = partitions_of(&topic);
                let ends = watermarks(Arc::clone(&asker), &broker, &topic, partitions.clone()).await?;
                lags.extend(partitions.into_iter().zip(ends).map(|(partition, (low, end))| {
                    let position = next.get(&topic, partition).unwrap_or(low);
                    PartitionLag { topic: Arc::clone(&topic), partition, position, end }
                }));
            }
            // An idle topic brings no record to tell it by.
            link.answered();
            Ok(lags)
        })
    }

    async fn close(self: Box<Self>) {
        // Dropping the last handle sends what is committed; it waits.
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }
}

#[cfg(test)]
mod tests;
