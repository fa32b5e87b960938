//! The main job on real servers: a data set through Kafka into MongoDB, served while it is learned, restarted, and in the
//! end the same model, bit for bit, as from the embedded log and store.

use std::path::PathBuf;
use std::sync::Arc;

use freshet::config::{StoreConfig, StoreKind};
use freshet::store::snapshot::{self, Encoder};
use freshet::store::{self, Hash, Manifest, Store};
use futures::TryStreamExt;
use mongodb::bson::{Document, doc};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::program::{Engine, Freshet, movielens};
use crate::support;

/// Rows of ML-100k, and of the generated sample that stands in for it.
const ROWS: u64 = 100_000;

/// Events that one user adds after the replay, and again after the restart.
const ADDED: u64 = 3;

/// The program on Kafka and MongoDB under names of its own, and a view behind its back.
pub(crate) struct Servers {
    pub(crate) freshet: Freshet,
    pub(crate) topic: String,
    group: String,
    pub(crate) runtime: Runtime,
    pub(crate) database: mongodb::Database,
    config: StoreConfig,
}

impl Servers {
    pub(crate) fn new(partitions: i32) -> Self {
        let (topic, group, name) = (support::topic("e2e", partitions), support::unique("e2e"), support::unique("e2e"));
        let freshet = Freshet::new(&[
            "broker.kind=kafka".to_owned(),
            format!("broker.servers={}", support::kafka()),
            format!("broker.topic={topic}"),
            format!("broker.group={group}"),
            "store.kind=mongodb".to_owned(),
            format!("store.uri={}", support::mongodb()),
            format!("store.database={name}"),
        ]);
        let mut config = freshet::config::Config::default().store;
        (config.kind, config.uri, config.database) = (StoreKind::Mongodb, support::mongodb().to_owned(), name.clone());
        let runtime = Runtime::new().unwrap();
        let client = runtime.block_on(mongodb::Client::with_uri_str(support::mongodb())).unwrap();
        Self { freshet, topic, group, runtime, database: client.database(&name), config }
    }

    fn all(&self, collection: &str) -> Vec<Document> {
        let collection = self.database.collection::<Document>(collection);
        self.runtime.block_on(async { collection.find(doc! {}).await?.try_collect().await }).unwrap()
    }

    fn store(&self) -> Arc<dyn Store> {
        self.runtime.block_on(store::open(&self.config)).unwrap()
    }

    fn newest_manifest(&self) -> Manifest {
        let manifests = self.runtime.block_on(self.store().manifests(1)).unwrap();
        manifests.into_iter().next().expect("a snapshot was taken")
    }

    pub(crate) fn drop_database(&self) {
        self.runtime.block_on(async { self.database.drop().await }).unwrap();
    }

    /// The offset that Kafka holds for the engine's group.
    fn committed(&self) -> Offset {
        let mut client = support::kafka::client_config(support::kafka());
        let consumer: BaseConsumer = client.set("group.id", &self.group).create().unwrap();
        let mut asked = TopicPartitionList::new();
        asked.add_partition(&self.topic, 0);
        let found = consumer.committed_offsets(asked, std::time::Duration::from_secs(30)).unwrap();
        found.find_partition(&self.topic, 0).unwrap().offset()
    }

    fn event_count(&self) -> u64 {
        let events = self.database.collection::<Document>("events");
        self.runtime.block_on(async move { events.count_documents(doc! {}).await }).unwrap()
    }
}

/// What the test replays: ML-100k where its files are, else the generated sample.
struct Source {
    name: &'static str,
    from: Option<PathBuf>,
}

impl Source {
    fn find() -> Self {
        match movielens() {
            Some(dir) => Self { name: "ml-100k", from: Some(dir) },
            None => Self { name: "sample", from: None },
        }
    }

    /// A user of its early rows.
    fn early_user(&self) -> String {
        let dataset = freshet::capture::open(self.name, self.from.as_deref()).unwrap();
        dataset.rows.map(Result::unwrap).next().unwrap().user
    }

    fn arguments<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let from = self.from.iter().flat_map(|dir| ["--from", dir.to_str().unwrap()]);
        ["replay", self.name].into_iter().chain(from).chain(more.iter().copied()).collect()
    }
}

