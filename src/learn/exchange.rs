//! Items that several trainers learn together, each from the events of its own users.
//!
//! An item's row is the sum of what each trainer has added to it: the parameter-server form of stochastic gradient descent
//! under stale synchronous parallelism (Ho et al., "More Effective Distributed ML via a Stale Synchronous Parallel Parameter
//! Server", NIPS 2013), without the server. Each trainer keeps what each of them has added, told whole and not by what is new.
//! So records may be lost to compaction, come again or late, and trainers that have heard the same have the same rows, bit
//! for bit: they add up in the order of the trainers' numbers.
//!
//! Apart from the learners, which only say which of their rows are of items. When contributions come in and when the own ones
//! are worked out is part of the one total order, by the batch: the same batches give the same model.

use std::sync::Arc;

use serde::Serialize;

use super::blocks::Shared;
use super::tables::{Frozen, Live, Matrix, Row, Storage, Table, Tables, take};
use crate::decode::Contributions;

/// Names of the tables.
const HEARD: &str = "exchange.heard";
const ADDED: &str = "exchange.added.";
const LIKED: &str = "exchange.liked";

/// What was heard of a trainer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Stands for its store.
    pub store: u64,
    /// Number of the last exchange all of whose rows are added.
    pub number: u64,
}

impl Row for Heard {
    const KIND: u8 = 22;

    fn to_stored(&self) -> impl Serialize {
        (self.store, self.number)
    }

    fn from_stored(bytes: &[u8]) -> Result<(Self, &[u8]), String> {
        take::<(u64, u64)>(bytes).map(|((store, number), rest)| (Self { store, number }, rest))
    }
}

/// What each trainer has added to the rows of items.
#[derive(Clone, Debug)]
pub struct Exchange<S: Storage> {
    /// Number of this trainer.
    shard: usize,
    /// By trainer; of this one the number of its own exchanges.
    heard: Vec<Heard>,
    /// By trainer, shape `(n_items, width)`: the rows of all learners side by side, then those of `liked`. Those at the end
    /// may be missing: zeros.
    added: Vec<Matrix<S>>,
    /// Positive events of anybody, shape `(n_items, 1)`: what is shown at all, and to those who are not known.
    liked: Matrix<S>,
    /// Items that were learned here since the own contributions were worked out last, in any order; and whether each is
    /// one, shape `(n_items,)`. Nothing but a list of where to look.
    touched: Vec<u32>,
    is_touched: Vec<bool>,
}

/// The rows of items of all learners, which an exchange is about.
pub(super) struct ItemRows<'r>(pub(super) Vec<&'r mut Matrix<Live>>);

impl ItemRows<'_> {
    /// These and further ones.
    fn with<'w>(&'w mut self, more: &'w mut Matrix<Live>) -> ItemRows<'w> {
        ItemRows(self.0.iter_mut().map(|rows| &mut **rows).chain([more]).collect())
    }

    fn width(&self) -> usize {
        self.0.iter().map(|rows| rows.width()).sum()
    }

    fn len(&self) -> usize {
        self.0.iter().map(|rows| rows.len()).max().unwrap_or_default()
    }

    /// All rows of an item side by side.
    fn read(&self, item: u32, row: &mut Vec<f32>) {
        row.clear();
        for rows in &self.0 {
            match rows.get(item) {
                Some(values) => row.extend_from_slice(values),
                None => row.resize(row.len() + rows.width(), 0.0),
            }
        }
    }

    fn write(&mut self, item: u32, row: &[f32]) {
        let mut rest = row;
        for rows in &mut self.0 {
            let values;
            (values, rest) = rest.split_at(rows.width());
            rows.grow_to(item, |_, _| ());
            rows.row_mut(item).copy_from_slice(values);
        }
    }
}

/// What adding up works in, each of shape `(width,)`.
struct Room {
    row: Vec<f32>,
    sum: Vec<f32>,
}

impl Room {
    fn new(width: usize) -> Self {
        Self { row: Vec::with_capacity(width), sum: vec![0.0; width] }
    }
}

impl<S: Storage> Exchange<S> {
    /// Number of this trainer.
    #[must_use]
    pub fn shard(&self) -> usize {
        self.shard
    }

