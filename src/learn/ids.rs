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

    /// As [`IdTable::from_names`], but costs only what is new where these are the names of `self` and further ones.
    #[must_use]
    pub fn or_grown(&self, names: Shared<Vec<Arc<str>>>) -> Self {
        let (own, all) = (self.names.as_slice(), names.as_slice());
        let Some((last, whole)) = own.split_last() else { return Self::from_names(names) };
        let same = all.len() >= own.len()
            && whole.iter().zip(all).all(|(own, other)| Arc::ptr_eq(own, other))
            && all[whole.len()].starts_with(last);
        if !same {
            return Self::from_names(names);
        }
        let known = whole.len() * ROWS + last.len();
        let new =
            all[whole.len()..].iter().flat_map(|block| block.iter().cloned()).zip(whole.len() as u32 * ROWS as u32..);
        let mut index = self.index.clone();
        index.extend(new.filter(|(_, place)| *place as usize >= known));
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

    /// Dense index of an id, if it is known.
    pub(super) fn get(&self, id: &str) -> Option<u32> {
        self.index.get(id).copied()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_grew_is_that_of_all_names_and_another_one_is_made_anew() {
        let mut ids = Ids::default();
        let names = |from: u32, to: u32| (from..to).map(|id| id.to_string());
        let mut table = IdTable::default();
        for (from, to) in [(0, 3), (3, 128), (128, 128), (128, 500)] {
            names(from, to).for_each(|id| assert!(ids.intern(&id) >= from));
            table = table.or_grown(ids.publish().names);
            assert_eq!(table.len(), to as usize);
            assert!((0..to).all(|id| table.get(&id.to_string()) == Some(id)));
        }
        let other = IdTable::from_names(Shared::from_iter([Arc::new(vec!["7".into(), "x".into()])]));
        let changed = table.or_grown(other.names);
        assert_eq!((changed.len(), changed.get("7"), changed.get("8")), (2, Some(0), None));
    }
}
