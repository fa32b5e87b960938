//! Third stage of the engine: makes batches durable in order, and takes snapshots of what is durable.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};
use tracing::{Instrument, Span};

use super::learning::LearnedBatch;
use super::{EngineError, patience, spans};
use crate::decode::Reason;
use crate::fault::{self, Point};
use crate::gather::Progress;
use crate::publish::View;
use crate::serve::Status;
use crate::serve::status::SnapshotSummary;
use crate::store::snapshot::{Encoded, Encoder, Taken};
use crate::store::{Block, DurableWrite, LearnedEvent, Manifest, Pruned, Retention, Store, StoreError};
use crate::telemetry::now_ms;

/// Longest that a batch waits for others to be written with. Each write syncs the disk, and on the same disk the log waits
/// for that; nobody waits for the store, since what is on the log is learned and answered from before it is here.
const COMPANY: Duration = Duration::from_millis(10);

/// Snapshots that the status lists.
const LISTED: usize = 100;

pub(super) struct Durability {
    pub(super) store: Arc<dyn Store>,
    pub(super) epoch: u64,
    /// What is durable, the open write included.
    pub(super) progress: Progress,
    pub(super) write_batch: usize,
    pub(super) encoder: Encoder,
    pub(super) keep: Retention,
    /// `seq` of the newest snapshot.
    pub(super) last_snapshot: u64,
    pub(super) durable: watch::Sender<Progress>,
    /// Is told of each durable view; none if nobody asks.
    pub(super) durable_views: Option<watch::Sender<Arc<View>>>,
    pub(super) status: Arc<Status>,
    /// Spans of the batches in the open write, held open until it is done.
    pub(super) written: Vec<Span>,
}

impl Durability {
    /// `newest` is the view that recovery has brought about; it may be ahead of every usable snapshot.
    pub(super) async fn run(
        mut self,
        mut learned: mpsc::Receiver<LearnedBatch>,
        mut newest: Arc<View>,
    ) -> Result<(), EngineError> {
        while let Some(first) = learned.recv().await {
            let (write, view, snapshot) = self.collect(first, &mut learned).await?;
            let started = Instant::now();
            let span = spans::of_write(&self.written, write.events.len());
            let persisted = patience::until_done(&self.status, || self.store.persist(self.epoch, &write));
            persisted.instrument(span).await?;
            self.written.clear();
            self.status.timings.persist.observe(started.elapsed());
            self.status.monitor.persisted(self.progress.batch, started.elapsed());
            fault::pass(Point::Persisted);
            self.status.set_durable_seq(self.progress.seq);
            self.status.count_rejects(counted(&write));
            self.status.catalog.tell(write.items, write.users).await;
            self.durable.send_replace(self.progress.clone());
            if let Some(views) = &self.durable_views {
                views.send_replace(Arc::clone(&view));
            }
            if snapshot {
                self.take_snapshot(&view).await?;
            }
            newest = view;
        }
        if newest.version().seq > self.last_snapshot {
            self.take_snapshot(&newest).await?;
        }
        Ok(())
    }

    /// One write of `first` and the batches that wait behind it or come soon, up to `write_batch` events or the next snapshot.
    async fn collect(
        &mut self,
        first: LearnedBatch,
        learned: &mut mpsc::Receiver<LearnedBatch>,
    ) -> Result<(DurableWrite, Arc<View>, bool), EngineError> {
        let mut write = DurableWrite::default();
        let (mut view, mut snapshot) = self.add(first, &mut write)?;
        let until = Instant::now() + COMPANY;
        while !snapshot && write.events.len() < self.write_batch {
            let Ok(Some(next)) = timeout_at(until, learned.recv()).await else { break };
            (view, snapshot) = self.add(next, &mut write)?;
        }
        write.progress = self.progress.clone();
        Ok((write, view, snapshot))
    }

    fn add(&mut self, learned: LearnedBatch, write: &mut DurableWrite) -> Result<(Arc<View>, bool), EngineError> {
        let LearnedBatch { batch, outcomes, view, snapshot, span } = learned;
        self.written.push(span);
        self.progress.offsets.apply(&batch.offsets)?;
        self.progress.seq = batch.seqs().end - 1;
        self.progress.batch = batch.number;
        let events = (batch.first_seq..).zip(batch.events).zip(outcomes);
        write.events.extend(events.map(|((seq, event), outcome)| LearnedEvent {
            seq,
            batch: batch.number,
            rehearse_from: batch.rehearse_from,
            predicted: outcome.predicted,
            event,
        }));
        write.rejects.extend(batch.rejects);
        write.items.extend(batch.items);
        write.users.extend(batch.users);
        Ok((view, snapshot))
    }

    /// Takes a snapshot of the view, all of which is durable, and deletes those that are not kept any more.
    async fn take_snapshot(&mut self, view: &View) -> Result<(), EngineError> {
        let started = Instant::now();
        let manifest = match self.store_snapshot(view).await {
            // Somebody pruned by hand: blocks that this engine has stored before are named by no manifest yet.
            Err(StoreError::MissingBlocks { .. }) => {
                self.encoder.forget();
                self.store_snapshot(view).await?
            }
            stored => stored?,
        };
        self.last_snapshot = manifest.seq;
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
    async fn store_snapshot(&mut self, view: &View) -> Result<Manifest, StoreError> {
        let offsets = self.progress.offsets.clone();
        let taken = Taken { epoch: self.epoch, offsets, created_at_ms: now_ms() };
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

fn counted(write: &DurableWrite) -> BTreeMap<Reason, u64> {
    let mut counts = BTreeMap::new();
    for reject in &write.rejects {
        *counts.entry(reject.reason).or_default() += 1;
    }
    counts
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
