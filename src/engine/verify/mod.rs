//! Checks a store against itself and against the log: what `freshet verify` does.
//!
//! In: the stored events, dead letters and snapshots, and the log. Out: a [`Verification`] that says what was looked at
//! and names what differs. Guarantee: nothing is claimed, written, committed or created, so that an engine may run
//! meanwhile; what it writes after the look at its state is left out.

mod log;
mod scan;

use std::time::Instant;

use serde::Serialize;

use super::EngineError;
use super::recovery::Replay;
use crate::config::Config;
use crate::gather::Progress;
use crate::learn::params;
use crate::publish::View;
use crate::store::snapshot::{self, Encoder};
use crate::store::{Claim, Hash, Manifest, Store, StoreError};

pub use log::LogCheck;

/// Findings of one kind that are named; the others are only counted.
const NAMED: usize = 10;

/// Where learning again begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With the first event, or with the snapshot that the store began with.
    #[default]
    Zero,
    /// With the oldest snapshot that can be used.
    Oldest,
    /// With the newest snapshot before the one to be checked.
    Latest,
    /// With the snapshot of this `seq`.
    Seq(u64),
}

/// What to check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Where learning again begins.
    pub from: Start,
    /// `seq` of the snapshot to be checked; the newest if there is none.
    pub snapshot: Option<u64>,
    /// Whether to read the log too.
    pub against_log: bool,
}

/// What is being done, for a progress bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Stored events are looked at.
    Scan,
    /// Stored events are learned again.
    Learn,
    /// The log is read.
    ReadLog,
}

/// Told how many more of how many are done.
pub type Watch = std::sync::Arc<dyn Fn(Step, u64, u64) + Send + Sync>;

/// The model that was learned again, beside the stored one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Relearned {
    /// `seq` of the snapshot that it began with; 0 if it began with nothing.
    pub from: u64,
    /// `seq` of the snapshot that was checked.
    pub to: u64,
    /// How long the learning took.
    pub seconds: f64,
    /// Events learned a second.
    pub events_per_second: f64,
    /// The model's hash in the snapshot.
    pub stored: Hash,
    /// The hash of what was learned; none where an event was missing.
    pub learned: Option<Hash>,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Verification {
    /// Events in the store.
    pub events: u64,
    /// Dead letters in the store.
    pub dead_letters: u64,
    /// `seq`s without an event.
    pub holes: u64,
    /// Events whose position goes back or repeats within its partition.
    pub duplicates: u64,
    /// The model; none if there is no snapshot.
    pub model: Option<Relearned>,
    /// The log, if it was read.
    pub log: Option<LogCheck>,
    /// What differs, each in words; of many of one kind the first are named.
    pub problems: Vec<String>,
}

/// Checks a store.
///
/// # Errors
/// If the store or the log cannot be read, or a snapshot that was named cannot be used. What differs is no error.
pub async fn verify(
    config: &Config,
    store: &dyn Store,
    wish: Wish,
    watch: &Watch,
) -> Result<Verification, EngineError> {
    let state = store.state().await?;
    let manifests = store.manifests(usize::MAX).await?;
    let held = scan::scan(config, store, &state, watch).await?;
    let mut found = Verification {
        events: held.count,
        dead_letters: held.letters,
        holes: held.holes,
        duplicates: held.duplicates,
        problems: held.problems.clone(),
        ..Verification::default()
    };
    if let Some(target) = target(store, &manifests, &state, wish.snapshot)? {
        let start = begin(store, &manifests, &state, target, wish.from)?;
        found.model = Some(learn_again(store, start, target, watch, &mut found.problems).await?);
    }
    if wish.against_log {
        let base = manifests.iter().find(|manifest| state.base > 0 && manifest.seq == state.base);
        let check = log::check(config, &state.progress.offsets, base, &held, watch).await?;
        found.problems.extend(check.problems());
        found.log = Some(check);
    }
    Ok(found)
}

/// The snapshot to be checked; none if there is none yet.
fn target<'m>(
    store: &dyn Store,
    manifests: &'m [Manifest],
    state: &Claim,
    seq: Option<u64>,
) -> Result<Option<&'m Manifest>, StoreError> {
    let target = match seq {
        Some(seq) => Some(named(store, manifests, seq)?),
        // One that a running engine has just taken lies beyond what was scanned.
        None => manifests.iter().find(|manifest| manifest.seq <= state.progress.seq),
    };
    target.map(|target| snapshot::check_format(store.location(), target).map(|()| target)).transpose()
}

