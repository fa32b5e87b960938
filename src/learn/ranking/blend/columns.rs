//! What is known of every candidate for one user: a row of numbers, the columns, that the weights add up to a score.
//!
//! In this order: sums over the pairs of the user's newest items, in two groups that differ in how fast older items stop
//! counting; what is counted of the item itself; what similar users chose, and how the user would rate it; what kinds of
//! items the user turns to; and the sequence models. Sums, counts and shares are taken as logarithms, so that a score is
//! a product of powers, and what differs by a factor for all candidates alike changes nothing.
//!
//! To add a group, add to [`GROUPS`] and [`Settings`](super::Settings); to add a column, to the row in [`Columns::each`].

use super::Blend;
use super::counts::{Count, HALF_LIFE};
use super::history::Visit;
use super::math::{ln, stamp};
use super::pairs::{Pair, TOGETHER, WEIGHTS};
use super::profile::{self, Taste};
use super::sequence::SEQUENCES;
use crate::learn::dot;
use crate::learn::tables::Storage;

/// Groups of columns that are sums over pairs, of each weight one.
pub(super) const GROUPS: usize = 2;

/// Columns that are sums over pairs, the first of a row.
pub(super) const OF_PAIRS: usize = GROUPS * WEIGHTS;

/// Columns of the item itself: popularity, recent popularity, age, share of positive events, choice at this stage.
const OF_ITEM: usize = 5;

/// Columns of the two factorizations: of choices, and of ratings.
const OF_FACTORS: usize = 2;

/// Where each kind of columns begins.
const ITEM: usize = OF_PAIRS;
const FACTORS: usize = ITEM + OF_ITEM;
const PROFILE: usize = FACTORS + OF_FACTORS;
pub(super) const SEQUENCE: usize = PROFILE + profile::COLUMNS;

/// Columns of a candidate; the last ones are empty, so that rows are whole vector registers.
pub(super) const COLUMNS: usize = (SEQUENCE + SEQUENCES).next_multiple_of(8);

/// What is added to a sum before its logarithm is taken, where the mean over the candidates is 1.
const SMOOTHING: f32 = 0.3;

/// The same for the score of the factorization of choices, which is about 1 for what was chosen.
const LEAST_CHOICE: f32 = 0.05;

/// The columns of one candidate.
pub(super) type Row = [f32; COLUMNS];

/// Makes the columns of many candidates for one user; what it works in is reused.
#[derive(Clone, Debug, Default)]
pub(super) struct Columns {
    user: u32,
    candidates: Vec<u32>,
    /// One over the mean of each sum over the candidates; 0 where there is none.
    scales: [f32; OF_PAIRS],
    /// Where each item is among the candidates, from 1; 0 for one that is none. Shape `(n_items,)`.
    places: Vec<u32>,
    /// Sums over pairs, shape `(n_candidates + 1, OF_PAIRS)`; the first takes what is no candidate's.
    sums: Vec<[f32; OF_PAIRS]>,
    /// The user as each sequence model sees him.
    users: [Vec<f32>; SEQUENCES],
}

impl Columns {
    /// Sums up what the user's newest items say of the candidates, which are distinct. `history` has the newest first.
    pub(super) fn ask<S: Storage>(&mut self, model: &Blend<S>, user: u32, history: &[Visit], candidates: &[u32]) {
        let visits = &history[..history.len().min(model.params.recent)];
        self.ask_again(model, user, &visits.iter().map(Some), candidates);
        self.scales = self.scales();
    }

    /// As [`Columns::ask`] for other candidates or fewer visits, on the scales of the last one: a visit that is none adds
    /// nothing, and the others keep their age.
    pub(super) fn ask_again<'v, S: Storage>(
        &mut self,
        model: &Blend<S>,
        user: u32,
        visits: &(impl Iterator<Item = Option<&'v Visit>> + Clone),
        candidates: &[u32],
    ) {
        self.user = user;
        for item in self.candidates.drain(..) {
            self.places[item as usize] = 0;
        }
        self.places.resize(model.counts.len(), 0);
        self.candidates.extend_from_slice(candidates);
        for (item, place) in candidates.iter().zip(1..) {
            self.places[*item as usize] = place;
        }
        self.sums.clear();
        self.sums.resize(candidates.len() + 1, [0.0; OF_PAIRS]);
        for (visit, recency) in visits.clone().zip(recencies(&model.settings.recency)) {
            if let Some(visit) = visit {
                self.add(model.pairs.row(visit.item), &factors(model, visit, &recency));
            }
        }
        for (sequence, user) in model.sequences.iter().zip(&mut self.users) {
            sequence.user(visits.clone(), user);
        }
    }

    /// Adds a row of pairs to the sums.
    fn add(&mut self, row: &[Pair], factors: &[f32; OF_PAIRS]) {
        for Pair { item, weights } in row {
            let place = self.places.get(*item as usize).copied().unwrap_or(0);
            let sums = &mut self.sums[place as usize];
            for group in 0..GROUPS {
                for (at, weight) in weights.iter().enumerate() {
                    sums[group * WEIGHTS + at] += factors[group * WEIGHTS + at] * weight;
                }
            }
        }
    }

