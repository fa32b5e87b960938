//! Rows of a model, kept so that the learner and its readers share what has not changed.
//!
//! Apart from the learners, because all of them keep their state this way: a model is written once, over any
//! [`Storage`], and scores alike whether the learner holds it ([`Live`]) or a reader does ([`Frozen`]). What a model is
//! made of is handed to the store as blocks of bytes, whatever the rows are.

mod lists;
mod matrix;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

pub use lists::{Entry, ListBlock, Lists};
pub use matrix::{FloatBlock, Matrix};

use super::blocks::{Blocks, Shared};

/// A block as bytes: what a store keeps of it, and what its hash is over.
pub trait Codec: Debug + Send + Sync {
    /// What kind of block it is. Never give a number another meaning.
    fn kind(&self) -> u8;

    /// Appends its content; equal blocks give equal bytes.
    fn write(&self, bytes: &mut Vec<u8>);
}

/// A kind of block that can be read back.
pub trait Block: Codec + Clone + Default + 'static {
    /// What [`Codec::kind`] gives for every block of this type.
    const KIND: u8;

    /// The block.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    fn read(bytes: &[u8]) -> Result<Self, String>;
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
    pub blocks: Vec<Arc<dyn Codec>>,
}

impl Table {
    /// A part of a model.
    pub fn new<B: Block>(name: impl Into<String>, rows: usize, blocks: &Shared<B>) -> Self {
        let blocks = blocks.iter().map(|block| Arc::clone(block) as Arc<dyn Codec>).collect();
        Self { name: name.into(), rows: rows as u64, blocks }
    }

    /// Bytes that its blocks have in a store.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let mut bytes = Vec::new();
        let mut sum = 0;
        for block in &self.blocks {
            bytes.clear();
            block.write(&mut bytes);
            sum += bytes.len() as u64;
        }
        sum
    }
}

/// One stored block: its kind and its content.
pub type Stored = (u8, Vec<u8>);

/// The parts of a stored model by name, to be taken out one by one.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// Number of rows and the blocks of each part.
    pub parts: BTreeMap<String, (u64, Vec<Stored>)>,
}

impl Tables {
    /// The number of rows and the blocks of one part.
    ///
    /// # Errors
    /// If the part is not there, or a block is of another kind or does not read.
    pub fn take<B: Block>(&mut self, name: &str) -> Result<(usize, Shared<B>), String> {
        let (rows, stored) = self.parts.remove(name).ok_or_else(|| format!("it has no {name}"))?;
        let mut blocks = Shared::new();
        for (index, (kind, bytes)) in stored.iter().enumerate() {
            if *kind != B::KIND {
                return Err(format!("block {index} of {name} is of kind {kind}, not {}", B::KIND));
            }
            let block = B::read(bytes).map_err(|reason| format!("block {index} of {name}: {reason}"))?;
            blocks.push_back(Arc::new(block));
        }
        let rows = usize::try_from(rows).map_err(|_| format!("{name} has {rows} rows"))?;
        Ok((rows, blocks))
    }
}

#[cfg(test)]
mod tests;
