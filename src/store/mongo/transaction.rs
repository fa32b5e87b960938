//! The one writer: its session, and transactions that either compare the epoch and write, or change nothing.
//!
//! Apart from the plain reads and writes, because exactness rests here. Every transaction reads the engine's document,
//! decides by it, and changes it together with what it inserts. A superseded engine finds another epoch and a repeated
//! write finds its own traces, so that nothing is stored twice, nor anything without the offsets after it.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::TryStreamExt;
use mongodb::bson::{
    Bson, Document, RawArrayBuf, RawDocumentBuf, Uuid, doc, from_document, rawdoc, to_raw_document_buf,
};
use mongodb::error::{Error, ErrorKind, InsertManyError};
use mongodb::options::{ReadConcern, ReturnDocument};
use mongodb::{ClientSession, Collection, Database};
use tokio::sync::Mutex;

use super::catalog;
use super::documents::{BlockId, DeadLetterDoc, ENGINE_ID, EngineDoc, EventDoc};
use super::failure::{Patience, Place, may_pass};
use crate::fault::{self, Point};
use crate::store::rules::{self, Standing};
use crate::store::{Claim, DurableWrite, Hash, Manifest, Progress, StoreError};

/// How long a conflict, or a server that changes, is waited out before the engine is told; it goes on trying.
const WRITE_FOR: Duration = Duration::from_secs(3);

/// Longest that one transaction may take. The driver itself waits for ever on a connection that went silent.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Bytes of events in one command, which may have 16 MiB, and 100,000 documents: those have more than 100 bytes each.
const BYTES_AT_ONCE: usize = 8 << 20;

/// Names of blocks in one command.
const NAMES_AT_ONCE: usize = 20_000;

/// Writes to one database under epochs.
pub(super) struct Writer {
    database: Database,
    engine: Collection<Document>,
    // One session for all writes: a new transaction on it ends what a lost connection left open of the one before.
    session: Mutex<Option<ClientSession>>,
}

impl Writer {
    pub(super) fn new(database: &Database) -> Self {
        Self { database: database.clone(), engine: database.collection("engine"), session: Mutex::new(None) }
    }

    /// Raises the epoch and ends what the engine before has under way.
    pub(super) async fn claim(&self) -> Result<Claim, Error> {
        self.end_session_before().await?;
        let session = self.database.client().start_session().await?;
        let or = |field: &str, value: Bson| doc! {"$ifNull": [field, {"$literal": value}]};
        let update = vec![doc! {"$set": {
            "epoch": {"$add": [or("$epoch", 0_i64.into()), 1_i64]},
            "session": {"$literal": session.id().clone()},
            "seq": or("$seq", 0_i64.into()),
            "batch": or("$batch", 0_i64.into()),
            "offsets": or("$offsets", Bson::Array(Vec::new())),
            "store_id": or("$store_id", Uuid::new().to_string().into()),
            "base": or("$base", 0_i64.into()),
        }}];
        let engine = self.engine.clone_with_type::<EngineDoc>();
        let claimed = engine
            .find_one_and_update(doc! {"_id": ENGINE_ID}, update)
            .upsert(true)
            .return_document(ReturnDocument::After);
        let claim = claimed.await?.map(Claim::from);
        *self.session.lock().await = Some(session);
        claim.ok_or_else(|| Error::custom("the server returned no engine document after an upsert"))
    }

    /// An engine that was killed leaves its transaction open, and the server would hold its locks for a minute.
    async fn end_session_before(&self) -> Result<(), Error> {
        let Some(engine) = self.engine.find_one(doc! {"_id": ENGINE_ID}).await? else { return Ok(()) };
        let Ok(session) = engine.get_document("session") else { return Ok(()) };
        let kill = doc! {"killSessions": [session.clone()]};
        if let Err(error) = self.database.client().database("admin").run_command(kill).await {
            tracing::debug!(%error, "cannot end the session of the engine before; its locks pass within a minute");
        }
        Ok(())
    }

    /// Makes one write durable.
    pub(super) async fn persist(&self, place: &Place, epoch: u64, write: &DurableWrite) -> Result<(), StoreError> {
        let work = Work::Persist(write);
        self.run(place, "store events", Some(epoch), &work).await.map(|_| ())
    }

    /// Makes a snapshot visible.
    pub(super) async fn put_snapshot(
        &self,
        place: &Place,
        epoch: u64,
        snapshot: NewSnapshot<'_>,
    ) -> Result<(), StoreError> {
        self.run(place, "store a snapshot", Some(epoch), &Work::Snapshot(snapshot)).await.map(|_| ())
    }

    /// Deletes documents if the manifests are still the supposed ones; whether they are.
    pub(super) async fn delete(
        &self,
        place: &Place,
        epoch: Option<u64>,
        deletion: Deletion<'_>,
    ) -> Result<bool, StoreError> {
        self.run(place, "delete old snapshots", epoch, &Work::Delete(deletion)).await
    }