    /// How often it was worked out what this trainer has added.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.heard[self.shard].number
    }

    /// Positive events of anybody that an item has had.
    #[must_use]
    pub fn liked(&self, item: u32) -> f32 {
        self.liked.get(item).map_or(0.0, |row| row[0])
    }

    /// What was heard of each trainer.
    #[must_use]
    pub fn heard(&self) -> &[Heard] {
        &self.heard
    }

    /// Adds up in order what trainers have added to an item, but for `without`.
    fn sum(&self, item: u32, without: Option<usize>, sum: &mut [f32]) {
        sum.fill(0.0);
        for (_, added) in self.added.iter().enumerate().filter(|(shard, _)| Some(*shard) != without) {
            for (sum, added) in sum.iter_mut().zip(added.get(item).unwrap_or_default()) {
                *sum += added;
            }
        }
    }
}

impl Exchange<Live> {
    /// One of `shards` trainers, of which none has added anything.
    pub(super) fn new(shard: usize, shards: usize, rows: &ItemRows<'_>) -> Self {
        let added = (0..shards).map(|_| Matrix::new(rows.width() + 1)).collect();
        let (heard, liked) = (vec![Heard::default(); shards], Matrix::new(1));
        Self { shard, heard, added, liked, touched: Vec::new(), is_touched: Vec::new() }
    }

    /// Counts a positive event.
    pub(super) fn like(&mut self, item: u32) {
        self.liked.grow_to(item, |_, _| ());
        self.liked.row_mut(item)[0] += 1.0;
    }

    /// Does something with the rows of the learners and those of `liked`.
    fn with_all(&mut self, rows: &mut ItemRows<'_>, work: impl FnOnce(&mut Self, &mut ItemRows<'_>)) {
        let mut liked = std::mem::take(&mut self.liked);
        work(self, &mut rows.with(&mut liked));
        self.liked = liked;
    }

    /// Notes that an item is learned here.
    pub(super) fn touch(&mut self, item: u32) {
        let at = item as usize;
        if at >= self.is_touched.len() {
            self.is_touched.resize(at + 1, false);
        }
        if !std::mem::replace(&mut self.is_touched[at], true) {
            self.touched.push(item);
        }
    }

    /// Adds what another trainer has added to `items`, in the place of what was known of it. Of a trainer that there is none
    /// of, of this one, and of rows of another width it takes nothing: they cannot be told to anybody here any more.
    pub(super) fn merge(&mut self, told: &Contributions, items: &[u32], rows: &mut ItemRows<'_>) {
        self.with_all(rows, |own, rows| own.take_over(told, items, rows));
    }

    fn take_over(&mut self, told: &Contributions, items: &[u32], rows: &mut ItemRows<'_>) {
        let width = rows.width();
        if told.shard == self.shard || told.shard >= self.added.len() || told.rows.len() != items.len() * width {
            return;
        }
        if self.heard[told.shard].store != told.store {
            self.forget(told.shard, rows);
            self.heard[told.shard] = Heard { store: told.store, number: 0 };
        }
        let mut room = Room::new(width);
        for (item, row) in items.iter().zip(told.rows.chunks_exact(width)) {
            self.replace(told.shard, *item, row, rows, &mut room);
        }
        if told.last {
            self.heard[told.shard].number = told.number;
        }
    }

    /// Takes out all that a trainer has added: its store is another one now, and it begins anew.
    fn forget(&mut self, shard: usize, rows: &mut ItemRows<'_>) {
        let (nothing, mut room) = (vec![0.0; rows.width()], Room::new(rows.width()));
        for item in 0..self.added[shard].len() as u32 {
            self.replace(shard, item, &nothing, rows, &mut room);
        }
    }

    fn replace(&mut self, shard: usize, item: u32, new: &[f32], rows: &mut ItemRows<'_>, room: &mut Room) {
        let Room { row, sum } = room;
        rows.read(item, row);
        self.sum(item, None, sum);
        let is_sum = row == sum;
        self.added[shard].grow_to(item, |_, _| ());
        let added = self.added[shard].row_mut(item);
        if is_sum {
            added.copy_from_slice(new);
            self.sum(item, None, row);
        } else {
            // What was learned here since is in no sum yet.
            for ((value, added), new) in row.iter_mut().zip(&mut *added).zip(new) {
                *value += new - *added;
                *added = *new;
            }
        }
        rows.write(item, row);
    }

    /// Works out what this trainer has added by now, and has every row be the sum again. Returns the items whose rows it has
    /// added to since the last time.
    pub(super) fn share(&mut self, rows: &mut ItemRows<'_>) -> Vec<u32> {
        let mut changed = Vec::new();
        self.with_all(rows, |own, rows| changed = own.add_up(rows));
        changed
    }

    fn add_up(&mut self, rows: &mut ItemRows<'_>) -> Vec<u32> {
        let (Room { mut row, mut sum }, mut others) = (Room::new(rows.width()), vec![0.0; rows.width()]);
        let mut touched = std::mem::take(&mut self.touched);
        touched.sort_unstable();
        touched.retain(|item| {
            let item = *item;
            self.is_touched[item as usize] = false;
            rows.read(item, &mut row);
            self.sum(item, None, &mut sum);
            if row == sum {
                return false;
            }
            self.sum(item, Some(self.shard), &mut others);
            self.added[self.shard].grow_to(item, |_, _| ());
            for ((own, row), others) in self.added[self.shard].row_mut(item).iter_mut().zip(&row).zip(&others) {
                *own = row - others;
            }
            self.sum(item, None, &mut sum);
            rows.write(item, &sum);
            true
        });
        self.heard[self.shard].number += 1;
        touched
    }

    /// What this trainer has added to an item, shape `(width,)`.
    pub(super) fn own(&self, item: u32) -> &[f32] {
        self.added[self.shard].row(item)
    }

    pub(super) fn publish(&mut self) -> Exchange<Frozen> {
        let added = self.added.iter_mut().map(Matrix::publish).collect();
        let (heard, liked) = (self.heard.clone(), self.liked.publish());
        Exchange { shard: self.shard, heard, added, liked, touched: Vec::new(), is_touched: Vec::new() }
    }
}

