//! Rows of a model, kept so that the learner and its readers share what has not changed.
//!
//! Apart from the learners, because all of them keep their state this way: a model is written once, over any
//! [`Storage`], and scores alike whether the learner holds it ([`Live`]) or a reader does ([`Frozen`]). What a model is
//! made of is handed to the store as blocks of bytes, whatever the rows are.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;

use ndarray::Array2;

use super::blocks::{Blocks, Shared};

/// Most floats in a block of a [`Matrix`]: what the first write after a publish copies at most (32 KiB).
const BLOCK_FLOATS: usize = 8192;

/// Most rows in a block of a [`Matrix`].
const MOST_ROWS: usize = 128;

/// Rows in a block of [`Lists`]. A row is shared by itself, so that a write copies one row and not the block.
const LIST_ROWS: usize = 16;

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
const fn block_rows(width: usize) -> usize {
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

impl<T: Entry> Codec for ListBlock<T> {
    fn kind(&self) -> u8 {
        Self::KIND
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        let mut words = Vec::new();
        for row in &self.0 {
            words.clear();
            words.push(row.len() as u32);
            row.iter().for_each(|entry| entry.write(&mut words));
            bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        }
    }
}

impl<T: Entry> Block for ListBlock<T> {
    const KIND: u8 = T::KIND;

    fn read(bytes: &[u8]) -> Result<Self, String> {
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
        Ok(Self(rows))
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
        let rows: usize = blocks.iter().map(|block| block.0.len()).sum();
        let full = blocks.iter().rev().skip(1).all(|block| block.0.len() == LIST_ROWS);
        if rows != len || !full {
            return Err(format!("{name} has {rows} lists in its blocks and should have {len}"));
        }
        Ok(Self { len, blocks, entry: PhantomData })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Pair(u32, f32);

    impl Entry for Pair {
        const KIND: u8 = 200;
        const WORDS: usize = 2;

        fn write(&self, words: &mut Vec<u32>) {
            words.extend([self.0, self.1.to_bits()]);
        }

        fn read(words: &[u32]) -> Self {
            Self(words[0], f32::from_bits(words[1]))
        }
    }

    fn stored(table: &Table) -> Tables {
        let block = |block: &Arc<dyn Codec>| {
            let mut bytes = Vec::new();
            block.write(&mut bytes);
            (block.kind(), bytes)
        };
        let part = (table.rows, table.blocks.iter().map(block).collect());
        Tables { parts: BTreeMap::from([(table.name.clone(), part)]) }
    }

    proptest! {
        #[test]
        fn a_matrix_is_read_back_as_it_was(width in 1..40_usize, len in 1..400_u32, at in any::<prop::sample::Index>()) {
            let mut live = Matrix::new(width);
            live.grow_to(len - 1, |index, row| row.fill(index as f32));
            let index = at.index(len as usize) as u32;
            live.row_mut(index)[0] = -1.0;
            let before = live.publish();
            live.row_mut(index)[0] = -2.0;
            prop_assert_eq!((before.row(index)[0], live.row(index)[0]), (-1.0, -2.0));
            let read = Matrix::read(&mut stored(&before.table("m")), "m", width).unwrap();
            prop_assert!(read.rows().eq(before.rows()));
            prop_assert!(Matrix::read(&mut stored(&before.table("m")), "m", width + 1).is_err());
        }

        #[test]
        fn lists_are_read_back_as_they_were(rows in proptest::collection::vec(0..9_u32, 1..70)) {
            let mut live = Lists::<Live, Pair>::default();
            for (index, len) in rows.iter().enumerate() {
                live.row_mut(index as u32).extend((0..*len).map(|key| Pair(key, key as f32)));
            }
            let before = live.publish();
            live.row_mut(0).push(Pair(99, 0.5));
            prop_assert_eq!(before.row(0).len() as u32, rows[0]);
            let read = Lists::<Frozen, Pair>::read(&mut stored(&before.table("l")), "l").unwrap();
            prop_assert!((0..rows.len() as u32).all(|index| read.row(index) == before.row(index)));
            prop_assert_eq!(read.row(rows.len() as u32), &[]);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(FloatBlock::read(&[1, 0, 0]).is_err());
        let mut bytes = Vec::new();
        FloatBlock(Array2::from_elem((128, 2), f32::NAN)).write(&mut bytes);
        assert!(FloatBlock::read(&bytes).unwrap_err().contains("not finite"));
        assert!(ListBlock::<Pair>::read(&[2, 0, 0, 0, 1, 0, 0, 0]).unwrap_err().contains("cut short"));
        assert!(Matrix::<Frozen>::read(&mut Tables::default(), "m", 2).unwrap_err().contains("no m"));
    }

    #[test]
    fn wide_rows_have_small_blocks() {
        assert_eq!([1, 33, 64, 65, 1_200, 9_000].map(block_rows), [128, 128, 128, 64, 4, 1]);
    }
}
