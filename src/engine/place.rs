//! The engine's place in the consumer group: it is the store's, under the store's name.
//!
//! Apart from the reading, because it outlives a consumer. Kafka takes a place away from whoever it believes to be a
//! double: another engine on the same store, or this one, when a broker that died has forgotten what it told this engine
//! last. Which of the two it is the store says, by its epoch: a place that is still ours is taken again.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{EngineError, patience};
use crate::capture::LogError;
use crate::config::Config;
use crate::consume::{self, Consumer, Offsets};
use crate::serve::Status;
use crate::serve::status::Part;
use crate::store::{Store, StoreError};

/// How often within [`WITHIN`] a place is taken again: far more often than brokers die, each death costing it once. Two
/// engines of one name on two stores (given by hand, or with a copied store) would take it from each other for ever.
const MOST: usize = 20;
const WITHIN: Duration = Duration::from_mins(1);

/// Pause before a log that cannot be reached is tried again.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Place {
    config: Config,
    store: Arc<dyn Store>,
    status: Arc<Status>,
    epoch: u64,
    member: String,
    taken_again: Vec<Instant>,
}

impl Place {
    pub(super) fn new(config: &Config, store: Arc<dyn Store>, status: Arc<Status>, epoch: u64, store_id: &str) -> Self {
        let member = format!("freshet-{store_id}");
        Self { config: config.clone(), store, status, epoch, member, taken_again: Vec::new() }
    }

    /// Opens the log at these offsets.
    pub(super) async fn take(&self, start: Offsets) -> Result<Box<dyn Consumer>, LogError> {
        consume::open(&self.config, start, &self.member).await
    }

    /// Opens the log once more after the place was lost, however long the log cannot be reached.
    ///
    /// # Errors
    /// [`StoreError::Superseded`] if another engine has the store, `lost` if the place is lost again and again.
    pub(super) async fn take_again(
        &mut self,
        start: Offsets,
        lost: LogError,
    ) -> Result<Box<dyn Consumer>, EngineError> {
        let state = patience::until_done(&self.status, || self.store.state()).await?;
        if state.epoch != self.epoch {
            let location = self.store.location();
            return Err(StoreError::Superseded { location, ours: self.epoch, current: state.epoch }.into());
        }
        let now = Instant::now();
        self.taken_again.retain(|then| now - *then < WITHIN);
        if self.taken_again.len() >= MOST {
            return Err(lost.into());
        }
        self.taken_again.push(now);
        tracing::warn!(
            "kafka has given this engine's place in the group away, but the store is still ours; joining again"
        );
        loop {
            let taken = self.take(start.clone()).await;
            let Err(error @ LogError::Unreachable { .. }) = taken else { return Ok(taken?) };
            self.status.begin_trouble(Part::Log, error.to_string());
            tokio::time::sleep(PAUSE).await;
        }
    }
}
