//! What a trainer tells servers between snapshots: the blocks that changed, and a commit that says which model they make.
//!
//! Apart from the log that carries it. Each block is a record under its place in the model, so that a compacted topic keeps
//! the newest of each; a commit is a record under a key of its own, behind the blocks that it speaks of. What a commit
//! describes is decided by the hash of the whole model alone: `after` only tells why it may not fit.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Changed, Encoder, codec};
use crate::consume::Offsets;
use crate::learn::params::Named;
use crate::learn::prequential::Metrics;
use crate::publish::{Version, View};
use crate::store::{Block, Counts, Hash, SNAPSHOT_FORMAT};

/// Format of the records, apart from that of the model in them.
pub const DELTA_FORMAT: u32 = 3;

/// Key of the commits.
const COMMIT: &[u8] = b"commit";
/// What the keys of blocks begin with.
const BLOCK: &str = "block/";
/// What the keys of pieces of blocks begin with.
const PIECE: &str = "piece/";
/// What the payloads of blocks begin with.
const MAGIC: &[u8; 4] = b"FRD1";

/// What changed in a model since the last view that its encoder saw, and what it is now.
#[derive(Clone, Debug)]
pub struct Delta {
    /// The blocks.
    pub changed: Vec<Changed>,
    /// Every part, in order.
    pub parts: Vec<PartLine>,
    /// Hash of the whole.
    pub sha256: Hash,
}

/// One part of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartLine {
    /// What it holds.
    pub name: String,
    /// Rows in it.
    pub rows: u64,
    /// Blocks that hold the rows.
    pub blocks: usize,
}

/// Says that the blocks before it, with those of before, are a model; sent again as it is, that the model is still current.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Commit {
    /// [`DELTA_FORMAT`].
    pub delta_format: u32,
    /// Format of the blocks, as in a [`Manifest`](crate::store::Manifest).
    pub format: u32,
    /// Version of the trainer.
    pub freshet: String,
    /// Name of the trainer's store.
    pub store: String,
    /// Epoch of the trainer on its store.
    pub epoch: u64,
    /// Number of the delta, from 1, since the trainer started.
    pub delta: u64,
    /// `seq` of the model that the blocks make this one of: the delta before, or the snapshot that the trainer began with; 0
    /// if all blocks were sent.
    pub after: u64,
    /// The model has learned exactly the events up to this `seq`, all of them durable.
    pub seq: u64,
    /// Last micro-batch learned.
    pub batch: u64,
    /// Next offset of each partition of the events.
    pub offsets: Offsets,
    /// When the trainer published the model, in milliseconds since the epoch.
    pub published_at_ms: i64,
    /// When the trainer said this, likewise.
    pub sent_at_ms: i64,
    /// Learner and its parameters, by name.
    pub params: Named,
    /// Users, items, events.
    pub counts: Counts,
    /// Test-then-learn figures.
    pub metrics: Metrics,
    /// The parts, in order.
    pub parts: Vec<PartLine>,
    /// Records of blocks that were sent with it.
    pub changed: usize,
    /// Hash of the whole model.
    pub sha256: Hash,
}

/// What of a commit every version writes.
#[derive(Deserialize)]
struct Formats {
    delta_format: u32,
    format: u32,
    freshet: String,
}

/// Which trainer speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Teller {
    /// Stands for its store: epochs of different stores are not to be compared.
    pub store: u64,
    /// Its epoch on the store.
    pub epoch: u64,
}

impl Teller {
    /// The trainer of this epoch on the store of this name.
    #[must_use]
    pub fn new(store: &str, epoch: u64) -> Self {
        let begin = Hash::of(store.as_bytes()).0.first_chunk::<8>().copied().unwrap_or_default();
        Self { store: u64::from_le_bytes(begin), epoch }
    }
}

/// Where something is in a model: a block, or a piece of one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Name of the part.
    pub part: String,
    /// Place among the part's blocks.
    pub index: usize,
    /// Place in the block; none of a whole one.
    pub piece: Option<usize>,
}

/// A block or a piece as a trainer told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToldBlock {
    /// The trainer.
    pub teller: Teller,
    /// Batch of the commit that it belongs to: a model may change without an event, and never without a batch.
    pub batch: u64,
    /// What it is.
    pub place: Place,
    /// Its bytes, checked against their hash.
    pub block: Block,
}

