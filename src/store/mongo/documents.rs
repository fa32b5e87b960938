//! The documents of the MongoDB store, as a person finds them in `mongosh`, and their way to and from the store's types.
//!
//! Apart from the commands, because these shapes are a format that others read: a field here is never renamed.

use std::borrow::Cow;
use std::sync::Arc;

use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, DateTime, Document};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::consume::{Offsets, Position};
use crate::decode::{Event, Reject};
use crate::store::{Block, Claim, DeadLetter, Hash, LearnedEvent, Progress, rules};

/// `_id` of the one document that says where the engine stands.
pub(super) const ENGINE_ID: &str = "engine";
/// `_id` of the document beside it that holds the catalogue's version.
pub(super) const CATALOG_ID: &str = "catalog";

/// Most bytes of a rejected payload and of its key that are kept. A document may have 16 MiB; a record on the log more.
const MAX_PAYLOAD: usize = 12 << 20;
const MAX_KEY: usize = 2 << 20;

/// `_id` of events and dead letters: their place on the log, so that one record is one document whatever happens.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Place<'a> {
    t: Cow<'a, str>,
    p: i32,
    o: i64,
}

/// A document of `events`.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct EventDoc<'a> {
    #[serde(rename = "_id")]
    place: Place<'a>,
    pub(super) seq: i64,
    batch: i64,
    user: Cow<'a, str>,
    item: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rating: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    count: Option<f32>,
    /// A date rather than milliseconds: `mongosh` and pandas show it as one, and range queries read naturally.
    ts: DateTime,
    /// Only where the event itself said no time and that of the log stands in.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    ts_of_log: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<Cow<'a, str>>,
    /// What the event told of its item.
    #[serde(default, skip_serializing_if = "is_empty")]
    genres: Cow<'a, [String]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    year: Option<i32>,
    predicted: f32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rehearse_from: Option<i64>,
}

/// A document of `dead_letters`.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct DeadLetterDoc<'a> {
    #[serde(rename = "_id")]
    place: Place<'a>,
    timestamp: DateTime,
    reason: String,
    detail: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<Binary>,
    payload: Binary,
    /// Bytes that the payload had, where only its beginning is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payload_cut_from: Option<i64>,
    /// When it was last sent to the log again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replayed_at: Option<DateTime>,
}

/// A document of `blocks`.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct BlockDoc {
    #[serde(rename = "_id")]
    pub(super) hash: Hash,
    size: i64,
    bytes: Binary,
}

/// The name of a document of `blocks`.
#[derive(Debug, Deserialize)]
pub(super) struct BlockId {
    #[serde(rename = "_id")]
    pub(super) hash: Hash,
}

/// A document of `engine` that says how far a lane has come. The first lane's is the engine's own.
#[derive(Debug, Deserialize)]
pub(super) struct EngineDoc {
    #[serde(rename = "_id")]
    id: String,
    #[serde(default)]
    epoch: i64,
    seq: i64,
    batch: i64,
    offsets: Offsets,
    #[serde(default)]
    store_id: String,
    #[serde(default)]
    base: i64,
}

fn is_empty(genres: &[String]) -> bool {
    genres.is_empty()
}

impl<'a> Place<'a> {
    pub(super) fn of(position: &'a Position) -> Self {
        Self { t: Cow::Borrowed(&position.topic), p: position.partition, o: position.offset }
    }
}

impl From<Place<'_>> for Position {
    fn from(place: Place<'_>) -> Self {
        Self { topic: Arc::from(place.t), partition: place.p, offset: place.o }
    }
}

impl<'a> From<&'a LearnedEvent> for EventDoc<'a> {
    fn from(learned: &'a LearnedEvent) -> Self {
        let event = &learned.event;
        Self {
            place: Place::of(&event.position),
            seq: learned.seq as i64,
            batch: learned.batch as i64,
            user: Cow::Borrowed(&event.user),
            item: Cow::Borrowed(&event.item),
            rating: event.rating,
            count: event.count,
            ts: DateTime::from_millis(event.ts),
            ts_of_log: !event.ts_of_event,
            id: event.id.as_deref().map(Cow::Borrowed),
            genres: Cow::Borrowed(&event.genres),
            year: event.year,
            predicted: learned.predicted,
            rehearse_from: learned.rehearse_from.map(|seq| seq as i64),
        }
    }
}

