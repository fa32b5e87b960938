//! Keeps events, dead letters and snapshots: MongoDB or the embedded store behind one trait.
//!
//! In: what the engine has learned, in order. Out: documents that survive any crash. Guarantees: a write is atomic (its
//! events, its rejects and the offsets after them are kept together or not at all), a superseded engine cannot write,
//! and a snapshot is visible only when all of its blocks are.

pub mod hash;
pub mod retention;
pub mod snapshot;

mod dead_letters;
pub(crate) mod embedded;
mod events;
mod garbage;
pub(crate) mod mongo;
mod rules;
mod turn;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::capture::{Item, User};
use crate::config::{StoreConfig, StoreKind};
use crate::consume::{Offsets, Position};
use crate::decode::{Contributions, Event, Reason, Reject};
pub use crate::gather::Progress;
pub use crate::learn::prequential::Metrics;

pub use dead_letters::{DeadLetter, DeadLetterFilter};
pub use events::{Changes, EventFilter};
pub use hash::Hash;
pub use retention::Retention;
pub use turn::{Next, Turn};

/// Format of the manifests and blocks that this program writes and reads.
pub const SNAPSHOT_FORMAT: u32 = 2;

/// An event with what the engine made of it.
#[derive(Clone, Debug, PartialEq)]
pub struct LearnedEvent {
    /// Place in the one total order, from 1.
    pub seq: u64,
    /// Micro-batch that it came in, from 1.
    pub batch: u64,
    /// For a batch of a sliding window: the batch first rehearsed the events from this `seq` up to its own first one.
    pub rehearse_from: Option<u64>,
    /// What the model predicted before it learned from the event.
    pub predicted: f32,
    /// The event.
    pub event: Event,
}

/// What a batch exchanged with other trainers: with the events it decides what the model is.
#[derive(Clone, Debug, PartialEq)]
pub struct Exchanged {
    /// The micro-batch.
    pub batch: u64,
    /// What others had added to items, taken in before the batch's events, in order.
    pub contributions: Vec<Contributions>,
    /// Whether this trainer worked out after it what it had added itself.
    pub shares: bool,
}

/// What one transaction makes durable: whole micro-batches, in order.
#[derive(Clone, Debug, Default)]
pub struct DurableWrite {
    /// Events, in `seq` order.
    pub events: Vec<LearnedEvent>,
    /// Rejects, in the order read.
    pub rejects: Vec<Reject>,
    /// What was said of items, in the order read: as [`Store::put_catalog`].
    pub items: Vec<Item>,
    /// What was said of users, likewise.
    pub users: Vec<User>,
    /// What its batches exchanged with other trainers, those alone that did.
    pub exchanged: Vec<Exchanged>,
    /// Where the engine stands after it.
    pub progress: Progress,
}

/// A claim on the store: the epoch that this engine writes under, and where the last one stopped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// Number of this claim; a write under a smaller one is refused.
    pub epoch: u64,
    /// Where to go on.
    pub progress: Progress,
    /// Name of the store, given at random when it was made: it tells one store from another wherever they are.
    pub store_id: String,
    /// `seq` of the snapshot that the store began with: the events up to it are not here. 0 if it began with nothing.
    pub base: u64,
}

impl Claim {
    /// Whether nothing was ever stored: only then can the store begin with a snapshot.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.progress == Progress::default() && self.base == 0
    }
}

/// Counts of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Users known.
    pub users: u64,
    /// Items known.
    pub items: u64,
    /// Events learned.
    pub events: u64,
}

/// One part of a snapshot: rows in blocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// What it holds: `user_factors`, `item_ids`, …
    pub name: String,
    /// Rows in it.
    pub rows: u64,
    /// Blocks that hold the rows.
    pub blocks: u64,
    /// Blocks that list the hashes of those blocks (32 bytes each, in order), so that the manifest stays small.
    pub index: Vec<Hash>,
}