/// Ids of the items of an answer; each must have a title and a finite score, best first.
fn titled(answer: &Value) -> Vec<String> {
    let items = answer["items"].as_array().unwrap();
    assert_eq!(items.len(), 10, "{answer}");
    let scores: Vec<f64> = items.iter().map(|item| item["score"].as_f64().unwrap()).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b), "{answer}");
    assert!(items.iter().all(|item| item["title"].as_str().is_some_and(|title| !title.is_empty())), "{answer}");
    items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

/// Sends one user's ratings of some items to the log.
fn rate(freshet: &Freshet, user: &str, items: &[String]) {
    let line = |item: &String| format!("{}\n", json!({"v": 1, "user": user, "item": item, "rating": 1.0, "ts": 7}));
    freshet.write("added.ndjson", items.iter().map(line).collect::<String>());
    freshet.must(&["replay", "added.ndjson"]);
}

#[test]
fn a_data_set_goes_through_kafka_into_mongodb() {
    let (servers, source) = (Servers::new(1), Source::find());
    let user = source.early_user();
    let mut engine = servers.freshet.start();
    let during = replay_and_ask(&servers.freshet, &mut engine, &source, &user);
    engine.learned(ROWS);
    assert_every_event_is_stored_once(&servers, ROWS);
    assert_answers_agree(&mut engine, &servers);
    assert_quality(&engine.json("/model")["metrics"], source.from.is_some());

    let before = titled(&engine.json(&format!("/recommend/{user}")));
    assert_ne!(during, before, "the answer follows what was learned");
    let first = before[..ADDED as usize].to_vec();
    rate(&servers.freshet, &user, &first);
    engine.learned(ROWS + ADDED);
    let after = titled(&engine.json(&format!("/recommend/{user}")));
    assert!(first.iter().all(|rated| !after.contains(rated)), "{first:?} were rated and are still in {after:?}");

    engine.stop().succeeded();
    assert_eq!(servers.committed(), Offset::Offset((ROWS + ADDED) as i64));
    let stopped = servers.newest_manifest();
    assert_eq!(stopped.seq, ROWS + ADDED);
    assert_blocks_are_whole(&servers);
    assert_snapshot_is_whole(&servers, &stopped);

    let mut engine = servers.freshet.start();
    engine.learned(ROWS + ADDED);
    let listed = engine.json("/snapshots")["snapshots"][0].clone();
    assert_eq!((&listed["seq"], &listed["sha256"]), (&json!(stopped.seq), &json!(stopped.sha256)));
    assert_eq!(titled(&engine.json(&format!("/recommend/{user}"))), after);
    engine.stop().succeeded();
    assert_eq!(servers.newest_manifest(), stopped, "a restart without new events changes nothing");
    assert_eq!(servers.event_count(), ROWS + ADDED);

    let mut engine = servers.freshet.start();
    let second = after[..ADDED as usize].to_vec();
    rate(&servers.freshet, &user, &second);
    engine.learned(ROWS + 2 * ADDED);
    engine.stop().succeeded();
    let last = servers.newest_manifest();
    assert_every_event_is_stored_once(&servers, ROWS + 2 * ADDED);

    let embedded = learn_embedded(&source, &user, &[first, second]);
    assert_eq!(embedded["_id"], last.seq);
    assert_eq!(embedded["sha256"], json!(last.sha256), "the embedded path gives another model");
    servers.drop_database();
}

/// Replays everything and asks meanwhile; returns the items of an answer from the middle of it.
fn replay_and_ask(freshet: &Freshet, engine: &mut Engine, source: &Source, user: &str) -> Vec<String> {
    // Slow enough to ask in between, on any machine.
    let replaying = freshet.spawn(&source.arguments(&["--rate", "20000/s"]));
    let answer = engine.wait(&format!("/recommend/{user}"), "titles of a model that is learning", |answer| {
        let (seq, items) = (answer["model"]["seq"].as_u64(), answer["items"].as_array());
        let titled = items.is_some_and(|items| items.len() == 10 && items.iter().all(|item| item["title"].is_string()));
        titled && answer["cold"] == false && seq > Some(0)
    });
    let seq = answer["model"]["seq"].as_u64().unwrap();
    assert!(seq < ROWS, "the first titled answer came after the last event: {answer}");
    replaying.wait().succeeded();
    titled(&answer)
}