impl From<EventDoc<'_>> for LearnedEvent {
    fn from(doc: EventDoc<'_>) -> Self {
        Self {
            seq: doc.seq as u64,
            batch: doc.batch as u64,
            rehearse_from: doc.rehearse_from.map(|seq| seq as u64),
            predicted: doc.predicted,
            event: Event {
                position: doc.place.into(),
                user: doc.user.into_owned(),
                item: doc.item.into_owned(),
                rating: doc.rating,
                count: doc.count,
                ts: doc.ts.timestamp_millis(),
                ts_of_event: !doc.ts_of_log,
                id: doc.id.map(Cow::into_owned),
                genres: doc.genres.into_owned(),
                year: doc.year,
            },
        }
    }
}

impl<'a> From<&'a Reject> for DeadLetterDoc<'a> {
    fn from(reject: &'a Reject) -> Self {
        let payload = &reject.raw.payload;
        Self {
            place: Place::of(&reject.raw.position),
            timestamp: DateTime::from_millis(reject.raw.timestamp_ms),
            reason: reject.reason.to_string(),
            detail: Cow::Borrowed(&reject.detail),
            key: reject.raw.key.as_ref().map(|key| binary(&key[..key.len().min(MAX_KEY)])),
            payload: binary(&payload[..payload.len().min(MAX_PAYLOAD)]),
            payload_cut_from: (payload.len() > MAX_PAYLOAD).then_some(payload.len() as i64),
            replayed_at: None,
        }
    }
}

impl From<DeadLetterDoc<'_>> for DeadLetter {
    fn from(doc: DeadLetterDoc<'_>) -> Self {
        Self {
            position: doc.place.into(),
            timestamp_ms: doc.timestamp.timestamp_millis(),
            reason: doc.reason,
            detail: doc.detail.into_owned(),
            key: doc.key.map(|key| key.bytes),
            payload: doc.payload.bytes,
            payload_cut_from: doc.payload_cut_from.map(|bytes| bytes as u64),
            replayed_at_ms: doc.replayed_at.map(DateTime::timestamp_millis),
        }
    }
}

impl From<&Block> for BlockDoc {
    fn from(block: &Block) -> Self {
        Self { hash: block.hash, size: block.bytes.len() as i64, bytes: binary(&block.bytes) }
    }
}

impl From<BlockDoc> for Block {
    fn from(doc: BlockDoc) -> Self {
        Self { hash: doc.hash, bytes: doc.bytes.bytes }
    }
}

impl EngineDoc {
    /// Where the store stands: where the farthest lane does, since none is ahead of a write that is not durable. None if
    /// the engine's own document is not there.
    pub(super) fn standing(lanes: Vec<Self>) -> Option<Claim> {
        let (mut claim, mut farthest) = (None, Progress::default());
        for doc in lanes {
            let progress = Progress { seq: doc.seq as u64, batch: doc.batch as u64, offsets: doc.offsets };
            if rules::covers(&progress, &farthest) {
                farthest = progress;
            }
            if doc.id == ENGINE_ID {
                let (epoch, base) = (doc.epoch as u64, doc.base as u64);
                claim = Some(Claim { epoch, progress: Progress::default(), store_id: doc.store_id, base });
            }
        }
        claim.map(|claim| Claim { progress: farthest, ..claim })
    }
}

fn binary(bytes: &[u8]) -> Binary {
    Binary { subtype: BinarySubtype::Generic, bytes: bytes.to_vec() }
}

/// An item or user as a document whose `_id` is its `id`.
pub(super) fn by_id<T: Serialize>(entry: &T) -> mongodb::error::Result<Document> {
    let mut document = mongodb::bson::to_document(entry)?;
    if let Some(id) = document.remove("id") {
        document.insert("_id", id);
    }
    Ok(document)
}

/// An item or user from such a document.
pub(super) fn from_id<T: DeserializeOwned>(mut document: Document) -> mongodb::error::Result<T> {
    if let Some(id) = document.remove("_id") {
        document.insert("id", id);
    }
    Ok(mongodb::bson::from_document(document)?)
}

