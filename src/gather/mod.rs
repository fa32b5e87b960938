//! Gathers events into micro-batches, and gives each accepted event its place in the one total order.
//!
//! In: decoded records in the order read. Out: [`MicroBatch`]es in order. Guarantees: every event is in exactly one batch
//! as new, a record that was read twice is taken once, an event that was sent twice under one `id` is taken once, order is
//! kept, and a batch says how far on the log it reaches.
//! Pure: time comes in as an argument.

mod ids;
mod window;

use std::ops::Range;
use std::time::Duration;

use tokio::time::Instant;

use crate::capture::{Item, User};
use crate::config::{GatherConfig, GatherMode};
use crate::consume::{Offsets, OffsetsDelta, Position, RawEvent};
use crate::decode::{Contributions, Decoded, Event, Reason, Refusal, Reject};
use crate::telemetry::trace::TraceParent;

use ids::RecentIds;
use window::Window;

/// Most records in a window: a store writes a batch in one transaction, and a catch-up must not outgrow the memory.
pub const MAX_WINDOW: usize = 50_000;

/// Events that are learned, made durable and published together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MicroBatch {
    /// Number of the batch, from 1.
    pub number: u64,
    /// `seq` of the first new event, or of the next one to come if there is none.
    pub first_seq: u64,
    /// New events, in order; event `i` has `seq` `first_seq + i`.
    pub events: Vec<Event>,
    /// Records that are no events, in the order read.
    pub rejects: Vec<Reject>,
    /// What was said of items, in the order read.
    pub items: Vec<Item>,
    /// What was said of users, in the order read.
    pub users: Vec<User>,
    /// What other trainers have added to the items that are learned together: taken in before all else.
    pub contributions: Vec<Contributions>,
    /// Whether this trainer works out after it what it has added itself.
    pub shares: bool,
    /// Earlier events that are still inside a sliding window, in order: learned once more, before the new ones.
    pub rehearsal: Vec<Event>,
    /// `seq` of the first rehearsed event; the others follow without a hole, up to `first_seq`.
    pub rehearse_from: Option<u64>,
    /// How far on the log it reaches.
    pub offsets: OffsetsDelta,
    /// The log's timestamp of each new event, in milliseconds since the epoch. Measured by, never learned from.
    pub logged_ms: Vec<i64>,
    /// The traces that new events were produced in, with their `seq`s.
    pub traces: Vec<(u64, TraceParent)>,
    /// How long its first record waited for the others.
    pub waited: Duration,
}

impl MicroBatch {
    /// The `seq`s of its new events.
    #[must_use]
    pub fn seqs(&self) -> Range<u64> {
        self.first_seq..self.first_seq + self.events.len() as u64
    }

    /// Records that it holds.
    fn records(&self) -> usize {
        self.events.len() + self.rejects.len() + self.items.len() + self.users.len()
    }

    fn is_empty(&self) -> bool {
        self.records() == 0 && self.contributions.is_empty() && !self.shares
    }
}

/// Where the engine stands in its one total order, and on the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// `seq` of the last event; 0 before the first.
    pub seq: u64,
    /// Number of the last micro-batch; 0 before the first.
    pub batch: u64,
    /// Next offset to read of each partition.
    pub offsets: Offsets,
}

/// Fills one micro-batch at a time.
#[derive(Debug)]
pub struct Gatherer {
    config: GatherConfig,
    open: MicroBatch,
    /// When the open batch closes at the latest; none while it is empty.
    deadline: Option<Instant>,
    /// Next offset of each partition, the open batch included.
    offsets: Offsets,
    window: Window,
    ids: RecentIds,
    duplicates: u64,
    /// Events since what this trainer has added to items was worked out last.
    unshared: u64,
}

impl Gatherer {
    /// Starts after what is durable. `ids` are the business ids of the last `gather.id_window` events with their `seq`s, in
    /// order.
    #[must_use]
    pub fn new(config: &GatherConfig, resume: Progress, ids: Vec<(u64, String)>) -> Self {
        let open = MicroBatch { number: resume.batch + 1, first_seq: resume.seq + 1, ..MicroBatch::default() };
        Self {
            config: config.clone(),
            open,
            deadline: None,
            offsets: resume.offsets,
            window: Window::new(config.length),
            ids: RecentIds::new(config.id_window, ids),
            duplicates: 0,
            // Of the events before the start it is not known.
            unshared: 1,
        }
    }

