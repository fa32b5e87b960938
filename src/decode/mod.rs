//! Bytes to typed events, or to rejects with a reason. Pure: no clock, no input or output.
//!
//! In: [`RawEvent`]s. Out: for each exactly one [`Event`] or one [`Refusal`]. Guarantee: no input makes it panic, and the
//! bytes stay with the caller: what is refused, now or later, becomes a [`Reject`] that keeps them.

mod catalog;
pub mod contribution;
mod csv;
mod explain;
mod wire;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::capture::interaction::Wire;
use crate::capture::{Item, User};
use crate::config::{Config, DecodeConfig, Decoder as Format, TopicConfig, TopicKind};
use crate::consume::{Position, RawEvent};

pub use contribution::Contributions;

/// Most genres that an event tells of its item.
pub const MAX_GENRES: usize = 100;

/// Longest user, item or business id, in bytes.
pub const MAX_ID_BYTES: usize = 1024;

/// What a record says.
#[derive(Clone, Debug, PartialEq)]
pub enum Decoded {
    /// Somebody did something with an item.
    Event(Event),
    /// What there is to know of an item.
    Item(Item),
    /// What there is to know of a user.
    User(User),
}

impl From<Event> for Decoded {
    fn from(event: Event) -> Self {
        Self::Event(event)
    }
}

/// Decodes the records of every topic, each as its topic's entry in `[topics]` says.
#[derive(Clone, Debug)]
pub struct Decoder {
    config: DecodeConfig,
    topics: BTreeMap<String, TopicConfig>,
}

impl Decoder {
    /// A decoder for the topics of this configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self { config: config.decode.clone(), topics: config.topics.clone() }
    }

    /// Decodes one record.
    ///
    /// # Errors
    /// Why the bytes are not what their topic holds, and what is allowed.
    pub fn decode(&self, raw: &RawEvent) -> Result<Decoded, Refusal> {
        let Some(topic) = self.topics.get(&*raw.position.topic) else {
            return decode(raw, &self.config).map(Decoded::Event);
        };
        match topic.kind {
            TopicKind::Ratings | TopicKind::Listens => self.event(raw, *topic).map(Decoded::Event),
            TopicKind::Items => catalog::item(json_of(&raw.payload, &self.config)?).map(Decoded::Item),
            TopicKind::Users => catalog::user(json_of(&raw.payload, &self.config)?).map(Decoded::User),
        }
    }

    /// Checks bytes before they are on a topic: what passes is decoded there. Returns the id that is to be their key, the
    /// user's or the item's.
    ///
    /// # Errors
    /// As [`Decoder::decode`].
    pub fn key_of(&self, topic: &str, bytes: &[u8]) -> Result<String, Refusal> {
        if !self.topics.contains_key(topic) {
            return user_of(bytes, &self.config).map(Cow::into_owned);
        }
        let position = Position { topic: topic.into(), partition: 0, offset: 0 };
        let raw = RawEvent { position, timestamp_ms: 0, key: None, payload: bytes.to_vec(), trace: None };
        Ok(match self.decode(&raw)? {
            Decoded::Event(event) => event.user,
            Decoded::Item(item) => item.id,
            Decoded::User(user) => user.id,
        })
    }

    fn event(&self, raw: &RawEvent, topic: TopicConfig) -> Result<Event, Refusal> {
        let mut event = match topic.decoder {
            Format::Json => decode(raw, &self.config)?,
            Format::Csv => {
                bounded(&raw.payload, &self.config)?;
                event_of(csv::parse(&raw.payload, topic.kind, &self.config)?, raw)
            }
        };
        if topic.kind == TopicKind::Listens {
            if let Some(rating) = event.rating {
                let detail = format!(
                    "rating is {rating}; a listen has a count or nothing, and {:?} is a topic of listens",
                    raw.position.topic
                );
                return Err(Refusal { reason: Reason::InvalidField, detail });
            }
            if topic.weight != 1.0 {
                event.count = Some(event.count.unwrap_or(1.0) * topic.weight);
            }
        }
        Ok(event)
    }
}

/// Decodes one record as an event in JSON.
///
/// # Errors
/// Why the bytes are no event, and what is allowed.
pub fn decode(raw: &RawEvent, config: &DecodeConfig) -> Result<Event, Refusal> {
    Ok(event_of(parse(&raw.payload, config)?, raw))
}

fn event_of(wire: Wire<'_>, raw: &RawEvent) -> Event {
    Event {
        user: wire.user.into_owned(),
        item: wire.item.into_owned(),
        rating: wire.rating,
        count: wire.count,
        ts: wire.ts.unwrap_or(raw.timestamp_ms),
        ts_of_event: wire.ts.is_some(),
        // An empty one is what a producer writes that has none.
        id: wire.id.filter(|id| !id.is_empty()),
        genres: wire.genres.unwrap_or_default(),
        year: wire.year,
        position: raw.position.clone(),
    }
}

