//! The whole path on real Kafka and MongoDB, beside its parts and the bare limits of the same servers.
//!
//! `whole path` is the engine: 100,000 events from Kafka through every stage until they are durable in a fresh database,
//! snapshots included. Its limit is `insert_many`: the same documents alone, into a collection without a second index
//! and outside any transaction. The rest are its stages, each alone, in the order of the data: `insert` and `commit` are
//! the two halves of the transactions, one at a time, and `store` is what the engine does, `store.write_lanes` at a time.
//! Every round measures each once, so that drift hits all alike; that, and servers beside the measured process, is why
//! Criterion does not run this one. Expected: the whole path at nine tenths of the rate of `insert_many` and more, since lanes
//! overlap; 0.6 where all cores are busy with other work too.
//!
//! `make bench ARGS="--bench engine"` (it installs the servers)

#![allow(clippy::unwrap_used, reason = "a bench that fails has nothing to report")]

mod events;
#[path = "../tests/it/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "what only tests need")]
mod support;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use comfy_table::Table;
use events::stored::{self, EventDoc};
use freshet::capture::Interaction;
use freshet::config::{BrokerKind, Config, StoreKind};
use freshet::consume::{self, Offsets, Polled};
use freshet::decode::decode;
use freshet::engine::Engine;
use freshet::gather::{Gatherer, MicroBatch, Progress};
use freshet::learn::Recommender;
use freshet::publish::{Published, Publisher, Version, View};
use freshet::store::{self, DurableWrite, Turn};
use mongodb::bson::{Document, RawArrayBuf, RawDocumentBuf, doc, rawdoc, to_raw_document_buf};
use mongodb::options::ReadConcern;
use mongodb::{Client, IndexModel};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The first warms the servers up and is not counted.
const ROUNDS: usize = 6;

/// What is measured, in the order of a round.
const PATHS: [&str; 11] = [
    "whole path",
    "insert_many",
    "consume",
    "decode and gather",
    "learn and publish",
    "encode BSON",
    "insert",
    "commit",
    "store, one at a time",
    "store",
    "whole path, embedded",
];

fn main() {
    // `cargo test --benches` only wants to see it start.
    if std::env::args().any(|arg| arg == "--bench") {
        tokio::runtime::Runtime::new().unwrap().block_on(measure());
    }
}

async fn measure() {
    let bench = Bench::prepare().await;
    let mut times = PATHS.map(|_| Vec::new());
    for round in 0..ROUNDS {
        for (path, times) in PATHS.iter().zip(&mut times) {
            let took = bench.time(path).await;
            eprintln!("round {round}: {path} {:.3} s", took.0);
            times.push(took);
        }
    }
    report(times, bench.rows.len() as f64);
}

/// Seconds from the start to the last event, and to the first one where the wait for it is part of them.
type Took = (f64, f64);

