use super::*;
use crate::capture::producer::{self, Record};
use crate::config::Config;

fn config(dir: &std::path::Path) -> Config {
    let mut config = Config::default();
    config.store.data_dir = dir.to_owned();
    config
}

fn new(name: &str, partitions: i32) -> NewTopic {
    NewTopic { name: name.to_owned(), partitions, replication: 1, settings: std::collections::BTreeMap::new() }
}

fn partitions(partitions: i32) -> Change {
    Change { partitions: Some(partitions), ..Change::default() }
}

async fn produce(config: &Config, count: usize) {
    let producer = producer::open(config).await.unwrap();
    for number in 0..count {
        let (key, payload) = (number.to_string().into_bytes(), b"12345".to_vec());
        producer.send(Record { key, payload, timestamp_ms: Some(1_000), trace: None }).await.unwrap();
    }
    assert_eq!(producer.flush().await.unwrap().failed, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_creates_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let admin = EmbeddedAdmin::new(&config(dir.path()));
    assert_eq!(admin.topics().await.unwrap(), []);
    assert_eq!(admin.groups().await.unwrap(), []);
    let error = admin.topic("ratings").await.unwrap_err().to_string();
    assert!(error.contains("has no topic \"ratings\"; it has none"), "{error}");
    assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_is_created_grows_and_goes_with_its_records() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let admin = EmbeddedAdmin::new(&config);
    admin.create(new("ratings", 2)).await.unwrap();
    assert!(matches!(admin.create(new("ratings", 2)).await, Err(AdminError::Exists(_))));
    produce(&config, 10).await;
    let topic = admin.topic("ratings").await.unwrap();
    assert_eq!((topic.line.partitions, topic.line.records, topic.line.bytes), (2, Some(10), Some(60)));
    assert_eq!(topic.parts.iter().map(|part| part.end.unwrap() - part.low.unwrap()).sum::<i64>(), 10);

    admin.alter("ratings", partitions(5)).await.unwrap();
    assert_eq!(admin.topics().await.unwrap()[0].partitions, 5);
    for (fewer, part) in [(5, "more than 5 are allowed"), (1, "more than 5"), (10_001, "1 to 10000 are allowed")] {
        let error = admin.alter("ratings", partitions(fewer)).await.unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    admin.delete("ratings").await.unwrap();
    assert!(matches!(admin.delete("ratings").await, Err(AdminError::Missing { .. })));
    admin.create(new("ratings", 1)).await.unwrap();
    assert_eq!(admin.topic("ratings").await.unwrap().line.records, Some(0), "the records went with it");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_embedded_log_has_not_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let admin = EmbeddedAdmin::new(&config(dir.path()));
    let settings = [("retention.ms".to_owned(), "1".to_owned())].into();
    let error = admin.create(NewTopic { settings, ..new("a", 1) }).await.unwrap_err();
    assert!(matches!(error, AdminError::NotEmbedded) && error.to_string().contains("keeps every record"), "{error}");
    let settings = [("retention.ms".to_owned(), None)].into();
    let error = admin.alter("a", Change { settings, partitions: None }).await.unwrap_err();
    assert!(matches!(error, AdminError::NotEmbedded));
    for name in ["", ".", "..", "a b", "é", &"x".repeat(250)] {
        let error = admin.create(new(name, 1)).await.unwrap_err().to_string();
        assert!(error.contains("1 to 249 letters"), "{name}: {error}");
    }
    assert!(admin.topics().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_its_positions() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    produce(&config, 10).await;
    let log = LogFile::open(&embedded_log::path(&config)).unwrap();
    log.sqlite.execute("INSERT INTO positions VALUES ('lookers', 1, 0, 7)", []).unwrap();
    let admin = EmbeddedAdmin::new(&config);
    assert_eq!(admin.groups().await.unwrap(), [line("lookers".to_owned())]);
    let group = admin.group("lookers").await.unwrap();
    let found = &group.partitions[0];
    assert_eq!((&*found.topic, found.committed, found.end, found.lag), ("ratings", Some(7), Some(10), Some(3)));
    let error = admin.group("others").await.unwrap_err().to_string();
    assert!(error.contains("no group \"others\"; it has lookers"), "{error}");
}
