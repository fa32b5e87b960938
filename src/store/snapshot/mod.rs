//! Views as content-addressed blocks under a manifest, and back.
//!
//! Apart from the stores, which keep bytes and documents and know nothing of models: both keep the same snapshots.

pub mod archive;
pub mod away;
pub mod check;

mod codec;
pub mod delta;
mod encode;
mod parts;

pub use self::encode::{Changed, Encoded, Encoder};
pub use self::parts::Parts;

use std::collections::BTreeMap;

use async_trait::async_trait;
use ndarray::Array2;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Block, Counts, Hash, Manifest, SNAPSHOT_FORMAT, Store, StoreError};
use crate::consume::Offsets;
use crate::learn::LearnedState;
use crate::learn::about::Genres;
use crate::learn::params::Named;
use crate::learn::prequential::Prequential;
use crate::learn::tables::{Block as _, FloatBlock};
use crate::publish::{Addition, Version, View};

/// Names of the sections that every model has.
const SCALARS: &str = "scalars";
const USER_IDS: &str = "user_ids";
const ITEM_IDS: &str = "item_ids";
const COUNTS: &str = "counts";
/// Names of the sections that a model has which this or a later freshet has learned from its first event on.
const INTERVALS: &str = "intervals";
const ERRORS: &str = "errors";
const DRIFT: &str = "drift";
const RECENT: &str = "recent";
/// What came to models since format 2, by its sections: each may be lacking.
const ADDITIONS: [(&[&str], Addition); 2] =
    [(&[INTERVALS, ERRORS, RECENT], Addition::Intervals), (&[DRIFT], Addition::Drift)];

/// What a model holds besides its rows.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Scalars {
    prequential: Prequential,
    genres: Genres,
    rating: Vec<u8>,
    /// None where the model that predicts ratings also ranks.
    ranking: Option<Vec<u8>>,
}

/// Where and under what a snapshot is taken: the parts of the manifest that are not the model.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// Epoch of the engine.
    pub epoch: u64,
    /// Next offset of each partition after the view's last event.
    pub offsets: Offsets,
    /// When, in milliseconds since the epoch.
    pub created_at_ms: i64,
}

/// Where blocks are read from: a store, or an exported file.
#[async_trait]
pub trait Source: Send + Sync {
    /// Where it is, for people and without secrets.
    fn place(&self) -> String;

    /// Blocks by hash, in the order asked for; each is checked against its hash.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] naming a block that is missing or whose bytes differ from its hash.
    async fn read(&self, hashes: &[Hash]) -> Result<Vec<Block>, StoreError>;
}

#[async_trait]
impl<S: Store + ?Sized> Source for S {
    fn place(&self) -> String {
        self.location()
    }

    async fn read(&self, hashes: &[Hash]) -> Result<Vec<Block>, StoreError> {
        self.blocks(hashes).await
    }
}

impl Counts {
    fn of(learned: &LearnedState) -> Self {
        let (users, items) = (learned.users.len() as u64, learned.items.len() as u64);
        Self { users, items, events: learned.prequential.events() }
    }
}

