//! Rows of a model, kept so that the learner and its readers share what has not changed.
//!
//! Apart from the learners, because all of them keep their state this way: a model is written once, over any
//! [`Storage`], and scores alike whether the learner holds it ([`Live`]) or a reader does ([`Frozen`]). What a model is
//! made of is handed to the store as blocks of bytes, whatever the rows are.

mod lists;
mod matrix;
mod rows;

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::Range;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

pub use lists::{Entry, ListBlock, Lists};
pub use matrix::{FloatBlock, Matrix};
pub use rows::{Row, take};

use super::blocks::{Blocks, Shared};

/// A kind of block. What a store keeps under one hash may be several blocks: they are small, so that little is copied when
/// one is written, and there are few things to store.
pub trait Block: Clone + Debug + Default + Send + Sync + 'static {
    /// What kind of block it is. Never give a number another meaning.
    const KIND: u8;

    /// Blocks that are stored as one.
    fn together(&self) -> usize {
        1
    }

    /// Appends the content of blocks that are stored as one, [`Block::together`] of them or fewer at the end; equal blocks
    /// give equal bytes.
    fn write(blocks: &[Arc<Self>], bytes: &mut Vec<u8>);

    /// The blocks.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    fn read(bytes: &[u8]) -> Result<Vec<Self>, String>;

    /// Appends the content of one block of those that are stored as one: what changed of them is told so.
    fn write_piece(block: &Arc<Self>, bytes: &mut Vec<u8>) {
        Self::write(std::slice::from_ref(block), bytes);
    }

    /// The one block.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    fn read_piece(bytes: &[u8]) -> Result<Self, String> {
        let blocks: [Self; 1] = Self::read(bytes)?.try_into().map_err(|_| "it is not one block")?;
        let [block] = blocks;
        Ok(block)
    }

    /// Rows that it has room for; 0 where it has none that may be [away](crate::learn::away).
    fn rows(&self) -> usize {
        0
    }

    /// Bytes that a row takes.
    fn row_bytes(&self, _row: usize) -> usize {
        0
    }

    /// Frees what a row takes: it is away from here on.
    fn forget(&mut self, _row: usize) {}

    /// Puts a row that is away back, as it is in a block that has it.
    fn recall(&mut self, _row: usize, _from: &Self) {}

    /// The blocks of a stored part with all of their rows away: part `index` of `rows` rows, whose content begins with `head`.
    ///
    /// # Errors
    /// If it is of a kind whose rows cannot be away.
    fn absent(_head: &[u8], _index: usize, _rows: usize) -> Result<Vec<Self>, String> {
        Err("its rows cannot be away".into())
    }
}

/// Blocks of any kind as a store keeps them.
pub trait Stores: Debug + Send + Sync {
    /// What kind of blocks they are.
    fn kind(&self) -> u8;

    /// In how many parts they are stored.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows of a part; 0 where none may be [away](crate::learn::away).
    fn part_rows(&self) -> usize;

    /// Blocks that a part is divided into.
    fn pieces(&self) -> usize;

    /// Appends the content of one part.
    fn write(&self, part: usize, bytes: &mut Vec<u8>);

    /// Appends the content of one block of a part.
    fn write_piece(&self, part: usize, piece: usize, bytes: &mut Vec<u8>);

    /// One part by itself. Its rows that are `away` are as in `stored`.
    ///
    /// # Errors
    /// If that does not read, or is shorter.
    fn alone(&self, part: usize, away: Option<(&[usize], &Stored)>) -> Result<Box<dyn Stores>, String>;

    /// What tells later which parts have stayed as they are. Keeps no block in memory.
    fn marks(&self) -> Box<dyn Marks>;

    /// The same of a time when there was none of them.
    fn no_marks(&self) -> Box<dyn Marks>;

    /// The blocks as what they are.
    fn as_any(&self) -> &dyn Any;
}

/// Which blocks there were at some time.
pub trait Marks: Debug + Send + Sync {
    /// Whether a part is the same as then, without a look at what is in it.
    fn is(&self, part: usize, now: &dyn Stores) -> bool;

    /// The blocks of a part that are not the same as then.
    fn changed_in(&self, part: usize, now: &dyn Stores) -> Vec<usize>;

    /// Has one part be as it is now.
    fn mark(&mut self, part: usize, now: &dyn Stores);
}

impl<B: Block> Marks for Vec<Weak<B>> {
    fn is(&self, part: usize, now: &dyn Stores) -> bool {
        let Some(now) = now.as_any().downcast_ref::<Shared<B>>() else { return false };
        let range = now.range(part);
        let then = self.get(range.start..range.end.min(self.len())).unwrap_or_default();
        let now = now.part(part);
        then.len() == now.len() && then.iter().zip(now).all(|(then, now)| then.as_ptr() == Arc::as_ptr(now))
    }