fn named<'m>(store: &dyn Store, manifests: &'m [Manifest], seq: u64) -> Result<&'m Manifest, StoreError> {
    manifests.iter().find(|manifest| manifest.seq == seq).ok_or_else(|| {
        let newest: Vec<String> = manifests.iter().take(5).map(|manifest| manifest.seq.to_string()).collect();
        let there = if newest.is_empty() {
            "there is none".to_owned()
        } else {
            format!("the newest are {}", newest.join(", "))
        };
        unsuitable(store, format!("it has no snapshot {seq}; {there}"))
    })
}

fn unsuitable(store: &dyn Store, reason: String) -> StoreError {
    StoreError::Unsuitable { location: store.location(), reason }
}

/// The snapshot to begin with; none to begin with nothing.
fn begin<'m>(
    store: &dyn Store,
    manifests: &'m [Manifest],
    state: &Claim,
    target: &Manifest,
    from: Start,
) -> Result<Option<&'m Manifest>, StoreError> {
    // The newest first, as they are listed.
    let mut usable = manifests.iter().filter(|manifest| {
        manifest.seq < target.seq
            && manifest.params == target.params
            && snapshot::check_format(store.location(), manifest).is_ok()
            && snapshot::leads_to(manifest, target)
    });
    let none = || {
        let reason = format!("no snapshot before {} has its format and parameters; leave --from out", target.seq);
        unsuitable(store, reason)
    };
    let start = match from {
        Start::Zero if state.base == 0 => return Ok(None),
        Start::Zero => named(store, manifests, state.base)?,
        Start::Oldest => usable.last().ok_or_else(none)?,
        Start::Latest => usable.next().ok_or_else(none)?,
        Start::Seq(seq) => named(store, manifests, seq)?,
    };
    if start.seq > target.seq {
        return Err(unsuitable(store, format!("snapshot {} comes after snapshot {}", start.seq, target.seq)));
    }
    if start.params != target.params {
        let reason = format!(
            "snapshot {} was learned under other parameters than snapshot {}; choose another --from",
            start.seq, target.seq
        );
        return Err(unsuitable(store, reason));
    }
    Ok(Some(start))
}

/// Learns the events between two snapshots again, under the parameters of the later one.
async fn learn_again(
    store: &dyn Store,
    start: Option<&Manifest>,
    target: &Manifest,
    watch: &Watch,
    problems: &mut Vec<String>,
) -> Result<Relearned, EngineError> {
    let view = match start {
        Some(start) => snapshot::load(store, start).await?,
        None => View::default(),
    };
    let from = view.version().seq;
    let config = params::config_of(&target.params)
        .map_err(|reason| unsuitable(store, format!("snapshot {} cannot be learned again: {reason}", target.seq)))?;
    let began = Instant::now();
    let mut replay = Replay::new(store, &config, view, None)?;
    let progress = Progress { seq: target.seq, batch: target.batch, ..Progress::default() };
    let learned = replay.run_to(&progress, &|events| watch(Step::Learn, events, target.seq - from)).await;
    let learned = match learned {
        Ok(()) => {
            let other = replay.predicted_otherwise();
            let (_, view, _) = replay.finish(&progress);
            let learned = Encoder::new(target.params.clone()).hash_as(&view, target);
            problems.extend(difference(target, learned, other));
            Some(learned)
        }
        // A missing event is what was looked for; what cannot be read at all is an error.
        Err(EngineError::Store(damaged @ StoreError::Damaged { .. })) => {
            problems.push(format!("snapshot {} cannot be learned again: {damaged}", target.seq));
            None
        }
        Err(error) => return Err(error),
    };
    let seconds = began.elapsed().as_secs_f64();
    let events_per_second = (target.seq - from) as f64 / seconds.max(1e-9);
    Ok(Relearned { from, to: target.seq, seconds, events_per_second, stored: target.sha256, learned })
}

/// What to say of a model that differs, and of the first event that was predicted otherwise than the store says.
fn difference(target: &Manifest, learned: Hash, other: Option<u64>) -> Option<String> {
    if learned == target.sha256 {
        return None;
    }
    let hint = other.map_or_else(
        || "; every event was predicted as it is stored, so that it is the snapshot that differs".to_owned(),
        |seq| format!("; event {seq} is the first that was predicted otherwise than it is stored"),
    );
    Some(format!(
        "snapshot {} says that its model has SHA-256 {}, but {learned} was learned{hint}",
        target.seq, target.sha256
    ))
}
