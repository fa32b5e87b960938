//! Views as blocks and a manifest.
//!
//! Apart from the reading, because an encoder remembers: a snapshot, or what servers are told, costs what changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::away::{Lacking, Origins, Read};
use super::{
    ADDITIONS, COUNTS, DRIFT, ERRORS, INTERVALS, ITEM_IDS, RECENT, SCALARS, Scalars, Taken, USER_IDS, codec, has,
    model_hash,
};
use crate::learn::blocks::Shared;
use crate::learn::exchange::Exchange;
use crate::learn::params::Named;
use crate::learn::tables::{Marks, Stores, Table};
use crate::learn::{Model, RANKING, RATING};
use crate::publish::View;
use crate::publish::history::SEEN;
use crate::store::{Block, Counts, Hash, Manifest, SNAPSHOT_FORMAT, Section};

/// Hashes that one index block lists: 128 KiB.
const INDEX_HASHES: usize = 4096;

/// A view as it is stored.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// What names the blocks.
    pub manifest: Manifest,
    /// The blocks that this encoder has not handed out before.
    pub new: Vec<Block>,
    /// All blocks of the snapshot, its index blocks too.
    pub blocks: Vec<Hash>,
}

/// Encodes views, and remembers the hashes of blocks that have not changed since the last one: a snapshot costs what
/// changed.
#[derive(Debug, Default)]
pub struct Encoder {
    params: Named,
    known: BTreeMap<String, Known>,
    /// Stored parts that rows which are away are taken from.
    read: Read,
}

/// A part of a view by its name: its rows, and the hashes of its blocks.
pub(super) type Hashed = (String, u64, Vec<Hash>);

/// A block that was written since an encoder handed it out last, with its place in the model. It may be what it was then,
/// and have been another in between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Name of the part.
    pub part: String,
    /// Place among the part's blocks.
    pub index: usize,
    /// The block.
    pub block: Block,
    /// What of it was written, where it is told in pieces: each by its place in the block, in order.
    pub pieces: Vec<(usize, Vec<u8>)>,
}

/// A part as it was encoded last: its blocks, and the hash of each that is stored.
#[derive(Debug)]
struct Known {
    rows: u64,
    blocks: Box<dyn Marks>,
    /// Of each block, if it was handed out.
    hashes: Vec<Option<Hash>>,
}

impl Known {
    fn new(table: &Table, hashes: &[Hash]) -> Self {
        Self { rows: table.rows, blocks: table.blocks.marks(), hashes: hashes.iter().copied().map(Some).collect() }
    }

    fn nothing(table: &Table) -> Self {
        Self { rows: 0, blocks: table.blocks.no_marks(), hashes: Vec::new() }
    }

    /// Whether a stored block is as it was.
    fn has(&self, blocks: &dyn Stores, index: usize) -> bool {
        self.hashes.get(index).is_some_and(Option::is_some) && self.blocks.is(index, blocks)
    }

    /// Those of a table's stored blocks that are not as they were.
    fn changed(known: Option<&Self>, blocks: &dyn Stores) -> Vec<usize> {
        (0..blocks.len()).filter(|index| !known.is_some_and(|known| known.has(blocks, *index))).collect()
    }

    /// Encodes a stored block, in pieces too where they are `told`, and knows it from here on. Rows that are away are as in what
    /// was read.
    fn encode(&mut self, view: &View, table: &Table, index: usize, read: &Read, told: bool) -> Changed {
        let mixed = read.get(&table.name, index).map(|stored| (away_in(view, &*table.blocks, index), stored));
        let away = mixed.as_ref().map(|(away, stored)| (away.as_slice(), *stored));
        let own = table.blocks.alone(index, away).expect("a part that was stored of these rows reads, and holds them");
        let block = codec::encode(&*own, 0);
        let written = |piece| {
            let mut bytes = Vec::new();
            own.write_piece(0, piece, &mut bytes);
            (piece, bytes)
        };
        let pieces = if told && own.pieces() > 1 { self.blocks.changed_in(index, &*table.blocks) } else { Vec::new() };
        let pieces = pieces.into_iter().map(written).collect();
        if self.hashes.len() <= index {
            self.hashes.resize(index + 1, None);
        }
        self.hashes[index] = Some(block.hash);
        self.blocks.mark(index, &*table.blocks);
        Changed { part: table.name.clone(), index, block, pieces }
    }

