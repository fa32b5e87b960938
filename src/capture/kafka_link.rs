//! What the Kafka producer and consumer share: client properties, librdkafka's log lines and errors, the first connection
//! with its retries, and the topic's creation.
//!
//! Apart from both, so that an operator meets one behaviour: one line when Kafka goes away, one when it is back, and
//! errors that name the property or address to correct.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use backon::{ExponentialBuilder, Retryable};
use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::Client;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};

use crate::capture::LogError;
use crate::config::BrokerConfig;

/// Longest wait for one answer of a broker.
pub(crate) const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// Properties for a client: what every client needs, then `ours`, then the operator's.
pub(crate) fn client_config(broker: &BrokerConfig, ours: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &broker.servers).set("client.id", "freshet");
    // A broker that is back is found within a second; librdkafka's own default is up to ten.
    config.set("reconnect.backoff.max.ms", "1000").set("socket.nagle.disable", "true");
    // Every line passes through `Context::log`, where the level of the log decides.
    config.set_log_level(RDKafkaLogLevel::Info);
    config.extend(ours.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())));
    config.extend(broker.properties.iter().map(|(key, value)| (key.clone(), value.clone())));
    config
}

/// `bootstrap.servers` in force.
pub(crate) fn brokers(broker: &BrokerConfig) -> &str {
    let metadata_list = || broker.properties.get("metadata.broker.list");
    broker.properties.get("bootstrap.servers").or_else(metadata_list).unwrap_or(&broker.servers)
}

/// The error for a failure of the client.
pub(crate) fn failed(broker: &BrokerConfig, action: &'static str, error: &KafkaError) -> LogError {
    refused(broker, action, reason(error))
}

/// The error for brokers that do not answer.
pub(crate) fn unreachable(broker: &BrokerConfig, reason: String) -> LogError {
    LogError::Unreachable { brokers: brokers(broker).to_owned(), reason }
}

/// The error for something that cannot go on.
pub(crate) fn refused(broker: &BrokerConfig, action: &'static str, reason: String) -> LogError {
    LogError::Kafka { action, brokers: brokers(broker).to_owned(), reason }
}

/// What the client said, naming the property if it is about one, and never a secret.
pub(crate) fn reason(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, description, key, value) => {
            let secret = ["password", "secret", "key", "token", "pem"].iter().any(|word| key.contains(word));
            let hide = secret && !value.is_empty();
            let description = if hide { description.replace(value.as_str(), "***") } else { description.clone() };
            format!("property {key:?} under [broker.properties] is refused: {description}")
        }
        KafkaError::ClientCreation(text) => {
            format!("the properties do not fit together, see [broker.properties]: {text}")
        }
        other => match other.rdkafka_error_code() {
            Some(code) => code.to_string(),
            None => other.to_string(),
        },
    }
}

/// Whether Kafka answers, so that going and coming back are each told once.
#[derive(Debug)]
pub(crate) struct Link {
    brokers: String,
    away: AtomicBool,
    /// The client's newest error in its own words; they tell more than the code that a call returns.
    newest: Mutex<Option<(Option<RDKafkaErrorCode>, String)>>,
}

impl Link {
    pub(crate) fn new(broker: &BrokerConfig) -> Self {
        Self { brokers: brokers(broker).to_owned(), away: AtomicBool::new(false), newest: Mutex::new(None) }
    }

    /// Whether Kafka has been told to be away.
    pub(crate) fn is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }

    /// Why Kafka does not answer, while it does not.
    pub(crate) fn trouble(&self) -> Option<String> {
        let unknown = || "no broker answers".to_owned();
        self.is_away().then(|| self.newest().map_or_else(unknown, |(_, text)| text))
    }

    /// Kafka answered.
    pub(crate) fn answered(&self) {
        if self.is_away() && self.away.swap(false, Ordering::Relaxed) {
            tracing::info!(brokers = %self.brokers, "kafka is back");
        }
    }

    /// A failure that waiting can mend.
    pub(crate) fn has_failed(&self, error: &KafkaError) {
        if self.away.swap(true, Ordering::Relaxed) {
            tracing::debug!(brokers = %self.brokers, reason = %reason(error), "kafka is still away");
        } else {
            let reason = self.newest().map_or_else(|| reason(error), |(_, text)| text);
            tracing::warn!(brokers = %self.brokers, %reason, "kafka does not answer; waiting until it is back");
        }
    }

    fn newest(&self) -> Option<(Option<RDKafkaErrorCode>, String)> {
        self.newest.lock().clone()
    }
}

