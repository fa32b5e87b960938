//! Membership in the group of a real Kafka: a reader that comes back, and one that takes another's place.

use std::sync::Arc;
use std::time::{Duration, Instant};

use freshet::capture::LogError;
use freshet::capture::producer::{self, Record};
use freshet::config::{BrokerKind, Config};
use freshet::consume::{self, Consumer, Offsets, Polled};

use crate::support;

const PATIENCE: Duration = Duration::from_mins(1);

fn config(partitions: i32) -> Config {
    let mut config = Config::default();
    config.broker.kind = BrokerKind::Kafka;
    support::kafka().clone_into(&mut config.broker.servers);
    (config.broker.topic, config.broker.group) = (support::topic("consume", partitions), support::unique("consume"));
    config
}

async fn produce(config: &Config, numbers: std::ops::Range<u32>) {
    let producer = producer::open(config).await.unwrap();
    for number in numbers {
        let payload = number.to_string().into_bytes();
        producer.send(Record { key: payload.clone(), payload, ..Record::default() }).await.unwrap();
    }
    assert_eq!(producer.flush().await.unwrap().failed, 0);
}

/// Reads that many records, and notes how far that reaches.
async fn read(consumer: &mut dyn Consumer, count: usize, reached: &mut Offsets) {
    let mut read = 0;
    while read < count {
        let polled = tokio::time::timeout(PATIENCE, consumer.poll(1_000)).await.expect("records in time").unwrap();
        let Polled::Records(records) = polled else { panic!("nobody else wants partitions") };
        read += records.len();
        for record in records {
            let position = record.position;
            let next = reached.get(&position.topic, position.partition).unwrap_or(0);
            assert_eq!(position.offset, next, "no record is read twice or left out");
            reached.set(position.topic, position.partition, position.offset + 1);
        }
    }
    assert_eq!(read, count);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_the_same_name_takes_the_place_of_the_one_before_at_once() {
    if support::kafka::is_mock() {
        return;
    }
    let config = config(4);
    let mut reached = Offsets::default();
    produce(&config, 0..1_000).await;
    let mut first = consume::open(&config, reached.clone(), "store").await.unwrap();
    read(&mut *first, 1_000, &mut reached).await;

    // Nobody has told Kafka that the first one is gone: so it is with one that was killed.
    let start = Instant::now();
    let mut second = consume::open(&config, reached.clone(), "store").await.unwrap();
    produce(&config, 1_000..1_500).await;
    read(&mut *second, 500, &mut reached).await;
    support::say(&format!("a second reader of the same name reads after {:?}", start.elapsed()));

    let error = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Err(error) = first.poll(10).await {
                return error;
            }
        }
    });
    let error = error.await.expect("the first one is told");
    assert!(matches!(error, LogError::Superseded { .. }), "{error}");
    assert!(error.to_string().contains("another engine has taken over"), "{error}");
    first.close().await;
    second.commit(&reached).await.unwrap();
    second.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_made_again_with_fewer_partitions_is_told() {
    let config = config(2);
    let mut start = Offsets::default();
    start.set(Arc::from(config.broker.topic.as_str()), 2, 9);
    let error = consume::open(&config, start, "store").await.err().unwrap().to_string();
    assert!(error.contains("has 2 partitions") && error.contains("offset 9 of partition 2"), "{error}");
}
