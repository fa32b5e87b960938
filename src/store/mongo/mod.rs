//! The store in MongoDB: one collection for each kind of document, all of them readable in `mongosh`.
//!
//! Events, rejects and offsets go through [`transaction`]; the rest is here. Blocks and the catalogue need no
//! transaction: a block is named by its hash and is seen only through a manifest, which is written last.

mod catalog;
mod connect;
mod documents;
mod events;
mod exchanges;
mod failure;
mod lanes;
mod letters;
mod prune;
mod transaction;
mod work;

pub(crate) use self::connect::{NOT_A_REPLICA_SET, tls_advice};
pub(crate) use self::failure::Place;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use mongodb::bson::{Document, doc, from_document};
use mongodb::error::{Error, ErrorKind};
use mongodb::{Collection, Database};
use serde::Deserialize;

use self::documents::BlockDoc;
use self::failure::DUPLICATE_KEY;
use self::transaction::Writer;
use self::work::NewSnapshot;
use super::{
    Block, Catalog, Changes, Claim, DeadLetter, DeadLetterFilter, DurableWrite, EventFilter, Exchanged, Hash,
    LearnedEvent, Listed, Manifest, Pruned, Retention, SnapshotsTold, Store, StoreError, Turn, rules,
};
use crate::capture::{Item, User};
use crate::config::StoreConfig;
use crate::consume::Position;
use crate::decode::Reason;

/// Longest that a command may take. The driver itself waits for ever on a connection that went silent.
const ANSWER_WITHIN: Duration = Duration::from_secs(90);
/// Blocks asked for, and bytes of blocks sent, at once: enough to hide the round trip, little enough for memory.
const BLOCKS_AT_ONCE: usize = 256;
const BYTES_AT_ONCE: usize = 24 << 20;
/// Most bytes of a block: a document may have 16 MiB, its hash and size included.
const MAX_BLOCK: usize = (16 << 20) - 1024;

/// The store in one MongoDB database.
pub(super) struct MongoStore {
    place: Place,
    database: Database,
    writer: Writer,
}

/// What [`Store::recent_ids`] takes of an event's document.
#[derive(Deserialize)]
struct SeqAndId {
    seq: i64,
    id: String,
}

/// Connects to `config.uri`, waiting for it up to `config.connect_timeout`.
pub(super) async fn open(config: &StoreConfig) -> Result<MongoStore, StoreError> {
    let (database, place) = connect::connect(config).await?;
    let writer = Writer::new(&database, config.write_lanes);
    Ok(MongoStore { place, database, writer })
}

impl MongoStore {
    /// Awaits a command, in bounded time, with errors in our words.
    async fn ask<T>(
        &self,
        action: &'static str,
        command: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(ANSWER_WITHIN, command).await {
            Ok(answer) => answer.map_err(|error| self.place.failure(action, &error)),
            Err(_) => Err(self.place.unavailable(action, format!("no answer within {ANSWER_WITHIN:?}"))),
        }
    }

    async fn insert_missing(&self, blocks: &[BlockDoc]) -> Result<(), Error> {
        let collection = self.database.collection::<BlockDoc>("blocks");
        match collection.insert_many(blocks).ordered(false).await {
            Err(error) if only_duplicates(&error) => self.mend(&collection, blocks).await,
            other => other.map(|_| ()),
        }
    }

    /// Puts blocks right that are stored with other bytes: they would spoil every later snapshot that shares them.
    async fn mend(&self, collection: &Collection<BlockDoc>, blocks: &[BlockDoc]) -> Result<(), Error> {
        for blocks in blocks.chunks(BLOCKS_AT_ONCE) {
            let hashes: Vec<_> = blocks.iter().map(|block| block.hash).collect();
            let stored = self.find_blocks(&hashes).await?;
            let damaged = |hash: Hash| stored.get(&hash).is_some_and(|block| Hash::of(&block.bytes) != hash);
            for block in blocks.iter().filter(|block| damaged(block.hash)) {
                collection.replace_one(doc! {"_id": block.hash.to_string()}, block).await?;
            }
        }
        Ok(())
    }

    async fn find_blocks(&self, hashes: &[Hash]) -> Result<BTreeMap<Hash, Block>, Error> {
        let names: Vec<_> = hashes.iter().map(ToString::to_string).collect();
        let found = self.database.collection::<BlockDoc>("blocks").find(doc! {"_id": {"$in": names}}).await?;
        found.map_ok(|doc| (doc.hash, Block::from(doc))).try_collect().await
    }

