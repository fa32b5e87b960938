//! Beside the reading, once a second: how far behind it is, and whether the log answers at all.
//!
//! A log that does not answer is no reason to stop: the reading waits for its return, and what is told here is for people.

use std::sync::Arc;

use tokio::time::timeout;

use crate::consume::lag::{self, LagChange, LagState, LagWatch};
use crate::consume::{Consumer, Offsets};
use crate::serve::Status;
use crate::serve::status::Part;
use crate::telemetry::now_ms;

/// Looks without an answer, one after the other, that are a trouble: one slow answer is none.
const UNANSWERED: u32 = 3;

pub(super) struct LogWatch {
    pub(super) lag: LagWatch,
    unanswered: u32,
    status: Arc<Status>,
}

impl LogWatch {
    pub(super) fn new(status: Arc<Status>) -> Self {
        Self { lag: LagWatch::default(), unanswered: 0, status }
    }

    /// Asks the log for its ends, and notes the lag behind them.
    pub(super) async fn look(&mut self, consumer: &mut dyn Consumer, durable: &Offsets) {
        let store_works = !self.status.troubles().iter().any(|trouble| trouble.part == Part::Store);
        let reason = match timeout(lag::EVERY, consumer.lag()).await {
            Ok(Ok(assigned)) => {
                self.lag.look(now_ms(), &assigned, durable, store_works);
                None
            }
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("the log does not answer when it is asked for its ends".to_owned()),
        };
        self.note(reason, consumer.trouble());
        let (lags, changes) = self.lag.judge(now_ms());
        changes.iter().for_each(tell);
        self.status.lag.store(Arc::new(lags));
    }

    /// Notes what is wrong with the log: what this look found, and what the reading did.
    fn note(&mut self, found: Option<String>, reading: Option<String>) {
        self.unanswered = if found.is_some() { self.unanswered.saturating_add(1) } else { 0 };
        let lasting = found.filter(|_| self.unanswered >= UNANSWERED);
        if let Some(reason) = reading.or(lasting) {
            if self.status.begin_trouble(Part::Log, reason.clone()) {
                tracing::warn!(%reason, "the log fails; answers go on, and reading does when it works again");
            }
        } else if self.unanswered == 0 && self.status.end_trouble(Part::Log).is_some() {
            tracing::info!("the log works again");
        }
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
