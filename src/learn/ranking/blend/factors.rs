//! Implicit matrix factorization: what similar users chose, by alternating least squares that never stop.
//!
//! Every item has a vector y, every user a vector x; all pairs are fitted, those that were chosen to 1 with the
//! confidence `1 + alpha c` and all others to 0 with the confidence 1 (Hu, Koren, Volinsky, "Collaborative filtering for
//! implicit feedback datasets", ICDM 2008). That all others count is in the Gram matrices `G_i = sum of y yᵀ` and
//! `G_u = sum of x xᵀ`, which are kept up to date, so that a solve costs the same however many there are. After each
//! choice the user is solved from the newest ones, older ones weighing less by g, then the item from the users who chose
//! it, as they were then, older ones weighing less too. c is how often the user did it, as a logarithm, where 1 is usual:
//!
//! ```text
//! x = (G_i + alpha sum of c g y yᵀ + reg I)⁻¹ sum of (1 + alpha c) g y
//! y = (G_u + alpha A + reg I)⁻¹ b        A = kept A + c x xᵀ,  b = kept b + (1 + alpha c) x
//! ```

use rand_pcg::Pcg64;
use serde::{Deserialize, Serialize};

use super::draw;
use super::history::Visit;
use super::math::kept;
use crate::learn::away::UserRows;
use crate::learn::dot;
use crate::learn::tables::{Frozen, Live, Matrix, Storage, Table, Tables};

/// Factors; a multiple of 8.
const K: usize = 24;

/// Values of a symmetric matrix, its upper triangle row by row.
const TRIANGLE: usize = K * (K + 1) / 2;

/// Confidence of a choice beyond that of no choice.
const ALPHA: f32 = 7.0;

/// Weight of the vectors' own squares.
const REGULARIZATION: f32 = 10.0;

/// The user's later events after which a choice counts half.
const HALF_LIFE: f64 = 15.0;

/// Newest events of a user that are looked at, and the weight below which older ones are left out.
const NEWEST: usize = 50;
const LEAST_WEIGHT: f32 = 1e-3;

/// What is left of a user's part in an item when the next one chooses it.
const ITEM_KEPT: f32 = 0.98;

/// Standard deviation of the elements of new items' vectors.
const INIT_SCALE: f32 = 0.1;

/// Largest absolute value of an element; a solution beyond it is not taken.
const BOUND: f32 = 100.0;

type Vector = [f32; K];
type Square = [[f32; K]; K];

/// Sums of the outer products of all vectors of items and of users, shape `(K, K)` each. In double precision, since they
/// are added to and taken from for ever.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Grams {
    items: Vec<f64>,
    users: Vec<f64>,
}

impl Default for Grams {
    fn default() -> Self {
        Self { items: vec![0.0; K * K], users: vec![0.0; K * K] }
    }
}

impl Grams {
    /// Whether they have as many values as they should, all finite.
    pub(super) fn are_whole(&self) -> bool {
        [&self.items, &self.users].iter().all(|gram| gram.len() == K * K && gram.iter().all(|x| x.is_finite()))
    }
}

/// Puts one vector in the place of another.
fn replace(gram: &mut [f64], old: &[f32], new: &[f32]) {
    for (row, (a, b)) in gram.chunks_exact_mut(K).zip(old.iter().zip(new)) {
        for (value, (c, d)) in row.iter_mut().zip(old.iter().zip(new)) {
            *value += f64::from(*b) * f64::from(*d) - f64::from(*a) * f64::from(*c);
        }
    }
}

fn square(gram: &[f64]) -> Square {
    std::array::from_fn(|row| std::array::from_fn(|column| gram[row * K + column] as f32))
}

/// `a += weight y yᵀ`, the whole matrix, so that it vectorizes.
#[inline]
fn add_outer(a: &mut Square, y: &[f32], weight: f32) {
    for (row, value) in a.iter_mut().zip(y) {
        let scaled = weight * value;
        row.iter_mut().zip(y).for_each(|(sum, y)| *sum += scaled * y);
    }
}

