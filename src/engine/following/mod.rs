//! The engine of a server: answers from a trainer's model and learns nothing. It writes to no store and joins no group.
//!
//! What it knows comes twice: snapshots from the store, deltas from the topic of the model. Neither is needed while the
//! other comes. Whatever fails, the last good view goes on answering, with its age.

mod snapshots;
mod state;
mod telling;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use self::snapshots::{Loaded, Snapshots};
use self::state::{Base, Follower, Settled};
use self::telling::Telling;
use super::{EngineError, patience, watch};
use crate::config::Config;
use crate::consume::model_topic::{ModelReader, Read};
use crate::consume::watch::Start;
use crate::publish::{Published, Version, View};
use crate::serve::Status;
use crate::serve::status::{Identity, Phase};
use crate::store::{Hash, Store};

/// How often it is looked at what is due.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long a new snapshot is left to deltas that come as far.
const GRACE: Duration = Duration::from_secs(1);
/// How long commits may not fit before it is begun anew: the next one may put it right.
const WRONG_FOR: Duration = Duration::from_secs(1);
/// How long before a snapshot the topic is read from, for clocks that differ.
const MARGIN_MS: i64 = 60_000;

/// A server.
pub(super) struct Following {
    config: Config,
    published: Published,
    status: Arc<Status>,
    follower: Follower,
    snapshots: Snapshots,
    telling: Telling,
    /// None until it is known which snapshot there is.
    reader: Option<ModelReader>,
    /// Hash of the model that is shown.
    shown: Option<Hash>,
    /// Since when no commit fits.
    wrong_since: Option<Instant>,
    /// The snapshot, by epoch and batch, that was begun anew from since a commit fitted last; zeros for none.
    begun_anew: Option<(u64, u64)>,
}

impl Following {
    pub(super) fn new(config: &Config, store: Arc<dyn Store>, published: Published, status: Arc<Status>) -> Self {
        Self {
            snapshots: Snapshots::new(store, Arc::clone(&status)),
            telling: Telling::new(Arc::clone(&status), &config.broker.model_topic),
            config: config.clone(),
            published,
            status,
            follower: Follower::default(),
            reader: None,
            shown: None,
            wrong_since: None,
            begun_anew: None,
        }
    }