    /// The hashes of all blocks.
    fn hashes(&self) -> Vec<Hash> {
        self.hashes.iter().copied().flatten().collect()
    }
}

impl Encoder {
    /// An encoder for models of one configuration.
    #[must_use]
    pub fn new(params: Named) -> Self {
        Self { params, ..Self::default() }
    }

    /// Takes the blocks of a stored view, by the hashes of each part, for handed out.
    pub fn know(&mut self, view: &View, listed: &BTreeMap<String, Vec<Hash>>) {
        for table in parts(view) {
            let hashes = listed.get(&table.name).filter(|hashes| hashes.len() == table.blocks.len());
            if let Some(hashes) = hashes {
                self.known.insert(table.name.clone(), Known::new(&table, hashes));
            }
        }
    }

    /// The stored blocks that have to be read before the view can be encoded, since rows of users are
    /// [away](View::away) in what changed: those of the snapshot that `origins` are of, which is of the view or one before.
    #[must_use]
    pub fn lacking(&self, view: &View, origins: &Origins) -> Vec<Lacking> {
        let mut lacking = Vec::new();
        for table in parts(view).iter().filter(|table| origins.holds(&table.name)) {
            let changed = Known::changed(self.known.get(&table.name), &*table.blocks);
            let mixed = changed.into_iter().filter(|index| !away_in(view, &*table.blocks, *index).is_empty());
            lacking.extend(mixed.filter_map(|index| origins.part(&table.name, index)));
        }
        lacking
    }

    /// Encodes some of what was lacking ahead of the rest, so that not all of it has to be in memory together.
    pub fn ahead(&mut self, view: &View, lacking: &[Lacking], read: &Read) -> Vec<Block> {
        let tables: BTreeMap<String, Table> =
            parts(view).into_iter().map(|table| (table.name.clone(), table)).collect();
        let encoded = |part: &Lacking| {
            let table = tables.get(part.table())?;
            let known = self.known.entry(table.name.clone()).or_insert_with(|| Known::nothing(table));
            Some(known.encode(view, table, part.index(), read, false).block)
        };
        lacking.iter().filter_map(encoded).collect()
    }

    /// Takes what was lacking, for the next encoding.
    pub fn take(&mut self, read: Read) {
        self.read = read;
    }

    /// Where the rows of the tables of these names are in the view that was encoded last, which was after `batch`.
    #[must_use]
    pub fn origins(&self, batch: u64, names: &BTreeSet<String>) -> Origins {
        let listed = |(name, known): (&'_ String, &'_ Known)| (name.clone(), known.rows, known.hashes());
        Origins::new(batch, names, self.known.iter().map(listed))
    }

    /// Forgets which blocks it has handed out: the next snapshot comes with all of its own.
    pub fn forget(&mut self) {
        self.known.clear();
    }

    /// Every part of a view, in order, and the hash of the whole; blocks that this encoder has not handed out before are
    /// encoded into `new`; in pieces too where they are `told`.
    pub(super) fn hashed(&mut self, view: &View, told: bool, new: &mut Vec<Changed>) -> (Vec<Hashed>, Hash) {
        let learned = view.learned();
        let scalars = codec::encode_one(Scalars {
            prequential: learned.prequential.clone(),
            genres: learned.genres.clone(),
            rating: learned.rating.scalars(),
            ranking: learned.ranking.as_ref().map(|model| model.scalars()),
        });
        let mut listed = vec![(SCALARS.to_owned(), 1, vec![scalars.hash])];
        new.push(Changed { part: SCALARS.to_owned(), index: 0, block: scalars, pieces: Vec::new() });
        for table in parts(view) {
            let known = self.known.entry(table.name.clone()).or_insert_with(|| Known::nothing(&table));
            known.rows = table.rows;
            known.hashes.truncate(table.blocks.len());
            for index in Known::changed(Some(known), &*table.blocks) {
                new.push(known.encode(view, &table, index, &self.read, told));
            }
            listed.push((table.name, table.rows, known.hashes()));
        }
        self.read = Read::default();
        let sha256 = model_hash(&self.params, listed.iter().map(|(name, rows, hashes)| (name.as_str(), *rows, hashes)));
        (listed, sha256)
    }

