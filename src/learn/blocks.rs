//! Rows kept in fixed-size blocks that the learner and the published view share until one is written.
//!
//! Apart from the model, because factors, ids, seen items and popularity are all kept this way: publishing and
//! snapshots then cost what changed, and not the size of the model.

use std::collections::VecDeque;
use std::ops::Index;
use std::sync::Arc;

use prefetch_index::prefetch_index;

/// Directories that lag further behind than so many publishes are let go: what is kept back for them would only grow.
const FURTHEST: u64 = 32;

/// The blocks as a reader sees them: cloning is O(1), and no later write reaches them.
#[derive(Debug)]
pub struct Shared<B>(Arc<Vec<Arc<B>>>);

impl<B> Clone for Shared<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B> Default for Shared<B> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<B> FromIterator<Arc<B>> for Shared<B> {
    fn from_iter<I: IntoIterator<Item = Arc<B>>>(blocks: I) -> Self {
        Self(Arc::new(blocks.into_iter().collect()))
    }
}

impl<'s, B> IntoIterator for &'s Shared<B> {
    type Item = &'s Arc<B>;
    type IntoIter = std::slice::Iter<'s, Arc<B>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<B> Index<usize> for Shared<B> {
    type Output = B;

    #[inline]
    fn index(&self, index: usize) -> &B {
        &self.0[index]
    }
}

impl<B> Shared<B> {
    /// The blocks in order.
    #[must_use]
    pub fn as_slice(&self) -> &[Arc<B>] {
        &self.0
    }

    /// Every block in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Arc<B>> {
        self.0.iter()
    }

    /// A block, if it is there.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&B> {
        self.0.get(index).map(Arc::as_ref)
    }

    /// Number of blocks.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no block.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A block as the learner holds it.
#[derive(Clone, Debug)]
enum Slot<B> {
    /// Written since the last publish: no reader has it.
    Owned(B),
    /// Readers have it too; the next write copies it.
    Shared(Arc<B>),
}

/// Where readers of one moment find the blocks.
#[derive(Clone, Debug)]
struct Directory<B> {
    blocks: Arc<Vec<Arc<B>>>,
    /// The publish that it is as of.
    publish: u64,
}

/// A growing sequence of blocks with copy on the first write after a publish.
///
/// The distinction is held in an enum and not in `Arc`'s counter, so that a write in the hot loop costs a branch and no
/// atomic operation. Readers are handed one of a few directories in turn: one that no reader has any more is brought up
/// to date by what has changed since it was handed out. A publish so costs a few times what it changed, where copying a
/// path through a tree would touch the counters of all blocks beside it, each of them far away in memory.
#[derive(Clone, Debug)]
pub struct Blocks<B> {
    slots: Vec<Slot<B>>,
    /// Blocks written since the last publish.
    owned: Vec<usize>,
    /// By the publish that they are as of, the newest last.
    directories: VecDeque<Directory<B>>,
    /// Number of the last publish.
    publish: u64,
    /// What each of the last publishes changed, the newest last.
    changes: VecDeque<Vec<usize>>,
}

impl<B> Default for Blocks<B> {
    fn default() -> Self {
        Self::from_shared(Shared::default())
    }
}

impl<B> Blocks<B> {
    /// Takes up blocks as a view or a snapshot holds them.
    #[must_use]
    pub fn from_shared(shared: Shared<B>) -> Self {
        let slots = shared.0.iter().cloned().map(Slot::Shared).collect();
        let directories = VecDeque::from([Directory { blocks: shared.0, publish: 0 }]);
        Self { slots, owned: Vec::new(), directories, publish: 0, changes: VecDeque::new() }
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

    /// A block to read soon: asks the processor for the place where it is held, and waits for nothing.
    #[inline]
    pub fn fetch(&self, index: usize) {
        prefetch_index(&self.slots, index);
    }

    /// Adds a block at the end.
    pub fn push(&mut self, block: B) {
        self.owned.push(self.slots.len());
        self.slots.push(Slot::Owned(block));
    }
}

impl<B: Clone + Default> Blocks<B> {
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

    /// Hands readers everything written so far. Costs what was written since the last calls.
    pub fn publish(&mut self) -> Shared<B> {
        if !self.owned.is_empty() {
            self.share();
            self.publish += 1;
            self.changes.push_back(std::mem::take(&mut self.owned));
            let newest = self.up_to_date();
            self.directories.push_back(newest);
            self.forget();
        }
        let newest = self.directories.back().expect("one is there from the beginning on");
        Shared(Arc::clone(&newest.blocks))
    }