/// A record of a trainer.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// A block.
    Block(ToldBlock),
    /// A commit.
    Commit(Box<Commit>),
}

/// Why a record is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotUnderstood {
    /// The trainer is of another version, whose format is another.
    #[error(
        "the trainer is freshet {freshet} and writes format {format} ({delta_format} of deltas), this server is freshet {} \
         and reads format {SNAPSHOT_FORMAT} ({DELTA_FORMAT} of deltas): run the same version",
        env!("CARGO_PKG_VERSION")
    )]
    Version {
        /// Version of the trainer.
        freshet: String,
        /// Format of its blocks.
        format: u32,
        /// Format of its records.
        delta_format: u32,
    },
    /// It is no record of a trainer, or was damaged.
    #[error("{0}")]
    Damaged(String),
}

impl Encoder {
    /// What was written since the last view that this encoder has seen: with it, any model in between becomes this one.
    pub fn delta(&mut self, view: &View) -> Delta {
        let mut changed = Vec::new();
        let (hashed, sha256) = self.hashed(view, true, &mut changed);
        let line = |(name, rows, hashes): (String, u64, Vec<Hash>)| PartLine { name, rows, blocks: hashes.len() };
        Delta { changed, parts: hashed.into_iter().map(line).collect(), sha256 }
    }
}

impl Commit {
    /// The commit of `delta` as the first one of a trainer; what is not the model's is the caller's to fill in.
    #[must_use]
    pub fn of(view: &View, delta: &Delta, params: Named, (store, epoch): (&str, u64)) -> Self {
        let Version { seq, batch, published_at_ms, offsets } = view.version().clone();
        Self {
            delta_format: DELTA_FORMAT,
            format: SNAPSHOT_FORMAT,
            freshet: env!("CARGO_PKG_VERSION").to_owned(),
            store: store.to_owned(),
            epoch,
            delta: 1,
            after: 0,
            seq,
            batch,
            offsets,
            published_at_ms,
            sent_at_ms: published_at_ms,
            params,
            counts: Counts::of(view.learned()),
            metrics: view.learned().prequential.metrics(),
            parts: delta.parts.clone(),
            changed: delta.changed.len(),
            sha256: delta.sha256,
        }
    }

    /// Who says it.
    #[must_use]
    pub fn teller(&self) -> Teller {
        Teller::new(&self.store, self.epoch)
    }

    /// The moment that it speaks of.
    #[must_use]
    pub fn version(&self) -> Version {
        let Self { seq, batch, published_at_ms, .. } = *self;
        Version { seq, batch, published_at_ms, offsets: self.offsets.clone() }
    }

    /// Key and payload of its record.
    #[must_use]
    pub fn record(&self) -> (Vec<u8>, Vec<u8>) {
        (COMMIT.to_vec(), serde_json::to_vec(self).expect("names and plain values always serialize"))
    }
}

impl Changed {
    /// What is told of it: its pieces that were written, or all of it.
    #[must_use]
    pub fn told(self) -> Vec<(Place, Block)> {
        let Self { part, index, block, pieces } = self;
        let place = |piece| Place { part: part.clone(), index, piece };
        if pieces.is_empty() {
            return vec![(place(None), block)];
        }
        let kind = codec::content(&block.bytes).map_or(0, |(kind, _)| kind);
        let told = |(piece, bytes): (usize, Vec<u8>)| {
            let bytes = [&[kind], bytes.as_slice()].concat();
            (place(Some(piece)), Block { hash: Hash::of(&bytes), bytes })
        };
        pieces.into_iter().map(told).collect()
    }
}

/// Key and payload of the record of a block or a piece.
#[must_use]
pub fn block_record(teller: Teller, batch: u64, place: &Place, block: &Block) -> (Vec<u8>, Vec<u8>) {
    let mut payload = Vec::with_capacity(HEADER + block.bytes.len());
    payload.extend(MAGIC);
    payload.extend(teller.store.to_le_bytes());
    payload.extend(teller.epoch.to_le_bytes());
    payload.extend(batch.to_le_bytes());
    payload.extend(block.hash.0);
    payload.extend(&block.bytes);
    let Place { part, index, piece } = place;
    let key = match piece {
        None => format!("{BLOCK}{part}/{index}"),
        Some(piece) => format!("{PIECE}{part}/{index}/{piece}"),
    };
    (key.into_bytes(), payload)
}

