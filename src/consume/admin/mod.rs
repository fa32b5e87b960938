//! Topics and consumer groups as an operator sees them: listed, described, created, altered and deleted.
//!
//! Apart from the consumers, because it reads no record. Kafka and the embedded log stand behind one [`Admin`]; what the
//! embedded log does not have (replicas, retention, members) is none, or refused with what is allowed.

mod assignment;
mod embedded;
mod kafka;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use self::embedded::EmbeddedAdmin;
use self::kafka::KafkaAdmin;
use crate::capture::LogError;
use crate::config::{BrokerKind, Config};

/// Setting that says how long records are kept, in milliseconds; negative for ever.
pub const RETENTION: &str = "retention.ms";
/// Setting that says what becomes of old records: `delete`, `compact`, or both.
pub const CLEANUP: &str = "cleanup.policy";

/// A topic in a list.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TopicLine {
    /// Name.
    pub name: String,
    /// Number of partitions.
    pub partitions: i32,
    /// Copies of each partition; none on the embedded log.
    pub replication: Option<usize>,
    /// Offsets between the ends of the partitions: its records, and on Kafka at most so many.
    pub records: Option<u64>,
    /// Bytes of keys and payloads, where they are known.
    pub bytes: Option<u64>,
    /// `retention.ms`, where it is known; negative for ever.
    pub retention_ms: Option<i64>,
    /// `cleanup.policy`, where it is known.
    pub cleanup: Option<String>,
}

/// A topic in full.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TopicDetail {
    /// As in a list.
    #[serde(flatten)]
    pub line: TopicLine,
    /// Its partitions.
    pub parts: Vec<PartitionDetail>,
    /// Settings that are not Kafka's own defaults.
    pub settings: Vec<Setting>,
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PartitionDetail {
    /// Number.
    pub partition: i32,
    /// Broker that leads it; none while there is none, and on the embedded log.
    pub leader: Option<i32>,
    /// Brokers that hold it.
    pub replicas: Vec<i32>,
    /// Those of them that are in sync.
    pub isr: Vec<i32>,
    /// Lowest offset, where a leader tells it.
    pub low: Option<i64>,
    /// One past the last offset.
    pub end: Option<i64>,
}

/// A setting of a topic.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Setting {
    /// Name, such as `retention.ms`.
    pub name: String,
    /// Value; none if it is secret.
    pub value: Option<String>,
    /// Who has set it: `topic` or `broker`.
    pub set_by: &'static str,
}

/// A topic to be created.
#[derive(Clone, Debug, PartialEq)]
pub struct NewTopic {
    /// Name.
    pub name: String,
    /// Number of partitions.
    pub partitions: i32,
    /// Copies of each partition.
    pub replication: i32,
    /// Settings.
    pub settings: BTreeMap<String, String>,
}

/// What is to become of a topic.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    /// Number of partitions, more than there are.
    pub partitions: Option<i32>,
    /// Settings; none gives one its default again.
    pub settings: BTreeMap<String, Option<String>>,
}

/// A consumer group in a list.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupLine {
    /// Name.
    pub name: String,
    /// State, as Kafka names it; none on the embedded log.
    pub state: Option<String>,
    /// Members, where they are known.
    pub members: Option<usize>,
}

/// A consumer group in full.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupDetail {
    /// As in a list.
    #[serde(flatten)]
    pub line: GroupLine,
    /// How partitions are shared out, as Kafka names it.
    pub strategy: Option<String>,
    /// Its members, where they are known.
    pub member_list: Vec<Member>,
    /// Partitions that it has committed, or that a member reads.
    pub partitions: Vec<GroupPartition>,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Member {
    /// Name that the group has given it.
    pub id: String,
    /// `client.id`.
    pub client_id: String,
    /// Host that it comes from.
    pub host: String,
    /// Partitions that it reads, by topic; none if what Kafka tells of them is not understood.
    pub assignment: Option<BTreeMap<String, Vec<i32>>>,
}

/// How far a group is in a partition.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupPartition {
    /// Topic.
    pub topic: String,
    /// Partition number.
    pub partition: i32,
    /// The next offset to read, as committed.
    pub committed: Option<i64>,
    /// One past the last offset, where a leader tells it.
    pub end: Option<i64>,
    /// Records between the two.
    pub lag: Option<i64>,
    /// `client.id` and host of the member that reads it.
    pub member: Option<String>,
}

/// Why something cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The log failed.
    #[error("{0}")]
    Log(#[from] LogError),
    /// There is no such topic or group.
    #[error("{at} has no {what} {name:?}; it has {}", listed(.there, .name))]
    Missing {
        /// `topic` or `group`.
        what: &'static str,
        /// The name that was asked for.
        name: String,
        /// The log, for people.
        at: String,
        /// The names that there are.
        there: BTreeSet<String>,
    },
    /// There is one of that name.
    #[error("topic {0:?} is there already; freshet topics alter changes it")]
    Exists(String),
    /// The log has said no.
    #[error("cannot {action} {name:?}: {reason}")]
    Refused {
        /// `create topic`.
        action: &'static str,
        /// The topic or group.
        name: String,
        /// Why, and what is allowed.
        reason: String,
    },
    /// The embedded log does not have it.
    #[error(
        "the embedded log keeps every record: it has no retention, no compaction and no other settings of topics, which are \
         Kafka's (broker.kind = \"kafka\"); --partitions is allowed"
    )]
    NotEmbedded,
}