    /// The manifest of a view, the blocks that this encoder has not handed out before, and the names of all.
    pub fn encode(&mut self, view: &View, taken: Taken) -> Encoded {
        let mut changed = Vec::new();
        let (listed, sha256) = self.hashed(view, false, &mut changed);
        let mut new: Vec<Block> = changed.into_iter().map(|changed| changed.block).collect();
        let mut blocks: Vec<Hash> = listed.iter().flat_map(|(_, _, hashes)| hashes).copied().collect();
        let section = |(name, rows, hashes): (String, u64, Vec<Hash>)| section(name, rows, &hashes, &mut new);
        let sections: Vec<Section> = listed.into_iter().map(section).collect();
        blocks.extend(sections.iter().flat_map(|section| &section.index));
        let manifest = Manifest {
            seq: view.version().seq,
            format: SNAPSHOT_FORMAT,
            created_at_ms: taken.created_at_ms,
            epoch: taken.epoch,
            batch: view.version().batch,
            offsets: taken.offsets,
            params: self.params.clone(),
            counts: Counts::of(view.learned()),
            metrics: view.learned().prequential.metrics(),
            sections,
            sha256,
        };
        Encoded { manifest, new, blocks }
    }
}

/// The rows of a stored block that are away in a view, by their places in it.
fn away_in(view: &View, blocks: &dyn Stores, index: usize) -> Vec<usize> {
    let rows = blocks.part_rows();
    (0..rows).filter(|row| view.away().is((index * rows + row) as u32)).collect()
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
    // What an earlier freshet has not learned is left out, so that its snapshots are written as they were.
    if learned.intervals.events() > 0 {
        let intervals = Shared::from_iter([Arc::new(learned.intervals.clone())]);
        parts.push(Table::new(INTERVALS, 1, &intervals));
        parts.push(learned.errors.table(ERRORS));
    }
    if learned.drift.events() > 0 {
        let drift = Shared::from_iter([Arc::new(learned.drift.clone())]);
        parts.push(Table::new(DRIFT, 1, &drift));
    }
    if !history.recent.is_empty() {
        parts.push(Table::new(RECENT, items, &history.recent));
    }
    parts.extend(own(RATING, &*learned.rating));
    parts.extend(learned.ranking.iter().flat_map(|model| own(RANKING, &**model)));
    parts.extend(learned.exchange.iter().flat_map(Exchange::tables));
    parts
}

impl Encoder {
    /// Hash of the whole model that a view holds.
    #[must_use]
    pub fn hash(mut self, view: &View) -> Hash {
        self.encode(view, Taken::default()).manifest.sha256
    }

    /// Hash of the model that a view holds, as far as `manifest` is of it: one of an earlier freshet lacks sections.
    #[must_use]
    pub fn hash_as(self, view: &View, manifest: &Manifest) -> Hash {
        let lacking = ADDITIONS.iter().filter(|(names, _)| !names.iter().all(|name| has(manifest, name)));
        self.hash(&lacking.fold(view.clone(), |view, (_, addition)| view.without(*addition)))
    }
}

/// One section, its block hashes listed in index blocks so that a manifest stays small at any model size.
fn section(name: String, rows: u64, hashes: &[Hash], new: &mut Vec<Block>) -> Section {
    let index = hashes.chunks(INDEX_HASHES).map(codec::encode_index);
    let index: Vec<Block> = index.collect();
    let listed = index.iter().map(|block| block.hash).collect();
    new.extend(index);
    Section { name, rows, blocks: hashes.len() as u64, index: listed }
}
