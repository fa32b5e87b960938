//! Before the first stage: takes the store over and brings the model to where the last engine stopped.
//!
//! The model is a function of the parameters and the stored events. So recovery is the newest whole snapshot that was
//! learned under the same parameters, plus the stored events after it, in order; under other parameters it is all events.

use std::collections::{BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;

use tokio::sync::watch as watch_channel;

use super::residency::{self, Residency};
use super::{EngineError, patience, watch};
use crate::config::Config;
use crate::decode::Event;
use crate::gather::{MicroBatch, Progress};
use crate::learn::Recommender;
use crate::learn::params::{self, Named};
use crate::publish::{Published, Publisher, Version, View};
use crate::serve::Status;
use crate::serve::status::{Phase, SnapshotSummary};
use crate::store::snapshot;
use crate::store::snapshot::away::{Loaded, Origins, load_without};
use crate::store::{Claim, Exchanged, LearnedEvent, Manifest, Store, StoreError};
use crate::telemetry::now_ms;

/// Events read from the store at once.
const PAGE: usize = 8192;

/// Snapshots looked at.
const CANDIDATES: usize = 100;

/// Newest events that those who watch see again.
const RECALLED: u64 = 2_000;

/// Where the engine goes on.
pub(super) struct Recovered {
    pub(super) epoch: u64,
    pub(super) store_id: String,
    pub(super) progress: Progress,
    /// Business ids that must not come again, with their `seq`s.
    pub(super) ids: Vec<(u64, String)>,
    pub(super) recommender: Recommender,
    pub(super) view: Arc<View>,
    /// `seq` of the snapshot it began with; what was learned again after it is in no snapshot yet.
    pub(super) snapshot: u64,
    /// That snapshot, or nothing.
    pub(super) base: Loaded,
    /// Which users' rows are in memory; none where all are.
    pub(super) residency: Option<Residency>,
    /// The tables whose rows may be away.
    pub(super) names: BTreeSet<String>,
    /// Is told where rows that are away are with each snapshot.
    pub(super) origins: watch_channel::Sender<Arc<Origins>>,
    /// Version of the catalogue that answers are titled from.
    pub(super) catalog: u64,
}

/// Recovers, from the beginning again whenever the store fails in a way that may pass: a claim may be made any number of
/// times.
pub(super) async fn recover(
    store: &Arc<dyn Store>,
    config: &Config,
    named: &Named,
    status: &Arc<Status>,
) -> Result<Recovered, EngineError> {
    let recovering = || async {
        match recover_once(store, config, named, status).await {
            Err(EngineError::Store(error)) => Err(error),
            done => Ok(done),
        }
    };
    patience::until_done(status, recovering).await?
}

async fn recover_once(
    store: &Arc<dyn Store>,
    config: &Config,
    named: &Named,
    status: &Arc<Status>,
) -> Result<Recovered, EngineError> {
    let Claim { epoch, progress, store_id, base } = store.claim().await?;
    status.set_phase(Phase::Recovering);
    status.set_durable_seq(progress.seq);
    status.set_rejects(store.reject_counts().await?);
    let catalog = watch::refresh(&**store, status, 0).await?;
    let ids = recent_ids(&**store, config.gather.id_window as u64, progress.seq).await?;
    // Without its beginning such a store is worth nothing, however many came after it.
    let manifests = store.manifests(if base > 0 { usize::MAX } else { CANDIDATES }).await?;
    status.snapshots.store(Arc::new(manifests.iter().map(SnapshotSummary::from).collect()));
    let pageable = residency::names(config)?;
    let base = newest_whole(&**store, &manifests, named, &pageable, base..=progress.seq).await?;
    let snapshot = base.view.version().seq;
    let (origins, newest) = watch_channel::channel(Arc::new(base.origins.clone()));
    let users = base.view.learned().users.len();
    let residency =
        (!pageable.is_empty()).then(|| Residency::new(config, Arc::clone(store), Arc::clone(status), newest, users));
    let mut replay = Replay::new(&**store, config, base.view.clone(), residency)?;
    replay.run_to(&progress, &|_| ()).await?;
    let (recommender, view, residency) = replay.finish(&progress);
    let newest = store.events((progress.seq + 1).saturating_sub(RECALLED).max(1), RECALLED as usize).await?;
    let newest: Vec<_> = newest.into_iter().map(|event| (event.seq, event.event, event.predicted)).collect();
    status.monitor.recall(&newest, &view);
    if progress.seq > 0 {
        let replayed = progress.seq - snapshot;
        tracing::info!(seq = progress.seq, snapshot, replayed, epoch, store = store.location(), "resumed");
    }
    Ok(Recovered {
        epoch,
        store_id,
        progress,
        ids,
        recommender,
        view,
        snapshot,
        base,
        residency,
        names: pageable,
        origins,
        catalog,
    })
}

/// The ids of the last `window` events.
async fn recent_ids(store: &dyn Store, window: u64, last: u64) -> Result<Vec<(u64, String)>, StoreError> {
    if window == 0 { Ok(Vec::new()) } else { store.recent_ids((last + 1).saturating_sub(window)).await }
}

/// The newest snapshot that is whole, of the same parameters, and not ahead of the events nor before the one that the
/// store began with; an empty view if there is none and the store began with nothing.
async fn newest_whole(
    store: &dyn Store,
    manifests: &[Manifest],
    params: &Named,
    away: &BTreeSet<String>,
    usable: RangeInclusive<u64>,
) -> Result<Loaded, EngineError> {
    let base = *usable.start();
    // After an incomplete one the model would be another than that of all events.
    let (whole, earlier): (Vec<_>, Vec<_>) = manifests
        .iter()
        .filter(|manifest| usable.contains(&manifest.seq))
        .partition(|manifest| snapshot::is_complete(manifest) || manifest.seq == base);
    if whole.is_empty() && !earlier.is_empty() {
        tracing::warn!(
            "the snapshots are of an earlier freshet and lack what this one learns; learning all events again"
        );
    }
    let (same, other): (Vec<_>, Vec<_>) = whole.into_iter().partition(|manifest| manifest.params == *params);
    if same.is_empty() && !other.is_empty() && base == 0 {
        tracing::warn!("the snapshots were learned under other parameters; learning all stored events again");
    }
    let mut wrong = Vec::new();
    for manifest in same {
        match load_without(store, manifest, away).await {
            Ok(loaded) => return Ok(loaded),
            Err(error @ (StoreError::Damaged { .. } | StoreError::Unsuitable { .. })) => {
                tracing::warn!(%error, "passing over a snapshot; an older one and the events after it serve instead");
                wrong.push(error.to_string());
            }
            Err(error) => return Err(error.into()),
        }
    }
    if base > 0 {
        return Err(no_beginning(store, base, &wrong, other.first().map(|other| params::flags(&other.params, params))));
    }
    Ok(Loaded::default())
}

/// The error of a store whose events alone do not give the model, and none of whose snapshots can be used.
fn no_beginning(store: &dyn Store, base: u64, wrong: &[String], flags: Option<String>) -> EngineError {
    let back = || format!("put snapshot {base} back with `freshet snapshots restore FILE`");
    let (what, advice) = match flags {
        _ if !wrong.is_empty() => (wrong.join("; "), back()),
        Some(flags) => {
            ("they were learned under other parameters".to_owned(), format!("start with {flags}, or on an empty store"))
        }
        None => ("none is there".to_owned(), back()),
    };
    let reason = format!("it began with snapshot {base}, and none from there on can be used: {what}; {advice}");
    StoreError::Unsuitable { location: store.location(), reason }.into()
}

/// Learns stored events again, batch by batch as they were learned first.
pub(super) struct Replay<'s> {
    store: &'s dyn Store,
    recommender: Recommender,
    publisher: Publisher,
    residency: Option<Residency>,
    /// `seq` of the next event to learn.
    next: u64,
    /// Number of the last batch that was learned, or whose exchange with other trainers was.
    batch: u64,
    /// What batches after that one exchanged, as far as it was read.
    exchanged: VecDeque<Exchanged>,
    /// Whether there is no more of it.
    exchanged_all: bool,
    /// Events from some `seq` up to `next` that a sliding window may rehearse.
    recent: VecDeque<(u64, Event)>,
    /// `seq` of the first event that was predicted otherwise than it is stored: it was stored under other parameters, or
    /// something before it has changed.
    predicted_otherwise: Option<u64>,
}

