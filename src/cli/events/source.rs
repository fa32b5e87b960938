//! Stored events and dead letters, page by page up to where the store stood at the start.

use super::columns::Row;
use crate::consume::{Offsets, Position};
use crate::store::{Claim, DeadLetter, DeadLetterFilter, EventFilter, LearnedEvent, Store, StoreError};

/// Events read at once.
const PAGE: usize = 4096;
/// Places in the order looked at by one query, so that each is answered soon however few events it finds.
const SPAN: u64 = 500_000;
/// Dead letters read at once: few, since each may be as large as a record on the log.
pub(super) const LETTERS: usize = 64;

/// What is exported, in order.
pub(super) trait Source {
    type Row: Row;

    /// The next rows, at most `most`: there may be none before the end.
    async fn next(&mut self, most: usize) -> Result<Vec<Self::Row>, StoreError>;

    fn is_done(&self) -> bool;

    /// How much there is to look at, if that is known, and how much of it has been looked at.
    fn total(&self) -> Option<u64>;
    fn seen(&self) -> u64;
}

/// Events that a filter lets through, of the places that its range gives.
pub(super) struct Events<'s> {
    store: &'s dyn Store,
    filter: EventFilter,
    first: u64,
    /// The place to look at next.
    next: u64,
    last: u64,
}

impl<'s> Events<'s> {
    /// Up to the last event that is durable now: what comes later is left out, so that nothing changes on the way.
    pub(super) fn new(store: &'s dyn Store, state: &Claim, filter: EventFilter) -> Self {
        let first = (*filter.seqs.start()).max(state.base + 1);
        let last = (*filter.seqs.end()).min(state.progress.seq);
        Self { store, filter, first, next: first, last }
    }

    /// The last place that has been looked at.
    pub(super) fn at(&self) -> u64 {
        self.next - 1
    }
}

impl Source for Events<'_> {
    type Row = LearnedEvent;

    async fn next(&mut self, most: usize) -> Result<Vec<LearnedEvent>, StoreError> {
        if self.is_done() {
            return Ok(Vec::new());
        }
        let most = most.min(PAGE);
        let end = self.last.min(self.next.saturating_add(SPAN - 1));
        let wanted = EventFilter { seqs: self.next..=end, ..self.filter.clone() };
        let page = self.store.events_where(&wanted, most).await?;
        self.next = match page.last() {
            Some(last) if page.len() == most => last.seq + 1,
            _ => end + 1,
        };
        Ok(page)
    }

    fn is_done(&self) -> bool {
        self.next > self.last
    }

    fn total(&self) -> Option<u64> {
        Some((self.last + 1).saturating_sub(self.first))
    }

    fn seen(&self) -> u64 {
        self.next - self.first
    }
}

/// Dead letters that a filter lets through, in the order of the log.
pub(super) struct Letters<'s> {
    store: &'s dyn Store,
    filter: DeadLetterFilter,
    /// How far on the log the store was: a letter is durable together with the offset behind it.
    durable: Offsets,
    after: Option<Position>,
    seen: u64,
    done: bool,
}

impl<'s> Letters<'s> {
    pub(super) fn new(store: &'s dyn Store, state: Claim, filter: DeadLetterFilter) -> Self {
        Self { store, filter, durable: state.progress.offsets, after: None, seen: 0, done: false }
    }
}

impl Source for Letters<'_> {
    type Row = DeadLetter;

    async fn next(&mut self, most: usize) -> Result<Vec<DeadLetter>, StoreError> {
        let most = most.min(LETTERS);
        let mut page = self.store.dead_letters(&self.filter, self.after.as_ref(), most).await?;
        self.done = page.len() < most;
        self.seen += page.len() as u64;
        if let Some(last) = page.last() {
            self.after = Some(last.position.clone());
        }
        let durable = |at: &Position| self.durable.get(&at.topic, at.partition).is_some_and(|next| at.offset < next);
        page.retain(|letter| durable(&letter.position));
        Ok(page)
    }

    fn is_done(&self) -> bool {
        self.done
    }

    fn total(&self) -> Option<u64> {
        None
    }

    fn seen(&self) -> u64 {
        self.seen
    }
}
