//! Views as content-addressed blocks under a manifest, and back.
//!
//! Apart from the stores, which keep bytes and documents and know nothing of models: both keep the same snapshots.

mod codec;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Block, Counts, Hash, Manifest, SNAPSHOT_FORMAT, Section, Store, StoreError};
use crate::consume::Offsets;
use crate::learn::LearnedState;
use crate::learn::blocks::Shared;
use crate::learn::ids::IdTable;
use crate::learn::model::{FactorBlock, FactorTables, RunningMean};
use crate::learn::prequential::Prequential;
use crate::publish::history::{CountBlock, HistoryTables, SeenBlock};
use crate::publish::{Version, View};

use codec::Codec;

/// Learner and its parameters, by name.
pub type Params = BTreeMap<String, serde_json::Value>;

/// Hashes that one index block lists: 128 KiB.
const INDEX_HASHES: usize = 4096;

/// What a model holds besides its rows.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Scalars {
    n_users: usize,
    n_items: usize,
    mean: RunningMean,
    generator: Option<rand_pcg::Pcg64>,
    prequential: Prequential,
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

/// Encodes views, and remembers the hashes of blocks that have not changed since the last one: a snapshot costs what
/// changed.
#[derive(Debug, Default)]
pub struct Encoder {
    params: Params,
    user_ids: Known<Vec<Arc<str>>>,
    item_ids: Known<Vec<Arc<str>>>,
    user_factors: Known<FactorBlock>,
    item_factors: Known<FactorBlock>,
    seen: Known<SeenBlock>,
    counts: Known<CountBlock>,
}

/// Blocks of one section as they were encoded last.
#[derive(Debug)]
struct Known<B>(Vec<(Arc<B>, Hash)>);

impl<B> Default for Known<B> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<B: Codec> Known<B> {
    /// Hashes of all blocks; those that changed are encoded into `new`.
    fn hashes(&mut self, blocks: &Shared<B>, new: &mut Vec<Block>) -> Vec<Hash> {
        for (index, block) in blocks.iter().enumerate() {
            if self.0.get(index).is_some_and(|(known, _)| Arc::ptr_eq(known, block)) {
                continue;
            }
            let encoded = codec::encode(block.as_ref());
            let entry = (Arc::clone(block), encoded.hash);
            new.push(encoded);
            match self.0.get_mut(index) {
                Some(known) => *known = entry,
                None => self.0.push(entry),
            }
        }
        self.0.iter().map(|(_, hash)| *hash).collect()
    }
}

impl Encoder {
    /// An encoder for models of one learner and its parameters.
    #[must_use]
    pub fn new(params: Params) -> Self {
        Self { params, ..Self::default() }
    }

    /// The manifest of a view, and the blocks that this encoder has not handed out before.
    pub fn encode(&mut self, view: &View, taken: Taken) -> (Manifest, Vec<Block>) {
        let (learned, history) = (view.learned(), view.history());
        let (users, items) = (learned.users.len(), learned.items.len());
        let mut new = Vec::new();
        let scalars = codec::encode(&Scalars {
            n_users: learned.model.n_users,
            n_items: learned.model.n_items,
            mean: learned.model.mean,
            generator: learned.model.generator.clone(),
            prequential: learned.prequential.clone(),
        });
        let hashed = [
            ("scalars", 1, vec![scalars.hash]),
            ("user_ids", users, self.user_ids.hashes(learned.users.names(), &mut new)),
            ("item_ids", items, self.item_ids.hashes(learned.items.names(), &mut new)),
            ("user_factors", users, self.user_factors.hashes(&learned.model.users, &mut new)),
            ("item_factors", items, self.item_factors.hashes(&learned.model.items, &mut new)),
            ("seen", users, self.seen.hashes(&history.seen, &mut new)),
            ("counts", items, self.counts.hashes(&history.counts, &mut new)),
        ];
        new.push(scalars);
        let sha256 = model_hash(&self.params, hashed.iter().map(|(name, rows, hashes)| (*name, *rows as u64, hashes)));
        let sections = hashed.into_iter().map(|(name, rows, hashes)| section(name, rows, &hashes, &mut new)).collect();
        let manifest = Manifest {
            seq: view.version().seq,
            format: SNAPSHOT_FORMAT,
            created_at_ms: taken.created_at_ms,
            epoch: taken.epoch,
            batch: view.version().batch,
            offsets: taken.offsets,
            params: self.params.clone(),
            counts: Counts { users: users as u64, items: items as u64, events: learned.prequential.events() },
            metrics: learned.prequential.metrics(),
            sections,
            sha256,
        };
        (manifest, new)
    }
}

