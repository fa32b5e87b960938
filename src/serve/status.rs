//! What the engine is doing, as handlers read it: written by the engine, read without locks that could hold it up.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::catalog::Catalogue;
use super::following::Following;
use super::metrics::process;
use super::monitor::Monitor;
use super::requests::Requests;
use super::resident::Resident;
use super::timings::Timings;
use crate::capture::Control;
use crate::config::Role;
use crate::consume::lag::Lag;
use crate::decode::Reason;
use crate::telemetry::now_ms;

/// What the engine is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Phase {
    /// Not started, or taking the store over.
    Starting,
    /// Loading a snapshot and learning the stored events after it.
    Recovering,
    /// Learning from the log.
    Running,
    /// Draining.
    Stopping,
    /// Stopped by an error.
    Failed,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Self; 5] = [Self::Starting, Self::Recovering, Self::Running, Self::Stopping, Self::Failed];
}

/// One snapshot, for people and programs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SnapshotSummary {
    /// Last event that it has learned.
    pub seq: u64,
    /// When it was taken, in milliseconds since the epoch.
    pub created_at_ms: i64,
    /// Hash of the whole model.
    pub sha256: String,
    /// Users known.
    pub users: u64,
    /// Items known.
    pub items: u64,
    /// Mean absolute error, test-then-learn, over every event so far.
    pub mae: f64,
    /// Root mean squared error, likewise.
    pub rmse: f64,
}

/// What the engine depends on.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Kafka, or the embedded log.
    Log,
    /// MongoDB, or the embedded store.
    Store,
    /// What a trainer tells servers, by the topic of the model.
    Model,
    /// What several trainers tell each other of items, by the topic that they share.
    Trainers,
}

impl Part {
    /// Every part.
    pub const ALL: [Self; 4] = [Self::Log, Self::Store, Self::Model, Self::Trainers];
}

/// Why a request or a connection was refused before anything was done for it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(usize)]
pub enum Refusal {
    /// No key, or none that is known.
    Unauthorized,
    /// A key without the scope, or a change while nothing may be changed.
    Forbidden,
    /// More requests than `serve.rate_limit`.
    RateLimited,
    /// Requests wait longer than `serve.shed_after`.
    Overloaded,
    /// More connections than `serve.max_connections`.
    Connections,
    /// The client sent its request too slowly.
    Slow,
}

impl Refusal {
    /// Every reason.
    pub const ALL: [Self; 6] =
        [Self::Unauthorized, Self::Forbidden, Self::RateLimited, Self::Overloaded, Self::Connections, Self::Slow];
}

/// Why a part does not work now; the engine goes on by itself when it does again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Trouble {
    /// The part.
    pub part: Part,
    /// What it said, without secrets.
    pub reason: String,
    /// When it began, in milliseconds since the epoch.
    pub since_ms: i64,
}

/// Another trainer, as this one hears of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trainer {
    /// Its number.
    pub shard: usize,
    /// When it said last that all that it has added to items is told, in milliseconds since the epoch: all of that is in
    /// the rows here, or on its way to them.
    pub current_at_ms: Option<i64>,
}

impl Trainer {
    /// By how many milliseconds what it has added here is behind what it has learned; none if it never said anything.
    #[must_use]
    pub fn stale_ms(&self) -> Option<i64> {
        self.current_at_ms.map(|at_ms| (now_ms() - at_ms).max(0))
    }
}

/// Which model there is, whatever it has learned.
#[derive(Debug, Default)]
pub struct Identity {
    /// Learner and its parameters, by name.
    pub params: BTreeMap<String, serde_json::Value>,
    /// Name of the model in answers: the beginning of the SHA-256 of `params`. With it and `seq` the same events have given
    /// the same model.
    pub name: String,
}

impl Identity {
    /// The model of these parameters.
    #[must_use]
    pub fn of(params: BTreeMap<String, serde_json::Value>) -> Self {
        let name = hex::encode(&Sha256::digest(serde_json::to_vec(&params).unwrap_or_default())[..6]);
        Self { params, name }
    }
}

/// The engine's state beside the published view.
#[derive(Debug)]
pub struct Status {
    /// What this process does.
    pub role: Role,
    /// Age of the model beyond which a server is not ready; 0 for any.
    pub max_staleness: Duration,
    /// How a server stands to its trainer; none if this is none.
    pub following: ArcSwapOption<Following>,
    /// The other trainers that share the users with this one.
    pub trainers: ArcSwap<Vec<Trainer>>,
    /// The model's parameters and its name; a server's are its trainer's.
    pub identity: ArcSwap<Identity>,
    phase: AtomicU8,
    durable_seq: AtomicU64,
    rejects: Mutex<BTreeMap<Reason, u64>>,
    troubles: Mutex<BTreeMap<Part, Trouble>>,
    failures: Mutex<BTreeMap<Part, u64>>,
    refused: [AtomicU64; Refusal::ALL.len()],
    /// Snapshots in the store, the newest first.
    pub snapshots: ArcSwap<Vec<SnapshotSummary>>,
    /// Lag of each assigned partition.
    pub lag: ArcSwap<Vec<Lag>>,
    /// What is known of items and users.
    pub catalog: Catalogue,
    /// The replay that a demo runs.
    pub replay: ArcSwapOption<Control>,
    /// What the stages take, and how fresh the model is.
    pub timings: Timings,
    /// Users' rows in memory.
    pub resident: Resident,
    /// What people watch.
    pub monitor: Monitor,
    /// What HTTP was asked.
    pub requests: Requests,
}