#[cfg(test)]
mod tests {
    use mongodb::bson;

    use super::*;
    use crate::consume::RawEvent;
    use crate::decode::Reason;

    fn reject(payload: Vec<u8>) -> Reject {
        let position = Position { topic: "ratings".into(), partition: 1, offset: 9 };
        let raw = RawEvent { position, timestamp_ms: 5, key: Some(b"k".to_vec()), payload, trace: None };
        Reject { raw, reason: Reason::TooLarge, detail: "too large".into() }
    }

    #[test]
    fn an_event_reads_well() {
        let position = Position { topic: "ratings".into(), partition: 0, offset: 4 };
        let (user, item) = ("196".to_string(), "242".to_string());
        let event = Event {
            position,
            user,
            item,
            rating: Some(3.0),
            count: None,
            ts: 881_250_949_000,
            ts_of_event: true,
            id: None,
            genres: Vec::new(),
            year: None,
        };
        let learned = LearnedEvent { seq: 5, batch: 1, rehearse_from: None, predicted: 3.5, event };
        let expected = bson::doc! {
            "_id": {"t": "ratings", "p": 0, "o": 4_i64}, "seq": 5_i64, "batch": 1_i64, "user": "196", "item": "242",
            "rating": 3.0, "ts": DateTime::from_millis(881_250_949_000), "predicted": 3.5,
        };
        assert_eq!(bson::to_document(&EventDoc::from(&learned)).unwrap(), expected);
        assert_eq!(LearnedEvent::from(bson::from_document::<EventDoc>(expected).unwrap()), learned);
    }

    #[test]
    fn the_store_stands_where_its_farthest_lane_does() {
        let lane = |id: &str, seq: i64, next: i64| {
            let offsets = vec![bson::doc! {"topic": "ratings", "partition": 0, "next": next}];
            let lane = bson::doc! {"_id": id, "epoch": 3_i64, "seq": seq, "batch": 1_i64, "offsets": offsets};
            bson::from_document::<EngineDoc>(lane).unwrap()
        };
        let standing = |lanes| EngineDoc::standing(lanes).map(|claim| (claim.epoch, claim.progress.seq));
        assert_eq!(standing(vec![lane("lane-2", 9, 9), lane("engine", 5, 5)]), Some((3, 9)));
        assert_eq!(standing(vec![lane("engine", 5, 5), lane("lane-2", 4, 4)]), Some((3, 5)));
        // Rejects alone move the offsets.
        let claim = EngineDoc::standing(vec![lane("lane-2", 5, 7), lane("engine", 5, 6)]).unwrap();
        assert_eq!(claim.progress.offsets.get("ratings", 0), Some(7));
        assert_eq!(standing(vec![lane("lane-2", 9, 9)]), None);
    }

    #[test]
    fn a_dead_letter_keeps_its_bytes() {
        let reject = reject(b"\xff\0x".to_vec());
        let document = bson::to_document(&DeadLetterDoc::from(&reject)).unwrap();
        assert_eq!(document.get_str("reason").unwrap(), "too_large");
        assert_eq!(document.get_binary_generic("payload").unwrap(), b"\xff\0x");
        assert!(!document.contains_key("payload_cut_from"));
    }

    #[test]
    fn a_payload_beyond_what_a_document_may_hold_is_cut_and_says_so() {
        let reject = reject(vec![7; MAX_PAYLOAD + 1]);
        let document = bson::to_document(&DeadLetterDoc::from(&reject)).unwrap();
        assert_eq!(document.get_binary_generic("payload").unwrap().len(), MAX_PAYLOAD);
        assert_eq!(document.get_i64("payload_cut_from").unwrap(), MAX_PAYLOAD as i64 + 1);
    }

    #[test]
    fn a_catalogue_entry_is_found_by_its_id() {
        let user = crate::capture::User { id: "7".into(), age: Some(30), ..Default::default() };
        let document = by_id(&user).unwrap();
        assert_eq!(document.get_str("_id").unwrap(), "7");
        assert_eq!(from_id::<crate::capture::User>(document).unwrap(), user);
    }
}