    /// A manifest, or `None` with a warning for one that this program cannot read: an older snapshot serves as well.
    fn readable(&self, document: Document) -> Option<Manifest> {
        let seq = document.get("_id").cloned();
        let format = document.get("format").cloned();
        match from_document(document) {
            Ok(manifest) => Some(manifest),
            Err(error) => {
                let (location, seq, format) =
                    (&self.place.location, seq.map(|seq| seq.to_string()), format.map(|format| format.to_string()));
                tracing::warn!(location, seq, format, %error, "skipping a snapshot whose manifest cannot be read");
                None
            }
        }
    }
}

/// Whether every failed insert failed because the document is there already.
fn only_duplicates(error: &Error) -> bool {
    let ErrorKind::InsertMany(many) = &*error.kind else { return false };
    many.write_concern_error.is_none() && many.write_errors.iter().flatten().all(|write| write.code == DUPLICATE_KEY)
}

#[async_trait]
impl Store for MongoStore {
    fn location(&self) -> String {
        self.place.location.clone()
    }

    async fn claim(&self) -> Result<Claim, StoreError> {
        self.ask("claim the store", self.writer.claim()).await
    }

    async fn state(&self) -> Result<Claim, StoreError> {
        self.ask("read where the engine stands", async {
            Ok(lanes::standing(&self.database, None).await?.unwrap_or_default())
        })
        .await
    }

    fn lanes(&self) -> usize {
        self.writer.lanes()
    }

    async fn persist_in_turn(&self, epoch: u64, write: &DurableWrite, turn: &Turn) -> Result<(), StoreError> {
        self.writer.persist(&self.place, epoch, write, turn).await
    }

    async fn events_where(&self, wanted: &EventFilter, limit: usize) -> Result<Vec<LearnedEvent>, StoreError> {
        // To MongoDB a limit of 0 is none.
        if limit == 0 {
            return Ok(Vec::new());
        }
        self.ask("read events", events::list(&self.database, wanted, limit)).await
    }

    async fn changes(
        &self,
        wanted: &EventFilter,
        token: Option<&serde_json::Value>,
    ) -> Result<Option<Box<dyn Changes>>, StoreError> {
        let stream = self.ask("follow events", events::watch(&self.database, wanted, token)).await?;
        Ok(Some(Box::new(events::Live::new(stream, self.place.clone()))))
    }

    async fn exchanged(&self, after: u64) -> Result<Vec<Exchanged>, StoreError> {
        let documents = self.ask("read exchanges", exchanges::list(&self.database, after)).await?;
        exchanges::read(documents).map_err(|reason| StoreError::Damaged {
            what: "what was exchanged with other trainers".to_owned(),
            location: self.location(),
            reason,
        })
    }

    async fn recent_ids(&self, from_seq: u64) -> Result<Vec<(u64, String)>, StoreError> {
        self.ask("read ids", async {
            let events = self.database.collection::<SeqAndId>("events");
            let wanted = doc! {"seq": {"$gte": i64::try_from(from_seq).unwrap_or(i64::MAX)}, "id": {"$exists": true}};
            let found =
                events.find(wanted).projection(doc! {"_id": 0, "seq": 1, "id": 1}).sort(doc! {"seq": 1}).await?;
            found.map_ok(|one| (one.seq as u64, one.id)).try_collect().await
        })
        .await
    }

    async fn reject_counts(&self) -> Result<BTreeMap<Reason, u64>, StoreError> {
        self.ask("count dead letters", letters::counts(&self.database)).await
    }

    async fn dead_letters(
        &self,
        filter: &DeadLetterFilter,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        // To MongoDB a limit of 0 is none.
        if limit == 0 {
            return Ok(Vec::new());
        }
        self.ask("read dead letters", letters::list(&self.database, filter, after, limit)).await
    }

