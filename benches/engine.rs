//! The whole path on real Kafka and MongoDB, beside its parts and the bare limits of the same servers.
//!
//! `whole path` is the engine: 100,000 events from Kafka through every stage until they are durable in a fresh database,
//! snapshots included. Its limits are `insert_many` (the same documents alone, into a collection without a second index
//! and outside any transaction) and `consume` (the same records alone). `store` and `decode, learn, publish` are the
//! parts between. Every round measures each once, so that drift hits all alike; that, and servers beside the measured
//! process, is why Criterion does not run this one. Expected: the whole path at half the rate of `insert_many` or more.
//!
//! `make bench ARGS="--bench engine"` (it installs the servers)

#![allow(clippy::unwrap_used, reason = "a bench that fails has nothing to report")]

mod events;
#[path = "../tests/it/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "what only tests need")]
mod support;

use std::time::{Duration, Instant};

use comfy_table::Table;
use freshet::capture::{self, Interaction, Pace, producer};
use freshet::config::{BrokerKind, Config, StoreKind};
use freshet::consume::{self, Offsets, RawEvent};
use freshet::decode;
use freshet::engine::Engine;
use freshet::learn::Learner;
use freshet::publish::{Published, Publisher, Version, View};
use freshet::store::{self, DurableWrite, LearnedEvent, Progress};
use mongodb::Client;
use mongodb::bson::{DateTime, doc};
use serde::Serialize;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

const ROUNDS: usize = 5;

/// What is measured, in the order of a round.
const PATHS: [&str; 6] =
    ["whole path", "insert_many", "store", "consume", "decode, learn, publish", "whole path, embedded"];

fn main() {
    // `cargo test --benches` only wants to see it start.
    if std::env::args().any(|arg| arg == "--bench") {
        tokio::runtime::Runtime::new().unwrap().block_on(measure());
    }
}

async fn measure() {
    let bench = Bench::prepare().await;
    let mut times = PATHS.map(|_| Vec::new());
    // The first round warms the servers up.
    for round in 0..=ROUNDS {
        for (path, times) in PATHS.iter().zip(&mut times) {
            let took = bench.time(path).await;
            eprintln!("round {round}: {path} {:.3} s, {:.3} s of it before the first event", took.total, took.first);
            if round > 0 {
                times.push(took);
            }
        }
    }
    report(times, bench.rows.len());
}

/// Seconds from the start to the last event, and to the first one.
#[derive(Clone, Copy)]
struct Took {
    total: f64,
    first: f64,
}

fn report(times: [Vec<Took>; PATHS.len()], events: usize) {
    let medians = times.map(|mut times| {
        times.sort_by(|a, b| a.total.total_cmp(&b.total));
        (times[times.len() / 2], times[0].total, times[times.len() - 1].total)
    });
    let rate = |took: Took| events as f64 / took.total;
    let limit = rate(medians[1].0);
    let mut table = Table::new();
    table.set_header([
        &*format!("{events} events"),
        "events/s, median",
        "of insert_many",
        "seconds",
        "before the first",
    ]);
    for (path, (median, least, most)) in PATHS.iter().zip(medians) {
        table.add_row([
            (*path).to_owned(),
            format!("{:.0}", rate(median)),
            format!("{:.2}", rate(median) / limit),
            format!("{:.3} ({least:.3} to {most:.3})", median.total),
            format!("{:.3}", median.first),
        ]);
    }
    println!("{table}");
}

struct Bench {
    rows: Vec<Interaction>,
    raw: Vec<RawEvent>,
    /// The writes that the engine would make.
    writes: Vec<DurableWrite>,
    /// Kafka, with every row on its topic, and MongoDB.
    servers: Config,
    client: Client,
}

impl Bench {
    async fn prepare() -> Self {
        let rows = events::rows();
        let mut servers = Config::default();
        servers.broker.kind = BrokerKind::Kafka;
        servers.broker.servers = support::kafka().into();
        servers.broker.topic = support::topic("bench", 1);
        servers.store.kind = StoreKind::Mongodb;
        servers.store.uri = support::mongodb().into();
        produce(&rows, &servers).await;
        let client = Client::with_uri_str(support::mongodb()).await.unwrap();
        let writes = writes(&rows, servers.store.write_batch);
        Self { raw: events::raw(&rows), rows, writes, servers, client }
    }

    async fn time(&self, path: &str) -> Took {
        let mut config = self.servers.clone();
        config.broker.group = support::unique("bench");
        config.store.database = support::unique("bench");
        let took = match path {
            "whole path" => self.whole(&config).await,
            "insert_many" => self.insert_many(&config.store.database).await,
            "store" => self.store(&config).await,
            "consume" => self.consume(&config).await,
            "decode, learn, publish" => self.learn(&config),
            _ => {
                let folder = embed(&mut config);
                produce(&self.rows, &config).await;
                let took = self.whole(&config).await;
                drop(folder);
                took
            }
        };
        self.client.database(&config.store.database).drop().await.unwrap();
        took
    }

