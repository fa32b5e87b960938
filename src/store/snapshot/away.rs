//! Where rows of users are that are not in memory, and how a model is loaded without them.
//!
//! A row that is away has not changed since it was stored: whichever snapshot has been taken since holds it as it is, in the
//! same place. So the newest one says where to read it, and no other has to be kept for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Parts, Source, codec, damaged};
use crate::learn::away::Away;
use crate::learn::tables::{Live, Stored};
use crate::publish::View;
use crate::store::{Hash, Manifest, StoreError};

/// The tables of users' rows in one snapshot.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    /// Last micro-batch that it has learned.
    pub batch: u64,
    tables: BTreeMap<String, Origin>,
}

#[derive(Clone, Debug)]
struct Origin {
    rows: usize,
    hashes: Vec<Hash>,
}

/// A stored block to be read: part `index` of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking {
    table: String,
    index: usize,
    hash: Hash,
}

/// Stored blocks that were read, by table and place.
#[derive(Clone, Debug, Default)]
pub struct Read(BTreeMap<String, BTreeMap<usize, Arc<Stored>>>);

impl Origins {
    /// The tables of these names in a snapshot, each with its rows and the hashes of its blocks.
    pub fn new(
        batch: u64,
        names: &BTreeSet<String>,
        listed: impl IntoIterator<Item = (String, u64, Vec<Hash>)>,
    ) -> Self {
        let own = listed.into_iter().filter(|(name, ..)| names.contains(name));
        let origin = |(name, rows, hashes): (String, u64, Vec<Hash>)| {
            (name, Origin { rows: usize::try_from(rows).unwrap_or(usize::MAX), hashes })
        };
        Self { batch, tables: own.map(origin).collect() }
    }

    /// Whether a table of this name is among them.
    #[must_use]
    pub fn holds(&self, table: &str) -> bool {
        self.tables.contains_key(table)
    }

    /// Whether the table holds the row of a user.
    #[must_use]
    pub fn has(&self, table: &str, user: u32) -> bool {
        self.tables.get(table).is_some_and(|origin| (user as usize) < origin.rows)
    }

    /// Part `index` of a table.
    #[must_use]
    pub fn part(&self, table: &str, index: usize) -> Option<Lacking> {
        let hash = *self.tables.get(table)?.hashes.get(index)?;
        Some(Lacking { table: table.to_owned(), index, hash })
    }
}

impl Lacking {
    pub(super) fn table(&self) -> &str {
        &self.table
    }

    pub(super) fn index(&self) -> usize {
        self.index
    }
}

impl Read {
    /// Reads stored blocks, each once.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if one is missing, or is not what its hash says; else if the store fails.
    pub async fn from<S: Source + ?Sized>(source: &S, lacking: Vec<Lacking>) -> Result<Self, StoreError> {
        let hashes: BTreeSet<Hash> = lacking.iter().map(|part| part.hash).collect();
        let hashes: Vec<Hash> = hashes.into_iter().collect();
        let mut stored = BTreeMap::new();
        for block in source.read(&hashes).await? {
            let read = codec::stored(&block.bytes).map_err(|reason| StoreError::Damaged {
                what: format!("block {}", block.hash),
                location: source.place(),
                reason,
            })?;
            stored.insert(block.hash, read);
        }
        let mut read = Self::default();
        for Lacking { table, index, hash } in lacking {
            if let Some(stored) = stored.get(&hash) {
                read.0.entry(table).or_default().insert(index, Arc::clone(stored));
            }
        }
        Ok(read)
    }

    /// A block that was read.
    #[must_use]
    pub fn get(&self, table: &str, index: usize) -> Option<&Stored> {
        self.0.get(table)?.get(&index).map(Arc::as_ref)
    }
}

/// A snapshot as it was loaded.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The model.
    pub view: View,
    /// Hashes of the blocks of each part, by its name.
    pub listed: BTreeMap<String, Vec<Hash>>,
    /// Where the rows are that are away in it.
    pub origins: Origins,
}

/// Loads a snapshot as [`load`](super::load) does, but for the rows of users in the tables of these names: all of them are
/// away. Their blocks are read and checked, and not kept.
///
/// # Errors
/// As [`load`](super::load).
pub async fn load_without<S: Source + ?Sized>(
    source: &S,
    manifest: &Manifest,
    names: &BTreeSet<String>,
) -> Result<Loaded, StoreError> {
    let (parts, listed) = Parts::load_without(source, manifest, &Parts::default(), names).await?;
    let view = parts.view(&manifest.params, manifest.version(), &View::default());
    let view = view.map_err(|reason| damaged(&source.place(), manifest, reason))?;
    let users = if names.is_empty() { 0 } else { view.learned().users.len() };
    let view = view.without_rows(Away::<Live>::all(users).publish());
    let rows = |name: &str| manifest.sections.iter().find(|section| section.name == name).map_or(0, |found| found.rows);
    let parts = listed.iter().map(|(name, hashes)| (name.clone(), rows(name), hashes.clone()));
    let origins = Origins::new(manifest.batch, names, parts);
    Ok(Loaded { view, listed, origins })
}
