//! What an operator can set, section by section, and how the layers of settings become one checked [`Config`].
//!
//! `config.toml` at the top of the repository is compiled in as the default and documents every key for the operator;
//! the types here are its mirror. This module uses no stage, so that every stage may use it.
//!
//! In: the default, a file, the environment, flags. Out: a [`Loaded`] configuration that knows where each value came
//! from, or a [`ConfigError`] with every problem and its place. Guarantee: a [`Config`] that was loaded is within every
//! bound that `config.toml` states, and a secret is in no error and no output.

mod check;
mod layers;
mod learn;
mod load;
mod mask;
mod preset;
mod problem;
mod shards;
mod show;
mod topics;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use check::{is_key, out_of_range};
pub use layers::{Setting, Source};
pub use learn::{
    BayesianMfConfig, BiasedMfConfig, BiasesConfig, BlendConfig, DriftConfig, ItemKnnConfig, LearnConfig, LearnerKind,
    PopularityConfig,
};
pub use load::{LoadOptions, Loaded, process_environment};
pub use mask::{MASK, Secret, is_secret, mask_uri};
pub use problem::{ConfigError, Problem};
pub use shards::Share;
pub use topics::{Decoder, TopicConfig, TopicKind};

/// `config.toml` as compiled in: every key with its default and a comment.
pub const DEFAULT_TOML: &str = include_str!("../../config.toml");

/// Every setting, after all layers are merged and checked.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where events are read from.
    pub broker: BrokerConfig,
    /// Topics that are read beside `broker.topic`, by name.
    pub topics: BTreeMap<String, TopicConfig>,
    /// What an event may hold.
    pub decode: DecodeConfig,
    /// How events become micro-batches.
    pub gather: GatherConfig,
    /// Which learners run.
    pub learn: LearnConfig,
    /// How a drift is detected, and what is done then.
    pub drift: DriftConfig,
    /// Parameters of the Bayesian matrix factorization.
    pub bayesian_mf: BayesianMfConfig,
    /// Parameters of the biases.
    pub biases: BiasesConfig,
    /// Parameters of the biased matrix factorization.
    pub biased_mf: BiasedMfConfig,
    /// Parameters of the decayed popularity.
    pub popularity: PopularityConfig,
    /// Parameters of the item-based nearest neighbours.
    pub item_knn: ItemKnnConfig,
    /// Parameters of the blend.
    pub blend: BlendConfig,
    /// Where events, dead letters and snapshots are kept.
    pub store: StoreConfig,
    /// HTTP.
    pub serve: ServeConfig,
    /// The engine that joins the stages.
    pub engine: EngineConfig,
    /// Log lines of this process.
    pub log: LogConfig,
}

impl Default for Config {
    /// The compiled-in defaults.
    fn default() -> Self {
        toml::from_str(DEFAULT_TOML).expect("a test reads the compiled-in defaults")
    }
}

/// Kind of log that events are read from.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BrokerKind {
    /// The durable log in `store.data_dir`.
    Embedded,
    /// Apache Kafka.
    Kafka,
}

/// `[broker]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BrokerConfig {
    /// Embedded or Kafka.
    pub kind: BrokerKind,
    /// Topic of the events.
    pub topic: String,
    /// Consumer group of the engine.
    pub group: String,
    /// Kafka bootstrap servers.
    pub servers: String,
    /// Partitions of a topic that has to be created.
    pub partitions: i32,
    /// Replication factor of a Kafka topic that has to be created.
    pub replication: i32,
    /// Longest wait for an unreachable broker at the start.
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    /// Pause between two looks at an embedded log without new records.
    #[serde(with = "duration")]
    pub poll_interval: Duration,
    /// Topic that a trainer tells servers of its model by.
    pub model_topic: String,
    /// Topic that trainers tell each other by of the items that they learn together.
    pub shared_topic: String,
    /// librdkafka properties, given to producer and consumer.
    pub properties: BTreeMap<String, String>,
}

/// `[decode]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DecodeConfig {
    /// Lowest rating accepted.
    pub min_rating: f32,
    /// Highest rating accepted.
    pub max_rating: f32,
    /// Largest payload decoded, in bytes.
    pub max_bytes: usize,
}

/// How a micro-batch closes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GatherMode {
    /// On `size` events or after `linger`.
    Count,
    /// After `length`.
    Window,
    /// Every `slide`, rehearsing what is still inside `length`.
    Sliding,
}

/// `[gather]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GatherConfig {
    /// How a micro-batch closes.
    pub mode: GatherMode,
    /// Events in a count batch.
    pub size: usize,
    /// Longest wait of a count batch's first event.
    #[serde(with = "duration")]
    pub linger: Duration,
    /// Length of a window.
    #[serde(with = "duration")]
    pub length: Duration,
    /// Time between two batches of a sliding window.
    #[serde(with = "duration")]
    pub slide: Duration,
    /// Accepted events among which an `id` may stand only once; 0 to look at no id.
    pub id_window: usize,
}

/// Kind of store.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// An SQLite file in `data_dir`.
    Embedded,
    /// MongoDB.
    Mongodb,
}

