//! Dead letters that are sent to the log again, by a command or over HTTP: found, given an id, checked, sent and marked.
//!
//! Sent before it is marked. Should the process end in between, the letter can be sent once more: the id that it was given
//! lets the engine take it once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::Mutex;

use crate::capture::LogError;
use crate::capture::producer::{self, Haste, Producer, Receipt, Record};
use crate::config::Config;
use crate::consume::{Position, RawEvent};
use crate::decode::{Decoder, Reason};
use crate::serve::dead_letters::{LetterPage, RefusedLetter, ReplayError, Replayed, StoredLetter};
use crate::store::{DeadLetter, DeadLetterFilter, Store, StoreError};
use crate::telemetry::now_ms;

/// Why a letter of which the store keeps only the beginning is not sent again.
pub const CUT: &str = "payload_cut";

/// Letters read from the store at once: few, since each may be as large as a record on the log.
const PAGE: usize = 16;
/// Bytes of payloads after which a page ends early.
const PAGE_BYTES: usize = 1 << 20;

/// The letter of a position.
///
/// # Errors
/// If the store fails.
pub async fn find(store: &dyn Store, at: &Position) -> Result<Option<DeadLetter>, StoreError> {
    let before = Position { offset: at.offset.saturating_sub(1), ..at.clone() };
    let found = store.dead_letters(&DeadLetterFilter::default(), Some(&before), 1).await?;
    Ok(found.into_iter().next().filter(|letter| letter.position == *at))
}

/// Why a letter cannot be sent as it is kept, where the store has only the beginning of it.
#[must_use]
pub fn cut(letter: &DeadLetter) -> Option<String> {
    let all = letter.payload_cut_from?;
    Some(format!("only {} of its {all} bytes were kept", letter.payload.len()))
}

/// The record that a letter becomes with this payload, to be checked by the decoder.
#[must_use]
pub fn again(position: Position, timestamp_ms: i64, key: Option<Vec<u8>>, payload: Vec<u8>) -> RawEvent {
    let payload = with_id(payload, &position);
    RawEvent { position, timestamp_ms, key, payload, trace: None }
}

/// What is written to the log. By its own clock: retention by time counts from now, and not from the first sending.
#[must_use]
pub fn record(key: Option<Vec<u8>>, payload: Vec<u8>) -> Record {
    Record { key: key.unwrap_or_default(), payload, ..Record::default() }
}

/// The payload with an id that tells which letter it was, where it is an object and has none: should it be sent twice,
/// because its letter could not be marked, the engine takes it once.
fn with_id(payload: Vec<u8>, position: &Position) -> Vec<u8> {
    let Ok(mut event) = serde_json::from_slice::<Map<String, Value>>(&payload) else { return payload };
    if event.get("id").is_some_and(|id| !id.is_null() && id != "") {
        return payload;
    }
    event.insert("id".to_owned(), format!("dead-letter/{position}").into());
    serde_json::to_vec(&event).unwrap_or(payload)
}

/// Writes to the topics that letters came from.
pub struct Outbox {
    config: Config,
    haste: Haste,
    producers: BTreeMap<Arc<str>, Arc<dyn Producer>>,
}

impl Outbox {
    /// Nothing is opened before it is needed.
    #[must_use]
    pub fn new(config: &Config, haste: Haste) -> Self {
        Self { config: config.clone(), haste, producers: BTreeMap::new() }
    }

    /// The producer to a topic.
    ///
    /// # Errors
    /// If the log cannot be used.
    pub async fn producer(&mut self, topic: &Arc<str>) -> Result<&dyn Producer, LogError> {
        if !self.producers.contains_key(topic) {
            let mut config = self.config.clone();
            config.broker.topic = topic.to_string();
            self.producers.insert(Arc::clone(topic), producer::open_for(&config, self.haste).await?);
        }
        Ok(&*self.producers[topic])
    }

    /// The producers that have been opened, by topic.
    pub fn producers(&self) -> impl Iterator<Item = (&Arc<str>, &dyn Producer)> {
        self.producers.iter().map(|(topic, producer)| (topic, &**producer))
    }
}

/// What HTTP asks of dead letters.
pub(super) struct Letters {
    store: Arc<dyn Store>,
    decoder: Decoder,
    /// Held while letters are sent: two requests for the same one must not both send it.
    outbox: Mutex<Outbox>,
}

impl Letters {
    pub(super) fn new(config: &Config, store: Arc<dyn Store>) -> Self {
        // Whoever asks waits for it.
        let haste = Haste::Prompt(config.serve.request_timeout.min(Duration::from_mins(1)));
        Self { store, decoder: Decoder::new(config), outbox: Mutex::new(Outbox::new(config, haste)) }
    }

    /// Letters behind `after`, in the order of the log, at most `n`.
    pub(super) async fn page(
        &self,
        reason: Option<String>,
        mut after: Option<Position>,
        n: usize,
    ) -> Result<LetterPage, StoreError> {
        let filter = DeadLetterFilter { reason, ..DeadLetterFilter::default() };
        let (mut letters, mut bytes) = (Vec::new(), 0);
        loop {
            // One more than is told, to know whether there are more.
            let wanted = (n + 1 - letters.len()).min(PAGE);
            let read = self.store.dead_letters(&filter, after.as_ref(), wanted).await?;
            let is_last = read.len() < wanted;
            for letter in read {
                if letters.len() == n || bytes >= PAGE_BYTES {
                    return Ok(LetterPage { letters, next: after });
                }
                bytes += letter.payload.len();
                after = Some(letter.position.clone());
                letters.push(told(letter));
            }
            if is_last {
                return Ok(LetterPage { letters, next: None });
            }
        }
    }