/// Solves `a x = b` for a positive definite matrix, which is destroyed; pivots are kept above zero. None if the
/// solution is out of bounds.
fn solve(a: &mut Square, mut b: Vector) -> Option<Vector> {
    for k in 0..K {
        let row = a[k];
        let pivot = if row[k] > 1e-6 { row[k] } else { 1e-6 };
        for r in k + 1..K {
            // The matrix is symmetric: what stands below the pivot is what stands beside it.
            let factor = row[r] / pivot;
            a[r].iter_mut().zip(&row).for_each(|(value, above)| *value -= factor * above);
            b[r] -= factor * b[k];
        }
        a[k][k] = pivot;
    }
    let mut x = [0.0; K];
    for k in (0..K).rev() {
        let rest: f32 = (k + 1..K).map(|c| a[k][c] * x[c]).sum();
        x[k] = (b[k] - rest) / a[k][k];
    }
    x.iter().all(|x| x.abs() < BOUND).then_some(x)
}

/// Name of the users' table.
const USERS: &str = "user_vectors";

/// The model. Rows have shape `(K,)`; those of `sums` `(TRIANGLE + K,)`: A, then b.
#[derive(Clone, Debug)]
pub(super) struct Factors<S: Storage> {
    items: Matrix<S>,
    users: Matrix<S>,
    sums: Matrix<S>,
}

impl<S: Storage> Factors<S> {
    /// Number of items.
    pub(super) fn len(&self) -> usize {
        self.items.len().min(self.sums.len())
    }

    /// A user's vector; none of one who has chosen nothing.
    pub(super) fn user(&self, user: u32) -> Option<&[f32]> {
        self.users.get(user)
    }

    /// An item's vector.
    pub(super) fn item(&self, item: u32) -> Option<&[f32]> {
        self.items.get(item)
    }

    /// How much a user would choose an item: about 1 for what was chosen, about 0 for what nobody like him chose.
    #[inline]
    pub(super) fn score(&self, user: &[f32], item: u32) -> f32 {
        dot(user, self.items.row(item))
    }
}

impl Factors<Live> {
    pub(super) fn new() -> Self {
        Self { items: Matrix::new(K), users: Matrix::new(K), sums: Matrix::new(TRIANGLE + K) }
    }

    /// Gives the item rows, and all before it: vectors drawn around 0.
    pub(super) fn grow_to(&mut self, item: u32, grams: &mut Grams, generator: &mut Pcg64) {
        self.items.grow_to(item, |_, row| {
            for value in row.iter_mut() {
                *value = draw::normal(generator) * INIT_SCALE;
            }
            replace(&mut grams.items, &[0.0; K], row);
        });
        self.sums.grow_to(item, |_, _| ());
    }

    /// Solves the user anew, then the item that was just chosen. `history` has what came before it, the newest first.
    pub(super) fn step(&mut self, user: u32, chosen: Visit, history: impl Iterator<Item = Visit>, grams: &mut Grams) {
        let item = chosen.item;
        let Some(x) = self.solve_user(std::iter::once(chosen).chain(history), grams) else { return };
        self.users.grow_to(user, |_, _| ());
        let row = self.users.row_mut(user);
        replace(&mut grams.users, row, &x);
        row.copy_from_slice(&x);
        let Some(y) = self.solve_item(chosen, &x, grams) else { return };
        let row = self.items.row_mut(item);
        replace(&mut grams.items, row, &y);
        row.copy_from_slice(&y);
    }

    fn solve_user(&self, history: impl Iterator<Item = Visit>, grams: &Grams) -> Option<Vector> {
        let (mut a, mut b, mut weight) = (square(&grams.items), [0.0; K], 1.0_f32);
        let kept = kept(HALF_LIFE);
        for visit in history.take(NEWEST) {
            if visit.positive {
                let y = self.items.row(visit.item);
                add_outer(&mut a, y, ALPHA * visit.confidence * weight);
                let pull = (1.0 + ALPHA * visit.confidence) * weight;
                b.iter_mut().zip(y).for_each(|(sum, y)| *sum += pull * y);
            }
            weight *= kept;
            if weight < LEAST_WEIGHT {
                break;
            }
        }
        (0..K).for_each(|k| a[k][k] += REGULARIZATION);
        solve(&mut a, b)
    }

