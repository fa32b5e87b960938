//! Checks the merged settings against every bound that `config.toml` states.
//!
//! Apart from the types, because a bound may lie between two keys and is checked once, after the merge.

use std::fmt;

use jiff::SignedDuration;
use toml::Value;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::layers::{Setting, TOPICS};
use super::{BrokerKind, Config, GatherMode, LearnerKind, Problem, Role, Secret, StoreKind, TopicConfig, mask};

/// Values that a key may have, both ends included.
#[derive(Clone, Copy, Debug)]
pub(super) enum Range {
    Whole(i64, i64),
    Real(f64, f64),
    Time(&'static str, &'static str),
}

impl fmt::Display for Range {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(low, high) => write!(out, "{low} to {high}"),
            Self::Real(low, high) => write!(out, "{low} to {high}"),
            Self::Time(low, high) => write!(out, "\"{low}\" to \"{high}\""),
        }
    }
}

impl Range {
    fn holds(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Whole(low, high), Value::Integer(value)) => (low..=high).contains(value),
            (Self::Real(low, high), Value::Integer(value)) => (low..=high).contains(&(*value as f64)),
            (Self::Real(low, high), Value::Float(value)) => (low..=high).contains(value),
            (Self::Time(low, high), Value::String(value)) => time(value).is_some_and(|value| {
                let bound = |text| time(text).expect("a test reads the bounds");
                (bound(low)..=bound(high)).contains(&value)
            }),
            _ => false,
        }
    }
}

fn time(text: &str) -> Option<SignedDuration> {
    text.parse().ok()
}

