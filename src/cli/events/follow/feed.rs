//! New rows of the store, in order, from any place on.
//!
//! Events are read by seq up to where the store stands, and from there on as its change stream tells of them; a stream that
//! was opened before the reading ended has everything behind it. A store without change streams is asked again and again.
//! Dead letters have no seq: between two looks at the durable offsets lie exactly those that are new.

use std::time::Duration;

use super::resume::At;
use crate::cli::events::columns::Row;
use crate::cli::events::source::{Events, LETTERS, Source};
use crate::consume::{Offsets, Position};
use crate::store::{Changes, DeadLetter, DeadLetterFilter, EventFilter, LearnedEvent, Store, StoreError};

/// Pause between two looks at a store that does not tell of changes.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What is followed.
pub(super) trait Feed {
    type Row: Row;

    /// The rows behind those of the last call, at most `most`; none from time to time. Not to be called again after it was
    /// cancelled, unless [`Feed::reset`] comes first.
    async fn next(&mut self, most: usize) -> Result<Vec<Self::Row>, StoreError>;

    /// Where it goes on after the rows that were returned.
    fn at(&self) -> At;

    /// Begins again from there, after a failure.
    fn reset(&mut self);
}

pub(super) struct EventFeed<'s> {
    store: &'s dyn Store,
    filter: EventFilter,
    /// The last place that has been looked at.
    seq: u64,
    /// Where the change stream goes on, if it has told of `seq`.
    token: Option<serde_json::Value>,
    state: State<'s>,
    /// Whether the last change stream was given up.
    gave_up: bool,
}

enum State<'s> {
    Closed,
    /// Reads what is there; then the change stream, if there is one, tells the rest.
    Reading {
        events: Events<'s>,
        changes: Option<Box<dyn Changes>>,
    },
    /// What stands up to `read` has been read.
    Live {
        changes: Box<dyn Changes>,
        read: u64,
    },
}

impl<'s> EventFeed<'s> {
    pub(super) fn new(store: &'s dyn Store, filter: EventFilter, seq: u64, token: Option<serde_json::Value>) -> Self {
        Self { store, filter, seq, token, state: State::Closed, gave_up: false }
    }

    async fn open(&mut self) -> Result<State<'s>, StoreError> {
        if let Some(token) = &self.token {
            match self.store.changes(&self.filter, Some(token)).await {
                Ok(Some(changes)) => return Ok(State::Live { changes, read: self.seq }),
                Ok(None) => {}
                Err(error @ StoreError::Unavailable { .. }) => return Err(error),
                Err(error) => self.lost(&error),
            }
        }
        // Before the look at the store, so that nothing falls in between.
        let changes = self.store.changes(&self.filter, None).await?;
        Ok(State::Reading { events: self.up_to_now().await?, changes })
    }

    async fn up_to_now(&self) -> Result<Events<'s>, StoreError> {
        let state = self.store.state().await?;
        let filter = EventFilter { seqs: self.seq + 1..=u64::MAX, ..self.filter.clone() };
        Ok(Events::new(self.store, &state, filter))
    }

    fn lost(&mut self, error: &StoreError) {
        let seq = self.seq;
        tracing::warn!(%error, seq, "the change stream cannot be resumed; reading on by seq instead, nothing is left out");
        self.token = None;
        self.state = State::Closed;
    }

    async fn live(
        &mut self,
        mut changes: Box<dyn Changes>,
        read: u64,
        most: usize,
    ) -> Result<Vec<LearnedEvent>, StoreError> {
        let mut rows = match changes.next().await {
            Ok(rows) => rows,
            Err(error @ StoreError::Unavailable { .. }) => return Err(error),
            Err(error) if self.gave_up => return Err(error),
            Err(error) => {
                self.gave_up = true;
                self.lost(&error);
                return Ok(Vec::new());
            }
        };
        self.gave_up = false;
        rows.retain(|row| row.seq > read);
        let cut = rows.len() > most;
        rows.truncate(most);
        self.seq = rows.last().map_or(self.seq, |last| self.seq.max(last.seq));
        if cut {
            // The stream is ahead of what is returned.
            self.token = None;
        } else {
            self.token = changes.token();
            self.state = State::Live { changes, read };
        }
        Ok(rows)
    }
}

impl Feed for EventFeed<'_> {
    type Row = LearnedEvent;

    async fn next(&mut self, most: usize) -> Result<Vec<LearnedEvent>, StoreError> {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Closed => self.state = self.open().await?,
            State::Live { changes, read } => return self.live(changes, read, most).await,
            State::Reading { mut events, changes } if !events.is_done() => {
                let rows = events.next(most).await?;
                self.seq = self.seq.max(events.at());
                self.token = None;
                self.state = State::Reading { events, changes };
                return Ok(rows);
            }
            State::Reading { changes: Some(changes), .. } => self.state = State::Live { changes, read: self.seq },
            State::Reading { changes: None, .. } => {
                tokio::time::sleep(LOOK_EVERY).await;
                self.state = State::Reading { events: self.up_to_now().await?, changes: None };
            }
        }
        Ok(Vec::new())
    }

    fn at(&self) -> At {
        At::Seq { seq: self.seq, token: self.token.clone() }
    }

    fn reset(&mut self) {
        self.state = State::Closed;
    }
}

pub(super) struct LetterFeed<'s> {
    store: &'s dyn Store,
    filter: DeadLetterFilter,
    at: Offsets,
    /// Where the store stood at the last look.
    durable: Offsets,
}

impl<'s> LetterFeed<'s> {
    pub(super) fn new(store: &'s dyn Store, filter: DeadLetterFilter, at: Offsets) -> Self {
        Self { store, filter, at, durable: Offsets::default() }
    }

    /// A partition that has moved on: its topic and number, where it stood, and where it stands.
    fn behind(&self) -> Option<(Position, i64)> {
        self.durable.iter().find_map(|(topic, partition, next)| {
            let from = self.at.get(topic, partition).unwrap_or(0);
            (from < next).then(|| (Position { topic: topic.clone(), partition, offset: from }, next))
        })
    }
}

impl Feed for LetterFeed<'_> {
    type Row = DeadLetter;

    async fn next(&mut self, most: usize) -> Result<Vec<DeadLetter>, StoreError> {
        let Some((from, next)) = self.behind() else {
            self.durable = self.store.state().await?.progress.offsets;
            if self.behind().is_none() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            return Ok(Vec::new());
        };
        let most = most.min(LETTERS);
        let before = Some(Position { offset: next, ..from.clone() });
        let wanted = DeadLetterFilter { before, ..self.filter.clone() };
        let after = Position { offset: from.offset - 1, ..from.clone() };
        let rows = self.store.dead_letters(&wanted, Some(&after), most).await?;
        let at = rows.last().filter(|_| rows.len() == most).map_or(next, |last| last.position.offset + 1);
        self.at.set(from.topic, from.partition, at);
        Ok(rows)
    }

    fn at(&self) -> At {
        At::Offsets(self.at.clone())
    }

    fn reset(&mut self) {}
}
