//! Small dense linear algebra: what a re-solved row is made with.
//!
//! Apart from the model, because it is the hot loop: fixed lanes of 8 let the compiler vectorize it and fix the order of
//! the additions, so that the bits do not depend on the processor. No fused multiply-add, for the same reason. Matrices
//! are symmetric, of shape `(n, n)` row by row with `n` a multiple of 8, and only the upper triangle counts. It is worked
//! on in whole blocks of 8 columns, so what lies left of the diagonal in the diagonal's own block is no part of it.

use crate::learn::rating::dot;

/// Columns that are worked on side by side.
pub(super) const LANES: usize = 8;

/// Rows that are worked on together; divides [`LANES`].
const PANEL: usize = 4;

/// Most rows of a matrix whose inverse is asked for.
pub(super) const MOST_INVERTED: usize = 16;

/// Least square of a diagonal element of a factor: keeps a matrix that rounding has made indefinite solvable.
const LEAST_PIVOT: f32 = 1e-6;

/// Largest absolute element of an inverse: what [`LEAST_PIVOT`] lets through, and nothing that is not finite.
const INVERSE_BOUND: f32 = 1.0 / LEAST_PIVOT;

type Lanes = [f32; LANES];

/// The next multiple of [`LANES`].
pub(super) const fn padded(n: usize) -> usize {
    n.next_multiple_of(LANES)
}

/// First column of the block that column `index` is in.
#[inline]
fn block(index: usize) -> usize {
    index / LANES * LANES
}

#[inline]
pub(super) fn lanes(values: &[f32]) -> &[Lanes] {
    let (lanes, rest) = values.as_chunks();
    debug_assert!(rest.is_empty(), "rows are padded to whole lanes");
    lanes
}

#[inline]
pub(super) fn lanes_mut(values: &mut [f32]) -> &mut [Lanes] {
    let (lanes, rest) = values.as_chunks_mut();
    debug_assert!(rest.is_empty(), "rows are padded to whole lanes");
    lanes
}

/// `y += scale * x`, both of shape `(n,)`.
#[inline]
pub(super) fn add_scaled(y: &mut [f32], x: &[f32], scale: f32) {
    for (y, x) in lanes_mut(y).iter_mut().zip(lanes(x)) {
        for lane in 0..LANES {
            y[lane] += scale * x[lane];
        }
    }
}

/// `x *= scale`, x of shape `(n,)`.
#[inline]
pub(super) fn scale_by(x: &mut [f32], scale: f32) {
    for value in x {
        *value *= scale;
    }
}

/// Adds `Xᵀ diag(w) X` to a matrix, where `rows` is X of shape `(weights, n)`.
pub(super) fn add_gram(matrix: &mut [f32], rows: &[f32], weights: &[f32], n: usize) {
    const WHOLE: &str = "n is a multiple of the lanes";
    for top in (0..n).step_by(PANEL) {
        for left in (block(top)..n).step_by(LANES) {
            // A tile of the result stays in registers while all rows are gone through.
            let mut tile = [[0.0_f32; LANES]; PANEL];
            for (row, weight) in rows.chunks_exact(n).zip(weights) {
                let across: &Lanes = row[left..].first_chunk().expect(WHOLE);
                let down: &[f32; PANEL] = row[top..].first_chunk().expect(WHOLE);
                for (line, x) in tile.iter_mut().zip(down) {
                    let scale = weight * x;
                    for lane in 0..LANES {
                        line[lane] += scale * across[lane];
                    }
                }
            }
            for (line, row) in tile.iter().zip(matrix[top * n..].chunks_exact_mut(n)) {
                add_scaled(&mut row[left..left + LANES], line, 1.0);
            }
        }
    }
}

/// Factors a positive definite matrix in place: `A = Uᵀ U` with U upper triangular, zero left of the diagonal in the
/// diagonal's own block.
pub(super) fn factor(matrix: &mut [f32], n: usize) {
    for top in (0..n).step_by(PANEL) {
        let (head, below) = matrix.split_at_mut((top + PANEL) * n);
        let panel = &mut head[top * n..];
        factor_panel(panel, top, n);
        subtract_panel(below, panel, top, n);
    }
    for (index, row) in matrix.chunks_exact_mut(n).enumerate() {
        row[block(index)..index].fill(0.0);
    }
}

/// Factors the rows of one panel, from which all panels above have been subtracted.
#[inline]
fn factor_panel(panel: &mut [f32], top: usize, n: usize) {
    let start = block(top);
    for own in 0..PANEL {
        let (above, row) = panel.split_at_mut(own * n);
        let (row, pivot) = (&mut row[..n], top + own);
        for above in above.chunks_exact(n) {
            add_scaled(&mut row[start..], &above[start..], -above[pivot]);
        }
        let root = row[pivot].max(LEAST_PIVOT).sqrt();
        scale_by(&mut row[start..], 1.0 / root);
        row[pivot] = root;
    }
}

/// Subtracts what a factored panel explains from all rows below it.
#[inline]
fn subtract_panel(below: &mut [f32], panel: &[f32], top: usize, n: usize) {
    let (first, rest) = panel.split_at(n);
    let (second, rest) = rest.split_at(n);
    let (third, fourth) = rest.split_at(n);
    for (row, index) in below.chunks_exact_mut(n).zip(top + PANEL..) {
        let start = block(index);
        let by = [first[index], second[index], third[index], fourth[index]];
        let pairs = [(first, second), (third, fourth)].map(|(a, b)| lanes(&a[start..]).iter().zip(lanes(&b[start..])));
        let [front, back] = pairs;
        for (row, ((a, b), (c, d))) in lanes_mut(&mut row[start..]).iter_mut().zip(front.zip(back)) {
            for lane in 0..LANES {
                row[lane] -= (by[0] * a[lane] + by[1] * b[lane]) + (by[2] * c[lane] + by[3] * d[lane]);
            }
        }
    }
}