pub(super) const RANGES: &[(&str, Range)] = &[
    ("broker.partitions", Range::Whole(1, 10_000)),
    ("broker.replication", Range::Whole(1, 10)),
    ("broker.connect_timeout", Range::Time("0s", "1h")),
    ("broker.poll_interval", Range::Time("1ms", "1m")),
    ("decode.max_bytes", Range::Whole(1, 104_857_600)),
    ("gather.size", Range::Whole(1, 1_000_000)),
    ("gather.linger", Range::Time("0s", "1h")),
    ("gather.length", Range::Time("1ms", "1h")),
    ("gather.slide", Range::Time("1ms", "1h")),
    ("gather.id_window", Range::Whole(0, 10_000_000)),
    ("learn.seed", Range::Whole(0, i64::MAX)),
    ("drift.confidence", Range::Real(0.000_001, 0.5)),
    ("drift.user_events", Range::Real(1.0, 1e6)),
    ("drift.boost", Range::Real(1.0, 1000.0)),
    ("drift.boost_events", Range::Whole(1, 1_000_000)),
    ("bayesian_mf.factors", Range::Whole(1, 15)),
    ("bayesian_mf.window", Range::Whole(4, 64)),
    ("bayesian_mf.user_memory", Range::Real(1.0, 1e6)),
    ("bayesian_mf.item_memory", Range::Real(1.0, 1e6)),
    ("bayesian_mf.twin_item_memory", Range::Real(1.0, 1e6)),
    ("bayesian_mf.bias_precision", Range::Real(0.01, 1e6)),
    ("bayesian_mf.factor_precision", Range::Real(0.01, 1e6)),
    ("bayesian_mf.weight_precision", Range::Real(0.01, 1e6)),
    ("bayesian_mf.genre_precision", Range::Real(0.01, 1e6)),
    ("bayesian_mf.variational", Range::Real(0.0, 1.0)),
    ("bayesian_mf.drift_slow", Range::Real(0.0, 10.0)),
    ("bayesian_mf.drift_burst", Range::Real(0.0, 10.0)),
    ("bayesian_mf.burst_seconds", Range::Real(0.001, 1e6)),
    ("bayesian_mf.forget", Range::Real(0.9, 1.0)),
    ("biases.rate", Range::Real(0.0, 1.0)),
    ("biases.l2", Range::Real(0.0, 10.0)),
    ("biased_mf.factors", Range::Whole(1, 1024)),
    ("biased_mf.bias_rate", Range::Real(0.0, 1.0)),
    ("biased_mf.factor_rate", Range::Real(0.0, 1.0)),
    ("biased_mf.bias_l2", Range::Real(0.0, 10.0)),
    ("biased_mf.factor_l2", Range::Real(0.0, 10.0)),
    ("biased_mf.init_scale", Range::Real(0.0, 10.0)),
    ("popularity.half_life", Range::Real(1.0, 1e6)),
    ("item_knn.half_life", Range::Real(0.0, 1e6)),
    ("item_knn.history", Range::Whole(1, 100_000)),
    ("item_knn.neighbours", Range::Whole(1, 1_000_000)),
    ("blend.history", Range::Whole(1, 100_000)),
    ("blend.recent", Range::Whole(1, 1000)),
    ("blend.short_half_life", Range::Real(0.1, 1e6)),
    ("blend.middle_half_life", Range::Real(0.1, 1e6)),
    ("blend.long_half_life", Range::Real(0.1, 1e6)),
    ("blend.pairs", Range::Whole(1, 1000)),
    ("blend.pair_positions", Range::Real(0.1, 1e6)),
    ("blend.pair_seconds", Range::Real(0.001, 1e6)),
    ("blend.neighbours", Range::Whole(1, 1_000_000)),
    ("blend.factors", Range::Whole(1, 1024)),
    ("blend.sequence_rate", Range::Real(0.0, 1.0)),
    ("blend.short_decay", Range::Real(0.0, 1.0)),
    ("blend.long_decay", Range::Real(0.0, 1.0)),
    ("blend.negatives", Range::Whole(1, 100_000)),
    ("blend.blend_rate", Range::Real(0.0, 1.0)),
    ("blend.blend_every", Range::Whole(1, 1_000_000)),
    ("blend.warm_up", Range::Whole(0, i64::MAX)),
    ("blend.candidates", Range::Whole(1, 1_000_000)),
    ("store.connect_timeout", Range::Time("0s", "1h")),
    ("store.snapshot_every", Range::Whole(0, i64::MAX)),
    ("store.write_batch", Range::Whole(1, 100_000)),
    ("store.write_lanes", Range::Whole(1, 16)),
    ("store.keep_last", Range::Whole(1, 100_000)),
    ("store.keep_hourly", Range::Whole(0, 100_000)),
    ("serve.port", Range::Whole(0, 65_535)),
    ("serve.default_n", Range::Whole(1, 10_000)),
    ("serve.max_n", Range::Whole(1, 10_000)),
    ("serve.request_timeout", Range::Time("1ms", "1h")),
    ("serve.max_wait", Range::Time("0s", "1h")),
    ("serve.search_ef", Range::Whole(10, 10_000)),
    ("serve.cache_bytes", Range::Whole(0, 1 << 34)),
    ("serve.max_body", Range::Whole(1, 1 << 30)),
    ("serve.max_events", Range::Whole(1, 1_000_000)),
    ("serve.rate_limit", Range::Whole(0, 1_000_000)),
    ("serve.rate_burst", Range::Whole(1, 1_000_000)),
    ("serve.shed_after", Range::Time("0s", "1h")),
    ("serve.max_connections", Range::Whole(1, 1_000_000)),
    ("serve.max_streams", Range::Whole(1, 1_000_000)),
    ("serve.head_timeout", Range::Time("1ms", "1h")),
    ("serve.body_timeout", Range::Time("1ms", "1h")),
    ("serve.idle_timeout", Range::Time("1ms", "1h")),
    ("engine.shards", Range::Whole(1, 64)),
    ("engine.shard", Range::Whole(0, 63)),
    ("engine.share_events", Range::Whole(1, 1_000_000)),
    ("engine.share_every", Range::Time("10ms", "10s")),
    ("engine.delta_every", Range::Time("10ms", "10s")),
    ("engine.max_staleness", Range::Time("0s", "24h")),
    ("engine.stop_deadline", Range::Time("1ms", "1h")),
    ("engine.queue", Range::Whole(1, 10_000)),
    ("engine.user_bytes", Range::Whole(0, 1 << 40)),
];

