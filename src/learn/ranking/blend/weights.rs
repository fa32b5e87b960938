//! The weights with which the columns of an item are added up to its score, learned from what users choose.
//!
//! A multinomial logit (McFadden, "Conditional logit analysis of qualitative choice behavior", 1974): of the candidates
//! a user chooses j with the chance `exp(w · x_j) / sum over k of exp(w · x_k)`. The weights are `w = w_all + w_stage`,
//! the second for users at one stage of their history, so that what is true of all is learned from all. A step follows
//! the gradient of the logarithm of the chance, `x_chosen - sum over k of chance_k x_k`, each weight at its own rate
//! (AdaGrad: Duchi, Hazan, Singer, JMLR 2011), times `chance_chosen^0.2`: what was out of reach anyway teaches less, since
//! a list is judged by what it holds and not by how far below it the rest comes.

use serde::{Deserialize, Serialize};

use super::columns::{COLUMNS, Row};
use super::history::STAGES;
use super::math::{exp, ln};
use crate::learn::dot;

/// Largest absolute value of a weight.
const BOUND: f32 = 20.0;

/// Weight of each column before anything is learned.
const FIRST_WEIGHT: f32 = 0.05;

/// Largest absolute value of a gradient that is taken as it is.
const LARGEST_GRADIENT: f32 = 1e4;

/// Power of the chosen one's chance that a step is scaled by, and the least chance that is told apart.
const FOCUS: f32 = 0.2;
const LEAST_CHANCE: f32 = 1e-6;

/// Where the sums of squared gradients start.
const FIRST_SUM: f32 = 1e-2;

/// Weights and sums of squared gradients, shape `(1 + STAGES, COLUMNS)` each: first those of all stages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Weights {
    values: Vec<f32>,
    sums: Vec<f32>,
}

/// Score of an item by its columns.
#[inline]
pub(super) fn score(weights: &Row, row: &Row) -> f32 {
    dot(weights, row)
}

impl Weights {
    pub(super) fn new() -> Self {
        let mut values = vec![FIRST_WEIGHT; COLUMNS];
        values.resize((1 + STAGES) * COLUMNS, 0.0);
        Self { values, sums: vec![FIRST_SUM; (1 + STAGES) * COLUMNS] }
    }

    /// Whether it has as many values as it should, all finite.
    pub(super) fn is_whole(&self) -> bool {
        let whole = |values: &[f32]| values.len() == (1 + STAGES) * COLUMNS && values.iter().all(|x| x.is_finite());
        whole(&self.values) && whole(&self.sums) && self.sums.iter().all(|sum| *sum > 0.0)
    }

    /// The weights of users at a stage.
    pub(super) fn at(&self, stage: usize) -> Row {
        let own = &self.values[(1 + stage) * COLUMNS..];
        std::array::from_fn(|column| self.values[column] + own[column])
    }

    /// One step: the last of the candidates was chosen. `rows` has the columns of each, `scores` their scores, with the
    /// logarithm of how many each stands for, which are used up.
    pub(super) fn step(&mut self, stage: usize, rows: &[Row], scores: &mut [f32], rate: f32) {
        let Some(chosen) = rows.last() else { return };
        let (mean, chance) = mean(rows, scores);
        let focus = exp(FOCUS * ln(if chance > LEAST_CHANCE { chance } else { LEAST_CHANCE }));
        for (column, (chosen, mean)) in chosen.iter().zip(mean).enumerate() {
            let gradient = (focus * (chosen - mean)).clamp(-LARGEST_GRADIENT, LARGEST_GRADIENT);
            if gradient.is_nan() {
                continue;
            }
            for at in [column, (1 + stage) * COLUMNS + column] {
                self.sums[at] += gradient * gradient;
                let moved = self.values[at] + rate * gradient / self.sums[at].sqrt();
                self.values[at] = moved.clamp(-BOUND, BOUND);
            }
        }
    }
}

/// Mean of the rows by their chances, and the chance of the last one; the scores are used up.
fn mean(rows: &[Row], scores: &mut [f32]) -> (Row, f32) {
    let most = scores.iter().copied().fold(f32::MIN, |most, x| if x > most { x } else { most });
    let (mut mean, mut sum, mut last) = ([0.0; COLUMNS], 0.0, 0.0);
    for (row, score) in rows.iter().zip(scores) {
        *score = exp(*score - most);
        last = *score;
        sum += last;
        for (mean, x) in mean.iter_mut().zip(row) {
            *mean += *score * x;
        }
    }
    let scale = 1.0 / sum;
    (mean.map(|x| x * scale), last * scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_column_that_tells_gets_the_weight() {
        let mut weights = Weights::new();
        for event in 0..300_u32 {
            // Column 0 is high for the chosen one, column 1 is high for others, column 2 tells nothing.
            let row = |at: u32| -> Row {
                let mut row = [0.0; COLUMNS];
                row[0] = if at == 9 { 1.0 } else { (at % 3) as f32 / 3.0 };
                row[1] = -row[0];
                row[2] = ((event * 7 + at * 3) % 10) as f32 / 10.0;
                row
            };
            let rows: Vec<Row> = (0..10).map(row).collect();
            let mut scores: Vec<f32> = rows.iter().map(|row| score(&weights.at(3), row)).collect();
            weights.step(3, &rows, &mut scores, 0.1);
        }
        let at = weights.at(3);
        assert!(at[0] > 2.0 && at[1] < -2.0 && at[2].abs() < 0.5, "{at:?}");
        let other = weights.at(5);
        assert!(other[0] > 1.0 && other[0] < at[0], "another stage has what is learned from all");
        assert_eq!(at[COLUMNS - 1], FIRST_WEIGHT, "an empty column learns nothing");
        assert!(weights.is_whole());
    }

    #[test]
    fn a_step_goes_along_the_gradient() {
        let rows: Vec<Row> = (0..4).map(|at| std::array::from_fn(|c| ((at * 5 + c * 3) % 7) as f32 / 7.0)).collect();
        let likelihood = |weights: &Row| {
            let scores = rows.iter().map(|row| row.iter().zip(weights).map(|(x, w)| f64::from(x * w)).sum::<f64>());
            let scores: Vec<f64> = scores.collect();
            scores[3] - scores.iter().map(|score| score.exp()).sum::<f64>().ln()
        };
        let before = Weights::new();
        let mut after = before.clone();
        let mut scores: Vec<f32> = rows.iter().map(|row| score(&before.at(0), row)).collect();
        after.step(0, &rows, &mut scores, 1e-3);
        for column in 0..COLUMNS {
            let slope = |by: f32| {
                let mut weights = before.at(0);
                weights[column] += by;
                likelihood(&weights)
            };
            let slope = (slope(1e-2) - slope(-1e-2)) / 2e-2;
            let moved = f64::from(after.values[column] - before.values[column]);
            let focus = f64::from(FOCUS) * likelihood(&before.at(0));
            let rate = 1e-3 / f64::from(after.sums[column].sqrt()) * focus.exp();
            assert!((moved / rate - slope).abs() < 3e-3, "{column}: {} {slope}", moved / rate);
        }
    }

    #[test]
    fn scores_that_are_far_apart_leave_finite_weights() {
        let mut weights = Weights::new();
        let rows = [[1e30; COLUMNS], [-1e30; COLUMNS], [0.0; COLUMNS]];
        weights.step(0, &rows, &mut [1e32, -1e32, 0.0], 1.0);
        assert!(weights.at(0).iter().all(|weight| weight.is_finite()));
        let mut none = weights.clone();
        none.step(0, &[], &mut [], 1.0);
        assert_eq!(none, weights);
    }
}
