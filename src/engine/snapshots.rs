//! Takes snapshots of what is durable, one after the other, beside the writing of what comes after them.

use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt;
use tokio_util::task::AbortOnDropHandle;

use super::{EngineError, patience};
use crate::consume::Offsets;
use crate::fault::{self, Point};
use crate::publish::View;
use crate::serve::Status;
use crate::serve::status::SnapshotSummary;
use crate::store::snapshot::{Encoded, Encoder, Taken};
use crate::store::{Block, Manifest, Pruned, Retention, Store, StoreError};
use crate::telemetry::now_ms;

/// Snapshots that the status lists.
const LISTED: usize = 100;

/// What takes snapshots, and deletes those that are not kept.
pub(super) struct Keeper {
    pub(super) store: Arc<dyn Store>,
    pub(super) epoch: u64,
    pub(super) encoder: Encoder,
    pub(super) keep: Retention,
    /// `seq` of the newest snapshot.
    pub(super) last: u64,
    pub(super) status: Arc<Status>,
}

/// The keeper, at work or not.
pub(super) enum Snapshots {
    Idle(Box<Keeper>),
    Taking(AbortOnDropHandle<Result<Box<Keeper>, EngineError>>),
}

impl Snapshots {
    /// Begins to take a snapshot of the view, all of which is durable, once the one before is taken.
    pub(super) async fn begin(self, view: Arc<View>, offsets: Offsets) -> Result<Self, EngineError> {
        let mut keeper = self.end().await?;
        let taking = tokio::spawn(async move {
            keeper.take(&view, &offsets).await?;
            Ok(keeper)
        });
        Ok(Self::Taking(AbortOnDropHandle::new(taking)))
    }

    /// Waits until none is being taken.
    pub(super) async fn end(self) -> Result<Box<Keeper>, EngineError> {
        match self {
            Self::Idle(keeper) => Ok(keeper),
            Self::Taking(taking) => taking.await.unwrap_or(Err(EngineError::Panicked { stage: "durability" })),
        }
    }

    /// The same, where it is at its end already: so that a failure is not told only with the next snapshot.
    pub(super) fn look(&mut self) -> Result<(), EngineError> {
        if let Self::Taking(taking) = self
            && taking.is_finished()
            && let Some(ended) = taking.now_or_never()
        {
            *self = Self::Idle(ended.unwrap_or(Err(EngineError::Panicked { stage: "durability" }))?);
        }
        Ok(())
    }
}

impl Keeper {
    /// Takes a snapshot of the view, all of which is durable, and deletes those that are not kept any more.
    pub(super) async fn take(&mut self, view: &View, offsets: &Offsets) -> Result<(), EngineError> {
        let started = Instant::now();
        let manifest = match self.store_snapshot(view, offsets).await {
            // Somebody pruned by hand: blocks that this engine has stored before are named by no manifest yet.
            Err(StoreError::MissingBlocks { .. }) => {
                self.encoder.forget();
                self.store_snapshot(view, offsets).await?
            }
            stored => stored?,
        };
        self.last = manifest.seq;
        fault::pass(Point::Snapshotted);
        let listed = self.status.snapshots.load();
        let others = listed.iter().filter(|other| other.seq != manifest.seq).cloned();
        let newest = std::iter::once(SnapshotSummary::from(&manifest)).chain(others).take(LISTED).collect();
        self.status.snapshots.store(Arc::new(newest));
        self.prune().await;
        self.status.timings.snapshot.observe(started.elapsed());
        fault::pass(Point::Pruned);
        Ok(())
    }

    /// Stores the blocks, then the manifest.
    async fn store_snapshot(&mut self, view: &View, offsets: &Offsets) -> Result<Manifest, StoreError> {
        let taken = Taken { epoch: self.epoch, offsets: offsets.clone(), created_at_ms: now_ms() };
        let Encoded { manifest, new, blocks } = self.encoder.encode(view, taken);
        let (new_blocks, bytes) = (new.len(), new.iter().map(|block| block.bytes.len()).sum::<usize>());
        let new: Arc<[Block]> = new.into();
        patience::until_done(&self.status, || self.store.put_blocks(Arc::clone(&new))).await?;
        fault::pass(Point::BlocksStored);
        patience::until_done(&self.status, || self.store.put_manifest(self.epoch, &manifest, &blocks)).await?;
        tracing::info!(seq = manifest.seq, sha256 = %manifest.sha256, new_blocks, bytes, "took a snapshot");
        Ok(manifest)
    }

    /// Deletes what is not kept. That it cannot is no reason to stop: it costs space, and the next one tries again.
    async fn prune(&self) {
        match patience::until_done(&self.status, || self.store.prune(Some(self.epoch), self.keep, false)).await {
            Ok(pruned) => {
                let listed = self.status.snapshots.load();
                let left = listed.iter().filter(|one| pruned.kept.contains(&one.seq)).cloned().collect();
                self.status.snapshots.store(Arc::new(left));
                let Pruned { snapshots, blocks, bytes, waiting, .. } = pruned;
                if let Some(waiting) = waiting {
                    tracing::warn!("{waiting}");
                }
                tracing::debug!(?snapshots, blocks, bytes, "deleted old snapshots");
            }
            Err(error) => tracing::warn!(%error, "cannot delete old snapshots; the next snapshot tries again"),
        }
    }
}

impl From<&Manifest> for SnapshotSummary {
    fn from(manifest: &Manifest) -> Self {
        Self {
            seq: manifest.seq,
            created_at_ms: manifest.created_at_ms,
            sha256: manifest.sha256.to_string(),
            users: manifest.counts.users,
            items: manifest.counts.items,
            mae: manifest.metrics.mae,
            rmse: manifest.metrics.rmse,
        }
    }
}
