//! The program on a log and a store of its own, embedded or on servers, and what is in them, read behind its back.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use freshet::config::{Config, LoadOptions};
use freshet::store::{self, LearnedEvent, Store};
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::runtime::Runtime;

use super::Account;
use crate::dead_letters::send;
use crate::engine::SETTINGS;
use crate::program::{Engine, Freshet, Running};
use crate::support::{self, kafka};

/// Events read from a store at once.
const PAGE: usize = 8192;

pub(super) struct Site {
    pub(super) freshet: Freshet,
    /// The same settings, for the library.
    pub(super) config: Config,
    pub(super) runtime: Runtime,
}

impl Site {
    /// With small batches and frequent snapshots, so that a kill finds each of them half done.
    pub(super) fn new(settings: &[String]) -> Self {
        let mut freshet = Freshet::new(&SETTINGS);
        let data_dir = format!("store.data_dir={}", freshet.path("freshet-data").display());
        let more: Vec<String> = std::iter::once(data_dir).chain(settings.iter().cloned()).collect();
        for setting in &more {
            freshet.set(setting);
        }
        let sets = SETTINGS.iter().map(ToString::to_string).chain(more).collect();
        let folder = freshet.path("");
        let loaded = Config::load(&LoadOptions { folder, sets, ..LoadOptions::default() });
        let config = loaded.unwrap_or_else(|error| panic!("{error}")).config;
        Self { freshet, config, runtime: Runtime::new().unwrap() }
    }

    pub(super) fn embedded() -> Self {
        Self::new(&[])
    }

    /// On the servers that the tests share.
    pub(super) fn shared() -> Self {
        Self::on(support::kafka(), &support::topic("chaos", 1), support::mongodb())
    }

    pub(super) fn on(servers: &str, topic: &str, mongodb: &str) -> Self {
        let mut settings = kafka_settings(servers, topic);
        settings.extend(["store.kind=mongodb".to_owned(), format!("store.uri={mongodb}")]);
        settings.push(format!("store.database={}", support::unique("chaos")));
        Self::new(&settings)
    }

    /// Sends the first `limit` events of the generated sample, over and over if it is shorter.
    pub(super) fn replay(&self, limit: u64) {
        self.freshet.must(&["replay", "sample", "--loop", "--limit", &limit.to_string()]);
    }

    /// The same, as fast as the log takes it, beside what else happens.
    pub(super) fn replaying(&self, limit: u64) -> Running {
        self.freshet.spawn(&["replay", "sample", "--loop", "--limit", &limit.to_string()])
    }

    /// Sends payloads as they are.
    pub(super) fn send(&self, payloads: impl IntoIterator<Item = Vec<u8>>) {
        send(&self.config, &payloads.into_iter().collect::<Vec<_>>());
    }

    /// Starts the engine; how long it takes until it learns.
    pub(super) fn recover(&self) -> (Engine, Duration) {
        let begin = Instant::now();
        let mut engine = self.freshet.start();
        engine.learns();
        (engine, begin.elapsed())
    }

    pub(super) fn store(&self) -> Arc<dyn Store> {
        self.runtime.block_on(store::open(&self.config.store)).unwrap()
    }

    /// Every stored event, in order; `seq` must count them without a hole.
    pub(super) fn events(&self) -> Vec<LearnedEvent> {
        let (store, mut events) = (self.store(), Vec::new());
        loop {
            let page = self.runtime.block_on(store.events(events.len() as u64 + 1, PAGE)).unwrap();
            if page.is_empty() {
                break;
            }
            events.extend(page);
        }
        let holes = events.iter().zip(1..).filter(|(event, seq)| event.seq != *seq).count();
        assert_eq!(holes, 0, "seq has holes");
        events
    }

    /// Of a topic with one partition and so many records, of which `rejects` are no events.
    pub(super) fn account(&self, records: u64, rejects: &BTreeSet<i64>) -> Account {
        let offsets: Vec<i64> = self.events().iter().map(|event| event.event.position.offset).collect();
        assert!(offsets.is_sorted(), "the order of the log is the order learned");
        let once: BTreeSet<i64> = offsets.iter().copied().collect();
        let counts = self.runtime.block_on(self.store().reject_counts()).unwrap();
        assert_eq!(counts.values().sum::<u64>(), rejects.len() as u64, "{counts:?}");
        let lost = (0..records as i64).filter(|offset| !once.contains(offset) && !rejects.contains(offset)).count();
        let twice = offsets.len() - once.len();
        Account { events: offsets.len() as u64, lost: lost as u64, twice: twice as u64 }
    }

    /// How many records a Kafka topic with one partition holds.
    pub(super) fn end(&self) -> u64 {
        end(&self.config.broker.servers, &self.config.broker.topic, 0)
    }

    /// The hash of the newest snapshot, which must hold exactly `events`.
    pub(super) fn newest_hash(&self, events: u64) -> String {
        let newest = self.freshet.newest_snapshot();
        assert_eq!((&newest["_id"], &newest["counts"]["events"]), (&events.into(), &events.into()), "{newest}");
        newest["sha256"].as_str().unwrap().to_owned()
    }

    /// Stops an engine that has everything, and compares its model with `expected`, and with what `freshet verify` learns
    /// again.
    pub(super) fn same_model(&self, engine: Engine, events: u64, expected: &str) {
        engine.stop().succeeded();
        assert_eq!(self.newest_hash(events), expected, "an undisturbed run gives another model");
        self.verify();
    }

    /// Has the stored events learned again, and held against the log.
    pub(super) fn verify(&self) {
        self.freshet.must(&["verify", "--against-kafka"]);
    }
}

/// Settings of an engine that reads from Kafka, under a group of its own.
pub(super) fn kafka_settings(servers: &str, topic: &str) -> Vec<String> {
    vec![
        "broker.kind=kafka".to_owned(),
        format!("broker.servers={servers}"),
        format!("broker.topic={topic}"),
        format!("broker.group={}", support::unique("chaos")),
    ]
}

/// The hash that `events` events of the sample give when nothing happens.
pub(super) fn undisturbed(events: u64) -> String {
    let site = Site::embedded();
    site.replay(events);
    learned(&site, events)
}

/// Learns what is on the log, and returns the model's hash.
pub(super) fn learned(site: &Site, events: u64) -> String {
    let mut engine = site.freshet.start();
    engine.learned(events);
    engine.stop().succeeded();
    site.newest_hash(events)
}

/// One past the last offset of a partition on Kafka.
pub(super) fn end(servers: &str, topic: &str, partition: i32) -> u64 {
    let client: BaseConsumer = kafka::client_config(servers).create().unwrap();
    // A broker that has just started does not know its partitions yet.
    let asked = (0..120).find_map(|_| {
        let answer = client.fetch_watermarks(topic, partition, Duration::from_secs(30));
        answer.inspect_err(|_| sleep(Duration::from_millis(500))).ok()
    });
    asked.expect("kafka tells the end of a partition").1 as u64
}

/// Fails the test unless SQLite finds nothing wrong with a file of its own.
pub(super) fn assert_sound(file: &Path) {
    let sqlite = rusqlite::Connection::open(file).unwrap();
    let found: String = sqlite.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(found, "ok", "{}", file.display());
}