/// librdkafka's callbacks: those of every client here, and those of one kind of client in `role`.
pub(crate) struct Context<T> {
    pub(crate) link: Arc<Link>,
    pub(crate) role: T,
}

impl<T: Send + Sync + 'static> ClientContext for Context<T> {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        match level {
            // Each outage is told by `Link`, once; a property for the other kind of client is no mistake; a broker that has
            // just started is asked again for a producer id; and commits only serve lag tools.
            _ if matches!(facility, "FAIL" | "ERROR" | "CONFWARN" | "GETPID" | "COMMITFAIL") => {
                tracing::debug!(facility, "librdkafka: {line}");
            }
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
                tracing::error!(facility, "librdkafka: {line}");
            }
            RDKafkaLogLevel::Warning => tracing::warn!(facility, "librdkafka: {line}"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => tracing::info!(facility, "librdkafka: {line}"),
            RDKafkaLogLevel::Debug => tracing::debug!(facility, "librdkafka: {line}"),
        }
    }

    fn error(&self, error: KafkaError, text: &str) {
        tracing::debug!(code = %reason(&error), "librdkafka: {text}");
        let code = error.rdkafka_error_code();
        if code == Some(RDKafkaErrorCode::AllBrokersDown) {
            self.link.has_failed(&error);
        } else {
            *self.link.newest.lock() = Some((code, text.to_owned()));
        }
    }
}

impl ConsumerContext for Context<()> {}

/// A client for questions, with what `ours` sets last.
pub(crate) fn asker(broker: &BrokerConfig, ours: &[(&str, &str)]) -> Result<BaseConsumer<Context<()>>, KafkaError> {
    let mut config = client_config(broker, &[]);
    config.extend(ours.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())));
    // Known to be away from the start, so that no log line tells what the answer will.
    let link = Link { away: AtomicBool::new(true), ..Link::new(broker) };
    config.create_with_context(Context { link: Arc::new(link), role: () })
}

/// A failed attempt to be answered.
pub(crate) struct Attempt {
    pub(crate) reason: String,
    /// Whether trying again may help.
    pub(crate) passing: bool,
}

/// A client that only asks.
pub(crate) type Asker = BaseConsumer<Context<()>>;

/// Waits until Kafka answers and has the topics, which are created where they are missing. Returns the number of partitions
/// of each.
pub(crate) async fn connect(broker: &BrokerConfig, topics: &[&str]) -> Result<Vec<i32>, LogError> {
    let config = client_config(broker, &[]);
    reached(broker, &config, |probe, deadline| find_or_create_all(probe, &config, broker, topics, deadline)).await
}

/// Asks Kafka, as soon as it answers; `config` is the client's, and nothing is created. The question is put off the
/// runtime, with the longest that it may wait, and put again while its failure may pass.
pub(crate) async fn ask<T: Send + 'static>(
    broker: &BrokerConfig,
    config: &ClientConfig,
    question: impl Fn(&Asker, Duration) -> KafkaResult<T> + Send + Sync + 'static,
) -> Result<T, LogError> {
    let question = Arc::new(question);
    reached(broker, config, |probe, deadline| {
        let question = Arc::clone(&question);
        async move { put(&probe, deadline, move |probe, wait| question(probe, wait)).await }
    })
    .await
}

