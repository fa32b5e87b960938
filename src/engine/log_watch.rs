//! Beside the reading, once a second: how far behind it is, and whether the log answers at all.
//!
//! A log that does not answer is no reason to stop: the reading waits for its return, and what is told here is for people.

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::time::timeout;

use crate::capture::LogError;
use crate::consume::lag::{self, LagChange, LagState, LagWatch};
use crate::consume::{Consumer, Offsets, PartitionLag};
use crate::serve::Status;
use crate::serve::status::Part;
use crate::telemetry::now_ms;

/// Looks without an answer, one after the other, that are a trouble: one slow answer is none.
const UNANSWERED: u32 = 3;

/// Where reading stands in each partition, and where its log ends; or why that cannot be told.
type Answer = Result<Vec<PartitionLag>, String>;

pub(super) struct LogWatch {
    pub(super) lag: LagWatch,
    /// The question that is under way: the reading goes on while the log is slow to answer it.
    asked: Option<BoxFuture<'static, Answer>>,
    unanswered: u32,
    status: Arc<Status>,
}

impl LogWatch {
    pub(super) fn new(status: Arc<Status>) -> Self {
        Self { lag: LagWatch::default(), asked: None, unanswered: 0, status }
    }

    /// Asks the log for its ends.
    pub(super) fn ask(&mut self, consumer: &dyn Consumer) {
        let asking = timeout(lag::EVERY, consumer.lag());
        self.asked.get_or_insert_with(|| Box::pin(async { told(asking.await) }));
    }

    /// Waits for the answer; for ever if nothing was asked. Safe to cancel.
    pub(super) async fn answer(&mut self) -> Answer {
        let Some(asked) = &mut self.asked else { return std::future::pending().await };
        let answer = asked.await;
        self.asked = None;
        answer
    }

    /// Notes the lag, and what is wrong with the log: what the question found, and what the reading did.
    pub(super) fn note(&mut self, answer: Answer, durable: &Offsets, reading: Option<String>) {
        let store_works = !self.status.troubles().iter().any(|trouble| trouble.part == Part::Store);
        if let Ok(assigned) = &answer {
            self.lag.look(now_ms(), assigned, durable, store_works);
        }
        self.note_trouble(answer.err(), reading);
        let (lags, changes) = self.lag.judge(now_ms());
        changes.iter().for_each(tell);
        self.status.lag.store(Arc::new(lags));
    }

    fn note_trouble(&mut self, found: Option<String>, reading: Option<String>) {
        self.unanswered = if found.is_some() { self.unanswered.saturating_add(1) } else { 0 };
        let lasting = found.filter(|_| self.unanswered >= UNANSWERED);
        // What the reading has found it has told.
        let told = reading.is_some();
        if let Some(reason) = reading.or(lasting) {
            if self.status.begin_trouble(Part::Log, reason.clone()) && !told {
                tracing::warn!(%reason, "the log fails; answers go on, and reading does when it works again");
            }
        } else if self.unanswered == 0 && self.status.end_trouble(Part::Log).is_some() {
            tracing::info!("the log works again");
        }
    }
}

fn told(asked: Result<Result<Vec<PartitionLag>, LogError>, tokio::time::error::Elapsed>) -> Answer {
    match asked {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err("the log does not answer when it is asked for its ends".to_owned()),
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
