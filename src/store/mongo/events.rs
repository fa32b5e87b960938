//! The events of the MongoDB store: read in their order, and told of by a change stream as they become durable.
//!
//! A change stream tells of a transaction only once a majority has it, and of all of it. It is read by a task of its own,
//! since a read of it must not be cancelled, and so that what has arrived can be taken at once.

use futures::TryStreamExt;
use mongodb::bson::{Bson, DateTime, Document, doc, from_bson, to_bson};
use mongodb::change_stream::ChangeStream;
use mongodb::change_stream::event::{ChangeStreamEvent, ResumeToken};
use mongodb::error::Error;
use mongodb::{Collection, Database};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::documents::EventDoc;
use super::failure::Place;
use crate::store::{Changes, EventFilter, LearnedEvent, StoreError};

/// Events that may wait to be taken.
const AT_ONCE: usize = 1024;

type Stream = ChangeStream<ChangeStreamEvent<EventDoc<'static>>>;

pub(super) async fn list(database: &Database, wanted: &EventFilter, limit: usize) -> Result<Vec<LearnedEvent>, Error> {
    let events: Collection<EventDoc<'static>> = database.collection("events");
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let found = events.find(fields(wanted, "")).sort(doc! {"seq": 1}).limit(limit).await?;
    found.map_ok(LearnedEvent::from).try_collect().await
}

/// What selects the events, whose fields are found under a prefix.
fn fields(wanted: &EventFilter, prefix: &str) -> Document {
    let EventFilter { seqs, user, item, since_ms, until_ms } = wanted;
    let [from, to] = [seqs.start(), seqs.end()].map(|seq| i64::try_from(*seq).unwrap_or(i64::MAX));
    let mut fields = doc! {format!("{prefix}seq"): {"$gte": from, "$lte": to}};
    for (name, id) in [("user", user), ("item", item)] {
        if let Some(id) = id {
            fields.insert(format!("{prefix}{name}"), id);
        }
    }
    if let Some(times) = times(*since_ms, *until_ms) {
        fields.insert(format!("{prefix}ts"), times);
    }
    fields
}

/// What selects a time from one on and before another; nothing if there is neither.
pub(super) fn times(since_ms: Option<i64>, until_ms: Option<i64>) -> Option<Document> {
    let bounds = [("$gte", since_ms), ("$lt", until_ms)];
    let bounds = bounds.into_iter().filter_map(|(operator, ms)| Some((operator, DateTime::from_millis(ms?))));
    let times: Document = bounds.map(|(operator, at)| (operator.to_owned(), Bson::from(at))).collect();
    (!times.is_empty()).then_some(times)
}

/// Opens a change stream: from now on, or after a token.
pub(super) async fn watch(database: &Database, wanted: &EventFilter, token: Option<&Value>) -> Result<Stream, Error> {
    let events: Collection<EventDoc<'static>> = database.collection("events");
    let mut inserted = doc! {"operationType": "insert"};
    inserted.extend(fields(wanted, "fullDocument."));
    let token = token.map(|token| read_token(token.clone())).transpose()?;
    events.watch().pipeline([doc! {"$match": inserted}]).resume_after(token).await
}

fn read_token(token: Value) -> Result<ResumeToken, Error> {
    let token = Bson::try_from(token).map_err(|error| Error::from(std::io::Error::other(error.to_string())))?;
    Ok(from_bson(token)?)
}

/// What the task that reads a change stream hands over: an event, if one came, and where to go on after it.
type Change = (Option<LearnedEvent>, Option<ResumeToken>);

/// A change stream that is read.
pub(super) struct Live {
    arrived: mpsc::Receiver<Result<Change, Error>>,
    /// Dropped with this, and the stream with it.
    _reading: AbortOnDropHandle<()>,
    place: Place,
    token: Option<ResumeToken>,
    /// Why it broke off, after events that were still handed out.
    failed: Option<Error>,
}

impl Live {
    pub(super) fn new(stream: Stream, place: Place) -> Self {
        let (sender, arrived) = mpsc::channel(AT_ONCE);
        let token = stream.resume_token();
        let reading = AbortOnDropHandle::new(tokio::spawn(read(stream, sender)));
        Self { arrived, _reading: reading, place, token, failed: None }
    }
}

/// Reads a stream until it fails, ends, or nobody takes what it brings.
async fn read(mut stream: Stream, arrived: mpsc::Sender<Result<Change, Error>>) {
    while stream.is_alive() {
        let change = match stream.next_if_any().await {
            Ok(Some(event)) => Ok((event.full_document.map(LearnedEvent::from), Some(event.id))),
            Ok(None) => Ok((None, stream.resume_token())),
            Err(error) => Err(error),
        };
        let failed = change.is_err();
        if arrived.send(change).await.is_err() || failed {
            return;
        }
    }
}

#[async_trait::async_trait]
impl Changes for Live {
    async fn next(&mut self) -> Result<Vec<LearnedEvent>, StoreError> {
        let mut changes = Vec::new();
        if self.failed.is_none() && self.arrived.recv_many(&mut changes, AT_ONCE).await == 0 {
            return Err(self
                .place
                .damaged("the collection of events", "it was dropped or renamed while it was followed"));
        }
        let mut events = Vec::new();
        for change in changes {
            match change {
                Ok((event, token)) => {
                    events.extend(event);
                    self.token = token.or(self.token.take());
                }
                Err(error) => self.failed = Some(error),
            }
        }
        if events.is_empty()
            && let Some(error) = self.failed.take()
        {
            return Err(self.place.failure("follow events", &error));
        }
        // Those of one transaction may come in any order.
        events.sort_by_key(|event| event.seq);
        Ok(events)
    }

    fn token(&self) -> Option<Value> {
        let token = self.token.as_ref().and_then(|token| to_bson(token).ok())?;
        Some(token.into_relaxed_extjson())
    }
}