/// What a snapshot is, readable by people; written last, over blocks that are all there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The model has learned exactly the events up to this `seq`. Key of the document.
    #[serde(rename = "_id")]
    pub seq: u64,
    /// Format version.
    pub format: u32,
    /// When it was taken, in milliseconds since the epoch.
    pub created_at_ms: i64,
    /// Epoch of the engine that wrote it.
    pub epoch: u64,
    /// Last micro-batch learned.
    pub batch: u64,
    /// Next offset to read of each partition.
    pub offsets: Offsets,
    /// Learner and its parameters, by name.
    pub params: BTreeMap<String, serde_json::Value>,
    /// Users, items, events.
    pub counts: Counts,
    /// Test-then-learn figures.
    pub metrics: Metrics,
    /// The parts, in order.
    pub sections: Vec<Section>,
    /// Hash of the whole model: over `params` and the sections' names, rows and block hashes; no time, epoch or offset.
    pub sha256: Hash,
}

/// A snapshot as it is listed, whether this program can read its manifest or not.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// Key of the document.
    pub seq: u64,
    /// Format version, if it says one.
    pub format: Option<u32>,
    /// When it was taken, in milliseconds since the epoch, if it says so.
    pub created_at_ms: Option<i64>,
    /// The manifest, or why it cannot be read.
    pub manifest: Result<Manifest, String>,
}

/// What a prune has deleted, or would delete.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pruned {
    /// Snapshots that are gone, by `seq`, the newest first.
    pub snapshots: Vec<u64>,
    /// Snapshots that stay, likewise.
    pub kept: Vec<u64>,
    /// Blocks that no snapshot named any more.
    pub blocks: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// Why blocks had to stay that may be named by nothing, and what to do about it.
    pub waiting: Option<String>,
}

/// Bytes stored once under their hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// SHA-256 of `bytes`.
    pub hash: Hash,
    /// Header and content.
    pub bytes: Vec<u8>,
}

/// What is known of items and users.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// Changes whenever an item or user does.
    pub version: u64,
    /// Items, by id.
    pub items: Vec<Item>,
    /// Users, by id.
    pub users: Vec<User>,
}

/// Opens the store that the configuration names, and creates what it lacks.
///
/// # Errors
/// [`StoreError::Unavailable`] if it does not answer within `connect_timeout`, [`StoreError::Unsuitable`] if it cannot
/// serve as a store; both say what to do.
pub async fn open(config: &StoreConfig) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match config.kind {
        StoreKind::Embedded => Arc::new(embedded::open(config).await?),
        StoreKind::Mongodb => Arc::new(mongo::open(config).await?),
    })
}

/// An item for each snapshot that was stored.
pub type SnapshotsTold = futures::stream::BoxStream<'static, Result<(), StoreError>>;

/// Keeps everything that must survive.
#[async_trait]
pub trait Store: Send + Sync {
    /// Where it is, for people and without secrets: `mongodb://host/freshet`, `freshet-data/store.db`.
    fn location(&self) -> String;

    /// Takes the store over: raises the epoch and says where the last engine stopped.
    ///
    /// # Errors
    /// If the store fails.
    async fn claim(&self) -> Result<Claim, StoreError>;

    /// What a claim would return but for the new epoch, without making one: whoever writes goes on writing.
    ///
    /// # Errors
    /// If the store fails.
    async fn state(&self) -> Result<Claim, StoreError>;

    /// Writes that gain from being under way together.
    fn lanes(&self) -> usize {
        1
    }

    /// Makes one write durable, atomically, once its turn has come: none is durable without all before it. Repeating a
    /// write that already took effect is a success and changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Superseded`] if another engine has claimed the store since; else if the store fails.
    async fn persist_in_turn(&self, epoch: u64, write: &DurableWrite, turn: &Turn) -> Result<(), StoreError>;

    /// The same for a write that has none before it under way.
    ///
    /// # Errors
    /// As [`Store::persist_in_turn`].
    async fn persist(&self, epoch: u64, write: &DurableWrite) -> Result<(), StoreError> {
        self.persist_in_turn(epoch, write, &Turn::first()).await
    }

