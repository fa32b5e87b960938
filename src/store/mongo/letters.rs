//! The dead letters of the MongoDB store: read in the order of the log, counted, and marked as replayed.
//!
//! Their order is that of `_id`, since MongoDB compares `{t, p, o}` field by field: every page comes from its index.

use std::collections::BTreeMap;

use futures::TryStreamExt;
use mongodb::bson::{Bson, DateTime, Document, doc, to_bson};
use mongodb::error::Error;
use mongodb::{Collection, Database};
use serde::Deserialize;

use super::documents::{DeadLetterDoc, Place};
use super::events::times;
use crate::consume::Position;
use crate::decode::Reason;
use crate::store::{DeadLetter, DeadLetterFilter, rules};

/// Positions in one command.
const AT_ONCE: usize = 1000;

pub(super) async fn counts(database: &Database) -> Result<BTreeMap<Reason, u64>, Error> {
    let letters: Collection<Document> = database.collection("dead_letters");
    let count = doc! {"$group": {"_id": "$reason", "count": {"$sum": 1_i64}}};
    let mut groups = letters.aggregate([count]).await?;
    let mut counts = BTreeMap::new();
    while let Some(group) = groups.try_next().await? {
        let reason = rules::reason_of(group.get_str("_id").unwrap_or_default().to_owned());
        *counts.entry(reason).or_default() += group.get_i64("count").unwrap_or(0) as u64;
    }
    Ok(counts)
}

pub(super) async fn list(
    database: &Database,
    filter: &DeadLetterFilter,
    after: Option<&Position>,
    limit: usize,
) -> Result<Vec<DeadLetter>, Error> {
    let mut wanted = between(after, filter.before.as_ref())?;
    if let Some(reason) = &filter.reason {
        wanted.insert("reason", reason);
    }
    if let Some(topic) = &filter.topic {
        wanted.insert("_id.t", topic);
    }
    if filter.not_replayed {
        wanted.insert("replayed_at", Bson::Null);
    }
    if let Some(times) = times(filter.since_ms, filter.until_ms) {
        wanted.insert("timestamp", times);
    }
    let letters: Collection<DeadLetterDoc<'static>> = database.collection("dead_letters");
    let found = letters.find(wanted).sort(doc! {"_id": 1}).limit(limit.min(i64::MAX as usize) as i64).await?;
    found.map_ok(DeadLetter::from).try_collect().await
}

pub(super) async fn positions(
    database: &Database,
    after: Option<&Position>,
    limit: usize,
) -> Result<Vec<Position>, Error> {
    #[derive(Deserialize)]
    struct OnlyPlace {
        #[serde(rename = "_id")]
        place: Place<'static>,
    }
    let letters: Collection<OnlyPlace> = database.collection("dead_letters");
    let found = letters.find(between(after, None)?).projection(doc! {"_id": 1}).sort(doc! {"_id": 1});
    let found = found.limit(limit.min(i64::MAX as usize) as i64).await?;
    found.map_ok(|only| only.place.into()).try_collect().await
}

pub(super) async fn mark_replayed(database: &Database, positions: &[Position], at_ms: i64) -> Result<(), Error> {
    let letters: Collection<Document> = database.collection("dead_letters");
    let replayed = doc! {"$set": {"replayed_at": DateTime::from_millis(at_ms)}};
    for positions in positions.chunks(AT_ONCE) {
        let places: Vec<Bson> = positions.iter().map(place).collect::<Result<_, _>>()?;
        letters.update_many(doc! {"_id": {"$in": places}}, replayed.clone()).await?;
    }
    Ok(())
}

/// What selects the letters behind one position and before another; all of them if there is neither.
fn between(after: Option<&Position>, before: Option<&Position>) -> Result<Document, Error> {
    let mut places = Document::new();
    for (operator, position) in [("$gt", after), ("$lt", before)] {
        if let Some(position) = position {
            places.insert(operator, place(position)?);
        }
    }
    Ok(if places.is_empty() {
        doc! {}
    } else {
        doc! {"_id": places}
    })
}

fn place(position: &Position) -> Result<Bson, Error> {
    Ok(to_bson(&Place::of(position))?)
}
