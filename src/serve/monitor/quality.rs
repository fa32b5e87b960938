//! Test-then-learn errors over a window, by the n-th event of a user, and how they went.

use std::collections::{HashMap, VecDeque};

use roaring::RoaringBitmap;
use serde::Serialize;
use utoipa::ToSchema;

use super::LearnedEvents;
use super::joint::{Counts, Histogram, Joint};
use super::ranking::Judged;
use crate::learn::params::RatingRange;
use crate::learn::prequential::{Metrics, Sums};

/// Events in the window.
const WINDOW: usize = 10_000;

/// Points of the curve.
const POINTS: usize = 240;

/// Events between the first points of the curve.
const FIRST_STRIDE: u64 = 50;

/// The last `n` of each group of a user's `n`-th events.
const NTH: [u64; 8] = [1, 2, 5, 10, 20, 50, 100, u64::MAX];

/// The errors of a user's first events, second events, and so on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
pub struct Nth {
    /// From this one of each user ...
    from: u64,
    /// ... to this one; null where there is no last.
    to: Option<u64>,
    events: u64,
    mae: f64,
    mean_mae: f64,
}

/// The window's figures after an event.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
pub struct Point {
    seq: u64,
    mae: f64,
    mean_mae: f64,
    rmse: f64,
    mean_rmse: f64,
    /// Of lists; null while none was judged.
    hr: Option<f64>,
    popular_hr: Option<f64>,
    trending_hr: Option<f64>,
    ndcg: Option<f64>,
    popular_ndcg: Option<f64>,
    trending_ndcg: Option<f64>,
}

#[derive(Debug)]
pub(super) struct Quality {
    sums: Sums,
    newest: VecDeque<[f64; 2]>,
    nth: [Sums; NTH.len()],
    counts: Counts,
    curve: Vec<Point>,
    /// Events between two points.
    stride: u64,
}

impl Default for Quality {
    fn default() -> Self {
        Self {
            sums: Sums::default(),
            newest: VecDeque::new(),
            nth: Default::default(),
            counts: Counts::default(),
            curve: Vec::new(),
            stride: FIRST_STRIDE,
        }
    }
}

impl Quality {
    pub(super) fn learned(&mut self, learned: &LearnedEvents<'_>) {
        let range = learned.after.learned().scale.range;
        let events = |user: u32| learned.outcomes.iter().filter(|outcome| outcome.user == user).count() as u64;
        // Of whoever was away before, all that is known is from after, where his events of the batch are among the rest.
        let known = |user: u32| {
            let is_away = learned.before.away().is(user);
            let (view, less) = if is_away { (learned.after, events(user)) } else { (learned.before, 0) };
            view.history().seen(user).map_or(0, RoaringBitmap::len).saturating_sub(less)
        };
        let mut own = HashMap::new();
        for outcome in learned.outcomes {
            let errors = self.add(outcome.predicted, outcome.mean, outcome.target, range);
            let nth = own.entry(outcome.user).or_insert_with(|| known(outcome.user));
            *nth += 1;
            let group = NTH.partition_point(|last| last < nth);
            self.nth[group].add(errors);
        }
    }

    /// Takes in one event, and returns the errors of the model and of the running mean.
    pub(super) fn add(&mut self, predicted: f32, mean: f32, target: f32, range: RatingRange) -> [f64; 2] {
        let errors = [predicted, mean].map(|guess| f64::from(guess) - f64::from(target));
        if self.newest.len() == WINDOW
            && let Some(oldest) = self.newest.pop_front()
        {
            self.sums.remove(oldest);
        }
        self.newest.push_back(errors);
        self.sums.add(errors);
        self.counts.add(predicted, target, range);
        errors
    }

    /// Adds a point to the curve if one is due after the event `seq`.
    pub(super) fn draw(&mut self, seq: u64, judged: &Judged) {
        if self.sums.events() == 0 || self.curve.last().is_some_and(|last| seq < last.seq + self.stride) {
            return;
        }
        if self.curve.len() == POINTS {
            let mut place = 0;
            self.curve.retain(|_| {
                place += 1;
                place % 2 == 0
            });
            self.stride *= 2;
        }
        let Metrics { mae, rmse, mean_mae, mean_rmse } = self.sums.metrics();
        let [mae, rmse, mean_mae, mean_rmse] = [mae, rmse, mean_mae, mean_rmse].map(shortened);
        let of = |score: f64| (judged.ranked > 0).then(|| shortened(score));
        let Judged { model, popular, trending, .. } = judged;
        self.curve.push(Point {
            seq,
            mae,
            mean_mae,
            rmse,
            mean_rmse,
            hr: of(model.hr),
            popular_hr: of(popular.hr),
            trending_hr: of(trending.hr),
            ndcg: of(model.ndcg),
            popular_ndcg: of(popular.ndcg),
            trending_ndcg: of(trending.ndcg),
        });
    }

    pub(super) fn window(&self) -> Sums {
        self.sums.clone()
    }

    pub(super) fn curve(&self) -> Vec<Point> {
        self.curve.clone()
    }

    pub(super) fn nth(&self) -> Vec<Nth> {
        let group = |(place, sums): (usize, &Sums)| {
            let from = if place == 0 { 1 } else { NTH[place - 1] + 1 };
            let to = Some(NTH[place]).filter(|last| *last < u64::MAX);
            let Metrics { mae, mean_mae, .. } = sums.metrics();
            Nth { from, to, events: sums.events(), mae, mean_mae }
        };
        self.nth.iter().enumerate().map(group).collect()
    }

    pub(super) fn histogram(&self) -> Histogram {
        self.counts.histogram()
    }

    pub(super) fn joint(&self) -> Joint {
        self.counts.joint()
    }
}

/// To five digits behind the point: a curve is told again and again, and nobody sees more of it.
fn shortened(value: f64) -> f64 {
    (value * 1e5).round() / 1e5
}
