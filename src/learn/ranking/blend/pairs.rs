//! What chose one item beside another tells of the two: a sparse row of pairs for each item.
//!
//! Apart from the model, because these rows are nearly all of its memory. A pair has four weights, each a sum over the
//! users who came to both: item-based collaborative filtering (Sarwar, Karypis, Konstan, Riedl, WWW 2001) beside
//! transitions from item to item in both directions (as in the Markov chains of Rendle, Freudenthaler, Schmidt-Thieme,
//! "Factorizing personalized Markov chains", WWW 2010), the latter soft: an item that came m places before weighs
//! `0.5^(m / pair_positions)`.

use crate::learn::tables::{Entry, Frozen, Lists, Live, Storage, Table, Tables};

/// Weights of a pair.
pub(super) const WEIGHTS: usize = 4;
/// Users who chose both.
pub(super) const TOGETHER: usize = 0;
/// The row's item came before the other one.
pub(super) const FORWARD: usize = 1;
/// The row's item came after the other one.
pub(super) const BACKWARD: usize = 2;
/// How close the two came in time.
pub(super) const CLOSE: usize = 3;

/// Rows are cut back by this share of the most pairs that they may have: then a new pair costs a constant on average.
const CUT: usize = 8;

/// Another item, and what the row's item has to do with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pair {
    pub(super) item: u32,
    pub(super) weights: [f32; WEIGHTS],
}

impl Entry for Pair {
    const KIND: u8 = 20;
    const WORDS: usize = 1 + WEIGHTS;

    fn write(&self, words: &mut Vec<u32>) {
        words.push(self.item);
        words.extend(self.weights.map(f32::to_bits));
    }

    fn read(words: &[u32]) -> Self {
        Self { item: words[0], weights: std::array::from_fn(|n| f32::from_bits(words[1 + n])) }
    }
}

impl Pair {
    /// What the pair is kept for.
    fn strength(&self) -> f32 {
        self.weights[TOGETHER] + self.weights[FORWARD] + self.weights[BACKWARD] + self.weights[CLOSE]
    }
}

/// Pairs of each item, sorted by the other item.
#[derive(Clone, Debug, Default)]
pub(super) struct Pairs<S: Storage>(Lists<S, Pair>);

impl<S: Storage> Pairs<S> {
    /// Pairs of an item; none of one that is not known.
    #[inline]
    pub(super) fn row(&self, item: u32) -> &[Pair] {
        self.0.row(item)
    }
}

impl Pairs<Live> {
    /// Adds to the weights of one pair. Where that makes more than `most` pairs in the row, the weakest go.
    #[inline]
    pub(super) fn add(&mut self, item: u32, other: u32, added: &[f32; WEIGHTS], most: usize) {
        let row = self.0.row_mut(item);
        match row.binary_search_by_key(&other, |pair| pair.item) {
            Ok(at) => row[at].weights.iter_mut().zip(added).for_each(|(weight, added)| *weight += added),
            Err(at) => {
                row.insert(at, Pair { item: other, weights: *added });
                if row.len() > most {
                    cut(row, other, most - most / CUT);
                }
            }
        }
    }

    pub(super) fn publish(&mut self) -> Pairs<Frozen> {
        Pairs(self.0.publish())
    }
}

/// Leaves the strongest of a row, of equally strong ones those of newer items, and in any case the one just added.
#[cold]
fn cut(row: &mut Vec<Pair>, added: u32, keep: usize) {
    let mut order: Vec<(f32, u32)> =
        row.iter().filter(|pair| pair.item != added).map(|pair| (pair.strength(), pair.item)).collect();
    let stronger = |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1));
    // One place is the added pair's.
    let Some(last) = keep.checked_sub(1).filter(|last| *last < order.len()) else { return };
    let (_, first_out, _) = order.select_nth_unstable_by(last, stronger);
    let first_out = *first_out;
    row.retain(|pair| pair.item == added || stronger(&(pair.strength(), pair.item), &first_out).is_lt());
}

impl Pairs<Frozen> {
    pub(super) fn thaw(&self) -> Pairs<Live> {
        Pairs(self.0.thaw())
    }

    pub(super) fn table(&self) -> Table {
        self.0.table("pairs")
    }

    /// The pairs of these tables.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn read(tables: &mut Tables) -> Result<Self, String> {
        let pairs = Self(Lists::read(tables, "pairs")?);
        for item in 0..pairs.0.len() as u32 {
            let row = pairs.row(item);
            if !row.is_sorted_by(|a, b| a.item < b.item) || !row.iter().all(|p| p.weights.iter().all(|w| w.is_finite()))
            {
                return Err(format!("the pairs of item {item} are not in order, or not finite"));
            }
        }
        Ok(pairs)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Adds a pair, all of its weights alike.
    fn add(pairs: &mut Pairs<Live>, (item, other, weight): (u32, u32, f32), most: usize) {
        pairs.add(item, other, &[weight; WEIGHTS], most);
    }

    proptest! {
        #[test]
        fn rows_hold_the_sums_of_a_dense_table(
            added in proptest::collection::vec((0_u32..5, 0_u32..20, 0.1_f32..1.0), 0..200),
        ) {
            let mut pairs = Pairs::default();
            let mut dense = BTreeMap::<_, f64>::new();
            for (item, other, weight) in added {
                add(&mut pairs, (item, other, weight), 100);
                *dense.entry((item, other)).or_default() += f64::from(weight);
            }
            prop_assert_eq!((0..5).map(|item| pairs.row(item).len()).sum::<usize>(), dense.len());
            for ((item, other), sum) in dense {
                let row = pairs.row(item);
                let pair = row[row.binary_search_by_key(&other, |pair| pair.item).unwrap()];
                prop_assert!(pair.weights.iter().all(|w| (f64::from(*w) / sum - 1.0).abs() < 1e-5));
            }
        }
    }

    #[test]
    fn a_full_row_keeps_the_strongest_and_the_newest() {
        let mut pairs = Pairs::default();
        for (other, weight) in [(3, 5.0), (1, 0.5), (7, 4.0), (2, 3.0), (9, 0.1)] {
            add(&mut pairs, (0, other, weight), 4);
        }
        let items: Vec<u32> = pairs.row(0).iter().map(|pair| pair.item).collect();
        assert_eq!(items, [2, 3, 7, 9], "the weakest was 1, of those that were there before");
        for other in 20..60 {
            add(&mut pairs, (0, other, 0.2), 24);
        }
        assert!(pairs.row(0).len() <= 24);
        assert!([2, 3, 7, 59].iter().all(|item| pairs.row(0).iter().any(|pair| pair.item == *item)));
    }

    #[test]
    fn a_row_of_one_pair_is_the_newest() {
        let mut pairs = Pairs::default();
        (0..5).for_each(|other| add(&mut pairs, (0, other, 1.0), 1));
        assert_eq!(pairs.row(0).len(), 1);
        assert_eq!(pairs.row(0)[0].item, 4);
    }
}
