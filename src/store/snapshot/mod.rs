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
use crate::learn::about::Genres;
use crate::learn::ids::IdTable;
use crate::learn::params::{self, Named};
use crate::learn::prequential::Prequential;
use crate::learn::tables::{self, Codec, Table, Tables};
use crate::learn::{self, LearnedState, Model};
use crate::publish::history::HistoryTables;
use crate::publish::{Version, View};

/// Hashes that one index block lists: 128 KiB.
const INDEX_HASHES: usize = 4096;

/// Names of the sections that every model has.
const SCALARS: &str = "scalars";
const USER_IDS: &str = "user_ids";
const ITEM_IDS: &str = "item_ids";
const SEEN: &str = "seen";
const COUNTS: &str = "counts";
/// What the names of the two models' own sections begin with.
const RATING: &str = "rating.";
const RANKING: &str = "ranking.";

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

/// Encodes views, and remembers the hashes of blocks that have not changed since the last one: a snapshot costs what
/// changed.
#[derive(Debug, Default)]
pub struct Encoder {
    params: Named,
    known: BTreeMap<String, Known>,
}

/// Blocks of one section as they were encoded last.
#[derive(Debug, Default)]
struct Known(Vec<(Arc<dyn Codec>, Hash)>);

impl Known {
    /// Hashes of all blocks; those that changed are encoded into `new`.
    fn hashes(&mut self, blocks: &[Arc<dyn Codec>], new: &mut Vec<Block>) -> Vec<Hash> {
        for (index, block) in blocks.iter().enumerate() {
            if self.0.get(index).is_some_and(|(known, _)| Arc::ptr_eq(known, block)) {
                continue;
            }
            let encoded = codec::encode(&**block);
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
    /// An encoder for models of one configuration.
    #[must_use]
    pub fn new(params: Named) -> Self {
        Self { params, ..Self::default() }
    }

    /// The manifest of a view, and the blocks that this encoder has not handed out before.
    pub fn encode(&mut self, view: &View, taken: Taken) -> (Manifest, Vec<Block>) {
        let learned = view.learned();
        let mut new = Vec::new();
        let scalars = codec::encode(&Scalars {
            prequential: learned.prequential.clone(),
            genres: learned.genres.clone(),
            rating: learned.rating.scalars(),
            ranking: learned.ranking.as_ref().map(|model| model.scalars()),
        });
        let mut listed = vec![(SCALARS.to_owned(), 1, vec![scalars.hash])];
        new.push(scalars);
        for table in parts(view) {
            let hashes = self.known.entry(table.name.clone()).or_default().hashes(&table.blocks, &mut new);
            listed.push((table.name, table.rows, hashes));
        }
        let sha256 = model_hash(&self.params, listed.iter().map(|(name, rows, hashes)| (name.as_str(), *rows, hashes)));
        let sections = listed.into_iter().map(|(name, rows, hashes)| section(name, rows, &hashes, &mut new)).collect();
        let counts = Counts {
            users: learned.users.len() as u64,
            items: learned.items.len() as u64,
            events: learned.prequential.events(),
        };
        let manifest = Manifest {
            seq: view.version().seq,
            format: SNAPSHOT_FORMAT,
            created_at_ms: taken.created_at_ms,
            epoch: taken.epoch,
            batch: view.version().batch,
            offsets: taken.offsets,
            params: self.params.clone(),
            counts,
            metrics: learned.prequential.metrics(),
            sections,
            sha256,
        };
        (manifest, new)
    }
}

/// Everything that a view is made of, besides its scalars.
fn parts(view: &View) -> Vec<Table> {
    let (learned, history) = (view.learned(), view.history());
    let (users, items) = (learned.users.len(), learned.items.len());
    let mut parts = vec![
        Table::new(USER_IDS, users, learned.users.names()),
        Table::new(ITEM_IDS, items, learned.items.names()),
        Table::new(SEEN, users, &history.seen),
        Table::new(COUNTS, items, &history.counts),
    ];
    let own = |prefix: &str, model: &dyn Model| -> Vec<Table> {
        let named = |table: Table| Table { name: format!("{prefix}{}", table.name), ..table };
        model.tables().into_iter().map(named).collect()
    };
    parts.extend(own(RATING, &*learned.rating));
    parts.extend(learned.ranking.iter().flat_map(|model| own(RANKING, &**model)));
    parts
}

impl Encoder {
    /// Hash of the whole model that a view holds.
    #[must_use]
    pub fn hash(mut self, view: &View) -> Hash {
        self.encode(view, Taken::default()).0.sha256
    }
}

/// One section, its block hashes listed in index blocks so that a manifest stays small at any model size.
fn section(name: String, rows: u64, hashes: &[Hash], new: &mut Vec<Block>) -> Section {
    let index = hashes.chunks(INDEX_HASHES).map(|hashes| codec::encode(&hashes.to_vec()));
    let index: Vec<Block> = index.collect();
    let listed = index.iter().map(|block| block.hash).collect();
    new.extend(index);
    Section { name, rows, blocks: hashes.len() as u64, index: listed }
}

/// Hash of a whole model: over its parameters and each section's name, rows and block hashes.
fn model_hash<'a>(params: &Named, sections: impl Iterator<Item = (&'a str, u64, &'a Vec<Hash>)>) -> Hash {
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
pub async fn load(store: &dyn Store, manifest: &Manifest) -> Result<View, StoreError> {
    check_format(store, manifest)?;
    let mut tables = Tables::default();
    for (name, hashes) in listed(store, manifest).await? {
        let rows = manifest.sections.iter().find(|section| section.name == name).map_or(0, |section| section.rows);
        let mut blocks = Vec::with_capacity(hashes.len());
        for block in store.blocks(&hashes).await? {
            let reason = |reason| damaged(store, manifest, format!("block {}: {reason}", block.hash));
            blocks.push(codec::content(&block.bytes).map_err(reason)?);
        }
        tables.parts.insert(name.to_owned(), (rows, blocks));
    }
    let (learned, history) = assemble(manifest, tables).map_err(|reason| damaged(store, manifest, reason))?;
    let version = Version { seq: manifest.seq, batch: manifest.batch, published_at_ms: manifest.created_at_ms };
    Ok(View::new(version, learned, history))
}

/// Whether this program reads the format of a snapshot.
///
/// # Errors
/// [`StoreError::Unsuitable`] if it does not.
pub fn check_format(store: &dyn Store, manifest: &Manifest) -> Result<(), StoreError> {
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
    Err(StoreError::Unsuitable { location: store.location(), reason })
}

/// The parts of a view from those of the snapshot, or what is wrong with them.
fn assemble(manifest: &Manifest, mut tables: Tables) -> Result<(LearnedState, HistoryTables), String> {
    let config = params::config_of(&manifest.params)?;
    let (_, scalars) = tables.take::<Scalars>(SCALARS)?;
    let scalars = scalars.front().ok_or("it has no scalars")?;
    let users = IdTable::from_names(tables.take(USER_IDS)?.1);
    let items = IdTable::from_names(tables.take(ITEM_IDS)?.1);
    let history = HistoryTables { seen: tables.take(SEEN)?.1, counts: tables.take(COUNTS)?.1 };
    let model = |kind, prefix: &str, scalars: &[u8]| {
        let own = |(name, part): (&String, &(u64, Vec<tables::Stored>))| {
            name.strip_prefix(prefix).map(|name| (name.to_owned(), part.clone()))
        };
        learn::restore(kind, &config, scalars, &mut Tables { parts: tables.parts.iter().filter_map(own).collect() })
    };
    let rating = model(config.learn.rating, RATING, &scalars.rating)?;
    let ranking = scalars.ranking.as_ref().map(|scalars| model(config.learn.ranking, RANKING, scalars)).transpose()?;
    let (prequential, genres) = (scalars.prequential.clone(), scalars.genres.clone());
    Ok((LearnedState { users, items, genres, rating, ranking, prequential }, history))
}

/// Block hashes of each section by its name, checked against the hash of the whole.
async fn listed<'m>(store: &dyn Store, manifest: &'m Manifest) -> Result<BTreeMap<&'m str, Vec<Hash>>, StoreError> {
    let mut hashes = BTreeMap::new();
    for section in &manifest.sections {
        let index = index(store, manifest, &section.index).await?;
        hashes.insert(section.name.as_str(), index.concat());
    }
    let sections = manifest.sections.iter().map(|section| (section.name.as_str(), section.rows));
    let whole = model_hash(&manifest.params, sections.map(|(name, rows)| (name, rows, &hashes[name])));
    if whole == manifest.sha256 {
        return Ok(hashes);
    }
    Err(damaged(store, manifest, format!("its parts hash to {whole}, the manifest says {}", manifest.sha256)))
}

async fn index(store: &dyn Store, manifest: &Manifest, hashes: &[Hash]) -> Result<Vec<Vec<Hash>>, StoreError> {
    let mut all = Vec::with_capacity(hashes.len());
    for block in store.blocks(hashes).await? {
        let reason = |reason| damaged(store, manifest, format!("block {}: {reason}", block.hash));
        all.push(codec::decode(&block.bytes).map_err(reason)?);
    }
    Ok(all)
}

fn damaged(store: &dyn Store, manifest: &Manifest, reason: String) -> StoreError {
    StoreError::Damaged { what: format!("snapshot {}", manifest.seq), location: store.location(), reason }
}

#[cfg(test)]
mod tests;
