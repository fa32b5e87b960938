//! A model as its blocks, apart by part and index: what a server keeps, changes by deltas, and makes views of.
//!
//! Blocks are shared, and each is read once: another state of the model costs what differs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::delta::{Changes, PartLine, Place};
use super::{
    COUNTS, DRIFT, ERRORS, INTERVALS, ITEM_IDS, RECENT, SCALARS, Scalars, Source, USER_IDS, codec, damaged, listed,
    model_hash,
};
use crate::learn::blocks::Shared;
use crate::learn::drift::Drift;
use crate::learn::exchange::Exchange;
use crate::learn::intervals::{Intervals, UserErrors};
use crate::learn::params::{self, Named, RatingScale};
use crate::learn::tables::{Frozen, Matrix, Stored, Tables};
use crate::learn::{self, LearnedState, RANKING, RATING};
use crate::publish::history::{HistoryTables, RecentBlock, SEEN};
use crate::publish::{Version, View};
use crate::store::{Block, Hash, Manifest, Section, StoreError};

/// The parts of a model by name.
#[derive(Clone, Debug, Default)]
pub struct Parts(BTreeMap<String, Part>);

/// One part.
#[derive(Clone, Debug, Default)]
struct Part {
    rows: u64,
    blocks: Arc<Vec<Held>>,
}

/// A block, to be read when a view is first made of it.
#[derive(Clone, Debug)]
struct Held {
    hash: Hash,
    stored: Arc<Stored>,
}

impl Held {
    fn new(block: &Block) -> Result<Self, String> {
        let reason = |reason| format!("block {}: {reason}", block.hash);
        Ok(Self { hash: block.hash, stored: codec::stored(&block.bytes).map_err(reason)? })
    }

    /// What one that was `before` has become by what was told of it: all of it, or pieces in order.
    fn changed(before: Option<&Self>, told: &[(&Place, &Arc<Block>)]) -> Result<Self, String> {
        let mut pieces = Vec::new();
        for (place, block) in told {
            match place.piece {
                None => {
                    return before.filter(|same| same.hash == block.hash).cloned().map_or_else(|| Self::new(block), Ok);
                }
                Some(piece) => pieces.push((piece, block.bytes.split_first().ok_or("a piece is empty")?)),
            }
        }
        let Some((_, (kind, _))) = pieces.first() else { return Err("nothing was told of it".to_owned()) };
        let bytes: Vec<(usize, &[u8])> = pieces.iter().map(|(piece, (_, bytes))| (*piece, *bytes)).collect();
        let reason = |reason| format!("a block of kind {kind}: {reason}");
        let (hash, stored) = codec::changed(before.map(|before| &*before.stored), **kind, &bytes).map_err(reason)?;
        Ok(Self { hash, stored: Arc::new(stored) })
    }
}

/// Blocks read at once where their rows are not kept.
const READ_AT_ONCE: usize = 256;

impl Part {
    /// A part whose blocks are read and checked, and whose rows are not kept.
    async fn away<S: Source + ?Sized>(
        source: &S,
        manifest: &Manifest,
        section: &Section,
        hashes: &[Hash],
    ) -> Result<Self, StoreError> {
        let (mut blocks, rows) =
            (Vec::with_capacity(hashes.len()), usize::try_from(section.rows).unwrap_or(usize::MAX));
        for hashes in hashes.chunks(READ_AT_ONCE) {
            for block in source.read(hashes).await? {
                let reason = |reason| damaged(&source.place(), manifest, format!("block {}: {reason}", block.hash));
                let stored = codec::absent(&block.bytes, blocks.len(), rows).map_err(reason)?;
                blocks.push(Held { hash: block.hash, stored });
            }
        }
        Ok(Self { rows: section.rows, blocks: Arc::new(blocks) })
    }
}

impl Parts {
    /// The parts of a snapshot, checked against its hash. Blocks that are `known` are shared with it and not read.
    ///
    /// # Errors
    /// As [`load`](super::load).
    pub async fn load<S: Source + ?Sized>(source: &S, manifest: &Manifest, known: &Self) -> Result<Self, StoreError> {
        Ok(Self::load_without(source, manifest, known, &BTreeSet::new()).await?.0)
    }

    /// The same without the rows of the parts of these names, which are away; and the hashes of each part.
    ///
    /// # Errors
    /// As [`load`](super::load).
    pub(super) async fn load_without<S: Source + ?Sized>(
        source: &S,
        manifest: &Manifest,
        known: &Self,
        away: &BTreeSet<String>,
    ) -> Result<(Self, BTreeMap<String, Vec<Hash>>), StoreError> {
        let known = known.0.values().flat_map(|part| &*part.blocks);
        let mut held: BTreeMap<Hash, Held> = known.map(|block| (block.hash, block.clone())).collect();
        let listed = listed(source, manifest).await?;
        let mut parts = BTreeMap::new();
        for section in &manifest.sections {
            let hashes = &listed[section.name.as_str()];
            if away.contains(&section.name) {
                parts.insert(section.name.clone(), Part::away(source, manifest, section, hashes).await?);
                continue;
            }
            let missing: BTreeSet<Hash> = hashes.iter().filter(|hash| !held.contains_key(hash)).copied().collect();
            let missing: Vec<Hash> = missing.into_iter().collect();
            let read = source.read(&missing).await?;
            for block in &read {
                held.insert(block.hash, Held::new(block).map_err(|reason| damaged(&source.place(), manifest, reason))?);
            }
            let blocks = Arc::new(hashes.iter().map(|hash| held[hash].clone()).collect());
            parts.insert(section.name.clone(), Part { rows: section.rows, blocks });
        }
        let listed = listed.into_iter().map(|(name, hashes)| (name.to_owned(), hashes)).collect();
        Ok((Self(parts), listed))
    }

