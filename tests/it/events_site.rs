//! A store that the test itself writes, so that it knows what must come out of it.

use std::sync::Arc;

use freshet::config::{Config, LoadOptions};
use freshet::consume::{Position, RawEvent};
use freshet::decode::{Event, Reason, Reject};
use freshet::store::{self, DurableWrite, LearnedEvent, Progress, Store};
use tokio::runtime::Runtime;

use crate::program::Freshet;
use crate::support;

/// A store that the test writes, and the program beside it.
pub(crate) struct Site {
    pub(crate) freshet: Freshet,
    pub(crate) runtime: Runtime,
    pub(crate) writer: Writer,
}

/// Writes events to a store, as an engine does.
#[derive(Clone)]
pub(crate) struct Writer {
    pub(crate) store: Arc<dyn Store>,
    epoch: u64,
    progress: Progress,
}

impl Site {
    pub(crate) fn embedded() -> Self {
        Self::new(&[])
    }

    /// On a database of its own.
    pub(crate) fn mongodb(uri: &str) -> Self {
        let database = format!("store.database={}", support::unique("events"));
        Self::new(&["store.kind=mongodb", &format!("store.uri={uri}"), &database])
    }

    fn new(settings: &[&str]) -> Self {
        let mut freshet = Freshet::new(settings);
        let data_dir = format!("store.data_dir={}", freshet.path("freshet-data").display());
        freshet.set(&data_dir);
        let sets = settings.iter().map(ToString::to_string).chain([data_dir]).collect();
        let config = Config::load(&LoadOptions { sets, folder: freshet.path(""), ..LoadOptions::default() });
        let config = config.unwrap_or_else(|error| panic!("{error}")).config;
        let runtime = Runtime::new().unwrap();
        let writer = runtime.block_on(async {
            let store = store::open(&config.store).await.unwrap();
            let claim = store.claim().await.unwrap();
            Writer { store, epoch: claim.epoch, progress: claim.progress }
        });
        Self { freshet, runtime, writer }
    }

    /// Adds so many events.
    pub(crate) fn add(&mut self, events: u64) {
        self.runtime.block_on(self.writer.add(events));
    }

    /// Adds dead letters.
    pub(crate) fn refuse(&mut self, letters: &[(Reason, &[u8])]) {
        self.runtime.block_on(self.writer.refuse(letters));
    }

    pub(crate) fn stored(&self) -> Vec<LearnedEvent> {
        self.runtime.block_on(self.writer.store.events(1, usize::MAX)).unwrap()
    }
}

impl Writer {
    pub(crate) async fn add(&mut self, events: u64) {
        let (first, next) = (self.progress.seq + 1, self.next());
        let events: Vec<_> = (0..events).map(|more| event(first + more, next + more as i64)).collect();
        self.progress.seq += events.len() as u64;
        self.progress.batch += 1;
        self.progress.offsets.set("ratings".into(), 0, next + events.len() as i64);
        self.persist(DurableWrite { events, progress: self.progress.clone(), ..DurableWrite::default() }).await;
    }

    async fn refuse(&mut self, letters: &[(Reason, &[u8])]) {
        let next = self.next();
        let rejects = letters.iter().zip(next..).map(|((reason, payload), offset)| Reject {
            raw: RawEvent {
                position: Position { topic: "ratings".into(), partition: 0, offset },
                timestamp_ms: time(offset as u64),
                key: (offset % 2 == 0).then(|| vec![0xfe, b'k']),
                payload: payload.to_vec(),
                trace: None,
            },
            reason: *reason,
            detail: "no, \"never\"".to_owned(),
        });
        let rejects: Vec<_> = rejects.collect();
        self.progress.offsets.set("ratings".into(), 0, next + rejects.len() as i64);
        self.persist(DurableWrite { rejects, progress: self.progress.clone(), ..DurableWrite::default() }).await;
    }

    /// As the engine does: what may pass is tried again.
    async fn persist(&self, write: DurableWrite) {
        while let Err(error) = self.store.persist(self.epoch, &write).await {
            assert!(matches!(error, store::StoreError::Unavailable { .. }), "{error}");
        }
    }

    fn next(&self) -> i64 {
        self.progress.offsets.get("ratings", 0).unwrap_or(0)
    }
}

/// A minute for each.
pub(crate) fn time(number: u64) -> i64 {
    881_250_949_000 + 60_000 * number as i64
}

/// One with every value, or with some missing, by its `seq`.
fn event(seq: u64, offset: i64) -> LearnedEvent {
    let implicit = seq.is_multiple_of(5);
    let event = Event {
        position: Position { topic: "ratings".into(), partition: 0, offset },
        user: (seq % 7).to_string(),
        item: format!("Zoë, \"{}\"\n{}", seq % 13, if seq.is_multiple_of(17) { "😀" } else { "" }),
        rating: (!implicit).then_some((seq % 5) as f32 + 0.1),
        count: implicit.then_some(seq as f32),
        ts: time(seq),
        ts_of_event: !seq.is_multiple_of(3),
        id: seq.is_multiple_of(4).then(|| format!("id-{seq}")),
        genres: if seq.is_multiple_of(3) { vec!["Sci-Fi".into(), "Comédie".into()] } else { Vec::new() },
        year: seq.is_multiple_of(2).then_some(1995),
    };
    let rehearse_from = (seq > 100).then(|| seq - 50);
    LearnedEvent { seq, batch: seq.div_ceil(100), rehearse_from, predicted: 3.5 + seq as f32 / 1e4, event }
}
