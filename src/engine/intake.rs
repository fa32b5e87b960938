//! First stage of the engine: reads the log, decodes, gathers, and commits what has become durable.
//!
//! A full queue to the next stage holds the reading back: first it only waits, then it pauses the partitions and goes on
//! polling, so that the engine stays a member of its group however long the store is away.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::EngineError;
use super::log_watch::LogWatch;
use super::place::Place;
use super::spans::Gathered;
use crate::capture::LogError;
use crate::config::EngineConfig;
use crate::consume::lag;
use crate::consume::{Consumer, Offsets, Polled, RawEvent};
use crate::decode::{Contributions, Decoder};
use crate::fault::{self, Point};
use crate::gather::{Gatherer, MicroBatch, Progress};

/// Records asked for at once: enough to keep the learner busy, few enough that a stop is quick.
const POLL_MAX: usize = 1024;

/// How long a full queue is waited for before the partitions are paused. Short of any group's patience; long enough that
/// a queue which is merely busy does not cost what was fetched ahead.
const PAUSE_AFTER: Duration = Duration::from_secs(2);

/// Longest that partitions which are wanted back are kept for what they brought to become durable. What is not by then is
/// read again from the store's offsets, by whoever has the store.
const GIVE_BACK_WITHIN: Duration = Duration::from_secs(20);

pub(super) struct Intake {
    pub(super) consumer: Box<dyn Consumer>,
    pub(super) place: Place,
    pub(super) gatherer: Gatherer,
    pub(super) decoder: Decoder,
    /// Batches that the queue to the next stage has no room for.
    pub(super) waiting: Waiting,
    pub(super) batches: mpsc::Sender<Gathered>,
    /// What is durable, and so may be committed.
    pub(super) committable: watch::Receiver<Progress>,
    /// What other trainers tell; none where there are no others.
    pub(super) shared: Option<Shared>,
    pub(super) log: LogWatch,
}

/// What other trainers have added to items, as it arrives, and when what this one has is to be worked out.
pub(super) struct Shared {
    contributions: mpsc::Receiver<Contributions>,
    due: Interval,
    /// Events after which they are due sooner.
    most: u64,
}

impl Shared {
    pub(super) fn new(contributions: mpsc::Receiver<Contributions>, config: &EngineConfig) -> Self {
        let mut due = interval(config.share_every);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { contributions, due, most: config.share_events }
    }

    /// What comes next: contributions, or none when the own ones are due. Safe to cancel.
    async fn next(shared: &mut Option<Self>) -> Option<Contributions> {
        let Some(Self { contributions, due, .. }) = shared else { return std::future::pending().await };
        tokio::select! {
            biased;
            _ = due.tick() => None,
            Some(told) = contributions.recv() => Some(told),
        }
    }
}

/// Batches that wait for room, in order: what one poll brought, at most.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    batches: VecDeque<Gathered>,
    since: Option<Instant>,
    paused: bool,
}

impl Intake {
    pub(super) async fn run(mut self, stop: CancellationToken) -> Result<(), EngineError> {
        let read = self.read(&stop).await;
        if read.is_ok() {
            let last = self.gatherer.flush(Instant::now());
            self.keep(last);
            self.share();
            self.hand_on_all().await;
        }
        let drained = self.drain().await;
        read?;
        drained
    }

