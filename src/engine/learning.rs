//! Second stage of the engine, on one thread: learns each batch in the one total order and publishes.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;
use tracing::{Span, debug_span};

use super::EngineError;
use super::judge::Case;
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
    pub(super) snapshot: bool,
    /// Open until it is durable.
    pub(super) span: Span,
}

impl Learning {
    pub(super) fn run(
        mut self,
        mut batches: mpsc::Receiver<Gathered>,
        learned: &mpsc::Sender<LearnedBatch>,
    ) -> Result<(), EngineError> {
        while let Some(Gathered { batch, span }) = batches.blocking_recv() {
            let started = Instant::now();
            let step = debug_span!(parent: &span, "learn").entered();
            let outcomes = self.recommender.learn(&batch)?;
            fault::pass(Point::Learned);
            self.publisher.observe(&outcomes);
            drop(step);
            let learned_at = Instant::now();
            let step = debug_span!(parent: &span, "publish").entered();
            self.offsets.apply(&batch.offsets)?;
            let version = Version { offsets: self.offsets.clone(), ..Version::after(&batch, now_ms()) };
            let view = self.publisher.publish(self.recommender.publish(), version);
            drop(step);
            fault::pass(Point::Published);
            let (learn, publish) = (learned_at.duration_since(started), learned_at.elapsed());
            self.show(&batch, &outcomes, &view, BatchTimes { waited: batch.waited, learn, publish });
            spans::tell_traces(&batch, &span);
            let snapshot = self.snapshot_due(&batch);
            // The next stage has ended: its error tells why.
            if learned.blocking_send(LearnedBatch { batch, outcomes, view, snapshot, span }).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Tells those who watch what was learned.
    fn show(&mut self, batch: &MicroBatch, outcomes: &[Outcome], after: &Arc<View>, times: BatchTimes) {
        self.status.timings.note_batch(&times, &batch.logged_ms, now_ms());
        let before = std::mem::replace(&mut self.newest, Arc::clone(after));
        self.status.monitor.learned(&LearnedEvents { batch, outcomes, before: &before, after, times });
        if self.status.monitor.may_rank() {
            // The list of whoever comes first was not changed by another event of this batch. Nobody waits for the judge.
            let liked = outcomes.iter().find(|outcome| outcome.positive);
            let case = liked.map(|liked| Case { view: before, user: liked.user, item: liked.item });
            case.map(|case| self.cases.try_send(case));
        }
    }

    /// Whether the batch reaches or passes a multiple of `snapshot_every` events.
    fn snapshot_due(&self, batch: &MicroBatch) -> bool {
        let seqs = batch.seqs();
        let passed = |seq: u64| seq.checked_div(self.snapshot_every);
        passed(seqs.end - 1) > passed(seqs.start - 1)
    }
}