/// Puts a question off the runtime, with the longest that it may wait.
async fn put<T: Send + 'static>(
    probe: &Arc<Asker>,
    deadline: Instant,
    question: impl FnOnce(&Asker, Duration) -> KafkaResult<T> + Send + 'static,
) -> Result<T, Attempt> {
    let probe = Arc::clone(probe);
    let asking = tokio::task::spawn_blocking(move || {
        question(&probe, patience(deadline)).map_err(|error| {
            // Serves the error callback, which knows the reason.
            while probe.poll(Duration::from_millis(20)).is_some() {}
            match error.rdkafka_error_code() {
                Some(code) if is_refusal(code) => Attempt { reason: code.to_string(), passing: false },
                _ => why_unreachable(probe.client(), &error),
            }
        })
    });
    asking.await.expect("asking does not panic")
}

/// Whether Kafka has answered, and will not answer otherwise the next time.
fn is_refusal(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::InvalidGroupId
            | Code::UnknownTopic
            | Code::UnknownPartition
            | Code::UnknownTopicOrPartition
    )
}

/// Longest wait for one answer.
fn patience(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).clamp(Duration::from_millis(100), ASK_TIMEOUT)
}

/// Tries until it succeeds or `broker.connect_timeout` has passed.
async fn reached<T, F: Future<Output = Result<T, Attempt>>>(
    broker: &BrokerConfig,
    config: &ClientConfig,
    attempt: impl Fn(Arc<Asker>, Instant) -> F,
) -> Result<T, LogError> {
    let link = Arc::new(Link { away: AtomicBool::new(true), ..Link::new(broker) });
    let context = Context { link: Arc::clone(&link), role: () };
    let probe = config.create_with_context::<_, Asker>(context);
    let probe = Arc::new(probe.map_err(|error| failed(broker, "connect to", &error))?);
    let deadline = Instant::now() + broker.connect_timeout;
    let backoff = ExponentialBuilder::default()
        .with_jitter()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(2))
        .without_max_times();
    let mut told = false;
    let found = (|| attempt(Arc::clone(&probe), deadline))
        .retry(backoff)
        .when(|attempt| attempt.passing && Instant::now() < deadline)
        .notify(|attempt, _| {
            if !std::mem::replace(&mut told, true) {
                let (at, wait) = (brokers(broker), seconds(broker.connect_timeout));
                tracing::warn!("kafka at {at} cannot be reached ({}); trying for {wait}", attempt.reason);
            }
        })
        .await;
    // Dropping a client waits for its threads.
    tokio::task::spawn_blocking(move || drop(probe));
    found.map_err(|Attempt { reason, passing }| {
        let wait = seconds(broker.connect_timeout);
        let advice = "start it, correct broker.servers, or set broker.kind = \"embedded\" to do without";
        if passing {
            return unreachable(broker, format!("{reason}; gave up after {wait}: {advice}"));
        }
        refused(broker, "connect to", reason)
    })
}

fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs_f32())
}

async fn find_or_create_all(
    probe: Arc<Asker>,
    config: &ClientConfig,
    broker: &BrokerConfig,
    topics: &[&str],
    deadline: Instant,
) -> Result<Vec<i32>, Attempt> {
    let mut partitions = Vec::with_capacity(topics.len());
    for topic in topics {
        partitions.push(find_or_create(&probe, config, broker, topic, deadline).await?);
    }
    Ok(partitions)
}

async fn find_or_create(
    probe: &Arc<Asker>,
    config: &ClientConfig,
    broker: &BrokerConfig,
    topic: &str,
    deadline: Instant,
) -> Result<i32, Attempt> {
    if let Some(partitions) = find_topic(probe, topic, deadline).await? {
        return Ok(partitions);
    }
    create_topic(config, broker, topic).await?;
    let invisible = format!("topic {topic:?} was created, but is not visible yet");
    find_topic(probe, topic, deadline).await?.ok_or(Attempt { reason: invisible, passing: true })
}

/// The number of partitions of the topic, if it exists.
async fn find_topic(probe: &Arc<Asker>, topic: &str, deadline: Instant) -> Result<Option<i32>, Attempt> {
    let asked = topic.to_owned();
    let metadata = put(probe, deadline, move |probe, wait| probe.fetch_metadata(Some(&asked), wait)).await?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    let code = found.and_then(rdkafka::metadata::MetadataTopic::error).map(RDKafkaErrorCode::from);
    match (found, code) {
        (None, _) | (_, Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic)) => Ok(None),
        (_, Some(code)) => Err(Attempt {
            reason: format!("topic {topic:?}: {code}"),
            passing: code == RDKafkaErrorCode::LeaderNotAvailable,
        }),
        (Some(found), None) => Ok(Some(found.partitions().len() as i32)),
    }
}

