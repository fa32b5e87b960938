//! What the log and the store are given, and the documents that the store makes of it.

use freshet::capture::{self, Interaction, Pace, producer};
use freshet::config::Config;
use freshet::store::{DurableWrite, LearnedEvent, Progress};
use mongodb::bson::DateTime;
use serde::Serialize;

/// Puts every row on the log.
pub(crate) async fn produce(rows: &[Interaction], config: &Config) {
    let producer = producer::open(config).await.unwrap();
    let rows = rows.iter().cloned().map(Ok::<_, std::convert::Infallible>);
    let delivered = capture::replay(rows, &*producer, Pace::Full, |_| ()).await.unwrap();
    assert_eq!(delivered.failed, 0, "{delivered:?}");
}

/// Writes of the size that the engine makes, with what it would have predicted left at a constant.
pub(crate) fn writes(rows: &[Interaction], topic: &str, size: usize) -> Vec<DurableWrite> {
    let learned = |(event, seq)| LearnedEvent { seq, batch: seq / 256 + 1, rehearse_from: None, predicted: 3.5, event };
    let learned: Vec<_> = super::events(rows, topic).into_iter().zip(1..).map(learned).collect();
    let write = |events: &[LearnedEvent]| {
        let last = events.last().expect("a chunk is not empty");
        let position = &last.event.position;
        let offsets = [(position.topic.clone(), position.partition, position.offset + 1)].into_iter().collect();
        let progress = Progress { seq: last.seq, batch: last.batch, offsets };
        DurableWrite { events: events.to_vec(), progress, ..DurableWrite::default() }
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
pub(crate) struct EventDoc<'a> {
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
