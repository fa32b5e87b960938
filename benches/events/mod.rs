//! The events that every bench runs on: MovieLens 100K in time order, or the generated sample of the same shape.
//!
//! Apart from the benches, so that all of them measure the same rows.

#![allow(dead_code, reason = "each bench takes what it needs")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot have its data has nothing to measure")]

pub(crate) mod stored;

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use freshet::capture::{self, Interaction};
use freshet::config::{Config, LearnerKind};
use freshet::consume::{Position, RawEvent};
use freshet::decode::{self, Event};
use freshet::gather::MicroBatch;

/// Events in a micro-batch, as `gather.size` has it by default.
const BATCH: usize = 256;

/// The rows in the order they are learned.
pub(crate) fn rows() -> Vec<Interaction> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let found = capture::open("ml-100k", None).or_else(|_| capture::open("ml-100k", Some(&beside)));
    let dataset = found.unwrap_or_else(|_| {
        eprintln!(
            "MovieLens 100K is not here: these are figures of the GENERATED sample (`freshet data fetch ml-100k`)"
        );
        capture::open("sample", None).unwrap()
    });
    eprintln!("{} from {}", dataset.name, dataset.origin);
    dataset.described().rows.collect::<Result<_, _>>().unwrap()
}

/// The rows as one partition of the log has them.
pub(crate) fn raw(rows: &[Interaction], topic: &str) -> Vec<RawEvent> {
    let topic: Arc<str> = topic.into();
    let raw = |(row, offset): (&Interaction, i64)| RawEvent {
        position: Position { topic: Arc::clone(&topic), partition: 0, offset },
        timestamp_ms: 0,
        key: Some(row.user.as_bytes().to_vec()),
        payload: row.to_json(),
        trace: None,
    };
    rows.iter().zip(0..).map(raw).collect()
}

/// The rows decoded.
pub(crate) fn events(rows: &[Interaction], topic: &str) -> Vec<Event> {
    let config = Config::default().decode;
    raw(rows, topic).iter().map(|raw| decode::decode(raw, &config).unwrap()).collect()
}

/// A rating by these ids.
pub(crate) fn rating(user: String, item: String, rating: f32) -> Event {
    static TOPIC: LazyLock<Arc<str>> = LazyLock::new(|| "ratings".into());
    Event {
        position: Position { topic: Arc::clone(&TOPIC), partition: 0, offset: 0 },
        user,
        item,
        rating: Some(rating),
        count: None,
        ts: 0,
        ts_of_event: false,
        id: None,
        genres: Vec::new(),
        year: None,
    }
}

/// Where `make servers` and `make peers` install.
pub(crate) fn servers() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/servers");
    std::env::var_os("FRESHET_SERVERS_DIR").map_or(own, PathBuf::from)
}

/// Events in micro-batches of the default size.
pub(crate) fn batches(events: &[Event]) -> Vec<MicroBatch> {
    let batch = |(events, number): (&[Event], u64)| MicroBatch {
        number,
        first_seq: (number - 1) * BATCH as u64 + 1,
        events: events.to_vec(),
        ..MicroBatch::default()
    };
    events.chunks(BATCH).zip(1..).map(batch).collect()
}

/// The defaults with these two learners.
pub(crate) fn learners(rating: LearnerKind, ranking: LearnerKind) -> Config {
    let mut config = Config::default();
    (config.learn.rating, config.learn.ranking) = (rating, ranking);
    config
}

/// The biased matrix factorization alone, for ratings and rankings, with this number of factors.
pub(crate) fn biased_mf(factors: usize) -> Config {
    let mut config = learners(LearnerKind::BiasedMf, LearnerKind::BiasedMf);
    config.biased_mf.factors = factors;
    config
}
