//! Watches topics on Kafka.
//!
//! Without a group the partitions are assigned here, at offsets that are known before the first fetch, so that "from now
//! on" means from the moment of opening. A consumer needs a name to be created with: it is [`NAME`], under which nothing is
//! joined and nothing committed.

mod group;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::Offset;

use self::group::{Change, Member};
use super::super::kafka::PROPERTIES;
use super::{Place, Polled, Portion, Start, Take, WatchError, Watched, Watcher, Wish};
use crate::capture::kafka_link::{self, ASK_TIMEOUT, Context, Link};
use crate::config::BrokerConfig;
use crate::telemetry;

/// Name of a watcher that joins no group.
const NAME: &str = "freshet-watch";
/// How often it is looked whether the topics are still there while they bring nothing, and while Kafka is away.
const LOOK_EVERY: Duration = Duration::from_secs(3);
const LOOK_EVERY_AWAY: Duration = Duration::from_secs(1);
/// Longest wait for what such a look brings.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);

type Client = BaseConsumer<Context<Member>>;

/// Reads the partitions of several topics.
pub(super) struct KafkaWatcher {
    client: Arc<Client>,
    link: Arc<Link>,
    broker: BrokerConfig,
    wish: Wish,
    /// Partitions that are read now. The last one that brought a record is looked for first.
    places: Vec<Place>,
    current: usize,
    /// Topics to read when the ones before are at their end: librdkafka tells the end of a partition without its topic.
    later: Vec<Vec<Place>>,
    looked: Instant,
    /// Whether the last look was answered.
    answered: bool,
}

impl KafkaWatcher {
    pub(super) async fn open(broker: &BrokerConfig, wish: Wish) -> Result<Self, WatchError> {
        let found = kafka_link::ask(broker, &kafka_link::client_config(broker, &[]), partitions_of_topics).await?;
        let wanted = wanted(&found, &wish, broker)?;
        let (broker, opening) = (broker.clone(), wish);
        let opened = tokio::task::spawn_blocking(move || Self::start(broker, opening, &wanted));
        opened.await.expect("opening does not panic")
    }

    fn start(broker: BrokerConfig, wish: Wish, wanted: &BTreeMap<String, Vec<i32>>) -> Result<Self, WatchError> {
        let link = Arc::new(Link::new(&broker));
        let context = Context {
            link: Arc::clone(&link),
            role: Member::new(Ask { start: wish.start, until_end: wish.until_end, timeout: ASK_TIMEOUT }),
        };
        let failed = |error: &KafkaError| kafka_link::failed(&broker, "watch", error);
        let client: Client = properties(&broker, &wish).create_with_context(context).map_err(|error| failed(&error))?;
        let client = Arc::new(client);
        let mut topics = Vec::new();
        if wish.group.is_some() {
            let names: Vec<&str> = wanted.keys().map(String::as_str).collect();
            client.subscribe(&names).map_err(|error| failed(&error))?;
        } else {
            for (topic, partitions) in wanted {
                let ask = Ask { start: wish.start, until_end: wish.until_end, timeout: broker.connect_timeout };
                let places = places(&client, &Arc::from(topic.as_str()), partitions, ask);
                topics.push(places.map_err(|error| failed(&error))?);
            }
        }
        if !wish.until_end {
            topics = vec![topics.concat()];
        }
        let looked = Instant::now();
        let places = Vec::new();
        let mut watcher =
            Self { client, link, broker, wish, places, current: 0, later: topics, looked, answered: true };
        if watcher.wish.group.is_none() {
            watcher.next_topics()?;
        }
        Ok(watcher)
    }

    fn failed(&self, error: &KafkaError) -> WatchError {
        kafka_link::failed(&self.broker, "watch", error).into()
    }