/// The bounds of a key that has some.
pub(super) fn range(key: &str) -> Option<Range> {
    RANGES.iter().find(|(name, _)| *name == key).map(|(_, range)| *range)
}

/// What is allowed, if the key has bounds and the value is not within them.
#[must_use]
pub fn out_of_range(key: &str, value: &Value) -> Option<String> {
    range(key).filter(|range| !range.holds(value)).map(|range| range.to_string())
}

/// Every bound that the settings break. `config` is what `settings` say.
pub(super) fn check(config: &Config, settings: &[Setting]) -> Vec<Problem> {
    let checker = Checker { settings };
    let mut problems = checker.ranges();
    problems.extend(checker.texts(config));
    problems.extend(checker.texts_of_lists(config));
    problems.extend(checker.topics(config));
    problems.extend(checker.conflicts(config));
    problems
}

/// Where traces may be exported to.
const ENDPOINT: &str = if cfg!(feature = "otlp") {
    r#""", or http://host:port or https://host:port without a password; OTEL_EXPORTER_OTLP_HEADERS holds what must be secret"#
} else {
    r#""": this freshet exports no traces; build it with --features otlp"#
};

struct Checker<'a> {
    settings: &'a [Setting],
}

impl Checker<'_> {
    fn ranges(&self) -> Vec<Problem> {
        let broken = |setting: &&Setting| range(&setting.key).is_some_and(|range| !range.holds(&setting.value));
        let must = |setting: &Setting| range(&setting.key).map(|range| range.to_string()).unwrap_or_default();
        self.settings.iter().filter(broken).map(|setting| refused(setting, must(setting))).collect()
    }

    fn texts(&self, config: &Config) -> Vec<Problem> {
        let data_dir = config.store.data_dir.to_string_lossy();
        let (min, max) = (config.decode.min_rating, config.decode.max_rating);
        let address = "mongodb://host:port or mongodb+srv://host, with user:password@ before the host if needed";
        let filter =
            r#"a level (error, warn, info, debug, trace, off) or target=level pairs, as "info,freshet::consume=debug""#;
        [
            ("broker.topic", is_topic(&config.broker.topic), TOPIC_NAME),
            ("broker.model_topic", is_topic(&config.broker.model_topic), TOPIC_NAME),
            ("broker.model_topic", !config.topics_read().any(|topic| topic == config.broker.model_topic), APART),
            ("broker.shared_topic", is_topic(&config.broker.shared_topic), TOPIC_NAME),
            ("broker.shared_topic", is_apart(config), "another topic than those of events and of the model"),
            ("broker.group", is_name(&config.broker.group), "a name"),
            ("broker.servers", are_servers(&config.broker.servers), "host:port,host:port"),
            ("decode.min_rating", min.is_finite(), "a finite number"),
            ("decode.max_rating", max.is_finite(), "a finite number"),
            ("learn.positive_rating", config.learn.positive_rating.is_finite(), "a finite number"),
            ("store.data_dir", is_name(&data_dir), "the path of a folder"),
            ("store.uri", is_mongodb_uri(&config.store.uri), address),
            ("store.database", is_database(&config.store.database), "1 to 63 bytes without / \\ . \" $ and spaces"),
            ("serve.host", is_name(&config.serve.host), "a host name or an IP address"),
            ("serve.read_keys", are_keys(&config.serve.read_keys), KEYS),
            ("serve.ingest_keys", are_keys(&config.serve.ingest_keys), KEYS),
            ("serve.admin_keys", are_keys(&config.serve.admin_keys), KEYS),
            ("engine.role", has_topics(config), EMBEDDED_ROLE),
            ("engine.shards", may_be_one_of_many(config), ONE_OF_MANY),
            ("engine.shard", config.engine.shard < config.engine.shards, "below engine.shards: trainers count from 0"),
            ("learn.rating", config.engine.shards == 1 || config.learn.rating.adds_up(), ADDS_UP),
            ("learn.ranking", config.engine.shards == 1 || config.learn.ranking.adds_up(), ADDS_UP),
            ("learn.ranking", may_do_without_rows(config), ALL_ROWS),
            ("log.level", is_filter(&config.log.level), filter),
            ("log.otlp_endpoint", is_endpoint(&config.log.otlp_endpoint), ENDPOINT),
        ]
        .into_iter()
        .filter(|(_, allowed, _)| !allowed)
        .map(|(key, _, must)| refused(self.setting(key), must.to_owned()))
        .collect()
    }

    fn texts_of_lists(&self, config: &Config) -> Vec<Problem> {
        let origins = config.serve.cors_origins.iter().all(|origin| is_origin(origin));
        let must = "a list of scheme://host or scheme://host:port, without a path, as a browser sends it";
        let problem = || refused(self.setting("serve.cors_origins"), must.to_owned());
        (!origins).then(problem).into_iter().collect()
    }

    fn topics(&self, config: &Config) -> Vec<Problem> {
        let problem = |(name, topic): (&String, &TopicConfig)| {
            let must = if !is_topic(name) {
                TOPIC_NAME
            } else if *name == config.broker.topic {
                "another name than broker.topic, whose records are always ratings in JSON"
            } else {
                topic.problem()?
            };
            Some(refused(self.setting(&format!("{TOPICS}{name}")), must.to_owned()))
        };
        config.topics.iter().filter_map(problem).collect()
    }

    fn conflicts(&self, config: &Config) -> Vec<Problem> {
        let (gather, decode, serve) = (&config.gather, &config.decode, &config.serve);
        let sliding = gather.mode == GatherMode::Sliding;
        [
            (sliding && gather.slide > gather.length, "gather.slide", "at most", "gather.length"),
            (decode.min_rating >= decode.max_rating, "decode.min_rating", "below", "decode.max_rating"),
            (
                config.learn.positive_rating > f64::from(decode.max_rating),
                "learn.positive_rating",
                "at most",
                "decode.max_rating",
            ),
            (serve.default_n > serve.max_n, "serve.default_n", "at most", "serve.max_n"),
            (
                serve.tls_cert.as_os_str().is_empty() != serve.tls_key.as_os_str().is_empty(),
                "serve.tls_cert",
                "set or empty together with",
                "serve.tls_key",
            ),
        ]
        .into_iter()
        .filter(|(broken, ..)| *broken)
        .map(|(_, left, relation, right)| Problem::Conflict {
            left: self.described(left),
            relation,
            right: self.described(right),
        })
        .collect()
    }

    fn setting(&self, key: &str) -> &Setting {
        self.settings.iter().find(|setting| setting.key == key).expect("every key has a default")
    }

    fn described(&self, key: &str) -> String {
        let setting = self.setting(key);
        format!("{key} = {} ({})", mask::mask_value(key, &setting.value), setting.source)
    }
}