/// Names; where there are many those that are most like the one that was asked for.
fn listed(names: &BTreeSet<String>, asked: &str) -> String {
    const SHOWN: usize = 20;
    if names.is_empty() {
        return "none".to_owned();
    }
    let mut shown: Vec<&str> = names.iter().map(String::as_str).collect();
    if shown.len() > SHOWN {
        let likeness = |name: &&str| std::cmp::Reverse((strsim::jaro_winkler(asked, name) * 1000.0) as u32);
        shown.sort_by_key(likeness);
        shown.truncate(SHOWN);
    }
    let more = names.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

/// The configured log.
pub enum Admin {
    /// Kafka.
    Kafka(KafkaAdmin),
    /// The embedded log.
    Embedded(EmbeddedAdmin),
}

impl Admin {
    /// The configured log; nothing is asked yet.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        match config.broker.kind {
            BrokerKind::Kafka => Self::Kafka(KafkaAdmin::new(&config.broker)),
            BrokerKind::Embedded => Self::Embedded(EmbeddedAdmin::new(config)),
        }
    }

    /// The log, for people.
    #[must_use]
    pub fn location(&self) -> String {
        match self {
            Self::Kafka(kafka) => kafka.location(),
            Self::Embedded(embedded) => embedded.location(),
        }
    }

    /// Every topic in order of its name; `internal` ones, whose names begin with `__`, if they are asked for.
    ///
    /// # Errors
    /// If the log cannot be asked.
    pub async fn topics(&self, internal: bool) -> Result<Vec<TopicLine>, AdminError> {
        match self {
            Self::Kafka(kafka) => kafka.topics(internal).await,
            Self::Embedded(embedded) => embedded.topics().await,
        }
    }

    /// One topic.
    ///
    /// # Errors
    /// If the log cannot be asked, or has no such topic.
    pub async fn topic(&self, name: &str) -> Result<TopicDetail, AdminError> {
        match self {
            Self::Kafka(kafka) => kafka.topic(name).await,
            Self::Embedded(embedded) => embedded.topic(name).await,
        }
    }

    /// Creates a topic; it is there when this returns.
    ///
    /// # Errors
    /// If there is one of that name, or the log refuses.
    pub async fn create(&self, topic: NewTopic) -> Result<(), AdminError> {
        match self {
            Self::Kafka(kafka) => kafka.create(topic).await,
            Self::Embedded(embedded) => embedded.create(topic).await,
        }
    }

    /// Changes a topic.
    ///
    /// # Errors
    /// If there is none of that name, it would lose partitions, or the log refuses.
    pub async fn alter(&self, name: &str, change: Change) -> Result<(), AdminError> {
        match self {
            Self::Kafka(kafka) => kafka.alter(name, change).await,
            Self::Embedded(embedded) => embedded.alter(name, change).await,
        }
    }

    /// Deletes a topic with its records; it is gone when this returns.
    ///
    /// # Errors
    /// If there is none of that name, or the log refuses.
    pub async fn delete(&self, name: &str) -> Result<(), AdminError> {
        match self {
            Self::Kafka(kafka) => kafka.delete(name).await,
            Self::Embedded(embedded) => embedded.delete(name).await,
        }
    }

    /// Every consumer group in order of its name.
    ///
    /// # Errors
    /// If the log cannot be asked.
    pub async fn groups(&self) -> Result<Vec<GroupLine>, AdminError> {
        match self {
            Self::Kafka(kafka) => kafka.groups().await,
            Self::Embedded(embedded) => embedded.groups().await,
        }
    }

    /// One consumer group.
    ///
    /// # Errors
    /// If the log cannot be asked, or has no such group.
    pub async fn group(&self, name: &str) -> Result<GroupDetail, AdminError> {
        match self {
            Self::Kafka(kafka) => kafka.group(name).await,
            Self::Embedded(embedded) => embedded.group(name).await,
        }
    }
}

/// Offsets between the ends.
fn records(parts: &[PartitionDetail]) -> Option<u64> {
    parts.iter().map(|part| Some(part.end?.abs_diff(part.low?))).sum()
}

/// Why a topic cannot have so many partitions.
fn too_few(name: &str, has: i32, wanted: i32) -> Option<AdminError> {
    let reason = format!("it has {has} partitions, and partitions can only be added: more than {has} are allowed");
    (wanted <= has).then(|| AdminError::Refused { action: "alter topic", name: name.to_owned(), reason })
}
