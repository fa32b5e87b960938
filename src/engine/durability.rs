//! Third stage of the engine: makes batches durable in order, and has snapshots taken of what is durable.
//!
//! Writes that are full are under way together, as many as the store gains from, and become durable one after the other.
//! A write that is not full waits for the one before it, and for company meanwhile.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::EngineError;
use super::learning::LearnedBatch;
use super::snapshots::{Keeper, Snapshots};
use super::writing::{Open, Writing, Written};
use crate::fault::{self, Point};
use crate::gather::Progress;
use crate::publish::View;
use crate::serve::Status;
use crate::store::{Store, Turn};

pub(super) struct Durability {
    pub(super) store: Arc<dyn Store>,
    pub(super) epoch: u64,
    /// What will be durable, the open write included.
    pub(super) progress: Progress,
    pub(super) write_batch: usize,
    pub(super) durable: watch::Sender<Progress>,
    /// Is told of each durable view.
    pub(super) durable_views: watch::Sender<Arc<View>>,
    pub(super) status: Arc<Status>,
}

/// Writes in line: those under way, and the one that is filled.
#[derive(Default)]
struct Line {
    under_way: VecDeque<Writing>,
    open: Option<Open>,
    /// Of the write to come, if one is under way before it.
    turn: Option<Turn>,
    /// No batch will come.
    ended: bool,
}

impl Durability {
    /// `newest` is the view that recovery has brought about; it may be ahead of every usable snapshot.
    pub(super) async fn run(
        mut self,
        mut learned: mpsc::Receiver<LearnedBatch>,
        mut newest: Arc<View>,
        keeper: Keeper,
    ) -> Result<(), EngineError> {
        let mut snapshots = Snapshots::Idle(Box::new(keeper));
        let mut line = Line::default();
        loop {
            let due = self.due(&line);
            if due.is_some_and(|due| due <= Instant::now()) {
                self.begin(&mut line);
                continue;
            }
            if line.ended && line.under_way.is_empty() && line.open.is_none() {
                break;
            }
            let has_room = !line.ended && line.open.as_ref().is_none_or(|open| !open.is_full(self.write_batch));
            tokio::select! {
                biased;
                written = first(&mut line.under_way), if !line.under_way.is_empty() => {
                    line.under_way.pop_front();
                    let written = written?;
                    newest = Arc::clone(&written.open.view);
                    snapshots = self.conclude(written, snapshots).await?;
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
                batch = learned.recv(), if has_room => match batch {
                    Some(batch) => self.add(&mut line, batch)?,
                    None => line.ended = true,
                },
            }
        }
        let mut keeper = snapshots.end().await?;
        if newest.version().seq > keeper.last {
            keeper.take(&newest, &self.progress.offsets).await?;
        }
        Ok(())
    }

    /// When the open write begins, unless another one is to be awaited first.
    fn due(&self, line: &Line) -> Option<Instant> {
        let open = line.open.as_ref()?;
        if open.is_full(self.write_batch) {
            return (line.under_way.len() < self.store.lanes()).then(Instant::now);
        }
        line.under_way.is_empty().then(|| if line.ended { Instant::now() } else { open.until })
    }

    fn add(&mut self, line: &mut Line, batch: LearnedBatch) -> Result<(), EngineError> {
        match &mut line.open {
            Some(open) => open.add(batch, &mut self.progress)?,
            none => *none = Some(Open::with(batch, &mut self.progress)?),
        }
        Ok(())
    }

    /// Sends the open write on its way.
    fn begin(&self, line: &mut Line) {
        let Some(mut open) = line.open.take() else { return };
        open.write.progress = self.progress.clone();
        let before = if line.under_way.is_empty() { None } else { line.turn.take() };
        let (next, turn) = Turn::behind();
        line.turn = Some(turn);
        let place = (before.unwrap_or_else(Turn::first), next);
        line.under_way.push_back(open.begin(Arc::clone(&self.store), self.epoch, Arc::clone(&self.status), place));
    }

    /// Tells of a write that is durable, as all before it are, and has the snapshot taken that is due then.
    async fn conclude(&self, written: Written, mut snapshots: Snapshots) -> Result<Snapshots, EngineError> {
        let Written { open, took } = written;
        let progress = open.write.progress.clone();
        self.status.timings.persist.observe(took);
        self.status.monitor.persisted(progress.batch, took);
        fault::pass(Point::Persisted);
        self.status.set_durable_seq(progress.seq);
        self.status.count_rejects(open.rejects());
        self.status.catalog.tell(open.write.items, open.write.users).await;
        self.durable.send_replace(progress.clone());
        self.durable_views.send_replace(Arc::clone(&open.view));
        snapshots.look()?;
        if snapshots.may_begin(open.snapshot).await? {
            snapshots = snapshots.begin(open.view, progress.offsets).await?;
        }
        Ok(snapshots)
    }
}

/// Waits for the first of the writes under way. Safe to cancel.
async fn first(under_way: &mut VecDeque<Writing>) -> Result<Written, EngineError> {
    let Some(writing) = under_way.front_mut() else { std::future::pending().await };
    let written = writing.await.map_err(|_| EngineError::Panicked { stage: "durability" })?;
    Ok(written?)
}