    /// These parts after `changes`, as far as `listed` names them.
    ///
    /// # Errors
    /// The first block that is named and not there, or is none.
    pub fn changed(&self, changes: &Changes, listed: &[PartLine]) -> Result<Self, String> {
        let mut parts = BTreeMap::new();
        for PartLine { name, rows, blocks: count } in listed {
            let mut blocks = self.0.get(name).map(|part| Arc::clone(&part.blocks)).unwrap_or_default();
            if blocks.len() > *count {
                Arc::make_mut(&mut blocks).truncate(*count);
            }
            let told: Vec<(&Place, &Arc<Block>)> =
                changes.of(name).take_while(|(place, _)| place.index < *count).collect();
            for of_block in told.chunk_by(|(one, _), (other, _)| one.index == other.index) {
                let Some(index) = of_block.first().map(|(place, _)| place.index) else { continue };
                if index > blocks.len() {
                    continue;
                }
                let held = Held::changed(blocks.get(index), of_block)?;
                let own = Arc::make_mut(&mut blocks);
                match own.get_mut(index) {
                    Some(before) => *before = held,
                    None => own.push(held),
                }
            }
            if blocks.len() < *count {
                return Err(format!("block {} of {name} is not there", blocks.len()));
            }
            parts.insert(name.clone(), Part { rows: *rows, blocks });
        }
        Ok(Self(parts))
    }

    /// Hash of the whole model, whose parts are these in the order of `listed`.
    #[must_use]
    pub fn hash(&self, params: &Named, listed: &[PartLine]) -> Hash {
        let own = listed.iter().filter_map(|line| self.0.get_key_value(&line.name));
        model_hash(params, own.map(|(name, part)| (name.as_str(), part.rows, part.blocks.iter().map(|one| &one.hash))))
    }

    /// The view that shows this model. What it has in common with the one `before` costs little.
    ///
    /// # Errors
    /// What does not fit together.
    pub fn view(&self, params: &Named, version: Version, before: &View) -> Result<View, String> {
        let mut tables = Tables::default();
        for (name, Part { rows, blocks }) in &self.0 {
            let blocks = blocks.iter().map(|block| Arc::clone(&block.stored)).collect();
            tables.parts.insert(name.clone(), (*rows, blocks));
        }
        let (learned, history) = assemble(params, tables, before)?;
        Ok(View::new(version, learned, history))
    }
}

/// What a view is made of from the parts of a stored model, or what is wrong with them.
fn assemble(params: &Named, mut tables: Tables, before: &View) -> Result<(LearnedState, HistoryTables), String> {
    let config = params::config_of(params)?;
    let (_, scalars) = tables.take::<Scalars>(SCALARS)?;
    let scalars = scalars.get(0).ok_or("it has no scalars")?;
    let users = before.learned().users.or_grown(tables.take(USER_IDS)?.1);
    let items = before.learned().items.or_grown(tables.take(ITEM_IDS)?.1);
    let (intervals, errors, drift, recent) = additions(&mut tables)?;
    let history = HistoryTables { seen: tables.take(SEEN)?.1, counts: tables.take(COUNTS)?.1, recent };
    let model = |kind, prefix: &str, scalars: &[u8]| {
        let own = |(name, part): (&String, &(u64, Vec<Arc<Stored>>))| {
            name.strip_prefix(prefix).map(|name| (name.to_owned(), part.clone()))
        };
        learn::restore(kind, &config, scalars, &mut Tables { parts: tables.parts.iter().filter_map(own).collect() })
    };
    let rating = model(config.learn.rating, RATING, &scalars.rating)?;
    let ranking = scalars.ranking.as_ref().map(|scalars| model(config.learn.ranking, RANKING, scalars)).transpose()?;
    let (prequential, genres) = (scalars.prequential.clone(), scalars.genres.clone());
    let models = [Some(&rating), ranking.as_ref()];
    let width = models.into_iter().flatten().filter_map(|model| model.item_rows()).map(Matrix::width).sum();
    let exchange = Exchange::read(&mut tables, config.engine.shard, width)?;
    let scale = RatingScale::of(&config);
    let learned =
        LearnedState { users, items, genres, rating, ranking, prequential, intervals, errors, drift, exchange, scale };
    Ok((learned, history))
}

/// What the snapshots of an earlier freshet lack; nothing learned where it is not there.
fn additions(tables: &mut Tables) -> Result<(Intervals, UserErrors<Frozen>, Drift, Shared<RecentBlock>), String> {
    let intervals =
        if tables.parts.contains_key(INTERVALS) { tables.take::<Intervals>(INTERVALS)?.1 } else { Shared::default() };
    let drift = if tables.parts.contains_key(DRIFT) { tables.take::<Drift>(DRIFT)?.1 } else { Shared::default() };
    let errors =
        if tables.parts.contains_key(ERRORS) { UserErrors::read(tables, ERRORS)? } else { UserErrors::default() };
    let recent = if tables.parts.contains_key(RECENT) { tables.take(RECENT)?.1 } else { Shared::default() };
    let intervals = intervals.get(0).cloned().unwrap_or_default();
    let drift = drift.get(0).cloned().unwrap_or_default();
    Ok((intervals, errors, drift, recent))
}
