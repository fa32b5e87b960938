//! Publishes the model to readers: an immutable view behind an atomic swap.
//!
//! In: what a learner has learned, and the events it learned from. Out: a [`View`] that answers top-N queries.
//! Guarantees: a reader never locks and never waits, sees one moment of the stream and no mixture of two, and publishing
//! costs what changed and not the size of the model.

mod because;
mod diversity;
mod estimate;
mod fold;
pub mod history;
pub mod map;
mod query;
mod readers;
mod search;
mod similar;
mod standing;
mod topn;
pub mod view;

use std::sync::Arc;

use crate::learn::away::{Away, UserRows};
use crate::learn::tables::Frozen;
use crate::learn::{LearnedState, Outcome};

pub use because::Because;
pub use diversity::diversified;
pub use estimate::Estimate;
pub use fold::Together;
use history::{History, HistoryTables};
pub use query::Query;
pub use readers::Readers;
pub use search::{Search, SearchFigures};
pub use similar::Representative;
pub use standing::Standing;
pub use topn::{Best, Scored, top_n};
pub(crate) use view::Addition;
pub use view::{Recommendation, Version, View};

/// Readers' handle on the newest view.
pub type Published = Arc<Readers>;

/// Keeps what the view needs besides the model, and swaps views.
#[derive(Debug)]
pub struct Publisher {
    history: History,
    away: Away<Frozen>,
    published: Published,
}

impl Publisher {
    /// Publishes `view` to the readers of `published` and goes on from it.
    #[must_use]
    pub fn new(published: Published, view: View) -> Self {
        let history = History::from_tables(view.history().clone());
        let away = view.away().clone();
        published.store(view);
        Self { history, away, published }
    }

    /// Notes who has seen what. Rehearsed events were noted when they were new.
    pub fn observe(&mut self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            self.history.observe(outcome);
        }
    }

    /// The table of users' rows that may be away, with its name.
    pub fn user_rows(&mut self) -> (String, &mut dyn UserRows) {
        (history::SEEN.to_owned(), self.history.user_rows())
    }

    /// Notes which users' rows the next views do without.
    pub fn do_without(&mut self, away: Away<Frozen>) {
        self.away = away;
    }

    /// Readers' handle on the newest view.
    #[must_use]
    pub fn published(&self) -> &Published {
        &self.published
    }

    /// Swaps in what has been learned and observed up to `version`.
    pub fn publish(&mut self, learned: LearnedState, version: Version) -> Arc<View> {
        let history: HistoryTables = self.history.publish();
        self.published.store(View::new(version, learned, history).without_rows(self.away.clone()))
    }
}

#[cfg(test)]
mod tests;
