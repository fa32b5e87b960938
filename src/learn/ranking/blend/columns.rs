//! What is known of every candidate for one user: a row of numbers, the columns, that the weights add up to a score.
//!
//! Three kinds of columns, in this order: sums over the pairs of the user's newest items, by groups that differ in how
//! fast older items stop counting; what is counted of the item itself; and the sequence models. All but the last are
//! logarithms, so that a score is a product of powers, and what differs by a factor for all candidates alike changes
//! nothing.
//!
//! To add a group, add to [`GROUPS`] and [`Settings`](super::Settings); to add a column of the item, to [`OF_ITEM`] and
//! [`of_item`]; to add a sequence model, to `sequence::settings`.

use super::Blend;
use super::counts::{Count, HALF_LIVES, RECENT};
use super::history::Visit;
use super::math::{ln, stamp};
use super::pairs::{FORWARD, Pair, TOGETHER, WEIGHTS};
use super::sequence::SEQUENCES;
use crate::learn::tables::Storage;

/// Groups of columns that are sums over pairs.
pub(super) const GROUPS: usize = 3;

/// Columns of a group, each of one weight of the pairs.
const WIDTH: usize = 4;

/// The first of the weights that each group sums up: with the first and the last group items that were chosen together,
/// transitions in both directions, and closeness; with the one between, the faded weights in place of the first.
const FROM: [usize; GROUPS] = [TOGETHER, FORWARD, TOGETHER];

/// Columns that are sums over pairs.
const OF_PAIRS: usize = GROUPS * WIDTH;

/// Columns of the item itself: popularity, recent popularity, age, share of positive events, choice at this stage.
const OF_ITEM: usize = RECENT + 4;

/// Columns of a candidate; the last ones are empty, so that rows are whole vector registers.
pub(super) const COLUMNS: usize = (OF_PAIRS + OF_ITEM + SEQUENCES).next_multiple_of(8);

/// What is added to a sum before its logarithm is taken, where the mean over the candidates is 1.
const SMOOTHING: f32 = 0.3;

/// Weight of an item of the user below which the first group has no more use for it.
const LEAST_RECENCY: f32 = 1e-3;

/// The columns of one candidate.
pub(super) type Row = [f32; COLUMNS];

/// Makes the columns of many candidates for one user; what it works in is reused.
#[derive(Clone, Debug, Default)]
pub(super) struct Columns {
    candidates: Vec<u32>,
    /// Where each item is among the candidates, from 1; 0 for one that is none. Shape `(n_items,)`.
    places: Vec<u32>,
    /// Sums over pairs, shape `(n_candidates + 1, OF_PAIRS)`; the first takes what is no candidate's.
    sums: Vec<[f32; OF_PAIRS]>,
    /// The user as each sequence model sees him.
    users: [Vec<f32>; SEQUENCES],
}

impl Columns {
    /// Sums up what the user's newest items say of the candidates, which are distinct. `history` has the newest first.
    pub(super) fn ask<S: Storage>(&mut self, model: &Blend<S>, history: &[Visit], candidates: &[u32]) {
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
        let history = &history[..history.len().min(model.params.recent)];
        self.sum_pairs(model, history);
        for (sequence, user) in model.sequences.iter().zip(&mut self.users) {
            sequence.user(history, user);
        }
    }

    fn sum_pairs<S: Storage>(&mut self, model: &Blend<S>, history: &[Visit]) {
        let now = stamp(model.scalars.events);
        let mut recency = [1.0; GROUPS];
        for visit in history {
            let events = model.counts.of(visit.item).events;
            // Half of the cosine's norm: the other half, of the candidate, is left to the weight of its popularity.
            let norm = 1.0 / events.max(1.0).sqrt();
            let mut scale = [1.0; WEIGHTS];
            scale[TOGETHER] = if visit.positive { 1.0 } else { 0.0 };
            scale[WEIGHTS - 1] = model.pairs.faded(visit.item, now);
            let factors: [[f32; WIDTH]; GROUPS] = std::array::from_fn(|group| {
                std::array::from_fn(|column| scale[FROM[group] + column] * recency[group] * norm)
            });
            let row = model.pairs.row(visit.item);
            if recency[0] < LEAST_RECENCY {
                self.add::<1>(row, &factors);
            } else {
                self.add::<0>(row, &factors);
            }
            recency.iter_mut().zip(model.settings.recency).for_each(|(recency, kept)| *recency *= kept);
        }
    }

    /// Adds a row of pairs to the sums of all groups from `FIRST` on.
    fn add<const FIRST: usize>(&mut self, row: &[Pair], factors: &[[f32; WIDTH]; GROUPS]) {
        for Pair { item, weights } in row {
            let place = self.places.get(*item as usize).copied().unwrap_or(0);
            let sums = &mut self.sums[place as usize];
            for group in FIRST..GROUPS {
                for column in 0..WIDTH {
                    sums[group * WIDTH + column] += factors[group][column] * weights[FROM[group] + column];
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

    /// Hands on the columns of each candidate in order, for users at this stage of their history.
    pub(super) fn each<S: Storage>(&self, model: &Blend<S>, stage: usize, mut take: impl FnMut(u32, &Row)) {
        let moment = Moment::of(model, stage);
        let scales = self.scales();
        for (item, sums) in self.candidates.iter().zip(&self.sums[1..]) {
            let mut row = [0.0; COLUMNS];
            for ((x, sum), scale) in row.iter_mut().zip(sums).zip(&scales) {
                *x = ln(sum * scale + SMOOTHING);
            }
            row[OF_PAIRS..OF_PAIRS + OF_ITEM].copy_from_slice(&of_item(&model.counts.of(*item), &moment));
            for (at, (sequence, user)) in model.sequences.iter().zip(&self.users).enumerate() {
                row[OF_PAIRS + OF_ITEM + at] = sequence.score(user, *item);
            }
            take(*item, &row);
        }
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
    let recent = count.recent(now);
    let chosen = count.positives + 1.0;
    // Of the item's positive events, those of users at this stage, against the same share of all items; an item of
    // which little is known is taken for an even one.
    let at_stage = (count.at_stage(stage) + 0.0125 * chosen) / chosen * per_stage;
    [
        ln(chosen),
        ln(recent[0] + 1e-4 * HALF_LIVES[0]),
        ln(recent[1] + 1e-4 * HALF_LIVES[1]),
        ln(recent[2] + 1e-4 * HALF_LIVES[2]),
        ln(count.age(now) + 100.0),
        ln(chosen / (count.events + 2.0)),
        ln(at_stage),
    ]
}