impl Status {
    /// The status of an engine that has not started.
    #[must_use]
    pub fn new(params: BTreeMap<String, serde_json::Value>) -> Self {
        let _ = process::started_at_ms();
        Self {
            phase: AtomicU8::new(Phase::Starting as u8),
            durable_seq: AtomicU64::new(0),
            rejects: Mutex::default(),
            troubles: Mutex::default(),
            failures: Mutex::default(),
            refused: Default::default(),
            snapshots: ArcSwap::default(),
            lag: ArcSwap::default(),
            catalog: Catalogue::default(),
            replay: ArcSwapOption::empty(),
            timings: Timings::default(),
            resident: Resident::default(),
            monitor: Monitor::default(),
            requests: Requests::default(),
            role: Role::default(),
            max_staleness: Duration::ZERO,
            following: ArcSwapOption::empty(),
            trainers: ArcSwap::default(),
            identity: ArcSwap::from_pointee(Identity::of(params)),
        }
    }

    /// The same of a process in this role.
    #[must_use]
    pub fn in_role(self, role: Role, max_staleness: Duration) -> Self {
        Self { role, max_staleness, ..self }
    }

    /// What the engine is about.
    #[must_use]
    pub fn phase(&self) -> Phase {
        let now = self.phase.load(Ordering::Acquire);
        Phase::ALL.into_iter().find(|phase| *phase as u8 == now).unwrap_or(Phase::Failed)
    }

    /// Moves on to another phase.
    pub fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// `seq` of the last event that the store holds.
    #[must_use]
    pub fn durable_seq(&self) -> u64 {
        self.durable_seq.load(Ordering::Acquire)
    }

    /// Notes that the store holds every event up to `seq`.
    pub fn set_durable_seq(&self, seq: u64) {
        self.durable_seq.store(seq, Ordering::Release);
    }

    /// Notes that a part does not work, and why. Returns whether that is new.
    pub fn begin_trouble(&self, part: Part, reason: String) -> bool {
        *self.failures.lock().entry(part).or_default() += 1;
        let mut troubles = self.troubles.lock();
        let since_ms = troubles.get(&part).map_or_else(now_ms, |trouble| trouble.since_ms);
        troubles.insert(part, Trouble { part, reason, since_ms }).is_none()
    }

    /// Notes that a part works, and returns what its trouble was.
    pub fn end_trouble(&self, part: Part) -> Option<Trouble> {
        self.troubles.lock().remove(&part)
    }

    /// What does not work now.
    #[must_use]
    pub fn troubles(&self) -> Vec<Trouble> {
        self.troubles.lock().values().cloned().collect()
    }

    /// Failures that were waited out, by part, since the start.
    #[must_use]
    pub fn failures(&self) -> BTreeMap<Part, u64> {
        self.failures.lock().clone()
    }

    /// Dead letters by reason.
    #[must_use]
    pub fn rejects(&self) -> BTreeMap<Reason, u64> {
        self.rejects.lock().clone()
    }

    /// Notes the dead letters that are there.
    pub fn set_rejects(&self, counts: BTreeMap<Reason, u64>) {
        *self.rejects.lock() = counts;
    }

    /// Adds dead letters to the counts.
    pub fn count_rejects(&self, reasons: impl IntoIterator<Item = (Reason, u64)>) {
        let mut rejects = self.rejects.lock();
        for (reason, count) in reasons {
            *rejects.entry(reason).or_default() += count;
        }
    }

    /// Counts a request or a connection that was refused.
    pub fn count_refusal(&self, reason: Refusal) {
        self.refused[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Requests and connections that were refused for this reason, since the start.
    #[must_use]
    pub fn refused(&self, reason: Refusal) -> u64 {
        self.refused[reason as usize].load(Ordering::Relaxed)
    }

    /// Another number after each change of the catalogue.
    #[must_use]
    pub fn catalog_generation(&self) -> u64 {
        self.catalog.generation()
    }

    /// Records that are on the log and not yet durable, over all assigned partitions.
    #[must_use]
    pub fn total_lag(&self) -> i64 {
        self.lag.load().iter().map(|lag| lag.messages).sum()
    }
}