    /// Follows until `stop`.
    pub(super) async fn run(mut self, store: Arc<dyn Store>, stop: CancellationToken) -> Result<(), EngineError> {
        self.telling.begin();
        // Before anything is answered: what is hidden must not be shown.
        let version = tokio::select! {
            version = patience::until_done(&self.status, || watch::refresh(&*store, &self.status, 0)) => version?,
            () = stop.cancelled() => return Ok(()),
        };
        let catalog = tokio::spawn(watch::follow_catalog(store, Arc::clone(&self.status), version, stop.child_token()));
        self.snapshots.look(self.follower.base());
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                loaded = self.snapshots.loaded() => self.take_snapshot(loaded).await,
                read = next(&mut self.reader) => self.take(read).await,
                _ = look.tick() => self.look(),
            }
        }
        self.status.set_phase(Phase::Stopping);
        catalog.abort();
        Ok(())
    }

    /// Does what is due.
    fn look(&mut self) {
        if self.is_wrong() && self.begun_anew.is_none() {
            self.snapshots.look_again();
        }
        if self.snapshots.is_due(if self.follower.base().is_some() { GRACE } else { Duration::ZERO }) {
            self.snapshots.look(self.follower.base());
        }
        self.telling.tell(self.follower.heard);
    }

    /// Whether no commit has fitted for a while.
    fn is_wrong(&self) -> bool {
        self.wrong_since.is_some_and(|since| since.elapsed() >= WRONG_FOR)
    }

    /// Takes what was read, and all that is there by now: only the newest commit is worth a view.
    async fn take(&mut self, read: Read) {
        let mut next = Some(read);
        while let Some(read) = next {
            match read {
                Read::Records(records) => {
                    let heard = self.follower.heard;
                    for record in records {
                        let understood = self.follower.take(&record.key, &record.payload);
                        self.telling.understood(understood.err());
                    }
                    self.telling.reads(heard != self.follower.heard);
                }
                Read::Missing => {
                    self.telling.fails("the topic of the model is not there; a trainer makes it".to_owned());
                }
                Read::Failed(reason) => self.telling.fails(reason),
                Read::Another => {
                    tracing::warn!("the topic of the model is gone; following what comes in its place");
                    self.follower.another_topic();
                }
            }
            next = self.reader.as_mut().and_then(ModelReader::now);
        }
        self.settle().await;
    }

    async fn settle(&mut self) {
        let commit = match self.follower.settle() {
            Settled::Nothing => return,
            Settled::Current(commit) | Settled::Changed(commit) => commit,
            Settled::Wrong(reason) => {
                self.wrong_since.get_or_insert_with(Instant::now);
                return self.telling.wrong(reason);
            }
        };
        (self.wrong_since, self.begun_anew) = (None, None);
        if self.show(commit.version()).await {
            self.telling.right();
            self.telling.current(commit.sent_at_ms);
        }
    }

    /// Goes on from a snapshot that is ahead of what is there, or from any if nothing that was told fits.
    async fn take_snapshot(&mut self, loaded: Option<Loaded>) {
        let snapshot = loaded.as_ref().map_or((0, 0), |Loaded { base, .. }| (base.epoch, base.batch));
        let own = self.follower.base().map(|base| (base.epoch, base.batch));
        let ahead = own.is_none_or(|own| if own.0 == 0 { snapshot.1 > own.1 } else { snapshot > own });
        let anew = self.is_wrong() && self.begun_anew != Some(snapshot);
        let at_ms = loaded.as_ref().map(|Loaded { version, .. }| version.published_at_ms);
        if let Some(Loaded { base, version }) = loaded
            && (ahead || anew)
        {
            self.follower.rebase(base);
            if ahead && self.show(version).await {
                self.telling.current(at_ms.unwrap_or_default());
            }
        }
        if anew {
            tracing::info!(
                batch = snapshot.1,
                "following anew from the newest snapshot and the beginning of the topic"
            );
            (self.wrong_since, self.begun_anew) = (None, Some(snapshot));
            self.read_from(Start::Beginning);
        } else if self.reader.is_none() {
            self.read_from(at_ms.map_or(Start::Beginning, |at_ms| Start::Time(at_ms - MARGIN_MS)));
        }
    }

    fn read_from(&mut self, start: Start) {
        self.follower.read_anew();
        self.reader = Some(ModelReader::start(&self.config, start));
    }

    /// Makes a view of the model that is there, off the runtime, and publishes it. One that is shown already only gets its
    /// version.
    async fn show(&mut self, version: Version) -> bool {
        let Some(Base { params, parts, sha256, .. }) = self.follower.base().cloned() else { return false };
        if self.shown == Some(sha256) {
            let view = self.published.load_full();
            if *view.version() != version {
                self.publish(View::new(version, view.learned().clone(), view.history().clone()));
            }
            return true;
        }
        let identity = Arc::new(Identity::of(params.clone()));
        let before = self.published.load_full();
        let making = tokio::task::spawn_blocking(move || parts.view(&params, version, &before));
        match making.await.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(view) => {
                self.shown = Some(sha256);
                self.status.identity.store(identity);
                self.publish(view);
                true
            }
            Err(reason) => {
                self.telling.wrong(format!("the trainer's model cannot be shown ({reason}): run the same version"));
                false
            }
        }
    }

    fn publish(&self, view: View) {
        self.status.set_durable_seq(view.version().seq);
        self.published.store(view);
        self.status.set_phase(Phase::Running);
    }
}

/// What the reader brings; nothing while there is none. Safe to cancel.
async fn next(reader: &mut Option<ModelReader>) -> Read {
    match reader {
        Some(reader) => reader.next().await,
        None => std::future::pending().await,
    }
}
