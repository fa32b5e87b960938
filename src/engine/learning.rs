//! Second stage of the engine, on one thread: learns each batch in the one total order and publishes.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;

use super::EngineError;
use crate::consume::Offsets;
use crate::fault::{self, Point};
use crate::gather::MicroBatch;
use crate::learn::{Outcome, Recommender};
use crate::publish::{Publisher, Version, View};
use crate::serve::Status;
use crate::serve::timings::BatchTimes;
use crate::telemetry::now_ms;

pub(super) struct Learning {
    pub(super) recommender: Recommender,
    pub(super) publisher: Publisher,
    pub(super) snapshot_every: u64,
    /// Next offset of each partition, what has been learned included.
    pub(super) offsets: Offsets,
    pub(super) status: Arc<Status>,
}

/// A batch with what was learned from it.
pub(super) struct LearnedBatch {
    pub(super) batch: MicroBatch,
    pub(super) outcomes: Vec<Outcome>,
    /// The model after it.
    pub(super) view: Arc<View>,
    /// Whether a snapshot of that view is due.
    pub(super) snapshot: bool,
    /// What it took so far.
    pub(super) times: BatchTimes,
}

impl Learning {
    pub(super) fn run(
        mut self,
        mut batches: mpsc::Receiver<MicroBatch>,
        learned: &mpsc::Sender<LearnedBatch>,
    ) -> Result<(), EngineError> {
        while let Some(batch) = batches.blocking_recv() {
            let started = Instant::now();
            let outcomes = self.recommender.learn(&batch)?;
            fault::pass(Point::Learned);
            self.publisher.observe(&outcomes);
            let learn = started.elapsed();
            self.offsets.apply(&batch.offsets)?;
            let version = Version { offsets: self.offsets.clone(), ..Version::after(&batch, now_ms()) };
            let view = self.publisher.publish(self.recommender.publish(), version);
            fault::pass(Point::Published);
            let times = BatchTimes { waited: batch.waited, learn, publish: started.elapsed() - learn };
            self.status.timings.note_batch(&times, &batch.logged_ms, now_ms());
            let snapshot = self.snapshot_due(&batch);
            // The next stage has ended: its error tells why.
            if learned.blocking_send(LearnedBatch { batch, outcomes, view, snapshot, times }).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Whether the batch reaches or passes a multiple of `snapshot_every` events.
    fn snapshot_due(&self, batch: &MicroBatch) -> bool {
        let seqs = batch.seqs();
        let passed = |seq: u64| seq.checked_div(self.snapshot_every);
        passed(seqs.end - 1) > passed(seqs.start - 1)
    }
}
