//! Deletes snapshots that are not kept, then blocks that none names, in transactions that see whoever stores a snapshot.
//!
//! Apart from the other writes, because nothing else deletes. What goes is chosen by the manifests as they are, and each
//! transaction deletes a part of it only if they still are so; else everything is chosen anew.

use futures::TryStreamExt;
use mongodb::Collection;
use mongodb::bson::{Bson, RawDocument, RawDocumentBuf, doc, from_slice};
use mongodb::error::Error;
use mongodb::options::Hint;
use serde::Deserialize;

use super::documents::BlockId;
use super::work::Deletion;
use super::{BLOCKS_AT_ONCE, MongoStore};
use crate::fault::{self, Point};
use crate::store::garbage::{Choice, Dead, Head};
use crate::store::{Hash, Listed, Pruned, Retention, Store, StoreError};

/// How often everything is chosen anew before the rest is left to the next prune.
const ROUNDS: usize = 20;

/// What is deleted.
struct Plan {
    /// What it comes to; blocks and bytes are those that a dry run tells.
    pruned: Pruned,
    /// Every manifest, by `_id`, and those of them that stay.
    all: Vec<RawDocumentBuf>,
    kept: Vec<RawDocumentBuf>,
    blocks: Vec<Hash>,
}

/// Size of a block.
#[derive(Deserialize)]
struct Size {
    size: i64,
}

impl MongoStore {
    pub(super) async fn prune_all(
        &self,
        epoch: Option<u64>,
        keep: Retention,
        dry_run: bool,
    ) -> Result<Pruned, StoreError> {
        let mut done = Pruned::default();
        for _ in 0..ROUNDS {
            let plan = self.plan(keep, epoch.is_some()).await?;
            done.kept.clone_from(&plan.pruned.kept);
            done.waiting.clone_from(&plan.pruned.waiting);
            if dry_run {
                let (blocks, bytes) = (plan.blocks.len() as u64, self.bytes(&plan.blocks).await?);
                return Ok(Pruned { blocks, bytes, ..plan.pruned });
            }
            if self.carry_out(epoch, plan, &mut done).await? {
                return Ok(done);
            }
        }
        done.waiting = Some("snapshots are stored at the same time; the next prune goes on".into());
        Ok(done)
    }

    /// Every manifest, by `_id`.
    pub(super) async fn raw_manifests(&self) -> Result<Vec<RawDocumentBuf>, Error> {
        let snapshots: Collection<RawDocumentBuf> = self.database.collection("snapshots");
        snapshots.find(doc! {}).sort(doc! {"_id": 1}).await?.try_collect().await
    }

    async fn plan(&self, keep: Retention, orphans: bool) -> Result<Plan, StoreError> {
        let base = self.state().await?.base;
        let all = self.ask("list snapshots", self.raw_manifests()).await?;
        let listed: Vec<Listed> = all.iter().rev().map(listed).collect();
        let choice = Choice::of(&listed, keep, base);
        let mut pruned = choice.pruned();
        let found = self.ask("read blocks", self.find_blocks(&choice.index())).await?;
        let blocks = match choice.dead(&self.place.location, &found, orphans) {
            Ok(dead) => self.ask("list blocks", self.dead_blocks(&dead)).await?,
            Err(reason) => {
                pruned.waiting = Some(reason);
                Vec::new()
            }
        };
        let kept = all.iter().filter(|manifest| choice.is_kept(seq(manifest))).cloned().collect();
        Ok(Plan { pruned, all, kept, blocks })
    }

    /// Whether all of it was deleted: not where a snapshot was stored meanwhile.
    async fn carry_out(&self, epoch: Option<u64>, plan: Plan, done: &mut Pruned) -> Result<bool, StoreError> {
        let Plan { pruned, all, kept, blocks } = plan;
        if !pruned.snapshots.is_empty() {
            let ids: Vec<_> = pruned.snapshots.iter().map(|seq| Bson::Int64(*seq as i64)).collect();
            let deletion = Deletion { supposed: &all, collection: "snapshots", ids: &ids };
            if !self.writer.delete(&self.place, epoch, deletion).await? {
                return Ok(false);
            }
            done.snapshots.extend(pruned.snapshots);
        }
        fault::pass(Point::ManifestsPruned);
        for blocks in blocks.chunks(BLOCKS_AT_ONCE) {
            let bytes = self.bytes(blocks).await?;
            let ids: Vec<_> = blocks.iter().map(|hash| Bson::String(hash.to_string())).collect();
            let deletion = Deletion { supposed: &kept, collection: "blocks", ids: &ids };
            if !self.writer.delete(&self.place, epoch, deletion).await? {
                return Ok(false);
            }
            done.blocks += blocks.len() as u64;
            done.bytes += bytes;
        }
        Ok(true)
    }

    /// Blocks that go.
    async fn dead_blocks(&self, dead: &Dead) -> Result<Vec<Hash>, Error> {
        let blocks: Collection<BlockId> = self.database.collection("blocks");
        // By the index alone.
        let by_name = Hint::Keys(doc! {"_id": 1});
        let mut stored = blocks.find(doc! {}).projection(doc! {"_id": 1}).hint(by_name).await?;
        let mut found = Vec::new();
        while let Some(BlockId { hash }) = stored.try_next().await? {
            if dead.contains(&hash) {
                found.push(hash);
            }
        }
        Ok(found)
    }

    async fn bytes(&self, blocks: &[Hash]) -> Result<u64, StoreError> {
        self.ask("read the sizes of blocks", async {
            let names: Vec<_> = blocks.iter().map(ToString::to_string).collect();
            let stored: Collection<Size> = self.database.collection("blocks");
            let found = stored.find(doc! {"_id": {"$in": names}}).projection(doc! {"_id": 0, "size": 1}).await?;
            found.try_fold(0, async |sum, Size { size }| Ok(sum + size as u64)).await
        })
        .await
    }
}

/// A snapshot as it is listed.
pub(super) fn listed(manifest: &RawDocumentBuf) -> Listed {
    let head: Head = from_slice(manifest.as_bytes()).unwrap_or_default();
    Listed::new(seq(manifest), head, from_slice(manifest.as_bytes()).map_err(|error| error.to_string()))
}

fn seq(manifest: &RawDocument) -> u64 {
    manifest.get_i64("_id").unwrap_or(0) as u64
}