impl<'s> Replay<'s> {
    /// Goes on from `view`, which `residency` keeps within its bound; all of it is in memory without.
    pub(super) fn new(
        store: &'s dyn Store,
        config: &Config,
        view: View,
        residency: Option<Residency>,
    ) -> Result<Self, EngineError> {
        let Version { seq, batch, .. } = *view.version();
        let next = seq + 1;
        let recommender =
            if next == 1 { Recommender::new(config)? } else { Recommender::resume(config, view.learned().clone()) };
        // Readers see the model only once it is whole.
        let publisher = Publisher::new(Published::default(), view);
        Ok(Self {
            store,
            recommender,
            publisher,
            residency,
            next,
            batch,
            exchanged: VecDeque::new(),
            exchanged_all: config.engine.shards == 1,
            recent: VecDeque::new(),
            predicted_otherwise: None,
        })
    }

    /// `read` is told of events as they are read.
    pub(super) async fn run_to(&mut self, to: &Progress, read: &(dyn Fn(u64) + Sync)) -> Result<(), EngineError> {
        let last = to.seq;
        let mut batch: Vec<LearnedEvent> = Vec::new();
        let mut from = self.next;
        while from <= last {
            let page = self.store.events(from, PAGE).await?;
            if page.is_empty() {
                return Err(self.missing(from).into());
            }
            let before = from;
            for event in page.into_iter().take_while(|event| event.seq <= last) {
                if event.seq != from {
                    return Err(self.missing(from).into());
                }
                from += 1;
                if batch.first().is_some_and(|first| first.batch != event.batch) {
                    self.learn(std::mem::take(&mut batch)).await?;
                }
                batch.push(event);
            }
            read(from - before);
        }
        self.learn(batch).await?;
        self.exchange_before(to.batch + 1).await
    }