    /// Reads until the stop; the end of any other stage is one.
    async fn read(&mut self, stop: &CancellationToken) -> Result<(), EngineError> {
        let queue = self.batches.clone();
        let mut look = interval(lag::EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let waits = !self.waiting.batches.is_empty();
            let due = self.gatherer.deadline().filter(|_| !waits);
            let pause_at = self.waiting.since.map(|since| since + PAUSE_AFTER).filter(|_| !self.waiting.paused);
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                room = queue.reserve(), if waits => {
                    // A closed queue means that the next stage has failed: its error is the cause, and halts this stage.
                    let Ok(room) = room else { return Ok(()) };
                    room.send(self.waiting.batches.pop_front().expect("the branch is enabled while one waits"));
                    self.waiting.since = Some(Instant::now()).filter(|_| !self.waiting.batches.is_empty());
                    self.resume()?;
                }
                () = at(pause_at), if pause_at.is_some() => self.pause()?,
                () = at(due), if due.is_some() => {
                    let batch = self.gatherer.close_due(Instant::now());
                    self.keep(batch);
                }
                Ok(()) = self.committable.changed() => self.commit().await,
                told = Shared::next(&mut self.shared), if !waits => match told {
                    Some(told) => self.gatherer.take_in(Instant::now(), told),
                    None => self.share(),
                },
                _ = look.tick() => self.log.ask(&*self.consumer),
                answer = self.log.answer() => {
                    self.log.note(answer, &self.committable.borrow().offsets, self.consumer.trouble());
                }
                polled = self.consumer.poll(POLL_MAX), if !waits || self.waiting.paused => tokio::select! {
                    biased;
                    heeded = self.heed(polled) => heeded?,
                    () = stop.cancelled() => return Ok(()),
                },
            }
        }
    }

    /// Does what a poll asks for.
    async fn heed(&mut self, polled: Result<Polled, LogError>) -> Result<(), EngineError> {
        match polled {
            Ok(Polled::Records(records)) => self.take_in(records),
            Ok(Polled::WantedBack) => self.give_back().await?,
            Err(lost @ LogError::Superseded { .. }) => self.join_again(lost).await?,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn take_in(&mut self, records: Vec<RawEvent>) {
        let now = Instant::now();
        self.log.lag.note_read(&records);
        for record in records {
            let decoded = self.decoder.decode(&record);
            let batch = self.gatherer.push(now, record, decoded);
            self.keep(batch);
            if self.shared.as_ref().is_some_and(|shared| self.gatherer.unshared() >= shared.most) {
                self.share();
            }
        }
    }

    /// Has what was learned of items since the last time be worked out, if any was.
    fn share(&mut self) {
        if self.shared.is_some() && self.gatherer.unshared() > 0 {
            let batch = self.gatherer.close_and_share(Instant::now());
            self.keep(Some(batch));
        }
    }

    /// Has a batch wait for room in the queue to the next stage.
    fn keep(&mut self, batch: Option<MicroBatch>) {
        if let Some(batch) = batch {
            fault::pass(Point::Gathered);
            self.waiting.since.get_or_insert_with(Instant::now);
            self.waiting.batches.push_back(batch.into());
        }
    }

    /// Hands on what waits, however long there is no room for it. Safe to cancel: what was not handed on still waits.
    async fn hand_on_all(&mut self) {
        while !self.waiting.batches.is_empty() {
            let Ok(room) = self.batches.reserve().await else { return };
            room.send(self.waiting.batches.pop_front().expect("it was looked at just now"));
        }
        self.waiting.since = None;
    }

    fn pause(&mut self) -> Result<(), EngineError> {
        tracing::debug!("the next stage takes nothing; the partitions are paused");
        self.waiting.paused = true;
        Ok(self.consumer.pause(true)?)
    }

    /// Lets the partitions bring records again, once nothing waits.
    fn resume(&mut self) -> Result<(), EngineError> {
        if self.waiting.paused && self.waiting.batches.is_empty() {
            self.waiting.paused = false;
            self.consumer.pause(false)?;
        }
        Ok(())
    }

    /// Makes durable what was read, commits it, and gives back the partitions that the group wants.
    async fn give_back(&mut self) -> Result<(), EngineError> {
        let last = self.gatherer.flush(Instant::now());
        self.keep(last);
        if timeout(GIVE_BACK_WITHIN, self.make_durable()).await.is_err() {
            tracing::warn!(
                "partitions are given back before all of their events are durable: the store does not answer"
            );
        }
        let durable = self.durable();
        self.consumer.give_back(&durable).await?;
        self.resume()
    }

    /// Goes on with another consumer where this one was.
    async fn join_again(&mut self, lost: LogError) -> Result<(), EngineError> {
        let consumer = self.place.take_again(self.gatherer.offsets().clone(), lost).await?;
        // Not waited for: a client that was fenced while it gave partitions back may wait for the group for ever.
        let lost = std::mem::replace(&mut self.consumer, consumer);
        tokio::spawn(lost.close());
        if self.waiting.paused {
            self.consumer.pause(true)?;
        }
        Ok(())
    }

    async fn make_durable(&mut self) {
        self.hand_on_all().await;
        let read = self.gatherer.offsets().clone();
        let is_durable = |durable: &Progress| durable.offsets.cover(&read);
        // The end of the stage that says so is told by its own error.
        let _ = self.committable.wait_for(is_durable).await;
    }

    fn durable(&mut self) -> Offsets {
        self.committable.borrow_and_update().offsets.clone()
    }

    /// Tells the log what is durable. It serves lag tools, and the store's offsets are the truth: so a log that does not
    /// take it now is told again with the next.
    async fn commit(&mut self) {
        let durable = self.durable();
        match self.consumer.commit(&durable).await {
            Ok(()) => fault::pass(Point::Committed),
            Err(error) => tracing::debug!(%error, "cannot commit offsets"),
        }
    }

    /// Closes the channel to the next stage, commits until everything handed on is durable, and ends the reading.
    async fn drain(mut self) -> Result<(), EngineError> {
        drop(self.batches);
        while self.committable.changed().await.is_ok() {}
        let durable = self.committable.borrow().offsets.clone();
        if let Err(error) = self.consumer.commit(&durable).await {
            tracing::warn!(%error, "the last offsets are not committed; the store has them");
        }
        self.consumer.close().await;
        Ok(())
    }
}

/// Waits until then.
async fn at(instant: Option<Instant>) {
    sleep_until(instant.expect("the branch is enabled with an instant")).await;
}
