//! That the servers which other tests rely on are what those tests take them for.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use mongodb::Client;
use mongodb::bson::{Document, doc};
use rdkafka::Message;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::support::{self, Kafka, Mongod};

const TIMEOUT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn mongod_commits_a_transaction_and_aborts_another() {
    let client = Client::with_uri_str(support::mongodb()).await.unwrap();
    let events = client.database(&support::unique("servers")).collection::<Document>("events");
    let mut session = client.start_session().await.unwrap();
    for (id, commit) in [(1, true), (2, false)] {
        session.start_transaction().await.unwrap();
        events.insert_one(doc! { "_id": id }).session(&mut session).await.unwrap();
        if commit {
            session.commit_transaction().await.unwrap();
        } else {
            session.abort_transaction().await.unwrap();
        }
    }
    let kept: Vec<Document> = events.find(doc! {}).await.unwrap().try_collect().await.unwrap();
    assert_eq!(kept, [doc! { "_id": 1 }]);
}

#[tokio::test]
async fn mongod_streams_changes() {
    let client = Client::with_uri_str(support::mongodb()).await.unwrap();
    let events = client.database(&support::unique("servers")).collection::<Document>("events");
    let mut changes = events.watch().await.unwrap();
    events.insert_one(doc! { "_id": 7 }).await.unwrap();
    let change = tokio::time::timeout(TIMEOUT, changes.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(change.full_document, Some(doc! { "_id": 7 }));
}

#[tokio::test]
async fn mongod_keeps_its_documents_when_killed() {
    let Some(mut mongod) = Mongod::start() else { return };
    let client = Client::with_uri_str(mongod.uri()).await.unwrap();
    let events = client.database("kept").collection::<Document>("events");
    events.insert_one(doc! { "_id": 7 }).await.unwrap();
    mongod.kill();
    mongod.restart();
    assert_eq!(events.find_one(doc! {}).await.unwrap(), Some(doc! { "_id": 7 }));
}

#[tokio::test]
async fn kafka_returns_what_was_produced() {
    let topic = support::topic("servers", 2);
    produce(support::kafka(), &topic, "event").await;
    assert_eq!(consume_one(support::kafka(), &topic).await, "event");
}

#[tokio::test]
async fn kafka_keeps_its_records_when_killed() {
    let Some(mut kafka) = Kafka::start() else { return };
    support::kafka::create_topic(&kafka.servers(), "kept", 1).unwrap();
    produce(&kafka.servers(), "kept", "event").await;
    kafka.kill();
    kafka.restart();
    assert_eq!(consume_one(&kafka.servers(), "kept").await, "event");
}

async fn produce(servers: &str, topic: &str, payload: &str) {
    let producer: FutureProducer = support::kafka::client_config(servers).set("acks", "all").create().unwrap();
    producer.send(FutureRecord::to(topic).key("user").payload(payload), TIMEOUT).await.unwrap();
}

async fn consume_one(servers: &str, topic: &str) -> String {
    let consumer: StreamConsumer = support::kafka::client_config(servers)
        .set("group.id", support::unique("group"))
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    consumer.subscribe(&[topic]).unwrap();
    let record = tokio::time::timeout(TIMEOUT, consumer.recv()).await.unwrap().unwrap();
    String::from_utf8(record.payload().unwrap().to_vec()).unwrap()
}
