//! An index of items by who is next to whom: quick to walk to the items of the largest inner products, and not sure to
//! reach each of them.
//!
//! A hierarchical navigable small world graph (Malkov and Yashunin 2018) in which the nearest is what has the largest inner
//! product (Morozov and Babenko, "Non-metric Similarity Graphs for Maximum Inner Product Search", NIPS 2018). The graph
//! holds the items' numbers alone: their rows are those of the model.

use std::fmt;

use hnsw_rs::prelude::{Distance, Hnsw};
use pulp::bytemuck::cast_slice;

use super::follow::Index;
use crate::learn::tables::{Frozen, Matrix};
use crate::learn::{InnerProducts, dot};

/// Neighbours of an item on each layer, and twice as many on the lowest.
const NEIGHBOURS: usize = 16;

/// Items among which the neighbours of a new one are chosen.
const BREADTH: usize = 100;

/// Layers of the graph; the highest are next to never in use.
const LAYERS: usize = 16;

/// Items by their neighbours.
pub(super) struct ItemGraph {
    graph: Hnsw<'static, u32, Apart>,
}

impl fmt::Debug for ItemGraph {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ItemGraph").field("items", &self.graph.get_nb_point()).finish_non_exhaustive()
    }
}

impl Index for ItemGraph {
    fn of(items: &Matrix<Frozen>, _reach: f32) -> Self {
        let mut graph = Hnsw::new(NEIGHBOURS, items.len(), LAYERS, BREADTH, Apart::new(items));
        for item in 0..items.len() as u32 {
            graph.insert((&[item], item as usize));
        }
        graph.set_searching_mode(true);
        Self { graph }
    }

    /// Made anew: a graph cannot let go of what an item was.
    fn updated(&self, items: &Matrix<Frozen>, reach: f32) -> Self {
        Self::of(items, reach)
    }

    fn items(&self) -> &Matrix<Frozen> {
        &self.graph.get_distance().items
    }
}

impl ItemGraph {
    /// Items whose inner products are among the largest, at most `breadth` of them.
    pub(super) fn near(&self, products: &InnerProducts<'_>, breadth: usize) -> impl Iterator<Item = u32> {
        let asked = self.graph.get_distance().asked(products.user);
        self.graph.search(&asked, breadth, breadth).into_iter().map(|near| near.d_id as u32)
    }
}

/// How far apart two are: the less their inner product, the farther. An item is its number alone; a user is a number that
/// none of his inner products exceeds, and his factors with a 1 for the bias, all as bits.
struct Apart {
    items: Matrix<Frozen>,
    /// Length of the longest row.
    longest: f32,
}

impl Apart {
    fn new(items: &Matrix<Frozen>) -> Self {
        let longest = items.rows().map(|row| dot(row, row)).fold(0.0, f32::max).sqrt();
        Self { items: items.clone(), longest }
    }

    fn asked(&self, user: &[f32]) -> Vec<u32> {
        let most = (dot(user, user) + 1.0).sqrt() * self.longest;
        [most].iter().chain(user).chain(&[1.0]).map(|value| value.to_bits()).collect()
    }

    /// The vector of an item or a user, and what its inner products do not exceed.
    fn vector<'v>(&'v self, one: &'v [u32]) -> (&'v [f32], f32) {
        match one {
            [item] => (self.items.row(*item), self.longest * self.longest),
            [most, user @ ..] => (cast_slice(user), f32::from_bits(*most)),
            [] => (&[], 0.0),
        }
    }
}

impl Distance<u32> for Apart {
    fn eval(&self, one: &[u32], other: &[u32]) -> f32 {
        let ((one, most), (other, others_most)) = (self.vector(one), self.vector(other));
        // No number that is not, and none below zero by rounding: the graph takes neither.
        (most.max(others_most) - dot(one, other)).max(0.0)
    }
}