    /// Makes the blocks that were written ones that readers may have.
    fn share(&mut self) {
        self.owned.sort_unstable();
        for index in &self.owned {
            if let Slot::Owned(block) = &mut self.slots[*index] {
                // Moves the block's header; its rows are behind pointers of their own and stay where they are.
                self.slots[*index] = Slot::Shared(Arc::new(std::mem::take(block)));
            }
        }
    }

    /// A directory of all blocks as they are: one that nobody reads any more, with what has changed since, or a new one.
    fn up_to_date(&mut self) -> Directory<B> {
        let free = self.directories.iter_mut().rposition(|directory| Arc::get_mut(&mut directory.blocks).is_some());
        let mut reused = free.and_then(|free| self.directories.remove(free));
        if let Some(Directory { blocks, publish }) = &mut reused
            && let Some(blocks) = Arc::get_mut(blocks)
        {
            let behind = (self.publish - *publish) as usize;
            for index in self.changes.iter().rev().take(behind).rev().flatten() {
                let block = shared(&self.slots[*index]);
                // What is new is at the end, and each list of changes is sorted.
                match blocks.get_mut(*index) {
                    Some(known) => *known = block,
                    None => blocks.push(block),
                }
            }
            *publish = self.publish;
        }
        reused.unwrap_or_else(|| Directory {
            blocks: Arc::new(self.slots.iter().map(shared).collect()),
            publish: self.publish,
        })
    }

    /// Lets directories go that lag too far behind, and the changes that none needs.
    fn forget(&mut self) {
        while self.directories.front().is_some_and(|oldest| oldest.publish + FURTHEST < self.publish) {
            self.directories.pop_front();
        }
        let oldest = self.directories.front().map_or(self.publish, |oldest| oldest.publish);
        self.changes.drain(..self.changes.len().saturating_sub((self.publish - oldest) as usize));
    }
}

/// The block of a slot, which was made one that readers may have.
fn shared<B>(slot: &Slot<B>) -> Arc<B> {
    match slot {
        Slot::Shared(block) => Arc::clone(block),
        Slot::Owned(_) => unreachable!("a publish shares every block first"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn unchanged_blocks_are_shared_between_views() {
        let mut blocks: Blocks<Vec<u32>> = Blocks::default();
        blocks.push(vec![1]);
        blocks.push(vec![2]);
        let before = blocks.publish();
        blocks.get_mut(1)[0] = 20;
        let after = blocks.publish();
        assert!(Arc::ptr_eq(&before.as_slice()[0], &after.as_slice()[0]));
        assert!(!Arc::ptr_eq(&before.as_slice()[1], &after.as_slice()[1]));
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

    #[test]
    fn a_directory_that_nobody_reads_is_used_again() {
        let mut blocks: Blocks<u32> = Blocks::default();
        blocks.push(1);
        let mut newest = blocks.publish();
        for value in 0..200 {
            *blocks.get_mut(0) = value;
            newest = blocks.publish();
        }
        assert_eq!((newest[0], blocks.directories.len()), (199, 2));
        assert!(blocks.changes.len() <= 2);
    }

    #[test]
    fn what_is_kept_back_for_readers_is_bounded() {
        let mut blocks: Blocks<u32> = Blocks::default();
        blocks.push(0);
        let mut held = Vec::new();
        for value in 0..300 {
            *blocks.get_mut(0) = value;
            held.push(blocks.publish());
        }
        assert!(blocks.directories.len() as u64 <= FURTHEST + 2 && blocks.changes.len() as u64 <= FURTHEST + 1);
        assert!(held.iter().zip(0..).all(|(view, value)| view[0] == value));
    }

    proptest! {
        /// Any writes and publishes, with any of the views held for any time: each view stays what it was.
        #[test]
        fn a_view_never_sees_a_later_write(
            steps in proptest::collection::vec((0..5_u8, any::<prop::sample::Index>()), 1..200),
        ) {
            let (mut blocks, mut values) = (Blocks::<u32>::default(), Vec::new());
            let mut views: Vec<(Shared<u32>, Vec<u32>)> = Vec::new();
            for (number, (step, at)) in (1..).zip(steps) {
                match step {
                    0 => { blocks.push(number); values.push(number); }
                    1 | 2 if !values.is_empty() => {
                        let at = at.index(values.len());
                        (*blocks.get_mut(at), values[at]) = (number, number);
                    }
                    3 if !views.is_empty() => { views.swap_remove(at.index(views.len())); }
                    _ => views.push((blocks.publish(), values.clone())),
                }
                for (view, then) in &views {
                    prop_assert!(view.iter().map(|value| **value).eq(then.iter().copied()));
                }
            }
        }
    }
}