    /// Without an epoch, under the one in force. Whether what the work supposes still held; else nothing was changed.
    async fn run(
        &self,
        place: &Place,
        action: &'static str,
        epoch: Option<u64>,
        work: &Work<'_>,
    ) -> Result<bool, StoreError> {
        let mut session = self.session.lock().await;
        let mut patience = Patience::new(WRITE_FOR);
        loop {
            let attempt = tokio::time::timeout(ANSWER_WITHIN, self.attempt(&mut session, place, epoch, work)).await;
            let reason = match attempt {
                Ok(Ok(held)) => return Ok(held),
                Ok(Err(Failure::Driver(error))) if may_pass(&error) => place.gist(&error),
                Ok(Err(failure)) => {
                    abort(&mut session).await;
                    return Err(failure.into_store_error(place, action));
                }
                Err(_) => "no answer".to_string(),
            };
            tracing::debug!(location = place.location, reason, "cannot {action}; trying again");
            if !patience.wait().await {
                abort(&mut session).await;
                return Err(place.unavailable(action, reason));
            }
        }
    }

    /// One transaction. When the outcome of the one before is unknown, this one finds out: what took effect is read here
    /// under the epoch, and the commit waits until a majority has what was read.
    async fn attempt(
        &self,
        session: &mut Option<ClientSession>,
        place: &Place,
        epoch: Option<u64>,
        work: &Work<'_>,
    ) -> Result<bool, Failure> {
        abort(session).await;
        let session = match session {
            Some(session) => session,
            empty => empty.insert(self.database.client().start_session().await?),
        };
        session.start_transaction().read_concern(ReadConcern::snapshot()).await?;
        let engine = self.engine.clone_with_type::<EngineDoc>();
        let found = engine.find_one(doc! {"_id": ENGINE_ID}).session(&mut *session).await?;
        let gone = || place.damaged("the engine document", "it is gone; restart the engine, it claims the store again");
        let stored = found.map(Claim::from).ok_or_else(gone)?;
        let epoch = epoch.unwrap_or(stored.epoch);
        if work.standing(place, &stored, epoch)? == Standing::Next {
            // Should a claim come in between, the server fails this update with a write conflict.
            let ours = doc! {"_id": ENGINE_ID, "epoch": epoch as i64};
            self.engine.update_one(ours, work.update()?).session(&mut *session).await?;
            if !work.write(&self.database, session, place).await? {
                session.abort_transaction().await?;
                return Ok(false);
            }
            if matches!(work, Work::Persist(_)) {
                fault::pass(Point::Written);
            }
        }
        Ok(session.commit_transaction().await.map(|()| true)?)
    }
}