    /// Takes in one record with what it decodes to, and hands out the batch that it completes.
    ///
    /// A record whose offset was taken before (delivered again after a rebalance) is counted and dropped.
    pub fn push(
        &mut self,
        now: Instant,
        raw: RawEvent,
        decoded: Result<impl Into<Decoded>, Refusal>,
    ) -> Option<MicroBatch> {
        if !self.advance(&raw.position) {
            self.duplicates += 1;
            return None;
        }
        match decoded.map(Into::into).and_then(|decoded| self.unlike_before(decoded)) {
            Ok(Decoded::Event(event)) => {
                self.open.traces.extend(raw.trace.map(|trace| (self.open.seqs().end, trace)));
                self.unshared += 1;
                self.open.events.push(event);
                self.open.logged_ms.push(raw.timestamp_ms);
            }
            Ok(Decoded::Item(item)) => self.open.items.push(item),
            Ok(Decoded::User(user)) => self.open.users.push(user),
            Err(Refusal { reason, detail }) => self.open.rejects.push(Reject { raw, reason, detail }),
        }
        self.deadline.get_or_insert(now + self.longest_wait());
        let full = self.open.records() >= self.most();
        full.then(|| self.close(now))
    }

    /// Takes in what another trainer has added to items.
    pub fn take_in(&mut self, now: Instant, contributions: Contributions) {
        self.open.contributions.push(contributions);
        self.deadline.get_or_insert(now + self.longest_wait());
    }

    /// Hands out the open batch, after which this trainer works out what it has added to items.
    pub fn close_and_share(&mut self, now: Instant) -> MicroBatch {
        self.open.shares = true;
        self.unshared = 0;
        self.close(now)
    }

    /// Events since the last call of [`Gatherer::close_and_share`]; at least one before the first.
    #[must_use]
    pub fn unshared(&self) -> u64 {
        self.unshared
    }

    /// When [`Gatherer::close_due`] has something to hand out, if nothing else arrives.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The open batch, if its time is up.
    pub fn close_due(&mut self, now: Instant) -> Option<MicroBatch> {
        self.deadline.is_some_and(|deadline| deadline <= now).then(|| self.close(now))
    }

    /// The open batch, whatever its time: nothing more will come.
    pub fn flush(&mut self, now: Instant) -> Option<MicroBatch> {
        (!self.open.is_empty()).then(|| self.close(now))
    }

    /// Next offset of each partition, after everything that was taken in.
    #[must_use]
    pub fn offsets(&self) -> &Offsets {
        &self.offsets
    }

    /// Records dropped because they had been taken before.
    #[must_use]
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// What was decoded, unless it is an event with the `id` of one before it.
    fn unlike_before(&mut self, decoded: Decoded) -> Result<Decoded, Refusal> {
        let Decoded::Event(Event { id: Some(id), .. }) = &decoded else { return Ok(decoded) };
        match self.ids.take(self.open.seqs().end, id) {
            None => Ok(decoded),
            Some(first) => {
                let window = self.config.id_window;
                let detail = format!(
                    "id {id:?} is that of event {first}; it may come once in {window} events (gather.id_window)"
                );
                Err(Refusal { reason: Reason::DuplicateId, detail })
            }
        }
    }

    /// Moves the reading on to just after `position`; false if it stands there already.
    fn advance(&mut self, position: &Position) -> bool {
        let before = self.offsets.get(&position.topic, position.partition);
        if before.is_some_and(|next| position.offset < next) {
            return false;
        }
        self.open.offsets.cover(position, before);
        self.offsets.set(position.topic.clone(), position.partition, position.offset + 1);
        true
    }

    /// Records at which a batch closes before its time.
    fn most(&self) -> usize {
        match self.config.mode {
            GatherMode::Count => self.config.size,
            GatherMode::Window | GatherMode::Sliding => MAX_WINDOW,
        }
    }

    fn longest_wait(&self) -> Duration {
        match self.config.mode {
            GatherMode::Count => self.config.linger,
            GatherMode::Window => self.config.length,
            GatherMode::Sliding => self.config.slide,
        }
    }

    fn close(&mut self, now: Instant) -> MicroBatch {
        let opened = self.deadline.take().map(|deadline| deadline - self.longest_wait());
        let next =
            MicroBatch { number: self.open.number + 1, first_seq: self.open.seqs().end, ..MicroBatch::default() };
        let mut batch = std::mem::replace(&mut self.open, next);
        batch.waited = opened.map(|opened| now.saturating_duration_since(opened)).unwrap_or_default();
        // A batch without a new event rehearses nothing: its bounds could be recorded with no event.
        if self.config.mode == GatherMode::Sliding && !batch.events.is_empty() {
            (batch.rehearse_from, batch.rehearsal) = self.window.rehearse(now);
            self.window.extend(now, batch.first_seq, &batch.events);
        }
        batch
    }
}

#[cfg(test)]
mod tests;
