//! Second stage of the engine, on one thread: learns each batch in the one total order and publishes.

use std::sync::Arc;
use std::time::Instant;

use roaring::RoaringBitmap;
use tokio::sync::mpsc;
use tracing::{Span, debug_span};

use super::EngineError;
use super::judge::Case;
use super::residency::{ASKED_AT_ONCE, Residency};
use super::spans::{self, Gathered};
use crate::consume::Offsets;
use crate::fault::{self, Point};
use crate::gather::MicroBatch;
use crate::learn::{Outcome, Recommender};
use crate::publish::{Publisher, Version, View};
use crate::serve::Status;
use crate::serve::monitor::LearnedEvents;
use crate::serve::timings::BatchTimes;
use crate::telemetry::now_ms;

pub(super) struct Learning {
    pub(super) recommender: Recommender,
    pub(super) publisher: Publisher,
    /// Which users' rows are in memory; none where all are.
    pub(super) residency: Option<Residency>,
    pub(super) snapshot_every: u64,
    /// Next offset of each partition, what has been learned included.
    pub(super) offsets: Offsets,
    pub(super) status: Arc<Status>,
    /// The view that was published last.
    pub(super) newest: Arc<View>,
    /// Events whose place in a list is to be found out.
    pub(super) cases: mpsc::Sender<Case>,
}

/// A batch with what was learned from it.
pub(super) struct LearnedBatch {
    pub(super) batch: MicroBatch,
    pub(super) outcomes: Vec<Outcome>,
    /// The model after it.
    pub(super) view: Arc<View>,
    /// Whether a snapshot of that view is due.
    pub(super) snapshot: SnapshotDue,
    /// Open until it is durable.
    pub(super) span: Span,
}

/// Whether a snapshot is due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum SnapshotDue {
    #[default]
    No,
    /// Unless the last one took long, and was a short while ago.
    IfRested,
    /// Learning waits for it.
    Now,
}

impl Learning {
    pub(super) async fn run(
        mut self,
        mut batches: mpsc::Receiver<Gathered>,
        learned: &mpsc::Sender<LearnedBatch>,
    ) -> Result<(), EngineError> {
        let published = Arc::clone(self.publisher.published());
        loop {
            let gathered = tokio::select! {
                wanted = published.wanted(), if self.residency.is_some() => {
                    self.put_back(wanted).await?;
                    continue;
                }
                gathered = batches.recv() => gathered,
            };
            let Some(Gathered { batch, span }) = gathered else { break };
            if let Some(residency) = &mut self.residency {
                residency.before(&batch, &mut self.recommender, &mut self.publisher).await?;
            }
            let learned_batch = self.learn(batch, span)?;
            // The next stage has ended: its error tells why.
            if learned.send(learned_batch).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Learns a batch and publishes the model after it.
    fn learn(&mut self, batch: MicroBatch, span: Span) -> Result<LearnedBatch, EngineError> {
        let started = Instant::now();
        let step = debug_span!(parent: &span, "learn").entered();
        let outcomes = self.recommender.learn(&batch)?;
        fault::pass(Point::Learned);
        self.publisher.observe(&outcomes);
        drop(step);
        let learned_at = Instant::now();
        let step = debug_span!(parent: &span, "publish").entered();
        if let Some(residency) = &mut self.residency {
            residency.after(&batch, &outcomes, &mut self.recommender, &mut self.publisher);
        }
        self.offsets.apply(&batch.offsets)?;
        let version = Version { offsets: self.offsets.clone(), ..Version::after(&batch, now_ms()) };
        let view = self.publisher.publish(self.recommender.publish(), version);
        drop(step);
        fault::pass(Point::Published);
        let (learn, publish) = (learned_at.duration_since(started), learned_at.elapsed());
        self.show(&batch, &outcomes, &view, BatchTimes { waited: batch.waited, learn, publish });
        spans::tell_traces(&batch, &span);
        let snapshot = self.snapshot_due(&batch);
        Ok(LearnedBatch { batch, outcomes, view, snapshot, span })
    }

    /// Puts the rows of users back whom somebody asks about, and publishes the same moment with them.
    async fn put_back(&mut self, wanted: RoaringBitmap) -> Result<(), EngineError> {
        let Some(residency) = &mut self.residency else { return Ok(()) };
        let wanted: Vec<u32> = wanted.into_iter().collect();
        for some in wanted.chunks(ASKED_AT_ONCE) {
            let some = some.iter().copied().collect();
            residency.make_room(&mut self.recommender, &mut self.publisher);
            residency.put_back(&some, &mut self.recommender, &mut self.publisher).await?;
            self.newest = self.publisher.publish(self.recommender.publish(), self.newest.version().clone());
        }
        Ok(())
    }

    /// Tells those who watch what was learned.
    fn show(&mut self, batch: &MicroBatch, outcomes: &[Outcome], after: &Arc<View>, times: BatchTimes) {
        self.status.timings.note_batch(&times, &batch.logged_ms, now_ms());
        let before = std::mem::replace(&mut self.newest, Arc::clone(after));
        self.status.monitor.learned(&LearnedEvents { batch, outcomes, before: &before, after, times });
        let before_all = |outcome: &&Outcome| outcome.positive && !before.away().is(outcome.user);
        if self.status.monitor.may_rank() {
            // The list of whoever comes first was not changed by another event of this batch. Nobody waits for the judge.
            let liked = outcomes.iter().find(before_all);
            let case = liked.map(|liked| Case { view: before, user: liked.user, item: liked.item });
            case.map(|case| self.cases.try_send(case));
        }
    }

    /// Whether the batch reaches or passes a multiple of `snapshot_every` events, or rows can only go once they are stored.
    fn snapshot_due(&mut self, batch: &MicroBatch) -> SnapshotDue {
        if self.residency.as_mut().is_some_and(|residency| residency.wants_snapshot(batch.number)) {
            return SnapshotDue::Now;
        }
        let seqs = batch.seqs();
        let passed = |seq: u64| seq.checked_div(self.snapshot_every);
        if passed(seqs.end - 1) > passed(seqs.start - 1) { SnapshotDue::IfRested } else { SnapshotDue::No }
    }
}