fn refused(setting: &Setting, must: String) -> Problem {
    let value = mask::mask_value(&setting.key, &setting.value).to_string();
    Problem::Value { place: setting.source.place(), key: setting.key.clone(), value, must }
}

/// What the name of a topic must be.
const TOPIC_NAME: &str = "1 to 249 of a-z A-Z 0-9 . _ -, and not . or ..";
/// What the topic of the model must be.
const APART: &str = "another topic than those that events are read from";
/// What the role must be on the embedded log.
const EMBEDDED_ROLE: &str = r#""all" while broker.kind is "embedded": servers follow a trainer by a compacted topic, which only Kafka has (set broker.kind = "kafka")"#;
/// What the number of trainers must be where this process is none of several.
const ONE_OF_MANY: &str = r#"1, unless broker.kind is "kafka" and store.kind is "mongodb": each of several trainers has a store of its own, where servers find it"#;
/// What several trainers must learn with.
const ADDS_UP: &str = r#""biased-mf", "biases" or, for ranking, "popularity" while engine.shards is above 1: what trainers learn of an item must add up"#;
/// What ranks where users' rows may be away.
const ALL_ROWS: &str = r#"another learner than "bayesian-mf" while engine.user_bytes is above 0: a list for somebody who is no user (POST /recommend with likes) would read rows that are away"#;
/// What the keys of a scope must be.
const KEYS: &str = "keys of 16 or more visible ASCII characters, parted by commas";
/// Shortest key, in characters: what a person makes up is shorter, what a generator makes is longer.
const SHORTEST_KEY: usize = 16;

