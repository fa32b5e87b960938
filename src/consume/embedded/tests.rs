use std::time::Duration;

use super::*;
use crate::capture::producer;
use crate::capture::producer::testing::config;
use crate::consume::testing::{after, numbers, produce, records};

async fn read(consumer: &mut dyn Consumer, count: usize, max: usize) -> Vec<RawEvent> {
    let mut events = Vec::new();
    while events.len() < count {
        let polled = records(consumer.poll(max).await.unwrap());
        assert!((1..=max).contains(&polled.len()));
        events.extend(polled);
    }
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_in_the_order_of_the_log_and_resumes_where_it_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.broker.partitions = 4;
    let producer = producer::open(&config).await.unwrap();
    produce(&*producer, 0..10_000).await;

    let mut consumer = EmbeddedConsumer::open(&config, Offsets::default()).await.unwrap();
    let events = read(&mut consumer, 10_000, 777).await;
    assert_eq!(numbers(&events), (0..10_000).collect::<Vec<_>>());
    let lag = consumer.lag().await.unwrap();
    assert!(lag.len() == 4 && lag.iter().all(|one| one.position == one.end && one.end > 0), "{lag:?}");
    consumer.commit(&after(&events)).await.unwrap();
    Box::new(consumer).close().await;

    // From what it is told, not from what the group has committed; another topic's records are stepped over.
    let mut other = config.clone();
    other.broker.topic = "clicks".to_owned();
    produce(&*producer::open(&other).await.unwrap(), 0..5_000).await;
    let mut consumer = EmbeddedConsumer::open(&config, after(&events[..2_500])).await.unwrap();
    produce(&*producer, 10_000..10_100).await;
    assert_eq!(numbers(&read(&mut consumer, 7_600, 5_000).await), (2_500..10_100).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_polls_lose_nothing_while_another_process_writes() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let mut consumer = EmbeddedConsumer::open(&config, Offsets::default()).await.unwrap();
    let producer = producer::open(&config).await.unwrap();
    let writing = tokio::spawn(async move {
        for number in 0..50 {
            produce(&*producer, number * 20..(number + 1) * 20).await;
        }
    });
    let mut events = Vec::new();
    while events.len() < 1_000 {
        if let Ok(polled) = tokio::time::timeout(Duration::from_micros(300), consumer.poll(7)).await {
            events.extend(records(polled.unwrap()));
        }
    }
    writing.await.unwrap();
    assert_eq!(numbers(&events), (0..1_000).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_log_than_the_store_s_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    produce(&*producer::open(&config).await.unwrap(), 0..10).await;
    let mut start = Offsets::default();
    start.set(Arc::from("ratings"), 0, 11);
    let error = EmbeddedConsumer::open(&config, start.clone()).await.err().unwrap().to_string();
    assert!(error.contains("ratings [0] ends at offset 10, but the store has learned up to 11"), "{error}");

    start.set(Arc::from("ratings"), 0, 10);
    start.set(Arc::from("ratings"), 1, 4);
    let error = EmbeddedConsumer::open(&config, start).await.err().unwrap().to_string();
    assert!(error.contains("ratings has 1 partitions") && error.contains("offset 4 of partition 1"), "{error}");

    let mut consumer = EmbeddedConsumer::open(&config, Offsets::default()).await.unwrap();
    assert_eq!(read(&mut consumer, 10, 100).await.len(), 10);
    LogFile::open(&embedded_log::path(&config)).unwrap().sqlite.execute("DELETE FROM topics", []).unwrap();
    let error = consumer.poll(1).await.unwrap_err().to_string();
    assert!(error.contains("was deleted while it was being read"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_records_are_told_after_those_before_them() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    produce(&*producer::open(&config).await.unwrap(), 0..10).await;
    let log = LogFile::open(&embedded_log::path(&config)).unwrap();
    log.sqlite.execute("DELETE FROM records WHERE offset IN (4, 5)", []).unwrap();
    let mut consumer = EmbeddedConsumer::open(&config, Offsets::default()).await.unwrap();
    let error = loop {
        if let Err(error) = consumer.poll(3).await {
            break error.to_string();
        }
    };
    assert!(error.contains("offsets 4..6 of ratings [0] are missing"), "{error}");
}
