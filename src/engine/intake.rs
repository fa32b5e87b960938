//! First stage of the engine: reads the log, decodes, gathers, and commits what has become durable.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::EngineError;
use crate::config::DecodeConfig;
use crate::consume::{Consumer, RawEvent};
use crate::decode;
use crate::gather::{Gatherer, MicroBatch, Progress};
use crate::serve::Status;

/// Records asked for at once: enough to keep the learner busy, few enough that a stop is quick.
const POLL_MAX: usize = 1024;

/// How often the lag is asked for, and the longest wait for the answer.
const LAG_EVERY: Duration = Duration::from_secs(1);

pub(super) struct Intake {
    pub(super) consumer: Box<dyn Consumer>,
    pub(super) gatherer: Gatherer,
    pub(super) decode: DecodeConfig,
    pub(super) batches: mpsc::Sender<MicroBatch>,
    /// What is durable, and so may be committed.
    pub(super) committable: watch::Receiver<Progress>,
    pub(super) status: Arc<Status>,
}

impl Intake {
    pub(super) async fn run(mut self, stop: CancellationToken) -> Result<(), EngineError> {
        let read = self.read(&stop).await;
        if read.is_ok() {
            let last = self.gatherer.flush(Instant::now());
            self.hand_on(last).await;
        }
        let drained = self.drain().await;
        read?;
        drained
    }

    /// Reads until the stop; the end of any other stage is one.
    async fn read(&mut self, stop: &CancellationToken) -> Result<(), EngineError> {
        let mut lag = interval(LAG_EVERY);
        lag.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = self.gatherer.deadline();
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = async { sleep_until(due.expect("the branch is enabled with a deadline")).await }, if due.is_some() => {
                    let batch = self.gatherer.close_due(Instant::now());
                    self.hand_on(batch).await;
                }
                Ok(()) = self.committable.changed() => self.commit().await?,
                _ = lag.tick() => {
                    self.look_at_lag().await;
                    // Should the log be slow to answer, the next look must not come before any reading.
                    lag.reset();
                }
                records = self.consumer.poll(POLL_MAX) => self.take_in(records?).await,
            }
        }
    }

    /// Notes the lag. A log that does not say it now is no reason to stop: reading waits for its return.
    async fn look_at_lag(&mut self) {
        match timeout(LAG_EVERY, self.consumer.lag()).await {
            Ok(Ok(lag)) => self.status.lag.store(Arc::new(lag)),
            Ok(Err(error)) => tracing::debug!(%error, "cannot tell the lag"),
            Err(_) => tracing::debug!("the log does not answer for its ends"),
        }
    }

    async fn take_in(&mut self, records: Vec<RawEvent>) {
        let now = Instant::now();
        for record in records {
            let decoded = decode::decode(&record, &self.decode);
            let batch = self.gatherer.push(now, record, decoded);
            self.hand_on(batch).await;
        }
    }

    /// Waits while the queue to the next stage is full.
    async fn hand_on(&mut self, batch: Option<MicroBatch>) {
        if let Some(batch) = batch {
            // A closed queue means that the next stage has failed: its error is the cause, and halts this stage.
            let _ = self.batches.send(batch).await;
        }
    }

    async fn commit(&mut self) -> Result<(), EngineError> {
        let offsets = self.committable.borrow_and_update().offsets.clone();
        Ok(self.consumer.commit(&offsets).await?)
    }

    /// Closes the channel to the next stage, commits until everything handed on is durable, and leaves the group.
    async fn drain(mut self) -> Result<(), EngineError> {
        drop(self.batches);
        while self.committable.changed().await.is_ok() {}
        let offsets = self.committable.borrow().offsets.clone();
        let committed = self.consumer.commit(&offsets).await;
        self.consumer.close().await;
        Ok(committed?)
    }
}