fn assert_every_event_is_stored_once(servers: &Servers, expected: u64) {
    let mut events = servers.all("events");
    assert_eq!(events.len() as u64, expected);
    events.sort_by_key(|event| event.get_i64("seq").unwrap());
    for (event, seq) in events.iter().zip(1_i64..) {
        // One partition: the order of the log is the order learned, and neither has a hole.
        let place = doc! {"t": &servers.topic, "p": 0, "o": seq - 1};
        assert_eq!((event.get_document("_id").unwrap(), event.get_i64("seq").unwrap()), (&place, seq), "{event}");
        let predicted = event.get_f64("predicted").unwrap_or_else(|error| panic!("{error}: {event}"));
        assert!((1.0..=5.0).contains(&predicted), "{event}");
    }
    assert!(servers.all("dead_letters").is_empty());
}

fn assert_answers_agree(engine: &mut Engine, servers: &Servers) {
    // The last event is a multiple of store.snapshot_every; its snapshot comes just after it.
    let last = |answer: &Value| answer["snapshots"][0]["seq"] == ROWS;
    let snapshots = engine.wait("/snapshots", "the last event is in a snapshot", last);
    // The lag is asked for once a second.
    let ready = engine.wait("/readyz", "nothing is left to read", |answer: &Value| answer["lag"] == 0);
    let model = engine.json("/model");
    let partition = json!({
        "topic": servers.topic, "partition": 0, "position": ROWS, "durable": ROWS, "end": ROWS, "messages": 0,
        "seconds": 0.0, "state": "ok",
    });
    let expected = json!({
        "ready": true, "reason": null, "role": "all", "phase": "running", "learning": true, "behind": null,
        "trainers": [], "troubles": [], "seq": ROWS, "durable_seq": ROWS, "lag": 0, "partitions": [partition],
    });
    assert_eq!(ready, expected);
    for seq in [&model["seq"], &model["durable_seq"], &model["metrics"]["events"], &model["lag"][0]["end"]] {
        assert_eq!(*seq, ROWS, "{model}");
    }
    assert_eq!((&model["phase"], &model["rejects"]), (&json!("running"), &json!({})));
    assert_eq!(model["snapshot"], snapshots["snapshots"][0]);

    let manifests = servers.runtime.block_on(servers.store().manifests(100)).unwrap();
    let stored: Vec<Value> = manifests.iter().map(|manifest| json!([manifest.seq, manifest.sha256])).collect();
    let listed = snapshots["snapshots"].as_array().unwrap();
    let listed: Vec<Value> = listed.iter().map(|listed| json!([listed["seq"], listed["sha256"]])).collect();
    assert_eq!(listed, stored);
    assert_eq!(listed.len() as u64, ROWS / servers.config.snapshot_every);
}

/// Protocol A over the whole stream: the running mean exactly as any implementation has it, the learner within its bar.
fn assert_quality(metrics: &Value, is_movielens: bool) {
    let [mae, rmse, mean_mae, mean_rmse] =
        ["mae", "rmse", "mean_mae", "mean_rmse"].map(|name| metrics[name].as_f64().unwrap());
    assert!(mae < mean_mae && rmse < mean_rmse, "{metrics}");
    if is_movielens {
        assert_eq!(format!("{mean_mae:.6} {mean_rmse:.6}"), "0.942151 1.125752");
        assert!(mae <= 0.748 && rmse <= 0.947, "{metrics}");
    }
}

fn assert_blocks_are_whole(servers: &Servers) {
    let blocks = servers.all("blocks");
    assert!(!blocks.is_empty());
    for block in blocks {
        let bytes = block.get_binary_generic("bytes").unwrap();
        assert_eq!(Hash::of(bytes).to_string(), block.get_str("_id").unwrap());
        assert_eq!(block.get_i64("size").unwrap(), bytes.len() as i64);
    }
}

fn assert_snapshot_is_whole(servers: &Servers, manifest: &Manifest) {
    let view = servers.runtime.block_on(snapshot::load(&*servers.store(), manifest)).unwrap();
    assert_eq!(Encoder::new(manifest.params.clone()).hash(&view), manifest.sha256);
    assert_eq!(view.version().seq, manifest.seq);
}

/// The newest manifest of an embedded engine that learned the same events in one go.
fn learn_embedded(source: &Source, user: &str, added: &[Vec<String>]) -> Value {
    let freshet = Freshet::new::<&str>(&[]);
    freshet.must(&source.arguments(&[]));
    for items in added {
        rate(&freshet, user, items);
    }
    let mut engine = freshet.start();
    engine.learned(ROWS + ADDED * added.len() as u64);
    engine.stop().succeeded();
    freshet.newest_snapshot()
}