/// Why a transaction was not made.
enum Failure {
    /// The driver or the server failed.
    Driver(Error),
    /// The store refuses the work.
    Refused(StoreError),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Driver(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl Failure {
    fn into_store_error(self, place: &Place, action: &'static str) -> StoreError {
        match self {
            Self::Driver(error) => place.failure(action, &error),
            Self::Refused(error) => error,
        }
    }
}

/// What a transaction does after it has compared the epoch.
enum Work<'a> {
    Persist(&'a DurableWrite),
    Snapshot(NewSnapshot<'a>),
    Delete(Deletion<'a>),
}

/// A snapshot to make visible, all of whose blocks are stored.
#[derive(Clone, Copy)]
pub(super) struct NewSnapshot<'a> {
    pub(super) manifest: &'a Manifest,
    pub(super) blocks: &'a [Hash],
    /// Whether an empty store begins with it.
    pub(super) begins: bool,
}

/// Documents to delete, as long as the manifests are those by which they were chosen.
///
/// A snapshot changes the engine's document too, so that the two cannot cross: it comes before, and its manifest is
/// seen here, or after, and it finds the blocks that are missing.
#[derive(Clone, Copy)]
pub(super) struct Deletion<'a> {
    /// Every manifest, by `_id`.
    pub(super) supposed: &'a [RawDocumentBuf],
    pub(super) collection: &'static str,
    pub(super) ids: &'a [Bson],
}

impl Work<'_> {
    fn standing(&self, place: &Place, stored: &Claim, epoch: u64) -> Result<Standing, StoreError> {
        match self {
            Self::Persist(write) => rules::standing(&place.location, stored, epoch, write),
            Self::Snapshot(NewSnapshot { manifest, begins: true, .. }) => {
                rules::beginning(&place.location, stored, epoch, manifest)
            }
            Self::Snapshot(_) | Self::Delete(_) => {
                rules::check_epoch(&place.location, stored.epoch, epoch).map(|()| Standing::Next)
            }
        }
    }

    /// What becomes of the engine's document. A snapshot changes it too: that takes the lock that a claim needs, so that
    /// the two cannot cross.
    fn update(&self) -> Result<Document, Error> {
        Ok(match self {
            Self::Persist(DurableWrite { progress, .. }) => doc! {"$set": progress_fields(progress)?},
            Self::Snapshot(NewSnapshot { manifest, begins, .. }) => {
                let seq = manifest.seq as i64;
                let mut fields = doc! {"snapshot": seq};
                if *begins {
                    fields.extend(progress_fields(&rules::progress_of(manifest))?);
                    fields.insert("base", seq);
                }
                doc! {"$set": fields}
            }
            Self::Delete(_) => doc! {"$inc": {"deletions": 1_i64}},
        })
    }

    /// Writes what is beside the engine's document; whether what the work supposes still holds.
    async fn write(&self, database: &Database, session: &mut ClientSession, place: &Place) -> Result<bool, Failure> {
        match self {
            Self::Persist(write) => {
                insert_events(database, session, write).await?;
                if !(write.items.is_empty() && write.users.is_empty()) {
                    catalog::put(database, &mut Some(session), &write.items, &write.users).await?;
                }
            }
            Self::Snapshot(NewSnapshot { manifest, blocks, .. }) => {
                rules::check_present(&place.location, manifest, &missing(database, session, blocks).await?)?;
                let snapshots = database.collection::<Manifest>("snapshots");
                let same = doc! {"_id": manifest.seq as i64};
                snapshots.replace_one(same, *manifest).upsert(true).session(session).await?;
            }
            Self::Delete(Deletion { supposed, collection, ids }) => {
                let snapshots = database.collection::<RawDocumentBuf>("snapshots");
                let mut now = snapshots.find(doc! {}).sort(doc! {"_id": 1}).session(&mut *session).await?;
                let now: Vec<_> = now.stream(&mut *session).try_collect().await?;
                if now != *supposed {
                    return Ok(false);
                }
                let chosen = doc! {"_id": {"$in": *ids}};
                database.collection::<Document>(collection).delete_many(chosen).session(session).await?;
            }
        }
        Ok(true)
    }
}

fn progress_fields(progress: &Progress) -> Result<Document, Error> {
    let offsets = mongodb::bson::to_bson(&progress.offsets)?;
    Ok(doc! {"seq": progress.seq as i64, "batch": progress.batch as i64, "offsets": offsets})
}

/// Those of the blocks that are not there.
async fn missing(database: &Database, session: &mut ClientSession, blocks: &[Hash]) -> Result<BTreeSet<Hash>, Error> {
    let mut missing: BTreeSet<Hash> = blocks.iter().copied().collect();
    let stored = database.collection::<BlockId>("blocks");
    let wanted: Vec<String> = missing.iter().map(ToString::to_string).collect();
    for names in wanted.chunks(NAMES_AT_ONCE) {
        // The index alone answers this.
        let found = stored.find(doc! {"_id": {"$in": names}}).projection(doc! {"_id": 1});
        let mut found = found.session(&mut *session).await?;
        while let Some(found) = found.stream(&mut *session).try_next().await? {
            missing.remove(&found.hash);
        }
    }
    Ok(missing)
}

async fn insert_events(database: &Database, session: &mut ClientSession, write: &DurableWrite) -> Result<(), Error> {
    let mut documents = RawArrayBuf::new();
    for event in &write.events {
        let document = to_raw_document_buf(&EventDoc::from(event))?;
        let is_full = documents.as_bytes().len() + document.as_bytes().len() > BYTES_AT_ONCE;
        if is_full && !documents.is_empty() {
            insert_raw(database, session, std::mem::take(&mut documents)).await?;
        }
        documents.push(document);
    }
    if !documents.is_empty() {
        insert_raw(database, session, documents).await?;
    }
    if !write.rejects.is_empty() {
        let rejects = database.collection::<DeadLetterDoc>("dead_letters");
        let documents = write.rejects.iter().map(DeadLetterDoc::from);
        rejects.insert_many(documents).ordered(false).session(session).await?;
    }
    Ok(())
}

/// As the driver's `insert_many`, which serializes every document twice and keeps its id, for a caller that has no use
/// for ids: a tenth of the time that an event takes (`benches/engine.rs`).
async fn insert_raw(database: &Database, session: &mut ClientSession, events: RawArrayBuf) -> Result<(), Error> {
    let command = rawdoc! {"insert": "events", "documents": events, "ordered": false};
    let answer = database.run_raw_command(command).session(session).await?;
    let failed: InsertManyError = from_document(answer)?;
    if failed.write_errors.is_some() || failed.write_concern_error.is_some() {
        return Err(ErrorKind::InsertMany(failed).into());
    }
    Ok(())
}

/// Ends a transaction that a failure or a cancelled call left open; there may be none, and the server drops it anyway.
async fn abort(session: &mut Option<ClientSession>) {
    if let Some(session) = session {
        let _ = session.abort_transaction().await;
    }
}