    /// One over the mean of each sum over the candidates; 0 where there is none.
    fn scales(&self) -> [f32; OF_PAIRS] {
        let mut total = [0.0; OF_PAIRS];
        for sums in &self.sums[1..] {
            total.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
        }
        let count = self.candidates.len() as f32;
        total.map(|total| if total > 1e-20 { count / total } else { 0.0 })
    }

    /// What sums over pairs are multiplied by.
    pub(super) fn scale(&self) -> &[f32; OF_PAIRS] {
        &self.scales
    }

    /// Hands on the columns of each candidate in order, for users at this stage of their history.
    pub(super) fn each<S: Storage>(&self, model: &Blend<S>, stage: usize, mut take: impl FnMut(u32, &Row)) {
        let moment = Moment::of(model, stage);
        let asked = Asked::of(model, self.user);
        for (item, sums) in self.candidates.iter().zip(&self.sums[1..]) {
            let mut row = [0.0; COLUMNS];
            for ((x, sum), scale) in row.iter_mut().zip(sums).zip(&self.scales) {
                *x = of_sum(*sum, *scale);
            }
            row[ITEM..FACTORS].copy_from_slice(&of_item(&model.counts.of(*item), &moment));
            row[FACTORS..PROFILE].copy_from_slice(&asked.of_factors(model, *item));
            if let Some(taste) = &asked.taste {
                row[PROFILE..SEQUENCE].copy_from_slice(&model.profiles.columns(taste, *item));
            }
            for (x, (sequence, user)) in row[SEQUENCE..].iter_mut().zip(model.sequences.iter().zip(&self.users)) {
                *x = sequence.score(user, *item);
            }
            take(*item, &row);
        }
    }
}

/// The column of a sum over pairs.
#[inline]
pub(super) fn of_sum(sum: f32, scale: f32) -> f32 {
    ln(sum * scale + SMOOTHING)
}

/// What a visit weighs in each sum by its age alone, the newest first.
pub(super) fn recencies(kept: &[f32; OF_PAIRS]) -> impl Iterator<Item = [f32; OF_PAIRS]> {
    let older = |recency: &[f32; OF_PAIRS]| Some(std::array::from_fn(|at| recency[at] * kept[at]));
    std::iter::successors(Some([1.0; OF_PAIRS]), older)
}

/// What the weights of a visit's pairs are multiplied by in each sum.
#[inline]
pub(super) fn factors<S: Storage>(model: &Blend<S>, visit: &Visit, recency: &[f32; OF_PAIRS]) -> [f32; OF_PAIRS] {
    let events = model.counts.of(visit.item).events;
    // Half of the cosine's norm: the other half, of the candidate, is left to the weight of its popularity.
    let norm = 1.0 / events.max(1.0).sqrt();
    let mut factors = recency.map(|recency| recency * norm);
    if !visit.positive {
        (0..GROUPS).for_each(|group| factors[group * WEIGHTS + TOGETHER] = 0.0);
    }
    factors
}

/// The user as the factorizations see him, and his taste.
struct Asked<'m> {
    choices: Option<&'m [f32]>,
    ratings: &'m [f32],
    taste: Option<Taste>,
}

impl<'m> Asked<'m> {
    fn of<S: Storage>(model: &'m Blend<S>, user: u32) -> Self {
        let ratings = model.ratings.user(user).map_or(&[][..], |(factors, _)| factors);
        let taste = model.profiles.taste(user, &model.scalars.shares);
        Self { choices: model.factors.user(user), ratings, taste }
    }

    /// How much the user would choose the item, and how he would rate it, less what is the same for all items.
    #[inline]
    fn of_factors<S: Storage>(&self, model: &Blend<S>, item: u32) -> [f32; OF_FACTORS] {
        let choice = self.choices.map_or(0.0, |user| model.factors.score(user, item));
        let rating = model.ratings.item(item).map_or(0.0, |(factors, bias)| bias + dot(self.ratings, factors));
        [ln((if choice > 0.0 { choice } else { 0.0 }) + LEAST_CHOICE), rating]
    }
}

/// The moment that the columns of items are of.
struct Moment {
    /// Positive events so far.
    now: [f32; 2],
    stage: usize,
    /// Positive events so far over those of users at this stage.
    per_stage: f32,
}

impl Moment {
    fn of<S: Storage>(model: &Blend<S>, stage: usize) -> Self {
        let positives = model.scalars.positives;
        let per_stage = positives.max(1) as f32 / model.scalars.by_stage[stage] as f32;
        Self { now: stamp(positives), stage, per_stage }
    }
}

/// The columns of the item itself.
#[inline]
fn of_item(count: &Count<'_>, moment: &Moment) -> [f32; OF_ITEM] {
    let Moment { now, stage, per_stage } = *moment;
    let chosen = count.positives + 1.0;
    // Of the item's positive events, those of users at this stage, against the same share of all items; an item of
    // which little is known is taken for an even one.
    let at_stage = (count.at_stage(stage) + 0.0125 * chosen) / chosen * per_stage;
    [
        ln(chosen),
        ln(count.recent(now) + 1e-4 * HALF_LIFE),
        ln(count.age(now) + 100.0),
        ln(chosen / (count.events + 2.0)),
        ln(at_stage),
    ]
}
