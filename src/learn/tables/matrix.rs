//! Rows of one width: factors, biases, counts, covariances.

use std::sync::Arc;

use ndarray::{Array2, ArrayView2, Axis};
use prefetch_index::prefetch_index;

use super::{Block, Frozen, Live, Read, Storage, Stores, Table, Tables};
use crate::learn::away::UserRows;
use crate::learn::blocks::Blocks;

/// Most floats in a block: what the first write after a publish copies at most (2 KiB), if a row is no longer.
const BLOCK_FLOATS: usize = 576;

/// Most floats that are stored as one (32 KiB), if a row is no longer.
const STORED_FLOATS: usize = 8192;

/// Floats of a line of the processor's caches.
const LINE_FLOATS: usize = 16;

/// Most rows in a block, and of what is stored as one.
const MOST_ROWS: usize = 128;

/// Rows of floats, shape `(block_rows, width)` less those that are away; those not in use are zero.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FloatBlock {
    width: usize,
    /// Of each row whether it is not [away](crate::learn::away); the bits beyond the last row are set.
    here: u128,
    values: Box<[f32]>,
}

impl FloatBlock {
    fn zeros(width: usize) -> Self {
        Self { width, here: u128::MAX, values: vec![0.0; block_rows(width) * width].into() }
    }

    /// Where a row begins: the rows before it that are here come first.
    #[inline]
    fn begin(&self, row: usize) -> usize {
        if self.here == u128::MAX { row * self.width } else { self.begin_of_some(row) }
    }

    #[cold]
    fn begin_of_some(&self, row: usize) -> usize {
        (self.here & ((1 << row) - 1)).count_ones() as usize * self.width
    }

    #[inline]
    fn is_here(&self, row: usize) -> bool {
        self.here == u128::MAX || self.here >> row & 1 == 1
    }

    /// A row of the block.
    #[inline]
    fn row(&self, row: usize) -> &[f32] {
        let begin = self.begin(row);
        &self.values[begin..begin + self.width]
    }

    #[inline]
    fn row_mut(&mut self, row: usize) -> &mut [f32] {
        let begin = self.begin(row);
        &mut self.values[begin..begin + self.width]
    }

    /// Asks the processor for a row, and waits for nothing.
    #[inline]
    fn fetch(&self, row: usize) {
        let begin = self.begin(row);
        // Rows begin anywhere in a line, so that the last float may be in one more.
        let lines = (0..self.width).step_by(LINE_FLOATS).chain(self.width.checked_sub(1));
        lines.for_each(|float| prefetch_index(&self.values, begin + float));
    }

    /// The rows that are stored as one, shape `(stored_rows, width)`.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn stored(bytes: &[u8]) -> Result<Array2<f32>, String> {
        let (width, values) = floats(bytes)?;
        let rows = stored_rows(width);
        if Some(values.len()) != rows.checked_mul(width) {
            return Err(format!("{} floats are no {rows} rows of {width}", values.len()));
        }
        Array2::from_shape_vec((rows, width), values).map_err(|error| error.to_string())
    }
}

/// The width of rows, and their values.
fn floats(bytes: &[u8]) -> Result<(usize, Vec<f32>), String> {
    let (width, rest) = bytes.split_first_chunk::<4>().ok_or("it is cut short")?;
    let (values, odd) = rest.as_chunks::<4>();
    if !odd.is_empty() {
        return Err(format!("{} bytes are left over after the last value", odd.len()));
    }
    let values: Vec<f32> = values.iter().map(|value| f32::from_le_bytes(*value)).collect();
    if !values.iter().all(|value| value.is_finite()) {
        return Err("it holds a value that is not finite".into());
    }
    Ok((u32::from_le_bytes(*width) as usize, values))
}

impl Block for FloatBlock {
    const KIND: u8 = 7;

    fn together(&self) -> usize {
        stored_rows(self.width) / block_rows(self.width)
    }

    fn write(blocks: &[Arc<Self>], bytes: &mut Vec<u8>) {
        let width = blocks.first().map_or(0, |first| first.width);
        bytes.extend((width as u32).to_le_bytes());
        let begin = bytes.len();
        for block in blocks {
            bytes.extend(block.values.iter().flat_map(|value| value.to_le_bytes()));
        }
        bytes.resize(begin + stored_rows(width) * width * size_of::<f32>(), 0);
    }

