//! What trainers have exchanged of items: read back to learn the same again.
//!
//! A document has what one trainer told in one batch; a batch after which this trainer worked out its own part has one more,
//! without rows. `_id` is the batch and the place in it, which is the order.

use futures::TryStreamExt;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, doc};
use mongodb::error::Error;
use mongodb::{ClientSession, Database};
use serde::{Deserialize, Serialize};

use crate::decode::Contributions;
use crate::store::Exchanged;

/// Documents and bytes that are read at once.
const AT_ONCE: u32 = 64;
const BYTES_AT_ONCE: usize = 16 << 20;

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct Place {
    batch: i64,
    n: i32,
}

/// A document of `exchanges`.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct ExchangeDoc {
    #[serde(rename = "_id")]
    place: Place,
    /// The trainer that told it; of this one the document says that it worked out its own part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shard: Option<i32>,
    #[serde(default)]
    store: i64,
    #[serde(default)]
    number: i64,
    #[serde(default)]
    last: bool,
    #[serde(default)]
    items: Vec<String>,
    /// Rows one after the other, as 32-bit floats in little-endian order.
    rows: Binary,
}

impl ExchangeDoc {
    /// The documents of a batch.
    fn of(exchanged: &Exchanged) -> impl Iterator<Item = Self> {
        let place = |n: usize| Place { batch: exchanged.batch as i64, n: n as i32 };
        let told = exchanged.contributions.iter().enumerate().map(move |(n, told)| Self {
            place: place(n),
            shard: Some(told.shard as i32),
            store: told.store as i64,
            number: told.number as i64,
            last: told.last,
            items: told.items.iter().map(ToString::to_string).collect(),
            rows: binary(told.rows.iter().flat_map(|value| value.to_le_bytes()).collect()),
        });
        let own = Self {
            place: place(exchanged.contributions.len()),
            shard: None,
            store: 0,
            number: 0,
            last: false,
            items: Vec::new(),
            rows: binary(Vec::new()),
        };
        told.chain(exchanged.shares.then_some(own))
    }

    /// What was told; none where this trainer worked out its own part.
    fn contributions(self) -> Result<Option<Contributions>, String> {
        let Some(shard) = self.shard else { return Ok(None) };
        let (values, odd) = self.rows.bytes.as_chunks::<4>();
        let whole = if self.items.is_empty() { values.is_empty() } else { values.len() % self.items.len() == 0 };
        if !odd.is_empty() || !whole {
            return Err(format!("{} bytes are no {} rows", self.rows.bytes.len(), self.items.len()));
        }
        Ok(Some(Contributions {
            shard: usize::try_from(shard).map_err(|_| format!("shard is {shard}"))?,
            store: self.store as u64,
            number: self.number as u64,
            last: self.last,
            items: self.items.into_iter().map(Into::into).collect(),
            rows: values.iter().map(|value| f32::from_le_bytes(*value)).collect(),
        }))
    }
}

fn binary(bytes: Vec<u8>) -> Binary {
    Binary { subtype: BinarySubtype::Generic, bytes }
}

/// Stores what the batches of a write exchanged.
pub(super) async fn insert(
    database: &Database,
    session: &mut ClientSession,
    exchanged: &[Exchanged],
) -> Result<(), Error> {
    let documents: Vec<ExchangeDoc> = exchanged.iter().flat_map(ExchangeDoc::of).collect();
    if !documents.is_empty() {
        database.collection::<ExchangeDoc>("exchanges").insert_many(documents).session(session).await?;
    }
    Ok(())
}

/// The documents of whole batches after `after`, in order.
pub(super) async fn list(database: &Database, after: u64) -> Result<Vec<ExchangeDoc>, Error> {
    let exchanges = database.collection::<ExchangeDoc>("exchanges");
    let first = Place { batch: i64::try_from(after).unwrap_or(i64::MAX).saturating_add(1), n: 0 };
    let behind = doc! {"_id": {"$gte": {"batch": first.batch, "n": first.n}}};
    let mut found = exchanges.find(behind).sort(doc! {"_id": 1}).batch_size(AT_ONCE).await?;
    let (mut listed, mut bytes) = (Vec::<ExchangeDoc>::new(), 0);
    while let Some(document) = found.try_next().await? {
        let begins = listed.last().is_none_or(|last| last.place.batch != document.place.batch);
        if begins && bytes > BYTES_AT_ONCE {
            break;
        }
        bytes += document.rows.bytes.len() + document.items.len() * 16;
        listed.push(document);
    }
    Ok(listed)
}

/// What the documents of whole batches say.
pub(super) fn read(documents: Vec<ExchangeDoc>) -> Result<Vec<Exchanged>, String> {
    let mut exchanged = Vec::<Exchanged>::new();
    for document in documents {
        let Place { batch, n } = document.place;
        let batch = batch as u64;
        if exchanged.last().is_none_or(|last| last.batch != batch) {
            exchanged.push(Exchanged { batch, contributions: Vec::new(), shares: false });
        }
        let told = document.contributions().map_err(|reason| format!("number {n} of batch {batch}: {reason}"))?;
        if let Some(last) = exchanged.last_mut() {
            last.shares |= told.is_none();
            last.contributions.extend(told);
        }
    }
    Ok(exchanged)
}