/// `[store]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    /// Embedded or MongoDB.
    pub kind: StoreKind,
    /// Folder of the embedded log and store.
    pub data_dir: PathBuf,
    /// MongoDB connection string.
    pub uri: String,
    /// MongoDB database.
    pub database: String,
    /// Longest wait for an unreachable database at the start.
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    /// Events between two snapshots; 0 for none but the one on stop.
    pub snapshot_every: u64,
    /// Most events written in one transaction.
    pub write_batch: usize,
    /// Transactions that write at the same time and commit in order; of the embedded store one.
    pub write_lanes: usize,
    /// Newest snapshots that are kept.
    pub keep_last: usize,
    /// Hours of which the newest snapshot each is kept.
    pub keep_hourly: usize,
}

/// How the best items of a user are found.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SearchKind {
    /// All of them.
    #[default]
    Exact,
    /// Most of them.
    Approximate,
}

/// `[serve]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ServeConfig {
    /// Address to listen on.
    pub host: String,
    /// Port to listen on; 0 for any free one.
    pub port: u16,
    /// Items in an answer unless the request says otherwise.
    pub default_n: usize,
    /// Most items in an answer.
    pub max_n: usize,
    /// Longest that a request may take.
    #[serde(with = "duration")]
    pub request_timeout: Duration,
    /// Longest that a request may wait for the model.
    #[serde(with = "duration")]
    pub max_wait: Duration,
    /// Whether lists may miss some of the best items.
    pub search: SearchKind,
    /// Items that an approximate search keeps in sight.
    pub search_ef: usize,
    /// Bytes of answers that are kept.
    pub cache_bytes: usize,
    /// Most bytes of a request's body.
    pub max_body: usize,
    /// Most events of a request.
    pub max_events: usize,
    /// Origins of the pages that may ask from a browser.
    pub cors_origins: Vec<String>,
    /// Keys that may read.
    pub read_keys: Secret,
    /// Keys that may send events.
    pub ingest_keys: Secret,
    /// Keys that may do everything.
    pub admin_keys: Secret,
    /// File with more keys; empty for none.
    pub keys_file: PathBuf,
    /// Whether nothing may be changed.
    pub read_only: bool,
    /// Whether other machines may be served without keys.
    pub insecure: bool,
    /// PEM file of the certificate chain; empty for HTTP without TLS.
    pub tls_cert: PathBuf,
    /// PEM file of the private key.
    pub tls_key: PathBuf,
    /// Requests a second from one client; 0 for any number.
    pub rate_limit: u32,
    /// Requests from one client at once.
    pub rate_burst: u32,
    /// Longest wait for a processor before requests are refused; 0 to refuse none.
    #[serde(with = "duration")]
    pub shed_after: Duration,
    /// Connections at the same time.
    pub max_connections: usize,
    /// Streams at the same time.
    pub max_streams: usize,
    /// Longest that the first head on a connection may take.
    #[serde(with = "duration")]
    pub head_timeout: Duration,
    /// Longest pause within a body.
    #[serde(with = "duration")]
    pub body_timeout: Duration,
    /// Longest that a connection may be without a request.
    #[serde(with = "duration")]
    pub idle_timeout: Duration,
}

/// What a process of the engine does.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Learns and answers.
    #[default]
    All,
    /// Learns, answers, and tells servers of its model.
    Trainer,
    /// Answers from a trainer's model.
    Server,
}

/// `[engine]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct EngineConfig {
    /// What this process does.
    pub role: Role,
    /// Trainers that share the users among them.
    pub shards: usize,
    /// Which of them this one is, from 0.
    pub shard: usize,
    /// Time between two exchanges of what trainers have learned of items.
    #[serde(with = "duration")]
    pub share_every: Duration,
    /// Events of a trainer after which an exchange does not wait for that.
    pub share_events: u64,
    /// Shortest time between two deltas of a trainer.
    #[serde(with = "duration")]
    pub delta_every: Duration,
    /// Age of the model beyond which a server is not ready; 0 for any.
    #[serde(with = "duration")]
    pub max_staleness: Duration,
    /// Longest that a graceful stop may take.
    #[serde(with = "duration")]
    pub stop_deadline: Duration,
    /// Micro-batches that may wait between two stages.
    pub queue: usize,
    /// Bytes that users' rows may take in memory; 0 for any number.
    pub user_bytes: usize,
}

/// Form of the log lines.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[log]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// Least severe level, or a filter.
    pub level: String,
    /// Text or JSON.
    pub format: LogFormat,
    /// Where traces are exported to; empty for nowhere.
    pub otlp_endpoint: String,
}

/// Durations as an operator writes them: `"250ms"`, `"20s"`, `"5m"`.
mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bad = || D::Error::custom(format!("{text:?} is not a duration; write it as \"250ms\", \"20s\" or \"5m\""));
        let signed: jiff::SignedDuration = text.parse().map_err(|_| bad())?;
        Duration::try_from(signed).map_err(|_| bad())
    }

    pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        let signed = jiff::SignedDuration::try_from(*duration).map_err(serde::ser::Error::custom)?;
        serializer.serialize_str(&format!("{signed:#}"))
    }
}
