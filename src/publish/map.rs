//! The items in two dimensions, for a person to look at: those that lie together are alike to the model.

use linfa_linalg::eigh::{EigSort, EighInto};
use ndarray::{Array1, Array2, Axis};

use super::topn::{Scored, top_n};
use super::view::View;

/// Fewest items that a map is made of: two are always on one line.
pub const FEWEST: usize = 3;

/// Items by the two directions in which their vectors differ most.
#[derive(Clone, Debug, PartialEq)]
pub struct FactorMap {
    /// Share of the variance of the vectors that each direction has, 0 to 1.
    pub explained: [f64; 2],
    /// The items, the most popular first.
    pub points: Vec<Point>,
}

/// An item on the map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Dense index of the item.
    pub item: u32,
    /// Along the first direction, from the mean of all.
    pub x: f64,
    /// Along the second.
    pub y: f64,
}

/// Why there is no map.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoMap {
    /// Neither model has vectors.
    #[error("neither model has vectors of items; bayesian-mf, biased-mf and blend have")]
    NoVectors,
    /// There are too few vectors.
    #[error("the model has vectors of {0} items, a map needs {FEWEST}; send events of more items")]
    TooFew(usize),
    /// The decomposition failed.
    #[error("the vectors cannot be decomposed: {0}")]
    Failed(String),
}

impl View {
    /// The `most` most popular items by the principal components of their vectors in the ranking model, else in the other.
    ///
    /// The same view gives the same map: a component's sign, which is free, is such that the item farthest from the mean
    /// along it has a positive coordinate.
    ///
    /// # Errors
    /// If there are no vectors, or of too few items.
    pub fn factor_map(&self, most: usize) -> Result<FactorMap, NoMap> {
        let items = 0..self.learned().items.len() as u32;
        let has_vectors =
            |model: &&dyn crate::learn::Model| items.clone().any(|item| model.item_vector(item).is_some());
        let Some(model) = self.models().into_iter().find(has_vectors) else {
            return Err(if items.is_empty() { NoMap::TooFew(0) } else { NoMap::NoVectors });
        };
        let scored = (0..).zip(self.popularity()).map(|(item, score)| Scored { item, score });
        let known = scored.filter(|scored| model.item_vector(scored.item).is_some());
        let chosen: Vec<u32> = top_n(known, most).into_iter().map(|scored| scored.item).collect();
        if chosen.len() < FEWEST {
            return Err(NoMap::TooFew(chosen.len()));
        }
        let rows: Vec<&[f32]> = chosen.iter().filter_map(|item| model.item_vector(*item)).collect();
        let width = rows.first().map_or(0, |row| row.len());
        let value = |(row, column): (usize, usize)| f64::from(rows[row].get(column).copied().unwrap_or(0.0));
        let (places, explained) = project(Array2::from_shape_fn((rows.len(), width), value))?;
        let point = |(item, [x, y]): (u32, [f64; 2])| Point { item, x, y };
        Ok(FactorMap { explained, points: chosen.into_iter().zip(places).map(point).collect() })
    }
}

/// Places of rows by their first two principal components, and the share of the variance of each; `rows` has shape
/// `(n_items, n_factors)`.
fn project(mut rows: Array2<f64>) -> Result<(Vec<[f64; 2]>, [f64; 2]), NoMap> {
    if let Some(mean) = rows.mean_axis(Axis(0)) {
        rows -= &mean;
    }
    let variance = rows.iter().map(|value| value * value).sum::<f64>();
    // Nothing that differs: every item is where the others are.
    if variance <= f64::MIN_POSITIVE {
        return Ok((vec![[0.0; 2]; rows.nrows()], [0.0; 2]));
    }
    // Of all directions, not of two alone by iteration: that may find others than the widest, and factors are few.
    let products = rows.t().dot(&rows);
    let eigen = products.eigh_into().map_err(|error| NoMap::Failed(error.to_string()))?;
    let (variances, directions) = eigen.sort_eig_desc();
    // One factor has one direction.
    let along = |axis: usize| {
        if axis < variances.len() { rows.dot(&directions.column(axis)) } else { Array1::zeros(rows.nrows()) }
    };
    let share = |axis: usize| variances.get(axis).map_or(0.0, |of| (of / variance).clamp(0.0, 1.0));
    let places = along(0).into_iter().zip(along(1)).map(|(x, y)| [x, y]).collect();
    Ok((upright(places), [share(0), share(1)]))
}

/// Turns each axis so that the place farthest along it is on the positive side.
fn upright(mut places: Vec<[f64; 2]>) -> Vec<[f64; 2]> {
    for axis in 0..2 {
        let farther = |one: f64, other: f64| if other.abs() > one.abs() { other } else { one };
        if places.iter().map(|place| place[axis]).fold(0.0, farther) < 0.0 {
            for place in &mut places {
                place[axis] = -place[axis];
            }
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_on_a_line_lie_on_the_first_axis() {
        let along = [-3.0, -1.0, 0.0, 1.0, 3.5];
        let rows = Array2::from_shape_fn((5, 4), |(row, column)| along[row] * [2.0, -1.0, 0.5, 0.0][column] + 7.0);
        let (places, explained) = project(rows).unwrap();
        assert!((explained[0] - 1.0).abs() < 1e-9 && explained[1] < 1e-9, "{explained:?}");
        let length = (4.0_f64 + 1.0 + 0.25).sqrt();
        for (place, along) in places.iter().zip(along) {
            assert!((place[0] - (along - 0.1) * length).abs() < 1e-6 && place[1].abs() < 1e-6, "{places:?}");
        }
    }

    #[test]
    fn the_two_widest_of_many_directions_are_shown_with_their_shares() {
        // Three independent directions of variance 9, 4 and 1, turned by nothing: each row is one corner.
        let sign = |row: usize, bit: usize| if row >> bit & 1 == 1 { 1.0 } else { -1.0 };
        let rows = Array2::from_shape_fn((8, 3), |(row, column)| [1.0, 3.0, 2.0][column] * sign(row, column));
        let (places, explained) = project(rows).unwrap();
        assert!((explained[0] - 9.0 / 14.0).abs() < 1e-6 && (explained[1] - 4.0 / 14.0).abs() < 1e-6, "{explained:?}");
        for [x, y] in &places {
            assert!((x.abs() - 3.0).abs() < 1e-4 && (y.abs() - 2.0).abs() < 1e-4, "{places:?}");
        }
    }

    #[test]
    fn what_does_not_differ_and_what_has_one_factor_has_a_map_too() {
        let (places, explained) = project(Array2::from_elem((4, 3), 0.5)).unwrap();
        assert_eq!((places, explained), (vec![[0.0; 2]; 4], [0.0; 2]));
        let (places, explained) = project(Array2::from_shape_fn((3, 1), |(row, _)| -(row as f64).powi(2))).unwrap();
        assert_eq!(explained, [1.0, 0.0]);
        assert!(places[2][0] > 0.0 && places[0][0] < 0.0, "{places:?}");
        let few = Array2::from_shape_fn((3, 16), |(row, column)| ((row * 5 + column * 3) % 7) as f64);
        let (places, explained) = project(few.clone()).unwrap();
        assert!(explained[0] >= explained[1] && (explained[0] + explained[1] - 1.0).abs() < 1e-9, "{explained:?}");
        assert_eq!(project(few).unwrap(), (places, explained), "the same rows give the same map, bit for bit");
    }
}