/// Checks bytes before they are on the log: what passes is decoded as an event there. Returns whose event it is.
///
/// # Errors
/// As [`decode`].
pub fn user_of<'a>(bytes: &'a [u8], config: &DecodeConfig) -> Result<Cow<'a, str>, Refusal> {
    parse(bytes, config).map(|wire| wire.user)
}

fn parse<'a>(bytes: &'a [u8], config: &DecodeConfig) -> Result<Wire<'a>, Refusal> {
    let bytes = json_of(bytes, config)?;
    // The typed parse says that something is wrong, the second look says what: only rejects pay for it.
    let (reason, detail) = match serde_json::from_slice::<Wire>(bytes) {
        Ok(wire) => match wire.problem(config) {
            None => return Ok(wire),
            Some(problem) => problem,
        },
        Err(error) => explain::explain(bytes, &error, explain::event_problem),
    };
    Err(Refusal { reason, detail })
}

fn bounded(bytes: &[u8], config: &DecodeConfig) -> Result<(), Refusal> {
    if bytes.is_empty() {
        let detail = "the record has no payload; an event is one JSON object".into();
        return Err(Refusal { reason: Reason::Empty, detail });
    }
    if bytes.len() > config.max_bytes {
        let detail = format!("{} bytes; decode.max_bytes allows {}", bytes.len(), config.max_bytes);
        return Err(Refusal { reason: Reason::TooLarge, detail });
    }
    Ok(())
}

/// The JSON in a payload: all of it, or what stands behind the head of a schema registry's serializer.
fn json_of<'a>(bytes: &'a [u8], config: &DecodeConfig) -> Result<&'a [u8], Refusal> {
    bounded(bytes, config)?;
    let Some((schema, body)) = confluent(bytes) else { return Ok(bytes) };
    if body.trim_ascii_start().starts_with(b"{") {
        return Ok(body);
    }
    let detail = format!(
        "the Confluent wire format with schema {schema}, and no JSON behind it (Avro or Protobuf?); send JSON, or use the \
         registry's serializer for JSON Schema"
    );
    Err(Refusal { reason: Reason::UnknownSchema, detail })
}

/// The id of the schema and what follows it, of a payload in the
/// [Confluent wire format](https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/):
/// a zero byte, then the id in four bytes, big-endian.
#[must_use]
pub fn confluent(payload: &[u8]) -> Option<(u32, &[u8])> {
    let (id, body) = payload.strip_prefix(&[0])?.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*id), body))
}

/// One event, checked and ready to be learned.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Where it stands on the log.
    pub position: Position,
    /// User id.
    pub user: String,
    /// Item id.
    pub item: String,
    /// Explicit rating, within the configured bounds.
    pub rating: Option<f32>,
    /// How often, for implicit feedback; finite and above 0.
    pub count: Option<f32>,
    /// When it happened, in milliseconds since the epoch; the log's timestamp where the event has none.
    pub ts: i64,
    /// Whether the event itself said when. The log's timestamp is shown, never learned from.
    pub ts_of_event: bool,
    /// Business id.
    pub id: Option<String>,
    /// Genres of the item, if the event tells them.
    pub genres: Vec<String>,
    /// Year of the item, if the event tells it.
    pub year: Option<i32>,
}

/// Why bytes are not an event. The names are stored and shown: never rename one.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No payload.
    Empty,
    /// More bytes than `decode.max_bytes`.
    TooLarge,
    /// Not UTF-8.
    InvalidUtf8,
    /// Not JSON, or cut short.
    InvalidJson,
    /// JSON, but not an object.
    NotAnObject,
    /// A version other than 1.
    UnknownVersion,
    /// Not one line of values, on a topic whose decoder is `csv`.
    InvalidCsv,
    /// A schema registry's format whose payload is not JSON.
    UnknownSchema,
    /// No `user` or no `item`.
    MissingField,
    /// A field of a type or value that is not allowed.
    InvalidField,
    /// A rating outside `decode.min_rating..=decode.max_rating`.
    RatingOutOfRange,
    /// An `id` that one of the last `gather.id_window` events had.
    DuplicateId,
    /// One that only a newer version knows.
    Other,
}

impl fmt::Display for Reason {
    /// The stored name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// Why a record is not taken as an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why, for counting.
    pub reason: Reason,
    /// Why, for a person: what was found, and what is allowed.
    pub detail: String,
}

/// A record that is not taken as an event, kept whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Reject {
    /// The record as it was read.
    pub raw: RawEvent,
    /// Why, for counting.
    pub reason: Reason,
    /// Why, for a person: what was found, and what is allowed.
    pub detail: String,
}