    async fn whole(&self, config: &Config) -> Took {
        let engine = Engine::new(config, store::open(&config.store).await.unwrap()).unwrap();
        let (status, published, stop) = (engine.status(), engine.published(), CancellationToken::new());
        let (start, mut first) = (Instant::now(), None);
        let running = tokio::spawn(engine.run(stop.clone()));
        while status.durable_seq() < self.rows.len() as u64 {
            assert!(!running.is_finished(), "the engine ended: {:?}", running.await);
            if published.load().version().seq > 0 {
                first.get_or_insert_with(|| start.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let total = start.elapsed().as_secs_f64();
        stop.cancel();
        running.await.unwrap().unwrap();
        Took { total, first: first.unwrap_or_default().as_secs_f64() }
    }

    async fn insert_many(&self, database: &str) -> Took {
        let database = self.client.database(database);
        database.create_collection("events").await.unwrap();
        let events = database.collection::<EventDoc>("events");
        let start = Instant::now();
        for write in &self.writes {
            events.insert_many(write.events.iter().map(EventDoc::from)).ordered(false).await.unwrap();
        }
        let took = Took { total: start.elapsed().as_secs_f64(), first: 0.0 };
        assert_eq!(events.count_documents(doc! {}).await.unwrap(), self.rows.len() as u64);
        took
    }

    async fn store(&self, config: &Config) -> Took {
        let store = store::open(&config.store).await.unwrap();
        let epoch = store.claim().await.unwrap().epoch;
        let start = Instant::now();
        for write in &self.writes {
            store.persist(epoch, write).await.unwrap();
        }
        Took { total: start.elapsed().as_secs_f64(), first: 0.0 }
    }

    async fn consume(&self, config: &Config) -> Took {
        let (start, mut first) = (Instant::now(), None);
        let mut consumer = consume::open(config, Offsets::default()).await.unwrap();
        let mut read = 0;
        while read < self.rows.len() {
            read += consumer.poll(1024).await.unwrap().len();
            first.get_or_insert_with(|| start.elapsed());
        }
        let total = start.elapsed().as_secs_f64();
        consumer.close().await;
        Took { total, first: first.unwrap_or_default().as_secs_f64() }
    }

    fn learn(&self, config: &Config) -> Took {
        let raw = self.raw.clone();
        let start = Instant::now();
        let events: Vec<_> = raw.into_iter().map(|raw| decode::decode(raw, &config.decode).unwrap()).collect();
        let mut learner = Learner::new(events::params(config.learn.factors));
        let mut publisher = Publisher::new(Published::default(), View::default());
        for batch in events::batches(&events) {
            publisher.observe(&learner.learn(&batch).unwrap());
            publisher.publish(learner.publish(), Version::after(&batch, 0));
        }
        Took { total: start.elapsed().as_secs_f64(), first: 0.0 }
    }
}

/// Turns to the embedded log and store in a new folder, on the disk that the servers use.
fn embed(config: &mut Config) -> TempDir {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    config.broker.kind = BrokerKind::Embedded;
    config.store.kind = StoreKind::Embedded;
    config.store.data_dir = folder.path().into();
    folder
}

async fn produce(rows: &[Interaction], config: &Config) {
    let producer = producer::open(config).await.unwrap();
    let rows = rows.iter().cloned().map(Ok::<_, std::convert::Infallible>);
    let delivered = capture::replay(rows, &*producer, Pace::Full, |_| ()).await.unwrap();
    assert_eq!(delivered.failed, 0, "{delivered:?}");
}

/// Writes of the size that the engine makes, with what it would have predicted left at a constant.
fn writes(rows: &[Interaction], size: usize) -> Vec<DurableWrite> {
    let learned = |(event, seq)| LearnedEvent { seq, batch: seq / 256 + 1, rehearse_from: None, predicted: 3.5, event };
    let learned: Vec<_> = events::events(rows).into_iter().zip(1..).map(learned).collect();
    let write = |events: &[LearnedEvent]| {
        let last = events.last().unwrap();
        let position = &last.event.position;
        let offsets = [(position.topic.clone(), position.partition, position.offset + 1)].into_iter().collect();
        let progress = Progress { seq: last.seq, batch: last.batch, offsets };
        DurableWrite { events: events.to_vec(), rejects: Vec::new(), progress }
    };
    learned.chunks(size).map(write).collect()
}

#[derive(Serialize)]
struct Place<'a> {
    t: &'a str,
    p: i32,
    o: i64,
}

/// A document of `events`, as the store writes it.
#[derive(Serialize)]
struct EventDoc<'a> {
    #[serde(rename = "_id")]
    place: Place<'a>,
    seq: i64,
    batch: i64,
    user: &'a str,
    item: &'a str,
    rating: Option<f32>,
    ts: DateTime,
    predicted: f32,
}

impl<'a> From<&'a LearnedEvent> for EventDoc<'a> {
    fn from(learned: &'a LearnedEvent) -> Self {
        let event = &learned.event;
        let position = &event.position;
        Self {
            place: Place { t: &position.topic, p: position.partition, o: position.offset },
            seq: learned.seq as i64,
            batch: learned.batch as i64,
            user: &event.user,
            item: &event.item,
            rating: event.rating,
            ts: DateTime::from_millis(event.ts),
            predicted: learned.predicted,
        }
    }
}
