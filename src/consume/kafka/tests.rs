use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use rdkafka::consumer::BaseConsumer;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use super::*;
use crate::capture::producer;
use crate::capture::producer::testing::{config, record};
use crate::config::{BrokerKind, Config};
use crate::consume::testing::{after, numbers, produce};

type Cluster = MockCluster<'static, DefaultProducerContext>;

fn cluster(partitions: i32) -> (Cluster, Config) {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("ratings", partitions, 1).unwrap();
    let mut config = config(Path::new("unused"));
    config.broker.kind = BrokerKind::Kafka;
    config.broker.servers = cluster.bootstrap_servers();
    (cluster, config)
}

/// Each time under another name: the mock cluster knows no member that comes back.
async fn open(config: &Config, start: Offsets) -> Result<Box<dyn Consumer>, LogError> {
    static OPENED: AtomicUsize = AtomicUsize::new(0);
    let name = format!("member-{}", OPENED.fetch_add(1, Ordering::Relaxed));
    crate::consume::open(config, start, &name).await
}

async fn read(consumer: &mut dyn Consumer, count: usize) -> Vec<RawEvent> {
    let mut events = Vec::new();
    while events.len() < count {
        let polled = tokio::time::timeout(Duration::from_secs(30), consumer.poll(1_000)).await;
        match polled.expect("records within 30 seconds").unwrap() {
            Polled::Records(records) => events.extend(records),
            Polled::WantedBack => consumer.give_back(&Offsets::default()).await.unwrap(),
        }
    }
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_in_order_and_resumes_from_the_given_offsets_and_not_the_committed_ones() {
    let (_cluster, config) = cluster(1);
    produce(&*producer::open(&config).await.unwrap(), 0..10_000).await;
    let mut consumer = open(&config, Offsets::default()).await.unwrap();
    let events = read(&mut *consumer, 10_000).await;
    assert_eq!(numbers(&events), (0..10_000).collect::<Vec<_>>());
    assert_eq!(events[42].key.as_deref(), Some(&b"3"[..]));
    assert_eq!(
        consumer.lag().await.unwrap(),
        [PartitionLag { topic: Arc::from("ratings"), partition: 0, position: 10_000, end: 10_000 }]
    );
    consumer.commit(&after(&events[..5_000])).await.unwrap();
    consumer.close().await;

    let mut consumer = open(&config, after(&events[..2_500])).await.unwrap();
    assert_eq!(numbers(&read(&mut *consumer, 7_500).await), (2_500..10_000).collect::<Vec<_>>());
    consumer.close().await;

    // What was committed before the close has arrived.
    let mut asking = kafka_link::client_config(&config.broker, &[]);
    let asking: BaseConsumer = asking.set("group.id", &config.broker.group).create().unwrap();
    let mut partition = TopicPartitionList::new();
    partition.add_partition("ratings", 0);
    let committed = asking.committed_offsets(partition, Duration::from_secs(10)).unwrap();
    assert_eq!(committed.elements()[0].offset(), Offset::Offset(5_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_group_s_partitions_pass_on_without_loss_or_doubles() {
    let (_cluster, config) = cluster(4);
    let producer = producer::open(&config).await.unwrap();
    produce(&*producer, 0..2_000).await;
    let mut first = open(&config, Offsets::default()).await.unwrap();
    let events = read(&mut *first, 2_000).await;
    first.close().await;
    let mut second = open(&config, after(&events)).await.unwrap();
    produce(&*producer, 2_000..3_000).await;
    let mut all = numbers(&[events, read(&mut *second, 1_000).await].concat());
    all.sort_unstable();
    assert_eq!(all, (0..3_000).collect::<Vec<_>>());
}

/// Reads under a name of its own until told to stop; returns what it read, having given back what the group wanted.
async fn member(config: Config, name: &'static str, until: tokio_util::sync::CancellationToken) -> Vec<u32> {
    let mut consumer = crate::consume::open(&config, Offsets::default(), name).await.unwrap();
    let mut events = Vec::new();
    loop {
        let polled = tokio::select! {
            polled = consumer.poll(100) => polled.unwrap(),
            () = until.cancelled() => break,
        };
        match polled {
            Polled::Records(records) => events.extend(records),
            Polled::WantedBack => consumer.give_back(&after(&events)).await.unwrap(),
        }
    }
    consumer.close().await;
    numbers(&events)
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_are_wanted_back_are_given_and_neither_member_reads_one_twice() {
    let (_cluster, config) = cluster(4);
    let producer = producer::open(&config).await.unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    produce(&*producer, 0..1_000).await;
    let first = tokio::spawn(member(config.clone(), "first", stop.clone()));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let second = tokio::spawn(member(config.clone(), "second", stop.clone()));
    for number in 1_000..1_400 {
        produce(&*producer, number..number + 1).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop.cancel();
    let (first, second) = (first.await.unwrap(), second.await.unwrap());
    let distinct = |numbers: &[u32]| numbers.iter().collect::<std::collections::BTreeSet<_>>().len();
    assert_eq!((distinct(&first), distinct(&second)), (first.len(), second.len()), "one member reads a record twice");
    let all: std::collections::BTreeSet<_> = first.iter().chain(&second).copied().collect();
    assert_eq!(all.into_iter().collect::<Vec<_>>(), (0..1_400).collect::<Vec<_>>());
    assert!(!first.is_empty() && !second.is_empty(), "{} and {}", first.len(), second.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_consumer_brings_nothing_and_then_everything() {
    let (_cluster, config) = cluster(1);
    let producer = producer::open(&config).await.unwrap();
    produce(&*producer, 0..500).await;
    let mut consumer = open(&config, Offsets::default()).await.unwrap();
    let Polled::Records(mut events) = consumer.poll(10).await.unwrap() else { panic!("no group wants it back") };
    consumer.pause(true).unwrap();
    produce(&*producer, 500..600).await;
    let nothing = tokio::time::timeout(Duration::from_secs(2), consumer.poll(10)).await;
    assert!(nothing.is_err(), "{nothing:?}");
    consumer.pause(false).unwrap();
    events.extend(read(&mut *consumer, 600 - events.len()).await);
    assert_eq!(numbers(&events), (0..600).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_with_fewer_partitions_than_were_read_is_told() {
    let (_cluster, config) = cluster(2);
    let mut start = Offsets::default();
    start.set(Arc::from("ratings"), 3, 7);
    let error = open(&config, start).await.err().unwrap().to_string();
    assert!(error.contains("ratings has 2 partitions") && error.contains("offset 7 of partition 3"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_goes_and_comes_back_loses_nothing() {
    let (cluster, config) = cluster(1);
    let producer = producer::open(&config).await.unwrap();
    produce(&*producer, 0..100).await;
    let mut consumer = open(&config, Offsets::default()).await.unwrap();
    assert_eq!(numbers(&read(&mut *consumer, 100).await), (0..100).collect::<Vec<_>>());

    cluster.broker_down(1).unwrap();
    for number in 100..200 {
        producer.send(record("1", &number.to_string())).await.unwrap();
    }
    let waiting = tokio::time::timeout(Duration::from_secs(3), consumer.poll(10)).await;
    assert!(waiting.is_err(), "{waiting:?}");
    cluster.broker_up(1).unwrap();
    assert_eq!(numbers(&read(&mut *consumer, 100).await), (100..200).collect::<Vec<_>>());
    let counts = producer.flush().await.unwrap();
    assert_eq!((counts.delivered, counts.failed), (200, 0), "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_beyond_the_end_are_told() {
    let (_cluster, config) = cluster(1);
    let mut start = Offsets::default();
    start.set(Arc::from("ratings"), 0, 7);
    let error = open(&config, start).await.err().unwrap().to_string();
    assert!(error.contains("goes on at offset 0, but the store has learned up to 7"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_broker_is_given_up_with_advice() {
    let mut config = config(Path::new("unused"));
    config.broker.kind = BrokerKind::Kafka;
    config.broker.servers = "127.0.0.1:1".to_owned();
    config.broker.connect_timeout = Duration::from_secs(1);
    let start = std::time::Instant::now();
    let error = producer::open(&config).await.err().unwrap().to_string();
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    for part in ["kafka at 127.0.0.1:1", "Connection refused", "gave up after 1s", "broker.servers"] {
        assert!(error.contains(part), "{part:?} in {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistaken_property_is_named_and_a_secret_is_not_told() {
    for (key, value) in [("sasl.pasword", "hunter2"), ("fetch.min.bytes", "many"), ("isolation.level", "none")] {
        let (_cluster, mut config) = cluster(1);
        config.broker.properties.insert(key.to_owned(), value.to_owned());
        let error = open(&config, Offsets::default()).await.err().unwrap().to_string();
        assert!(error.contains(key) && !error.contains("hunter2"), "{error}");
    }
}