/// Events for the tests of the stages behind this one.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// A rating at the beginning of a topic.
    pub(crate) fn event(user: impl Into<String>, item: impl Into<String>, rating: f32) -> Event {
        Event {
            position: Position { topic: "t".into(), partition: 0, offset: 0 },
            user: user.into(),
            item: item.into(),
            rating: Some(rating),
            count: None,
            ts: 0,
            ts_of_event: true,
            id: None,
            genres: Vec::new(),
            year: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::capture::Interaction;
    use crate::config::Config;

    fn raw(payload: &[u8]) -> RawEvent {
        RawEvent {
            position: Position { topic: "ratings".into(), partition: 0, offset: 7 },
            timestamp_ms: 1_000,
            key: Some(b"196".to_vec()),
            payload: payload.to_vec(),
            trace: None,
        }
    }

    fn decoded(payload: &str) -> Result<Event, Refusal> {
        decode(&raw(payload.as_bytes()), &Config::default().decode)
    }

    fn reason(payload: &str) -> (Reason, String) {
        let Refusal { reason, detail } = decoded(payload).unwrap_err();
        (reason, detail)
    }

    #[test]
    fn the_event_of_the_design_is_read() {
        let event = decoded(r#"{"v":1,"user":"196","item":"242","rating":3.0,"ts":881250949000,"id":"a"}"#).unwrap();
        assert_eq!((event.user.as_str(), event.item.as_str()), ("196", "242"));
        assert_eq!((event.rating, event.ts, event.id.as_deref()), (Some(3.0), 881_250_949_000, Some("a")));
    }

    #[test]
    fn numbers_become_ids_unknown_fields_are_ignored_and_the_logs_time_stands_in() {
        let event = decoded(r#"{"user":196,"item":-2,"count":12,"rating":null,"page":{"a":[1]}}"#).unwrap();
        assert_eq!((event.user.as_str(), event.item.as_str()), ("196", "-2"));
        assert_eq!((event.rating, event.count, event.ts), (None, Some(12.0), 1_000));
    }

    #[test]
    fn escapes_in_ids_are_resolved() {
        assert_eq!(decoded(r#"{"user":"a\u00e9\"b","item":"\n"}"#).unwrap().user, "aé\"b");
    }

    #[test]
    fn each_kind_of_bad_input_has_its_reason() {
        let cases = [
            ("", Reason::Empty, "no payload"),
            (r#"{"v":1,"user":"196","#, Reason::InvalidJson, "cut short at column 20"),
            ("hello", Reason::InvalidJson, "column 1"),
            ("[1,2]", Reason::NotAnObject, "an array"),
            ("3", Reason::NotAnObject, "a number"),
            (r#"{"v":2,"user":"1","item":"2"}"#, Reason::UnknownVersion, "v is 2; version 1"),
            (r#"{"v":"x","user":"1","item":"2"}"#, Reason::UnknownVersion, r#"v is "x""#),
            (r#"{"item":"2"}"#, Reason::MissingField, "user is missing"),
            (r#"{"user":null,"item":"2"}"#, Reason::MissingField, "user is missing"),
            (r#"{"user":"","item":"2"}"#, Reason::InvalidField, "user is empty"),
            (r#"{"user":"1","item":2.5}"#, Reason::InvalidField, "item is 2.5"),
            (r#"{"user":"1","item":"2","rating":"five"}"#, Reason::InvalidField, r#"rating is "five"; a number"#),
            (r#"{"user":"1","item":"2","rating":1e999}"#, Reason::InvalidJson, "out of range"),
            (r#"{"user":"1","item":"2","rating":7}"#, Reason::RatingOutOfRange, "rating is 7; 1 to 5"),
            (r#"{"user":"1","item":"2","count":0}"#, Reason::InvalidField, "count is 0"),
            (r#"{"user":"1","item":"2","ts":"now"}"#, Reason::InvalidField, r#"ts is "now""#),
            (r#"{"user":"1","item":"2","ts":9223372036854775807}"#, Reason::InvalidField, "the years 1 to 9999"),
            (
                r#"{"user":"1","item":"2","genres":"Drama"}"#,
                Reason::InvalidField,
                r#"genres is "Drama"; an array of text"#,
            ),
            (r#"{"user":"1","item":"2","year":"1995"}"#, Reason::InvalidField, r#"year is "1995"; a whole number"#),
            (r#"{"user":"1","item":"2","user":"3"}"#, Reason::InvalidField, "duplicate field"),
        ];
        for (payload, expected, text) in cases {
            let (reason, detail) = reason(payload);
            assert_eq!(reason, expected, "{payload}: {detail}");
            assert!(detail.contains(text), "{payload}: {detail:?} does not say {text:?}");
        }
        let refusal = decode(&raw(b"{\"user\":\"\xff\"}"), &Config::default().decode).unwrap_err();
        assert_eq!(refusal.reason, Reason::InvalidUtf8);
        let long = "u".repeat(MAX_ID_BYTES + 1);
        for event in
            [format!(r#"{{"user":"{long}","item":"1"}}"#), format!(r#"{{"user":"1","item":"2","id":"{long}"}}"#)]
        {
            assert!(reason(&event).1.contains("1025 bytes"));
        }
    }

    #[test]
    fn json_behind_the_head_of_a_schema_registry_is_read_and_anything_else_is_named() {
        let framed = |body: &[u8]| [&[0, 0, 0, 0, 7], body].concat();
        let read = |payload: Vec<u8>| decode(&raw(&payload), &Config::default().decode);
        let event = read(framed(br#"{"user":"196","item":"242","rating":3.0}"#)).unwrap();
        assert_eq!((event.user.as_str(), event.rating), ("196", Some(3.0)));
        let refusal = read(framed(b"\x06196\x06242")).unwrap_err();
        assert!(refusal.reason == Reason::UnknownSchema && refusal.detail.contains("schema 7"), "{refusal:?}");
        assert_eq!(read(framed(b"")).unwrap_err().reason, Reason::UnknownSchema);
        assert_eq!(read(framed(b"{\"user\":\"1\"")).unwrap_err().reason, Reason::InvalidJson);
        assert_eq!(read(vec![0, 0, 7]).unwrap_err().reason, Reason::InvalidJson);
    }

    #[test]
    fn each_topic_is_read_as_its_kind() {
        let mut config = Config::default();
        let kinds = [
            ("plays", r#"{"kind":"listens","weight":0.5}"#),
            ("lines", r#"{"kind":"listens","decoder":"csv"}"#),
            ("films", r#""items""#),
        ];
        for (name, topic) in kinds {
            config.topics.insert(name.to_owned(), serde_json::from_str(topic).unwrap());
        }
        let decoder = Decoder::new(&config);
        let read = |topic: &str, payload: &str| {
            let position = Position { topic: topic.into(), partition: 0, offset: 7 };
            decoder.decode(&RawEvent { position, ..raw(payload.as_bytes()) })
        };
        let count = |decoded: Result<Decoded, Refusal>| match decoded.unwrap() {
            Decoded::Event(event) => (event.count, event.rating),
            other => panic!("{other:?}"),
        };
        assert_eq!(count(read("ratings", r#"{"user":1,"item":2,"rating":3}"#)), (None, Some(3.0)));
        assert_eq!(count(read("plays", r#"{"user":1,"item":2}"#)), (Some(0.5), None));
        assert_eq!(count(read("plays", r#"{"user":1,"item":2,"count":8}"#)), (Some(4.0), None));
        assert_eq!(count(read("lines", "1,2,8")), (Some(8.0), None));
        let refusal = read("plays", r#"{"user":1,"item":2,"rating":3}"#).unwrap_err();
        assert!(refusal.detail.contains("\"plays\" is a topic of listens"), "{refusal:?}");
        let item = Item { id: "50".into(), title: "Star Wars".into(), ..Item::default() };
        assert_eq!(read("films", r#"{"id":50,"title":"Star Wars"}"#).unwrap(), Decoded::Item(item));
        assert_eq!(read("films", "").unwrap_err().reason, Reason::Empty);
    }

    #[test]
    fn an_empty_business_id_is_none() {
        assert_eq!(decoded(r#"{"user":"1","item":"2","id":""}"#).unwrap().id, None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Err(refusal) = decode(&raw(&bytes), &Config::default().decode) {
                prop_assert!(!refusal.detail.is_empty());
            }
        }

        #[test]
        fn what_capture_writes_is_read_back(
            user in "\\PC{1,20}", item in "\\PC{1,20}", rating in proptest::option::of(1.0f32..=5.0),
            genres in proptest::collection::vec("\\PC{1,9}", 0..3), year in proptest::option::of(any::<i32>()),
            count in proptest::option::of(1.0f32..1e6), ts in proptest::option::of(0..253_402_300_799_999_i64),
        ) {
            let sent = Interaction { user, item, rating, count, ts, genres, year, id: None };
            let event = decode(&raw(&sent.to_json()), &Config::default().decode).unwrap();
            prop_assert_eq!((event.user, event.item), (sent.user, sent.item));
            prop_assert_eq!((event.genres, event.year), (sent.genres, sent.year));
            prop_assert_eq!((event.rating, event.count, event.ts), (rating, count, ts.unwrap_or(1_000)));
        }
    }
}
