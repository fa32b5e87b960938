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
use std::sync::Arc;

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

    /// Appends the content of one part.
    fn write(&self, part: usize, bytes: &mut Vec<u8>);

    /// Whether a part is that of others, without a look at what is in it.
    fn shares(&self, part: usize, others: &dyn Stores) -> bool;

    /// The blocks as what they are.
    fn as_any(&self) -> &dyn Any;
}

impl<B: Block> Shared<B> {
    fn part(&self, part: usize) -> &[Arc<B>] {
        let together = self.get(0).map_or(1, B::together);
        self.as_slice().chunks(together).nth(part).unwrap_or_default()
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

    fn shares(&self, part: usize, others: &dyn Stores) -> bool {
        let Some(others) = others.as_any().downcast_ref::<Self>() else { return false };
        let (own, others) = (self.part(part), others.part(part));
        own.len() == others.len() && own.iter().zip(others).all(|(own, other)| Arc::ptr_eq(own, other))
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

/// One stored block. What it is read as is kept in the place of its content, so that a model that changes a little is read
/// as far as it has changed.
#[derive(Debug)]
pub struct Stored {
    kind: u8,
    state: Mutex<State>,
}

enum State {
    Unread(Vec<u8>),
    /// Blocks of the type that has this kind: `Vec<Arc<B>>`.
    Read(Box<dyn Any + Send>),
}

impl Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if matches!(self, Self::Read(_)) { "Read" } else { "Unread" })
    }
}

impl Stored {
    /// A block of a kind, by its content.
    #[must_use]
    pub fn new(kind: u8, content: Vec<u8>) -> Self {
        Self { kind, state: Mutex::new(State::Unread(content)) }
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
            State::Read(_) => Vec::new(),
        }
    }

    /// The blocks that were stored as one.
    ///
    /// # Errors
    /// If it is of another kind, or does not read.
    fn read<B: Block>(&self) -> Result<Vec<Arc<B>>, String> {
        if self.kind != B::KIND {
            return Err(format!("it is of kind {}, not {}", self.kind, B::KIND));
        }
        let mut state = self.state.lock();
        match &*state {
            State::Unread(content) => {
                let blocks: Vec<Arc<B>> = B::read(content)?.into_iter().map(Arc::new).collect();
                *state = State::Read(Box::new(blocks.clone()));
                Ok(blocks)
            }
            State::Read(blocks) => {
                blocks.downcast_ref::<Vec<Arc<B>>>().cloned().ok_or_else(|| "it was read as another type".to_owned())
            }
        }
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