impl Exchange<Frozen> {
    /// What learns on from here; `rows` are the learners' of the same moment.
    pub(super) fn thaw(&self, rows: &mut ItemRows<'_>) -> Exchange<Live> {
        let added = self.added.iter().map(Matrix::thaw).collect();
        let (heard, liked) = (self.heard.clone(), self.liked.thaw());
        let (touched, is_touched) = (Vec::new(), Vec::new());
        let mut live = Exchange { shard: self.shard, heard, added, liked, touched, is_touched };
        live.with_all(rows, |live, rows| {
            let Room { mut row, mut sum } = Room::new(rows.width());
            for item in 0..rows.len() as u32 {
                rows.read(item, &mut row);
                live.sum(item, None, &mut sum);
                if row != sum {
                    live.touch(item);
                }
            }
        });
        live
    }

    /// Items whose own contributions are not as in `before`, and these, each of shape `(width,)`.
    pub fn changed_since<'e>(&'e self, before: Option<&'e Self>) -> impl Iterator<Item = (u32, &'e [f32])> {
        let own = &self.added[self.shard];
        let changed: Box<dyn Iterator<Item = u32> + Send> = match before {
            Some(before) => Box::new(own.changed_since(&before.added[self.shard])),
            None => Box::new(0..own.len() as u32),
        };
        changed.map(|item| (item, own.row(item)))
    }

    /// The parts of a model that it is.
    #[must_use]
    pub fn tables(&self) -> Vec<Table> {
        let heard = Shared::from_iter([Arc::new(self.heard.clone())]);
        let added = self.added.iter().zip(0..).map(|(added, shard)| added.table(format!("{ADDED}{shard}")));
        [Table::new(HEARD, self.heard.len(), &heard), self.liked.table(LIKED)].into_iter().chain(added).collect()
    }

    /// That of a stored model, whose learners' rows have `width` floats; none if it was learned by one trainer.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(tables: &mut Tables, shard: usize, width: usize) -> Result<Option<Self>, String> {
        if !tables.parts.contains_key(HEARD) {
            return Ok(None);
        }
        let (shards, heard) = tables.take::<Vec<Heard>>(HEARD)?;
        let heard: Vec<Heard> = heard.iter().flat_map(|block| block.iter().copied()).collect();
        if heard.len() != shards || shard >= shards {
            return Err(format!("{HEARD} is not of {shards} trainers, of which {shard} is one"));
        }
        let added = (0..shards).map(|of| Matrix::read(tables, &format!("{ADDED}{of}"), width + 1));
        let added = added.collect::<Result<_, _>>()?;
        let liked = Matrix::read(tables, LIKED, 1)?;
        Ok(Some(Self { shard, heard, added, liked, touched: Vec::new(), is_touched: Vec::new() }))
    }
}
