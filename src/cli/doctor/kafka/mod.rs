//! Kafka: the way to it, the login, its brokers as they name themselves, and what may be done with topic and group.

mod look;
mod rights;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::metadata::{Metadata, MetadataTopic};

use self::look::{Link, Look};
use super::net::{self, Address};
use super::steps::{Fault, Found, Measured, Section, Stop, off_thread};
use crate::capture::kafka_link::{self, Context};
use crate::config::{BrokerConfig, Config, Role};
use crate::consume::model_topic;

pub(super) const PLAN: &[&str] = &[
    "settings",
    "name",
    "connection",
    "handshake",
    "login",
    "brokers",
    "topics",
    "topic",
    "read",
    "group",
    "write",
    "clock",
];

const PORT: u16 = 9092;
const SETTING: &str = "broker.servers";

/// What to do where a broker cannot be reached under the name that it gives itself.
const ADVERTISED: &str = "correct advertised.listeners of the broker: a name that this machine can reach; in Docker that takes \
                          a listener for containers and another for the host";

pub(super) fn about(config: &Config) -> String {
    let broker = &config.broker;
    format!("{}, topic {}, group {}", kafka_link::brokers(broker), broker.topic, broker.group)
}

pub(super) async fn check(config: &Config, section: &mut Section) -> Result<(), Stop> {
    let broker = Arc::new(config.broker.clone());
    let of = Arc::clone(&broker);
    let link = section.blocking("settings", move || Link::read(&of)).await?;
    let servers = servers(&broker);
    let known = section.step("name", net::names(&servers, SETTING)).await?;
    let there = section.step("connection", net::connections(&known, SETTING)).await?;
    let (asker, metadata) = meet(&broker, &link, &there, section).await?;
    section.step("brokers", reach(&asker, &metadata, section.limit)).await?;
    section.step("topics", topics(config, &asker, section.limit)).await?;
    let partitions = section.step("topic", topic(&broker, &metadata, section.limit)).await;
    rights(&broker, partitions, section).await
}

fn servers(broker: &BrokerConfig) -> Vec<Address> {
    kafka_link::brokers(broker).split(',').filter_map(|server| Address::parse(server, PORT)).collect()
}

type Asker = Arc<BaseConsumer<Context<()>>>;

/// The handshake and the login. Kafka's client decides: where it gets in, what the look has against the certificate is
/// only worth a warning.
async fn meet(
    broker: &Arc<BrokerConfig>,
    link: &Link,
    there: &[Address],
    section: &mut Section,
) -> Result<(Asker, Arc<Metadata>), Stop> {
    // `there` has one at least.
    let (mut looked, took): Measured<Look> = section.measure(look::look(&there[0], link)).await;
    let (of, limit) = (Arc::clone(broker), section.limit.mul_f32(0.9));
    let login: Measured<(Asker, Arc<Metadata>)> = section.measure(off_thread(move || ask(&of, limit))).await;
    let problem = match &mut looked {
        Ok(found) => found.value.problem.take(),
        Err(_) => None,
    };
    looked = match (problem, &login.0) {
        (Some(problem), Ok(_)) => {
            let warning = format!("{}; Kafka's client takes it nevertheless", problem.reason);
            looked.map(|found| found.but(Some(warning)))
        }
        (Some(problem), Err(_)) => Err(problem),
        (None, _) => looked,
    };
    section.tell("handshake", (looked, took))?;
    let (login, took) = login;
    let detail = match () {
        () if link.logs_in() => format!("{:?} by {}", link.user, link.mechanism),
        () if link.is_encrypted() => "by certificate, or none is asked for".to_owned(),
        () => "none is asked for".to_owned(),
    };
    section.tell("login", (login.map(|found| Found::new(found.value, detail)), took))
}

