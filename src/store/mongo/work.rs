//! What transactions do: events with the offsets after them, snapshots made visible, old ones deleted.
//!
//! Apart from the transactions, which are alike whatever they do.

use std::collections::BTreeSet;

use futures::TryStreamExt;
use mongodb::bson::{
    Bson, Document, RawArrayBuf, RawDocumentBuf, doc, from_document, rawdoc, to_bson, to_raw_document_buf,
};
use mongodb::error::{Error, ErrorKind, InsertManyError};
use mongodb::{ClientSession, Database};

use super::catalog;
use super::documents::{BlockId, DeadLetterDoc, EventDoc};
use super::exchanges;
use super::failure::Place;
use super::transaction::Failure;
use crate::store::rules::{self, Standing};
use crate::store::{Claim, DurableWrite, Hash, Manifest, Progress, StoreError, Turn};

/// Bytes of events in one command, which may have 16 MiB, and 100,000 documents: those have more than 100 bytes each.
const BYTES_AT_ONCE: usize = 8 << 20;

/// Names of blocks in one command.
const NAMES_AT_ONCE: usize = 20_000;

/// What a transaction does after it has compared the epoch.
pub(super) enum Work<'a> {
    Persist(Persist<'a>),
    Snapshot(NewSnapshot<'a>),
    Delete(Deletion<'a>),
}

/// A write, and its turn among those under way.
pub(super) struct Persist<'a> {
    write: &'a DurableWrite,
    pub(super) turn: &'a Turn,
    /// Commands that insert the events: made before a lane is taken, and once however often they are sent.
    inserts: Vec<RawDocumentBuf>,
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
    /// Whether the write before is durable; what is no write waits for none.
    pub(super) fn in_turn(&self) -> bool {
        if let Self::Persist(persist) = self { persist.turn.has_come() } else { true }
    }

    pub(super) async fn turn_comes(&self) {
        if let Self::Persist(persist) = self {
            persist.turn.come().await;
        }
    }

    pub(super) fn standing(
        &self,
        place: &Place,
        stored: &Claim,
        epoch: u64,
        in_turn: bool,
    ) -> Result<Standing, StoreError> {
        match self {
            Self::Persist(persist) => persist.standing(place, stored, epoch, in_turn),
            Self::Snapshot(NewSnapshot { manifest, begins: true, .. }) => {
                rules::beginning(&place.location, stored, epoch, manifest)
            }
            Self::Snapshot(_) | Self::Delete(_) => {
                rules::check_epoch(&place.location, stored.epoch, epoch).map(|()| Standing::Next)
            }
        }
    }

    /// What becomes of the lane's document. A snapshot changes it too: that takes the lock that a claim needs, so that
    /// the two cannot cross. It also has the first lane catch up with the others, since people look there, and programs
    /// that know no other.
    pub(super) fn update(&self, stored: &Claim) -> Result<Document, Error> {
        Ok(match self {
            Self::Persist(persist) => doc! {"$set": progress_fields(&persist.write.progress)?},
            Self::Snapshot(NewSnapshot { manifest, begins, .. }) => {
                let seq = manifest.seq as i64;
                let progress = if *begins { &rules::progress_of(manifest) } else { &stored.progress };
                let mut fields = progress_fields(progress)?;
                fields.insert("snapshot", seq);
                if *begins {
                    fields.insert("base", seq);
                }
                doc! {"$set": fields}
            }
            Self::Delete(_) => doc! {"$inc": {"deletions": 1_i64}},
        })
    }

    /// Writes what is beside the lane's document; whether what the work supposes still holds.
    pub(super) async fn write(
        &self,
        database: &Database,
        session: &mut ClientSession,
        place: &Place,
    ) -> Result<bool, Failure> {
        match self {
            Self::Persist(persist) => persist.write(database, session).await?,
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

impl<'a> Persist<'a> {
    pub(super) fn new(write: &'a DurableWrite, turn: &'a Turn) -> Result<Self, Error> {
        Ok(Self { write, turn, inserts: inserts(write)? })
    }

    /// Whether it may be written before its turn: not where it changes documents that the write before may change too.
    pub(super) fn may_be_ahead(&self) -> bool {
        self.write.items.is_empty() && self.write.users.is_empty()
    }

    pub(super) fn standing(
        &self,
        place: &Place,
        stored: &Claim,
        epoch: u64,
        in_turn: bool,
    ) -> Result<Standing, StoreError> {
        let check = if in_turn { rules::standing } else { rules::standing_ahead };
        check(&place.location, stored, epoch, self.write)
    }

    async fn write(&self, database: &Database, session: &mut ClientSession) -> Result<(), Error> {
        let DurableWrite { rejects, items, users, exchanged, .. } = self.write;
        for command in &self.inserts {
            insert_raw(database, session, command.clone()).await?;
        }
        exchanges::insert(database, session, exchanged).await?;
        if !rejects.is_empty() {
            let letters = database.collection::<DeadLetterDoc>("dead_letters");
            letters.insert_many(rejects.iter().map(DeadLetterDoc::from)).ordered(false).session(&mut *session).await?;
        }
        if !self.may_be_ahead() {
            catalog::put(database, &mut Some(session), items, users).await?;
        }
        Ok(())
    }
}

fn progress_fields(progress: &Progress) -> Result<Document, Error> {
    let offsets = to_bson(&progress.offsets)?;
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

/// The commands that insert the events of a write.
fn inserts(write: &DurableWrite) -> Result<Vec<RawDocumentBuf>, Error> {
    let command = |events: RawArrayBuf| rawdoc! {"insert": "events", "documents": events, "ordered": false};
    let (mut commands, mut documents) = (Vec::new(), RawArrayBuf::new());
    for event in &write.events {
        let document = to_raw_document_buf(&EventDoc::from(event))?;
        let is_full = documents.as_bytes().len() + document.as_bytes().len() > BYTES_AT_ONCE;
        if is_full && !documents.is_empty() {
            commands.push(command(std::mem::take(&mut documents)));
        }
        documents.push(document);
    }
    if !documents.is_empty() {
        commands.push(command(documents));
    }
    Ok(commands)
}

/// As the driver's `insert_many`, which serializes every document twice and keeps its id, for a caller that has no use
/// for ids: a tenth of the time that an event takes (`benches/engine.rs`).
async fn insert_raw(database: &Database, session: &mut ClientSession, command: RawDocumentBuf) -> Result<(), Error> {
    let answer = database.run_raw_command(command).session(session).await?;
    let failed: InsertManyError = from_document(answer)?;
    if failed.write_errors.is_some() || failed.write_concern_error.is_some() {
        return Err(ErrorKind::InsertMany(failed).into());
    }
    Ok(())
}
