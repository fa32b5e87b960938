//! What chose one item beside another tells of the two: a sparse row of pairs for each item.
//!
//! Apart from the model, because these rows are nearly all of its memory. A pair has five weights, each a sum over the
//! users who came to both: item-based collaborative filtering (Sarwar, Karypis, Konstan, Riedl, WWW 2001) beside
//! transitions from item to item in both directions (as in the Markov chains of Rendle, Freudenthaler, Schmidt-Thieme,
//! "Factorizing personalized Markov chains", WWW 2010), the latter soft: an item that came m places before weighs
//! `0.5^(m / pair_positions)`.

use super::math::{left, since};
use crate::learn::tables::{Entry, Frozen, Lists, Live, Matrix, Storage, Table, Tables};

/// Weights of a pair.
pub(super) const WEIGHTS: usize = 5;
/// Users who chose both.
pub(super) const TOGETHER: usize = 0;
/// The row's item came before the other one.
pub(super) const FORWARD: usize = 1;
/// The row's item came after the other one.
pub(super) const BACKWARD: usize = 2;
/// How close the two came in time.
pub(super) const CLOSE: usize = 3;
/// The same, of which older events weigh less.
pub(super) const FADED: usize = 4;

/// Half-lives after which a row's faded weights are scaled down, long before they could overflow.
const LONGEST: f32 = 20.0;

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

/// Pairs of each item, sorted by the other item; and when the faded weights of its row count as they stand, shape
/// `(n_items, 2)`.
///
/// New events add ever larger faded weights, so that the older ones need no touching: a weight added at time t stands
/// as `2^((t - clock) / fade)`, and a row counts `0.5^((now - clock) / fade)` of what stands there.
#[derive(Clone, Debug)]
pub(super) struct Pairs<S: Storage> {
    rows: Lists<S, Pair>,
    clocks: Matrix<S>,
    /// Events after which a faded weight counts half.
    fade: f32,
}

impl<S: Storage> Pairs<S> {
    /// Pairs of an item; none of one that is not known.
    #[inline]
    pub(super) fn row(&self, item: u32) -> &[Pair] {
        self.rows.row(item)
    }

    /// How much the faded weights of an item's row count, of what stands there.
    #[inline]
    pub(super) fn faded(&self, item: u32, now: [f32; 2]) -> f32 {
        self.clocks.get(item).map_or(1.0, |clock| left(since(clock, now), self.fade))
    }
}

impl Pairs<Live> {
    pub(super) fn new(fade: f32) -> Self {
        Self { rows: Lists::default(), clocks: Matrix::new(2), fade }
    }

    /// As what a faded weight of 1 stands that is added to an item's row now.
    pub(super) fn fresh(&mut self, item: u32, now: [f32; 2]) -> f32 {
        self.clocks.grow_to(item, |_, clock| clock.copy_from_slice(&now));
        let age = since(self.clocks.row(item), now) / self.fade;
        if age <= LONGEST {
            return left(-age, 1.0);
        }
        let scale = left(age, 1.0);
        self.rows.row_mut(item).iter_mut().for_each(|pair| pair.weights[FADED] *= scale);
        self.clocks.row_mut(item).copy_from_slice(&now);
        1.0
    }

    /// Adds to the weights of one pair. Where that makes more than `most` pairs in the row, the weakest go.
    #[inline]
    pub(super) fn add(&mut self, item: u32, other: u32, added: &[f32; WEIGHTS], most: usize) {
        let row = self.rows.row_mut(item);
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
        Pairs { rows: self.rows.publish(), clocks: self.clocks.publish(), fade: self.fade }
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
        Pairs { rows: self.rows.thaw(), clocks: self.clocks.thaw(), fade: self.fade }
    }

    pub(super) fn tables(&self) -> Vec<Table> {
        vec![self.rows.table("pairs"), self.clocks.table("pair_clocks")]
    }

    /// The pairs of these tables.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn read(tables: &mut Tables, fade: f32) -> Result<Self, String> {
        let (rows, clocks) = (Lists::read(tables, "pairs")?, Matrix::read(tables, "pair_clocks", 2)?);
        let pairs = Self { rows, clocks, fade };
        for item in 0..pairs.rows.len() as u32 {
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

    use super::super::math::stamp;
    use super::*;

    /// Adds a pair, all of its weights alike, `at` a time.
    fn add(pairs: &mut Pairs<Live>, (item, other, weight): (u32, u32, f32), at: u64, most: usize) {
        let fresh = pairs.fresh(item, stamp(at));
        let mut added = [weight; WEIGHTS];
        added[FADED] *= fresh;
        pairs.add(item, other, &added, most);
    }

    proptest! {
        #[test]
        fn rows_hold_the_sums_of_a_dense_table(
            added in proptest::collection::vec((0_u32..5, 0_u32..20, 0.1_f32..1.0, 0_u64..400), 0..200),
        ) {
            let (fade, mut now) = (10.0, 0);
            let mut pairs = Pairs::new(fade);
            let mut dense = BTreeMap::<_, (f64, Vec<(u64, f64)>)>::new();
            for (item, other, weight, later) in added {
                now += later;
                add(&mut pairs, (item, other, weight), now, 100);
                let cell = dense.entry((item, other)).or_default();
                cell.0 += f64::from(weight);
                cell.1.push((now, f64::from(weight)));
            }
            prop_assert_eq!((0..5).map(|item| pairs.row(item).len()).sum::<usize>(), dense.len());
            for ((item, other), (sum, history)) in dense {
                let row = pairs.row(item);
                let pair = row[row.binary_search_by_key(&other, |pair| pair.item).unwrap()];
                let faded: f64 = history.iter().map(|(t, w)| w * (-((now - t) as f64) / f64::from(fade)).exp2()).sum();
                prop_assert!(pair.weights[..FADED].iter().all(|w| (f64::from(*w) / sum - 1.0).abs() < 1e-5));
                let counted = f64::from(pair.weights[FADED] * pairs.faded(item, stamp(now)));
                prop_assert!((counted - faded).abs() < 1e-2 * faded + 1e-6, "{counted} {faded}");
            }
        }
    }

    #[test]
    fn a_full_row_keeps_the_strongest_and_the_newest() {
        let mut pairs = Pairs::new(10.0);
        for (other, weight) in [(3, 5.0), (1, 0.5), (7, 4.0), (2, 3.0), (9, 0.1)] {
            add(&mut pairs, (0, other, weight), 1, 4);
        }
        let items: Vec<u32> = pairs.row(0).iter().map(|pair| pair.item).collect();
        assert_eq!(items, [2, 3, 7, 9], "the weakest was 1, of those that were there before");
        for other in 20..60 {
            add(&mut pairs, (0, other, 0.2), 2, 24);
        }
        assert!(pairs.row(0).len() <= 24);
        assert!([2, 3, 7, 59].iter().all(|item| pairs.row(0).iter().any(|pair| pair.item == *item)));
    }

    #[test]
    fn a_row_of_one_pair_is_the_newest() {
        let mut pairs = Pairs::new(10.0);
        (0..5).for_each(|other| add(&mut pairs, (0, other, 1.0), 1, 1));
        assert_eq!(pairs.row(0).len(), 1);
        assert_eq!(pairs.row(0)[0].item, 4);
    }
}