    /// Events from `from_seq` on, in `seq` order, at most `limit`.
    ///
    /// # Errors
    /// As [`Store::events_where`].
    async fn events(&self, from_seq: u64, limit: usize) -> Result<Vec<LearnedEvent>, StoreError> {
        let wanted = EventFilter { seqs: from_seq..=u64::MAX, ..EventFilter::default() };
        self.events_where(&wanted, limit).await
    }

    /// Events that a filter lets through, in `seq` order, at most `limit`. There is an index for `seq` alone: the filter's
    /// range of them bounds what is looked at.
    ///
    /// # Errors
    /// If the store fails, or a stored event cannot be read.
    async fn events_where(&self, wanted: &EventFilter, limit: usize) -> Result<Vec<LearnedEvent>, StoreError>;

    /// The events that a filter lets through as they become durable: from now on, or after what was returned when `token`
    /// was taken. None if this store does not tell of changes, and has to be asked.
    ///
    /// # Errors
    /// If the store fails, or no longer knows what came after `token`.
    async fn changes(
        &self,
        wanted: &EventFilter,
        token: Option<&serde_json::Value>,
    ) -> Result<Option<Box<dyn Changes>>, StoreError>;

    /// What batches after `after` exchanged with other trainers, in order, those alone that did; at most about 16 MiB. Empty if
    /// there are no more.
    ///
    /// # Errors
    /// If the store fails, or what is stored cannot be read.
    async fn exchanged(&self, after: u64) -> Result<Vec<Exchanged>, StoreError>;

    /// Business ids of the events from `from_seq` on, with their `seq`s, in order; only events that have one.
    ///
    /// # Errors
    /// If the store fails.
    async fn recent_ids(&self, from_seq: u64) -> Result<Vec<(u64, String)>, StoreError>;

    /// Dead letters counted by reason.
    ///
    /// # Errors
    /// If the store fails.
    async fn reject_counts(&self) -> Result<BTreeMap<Reason, u64>, StoreError>;