    fn changed_in(&self, part: usize, now: &dyn Stores) -> Vec<usize> {
        let Some(now) = now.as_any().downcast_ref::<Shared<B>>() else { return Vec::new() };
        let is = |index: usize, now: &Arc<B>| self.get(index).is_some_and(|then| then.as_ptr() == Arc::as_ptr(now));
        let blocks = now.range(part).zip(now.part(part)).enumerate();
        blocks.filter(|(_, (index, now))| !is(*index, now)).map(|(piece, _)| piece).collect()
    }

    fn mark(&mut self, part: usize, now: &dyn Stores) {
        let Some(now) = now.as_any().downcast_ref::<Shared<B>>() else { return };
        for (index, block) in now.range(part).zip(now.part(part)) {
            if self.len() <= index {
                self.resize_with(index + 1, Weak::new);
            }
            self[index] = Arc::downgrade(block);
        }
    }
}

impl<B: Block> Shared<B> {
    /// The blocks of a part by their indexes.
    fn range(&self, part: usize) -> Range<usize> {
        let together = self.get(0).map_or(1, B::together);
        let [from, to] = [part, part + 1].map(|part| (part * together).min(self.as_slice().len()));
        from..to
    }

    fn part(&self, part: usize) -> &[Arc<B>] {
        &self.as_slice()[self.range(part)]
    }
}

impl<B: Block> Stores for Shared<B> {
    fn kind(&self) -> u8 {
        B::KIND
    }

    fn len(&self) -> usize {
        self.get(0).map_or(0, |first| self.as_slice().len().div_ceil(first.together()))
    }

    fn write(&self, part: usize, bytes: &mut Vec<u8>) {
        B::write(self.part(part), bytes);
    }

    fn part_rows(&self) -> usize {
        self.get(0).map_or(0, |first| first.rows() * first.together())
    }

    fn pieces(&self) -> usize {
        self.get(0).map_or(1, B::together)
    }

    fn write_piece(&self, part: usize, piece: usize, bytes: &mut Vec<u8>) {
        if let Some(block) = self.part(part).get(piece) {
            B::write_piece(block, bytes);
        }
    }

    fn alone(&self, part: usize, away: Option<(&[usize], &Stored)>) -> Result<Box<dyn Stores>, String> {
        let mut blocks = self.part(part).to_vec();
        let Some((away, stored)) = away else { return Ok(Box::new(blocks.into_iter().collect::<Self>())) };
        let stored = stored.read::<B>()?;
        let rows = self.get(0).map_or(1, B::rows);
        for row in away {
            let (block, row) = (row / rows, row % rows);
            let from = stored.get(block).ok_or_else(|| format!("row {row} of block {block} is not there"))?;
            if let Some(block) = blocks.get_mut(block) {
                Arc::make_mut(block).recall(row, from);
            }
        }
        Ok(Box::new(blocks.into_iter().collect::<Self>()))
    }

    fn marks(&self) -> Box<dyn Marks> {
        Box::new(self.iter().map(Arc::downgrade).collect::<Vec<Weak<B>>>())
    }

    fn no_marks(&self) -> Box<dyn Marks> {
        Box::new(Vec::<Weak<B>>::new())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Blocks to read, wherever they are.
pub trait Read<B>: Clone + Debug + Default + Send {
    /// One block.
    ///
    /// # Panics
    /// If there is no such block.
    fn block(&self, index: usize) -> &B;
}

impl<B: Block> Read<B> for Blocks<B> {
    #[inline]
    fn block(&self, index: usize) -> &B {
        self.get(index)
    }
}

impl<B: Block> Read<B> for Shared<B> {
    #[inline]
    fn block(&self, index: usize) -> &B {
        &self[index]
    }
}

/// Who holds the rows: the learner, which writes them, or readers.
pub trait Storage: Clone + Debug + Default + Send + 'static {
    /// How blocks are held.
    type Of<B: Block>: Read<B>;
}

/// Held by the learner.
#[derive(Clone, Copy, Debug, Default)]
pub struct Live;

/// Held by readers, never to change.
#[derive(Clone, Copy, Debug, Default)]
pub struct Frozen;

impl Storage for Live {
    type Of<B: Block> = Blocks<B>;
}

impl Storage for Frozen {
    type Of<B: Block> = Shared<B>;
}

/// A part of a model by its name, as a store keeps it.
#[derive(Clone, Debug)]
pub struct Table {
    /// Name, unique in the model.
    pub name: String,
    /// Rows in it.
    pub rows: u64,
    /// The blocks that hold them, in order.
    pub blocks: Arc<dyn Stores>,
}

impl Table {
    /// A part of a model.
    pub fn new<B: Block>(name: impl Into<String>, rows: usize, blocks: &Shared<B>) -> Self {
        Self { name: name.into(), rows: rows as u64, blocks: Arc::new(blocks.clone()) }
    }

    /// What a store keeps of it, part by part.
    pub fn stored(&self) -> impl Iterator<Item = Stored> {
        (0..self.blocks.len()).map(|part| {
            let mut bytes = Vec::new();
            self.blocks.write(part, &mut bytes);
            Stored::new(self.blocks.kind(), bytes)
        })
    }

    /// Bytes that its blocks have in a store.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.stored().map(|stored| stored.content().len() as u64).sum()
    }
}

