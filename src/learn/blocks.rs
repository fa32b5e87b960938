//! Rows kept in fixed-size blocks that the learner and the published view share until one is written.
//!
//! Apart from the model, because factors, ids, seen items and popularity are all kept this way: publishing and
//! snapshots then cost what changed, and not the size of the model.

use std::sync::Arc;

/// Rows in a block. A block is what is copied on the first write after a publish, and what a snapshot stores once.
pub const BLOCK_ROWS: usize = 128;

/// The blocks as a reader sees them: cloning is O(1), and no later write reaches them.
pub type Shared<B> = imbl::Vector<Arc<B>>;

/// A block as the learner holds it.
#[derive(Clone, Debug)]
enum Slot<B> {
    /// Written since the last publish: no reader has it.
    Owned(B),
    /// Readers have it too; the next write copies it.
    Shared(Arc<B>),
}

/// A growing sequence of blocks with copy on the first write after a publish.
///
/// The distinction is held in an enum and not in `Arc`'s counter, so that a write in the hot loop costs a branch and no
/// atomic operation.
#[derive(Clone, Debug)]
pub struct Blocks<B> {
    slots: Vec<Slot<B>>,
    owned: Vec<usize>,
    shared: Shared<B>,
}

impl<B> Default for Blocks<B> {
    fn default() -> Self {
        Self { slots: Vec::new(), owned: Vec::new(), shared: Shared::new() }
    }
}

impl<B: Clone + Default> Blocks<B> {
    /// Takes up blocks as a view or a snapshot holds them.
    #[must_use]
    pub fn from_shared(shared: Shared<B>) -> Self {
        Self { slots: shared.iter().cloned().map(Slot::Shared).collect(), owned: Vec::new(), shared }
    }

    /// Number of blocks.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is no block.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// A block to read.
    ///
    /// # Panics
    /// If there is no such block.
    #[inline]
    #[must_use]
    pub fn get(&self, index: usize) -> &B {
        match &self.slots[index] {
            Slot::Owned(block) => block,
            Slot::Shared(block) => block,
        }
    }

    /// A block to write; copied first if readers have it.
    ///
    /// # Panics
    /// If there is no such block.
    #[inline]
    pub fn get_mut(&mut self, index: usize) -> &mut B {
        if matches!(self.slots[index], Slot::Shared(_)) {
            self.own(index);
        }
        match &mut self.slots[index] {
            Slot::Owned(block) => block,
            Slot::Shared(_) => unreachable!("the block was made owned above"),
        }
    }

    #[cold]
    fn own(&mut self, index: usize) {
        if let Slot::Shared(block) = &self.slots[index] {
            self.slots[index] = Slot::Owned(B::clone(block));
            self.owned.push(index);
        }
    }

    /// Adds a block at the end.
    pub fn push(&mut self, block: B) {
        self.owned.push(self.slots.len());
        self.slots.push(Slot::Owned(block));
    }

    /// Hands readers everything written so far. Costs the number of blocks written since the last call.
    pub fn publish(&mut self) -> Shared<B> {
        self.owned.sort_unstable();
        for index in self.owned.drain(..) {
            if let Slot::Owned(block) = &mut self.slots[index] {
                // Moves the block's header; its rows are behind pointers of their own and stay where they are.
                let block = Arc::new(std::mem::take(block));
                self.slots[index] = Slot::Shared(Arc::clone(&block));
                if index < self.shared.len() {
                    self.shared.set(index, block);
                } else {
                    self.shared.push_back(block);
                }
            }
        }
        self.shared.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_published_view_never_sees_a_later_write() {
        let mut blocks: Blocks<Vec<u32>> = Blocks::default();
        blocks.push(vec![1]);
        blocks.push(vec![2]);
        let before = blocks.publish();
        blocks.get_mut(1)[0] = 20;
        blocks.push(vec![3]);
        let after = blocks.publish();
        assert_eq!(before.iter().map(|b| b[0]).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(after.iter().map(|b| b[0]).collect::<Vec<_>>(), [1, 20, 3]);
    }

    #[test]
    fn unchanged_blocks_are_shared_between_views() {
        let mut blocks: Blocks<Vec<u32>> = Blocks::default();
        blocks.push(vec![1]);
        blocks.push(vec![2]);
        let before = blocks.publish();
        blocks.get_mut(1)[0] = 20;
        let after = blocks.publish();
        assert!(Arc::ptr_eq(&before[0], &after[0]));
        assert!(!Arc::ptr_eq(&before[1], &after[1]));
    }

    #[test]
    fn blocks_taken_up_from_a_view_are_copied_before_they_are_written() {
        let mut blocks: Blocks<Vec<u32>> = Blocks::default();
        blocks.push(vec![1]);
        let view = blocks.publish();
        let mut resumed = Blocks::from_shared(view.clone());
        resumed.get_mut(0)[0] = 9;
        assert_eq!((view[0][0], resumed.get(0)[0]), (1, 9));
    }
}