    /// Sends letters again, one of them with another payload. What is sent is marked, whoever asked may have gone by then.
    pub(super) async fn replay(
        &self,
        positions: &[Position],
        payload: Option<Vec<u8>>,
    ) -> Result<Replayed, ReplayError> {
        let mut outbox = self.outbox.lock().await;
        let (mut ready, mut refused) = (Vec::new(), Vec::new());
        for at in positions {
            let letter = find(&*self.store, at).await?.ok_or_else(|| ReplayError::NoSuchLetter(at.to_string()))?;
            match self.ready(letter, payload.clone()) {
                Ok(raw) => ready.push(raw),
                Err((reason, detail)) => refused.push(RefusedLetter { position: at.clone(), reason, detail }),
            }
        }
        let mut replayed = 0;
        for (topic, group) in by_topic(ready) {
            replayed += self.send(&mut outbox, &topic, group, replayed).await?;
        }
        Ok(Replayed { replayed, refused })
    }

    /// The record of a letter, or why it would come back.
    fn ready(&self, letter: DeadLetter, corrected: Option<Vec<u8>>) -> Result<RawEvent, (String, String)> {
        if letter.replayed_at_ms.is_some() {
            let detail = "it has been sent again before; `freshet dead-letters replay --again` sends it once more";
            return Err(("replayed_before".into(), detail.into()));
        }
        if let Some(why) = cut(&letter).filter(|_| corrected.is_none()) {
            return Err((CUT.into(), format!("{why}; give the whole payload")));
        }
        if corrected.is_none() && letter.reason == Reason::DuplicateId.to_string() {
            let detail = "an event of this id has been learned; give a payload with another id, or leave it";
            return Err((letter.reason, detail.into()));
        }
        let DeadLetter { position, timestamp_ms, key, payload, .. } = letter;
        let raw = again(position, timestamp_ms, key, corrected.unwrap_or(payload));
        match self.decoder.decode(&raw) {
            Ok(_) => Ok(raw),
            Err(refusal) => Err((refusal.reason.to_string(), refusal.detail)),
        }
    }

    /// Sends records to one topic, and marks the letters of those that the log has. Returns their number.
    async fn send(
        &self,
        outbox: &mut Outbox,
        topic: &Arc<str>,
        group: Vec<RawEvent>,
        before: u64,
    ) -> Result<u64, ReplayError> {
        let (mut positions, mut records) = (Vec::new(), Vec::new());
        for raw in group {
            positions.push(raw.position);
            records.push(record(raw.key, raw.payload));
        }
        let failed = |sent: u64, reason: String| ReplayError::Log { sent: before + sent, reason };
        let log = outbox.producer(topic).await.map_err(|error| failed(0, error.to_string()))?;
        let receipts = log.append(records).await.map_err(|error| failed(0, error.to_string()))?;
        let taken = |(at, receipt): (Position, &Receipt)| receipt.is_ok().then_some(at);
        let sent: Vec<Position> = positions.into_iter().zip(&receipts).filter_map(taken).collect();
        self.store.mark_replayed(&sent, now_ms()).await?;
        let sent = sent.len() as u64;
        match receipts.into_iter().find_map(Result::err) {
            Some(undelivered) => Err(failed(sent, undelivered.reason)),
            None => Ok(sent),
        }
    }
}

fn by_topic(records: Vec<RawEvent>) -> BTreeMap<Arc<str>, Vec<RawEvent>> {
    let mut groups = BTreeMap::<_, Vec<_>>::new();
    for raw in records {
        groups.entry(Arc::clone(&raw.position.topic)).or_default().push(raw);
    }
    groups
}

fn told(letter: DeadLetter) -> StoredLetter {
    let (text, lossy) = match String::from_utf8(letter.payload) {
        Ok(text) => (text, false),
        Err(error) => (String::from_utf8_lossy(error.as_bytes()).into_owned(), true),
    };
    StoredLetter {
        position: letter.position,
        at_ms: letter.timestamp_ms,
        reason: letter.reason,
        detail: letter.detail,
        text,
        lossy,
        cut_from: letter.payload_cut_from,
        replayed_at_ms: letter.replayed_at_ms,
    }
}

impl From<StoreError> for ReplayError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_without_an_id_gets_that_of_its_letter() {
        let position = Position { topic: "ratings".into(), partition: 2, offset: 7 };
        let id = |payload: &str| String::from_utf8(with_id(payload.into(), &position)).unwrap();
        for payload in [r#"{"v":1}"#, r#"{"v":1,"id":null}"#, r#"{"v":1,"id":""}"#] {
            assert_eq!(id(payload), r#"{"v":1,"id":"dead-letter/ratings/2/7"}"#);
        }
        for payload in [r#"{ "id" : "mine" }"#, r#"{"id":7}"#, "hello", "[1]", ""] {
            assert_eq!(id(payload), payload);
        }
    }
}
