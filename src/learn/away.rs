//! Rows of users that are away: in the store alone, until the user returns.
//!
//! Apart from the tables, which only know how to do without a row. A model with rows away is the same model: its indexes,
//! its order and its hash stay, and whoever needs a row has it put back first.

use super::blocks::Blocks;
use super::tables::{Block, Frozen, Live, Read, Storage, Stored};

/// Rows of users, one by one in memory or not.
pub trait UserRows {
    /// Bytes that a user's row takes in memory; 0 where there is none.
    fn bytes(&self, user: u32) -> usize;

    /// Which part of the table a store keeps the user's row in; none where there is no such row.
    fn part(&self, user: u32) -> Option<usize>;

    /// Frees what the row takes. Until it is recalled nobody may read it.
    fn forget(&mut self, user: u32);

    /// Puts the row back as it is in the stored part that holds it.
    ///
    /// # Errors
    /// If the part does not read, or is of other rows.
    fn recall(&mut self, user: u32, part: &Stored) -> Result<(), String>;
}

impl<B: Block> UserRows for Blocks<B> {
    fn bytes(&self, user: u32) -> usize {
        place(self, user).map_or(0, |(block, row)| self.get(block).row_bytes(row))
    }

    fn part(&self, user: u32) -> Option<usize> {
        place(self, user).map(|(block, _)| block / self.get(block).together())
    }

    fn forget(&mut self, user: u32) {
        if let Some((block, row)) = place(self, user) {
            self.get_mut(block).forget(row);
        }
    }

    fn recall(&mut self, user: u32, part: &Stored) -> Result<(), String> {
        let Some((block, row)) = place(self, user) else { return Ok(()) };
        let stored = part.read::<B>()?;
        let from = stored.get(block % self.get(block).together()).ok_or("the part has too few rows")?;
        self.get_mut(block).recall(row, from);
        Ok(())
    }
}

/// Block and row of a user.
fn place<B: Block>(blocks: &Blocks<B>, user: u32) -> Option<(usize, usize)> {
    let rows = if blocks.is_empty() { 0 } else { blocks.get(0).rows() };
    let block = (user as usize).checked_div(rows)?;
    (block < blocks.len()).then(|| (block, user as usize % rows))
}

/// Users in a block of [`Away`].
const USERS: usize = 1024;

/// Of some users whether their rows are away.
#[derive(Clone, Debug, Default)]
pub struct AwayBlock([u64; USERS / 64]);

impl Block for AwayBlock {
    /// It is in no store.
    const KIND: u8 = 0;

    fn write(_: &[std::sync::Arc<Self>], _: &mut Vec<u8>) {}

    fn read(_: &[u8]) -> Result<Vec<Self>, String> {
        Err("it is in no store".into())
    }
}

/// The users whose rows are away, by dense index.
#[derive(Clone, Debug, Default)]
pub struct Away<S: Storage> {
    blocks: S::Of<AwayBlock>,
    /// Blocks that there are.
    len: usize,
}

impl<S: Storage> Away<S> {
    /// Whether a user's rows are away.
    #[inline]
    #[must_use]
    pub fn is(&self, user: u32) -> bool {
        let (block, bit) = (user as usize / USERS, user as usize % USERS);
        block < self.len && self.blocks.block(block).0[bit / 64] >> (bit % 64) & 1 == 1
    }
}

impl Away<Live> {
    /// The first `users` of all.
    #[must_use]
    pub fn all(users: usize) -> Self {
        let mut away = Self::default();
        (0..users as u32).for_each(|user| away.set(user, true));
        away
    }

    /// Notes whether a user's rows are away.
    pub fn set(&mut self, user: u32, is_away: bool) {
        if self.is(user) == is_away {
            return;
        }
        let (block, bit) = (user as usize / USERS, user as usize % USERS);
        while self.len <= block {
            self.blocks.push(AwayBlock::default());
            self.len += 1;
        }
        let word = &mut self.blocks.get_mut(block).0[bit / 64];
        *word = *word & !(1 << (bit % 64)) | u64::from(is_away) << (bit % 64);
    }

    /// Hands readers what is away now. Costs what changed since the last call.
    pub fn publish(&mut self) -> Away<Frozen> {
        Away { blocks: self.blocks.publish(), len: self.len }
    }
}

impl Away<Frozen> {
    /// Those of `users` who are away.
    pub fn among(&self, users: impl IntoIterator<Item = u32>) -> impl Iterator<Item = u32> {
        users.into_iter().filter(|user| self.is(*user))
    }
}
