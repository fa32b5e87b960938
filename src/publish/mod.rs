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
    published: Published,
}

impl Publisher {
    /// Publishes `view` to the readers of `published` and goes on from it.
    #[must_use]
    pub fn new(published: Published, view: View) -> Self {
        let history = History::from_tables(view.history().clone());
        published.store(view);
        Self { history, published }
    }

    /// Notes who has seen what. Rehearsed events were noted when they were new.
    pub fn observe(&mut self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            self.history.observe(outcome);
        }
    }

    /// Swaps in what has been learned and observed up to `version`.
    pub fn publish(&mut self, learned: LearnedState, version: Version) -> Arc<View> {
        let history: HistoryTables = self.history.publish();
        self.published.store(View::new(version, learned, history))
    }
}

#[cfg(test)]
mod tests;
