//! Rows of one type: ids, seen items, counts.

use std::fmt::Debug;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Block;

/// Rows that are stored as one.
pub(super) const STORED_ROWS: usize = 128;

/// A row that is kept in blocks of [`Row::SHARED`], each a vector.
pub trait Row: Clone + Debug + Default + Send + Sync + 'static {
    /// Kind of the blocks that hold such rows.
    const KIND: u8;
    /// Rows in a block, which are copied together on the first write after a publish: a power of two, 128 at most.
    const SHARED: usize = STORED_ROWS;

    /// What stands in the place of a row that is [away](crate::learn::away).
    #[must_use]
    fn away() -> Self {
        Self::default()
    }

    /// Bytes that it takes beside its place in the block.
    fn bytes(&self) -> usize {
        0
    }

    /// What is stored of it: its bytes are those of [postcard](https://postcard.jamesmunns.com/wire-format).
    fn to_stored(&self) -> impl Serialize;

    /// The row.
    ///
    /// # Errors
    /// What is wrong with the bytes; what comes after the row is returned.
    fn from_stored(bytes: &[u8]) -> Result<(Self, &[u8]), String>;
}

/// A value as it is stored, and what comes after it.
///
/// # Errors
/// What is wrong with the bytes.
pub fn take<'b, T: Deserialize<'b>>(bytes: &'b [u8]) -> Result<(T, &'b [u8]), String> {
    postcard::take_from_bytes(bytes).map_err(|error| error.to_string())
}

fn append<T: Serialize>(value: &T, bytes: &mut Vec<u8>) {
    bytes.extend(postcard::to_stdvec(value).expect("plain values always serialize"));
}

impl<T: Row> Block for Vec<T> {
    const KIND: u8 = T::KIND;

    fn together(&self) -> usize {
        STORED_ROWS / T::SHARED
    }

    /// As a vector of all rows.
    fn write(blocks: &[Arc<Self>], bytes: &mut Vec<u8>) {
        append(&blocks.iter().map(|block| block.len()).sum::<usize>(), bytes);
        blocks.iter().flat_map(|block| &**block).for_each(|row| append(&row.to_stored(), bytes));
    }

    fn read(bytes: &[u8]) -> Result<Vec<Self>, String> {
        let (rows, mut rest) = take::<usize>(bytes)?;
        if rows > STORED_ROWS {
            return Err(format!("{rows} rows; {STORED_ROWS} at most are stored as one"));
        }
        let mut blocks: Vec<Self> = Vec::new();
        for index in 0..rows {
            let row;
            (row, rest) = T::from_stored(rest)?;
            if index % T::SHARED == 0 {
                blocks.push(Vec::with_capacity(T::SHARED));
            }
            blocks.last_mut().ok_or("it has no rows")?.push(row);
        }
        if rest.is_empty() { Ok(blocks) } else { Err(format!("{} bytes are left over", rest.len())) }
    }

    fn rows(&self) -> usize {
        T::SHARED
    }

    fn row_bytes(&self, row: usize) -> usize {
        self.get(row).map_or(0, T::bytes)
    }

    fn forget(&mut self, row: usize) {
        if let Some(row) = self.get_mut(row) {
            *row = T::away();
        }
    }

    fn recall(&mut self, row: usize, from: &Self) {
        if let (Some(row), Some(from)) = (self.get_mut(row), from.get(row)) {
            row.clone_from(from);
        }
    }

    fn absent(head: &[u8], _index: usize, _rows: usize) -> Result<Vec<Self>, String> {
        let (rows, _) = take::<usize>(head)?;
        let rows = vec![T::away(); rows.min(STORED_ROWS)];
        Ok(rows.chunks(T::SHARED).map(<[T]>::to_vec).collect())
    }
}
