//! First stage of the engine: reads the log, decodes, gathers, and commits what has become durable.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use super::EngineError;
use crate::config::DecodeConfig;
use crate::consume::{Consumer, RawEvent};
use crate::decode;
use crate::gather::{Gatherer, MicroBatch, Progress};
use crate::serve::Status;

/// Records asked for at once: enough to keep the learner busy, few enough that a stop is quick.
const POLL_MAX: usize = 1024;

/// How often the lag is asked for.
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

/// The next stage has ended; its error tells why.
struct Ended;

impl Intake {
    pub(super) async fn run(mut self, stop: CancellationToken) -> Result<(), EngineError> {
        let read = self.read(&stop).await;
        if let Ok(Ok(())) = &read {
            let last = self.gatherer.flush(Instant::now());
            self.hand_on(last).await.ok();
        }
        let drained = self.drain().await;
        read?;
        drained
    }

    /// Reads until the stop, or until the next stage has ended.
    async fn read(&mut self, stop: &CancellationToken) -> Result<Result<(), Ended>, EngineError> {
        let mut lag = interval(LAG_EVERY);
        lag.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = self.gatherer.deadline();
            let handed_on = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(Ok(())),
                () = async { sleep_until(due.expect("the branch is enabled with a deadline")).await }, if due.is_some() => {
                    let batch = self.gatherer.close_due(Instant::now());
                    self.hand_on(batch).await
                }
                Ok(()) = self.committable.changed() => {
                    self.commit().await?;
                    Ok(())
                }
                _ = lag.tick() => {
                    self.status.lag.store(Arc::new(self.consumer.lag().await?));
                    Ok(())
                }
                records = self.consumer.poll(POLL_MAX) => self.take_in(records?).await,
            };
            if handed_on.is_err() {
                return Ok(Err(Ended));
            }
        }
    }

    async fn take_in(&mut self, records: Vec<RawEvent>) -> Result<(), Ended> {
        let now = Instant::now();
        for record in records {
            let batch = self.gatherer.push(now, decode::decode(record, &self.decode));
            self.hand_on(batch).await?;
        }
        Ok(())
    }

    async fn hand_on(&mut self, batch: Option<MicroBatch>) -> Result<(), Ended> {
        match batch {
            Some(batch) => self.batches.send(batch).await.map_err(|_| Ended),
            None => Ok(()),
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