    fn read(bytes: &[u8]) -> Result<Vec<Self>, String> {
        let stored = Self::stored(bytes)?;
        let width = stored.ncols();
        let block = |rows: ArrayView2<f32>| Self { width, here: u128::MAX, values: rows.iter().copied().collect() };
        Ok(stored.axis_chunks_iter(Axis(0), block_rows(width)).map(block).collect())
    }

    fn write_piece(block: &Arc<Self>, bytes: &mut Vec<u8>) {
        bytes.extend((block.width as u32).to_le_bytes());
        bytes.extend(block.values.iter().flat_map(|value| value.to_le_bytes()));
    }

    fn read_piece(bytes: &[u8]) -> Result<Self, String> {
        let (width, values) = floats(bytes)?;
        if Some(values.len()) != block_rows(width).checked_mul(width) {
            return Err(format!("{} floats are no block of rows of {width}", values.len()));
        }
        Ok(Self { width, here: u128::MAX, values: values.into() })
    }

    fn rows(&self) -> usize {
        block_rows(self.width)
    }

    fn row_bytes(&self, row: usize) -> usize {
        if self.is_here(row) { self.width * size_of::<f32>() } else { 0 }
    }

    fn forget(&mut self, row: usize) {
        if self.is_here(row) {
            let begin = self.begin(row);
            let (before, after) = (&self.values[..begin], &self.values[begin + self.width..]);
            self.values = [before, after].concat().into();
            self.here &= !(1 << row);
        }
    }

    fn recall(&mut self, row: usize, from: &Self) {
        if !self.is_here(row) && from.is_here(row) {
            let (before, after) = self.values.split_at(self.begin(row));
            self.values = [before, from.row(row), after].concat().into();
            self.here |= 1 << row;
        }
    }

    /// Rows that are not in use yet are here: they are zero.
    fn absent(head: &[u8], index: usize, rows: usize) -> Result<Vec<Self>, String> {
        let width = head.first_chunk::<4>().map(|width| u32::from_le_bytes(*width) as usize);
        let width = width.ok_or("it is cut short")?;
        let (room, stored) = (block_rows(width), stored_rows(width));
        let block = |begin: usize| {
            let used = rows.saturating_sub(begin).min(room);
            let here = u128::MAX.checked_shl(used as u32).unwrap_or(0);
            Self { width, here, values: vec![0.0; (room - used) * width].into() }
        };
        Ok((index * stored..(index + 1) * stored).step_by(room).map(block).collect())
    }
}

/// Rows in a block of this width: a power of two, so that a row is found by a shift.
pub(super) const fn block_rows(width: usize) -> usize {
    rows_of(width, BLOCK_FLOATS)
}

/// Rows of this width that are stored as one: a power of two, and of the blocks' rows a multiple.
pub(super) const fn stored_rows(width: usize) -> usize {
    rows_of(width, STORED_FLOATS)
}

const fn rows_of(width: usize, floats: usize) -> usize {
    let mut rows = MOST_ROWS;
    while rows > 1 && rows * width > floats {
        rows /= 2;
    }
    rows
}

/// Rows of one width by dense index, shape `(len, width)`.
#[derive(Clone, Debug)]
pub struct Matrix<S: Storage> {
    width: usize,
    shift: u32,
    len: usize,
    blocks: S::Of<FloatBlock>,
}

impl<S: Storage> Default for Matrix<S> {
    /// Rows without a width: the stand-in of a model that has learned nothing.
    fn default() -> Self {
        Self { width: 0, shift: 0, len: 0, blocks: S::Of::default() }
    }
}

impl<S: Storage> Matrix<S> {
    /// Number of rows.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Floats in a row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// One row, shape `(width,)`.
    ///
    /// # Panics
    /// If there is no such row, or it is away.
    #[inline]
    #[must_use]
    pub fn row(&self, index: u32) -> &[f32] {
        let (block, row) = self.place(index);
        self.blocks.block(block).row(row)
    }

    /// One row, if it is there and not away.
    #[inline]
    #[must_use]
    pub fn get(&self, index: u32) -> Option<&[f32]> {
        let (block, row) = self.place(index);
        let block = ((index as usize) < self.len).then(|| self.blocks.block(block))?;
        block.is_here(row).then(|| block.row(row))
    }

    /// Every row in order.
    pub fn rows(&self) -> impl Iterator<Item = &[f32]> {
        (0..self.len as u32).map(|index| self.row(index))
    }

