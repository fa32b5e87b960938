//! Lists of any length: histories and neighbours.

use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;

use super::{Block, Frozen, Live, Read, Storage, Table, Tables};
use crate::learn::away::UserRows;
use crate::learn::blocks::Blocks;

/// Rows in a block of [`Lists`]. A row is shared by itself, so that a write copies one row and not the block.
const LIST_ROWS: usize = 16;

/// Bytes of a list beside its entries: the counters and the vector's own.
const ARC_OF_LIST: usize = 16 + size_of::<Vec<u32>>();

/// What a list is made of: a value of a fixed number of 32-bit words.
pub trait Entry: Clone + Copy + Debug + PartialEq + Send + Sync + 'static {
    /// Kind of the blocks that hold such lists.
    const KIND: u8;
    /// Words of one entry.
    const WORDS: usize;

    /// Appends exactly [`Entry::WORDS`] words.
    fn write(&self, words: &mut Vec<u32>);

    /// From exactly [`Entry::WORDS`] words.
    fn read(words: &[u32]) -> Self;
}

/// Lists of some rows, each shared by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct ListBlock<T>(Vec<Arc<Vec<T>>>);

impl<T> Default for ListBlock<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Entry> Block for ListBlock<T> {
    const KIND: u8 = T::KIND;

    fn write(blocks: &[Arc<Self>], bytes: &mut Vec<u8>) {
        let mut words = Vec::new();
        for row in blocks.iter().flat_map(|block| &block.0) {
            words.clear();
            words.push(row.len() as u32);
            row.iter().for_each(|entry| entry.write(&mut words));
            bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        }
    }

    fn read(bytes: &[u8]) -> Result<Vec<Self>, String> {
        let (words, odd) = bytes.as_chunks::<4>();
        if !odd.is_empty() {
            return Err(format!("{} bytes are left over after the last word", odd.len()));
        }
        let words: Vec<u32> = words.iter().map(|word| u32::from_le_bytes(*word)).collect();
        let mut rest = words.as_slice();
        let mut rows = Vec::new();
        while let Some((len, after)) = rest.split_first() {
            let wanted = (*len as usize).checked_mul(T::WORDS).filter(|wanted| *wanted <= after.len());
            let (row, next) = after.split_at(wanted.ok_or("a list is cut short")?);
            rows.push(Arc::new(row.chunks_exact(T::WORDS).map(T::read).collect()));
            rest = next;
        }
        if rows.len() > LIST_ROWS {
            return Err(format!("{} lists; a block has {LIST_ROWS} at most", rows.len()));
        }
        Ok(vec![Self(rows)])
    }

    fn rows(&self) -> usize {
        LIST_ROWS
    }

    fn row_bytes(&self, row: usize) -> usize {
        self.0.get(row).map_or(0, |row| row.capacity() * size_of::<T>() + ARC_OF_LIST)
    }

    /// Lists that are away are one empty list, so that they take no memory each.
    fn forget(&mut self, row: usize) {
        let empty = self.0.iter().find(|row| row.is_empty() && row.capacity() == 0).cloned().unwrap_or_default();
        if let Some(row) = self.0.get_mut(row) {
            *row = empty;
        }
    }

    fn recall(&mut self, row: usize, from: &Self) {
        if let (Some(row), Some(from)) = (self.0.get_mut(row), from.0.get(row)) {
            row.clone_from(from);
        }
    }

    fn absent(_head: &[u8], index: usize, rows: usize) -> Result<Vec<Self>, String> {
        Ok(vec![Self(vec![Arc::default(); rows.saturating_sub(index * LIST_ROWS).min(LIST_ROWS)])])
    }
}

/// Lists of any length by dense index.
#[derive(Clone, Debug)]
pub struct Lists<S: Storage, T: Entry> {
    len: usize,
    blocks: S::Of<ListBlock<T>>,
    entry: PhantomData<T>,
}

impl<S: Storage, T: Entry> Default for Lists<S, T> {
    fn default() -> Self {
        Self { len: 0, blocks: S::Of::default(), entry: PhantomData }
    }
}

impl<S: Storage, T: Entry> Lists<S, T> {
    /// Number of lists.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no list.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// One list; empty where there is none.
    #[inline]
    #[must_use]
    pub fn row(&self, index: u32) -> &[T] {
        let index = index as usize;
        if index < self.len { &self.blocks.block(index / LIST_ROWS).0[index % LIST_ROWS] } else { &[] }
    }
}

impl<T: Entry> Lists<Live, T> {
    /// One list to write; empty ones are added until it is there. Copies the list if readers have it.
    pub fn row_mut(&mut self, index: u32) -> &mut Vec<T> {
        let index = index as usize;
        while self.len <= index {
            if self.len / LIST_ROWS == self.blocks.len() {
                self.blocks.push(ListBlock::default());
            }
            self.blocks.get_mut(self.len / LIST_ROWS).0.push(Arc::default());
            self.len += 1;
        }
        Arc::make_mut(&mut self.blocks.get_mut(index / LIST_ROWS).0[index % LIST_ROWS])
    }

    /// The lists as those of users, which may be away.
    pub fn user_rows(&mut self) -> &mut dyn UserRows {
        &mut self.blocks
    }

    /// Hands readers every list. Costs what changed since the last call.
    pub fn publish(&mut self) -> Lists<Frozen, T> {
        Lists { len: self.len, blocks: self.blocks.publish(), entry: PhantomData }
    }
}

impl<T: Entry> Lists<Frozen, T> {
    /// Lists to go on writing from these.
    #[must_use]
    pub fn thaw(&self) -> Lists<Live, T> {
        Lists { len: self.len, blocks: Blocks::from_shared(self.blocks.clone()), entry: PhantomData }
    }

    /// The lists as a part of a model.
    pub fn table(&self, name: impl Into<String>) -> Table {
        Table::new(name, self.len, &self.blocks)
    }

    /// The lists of a stored part.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn read(tables: &mut Tables, name: &str) -> Result<Self, String> {
        let (len, blocks) = tables.take::<ListBlock<T>>(name)?;
        let blocks_of = blocks.as_slice();
        let rows: usize = blocks_of.iter().map(|block| block.0.len()).sum();
        let full = blocks_of.iter().rev().skip(1).all(|block| block.0.len() == LIST_ROWS);
        if rows != len || !full {
            return Err(format!("{name} has {rows} lists in its blocks and should have {len}"));
        }
        Ok(Self { len, blocks, entry: PhantomData })
    }
}
