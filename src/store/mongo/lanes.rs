//! Lanes: transactions that are under way at the same time, each in a session and with a document of its own.
//!
//! Two open transactions must not change one document, so each lane says in its own how far it has come, and the store
//! stands where the farthest does. The first lane's is the engine's own document, which has the epoch: every transaction
//! reads it, and a claim raises the epoch there first, so that a superseded engine begins nothing more, and then in every
//! lane, which waits for what is under way there.

use futures::TryStreamExt;
use mongodb::bson::{Bson, Document, Uuid, doc};
use mongodb::error::Error;
use mongodb::options::ReturnDocument;
use mongodb::{ClientSession, Collection, Database};
use tokio::sync::{Mutex, MutexGuard};

use super::documents::{ENGINE_ID, EngineDoc};
use crate::store::Claim;

/// One transaction at a time.
pub(super) struct Lane {
    /// `_id` of its document.
    pub(super) id: String,
    // One session for all: a new transaction on it ends what a lost connection left open of the one before.
    session: Mutex<Option<ClientSession>>,
}

/// The lane that a transaction has to itself.
pub(super) struct Taken<'a> {
    pub(super) id: &'a str,
    pub(super) session: MutexGuard<'a, Option<ClientSession>>,
}

impl Lane {
    /// The lanes of a store, the first one first.
    pub(super) fn all(count: usize) -> Vec<Self> {
        let id = |number| if number == 1 { ENGINE_ID.to_owned() } else { format!("lane-{number}") };
        (1..=count.max(1)).map(|number| Self { id: id(number), session: Mutex::new(None) }).collect()
    }

    pub(super) async fn take(&self) -> Taken<'_> {
        Taken { id: &self.id, session: self.session.lock().await }
    }
}

/// Selects the documents of the lanes among those of `engine`.
fn of_lanes() -> Document {
    doc! {"seq": {"$exists": true}}
}

/// Where the store stands; none before its first claim.
pub(super) async fn standing(database: &Database, session: Option<&mut ClientSession>) -> Result<Option<Claim>, Error> {
    let engine: Collection<EngineDoc> = database.collection("engine");
    let lanes: Vec<_> = match session {
        Some(session) => {
            let mut found = engine.find(of_lanes()).session(&mut *session).await?;
            found.stream(session).try_collect().await?
        }
        None => engine.find(of_lanes()).await?.try_collect().await?,
    };
    Ok(EngineDoc::standing(lanes))
}

/// Raises the epoch and ends what the engine before has under way.
pub(super) async fn claim(database: &Database, lanes: &[Lane]) -> Result<Claim, Error> {
    let engine: Collection<Document> = database.collection("engine");
    end_sessions_before(database, &engine).await?;
    let mut epoch = None;
    for lane in lanes {
        let session = database.client().start_session().await?;
        let raised = match epoch {
            None => doc! {"$add": [or("$epoch", 0_i64.into()), 1_i64]},
            Some(epoch) => or_more(epoch),
        };
        let mut fields = doc! {
            "epoch": raised,
            "session": {"$literal": session.id().clone()},
            "seq": or("$seq", 0_i64.into()),
            "batch": or("$batch", 0_i64.into()),
            "offsets": or("$offsets", Bson::Array(Vec::new())),
        };
        if epoch.is_none() {
            fields.insert("store_id", or("$store_id", Uuid::new().to_string().into()));
            fields.insert("base", or("$base", 0_i64.into()));
        }
        let claimed = engine.find_one_and_update(doc! {"_id": &lane.id}, vec![doc! {"$set": fields}]);
        let claimed = claimed.upsert(true).return_document(ReturnDocument::After).await?;
        if epoch.is_none() {
            let raised = claimed.as_ref().and_then(|claimed| claimed.get_i64("epoch").ok());
            epoch =
                Some(raised.ok_or_else(|| Error::custom("the server returned no engine document after an upsert"))?);
        }
        *lane.session.lock().await = Some(session);
    }
    let epoch = epoch.unwrap_or_default();
    raise_others(&engine, lanes, epoch).await?;
    let claim = standing(database, None).await?;
    let gone = || Error::custom("the engine document is gone while the store is claimed");
    Ok(Claim { epoch: epoch as u64, ..claim.ok_or_else(gone)? })
}

/// Raises the epoch of lanes that only an engine before had.
async fn raise_others(engine: &Collection<Document>, lanes: &[Lane], epoch: i64) -> Result<(), Error> {
    let ours: Vec<_> = lanes.iter().map(|lane| lane.id.as_str()).collect();
    let mut others = of_lanes();
    others.insert("_id", doc! {"$nin": ours});
    engine.update_many(others, vec![doc! {"$set": {"epoch": or_more(epoch)}}]).await?;
    Ok(())
}

/// An engine that was killed leaves its transactions open, and the server would hold their locks for a minute.
async fn end_sessions_before(database: &Database, engine: &Collection<Document>) -> Result<(), Error> {
    let lanes: Vec<_> = engine.find(of_lanes()).await?.try_collect().await?;
    let sessions = lanes.iter().filter_map(|lane| lane.get_document("session").ok().cloned());
    let sessions: Vec<_> = sessions.collect();
    if sessions.is_empty() {
        return Ok(());
    }
    let kill = doc! {"killSessions": sessions};
    if let Err(error) = database.client().database("admin").run_command(kill).await {
        tracing::debug!(%error, "cannot end the sessions of the engine before; their locks pass within a minute");
    }
    Ok(())
}

/// The field, or a value where it is not there.
fn or(field: &str, value: Bson) -> Document {
    doc! {"$ifNull": [field, {"$literal": value}]}
}

/// The epoch of another claim stays if it is higher.
fn or_more(epoch: i64) -> Document {
    doc! {"$max": ["$epoch", epoch]}
}
