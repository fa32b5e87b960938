use std::ops::ControlFlow;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::RDKafkaRespErr;

use super::*;
use crate::config::{BrokerKind, Config};

fn config(servers: String) -> Config {
    let mut config = Config::default();
    config.broker.kind = BrokerKind::Kafka;
    config.broker.servers = servers;
    config.broker.connect_timeout = Duration::from_secs(20);
    config
}

fn wish(topics: &[&str], start: Start, until_end: bool) -> Wish {
    let topics = topics.iter().map(|&topic| topic.to_owned()).collect();
    Wish { topics, start, partition: None, group: None, until_end }
}

fn produce(config: &Config, topic: &str, partitions: i32, count: i32) {
    let client: BaseProducer = ClientConfig::new().set("bootstrap.servers", &config.broker.servers).create().unwrap();
    for number in 0..count {
        let payload = number.to_string();
        let record = BaseRecord::<(), str>::to(topic).payload(&payload).partition(number % partitions);
        client.send(record).unwrap();
    }
    client.flush(Duration::from_secs(20)).unwrap();
}

/// `topic/partition/offset` of what comes until the end, or until there is enough.
fn read(watcher: &mut KafkaWatcher, enough: usize) -> Result<Vec<String>, WatchError> {
    let mut found = Vec::new();
    let deadline = Instant::now() + Duration::from_mins(1);
    while found.len() < enough {
        assert!(Instant::now() < deadline, "no end after {found:?}");
        let polled = watcher.poll(Duration::from_millis(100), &mut |record| {
            found.push(format!("{}/{}/{}", record.topic, record.partition, record.offset));
            if found.len() < enough { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        if polled? == Polled::Ended {
            break;
        }
    }
    Ok(found)
}

#[tokio::test(flavor = "multi_thread")]
async fn several_topics_are_read_to_their_end_each_record_once() {
    let cluster = MockCluster::new(1).unwrap();
    for topic in ["a", "b", "empty"] {
        cluster.create_topic(topic, 3, 1).unwrap();
    }
    let config = config(cluster.bootstrap_servers());
    produce(&config, "a", 3, 3_000);
    produce(&config, "b", 2, 100);
    let wanted = wish(&["a", "b", "empty"], Start::Beginning, true);
    let mut watcher = KafkaWatcher::open(&config.broker, wanted).await.unwrap();
    assert_eq!(watcher.partitions(), 9);
    let mut found = tokio::task::block_in_place(|| read(&mut watcher, usize::MAX)).unwrap();
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), 3_100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_not_there_is_not_created() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("a", 1, 1).unwrap();
    let config = config(cluster.bootstrap_servers());
    let open = async |wanted| KafkaWatcher::open(&config.broker, wanted).await.err().unwrap();
    for _ in 0..2 {
        let error = open(wish(&["a", "nope"], Start::Beginning, false)).await;
        assert!(matches!(&error, WatchError::NoTopic { there, .. } if there.len() == 1), "{error}");
    }
    let one = Wish { partition: Some(1), ..wish(&["a"], Start::Beginning, false) };
    assert!(matches!(open(one).await, WatchError::NoPartition { partitions: 1, .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_goes_and_comes_back_is_waited_for() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("a", 1, 1).unwrap();
    let config = config(cluster.bootstrap_servers());
    produce(&config, "a", 1, 10);
    let mut watcher = KafkaWatcher::open(&config.broker, wish(&["a"], Start::Beginning, false)).await.unwrap();
    tokio::task::block_in_place(|| {
        assert_eq!(read(&mut watcher, 10).unwrap().len(), 10);
        cluster.broker_down(1).unwrap();
        let deadline = Instant::now() + Duration::from_mins(1);
        while !watcher.link.is_away() {
            assert!(Instant::now() < deadline, "the outage is not noticed");
            let polled = watcher.poll(Duration::from_millis(100), &mut |_| ControlFlow::Continue(())).unwrap();
            assert_eq!(polled, Polled::Nothing);
        }
        cluster.broker_up(1).unwrap();
        produce(&config, "a", 1, 1);
        assert_eq!(read(&mut watcher, 1).unwrap(), ["a/0/10"]);
        assert!(!watcher.link.is_away());
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_that_fails_for_a_while_loses_and_doubles_nothing() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("a", 1, 1).unwrap();
    let config = config(cluster.bootstrap_servers());
    produce(&config, "a", 1, 100);
    let passing = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION; 3];
    cluster.request_errors(rdkafka::types::RDKafkaApiKey::Fetch, &passing);
    let mut watcher = KafkaWatcher::open(&config.broker, wish(&["a"], Start::Offset(40), true)).await.unwrap();
    let found = tokio::task::block_in_place(|| read(&mut watcher, usize::MAX)).unwrap();
    assert_eq!(found, (40..100).map(|offset| format!("a/0/{offset}")).collect::<Vec<_>>());
}

#[test]
fn whatever_the_operator_sets_for_the_engine_a_watcher_joins_nothing_and_commits_nothing() {
    let mut broker = Config::default().broker;
    for (key, value) in [
        ("group.id", "freshet"),
        ("group.instance.id", "engine-1"),
        ("enable.auto.commit", "true"),
        ("enable.auto.offset.store", "true"),
    ] {
        broker.properties.insert(key.to_owned(), value.to_owned());
    }
    let config = properties(&broker, &wish(&["a"], Start::Latest, false));
    assert_eq!(config.get("group.id"), Some(NAME));
    assert_eq!(config.get("group.instance.id"), None);
    assert_eq!(
        (config.get("enable.auto.commit"), config.get("enable.auto.offset.store")),
        (Some("false"), Some("false"))
    );
}
