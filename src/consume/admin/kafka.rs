//! Topics and groups of Kafka, by its admin requests.
//!
//! Nothing is ever named in a request for metadata, since naming a topic may create it: all are asked for. The classic
//! requests for groups are used, which know groups of the classic protocol in full; of the others they tell what is
//! committed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigEntry, ConfigSource, NewPartitions, NewTopic as KafkaTopic,
    ResourceSpecifier, TopicReplication,
};
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::Offset;

use super::{
    AdminError, CLEANUP, Change, GroupDetail, GroupLine, GroupPartition, Member, NewTopic, PartitionDetail, RETENTION,
    Setting, TopicDetail, TopicLine, assignment, records, too_few,
};
use crate::capture::kafka_link::{self, Asker, Context, Link};
use crate::config::BrokerConfig;

/// How often it is looked whether a topic has come or gone, and how long at most.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const LOOK_FOR: Duration = Duration::from_secs(10);
/// Longest time after which settings that were taken are to be seen.
const SETTLE_FOR: Duration = Duration::from_secs(5);

/// A cluster.
#[derive(Clone, Debug)]
pub struct KafkaAdmin {
    broker: BrokerConfig,
}

/// Topics with their partitions, without their offsets.
type Cluster = BTreeMap<String, Vec<PartitionDetail>>;

impl KafkaAdmin {
    pub(super) fn new(broker: &BrokerConfig) -> Self {
        Self { broker: broker.clone() }
    }

    pub(super) fn location(&self) -> String {
        format!("kafka at {}", kafka_link::brokers(&self.broker))
    }