impl Encoder {
    /// Hash of the whole model that a view holds.
    #[must_use]
    pub fn hash(mut self, view: &View) -> Hash {
        self.encode(view, Taken::default()).0.sha256
    }
}

/// One section, its block hashes listed in index blocks so that a manifest stays small at any model size.
fn section(name: &str, rows: usize, hashes: &[Hash], new: &mut Vec<Block>) -> Section {
    let index = hashes.chunks(INDEX_HASHES).map(|hashes| codec::encode(&hashes.to_vec()));
    let index: Vec<Block> = index.collect();
    let listed = index.iter().map(|block| block.hash).collect();
    new.extend(index);
    Section { name: name.to_owned(), rows: rows as u64, blocks: hashes.len() as u64, index: listed }
}

/// Hash of a whole model: over its parameters and each section's name, rows and block hashes.
fn model_hash<'a>(params: &Params, sections: impl Iterator<Item = (&'a str, u64, &'a Vec<Hash>)>) -> Hash {
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
/// [`StoreError::Unsuitable`] if the format is newer than this program.
pub async fn load(store: &dyn Store, manifest: &Manifest) -> Result<View, StoreError> {
    if manifest.format > SNAPSHOT_FORMAT {
        let reason = format!(
            "snapshot {} has format {}, this program reads up to {SNAPSHOT_FORMAT}; use a newer freshet",
            manifest.seq, manifest.format
        );
        return Err(StoreError::Unsuitable { location: store.location(), reason });
    }
    let hashes = listed(store, manifest).await?;
    let of = |name: &str| hashes.get(name).map_or(&[][..], Vec::as_slice);
    let scalars: Vec<Scalars> = decoded(store, manifest, of("scalars")).await?;
    let Some(scalars) = scalars.into_iter().next() else {
        return Err(damaged(store, manifest, "it has no scalars".into()));
    };
    let model = FactorTables {
        users: shared(store, manifest, of("user_factors")).await?,
        items: shared(store, manifest, of("item_factors")).await?,
        n_users: scalars.n_users,
        n_items: scalars.n_items,
        mean: scalars.mean,
        generator: scalars.generator,
    };
    let learned = LearnedState {
        users: IdTable::from_names(shared(store, manifest, of("user_ids")).await?),
        items: IdTable::from_names(shared(store, manifest, of("item_ids")).await?),
        model,
        prequential: scalars.prequential,
    };
    let history = HistoryTables {
        seen: shared(store, manifest, of("seen")).await?,
        counts: shared(store, manifest, of("counts")).await?,
    };
    let version = Version { seq: manifest.seq, batch: manifest.batch, published_at_ms: manifest.created_at_ms };
    Ok(View::new(version, learned, history))
}

/// Block hashes of each section by its name, checked against the hash of the whole.
async fn listed<'m>(store: &dyn Store, manifest: &'m Manifest) -> Result<BTreeMap<&'m str, Vec<Hash>>, StoreError> {
    let mut hashes = BTreeMap::new();
    for section in &manifest.sections {
        let index: Vec<Vec<Hash>> = decoded(store, manifest, &section.index).await?;
        hashes.insert(section.name.as_str(), index.concat());
    }
    let sections = manifest.sections.iter().map(|section| (section.name.as_str(), section.rows));
    let whole = model_hash(&manifest.params, sections.map(|(name, rows)| (name, rows, &hashes[name])));
    if whole == manifest.sha256 {
        return Ok(hashes);
    }
    Err(damaged(store, manifest, format!("its parts hash to {whole}, the manifest says {}", manifest.sha256)))
}

async fn decoded<B: Codec>(store: &dyn Store, manifest: &Manifest, hashes: &[Hash]) -> Result<Vec<B>, StoreError> {
    let mut all = Vec::with_capacity(hashes.len());
    for block in store.blocks(hashes).await? {
        let reason = |reason| damaged(store, manifest, format!("block {}: {reason}", block.hash));
        all.push(codec::decode(&block.bytes).map_err(reason)?);
    }
    Ok(all)
}

async fn shared<B: Codec>(store: &dyn Store, manifest: &Manifest, hashes: &[Hash]) -> Result<Shared<B>, StoreError> {
    Ok(decoded(store, manifest, hashes).await?.into_iter().map(Arc::new).collect())
}

fn damaged(store: &dyn Store, manifest: &Manifest, reason: String) -> StoreError {
    StoreError::Damaged { what: format!("snapshot {}", manifest.seq), location: store.location(), reason }
}

#[cfg(test)]
mod tests;
