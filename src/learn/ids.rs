//! Ids as dense indexes, given in the order of first appearance.
//!
//! Apart from the model, which works on indexes alone. Names are kept in blocks and the index in a persistent map, so
//! that publishing them costs what was added.

use std::sync::Arc;

use serde::Serialize;

use super::blocks::{Blocks, Shared};
use super::tables::{Row, take};

/// Ids in a block.
const ROWS: usize = <Arc<str>>::SHARED;

impl Row for Arc<str> {
    const KIND: u8 = 2;

    fn to_stored(&self) -> impl Serialize {
        &**self
    }

    fn from_stored(bytes: &[u8]) -> Result<(Self, &[u8]), String> {
        take::<&str>(bytes).map(|(id, rest)| (id.into(), rest))
    }
}

/// Ids as readers see them.
#[derive(Clone, Debug, Default)]
pub struct IdTable {
    index: imbl::HashMap<Arc<str>, u32>,
    names: Shared<Vec<Arc<str>>>,
}

impl IdTable {
    /// Takes up names as a snapshot holds them: blocks in index order.
    #[must_use]
    pub fn from_names(names: Shared<Vec<Arc<str>>>) -> Self {
        let index = names.iter().flat_map(|block| block.iter().cloned()).zip(0..).collect();
        Self { index, names }
    }

    /// Number of ids.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is no id.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Dense index of an id, if it is known.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<u32> {
        self.index.get(id).copied()
    }

    /// The id at a dense index, if there is one.
    #[must_use]
    pub fn name(&self, index: u32) -> Option<&Arc<str>> {
        self.names.get(index as usize / ROWS)?.get(index as usize % ROWS)
    }

    /// Names in blocks, in index order.
    #[must_use]
    pub fn names(&self) -> &Shared<Vec<Arc<str>>> {
        &self.names
    }
}

/// Ids as the learner holds them.
#[derive(Debug, Default)]
pub(super) struct Ids {
    index: imbl::HashMap<Arc<str>, u32>,
    names: Blocks<Vec<Arc<str>>>,
}

impl Ids {
    pub(super) fn from_table(table: IdTable) -> Self {
        Self { index: table.index, names: Blocks::from_shared(table.names) }
    }

    /// Dense index of an id; the next free one if it is new.
    pub(super) fn intern(&mut self, id: &str) -> u32 {
        if let Some(index) = self.index.get(id) {
            return *index;
        }
        let index = u32::try_from(self.index.len()).expect("memory ends before 2^32 ids");
        let name: Arc<str> = id.into();
        let block = index as usize / ROWS;
        if block == self.names.len() {
            self.names.push(Vec::with_capacity(ROWS));
        }
        self.names.get_mut(block).push(Arc::clone(&name));
        self.index.insert(name, index);
        index
    }

    pub(super) fn publish(&mut self) -> IdTable {
        IdTable { index: self.index.clone(), names: self.names.publish() }
    }
}