    /// Takes the user into the item's sums, and solves the item.
    fn solve_item(&mut self, Visit { item, confidence, .. }: Visit, x: &Vector, grams: &Grams) -> Option<Vector> {
        let (triangle, b) = self.sums.row_mut(item).split_at_mut(TRIANGLE);
        let mut a = square(&grams.users);
        let mut values = triangle.iter_mut();
        for r in 0..K {
            for c in r..K {
                let value = values.next().expect("a triangle has a value for each pair");
                *value = *value * ITEM_KEPT + confidence * x[r] * x[c];
                a[r][c] += ALPHA * *value;
                a[c][r] = a[r][c];
            }
            a[r][r] += REGULARIZATION;
        }
        let pull = 1.0 + ALPHA * confidence;
        b.iter_mut().zip(x).for_each(|(sum, x)| *sum = *sum * ITEM_KEPT + pull * x);
        solve(&mut a, std::array::from_fn(|k| b[k]))
    }

    /// Users' rows that may be away.
    pub(super) fn user_rows(&mut self) -> (String, &mut dyn UserRows) {
        (USERS.to_owned(), self.users.user_rows())
    }

    pub(super) fn publish(&mut self) -> Factors<Frozen> {
        Factors { items: self.items.publish(), users: self.users.publish(), sums: self.sums.publish() }
    }
}

impl Factors<Frozen> {
    pub(super) fn thaw(&self) -> Factors<Live> {
        Factors { items: self.items.thaw(), users: self.users.thaw(), sums: self.sums.thaw() }
    }

    pub(super) fn tables(&self) -> [Table; 3] {
        [self.items.table("item_vectors"), self.users.table(USERS), self.sums.table("item_sums")]
    }

    /// The model of these tables.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn read(tables: &mut Tables) -> Result<Self, String> {
        let (items, users) = (Matrix::read(tables, "item_vectors", K)?, Matrix::read(tables, USERS, K)?);
        Ok(Self { items, users, sums: Matrix::read(tables, "item_sums", TRIANGLE + K)? })
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn a_solution_solves() {
        let mut a = [[0.0; K]; K];
        for n in 0..40 {
            let y: Vector = std::array::from_fn(|k| ((n * 7 + k * 5) % 11) as f32 / 11.0 - 0.4);
            add_outer(&mut a, &y, 0.5);
        }
        (0..K).for_each(|k| a[k][k] += 1.0);
        let b: Vector = std::array::from_fn(|k| k as f32 / 10.0 - 1.0);
        let x = solve(&mut a.clone(), b).unwrap();
        for (row, b) in a.iter().zip(b) {
            let product: f32 = row.iter().zip(x).map(|(a, x)| a * x).sum();
            assert!((product - b).abs() < 1e-3, "{product} {b}");
        }
        assert_eq!(solve(&mut [[0.0; K]; K], [1.0; K]), None, "beyond all bounds");
    }

    #[test]
    fn tastes_are_told_apart_and_the_gram_matrices_stay_those_of_the_vectors() {
        let (mut factors, mut grams) = (Factors::new(), Grams::default());
        factors.grow_to(9, &mut grams, &mut Pcg64::seed_from_u64(1));
        for round in 0..400_u32 {
            let user = round % 40;
            // Even users choose of the items 0 to 4, odd ones of 5 to 9.
            let item = user % 2 * 5 + round / 40 % 5;
            let visit = |item| Visit { item, positive: true, ts: None, confidence: 1.0 };
            let earlier = (0..round / 40).rev().map(|n| visit(user % 2 * 5 + n % 5));
            factors.step(user, visit(item), earlier, &mut grams);
        }
        let user = factors.user(0).unwrap();
        let score = |item| factors.score(user, item);
        let (own, other) = ((0..5).map(score).fold(f32::MAX, f32::min), (5..10).map(score).fold(f32::MIN, f32::max));
        assert!(own > other + 0.2, "{own} {other}");
        for (gram, rows) in [(&grams.items, &factors.items), (&grams.users, &factors.users)] {
            let mut sum = vec![0.0; K * K];
            rows.rows().for_each(|row| replace(&mut sum, &[0.0; K], row));
            assert!(gram.iter().zip(&sum).all(|(a, b)| (a - b).abs() < 1e-6));
        }
    }
}