/// Bytes by which a block tells how wide it is, or of how many rows.
const HEAD: usize = 16;

/// One stored block. What it is read as is kept in the place of its content, so that a model that changes a little is read
/// as far as it has changed.
#[derive(Debug)]
pub struct Stored {
    kind: u8,
    state: Mutex<State>,
}

enum State {
    Unread(Vec<u8>),
    /// All of its rows are away; how its content begins, its place among the parts, and the rows of all of them.
    Away(Vec<u8>, usize, usize),
    /// Blocks of the type that has this kind: `Vec<Arc<B>>`.
    Read(Box<dyn Any + Send>),
}

impl Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unread(_) => "Unread",
            Self::Away(..) => "Away",
            Self::Read(_) => "Read",
        })
    }
}

impl Stored {
    /// A block of a kind, by its content.
    #[must_use]
    pub fn new(kind: u8, content: Vec<u8>) -> Self {
        Self { kind, state: Mutex::new(State::Unread(content)) }
    }

    /// The same with all of its rows [away](crate::learn::away): part `index` of `rows` rows.
    #[must_use]
    pub fn away(kind: u8, content: &[u8], index: usize, rows: usize) -> Self {
        let head = content[..content.len().min(HEAD)].to_vec();
        Self { kind, state: Mutex::new(State::Away(head, index, rows)) }
    }

    /// What kind of block it is.
    #[must_use]
    pub fn kind(&self) -> u8 {
        self.kind
    }

    /// Its content; empty once it was read.
    #[must_use]
    pub fn content(&self) -> Vec<u8> {
        match &*self.state.lock() {
            State::Unread(content) => content.clone(),
            State::Away(..) | State::Read(_) => Vec::new(),
        }
    }

    /// The same after some of its blocks have changed, each by its place, in order; and its content then.
    ///
    /// # Errors
    /// If one does not read, or a block before it is not there.
    pub fn changed<B: Block>(&self, pieces: &[(usize, &[u8])]) -> Result<(Self, Vec<u8>), String> {
        let mut blocks = self.read::<B>()?;
        for (piece, bytes) in pieces {
            let block = Arc::new(B::read_piece(bytes)?);
            let there = blocks.len();
            match blocks.get_mut(*piece) {
                Some(known) => *known = block,
                None if *piece == there => blocks.push(block),
                None => return Err(format!("piece {there} of it is not there")),
            }
        }
        let mut content = Vec::new();
        B::write(&blocks, &mut content);
        Ok((Self { kind: self.kind, state: Mutex::new(State::Read(Box::new(blocks))) }, content))
    }

    /// One without any block yet.
    #[must_use]
    pub fn empty<B: Block>() -> Self {
        Self { kind: B::KIND, state: Mutex::new(State::Read(Box::new(Vec::<Arc<B>>::new()))) }
    }

    /// The blocks that were stored as one.
    ///
    /// # Errors
    /// If it is of another kind, or does not read.
    pub(super) fn read<B: Block>(&self) -> Result<Vec<Arc<B>>, String> {
        if self.kind != B::KIND {
            return Err(format!("it is of kind {}, not {}", self.kind, B::KIND));
        }
        let mut state = self.state.lock();
        let read = match &*state {
            State::Read(blocks) => {
                let blocks = blocks.downcast_ref::<Vec<Arc<B>>>().cloned();
                return blocks.ok_or_else(|| "it was read as another type".to_owned());
            }
            State::Unread(content) => B::read(content),
            State::Away(head, index, rows) => B::absent(head, *index, *rows),
        };
        let blocks: Vec<Arc<B>> = read?.into_iter().map(Arc::new).collect();
        *state = State::Read(Box::new(blocks.clone()));
        Ok(blocks)
    }
}

/// The parts of a stored model by name, to be taken out one by one.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// Number of rows and the blocks of each part.
    pub parts: BTreeMap<String, (u64, Vec<Arc<Stored>>)>,
}

impl Tables {
    /// The parts of a model as they would be stored.
    #[must_use]
    pub fn of(tables: Vec<Table>) -> Self {
        let part = |table: Table| (table.name.clone(), (table.rows, table.stored().map(Arc::new).collect()));
        Self { parts: tables.into_iter().map(part).collect() }
    }

    /// The number of rows and the blocks of one part.
    ///
    /// # Errors
    /// If the part is not there, or a block is of another kind or does not read.
    pub fn take<B: Block>(&mut self, name: &str) -> Result<(usize, Shared<B>), String> {
        let (rows, stored) = self.parts.remove(name).ok_or_else(|| format!("it has no {name}"))?;
        let mut blocks = Vec::new();
        for (index, stored) in stored.iter().enumerate() {
            blocks.extend(stored.read::<B>().map_err(|reason| format!("block {index} of {name}: {reason}"))?);
        }
        let rows = usize::try_from(rows).map_err(|_| format!("{name} has {rows} rows"))?;
        Ok((rows, blocks.into_iter().collect()))
    }
}

#[cfg(test)]
mod tests;
