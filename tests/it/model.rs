//! A model that learns made-up events, and snapshots of it: no engine, no log, the same bits each time.

use std::sync::Arc;

use freshet::config::Config;
use freshet::consume::Position;
use freshet::decode::Event;
use freshet::gather::MicroBatch;
use freshet::learn::Recommender;
use freshet::learn::params;
use freshet::publish::{Published, Publisher, Version, View};
use freshet::store::snapshot::{Encoded, Encoder, Taken};

pub(crate) const HOUR_MS: i64 = 3_600_000;

pub(crate) struct Model {
    encoder: Encoder,
    recommender: Recommender,
    publisher: Publisher,
    view: Arc<View>,
}

impl Model {
    /// Settings are `section.key=value`.
    pub(crate) fn new(settings: &[&str]) -> Self {
        let sets = settings.iter().map(ToString::to_string).collect();
        let config = Config::load(&freshet::config::LoadOptions { sets, ..Default::default() }).unwrap().config;
        Self {
            encoder: Encoder::new(params::named(&config)),
            recommender: Recommender::new(&config).unwrap(),
            publisher: Publisher::new(Published::default(), View::default()),
            view: Arc::default(),
        }
    }

    /// One whose rows are all of floats and small.
    pub(crate) fn small() -> Self {
        Self::new(&["learn.rating=biased-mf", "learn.ranking=biased-mf", "biased_mf.factors=8"])
    }

    /// Learns the next events of an endless stream.
    pub(crate) fn learn(&mut self, events: u64) -> Arc<View> {
        let first_seq = self.view.version().seq + 1;
        let events = (first_seq..first_seq + events).map(event).collect();
        let number = self.view.version().batch + 1;
        let batch = MicroBatch { number, first_seq, events, ..MicroBatch::default() };
        self.publisher.observe(&self.recommender.learn(&batch).unwrap());
        self.view = self.publisher.publish(self.recommender.publish(), Version::after(&batch, 0));
        Arc::clone(&self.view)
    }

    /// A snapshot of it, taken at this hour.
    pub(crate) fn snapshot(&mut self, hour: i64) -> Encoded {
        self.encoder.encode(&self.view, Taken { epoch: 1, created_at_ms: hour * HOUR_MS, ..Taken::default() })
    }

    pub(crate) fn forget(&mut self) {
        self.encoder.forget();
    }
}

fn event(seq: u64) -> Event {
    // A taste that can be learned: users and items of one parity go together.
    let (user, item) = (seq * 7 % 37, seq * seq % 47);
    Event {
        position: Position { topic: "ratings".into(), partition: 0, offset: seq as i64 - 1 },
        user: format!("u{user}"),
        item: format!("i{item}"),
        rating: Some(if user % 2 == item % 2 { 5.0 } else { (seq % 4) as f32 + 1.0 }),
        count: None,
        ts: 881_250_949_000 + seq as i64 * 1_000,
        ts_of_event: true,
        id: None,
        genres: vec![if item % 2 == 0 { "Comedy" } else { "Drama" }.to_owned()],
        year: Some(1_950 + (item % 50) as i32),
    }
}
