//! Items and users: what data sets and topics tell of them, and what an operator does.
//!
//! Apart from the store, because an engine tells of them within its transactions and others outside of any.

use futures::TryStreamExt;
use mongodb::bson::{Document, doc};
use mongodb::error::Error;
use mongodb::{ClientSession, Collection, Database};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::documents::{CATALOG_ID, by_id, from_id};
use crate::capture::{Item, User};

/// Fields of entries that no data set tells.
const OF_OPERATOR: [&str; 2] = ["labels", "hidden"];
/// Entries in one command.
const ENTRIES_AT_ONCE: usize = 2000;

/// Adds or replaces what is told of items and users, by id, the last of each holding; what an operator has set stays.
pub(super) async fn put(
    database: &Database,
    session: &mut Option<&mut ClientSession>,
    items: &[Item],
    users: &[User],
) -> Result<(), Error> {
    upsert(database, session, "items", items).await?;
    upsert(database, session, "users", users).await?;
    raise_version(database, session).await
}

async fn upsert<T: Serialize>(
    database: &Database,
    session: &mut Option<&mut ClientSession>,
    collection: &str,
    entries: &[T],
) -> Result<(), Error> {
    for entries in entries.chunks(ENTRIES_AT_ONCE) {
        let updates: Vec<_> = entries.iter().map(replacement).collect::<Result<_, Error>>()?;
        // In order, since one entry may be told twice.
        let mut command = doc! {"update": collection, "updates": updates, "ordered": true};
        if session.is_none() {
            command.insert("writeConcern", doc! {"w": "majority", "j": true});
        }
        let answer = database.run_command(command);
        let answer = match session {
            Some(session) => answer.session(&mut **session).await?,
            None => answer.await?,
        };
        if let Some(failed) = answer.get("writeErrors").or_else(|| answer.get("writeConcernError")) {
            return Err(std::io::Error::other(failed.to_string()).into());
        }
    }
    Ok(())
}

fn replacement<T: Serialize>(entry: &T) -> Result<Document, Error> {
    let mut document = by_id(entry)?;
    let mut kept = Document::new();
    for name in OF_OPERATOR {
        document.remove(name);
        kept.insert(name, format!("${name}"));
    }
    let id = document.get("_id").cloned();
    let merged = vec![doc! {"$replaceWith": {"$mergeObjects": [{"$literal": document}, kept]}}];
    Ok(doc! {"q": {"_id": id}, "u": merged, "upsert": true})
}

/// Adds or replaces one entry as a whole.
pub(super) async fn set<T: Serialize + Sync>(database: &Database, collection: &str, entry: &T) -> Result<(), Error> {
    let document = by_id(entry)?;
    let same = doc! {"_id": document.get("_id").cloned()};
    database.collection::<Document>(collection).replace_one(same, document).upsert(true).await?;
    raise_version(database, &mut None).await
}

/// Last of a change, so that whoever sees the new version sees what is new.
async fn raise_version(database: &Database, session: &mut Option<&mut ClientSession>) -> Result<(), Error> {
    let engine: Collection<Document> = database.collection("engine");
    let raised = engine.update_one(doc! {"_id": CATALOG_ID}, doc! {"$inc": {"version": 1_i64}}).upsert(true);
    match session {
        Some(session) => raised.session(&mut **session).await?,
        None => raised.await?,
    };
    Ok(())
}

pub(super) async fn version(database: &Database) -> Result<u64, Error> {
    let engine: Collection<Document> = database.collection("engine");
    let found = engine.find_one(doc! {"_id": CATALOG_ID}).await?;
    Ok(found.and_then(|document| document.get_i64("version").ok()).unwrap_or(0) as u64)
}

/// Every entry, by id.
pub(super) async fn all<T: DeserializeOwned>(database: &Database, collection: &str) -> Result<Vec<T>, Error> {
    let entries: Collection<Document> = database.collection(collection);
    let found = entries.find(doc! {}).sort(doc! {"_id": 1}).await?;
    found.and_then(async |document| from_id(document)).try_collect().await
}
