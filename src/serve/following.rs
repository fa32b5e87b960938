//! How a server stands to the trainer whose model it answers from, for people, balancers and answers.

use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use super::status::Status;
use crate::publish::Version;
use crate::telemetry::now_ms;

/// What a server knows of the trainer. Times are the trainer's, in milliseconds since the epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Following {
    /// Whether there is a model to answer from.
    pub has_model: bool,
    /// `seq` of the newest model that the trainer told of.
    pub newest_seq: u64,
    /// When the trainer said anything last.
    pub heard_at_ms: Option<i64>,
    /// When the trainer said last that the model that answers here is its own.
    pub current_at_ms: Option<i64>,
}

/// How far a server is behind its trainer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Behind {
    /// Events that the trainer has told of and the answering model has not learned.
    pub(super) events: u64,
    /// Milliseconds since the trainer said that the answering model is its own; none if it never did.
    pub(super) age_ms: Option<i64>,
    /// Milliseconds since the trainer said anything; none if it never did.
    heard_ms: Option<i64>,
}

impl Status {
    /// How far this server is behind; none if it is none.
    pub(super) fn behind(&self, seq: u64) -> Option<Behind> {
        let following = self.following.load();
        let Following { newest_seq, heard_at_ms, current_at_ms, .. } = **following.as_ref()?;
        let ago = |at_ms: Option<i64>| at_ms.map(|at_ms| (now_ms() - at_ms).max(0));
        let events = newest_seq.saturating_sub(seq);
        Some(Behind { events, age_ms: ago(current_at_ms), heard_ms: ago(heard_at_ms) })
    }

    /// Milliseconds since the newest model was published; on a server, since the trainer said that it is current.
    pub(super) fn age_ms(&self, newest: &Version) -> i64 {
        match self.behind(newest.seq).and_then(|behind| behind.age_ms) {
            Some(age_ms) => age_ms,
            None if newest.batch == 0 => 0,
            None => (now_ms() - newest.published_at_ms).max(0),
        }
    }

    /// Whether this is a server that has nothing to answer from yet.
    pub(super) fn has_no_model(&self) -> bool {
        self.following.load().as_ref().is_some_and(|following| !following.has_model)
    }

    /// Why a server is not ready, though it runs.
    pub(super) fn too_old(&self, newest: &Version) -> Option<String> {
        let (most, age_ms) = (self.max_staleness, self.age_ms(newest));
        let too_old = self.following.load().is_some() && !most.is_zero() && age_ms > most.as_millis() as i64;
        too_old.then(|| {
            let age = Duration::from_millis(age_ms.unsigned_abs());
            format!("the model is {age:?} old, and engine.max_staleness = {most:?}; answers go on")
        })
    }
}
