//! Takes snapshots of what is durable, one after the other, beside the writing of what comes after them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use tokio::sync::watch;
use tokio::task::JoinError;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::learning::SnapshotDue;
use super::{EngineError, patience};
use crate::consume::Offsets;
use crate::fault::{self, Point};
use crate::publish::View;
use crate::serve::Status;
use crate::serve::status::SnapshotSummary;
use crate::store::snapshot::away::{Origins, Read};
use crate::store::snapshot::{Encoded, Encoder, Taken};
use crate::store::{Block, Manifest, Pruned, Retention, Store, StoreError};
use crate::telemetry::now_ms;

/// Snapshots that the status lists.
const LISTED: usize = 100;

/// Stored blocks that are read at once since rows in them are away.
const READ_AT_ONCE: usize = 256;

/// How long a snapshot may take that nothing else feels.
const SHORT: Duration = Duration::from_secs(2);

/// Pause after each millisecond that one took longer: a tenth of the time goes to snapshots then, whatever the model's size.
const REST: Duration = Duration::from_millis(9);

/// What takes snapshots, and deletes those that are not kept.
pub(super) struct Keeper {
    pub(super) store: Arc<dyn Store>,
    pub(super) epoch: u64,
    pub(super) encoder: Encoder,
    /// Tables whose rows may be away.
    pub(super) names: BTreeSet<String>,
    /// Is told where those rows are with each snapshot.
    pub(super) origins: watch::Sender<Arc<Origins>>,
    pub(super) keep: Retention,
    /// `seq` of the newest snapshot.
    pub(super) last: u64,
    /// From when on another one is no burden.
    pub(super) rested: Instant,
    pub(super) status: Arc<Status>,
}

/// The keeper, at work or not.
pub(super) enum Snapshots {
    Idle(Box<Keeper>),
    Taking(Instant, AbortOnDropHandle<Result<Box<Keeper>, EngineError>>),
}

impl Snapshots {
    /// Whether a snapshot is taken that is due. One that takes long must not hold back what comes after it: then another is
    /// left out until the next is due. Waits for one under way as long as that is a short time.
    pub(super) async fn may_begin(&mut self, due: SnapshotDue) -> Result<bool, EngineError> {
        match due {
            SnapshotDue::No => return Ok(false),
            SnapshotDue::Now => return Ok(true),
            SnapshotDue::IfRested => {}
        }
        if let Self::Taking(began, taking) = self
            && let Ok(ended) = timeout(SHORT.saturating_sub(began.elapsed()), taking).await
        {
            *self = Self::Idle(keeper_of(ended)?);
        }
        Ok(matches!(self, Self::Idle(keeper) if keeper.rested <= Instant::now()))
    }

    /// Begins to take a snapshot of the view, all of which is durable, once the one before is taken.
    pub(super) async fn begin(self, view: Arc<View>, offsets: Offsets) -> Result<Self, EngineError> {
        let mut keeper = self.end().await?;
        let taking = tokio::spawn(async move {
            keeper.take(&view, &offsets).await?;
            Ok(keeper)
        });
        Ok(Self::Taking(Instant::now(), AbortOnDropHandle::new(taking)))
    }

    /// Waits until none is being taken.
    pub(super) async fn end(self) -> Result<Box<Keeper>, EngineError> {
        match self {
            Self::Idle(keeper) => Ok(keeper),
            Self::Taking(_, taking) => keeper_of(taking.await),
        }
    }

    /// The same, where it is at its end already: so that a failure is not told only with the next snapshot.
    pub(super) fn look(&mut self) -> Result<(), EngineError> {
        if let Self::Taking(_, taking) = self
            && taking.is_finished()
            && let Some(ended) = taking.now_or_never()
        {
            *self = Self::Idle(keeper_of(ended)?);
        }
        Ok(())
    }
}

/// The keeper, once it is at its end.
fn keeper_of(ended: Result<Result<Box<Keeper>, EngineError>, JoinError>) -> Result<Box<Keeper>, EngineError> {
    ended.unwrap_or(Err(EngineError::Panicked { stage: "durability" }))
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
        self.rested = Instant::now() + REST * started.elapsed().saturating_sub(SHORT).as_millis() as u32;
        fault::pass(Point::Pruned);
        Ok(())
    }

    /// Stores the blocks, then the manifest.
    async fn store_snapshot(&mut self, view: &View, offsets: &Offsets) -> Result<Manifest, StoreError> {
        let lacking = self.encoder.lacking(view, &self.origins.borrow());
        let (mut new_blocks, mut bytes) = (0, 0);
        for lacking in lacking.chunks(READ_AT_ONCE) {
            let read = patience::until_done(&self.status, || Read::from(&*self.store, lacking.to_vec())).await?;
            let blocks: Arc<[Block]> = self.encoder.ahead(view, lacking, &read).into();
            new_blocks += blocks.len();
            bytes += blocks.iter().map(|block| block.bytes.len()).sum::<usize>();
            patience::until_done(&self.status, || self.store.put_blocks(Arc::clone(&blocks))).await?;
        }
        let taken = Taken { epoch: self.epoch, offsets: offsets.clone(), created_at_ms: now_ms() };
        let Encoded { manifest, new, blocks } = self.encoder.encode(view, taken);
        new_blocks += new.len();
        bytes += new.iter().map(|block| block.bytes.len()).sum::<usize>();
        let new: Arc<[Block]> = new.into();
        patience::until_done(&self.status, || self.store.put_blocks(Arc::clone(&new))).await?;
        fault::pass(Point::BlocksStored);
        patience::until_done(&self.status, || self.store.put_manifest(self.epoch, &manifest, &blocks)).await?;
        if !self.names.is_empty() {
            self.origins.send_replace(Arc::new(self.encoder.origins(manifest.batch, &self.names)));
        }
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
