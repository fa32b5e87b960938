//! What this user may do with the topic and the group, tried without leaving a trace.
//!
//! Apart from the other steps, because each of these needs a client of its own. Only the newest record of each partition
//! is read, and what is sent is of a kind that a broker refuses after it has looked at the permission.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Message, Timestamp};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use super::super::steps::{Fault, Found, TOLERATED_MS};
use crate::capture::kafka_link::{self, Context};
use crate::config::BrokerConfig;
use crate::telemetry;

/// No topic has so many partitions.
const NO_PARTITION: i32 = 1_000_000;
/// What is sent, should a server that is not Kafka take it: the engine files it apart.
const PROBE: &[u8] = b"freshet doctor: this is refused by a Kafka broker";

/// The newest record of a topic.
#[derive(Clone, Copy, Debug)]
pub(super) struct Newest {
    pub(super) at_ms: i64,
    /// Whether the broker gave the time, not whoever produced it.
    pub(super) by_broker: bool,
}

fn denied(operation: &str, what: &str, broker: &BrokerConfig) -> String {
    let user = broker.properties.get("sasl.username").map_or("this user", String::as_str);
    let kind = if what.starts_with("group") { "--group" } else { "--topic" };
    let name = if what.starts_with("group") { &broker.group } else { &broker.topic };
    format!(
        "let {user} {operation} {what}: kafka-acls.sh --add --allow-principal User:{user} --operation {operation} {kind} {name}"
    )
}

/// Reads the newest record of each partition.
pub(super) fn read(broker: &BrokerConfig, partitions: i32, limit: Duration) -> Result<Found<Option<Newest>>, Fault> {
    let fault = |error: &KafkaError| explain(broker, error, "Read", "the topic");
    let properties = [("group.id", &*broker.group), ("enable.auto.commit", "false"), ("enable.partition.eof", "true")];
    let consumer = kafka_link::asker(broker, &properties).map_err(|error| fault(&error))?;
    let mut from = TopicPartitionList::new();
    for partition in 0..partitions {
        let added = from.add_partition_offset(&broker.topic, partition, Offset::OffsetTail(1));
        added.map_err(|error| fault(&error))?;
    }
    consumer.assign(&from).map_err(|error| fault(&error))?;
    let deadline = Instant::now() + limit;
    let (mut ended, mut newest): (i32, Option<Newest>) = (0, None);
    while ended < partitions {
        match consumer.poll(deadline.saturating_duration_since(Instant::now())) {
            Some(Ok(record)) => newest = newest.max_by_time(record.timestamp()),
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            // The group is another step's.
            Some(Err(error)) if error.rdkafka_error_code() == Some(Code::GroupAuthorizationFailed) => {}
            Some(Err(error)) => return Err(fault(&error)),
            None => {
                let reason = format!("{ended} of {partitions} partitions answer within {limit:?}");
                return Err(Fault::unreachable(reason, "see whether every partition has a leader that can be reached"));
            }
        }
    }
    let detail = match newest {
        Some(Newest { at_ms, .. }) => format!("allowed; the newest record is of {}", crate::cli::out::time(at_ms)),
        None => "allowed; the topic is empty".to_owned(),
    };
    Ok(Found::new(newest, detail))
}

trait Newer {
    fn max_by_time(self, timestamp: Timestamp) -> Self;
}

impl Newer for Option<Newest> {
    fn max_by_time(self, timestamp: Timestamp) -> Self {
        let by_broker = matches!(timestamp, Timestamp::LogAppendTime(_));
        let this = timestamp.to_millis().map(|at_ms| Newest { at_ms, by_broker });
        self.into_iter().chain(this).max_by_key(|newest| newest.at_ms)
    }
}

/// Who is in the group, and whether this user may be.
pub(super) fn group(broker: &BrokerConfig, limit: Duration) -> Result<Found, Fault> {
    let fault = |error: &KafkaError| explain(broker, error, "Read", "group");
    let client = kafka_link::asker(broker, &[("group.id", &broker.group), ("enable.auto.commit", "false")]);
    let consumer: BaseConsumer<Context<()>> = client.map_err(|error| fault(&error))?;
    let mut nowhere = TopicPartitionList::new();
    nowhere.add_partition_offset(&broker.topic, NO_PARTITION, Offset::Offset(0)).map_err(|error| fault(&error))?;
    find_coordinator(&consumer, broker, limit)?;
    match consumer.commit(&nowhere, CommitMode::Sync) {
        Ok(()) => {}
        // After the permissions of group and topic, and then of no matter.
        Err(error) if passes(&error) => {}
        Err(error) => return Err(fault(&error)),
    }
    let groups = consumer.client().fetch_group_list(Some(&broker.group), limit).map_err(|error| fault(&error))?;
    let found = groups.groups().iter().find(|group| group.name() == broker.group);
    let members = found.map(rdkafka::groups::GroupInfo::members).unwrap_or_default();
    let shown: Vec<_> = members
        .iter()
        .map(|member| format!("{} at {}", member.client_id(), member.client_host().trim_start_matches('/')))
        .collect();
    let detail = match shown.len() {
        0 => "allowed; nobody is in it".to_owned(),
        _ => format!(
            "allowed; {}: {}",
            found.map(rdkafka::groups::GroupInfo::state).unwrap_or_default(),
            shown.join(", ")
        ),
    };
    Ok(Found::new((), detail))
}