/// Asks Kafka's client for the metadata of the topic, until it answers or says why not.
fn ask(broker: &BrokerConfig, limit: Duration) -> Result<Found<(Asker, Arc<Metadata>)>, Fault> {
    let refused = |reason: String| Fault::new(reason, "");
    let asker = kafka_link::asker(broker, &[]).map_err(|error| refused(kafka_link::reason(&error)))?;
    let deadline = Instant::now() + limit;
    loop {
        let wait = deadline.saturating_duration_since(Instant::now()).min(Duration::from_millis(700));
        let metadata = asker.fetch_metadata(Some(&broker.topic), wait);
        // Serves the error callback, which knows the reason.
        while asker.poll(Duration::from_millis(20)).is_some() {}
        let attempt = match metadata {
            Ok(metadata) => return Ok(Found::new((Arc::new(asker), Arc::new(metadata)), "")),
            Err(error) => kafka_link::why_unreachable(asker.client(), &error),
        };
        if !attempt.passing {
            // It ends with what to do.
            let (reason, advice) = attempt.reason.rsplit_once("; ").unwrap_or((&attempt.reason, ""));
            return Err(Fault::new(reason, advice));
        }
        if Instant::now() >= deadline {
            // A broker that was met is asked by the name and the number that it gives itself: the way to it was fine.
            let by_its_own_name = attempt.reason.split(':').nth(1).is_some_and(|port| {
                port.split_once('/').is_some_and(|(_, node)| node.bytes().all(|byte| byte.is_ascii_digit()))
            });
            let advice = if by_its_own_name { ADVERTISED } else { "see the broker's log; --timeout gives it longer" };
            return Err(Fault::unreachable(attempt.reason, advice));
        }
    }
}

/// Whether the brokers can be reached under the names that they give themselves: after the first connection, clients
/// use no others.
async fn reach(asker: &Asker, metadata: &Arc<Metadata>, limit: Duration) -> Result<Found, Fault> {
    let address_of = |broker: &rdkafka::metadata::MetadataBroker| {
        Address::parse(&format!("{}:{}", broker.host(), broker.port()), PORT)
    };
    let brokers: Vec<Address> = metadata.brokers().iter().filter_map(address_of).collect();
    let away: Vec<_> = net::away(&brokers, limit / 2).await.into_iter().map(|(_, reason)| reason).collect();
    let names: Vec<_> = brokers.iter().map(ToString::to_string).collect();
    if !away.is_empty() {
        return Err(Fault::unreachable(
            format!("brokers name themselves {}, and that cannot be reached: {}", names.join(", "), away.join("; ")),
            ADVERTISED,
        ));
    }
    let asker = Arc::clone(asker);
    let cluster = tokio::task::spawn_blocking(move || asker.client().fetch_cluster_id(Duration::from_millis(500)));
    let cluster = cluster.await.ok().flatten().map(|id| format!("; cluster {id}")).unwrap_or_default();
    Ok(Found::new((), format!("{}{cluster}", names.join(", "))))
}

/// Whether each topic of `[topics]` is there, or may be created; and that of the model, where the role needs it.
async fn topics(config: &Config, asker: &Asker, limit: Duration) -> Result<Found<()>, Fault> {
    let model = Some(&config.broker.model_topic).filter(|_| config.engine.role != Role::All);
    let (mut told, mut warning) = (Vec::with_capacity(config.topics.len()), None);
    for name in config.topics.keys().chain(model) {
        let is_model = Some(name) == model;
        let partitions = if is_model { 1 } else { config.broker.partitions };
        let broker = BrokerConfig { topic: name.clone(), partitions, ..config.broker.clone() };
        let (asker, name_asked) = (Arc::clone(asker), name.clone());
        let asking = move || asker.fetch_metadata(Some(&name_asked), limit.mul_f32(0.9));
        let metadata = tokio::task::spawn_blocking(asking).await.expect("asking does not panic");
        let failed = |error: KafkaError| Fault::new(kafka_link::reason(&error), "see the broker's log");
        let found = topic(&broker, &metadata.map_err(failed)?, limit).await?;
        if is_model && found.value > 0 {
            warning = model_topic::unfit(config).await.ok().flatten();
        }
        told.push(if found.value > 0 {
            format!("{name}: {} partitions", found.value)
        } else {
            format!("{name}: not there yet")
        });
    }
    let detail = if told.is_empty() { "none beside the one below".to_owned() } else { told.join(", ") };
    Ok(Found::new((), detail).but(warning))
}