fn report(mut times: [Vec<Took>; PATHS.len()], events: f64) {
    for times in &mut times {
        times.remove(0);
        times.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    let median = |times: &[Took]| times[times.len() / 2];
    let (limit, _) = median(&times[1]);
    let mut table = Table::new();
    table.set_header(["", "events/s", "of insert_many", "median seconds", "before the first event"]);
    for (path, times) in PATHS.iter().zip(&times) {
        let (total, first) = median(times);
        table.add_row([
            (*path).to_owned(),
            format!("{:.0}", events / total),
            format!("{:.2}", limit / total),
            format!("{total:.3} ({:.3} to {:.3})", times[0].0, times[times.len() - 1].0),
            format!("{first:.3}"),
        ]);
    }
    println!("{table}");
}

struct Bench {
    rows: Vec<Interaction>,
    /// The writes that the engine would make.
    writes: Vec<Arc<DurableWrite>>,
    /// Kafka, with every row on its topic, and MongoDB.
    servers: Config,
    client: Client,
}

impl Bench {
    async fn prepare() -> Self {
        let rows = events::rows();
        // The fastest learner, so that it is the path that is measured: benches/learn.rs has what the others add to it.
        let mut servers = events::biased_mf(32);
        servers.broker.kind = BrokerKind::Kafka;
        servers.broker.servers = support::kafka().into();
        servers.broker.topic = support::topic("bench", 1);
        servers.store.kind = StoreKind::Mongodb;
        servers.store.uri = support::mongodb().into();
        stored::produce(&rows, &servers).await;
        let client = Client::with_uri_str(support::mongodb()).await.unwrap();
        let writes = stored::writes(&rows, &servers.broker.topic, servers.store.write_batch);
        let writes = writes.into_iter().map(Arc::new).collect();
        Self { rows, writes, servers, client }
    }

    async fn time(&self, path: &str) -> Took {
        let mut config = self.servers.clone();
        (config.broker.group, config.store.database) = (support::unique("bench"), support::unique("bench"));
        let took = match path {
            "whole path" => self.whole(&config).await,
            "insert_many" => self.insert_many(&config.store.database).await,
            "consume" => self.consume(&config).await,
            "decode and gather" => (self.gather(&config).0, 0.0),
            "learn and publish" => self.learn(&config),
            "encode BSON" => self.encode(),
            "insert" => (self.transactions(&config.store.database).await.0, 0.0),
            "commit" => (self.transactions(&config.store.database).await.1, 0.0),
            "store, one at a time" => self.store(&config, 1).await,
            "store" => self.store(&config, config.store.write_lanes).await,
            _ => self.embedded(&config).await,
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
                first.get_or_insert_with(|| start.elapsed().as_secs_f64());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let took = (start.elapsed().as_secs_f64(), first.unwrap_or_default());
        stop.cancel();
        running.await.unwrap().unwrap();
        took
    }

    /// On the embedded log and store, in a new folder on the disk that the servers use.
    async fn embedded(&self, config: &Config) -> Took {
        let (folder, mut config) = (tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(), config.clone());
        config.broker.kind = BrokerKind::Embedded;
        config.store.kind = StoreKind::Embedded;
        config.store.data_dir = folder.path().into();
        stored::produce(&self.rows, &config).await;
        self.whole(&config).await
    }

    async fn insert_many(&self, database: &str) -> Took {
        let database = self.client.database(database);
        database.create_collection("events").await.unwrap();
        let events = database.collection::<EventDoc>("events");
        let start = Instant::now();
        for write in &self.writes {
            events.insert_many(write.events.iter().map(EventDoc::from)).ordered(false).await.unwrap();
        }
        let took = (start.elapsed().as_secs_f64(), 0.0);
        assert_eq!(events.count_documents(doc! {}).await.unwrap(), self.rows.len() as u64);
        took
    }

    async fn store(&self, config: &Config, lanes: usize) -> Took {
        let store = store::open(&config.store).await.unwrap();
        let (epoch, start) = (store.claim().await.unwrap().epoch, Instant::now());
        let (mut under_way, mut turn) = (VecDeque::new(), Turn::first());
        for write in &self.writes {
            if under_way.len() == lanes {
                let first: JoinHandle<()> = under_way.pop_front().unwrap();
                first.await.unwrap();
            }
            let (next, behind) = Turn::behind();
            let (store, write, place) = (Arc::clone(&store), Arc::clone(write), std::mem::replace(&mut turn, behind));
            under_way.push_back(tokio::spawn(async move {
                store.persist_in_turn(epoch, &write, &place).await.unwrap();
                next.go(write.progress.clone());
            }));
        }
        turn.come().await;
        (start.elapsed().as_secs_f64(), 0.0)
    }

    fn encoded(&self) -> impl Iterator<Item = RawDocumentBuf> {
        self.writes.iter().map(|write| {
            let mut documents = RawArrayBuf::new();
            for event in &write.events {
                documents.push(to_raw_document_buf(&EventDoc::from(event)).unwrap());
            }
            rawdoc! {"insert": "events", "documents": documents, "ordered": false}
        })
    }

    fn encode(&self) -> Took {
        let start = Instant::now();
        self.encoded().for_each(drop);
        (start.elapsed().as_secs_f64(), 0.0)
    }

    /// Seconds for the inserts and for the commits of transactions, with the index that the store has.
    async fn transactions(&self, database: &str) -> Took {
        let database = self.client.database(database);
        let index = IndexModel::builder().keys(doc! {"seq": 1}).build();
        database.collection::<Document>("events").create_index(index).await.unwrap();
        let mut session = self.client.start_session().await.unwrap();
        let (mut inserts, mut commits) = (0.0, 0.0);
        for command in self.encoded() {
            let start = Instant::now();
            session.start_transaction().read_concern(ReadConcern::snapshot()).await.unwrap();
            let answer = database.run_raw_command(command).session(&mut session).await.unwrap();
            assert!(!answer.contains_key("writeErrors"), "{answer}");
            let inserted = Instant::now();
            session.commit_transaction().await.unwrap();
            inserts += inserted.duration_since(start).as_secs_f64();
            commits += inserted.elapsed().as_secs_f64();
        }
        (inserts, commits)
    }

    async fn consume(&self, config: &Config) -> Took {
        let (start, mut first) = (Instant::now(), None);
        let mut consumer = consume::open(config, Offsets::default(), "bench").await.unwrap();
        let mut read = 0;
        while read < self.rows.len() {
            if let Polled::Records(records) = consumer.poll(1024).await.unwrap() {
                read += records.len();
            }
            first.get_or_insert_with(|| start.elapsed().as_secs_f64());
        }
        let took = (start.elapsed().as_secs_f64(), first.unwrap_or_default());
        consumer.close().await;
        took
    }

    fn gather(&self, config: &Config) -> (f64, Vec<MicroBatch>) {
        let raw = events::raw(&self.rows, &config.broker.topic);
        let (start, now) = (Instant::now(), tokio::time::Instant::now());
        let mut gatherer = Gatherer::new(&config.gather, Progress::default(), Vec::new());
        let mut push = |raw| {
            let decoded = decode(&raw, &config.decode);
            gatherer.push(now, raw, decoded)
        };
        let batches = raw.into_iter().filter_map(&mut push).collect();
        (start.elapsed().as_secs_f64(), batches)
    }

    fn learn(&self, config: &Config) -> Took {
        let (_, batches) = self.gather(config);
        let start = Instant::now();
        let mut recommender = Recommender::new(config).unwrap();
        let mut publisher = Publisher::new(Published::default(), View::default());
        for batch in batches {
            publisher.observe(&recommender.learn(&batch).unwrap());
            publisher.publish(recommender.publish(), Version::after(&batch, 0));
        }
        (start.elapsed().as_secs_f64(), 0.0)
    }
}
