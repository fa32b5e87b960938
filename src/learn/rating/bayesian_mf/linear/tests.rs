//! The algebra against plain elimination in 64 bits.

use proptest::prelude::*;

use super::*;

/// The inverse by Gauss-Jordan elimination with pivoting, in 64 bits: slow and plain.
pub(in super::super) fn naive_inverse(matrix: &[f64], n: usize) -> Vec<f64> {
    let mut rows: Vec<Vec<f64>> = (0..n)
        .map(|i| (0..2 * n).map(|j| if j < n { matrix[i * n + j] } else { f64::from(j - n == i) }).collect())
        .collect();
    for column in 0..n {
        let pivot = (column..n).max_by(|a, b| rows[*a][column].abs().total_cmp(&rows[*b][column].abs())).unwrap();
        rows.swap(column, pivot);
        let scale = rows[column][column];
        rows[column].iter_mut().for_each(|value| *value /= scale);
        let own = rows[column].clone();
        for (_, row) in rows.iter_mut().enumerate().filter(|(index, _)| *index != column) {
            let by = row[column];
            row.iter_mut().zip(&own).for_each(|(value, own)| *value -= by * own);
        }
    }
    rows.iter().flat_map(|row| row[n..].to_vec()).collect()
}

/// Weighted rows, `(weights, n)`, and a right side.
fn systems() -> impl Strategy<Value = (usize, Vec<f32>, Vec<f32>, Vec<f32>)> {
    (1..5_usize, 0..20_usize).prop_flat_map(|(blocks, events)| {
        let n = blocks * LANES;
        let values = |len| proptest::collection::vec(-1.0f32..1.0, len);
        (Just(n), values(n * events), proptest::collection::vec(0.1f32..1.0, events), values(n))
    })
}

/// `I + Xᵀ diag(w) X`, twice: as it is worked on, and in full and in 64 bits.
fn matrices(n: usize, rows: &[f32], weights: &[f32]) -> (Vec<f32>, Vec<f64>) {
    let (mut matrix, mut full) = (vec![0.0; n * n], vec![0.0; n * n]);
    for i in 0..n {
        (matrix[i * n + i], full[i * n + i]) = (1.0, 1.0);
    }
    add_gram(&mut matrix, rows, weights, n);
    for (row, weight) in rows.chunks_exact(n).zip(weights) {
        for (place, value) in full.iter_mut().enumerate() {
            *value += f64::from(*weight) * f64::from(row[place / n]) * f64::from(row[place % n]);
        }
    }
    (matrix, full)
}

proptest! {
    #[test]
    fn a_system_is_solved_and_its_corner_inverted((n, rows, weights, right) in systems(), m in 1..=MOST_INVERTED) {
        let (mut matrix, full) = matrices(n, &rows, &weights);
        let inverse = naive_inverse(&full, n);
        factor(&mut matrix, n);
        let mut solved = right.clone();
        solve(&matrix, &mut solved, n);
        for (i, value) in solved.iter().enumerate() {
            let exact: f64 = (0..n).map(|j| inverse[i * n + j] * f64::from(right[j])).sum();
            prop_assert!((f64::from(*value) - exact).abs() < 1e-3, "{value} {exact}");
        }
        let m = m.min(n);
        let mut packed = vec![0.0; packed_len(m)];
        inverse_corner(&matrix, n, m, &mut packed);
        let corner = (n - m..n).flat_map(|i| (i..n).map(move |j| (i, j)));
        for ((i, j), value) in corner.zip(&packed) {
            prop_assert!((f64::from(*value) - inverse[i * n + j]).abs() < 1e-3);
        }
    }

    #[test]
    fn a_blocked_triangle_is_the_matrix_of_its_rows((n, rows, weights, _) in systems(), m in 1..8_usize) {
        let mut blocked = vec![0.0; blocked_len(n)];
        for (row, weight) in rows.chunks_exact(n).zip(&weights) {
            decay_and_add_outer(&mut blocked, row, 1.0, *weight);
        }
        let packed: Vec<f32> = (0..packed_len(m)).map(|at| at as f32).collect();
        add_to_blocked_corner(&mut blocked, n, m, &packed, 0.5);
        let mut unblocked = vec![0.0; n * n];
        unblock(&blocked, &mut unblocked, n);
        let (mut matrix, _) = matrices(n, &rows, &weights);
        add_to_corner(&mut matrix, n, m, &packed, 0.5);
        for (i, j) in (0..n).flat_map(|i| (i..n).map(move |j| (i, j))) {
            let identity = if i == j { 1.0 } else { 0.0 };
            prop_assert!((unblocked[i * n + j] + identity - matrix[i * n + j]).abs() < 1e-4);
        }
    }

    #[test]
    fn packed_products_give_the_quadratic_form(z in proptest::collection::vec(-2.0f32..2.0, 1..=MOST_INVERTED)) {
        let m = z.len();
        let (mut packed, mut ones) = (vec![0.0; packed_len(m)], vec![0.0; packed_len(m)]);
        products(&z, &mut packed);
        ones[..m * (m + 1) / 2].fill(1.0);
        let sum: f32 = z.iter().sum();
        prop_assert!((dot(&packed, &ones) - sum * sum).abs() < 1e-3);
    }
}

#[test]
fn a_matrix_without_an_inverse_is_solved_by_something_finite() {
    let (mut matrix, mut right) = (vec![0.0; 64], vec![1.0; 8]);
    factor(&mut matrix, 8);
    solve(&matrix, &mut right, 8);
    let mut packed = vec![0.0; packed_len(8)];
    inverse_corner(&matrix, 8, 8, &mut packed);
    assert!(right.iter().chain(&packed).all(|value| value.is_finite()));
}
