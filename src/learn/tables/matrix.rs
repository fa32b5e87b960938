//! Rows of one width: factors, biases, counts, covariances.

use ndarray::Array2;

use super::{Block, Codec, Frozen, Live, Read, Storage, Table, Tables};
use crate::learn::blocks::Blocks;

/// Most floats in a block of a [`Matrix`]: what the first write after a publish copies at most (32 KiB).
const BLOCK_FLOATS: usize = 8192;

/// Most rows in a block of a [`Matrix`].
const MOST_ROWS: usize = 128;

/// Rows of floats, shape `(block rows, width)`; those not in use are zero.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FloatBlock(pub Array2<f32>);

impl Codec for FloatBlock {
    fn kind(&self) -> u8 {
        Self::KIND
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend((self.0.ncols() as u32).to_le_bytes());
        bytes.extend(self.0.iter().flat_map(|value| value.to_le_bytes()));
    }
}

impl Block for FloatBlock {
    const KIND: u8 = 7;

    fn read(bytes: &[u8]) -> Result<Self, String> {
        let (width, rest) = bytes.split_first_chunk::<4>().ok_or("it is cut short")?;
        let width = u32::from_le_bytes(*width) as usize;
        let (values, odd) = rest.as_chunks::<4>();
        let rows = block_rows(width);
        if !odd.is_empty() || Some(values.len()) != rows.checked_mul(width) {
            return Err(format!("{} bytes are no {rows} rows of {width} floats", rest.len()));
        }
        let values: Vec<f32> = values.iter().map(|value| f32::from_le_bytes(*value)).collect();
        if !values.iter().all(|value| value.is_finite()) {
            return Err("it holds a value that is not finite".into());
        }
        Array2::from_shape_vec((rows, width), values).map(Self).map_err(|error| error.to_string())
    }
}

/// Rows in a block of this width: a power of two, so that a row is found by a shift.
pub(super) const fn block_rows(width: usize) -> usize {
    let mut rows = MOST_ROWS;
    while rows > 1 && rows * width > BLOCK_FLOATS {
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
    /// If there is no such row.
    #[inline]
    #[must_use]
    pub fn row(&self, index: u32) -> &[f32] {
        let (block, row) = self.place(index);
        let values = self.blocks.block(block).0.as_slice().expect("blocks are made in standard layout");
        &values[row * self.width..(row + 1) * self.width]
    }

    /// One row, if it is there.
    #[inline]
    #[must_use]
    pub fn get(&self, index: u32) -> Option<&[f32]> {
        ((index as usize) < self.len).then(|| self.row(index))
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
                self.blocks.push(FloatBlock(Array2::zeros((1 << self.shift, self.width))));
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
        let values = self.blocks.get_mut(block).0.as_slice_mut().expect("blocks are made in standard layout");
        &mut values[row * self.width..(row + 1) * self.width]
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
        let fits = blocks.iter().all(|block| block.0.ncols() == width);
        if !fits || len > blocks.len() << shift || (len + (1 << shift) - 1) >> shift != blocks.len() {
            return Err(format!("{name} is not {len} rows of {width} floats"));
        }
        Ok(Self { width, shift, len, blocks })
    }
}