/// Hash of a whole model: over its parameters and each section's name, rows and block hashes.
fn model_hash<'a, H: IntoIterator<Item = &'a Hash>>(
    params: &Named,
    sections: impl Iterator<Item = (&'a str, u64, H)>,
) -> Hash {
    let mut sha = Sha256::new();
    sha.update(format!("freshet model, format {SNAPSHOT_FORMAT}\n"));
    sha.update(serde_json::to_vec(params).expect("names and plain values always serialize"));
    for (name, rows, hashes) in sections {
        sha.update(format!("\n{name} {rows}\n"));
        for hash in hashes {
            sha.update(hash.0);
        }
    }
    Hash(sha.finalize().into())
}

/// Loads a snapshot whole, checking every block and the whole model against their hashes.
///
/// # Errors
/// [`StoreError::Damaged`] if a block is missing, differs from its hash or does not decode, or the whole does not add up;
/// [`StoreError::Unsuitable`] if the format is not the one of this program.
pub async fn load<S: Source + ?Sized>(source: &S, manifest: &Manifest) -> Result<View, StoreError> {
    let parts = Parts::load(source, manifest, &Parts::default()).await?;
    let view = parts.view(&manifest.params, manifest.version(), &View::default());
    view.map_err(|reason| damaged(&source.place(), manifest, reason))
}

impl Manifest {
    /// The moment that it is of.
    #[must_use]
    pub fn version(&self) -> Version {
        let Self { seq, batch, created_at_ms, .. } = *self;
        Version { seq, batch, published_at_ms: created_at_ms, offsets: self.offsets.clone() }
    }
}

/// Whether a snapshot holds all that this program learns. Where it does not, learning from it on gives another model than
/// learning all events.
#[must_use]
pub fn is_complete(manifest: &Manifest) -> bool {
    ADDITIONS.iter().flat_map(|(names, _)| *names).all(|name| has(manifest, name))
}

/// Whether learning from a snapshot on gives all that a later one holds: the same parts.
#[must_use]
pub fn leads_to(manifest: &Manifest, later: &Manifest) -> bool {
    ADDITIONS.iter().flat_map(|(names, _)| *names).all(|name| has(manifest, name) || !has(later, name))
}

fn has(manifest: &Manifest, name: &str) -> bool {
    manifest.sections.iter().any(|section| section.name == name)
}

/// Whether this program reads the format of a snapshot.
///
/// # Errors
/// [`StoreError::Unsuitable`] if it does not.
pub fn check_format(location: String, manifest: &Manifest) -> Result<(), StoreError> {
    let Manifest { seq, format, .. } = manifest;
    let reason = match format {
        &SNAPSHOT_FORMAT => return Ok(()),
        older if *older < SNAPSHOT_FORMAT => format!(
            "snapshot {seq} has format {format} of an older freshet, this one reads {SNAPSHOT_FORMAT}; `freshet run` \
             learns the stored events again and takes a new one"
        ),
        _ => format!(
            "snapshot {seq} has format {format}, this program reads up to {SNAPSHOT_FORMAT}; use a newer freshet"
        ),
    };
    Err(StoreError::Unsuitable { location, reason })
}

/// Block hashes of each section by its name, checked against the hash of the whole.
///
/// # Errors
/// As [`load`].
pub async fn listed<'m, S: Source + ?Sized>(
    source: &S,
    manifest: &'m Manifest,
) -> Result<BTreeMap<&'m str, Vec<Hash>>, StoreError> {
    let location = source.place();
    check_format(location.clone(), manifest)?;
    let mut hashes = BTreeMap::new();
    for section in &manifest.sections {
        let mut listed = Vec::new();
        for block in source.read(&section.index).await? {
            let reason = |reason| damaged(&location, manifest, format!("block {}: {reason}", block.hash));
            listed.extend(index_hashes(&block.bytes).map_err(reason)?);
        }
        hashes.insert(section.name.as_str(), listed);
    }
    let sections = manifest.sections.iter().map(|section| (section.name.as_str(), section.rows));
    let whole = model_hash(&manifest.params, sections.map(|(name, rows)| (name, rows, &hashes[name])));
    if whole == manifest.sha256 {
        return Ok(hashes);
    }
    Err(damaged(&location, manifest, format!("its parts hash to {whole}, the manifest says {}", manifest.sha256)))
}

/// Every block that a snapshot names, its index blocks too.
///
/// # Errors
/// As [`load`].
pub async fn all_blocks<S: Source + ?Sized>(source: &S, manifest: &Manifest) -> Result<Vec<Hash>, StoreError> {
    let listed = listed(source, manifest).await?;
    let index = manifest.sections.iter().flat_map(|section| &section.index).copied();
    Ok(listed.into_values().flatten().chain(index).collect())
}

/// The hashes that an index block lists.
pub(super) fn index_hashes(bytes: &[u8]) -> Result<Vec<Hash>, String> {
    codec::decode_index(bytes)
}

/// The rows of a block of floats, shape `(block rows, width)`; none for a block of another kind.
///
/// # Errors
/// What is wrong with it.
pub fn float_rows(block: &Block) -> Result<Option<Array2<f32>>, String> {
    match codec::content(&block.bytes)? {
        (FloatBlock::KIND, content) => FloatBlock::stored(content).map(Some),
        _ => Ok(None),
    }
}

fn damaged(location: &str, manifest: &Manifest, reason: String) -> StoreError {
    StoreError::Damaged { what: format!("snapshot {}", manifest.seq), location: location.into(), reason }
}

#[cfg(test)]
mod tests;