    async fn ask<T: Send + 'static>(
        &self,
        group: Option<&str>,
        question: impl Fn(&Asker, Duration) -> KafkaResult<T> + Send + Sync + 'static,
    ) -> Result<T, AdminError> {
        let mut config = kafka_link::client_config(&self.broker, &[]);
        // Nothing is joined: it is only that the name stands in the question.
        config.remove("group.instance.id");
        config.set("group.id", group.unwrap_or("freshet-admin")).set("enable.auto.commit", "false");
        Ok(kafka_link::ask(&self.broker, &config, question).await?)
    }

    async fn cluster(&self) -> Result<Cluster, AdminError> {
        self.ask(None, cluster).await
    }

    fn client(&self) -> Result<AdminClient<Context<()>>, AdminError> {
        let config = kafka_link::client_config(&self.broker, &[]);
        let context = Context { link: Arc::new(Link::new(&self.broker)), role: () };
        config
            .create_with_context(context)
            .map_err(|error| kafka_link::failed(&self.broker, "connect to", &error).into())
    }

    fn options(&self) -> AdminOptions {
        let timeout = Some(self.broker.connect_timeout.max(Duration::from_millis(100)));
        AdminOptions::new().request_timeout(timeout).operation_timeout(timeout)
    }

    fn failed(&self, action: &'static str, error: &KafkaError) -> AdminError {
        kafka_link::failed(&self.broker, action, error).into()
    }

    fn missing(&self, what: &'static str, name: &str, there: impl IntoIterator<Item = String>) -> AdminError {
        let there: BTreeSet<_> = there.into_iter().filter(|name| !is_internal(name)).collect();
        AdminError::Missing { what, name: name.to_owned(), at: self.location(), there }
    }

    pub(super) async fn topics(&self, internal: bool) -> Result<Vec<TopicLine>, AdminError> {
        let mut cluster = self.cluster().await?;
        cluster.retain(|name, _| internal || !is_internal(name));
        let cluster = self.with_offsets(cluster).await?;
        let names: Vec<&str> = cluster.keys().map(String::as_str).collect();
        let mut settings = self.entries(&names).await?;
        let line = |(name, parts): (&String, &Vec<PartitionDetail>)| {
            line(name, parts, &settings.remove(name).unwrap_or_default())
        };
        Ok(cluster.iter().map(line).collect())
    }

    /// The cluster's topics with that one among them.
    async fn having(&self, name: &str) -> Result<Cluster, AdminError> {
        let cluster = self.cluster().await?;
        if cluster.contains_key(name) { Ok(cluster) } else { Err(self.missing("topic", name, cluster.into_keys())) }
    }

    pub(super) async fn topic(&self, name: &str) -> Result<TopicDetail, AdminError> {
        let mut cluster = self.having(name).await?;
        cluster.retain(|topic, _| topic == name);
        let parts = self.with_offsets(cluster).await?.remove(name).unwrap_or_default();
        let entries = self.entries(&[name]).await?.remove(name).unwrap_or_default();
        let settings = entries.iter().filter_map(differing).collect();
        Ok(TopicDetail { line: line(name, &parts, &entries), parts, settings })
    }

    /// The ends of every partition that has a leader.
    async fn with_offsets(&self, cluster: Cluster) -> Result<Cluster, AdminError> {
        let asked: Vec<(String, i32)> = cluster
            .iter()
            .flat_map(|(name, parts)| parts.iter().map(move |part| (name, part)))
            .filter(|(_, part)| part.leader.is_some())
            .map(|(name, part)| (name.clone(), part.partition))
            .collect();
        let ends = self.ask(None, move |asker, timeout| bounds(asker, &asked, timeout)).await?;
        let mut cluster = cluster;
        for (name, parts) in &mut cluster {
            for part in parts {
                if let Some(&(low, end)) = ends.get(&(name.clone(), part.partition)) {
                    (part.low, part.end) = (Some(low), Some(end));
                }
            }
        }
        Ok(cluster)
    }

    /// The settings of topics. None where the cluster does not tell them.
    async fn entries(&self, topics: &[&str]) -> Result<BTreeMap<String, Vec<ConfigEntry>>, AdminError> {
        if topics.is_empty() {
            return Ok(BTreeMap::new());
        }
        let (client, options) = (self.client()?, self.options());
        let asked: Vec<_> = topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
        let described = client.describe_configs(&asked, &options).await;
        let described = described.map_err(|error| self.failed("ask for the settings of topics of", &error))?;
        // Dropping a client waits for its threads.
        tokio::task::spawn_blocking(move || drop(client));
        let entries = topics.iter().zip(described).filter_map(|(topic, found)| Some((topic, found.ok()?)));
        Ok(entries.map(|(topic, found)| ((*topic).to_owned(), found.entries)).collect())
    }

    pub(super) async fn create(&self, topic: NewTopic) -> Result<(), AdminError> {
        if self.cluster().await?.contains_key(&topic.name) {
            return Err(AdminError::Exists(topic.name));
        }
        let (client, options) = (self.client()?, self.options());
        let replication = TopicReplication::Fixed(topic.replication);
        let mut new = KafkaTopic::new(&topic.name, topic.partitions, replication);
        for (name, value) in &topic.settings {
            new = new.set(name, value);
        }
        let created = client.create_topics([&new], &options).await;
        tokio::task::spawn_blocking(move || drop(client));
        let created = created.map_err(|error| self.failed("create a topic on", &error))?;
        match created.into_iter().next() {
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Err(AdminError::Exists(topic.name)),
            Some(Err((_, code))) => Err(refused("create topic", &topic.name, code)),
            _ => {
                let partitions = topic.partitions;
                self.seen(&topic.name, move |parts| parts.is_some_and(|parts| parts as i32 >= partitions)).await
            }
        }
    }

    /// Waits until the cluster tells what was done; it is done in any case.
    async fn seen(&self, name: &str, is_done: impl Fn(Option<usize>) -> bool) -> Result<(), AdminError> {
        let deadline = Instant::now() + LOOK_FOR;
        while !is_done(self.cluster().await?.get(name).map(Vec::len)) && Instant::now() < deadline {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    pub(super) async fn alter(&self, name: &str, change: Change) -> Result<(), AdminError> {
        let has = self.having(name).await?[name].len() as i32;
        if let Some(error) = change.partitions.and_then(|wanted| too_few(name, has, wanted)) {
            return Err(error);
        }
        if !change.settings.is_empty() {
            self.set(name, change.settings).await?;
        }
        let Some(partitions) = change.partitions else { return Ok(()) };
        let (client, options) = (self.client()?, self.options());
        let added = client.create_partitions([&NewPartitions::new(name, partitions as usize)], &options).await;
        tokio::task::spawn_blocking(move || drop(client));
        let added = added.map_err(|error| self.failed("add partitions on", &error))?;
        if let Some(Err((_, code))) = added.into_iter().next() {
            return Err(refused("alter topic", name, code));
        }
        self.seen(name, move |parts| parts.is_none_or(|parts| parts as i32 >= partitions)).await
    }

    /// The request sets all settings of a topic at once, so that those it has go with those that change. The client does
    /// not tell what the cluster has refused, so that it is looked at afterwards.
    async fn set(&self, name: &str, changes: BTreeMap<String, Option<String>>) -> Result<(), AdminError> {
        let entries = self.entries(&[name]).await?.remove(name).unwrap_or_default();
        if let Some(unknown) = changes.keys().find(|key| entries.iter().all(|entry| entry.name != **key)) {
            return Err(unknown_setting(name, unknown, &entries));
        }
        let mut wanted = of_topic(entries);
        for (name, value) in changes {
            match value {
                Some(value) => drop(wanted.insert(name, value)),
                None => drop(wanted.remove(&name)),
            }
        }
        let mut config = AlterConfig::new(ResourceSpecifier::Topic(name));
        for (name, value) in &wanted {
            config = config.set(name, value);
        }
        let (client, options) = (self.client()?, self.options());
        let altered = client.alter_configs([&config], &options).await;
        tokio::task::spawn_blocking(move || drop(client));
        let altered = altered.map_err(|error| self.failed("alter a topic of", &error))?;
        if let Some(Err((_, code))) = altered.into_iter().next() {
            return Err(refused("alter topic", name, code));
        }
        let deadline = Instant::now() + SETTLE_FOR;
        while of_topic(self.entries(&[name]).await?.remove(name).unwrap_or_default()) != wanted {
            if Instant::now() > deadline {
                let reason = "kafka has not taken it: a setting has a value that is not allowed, or the user of \
                              [broker.properties] lacks the right to alter the topic";
                return Err(AdminError::Refused {
                    action: "alter topic",
                    name: name.to_owned(),
                    reason: reason.to_owned(),
                });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    pub(super) async fn delete(&self, name: &str) -> Result<(), AdminError> {
        self.having(name).await?;
        let (client, options) = (self.client()?, self.options());
        let deleted = client.delete_topics(&[name], &options).await;
        tokio::task::spawn_blocking(move || drop(client));
        let deleted = deleted.map_err(|error| self.failed("delete a topic of", &error))?;
        match deleted.into_iter().next() {
            Some(Err((_, code))) => Err(refused("delete topic", name, code)),
            _ => self.seen(name, |parts| parts.is_none()).await,
        }
    }

    pub(super) async fn groups(&self) -> Result<Vec<GroupLine>, AdminError> {
        let mut groups = self.ask(None, |asker, timeout| group_list(asker, None, timeout)).await?;
        groups.sort_by(|a, b| a.line.name.cmp(&b.line.name));
        Ok(groups.into_iter().map(|group| group.line).collect())
    }

    pub(super) async fn group(&self, name: &str) -> Result<GroupDetail, AdminError> {
        let wanted = name.to_owned();
        let described = self.ask(None, move |asker, timeout| group_list(asker, Some(&wanted), timeout)).await?;
        let Some(mut group) = described.into_iter().next() else {
            let there = self.groups().await?;
            return Err(self.missing("group", name, there.into_iter().map(|group| group.name)));
        };
        let committed = self.committed(name).await?;
        let assigned = group.assigned();
        let keys: BTreeSet<_> = committed.keys().chain(assigned.keys()).cloned().collect();
        let asked: Vec<_> = keys.iter().cloned().collect();
        let ends = self.ask(None, move |asker, timeout| bounds(asker, &asked, timeout)).await?;
        group.partitions = keys
            .into_iter()
            .map(|key| {
                let (committed, end) = (committed.get(&key).copied(), ends.get(&key).map(|&(_, end)| end));
                let lag = end.zip(committed).map(|(end, committed)| (end - committed).max(0));
                let member = assigned.get(&key).cloned();
                GroupPartition { topic: key.0, partition: key.1, committed, end, lag, member }
            })
            .collect();
        Ok(group)
    }

    /// What a group has committed, of every topic that there is.
    async fn committed(&self, group: &str) -> Result<BTreeMap<(String, i32), i64>, AdminError> {
        let cluster = self.cluster().await?;
        self.ask(Some(group), move |asker, timeout| {
            let mut asked = TopicPartitionList::new();
            for (name, parts) in &cluster {
                for part in parts {
                    asked.add_partition(name, part.partition);
                }
            }
            let answered = asker.committed_offsets(asked, timeout)?;
            let offset = |offset| if let Offset::Offset(offset) = offset { Some(offset) } else { None };
            let found = answered.elements();
            let found =
                found.iter().filter_map(|one| Some(((one.topic().to_owned(), one.partition()), offset(one.offset())?)));
            Ok(found.collect())
        })
        .await
    }
}

impl GroupDetail {
    /// Who reads which partition.
    fn assigned(&self) -> BTreeMap<(String, i32), String> {
        let mut assigned = BTreeMap::new();
        for member in &self.member_list {
            for (topic, partitions) in member.assignment.iter().flatten() {
                for &partition in partitions {
                    assigned.insert((topic.clone(), partition), format!("{} at {}", member.client_id, member.host));
                }
            }
        }
        assigned
    }
}

/// Kafka's own, such as the one that committed offsets are in.
fn is_internal(topic: &str) -> bool {
    topic.starts_with("__")
}

fn cluster(asker: &Asker, timeout: Duration) -> KafkaResult<Cluster> {
    let metadata = asker.fetch_metadata(None, timeout)?;
    let topics = metadata.topics().iter().filter(|topic| topic.error().is_none());
    let part = |part: &rdkafka::metadata::MetadataPartition| PartitionDetail {
        partition: part.id(),
        leader: Some(part.leader()).filter(|leader| *leader >= 0),
        replicas: part.replicas().to_vec(),
        isr: part.isr().to_vec(),
        low: None,
        end: None,
    };
    let parts = |topic: &rdkafka::metadata::MetadataTopic| {
        let mut parts: Vec<_> = topic.partitions().iter().map(part).collect();
        parts.sort_by_key(|part| part.partition);
        parts
    };
    Ok(topics.map(|topic| (topic.name().to_owned(), parts(topic))).collect())
}

/// The lowest offset and the end of partitions, those that have a leader who tells.
fn bounds(
    asker: &Asker,
    partitions: &[(String, i32)],
    timeout: Duration,
) -> KafkaResult<BTreeMap<(String, i32), (i64, i64)>> {
    if partitions.is_empty() {
        return Ok(BTreeMap::new());
    }
    let edge = |at: Offset| -> KafkaResult<BTreeMap<(String, i32), i64>> {
        let mut list = TopicPartitionList::new();
        for (topic, partition) in partitions {
            list.add_partition_offset(topic, *partition, at)?;
        }
        let answered = asker.offsets_for_times(list, timeout)?;
        let offset = |one: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| match (one.error(), one.offset())
        {
            (Ok(()), Offset::Offset(offset)) => Some(((one.topic().to_owned(), one.partition()), offset)),
            _ => None,
        };
        Ok(answered.elements().iter().filter_map(offset).collect())
    };
    let (lows, ends) = (edge(Offset::Beginning)?, edge(Offset::End)?);
    Ok(lows.into_iter().filter_map(|(key, low)| ends.get(&key).map(|&end| (key, (low, end)))).collect())
}

/// Groups with their members; one, or all.
fn group_list(asker: &Asker, group: Option<&str>, timeout: Duration) -> KafkaResult<Vec<GroupDetail>> {
    // Before the first answer of any broker librdkafka knows none that it could ask for groups.
    asker.fetch_metadata(None, timeout)?;
    let listed = asker.fetch_group_list(group, timeout)?;
    let member = |member: &rdkafka::groups::GroupMemberInfo| Member {
        id: member.id().to_owned(),
        client_id: member.client_id().to_owned(),
        host: member.client_host().trim_start_matches('/').to_owned(),
        assignment: assignment::parse(member.assignment().unwrap_or_default()),
    };
    let detail = |group: &rdkafka::groups::GroupInfo| {
        let is_consumers = matches!(group.protocol_type(), "consumer" | "");
        let mut member_list: Vec<_> = group.members().iter().map(member).collect();
        member_list.iter_mut().filter(|_| !is_consumers).for_each(|member| member.assignment = None);
        member_list.sort_by(|a, b| (&a.client_id, &a.id).cmp(&(&b.client_id, &b.id)));
        let (state, members) = (Some(group.state().to_owned()), Some(member_list.len()));
        let strategy = Some(group.protocol().to_owned()).filter(|protocol| !protocol.is_empty());
        let line = GroupLine { name: group.name().to_owned(), state, members };
        GroupDetail { line, strategy, member_list, partitions: Vec::new() }
    };
    Ok(listed.groups().iter().map(detail).collect())
}

fn line(name: &str, parts: &[PartitionDetail], entries: &[ConfigEntry]) -> TopicLine {
    let value = |name: &str| entries.iter().find(|entry| entry.name == name).and_then(|entry| entry.value.clone());
    TopicLine {
        name: name.to_owned(),
        partitions: parts.len() as i32,
        replication: parts.iter().map(|part| part.replicas.len()).max(),
        records: records(parts),
        bytes: None,
        retention_ms: value(RETENTION).and_then(|value| value.parse().ok()),
        cleanup: value(CLEANUP),
    }
}

/// A setting that is not Kafka's default.
fn differing(entry: &ConfigEntry) -> Option<Setting> {
    let set_by = match entry.source {
        ConfigSource::DynamicTopic => "topic",
        ConfigSource::DynamicBroker | ConfigSource::DynamicDefaultBroker | ConfigSource::StaticBroker => "broker",
        ConfigSource::Unknown | ConfigSource::Default => return None,
    };
    let value = entry.value.clone().filter(|_| !entry.is_sensitive);
    Some(Setting { name: entry.name.clone(), value, set_by })
}

/// The settings that the topic itself has.
fn of_topic(entries: Vec<ConfigEntry>) -> BTreeMap<String, String> {
    let of_topic = entries.into_iter().filter(|entry| entry.source == ConfigSource::DynamicTopic);
    of_topic.filter_map(|entry| Some((entry.name, entry.value?))).collect()
}

fn unknown_setting(topic: &str, unknown: &str, entries: &[ConfigEntry]) -> AdminError {
    let names: BTreeSet<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
    let meant = names.iter().find(|name| strsim::damerau_levenshtein(name, unknown) <= 3);
    let meant = meant.map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
    let all: Vec<_> = names.into_iter().collect();
    let reason = format!("a setting is unknown, {unknown:?}{meant} (there are {})", all.join(", "));
    AdminError::Refused { action: "alter topic", name: topic.to_owned(), reason }
}

/// What the cluster's refusal means.
fn refused(action: &'static str, name: &str, code: RDKafkaErrorCode) -> AdminError {
    use RDKafkaErrorCode as Code;
    let advice = match code {
        Code::InvalidReplicationFactor => "; --replication is at most the number of brokers",
        Code::InvalidPartitions => "; --partitions is at least 1",
        Code::InvalidTopic => "; a name has 1 to 249 letters, digits, dots, underscores and hyphens",
        Code::InvalidConfig | Code::InvalidRequest => {
            "; a setting is unknown or has a value that is not allowed: see Kafka's topic configurations"
        }
        Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed => {
            "; the user of [broker.properties] lacks the right to do it"
        }
        Code::PolicyViolation => "; the cluster's policy forbids it",
        _ => "",
    };
    AdminError::Refused { action, name: name.to_owned(), reason: format!("{code}{advice}") }
}

#[cfg(test)]
mod tests;
