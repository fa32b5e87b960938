//! Which stored events are asked for, and how a store tells of new ones by itself.
//!
//! Apart from [`super::Store`], whose methods take and hand these out.

use std::ops::RangeInclusive;

use async_trait::async_trait;

use super::{LearnedEvent, StoreError};

/// Which events are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventFilter {
    /// Only those of these places in the order.
    pub seqs: RangeInclusive<u64>,
    /// Only those of this user.
    pub user: Option<String>,
    /// Only those of this item.
    pub item: Option<String>,
    /// Only those that happened then or later, in milliseconds since the epoch.
    pub since_ms: Option<i64>,
    /// Only those that happened before, likewise.
    pub until_ms: Option<i64>,
}

impl Default for EventFilter {
    /// All of them.
    fn default() -> Self {
        Self { seqs: 0..=u64::MAX, user: None, item: None, since_ms: None, until_ms: None }
    }
}

/// New events, as a store that can do so tells of them.
#[async_trait]
pub trait Changes: Send {
    /// The events that have become durable since the last call, in the order of `seq`; waits a while for some, and returns
    /// none if there are none. Not to be called again after it was cancelled.
    ///
    /// # Errors
    /// If the store fails, or no longer knows what came after the last call.
    async fn next(&mut self) -> Result<Vec<LearnedEvent>, StoreError>;

    /// Where to go on after everything that was returned; opaque.
    fn token(&self) -> Option<serde_json::Value>;
}
