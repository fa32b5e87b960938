//! What a server says of itself: its trainer, and what keeps it from following, each told once in the log and all the time
//! in the status.

use std::sync::Arc;

use super::state::Heard;
use crate::serve::Status;
use crate::serve::following::Following;
use crate::serve::status::Part;
use crate::store::snapshot::delta::NotUnderstood;
use crate::telemetry::now_ms;

/// How long a trainer may say nothing: some of its heartbeats.
const SILENT_MS: i64 = 5_000;

pub(super) struct Telling {
    status: Arc<Status>,
    topic: String,
    since_ms: i64,
    following: Following,
    /// Why the topic cannot be read.
    failed: Option<String>,
    /// Why a record was not understood.
    not_understood: Option<String>,
    /// Why what was told does not fit.
    wrong: Option<String>,
    /// The trouble that was told last.
    told: Option<String>,
}

impl Telling {
    pub(super) fn new(status: Arc<Status>, topic: &str) -> Self {
        let (topic, since_ms, following) = (topic.to_owned(), now_ms(), Following::default());
        Self { status, topic, since_ms, following, failed: None, not_understood: None, wrong: None, told: None }
    }

    /// From now on the status is a server's.
    pub(super) fn begin(&self) {
        self.status.following.store(Some(Arc::new(self.following.clone())));
    }

    /// The trainer said at that time that the model which answers is its own.
    pub(super) fn current(&mut self, at_ms: i64) {
        self.following.has_model = true;
        self.following.current_at_ms = Some(at_ms);
        self.following.newest_seq = self.following.newest_seq.max(self.status.durable_seq());
        self.begin();
    }

    pub(super) fn fails(&mut self, reason: String) {
        self.failed = Some(reason);
    }

    /// The topic is read; a trainer was heard, or not.
    pub(super) fn reads(&mut self, heard: bool) {
        self.failed = None;
        if heard && self.not_understood.is_some() {
            self.not_understood = None;
        }
    }

    pub(super) fn understood(&mut self, error: Option<NotUnderstood>) {
        if let Some(error) = error {
            self.not_understood = Some(error.to_string());
        }
    }

    pub(super) fn wrong(&mut self, reason: String) {
        self.wrong = Some(reason);
    }

    pub(super) fn right(&mut self) {
        self.wrong = None;
    }

    /// Brings the status up to date.
    pub(super) fn tell(&mut self, heard: Option<Heard>) {
        if let Some(Heard { seq, at_ms, .. }) = heard {
            self.following.newest_seq = seq.max(self.status.durable_seq());
            self.following.heard_at_ms = Some(at_ms);
            self.begin();
        }
        let trouble = self.trouble(heard);
        if trouble == self.told {
            return;
        }
        if let Some(reason) = &trouble {
            self.status.begin_trouble(Part::Model, reason.clone());
            tracing::warn!("{reason}; answers go on from what there is, and following does by itself");
        } else {
            self.status.end_trouble(Part::Model);
            tracing::info!("following the trainer again");
        }
        self.told = trouble;
    }

    /// What keeps it from following; the text stays the same while that does.
    fn trouble(&self, heard: Option<Heard>) -> Option<String> {
        let topic = &self.topic;
        let silent = now_ms() - heard.map_or(self.since_ms, |heard| heard.at_ms) > SILENT_MS;
        let outdated = heard.filter(|heard| heard.outdated).map(|_| {
            format!(
                "the trainer's epoch is lower than one that topic {topic:?} told of before, as after a store was put back: \
                 delete the topic (freshet topics delete {topic}), the trainer makes it anew"
            )
        });
        let silence = || silent.then(|| format!("no trainer says anything on topic {topic:?}: is one running?"));
        let reasons = [self.not_understood.clone(), outdated, self.wrong.clone(), self.failed.clone()];
        reasons.into_iter().flatten().next().or_else(silence)
    }
}
