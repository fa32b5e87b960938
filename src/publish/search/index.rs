//! An index of items by bounds of their scores, in which changed rows are put in place of what they were.

use std::sync::Arc;

use super::chunk::{Asked, Chunk, ROWS, Scan, scan};
use super::follow::Index;
use super::head::{HEAD, Head};
use crate::learn::dot;
use crate::learn::tables::{Frozen, Matrix};

/// By how much items may have become more since they were put into order: an index made anew is in a better one.
const GROWN: f64 = 1.25;

/// Longest items that tell in which directions items are long.
const TELLING: usize = 8_192;

/// Items in chunks, those whose scores can be large first.
#[derive(Clone, Debug)]
pub(super) struct ItemIndex {
    items: Matrix<Frozen>,
    chunks: Vec<Arc<Chunk>>,
    /// The directions that items are long in, if there are some, and chunks of the same rows along them.
    head: Option<Arc<Head>>,
    heads: Vec<Arc<Chunk>>,
    /// Items by their place in the chunks.
    order: Vec<u32>,
    /// The place of each item.
    places: Vec<u32>,
    /// How many of the items were put into order.
    ordered: usize,
}

impl Index for ItemIndex {
    fn of(items: &Matrix<Frozen>, reach: f32) -> Self {
        let mut order: Vec<(f32, u32)> =
            (0..).zip(items.rows()).map(|(item, row)| (largest(row, reach), item)).collect();
        order.sort_unstable_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1)));
        let mut index = Self {
            items: Matrix::default(),
            chunks: Vec::new(),
            head: Head::of(
                order.iter().take(TELLING).map(|(_, item)| factors(items.row(*item))),
                items.width().saturating_sub(1),
            )
            .map(Arc::new),
            heads: Vec::new(),
            order: Vec::with_capacity(order.len()),
            places: vec![0; order.len()],
            ordered: order.len(),
        };
        for (_, item) in order {
            index.append(item, items.row(item));
        }
        index.items = items.clone();
        index
    }

    fn updated(&self, items: &Matrix<Frozen>, reach: f32) -> Self {
        if items.len() as f64 > self.ordered as f64 * GROWN || items.len() < self.items.len() {
            return Self::of(items, reach);
        }
        let mut index = self.clone();
        for item in items.changed_since(&self.items) {
            let row = items.row(item);
            if (item as usize) < index.places.len() {
                index.put(index.places[item as usize] as usize, row);
            } else {
                index.places.push(0);
                index.append(item, row);
            }
        }
        index.items = items.clone();
        index
    }

    fn items(&self) -> &Matrix<Frozen> {
        &self.items
    }
}

impl ItemIndex {
    fn append(&mut self, item: u32, row: &[f32]) {
        let place = self.order.len();
        self.order.push(item);
        self.places[item as usize] = place as u32;
        if place / ROWS == self.chunks.len() {
            self.chunks.push(Arc::new(Chunk::new(factors(row).len())));
            self.heads.extend(self.head.is_some().then(|| Arc::new(Chunk::new(HEAD))));
        }
        self.put(place, row);
    }

    fn put(&mut self, place: usize, row: &[f32]) {
        if let Some((bias, factors)) = row.split_last() {
            Arc::make_mut(&mut self.chunks[place / ROWS]).set(place % ROWS, factors, *bias, 0.0);
            if let Some(head) = &self.head {
                let (along, rest) = head.split(factors);
                Arc::make_mut(&mut self.heads[place / ROWS]).set(place % ROWS, &along, *bias, rest);
            }
        }
    }

    /// Has `found` look at each item whose score, to which `base` is added, may be one of the user's best.
    pub(super) fn scan(&self, user: &[f32], base: f32, found: &mut impl Scan) {
        let asked = Asked::new(user, base, 0.0);
        let along = self.head.as_ref().map(|head| {
            let (along, rest) = head.split(user);
            Asked::new(&along, base, rest)
        });
        scan((&self.chunks, &asked), along.as_ref().map(|along| (&self.heads[..], along)), found);
    }

    /// The item at a place; none where the last chunk has rows that are not in use.
    #[inline]
    pub(super) fn item(&self, place: usize) -> Option<u32> {
        self.order.get(place).copied()
    }

    #[cfg(test)]
    pub(super) fn has_head(&self) -> bool {
        self.head.is_some()
    }

    /// Bytes that it takes beside the rows.
    pub(super) fn bytes(&self) -> usize {
        let chunks: usize = self.chunks.iter().chain(&self.heads).map(|chunk| chunk.bytes()).sum();
        chunks + (self.order.len() + self.places.len()) * size_of::<u32>()
    }
}

/// The factors of a row.
fn factors(row: &[f32]) -> &[f32] {
    row.split_last().map_or(&[], |(_, factors)| factors)
}

/// The largest score of an item that a user of this reach can have.
fn largest(row: &[f32], reach: f32) -> f32 {
    let (bias, factors) = row.split_last().unwrap_or((&0.0, &[]));
    bias + reach * dot(factors, factors).sqrt()
}