    /// Dead letters behind `after`, in the order of topics, partitions and offsets, at most `limit`.
    ///
    /// # Errors
    /// If the store fails.
    async fn dead_letters(
        &self,
        filter: &DeadLetterFilter,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StoreError>;

    /// Positions of dead letters, in the same order: cheap, however large the letters are.
    ///
    /// # Errors
    /// If the store fails.
    async fn dead_letter_positions(&self, after: Option<&Position>, limit: usize) -> Result<Vec<Position>, StoreError>;

    /// Notes that dead letters have been sent to the log again. Positions that hold none are passed over.
    ///
    /// # Errors
    /// If the store fails.
    async fn mark_replayed(&self, positions: &[Position], at_ms: i64) -> Result<(), StoreError>;

    /// Stores blocks; those that are there already are left alone, unless their bytes were damaged: then they are put right.
    ///
    /// # Errors
    /// If the store fails.
    async fn put_blocks(&self, blocks: Arc<[Block]>) -> Result<(), StoreError>;

    /// Makes a snapshot visible. `blocks` are all that it names, its index blocks too, and must be stored.
    ///
    /// # Errors
    /// [`StoreError::MissingBlocks`] if one is not: then nothing is changed, and all have to be put again.
    /// [`StoreError::Superseded`] if another engine has claimed the store since; else if the store fails.
    async fn put_manifest(&self, epoch: u64, manifest: &Manifest, blocks: &[Hash]) -> Result<(), StoreError>;

    /// Has an empty store begin with a snapshot: it stands where the manifest says, and has no event before.
    ///
    /// # Errors
    /// [`StoreError::Refused`] if the store is not empty; else as [`Store::put_manifest`].
    async fn begin(&self, epoch: u64, manifest: &Manifest, blocks: &[Hash]) -> Result<(), StoreError>;

    /// Deletes the snapshots that `keep` does not keep, and the blocks that they alone named; with `dry_run` only says
    /// what it would delete. Whoever stores snapshots at the same time: no block that a manifest names is ever deleted.
    ///
    /// With the `epoch` of the one writer, who stores no snapshot meanwhile, blocks that were never named go too, and it
    /// is refused once that writer is superseded. Without one it needs no claim.
    ///
    /// # Errors
    /// If the store fails; what was deleted before stays so.
    async fn prune(&self, epoch: Option<u64>, keep: Retention, dry_run: bool) -> Result<Pruned, StoreError>;

    /// Every snapshot, the newest first, those that this program cannot read included.
    ///
    /// # Errors
    /// If the store fails.
    async fn listed(&self) -> Result<Vec<Listed>, StoreError>;

    /// Manifests, the newest first, at most `limit`.
    ///
    /// # Errors
    /// If the store fails.
    async fn manifests(&self, limit: usize) -> Result<Vec<Manifest>, StoreError>;

    /// Tells of each snapshot that is stored from now on. None if this store does not tell of it, and has to be asked.
    ///
    /// # Errors
    /// If the store fails; as an item of the stream it is the last one.
    async fn snapshots_told(&self) -> Result<Option<SnapshotsTold>, StoreError> {
        Ok(None)
    }

    /// Blocks by hash, in the order asked for; each is checked against its hash.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] naming a block that is missing or whose bytes differ from its hash.
    async fn blocks(&self, hashes: &[Hash]) -> Result<Vec<Block>, StoreError>;

    /// Adds or replaces what a data set tells of items and users, by id, and moves the catalogue's version on. Labels and
    /// what is hidden are an operator's: they stay as they are.
    ///
    /// # Errors
    /// If the store fails.
    async fn put_catalog(&self, items: &[Item], users: &[User]) -> Result<(), StoreError>;

    /// Adds or replaces an item, labels and all, and moves the catalogue's version on.
    ///
    /// # Errors
    /// If the store fails.
    async fn set_item(&self, item: &Item) -> Result<(), StoreError>;

    /// Adds or replaces a user, likewise.
    ///
    /// # Errors
    /// If the store fails.
    async fn set_user(&self, user: &User) -> Result<(), StoreError>;

    /// Version of the catalogue: cheap, so that it can be asked often. 0 before the first [`Store::put_catalog`].
    ///
    /// # Errors
    /// If the store fails.
    async fn catalog_version(&self) -> Result<u64, StoreError>;

    /// Everything known of items and users.
    ///
    /// # Errors
    /// If the store fails.
    async fn catalog(&self) -> Result<Catalog, StoreError>;
}

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another engine has claimed the store.
    #[error(
        "another engine has taken over {location} (its epoch is {current}, ours {ours}); this one stops, nothing is \
         lost: run only one engine on a store"
    )]
    Superseded {
        /// The store.
        location: String,
        /// Epoch of the writer that was refused.
        ours: u64,
        /// Epoch in force.
        current: u64,
    },
    /// A snapshot cannot be made visible: a prune elsewhere took blocks that no manifest named yet.
    #[error(
        "cannot store snapshot {seq} in {location}: {count} of its blocks are not there, the first is {first}; store all \
         of its blocks again, then its manifest"
    )]
    MissingBlocks {
        /// The snapshot.
        seq: u64,
        /// The store.
        location: String,
        /// Blocks that are missing.
        count: usize,
        /// One of them.
        first: Hash,
    },
    /// The store cannot be reached, or failed in a way that may pass.
    #[error("cannot {action} at {location}: {reason}")]
    Unavailable {
        /// What was being done.
        action: &'static str,
        /// The store, without secrets.
        location: String,
        /// What the driver said, without secrets.
        reason: String,
    },
    /// The store refuses what was asked, and will the next time.
    #[error("cannot {action} at {location}: {reason}")]
    Refused {
        /// What was being done.
        action: &'static str,
        /// The store, without secrets.
        location: String,
        /// What the driver said, without secrets.
        reason: String,
    },
    /// What is stored cannot be used.
    #[error("{what} in {location} is damaged: {reason}")]
    Damaged {
        /// Which document or row.
        what: String,
        /// The store.
        location: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The server or file cannot serve as a store.
    #[error("{location} cannot be used: {reason}")]
    Unsuitable {
        /// The store.
        location: String,
        /// What is missing, and how to supply it.
        reason: String,
    },
}