/// Why a question was not answered, in the client's newest words, and what to do where waiting cannot mend it.
pub(crate) fn why_unreachable(client: &Client<Context<()>>, error: &KafkaError) -> Attempt {
    match client.context().link.newest() {
        Some((code, text)) => {
            let advice = advice(code, &text);
            Attempt {
                reason: advice.map_or_else(|| text.clone(), |advice| format!("{text}; {advice}")),
                passing: advice.is_none(),
            }
        }
        None => Attempt { reason: reason(error), passing: true },
    }
}

/// What to do about a link that is refused, where waiting cannot mend it.
pub(crate) fn advice(code: Option<RDKafkaErrorCode>, text: &str) -> Option<&'static str> {
    let says = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    // A broker tells that it wants a certificate after the handshake, so that it looks like a connection that broke.
    if says(&["certificate required", "alert bad certificate"]) {
        return Some(
            "the broker asks for a client certificate: set ssl.certificate.location and ssl.key.location under \
             [broker.properties], PEM files of one that its CA has signed",
        );
    }
    match code? {
        RDKafkaErrorCode::Authentication => {
            Some("check sasl.username, sasl.password and sasl.mechanisms under [broker.properties]")
        }
        RDKafkaErrorCode::SSL if says(&["certificate verify failed"]) => Some(
            "set ssl.ca.location under [broker.properties] to the PEM file of the CA that has signed the broker's \
             certificate, and reach it by a name that is in the certificate",
        ),
        RDKafkaErrorCode::SSL => Some(
            "check security.protocol and the ssl.* properties under [broker.properties], and the broker's listener",
        ),
        _ => None,
    }
}

async fn create_topic(config: &ClientConfig, broker: &BrokerConfig, topic: &str) -> Result<(), Attempt> {
    let why = |reason: &str, passing| Attempt { reason: format!("topic {topic:?}: {reason}"), passing };
    let context = Context { link: Arc::new(Link::new(broker)), role: () };
    let admin: AdminClient<_> = config.create_with_context(context).map_err(|error| why(&reason(&error), false))?;
    let new = NewTopic::new(topic, broker.partitions, TopicReplication::Fixed(broker.replication));
    let options = AdminOptions::new().request_timeout(Some(ASK_TIMEOUT)).operation_timeout(Some(ASK_TIMEOUT));
    let created = admin.create_topics([&new], &options).await.map_err(|error| why(&reason(&error), true))?;
    tokio::task::spawn_blocking(move || drop(admin));
    match created.into_iter().next() {
        Some(Ok(_)) => {
            tracing::info!(topic, partitions = broker.partitions, "created the topic");
            Ok(())
        }
        None | Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(()),
        Some(Err((_, code))) => {
            Err(why(&format!("cannot be created: {code}; see broker.partitions, replication"), false))
        }
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::producer::BaseProducer;

    use super::*;
    use crate::config::Config;

    fn with(properties: &[(&str, &str)]) -> Result<BaseProducer, KafkaError> {
        let mut broker = Config::default().broker;
        broker.properties = properties.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
        client_config(&broker, &[]).create()
    }

    #[test]
    fn the_clients_security_and_compressions_are_compiled_in() {
        for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"] {
            let user = [("sasl.username", "freshet"), ("sasl.password", "secret")];
            let link = [("security.protocol", "SASL_SSL"), ("sasl.mechanisms", mechanism)];
            with(&[user, link].concat()).unwrap();
        }
        for codec in ["gzip", "snappy", "lz4", "zstd"] {
            with(&[("compression.type", codec)]).unwrap();
        }
        assert!(with(&[("sasl.mechanisms", "GSSAPI"), ("security.protocol", "SASL_SSL")]).is_err(), "it can fail");
    }
}
