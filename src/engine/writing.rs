//! Writes: whole batches that become durable together, filled, then under way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument, Span};

use super::learning::{LearnedBatch, SnapshotDue};
use super::{EngineError, patience, spans};
use crate::decode::Reason;
use crate::gather::Progress;
use crate::publish::View;
use crate::serve::Status;
use crate::store::{DurableWrite, Exchanged, LearnedEvent, Next, Store, StoreError, Turn};

/// Longest that a batch waits for others to be written with. Each write syncs the disk, and on the same disk the log waits
/// for that; nobody waits for the store, since what is on the log is learned and answered from before it is here.
const COMPANY: Duration = Duration::from_millis(10);

/// A write of one batch and those that wait behind it or come soon.
pub(super) struct Open {
    pub(super) write: DurableWrite,
    /// The model after it.
    pub(super) view: Arc<View>,
    /// Whether a snapshot of that view is due.
    pub(super) snapshot: SnapshotDue,
    /// When it waits no longer for others.
    pub(super) until: Instant,
    /// Spans of its batches, held open until it is durable.
    spans: Vec<Span>,
}

/// A write that is durable.
pub(super) struct Written {
    pub(super) open: Open,
    pub(super) took: Duration,
}

/// A write that is becoming durable.
pub(super) type Writing = AbortOnDropHandle<Result<Written, StoreError>>;

impl Open {
    /// A write of one batch, all before which `progress` has.
    pub(super) fn with(first: LearnedBatch, progress: &mut Progress) -> Result<Self, EngineError> {
        let mut open = Self {
            write: DurableWrite::default(),
            view: Arc::clone(&first.view),
            snapshot: SnapshotDue::No,
            until: Instant::now() + COMPANY,
            spans: Vec::new(),
        };
        open.add(first, progress)?;
        Ok(open)
    }

    /// Adds the next batch, and moves `progress` on past it.
    pub(super) fn add(&mut self, learned: LearnedBatch, progress: &mut Progress) -> Result<(), EngineError> {
        let LearnedBatch { batch, outcomes, view, snapshot, span } = learned;
        progress.offsets.apply(&batch.offsets)?;
        progress.seq = batch.seqs().end - 1;
        progress.batch = batch.number;
        let events = (batch.first_seq..).zip(batch.events).zip(outcomes);
        self.write.events.extend(events.map(|((seq, event), outcome)| LearnedEvent {
            seq,
            batch: batch.number,
            rehearse_from: batch.rehearse_from,
            predicted: outcome.predicted,
            event,
        }));
        self.write.rejects.extend(batch.rejects);
        self.write.items.extend(batch.items);
        self.write.users.extend(batch.users);
        if batch.shares || !batch.contributions.is_empty() {
            let (batch, contributions, shares) = (batch.number, batch.contributions, batch.shares);
            self.write.exchanged.push(Exchanged { batch, contributions, shares });
        }
        self.spans.push(span);
        (self.view, self.snapshot) = (view, snapshot);
        Ok(())
    }

    /// Whether no other batch is added.
    pub(super) fn is_full(&self, write_batch: usize) -> bool {
        self.snapshot != SnapshotDue::No || self.write.events.len() >= write_batch
    }

    /// Begins to make it durable after the write before, and lets the next one do so after it.
    pub(super) fn begin(self, store: Arc<dyn Store>, epoch: u64, status: Arc<Status>, line: (Turn, Next)) -> Writing {
        let span = spans::of_write(&self.spans, self.write.events.len());
        let (turn, next) = line;
        let writing = async move {
            let started = Instant::now();
            patience::until_done(&status, || store.persist_in_turn(epoch, &self.write, &turn)).await?;
            next.go(self.write.progress.clone());
            Ok(Written { open: self, took: started.elapsed() })
        };
        AbortOnDropHandle::new(tokio::spawn(writing.instrument(span)))
    }

    /// Rejects, by reason.
    pub(super) fn rejects(&self) -> BTreeMap<Reason, u64> {
        let mut counts = BTreeMap::new();
        for reject in &self.write.rejects {
            *counts.entry(reject.reason).or_default() += 1;
        }
        counts
    }
}