    /// Goes on with the next topics that have anything to read; false if there are none.
    fn next_topics(&mut self) -> Result<bool, WatchError> {
        while !self.later.is_empty() {
            self.places = self.later.remove(0);
            self.places.retain(|place| !place.is_at_end());
            self.current = 0;
            if !self.places.is_empty() {
                self.assign()?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn assign(&self) -> Result<(), WatchError> {
        let list =
            list(self.places.iter().map(|place| (&*place.topic, place.partition, Offset::Offset(place.fetch_from()))));
        list.and_then(|list| self.client.assign(&list)).map_err(|error| self.failed(&error))
    }

    /// Takes over what the group has assigned and taken back.
    fn follow_group(&mut self) -> Result<(), WatchError> {
        if self.wish.group.is_none() {
            return Ok(());
        }
        for change in self.client.context().role.changes() {
            match change {
                Change::Came(places) => self.places.extend(places),
                Change::Went(gone) => {
                    self.places.retain(|place| !gone.contains(&(place.topic.to_string(), place.partition)));
                }
                Change::Failed(error) => return Err(self.failed(&error)),
            }
            self.current = 0;
        }
        Ok(())
    }

    /// Hands a message out, unless it lies before the start or behind the end.
    fn hand_out(
        &mut self,
        message: &BorrowedMessage<'_>,
        portion: &mut Portion,
        take: &mut Take<'_>,
    ) -> Result<ControlFlow<()>, WatchError> {
        let (topic, partition, offset) = (message.topic(), message.partition(), message.offset());
        let Some(at) = self.find(topic, partition) else { return Ok(ControlFlow::Continue(())) };
        let place = &mut self.places[at];
        if offset < place.next {
            // Before the start it is passed over; behind it, the offsets have begun anew.
            return if place.moved {
                Err(WatchError::Replaced(topic.to_owned()))
            } else {
                Ok(ControlFlow::Continue(()))
            };
        }
        if place.end.is_some_and(|end| offset >= end) {
            place.next = offset;
            return Ok(ControlFlow::Continue(()));
        }
        let timestamp_ms = message.timestamp().to_millis();
        let record = Watched { topic, partition, offset, timestamp_ms, key: message.key(), payload: message.payload() };
        place.hand_out(offset);
        portion.add(&record);
        Ok(take(&record))
    }

    fn find(&mut self, topic: &str, partition: i32) -> Option<usize> {
        let is = |place: &Place| place.partition == partition && &*place.topic == topic;
        if !self.places.get(self.current).is_some_and(is) {
            self.current = self.places.iter().position(is)?;
        }
        Some(self.current)
    }

    /// Waits a failure out that may pass, and makes an error of any other.
    fn wait_out(&mut self, error: &KafkaError) -> Result<(), WatchError> {
        use RDKafkaErrorCode as Code;
        match (error, error.rdkafka_error_code()) {
            (KafkaError::PartitionEOF(partition), _) => {
                for place in self.places.iter_mut().filter(|place| place.partition == *partition) {
                    // Behind the last record there may be markers that are none.
                    place.next = place.next.max(place.end.unwrap_or(0));
                }
            }
            (_, Some(Code::UnknownTopic | Code::UnknownPartition | Code::UnknownTopicOrPartition)) => self.look()?,
            (_, Some(Code::GroupAuthorizationFailed)) if self.wish.group.is_none() => {}
            (KafkaError::MessageConsumptionFatal(_), _) => return Err(self.failed(error)),
            (_, Some(code)) if is_final(code) => return Err(self.failed(error)),
            // One connection of several may fail, such as that to a coordinator.
            _ if self.link.is_away() || partitions_of_topics(&self.client, LOOK_TIMEOUT).is_err() => {
                self.link.has_failed(error);
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether the topics are still there, now that they bring nothing; and whether they have got more partitions.
    fn look_if_due(&mut self) -> Result<(), WatchError> {
        let every = if self.link.is_away() { LOOK_EVERY_AWAY } else { LOOK_EVERY };
        if self.looked.elapsed() < every { Ok(()) } else { self.look() }
    }

    fn look(&mut self) -> Result<(), WatchError> {
        self.looked = Instant::now();
        let found = partitions_of_topics(&self.client, LOOK_TIMEOUT);
        let answered_before = std::mem::replace(&mut self.answered, found.is_ok());
        let Ok(found) = found else { return Ok(()) };
        if answered_before {
            // The second time: failures from before the first may still have been queued then.
            self.link.answered();
        }
        if let Some(gone) = self.wish.topics.iter().find(|topic| !found.contains_key(*topic)) {
            return Err(WatchError::Deleted(gone.clone()));
        }
        let before = self.places.len();
        if self.wish.group.is_none() && self.wish.partition.is_none() && !self.wish.until_end {
            for topic in &self.wish.topics {
                for partition in 0..found[topic] {
                    if !self.places.iter().any(|place| place.partition == partition && *place.topic == **topic) {
                        tracing::info!(topic, partition, "the topic has got a partition; it is watched too");
                        self.places.push(Place::new(Arc::from(topic.as_str()), partition, 0));
                    }
                }
            }
        }
        if self.places.len() > before { self.assign() } else { Ok(()) }
    }

    fn is_at_end(&mut self) -> Result<bool, WatchError> {
        if !self.wish.until_end || !self.places.iter().all(Place::is_at_end) {
            return Ok(false);
        }
        if self.wish.group.is_some() {
            return Ok(self.client.context().role.has_joined());
        }
        Ok(!self.next_topics()?)
    }
}

impl Watcher for KafkaWatcher {
    fn poll(&mut self, wait: Duration, take: &mut Take<'_>) -> Result<Polled, WatchError> {
        let (client, deadline) = (Arc::clone(&self.client), Instant::now() + wait);
        let mut portion = Portion::default();
        while !portion.is_full() {
            if self.is_at_end()? {
                return Ok(if portion.records > 0 { Polled::Records } else { Polled::Ended });
            }
            let left = if portion.records > 0 { Duration::ZERO } else { deadline - Instant::now().min(deadline) };
            let polled = client.poll(left);
            self.follow_group()?;
            match polled {
                Some(Ok(message)) => {
                    let flow = self.hand_out(&message, &mut portion, take)?;
                    if flow.is_break() {
                        break;
                    }
                }
                Some(Err(error)) => self.wait_out(&error)?,
                None if left.is_zero() => break,
                None => {}
            }
        }
        if portion.records > 0 {
            self.link.answered();
            self.looked = Instant::now();
        } else {
            self.look_if_due()?;
        }
        Ok(portion.polled())
    }

    fn partitions(&self) -> usize {
        self.places.len() + self.later.iter().map(Vec::len).sum::<usize>()
    }

    fn commit(&mut self, last: bool) -> Result<(), WatchError> {
        let moved: Vec<_> = self.places.iter().filter(|place| place.moved).collect();
        if self.wish.group.is_none() || moved.is_empty() {
            return Ok(());
        }
        self.client.context().role.printed(&moved);
        if last && self.link.is_away() {
            tracing::warn!("kafka is away: what was printed last is not committed, and the group reads it again");
            return Ok(());
        }
        let offsets = list(moved.iter().map(|place| (&*place.topic, place.partition, Offset::Offset(place.next))));
        let mode = if last { CommitMode::Sync } else { CommitMode::Async };
        let done = offsets.and_then(|offsets| self.client.commit(&offsets, mode));
        done.map_err(|error| kafka_link::failed(&self.broker, "commit offsets to", &error).into())
    }
}

/// Whether waiting cannot mend it.
fn is_final(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    let forbidden = matches!(code, Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed);
    forbidden || matches!(code, Code::InvalidGroupId | Code::Fatal | Code::InconsistentGroupProtocol)
}

/// What the client needs, whatever the operator's properties say: those of the engine's group are not for a watcher.
fn properties(broker: &BrokerConfig, wish: &Wish) -> ClientConfig {
    let mut config = kafka_link::client_config(broker, &PROPERTIES);
    config.remove("group.instance.id");
    config.set("group.id", wish.group.as_deref().unwrap_or(NAME));
    config.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
    config.set("enable.partition.eof", if wish.until_end { "true" } else { "false" });
    config
}

/// Every topic with its number of partitions. All are asked for: naming one may create it.
fn partitions_of_topics<C: ConsumerContext>(
    client: &BaseConsumer<C>,
    timeout: Duration,
) -> KafkaResult<BTreeMap<String, i32>> {
    let metadata = client.fetch_metadata(None, timeout)?;
    let topics = metadata.topics().iter().filter(|topic| topic.error().is_none());
    Ok(topics.map(|topic| (topic.name().to_owned(), topic.partitions().len() as i32)).collect())
}

/// The partitions that are wanted of each topic.
fn wanted(
    found: &BTreeMap<String, i32>,
    wish: &Wish,
    broker: &BrokerConfig,
) -> Result<BTreeMap<String, Vec<i32>>, WatchError> {
    let of_topic = |topic: &String| {
        let Some(&partitions) = found.get(topic) else {
            let there: BTreeSet<_> = found.keys().filter(|name| !name.starts_with("__")).cloned().collect();
            let at = format!("kafka at {}", kafka_link::brokers(broker));
            return Err(WatchError::NoTopic { topic: topic.clone(), at, there });
        };
        match wish.partition {
            None => Ok((topic.clone(), (0..partitions).collect())),
            Some(partition) if partition < partitions => Ok((topic.clone(), vec![partition])),
            Some(partition) => Err(WatchError::NoPartition { topic: topic.clone(), partition, partitions }),
        }
    };
    wish.topics.iter().map(of_topic).collect()
}

/// What is asked of partitions before they are read.
#[derive(Clone, Copy, Debug)]
struct Ask {
    start: Start,
    until_end: bool,
    timeout: Duration,
}

/// Where the partitions of one topic start, and end if there is to be an end.
fn places<C: ConsumerContext>(
    client: &BaseConsumer<C>,
    topic: &Arc<str>,
    partitions: &[i32],
    ask: Ask,
) -> KafkaResult<Vec<Place>> {
    let times = |at: Offset| {
        let asked = list(partitions.iter().map(|&partition| (&**topic, partition, at)))?;
        let answered = client.offsets_for_times(asked, ask.timeout)?;
        partitions.iter().map(|&partition| found(&answered, topic, partition)).collect::<KafkaResult<Vec<_>>>()
    };
    let (lows, ends) = (times(Offset::Beginning)?, times(Offset::End)?);
    let at_time = ask.start.at_ms(telemetry::now_ms()).map(|at_ms| times(Offset::Offset(at_ms.max(0)))).transpose()?;
    let place = |(at, &partition): (usize, &i32)| {
        let (low, end) = (lows[at].unwrap_or(0), ends[at].unwrap_or(0));
        let by_time = at_time.as_ref().map(|offsets| offsets[at].unwrap_or(end));
        let next = by_time.unwrap_or_else(|| ask.start.offset(low, end));
        Place { end: ask.until_end.then_some(end), high: end, ..Place::new(Arc::clone(topic), partition, next) }
    };
    Ok(partitions.iter().enumerate().map(place).collect())
}

/// The offset that was answered for a partition; none behind its end.
fn found(answered: &TopicPartitionList, topic: &str, partition: i32) -> KafkaResult<Option<i64>> {
    let Some(one) = answered.find_partition(topic, partition) else { return Ok(None) };
    one.error()?;
    Ok(if let Offset::Offset(offset) = one.offset() { Some(offset) } else { None })
}

fn list<'p>(partitions: impl Iterator<Item = (&'p str, i32, Offset)>) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for (topic, partition, offset) in partitions {
        list.add_partition_offset(topic, partition, offset)?;
    }
    Ok(list)
}

#[cfg(test)]
mod tests;