/// Whether a text can be a key: it is sent in a header, and must not be guessed.
#[must_use]
pub fn is_key(key: &str) -> bool {
    key.len() >= SHORTEST_KEY && key.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
}

fn are_keys(keys: &Secret) -> bool {
    keys.words().all(is_key)
}

fn is_topic(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=249).contains(&name.len()) && name.bytes().all(legal) && name != "." && name != ".."
}

/// Whether the log has what the role needs.
fn has_topics(config: &Config) -> bool {
    config.engine.role == Role::All || config.broker.kind == BrokerKind::Kafka
}

/// Whether the topic of the items that trainers learn together is no other one.
fn is_apart(config: &Config) -> bool {
    let own = &config.broker.shared_topic;
    *own != config.broker.model_topic && !config.topics_read().any(|topic| topic == own)
}

/// Whether this process can be one of several trainers, or follow them.
fn may_be_one_of_many(config: &Config) -> bool {
    let many = config.broker.kind == BrokerKind::Kafka && config.store.kind == StoreKind::Mongodb;
    config.engine.shards == 1 || many
}

/// Whether no question needs the rows of other users than it names.
fn may_do_without_rows(config: &Config) -> bool {
    config.engine.user_bytes == 0 || config.learn.ranking != LearnerKind::BayesianMf
}

fn is_name(text: &str) -> bool {
    !text.trim().is_empty() && !text.contains('\0')
}

fn are_servers(text: &str) -> bool {
    text.split(',').all(|server| is_name(server) && !server.trim().contains(char::is_whitespace))
}

/// Only the outside: the driver reads the rest.
fn is_mongodb_uri(uri: &str) -> bool {
    let rest = uri.strip_prefix("mongodb://").or_else(|| uri.strip_prefix("mongodb+srv://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(char::is_whitespace))
}

/// As a browser writes it: in lower case, and without a path.
fn is_origin(origin: &str) -> bool {
    let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    let legal = |byte: u8| byte.is_ascii_graphic() && !byte.is_ascii_uppercase() && !b"/?#@*".contains(&byte);
    host.is_some_and(|host| !host.is_empty() && host.bytes().all(legal))
}

/// MongoDB's own rule, the stricter one of its platforms: <https://www.mongodb.com/docs/manual/reference/limits/>.
fn is_database(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && !name.contains(['/', '\\', '.', '"', '$', '*', '<', '>', ':', '|', '?', ' ', '\0'])
}

/// A server's address that holds no password, as one is shown with the settings.
fn is_endpoint(text: &str) -> bool {
    let address = ["http://", "https://"].into_iter().find_map(|scheme| text.strip_prefix(scheme));
    let is_address = address.is_some_and(|rest| !rest.is_empty() && !rest.contains(['@', '?', ' ']));
    text.is_empty() || cfg!(feature = "otlp") && is_address
}

/// tracing-subscriber takes a misspelt level for the name of a module and logs it whole; a word alone must be a level.
fn is_filter(text: &str) -> bool {
    // The empty word would be read as the level "error".
    let is_level = |word: &str| !word.trim().is_empty() && word.trim().parse::<LevelFilter>().is_ok();
    let clear = |part: &str| part.contains('=') || is_level(part);
    EnvFilter::try_new(text).is_ok() && (text.contains('[') || text.split(',').all(clear))
}

#[cfg(test)]
mod tests;