    #[inline]
    fn place(&self, index: u32) -> (usize, usize) {
        (index as usize >> self.shift, index as usize & ((1 << self.shift) - 1))
    }
}

impl Matrix<Live> {
    /// No rows, of `width` floats each.
    #[must_use]
    pub fn new(width: usize) -> Self {
        Self { width, shift: block_rows(width).trailing_zeros(), len: 0, blocks: Blocks::default() }
    }

    /// Adds zero rows until there is one at `index`; `fill` is given each new row and its index.
    #[inline]
    pub fn grow_to(&mut self, index: u32, fill: impl FnMut(u32, &mut [f32])) {
        if index as usize >= self.len {
            self.grow(index, fill);
        }
    }

    #[cold]
    fn grow(&mut self, index: u32, mut fill: impl FnMut(u32, &mut [f32])) {
        for new in self.len as u32..=index {
            if self.place(new).0 == self.blocks.len() {
                self.blocks.push(FloatBlock::zeros(self.width));
            }
            self.len = new as usize + 1;
            fill(new, self.row_mut(new));
        }
    }

    /// One row to write.
    ///
    /// # Panics
    /// If there is no such row.
    #[inline]
    pub fn row_mut(&mut self, index: u32) -> &mut [f32] {
        let (block, row) = self.place(index);
        self.blocks.get_mut(block).row_mut(row)
    }

    /// Has the processor find out where a row is: first of the two steps that bring it near, without waiting for it.
    #[inline]
    pub fn fetch_place(&self, index: u32) {
        self.blocks.fetch(self.place(index).0);
    }

    /// Has the processor bring a row near, if it is there: the second step, some time after [`Matrix::fetch_place`].
    #[inline]
    pub fn fetch(&self, index: u32) {
        let (block, row) = self.place(index);
        if (index as usize) < self.len {
            self.blocks.get(block).fetch(row);
        }
    }

    /// The rows as those of users, which may be away.
    pub fn user_rows(&mut self) -> &mut dyn UserRows {
        &mut self.blocks
    }

    /// Hands readers every row. Costs what changed since the last call.
    pub fn publish(&mut self) -> Matrix<Frozen> {
        Matrix { width: self.width, shift: self.shift, len: self.len, blocks: self.blocks.publish() }
    }
}

impl Matrix<Frozen> {
    /// Rows to go on writing from these.
    #[must_use]
    pub fn thaw(&self) -> Matrix<Live> {
        let blocks = Blocks::from_shared(self.blocks.clone());
        Matrix { width: self.width, shift: self.shift, len: self.len, blocks }
    }

    /// Whether these are the rows of the very same publish.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.len == other.len && std::ptr::eq(self.blocks.as_slice(), other.blocks.as_slice())
    }

    /// Rows that are not as in `other`, those that it does not have included. Looks only into blocks that are not shared.
    pub fn changed_since(&self, other: &Self) -> impl Iterator<Item = u32> {
        let known = other.blocks.as_slice();
        let changed = |(index, block): &(usize, &Arc<FloatBlock>)| {
            known.get(*index).is_none_or(|known| !Arc::ptr_eq(known, block))
        };
        let blocks = self.blocks.iter().enumerate().filter(changed);
        let rows = blocks.flat_map(|(index, _)| index << self.shift..self.len.min((index + 1) << self.shift));
        rows.map(|row| row as u32).filter(|row| other.get(*row).is_none_or(|before| before != self.row(*row)))
    }

    /// The rows as a part of a model.
    pub fn table(&self, name: impl Into<String>) -> Table {
        Table::new(name, self.len, &self.blocks)
    }

    /// The rows of a stored part, which must be of this width.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn read(tables: &mut Tables, name: &str, width: usize) -> Result<Self, String> {
        let (len, blocks) = tables.take::<FloatBlock>(name)?;
        let shift = block_rows(width).trailing_zeros();
        let fits = blocks.iter().all(|block| block.width == width);
        let (wanted, stored) = (len.div_ceil(1 << shift), len.div_ceil(stored_rows(width)));
        if !fits || Stores::len(&blocks) != stored || blocks.len() < wanted {
            return Err(format!("{name} is not {len} rows of {width} floats"));
        }
        // What was stored to fill up the last ones is no block of its own.
        let blocks = blocks.as_slice()[..wanted].iter().cloned().collect();
        Ok(Self { width, shift, len, blocks })
    }
}
