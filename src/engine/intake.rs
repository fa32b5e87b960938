//! First stage of the engine: reads the log, decodes, gathers, and commits what has become durable.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::EngineError;
use crate::config::DecodeConfig;
use crate::consume::lag::{self, LagChange, LagState, LagWatch};
use crate::consume::{Consumer, RawEvent};
use crate::decode;
use crate::gather::{Gatherer, MicroBatch, Progress};
use crate::serve::Status;
use crate::serve::status::Part;
use crate::telemetry::now_ms;

/// Records asked for at once: enough to keep the learner busy, few enough that a stop is quick.
const POLL_MAX: usize = 1024;

pub(super) struct Intake {
    pub(super) consumer: Box<dyn Consumer>,
    pub(super) gatherer: Gatherer,
    pub(super) decode: DecodeConfig,
    pub(super) batches: mpsc::Sender<MicroBatch>,
    /// What is durable, and so may be committed.
    pub(super) committable: watch::Receiver<Progress>,
    pub(super) lag: LagWatch,
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
        let mut look = interval(lag::EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
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
                _ = look.tick() => self.look_at_lag().await,
                records = self.consumer.poll(POLL_MAX) => self.take_in(records?).await,
            }
        }
    }

    /// Notes the lag. A log that does not say it now is no reason to stop: reading waits for its return.
    async fn look_at_lag(&mut self) {
        let store_works = !self.status.troubles().iter().any(|trouble| trouble.part == Part::Store);
        match timeout(lag::EVERY, self.consumer.lag()).await {
            Ok(Ok(assigned)) => {
                self.lag.look(now_ms(), &assigned, &self.committable.borrow().offsets, store_works);
            }
            Ok(Err(error)) => tracing::debug!(%error, "cannot tell the lag"),
            Err(_) => tracing::debug!("the log does not answer for its ends"),
        }
        let (lags, changes) = self.lag.judge(now_ms());
        changes.iter().for_each(tell);
        self.status.lag.store(Arc::new(lags));
    }

    async fn take_in(&mut self, records: Vec<RawEvent>) {
        let now = Instant::now();
        self.lag.note_read(&records);
        for record in records {
            let batch = self.gatherer.push(now, decode::decode(record, &self.decode));
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

fn tell(change: &LagChange) {
    let LagChange { lag, before } = change;
    let (topic, partition, messages, seconds) = (&lag.topic, lag.partition, lag.messages, lag.seconds);
    if lag.state == LagState::Ok {
        tracing::info!(%topic, partition, messages, seconds, ?before, "the lag is ok again");
    } else {
        tracing::warn!(%topic, partition, messages, seconds, ?before, now = ?lag.state, "the lag has another state");
    }
}