    /// Does what batches without events, before the batch `before`, exchanged with other trainers.
    async fn exchange_before(&mut self, before: u64) -> Result<(), EngineError> {
        while let Some(Exchanged { batch: number, contributions, shares }) = self.next_exchanged(before).await? {
            let first_seq = self.next;
            self.recommender.learn(&MicroBatch {
                number,
                first_seq,
                contributions,
                shares,
                ..MicroBatch::default()
            })?;
        }
        Ok(())
    }

    /// What the next batch before `before` exchanged, if there is one.
    async fn next_exchanged(&mut self, before: u64) -> Result<Option<Exchanged>, EngineError> {
        if self.exchanged.is_empty() && !self.exchanged_all {
            self.exchanged = self.store.exchanged(self.batch).await?.into();
            self.exchanged_all = self.exchanged.is_empty();
        }
        let next = self.exchanged.pop_front_if(|exchanged| exchanged.batch < before);
        if let Some(next) = &next {
            self.batch = next.batch;
        }
        Ok(next)
    }

    async fn learn(&mut self, stored: Vec<LearnedEvent>) -> Result<(), EngineError> {
        let Some(first) = stored.first() else { return Ok(()) };
        let (number, first_seq, rehearse_from) = (first.batch, first.seq, first.rehearse_from);
        let rehearsal = self.rehearsal(rehearse_from, first_seq).await?;
        let (predicted, events): (Vec<f32>, Vec<Event>) =
            stored.into_iter().map(|stored| (stored.predicted, stored.event)).unzip();
        self.next = first_seq + events.len() as u64;
        if rehearse_from.is_some() {
            self.recent.extend((first_seq..).zip(events.iter().cloned()));
        }
        self.exchange_before(number).await?;
        let exchanged = self.next_exchanged(number + 1).await?;
        let (contributions, shares) = exchanged.map(|own| (own.contributions, own.shares)).unwrap_or_default();
        let batch = MicroBatch {
            number,
            first_seq,
            events,
            contributions,
            shares,
            rehearsal,
            rehearse_from,
            ..MicroBatch::default()
        };
        if let Some(residency) = &mut self.residency {
            residency.before(&batch, &mut self.recommender, &mut self.publisher).await?;
        }
        let outcomes = self.recommender.learn(&batch)?;
        self.publisher.observe(&outcomes);
        if let Some(residency) = &mut self.residency {
            residency.after(&batch, &outcomes, &mut self.recommender, &mut self.publisher);
        }
        let differs = predicted.iter().zip(&outcomes).position(|(stored, now)| *stored != now.predicted);
        self.predicted_otherwise = self.predicted_otherwise.or(differs.map(|at| first_seq + at as u64));
        Ok(())
    }

    /// The events from `from` up to `first_seq`: from memory where they are there, else from the store.
    async fn rehearsal(&mut self, from: Option<u64>, first_seq: u64) -> Result<Vec<Event>, EngineError> {
        let Some(from) = from else {
            self.recent.clear();
            return Ok(Vec::new());
        };
        while self.recent.front().is_some_and(|(seq, _)| *seq < from) {
            self.recent.pop_front();
        }
        if self.recent.front().is_none_or(|(seq, _)| *seq > from) && from < first_seq {
            let count = usize::try_from(first_seq - from).unwrap_or(usize::MAX);
            let stored = self.store.events(from, count).await?;
            if stored.len() < count {
                return Err(self.missing(from + stored.len() as u64).into());
            }
            self.recent = stored.into_iter().map(|stored| (stored.seq, stored.event)).collect();
        }
        Ok(self.recent.iter().map(|(_, event)| event.clone()).collect())
    }

    pub(super) fn predicted_otherwise(&self) -> Option<u64> {
        self.predicted_otherwise
    }

    pub(super) fn finish(mut self, progress: &Progress) -> (Recommender, Arc<View>, Option<Residency>) {
        let Progress { seq, batch, offsets } = progress.clone();
        let version = Version { seq, batch, published_at_ms: now_ms(), offsets };
        let view = self.publisher.publish(self.recommender.publish(), version);
        (self.recommender, view, self.residency)
    }

    fn missing(&self, seq: u64) -> StoreError {
        StoreError::Damaged {
            what: format!("event {seq}"),
            location: self.store.location(),
            reason:
                "it is missing between others that are there; restore the store from a backup, or start on an empty \
                     one and read the log again"
                    .into(),
        }
    }
}