    async fn dead_letter_positions(&self, after: Option<&Position>, limit: usize) -> Result<Vec<Position>, StoreError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        self.ask("read dead letters", letters::positions(&self.database, after, limit)).await
    }

    async fn mark_replayed(&self, positions: &[Position], at_ms: i64) -> Result<(), StoreError> {
        self.ask("mark dead letters", letters::mark_replayed(&self.database, positions, at_ms)).await
    }

    async fn put_blocks(&self, blocks: Arc<[Block]>) -> Result<(), StoreError> {
        if let Some(block) = blocks.iter().find(|block| block.bytes.len() > MAX_BLOCK) {
            return Err(self.place.unsuitable(format!(
                "block {} has {} bytes, and a MongoDB document holds at most {MAX_BLOCK} of them",
                block.hash,
                block.bytes.len()
            )));
        }
        let mut blocks = blocks.iter().peekable();
        while blocks.peek().is_some() {
            let mut bytes = 0;
            let mut chunk = Vec::new();
            while let Some(block) =
                blocks.next_if(|block| chunk.is_empty() || bytes + block.bytes.len() <= BYTES_AT_ONCE)
            {
                bytes += block.bytes.len();
                chunk.push(BlockDoc::from(block));
            }
            self.ask("store blocks", self.insert_missing(&chunk)).await?;
        }
        Ok(())
    }

    async fn put_manifest(&self, epoch: u64, manifest: &Manifest, blocks: &[Hash]) -> Result<(), StoreError> {
        self.writer.put_snapshot(&self.place, epoch, NewSnapshot { manifest, blocks, begins: false }).await
    }

    async fn begin(&self, epoch: u64, manifest: &Manifest, blocks: &[Hash]) -> Result<(), StoreError> {
        self.writer.put_snapshot(&self.place, epoch, NewSnapshot { manifest, blocks, begins: true }).await
    }

    async fn prune(&self, epoch: Option<u64>, keep: Retention, dry_run: bool) -> Result<Pruned, StoreError> {
        self.prune_all(epoch, keep, dry_run).await
    }

    async fn listed(&self) -> Result<Vec<Listed>, StoreError> {
        let manifests = self.ask("list snapshots", self.raw_manifests()).await?;
        Ok(manifests.iter().rev().map(prune::listed).collect())
    }

    async fn manifests(&self, limit: usize) -> Result<Vec<Manifest>, StoreError> {
        self.ask("list snapshots", async {
            let snapshots: Collection<Document> = self.database.collection("snapshots");
            let mut found = snapshots.find(doc! {}).sort(doc! {"_id": -1}).await?;
            let mut manifests = Vec::new();
            while manifests.len() < limit
                && let Some(document) = found.try_next().await?
            {
                manifests.extend(self.readable(document));
            }
            Ok(manifests)
        })
        .await
    }

    async fn snapshots_told(&self) -> Result<Option<SnapshotsTold>, StoreError> {
        let stored = doc! {"$match": {"operationType": {"$in": ["insert", "replace"]}}};
        let snapshots: Collection<Document> = self.database.collection("snapshots");
        let watching = async { snapshots.watch().pipeline([stored]).await };
        let (stream, place) = (self.ask("follow snapshots", watching).await?, self.place.clone());
        let told = stream.map(move |one| one.map(drop).map_err(|error| place.failure("follow snapshots", &error)));
        Ok(Some(told.boxed()))
    }

    async fn blocks(&self, hashes: &[Hash]) -> Result<Vec<Block>, StoreError> {
        let mut blocks = Vec::with_capacity(hashes.len());
        for hashes in hashes.chunks(BLOCKS_AT_ONCE) {
            let found = self.ask("read blocks", self.find_blocks(hashes)).await?;
            for hash in hashes {
                let checked = rules::check_block(&self.place.location, *hash, found.get(hash))?;
                blocks.push(checked.clone());
            }
        }
        Ok(blocks)
    }

    async fn put_catalog(&self, items: &[Item], users: &[User]) -> Result<(), StoreError> {
        self.ask("store the catalogue", catalog::put(&self.database, &mut None, items, users)).await
    }

    async fn set_item(&self, item: &Item) -> Result<(), StoreError> {
        self.ask("store an item", catalog::set(&self.database, "items", item)).await
    }

    async fn set_user(&self, user: &User) -> Result<(), StoreError> {
        self.ask("store a user", catalog::set(&self.database, "users", user)).await
    }

    async fn catalog_version(&self) -> Result<u64, StoreError> {
        self.ask("read the catalogue's version", catalog::version(&self.database)).await
    }

    async fn catalog(&self) -> Result<Catalog, StoreError> {
        self.ask("read the catalogue", async {
            // First, so that what changes meanwhile is noticed by the next look at the version.
            let version = catalog::version(&self.database).await?;
            let (items, users) =
                (catalog::all(&self.database, "items").await?, catalog::all(&self.database, "users").await?);
            Ok(Catalog { version, items, users })
        })
        .await
    }
}