/// The place that a key names.
fn place(key: &str) -> Option<Place> {
    let (rest, piece) = match key.strip_prefix(PIECE) {
        Some(rest) => {
            let (rest, piece) = rest.rsplit_once('/')?;
            (rest, Some(piece.parse().ok()?))
        }
        None => (key.strip_prefix(BLOCK)?, None),
    };
    let (part, index) = rest.rsplit_once('/')?;
    Some(Place { part: part.to_owned(), index: index.parse().ok()?, piece })
}

/// Bytes before a block's own.
const HEADER: usize = MAGIC.len() + 8 + 8 + 8 + 32;

/// What a record says.
///
/// # Errors
/// If it is of another format, or damaged.
pub fn read(key: &[u8], payload: &[u8]) -> Result<Told, NotUnderstood> {
    if key == COMMIT {
        return read_commit(payload).map(|commit| Told::Commit(Box::new(commit)));
    }
    let name = String::from_utf8_lossy(key);
    let damaged = |what: &str| NotUnderstood::Damaged(format!("record {name:?} of the model's topic {what}"));
    let place = place(&name).ok_or_else(|| damaged("is no trainer's"))?;
    let (teller, batch, hash, bytes) = header(payload).ok_or_else(|| damaged("does not begin as a block does"))?;
    if Hash::of(bytes) != hash {
        return Err(damaged("has other bytes than its hash says"));
    }
    let block = Block { hash, bytes: bytes.to_vec() };
    Ok(Told::Block(ToldBlock { teller, batch, place, block }))
}

fn read_commit(payload: &[u8]) -> Result<Commit, NotUnderstood> {
    let damaged = |error: serde_json::Error| {
        NotUnderstood::Damaged(format!("a commit on the model's topic is none that this freshet reads: {error}"))
    };
    let Formats { delta_format, format, freshet } = serde_json::from_slice(payload).map_err(damaged)?;
    if (delta_format, format) != (DELTA_FORMAT, SNAPSHOT_FORMAT) {
        return Err(NotUnderstood::Version { freshet, format, delta_format });
    }
    serde_json::from_slice(payload).map_err(damaged)
}

/// Trainer, batch, hash and bytes of a block's payload.
fn header(payload: &[u8]) -> Option<(Teller, u64, Hash, &[u8])> {
    let (magic, rest) = payload.split_first_chunk::<4>()?;
    let (store, rest) = rest.split_first_chunk::<8>()?;
    let (epoch, rest) = rest.split_first_chunk::<8>()?;
    let (batch, rest) = rest.split_first_chunk::<8>()?;
    let (hash, bytes) = rest.split_first_chunk::<32>()?;
    let teller = Teller { store: u64::from_le_bytes(*store), epoch: u64::from_le_bytes(*epoch) };
    (magic == MAGIC).then(|| (teller, u64::from_le_bytes(*batch), Hash(*hash), bytes))
}

/// Blocks and pieces that were told and are not yet part of a model: the newest of each place.
#[derive(Clone, Debug, Default)]
pub struct Changes(BTreeMap<Place, Change>);

#[derive(Clone, Debug)]
struct Change {
    epoch: u64,
    batch: u64,
    block: Arc<Block>,
}

impl Changes {
    /// Adds a block, in the place of an older one.
    pub fn add(&mut self, told: ToldBlock) {
        let ToldBlock { teller: Teller { epoch, .. }, batch, place, block } = told;
        self.0.insert(place, Change { epoch, batch, block: Arc::new(block) });
    }

    /// Adds all of `newer`, which is empty then.
    pub fn append(&mut self, newer: &mut Self) {
        self.0.append(&mut newer.0);
    }

    /// Keeps what was told after the model of this epoch and batch.
    pub fn keep_after(&mut self, epoch: u64, batch: u64) {
        self.0.retain(|_, change| (change.epoch, change.batch) > (epoch, batch));
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// What was told of a part, in the order of its blocks and their pieces.
    pub(super) fn of<'c>(&'c self, part: &str) -> impl Iterator<Item = (&'c Place, &'c Arc<Block>)> {
        let place = |index, piece| Place { part: part.to_owned(), index, piece };
        let range = self.0.range(place(0, None)..=place(usize::MAX, Some(usize::MAX)));
        range.map(|(place, change)| (place, &change.block))
    }
}

#[cfg(test)]
mod tests;