/// Whether the topic is there, or may be created. Its partitions, 0 where it is not there.
async fn topic(broker: &BrokerConfig, metadata: &Metadata, limit: Duration) -> Result<Found<i32>, Fault> {
    let found = metadata.topics().iter().find(|found| found.name() == broker.topic);
    match found.map(|found| (found, found.error().map(Code::from))) {
        None | Some((_, Some(Code::UnknownTopicOrPartition | Code::UnknownTopic))) => may_create(broker, limit).await,
        Some((_, Some(Code::TopicAuthorizationFailed))) => {
            let user = broker.properties.get("sasl.username").map_or("this user", String::as_str);
            Err(Fault::new(
                format!("{user} may not even see topic {:?}, if it is there", broker.topic),
                format!(
                    "kafka-acls.sh --add --allow-principal User:{user} --operation Read --operation Write --topic {}",
                    broker.topic
                ),
            ))
        }
        Some((_, Some(code))) => Err(Fault::new(code.to_string(), "see the broker's log")),
        Some((found, None)) => judge(found, broker),
    }
}

fn judge(found: &MetadataTopic, broker: &BrokerConfig) -> Result<Found<i32>, Fault> {
    let partitions = found.partitions();
    let leaderless: Vec<_> = partitions.iter().filter(|one| one.leader() < 0).map(|one| one.id().to_string()).collect();
    if !leaderless.is_empty() {
        return Err(Fault::new(
            format!("no broker leads partition {}", leaderless.join(", ")),
            "start the brokers that have their replicas",
        ));
    }
    let replicas = partitions.iter().map(|one| one.replicas().len()).min().unwrap_or_default();
    let lagging = partitions.iter().filter(|one| one.isr().len() < one.replicas().len()).count();
    let mut notes = Vec::new();
    if lagging > 0 {
        notes.push(format!("{lagging} partitions have replicas that are behind: see whether every broker runs"));
    }
    if partitions.len() as i32 != broker.partitions {
        notes.push(format!(
            "broker.partitions = {} is for a topic that is to be created, and changes nothing here",
            broker.partitions
        ));
    }
    if (replicas as i32) < broker.replication {
        notes.push(format!(
            "fewer replicas than broker.replication = {}: kafka-reassign-partitions.sh adds some",
            broker.replication
        ));
    }
    let detail = format!("{} partitions, {replicas} replicas", partitions.len());
    Ok(Found::new(partitions.len() as i32, detail).but((!notes.is_empty()).then(|| notes.join("; "))))
}

/// Asks the broker whether it would create the topic.
async fn may_create(broker: &BrokerConfig, limit: Duration) -> Result<Found<i32>, Fault> {
    let advice = "let it be created (`--operation Create --topic` of kafka-acls.sh), correct broker.partitions and \
                  broker.replication, or create it yourself";
    let fault = |reason: String| {
        Fault::new(format!("topic {:?} is not there, and cannot be created: {reason}", broker.topic), advice)
    };
    let config = kafka_link::client_config(broker, &[]);
    let admin: AdminClient<DefaultClientContext> =
        config.create().map_err(|error| fault(kafka_link::reason(&error)))?;
    let topic = NewTopic::new(&broker.topic, broker.partitions, TopicReplication::Fixed(broker.replication));
    let options = AdminOptions::new().request_timeout(Some(limit)).validate_only(true);
    let answer = admin.create_topics([&topic], &options).await.map_err(|error| fault(kafka_link::reason(&error)))?;
    tokio::task::spawn_blocking(move || drop(admin));
    match answer.into_iter().next() {
        Some(Err((_, code))) if code != Code::TopicAlreadyExists => Err(fault(code.to_string())),
        _ => Ok(Found::new(0, format!("not there yet; freshet may create it, with {} partitions", broker.partitions))),
    }
}

/// What may be done. What cannot be tried without a topic is left out.
async fn rights(broker: &Arc<BrokerConfig>, topic: Result<i32, Stop>, section: &mut Section) -> Result<(), Stop> {
    let partitions = topic?;
    let limit = section.limit.mul_f32(0.8);
    if partitions == 0 {
        let why = "cannot be tried before the topic is there";
        for step in ["read", "group", "write", "clock"] {
            section.skip(step, why);
        }
        return Ok(());
    }
    let of = Arc::clone(broker);
    let newest = section.blocking("read", move || rights::read(&of, partitions, limit)).await;
    let of = Arc::clone(broker);
    let _ = section.blocking("group", move || rights::group(&of, limit)).await;
    let of = Arc::clone(broker);
    let _ = section.blocking("write", move || rights::write(&of, limit)).await;
    let Some(newest) = newest? else {
        section.skip("clock", "Kafka tells its time only by its records, and there is none");
        return Ok(());
    };
    section.step("clock", std::future::ready(Ok(rights::clock(newest)))).await
}