/// Waits until the client knows who leads the group: without that a commit waits for ever, and why is told by an event.
fn find_coordinator(consumer: &BaseConsumer<Context<()>>, broker: &BrokerConfig, limit: Duration) -> Result<(), Fault> {
    let mut first = TopicPartitionList::new();
    first.add_partition(&broker.topic, 0);
    let deadline = Instant::now() + limit;
    loop {
        let Err(error) = consumer.committed_offsets(first.clone(), limit / 8) else { return Ok(()) };
        let said = std::iter::from_fn(|| consumer.poll(Duration::from_millis(20))).find_map(Result::err);
        let error = said.unwrap_or(error);
        let code = error.rdkafka_error_code();
        let refused = matches!(code, Some(Code::GroupAuthorizationFailed | Code::TopicAuthorizationFailed));
        if refused || Instant::now() >= deadline {
            return Err(explain(broker, &error, "Read", "group"));
        }
    }
}

/// Whether a refused commit was allowed: it was refused for its partition, or for not being a member's.
fn passes(error: &KafkaError) -> bool {
    let code = error.rdkafka_error_code();
    matches!(
        code,
        Some(
            Code::UnknownTopicOrPartition | Code::UnknownMemberId | Code::IllegalGeneration | Code::RebalanceInProgress
        )
    )
}

/// Where the report of the probe is put.
struct Reports(std::sync::mpsc::Sender<Result<(i32, i64), Code>>);

impl ClientContext for Reports {
    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, _: &str, line: &str) {
        tracing::debug!("librdkafka: {line}");
    }

    fn error(&self, error: KafkaError, text: &str) {
        tracing::debug!(%error, "librdkafka: {text}");
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let report = match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(Code::Unknown)),
        };
        // Nobody waits for it any more where the time was over.
        let _ = self.0.send(report);
    }
}

/// Sends a record that no broker takes: it asks for two acknowledgements, which was abolished. What refuses it tells
/// whether another one would have been taken.
pub(super) fn write(broker: &BrokerConfig, limit: Duration) -> Result<Found, Fault> {
    let fault = |error: &KafkaError| explain(broker, error, "Write", "the topic");
    let (sender, reports) = std::sync::mpsc::channel();
    let mut config = kafka_link::client_config(broker, &[]);
    config
        .set("enable.idempotence", "false")
        .set("request.required.acks", "2")
        .set("retries", "0")
        .set("linger.ms", "0");
    config.remove("acks");
    config.set("message.timeout.ms", limit.as_millis().max(1).to_string());
    let producer: BaseProducer<Reports> = config.create_with_context(Reports(sender)).map_err(|error| fault(&error))?;
    let record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&broker.topic).payload(PROBE);
    producer.send(record).map_err(|(error, _)| fault(&error))?;
    // The delivery report tells.
    let _ = producer.flush(limit + Duration::from_millis(200));
    match reports.try_recv() {
        Ok(Err(Code::InvalidRequiredAcks)) => {
            Ok(Found::new((), "allowed; a record was refused for its acks=2, and none was written"))
        }
        Ok(Ok((partition, offset))) => {
            let warning =
                "this is no Apache Kafka: it takes acks=2; the engine files the record among the dead letters";
            Ok(Found::new((), format!("allowed; a record was written to partition {partition} at offset {offset}"))
                .but(Some(warning.to_owned())))
        }
        Ok(Err(code)) => Err(fault(&KafkaError::MessageProduction(code))),
        Err(_) => Err(Fault::unreachable(
            "there was no delivery report",
            "see whether every partition has a leader that can be reached",
        )),
    }
}

fn explain(broker: &BrokerConfig, error: &KafkaError, operation: &str, what: &str) -> Fault {
    let reason = kafka_link::reason(error);
    match error.rdkafka_error_code() {
        Some(Code::TopicAuthorizationFailed) => Fault::new(reason, denied(operation, "the topic", broker)),
        Some(Code::GroupAuthorizationFailed) => Fault::new(reason, denied("Read", "group", broker)),
        Some(Code::MessageTimedOut | Code::OperationTimedOut | Code::BrokerTransportFailure | Code::AllBrokersDown) => {
            Fault::unreachable(reason, "see whether the leaders of its partitions can be reached")
        }
        _ => Fault::new(
            reason,
            format!("see the broker's log for what it has against a {} of {what}", operation.to_lowercase()),
        ),
    }
}

/// What the newest record tells of the clocks. Kafka itself never tells its time, so that only a clock that is ahead
/// shows: a record cannot be of the future.
pub(super) fn clock(newest: Newest) -> Found {
    let ahead = newest.at_ms - telemetry::now_ms();
    let whose = if newest.by_broker { "the broker's clock" } else { "the clock of whoever produced it" };
    if ahead <= TOLERATED_MS {
        return Found::new((), format!("the newest record is not of the future ({whose})"));
    }
    let seconds = ahead / 1000;
    let warning = format!("this machine's clock, or {whose}, is wrong: let NTP (chrony, systemd-timesyncd) set both");
    Found::new((), format!("the newest record is {seconds} s in the future")).but(Some(warning))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_the_future_tells_of_a_clock_that_is_wrong() {
        let newest = |ahead| Newest { at_ms: telemetry::now_ms() + ahead, by_broker: true };
        assert!(clock(newest(-5_000)).warning().is_none());
        assert!(clock(newest(60_000)).warning().unwrap().contains("the broker's clock"));
    }
}
