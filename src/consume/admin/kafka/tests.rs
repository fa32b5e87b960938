use rdkafka::mocking::MockCluster;

use super::*;
use crate::capture::LogError;
use crate::config::Config;

fn entry(name: &str, source: ConfigSource) -> ConfigEntry {
    let (value, is_default) = (Some("1".to_owned()), source == ConfigSource::Default);
    ConfigEntry { name: name.to_owned(), value, source, is_read_only: false, is_default, is_sensitive: false }
}

#[test]
fn settings_that_are_kafkas_defaults_are_left_out() {
    let set_by = |source| differing(&entry("x", source)).map(|setting| setting.set_by);
    assert_eq!(set_by(ConfigSource::DynamicTopic), Some("topic"));
    assert_eq!(set_by(ConfigSource::StaticBroker), Some("broker"));
    assert_eq!(set_by(ConfigSource::Default), None);
    let secret = ConfigEntry { is_sensitive: true, ..entry("x", ConfigSource::DynamicTopic) };
    assert_eq!(differing(&secret).unwrap().value, None);
}

#[test]
fn a_refusal_says_what_is_allowed() {
    let error = refused("create topic", "clicks", RDKafkaErrorCode::InvalidReplicationFactor).to_string();
    assert!(error.contains("cannot create topic \"clicks\"") && error.contains("number of brokers"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_tells_its_topics_and_one_that_is_away_is_unreachable() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("ratings", 3, 1).unwrap();
    let mut broker = Config::default().broker;
    broker.servers = cluster.bootstrap_servers();
    let admin = KafkaAdmin::new(&broker);
    let found = admin.having("ratings").await.unwrap();
    assert_eq!(found["ratings"].iter().map(|part| part.partition).collect::<Vec<_>>(), [0, 1, 2]);
    let error = admin.having("clicks").await.unwrap_err().to_string();
    assert!(error.contains("no topic \"clicks\"; it has ratings"), "{error}");
    assert_eq!(admin.cluster().await.unwrap().len(), 1, "asking created nothing");

    broker.servers = "127.0.0.1:1".to_owned();
    broker.connect_timeout = Duration::from_millis(300);
    let error = KafkaAdmin::new(&broker).topics(false).await.unwrap_err();
    assert!(matches!(&error, AdminError::Log(LogError::Unreachable { .. })), "{error}");
}