/// Solves `Uᵀ U x = b` in place, with `factor` as [`factor`] leaves it.
pub(super) fn solve(factor: &[f32], b: &mut [f32], n: usize) {
    for (row, index) in factor.chunks_exact(n).zip(0..n) {
        let start = block(index);
        let value = b[index] / row[index];
        add_scaled(&mut b[start..n], &row[start..], -value);
        b[index] = value;
    }
    for (row, index) in factor.chunks_exact(n).zip(0..n).rev() {
        let start = block(index);
        let value = std::mem::take(&mut b[index]);
        b[index] = (value - dot(&row[start..], &b[start..n])) / row[index];
    }
}

/// The lower right `(m, m)` corner of `(Uᵀ U)⁻¹` as a packed triangle, see [`packed_len`]; `m` is at most
/// [`MOST_INVERTED`].
pub(super) fn inverse_corner(factor: &[f32], n: usize, m: usize, packed: &mut [f32]) {
    const S: usize = MOST_INVERTED;
    let (first, width) = (n - m, padded(m));
    // V = U⁻¹ of the corner, upper triangular, row by row from the last: the rows below give the row above.
    let mut inverse = [0.0_f32; S * S];
    for index in (0..m).rev() {
        let row = &factor[(first + index) * n + first..(first + index + 1) * n];
        let mut line = [0.0_f32; S];
        line[index] = 1.0;
        for below in index + 1..m {
            add_scaled(&mut line[..width], &inverse[below * S..below * S + width], -row[below]);
        }
        scale_by(&mut line, 1.0 / row[index]);
        inverse[index * S..(index + 1) * S].copy_from_slice(&line);
    }
    // (Uᵀ U)⁻¹ = V Vᵀ, and V is zero left of the later row's diagonal.
    let mut places = packed.iter_mut();
    for a in 0..m {
        for (b, place) in (a..m).zip(&mut places) {
            let start = block(b);
            let value = dot(&inverse[a * S + start..a * S + width], &inverse[b * S + start..b * S + width]);
            *place = if value.is_finite() { value.clamp(-INVERSE_BOUND, INVERSE_BOUND) } else { 0.0 };
        }
    }
}

/// Floats of a packed triangle: the upper triangle of a `(m, m)` matrix row by row, padded to whole lanes.
pub(super) const fn packed_len(m: usize) -> usize {
    padded(m * (m + 1) / 2)
}

/// Adds a packed triangle of `(m, m)`, times `scale`, to the lower right corner of a matrix.
#[inline]
pub(super) fn add_to_corner(matrix: &mut [f32], n: usize, m: usize, packed: &[f32], scale: f32) {
    let mut packed = packed.iter();
    for index in n - m..n {
        for (value, add) in matrix[index * n + index..(index + 1) * n].iter_mut().zip(&mut packed) {
            *value += scale * add;
        }
    }
}

/// Floats of a blocked triangle: each row of a `(n, n)` matrix from its diagonal's block on.
pub(super) const fn blocked_len(n: usize) -> usize {
    n * (n + LANES) / 2
}

/// The rows of a blocked triangle, with the first column of each.
fn blocked_rows(blocked: &mut [f32], n: usize) -> impl Iterator<Item = (usize, &mut [f32])> {
    let mut rest = blocked;
    (0..n).map(move |index| {
        let (row, after) = std::mem::take(&mut rest).split_at_mut(n - block(index));
        rest = after;
        (index, row)
    })
}

/// The matrix of a blocked triangle.
pub(super) fn unblock(blocked: &[f32], matrix: &mut [f32], n: usize) {
    let mut rest = blocked;
    for (index, row) in matrix.chunks_exact_mut(n).enumerate() {
        let (own, after) = rest.split_at(n - block(index));
        row[block(index)..].copy_from_slice(own);
        rest = after;
    }
}

/// `A = decay * A + scale * x xᵀ`, A a blocked triangle and x of shape `(n,)`.
pub(super) fn decay_and_add_outer(blocked: &mut [f32], x: &[f32], decay: f32, scale: f32) {
    for (index, row) in blocked_rows(blocked, x.len()) {
        let by = scale * x[index];
        for (row, x) in lanes_mut(row).iter_mut().zip(lanes(&x[block(index)..])) {
            for lane in 0..LANES {
                row[lane] = row[lane] * decay + by * x[lane];
            }
        }
    }
}

/// Adds a packed triangle of `(m, m)`, times `scale`, to the lower right corner of a blocked one of `(n, n)`.
pub(super) fn add_to_blocked_corner(blocked: &mut [f32], n: usize, m: usize, packed: &[f32], scale: f32) {
    let mut packed = packed.iter();
    for (index, row) in blocked_rows(blocked, n).skip(n - m) {
        for (value, add) in row[index - block(index)..].iter_mut().zip(&mut packed) {
            *value += scale * add;
        }
    }
}

/// The products of a vector with itself as a packed triangle, those off the diagonal twice: its dot product with a packed
/// C is `zᵀ C z`.
#[inline]
pub(super) fn products(z: &[f32], packed: &mut [f32]) {
    let mut places = packed.iter_mut();
    for (index, a) in z.iter().enumerate() {
        let line = z[index..].iter().zip(&mut places);
        for (column, (b, place)) in line.enumerate() {
            *place = if column == 0 { a * b } else { 2.0 * a * b };
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
